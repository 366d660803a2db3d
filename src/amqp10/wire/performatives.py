"""Frame bodies of the transport and of SASL, with their enumerations and constants (transport, security).

Field order, types, defaults and descriptors are compared with the specification's XML by a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final, TypeAlias

from amqp10.codec import Symbol
from amqp10.codec.composite import Composite, composite, field

__all__ = [
    "MAX_DELIVERY_TAG_SIZE",
    "MIN_MAX_FRAME_SIZE",
    "PORT",
    "RECEIVER",
    "SECURE_PORT",
    "SENDER",
    "Attach",
    "Begin",
    "Close",
    "Detach",
    "Disposition",
    "End",
    "Error",
    "Flow",
    "Open",
    "Performative",
    "ReceiverSettleMode",
    "SaslChallenge",
    "SaslCode",
    "SaslFrame",
    "SaslInit",
    "SaslMechanisms",
    "SaslOutcome",
    "SaslResponse",
    "SenderSettleMode",
    "Transfer",
]

PORT: Final = 5672
SECURE_PORT: Final = 5671
MAJOR: Final = 1
MINOR: Final = 0
REVISION: Final = 0
MIN_MAX_FRAME_SIZE: Final = 512
"""The frame size that everyone must accept, in bytes."""
MAX_DELIVERY_TAG_SIZE: Final = 32
"""The longest delivery tag, in bytes (transport, "delivery-tag")."""

SENDER: Final = False
"""The role of a sending link endpoint (transport, "role")."""
RECEIVER: Final = True
"""The role of a receiving link endpoint."""


class SenderSettleMode(IntEnum):
    """When a sender settles (transport, "sender-settle-mode")."""

    UNSETTLED = 0
    SETTLED = 1
    MIXED = 2


class ReceiverSettleMode(IntEnum):
    """When a receiver settles (transport, "receiver-settle-mode")."""

    FIRST = 0
    SECOND = 1


class SaslCode(IntEnum):
    """How a SASL exchange ended (security, "sasl-code")."""

    OK = 0
    AUTH = 1
    SYS = 2
    SYS_PERM = 3
    SYS_TEMP = 4


Fields: TypeAlias = Mapping[Any, Any]


@composite("amqp:error:list", 0x1D)
class Error(Composite):
    """Why something was closed, ended, detached or rejected (transport, "error")."""

    condition: str = field("symbol", mandatory=True, requires="error-condition")
    description: str | None = field("string", default=None)
    info: Fields | None = field("fields", default=None)


@composite("amqp:open:list", 0x10, provides=("frame",))
class Open(Composite):
    """The first frame of each side: what it can do, and its limits (transport, "open")."""

    container_id: str = field("string", mandatory=True)
    hostname: str | None = field("string", default=None)
    max_frame_size: int = field("uint", default=0xFFFFFFFF)
    channel_max: int = field("ushort", default=65535)
    idle_time_out: int | None = field("milliseconds", default=None)
    outgoing_locales: tuple[str, ...] = field("ietf-language-tag", default=(), multiple=True)
    incoming_locales: tuple[str, ...] = field("ietf-language-tag", default=(), multiple=True)
    offered_capabilities: tuple[str, ...] = field("symbol", default=(), multiple=True)
    desired_capabilities: tuple[str, ...] = field("symbol", default=(), multiple=True)
    properties: Fields | None = field("fields", default=None)


@composite("amqp:begin:list", 0x11, provides=("frame",))
class Begin(Composite):
    """A session begins on a channel (transport, "begin")."""

    remote_channel: int | None = field("ushort", default=None)
    next_outgoing_id: int = field("transfer-number", mandatory=True)
    incoming_window: int = field("uint", mandatory=True)
    outgoing_window: int = field("uint", mandatory=True)
    handle_max: int = field("handle", default=0xFFFFFFFF)
    offered_capabilities: tuple[str, ...] = field("symbol", default=(), multiple=True)
    desired_capabilities: tuple[str, ...] = field("symbol", default=(), multiple=True)
    properties: Fields | None = field("fields", default=None)


@composite("amqp:attach:list", 0x12, provides=("frame",))
class Attach(Composite):
    """A link is attached to a session (transport, "attach")."""

    name: str = field("string", mandatory=True)
    handle: int = field("handle", mandatory=True)
    role: bool = field("role", mandatory=True)
    snd_settle_mode: int = field("sender-settle-mode", default=SenderSettleMode.MIXED)
    rcv_settle_mode: int = field("receiver-settle-mode", default=ReceiverSettleMode.FIRST)
    source: Any = field("*", default=None, requires="source")
    target: Any = field("*", default=None, requires="target")
    unsettled: Mapping[Any, Any] | None = field("map", default=None)
    incomplete_unsettled: bool = field("boolean", default=False)
    initial_delivery_count: int | None = field("sequence-no", default=None)
    max_message_size: int | None = field("ulong", default=None)
    offered_capabilities: tuple[str, ...] = field("symbol", default=(), multiple=True)
    desired_capabilities: tuple[str, ...] = field("symbol", default=(), multiple=True)
    properties: Fields | None = field("fields", default=None)


@composite("amqp:flow:list", 0x13, provides=("frame",))
class Flow(Composite):
    """Flow state of a session and perhaps a link (transport, "flow")."""

    next_incoming_id: int | None = field("transfer-number", default=None)
    incoming_window: int = field("uint", mandatory=True)
    next_outgoing_id: int = field("transfer-number", mandatory=True)
    outgoing_window: int = field("uint", mandatory=True)
    handle: int | None = field("handle", default=None)
    delivery_count: int | None = field("sequence-no", default=None)
    link_credit: int | None = field("uint", default=None)
    available: int | None = field("uint", default=None)
    drain: bool = field("boolean", default=False)
    echo: bool = field("boolean", default=False)
    properties: Fields | None = field("fields", default=None)


@composite("amqp:transfer:list", 0x14, provides=("frame",))
class Transfer(Composite):
    """A message, or a part of one (transport, "transfer"). The payload follows it in the frame."""

    handle: int = field("handle", mandatory=True)
    delivery_id: int | None = field("delivery-number", default=None)
    delivery_tag: bytes | None = field("delivery-tag", default=None)
    message_format: int | None = field("message-format", default=None)
    settled: bool | None = field("boolean", default=None)
    more: bool = field("boolean", default=False)
    rcv_settle_mode: int | None = field("receiver-settle-mode", default=None)
    state: Any = field("*", default=None, requires="delivery-state")
    resume: bool = field("boolean", default=False)
    aborted: bool = field("boolean", default=False)
    batchable: bool = field("boolean", default=False)


@composite("amqp:disposition:list", 0x15, provides=("frame",))
class Disposition(Composite):
    """New states of deliveries (transport, "disposition")."""

    role: bool = field("role", mandatory=True)
    first: int = field("delivery-number", mandatory=True)
    last: int | None = field("delivery-number", default=None)
    settled: bool = field("boolean", default=False)
    state: Any = field("*", default=None, requires="delivery-state")
    batchable: bool = field("boolean", default=False)


@composite("amqp:detach:list", 0x16, provides=("frame",))
class Detach(Composite):
    """A link is detached from its session (transport, "detach")."""

    handle: int = field("handle", mandatory=True)
    closed: bool = field("boolean", default=False)
    error: Error | None = field("error", default=None)


@composite("amqp:end:list", 0x17, provides=("frame",))
class End(Composite):
    """A session has ended (transport, "end")."""

    error: Error | None = field("error", default=None)


@composite("amqp:close:list", 0x18, provides=("frame",))
class Close(Composite):
    """A connection is closed (transport, "close")."""

    error: Error | None = field("error", default=None)


@composite("amqp:sasl-mechanisms:list", 0x40, provides=("sasl-frame",))
class SaslMechanisms(Composite):
    """What the server offers (security, "sasl-mechanisms")."""

    sasl_server_mechanisms: tuple[Symbol, ...] = field("symbol", multiple=True, mandatory=True)


@composite("amqp:sasl-init:list", 0x41, provides=("sasl-frame",))
class SaslInit(Composite):
    """The client's choice and initial response (security, "sasl-init")."""

    mechanism: str = field("symbol", mandatory=True)
    initial_response: bytes | None = field("binary", default=None, secret=True)
    hostname: str | None = field("string", default=None)


@composite("amqp:sasl-challenge:list", 0x42, provides=("sasl-frame",))
class SaslChallenge(Composite):
    """The server asks (security, "sasl-challenge")."""

    challenge: bytes = field("binary", mandatory=True, secret=True)


@composite("amqp:sasl-response:list", 0x43, provides=("sasl-frame",))
class SaslResponse(Composite):
    """The client answers (security, "sasl-response")."""

    response: bytes = field("binary", mandatory=True, secret=True)


@composite("amqp:sasl-outcome:list", 0x44, provides=("sasl-frame",))
class SaslOutcome(Composite):
    """How it ended (security, "sasl-outcome")."""

    code: int = field("sasl-code", mandatory=True)
    additional_data: bytes | None = field("binary", default=None, secret=True)


Performative: TypeAlias = Open | Begin | Attach | Flow | Transfer | Disposition | Detach | End | Close
SaslFrame: TypeAlias = SaslMechanisms | SaslInit | SaslChallenge | SaslResponse | SaslOutcome

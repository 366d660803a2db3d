"""Sections, delivery states, termini and transactions (messaging, transactions).

Field order, types, defaults and descriptors are compared with the specification's XML by a test. The map, list and
binary sections are not composites; their descriptors are the ``SECTION_...`` constants, and ``message.py`` reads and
writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any, Final, TypeAlias

from amqp10.codec.composite import Composite, composite, field
from amqp10.wire.performatives import Error

__all__ = [
    "ACCEPTED",
    "RELEASED",
    "Accepted",
    "Coordinator",
    "Declare",
    "Declared",
    "DeleteOnClose",
    "DeleteOnNoLinks",
    "DeleteOnNoLinksOrMessages",
    "DeleteOnNoMessages",
    "DeliveryState",
    "Discharge",
    "DistributionMode",
    "ExpiryPolicy",
    "Header",
    "Modified",
    "Outcome",
    "Properties",
    "Received",
    "Rejected",
    "Released",
    "Source",
    "Target",
    "TerminusDurability",
    "TransactionalState",
    "TxnCapability",
]

MESSAGE_FORMAT: Final = 0
SECTION_HEADER: Final = 0x70
SECTION_DELIVERY_ANNOTATIONS: Final = 0x71
SECTION_MESSAGE_ANNOTATIONS: Final = 0x72
SECTION_PROPERTIES: Final = 0x73
SECTION_APPLICATION_PROPERTIES: Final = 0x74
SECTION_DATA: Final = 0x75
SECTION_AMQP_SEQUENCE: Final = 0x76
SECTION_AMQP_VALUE: Final = 0x77
SECTION_FOOTER: Final = 0x78

SECTION_NAMES: Final[Mapping[str, int]] = {
    "amqp:header:list": SECTION_HEADER,
    "amqp:delivery-annotations:map": SECTION_DELIVERY_ANNOTATIONS,
    "amqp:message-annotations:map": SECTION_MESSAGE_ANNOTATIONS,
    "amqp:properties:list": SECTION_PROPERTIES,
    "amqp:application-properties:map": SECTION_APPLICATION_PROPERTIES,
    "amqp:data:binary": SECTION_DATA,
    "amqp:amqp-sequence:list": SECTION_AMQP_SEQUENCE,
    "amqp:amqp-value:*": SECTION_AMQP_VALUE,
    "amqp:footer:map": SECTION_FOOTER,
}


class TerminusDurability(IntEnum):
    """Which state of a terminus is durable (messaging, "terminus-durability")."""

    NONE = 0
    CONFIGURATION = 1
    UNSETTLED_STATE = 2


class ExpiryPolicy(StrEnum):
    """When a terminus starts to expire (messaging, "terminus-expiry-policy")."""

    LINK_DETACH = "link-detach"
    SESSION_END = "session-end"
    CONNECTION_CLOSE = "connection-close"
    NEVER = "never"


class DistributionMode(StrEnum):
    """Whether messages leave the node they are sent from (messaging, "std-dist-mode")."""

    MOVE = "move"
    COPY = "copy"


class TxnCapability(StrEnum):
    """What a transaction coordinator can do (transactions, "txn-capability")."""

    LOCAL_TRANSACTIONS = "amqp:local-transactions"
    DISTRIBUTED_TRANSACTIONS = "amqp:distributed-transactions"
    PROMOTABLE_TRANSACTIONS = "amqp:promotable-transactions"
    MULTI_TXNS_PER_SSN = "amqp:multi-txns-per-ssn"
    MULTI_SSNS_PER_TXN = "amqp:multi-ssns-per-txn"


@composite("amqp:header:list", 0x70, provides=("section",))
class Header(Composite):
    """Delivery details of a message (messaging, "header")."""

    durable: bool | None = field("boolean", default=None)
    priority: int | None = field("ubyte", default=None)
    ttl: int | None = field("milliseconds", default=None)
    first_acquirer: bool | None = field("boolean", default=None)
    delivery_count: int | None = field("uint", default=None)


@composite("amqp:properties:list", 0x73, provides=("section",))
class Properties(Composite):
    """The standard properties of a message (messaging, "properties")."""

    message_id: Any = field("*", default=None, requires="message-id")
    user_id: bytes | None = field("binary", default=None)
    to: Any = field("*", default=None, requires="address")
    subject: str | None = field("string", default=None)
    reply_to: Any = field("*", default=None, requires="address")
    correlation_id: Any = field("*", default=None, requires="message-id")
    content_type: str | None = field("symbol", default=None)
    content_encoding: str | None = field("symbol", default=None)
    absolute_expiry_time: int | None = field("timestamp", default=None)
    creation_time: int | None = field("timestamp", default=None)
    group_id: str | None = field("string", default=None)
    group_sequence: int | None = field("sequence-no", default=None)
    reply_to_group_id: str | None = field("string", default=None)


# -- delivery states -------------------------------------------------------------------------------------------------


@composite("amqp:received:list", 0x23, provides=("delivery-state",))
class Received(Composite):
    """How far a message has arrived (messaging, "received")."""

    section_number: int = field("uint", mandatory=True)
    section_offset: int = field("ulong", mandatory=True)


@composite("amqp:accepted:list", 0x24, provides=("delivery-state", "outcome"))
class Accepted(Composite):
    """The message was processed (messaging, "accepted")."""


@composite("amqp:rejected:list", 0x25, provides=("delivery-state", "outcome"))
class Rejected(Composite):
    """The message is invalid (messaging, "rejected")."""

    error: Error | None = field("error", default=None)


@composite("amqp:released:list", 0x26, provides=("delivery-state", "outcome"))
class Released(Composite):
    """The message was not, and will not be, acted upon (messaging, "released")."""


@composite("amqp:modified:list", 0x27, provides=("delivery-state", "outcome"))
class Modified(Composite):
    """The message was not processed and is to be changed (messaging, "modified")."""

    delivery_failed: bool | None = field("boolean", default=None)
    undeliverable_here: bool | None = field("boolean", default=None)
    message_annotations: Mapping[Any, Any] | None = field("fields", default=None)


ACCEPTED: Final = Accepted()
RELEASED: Final = Released()


# -- termini ---------------------------------------------------------------------------------------------------------


@composite("amqp:source:list", 0x28, provides=("source",))
class Source(Composite):
    """Where messages come from (messaging, "source")."""

    address: Any = field("*", default=None, requires="address")
    durable: int = field("terminus-durability", default=TerminusDurability.NONE)
    expiry_policy: str = field("terminus-expiry-policy", default=ExpiryPolicy.SESSION_END)
    timeout: int = field("seconds", default=0)
    dynamic: bool = field("boolean", default=False)
    dynamic_node_properties: Mapping[Any, Any] | None = field("node-properties", default=None)
    distribution_mode: str | None = field("symbol", default=None, requires="distribution-mode")
    filter: Mapping[Any, Any] | None = field("filter-set", default=None)
    default_outcome: Any = field("*", default=None, requires="outcome")
    outcomes: tuple[str, ...] = field("symbol", default=(), multiple=True)
    capabilities: tuple[str, ...] = field("symbol", default=(), multiple=True)


@composite("amqp:target:list", 0x29, provides=("target",))
class Target(Composite):
    """Where messages go (messaging, "target")."""

    address: Any = field("*", default=None, requires="address")
    durable: int = field("terminus-durability", default=TerminusDurability.NONE)
    expiry_policy: str = field("terminus-expiry-policy", default=ExpiryPolicy.SESSION_END)
    timeout: int = field("seconds", default=0)
    dynamic: bool = field("boolean", default=False)
    dynamic_node_properties: Mapping[Any, Any] | None = field("node-properties", default=None)
    capabilities: tuple[str, ...] = field("symbol", default=(), multiple=True)


@composite("amqp:delete-on-close:list", 0x2B, provides=("lifetime-policy",))
class DeleteOnClose(Composite):
    """A dynamic node lives as long as the link that made it (messaging, "delete-on-close")."""


@composite("amqp:delete-on-no-links:list", 0x2C, provides=("lifetime-policy",))
class DeleteOnNoLinks(Composite):
    """A dynamic node lives while it has links (messaging, "delete-on-no-links")."""


@composite("amqp:delete-on-no-messages:list", 0x2D, provides=("lifetime-policy",))
class DeleteOnNoMessages(Composite):
    """A dynamic node lives while it has its link or messages (messaging, "delete-on-no-messages")."""


@composite("amqp:delete-on-no-links-or-messages:list", 0x2E, provides=("lifetime-policy",))
class DeleteOnNoLinksOrMessages(Composite):
    """A dynamic node lives while it has links or messages (messaging, "delete-on-no-links-or-messages")."""


# -- transactions ----------------------------------------------------------------------------------------------------


@composite("amqp:coordinator:list", 0x30, provides=("target",))
class Coordinator(Composite):
    """The target of a link that controls transactions (transactions, "coordinator")."""

    capabilities: tuple[str, ...] = field("symbol", default=(), multiple=True, requires="txn-capability")


@composite("amqp:declare:list", 0x31)
class Declare(Composite):
    """Ask for a transaction (transactions, "declare")."""

    global_id: Any = field("*", default=None, requires="global-tx-id")


@composite("amqp:discharge:list", 0x32)
class Discharge(Composite):
    """End a transaction (transactions, "discharge")."""

    txn_id: Any = field("*", mandatory=True, requires="txn-id")
    fail: bool | None = field("boolean", default=None)


@composite("amqp:declared:list", 0x33, provides=("delivery-state", "outcome"))
class Declared(Composite):
    """A transaction was made (transactions, "declared")."""

    txn_id: Any = field("*", mandatory=True, requires="txn-id")


@composite("amqp:transactional-state:list", 0x34, provides=("delivery-state",))
class TransactionalState(Composite):
    """The state of a delivery within a transaction (transactions, "transactional-state")."""

    txn_id: Any = field("*", mandatory=True, requires="txn-id")
    outcome: Any = field("*", default=None, requires="outcome")


Outcome: TypeAlias = Accepted | Rejected | Released | Modified | Declared
DeliveryState: TypeAlias = Outcome | Received | TransactionalState

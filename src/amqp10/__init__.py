"""AMQP 1.0 for Python.

:func:`connect` is the client: connections that come back, senders, receivers, messages. :mod:`amqp10.aio` is the same
for asyncio. :class:`AMQP` is a client with the interface of a well-known component.

The layers, from the bottom up; imports point downward only:

- ``conditions`` and ``errors``: the error conditions of the specification; every error, and the table of codes
- ``codec``: the AMQP type system, bytes to Python values and back
- ``wire``: frames, performatives, messages
- ``engine``: the protocol, without I/O
- ``net``: sockets, TLS, proxies
- ``client``: what the two front ends below share, without I/O
- ``blocking`` and ``aio``: connections for programs that block, and for asyncio
- ``component``: the class ``AMQP``
- ``broker``: an in-memory broker for development and tests
- ``cli`` and ``testing``: the ``amqp10`` command, pytest fixtures
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from amqp10.conditions import ErrorCondition
from amqp10.errors import (
    AMQPError,
    AMQPTimeoutError,
    AuthenticationError,
    ClosedError,
    ConnectionDroppedError,
    ConnectionLostError,
    DecodeError,
    DeliveryError,
    DeliveryUnknownError,
    EncodeError,
    FilterRefusedError,
    InterruptedCallError,
    LimitError,
    LinkDetachedError,
    LinkError,
    LinkRefusedError,
    MalformedFrameError,
    MessageRejectedError,
    ProtocolError,
    RemoteError,
    RequestLostError,
    SendTimeoutError,
    SessionEndedError,
)
from amqp10.version import VERSION

if TYPE_CHECKING:
    from amqp10 import aio
    from amqp10.blocking import Connection, Delivery, ReceivedMessage, Receiver, Sender, Session, connect
    from amqp10.client.message import BodyKind, Message
    from amqp10.client.options import ReceiverOptions, Reconnect, SenderOptions, Stream
    from amqp10.client.outcomes import Accepted, Modified, Outcome, Released
    from amqp10.client.recovery import ConnectionState, StateChange
    from amqp10.client.remote import RemoteInfo
    from amqp10.codec.maps import Map
    from amqp10.codec.types import (
        Array,
        Byte,
        Char,
        Decimal32,
        Decimal64,
        Decimal128,
        Described,
        Float,
        Int,
        Short,
        Symbol,
        Timestamp,
        UByte,
        UInt,
        ULong,
        UShort,
    )
    from amqp10.component.amqp import AMQP
    from amqp10.component.enums import (
        AuthScheme,
        CertStoreType,
        FirewallType,
        LinkReceiveMode,
        LinkRole,
        LogLevel,
        MessageState,
        OutcomeDirection,
        ReceiveMode,
        SSLProvider,
        ValueType,
    )
    from amqp10.component.events import (
        AMQPConnectedEventParams,
        AMQPConnectionStatusEventParams,
        AMQPDisconnectedEventParams,
        AMQPErrorEventParams,
        AMQPLinkReadyToSendEventParams,
        AMQPLogEventParams,
        AMQPMessageInEventParams,
        AMQPMessageOutcomeEventParams,
        AMQPMessageOutEventParams,
        AMQPReadyToSendEventParams,
        AMQPSSLServerAuthenticationEventParams,
        AMQPSSLStatusEventParams,
    )
    from amqp10.net.tls.options import TlsOptions
    from amqp10.wire.messaging import Header, Properties

__version__ = VERSION

# Loaded when they are first named: who uses one API does not pay for the others.
_LAZY: Final[dict[str, str]] = {
    **dict.fromkeys(
        ("Connection", "Delivery", "ReceivedMessage", "Receiver", "Sender", "Session", "connect"), "amqp10.blocking"
    ),
    **dict.fromkeys(("BodyKind", "Message"), "amqp10.client.message"),
    **dict.fromkeys(("ReceiverOptions", "Reconnect", "SenderOptions", "Stream"), "amqp10.client.options"),
    **dict.fromkeys(("Accepted", "Modified", "Outcome", "Released"), "amqp10.client.outcomes"),
    **dict.fromkeys(("ConnectionState", "StateChange"), "amqp10.client.recovery"),
    "RemoteInfo": "amqp10.client.remote",
    **dict.fromkeys(
        (
            "Array",
            "Byte",
            "Char",
            "Decimal32",
            "Decimal64",
            "Decimal128",
            "Described",
            "Float",
            "Int",
            "Short",
            "Symbol",
            "Timestamp",
            "UByte",
            "UInt",
            "ULong",
            "UShort",
        ),
        "amqp10.codec.types",
    ),
    "Map": "amqp10.codec.maps",
    "AMQP": "amqp10.component.amqp",
    **dict.fromkeys(
        (
            "AuthScheme",
            "CertStoreType",
            "FirewallType",
            "LinkReceiveMode",
            "LinkRole",
            "LogLevel",
            "MessageState",
            "OutcomeDirection",
            "ReceiveMode",
            "SSLProvider",
            "ValueType",
        ),
        "amqp10.component.enums",
    ),
    **dict.fromkeys(
        (
            "AMQPConnectedEventParams",
            "AMQPConnectionStatusEventParams",
            "AMQPDisconnectedEventParams",
            "AMQPErrorEventParams",
            "AMQPLinkReadyToSendEventParams",
            "AMQPLogEventParams",
            "AMQPMessageInEventParams",
            "AMQPMessageOutcomeEventParams",
            "AMQPMessageOutEventParams",
            "AMQPReadyToSendEventParams",
            "AMQPSSLServerAuthenticationEventParams",
            "AMQPSSLStatusEventParams",
        ),
        "amqp10.component.events",
    ),
    **dict.fromkeys(("Header", "Properties"), "amqp10.wire.messaging"),
    "TlsOptions": "amqp10.net.tls.options",
}


def __getattr__(name: str) -> Any:
    if name == "aio":
        return import_module("amqp10.aio")
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'amqp10' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "AMQP",
    "AMQPConnectedEventParams",
    "AMQPConnectionStatusEventParams",
    "AMQPDisconnectedEventParams",
    "AMQPError",
    "AMQPErrorEventParams",
    "AMQPLinkReadyToSendEventParams",
    "AMQPLogEventParams",
    "AMQPMessageInEventParams",
    "AMQPMessageOutEventParams",
    "AMQPMessageOutcomeEventParams",
    "AMQPReadyToSendEventParams",
    "AMQPSSLServerAuthenticationEventParams",
    "AMQPSSLStatusEventParams",
    "AMQPTimeoutError",
    "Accepted",
    "Array",
    "AuthScheme",
    "AuthenticationError",
    "BodyKind",
    "Byte",
    "CertStoreType",
    "Char",
    "ClosedError",
    "Connection",
    "ConnectionDroppedError",
    "ConnectionLostError",
    "ConnectionState",
    "Decimal128",
    "Decimal32",
    "Decimal64",
    "DecodeError",
    "Delivery",
    "DeliveryError",
    "DeliveryUnknownError",
    "Described",
    "EncodeError",
    "ErrorCondition",
    "FilterRefusedError",
    "FirewallType",
    "Float",
    "Header",
    "Int",
    "InterruptedCallError",
    "LimitError",
    "LinkDetachedError",
    "LinkError",
    "LinkReceiveMode",
    "LinkRefusedError",
    "LinkRole",
    "LogLevel",
    "MalformedFrameError",
    "Map",
    "Message",
    "MessageRejectedError",
    "MessageState",
    "Modified",
    "Outcome",
    "OutcomeDirection",
    "Properties",
    "ProtocolError",
    "ReceiveMode",
    "ReceivedMessage",
    "Receiver",
    "ReceiverOptions",
    "Reconnect",
    "Released",
    "RemoteError",
    "RemoteInfo",
    "RequestLostError",
    "SSLProvider",
    "SendTimeoutError",
    "Sender",
    "SenderOptions",
    "Session",
    "SessionEndedError",
    "Short",
    "StateChange",
    "Stream",
    "Symbol",
    "Timestamp",
    "TlsOptions",
    "UByte",
    "UInt",
    "ULong",
    "UShort",
    "ValueType",
    "aio",
    "connect",
    "__version__",
]

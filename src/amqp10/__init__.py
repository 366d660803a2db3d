"""AMQP 1.0 for Python.

:class:`AMQP` is the client: connections, sessions, links, messages. :class:`Message` is a message with all its
sections.

The layers, from the bottom up; imports point downward only:

- ``errors``: every error, and the table of codes
- ``codec``: the AMQP type system, bytes to Python values and back
- ``wire``: frames, performatives, messages
- ``engine``: the protocol, without I/O
- ``net``: sockets, TLS, proxies
- ``component``: the class ``AMQP``
- ``broker``: an in-memory broker for development and tests
- ``cli`` and ``testing``: the ``amqp10`` command, pytest fixtures
"""

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
from amqp10.errors import (
    AMQPError,
    AMQPTimeoutError,
    AuthenticationError,
    ConnectionDroppedError,
    DecodeError,
    EncodeError,
    InterruptedCallError,
    LimitError,
    MalformedFrameError,
    ProtocolError,
    RemoteError,
)
from amqp10.wire.message import Message

__version__ = "0.1.0"

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
    "AuthScheme",
    "AuthenticationError",
    "CertStoreType",
    "ConnectionDroppedError",
    "DecodeError",
    "EncodeError",
    "FirewallType",
    "InterruptedCallError",
    "LimitError",
    "LinkReceiveMode",
    "LinkRole",
    "LogLevel",
    "MalformedFrameError",
    "Message",
    "MessageState",
    "OutcomeDirection",
    "ProtocolError",
    "ReceiveMode",
    "RemoteError",
    "SSLProvider",
    "ValueType",
    "__version__",
]

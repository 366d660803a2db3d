"""Every error that the package raises, and the table of numeric codes.

``AMQPError`` is the base of all of them. Its ``code`` is a number for programs; the subclasses distinguish causes for
programs that prefer ``except`` clauses: what this side did wrong, what the peer reported, what the network did. The
peer's own condition and description are attributes.
"""

from __future__ import annotations

import errno as _errno
from collections.abc import Mapping
from copy import copy
from typing import Any, ClassVar, Final, Self

from amqp10.conditions import ErrorCondition

__all__ = [
    "AMQPError",
    "AMQPTimeoutError",
    "AuthenticationError",
    "ClosedError",
    "ConnectionDroppedError",
    "ConnectionLostError",
    "DecodeError",
    "DeliveryError",
    "DeliveryUnknownError",
    "EncodeError",
    "ERROR_CODES",
    "FilterRefusedError",
    "InterruptedCallError",
    "LimitError",
    "LinkDetachedError",
    "LinkError",
    "LinkRefusedError",
    "MalformedFrameError",
    "MessageRejectedError",
    "ProtocolError",
    "RemoteError",
    "RequestLostError",
    "SendTimeoutError",
    "SessionEndedError",
    "UndeliveredMessage",
    "code_from_errno",
    "code_from_gaierror",
    "describe_code",
    "escaped",
]


def escaped(text: str) -> str:
    """The text in one line, with unprintable characters (control characters, line ends, marks that change the direction
    of writing) as escapes."""
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() else repr(char)[1:-1] for char in text])


class UndeliveredMessage:
    """A message that was to be sent and will not get an outcome.

    Attributes:
        link_name: the link it was for.
        message_id: its id as text; empty if it has none.
        written: whether it was written, so that it may have arrived. Otherwise it has not.
        payload: the encoded message, for ``amqp10.Message.decode``.
    """

    __slots__ = ("link_name", "message_id", "payload", "written")

    def __init__(self, link_name: str, message_id: str, written: bool, payload: bytes) -> None:
        self.link_name: str = link_name
        self.message_id: str = message_id
        self.written: bool = written
        self.payload: bytes = payload

    def __repr__(self) -> str:
        written = "written" if self.written else "not written"
        return f"<UndeliveredMessage {self.message_id!r} on link {self.link_name!r}, {written}>"


class AMQPError(Exception):
    """Base of all errors raised by ``amqp10``.

    Args:
        code: the numeric error code, one of :data:`ERROR_CODES`.
        message: what went wrong, in one sentence that helps the user. Never contains a secret. Control characters,
            which may come from a peer, are escaped.
        condition: the AMQP error condition (transport, "amqp-error" and following), if there is one, for example
            ``"amqp:not-found"``.

    Attributes:
        description: the peer's own description, unchanged; None if it gave none.
        info: what the peer added (transport, "error", info), such as the host to connect to, or a tracking id.
        retryable: whether the same operation may work if it is tried again later.
        sent: if the error is about a message, True if it was written and its outcome is unknown, False if it was never
            sent; otherwise, and if that is unknown, None.
        undelivered: the messages that get no outcome because of this error, in the order in which they were sent.
    """

    __slots__ = ("code", "condition", "description", "info", "message", "retryable", "sent", "undelivered")

    RETRYABLE: ClassVar[bool] = False
    """The default of ``retryable``."""

    def __init__(self, code: int, message: str, *, condition: str | None = None) -> None:
        message = escaped(message)
        super().__init__(code, message)
        self.code: int = code
        self.message: str = message
        self.condition: str | None = None if condition is None else str(condition)
        self.description: str | None = None
        self.info: Mapping[Any, Any] | None = None
        self.retryable: bool = self.RETRYABLE
        self.sent: bool | None = None
        self.undelivered: tuple[UndeliveredMessage, ...] = ()

    def with_hint(self, hint: str) -> Self:
        """The same error with an addition to its message: what this side knows about the reason."""
        twin = copy(self)
        twin.message = f"{self.message} ({escaped(hint)})"
        twin.args = (self.code, twin.message)
        return twin

    def __str__(self) -> str:
        return f"[{self.code}] {self.message}"

    def __repr__(self) -> str:
        condition = f", condition={self.condition!r}" if self.condition is not None else ""
        return f"{type(self).__name__}({self.code}, {self.message!r}{condition})"

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are rebuilt from ``args`` by default, which would lose all but code and message.
        state = {name: getattr(self, name) for name in ("description", "info", "retryable", "sent", "undelivered")}
        return (_rebuild, (type(self), self.code, self.message, self.condition, state))


def _rebuild(
    cls: type[AMQPError], code: int, message: str, condition: str | None, state: Mapping[str, Any] | None = None
) -> AMQPError:
    error = cls.__new__(cls)
    AMQPError.__init__(error, code, message, condition=condition)
    for name, value in (state or {}).items():
        setattr(error, name, value)
    return error


class DecodeError(AMQPError):
    """Bytes that are not valid AMQP data (types, "type encodings"). Code 604 unless said otherwise."""

    __slots__ = ()

    def __init__(self, message: str, *, code: int = 604) -> None:
        super().__init__(code, message, condition=ErrorCondition.DECODE_ERROR)


class EncodeError(AMQPError):
    """A Python value that has no AMQP encoding, or is out of the range of its type. Code 604."""

    __slots__ = ()

    def __init__(self, message: str) -> None:
        super().__init__(604, message)


class ProtocolError(AMQPError):
    """A rule of the protocol was broken, by the peer or in a request made here. Code 600."""

    __slots__ = ()

    def __init__(self, message: str, *, condition: str | None = None, code: int = 600) -> None:
        super().__init__(code, message, condition=condition)


class MalformedFrameError(ProtocolError):
    """The peer sent bytes that do not form a valid frame (transport, "framing"). Code 601."""

    __slots__ = ()

    def __init__(self, message: str, *, condition: str = ErrorCondition.FRAMING_ERROR) -> None:
        super().__init__(message, condition=condition, code=601)


class RemoteError(ProtocolError):
    """The peer reported an error: in a close, end or detach, or by refusing a link. Code 600."""

    __slots__ = ()


class AuthenticationError(AMQPError):
    """The SASL exchange failed (security, "sasl"). Code 602."""

    __slots__ = ()

    def __init__(self, message: str) -> None:
        super().__init__(602, message, condition=ErrorCondition.UNAUTHORIZED_ACCESS)


class LimitError(AMQPError):
    """A limit on sessions or links was reached, this side's or the peer's. Code 603."""

    __slots__ = ()

    def __init__(self, message: str) -> None:
        super().__init__(603, message)


class AMQPTimeoutError(AMQPError):
    """An operation did not complete in its time. Code 201."""

    __slots__ = ()

    RETRYABLE: ClassVar[bool] = True

    def __init__(self, message: str, *, code: int = 201) -> None:
        super().__init__(code, message)


class InterruptedCallError(AMQPError):
    """``interrupt()`` ended a blocking call. Code 10004."""

    __slots__ = ()

    def __init__(self, message: str = "the call was interrupted") -> None:
        super().__init__(10004, message)


class ConnectionDroppedError(AMQPError):
    """The transport connection ended without an AMQP close. Code 1120, or a more specific one from the system."""

    __slots__ = ()

    RETRYABLE: ClassVar[bool] = True

    def __init__(self, message: str, *, code: int = 1120) -> None:
        super().__init__(code, message)


# -- errors of the modern API ----------------------------------------------------------------------------------------


class SendTimeoutError(AMQPTimeoutError):
    """A message had no outcome in time; ``sent`` says whether it was written. Code 201."""

    __slots__ = ()

    def __init__(self, message: str, *, sent: bool | None) -> None:
        super().__init__(message)
        self.sent = sent


class ConnectionLostError(ConnectionDroppedError):
    """The connection was lost and will not be restored: reconnecting is off, has given up, or is pointless.

    ``__cause__`` is the error that ended it. Code 1120, or a more specific one from the cause.
    """

    __slots__ = ()

    RETRYABLE: ClassVar[bool] = False


class ClosedError(AMQPError):
    """The program has closed the connection, session or link that it uses. Code 211."""

    __slots__ = ()

    def __init__(self, message: str, *, sent: bool | None = None) -> None:
        super().__init__(211, message)
        self.sent = sent


class LinkError(RemoteError):
    """The peer refused a link or ended it. Code 600."""

    __slots__ = ()


class LinkRefusedError(LinkError):
    """The peer did not attach the link (transport, "establishing or resuming a link"). Code 600."""

    __slots__ = ()


class LinkDetachedError(LinkError):
    """The peer detached a link that was in use (transport, "detaching"). Code 600."""

    __slots__ = ()


class FilterRefusedError(LinkError):
    """The peer attached the link without a filter that was asked for (messaging, "filtering messages"). Code 600."""

    __slots__ = ()


class SessionEndedError(RemoteError):
    """The peer ended a session (transport, "ending a session"). Code 600."""

    __slots__ = ()


class DeliveryError(AMQPError):
    """A message was not delivered. Code 600."""

    __slots__ = ()

    def __init__(self, message: str, *, condition: str | None = None, sent: bool | None = None) -> None:
        super().__init__(600, message, condition=condition)
        self.sent = sent


class MessageRejectedError(DeliveryError):
    """The receiver rejected the message (messaging, "rejected"). Code 600."""

    __slots__ = ()


class DeliveryUnknownError(DeliveryError):
    """The message was written, and its outcome will never be known: it may or may not have arrived. Code 600."""

    __slots__ = ()


class RequestLostError(DeliveryError):
    """The connection was lost before the response arrived; the request may have been carried out. Code 600."""

    __slots__ = ()

    RETRYABLE: ClassVar[bool] = True


ERROR_CODES: Final[dict[int, str]] = {
    # The protocol and this component.
    600: "an AMQP rule was broken, or the peer reported an error; the message says which",
    601: "a frame arrived that is not well formed",
    602: "the SASL exchange did not succeed",
    603: "no further session or link may be opened",
    604: "a value is malformed, out of range, or not of its declared type",
    605: "the message may not be modified now",
    606: "the configuration setting may not be changed, or does not exist",
    # Connections.
    100: "remote_port stays as it is while a connection exists",
    101: "remote_host stays as it is while a connection exists",
    102: "remote_host is not an address that can be connected to",
    104: "a connection already exists; disconnect before connecting again",
    106: "local_port stays as it is while a connection exists",
    107: "local_host stays as it is while a connection exists",
    112: "MaxLineLength stays as it is while a connection exists",
    116: "remote_port is 0; a port from 1 to 65535 is needed",
    117: "UseConnection stays as it is while the component is active",
    135: "the operation would have to wait, and waiting is not allowed",
    201: "the operation did not finish in time",
    211: "the operation does not fit the present state",
    212: "the operation needs a connection",
    213: "the operation does not fit a listening component",
    301: "the operation did not finish in time",
    302: "a file could not be opened",
    434: "text could not be converted to the character set asked for",
    1105: "a connection attempt is already running",
    1117: "connect before doing this",
    1119: "LocalHost stays as it is while a connection exists",
    1120: "the remote host dropped the connection",
    # TLS.
    270: "the TLS library could not be loaded",
    271: "the certificate store could not be opened",
    272: "the certificate asked for is not in the store",
    273: "the credentials for TLS could not be prepared",
    274: "the certificate chain is incomplete",
    275: "the certificate chain could not be verified",
    276: "the TLS handshake failed",
    280: "the server's certificate was not accepted",
    281: "there is no client certificate to present",
    282: "there is no server certificate",
    283: "data could not be encrypted",
    284: "data could not be decrypted",
    # The operating system.
    10004: "a blocking call was interrupted",
    10009: "the socket or file descriptor is not open",
    10013: "permission was refused",
    10014: "an address in memory was not valid",
    10022: "an argument was not valid",
    10024: "no more files or sockets can be opened",
    10035: "the socket is not ready and may not block",
    10036: "the operation has started and is still running",
    10037: "the operation was started before and is still running",
    10038: "the descriptor does not belong to a socket",
    10039: "no destination address was given",
    10040: "the datagram is too large",
    10041: "the protocol does not fit this kind of socket",
    10042: "the protocol has no such option",
    10043: "the protocol is not available here",
    10044: "this kind of socket is not available here",
    10045: "the socket cannot do this operation",
    10046: "the protocol family is not available here",
    10047: "the address family does not fit the protocol",
    10048: "the local address is in use",
    10049: "the local address does not exist on this machine",
    10050: "the network is down",
    10051: "the network cannot be reached",
    10052: "the network gave up the connection",
    10053: "the local system aborted the connection",
    10054: "the peer reset the connection",
    10055: "the system has no memory for buffers",
    10056: "the socket is connected already",
    10057: "the socket is not connected",
    10058: "the socket's sending side is closed",
    10059: "too many references to a kernel object",
    10060: "the peer did not answer in time",
    10061: "the peer refused the connection",
    10062: "a path runs through too many symbolic links",
    10063: "a name is too long",
    10064: "the host is down",
    10065: "no route leads to the host",
    10066: "a directory is not empty",
    10067: "too many processes",
    10068: "too many users",
    10069: "a disk quota is used up",
    10070: "a network file handle is out of date",
    10071: "a path has too many remote levels",
    10091: "the network subsystem cannot be used",
    10092: "the socket library has the wrong version",
    10093: "the socket library was not initialised",
    # Name resolution.
    11001: "the host name does not exist",
    11002: "the host name could not be resolved now; a later attempt may succeed",
    11003: "name resolution failed for good",
    11004: "the name exists but has no address of the kind needed",
}
"""Every error code and its meaning, in this project's words."""


def describe_code(code: int) -> str:
    """The meaning of an error code, or an empty string for a number that is not one."""
    return ERROR_CODES.get(code, "")


# By name, because the numbers differ between systems and some systems lack some names.
_ERRNO_NAMES: Final[dict[str, int]] = {
    "EINTR": 10004,
    "EBADF": 10009,
    "EACCES": 10013,
    "EPERM": 10013,
    "EFAULT": 10014,
    "EINVAL": 10022,
    "EMFILE": 10024,
    "ENFILE": 10024,
    "EAGAIN": 10035,
    "EWOULDBLOCK": 10035,
    "EINPROGRESS": 10036,
    "EALREADY": 10037,
    "ENOTSOCK": 10038,
    "EDESTADDRREQ": 10039,
    "EMSGSIZE": 10040,
    "EPROTOTYPE": 10041,
    "ENOPROTOOPT": 10042,
    "EPROTONOSUPPORT": 10043,
    "ESOCKTNOSUPPORT": 10044,
    "ENOTSUP": 10045,
    "EOPNOTSUPP": 10045,
    "EPFNOSUPPORT": 10046,
    "EAFNOSUPPORT": 10047,
    "EADDRINUSE": 10048,
    "EADDRNOTAVAIL": 10049,
    "ENETDOWN": 10050,
    "ENETUNREACH": 10051,
    "ENETRESET": 10052,
    "ECONNABORTED": 10053,
    "ECONNRESET": 10054,
    # This side never writes after it has shut down its sending side, so a broken pipe means a reset.
    "EPIPE": 10054,
    "ENOBUFS": 10055,
    "ENOMEM": 10055,
    "EISCONN": 10056,
    "ENOTCONN": 10057,
    "ESHUTDOWN": 10058,
    "ETOOMANYREFS": 10059,
    "ETIMEDOUT": 10060,
    "ECONNREFUSED": 10061,
    "ELOOP": 10062,
    "ENAMETOOLONG": 10063,
    "EHOSTDOWN": 10064,
    "EHOSTUNREACH": 10065,
    "ENONET": 10065,
    "ENOTEMPTY": 10066,
    "EPROCLIM": 10067,
    "EUSERS": 10068,
    "EDQUOT": 10069,
    "ESTALE": 10070,
    "EREMOTE": 10071,
    "ENOENT": 302,
    "EISDIR": 302,
    "ENOTDIR": 302,
}

_ERRNO_CODES: Final[dict[int, int]] = {
    getattr(_errno, name): code for name, code in _ERRNO_NAMES.items() if hasattr(_errno, name)
}


def code_from_errno(errno: int | None) -> int:
    """The error code for an operating-system error number (``OSError.errno``), on any system.

    A number without a counterpart in the table, and ``None`` (some ``OSError`` have no number), give 10091.
    """
    if errno is None:
        return 10091
    code = _ERRNO_CODES.get(errno)
    if code is not None:
        return code
    # Windows reports socket errors with the numbers of the table itself.
    return errno if errno >= 10000 and errno in ERROR_CODES else 10091


# In this order: where two names share one number (Windows), the earlier one is the better answer.
_GAI_NAMES: Final[dict[str, int]] = {
    "EAI_AGAIN": 11002,
    "EAI_NONAME": 11001,
    "EAI_NODATA": 11004,
    "EAI_ADDRFAMILY": 11004,
}


def code_from_gaierror(eai: int | None) -> int:
    """The error code (11001 to 11004) for a failed name resolution (``socket.gaierror.errno``).

    Anything but "unknown", "try again" and "no address" is 11003, a permanent failure.
    """
    import socket  # not needed unless a name fails to resolve

    if eai is None:
        return 11003
    for name, code in _GAI_NAMES.items():
        if getattr(socket, name, None) == eai:
            return code
    # Windows can report the numbers of the table itself.
    return eai if 11001 <= eai <= 11004 else 11003

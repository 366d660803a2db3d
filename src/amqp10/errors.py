"""Every error that the package raises, and the table of numeric codes.

``AMQPError`` is the single root. Its ``code`` is the number a program branches on; the subclasses tell causes apart for
programs that prefer ``except`` clauses: what this side did wrong, what the peer reported, what the network did.
The peer's own condition and description travel along unchanged.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "AMQPError",
    "AMQPTimeoutError",
    "AuthenticationError",
    "ConnectionDroppedError",
    "DecodeError",
    "EncodeError",
    "ERROR_CODES",
    "InterruptedCallError",
    "LimitError",
    "MalformedFrameError",
    "ProtocolError",
    "RemoteError",
    "describe_code",
]


class AMQPError(Exception):
    """Root of all errors raised by ``amqp10``.

    Args:
        code: the numeric error code, one of :data:`ERROR_CODES`.
        message: what went wrong, in one sentence a user can act on. Never contains a secret.
        condition: the AMQP error condition symbol (transport, "amqp-error" and following), when there is one,
            for example ``"amqp:not-found"``.
    """

    __slots__ = ("code", "condition", "message")

    def __init__(self, code: int, message: str, *, condition: str | None = None) -> None:
        super().__init__(code, message)
        self.code: int = code
        self.message: str = message
        self.condition: str | None = condition

    def __str__(self) -> str:
        return f"[{self.code}] {self.message}"

    def __repr__(self) -> str:
        condition = f", condition={self.condition!r}" if self.condition is not None else ""
        return f"{type(self).__name__}({self.code}, {self.message!r}{condition})"

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are rebuilt from ``args`` by default, which would lose the keyword-only condition.
        return (_rebuild, (type(self), self.code, self.message, self.condition))


def _rebuild(cls: type[AMQPError], code: int, message: str, condition: str | None) -> AMQPError:
    error = cls.__new__(cls)
    AMQPError.__init__(error, code, message, condition=condition)
    return error


class DecodeError(AMQPError):
    """Bytes that are not valid AMQP data (types, "type encodings"). Code 604 unless said otherwise."""

    __slots__ = ()

    def __init__(self, message: str, *, code: int = 604) -> None:
        super().__init__(code, message, condition="amqp:decode-error")


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

    def __init__(self, message: str, *, condition: str = "amqp:connection:framing-error") -> None:
        super().__init__(message, condition=condition, code=601)


class RemoteError(ProtocolError):
    """The peer reported an error: in a close, end or detach, or by refusing a link. Code 600."""

    __slots__ = ()


class AuthenticationError(AMQPError):
    """The SASL exchange failed (security, "sasl"). Code 602."""

    __slots__ = ()

    def __init__(self, message: str) -> None:
        super().__init__(602, message, condition="amqp:unauthorized-access")


class LimitError(AMQPError):
    """A limit on sessions or links was reached, this side's or the peer's. Code 603."""

    __slots__ = ()

    def __init__(self, message: str) -> None:
        super().__init__(603, message)


class AMQPTimeoutError(AMQPError):
    """An operation did not complete in its time. Code 201 (301 where the operation says so)."""

    __slots__ = ()

    def __init__(self, message: str, *, code: int = 201) -> None:
        super().__init__(code, message)


class InterruptedCallError(AMQPError):
    """``interrupt()`` ended a blocking call. Code 10004."""

    __slots__ = ()

    def __init__(self, message: str = "the call was interrupted") -> None:
        super().__init__(10004, message)


class ConnectionDroppedError(AMQPError):
    """The transport connection ended without an AMQP close. Code 1120 unless the system gave a closer one."""

    __slots__ = ()

    def __init__(self, message: str, *, code: int = 1120) -> None:
        super().__init__(code, message)


ERROR_CODES: Final[dict[int, str]] = {}
"""Every error code and its meaning, in this project's words. Filled by ``amqp10.errors`` at import."""


def describe_code(code: int) -> str:
    """The meaning of an error code, or an empty string for a number that is not one."""
    return ERROR_CODES.get(code, "")

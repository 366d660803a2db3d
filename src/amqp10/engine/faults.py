"""How the engine stops at a broken rule: one exception for each thing that the specification wants ended by it, the
connection, the session or the link.

They never leave the engine: ``Connection.receive_data`` answers with the close, end or detach that carries the
condition and reports the event. They are raised only when a peer misbehaves, never on the way of a good frame.
"""

from __future__ import annotations

from amqp10.codec import DecodeError
from amqp10.conditions import ErrorCondition
from amqp10.errors import AMQPError, ConnectionDroppedError, LimitError, MalformedFrameError, ProtocolError
from amqp10.wire.performatives import MIN_MAX_FRAME_SIZE, Open

__all__ = [
    "ConnectionFault",
    "LinkFault",
    "SessionFault",
    "bad_frame",
    "bad_open",
    "dropped",
    "torn_frame",
    "unreadable",
]


class ConnectionFault(Exception):  # noqa: N818 - never leaves the engine
    """The connection must be closed with this error."""

    def __init__(self, error: AMQPError) -> None:
        super().__init__(error)
        self.error = error

    @classmethod
    def broken_rule(cls, condition: str, message: str) -> ConnectionFault:
        """A fault of code 600: the peer broke the rule that the message names."""
        return cls(ProtocolError(message, condition=condition))

    @classmethod
    def malformed(cls, message: str) -> ConnectionFault:
        """A fault of code 601: the bytes do not form a frame."""
        return cls(MalformedFrameError(message))


class SessionFault(Exception):  # noqa: N818 - never leaves the engine
    """The session on whose channel the frame came must be ended with this error (transport, "session errors")."""

    def __init__(self, condition: str, message: str) -> None:
        super().__init__(message)
        self.error: ProtocolError = ProtocolError(message, condition=condition)


class LinkFault(Exception):  # noqa: N818 - never leaves the engine
    """The link that the peer has on a handle must be detached with this error (transport, "link errors")."""

    def __init__(self, remote_handle: int | None, condition: str, message: str) -> None:
        super().__init__(message)
        self.remote_handle = remote_handle
        self.error: ProtocolError = ProtocolError(message, condition=condition)


def bad_frame(size: int, doff: int, kind: int, largest: int) -> ConnectionFault:
    """What is wrong with a frame of an open connection, by its header (transport, "framing")."""
    if size > largest:
        return ConnectionFault.malformed(f"the peer sent a frame of {size} bytes; {largest} is the agreed maximum")
    if doff < 2 or doff * 4 > size:
        return ConnectionFault.malformed(f"the peer sent a frame of {size} bytes with data offset {doff}")
    return ConnectionFault.malformed(f"the peer sent a frame of type {kind} where AMQP frames are expected")


def bad_open(opened: Open, channel: int, *, again: bool) -> ConnectionFault | None:
    """What is wrong with an open; None if nothing is (transport, "open")."""
    if again:
        return ConnectionFault.broken_rule(ErrorCondition.NOT_ALLOWED, "the peer sent open a second time")
    if channel != 0:
        return ConnectionFault.broken_rule(
            ErrorCondition.NOT_ALLOWED, f"the peer sent open on channel {channel}, not 0"
        )
    size = int(opened.max_frame_size)
    if size < MIN_MAX_FRAME_SIZE:
        return ConnectionFault.broken_rule(
            ErrorCondition.INVALID_FIELD,
            f"the peer's max-frame-size of {size} is below the {MIN_MAX_FRAME_SIZE} that everyone must accept",
        )
    return None


def torn_frame() -> ConnectionFault:
    """Why the connection has to be closed after a signal handler has raised in the middle of a frame."""
    text = "the connection was given up: an exception came while a frame was being handled"
    return ConnectionFault(ConnectionDroppedError(text))


def unreadable(error: Exception) -> AMQPError:
    """Why the connection has to be closed when reading one of its frames raised an error that is no fault."""
    if isinstance(error, DecodeError):
        text = f"the peer sent a malformed frame: {error.message}"
        return MalformedFrameError(text, condition=ErrorCondition.DECODE_ERROR)
    if not isinstance(error, AMQPError):  # read beyond the end of the frame
        text = "the peer sent a frame whose performative is cut short"
        return MalformedFrameError(text, condition=ErrorCondition.DECODE_ERROR)
    # A state that does not allow what came, a limit that it breaks, a body that reaches beyond its frame.
    if isinstance(error, LimitError):
        error.condition = ErrorCondition.RESOURCE_LIMIT_EXCEEDED.value
    return error


def dropped(*, opened: bool, in_sasl: bool, authenticated: bool) -> ConnectionDroppedError:
    """The byte stream has ended: the error says how far the connection had come."""
    when = ""
    if in_sasl:
        when = " during the SASL exchange"
    elif not opened:
        when = f"{' after a login that it had accepted,' if authenticated else ''} before the connection was open"
    return ConnectionDroppedError(f"the peer dropped the connection{when}")

"""What a connection reads after this side has given it up: frames are passed over until the peer's close."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from amqp10.codec import DecodeError
from amqp10.engine.events import ConnectionClosed
from amqp10.engine.wire_errors import remote_error
from amqp10.errors import MalformedFrameError
from amqp10.wire.frames import decode_frame_body
from amqp10.wire.performatives import Close

if TYPE_CHECKING:
    from amqp10.engine.events import ConnectionFailed, Event
    from amqp10.engine.output import Trace

__all__ = ["Discarding"]

_HEADER = Struct(">IBBH").unpack_from
_CLOSE_SIZE: Final = 65536
"""The largest frame that is read for the close in it."""


class Discarding:
    """The wait for the peer's close (transport, "connection states", DISCARDING).

    Args:
        until: when the wait ends; None for no limit.
        failure: an event that is held back, because the peer's close may have a better reason; None if there is none.

    Attributes:
        need: how many bytes have to be there for the next :meth:`read`.
    """

    __slots__ = ("_failure", "need", "until")

    def __init__(self, until: float | None, failure: ConnectionFailed | None) -> None:
        self.until: float | None = until
        self.need: int = 8
        self._failure: ConnectionFailed | ConnectionClosed | None = failure

    def read(self, data: bytes, pos: int, trace: Trace | None) -> int:
        """Pass over the frame at ``pos``, where at least :attr:`need` bytes are.

        Returns:
            The position after it; the same position if ``need`` has grown, because the frame is not whole; -1 if it is
            the close, or nothing that can be understood: nothing more is to be read.
        """
        self.need = 8
        header: tuple[int, int, int, int] = _HEADER(data, pos)
        size, doff, kind, _ = header
        if not 8 <= doff * 4 <= size <= _CLOSE_SIZE or kind != 0:
            return -1
        if len(data) - pos < size:
            self.need = size
            return pos
        try:
            performative = decode_frame_body(data, pos + doff * 4, pos + size)[0] if size > doff * 4 else None
        except (DecodeError, MalformedFrameError):
            performative = None
        if trace is not None:
            trace(False, 0, performative, 0)
        if not isinstance(performative, Close):
            return pos + size
        error = remote_error(performative.error, "the peer closed the connection")
        if self._failure is not None and error is not None:
            self._failure = ConnectionClosed(error, by_peer=True, undelivered=self._failure.undelivered)
        return -1

    def report(self) -> list[Event]:
        """What has not been reported yet."""
        failure, self._failure = self._failure, None
        return [failure] if failure is not None else []

"""What a connection sends: frames in order, and what sessions and links add just before they are handed out.

This is all that sessions and links need of a connection.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING, Protocol

from amqp10.conditions import ErrorCondition
from amqp10.engine.wire_errors import shortened
from amqp10.errors import ProtocolError
from amqp10.wire.frames import EMPTY_FRAME, encode_frame
from amqp10.wire.performatives import MIN_MAX_FRAME_SIZE, Open

if TYPE_CHECKING:
    from amqp10.wire.performatives import Attach, Begin, Close, Detach, Disposition, End, Flow, Transfer

__all__ = ["Output", "Trace"]

_FRAME_HEAD = Struct(">IBBH").pack

Trace = Callable[[bool, int, object, int], None]
"""Called for every frame: (outgoing, channel, performative or None for an empty frame, payload size in bytes)."""


class Flushable(Protocol):
    """A session, which may have frames to add before the next bytes are handed out."""

    def flush(self) -> None:
        """Queue it."""


class HasFlow(Protocol):
    """A session or a link: the peer can ask for its flow state."""

    def answer_flow(self) -> None:
        """Queue it, if it is still there."""


class Output:
    """The frames that wait to be written.

    Attributes:
        buffers: what waits, in order; taken by :meth:`take`.
        max_frame_size: the largest frame that the peer accepts, in bytes. Before its open arrives, all that is known is
            what everyone must accept.
        open: whether frames other than close may be sent (transport, "connection states").
        trace: called for every frame while set.
    """

    __slots__ = ("_dirty", "_measured", "_owed", "_size", "buffers", "max_frame_size", "open", "trace")

    def __init__(self) -> None:
        self.buffers: list[bytes | memoryview] = []
        self.max_frame_size: int = MIN_MAX_FRAME_SIZE
        self.open: bool = False
        self.trace: Trace | None = None
        self._dirty: set[Flushable] = set()
        self._owed: dict[HasFlow, None] = {}
        self._size = 0
        self._measured = 0

    @property
    def size(self) -> int:
        """How many bytes wait. Each buffer is measured once, however often this is asked."""
        buffers = self.buffers
        if self._measured < len(buffers):
            self._size += sum(map(len, islice(buffers, self._measured, None)))
            self._measured = len(buffers)
        return self._size

    @property
    def pending(self) -> bool:
        """Whether :meth:`take` may have something to give."""
        return bool(self.buffers or self._dirty or self._owed)

    def take(self) -> list[bytes | memoryview]:
        """Take what is to be written, in order. Empty when there is nothing."""
        if self._dirty or self._owed:
            self.flush()
        buffers = self.buffers
        if buffers:
            self.buffers = []
            self._size = self._measured = 0
        return buffers

    # -- frames ----------------------------------------------------------------------------------------------------

    def write(self, data: bytes, channel: int, performative: object) -> None:
        """Queue a frame as it is."""
        if self.trace is not None:
            self.trace(True, channel, performative, 0)
        self.buffers.append(data)

    def send(
        self, channel: int, performative: Open | Begin | Attach | Flow | Disposition | Detach | End | Close
    ) -> None:
        """Queue a frame without payload.

        Raises:
            ProtocolError: its smallest encoding is larger than what the peer accepts.
        """
        frame = encode_frame(channel, performative)
        # Only open itself cannot help being as large as it is.
        if len(frame) > self.max_frame_size and type(performative) is not Open:
            size = len(frame)
            shorter = shortened(performative, size - self.max_frame_size)
            frame = encode_frame(channel, shorter)
            if len(frame) > self.max_frame_size:
                # What was there besides condition and text is gone now, and how much of the text fits is known.
                frame = encode_frame(channel, shortened(shorter, len(frame) - self.max_frame_size))
            if len(frame) > self.max_frame_size:
                raise ProtocolError(
                    f"a frame of type {type(performative).__name__.lower()} has {size} bytes, more than the"
                    f" {self.max_frame_size} bytes that the peer accepts",
                    condition=ErrorCondition.FRAME_SIZE_TOO_SMALL,
                )
        self.write(frame, channel, performative)

    def send_transfer(self, channel: int, transfer: Transfer, head: bytes, payload: bytes | memoryview) -> None:
        """Queue a transfer frame whose performative is encoded already; the payload is not copied."""
        if self.trace is not None:
            self.trace(True, channel, transfer, len(payload))
        frame_head = _FRAME_HEAD(8 + len(head) + len(payload), 2, 0, channel) + head
        self.buffers += (frame_head, payload)

    def send_heartbeat(self) -> None:
        """Queue an empty frame."""
        self.write(EMPTY_FRAME, 0, None)

    # -- what is said at the last moment ---------------------------------------------------------------------------

    def mark_dirty(self, session: Flushable) -> None:
        """Have a session flushed before the next bytes are handed out."""
        self._dirty.add(session)

    def owe_flow(self, to: HasFlow) -> None:
        """The peer asks for flow state. It gets the state of when the next bytes go out, however often it has asked."""
        self._owed[to] = None

    def forget(self, session: Flushable) -> None:
        """The session is over."""
        self._dirty.discard(session)

    def forget_all(self) -> None:
        """All sessions are over."""
        self._dirty.clear()
        self._owed.clear()

    def flush(self) -> None:
        """Queue what sessions and links have to say."""
        # Nobody is forgotten before it has spoken: a signal handler may raise in between.
        for session in self._dirty:
            session.flush()
        self._dirty.clear()
        if self._owed:
            for to in self._owed:
                to.answer_flow()
            self._owed.clear()

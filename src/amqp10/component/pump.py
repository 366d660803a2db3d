"""The pump: moves bytes between a transport and the engine, and time into the engine.

It knows no AMQP and no program: what the engine reports goes to a sink. One call of :meth:`Pump.turn` is one round of
"write what is due, wait, read what is there, do what time asks for".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from amqp10.net.transport import RECEIVE_SIZE, Transport, rest_of
from amqp10.wire.frames import EMPTY_FRAME

if TYPE_CHECKING:
    from amqp10.engine import Connection, Event
    from amqp10.engine.output import Output
    from amqp10.net.waiting import Waiter

__all__ = ["Pump"]

_LARGE: Final = 65536
"""Up to here the buffer for a read costs next to nothing; a larger one is fetched from the system, and given back, each
time, which costs more than reading a few bytes does."""
_LARGEST: Final = 1 << 20


class Pump:
    """Joins one engine and one transport.

    Args:
        engine: the protocol.
        transport: the way to the peer.
        waiter: waits for the socket, and can be interrupted.
        clock: the time in seconds; monotonic.
        events: where the engine puts what it reports.
        sink: called when there is something.
    """

    __slots__ = (
        "_output",
        "_progress",
        "_read_size",
        "_sent",
        "_unsent",
        "_written",
        "clock",
        "engine",
        "events",
        "more",
        "moved",
        "moved_at",
        "sink",
        "tap",
        "transport",
        "waiter",
    )

    def __init__(
        self,
        engine: Connection,
        transport: Transport,
        waiter: Waiter,
        clock: Callable[[], float],
        events: deque[Event],
        sink: Callable[[], None],
    ) -> None:
        self.engine: Connection = engine
        self._output: Output = engine.output
        self.transport: Transport = transport
        self.waiter: Waiter = waiter
        self.clock: Callable[[], float] = clock
        self.events: deque[Event] = events
        self.sink: Callable[[], None] = sink
        self.tap: Callable[[bool, list[bytes | memoryview]], None] | None = None
        """Called with all bytes that are about to be sent (True) or were received (False), while set."""
        self._unsent: list[bytes | memoryview] = []
        self._sent = 0
        """How many bytes of these the transport has taken."""
        self._read_size = _LARGE
        self._progress = transport.progress
        self._written = False
        self.more: bool = False
        """Whether the last read filled its buffer, so that more is probably there already."""
        self.moved: int = 0
        """Counts up whenever any byte was sent or received."""
        self.moved_at: float = float("-inf")
        """When that was last, heartbeats left out: inactivity time-outs count from there. A peer that is alive but does
        not answer would otherwise be waited for without an end."""

    @property
    def blocked(self) -> bool:
        """Whether bytes wait because the transport takes no more now."""
        return bool(self._unsent) or self.transport.unsent

    def flush(self) -> bool:
        """Hand what the engine has to the transport, as far as it takes it. Returns whether nothing is left.

        What is taken from one place is in the next one in the same step: a signal handler may raise in between.
        """
        output, transport = self._output, self.transport
        if not output.buffers and not output.pending and not self._unsent and not transport.unsent:
            return True
        if self._sent:
            self._unsent, self._sent = rest_of(self._unsent, self._sent), 0
        now = self.clock()
        if self.tap is None:
            self._unsent += self.engine.data_to_send(now)
        else:
            old = len(self._unsent)
            self._unsent += self.engine.data_to_send(now)
            if len(self._unsent) > old:
                self.tap(True, self._unsent[old:])
        buffers = self._unsent
        if not buffers and not transport.unsent:
            return True
        sent = self._sent = transport.send(buffers)
        if sent:
            self.moved += 1
            self._written = True
            if buffers[0] is not EMPTY_FRAME or len(buffers) > 1:
                self.moved_at = now
        elif transport.progress != self._progress:
            self._progressed(now)
        if len(buffers) == 1 and sent == len(buffers[0]):
            self._unsent, self._sent = [], 0
            return not transport.unsent
        self._unsent, self._sent = rest_of(buffers, sent), 0
        return not self._unsent and not transport.unsent

    def receive(self) -> bool:
        """Read what has arrived. Returns whether there was any data; the end of the stream is none."""
        # The rest of a large frame is read as such: what came behind it in the same piece would have to be copied.
        engine = self.engine
        missing = engine.missing
        wanted = self._read_size if missing < _LARGE else min(missing, _LARGEST)
        now = self.clock()
        # In one step, so that no exception of a signal handler comes between and loses what was read.
        data = engine.feed(self.transport.recv(wanted), now)
        if data is None:
            if self.transport.progress != self._progress:
                self._progressed(now)
            if engine.unread:
                # A signal handler has raised before it was looked at.
                engine.process(self.events)
            self.sink()
            return False
        self._progress = self.transport.progress
        self.moved += 1
        size = len(data)
        self.more = size >= wanted
        self._read_size = RECEIVE_SIZE if size >= _LARGE else _LARGE
        if self.tap is not None:
            self.tap(False, [data])
        empty = engine.empty_bytes
        if data:
            engine.process(self.events)
        else:
            self.events.extend(engine.receive_eof(now))
        if engine.empty_bytes - empty != size:
            self.moved_at = now
        self.sink()
        # The end of the stream stays readable for ever: it must not look like more and more data.
        return bool(data)

    def _progressed(self, now: float) -> None:
        """Part of a TLS record has moved."""
        self._progress = self.transport.progress
        self.moved_at = now

    def turn(self, wait: float | None) -> None:
        """One round.

        Args:
            wait: the longest time to wait for something, in seconds; None for as long as it takes.

        Raises:
            InterruptedCallError: ``interrupt()`` was called.
            ConnectionDroppedError: the transport broke.
        """
        self.flush()
        now = self.clock()
        due = self.engine.next_deadline()
        if due is not None:
            wait = due - now if wait is None else min(wait, due - now)
        writing = self.blocked
        if writing:
            resume = self.transport.next_send_time()
            if resume is not None:
                # Held back by a rate limit, not by the socket, which would report that it can be written at once.
                writing = False
                wait = resume - now if wait is None else min(wait, resume - now)
        waiting = bool(self.events) or self.transport.buffered or self.engine.unread
        if waiting:
            wait = 0.0
        if self._written and (wait is None or wait > 0):
            self._written = False
            self.transport.push()
        readable, _ = self.waiter.wait(
            self.transport.fileno(), read=True, write=writing, timeout=None if wait is None else max(0.0, wait)
        )
        if readable or waiting:
            self.receive()
        now = self.clock()
        if due is not None and now >= due:
            self.events.extend(self.engine.tick(now))
            self.sink()
        self.flush()

    def close(self, graceful: bool) -> None:
        """Close the transport."""
        self.transport.close(graceful)

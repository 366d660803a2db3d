"""Time-outs, and the one place where the package waits for a socket.

All sockets are non-blocking. Code that has nothing to do calls :meth:`Waiter.wait`, which sleeps in ``poll`` until the
socket can be used, the time is up, or :meth:`Waiter.interrupt` is called from elsewhere.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import time
from collections.abc import Callable
from typing import Final, Protocol

from amqp10.errors import AMQPError, InterruptedCallError

__all__ = ["Deadline", "Poller", "SelectPoller", "Waiter"]

# The longest poll(). Python runs signal handlers between its own instructions: if a signal arrives after the last of
# them and before the system call begins, its handler would otherwise run only when the wait is over.
# (signal.set_wakeup_fd would close that gap of a microsecond, but it belongs to the program: asyncio uses it.)
_SLICE_MS: Final = 500

# The values of <poll.h>, written out because a system without poll() lacks the constants too.
_IN: Final = 0x001
_OUT: Final = 0x004
_ERR: Final = 0x008

_NOTHING: Final = (False, False)


class Deadline:
    """A time-out: either of inactivity, which :meth:`touch` restarts, or absolute.

    Args:
        seconds: how long; ``None`` for no limit. Zero has expired at once.
        clock: the time in seconds; monotonic.
        absolute: whether :meth:`touch` has no effect (the setting ``AbsoluteTimeout``).
    """

    __slots__ = ("_end", "absolute", "clock", "seconds")

    def __init__(
        self, seconds: float | None, *, clock: Callable[[], float] = time.monotonic, absolute: bool = False
    ) -> None:
        self.seconds: float | None = seconds
        self.clock: Callable[[], float] = clock
        self.absolute: bool = absolute
        self._end: float | None = None if seconds is None else clock() + seconds

    def touch(self) -> None:
        """Note that bytes have moved: restart an inactivity time-out."""
        if not self.absolute and self.seconds is not None:
            self._end = self.clock() + self.seconds

    def remaining(self) -> float | None:
        """Seconds left, never negative; ``None`` without a limit."""
        return None if self._end is None else max(0.0, self._end - self.clock())

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return self._end is not None and self.clock() >= self._end

    def __repr__(self) -> str:
        return f"Deadline({self.seconds!r}, absolute={self.absolute!r}, remaining={self.remaining()!r})"

    def in_words(self) -> str:
        """The length of the time-out for use in messages, for example ``"5 seconds"``."""
        return "1 second" if self.seconds == 1 else f"{self.seconds:g} seconds" if self.seconds is not None else "time"


class Poller(Protocol):
    """The part of ``select.poll()`` that :class:`Waiter` uses."""

    def register(self, fd: int, eventmask: int, /) -> None:
        """Watch a descriptor; replaces an earlier registration of it."""
        ...

    def unregister(self, fd: int, /) -> None:
        """Stop watching a descriptor."""
        ...

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """Wait for so many milliseconds, or without a limit; return descriptors and what happened to them."""
        ...


class SelectPoller:
    """``select.poll`` for systems that only have ``select.select`` (Windows)."""

    __slots__ = ("_masks",)

    def __init__(self) -> None:
        self._masks: dict[int, int] = {}

    def register(self, fd: int, eventmask: int, /) -> None:
        """See :class:`Poller`."""
        self._masks[fd] = eventmask

    def unregister(self, fd: int, /) -> None:
        """See :class:`Poller`."""
        del self._masks[fd]

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """See :class:`Poller`."""
        reading = [fd for fd, mask in self._masks.items() if mask & _IN]
        writing = [fd for fd, mask in self._masks.items() if mask & _OUT]
        # Windows reports a connection attempt that failed in the third set only.
        found = select.select(reading, writing, writing, None if timeout is None else timeout / 1000)
        events: dict[int, int] = {}
        for fds, event in zip(found, (_IN, _OUT, _ERR), strict=True):
            for fd in fds:
                events[fd] = events.get(fd, 0) | event
        return list(events.items())


def _default_poller() -> Poller:
    return select.poll() if hasattr(select, "poll") else SelectPoller()


class Waiter:
    """Waits for one socket, and can be woken by :meth:`interrupt`.

    One thread waits; :meth:`interrupt` may be called from any thread and from signal handlers. A signal handler that
    raises (``KeyboardInterrupt``) ends the wait with its exception; one that returns does not end it.

    A blocking call is enclosed in :meth:`begin` and :meth:`end`. ``begin`` forgets interruptions that came while
    nothing was blocked, so that they do not end a call that they were not meant for. The pairs nest, because an event
    handler may make a blocking call of its own; only the outermost ``begin`` forgets.

    Args:
        poller: a replacement for ``select.poll()``.

    Raises:
        OSError: the system has no more descriptors; the instance owns two.
    """

    __slots__ = ("_depth", "_fd", "_interrupted", "_mask", "_poll", "_poller", "_receiver", "_sender", "_wake_fd")

    def __init__(self, poller: Poller | None = None) -> None:
        self._poller: Poller = _default_poller() if poller is None else poller
        self._poll = self._poller.poll
        self._interrupted = False
        self._depth = 0
        self._fd = -1
        self._mask = 0
        # A pair of sockets and not an eventfd: this is used rarely, and exists everywhere.
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self._wake_fd = self._receiver.fileno()
        self._poller.register(self._wake_fd, _IN)

    def begin(self) -> None:
        """A blocking call begins."""
        if self._depth == 0 and self._interrupted:
            self._drain()
            self._interrupted = False
        self._depth += 1

    def end(self) -> None:
        """The blocking call that :meth:`begin` announced is over."""
        self._depth = max(0, self._depth - 1)  # an exception of a signal handler may have come before begin() was done

    def interrupt(self) -> None:
        """Make the current wait, or the next one of the current blocking call, raise. Never blocks or raises itself."""
        # The order matters: the flag must be set when the other side wakes up.
        self._interrupted = True
        # If the buffer is full, the other side is already being woken; if it is closed, nobody waits.
        with contextlib.suppress(OSError):
            self._sender.send(b"\0")

    def wait(
        self, fd: int = -1, *, read: bool = False, write: bool = False, timeout: float | None = None
    ) -> tuple[bool, bool]:
        """Wait until a socket can be used.

        Args:
            fd: the socket's descriptor; a negative one waits for the time-out or an interruption only.
            read: wait for something to read (the end of the stream and errors count).
            write: wait for room to write (errors count).
            timeout: the longest wait in seconds; zero only looks, ``None`` waits without a limit.

        Returns:
            Whether it can be read from, and whether it can be written to. Both are False when the time is up.

        Raises:
            InterruptedCallError: 10004; :meth:`interrupt` was called.
            AMQPError: 10009; there is something to wait for, but the descriptor is that of a closed socket.
        """
        mask = (_IN if read else 0) | (_OUT if write else 0)
        if fd != self._fd or mask != self._mask:
            self._watch(fd, mask)
        # Rounded up: waking a little too early would make the caller's loop spin until the time is really up.
        left = math.inf if timeout is None else math.ceil(max(0.0, timeout) * 1000)
        while True:
            if self._interrupted:
                self._drain()
                self._interrupted = False
                raise InterruptedCallError
            woken = False
            result = _NOTHING
            limit = min(_SLICE_MS, left)
            events = self._poll(limit)
            for ready, event in events:
                if ready == self._wake_fd:
                    woken = True
                else:
                    # Errors and hang-ups make the socket ready for whatever was asked: the next call reports them.
                    failed = bool(event & ~(_IN | _OUT))
                    result = (read and (failed or bool(event & _IN)), write and (failed or bool(event & _OUT)))
            if woken:
                # Either the flag is set by now, or this is left from an interruption that was already raised.
                self._drain()
            elif events:
                return result
            else:
                left -= limit
                if left <= 0:
                    return _NOTHING

    def _watch(self, fd: int, mask: int) -> None:
        """Change what is watched; most programs do so once."""
        if fd < 0 and mask:
            # A closed socket has a negative descriptor, and nothing would ever end the wait.
            raise AMQPError(10009, "the socket is closed")
        if self._fd >= 0 and (fd != self._fd or not mask):
            self._poller.unregister(self._fd)
            self._fd = -1
        # With an empty mask it is not registered, because poll() would still report a hang-up, at once.
        if fd >= 0 and mask:
            self._poller.register(fd, mask)
            self._fd = fd
        self._mask = mask if self._fd >= 0 else 0

    def _drain(self) -> None:
        """Empty the wake-up channel."""
        with contextlib.suppress(BlockingIOError):
            while len(self._receiver.recv(256)) == 256:
                pass

    def close(self) -> None:
        """Close the descriptors. May be called twice."""
        self._receiver.close()
        self._sender.close()

    def __enter__(self) -> Waiter:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

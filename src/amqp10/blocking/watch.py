"""Where the thread of a connection waits for its socket, which a caller may borrow.

While a caller waits for the socket itself, nobody else must be woken by it. On Linux the socket is watched through an
epoll object, whose interest another thread can change while the connection's thread waits. Elsewhere nothing is lent.
"""

from __future__ import annotations

import select
from typing import Final

from amqp10.errors import InterruptedCallError
from amqp10.net.waiting import Waiter

__all__ = ["Watch"]

_IN: Final = 1
_OUT: Final = 4
"""Of epoll: the values of <sys/epoll.h>."""


class Watch:
    """What wakes the connection's thread, and the caller that has borrowed the socket.

    All but :meth:`wait`, :meth:`wait_borrowed` and the two that wake is used under the driver's lock.

    Raises:
        OSError: the system has no more descriptors.
    """

    __slots__ = ("_borrower", "_epoll", "_fd", "_lent", "_mask", "_thread", "_write", "closed")

    def __init__(self) -> None:
        self._thread = Waiter()
        self._thread.begin()
        self._borrower: Waiter | None = None
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self._fd = -1
        self._write = False
        self._lent = False
        self._mask = 0
        self.closed: bool = False

    @property
    def lends(self) -> bool:
        """Whether a caller can borrow the socket."""
        return self._epoll is not None

    def set(self, fd: int, write: bool) -> None:
        """Watch this socket from now on, for room to write too if there is something to write; -1 for none."""
        epoll = self._epoll
        self._write = write
        if epoll is None:
            self._fd = fd
            return
        mask = (0 if self._lent else _IN) | (_OUT if write else 0)
        if fd == self._fd:
            if fd >= 0 and mask != self._mask:
                epoll.modify(fd, mask)
        else:
            if self._fd >= 0:
                epoll.unregister(self._fd)
            self._fd = fd
            if fd >= 0:
                epoll.register(fd, mask)
        self._mask = mask

    def lend(self) -> None:
        """Something to read no longer wakes the connection's thread."""
        self._lent = True
        self.set(self._fd, self._write)

    def take_back(self) -> None:
        """It does again."""
        self._lent = False
        self.set(self._fd, self._write)

    def wait(self, fd: int, timeout: float) -> tuple[bool, bool]:
        """Wait, as the connection's thread, for so many seconds at most.

        Returns:
            Whether the socket may be readable, and whether it may be writable; both False when it was woken.
        """
        epoll = self._epoll
        try:
            if epoll is None:
                return self._thread.wait(fd, read=fd >= 0, write=self._write, timeout=timeout)
            ready, _ = self._thread.wait(epoll.fileno(), read=True, timeout=timeout)
        except InterruptedCallError:
            return False, False
        return ready, ready

    def wake(self) -> None:
        """Wake the connection's thread. Never blocks."""
        self._thread.interrupt()

    def borrow(self) -> Waiter:
        """What the borrower waits with."""
        if self._borrower is None:
            self._borrower = Waiter()
        return self._borrower

    def wake_borrower(self) -> None:
        """Wake the caller that has borrowed the socket."""
        if self._borrower is not None:
            self._borrower.interrupt()

    def close(self) -> None:
        """Give the descriptors back."""
        self.closed = True
        self._thread.close()
        if self._borrower is not None:
            self._borrower.close()
        if self._epoll is not None:
            self._epoll.close()

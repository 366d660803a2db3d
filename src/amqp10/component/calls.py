"""Who may call: one thread at a time, however deep its handlers call again."""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from amqp10.errors import AMQPError

__all__ = ["Calls"]


class Calls:
    """The public calls that are under way. ``with calls:`` is around each of them.

    Attributes:
        depth: how many calls are inside each other.
        handling: the depth of the call whose handler is running; 0 while none is. An exception of a signal handler may
            leave both as they are not, but then the next call is no deeper than this.
        clean_up: takes back what a call has left that an exception of a signal handler ended; None when there is
            nothing to take back. Called when the next call begins that no handler makes.
    """

    __slots__ = ("_owner", "clean_up", "depth", "handling")

    def __init__(self) -> None:
        self._owner: dict[int, int] = {}
        """The thread that is inside a call, under 0: a dict, because ``setdefault`` looks and takes in one step."""
        self.depth: int = 0
        self.handling: int = 0
        self.clean_up: Callable[[], None] | None = None

    def __enter__(self) -> None:
        """Begin a call.

        An exception of a signal handler does not leave the instance taken by nobody.

        Raises:
            AMQPError: 211; another thread is inside a call of this instance.
        """
        before = self.depth
        try:
            me = get_ident()
            if self._owner.setdefault(0, me) != me:
                raise AMQPError(
                    211, "another thread is using this instance; only interrupt() may be called from any thread"
                )
            depth = self.depth = before + 1
            if depth == 1 or depth <= self.handling:
                # No handler runs and no fetch waits, whatever an exception has left over.
                self.handling = 0
                if self.clean_up is not None:
                    self.clean_up()
        except BaseException:
            if self._owner.get(0) == get_ident():
                self.depth = before
                if before <= 0:
                    self._owner.clear()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        depth = self.depth = self.depth - 1
        if depth <= 0:
            self.depth = 0
            self._owner.clear()

    @contextmanager
    def in_handler(self) -> Iterator[None]:
        """What arises within waits to fire, as while a handler of this call runs."""
        outer = self.handling
        try:
            self.handling = self.depth or 1
            yield
        finally:
            self.handling = outer

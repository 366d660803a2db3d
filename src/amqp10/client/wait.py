"""How the core's coroutines wait.

Whatever can wait is an ``async def`` that awaits nothing but :meth:`Wait.wait`, made by the driver. asyncio awaits such
a coroutine; a caller that blocks runs it with :func:`run`. A time-out, Ctrl-C and the cancellation of a task all enter
at the same ``await``, so there is one way to clean up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Protocol, TypeVar

from amqp10.errors import AMQPTimeoutError

__all__ = ["Bell", "Pause", "Timer", "Turns", "Wait", "Waits", "run"]

T = TypeVar("T")


class Wait(Protocol):
    """Something that happens once. Made by the driver; the core sets it."""

    @property
    def is_set(self) -> bool:
        """Whether it has happened."""
        ...

    def set(self) -> None:
        """It has happened: wake who waits. Never blocks; a second call does nothing."""
        ...

    def wait(self, deadline: float | None) -> Awaitable[None]:
        """Until it has happened.

        Args:
            deadline: on the driver's clock; None for no limit.

        Raises:
            AMQPTimeoutError: the deadline came first.
        """
        ...


class Timer(Protocol):
    """What makes waits, and knows the time."""

    def clock(self) -> float:
        """The time, in seconds of a monotonic clock."""
        ...

    def new_wait(self) -> Wait:
        """A fresh wait."""
        ...


class Pause:
    """What a coroutine yields to :func:`run` when it waits: for what, and until when."""

    __slots__ = ("deadline", "wait")

    def __init__(self, wait: Wait, deadline: float | None) -> None:
        self.wait: Wait = wait
        self.deadline: float | None = deadline

    def __await__(self) -> Generator[Pause, None, None]:
        if not self.wait.is_set:
            yield self


def run(work: Coroutine[Any, Any, T], block: Callable[[Pause], None]) -> T:
    """Run a coroutine of the core for a caller that blocks.

    Args:
        work: the coroutine.
        block: waits for one pause. What it raises (a time-out, ``KeyboardInterrupt``) is thrown into the coroutine.
    """
    try:
        pause = work.send(None)
        while True:
            try:
                block(pause)
            except BaseException as error:  # noqa: BLE001 - it is raised where the coroutine waits
                pause = work.throw(error)
            else:
                pause = work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result


class Waits:
    """Those who wait for the same thing. Who gives up leaves nothing behind."""

    __slots__ = ("_timer", "_waits")

    def __init__(self, timer: Timer) -> None:
        self._timer = timer
        self._waits: dict[Wait, None] = {}

    def __len__(self) -> int:
        return len(self._waits)

    async def wait(self, deadline: float | None) -> None:
        """Wait until :meth:`set` is called. Whether it has happened is for the caller to look at, before and after."""
        wait = self._timer.new_wait()
        self._waits[wait] = None
        try:
            await wait.wait(deadline)
        finally:
            self._waits.pop(wait, None)

    def set(self) -> None:
        """Wake all."""
        waits, self._waits = self._waits, {}
        for wait in waits:
            wait.set()


class Bell:
    """Wakes the one who waits: something is to be looked at."""

    __slots__ = ("_timer", "_wait")

    def __init__(self, timer: Timer) -> None:
        self._timer = timer
        self._wait: Wait | None = None

    def ring(self) -> None:
        """Wake who waits, if anybody does."""
        if self._wait is not None:
            self._wait.set()

    async def wait(self, until: float | None) -> bool:
        """Wait until it rings; False when the time came first."""
        wait = self._wait = self._timer.new_wait()
        try:
            await wait.wait(until)
        except AMQPTimeoutError:
            return False
        return True


class _Turn:
    __slots__ = ("granted", "wait")

    def __init__(self, wait: Wait) -> None:
        self.wait = wait
        self.granted = False


class Turns:
    """Those who wait for something that is given out one by one (credit, messages), in the order in which they came.

    A turn that is granted is reserved until its owner runs. One that is cancelled meanwhile passes it on, so nothing
    is lost to somebody who no longer wants it.

    Args:
        timer: makes the waits.
        pass_on: called when a turn that was granted is free again, and when one may be asked for.
    """

    __slots__ = ("_pass_on", "_timer", "granted", "waiting")

    def __init__(self, timer: Timer, pass_on: Callable[[], None]) -> None:
        self._timer = timer
        self._pass_on = pass_on
        self.waiting: dict[_Turn, None] = {}
        """Who waits, in order; those whose turn it is included."""
        self.granted: int = 0
        """How many turns are reserved for owners that have not run yet."""

    def __len__(self) -> int:
        return len(self.waiting)

    async def wait(self, deadline: float | None) -> None:
        """Wait for a turn. On return it is this caller's, and no longer reserved: it must be used at once."""
        turn = _Turn(self._timer.new_wait())
        self.waiting[turn] = None
        try:
            while not turn.granted:
                await turn.wait.wait(deadline)
        except BaseException:
            self._leave(turn)
            self._pass_on()
            raise
        self._leave(turn)

    def _leave(self, turn: _Turn) -> None:
        if turn in self.waiting:
            del self.waiting[turn]
            if turn.granted:
                self.granted -= 1

    def grant(self, available: int) -> None:
        """Give turns to the first who wait, as far as what is available reaches (reserved ones included)."""
        room = available - self.granted
        if room <= 0:
            return
        for turn in self.waiting:
            if turn.granted:
                continue
            turn.granted = True
            self.granted += 1
            turn.wait.set()
            room -= 1
            if room == 0:
                return

    def revoke(self) -> None:
        """What was available is gone: turns that were granted and not used wait again, in their old places."""
        for turn in self.waiting:
            if turn.granted:
                turn.granted = False
                turn.wait = self._timer.new_wait()
        self.granted = 0

    def release_all(self) -> None:
        """There will be nothing more to give: everybody runs, and finds out why."""
        turns, self.waiting = self.waiting, {}
        self.granted = 0
        for turn in turns:
            turn.granted = True
            turn.wait.set()

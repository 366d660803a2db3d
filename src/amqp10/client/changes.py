"""State changes for those who iterate over them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from amqp10.client.wait import Waits

if TYPE_CHECKING:
    from amqp10.client.core import ClientCore
    from amqp10.client.recovery import StateChange

__all__ = ["Changes"]

_KEPT: Final = 64


class Changes:
    """The state changes of a connection from now on. The oldest are dropped, and counted, when nobody takes them."""

    def __init__(self, core: ClientCore) -> None:
        self._core = core
        self._kept: deque[StateChange] = deque()
        self._waits = Waits(core.driver)
        self.dropped: int = 0
        core.listeners.append(self._add)

    def _add(self, change: StateChange) -> None:
        if len(self._kept) == _KEPT:
            self._kept.popleft()
            self.dropped += 1
        self._kept.append(change)
        self._waits.set()

    async def next(self) -> StateChange | None:
        """The next change; None when the connection is over and all have been taken."""
        while not self._kept:
            if self._core.over:
                return None
            await self._waits.wait(None)
        return self._kept.popleft()

    def stop(self) -> None:
        """Nobody iterates any more."""
        if self._add in self._core.listeners:
            self._core.listeners.remove(self._add)

"""Links whose messages wait until the peer opens its session window (transport, "session flow control")."""

from __future__ import annotations

from collections import deque
from collections.abc import Sized
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from amqp10.engine.window import SessionWindow

__all__ = ["Backlog"]


class Waiting(Protocol):
    """A link with deliveries that wait: a sender."""

    @property
    def pending(self) -> Sized:
        """Its deliveries that wait."""
        ...

    @property
    def held_back(self) -> bool:
        """Whether the next of them may not be sent, however far the window is open."""
        ...

    def send_frames(self, limit: int) -> object:
        """Send up to ``limit`` transfers of the next of them."""

    def pending_done(self) -> None:
        """Nothing of it waits for the window any more."""


class Backlog(deque[Waiting]):
    """The links of a session that wait, in the order in which they are served."""

    __slots__ = ("_window",)

    def __init__(self, window: SessionWindow) -> None:
        super().__init__()
        self._window = window

    def pump(self) -> None:
        """Send what waits, as far as the window is open: a frame of each link in turn."""
        window = self._window
        while self and window.remote_incoming > 0:
            link = self[0]
            # A lone link needs no turns; several take one frame each: a large message does not hold up the rest.
            if link.pending:
                link.send_frames(window.remote_incoming if len(self) == 1 else 1)
            if not link.pending or link.held_back:
                self.popleft()
                link.pending_done()
            elif len(self) > 1:
                self.rotate(-1)

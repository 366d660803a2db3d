"""One daemon thread per process that keeps connections alive while their event loop computes.

It writes an empty frame when a connection has sent nothing for half of the peer's idle time-out. It needs the GIL: code
in C that holds it for longer than that is the limit.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from amqp10.engine import Connection

__all__ = ["GUARDIAN", "Guarded"]

logger: logging.Logger = logging.getLogger("amqp10.client")

_SHORTEST: Final = 0.005


class Guarded(Protocol):
    """A transport that can be kept alive from another thread."""

    last_written: float
    """When it last wrote, on the system's monotonic clock."""

    def in_use(self) -> bool:
        """Whether its event loop still exists. One that was closed with connections open gets none of them back."""
        ...

    def keep_alive(self) -> None:
        """Write an empty frame, if that is possible now."""
        ...


class Guardian:
    """Watches connections. The thread runs while there are any."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._watched: dict[object, tuple[Guarded, Connection]] = {}
        self._written: dict[object, float] = {}
        self._thread: threading.Thread | None = None

    def watch(self, key: object, transport: Guarded, engine: Connection) -> None:
        """Keep a connection alive from now on, instead of the one that had the same key."""
        with self._condition:
            self._watched[key] = (transport, engine)
            self._written.pop(key, None)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="amqp10 guardian", daemon=True)
                self._thread.start()
            self._condition.notify()

    def forget(self, key: object) -> None:
        """The connection is over."""
        with self._condition:
            self._watched.pop(key, None)
            self._written.pop(key, None)
            self._condition.notify()

    def _run(self) -> None:
        while True:
            with self._condition:
                if not self._watched:
                    self._thread = None
                    return
                watched = list(self._watched.items())
            pause = 60.0
            for key, (transport, engine) in watched:
                if transport.in_use():
                    pause = min(pause, self._look_after(key, transport, engine))
                else:
                    self.forget(key)
            # Nothing is to be kept by this thread while it sleeps.
            watched.clear()
            key = transport = engine = None  # type: ignore[assignment]
            with self._condition:
                self._condition.wait(max(_SHORTEST, pause))

    def _look_after(self, key: object, transport: Guarded, engine: Connection) -> float:
        """Returns after how many seconds to look again."""
        limit = engine.idle.remote_timeout / 2
        if limit <= 0 or not engine.can_send:
            return 60.0
        now = time.monotonic()
        silent = now - max(transport.last_written, self._written.get(key, 0.0))
        # The loop itself writes at half the time-out; this thread steps in a little later.
        late = limit * 1.2
        if silent < late:
            return min(limit / 4, late - silent + _SHORTEST)
        try:
            transport.keep_alive()
        except OSError as error:
            # The loop finds out by itself, from the same socket.
            logger.debug("a connection could not be kept alive: %s", error)
        self._written[key] = now
        return limit / 4


GUARDIAN: Final = Guardian()

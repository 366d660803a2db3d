"""What brings a connection back when it was lost, and keeps the times of what is under way on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from amqp10.client.links import Stage
from amqp10.client.recovery import Move
from amqp10.client.sessions import SessionOwner
from amqp10.client.wait import Bell
from amqp10.errors import AMQPError, ConnectionLostError

if TYPE_CHECKING:
    from amqp10.client.recovery import Backoff
    from amqp10.client.servers import Servers

__all__ = ["Kept", "Upkeep"]


class Kept(SessionOwner, Protocol):
    """What the upkeep needs of the connection: see :class:`amqp10.client.core.ClientCore`."""

    servers: Servers
    backoff: Backoff
    closing: bool

    @property
    def over(self) -> bool:
        """Whether it is over for good."""
        ...

    def unwanted(self) -> bool:
        """Whether nobody wants it any more."""
        ...

    def move(self, move: Move, error: AMQPError | None = None, retry_in: float | None = None) -> None:
        """Change the state, and report it."""
        ...

    async def attempt(self, deadline: float | None) -> None:
        """Connect once, until the peer's open is here."""
        ...

    def restored(self) -> None:
        """Every link is attached again, or known not to be."""
        ...

    def fail(self, cause: AMQPError) -> None:
        """It will not come back."""
        ...

    def next_due(self) -> float | None:
        """When something has to be done next."""
        ...

    def at_due(self, now: float) -> None:
        """Do what is due by now."""
        ...


class Upkeep:
    """Runs beside the program, as long as there is something to do or to wait for.

    Args:
        core: the connection.

    Attributes:
        running: whether it runs.
    """

    __slots__ = ("_attention", "_core", "running")

    def __init__(self, core: Kept) -> None:
        self._core = core
        self._attention = Bell(core.driver)
        self.running: bool = False

    def attend(self) -> None:
        """Something is to be done, now or later: see that it runs, and looks."""
        self._attention.ring()
        if not self.running:
            self.running = True
            self._core.driver.spawn(self._run())

    def look(self) -> None:
        """Something has changed: if it runs, it looks."""
        self._attention.ring()

    async def rest(self, delay: float, error: AMQPError | None) -> None:
        """Wait before the next attempt to connect, no longer than somebody wants the connection.

        Args:
            delay: for how long, in seconds.
            error: why the last attempt failed.
        """
        core = self._core
        until = core.driver.clock() + delay
        core.move(Move.DELAY, error, retry_in=delay)
        while not core.unwanted() and await self._attention.wait(until):
            pass

    async def _run(self) -> None:
        core = self._core
        try:
            while not core.over:
                if core.incarnation is None and not core.closing:
                    await self._reconnect()
                    continue
                core.at_due(core.driver.clock())
                due = core.next_due()
                if due is None or core.over:
                    return
                await self._attention.wait(due)
        except AMQPError as error:
            core.fail(error)
        except BaseException:
            # The loop or the program ends, or there is a fault in here: whoever waits must not wait for ever.
            core.fail(ConnectionLostError("the recovery of the connection was stopped"))
            raise
        finally:
            self.running = False

    async def _reconnect(self) -> None:
        """One outage, until the connection is back or given up."""
        core = self._core
        while True:
            delay = 0.0 if core.servers.redirected else core.backoff.delay()
            if delay > 0:
                await self.rest(delay, core.down_error)
            if core.unwanted():
                return
            core.move(Move.ATTEMPT, core.down_error)
            try:
                timeout = core.options.timeout
                await core.attempt(None if timeout is None else core.driver.clock() + timeout)
            except AMQPError as error:
                if core.unwanted():
                    return
                core.down_error = error
                if core.servers.follow(error):
                    continue
                if not core.backoff.goes_on(error, core.driver.clock()):
                    core.fail(error)
                    return
                continue
            await self._wait_restored()
            return

    async def _wait_restored(self) -> None:
        core = self._core
        incarnation = core.incarnation
        timeout = core.options.timeout
        until = None if timeout is None else core.driver.clock() + timeout
        while core.incarnation is incarnation and any(link.stage is Stage.ATTACHING for link in core.sessions.links):
            # One link that is not answered must not hold up what is due for the others.
            due = core.next_due()
            if not await self._attention.wait(until if due is None or (until is not None and until < due) else due):
                now = core.driver.clock()
                if until is not None and now >= until:
                    break
                core.at_due(now)
        if core.incarnation is incarnation and incarnation is not None:
            core.restored()
        elif not core.over:
            # It went again before it was back.
            core.move(Move.DELAY, core.down_error, retry_in=0.0)

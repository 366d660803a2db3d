"""Everything that the core needs of the world: bytes, time, and somebody who runs what waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from amqp10.client.wait import Timer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from amqp10.client.incarnation import Transport
    from amqp10.client.options import Address

__all__ = ["Driver"]


class Driver(Timer, Protocol):
    """What a front end has made of threads and sockets, or of an event loop."""

    def kick(self) -> None:
        """Output is there: write it before this turn is over."""
        ...

    def open(self, where: Address, deadline: float | None) -> Awaitable[Transport]:
        """Connect.

        Raises:
            AMQPError: what went wrong. Nothing of the attempt is left then, nor when the call is interrupted.
        """
        ...

    def ask(self, token: Callable[[], str | Awaitable[str]]) -> Awaitable[str]:
        """Have the program give a token, which may take its time.

        Raises:
            AMQPError: it gave none.
        """
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the recovery beside everything else. One at a time."""
        ...

    def call(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call a function of the program soon, when the core is at rest."""
        ...

    def finish(self) -> None:
        """The connection is over for good: stop what runs in the background."""
        ...

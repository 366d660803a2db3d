"""Which server is tried next: those of the program in turn, and the one that a server sent this client to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amqp10.client.options import Address
from amqp10.conditions import ErrorCondition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amqp10.errors import AMQPError

__all__ = ["Servers"]


class Servers:
    """The servers of a connection.

    Args:
        addresses: what the program named, in order; at least one.

    Attributes:
        current: the one that is in use, or was tried last.
    """

    __slots__ = ("_addresses", "_followed", "_next", "_redirect", "current")

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses
        self.current: Address = addresses[0]
        self._next = 0
        self._redirect: Address | None = None
        self._followed = False
        """Whether the current server is one that another server named."""

    def __len__(self) -> int:
        return len(self._addresses)

    def next(self) -> Address:
        """The server to try now: in turn, but where a server sent this client first."""
        redirect, self._redirect = self._redirect, None
        if redirect is not None:
            return redirect
        address = self._addresses[self._next % len(self._addresses)]
        self._next += 1
        return address

    @property
    def redirected(self) -> bool:
        """Whether the next server is one that another server named."""
        return self._redirect is not None

    def follow(self, error: AMQPError) -> bool:
        """Whether the peer named another server, which is tried next (transport, "connection error").

        Once: the other one may not do so again.
        """
        if error.condition != ErrorCondition.CONNECTION_REDIRECT or self._followed:
            self._followed = False
            return False
        self._redirect = self._named(error)
        self._followed = self._redirect is not None
        return self._followed

    def _named(self, error: AMQPError) -> Address | None:
        info = {str(name): value for name, value in (error.info or {}).items()}
        host = info.get("network-host") or info.get("hostname")
        port = info.get("port")
        if not host:
            return None
        here = self.current
        return Address(
            host=str(host),
            port=int(port) if port else here.port,
            secure=here.secure,
            user=here.user,
            password=here.password,
            vhost=here.vhost,
        )

    def share(self, now: float, deadline: float | None, attempts: int) -> float | None:
        """Until when an attempt may last: one server that does not answer must not use up the time of all.

        Args:
            now: the time.
            deadline: when the time of all is over; None for never.
            attempts: how many have been made.
        """
        if deadline is None:
            return None
        urls = len(self._addresses)
        return now + (deadline - now) / (urls - attempts % urls)

"""What ``connect()`` was told, checked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import random as system_random
from typing import TYPE_CHECKING, Any

from amqp10.client.options import Address, Reconnect
from amqp10.client.tokens import token_mechanisms
from amqp10.engine import AnonymousMechanism, ClientMechanism, ExternalMechanism, PlainMechanism

if TYPE_CHECKING:
    from amqp10.client.recovery import StateChange

__all__ = ["ClientOptions"]


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """What ``connect()`` was told, checked.

    Attributes:
        addresses: the servers, in the order in which they are tried.
        user, password: credentials that come before those of a URL.
        sasl: mechanisms, instead of those that the credentials give.
        token: gives the token to log in with, anew for each attempt.
        hostname: the name stated in open and SASL; None for the virtual host of the URL, or its host.
        policy: how the connection comes back.
        recovers: whether it does.
        timeout: seconds, the default for everything that waits.
        random: a number from 0 to 1.
    """

    addresses: tuple[Address, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    sasl: Sequence[ClientMechanism] | None = None
    token: Callable[[], str | Awaitable[str]] | None = None
    hostname: str | None = None
    container_id: str = ""
    idle_timeout: float = 60.0
    max_frame_size: int = 1 << 20
    properties: Mapping[str, Any] | None = None
    desired_capabilities: Sequence[str] = ()
    timeout: float | None = 60.0
    policy: Reconnect = field(default_factory=Reconnect)
    recovers: bool = True
    on_state: Callable[[StateChange], object] | None = None
    external: bool = False
    """Whether a client certificate is presented, so that EXTERNAL makes sense."""
    random: Callable[[], float] = system_random

    def mechanisms(self, address: Address, token: str | None) -> list[ClientMechanism]:
        """What is offered to a server, the strongest first."""
        if self.sasl is not None:
            return list(self.sasl)
        user = self.user if self.user is not None else address.user
        if token is not None:
            return token_mechanisms(token, user or "", address.host)
        password = self.password if self.password is not None else address.password
        if user is not None:
            return [PlainMechanism(user, password or "")]
        offered: list[ClientMechanism] = [ExternalMechanism()] if self.external else []
        return [*offered, AnonymousMechanism()]

    def host_of(self, address: Address) -> str:
        """The name for open and SASL. A path stands for a virtual host of RabbitMQ."""
        if self.hostname is not None:
            return self.hostname
        return f"vhost:{address.vhost}" if address.vhost is not None else address.host

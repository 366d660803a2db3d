"""What ``connect()`` was told, checked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from random import random as system_random
from typing import TYPE_CHECKING, Any, Final

from amqp10.client.options import Address, Reconnect
from amqp10.client.tokens import token_mechanisms
from amqp10.engine import AnonymousMechanism, ClientMechanism, ExternalMechanism, PlainMechanism
from amqp10.errors import AuthenticationError

if TYPE_CHECKING:
    from amqp10.client.recovery import StateChange

__all__ = ["EXPOSED", "ClientOptions", "is_local"]

EXPOSED: Final = "logging in without TLS sends the password so that everybody on the way can read it"
_READABLE: Final = frozenset(("PLAIN", "OAUTHBEARER", "XOAUTH2"))


def is_local(host: str) -> bool:
    """Whether a host of a URL is this machine, as far as its name tells."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, eq=False, repr=False)
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
    proxied: bool = False
    """Whether a proxy is between, so that no server is local."""
    plain_without_tls: bool = True
    """Whether a password may be sent where others can read it."""
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

    def exposes_password(self, address: Address) -> bool:
        """Whether the login sends a password or token so that everybody on the way can read it.

        Raises:
            AuthenticationError: 602; it would, and the program has forbidden that.
        """
        if address.secure or (not self.proxied and is_local(address.host)):
            return False
        if self.sasl is not None:
            if not any(mechanism.name in _READABLE for mechanism in self.sasl):
                return False
        elif self.token is None and self.user is None and address.user is None:
            return False
        if not self.plain_without_tls:
            raise AuthenticationError(f"{EXPOSED}, and plain_without_tls is False: use amqps://")
        return True

    def host_of(self, address: Address) -> str:
        """The name for open and SASL. A path is a virtual host of RabbitMQ."""
        if self.hostname is not None:
            return self.hostname
        return f"vhost:{address.vhost}" if address.vhost is not None else address.host

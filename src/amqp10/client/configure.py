"""From the arguments of ``connect()`` to options, the same for every front end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from amqp10.client.client_options import ClientOptions
from amqp10.client.options import Reconnect, addresses, check_names

if TYPE_CHECKING:
    from amqp10.client.recovery import StateChange
    from amqp10.engine import ClientMechanism

__all__ = ["client_options", "wants_tls"]


def client_options(
    url: str | Sequence[str],
    *,
    user: str | None,
    password: str | None,
    sasl: Sequence[ClientMechanism] | None,
    token: Callable[[], str | Awaitable[str]] | None,
    hostname: str | None,
    container_id: str | None,
    idle_timeout: float,
    max_frame_size: int,
    properties: Mapping[str, Any] | None,
    desired_capabilities: Sequence[str],
    timeout: float | None,
    reconnect: Reconnect | None,
    on_state: Callable[[StateChange], object] | None,
    external: bool,
    proxied: bool,
    plain_without_tls: bool,
) -> ClientOptions:
    """Check and keep what ``connect()`` was given.

    Raises:
        ValueError: a URL is malformed, or a number is out of its range.
        TypeError: ``sasl`` holds something other than mechanisms, or ``desired_capabilities`` other than names.
    """
    check_names("desired_capabilities", desired_capabilities)
    if sasl is not None and not all(callable(getattr(one, "start", None)) for one in sasl):
        raise TypeError(f"sasl takes a sequence of mechanisms, such as those of amqp10.engine, not {sasl!r:.60}")
    if idle_timeout < 0:
        raise ValueError(f"idle_timeout is not negative, unlike {idle_timeout}")
    if password is not None and user is None:
        raise ValueError("a password needs a user")
    return ClientOptions(
        addresses=addresses(url),
        user=user,
        password=password,
        sasl=sasl,
        token=token,
        hostname=hostname,
        container_id=container_id or "",
        idle_timeout=idle_timeout,
        max_frame_size=max_frame_size,
        properties=properties,
        desired_capabilities=desired_capabilities,
        timeout=timeout,
        policy=reconnect if reconnect is not None else Reconnect(),
        recovers=reconnect is not None,
        on_state=on_state,
        external=external,
        proxied=proxied,
        plain_without_tls=plain_without_tls,
    )


def wants_tls(options: ClientOptions, given: bool) -> bool:
    """Whether a URL needs TLS.

    Args:
        options: the checked arguments.
        given: whether the program said how.

    Raises:
        ValueError: it did, and no URL uses it.
    """
    if any(address.secure for address in options.addresses):
        return True
    if given:
        raise ValueError("tls is for amqps:// URLs, and there is none")
    return False

"""Name resolution, bounded by a time-out and interruptible.

``getaddrinfo`` blocks for as long as the system's resolver is configured to try, often half a minute, and cannot be
interrupted. So the network calls it in another thread. IP addresses need no call.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from amqp10.errors import AMQPError, AMQPTimeoutError, code_from_gaierror
from amqp10.net.names import Endpoint, ascii_name, is_ip_address
from amqp10.net.network import Network, Stream, TimeIsUpError
from amqp10.net.words import NEUTRAL, Words

if TYPE_CHECKING:
    from amqp10.net.waiting import Deadline

__all__ = ["Lookup", "resolve", "system_lookup"]

Lookup = Callable[[str, int, int], list[tuple[Any, ...]]]
"""Host, port and address family to what ``socket.getaddrinfo`` returns. Blocks; is called in another thread."""

_FAMILIES: Final[dict[int, tuple[int, str]]] = {
    0: (socket.AF_INET, "IPv4"),
    1: (socket.AF_INET6, "IPv6"),
    2: (socket.AF_UNSPEC, "IP"),
}


def system_lookup(host: str, port: int, family: int) -> list[tuple[Any, ...]]:
    """The system's own resolver."""
    return list(socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM))


async def resolve(
    host: str,
    port: int,
    use_ipv6: int,
    network: Network[Stream],
    deadline: Deadline,
    *,
    setting: str = NEUTRAL.host,
    words: Words = NEUTRAL,
) -> list[Endpoint]:
    """The addresses of a host, in the order to try them.

    Args:
        host: a name or an IP address, as :func:`clean_host` returns it.
        port: the port to put into the addresses.
        use_ipv6: 0 for IPv4 only, 1 for IPv6 only, 2 for IPv6 addresses first and IPv4 addresses after them.
        network: looks up names.
        deadline: when to give up.
        setting: the name of the host's setting in messages.
        words: the names of the other settings in messages.

    Returns:
        At least one address.

    Raises:
        AMQPTimeoutError: 201; there was no answer in time.
        InterruptedCallError: 10004; the call was interrupted.
        AMQPError: 11001 to 11004, the name has no address; 10047, the address is not of the family asked for.
    """
    if use_ipv6 not in _FAMILIES:
        raise AMQPError(604, f"{words.address_kinds} is {use_ipv6!r}: it can be 0 (IPv4), 1 (IPv6) or 2 (both)")
    family, kind = _FAMILIES[use_ipv6]
    if is_ip_address(host):
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror as error:  # for example fe80::1%eth7 where there is no eth7
            raise AMQPError(
                code_from_gaierror(error.errno), f"{setting} {host!r} cannot be used: {error.strerror}"
            ) from error
        if family not in (socket.AF_UNSPEC, found[0][0]):
            raise AMQPError(
                10047, f"{setting} is {host}, but {words.address_kinds} is {use_ipv6}, which means {kind} only"
            )
        return [Endpoint(found[0][0], found[0][4])]
    name = ascii_name(host, setting)
    try:
        answer = await network.call(lambda: network.lookup(name, port, family), deadline.remaining, f"resolving {host}")
    except TimeIsUpError:
        raise AMQPTimeoutError(f"{setting} {host!r} could not be resolved within {deadline.in_words()}") from None
    except AMQPError:
        raise
    except socket.gaierror as error:
        code = code_from_gaierror(error.errno)
        # A name that exists may have addresses of the other kind.
        exists = code == 11004 and family != socket.AF_UNSPEC
        hint = f" ({words.address_kinds} is {use_ipv6}, so only {kind} addresses count)" if exists else ""
        raise AMQPError(code, f"{setting} {host!r} could not be resolved: {error.strerror}{hint}") from error
    except Exception as error:
        raise AMQPError(11003, f"{setting} {host!r} could not be resolved: {error}") from error
    endpoints = list(
        dict.fromkeys(
            Endpoint(entry[0], entry[4])
            for entry in answer
            if entry[0] in (socket.AF_INET, socket.AF_INET6) and family in (socket.AF_UNSPEC, entry[0])
        )
    )
    if not endpoints:
        raise AMQPError(11004, f"{setting} {host!r} has no {kind} address")
    # Stable: within a family the system's order stays, which follows its preferences (RFC 6724).
    endpoints.sort(key=lambda endpoint: endpoint.family != socket.AF_INET6)
    return endpoints

"""Name resolution, bounded by a time-out and interruptible.

``getaddrinfo`` blocks for as long as the system's resolver is configured to try, often half a minute, and nothing ends
it. So the network makes that call elsewhere. IP addresses need none.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from amqp10.errors import AMQPError, AMQPTimeoutError, code_from_gaierror
from amqp10.net.network import Network, Stream, TimeIsUpError
from amqp10.net.options import NEUTRAL, Words

if TYPE_CHECKING:
    from amqp10.net.waiting import Deadline

__all__ = [
    "Endpoint",
    "Lookup",
    "ascii_name",
    "clean_host",
    "format_address",
    "is_ip_address",
    "resolve",
    "server_name",
    "system_lookup",
    "to_ascii",
]

Lookup = Callable[[str, int, int], list[tuple[Any, ...]]]
"""Host, port and address family to what ``socket.getaddrinfo`` returns. Blocks; is called in another thread."""

_FAMILIES: Final[dict[int, tuple[int, str]]] = {
    0: (socket.AF_INET, "IPv4"),
    1: (socket.AF_INET6, "IPv6"),
    2: (socket.AF_UNSPEC, "IP"),
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that a socket can connect or bind to."""

    family: int
    address: tuple[Any, ...]

    @property
    def host(self) -> str:
        """The IP address as text."""
        return str(self.address[0])

    def __str__(self) -> str:
        return format_address(self.address)


def format_address(address: tuple[Any, ...]) -> str:
    """``"192.0.2.1:5672"``, ``"[2001:db8::1]:5672"``, ``"example.com:5672"``."""
    host = f"[{address[0]}]" if ":" in str(address[0]) else address[0]
    return f"{host}:{address[1]}"


def is_ip_address(host: str) -> bool:
    """Whether a host is given as an IPv4 or IPv6 address rather than as a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def clean_host(host: str, setting: str) -> str:
    """Check a host name or address as a program gave it; take the brackets off an IPv6 address.

    Raises:
        AMQPError: 102 when it is empty, 11001 when it cannot be a host name.
    """
    if not host:
        raise AMQPError(102, f"{setting} is empty: set it to a host name or an IP address")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if "/" in host or "@" in host:
        # What stands before the @ of a URL may be a password.
        shown = repr(host) if "@" not in host else f"'...@{host.rpartition('@')[2]}'"
        raise AMQPError(11001, f"{setting} is {shown}: give only a host name or an IP address, not a URL")
    name, colon, port = host.partition(":")
    if colon and name and port.isdecimal():
        raise AMQPError(11001, f"{setting} is {host!r}: give only the name {name!r}; the port is given apart from it")
    # Names go into requests to proxies too: nothing that could end a line or a field may pass.
    if any(char <= " " or char == "\x7f" for char in host):
        raise AMQPError(11001, f"{setting} is {host!r}: a host name has no spaces or control characters")
    return host


def to_ascii(host: str) -> str:
    """A host name with other letters than ASCII in their "xn--" form (IDNA 2008, with the mapping of UTS 46, as
    browsers do it). Resolving it and verifying the server must agree on what it is.

    Raises:
        UnicodeError: no host name looks like this.
    """
    if host.isascii():
        return host.encode("idna").decode("ascii")  # changes nothing; finds labels that are empty or too long
    import idna

    return idna.encode(host, uts46=True).decode("ascii")


def ascii_name(host: str, setting: str) -> str:
    """A host name as it travels, see :func:`to_ascii`.

    Raises:
        AMQPError: 11001; no host name looks like this.
    """
    try:
        name = to_ascii(host)
    except UnicodeError as error:
        raise AMQPError(11001, f"{setting} is {host!r}, which cannot be a host name: {error}") from None
    if len(name.rstrip(".")) > 253:
        raise AMQPError(11001, f"{setting} is {host!r}, which is too long for a host name")
    return name


def server_name(host: str) -> str:
    """The name of a TLS server in the form in which it is sent (SNI) and compared with a certificate: ASCII, without
    the root's dot; or its address.

    Raises:
        AMQPError: 102; no host name looks like this.
    """
    text = host.strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    if is_ip_address(text):
        return text
    text = text.removesuffix(".")
    try:
        text = to_ascii(text)
    except UnicodeError as error:
        raise AMQPError(102, f"{host!r} is not a host name: {error}") from error
    if not text or len(text) > 255 or any(char.isspace() or not char.isprintable() for char in text):
        raise AMQPError(102, f"{host!r} is not a host name")
    return text


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
        network: asks for names.
        deadline: when to give up.
        setting: what messages call the host.
        words: what they call the rest.

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
        raise AMQPTimeoutError(f"{setting} {host!r} could not be resolved in {deadline.in_words()}") from None
    except AMQPError:
        raise
    except socket.gaierror as error:
        code = code_from_gaierror(error.errno)
        # Only a name that exists can have addresses of another kind.
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

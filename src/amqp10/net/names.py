"""Names and addresses of hosts, without looking anything up."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from amqp10.errors import AMQPError

__all__ = [
    "Endpoint",
    "ascii_name",
    "clean_host",
    "format_address",
    "is_ip_address",
    "server_name",
    "to_ascii",
]


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
    """Check a host name or address that a program gave; remove the brackets of an IPv6 address.

    Raises:
        AMQPError: 102 when it is empty, 11001 when it cannot be a host name.
    """
    if not host:
        raise AMQPError(102, f"{setting} is empty: set it to a host name or an IP address")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if "/" in host or "@" in host:
        # What comes before the @ of a URL may be a password.
        shown = repr(host) if "@" not in host else f"'...@{host.rpartition('@')[2]}'"
        raise AMQPError(11001, f"{setting} is {shown}: give only a host name or an IP address, not a URL")
    name, colon, port = host.partition(":")
    if colon and name and port.isdecimal():
        raise AMQPError(11001, f"{setting} is {host!r}: give only the name {name!r}; the port is a separate setting")
    # Names are also put into requests to proxies, so nothing that could end a line or a field is allowed.
    if any(char <= " " or char == "\x7f" for char in host):
        raise AMQPError(11001, f"{setting} is {host!r}: a host name has no spaces or control characters")
    return host


def to_ascii(host: str) -> str:
    """A host name with letters outside ASCII in its "xn--" form (IDNA 2008, with the mapping of UTS 46, like browsers).
    Resolving the name and verifying the server must use the same form.

    Raises:
        UnicodeError: it cannot be a host name.
        AMQPError: 11001; the package idna is missing.
    """
    if host.isascii():
        return host.encode("idna").decode("ascii")  # changes nothing; finds labels that are empty or too long
    try:
        import idna
    except ModuleNotFoundError:
        raise AMQPError(
            11001,
            f"{host!r} has letters outside ASCII, which needs the package idna. To install it:"
            ' pip install "amqp10[tls]"; or give the name in its xn-- form',
        ) from None

    return idna.encode(host, uts46=True).decode("ascii")


def ascii_name(host: str, setting: str) -> str:
    """A host name in its ASCII form, see :func:`to_ascii`.

    Raises:
        AMQPError: 11001; it cannot be a host name.
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
        AMQPError: 102; it cannot be a host name.
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

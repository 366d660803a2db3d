"""Which hosts are reached through a proxy, and which proxy the environment names."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from amqp10.errors import AMQPError
from amqp10.net.resolve import to_ascii

if TYPE_CHECKING:
    from amqp10.net.proxy.connect import ProxyOptions

__all__ = ["detect_proxy", "host_is_listed"]


def host_is_listed(patterns: Iterable[str], host: str, port: int, *, subdomains: bool = False) -> bool:
    """Whether one of the patterns fits a host. Nothing is resolved: names match names, addresses match addresses.

    Args:
        patterns: names, compared without regard to case; with ``*`` for any characters, or a leading dot for all
            subdomains; addresses; networks such as ``10.0.0.0/8``. Each may end with ``:port``.
        host: a name or an address.
        port: the port on that host.
        subdomains: whether a plain name stands for its subdomains too.
    """
    name = _plain(host)
    address = _address(name)
    return any(_fits(pattern.strip(), name, address, port, subdomains) for pattern in patterns)


def _fits(
    pattern: str, name: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int, subdomains: bool
) -> bool:
    pattern, wanted_port = _split_port(pattern)
    if not pattern or (wanted_port is not None and wanted_port != port):
        return False
    if address is not None and pattern != "*":
        try:
            return address in ipaddress.ip_network(pattern, strict=False)
        except ValueError:
            pass  # not an address or network; "10.0.*" is left to be compared as text
    pattern = _plain(pattern)
    if pattern.startswith("."):
        return name.endswith(pattern) or (subdomains and name == pattern[1:])
    if "*" in pattern:
        return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None
    return name == pattern or (subdomains and address is None and name.endswith("." + pattern))


def _plain(name: str) -> str:
    """A name for comparing: small letters, without the root's dot, in the form in which it travels."""
    name = name.rstrip(".").lower()
    if not name.isascii():
        with contextlib.suppress(UnicodeError):  # what is no name equals none
            # Label by label, because one of a pattern may be "*".
            return ".".join(label if label.isascii() else to_ascii(label) for label in name.split("."))
    return name


def _split_port(pattern: str) -> tuple[str, int | None]:
    """``"host:5672"``, ``"[::1]:5672"``, ``"::1"``: the pattern without its port, and the port."""
    if pattern.startswith("["):
        pattern, _, rest = pattern[1:].partition("]")
        digits = rest.removeprefix(":")
    elif pattern.count(":") == 1:
        pattern, _, digits = pattern.partition(":")
    else:
        return pattern, None
    if not digits:
        return pattern, None
    # Something that is no port fits no port.
    return pattern, int(digits) if digits.isascii() and digits.isdigit() else -1


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


_VARIABLES: Final = ("all_proxy", "ALL_PROXY", "https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY")


def detect_proxy(host: str, port: int, environ: Mapping[str, str] | None = None) -> ProxyOptions | None:
    """The proxy that the environment asks for, or ``None``.

    The first variable that is set and not empty counts: ``all_proxy``, ``https_proxy``, ``http_proxy``, each before its
    form in capitals. In a CGI program ``HTTP_PROXY`` is not looked at: there it is a header of the request, which
    anybody can send. The value is ``[scheme://][user:password@]host[:port]`` with the scheme ``http`` (the default: a
    tunnel), ``socks4``, ``socks4a``, ``socks5`` (names are resolved here) or ``socks5h`` (by the proxy), ``socks``
    meaning ``socks5``.

    ``no_proxy`` (or ``NO_PROXY``) lists hosts to reach without it, separated by commas or blanks: ``*`` for all, names,
    which include their subdomains, addresses, networks, each with an optional ``:port``. This machine (``localhost``
    and the loopback addresses) is always reached without it.

    Args:
        host: name or address of the server; a leading ``*`` does not matter.
        port: port of the server.
        environ: the environment variables; by default those of the process.

    Raises:
        AMQPError: 604; the variable's value cannot be used. The message names the variable only, because the value
            may contain a password.
    """
    if environ is None:
        environ = os.environ
    host = host.removeprefix("*").removeprefix("[").removesuffix("]")
    address = _address(host)
    if host.rstrip(".").lower() == "localhost" or (address is not None and address.is_loopback):
        return None
    excepted = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if host_is_listed(re.split(r"[,\s]+", excepted), host, port, subdomains=True):
        return None
    for variable in _VARIABLES:
        if variable == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
            continue
        value = environ.get(variable, "").strip()
        if value:
            return _parse(variable, value)
    return None


def _parse(variable: str, value: str) -> ProxyOptions:
    from amqp10.net.proxy.connect import ProxyKind, ProxyOptions

    kinds = {
        "http": ProxyKind.TUNNEL,
        "socks": ProxyKind.SOCKS5,
        "socks4": ProxyKind.SOCKS4,
        "socks4a": ProxyKind.SOCKS4A,
        "socks5": ProxyKind.SOCKS5,
        "socks5h": ProxyKind.SOCKS5,
    }
    problem = f"the environment variable {variable} does not contain the address of a proxy"
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        raise AMQPError(604, problem) from None
    # A password with an unquoted "/", "?" or "#" ends the host too early: what follows would be tried as a proxy.
    if not host or "@" in parts.path + parts.query + parts.fragment:
        raise AMQPError(604, f"{problem}; special characters in a password are written as %XX")
    if scheme not in kinds:
        raise AMQPError(604, f"the environment variable {variable} names a proxy of the kind {scheme!r}, not supported")
    return ProxyOptions(
        kind=kinds[scheme],
        host=host,
        port=port or 0,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        remote_dns=scheme == "socks5h",
        origin=f"the environment variable {variable}",
    )

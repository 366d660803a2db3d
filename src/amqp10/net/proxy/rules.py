"""Matching hosts with patterns, such as those of ``no_proxy``."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Iterable

from amqp10.net.names import to_ascii

__all__ = ["as_address", "host_is_listed"]


def host_is_listed(patterns: Iterable[str], host: str, port: int, *, subdomains: bool = False) -> bool:
    """Whether one of the patterns matches a host. Nothing is resolved: names match names, addresses match addresses.

    Args:
        patterns: names, compared without regard to case; with ``*`` for any characters, or a leading dot for all
            subdomains; addresses; networks such as ``10.0.0.0/8``. Each may end with ``:port``.
        host: a name or an address.
        port: the port on that host.
        subdomains: whether a plain name means its subdomains too.
    """
    name = _plain(host)
    address = as_address(name)
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
    """A name for comparing: lower case, without the dot of the root, in its ASCII form."""
    name = name.rstrip(".").lower()
    if not name.isascii():
        with contextlib.suppress(UnicodeError):  # it is not a name, and equals none
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
    # Something that is not a port matches no port.
    return pattern, int(digits) if digits.isascii() and digits.isdigit() else -1


def as_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The text as an IP address, or None."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None

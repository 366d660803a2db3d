"""A proxy given as a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from amqp10.net.proxy.connect import ProxyOptions

__all__ = ["proxy_of_url"]

# Scheme -> the number of the kind in ``proxy.ProxyKind``, and whether the proxy resolves names.
_SCHEMES: Final = {
    "http": (1, True),
    "socks4": (2, False),
    "socks4a": (10, True),
    "socks5": (3, False),
    "socks5h": (3, True),
}


def proxy_of_url(url: str) -> ProxyOptions:
    """The proxy that a URL names: ``http://[user:password@]host[:port]``, ``socks4``, ``socks4a``, ``socks5`` or
    ``socks5h`` (the proxy resolves names).

    Raises:
        ValueError: the URL is malformed. Its text is not repeated: it may hold a password.
    """
    from amqp10.net.proxy.connect import ProxyOptions  # not needed by most programs

    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the proxy's URL is malformed: expected http://[user:password@]host[:port]") from None
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ValueError(f"the proxy's URL has a host and one of the schemes {', '.join(_SCHEMES)}")
    kind, remote_dns = _SCHEMES[parts.scheme]
    return ProxyOptions(
        kind=kind,
        host=parts.hostname,
        port=port or 0,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        remote_dns=remote_dns,
        origin="proxy",
    )

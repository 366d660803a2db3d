"""A proxy given as a URL."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote, urlsplit

from amqp10.net.proxy.options import ProxyKind, ProxyOptions

__all__ = ["proxy_of_url"]

_KINDS: Final = {
    "http": ProxyKind.TUNNEL,
    "socks": ProxyKind.SOCKS5,
    "socks4": ProxyKind.SOCKS4,
    "socks4a": ProxyKind.SOCKS4A,
    "socks5": ProxyKind.SOCKS5,
    "socks5h": ProxyKind.SOCKS5,
}


def proxy_of_url(url: str, origin: str = "proxy") -> ProxyOptions:
    """The proxy that a URL names: ``scheme://[user:password@]host[:port]`` with the scheme ``http`` (a tunnel),
    ``socks4``, ``socks4a``, ``socks5`` (names are resolved here), ``socks5h`` (by the proxy), or ``socks``, which means
    ``socks5``.

    Args:
        url: the URL. Special characters in user and password are written as ``%XX``.
        origin: where it was given, for messages of a connection through the proxy.

    Raises:
        ValueError: the URL cannot name a proxy. The message does not repeat it, because it may contain a password.
    """
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        raise ValueError("expected [scheme://][user:password@]host[:port]") from None
    if scheme not in _KINDS:
        raise ValueError(f"the scheme of its URL is {scheme!r}; {', '.join(_KINDS)} are supported")
    # An unquoted "/", "?" or "#" in a password ends the host too early: a part of the password would be taken for it.
    if not host or "@" in parts.path + parts.query + parts.fragment:
        raise ValueError(
            "its URL has no host, or a password with special characters, which are written as %XX in a URL"
        )
    return ProxyOptions(
        kind=_KINDS[scheme],
        host=host,
        port=port or 0,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        remote_dns=scheme == "socks5h",
        origin=origin,
    )

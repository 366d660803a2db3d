"""Which proxy the environment names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

from amqp10.errors import AMQPError
from amqp10.net.proxy.options import ProxyOptions
from amqp10.net.proxy.rules import as_address, host_is_listed
from amqp10.net.proxy.url import proxy_of_url

__all__ = ["detect_proxy"]


_VARIABLES: Final = ("all_proxy", "ALL_PROXY", "https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY")


def detect_proxy(host: str, port: int, environ: Mapping[str, str] | None = None) -> ProxyOptions | None:
    """The proxy that the environment asks for, or ``None``.

    The first variable that is set and not empty counts: ``all_proxy``, ``https_proxy``, ``http_proxy``, each before its
    upper-case form. A CGI program ignores ``HTTP_PROXY``, because there it is a header of the request, which anybody
    can send. The value is ``[scheme://][user:password@]host[:port]`` with the scheme ``http`` (the default: a tunnel),
    ``socks4``, ``socks4a``, ``socks5`` (names are resolved here) or ``socks5h`` (by the proxy), ``socks`` meaning
    ``socks5``.

    ``no_proxy`` (or ``NO_PROXY``) lists hosts to connect to directly, separated by commas or blanks: ``*`` for all,
    names, which include their subdomains, addresses, networks, each with an optional ``:port``. This machine
    (``localhost`` and the loopback addresses) is always connected to directly.

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
    address = as_address(host)
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
            origin = f"the environment variable {variable}"
            try:
                return proxy_of_url(value if "://" in value else f"http://{value}", origin)
            except ValueError as error:
                raise AMQPError(604, f"{origin} does not name a proxy: {error}") from None
    return None

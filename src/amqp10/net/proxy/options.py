"""The settings of a proxy, as plain data: nothing that talks to a proxy is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from amqp10.net.proxy.rules import host_is_listed
from amqp10.net.words import NEUTRAL

__all__ = ["ProxyKind", "ProxyOptions"]


class ProxyKind(IntEnum):
    """The protocols of proxies, with their numbers in the settings."""

    TUNNEL = 1
    SOCKS4 = 2
    SOCKS5 = 3
    SOCKS4A = 10

    @property
    def default_port(self) -> int:
        """80 for a tunnel, 1080 for SOCKS."""
        return 80 if self is ProxyKind.TUNNEL else 1080

    @property
    def title(self) -> str:
        """The name of the protocol for messages."""
        return "HTTP tunnel" if self is ProxyKind.TUNNEL else self.name


@dataclass(slots=True, repr=False)
class ProxyOptions:
    """A proxy. Checked when a connection is made, not at assignment.

    Attributes:
        kind: the protocol.
        host: name or address of the proxy.
        port: its port; 0 for the default of the protocol.
        user: user name; empty for none.
        password: the password; empty for none. SOCKS4 and 4A have none.
        data: additional header lines for an HTTP tunnel, separated by line ends.
        remote_dns: whether a SOCKS5 proxy resolves names even without the ``*``.
        origin: where the proxy was named, for messages: a setting, or an environment variable.
        exceptions: hosts to connect to directly, separated by semicolons: names,
            ``*.example.com`` or ``.example.com`` for subdomains, addresses, networks (``10.0.0.0/8``), each with an
            optional ``:port``.
    """

    kind: int
    host: str
    port: int = 0
    user: str = ""
    password: str = ""
    data: str = ""
    remote_dns: bool = False
    exceptions: str = ""
    origin: str = field(default=NEUTRAL.proxy_host, compare=False)

    def __repr__(self) -> str:
        shown = [f"kind={self.kind!r}", f"host={self.host!r}", f"port={self.port}"]
        if self.user:
            shown.append(f"user={self.user!r}")
        # Header lines can carry tokens as well.
        shown += [f"{name}='***'" for name in ("password", "data") if getattr(self, name)]
        if self.remote_dns:
            shown.append("remote_dns=True")
        if self.exceptions:
            shown.append(f"exceptions={self.exceptions!r}")
        return f"ProxyOptions({', '.join(shown)})"

    def excepts(self, host: str, port: int) -> bool:
        """Whether a host is to be connected to without the proxy."""
        return host_is_listed(self.exceptions.split(";"), host, port)

"""What the program has assigned to the properties of its connection, and what they read as while there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amqp10.component.enums import AuthScheme, CertStoreType, FirewallType, ReceiveMode, SSLProvider
from amqp10.wire.performatives import PORT, SECURE_PORT

if TYPE_CHECKING:
    from amqp10.net.tls.options import TlsInfo

__all__ = ["Properties", "Route"]


class Properties:
    """The values that were assigned. Numbers and times are in the units that the properties document."""

    __slots__ = (
        "auth_scheme",
        "container_id",
        "fetch_timeout",
        "firewall_auto_detect",
        "firewall_host",
        "firewall_password",
        "firewall_port",
        "firewall_type",
        "firewall_user",
        "idle_timeout",
        "local_host",
        "local_port",
        "password",
        "receive_mode",
        "remote_host",
        "remote_port",
        "ssl_accept_server_cert_encoded",
        "ssl_cert_encoded",
        "ssl_cert_store",
        "ssl_cert_store_password",
        "ssl_cert_store_type",
        "ssl_cert_subject",
        "ssl_enabled",
        "ssl_provider",
        "timeout",
        "user",
    )

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Every property at its default."""
        self.auth_scheme: AuthScheme = AuthScheme.smSASLPlain
        self.container_id: str = ""
        self.fetch_timeout: int = 60
        self.firewall_auto_detect: bool = False
        self.firewall_host: str = ""
        self.firewall_password: str = ""
        self.firewall_port: int = 0
        self.firewall_type: FirewallType = FirewallType.fwNone
        self.firewall_user: str = ""
        self.idle_timeout: int = 0
        self.local_host: str = ""
        self.local_port: int = 0
        self.password: str = ""
        self.receive_mode: ReceiveMode = ReceiveMode.rmAutomatic
        self.remote_host: str = ""
        self.remote_port: int = PORT
        self.ssl_accept_server_cert_encoded: bytes = b""
        self.ssl_cert_encoded: bytes = b""
        self.ssl_cert_store: bytes = b"MY"
        self.ssl_cert_store_password: str = ""
        self.ssl_cert_store_type: CertStoreType = CertStoreType.cstUser
        self.ssl_cert_subject: str = ""
        self.ssl_enabled: bool = False
        self.ssl_provider: SSLProvider = SSLProvider.sslpAutomatic
        self.timeout: int = 60
        self.user: str = ""

    def choose_tls(self, enabled: bool) -> None:
        """Enable or disable TLS; a port at its default follows."""
        self.ssl_enabled = enabled
        if enabled and self.remote_port == PORT:
            self.remote_port = SECURE_PORT
        elif not enabled and self.remote_port == SECURE_PORT:
            self.remote_port = PORT

    def choose_proxy(self, kind: FirewallType) -> None:
        """Choose a kind of proxy; the port becomes the usual one of its kind."""
        self.firewall_type = kind
        if kind is not FirewallType.fwNone:
            from amqp10.net.proxy.options import ProxyKind

            self.firewall_port = ProxyKind(kind).default_port

    @property
    def limit(self) -> float:
        """The time-out of calls that wait for an answer of the peer, in seconds. With ``timeout`` 0, which never waits
        to send, answers are still waited for, as long as a default time-out would allow."""
        return float(self.timeout or 60)


class Route:
    """The way of the present connection to its server.

    Attributes:
        remote_address: the server's address and port; None without a connection.
        local_address: the address and port in use on this side.
        proxy_address: the proxy's, where the properties name one.
        proxied: whether the way goes through a proxy, named or found in the environment.
        tls: what was negotiated; None without TLS. It is still there when the connection is not.
        server_certificate: the server's certificate as PEM; empty before the first TLS connection.
    """

    __slots__ = ("local_address", "proxied", "proxy_address", "remote_address", "server_certificate", "tls")

    def __init__(self) -> None:
        self.remote_address: tuple[str, int] | None = None
        self.local_address: tuple[str, int] | None = None
        self.proxy_address: tuple[str, int] | None = None
        self.proxied: bool = False
        self.tls: TlsInfo | None = None
        self.server_certificate: bytes = b""

    def forget_addresses(self) -> None:
        """The connection is gone."""
        self.remote_address = self.local_address = self.proxy_address = None

    def negotiated(self, attribute: str) -> str | int:
        """What was negotiated for TLS, by the name of a live setting; empty without TLS."""
        info = self.tls
        if info is None:
            return ""
        values: dict[str, str | int] = {
            "ssl_negotiated_cipher": info.cipher,
            "ssl_negotiated_cipher_strength": info.cipher_strength,
            "ssl_negotiated_cipher_suite": info.cipher_suite,
            "ssl_negotiated_key_exchange": info.key_exchange,
            "ssl_negotiated_key_exchange_strength": info.key_exchange_strength,
            "ssl_negotiated_version": info.version,
        }
        return values[attribute]

"""The properties of the class ``AMQP`` that say how to connect, each one line where there is no more to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amqp10.component.accessors import Accessors
from amqp10.component.checks import check_bool, check_bytes, check_enum, check_host, check_int, check_text
from amqp10.component.enums import AuthScheme, CertStoreType, FirewallType, ReceiveMode, SSLProvider
from amqp10.component.fields import BoolProperty, BytesProperty, EnumProperty, IntProperty, TextProperty

if TYPE_CHECKING:
    from amqp10.component.loop import Loop
    from amqp10.component.network import Network
    from amqp10.component.properties import Properties, Route

__all__ = ["ConnectionProperties"]


class ConnectionProperties(Accessors):
    """The way to the server, and who it is that connects."""

    __slots__ = ()

    _properties: Properties
    _route: Route
    _loop: Loop
    _network: Network

    # -- connection ------------------------------------------------------------------------------------------------

    auth_scheme: EnumProperty[AuthScheme] = EnumProperty(AuthScheme, locked=211)
    """How to authenticate: none, or a SASL mechanism (security, "sasl")."""

    container_id: TextProperty = TextProperty(locked=211)
    """The name of this container, stated in open; empty for a generated one (transport, "open")."""

    user: TextProperty = TextProperty(locked=211)
    """The user name for SASL PLAIN."""

    password: TextProperty = TextProperty(locked=211)
    """The password for SASL PLAIN. It never shows in a log, an error or a ``repr``."""

    idle_timeout: IntProperty = IntProperty(maximum=2147483, locked=211)
    """After how many seconds without data from the server the connection is given up; 0 for never (transport, "idle
    time-out of a connection")."""

    timeout: IntProperty = IntProperty()
    """The longest wait in seconds, counted from the last byte that moved (heartbeats left out), or with the setting
    AbsoluteTimeout from the start of the call. With 0, send_message never waits."""

    fetch_timeout: IntProperty = IntProperty()
    """The longest wait of fetch_message in seconds; 0 waits for ever."""

    receive_mode: EnumProperty[ReceiveMode] = EnumProperty(ReceiveMode)
    """Whether new receiver links receive by themselves, or a message at a time by fetch_message."""

    remote_port: IntProperty = IntProperty(maximum=65535, locked=100)
    """The port of the server, 1 to 65535."""

    @property
    def remote_host(self) -> str:
        """The server's name or address; while connected, the address it was resolved to.

        The name as it was assigned goes on serving for TLS verification, the open frame and connecting again.
        """
        address = self._route.remote_address
        return address[0] if address is not None else self._properties.remote_host

    @remote_host.setter
    def remote_host(self, value: str) -> None:
        text = check_host("remote_host", value)
        self._loop.check_unlocked("remote_host", 101)
        self._properties.remote_host = text

    @property
    def local_host(self) -> str:
        """The local name or address to connect from, empty for any; while connected, the address in use."""
        address = self._route.local_address
        return address[0] if address is not None else self._properties.local_host

    @local_host.setter
    def local_host(self, value: str) -> None:
        text = check_host("local_host", value)
        self._loop.check_unlocked("local_host", 107)
        self._properties.local_host = text

    @property
    def local_port(self) -> int:
        """The local port to connect from, 0 for any free one; while connected, the port in use."""
        address = self._route.local_address
        return address[1] if address is not None else self._properties.local_port

    @local_port.setter
    def local_port(self, value: int) -> None:
        port = check_int("local_port", value, 0, 65535)
        self._loop.check_unlocked("local_port", 106)
        self._properties.local_port = port

    # -- proxy -----------------------------------------------------------------------------------------------------

    firewall_auto_detect: BoolProperty = BoolProperty(locked=211)
    """Whether to take the proxy from the environment's proxy variables, where firewall_type names none."""

    firewall_password: TextProperty = TextProperty(locked=211)
    """The password for the proxy. It never shows in a log or an error."""

    firewall_port: IntProperty = IntProperty(maximum=65535, locked=211)
    """The proxy's port, 0 for the usual one of its kind."""

    firewall_user: TextProperty = TextProperty(locked=211)
    """The user name for the proxy."""

    @property
    def firewall_host(self) -> str:
        """The proxy's name or address; while connected through it, the address it was resolved to."""
        address = self._route.proxy_address
        return address[0] if address is not None else self._properties.firewall_host

    @firewall_host.setter
    def firewall_host(self, value: str) -> None:
        text = check_host("firewall_host", value)
        self._loop.check_unlocked("firewall_host", 211)
        self._properties.firewall_host = text

    @property
    def firewall_type(self) -> FirewallType:
        """The kind of proxy to connect through; assigning one sets ``firewall_port`` to the usual port of that kind."""
        return self._properties.firewall_type

    @firewall_type.setter
    def firewall_type(self, value: FirewallType | int) -> None:
        kind = check_enum("firewall_type", FirewallType, value)
        self._loop.check_unlocked("firewall_type", 211)
        self._properties.choose_proxy(kind)

    # -- TLS -------------------------------------------------------------------------------------------------------

    ssl_accept_server_cert_encoded: BytesProperty = BytesProperty(locked=211)
    """A server certificate (PEM, DER or base64) that is accepted whatever else is wrong with it."""

    ssl_cert_store: BytesProperty = BytesProperty(locked=211)
    """The store of the client certificate: a file name, the content, or a name, as ``ssl_cert_store_type`` says. A str
    is taken as UTF-8."""

    ssl_cert_store_password: TextProperty = TextProperty(locked=211)
    """The password of that store. It never shows in a log, an error or a ``repr``."""

    ssl_cert_store_type: EnumProperty[CertStoreType] = EnumProperty(CertStoreType, locked=211)
    """The kind of that store."""

    ssl_provider: EnumProperty[SSLProvider] = EnumProperty(SSLProvider, locked=211)
    """The TLS implementation; only the internal one (OpenSSL) exists on every system."""

    @property
    def ssl_cert_encoded(self) -> bytes:
        """The client certificate (PEM, DER or base64). Assigning one searches the store for its key, and sets
        ``ssl_cert_subject`` to its subject, or to nothing when the key is not there."""
        return self._properties.ssl_cert_encoded

    @ssl_cert_encoded.setter
    def ssl_cert_encoded(self, value: bytes) -> None:
        encoded = check_bytes("ssl_cert_encoded", value)
        self._loop.check_unlocked("ssl_cert_encoded", 211)
        self._network.select_encoded(encoded)

    @property
    def ssl_cert_subject(self) -> str:
        """The subject of the client certificate. Assigning one searches the store: for the exact subject, then for one
        that contains it, ``"*"`` for any; it then reads as the full subject, or as nothing when there is none."""
        return self._properties.ssl_cert_subject

    @ssl_cert_subject.setter
    def ssl_cert_subject(self, value: str) -> None:
        subject = check_text("ssl_cert_subject", value)
        self._loop.check_unlocked("ssl_cert_subject", 211)
        self._network.select_subject(subject)

    @property
    def ssl_enabled(self) -> bool:
        """Whether to connect with TLS. Assigning it moves ``remote_port`` between its two defaults, 5672 and 5671."""
        return self._properties.ssl_enabled

    @ssl_enabled.setter
    def ssl_enabled(self, value: bool) -> None:
        enabled = check_bool("ssl_enabled", value)
        self._loop.check_unlocked("ssl_enabled", 211)
        self._properties.choose_tls(enabled)

    @property
    def ssl_server_cert_encoded(self) -> bytes:
        """The server's certificate as PEM, also when it was refused; empty before the first TLS connection."""
        return self._route.server_certificate

"""How the component reaches its server: socket options, proxies, TLS, and the properties that describe them.

What TLS and proxies do is in ``amqp10.net``; here the properties and settings become the options of those modules.
Nothing of them is imported before a connection needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from amqp10.component.enums import CertStoreType, FirewallType, SSLProvider
from amqp10.component.events import (
    AMQPConnectionStatusEventParams,
    AMQPSSLServerAuthenticationEventParams,
    AMQPSSLStatusEventParams,
)
from amqp10.component.receiving import Receiving
from amqp10.errors import AMQPError
from amqp10.wire.performatives import PORT, SECURE_PORT

if TYPE_CHECKING:
    from amqp10.net.blocking import BlockingNetwork
    from amqp10.net.certstores.base import CertificateEntry
    from amqp10.net.certstores.stores import CertificateStore
    from amqp10.net.options import TransportOptions
    from amqp10.net.proxy.options import ProxyOptions
    from amqp10.net.tls.options import PeerCertificate, TlsInfo, TlsOptions
    from amqp10.net.tls.policy import TlsContext
    from amqp10.net.tls.session import TlsSession
    from amqp10.net.transport import Transport
    from amqp10.net.waiting import Deadline, Waiter
    from amqp10.net.words import Words

__all__ = ["Network"]

# What the reference names as the stages of a connection; programs compare with these texts.
STATUS_FIREWALL: Final = "Firewall connection complete."
STATUS_SECURE: Final = "Secure Sockets Layer (SSL) handshake complete."
STATUS_CONNECTED: Final = "Remote host connection complete."
STATUS_DISCONNECTED: Final = "Remote host disconnected."
STATUS_SECURE_ENDED: Final = "SSL or S/Shell connection broken."
STATUS_FIREWALL_ENDED: Final = "Firewall host disconnected."

_PEM_END: Final = b"-----END CERTIFICATE-----\n"


def _words() -> Words:
    """Under which names programs know the settings of a connection; messages use them."""
    from amqp10.net.words import Words

    return Words(
        host="remote_host",
        port="remote_port",
        local_host="local_host",
        local_port="local_port",
        address_kinds="UseIPv6",
        no_delay="TcpNoDelay",
        keep_alive="TCPKeepAlive",
        keep_alive_time="KeepAliveTime",
        keep_alive_interval="KeepAliveInterval",
        proxy_kind="firewall_type",
        proxy_host="firewall_host",
        proxy_port="firewall_port",
        proxy_user="firewall_user",
        proxy_password="firewall_password",
        proxy_data="FirewallData",
    )


class Network(Receiving):
    """The way to the server."""

    __slots__ = (
        "_firewall_auto_detect",
        "_firewall_host",
        "_firewall_password",
        "_firewall_port",
        "_firewall_type",
        "_firewall_user",
        "_local_address",
        "_local_host",
        "_local_port",
        "_proxy_address",
        "_remote_address",
        "_remote_host",
        "_remote_port",
        "_ssl_accept_server_cert_encoded",
        "_ssl_cert_encoded",
        "_ssl_cert_store",
        "_ssl_cert_store_password",
        "_ssl_cert_store_type",
        "_ssl_cert_subject",
        "_ssl_enabled",
        "_ssl_provider",
        "_ssl_server_cert_encoded",
        "_through_proxy",
        "_tls_context",
        "_tls_info",
        "_waiter",
    )

    _firewall_auto_detect: bool
    _firewall_host: str
    _firewall_password: str
    _firewall_port: int
    _firewall_type: FirewallType
    _firewall_user: str
    _local_host: str
    _local_port: int
    _remote_host: str
    _remote_port: int
    _ssl_accept_server_cert_encoded: bytes
    _ssl_cert_encoded: bytes
    _ssl_cert_store: bytes
    _ssl_cert_store_password: str
    _ssl_cert_store_type: CertStoreType
    _ssl_cert_subject: str
    _ssl_enabled: bool
    _ssl_provider: SSLProvider

    def __init__(self) -> None:
        super().__init__()
        self._waiter: Waiter | None = None
        self._remote_address: tuple[str, int] | None = None
        self._local_address: tuple[str, int] | None = None
        self._proxy_address: tuple[str, int] | None = None
        self._ssl_server_cert_encoded = b""
        self._through_proxy = False
        self._tls_context: TlsContext | None = None
        self._tls_info: TlsInfo | None = None
        self._set_network_defaults()

    def _set_network_defaults(self) -> None:
        self._firewall_auto_detect = False
        self._firewall_host = ""
        self._firewall_password = ""
        self._firewall_port = 0
        self._firewall_type = FirewallType.fwNone
        self._firewall_user = ""
        self._local_host = ""
        self._local_port = 0
        self._remote_host = ""
        self._remote_port = PORT
        self._ssl_accept_server_cert_encoded = b""
        self._ssl_cert_encoded = b""
        self._ssl_cert_store = b"MY"
        self._ssl_cert_store_password = ""
        self._ssl_cert_store_type = CertStoreType.cstUser
        self._ssl_cert_subject = ""
        self._ssl_enabled = False
        self._ssl_provider = SSLProvider.sslpAutomatic
        self._ssl_server_cert_encoded = b""
        self._tls_context = None
        self._tls_info = None

    def _get_waiter(self) -> Waiter:
        waiter = self._waiter
        if waiter is None:
            from amqp10.net.waiting import Waiter

            waiter = self._waiter = Waiter()
        return waiter

    def _status(self, stage: str, error: AMQPError | None = None) -> None:
        code, text = (0, "OK") if error is None else (error.code, error.message)
        self._post("_on_connection_status", AMQPConnectionStatusEventParams(stage, code, text))

    # -- connecting ------------------------------------------------------------------------------------------------

    def _open_transport(self, limit: float) -> Transport:
        """Connect, through the proxy where there is one, with TLS where it is enabled."""
        from amqp10.net.blocking import BlockingNetwork
        from amqp10.net.network import run
        from amqp10.net.waiting import Deadline

        self._ssl_server_cert_encoded = b""
        self._tls_info = None
        deadline = Deadline(limit, clock=self._clock, absolute=self._settings.absolute_timeout)
        waiter = self._get_waiter()
        options = self._transport_options()
        options.proxy = self._proxy()
        # What could be wrong with certificates and settings is found out before anybody is bothered.
        session = self._tls_session() if self._ssl_enabled else None
        try:
            waiter.begin()
            return run(self._dial(options, session, BlockingNetwork(waiter), deadline))
        finally:
            waiter.end()

    async def _dial(
        self, options: TransportOptions, session: TlsSession | None, network: BlockingNetwork, deadline: Deadline
    ) -> Transport:
        from amqp10.net import dial
        from amqp10.net.blocking import taken_over

        dialled = await dial.reach(self._remote_host, self._remote_port, options, network, deadline)
        self._through_proxy = dialled.proxy_address is not None
        if self._through_proxy:
            self._status(STATUS_FIREWALL)
        self._remote_address = dialled.remote_address
        self._local_address = dialled.stream.transport.local_address
        if self._firewall_type is not FirewallType.fwNone:
            self._proxy_address = dialled.proxy_address
        if session is not None:
            try:
                await dial.secure(dialled, session, network, deadline)
            finally:
                self._ssl_server_cert_encoded = session.server_certificate
            self._tls_info = session.info
            self._status(STATUS_SECURE)
        self._status(STATUS_CONNECTED)
        return taken_over(dialled)

    def _transport_options(self) -> TransportOptions:
        from amqp10.net.options import TransportOptions

        settings = self._settings
        return TransportOptions(
            use_ipv6=settings.use_ipv6,
            local_host=self._local_host,
            local_port=self._local_port,
            tcp_no_delay=settings.tcp_no_delay,
            keep_alive=settings.tcp_keep_alive,
            keep_alive_time_ms=settings.keep_alive_time,
            keep_alive_interval_ms=settings.keep_alive_interval,
            in_buffer_size=settings.in_buffer_size,
            out_buffer_size=settings.out_buffer_size,
            linger=settings.linger,
            linger_time=settings.linger_time,
            max_transfer_rate=settings.max_transfer_rate,
            words=_words(),
        )

    def _socket_settings_changed(self) -> None:
        """Have an open connection follow a change of the settings of its socket."""
        if self._pump is not None:
            self._pump.transport.reconfigure(self._transport_options())

    def _proxy(self) -> ProxyOptions | None:
        """The proxy that the properties name, or that the environment does when that is asked for."""
        settings = self._settings
        if self._firewall_type is FirewallType.fwNone:
            if not self._firewall_auto_detect:
                return None
            from amqp10.net.proxy.environment import detect_proxy

            proxy = detect_proxy(self._remote_host, self._remote_port)
            if proxy is not None:
                proxy.exceptions = settings.proxy_exceptions_list
            return proxy
        if not self._firewall_host:
            raise AMQPError(604, "firewall_type names a kind of proxy, but firewall_host is empty")
        from amqp10.net.proxy.options import ProxyOptions

        return ProxyOptions(
            kind=int(self._firewall_type),
            host=self._firewall_host,
            port=self._firewall_port,
            user=self._firewall_user,
            password=self._firewall_password,
            data=settings.firewall_data,
            exceptions=settings.proxy_exceptions_list,
            origin=_words().proxy_host,
        )

    def _set_firewall_type(self, kind: FirewallType) -> None:
        self._firewall_type = kind
        if kind is not FirewallType.fwNone:
            from amqp10.net.proxy.options import ProxyKind

            self._firewall_port = ProxyKind(kind).default_port

    # -- TLS -------------------------------------------------------------------------------------------------------

    def _set_ssl_enabled(self, enabled: bool) -> None:
        """Enable or disable TLS; a port at its default follows."""
        self._ssl_enabled = enabled
        if enabled and self._remote_port == PORT:
            self._remote_port = SECURE_PORT
        elif not enabled and self._remote_port == SECURE_PORT:
            self._remote_port = PORT

    def _tls_session(self) -> TlsSession:
        from amqp10.net.tls.load import load_tls

        tls = load_tls()
        options = self._tls_options()
        context = self._tls_context
        if context is None or context.options != options:
            # Kept between connections, because sessions to be resumed live in it.
            from amqp10.net.tls.policy import TlsContext

            context = self._tls_context = TlsContext(options)
        session: TlsSession = tls.TlsSession(
            context,
            self._remote_host.removeprefix("*"),
            on_status=self._ssl_status,
            authenticate=self._authenticate_server,
        )
        return session

    def _tls_options(self) -> TlsOptions:
        from amqp10.net.tls.options import TlsOptions

        settings = self._settings
        return TlsOptions(
            provider=int(self._ssl_provider),
            enabled_protocols=settings.ssl_enabled_protocols,
            enabled_cipher_suites=settings.ssl_enabled_cipher_suites,
            cipher_list=settings.openssl_cipher_list,
            cipher_strength=settings.ssl_cipher_strength,
            ca_dir=settings.openssl_ca_dir,
            ca_file=settings.openssl_ca_file,
            ca_cert_file_paths=settings.ssl_ca_cert_file_paths,
            server_ca_certs=settings.ssl_server_ca_certs,
            client_ca_certs=settings.ssl_ca_certs,
            client_certificate=self._client_certificate(),
            accept_server_cert=self._ssl_accept_server_cert_encoded,
            prng_seed_data=settings.openssl_prng_seed_data,
            reuse_session=settings.reuse_ssl_session,
            check_crl=settings.ssl_check_crl,
            enable_renegotiation=settings.ssl_enable_renegotiation,
            include_cert_chain=settings.ssl_include_cert_chain,
            key_log_file=settings.ssl_key_log_file,
            security_flags=settings.ssl_security_flags,
            log_packets=settings.log_ssl_packets,
            tls12_signature_algorithms=settings.tls12_signature_algorithms,
            tls12_supported_groups=settings.tls12_supported_groups,
            tls13_key_share_groups=settings.tls13_key_share_groups,
            tls13_signature_algorithms=settings.tls13_signature_algorithms,
            tls13_supported_groups=settings.tls13_supported_groups,
        )

    def _client_certificate(self) -> CertificateEntry | None:
        if not self._ssl_cert_subject and not self._ssl_cert_encoded:
            return None
        from amqp10.net.tls.load import load_stores

        entry: CertificateEntry = load_stores().load_client_certificate(
            self._ssl_cert_store,
            int(self._ssl_cert_store_type),
            self._ssl_cert_store_password,
            self._ssl_cert_subject if not self._ssl_cert_encoded else "",
            self._ssl_cert_encoded,
        )
        return entry

    def _open_store(self) -> CertificateStore:
        from amqp10.net.tls.load import load_stores

        store: CertificateStore = load_stores().open_store(
            self._ssl_cert_store, int(self._ssl_cert_store_type), self._ssl_cert_store_password
        )
        return store

    def _select_subject(self, subject: str) -> None:
        """Search the store for a subject; what is selected afterwards is the full subject, or nothing."""
        self._ssl_cert_encoded = b""
        self._ssl_cert_subject = ""
        if not subject:
            return
        entry = self._open_store().search(subject)
        if entry is not None:
            # An entry that is a bare key has no subject of its own; what selected it goes on doing so.
            self._ssl_cert_subject = entry.subject or subject

    def _select_encoded(self, encoded: bytes) -> None:
        """Search the store for the key of a certificate; the subject tells whether there is one."""
        self._ssl_cert_encoded = b""
        self._ssl_cert_subject = ""
        if not encoded:
            return
        entry = self._open_store().find_encoded(encoded)
        self._ssl_cert_encoded = encoded
        if entry is not None:
            self._ssl_cert_subject = entry.subject

    def _ssl_status(self, message: str) -> None:
        self._log(2, "Info", f"TLS: {message}")
        self._post("_on_ssl_status", AMQPSSLStatusEventParams(message))

    def _authenticate_server(self, certificate: PeerCertificate) -> bool:
        """Ask the program about the server's certificate. Unlike other events this needs its answer at once."""
        self._dispatch()
        self._raise_failure()
        hook = self._on_ssl_server_authentication
        if hook is None:
            return certificate.accept
        # The server's own certificate is the first; the setting SSLIncludeCertChain adds others.
        end = certificate.encoded.index(_PEM_END) + len(_PEM_END)
        self._ssl_server_cert_encoded = certificate.encoded[:end]
        params = AMQPSSLServerAuthenticationEventParams(
            certificate.encoded, certificate.subject, certificate.issuer, certificate.status, certificate.accept
        )
        nested = self._dispatching
        self._dispatching = self._depth or 1
        try:
            hook(params)
        finally:
            self._dispatching = nested
        self._raise_failure()  # the handler may have called disconnect()
        return params.accept

    def _negotiated(self, attribute: str) -> str | int:
        """What was negotiated for TLS, by the name of a live setting; empty without TLS."""
        info = self._tls_info
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

"""How the component reaches its server: socket options, proxies, TLS, and the properties that describe them.

What TLS and proxies do is in ``amqp10.net``; here the properties and settings become the options of those modules.
Nothing of them is imported before a connection needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from amqp10.component.enums import FirewallType
from amqp10.component.events import AMQPSSLServerAuthenticationEventParams, AMQPSSLStatusEventParams
from amqp10.component.handlers import Handlers
from amqp10.component.log import Log
from amqp10.component.loop import Loop
from amqp10.component.properties import Properties, Route
from amqp10.component.settings import Settings
from amqp10.errors import AMQPError

if TYPE_CHECKING:
    from amqp10.net.blocking import BlockingNetwork
    from amqp10.net.certstores.base import CertificateEntry
    from amqp10.net.certstores.stores import CertificateStore
    from amqp10.net.options import TransportOptions
    from amqp10.net.proxy.options import ProxyOptions
    from amqp10.net.tls.options import PeerCertificate, TlsOptions
    from amqp10.net.tls.policy import TlsContext
    from amqp10.net.tls.session import TlsSession
    from amqp10.net.transport import Transport
    from amqp10.net.waiting import Deadline
    from amqp10.net.words import Words

__all__ = ["Network"]

# What the reference names as the stages of a connection; programs compare with these texts.
STATUS_FIREWALL: Final = "Firewall connection complete."
STATUS_SECURE: Final = "Secure Sockets Layer (SSL) handshake complete."
STATUS_CONNECTED: Final = "Remote host connection complete."

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


class Network:
    """The way to the server."""

    __slots__ = ("_handlers", "_log", "_loop", "_properties", "_route", "_settings", "_tls_context")

    def __init__(
        self, settings: Settings, properties: Properties, route: Route, handlers: Handlers, log: Log, loop: Loop
    ) -> None:
        self._settings = settings
        self._properties = properties
        self._route = route
        self._handlers = handlers
        self._log = log
        self._loop = loop
        self._tls_context: TlsContext | None = None

    def reset(self) -> None:
        """Forget what is kept of earlier connections."""
        self._route.server_certificate = b""
        self._route.tls = None
        self._tls_context = None

    # -- connecting ------------------------------------------------------------------------------------------------

    def open_transport(self, limit: float) -> Transport:
        """Connect, through the proxy where there is one, with TLS where it is enabled."""
        from amqp10.net.blocking import BlockingNetwork
        from amqp10.net.network import run
        from amqp10.net.waiting import Deadline

        self._route.server_certificate = b""
        self._route.tls = None
        deadline = Deadline(limit, clock=self._loop.clock, absolute=self._settings.absolute_timeout)
        waiter = self._loop.get_waiter()
        options = self._transport_options()
        options.proxy = self._proxy()
        # What could be wrong with certificates and settings is found out before anybody is bothered.
        session = self._tls_session() if self._properties.ssl_enabled else None
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

        dialled = await dial.reach(
            self._properties.remote_host, self._properties.remote_port, options, network, deadline
        )
        self._route.proxied = dialled.proxy_address is not None
        if self._route.proxied:
            self._loop.status(STATUS_FIREWALL)
        self._route.remote_address = dialled.remote_address
        self._route.local_address = dialled.stream.transport.local_address
        if self._properties.firewall_type is not FirewallType.fwNone:
            self._route.proxy_address = dialled.proxy_address
        if session is not None:
            try:
                await dial.secure(dialled, session, network, deadline)
            finally:
                self._route.server_certificate = session.server_certificate
            self._route.tls = session.info
            self._loop.status(STATUS_SECURE)
        self._loop.status(STATUS_CONNECTED)
        return taken_over(dialled)

    def _transport_options(self) -> TransportOptions:
        from amqp10.net.options import TransportOptions

        settings = self._settings
        return TransportOptions(
            use_ipv6=settings.use_ipv6,
            local_host=self._properties.local_host,
            local_port=self._properties.local_port,
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

    def follow_settings(self) -> None:
        """Have an open connection follow a change of the settings of its socket."""
        if self._loop.pump is not None:
            self._loop.pump.transport.reconfigure(self._transport_options())

    def _proxy(self) -> ProxyOptions | None:
        """The proxy that the properties name, or that the environment does when that is asked for."""
        settings = self._settings
        if self._properties.firewall_type is FirewallType.fwNone:
            if not self._properties.firewall_auto_detect:
                return None
            from amqp10.net.proxy.environment import detect_proxy

            proxy = detect_proxy(self._properties.remote_host, self._properties.remote_port)
            if proxy is not None:
                proxy.exceptions = settings.proxy_exceptions_list
            return proxy
        if not self._properties.firewall_host:
            raise AMQPError(604, "firewall_type names a kind of proxy, but firewall_host is empty")
        from amqp10.net.proxy.options import ProxyOptions

        return ProxyOptions(
            kind=int(self._properties.firewall_type),
            host=self._properties.firewall_host,
            port=self._properties.firewall_port,
            user=self._properties.firewall_user,
            password=self._properties.firewall_password,
            data=settings.firewall_data,
            exceptions=settings.proxy_exceptions_list,
            origin=_words().proxy_host,
        )

    # -- TLS -------------------------------------------------------------------------------------------------------

    def _tls_session(self) -> TlsSession:
        from amqp10.net.tls.load import load_tls

        tls = load_tls()
        options = self.tls_options()
        context = self._tls_context
        if context is None or context.options != options:
            # Kept between connections, because sessions to be resumed live in it.
            from amqp10.net.tls.policy import TlsContext

            context = self._tls_context = TlsContext(options)
        session: TlsSession = tls.TlsSession(
            context,
            self._properties.remote_host.removeprefix("*"),
            on_status=self._ssl_status,
            authenticate=self._authenticate_server,
        )
        return session

    def tls_options(self) -> TlsOptions:
        from amqp10.net.tls.options import TlsOptions

        settings = self._settings
        return TlsOptions(
            provider=int(self._properties.ssl_provider),
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
            accept_server_cert=self._properties.ssl_accept_server_cert_encoded,
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
        if not self._properties.ssl_cert_subject and not self._properties.ssl_cert_encoded:
            return None
        from amqp10.net.tls.load import load_stores

        entry: CertificateEntry = load_stores().load_client_certificate(
            self._properties.ssl_cert_store,
            int(self._properties.ssl_cert_store_type),
            self._properties.ssl_cert_store_password,
            self._properties.ssl_cert_subject if not self._properties.ssl_cert_encoded else "",
            self._properties.ssl_cert_encoded,
        )
        return entry

    def _open_store(self) -> CertificateStore:
        from amqp10.net.tls.load import load_stores

        store: CertificateStore = load_stores().open_store(
            self._properties.ssl_cert_store,
            int(self._properties.ssl_cert_store_type),
            self._properties.ssl_cert_store_password,
        )
        return store

    def select_subject(self, subject: str) -> None:
        """Search the store for a subject; what is selected afterwards is the full subject, or nothing."""
        self._properties.ssl_cert_encoded = b""
        self._properties.ssl_cert_subject = ""
        if not subject:
            return
        entry = self._open_store().search(subject)
        if entry is not None:
            # An entry that is a bare key has no subject of its own; what selected it goes on doing so.
            self._properties.ssl_cert_subject = entry.subject or subject

    def select_encoded(self, encoded: bytes) -> None:
        """Search the store for the key of a certificate; the subject tells whether there is one."""
        self._properties.ssl_cert_encoded = b""
        self._properties.ssl_cert_subject = ""
        if not encoded:
            return
        entry = self._open_store().find_encoded(encoded)
        self._properties.ssl_cert_encoded = encoded
        if entry is not None:
            self._properties.ssl_cert_subject = entry.subject

    def _ssl_status(self, message: str) -> None:
        self._log(2, "Info", f"TLS: {message}")
        self._loop.events.post("on_ssl_status", AMQPSSLStatusEventParams(message))

    def _authenticate_server(self, certificate: PeerCertificate) -> bool:
        """Ask the program about the server's certificate. Unlike other events this needs its answer at once."""
        self._loop.dispatch()
        self._loop.raise_failure()
        hook = self._handlers.on_ssl_server_authentication
        if hook is None:
            return certificate.accept
        # The server's own certificate is the first; the setting SSLIncludeCertChain adds others.
        end = certificate.encoded.index(_PEM_END) + len(_PEM_END)
        self._route.server_certificate = certificate.encoded[:end]
        params = AMQPSSLServerAuthenticationEventParams(
            certificate.encoded, certificate.subject, certificate.issuer, certificate.status, certificate.accept
        )
        with self._loop.calls.in_handler():
            hook(params)
        self._loop.raise_failure()  # the handler may have called disconnect()
        return params.accept

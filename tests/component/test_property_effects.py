"""Every property that can be assigned, and every setting of TLS and proxies, arrives where it has its effect."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from amqp10 import AMQP, AMQPError, AuthScheme, CertStoreType, FirewallType, SSLProvider
from amqp10.component.settings import SETTINGS, SettingSpec
from amqp10.engine import SaslServer
from amqp10.net.certstores import stores as certstores
from amqp10.net.proxy import environment as proxy_environment
from amqp10.net.proxy.options import ProxyOptions
from amqp10.net.tls.options import TlsInfo, TlsOptions
from amqp10.wire.performatives import Open, SaslInit
from tests.component.server import Server, client, skipping
from tests.component.test_bad_input import snapshot
from tests.component.test_events_rules import code_of, pump
from tests.net.tcp_support import ScriptedServer, read_until

# -- the server ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "mechanism", "response"),
    [
        (AuthScheme.smNone, None, b""),
        (AuthScheme.smSASLAnonymous, "ANONYMOUS", b""),
        (AuthScheme.smSASLPlain, "PLAIN", b"user\0user\0secret"),
        (AuthScheme.smSASLExternal, "EXTERNAL", b"user"),
    ],
)
def test_the_authentication_scheme_decides_what_the_server_is_told(
    scheme: AuthScheme, mechanism: str | None, response: bytes
) -> None:
    def sasl() -> SaslServer:
        return SaslServer(users={"user": "secret"}, external=lambda identity: identity)

    with Server(sasl=sasl) as server:
        amqp = AMQP()
        amqp.auth_scheme = scheme
        amqp.user, amqp.password = "user", "secret"
        amqp.config("AuthorizationIdentity=user")
        amqp.connect_to(server.host, server.port)
        said = server.received(SaslInit)
        assert [init.mechanism for init in said] == ([mechanism] if mechanism else [])
        if response:
            assert bytes(said[0].initial_response or b"") == response
        assert not said or b"secret" not in bytes(said[0].initial_response or b"") or mechanism == "PLAIN"
        amqp.disconnect()


def test_what_open_states_comes_from_properties_and_settings() -> None:
    with Server() as server:
        amqp = AMQP()
        amqp.container_id = "me"
        amqp.idle_timeout = 20
        amqp.connect_to(server.host, server.port)
        amqp.disconnect()
        amqp.container_id = ""
        amqp.idle_timeout = 0
        amqp.config("VirtualHost=elsewhere")
        amqp.connect_to(server.host, server.port)
        amqp.disconnect()
        first, second = server.received(Open)
        assert (first.container_id, first.hostname) == ("me", "127.0.0.1")
        assert first.idle_time_out == 10_000, "half of the limit, so that a late heartbeat is early enough"
        assert second.container_id not in ("", "me")
        assert (second.hostname, second.idle_time_out) == ("elsewhere", None)


def test_a_server_that_is_silent_for_the_idle_time_out_is_given_up() -> None:
    with Server(hold={"messages"}) as server:
        amqp = AMQP()
        poller = skipping(amqp)
        amqp.idle_timeout = 30
        amqp.connect_to(server.host, server.port)
        gone: list[Any] = []
        amqp.on_disconnected = gone.append
        before = poller.clock.now
        poller.skip = 1000
        with pytest.raises(AMQPError, match="30 seconds") as caught:
            pump(amqp, lambda: False)
        assert caught.value.code == 201
        assert 30 <= poller.clock.now - before < 31
        assert [event.status_code for event in gone] == [201]
        assert not amqp.connected


# -- the proxy -------------------------------------------------------------------------------------------------------


class Tunnel(ScriptedServer):
    """An HTTP proxy that knows one way, whatever it is asked for."""

    def __init__(self, target: Server) -> None:
        super().__init__(self._serve_one)
        self.target = target
        self.request = b""

    def _serve_one(self, conn: socket.socket) -> None:
        self.request = read_until(conn, b"\r\n\r\n")
        with socket.create_connection((self.target.host, self.target.port)) as onward:
            conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            ways = {conn: onward, onward: conn}
            with contextlib.suppress(ConnectionError):
                while True:
                    for source in select.select(list(ways), [], [])[0]:
                        data = source.recv(65536)
                        if not data:
                            return
                        ways[source].sendall(data)


@contextlib.contextmanager
def tunnelled() -> Iterator[tuple[Tunnel, AMQP]]:
    """A proxy, and an instance that goes through it, by its name, when it is told to connect."""
    with Server() as server, Tunnel(server) as proxy:
        amqp = AMQP()
        amqp.timeout = 8
        amqp.firewall_host = "localhost"
        amqp.firewall_type = FirewallType.fwTunnel
        amqp.firewall_port = proxy.port
        yield proxy, amqp
        amqp.disconnect()


@pytest.mark.parametrize("how", ["properties", "settings"])
def test_the_proxy_that_the_properties_or_settings_name_is_used(how: str) -> None:
    with tunnelled() as (proxy, amqp):
        if how == "properties":
            amqp.firewall_user, amqp.firewall_password = "u", "p"
        else:
            port = amqp.firewall_port
            amqp.reset()
            amqp.timeout = 8
            for text in ("Host=localhost", "Type=1", f"Port={port}", "User=u", "Password=p"):
                amqp.config(f"Firewall{text}")
        amqp.config("FirewallData=X-Extra: yes")
        amqp.connect_to("broker.invalid", 5672)
        assert proxy.request.startswith(b"CONNECT broker.invalid:5672 ")
        assert b"Basic dTpw\r\n" in proxy.request
        assert b"X-Extra: yes\r\n" in proxy.request
        assert amqp.firewall_host == amqp.config("FirewallHost") == "127.0.0.1", "the address, while connected"
        assert amqp.remote_host == "broker.invalid"
        amqp.disconnect()
        assert amqp.firewall_host == "localhost"


def test_hosts_on_the_list_of_exceptions_are_reached_without_the_proxy() -> None:
    with Server() as server:
        amqp = AMQP()
        amqp.firewall_type, amqp.firewall_host, amqp.firewall_port = 1, "192.0.2.1", 1
        amqp.config("ProxyExceptionsList=example.com;127.0.0.1")
        amqp.connect_to(server.host, server.port)
        assert amqp.firewall_host == "192.0.2.1"
        amqp.disconnect()


def test_the_environments_proxy_is_used_when_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    with Server() as server, Tunnel(server) as proxy:

        def detect(host: str, port: int) -> ProxyOptions:
            asked.append((host, port))
            return ProxyOptions(1, proxy.host, proxy.port)

        monkeypatch.setattr(proxy_environment, "detect_proxy", detect)
        amqp = AMQP()
        amqp.timeout = 8
        amqp.config("FirewallAutoDetect=True")
        assert amqp.firewall_auto_detect
        amqp.connect_to("broker.invalid", 5672)
        assert asked == [("broker.invalid", 5672)]
        assert proxy.request
        assert amqp.firewall_host == "", "nobody has set one"
        amqp.disconnect()


@pytest.mark.parametrize(("kind", "port"), [(0, 7), (1, 80), (2, 1080), (3, 1080), (10, 1080)])
def test_a_kind_of_proxy_sets_its_usual_port(kind: int, port: int) -> None:
    for by_setting in (False, True):
        amqp = AMQP()
        amqp.firewall_port = 7
        if by_setting:
            amqp.config(f"FirewallType={kind}")
        else:
            amqp.firewall_type = kind
        assert amqp.firewall_port == port


# -- TLS -------------------------------------------------------------------------------------------------------------

# Settings of TLS -> the field of TlsOptions, where the name does not tell.
TLS_FIELDS = {
    "openssl_ca_dir": "ca_dir",
    "openssl_ca_file": "ca_file",
    "openssl_cipher_list": "cipher_list",
    "openssl_prng_seed_data": "prng_seed_data",
    "reuse_ssl_session": "reuse_session",
    "log_ssl_packets": "log_packets",
    "ssl_ca_certs": "client_ca_certs",
}
TLS_VALUES = {
    "SSLEnabledProtocols": "12288",
    "SSLSecurityFlags": "1",
    "SSLEnabledCipherSuites": "TLS_AES_128_GCM_SHA256",
    "TLS12SignatureAlgorithms": "sha256-rsa",
    "TLS12SupportedGroups": "ecdhe_secp256r1",
    "TLS13KeyShareGroups": "ecdhe_x25519",
    "TLS13SignatureAlgorithms": "ed25519",
    "TLS13SupportedGroups": "ecdhe_x25519",
}
TLS_SETTINGS = [spec for spec in SETTINGS if spec.group == "SSL" and not spec.read_only]


@pytest.mark.parametrize("spec", TLS_SETTINGS, ids=lambda spec: spec.name)
def test_each_setting_of_tls_reaches_its_option_and_no_other(spec: SettingSpec) -> None:
    amqp = AMQP()
    before = amqp._network.tls_options()
    if spec.name in TLS_VALUES:
        text = TLS_VALUES[spec.name]
    elif spec.type is bool:
        text = "False" if spec.default else "True"
    else:
        text = "1" if spec.type is int else "/some/where"
    amqp.config(f"{spec.name}={text}")
    after = amqp._network.tls_options()
    name = TLS_FIELDS.get(spec.attribute, spec.attribute.removeprefix("ssl_"))
    changed = {
        field: getattr(after, field)
        for field in TlsOptions.__dataclass_fields__
        if getattr(after, field) != getattr(before, field)
    }
    assert changed == {name: amqp._settings.get(spec)}


def test_what_was_negotiated_is_answered_under_each_name() -> None:
    amqp = AMQP()
    amqp._route.tls = TlsInfo("TLS1.3", "SUITE", "CIPHER", 256, "EXCHANGE", 253, b"", (), "", "", "OK", False)
    answers = {
        "SSLNegotiatedVersion": "TLS1.3",
        "SSLNegotiatedCipherSuite": "SUITE",
        "SSLNegotiatedCipher": "CIPHER",
        "SSLNegotiatedCipherStrength": "256",
        "SSLNegotiatedKeyExchange": "EXCHANGE",
        "SSLNegotiatedKeyExchangeStrength": "253",
    }
    assert {spec.name for spec in SETTINGS if spec.group == "SSL" and spec.read_only} == set(answers)
    assert {name: amqp.config(name) for name in answers} == answers


def test_enabling_tls_starts_with_a_handshake() -> None:
    with Server() as server:
        amqp = AMQP()
        amqp.ssl_enabled = True
        amqp.timeout = 8
        assert code_of(lambda: amqp.connect_to(server.host, server.port)) in (276, 1120)
        assert not server.received(Open)
        amqp.ssl_provider = SSLProvider.sslpPlatform
        assert code_of(lambda: amqp.connect_to(server.host, server.port)) == 270


def test_the_accepted_certificate_reaches_tls() -> None:
    amqp = AMQP()
    amqp.ssl_accept_server_cert_encoded = b"certificate"
    assert amqp._network.tls_options().accept_server_cert == b"certificate"


class Entry:
    subject = "CN=found"


class Store:
    """A certificate store that has what is searched for."""

    def __init__(self) -> None:
        self.searched: list[object] = []

    def search(self, subject: str) -> Entry:
        self.searched.append(subject)
        return Entry()

    def find_encoded(self, encoded: bytes) -> Entry:
        self.searched.append(encoded)
        return Entry()


def test_a_client_certificate_is_looked_for_in_the_store_that_the_properties_describe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store()
    opened: list[tuple[object, ...]] = []
    loaded: list[tuple[object, ...]] = []

    def open_store(*args: object) -> Store:
        opened.append(args)
        return store

    monkeypatch.setattr(certstores, "open_store", open_store)
    monkeypatch.setattr(certstores, "load_client_certificate", lambda *args: loaded.append(args))
    amqp = AMQP()
    amqp.ssl_cert_store = b"store.p12"
    amqp.ssl_cert_store_type = CertStoreType.cstPFXFile
    amqp.ssl_cert_store_password = "secret"
    amqp.ssl_cert_subject = "found"
    assert amqp.ssl_cert_subject == "CN=found"
    amqp._network.tls_options()
    amqp.ssl_cert_encoded = b"pem"
    amqp._network.tls_options()
    where = (b"store.p12", 2, "secret")
    assert opened == [where, where]
    assert store.searched == ["found", b"pem"]
    assert loaded == [(*where, "CN=found", b""), (*where, "", b"pem")]


# -- all of them -----------------------------------------------------------------------------------------------------


def test_reset_while_connected_disconnects_and_restores_every_property_and_setting() -> None:
    fresh = snapshot(AMQP())
    with Server() as server:
        amqp = client(server, "out>", "in<", user="u", password="p", container_id="c", idle_timeout=9)
        amqp.message_settled = False
        amqp.message_value_type, amqp.message_value = 17, "x"
        server.put("in", "received")
        amqp.send_message("out")
        while not amqp.received_message_value:
            amqp.do_events()

        def fail(event: object) -> None:
            raise ValueError("the handler failed")

        amqp.on_disconnected = fail
        with pytest.raises(ValueError, match="the handler failed"):
            amqp.reset()
        assert snapshot(amqp) == fresh
        assert amqp.on_disconnected is fail

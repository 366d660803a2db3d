"""Every way into RabbitMQ: each proxy with and without credentials, with and without TLS, each SASL mechanism."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from amqp10 import AMQP, AMQPError, AuthScheme, CertStoreType, FirewallType, ReceiveMode, ValueType
from amqp10.net.options import TransportOptions
from amqp10.net.proxy.options import ProxyKind, ProxyOptions
from tests.client.test_proof_by_use import there_and_back as proof_by_use
from tests.component.relay_proxy import RelayProxy
from tests.interop.conftest import prepared, run_peer
from tests.interop.peers import Process, RabbitMQ, TLSFiles, free_port, peer_folder
from tests.net.pki import Identity, issue
from tests.net.stores import pem, pfx
from tests.net.test_proxy_interop import start_dante, start_microsocks, start_openssh, start_tinyproxy

pytestmark = pytest.mark.interop

STORE_PASSWORD = "st0re-secret"
PROXY_PASSWORD = "pr0xy-secret"
PROXY_USER = "ann"


@pytest.fixture(scope="module")
def root() -> Identity:
    return issue("Interop Root", ca=True, usage=None)


@pytest.fixture(scope="module")
def device(root: Identity) -> Identity:
    return issue("device-1", root, hosts=(), usage=(ExtendedKeyUsageOID.CLIENT_AUTH,))


def write_server_files(folder: Path, server: Identity) -> None:
    """A certificate and its key as servers take them: in a file each."""
    (folder / "server.pem").write_bytes(server.pem)
    (folder / "server.key").write_bytes(pem(server).split(server.pem)[1].split(b"-----BEGIN CERT")[0])


@pytest.fixture(scope="module")
def broker(root: Identity, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """RabbitMQ with a TLS listener that asks for a client certificate and does without one."""
    folder = tmp_path_factory.mktemp("tls")
    server = issue("localhost", root, hosts=("localhost", "127.0.0.1"))
    write_server_files(folder, server)
    (folder / "ca.pem").write_bytes(root.pem)
    files = TLSFiles(folder / "server.pem", folder / "server.key", folder / "ca.pem", verify=True)
    yield from run_peer(lambda: RabbitMQ(tls=files, external_users=["device-1"]))


def trusting(amqp: AMQP, root: Identity) -> None:
    amqp.ssl_enabled = True
    amqp.config("SSLServerCACerts=" + root.pem.decode())


def secure(amqp: AMQP, how: str, broker: RabbitMQ, root: Identity, device: Identity) -> int:
    """Prepare one kind of security and authentication; returns the port to connect to."""
    if how.startswith("tls"):
        trusting(amqp, root)
    if how.endswith("external"):
        amqp.auth_scheme = AuthScheme.smSASLExternal
        amqp.ssl_cert_store_type = CertStoreType.cstPFXBlob
        amqp.ssl_cert_store_password = STORE_PASSWORD
        amqp.ssl_cert_store = pfx(device, STORE_PASSWORD)
        amqp.ssl_cert_subject = "*"
    elif how.endswith("plain"):
        amqp.auth_scheme = AuthScheme.smSASLPlain
        amqp.user, amqp.password = broker.user, broker.password
    else:
        amqp.auth_scheme = AuthScheme.smSASLAnonymous
    return broker.tls_port if how.startswith("tls") else broker.port


def there_and_back(amqp: AMQP, address: str, texts: list[str]) -> None:
    """Send texts with outcomes, and fetch them again."""
    amqp.create_session("s")
    amqp.create_sender_link("s", "out", address)
    amqp.message_settled = False
    amqp.message_value_type = ValueType.mvtString
    for text in texts:
        amqp.message_value = text
        amqp.send_message("out")
    while amqp.outgoing_message_count:
        amqp.do_events()
    amqp.receive_mode = ReceiveMode.rmFetch
    amqp.create_receiver_link("s", "in", address)
    for text in texts:
        amqp.fetch_message("in")
        assert amqp.received_message_value == text


@contextlib.contextmanager
def proxy(kind: str, folder: Path) -> Iterator[tuple[FirewallType, int, bool] | None]:
    """A proxy of a kind: its type, its port, and whether it wants credentials. None for no proxy."""
    if kind == "none":
        yield None
    elif kind == "tunnel":
        with start_tinyproxy(folder) as port:
            yield FirewallType.fwTunnel, port, False
    elif kind == "tunnel with credentials":
        with start_tinyproxy(folder, f"BasicAuth {PROXY_USER} {PROXY_PASSWORD}\n") as port:
            yield FirewallType.fwTunnel, port, True
    elif kind == "socks4":
        with start_dante(folder) as port:
            yield FirewallType.fwSOCKS4, port, False
    elif kind == "socks4a":
        with start_openssh(folder) as port:
            yield FirewallType.fwSOCKS4A, port, False
    elif kind == "socks5":
        with start_microsocks(folder) as port:
            yield FirewallType.fwSOCKS5, port, False
    else:
        with start_microsocks(folder, "-u", PROXY_USER, "-P", PROXY_PASSWORD) as port:
            yield FirewallType.fwSOCKS5, port, True


PROXIES = ["none", "tunnel", "tunnel with credentials", "socks4", "socks4a", "socks5", "socks5 with credentials"]
WAYS = ["tcp anonymous", "tcp plain", "tls anonymous", "tls plain", "tls external"]


@pytest.mark.parametrize("kind", PROXIES)
def test_each_proxy_with_each_security_and_authentication_sends_and_receives(
    kind: str, broker: RabbitMQ, root: Identity, device: Identity, tmp_path: Path
) -> None:
    address = broker.declare_queue("ways")
    with proxy(kind, tmp_path) as way:
        for how in WAYS:
            with AMQP() as amqp:
                amqp.timeout = 20
                port = secure(amqp, how, broker, root, device)
                if way is not None:
                    amqp.firewall_type, amqp.firewall_port, wanted = way
                    amqp.firewall_host = "127.0.0.1"
                    if wanted:
                        amqp.firewall_user, amqp.firewall_password = PROXY_USER, PROXY_PASSWORD
                amqp.connect_to("localhost", port)
                there_and_back(amqp, str(address), [f"{kind}, {how}"])


@pytest.mark.parametrize("kind", ["tunnel with credentials", "socks5 with credentials"])
def test_a_proxy_that_refuses_the_credentials_is_named_with_its_answer(
    kind: str, broker: RabbitMQ, tmp_path: Path
) -> None:
    with proxy(kind, tmp_path) as way, AMQP() as amqp:
        assert way is not None
        amqp.timeout = 20
        amqp.firewall_type, amqp.firewall_port, _ = way
        amqp.firewall_host = "127.0.0.1"
        amqp.firewall_user, amqp.firewall_password = PROXY_USER, "wr0ng-secret"
        with pytest.raises(AMQPError, match=f"127.0.0.1:{way[1]}") as caught:
            amqp.connect_to("localhost", broker.port)
        assert caught.value.code == 10013
        assert "wr0ng" not in str(caught.value)


@pytest.mark.parametrize(("protocols", "version"), [(3072, "1.2"), (12288, "1.3")])
def test_one_version_of_tls_and_large_messages(protocols: int, version: str, broker: RabbitMQ, root: Identity) -> None:
    address = broker.declare_queue("versions")
    with AMQP() as amqp:
        amqp.timeout = 30
        trusting(amqp, root)
        amqp.config(f"SSLEnabledProtocols={protocols}")
        amqp.user, amqp.password = broker.user, broker.password
        amqp.connect_to("127.0.0.1", broker.tls_port)
        assert version in amqp.config("SSLNegotiatedVersion")
        there_and_back(amqp, str(address), ["x" * 5_000_000, "small", "y" * 100_000])


def test_the_client_certificate_may_come_from_a_pem_store_with_a_password(
    broker: RabbitMQ, root: Identity, device: Identity
) -> None:
    address = broker.declare_queue("pem")
    with AMQP() as amqp:
        amqp.timeout = 20
        trusting(amqp, root)
        amqp.auth_scheme = AuthScheme.smSASLExternal
        amqp.ssl_cert_store_type = CertStoreType.cstPEMKeyBlob
        amqp.ssl_cert_store_password = STORE_PASSWORD
        amqp.ssl_cert_store = pem(device, STORE_PASSWORD)
        amqp.ssl_cert_subject = "*"
        amqp.connect_to("localhost", broker.tls_port)
        there_and_back(amqp, str(address), ["by certificate"])


def test_external_without_a_certificate_or_with_one_of_nobody_is_602(broker: RabbitMQ, root: Identity) -> None:
    stranger = issue("stranger", root, hosts=(), usage=(ExtendedKeyUsageOID.CLIENT_AUTH,))
    for store in (b"", pfx(stranger, STORE_PASSWORD)):
        with AMQP() as amqp:
            amqp.timeout = 20
            trusting(amqp, root)
            amqp.auth_scheme = AuthScheme.smSASLExternal
            if store:
                amqp.ssl_cert_store_type = CertStoreType.cstPFXBlob
                amqp.ssl_cert_store_password = STORE_PASSWORD
                amqp.ssl_cert_store = store
                amqp.ssl_cert_subject = "*"
            with pytest.raises(AMQPError) as caught:
                amqp.connect_to("localhost", broker.tls_port)
            assert caught.value.code == 602, caught.value


@pytest.mark.parametrize(
    ("tls", "code", "words"),
    [(False, 600, "the server speaks TLS on this port"), (True, 276, "the server answers in plain AMQP")],
    ids=["plaintext to the TLS port", "TLS to the plaintext port"],
)
def test_the_wrong_one_of_two_ports_is_told_as_such(tls: bool, code: int, words: str, broker: RabbitMQ) -> None:
    with AMQP() as amqp:
        amqp.timeout = 20
        amqp.ssl_enabled = tls
        amqp.user, amqp.password = broker.user, broker.password
        with pytest.raises(AMQPError, match=words) as caught:
            amqp.connect_to("localhost", broker.port if tls else broker.tls_port)
        assert caught.value.code == code


def test_a_server_of_an_unknown_authority_gets_no_credentials_unless_the_program_accepts_it(broker: RabbitMQ) -> None:
    events: list[Any] = []
    for accept in (False, True):
        with AMQP() as amqp:
            amqp.timeout = 20
            amqp.ssl_enabled = True
            amqp.user, amqp.password = broker.user, broker.password

            def decide(event: Any, accept: bool = accept) -> None:
                events.append(event)
                event.accept = accept or event.accept

            amqp.on_ssl_server_authentication = decide
            if accept:
                amqp.connect_to("localhost", broker.tls_port)
                assert amqp.connected
            else:
                with pytest.raises(AMQPError) as caught:
                    amqp.connect_to("localhost", broker.tls_port)
                assert caught.value.code == 280
    assert len(events) == 2
    assert events[0].status != "OK"
    assert "localhost" in events[0].cert_subject


def test_no_secret_is_in_any_log_line_error_or_repr(
    broker: RabbitMQ, root: Identity, device: Identity, tmp_path: Path
) -> None:
    texts: list[str] = []

    def note(event: Any) -> None:
        texts.append(repr(event) + str(getattr(event, "message", "")))

    with proxy("socks5 with credentials", tmp_path) as way:
        assert way is not None
        for how in ("tls plain", "tls external"):
            with AMQP() as amqp:
                amqp.timeout = 20
                for setting in ("LogLevel=3", "LogFrameBytes=True", "LogSSLPackets=True"):
                    amqp.config(setting)
                for name in ("on_log", "on_ssl_status", "on_error", "on_connection_status", "on_connected"):
                    setattr(amqp, name, note)
                port = secure(amqp, how, broker, root, device)
                amqp.firewall_type, amqp.firewall_port, _ = way
                amqp.firewall_host = "127.0.0.1"
                amqp.firewall_user, amqp.firewall_password = PROXY_USER, PROXY_PASSWORD
                amqp.connect_to("localhost", port)
                amqp.create_session("s")
                texts += [
                    repr(amqp),
                    repr(amqp._settings),
                    repr(amqp._loop.pump.transport if amqp._loop.pump else None),
                ]
    assert len(texts) > 20
    key = pem(device).split(b"PRIVATE KEY-----")[1].strip().split(b"\n")[0].decode()
    for secret in (broker.password, PROXY_PASSWORD, STORE_PASSWORD, key):
        for form in (secret, secret.encode().hex()):
            assert not any(form in text.replace(" ", "") for text in texts), form


def test_a_proton_broker_that_speaks_tls_only(root: Identity, tmp_path: Path) -> None:
    server = issue("localhost", root, hosts=("localhost",))
    write_server_files(tmp_path, server)
    port = free_port()
    with proton_tls_broker(port, tmp_path), AMQP() as amqp:
        amqp.timeout = 20
        amqp.remote_host, amqp.remote_port = "localhost", port
        with pytest.raises(AMQPError) as caught:  # without TLS
            amqp.connect()
        assert caught.value.code in (600, 601, 1120), caught.value
        trusting(amqp, root)
        amqp.connect_to("localhost", port)
        there_and_back(amqp, "queue", ["text", "x" * 1_000_000, "more"])


@contextlib.contextmanager
def proton_tls_broker(port: int, folder: Path) -> Iterator[None]:
    with prepared():
        python = peer_folder("proton-python") / "venv" / "bin" / "python"
    script = Path(__file__).with_name("proton_tls_broker.py")
    process = Process(
        f"Proton's TLS broker at port {port}",
        [str(python), str(script), str(port), str(folder / "server.pem"), str(folder / "server.key")],
        environment={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        folder=folder,
    )
    try:
        process.wait_for("READY", 20)
        yield
    finally:
        process.stop()


def test_the_environments_proxy_is_used_when_asked_for_and_no_proxy_is_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with proxy("tunnel with credentials", tmp_path) as way:
        assert way is not None
        monkeypatch.setenv("https_proxy", f"http://{PROXY_USER}:{PROXY_PASSWORD}@127.0.0.1:{way[1]}")
        # This machine is never reached through a proxy of the environment, so the host is one that does not exist:
        # whoever looked it up is the one that says so.
        for detect, no_proxy, through in ((True, "", True), (True, ".invalid", False), (False, "", False)):
            monkeypatch.setenv("no_proxy", no_proxy)
            with AMQP() as amqp:
                amqp.timeout = 30
                amqp.firewall_auto_detect = detect
                with pytest.raises(AMQPError) as caught:
                    amqp.connect_to("broker.invalid", 5672)
            assert (f"127.0.0.1:{way[1]}" in str(caught.value)) is through, caught.value
            assert PROXY_PASSWORD not in str(caught.value)


def test_hosts_on_the_exceptions_list_are_reached_without_the_proxy(broker: RabbitMQ, tmp_path: Path) -> None:
    with proxy("socks5", tmp_path) as way:
        assert way is not None
        settings = {"firewall_type": way[0], "firewall_host": "127.0.0.1", "firewall_port": way[1]}
        assert proxy_of(broker, "other.test", **settings) == ("127.0.0.1", way[1])
        assert proxy_of(broker, "other.test;localhost", **settings) is None


def proxy_of(broker: RabbitMQ, exceptions: str = "", **properties: Any) -> tuple[str, int] | None:
    """Connect, and tell through which proxy."""
    with AMQP() as amqp:
        amqp.timeout = 20
        amqp.user, amqp.password = broker.user, broker.password
        for name, value in properties.items():
            setattr(amqp, name, value)
        amqp.config(f"ProxyExceptionsList={exceptions}")
        amqp.connect_to("localhost", broker.port)
        assert amqp._loop.pump is not None
        address = amqp._loop.pump.transport.proxy_address  # type: ignore[attr-defined]
        assert address is None or isinstance(address, tuple)
        return address


@pytest.mark.parametrize("kind", [ProxyKind.TUNNEL, ProxyKind.SOCKS4A, ProxyKind.SOCKS5])
@pytest.mark.parametrize("proxied", [True, False])
def test_a_driver_of_150_lines_gets_there_over_tls(
    kind: ProxyKind, proxied: bool, broker: RabbitMQ, root: Identity
) -> None:
    context = ssl.create_default_context(cadata=root.pem.decode())
    address = broker.declare_queue("proof")
    url = f"amqps://{broker.user}:{broker.password}@localhost:{broker.tls_port}"
    with RelayProxy(FirewallType(kind), ("127.0.0.1", broker.tls_port)) as relay:
        proxy = ProxyOptions(kind, relay.host, relay.port, remote_dns=True) if proxied else None
        done = asyncio.run(proof_by_use(url, TransportOptions(proxy=proxy), context, address))
    assert done == ["Accepted", "over TLS, through a proxy", True]

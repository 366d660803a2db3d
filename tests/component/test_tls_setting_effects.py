"""Every setting of the group SSL, and every ``ssl_`` property, has an effect that a program sees through ``AMQP``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from amqp10 import AMQP, AMQPError, AuthScheme, CertStoreType, SSLProvider
from tests.component.tls_front import TlsFront
from tests.net.pki import DAY, NOW, Identity, client, ec_key, good_server, issue, root_ca, rsa_key, server_context
from tests.net.stores import pem, pfx
from tests.net.test_tls_settings import P256, P384, P521, X448, X25519, Hello

F = TypeVar("F", bound=Callable[..., object])

TLS12_ONLY = "SSLEnabledProtocols=3072"
TLS13_ONLY = "SSLEnabledProtocols=12288"
TRUST = "SSLServerCACerts=" + root_ca().pem.decode()
OBSERVED: set[str] = set()


def observes(*names: str) -> Callable[[F], F]:
    def note(test: F) -> F:
        OBSERVED.update(names)
        return test

    return note


class Client:
    """An instance, what it was told, and what its server saw."""

    def __init__(self, front: TlsFront) -> None:
        self.front = front
        self.amqp = AMQP()
        self.story: list[str] = []
        self.judged: list[Any] = []
        self.amqp.timeout = 15
        self.amqp.ssl_enabled = True
        self.amqp.user, self.amqp.password = "user", "s3cret"
        self.amqp.on_ssl_status = lambda event: self.story.append(event.message)
        self.amqp.on_ssl_server_authentication = self.judged.append

    def connect(self, *settings: str) -> None:
        for setting in settings:
            self.amqp.config(setting)
        self.amqp.connect_to(self.front.host, self.front.port)

    def refused(self, *settings: str) -> AMQPError:
        with pytest.raises(AMQPError) as caught:
            self.connect(*settings)
        return caught.value

    @property
    def hello(self) -> Hello:
        return Hello(self.front.servers[-1].wire)


@contextmanager
def listening(identity: Identity | None = None, **server: Any) -> Iterator[Client]:
    with TlsFront(server_context(identity or good_server(), **server)) as front:
        made = Client(front)
        try:
            yield made
        finally:
            made.amqp.disconnect()


@observes("SSLServerCACerts")
def test_server_ca_certs_are_trusted() -> None:
    with listening() as it:
        assert it.refused().code == 280
        it.connect(TRUST)


@observes("OpenSSLCAFile", "SSLCACertFilePaths")
@pytest.mark.parametrize("setting", ["OpenSSLCAFile", "SSLCACertFilePaths"])
def test_files_of_authorities_are_trusted(setting: str, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(root_ca().pem)
    with listening() as it:
        it.connect(f"{setting}={file}")
        it.amqp.disconnect()
        assert it.refused(f"{setting}={tmp_path / 'missing.pem'}").code == 271


@observes("OpenSSLCADir")
def test_a_directory_of_authorities_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(root_ca().pem)
    try:
        subprocess.run(["openssl", "rehash", str(tmp_path)], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl command to make the hash links with")
    with listening() as it:
        it.connect(f"OpenSSLCADir={tmp_path}")


@observes("LogSSLPackets")
def test_each_record_is_reported_when_asked_for() -> None:
    with listening() as it:
        it.connect(TRUST)
        assert not any("TLS record" in text for text in it.story)
        it.amqp.disconnect()
        it.connect("LogSSLPackets=True")
        assert any("TLS record sent: handshake" in text for text in it.story)
        assert any("TLS record received: application data" in text for text in it.story)


@observes("SSLEnabledProtocols", "SSLNegotiatedVersion")
def test_the_versions_asked_for_are_offered_and_the_one_in_use_is_told() -> None:
    with listening() as it:
        assert it.amqp.config("SSLNegotiatedVersion") == ""
        for setting, version in ((TLS12_ONLY, "TLS1.2"), (TLS13_ONLY, "TLS1.3")):
            it.connect(TRUST, setting)
            assert it.amqp.config("SSLNegotiatedVersion") == version
            it.amqp.disconnect()


@observes("OpenSSLCipherList", "SSLNegotiatedCipher", "SSLNegotiatedCipherSuite", "SSLNegotiatedCipherStrength")
def test_the_cipher_list_of_tls_1_2_and_what_was_negotiated() -> None:
    with listening() as it:
        it.connect(TRUST, TLS12_ONLY, "OpenSSLCipherList=ECDHE+AES128+AESGCM")
        assert it.amqp.config("SSLNegotiatedCipher") == "AES_128_GCM"
        assert it.amqp.config("SSLNegotiatedCipherSuite") == "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
        assert it.amqp.config("SSLNegotiatedCipherStrength") == "128"


@observes("SSLEnabledCipherSuites")
def test_the_suites_asked_for_are_the_only_ones() -> None:
    with listening() as it:
        it.connect(TRUST, "SSLEnabledCipherSuites=TLS_CHACHA20_POLY1305_SHA256")
        assert it.amqp.config("SSLNegotiatedCipherSuite") == "TLS_CHACHA20_POLY1305_SHA256"
        assert it.hello.suites == [0x1303]


@observes("SSLCipherStrength")
def test_the_least_strength_of_ciphers() -> None:
    with listening() as it:
        it.connect(TRUST, "SSLCipherStrength=256")
        assert 0x1301 not in it.hello.suites
        it.amqp.disconnect()
        assert it.refused("SSLCipherStrength=512").code == 273


@observes("SSLEnableRenegotiation")
def test_switching_renegotiation_off_is_refused_where_it_cannot_be_honoured() -> None:
    with listening() as it:
        assert it.refused(TRUST, "SSLEnableRenegotiation=False").code == 606
        it.connect(TLS13_ONLY)
        assert 0x00FF not in it.hello.suites
        assert 0xFF01 not in it.hello.extensions


@observes("TLS13SupportedGroups", "SSLNegotiatedKeyExchange", "SSLNegotiatedKeyExchangeStrength")
def test_groups_of_tls_1_3_and_the_key_exchange() -> None:
    with listening() as it:
        it.connect(TRUST, TLS13_ONLY, "TLS13SupportedGroups=ecdhe_secp384r1")
        assert it.hello.numbers(10) == [P384]
        assert it.amqp.config("SSLNegotiatedKeyExchange") == "ECDHE_SECP384R1"
        assert it.amqp.config("SSLNegotiatedKeyExchangeStrength") == "384"


@observes("TLS13KeyShareGroups")
def test_key_shares_are_sent_for_the_groups_asked_for() -> None:
    with listening() as it:
        if SSL.OPENSSL_VERSION_NUMBER < 0x30500000:
            assert it.refused(TRUST, "TLS13KeyShareGroups=ecdhe_x448").code == 606
        else:
            it.connect(TRUST, "TLS13KeyShareGroups=ecdhe_x448")
            assert it.hello.shares == [X448]


@observes("TLS12SupportedGroups")
def test_groups_of_tls_1_2() -> None:
    with listening(issue("rsa", root_ca(), key=rsa_key(), hosts=("127.0.0.1",))) as it:
        it.connect(TRUST, TLS12_ONLY)
        assert it.hello.numbers(10) == [P256, P384, P521]
        it.amqp.disconnect()
        it.connect("TLS12SupportedGroups=ecdhe_secp521r1")
        assert it.hello.numbers(10) == [P521]
        assert X25519 not in it.hello.numbers(10)


@observes("TLS12SignatureAlgorithms", "TLS13SignatureAlgorithms")
@pytest.mark.parametrize(
    ("version", "setting", "fits", "does_not"),
    [
        (TLS12_ONLY, "TLS12SignatureAlgorithms", "sha256-ecdsa", "sha512-rsa"),
        (TLS13_ONLY, "TLS13SignatureAlgorithms", "ecdsa_secp256r1_sha256", "ed25519"),
    ],
)
def test_signature_algorithms(version: str, setting: str, fits: str, does_not: str) -> None:
    with listening() as it:
        it.connect(TRUST, version, f"{setting}={fits}")
        it.amqp.disconnect()
        assert it.refused(f"{setting}={does_not}").code in (276, 280)


@observes("ReuseSSLSession")
@pytest.mark.parametrize("version", [TLS12_ONLY, TLS13_ONLY])
def test_sessions_are_reused_when_asked_for(version: str) -> None:
    with listening() as it:
        it.connect(TRUST, version)
        it.amqp.disconnect()
        it.connect()
        assert not any("session resumed" in text for text in it.story)
        it.amqp.disconnect()
        it.connect("ReuseSSLSession=True")
        it.amqp.disconnect()
        it.connect()
        assert "session resumed" in it.story[-1] or any("session resumed" in text for text in it.story)
        assert it.amqp.ssl_server_cert_encoded == good_server().pem


@observes("SSLIncludeCertChain")
def test_the_event_shows_one_certificate_or_all() -> None:
    with listening() as it:
        it.connect(TRUST)
        it.amqp.disconnect()
        it.connect("SSLIncludeCertChain=True")
        assert [len(x509.load_pem_x509_certificates(event.cert_encoded)) for event in it.judged] == [1, 2]


@observes("SSLKeyLogFile")
def test_session_secrets_are_appended(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    with listening() as it:
        for count in (1, 2):
            it.connect(TRUST, TLS12_ONLY, f"SSLKeyLogFile={file}")
            it.amqp.disconnect()
            assert file.read_text().count("CLIENT_RANDOM ") == count


@observes("SSLCheckCRL")
def test_revocation_is_checked_when_asked_for() -> None:
    with listening() as it:
        it.connect(TRUST, "SSLCheckCRL=1")  # names no CRL
        it.amqp.disconnect()
        error = it.refused("SSLCheckCRL=2")
        assert error.code == 280
        assert "names no CRL" in error.message


@observes("SSLSecurityFlags")
def test_a_flag_lifts_its_failure() -> None:
    with listening(issue("old", root_ca(), hosts=("127.0.0.1",), start=NOW - 9 * DAY, end=NOW - DAY)) as it:
        assert it.refused(TRUST, "SSLSecurityFlags=0x80000130").code == 280
        it.connect("SSLSecurityFlags=0x1")


@observes("OpenSSLPrngSeedData")
def test_seed_data_reach_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    rand = pytest.importorskip("OpenSSL.rand")
    added: list[tuple[bytes, int]] = []
    monkeypatch.setattr(rand, "add", lambda data, entropy: added.append((data, entropy)))
    with listening() as it:
        it.connect(TRUST, "OpenSSLPrngSeedData=noise")
    assert added == [(b"noise", 0)]


@observes("SSLCACerts")
def test_further_certificates_go_with_the_clients_own() -> None:
    middle = issue("Client CA", root_ca(), ca=True)
    who = issue("device", middle, hosts=(), usage=None, key=ec_key("device"))
    with listening(client_ca=root_ca().certificate) as it:
        present(it.amqp, Identity(who.certificate, who.key))
        it.refused(TRUST, TLS12_ONLY)  # the server cannot build the chain
        it.connect("SSLCACerts=" + middle.pem.decode())
        seen = it.front.servers[-1].connection.get_peer_certificate(as_cryptography=True)
        assert seen == who.certificate


def test_every_setting_is_observed() -> None:
    surface = json.loads((Path(__file__).parents[1] / "data" / "surface.json").read_text("utf-8"))
    names = {entry["name"] for entry in surface["config_settings"] if entry["group"].startswith("SSL")}
    assert len(names) == 28
    assert names == OBSERVED


# --- properties ---


def present(amqp: AMQP, identity: Identity) -> None:
    amqp.ssl_cert_store_type = CertStoreType.cstPFXBlob
    amqp.ssl_cert_store_password = "st0re"
    amqp.ssl_cert_store = pfx(identity, "st0re")
    amqp.ssl_cert_subject = "*"


def presented(it: Client) -> x509.Certificate | None:
    return it.front.servers[-1].connection.get_peer_certificate(as_cryptography=True)


@pytest.mark.parametrize("version", [TLS12_ONLY, TLS13_ONLY])
def test_a_client_certificate_is_presented_and_external_needs_no_password(version: str) -> None:
    with listening(client_ca=root_ca().certificate) as it:
        assert it.refused(TRUST, version).code == 281
        present(it.amqp, client())
        assert it.amqp.ssl_cert_subject == 'CN=client, O="Example, Inc."'
        it.amqp.auth_scheme = AuthScheme.smSASLAnonymous
        it.amqp.user = it.amqp.password = ""
        error = it.refused()  # the broker wants a password; what matters is that TLS let the client in
        assert error.code == 602
        assert presented(it) == client().certificate


def test_ssl_cert_encoded_takes_its_key_from_the_store() -> None:
    with listening(client_ca=root_ca().certificate) as it:
        it.amqp.ssl_cert_store_type = CertStoreType.cstPEMKeyBlob
        it.amqp.ssl_cert_store = pem(client())
        it.amqp.ssl_cert_encoded = client().pem
        assert it.amqp.ssl_cert_subject == 'CN=client, O="Example, Inc."'
        it.connect(TRUST)
        assert presented(it) == client().certificate
        it.amqp.disconnect()
        it.amqp.ssl_cert_encoded = issue("another", root_ca()).pem
        assert it.amqp.ssl_cert_subject == ""
        assert it.refused().code == 272


def test_what_is_no_certificate_or_no_store_is_271_at_assignment_and_selects_nothing() -> None:
    amqp = AMQP()
    with pytest.raises(AMQPError) as caught:
        amqp.ssl_cert_encoded = client().pem  # the store is still the default one, which only Windows has
    assert caught.value.code == 271
    present(amqp, client())
    with pytest.raises(AMQPError) as caught:
        amqp.ssl_cert_encoded = b"garbage"
    assert caught.value.code == 271
    assert (amqp.ssl_cert_encoded, amqp.ssl_cert_subject) == (b"", "")
    amqp.ssl_cert_store_password = "wr0ng"
    with pytest.raises(AMQPError, match="password is wrong") as caught:
        amqp.ssl_cert_subject = "*"
    assert caught.value.code == 271
    assert "wr0ng" not in str(caught.value)
    assert amqp.ssl_cert_subject == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("*", True),
        ('CN=client, O="Example, Inc."', True),
        ("client", True),
        ("O=", True),
        ("CN=clien, ", False),
        ("nobody", False),
    ],
)
def test_a_subject_selects_exactly_or_in_part_and_reads_as_the_whole(text: str, found: bool) -> None:
    amqp = AMQP()
    present(amqp, client())
    amqp.ssl_cert_subject = text
    assert amqp.ssl_cert_subject == ('CN=client, O="Example, Inc."' if found else "")


def test_the_accepted_certificate_and_the_servers_are_properties() -> None:
    alone = issue("alone", hosts=("elsewhere.test",))
    with listening(alone) as it:
        it.amqp.on_ssl_server_authentication = lambda _event: shown.append(it.amqp.ssl_server_cert_encoded)
        shown: list[bytes] = []
        assert it.refused().code == 280
        assert it.amqp.ssl_server_cert_encoded == alone.pem  # to look at what was refused
        assert shown == [alone.pem]
        it.amqp.ssl_accept_server_cert_encoded = good_server().pem
        assert it.refused().code == 280
        it.amqp.ssl_accept_server_cert_encoded = alone.certificate.public_bytes(Encoding.DER)
        it.connect()
        it.amqp.disconnect()
        it.amqp.ssl_enabled = False
        with pytest.raises(AMQPError):
            it.connect()
        assert it.amqp.ssl_server_cert_encoded == b""
        assert it.amqp.config("SSLNegotiatedVersion") == ""


def test_no_password_is_sent_to_a_server_that_is_refused_and_the_instance_stays_usable() -> None:
    with listening() as it:
        for version in (TLS12_ONLY, TLS13_ONLY):
            present(it.amqp, client())
            assert it.refused(version).code == 280
            server = it.front.servers[-1]
            assert not server.finished
            assert server.plain == b""
        it.connect(TRUST)
        assert it.amqp.connected


def test_the_program_decides_and_no_text_is_consent() -> None:
    with listening() as it:

        def refuse(event: Any) -> None:
            assert event.status == "OK"
            event.accept = False

        it.amqp.on_ssl_server_authentication = refuse
        error = it.refused(TRUST)
        assert error.code == 280
        assert "the program refused it" in error.message

        def slip(event: Any) -> None:
            event.accept = "True"

        it.amqp.on_ssl_server_authentication = slip
        with pytest.raises(TypeError):
            it.connect()
        assert not it.amqp.connected


def test_disconnecting_in_the_authentication_event_leaves_nothing_connected() -> None:
    with listening() as it:
        it.amqp.on_ssl_server_authentication = lambda _event: it.amqp.disconnect()
        assert it.refused(TRUST).code == 1117
        assert b"s3cret" not in it.front.servers[-1].plain
        assert not it.amqp.connected
        it.amqp.on_ssl_server_authentication = None
        it.connect()
        assert it.amqp.connected


@pytest.mark.parametrize("provider", [SSLProvider.sslpAutomatic, SSLProvider.sslpInternal])
def test_the_providers_that_exist(provider: SSLProvider) -> None:
    with listening() as it:
        it.amqp.ssl_provider = SSLProvider.sslpPlatform
        assert it.refused(TRUST).code == 270
        it.amqp.ssl_provider = provider
        it.connect()

"""Each TLS setting does what it says on the wire, or raises an error that says why it cannot."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from amqp10.errors import AMQPError
from amqp10.net.certstores.stores import CertificateEntry
from amqp10.net.tls.ciphers import choose_suites
from amqp10.net.tls.defaults import DEFAULT_TLS12_GROUPS, DEFAULT_TLS12_SIGNATURE_ALGORITHMS
from amqp10.net.tls.load import load_tls
from amqp10.net.tls.names import GROUPS, SUITES_BY_IANA, SUITES_BY_OPENSSL
from amqp10.net.tls.options import Protocols, TlsOptions
from amqp10.net.tls.session import TlsContext, TlsSession
from tests.net.pki import (
    DAY,
    HOST,
    NOW,
    Identity,
    MemoryServer,
    client,
    good_server,
    handshake,
    issue,
    root_ca,
    rsa_key,
    server_context,
)
from tests.net.test_tls_handshake import BOTH, TLS12, TLS13, entry, options


def connect(made: TlsOptions, identity: Identity | None = None, **server_settings: object) -> TlsSession:
    session = TlsSession(made, HOST)
    context = server_context(identity or good_server(), **server_settings)  # type: ignore[arg-type]
    handshake(session, MemoryServer(context))
    assert session.handshake_done
    return session


def refused(made: TlsOptions) -> AMQPError:
    with pytest.raises(AMQPError) as caught:
        TlsContext(made)
    return caught.value


class Hello:
    """The parts of a ClientHello that settings decide; of what options make, or of what a client has sent."""

    def __init__(self, made: TlsOptions | bytes) -> None:
        if isinstance(made, bytes):
            data = made
        else:
            session = TlsSession(made, HOST)
            session.start()
            data = session.data_to_send()
        assert data[0] == 22
        body = data[9:]
        at = 34 + 1 + body[34]
        size = int.from_bytes(body[at : at + 2], "big")
        raw = body[at + 2 : at + 2 + size]
        self.suites = [int.from_bytes(raw[i : i + 2], "big") for i in range(0, size, 2)]
        at += 2 + size
        at += 1 + body[at] + 2
        self.extensions: dict[int, bytes] = {}
        end = 5 + int.from_bytes(data[3:5], "big") - 9  # of the record; more may follow it
        while at < end:
            kind, size = int.from_bytes(body[at : at + 2], "big"), int.from_bytes(body[at + 2 : at + 4], "big")
            self.extensions[kind] = body[at + 4 : at + 4 + size]
            at += 4 + size

    def numbers(self, extension: int) -> list[int]:
        raw = self.extensions[extension][2:]
        return [int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)]

    @property
    def versions(self) -> set[int]:
        raw = self.extensions.get(43, b"")[1:]
        return {int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)}

    @property
    def shares(self) -> list[int]:
        raw, found, at = self.extensions[51][2:], [], 0
        while at < len(raw):
            found.append(int.from_bytes(raw[at : at + 2], "big"))
            at += 4 + int.from_bytes(raw[at + 2 : at + 4], "big")
        return found


X25519, X448, P256, P384, P521, FFDHE2048, HYBRID = 0x1D, 0x1E, 0x17, 0x18, 0x19, 0x100, 0x11EC


# --- provider, versions ---


def test_the_platform_provider_is_refused_with_270_and_the_alternative() -> None:
    error = refused(options(provider=1))
    assert error.code == 270
    assert "0 (automatic) or 2 (internal)" in error.message
    assert refused(options(provider=7)).code == 270
    TlsContext(options(provider=2))


@pytest.mark.parametrize(
    ("value", "versions"),
    [
        (15360, {0x0303, 0x0304}),
        (12288, {0x0304}),
        (0x2000, {0x0304}),
        (3072, set()),
        (4032, set()),
        (15360 | 768, {0x0302, 0x0303, 0x0304}),
    ],
)
def test_enabled_protocols_decide_what_is_offered(value: int, versions: set[int]) -> None:
    assert Hello(options(enabled_protocols=value)).versions == versions


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "no protocol"), (48, "SSL 3"), (12, "SSL 2"), (-1, "unknown bits"), (0x4000, "unknown bits")],
)
def test_protocols_that_cannot_be_had_are_refused(value: int, words: str) -> None:
    error = refused(options(enabled_protocols=value))
    assert error.code == 606
    assert words in error.message


def test_a_gap_between_versions_stays_a_gap() -> None:
    made = options(enabled_protocols=int(Protocols.TLS10 | Protocols.TLS12))
    with pytest.raises(AMQPError) as caught:
        connect(made, versions=(SSL.TLS1_1_VERSION, SSL.TLS1_1_VERSION))
    assert caught.value.code == 276


def test_renegotiation_extension_cannot_be_left_out_of_tls_1_2() -> None:
    error = refused(options(enable_renegotiation=False))
    assert error.code == 606
    assert "12288" in error.message
    scsv, extension = 0x00FF, 0xFF01
    hello = Hello(options(enable_renegotiation=False, enabled_protocols=12288))
    assert scsv not in hello.suites
    assert extension not in hello.extensions
    hello = Hello(options())
    assert scsv in hello.suites or extension in hello.extensions


# --- server name ---


@pytest.mark.parametrize(
    ("host", "name"), [(HOST, b"broker.test"), ("broker.test.", b"broker.test"), ("Bücher.test", b"xn--bcher-kva.test")]
)
def test_the_server_is_told_which_name_is_meant(host: str, name: bytes) -> None:
    session = TlsSession(options(), host)
    session.start()
    sent = Hello(session.data_to_send()).extensions[0]
    assert sent == (len(name) + 3).to_bytes(2, "big") + b"\0" + len(name).to_bytes(2, "big") + name


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "fe80::1%eth0"])
def test_addresses_are_not_sent_as_names(host: str) -> None:
    session = TlsSession(options(), host)
    session.start()
    assert 0 not in Hello(session.data_to_send()).extensions


# --- cipher suites ---


def test_the_default_offers_forward_secrecy_and_authenticated_encryption_only() -> None:
    # ECDHE and DHE with AES-GCM or ChaCha20-Poly1305, and those of TLS 1.3.
    modern = {0x1301, 0x1302, 0x1303, 0xC02B, 0xC02C, 0xC02F, 0xC030, 0xCCA8, 0xCCA9, 0xCCAA, 0x009E, 0x009F}
    for made in (options(), options(cipher_list="DEFAULT"), options(cipher_list=" ")):
        offered = set(Hello(made).suites) - {0x00FF}
        assert offered <= modern
        assert {0x1301, 0xC02B, 0xC02F} <= offered


def test_older_suites_are_there_for_those_who_ask() -> None:
    static_rsa, cbc = 0x009C, 0xC027
    assert {static_rsa, cbc} <= set(Hello(options(cipher_list="HIGH")).suites)
    # TLS 1.0 and 1.1 have nothing but CBC.
    assert 0xC013 in Hello(options(enabled_protocols=4032)).suites
    assert 0x003C in Hello(options(enabled_cipher_suites="TLS_RSA_WITH_AES_128_CBC_SHA256")).suites


@BOTH
def test_cipher_suites_by_iana_name_are_the_only_ones_offered(versions: tuple[int, int]) -> None:
    names = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;TLS_CHACHA20_POLY1305_SHA256"
    info = connect(options(enabled_cipher_suites=names), versions=versions).info
    assert info is not None
    assert info.cipher_suite in names.split(";")
    hello = Hello(options(enabled_cipher_suites=names))
    assert [suite for suite in hello.suites if suite != 0x00FF] == [0x1303, 0xC02B]


def test_suites_for_one_version_turn_the_other_off() -> None:
    assert Hello(options(enabled_cipher_suites="TLS_AES_128_GCM_SHA256")).versions == {0x0304}
    assert Hello(options(enabled_cipher_suites="TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")).versions == set()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("TLS_NO_SUCH_SUITE", "unknown suite"),
        ("CALG_AES_256", "IANA names"),
        ("", "empty"),
        ("TLS_RSA_WITH_DES_CBC_SHA;TLS_RSA_WITH_RC4_128_MD5", "no suite that this OpenSSL has"),
        ("TLS_DH_ANON_WITH_AES_128_CBC_SHA", "no suite that this OpenSSL has"),
    ],
)
def test_suites_that_cannot_be_had_are_refused(value: str, words: str) -> None:
    error = refused(options(enabled_cipher_suites=value))
    assert error.code == 606
    assert words in error.message


def test_dropped_suites_beside_good_ones_are_left_out() -> None:
    hello = Hello(options(enabled_cipher_suites="TLS_RSA_WITH_RC4_128_SHA;TLS_AES_256_GCM_SHA384"))
    assert hello.suites == [0x1302]


def test_the_references_suites_are_all_known() -> None:
    for name in (
        "TLS_ECDH_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_DHE_DSS_WITH_AES_128_CBC_SHA",
        "TLS_DH_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
        "TLS_DHE_RSA_WITH_DES_CBC_SHA",
        "TLS_RSA_WITH_RC4_128_MD5",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    ):
        assert name in SUITES_BY_IANA


def test_every_suite_of_this_openssl_has_an_iana_name_and_the_right_strength() -> None:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_cipher_list(b"ALL:!PSK:!SRP:@SECLEVEL=0")
    for name in SSL.Connection(context, None).get_cipher_list():
        suite = SUITES_BY_OPENSSL[name]
        assert SUITES_BY_IANA[suite.iana] is suite


def test_openssl_cipher_list_narrows_tls_1_2() -> None:
    info = connect(options(cipher_list="ECDHE+CHACHA20"), versions=TLS12).info
    assert info is not None
    assert info.cipher == "CHACHA20_POLY1305"
    for bad in ("NO-SUCH-CIPHER", "eNULL", "aNULL", "ü"):
        error = refused(options(cipher_list=bad))
        assert error.code == 606
        assert "OpenSSLCipherList" in error.message


def test_cipher_list_and_suites_combine() -> None:
    names = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
    hello = Hello(options(enabled_cipher_suites=names, cipher_list="AES256"))
    assert [suite for suite in hello.suites if suite != 0x00FF] == [0xC02C]


def test_cipher_strength_is_a_minimum() -> None:
    hello = Hello(options(cipher_strength=256))
    assert 0x1301 not in hello.suites
    assert {0x1302, 0x1303, 0xC02C} <= set(hello.suites)
    assert 0xC02B not in hello.suites
    error = refused(options(cipher_strength=512))
    assert error.code == 273
    with pytest.raises(AMQPError) as caught:
        connect(options(cipher_strength=256), versions=TLS12, ciphers=b"ECDHE-ECDSA-AES128-GCM-SHA256")
    assert caught.value.code == 276


def test_no_choice_ever_offers_suites_without_authentication_or_encryption() -> None:
    for made in (options(), options(cipher_list="ALL:eNULL"), options(cipher_list="ALL:COMPLEMENTOFALL@SECLEVEL=0")):
        context = TlsContext(made).context
        for name in SSL.Connection(context, None).get_cipher_list():
            assert not any(part in name for part in ("NULL", "ADH", "AECDH", "PSK", "SRP"))


def test_unknown_strength_is_not_enough() -> None:
    assert choose_suites("*", "DEFAULT", 128, 2, Protocols.TLS12 | Protocols.TLS13).tls13


# --- groups ---


def test_default_groups_are_the_references_and_the_hybrid_one() -> None:
    hello = Hello(options())
    assert hello.numbers(10)[:6] == [HYBRID, X25519, X448, P256, P384, P521]
    assert hello.shares == [HYBRID, X25519]
    assert Hello(options(enabled_protocols=3072)).numbers(10) == [P256, P384, P521]


def test_tls13_groups_are_the_only_ones_accepted() -> None:
    made = options(tls13_supported_groups="ecdhe_secp384r1", enabled_protocols=12288)
    assert Hello(made).numbers(10) == [P384]
    info = connect(made).info
    assert info is not None
    assert (info.key_exchange, info.key_exchange_strength) == ("ECDHE_SECP384R1", 384)
    info = connect(options(tls13_supported_groups="ffdhe_3072", enabled_protocols=12288)).info
    assert info is not None
    assert (info.key_exchange, info.key_exchange_strength) == ("FFDHE_3072", 3072)


def test_tls12_groups_are_the_only_ones_accepted() -> None:
    made = options(tls12_supported_groups="ecdhe_secp521r1")
    # Not an EC certificate: in TLS 1.2 its curve has to be among the groups.
    info = connect(made, issue("broker", root_ca(), key=rsa_key()), versions=TLS12).info
    assert info is not None
    assert info.key_exchange == "ECDHE_SECP521R1"
    assert Hello(made).numbers(10) == [P521]


def test_a_group_of_the_other_versions_list_is_refused_when_the_server_takes_it() -> None:
    made = options(tls12_supported_groups="ecdhe_secp521r1", tls13_supported_groups="ecdhe_x25519")
    assert Hello(made).numbers(10) == [X25519, P521]
    with pytest.raises(AMQPError) as caught:
        connect(made, issue("broker", root_ca(), key=rsa_key()), versions=TLS12)
    assert caught.value.code == 276
    assert "TLS12SupportedGroups" in caught.value.message
    assert connect(made, versions=TLS13).handshake_done


def test_key_share_groups_are_sent_in_the_hello() -> None:
    assert Hello(options(tls13_key_share_groups="ecdhe_secp256r1,ecdhe_x448")).shares == [X448, P256]
    error = refused(options(tls13_key_share_groups="ecdhe_x25519,ecdhe_x448,ecdhe_secp256r1,ffdhe_2048,ffdhe_3072"))
    assert error.code == 606
    assert "at most 4" in error.message
    error = refused(options(tls13_supported_groups="ecdhe_x25519", tls13_key_share_groups="ffdhe_2048"))
    assert error.code == 606
    assert "ffdhe_2048" in error.message


@pytest.mark.parametrize(
    "setting",
    [
        "tls12_supported_groups",
        "tls13_supported_groups",
        "tls13_key_share_groups",
        "tls12_signature_algorithms",
        "tls13_signature_algorithms",
    ],
)
def test_unknown_names_in_lists_are_refused_by_name(setting: str) -> None:
    error = refused(options(**{setting: "nonsense"}))
    assert error.code == 606
    assert "nonsense" in error.message
    assert setting.replace("_", "").lower() in error.message.lower()


def test_every_group_is_taken_by_openssl() -> None:
    for name in GROUPS:
        TlsContext(options(tls13_supported_groups=name, enabled_protocols=12288))


# --- signature algorithms ---


def test_tls12_signature_algorithms_hold_for_the_certificates() -> None:
    assert connect(options(tls12_signature_algorithms="sha256-ecdsa"), versions=TLS12).handshake_done
    rsa_root = issue("RSA Root", ca=True, key=rsa_key(2048, "root"))
    mixed = issue("broker", rsa_root)
    made = options(
        server_ca_certs=rsa_root.pem.decode(),
        tls12_signature_algorithms="sha256-ecdsa,sha384-rsa",
        enabled_protocols=3072,
    )
    with pytest.raises(AMQPError) as caught:
        connect(made, mixed, versions=TLS12)
    assert caught.value.code in (276, 280)
    made.enabled_protocols = 15360
    with pytest.raises(AMQPError) as caught:
        connect(made, mixed, versions=TLS12)
    assert caught.value.code == 280
    assert "sha256-rsa, which TLS12SignatureAlgorithms does not allow" in caught.value.message
    assert connect(made, mixed, versions=TLS13).handshake_done


def test_tls13_signature_algorithms_hold_for_the_certificates() -> None:
    made = options(tls13_signature_algorithms="ecdsa_secp256r1_sha256")
    assert connect(made, versions=TLS13).handshake_done
    made = options(tls13_signature_algorithms="ed25519,ecdsa_secp384r1_sha384")
    with pytest.raises(AMQPError) as caught:
        connect(made, versions=TLS13)
    assert caught.value.code in (276, 280)
    assert connect(made, versions=TLS12).handshake_done


def test_an_empty_list_of_tls12_signatures_restricts_nothing() -> None:
    assert Hello(options(tls12_signature_algorithms="")).numbers(13) == Hello(options()).numbers(13)


# --- trusted certificates ---


def test_server_ca_certs_take_several_certificates_with_text_between() -> None:
    text = issue("Other Root", ca=True).pem.decode() + "\r \n" + "some words\n" + root_ca().pem.decode()
    assert connect(options(server_ca_certs=text)).handshake_done


def test_a_trusted_certificate_need_not_be_a_root() -> None:
    for anchor in (good_server().certificate, good_server().above[0]):
        made = options(server_ca_certs=anchor.public_bytes(Encoding.PEM).decode())
        assert connect(made).handshake_done
    alone = issue("self-signed")
    assert connect(options(server_ca_certs=alone.pem.decode()), alone).handshake_done


@pytest.mark.parametrize(
    ("setting", "value", "code"),
    [
        ("server_ca_certs", "garbage", 275),
        ("server_ca_certs", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", 275),
        ("client_ca_certs", "garbage", 274),
        ("accept_server_cert", b"garbage!", 271),
        ("ca_file", "/no/such/file", 271),
        ("ca_dir", "/no/such/directory", 271),
        ("ca_cert_file_paths", "/no/such/file;/nor/this", 271),
        ("key_log_file", "/no/such/directory/keys", 302),
        ("check_crl", 3, 606),
        ("security_flags", 0x40, 606),
        ("security_flags", 0x8000, 606),
        ("security_flags", 0x4000, 606),
    ],
)
def test_unusable_values_have_their_codes(setting: str, value: object, code: int) -> None:
    assert refused(options(**{setting: value})).code == code


def test_security_flags_may_be_written_as_a_signed_number() -> None:
    made = options(security_flags=0x80000000 - (1 << 32))
    assert connect(made, issue("broker", root_ca(), hosts=("other.test",))).handshake_done


def test_ca_file_and_directory_are_used_instead_of_the_systems(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(b"A comment\n" + root_ca().pem)
    made = TlsOptions(ca_file=str(file))
    assert connect(made).handshake_done
    store = TlsContext(made).context.get_cert_store()
    assert store is not None

    directory = tmp_path / "certs"
    directory.mkdir()
    (directory / "root.pem").write_bytes(root_ca().pem)
    try:
        subprocess.run(["openssl", "rehash", str(directory)], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl command to make the hash links with")
    assert connect(TlsOptions(ca_dir=str(directory))).handshake_done

    file.write_bytes(b"garbage")
    assert refused(TlsOptions(ca_file=str(file))).code == 271
    assert refused(TlsOptions(ca_cert_file_paths=str(file))).code == 271


def test_ca_cert_file_paths_load_every_file_that_exists(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(root_ca().pem)
    other = tmp_path / "other.pem"
    other.write_bytes(issue("Other Root", ca=True).pem)
    made = TlsOptions(ca_cert_file_paths=f"{other}; /no/such/file ;{file}")
    assert connect(made).handshake_done


def test_accepted_certificate_may_be_pem_der_or_base64() -> None:
    import base64

    alone = issue("self-signed")
    der = alone.certificate.public_bytes(Encoding.DER)
    for form in (alone.pem, der, base64.b64encode(der), base64.b64encode(alone.pem)):
        assert connect(options(accept_server_cert=form), alone).handshake_done


# --- key log, random seed ---


@BOTH
def test_key_log_is_appended_and_private(versions: tuple[int, int], tmp_path: Path) -> None:
    file = tmp_path / "keys.log"
    for expected in (1, 2):
        connect(options(key_log_file=str(file)), versions=versions)
        lines = file.read_bytes().splitlines()
        label = b"CLIENT_RANDOM" if versions == TLS12 else b"SERVER_TRAFFIC_SECRET_0"
        assert sum(line.startswith(label + b" ") for line in lines) == expected
    assert file.stat().st_mode & 0o077 == 0


def test_a_key_log_that_stops_working_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "gone" / "keys.log"
    file.parent.mkdir()
    session = TlsSession(options(key_log_file=str(file)), HOST)
    file.unlink()
    file.parent.rmdir()
    with pytest.raises(AMQPError) as caught:
        handshake(session, MemoryServer(server_context(good_server())))
    assert caught.value.code == 302


def test_seed_data_is_taken() -> None:
    assert connect(options(prng_seed_data="some noise")).handshake_done


# --- secrets, loading ---


def test_no_secret_in_any_repr() -> None:
    made = options(prng_seed_data="HUNTER2", client_certificate=entry(client()))
    key = client().key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    number = str(key.private_numbers().private_value)
    for text in (repr(made), repr(made.client_certificate), str(made), repr(TlsContext(made))):
        assert "HUNTER2" not in text
        assert number not in text
        assert "PrivateKey" not in text


def test_a_missing_library_is_error_270(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    real = importlib.import_module

    def failing(name: str, package: str | None = None) -> object:
        if name == "amqp10.net.tls.session":
            raise ImportError("No module named 'OpenSSL'")
        return real(name, package)

    assert load_tls().TlsSession is TlsSession
    monkeypatch.setattr(importlib, "import_module", failing)
    with pytest.raises(AMQPError) as caught:
        load_tls()
    assert caught.value.code == 270
    assert "pyOpenSSL" in caught.value.message


def test_defaults_are_the_references_except_for_the_versions() -> None:
    made = TlsOptions()
    assert made.enabled_protocols == 15360
    assert made.enabled_cipher_suites == "*"
    assert made.tls12_supported_groups == DEFAULT_TLS12_GROUPS == "ecdhe_secp256r1,ecdhe_secp384r1,ecdhe_secp521r1"
    assert DEFAULT_TLS12_SIGNATURE_ALGORITHMS == (
        "sha512-ecdsa,sha512-rsa,sha512-dsa,sha384-ecdsa,sha384-rsa,sha384-dsa,sha256-ecdsa,sha256-rsa,sha256-dsa,"
        "sha224-ecdsa,sha224-rsa,sha224-dsa,sha1-ecdsa,sha1-rsa,sha1-dsa"
    )
    assert not made.reuse_session
    assert made.check_crl == 0


def test_weak_client_certificates_are_refused_before_connecting() -> None:
    weak = issue("client", root_ca(), key=rsa_key(1024), hosts=(), usage=None)
    assert refused(options(client_certificate=entry(weak))).code == 273


def test_expired_client_certificates_are_left_for_the_server_to_judge() -> None:
    old = issue("client", root_ca(), hosts=(), usage=None, start=NOW - 9 * DAY, end=NOW - DAY)
    assert TlsContext(options(client_certificate=entry(old)))


def test_the_same_context_serves_many_sessions() -> None:
    context = TlsContext(options())
    make: Callable[[], TlsSession] = lambda: TlsSession(context, HOST)  # noqa: E731
    for _ in range(3):
        session = make()
        handshake(session, MemoryServer(server_context(good_server())))
        assert session.handshake_done


def test_entry_without_key_reports_the_subject() -> None:
    bare = CertificateEntry(certificate=client().certificate, subject="CN=client")
    assert "CN=client" in refused(options(client_certificate=bare)).message

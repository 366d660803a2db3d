"""A TLS session with servers that deserve it: handshake, data, close, client certificates, resumption."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL

from amqp10.errors import AMQPError
from amqp10.net.certstores.stores import CertificateEntry
from amqp10.net.tls.options import PeerCertificate, TlsOptions
from amqp10.net.tls.revocation import CrlSource
from amqp10.net.tls.session import TlsContext, TlsSession
from amqp10.net.tls.transport import TlsTransport
from amqp10.net.x509names import subject_text
from tests.net.pki import (
    DAY,
    HOST,
    NOW,
    Identity,
    MemoryServer,
    client,
    ec_key,
    exchange,
    good_server,
    handshake,
    issue,
    make_crl,
    records,
    root_ca,
    rsa_key,
    server_context,
)

TLS12 = (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)
TLS13 = (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION)
BOTH = pytest.mark.parametrize("versions", [TLS12, TLS13], ids=["tls12", "tls13"])


def options(**settings: object) -> TlsOptions:
    made = TlsOptions(ca_cert_file_paths="", server_ca_certs=root_ca().pem.decode())
    for key, value in settings.items():
        setattr(made, key, value)
    return made


def entry(identity: Identity) -> CertificateEntry:
    return CertificateEntry(
        certificate=identity.certificate,
        private_key=identity.key,
        chain=identity.above[:-1],
        subject=subject_text(identity.certificate),
    )


def connected(
    versions: tuple[int, int] = TLS13, made: TlsOptions | TlsContext | None = None
) -> tuple[TlsSession, MemoryServer]:
    session = TlsSession(made or options(), HOST)
    server = MemoryServer(server_context(good_server(), versions=versions))
    handshake(session, server)
    return session, server


@BOTH
def test_good_server_is_accepted_and_data_flows_both_ways(versions: tuple[int, int]) -> None:
    session, server = connected(versions)
    assert session.handshake_done
    assert server.finished
    session.write([b"small", memoryview(b"x" * 100_000), b"", b"tail"])
    server.connection.send(b"y" * 50_000)
    received = exchange(session, server)
    assert server.plain == b"small" + b"x" * 100_000 + b"tail"
    assert received == b"y" * 50_000


@BOTH
def test_bytes_may_arrive_one_at_a_time(versions: tuple[int, int]) -> None:
    session = TlsSession(options(log_packets=True), HOST, on_status=lambda _text: None)
    server = MemoryServer(server_context(good_server(), versions=versions))
    session.start()
    received = b""
    for step in range(8):
        server.receive(session.data_to_send())
        if step == 5:
            server.connection.send(b"payload")
        for octet in server.output():
            received += b"".join(session.feed(bytes((octet,))))
    assert session.handshake_done
    assert received == b"payload"


def test_data_that_follows_the_servers_last_flight_in_one_chunk_is_not_lost() -> None:
    session = TlsSession(options(), HOST)
    server = MemoryServer(server_context(good_server(), versions=TLS12))
    session.start()
    for _ in range(2):
        server.receive(session.data_to_send())
        if server.finished:
            server.connection.send(b"early")
            break
        assert session.feed(server.output()) == []
    server.receive(session.data_to_send())
    if not server.connection.get_state_string().startswith(b"SSL negotiation finished"):
        pytest.fail("the server has not finished")
    server.connection.send(b" bird")
    assert b"".join(session.feed(server.output())).endswith(b" bird")


@pytest.mark.parametrize("host", [HOST, "x.wild.test", "127.0.0.1", "::1", "[::1]", "BROKER.test", "broker.test."])
def test_names_and_addresses_of_the_certificate_are_accepted(host: str) -> None:
    session = TlsSession(options(), host)
    handshake(session, MemoryServer(server_context(good_server())))
    assert session.handshake_done


@pytest.mark.parametrize("unusable", ["127.0.0.1", "*", "*.test", "w*w.*.test", "", "a..b", "xn--*.test", "12345"])
@pytest.mark.parametrize("host", [HOST, "127.0.0.1"])
def test_a_name_that_may_not_be_used_does_not_spoil_the_others(unusable: str, host: str) -> None:
    names = [x509.DNSName(unusable), x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = issue("broker", root_ca(), hosts=(), extra=[(x509.SubjectAlternativeName(names), False)])
    session = TlsSession(options(), host)
    handshake(session, MemoryServer(server_context(server)))
    assert session.handshake_done


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("127.0.0.1", "127.0.0.1"),  # an address is not a name
        ("a.test", "*.test"),  # a wildcard for everything below a top level
        ("a.test", "*"),
        ("broker.test", "*"),
        ("www.a.test", "w*.a.test"),
        ("a.b.c.test", "*.c.test"),
        ("c.test", "*.c.test"),
        ("xn--bcher-kva.a.test", "xn--*.a.test"),
        ("broker.test", ".broker.test"),
        ("broker.test", "broker.test\0.evil.test"),
        ("broker.test", "broker.test.evil.test"),
    ],
)
def test_names_that_are_not_for_the_host(host: str, name: str) -> None:
    server = issue("broker", root_ca(), hosts=(), extra=[(x509.SubjectAlternativeName([x509.DNSName(name)]), False)])
    with pytest.raises(AMQPError, match=f"not for {host}") as caught:
        handshake(TlsSession(options(), host), MemoryServer(server_context(server)))
    assert caught.value.code == 280


def test_the_scope_of_a_link_local_address_is_not_compared() -> None:
    session = TlsSession(options(), "fe80::1%eth0")
    handshake(session, MemoryServer(server_context(issue("broker", root_ca(), hosts=("fe80::1",)))))
    assert session.handshake_done


def test_international_names_are_compared_in_their_ascii_form() -> None:
    server = issue("idn", root_ca(), hosts=("xn--bcher-kva.test",))
    session = TlsSession(options(), "bücher.test")
    handshake(session, MemoryServer(server_context(server)))
    assert session.handshake_done


@pytest.mark.parametrize("host", ["", "a b", "x" * 300, "bad\0name", "a\r\nb"])
def test_what_is_no_host_name_is_refused_at_once(host: str) -> None:
    with pytest.raises(AMQPError) as caught:
        TlsSession(options(), host)
    assert caught.value.code == 102


@BOTH
def test_nothing_leaves_between_the_servers_certificate_and_the_verdict(versions: tuple[int, int]) -> None:
    seen_at_verdict: list[bytes] = []
    server = MemoryServer(server_context(good_server(), versions=versions))

    def judge(peer: PeerCertificate) -> bool:
        seen_at_verdict.append(server.wire)
        assert session.data_to_send() == b""
        return peer.accept

    session = TlsSession(options(), HOST, authenticate=judge)
    handshake(session, server)
    assert len(seen_at_verdict) == 1
    assert len(records(seen_at_verdict[0])) == 1  # the hello


def test_authenticate_callback_is_shown_the_certificate_once_and_the_chain_on_request() -> None:
    shown: list[PeerCertificate] = []

    def judge(peer: PeerCertificate) -> bool:
        shown.append(peer)
        return peer.accept

    for chain in (False, True):
        session = TlsSession(options(include_cert_chain=chain), HOST, authenticate=judge)
        handshake(session, MemoryServer(server_context(good_server())))
    assert [peer.status for peer in shown] == ["OK", "OK"]
    assert all(peer.accept for peer in shown)
    assert shown[0].subject == 'CN=broker, O="Example, Inc."'
    assert shown[0].issuer == 'CN=Test Intermediate, O="Example, Inc."'
    assert x509.load_pem_x509_certificates(shown[0].encoded) == [good_server().certificate]
    assert len(x509.load_pem_x509_certificates(shown[1].encoded)) == 2


@pytest.mark.parametrize("answer", [False, None, 1, "yes"])
def test_only_true_is_consent(answer: object) -> None:
    session = TlsSession(options(), HOST, authenticate=lambda _peer: answer)  # type: ignore[arg-type,return-value]
    server = MemoryServer(server_context(good_server()))
    with pytest.raises(AMQPError) as caught:
        handshake(session, server)
    assert caught.value.code == 280
    assert "the program refused it" in caught.value.message
    assert not server.finished


def test_an_exception_in_the_callback_comes_out_and_ends_the_session() -> None:
    class OwnError(Exception):
        pass

    def judge(_peer: PeerCertificate) -> bool:
        raise OwnError

    session = TlsSession(options(), HOST, authenticate=judge)
    server = MemoryServer(server_context(good_server()))
    with pytest.raises(OwnError):
        handshake(session, server)
    assert not server.finished
    with pytest.raises(AMQPError) as caught:
        session.write([b"secret"])
    assert caught.value.code == 280


@BOTH
def test_nothing_is_sent_while_a_crl_is_missing(versions: tuple[int, int]) -> None:
    identity = issue("broker", root_ca(), crl_urls=("http://crl.test/root.crl",))
    asked: list[str] = []

    def fetch(url: str, _timeout: float, _size: int) -> bytes:
        asked.append(url)
        return make_crl(root_ca())

    context = TlsContext(options(check_crl=1), crl_source=CrlSource(fetch=fetch))
    session = TlsSession(context, "broker.test")
    server = MemoryServer(server_context(identity, versions=versions))
    session.start()
    server.receive(session.data_to_send())
    assert session.feed(server.output()) == []
    assert session.download is not None
    assert asked == []
    assert session.data_to_send() == b""
    assert not session.handshake_done
    assert "CRL" in session.stage
    session.download()
    assert session.downloaded() == []
    exchange(session, server)
    assert session.stage == "established"
    assert server.finished
    assert asked == ["http://crl.test/root.crl"]


def test_a_crl_that_does_not_come_in_time_is_an_unknown_revocation() -> None:
    identity = issue("broker", root_ca(), crl_urls=("http://crl.test/root.crl",))
    session = TlsSession(TlsContext(options(check_crl=1, crl_timeout=3)), "broker.test")
    server = MemoryServer(server_context(identity))
    session.start()
    server.receive(session.data_to_send())
    session.feed(server.output())
    assert session.download_limit == 3
    with pytest.raises(AMQPError, match="no answer within 3 s") as caught:
        session.downloaded()
    assert caught.value.code == 280
    server.receive(session.data_to_send())
    assert not server.finished


def test_info_reports_everything_that_was_negotiated() -> None:
    session, _ = connected(TLS13)
    info = session.info
    assert info is not None
    assert info.version == "TLS1.3"
    assert info.cipher_suite == "TLS_AES_256_GCM_SHA384"
    assert (info.cipher, info.cipher_strength) == ("AES_256_GCM", 256)
    assert info.key_exchange_strength >= 255
    assert info.server_certificate == good_server().pem
    assert len(info.server_chain) == 2
    assert info.status == "OK"
    assert not info.resumed

    rsa_server = issue("rsa", root_ca(), key=rsa_key())
    session = TlsSession(options(tls12_supported_groups="ecdhe_secp384r1"), HOST)
    handshake(session, MemoryServer(server_context(rsa_server, versions=TLS12, ciphers=b"ECDHE-RSA-AES128-GCM-SHA256")))
    info = session.info
    assert info is not None
    assert info.version == "TLS1.2"
    assert info.cipher_suite == "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
    assert (info.cipher, info.cipher_strength) == ("AES_128_GCM", 128)
    assert (info.key_exchange, info.key_exchange_strength) == ("ECDHE_SECP384R1", 384)

    session = TlsSession(options(cipher_list="HIGH"), HOST)
    handshake(session, MemoryServer(server_context(rsa_server, versions=TLS12, ciphers=b"AES256-GCM-SHA384")))
    info = session.info
    assert info is not None
    assert info.cipher_suite == "TLS_RSA_WITH_AES_256_GCM_SHA384"
    assert (info.key_exchange, info.key_exchange_strength) == ("RSA", 2048)


def test_status_tells_the_story() -> None:
    story: list[str] = []
    session = TlsSession(options(log_packets=True), HOST, on_status=story.append)
    handshake(session, MemoryServer(server_context(good_server())))
    session.close()
    text = "\n".join(story)
    for part in (
        "handshake with broker.test begins",
        "TLS record sent: handshake",
        "TLS record received: handshake",
        "server certificate: CN=broker",
        "server certificate accepted",
        "handshake done: TLS1.3, TLS_AES_256_GCM_SHA384 (256 bits)",
        "TLS session closed",
    ):
        assert part in text
    assert story.index("server certificate accepted") < len(story) - 1


# --- client certificates ---


@BOTH
def test_client_certificate_is_presented_with_its_chain(versions: tuple[int, int]) -> None:
    middle = issue("Client CA", root_ca(), ca=True)
    who = issue("client", middle, hosts=(), usage=None, key=ec_key("client"))
    for made in (
        options(client_certificate=entry(who)),
        options(
            client_certificate=CertificateEntry(certificate=who.certificate, private_key=who.key),
            client_ca_certs=middle.pem.decode() + "\r\n",
        ),
    ):
        session = TlsSession(made, HOST)
        server = MemoryServer(server_context(good_server(), versions=versions, client_ca=root_ca().certificate))
        handshake(session, server)
        assert server.finished
        assert server.connection.get_peer_certificate(as_cryptography=True) == who.certificate


@BOTH
def test_missing_client_certificate_is_error_281(versions: tuple[int, int]) -> None:
    session = TlsSession(options(), HOST)
    server = MemoryServer(server_context(good_server(), versions=versions, client_ca=root_ca().certificate))
    with pytest.raises(AMQPError) as caught:
        handshake(session, server)
    assert caught.value.code == 281
    assert "client certificate" in caught.value.message


@BOTH
def test_refused_client_certificate_is_said_to_be_refused(versions: tuple[int, int]) -> None:
    stranger = issue("stranger", hosts=(), usage=None)
    session = TlsSession(options(client_certificate=entry(stranger)), HOST)
    server = MemoryServer(server_context(good_server(), versions=versions, client_ca=root_ca().certificate))
    with pytest.raises(AMQPError) as caught:
        handshake(session, server)
    assert caught.value.code == 276


def test_client_certificate_without_usable_key_is_error_273() -> None:
    for bad in (
        CertificateEntry(certificate=client().certificate),
        CertificateEntry(certificate=None, private_key=client().key),
        CertificateEntry(certificate=client().certificate, private_key=ec_key("another")),
    ):
        with pytest.raises(AMQPError) as caught:
            TlsContext(options(client_certificate=bad))
        assert caught.value.code == 273


# --- resumption ---


@BOTH
def test_sessions_are_resumed_only_when_asked_and_for_the_same_host(versions: tuple[int, int]) -> None:
    server = server_context(good_server(), versions=versions)
    judged: list[str] = []

    def run(context: TlsContext, host: str) -> bool:
        def judge(peer: PeerCertificate) -> bool:
            judged.append(peer.subject)
            return peer.accept

        session = TlsSession(context, host, authenticate=judge)
        handshake(session, peer := MemoryServer(server))
        exchange(session, peer)
        session.close()
        assert session.info is not None
        return session.info.resumed

    reusing = TlsContext(options(reuse_session=True))
    assert [run(reusing, HOST), run(reusing, HOST), run(reusing, "localhost"), run(reusing, HOST)] == [
        False,
        True,
        False,
        True,
    ]
    assert len(judged) == 4  # the callback has its say for resumed sessions too
    plain = TlsContext(options())
    assert [run(plain, HOST), run(plain, HOST)] == [False, False]


def test_a_resumed_session_can_still_be_refused() -> None:
    server = server_context(good_server())
    context = TlsContext(options(reuse_session=True))
    session = TlsSession(context, HOST)
    handshake(session, peer := MemoryServer(server))
    exchange(session, peer)
    session.close()
    again = TlsSession(context, HOST, authenticate=lambda _peer: False)
    peer = MemoryServer(server)
    with pytest.raises(AMQPError) as caught:
        handshake(again, peer)
    assert caught.value.code == 280
    assert not peer.finished


def test_a_session_does_not_outlive_its_certificate() -> None:
    brief = issue("brief", root_ca(), end=NOW + DAY / 24)
    context = TlsContext(options(reuse_session=True))
    session = TlsSession(context, HOST)
    handshake(session, peer := MemoryServer(server_context(brief)))
    exchange(session, peer)
    session.close()
    saved = context.sessions[HOST]
    assert getattr(saved, "expires") <= brief.certificate.not_valid_after_utc.timestamp()  # noqa: B009


# --- the end ---


def test_close_notify_tells_a_proper_end_from_a_cut() -> None:
    session, server = connected()
    server.connection.shutdown()
    session.feed(server.output())
    assert session.closed_by_peer
    assert session.feed_eof() is True

    session, server = connected()
    assert session.feed_eof() is False


def test_close_sends_close_notify_and_refuses_more_data() -> None:
    session, server = connected()
    session.close()
    server.receive(session.data_to_send())
    assert server.error == "closed"
    with pytest.raises(AMQPError) as caught:
        session.write([b"late"])
    assert caught.value.code == 211
    session.close()
    assert session.data_to_send() == b""


def test_no_data_is_taken_before_the_handshake_is_done() -> None:
    session = TlsSession(options(), HOST)
    session.start()
    with pytest.raises(AMQPError) as caught:
        session.write([b"password"])
    assert caught.value.code == 211


def test_a_changed_byte_is_error_284_and_what_came_before_is_kept() -> None:
    session, server = connected()
    exchange(session, server)
    server.connection.send(b"good")
    good = server.output()
    server.connection.send(b"bad")
    bad = bytearray(server.output())
    bad[-1] ^= 1
    assert session.feed(good + bytes(bad)) == [b"good"]
    with pytest.raises(AMQPError) as caught:
        session.feed(b"more")
    assert caught.value.code == 284


# --- the real world ---


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_talks_to_the_standard_librarys_server_over_sockets(version: ssl.TLSVersion, tmp_path: Path) -> None:
    identity = good_server()
    chain = tmp_path / "chain.pem"
    chain.write_bytes(
        identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + identity.pem
        + identity.above[0].public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    context.minimum_version = context.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            raw, _ = listener.accept()
            with raw, context.wrap_socket(raw, server_side=True) as connection:
                while data := connection.recv(65536):
                    connection.sendall(data.upper())

        thread = threading.Thread(target=serve)
        thread.start()
        with socket.create_connection(listener.getsockname(), timeout=10) as sock:
            session = TlsSession(options(), "127.0.0.1")
            session.start()
            while not session.handshake_done:
                sock.sendall(session.data_to_send())
                session.feed(sock.recv(65536))
            session.write([b"hello ", b"world"])
            sock.sendall(session.data_to_send())
            received = b""
            while len(received) < 11:
                received += b"".join(session.feed(sock.recv(65536)))
            assert received == b"HELLO WORLD"
            session.close()
            sock.sendall(session.data_to_send())
        thread.join(10)
        assert not thread.is_alive()


def test_importing_the_options_does_not_load_openssl() -> None:
    code = (
        "import sys, amqp10, amqp10.net.tls.options\n"
        "bad = [name for name in ('OpenSSL', 'cryptography', 'service_identity') if name in sys.modules]\n"
        "sys.exit(repr(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@BOTH
def test_the_peer_learns_from_an_alert_why_its_data_end_the_connection(versions: tuple[int, int]) -> None:
    session, server = connected(versions)

    class Wire:
        """A connection on which a record arrives that nobody with the keys can have made."""

        sent = b""

        def recv(self, size: int) -> bytes:
            return b"\x17\x03\x03\x00\x40" + bytes(64)

        def send(self, buffers: list[bytes]) -> int:
            self.sent += b"".join(buffers)
            return len(b"".join(buffers))

    wire = Wire()
    transport = TlsTransport(wire, session, [])  # type: ignore[arg-type]  # stands in for a TcpTransport
    with pytest.raises(AMQPError) as caught:
        transport.recv()
    assert caught.value.code == 284
    server.receive(wire.sent)
    assert "alert" in str(server.error)

"""Servers that must be refused, and what lifts the refusal: never more than the matching flag, or the program's word.

Every case asserts what reached the server: after its certificate nothing but an alert, so no client certificate, no
password, no byte of AMQP.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from amqp10.errors import AMQPError
from amqp10.net.tls.options import PeerCertificate, SecurityFlags, TlsOptions
from amqp10.net.tls.revocation import CrlSource, FetchError
from amqp10.net.tls.session import TlsContext, TlsSession
from amqp10.net.tls.verify import Rules, ServerChain, problems_of
from amqp10.net.x509names import MALFORMED, check_readable
from tests.net.pki import (
    DAY,
    HOST,
    NOW,
    Identity,
    MemoryServer,
    altered,
    client,
    ec_key,
    exchange,
    good_server,
    handshake,
    intermediate_ca,
    issue,
    make_crl,
    records,
    root_ca,
    rsa_key,
    server_context,
    sha1_signed,
)
from tests.net.test_tls_handshake import entry

URL = "http://crl.test/root.crl"
SECRET = b"SASL PLAIN user password"


def rsa_root() -> Identity:
    return issue("RSA Root", ca=True, key=rsa_key(2048, "root"))


@dataclass
class Bad:
    """One kind of bad server.

    Attributes:
        make: makes the server's certificate.
        status: words that the user must see.
        flag: the flag that lifts exactly this, or 0 if none does.
        host: the name the client asks for.
        send: certificates sent besides the server's own; ``None`` for the proper ones.
        check_crl, crl: the setting, and what is at the CRL's address: bytes, or ``None`` for nothing.
    """

    make: Callable[[], Identity]
    status: str
    flag: int = 0
    host: str = HOST
    send: Sequence[x509.Certificate] | None = None
    check_crl: int = 0
    crl: Callable[[Identity], bytes | None] = field(default=lambda _server: None)


def with_crl(**settings: object) -> Identity:
    return issue("broker", root_ca(), crl_urls=(URL,), **settings)  # type: ignore[arg-type]


def not_a_ca() -> Identity:
    return issue("broker", issue("not a CA", root_ca(), ca=False))


def constrained() -> Identity:
    limits = x509.NameConstraints(permitted_subtrees=[x509.DNSName("other.test")], excluded_subtrees=None)
    return issue("broker", issue("Constrained CA", root_ca(), ca=True, extra=[(limits, True)]))


BAD: dict[str, Bad] = {
    "expired": Bad(
        lambda: issue("broker", root_ca(), start=NOW - 10 * DAY, end=NOW - DAY), "expired on", SecurityFlags.IGNORE_TIME
    ),
    "not yet valid": Bad(
        lambda: issue("broker", root_ca(), start=NOW + DAY), "not valid before", SecurityFlags.IGNORE_TIME
    ),
    "expired intermediate": Bad(
        lambda: issue("broker", issue("Old CA", root_ca(), ca=True, start=NOW - 10 * DAY, end=NOW - DAY)),
        "CN=Old CA",
        SecurityFlags.IGNORE_TIME,
    ),
    "wrong host": Bad(
        lambda: issue("broker", root_ca(), hosts=("other.test", "10.0.0.1")),
        "not for broker.test, but for other.test, 10.0.0.1",
        SecurityFlags.IGNORE_HOST_NAME,
    ),
    "right name in the common name only": Bad(
        lambda: issue(HOST, root_ca(), hosts=()), "no usable subject alternative names", SecurityFlags.IGNORE_HOST_NAME
    ),
    "wildcard for a deeper name": Bad(
        lambda: issue("broker", root_ca(), hosts=("*.test",)),
        "not for a.broker.test",
        SecurityFlags.IGNORE_HOST_NAME,
        host="a.broker.test",
    ),
    "wrong address": Bad(
        lambda: issue("broker", root_ca(), hosts=("127.0.0.2", "127.0.0.1.test")),
        "not for 127.0.0.1",
        SecurityFlags.IGNORE_HOST_NAME,
        host="127.0.0.1",
    ),
    "self-signed": Bad(lambda: issue("broker"), "self-signed", SecurityFlags.ALLOW_UNKNOWN_CA),
    "unknown CA": Bad(
        lambda: issue("broker", issue("Foreign Root", ca=True)), "not trusted", SecurityFlags.ALLOW_UNKNOWN_CA
    ),
    "unknown CA that is sent along": Bad(
        lambda: issue("broker", issue("Foreign Root", ca=True)),
        "a root certificate that is not trusted",
        SecurityFlags.ALLOW_UNKNOWN_CA,
        send=(issue("Foreign Root", ca=True).certificate,),
    ),
    "missing intermediate": Bad(
        good_server, "does not send an intermediate certificate", SecurityFlags.ALLOW_UNKNOWN_CA, send=()
    ),
    "impostor of the root": Bad(
        lambda: issue("broker", issue("Test Root", ca=True, key=ec_key("impostor"))), "", SecurityFlags(0)
    ),
    "client-only purpose": Bad(
        lambda: issue("broker", root_ca(), usage=(ExtendedKeyUsageOID.CLIENT_AUTH,)),
        "may not be used for servers",
        SecurityFlags.IGNORE_WRONG_USAGE,
    ),
    "signed with SHA-1": Bad(lambda: sha1_signed(rsa_root()), "signed with SHA1"),
    "1024-bit key": Bad(lambda: issue("broker", root_ca(), key=rsa_key(1024)), "has only 1024 bits"),
    "1024-bit CA": Bad(
        lambda: issue("broker", issue("Small CA", root_ca(), ca=True, key=rsa_key(1024))), "has only 1024 bits"
    ),
    "signed by a server certificate": Bad(not_a_ca, "not a CA certificate"),
    "name outside the CA's constraints": Bad(constrained, "may not issue for the names"),
    "unknown critical extension": Bad(
        lambda: issue(
            "broker",
            root_ca(),
            extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)],
        ),
        "critical extension that is not understood",
    ),
    "revoked": Bad(
        with_crl,
        "was revoked on",
        check_crl=1,
        crl=lambda server: make_crl(root_ca(), [server.certificate]),
    ),
    "CRL unreachable, setting 1": Bad(
        with_crl, "connection refused", SecurityFlags.IGNORE_UNKNOWN_REVOCATION, check_crl=1
    ),
    "CRL unreachable, setting 2": Bad(
        with_crl, "connection refused", SecurityFlags.IGNORE_UNKNOWN_REVOCATION, check_crl=2
    ),
    "no CRL named, setting 2": Bad(
        lambda: issue("broker", root_ca()), "names no CRL", SecurityFlags.IGNORE_UNKNOWN_REVOCATION, check_crl=2
    ),
    "CRL expired": Bad(
        with_crl,
        "the CRL expired",
        SecurityFlags.IGNORE_UNKNOWN_REVOCATION,
        check_crl=1,
        crl=lambda _server: make_crl(root_ca(), last=NOW - 9 * DAY, following=NOW - DAY),
    ),
    "CRL forged": Bad(
        with_crl,
        "the CRL's signature is wrong",
        SecurityFlags.IGNORE_UNKNOWN_REVOCATION,
        check_crl=1,
        crl=lambda _server: make_crl(root_ca(), signer=issue("Forger", ca=True)),
    ),
    "CRL is something else": Bad(
        with_crl,
        "not a CRL",
        SecurityFlags.IGNORE_UNKNOWN_REVOCATION,
        check_crl=1,
        crl=lambda _server: b"<html>not found</html>",
    ),
    "revoked intermediate": Bad(
        lambda: issue("broker", issue("Revoked CA", root_ca(), ca=True, crl_urls=(URL,))),
        "CN=Revoked CA",
        check_crl=1,
        crl=lambda server: make_crl(root_ca(), [server.above[0]]),
    ),
}
# The impostor's signature does not match, or its key identifier does not: either way no CA is found for it.
BAD["impostor of the root"].status = "issue"
BAD["impostor of the root"].flag = SecurityFlags.ALLOW_UNKNOWN_CA
CASES = pytest.mark.parametrize("case", [pytest.param(bad, id=name.replace(" ", "-")) for name, bad in BAD.items()])
VERSIONS = pytest.mark.parametrize(
    "versions",
    [(SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION), (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION)],
    ids=["tls12", "tls13"],
)


def options_for(case: Bad, flags: int = 0, **settings: object) -> TlsOptions:
    made = TlsOptions(
        ca_cert_file_paths="",
        server_ca_certs=root_ca().pem.decode() + rsa_root().pem.decode(),
        client_certificate=entry(client()),
        security_flags=flags,
        check_crl=case.check_crl,
    )
    for key, value in settings.items():
        setattr(made, key, value)
    return made


def crl_source(case: Bad, server: Identity) -> CrlSource:
    def fetch(url: str, _timeout: float, _size: int) -> bytes:
        assert url == URL
        data = case.crl(server)
        if data is None:
            raise FetchError("connection refused")
        return data

    return CrlSource(fetch=fetch)


def attempt(
    case: Bad,
    versions: tuple[int, int],
    flags: int = 0,
    authenticate: Callable[[PeerCertificate], bool] | None = None,
    **settings: object,
) -> MemoryServer:
    identity = case.make()
    context = TlsContext(options_for(case, flags, **settings), crl_source=crl_source(case, identity))
    session = TlsSession(context, case.host, authenticate=authenticate)
    server = MemoryServer(server_context(identity, send=case.send, versions=versions, client_ca=root_ca().certificate))
    try:
        handshake(session, server)
        session.write([SECRET])
        exchange(session, server)
    except AMQPError:
        with pytest.raises(AMQPError):
            session.write([SECRET])
        server.receive(session.data_to_send())
        assert_nothing_given_away(server)
        raise
    return server


def assert_nothing_given_away(server: MemoryServer) -> None:
    seen = records(server.wire)
    assert seen[0][0] == 22  # the hello
    assert seen[1:] == [(21, 2)]  # the alert, in the clear
    assert not server.finished
    assert server.plain == b""
    assert server.error is not None
    assert "alert" in server.error


@VERSIONS
@CASES
def test_is_refused_with_280_and_a_reason(case: Bad, versions: tuple[int, int]) -> None:
    judged: list[PeerCertificate] = []

    def judge(peer: PeerCertificate) -> bool:
        judged.append(peer)
        return peer.accept

    for authenticate in (None, judge):
        with pytest.raises(AMQPError) as caught:
            attempt(case, versions, authenticate=authenticate)
        assert caught.value.code == 280
        assert case.status in caught.value.message
    assert len(judged) == 1
    assert not judged[0].accept
    assert case.status in judged[0].status


@CASES
def test_only_its_own_flag_lifts_it(case: Bad) -> None:
    tls13 = (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION)
    every = 0
    for flag in SecurityFlags:
        if flag not in (SecurityFlags.TRUST_TEST_ROOT, SecurityFlags.ALLOW_TEST_ROOT):
            every |= flag
    with pytest.raises(AMQPError) as caught:
        attempt(case, tls13, flags=every & ~case.flag if case.flag else every)
    assert caught.value.code == 280
    if case.flag:
        assert attempt(case, tls13, flags=case.flag).plain == SECRET


@VERSIONS
@CASES
def test_the_programs_word_lifts_it(case: Bad, versions: tuple[int, int]) -> None:
    assert attempt(case, versions, authenticate=lambda _peer: True).plain == SECRET


@CASES
def test_the_accepted_certificate_lifts_it_and_another_does_not(case: Bad) -> None:
    tls13 = (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION)
    identity = case.make()
    fixed = Bad(lambda: identity, case.status, case.flag, case.host, case.send, case.check_crl, case.crl)
    statuses: list[str] = []

    def judge(peer: PeerCertificate) -> bool:
        statuses.append(peer.status)
        return peer.accept

    assert attempt(fixed, tls13, authenticate=judge, accept_server_cert=identity.pem).plain == SECRET
    assert statuses == ["OK"]
    with pytest.raises(AMQPError) as caught:
        attempt(fixed, tls13, accept_server_cert=client().pem)
    assert caught.value.code == 280


def test_two_failures_need_two_flags() -> None:
    case = Bad(lambda: issue("broker", hosts=("other.test",)), "self-signed")
    tls13 = (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION)
    for flags in (SecurityFlags.ALLOW_UNKNOWN_CA, SecurityFlags.IGNORE_HOST_NAME):
        with pytest.raises(AMQPError):
            attempt(case, tls13, flags=flags)
    assert attempt(case, tls13, flags=SecurityFlags.ALLOW_UNKNOWN_CA | SecurityFlags.IGNORE_HOST_NAME).plain == SECRET


def test_who_accepts_another_fault_is_told_of_the_revocation_too() -> None:
    case = Bad(
        lambda: with_crl(hosts=("other.test",)),
        "not for broker.test",
        check_crl=1,
        crl=lambda server: make_crl(root_ca(), [server.certificate]),
    )
    statuses: list[str] = []

    def judge(peer: PeerCertificate) -> bool:
        statuses.append(peer.status)
        return peer.accept

    with pytest.raises(AMQPError):
        attempt(case, (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION), authenticate=judge)
    assert "not for broker.test" in statuses[0]
    assert "was revoked on" in statuses[0]


def test_a_chain_whose_signatures_are_weak_is_not_asked_about() -> None:
    small = issue("Small CA", root_ca(), ca=True, key=rsa_key(1024))
    case = Bad(lambda: issue("broker", small, crl_urls=(URL,)), "", check_crl=1)
    with pytest.raises(AMQPError, match="revocation cannot be checked because the chain is not verified"):
        attempt(case, (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION))


def test_a_renegotiation_that_the_server_asks_for_is_declined() -> None:
    """It could put another certificate in the place of the one that was verified."""
    session = TlsSession(TlsOptions(ca_cert_file_paths="", server_ca_certs=root_ca().pem.decode()), HOST)
    context = server_context(good_server(), versions=(SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION))
    server = MemoryServer(context)
    handshake(session, server)
    assert session.handshake_done
    assert server.connection.renegotiate()
    server.connection.do_handshake()  # sends the request
    before = len(server.wire)
    with contextlib.suppress(AMQPError):
        exchange(session, server)
    # An alert, and no second hello.
    assert [kind for kind, _ in records(server.wire[before:])] == [21]


def test_endless_handshake_messages_are_cut_off() -> None:
    """OpenSSL limits each kind of message; what it does not ask for ends the handshake."""
    session = TlsSession(TlsOptions(), HOST)
    session.start()
    session.data_to_send()
    # A ServerHello that claims to be 16 MB long, in records of 16 KB each.
    record = b"\x16\x03\x03\x40\x00"
    data = record + b"\x02\xff\xff\xff" + bytes(16380) + 50 * (record + bytes(16384))
    with pytest.raises(AMQPError) as caught:
        feed_pieces(session, data, 16389)
    assert caught.value.code == 276


@VERSIONS
def test_a_huge_chain_is_cut_off(versions: tuple[int, int]) -> None:
    extra = [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(60_000)), False)]
    chain = [issue(f"CA {number}", root_ca(), ca=True, extra=extra).certificate for number in range(3)]
    session = TlsSession(TlsOptions(ca_cert_file_paths="", server_ca_certs=root_ca().pem.decode()), HOST)
    with pytest.raises(AMQPError) as caught:
        handshake(session, MemoryServer(server_context(good_server(), send=chain, versions=versions)))
    assert caught.value.code == 276


def test_messages_stay_short_however_long_the_names_of_a_certificate_are() -> None:
    extra = [(x509.SubjectAlternativeName([x509.DNSName("x" * 20_000) for _ in range(3)]), False)]
    case = Bad(lambda: issue("broker", root_ca(), hosts=(), start=NOW - 9 * DAY, end=NOW - DAY, extra=extra), "")
    with pytest.raises(AMQPError) as caught:
        attempt(case, (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION))
    assert len(caught.value.message) < 2000


def test_an_untrusted_server_cannot_make_the_client_fetch_addresses() -> None:
    asked: list[str] = []

    def fetch(url: str, _timeout: float, _size: int) -> bytes:
        asked.append(url)
        return b""

    identity = issue("broker", crl_urls=("http://169.254.169.254/secret",))
    made = options_for(BAD["self-signed"], SecurityFlags.ALLOW_UNKNOWN_CA, check_crl=1)
    session = TlsSession(TlsContext(made, crl_source=CrlSource(fetch=fetch)), HOST)
    with pytest.raises(AMQPError) as caught:
        handshake(session, MemoryServer(server_context(identity)))
    assert caught.value.code == 280
    assert asked == []


# --- servers that fail before their certificate matters ---


def test_tls_1_0_is_not_offered_unless_asked_for() -> None:
    old = (SSL.TLS1_VERSION, SSL.TLS1_VERSION)
    session = TlsSession(TlsOptions(), HOST)
    server = MemoryServer(server_context(good_server(), versions=old))
    with pytest.raises(AMQPError) as caught:
        handshake(session, server)
    assert caught.value.code == 276
    assert "TLS 1.2, TLS 1.3" in caught.value.message
    assert not server.finished

    made = TlsOptions(ca_cert_file_paths="", server_ca_certs=root_ca().pem.decode(), enabled_protocols=4032)
    session = TlsSession(made, HOST)
    handshake(session, server := MemoryServer(server_context(good_server(), versions=old)))
    assert session.info is not None
    assert session.info.version == "TLS1.0"
    assert server.finished


def test_an_old_version_does_not_bring_back_weak_certificates() -> None:
    old = (SSL.TLS1_VERSION, SSL.TLS1_VERSION)
    for name in ("1024-bit key", "signed with SHA-1"):
        with pytest.raises(AMQPError) as caught:
            attempt(BAD[name], old, enabled_protocols=4032)
        assert caught.value.code == 280
        assert BAD[name].status in caught.value.message


def feed_pieces(session: TlsSession, data: bytes, size: int) -> None:
    for at in range(0, len(data), size):
        session.feed(data[at : at + size])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"AMQP\x00\x01\x00\x00", "answers in plain AMQP"),
        (b"AMQP\x03\x01\x00\x00", "answers in plain AMQP"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "answers in HTTP"),
        (b"220 mail.example ESMTP\r\n", "not TLS"),
        (b"\x00" * 16, "not TLS"),
    ],
)
def test_plaintext_server_is_recognised(answer: bytes, words: str) -> None:
    for size in (len(answer), 1):
        session = TlsSession(TlsOptions(), HOST)
        session.start()
        session.data_to_send()
        with pytest.raises(AMQPError) as caught:
            feed_pieces(session, answer, size)
        assert caught.value.code == 276
        assert words in caught.value.message
        assert session.data_to_send() == b""


@VERSIONS
def test_a_cut_after_any_byte_of_the_handshake_is_276_and_gives_nothing_away(versions: tuple[int, int]) -> None:
    context = TlsContext(TlsOptions(ca_cert_file_paths="", server_ca_certs=root_ca().pem.decode()))
    server_side = server_context(good_server(), versions=versions)
    whole = MemoryServer(server_side)
    session = TlsSession(context, HOST)
    session.start()
    whole.receive(session.data_to_send())
    flight = len(whole.output())
    stages = set()
    # Signatures differ a little in length from one run to the next.
    for cut in range(0, flight - 16, 7):
        session = TlsSession(context, HOST)
        server = MemoryServer(server_side)
        session.start()
        server.receive(session.data_to_send())
        session.feed(server.output()[:cut])
        stages.add(session.stage)
        with pytest.raises(AMQPError) as caught:
            session.feed_eof()
        assert caught.value.code == 276
        assert "closed the connection" in caught.value.message
        server.receive(session.data_to_send())
        assert len(records(server.wire)) == 1
        assert not server.finished
    assert "waiting for the server's first answer" in stages
    assert "waiting for the server's certificate" in stages


@VERSIONS
def test_a_changed_byte_in_the_servers_flight_never_passes(versions: tuple[int, int]) -> None:
    context = TlsContext(TlsOptions(ca_cert_file_paths="", server_ca_certs=root_ca().pem.decode()))
    server_side = server_context(good_server(), versions=versions)
    for position in range(0, 1200, 41):
        session = TlsSession(context, HOST)
        server = MemoryServer(server_side)
        session.start()
        server.receive(session.data_to_send())
        flight = bytearray(server.output())
        if position >= len(flight):
            break
        flight[position] ^= 0x40
        codes: list[int] = []
        answer = bytes(flight)
        for _ in range(5):
            try:
                session.feed(answer)
            except AMQPError as error:
                codes.append(error.code)
                break
            server.receive(session.data_to_send())
            answer = server.output()
        assert codes in ([], [276], [280])
        assert not session.handshake_done
        assert server.plain == b""


def test_a_stalled_handshake_says_what_it_waits_for() -> None:
    session = TlsSession(TlsOptions(), HOST)
    session.start()
    assert session.stage == "waiting for the server's first answer"
    assert session.info is None
    assert not session.handshake_done


def test_times_are_told_in_utc() -> None:
    end = datetime.datetime(2020, 1, 2, 3, 4, tzinfo=datetime.UTC)
    case = Bad(lambda: issue("broker", root_ca(), start=end - DAY, end=end), "")
    with pytest.raises(AMQPError, match="expired on 2020-01-02 03:04 UTC"):
        attempt(case, (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION))


def test_unused_intermediate_is_harmless() -> None:
    session = TlsSession(TlsOptions(ca_cert_file_paths="", server_ca_certs=root_ca().pem.decode()), HOST)
    extra = (intermediate_ca().certificate, issue("Other CA", root_ca(), ca=True).certificate)
    handshake(session, MemoryServer(server_context(good_server(), send=extra)))
    assert session.handshake_done


BROKEN = {
    "subject": (b"altered", b"alt\xff\xfeed"),
    "host name": (b"broker.test", b"brok\xffr.test"),
    "length": (b"\x82\x0bbroker.test", b"\x82\x7fbroker.test"),
    "extension twice": (bytes.fromhex("0603551d25"), bytes.fromhex("0603551d11")),
    "crl points": (bytes.fromhex("0603551d25"), bytes.fromhex("0603551d1f")),
}


@pytest.mark.parametrize(("old", "new"), BROKEN.values(), ids=BROKEN)
def test_malformed_certificates_are_problems_or_value_errors(old: bytes, new: bytes) -> None:
    identity = altered(root_ca(), old, new)
    chain = ServerChain((identity.certificate,), (identity.certificate, root_ca().certificate), ())
    rules = Rules(HOST, 1, CrlSource(fetch=lambda *_: make_crl(root_ca())), None, True)
    try:
        check_readable(identity.certificate)
        assert problems_of(chain, rules)
    except MALFORMED:
        pass  # the session makes 280 of it, see below


def test_a_malformed_certificate_is_280_and_not_a_bare_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AMQPError) as caught:
        attempt(Bad(lambda: altered(root_ca(), *BROKEN["host name"]), ""), (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION))
    assert caught.value.code == 280

    def malformed(*_: object) -> None:
        raise ValueError("error parsing asn1 value")

    def twice(*_: object) -> None:
        raise x509.DuplicateExtension("2.5.29.17", x509.ObjectIdentifier("2.5.29.17"))

    for function, failing in (("problems_of", malformed), ("check_readable", malformed), ("problems_of", twice)):
        with monkeypatch.context() as patch:
            patch.setattr(f"amqp10.net.tls.session.{function}", failing)
            with pytest.raises(AMQPError) as caught:
                attempt(Bad(good_server, ""), (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION))
            assert caught.value.code == 280


@pytest.mark.parametrize("name", ["self-signed", "unknown CA", "unknown CA that is sent along", "wrong address"])
def test_a_ca_that_is_not_trusted_names_the_settings_that_trust_one(name: str) -> None:
    with pytest.raises(AMQPError) as caught:
        attempt(BAD[name], (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION))
    for setting in ("SSLServerCACerts", "OpenSSLCAFile"):
        assert (setting in caught.value.message) is (name != "wrong address")

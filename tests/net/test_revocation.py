"""CRLs over HTTP and stapled OCSP responses: what is believed, what is not, and how long."""

from __future__ import annotations

import datetime
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from amqp10.errors import AMQPError
from amqp10.net.tls.revocation import CrlSource, FetchError, Revocation, check_crl, check_ocsp, fetch_http
from amqp10.net.tls.session import TlsContext, TlsSession
from tests.net.pki import (
    DAY,
    HOST,
    NOW,
    Identity,
    MemoryServer,
    ec_key,
    handshake,
    issue,
    make_crl,
    root_ca,
    server_context,
)
from tests.net.test_tls_handshake import options

URL = "http://crl.test/root.crl"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def http_server(answer: Callable[[BaseHTTPRequestHandler], None], tls: ssl.SSLContext | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http{'s' if tls is not None else ''}://127.0.0.1:{server.server_port}/root.crl"
        finally:
            server.shutdown()
            thread.join(10)


def respond(data: bytes, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Callable[..., None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        if not any(name == "Content-Length" for name, _ in headers):
            request.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(data)

    return answer


# --- fetching ---


def test_a_crl_is_fetched_over_http() -> None:
    data = make_crl(root_ca())
    with http_server(respond(data)) as url:
        assert fetch_http(url, 10, 1 << 20) == data


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (respond(b"x" * 1001), "larger than 1000"),
        (respond(b"gone", 404), "answered 404"),
        (respond(b"short", headers=(("Content-Length", "50"),)), "cut short"),
        (respond(b"", 302, (("Location", "file:///etc/passwd"),)), "302"),
        (respond(b"", 302, (("Location", "ftp://127.0.0.1/x"),)), "answered 302"),
    ],
    ids=["too large", "404", "cut", "redirect to a file", "redirect to ftp"],
)
def test_answers_that_are_not_taken(answer: Callable[[BaseHTTPRequestHandler], None], words: str) -> None:
    with http_server(answer) as url, pytest.raises(FetchError, match=words):
        fetch_http(url, 10, 1000)


def test_a_redirect_to_http_is_followed() -> None:
    with http_server(respond(b"content")) as target, http_server(respond(b"", 302, (("Location", target),))) as url:
        assert fetch_http(url, 10, 1000) == b"content"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ldap://x/y", "ftp://127.0.0.1/", "gopher://x", ""])
def test_other_schemes_are_not_read(url: str) -> None:
    with pytest.raises(FetchError, match="only http"):
        fetch_http(url, 1, 1000)


def test_a_silent_server_ends_in_a_time_out() -> None:
    release = threading.Event()

    def answer(_request: BaseHTTPRequestHandler) -> None:
        release.wait(10)

    with http_server(answer) as url:
        try:
            with pytest.raises(FetchError, match=r"no answer within 0\.1 s"):
                fetch_http(url, 0.1, 1000)
        finally:
            release.set()


@pytest.fixture
def https(monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context, whose certificate authority this process trusts for the test."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setattr(ssl, "_create_default_https_context", lambda: trusting)
    return context


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Endless: ", b"HTTP"])
def test_a_trickling_server_ends_in_a_time_out(head: bytes, secure: bool, https: ssl.SSLContext) -> None:
    release = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        try:
            request.wfile.write(head)
            while not release.wait(0.02):
                request.wfile.write(b"x")
                request.wfile.flush()
        except OSError:
            return

    with http_server(answer, https if secure else None) as url:
        try:
            with pytest.raises(FetchError, match=r"longer than|no answer within"):
                fetch_http(url, 0.3, 1 << 20)
        finally:
            release.set()


def test_nobody_there() -> None:
    with http_server(respond(b"")) as url:
        pass
    with pytest.raises(FetchError, match="refused"):
        fetch_http(url, 5, 1000)


# --- the verdict of a CRL ---


class Fetcher:
    def __init__(self, **answers: bytes) -> None:
        self.answers = {"http://" + name.replace("_", ".") + "/": data for name, data in answers.items()}
        self.asked: list[str] = []

    def __call__(self, url: str, _timeout: float, _size: int) -> bytes:
        self.asked.append(url)
        if url not in self.answers:
            raise FetchError("connection refused")
        return self.answers[url]


def server(*urls: str) -> Identity:
    return issue("broker", root_ca(), crl_urls=urls)


def test_the_first_address_that_answers_decides() -> None:
    identity = server("http://a.test/", "http://b.test/", "http://c.test/")
    fetcher = Fetcher(b_test=make_crl(root_ca(), [identity.certificate]))
    result = check_crl(identity.certificate, root_ca().certificate, CrlSource(fetch=fetcher))
    assert result.status is Revocation.REVOKED
    assert "keyCompromise" in result.text
    assert fetcher.asked == ["http://a.test/", "http://b.test/"]


def test_pem_crls_are_read_too() -> None:
    identity = server("http://a.test/")
    crl = x509.load_der_x509_crl(make_crl(root_ca()))
    fetcher = Fetcher(a_test=crl.public_bytes(Encoding.PEM))
    assert check_crl(identity.certificate, root_ca().certificate, CrlSource(fetch=fetcher)).status is Revocation.GOOD


def test_a_crl_is_kept_until_its_next_update_and_no_longer() -> None:
    now = [NOW]
    identity = server("http://a.test/")
    fetcher = Fetcher(a_test=make_crl(root_ca(), following=NOW + DAY))
    source = CrlSource(fetch=fetcher, now=lambda: now[0])

    def check() -> Revocation:
        return check_crl(identity.certificate, root_ca().certificate, source).status

    assert check() is Revocation.GOOD
    now[0] += DAY - datetime.timedelta(seconds=1)
    assert check() is Revocation.GOOD
    assert len(fetcher.asked) == 1
    fetcher.answers["http://a.test/"] = make_crl(root_ca(), [identity.certificate], following=NOW + 3 * DAY)
    now[0] += datetime.timedelta(seconds=2)
    assert check() is Revocation.REVOKED
    assert len(fetcher.asked) == 2


def test_a_forged_crl_is_not_kept() -> None:
    identity = server("http://a.test/")
    fetcher = Fetcher(a_test=make_crl(root_ca(), signer=issue("Forger", ca=True)))
    source = CrlSource(fetch=fetcher)
    assert check_crl(identity.certificate, root_ca().certificate, source).status is Revocation.UNKNOWN
    fetcher.answers["http://a.test/"] = make_crl(root_ca(), [identity.certificate])
    assert check_crl(identity.certificate, root_ca().certificate, source).status is Revocation.REVOKED


def test_the_cache_is_bounded() -> None:
    source = CrlSource(fetch=Fetcher())
    crl = x509.load_der_x509_crl(make_crl(root_ca()))
    for number in range(200):
        source.keep(f"http://{number}/", crl)
    assert len(source._cache) <= 64


def idp(**settings: bool) -> x509.IssuingDistributionPoint:
    fields = {
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
        **settings,
    }
    return x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(URL)] if not any(settings.values()) else None,
        relative_name=None,
        only_some_reasons=None,
        **fields,
    )


def some_reasons() -> x509.IssuingDistributionPoint:
    reasons = frozenset({x509.ReasonFlags.key_compromise})
    return x509.IssuingDistributionPoint(None, None, False, False, reasons, False, False)


@pytest.mark.parametrize(
    ("crl", "words"),
    [
        (make_crl(issue("Other Root", ca=True)), "another CA's"),
        (make_crl(root_ca(), last=NOW + DAY, following=NOW + 2 * DAY), "not valid yet"),
        (make_crl(root_ca(), extra=[(idp(only_contains_ca_certs=True), True)]), "does not cover"),
        (make_crl(root_ca(), extra=[(idp(indirect_crl=True), True)]), "does not cover"),
        (make_crl(root_ca(), extra=[(idp(only_contains_attribute_certs=True), True)]), "does not cover"),
        (make_crl(root_ca(), extra=[(some_reasons(), True)]), "does not cover"),
        (make_crl(root_ca(), extra=[(x509.DeltaCRLIndicator(1), True)]), "critical extension"),
        (make_crl(root_ca())[:-20], "not a CRL"),
        (b"", "not a CRL"),
    ],
)
def test_crls_that_say_nothing_about_the_certificate(crl: bytes, words: str) -> None:
    identity = server("http://a.test/")
    result = check_crl(identity.certificate, root_ca().certificate, CrlSource(fetch=Fetcher(a_test=crl)))
    assert result.status is Revocation.UNKNOWN
    assert words in result.text


def test_a_crl_for_user_certificates_covers_a_server() -> None:
    identity = server("http://a.test/")
    crl = make_crl(root_ca(), [identity.certificate], extra=[(idp(only_contains_user_certs=True), True)])
    result = check_crl(identity.certificate, root_ca().certificate, CrlSource(fetch=Fetcher(a_test=crl)))
    assert result.status is Revocation.REVOKED


def part(*urls: str) -> tuple[x509.ExtensionType, bool]:
    names = [x509.UniformResourceIdentifier(url) for url in urls]
    return x509.IssuingDistributionPoint(names, None, False, False, None, False, False), True


def test_another_part_of_the_cas_list_does_not_acquit() -> None:
    identity = server("http://a.test/1.crl")
    revoked = [identity.certificate]

    def status(crl: bytes, certificate: x509.Certificate = identity.certificate) -> Revocation:
        return check_crl(certificate, root_ca().certificate, CrlSource(fetch=lambda *_: crl)).status

    # Somebody between this machine and the CRL's server answers with the part for other certificates.
    assert status(make_crl(root_ca(), extra=[part("http://a.test/2.crl")])) is Revocation.UNKNOWN
    assert status(make_crl(root_ca(), extra=[part("http://a.test/1.crl")])) is Revocation.GOOD
    assert status(make_crl(root_ca(), revoked, extra=[part("http://a.test/1.crl")])) is Revocation.REVOKED
    # Any name in common will do, also one by which it was not fetched.
    names = [x509.UniformResourceIdentifier(url) for url in ("ldap://dir.test/cn=1", "http://a.test/1.crl")]
    points = x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)])
    several = issue("broker", root_ca(), extra=[(points, False)]).certificate
    assert status(make_crl(root_ca(), extra=[part("ldap://dir.test/cn=1")]), several) is Revocation.GOOD


def test_points_for_some_reasons_only_are_not_enough() -> None:
    point = x509.DistributionPoint(
        [x509.UniformResourceIdentifier(URL)], None, frozenset({x509.ReasonFlags.key_compromise}), None
    )
    identity = issue("broker", root_ca(), extra=[(x509.CRLDistributionPoints([point]), False)])
    fetcher = Fetcher()
    result = check_crl(identity.certificate, root_ca().certificate, CrlSource(fetch=fetcher))
    assert result.status is Revocation.NOT_OFFERED
    assert fetcher.asked == []


# --- OCSP ---


def make_ocsp(
    identity: Identity,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    *,
    signer: Identity | None = None,
    this: datetime.datetime = NOW - DAY,
    following: datetime.datetime | None = NOW + DAY,
    subject: x509.Certificate | None = None,
) -> bytes:
    signer = signer or root_ca()
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            cert=subject or identity.certificate,
            issuer=root_ca().certificate,
            algorithm=hashes.SHA256(),
            cert_status=status,
            this_update=this,
            next_update=following,
            revocation_time=NOW - DAY if revoked else None,
            revocation_reason=None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.NAME, signer.certificate)
    )
    if signer is not root_ca():
        builder = builder.certificates([signer.certificate])
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.DER)


def responder(
    issuer: Identity | None = None, usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.OCSP_SIGNING
) -> Identity:
    return issue("Responder", issuer or root_ca(), hosts=(), usage=(usage,))


def ocsp_status(response: bytes, identity: Identity) -> Revocation:
    return check_ocsp(response, identity.certificate, root_ca().certificate, NOW).status


def test_ocsp_answers_of_the_issuer_and_its_delegate_are_believed() -> None:
    identity = server()
    revoked = ocsp.OCSPCertStatus.REVOKED
    assert ocsp_status(make_ocsp(identity), identity) is Revocation.GOOD
    assert ocsp_status(make_ocsp(identity, revoked), identity) is Revocation.REVOKED
    assert ocsp_status(make_ocsp(identity, revoked, signer=responder()), identity) is Revocation.REVOKED


def test_other_ocsp_answers_count_for_nothing() -> None:
    identity = server()
    none = Revocation.NOT_OFFERED
    assert ocsp_status(b"", identity) is none
    assert ocsp_status(b"garbage", identity) is none
    whole = make_ocsp(identity)
    assert ocsp_status(whole[:-1], identity) is none
    assert ocsp_status(whole[:-1] + bytes((whole[-1] ^ 1,)), identity) is none
    assert ocsp_status(make_ocsp(identity, following=NOW - DAY / 2), identity) is none
    assert ocsp_status(make_ocsp(identity, following=None), identity) is none
    assert ocsp_status(make_ocsp(identity, subject=server().certificate), identity) is none
    assert ocsp_status(make_ocsp(identity, signer=responder(issue("Foreign", ca=True))), identity) is none
    assert ocsp_status(make_ocsp(identity, signer=responder(usage=ExtendedKeyUsageOID.SERVER_AUTH)), identity) is none
    future = make_ocsp(identity, this=NOW + DAY / 2)
    assert ocsp_status(future, identity) is none
    usage = (ExtendedKeyUsageOID.OCSP_SIGNING,)
    late = issue("Responder", root_ca(), hosts=(), usage=usage, start=NOW - 9 * DAY, end=NOW - DAY)
    assert ocsp_status(make_ocsp(identity, signer=late), identity) is none
    unsuccessful = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    assert ocsp_status(unsuccessful.public_bytes(Encoding.DER), identity) is none


@pytest.mark.parametrize("versions", [(SSL.TLS1_2_VERSION,) * 2, (SSL.TLS1_3_VERSION,) * 2], ids=["tls12", "tls13"])
def test_a_stapled_response_stands_in_for_a_crl_and_condemns(versions: tuple[int, int]) -> None:
    identity = server(URL)

    def connect(response: bytes, source: CrlSource) -> TlsSession:
        session = TlsSession(TlsContext(options(check_crl=2), crl_source=source), HOST)
        handshake(session, MemoryServer(server_context(identity, versions=versions, ocsp=response)))
        return session

    unreachable = CrlSource(fetch=Fetcher())
    assert connect(make_ocsp(identity), unreachable).handshake_done
    crl_good = CrlSource(fetch=lambda *_: make_crl(root_ca()))
    with pytest.raises(AMQPError, match="revoked"):
        connect(make_ocsp(identity, ocsp.OCSPCertStatus.REVOKED), crl_good)
    crl_bad = CrlSource(fetch=lambda *_: make_crl(root_ca(), [identity.certificate]))
    with pytest.raises(AMQPError, match="revoked"):
        connect(make_ocsp(identity), crl_bad)
    with pytest.raises(AMQPError, match="could not be checked"):
        connect(b"garbage", unreachable)


# --- in the handshake ---


def test_crl_checking_over_real_http() -> None:
    asked: list[str] = []
    crl = [make_crl(root_ca())]

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        respond(crl[0])(request)

    with http_server(answer) as url:
        identity = server(url)
        for setting in (1, 2):
            context = TlsContext(options(check_crl=setting))
            for _ in range(2):
                session = TlsSession(context, HOST)
                handshake(session, MemoryServer(server_context(identity)))
                assert session.handshake_done
        assert len(asked) == 2  # one per context: the second handshake has it in the cache
        crl[0] = make_crl(root_ca(), [identity.certificate])
        session = TlsSession(options(check_crl=1), HOST)
        with pytest.raises(AMQPError) as caught:
            handshake(session, MemoryServer(server_context(identity)))
        assert caught.value.code == 280
        assert "revoked" in caught.value.message


def test_setting_1_goes_on_without_a_crl_and_setting_2_does_not() -> None:
    identity = issue("broker", issue("Middle", root_ca(), ca=True), crl_urls=())
    session = TlsSession(TlsContext(options(check_crl=1), crl_source=CrlSource(fetch=Fetcher())), HOST)
    handshake(session, MemoryServer(server_context(identity)))
    assert session.handshake_done
    for flags, fine in ((0, False), (0x100, False), (0x400, False), (0x500, True)):
        made = options(check_crl=2, security_flags=flags)
        session = TlsSession(TlsContext(made, crl_source=CrlSource(fetch=Fetcher())), HOST)
        if fine:
            handshake(session, MemoryServer(server_context(identity)))
            continue
        with pytest.raises(AMQPError) as caught:
            handshake(session, MemoryServer(server_context(identity)))
        assert caught.value.code == 280


def test_a_certificate_that_is_trusted_itself_cannot_satisfy_setting_2() -> None:
    alone = issue("alone", key=ec_key("alone"))
    for setting, fine in ((1, True), (2, False)):
        session = TlsSession(options(server_ca_certs=alone.pem.decode(), check_crl=setting), HOST)
        if fine:
            handshake(session, MemoryServer(server_context(alone)))
            continue
        with pytest.raises(AMQPError, match="no CA that could revoke it"):
            handshake(session, MemoryServer(server_context(alone)))

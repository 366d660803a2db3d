"""Certificates, good and bad, made while the tests run, and a TLS server in memory to show them."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto

from amqp10.net.tls.session import TlsSession

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
HOST = "broker.test"
NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)


@cache
def ec_key(name: str = "") -> ec.EllipticCurvePrivateKey:
    """One key per name; making them is quick, but there are many tests."""
    del name
    return ec.generate_private_key(ec.SECP256R1())


@cache
def rsa_key(bits: int = 2048, name: str = "") -> rsa.RSAPrivateKey:
    del name
    return rsa.generate_private_key(65537, bits)


@dataclass(frozen=True)
class Identity:
    """A certificate with its key and the certificates above it, nearest first, root last."""

    certificate: x509.Certificate
    key: Key
    above: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def root(self) -> x509.Certificate:
        return self.above[-1] if self.above else self.certificate


def name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example, Inc."),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def issue(
    common_name: str,
    issuer: Identity | None = None,
    *,
    ca: bool = False,
    key: Key | None = None,
    hosts: Sequence[str] = (HOST,),
    start: datetime.datetime = NOW - DAY,
    end: datetime.datetime = NOW + 30 * DAY,
    usage: Sequence[x509.ObjectIdentifier] | None = (ExtendedKeyUsageOID.SERVER_AUTH,),
    crl_urls: Sequence[str] = (),
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Identity:
    """Make a certificate; self-signed without an issuer."""
    key = key or ec_key(common_name)
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common_name))
        .issuer_name(issuer.certificate.subject if issuer else name(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if ca:
        builder = builder.add_extension(
            x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True
        )
    else:
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    if crl_urls:
        builder = builder.add_extension(
            x509.CRLDistributionPoints(
                [x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None) for url in crl_urls]
            ),
            critical=False,
        )
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    certificate = builder.sign(signer, hashes.SHA256())
    return Identity(certificate, key, (issuer.certificate, *issuer.above) if issuer else ())


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@cache
def root_ca() -> Identity:
    return issue("Test Root", ca=True)


@cache
def intermediate_ca() -> Identity:
    return issue("Test Intermediate", root_ca(), ca=True)


@cache
def good_server() -> Identity:
    return issue("broker", intermediate_ca(), hosts=(HOST, "*.wild.test", "127.0.0.1", "::1", "localhost"))


@cache
def client() -> Identity:
    return issue("client", root_ca(), hosts=(), usage=(ExtendedKeyUsageOID.CLIENT_AUTH,))


def make_crl(
    issuer: Identity,
    revoked: Sequence[x509.Certificate] = (),
    *,
    signer: Identity | None = None,
    last: datetime.datetime = NOW - DAY,
    following: datetime.datetime = NOW + DAY,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> bytes:
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=issuer.certificate.subject, last_update=last, next_update=following
    )
    for certificate in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder(certificate.serial_number, NOW - DAY)
            .add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False)
            .build()
        )
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign((signer or issuer).key, hashes.SHA256()).public_bytes(Encoding.DER)


# --- a server in memory ---------------------------------------------------------------------------------------------


def server_context(
    identity: Identity,
    *,
    send: Sequence[x509.Certificate] | None = None,
    versions: tuple[int, int] = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION),
    ciphers: bytes = b"DEFAULT:@SECLEVEL=0",
    client_ca: x509.Certificate | None = None,
    ocsp: bytes = b"",
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_cipher_list(ciphers)
    context.set_min_proto_version(versions[0])
    context.set_max_proto_version(versions[1])
    context.use_certificate(identity.certificate)
    context.use_privatekey(identity.key)
    for certificate in identity.above[:-1] if send is None else send:
        context.add_extra_chain_cert(certificate)
    context.set_session_id(b"test")
    context.clear_mode(0x1)  # no partial writes
    if client_ca is not None:
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(client_ca))
        context.add_client_ca(client_ca)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    if ocsp:
        context.set_ocsp_server_callback(lambda _connection, _data: ocsp)
    return context


class MemoryServer:
    """The other end. Everything that reaches it is kept, so that a test can say what a refused server has seen."""

    def __init__(self, context: SSL.Context) -> None:
        self.connection = SSL.Connection(context, None)
        self.connection.set_accept_state()
        self.wire = b""
        self.plain = b""
        self.finished = False
        self.error: str | None = None

    def receive(self, data: bytes) -> None:
        self.wire += data
        if self.error is not None or not data:
            return
        self.connection.bio_write(data)
        try:
            if not self.finished:
                self.connection.do_handshake()
                self.finished = True
            while True:
                self.plain += self.connection.recv(65536)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.error = self.error or "closed"
        except SSL.Error as error:
            self.error = str(error)

    def output(self) -> bytes:
        try:
            return self.connection.bio_read(1 << 20)
        except SSL.WantReadError:
            return b""


def handshake(session: TlsSession, server: MemoryServer, *, rounds: int = 10) -> bytes:
    """Run both ends against each other until nothing moves; return what the client decrypted."""
    session.start()
    return exchange(session, server, rounds=rounds)


def exchange(session: TlsSession, server: MemoryServer, *, rounds: int = 10) -> bytes:
    received = b""
    try:
        for _ in range(rounds):
            data = session.data_to_send()
            server.receive(data)
            answer = server.output()
            if not data and not answer:
                break
            if answer:
                received += b"".join(session.feed(answer))
            while session.download is not None:
                session.download()
                received += b"".join(session.downloaded())
    finally:
        # A driver sends what is left, an alert, before it closes.
        server.receive(session.data_to_send())
    return received


def records(wire: bytes) -> list[tuple[int, int]]:
    """The TLS records in a stream: type and length."""
    found: list[tuple[int, int]] = []
    position = 0
    while position + 5 <= len(wire):
        length = int.from_bytes(wire[position + 3 : position + 5], "big")
        found.append((wire[position], length))
        position += 5 + length
    return found


def sha1_signed(issuer: Identity) -> Identity:
    """A certificate signed with RSA and SHA-1. The library no longer makes them, so one is re-signed by hand."""
    assert isinstance(issuer.key, rsa.RSAPrivateKey)
    proper = issue("weakly signed", issuer)
    sha256_oid, sha1_oid = (bytes.fromhex("2a864886f70d0101") + last for last in (b"\x0b", b"\x05"))
    tbs = proper.certificate.tbs_certificate_bytes.replace(sha256_oid, sha1_oid)
    signature = issuer.key.sign(tbs, padding.PKCS1v15(), hashes.SHA1())
    return _assembled(proper, tbs, b"\x30\x0d\x06\x09" + sha1_oid + b"\x05\x00", signature)


def altered(issuer: Identity, old: bytes, new: bytes, common_name: str = "altered", **settings: object) -> Identity:
    """A certificate in which bytes were replaced by as many others before an EC issuer signed it."""
    assert isinstance(issuer.key, ec.EllipticCurvePrivateKey)
    assert len(old) == len(new)
    proper = issue(common_name, issuer, **settings)  # type: ignore[arg-type]
    assert old in proper.certificate.tbs_certificate_bytes
    tbs = proper.certificate.tbs_certificate_bytes.replace(old, new)
    signature = issuer.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return _assembled(proper, tbs, bytes.fromhex("300a06082a8648ce3d040302"), signature)


def _assembled(proper: Identity, tbs: bytes, algorithm: bytes, signature: bytes) -> Identity:
    content = tbs + algorithm + b"\x03" + _length(len(signature) + 1) + b"\0" + signature
    certificate = x509.load_der_x509_certificate(b"\x30" + _length(len(content)) + content)
    return Identity(certificate, proper.key, proper.above)


def _length(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    octets = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets

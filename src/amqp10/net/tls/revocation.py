"""Whether a certificate was revoked: CRLs fetched over HTTP, and OCSP responses that the server staples.

Nothing that is fetched counts before its signature has been verified with the issuer's key. The addresses come from
certificates, so callers ask only about chains that lead to a trusted CA: an untrusted server must not be able to make
this program send requests.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import CRLEntryExtensionOID, ExtendedKeyUsageOID

from amqp10.net.x509names import MALFORMED, short_name

if TYPE_CHECKING:
    import http.client

__all__ = [
    "CrlSource",
    "DownloadNeededError",
    "FetchError",
    "Revocation",
    "RevocationResult",
    "Runner",
    "check_crl",
    "check_ocsp",
    "fetch_http",
]

_CACHE_SIZE: Final = 64
_WITHOUT_NEXT_UPDATE: Final = timedelta(minutes=10)
# Clocks differ a little; a CRL signed seconds ago is not from the future.
_SKEW: Final = timedelta(minutes=5)
_READ_SIZE: Final = 64 * 1024


Runner = Callable[[str, Callable[[], bytes], float], bytes]
"""Gives what is at an address: makes the download, given as a function that blocks and may take so many seconds, or has
made it already. :class:`FetchError` says that it failed, :class:`DownloadNeededError` that it is to be made first."""


class Revocation(Enum):
    """The revocation status of a certificate."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"
    NOT_OFFERED = "not offered"


@dataclass(frozen=True, slots=True)
class RevocationResult:
    """A status with the sentence that explains it."""

    status: Revocation
    text: str = ""


class FetchError(Exception):
    """A CRL could not be fetched; the message says why."""


class DownloadNeededError(Exception):
    """The verdict needs the content of this address first.

    Args:
        url: the address.
        fetch: downloads it; blocks. May raise :class:`FetchError`.
        limit: how many seconds that may take.
    """

    def __init__(self, url: str, fetch: Callable[[], bytes], limit: float) -> None:
        super().__init__(url)
        self.url = url
        self.fetch = fetch
        self.limit = limit


def fetch_http(url: str, timeout: float, max_size: int) -> bytes:
    """Read ``url`` (http or https), at most ``max_size`` bytes, in about ``timeout`` seconds.

    Raises:
        FetchError: there is no complete answer, for whatever reason.
    """
    import http.client
    import urllib.error
    import urllib.request

    if not url.lower().startswith(("http://", "https://")):
        raise FetchError("only http and https addresses are read")
    connections: list[http.client.HTTPConnection] = []

    def connect(host: str, **options: Any) -> http.client.HTTPConnection:
        connections.append(http.client.HTTPConnection(host, **options))
        return connections[-1]

    def connect_securely(host: str, **options: Any) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(host, **options)
        connections.append(connection)
        return connection

    class Handler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(connect, req)

    class SecureHandler(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(connect_securely, req)

    # Only these handlers: the default ones would follow a redirect to ftp, and open files.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        Handler(),
        SecureHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    deadline = time.monotonic() + timeout
    # A server that trickles bytes, of its header too, resets the socket's own time-out with each of them.
    timer = threading.Timer(timeout, _cut, (connections,))
    timer.daemon = True
    timer.start()
    chunks: list[bytes] = []
    size = 0
    try:
        with opener.open(url, timeout=timeout) as response:
            while chunk := response.read1(_READ_SIZE):
                size += len(chunk)
                if size > max_size:
                    raise FetchError(f"the answer is larger than {max_size} bytes")
                chunks.append(chunk)
                if time.monotonic() > deadline:
                    break
            if time.monotonic() > deadline:
                raise FetchError(f"the answer took longer than {timeout:g} s")
            length = response.headers.get("Content-Length", "")
            if length.isdecimal() and int(length) != size:
                raise FetchError("the answer was cut short")
    except urllib.error.HTTPError as error:
        error.close()
        raise FetchError(f"the server answered {error.code}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, TimeoutError) or time.monotonic() > deadline:
            raise FetchError(f"no answer within {timeout:g} s") from error
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise FetchError(str(reason) or type(error).__name__) from error
    finally:
        timer.cancel()
    return b"".join(chunks)


def _cut(connections: list[http.client.HTTPConnection]) -> None:
    for connection in connections:
        with contextlib.suppress(OSError, AttributeError):  # it was never opened, or is closed already
            connection.sock.shutdown(socket.SHUT_RDWR)


class CrlSource:
    """Fetches CRLs and keeps them until their next update. Safe to share between threads.

    Args:
        timeout: seconds for one download.
        max_size: the largest CRL that is read, in bytes.
        fetch: does the download; replaced in tests.
        now: the time in UTC; replaced in tests.
    """

    __slots__ = ("_cache", "_fetch", "_lock", "_max_size", "_timeout", "now")

    def __init__(
        self,
        *,
        timeout: float = 10.0,
        max_size: int = 16 * 1024 * 1024,
        fetch: Callable[[str, float, int], bytes] = fetch_http,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._timeout = timeout
        self._max_size = max_size
        self._fetch = fetch
        self.now: Callable[[], datetime] = now
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, tuple[datetime, x509.CertificateRevocationList]] = OrderedDict()

    def get(self, url: str, run: Runner | None = None) -> x509.CertificateRevocationList:
        """The CRL at ``url``, not yet verified. Blocks while it is fetched, unless ``run`` does something else.

        Raises:
            FetchError: if it cannot be fetched, or is not a CRL.
        """
        now = self.now()
        with self._lock:
            kept = self._cache.get(url)
            if kept is not None and kept[0] > now:
                self._cache.move_to_end(url)
                return kept[1]
        download = partial(self._fetch, url, self._timeout, self._max_size)
        data = download() if run is None else run(url, download, self._timeout)
        try:
            crl = x509.load_pem_x509_crl(data) if data.lstrip().startswith(b"-----") else x509.load_der_x509_crl(data)
        except MALFORMED as error:
            raise FetchError("the answer is not a CRL") from error
        return crl

    def keep(self, url: str, crl: x509.CertificateRevocationList) -> None:
        """Keep a CRL that was verified. (An unverified one would hide the true one until its next update.)"""
        expires = crl.next_update_utc or self.now() + _WITHOUT_NEXT_UPDATE
        with self._lock:
            self._cache[url] = (expires, crl)
            self._cache.move_to_end(url)
            while len(self._cache) > _CACHE_SIZE:
                self._cache.popitem(last=False)


def check_crl(
    certificate: x509.Certificate, issuer: x509.Certificate, source: CrlSource, run: Runner | None = None
) -> RevocationResult:
    """Whether ``issuer`` lists ``certificate`` in the CRL that the certificate names (RFC 5280, "CRL distribution
    points"). Fetches; takes up to the source's time-out for each address."""
    name = short_name(certificate)
    try:
        points = _crl_points(certificate)
    except MALFORMED:
        return RevocationResult(Revocation.UNKNOWN, f"the CRL addresses in the certificate {name} are malformed")
    if not points:
        return RevocationResult(Revocation.NOT_OFFERED, f"the certificate {name} names no CRL")
    failures: list[str] = []
    for url, names in points:
        try:
            crl = source.get(url, run)
        except FetchError as error:
            failures.append(f"{_printable(url)}: {error}")
            continue
        problem = _crl_problem(crl, names, certificate, issuer, source.now())
        if problem:
            failures.append(f"{_printable(url)}: {problem}")
            continue
        source.keep(url, crl)
        entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if entry is None:
            return RevocationResult(Revocation.GOOD)
        return RevocationResult(
            Revocation.REVOKED,
            f"the certificate {name} was revoked on {entry.revocation_date_utc:%Y-%m-%d}{_reason(entry)}",
        )
    return RevocationResult(
        Revocation.UNKNOWN, f"the revocation of the certificate {name} could not be checked ({'; '.join(failures)})"
    )


def _printable(url: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in url[:200])


def _reason(entry: x509.RevokedCertificate) -> str:
    try:
        value = entry.extensions.get_extension_for_oid(CRLEntryExtensionOID.CRL_REASON).value
    except (x509.ExtensionNotFound, *MALFORMED):
        return ""
    return f" ({value.reason.value})" if isinstance(value, x509.CRLReason) else ""


_Names = frozenset[x509.GeneralName]


def _crl_points(certificate: x509.Certificate) -> list[tuple[str, _Names]]:
    """The addresses of a certificate's CRLs, each with all names of its distribution point."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return []
    found: list[tuple[str, _Names]] = []
    for point in points:
        # A point for some reasons only, or with another signer, cannot show that a certificate is good.
        if point.reasons is not None or point.crl_issuer is not None:
            continue
        names = frozenset(point.full_name or ())
        for name in point.full_name or ():
            if isinstance(name, x509.UniformResourceIdentifier) and name.value.lower().startswith(
                ("http://", "https://")
            ):
                found.append((name.value, names))
    return found


def _crl_problem(
    crl: x509.CertificateRevocationList,
    names: _Names,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    now: datetime,
) -> str:
    """Why a CRL says nothing about the certificate; empty if it does. ``names`` are those of the distribution point."""
    if crl.issuer != certificate.issuer or crl.issuer != issuer.subject:
        return "the CRL is another CA's"
    try:
        key = issuer.public_key()
        if not isinstance(
            key,
            rsa.RSAPublicKey
            | ec.EllipticCurvePublicKey
            | dsa.DSAPublicKey
            | ed25519.Ed25519PublicKey
            | ed448.Ed448PublicKey,
        ) or not crl.is_signature_valid(key):
            return "the CRL's signature is wrong"
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
        if not usage.crl_sign:
            return "the CA may not sign CRLs"
    except x509.ExtensionNotFound:
        pass  # without the extension, every use is allowed
    except (*MALFORMED, TypeError, UnsupportedAlgorithm):
        return "the CRL's signature cannot be verified"
    if crl.last_update_utc > now + _SKEW:
        return "the CRL is not valid yet"
    if crl.next_update_utc is not None and crl.next_update_utc < now:
        return f"the CRL expired on {crl.next_update_utc:%Y-%m-%d}"
    try:
        for extension in crl.extensions:
            value = extension.value
            if isinstance(value, x509.IssuingDistributionPoint):
                is_ca = _is_ca(certificate)
                if (
                    value.indirect_crl
                    or value.only_some_reasons is not None
                    or value.only_contains_attribute_certs
                    or (value.only_contains_user_certs and is_ca)
                    or (value.only_contains_ca_certs and not is_ca)
                    # A CA may divide its list, and says in each part which one it is. Whoever can change what
                    # travels over HTTP could answer with another part, in which the certificate is not.
                    or value.relative_name is not None
                    or (value.full_name is not None and not names.intersection(value.full_name))
                ):
                    return "the CRL does not cover this certificate"
            elif extension.critical:
                return "the CRL has a critical extension that is not understood"
    except MALFORMED:
        return "the CRL's extensions are malformed"
    return ""


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def check_ocsp(
    response: bytes, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime
) -> RevocationResult:
    """What a stapled OCSP response says (RFC 6960). Anything but a fresh, verified answer counts as none."""
    unusable = RevocationResult(Revocation.NOT_OFFERED, "the server staples no usable OCSP response")
    if not response:
        return unusable
    try:
        answer = ocsp.load_der_ocsp_response(response)
        if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL or not _ocsp_signed(answer, issuer, now):
            return unusable
        for single in answer.responses:
            if single.serial_number != certificate.serial_number or not _ocsp_names(single, issuer):
                continue
            if single.this_update_utc > now + _SKEW:
                continue
            # A response without an end would be valid for ever, and the server could keep using it.
            if single.next_update_utc is None or single.next_update_utc < now:
                continue
            if single.certificate_status is ocsp.OCSPCertStatus.REVOKED:
                when = f" on {single.revocation_time_utc:%Y-%m-%d}" if single.revocation_time_utc else ""
                return RevocationResult(
                    Revocation.REVOKED, f"the certificate {short_name(certificate)} was revoked{when}"
                )
            if single.certificate_status is ocsp.OCSPCertStatus.GOOD:
                return RevocationResult(Revocation.GOOD)
    except (*MALFORMED, TypeError, UnsupportedAlgorithm):
        return unusable
    return unusable


def _ocsp_names(single: ocsp.OCSPSingleResponse, issuer: x509.Certificate) -> bool:
    digest = hashes.Hash(single.hash_algorithm)
    digest.update(issuer.subject.public_bytes())
    return digest.finalize() == single.issuer_name_hash


def _ocsp_signed(answer: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime) -> bool:
    """Whether it is signed by the issuer, or by a certificate that the issuer made for this purpose."""
    signer = issuer
    if answer.responder_name is not None and answer.responder_name != issuer.subject:
        delegates = [item for item in answer.certificates if item.subject == answer.responder_name]
    elif answer.responder_key_hash is not None and answer.responder_key_hash != _key_hash(issuer):
        delegates = [item for item in answer.certificates if _key_hash(item) == answer.responder_key_hash]
    else:
        delegates = []
    try:
        if delegates:
            signer = delegates[0]
            signer.verify_directly_issued_by(issuer)
            usage = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            if ExtendedKeyUsageOID.OCSP_SIGNING not in usage:
                return False
            if not signer.not_valid_before_utc <= now <= signer.not_valid_after_utc:
                return False
        _verify_signature(signer, answer)
    except (InvalidSignature, x509.ExtensionNotFound):
        return False
    return True


def _key_hash(certificate: x509.Certificate) -> bytes:
    return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest


def _verify_signature(signer: x509.Certificate, answer: ocsp.OCSPResponse) -> None:
    key = signer.public_key()
    algorithm = answer.signature_hash_algorithm
    signed = answer.tbs_response_bytes
    if isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
        key.verify(answer.signature, signed, padding.PKCS1v15(), algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
        key.verify(answer.signature, signed, ec.ECDSA(algorithm))
    elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        key.verify(answer.signature, signed)
    else:
        raise InvalidSignature

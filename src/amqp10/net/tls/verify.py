"""The verdict on a server's certificate.

OpenSSL builds the chain and checks signatures, times, purpose and constraints; its findings arrive here as numbers.
This module adds the host name (RFC 9525, through service-identity), the strength of keys and signatures, the allowed
signature algorithms and revocation, lifts what ``SSLSecurityFlags`` lifts, and describes the rest.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from OpenSSL.SSL import X509VerificationCodes as Codes
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import (
    DNS_ID,
    CertificatePattern,
    DNSPattern,
    IPAddress_ID,
    IPAddressPattern,
    ServiceID,
    verify_service_identity,
)

from amqp10.net.names import is_ip_address
from amqp10.net.tls.options import SecurityFlags
from amqp10.net.tls.revocation import CrlSource, Revocation, RevocationResult, Runner, check_crl, check_ocsp
from amqp10.net.x509names import MALFORMED, short_name

__all__ = ["Kind", "Problem", "Rules", "ServerChain", "problems_of", "remaining", "status_text"]


class Kind(Enum):
    """The kind of a problem, which decides which flag lifts it and which alert the server gets."""

    TIME = "time"
    UNKNOWN_CA = "unknown CA"
    USAGE = "usage"
    HOST = "host name"
    REVOKED = "revoked"
    REVOCATION_UNKNOWN = "revocation unknown"
    CA_REVOCATION_UNKNOWN = "CA revocation unknown"
    WEAK = "weak"
    OTHER = "other"


_LIFTED_BY: Final[dict[Kind, SecurityFlags]] = {
    Kind.TIME: SecurityFlags.IGNORE_TIME,
    Kind.UNKNOWN_CA: SecurityFlags.ALLOW_UNKNOWN_CA,
    Kind.USAGE: SecurityFlags.IGNORE_WRONG_USAGE,
    Kind.HOST: SecurityFlags.IGNORE_HOST_NAME,
    Kind.REVOCATION_UNKNOWN: SecurityFlags.IGNORE_UNKNOWN_REVOCATION,
    Kind.CA_REVOCATION_UNKNOWN: SecurityFlags.IGNORE_UNKNOWN_CA_REVOCATION,
}
# TLS alert descriptions (RFC 8446, "alert protocol").
ALERTS: Final[dict[Kind, int]] = {
    Kind.TIME: 45,
    Kind.UNKNOWN_CA: 48,
    Kind.USAGE: 43,
    Kind.HOST: 42,
    Kind.REVOKED: 44,
    Kind.REVOCATION_UNKNOWN: 46,
    Kind.CA_REVOCATION_UNKNOWN: 46,
    Kind.WEAK: 42,
    Kind.OTHER: 42,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, in words that a user understands."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class ServerChain:
    """What is known about the server when it is judged.

    Attributes:
        presented: the certificates it sent, its own first.
        built: the chain that OpenSSL built from them and the trusted ones, as far as it got.
        errors: OpenSSL's findings: error number and depth in the chain.
        ocsp: the stapled OCSP response, or nothing.
    """

    presented: tuple[x509.Certificate, ...]
    built: tuple[x509.Certificate, ...]
    errors: tuple[tuple[int, int], ...]
    ocsp: bytes = b""

    @property
    def leaf(self) -> x509.Certificate:
        return self.presented[0]


@dataclass(frozen=True, slots=True)
class Rules:
    """The requirements for the server's certificate.

    Attributes:
        hostname: DNS name or IP address, as the user gave it.
        check_crl: 0, 1 or 2, as ``SSLCheckCRL``.
        crls: where CRLs come from.
        run: how they are downloaded; ``None`` for a call that blocks.
        signatures: the allowed signature algorithms by their names in the settings; ``None`` for no restriction.
        tls13: whether these are names of TLS 1.3.
    """

    hostname: str
    check_crl: int
    crls: CrlSource
    signatures: frozenset[str] | None
    tls13: bool
    run: Runner | None = None


def problems_of(chain: ServerChain, rules: Rules) -> list[Problem]:
    """Everything that is wrong with the chain, before flags lift anything. May fetch CRLs, and so take a while."""
    certificates = chain.built or chain.presented
    problems = _openssl_problems(chain.errors, certificates)
    weak = _weak(certificates)
    if weak:
        # The same as OpenSSL's findings, with numbers.
        problems = [problem for problem in problems if problem.kind is not Kind.WEAK] + weak
    if rules.signatures is not None:
        problems += _signature_problems(certificates, rules.signatures, rules.tls13)
    problems += _host_problems(chain.leaf, rules.hostname)
    if rules.check_crl:
        problems += _revocation_problems(chain, rules, problems)
    return problems


def remaining(problems: Iterable[Problem], flags: SecurityFlags) -> list[Problem]:
    """The problems that no flag lifts."""
    return [problem for problem in problems if not flags & _LIFTED_BY.get(problem.kind, SecurityFlags(0))]


def status_text(problems: Iterable[Problem]) -> str:
    """Problems as one line, without repetition; ``"OK"`` for none."""
    return "; ".join(dict.fromkeys(problem.text for problem in problems)) or "OK"


# --- what OpenSSL found ---------------------------------------------------------------------------------------------

# pyOpenSSL has no names for these; the numbers are part of OpenSSL's ABI (x509_vfy.h).
_EE_KEY_TOO_SMALL: Final = 66
_CA_KEY_TOO_SMALL: Final = 67
_CA_MD_TOO_WEAK: Final = 68

_UNKNOWN_CA: Final[dict[int, str]] = {
    Codes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: "the certificate is self-signed and not one of the trusted certificates",
    Codes.ERR_SELF_SIGNED_CERT_IN_CHAIN: "the chain ends in a root certificate that is not trusted: {name}",
    Codes.ERR_UNABLE_TO_GET_ISSUER_CERT: "the issuer of {name} is unknown",
    Codes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: (
        "the issuer of {name} is not trusted, or the server does not send an intermediate certificate"
    ),
    Codes.ERR_CERT_UNTRUSTED: "{name} is not trusted for servers",
}
# These follow from an unknown issuer, and add nothing.
_CONSEQUENCES: Final = frozenset({Codes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE})

_FINDINGS: Final[dict[int, tuple[Kind, str]]] = {
    Codes.ERR_INVALID_PURPOSE: (Kind.USAGE, "{name} may not be used for servers"),
    Codes.ERR_KEYUSAGE_NO_DIGITAL_SIGNATURE: (Kind.USAGE, "{name} may not be used for signing"),
    Codes.ERR_INVALID_CA: (Kind.OTHER, "{name} is not a CA certificate but has signed another one"),
    Codes.ERR_PATH_LENGTH_EXCEEDED: (Kind.OTHER, "the chain is longer than {name} allows"),
    Codes.ERR_KEYUSAGE_NO_CERTSIGN: (Kind.OTHER, "{name} may not sign certificates"),
    Codes.ERR_CERT_SIGNATURE_FAILURE: (Kind.OTHER, "the signature of {name} is wrong"),
    Codes.ERR_UNABLE_TO_DECRYPT_CERT_SIGNATURE: (Kind.OTHER, "the signature of {name} is malformed"),
    Codes.ERR_UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY: (Kind.OTHER, "the issuer key for {name} is malformed"),
    Codes.ERR_CERT_CHAIN_TOO_LONG: (Kind.OTHER, "the chain is too long"),
    Codes.ERR_CERT_REJECTED: (Kind.OTHER, "{name} is marked as rejected"),
    Codes.ERR_CERT_REVOKED: (Kind.REVOKED, "{name} was revoked"),
    Codes.ERR_PERMITTED_VIOLATION: (Kind.OTHER, "a CA in the chain may not issue for the names in {name}"),
    Codes.ERR_EXCLUDED_VIOLATION: (Kind.OTHER, "a CA in the chain may not issue for the names in {name}"),
    Codes.ERR_UNHANDLED_CRITICAL_EXTENSION: (Kind.OTHER, "{name} has a critical extension that is not understood"),
    Codes.ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD: (Kind.OTHER, "the start of validity of {name} is malformed"),
    Codes.ERR_ERROR_IN_CERT_NOT_AFTER_FIELD: (Kind.OTHER, "the end of validity of {name} is malformed"),
    _EE_KEY_TOO_SMALL: (Kind.WEAK, "the key of {name} is too small"),
    _CA_KEY_TOO_SMALL: (Kind.WEAK, "the key of the CA {name} is too small"),
    _CA_MD_TOO_WEAK: (Kind.WEAK, "the signature of {name} uses a hash that is too weak"),
}


def _openssl_problems(errors: Iterable[tuple[int, int]], certificates: tuple[x509.Certificate, ...]) -> list[Problem]:
    problems: list[Problem] = []
    consequences = False
    for error, depth in dict.fromkeys(errors):
        certificate = certificates[depth] if depth < len(certificates) else None
        name = f"the certificate {short_name(certificate)}" if certificate is not None else f"certificate {depth}"
        if error in _UNKNOWN_CA:
            problems.append(Problem(Kind.UNKNOWN_CA, _UNKNOWN_CA[error].format(name=name)))
        elif error in _CONSEQUENCES:
            consequences = True
        elif error == Codes.ERR_CERT_HAS_EXPIRED and certificate is not None:
            when = certificate.not_valid_after_utc
            problems.append(Problem(Kind.TIME, f"{name} expired on {when:%Y-%m-%d %H:%M} UTC"))
        elif error == Codes.ERR_CERT_NOT_YET_VALID and certificate is not None:
            when = certificate.not_valid_before_utc
            problems.append(Problem(Kind.TIME, f"{name} is not valid before {when:%Y-%m-%d %H:%M} UTC"))
        elif error in _FINDINGS:
            kind, text = _FINDINGS[error]
            problems.append(Problem(kind, text.format(name=name)))
        else:
            problems.append(Problem(Kind.OTHER, f"{name} failed OpenSSL's check number {error}"))
    if consequences and not any(problem.kind is Kind.UNKNOWN_CA for problem in problems):
        problems.append(Problem(Kind.UNKNOWN_CA, "the certificate's signature could not be verified"))
    return problems


# --- strength -------------------------------------------------------------------------------------------------------

_MIN_RSA_BITS: Final = 2048
_MIN_EC_BITS: Final = 224
_WEAK_HASHES: Final = frozenset({"md2", "md4", "md5", "sha1"})


def _weak(certificates: tuple[x509.Certificate, ...]) -> list[Problem]:
    """Keys and signatures below 112 bits of security. OpenSSL finds them too, unless an old TLS version is enabled,
    which turns off its own checks."""
    problems: list[Problem] = []
    for position, certificate in enumerate(certificates):
        name = short_name(certificate)
        bits, least = _key_bits(certificate)
        if bits < least:
            problems.append(Problem(Kind.WEAK, f"the key of the certificate {name} has only {bits} bits"))
        if not _is_root(position, certificates):
            digest = _hash_name(certificate)
            if digest in _WEAK_HASHES:
                problems.append(
                    Problem(Kind.WEAK, f"the certificate {name} is signed with {digest.upper()}, which is broken")
                )
    return problems


def _is_root(position: int, certificates: tuple[x509.Certificate, ...]) -> bool:
    """Whether this is the self-signed end of the chain, whose signature nobody relies on."""
    certificate = certificates[position]
    return position == len(certificates) - 1 and certificate.subject == certificate.issuer


def _key_bits(certificate: x509.Certificate) -> tuple[int, int]:
    """The size of a certificate's key, and the least that is enough for its kind; zeros for kinds of fixed size."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return 0, 0  # OpenSSL has checked a signature with it, or said that it could not
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey):
        return key.key_size, _MIN_RSA_BITS
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.key_size, _MIN_EC_BITS
    return 0, 0


def _hash_name(certificate: x509.Certificate) -> str:
    try:
        algorithm = certificate.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return "unknown"
    return algorithm.name if algorithm is not None else ""


def _signature_names(certificate: x509.Certificate, tls13: bool) -> set[str]:
    """The settings' names for the algorithm that signed a certificate."""
    digest = _hash_name(certificate)
    try:
        parameters = certificate.signature_algorithm_parameters
    except (ValueError, UnsupportedAlgorithm):
        return set()
    dotted = certificate.signature_algorithm_oid
    if isinstance(parameters, padding.PSS):
        return {f"rsa_pss_{digest}"} if tls13 else {f"{digest}-rsa"}
    if isinstance(parameters, padding.PKCS1v15):
        return {f"rsa_pkcs1_{digest}"} if tls13 else {f"{digest}-rsa"}
    if isinstance(parameters, ec.ECDSA):
        curve = {"sha256": "secp256r1", "sha384": "secp384r1", "sha512": "secp521r1"}.get(digest, "")
        return {f"ecdsa_{curve}_{digest}"} if tls13 else {f"{digest}-ecdsa"}
    if dotted == x509.SignatureAlgorithmOID.ED25519:
        return {"ed25519"}
    if dotted == x509.SignatureAlgorithmOID.ED448:
        return {"ed448"}
    return set() if tls13 else {f"{digest}-dsa"}


def _signature_problems(
    certificates: tuple[x509.Certificate, ...], allowed: frozenset[str], tls13: bool
) -> list[Problem]:
    setting = "TLS13SignatureAlgorithms" if tls13 else "TLS12SignatureAlgorithms"
    problems: list[Problem] = []
    for position, certificate in enumerate(certificates):
        if _is_root(position, certificates):
            continue
        names = _signature_names(certificate, tls13)
        if not names & allowed:
            used = ", ".join(sorted(names)) or "an algorithm without a name there"
            problems.append(
                Problem(
                    Kind.OTHER,
                    f"the certificate {short_name(certificate)} is signed with {used}, which {setting} does not allow",
                )
            )
    return problems


# --- host name ------------------------------------------------------------------------------------------------------


# How many characters of a name in a certificate a message shows; no DNS name is longer.
_MAX_NAME: Final = 255
_NO_NAMES: Final = "no host"


def _host_problems(certificate: x509.Certificate, hostname: str) -> list[Problem]:
    # RFC 9525: only subject alternative names count, and addresses must be given as addresses.
    try:
        wanted, patterns = _identity(hostname), _patterns(certificate)
    except (*MALFORMED, VerificationError) as error:
        return [Problem(Kind.HOST, f"the host name {hostname!r} cannot be compared with a certificate: {error}")]
    try:
        verify_service_identity(patterns, [wanted], [])
    except VerificationError:
        return [Problem(Kind.HOST, f"the certificate is not for {hostname}, but for {_names_in(certificate)}")]
    except CertificateError:
        names = _names_in(certificate)
        unusable = "" if names == _NO_NAMES else f" ({names})"
        return [
            Problem(
                Kind.HOST,
                f"the certificate is not for {hostname}: it has no usable subject alternative names{unusable}",
            )
        ]
    return []


def _identity(hostname: str) -> ServiceID:
    if is_ip_address(hostname):
        # Which of this machine's networks an address is on, the server's certificate cannot know.
        return IPAddress_ID(hostname.partition("%")[0])
    return DNS_ID(hostname)


def _patterns(certificate: x509.Certificate) -> list[CertificatePattern]:
    """The names that a certificate is for. One that may not be used (an address written as a name, a wildcard in the
    wrong place) is passed over, as RFC 9525 says: it does not spoil the others."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    found: list[CertificatePattern] = [
        IPAddressPattern(item)
        for item in names.get_values_for_type(x509.IPAddress)
        if isinstance(item, ipaddress.IPv4Address | ipaddress.IPv6Address)
    ]
    for name in names.get_values_for_type(x509.DNSName):
        with contextlib.suppress(CertificateError, UnicodeEncodeError):
            found.append(DNSPattern.from_bytes(name.encode("ascii")))
    return found


def _names_in(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *MALFORMED):
        return _NO_NAMES
    texts = names.get_values_for_type(x509.DNSName) + [
        str(address) for address in names.get_values_for_type(x509.IPAddress)
    ]
    shown = ["".join(char if char.isprintable() else "?" for char in text[:_MAX_NAME]) for text in texts[:5]]
    more = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
    return (", ".join(shown) + more) if shown else _NO_NAMES


# --- revocation -----------------------------------------------------------------------------------------------------

# Problems that make the CA's signature meaningless, weak keys and hashes included: anybody may have signed.
_UNVERIFIED: Final = frozenset({Kind.UNKNOWN_CA, Kind.OTHER, Kind.WEAK})


def _revocation_problems(chain: ServerChain, rules: Rules, found: list[Problem]) -> list[Problem]:
    if any(problem.kind in _UNVERIFIED for problem in found):
        # Nobody vouches for the addresses in these certificates, nor for the issuer's key.
        text = "revocation cannot be checked because the chain is not verified"
        return [Problem(Kind.REVOCATION_UNKNOWN, text)]
    # Also when something else is wrong: whoever accepts a certificate in spite of that must know all of it.
    problems: list[Problem] = []
    if len(chain.built) < 2 and rules.check_crl == 2:
        text = "the certificate is trusted by itself, so there is no CA that could revoke it"
        problems.append(Problem(Kind.REVOCATION_UNKNOWN, text))
    for depth, (certificate, issuer) in enumerate(pairwise(chain.built)):
        leaf = depth == 0
        stapled = RevocationResult(Revocation.NOT_OFFERED)
        if leaf and chain.ocsp:
            stapled = check_ocsp(chain.ocsp, certificate, issuer, rules.crls.now())
        # A stapled response can revoke a certificate, or replace a CRL that cannot be fetched; it cannot clear one
        # that a CRL lists.
        result = (
            stapled if stapled.status is Revocation.REVOKED else check_crl(certificate, issuer, rules.crls, rules.run)
        )
        if result.status is Revocation.REVOKED:
            problems.append(Problem(Kind.REVOKED, result.text))
        elif stapled.status is Revocation.GOOD or result.status is Revocation.GOOD:
            continue
        elif result.status is Revocation.UNKNOWN or rules.check_crl == 2:
            kind = Kind.REVOCATION_UNKNOWN if leaf else Kind.CA_REVOCATION_UNKNOWN
            problems.append(Problem(kind, result.text))
    return problems

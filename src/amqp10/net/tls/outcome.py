"""The result of a handshake: what was negotiated, or what went wrong, as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from amqp10.errors import AMQPError
from amqp10.net.tls.names import SUITES_BY_OPENSSL, group_from_openssl
from amqp10.net.tls.options import Protocols, TlsInfo
from amqp10.net.tls.policy import reasons, version_text
from amqp10.net.tls.verify import ServerChain
from amqp10.net.x509names import name_text

__all__ = ["Circumstances", "data_error", "handshake_error", "negotiated"]

_VERSIONS: Final[dict[str, str]] = {"TLSv1": "TLS1.0", "TLSv1.1": "TLS1.1", "TLSv1.2": "TLS1.2", "TLSv1.3": "TLS1.3"}


# --- what was negotiated ---------------------------------------------------------------------------------------------


def negotiated(connection: SSL.Connection, chain: ServerChain, *, status: str, resumed: bool) -> TlsInfo:
    """What a finished handshake agreed on."""
    openssl_name = connection.get_cipher_name() or ""
    suite = SUITES_BY_OPENSSL.get(openssl_name)
    exchange, strength = _key_exchange(connection, suite.key_exchange if suite is not None else "", chain)
    version = connection.get_protocol_version_name() or ""
    return TlsInfo(
        version=_VERSIONS.get(version, version),
        cipher_suite=suite.iana if suite is not None else openssl_name,
        cipher=suite.cipher if suite is not None else openssl_name,
        cipher_strength=connection.get_cipher_bits() or 0,
        key_exchange=exchange,
        key_exchange_strength=strength,
        server_certificate=chain.leaf.public_bytes(Encoding.PEM),
        server_chain=tuple(item.public_bytes(Encoding.PEM) for item in chain.presented),
        subject=name_text(chain.leaf.subject),
        issuer=name_text(chain.leaf.issuer),
        status=status,
        resumed=resumed,
    )


def _key_exchange(connection: SSL.Connection, method: str, chain: ServerChain) -> tuple[str, int]:
    if method == "RSA":
        try:
            key = chain.leaf.public_key()
        except (ValueError, UnsupportedAlgorithm):
            return "RSA", 0
        return "RSA", key.key_size if isinstance(key, rsa.RSAPublicKey) else 0
    name = connection.get_group_name() or ""
    group = group_from_openssl(name)
    if group is not None:
        return group.label, group.bits
    return name or method, 0


# --- what went wrong -------------------------------------------------------------------------------------------------

_CERTIFICATE_ALERTS: Final = (
    "alert bad certificate",
    "alert unknown ca",
    "alert certificate",
    "alert unsupported cert",
)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Context for explaining an error.

    Attributes:
        hostname: the server.
        versions: the TLS versions that were offered.
        verified: whether the server had been accepted before the error.
        has_certificate: whether a client certificate is set.
    """

    hostname: str
    versions: Protocols
    verified: bool
    has_certificate: bool


def handshake_error(error: SSL.Error, connection: SSL.Connection, known: Circumstances) -> AMQPError:
    """The error for a handshake that OpenSSL gave up: 281 for a missing client certificate, otherwise 276."""
    words = reasons(error).lower()
    if isinstance(error, SSL.SysCallError):
        return AMQPError(276, f"TLS handshake with {known.hostname} failed: the connection ended")
    missing = _missing_client_certificate(words, connection, known)
    if missing is not None:
        return missing
    if any(text in words for text in ("unsupported protocol", "protocol version", "wrong version number")):
        why = (
            f"there is no TLS version that both sides allow; this side allows {version_text(known.versions)} "
            "(SSLEnabledProtocols)"
        )
    elif known.verified and "alert" in words:
        why = f"the server ended it after seeing the client's side: {words}"
    elif "handshake failure" in words:
        why = "the server found no cipher suite, group or signature algorithm that both sides allow"
    elif "no ciphers available" in words or "no suitable" in words:
        why = f"the settings leave nothing to offer: {words}"
    else:
        why = words
    return AMQPError(276, f"TLS handshake with {known.hostname} failed: {why}")


def data_error(error: SSL.Error, connection: SSL.Connection, known: Circumstances) -> AMQPError:
    """The error for data that OpenSSL could not decrypt, or for an alert instead of data."""
    words = "the connection ended" if isinstance(error, SSL.SysCallError) else reasons(error).lower()
    # With TLS 1.3 the server judges the client's certificate after this side has finished.
    missing = _missing_client_certificate(words, connection, known)
    if missing is not None:
        return missing
    if known.has_certificate and any(text in words for text in _CERTIFICATE_ALERTS):
        return AMQPError(276, f"{known.hostname} did not accept the client certificate: {words}")
    return AMQPError(284, f"data from {known.hostname} could not be decrypted: {words}")


def _missing_client_certificate(words: str, connection: SSL.Connection, known: Circumstances) -> AMQPError | None:
    """The error for a server that insists on a client certificate when there is none."""
    if known.has_certificate:
        return None
    asked = "certificate required" in words
    if not asked and known.verified and ("handshake failure" in words or "bad certificate" in words):
        # TLS 1.2 has no alert of its own for this; a request for a certificate is remembered by its CA names.
        asked = bool(connection.get_client_ca_list(as_cryptography=True))
    if not asked:
        return None
    return AMQPError(281, f"{known.hostname} requires a client certificate, and none is set (ssl_cert_store)")

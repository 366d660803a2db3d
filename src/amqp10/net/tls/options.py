"""The settings of TLS, as plain data.

Nothing here imports OpenSSL or cryptography, so the layers above can use :class:`TlsOptions` at no cost.
:func:`amqp10.net.tls.load.load_tls` imports the module that does the work.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING

from amqp10.net.tls.defaults import (
    DEFAULT_CA_CERT_FILE_PATHS,
    DEFAULT_ENABLED_PROTOCOLS,
    DEFAULT_TLS12_GROUPS,
    DEFAULT_TLS12_SIGNATURE_ALGORITHMS,
    DEFAULT_TLS13_GROUPS,
    DEFAULT_TLS13_KEY_SHARE_GROUPS,
    DEFAULT_TLS13_SIGNATURE_ALGORITHMS,
)

if TYPE_CHECKING:
    from amqp10.net.certstores.base import CertificateEntry

__all__ = [
    "PeerCertificate",
    "Protocols",
    "Provider",
    "SecurityFlags",
    "TlsInfo",
    "TlsOptions",
]


class Provider(IntEnum):
    """Which TLS implementation does the work. OpenSSL, through pyOpenSSL, is the internal one."""

    AUTOMATIC = 0
    PLATFORM = 1
    INTERNAL = 2


class Protocols(IntFlag):
    """Protocol versions, as bits of ``SSLEnabledProtocols``. Every version has two bits; either of them enables it."""

    SSL2 = 0x000C
    SSL3 = 0x0030
    TLS10 = 0x00C0
    TLS11 = 0x0300
    TLS12 = 0x0C00
    TLS13 = 0x3000


class SecurityFlags(IntFlag):
    """Bits of ``SSLSecurityFlags``: each lifts one kind of verification failure, and no other."""

    IGNORE_TIME = 0x00000001
    IGNORE_CTL_TIME = 0x00000002
    IGNORE_NESTING = 0x00000004
    ALLOW_UNKNOWN_CA = 0x00000010
    IGNORE_WRONG_USAGE = 0x00000020
    IGNORE_UNKNOWN_REVOCATION = 0x00000100
    IGNORE_UNKNOWN_CTL_REVOCATION = 0x00000200
    IGNORE_UNKNOWN_CA_REVOCATION = 0x00000400
    IGNORE_UNKNOWN_ROOT_REVOCATION = 0x00000800
    TRUST_TEST_ROOT = 0x00004000
    ALLOW_TEST_ROOT = 0x00008000
    IGNORE_HOST_NAME = 0x80000000


@dataclass(slots=True)
class TlsOptions:
    """Every TLS setting, with its default. Checked when a ``TlsContext`` is made from it, not at assignment.

    Attributes:
        provider: ``SSLProvider``, see :class:`Provider`.
        enabled_protocols: ``SSLEnabledProtocols``, see :class:`Protocols`.
        enabled_cipher_suites: ``SSLEnabledCipherSuites``: IANA names separated by semicolons, or ``"*"``.
        cipher_list: ``OpenSSLCipherList``: an OpenSSL cipher string; concerns TLS 1.2 and older.
        cipher_strength: ``SSLCipherStrength``: least number of bits of the bulk cipher; 0 for no minimum.
        ca_dir: ``OpenSSLCADir``: directory of CA certificates under their subject hashes.
        ca_file: ``OpenSSLCAFile``: PEM file of the CAs to trust. This or ``ca_dir`` replaces the system's CAs, unless
            ``ca_cert_file_paths`` names files too.
        ca_cert_file_paths: ``SSLCACertFilePaths``: files separated by semicolons; those that exist are trusted.
        server_ca_certs: ``SSLServerCACerts``: PEM certificates that are trusted in addition.
        client_ca_certs: ``SSLCACerts``: PEM certificates sent after the client certificate.
        client_certificate: the certificate and key that the client presents, or ``None``.
        accept_server_cert: a certificate (PEM, DER or base64) that is accepted as the server's, whatever else is
            wrong with it; empty for none.
        prng_seed_data: ``OpenSSLPrngSeedData``: mixed into OpenSSL's random generator.
        reuse_session: ``ReuseSSLSession``: resume earlier sessions of the same ``TlsContext`` and host.
        check_crl: ``SSLCheckCRL``: 0 no check, 1 check certificates that name a CRL, 2 all must name one.
        crl_timeout: seconds for fetching one CRL.
        crl_max_size: largest CRL that is read, in bytes.
        enable_renegotiation: ``SSLEnableRenegotiation``: send the renegotiation_info extension.
        include_cert_chain: ``SSLIncludeCertChain``: show the authenticate callback all that the server sent.
        key_log_file: ``SSLKeyLogFile``: file to which session secrets are appended; empty for none.
        security_flags: ``SSLSecurityFlags``, see :class:`SecurityFlags`.
        log_packets: ``LogSSLPackets``: report each TLS record through the status callback.
        tls12_signature_algorithms: ``TLS12SignatureAlgorithms``.
        tls12_supported_groups: ``TLS12SupportedGroups``.
        tls13_key_share_groups: ``TLS13KeyShareGroups``.
        tls13_signature_algorithms: ``TLS13SignatureAlgorithms``.
        tls13_supported_groups: ``TLS13SupportedGroups``.
    """

    provider: int = Provider.AUTOMATIC
    enabled_protocols: int = DEFAULT_ENABLED_PROTOCOLS
    enabled_cipher_suites: str = "*"
    cipher_list: str = "DEFAULT"
    cipher_strength: int = 0
    ca_dir: str = ""
    ca_file: str = ""
    ca_cert_file_paths: str = DEFAULT_CA_CERT_FILE_PATHS
    server_ca_certs: str = ""
    client_ca_certs: str = ""
    client_certificate: CertificateEntry | None = None
    accept_server_cert: bytes = b""
    prng_seed_data: str = field(default="", repr=False)
    reuse_session: bool = False
    check_crl: int = 0
    crl_timeout: float = 10.0
    crl_max_size: int = 16 * 1024 * 1024
    enable_renegotiation: bool = True
    include_cert_chain: bool = False
    key_log_file: str = ""
    security_flags: int = 0
    log_packets: bool = False
    tls12_signature_algorithms: str = DEFAULT_TLS12_SIGNATURE_ALGORITHMS
    tls12_supported_groups: str = DEFAULT_TLS12_GROUPS
    tls13_key_share_groups: str = DEFAULT_TLS13_KEY_SHARE_GROUPS
    tls13_signature_algorithms: str = DEFAULT_TLS13_SIGNATURE_ALGORITHMS
    tls13_supported_groups: str = DEFAULT_TLS13_GROUPS


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What the authenticate callback is shown, once per handshake, before anything is sent to the server.

    Attributes:
        encoded: the server's certificate as PEM; all certificates that it sent, if ``include_cert_chain`` is on.
        subject: the subject of the certificate, for example ``"CN=broker.example, O=Example"``.
        issuer: its issuer.
        status: ``"OK"``, or everything that is wrong with it.
        accept: whether it is accepted so far. The callback returns the final verdict.
    """

    encoded: bytes
    subject: str
    issuer: str
    status: str
    accept: bool


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """What the handshake agreed on.

    Attributes:
        version: for example ``"TLS1.3"``.
        cipher_suite: IANA name, for example ``"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"``.
        cipher: the bulk cipher, for example ``"AES_256_GCM"``.
        cipher_strength: its key size in bits.
        key_exchange: the method, and its group where there is one: ``"ECDHE_X25519"``, ``"RSA"``.
        key_exchange_strength: size in bits of the group, or of the RSA key; 0 if unknown.
        server_certificate: the server's certificate as PEM.
        server_chain: all that the server sent as PEM, its own certificate first.
        subject: the subject of the server's certificate.
        issuer: its issuer.
        status: the verification's result, ``"OK"`` or the problems that were accepted.
        resumed: whether an earlier session was resumed.
    """

    version: str
    cipher_suite: str
    cipher: str
    cipher_strength: int
    key_exchange: str
    key_exchange_strength: int
    server_certificate: bytes = field(repr=False)
    server_chain: tuple[bytes, ...] = field(repr=False)
    subject: str
    issuer: str
    status: str
    resumed: bool

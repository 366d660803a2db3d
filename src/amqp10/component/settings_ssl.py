"""The configuration settings that concern TLS: a part of the table in :mod:`amqp10.component.settings_table`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from amqp10.component.setting_spec import SettingSpec
from amqp10.net.tls.defaults import (
    DEFAULT_CA_CERT_FILE_PATHS,
    DEFAULT_ENABLED_PROTOCOLS,
    DEFAULT_TLS12_GROUPS,
    DEFAULT_TLS12_SIGNATURE_ALGORITHMS,
    DEFAULT_TLS13_GROUPS,
    DEFAULT_TLS13_KEY_SHARE_GROUPS,
    DEFAULT_TLS13_SIGNATURE_ALGORITHMS,
)

__all__ = ["SSL_SETTINGS"]

_UINT: Final = 0xFFFF_FFFF
_INT: Final = 0x7FFF_FFFF

_GROUPS13: Final = tuple(DEFAULT_TLS13_GROUPS.split(","))
_GROUPS12: Final = tuple(DEFAULT_TLS12_GROUPS.split(","))
_SIGNATURES12: Final = tuple(DEFAULT_TLS12_SIGNATURE_ALGORITHMS.split(","))
_SIGNATURES13: Final = tuple(DEFAULT_TLS13_SIGNATURE_ALGORITHMS.split(","))
_PROTOCOL_BITS: Final = 0x3FFC  # SSL 2 to TLS 1.3, two bits each
_SECURITY_FLAGS: Final = 0x8000_CF37
_SUITES: Final = r"\*|[A-Za-z0-9_]+(;[A-Za-z0-9_]+)*;?"


def _names_among(known: tuple[str, ...], *, empty: bool) -> Callable[[str], object]:
    def check(text: str) -> None:
        if not text and empty:
            return
        for name in text.split(","):
            if name not in known:
                raise ValueError(f"not made of known names: {name[:40]!r} is not among {', '.join(known)}")

    return check


def _cipher_suites(text: str) -> None:
    if re.fullmatch(_SUITES, text) is None:
        raise ValueError("neither * nor cipher suite names separated by semicolons")


SSL_SETTINGS: Final[tuple[SettingSpec, ...]] = (
    SettingSpec(
        "LogSSLPackets",
        "SSL",
        bool,
        False,
        "log_ssl_packets",
        "Whether on_ssl_status reports every TLS record, for debugging.",
    ),
    SettingSpec(
        "OpenSSLCADir",
        "SSL",
        str,
        "",
        "openssl_ca_dir",
        "A directory of trusted CA certificates in PEM files named by their subjects' hashes.",
    ),
    SettingSpec("OpenSSLCAFile", "SSL", str, "", "openssl_ca_file", "A file of trusted CA certificates in PEM form."),
    SettingSpec(
        "OpenSSLCipherList",
        "SSL",
        str,
        "DEFAULT",
        "openssl_cipher_list",
        "The ciphers to offer up to TLS 1.2, in OpenSSL's notation.",
    ),
    SettingSpec(
        "OpenSSLPrngSeedData",
        "SSL",
        str,
        "",
        "openssl_prng_seed_data",
        "Extra seed for OpenSSL's random numbers.",
        secret=True,
    ),
    SettingSpec(
        "ReuseSSLSession",
        "SSL",
        bool,
        False,
        "reuse_ssl_session",
        "Whether a later connection of this instance to the same host resumes the TLS session.",
    ),
    SettingSpec(
        "SSLCACertFilePaths",
        "SSL",
        str,
        DEFAULT_CA_CERT_FILE_PATHS,
        "ssl_ca_cert_file_paths",
        "Files of the system's trusted CA certificates, separated by semicolons; those that exist are used.",
    ),
    SettingSpec(
        "SSLCACerts", "SSL", str, "", "ssl_ca_certs", "CA certificates (PEM) to send along with the client certificate."
    ),
    SettingSpec(
        "SSLCheckCRL",
        "SSL",
        int,
        0,
        "ssl_check_crl",
        "Whether revocation lists are fetched and checked: 0 no, 1 if a certificate names one, 2 yes, and every"
        " certificate must name one.",
        minimum=0,
        maximum=2,
    ),
    SettingSpec(
        "SSLCipherStrength",
        "SSL",
        int,
        0,
        "ssl_cipher_strength",
        "The smallest key size of a cipher, in bits; 0 for no limit.",
        minimum=0,
        maximum=_INT,
    ),
    SettingSpec(
        "SSLEnabledCipherSuites",
        "SSL",
        str,
        "*",
        "ssl_enabled_cipher_suites",
        "The cipher suites to offer, separated by semicolons; * for all.",
        check=_cipher_suites,
    ),
    # A deliberate deviation from 4032 (TLS 1.0 to 1.2): the two versions that are still considered safe.
    SettingSpec(
        "SSLEnabledProtocols",
        "SSL",
        int,
        DEFAULT_ENABLED_PROTOCOLS,
        "ssl_enabled_protocols",
        "TLS versions to offer: a sum of 12288 (1.3), 3072 (1.2), 768 (1.1), 192 (1.0), 48 (SSL 3), 12 (SSL 2).",
        minimum=4,
        maximum=_PROTOCOL_BITS,
        mask=_PROTOCOL_BITS,
        hexadecimal=True,
    ),
    SettingSpec(
        "SSLEnableRenegotiation",
        "SSL",
        bool,
        True,
        "ssl_enable_renegotiation",
        "Whether secure renegotiation is signalled in the handshake.",
    ),
    SettingSpec(
        "SSLIncludeCertChain",
        "SSL",
        bool,
        False,
        "ssl_include_cert_chain",
        "Whether on_ssl_server_authentication shows the whole certificate chain.",
    ),
    SettingSpec(
        "SSLKeyLogFile",
        "SSL",
        str,
        "",
        "ssl_key_log_file",
        "A file to append the TLS session secrets to, for decrypting captured traffic.",
    ),
    SettingSpec(
        "SSLNegotiatedCipher",
        "SSL",
        str,
        "",
        "ssl_negotiated_cipher",
        "The cipher of this connection.",
        store="live",
        read_only=True,
    ),
    SettingSpec(
        "SSLNegotiatedCipherStrength",
        "SSL",
        int,
        0,
        "ssl_negotiated_cipher_strength",
        "The key bits of this connection's cipher.",
        store="live",
        read_only=True,
    ),
    SettingSpec(
        "SSLNegotiatedCipherSuite",
        "SSL",
        str,
        "",
        "ssl_negotiated_cipher_suite",
        "The cipher suite of this connection, by its registered name.",
        store="live",
        read_only=True,
    ),
    SettingSpec(
        "SSLNegotiatedKeyExchange",
        "SSL",
        str,
        "",
        "ssl_negotiated_key_exchange",
        "The key exchange of this connection.",
        store="live",
        read_only=True,
    ),
    SettingSpec(
        "SSLNegotiatedKeyExchangeStrength",
        "SSL",
        int,
        0,
        "ssl_negotiated_key_exchange_strength",
        "The key bits of this connection's key exchange.",
        store="live",
        read_only=True,
    ),
    SettingSpec(
        "SSLNegotiatedVersion",
        "SSL",
        str,
        "",
        "ssl_negotiated_version",
        "The TLS version of this connection.",
        store="live",
        read_only=True,
    ),
    SettingSpec(
        "SSLSecurityFlags",
        "SSL",
        int,
        0,
        "ssl_security_flags",
        "Which failures of the server certificate's verification to overlook, a sum of flags.",
        minimum=0,
        maximum=_UINT,
        mask=_SECURITY_FLAGS,
        hexadecimal=True,
    ),
    SettingSpec(
        "SSLServerCACerts",
        "SSL",
        str,
        "",
        "ssl_server_ca_certs",
        "CA certificates (PEM) to trust in addition to the system's.",
    ),
    SettingSpec(
        "TLS12SignatureAlgorithms",
        "SSL",
        str,
        DEFAULT_TLS12_SIGNATURE_ALGORITHMS,
        "tls12_signature_algorithms",
        "The signature algorithms to allow with TLS 1.2, separated by commas; empty for no restriction.",
        check=_names_among(_SIGNATURES12, empty=True),
    ),
    SettingSpec(
        "TLS12SupportedGroups",
        "SSL",
        str,
        DEFAULT_TLS12_GROUPS,
        "tls12_supported_groups",
        "The elliptic curves to offer with TLS 1.2, separated by commas.",
        check=_names_among(_GROUPS12, empty=False),
    ),
    SettingSpec(
        "TLS13KeyShareGroups",
        "SSL",
        str,
        DEFAULT_TLS13_KEY_SHARE_GROUPS,
        "tls13_key_share_groups",
        "The groups to send key shares for at once with TLS 1.3, separated by commas.",
        check=_names_among(_GROUPS13, empty=False),
    ),
    SettingSpec(
        "TLS13SignatureAlgorithms",
        "SSL",
        str,
        DEFAULT_TLS13_SIGNATURE_ALGORITHMS,
        "tls13_signature_algorithms",
        "The signature algorithms to allow with TLS 1.3, separated by commas.",
        check=_names_among(_SIGNATURES13, empty=False),
    ),
    SettingSpec(
        "TLS13SupportedGroups",
        "SSL",
        str,
        DEFAULT_TLS13_GROUPS,
        "tls13_supported_groups",
        "The key exchange groups to offer with TLS 1.3, separated by commas.",
        check=_names_among(_GROUPS13, empty=False),
    ),
)

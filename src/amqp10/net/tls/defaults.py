"""The defaults of the TLS settings, in a module of their own, because the table of settings needs nothing else."""

from __future__ import annotations

from typing import Final

__all__ = [
    "DEFAULT_CA_CERT_FILE_PATHS",
    "DEFAULT_ENABLED_PROTOCOLS",
    "DEFAULT_TLS12_GROUPS",
    "DEFAULT_TLS12_SIGNATURE_ALGORITHMS",
    "DEFAULT_TLS13_GROUPS",
    "DEFAULT_TLS13_KEY_SHARE_GROUPS",
    "DEFAULT_TLS13_SIGNATURE_ALGORITHMS",
]

DEFAULT_ENABLED_PROTOCOLS: Final[int] = 0x3C00
"""TLS 1.2 and 1.3, as bits of ``options.Protocols``."""

DEFAULT_CA_CERT_FILE_PATHS: Final[str] = (
    "/etc/ssl/ca-bundle.pem;/etc/pki/tls/certs/ca-bundle.crt;/etc/ssl/certs/ca-certificates.crt;/etc/pki/tls/cacert.pem"
)
DEFAULT_TLS12_SIGNATURE_ALGORITHMS: Final[str] = ",".join(
    f"{digest}-{kind}"
    for digest in ("sha512", "sha384", "sha256", "sha224", "sha1")
    for kind in ("ecdsa", "rsa", "dsa")
)
DEFAULT_TLS12_GROUPS: Final[str] = "ecdhe_secp256r1,ecdhe_secp384r1,ecdhe_secp521r1"
DEFAULT_TLS13_KEY_SHARE_GROUPS: Final[str] = "ecdhe_x25519,ecdhe_secp256r1,ecdhe_secp384r1,ffdhe_2048,ffdhe_3072"
DEFAULT_TLS13_SIGNATURE_ALGORITHMS: Final[str] = (
    "rsa_pss_sha256,rsa_pss_sha384,rsa_pss_sha512,rsa_pkcs1_sha256,rsa_pkcs1_sha384,rsa_pkcs1_sha512,"
    "ecdsa_secp256r1_sha256,ecdsa_secp384r1_sha384,ecdsa_secp521r1_sha512,ed25519,ed448"
)
DEFAULT_TLS13_GROUPS: Final[str] = (
    "ecdhe_x25519,ecdhe_x448,ecdhe_secp256r1,ecdhe_secp384r1,ecdhe_secp521r1,"
    "ffdhe_2048,ffdhe_3072,ffdhe_4096,ffdhe_6144,ffdhe_8192"
)

"""Names of cipher suites, groups and signature algorithms: IANA's, OpenSSL's, and those that the settings use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "GROUPS",
    "SUITES_BY_IANA",
    "SUITES_BY_OPENSSL",
    "TLS12_SIGNATURES",
    "TLS13_SIGNATURES",
    "Group",
    "Suite",
    "group_from_openssl",
]


@dataclass(frozen=True, slots=True)
class Suite:
    """One cipher suite: names, bulk cipher with its strength in bits, key exchange (empty for TLS 1.3)."""

    iana: str
    openssl: str
    cipher: str
    bits: int
    key_exchange: str

    @property
    def tls13(self) -> bool:
        return not self.key_exchange


# IANA's key exchange -> the prefix of OpenSSL's name. Those that OpenSSL has dropped are here too, so that a list may
# still name them; such suites are never available.
_KEY_EXCHANGES: Final[dict[str, str]] = {
    "RSA": "",
    "ECDHE_ECDSA": "ECDHE-ECDSA-",
    "ECDHE_RSA": "ECDHE-RSA-",
    "DHE_RSA": "DHE-RSA-",
    "DHE_DSS": "DHE-DSS-",
    "ECDH_ECDSA": "ECDH-ECDSA-",
    "ECDH_RSA": "ECDH-RSA-",
    "DH_RSA": "DH-RSA-",
    "DH_DSS": "DH-DSS-",
    "DH_ANON": "ADH-",
    "ECDH_ANON": "AECDH-",
}
# IANA's cipher and MAC -> OpenSSL's, bulk cipher, bits.
_CIPHERS: Final[dict[str, tuple[str, str, int]]] = {
    "AES_256_GCM_SHA384": ("AES256-GCM-SHA384", "AES_256_GCM", 256),
    "AES_128_GCM_SHA256": ("AES128-GCM-SHA256", "AES_128_GCM", 128),
    "CHACHA20_POLY1305_SHA256": ("CHACHA20-POLY1305", "CHACHA20_POLY1305", 256),
    "AES_256_CCM": ("AES256-CCM", "AES_256_CCM", 256),
    "AES_128_CCM": ("AES128-CCM", "AES_128_CCM", 128),
    "AES_256_CCM_8": ("AES256-CCM8", "AES_256_CCM_8", 256),
    "AES_128_CCM_8": ("AES128-CCM8", "AES_128_CCM_8", 128),
    "AES_256_CBC_SHA384": ("AES256-SHA384", "AES_256_CBC", 256),
    "AES_256_CBC_SHA256": ("AES256-SHA256", "AES_256_CBC", 256),
    "AES_128_CBC_SHA256": ("AES128-SHA256", "AES_128_CBC", 128),
    "AES_256_CBC_SHA": ("AES256-SHA", "AES_256_CBC", 256),
    "AES_128_CBC_SHA": ("AES128-SHA", "AES_128_CBC", 128),
    "ARIA_256_GCM_SHA384": ("ARIA256-GCM-SHA384", "ARIA_256_GCM", 256),
    "ARIA_128_GCM_SHA256": ("ARIA128-GCM-SHA256", "ARIA_128_GCM", 128),
    "CAMELLIA_256_CBC_SHA384": ("CAMELLIA256-SHA384", "CAMELLIA_256_CBC", 256),
    "CAMELLIA_256_CBC_SHA256": ("CAMELLIA256-SHA256", "CAMELLIA_256_CBC", 256),
    "CAMELLIA_128_CBC_SHA256": ("CAMELLIA128-SHA256", "CAMELLIA_128_CBC", 128),
    "CAMELLIA_256_CBC_SHA": ("CAMELLIA256-SHA", "CAMELLIA_256_CBC", 256),
    "CAMELLIA_128_CBC_SHA": ("CAMELLIA128-SHA", "CAMELLIA_128_CBC", 128),
    "SEED_CBC_SHA": ("SEED-SHA", "SEED_CBC", 128),
    "IDEA_CBC_SHA": ("IDEA-CBC-SHA", "IDEA_CBC", 128),
    "3DES_EDE_CBC_SHA": ("DES-CBC3-SHA", "3DES_EDE_CBC", 112),
    "DES_CBC_SHA": ("DES-CBC-SHA", "DES_CBC", 56),
    "RC4_128_SHA": ("RC4-SHA", "RC4_128", 128),
    "RC4_128_MD5": ("RC4-MD5", "RC4_128", 128),
}
_TLS13_CIPHERS: Final[dict[str, tuple[str, int]]] = {
    "TLS_AES_256_GCM_SHA384": ("AES_256_GCM", 256),
    "TLS_CHACHA20_POLY1305_SHA256": ("CHACHA20_POLY1305", 256),
    "TLS_AES_128_GCM_SHA256": ("AES_128_GCM", 128),
    "TLS_AES_128_CCM_SHA256": ("AES_128_CCM", 128),
    "TLS_AES_128_CCM_8_SHA256": ("AES_128_CCM_8", 128),
}


def _all_suites() -> list[Suite]:
    suites = [Suite(name, name, cipher, bits, "") for name, (cipher, bits) in _TLS13_CIPHERS.items()]
    for exchange, prefix in _KEY_EXCHANGES.items():
        for name, (openssl_name, cipher, bits) in _CIPHERS.items():
            openssl = prefix + openssl_name
            if exchange == "ECDHE_RSA" and cipher.startswith("ARIA"):
                openssl = "ECDHE-" + openssl_name  # an irregularity of OpenSSL's
            suites.append(Suite(f"TLS_{exchange}_WITH_{name}", openssl, cipher, bits, exchange))
    return suites


_SUITES: Final = _all_suites()
SUITES_BY_IANA: Final[dict[str, Suite]] = {suite.iana: suite for suite in _SUITES}
SUITES_BY_OPENSSL: Final[dict[str, Suite]] = {suite.openssl: suite for suite in _SUITES}


@dataclass(frozen=True, slots=True)
class Group:
    """A key exchange group: the settings' name, OpenSSL's name, what is reported when it is used, size in bits."""

    name: str
    openssl: str
    label: str
    bits: int


GROUPS: Final[dict[str, Group]] = {
    group.name: group
    for group in (
        Group("ecdhe_x25519", "X25519", "ECDHE_X25519", 255),
        Group("ecdhe_x448", "X448", "ECDHE_X448", 448),
        Group("ecdhe_secp256r1", "P-256", "ECDHE_SECP256R1", 256),
        Group("ecdhe_secp384r1", "P-384", "ECDHE_SECP384R1", 384),
        Group("ecdhe_secp521r1", "P-521", "ECDHE_SECP521R1", 521),
        Group("ffdhe_2048", "ffdhe2048", "FFDHE_2048", 2048),
        Group("ffdhe_3072", "ffdhe3072", "FFDHE_3072", 3072),
        Group("ffdhe_4096", "ffdhe4096", "FFDHE_4096", 4096),
        Group("ffdhe_6144", "ffdhe6144", "FFDHE_6144", 6144),
        Group("ffdhe_8192", "ffdhe8192", "FFDHE_8192", 8192),
        # The hybrid group that today's browsers prefer; its strength is given as that of its classical half.
        Group("x25519mlkem768", "X25519MLKEM768", "X25519MLKEM768", 255),
    )
}
_GROUP_ALIASES: Final[dict[str, str]] = {
    "x25519": "ecdhe_x25519",
    "x448": "ecdhe_x448",
    "secp256r1": "ecdhe_secp256r1",
    "prime256v1": "ecdhe_secp256r1",
    "p-256": "ecdhe_secp256r1",
    "secp384r1": "ecdhe_secp384r1",
    "p-384": "ecdhe_secp384r1",
    "secp521r1": "ecdhe_secp521r1",
    "p-521": "ecdhe_secp521r1",
    **{f"ffdhe{bits}": f"ffdhe_{bits}" for bits in (2048, 3072, 4096, 6144, 8192)},
    "x25519mlkem768": "x25519mlkem768",
}


def group_from_openssl(name: str) -> Group | None:
    """The group that OpenSSL calls ``name`` (its spelling varies between versions), or ``None``."""
    alias = _GROUP_ALIASES.get(name.lower())
    return GROUPS[alias] if alias is not None else None


_PSS_DIGESTS: Final = ("sha256", "sha384", "sha512")
_TLS12_KINDS: Final[dict[str, str]] = {"ecdsa": "ECDSA", "rsa": "RSA", "dsa": "DSA"}

# The settings' name -> OpenSSL's names. In TLS 1.2 "rsa" covers both paddings, as certificates use both.
TLS12_SIGNATURES: Final[dict[str, tuple[str, ...]]] = {
    f"{digest}-{kind}": (
        (f"{label}+{digest.upper()}", f"rsa_pss_rsae_{digest}", f"rsa_pss_pss_{digest}")
        if kind == "rsa" and digest in _PSS_DIGESTS
        else (f"{label}+{digest.upper()}",)
    )
    for digest in ("sha512", "sha384", "sha256", "sha224", "sha1")
    for kind, label in _TLS12_KINDS.items()
}
TLS13_SIGNATURES: Final[dict[str, tuple[str, ...]]] = {
    **{f"rsa_pss_{digest}": (f"rsa_pss_rsae_{digest}", f"rsa_pss_pss_{digest}") for digest in _PSS_DIGESTS},
    "rsa_pkcs1_sha256": ("RSA+SHA256",),
    "rsa_pkcs1_sha384": ("RSA+SHA384",),
    "rsa_pkcs1_sha512": ("RSA+SHA512",),
    "ecdsa_secp256r1_sha256": ("ECDSA+SHA256",),
    "ecdsa_secp384r1_sha384": ("ECDSA+SHA384",),
    "ecdsa_secp521r1_sha512": ("ECDSA+SHA512",),
    "ed25519": ("ed25519",),
    "ed448": ("ed448",),
}

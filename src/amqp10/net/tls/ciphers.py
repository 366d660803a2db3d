"""Which cipher suites are offered, by three settings, each of which can only restrict the choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from OpenSSL import SSL

from amqp10.errors import AMQPError
from amqp10.net.tls.names import SUITES_BY_IANA, SUITES_BY_OPENSSL, Suite
from amqp10.net.tls.options import Protocols

__all__ = ["ChosenSuites", "choose_suites"]

# Suites without authentication or encryption, or for credentials that cannot be set here.
_NEVER: Final = ":!aNULL:!eNULL:!PSK:!SRP"
# DEFAULT means forward secrecy and authenticated encryption here. OpenSSL's own has static RSA and CBC too.
_MODERN: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:!aDSS"


@dataclass(frozen=True, slots=True)
class ChosenSuites:
    """What to give OpenSSL.

    Attributes:
        cipher_list: for TLS 1.2 and older, with the security level.
        tls13: names for TLS 1.3, or ``None`` to leave OpenSSL's.
        versions: the versions that still have a suite.
    """

    cipher_list: str
    tls13: tuple[str, ...] | None
    versions: Protocols


def _available(cipher_list: str) -> list[str]:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    try:
        context.set_cipher_list(cipher_list.encode("ascii"))
        return SSL.Connection(context, None).get_cipher_list()
    except (SSL.Error, UnicodeEncodeError) as error:
        raise AMQPError(
            606, "OpenSSLCipherList selects no cipher that this OpenSSL has and that authenticates and encrypts"
        ) from error


def _asked_for(setting: str) -> list[Suite] | None:
    """``SSLEnabledCipherSuites`` as suites in the order given; ``None`` for ``"*"``."""
    names = [name.strip().upper() for name in setting.split(";") if name.strip()]
    if names == ["*"]:
        return None
    if not names:
        raise AMQPError(606, 'SSLEnabledCipherSuites is empty; "*" means all')
    suites: list[Suite] = []
    for name in names:
        suite = SUITES_BY_IANA.get(name)
        if suite is None:
            hint = (
                "; CALG names belong to the platform provider, use IANA names such as TLS_AES_256_GCM_SHA384"
                if name.startswith("CALG_")
                else ""
            )
            raise AMQPError(606, f"SSLEnabledCipherSuites has the unknown suite {name!r}{hint}")
        suites.append(suite)
    return suites


def choose_suites(enabled: str, cipher_list: str, strength: int, level: int, versions: Protocols) -> ChosenSuites:
    """Combine ``SSLEnabledCipherSuites``, ``OpenSSLCipherList`` and ``SSLCipherStrength`` at a security level.

    A version for which no suite is left is not offered.

    Raises:
        AMQPError: 606 for unknown names or a list that selects nothing, 273 if no suite is strong enough.
    """
    asked = _asked_for(enabled)
    base = cipher_list.strip() or "DEFAULT"
    preset = base == "DEFAULT"
    if preset and asked is not None:
        base = "ALL"
    elif preset and not versions & (Protocols.TLS10 | Protocols.TLS11):
        base = _MODERN  # the older versions have nothing but CBC
    suffix = "" if "@SECLEVEL" in base else f":@SECLEVEL={level}"
    everything = f"{base}{_NEVER}{suffix}"
    if asked is None and strength <= 0:
        if not preset:
            _available(everything)  # raises the error that says which setting it was
        return ChosenSuites(everything, None, versions)

    available = _available(everything)
    older = [name for name in available if not name.startswith("TLS_")]
    newer = [name for name in available if name.startswith("TLS_")]
    if asked is not None:
        # The order of the setting is the order of preference. Suites that OpenSSL no longer has are left out.
        older = [suite.openssl for suite in asked if suite.openssl in set(older)]
        newer = [suite.openssl for suite in asked if suite.tls13]
        if not older and not newer:
            raise AMQPError(606, "SSLEnabledCipherSuites names no suite that this OpenSSL has")
    if strength > 0:
        older = [name for name in older if _bits(name) >= strength]
        newer = [name for name in newer if _bits(name) >= strength]
    if not newer:
        versions &= ~Protocols.TLS13
    if not older:
        versions &= Protocols.TLS13
    if not versions:
        if strength > 0:
            raise AMQPError(273, f"no enabled cipher suite has the {strength} bits that SSLCipherStrength asks for")
        raise AMQPError(606, "SSLEnabledCipherSuites has no suite for the versions in SSLEnabledProtocols")
    level_only = base[base.index("@SECLEVEL") :].split(":")[0] if not suffix else suffix[1:]
    names = ":".join(older) if older else f"DEFAULT{_NEVER}"
    return ChosenSuites(f"{names}:{level_only}", tuple(newer) if newer else None, versions)


def _bits(name: str) -> int:
    suite = SUITES_BY_OPENSSL.get(name)
    # A suite of unknown strength does not count as strong enough.
    return suite.bits if suite is not None else 0

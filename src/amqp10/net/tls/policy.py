"""From settings to an OpenSSL context.

Every setting of :class:`~amqp10.net.tls.options.TlsOptions` is either put into the context here, enforced later by
:mod:`~amqp10.net.tls.verify` and :mod:`~amqp10.net.tls.session`, or refused with an error that says what to use
instead. None is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cryptography import x509
from OpenSSL import SSL, _util, crypto

from amqp10.errors import AMQPError
from amqp10.net.certstores.base import parse_certificates
from amqp10.net.certstores.windows import system_certificates
from amqp10.net.tls.ciphers import choose_suites
from amqp10.net.tls.defaults import (
    DEFAULT_CA_CERT_FILE_PATHS,
    DEFAULT_TLS12_GROUPS,
    DEFAULT_TLS12_SIGNATURE_ALGORITHMS,
    DEFAULT_TLS13_GROUPS,
    DEFAULT_TLS13_KEY_SHARE_GROUPS,
    DEFAULT_TLS13_SIGNATURE_ALGORITHMS,
)
from amqp10.net.tls.names import GROUPS, TLS12_SIGNATURES, TLS13_SIGNATURES
from amqp10.net.tls.options import Protocols, Provider, SecurityFlags, TlsOptions
from amqp10.net.tls.revocation import CrlSource

__all__ = ["Observed", "TlsContext"]

_VERSIONS: Final[tuple[tuple[Protocols, int, int], ...]] = (
    (Protocols.TLS10, SSL.TLS1_VERSION, SSL.OP_NO_TLSv1),
    (Protocols.TLS11, SSL.TLS1_1_VERSION, SSL.OP_NO_TLSv1_1),
    (Protocols.TLS12, SSL.TLS1_2_VERSION, SSL.OP_NO_TLSv1_2),
    (Protocols.TLS13, SSL.TLS1_3_VERSION, SSL.OP_NO_TLSv1_3),
)
VERSION_NAMES: Final[dict[Protocols, str]] = {
    Protocols.TLS10: "TLS 1.0",
    Protocols.TLS11: "TLS 1.1",
    Protocols.TLS12: "TLS 1.2",
    Protocols.TLS13: "TLS 1.3",
}
_ALL_VERSIONS: Final = Protocols.TLS10 | Protocols.TLS11 | Protocols.TLS12 | Protocols.TLS13
_LEGACY: Final = Protocols.TLS10 | Protocols.TLS11

# Sessions are kept for ten hours, as in the reference.
SESSION_LIFETIME: Final = 36000

# SSL_MODE_ENABLE_PARTIAL_WRITE, part of OpenSSL's ABI, which pyOpenSSL sets and does not export. Without it one call
# encrypts any amount; with it every record of 16 KiB needs a call.
_MODE_PARTIAL_WRITE: Final = 0x1

# OpenSSL's limit on the number of key shares in one hello, and the first version whose group list can mark them.
_MAX_KEY_SHARES: Final = 4
_KEY_SHARE_SYNTAX: Final = 0x30500000


class Observed:
    """What OpenSSL's callbacks saw during one handshake; attached to the connection as its application data."""

    __slots__ = ("certificate_seen", "decided", "errors", "key_log", "ocsp")

    def __init__(self) -> None:
        self.certificate_seen: bool = False
        self.decided: bool = False
        self.errors: list[tuple[int, int]] = []
        self.ocsp: bytes = b""
        self.key_log: list[bytes] = []


def _on_verify(connection: SSL.Connection, _x509: crypto.X509, error: int, depth: int, ok: int) -> bool:
    """Note every failure and let OpenSSL go on, so that all of them are known for the verdict.

    Nothing is sent meanwhile: the session holds its output back until the verdict (see ``TlsSession``). Once there is
    one, no further certificate is taken.
    """
    seen: Observed = connection.get_app_data()
    if seen.decided:
        return False
    seen.certificate_seen = True
    if not ok:
        seen.errors.append((error, depth))
    return True


def _on_key_log(connection: SSL.Connection, line: bytes) -> None:
    connection.get_app_data().key_log.append(line)


def _on_ocsp(connection: SSL.Connection, response: bytes, _data: object) -> bool:
    connection.get_app_data().ocsp = response
    return True


def reasons(error: SSL.Error) -> str:
    """OpenSSL's own words for an error."""
    entries = error.args[0] if error.args and isinstance(error.args[0], list) else []
    words = [str(entry[2]) for entry in entries if isinstance(entry, tuple) and len(entry) == 3 and entry[2]]
    return "; ".join(words) or "no reason given"


class TlsContext:
    """One set of TLS options, checked and turned into an OpenSSL context; makes any number of sessions.

    Making one loads the trusted certificates, which takes longer than a handshake: keep it while the options stay
    the same. The sessions that ``reuse_session`` may resume live here too.

    Args:
        options: the settings. Later changes to the object have no effect.
        crl_source: where CRLs come from; by default HTTP, with a cache that belongs to this context.

    Raises:
        AMQPError: 606 for a setting with an impossible value, or one that OpenSSL cannot honour; 270 for a provider
            that does not exist here; 271 for CA files that cannot be read; 273 for client credentials that cannot be
            used; 274 and 275 for malformed ``client_ca_certs`` and ``server_ca_certs``; 302 for a key log file that
            cannot be written.
    """

    __slots__ = (
        "accept_der",
        "context",
        "crl_source",
        "flags",
        "options",
        "sessions",
        "tls12_groups",
        "tls12_signatures",
        "tls13_groups",
        "tls13_signatures",
        "versions",
    )

    def __init__(self, options: TlsOptions, *, crl_source: CrlSource | None = None) -> None:
        self.options: Final = options
        self.flags: Final = _security_flags(options.security_flags)
        if options.provider not in (Provider.AUTOMATIC, Provider.INTERNAL):
            raise AMQPError(
                270,
                f"SSLProvider {options.provider} is not available here: TLS is done by OpenSSL; "
                "use 0 (automatic) or 2 (internal)",
            )
        if options.check_crl not in (0, 1, 2):
            raise AMQPError(606, f"SSLCheckCRL must be 0, 1 or 2, not {options.check_crl}")
        self.crl_source: Final = crl_source or CrlSource(timeout=options.crl_timeout, max_size=options.crl_max_size)
        self.accept_der: Final = _accepted_certificate(options.accept_server_cert)
        self.sessions: Final[dict[str, object]] = {}
        if options.prng_seed_data:
            _seed(options.prng_seed_data.encode("utf-8", "surrogateescape"))

        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.context: Final[SSL.Context] = context
        self.versions: Final = self._set_versions_and_suites(context)
        self._set_renegotiation(context)
        groups, signatures = self._set_groups(context), self._set_signatures(context)
        self.tls12_groups: frozenset[str] | None = groups[0]
        self.tls13_groups: frozenset[str] | None = groups[1]
        self.tls12_signatures: frozenset[str] | None = signatures[0]
        self.tls13_signatures: frozenset[str] | None = signatures[1]
        _load_anchors(context, options)
        _load_credentials(context, options)
        context.clear_mode(_MODE_PARTIAL_WRITE)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_timeout(SESSION_LIFETIME)
        context.set_verify(SSL.VERIFY_PEER, _on_verify)
        if options.check_crl:
            context.set_ocsp_client_callback(_on_ocsp)
        if options.key_log_file:
            append_key_log(options.key_log_file, [])
            context.set_keylog_callback(_on_key_log)

    def _set_versions_and_suites(self, context: SSL.Context) -> Protocols:
        options = self.options
        versions = enabled_versions(options.enabled_protocols)
        # TLS 1.0 and 1.1 sign with SHA-1, which OpenSSL has only at level 0. Certificates stay held to level 2:
        # verify.py checks keys and signatures itself.
        level = 0 if versions & _LEGACY else 2
        suites = choose_suites(
            options.enabled_cipher_suites, options.cipher_list, options.cipher_strength, level, versions
        )
        versions = suites.versions
        try:
            context.set_cipher_list(suites.cipher_list.encode("ascii"))
            if suites.tls13 is not None:
                context.set_tls13_ciphersuites(":".join(suites.tls13).encode("ascii"))
            chosen = [(number, off) for bit, number, off in _VERSIONS if versions & bit]
            context.set_min_proto_version(min(number for number, _ in chosen))
            context.set_max_proto_version(max(number for number, _ in chosen))
        except SSL.Error as error:
            raise AMQPError(606, f"OpenSSL does not take these TLS versions and ciphers: {reasons(error)}") from error
        excluded = SSL.OP_NO_COMPRESSION
        for bit, _, off in _VERSIONS:
            if not versions & bit:
                excluded |= off
        # A renegotiation could put another certificate in the place of the one that was verified.
        context.set_options(excluded | SSL.OP_NO_RENEGOTIATION)
        return versions

    def _set_renegotiation(self, context: SSL.Context) -> None:
        if not self.options.enable_renegotiation and self.versions != Protocols.TLS13:
            raise AMQPError(
                606,
                "SSLEnableRenegotiation cannot be False: OpenSSL always sends renegotiation_info for TLS 1.2 and "
                "older, where leaving it out is unsafe. Renegotiation itself is never done. To send no extension, "
                "set SSLEnabledProtocols to 12288 (TLS 1.3 only)",
            )

    def _set_groups(self, context: SSL.Context) -> tuple[frozenset[str] | None, frozenset[str] | None]:
        options = self.options
        names12 = _name_list("TLS12SupportedGroups", options.tls12_supported_groups, GROUPS)
        names13 = _name_list("TLS13SupportedGroups", options.tls13_supported_groups, GROUPS)
        shares = _name_list("TLS13KeyShareGroups", options.tls13_key_share_groups, GROUPS)
        default12 = options.tls12_supported_groups == DEFAULT_TLS12_GROUPS
        default13 = options.tls13_supported_groups == DEFAULT_TLS13_GROUPS
        default_shares = options.tls13_key_share_groups == DEFAULT_TLS13_KEY_SHARE_GROUPS
        modern = SSL.OPENSSL_VERSION_NUMBER >= _KEY_SHARE_SYNTAX
        tls13 = bool(self.versions & Protocols.TLS13)
        older = bool(self.versions & ~Protocols.TLS13)

        # OpenSSL has one list for all versions, and servers choose from it as they like.
        offered: list[str] = []
        if tls13 and older and default13 and not default12:
            # Offering more than the list for 1.2 would make most TLS 1.2 servers choose what must then be refused.
            offered += names12
        else:
            if tls13 and default13 and modern:
                offered.append("x25519mlkem768")
            offered += [name for name in (names13 if tls13 else []) if name not in offered]
            offered += [name for name in (names12 if older else []) if name not in offered]
        marked: set[str] = set()
        if tls13 and not default_shares:
            marked = set(shares)
            missing = marked - set(offered)
            if missing:
                raise AMQPError(
                    606, f"TLS13KeyShareGroups has groups that are not offered: {', '.join(sorted(missing))}"
                )
            if not modern:
                raise AMQPError(606, "TLS13KeyShareGroups needs OpenSSL 3.5 or newer; leave it at its default")
            if len(marked) > _MAX_KEY_SHARES:
                raise AMQPError(606, f"TLS13KeyShareGroups: OpenSSL sends at most {_MAX_KEY_SHARES} key shares")
        elif "x25519mlkem768" in offered and default13:
            marked = {"x25519mlkem768", "ecdhe_x25519"}  # OpenSSL's own choice, and every browser's
        text = ":".join(("*" if name in marked else "") + GROUPS[name].openssl for name in offered)
        if not _call_setter("SSL_CTX_set1_curves_list", context, text) and not (
            default12 and default13 and default_shares
        ):
            raise AMQPError(606, f"this OpenSSL does not take the key exchange groups {', '.join(offered)}")
        # What was negotiated is checked against the list of its version. At its default the list for 1.2 does not
        # exclude the newer curves that the one for 1.3 brings in.
        return (
            None if default12 else frozenset(names12),
            None if default13 else frozenset(names13),
        )

    def _set_signatures(self, context: SSL.Context) -> tuple[frozenset[str] | None, frozenset[str] | None]:
        options = self.options
        text12 = options.tls12_signature_algorithms
        text13 = options.tls13_signature_algorithms
        names12 = _name_list("TLS12SignatureAlgorithms", text12, TLS12_SIGNATURES) if text12.strip() else []
        names13 = _name_list("TLS13SignatureAlgorithms", text13, TLS13_SIGNATURES)
        # Empty means no restriction; so does the default, which lists every algorithm of the reference.
        free12 = not names12 or text12 == DEFAULT_TLS12_SIGNATURE_ALGORITHMS
        free13 = text13 == DEFAULT_TLS13_SIGNATURE_ALGORITHMS
        use12 = bool(self.versions & ~Protocols.TLS13)
        use13 = bool(self.versions & Protocols.TLS13)
        if (use12 and not free12) or (use13 and not free13):
            offered: list[str] = []
            for used, names, table in (
                (use13, names13, TLS13_SIGNATURES),
                (use12, names12 or list(TLS12_SIGNATURES), TLS12_SIGNATURES),
            ):
                for name in names if used else ():
                    offered += [item for item in table[name] if item not in offered]
            if not _call_setter("SSL_CTX_set1_sigalgs_list", context, ":".join(offered)):
                raise AMQPError(606, f"this OpenSSL does not take the signature algorithms {', '.join(offered)}")
        return (None if free12 else frozenset(names12), None if free13 else frozenset(names13))


def enabled_versions(value: int) -> Protocols:
    """``SSLEnabledProtocols`` as whole versions. Raises 606 for SSL 2 and 3, unknown bits, and none at all."""
    if value < 0 or value & ~int(_ALL_VERSIONS | Protocols.SSL2 | Protocols.SSL3):
        raise AMQPError(606, f"SSLEnabledProtocols {value} has unknown bits; 15360 is TLS 1.2 and 1.3")
    if value & int(Protocols.SSL2 | Protocols.SSL3):
        raise AMQPError(606, "SSLEnabledProtocols: SSL 2 and SSL 3 are broken and do not exist in this OpenSSL")
    versions = Protocols(0)
    for bit, _, _ in _VERSIONS:
        if value & bit:
            versions |= bit
    if not versions:
        raise AMQPError(606, "SSLEnabledProtocols enables no protocol; 15360 is TLS 1.2 and 1.3")
    return versions


def version_text(versions: Protocols) -> str:
    """Versions for a sentence: ``"TLS 1.2, TLS 1.3"``."""
    return ", ".join(name for bit, name in VERSION_NAMES.items() if versions & bit)


def _security_flags(value: int) -> SecurityFlags:
    known = 0
    for flag in SecurityFlags:
        known |= flag
    # Written as a signed 32-bit number, the bit for host names makes the whole negative.
    value &= 0xFFFFFFFF
    if value & ~known:
        raise AMQPError(606, f"SSLSecurityFlags has unknown bits: {value & ~known:#010x}")
    flags = SecurityFlags(value)
    if flags & (SecurityFlags.TRUST_TEST_ROOT | SecurityFlags.ALLOW_TEST_ROOT):
        raise AMQPError(
            606,
            "SSLSecurityFlags 0x4000 and 0x8000 concern the test root of Windows, which does not exist here; "
            "name your test CA in SSLServerCACerts",
        )
    return flags


def _accepted_certificate(data: bytes) -> bytes | None:
    if not data:
        return None
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        certificates = parse_certificates(data)
    except ValueError as error:
        raise AMQPError(271, f"ssl_accept_server_cert_encoded does not hold a certificate: {error}") from error
    return certificates[0].public_bytes(Encoding.DER)


def _name_list(setting: str, text: str, known: Iterable[str]) -> list[str]:
    names = list(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    if not names:
        raise AMQPError(606, f"{setting} is empty; it needs at least one name")
    for name in names:
        if name not in known:
            raise AMQPError(606, f"{setting} has the unknown name {name!r}; known are {', '.join(known)}")
    return names


def _call_setter(name: str, context: SSL.Context, value: str) -> bool:
    """Call a function of OpenSSL that pyOpenSSL binds without offering a method for it.

    False if it is missing or refuses the value, which the caller turns into an error unless nothing was asked for.
    """
    setter = getattr(_util.lib, name, None)
    raw = getattr(context, "_context", None)
    if setter is None or raw is None:
        return False
    done: bool = setter(raw, value.encode("ascii")) == 1
    if not done:
        # Errors left in OpenSSL's queue would be taken for those of the next call.
        _util.lib.ERR_clear_error()
    return done


def _seed(data: bytes) -> None:
    import warnings

    try:
        with warnings.catch_warnings():
            # pyOpenSSL advises against its random numbers; here they are only given something, not used.
            warnings.simplefilter("ignore", DeprecationWarning)
            from OpenSSL import rand
    except ImportError as error:
        raise AMQPError(
            606, "OpenSSLPrngSeedData cannot be set with this pyOpenSSL; the system's random source is used"
        ) from error
    # Counted as no entropy: it may add to the generator's state, but never replace the system's source.
    rand.add(data, 0)


def append_key_log(path: str, lines: list[bytes]) -> None:
    """Append lines to the key log, which is created readable by its owner only. Raises 302."""
    import os

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))
    except OSError as error:
        raise AMQPError(302, f"SSLKeyLogFile {path!r} cannot be written: {error.strerror}") from error


def _load_anchors(context: SSL.Context, options: TlsOptions) -> None:
    own = bool(options.ca_file or options.ca_dir)
    if options.ca_file:
        _load_ca_file(context, options.ca_file, "OpenSSLCAFile")
    if options.ca_dir:
        if not Path(options.ca_dir).is_dir():
            raise AMQPError(271, f"OpenSSLCADir {options.ca_dir!r} is not a directory")
        try:
            context.load_verify_locations(None, options.ca_dir)
        except SSL.Error as error:
            raise AMQPError(271, f"OpenSSLCADir {options.ca_dir!r} cannot be used: {reasons(error)}") from error

    paths = [path.strip() for path in options.ca_cert_file_paths.split(";") if path.strip()]
    if options.ca_cert_file_paths != DEFAULT_CA_CERT_FILE_PATHS:
        present = [path for path in paths if Path(path).exists()]
        if paths and not present:
            raise AMQPError(271, f"SSLCACertFilePaths: none of these files exists: {', '.join(paths)}")
        for path in present:
            _load_ca_file(context, path, "SSLCACertFilePaths")
    elif not own:
        # If a list of trusted CAs is given, the system's must not be added to it.
        for path in paths:
            if Path(path).exists():
                _load_ca_file(context, path, "SSLCACertFilePaths")
                break
        else:
            context.set_default_verify_paths()
            _add_to_store(context, system_certificates())

    if options.server_ca_certs.strip():
        try:
            certificates = parse_certificates(options.server_ca_certs.encode("utf-8", "surrogateescape"))
        except ValueError as error:
            raise AMQPError(275, f"SSLServerCACerts holds no usable certificate: {error}") from error
        _add_to_store(context, certificates)
    store = context.get_cert_store()
    if store is not None:
        # A trusted certificate need not be a root.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)


def _load_ca_file(context: SSL.Context, path: str, setting: str) -> None:
    if not Path(path).is_file():
        raise AMQPError(271, f"{setting} {path!r} is not a file")
    try:
        context.load_verify_locations(path)
    except SSL.Error as error:
        raise AMQPError(271, f"{setting} {path!r} holds no readable PEM certificates: {reasons(error)}") from error


def _add_to_store(context: SSL.Context, certificates: Iterable[x509.Certificate]) -> None:
    store = context.get_cert_store()
    if store is None:  # pragma: no cover - a context always has one
        raise AMQPError(270, "OpenSSL gave no certificate store")
    for certificate in certificates:
        store.add_cert(crypto.X509.from_cryptography(certificate))


def _load_credentials(context: SSL.Context, options: TlsOptions) -> None:
    chain: list[x509.Certificate] = []
    if options.client_ca_certs.strip():
        try:
            chain = parse_certificates(options.client_ca_certs.encode("utf-8", "surrogateescape"))
        except ValueError as error:
            raise AMQPError(274, f"SSLCACerts holds no usable certificate: {error}") from error
    entry = options.client_certificate
    if entry is None:
        return
    if entry.certificate is None:
        raise AMQPError(
            273, "the client certificate's store holds only a key; set ssl_cert_encoded to the certificate for it"
        )
    if entry.private_key is None:
        raise AMQPError(273, f"there is no private key for the client certificate {entry.subject!r}")
    try:
        context.use_certificate(entry.certificate)
        # Types are checked by pyOpenSSL itself: a key that TLS cannot use raises TypeError.
        context.use_privatekey(entry.private_key)  # type: ignore[arg-type]
        context.check_privatekey()
        sent = {entry.certificate}
        for certificate in (*entry.chain, *chain):
            if certificate not in sent:
                sent.add(certificate)
                context.add_extra_chain_cert(certificate)
    except SSL.Error as error:
        raise AMQPError(
            273, f"OpenSSL does not take the client certificate {entry.subject!r} with its key: {reasons(error)}"
        ) from error
    except TypeError as error:
        raise AMQPError(273, f"the key of the client certificate {entry.subject!r} cannot be used for TLS") from error

"""Certificate stores: files and blobs in, certificates and keys out.

>>> store = open_store("client.p12", StoreType.PFX_FILE, password)      # doctest: +SKIP
>>> store.find("CN=client")                                             # doctest: +SKIP
CertificateEntry(certificate=..., subject='CN=client, O=Example', label='client')

Anything wrong with a store is an error with code 271, whose message says whether the password is wrong or the data are
damaged; a certificate that is not in it is 272.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning

from amqp10.errors import AMQPError
from amqp10.net.certstores import java as java
from amqp10.net.certstores import ppk as ppk
from amqp10.net.certstores import x509 as x509stores
from amqp10.net.certstores.base import (
    CertificateEntry,
    StoreError,
    decode_base64,
    entries_from,
    parse_certificates,
    pem_blocks,
    public_bytes,
    sequence_state,
)
from amqp10.net.certstores.keys import is_ssh_public, load_jwk, load_ssh_public, load_xml
from amqp10.net.certstores.windows import system_certificates
from amqp10.net.tls.defaults import DEFAULT_CA_CERT_FILE_PATHS

__all__ = [
    "CertificateEntry",
    "CertificateStore",
    "StoreError",
    "StoreType",
    "load_client_certificate",
    "open_store",
]

# Stores are small; a large file was named by mistake and need not be read whole.
_MAX_STORE: Final = 16 * 1024 * 1024


class StoreType(IntEnum):
    """``ssl_cert_store_type``."""

    USER = 0
    MACHINE = 1
    PFX_FILE = 2
    PFX_BLOB = 3
    JKS_FILE = 4
    JKS_BLOB = 5
    PEM_KEY_FILE = 6
    PEM_KEY_BLOB = 7
    PUBLIC_KEY_FILE = 8
    PUBLIC_KEY_BLOB = 9
    SSH_PUBLIC_KEY_BLOB = 10
    P7B_FILE = 11
    P7B_BLOB = 12
    SSH_PUBLIC_KEY_FILE = 13
    PPK_FILE = 14
    PPK_BLOB = 15
    XML_FILE = 16
    XML_BLOB = 17
    JWK_FILE = 18
    JWK_BLOB = 19
    SECURITY_KEY = 20
    BCFKS_FILE = 21
    BCFKS_BLOB = 22
    AUTO = 99


_Loader = Callable[[bytes, str], list[CertificateEntry]]

_FILES: Final[dict[StoreType, _Loader]] = {
    StoreType.PFX_FILE: x509stores.load_pfx,
    StoreType.JKS_FILE: java.load_jks,
    StoreType.PEM_KEY_FILE: x509stores.load_pem,
    StoreType.PUBLIC_KEY_FILE: x509stores.load_public,
    StoreType.P7B_FILE: x509stores.load_pkcs7,
    StoreType.SSH_PUBLIC_KEY_FILE: load_ssh_public,
    StoreType.PPK_FILE: ppk.load_ppk,
    StoreType.XML_FILE: load_xml,
    StoreType.JWK_FILE: load_jwk,
    StoreType.BCFKS_FILE: java.load_bcfks,
}
_BLOBS: Final[dict[StoreType, _Loader]] = {
    StoreType.PFX_BLOB: x509stores.load_pfx,
    StoreType.JKS_BLOB: java.load_jks,
    StoreType.PEM_KEY_BLOB: x509stores.load_pem,
    StoreType.PUBLIC_KEY_BLOB: x509stores.load_public,
    StoreType.SSH_PUBLIC_KEY_BLOB: load_ssh_public,
    StoreType.P7B_BLOB: x509stores.load_pkcs7,
    StoreType.PPK_BLOB: ppk.load_ppk,
    StoreType.XML_BLOB: load_xml,
    StoreType.JWK_BLOB: load_jwk,
    StoreType.BCFKS_BLOB: java.load_bcfks,
}


@dataclass(frozen=True, slots=True)
class CertificateStore:
    """The entries of a store, those with a private key first."""

    entries: tuple[CertificateEntry, ...]

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[CertificateEntry]:
        return iter(self.entries)

    def search(self, subject: str) -> CertificateEntry | None:
        """The entry for a subject: an exact match first, then one that contains the text, in any case.

        ``"*"`` takes the first entry; it has a private key if any entry has.
        """
        if subject.strip() == "*":
            return self.entries[0] if self.entries else None
        wanted = _normal(subject)
        if not wanted.strip(","):
            return None
        named = [entry for entry in self.entries if entry.subject]
        for entry in named:
            if _normal(entry.subject) == wanted:
                return entry
        return next((entry for entry in named if wanted in _normal(entry.subject)), None)

    def find(self, subject: str) -> CertificateEntry:
        """As :meth:`search`.

        Raises:
            AMQPError: 272 if there is none.
        """
        entry = self.search(subject)
        if entry is None:
            raise AMQPError(272, f"no certificate in the store has the subject {subject!r}")
        return entry

    def find_encoded(self, encoded: bytes) -> CertificateEntry | None:
        """The entry for a certificate, given as PEM, DER or base64: the store's own entry for it, or a new one with
        the store's key that fits; ``None`` if the store has no key for it.

        Raises:
            StoreError: if ``encoded`` is not a certificate.
        """
        certificate = _certificate(encoded)
        for entry in self.entries:
            if entry.certificate == certificate and entry.private_key is not None:
                return entry
        wanted = public_bytes(certificate.public_key())
        for entry in self.entries:
            if entry.private_key is not None and public_bytes(entry.private_key.public_key()) == wanted:
                others = [item.certificate for item in self.entries if item.certificate is not None]
                return entries_from([certificate, *others], [entry.private_key], entry.label)[0]
        return None


def _normal(subject: str) -> str:
    return ",".join(part.strip() for part in subject.split(",")).strip().casefold()


def _certificate(encoded: bytes) -> x509.Certificate:
    try:
        return parse_certificates(encoded)[0]
    except ValueError as error:
        raise StoreError(f"the certificate cannot be read: {error}") from error


def open_store(store: str | bytes, store_type: int, password: str = "") -> CertificateStore:
    """Open a certificate store.

    Args:
        store: a file name, the content as bytes or base64 text, or the name of a system store, as the type says. For
            ``AUTO``, a file name if there is such a file, otherwise content.
        store_type: one of :class:`StoreType`.
        password: for stores that are encrypted; stores that are not ignore it.

    Raises:
        StoreError: (code 271) if the store cannot be opened; the message says why, and never holds the password.
    """
    try:
        kind = StoreType(store_type)
    except ValueError as error:
        raise StoreError(f"{store_type} is not a certificate store type") from error
    if kind in (StoreType.USER, StoreType.MACHINE):
        return _system_store(store)
    if kind is StoreType.SECURITY_KEY:
        raise StoreError("security keys (PKCS#11) are not supported; use a certificate and key from a PFX or PEM store")
    if not store:
        raise StoreError(
            "the certificate store's name is empty" if kind in _FILES else "the certificate store is empty"
        )
    if kind is StoreType.AUTO:
        return CertificateStore(tuple(_detect(_file_or_blob(store), password)))
    if kind in _FILES:
        return CertificateStore(tuple(_FILES[kind](_read(store), password)))
    return CertificateStore(tuple(_BLOBS[kind](_blob(store), password)))


def load_client_certificate(
    store: str | bytes, store_type: int, password: str = "", subject: str = "", encoded: bytes = b""
) -> CertificateEntry | None:
    """The client certificate that a set of properties selects, ready for ``TlsOptions.client_certificate``.

    ``None`` if they select none: no subject and no certificate, as the defaults have it.

    Args:
        store, store_type, password: as :func:`open_store`.
        subject: as :meth:`CertificateStore.search`.
        encoded: the certificate itself, for which the store only supplies the key; ``subject`` is ignored then.

    Raises:
        AMQPError: 271 if the store cannot be opened, 272 if it lacks the certificate or its key.
    """
    if not subject and not encoded:
        return None
    opened = open_store(store, store_type, password)
    if encoded:
        entry = opened.find_encoded(encoded)
        if entry is None:
            raise AMQPError(272, "the store has no private key for the certificate in ssl_cert_encoded")
        return entry
    return opened.find(subject)


# --- where the bytes come from ---


def _path(store: str | bytes) -> Path:
    text = store if isinstance(store, str) else store.decode("utf-8", "surrogateescape")
    return Path(text)


def _read(store: str | bytes) -> bytes:
    path = _path(store)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_STORE + 1)
    except (OSError, ValueError) as error:
        # A blob given as a file name may hold a key, so only what can be a name is repeated.
        shown = f" {str(path)!r}" if len(str(path)) < 256 and str(path).isprintable() else ""
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is not a file name"
        raise StoreError(f"the certificate store{shown} cannot be opened: {why}") from None
    if not data.strip():
        raise StoreError(f"the certificate store {str(path)!r} is empty")
    if len(data) > _MAX_STORE:
        raise StoreError(f"the certificate store {str(path)!r} is larger than {_MAX_STORE} bytes")
    return data


def _blob(store: str | bytes) -> bytes:
    data = store.encode("utf-8", "surrogateescape") if isinstance(store, str) else bytes(store)
    if not data.strip():
        raise StoreError("the certificate store is empty")
    # Base64 text has no character that begins a binary, PEM, XML or JSON store, except for chance: a binary store
    # that consists of letters and digits only.
    if data[:1] == b"\x30" and sequence_state(data) != "other":
        return data
    if is_ssh_public(data.lstrip()) or data.startswith(ppk.MAGIC):
        return data
    return decode_base64(data.strip()) or data


def _file_or_blob(store: str | bytes) -> bytes:
    try:
        path = _path(store)
        if len(store) < 4096 and path.is_file():
            return _read(store)
    except (OSError, ValueError):
        pass  # what cannot be a file name is content
    data = _blob(store)
    if data == (store if isinstance(store, bytes) else store.encode("utf-8", "surrogateescape")) and (
        len(data) < 256 and data.isascii() and data[:1] not in (b"-", b"{", b"<", b"0") and not is_ssh_public(data)
    ):
        raise StoreError("there is no such file, and the text is not a certificate store either")
    return data


# --- what the bytes are ---


def _detect(data: bytes, password: str) -> list[CertificateEntry]:
    text = data.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(ppk.MAGIC):
        return ppk.load_ppk(text, password)
    if is_ssh_public(text):
        return load_ssh_public(text, password)
    if b"-----BEGIN " in text:
        if b"-----BEGIN PKCS7" in text or b"-----BEGIN CMS" in text:
            return x509stores.load_pkcs7(text, password)
        return x509stores.load_pem(text, password)
    if text.startswith(b"{"):
        return load_jwk(text, password)
    if text.startswith(b"<"):
        return load_xml(text, password)
    if data.startswith((java.JKS_MAGIC, java.JCEKS_MAGIC)):
        return java.load_jks(data, password)
    state = sequence_state(data)
    if state == "other":
        raise StoreError("the data is not a certificate store of a known type")
    if x509stores.is_pkcs12(data):
        return x509stores.load_pfx(data, password)
    if x509stores.is_pkcs7(data):
        return x509stores.load_pkcs7(data, password)
    if java.is_bcfks(data) and not _is_encrypted_key(data):
        java.load_bcfks(data, password)
    if state == "truncated":
        raise StoreError("the certificate store is truncated")
    try:
        return entries_from(parse_certificates(data), [])
    except ValueError:
        pass  # not a certificate, so it should be a key
    return entries_from([], [x509stores.load_der_key(data, password)])


def _is_encrypted_key(data: bytes) -> bool:
    """PKCS#8's encrypted key is algorithm and bytes; BCFKS wraps the same once more and adds its integrity check."""
    position = 2 if data[1] < 0x80 else 2 + (data[1] & 0x7F)
    # The first inner sequence is the algorithm itself: it begins with an OID.
    inner = position + (2 if data[position + 1 : position + 2] < b"\x80" else 2 + (data[position + 1] & 0x7F))
    return data[inner : inner + 1] == b"\x06"


# --- the system's stores ---


def _system_store(store: str | bytes) -> CertificateStore:
    name = (store if isinstance(store, str) else store.decode("utf-8", "replace")).strip().upper()
    if name in ("ROOT", "CA"):
        return CertificateStore(tuple(entries_from(_trusted(), [])))
    if name == "MY":
        raise StoreError(
            "personal certificates in a system store are a feature of Windows and not available here; "
            "use a PFX or PEM store (ssl_cert_store_type 2, 3, 6, 7 or 99)"
        )
    raise StoreError(
        "ssl_cert_store_type 0 and 1 know the stores ROOT and CA (the system's trusted certificates); "
        "for a file or blob set the type that it has, or 99 to have it detected"
    )


def _readable(bundle: bytes) -> Iterator[x509.Certificate]:
    """The certificates of a bundle. Some authorities' old ones break a rule or other; that must not hide the rest."""
    for _, block in pem_blocks(bundle):
        with warnings.catch_warnings(), contextlib.suppress(ValueError):
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            yield from parse_certificates(block)


def _trusted() -> list[x509.Certificate]:
    if sys.platform == "win32":
        return system_certificates()
    for path in (*DEFAULT_CA_CERT_FILE_PATHS.split(";"), "/etc/ssl/cert.pem"):
        if Path(path).is_file():
            try:
                return list(_readable(_read(path)))
            except ValueError as error:
                raise StoreError(f"the system's certificates in {path} cannot be read: {error}") from error
    raise StoreError("the system has no store of trusted certificates in a known place")

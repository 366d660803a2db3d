"""Common to all formats of certificate stores: their entries, their error, and helpers for raw bytes."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from amqp10.errors import AMQPError
from amqp10.net.x509names import MALFORMED, check_readable, subject_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

__all__ = [
    "CertificateEntry",
    "StoreError",
    "decode_base64",
    "entries_from",
    "parse_certificates",
    "pem_blocks",
    "public_bytes",
    "sequence_state",
]


class StoreError(AMQPError):
    """A certificate store cannot be opened. Code 271; the message says whether the password or the data are wrong."""

    __slots__ = ()

    def __init__(self, message: str) -> None:
        super().__init__(271, message)


@dataclass(frozen=True, slots=True, eq=False)
class CertificateEntry:
    """One certificate of a store, or one key for which the store has no certificate.

    Entries are equal if certificate, key and chain are, so that opening a store again gives equal entries.

    Attributes:
        certificate: the certificate; ``None`` in stores that hold only keys (SSH, PPK, most XML and JWK).
        private_key: its private key, if the store has it. Never shown in a ``repr``.
        chain: certificates of the store that lead from it towards the root, nearest first, root excluded.
        subject: for example ``"CN=client, O=Example"``; empty without a certificate.
        label: the name of the entry in the store: alias, comment or key id.
        public_key: the public key.
    """

    certificate: x509.Certificate | None
    private_key: PrivateKeyTypes | None = field(default=None, repr=False)
    chain: tuple[x509.Certificate, ...] = field(default=(), repr=False)
    subject: str = ""
    label: str = ""
    public_key: PublicKeyTypes | None = field(default=None, repr=False)

    def _identity(self) -> tuple[object, ...]:
        # Private keys cannot be compared, and need not be: the public key tells which one it is.
        public = public_bytes(self.public_key) if self.public_key is not None else None
        return (self.certificate, self.private_key is not None, public, self.chain)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CertificateEntry):
            return NotImplemented
        return self is other or self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    @property
    def has_private_key(self) -> bool:
        return self.private_key is not None

    @property
    def encoded(self) -> bytes:
        """The certificate as PEM; empty without one."""
        return self.certificate.public_bytes(Encoding.PEM) if self.certificate is not None else b""


def public_bytes(key: PublicKeyTypes) -> bytes:
    """A public key in a form in which keys can be compared."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _certificate_key(certificate: x509.Certificate) -> PublicKeyTypes | None:
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None  # a certificate with a key that cannot be used is still a certificate


def _same_key(key: PublicKeyTypes | None, encoded: bytes) -> bool:
    return key is not None and public_bytes(key) == encoded


def chain_of(certificate: x509.Certificate, others: list[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """The issuers of a certificate among the others, nearest first, without the root (servers have their own)."""
    chain: list[x509.Certificate] = []
    current = certificate
    while current.subject != current.issuer and len(chain) < len(others):
        issuer = next((item for item in others if item.subject == current.issuer and item not in chain), None)
        if issuer is None or issuer.subject == issuer.issuer:
            break
        chain.append(issuer)
        current = issuer
    return tuple(chain)


def entries_from(
    certificates: list[x509.Certificate], keys: list[PrivateKeyTypes], label: str = ""
) -> list[CertificateEntry]:
    """Pair certificates with their keys: first those with a key, then the other certificates, then the other keys."""
    certificates = list(dict.fromkeys(certificates))
    try:
        for certificate in certificates:
            check_readable(certificate)
    except ValueError as error:
        raise StoreError("a certificate in the store is malformed") from error
    with_key: list[CertificateEntry] = []
    without: list[CertificateEntry] = []
    encoded = [public_bytes(key.public_key()) for key in keys]
    used: set[int] = set()
    for certificate in certificates:
        public = _certificate_key(certificate)
        index = next((i for i, item in enumerate(encoded) if _same_key(public, item)), None)
        entry = CertificateEntry(
            certificate=certificate,
            private_key=keys[index] if index is not None else None,
            chain=chain_of(certificate, certificates),
            subject=subject_text(certificate),
            label=label,
            public_key=public,
        )
        if index is not None:
            used.add(index)
        (with_key if index is not None else without).append(entry)
    bare = [
        CertificateEntry(certificate=None, private_key=key, label=label, public_key=key.public_key())
        for i, key in enumerate(keys)
        if i not in used
    ]
    return with_key + without + bare


# --- raw bytes ------------------------------------------------------------------------------------------------------

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/=\s_-]+\Z")
_PEM_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)


def decode_base64(data: bytes) -> bytes | None:
    """The content of base64 text (standard or URL-safe, line breaks allowed), or ``None`` if it is not that."""
    # Dashes are digits of the URL-safe alphabet; five of them are the frame of PEM.
    if not data or b"-----" in data or not _BASE64.match(data):
        return None
    compact = b"".join(data.split()).replace(b"-", b"+").replace(b"_", b"/")
    try:
        return base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)
    except binascii.Error:
        return None


def pem_blocks(data: bytes) -> list[tuple[str, bytes]]:
    """The PEM blocks in ``data``: label and the whole block's text.

    Raises:
        ValueError: for a block without an end.
    """
    blocks = [(match.group(1).decode("ascii"), match.group(0) + b"\n") for match in _PEM_BLOCK.finditer(data)]
    if data.count(b"-----BEGIN ") > len(blocks):
        raise ValueError("a PEM block begins and does not end: the data is truncated")
    return blocks


def sequence_state(data: bytes) -> str:
    """Whether bytes are one complete DER (or BER) sequence: ``"whole"``, ``"truncated"`` or ``"other"``."""
    if not data or data[0] != 0x30:
        return "other"
    if len(data) < 2:
        return "truncated"
    length = data[1]
    start = 2
    if length == 0x80:  # indefinite length, as some PKCS#12 writers use: it ends with two zero bytes
        return "whole" if data.endswith(b"\0\0") else "truncated"
    if length > 0x80:
        width = length & 0x7F
        if width > 4:
            return "other"
        if len(data) < 2 + width:
            return "truncated"
        start += width
        length = int.from_bytes(data[2 : 2 + width], "big")
    if start + length == len(data):
        return "whole"
    return "truncated" if start + length > len(data) else "other"


def parse_certificates(data: bytes) -> list[x509.Certificate]:
    """Certificates from PEM (any number, other text between them), DER, or base64 of either.

    Raises:
        ValueError: if there is none, or one is malformed; the message says what is wrong.
    """
    text = data.strip()
    if not text:
        raise ValueError("it is empty")
    if b"-----BEGIN " in text:
        found: list[x509.Certificate] = []
        for label, block in pem_blocks(text):
            if label in ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"):
                try:
                    found.append(check_readable(x509.load_pem_x509_certificate(block)))
                except MALFORMED as error:
                    raise ValueError("a certificate in it is malformed") from error
        if not found:
            raise ValueError("it has PEM blocks, but no certificate")
        return found
    state = sequence_state(data)
    if state == "other":
        decoded = decode_base64(text)
        if decoded is None:
            raise ValueError("it is neither PEM nor DER")
        if b"-----BEGIN " in decoded:
            return parse_certificates(decoded)
        data, state = decoded, sequence_state(decoded)
    if state == "truncated":
        raise ValueError("it is truncated")
    try:
        return [check_readable(x509.load_der_x509_certificate(data))]
    except MALFORMED as error:
        raise ValueError("it is not a certificate") from error

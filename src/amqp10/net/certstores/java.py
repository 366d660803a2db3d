"""Java's own key stores. JKS is read here: the format is small, and no maintained library has it. The others are not;
``keytool`` turns them into PKCS#12, which is Java's own default today."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final, NoReturn

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_private_key

from amqp10.net.certstores.base import CertificateEntry, StoreError, entries_from
from amqp10.net.certstores.x509 import is_pkcs12, load_pfx
from amqp10.net.x509names import MALFORMED

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

__all__ = ["JCEKS_MAGIC", "JKS_MAGIC", "is_bcfks", "load_bcfks", "load_jks", "refuse_jceks"]

JKS_MAGIC: Final = b"\xfe\xed\xfe\xed"
JCEKS_MAGIC: Final = b"\xce\xce\xce\xce"

# 1.3.6.1.4.1.42.2.17.1.1, Sun's own protection of private keys.
_PROTECTION: Final = bytes.fromhex("060a2b060104012a02110101")
# Bouncy Castle's arc, under which a BCFKS store names its integrity algorithms, is absent from some; the structure
# "sequence, sequence, algorithm, octet string" is the same in all. PBES2 is what its writer always uses.
_PBES2: Final = bytes.fromhex("06092a864886f70d01050d")
_CONVERT: Final = "convert it: keytool -importkeystore -srckeystore STORE -destkeystore STORE.p12 -deststoretype PKCS12"


def is_bcfks(data: bytes) -> bool:
    """Whether DER data has the shape of a BCFKS store: an encrypted store under PBES2, no version number before it."""
    head = data[:32]
    return data[:1] == b"\x30" and b"\x02\x01" not in head[:8] and _PBES2 in head


def load_bcfks(data: bytes, password: str) -> NoReturn:
    """Refuse: no maintained Python library reads these."""
    del data, password
    raise StoreError(f"BCFKS stores are not supported; {_CONVERT} (with -srcstoretype BCFKS and Bouncy Castle's jar)")


def refuse_jceks() -> NoReturn:
    raise StoreError(f"JCEKS stores are not supported; {_CONVERT} -srcstoretype JCEKS")


class _Reader:
    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def position(self) -> int:
        return self._position

    def take(self, count: int) -> bytes:
        end = self._position + count
        if end > len(self._data):
            raise StoreError("the JKS store is truncated")
        piece = self._data[self._position : end]
        self._position = end
        return piece

    def number(self, width: int = 4) -> int:
        return int.from_bytes(self.take(width), "big")

    def text(self) -> str:
        return self.take(self.number(2)).decode("utf-8", "replace")

    def certificate(self, version: int) -> bytes:
        if version == 2:
            kind = self.text()
            if kind != "X.509":
                raise StoreError("the JKS store holds a certificate that is not X.509")
        return self.take(self.number())


def load_jks(data: bytes, password: str) -> list[CertificateEntry]:
    """JKS, versions 1 and 2. A ``.jks`` file of a newer Java is PKCS#12, and is read as that."""
    if is_pkcs12(data):
        return load_pfx(data, password)
    if data.startswith(JCEKS_MAGIC):
        refuse_jceks()
    if not data.startswith(JKS_MAGIC):
        raise StoreError("the data is not a JKS store")
    reader = _Reader(data)
    reader.take(4)
    version = reader.number()
    if version not in (1, 2):
        raise StoreError("the JKS store has an unknown version")
    protected: list[tuple[str, bytes, list[bytes]]] = []
    trusted: list[tuple[str, bytes]] = []
    for _ in range(reader.number()):
        tag = reader.number()
        alias = reader.text()
        reader.take(8)  # when it was added
        if tag == 1:
            key = reader.take(reader.number())
            chain: list[bytes] = []
            for _ in range(reader.number()):
                chain.append(reader.certificate(version))  # raises at the end of the data, whatever the count says
            protected.append((alias, key, chain))
        elif tag == 2:
            trusted.append((alias, reader.certificate(version)))
        else:
            raise StoreError("the JKS store is damaged: it has an entry of an unknown kind")
    end = reader.position
    digest = reader.take(20)
    secret = password.encode("utf-16-be", "surrogatepass")
    expected = hashlib.sha1(secret + b"Mighty Aphrodite" + data[:end]).digest()
    if not hmac.compare_digest(digest, expected):
        if not password:
            raise StoreError("a password is needed for the JKS store")
        raise StoreError("the password is wrong for the JKS store (or the store is damaged)")
    entries: list[CertificateEntry] = []
    for alias, key, chain in protected:
        entries += entries_from([_certificate(item) for item in chain], [_unprotect(key, secret)], alias)[:1]
    for alias, item in trusted:
        entries += entries_from([_certificate(item)], [], alias)
    if not entries:
        raise StoreError("the JKS store is empty")
    return entries


def _certificate(data: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(data)
    except MALFORMED as error:
        raise StoreError("a certificate in the JKS store is malformed") from error


def _unprotect(info: bytes, secret: bytes) -> PrivateKeyTypes:
    """Undo Sun's key protection: the key is XORed with a SHA-1 key stream, and a digest verifies the password."""
    at = info.find(_PROTECTION)
    sealed = _octet_string(info, at + len(_PROTECTION)) if at > 0 else None
    if sealed is None or len(sealed) < 41:
        raise StoreError("a private key in the JKS store is protected in an unknown way")
    block, encrypted, check = sealed[:20], sealed[20:-20], sealed[-20:]
    stream = bytearray()
    while len(stream) < len(encrypted):
        block = hashlib.sha1(secret + block).digest()
        stream += block
    plain = bytes(a ^ b for a, b in zip(encrypted, stream, strict=False))
    if not hmac.compare_digest(hashlib.sha1(secret + plain).digest(), check):
        raise StoreError("the private key in the JKS store has another password than the store; give both the same")
    try:
        return load_der_private_key(plain, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise StoreError("the private key in the JKS store is malformed") from error


def _octet_string(data: bytes, position: int) -> bytes | None:
    """The OCTET STRING that follows an algorithm's identifier, after optional NULL parameters."""
    if data[position : position + 2] == b"\x05\x00":
        position += 2
    if data[position : position + 1] != b"\x04" or position + 2 > len(data):
        return None
    length = data[position + 1]
    position += 2
    if length > 0x80:
        width = length & 0x7F
        length = int.from_bytes(data[position : position + width], "big")
        position += width
    piece = data[position : position + length]
    return piece if len(piece) == length else None

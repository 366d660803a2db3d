"""PuTTY private keys, versions 2 and 3 (PuTTY's documentation, "PPK file format")."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from amqp10.net.certstores.base import CertificateEntry, StoreError, decode_base64

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

__all__ = ["MAGIC", "load_ppk"]

MAGIC: Final = b"PuTTY-User-Key-File-"

# The file says how much work its password takes. Larger values are an attack, not a key.
_MAX_ARGON2_KIB: Final = 1024 * 1024
_MAX_ARGON2_PASSES: Final = 100_000
_MAX_ARGON2_LANES: Final = 64
_MAX_LINES: Final = 10_000

_CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "ecdsa-sha2-nistp256": ec.SECP256R1(),
    "ecdsa-sha2-nistp384": ec.SECP384R1(),
    "ecdsa-sha2-nistp521": ec.SECP521R1(),
}


@dataclass(slots=True, repr=False)
class _File:
    version: int
    kind: str
    fields: dict[str, str]
    public: bytes
    private: bytes


def load_ppk(data: bytes, password: str) -> list[CertificateEntry]:
    """One private key. The store has no certificate for it."""
    file = _parse(data)
    encryption = file.fields.get("Encryption", "")
    if encryption not in ("none", "aes256-cbc"):
        raise StoreError("the PPK store is encrypted in an unknown way")
    encrypted = encryption != "none"
    if encrypted and not password:
        raise StoreError("a password is needed for the PPK store")
    secret = password.encode("utf-8") if encrypted else b""
    cipher_key, vector, mac_key = _derive(file, secret, encrypted)
    private = file.private
    if encrypted:
        if not private or len(private) % 16:
            raise StoreError("the PPK store is damaged: its private part has an impossible size")
        decryptor = Cipher(algorithms.AES256(cipher_key), modes.CBC(vector)).decryptor()
        private = decryptor.update(private) + decryptor.finalize()
    signed = b"".join(
        len(part).to_bytes(4, "big") + part
        for part in (
            file.kind.encode("ascii", "replace"),
            encryption.encode("ascii"),
            file.fields.get("Comment", "").encode("utf-8", "surrogateescape"),
            file.public,
            private,
        )
    )
    digest = hashlib.sha256 if file.version == 3 else hashlib.sha1
    expected = hmac.new(mac_key, signed, digest).hexdigest()
    given = file.fields.get("Private-MAC", "").strip().lower().encode("utf-8", "surrogateescape")
    if not hmac.compare_digest(expected.encode(), given):
        if encrypted:
            raise StoreError("the password is wrong for the PPK store (or the store is damaged)")
        raise StoreError("the PPK store is damaged: its checksum does not match")
    try:
        key = _key(file.kind, file.public, private)
    except (ValueError, IndexError, UnsupportedAlgorithm) as error:
        raise StoreError("the PPK store's key is malformed") from error
    comment = file.fields.get("Comment", "")
    return [CertificateEntry(certificate=None, private_key=key, label=comment, public_key=key.public_key())]


def _parse(data: bytes) -> _File:
    lines = data.decode("utf-8", "surrogateescape").splitlines()
    if not lines or not data.startswith(MAGIC):
        raise StoreError("the data is not a PPK store")
    head, _, kind = lines[0].partition(":")
    version = head.removeprefix(MAGIC.decode("ascii"))
    if version not in ("2", "3"):
        raise StoreError(f"the PPK store has version {version[:8]!r}; 2 and 3 are supported")
    fields: dict[str, str] = {}
    blobs: dict[str, bytes] = {}
    position = 1
    while position < len(lines):
        name, colon, value = lines[position].partition(":")
        position += 1
        if not colon:
            if name.strip():
                raise StoreError("the PPK store is damaged: a line has no name")
            continue
        value = value.removeprefix(" ")
        if name in ("Public-Lines", "Private-Lines"):
            count = _number(value, name, _MAX_LINES)
            if position + count > len(lines):
                raise StoreError("the PPK store is truncated")
            blob = decode_base64("".join(lines[position : position + count]).encode("ascii", "replace"))
            if blob is None:
                raise StoreError(f"the PPK store is damaged: its {name.split('-')[0].lower()} part is not base64")
            blobs[name] = blob
            position += count
        else:
            fields[name] = value
    if "Private-MAC" not in fields or len(blobs) != 2:
        raise StoreError("the PPK store is truncated")
    return _File(int(version), kind.strip(), fields, blobs["Public-Lines"], blobs["Private-Lines"])


def _number(text: str, name: str, largest: int) -> int:
    text = text.strip()
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise StoreError(f"the PPK store is damaged: {name} is not a number")
    if int(text) > largest:
        raise StoreError(f"the PPK store's {name} is larger than {largest}")
    return int(text)


def _derive(file: _File, secret: bytes, encrypted: bool) -> tuple[bytes, bytes, bytes]:
    """Cipher key, initialisation vector and MAC key."""
    if file.version == 2:
        key = hashlib.sha1(b"\0\0\0\0" + secret).digest() + hashlib.sha1(b"\0\0\0\1" + secret).digest()
        return key[:32], bytes(16), hashlib.sha1(b"putty-private-key-file-mac-key" + secret).digest()
    if not encrypted:
        return b"", b"", b""
    from cryptography.hazmat.primitives.kdf import argon2

    flavour = file.fields.get("Key-Derivation", "").strip()
    function = getattr(argon2, flavour, None) if flavour in ("Argon2id", "Argon2i", "Argon2d") else None
    if function is None:
        raise StoreError(f"the PPK store's key derivation {flavour[:20]!r} is not available; save the key again")
    try:
        salt = bytes.fromhex(file.fields.get("Argon2-Salt", ""))
        derived: bytes = function(
            salt=salt,
            length=80,
            iterations=_number(file.fields.get("Argon2-Passes", ""), "Argon2-Passes", _MAX_ARGON2_PASSES),
            lanes=_number(file.fields.get("Argon2-Parallelism", ""), "Argon2-Parallelism", _MAX_ARGON2_LANES),
            memory_cost=_number(file.fields.get("Argon2-Memory", ""), "Argon2-Memory", _MAX_ARGON2_KIB),
        ).derive(secret)
    except UnsupportedAlgorithm as error:
        raise StoreError("this OpenSSL has no Argon2, which PPK version 3 needs; save the key as version 2") from error
    except (ValueError, MemoryError) as error:
        raise StoreError("the PPK store's key derivation parameters are not usable") from error
    return derived[:32], derived[32:48], derived[48:]


class _Reader:
    """Strings and numbers in SSH's encoding (RFC 4251)."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def string(self) -> bytes:
        start = self._position + 4
        end = start + int.from_bytes(self._data[self._position : start], "big")
        if start > len(self._data) or end > len(self._data):
            raise ValueError("a string ends outside the data")
        self._position = end
        return self._data[start:end]

    def number(self) -> int:
        return int.from_bytes(self.string(), "big")


def _key(kind: str, public: bytes, private: bytes) -> PrivateKeyTypes:
    known = _Reader(public)
    secret = _Reader(private)
    if known.string() != kind.encode("ascii", "replace"):
        raise ValueError("the key types differ")
    if kind == "ssh-rsa":
        e, n = known.number(), known.number()
        d, p, q, inverse = (secret.number() for _ in range(4))
        numbers = rsa.RSAPublicNumbers(e, n)
        dp, dq = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q)
        return rsa.RSAPrivateNumbers(p, q, d, dp, dq, inverse, numbers).private_key()
    if kind in _CURVES:
        known.string()  # the curve's name once more
        point = ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[kind], known.string())
        return ec.EllipticCurvePrivateNumbers(secret.number(), point.public_numbers()).private_key()
    if kind == "ssh-ed25519":
        return ed25519.Ed25519PrivateKey.from_private_bytes(secret.string())
    if kind == "ssh-ed448":
        return ed448.Ed448PrivateKey.from_private_bytes(secret.string())
    raise StoreError(f"keys of the type {kind[:40]!r} in a PPK store cannot be used for TLS")

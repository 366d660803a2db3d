"""Stores that hold keys in formats that are not X.509's: SSH public keys, JSON Web Keys, XML."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from amqp10.net.certstores.base import CertificateEntry, StoreError, decode_base64, entries_from, parse_certificates
from amqp10.net.x509names import MALFORMED

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

__all__ = ["is_ssh_public", "load_jwk", "load_ssh_public", "load_xml"]

_RFC4716: Final = b"---- BEGIN SSH2 PUBLIC KEY ----"
_SSH_TYPES: Final = (b"ssh-", b"ecdsa-sha2-", b"sk-")
# Larger keys are not used, and would only cost time.
_MAX_RSA_BYTES: Final = 2048


def is_ssh_public(data: bytes) -> bool:
    """Whether text starts as an SSH public key does, in the form of OpenSSH or of RFC 4716."""
    return data.startswith((_RFC4716, *_SSH_TYPES))


def load_ssh_public(data: bytes, password: str) -> list[CertificateEntry]:
    """SSH public keys (RFC 4253), one per line as OpenSSH writes them, or one in the form of RFC 4716."""
    del password
    text = data.strip()
    if not is_ssh_public(text):
        raise StoreError("the data is not an SSH public key")
    lines = [_from_rfc4716(text)] if text.startswith(_RFC4716) else text.splitlines()
    entries: list[CertificateEntry] = []
    for line in lines:
        parts = line.strip().split(None, 2)
        if not parts or parts[0].startswith(b"#"):
            continue
        try:
            key = load_ssh_public_key(b" ".join(parts[:2]))
        except (UnsupportedAlgorithm, NotImplementedError) as error:
            raise StoreError("the SSH public key is of a type that is not supported here") from error
        except ValueError as error:
            raise StoreError("the SSH public key is truncated or damaged") from error
        label = parts[2].decode("utf-8", "replace") if len(parts) > 2 else ""
        entries.append(CertificateEntry(certificate=None, label=label, public_key=key))
    return entries


def _from_rfc4716(text: bytes) -> bytes:
    if b"---- END SSH2 PUBLIC KEY ----" not in text:
        raise StoreError("the SSH public key is truncated")
    body = text.split(_RFC4716, 1)[1].split(b"---- END", 1)[0]
    comment = b""
    encoded: list[bytes] = []
    continued = False
    for line in body.splitlines():
        line = line.strip()
        if continued or b":" in line:
            if line.lower().startswith(b"comment:"):
                comment = line.split(b":", 1)[1].strip().strip(b'"')
            continued = line.endswith(b"\\")
        elif line:
            encoded.append(line)
    blob = decode_base64(b"".join(encoded)) or b""
    length = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + length] + b" " + base64.b64encode(blob) + b" " + comment


# --- JSON Web Keys --------------------------------------------------------------------------------------------------

_JWK_CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
    "secp256k1": ec.SECP256K1(),
}


def load_jwk(data: bytes, password: str) -> list[CertificateEntry]:
    """A JSON Web Key or key set (RFC 7517, RFC 8037); certificates in ``x5c`` come with it."""
    del password
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        # Not chained, because JSON's error contains the whole document, private key included.
        raise StoreError("the JWK is not well-formed JSON, or is truncated") from None
    keys = document.get("keys") if isinstance(document, dict) and "keys" in document else [document]
    if not isinstance(keys, list) or not keys:
        raise StoreError("the JWK set holds no key")
    entries: list[CertificateEntry] = []
    for item in keys:
        if not isinstance(item, dict):
            raise StoreError("the JWK is not an object")
        entries += _jwk_entries(item)
    return entries


def _jwk_entries(jwk: dict[str, Any]) -> list[CertificateEntry]:
    label = str(jwk.get("kid", ""))
    kind = jwk.get("kty")
    if kind == "oct":
        raise StoreError("the JWK is a symmetric key, which TLS cannot use")
    if "ciphertext" in jwk or "protected" in jwk:
        raise StoreError("the JWK is encrypted (JWE), which is not supported; export it without encryption or as PFX")
    private: PrivateKeyTypes | None = None
    try:
        if kind == "RSA":
            public, private = _jwk_rsa(jwk)
        elif kind == "EC":
            public, private = _jwk_ec(jwk)
        elif kind == "OKP":
            public, private = _jwk_okp(jwk)
        else:
            raise StoreError("the JWK has no known key type (kty)")
        certificates = _jwk_certificates(jwk)
    except (*MALFORMED, UnsupportedAlgorithm) as error:
        raise StoreError("the JWK's key is malformed") from error
    if certificates:
        entries = entries_from(certificates, [private] if private is not None else [], label)
        if private is not None and not any(entry.certificate is not None and entry.private_key for entry in entries):
            raise StoreError("the JWK's certificate (x5c) is not for its key")
        return entries
    return [CertificateEntry(certificate=None, private_key=private, label=label, public_key=public)]


def _jwk_bytes(jwk: dict[str, Any], name: str) -> bytes:
    value = jwk.get(name)
    if not isinstance(value, str):
        raise StoreError(f"the JWK lacks the member {name!r}")
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        # The value may be a secret: it stays out of the message and of the exception chain.
        raise StoreError(f"the JWK member {name!r} is not base64url") from None


def _jwk_number(jwk: dict[str, Any], name: str) -> int:
    data = _jwk_bytes(jwk, name)
    if len(data) > _MAX_RSA_BYTES:
        raise StoreError(f"the JWK member {name!r} is too large")
    return int.from_bytes(data, "big")


def _jwk_rsa(jwk: dict[str, Any]) -> tuple[PublicKeyTypes, PrivateKeyTypes | None]:
    return _rsa(
        _jwk_number(jwk, "n"),
        _jwk_number(jwk, "e"),
        _jwk_number(jwk, "d") if "d" in jwk else None,
        {name: _jwk_number(jwk, name) for name in ("p", "q", "dp", "dq", "qi") if name in jwk},
    )


def _rsa(n: int, e: int, d: int | None, rest: dict[str, int]) -> tuple[PublicKeyTypes, PrivateKeyTypes | None]:
    numbers = rsa.RSAPublicNumbers(e, n)
    public = numbers.public_key()
    if d is None:
        return public, None
    if "p" in rest and "q" in rest:
        p, q = rest["p"], rest["q"]
    else:
        p, q = rsa.rsa_recover_prime_factors(n, e, d)
    private = rsa.RSAPrivateNumbers(
        p,
        q,
        d,
        rest["dp"] if "dp" in rest else rsa.rsa_crt_dmp1(d, p),
        rest["dq"] if "dq" in rest else rsa.rsa_crt_dmq1(d, q),
        rest["qi"] if "qi" in rest else rsa.rsa_crt_iqmp(p, q),
        numbers,
    ).private_key()
    return public, private


def _jwk_ec(jwk: dict[str, Any]) -> tuple[PublicKeyTypes, PrivateKeyTypes | None]:
    curve = _JWK_CURVES.get(str(jwk.get("crv")))
    if curve is None:
        raise StoreError("the JWK's curve (crv) is not supported here")
    numbers = ec.EllipticCurvePublicNumbers(_jwk_number(jwk, "x"), _jwk_number(jwk, "y"), curve)
    public = numbers.public_key()
    if "d" not in jwk:
        return public, None
    return public, ec.EllipticCurvePrivateNumbers(_jwk_number(jwk, "d"), numbers).private_key()


def _jwk_okp(jwk: dict[str, Any]) -> tuple[PublicKeyTypes, PrivateKeyTypes | None]:
    curve = jwk.get("crv")
    public: PublicKeyTypes
    private: PrivateKeyTypes | None = None
    if curve == "Ed25519":
        public = ed25519.Ed25519PublicKey.from_public_bytes(_jwk_bytes(jwk, "x"))
        if "d" in jwk:
            private = ed25519.Ed25519PrivateKey.from_private_bytes(_jwk_bytes(jwk, "d"))
    elif curve == "Ed448":
        public = ed448.Ed448PublicKey.from_public_bytes(_jwk_bytes(jwk, "x"))
        if "d" in jwk:
            private = ed448.Ed448PrivateKey.from_private_bytes(_jwk_bytes(jwk, "d"))
    else:
        raise StoreError("the JWK's curve (crv) is not supported here")
    return public, private


def _jwk_certificates(jwk: dict[str, Any]) -> list[x509.Certificate]:
    chain = jwk.get("x5c")
    if chain is None:
        return []
    if not isinstance(chain, list) or not all(isinstance(item, str) for item in chain):
        raise StoreError("the JWK's certificates (x5c) are malformed")
    return [x509.load_der_x509_certificate(decode_base64(item.encode("ascii", "replace")) or b"") for item in chain]


# --- XML ------------------------------------------------------------------------------------------------------------


def load_xml(data: bytes, password: str) -> list[CertificateEntry]:
    """Keys and certificates in XML: ``RSAKeyValue`` (public, or with the private members that .NET writes) and
    ``X509Certificate``, as XML Signature names them, anywhere in the document."""
    del password
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise StoreError("the XML store declares entities, which is not allowed")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        # The parser's text gives a position only.
        raise StoreError(f"the XML store is truncated or not well-formed ({error})") from None
    certificates: list[x509.Certificate] = []
    keys: list[PrivateKeyTypes] = []
    publics: list[PublicKeyTypes] = []
    for element in root.iter():
        name = _local(element.tag)
        if name == "X509Certificate":
            try:
                certificates += parse_certificates((element.text or "").encode("utf-8"))
            except ValueError as error:
                raise StoreError(f"a certificate in the XML store cannot be read: {error}") from error
        elif name == "RSAKeyValue":
            public, private = _xml_rsa(element)
            if private is not None:
                keys.append(private)
            else:
                publics.append(public)
    entries = entries_from(certificates, keys)
    entries += [CertificateEntry(certificate=None, public_key=public) for public in publics]
    if not entries:
        raise StoreError("the XML store holds neither an X509Certificate nor an RSAKeyValue")
    return entries


def _local(tag: object) -> str:
    return tag.rsplit("}", 1)[-1] if isinstance(tag, str) else ""


_XML_MEMBERS: Final[dict[str, str]] = {"P": "p", "Q": "q", "DP": "dp", "DQ": "dq", "InverseQ": "qi"}


def _xml_rsa(element: ElementTree.Element) -> tuple[PublicKeyTypes, PrivateKeyTypes | None]:
    numbers: dict[str, int] = {}
    for child in element:
        data = decode_base64((child.text or "").strip().encode("utf-8"))
        if data is None or len(data) > _MAX_RSA_BYTES:
            raise StoreError(f"the member {_local(child.tag)} of the XML key is malformed")
        numbers[_local(child.tag)] = int.from_bytes(data, "big")
    if "Modulus" not in numbers or "Exponent" not in numbers:
        raise StoreError("the XML key lacks its Modulus or Exponent")
    rest = {label: numbers[name] for name, label in _XML_MEMBERS.items() if name in numbers}
    try:
        return _rsa(numbers["Modulus"], numbers["Exponent"], numbers.get("D"), rest)
    except ValueError as error:
        raise StoreError("the XML key's numbers do not form an RSA key") from error

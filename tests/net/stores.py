"""Certificate stores in every format, made while the tests run."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs7,
    pkcs12,
)

from amqp10.net.certstores.stores import StoreType
from tests.net.pki import Identity, issue, root_ca, rsa_key

PASSWORD = "Sesame-öffne-dich"
AnyKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey


@cache
def middle() -> Identity:
    return issue("Store CA", root_ca(), ca=True)


@cache
def ec_identity() -> Identity:
    return issue("store client", middle(), hosts=(), usage=None)


@cache
def rsa_identity() -> Identity:
    return issue("rsa client", middle(), hosts=(), usage=None, key=rsa_key(1024, "store"))


def encryption(password: str) -> KeySerializationEncryption:
    return BestAvailableEncryption(password.encode()) if password else NoEncryption()


def pfx(identity: Identity, password: str = "") -> bytes:
    return pkcs12.serialize_key_and_certificates(
        b"my alias", identity.key, identity.certificate, identity.above, encryption(password)
    )


def pem(identity: Identity, password: str = "", form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    key = identity.key.private_bytes(Encoding.PEM, form, encryption(password))
    return identity.pem + key + b"".join(item.public_bytes(Encoding.PEM) for item in identity.above)


def p7b(identity: Identity, encoding: Encoding = Encoding.DER) -> bytes:
    return pkcs7.serialize_certificates([identity.certificate, *identity.above], encoding)


def ssh_public(identity: Identity) -> bytes:
    return identity.key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b" me@example"


def rfc4716(identity: Identity) -> bytes:
    blob = ssh_public(identity).split()[1].decode()
    lines = [blob[i : i + 70] for i in range(0, len(blob), 70)]
    head = ["---- BEGIN SSH2 PUBLIC KEY ----", 'Comment: "a \\', 'comment"']
    return "\n".join([*head, *lines, "---- END SSH2 PUBLIC KEY ----", ""]).encode()


# --- JWK, XML ---


def _b64u(number: int, size: int | None = None) -> str:
    data = number.to_bytes(size or (number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk(identity: Identity, *, private: bool = True, chain: bool = True, crt: bool = True) -> bytes:
    members: dict[str, object] = {"kid": "key 1"}
    key = identity.key
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.private_numbers()
        members |= {"kty": "RSA", "n": _b64u(numbers.public_numbers.n), "e": _b64u(numbers.public_numbers.e)}
        if private:
            members["d"] = _b64u(numbers.d)
        if private and crt:
            members |= {"p": _b64u(numbers.p), "q": _b64u(numbers.q), "dp": _b64u(numbers.dmp1)}
            members |= {"dq": _b64u(numbers.dmq1), "qi": _b64u(numbers.iqmp)}
    else:
        point = key.public_key().public_numbers()
        members |= {"kty": "EC", "crv": "P-256", "x": _b64u(point.x, 32), "y": _b64u(point.y, 32)}
        if private:
            members["d"] = _b64u(key.private_numbers().private_value, 32)
    if chain:
        members["x5c"] = [
            base64.b64encode(item.public_bytes(Encoding.DER)).decode()
            for item in (identity.certificate, *identity.above)
        ]
    return json.dumps(members).encode()


def xml(identity: Identity, *, private: bool = True, certificate: bool = True) -> bytes:
    parts = ['<?xml version="1.0"?>', '<KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#">']
    key = identity.key
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.private_numbers()
        members = {"Modulus": numbers.public_numbers.n, "Exponent": numbers.public_numbers.e}
        if private:
            members |= {"P": numbers.p, "Q": numbers.q, "DP": numbers.dmp1, "DQ": numbers.dmq1}
            members |= {"InverseQ": numbers.iqmp, "D": numbers.d}
        parts.append("<KeyValue><RSAKeyValue>")
        for name, value in members.items():
            data = base64.b64encode(value.to_bytes((value.bit_length() + 7) // 8, "big")).decode()
            parts.append(f"<{name}>\n{data}\n</{name}>")
        parts.append("</RSAKeyValue></KeyValue>")
    if certificate:
        data = base64.encodebytes(identity.certificate.public_bytes(Encoding.DER)).decode()
        parts.append(f"<X509Data><X509Certificate>{data}</X509Certificate></X509Data>")
    return "".join([*parts, "</KeyInfo>"]).encode()


# --- PPK ---


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _mpint(number: int) -> bytes:
    return _string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def ppk(key: AnyKey, password: str = "", version: int = 3) -> bytes:
    """As PuTTY's documentation of the format has it, written independently of the reader."""
    public_text = (
        key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        if not isinstance(key, ed448.Ed448PrivateKey)
        else b""
    )
    if isinstance(key, ed448.Ed448PrivateKey):
        kind = b"ssh-ed448"
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        public = _string(kind) + _string(raw)
    else:
        kind, blob = public_text.split()[:2]
        public = base64.b64decode(blob)
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.private_numbers()
        private = b"".join(_mpint(value) for value in (numbers.d, numbers.p, numbers.q, numbers.iqmp))
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        private = _mpint(key.private_numbers().private_value)
    else:
        private = _string(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
    encryption_name = b"aes256-cbc" if password else b"none"
    extra = ""
    secret = password.encode()
    if version == 2:
        mac_key = hashlib.sha1(b"putty-private-key-file-mac-key" + secret).digest()
        digests = [hashlib.sha1(bytes((0, 0, 0, i)) + secret).digest() for i in (0, 1)]
        cipher_key, vector = b"".join(digests)[:32], bytes(16)
    elif password:
        salt = b"0123456789abcdef"
        derived = Argon2id(salt=salt, length=80, iterations=2, lanes=1, memory_cost=64).derive(secret)
        cipher_key, vector, mac_key = derived[:32], derived[32:48], derived[48:]
        extra = (
            "Key-Derivation: Argon2id\nArgon2-Memory: 64\nArgon2-Passes: 2\nArgon2-Parallelism: 1\n"
            f"Argon2-Salt: {salt.hex()}\n"
        )
    else:
        cipher_key, vector, mac_key = b"", b"", b""
    if password:
        private += hashlib.sha1(private).digest()[: -len(private) % 16]
    comment = "rsa-key-öffentlich".encode()
    signed = b"".join(_string(part) for part in (kind, encryption_name, comment, public, private))
    mac = hmac.new(mac_key, signed, "sha256" if version == 3 else "sha1").hexdigest()
    if password:
        encryptor = Cipher(algorithms.AES256(cipher_key), modes.CBC(vector)).encryptor()
        private = encryptor.update(private) + encryptor.finalize()

    def block(label: str, data: bytes) -> str:
        text = base64.b64encode(data).decode()
        lines = [text[i : i + 64] for i in range(0, len(text), 64)]
        return f"{label}-Lines: {len(lines)}\n" + "".join(line + "\n" for line in lines)

    return (
        f"PuTTY-User-Key-File-{version}: {kind.decode()}\nEncryption: {encryption_name.decode()}\n"
        f"Comment: {comment.decode()}\n{block('Public', public)}{extra}{block('Private', private)}Private-MAC: {mac}\n"
    ).encode()


# --- JKS ---


def _utf(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def jks(
    identity: Identity,
    password: str = PASSWORD,
    *,
    key_password: str | None = None,
    trusted: x509.Certificate | None = None,
) -> bytes:
    """As Sun's ``JavaKeyStore`` writes it, written independently of the reader."""
    secret = (password if key_password is None else key_password).encode("utf-16-be")
    plain = identity.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    salt = block = b"s" * 20
    stream = b""
    while len(stream) < len(plain):
        block = hashlib.sha1(secret + block).digest()
        stream += block
    body = bytes(a ^ b for a, b in zip(plain, stream, strict=False))
    octets = salt + body + hashlib.sha1(secret + plain).digest()
    algorithm = _der(0x30, bytes.fromhex("060a2b060104012a02110101") + b"\x05\x00")
    protected = _der(0x30, algorithm + _der(0x04, octets))

    def certificate(item: x509.Certificate) -> bytes:
        data = item.public_bytes(Encoding.DER)
        return _utf("X.509") + len(data).to_bytes(4, "big") + data

    chain = (identity.certificate, *identity.above)
    entries = [
        b"\0\0\0\1"
        + _utf("mykey")
        + bytes(8)
        + len(protected).to_bytes(4, "big")
        + protected
        + len(chain).to_bytes(4, "big")
        + b"".join(certificate(item) for item in chain)
    ]
    if trusted is not None:
        entries.append(b"\0\0\0\2" + _utf("ca") + bytes(8) + certificate(trusted))
    data = b"\xfe\xed\xfe\xed\0\0\0\2" + len(entries).to_bytes(4, "big") + b"".join(entries)
    return data + hashlib.sha1(password.encode("utf-16-be") + b"Mighty Aphrodite" + data).digest()


# --- all of them ---


@dataclass(frozen=True)
class Sample:
    """A store.

    Attributes:
        data: its content.
        file, blob: its types.
        identity: whose it is.
        password: its password, empty if it has none.
        certificate, key: whether it holds them.
    """

    data: bytes
    file: StoreType
    blob: StoreType
    identity: Identity
    password: str = ""
    certificate: bool = True
    key: bool = True


@cache
def samples() -> dict[str, Sample]:
    e, r = ec_identity(), rsa_identity()
    pfx_types = (StoreType.PFX_FILE, StoreType.PFX_BLOB)
    pem_types = (StoreType.PEM_KEY_FILE, StoreType.PEM_KEY_BLOB)
    public_types = (StoreType.PUBLIC_KEY_FILE, StoreType.PUBLIC_KEY_BLOB)
    p7_types = (StoreType.P7B_FILE, StoreType.P7B_BLOB)
    ssh_types = (StoreType.SSH_PUBLIC_KEY_FILE, StoreType.SSH_PUBLIC_KEY_BLOB)
    ppk_types = (StoreType.PPK_FILE, StoreType.PPK_BLOB)
    xml_types = (StoreType.XML_FILE, StoreType.XML_BLOB)
    jwk_types = (StoreType.JWK_FILE, StoreType.JWK_BLOB)
    jks_types = (StoreType.JKS_FILE, StoreType.JKS_BLOB)
    traditional = PrivateFormat.TraditionalOpenSSL
    found = {
        "pfx": Sample(pfx(e, PASSWORD), *pfx_types, e, PASSWORD),
        "pfx rsa": Sample(pfx(r, PASSWORD), *pfx_types, r, PASSWORD),
        "pfx without password": Sample(pfx(e), *pfx_types, e),
        "pfx as jks": Sample(pfx(e, PASSWORD), *jks_types, e, PASSWORD),
        "jks": Sample(jks(e), *jks_types, e, PASSWORD),
        "jks rsa": Sample(jks(r, trusted=root_ca().certificate), *jks_types, r, PASSWORD),
        "pem": Sample(pem(e), *pem_types, e),
        "pem encrypted": Sample(pem(e, PASSWORD), *pem_types, e, PASSWORD),
        "pem traditional": Sample(pem(r, form=traditional), *pem_types, r),
        "pem traditional encrypted": Sample(pem(r, PASSWORD, traditional), *pem_types, r, PASSWORD),
        "pem openssh": Sample(pem(e, form=PrivateFormat.OpenSSH), *pem_types, e),
        "pem key only": Sample(
            e.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption(PASSWORD)),
            *pem_types,
            e,
            PASSWORD,
            certificate=False,
        ),
        "certificate pem": Sample(e.pem, *public_types, e, key=False),
        "certificate der": Sample(e.certificate.public_bytes(Encoding.DER), *public_types, e, key=False),
        "p7b": Sample(p7b(e), *p7_types, e, key=False),
        "p7b pem": Sample(p7b(e, Encoding.PEM), *p7_types, e, key=False),
        "ssh": Sample(ssh_public(e), *ssh_types, e, certificate=False, key=False),
        "ssh rsa": Sample(ssh_public(r), *ssh_types, r, certificate=False, key=False),
        "ssh rfc 4716": Sample(rfc4716(r), *ssh_types, r, certificate=False, key=False),
        "xml": Sample(xml(r), *xml_types, r),
        "xml public": Sample(xml(r, private=False, certificate=False), *xml_types, r, certificate=False, key=False),
        "xml certificate": Sample(xml(e), *xml_types, e, key=False),
        "jwk": Sample(jwk(e), *jwk_types, e),
        "jwk rsa": Sample(jwk(r), *jwk_types, r),
        "jwk rsa without factors": Sample(jwk(r, crt=False), *jwk_types, r),
        "jwk key only": Sample(jwk(e, chain=False), *jwk_types, e, certificate=False),
        "jwk public": Sample(jwk(r, private=False, chain=False), *jwk_types, r, certificate=False, key=False),
    }
    for version in (2, 3):
        for identity, kind in ((e, ""), (r, " rsa")):
            for password in ("", PASSWORD):
                label = f"ppk {version}{kind}{' encrypted' if password else ''}"
                found[label] = Sample(
                    ppk(identity.key, password, version), *ppk_types, identity, password, certificate=False
                )
    return found


def public_der(key: PublicKeyTypes | None) -> bytes:
    assert key is not None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

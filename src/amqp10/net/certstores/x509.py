"""Stores that hold certificates: PKCS#12, PEM, single certificates, PKCS#7."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12

from amqp10.net.certstores.base import (
    CertificateEntry,
    StoreError,
    entries_from,
    parse_certificates,
    pem_blocks,
    sequence_state,
)
from amqp10.net.x509names import MALFORMED

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

__all__ = ["is_pkcs12", "load_der_key", "load_pem", "load_pfx", "load_pkcs7", "load_public"]

# The OID of PKCS#7 "data", with which the content of every PKCS#12 file begins, and of "signed data".
_PKCS7_DATA = bytes.fromhex("06092a864886f70d010701")
_PKCS7_SIGNED = bytes.fromhex("06092a864886f70d010702")


def is_pkcs12(data: bytes) -> bool:
    """Whether DER data has the shape of a PKCS#12 file: version 3, then PKCS#7 content."""
    head = data[:64]
    return data[:1] == b"\x30" and b"\x02\x01\x03\x30" in head and (_PKCS7_DATA in head or _PKCS7_SIGNED in head)


def is_pkcs7(data: bytes) -> bool:
    """Whether DER data has the shape of PKCS#7 signed data."""
    return data[:1] == b"\x30" and data.find(_PKCS7_SIGNED, 0, 20) > 0


def load_pfx(data: bytes, password: str) -> list[CertificateEntry]:
    """PKCS#12 (RFC 7292)."""
    state = sequence_state(data)
    if state == "truncated":
        raise StoreError("the PFX store is truncated")
    if not is_pkcs12(data):
        raise StoreError("the data is not a PFX (PKCS#12) store")
    try:
        store = pkcs12.load_pkcs12(data, password.encode("utf-8") if password else None)
    except UnsupportedAlgorithm as error:
        raise StoreError(
            "the PFX store is encrypted with an algorithm that is not supported here; export it anew with AES-256"
        ) from error
    except ValueError as error:
        # A failed integrity check can mean a wrong password or damaged data; anything else is damage.
        if "password" in str(error).lower():
            given = "the password is wrong" if password else "a password is needed"
            raise StoreError(f"{given} for the PFX store (or the store is damaged)") from error
        raise StoreError("the PFX store is damaged") from error
    except x509.InvalidVersion as error:
        raise StoreError("a certificate in the PFX store is malformed") from error
    except TypeError as error:
        raise StoreError("the PFX store holds a key of an unknown type") from error
    certificates: list[x509.Certificate] = []
    label = ""
    if store.cert is not None:
        certificates.append(store.cert.certificate)
        label = (store.cert.friendly_name or b"").decode("utf-8", "replace")
    certificates += [item.certificate for item in store.additional_certs]
    keys: list[PrivateKeyTypes] = [store.key] if store.key is not None else []
    if not certificates and not keys:
        raise StoreError("the PFX store is empty")
    return entries_from(certificates, keys, label)


def load_pem(data: bytes, password: str) -> list[CertificateEntry]:
    """PEM: private keys in any usual form, encrypted or not, and certificates, in any order."""
    try:
        blocks = pem_blocks(data)
    except ValueError as error:
        raise StoreError(f"the PEM store cannot be read: {error}") from error
    if not blocks:
        if sequence_state(data) == "whole":
            return [*entries_from([], [load_der_key(data, password)])]
        raise StoreError("the data has no PEM blocks")
    certificates: list[x509.Certificate] = []
    keys: list[PrivateKeyTypes] = []
    for label, block in blocks:
        if label.endswith("CERTIFICATE"):
            try:
                certificates += parse_certificates(block)
            except ValueError as error:
                raise StoreError(f"a certificate in the PEM store cannot be read: {error}") from error
        elif label.endswith("PRIVATE KEY"):
            keys.append(_pem_key(label, block, password))
    if not certificates and not keys:
        raise StoreError("the PEM store holds neither a certificate nor a private key")
    return entries_from(certificates, keys)


def _pem_key(label: str, block: bytes, password: str) -> PrivateKeyTypes:
    load = serialization.load_ssh_private_key if label == "OPENSSH PRIVATE KEY" else serialization.load_pem_private_key
    secret = password.encode("utf-8")
    try:
        try:
            return load(block, secret or None)
        except TypeError as error:
            # The store's password is not for a key that has none.
            if not secret or "not encrypted" not in str(error):
                raise
            return load(block, None)
    except (ValueError, TypeError, UnsupportedAlgorithm, NotImplementedError) as error:
        raise _key_error(error, password, "PEM store", encrypted=b"ENCRYPTED" in block) from error


def load_der_key(data: bytes, password: str) -> PrivateKeyTypes:
    """A private key in DER: PKCS#8, encrypted or not, or a traditional form."""
    secret = password.encode("utf-8")
    try:
        try:
            return serialization.load_der_private_key(data, secret or None)
        except TypeError as error:
            if not secret or "not encrypted" not in str(error):
                raise
            return serialization.load_der_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm, NotImplementedError) as error:
        raise _key_error(error, password, "key store", encrypted=_PBE in data[:64]) from error


_PBE: Final = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05"
"""How the object identifiers of password-based encryption begin (RFC 8018)."""


def _key_error(error: Exception, password: str, what: str, *, encrypted: bool) -> StoreError:
    text = str(error).lower()
    if "password was not given" in text or "is encrypted" in text or "password-protected" in text:
        return StoreError(f"a password is needed for the private key in the {what}")
    if "password" in text or "decrypt" in text or "corrupt data: broken checksum" in text:
        if password:
            return StoreError(f"the password is wrong for the private key in the {what}")
        return StoreError(f"a password is needed for the private key in the {what}")
    if "bcrypt" in text:
        return StoreError(f"the private key in the {what} needs the package bcrypt to be decrypted")
    if isinstance(error, UnsupportedAlgorithm | NotImplementedError):
        return StoreError(f"the private key in the {what} is of a kind that is not supported here")
    if encrypted and password:
        # One wrong password in 256 gives something that looks decrypted.
        return StoreError(f"the password is wrong for the private key in the {what} (or the key is damaged)")
    return StoreError(f"the private key in the {what} is damaged")


def load_public(data: bytes, password: str) -> list[CertificateEntry]:
    """Public key certificates in PEM or DER. There is no key and nothing to decrypt."""
    del password
    try:
        return entries_from(parse_certificates(data), [])
    except ValueError as error:
        raise StoreError(f"the public key certificate cannot be read: {error}") from error


def load_pkcs7(data: bytes, password: str) -> list[CertificateEntry]:
    """Certificates in PKCS#7 signed data (RFC 2315), PEM or DER."""
    del password
    pem = b"-----BEGIN" in data
    try:
        if pem:
            pem_blocks(data)
    except ValueError as error:
        raise StoreError(f"the PKCS#7 store cannot be read: {error}") from error
    if not pem:
        if sequence_state(data) == "truncated":
            raise StoreError("the PKCS#7 store is truncated")
        if not is_pkcs7(data):
            raise StoreError("the data is not a PKCS#7 store")
    try:
        with warnings.catch_warnings():
            # Windows writes BER at times, which the library reads, with a remark that helps nobody here.
            warnings.simplefilter("ignore", UserWarning)
            certificates = pkcs7.load_pem_pkcs7_certificates(data) if pem else pkcs7.load_der_pkcs7_certificates(data)
    except (*MALFORMED, UnsupportedAlgorithm) as error:
        raise StoreError("the PKCS#7 store is damaged, or holds something else than certificates") from error
    if not certificates:
        raise StoreError("the PKCS#7 store is empty")
    return entries_from(certificates, [])

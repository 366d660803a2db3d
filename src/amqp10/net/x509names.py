"""Distinguished names as text: ``CN=broker.example, O="Example, Inc.", C=US``, most specific field first."""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

__all__ = ["MALFORMED", "check_readable", "name_text", "short_name", "subject_text"]

# What cryptography raises for certificates that break the rules, when they are loaded or when a part is read.
MALFORMED: Final = (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)

_LABELS: Final[dict[x509.ObjectIdentifier, str]] = {
    NameOID.COMMON_NAME: "CN",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.LOCALITY_NAME: "L",
    NameOID.STATE_OR_PROVINCE_NAME: "S",
    NameOID.COUNTRY_NAME: "C",
    NameOID.EMAIL_ADDRESS: "E",
    NameOID.STREET_ADDRESS: "STREET",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.USER_ID: "UID",
    NameOID.SERIAL_NUMBER: "SERIALNUMBER",
    NameOID.TITLE: "T",
    NameOID.GIVEN_NAME: "G",
    NameOID.SURNAME: "SN",
}
# Servers can send names of a hundred kilobytes.
_MAX_SHORT: Final = 200
# With control characters a certificate could forge lines of a log.
_CONTROLS: Final = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029), "\N{REPLACEMENT CHARACTER}")


def _quote(value: str) -> str:
    if value and not any(char in value for char in ',+="\\<>;') and value == value.strip():
        return value
    return '"' + value.replace('"', '""') + '"'


def name_text(name: x509.Name) -> str:
    """A distinguished name as text. A value with a comma (or another separator) is quoted."""
    fields: list[str] = []
    # Certificates list the most general field first; people look for the common name.
    for attribute in reversed(list(name)):
        label = _LABELS.get(attribute.oid) or attribute.oid.dotted_string
        value = attribute.value if isinstance(attribute.value, str) else attribute.value.hex()
        fields.append(f"{label}={_quote(value.translate(_CONTROLS))}")
    return ", ".join(fields)


def subject_text(certificate: x509.Certificate) -> str:
    """The subject of a certificate."""
    return name_text(certificate.subject)


def short_name(certificate: x509.Certificate) -> str:
    """A certificate in a sentence: its subject (the beginning of a long one), or its serial number without one."""
    text = name_text(certificate.subject) or f"serial number {certificate.serial_number:x}"
    return text if len(text) <= _MAX_SHORT else text[:_MAX_SHORT] + "..."


def check_readable(certificate: x509.Certificate) -> x509.Certificate:
    """The certificate itself, after a check that its basic fields, which are parsed lazily, are well-formed.

    Raises:
        ValueError: if one is not.
    """
    try:
        fields = (
            certificate.subject,
            certificate.issuer,
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
            certificate.version,
        )
    except MALFORMED as error:
        raise ValueError(f"the certificate is malformed: {error}") from error
    del fields
    return certificate

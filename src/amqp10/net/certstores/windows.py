"""The certificate stores of Windows."""

from __future__ import annotations

import sys

from cryptography import x509

from amqp10.net.x509names import MALFORMED

__all__ = ["system_certificates"]


def system_certificates() -> list[x509.Certificate]:
    """The trusted certificates of the stores of Windows; empty on other systems, where they are files."""
    found: list[x509.Certificate] = []
    if sys.platform == "win32":
        import ssl

        for name in ("ROOT", "CA"):
            for data, encoding, trust in ssl.enum_certificates(name):
                if encoding == "x509_asn" and (trust is True or "1.3.6.1.5.5.7.3.1" in trust):
                    try:
                        found.append(x509.load_der_x509_certificate(data))
                    except MALFORMED:
                        continue  # a certificate that cannot be parsed cannot be trusted either
    return found

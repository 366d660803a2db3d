"""The user of a client with a certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amqp10.net.tls.stdlib import StdlibSession

__all__ = ["certificate_identity"]


def certificate_identity(session: StdlibSession, wanted: str) -> str | None:
    """For SASL EXTERNAL: the common name of the client's certificate, or None if the client asks to be somebody else.

    Args:
        session: the TLS session, which has verified the certificate.
        wanted: the user that the client asks to be; empty for that of its certificate.
    """
    for part in session.peer_certificate.get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value) if wanted in ("", value) else None
    return None

"""Who a client is by its certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amqp10.net.tls.stdlib import StdlibSession

__all__ = ["certificate_identity"]


def certificate_identity(session: StdlibSession, wanted: str) -> str | None:
    """For SASL EXTERNAL: who a client is, by the common name. None when it wants to be somebody else.

    Args:
        session: the client's, which has verified its certificate.
        wanted: who the client wants to be; empty for who it is.
    """
    for part in session.peer_certificate.get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value) if wanted in ("", value) else None
    return None

"""Who a client is by its certificate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["certificate_identity"]


def certificate_identity(certificate: Callable[[], Mapping[str, Any]]) -> Callable[[str], str | None]:
    """For SASL EXTERNAL: who the client is, or None when it wants to be somebody else.

    Args:
        certificate: gives the client's verified certificate, as ``ssl.SSLSocket.getpeercert`` does.
    """

    def identity(wanted: str) -> str | None:
        for part in certificate().get("subject", ()):
            for name, value in part:
                if name == "commonName":
                    return str(value) if wanted in ("", value) else None
        return None

    return identity

"""Brings in what TLS with pyOpenSSL needs, which most programs do not."""

from __future__ import annotations

import importlib
from types import ModuleType

from amqp10.errors import AMQPError

__all__ = ["load_tls"]


def load_tls() -> ModuleType:
    """Import and return ``amqp10.net.tls.session``.

    Raises:
        AMQPError: 270 if pyOpenSSL, cryptography or service-identity is missing or does not load.
    """
    try:
        return importlib.import_module("amqp10.net.tls.session")
    except (ImportError, OSError) as error:
        raise AMQPError(
            270,
            f"TLS needs the packages pyOpenSSL, cryptography and service-identity, and they do not load: {error}",
        ) from error

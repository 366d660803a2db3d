"""Imports the modules for TLS with pyOpenSSL, which most programs do not need."""

from __future__ import annotations

import importlib
from types import ModuleType

from amqp10.errors import AMQPError

__all__ = ["load_stores", "load_tls"]


def load_tls() -> ModuleType:
    """Import and return ``amqp10.net.tls.session``.

    Raises:
        AMQPError: 270 if pyOpenSSL, cryptography or service-identity is missing or does not load.
    """
    return _load("amqp10.net.tls.session", "TLS needs the packages pyOpenSSL, cryptography and service-identity")


def load_stores() -> ModuleType:
    """Import and return ``amqp10.net.certstores.stores``.

    Raises:
        AMQPError: 270 if cryptography is missing or does not load.
    """
    return _load("amqp10.net.certstores.stores", "certificate stores need the package cryptography")


def _load(name: str, needs: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise AMQPError(
            270, f'{needs}, and it does not load: {error}. To install what is missing: pip install "amqp10[tls]"'
        ) from error

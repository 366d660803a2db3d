"""What several of the interop tests need."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from amqp10 import AMQP

__all__ = ["PATIENCE", "work"]

PATIENCE: Final = 120.0
"""How long something may take before a test gives up, in seconds."""


def work(amqp: AMQP, done: Callable[[], bool], what: str) -> None:
    """Work the connection until something has happened."""
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, f"never happened: {what}"
        amqp.do_events()

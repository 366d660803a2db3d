"""What the shared test bodies need of threads. ``helpers_aio.py`` has the same names for asyncio."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from amqp10.blocking import connect

__all__ = ["connect", "fetch", "outcome", "pause", "together", "until"]

BLOCKING = True


def outcome(delivery: Any) -> Any:
    """Wait for what became of a delivery."""
    return delivery.result(10)


def together(*works: Callable[[], Any]) -> list[Any]:
    """Run functions side by side; their results, in order."""
    with ThreadPoolExecutor(max_workers=len(works)) as pool:
        return [future.result(30) for future in [pool.submit(work) for work in works]]


def until(condition: Callable[[], bool]) -> None:
    """Until something has become true."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.002)


def pause() -> None:
    """Let others run."""
    time.sleep(0.01)


def fetch(receiver: Any, count: int) -> list[Any]:
    """So many messages."""
    return [receiver.receive(timeout=10) for _ in range(count)]

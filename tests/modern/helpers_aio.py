"""What the shared test bodies need of asyncio. ``helpers_blocking.py`` has the same names for threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from amqp10.aio import connect

__all__ = ["connect", "fetch", "outcome", "pause", "together", "until"]

BLOCKING = False


async def outcome(delivery: Any) -> Any:
    """Wait for what became of a delivery."""
    return await delivery


async def together(*works: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Run functions side by side; their results, in order."""
    return list(await asyncio.gather(*(work() for work in works)))


async def until(condition: Callable[[], bool]) -> None:
    """Until something has become true."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


async def pause() -> None:
    """Let others run."""
    await asyncio.sleep(0.01)


async def fetch(receiver: Any, count: int) -> list[Any]:
    """So many messages."""
    return [await receiver.receive(timeout=10) for _ in range(count)]

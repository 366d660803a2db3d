"""The modern API on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from amqp10.broker import Broker
from tests.modern import bodies

NAMES = [name for name in vars(bodies) if name.startswith("body_")]


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.removeprefix("body_"))
def test_body(name: str, broker: Broker) -> None:
    body: Any = getattr(bodies, name)
    complaints: list[Any] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: complaints.append(context))
        await asyncio.wait_for(body(broker), 60)

    asyncio.run(main(), debug=True)
    assert not complaints

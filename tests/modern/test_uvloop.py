"""The modern API on uvloop, an event loop that is not asyncio's own: its transports differ."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from typing import Any

import pytest

from amqp10.broker import Broker
from tests.modern import bodies
from tests.modern.test_aio import NAMES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed"),
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.removeprefix("body_"))
def test_body(name: str) -> None:
    uvloop: Any = importlib.import_module("uvloop")
    body: Any = getattr(bodies, name)
    complaints: list[Any] = []

    async def main(broker: Broker) -> None:
        loop = asyncio.get_running_loop()
        assert type(loop).__module__.startswith("uvloop")
        loop.set_exception_handler(lambda loop, context: complaints.append(context))
        await asyncio.wait_for(body(broker), 60)

    with Broker() as broker, asyncio.Runner(loop_factory=uvloop.new_event_loop, debug=True) as runner:
        runner.run(main(broker))
    assert not complaints

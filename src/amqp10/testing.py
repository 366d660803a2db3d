"""A pytest plugin for programs that use AMQP: a broker on a free port for each test that asks for one.

It is active as soon as the package is installed::

    def test_orders_are_sent(amqp10_broker):
        with AMQP() as amqp:
            amqp.connect_to(amqp10_broker.host, amqp10_broker.port)
            ...
        assert amqp10_broker.queue_length("orders") == 1
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from amqp10.broker import Broker

__all__ = ["amqp10_broker"]


@pytest.fixture
def amqp10_broker() -> Iterator[Broker]:
    """A running in-memory broker that lets everybody in; it is gone, with its messages, when the test ends."""
    from amqp10.broker import Broker

    with Broker() as broker:
        yield broker

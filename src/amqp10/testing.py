"""A pytest plugin for programs that use AMQP: a broker on a free port for each test that asks for one.

It is active as soon as the package is installed::

    def test_orders_are_sent(amqp10_broker):
        with AMQP() as amqp:
            amqp.connect_to(amqp10_broker.host, amqp10_broker.port)
            ...
        assert amqp10_broker.queue_length("orders") == 1
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from amqp10.aio import Connection as AioConnection
    from amqp10.aio.opening import Opening
    from amqp10.blocking import Connection
    from amqp10.broker import Broker

__all__ = ["amqp10_aio_connect", "amqp10_broker", "amqp10_connection", "amqp10_make_broker"]


@pytest.fixture
def amqp10_broker() -> Iterator[Broker]:
    """A running in-memory broker without users, to which anybody can connect. It stops when the test ends."""
    from amqp10.broker import Broker

    with Broker() as broker:
        yield broker


@pytest.fixture
def amqp10_make_broker() -> Iterator[Callable[..., Broker]]:
    """Starts brokers with options: ``amqp10_make_broker(max_queue_length=1)``. They stop when the test ends."""
    from amqp10.broker import Broker

    with ExitStack() as running:

        def make(**options: Any) -> Broker:
            return running.enter_context(Broker(**options))

        yield make


@pytest.fixture
def amqp10_connection(amqp10_broker: Broker) -> Iterator[Connection]:
    """A connection to ``amqp10_broker``, closed when the test ends."""
    from amqp10.blocking import connect

    with connect(amqp10_broker.url, timeout=10) as connection:
        yield connection


@pytest.fixture
def amqp10_aio_connect(amqp10_broker: Broker) -> Callable[..., Opening[AioConnection]]:
    """Connects to ``amqp10_broker`` from asyncio: ``async with amqp10_aio_connect() as connection``.

    It takes the options of ``amqp10.aio.connect``, and works however your tests run coroutines.
    """
    from amqp10.aio import connect

    def open_connection(**options: Any) -> Opening[AioConnection]:
        return connect(amqp10_broker.url, **{"timeout": 10, **options})

    return open_connection

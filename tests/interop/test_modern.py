"""The modern API against RabbitMQ: the first program of the README, refusals, and streams."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import amqp10
from amqp10 import (
    AuthenticationError,
    LinkRefusedError,
    Message,
    Stream,
)
from amqp10.codec import Described, Symbol
from tests.interop.conftest import prepared
from tests.interop.peers import RabbitMQ

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitMQ]:
    with prepared():
        peer = RabbitMQ()
    with peer:
        yield peer


def url(broker: RabbitMQ) -> str:
    return f"amqp://{broker.user}:{broker.password}@{broker.host}:{broker.port}"


def test_the_five_lines_with_the_blocking_api(broker: RabbitMQ) -> None:
    address = broker.declare_queue("modern-blocking")
    with amqp10.connect(url(broker)) as connection:
        sent = Message({"total": 12}, subject="new", properties={"traceparent": "00-1"})
        assert isinstance(connection.send(address, sent), amqp10.Accepted)
        for message in connection.receiver(address):
            assert message.body == {"total": 12}
            assert message.properties["traceparent"] == "00-1"
            assert message.accept()
            break


def test_the_five_lines_with_asyncio(broker: RabbitMQ) -> None:
    address = broker.declare_queue("modern-aio")

    async def main() -> None:
        async with amqp10.aio.connect(url(broker)) as connection:
            await connection.send(address, "hello")
            async with connection.receiver(address, prefetch=200) as receiver:
                async for message in receiver:
                    assert message.body == "hello"
                    message.accept()
                    break

    asyncio.run(main(), debug=True)


def test_a_missing_queue_is_told_and_costs_the_other_links_nothing(broker: RabbitMQ) -> None:
    address = broker.declare_queue("modern-there")
    with amqp10.connect(url(broker)) as connection:
        sender = connection.sender(address)
        with pytest.raises(LinkRefusedError) as refused:
            connection.sender("/queues/modern-missing")
        assert refused.value.condition == "amqp:not-found"
        with pytest.raises(LinkRefusedError):
            connection.receiver("/queues/modern-missing")
        assert isinstance(sender.send("x"), amqp10.Accepted)
        assert isinstance(connection.send("/exchanges/amq.direct/nowhere", "x"), amqp10.Released)


def test_a_wrong_password_is_told(broker: RabbitMQ) -> None:
    with pytest.raises(AuthenticationError):
        amqp10.connect(f"amqp://{broker.user}:wrong@{broker.host}:{broker.port}", timeout=20)


def test_a_stream_is_read_from_an_offset(broker: RabbitMQ) -> None:
    address = broker.declare_queue("modern-stream", type="stream")
    with amqp10.connect(url(broker)) as connection:
        connection.sender(address).send_many(range(100))
        with connection.receiver(address, stream=Stream("first"), prefetch=30) as receiver:
            got = []
            for message in receiver:
                got.append(message.body)
                message.accept()
                if len(got) == 100:
                    break
            assert got == list(range(100))
        with connection.receiver(address, stream=Stream(90)) as receiver:
            assert receiver.receive().body == 90
        described = {"rabbitmq:stream-offset-spec": Described(Symbol("rabbitmq:stream-offset-spec"), "last")}
        with connection.receiver(address, filters=described) as receiver:
            assert receiver.receive().body is not None

"""The modern API against RabbitMQ: the first program of the README, and a broker that is killed under both APIs."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import amqp10
from amqp10 import (
    AuthenticationError,
    ConnectionState,
    LinkRefusedError,
    Message,
    Reconnect,
    Stream,
)
from amqp10.codec import Described, Symbol
from tests.interop.conftest import prepared
from tests.interop.peers import RabbitMQ

pytestmark = pytest.mark.interop

COUNT = 3000
"""Messages through a queue whose broker is killed. A classic one: after a SIGKILL a quorum queue of this version may
take more than a minute until it accepts anything, from any client."""
QUICK = Reconnect(max_delay=0.5)


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitMQ]:
    with prepared():
        peer = RabbitMQ()
    with peer:
        yield peer


@pytest.fixture
def fragile() -> Iterator[RabbitMQ]:
    """A broker that may be killed: one without quorum queues, which take their time to come back."""
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


class Books:
    """What was produced, and what was accepted on which connection.

    A message may come twice for two reasons only: it was sent again, or its acceptance was lost with the connection.
    How many acceptances a broker loses when it is killed is its own affair (RabbitMQ writes them to the disk in
    batches), but then the message comes again on a later connection.
    """

    def __init__(self) -> None:
        self.states: list[Any] = []
        self.deliveries: list[Any] = []
        self.got: dict[int, list[tuple[int, int]]] = {}
        """Message -> for each time that it was accepted, the numbers of the connection before and after."""

    def connections(self) -> int:
        return [change.state for change in self.states].count(ConnectionState.OPEN)

    def accept(self, message: Any, before: int) -> None:
        if message.accept():
            self.got.setdefault(message.body, []).append((before, self.connections()))

    def judge(self) -> None:
        assert set(self.got) == set(range(COUNT))
        kinds = [change.state for change in self.states]
        assert ConnectionState.LOST in kinds
        assert kinds[-1] in (ConnectionState.CLOSED, ConnectionState.OPEN)
        resent = {n for n, delivery in enumerate(self.deliveries) if delivery.attempts > 1}
        assert len(resent) <= sum(change.resent for change in self.states)
        twice = {n: times for n, times in self.got.items() if len(times) > 1 and n not in resent}
        unexplained = {
            n: times
            for n, times in twice.items()
            if any(first[0] >= second[1] for first, second in itertools.pairwise(times))
        }
        assert unexplained == {}


def test_the_broker_is_killed_under_the_blocking_api_and_nothing_is_lost(fragile: RabbitMQ) -> None:
    address = fragile.declare_queue("modern-killed", type="classic")
    books = Books()
    with amqp10.connect(url(fragile), reconnect=QUICK, on_state=books.states.append, timeout=40) as connection:
        sender = connection.sender(address)
        receiver = connection.receiver(address)

        def produce() -> None:
            books.deliveries += [sender.submit(Message(n, durable=True)) for n in range(COUNT)]
            for delivery in books.deliveries:
                delivery.result(120)

        producer = threading.Thread(target=produce)
        producer.start()
        killer = threading.Thread(target=fragile.restart)
        while len(books.got) < COUNT:
            before = books.connections()
            books.accept(receiver.receive(timeout=40), before)
            if len(books.got) >= COUNT // 3 and killer.ident is None:
                killer.start()
        producer.join(60)
        killer.join(60)
        assert not producer.is_alive()
    books.judge()


def test_the_broker_is_killed_under_the_asyncio_api_and_nothing_is_lost(fragile: RabbitMQ) -> None:
    address = fragile.declare_queue("modern-killed-aio", type="classic")
    books = Books()

    async def main() -> None:
        connecting = amqp10.aio.connect(url(fragile), reconnect=QUICK, on_state=books.states.append, timeout=40)
        async with connecting as connection:
            sender = await connection.sender(address)
            receiver = await connection.receiver(address)

            async def produce() -> None:
                for n in range(COUNT):
                    books.deliveries.append(await sender.submit(Message(n, durable=True)))
                for delivery in books.deliveries:
                    await delivery

            producer = asyncio.create_task(produce())
            killer: asyncio.Future[None] | None = None
            while len(books.got) < COUNT:
                before = books.connections()
                books.accept(await receiver.receive(timeout=40), before)
                if len(books.got) >= COUNT // 3 and killer is None:
                    killer = asyncio.get_running_loop().run_in_executor(None, fragile.restart)
            await producer
            assert killer is not None
            await killer

    asyncio.run(main())
    books.judge()

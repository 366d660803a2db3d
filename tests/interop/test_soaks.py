"""Brokers that are stopped and killed, and connections that are cut, under programs without any recovery of their own.

Numbered messages go through a queue while it happens. None may be lost, and each that comes twice must have a reason.
The usual run is a short one; ``AMQP10_SOAK=100000:40`` is 100,000 messages and 40 restarts of the broker, half of them
after SIGTERM and half after SIGKILL.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import queue
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pytest

import amqp10
from amqp10 import ConnectionState, Message, Reconnect
from tests.interop.conftest import prepared
from tests.interop.peers import PASSWORD, USER, RabbitMQ, free_port
from tests.interop.peers.cutting import CuttingProxy
from tests.interop.peers.java import Artemis
from tests.interop.support import PATIENCE

MESSAGES, RESTARTS = map(int, os.environ.get("AMQP10_SOAK", "5000:2").split(":"))
PREFETCH: Final = 200
LAST: Final = -1
"""The message after all the others, which is sent when the trouble is over: nothing comes after it."""
QUICK: Final = Reconnect(max_delay=0.5)

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300 + 60 * RESTARTS)]


@dataclass
class Place:
    """Where the messages go, and what is done to it."""

    urls: list[str]
    address: str
    trouble: list[Callable[[], None]]
    capabilities: tuple[str, ...] = ()
    apart: bool = True
    """Whether the consumer has a session of its own. On a session that also publishes to the same quorum queue,
    RabbitMQ puts acceptances off without a bound, and loses them with the session (see docs/brokers.md)."""
    marks: bool = True
    """Whether the broker marks what it delivers again after its own restart."""


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitMQ]:
    """One that may be killed."""
    with prepared():
        peer = RabbitMQ()
    with peer:
        yield peer


@pytest.fixture(scope="module")
def artemis() -> Iterator[Artemis]:
    with prepared():
        peer = Artemis()
    with peer:
        yield peer


def url(port: int) -> str:
    return f"amqp://{USER}:{PASSWORD}@127.0.0.1:{port}"


def restarts(peer: RabbitMQ | Artemis, number: int) -> list[Callable[[], None]]:
    """Restarts after SIGTERM and SIGKILL by turns; the last one is after SIGKILL."""

    def restart(end: Callable[[], None]) -> None:
        end()
        peer.restart()

    ends = [peer.kill if turn % 2 else peer.terminate for turn in range(number % 2, number % 2 + number)]
    return [partial(restart, end) for end in ends]


@pytest.fixture(params=["quorum", "classic", "artemis", "cut", "one-of-two"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    kind: str = request.param
    name = f"soak-{request.node.name}"
    if kind == "artemis":
        peer: Artemis = request.getfixturevalue("artemis")
        yield Place([url(peer.port)], name, restarts(peer, RESTARTS), capabilities=("queue",), marks=False)
        return
    rabbitmq: RabbitMQ = request.getfixturevalue("rabbitmq")
    address = rabbitmq.declare_queue(name, type="classic" if kind == "classic" else "quorum")
    rabbitmq.write_tables()
    if kind == "cut":
        with CuttingProxy(rabbitmq) as proxy:
            yield Place([url(proxy.port)], address, [partial(proxy.cut, PATIENCE)] * (5 * RESTARTS))
    elif kind == "one-of-two":
        yield Place([url(free_port()), url(rabbitmq.port)], address, restarts(rabbitmq, (RESTARTS + 1) // 2))
    else:
        number = RESTARTS if kind == "quorum" else (RESTARTS + 1) // 2
        yield Place([url(rabbitmq.port)], address, restarts(rabbitmq, number), apart=False)
    assert rabbitmq.queue_length(name) == 0, "an acceptance was lost although nothing happened to the connection"
    rabbitmq.delete_queue(name)


class Soak:
    """The books of one run, and the thread that makes the trouble."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.changes: list[Any] = []
        self.deliveries: list[Any] = []
        self.got: dict[int, list[tuple[int, int, bool]]] = {}
        """Message -> for each time that it was accepted, the numbers of the connection before and after, and whether it
        was marked as delivered again."""
        # There is always enough left to come through a proxy after the last turn.
        share = MESSAGES * 9 // 10 // len(place.trouble)
        self._turns = {turn * share + random.randrange(1, share) for turn in range(len(place.trouble))}
        self._due: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def options(self) -> dict[str, Any]:
        return {"reconnect": QUICK, "on_state": self.changes.append, "timeout": PATIENCE}

    def connections(self) -> int:
        return [change.state for change in self.changes].count(ConnectionState.OPEN)

    def accept(self, message: Any, before: int) -> bool:
        """Accept a message; False when it is the last one."""
        if message.accept():
            self.got.setdefault(message.body, []).append((before, self.connections(), message.redelivered))
            if len(self.got) in self._turns:
                self._turns.remove(len(self.got))
                self._due.put(True)
        return bool(message.body != LAST)

    def make_trouble(self) -> None:
        for cause in self.place.trouble:
            if not self._due.get():
                return
            cause()

    def end(self) -> None:
        """No more trouble, whether the program has ended well or not."""
        self._due.put(False)

    def judge(self, seconds: float) -> None:
        """Nothing is lost, and a message came twice for one of two reasons only.

        It was sent again, and its first copy had been accepted: the client tells which ones it has sent again, and how
        many. Or its acceptance was lost, and the broker has delivered it again on a later connection. The consumer is
        not told how far an acceptance came, so these are no duplicates that the client could report. But most brokers
        mark them as delivered again, and they have a bound: acceptances go out before the credit that they give back,
        so a broker that takes both in order lacks at most one window of them.
        """
        del self.got[LAST]
        states = [change.state for change in self.changes]
        losses = states.count(ConnectionState.LOST)
        lost = set(range(MESSAGES)) - set(self.got)
        again = {n: delivery.attempts - 1 for n, delivery in enumerate(self.deliveries) if delivery.attempts > 1}
        reported = sum(change.resent for change in self.changes)
        duplicates = sum(map(len, self.got.values())) - len(self.got)
        # What was delivered more often than it was sent.
        surplus = {n: more for n, times in self.got.items() if (more := len(times) - 1 - again.get(n, 0)) > 0}
        print(
            f"{MESSAGES} messages, {len(self.place.trouble)} times trouble, {losses} losses of the connection, "
            f"{len(lost)} lost, {duplicates} duplicates, {sum(again.values())} sent again ({reported} reported), "
            f"{sum(surplus.values())} acceptances lost, {seconds:.0f} s"
        )
        assert not lost
        assert losses
        assert states[-1] is ConnectionState.CLOSED
        assert sum(again.values()) <= reported
        assert duplicates <= reported + sum(surplus.values())
        unexplained = {
            n: self.got[n]
            for n in surplus
            if any(first[0] >= second[1] for first, second in itertools.pairwise(self.got[n])) and n not in again
        }
        assert not unexplained, "delivered twice on one connection"
        if self.place.marks:
            assert not [n for n, more in surplus.items() if sum(time[2] for time in self.got[n][1:]) < more]
        if self.place.apart:
            assert sum(surplus.values()) <= PREFETCH * losses


def blocking(soak: Soak) -> None:
    options: dict[str, Any] = {"capabilities": soak.place.capabilities}
    with ThreadPoolExecutor(2) as pool, amqp10.connect(soak.place.urls, **soak.options()) as connection:
        sender = connection.sender(soak.place.address, **options)
        session = connection.session() if soak.place.apart else connection
        receiver = session.receiver(soak.place.address, prefetch=PREFETCH, **options)

        def produce() -> None:
            for n in range(MESSAGES):
                soak.deliveries.append(sender.submit(Message(n, durable=True)))
            for delivery in soak.deliveries:
                delivery.result()
            trouble.result()
            sender.send(Message(LAST, durable=True))

        trouble = pool.submit(soak.make_trouble)
        producer = pool.submit(produce)
        try:
            before = soak.connections()
            while soak.accept(receiver.receive(), before):
                before = soak.connections()
        finally:
            soak.end()
        producer.result()


def aio(soak: Soak) -> None:
    options: dict[str, Any] = {"capabilities": soak.place.capabilities}

    async def main(trouble: Future[None]) -> None:
        async with amqp10.aio.connect(soak.place.urls, **soak.options()) as connection:
            sender = await connection.sender(soak.place.address, **options)
            session = await connection.session() if soak.place.apart else connection
            receiver = await session.receiver(soak.place.address, prefetch=PREFETCH, **options)

            async def produce() -> None:
                for n in range(MESSAGES):
                    soak.deliveries.append(await sender.submit(Message(n, durable=True)))
                for delivery in soak.deliveries:
                    await delivery
                await asyncio.wrap_future(trouble)
                await sender.send(Message(LAST, durable=True))

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(produce())
                before = soak.connections()
                while soak.accept(await receiver.receive(), before):
                    before = soak.connections()

    with ThreadPoolExecutor(1) as pool:
        try:
            asyncio.run(main(pool.submit(soak.make_trouble)))
        finally:
            soak.end()


@pytest.mark.parametrize("program", [blocking, aio])
def test_nothing_is_lost_and_what_comes_twice_has_a_reason(place: Place, program: Callable[[Soak], None]) -> None:
    soak = Soak(place)
    start = time.monotonic()
    program(soak)
    soak.judge(time.monotonic() - start)

"""One side is killed in mid-stream with SIGKILL: what the other one is told, and what becomes of the messages."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from amqp10 import AMQP, AMQPError, ReceiveMode, ValueType
from tests.interop.conftest import prepared
from tests.interop.peers import PASSWORD, USER, Peer, Process, RabbitMQ, RheaContainer, free_port
from tests.interop.support import PATIENCE, work

pytestmark = pytest.mark.interop

PROMPTLY = 15.0
"""How long it may take until a program hears that its broker has gone, in seconds."""


class BrokerProcess(Peer):
    """The embedded broker as ``amqp10 broker``."""

    def __init__(self) -> None:
        self.port = free_port()

    def start(self) -> None:
        command = [sys.executable, "-u", "-m", "amqp10", "broker", "--port", str(self.port)]
        self._run(Process("amqp10 broker", [*command, "--user", f"{USER}:{PASSWORD}"]), "listening on")


class Place:
    """A broker that can be killed and started again."""

    def __init__(self, kind: str, peer: Any) -> None:
        self.kind = kind
        self.peer = peer
        self.killing = 0.0

    def queue(self, name: str) -> str:
        """The address of a queue; where the broker is able to, it keeps what it has accepted over its death."""
        return str(self.peer.declare_queue(name, type="classic")) if self.kind == "rabbitmq" else name

    def kill(self) -> None:
        self.killing = time.monotonic()
        self.peer.kill()

    def told_after(self) -> float:
        """How many seconds ago it was killed."""
        return time.monotonic() - self.killing

    def restart(self) -> None:
        """Start it again; not each of them finds its old port."""
        self.peer.restart() if self.kind == "rabbitmq" else self.peer.start()

    def connect(self, amqp: AMQP) -> None:
        amqp.user, amqp.password = USER, PASSWORD
        amqp.connect_to(self.peer.host, self.peer.port)
        amqp.create_session("s")


@pytest.fixture(params=["rabbitmq", "embedded", "rhea"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    kind: str = request.param
    makers: dict[str, Callable[[], Peer]] = {"rabbitmq": RabbitMQ, "embedded": BrokerProcess, "rhea": RheaContainer}
    with prepared():
        peer = makers[kind]()
    with peer:
        yield Place(kind, peer)


@pytest.fixture
def amqp() -> Iterator[AMQP]:
    with AMQP() as amqp:
        amqp.timeout = 30
        amqp.message_value_type = ValueType.mvtString
        amqp.message_settled = False
        amqp.message_durable = True
        yield amqp


def test_a_sender_keeps_exactly_what_has_no_outcome_and_sending_that_again_loses_nothing(
    amqp: AMQP, place: Place
) -> None:
    address = place.queue("sent")
    place.connect(amqp)
    amqp.create_sender_link("s", "out", address)
    accepted: set[str] = set()
    amqp.on_message_out = lambda e: accepted.add(e.message_id)
    sent: list[str] = []
    killer = threading.Thread(target=place.kill)

    def stream() -> None:
        for i in range(2_000_000):
            if i == 3000:
                killer.start()
            amqp.message_id = amqp.message_value = f"id-{i}"
            amqp.send_message("out")
            sent.append(f"id-{i}")

    with pytest.raises(AMQPError) as caught:
        stream()
    assert place.told_after() < PROMPTLY
    killer.join()
    assert caught.value.code == 1120
    left = [amqp.get_outgoing_message_id(i) for i in range(amqp.outgoing_message_count)]
    # The last one may have been taken on before the call that sent it failed.
    assert left in ([name for name in (*sent, *last) if name not in accepted] for last in ([], [f"id-{len(sent)}"]))

    before = [amqp.get_outgoing_message_value(i) for i in range(amqp.outgoing_message_count)]
    assert before == left
    amqp.disconnect()
    assert amqp.outgoing_message_count == len(left), "they stay readable until the next connection"
    place.restart()
    place.connect(amqp)
    amqp.create_sender_link("s", "out", address)
    for name in left:
        amqp.message_id = amqp.message_value = name
        amqp.send_message("out")
    work(amqp, lambda: amqp.outgoing_message_count == 0, "the outcomes")
    received: list[str] = []
    amqp.on_message_in = lambda e: received.append(e.message_id)
    amqp.create_receiver_link("s", "in", address)
    # A broker that keeps everything in memory has lost what it had accepted; that is not for the sender to mend.
    wanted = set(left) | (accepted if place.kind == "rabbitmq" else set())
    work(amqp, lambda: wanted <= set(received), "every message after the restart")
    doubled = len(received) - len(set(received))
    print(f"{place.kind}: {len(sent)} sent, {len(left)} without an outcome, {doubled} came twice")
    assert doubled <= len(left)


@pytest.mark.parametrize("call", ["do_events", "fetch_message", "send_message"])
def test_a_program_that_waits_is_told_promptly(amqp: AMQP, place: Place, call: str) -> None:
    address = place.queue("waiting")
    place.connect(amqp)
    amqp.receive_mode = ReceiveMode.rmFetch
    amqp.create_receiver_link("s", "in", address)
    amqp.create_sender_link("s", "out", address)
    ends: list[int] = []
    amqp.on_disconnected = lambda e: ends.append(e.status_code)
    amqp.fetch_timeout = int(PATIENCE)
    killer = threading.Timer(0.2, place.kill)

    def wait() -> None:
        if call == "fetch_message":
            amqp.fetch_message("in")
        while True:
            if call == "send_message":
                amqp.message_value = "x"
                amqp.send_message("out")
            else:
                amqp.do_events()

    killer.start()
    with pytest.raises(AMQPError) as caught:
        wait()
    assert place.told_after() < PROMPTLY
    killer.join()
    assert caught.value.code == 1120
    assert ends == [1120]
    assert not amqp.connected


RECEIVER = """
import sys
from amqp10 import AMQP

host, port, user, password, address = sys.argv[1:]
amqp = AMQP()
amqp.user, amqp.password = user, password
amqp.connect_to(host, int(port))
amqp.create_session("s")
# What is printed has been handled; its outcome may or may not reach the broker.
amqp.on_message_in = lambda e: print(e.message_id, flush=True)
amqp.create_receiver_link("s", "in", address)
while True:
    amqp.do_events()
"""


def test_what_a_killed_receiver_had_not_settled_is_delivered_again_in_order(amqp: AMQP, place: Place) -> None:
    address = place.queue("received")
    place.connect(amqp)
    amqp.create_sender_link("s", "out", address)
    names = [f"id-{i}" for i in range(20_000)]
    amqp.send_messages("out", names, ids=names)
    work(amqp, lambda: amqp.outgoing_message_count == 0, "the outcomes")
    receiver = Process(
        "the receiver",
        [sys.executable, "-c", RECEIVER, place.peer.host, str(place.peer.port), USER, PASSWORD, address],
    )
    receiver.wait_for("id-3000", 30)
    receiver.stop()
    handled = receiver.log.split()
    received: list[str] = []
    amqp.on_message_in = lambda e: received.append(e.message_id)
    amqp.create_receiver_link("s", "in", address)
    work(amqp, lambda: names[-1] in received[-1:], "the last message")
    assert set(handled) | set(received) == set(names)
    assert received == names[len(names) - len(received) :], "what came back is in its place"
    print(f"{place.kind}: {len(handled)} handled before the kill at least, {len(received)} after it")

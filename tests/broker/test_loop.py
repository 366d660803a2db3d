"""The broker's loop, driven turn by turn: while one client misbehaves, the others are served within bounded work.

Work is counted in calls of Python functions and in turns, never in time.
"""

from __future__ import annotations

import errno
import gc
import logging
import socket
import tracemalloc
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from amqp10.broker import loop as loop_module
from amqp10.broker.loop import READ_SIZE
from amqp10.broker.queues import MOST_UNSENT
from amqp10.codec import Described, Symbol, UInt
from amqp10.engine import IncomingDelivery
from amqp10.wire.frames import AMQP_HEADER, SASL_HEADER, encode_frame, encode_sasl_frame
from amqp10.wire.messaging import ACCEPTED, RELEASED, Source, Target
from amqp10.wire.performatives import Attach, Begin, Disposition, Flow, Open, SaslInit, Transfer
from tests.broker.support import Hub, SocketClient, body

CALLS_PER_BYTE = 2
"""How many calls a byte that was read may cost."""
MOST_CALLS = 2 * READ_SIZE * CALLS_PER_BYTE
"""How many calls a turn may take, however many clients send as fast as they can."""


def opening(*frames: Any) -> bytes:
    """What a client sends that waits for nothing."""
    performatives = (Open(container_id="attacker"), Begin(next_outgoing_id=0, incoming_window=2048, outgoing_window=0))
    return AMQP_HEADER + b"".join(encode_frame(0, frame) for frame in (*performatives, *frames))


def attach(handle: int, *, role: bool, address: str | None = "attacked", name: str = "") -> Attach:
    return Attach(
        name=name or f"link {handle}",
        handle=handle,
        role=role,
        source=Source(address=address if role else None),
        target=Target(address=None if role else address),
        initial_delivery_count=None if role else 0,
    )


def fill(sock: socket.socket, data: bytes) -> None:
    """Send as much as the socket takes at once."""
    try:
        while data:
            data = data[sock.send(data) :]
    except OSError:
        return


def flow(**fields: Any) -> Flow:
    return Flow(
        **{"next_incoming_id": 0, "incoming_window": 2048, "next_outgoing_id": 0, "outgoing_window": 0, **fields}
    )


def selecting(number: int) -> Attach:
    text = f"n = {number}" + " OR n + 1 * 2 BETWEEN 1 AND (3 + 4)" * 100
    wanted = {Symbol("s"): Described(Symbol("apache.org:selector-filter:string"), text)}
    source = Source(address="q", filter=wanted)
    return Attach(name=f"link {number}", handle=number, role=True, source=source, target=Target())


def subscribing(number: int) -> Attach:
    source = Source(address="/topics/t", durable=UInt(2), expiry_policy="never")
    return Attach(name=f"sub {number}", handle=number, role=True, source=source, target=Target())


def transfers(count: int) -> bytes:
    """Messages on the first link, as many as there is credit for."""
    frames = [
        encode_frame(0, Transfer(handle=0, delivery_id=number, delivery_tag=b"%d" % number)) for number in range(count)
    ]
    payload = body("x")
    return b"".join((len(frame) + len(payload)).to_bytes(4, "big") + frame[4:] + payload for frame in frames)


ATTACKS: dict[str, Callable[[], bytes]] = {
    "selectors that are long": lambda: opening() + b"".join(encode_frame(0, selecting(n)) for n in range(300)),
    "subscriptions without end": lambda: opening() + b"".join(encode_frame(0, subscribing(n)) for n in range(2000)),
    "a dynamic node for each link": lambda: (
        opening() + b"".join(encode_frame(0, attach(n, role=True, address=None)) for n in range(2000))
    ),
    "frames that say nothing": lambda: opening() + b"\x00\x00\x00\x08\x02\x00\x00\x00" * 30_000,
    "flow that wants an answer": lambda: opening() + encode_frame(0, flow(echo=True)) * 20_000,
    "dispositions for everything": lambda: (
        opening(attach(0, role=True))
        + encode_frame(0, Disposition(role=True, first=0, last=2**31 - 1, settled=True, state=RELEASED)) * 15_000
    ),
    "links without end": lambda: opening() + b"".join(encode_frame(0, attach(n, role=False)) for n in range(4000)),
    "queues without end": lambda: (
        opening() + b"".join(encode_frame(0, attach(n, role=True, address=f"q{n}")) for n in range(4000))
    ),
    "dead links": lambda: (
        opening() + b"".join(encode_frame(0, attach(n % 900, role=True, name="same")) for n in range(4000))
    ),
    "messages without credit": lambda: (
        opening(attach(0, role=False)) + encode_frame(0, Transfer(handle=0, delivery_id=0, delivery_tag=b"t")) * 10_000
    ),
    "messages to nowhere": lambda: (
        opening(attach(0, role=False, address=None))
        + b"".join(encode_frame(0, Transfer(handle=0, delivery_id=n, delivery_tag=b"t")) for n in range(1000))
    ),
    "SASL without end": lambda: SASL_HEADER + encode_sasl_frame(SaslInit(mechanism="NOPE")) * 20_000,
    "nonsense": lambda: bytes(range(256)) * 2000,
    "half a frame": lambda: opening() + b"\x00\x0f\xff\xff\x02\x00\x00\x00",
    "silence": lambda: b"",
}


@cache
def data_of(attack: str) -> bytes:
    """What an attacker sends; made when it is first needed, as some of it takes long."""
    return ATTACKS[attack]()


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_honest_client_is_served_within_bounded_work_while_another_attacks(attack: str) -> None:
    data = data_of(attack)
    with Hub() as hub:
        honest = hub.client()
        attackers = [hub.connect() for _ in range(5)]
        most = 0
        for sock in attackers:
            fill(sock, data)
        for _ in range(5):
            most = max(most, hub.calls())
        turns = honest.exchange()
        assert most <= MOST_CALLS
        assert turns <= 8


def test_a_queue_full_of_messages_for_a_greedy_client_holds_nobody_up() -> None:
    with Hub() as hub:
        greedy, honest = hub.client(), hub.client()
        hub.container.find("q")
        queue = hub.container.queues["q"]
        out = honest.session.attach_sender("out", source=Source(), target=Target(address="q"))
        for _ in range(20):
            honest.until(lambda: out.credit >= 500)
            for _ in range(500):
                out.send(body("x"))
            honest.pump()
        honest.until(lambda: len(queue) == 10_000)
        greedy.session.attach_receiver("in", source=Source(address="q"), target=Target()).flow(1 << 30)
        greedy.session.window.incoming = 1 << 30
        greedy.session.send_flow()
        greedy.pump()
        calls = [hub.calls() for _ in range(3)]
        assert max(calls) < 20_000
        assert 0 < len(queue) < 10_000
        assert honest.exchange() <= 10


def test_a_message_for_a_thousand_subscribers_holds_nobody_up() -> None:
    with Hub() as hub:
        honest, attacker = hub.client(), hub.connect()
        fill(attacker, opening(attach(0, role=False, address="/topics/t")))
        for number in range(1, 1000):
            fill(attacker, encode_frame(0, subscribing(number)))
            if number % 50 == 0:
                hub.turn()
        hub.turn(5)
        assert len(hub.container.topics["t"].subscriptions) == 999
        fill(attacker, transfers(900))
        calls = []
        for _ in range(30):
            calls.append(hub.calls())
        assert max(calls) < 60_000
        assert hub.container.topics["t"].bytes > 0  # it is not through with them
        assert honest.exchange() <= 10


def test_a_client_that_does_not_read_is_sent_a_bounded_amount_and_nobody_waits_for_it() -> None:
    with Hub() as hub:
        lazy, honest = hub.client(), hub.client()
        hub.container.find("q")
        queue = hub.container.queues["q"]
        out = honest.session.attach_sender("out", source=Source(), target=Target(address="q"))
        honest.until(lambda: out.credit > 0)
        for _ in range(40):
            out.send(b"\x00\x53\x75\xb0\x00\x03\x00\x00" + b"x" * 0x30000)
            honest.until(lambda: not honest.engine.pending and not honest.unsent)
        honest.until(lambda: len(queue) == 40)
        link = lazy.session.attach_receiver("in", source=Source(address="q"), target=Target())
        lazy.until(lambda: link.attached)
        link.flow(1000)
        for buffer in lazy.engine.data_to_send(0):
            lazy.sock.sendall(buffer)
        hub.turn(50)
        (client,) = [one for one in hub.loop.clients.values() if one.unsent]
        assert client.unsent_size < MOST_UNSENT + 0x40000
        assert len(queue) > 0
        assert hub.calls() < 200  # nothing is tried again while it does not read
        assert honest.exchange() <= 10
        lazy.until(lambda: sum(isinstance(event, IncomingDelivery) for event in lazy.events) == 40)


def test_clients_with_nothing_to_do_cost_nothing() -> None:
    with Hub() as hub:
        busy = hub.client()
        busy.exchange("warm-up")

        def work(name: str) -> int:
            out = busy.session.attach_sender(name, source=Source(), target=Target(address="q"))
            busy.until(lambda: out.credit > 0)
            out.send(body("x"))
            busy.pump()
            return hub.calls(3)

        alone = work("alone")
        for _ in range(60):
            idle = hub.client()
            link = idle.session.attach_receiver("in", source=Source(address="q"), target=Target())
            idle.until(lambda link=link: link.attached)  # type: ignore[misc]
        assert work("among others") <= alone + 10


def test_a_message_for_another_client_goes_out_in_the_turn_in_which_it_came() -> None:
    with Hub() as hub:
        sender, receiver = hub.client(), hub.client()
        link = receiver.session.attach_receiver("in", source=Source(address="q"), target=Target())
        receiver.until(lambda: link.attached)
        link.flow(10)
        receiver.pump()
        hub.turn()
        out = sender.session.attach_sender("out", source=Source(), target=Target(address="q"))
        sender.until(lambda: out.credit > 0)
        out.send(body("x"))
        sender.pump()
        hub.turn()
        receiver.pump()
        assert any(isinstance(event, IncomingDelivery) for event in receiver.events)


# -- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said", [b"", b"AMQ", AMQP_HEADER, SASL_HEADER, SASL_HEADER + encode_sasl_frame(SaslInit(mechanism="ANONYMOUS"))]
)
def test_who_does_not_open_a_connection_in_time_is_let_go(said: bytes) -> None:
    with Hub(open_timeout=10) as hub:
        patient = hub.client()
        sock = hub.connect()
        fill(sock, said)
        hub.turn(3)
        assert len(hub.loop.clients) == 2
        hub.now = 9.9
        hub.turn()
        assert len(hub.loop.clients) == 2
        hub.now = 10.1
        hub.turn(2)
        assert [client.connection.container_id for client in hub.loop.clients.values()] == ["client 1"]
        assert patient.exchange() <= 8


def test_bytes_one_by_one_do_not_keep_a_client_that_does_not_open() -> None:
    with Hub(open_timeout=10) as hub:
        sock = hub.connect()
        for octet in AMQP_HEADER + encode_frame(0, Open(container_id="slow")):
            fill(sock, bytes((octet,)))
            hub.now += 1
            hub.turn(2)
        assert not hub.loop.clients


def test_who_does_not_answer_close_is_let_go() -> None:
    with Hub(close_timeout=5) as hub:
        client = hub.client()
        hub.loop.disconnect("amqp:connection:forced", "go")
        hub.turn(3)
        assert len(hub.loop.clients) == 1
        hub.now = 5.1
        hub.turn(2)
        assert not hub.loop.clients
        client.pump()
        assert client.engine.finished


def test_a_broken_protocol_does_not_keep_its_socket_for_ever() -> None:
    with Hub(close_timeout=5) as hub:
        client = hub.client()
        fill(
            client.sock, encode_frame(0, Flow(incoming_window=0, next_outgoing_id=0, outgoing_window=0, handle=UInt(7)))
        )
        fill(client.sock, b"\x00\x00\x00\x09\x02\x00\x00\x00\x99")
        hub.turn(3)
        hub.now = 5.1
        hub.turn(3)
        assert not hub.loop.clients


def test_a_wrong_password_is_answered_after_a_pause_and_others_do_not_wait() -> None:
    with Hub(users={"u": "right"}, login_pause=2) as hub:
        good = b"\0u\0right"
        sockets = [hub.connect() for _ in range(2)]
        for sock, response in zip(sockets, (b"\0u\0wrong", good), strict=True):
            fill(sock, SASL_HEADER + encode_sasl_frame(SaslInit(mechanism="PLAIN", initial_response=response)))
        hub.turn(5)
        bad, right = sockets
        assert b"\x00\x53\x44" in right.recv(4096)  # its outcome
        with pytest.raises(BlockingIOError):
            bad.recv(4096)
        fill(bad, SASL_HEADER * 1000)  # nor is it listened to meanwhile
        assert hub.calls() < 60
        hub.now = 2.1
        hub.turn(2)
        assert b"\x00\x53\x44" in bad.recv(4096)
        assert len(hub.loop.clients) == 1


def test_timers_of_clients_that_went_are_forgotten() -> None:
    with Hub() as hub:
        for _ in range(300):
            sock = hub.connect()
            fill(sock, opening())
            hub.turn(2)
            sock.close()
            hub.turn(2)
        assert not hub.loop.clients
        assert len(hub.loop._timers) < 100


# -- descriptors -----------------------------------------------------------------------------------------------------


class NoMoreDescriptors:
    """A listening socket in a process that has no descriptor left."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.exhausted = True
        self.tries = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.tries += 1
        if self.exhausted:
            raise OSError(errno.EMFILE, "Too many open files")
        return self.listener.accept()

    def fileno(self) -> int:
        return self.listener.fileno()

    def close(self) -> None:
        self.listener.close()


def test_a_broker_without_descriptors_does_not_spin_and_recovers(caplog: pytest.LogCaptureFixture) -> None:
    with Hub() as hub:
        serving = hub.client()
        hub.loop._listen(False)
        short = hub.loop._listener = NoMoreDescriptors(hub.loop._listener)  # type: ignore[assignment]
        hub.loop._listen(True)
        waiting = hub.connect()
        with caplog.at_level(logging.WARNING):
            hub.turn(50)
        assert short.tries == 1
        assert len(caplog.records) == 1
        assert serving.exchange() <= 8
        hub.now = 1.0
        hub.turn(2)
        assert short.tries == 2
        short.exhausted = False
        serving.sock.close()  # a descriptor is free again: that is reason enough to try
        fill(waiting, opening())
        hub.turn(4)
        assert [client.connection.container_id for client in hub.loop.clients.values()] == ["attacker"]


def test_clients_beyond_the_limit_are_sent_away_and_the_others_stay() -> None:
    with Hub(max_connections=2) as hub:
        first = hub.client()
        hub.client()
        third = hub.connect()
        hub.turn(2)
        assert third.recv(100) == b""
        assert first.exchange() <= 8
        first.sock.close()
        hub.turn(2)
        assert hub.client().exchange() <= 8


# -- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_takes_a_bounded_amount_of_memory(attack: str) -> None:
    data = data_of(attack)
    with Hub() as hub:
        hub.client().exchange()
        sock = hub.connect()
        gc.collect()
        tracemalloc.start()
        try:
            fill(sock, data)
            hub.turn(30)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 16 * 1024 * 1024


def test_the_loop_reads_no_more_of_small_frames_than_a_turn_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub() as hub:
        sock = hub.connect()
        sizes: list[int] = []
        receive = loop_module.Loop._read

        def spy(self: Any, client: Any) -> None:
            taken = client.connection.receive

            def count(data: bytes) -> None:
                sizes.append(len(data))
                taken(data)

            client.connection.receive = count
            try:
                receive(self, client)
            finally:
                del client.connection.receive

        monkeypatch.setattr(loop_module.Loop, "_read", spy)
        fill(sock, opening() + b"\x00\x00\x00\x08\x02\x00\x00\x00" * 50_000)
        hub.turn(20)
        assert 0 < max(sizes) <= READ_SIZE


def test_an_unsettled_message_comes_to_the_next_client_when_the_first_is_cut() -> None:
    with Hub() as hub:
        first, second = hub.client(), hub.client()
        links = []
        for client in (first, second):
            links.append(client.session.attach_receiver("in", source=Source(address="q"), target=Target()))
            client.until(lambda: links[-1].attached)
        out = second.session.attach_sender("out", source=Source(), target=Target(address="q"))
        second.until(lambda: out.credit > 0)
        links[0].flow(1)
        first.pump()
        hub.turn(2)
        out.send(body("x"))
        second.until(lambda: not second.session.outgoing_unsettled)
        links[1].flow(1)
        first.sock.close()
        second.until(lambda: any(isinstance(event, IncomingDelivery) for event in second.events))
        (got,) = [event for event in second.events if isinstance(event, IncomingDelivery)]
        got.settle(ACCEPTED)
        second.until(lambda: hub.container.store.bytes == 0)


def test_a_loop_that_stops_closes_in_order() -> None:
    hub = Hub()
    client = SocketClient(hub)
    silent = hub.connect()
    hub.turn(2)
    going_on = hub.loop.stop(2.0)
    hub.turn(2)
    assert silent.recv(10) == b""  # it had not opened its connection: there is nothing to close
    assert going_on()
    client.pump()
    assert client.engine.finished  # it has seen the close, and answers it
    client.pump()
    hub.turn(2)
    assert not going_on()
    hub.loop.close()
    client.sock.close()
    silent.close()


def test_a_stalled_loop_does_nothing_at_all_and_goes_on_where_it_was() -> None:
    with Hub(open_timeout=10) as hub:
        client = hub.client()
        out = client.session.attach_sender("out", source=Source(), target=Target(address="q"))
        client.until(lambda: out.credit > 0)
        hub.loop.stall(True)
        out.send(body("x"))
        client.pump()
        newcomer = hub.connect()
        fill(newcomer, opening())
        hub.now = 100
        assert hub.calls(20) < 20 * 20
        assert not hub.container.queues["q"].messages
        assert len(hub.loop.clients) == 1
        hub.loop.stall(False)
        client.until(lambda: len(hub.container.queues["q"]) == 1)
        hub.turn(3)
        assert len(hub.loop.clients) == 2


def test_a_stalled_loop_stops_in_order() -> None:
    hub = Hub()
    client = SocketClient(hub)
    hub.loop.stall(True)
    hub.turn(2)
    going_on = hub.loop.stop(2.0)
    hub.turn(2)
    client.pump()
    client.pump()
    hub.turn(2)
    assert client.engine.finished
    assert not going_on()
    hub.loop.close()
    client.sock.close()

"""Time-outs of every blocking call, against peers that trickle, stall in the middle of a frame, or stop reading."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

import pytest

from amqp10 import AMQP, AMQPError, ValueType
from amqp10.component.outbox import Outbox
from amqp10.component.pump import Pump
from amqp10.engine import Connection, EndpointRole
from amqp10.net import dial, tcp
from amqp10.net.waiting import Waiter
from amqp10.wire.frames import EMPTY_FRAME
from tests.component.server import LIMIT, FakeClock, Server, client, skipping
from tests.component.test_events_rules import blocked_calls, prepare

# The start of a frame that never becomes whole.
PART = b"\x00\x00\x01\x00\x02\x00\x00\x00\x00\x53\x13\xd0\x00\x00\x00\xf0"
STEP = 0.75
"""Seconds between two bytes; the time-out is 1."""


class Trickle:
    """Lets a peer send one piece after the other, and time pass between them, until the call has ended."""

    def __init__(self, server: Server, amqp: AMQP, clock: FakeClock, pieces: list[bytes]) -> None:
        self.server = server
        self.amqp = amqp
        self.clock = clock
        self.pieces = pieces
        self.sent = 0
        self.ended = False
        self._thread = threading.Thread(target=self._run_to_the_end)

    def __enter__(self) -> Trickle:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended = True
        self.clock.advance(0)
        self._thread.join(LIMIT)

    def _run_to_the_end(self) -> None:
        try:
            self._run()
        finally:
            # Whatever became of the script, the call must not wait for a clock that stands still.
            for _ in range(10):
                if self.clock.wait_until(lambda: self.ended):
                    break
                self.clock.advance(60)

    def _run(self) -> None:
        clock = self.clock
        # The call is waiting once the server has everything that the client sends first.
        self.server.wait_for(lambda: bool(self.server.peers) and self.waiting())
        for piece in self.pieces:
            if self.ended:
                return
            moved = self.moved()
            clock.advance(STEP)
            try:
                self.server.run(lambda piece=piece: [peer.sock.send(piece) for peer in self.server.peers])  # type: ignore[misc]
            except ConnectionError:
                # The call has timed out and hung up, which the test sees for itself.
                return
            self.sent += 1
            # The next one comes when this one has been read: otherwise it would count as one that came later.
            clock.wait_until(lambda moved=moved: self.ended or self.moved() != moved)  # type: ignore[misc]
        clock.advance(STEP * 2)

    def moved(self) -> int:
        pump = self.amqp._loop.pump
        return pump.moved if pump is not None else -1

    def waiting(self) -> bool:
        return bool(self.server.frames)


def octets_of(part: bytes) -> list[bytes]:
    return [bytes((octet,)) for octet in part]


def start(server: Server, name: str, *settings: str) -> tuple[AMQP, FakeClock, bytes]:
    amqp = prepare(server, name)
    for setting in settings:
        amqp.config(setting)
    clock = FakeClock(amqp._loop.clock())
    if amqp._loop.pump is not None:
        amqp._loop.pump.clock = clock
    amqp._loop.clock = clock
    # The clock is looked at often, and not only when a second has passed in the world outside.
    waiter = amqp._loop.get_waiter()
    poll = waiter._poll
    waiter._poll = lambda timeout=None, /: poll(None if timeout is None else timeout / 20)
    amqp.timeout = 1
    amqp.fetch_timeout = 1
    part = b"AMQP\x00\x01\x00\x00" + PART if name == "connect" else PART
    return amqp, clock, part


def expect_time_out(amqp: AMQP, name: str) -> None:
    if name == "disconnect":
        # The server's answer is a courtesy: without one the connection is over all the same.
        amqp.disconnect()
        assert not amqp.connected
        return
    with pytest.raises(AMQPError, match="1 second") as caught:
        blocked_calls()[name][1](amqp)
    assert caught.value.code == 201


def leave(server: Server, amqp: AMQP) -> None:
    """The server has fallen silent for good in some scripts: end the connection under both."""
    server.run(server.drop_all)
    amqp.disconnect()


@pytest.mark.parametrize("name", blocked_calls())
def test_an_absolute_time_out_is_not_extended_by_a_trickle(name: str) -> None:
    with Server() as server:
        amqp, clock, part = start(server, name, "AbsoluteTimeout=True")
        before = clock.now
        with Trickle(server, amqp, clock, octets_of(part)) as trickle:
            expect_time_out(amqp, name)
            # A fetch that has timed out waits once more, for its credit to be drained.
            assert trickle.sent < len(part) // 2
        assert clock.now - before < len(part) // 2 * STEP
        leave(server, amqp)


# A fetch counts its own time-out from its start, and a disconnect gives up without an error.
@pytest.mark.parametrize("name", [name for name in blocked_calls() if name not in ("fetch_message", "disconnect")])
def test_a_trickle_keeps_an_inactivity_time_out_away_and_a_stall_within_a_frame_does_not(name: str) -> None:
    octets = 12
    with Server() as server:
        amqp, clock, part = start(server, name)
        before = clock.now
        with Trickle(server, amqp, clock, octets_of(part[:octets])) as trickle:
            expect_time_out(amqp, name)
            assert trickle.sent == octets, "each byte gave the peer another second"
        assert clock.now - before >= octets * STEP
        leave(server, amqp)


@pytest.mark.parametrize("name", blocked_calls())
def test_heartbeats_of_a_peer_that_does_not_answer_keep_no_call_waiting(name: str) -> None:
    with Server() as server:
        amqp, clock, _ = start(server, name)
        pieces = [EMPTY_FRAME] * 20
        if name == "connect":
            pieces[0] = b"AMQP\x00\x01\x00\x00"
        with Trickle(server, amqp, clock, pieces) as trickle:
            expect_time_out(amqp, name)
            assert trickle.sent < 10
        leave(server, amqp)


def test_the_heartbeats_that_are_sent_keep_no_call_waiting_either() -> None:
    with Server(idle_timeout=4) as server:
        amqp = AMQP()
        poller = skipping(amqp)
        amqp.timeout = 5
        amqp.connect_to(server.host, server.port)
        amqp.create_session("s")
        server.hold.add("attach")
        before = poller.clock.now
        poller.skip = 1000
        with pytest.raises(AMQPError, match="5 seconds") as caught:
            amqp.create_sender_link("s", "out", "q")
        assert caught.value.code == 201
        assert poller.clock.now - before < 6
        poller.skip = 0
        server.run(server.drop_all)
        amqp.disconnect()


def test_an_absolute_time_out_bounds_connecting_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = dial.reach

    async def slow(*args: object, **kwargs: object) -> object:
        poller.clock.advance(7)
        return await connect(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(dial, "reach", slow)
    for absolute, longest in ((True, 11), (False, 18)):
        with Server(hold={"open"}) as server:
            amqp = AMQP()
            amqp.config(f"AbsoluteTimeout={absolute}")
            amqp.timeout = 10
            poller = skipping(amqp)
            before = poller.clock.now
            amqp.on_log = lambda event, poller=poller, server=server: wait_for_open(event.message, poller, server)
            amqp.config("LogLevel=3")
            with pytest.raises(AMQPError, match="10 seconds") as caught:
                amqp.connect_to(server.host, server.port)
            assert caught.value.code == 201
            assert longest - 1 <= poller.clock.now - before <= longest


def wait_for_open(line: str, poller: object, server: Server) -> None:
    """Time passes once the client has said its part: what the server answers before is waited for."""
    if "-> [0] open(" in line:
        poller.skip = 1000  # type: ignore[attr-defined]


def test_an_absolute_time_out_bounds_sending_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(credit=0, receive_buffer=4096) as server:
        amqp = AMQP()
        poller = skipping(amqp)
        amqp.config("AbsoluteTimeout=True")
        amqp.config("OutBufferSize=4096")
        amqp.timeout = 10
        amqp.connect_to(server.host, server.port)
        amqp.create_session("s")
        amqp.create_sender_link("s", "out", "q")
        await_room = Outbox._await_room

        def slow(self: Outbox, record: object) -> None:
            poller.clock.advance(7)
            server.do(lambda peer: peer.receiver("out").flow(5))
            await_room(self, record)  # type: ignore[arg-type]
            server.do(lambda peer: setattr(peer, "paused", True))
            poller.skip = 1000

        monkeypatch.setattr(Outbox, "_await_room", slow)
        amqp.message_value_type, amqp.message_value = ValueType.mvtString, "x" * 20_000_000
        before = poller.clock.now
        with pytest.raises(AMQPError, match="10 seconds") as caught:
            amqp.send_message("out")
        assert caught.value.code == 201
        assert 10 <= poller.clock.now - before <= 11
        poller.skip = 0
        server.run(server.drop_all)
        amqp.disconnect()


@pytest.mark.parametrize(("absolute", "longest"), [(True, 11), (False, 18)])
def test_an_absolute_time_out_bounds_the_sending_of_many_as_a_whole(absolute: bool, longest: int) -> None:
    with Server(credit=0) as server:
        amqp = AMQP()
        poller = skipping(amqp)
        amqp.config(f"AbsoluteTimeout={absolute}")
        amqp.timeout = 10
        amqp.connect_to(server.host, server.port)
        amqp.create_session("s")
        amqp.create_sender_link("s", "out", "q")

        def values() -> Iterator[str]:
            yield "one"
            poller.clock.advance(7)
            yield "two"

        poller.skip = 1000
        before = poller.clock.now
        with pytest.raises(AMQPError, match="10 seconds") as caught:
            amqp.send_messages("out", values())
        assert caught.value.code == 201
        assert longest - 1 <= poller.clock.now - before <= longest
        poller.skip = 0
        amqp.disconnect()


def test_a_peer_that_never_stops_talking_does_not_keep_do_events_from_returning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Server() as server, client(server) as amqp:
        clock = FakeClock(amqp._loop.clock())
        assert amqp._loop.pump is not None
        amqp._loop.clock = amqp._loop.pump.clock = clock
        reads: list[int] = []

        def endless(self: object, size: int) -> bytes:
            reads.append(size)
            clock.advance(0.01)
            assert len(reads) < 1000
            return EMPTY_FRAME * (size // 8)

        with monkeypatch.context() as patch:
            patch.setattr(tcp.TcpTransport, "recv", endless)
            server.do(lambda peer: peer.raw(EMPTY_FRAME))
            amqp.do_events()
        assert 1 < len(reads) < 20


@pytest.mark.parametrize("name", blocked_calls())
def test_with_timeout_0_sending_never_waits_and_answers_are_waited_for_within_a_minute(name: str) -> None:
    with Server() as server:
        amqp = AMQP()
        poller = skipping(amqp)
        if name == "connect":
            server.hold.add("open")
            amqp.remote_host, amqp.remote_port = server.host, server.port
            amqp.config("LogLevel=3")
            amqp.on_log = lambda event: wait_for_open(event.message, poller, server)
        else:
            if name.startswith("send_"):
                server.hold.add("flow")
            amqp.connect_to(server.host, server.port)
            amqp.create_session("s")
            amqp.create_sender_link("s", "out", "q")
            amqp.receive_mode = 1
            amqp.create_receiver_link("s", "get", "get")
            server.hold |= blocked_calls()[name][0]
            poller.skip = 1000
        amqp.timeout = 0
        before = poller.clock.now
        if name == "fetch_message":
            amqp.fetch_timeout = 3
            server.hold.add("drain")
        if name == "disconnect":
            amqp.disconnect()
        else:
            with pytest.raises(AMQPError) as caught:
                blocked_calls()[name][1](amqp)
            assert caught.value.code == (135 if name.startswith("send_") else 201)
        # The answer to a drain is waited for less long, as its coming late does no harm.
        expected = 0 if name.startswith("send_") else 3 + 5 if name == "fetch_message" else 60
        assert expected <= poller.clock.now - before <= expected + 1
        poller.skip = 0
        leave(server, amqp)


def test_parts_of_tls_records_count_as_movement() -> None:
    class Slow:
        """A transport that has taken all it was given, and lets it out bit by bit."""

        progress = 0
        unsent = True
        buffered = False

        def send(self, buffers: list[bytes | memoryview]) -> int:
            assert not buffers
            self.progress += 1
            return 0

        def recv(self, size: int) -> bytes | None:
            self.progress += 1
            return None

    clock = FakeClock()
    transport = Slow()
    engine = Connection(EndpointRole.CLIENT, container_id="c")
    pump = Pump(engine, transport, Waiter(), clock, deque(), lambda: None)  # type: ignore[arg-type]
    for step in (pump.flush, pump.receive):
        clock.advance(1)
        assert not step()
        assert pump.moved_at == clock.now
    pump.waiter.close()

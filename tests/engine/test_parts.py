"""The parts of a connection, each alone."""

from __future__ import annotations

import pytest

from amqp10.engine.faults import ConnectionFault
from amqp10.engine.handshake import Handshake
from amqp10.engine.idle import IdleTimer
from amqp10.engine.input import Input
from amqp10.engine.output import Output
from amqp10.engine.sasl import PlainMechanism, SaslClient, SaslServer
from amqp10.engine.serial import serial_difference, serial_range
from amqp10.engine.states import EndpointRole, Trigger
from amqp10.engine.window import SessionWindow
from amqp10.wire.frames import AMQP_HEADER, SASL_HEADER
from amqp10.wire.performatives import Begin, Close, Flow


def test_the_size_of_the_output_counts_what_was_queued_since_it_was_last_asked() -> None:
    output = Output()
    assert output.size == 0
    output.send(0, Close())
    first = output.size
    assert first == len(output.buffers[0])
    output.buffers.append(b"x" * 10)
    output.buffers.append(memoryview(b"y" * 5))
    assert output.size == output.size == first + 15
    assert sum(map(len, output.take())) == first + 15
    assert output.size == 0
    assert not output.pending


def test_whoever_is_marked_speaks_before_the_output_is_taken_and_only_once() -> None:
    output = Output()

    class Session:
        said = 0

        def flush(self) -> None:
            self.said += 1
            output.buffers.append(b"flow")

        def answer_flow(self) -> None:
            output.buffers.append(b"answer")

    session, gone = Session(), Session()
    output.mark_dirty(session)
    output.mark_dirty(session)
    output.mark_dirty(gone)
    output.forget(gone)
    output.owe_flow(session)
    output.owe_flow(session)
    assert output.pending
    assert output.take() == [b"flow", b"answer"]
    assert (session.said, gone.said) == (1, 0)
    assert output.take() == []


def test_the_input_is_ready_when_what_is_needed_is_here() -> None:
    pieces = Input()
    assert (pieces.ready, pieces.missing) == (False, 0)
    pieces.add(b"abc")
    assert (pieces.ready, pieces.missing) == (False, 5)
    pieces.add(b"defgh")
    assert pieces.ready
    assert pieces.take() == b"abcdefgh"
    pieces.need = 20
    pieces.put_back(b"gh")
    assert (pieces.ready, pieces.missing) == (False, 18)


@pytest.mark.parametrize(("timeout", "stated"), [(0, None), (10, 5000), (0.0001, 1)])
def test_the_peer_is_told_half_of_the_idle_timeout(timeout: float, stated: int | None) -> None:
    assert IdleTimer(timeout).stated == stated


def test_silence_and_heartbeats_count_from_what_was_last_read_and_written() -> None:
    idle = IdleTimer(10)
    idle.start(100)
    assert idle.deadline(heartbeats=True) == 110
    idle.remote_timeout = 6
    assert idle.deadline(heartbeats=True) == 103
    assert idle.deadline(heartbeats=False) == 110
    assert (idle.heartbeat_due(102.9), idle.heartbeat_due(103)) == (False, True)
    assert (idle.silent(109.9), idle.silent(110)) == (False, True)
    idle.last_read = 105
    idle.last_written = 103
    assert (idle.silent(110), idle.heartbeat_due(105)) == (False, False)
    assert not IdleTimer(0).silent(1e9)


def exchange(client: Handshake, server: Handshake, outputs: tuple[Output, Output]) -> list[Trigger]:
    """What takes the client's connection further."""
    triggers = list(client.start())
    assert server.start() == ()
    while not client.done:
        for output, other in ((outputs[0], server), (outputs[1], client)):
            data = b"".join(output.take())
            pos = 0
            while len(data) - pos >= other.need:
                pos, moved = other.read(data, pos)
                triggers += moved if other is client else ()
            assert pos == len(data)
    return triggers


@pytest.mark.parametrize("sasl", [False, True])
def test_two_handshakes_lead_each_other_to_the_first_frame(sasl: bool) -> None:
    outputs = (Output(), Output())
    mechanism = SaslClient([PlainMechanism("u", "p")]) if sasl else None
    users = SaslServer(users={"u": "p"}) if sasl else None
    client = Handshake(EndpointRole.CLIENT, outputs[0], mechanism, None)
    server = Handshake(EndpointRole.SERVER, outputs[1], users, None)
    assert exchange(client, server, outputs) == [Trigger.S_HEADER, Trigger.R_HEADER]
    assert server.done
    assert client.header_received
    assert server.header_received
    assert (client.authenticated, server.authenticated) == (sasl, sasl)


def test_a_server_answers_a_wrong_header_with_the_one_that_it_wants() -> None:
    output = Output()
    server = Handshake(EndpointRole.SERVER, output, SaslServer(users={"u": "p"}), None)
    with pytest.raises(ConnectionFault):
        server.read(AMQP_HEADER, 0)
    assert output.take() == [SASL_HEADER]


@pytest.mark.parametrize("start", [0, 5, 0xFFFFFFFE])
def test_a_window_takes_the_transfers_on_their_way_from_what_the_peer_states(start: int) -> None:
    window = SessionWindow(8, 8, start)
    window.on_begin(Begin(next_outgoing_id=7, incoming_window=3, outgoing_window=4))
    assert (window.remote_incoming, window.remote_outgoing, window.next_incoming_id) == (3, 4, 7)
    window.next_outgoing_id = (start + 3) & 0xFFFFFFFF
    flow = Flow(next_incoming_id=(start + 1) & 0xFFFFFFFF, incoming_window=10, next_outgoing_id=9, outgoing_window=2)
    assert window.on_flow(flow)
    assert (window.remote_incoming, window.next_incoming_id) == (8, 9)
    ahead = Flow(next_incoming_id=(start + 4) & 0xFFFFFFFF, incoming_window=1, next_outgoing_id=1, outgoing_window=1)
    assert not window.on_flow(ahead)
    assert (window.remote_incoming, window.next_incoming_id) == (8, 9)


def test_ranges_of_serial_numbers_go_over_their_end() -> None:
    assert list(serial_range(5, 3)) == [5, 6, 7]
    assert list(serial_range(0xFFFFFFFE, 2)) == [0xFFFFFFFE, 0xFFFFFFFF]
    assert list(serial_range(0xFFFFFFFE, 4)) == [0xFFFFFFFE, 0xFFFFFFFF, 0, 1]


def test_serial_numbers_are_compared_over_their_end() -> None:
    assert serial_difference(1, 0xFFFFFFFF) == 2
    assert serial_difference(0xFFFFFFFF, 1) == -2
    assert serial_difference(5, 5) == 0

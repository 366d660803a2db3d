"""Work and memory stay in proportion to what a peer sends."""

from __future__ import annotations

import struct

import pytest

from amqp10.engine import IncomingDelivery, SessionEnded
from amqp10.engine.events import Event
from amqp10.wire.frames import encode_frame
from amqp10.wire.messaging import ACCEPTED, Received
from amqp10.wire.performatives import Disposition, Flow, Transfer
from tests.engine.harness import Pair, Scripted
from tests.steps import MEGABYTE, cost, peak


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("first", [0, 1 << 30])
@pytest.mark.parametrize("times", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_dispositions_that_change_nothing_cost_no_more_the_more_is_in_flight(
    settled: bool, first: int, times: int
) -> None:
    pair = Pair()
    mine, _ = pair.session()
    out, _ = pair.sender(mine, credit=2000)
    for _ in range(2000):
        out.send(b"x")
    pair.client.data_to_send(pair.now)
    state = ACCEPTED if settled else Received(section_number=0, section_offset=0)
    last = first + (1 << 31) - 1
    frame = encode_frame(0, Disposition(role=True, first=first, last=last, settled=settled, state=state))
    data = frame * times
    events: list[Event] = []

    def receive() -> None:
        events.extend(pair.client.receive_data(data, pair.now))

    steps, memory = cost(receive, 1000 * len(data))
    assert steps <= 1000 * len(data)
    assert memory < 50 * MEGABYTE
    # It is told only of what is new; who goes on like that is stopped.
    assert len(events) <= 2


def test_ranges_that_name_the_same_deliveries_over_and_over_end_the_session() -> None:
    pair = Pair()
    mine, _ = pair.session()
    out, _ = pair.sender(mine, credit=2000)
    for _ in range(2000):
        out.send(b"x")
    pair.client.data_to_send(pair.now)
    data = b"".join(
        encode_frame(
            0, Disposition(role=True, first=0, last=2000, state=Received(section_number=0, section_offset=number))
        )
        for number in range(600)
    )
    events = pair.client.receive_data(data, pair.now)
    ended = [event for event in events if isinstance(event, SessionEnded)]
    assert len(ended) == 1
    assert ended[0].error is not None
    assert ended[0].error.condition == "amqp:resource-limit-exceeded"
    assert len(ended[0].undelivered) == 2000


def test_a_receiver_that_settles_late_may_name_each_delivery_many_times() -> None:
    pair = Pair()
    mine, _ = pair.session()
    out, _ = pair.sender(mine, credit=2000)
    for number in range(2000):
        out.send(b"x")
        if number % 200 == 199:
            pair.client.data_to_send(pair.now)
            frame = Disposition(
                role=True, first=0, last=number, state=Received(section_number=0, section_offset=number)
            )
            pair.client.receive_data(encode_frame(0, frame), pair.now)
    assert mine.mapped


@pytest.mark.parametrize(
    ("part", "size"), [(1, 8_000), (2, 8_000), (100, 20_000), pytest.param(1, 20_000, marks=pytest.mark.slow)]
)
def test_a_message_in_tiny_parts_takes_little_more_memory_than_its_size(part: int, size: int) -> None:
    def ready() -> Scripted:
        peer = Scripted()
        peer.receiver(peer.session(incoming_window=1 << 30))
        return peer

    peer = ready()
    frames = [encode_frame(0, Transfer(handle=0, delivery_id=0, delivery_tag=b"0", more=True), b"\x00")]
    frames += [encode_frame(0, Transfer(handle=0, more=True), b"x" * part)] * (size // part)
    frames.append(encode_frame(0, Transfer(handle=0), b"y"))
    data = [b"".join(frames[at : at + 100]) for at in range(0, len(frames), 100)]

    def receive(peer: Scripted = peer, data: list[bytes] = data) -> None:
        for piece in data:
            peer.engine.receive_data(piece, peer.now)
            peer.engine.data_to_send(peer.now)

    receive(ready(), data[-1:])  # what is made once, such as compiled functions, is not counted
    assert peak(receive) < 4 * size
    again = peer.feed(encode_frame(0, Transfer(handle=0, delivery_id=1, delivery_tag=b"1"), b""))
    assert [type(event) for event in again] == [IncomingDelivery]


@pytest.mark.parametrize("link", [True, False])
def test_a_peer_that_asks_for_flow_over_and_over_and_does_not_read_makes_nothing_pile_up(link: bool) -> None:
    peer = Scripted()
    session = peer.session()
    peer.receiver(session)
    ask = Flow(
        next_incoming_id=0,
        incoming_window=100,
        next_outgoing_id=0,
        outgoing_window=100,
        handle=0 if link else None,
        echo=True,
    )
    peer.sent()
    peer.feed(encode_frame(0, ask) * 10_000)
    answers = peer.sent()
    assert [type(answer) for answer in answers] == [Flow]
    assert isinstance(answers[0], Flow)
    assert (answers[0].handle is not None) is link


@pytest.mark.parametrize("kind", [1, 2, 255])
def test_a_frame_of_a_wrong_type_is_noticed_at_its_header(kind: int) -> None:
    peer = Scripted()
    peer.session()
    events = peer.feed(struct.pack(">IBBH", 800_000_000, 2, kind, 0))
    assert events
    assert "type" in events[0].error.message  # type: ignore[union-attr]

"""What a receiver can know of messages that are on their way, and of credit that comes back."""

from __future__ import annotations

from collections import deque

import pytest

from amqp10.engine import ConnectionFailed, DeliveriesUpdated, IncomingDelivery
from amqp10.engine.events import Event
from amqp10.wire.messaging import ACCEPTED
from amqp10.wire.performatives import Flow
from tests.engine.harness import Pair


@pytest.mark.parametrize("frame_size", [512, 65536])
def test_a_message_that_has_begun_to_arrive_is_seen_on_its_link_and_on_no_other(frame_size: int) -> None:
    pair = Pair(server={"max_frame_size": frame_size})
    mine, _ = pair.session()
    out, incoming = pair.sender(mine, "large", credit=5)
    _, other = pair.sender(mine, "other", credit=5)
    out.send(b"x" * 5000)
    data = b"".join(pair.client.data_to_send(pair.now))
    events: list[Event] = []
    seen: list[bool] = []
    for at in range(len(data)):
        assert not pair.server.arriving(other)
        seen.append(pair.server.arriving(incoming))
        events += pair.server.receive_data(data[at : at + 1], pair.now)
    assert not pair.server.arriving(incoming)
    assert [type(event) for event in events] == [IncomingDelivery]
    # Enough of the first frame has to be here to tell its link; from then on it is seen up to the end.
    assert seen == [False] * seen.index(True) + [True] * (len(seen) - seen.index(True))
    assert seen.index(True) <= 30


def test_a_sender_that_gives_credit_back_without_advancing_its_count_can_be_believed() -> None:
    pair = Pair()
    mine, _ = pair.session()
    out, incoming = pair.sender(mine, credit=1)
    incoming.flow(1, drain=True)
    pair.step()
    out.session.send(
        Flow(
            next_incoming_id=0,
            incoming_window=100,
            next_outgoing_id=0,
            outgoing_window=100,
            handle=out.handle,
            delivery_count=incoming.delivery_count,
            link_credit=0,
            drain=True,
        )
    )
    pair.step()
    assert (incoming.credit, incoming.drain, incoming.returned) == (1, True, True)
    incoming.forget_credit()
    assert (incoming.credit, incoming.drain) == (0, False)
    # It sends one all the same: the credit was given, and the link must not end of it.
    out.send(b"late")
    pair.step()
    assert incoming.attached
    assert [type(event) for event in pair.take(server=True)][-1] is IncomingDelivery


def test_events_reach_a_queue_of_the_callers() -> None:
    pair = Pair()
    mine, _ = pair.session()
    out, _ = pair.sender(mine)
    out.send(b"x")
    pair.step()
    queue: deque[Event] = deque()
    for event in pair.take(server=True):
        if isinstance(event, IncomingDelivery):
            event.settle(ACCEPTED)
    pair.client.feed(b"".join(pair.server.data_to_send(pair.now)), pair.now)
    pair.client.process(queue)
    assert [type(event) for event in queue] == [DeliveriesUpdated]
    pair.client.feed(b"\x00\x00\x00\x04\x02\x00\x00\x00", pair.now)
    pair.client.process(queue)
    assert [type(event) for event in queue] == [DeliveriesUpdated, ConnectionFailed]

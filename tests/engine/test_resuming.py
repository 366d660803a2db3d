"""What resumption, streaming and front ends with delivery classes of their own need of the engine."""

from __future__ import annotations

from typing import Any

import pytest

from amqp10.codec import Symbol
from amqp10.engine import (
    Connection,
    ConnectionFailed,
    DeliveriesUpdated,
    DeliveryGrows,
    EndpointRole,
    IncomingDelivery,
    LinkAttached,
    LinkDetached,
    LinkRequested,
    OutgoingDelivery,
    PlainMechanism,
    SaslClient,
    SessionEnded,
)
from amqp10.errors import AuthenticationError
from amqp10.wire.frames import SASL_HEADER, encode_frame, encode_sasl_frame
from amqp10.wire.messaging import ACCEPTED, Received, Source, Target
from amqp10.wire.performatives import Attach, SaslCode, SaslMechanisms, SaslOutcome, Transfer
from tests.engine.harness import Pair, Scripted

# -- unsettled maps ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("receiver", [False, True])
def test_both_sides_learn_what_the_other_has_not_settled(receiver: bool) -> None:
    pair = Pair()
    mine, _ = pair.session()
    attach: Any = mine.attach_receiver if receiver else mine.attach_sender
    link = attach(
        "l",
        source=Source(address="q"),
        target=Target(address="q"),
        unsettled={b"a": None, b"b": ACCEPTED},
        incomplete_unsettled=not receiver,  # a sender that resumes nothing refuses such a receiver
        offered_capabilities=("resume",),
    )
    pair.step()
    (event,) = pair.take(server=True)
    assert isinstance(event, LinkRequested)
    assert event.unsettled == {b"a": None, b"b": ACCEPTED}
    assert event.attach.incomplete_unsettled is not receiver
    assert event.attach.offered_capabilities == ("resume",)
    event.link.accept(unsettled={b"b": Received(section_number=0, section_offset=3)})
    pair.step()
    (attached,) = [event for event in pair.take() if isinstance(event, LinkAttached)]
    assert attached.link is link
    assert attached.unsettled == {b"b": Received(section_number=0, section_offset=3)}


def test_a_peer_that_says_nothing_of_unsettled_deliveries_is_told_from_one_that_has_none() -> None:
    told: list[dict[bytes, Any] | None] = [None, {}]
    for said in told:
        pair = Pair()
        mine, _ = pair.session()
        mine.attach_sender("l", source=Source(), target=Target(address="q"), unsettled={})
        pair.step()
        (requested,) = [event for event in pair.take(server=True) if isinstance(event, LinkRequested)]
        assert requested.unsettled == {}
        requested.link.accept(unsettled=said)
        pair.step()
        (attached,) = [event for event in pair.take() if isinstance(event, LinkAttached)]
        assert attached.unsettled == said


@pytest.mark.parametrize("resuming", [False, True])
def test_a_sender_that_resumes_nothing_does_not_go_on_with_a_receiver_that_has_more(resuming: bool) -> None:
    peer = Scripted()
    session = peer.session()
    link = session.attach_sender("out", source=Source(), target=Target(), unsettled={b"t": None} if resuming else None)
    answer = Attach(name="out", handle=0, role=True, source=Source(), target=Target(), incomplete_unsettled=True)
    (event,) = peer.feed(encode_frame(0, answer))
    assert isinstance(event, LinkAttached if resuming else LinkDetached)
    assert link.attached == resuming


@pytest.mark.parametrize("unsettled", [{1 << 40: None}, {"text": None}, {b"x" * 33: None}])
def test_an_unsettled_map_with_other_keys_than_tags_ends_the_session(unsettled: dict[Any, Any]) -> None:
    peer = Scripted()
    peer.session()
    attach = Attach(name="l", handle=0, role=True, source=Source(), target=Target(), unsettled=unsettled)
    (event,) = peer.feed(encode_frame(0, attach))
    assert isinstance(event, SessionEnded)
    assert event.error is not None
    assert event.error.condition == "amqp:invalid-field"


def resumed(tag: bytes, delivery_id: int = 0, **fields: Any) -> bytes:
    transfer = Transfer(handle=0, delivery_id=delivery_id, delivery_tag=tag, message_format=0, resume=True, **fields)
    return encode_frame(0, transfer, b"rest")


def test_a_resumed_delivery_arrives_if_this_side_said_that_it_knows_it() -> None:
    peer = Scripted()
    link = peer.receiver(peer.session(), unsettled={b"known": None})
    (delivery,) = peer.feed(resumed(b"known", state=Received(section_number=0, section_offset=9)))
    assert isinstance(delivery, IncomingDelivery)
    assert (delivery.tag, delivery.resumed, delivery.payload) == (b"known", True, b"rest")
    assert delivery.remote_state == Received(section_number=0, section_offset=9)
    assert peer.feed(resumed(b"other", 1)) == []
    (new,) = peer.feed(
        encode_frame(0, Transfer(handle=0, delivery_id=2, delivery_tag=b"new", message_format=0), b"rest")
    )
    assert isinstance(new, IncomingDelivery)
    assert not new.resumed
    assert list(link.unsettled.values()) == [delivery, new]


def test_a_peer_that_resumes_one_delivery_again_and_again_is_remembered_once() -> None:
    peer = Scripted()
    link = peer.receiver(peer.session(), unsettled={b"known": None})
    for number in range(5):
        (delivery,) = peer.feed(resumed(b"known", number))
        assert isinstance(delivery, IncomingDelivery)
        assert delivery.resumed
        delivery.settle(ACCEPTED)
    assert len(link.resumed) == 1


# -- parts -------------------------------------------------------------------------------------------------------------


def part(payload: bytes, *, more: bool, first: bool = False, **fields: Any) -> bytes:
    head: dict[str, Any] = {"delivery_id": 0, "delivery_tag": b"t", "message_format": 0} if first else {}
    return encode_frame(0, Transfer(handle=0, more=more, **head, **fields), payload)


def test_the_parts_of_a_streamed_delivery_can_be_taken_as_they_come() -> None:
    peer = Scripted()
    link = peer.receiver(peer.session())
    link.streaming = True
    (event,) = peer.feed(part(b"ab", more=True, first=True))
    assert isinstance(event, DeliveryGrows)
    delivery = event.delivery
    assert b"".join(delivery.take_parts()) == b"ab"
    assert delivery.take_parts() == []
    assert peer.feed(part(b"cd", more=True)) == [DeliveryGrows(delivery)]
    assert peer.feed(part(b"ef", more=True)) == [DeliveryGrows(delivery)]
    assert b"".join(delivery.take_parts()) == b"cdef"
    assert peer.feed(part(b"g" * 2000, more=False)) == [delivery]
    assert (delivery.size, delivery.payload, delivery.size) == (2006, b"g" * 2000, 2006)
    assert b"".join(delivery.take_parts()) == b"g" * 2000
    assert (delivery.payload, delivery.size) == (b"", 2006)


def test_the_size_of_a_streamed_message_counts_what_was_taken() -> None:
    peer = Scripted()
    link = peer.receiver(peer.session(), max_message_size=5)
    link.streaming = True
    (event,) = peer.feed(part(b"abc", more=True, first=True))
    assert isinstance(event, DeliveryGrows)
    event.delivery.take_parts()
    (end,) = peer.feed(part(b"def", more=True))
    assert isinstance(end, LinkDetached)


def test_the_window_opens_only_for_the_parts_of_a_streamed_message_that_were_taken() -> None:
    pair = Pair(client={"max_frame_size": 512}, server={"max_frame_size": 512})
    mine, theirs = pair.session()
    theirs.window.incoming = 8
    theirs.send_flow()
    link, receiver = pair.sender(mine)
    receiver.streaming = True
    size = 100 * 450
    link.send(b"x" * size)
    pair.step()
    assert [type(event) for event in pair.take(server=True)] == [DeliveryGrows] * 8
    delivery = receiver.partial
    assert delivery is not None
    pair.step()
    theirs.send_flow()  # whatever the reason, it states no more than is free
    pair.step()
    assert pair.take(server=True) == []
    taken = 0
    while taken < size:
        parts = delivery.take_parts()
        assert 0 < sum(map(len, parts)) <= 8 * 512
        taken += sum(map(len, parts))
        pair.step()
    assert delivery.payload == b""
    assert pair.take(server=True)[-1] is delivery
    assert (theirs.window.held, receiver.held) == (0, 0)
    link.send(b"y" * 3000)
    pair.step()
    assert pair.take(server=True)[-1] is not delivery


def test_a_streamed_message_that_is_given_up_gives_the_window_back() -> None:
    pair = Pair(client={"max_frame_size": 512}, server={"max_frame_size": 512})
    mine, theirs = pair.session()
    theirs.window.incoming = 4
    theirs.send_flow()
    link, receiver = pair.sender(mine)
    receiver.streaming = True
    link.send(b"x" * 10_000)
    pair.step()
    assert theirs.window.held == 4
    receiver.detach()
    pair.step()
    assert theirs.window.held == 0
    other, _ = pair.sender(mine, "other")
    other.send(b"z" * 10)
    pair.step()
    assert isinstance(pair.take(server=True)[-1], IncomingDelivery)


def test_a_message_of_one_frame_can_be_taken_too_and_others_are_not_reported_in_parts() -> None:
    peer = Scripted()
    peer.receiver(peer.session())
    assert peer.feed(part(b"ab", more=True, first=True)) == []
    (delivery,) = peer.feed(part(b"cd", more=False))
    assert isinstance(delivery, IncomingDelivery)
    assert delivery.payload == b"abcd"
    assert delivery.take_parts() == [b"abcd"]
    assert delivery.size == 4


# -- delivery classes --------------------------------------------------------------------------------------------------


class Sent(OutgoingDelivery):
    __slots__ = ("outcome",)


class Got(IncomingDelivery):
    __slots__ = ()


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("size", [1, 100_000])
def test_links_make_deliveries_of_the_class_that_the_front_end_names(many: bool, size: int) -> None:
    pair = Pair(client={"max_frame_size": 10_000}, server={"max_frame_size": 10_000})
    mine, _ = pair.session()
    link, theirs = pair.sender(mine)
    link.delivery_type, theirs.delivery_type = Sent, Got
    if many:
        link.send_many([b"x"], [None])
    else:
        link.send(b"x" * size)
    pair.step()
    (got,) = [event for event in pair.take(server=True) if isinstance(event, IncomingDelivery)]
    assert type(got) is Got
    got.settle(ACCEPTED)
    pair.step()
    (updated,) = [event for event in pair.take() if isinstance(event, DeliveriesUpdated)]
    assert [type(delivery) for delivery in updated.deliveries] == [Sent]


# -- SASL --------------------------------------------------------------------------------------------------------------


class Proving(PlainMechanism):
    """A mechanism that has the server prove something."""

    __slots__ = ()

    def finish(self, additional_data: bytes | None) -> None:
        if additional_data != b"proof":
            raise AuthenticationError("the server does not prove that it knows the password")


@pytest.mark.parametrize("data", [b"proof", b"", None])
def test_the_servers_last_word_reaches_the_mechanism_which_may_refuse_it(data: bytes | None) -> None:
    engine = Connection(EndpointRole.CLIENT, container_id="c", sasl=SaslClient([Proving("u", "p")]))
    engine.start(0)
    frames = SASL_HEADER + encode_sasl_frame(SaslMechanisms(sasl_server_mechanisms=(Symbol("PLAIN"),)))
    assert engine.receive_data(frames, 0) == []
    events = engine.receive_data(encode_sasl_frame(SaslOutcome(code=SaslCode.OK, additional_data=data)), 0)
    assert engine.authenticated == (data == b"proof")
    assert [type(event) for event in events] == ([] if data == b"proof" else [ConnectionFailed])

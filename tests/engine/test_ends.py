"""How the engine comes to rest after a fault, and what it says then about links and messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from amqp10.engine import (
    Connection,
    ConnectionClosed,
    ConnectionFailed,
    EndpointRole,
    IncomingDelivery,
    LinkDetached,
    OutgoingDelivery,
    ReceiverLink,
    SenderLink,
    SessionEnded,
)
from amqp10.errors import ProtocolError
from amqp10.wire.frames import AMQP_HEADER, encode_frame
from amqp10.wire.messaging import ACCEPTED, Source, Target
from amqp10.wire.performatives import Attach, Begin, Close, Detach, Disposition, End, Error, Flow, Open, Transfer
from tests.engine.harness import BIG, Pair, Scripted

UNKNOWN = b"\0\0\0\x0c\x02\0\0\0\x00\x53\x01\x45"
"""A frame of an unknown type of body: a fault after which it is known where the next frame starts."""
NO_FRAME = b"\0\0\0\x07\x02\0\0\0"
"""A frame header that cannot be one: nothing after it can be understood."""
CLOSE = encode_frame(0, Close())
FLOW: dict[str, Any] = {"incoming_window": BIG, "next_outgoing_id": 0, "outgoing_window": BIG}


def transfer(number: int, **fields: Any) -> bytes:
    values = {"handle": 0, "delivery_id": number, "delivery_tag": b"%d" % number, **fields}
    return encode_frame(0, Transfer(**values), b"\x00\x53\x77\x40")


# -- connections -------------------------------------------------------------------------------------------------------


def over(peer: Scripted) -> bool:
    """Whether nothing more is to be exchanged."""
    return peer.engine.finished


@pytest.mark.parametrize("step", [0, 1])
def test_peers_answering_close_ends_a_connection_that_was_given_up(step: int) -> None:
    peer = Scripted()
    peer.session()
    assert [type(event) for event in peer.feed(UNKNOWN)] == [ConnectionFailed]
    assert not over(peer)
    data = encode_frame(0, Begin(next_outgoing_id=0, incoming_window=1, outgoing_window=1)) + UNKNOWN + CLOSE
    for piece in [data[i : i + 1] for i in range(len(data))] if step else [data]:
        assert peer.feed(piece) == [], "the end was reported with the fault"
    assert over(peer)
    assert peer.engine.receive_eof(peer.now) == []


def test_close_in_the_same_bytes_as_the_fault_is_found() -> None:
    peer = Scripted()
    peer.session()
    assert [type(event) for event in peer.feed(UNKNOWN + transfer(0) + CLOSE)] == [ConnectionFailed]
    assert over(peer)
    assert [frame.NAME for frame in peer.sent()] == ["close"]


def test_nothing_is_waited_for_when_the_stream_is_out_of_step() -> None:
    peer = Scripted()
    assert [type(event) for event in peer.feed(NO_FRAME)] == [ConnectionFailed]
    assert over(peer)
    assert [frame.NAME for frame in peer.sent()] == ["close"]
    late = Scripted()
    late.feed(UNKNOWN)
    assert late.feed(NO_FRAME + CLOSE) == []
    assert late.engine.finished


def test_silent_peer_has_the_idle_time_once_more_to_answer_the_close() -> None:
    for answers in (True, False):
        peer = Scripted(idle_timeout=10)
        peer.now += 10
        assert [type(event) for event in peer.engine.tick(peer.now)] == [ConnectionFailed]
        assert not over(peer)
        assert peer.engine.next_deadline() == peer.now + 10
        peer.now += 9
        assert peer.engine.tick(peer.now) == []
        if answers:
            assert peer.feed(CLOSE) == []
        else:
            assert not over(peer)
            peer.now += 1
            assert peer.engine.tick(peer.now) == []
        assert over(peer)
        assert peer.engine.next_deadline() is None


def opening() -> Connection:
    engine = Connection(EndpointRole.CLIENT, container_id="c")
    engine.start(100.0)
    engine.data_to_send(100.0)
    return engine


BAD_OPENS = {
    "field out of range": encode_frame(0, Open(container_id="s", max_frame_size=0)),
    "field missing": b"\0\0\0\x0c\x02\0\0\0\x00\x53\x10\x45",
    "another frame": encode_frame(0, Begin(next_outgoing_id=0, incoming_window=1, outgoing_window=1)),
}


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("opened", BAD_OPENS.values(), ids=BAD_OPENS.keys())
def test_reason_in_the_close_counts_more_than_what_is_wrong_with_the_open(opened: bytes, step: int) -> None:
    engine = opening()
    reason = Close(error=Error(condition="amqp:not-found", description="no such virtual host"))
    data = AMQP_HEADER + opened + encode_frame(0, reason)
    events = []
    for piece in [data[i : i + 1] for i in range(len(data))] if step else [data]:
        events += engine.receive_data(piece, 100.0)
    (event,) = events
    assert isinstance(event, ConnectionClosed)
    assert event.error is not None
    assert (event.error.condition, event.by_peer) == ("amqp:not-found", True)
    assert "no such virtual host" in event.error.message
    assert engine.finished


@pytest.mark.parametrize("end", ["close without a reason", "end of the stream", "silence", "nonsense"])
def test_what_is_wrong_with_the_open_is_said_when_no_reason_follows(end: str) -> None:
    engine = opening()
    assert engine.receive_data(AMQP_HEADER + BAD_OPENS["field out of range"], 100.0) == []
    assert engine.next_deadline() == 101.0
    if end == "close without a reason":
        events = engine.receive_data(CLOSE, 100.5)
    elif end == "end of the stream":
        events = engine.receive_eof(100.5)
    elif end == "nonsense":
        events = engine.receive_data(NO_FRAME, 100.5)
    else:
        assert engine.tick(100.9) == []
        events = engine.tick(101.0)
    (event,) = events
    assert isinstance(event, ConnectionFailed)
    assert "max-frame-size of 0" in event.error.message
    assert engine.finished


# -- links -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [lambda link: link.flow(5), lambda link: link.send_flow()], ids=["flow", "state"])
def test_flow_of_a_detached_link_gives_no_credit_to_a_stranger(write: Callable[[ReceiverLink], None]) -> None:
    peer = Scripted()
    session = peer.session()
    link = peer.receiver(session, credit=2)
    link.detach()
    peer.sent()
    for data in (encode_frame(0, Detach(handle=0, closed=True)), b"\0\0\0\x08\x02\0\0\0"):
        with pytest.raises(ProtocolError, match="not attached"):
            write(link)
        assert peer.sent() == []
        assert link.credit == 0
        peer.feed(data)
    again = session.attach_receiver("other", source=Source(address="r"), target=Target())
    assert again.handle == link.handle
    peer.sent()
    with pytest.raises(ProtocolError, match="not attached"):
        write(link)
    assert peer.sent() == []


def test_flow_of_a_link_that_was_not_answered_is_refused_and_of_one_on_its_way_is_not() -> None:
    peer = Scripted()
    session = peer.session()
    link = session.attach_receiver("in", source=Source(address="q"), target=Target())
    link.flow(3)
    assert [frame.NAME for frame in peer.sent()] == ["attach", "flow"]
    attach = Attach(name="x", handle=1, role=False, source=Source(), target=Target(), initial_delivery_count=0)
    (request,) = peer.feed(encode_frame(0, attach))
    with pytest.raises(ProtocolError, match="not attached"):
        request.link.flow(1)  # type: ignore[union-attr]
    assert peer.sent() == []


ERRANT = {
    "transfer": transfer(3),
    "flow": encode_frame(0, Flow(handle=0, delivery_count=0, next_incoming_id=0, **FLOW)),
    "disposition": encode_frame(0, Disposition(role=False, first=0, settled=True)),
    "attach": encode_frame(0, Attach(name="in", handle=1, role=False, initial_delivery_count=0)),
}


@pytest.mark.parametrize("data", ERRANT.values(), ids=ERRANT.keys())
def test_input_on_an_errant_link_ends_the_session(data: bytes) -> None:
    peer = Scripted()
    session = peer.session()
    peer.receiver(session, credit=1)
    (message, fault) = peer.feed(transfer(0) + transfer(1))
    assert isinstance(message, IncomingDelivery)
    assert isinstance(fault, LinkDetached)
    (event,) = peer.feed(data)
    assert isinstance(event, SessionEnded)
    assert event.error is not None
    assert event.error.condition == "amqp:session:errant-link"
    assert [frame.NAME for frame in peer.sent()] == ["detach", "end"]


def test_detach_is_all_that_an_errant_link_may_still_send() -> None:
    peer = Scripted()
    session = peer.session()
    peer.receiver(session, credit=0)
    peer.feed(transfer(0))
    assert [type(event) for event in peer.feed(encode_frame(0, Detach(handle=0, closed=True)))] == [LinkDetached]
    assert session.mapped
    assert not session.links


def test_link_that_this_side_detached_with_an_error_may_still_see_what_was_on_its_way() -> None:
    # Its peer has done nothing wrong: an error that a program reports is none at the endpoint.
    peer = Scripted()
    session = peer.session()
    link = peer.receiver(session, credit=5)
    link.detach(error=ProtocolError("the queue is gone", condition="amqp:resource-deleted"))
    assert peer.feed(transfer(0)) == []
    assert session.mapped


# -- messages ----------------------------------------------------------------------------------------------------------


def blocked(peer: Scripted, *, frames: int = 1) -> tuple[SenderLink, list[OutgoingDelivery]]:
    """A link with four messages, of which the session window let out so many frames."""
    session = peer.session()
    link = peer.sender(session)
    session.window.remote_incoming = frames
    return link, [link.send(b"x" * 400) for _ in range(4)]


DETACH = encode_frame(0, Detach(handle=0, closed=True))
ENDINGS: dict[str, tuple[Callable[[Scripted, SenderLink], object] | None, bytes, type[Any]]] = {
    "the peer detaches": (None, DETACH, LinkDetached),
    "the link is detached here": (lambda peer, link: link.detach(), DETACH, LinkDetached),
    "the peer ends the session": (None, encode_frame(0, End()), SessionEnded),
    "the session is ended here": (lambda peer, link: link.session.end(), encode_frame(0, End()), SessionEnded),
    "the session ends after the detach": (lambda peer, link: link.detach(), encode_frame(0, End()), SessionEnded),
    "the peer closes": (None, CLOSE, ConnectionClosed),
    "the connection is closed here": (lambda peer, link: peer.engine.close(), CLOSE, ConnectionClosed),
    "the peer breaks a rule": (None, UNKNOWN, ConnectionFailed),
}


@pytest.mark.parametrize(("here", "there", "kind"), ENDINGS.values(), ids=ENDINGS.keys())
def test_every_end_names_what_waited_for_the_window(
    here: Callable[[Scripted, SenderLink], object] | None, there: bytes, kind: type[Any]
) -> None:
    peer = Scripted()
    link, sent = blocked(peer)
    assert [delivery.complete for delivery in sent] == [True, False, False, False]
    if here is not None:
        here(peer, link)
    (event,) = peer.feed(there)
    assert isinstance(event, kind)
    ended: Any = event
    assert ended.undelivered == tuple(sent)
    assert not any(delivery.remote_settled for delivery in sent)


def test_settled_message_that_went_out_in_part_is_named_too() -> None:
    peer = Scripted()
    session = peer.session()
    link = peer.sender(session)
    peer.engine.output.max_frame_size = 512
    session.window.remote_incoming = 2
    sent = [link.send(b"x" * 2000, settled=True), link.send(b"y", settled=True)]
    assert 0 < sent[0].sent < 2000
    link.detach()
    (event,) = peer.feed(DETACH)
    assert event.undelivered == tuple(sent)  # type: ignore[union-attr]


@pytest.mark.parametrize("ours", [True, False])
def test_deliveries_of_a_closed_link_are_not_settled_by_anybody_and_nothing_is_said_of_them(ours: bool) -> None:
    pair = Pair()
    mine, theirs = pair.session()
    out, incoming = pair.sender(mine)
    sent = out.send(b"x")
    pair.step()
    (arrived,) = [event for event in pair.take(server=True) if isinstance(event, IncomingDelivery)]
    (out if ours else incoming).detach()
    pair.step()
    assert not sent.remote_settled
    assert not arrived.remote_settled
    sent.settle(ACCEPTED)
    arrived.update(ACCEPTED)
    arrived.settle(ACCEPTED)
    assert pair.client.data_to_send(pair.now) == []
    assert pair.server.data_to_send(pair.now) == []
    assert not mine.outgoing_unsettled
    assert not theirs.incoming_unsettled

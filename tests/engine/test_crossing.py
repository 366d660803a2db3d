"""Frames that cross each other, peers that do not wait for answers, and the edges of the serial numbers."""

from __future__ import annotations

from typing import Any

import pytest

from amqp10.broker.container import BrokerContainer
from amqp10.codec import Symbol
from amqp10.codec.composite import Composite
from amqp10.engine import (
    Connection,
    ConnectionFailed,
    ConnectionOpened,
    DeliveriesUpdated,
    EndpointRole,
    IncomingDelivery,
    LinkAttached,
    LinkDetached,
    LinkRequested,
    ReceiverLink,
    SenderLink,
    SessionEnded,
)
from amqp10.errors import LimitError, ProtocolError
from amqp10.wire.frames import AMQP_HEADER, encode_frame
from amqp10.wire.messaging import ACCEPTED, Modified, Rejected, Source, Target
from amqp10.wire.performatives import (
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    Open,
    Transfer,
)
from tests.engine.harness import BIG, Pair, Scripted
from tests.fuzz.auditor import Frames

WINDOWS: dict[str, Any] = {"incoming_window": 100, "outgoing_window": 100}
FLOW: dict[str, Any] = {"next_incoming_id": 0, "next_outgoing_id": 0, **WINDOWS}
BEGIN = encode_frame(0, Begin(next_outgoing_id=0, **WINDOWS))
ATTACH_SENDER = encode_frame(
    0, Attach(name="l", handle=0, role=False, source=Source(), target=Target(address="q"), initial_delivery_count=0)
)
ATTACH_RECEIVER = encode_frame(0, Attach(name="l", handle=0, role=True, source=Source(address="q"), target=Target()))
DETACH = encode_frame(0, Detach(handle=0, closed=True))
END = encode_frame(0, End())
CLOSE = encode_frame(0, Close())
PAYLOAD = b"\x00\x53\x77\x40"


def transfer(number: int = 0, **fields: Any) -> bytes:
    values = {"handle": 0, "delivery_id": number, "delivery_tag": b"%d" % number, "message_format": 0, **fields}
    return encode_frame(0, Transfer(**values), PAYLOAD)


def sent(engine: Connection) -> list[Composite]:
    frames = Frames()
    data = b"".join(engine.data_to_send(0))
    frames.headed = not data.startswith(b"AMQP")
    return [frame for _, _, frame, _ in frames.feed(data)]


def server(**opened: Any) -> Connection:
    engine = Connection(EndpointRole.SERVER, container_id="s")
    engine.start(0)
    engine.receive_data(AMQP_HEADER + encode_frame(0, Open(container_id="c", **opened)), 0)
    engine.data_to_send(0)
    return engine


def names(frames: list[Composite]) -> list[str]:
    return [frame.NAME for frame in frames]


@pytest.mark.parametrize("accept", [True, False])
@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (ATTACH_SENDER + DETACH, ["begin", "attach", "detach"]),
        (ATTACH_RECEIVER + DETACH, ["begin", "attach", "detach"]),
        (ATTACH_RECEIVER + encode_frame(0, Flow(handle=0, link_credit=5, **FLOW)) + DETACH, None),
        (END, ["begin", "end"]),
        (ATTACH_SENDER + END, ["begin", "end"]),
        (ATTACH_SENDER + DETACH + END, ["begin", "attach", "detach", "end"]),
        (encode_frame(0, Flow(echo=True, **FLOW)), ["begin", "flow"]),
        (ATTACH_SENDER + CLOSE, ["close"]),
        (CLOSE, ["close"]),
    ],
)
def test_peer_that_does_not_wait_for_answers_is_answered_in_order(
    data: bytes, answer: list[str] | None, accept: bool
) -> None:
    engine = server()
    events = engine.receive_data(BEGIN + data, 0)
    assert not any(isinstance(event, (ConnectionFailed,)) for event in events), events
    # The answers that the program gives afterwards come too late, and do no harm.
    for event in events:
        if type(event).__name__ == "SessionRequested":
            event.session.accept()  # type: ignore[union-attr]
        elif isinstance(event, LinkRequested):
            if accept:
                event.link.accept()
            else:
                event.link.refuse(ProtocolError("no"))
    frames = names(sent(engine))
    assert answer is None or frames == answer
    assert all(not session.links for session in engine.sessions.values())


@pytest.mark.parametrize("attach", [ATTACH_SENDER, ATTACH_RECEIVER])
@pytest.mark.parametrize("rest", [DETACH, END, CLOSE, DETACH + END + CLOSE])
@pytest.mark.parametrize("begun", [True, False])
def test_broker_survives_links_that_go_in_the_same_batch(attach: bytes, rest: bytes, begun: bool) -> None:
    connection = BrokerContainer().accept()
    opening = AMQP_HEADER + encode_frame(0, Open(container_id="c")) + BEGIN
    if begun:
        connection.receive(opening)
        opening = b""
    connection.receive(opening + attach + rest)
    assert not connection._consumers
    assert not connection._producers
    frames = names(sent(connection.engine))
    assert rest[-4:] != CLOSE[-4:] or frames[-1] == "close"


def test_nothing_is_written_after_a_close_by_links_that_somebody_still_holds() -> None:
    pair = Pair()
    mine, _theirs = pair.session()
    out, incoming = pair.sender(mine)
    delivery = out.send(b"x")
    pair.step()
    (arrived,) = [e for e in pair.take(server=True) if isinstance(e, IncomingDelivery)]
    pair.client.close()
    arrived.settle(ACCEPTED)
    pair.server.close(ProtocolError("enough"))
    for send in (lambda: out.send(b"y"), lambda: incoming.flow(5), pair.client.begin):
        with pytest.raises(ProtocolError):
            send()
    assert out.send_many([b"y"], [0]) == []
    delivery.settle()
    out.detach()
    mine.end()
    assert names(sent(pair.client)) == ["close"]
    assert names(sent(pair.server))[-1] == "close"
    assert mine.unmapped
    assert out.detached


def test_what_waits_for_the_window_is_not_sent_on_a_link_that_is_being_detached() -> None:
    peer = Scripted()
    session = peer.session()
    link = peer.sender(session)
    session.window.remote_incoming = 0
    waiting = [link.send(b"x"), link.send(b"")]
    assert not any(delivery.complete for delivery in waiting), "not even the empty one has been framed"
    link.detach()
    waiting[0].abort()
    peer.feed(encode_frame(0, Flow(**{**FLOW, "incoming_window": BIG})))
    assert names(peer.sent()) == ["detach"]
    assert not peer.engine.backlogged


@pytest.mark.parametrize("credit", [0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_credit_beyond_half_the_serial_numbers_is_credit(credit: int) -> None:
    pair = Pair(client={"initial_delivery_count": 0xFFFFFFFE})
    mine, _ = pair.session()
    out, incoming = pair.sender(mine, credit=0)
    incoming.flow(credit)
    pair.step()
    assert out.credit == credit
    for _ in range(5):
        out.send(b"x")
    out.send_flow()
    pair.step()
    assert out.credit == incoming.credit == credit - 5
    assert out.delivery_count == incoming.delivery_count == 3
    incoming.flow(credit, drain=True)
    pair.step()
    out.drained()
    pair.step()
    assert out.credit == incoming.credit == 0
    assert not incoming.drain


def test_messages_that_wait_lose_their_credit_when_the_receiver_takes_it_back() -> None:
    pair = Pair()
    mine, _theirs = pair.session()
    out, incoming = pair.sender(mine, credit=5)
    mine.window.remote_incoming = 1
    for number in range(4):
        out.send(b"%d" % number)
    incoming.flow(2, drain=True)
    # The session window opens with the flow that takes the credit back: two of the three that wait must stay.
    pair.client.receive_data(b"".join(pair.server.data_to_send(0)), 0)
    out.drained()
    pair.step()
    assert [e.payload for e in pair.take(server=True) if isinstance(e, IncomingDelivery)] == [b"0", b"1"]
    assert (out.credit, incoming.credit, incoming.drain) == (0, 0, False)
    with pytest.raises(ProtocolError, match="no credit"):
        out.send(b"4")
    incoming.flow(3)
    pair.step()
    assert [e.payload for e in pair.take(server=True) if isinstance(e, IncomingDelivery)] == [b"2", b"3"]
    assert out.credit == incoming.credit == 1


def test_flow_of_a_sender_does_not_count_what_waits_for_the_window() -> None:
    pair = Pair()
    mine, _ = pair.session()
    out, incoming = pair.sender(mine, credit=5)
    mine.window.remote_incoming = 0
    for _ in range(3):
        out.send(b"x")
    out.send_flow()
    data = b"".join(pair.client.data_to_send(0))
    pair.server.receive_data(data, 0)
    assert (incoming.delivery_count, incoming.credit) == (0, 5)


def test_drain_that_crosses_older_flows_does_not_make_a_fault_of_legal_messages() -> None:
    pair = Pair()
    mine, _ = pair.session()
    out, incoming = pair.sender(mine, credit=6)
    out.send_flow()
    for _ in range(4):
        out.send(b"x")
    incoming.flow(0, drain=True)
    pair.step()
    assert not [e for e in pair.take(server=True) if isinstance(e, LinkDetached)]


def test_delivery_count_that_goes_back_gives_no_credit() -> None:
    peer = Scripted()
    peer.receiver(peer.session(), credit=2)
    back = {"handle": 0, "delivery_count": 0, **WINDOWS, "next_incoming_id": 0}
    events: list[Any] = []
    for number in range(4):
        events += peer.feed(transfer(number) + encode_frame(0, Flow(next_outgoing_id=number + 1, **back)))
    assert sum(isinstance(event, IncomingDelivery) for event in events) == 2
    (fault,) = [event for event in events if isinstance(event, LinkDetached)]
    assert fault.error is not None
    assert fault.error.condition == "amqp:link:transfer-limit-exceeded"


def test_message_on_a_link_that_has_not_been_answered_is_a_fault_not_a_loss() -> None:
    engine = server()
    events = engine.receive_data(BEGIN + ATTACH_SENDER + transfer(), 0)
    (fault,) = [event for event in events if isinstance(event, LinkDetached)]
    assert fault.error is not None
    assert fault.error.condition == "amqp:link:transfer-limit-exceeded"
    (request,) = [event for event in events if isinstance(event, LinkRequested)]
    request.link.accept()
    assert names(sent(engine)) == ["begin", "attach", "detach"]


@pytest.mark.parametrize("parts", [1, 3])
def test_resumed_delivery_is_passed_over_and_the_link_goes_on(parts: int) -> None:
    peer = Scripted()
    session = peer.session()
    link = peer.receiver(session)
    events = peer.feed(transfer(resume=True, more=parts > 1))
    for number in range(1, parts):
        events += peer.feed(encode_frame(0, Transfer(handle=0, more=number < parts - 1), PAYLOAD))
    assert events == []
    assert not session.incoming_unsettled
    assert link.partial is None
    assert [type(event) for event in peer.feed(transfer(1))] == [IncomingDelivery]
    assert peer.feed(transfer(2, resume=True, aborted=True)) == []
    assert (link.delivery_count, link.credit) == (3, 7)


def test_peer_that_names_only_some_of_its_unsettled_deliveries_is_sent_nothing_new() -> None:
    peer = Scripted()
    session = peer.session()
    session.attach_sender("out", source=Source(), target=Target(address="q"))
    attach = Attach(
        name="out", handle=0, role=True, target=Target(address="q"), incomplete_unsettled=True, unsettled={}
    )
    (event,) = peer.feed(encode_frame(0, attach))
    assert isinstance(event, LinkDetached)
    assert event.error is not None
    assert event.error.condition == "amqp:not-implemented"
    assert names(peer.sent()) == ["attach", "detach"]


def test_link_given_up_before_its_answer_came_is_never_reported_as_attached() -> None:
    peer = Scripted()
    session = peer.session()
    link = session.attach_sender("out", source=Source(), target=Target(address="q"))
    link.detach()
    events = peer.feed(encode_frame(0, Attach(name="out", handle=0, role=True, target=Target(address="q"))))
    events += peer.feed(DETACH)
    assert not [event for event in events if isinstance(event, LinkAttached)]
    (event,) = events
    assert isinstance(event, LinkDetached)
    assert (event.error, event.refused, event.by_peer) == (None, False, False)
    assert not session.links


@pytest.mark.parametrize("closed", [True, False])
def test_closed_link_leaves_no_deliveries_behind(closed: bool) -> None:
    pair = Pair()
    mine, theirs = pair.session()
    out, _ = pair.sender(mine)
    deliveries = [out.send(b"x"), out.send(b"y")]
    pair.step()
    arrived = [e for e in pair.take(server=True) if isinstance(e, IncomingDelivery)]
    out.detach(closed=closed)
    pair.step()
    assert len(mine.outgoing_unsettled) == len(theirs.incoming_unsettled) == (0 if closed else 2)
    # On a link that was only detached they are live: what is said about them counts (transport, "disposition").
    for delivery in arrived:
        delivery.settle(ACCEPTED)
    pair.step()
    updates = [e for e in pair.take() if isinstance(e, DeliveriesUpdated)]
    assert [d for update in updates for d in update.deliveries] == ([] if closed else deliveries)
    assert not mine.outgoing_unsettled
    assert not theirs.incoming_unsettled


def test_error_that_is_too_long_for_the_peers_frames_is_cut_short() -> None:
    text = "ü" * 1000
    engine = server(max_frame_size=512)
    (session,) = [e.session for e in engine.receive_data(BEGIN, 0)]  # type: ignore[union-attr]
    session.accept()
    long = encode_frame(0, Attach(name="n" * 440, handle=0, role=False, source=Source(), initial_delivery_count=0))
    again = encode_frame(0, Attach(name="n" * 440, handle=1, role=False, source=Source(), initial_delivery_count=0))
    events = engine.receive_data(long + again, 0)
    assert isinstance(events[-1], SessionEnded)
    engine.close(ProtocolError(text, condition="amqp:internal-error"))
    frames = sent(engine)
    assert names(frames) == ["begin", "end", "close"]
    close = frames[-1]
    assert isinstance(close, Close)
    assert close.error is not None
    assert 150 < len(close.error.description or "") < 256
    assert text.startswith(close.error.description or "-")


@pytest.mark.parametrize("condition", ["test:no", "c" * 390], ids=["short condition", "condition that fills the frame"])
def test_rejection_is_cut_to_the_peers_frames_and_annotations_that_do_not_fit_are_refused(condition: str) -> None:
    pair = Pair(client={"max_frame_size": 512})
    mine, _theirs = pair.session()
    link = mine.attach_sender("l", source=Source(), target=Target(address="q"))
    pair.step()
    (incoming,) = [e.link for e in pair.take(server=True) if isinstance(e, LinkRequested)]
    assert isinstance(incoming, ReceiverLink)
    incoming.accept()
    incoming.flow(5)
    pair.step()
    link.send(b"x")
    link.send(b"y")
    pair.step()
    first, second = [e for e in pair.take(server=True) if isinstance(e, IncomingDelivery)]
    info = {Symbol("k"): "v" * 1000}
    first.settle(Rejected(error=Error(condition=condition, description="z" * 1000, info=info)))
    with pytest.raises(ProtocolError) as caught:
        second.settle(Modified(message_annotations={Symbol("x-opt-a"): "v" * 1000}))
    assert caught.value.condition == "amqp:frame-size-too-small"
    assert not second.settled
    second.settle(ACCEPTED)
    pair.step()
    states = [(e.deliveries[0].delivery_id, e.state) for e in pair.take() if isinstance(e, DeliveriesUpdated)]
    assert [number for number, _ in states] == [0, 1]
    rejected = states[0][1]
    assert isinstance(rejected, Rejected)
    assert rejected.error is not None
    assert rejected.error.condition == condition
    assert set(rejected.error.description or "") == {"z"}


def test_attach_that_does_not_fit_leaves_name_and_handle_free() -> None:
    engine = Connection(EndpointRole.CLIENT, container_id="c")
    engine.start(0)
    session = engine.begin()
    for _ in range(2):
        # Before the peer's open, what everybody accepts is all that may be sent.
        with pytest.raises(ProtocolError, match="512"):
            session.attach_sender("n" * 600, source=Source(), target=Target())
    assert not session.links
    assert session.attach_sender("n", source=Source(), target=Target()).handle == 0


def test_frame_before_the_clients_open_gets_open_and_close_with_the_reason() -> None:
    engine = Connection(EndpointRole.SERVER, container_id="s")
    engine.start(0)
    (event,) = engine.receive_data(AMQP_HEADER + BEGIN, 0)
    assert isinstance(event, ConnectionFailed)
    opened, close = sent(engine)
    assert isinstance(opened, Open)
    assert isinstance(close, Close)
    assert close.error is not None
    assert close.error.condition == "amqp:not-allowed"


def test_sessions_beyond_the_channels_that_the_peer_takes_end_the_connection_with_the_reason() -> None:
    engine = server(channel_max=0)
    two = encode_frame(1, Begin(next_outgoing_id=0, **WINDOWS))
    (_, event) = engine.receive_data(BEGIN + two, 0)
    assert isinstance(event, ConnectionFailed)
    assert isinstance(event.error, LimitError)
    close = sent(engine)[-1]
    assert isinstance(close, Close)
    assert close.error is not None
    assert close.error.condition == "amqp:resource-limit-exceeded"


def test_open_that_arrives_after_our_close_reports_no_open_connection() -> None:
    engine = Connection(EndpointRole.CLIENT, container_id="c")
    engine.start(0)
    engine.receive_data(AMQP_HEADER, 0)
    engine.close()
    events = engine.receive_data(encode_frame(0, Open(container_id="s")) + CLOSE, 0)
    assert not [event for event in events if isinstance(event, ConnectionOpened)]
    assert engine.finished


@pytest.mark.parametrize("state", ["text", 5, b"x", [1]])
def test_delivery_state_that_is_none_is_a_fault_not_an_outcome(state: Any) -> None:
    peer = Scripted()
    link = peer.sender(peer.session())
    link.send(PAYLOAD)
    (event,) = peer.feed(encode_frame(0, Disposition(role=True, first=0, settled=True, state=state)))
    assert isinstance(event, ConnectionFailed)
    assert "requires delivery-state" in event.error.message


@pytest.mark.parametrize("start", [0x7FFFFFFE, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF])
@pytest.mark.parametrize("first", [True, False])
def test_dispositions_of_both_roles_reach_across_the_wrap(start: int, first: bool) -> None:
    pair = Pair(client={"initial_outgoing_id": start, "initial_delivery_count": start})
    mine, theirs = pair.session()
    out, _ = pair.sender(mine)
    sending = [out.send(b"%d" % number) for number in range(4)]
    assert [d.delivery_id for d in sending] == [(start + number) & 0xFFFFFFFF for number in range(4)]
    pair.step()
    arrived = [e for e in pair.take(server=True) if isinstance(e, IncomingDelivery)]
    if first:
        for sending_one in sending:
            sending_one.settle(ACCEPTED)
        pair.step()
        assert all(delivery.remote_settled and delivery.remote_state == ACCEPTED for delivery in arrived)
        for delivery in arrived:
            delivery.settle(ACCEPTED)
        pair.step()
        assert not [e for e in pair.take() if isinstance(e, DeliveriesUpdated)]
    else:
        # From the peer's middle range outwards, with an unknown id on either side.
        last = (start + 4) & 0xFFFFFFFF
        before = (start - 1) & 0xFFFFFFFF
        disposition = Disposition(role=True, first=before, last=last, settled=True, state=ACCEPTED)
        (event,) = pair.client.receive_data(encode_frame(theirs.channel, disposition), 0)
        assert isinstance(event, DeliveriesUpdated)
        assert event.deliveries == sending
    assert not mine.outgoing_unsettled


@pytest.mark.parametrize("base", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_flow_of_a_peer_that_has_seen_no_begin_counts_from_the_first_transfer_id(base: int) -> None:
    peer = Scripted(initial_outgoing_id=base)
    session = peer.engine.begin()
    begin = Begin(remote_channel=0, next_outgoing_id=0, incoming_window=2, outgoing_window=2)
    peer.feed(encode_frame(0, begin))
    link = session.attach_sender("out", source=Source(), target=Target(address="q"))
    peer.feed(encode_frame(0, Attach(name="out", handle=0, role=True, target=Target(address="q"))))
    credit: dict[str, Any] = {"handle": 0, "link_credit": 10, "next_outgoing_id": 0, "outgoing_window": 1}
    peer.feed(encode_frame(0, Flow(incoming_window=2, **credit)))
    assert isinstance(link, SenderLink)
    for _ in range(3):
        link.send(b"x")
    assert names(peer.sent()).count("transfer") == 2
    peer.feed(encode_frame(0, Flow(incoming_window=3, **credit)))
    assert names(peer.sent()) == ["transfer"]
    peer.feed(encode_frame(0, Flow(incoming_window=3, next_incoming_id=(base + 3) & 0xFFFFFFFF, **credit)))
    assert session.window.remote_incoming == 3


def test_link_whose_name_does_not_fit_the_peers_own_frames_ends_the_session() -> None:
    engine = server(max_frame_size=512)
    attach = Attach(name="n" * 600, handle=0, role=False, source=Source(), initial_delivery_count=0)
    events = engine.receive_data(BEGIN + encode_frame(0, attach), 0)
    assert isinstance(events[-1], SessionEnded)
    (_, end) = sent(engine)
    assert isinstance(end, End)
    assert end.error is not None
    assert end.error.condition == "amqp:frame-size-too-small"


LONG: dict[str, Any] = {"source": Source(address="x" * 600), "target": Target(address="x" * 600)}


@pytest.mark.parametrize(
    ("role", "fields", "rest", "condition"),
    [
        (False, {"initial_delivery_count": 0}, transfer(), "amqp:link:transfer-limit-exceeded"),
        (True, {"incomplete_unsettled": True}, b"", "amqp:not-implemented"),
        (False, {"initial_delivery_count": 0}, DETACH, None),
        (True, {}, b"", "amqp:not-allowed"),
    ],
)
def test_termini_that_do_not_fit_the_peers_own_frames_are_refused_all_the_same(
    role: bool, fields: dict[str, Any], rest: bytes, condition: str | None
) -> None:
    engine = server(max_frame_size=512)
    attach = encode_frame(0, Attach(name="l", handle=0, role=role, **LONG, **fields))
    for event in engine.receive_data(BEGIN + attach + rest, 0):
        if isinstance(event, LinkRequested):
            # Without effect where the engine has given the answer already.
            event.link.refuse(ProtocolError("no", condition="amqp:not-allowed"))
    frames = sent(engine)
    assert names(frames) == ["begin", "attach", "detach"]
    error = frames[-1].error  # type: ignore[attr-defined]
    assert (error.condition if error is not None else None) == condition
    assert engine.can_send


def test_links_and_sessions_that_end_with_the_connection_know_the_reason_of_the_peer() -> None:
    pair = Pair()
    session, _ = pair.session()
    link, _ = pair.sender(session)
    pair.server.close(ProtocolError("maintenance", condition="amqp:connection:forced"))
    pair.step()
    for error in (session.error, link.error):
        assert error is not None
        assert error.condition == "amqp:connection:forced"


LONG_WINDED = (
    Modified(message_annotations={Symbol("x-opt-a"): "v" * 1000}),
    Rejected(error=Error(condition=Symbol("c" * 1000), description="no")),
)


@pytest.mark.parametrize("state", LONG_WINDED)
def test_outcome_that_does_not_fit_the_receivers_own_frames_is_not_repeated_when_its_delivery_is_settled(
    state: Modified | Rejected,
) -> None:
    pair = Pair(server={"max_frame_size": 512})
    session, _ = pair.session()
    link, _ = pair.sender(session)
    link.send(PAYLOAD)
    pair.step()
    (incoming,) = [e for e in pair.take(server=True) if isinstance(e, IncomingDelivery)]
    incoming.update(state)
    pair.step()
    (update,) = [e for e in pair.take() if isinstance(e, DeliveriesUpdated)]
    assert not update.settled
    update.deliveries[0].settle()
    pair.step()
    assert incoming.remote_settled
    assert pair.client.can_send


@pytest.mark.parametrize("state", LONG_WINDED)
def test_outcome_that_does_not_fit_the_senders_frames_is_refused_where_it_is_given(state: Modified | Rejected) -> None:
    pair = Pair(client={"max_frame_size": 512})
    session, _ = pair.session()
    link, _ = pair.sender(session)
    link.send(PAYLOAD)
    pair.step()
    (incoming,) = [e for e in pair.take(server=True) if isinstance(e, IncomingDelivery)]
    with pytest.raises(ProtocolError):
        incoming.settle(state)
    assert not incoming.settled
    incoming.settle(ACCEPTED)
    pair.step()
    assert [e.state for e in pair.take() if isinstance(e, DeliveriesUpdated)] == [ACCEPTED]

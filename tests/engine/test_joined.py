"""Both ends of the engine joined in memory: life cycles, transfers, flow control, outcomes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqp10.engine import (
    AnonymousMechanism,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
    ConnectionState,
    DeliveriesUpdated,
    DeliveryAborted,
    IncomingDelivery,
    LinkDetached,
    LinkRequested,
    PlainMechanism,
    SaslClient,
    SaslServer,
    SessionEnded,
)
from amqp10.errors import AuthenticationError, LimitError, ProtocolError
from amqp10.wire.messaging import ACCEPTED, Source, Target
from tests.engine.harness import Pair
from tests.examples import examples

NEAR_WRAP = {"initial_outgoing_id": 0xFFFFFFFA, "initial_delivery_count": 0xFFFFFFFB}


def deliveries(events: list[Any]) -> list[IncomingDelivery]:
    return [event for event in events if isinstance(event, IncomingDelivery)]


@pytest.mark.parametrize("chunk", [0, 1, 7])
@pytest.mark.parametrize("sasl", ["none", "anonymous", "plain"])
def test_connection_opens_and_closes_however_the_bytes_are_cut(chunk: int, sasl: str) -> None:
    client: dict[str, Any] = {}
    server: dict[str, Any] = {}
    if sasl != "none":
        mechanism = AnonymousMechanism() if sasl == "anonymous" else PlainMechanism("u", "p")
        client["sasl"] = SaslClient([mechanism])
        server["sasl"] = SaslServer(users={"u": "p"})
    pair = Pair(chunk=chunk, client=client, server=server)
    pair.step()
    assert isinstance(pair.take()[0], ConnectionOpened)
    assert isinstance(pair.take(server=True)[0], ConnectionOpened)
    pair.client.close()
    pair.step()
    assert pair.take() == [ConnectionClosed(None, by_peer=False)]
    assert pair.take(server=True) == [ConnectionClosed(None, by_peer=True)]
    assert pair.client.state is pair.server.state is ConnectionState.END


@pytest.mark.parametrize(
    ("mechanism", "users", "words"),
    [
        (PlainMechanism("u", "wrong"), {"u": "p"}, "not accepted"),
        (PlainMechanism("nobody", "p"), {"u": "p"}, "not accepted"),
        (PlainMechanism("u", "p"), {}, "does not offer SASL PLAIN; it offers: ANONYMOUS"),
    ],
)
def test_authentication_that_fails_says_why(mechanism: PlainMechanism, users: dict[str, str], words: str) -> None:
    pair = Pair(client={"sasl": SaslClient([mechanism])}, server={"sasl": SaslServer(users=users)})
    pair.step()
    (event,) = pair.take()
    assert isinstance(event, ConnectionFailed)
    assert isinstance(event.error, AuthenticationError)
    assert words in event.error.message


def test_simultaneous_close_and_detach_and_end_come_to_rest() -> None:
    pair = Pair()
    mine, theirs = pair.session()
    out, incoming = pair.sender(mine)
    out.detach()
    incoming.detach()
    pair.step()
    assert mine.links == {}
    assert theirs.links == {}
    mine.end()
    theirs.end()
    pair.step()
    assert not pair.client.sessions
    assert not pair.server.sessions
    pair.client.close()
    pair.server.close()
    pair.step()
    assert pair.client.finished
    assert pair.server.finished


def test_a_channel_rests_before_it_is_used_again_and_the_lowest_free_handle_is_at_once() -> None:
    pair = Pair()
    sessions = [pair.session()[0] for _ in range(3)]
    assert [session.channel for session in sessions] == [0, 1, 2]
    sessions[1].end()
    pair.step()
    pair.take(server=True)
    # RabbitMQ takes a begin that follows on the same channel for a frame of the session that it has just ended.
    channels = []
    for _ in range(7):
        again, _ = pair.session()
        channels.append(again.channel)
        again.end()
        pair.step()
        pair.take(server=True)
    assert channels == [3, 4, 5, 6, 1, 3, 4]
    again, _ = pair.session()
    links = [pair.sender(again, name)[0] for name in "abc"]
    links[0].detach()
    pair.step()
    pair.take(server=True)
    assert pair.sender(again, "d")[0].handle == 0


def test_limits_of_the_peer_are_kept() -> None:
    pair = Pair(server={"channel_max": 1})
    pair.session()
    last, _ = pair.session()
    with pytest.raises(LimitError):
        pair.client.begin()
    # With so few, none can rest.
    last.end()
    pair.step()
    pair.take(server=True)
    assert pair.session()[0].channel == last.channel
    session, _ = Pair().session(handle_max=0)
    session.attach_sender("a", source=Source(), target=Target())
    with pytest.raises(LimitError):
        session.attach_sender("b", source=Source(), target=Target())


def test_refused_link_tells_the_reason_and_leaves_nothing() -> None:
    pair = Pair()
    mine, theirs = pair.session()
    link = mine.attach_sender("l", source=Source(), target=Target(address="nowhere"))
    pair.step()
    request = next(e for e in pair.take(server=True) if isinstance(e, LinkRequested))
    request.link.refuse(ProtocolError("no such node", condition="amqp:not-found"))
    pair.step()
    (event,) = [e for e in pair.take() if isinstance(e, LinkDetached)]
    assert event.refused
    assert event.error is not None
    assert event.error.condition == "amqp:not-found"
    assert "no such node" in event.error.message
    assert link.detached
    assert mine.links == {}
    assert theirs.links == {}


def test_begin_and_attach_may_follow_without_waiting() -> None:
    pair = Pair()
    pair.step()
    session = pair.client.begin()
    session.attach_sender("l", source=Source(), target=Target(address="q"))
    pair.step()
    kinds = [type(event).__name__ for event in pair.take(server=True)]
    assert kinds[-2:] == ["SessionRequested", "LinkRequested"]


@pytest.mark.parametrize("frame", [512, 0xFFFFFFFF])
def test_message_sent_in_two_parts_arrives_as_one_whatever_way_it_takes(frame: int) -> None:
    pair = Pair(server={"max_frame_size": frame})
    mine, _ = pair.session()
    out, _ = pair.sender(mine)
    sent = [out.send(b"head" * n, b"body" * 500, settled=n == 2) for n in (1, 2, 3)]
    assert [delivery.size for delivery in sent] == [2004, 2008, 2012]
    pair.step()
    expected = [b"head" * n + b"body" * 500 for n in (1, 2, 3)]
    assert [delivery.payload for delivery in deliveries(pair.take(server=True))] == expected
    assert all(delivery.complete for delivery in sent)
    assert [delivery.payload for delivery in sent] == expected, "it can still be looked at as a whole"


@pytest.mark.parametrize("chunk", [0, 65536, 100_000])
def test_large_message_is_not_copied_out_of_what_arrived_and_is_bytes_to_whoever_asks(chunk: int) -> None:
    pair = Pair(chunk=chunk)
    mine, _ = pair.session()
    out, _ = pair.sender(mine)
    large, small = bytes(range(256)) * 1000, b"small"
    for payload in (small, large, small):
        out.send(payload)
    pair.step()
    arrived = deliveries(pair.take(server=True))
    assert [type(delivery.buffer) for delivery in arrived] == [bytes, memoryview, bytes]
    assert [bytes(delivery.buffer) for delivery in arrived] == [small, large, small]
    assert [delivery.size for delivery in arrived] == [len(small), len(large), len(small)]
    assert [delivery.payload for delivery in arrived] == [small, large, small]
    assert all(type(delivery.payload) is bytes for delivery in arrived)


def test_message_among_many_does_not_keep_the_others_in_memory() -> None:
    pair = Pair()
    mine, _ = pair.session()
    out, _ = pair.sender(mine)
    for _ in range(8):
        out.send(bytes(70_000))
    pair.step()
    assert {type(delivery.buffer) for delivery in deliveries(pair.take(server=True))} == {bytes}


def test_how_much_of_a_frame_is_missing_is_known_as_soon_as_its_size_is() -> None:
    pair = Pair()
    mine, _ = pair.session()
    out, _ = pair.sender(mine)
    out.send(bytes(100_000))
    data = b"".join(pair.client.data_to_send(pair.now))
    assert pair.server.missing == 0
    pair.server.receive_data(data[:7], pair.now)
    assert pair.server.missing == 1
    pair.server.receive_data(data[7:50_000], pair.now)
    assert pair.server.missing == len(data) - 50_000
    pair.server.receive_data(data[50_000:], pair.now)
    assert pair.server.missing == 0


@pytest.mark.parametrize("chunk", [0, 1, 100])
@pytest.mark.parametrize("frame", [512, 4096, 0xFFFFFFFF])
@pytest.mark.parametrize("size", [0, 1, 400, 5000])
def test_message_of_any_size_arrives_whole_through_frames_of_any_size(chunk: int, frame: int, size: int) -> None:
    pair = Pair(chunk=chunk, client=NEAR_WRAP, server={"max_frame_size": frame, **NEAR_WRAP})
    mine, theirs = pair.session()
    out, _ = pair.sender(mine)
    payload = bytes(i % 251 for i in range(size))
    sent = [out.send(payload) for _ in range(12)]
    pair.step()
    arrived = deliveries(pair.take(server=True))
    assert [delivery.payload for delivery in arrived] == [payload] * 12
    for delivery in arrived:
        delivery.settle(ACCEPTED)
    pair.step()
    updates = [e for e in pair.take() if isinstance(e, DeliveriesUpdated)]
    assert [d for update in updates for d in update.deliveries] == sent
    assert len(updates) == 1, "consecutive deliveries with one outcome travel in one disposition"
    assert not mine.outgoing_unsettled
    assert not theirs.incoming_unsettled


def test_session_window_holds_a_message_back_and_lets_it_go_on() -> None:
    pair = Pair(server={"max_frame_size": 512})
    mine, theirs = pair.session()
    theirs.window.incoming = 4
    theirs.send_flow()
    out, incoming = pair.sender(mine)
    delivery = out.send(b"x" * 5000)
    pair.client.data_to_send(pair.now)
    assert 0 < delivery.sent < 5000
    assert not delivery.complete
    # The rest goes as the window opens; the harness carries the flows.
    pair = Pair(server={"max_frame_size": 512})
    mine, theirs = pair.session()
    theirs.window.incoming = 4
    theirs.send_flow()
    out, incoming = pair.sender(mine)
    delivery = out.send(b"x" * 5000)
    pair.step()
    assert delivery.complete
    assert [d.size for d in deliveries(pair.take(server=True))] == [5000]
    assert incoming.partial is None


def test_large_messages_of_several_links_take_turns() -> None:
    pair = Pair(server={"max_frame_size": 512})
    mine, theirs = pair.session()
    a, _ = pair.sender(mine, "a")
    b, _ = pair.sender(mine, "b")
    mine.window.remote_incoming = 0
    first = a.send(b"a" * 3000)
    second = b.send(b"b" * 3000)
    theirs.send_flow()
    pair.step()
    arrived = deliveries(pair.take(server=True))
    assert sorted(d.payload[:1] for d in arrived) == [b"a", b"b"]
    assert {first.delivery_id, second.delivery_id} == {0, 1}


def test_aborted_delivery_is_discarded_and_the_link_goes_on() -> None:
    pair = Pair(server={"max_frame_size": 512})
    mine, theirs = pair.session()
    theirs.window.incoming = 3
    theirs.send_flow()
    out, _ = pair.sender(mine)
    delivery = out.send(b"x" * 5000)
    assert not delivery.complete
    delivery.abort()
    out.send(b"next")
    pair.step()
    events = pair.take(server=True)
    assert [e.delivery.delivery_id for e in events if isinstance(e, DeliveryAborted)] == [0]
    assert [d.payload for d in deliveries(events)] == [b"next"]
    assert not theirs.incoming_unsettled or list(theirs.incoming_unsettled) == [1]


def test_drain_gives_the_credit_back() -> None:
    pair = Pair(client=NEAR_WRAP)
    mine, _ = pair.session()
    out, incoming = pair.sender(mine, credit=5)
    out.send(b"one")
    incoming.flow(4, drain=True)
    pair.step()
    assert out.drain
    out.drained()
    pair.step()
    assert (out.credit, incoming.credit, incoming.drain) == (0, 0, False)
    assert out.delivery_count == incoming.delivery_count
    with pytest.raises(ProtocolError):
        out.send(b"two")


def test_message_beyond_the_peers_limit_is_refused_before_anything_is_sent() -> None:
    pair = Pair()
    mine, _ = pair.session()
    out, _ = pair.sender(mine, max_message_size=100)
    with pytest.raises(ProtocolError) as caught:
        out.send(b"x" * 101)
    assert caught.value.condition == "amqp:link:message-size-exceeded"
    assert pair.client.data_to_send(pair.now) == []
    out.send(b"x" * 100)


def test_heartbeats_keep_a_quiet_connection_and_silence_ends_it() -> None:
    pair = Pair(client={"idle_timeout": 10}, server={"idle_timeout": 10})
    pair.step()
    pair.take()
    assert pair.client.next_deadline() == pair.now + 2.5
    for _ in range(20):
        pair.now += 2.5
        assert pair.client.tick(pair.now) == []
        assert pair.server.tick(pair.now) == []
        pair.step()
    pair.now += 10
    (event,) = pair.client.tick(pair.now)
    assert isinstance(event, ConnectionFailed)
    assert event.error.code == 201


def test_session_end_with_an_error_reaches_the_other_side() -> None:
    pair = Pair()
    mine, theirs = pair.session()
    pair.sender(mine)
    theirs.end(ProtocolError("enough", condition="amqp:resource-limit-exceeded"))
    pair.step()
    (event,) = [e for e in pair.take() if isinstance(e, SessionEnded)]
    assert event.by_peer
    assert event.error is not None
    assert event.error.condition == "amqp:resource-limit-exceeded"
    assert mine.links == {}
    assert not pair.server.sessions


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=30), st.integers(0, 300), st.sampled_from([512, 700, 65536]))
def test_fast_and_general_decoding_agree(sizes: list[int], chunk: int, frame: int) -> None:
    results = []
    for traced in (False, True):
        pair = Pair(chunk=chunk, server={"max_frame_size": frame})
        mine, _ = pair.session()
        out, incoming = pair.sender(mine, credit=1000)
        if traced:
            # A trace makes the engine decode every frame the general way.
            pair.server.output.trace = lambda *_: None
            pair.client.output.trace = lambda *_: None
        for i, size in enumerate(sizes):
            out.send(bytes(size), settled=i % 3 == 0)
        pair.step()
        arrived = deliveries(pair.take(server=True))
        for delivery in arrived:
            delivery.settle(ACCEPTED)
        pair.step()
        updated = [d.delivery_id for e in pair.take() if isinstance(e, DeliveriesUpdated) for d in e.deliveries]
        seen = [(d.delivery_id, d.tag, d.payload, d.remote_settled, d.message_format) for d in arrived]
        results.append((seen, updated, incoming.credit, incoming.delivery_count, mine.window.next_outgoing_id))
    assert results[0] == results[1]


@given(
    sizes=st.lists(st.sampled_from([0, 1, 100, 471, 472, 473, 474, 475, 476, 8191, 8192]), min_size=8, max_size=20),
    credit=st.integers(0, 25),
    window=st.integers(1, 25),
    frame=st.sampled_from([65536, 512]),
    limit=st.sampled_from([0, 9000, 473]),
    settled=st.booleans(),
    traced=st.sampled_from([False, False, False, True]),
)
@settings(max_examples=examples(300))
def test_many_sent_at_once_are_the_same_bytes_as_sent_one_by_one(
    sizes: list[int], credit: int, window: int, frame: int, limit: int, settled: bool, traced: bool
) -> None:
    payloads = [bytes([index]) * size for index, size in enumerate(sizes)]
    results: list[Any] = []
    for at_once in (False, True):
        pair = Pair(client=NEAR_WRAP, server={"max_frame_size": frame, **NEAR_WRAP})
        mine, theirs = pair.session()
        theirs.window.incoming = window
        theirs.send_flow()
        out, _ = pair.sender(mine, credit=credit, max_message_size=limit)
        if traced:
            pair.client.output.trace = lambda *_: None
        sent: list[Any] = []
        fault = ""
        try:
            while len(sent) < len(payloads):
                at = len(sent)
                if at_once:
                    sent += out.send_many(payloads[at:], range(at, len(payloads)), settled=settled)
                if len(sent) == at:
                    sent.append(out.send(payloads[at], settled=settled, context=at))
        except ProtocolError as error:
            fault = str(error)
        results.append(
            (
                fault,
                b"".join(pair.client.data_to_send(pair.now)),
                [(d.delivery_id, d.payload, d.sent, d.settled, d.context) for d in sent],
                (out.credit, out.delivery_count, len(out.pending)),
                (mine.window.next_outgoing_id, mine.window.next_delivery_id, mine.window.remote_incoming),
                list(mine.outgoing_unsettled),
            )
        )
    assert results[0] == results[1]


def test_nothing_is_sent_on_a_link_that_is_being_detached() -> None:
    pair = Pair()
    mine, _ = pair.session()
    out, incoming = pair.sender(mine)
    out.detach()
    incoming.flow(50)
    # Their flow crosses our detach.
    pair.client.receive_data(b"".join(pair.server.data_to_send(pair.now)), pair.now)
    assert out.send_many([b"x"], [0]) == []
    with pytest.raises(ProtocolError, match="not attached"):
        out.send(b"x")

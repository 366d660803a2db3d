"""Links own their unsettled deliveries, under tags that do not come again."""

from __future__ import annotations

from typing import Any

import pytest

from amqp10.engine import Connection, EndpointRole, IncomingDelivery, SenderLink, Session
from amqp10.errors import ProtocolError
from amqp10.wire.frames import encode_frame
from amqp10.wire.messaging import ACCEPTED, RELEASED
from amqp10.wire.performatives import Disposition, Flow, Transfer
from tests.engine.harness import Pair, Scripted
from tests.steps import cost


def received(pair: Pair) -> list[IncomingDelivery]:
    return [event for event in pair.take(server=True) if isinstance(event, IncomingDelivery)]


def test_each_link_has_its_own_unsettled_deliveries_in_order() -> None:
    pair = Pair()
    mine, theirs = pair.session()
    links = [pair.sender(mine, name) for name in ("a", "b")]
    sent: list[list[Any]] = [[], []]
    for i in range(6):
        sent[i % 2].append(links[i % 2][0].send(b"x"))
    pair.step()
    got = received(pair)
    for i in (0, 1):
        assert list(links[i][0].unsettled.values()) == sent[i]
        assert list(links[i][1].unsettled.values()) == got[i::2]
    got[0].settle(ACCEPTED)
    got[3].settle(RELEASED)
    pair.step()
    assert [len(links[i][end].unsettled) for i in (0, 1) for end in (0, 1)] == [2, 2, 2, 2]
    links[0][0].detach()
    pair.step()
    assert not links[0][0].unsettled
    assert not links[0][1].unsettled
    assert list(mine.outgoing_unsettled.values()) == list(links[1][0].unsettled.values()) == [sent[1][0], sent[1][2]]
    assert list(theirs.incoming_unsettled.values()) == [got[1], got[5]]
    got[1].settle(ACCEPTED)
    pair.step()
    assert sent[1][0].remote_state == ACCEPTED


def detach_many(unsettled: int, *, detach_by_peer: bool) -> int:
    """The lines that run while ten links are closed, with so many deliveries unsettled on another link."""
    pair = Pair()
    mine, _ = pair.session(incoming_window=1 << 20)
    busy, other = pair.sender(mine, "busy", credit=unsettled + 1)
    for _ in range(unsettled):
        busy.send(b"x")
    idle = [pair.sender(mine, f"idle{i}") for i in range(10)]
    pair.step()
    assert len(busy.unsettled) == len(other.unsettled) == unsettled

    def close() -> None:
        for link, peer in idle:
            (peer if detach_by_peer else link).detach()
        pair.step()

    return cost(close, 100_000)[0]


@pytest.mark.parametrize("detach_by_peer", [False, True])
def test_closing_links_costs_the_same_whatever_is_unsettled_on_another(detach_by_peer: bool) -> None:
    without = detach_many(0, detach_by_peer=detach_by_peer)
    # One step for each of the deliveries would be 10,000 more.
    assert detach_many(1000, detach_by_peer=detach_by_peer) < without + 100


def test_a_delivery_that_waits_for_the_window_has_its_tag_already() -> None:
    peer = Scripted()
    session = peer.session()
    link = peer.sender(session)
    session.window.remote_incoming = 1
    sent = [link.send(b"x") for _ in range(3)]
    tags = [delivery.tag for delivery in sent]
    assert sent[1].delivery_id < 0
    assert len(set(tags)) == 3
    assert all(0 < len(tag) <= 32 for tag in tags)
    session.window.remote_incoming = 10
    session.backlog.pump()
    assert [delivery.tag for delivery in sent] == tags
    frames = [frame for frame in peer.sent() if isinstance(frame, Transfer)]
    assert [frame.delivery_tag for frame in frames] == tags
    assert [frame.delivery_id for frame in frames] == [0, 1, 2]


def life(initial: int) -> tuple[Connection, list[bytes]]:
    """One connection on which link "l" sends, and some of it waits; the tags of what was sent."""
    pair = Pair(client={"initial_outgoing_id": initial})
    mine, theirs = pair.session()
    link, _ = pair.sender(mine)
    tags = [link.send(b"x").tag, link.send(b"x" * 10_000).tag]
    mine.window.remote_incoming = 0
    tags += [link.send(b"x").tag for _ in range(2)]
    pair.step()
    theirs.send_flow()
    pair.step()
    assert not link.pending
    return pair.client, tags


@pytest.mark.parametrize("initial", [0, 0xFFFFFFFE])
def test_tags_do_not_come_again_on_the_next_connection(initial: int) -> None:
    first, tags = life(initial)
    second, more = life(first.next_delivery_id)
    assert len({*tags, *more}) == len(tags) + len(more)
    second.close()
    assert second.next_delivery_id == (initial + 8) & 0xFFFFFFFF


def test_the_next_session_of_a_connection_goes_on_with_the_ids_of_the_one_that_ended() -> None:
    pair = Pair()
    mine, _ = pair.session()
    link, _ = pair.sender(mine)
    tag = link.send(b"x").tag
    pair.step()
    mine.end()
    pair.step()
    again, _ = pair.session()
    link, _ = pair.sender(again)
    assert link.send(b"x").tag != tag
    pair.step()
    assert len(received(pair)) == 1


def attached(**options: Any) -> tuple[Scripted, Session, SenderLink]:
    peer = Scripted(**options)
    session = peer.session()
    return peer, session, peer.sender(session)


def test_tag_state_and_resume_are_what_the_transfer_says() -> None:
    peer, _, link = attached()
    sent = link.send(b"x", tag=b"mine", state=RELEASED, resume=True)
    assert sent.tag == b"mine"
    assert link.send(b"y", tag=b"").tag == b""
    first, second = (frame for frame in peer.sent() if isinstance(frame, Transfer))
    assert (first.delivery_tag, first.state, first.resume) == (b"mine", RELEASED, True)
    assert (second.delivery_tag, second.state, second.resume) == (b"", None, False)


def test_only_the_first_frame_of_a_message_repeats_its_state() -> None:
    peer, _, link = attached()
    peer.engine.output.max_frame_size = 512
    link.send(b"x" * 900, tag=b"t", state=ACCEPTED, message_format=7)
    first, last = (frame for frame in peer.sent() if isinstance(frame, Transfer))
    assert (first.delivery_tag, first.state, first.message_format, first.more) == (b"t", ACCEPTED, 7, True)
    assert (last.delivery_tag, last.state, last.message_format, last.more) == (None, None, None, False)


@pytest.mark.parametrize(("tag", "resume"), [(b"x" * 33, False), (None, True)])
def test_a_tag_that_is_too_long_or_lacking_takes_no_credit(tag: bytes | None, resume: bool) -> None:
    peer, _, link = attached()
    credit = link.credit
    with pytest.raises(ProtocolError):
        link.send(b"x", tag=tag, resume=resume)
    assert link.credit == credit
    assert peer.sent() == []


class Interrupting(bytes):
    """A payload at which the user presses Ctrl-C."""

    def __len__(self) -> int:
        raise KeyboardInterrupt


def test_many_sends_that_are_interrupted_count_what_is_queued_and_nothing_else() -> None:
    pair = Pair()
    mine, _ = pair.session()
    link, _ = pair.sender(mine, credit=10)
    with pytest.raises(KeyboardInterrupt):
        link.send_many([b"a", b"b", Interrupting(b"c")], [1, 2, 3])
    assert (link.credit, len(link.unsettled)) == (8, 2)
    (after,) = link.send_many([b"d"], [4])
    assert after.delivery_id == 2
    pair.step()
    assert [delivery.payload for delivery in received(pair)] == [b"a", b"b", b"d"]


def test_many_sends_need_a_context_for_each_payload() -> None:
    _, _, link = attached()
    with pytest.raises(ValueError, match="2 payloads have 1 contexts"):
        link.send_many([b"a", b"b"], [1])


def test_a_delivery_sent_in_two_parts_is_joined_when_it_is_looked_at() -> None:
    _, _, link = attached()
    sent = link.send(b"abc", b"def")
    assert (sent.size, sent.payload, sent.payload) == (6, b"abcdef", b"abcdef")
    assert Connection(EndpointRole.CLIENT, container_id="c").next_delivery_id == 0


def test_what_was_settled_is_told_before_the_credit_that_it_gives_back() -> None:
    # The other way round, a peer that is cut off in between has twice the window unsettled.
    peer = Scripted()
    link = peer.receiver(peer.session(), credit=2)
    for number in range(2):
        transfer = Transfer(handle=0, delivery_id=number, delivery_tag=b"%d" % number, message_format=0)
        (delivery,) = peer.feed(encode_frame(0, transfer, b"\x00Sw@"))
        assert isinstance(delivery, IncomingDelivery)
        delivery.settle(ACCEPTED)
    link.flow(2)
    disposition, flow = peer.sent()
    assert isinstance(disposition, Disposition)
    assert (disposition.first, disposition.last) == (0, 1)
    assert isinstance(flow, Flow)
    assert (flow.delivery_count, flow.link_credit) == (2, 2)

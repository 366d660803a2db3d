"""How a connection comes back, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqp10.client import operations as ops
from amqp10.client.links import Stage
from amqp10.client.message import Message
from amqp10.client.options import Reconnect, Stream, addresses, sender_spec
from amqp10.client.recovery import Backoff, ConnectionState, Verdict, judge
from amqp10.codec import Symbol, UInt
from amqp10.errors import (
    AMQPError,
    AuthenticationError,
    ConnectionDroppedError,
    ConnectionLostError,
    FilterRefusedError,
    LinkRefusedError,
    ProtocolError,
    RemoteError,
)
from amqp10.wire.performatives import Close, Error
from tests.client.fake import Peer, Rig
from tests.examples import examples

OPEN, LOST, BACKOFF = ConnectionState.OPEN, ConnectionState.LOST, ConnectionState.BACKOFF


def states(rig: Rig) -> list[ConnectionState]:
    return [change.state for change in rig.core.changes]


def test_the_first_reconnection_is_immediate_and_the_next_ones_wait_longer_and_longer() -> None:
    rig = Rig().connect()
    rig.unreachable = True
    rig.transport.cut()
    rig.driver.advance(2)
    times = [round(at - 100.0, 2) for at, _ in rig.driver.opened[1:]]
    assert times == [0.0, 0.05, 0.15, 0.35, 0.75, 1.55]
    rig.unreachable = False
    rig.driver.advance(5)
    assert rig.core.state is OPEN
    assert states(rig)[1] is LOST
    assert BACKOFF in states(rig)


def test_every_url_is_tried_before_the_delay_grows() -> None:
    rig = Rig(addresses=addresses(["amqp://a", "amqp://b", "amqp://c"])).connect()
    rig.unreachable = True
    rig.transport.cut()
    rig.driver.settle()
    assert [url for _, url in rig.driver.opened] == [f"amqp://{name}:5672" for name in "abca"]
    assert {at for at, _ in rig.driver.opened} == {100.0}


def test_a_broker_that_accepts_and_drops_is_not_hammered() -> None:
    rig = Rig().connect()
    rig.sender()
    for _ in range(50):
        rig.driver.settle()
        if rig.core.state is OPEN:
            rig.prepare = lambda peer: setattr(peer, "silent_links", True)
            rig.core._proved = False
            rig.transport.cut()
        rig.driver.advance(0.1)
    # Nothing behind the open is ever answered: 5 seconds see a handful of attempts, not fifty.
    assert len(rig.driver.opened) < 60


def test_recovery_that_gives_up_says_why() -> None:
    rig = Rig(policy=Reconnect(jitter=0, max_attempts=3)).connect()
    rig.unreachable = True
    rig.transport.cut()
    rig.driver.advance(60)
    assert rig.core.state is ConnectionState.FAILED
    assert len(rig.driver.opened) == 4
    assert rig.driver.finished
    with pytest.raises(ConnectionLostError, match="refused"):
        rig.core.refuse()


def test_an_outage_may_last_for_max_time_and_no_longer() -> None:
    rig = Rig(policy=Reconnect(jitter=0, max_time=5)).connect()
    rig.unreachable = True
    rig.transport.cut()
    rig.driver.advance(20)
    assert rig.core.state is ConnectionState.FAILED
    assert rig.core.changes[-1].elapsed < 12


def test_connect_tries_again_until_its_deadline() -> None:
    rig = Rig()
    rig.unreachable = True
    task = rig.start(ops.connect(rig.core, rig.driver.now + 3))
    rig.driver.advance(1)
    assert not task.done
    rig.unreachable = False
    rig.driver.advance(2)
    task.value()
    assert rig.core.state is OPEN


def test_connect_gives_up_at_its_deadline_with_the_last_error() -> None:
    rig = Rig()
    rig.unreachable = True
    task = rig.start(ops.connect(rig.core, rig.driver.now + 3))
    rig.driver.advance(10)
    assert isinstance(task.error, AMQPError)
    assert task.error.code == 10061


def test_a_wrong_password_is_tried_once_on_each_url() -> None:
    rig = Rig(addresses=addresses(["amqp://a", "amqp://b"]), policy=Reconnect(jitter=0))

    def refuse(peer: Peer) -> None:
        peer.engine.sasl._anonymous = False  # type: ignore[union-attr]

    rig.prepare = refuse
    task = rig.start(ops.connect(rig.core, None))
    rig.driver.advance(60)
    assert isinstance(task.error, AuthenticationError)
    assert len(rig.driver.opened) == 2


def test_a_redirect_is_followed() -> None:
    rig = Rig().connect()
    error = RemoteError("go there", condition="amqp:connection:redirect")
    error.info = {Symbol("network-host"): "other", Symbol("port"): 5000}
    incarnation = rig.core.incarnation
    assert incarnation is not None
    rig.core.disconnected(incarnation, error, ())
    rig.driver.settle()
    assert rig.driver.opened[-1][1] == "amqp://other:5000"
    assert rig.core.state is OPEN


def test_links_come_back_under_new_names_and_in_the_order_in_which_they_were_made() -> None:
    rig = Rig().connect()
    rig.sender("a")
    rig.receiver("b")
    rig.receiver("c", subscription="durable")
    names = [link.name for link in rig.peer.links]
    rig.transport.cut()
    rig.driver.settle()
    again = [link.name for link in rig.peer.links]
    assert [name.removesuffix("-1") for name in again] == names
    assert again[2] == "durable"
    assert again[0] != names[0]


def test_receivers_come_back_with_full_credit() -> None:
    rig = Rig().connect()
    receiver = rig.receiver(prefetch=10)
    rig.transport.cut()
    rig.driver.settle()
    assert rig.peer.sender.credit == 10
    rig.peer.sender.send(Message("again").encode())
    rig.driver.settle()
    assert rig.run(receiver.receive(None)).body == "again"


def test_a_stream_goes_on_behind_the_last_message_that_the_program_had() -> None:
    rig = Rig().connect()
    receiver = rig.receiver("stream", stream=Stream("first"))
    for offset in (41, 42, 43):
        rig.peer.sender.send(Message(offset, annotations={"x-stream-offset": offset}).encode())
    rig.driver.settle()
    for _ in range(2):
        rig.run(receiver.receive(None)).accept()
    rig.transport.cut()
    rig.driver.settle()
    wanted = rig.peer.sender.remote_attach.source.filter  # type: ignore[union-attr]
    assert wanted["rabbitmq:stream-offset-spec"].value == 43


def test_a_dynamic_node_has_a_new_address_before_open_is_reported() -> None:
    rig = Rig().connect()
    receiver = rig.receiver(None, dynamic=True)
    assert receiver.address == "made-up"
    seen: list[Any] = []
    receiver.address = "old"
    rig.core.listeners.append(lambda change: seen.append((change.state, receiver.address)))
    rig.transport.cut()
    rig.driver.settle()
    assert seen[-1] == (OPEN, "made-up")


def assert_waited_for(rig: Rig, sender: Any, error: AMQPError) -> None:
    """Lose the connection: a sender that is refused with this error while it comes back is tried again until it is
    not."""

    def refuse(peer: Peer) -> None:
        peer.refuse = error

    rig.prepare = refuse
    rig.transport.cut()
    rig.driver.advance(5)
    assert sender.error is None
    rig.peer.refuse = None
    rig.driver.advance(30)
    assert sender.link is not None
    assert sender.link.attached


def test_a_queue_that_does_not_exist_fails_at_first_and_is_waited_for_behind_a_reconnection() -> None:
    rig = Rig().connect()
    missing = ProtocolError("no such queue", condition="amqp:not-found")
    rig.peer.refuse = missing
    with pytest.raises(LinkRefusedError) as refused:
        rig.sender("nowhere")
    assert refused.value.condition == "amqp:not-found"
    rig.peer.refuse = None
    sender = rig.sender("orders")
    assert_waited_for(rig, sender, missing)


def test_a_new_link_that_is_one_too_many_is_refused_at_once_and_an_old_one_is_waited_for() -> None:
    rig = Rig().connect()
    sender = rig.sender("orders")
    full = ProtocolError("no more links", condition="amqp:resource-limit-exceeded")
    rig.peer.refuse = full
    with pytest.raises(LinkRefusedError) as refused:
        rig.sender("another")
    assert refused.value.condition == "amqp:resource-limit-exceeded"
    assert_waited_for(rig, sender, full)


def test_a_queue_that_stays_away_longer_than_the_grace_fails_the_link() -> None:
    rig = Rig(policy=Reconnect(jitter=0, attach_grace=5)).connect()
    sender = rig.sender("orders")

    def gone(peer: Peer) -> None:
        peer.refuse = ProtocolError("no such queue", condition="amqp:not-found")

    rig.prepare = gone
    rig.transport.cut()
    rig.driver.advance(60)
    assert isinstance(sender.error, LinkRefusedError)


def test_a_filter_that_does_not_come_back_closes_the_link_unless_it_is_optional() -> None:
    rig = Rig().connect()

    def without(source: Any) -> Any:
        source.filter = None
        return source

    rig.peer.change_source = without
    with pytest.raises(FilterRefusedError, match="selector"):
        rig.receiver("orders", selector="a = 1")
    assert not rig.peer.links
    rig.receiver("orders", selector="a = 1", filters_required=False)


def test_delivery_ids_go_on_counting_over_a_reconnection() -> None:
    rig = Rig().connect()
    sender = rig.sender()
    for n in range(3):
        rig.run(sender.submit(n, False, None))
    rig.driver.settle()
    rig.transport.cut()
    rig.driver.settle()
    assert rig.peer.received[0].tag != b"\x00\x00\x00\x00"


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (None, Verdict.RETRY),
        (ConnectionDroppedError("x"), Verdict.RETRY),
        (RemoteError("x", condition="amqp:connection:forced"), Verdict.RETRY),
        (RemoteError("x", condition="amqp:not-found"), Verdict.GRACE),
        (RemoteError("x", condition="amqp:resource-limit-exceeded"), Verdict.AGAIN),
        (RemoteError("x", condition="amqp:link:stolen"), Verdict.FATAL),
        (RemoteError("x", condition="com.example:unheard-of"), Verdict.FATAL),
        (AuthenticationError("x"), Verdict.FATAL),
        (AMQPError(275, "the certificate is not trusted"), Verdict.FATAL),
        (AMQPError(10061, "refused"), Verdict.RETRY),
        (ProtocolError("nonsense"), Verdict.FATAL),
    ],
)
def test_what_an_error_means(error: AMQPError | None, verdict: Verdict) -> None:
    assert judge(error) is verdict


def test_protocol_faults_are_fatal_three_in_a_row() -> None:
    backoff = Backoff(Reconnect(), 1, lambda: 0.0)
    backoff.begin(0)
    fault = ProtocolError("nonsense")
    assert backoff.goes_on(fault, 0)
    assert backoff.goes_on(fault, 0)
    assert not backoff.goes_on(fault, 0)


CUTS = st.lists(st.tuples(st.sampled_from(["out", "in"]), st.integers(0, 600)), max_size=6)


def produce_through(cuts: list[tuple[str, int]], messages: int, credit: int) -> None:
    """Send numbered messages while the connection is cut after so many bytes in either direction, again and again;
    compare what the peers accepted with what was sent."""
    rig = Rig(credit=credit).connect()
    sender = rig.sender()
    accepted: list[Any] = []
    tasks = [rig.driver.start(ops.send(sender, n, False, None)) for n in range(messages)]
    left = list(cuts)
    for _ in range(400):
        if left and rig.transport.cut_after is None and rig.transport.cut_before is None:
            direction, count = left.pop()
            setattr(rig.transport, "cut_after" if direction == "out" else "cut_before", count)
        rig.driver.advance(0.2)
        for peer in rig.peers:
            for delivery in peer.received:
                if not delivery.settled and delivery.link.attached:
                    accepted.append(Message.decode(delivery.payload).body)
            peer.accept()
            for link in peer.links:
                if link.attached and link.is_receiver and link.credit < credit:
                    link.flow(credit)  # type: ignore[attr-defined]
        if all(task.done for task in tasks):
            break
    assert all(task.value() is not None for task in tasks)
    resent = sum(change.resent for change in rig.core.changes if change.state is OPEN)
    first_seen = list(dict.fromkeys(accepted))
    assert first_seen == list(range(messages))
    assert len(accepted) - messages <= resent
    assert (sender.open, sender.unsettled, len(sender.turns), len(sender.again)) == (0, 0, 0, 0)


@settings(max_examples=examples(100), deadline=None)
@given(cuts=CUTS, messages=st.integers(1, 30), credit=st.integers(1, 20))
def test_nothing_is_lost_wherever_the_connection_is_cut(
    cuts: list[tuple[str, int]], messages: int, credit: int
) -> None:
    produce_through(cuts, messages, credit)


@pytest.mark.parametrize("direction", ["out", "in"])
def test_nothing_is_lost_when_the_connection_is_cut_after_any_byte(direction: str) -> None:
    for count in range(0, 700, 3):
        produce_through([(direction, count), (direction, count + 1)], messages=3, credit=2)


@settings(max_examples=examples(60), deadline=None)
@given(cuts=CUTS, messages=st.integers(1, 20), prefetch=st.integers(0, 8))
def test_every_message_is_received_wherever_the_connection_is_cut(
    cuts: list[tuple[str, int]], messages: int, prefetch: int
) -> None:
    rig = Rig().connect()
    receiver = rig.receiver(prefetch=prefetch)
    # What the broker has: a message leaves it when its acceptance has arrived.
    queue = dict.fromkeys(range(messages))
    sent: dict[Any, tuple[int, Any]] = {}
    got: list[int] = []
    left = list(cuts)
    task = None
    for _ in range(600):
        if left and rig.transport.cut_after is None and rig.transport.cut_before is None:
            direction, count = left.pop()
            setattr(rig.transport, "cut_after" if direction == "out" else "cut_before", count)
        peer = rig.peer
        for delivery, (number, _) in list(sent.items()):
            if delivery.remote_state is not None:
                queue.pop(number, None)
                del sent[delivery]
            elif not delivery.link.attached:
                del sent[delivery]
        under_way = {number for number, _ in sent.values()}
        for link in peer.links:
            for number in queue:
                if link.attached and link.credit > 0 and number not in under_way:
                    delivery = link.send(Message(number).encode())  # type: ignore[attr-defined]
                    sent[delivery] = (number, link)
                    under_way.add(number)
        if task is None:
            task = rig.driver.start(receiver.receive(None))
        rig.driver.advance(0.1)
        if task.done:
            message = task.value()
            got.append(message.body)
            message.accept()
            task = None
        if not queue:
            break
    assert set(got) == set(range(messages))
    assert not queue


def test_closing_while_a_new_connection_is_not_open_yet_ends_the_attempt() -> None:
    rig = Rig().connect()
    rig.transport.cut()
    rig.driver.settle()
    transport = rig.driver.transports[-1]
    transport.cut()
    for task in list(rig.driver.tasks):
        task.step() if task.pause is None or task.pause.wait.is_set else None
    # The recovery has sent its header and waits for the answer.
    assert rig.core.incarnation is not None
    assert not rig.core.incarnation.opened
    rig.run(ops.close_connection(rig.core, rig.driver.now + 10))
    rig.driver.settle()
    assert not rig.driver.tasks


def test_a_peer_that_ends_the_session_to_refuse_a_link_costs_the_other_links_nothing() -> None:
    rig = Rig().connect()
    good = rig.sender("good")
    peer = rig.peer
    peer.silent_links = True
    task = rig.start(ops.attach_sender(rig.core.default_session(), sender_spec("missing", {}), rig.driver.now + 30))
    peer.silent_links = False
    session = next(iter(peer.engine.sessions.values()))
    session.end(ProtocolError("no queue 'missing'", condition="amqp:not-found"))
    rig.driver.settle()
    assert isinstance(task.error, LinkRefusedError)
    assert task.error.condition == "amqp:not-found"
    assert good.error is None
    delivery = rig.run(good.submit("still works", False, None))
    rig.driver.settle()
    peer.accept()
    rig.driver.settle()
    assert delivery.outcome is not None


def test_a_link_that_is_refused_with_its_session_behind_a_reconnection_is_tried_on_another() -> None:
    rig = Rig().connect()
    good, late = rig.sender("good"), rig.sender("late")
    missing = True

    def requested(peer: Peer) -> None:
        take = peer._requested

        def decide(event: Any) -> None:
            if missing and event.link.target.address == "late":
                event.link.session.end(ProtocolError("not yet", condition="amqp:not-found"))
            else:
                take(event)

        peer._requested = decide  # type: ignore[method-assign]

    rig.prepare = requested
    rig.transport.cut()
    rig.driver.advance(5)
    assert good.link is not None
    assert good.link.attached
    attachments = good._attachments
    rig.driver.advance(5)
    assert good._attachments == attachments
    assert late.error is None
    missing = False
    rig.driver.advance(15)
    assert late.link.attached


def test_a_redirect_on_the_wire_is_followed() -> None:
    rig = Rig().connect()
    error = ProtocolError("go there", condition="amqp:connection:redirect")
    rig.peer.engine.output.send(
        0,
        Close(
            error=Error(
                condition=Symbol("amqp:connection:redirect"),
                description=error.message,
                info={Symbol("network-host"): "other", Symbol("port"): UInt(5000)},
            )
        ),
    )
    rig.driver.settle()
    assert rig.driver.opened[-1][1] == "amqp://other:5000"
    assert rig.core.state is OPEN


def test_a_broker_that_shuts_down_in_order_is_waited_for_and_gets_the_messages() -> None:
    rig = Rig().connect()
    sender = rig.sender()
    delivery = rig.run(sender.submit("x", False, None))
    rig.driver.settle()
    rig.unreachable = True
    rig.peer.engine.close(ProtocolError("shutting down", condition="amqp:connection:forced"))
    rig.driver.advance(3)
    assert rig.core.down_error is not None
    rig.unreachable = False
    rig.driver.advance(10)
    assert rig.peer.bodies == ["x"]
    rig.peer.accept()
    rig.driver.settle()
    assert delivery.outcome is not None


def test_a_peer_that_is_silent_for_the_idle_time_out_is_given_up_and_connected_to_anew() -> None:
    rig = Rig(idle_timeout=10.0).connect()
    rig.sender()
    rig.transport.frozen = True
    rig.driver.advance(9)
    assert LOST not in states(rig)
    rig.driver.advance(2)
    assert LOST in states(rig)
    assert rig.core.state is OPEN
    assert len(rig.peers) == 2


def test_a_peer_that_closes_for_good_fails_the_connection() -> None:
    rig = Rig().connect()
    sender = rig.sender()
    task = rig.start(ops.send(sender, "x", False, None))
    rig.peer.engine.close(ProtocolError("you are not welcome", condition="amqp:unauthorized-access"))
    rig.driver.settle()
    assert rig.core.state is ConnectionState.FAILED
    assert task.error is not None
    assert task.error.sent is None  # type: ignore[attr-defined]


def test_a_sender_that_is_asked_for_while_the_connection_is_down_is_attached_when_it_is_back() -> None:
    rig = Rig().connect()
    rig.unreachable = True
    rig.transport.cut()
    rig.driver.settle()
    task = rig.start(ops.attach_sender(rig.core.default_session(), sender_spec("late", {}), rig.driver.now + 60))
    rig.driver.advance(5)
    assert not task.done
    rig.unreachable = False
    rig.driver.advance(20)
    assert task.value().link.attached


def test_a_server_that_never_answers_does_not_use_up_the_time_of_the_others() -> None:
    rig = Rig(addresses=addresses(["amqp://hole", "amqp://good"]))
    rig.black_holes = {"hole"}
    task = rig.start(ops.connect(rig.core, rig.driver.now + 10))
    rig.driver.advance(9)
    task.value()
    assert rig.core.address.host == "good"
    rig.transport.cut()
    rig.driver.advance(60)
    assert rig.core.state is OPEN
    assert rig.core.address.host == "good"


def test_a_link_that_held_for_long_and_is_refused_now_is_not_attached_again_without_a_pause() -> None:
    rig = Rig().connect()
    rig.sender("orders")
    rig.driver.advance(1000)
    attempts: list[float] = []

    def prepare(peer: Any) -> None:
        answer = peer._requested
        peer.refuse = RemoteError("later", condition="amqp:internal-error")

        def requested(event: Any) -> None:
            attempts.append(rig.driver.now)
            answer(event)

        peer._requested = requested

    rig.prepare = prepare
    rig.transport.cut()
    rig.driver.advance(60)
    assert 5 < len(attempts) < 20


def test_a_session_that_held_for_long_comes_back_at_once_however_often_it_ended_before() -> None:
    rig = Rig().connect()
    sender = rig.sender("orders")
    for _ in range(12):
        rig.driver.advance(1000)
        (session,) = rig.peer.engine.sessions.values()
        session.end(RemoteError("later", condition="amqp:internal-error"))
        rig.driver.settle()
        rig.driver.advance(0.01)
        assert sender.stage is Stage.ATTACHED

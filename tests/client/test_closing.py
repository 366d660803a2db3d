"""What becomes of messages in flight: one test for each cell of the table in ``client/closing.py``.

Columns: queued (no credit), written without an outcome, sent settled; messages in the prefetch, messages handed out.
"""

from __future__ import annotations

from typing import Any

import pytest

from amqp10.client import operations as ops
from amqp10.client.closing import FATES, Ending, Fate, Stage
from amqp10.client.message import Message
from amqp10.client.options import Reconnect
from amqp10.client.recovery import ConnectionState
from amqp10.engine import LinkRequested, ReceiverLink
from amqp10.errors import (
    AMQPError,
    ClosedError,
    ConnectionLostError,
    DeliveryError,
    DeliveryUnknownError,
    LinkDetachedError,
    LinkError,
    MessageRejectedError,
    ProtocolError,
    SendTimeoutError,
)
from amqp10.wire.messaging import ACCEPTED, RELEASED, Rejected
from amqp10.wire.performatives import Error
from tests.client.fake import FakeTask, Peer, Rig

FORCED = ProtocolError("shutting down", condition="amqp:link:detach-forced")
DELETED = ProtocolError("the queue is gone", condition="amqp:resource-deleted")


def rig(**changes: Any) -> Rig:
    return Rig(**changes).connect()


def send(rig: Rig, sender: Any, body: Any, timeout: float | None = None) -> FakeTask:
    deadline = None if timeout is None else rig.driver.now + timeout
    return rig.start(ops.send(sender, body, False, deadline))


def cut(rig: Rig) -> None:
    rig.transport.cut()
    rig.driver.settle()


def test_the_table_has_a_fate_for_every_cell() -> None:
    assert set(FATES) == {(ending, stage) for ending in Ending for stage in Stage}
    assert {FATES[Ending.LOST, stage] for stage in Stage} == {Fate.WAITS, Fate.RESENT, Fate.DONE}


# -- connection lost, and recovered ----------------------------------------------------------------------------------


def test_connection_lost_queued_waits_and_is_sent_behind_the_resent_ones() -> None:
    r = rig(credit=2)
    sender = r.sender()
    tasks = [send(r, sender, n) for n in range(4)]
    assert r.peer.bodies == [0, 1]
    r.credit = 100
    cut(r)
    assert r.peer.bodies == [0, 1, 2, 3]
    assert not any(task.done for task in tasks)
    r.peer.accept()
    r.driver.settle()
    assert all(task.value() is not None for task in tasks)


def test_connection_lost_written_is_resent_first_in_order_and_counted() -> None:
    r = rig()
    sender = r.sender()
    first = r.run(sender.submit("a", False, None))
    second = r.run(sender.submit("b", False, None))
    r.driver.settle()
    cut(r)
    assert r.peer.bodies == ["a", "b"]
    assert (first.attempts, second.attempts) == (2, 2)
    change = r.core.changes[-1]
    assert change.state is ConnectionState.OPEN
    assert change.resent == 2


def test_what_was_resent_on_a_connection_that_went_before_it_was_back_is_counted_with_the_next() -> None:
    def answer_senders_only(peer: Peer) -> None:
        requested = peer._requested

        def answer(event: LinkRequested) -> None:
            if isinstance(event.link, ReceiverLink):
                requested(event)

        peer._requested = answer  # type: ignore[method-assign]

    r = rig()
    sender = r.sender()
    r.receiver()
    deliveries = [r.run(sender.submit(n, False, None)) for n in range(3)]
    r.prepare = answer_senders_only
    cut(r)
    assert r.peer.bodies == [0, 1, 2]
    assert r.core.state is not ConnectionState.OPEN
    r.peer.accept(1)
    r.driver.settle()
    r.prepare = lambda peer: None
    cut(r)
    r.driver.advance(1)
    assert r.peer.bodies == [1, 2]
    assert [delivery.attempts for delivery in deliveries] == [2, 3, 3]
    assert (r.core.changes[-1].state, r.core.changes[-1].resent) == (ConnectionState.OPEN, 5)
    cut(r)
    assert r.core.changes[-1].resent == 2, "each is reported once"


def test_connection_lost_written_without_resend_is_unknown_at_once() -> None:
    r = rig()
    sender = r.sender(resend=False)
    delivery = r.run(sender.submit("a", False, None))
    r.driver.settle()
    r.unreachable = True
    cut(r)
    assert isinstance(delivery.error, DeliveryUnknownError)
    assert delivery.error.sent is None


def test_connection_lost_settled_is_not_resent() -> None:
    r = rig()
    sender = r.sender()
    delivery = r.run(sender.submit("a", True, None))
    r.driver.settle()
    assert delivery.done
    cut(r)
    assert r.peer.bodies == []


def test_connection_lost_prefetch_is_dropped_but_for_settled_messages() -> None:
    r = rig()
    receiver = r.receiver()
    r.peer.sender.send(Message("unsettled").encode())
    r.peer.sender.send(Message("settled").encode(), settled=True)
    r.driver.settle()
    cut(r)
    assert r.run(receiver.receive(r.driver.now + 1)).body == "settled"
    assert not receiver.queue


def test_connection_lost_handed_out_is_stale_and_settling_does_nothing() -> None:
    r = rig()
    receiver = r.receiver()
    r.peer.sender.send(Message("x").encode())
    r.driver.settle()
    message = r.run(receiver.receive(None))
    assert not message.stale
    cut(r)
    assert message.stale
    assert message.accept() is False
    assert receiver.unsettled == 0


# -- gave up ---------------------------------------------------------------------------------------------------------


def test_gave_up_queued_was_not_sent_and_written_is_unknown() -> None:
    r = rig(credit=1, policy=Reconnect(jitter=0.0, max_attempts=2))
    sender = r.sender()
    written = send(r, sender, "a")
    queued = send(r, sender, "b")
    r.unreachable = True
    cut(r)
    r.driver.advance(60)
    assert r.core.state is ConnectionState.FAILED
    with pytest.raises(DeliveryUnknownError) as unknown:
        written.value()
    assert unknown.value.sent is None
    with pytest.raises(ConnectionLostError) as lost:
        queued.value()
    assert lost.value.sent is False
    assert lost.value.__cause__ is not None


def test_gave_up_settled_messages_can_still_be_received_and_then_the_error_comes() -> None:
    r = rig(recovers=False)
    receiver = r.receiver()
    r.peer.sender.send(Message("settled").encode(), settled=True)
    r.peer.sender.send(Message("handed out").encode())
    r.driver.settle()
    assert r.run(receiver.receive(None)).body == "settled"
    handed_out = r.run(receiver.receive(None))
    r.peer.sender.send(Message("late").encode(), settled=True)
    r.driver.settle()
    cut(r)
    assert r.run(receiver.receive(None)).body == "late"
    with pytest.raises(ConnectionLostError):
        r.run(receiver.receive(None))
    assert handed_out.stale


def test_while_down_fail_fails_queued_and_new_messages_at_once() -> None:
    r = rig(credit=1, policy=Reconnect(jitter=0.0, while_down="fail"))
    sender = r.sender()
    written = send(r, sender, "a")
    queued = send(r, sender, "b")
    r.unreachable = True
    cut(r)
    assert isinstance(written.error, DeliveryUnknownError)
    assert isinstance(queued.error, ConnectionLostError)
    new = send(r, sender, "c")
    assert isinstance(new.error, ConnectionLostError)
    assert new.error.sent is False
    r.unreachable = False
    r.driver.advance(60)
    back = send(r, sender, "d")
    assert r.peer.bodies == ["d"]
    r.peer.accept()
    r.driver.settle()
    back.value()


# -- the link ends alone ---------------------------------------------------------------------------------------------


def test_link_detached_for_a_reason_that_passes_is_attached_again_and_resent_on() -> None:
    r = rig()
    sender = r.sender()
    task = send(r, sender, "a")
    r.peer.receiver.detach(error=FORCED)
    r.driver.advance(1)
    assert r.peer.bodies == ["a", "a"]
    r.peer.accept()
    r.driver.settle()
    task.value()
    assert len(r.peers) == 1


def test_link_ended_for_good_queued_was_not_sent_and_written_is_not_known() -> None:
    r = rig(credit=1)
    sender = r.sender()
    written = send(r, sender, "a")
    queued = send(r, sender, "b")
    r.peer.receiver.detach(error=DELETED)
    r.driver.settle()
    for task, sent in ((written, None), (queued, False)):
        assert isinstance(task.error, LinkError)
        assert task.error.condition == "amqp:resource-deleted"
        assert task.error.sent is sent
    with pytest.raises(LinkDetachedError):
        r.run(sender.submit("c", False, None))


def test_link_ended_for_good_messages_handed_out_are_stale_and_receive_raises() -> None:
    r = rig()
    receiver = r.receiver()
    r.peer.sender.send(Message("x").encode())
    r.driver.settle()
    message = r.run(receiver.receive(None))
    waiting = r.start(receiver.receive(None))
    r.peer.sender.detach(error=DELETED)
    r.driver.settle()
    assert message.stale
    assert isinstance(waiting.error, LinkDetachedError)


def test_a_message_that_breaks_its_link_is_not_sent_for_ever_and_its_neighbours_arrive() -> None:
    r = rig()
    sender = r.sender(max_attempts=3)
    tasks = [send(r, sender, body) for body in ("good", "poison", "fine")]
    for _ in range(20):
        for delivery in [d for d in r.peer.received if not d.settled and d.link.attached]:
            if Message.decode(delivery.payload).body == "poison":
                delivery.link.detach(error=FORCED)
                break
            r.peer.accept(1)
        r.driver.advance(20)
    assert tasks[0].value() is not None
    assert tasks[2].value() is not None
    with pytest.raises(DeliveryError, match="3 times"):
        tasks[1].value()


# -- time-outs and cancellation --------------------------------------------------------------------------------------


def test_send_timed_out_in_the_queue_is_never_sent() -> None:
    r = rig(credit=0)
    sender = r.sender()
    task = send(r, sender, "a", timeout=2)
    r.driver.advance(3)
    assert isinstance(task.error, SendTimeoutError)
    assert task.error.sent is False
    r.peer.receiver.flow(10)
    r.driver.settle()
    assert r.peer.bodies == []
    assert len(sender.turns) == 0


def test_send_timed_out_after_it_was_written_is_not_resent_and_its_outcome_ignored() -> None:
    r = rig()
    sender = r.sender()
    task = send(r, sender, "a", timeout=2)
    r.driver.advance(3)
    assert isinstance(task.error, SendTimeoutError)
    assert task.error.sent is True
    cut(r)
    assert r.peer.bodies == []
    r.run(sender.submit("b", False, None))
    r.driver.settle()
    r.peer.accept()
    r.driver.settle()
    assert sender.unsettled == 0


def test_waiting_for_an_outcome_that_timed_out_lets_the_delivery_go_on() -> None:
    r = rig()
    sender = r.sender()
    delivery = r.run(sender.submit("a", False, None))
    waiting = r.start(delivery._wait_outcome(r.driver.now + 1))
    r.driver.advance(2)
    assert waiting.error is not None
    cut(r)
    assert r.peer.bodies == ["a"]
    r.peer.accept()
    r.driver.settle()
    assert delivery.outcome is not None


# -- closing ---------------------------------------------------------------------------------------------------------


def test_close_fails_what_is_queued_and_awaits_what_is_written() -> None:
    r = rig(credit=1)
    sender = r.sender()
    written = send(r, sender, "a")
    queued = send(r, sender, "b")
    closing = r.start(ops.close_link(sender, r.driver.now + 10))
    assert isinstance(queued.error, ClosedError)
    assert queued.error.sent is False
    assert not closing.done
    r.peer.accept()
    r.driver.settle()
    written.value()
    closing.value()
    assert r.peer.detached


def test_close_gives_up_outcomes_at_its_deadline() -> None:
    r = rig()
    sender = r.sender()
    written = send(r, sender, "a")
    closing = r.start(ops.close_link(sender, r.driver.now + 10))
    r.driver.advance(11)
    closing.value()
    assert isinstance(written.error, DeliveryUnknownError)
    assert r.peer.detached


def test_connection_close_awaits_outcomes_and_flushes_settled_messages() -> None:
    r = rig()
    sender = r.sender()
    r.run(sender.submit("settled", True, None))
    written = send(r, sender, "a")
    closing = r.start(ops.close_connection(r.core, r.driver.now + 10))
    assert not closing.done
    r.peer.accept()
    r.driver.settle()
    closing.value()
    written.value()
    assert r.peer.bodies == ["settled", "a"]
    assert r.core.state is ConnectionState.CLOSED
    assert r.peer.closed


def test_receiver_close_drains_and_releases_what_nobody_has_looked_at() -> None:
    r = rig()
    receiver = r.receiver()
    sent = [r.peer.sender.send(Message(n).encode()) for n in range(3)]
    r.driver.settle()
    message = r.run(receiver.receive(None))
    closing = r.start(ops.close_link(receiver, r.driver.now + 10))
    closing.value()
    assert sent[0].remote_state is None
    assert [delivery.remote_state for delivery in sent[1:]] == [RELEASED, RELEASED]
    assert message.accept() is False


def test_an_interrupted_close_goes_on_and_leaves_no_link() -> None:
    r = rig()
    sender = r.sender()
    send(r, sender, "a")
    closing = r.start(ops.close_link(sender, r.driver.now + 10))
    closing.step(KeyboardInterrupt())
    assert isinstance(closing.error, KeyboardInterrupt)
    assert not r.peer.detached
    r.driver.advance(11)
    assert r.peer.detached


# -- rejected --------------------------------------------------------------------------------------------------------


def test_a_rejected_message_is_raised_with_condition_description_and_info() -> None:
    r = rig()
    sender = r.sender()
    task = send(r, sender, "a")
    error = Error(condition="app:bad", description="no good", info={"field": "total"})
    r.peer.received[0].settle(Rejected(error=error))
    r.driver.settle()
    with pytest.raises(MessageRejectedError) as raised:
        task.value()
    assert (raised.value.condition, raised.value.description) == ("app:bad", "no good")
    assert dict(raised.value.info or {}) == {"field": "total"}


def test_released_is_an_outcome_and_not_sent_again() -> None:
    r = rig()
    sender = r.sender()
    task = send(r, sender, "a")
    r.peer.received[0].settle(RELEASED)
    r.driver.settle()
    assert task.value() == RELEASED
    assert r.peer.bodies == ["a"]


@pytest.mark.parametrize("error", [None, AMQPError(600, "x")])
def test_a_session_that_the_peer_ends_comes_back_or_fails_with_its_links(error: AMQPError | None) -> None:
    r = rig()
    sender = r.sender()
    task = send(r, sender, "a")
    if error is not None:
        error.condition = "amqp:session:window-violation"
    next(iter(r.peer.engine.sessions.values())).end(error)
    r.driver.advance(1)
    if error is None:
        assert r.peer.bodies == ["a", "a"]
        r.peer.accept()
        r.driver.settle()
        task.value()
    else:
        assert task.error is not None


def test_with_settle_mode_second_the_program_learns_when_the_sender_has_settled() -> None:
    r = rig()
    receiver = r.receiver(confirm="second")
    sent = r.peer.sender.send(Message("x").encode())
    r.driver.settle()
    message = r.run(receiver.receive(None))
    assert message.accept()
    assert not message.accept()
    waiting = r.start(receiver.wait_settled(message._delivery, None))
    assert not waiting.done
    assert sent.remote_state == ACCEPTED
    assert not sent.remote_settled
    sent.settle()
    r.driver.settle()
    waiting.value()


def test_a_delivery_can_be_taken_back_before_it_is_written_and_not_after() -> None:
    r = rig()
    sender = r.sender()
    written = r.run(sender.submit("written", False, None))
    r.driver.settle()
    assert not written._withdraw()
    r.unreachable = True
    cut(r)
    # It was written once: it may be there, and taking it back would be a lie.
    assert not written._withdraw()


def test_outcomes_that_come_before_the_connection_is_lost_are_not_lost_with_it() -> None:
    r = rig()
    sender = r.sender()
    deliveries = [r.run(sender.submit(n, False, None)) for n in range(3)]
    r.driver.settle()
    r.peer.accept(2)
    r.driver.settle()
    cut(r)
    assert [delivery.outcome is not None for delivery in deliveries] == [True, True, False]
    assert r.peer.bodies == [2]

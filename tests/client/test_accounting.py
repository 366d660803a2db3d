"""Nothing that the program handed over is forgotten, and nothing is reported that did not happen.

Ends that cross each other, messages that the session window holds back, and credit that is given back.
"""

from __future__ import annotations

from typing import Any

import pytest

from amqp10.client import operations as ops
from amqp10.client.links import Stage
from amqp10.client.message import Message
from amqp10.client.recovery import ConnectionState
from amqp10.errors import (
    AMQPTimeoutError,
    ClosedError,
    ConnectionLostError,
    DeliveryUnknownError,
    LinkError,
    ProtocolError,
    SendTimeoutError,
)
from amqp10.wire.messaging import ACCEPTED
from amqp10.wire.performatives import Flow
from tests.client.fake import FakeTask, Peer, Rig

DELETED = ProtocolError("the queue is gone", condition="amqp:resource-deleted")


def rig(**changes: Any) -> Rig:
    return Rig(**changes).connect()


def shut_window(rig: Rig) -> None:
    """The peer takes no transfers for now, as brokers do that run out of memory."""
    set_window(rig, 0)


def set_window(rig: Rig, size: int) -> None:
    for session in rig.peer.engine.sessions.values():
        flow = Flow(
            next_incoming_id=session.window.next_incoming_id,
            incoming_window=size,
            next_outgoing_id=session.window.next_outgoing_id,
            outgoing_window=2048,
        )
        session.send(flow)
    rig.driver.settle()


def small_frames(peer: Peer) -> None:
    peer.engine.max_frame_size = 512


def send(rig: Rig, sender: Any, body: Any, *, settled: bool = False, timeout: float | None = None) -> FakeTask:
    deadline = None if timeout is None else rig.driver.now + timeout
    return rig.start(ops.send(sender, body, settled, deadline))


# -- ends that cross each other --------------------------------------------------------------------------------------


def test_a_second_close_with_less_time_leaves_nobody_waiting_for_an_outcome() -> None:
    r = rig()
    sender = r.sender()
    written = send(r, sender, "a")
    first = r.start(ops.close_connection(r.core, r.driver.now + 10))
    first.step(KeyboardInterrupt())
    second = r.start(ops.close_connection(r.core, r.driver.now))
    r.driver.advance(1)
    second.value()
    assert isinstance(written.error, DeliveryUnknownError)


def test_a_recovery_that_is_stopped_leaves_nobody_waiting_for_an_outcome() -> None:
    r = rig(credit=1)
    sender = r.sender()
    written = send(r, sender, "a")
    queued = send(r, sender, "b")
    receiver = r.receiver()
    waiting = r.start(receiver.receive(None))
    receiver.due = r.driver.now + 1000  # so that there is a recovery that watches the time
    r.core.attend()
    recovery = r.driver.tasks[-1]
    recovery.step(KeyboardInterrupt())
    r.driver.settle()
    assert r.core.state is ConnectionState.FAILED
    assert isinstance(written.error, DeliveryUnknownError)
    assert isinstance(queued.error, ConnectionLostError)
    assert queued.error.sent is False
    assert isinstance(waiting.error, ConnectionLostError)


def test_a_message_accepted_behind_the_detach_is_not_said_to_be_accepted() -> None:
    r = rig()
    receiver = r.receiver()
    sent = r.peer.sender.send(Message("x").encode())
    r.driver.settle()
    message = r.run(receiver.receive(None))
    r.transport.frozen = True
    r.start(ops.close_link(receiver, r.driver.now + 10))
    r.driver.advance(2)
    assert receiver.stage is Stage.DETACHING
    assert message.stale
    assert message.accept() is False
    r.transport.frozen = False
    r.driver.settle()
    assert sent.remote_state is None


def test_a_message_accepted_before_its_link_is_closed_is_accepted_at_the_peer() -> None:
    r = rig()
    receiver = r.receiver()
    sent = r.peer.sender.send(Message("x").encode())
    r.driver.settle()
    message = r.run(receiver.receive(None))
    assert message.accept()
    r.start(ops.close_link(receiver, r.driver.now + 10)).value()
    assert sent.remote_state == ACCEPTED


# -- settled messages that the session window holds back -------------------------------------------------------------


def test_a_settled_message_is_done_when_the_window_has_let_it_out_and_not_before() -> None:
    r = rig()
    sender = r.sender()
    shut_window(r)
    task = send(r, sender, "a", settled=True)
    assert not task.done
    set_window(r, 10)
    assert task.value() == ACCEPTED
    assert r.peer.bodies == ["a"]
    assert sender.open == 0


def test_a_settled_message_that_runs_out_of_time_at_the_window_is_never_sent() -> None:
    r = rig()
    sender = r.sender()
    shut_window(r)
    task = send(r, sender, "a", settled=True, timeout=2)
    r.driver.advance(3)
    assert isinstance(task.error, SendTimeoutError)
    assert task.error.sent is False
    set_window(r, 10)
    assert r.peer.bodies == []
    assert (sender.open, sender.unsettled, sender.unsettled_bytes) == (0, 0, 0)


@pytest.mark.parametrize("what", ["link", "connection"])
def test_close_waits_until_the_window_has_let_out_what_is_settled(what: str) -> None:
    r = rig()
    sender = r.sender()
    shut_window(r)
    task = send(r, sender, "a", settled=True)
    deadline = r.driver.now + 10
    closing = r.start(ops.close_link(sender, deadline) if what == "link" else ops.close_connection(r.core, deadline))
    assert not closing.done
    set_window(r, 10)
    closing.value()
    assert task.value() == ACCEPTED
    assert r.peer.bodies == ["a"]


def test_a_settled_message_that_was_never_written_fails_when_its_link_is_closed_for_good() -> None:
    r = rig()
    sender = r.sender()
    shut_window(r)
    task = send(r, sender, "a", settled=True)
    closing = r.start(ops.close_link(sender, r.driver.now + 10))
    r.driver.advance(11)
    closing.value()
    assert isinstance(task.error, ClosedError)
    assert task.error.sent is False


def test_a_settled_message_that_was_never_written_fails_with_its_link() -> None:
    r = rig()
    sender = r.sender()
    shut_window(r)
    task = send(r, sender, "a", settled=True)
    r.peer.receiver.detach(error=DELETED)
    r.driver.settle()
    assert isinstance(task.error, LinkError)
    assert task.error.sent is False


def test_a_settled_message_that_was_never_written_goes_out_when_the_connection_is_back() -> None:
    r = rig()
    sender = r.sender()
    shut_window(r)
    task = send(r, sender, "a", settled=True)
    r.transport.cut()
    r.driver.settle()
    assert task.value() == ACCEPTED
    assert r.peer.bodies == ["a"]
    assert sender.open == 0


def test_a_settled_message_of_which_a_part_was_written_goes_out_whole_when_the_connection_is_back() -> None:
    r = Rig()
    r.prepare = small_frames
    r.connect()
    sender = r.sender()
    set_window(r, 1)
    body = "x" * 2000
    task = send(r, sender, body, settled=True)
    assert not task.done
    r.transport.cut()
    r.driver.settle()
    assert task.value() == ACCEPTED
    assert r.peer.bodies == [body]


# -- credit that is asked for, with prefetch=0 -----------------------------------------------------------------------


def test_a_receive_that_is_interrupted_leaves_no_credit_at_the_sender() -> None:
    r = rig()
    receiver = r.receiver(prefetch=0)
    task = r.start(receiver.receive(None))
    assert r.peer.sender.credit == 1
    task.step(KeyboardInterrupt())
    r.driver.settle()
    assert r.peer.sender.credit == 0


def test_a_receive_that_is_interrupted_keeps_the_credit_of_the_others_and_of_the_program() -> None:
    r = rig()
    receiver = r.receiver(prefetch=0)
    receiver.add_credit(5)
    first = r.start(receiver.receive(None))
    first.step(KeyboardInterrupt())
    r.driver.settle()
    assert r.peer.sender.credit == 5
    tasks = [r.start(receiver.receive(None)) for _ in range(7)]
    assert r.peer.sender.credit == 7
    tasks[6].step(KeyboardInterrupt())
    r.driver.settle()
    assert r.peer.sender.credit == 6


def test_a_message_on_its_way_to_a_receive_that_was_interrupted_is_there_for_the_next() -> None:
    r = rig()
    receiver = r.receiver(prefetch=0)
    task = r.start(receiver.receive(None))
    r.peer.sender.send(Message("x").encode())
    task.step(KeyboardInterrupt())
    r.driver.settle()
    assert r.run(receiver.receive(None)).body == "x"


def test_a_receive_that_times_out_does_not_take_the_credit_of_one_that_waits_on() -> None:
    r = rig()
    receiver = r.receiver(prefetch=0)
    r.peer.answers_drains = False
    short = r.start(receiver.receive(r.driver.now + 1))
    patient = r.start(receiver.receive(None))
    r.driver.advance(1.5)
    r.peer.sender.drained()
    r.driver.settle()
    assert isinstance(short.error, AMQPTimeoutError)
    r.peer.sender.send(Message("x").encode())
    r.driver.settle()
    assert patient.value().body == "x"


def test_a_receive_that_waits_while_the_connection_is_lost_has_its_credit_again() -> None:
    r = rig()
    receiver = r.receiver(prefetch=0)
    patient = r.start(receiver.receive(None))
    r.transport.cut()
    r.driver.settle()
    r.peer.sender.send(Message("x").encode())
    r.driver.settle()
    assert patient.value().body == "x"


@pytest.mark.parametrize("advance", [True, False], ids=["as it should", "without the delivery count"])
def test_a_drain_is_over_when_the_sender_has_answered_it(advance: bool) -> None:
    r = rig()
    receiver = r.receiver(prefetch=10)
    r.peer.answers_drains = False
    peer = r.peer.sender
    draining = r.start(receiver.drain(r.driver.now + 60))
    assert not draining.done
    if advance:
        peer.drained()
    else:
        peer.credit = 0
        peer.send_flow()
    r.driver.settle()
    draining.value()
    receiver.resume()
    r.driver.settle()
    assert peer.credit == 10


def test_a_drain_is_over_when_messages_have_used_the_credit() -> None:
    r = rig()
    receiver = r.receiver(prefetch=2)
    r.peer.answers_drains = False
    draining = r.start(receiver.drain(r.driver.now + 60))
    for n in range(2):
        r.peer.sender.send(Message(n).encode())
    r.driver.settle()
    assert draining.value() == 0

"""Each operation is stepped to each of its awaits and interrupted there; what is left is compared with a connection on
which it never began."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from amqp10.client import operations as ops
from amqp10.client.links import Stage
from amqp10.client.message import Message
from amqp10.client.options import sender_spec
from amqp10.client.received import ReceivedMessage
from amqp10.client.recovery import ConnectionState
from amqp10.client.requests import Requests
from amqp10.codec import Symbol
from amqp10.errors import AMQPTimeoutError, EncodeError, MessageRejectedError, RemoteError
from amqp10.wire.messaging import Rejected
from amqp10.wire.performatives import Error
from tests.client.fake import FakeTask, Rig
from tests.client.operations import CASES, TIME_IS_UP, Case, Scene

MOMENTS = ("at once", "at rest", "when it can go on")
TIME = "when the time is up"


def ready(task: FakeTask) -> bool:
    return task.pause is None or task.pause.wait.is_set


def play(case: Case, awaits: int, moment: str = "", error: BaseException | None = None) -> tuple[Scene, bool]:
    """Run an operation up to an await, and throw there.

    Args:
        case: the operation.
        awaits: which await; 0: it never begins.
        moment: when on that await.
        error: what is thrown; None for nothing.

    Returns:
        The scene afterwards, and whether the operation came so far.
    """
    scene = Scene()
    driver = scene.rig.driver
    for step in case.before:
        step(scene)
        driver.settle()
    helps = list(case.helps)
    interrupted = False
    task: FakeTask | None = None
    held: list[Any] = []
    if awaits:
        task = FakeTask(case.begin(scene))
        task.step()
        while not task.done and (task.steps < awaits or moment != MOMENTS[0]):
            driver.settle()
            if task.steps == awaits and moment in (MOMENTS[1], TIME):
                break
            while not ready(task) and helps and not isinstance(helps[0], AMQPTimeoutError):
                helps.pop(0)(scene)  # type: ignore[operator]
                driver.settle()
            if task.steps == awaits or not (ready(task) or helps):
                break
            task.step(None if ready(task) else helps.pop(0))  # type: ignore[arg-type]
        interrupted = not task.done and task.steps == awaits
        if interrupted:
            assert error is not None
            held = scene.held()
            task.step(error)
        if not task.done:
            driver.tasks.append(task)
        elif interrupted:
            assert scene.stranded() == {}
    for help in helps:
        driver.settle()
        if not isinstance(help, AMQPTimeoutError):
            help(scene)
    driver.advance(120)
    if task is not None:
        assert task.done
        assert not set(held) & set(scene.peer.bodies)
        scene.result = task.result
    case.after(scene)
    driver.settle()
    return scene, interrupted


def uninterrupted(case: Case) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What is left when an operation never began, when it came to its end, and when it did for what it had written."""
    never, complete = play(case, 0)[0].left(), play(case, 99)[0].left()
    return never, complete, complete if case.partly is None else play(replace(case, begin=case.partly), 99)[0].left()


@pytest.mark.parametrize("name", CASES)
def test_an_interrupted_operation_leaves_nothing_behind(name: str) -> None:
    case = CASES[name]
    never, complete, partly = uninterrupted(case)
    for awaits in range(1, 20):
        for moment in (*MOMENTS, TIME):
            scene, interrupted = play(case, awaits, moment, TIME_IS_UP if moment == TIME else KeyboardInterrupt())
            if not interrupted:
                assert awaits > 1
                return
            written = len(scene.rig.peer.bodies) - len(never["written"])
            if case.goes_on or written == len(complete["written"]) - len(never["written"]) > 0:
                expected = complete
            else:
                expected = partly if written else never
            assert scene.left() == expected, (awaits, moment, written)
    raise AssertionError("the operation has more awaits than were stepped through")


def test_a_late_attach_of_the_peer_is_answered_with_a_detach() -> None:
    scene = Scene()
    peer = scene.rig.peer
    peer.silent_links = True
    task = scene.rig.start(ops.attach_sender(scene.rig.core.default_session(), sender_spec("late", {}), None))
    requested = [link for session in peer.engine.sessions.values() for link in session.links.values()]
    task.step(KeyboardInterrupt())
    scene.rig.driver.settle()
    late = [link for link in requested if link not in peer.links]
    assert len(late) == 1
    late[0].accept()
    scene.rig.driver.settle()
    assert late[0].detached
    assert scene.rig.core.state is ConnectionState.OPEN


def test_a_turn_that_was_granted_and_not_taken_goes_to_the_next() -> None:
    scene = Scene()
    tasks: list[FakeTask] = [scene.rig.driver.start(scene.sender.submit(n, False, None)) for n in range(3)]
    link = scene.rig.peer.receiver
    link.flow(1)
    transport = scene.rig.transport
    transport.pump_in()  # the first task has its turn, and has not run yet
    assert scene.sender.turns.granted == 1
    tasks[0].step(KeyboardInterrupt())
    scene.rig.driver.settle()
    assert scene.rig.peer.bodies == [1]
    assert tasks[1].done
    assert not tasks[2].done


def test_who_comes_when_another_has_its_turn_does_not_wait_for_the_next_flow() -> None:
    scene = Scene()
    first = scene.rig.driver.start(scene.sender.submit(1, False, None))
    scene.rig.peer.receiver.flow(2)
    scene.rig.transport.pump_in()  # the first one has its turn, and has not run yet
    second = scene.rig.driver.start(scene.sender.submit(2, False, None))
    scene.rig.driver.settle()
    assert first.done
    assert second.done
    assert scene.rig.peer.bodies == [1, 2]


def test_a_turn_of_a_message_that_cannot_be_sent_goes_to_the_next() -> None:
    scene = Scene()
    nonsense = scene.rig.driver.start(scene.sender.submit(object(), False, None))
    following = scene.rig.driver.start(scene.sender.submit(2, False, None))
    scene.rig.peer.receiver.flow(1)
    scene.rig.driver.settle()
    assert isinstance(nonsense.error, EncodeError)
    assert following.done
    assert scene.rig.peer.bodies == [2]


def test_when_the_last_message_to_be_sent_again_is_given_up_the_new_ones_go() -> None:
    scene = Scene()
    scene.rig.peer.receiver.flow(5)
    scene.rig.driver.settle()
    first, second = (scene.rig.start(ops.send(scene.sender, n, False, None)) for n in (1, 2))
    scene.rig.peer.receiver.detach(error=RemoteError("broken", condition="amqp:internal-error"))
    scene.rig.driver.advance(60)
    scene.rig.peer.receiver.flow(5)  # which of the two has broken the link is found out: one at a time
    scene.rig.driver.settle()
    third = scene.rig.start(scene.sender.submit(3, False, None))
    assert (scene.rig.peer.bodies, third.done) == ([1, 2, 1], False)
    second.step(KeyboardInterrupt())
    scene.rig.driver.settle()
    assert (scene.rig.peer.bodies, third.done) == ([1, 2, 1, 3], True)
    assert not first.done


def test_a_message_whose_receiver_was_cancelled_goes_to_the_next() -> None:
    scene = Scene()
    tasks = [scene.rig.driver.start(scene.receiver.receive(None)) for _ in range(2)]
    scene.rig.driver.settle()
    link = next(link for link in scene.rig.peer.links if link.name == scene.receiver.name)
    link.send(Message("only").encode())  # type: ignore[attr-defined]
    scene.rig.transport.pump_in()
    tasks[0].step(KeyboardInterrupt())
    scene.rig.driver.settle()
    assert tasks[1].value().body == "only"


def test_the_one_message_that_was_asked_for_is_not_left_on_its_way_after_a_time_out() -> None:
    scene = Scene()
    task = scene.rig.start(scene.manual.receive(scene.rig.driver.now + 2))
    assert scene.manual.link.credit == 1
    scene.rig.driver.advance(3)
    assert isinstance(task.error, AMQPTimeoutError)
    assert scene.manual.link.credit == 0
    assert scene.manual.stage is Stage.ATTACHED


def test_an_interrupted_connect_leaves_no_transport_at_any_of_its_awaits() -> None:
    for awaits in range(1, 20):
        rig = Rig()
        driver = rig.driver
        rig.unreachable = True
        task = FakeTask(ops.connect(rig.core, None))
        task.step()
        while not task.done and task.steps < awaits:
            driver.settle()
            assert task.pause is not None
            if not ready(task):
                assert task.pause.deadline is not None
                driver.now = task.pause.deadline
                rig.unreachable = False
            task.step(None if ready(task) else TIME_IS_UP)
        if task.done:
            break
        task.step(KeyboardInterrupt())
        assert isinstance(task.error, KeyboardInterrupt)
        assert not any(transport.live for transport in driver.transports)
        assert rig.core.incarnation is None
        assert rig.core.state is ConnectionState.FAILED
        assert driver.finished
        driver.settle()
        assert all(task.done for task in driver.tasks)
    else:
        raise AssertionError("connect() has more awaits than were stepped through")
    assert awaits == 3  # between the attempts, and for the peer's open


def drained_later(scene: Scene) -> list[FakeTask]:
    """Two drains of the same receiver under way."""
    scene.hold_drains()
    return [scene.rig.start(scene.receiver.drain(None)) for _ in range(2)]


def test_a_drain_that_is_interrupted_does_not_end_the_pause_of_another() -> None:
    scene = Scene()
    first, second = drained_later(scene)
    first.step(KeyboardInterrupt())
    scene.drained()
    scene.rig.driver.settle()
    assert second.value() == 200
    assert (scene.receiver.credit, scene.receiver.window.paused) == (0, True)


def test_a_receiver_is_not_paused_when_every_drain_of_it_was_interrupted() -> None:
    scene = Scene()
    for task in drained_later(scene):
        task.step(KeyboardInterrupt())
    scene.drained()
    scene.rig.driver.settle()
    assert (scene.receiver.credit, scene.receiver.window.paused) == (200, False)


def test_a_receiver_that_the_program_pauses_stays_so_when_a_drain_is_interrupted() -> None:
    scene = Scene()
    first, second = drained_later(scene)
    scene.receiver.pause()
    first.step(KeyboardInterrupt())
    second.step(KeyboardInterrupt())
    scene.drained()
    scene.rig.driver.settle()
    assert (scene.receiver.credit, scene.receiver.window.paused) == (0, True)


def test_credit_that_is_added_during_a_drain_is_given_after_it() -> None:
    scene = Scene()
    scene.hold_drains()
    scene.manual.add_credit(5)
    task = scene.rig.start(scene.manual.drain(None))
    scene.manual.add_credit(2)
    scene.drained()
    scene.rig.driver.settle()
    assert task.value() == 5
    assert scene.manual.credit == 2


def test_credit_that_was_added_beside_a_receive_that_timed_out_is_given_again() -> None:
    scene = Scene()
    task = scene.rig.start(scene.manual.receive(scene.rig.driver.now + 2))
    scene.manual.add_credit(5)
    scene.rig.driver.advance(3)
    assert isinstance(task.error, AMQPTimeoutError)
    assert scene.manual.credit == 5


def test_credit_that_is_being_drained_when_the_connection_is_lost_does_not_come_back() -> None:
    scene = Scene()
    scene.hold_drains()
    scene.manual.add_credit(5)
    task = scene.rig.start(scene.manual.drain(None))
    scene.cut()
    scene.reachable()
    assert task.value() == 5
    assert (scene.manual.stage, scene.manual.credit) == (Stage.ATTACHED, 0)


def test_a_shared_sender_whose_attach_is_interrupted_is_attached_by_the_next_who_wants_it() -> None:
    scene = Scene()
    scene.rig.credit = 10
    peer = scene.rig.peer
    peer.silent_links = True
    senders: dict[str, Any] = {}
    core = scene.rig.core
    first = scene.rig.start(ops.send_to(core, senders, "shared", 1, None))
    second = scene.rig.start(ops.send_to(core, senders, "shared", 2, None))
    peer.silent_links = False
    peer.credit = 10
    peer.accepting = True
    first.step(KeyboardInterrupt())
    scene.rig.driver.settle()
    assert second.value() is not None
    assert peer.bodies == [2]


def test_a_shared_sender_that_another_uses_stays_when_who_attached_it_is_interrupted() -> None:
    scene = Scene()
    first = scene.rig.driver.start(ops.send_to(scene.core, scene.senders, "shared", 1, None))
    scene.rig.transport.pump_out()
    scene.rig.transport.pump_in()  # it is attached, and the first has not run yet
    second = scene.rig.driver.start(ops.send_to(scene.core, scene.senders, "shared", 2, None))
    first.step(KeyboardInterrupt())
    scene.rig.driver.settle()
    scene.credit()
    scene.rig.driver.settle()
    scene.accept()
    scene.rig.driver.settle()
    assert second.value() is not None
    assert scene.rig.peer.bodies == [2]


def test_an_interrupted_request_leaves_nothing_behind_at_any_of_its_awaits() -> None:
    for awaits in range(1, 20):
        scene = Scene()
        requests = Requests(scene.rig.core)
        task = scene.rig.driver.start(requests.request("rpc", "x", False, None, ReceivedMessage))
        while not task.done and task.steps < awaits and not waits_for_credit(scene):
            scene.rig.transport.pump_out()
            scene.rig.transport.pump_in()
            if task.pause is not None and task.pause.wait.is_set:
                task.step()
        if task.steps < awaits:
            break
        task.step(KeyboardInterrupt())
        assert isinstance(task.error, KeyboardInterrupt)
        scene.rig.driver.settle()
        assert requests._links[None]._under_way == {}
        assert requests._links[None]._attaching is None
        assert scene.stranded() == {}
        assert not waits_for_credit(scene)
        assert scene.rig.peer.bodies == []
    else:
        raise AssertionError("the operation has more awaits than were stepped through")
    assert awaits > 3


def waits_for_credit(scene: Scene) -> bool:
    links: list[Any] = [link for session in scene.rig.core.sessions for link in session.links]
    senders = [link for link in links if not link.is_receiver]
    return any(len(sender.turns) for sender in senders)


def test_a_message_that_was_on_its_way_when_its_receiver_was_cancelled_goes_to_the_next() -> None:
    scene = Scene()
    first = scene.rig.start(scene.manual.receive(None))
    link = next(link for link in scene.rig.peer.links if link.name == scene.manual.name)
    link.send(Message("late").encode())  # type: ignore[attr-defined]
    first.step(KeyboardInterrupt())
    scene.rig.driver.settle()
    assert scene.rig.start(scene.manual.receive(None)).value().body == "late"


def test_a_request_that_is_rejected_fails_and_the_connection_lives() -> None:
    rig = Rig().connect()
    requests = Requests(rig.core)
    task = rig.start(requests.request("rpc", "x", False, None, ReceivedMessage))
    rig.peer.received[0].settle(Rejected(error=Error(condition=Symbol("app:bad"))))
    rig.driver.settle()
    with pytest.raises(MessageRejectedError):
        task.value()
    assert rig.core.state is ConnectionState.OPEN
    assert requests._links[None]._under_way == {}


def test_a_request_that_waits_for_its_outcome_can_time_out() -> None:
    rig = Rig().connect()
    requests = Requests(rig.core)
    task = rig.start(requests.request("rpc", "x", False, rig.driver.now + 5, ReceivedMessage))
    rig.driver.advance(6)
    assert isinstance(task.error, AMQPTimeoutError)
    rig.peer.accept()
    rig.driver.settle()
    assert rig.core.state is ConnectionState.OPEN


def test_a_link_that_is_not_answered_after_a_reconnection_does_not_hold_up_the_others() -> None:
    rig = Rig().connect()
    refused, silent = rig.sender("refused"), rig.sender("silent")
    error = RemoteError("later", condition="amqp:internal-error")

    def prepare(peer: Any) -> None:
        answer = peer._requested

        def requested(event: Any) -> None:
            if event.link.target.address == "silent":
                return
            peer.refuse = None if peer.links or rig.driver.now > 200 else error
            answer(event)

        peer._requested = requested

    rig.prepare = prepare
    rig.driver.advance(95)
    rig.transport.cut()
    rig.driver.settle()
    assert (refused.stage, silent.stage) == (Stage.WAITING, Stage.ATTACHING)
    rig.driver.advance(10)  # of the thirty that the silent one is given
    assert (refused.stage, silent.stage) == (Stage.ATTACHED, Stage.ATTACHING)

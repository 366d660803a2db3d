"""Each operation is stepped to each of its awaits and interrupted there; what is left is compared with a connection on
which it never began."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from amqp10.client import operations as ops
from amqp10.client.links import Stage
from amqp10.client.message import Message
from amqp10.client.options import receiver_spec, sender_spec
from amqp10.client.receiving import ReceivedMessage
from amqp10.client.recovery import ConnectionState
from amqp10.client.requests import Requests
from amqp10.codec import Symbol
from amqp10.errors import AMQPTimeoutError, MessageRejectedError, RemoteError
from amqp10.wire.messaging import Rejected
from amqp10.wire.performatives import Error
from tests.client.fake import FakeTask, Rig


class Scene:
    """A connection with a sender that has no credit and two receivers."""

    def __init__(self) -> None:
        self.rig = Rig(credit=0).connect()
        self.sender = self.rig.sender()
        self.receiver = self.rig.receiver()
        self.manual = self.rig.receiver("manual", prefetch=0)

    def left(self) -> dict[str, Any]:
        """All that an operation could leave behind."""
        core, sender = self.rig.core, self.sender
        state: dict[str, Any] = {
            "state": core.state,
            "sessions": len(core.sessions),
            "sender": (sender.open, sender.unsettled, len(sender.turns), sender.turns.granted, len(sender.again)),
            "links": [link.stage for session in core.sessions for link in session.links],
            "peer's links": len(self.rig.peer.links),
            "handles": [len(session.links) for session in self.rig.peer.engine.sessions.values()],
            "written": self.rig.peer.bodies,
        }
        for name, receiver in (("receiver", self.receiver), ("manual", self.manual)):
            state[name] = (len(receiver.queue), receiver.unsettled, len(receiver.turns), receiver.turns.granted)
            state[f"{name} credit"] = (receiver.link.credit, receiver.window.paused, receiver._asked)
        state["peer's credit"] = [link.credit for link in self.rig.peer.links]
        state["waits"] = waits(core)
        return state


def waits(core: Any) -> int:
    """How many wait for something, or look as if they did."""
    found = len(core._over_waits)
    for session in core.sessions:
        for link in session.links:
            found += len(link._ready) + len(link._gone)
            found += len(link._draining) + len(link._settling) if link.is_receiver else len(link._idle)
    return found


OPERATIONS: dict[str, Callable[[Scene], Coroutine[Any, Any, Any]]] = {
    "attach sender": lambda s: ops.attach_sender(s.rig.core.default_session(), sender_spec("new", {}), None),
    "attach receiver": lambda s: ops.attach_receiver(s.rig.core.default_session(), receiver_spec("new", {}), None),
    "submit": lambda s: s.sender.submit("x", False, None),
    "send": lambda s: ops.send(s.sender, "x", False, None),
    "flush": lambda s: s.sender.flush(None),
    "receive": lambda s: s.receiver.receive(None),
    "receive many": lambda s: s.receiver.receive_many(10, None),
    "manual receive": lambda s: s.manual.receive(None),
    "manual receive many": lambda s: s.manual.receive_many(10, None),
    "wait for the link": lambda s: s.sender.wait_back(None),
    "wait for the end": lambda s: s.rig.core.wait_over(),
    "wait for the link's end": lambda s: s.sender.wait_gone(),
}


def prepare(scene: Scene, name: str) -> None:
    """What makes the operation wait."""
    if name.startswith("attach"):
        scene.rig.peer.silent_links = True


@pytest.mark.parametrize("error", [KeyboardInterrupt(), AMQPTimeoutError("the time is up")], ids=["Ctrl-C", "time"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_interrupted_operation_leaves_nothing_behind(name: str, error: BaseException) -> None:
    for awaits in range(1, 20):
        scene, untouched = Scene(), Scene()
        prepare(scene, name)
        prepare(untouched, name)
        task = scene.rig.driver.start(OPERATIONS[name](scene))
        scene.rig.driver.settle()
        if task.steps < awaits:
            break
        task.step(error)
        scene.rig.peer.silent_links = untouched.rig.peer.silent_links = False
        scene.rig.driver.advance(120)
        untouched.rig.driver.advance(120)
        assert task.done
        assert scene.left() == untouched.left(), (name, awaits)
    else:
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


def test_an_interrupted_connect_aborts_the_transport_and_fails_the_connection() -> None:
    rig = Rig()
    task = rig.driver.start(ops.connect(rig.core, None))
    task.step(KeyboardInterrupt())
    assert isinstance(task.error, KeyboardInterrupt)
    assert not rig.transport.live
    assert rig.core.over


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
        assert waits(scene.rig.core) == 0
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

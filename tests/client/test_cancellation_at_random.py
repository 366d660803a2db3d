"""Many operations at once, interrupted in any order and at any time: nothing is lost, doubled or stranded by it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import NoneType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from amqp10.client import operations as ops
from amqp10.client.links import LinkCore, Stage
from amqp10.client.message import Message
from amqp10.client.options import receiver_spec, sender_spec
from amqp10.client.received import ReceivedMessage
from amqp10.errors import AMQPTimeoutError, RequestLostError
from tests.client.fake import FakeTask
from tests.client.operations import Scene, engine_state
from tests.examples import examples


class Crowd:
    """The tasks of a program that sends and receives on the same few links."""

    def __init__(self) -> None:
        self.scene = Scene()
        self.driver = self.scene.rig.driver
        self.receiver: Any = self.scene.rig.receiver("few", prefetch=4)
        self.tasks: list[tuple[str, FakeTask]] = []
        self.sent: dict[FakeTask, list[int]] = {}
        self.written: list[int] = []
        self.cuts = 0
        self.number = 0
        self.delivered: list[int] = []
        self.received: list[int] = []
        self.credit_added = 0
        self.drained = False
        """Whether the program has drained the credit that it had given."""
        self.by_hand = 0
        """How many messages came to the receiver with credit by hand."""
        self.credit_given = 0
        """To the sender."""

    # -- what the program does -------------------------------------------------------------------------------------

    def start(self, name: str, patience: float | None) -> None:
        scene = self.scene
        deadline = None if patience is None else self.driver.now + patience
        numbers = [self.number + more for more in range(3)]
        works: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "submit": lambda: scene.sender.submit(numbers[0], False, deadline),
            "send": lambda: ops.send(scene.sender, numbers[0], False, deadline),
            "send many": lambda: scene.send_many(numbers),
            "flush": lambda: scene.sender.flush(deadline),
            "receive": lambda: self.receiver.receive(deadline),
            "receive many": lambda: self.receiver.receive_many(3, deadline),
            "manual receive": lambda: scene.manual.receive(deadline),
            "drain": lambda: self.receiver.drain(deadline),
            "manual drain": lambda: scene.manual.drain(deadline),
        }
        task = FakeTask(works[name]())
        self.driver.tasks.append(task)
        self.tasks.append((name, task))
        if name.startswith(("submit", "send")):
            self.number += 3
            self.sent[task] = numbers if name == "send many" else numbers[:1]
        task.step()
        self.run_on()

    def interrupt(self, which: int) -> None:
        waiting = [task for _, task in self.tasks if not task.done]
        if waiting:
            waiting[which % len(waiting)].step(KeyboardInterrupt())

    def add_credit(self) -> None:
        self.credit_added += 2
        self.scene.manual.add_credit(2)

    # -- what the peer does ----------------------------------------------------------------------------------------

    def credit(self) -> None:
        self.credit_given += 2
        link = self.scene.rig.peer.receiver
        link.flow(link.credit + 2)

    def deliver(self, address: str) -> None:
        for link in self.scene.peers(address):
            if not link.is_receiver and link.credit:
                self.number += 1
                self.delivered.append(self.number)
                self.by_hand += address == "manual"
                link.send(Message(self.number).encode())

    # -- time ------------------------------------------------------------------------------------------------------

    def arrive(self) -> None:
        """What is under way arrives, and nobody runs yet."""
        self.scene.rig.transport.pump_out()
        self.scene.rig.transport.pump_in()

    def run_on(self) -> None:
        """Tasks that only wait for their next turn have it."""
        for _, task in self.tasks:
            while not task.done and task.pause is None:
                task.step()

    def settle(self) -> None:
        self.driver.settle()
        while any(not task.done and task.pause is None for _, task in self.tasks):
            self.run_on()
            self.driver.settle()
        # Nobody waits for what is there.
        assert not (self.scene.sender.turns.waiting and self.scene.sender.room() > 0)
        for receiver in (self.receiver, self.scene.manual):
            assert not (receiver.turns.waiting and receiver.queue)
            if receiver.turns.waiting and receiver.stage is Stage.ATTACHED and not receiver._drain_sent:
                assert receiver.credit or receiver.window.paused or receiver.unsettled == 4

    def cut(self) -> None:
        """The connection is lost, and comes back."""
        self.settle()
        self.collect()
        self.cuts += 1
        self.credit_given = 0
        self.scene.rig.transport.cut()
        self.driver.advance(60)

    def advance(self) -> None:
        self.settle()
        self.driver.advance(3)
        self.settle()

    def collect(self) -> None:
        """Take the results of what has come to its end."""
        for name, task in self.tasks:
            if not task.done:
                continue
            assert isinstance(task.error, (NoneType, KeyboardInterrupt, AMQPTimeoutError)), name
            if name.endswith(("receive", "many")) and task not in self.sent and task.error is None:
                for message in task.result if isinstance(task.result, list) else [task.result]:
                    self.take(message)
            elif name == "manual drain" and task.error is None:
                self.drained = True
            elif task.error is None and task in self.sent:
                self.written += self.sent[task]
        self.tasks = [(name, task) for name, task in self.tasks if not task.done]

    def take(self, message: ReceivedMessage) -> None:
        self.received.append(message.body)
        assert message.accept() or self.cuts

    # -- the end ---------------------------------------------------------------------------------------------------

    def check(self) -> None:
        scene, driver = self.scene, self.driver
        for number, (_, task) in enumerate(self.tasks):
            if number % 2 and not task.done:
                task.step(KeyboardInterrupt())
        # The others come to their end when the peer does what it can.
        for _ in range(len(self.tasks) + 3):
            scene.drained()
            self.receiver.resume()
            self.credit()
            self.settle()
            scene.accept()
            self.settle()
            self.deliver("few")
            self.deliver("manual")
            self.settle()
            self.collect()
        assert not self.tasks
        for receiver in (self.receiver, scene.manual):
            while (message := receiver.try_receive()) is not None:
                self.take(message)
        self.receiver.resume()
        credit = scene.sender.credit
        link = scene.peer.receiver
        link.flow(link.credit + 100)
        driver.settle()
        scene.accept()
        driver.advance(120)
        assert scene.stranded() == {}
        manual: Any = scene.manual
        assert 2 < self.receiver.credit <= 4
        assert self.receiver.unsettled == 0
        assert self.receiver.credit == scene.peers("few")[0].credit
        assert manual.credit == manual._asked == scene.peers("manual")[0].credit
        assert manual.credit <= self.credit_added
        bodies = [body for peer in scene.rig.peers for body in peer.bodies]
        assert set(self.written) <= set(bodies)
        assert len(set(self.received)) == len(self.received)
        if self.cuts:
            return  # what was under way has gone out again, and what had arrived and was not settled would come again
        assert sorted(self.received) == self.delivered
        # Each message may have used credit of the program's or of the call that received it.
        assert self.drained or manual.credit >= self.credit_added - self.by_hand
        assert len(set(bodies)) == len(bodies)
        assert credit == self.credit_given - len(bodies)


NAMES = ["submit", "send", "send many", "flush", "receive", "receive many", "manual receive", "drain", "manual drain"]
PLAIN: dict[str, Callable[[Crowd], object]] = {
    "add credit": Crowd.add_credit,
    "credit": Crowd.credit,
    "accept": lambda crowd: crowd.scene.accept(),
    "deliver": lambda crowd: crowd.deliver("few"),
    "deliver by hand": lambda crowd: crowd.deliver("manual"),
    "hold drains": lambda crowd: crowd.scene.hold_drains(),
    "drained": lambda crowd: crowd.scene.drained(),
    "resume": lambda crowd: crowd.receiver.resume(),
    "arrive": Crowd.arrive,
    "settle": Crowd.settle,
    "advance": Crowd.advance,
    "cut": Crowd.cut,
}
STARTS = st.tuples(st.sampled_from(NAMES), st.sampled_from([None, 2.0]))
ACTIONS = st.one_of(STARTS, st.integers(0, 9), st.sampled_from(sorted(PLAIN)), st.sampled_from(sorted(PLAIN)))


@settings(max_examples=examples(400))
@given(st.lists(ACTIONS, max_size=40))
def test_what_is_interrupted_at_random_loses_nothing(actions: list[Any]) -> None:
    crowd = Crowd()
    for action in actions:
        if isinstance(action, tuple):
            crowd.start(*action)
        elif isinstance(action, int):
            crowd.interrupt(action)
        else:
            PLAIN[action](crowd)
    crowd.check()


class Visitors:
    """The tasks of a program that attaches, asks and closes."""

    def __init__(self) -> None:
        self.scene = Scene()
        self.driver = self.scene.rig.driver
        self.tasks: list[FakeTask] = []
        self.cuts = 0
        self.closing: set[Any] = set()
        self.answered: set[Any] = set()

    def start(self, name: str, patience: float | None) -> None:
        scene = self.scene
        deadline = None if patience is None else self.driver.now + patience
        works: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "attach sender": lambda: ops.attach_sender(scene.session, sender_spec("new", {}), deadline),
            "attach receiver": lambda: ops.attach_receiver(scene.session, receiver_spec("new", {}), deadline),
            "send": lambda: ops.send_to(scene.core, scene.senders, "another", "x", deadline),
            "request": lambda: scene.requests.request("rpc", "x", False, deadline, ReceivedMessage),
            "idempotent request": lambda: scene.requests.request("rpc", "x", True, deadline, ReceivedMessage),
        }
        self.run(works[name]())

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        task = FakeTask(work)
        self.driver.tasks.append(task)
        self.tasks.append(task)
        task.step()

    def interrupt(self, which: int) -> None:
        waiting = [task for task in self.tasks if not task.done]
        if waiting:
            waiting[which % len(waiting)].step(KeyboardInterrupt())

    def close(self) -> None:
        """Close what has been attached."""
        for task in self.tasks:
            link = task.result
            if task.done and isinstance(link, LinkCore) and link not in self.closing:
                self.closing.add(link)
                self.run(ops.close_link(link, self.driver.now + 10))

    def respond(self) -> None:
        for delivery in self.scene.peer.received:
            request = Message.decode(delivery.payload)
            if request.reply_to is None or request.correlation_id in self.answered:
                continue
            for link in self.scene.peers("made-up"):
                self.answered.add(request.correlation_id)
                link.send(Message("response", correlation_id=request.correlation_id).encode())

    def arrive(self) -> None:
        self.scene.rig.transport.pump_out()
        self.scene.rig.transport.pump_in()

    def advance(self) -> None:
        self.driver.advance(3)

    def cut(self) -> None:
        self.driver.settle()
        self.cuts += 1
        self.scene.rig.transport.cut()
        self.driver.advance(60)

    def check(self) -> None:
        scene = self.scene
        for number, task in enumerate(self.tasks):
            if number % 2 and not task.done:
                task.step(KeyboardInterrupt())
        # The others come to their end when the peer does what it can.
        for _ in range(len(self.tasks) + 3):
            scene.answer()
            scene.credit()
            self.driver.settle()
            scene.accept()
            self.respond()
            self.driver.settle()
        assert all(task.done for task in self.tasks)
        self.close()
        self.driver.advance(120)
        usual = (NoneType, KeyboardInterrupt, AMQPTimeoutError) + (RequestLostError,) * bool(self.cuts)
        assert all(isinstance(task.error, usual) for task in self.tasks)
        assert scene.stranded() == {}
        assert all(link._under_way == {} and link._attaching is None for link in scene.requests._links.values())
        # All is as if nothing had happened, when what is kept for later is there.
        scene.credit()
        self.driver.settle()
        scene.requested()
        scene.keep_sender()
        self.driver.advance(120)
        names = ["orders", "orders", "manual", "second", "made-up", "rpc", "another"]
        links = [link for session in scene.core.sessions for link in session.links]
        assert sorted(str(link.address) for link in links) == sorted(names)
        assert all(link.stage is Stage.ATTACHED for link in links)
        assert len(scene.peer.links) == len(names)
        assert scene.core.incarnation is not None
        for engine in (scene.core.incarnation.engine, scene.peer.engine):
            assert [(len(lengths), *counts) for lengths, *counts in engine_state(engine)] == [(7, 7, 0, 0, 0)]


VISITS: dict[str, Callable[[Visitors], object]] = {
    "be silent": lambda visitors: visitors.scene.be_silent(),
    "answer": lambda visitors: visitors.scene.answer(),
    "credit": lambda visitors: visitors.scene.credit(),
    "accept": lambda visitors: visitors.scene.accept(),
    "respond": Visitors.respond,
    "close": Visitors.close,
    "arrive": Visitors.arrive,
    "settle": lambda visitors: visitors.driver.settle(),
    "advance": Visitors.advance,
    "cut": Visitors.cut,
}
WORKS = ["attach sender", "attach receiver", "send", "request", "idempotent request"]


@settings(max_examples=examples(300))
@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(WORKS), st.sampled_from([None, 2.0])),
            st.integers(0, 9),
            st.sampled_from(sorted(VISITS)),
            st.sampled_from(sorted(VISITS)),
        ),
        max_size=30,
    )
)
def test_links_and_requests_that_are_interrupted_at_random_leave_nothing_behind(actions: list[Any]) -> None:
    visitors = Visitors()
    for action in actions:
        if isinstance(action, tuple):
            visitors.start(*action)
        elif isinstance(action, int):
            visitors.interrupt(action)
        else:
            VISITS[action](visitors)
    visitors.check()

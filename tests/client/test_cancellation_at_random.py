"""Many operations at once, interrupted in any order and at any time: nothing is lost, doubled or stranded by it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from amqp10.client import operations as ops
from amqp10.client.links import Stage
from amqp10.client.message import Message
from amqp10.client.received import ReceivedMessage
from tests.client.fake import FakeTask
from tests.client.operations import Scene
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
        self.collect()
        while any(not task.done for _, task in self.tasks):
            self.interrupt(0)
        scene.drained()
        driver.advance(30)
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

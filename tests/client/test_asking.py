"""The credit of receivers in random schedules: nobody waits without any, and none is left over."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from amqp10.client import operations
from amqp10.client.links import Stage
from amqp10.client.message import Message
from amqp10.client.options import receiver_spec
from amqp10.errors import AMQPTimeoutError
from tests.client.fake import FakeTask, Rig
from tests.examples import examples

LONG = Message("x" * 3000).encode()
SHORT = Message("short").encode()


class Scene:
    """One receiver, and whoever waits for its messages."""

    def __init__(self, prefetch: int) -> None:
        self.rig = Rig(max_frame_size=512).connect()
        self.driver = self.rig.driver
        session = self.rig.core.add_session(2, 2048)
        spec = receiver_spec("orders", {"prefetch": prefetch})
        self.receiver: Any = self.rig.run(operations.attach_receiver(session, spec, self.driver.now + 30))
        self.waiting: list[FakeTask] = []
        self.given = 0
        """Credit that the program gave beside what its receive() calls ask for."""
        self.unsettled: list[Any] = []
        """Messages that the program has and has not accepted yet."""
        self.growing: Any = None
        """A long message of which a part has been sent."""

    @property
    def link(self) -> Any:
        """The peer's end; None while there is none that is attached."""
        if not self.rig.transport.live:
            return None
        links = [link for link in self.rig.peer.links if not link.is_receiver and link.attached]
        return links[-1] if links else None

    def do(self, what: str, number: int) -> None:
        getattr(self, f"do_{what}")(number)

    def do_receive(self, number: int) -> None:
        deadline = self.driver.now + number if number else None
        self.waiting.append(self.driver.start(self.receiver.receive(deadline)))

    def do_interrupt(self, number: int) -> None:
        waiting = [task for task in self.waiting if not task.done]
        if waiting:
            waiting[number % len(waiting)].step(KeyboardInterrupt())

    def do_credit(self, number: int) -> None:
        if self.receiver.spec.prefetch == 0:
            self.receiver.add_credit(number + 1)
            self.given += number + 1

    def do_accept(self, number: int) -> None:
        for message in self.unsettled[:number]:
            self.unsettled.remove(message)
            message.accept()

    def do_pause(self, number: int) -> None:
        self.receiver.pause()

    def do_resume(self, number: int) -> None:
        self.receiver.resume()

    def do_drain(self, number: int) -> None:
        self.driver.start(self.receiver.drain(self.driver.now + 1 if number else None))

    def do_answer(self, number: int) -> None:
        self.rig.peer.answers_drains = number > 0

    def do_send(self, number: int) -> None:
        for _ in range(number + 1):
            link = self.link
            if link is not None and link.credit > 0:
                link.send(SHORT)

    def do_send_long(self, number: int) -> None:
        link = self.link
        if link is not None and link.credit > 0:
            self.growing = link.send(LONG)

    def do_abort(self, number: int) -> None:
        growing = self.growing
        self.growing = None
        if growing is not None and not growing.complete and growing.link is self.link:
            growing.abort()

    def do_arrive(self, number: int) -> None:
        """Bytes come in, and nobody runs."""
        self.rig.transport.pump_in()

    def do_settle(self, number: int) -> None:
        self.driver.settle()

    def do_wait(self, number: int) -> None:
        self.driver.advance(0.5 * number)

    def do_cut(self, number: int) -> None:
        self.rig.transport.cut()

    def take(self) -> None:
        """See what has been received, and what was interrupted."""
        for task in [task for task in self.waiting if task.done]:
            self.waiting.remove(task)
            if task.error is None:
                self.unsettled.append(task.result)
            else:
                assert isinstance(task.error, (AMQPTimeoutError, KeyboardInterrupt)), task.error

    def check(self) -> None:
        """At rest, the credit that the sender has is what those who wait want, and no more than was asked for."""
        receiver = self.receiver
        if receiver.stage is not Stage.ATTACHED or receiver.link.drain or receiver._drain_sent:
            return
        credit = receiver.link.credit
        assert self.link is None or self.link.credit == credit
        on_the_way = receiver.link.partial is not None
        under_way = credit + on_the_way + len(receiver.queue)
        prefetch = receiver.spec.prefetch
        if prefetch == 0:
            assert under_way >= len(receiver.turns.waiting)
            assert credit <= len(receiver.turns.waiting) + self.given
            assert credit == max(0, receiver._asked - on_the_way)
            return
        held = sum(1 for message in self.unsettled if not message.stale)
        assert receiver.unsettled == held
        assert under_way + held <= prefetch
        if not receiver.window.paused:
            assert under_way > 0 or held == prefetch


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [name.removeprefix("do_") for name in sorted(vars(Scene)) if name.startswith("do_")]
            + ["receive", "send", "accept", "settle", "settle"]
        ),
        st.integers(0, 3),
    ),
    max_size=40,
)


@settings(max_examples=examples(300), deadline=None)
@given(steps=STEPS, prefetch=st.sampled_from([0, 0, 1, 2, 5]))
def test_whatever_happens_who_waits_has_credit_and_gets_a_message(steps: list[tuple[str, int]], prefetch: int) -> None:
    scene = Scene(prefetch)
    for what, number in steps:
        scene.do(what, number)
        scene.take()
        if what in ("settle", "wait"):
            scene.driver.settle()
            scene.take()
            scene.check()
    scene.rig.peer.answers_drains = True
    scene.driver.advance(60)
    scene.do_resume(0)
    for _ in range(len(scene.waiting) + 1):
        scene.take()
        scene.do_accept(len(scene.unsettled))
        scene.driver.settle()
        scene.check()
        scene.do_send(0)
        scene.driver.settle()
    scene.take()
    assert not scene.waiting

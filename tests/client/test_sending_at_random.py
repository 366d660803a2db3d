"""A sender in random schedules: small windows, large messages, all outcomes, losses; every message has one end, and the
counts are right at every rest."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from amqp10.client import operations as ops
from amqp10.client.links import Stage
from amqp10.client.message import Message
from amqp10.client.options import sender_spec
from amqp10.engine import SessionRequested
from amqp10.errors import (
    AMQPTimeoutError,
    ClosedError,
    DeliveryError,
    MessageRejectedError,
    ProtocolError,
    SendTimeoutError,
)
from amqp10.wire.messaging import ACCEPTED, RELEASED, Modified, Rejected
from tests.client.fake import FakeTask, Peer, Rig
from tests.examples import examples

OUTCOMES = (ACCEPTED, RELEASED, Rejected(), Modified(delivery_failed=True))
FEW = 3


def prepared(peer: Peer) -> None:
    """A peer with small frames, and room for two of them."""
    peer.engine.max_frame_size = 512
    handle = peer.handle

    def small_window(events: list[Any]) -> None:
        for event in events:
            if isinstance(event, SessionRequested):
                event.session.accept(incoming_window=2)
        handle(events)

    peer.handle = small_window  # type: ignore[method-assign]


class Scene:
    """One sender, what was sent on it, and what the peers accepted."""

    def __init__(self) -> None:
        self.rig = Rig(credit=4)
        self.rig.prepare = prepared
        self.rig.connect()
        self.driver = self.rig.driver
        spec = sender_spec("orders", {"max_unsettled": FEW})
        session = self.rig.core.default_session()
        self.sender: Any = self.rig.run(ops.attach_sender(session, spec, self.driver.now + 30))
        self.number = 0
        self.tasks: dict[FakeTask, int] = {}
        self.deliveries: dict[int, Any] = {}
        self.outcomes: dict[int, list[Any]] = {}
        """What the peers said of each message, on whichever connection."""

    def message(self, large: bool) -> Message:
        self.number += 1
        return Message("x" * 1200 if large else "x", id=self.number)

    def start(self, work: Any, number: int) -> None:
        self.tasks[self.driver.start(work)] = number

    def do_send(self, n: int) -> None:
        message = self.message(n > 1)
        self.start(ops.send(self.sender, message, False, self.driver.now + n if n == 1 else None), self.number)

    def do_submit(self, n: int) -> None:
        message = self.message(n > 1)
        self.start(self.sender.submit(message, n == 3, self.driver.now + n if n == 1 else None), self.number)

    def do_try(self, n: int) -> None:
        message = self.message(n > 1)
        delivery = self.sender.try_submit(message, n == 3)
        if delivery is not None:
            self.deliveries[self.number] = delivery

    def do_some(self, n: int) -> None:
        first = self.number + 1
        bodies = [self.message(False) for _ in range(n + 1)]
        for number, delivery in enumerate(self.sender.submit_some(list(bodies)), first):
            self.deliveries[number] = delivery

    def do_take_back(self, n: int) -> None:
        under_way = [delivery for delivery in self.deliveries.values() if not delivery.done]
        if under_way:
            under_way[-1 - n % len(under_way)]._withdraw()

    def do_interrupt(self, n: int) -> None:
        waiting = [task for task in self.tasks if not task.done]
        if waiting:
            waiting[n % len(waiting)].step(KeyboardInterrupt())

    def do_flow(self, n: int) -> None:
        for link in self.rig.peer.links:
            if link.attached and link.is_receiver:
                link.flow(3 * n, drain=n == 1)  # type: ignore[attr-defined]

    def do_decide(self, n: int) -> None:
        for delivery in self.rig.peer.received:
            if not delivery.settled and delivery.link.attached:
                state = OUTCOMES[n % len(OUTCOMES)]
                delivery.settle(state)
                self.outcomes.setdefault(Message.decode(delivery.payload).id, []).append(state)
                return

    def do_detach(self, n: int) -> None:
        for link in self.rig.peer.links:
            if link.attached and n > 1:
                link.detach(error=ProtocolError("later", condition="amqp:internal-error"))

    def do_cut(self, n: int) -> None:
        self.rig.transport.cut()

    def do_cut_after(self, n: int) -> None:
        self.rig.transport.cut_after = 100 * n

    def do_arrive(self, n: int) -> None:
        self.rig.transport.pump_out()
        self.rig.transport.pump_in()

    def do_settle(self, n: int) -> None:
        self.driver.settle()
        self.check()

    def do_wait(self, n: int) -> None:
        self.driver.advance(n / 2)
        self.check()

    def check(self) -> None:
        """At rest, what is counted is what there is."""
        sender = self.sender
        for task, number in [(task, number) for task, number in self.tasks.items() if task.done]:
            del self.tasks[task]
            if isinstance(task.error, (KeyboardInterrupt, AMQPTimeoutError, MessageRejectedError, SendTimeoutError)):
                continue
            result = task.value()
            if hasattr(result, "attempts"):
                self.deliveries[number] = result
        assert sender.error is None
        link = sender.link
        assert 0 <= sender.unsettled <= FEW
        if sender.stage is Stage.ATTACHED:
            unsettled = {d for d in (*link.unsettled.values(), *link.pending) if not d.settled}
            assert sender.unsettled == len(unsettled)
            assert sender.unsettled_bytes == sum(d.size for d in unsettled)
            assert sender.turns.granted == 0
            assert not sender.turns.waiting or sender.room() <= 0
        else:
            assert (sender.unsettled, sender.unsettled_bytes) == (0, 0)

    def finish(self) -> None:
        """The peers take everything."""
        self.rig.transport.cut_after = None
        for _ in range(300):
            self.driver.advance(1)
            for _ in range(FEW):
                self.do_decide(0)
            for link in self.rig.peer.links:
                if link.attached and link.is_receiver and link.credit < FEW:
                    link.flow(FEW)  # type: ignore[attr-defined]
            if not self.tasks and not self.sender.open and self.sender.stage is Stage.ATTACHED:
                break
            self.check()
        self.driver.settle()
        self.check()
        assert not self.tasks
        sender = self.sender
        assert (sender.open, sender.unsettled, sender.unsettled_bytes, len(sender.again)) == (0, 0, 0, 0)
        for number, delivery in self.deliveries.items():
            assert delivery.done
            if delivery.error is not None:
                assert isinstance(delivery.error, (ClosedError, MessageRejectedError, DeliveryError))
            elif not delivery._settled:
                assert delivery.outcome in self.outcomes[number]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [name.removeprefix("do_") for name in sorted(vars(Scene)) if name.startswith("do_")]
            + ["send", "try", "try", "some", "take_back", "flow", "decide", "decide", "settle", "settle"]
        ),
        st.integers(0, 3),
    ),
    max_size=40,
)


@settings(max_examples=examples(300), deadline=None)
@given(steps=STEPS)
def test_every_message_has_one_end_and_the_counts_are_right_whatever_happens(steps: list[tuple[str, int]]) -> None:
    scene = Scene()
    for what, n in steps:
        getattr(scene, f"do_{what}")(n)
    scene.finish()

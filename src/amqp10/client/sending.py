"""The sending end of a link: credit and turns, the outcomes of deliveries, and what is sent again."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from amqp10.client.closing import FATES, Ending, Fate, failure
from amqp10.client.closing import Stage as DeliveryStage
from amqp10.client.delivery import Delivery
from amqp10.client.links import LinkCore, Stage
from amqp10.client.message import Message
from amqp10.client.options import SenderSpec, sender_fields
from amqp10.client.outcomes import Outcome, outcome_of
from amqp10.client.wait import Turns, Waits
from amqp10.engine import SenderLink
from amqp10.errors import AMQPError, ClosedError, ConnectionLostError, DeliveryError
from amqp10.wire.messaging import ACCEPTED

if TYPE_CHECKING:
    from amqp10.client.links import LinkOwner, LinkSession
    from amqp10.engine import OutgoingDelivery

__all__ = ["Late", "SenderCore"]

logger: logging.Logger = logging.getLogger("amqp10.client")

_ATTACHED: Final = Stage.ATTACHED


class Late:
    """A message that is built when its turn has come."""

    __slots__ = ()

    def make(self) -> Message:
        """Build it."""
        raise NotImplementedError


class SenderCore(LinkCore[SenderLink]):
    """A sender."""

    is_receiver = False

    def __init__(self, core: LinkOwner, session: LinkSession, spec: SenderSpec) -> None:
        super().__init__(core, session, spec)
        self.spec = spec
        self.delivery_type: type[Delivery] = Delivery
        self._most = spec.max_unsettled
        self._most_bytes = spec.max_unsettled_bytes
        self._unusual = spec.settle != "mixed" or spec.generate_id
        self.turns: Turns = Turns(core.driver, self.give_turns)
        self.again: deque[Delivery] = deque()
        """What was written or queued on an earlier attachment: it goes out before anything new."""
        self.unsettled: int = 0
        """How many deliveries are on the link without an outcome."""
        self.unsettled_bytes: int = 0
        self.open: int = 0
        """How many deliveries of the program are not done, wherever they are."""
        self.cautious: bool = False
        """Whether the link broke on a message, and which one is being found out: one at a time."""
        self._idle = Waits(core.driver)
        self._unwritten: deque[Delivery] = deque()
        """Settled messages that the session window holds back: they are done when they are written."""

    # -- may another one go out? -----------------------------------------------------------------------------------

    def room(self) -> int:
        """How many messages may be sent now."""
        link = self.link
        if link is None or self.stage is not _ATTACHED or self.core.paused or self.again:
            return 0
        room: int = link.credit
        if self.spec.max_unsettled - self.unsettled < room:
            room = self.spec.max_unsettled - self.unsettled
        if self.unsettled_bytes >= self.spec.max_unsettled_bytes:
            return 0
        return room

    def give_turns(self) -> None:
        """Something may have become possible."""
        if self.again:
            self._send_again()
        if self.turns.waiting:
            self.turns.grant(self.room())

    def refuse(self) -> None:
        """Raise the reason why nothing can be sent, if there is one.

        Raises:
            AMQPError: the link is over or being closed, or the connection is down and messages do not wait.
        """
        if self.error is not None:
            ending = Ending.CLOSED if isinstance(self.error, ClosedError) else Ending.REFUSED
            if isinstance(self.error, ConnectionLostError):
                ending = Ending.GAVE_UP
            raise failure(ending, Fate.FAILS, self.error)
        if self.stage in (Stage.CLOSING, Stage.DETACHING):
            raise ClosedError("the sender is being closed", sent=False)
        if self.core.down_error is not None and self.core.options.policy.while_down == "fail":
            raise failure(Ending.GAVE_UP, Fate.FAILS, self.core.down_error)

    # -- sending ---------------------------------------------------------------------------------------------------

    def message_of(self, body: Any) -> Message:
        """What is sent: a message as it is, and anything else as the body of one."""
        if isinstance(body, Message):
            message = body
        elif isinstance(body, Late):
            return body.make()
        else:
            message = Message(body)
        if self.spec.generate_id and message.id is None:
            message = message.replace(id=str(uuid4()))
        return message

    def try_submit(self, message: Any, settled: bool) -> Delivery | None:
        """Send if that is possible at once.

        Raises:
            ProtocolError: the message is larger than the peer accepts, or the settle mode does not allow ``settled``.
            AMQPError: see :meth:`refuse`.
        """
        link = self.link
        if (
            link is None
            or link.credit <= 0
            or self.turns.waiting
            or self.stage is not _ATTACHED
            or self.unsettled >= self._most
            or self.unsettled_bytes >= self._most_bytes
            or self.core.paused
            or self.again
        ):
            self.refuse()
            return None
        if settled or self._unusual:
            return self._send_new(message, settled)
        # The same as _send_new, without the steps in between.
        if not isinstance(message, Message):
            message = self.message_of(message)
        payload = message.encode()
        delivery = self.delivery_type(self, message, False)
        delivery._carrier = link.send(payload, context=delivery)
        delivery.attempts = 1
        self.unsettled += 1
        self.unsettled_bytes += len(payload)
        self.open += 1
        self.core.driver.kick()
        return delivery

    def _send_new(self, body: Any, settled: bool) -> Delivery:
        settled = settled or self.spec.settle == "settled"
        if settled and self.spec.settle == "unsettled":
            raise ValueError("the sender was made with settle='unsettled'")
        delivery = self.delivery_type(self, self.message_of(body), settled)
        self._transmit(delivery)
        if settled and delivery._carrier is None:
            delivery._finish(ACCEPTED, None)
        else:
            self.open += 1
        return delivery

    def submit_some(self, bodies: list[Any]) -> list[Delivery]:
        """Send from the front of a list as many messages as possible at once, in fewer steps than one by one.

        Returns:
            Their deliveries; none when the first one would have to wait. Errors as for :meth:`try_submit`.
        """
        room = self.room()
        link = self.link
        if link is None or self.turns.waiting or room <= 0:
            self.refuse()
            return []
        if self.spec.settle == "settled":
            return [self._send_new(bodies[0], True)]
        make, message_of = self.delivery_type, self.message_of
        deliveries = [make(self, message_of(body), False) for body in bodies[:room]]
        payloads = [delivery.message.encode() for delivery in deliveries]
        carriers = link.send_many(payloads, deliveries)
        if not carriers:
            # The first one is large, or has to wait for the session window.
            self._transmit(deliveries[0])
            self.open += 1
            return deliveries[:1]
        size = 0
        for carrier in carriers:
            delivery = carrier.context
            delivery._carrier = carrier
            delivery.attempts = 1
            size += carrier.size
        sent = len(carriers)
        self.open += sent
        self.unsettled += sent
        self.unsettled_bytes += size
        self.core.driver.kick()
        return deliveries[:sent]

    def _transmit(self, delivery: Delivery) -> None:
        payload = delivery.message.encode()
        link = self.link
        assert link is not None  # there is room
        carrier = link.send(payload, settled=delivery._settled, context=delivery)
        delivery.attempts += 1
        if not delivery._settled:
            delivery._carrier = carrier
            self.unsettled += 1
            self.unsettled_bytes += len(payload)
        elif not carrier.complete:
            delivery._carrier = carrier
            self._unwritten.append(delivery)
            self.core.unwritten.add(self)
        self.core.driver.kick()

    def note_written(self) -> None:
        """The session window may have let settled messages out."""
        unwritten = self._unwritten
        while unwritten:
            delivery = unwritten[0]
            if not delivery.done:
                carrier = delivery._carrier
                if carrier is None or not carrier.complete:
                    return
                self._finish(delivery, ACCEPTED, None)
            unwritten.popleft()
        self.core.unwritten.discard(self)

    async def submit(self, message: Any, settled: bool, deadline: float | None) -> Delivery:
        """Send as soon as there is credit and it is this message's turn. Errors as for :meth:`try_submit`."""
        delivery = self.try_submit(message, settled)
        while delivery is None:
            await self.turns.wait(deadline)
            # The turn is this call's: it is not to queue again after those who came later.
            try:
                if self.room() > 0:
                    delivery = self._send_new(message, settled)
                else:
                    self.refuse()
            finally:
                if self.turns.waiting:
                    # Who came after this call had its turn may go too; and if it could not use the turn, the next one.
                    self.give_turns()
        return delivery

    def take_back(self, delivery: Delivery) -> bool:
        """Take a delivery back that has not been written."""
        if delivery.done:
            return False
        carrier = delivery._carrier
        if delivery in self.again and delivery.attempts == 0:
            self.again.remove(delivery)
        elif carrier is not None and carrier.delivery_id < 0:
            carrier.abort()
            if not delivery._settled:
                self._off_the_link(carrier)
        else:
            return False
        self._finish(delivery, None, ClosedError("the delivery was withdrawn", sent=False))
        self.give_turns()
        return True

    def abandon(self, delivery: Delivery) -> bool | None:
        """Nobody waits for the outcome any more: withdraw it, or see that it is not sent again.

        Returns:
            Whether it was sent; None when that is not known.
        """
        if self.take_back(delivery):
            return False
        known = delivery._carrier is not None
        delivery._gone = True
        if not delivery.done:
            self._finish(delivery, None, DeliveryError("nobody waited for the outcome", sent=True if known else None))
        if delivery in self.again:
            self.again.remove(delivery)
            self.give_turns()
        return True if known else None

    def _finish(self, delivery: Delivery, outcome: Outcome | None, error: AMQPError | None) -> None:
        self.open -= 1
        delivery._finish(outcome, error)
        if self.open == 0:
            self._now_idle()

    def _now_idle(self) -> None:
        self._idle.set()
        if self.stage is Stage.CLOSING:
            self.advance_closing()

    async def flush(self, deadline: float | None) -> None:
        """Until every delivery of this sender is done."""
        while self.open:
            await self._idle.wait(deadline)

    # -- outcomes --------------------------------------------------------------------------------------------------

    def _off_the_link(self, carrier: OutgoingDelivery) -> None:
        self.unsettled -= 1
        self.unsettled_bytes -= carrier.size

    def updated(self, carrier: OutgoingDelivery, state: Any, settled: bool) -> None:
        """The receiver reported a state for a delivery. For the usual one see :meth:`accepted`."""
        delivery: Delivery = carrier.context
        outcome = outcome_of(state, settled)
        if outcome is None:
            return
        if not settled:
            carrier.settle(state)
        self.unsettled -= 1
        self.unsettled_bytes -= carrier.size
        if delivery.outcome is not None or delivery.error is not None:
            return
        if isinstance(outcome, AMQPError):
            self._finish(delivery, None, outcome)
        else:
            self._finish(delivery, outcome, None)

    def accepted(self, carriers: Sequence[OutgoingDelivery], at: int) -> int:
        """Deliveries have been accepted and settled, many at once: what :meth:`updated` does, in one loop.

        Args:
            carriers: the deliveries.
            at: where the first one of this link is.

        Returns:
            Where those of another link begin.
        """
        link = carriers[at].link
        first = at
        size = finished = 0
        watched = self.delivery_type._finish is not Delivery._finish
        for carrier in islice(carriers, at, None):
            if carrier.link is not link:
                break
            at += 1
            size += carrier.size
            delivery: Delivery = carrier.context
            if delivery.outcome is not None or delivery.error is not None:
                continue
            finished += 1
            if watched or delivery._waits is not None or delivery._callbacks is not None:
                delivery._finish(ACCEPTED, None)
            else:
                delivery.outcome = ACCEPTED
                delivery._carrier = None
        self.unsettled -= at - first
        self.unsettled_bytes -= size
        self.open -= finished
        if finished and self.open == 0:
            self._now_idle()
        return at

    # -- the link comes and goes -----------------------------------------------------------------------------------

    def _send_attach(self, name: str) -> SenderLink:
        engine_session = self.session.engine
        assert engine_session is not None
        return engine_session.attach_sender(name, **sender_fields(self.spec))

    def _started(self) -> None:
        self.give_turns()

    def flowed(self) -> None:
        """The peer's flow is here: credit may have come or gone."""
        link = self.link
        if link is None:
            return
        if self.turns.waiting and self.room() < self.turns.granted:
            self.turns.revoke()
        self.give_turns()
        if link.drain and not self.turns.granted:
            link.drained()
            self.core.driver.kick()

    def _send_again(self) -> None:
        """Send what an earlier attachment left, in order, as far as credit and caution allow."""
        link = self.link
        again = self.again
        while again and link is not None and self.stage is _ATTACHED and link.credit > 0 and not self.core.paused:
            if self.cautious and self.unsettled:
                return
            if self.unsettled >= self.spec.max_unsettled:
                return
            delivery = again.popleft()
            try:
                self._transmit(delivery)
            except AMQPError as error:
                # The peer takes smaller messages now than before.
                self._finish(delivery, None, error)
                continue
            if delivery.attempts > 1:
                self.core.sends_again()
            if delivery._settled and delivery._carrier is None:
                self._finish(delivery, ACCEPTED, None)
            link = self.link
        if not again:
            self.cautious = False

    def _left_on(self, link: SenderLink) -> Sequence[OutgoingDelivery]:
        undelivered: tuple[OutgoingDelivery, ...] = link.undelivered
        return undelivered

    def _stopped(self, ending: Ending, undelivered: Sequence[OutgoingDelivery], error: AMQPError | None) -> None:
        alone = self.unsettled == 1
        self.note_written()
        self._unwritten.clear()
        self.core.unwritten.discard(self)
        self.unsettled = 0
        self.unsettled_bytes = 0
        self.turns.revoke()
        kept: list[Delivery] = []
        policy_fails = (
            ending is Ending.LOST and self.core.down_error is not None and self.core.options.policy.while_down == "fail"
        )
        for carrier in undelivered:
            delivery: Delivery = carrier.context
            written = carrier.delivery_id >= 0
            if not written:
                delivery.attempts -= 1
            if delivery._gone or delivery.done:
                continue
            stage = DeliveryStage.WRITTEN if written and not delivery._settled else DeliveryStage.QUEUED
            delivery._carrier = None
            self._apply(delivery, Ending.GAVE_UP if policy_fails else ending, stage, error, alone, kept)
        if ending is Ending.LOST and not policy_fails:
            self.again.extendleft(reversed(kept))
            # Counted anew: what was interrupted in the middle may have done the one and not the other.
            self.open = len(self.again)
            if self.open == 0:
                self._now_idle()
            return
        for delivery in self.again:
            if not delivery.done:
                stage = DeliveryStage.WRITTEN if delivery.attempts else DeliveryStage.QUEUED
                self._apply(delivery, Ending.GAVE_UP if policy_fails else ending, stage, error, alone, kept)
        self.again.clear()
        self.turns.release_all()
        if self.open == 0:
            self._now_idle()

    def _apply(
        self,
        delivery: Delivery,
        ending: Ending,
        stage: DeliveryStage,
        error: AMQPError | None,
        alone: bool,
        kept: list[Delivery],
    ) -> None:
        fate = FATES[ending, stage]
        if fate is Fate.RESENT and not self.spec.resend:
            fate = Fate.UNKNOWN
        if fate is Fate.RESENT and error is not None:
            # The link broke with this message on it. Which one it was shows when each goes alone.
            self.cautious = True
            if alone:
                delivery._breaks += 1
                if delivery._breaks >= self.spec.max_attempts:
                    text = f"the link ended {delivery._breaks} times after this message: {error.message}"
                    self._finish(delivery, None, DeliveryError(text, condition=error.condition))
                    return
        if fate in (Fate.WAITS, Fate.RESENT):
            kept.append(delivery)
        elif fate is not Fate.DONE:
            self._finish(delivery, None, failure(ending, fate, error or self.core.down_error))

    def count_resent(self) -> int:
        """How many messages go out again although they may have arrived."""
        return sum(1 for delivery in self.again if delivery.attempts and not delivery.done)

    # -- closing ---------------------------------------------------------------------------------------------------

    def _wind_down(self) -> None:
        for delivery in [delivery for delivery in self.again if delivery.attempts == 0]:
            self.again.remove(delivery)
            if not delivery.done:
                self._finish(delivery, None, failure(Ending.CLOSED, Fate.FAILS, None))
        self.turns.release_all()

    def _at_rest(self) -> bool:
        return self.open == 0

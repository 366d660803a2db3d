"""The receiving end of a link: what has arrived, credit, and settling."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from amqp10.client.closing import Ending
from amqp10.client.credit import CreditWindow
from amqp10.client.links import LinkCore, Stage
from amqp10.client.options import ReceiverSpec, receiver_fields
from amqp10.client.received import ReceivedMessage
from amqp10.client.wait import Turns, Waits
from amqp10.engine import ReceiverLink
from amqp10.errors import AMQPError, AMQPTimeoutError, ClosedError
from amqp10.wire.layouts import Layouts
from amqp10.wire.messaging import ACCEPTED, RELEASED

if TYPE_CHECKING:
    from amqp10.client.links import LinkOwner, LinkSession
    from amqp10.engine import IncomingDelivery, OutgoingDelivery

__all__ = ["ReceiverCore"]

logger: logging.Logger = logging.getLogger("amqp10.client")

_STREAM_OFFSET: Final = "x-stream-offset"
_DRAIN_TIME: Final = 5.0
"""Seconds that a sender has to answer when the only message that was asked for did not come."""
_CLOSE_PATIENCE: Final = 1.0
_DETACHING: Final = Stage.DETACHING
_STALL_TIME: Final = 20.0
"""Seconds after which a program that waits for messages, and settles none of those that it has, is told so."""


class ReceiverCore(LinkCore[ReceiverLink]):
    """A receiver."""

    is_receiver = True
    patience: float | None = _CLOSE_PATIENCE
    name: str

    def __init__(self, core: LinkOwner, session: LinkSession, spec: ReceiverSpec) -> None:
        super().__init__(core, session, spec)
        if spec.subscription is not None:
            self.name = self._base_name = spec.subscription
            self._named = True
        self.spec = spec
        self.layouts: Layouts = Layouts()
        self.message_type: type[ReceivedMessage] = ReceivedMessage
        self.queue: deque[IncomingDelivery] = deque()
        self.turns: Turns = Turns(core.driver, self.give_turns)
        self.window: CreditWindow = CreditWindow(spec.prefetch)
        self.unsettled: int = 0
        """How many messages the program has that it has not settled."""
        self.sink: Callable[[IncomingDelivery], None] | None = None
        """Takes messages as they arrive, instead of the queue."""
        self.on_lost: Callable[[], None] | None = None
        """Called when the link, and with it a dynamic address, is gone."""
        self._auto = spec.accept == "auto"
        self._second = spec.confirm == "second"
        self._last: IncomingDelivery | None = None
        """With accept="auto", the message that the program has."""
        self._given_until = 0
        """With prefetch=0: up to which message, of all that ever arrive, the program has given credit itself."""
        self._aborted = False
        """Whether the sender has given up a message, with the credit that it had used, since the last batch."""
        self._received = 0
        """How many messages the program has received, ever."""
        self._stream = spec.stream is not None
        self._draining = Waits(core.driver)
        self._drain_sent = False
        """Whether the sender has been asked to drain and has not answered."""
        self._drains = 0
        """How many calls of :meth:`drain` wait."""
        self._paused_to_drain = False
        """Whether it is paused because of them, and not by the program."""
        self._undrained_until = 0
        """What ``_given_until`` is again when they are interrupted."""
        self._settling: dict[IncomingDelivery, Waits] = {}
        self._warned = False
        self._offset: int | None = None
        self._unsubscribe = False

    # -- what arrives ----------------------------------------------------------------------------------------------

    def intake(self) -> Callable[[IncomingDelivery], None]:
        """What to call with each message that arrives on the link; :meth:`batch_done` follows."""
        return self.queue.append if self.sink is None else self.sink

    def batch_done(self) -> None:
        """All that arrived at once has been taken in, or settled."""
        link = self.link
        if link is not None:
            if self._drain_sent and link.credit == 0:
                self._answered(link)  # a sender that has used its credit need not say that it has none
            if self._aborted:
                self._aborted = False
                if self.spec.prefetch == 0:
                    self._give_asked()
        if self.turns.waiting:
            self.turns.grant(len(self.queue))
        self.renew()
        if self.stage is Stage.CLOSING:
            self.advance_closing()

    def aborted(self) -> None:
        """The sender has given up a message that had used credit; :meth:`batch_done` follows."""
        self._aborted = True
        self.core.touched.add(self)

    def give_turns(self) -> None:
        """A message, or the turn for one, is free again."""
        self.turns.grant(len(self.queue))

    # -- credit ----------------------------------------------------------------------------------------------------

    def renew(self) -> None:
        """Give credit again when half of it is used."""
        link = self.link
        if link is None or self.stage is not Stage.ATTACHED or link.drain or not link.attached:
            return  # the engine may know of a detach whose event is still to come
        here = len(self.queue) + (link.partial is not None)
        credit = self.window.due(link.credit, here, self.unsettled)
        if credit:
            link.flow(credit)
            self.core.driver.kick()

    def add_credit(self, count: int) -> None:
        """Ask for more messages, with prefetch=0. Those that receive() waits for are among them.

        Raises:
            ValueError: the receiver has a prefetch, or the number is not positive.
        """
        if self.spec.prefetch:
            raise ValueError("add_credit() is for receivers with prefetch=0")
        if count < 1:
            raise ValueError(f"credit is given in positive numbers, not {count}")
        self._refuse()
        self._given_until = max(self._given_until, self._arrived) + count
        self._give_asked()

    @property
    def _asked(self) -> int:
        """With prefetch=0: how many messages are wanted that are not here whole. A receive() that waits wants one, and
        what the program gave credit for is there for them too."""
        return max(0, self._given_until - self._arrived, len(self.turns.waiting) - len(self.queue))

    def _give_asked(self, joining: int = 0) -> None:
        """With prefetch=0: see that the sender has the credit that is wanted, no less and no more.

        Args:
            joining: how many more are about to wait for a message.
        """
        link = self.link
        if link is None or self.stage is not Stage.ATTACHED or not link.attached or link.drain:
            return
        asked = max(self._asked, len(self.turns.waiting) + joining - len(self.queue))
        credit = self._credit_for(asked, link)
        if credit != link.credit:
            link.flow(credit)
            self.core.driver.kick()

    @staticmethod
    def _credit_for(asked: int, link: ReceiverLink) -> int:
        # A message of which a part is here has used its credit.
        return max(0, asked - (link.partial is not None))

    def pause(self) -> None:
        """No new credit; what is here, or on its way, can still be received."""
        self.window.paused = True
        self._paused_to_drain = False

    def resume(self) -> None:
        """Credit again."""
        self.window.paused = self._paused_to_drain = False
        self.renew()

    async def drain(self, deadline: float | None) -> int:
        """Have the sender send what it has and give back the rest of the credit (transport, "flow control"). When that
        is interrupted, or takes too long, the receiver gives credit as it did before.

        Returns:
            How much credit was given back.
        """
        if self.spec.prefetch and not self.window.paused:
            self.window.paused = self._paused_to_drain = True
        credit, before = self.credit, self._arrived
        undrained = max(self._undrained_until, before) if self._drains else before
        self._undrained_until = undrained + max(0, self._given_until - before)
        self._given_until = 0
        self._drains += 1
        try:
            await self._drain(deadline)
        except BaseException:
            self._drains -= 1
            if not self._drains:
                self._undo_drain()
            raise
        self._drains -= 1
        self._paused_to_drain = False
        return max(0, credit - (self._arrived - before))

    async def _drain(self, deadline: float | None) -> None:
        link = self.link
        if link is None or self.stage is not Stage.ATTACHED or link.credit == 0:
            return
        if not self._drain_sent:
            self._send_drain(link)
        while self.link is link and self._drain_sent:
            await self._draining.wait(deadline)

    def _undo_drain(self) -> None:
        """Nobody wants the drain any more: give the credit that it takes back, or has taken, again."""
        if self._paused_to_drain:
            self.resume()
        elif self.spec.prefetch == 0:
            added = max(0, self._given_until - self._arrived)
            self._given_until = max(self._undrained_until, self._arrived) + added
            self._give_asked()

    @property
    def _arrived(self) -> int:
        """How many messages have arrived, ever."""
        return self._received + len(self.queue)

    def flowed(self) -> None:
        """The sender's flow is here."""
        link = self.link
        if link is None:
            return
        # An answer need not advance the delivery count, as it should.
        if self._drain_sent and (link.returned or not link.drain):
            self._answered(link)
        if self.stage is Stage.CLOSING:
            self.advance_closing()

    def _send_drain(self, link: ReceiverLink) -> None:
        self._drain_sent = True
        if link.attached:  # if it is not, the end that is about to be reported ends the wait too
            link.flow(link.credit, drain=True)
        self.core.driver.kick()

    def _answered(self, link: ReceiverLink) -> None:
        """The sender has no credit any more."""
        self._drain_sent = False
        link.forget_credit()
        if self.spec.prefetch:
            self.renew()
        else:
            self._give_asked()
        self._draining.set()

    # -- handing out -----------------------------------------------------------------------------------------------

    def _refuse(self) -> None:
        if self.error is not None:
            raise self.error if not isinstance(self.error, ClosedError) else ClosedError("the receiver is closed")
        if self.stage in (Stage.CLOSING, Stage.DETACHING):
            raise ClosedError("the receiver is being closed")

    def try_receive(self) -> ReceivedMessage | None:
        """The next message if one is here and nobody came first.

        Raises:
            AMQPError: the link is over, and nothing is left of what arrived on it.
        """
        if self._auto:
            self._accept_last()
        if len(self.queue) > self.turns.granted and len(self.turns.waiting) == self.turns.granted:
            return self._take()
        if not self.queue:
            self._refuse()
        return None

    def _take(self) -> ReceivedMessage:
        delivery = self.queue.popleft()
        self._received += 1
        if not delivery.settled:
            self.unsettled += 1
            if self._auto:
                self._last = delivery
        elif self.window.prefetch:
            self._soon()
        message = self.message_type(delivery, self)
        if self._stream:
            self._note_offset(message)
        return message

    def _note_offset(self, message: ReceivedMessage) -> None:
        offset = message.annotations.get(_STREAM_OFFSET)
        if isinstance(offset, int):
            self._offset = int(offset)

    def _accept_last(self) -> None:
        last, self._last = self._last, None
        if last is not None and not last.settled:
            self.settle(last, ACCEPTED)

    async def receive(self, deadline: float | None) -> ReceivedMessage:
        """The next message, as soon as it is here.

        Raises:
            AMQPTimeoutError: nothing came.
            AMQPError: the link is over.
        """
        message = self.try_receive()
        if message is not None:
            return message
        if not self._warned and self.due is None and 0 < self.spec.prefetch <= self.unsettled:
            self.due = self.core.driver.clock() + _STALL_TIME
            self.core.attend()
        return await self._next(deadline)

    async def _next(self, deadline: float | None) -> ReceivedMessage:
        while True:
            if self.spec.prefetch == 0:
                self._give_asked(joining=1)
            try:
                await self.turns.wait(deadline)
            except AMQPTimeoutError:
                message = await self._late() if self.spec.prefetch == 0 else None
                if message is None:
                    raise AMQPTimeoutError("no message came in time") from None
                return message
            except BaseException:
                if self.spec.prefetch == 0:
                    # Nobody wants the message. One that is on its way all the same is for the next who asks.
                    self._give_asked()
                raise
            if self.queue:
                return self._take()
            self._refuse()

    async def _late(self) -> ReceivedMessage | None:
        """The one message that a call asked for did not come: make sure that it does not come later."""
        link = self.link
        if link is not None and link.credit > self._credit_for(self._asked, link):
            await self._drain(self.core.driver.clock() + _DRAIN_TIME)
        return self.try_receive()

    async def receive_many(self, most: int, deadline: float | None) -> list[ReceivedMessage]:
        """At least one message, and as many as are here, up to ``most``. Errors as for :meth:`receive`."""
        if most < 1:
            raise ValueError(f"at least one message is to be received, not {most}")
        messages = [await self.receive(deadline)]
        while len(messages) < most and len(self.queue) > self.turns.granted:
            messages.append(self._take())
        return messages

    def _stalled(self) -> bool:
        return 0 < self.spec.prefetch <= self.unsettled and bool(self.turns.waiting)

    def at_due(self, now: float) -> None:
        """See :meth:`LinkCore.at_due`; what is due while all is well is a look at whether the program settles."""
        if self.stage is not Stage.ATTACHED:
            super().at_due(now)
        elif self.due is not None and now >= self.due:
            self.due = None
            self._warn_of_stall()

    def _warn_of_stall(self) -> None:
        if not self._warned and self._stalled():
            self._warned = True
            logger.warning(
                "the receiver of %s has %d messages that the program has not settled: no more will come until it does",
                self.address,
                self.unsettled,
            )

    # -- settling --------------------------------------------------------------------------------------------------

    def settle(self, delivery: IncomingDelivery, state: Any) -> bool:
        """Settle a message with an outcome. Returns whether it was still this program's."""
        if delivery.link is not self.link or (self.stage is _DETACHING and not delivery.settled):
            return delivery.settled and delivery.state is None
        if delivery.settled:
            # Sent settled: there is nothing to say, but it is in order to say it, once.
            first = delivery.state is None
            delivery.state = state
            return first
        if self._second:
            if delivery.state is not None:
                return False
            delivery.update(state)
        else:
            delivery.settle(state)
        self.unsettled -= 1
        core = self.core
        if self not in core.touched:
            # Credit is renewed once for all that is settled before the next bytes are written.
            core.touched.add(self)
            core.driver.kick()
        return True

    def _soon(self) -> None:
        if self not in self.core.touched:
            self.core.touched.add(self)
            self.core.driver.kick()

    def accept_all(self, messages: Iterable[ReceivedMessage]) -> int:
        """Accept many messages: one disposition for each run of them. Returns how many were still ours."""
        return sum(1 for message in messages if self.settle(message._delivery, ACCEPTED))

    def peer_settled(self, delivery: IncomingDelivery) -> None:
        """The sender has settled a delivery of this link."""
        waits = self._settling.pop(delivery, None)
        if waits is not None:
            waits.set()

    async def wait_settled(self, delivery: IncomingDelivery, deadline: float | None) -> None:
        """Until the sender has settled a delivery (settle mode second)."""
        while not delivery.settled:
            if delivery.link is not self.link:
                raise ClosedError("the link that the message came on is gone")
            waits = self._settling.setdefault(delivery, Waits(self.core.driver))
            try:
                await waits.wait(deadline)
            finally:
                if not waits:
                    self._settling.pop(delivery, None)

    # -- the link comes and goes -----------------------------------------------------------------------------------

    def _send_attach(self, name: str) -> ReceiverLink:
        engine_session = self.session.engine
        assert engine_session is not None
        return engine_session.attach_receiver(name, **receiver_fields(self.spec, self._offset))

    def _missing_filters(self, link: ReceiverLink) -> Sequence[str]:
        wanted = receiver_fields(self.spec)["source"].filter
        if not wanted:
            return ()
        got = getattr(link.source, "filter", None) or {}
        missing = [str(name) for name in wanted if name not in got]
        if missing and not self.spec.filters_required:
            logger.warning("the peer does not apply the filter %s for %s", ", ".join(missing), self.address)
            return ()
        return missing

    def _started(self) -> None:
        if self.spec.prefetch:
            self.renew()
        elif self._asked:
            self._give_asked()

    def _stopped(self, ending: Ending, undelivered: Sequence[OutgoingDelivery], error: AMQPError | None) -> None:
        self.unsettled = 0
        self._last = None
        if self.on_lost is not None:
            self.on_lost()
        if ending is Ending.CLOSED:
            self.queue.clear()
        else:
            # The peer still has what was not settled; what was, is only here.
            kept = [delivery for delivery in self.queue if delivery.settled]
            self.queue.clear()
            self.queue.extend(kept)
        self._drain_sent = False
        self.turns.revoke()
        self._draining.set()
        settling, self._settling = self._settling, {}
        for waits in settling.values():
            waits.set()
        if ending is Ending.LOST:
            self.turns.grant(len(self.queue))
        else:
            self.turns.release_all()

    # -- closing ---------------------------------------------------------------------------------------------------

    def unsubscribe(self) -> None:
        """Closing ends the subscription too."""
        self._unsubscribe = True

    def _wind_down(self) -> None:
        link = self.link
        self.window.paused = True
        if link is not None and link.credit and not self._drain_sent:
            self._send_drain(link)
        self.turns.release_all()

    def _at_rest(self) -> bool:
        return self.link is None or self.link.credit == 0

    def _before_detach(self) -> None:
        last, self._last = self._last, None
        if last is not None and not last.settled:
            last.settle(RELEASED)
        for delivery in self.queue:
            if not delivery.settled:
                delivery.settle(RELEASED)
        self.queue.clear()

    def _detach_link(self, link: ReceiverLink) -> None:
        link.detach(closed=self.spec.subscription is None or self._unsubscribe)

"""What was sent and has no outcome yet, and what becomes of it.

This is the component's hot path; see docs/architecture.md before making it do more per message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from amqp10.component.endings import Ended, account_for, reached, with_undelivered
from amqp10.component.enums import MessageState, OutcomeDirection
from amqp10.component.event_queue import EventQueue
from amqp10.component.events import AMQPMessageOutcomeEventParams, AMQPMessageOutEventParams
from amqp10.component.handler_outcome import HandlerOutcome
from amqp10.component.handlers import Handlers
from amqp10.component.log import Log
from amqp10.component.messages import MessageView
from amqp10.component.ordered import Ordered
from amqp10.component.outcomes import OutcomeMetadata
from amqp10.component.registry import Records, SenderRecord, check_index
from amqp10.component.reports import Reports
from amqp10.component.settings import Settings
from amqp10.engine.events import DeliveriesUpdated, SessionEnded
from amqp10.errors import AMQPError, UndeliveredMessage
from amqp10.wire.messaging import Accepted, Modified, Rejected, Released, TransactionalState

if TYPE_CHECKING:
    from amqp10.engine import OutgoingDelivery, SenderLink
    from amqp10.wire.messaging import DeliveryState

__all__ = ["Outgoing"]

_STAY: Final = "they stay in outgoing_message_... until the next connect()"

_STATES: Final[dict[type, MessageState]] = {
    Accepted: MessageState.Accepted,
    Rejected: MessageState.Rejected,
    Released: MessageState.Released,
    Modified: MessageState.Modified,
}


class Outgoing:
    """The messages that ``outgoing_message_...`` show.

    Attributes:
        unsettled: the messages, in the order in which they were sent.
        order: the same with indexes, once somebody has asked for one.
        writing: the message that a call is writing: should it not come to that, the call says so.
        unwritten: settled messages that were still waiting to be written when the connection was lost.
        undelivered: the messages that got no outcome because something ended: those of the last such end.
        left_over: what the next ``do_events()`` without a connection says of the messages that have no outcome.
    """

    __slots__ = (
        "_events",
        "_handlers",
        "_log",
        "_outcome",
        "_records",
        "_reports",
        "_settings",
        "left_over",
        "order",
        "undelivered",
        "unsettled",
        "unwritten",
        "writing",
    )

    def __init__(
        self,
        settings: Settings,
        handlers: Handlers,
        events: EventQueue,
        log: Log,
        reports: Reports,
        records: Records,
        outcome: HandlerOutcome,
    ) -> None:
        self._settings = settings
        self._handlers = handlers
        self._events = events
        self._log = log
        self._reports = reports
        self._records = records
        self._outcome = outcome
        self.unsettled: dict[OutgoingDelivery, None] = {}
        self.order: Ordered[OutgoingDelivery] | None = None
        self.writing: OutgoingDelivery | None = None
        self.unwritten: list[OutgoingDelivery] = []
        self.undelivered: tuple[UndeliveredMessage, ...] = ()
        self.left_over: AMQPError | None = None
        events.actions[DeliveriesUpdated] = self._conclude
        events.actions[Ended] = self._conclude_end

    def clear(self) -> None:
        """A new connection begins, or the program starts afresh."""
        self.left_over = None
        self.undelivered = ()
        self.unsettled.clear()
        self.order = None

    # -- what is sent ----------------------------------------------------------------------------------------------

    def add_all(self, deliveries: list[OutgoingDelivery]) -> None:
        """Messages have been sent that will have outcomes."""
        self.unsettled.update(dict.fromkeys(deliveries))
        if self.order is not None:
            for delivery in deliveries:
                self.order.append(delivery)

    def take_back(self, delivery: OutgoingDelivery) -> None:
        """A message was not sent after all."""
        if self.unsettled.pop(delivery, False) is None and self.order is not None:
            self.order.remove(delivery)

    def post_out(self, delivery: OutgoingDelivery) -> None:
        """Queue ``on_message_out`` for a settled message."""
        record: SenderRecord = delivery.link.context
        self._events.post(
            "on_message_out",
            AMQPMessageOutEventParams(self._records, record.session.name, record.name, delivery.context),
        )

    def at(self, index: int) -> MessageView:
        """The message at an index, for ``outgoing_message_...``."""
        check_index(index, len(self.unsettled), "outgoing_message_index")
        order = self.order
        if order is None:
            order = self.order = Ordered(self.unsettled)
        delivery = order.at(index)
        return MessageView(delivery.payload, delivery.link.context.name, False, delivery, self._settings)

    # -- outcomes --------------------------------------------------------------------------------------------------

    def _conclude(self, update: DeliveriesUpdated) -> None:
        """Outcomes of messages sent from here have arrived."""
        state = update.state
        number = _STATES.get(type(state)) if state is not None else None
        if number is None:
            if not update.settled:
                return  # a non-terminal state: more is to come
            if isinstance(state, TransactionalState) and state.outcome is not None:
                state = state.outcome
                number = _STATES.get(type(state))
        if number is None:
            if state is None:
                # The receiver is done with it and had nothing to say (messaging, "delivery-state").
                number = MessageState.Accepted
            else:
                # Forgotten with a state that is no outcome, or none that this client asks for: nothing says that the
                # message was processed.
                number = MessageState.Released
                self._log(1, "Info", f"a message was settled with the state {state!r:.200}, which is taken as released")
        try:
            if self._handlers.on_message_outcome is None and update.settled:
                self._conclude_settled(update)
            else:
                self._conclude_each(update, state, number)
        except BaseException:
            self.order = None  # made anew when it is next asked for: it may be half changed
            raise

    def _conclude_each(self, update: DeliveriesUpdated, state: DeliveryState | None, number: MessageState) -> None:
        unsettled = self.unsettled
        outcome = self._outcome
        records = self._records
        on_outcome, listens = self._handlers.on_message_outcome, self._handlers.on_message_out is not None
        out: AMQPMessageOutEventParams | None = None
        for delivery in update.deliveries:
            # Those of before an exception are not there any more.
            if delivery not in unsettled:
                continue
            if not update.settled:
                delivery.settle()
            record: SenderRecord = delivery.link.context
            if listens:
                out = AMQPMessageOutEventParams(records, record.session.name, record.name, delivery.context)
            if on_outcome is not None and delivery is not outcome.told:
                params = AMQPMessageOutcomeEventParams(
                    records, record.session.name, record.name, delivery.context, OutcomeDirection.Received, number
                )
                try:
                    outcome.fire(params, OutcomeMetadata.from_state(state), delivery)
                except BaseException as error:
                    if reached(error, on_outcome):
                        # The message is out all the same, and the program hears of it with what follows.
                        self._forget(delivery, out)
                    raise
            # A handler that connected anew or called reset() has emptied the list.
            self._forget(delivery, out)
            if out is not None:
                self._events.fire_missed()

    def _conclude_settled(self, update: DeliveriesUpdated) -> None:
        """The usual case: the receiver has settled, and nobody listens for outcomes."""
        unsettled = self.unsettled
        handlers = self._handlers
        if handlers.on_message_out is None:
            if self.order is not None:
                for delivery in update.deliveries:
                    self._forget(delivery)
                return
            for delivery in update.deliveries:
                unsettled.pop(delivery, None)
            return
        events = self._events
        records = self._records
        link: SenderLink | None = None
        session_name = link_name = ""
        handler = None
        try:
            for delivery in update.deliveries:
                if delivery not in unsettled:
                    continue
                if delivery.link is not link:
                    link = delivery.link
                    record: SenderRecord = link.context
                    session_name, link_name = record.session.name, record.name
                out = AMQPMessageOutEventParams(records, session_name, link_name, delivery.context)
                if self.order is not None:
                    self._forget(delivery, out)
                else:
                    events.missed, _ = out, unsettled.pop(delivery, None)
                handler = handlers.on_message_out
                events.missed = (handler(out), None)[1] if handler is not None else None
        except BaseException as error:
            if handler is not None and reached(error, handler):
                events.missed = None
            raise

    def _forget(self, delivery: OutgoingDelivery, out: AMQPMessageOutEventParams | None = None) -> None:
        """A message is done with, and ``out`` is to fire. One that is not in the list any more is no fault."""
        self._events.missed, gone = out, self.unsettled.pop(delivery, False)
        if gone is None and self.order is not None:
            self.order.remove(delivery)

    # -- what gets none --------------------------------------------------------------------------------------------

    def _conclude_end(self, ended: Ended) -> None:
        """A link or session is over: what has no outcome by now will get none."""
        if ended.undelivered is None:
            unsettled = self.unsettled
            ended.undelivered = tuple(
                account_for(delivery)
                for delivery in ended.deliveries
                if delivery is not self.writing
                and (delivery in unsettled or (delivery.settled and not delivery.complete and not delivery.aborted))
            )
        for delivery in ended.deliveries:
            self._forget(delivery)
        if ended.undelivered:
            self.undelivered = ended.undelivered
        if not (ended.tell or ended.undelivered):
            return
        self._reports.tell(
            with_undelivered(ended.reason, ended.undelivered, links=isinstance(ended.event, SessionEnded))
        )

    def _without_outcome(self) -> tuple[UndeliveredMessage, ...]:
        """The messages that have no outcome now that the connection is gone. They stay in the list."""
        known: set[OutgoingDelivery] = set()
        for entry in (self._events.current, *self._events.entries):
            if isinstance(entry, DeliveriesUpdated) and (entry.settled or type(entry.state) in _STATES):
                known.update(entry.deliveries)
        unwritten = [delivery for delivery in self.unwritten if not delivery.complete]
        self.unwritten = []
        return tuple(account_for(delivery) for delivery in (*self.unsettled, *unwritten) if delivery not in known)

    def account(self, error: AMQPError) -> AMQPError:
        """The error that ended the connection, which names the messages that have no outcome."""
        undelivered = self._without_outcome()
        if undelivered:
            self.undelivered = undelivered
        return with_undelivered(error, undelivered, _STAY, links=True)

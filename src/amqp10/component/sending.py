"""Sending, and the outcomes of what was sent: what happens to each message on its way out through the component.

This is the component's hot path; see docs/architecture.md before making it do more per message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, NoReturn

from amqp10.component.core import Core
from amqp10.component.endings import Ended, account_for, reached, with_undelivered
from amqp10.component.enums import MessageState, OutcomeDirection
from amqp10.component.events import (
    AMQPErrorEventParams,
    AMQPMessageOutcomeEventParams,
    AMQPMessageOutEventParams,
)
from amqp10.component.ids import check_id, id_text
from amqp10.component.messages import MessageDraft, MessageView
from amqp10.component.ordered import Ordered
from amqp10.component.outcomes import OutcomeMetadata
from amqp10.component.registry import SenderRecord, check_index
from amqp10.engine.events import DeliveriesUpdated, SessionEnded
from amqp10.errors import AMQPError, UndeliveredMessage
from amqp10.wire.messaging import Accepted, Modified, Rejected, Released, TransactionalState
from amqp10.wire.performatives import SenderSettleMode

if TYPE_CHECKING:
    from amqp10.client.message import Message
    from amqp10.component.ids import MessageId
    from amqp10.engine import OutgoingDelivery, SenderLink, Session
    from amqp10.wire.messaging import DeliveryState

__all__ = ["Sending"]

_BATCH = 256
"""How many messages of one call are written together; a large one counts for as many as it has pieces of 1 KiB."""
_BATCH_SHIFT = 10

_POLL_EVERY = 64
"""A program that only sends still reads what the peer answers: once in so many messages, of which a large one counts
for as many as it has pieces of 4 KiB. What has its outcome is memory for the next."""
_POLL_SHIFT = 12

# Looking up a member of an enumeration costs five times as much as looking up a name: these are looked at per message.
_MIXED: Final = SenderSettleMode.MIXED
_SETTLED: Final = SenderSettleMode.SETTLED

_STAY: Final = "they stay in outgoing_message_... until the next connect()"

_STATES: Final[dict[type, MessageState]] = {
    Accepted: MessageState.Accepted,
    Rejected: MessageState.Rejected,
    Released: MessageState.Released,
    Modified: MessageState.Modified,
}


class _Batch:
    """Encoded messages that are written together.

    Attributes:
        payloads: the messages; a long one is in a batch of its own.
        ids: their message ids.
        values: their values as the program gave them.
        body: what follows the payload of a long message.
        weight: how much they count.
    """

    __slots__ = ("body", "ids", "payloads", "values", "weight")

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.ids: list[str] = []
        self.values: list[str] = []
        self.body = b""
        self.weight = 0


class Sending(Core):
    """Messages out."""

    __slots__ = (
        "_draft",
        "_metadata",
        "_metadata_settable",
        "_outgoing",
        "_outgoing_order",
        "_told",
        "_undelivered",
        "_unpolled",
        "_warned_of_null",
        "_writing",
    )

    def __init__(self) -> None:
        super().__init__()
        self._draft = MessageDraft()
        self._outgoing: dict[OutgoingDelivery, None] = {}
        self._outgoing_order: Ordered[OutgoingDelivery] | None = None
        """The same with indexes, once somebody has asked for one."""
        self._metadata: OutcomeMetadata | None = None
        self._metadata_settable = False
        self._unpolled = 0
        self._warned_of_null = False
        self._told: OutgoingDelivery | None = None
        """The message whose ``on_message_outcome`` has fired last."""
        self._undelivered: tuple[UndeliveredMessage, ...] = ()
        self._writing: OutgoingDelivery | None = None
        """The message that a call is writing: should it not come to that, the call says so."""

    def _warn_of_null(self) -> None:
        """Once: the value that the program has set does not travel, because its type is still the default one."""
        self._draft.lost_value = False
        if not self._warned_of_null:
            self._warned_of_null = True
            self._warn(
                "message_value is set, but message_value_type is mvtNull: a null is sent; for text set it to mvtString"
            )

    def _send(self, link_name: str, message: Message | None = None) -> None:
        pump = self._connected_pump()
        record = self._links.find(link_name)
        if not isinstance(record, SenderRecord):
            raise AMQPError(600, f"link {link_name!r} is a receiver link; messages are sent on sender links")
        draft = self._draft
        if message is not None:
            payload, body = message.encode(), b""
            context = id_text(message.id)
        else:
            if self._settings.generate_message_id:
                draft.id = _new_id()
            payload, body = draft.encode()
            if draft.lost_value:
                self._warn_of_null()
            # Handlers may run while this waits for credit, and change the properties.
            context = draft.id
        link = record.engine
        mode = link.snd_settle_mode
        settled = draft.settled if mode == _MIXED else mode == _SETTLED
        since: float | None = None
        if link.credit <= 0 or pump.blocked or link.backlog or (link.window.remote_incoming <= 0 < self._timeout):
            since = self._clock()
            self._await_room(record)
        delivery = link.send(payload, body, settled=settled, context=context)
        if message is None:
            draft.link_name = link_name
        if link.credit == 0:
            record.announced = False
        if not settled:
            self._outgoing[delivery] = None
            if self._outgoing_order is not None:
                self._outgoing_order.append(delivery)
        if not self._dispatching:
            # Inside a handler the bytes of several sends go out together, when it has returned.
            self._unpolled += 1 + (delivery.size >> _POLL_SHIFT)
            if not self._flushed() or link.backlog:
                self._await_written(delivery, since)
            elif self._unpolled >= _POLL_EVERY:
                self._unpolled = 0
                self._poll()
        if settled and self._on_message_out is not None:
            self._post_out(delivery)
            self._dispatch()

    def _send_many(self, link_name: str, values: Iterable[str], ids: Iterable[MessageId] | None) -> int:
        """Send one message per value; see ``AMQP.send_messages``."""
        pump = self._connected_pump()
        record = self._links.find(link_name)
        if not isinstance(record, SenderRecord):
            raise AMQPError(600, f"link {link_name!r} is a receiver link; messages are sent on sender links")
        mode = record.engine.snd_settle_mode
        settled = self._draft.settled if mode == _MIXED else mode == _SETTLED
        sent = 0
        # A time-out that bounds the whole call counts from here; others from where it waits.
        since = self._clock() if self._settings.absolute_timeout else None
        for batch in self._encoded(values, ids):
            try:
                delivery = self._send_batch(record, batch, settled, since)
            except BaseException:
                # What was sent of the batch goes out.
                if not self._dispatching and self._pump is pump:
                    self._flushed()
                raise
            sent += len(batch.payloads)
            if self._dispatching:
                continue
            if not (self._flushed() and delivery.complete):
                # More would only pile up here.
                self._await_written(delivery, since)
            self._unpolled += batch.weight
            if self._unpolled >= _BATCH and self._pump is pump:
                self._unpolled = 0
                self._poll()
        self._dispatch()
        return sent

    def _encoded(self, values: Iterable[str], ids: Iterable[MessageId] | None) -> Iterator[_Batch]:
        """The messages of ``send_messages`` in batches. What stands in front of a bad value comes before its error."""
        draft = self._draft
        encode = draft.encode
        generate = self._settings.generate_message_id
        names = iter(ids) if ids is not None else None
        index = 0
        batch = _Batch()
        try:
            for value in values:
                if type(value) is not str:
                    raise TypeError(f"values[{index}] must be a str, not {type(value).__name__}")
                draft.value = value
                if names is not None:
                    name = next(names, None)
                    if type(name) is not str:
                        if name is None:
                            raise TypeError(f"ids[{index}] is missing")
                        name = check_id(f"ids[{index}]", name)
                    draft.id = name
                elif generate:
                    draft.id = _new_id()
                try:
                    payload, body = encode()
                except AMQPError as error:
                    raise AMQPError(error.code, f"values[{index}]: {error.message}") from error
                if draft.lost_value:
                    self._warn_of_null()
                index += 1
                context = draft.id
                if body and batch.payloads:
                    # Handlers may run meanwhile, and change the properties.
                    whole, batch = batch, _Batch()
                    yield whole
                batch.payloads.append(payload)
                batch.ids.append(context)
                batch.values.append(value)
                batch.body = body
                batch.weight += 1 + ((len(payload) + len(body)) >> _BATCH_SHIFT)
                if body or batch.weight >= _BATCH:
                    whole, batch = batch, _Batch()
                    yield whole
        finally:
            if batch.payloads:
                yield batch

    def _send_batch(self, record: SenderRecord, batch: _Batch, settled: bool, since: float | None) -> OutgoingDelivery:
        """Send the messages of a batch, waiting for credit where that is needed. Returns the last delivery.

        ``since`` is when the call began, where the time-out counts from there.
        """
        link = record.engine
        payloads, ids = batch.payloads, batch.ids
        delivery: OutgoingDelivery | None = None
        at = 0
        try:
            while at < len(payloads):
                pump = self._connected_pump()
                blocked = bool(link.backlog) or (self._timeout == 0 and pump.blocked)
                deliveries: list[OutgoingDelivery] = []
                if not blocked and not batch.body:
                    deliveries = link.send_many(payloads[at:], ids[at:], settled=settled)
                if not deliveries:
                    if link.credit <= 0 or blocked or link.window.remote_incoming <= 0 < self._timeout:
                        self._await_room(record, since)
                    deliveries = [link.send(payloads[at], batch.body, settled=settled, context=ids[at])]
                at += len(deliveries)
                delivery = deliveries[-1]
                self._note_sent(record, deliveries, settled)
        except BaseException:
            if at < len(payloads):
                # The program finds in the properties what was not sent.
                self._draft.id, self._draft.value = ids[at], batch.values[at]
            raise
        assert delivery is not None
        return delivery

    def _note_sent(self, record: SenderRecord, deliveries: list[OutgoingDelivery], settled: bool) -> None:
        """Keep what waits for its outcome, and announce what does not."""
        self._draft.link_name = record.name
        if record.engine.credit == 0:
            record.announced = False
        if not settled:
            self._outgoing.update(dict.fromkeys(deliveries))
            if self._outgoing_order is not None:
                for delivery in deliveries:
                    self._outgoing_order.append(delivery)
        elif self._on_message_out is not None:
            for delivery in deliveries:
                self._post_out(delivery)

    def _await_room(self, record: SenderRecord, since: float | None = None) -> None:
        """Wait until a message may be sent on a link: for credit, and for the session window of the peer (transport,
        "session flow control"). With ``timeout`` 0, refuse at once what would have to wait.

        ``since`` is when the call began, where this is not the first that it waits for.
        """
        link = record.engine
        pump = self._pump
        assert pump is not None
        if self._timeout == 0:
            # What arrived meanwhile may have brought the credit.
            self._poll()
            if not link.attached:
                self._links.find(record.name)
            if link.credit <= 0:
                raise AMQPError(135, f"link {record.name!r} has no credit now; on_link_ready_to_send tells when it has")
            if pump.blocked:
                self._writable = False
                raise AMQPError(135, "the socket takes no more now; on_ready_to_send tells when it does")
            if link.backlog:
                self._hold(record.session.engine)
                raise AMQPError(135, "the peer's session window is closed; on_ready_to_send tells when it has opened")
            return
        self._work(
            lambda: link.credit > 0 or not link.attached,
            self._timeout,
            f"waiting for credit to send on link {record.name!r}",
            since=since,
        )
        if link.backlog or link.window.remote_incoming <= 0:
            self._hold(record.session.engine)
            self._work(
                lambda: (link.credit > 0 and link.window.remote_incoming > 0 and not link.backlog) or not link.attached,
                self._timeout,
                f"waiting for the peer to open its session window for link {record.name!r}",
                since=since,
            )
        if not link.attached:
            self._links.find(record.name)
            raise AMQPError(600, f"link {record.name!r} was closed while a message waited to be sent on it")

    def _hold(self, session: Session) -> None:
        """Nothing can be sent on a session now: ``on_ready_to_send`` tells when that has changed."""
        self._writable = False
        self._narrow = session

    def _await_written(self, delivery: OutgoingDelivery, since: float | None = None) -> None:
        """Wait until a message has been handed to the operating system whole.

        ``since`` is when the call began to wait, for credit, if it did.
        """
        if self._timeout == 0:
            self._writable = False
            return
        outer, self._writing = self._writing, delivery
        try:
            self._work(
                lambda: self._flushed() and (delivery.complete or not delivery.link.attached),
                self._timeout,
                f"writing a message of link {delivery.link.name!r}",
                since=since,
            )
            if not delivery.complete:
                name = delivery.link.context.name
                self._links.find(name)
                raise AMQPError(600, f"link {name!r} was closed while a message was being written to it")
        except BaseException as error:
            self._take_back(delivery)
            if isinstance(error, AMQPError):
                error.sent = delivery.complete
            raise
        finally:
            self._writing = outer

    def _take_back(self, delivery: OutgoingDelivery) -> None:
        """A call is about to raise: what it was sending is not sent, unless it has gone out whole already."""
        if delivery.complete:
            return
        if not delivery.aborted:
            delivery.abort()
        if self._outgoing.pop(delivery, False) is None and self._outgoing_order is not None:
            self._outgoing_order.remove(delivery)
        if self._pump is not None:
            self._let_out(self._pump)

    def _post_out(self, delivery: OutgoingDelivery) -> None:
        record: SenderRecord = delivery.link.context
        self._post(
            "_on_message_out",
            AMQPMessageOutEventParams(self, record.session.name, record.name, delivery.context),
        )

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
        on_outcome = self._on_message_outcome
        try:
            if on_outcome is None and update.settled:
                self._conclude_settled(update)
            else:
                self._conclude_each(update, state, number)
        except BaseException:
            self._outgoing_order = None  # made anew when it is next asked for: it may be half changed
            raise

    def _conclude_each(self, update: DeliveriesUpdated, state: DeliveryState | None, number: MessageState) -> None:
        outgoing = self._outgoing
        on_outcome, listens = self._on_message_outcome, self._on_message_out is not None
        out: AMQPMessageOutEventParams | None = None
        for delivery in update.deliveries:
            # Those of before an exception are not there any more.
            if delivery not in outgoing:
                continue
            if not update.settled:
                delivery.settle()
            record: SenderRecord = delivery.link.context
            if listens:
                out = AMQPMessageOutEventParams(self, record.session.name, record.name, delivery.context)
            if on_outcome is not None and delivery is not self._told:
                params = AMQPMessageOutcomeEventParams(
                    self, record.session.name, record.name, delivery.context, OutcomeDirection.Received, number
                )
                try:
                    self._fire_outcome(params, OutcomeMetadata.from_state(state), delivery)
                except BaseException as error:
                    if reached(error, on_outcome):
                        # The message is out all the same, and the program hears of it with what follows.
                        self._forget_outgoing(delivery, out)
                    raise
            # A handler that connected anew or called reset() has emptied the list.
            self._forget_outgoing(delivery, out)
            if out is not None:
                self._fire_missed()

    def _conclude_settled(self, update: DeliveriesUpdated) -> None:
        """The usual case: the receiver has settled, and nobody listens for outcomes."""
        outgoing = self._outgoing
        if self._on_message_out is None:
            if self._outgoing_order is not None:
                for delivery in update.deliveries:
                    self._forget_outgoing(delivery)
                return
            for delivery in update.deliveries:
                outgoing.pop(delivery, None)
            return
        link: SenderLink | None = None
        session_name = link_name = ""
        handler = None
        try:
            for delivery in update.deliveries:
                if delivery not in outgoing:
                    continue
                if delivery.link is not link:
                    link = delivery.link
                    record: SenderRecord = link.context
                    session_name, link_name = record.session.name, record.name
                out = AMQPMessageOutEventParams(self, session_name, link_name, delivery.context)
                if self._outgoing_order is not None:
                    self._forget_outgoing(delivery, out)
                else:
                    self._missed, _ = out, outgoing.pop(delivery, None)
                handler = self._on_message_out
                self._missed = (handler(out), None)[1] if handler is not None else None
        except BaseException as error:
            if handler is not None and reached(error, handler):
                self._missed = None
            raise

    def _forget_outgoing(self, delivery: OutgoingDelivery, out: AMQPMessageOutEventParams | None = None) -> None:
        """A message is done with, and ``out`` is to fire. One that is not in the list any more is no fault."""
        self._missed, gone = out, self._outgoing.pop(delivery, False)
        if gone is None and self._outgoing_order is not None:
            self._outgoing_order.remove(delivery)

    def _conclude_end(self, ended: Ended) -> None:
        """A link or session is over: what has no outcome by now will get none."""
        if ended.undelivered is None:
            outgoing = self._outgoing
            ended.undelivered = tuple(
                account_for(delivery)
                for delivery in ended.deliveries
                if delivery is not self._writing
                and (delivery in outgoing or (delivery.settled and not delivery.complete and not delivery.aborted))
            )
        for delivery in ended.deliveries:
            self._forget_outgoing(delivery)
        if ended.undelivered:
            self._undelivered = ended.undelivered
        if not (ended.tell or ended.undelivered):
            return
        error = with_undelivered(ended.reason, ended.undelivered, links=isinstance(ended.event, SessionEnded))
        self._tell(error)

    def _tell(self, error: AMQPError) -> None:
        """Fire ``on_error``. Where nobody listens and messages are concerned, the next call raises the error."""
        self._log(1, "Info", f"error: {error}")
        handler = self._on_error
        if handler is None:
            if error.undelivered and (not self._unheard or self._unheard[-1].undelivered is not error.undelivered):
                self._unheard.append(error)
            return
        try:
            self._event = (handler(AMQPErrorEventParams(error.code, error.message)), None)[1]
        except BaseException as failure:
            if reached(failure, handler):
                self._event = None
            raise

    def _raise_with_unheard(self, error: AMQPError) -> NoReturn:
        """Raise the error of a call, which says what became of earlier messages too where nobody has heard of it."""
        if not self._unheard or self._unheard[0] is error or error.undelivered:
            raise error
        earlier = self._unheard.popleft()
        raise with_undelivered(error, earlier.undelivered) from error

    def _left_behind(self) -> tuple[UndeliveredMessage, ...]:
        """The messages that have no outcome now that the connection is gone. They stay in the list."""
        known: set[OutgoingDelivery] = set()
        for entry in (self._event, *self._queue):
            if isinstance(entry, DeliveriesUpdated) and (entry.settled or type(entry.state) in _STATES):
                known.update(entry.deliveries)
        unwritten = [delivery for delivery in self._unwritten if not delivery.complete]
        self._unwritten = []
        return tuple(account_for(delivery) for delivery in (*self._outgoing, *unwritten) if delivery not in known)

    def _with_left_over(self, error: AMQPError) -> AMQPError:
        undelivered = self._left_behind()
        if undelivered:
            self._undelivered = undelivered
        return with_undelivered(error, undelivered, _STAY, links=True)

    def _fire_outcome(
        self, params: AMQPMessageOutcomeEventParams, metadata: OutcomeMetadata, delivery: OutgoingDelivery | None = None
    ) -> None:
        previous = self._metadata, self._metadata_settable
        self._metadata, self._metadata_settable = metadata, False
        handler = self._on_message_outcome
        try:
            assert handler is not None
            # In one step, so that no exception of a signal handler comes between: it would fire again.
            self._told = (handler(params), delivery)[1]
        finally:
            self._metadata, self._metadata_settable = previous

    def _get_outgoing_message(self, index: int) -> MessageView:
        check_index(index, len(self._outgoing), "outgoing_message_index")
        order = self._outgoing_order
        if order is None:
            order = self._outgoing_order = Ordered(self._outgoing)
        delivery = order.at(index)
        return MessageView(delivery.payload, delivery.link.context.name, False, delivery, self._settings)


def _new_id() -> str:
    from uuid import uuid4

    return str(uuid4())

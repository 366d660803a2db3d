"""Messages out: what happens to each on its way through the component. Their outcomes are in ``outgoing.py``.

This is the component's hot path; see docs/architecture.md before making it do more per message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from amqp10.component.handlers import Handlers
from amqp10.component.ids import check_id, id_text
from amqp10.component.log import Log
from amqp10.component.loop import Loop
from amqp10.component.messages import MessageDraft
from amqp10.component.outgoing import Outgoing
from amqp10.component.properties import Properties
from amqp10.component.registry import Records, SenderRecord
from amqp10.component.settings import Settings
from amqp10.errors import AMQPError
from amqp10.wire.performatives import SenderSettleMode

if TYPE_CHECKING:
    from amqp10.client.message import Message
    from amqp10.component.ids import MessageId
    from amqp10.engine import OutgoingDelivery

__all__ = ["Outbox"]

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


class Outbox:
    """Sends messages.

    Attributes:
        draft: the message that ``message_...`` describe.
    """

    __slots__ = (
        "_handlers",
        "_links",
        "_log",
        "_loop",
        "_outgoing",
        "_properties",
        "_settings",
        "_unpolled",
        "_warned_of_null",
        "draft",
    )

    def __init__(
        self,
        settings: Settings,
        properties: Properties,
        handlers: Handlers,
        log: Log,
        records: Records,
        outgoing: Outgoing,
        loop: Loop,
    ) -> None:
        self._settings = settings
        self._properties = properties
        self._handlers = handlers
        self._log = log
        self._links = records.links
        self._outgoing = outgoing
        self._loop = loop
        self.draft: MessageDraft = MessageDraft()
        self._unpolled = 0
        self._warned_of_null = False

    def _warn_of_null(self) -> None:
        """Once: the value that the program has set does not travel, because its type is still the default one."""
        self.draft.lost_value = False
        if not self._warned_of_null:
            self._warned_of_null = True
            self._log.warn(
                "message_value is set, but message_value_type is mvtNull: a null is sent; for text set it to mvtString"
            )

    def send(self, link_name: str, message: Message | None = None) -> None:
        """Send the draft, or a message that is given; see ``AMQP.send_message``."""
        loop = self._loop
        pump = loop.connected_pump()
        record = self._links.find(link_name)
        if not isinstance(record, SenderRecord):
            raise AMQPError(600, f"link {link_name!r} is a receiver link; messages are sent on sender links")
        draft = self.draft
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
        if (
            link.credit <= 0
            or pump.blocked
            or link.backlog
            or (link.window.remote_incoming <= 0 < self._properties.timeout)
        ):
            since = loop.clock()
            self._await_room(record)
        delivery = link.send(payload, body, settled=settled, context=context)
        if message is None:
            draft.link_name = link_name
        if link.credit == 0:
            record.announced = False
        if not settled:
            outgoing = self._outgoing
            outgoing.unsettled[delivery] = None
            if outgoing.order is not None:
                outgoing.order.append(delivery)
        if not loop.calls.handling:
            # Inside a handler the bytes of several sends go out together, when it has returned.
            self._unpolled += 1 + (delivery.size >> _POLL_SHIFT)
            if not loop.flushed() or link.backlog:
                self._await_written(delivery, since)
            elif self._unpolled >= _POLL_EVERY:
                self._unpolled = 0
                loop.poll()
        if settled and self._handlers.on_message_out is not None:
            self._outgoing.post_out(delivery)
            loop.dispatch()

    def send_many(self, link_name: str, values: Iterable[str], ids: Iterable[MessageId] | None) -> int:
        """Send one message per value; see ``AMQP.send_messages``."""
        loop = self._loop
        pump = loop.connected_pump()
        record = self._links.find(link_name)
        if not isinstance(record, SenderRecord):
            raise AMQPError(600, f"link {link_name!r} is a receiver link; messages are sent on sender links")
        mode = record.engine.snd_settle_mode
        settled = self.draft.settled if mode == _MIXED else mode == _SETTLED
        sent = 0
        # A time-out that bounds the whole call counts from here; others from where it waits.
        since = loop.clock() if self._settings.absolute_timeout else None
        for batch in self._encoded(values, ids):
            try:
                delivery = self._send_batch(record, batch, settled, since)
            except BaseException:
                # What was sent of the batch goes out.
                if not loop.calls.handling and loop.pump is pump:
                    loop.flushed()
                raise
            sent += len(batch.payloads)
            if loop.calls.handling:
                continue
            if not (loop.flushed() and delivery.complete):
                # More would only pile up here.
                self._await_written(delivery, since)
            self._unpolled += batch.weight
            if self._unpolled >= _BATCH and loop.pump is pump:
                self._unpolled = 0
                loop.poll()
        loop.dispatch()
        return sent

    def _encoded(self, values: Iterable[str], ids: Iterable[MessageId] | None) -> Iterator[_Batch]:
        """The messages of ``send_messages`` in batches. What stands in front of a bad value comes before its error."""
        draft = self.draft
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
                pump = self._loop.connected_pump()
                timeout = self._properties.timeout
                blocked = bool(link.backlog) or (timeout == 0 and pump.blocked)
                deliveries: list[OutgoingDelivery] = []
                if not blocked and not batch.body:
                    deliveries = link.send_many(payloads[at:], ids[at:], settled=settled)
                if not deliveries:
                    if link.credit <= 0 or blocked or link.window.remote_incoming <= 0 < timeout:
                        self._await_room(record, since)
                    deliveries = [link.send(payloads[at], batch.body, settled=settled, context=ids[at])]
                at += len(deliveries)
                delivery = deliveries[-1]
                self._note_sent(record, deliveries, settled)
        except BaseException:
            if at < len(payloads):
                # The program finds in the properties what was not sent.
                self.draft.id, self.draft.value = ids[at], batch.values[at]
            raise
        assert delivery is not None
        return delivery

    def _note_sent(self, record: SenderRecord, deliveries: list[OutgoingDelivery], settled: bool) -> None:
        """Keep what waits for its outcome, and announce what does not."""
        self.draft.link_name = record.name
        if record.engine.credit == 0:
            record.announced = False
        if not settled:
            self._outgoing.add_all(deliveries)
        elif self._handlers.on_message_out is not None:
            for delivery in deliveries:
                self._outgoing.post_out(delivery)

    def _await_room(self, record: SenderRecord, since: float | None = None) -> None:
        """Wait until a message may be sent on a link: for credit, and for the session window of the peer (transport,
        "session flow control"). With ``timeout`` 0, refuse at once what would have to wait.

        ``since`` is when the call began, where this is not the first that it waits for.
        """
        link = record.engine
        session = record.session.engine
        loop = self._loop
        timeout = self._properties.timeout
        if timeout == 0:
            # What arrived meanwhile may have brought the credit.
            loop.poll()
            if not link.attached:
                self._links.find(record.name)
            if link.credit <= 0:
                raise AMQPError(135, f"link {record.name!r} has no credit now; on_link_ready_to_send tells when it has")
            if loop.blocked:
                loop.hold()
                raise AMQPError(135, "the socket takes no more now; on_ready_to_send tells when it does")
            if link.backlog:
                loop.hold(session)
                raise AMQPError(135, "the peer's session window is closed; on_ready_to_send tells when it has opened")
            return
        loop.work(
            lambda: link.credit > 0 or not link.attached,
            timeout,
            f"waiting for credit to send on link {record.name!r}",
            since=since,
        )
        if link.backlog or link.window.remote_incoming <= 0:
            loop.hold(session)
            loop.work(
                lambda: (link.credit > 0 and link.window.remote_incoming > 0 and not link.backlog) or not link.attached,
                timeout,
                f"waiting for the peer to open its session window for link {record.name!r}",
                since=since,
            )
        if not link.attached:
            self._links.find(record.name)
            raise AMQPError(600, f"link {record.name!r} was closed while a message waited to be sent on it")

    def _await_written(self, delivery: OutgoingDelivery, since: float | None = None) -> None:
        """Wait until a message has been handed to the operating system whole.

        ``since`` is when the call began to wait, for credit, if it did.
        """
        loop, outgoing = self._loop, self._outgoing
        if self._properties.timeout == 0:
            loop.hold()
            return
        outer, outgoing.writing = outgoing.writing, delivery
        try:
            loop.work(
                lambda: loop.flushed() and (delivery.complete or not delivery.link.attached),
                self._properties.timeout,
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
            outgoing.writing = outer

    def _take_back(self, delivery: OutgoingDelivery) -> None:
        """A call is about to raise: what it was sending is not sent, unless it has gone out whole already."""
        if delivery.complete:
            return
        if not delivery.aborted:
            delivery.abort()
        self._outgoing.take_back(delivery)
        self._loop.let_out()


def _new_id() -> str:
    from uuid import uuid4

    return str(uuid4())

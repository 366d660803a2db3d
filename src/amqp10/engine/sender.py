"""The sending end of a link: credit as the receiver gives it, drain, and the messages sent (transport, "links").

The hot path is :meth:`SenderLink.send`: a message that fits one frame is written as a shape in which only the size and
the delivery id change.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Protocol

from amqp10.conditions import ErrorCondition
from amqp10.engine.link import LinkEndpoint, LinkSession, LinkTerms
from amqp10.engine.serial import MASK, serial_difference, serial_range
from amqp10.engine.shapes import sent_shape
from amqp10.engine.states import LinkState
from amqp10.errors import ProtocolError
from amqp10.wire.performatives import MAX_DELIVERY_TAG_SIZE, Transfer

if TYPE_CHECKING:
    from amqp10.engine.backlog import Backlog
    from amqp10.wire.messaging import DeliveryState
    from amqp10.wire.performatives import Flow

__all__ = ["OutgoingDelivery", "SenderLink", "TransferFields"]

_SMALL = 8192
"""Bytes up to which a copy of a payload costs less than a buffer of its own."""
# Looking up a member of an enumeration costs five times as much as looking up a name: this is looked at per message.
_ATTACHED: Final = LinkState.ATTACHED


class TransferFields(NamedTuple):
    """What the first transfer of a delivery says that is not usual."""

    tag: bytes | None
    """The delivery tag; None for the delivery id in network order."""
    message_format: int
    state: DeliveryState | None
    resume: bool


_USUAL: Final = TransferFields(None, 0, None, False)
_ABORTED: Final = -1


class OutgoingDelivery:
    """A message sent on a sender link.

    Attributes:
        link: the link it was sent on.
        delivery_id: its number within the session (a 32-bit serial number); -1 while it waits for the session window.
        size: bytes of the encoded message.
        settled: whether this side has forgotten it (sent settled, or settled since).
        sent: how many bytes of the payload have been framed; equal to ``size`` once it is wholly on its way, -1 when it
            has been given up.
        remote_state: the last state the receiver reported.
        remote_settled: whether the receiver has settled it.
        context: whatever the user of the engine wants to find again.
    """

    __slots__ = (
        "_payload",
        "context",
        "delivery_id",
        "fields",
        "link",
        "remote_settled",
        "remote_state",
        "sent",
        "settled",
        "size",
    )

    def __init__(
        self,
        link: SenderLink,
        delivery_id: int,
        payload: bytes | tuple[bytes, bytes],
        size: int,
        sent: int,
        settled: bool,
        context: Any,
    ) -> None:
        self.link: SenderLink = link
        self.delivery_id: int = delivery_id
        self._payload = payload
        self.size: int = size
        self.settled: bool = settled
        self.sent: int = sent
        self.fields: TransferFields | None = None
        """What its first transfer says that is not usual; None for nothing."""
        self.remote_state: DeliveryState | None = None
        self.remote_settled: bool = False
        self.context: Any = context

    @property
    def payload(self) -> bytes:
        """The encoded message. One that was given in two parts is joined when it is first looked at."""
        payload = self._payload
        if isinstance(payload, tuple):
            payload = self._payload = payload[0] + payload[1]
        return payload

    @property
    def tag(self) -> bytes:
        """The delivery tag: the delivery id in network order, unless it was sent with another, or had to wait."""
        tag = self.fields.tag if self.fields is not None else None
        return tag if tag is not None else self.delivery_id.to_bytes(4, "big")

    @property
    def message_format(self) -> int:
        """The message format code of its first transfer."""
        return self.fields.message_format if self.fields is not None else 0

    @property
    def aborted(self) -> bool:
        """Whether it has been given up."""
        return self.sent == _ABORTED

    @property
    def complete(self) -> bool:
        """Whether every byte has been framed for sending."""
        return self.sent >= self.size and self.delivery_id >= 0

    def wait(self, tag: bytes) -> None:
        """It waits for the session window, and so has no delivery id yet: it gets a tag of its own, if it has none."""
        fields = self.fields or _USUAL
        if fields.tag is None:
            self.fields = fields._replace(tag=tag)

    def give_up(self) -> None:
        """No more of it is sent."""
        self.sent = _ABORTED
        self.settled = True

    def settle(self, state: DeliveryState | None = None) -> None:
        """Forget the delivery and tell the receiver so (transport, "transferring a message").

        Args:
            state: the final state to tell; by default what the receiver reported.
        """
        if self.settled:
            return
        self.settled = True
        link = self.link
        link.forget(self)
        if not self.remote_settled and not link.closing:
            link.dispositions.add(False, self.delivery_id, state or self.remote_state, True)

    def abort(self) -> None:
        """Give up a delivery that is only partly sent (transport, "transferring large messages").

        Raises:
            ProtocolError: the delivery has been sent completely.
        """
        if self.complete:
            raise ProtocolError("a delivery that has been sent completely cannot be aborted")
        self.link.abort(self)

    def __repr__(self) -> str:
        return f"<OutgoingDelivery {self.delivery_id} on {self.link.name!r}: {self.size} bytes>"


class SendingSession(LinkSession, Protocol):
    """What a sender needs of its session besides.

    Attributes:
        backlog: the links with deliveries that wait for the window.
        outgoing_unsettled: the unsettled deliveries of all its senders, by delivery id.
        initial_delivery_count: where delivery counts start.
    """

    backlog: Backlog
    outgoing_unsettled: dict[int, OutgoingDelivery]
    initial_delivery_count: int


class SenderLink(LinkEndpoint):
    """The sending end of a link."""

    __slots__ = (
        "_channel",
        "_drain_pending",
        "_head",
        "_head_size",
        "_initial_delivery_count",
        "_pack",
        "_pack_settled",
        "_settled_head",
        "_stopped",
        "backlog",
        "delivery_type",
        "held",
        "pending",
    )

    is_receiver = False
    credit: int
    delivery_count: int
    drain: bool
    unsettled: dict[int, OutgoingDelivery]
    session_unsettled: dict[int, OutgoingDelivery]

    def __init__(self, session: SendingSession, name: str, handle: int, terms: LinkTerms) -> None:
        super().__init__(session, name, handle, terms, session.outgoing_unsettled)
        self.delivery_count = self._initial_delivery_count = session.initial_delivery_count
        self.delivery_type: type[OutgoingDelivery] = OutgoingDelivery
        """The class of its deliveries: a subclass makes one object do for the engine and for its user."""
        self.pending: deque[OutgoingDelivery] = deque()
        """Deliveries that took credit but wait for the session window, in order."""
        self.held: int = 0
        """How many of them, from the end, lost their credit again: the receiver reduced it while they waited."""
        self.backlog: Backlog = session.backlog
        """The links of the session with deliveries that wait for its window: while there are any, what is sent waits
        too."""
        self._channel = session.channel
        self._drain_pending = False
        self._stopped: tuple[OutgoingDelivery, ...] = ()
        shape = sent_shape(session.channel, handle)
        self._head, self._settled_head, self._head_size, self._pack, self._pack_settled = shape

    def send(
        self,
        payload: bytes,
        body: bytes = b"",
        settled: bool = False,
        context: Any = None,
        message_format: int = 0,
        tag: bytes | None = None,
        state: DeliveryState | None = None,
        resume: bool = False,
    ) -> OutgoingDelivery:
        """Send one message (transport, "transferring a message").

        What the session window does not allow now is kept and goes out as soon as it does.

        Args:
            payload: the encoded message, or its first part.
            body: the rest of it: the two parts of a large message need not be joined.
            settled: True to forget it at once (at most once delivery). The caller keeps to ``snd_settle_mode``.
            context: kept on the delivery.
            message_format: the message format code; 0 is the format of part 3, messaging.
            tag: the delivery tag, of up to 32 bytes, which no other unsettled delivery of the link has. By default one
                of 4 bytes, or of 8 for a delivery that has to wait for the session window.
            state: the state of the delivery at this side, such as *transactional-state*.
            resume: whether a delivery of an earlier attachment goes on; it needs its tag (transport, "resuming
                deliveries").

        Raises:
            ProtocolError: the link is not attached, or has no credit; the message is larger than either side's
                max-message-size, or the tag longer than 32 bytes, or lacking. Nothing is sent in these cases.
        """
        if self.credit <= 0 or self.state is not _ATTACHED:
            self._refuse_send()
        size = len(payload)
        parts: bytes | tuple[bytes, bytes] = payload
        if body:
            size += len(body)
            parts = (payload, body)
        if size > self.send_limit > 0:
            self._refuse_size(size)
        window = self.window
        output = self.output
        frame_size = self._head_size + size
        if (
            window.remote_incoming > 0
            and frame_size < output.max_frame_size
            and not self.backlog
            and not message_format
            and tag is None
            and state is None
            and not resume
            and output.trace is None
        ):
            delivery_id = window.next_delivery_id
            delivery = self.delivery_type(self, delivery_id, parts, size, size, settled, context)
            if settled:
                head = self._pack_settled(
                    frame_size + 1, self._settled_head, delivery_id, b"\xa0\x04", delivery_id, b"\x43\x41"
                )
            else:
                head = self._pack(frame_size, self._head, delivery_id, b"\xa0\x04", delivery_id, b"\x43")
            # From here to queueing it nothing is called, so that no signal handler comes in between.
            self.credit -= 1
            self.delivery_count = (self.delivery_count + 1) & MASK
            window.next_delivery_id = (delivery_id + 1) & MASK
            window.remote_incoming -= 1
            window.next_outgoing_id = (window.next_outgoing_id + 1) & MASK
            if not settled:
                self.session_unsettled[delivery_id] = self.unsettled[delivery_id] = delivery
            if size < _SMALL:
                # One buffer is less work for everybody further down than two.
                output.buffers.append(head + payload + body if body else head + payload)
            else:
                output.buffers += (head, payload, body) if body else (head, payload)
            return delivery
        # The delivery id is given when the first frame goes out: ids must appear on the wire in sequence.
        delivery = self.delivery_type(self, -1, parts, size, 0, settled, context)
        if tag is not None or message_format or state is not None or resume:
            if resume if tag is None else len(tag) > MAX_DELIVERY_TAG_SIZE:
                self._refuse_tag(tag)
            delivery.fields = TransferFields(tag, message_format, state, resume)
        if not self.pending and self not in self.backlog:
            self.backlog.append(self)
        self.credit -= 1
        self.delivery_count = (self.delivery_count + 1) & MASK
        self.pending.append(delivery)
        self.backlog.pump()
        if delivery.delivery_id < 0:
            delivery.wait(window.new_tag())
        return delivery

    def send_many(
        self, payloads: Sequence[bytes], contexts: Sequence[Any], *, settled: bool = False
    ) -> list[OutgoingDelivery]:
        """Send messages from the front of a list, as long as each goes out at once and in one frame.

        The same as :meth:`send` for each of them, in fewer steps.

        Args:
            payloads: the encoded messages.
            contexts: one for each, kept on its delivery.
            settled: True to forget them at once (at most once delivery).

        Returns:
            The deliveries of those that were sent. When they are fewer than the payloads, the first of the others
            needs :meth:`send`, which says what is wrong with it.

        Raises:
            ValueError: there are not as many contexts as payloads.
        """
        window = self.window
        output = self.output
        if len(payloads) != len(contexts):
            raise ValueError(f"{len(payloads)} payloads have {len(contexts)} contexts")
        if self.state is not _ATTACHED or self.backlog or output.trace is not None:
            return []
        room = min(self.credit, window.remote_incoming, len(payloads))
        head_size = self._head_size
        largest = min(output.max_frame_size - head_size - 1, _SMALL)
        if self.send_limit > 0:
            largest = min(largest, self.send_limit)
        unsettled, of_session = self.unsettled, self.session_unsettled
        buffers = output.buffers
        pack, head = self._pack, self._head
        delivery_type = self.delivery_type
        deliveries: list[OutgoingDelivery] = []
        ids = serial_range(window.next_delivery_id, room)
        last = -1
        try:
            for delivery_id, payload, context in zip(ids, payloads, contexts, strict=False):
                size = len(payload)
                if size > largest:
                    break
                delivery = delivery_type(self, delivery_id, payload, size, size, settled, context)
                deliveries.append(delivery)
                # From counting it to queueing it nothing is called, so that no signal handler comes in between.
                if settled:
                    frame_head = self._pack_settled(
                        head_size + size + 1, self._settled_head, delivery_id, b"\xa0\x04", delivery_id, b"\x43\x41"
                    )
                    last = delivery_id
                    buffers.append(frame_head + payload)
                else:
                    frame = pack(head_size + size, head, delivery_id, b"\xa0\x04", delivery_id, b"\x43") + payload
                    last = delivery_id
                    unsettled[delivery_id] = of_session[delivery_id] = delivery
                    buffers.append(frame)
        finally:
            # What is queued has been sent, also when a signal handler has raised.
            sent = (last - window.next_delivery_id + 1) & MASK if last >= 0 else 0
            self.credit -= sent
            self.delivery_count = (self.delivery_count + sent) & MASK
            window.next_delivery_id = (window.next_delivery_id + sent) & MASK
            window.remote_incoming -= sent
            window.next_outgoing_id = (window.next_outgoing_id + sent) & MASK
        return deliveries

    def _refuse_send(self) -> None:
        if self.state is not LinkState.ATTACHED:
            raise ProtocolError(f"link {self.name!r} is not attached", condition=ErrorCondition.ILLEGAL_STATE)
        raise ProtocolError(
            f"link {self.name!r} has no credit: the receiver has not asked for more messages",
            condition=ErrorCondition.TRANSFER_LIMIT_EXCEEDED,
        )

    @property
    def waiting(self) -> int:
        """How many deliveries took credit of which nothing is on its way yet."""
        pending = self.pending
        return len(pending) - (1 if pending and pending[0].delivery_id >= 0 else 0)

    @property
    def held_back(self) -> bool:
        """Whether the next delivery that waits has no credit any more."""
        return self.held > 0 and self.held >= len(self.pending) and self.pending[0].delivery_id < 0

    @property
    def undelivered(self) -> tuple[OutgoingDelivery, ...]:
        """Its deliveries without an outcome: those that were written first, then those that wait for the window."""
        return (*self.unsettled.values(), *self.unsent)

    @property
    def unsent(self) -> tuple[OutgoingDelivery, ...]:
        """The deliveries that did not go out, or not wholly, and that are not among the unsettled ones: they wait for
        the session window, or did so when the link ended."""
        waiting = [d for d in self.pending if d.delivery_id < 0 or (d.settled and not d.aborted)]
        return (*self._stopped, *waiting)

    def stop(self) -> None:
        # What still waits for the session window stays unsent: on a handle that is gone it would be a fault.
        if self in self.backlog:
            self.backlog.remove(self)
        self._stopped = self.unsent
        self.pending.clear()
        self.held = 0
        self._drain_pending = False

    def _refuse_size(self, size: int) -> NoReturn:
        limit = self.send_limit
        whose = "the peer accepts" if limit == self.remote_max_message_size else "this side has set"
        raise ProtocolError(
            f"the message has {size} bytes; {whose} at most {limit} on this link",
            condition=ErrorCondition.MESSAGE_SIZE_EXCEEDED,
        )

    def _refuse_tag(self, tag: bytes | None) -> NoReturn:
        if tag is None:
            raise ProtocolError("a delivery that is resumed needs its delivery tag")
        raise ProtocolError(f"a delivery tag has up to {MAX_DELIVERY_TAG_SIZE} bytes, not {len(tag)}")

    def send_frames(self, limit: int) -> bool:
        """Frame up to ``limit`` transfers of the first pending delivery. Returns whether it is wholly framed now."""
        delivery = self.pending[0]
        if delivery.aborted:
            transfer = Transfer(handle=self.handle, aborted=True)
            self._send_transfer(transfer, transfer.encode(), b"")
            self.pending.popleft()
            return True
        if delivery.delivery_id < 0:
            delivery.delivery_id = self.window.next_delivery_id
            self.window.next_delivery_id = (delivery.delivery_id + 1) & MASK
            if not delivery.settled:
                self.session_unsettled[delivery.delivery_id] = self.unsettled[delivery.delivery_id] = delivery
        view = memoryview(delivery.payload)
        total = len(view)
        budget = self.output.max_frame_size - 8
        while limit > 0:
            start = delivery.sent
            first = start == 0
            transfer = Transfer(
                handle=self.handle,
                delivery_id=delivery.delivery_id if first else None,
                delivery_tag=delivery.tag if first else None,
                message_format=delivery.message_format if first else None,
                settled=True if delivery.settled and not delivery.remote_settled else None,
                more=True,
            )
            if first and (fields := delivery.fields) is not None:
                transfer.state = fields.state
                transfer.resume = fields.resume
            head = transfer.encode()
            room = budget - len(head)
            more = total - start > room
            if not more:
                transfer.more = False
                head = transfer.encode()
                room = total - start
            end = start + room
            self._send_transfer(transfer, head, view[start:end])
            delivery.sent = end
            limit -= 1
            if not more:
                self.pending.popleft()
                return True
        return False

    def _send_transfer(self, transfer: Transfer, head: bytes, payload: bytes | memoryview) -> None:
        window = self.window
        self.output.send_transfer(self._channel, transfer, head, payload)
        window.remote_incoming -= 1
        window.next_outgoing_id = (window.next_outgoing_id + 1) & MASK

    def forget(self, delivery: OutgoingDelivery) -> None:
        """The delivery is settled, or given up."""
        delivery_id = delivery.delivery_id
        if delivery_id in self.unsettled:
            del self.unsettled[delivery_id], self.session_unsettled[delivery_id]

    def abort(self, delivery: OutgoingDelivery) -> None:
        """Give up a pending delivery (transport, "transferring large messages"). See ``OutgoingDelivery.abort``."""
        delivery.give_up()
        if delivery not in self.pending:
            return  # the link went, and the delivery with it
        if delivery.delivery_id >= 0:
            # An abort is a transfer too: it waits for the session window like any other.
            self.forget(delivery)
            self.backlog.pump()
            return
        # Not one byte went out: as far as the receiver can tell the credit was never used.
        self.pending.remove(delivery)
        if self.held:
            self.held -= 1
        else:
            self.credit += 1
        self.delivery_count = (self.delivery_count - 1) & MASK
        if not self.pending:
            if self in self.backlog:
                self.backlog.remove(self)
            self.pending_done()

    def on_flow(self, flow: Flow) -> None:
        """Recompute the credit from the receiver's view (transport, "flow control")."""
        count = flow.delivery_count
        base = int(count) if count is not None else self._initial_delivery_count
        # Not by way of the delivery limit: with a credit of 2**31 or more it would seem to be in the past.
        credit = int(flow.link_credit or 0) - serial_difference(self.delivery_count, base)
        self.credit = max(0, credit)
        self.drain = bool(flow.drain)
        if self.pending:
            # What waits for the window has counted as sent. With the credit taken back it may not be sent any more.
            self.held = min(self.waiting, max(0, -credit))
            backlog = self.backlog
            if self.held_back:
                if self in backlog:
                    backlog.remove(self)
            elif self not in backlog:
                backlog.append(self)

    def state_count(self, flow: Flow) -> None:
        """See :class:`~amqp10.engine.link.LinkEndpoint`."""
        # The receiver counts what it has seen. What waits for the window here has not been sent yet.
        waiting = self.waiting
        flow.available = self.available
        flow.link_credit = self.credit + waiting - self.held
        flow.delivery_count = (self.delivery_count - waiting) & MASK

    def drained(self) -> None:
        """Nothing more to send for a draining receiver: give the rest of the credit back (transport, "flow control").

        With deliveries still waiting for the session window, the answer follows the last of them.
        """
        if not self.drain or not self.attached or not self.session.can_send:
            return
        if self.pending and not self.held_back:
            self._drain_pending = True
            return
        self._drain_pending = False
        self.delivery_count = (self.delivery_count + self.credit) & MASK
        self.credit = 0
        self.send_flow()

    def pending_done(self) -> None:
        """The session calls this when the last pending delivery has been framed."""
        if self._drain_pending:
            self.drained()

"""Link endpoints: attach and detach, credit, drain, and the transfer of messages (transport, "links").

A sender's hot path is :meth:`SenderLink.send`: a message that fits one frame is written from a template in which only
the size and the delivery id change. A receiver's is ``Session.receive_transfer``.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from amqp10.codec import Symbol
from amqp10.engine.delivery import IncomingDelivery, OutgoingDelivery
from amqp10.engine.events import LinkDetached
from amqp10.engine.faults import LinkFault, remote_error, wire_error
from amqp10.engine.shapes import NO_SHAPE
from amqp10.engine.states import LINK_TRANSITIONS, LinkState, Trigger
from amqp10.errors import AMQPError, ProtocolError
from amqp10.wire.performatives import Attach, Detach, Flow, ReceiverSettleMode, SenderSettleMode, Transfer

if TYPE_CHECKING:
    from amqp10.engine.session import Session
    from amqp10.wire.messaging import Coordinator, Source, Target

__all__ = ["LinkEndpoint", "ReceiverLink", "SenderLink"]

_MASK = 0xFFFFFFFF
_SIGN = 0x80000000
_SMALL = 8192
"""Octets up to which a copy of a payload costs less than a buffer of its own."""
# Looking up a member of an enumeration costs five times as much as looking up a name: this is looked at per message.
_ATTACHED: Final = LinkState.ATTACHED


def serial_difference(a: int, b: int) -> int:
    """``a - b`` of two 32-bit serial numbers (RFC 1982): negative when a comes before b."""
    return ((a - b + _SIGN) & _MASK) - _SIGN


class LinkEndpoint:
    """What both kinds of link have in common.

    Attributes:
        session: the session it belongs to.
        name: its name, unique per direction between two containers.
        handle: the number this side uses for it.
        remote_handle: the number the peer uses; None while the peer's attach has not arrived.
        state: where it is between attach and detach.
        source, target: the termini as the peer stated them, once attached; before that, as requested.
        snd_settle_mode, rcv_settle_mode: as negotiated, once attached.
        credit: how many more deliveries the sender may start.
        delivery_count: the sender's delivery count as last known.
        available: how many messages the sender says it has.
        drain: whether the receiver asked the sender to use up or give back its credit.
        remote_max_message_size: the largest message the peer takes, in octets; 0 when it states no limit.
        send_limit: the largest message that may be sent, in octets, by both sides' limits; 0 for none.
        context: whatever the user of the engine wants to find again.
    """

    __slots__ = (
        "available",
        "closing",
        "context",
        "credit",
        "delivery_count",
        "drain",
        "error",
        "handle",
        "local_request",
        "max_message_size",
        "name",
        "rcv_settle_mode",
        "refusing",
        "remote_attach",
        "remote_handle",
        "remote_max_message_size",
        "send_limit",
        "session",
        "snd_settle_mode",
        "source",
        "state",
        "target",
    )

    is_receiver: bool

    def __init__(
        self,
        session: Session,
        name: str,
        handle: int,
        *,
        source: Source | None,
        target: Target | Coordinator | None,
        snd_settle_mode: SenderSettleMode,
        rcv_settle_mode: ReceiverSettleMode,
        max_message_size: int,
    ) -> None:
        self.session = session
        self.name = name
        self.handle = handle
        self.remote_handle: int | None = None
        self.state = LinkState.DETACHED
        self.source = source
        self.target = target
        self.snd_settle_mode = snd_settle_mode
        self.rcv_settle_mode = rcv_settle_mode
        self.max_message_size = max_message_size
        self.remote_max_message_size = 0
        self.send_limit = 0
        self.credit = 0
        self.delivery_count = 0
        self.available = 0
        self.drain = False
        self.error: AMQPError | None = None
        self.local_request = True
        self.remote_attach: Attach | None = None
        self.context: Any = None
        self.refusing = False
        """Whether the peer attached without its terminus: a detach with the reason is to follow."""
        self.closing = False
        """Whether either side ends the link for good: nothing more can be said about its deliveries then."""

    # -- attach and detach -----------------------------------------------------------------------------------------

    @property
    def attached(self) -> bool:
        """Whether both attaches have been exchanged and neither detach."""
        return self.state is _ATTACHED

    @property
    def requested(self) -> bool:
        """Whether the peer's attach waits for :meth:`accept` or :meth:`refuse`."""
        return self.state is LinkState.ATTACH_RCVD

    @property
    def detached(self) -> bool:
        """Whether the link is over, or has not begun."""
        return self.state is LinkState.DETACHED

    def _advance(self, trigger: Trigger) -> None:
        state = LINK_TRANSITIONS.get((self.state, trigger))
        if state is None:
            raise ProtocolError(
                f"link {self.name!r}: {trigger.name} is not possible in state {self.state.name}",
                condition="amqp:illegal-state",
            )
        self.state = state

    def send_attach(
        self,
        *,
        properties: Mapping[Symbol, Any] | None = None,
        offered_capabilities: Sequence[str] = (),
        desired_capabilities: Sequence[str] = (),
    ) -> None:
        """Queue this side's attach."""
        attach = Attach(
            name=self.name,
            handle=self.handle,
            role=self.is_receiver,
            snd_settle_mode=self.snd_settle_mode,
            rcv_settle_mode=self.rcv_settle_mode,
            source=self.source,
            target=self.target,
            initial_delivery_count=None if self.is_receiver else self.delivery_count,
            max_message_size=self.max_message_size or None,
            offered_capabilities=tuple(Symbol(name) for name in offered_capabilities),
            desired_capabilities=tuple(Symbol(name) for name in desired_capabilities),
            properties=dict(properties) if properties else None,
        )
        self.session.send(attach)
        self._advance(Trigger.S_ATTACH)

    def on_attach(self, attach: Attach) -> bool:
        """Take the peer's attach. Returns whether the link is usable; False when the peer is about to refuse it."""
        self._advance(Trigger.R_ATTACH)
        self.remote_attach = attach
        self.remote_handle = int(attach.handle)
        self.remote_max_message_size = self.send_limit = int(attach.max_message_size or 0)
        if self.local_request and self.max_message_size > 0:
            # What was stated here binds this side too.
            self.send_limit = min(self.send_limit or self.max_message_size, self.max_message_size)
        if self.is_receiver and attach.initial_delivery_count is not None:
            self.delivery_count = int(attach.initial_delivery_count)
        if not self.local_request:
            return True
        # The sender decides about the source, the receiver about the target (transport, "establishing or resuming a
        # link").
        if self.is_receiver:
            self.refusing = attach.source is None and self.source is not None
            if attach.source is not None:
                self.source = attach.source
        else:
            self.refusing = attach.target is None and self.target is not None
            if attach.target is not None:
                self.target = attach.target
        self.snd_settle_mode = SenderSettleMode(attach.snd_settle_mode)
        self.rcv_settle_mode = ReceiverSettleMode(attach.rcv_settle_mode)
        return not self.refusing

    def accept(
        self,
        *,
        source: Source | None = None,
        target: Target | Coordinator | None = None,
        snd_settle_mode: SenderSettleMode | None = None,
        rcv_settle_mode: ReceiverSettleMode | None = None,
        max_message_size: int = 0,
        properties: Mapping[Symbol, Any] | None = None,
        offered_capabilities: Sequence[str] = (),
    ) -> None:
        """Answer the attach that the peer started. Does nothing when the link has gone meanwhile.

        Args:
            source: the source actually in place; by default what the peer asked for.
            target: the target actually in place; by default what the peer asked for.
            snd_settle_mode: by default what the peer asked for.
            rcv_settle_mode: by default what the peer asked for.
            max_message_size: the largest message accepted, in octets; 0 for no limit.
            properties: link properties to state.
            offered_capabilities: capabilities to offer.
        """
        if self._gone:
            return
        if source is not None:
            self.source = source
        if target is not None:
            self.target = target
        if snd_settle_mode is not None:
            self.snd_settle_mode = snd_settle_mode
        if rcv_settle_mode is not None:
            self.rcv_settle_mode = rcv_settle_mode
        self.max_message_size = max_message_size
        self.send_attach(properties=properties, offered_capabilities=offered_capabilities)

    def refuse(self, error: AMQPError) -> None:
        """Refuse the attach that the peer started: an attach without a terminus, then a detach with the error.

        Does nothing when the link has gone meanwhile.
        """
        if self._gone:
            return
        self._attach_nothing()
        self.detach(error=error)

    @property
    def _gone(self) -> bool:
        return self.state in (LinkState.DETACHED, LinkState.DETACH_SENT)

    def _attach_nothing(self) -> None:
        """Answer the peer's attach without a terminus, so that a detach can follow."""
        self.session.answer_begin()
        # The peer's own terminus is not repeated either: it may be larger than the frames that the peer accepts.
        self.source = self.target = None
        self.send_attach()

    def detach(self, *, closed: bool = True, error: AMQPError | None = None) -> None:
        """Queue a detach. Does nothing when one has been sent already.

        Args:
            closed: whether the link endpoint is destroyed too (transport, "closing a link").
            error: why, when it is not an orderly end.
        """
        if self.state in (LinkState.DETACHED, LinkState.DETACH_SENT, LinkState.DETACH_PIPE):
            return
        if self.requested:
            self._attach_nothing()
        if self.session.can_send:
            self.session.flush_dispositions()
            self.session.send(Detach(handle=self.handle, closed=closed, error=wire_error(error)))
        self._advance(Trigger.S_DETACH)
        self.credit = 0
        self.closing = self.closing or closed or error is not None
        self._stop()
        if self.detached:
            self.session.release_link(self)

    def on_detach(self, detach: Detach) -> LinkDetached:
        """Take the peer's detach, answer it, and say what it means."""
        if self.requested:
            # A peer need not wait for the answer to its attach before it detaches.
            self._attach_nothing()
        ours = self.state is LinkState.DETACH_SENT
        self.closing = self.closing or bool(detach.closed) or detach.error is not None
        refused = self.refusing and not ours
        error: AMQPError | None = remote_error(
            detach.error, "the peer refused the link" if refused else "the peer detached the link"
        )
        if refused and error is None:
            error = ProtocolError("the peer refused the link and gave no reason", condition="amqp:not-found")
        if self.error is None:
            self.error = error
        self._advance(Trigger.R_DETACH)
        self.credit = 0
        if ours:
            self.session.release_link(self)
        else:
            self.detach(closed=bool(detach.closed))
        return LinkDetached(self, error, by_peer=not ours, closed=bool(detach.closed), refused=refused)

    def _stop(self) -> None:
        """Called when no more may be sent on the link."""

    def on_flow(self, flow: Flow) -> None:
        """Take flow state that the peer sent for this link."""
        raise NotImplementedError

    def send_flow(self, *, echo: bool = False) -> None:
        """Tell the peer this link's flow state, and the session's with it."""
        self.session.send_flow(self, echo=echo)

    def __repr__(self) -> str:
        kind = "ReceiverLink" if self.is_receiver else "SenderLink"
        return f"<{kind} {self.name!r} {self.state.name} credit={self.credit}>"


class SenderLink(LinkEndpoint):
    """The sending end of a link."""

    __slots__ = ("_drain_pending", "_head", "_head_size", "_pack", "_pack_settled", "_settled_head", "held", "pending")

    is_receiver = False

    def __init__(self, session: Session, name: str, handle: int, **kwargs: Any) -> None:
        super().__init__(session, name, handle, **kwargs)
        self.pending: deque[OutgoingDelivery] = deque()
        """Deliveries that took credit but wait for the session window, in order."""
        self.held = 0
        """How many of them, from the end, lost their credit again: the receiver reduced it while they waited."""
        self._drain_pending = False
        self._make_template()

    def _make_template(self) -> None:
        """Precompute the frame of a one-frame transfer: all but size and delivery id is the same for every message.

        The performative is a list8 of handle, delivery-id (uint), delivery-tag (the four octets of the delivery id),
        message-format 0 and, for settled ones, settled=true (transport, "transfer").
        """
        handle = self.handle
        if handle == 0:
            handle_code = b"\x43"
        elif handle < 256:
            handle_code = bytes((0x52, handle))
        else:
            handle_code = b"\x70" + struct.pack(">I", handle)
        fixed = struct.pack(">BBH", 2, 0, self.session.channel) + b"\x00\x53\x14\xc0"
        fields = len(handle_code) + 5 + 6 + 1
        head = fixed + bytes((fields + 1, 4)) + handle_code + b"\x70"
        settled_head = fixed + bytes((fields + 2, 5)) + handle_code + b"\x70"
        self._head = head
        self._settled_head = settled_head
        self._pack = struct.Struct(f">I{len(head)}sI2sI1s").pack
        self._pack_settled = struct.Struct(f">I{len(head)}sI2sI2s").pack
        self._head_size = 4 + len(head) + 4 + 2 + 4 + 1

    def send(
        self, payload: bytes, body: bytes = b"", *, settled: bool = False, message_format: int = 0, context: Any = None
    ) -> OutgoingDelivery:
        """Send one message (transport, "transferring a message").

        What the session window does not let out now is kept and goes out as soon as it does.

        Args:
            payload: the encoded message, or its first part.
            body: the rest of it: the two parts of a large message need not be joined.
            settled: True to forget it at once (at most once delivery).
            message_format: the message format code; 0 is the format of part 3, messaging.
            context: kept on the delivery.

        Raises:
            ProtocolError: the link is not attached, has no credit, or the settle mode forbids ``settled``; or the
                message is larger than either side's max-message-size. Nothing is sent in these cases.
        """
        session = self.session
        if self.credit <= 0 or self.state is not _ATTACHED:
            self._refuse_send()
        size = len(payload) + len(body)
        if size > self.send_limit > 0:
            self._refuse_size(size)
        self.credit -= 1
        self.delivery_count = (self.delivery_count + 1) & _MASK
        connection = session.connection
        frame_size = self._head_size + size
        if (
            session.remote_incoming_window > 0
            and frame_size < connection.remote_max_frame_size
            and not session.backlog
            and message_format == 0
            and connection.trace is None
        ):
            delivery_id = session.next_delivery_id
            session.next_delivery_id = (delivery_id + 1) & _MASK
            session.remote_incoming_window -= 1
            session.next_outgoing_id = (session.next_outgoing_id + 1) & _MASK
            delivery = OutgoingDelivery(self, delivery_id, payload, body, size, size, settled, context)
            if settled:
                head = self._pack_settled(
                    frame_size + 1, self._settled_head, delivery_id, b"\xa0\x04", delivery_id, b"\x43\x41"
                )
            else:
                session.outgoing_unsettled[delivery_id] = delivery
                head = self._pack(frame_size, self._head, delivery_id, b"\xa0\x04", delivery_id, b"\x43")
            output = connection.output
            if size < _SMALL:
                # One buffer is less work for everybody further down than two.
                output.append(head + payload + body if body else head + payload)
                return delivery
            output.append(head)
            output.append(payload)
            if body:
                output.append(body)
            return delivery
        # The delivery id is given when the first frame goes out: ids must appear on the wire in sequence.
        delivery = OutgoingDelivery(self, -1, payload, body, size, 0, settled, context)
        delivery.message_format = message_format
        if not self.pending:
            session.backlog.append(self)
        self.pending.append(delivery)
        session.pump_backlog()
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
            needs :meth:`send`, which also has the words for what is wrong.
        """
        session = self.session
        connection = session.connection
        if self.state is not _ATTACHED or session.backlog or connection.trace is not None:
            return []
        room = min(self.credit, session.remote_incoming_window)
        head_size = self._head_size
        largest = min(connection.remote_max_frame_size - head_size - 1, _SMALL)
        if self.send_limit > 0:
            largest = min(largest, self.send_limit)
        delivery_id = session.next_delivery_id
        unsettled = session.outgoing_unsettled
        append = connection.output.append
        pack, head = self._pack, self._head
        deliveries: list[OutgoingDelivery] = []
        for payload, context in zip(payloads, contexts, strict=True):
            size = len(payload)
            if room <= 0 or size > largest:
                break
            room -= 1
            delivery = OutgoingDelivery(self, delivery_id, payload, b"", size, size, settled, context)
            deliveries.append(delivery)
            if settled:
                frame_head = self._pack_settled(
                    head_size + size + 1, self._settled_head, delivery_id, b"\xa0\x04", delivery_id, b"\x43\x41"
                )
                append(frame_head + payload)
            else:
                unsettled[delivery_id] = delivery
                append(pack(head_size + size, head, delivery_id, b"\xa0\x04", delivery_id, b"\x43") + payload)
            delivery_id = (delivery_id + 1) & _MASK
        sent = len(deliveries)
        self.credit -= sent
        self.delivery_count = (self.delivery_count + sent) & _MASK
        session.next_delivery_id = delivery_id
        session.remote_incoming_window -= sent
        session.next_outgoing_id = (session.next_outgoing_id + sent) & _MASK
        return deliveries

    def _refuse_send(self) -> None:
        if self.state is not LinkState.ATTACHED:
            raise ProtocolError(f"link {self.name!r} is not attached", condition="amqp:illegal-state")
        raise ProtocolError(
            f"link {self.name!r} has no credit: the receiver has not asked for more messages",
            condition="amqp:link:transfer-limit-exceeded",
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

    def _stop(self) -> None:
        # What still waits for the session window stays unsent: on a handle that is gone it would be a fault.
        if self in self.session.backlog:
            self.session.backlog.remove(self)
        self.pending.clear()
        self.held = 0
        self._drain_pending = False

    def _refuse_size(self, size: int) -> NoReturn:
        limit = self.send_limit
        whose = "the peer accepts" if limit == self.remote_max_message_size else "this side has set"
        raise ProtocolError(
            f"the message has {size} octets; {whose} at most {limit} on this link",
            condition="amqp:link:message-size-exceeded",
        )

    def send_frames(self, limit: int) -> bool:
        """Frame up to ``limit`` transfers of the first pending delivery. Returns whether it is wholly framed now."""
        delivery = self.pending[0]
        session = self.session
        if delivery.aborted:
            transfer = Transfer(handle=self.handle, aborted=True)
            session.send_transfer(transfer, transfer.encode(), b"")
            self.pending.popleft()
            return True
        if delivery.delivery_id < 0:
            delivery.delivery_id = session.next_delivery_id
            session.next_delivery_id = (delivery.delivery_id + 1) & _MASK
            if not delivery.settled:
                session.outgoing_unsettled[delivery.delivery_id] = delivery
        view = memoryview(delivery.payload)
        total = len(view)
        budget = session.connection.remote_max_frame_size - 8
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
            head = transfer.encode()
            room = budget - len(head)
            more = total - start > room
            if not more:
                transfer.more = False
                head = transfer.encode()
                room = total - start
            part = view[start : start + room]
            session.send_transfer(transfer, head, part)
            delivery.sent = start + len(part)
            limit -= 1
            if not more:
                self.pending.popleft()
                return True
        return False

    def abort(self, delivery: OutgoingDelivery) -> None:
        """Give up a pending delivery (transport, "transferring large messages"). See ``OutgoingDelivery.abort``."""
        delivery.aborted = True
        delivery.settled = True
        session = self.session
        if delivery not in self.pending:
            return  # the link went, and the delivery with it
        if delivery.delivery_id >= 0:
            # An abort is a transfer too: it waits for the session window like any other.
            session.outgoing_unsettled.pop(delivery.delivery_id, None)
            session.pump_backlog()
            return
        # Not one octet went out: as far as the receiver can tell the credit was never used.
        self.pending.remove(delivery)
        if self.held:
            self.held -= 1
        else:
            self.credit += 1
        self.delivery_count = (self.delivery_count - 1) & _MASK
        if not self.pending:
            if self in session.backlog:
                session.backlog.remove(self)
            self.pending_done()

    def on_flow(self, flow: Flow) -> None:
        """Recompute the credit from the receiver's view (transport, "flow control")."""
        count = flow.delivery_count
        base = int(count) if count is not None else self._initial_delivery_count()
        # Not by way of the delivery limit: a credit of 2**31 or more would count as a limit that lies behind.
        credit = int(flow.link_credit or 0) - serial_difference(self.delivery_count, base)
        self.credit = max(0, credit)
        self.drain = bool(flow.drain)
        if self.pending:
            # What waits for the window has counted as sent. With the credit taken back it may not be sent any more.
            self.held = min(self.waiting, max(0, -credit))
            backlog = self.session.backlog
            if self.held_back:
                if self in backlog:
                    backlog.remove(self)
            elif self not in backlog:
                backlog.append(self)

    def _initial_delivery_count(self) -> int:
        return self.session.initial_delivery_count

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
        self.delivery_count = (self.delivery_count + self.credit) & _MASK
        self.credit = 0
        self.send_flow()

    def pending_done(self) -> None:
        """The session calls this when the last pending delivery has been framed."""
        if self._drain_pending:
            self.drained()


class ReceiverLink(LinkEndpoint):
    """The receiving end of a link."""

    __slots__ = ("_excess", "partial", "shape", "skipped")

    is_receiver = True

    def __init__(self, session: Session, name: str, handle: int, **kwargs: Any) -> None:
        super().__init__(session, name, handle, **kwargs)
        self.partial: IncomingDelivery | None = None
        """The delivery of which more is to come."""
        self.shape = NO_SHAPE
        """The shape of the last transfer that had one; ``Session.receive_transfer`` compares the next one with it."""
        self.skipped: IncomingDelivery | None = None
        """A resumed delivery that is passed over (transport, "resuming deliveries")."""
        self._excess = 0
        """How many deliveries beyond the credit may arrive: the sender may not know yet that the credit was reduced."""

    def flow(self, credit: int, *, drain: bool = False, echo: bool = False) -> None:
        """Set the link's credit and tell the sender (transport, "flow control").

        Args:
            credit: how many more deliveries the sender may start, from 0 to 2**32 - 1.
            drain: ask the sender to send what it has and give the rest back.
            echo: ask for the sender's state in return.
        """
        if not 0 <= credit <= _MASK:
            raise ProtocolError(f"link credit must be between 0 and {_MASK}, not {credit}")
        # Messages sent before the sender learns of a reduced credit are still legal.
        self._excess = max(0, self._excess + self.credit - credit)
        self.credit = credit
        self.drain = drain
        self.send_flow(echo=echo)

    def take_delivery(self) -> None:
        """Count one more delivery that the sender started.

        Raises:
            LinkFault: it had no credit left for it.
        """
        if self.credit > 0:
            self.credit -= 1
        elif self._excess > 0:
            self._excess -= 1
        else:
            raise LinkFault(
                self,
                "amqp:link:transfer-limit-exceeded",
                f"the peer sent a message on link {self.name!r} without credit",
            )
        self.delivery_count = (self.delivery_count + 1) & _MASK
        if self.available > 0:
            self.available -= 1

    def on_flow(self, flow: Flow) -> None:
        """Take the sender's view: it alone decides about delivery-count and available."""
        if flow.delivery_count is not None:
            advanced = (int(flow.delivery_count) - self.delivery_count) & _MASK
            # A count that went back would be credit that nobody gave: it is not believed. (With credit of 2**31 or more
            # a drain may move the count further than serial numbers can be compared.)
            if advanced < _SIGN or advanced <= self.credit:
                self.delivery_count = int(flow.delivery_count)
                self._excess = max(0, self._excess - max(0, advanced - self.credit))
                self.credit = max(0, self.credit - advanced)
        if flow.available is not None:
            self.available = int(flow.available)
        if self.drain and self.credit == 0:
            self.drain = False

    def check_size(self, delivery: IncomingDelivery, extra: int) -> None:
        """Refuse a message that grows beyond what this side said it accepts."""
        if 0 < self.max_message_size < delivery.size + extra:
            raise LinkFault(
                self,
                "amqp:link:message-size-exceeded",
                f"a message on link {self.name!r} is larger than the {self.max_message_size} octets accepted",
            )

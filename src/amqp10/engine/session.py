"""Sessions: channels, windows, handles, and the way of every frame between a connection and its links.

Transport, "sessions". What arrives about deliveries (flow, transfers, dispositions) is taken in ``incoming.py``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final

from amqp10.codec import Symbol
from amqp10.engine.events import (
    Event,
    Events,
    LinkAttached,
    LinkDetached,
    LinkRequested,
    SessionBegun,
    SessionEnded,
    SessionRequested,
)
from amqp10.engine.faults import ConnectionFault, LinkFault, SessionFault, remote_error, wire_error
from amqp10.engine.receiver import ReceiverLink
from amqp10.engine.sender import SenderLink
from amqp10.engine.states import SESSION_TRANSITIONS, LinkState, SessionState, Trigger
from amqp10.errors import AMQPError, LimitError, ProtocolError
from amqp10.wire.messaging import Modified, Rejected
from amqp10.wire.performatives import (
    Attach,
    Begin,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    ReceiverSettleMode,
    SenderSettleMode,
)

if TYPE_CHECKING:
    from amqp10.engine.connection import Connection
    from amqp10.engine.delivery import IncomingDelivery, OutgoingDelivery
    from amqp10.engine.link import LinkEndpoint
    from amqp10.wire.messaging import Coordinator, DeliveryState, Source, Target
    from amqp10.wire.performatives import Transfer

__all__ = ["Session"]

_MASK = 0xFFFFFFFF
_ATTACH_SIZE = 64
"""Octets of an attach frame that refuses a link, without the name, at most."""
_MOST_VISITS = 1_000_000
_VISITS_PER_TRANSFER = 16
_DISPOSITION_SIZE = 64
"""Octets of a disposition frame without its state, at most."""

# Looking up a member of an enumeration costs five times as much as looking up a name: these are looked at per frame.
_SENDING: Final = (SessionState.MAPPED, SessionState.BEGIN_SENT, SessionState.END_RCVD)


class Session:
    """One session of a connection.

    Attributes:
        connection: the connection it belongs to.
        channel: the channel number this side sends on.
        remote_channel: the channel number the peer sends on; None while its begin has not arrived.
        state: transport, "session states".
        links: every link of the session by (name, is_receiver).
        remote_handles: the links that the peer has attached, by the handle that it uses.
        incoming_left: how many transfer frames the peer may still send before it hears from this side again.
        incoming_unsettled: deliveries received here and not settled, by delivery id.
        outgoing_unsettled: deliveries sent here and not settled, by delivery id, in the order sent.
        remote_incoming_window: how many transfer frames the peer can take now.
        next_outgoing_id, next_incoming_id: transfer ids (32-bit serial numbers).
        context: whatever the user of the engine wants to find again.
    """

    __slots__ = (
        "_disposition",
        "_free_handles",
        "_next_handle",
        "_unsent",
        "_visits",
        "_visits_from",
        "backlog",
        "channel",
        "connection",
        "context",
        "error",
        "handle_max",
        "incoming_left",
        "incoming_unsettled",
        "incoming_window",
        "initial_delivery_count",
        "initial_outgoing_id",
        "links",
        "local_request",
        "next_delivery_id",
        "next_incoming_id",
        "next_outgoing_id",
        "outgoing_unsettled",
        "outgoing_window",
        "remote_begin",
        "remote_channel",
        "remote_handle_max",
        "remote_handles",
        "remote_incoming_window",
        "remote_outgoing_window",
        "state",
    )

    def __init__(
        self,
        connection: Connection,
        channel: int,
        *,
        incoming_window: int,
        outgoing_window: int,
        handle_max: int,
        initial_outgoing_id: int,
        initial_delivery_count: int,
    ) -> None:
        self.connection = connection
        self.channel = channel
        self.remote_channel: int | None = None
        self.state = SessionState.UNMAPPED
        self.incoming_window = incoming_window
        self.outgoing_window = outgoing_window
        self.handle_max = handle_max
        self.remote_handle_max = _MASK
        self.initial_outgoing_id = initial_outgoing_id
        self.initial_delivery_count = initial_delivery_count
        self.next_outgoing_id = initial_outgoing_id
        self.next_delivery_id = initial_outgoing_id
        self.next_incoming_id: int | None = None
        self.remote_incoming_window = 0
        self.remote_outgoing_window = 0
        self.remote_begin: Begin | None = None
        self.local_request = True
        self.links: dict[tuple[str, bool], LinkEndpoint] = {}
        self.incoming_unsettled: dict[int, IncomingDelivery] = {}
        self.outgoing_unsettled: dict[int, OutgoingDelivery] = {}
        self.backlog: deque[SenderLink] = deque()
        """Sender links with deliveries that wait for the window; served in turn, a frame each."""
        self.error: AMQPError | None = None
        self.context: Any = None
        self.incoming_left = incoming_window
        self.remote_handles: dict[int, LinkEndpoint] = {}
        self._next_handle = 0
        self._visits = 0
        self._visits_from = initial_outgoing_id
        self._free_handles: list[int] = []
        self._unsent: tuple[OutgoingDelivery, ...] = ()
        """What its links had not sent when it ended."""
        self._disposition: tuple[bool, int, int, DeliveryState | None, bool] | None = None

    # -- life cycle ------------------------------------------------------------------------------------------------

    @property
    def mapped(self) -> bool:
        """Whether both begins have been exchanged and neither end."""
        return self.state is SessionState.MAPPED

    @property
    def unmapped(self) -> bool:
        """Whether the session is over, or has not begun."""
        return self.state is SessionState.UNMAPPED

    @property
    def can_send(self) -> bool:
        """Whether frames may be sent on this session now (transport, "session states")."""
        return self.connection.can_send and self.state in _SENDING

    def _advance(self, trigger: Trigger) -> None:
        state = SESSION_TRANSITIONS.get((self.state, trigger))
        if state is None:
            raise ProtocolError(
                f"session on channel {self.channel}: {trigger.name} is not possible in state {self.state.name}",
                condition="amqp:illegal-state",
            )
        self.state = state

    def send_begin(self) -> None:
        """Queue this side's begin."""
        self.connection.send(
            self.channel,
            Begin(
                remote_channel=self.remote_channel,
                next_outgoing_id=self.next_outgoing_id,
                incoming_window=self.incoming_window,
                outgoing_window=self.outgoing_window,
                handle_max=self.handle_max,
            ),
        )
        self._advance(Trigger.S_BEGIN)

    def accept(self, *, incoming_window: int | None = None) -> None:
        """Answer the begin that the peer started. Does nothing when it has been answered, or has gone meanwhile.

        Args:
            incoming_window: how many transfer frames the peer may send before it hears from this side again; by
                default 2048.
        """
        if incoming_window is not None and self.state is SessionState.BEGIN_RCVD:
            self.incoming_window = self.incoming_left = incoming_window
        self.answer_begin()

    def answer_begin(self) -> None:
        """Answer the peer's begin if that is still to be done: a peer need not wait for it before it goes on."""
        if self.state is SessionState.BEGIN_RCVD:
            self.send_begin()

    def on_begin(self, begin: Begin, remote_channel: int) -> Event:
        """Take the peer's begin."""
        self._advance(Trigger.R_BEGIN)
        self.remote_channel = remote_channel
        self.remote_begin = begin
        self.next_incoming_id = int(begin.next_outgoing_id)
        self.remote_incoming_window = int(begin.incoming_window)
        self.remote_outgoing_window = int(begin.outgoing_window)
        self.remote_handle_max = int(begin.handle_max)
        return SessionBegun(self) if self.local_request else SessionRequested(self)

    def end(self, error: AMQPError | None = None) -> None:
        """Queue an end. Does nothing when one has been sent; a session that the peer began is answered first."""
        self.answer_begin()
        if self.state not in (SessionState.MAPPED, SessionState.END_RCVD):
            if self.state is SessionState.BEGIN_SENT:
                raise ProtocolError("a session cannot be ended before the peer's begin has arrived")
            return
        if self.connection.can_send:
            self.flush_dispositions()
            self.connection.send(self.channel, End(error=wire_error(error)))
        self._advance(Trigger.S_END if error is None else Trigger.S_END_ERROR)
        if self.error is None:
            self.error = error
        self._forget_links()
        if self.unmapped:
            self.connection.release_session(self)

    def on_end(self, end: End) -> SessionEnded:
        """Take the peer's end, answer it, and say what it means."""
        self.answer_begin()
        undelivered = self.undelivered()
        ours = self.state in (SessionState.END_SENT, SessionState.DISCARDING)
        error = remote_error(end.error, "the peer ended the session")
        if self.error is None:
            self.error = error
        self._advance(Trigger.R_END)
        if ours:
            self.connection.release_session(self)
        else:
            self.end()
        return SessionEnded(self, error, not ours, undelivered)

    def drop(self, error: AMQPError | None) -> None:
        """The connection is over, and the session with it: nothing may be sent any more."""
        if self.error is None:
            self.error = error
        self.state = SessionState.UNMAPPED
        self._forget_links()

    def _forget_links(self) -> None:
        for link in self.links.values():
            link.stop()
            if isinstance(link, SenderLink):
                self._unsent += link.unsent
            link.state = LinkState.DETACHED
            link.credit = 0
            if link.error is None:
                link.error = self.error
        self.links.clear()
        self.remote_handles.clear()
        self.backlog.clear()

    def undelivered(self, only: LinkEndpoint | None = None) -> tuple[OutgoingDelivery, ...]:
        """The outgoing deliveries without an outcome, of one link or of all: those that were written first, then those
        that wait for the window."""
        written = [delivery for delivery in self.outgoing_unsettled.values() if only is None or delivery.link is only]
        links = self.links.values() if only is None else (only,)
        waiting = [delivery for link in links if isinstance(link, SenderLink) for delivery in link.unsent]
        return (*written, *self._unsent, *waiting)

    # -- links -----------------------------------------------------------------------------------------------------

    def attach_sender(
        self,
        name: str,
        *,
        source: Source | None,
        target: Target | Coordinator | None,
        snd_settle_mode: SenderSettleMode = SenderSettleMode.MIXED,
        rcv_settle_mode: ReceiverSettleMode = ReceiverSettleMode.FIRST,
        max_message_size: int = 0,
        properties: Mapping[Symbol, Any] | None = None,
        desired_capabilities: tuple[str, ...] = (),
    ) -> SenderLink:
        """Attach a link on which messages are sent from here (transport, "establishing or resuming a link").

        Args:
            name: unique among the sender links between the two containers.
            source, target: the termini asked for.
            snd_settle_mode: how this side will settle.
            rcv_settle_mode: how the peer is asked to settle.
            max_message_size: stated to the peer, in octets; 0 for no limit.
            properties: link properties.
            desired_capabilities: capabilities asked for.

        Raises:
            ProtocolError: the name is in use, or the attach does not fit a frame that the peer accepts.
            LimitError: no handle is left.
            EncodeError: a field has no encoding.
        """
        link = SenderLink(
            self,
            self._free_name(name, receiver=False),
            self._take_handle(),
            source=source,
            target=target,
            snd_settle_mode=snd_settle_mode,
            rcv_settle_mode=rcv_settle_mode,
            max_message_size=max_message_size,
        )
        link.delivery_count = self.initial_delivery_count
        self._add_link(link, properties, desired_capabilities)
        return link

    def attach_receiver(
        self,
        name: str,
        *,
        source: Source | None,
        target: Target | None,
        snd_settle_mode: SenderSettleMode = SenderSettleMode.MIXED,
        rcv_settle_mode: ReceiverSettleMode = ReceiverSettleMode.FIRST,
        max_message_size: int = 0,
        properties: Mapping[Symbol, Any] | None = None,
        desired_capabilities: tuple[str, ...] = (),
    ) -> ReceiverLink:
        """Attach a link on which messages are received here. Arguments and errors as for :meth:`attach_sender`.

        ``max_message_size`` is enforced: a larger message ends the link with *message-size-exceeded*.
        """
        link = ReceiverLink(
            self,
            self._free_name(name, receiver=True),
            self._take_handle(),
            source=source,
            target=target,
            snd_settle_mode=snd_settle_mode,
            rcv_settle_mode=rcv_settle_mode,
            max_message_size=max_message_size,
        )
        self._add_link(link, properties, desired_capabilities)
        return link

    def _add_link(
        self, link: LinkEndpoint, properties: Mapping[Symbol, Any] | None, desired_capabilities: tuple[str, ...]
    ) -> None:
        self.links[link.name, link.is_receiver] = link
        try:
            link.send_attach(properties=properties, desired_capabilities=desired_capabilities)
        except AMQPError:
            # It does not fit the peer's frames, or has no encoding: name and handle are free again.
            self.release_link(link)
            raise

    def _free_name(self, name: str, *, receiver: bool) -> str:
        if (name, receiver) in self.links:
            raise ProtocolError(f"a link named {name!r} exists already on this session")
        return name

    def _take_handle(self) -> int:
        # A peer may attach right behind its begin, before that has been answered (transport, "pipelined open").
        if not self.can_send and self.state is not SessionState.BEGIN_RCVD:
            raise ProtocolError("the session cannot carry links now", condition="amqp:illegal-state")
        if self._free_handles:
            return heappop(self._free_handles)
        handle = self._next_handle
        if handle > self.handle_max or handle > self.remote_handle_max:
            limit = min(self.handle_max, self.remote_handle_max) + 1
            raise LimitError(f"the session carries {limit} links already, which is its limit")
        self._next_handle = handle + 1
        return handle

    def release_link(self, link: LinkEndpoint) -> None:
        """Forget a link whose detaches have both been exchanged; its handles are free again."""
        if self.links.get((link.name, link.is_receiver)) is link:
            del self.links[link.name, link.is_receiver]
        if link.remote_handle is not None and self.remote_handles.get(link.remote_handle) is link:
            del self.remote_handles[link.remote_handle]
        heappush(self._free_handles, link.handle)
        if link.closing:
            self._forget_deliveries(link)

    def _forget_deliveries(self, link: LinkEndpoint) -> None:
        """The link is closed: its deliveries are not to be settled any more (transport, "disposition")."""
        unsettled: dict[int, Any] = self.incoming_unsettled if link.is_receiver else self.outgoing_unsettled
        for delivery in [delivery for delivery in unsettled.values() if delivery.link is link]:
            del unsettled[delivery.delivery_id]

    def on_attach(self, attach: Attach, events: Events) -> None:
        """Take an attach: the answer to one of ours, or a link that the peer wants."""
        handle = int(attach.handle)
        if handle > self.handle_max:
            raise ConnectionFault.broken_rule(
                "amqp:connection:framing-error",
                f"the peer attached a link with handle {handle}, beyond the agreed maximum of {self.handle_max}",
            )
        if handle in self.remote_handles:
            raise SessionFault(
                self, "amqp:session:handle-in-use", f"the peer attached a link with handle {handle}, which is in use"
            )
        if attach.snd_settle_mode > SenderSettleMode.MIXED or attach.rcv_settle_mode > ReceiverSettleMode.SECOND:
            raise SessionFault(
                self, "amqp:invalid-field", f"the peer's attach of link {attach.name!r} has an unknown settle mode"
            )
        receiver = not attach.role  # the peer's role is the opposite of ours
        link = self.links.get((attach.name, receiver))
        if link is not None and link.remote_attach is None:
            self.remote_handles[handle] = link
            if link.on_attach(attach) and link.attached:
                self._check_resumption(link, attach)
                events.append(LinkAttached(link))
            return
        if link is not None and link.errant:
            raise self.errant_link(link, "an attach")
        if link is not None:
            raise SessionFault(
                self, "amqp:not-allowed", f"the peer attached link {attach.name!r} a second time on the same session"
            )
        if attach.role is False and attach.initial_delivery_count is None:
            raise SessionFault(
                self, "amqp:invalid-field", f"the peer's attach of sender {attach.name!r} lacks initial-delivery-count"
            )
        if len(attach.name.encode()) + _ATTACH_SIZE > self.connection.remote_max_frame_size:
            raise SessionFault(
                self,
                "amqp:frame-size-too-small",
                f"the peer attached a link whose name of {len(attach.name)} characters does not fit the frames that it"
                " accepts",
            )
        kind = ReceiverLink if receiver else SenderLink
        link = kind(
            self,
            attach.name,
            self._take_handle(),
            source=attach.source,
            target=attach.target,
            snd_settle_mode=SenderSettleMode(attach.snd_settle_mode),
            rcv_settle_mode=ReceiverSettleMode(attach.rcv_settle_mode),
            max_message_size=0,
        )
        link.local_request = False
        if not receiver:
            link.delivery_count = self.initial_delivery_count
        self.links[link.name, receiver] = link
        self.remote_handles[handle] = link
        link.on_attach(attach)
        self._check_resumption(link, attach)
        events.append(LinkRequested(link, attach))

    @staticmethod
    def _check_resumption(link: LinkEndpoint, attach: Attach) -> None:
        # To such a peer only deliveries that are resumed may be sent, and none is resumed here.
        if attach.incomplete_unsettled and not link.is_receiver:
            raise LinkFault(
                link,
                "amqp:not-implemented",
                f"the peer wants to resume link {link.name!r} with more unsettled deliveries than it named",
            )

    def link_of(self, handle: int, what: str) -> LinkEndpoint:
        link = self.remote_handles.get(handle)
        if link is None:
            raise SessionFault(
                self,
                "amqp:session:unattached-handle",
                f"the peer sent a {what} for handle {handle}, which no link has",
            )
        if link.errant and what != "detach":
            raise self.errant_link(link, f"a {what}")
        return link

    def errant_link(self, link: LinkEndpoint, what: str) -> SessionFault:
        """The fault of a peer that goes on after it broke a rule on a link (transport, "link errors")."""
        return SessionFault(
            self,
            "amqp:session:errant-link",
            f"the peer sent {what} for link {link.name!r}, which has been detached with an error",
        )

    def on_detach(self, detach: Detach, events: Events) -> None:
        """Take a detach."""
        link = self.link_of(int(detach.handle), "detach")
        if isinstance(link, ReceiverLink):
            link.end_partial()
        del self.remote_handles[int(detach.handle)]
        events.append(link.on_detach(detach))

    def fail_link(self, fault: LinkFault, events: Events) -> None:
        """End a link on which the peer broke a rule (transport, "link errors")."""
        link = fault.link
        link.error = fault.error
        link.errant = True
        if isinstance(link, ReceiverLink):
            link.end_partial()
        undelivered = self.undelivered(link)
        link.detach(error=fault.error)
        events.append(LinkDetached(link, fault.error, by_peer=False, closed=True, undelivered=undelivered))

    # -- sending ---------------------------------------------------------------------------------------------------

    def send(self, performative: Attach | Detach | Flow | Disposition) -> None:
        """Queue a frame on this session's channel."""
        if not self.can_send:
            raise ProtocolError("the session has ended", condition="amqp:illegal-state")
        self.connection.send(self.channel, performative)

    def send_transfer(self, transfer: Transfer, head: bytes, payload: bytes | memoryview) -> None:
        """Queue one transfer frame; the caller has checked the window."""
        self.connection.send_encoded(self.channel, transfer, head, payload)
        self.remote_incoming_window -= 1
        self.next_outgoing_id = (self.next_outgoing_id + 1) & _MASK

    def pump_backlog(self) -> None:
        """Send what waits for the session window, as far as it is open: a frame of each waiting link in turn."""
        backlog = self.backlog
        while backlog and self.remote_incoming_window > 0 and self.can_send:
            link = backlog[0]
            # A lone link needs no turns; several take one frame each: a large message does not hold up the rest.
            link.send_frames(self.remote_incoming_window if len(backlog) == 1 else 1)
            if not link.pending or link.held_back:
                backlog.popleft()
                link.pending_done()
            elif len(backlog) > 1:
                backlog.rotate(-1)

    def send_flow(self, link: LinkEndpoint | None = None, *, echo: bool = False) -> None:
        """Tell the peer the session's flow state, and a link's with it (transport, "session flow control")."""
        self.incoming_left = self.incoming_window
        flow = Flow(
            next_incoming_id=self.next_incoming_id,
            incoming_window=self.incoming_window,
            next_outgoing_id=self.next_outgoing_id,
            outgoing_window=self.outgoing_window,
            echo=echo,
        )
        if link is not None:
            flow.handle = link.handle
            flow.link_credit = link.credit
            flow.drain = link.drain
            if isinstance(link, SenderLink):
                # The receiver counts what it has seen. What waits for the window here has not been sent yet.
                waiting = link.waiting
                flow.available = link.available
                flow.link_credit = link.credit + waiting - link.held
                flow.delivery_count = (link.delivery_count - waiting) & _MASK
            elif link.remote_handle is not None:
                flow.delivery_count = link.delivery_count
        self.send(flow)

    def answer_flow(self) -> None:
        """Send the flow state that the peer has asked for, if the session is still there."""
        if self.mapped and self.can_send:
            self.send_flow()

    def queue_disposition(self, receiver: bool, delivery_id: int, state: DeliveryState | None, settled: bool) -> None:
        """Report a state for a delivery. Neighbours that share one travel in a range (transport, "disposition")."""
        pending = self._disposition
        if (
            pending is not None
            and pending[2] == ((delivery_id - 1) & _MASK)
            and pending[3] is state
            and pending[0] is receiver
            and pending[4] is settled
        ):
            self._disposition = (receiver, pending[1], delivery_id, state, settled)
            return
        if isinstance(state, (Modified, Rejected)) and (problem := self._too_large_for_a_frame(state)) is not None:
            if receiver:
                raise problem
            state = None  # It was the receiver that said so: it needs no telling, only that the delivery is settled.
        if pending is not None:
            self.flush_dispositions()
        else:
            self.connection.mark_dirty(self)
        self._disposition = (receiver, delivery_id, delivery_id, state, settled)

    def _too_large_for_a_frame(self, state: Modified | Rejected) -> ProtocolError | None:
        """What is wrong with annotations, or the condition of an error, that do not fit a frame. (Its description is
        cut short when it does not.)"""
        what = "modified with its annotations"
        if isinstance(state, Rejected):
            if state.error is None:
                return None
            what = "rejected with its condition"
            state = Rejected(error=Error(condition=state.error.condition))
        size = len(state.encode()) + _DISPOSITION_SIZE
        if size <= self.connection.remote_max_frame_size:
            return None
        return ProtocolError(
            f"the outcome {what} makes a frame of {size} octets; the peer accepts"
            f" {self.connection.remote_max_frame_size}",
            condition="amqp:frame-size-too-small",
        )

    def flush_dispositions(self) -> None:
        """Queue the disposition that is being collected."""
        pending = self._disposition
        if pending is None:
            return
        self._disposition = None
        if self.can_send:
            receiver, first, last, state, settled = pending
            self.send(
                Disposition(
                    role=receiver, first=first, last=None if first == last else last, settled=settled, state=state
                )
            )

    def flush(self) -> None:
        """Called before bytes are handed out: dispositions, and the incoming window when half of it is used."""
        self.flush_dispositions()
        if self.incoming_left <= self.incoming_window >> 1 and self.mapped and self.can_send:
            self.send_flow()

    def charge(self, visits: int) -> None:
        """Count deliveries that a disposition named in vain.

        A peer may report states as often as it likes, one delivery at a time. A range that is sent over and over would
        cost the more the more is in flight.

        Raises:
            SessionFault: there have been a million more than the transfers since the last million can explain.
        """
        self._visits += visits
        if self._visits < _MOST_VISITS:
            return
        moved = self.next_outgoing_id + (self.next_incoming_id or 0)
        if ((moved - self._visits_from) & _MASK) * _VISITS_PER_TRANSFER < self._visits:
            raise SessionFault(
                self,
                "amqp:resource-limit-exceeded",
                "the peer keeps on sending dispositions of deliveries about which they say nothing new",
            )
        self._visits, self._visits_from = 0, moved & _MASK

    def __repr__(self) -> str:
        return f"<Session channel={self.channel} {self.state.name} links={len(self.links)}>"

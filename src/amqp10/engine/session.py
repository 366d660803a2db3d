"""Sessions: channels, windows, handles, and the way of every frame between a connection and its links.

Transport, "sessions". What arrives is taken in ``incoming.py``, about links in ``linking.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final, Protocol

from amqp10.codec import Symbol
from amqp10.conditions import ErrorCondition
from amqp10.engine.backlog import Backlog
from amqp10.engine.dispositions import Dispositions
from amqp10.engine.faults import SessionFault
from amqp10.engine.link import LinkTerms
from amqp10.engine.receiver import IncomingDelivery, ReceiverLink
from amqp10.engine.sender import OutgoingDelivery, SenderLink
from amqp10.engine.serial import MASK, serial_difference
from amqp10.engine.states import SESSION_TRANSITIONS, LinkState, SessionState, Trigger
from amqp10.engine.window import SessionWindow
from amqp10.engine.wire_errors import remote_error, wire_error
from amqp10.errors import AMQPError, LimitError, ProtocolError
from amqp10.wire.performatives import (
    Attach,
    Begin,
    Detach,
    Disposition,
    End,
    Flow,
    ReceiverSettleMode,
    SenderSettleMode,
)

if TYPE_CHECKING:
    from amqp10.engine.link import LinkEndpoint
    from amqp10.engine.output import Output
    from amqp10.wire.messaging import Coordinator, DeliveryState, Source, Target

__all__ = ["Session"]

_MOST_VISITS = 1_000_000
_VISITS_PER_TRANSFER = 16

# Looking up a member of an enumeration costs five times as much as looking up a name: these are looked at per frame.
_SENDING: Final = (SessionState.MAPPED, SessionState.BEGIN_SENT, SessionState.END_RCVD)


class SessionOwner(Protocol):
    """What a session needs of the connection that it belongs to."""

    output: Output
    partials: dict[IncomingDelivery, None]

    def release(self, session: Session) -> None:
        """The session is over: its channels are free again."""


class Session:
    """One session of a connection.

    Attributes:
        channels: what it belongs to: the sessions of the connection.
        channel: the channel number this side sends on.
        remote_channel: the channel number the peer sends on; None while its begin has not arrived.
        state: transport, "session states".
        links: every link of the session by (name, is_receiver).
        remote_handles: the links that the peer has attached, by the handle that it uses.
        incoming_unsettled: deliveries received here and not settled, by delivery id.
        outgoing_unsettled: deliveries sent here and not settled, by delivery id, in the order sent.
        output: where frames go.
        dispositions: the disposition that is being collected.
        window: the numbers of the session's flow control.
        context: whatever the user of the engine wants to find again.
    """

    __slots__ = (
        "_free_handles",
        "_next_handle",
        "_unsent",
        "_visits",
        "_visits_from",
        "backlog",
        "channel",
        "channels",
        "context",
        "dispositions",
        "error",
        "handle_max",
        "incoming_unsettled",
        "initial_delivery_count",
        "links",
        "local_request",
        "outgoing_unsettled",
        "output",
        "remote_begin",
        "remote_channel",
        "remote_handle_max",
        "remote_handles",
        "state",
        "window",
    )

    def __init__(
        self,
        channels: SessionOwner,
        channel: int,
        *,
        incoming_window: int,
        outgoing_window: int,
        handle_max: int,
        initial_outgoing_id: int,
        initial_delivery_count: int,
    ) -> None:
        self.channels: SessionOwner = channels
        self.output: Output = channels.output
        self.dispositions: Dispositions = Dispositions(self.output, channel, self)
        self.window: SessionWindow = SessionWindow(incoming_window, outgoing_window, initial_outgoing_id)
        self.channel: int = channel
        self.remote_channel: int | None = None
        self.state: SessionState = SessionState.UNMAPPED
        self.handle_max: int = handle_max
        self.remote_handle_max: int = MASK
        self.initial_delivery_count: int = initial_delivery_count
        self.remote_begin: Begin | None = None
        self.local_request: bool = True
        self.links: dict[tuple[str, bool], LinkEndpoint] = {}
        self.incoming_unsettled: dict[int, IncomingDelivery] = {}
        self.outgoing_unsettled: dict[int, OutgoingDelivery] = {}
        self.backlog: Backlog = Backlog(self.window)
        """Sender links with deliveries that wait for the window."""
        self.error: AMQPError | None = None
        self.context: Any = None
        self.remote_handles: dict[int, LinkEndpoint] = {}
        self._next_handle = 0
        self._visits = 0
        self._visits_from = initial_outgoing_id
        self._free_handles: list[int] = []
        self._unsent: tuple[OutgoingDelivery, ...] = ()
        """What its links had not sent when it ended."""

    @property
    def incoming_window(self) -> int:
        """How many transfer frames the peer may send before this side must answer."""
        return self.window.incoming

    @property
    def outgoing_window(self) -> int:
        """What is stated to the peer."""
        return self.window.outgoing

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
    def partials(self) -> dict[IncomingDelivery, None]:
        """The deliveries of which parts have arrived, on any session of the connection."""
        return self.channels.partials

    @property
    def can_send(self) -> bool:
        """Whether frames may be sent on this session now (transport, "session states")."""
        return self.output.open and self.state in _SENDING

    def _advance(self, trigger: Trigger) -> None:
        state = SESSION_TRANSITIONS.get((self.state, trigger))
        if state is None:
            raise ProtocolError(
                f"session on channel {self.channel}: {trigger.name} is not possible in state {self.state.name}",
                condition=ErrorCondition.ILLEGAL_STATE,
            )
        self.state = state

    def send_begin(self) -> None:
        """Queue this side's begin."""
        window = self.window
        self.output.send(
            self.channel,
            Begin(
                remote_channel=self.remote_channel,
                next_outgoing_id=window.next_outgoing_id,
                incoming_window=window.incoming,
                outgoing_window=window.outgoing,
                handle_max=self.handle_max,
            ),
        )
        self._advance(Trigger.S_BEGIN)

    def accept(self, *, incoming_window: int | None = None) -> None:
        """Answer the begin that the peer started. Does nothing when it has been answered, or has gone meanwhile.

        Args:
            incoming_window: how many transfer frames the peer may send before this side must answer; by
                default 2048.
        """
        if incoming_window is not None and self.state is SessionState.BEGIN_RCVD:
            self.window.incoming = self.window.left = incoming_window
        self.answer_begin()

    def answer_begin(self) -> None:
        """Answer the peer's begin if that is still to be done: a peer need not wait for it before it goes on."""
        if self.state is SessionState.BEGIN_RCVD:
            self.send_begin()

    def on_begin(self, begin: Begin, remote_channel: int) -> None:
        """Take the peer's begin."""
        self._advance(Trigger.R_BEGIN)
        self.remote_channel = remote_channel
        self.remote_begin = begin
        self.remote_handle_max = int(begin.handle_max)
        self.window.on_begin(begin)

    def end(self, error: AMQPError | None = None) -> None:
        """Queue an end. Does nothing when one has been sent; a session that the peer began is answered first."""
        self.answer_begin()
        if self.state not in (SessionState.MAPPED, SessionState.END_RCVD):
            if self.state is SessionState.BEGIN_SENT:
                raise ProtocolError("a session cannot be ended before the peer's begin has arrived")
            return
        if self.output.open:
            self.dispositions.flush()
            self.output.send(self.channel, End(error=wire_error(error)))
        self._advance(Trigger.S_END if error is None else Trigger.S_END_ERROR)
        if self.error is None:
            self.error = error
        self._forget_links()
        if self.unmapped:
            self.channels.release(self)

    def on_end(self, end: End) -> AMQPError | None:
        """Take the peer's end, and answer it. Returns the error that it carries."""
        self.answer_begin()
        ours = self.state in (SessionState.END_SENT, SessionState.DISCARDING)
        error = remote_error(end.error, "the peer ended the session")
        if self.error is None:
            self.error = error
        self._advance(Trigger.R_END)
        if ours:
            self.channels.release(self)
        else:
            self.end()
        return error

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

    def undelivered(self) -> tuple[OutgoingDelivery, ...]:
        """The outgoing deliveries without an outcome: those that were written first, then those that wait for the
        window."""
        waiting = [delivery for link in self.links.values() if isinstance(link, SenderLink) for delivery in link.unsent]
        return (*self.outgoing_unsettled.values(), *self._unsent, *waiting)

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
        desired_capabilities: Sequence[str] = (),
        offered_capabilities: Sequence[str] = (),
        unsettled: Mapping[bytes, DeliveryState | None] | None = None,
        incomplete_unsettled: bool = False,
    ) -> SenderLink:
        """Attach a link on which messages are sent from here (transport, "establishing or resuming a link").

        Args:
            name: unique among the sender links between the two containers.
            source, target: the termini asked for.
            snd_settle_mode: how this side will settle.
            rcv_settle_mode: how the peer is asked to settle.
            max_message_size: stated to the peer, in bytes; 0 for no limit.
            properties: link properties.
            desired_capabilities: capabilities asked for.
            offered_capabilities: capabilities offered.
            unsettled: deliveries of an earlier attachment that this side has not settled, by tag, with their states
                here; None to say nothing of them (transport, "resuming deliveries").
            incomplete_unsettled: whether there are more than these.

        Raises:
            ProtocolError: the name is in use, or the attach does not fit a frame that the peer accepts.
            LimitError: no handle is left.
            EncodeError: a field has no encoding.
        """
        terms = LinkTerms(source, target, snd_settle_mode, rcv_settle_mode, max_message_size)
        link = SenderLink(self, self._free_name(name, receiver=False), self.take_handle(), terms)
        with self._added(link):
            link.send_attach(
                properties=properties,
                desired_capabilities=desired_capabilities,
                offered_capabilities=offered_capabilities,
                unsettled=unsettled,
                incomplete_unsettled=incomplete_unsettled,
            )
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
        desired_capabilities: Sequence[str] = (),
        offered_capabilities: Sequence[str] = (),
        unsettled: Mapping[bytes, DeliveryState | None] | None = None,
        incomplete_unsettled: bool = False,
    ) -> ReceiverLink:
        """Attach a link on which messages are received here. Arguments and errors as for :meth:`attach_sender`.

        ``max_message_size`` is enforced: a larger message ends the link with *message-size-exceeded*.
        """
        terms = LinkTerms(source, target, snd_settle_mode, rcv_settle_mode, max_message_size)
        link = ReceiverLink(self, self._free_name(name, receiver=True), self.take_handle(), terms)
        with self._added(link):
            link.send_attach(
                properties=properties,
                desired_capabilities=desired_capabilities,
                offered_capabilities=offered_capabilities,
                unsettled=unsettled,
                incomplete_unsettled=incomplete_unsettled,
            )
        return link

    @contextmanager
    def _added(self, link: LinkEndpoint) -> Iterator[None]:
        """The link is one of the session's, unless its attach cannot be sent."""
        self.links[link.name, link.is_receiver] = link
        try:
            yield
        except AMQPError:
            # It does not fit the peer's frames, or has no encoding: name and handle are free again.
            self.release_link(link)
            raise

    def _free_name(self, name: str, *, receiver: bool) -> str:
        if (name, receiver) in self.links:
            raise ProtocolError(f"a link named {name!r} exists already on this session")
        return name

    def take_handle(self) -> int:
        """The lowest free handle.

        Raises:
            ProtocolError: the session cannot carry links now.
            LimitError: no handle is left.
        """
        # A peer may attach right after its begin, before that has been answered (transport, "pipelined open").
        if not self.can_send and self.state is not SessionState.BEGIN_RCVD:
            raise ProtocolError("the session cannot carry links now", condition=ErrorCondition.ILLEGAL_STATE)
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
            # Its deliveries are not to be settled any more (transport, "disposition").
            for delivery_id in link.unsettled:
                del link.session_unsettled[delivery_id]
            link.unsettled.clear()

    # -- sending ---------------------------------------------------------------------------------------------------

    def send(self, performative: Attach | Detach | Flow | Disposition) -> None:
        """Queue a frame on this session's channel."""
        if not self.can_send:
            raise ProtocolError("the session has ended", condition=ErrorCondition.ILLEGAL_STATE)
        self.output.send(self.channel, performative)

    def flow_state(self, *, echo: bool = False) -> Flow:
        """A flow frame with the session's flow state; the incoming window is open again as far as it says."""
        window = self.window
        return Flow(
            next_incoming_id=window.next_incoming_id,
            incoming_window=window.open(),
            next_outgoing_id=window.next_outgoing_id,
            outgoing_window=window.outgoing,
            echo=echo,
        )

    def send_flow(self, *, echo: bool = False) -> None:
        """Tell the peer the session's flow state (transport, "session flow control")."""
        self.send(self.flow_state(echo=echo))

    def answer_flow(self) -> None:
        """Send the flow state that the peer has asked for, if the session is still there."""
        if self.mapped and self.can_send:
            self.send_flow()

    def flush(self) -> None:
        """Called before bytes are handed out: dispositions, and the incoming window when half of it is used."""
        self.dispositions.flush()
        if self.window.half_used and self.mapped and self.can_send:
            self.send_flow()

    def recall_sent(self) -> None:
        """Know again which delivery an id means: each of those that the links have not settled."""
        unsettled = self.outgoing_unsettled
        for link in self.links.values():
            if isinstance(link, SenderLink):
                unsettled.update(link.unsettled)
        end = self.window.next_delivery_id
        ordered = sorted(unsettled.items(), key=lambda item: serial_difference(item[0], end))
        unsettled.clear()
        unsettled.update(ordered)

    def charge(self, visits: int) -> None:
        """Count deliveries that a disposition named in vain.

        A peer may report states as often as it likes, one delivery at a time. But the same range, sent over and over,
        would cost more and more as more is in flight.

        Raises:
            SessionFault: a million have been named in vain, and there were too few transfers meanwhile to explain that.
        """
        self._visits += visits
        if self._visits < _MOST_VISITS:
            return
        moved = self.window.transfers
        if ((moved - self._visits_from) & MASK) * _VISITS_PER_TRANSFER < self._visits:
            raise SessionFault(
                ErrorCondition.RESOURCE_LIMIT_EXCEEDED,
                "the peer keeps on sending dispositions of deliveries about which they say nothing new",
            )
        self._visits, self._visits_from = 0, moved

    def __repr__(self) -> str:
        return f"<Session channel={self.channel} {self.state.name} links={len(self.links)}>"

"""Link endpoints: attach and detach (transport, "links").

``sender.py`` and ``receiver.py`` add credit and the messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from amqp10.codec import Symbol
from amqp10.conditions import ErrorCondition
from amqp10.engine.states import LINK_TRANSITIONS, LinkState, Trigger
from amqp10.engine.wire_errors import remote_error, wire_error
from amqp10.errors import AMQPError, ProtocolError
from amqp10.wire.performatives import Attach, Detach, ReceiverSettleMode, SenderSettleMode

if TYPE_CHECKING:
    from amqp10.engine.dispositions import Dispositions
    from amqp10.engine.output import Output
    from amqp10.engine.window import SessionWindow
    from amqp10.wire.messaging import Coordinator, DeliveryState, Source, Target
    from amqp10.wire.performatives import Disposition, Flow

__all__ = ["LinkEndpoint", "LinkSession", "LinkTerms"]

# Looking up a member of an enumeration costs five times as much as looking up a name: this is looked at per message.
_ATTACHED: Final = LinkState.ATTACHED


class LinkSession(Protocol):
    """What a link needs of its session, and what is asked of it by those who have only the link.

    Attributes:
        channel: the channel number this side sends on.
        remote_channel: the channel number the peer sends on; None while its begin has not arrived.
        output: where frames go.
        dispositions: the disposition that is being collected.
        window: the numbers of the session's flow control.
        error: why it ended; None while it lasts, and after an orderly end.
    """

    channel: int
    remote_channel: int | None
    output: Output
    dispositions: Dispositions
    window: SessionWindow
    error: AMQPError | None

    @property
    def can_send(self) -> bool:
        """Whether frames may be sent on it now (transport, "session states")."""
        ...

    def answer_begin(self) -> None:
        """Answer the peer's begin if that is still to be done."""

    def send(self, performative: Attach | Detach | Flow | Disposition) -> None:
        """Queue a frame on its channel."""

    def flow_state(self, *, echo: bool = False) -> Flow:
        """A flow frame with its flow state."""
        ...

    def flush(self) -> None:
        """Called before bytes are handed out."""

    def release_link(self, link: LinkEndpoint) -> None:
        """The detaches of a link have both been exchanged: its handle is free again."""

    def end(self, error: AMQPError | None = None) -> None:
        """End it, with all its links."""


class LinkTerms(NamedTuple):
    """What is asked of a link by the side that attaches it first."""

    source: Source | None
    target: Target | Coordinator | None
    snd_settle_mode: SenderSettleMode
    rcv_settle_mode: ReceiverSettleMode
    max_message_size: int
    """What this side states to the peer, in bytes; 0 for no limit."""


class LinkEndpoint:
    """What both kinds of link have in common.

    Attributes:
        session: the session it belongs to.
        output: where its frames go.
        dispositions: the disposition that the session is collecting.
        window: the numbers of the session's flow control.
        name: its name, unique per direction between two containers.
        handle: the number this side uses for it.
        remote_handle: the number the peer uses; None while the peer's attach has not arrived.
        state: where it is between attach and detach.
        unsettled: its deliveries that are not settled, by delivery id, in order.
        session_unsettled: the same of all links of the session that go in the same direction.
        source, target: the termini as the peer stated them, once attached; before that, as requested.
        snd_settle_mode, rcv_settle_mode: how sender and receiver settle, as each of them has stated it, once attached;
            before that, as requested.
        credit: how many more deliveries the sender may start.
        delivery_count: the sender's delivery count as last known.
        available: how many messages the sender says it has.
        drain: whether the receiver asked the sender to use up or give back its credit.
        remote_max_message_size: the largest message the peer takes, in bytes; 0 when it states no limit.
        send_limit: the largest message that may be sent, in bytes, by both sides' limits; 0 for none.
        resumable: the deliveries of an earlier attachment that this side has not settled, by tag, as it has told the
            peer; None if it has said nothing of them.
        context: whatever the user of the engine wants to find again.
    """

    __slots__ = (
        "available",
        "closing",
        "context",
        "credit",
        "delivery_count",
        "dispositions",
        "drain",
        "errant",
        "error",
        "handle",
        "local_request",
        "max_message_size",
        "name",
        "output",
        "rcv_settle_mode",
        "refusing",
        "remote_attach",
        "remote_handle",
        "remote_max_message_size",
        "resumable",
        "send_limit",
        "session",
        "session_unsettled",
        "snd_settle_mode",
        "source",
        "state",
        "target",
        "unsettled",
        "window",
    )

    is_receiver: bool

    def __init__(
        self, session: LinkSession, name: str, handle: int, terms: LinkTerms, session_unsettled: dict[int, Any]
    ) -> None:
        self.session: LinkSession = session
        self.output: Output = session.output
        self.dispositions: Dispositions = session.dispositions
        self.window: SessionWindow = session.window
        self.name: str = name
        self.handle: int = handle
        self.remote_handle: int | None = None
        self.state: LinkState = LinkState.DETACHED
        self.unsettled: dict[int, Any] = {}
        self.session_unsettled: dict[int, Any] = session_unsettled
        self.source: Source | None = terms.source
        self.target: Target | Coordinator | None = terms.target
        self.snd_settle_mode: SenderSettleMode = terms.snd_settle_mode
        self.rcv_settle_mode: ReceiverSettleMode = terms.rcv_settle_mode
        self.max_message_size: int = terms.max_message_size
        self.remote_max_message_size: int = 0
        self.send_limit: int = 0
        self.credit: int = 0
        self.delivery_count: int = 0
        self.available: int = 0
        self.drain: bool = False
        self.error: AMQPError | None = None
        self.local_request: bool = True
        self.remote_attach: Attach | None = None
        self.resumable: Mapping[bytes, DeliveryState | None] | None = None
        self.context: Any = None
        self.refusing: bool = False
        """Whether the peer attached without its terminus: a detach with the reason is to follow."""
        self.errant: bool = False
        """Whether the peer broke a rule on it: it has been detached with an error, and may only be detached now."""
        self.closing: bool = False
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
                condition=ErrorCondition.ILLEGAL_STATE,
            )
        self.state = state

    def send_attach(
        self,
        *,
        properties: Mapping[Symbol, Any] | None = None,
        offered_capabilities: Sequence[str] = (),
        desired_capabilities: Sequence[str] = (),
        unsettled: Mapping[bytes, DeliveryState | None] | None = None,
        incomplete_unsettled: bool = False,
    ) -> None:
        """Queue this side's attach."""
        self.resumable = unsettled
        attach = Attach(
            name=self.name,
            handle=self.handle,
            role=self.is_receiver,
            snd_settle_mode=self.snd_settle_mode,
            rcv_settle_mode=self.rcv_settle_mode,
            source=self.source,
            target=self.target,
            unsettled=None if unsettled is None else dict(unsettled),
            incomplete_unsettled=incomplete_unsettled,
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
        self._agree(attach)
        return not self.refusing

    def _agree(self, attach: Attach) -> None:
        """Each end decides how it settles. What the other end states of that is a wish, and often only a default."""
        if self.is_receiver:
            self.snd_settle_mode = SenderSettleMode(attach.snd_settle_mode)
        else:
            self.rcv_settle_mode = ReceiverSettleMode(attach.rcv_settle_mode)

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
        unsettled: Mapping[bytes, DeliveryState | None] | None = None,
        incomplete_unsettled: bool = False,
    ) -> None:
        """Answer the attach that the peer started. Does nothing when the link has gone meanwhile.

        Args:
            source: the source actually in place; by default what the peer asked for.
            target: the target actually in place; by default what the peer asked for.
            snd_settle_mode: how this side settles if it is the sender, else a wish; by default what the peer stated.
            rcv_settle_mode: how this side settles if it is the receiver, else a wish; by default what the peer stated.
            max_message_size: the largest message accepted, in bytes; 0 for no limit.
            properties: link properties to state.
            offered_capabilities: capabilities to offer.
            unsettled, incomplete_unsettled: as for :meth:`Session.attach_sender`; what the peer has not settled is in
                its attach.
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
        self.send_attach(
            properties=properties,
            offered_capabilities=offered_capabilities,
            unsettled=unsettled,
            incomplete_unsettled=incomplete_unsettled,
        )
        if self.remote_attach is not None:
            self._agree(self.remote_attach)

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
            self.dispositions.flush()
            self.session.send(Detach(handle=self.handle, closed=closed, error=wire_error(error)))
        self._advance(Trigger.S_DETACH)
        self.credit = 0
        self.closing = self.closing or closed or error is not None
        self.stop()
        if self.detached:
            self.session.release_link(self)

    def on_detach(self, detach: Detach) -> AMQPError | None:
        """Take the peer's detach, and answer it. Returns the error that it carries, or why the link was refused."""
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
            error = ProtocolError("the peer refused the link and gave no reason", condition=ErrorCondition.NOT_FOUND)
        if self.error is None:
            self.error = error
        self._advance(Trigger.R_DETACH)
        self.credit = 0
        if ours:
            self.session.release_link(self)
        else:
            self.detach(closed=bool(detach.closed))
        return error

    def stop(self) -> None:
        """Called when no more may be sent on the link."""

    def on_flow(self, flow: Flow) -> None:
        """Take flow state that the peer sent for this link."""
        raise NotImplementedError

    def send_flow(self, *, echo: bool = False) -> None:
        """Tell the peer this link's flow state, and the session's with it.

        Raises:
            ProtocolError: the link is not attached on this side, so its handle is nobody's, or another link's.
        """
        if self.state is not _ATTACHED and self.state is not LinkState.ATTACH_SENT:
            raise ProtocolError(f"link {self.name!r} is not attached", condition=ErrorCondition.ILLEGAL_STATE)
        flow = self.session.flow_state(echo=echo)
        flow.handle = self.handle
        flow.link_credit = self.credit
        flow.drain = self.drain
        self.state_count(flow)
        self.session.send(flow)

    def state_count(self, flow: Flow) -> None:
        """Put this side's view of the delivery count in a flow frame, and what depends on it."""
        raise NotImplementedError

    def answer_flow(self) -> None:
        """Send the flow state that the peer has asked for, if the link is still there."""
        if self.attached and self.session.can_send:
            self.send_flow()

    def __repr__(self) -> str:
        kind = "ReceiverLink" if self.is_receiver else "SenderLink"
        return f"<{kind} {self.name!r} {self.state.name} credit={self.credit}>"

"""What arrives on a session about its links: attach and detach (transport, "links").

These are functions for the same reason as those of ``incoming.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from amqp10.codec.composite import resolve
from amqp10.conditions import ErrorCondition
from amqp10.engine.events import LinkAttached, LinkDetached, LinkRequested
from amqp10.engine.faults import ConnectionFault, LinkFault, SessionFault
from amqp10.engine.link import LinkTerms
from amqp10.engine.receiver import ReceiverLink
from amqp10.engine.sender import SenderLink
from amqp10.engine.states import LinkState
from amqp10.wire.performatives import MAX_DELIVERY_TAG_SIZE, ReceiverSettleMode, SenderSettleMode

if TYPE_CHECKING:
    from amqp10.engine.events import Events
    from amqp10.engine.link import LinkEndpoint
    from amqp10.engine.session import Session
    from amqp10.wire.messaging import DeliveryState
    from amqp10.wire.performatives import Attach, Detach

__all__ = ["errant_link", "fail_link", "link_of", "on_attach", "on_detach"]

_ATTACH_SIZE = 64
"""Bytes of an attach frame that refuses a link, without the name, at most."""


def on_attach(session: Session, attach: Attach, events: Events) -> None:
    """Take an attach: the answer to one of ours, or a link that the peer wants."""
    handle = int(attach.handle)
    _check_handle(session, handle)
    if attach.snd_settle_mode > SenderSettleMode.MIXED or attach.rcv_settle_mode > ReceiverSettleMode.SECOND:
        raise SessionFault(
            ErrorCondition.INVALID_FIELD, f"the peer's attach of link {attach.name!r} has an unknown settle mode"
        )
    unsettled = _unsettled(attach)
    link = session.links.get((attach.name, not attach.role))  # the peer's role is the opposite of ours
    if link is None:
        link = _requested(session, attach)
        session.remote_handles[handle] = link
        link.on_attach(attach)
        _check_resumption(link, attach)
        events.append(LinkRequested(link, attach, unsettled))
    elif link.remote_attach is None:
        session.remote_handles[handle] = link
        if link.on_attach(attach) and link.attached:
            _check_resumption(link, attach)
            events.append(LinkAttached(link, unsettled))
    elif link.errant:
        raise errant_link(link, "an attach")
    else:
        raise SessionFault(
            ErrorCondition.NOT_ALLOWED, f"the peer attached link {attach.name!r} a second time on the same session"
        )


def _check_handle(session: Session, handle: int) -> None:
    """See that the peer may use a handle for one more link."""
    if handle > session.handle_max:
        raise ConnectionFault.broken_rule(
            ErrorCondition.FRAMING_ERROR,
            f"the peer attached a link with handle {handle}, beyond the agreed maximum of {session.handle_max}",
        )
    if handle in session.remote_handles:
        raise SessionFault(
            ErrorCondition.HANDLE_IN_USE, f"the peer attached a link with handle {handle}, which is in use"
        )


def _requested(session: Session, attach: Attach) -> LinkEndpoint:
    """Make this side's end of a link that the peer wants."""
    if attach.role is False and attach.initial_delivery_count is None:
        raise SessionFault(
            ErrorCondition.INVALID_FIELD, f"the peer's attach of sender {attach.name!r} lacks initial-delivery-count"
        )
    if len(attach.name.encode()) + _ATTACH_SIZE > session.output.max_frame_size:
        raise SessionFault(
            ErrorCondition.FRAME_SIZE_TOO_SMALL,
            f"the peer attached a link whose name of {len(attach.name)} characters does not fit the frames that it"
            " accepts",
        )
    terms = LinkTerms(
        attach.source,
        attach.target,
        SenderSettleMode(attach.snd_settle_mode),
        ReceiverSettleMode(attach.rcv_settle_mode),
        max_message_size=0,
    )
    kind = SenderLink if attach.role else ReceiverLink
    link = kind(session, attach.name, session.take_handle(), terms)
    link.local_request = False
    session.links[link.name, link.is_receiver] = link
    return link


def _unsettled(attach: Attach) -> Mapping[bytes, DeliveryState | None] | None:
    """What the peer has not settled."""
    if attach.unsettled is None:
        return None
    if not all(isinstance(tag, bytes) and len(tag) <= MAX_DELIVERY_TAG_SIZE for tag in attach.unsettled):
        raise SessionFault(
            ErrorCondition.INVALID_FIELD,
            f"the unsettled map of link {attach.name!r} has keys that are no delivery tags",
        )
    return {tag: resolve(state) for tag, state in attach.unsettled.items()}


def _check_resumption(link: LinkEndpoint, attach: Attach) -> None:
    # To such a peer only deliveries that are resumed may be sent: it has to be known which these are.
    if attach.incomplete_unsettled and not link.is_receiver and link.resumable is None:
        raise LinkFault(
            link.remote_handle,
            ErrorCondition.NOT_IMPLEMENTED,
            f"the peer wants to resume link {link.name!r} with more unsettled deliveries than it named",
        )


def link_of(session: Session, handle: int, what: str) -> LinkEndpoint:
    """The link that the peer means by a handle.

    Raises:
        SessionFault: there is none, or it has been detached with an error.
    """
    link = session.remote_handles.get(handle)
    if link is None:
        raise SessionFault(
            ErrorCondition.UNATTACHED_HANDLE,
            f"the peer sent a {what} for handle {handle}, which no link has",
        )
    if link.errant and what != "detach":
        raise errant_link(link, f"a {what}")
    return link


def errant_link(link: LinkEndpoint, what: str) -> SessionFault:
    """The fault of a peer that goes on after it broke a rule on a link (transport, "link errors")."""
    return SessionFault(
        ErrorCondition.ERRANT_LINK,
        f"the peer sent {what} for link {link.name!r}, which has been detached with an error",
    )


def on_detach(session: Session, detach: Detach, events: Events) -> None:
    """Take a detach."""
    link = link_of(session, int(detach.handle), "detach")
    if isinstance(link, ReceiverLink):
        link.end_partial()
    del session.remote_handles[int(detach.handle)]
    by_peer = link.state is not LinkState.DETACH_SENT
    undelivered = link.undelivered if isinstance(link, SenderLink) else ()
    error = link.on_detach(detach)
    closed, refused = bool(detach.closed), link.refusing and by_peer
    events.append(LinkDetached(link, error, by_peer, closed, refused, undelivered))


def fail_link(session: Session, fault: LinkFault, events: Events) -> None:
    """End a link on which the peer broke a rule (transport, "link errors")."""
    assert fault.remote_handle is not None
    link = session.remote_handles[fault.remote_handle]
    link.error = fault.error
    link.errant = True
    if isinstance(link, ReceiverLink):
        link.end_partial()
    undelivered = link.undelivered if isinstance(link, SenderLink) else ()
    link.detach(error=fault.error)
    events.append(LinkDetached(link, fault.error, by_peer=False, closed=True, undelivered=undelivered))

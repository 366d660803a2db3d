"""What log messages say: one readable line for each frame and for each change that the engine reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amqp10.engine.events import (
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
    DeliveryAborted,
    Event,
    LinkAttached,
    LinkDetached,
    LinkFlow,
    LinkRequested,
    SessionBegun,
    SessionEnded,
    SessionRequested,
)

if TYPE_CHECKING:
    from amqp10.engine.link import LinkEndpoint
    from amqp10.engine.session import Session
    from amqp10.errors import AMQPError

__all__ = ["event_line", "frame_line"]


def frame_line(outgoing: bool, channel: int, performative: object, payload: int) -> str:
    """One readable line about a frame: direction, channel, performative with its fields, payload size."""
    what = "heartbeat" if performative is None else repr(performative)
    size = f" +{payload} bytes" if payload else ""
    return f"{'->' if outgoing else '<-'} [{channel}] {what}{size}"


def event_line(event: Event) -> str:
    """One readable line about something that the engine reports."""
    match event:
        case ConnectionOpened(open=opened):
            return f"the server has opened the connection: {opened!r}"
        case ConnectionClosed(error=error, by_peer=by_peer):
            return f"the connection is closed {_how(by_peer, error)}"
        case ConnectionFailed(error=error):
            return f"the connection has failed: {error.message}"
        case SessionBegun(session=session):
            return f"{_session(session)} is mapped to the server's channel {session.remote_channel}"
        case SessionRequested(session=session):
            return f"the server asks for a session on its channel {session.remote_channel}"
        case SessionEnded(session=session, error=error, by_peer=by_peer):
            return f"{_session(session)} is ended {_how(by_peer, error)}"
        case LinkAttached(link=link):
            return f"{_link(link)} is attached: {link.source!r}, {link.target!r}"
        case LinkRequested(link=link):
            return f"the server asks for {_link(link)}"
        case LinkDetached(link=link, error=error, by_peer=by_peer):
            return f"{_link(link)} is detached {_how(by_peer, error)}"
        case LinkFlow(link=link):
            drain = ", to be drained" if link.drain else ""
            return f"{_link(link)} has credit {link.credit} at delivery count {link.delivery_count}{drain}"
        case DeliveryAborted(delivery=delivery):
            return f"{_link(delivery.link)}: the sender gave up a message of which parts had arrived"
    return repr(event)


def _session(session: Session) -> str:
    name = getattr(session.context, "name", None)
    return f"session {name!r} (channel {session.channel})" if name is not None else f"channel {session.channel}"


def _link(link: LinkEndpoint) -> str:
    return f"{'receiver' if link.is_receiver else 'sender'} link {link.name!r}"


def _how(by_peer: bool, error: AMQPError | None) -> str:
    who = "by the server" if by_peer else "from here"
    return who if error is None else f"{who}: {error.message}"

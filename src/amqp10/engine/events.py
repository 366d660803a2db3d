"""What the engine reports. A list of these comes back from every call that takes bytes or the time.

A whole incoming message is reported as its :class:`~amqp10.engine.receiver.IncomingDelivery` itself: one object per
message is what the hot path can afford.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from amqp10.conditions import ErrorCondition
from amqp10.engine.receiver import IncomingDelivery
from amqp10.errors import ProtocolError

if TYPE_CHECKING:
    from amqp10.engine.link import LinkEndpoint
    from amqp10.engine.sender import OutgoingDelivery
    from amqp10.engine.session import Session
    from amqp10.errors import AMQPError
    from amqp10.wire.messaging import DeliveryState
    from amqp10.wire.performatives import Attach, Open

__all__ = [
    "ConnectionClosed",
    "ConnectionFailed",
    "ConnectionOpened",
    "DeliveriesSettled",
    "DeliveriesUpdated",
    "DeliveryAborted",
    "DeliveryGrows",
    "Event",
    "Events",
    "LinkAttached",
    "LinkDetached",
    "LinkFlow",
    "LinkRequested",
    "SessionBegun",
    "SessionEnded",
    "SessionRequested",
]


class ConnectionOpened(NamedTuple):
    """The peer's open arrived: the connection can be used within the limits it states."""

    open: Open


class ConnectionClosed(NamedTuple):
    """The peer's close arrived. ``error`` is what it carried; None for an orderly close."""

    error: AMQPError | None
    by_peer: bool
    """True when the peer closed first, False when this is its answer to our close."""
    undelivered: tuple[OutgoingDelivery, ...] = ()
    """Outgoing deliveries without an outcome, in order: those that were written, then those that waited."""


class ConnectionFailed(NamedTuple):
    """The connection cannot go on: the peer broke the protocol, sent nothing for too long, or its byte stream ended."""

    error: AMQPError
    undelivered: tuple[OutgoingDelivery, ...] = ()


class SessionBegun(NamedTuple):
    """The peer's begin for a session that was begun here."""

    session: Session


class SessionRequested(NamedTuple):
    """The peer begins a session; answer with ``session.accept()`` or ``session.end(error)``."""

    session: Session

    def decline(self) -> None:
        """Refuse it, as a client does that has the sessions that it asks for and no others."""
        self.session.end(ProtocolError("this client accepts no sessions", condition=ErrorCondition.NOT_IMPLEMENTED))


class SessionEnded(NamedTuple):
    """A session is over, with everything on it."""

    session: Session
    error: AMQPError | None
    by_peer: bool
    undelivered: tuple[OutgoingDelivery, ...] = ()


class LinkAttached(NamedTuple):
    """The peer's attach for a link that was attached here: the link can be used."""

    link: LinkEndpoint
    unsettled: Mapping[bytes, DeliveryState | None] | None = None
    """The deliveries that the peer has not settled, by tag, with their states at the peer (transport, "resuming
    deliveries"); None when it says nothing of them."""


class LinkRequested(NamedTuple):
    """The peer attaches a link; answer with ``link.accept()`` or ``link.refuse(error)``."""

    link: LinkEndpoint
    attach: Attach
    unsettled: Mapping[bytes, DeliveryState | None] | None = None
    """As in :class:`LinkAttached`."""

    def decline(self) -> None:
        """Refuse it, as a client does that has the links that it asks for and no others."""
        self.link.refuse(ProtocolError("this client accepts no links", condition=ErrorCondition.NOT_IMPLEMENTED))


class LinkDetached(NamedTuple):
    """A link is over. ``refused`` tells a link that never came to be from one that ended."""

    link: LinkEndpoint
    error: AMQPError | None
    by_peer: bool
    closed: bool
    refused: bool = False
    undelivered: tuple[OutgoingDelivery, ...] = ()


class LinkFlow(NamedTuple):
    """The peer sent flow state for a link: credit, drain or available may have changed."""

    link: LinkEndpoint


class DeliveriesUpdated(NamedTuple):
    """The receiver of outgoing deliveries reported a state for them, and perhaps settled them."""

    session: Session
    deliveries: list[OutgoingDelivery]
    state: DeliveryState | None
    settled: bool


class DeliveriesSettled(NamedTuple):
    """The sender settled deliveries whose state was reported from here (receiver settle mode *second*)."""

    session: Session
    deliveries: list[IncomingDelivery]


class DeliveryGrows(NamedTuple):
    """A part of a delivery arrived, and more is to come. Only on links with ``streaming``; see ``take_parts()``."""

    delivery: IncomingDelivery


class DeliveryAborted(NamedTuple):
    """The sender gave up a delivery of which parts had arrived; they are discarded."""

    delivery: IncomingDelivery


Event: TypeAlias = (
    ConnectionOpened
    | ConnectionClosed
    | ConnectionFailed
    | SessionBegun
    | SessionRequested
    | SessionEnded
    | LinkAttached
    | LinkRequested
    | LinkDetached
    | LinkFlow
    | DeliveriesUpdated
    | DeliveriesSettled
    | DeliveryGrows
    | DeliveryAborted
    | IncomingDelivery
)

Events: TypeAlias = list[Event] | deque[Event]
"""Where the engine puts what it reports, in order."""

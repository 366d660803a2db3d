"""One life of a connection: what a driver hands bytes and the time to, and the transport that carries it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from amqp10.engine import ConnectionFailed
from amqp10.errors import AMQPError, ConnectionDroppedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from amqp10.client.options import Address
    from amqp10.client.wait import Timer, Wait
    from amqp10.engine import Connection, Event, OutgoingDelivery, Session

__all__ = ["Incarnation", "Owner", "Transport"]


class Transport(Protocol):
    """A byte stream to the peer, as a driver made it."""

    def start(self, incarnation: Incarnation) -> None:
        """Write what its engine has to send, and hand it what arrives, from now on."""
        ...

    def close(self) -> None:
        """Write what is queued, then close. Does not wait."""
        ...

    def abort(self) -> None:
        """Close at once. Nothing is reported about it any more."""
        ...


class Owner(Protocol):
    """What a life of a connection, and the transport that carries it, need of the connection."""

    @property
    def driver(self) -> Timer:
        """What knows the time."""
        ...

    @property
    def incarnation(self) -> Incarnation | None:
        """The life that it has now."""
        ...

    def handle(self, incarnation: Incarnation, events: list[Event]) -> None:
        """Take what an engine reports."""
        ...

    def disconnected(self, incarnation: Incarnation, error: AMQPError, undelivered: Sequence[OutgoingDelivery]) -> None:
        """A life is over."""
        ...

    def before_flush(self) -> None:
        """Called before bytes are taken from the engine."""
        ...

    def pause_sending(self) -> None:
        """The transport takes no more for now."""
        ...

    def resume_sending(self) -> None:
        """The transport takes more again."""
        ...


class Incarnation:
    """One life of a connection: an engine, and the transport that carries it.

    A driver calls :meth:`received`, :meth:`lost` and :meth:`tick`, and writes what ``engine.data_to_send`` gives.
    """

    __slots__ = ("address", "core", "engine", "opened", "reason", "settled_wait", "transport")

    def __init__(self, core: Owner, engine: Connection, transport: Transport, address: Address) -> None:
        self.core: Owner = core
        self.engine: Connection = engine
        self.transport: Transport = transport
        self.address: Address = address
        self.opened: bool = False
        self.reason: AMQPError | None = None
        """Why it is over; None while it is not."""
        self.settled_wait: Wait = core.driver.new_wait()
        """Set when it is known whether the peer opens the connection."""

    def received(self, data: bytes) -> None:
        """Bytes have arrived."""
        core = self.core
        core.handle(self, self.engine.receive_data(data, core.driver.clock()))

    def lost(self, error: AMQPError | None) -> None:
        """The stream has ended: None for an orderly end, otherwise what the system said."""
        events = self.engine.receive_eof(self.core.driver.clock())
        if error is not None:
            events = [
                ConnectionFailed(error, *event[1:]) if type(event) is ConnectionFailed else event for event in events
            ]
        self.core.handle(self, events)
        if self.core.incarnation is self:
            # The engine had said its last word already.
            self.core.disconnected(self, error or ConnectionDroppedError("the peer dropped the connection"), ())

    def in_flight(self) -> list[tuple[Session, OutgoingDelivery]]:
        """The messages without an outcome."""
        sessions = self.engine.sessions.values()
        return [(session, delivery) for session in sessions for delivery in session.outgoing_unsettled.values()]

    def interrupted(self, in_flight: Iterable[tuple[Session, OutgoingDelivery]]) -> None:
        """:meth:`received` was interrupted by an exception that is no fault, and nobody knows how far it came. The
        connection is lost. Of what was in flight before, all that the program was not told of is in flight again."""
        for session, delivery in in_flight:
            if not delivery.context.done:
                delivery.link.unsettled[delivery.delivery_id] = delivery
                session.outgoing_unsettled[delivery.delivery_id] = delivery
        self.lost(ConnectionDroppedError("a call was interrupted while it changed the connection"))

    def tick(self) -> None:
        """The engine's deadline has come."""
        core = self.core
        core.handle(self, self.engine.tick(core.driver.clock()))

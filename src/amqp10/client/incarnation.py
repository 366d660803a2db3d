"""One life of a connection: what a driver hands bytes and the time to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amqp10.engine import ConnectionFailed
from amqp10.errors import AMQPError, ConnectionDroppedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amqp10.client.core import ClientCore
    from amqp10.client.options import Address
    from amqp10.client.wait import Transport, Wait
    from amqp10.engine import Connection, OutgoingDelivery

__all__ = ["Incarnation"]


class Incarnation:
    """One life of a connection: an engine, and the transport that carries it.

    A driver calls :meth:`received`, :meth:`lost` and :meth:`tick`, and writes what ``engine.data_to_send`` gives.
    """

    __slots__ = ("address", "core", "engine", "opened", "reason", "settled_wait", "transport")

    def __init__(self, core: ClientCore, engine: Connection, transport: Transport, address: Address) -> None:
        self.core: ClientCore = core
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

    def in_flight(self) -> list[OutgoingDelivery]:
        """The messages without an outcome."""
        sessions = self.engine.sessions.values()
        return [delivery for session in sessions for delivery in session.outgoing_unsettled.values()]

    def interrupted(self, in_flight: Iterable[OutgoingDelivery]) -> None:
        """:meth:`received` was interrupted by an exception that is no fault, and nobody knows how far it came. The
        connection is lost. Of what was in flight before, all that the program was not told of is in flight again."""
        for delivery in in_flight:
            if not delivery.context.done:
                delivery.link.unsettled[delivery.delivery_id] = delivery
                delivery.link.session.outgoing_unsettled[delivery.delivery_id] = delivery
        self.lost(ConnectionDroppedError("a call was interrupted while it changed the connection"))

    def tick(self) -> None:
        """The engine's deadline has come."""
        core = self.core
        core.handle(self, self.engine.tick(core.driver.clock()))

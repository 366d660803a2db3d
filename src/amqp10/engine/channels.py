"""The sessions of a connection, by their channel numbers in both directions (transport, "channels")."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from amqp10.conditions import ErrorCondition
from amqp10.engine.events import SessionBegun, SessionRequested
from amqp10.engine.faults import ConnectionFault
from amqp10.engine.serial import MASK, serial_max
from amqp10.engine.session import Session
from amqp10.errors import LimitError

if TYPE_CHECKING:
    from amqp10.engine.output import Output
    from amqp10.engine.receiver import IncomingDelivery
    from amqp10.errors import AMQPError
    from amqp10.wire.performatives import Begin

__all__ = ["Channels"]

_WINDOW = 2048
"""The windows of a session that the peer begins, unless it is accepted with others."""
_RESTING = 4
"""So many channels rest before one is used again. RabbitMQ forgets a session some time after it has ended it, and until
then takes a begin on its channel for one more frame of the old session: nobody answers it."""


class Channels:
    """Who uses which channel.

    Args:
        output: where frames go.
        initial_outgoing_id, initial_delivery_count: where the serial numbers of sessions start.

    Attributes:
        highest: the highest channel number that both sides accept, as far as that is known.
        partials: the deliveries of which parts have arrived, on any session, in the order of their first parts.
        outgoing: every session by the channel number that this side sends on.
        incoming: every session by the channel number that the peer sends on, once its begin has arrived.
    """

    __slots__ = (
        "_free",
        "_initial_delivery_count",
        "_next",
        "_next_delivery_id",
        "highest",
        "incoming",
        "outgoing",
        "output",
        "partials",
    )

    def __init__(self, output: Output, initial_outgoing_id: int, initial_delivery_count: int) -> None:
        self.output: Output = output
        self.highest: int = 0
        self.partials: dict[IncomingDelivery, None] = {}
        self.outgoing: dict[int, Session] = {}
        self.incoming: dict[int, Session] = {}
        self._free: deque[int] = deque()
        """Channels that are free again, the one that has been for longest first."""
        self._next = 0
        self._initial_delivery_count = initial_delivery_count
        self._next_delivery_id = initial_outgoing_id
        """The first delivery id that no session which has ended has used."""

    @property
    def next_delivery_id(self) -> int:
        """The first delivery id that no session has used, ended ones included."""
        highest = self._next_delivery_id
        for session in self.outgoing.values():
            highest = serial_max(highest, session.window.next_delivery_id)
        return highest

    def new_session(self, incoming_window: int, outgoing_window: int, handle_max: int) -> Session:
        """A session on a new channel, or on one that has been free for a while.

        Raises:
            LimitError: none is left.
        """
        session = Session(
            self,
            self._take(),
            incoming_window=incoming_window,
            outgoing_window=outgoing_window,
            handle_max=handle_max,
            initial_outgoing_id=self._next_delivery_id,
            initial_delivery_count=self._initial_delivery_count,
        )
        self.outgoing[session.channel] = session
        return session

    def _take(self) -> int:
        channel = self._next
        if len(self._free) > _RESTING or (self._free and channel > self.highest):
            return self._free.popleft()
        if channel > self.highest:
            raise LimitError(f"the connection carries {self.highest + 1} sessions already, which is its limit")
        self._next = channel + 1
        return channel

    def on_begin(self, begin: Begin, channel: int) -> SessionBegun | SessionRequested:
        """Take a begin: the answer to one of ours, or a session that the peer wants.

        Raises:
            ConnectionFault: the channel is in use, or it answers a begin that nobody sent.
        """
        if channel in self.incoming:
            raise ConnectionFault.broken_rule(
                ErrorCondition.NOT_ALLOWED, f"the peer began a session on channel {channel}, which is in use"
            )
        remote = begin.remote_channel
        if remote is not None:
            session = self.outgoing.get(int(remote))
            if session is None or session.remote_channel is not None or not session.local_request:
                raise ConnectionFault.broken_rule(
                    ErrorCondition.NOT_ALLOWED, f"the peer answered a begin on channel {int(remote)} that nobody sent"
                )
        else:
            session = self.new_session(_WINDOW, _WINDOW, MASK)
            session.local_request = False
        self.incoming[channel] = session
        session.on_begin(begin, channel)
        return SessionBegun(session) if session.local_request else SessionRequested(session)

    def release(self, session: Session) -> None:
        """Forget a session whose ends have both been exchanged; its channels are free again."""
        if self.outgoing.get(session.channel) is session:
            del self.outgoing[session.channel]
            self._next_delivery_id = serial_max(self._next_delivery_id, session.window.next_delivery_id)
            self._free.append(session.channel)
        remote = session.remote_channel
        if remote is not None and self.incoming.get(remote) is session:
            del self.incoming[remote]
        self.output.forget(session)

    def all(self) -> list[Session]:
        """Every session, once."""
        return list(dict.fromkeys([*self.outgoing.values(), *self.incoming.values()]))

    def drop(self, error: AMQPError | None) -> None:
        """The connection is over, and all sessions with it.

        Nothing may be written after a close, neither by this engine nor by a link that somebody still holds.
        """
        self._next_delivery_id = self.next_delivery_id
        for session in self.all():
            session.drop(error)
        self.outgoing.clear()
        self.incoming.clear()
        self.output.forget_all()

"""A connection as the program sees it: what the engine reports becomes state.

Nothing here does I/O. A driver hands in what arrives (see ``incarnation.py``), and runs the two coroutines that wait:
``operations.connect`` and what its :class:`~amqp10.client.upkeep.Upkeep` spawns. Everything else is told by events.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from amqp10.client.client_options import EXPOSED, ClientOptions
from amqp10.client.closing import Ending
from amqp10.client.incarnation import Incarnation
from amqp10.client.links import Batched, Unwritten
from amqp10.client.recovery import TRANSITIONS, Backoff, ConnectionState, Move, StateChange, may_pass
from amqp10.client.sending import SenderCore
from amqp10.client.servers import Servers
from amqp10.client.sessions import Sessions
from amqp10.client.upkeep import Upkeep
from amqp10.client.wait import Waits
from amqp10.conditions import ErrorCondition
from amqp10.engine import (
    Connection,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
    DeliveriesSettled,
    DeliveriesUpdated,
    DeliveryAborted,
    EndpointRole,
    IncomingDelivery,
    LinkAttached,
    LinkDetached,
    LinkFlow,
    LinkRequested,
    SaslClient,
    SessionBegun,
    SessionEnded,
    SessionRequested,
)
from amqp10.errors import (
    AMQPError,
    ClosedError,
    ConnectionLostError,
    RemoteError,
)
from amqp10.wire.messaging import ACCEPTED

if TYPE_CHECKING:
    from amqp10.client.driver import Driver
    from amqp10.client.incarnation import Transport
    from amqp10.client.options import Address
    from amqp10.client.sessions import SessionCore
    from amqp10.engine import Event, OutgoingDelivery

__all__ = ["ClientCore"]

logger: logging.Logger = logging.getLogger("amqp10.client")

_CHANGES_KEPT: Final = 64


def _ignore(delivery: IncomingDelivery) -> None:
    """What arrives on a link that is not used any more stays with the peer."""


class ClientCore:
    """A connection that outlives its transports.

    Attributes:
        state: where it is in its life.
        incarnation: the life that it has now; None while it is down.
        servers: which server is in use, and which is next.
        sessions: what the program wants.
        upkeep: brings it back, and keeps the times.
        paused: whether the transport takes no more output.
        down_error: why it is down; None while it is not.
        error: why it is over for good; None while it is not.
    """

    def __init__(self, driver: Driver, options: ClientOptions) -> None:
        self.driver = driver
        self.options = options
        self.state: ConnectionState = ConnectionState.CONNECTING
        self.incarnation: Incarnation | None = None
        self.sessions: Sessions = Sessions(self)
        self.paused: bool = False
        self.down_error: AMQPError | None = None
        self.error: AMQPError | None = None
        self.closing: bool = False
        self.servers: Servers = Servers(options.addresses)
        self.changes: deque[StateChange] = deque(maxlen=_CHANGES_KEPT)
        """The last state changes, for those who ask for them."""
        self.listeners: list[Callable[[StateChange], None]] = []
        self.backoff: Backoff = Backoff(options.policy, len(options.addresses), options.random)
        self.touched: set[Batched] = set()
        self.unwritten: set[Unwritten] = set()
        """Senders with settled messages that wait for the session window."""
        self._container_id = options.container_id or f"amqp10-{uuid4().hex}"
        self._next_delivery_id = 0
        self._proved = False
        self._was_open = False
        self._reopened_at: float | None = None
        self._resent = 0
        self._sent_again = 0
        self._warned = False
        self.upkeep: Upkeep = Upkeep(self)
        self._close_by: float | None = None
        self._over_waits = Waits(driver)

    # -- life ------------------------------------------------------------------------------------------------------

    def move(self, move: Move, error: AMQPError | None = None, retry_in: float | None = None) -> None:
        """Change the state by the table, and report it."""
        state = TRANSITIONS.get((self.state, move))
        if state is None:
            return
        self.state = state
        now = self.driver.clock()
        resent = 0
        if state is ConnectionState.OPEN:
            resent, self._sent_again = self._resent, 0
        change = StateChange(
            state, error, self.address.url, self.backoff.attempts, self.backoff.elapsed(now), resent, retry_in
        )
        # One warning for each outage, not one for each attempt.
        level = logging.WARNING if state in (ConnectionState.LOST, ConnectionState.FAILED) else logging.INFO
        if state is not ConnectionState.CONNECTING:
            logger.log(level, "connection to %s: %s%s", change.url, state.value, f": {error}" if error else "")
        self.changes.append(change)
        for listener in self.listeners:
            listener(change)
        if self.options.on_state is not None:
            self.driver.call(self.options.on_state, change)

    @property
    def address(self) -> Address:
        """The server that is in use, or was tried last."""
        return self.servers.current

    @property
    def over(self) -> bool:
        """Whether it is over for good."""
        return self.state in (ConnectionState.FAILED, ConnectionState.CLOSED)

    def unwanted(self) -> bool:
        """Whether nobody wants it any more."""
        return self.closing or self.over

    def refuse(self) -> None:
        """Raise the reason why the connection cannot be used, if there is one.

        Raises:
            ClosedError: the program has closed it.
            ConnectionLostError: it is over.
        """
        if self.closing or self.state is ConnectionState.CLOSED:
            raise ClosedError("the connection is closed")
        if self.error is not None:
            raise self._lost_error(self.error)

    @staticmethod
    def _lost_error(cause: AMQPError) -> ConnectionLostError:
        if isinstance(cause, ConnectionLostError):
            return cause
        code = cause.code if cause.code != 600 else 1120
        error = ConnectionLostError(f"the connection is lost: {cause.message}", code=code)
        error.condition = cause.condition
        error.__cause__ = cause
        return error

    def default_session(self) -> SessionCore:
        """The session of links that were not given one."""
        self.refuse()
        return self.sessions.default()

    def add_session(self, incoming_window: int, outgoing_window: int) -> SessionCore:
        """Another session."""
        self.refuse()
        session = self.sessions.add(incoming_window, outgoing_window)
        session.begin()
        return session

    def private_session(self) -> SessionCore:
        """A session for a link that endangers others. It begins when the link is due."""
        session = self.sessions.add()
        session.private = True
        return session

    # -- connecting ------------------------------------------------------------------------------------------------

    async def attempt(self, deadline: float | None) -> None:
        """Connect once, until the peer's open is here.

        Args:
            deadline: when the time is over for all servers together; this attempt has its share of what is left.

        Raises:
            AMQPError: what went wrong. Nothing of the attempt is left then, nor when it is interrupted.
        """
        address = self.servers.current = self.servers.next()
        until = self.servers.share(self.driver.clock(), deadline, self.backoff.attempts)
        self.backoff.attempts += 1
        if self.options.exposes_password(address) and not self._warned:
            self._warned = True
            logger.warning("%s: %s; use amqps://, or forbid it with plain_without_tls=False", address.url, EXPOSED)
        token = None if self.options.token is None else await self.driver.ask(self.options.token)
        transport = await self.driver.open(address, until)
        incarnation: Incarnation | None = None
        try:
            if self.unwanted():
                raise ClosedError("the connection is closed")
            incarnation = self._adopt(transport, address, token)
            await incarnation.settled_wait.wait(until)
            if incarnation.reason is not None:
                raise incarnation.reason
        except BaseException:
            if incarnation is not None and self.incarnation is incarnation:
                self.incarnation = None
            transport.abort()
            raise
        self._opened()

    def _adopt(self, transport: Transport, address: Address, token: str | None) -> Incarnation:
        options = self.options
        engine = Connection(
            EndpointRole.CLIENT,
            container_id=self._container_id,
            hostname=options.host_of(address),
            max_frame_size=options.max_frame_size,
            idle_timeout=options.idle_timeout,
            sasl=SaslClient(options.mechanisms(address, token)),
            properties=options.properties,
            desired_capabilities=options.desired_capabilities,
            # Delivery ids, and with them tags, do not begin anew with a connection.
            initial_outgoing_id=self._next_delivery_id,
        )
        incarnation = Incarnation(self, engine, transport, address)
        self.incarnation = incarnation
        self._proved = False
        engine.start(self.driver.clock())
        transport.start(incarnation)
        self.driver.kick()
        return incarnation

    def _opened(self) -> None:
        self.down_error = None
        now = self.driver.clock()
        if self._was_open:
            self._reopened_at = now
        self._was_open = True
        self.sessions.begin()
        waiting = sum(link.count_resent() for link in self.sessions.links if isinstance(link, SenderCore))
        self._resent = self._sent_again + waiting

    def sends_again(self) -> None:
        """A sender has sent again what may have arrived."""
        if self.state is not ConnectionState.OPEN:  # not reported: this connection may go before it is
            self._sent_again += 1

    def restored(self) -> None:
        """Every link is attached again, or known not to be: report it."""
        self.move(Move.OPENED)
        if self._proved or not self.sessions:
            self.backoff.reset()

    def in_grace(self, now: float) -> bool:
        """Whether it is shortly after a reconnection: what is not found may still be made."""
        return self._reopened_at is not None and now - self._reopened_at < self.options.policy.attach_grace

    # -- what the engine reports -----------------------------------------------------------------------------------

    def handle(self, incarnation: Incarnation, events: list[Event]) -> None:
        """Take what an engine reports."""
        touched = self.touched
        link: object = None
        take: Any = None
        for event in events:
            kind = type(event)
            if kind is IncomingDelivery:
                if event.link is not link:  # type: ignore[union-attr]
                    link = event.link  # type: ignore[union-attr]
                    receiver = link.context
                    take = _ignore
                    if receiver.link is link:
                        take = receiver.intake()
                        touched.add(receiver)
                take(event)
            elif kind is DeliveriesUpdated:
                self._updated(event)  # type: ignore[arg-type]
            else:
                self._handle_rare(incarnation, event)
        if touched:
            self.before_flush()
        if self.unwritten:
            for sender in list(self.unwritten):
                sender.note_written()
        if incarnation.engine.pending:
            self.driver.kick()

    def before_flush(self) -> None:
        """Called before bytes are taken from the engine: what is said once per batch is said now."""
        touched = self.touched
        while touched:
            touched.pop().batch_done()

    def _updated(self, event: DeliveriesUpdated) -> None:
        state, settled, carriers = event.state, event.settled, event.deliveries
        senders: list[SenderCore] = []
        at = 0
        while at < len(carriers):
            sender: SenderCore = carriers[at].link.context
            if state is ACCEPTED and settled:
                at = sender.accepted(carriers, at)
            else:
                sender.updated(carriers[at], state, settled)
                at += 1
            if not senders or senders[-1] is not sender:
                senders.append(sender)
        for sender in senders:
            if sender.turns.waiting or sender.again:
                sender.give_turns()

    def _handle_rare(self, incarnation: Incarnation, event: Event) -> None:
        if isinstance(event, LinkFlow):
            link = event.link.context
            if link is not None and link.link is event.link:
                self._prove()
                link.flowed()
        elif isinstance(event, LinkAttached):
            link = event.link.context
            if link is not None:
                link.attached(event)
        elif isinstance(event, LinkDetached):
            if event.link.context is not None:
                event.link.context.detached(event)
        elif isinstance(event, SessionBegun):
            self._prove()
        elif isinstance(event, SessionEnded):
            if event.session.context is not None:
                event.session.context.ended(event)
        elif isinstance(event, DeliveryAborted):
            receiver = event.delivery.link.context
            if receiver is not None and receiver.link is event.delivery.link:
                receiver.aborted()
        elif isinstance(event, (LinkRequested, SessionRequested)):
            event.decline()
        elif isinstance(event, DeliveriesSettled):
            for delivery in event.deliveries:
                if delivery.link.context is not None:
                    delivery.link.context.peer_settled(delivery)
        elif isinstance(event, ConnectionOpened):
            incarnation.opened = True
            incarnation.settled_wait.set()
        elif isinstance(event, ConnectionClosed):
            error = event.error
            if error is None:
                error = RemoteError("the peer closed the connection", condition=ErrorCondition.CONNECTION_FORCED)
            self.disconnected(incarnation, error, event.undelivered)
        elif isinstance(event, ConnectionFailed):
            self.disconnected(incarnation, event.error, event.undelivered)

    def _prove(self) -> None:
        """The peer has answered something after the open: the connection works."""
        if not self._proved:
            self._proved = True
            if self.state is ConnectionState.OPEN:
                self.backoff.reset()

    # -- the end of a life -----------------------------------------------------------------------------------------

    def disconnected(self, incarnation: Incarnation, error: AMQPError, undelivered: Sequence[OutgoingDelivery]) -> None:
        """A life is over."""
        if self.incarnation is not incarnation:
            return
        self.incarnation = None
        self.paused = False
        incarnation.reason = error
        self._next_delivery_id = incarnation.engine.next_delivery_id
        self.driver.kick()
        incarnation.transport.close()
        if not incarnation.opened:
            incarnation.settled_wait.set()
            return
        if self.closing:
            self.sessions.lost(undelivered)
            self._finish(Move.CLOSE, None)
            return
        self.down_error = error
        now = self.driver.clock()
        policy = self.options.policy
        goes_on = self.options.recovers and (self.servers.follow(error) or may_pass(error, policy.retry, grace=True))
        if not goes_on:
            self.fail(error, undelivered)
            return
        self.backoff.begin(now)
        self.sessions.lost(undelivered)
        self.move(Move.LOST, error)
        self.attend()

    def fail(self, cause: AMQPError, undelivered: Sequence[OutgoingDelivery] = ()) -> None:
        """It will not come back: everybody is told."""
        if self.over:
            return
        error = self._lost_error(cause)
        self.error = error
        self.sessions.fail(error, undelivered, Ending.GAVE_UP)
        self._finish(Move.GIVE_UP, cause)

    def _finish(self, move: Move, error: AMQPError | None) -> None:
        incarnation, self.incarnation = self.incarnation, None
        if incarnation is not None:
            incarnation.reason = error or ClosedError("the connection is closed")
            incarnation.settled_wait.set()
            incarnation.transport.close()
        closed = self.error or ClosedError("the connection is closed")
        if self.error is None:
            self.error = closed
        self.sessions.fail(closed, (), Ending.CLOSED if move is Move.CLOSE else Ending.GAVE_UP)
        self.move(move, error)
        self._over_waits.set()
        self.upkeep.look()
        self.driver.finish()

    # -- upkeep ----------------------------------------------------------------------------------------------------

    def attend(self) -> None:
        """Something is to be done, now or later."""
        if not self.over:
            self.upkeep.attend()

    def next_due(self) -> float | None:
        """When something has to be done next."""
        due = self.sessions.next_due()
        by = self._close_by
        return due if by is None or (due is not None and due < by) else by

    def at_due(self, now: float) -> None:
        """Do what is due by now."""
        self.sessions.at_due(now)
        if self._close_by is not None and now >= self._close_by:
            self._close_by = None
            self._finish(Move.CLOSE, None)

    def progress(self) -> None:
        """A link has come or gone: whoever waits for that looks."""
        self.upkeep.look()
        self.sessions.advance_closing()
        if self.closing:
            self._advance_closing()

    # -- back-pressure ---------------------------------------------------------------------------------------------

    def pause_sending(self) -> None:
        """The transport takes no more for now."""
        self.paused = True

    def resume_sending(self) -> None:
        """The transport takes more again."""
        self.paused = False
        for link in self.sessions.links:
            if isinstance(link, SenderCore):
                link.give_turns()

    # -- closing ---------------------------------------------------------------------------------------------------

    def start_closing(self, deadline: float | None) -> None:
        """Close everything, in order. Goes on by itself, until the deadline at the latest."""
        if self.over:
            return
        if not self.closing:
            self.closing = True
            if self.incarnation is None or not self.incarnation.opened:
                self._finish(Move.CLOSE, None)
                return
            self.sessions.close(deadline)
        self._close_by = deadline
        self._advance_closing()
        self.attend()

    def _advance_closing(self) -> None:
        incarnation = self.incarnation
        if incarnation is None or self.sessions:
            return
        if incarnation.engine.can_send:
            incarnation.engine.close()
            self.driver.kick()

    async def wait_over(self) -> None:
        """Until it is over."""
        while not self.over:
            await self._over_waits.wait(None)

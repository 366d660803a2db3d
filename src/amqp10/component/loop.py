"""The component's inner loop: works the connection, waits, and fires what has come of it.

Rules (see docs/architecture.md, "events and threads"): one thread drives an instance; events fire on it, one at a
time, inside methods that work the connection. What arises while a handler runs is queued and fires when it has
returned, so the stack stays flat; state changes take effect at once, so a blocking call made inside a handler still
sees its condition met.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NoReturn

from amqp10.component.calls import Calls
from amqp10.component.event_queue import EventQueue
from amqp10.component.events import (
    AMQPConnectionStatusEventParams,
    AMQPDisconnectedEventParams,
    AMQPReadyToSendEventParams,
)
from amqp10.component.life import TRANSITIONS, Change, Life
from amqp10.component.log import Log
from amqp10.component.log_lines import frame_line
from amqp10.component.outgoing import Outgoing
from amqp10.component.properties import Properties, Route
from amqp10.component.pump import Pump
from amqp10.component.registry import Records
from amqp10.component.reports import Reports
from amqp10.component.settings import Settings
from amqp10.engine.states import ConnectionState
from amqp10.errors import AMQPError, AMQPTimeoutError

if TYPE_CHECKING:
    from amqp10.engine import Connection, Event, OutgoingDelivery, Session
    from amqp10.engine.connection import Trace
    from amqp10.net.transport import Transport
    from amqp10.net.waiting import Waiter

__all__ = ["Loop", "closed_here", "seconds"]

# What the reference names as the stages of a connection that ends; programs compare with these texts.
STATUS_DISCONNECTED: Final = "Remote host disconnected."
STATUS_SECURE_ENDED: Final = "SSL or S/Shell connection broken."
STATUS_FIREWALL_ENDED: Final = "Firewall host disconnected."

_FLUSH_INTERVAL: Final = 0.002
"""While many messages are being handled, what their handlers sent goes out at least this often (seconds)."""
_DO_EVENTS_WAIT: Final = 0.02
_DO_EVENTS_LONGEST: Final = 0.1
"""After so many seconds do_events() reads no more: a peer that sends faster than its messages are handled would
otherwise keep it from ever returning."""
# Looking up a member of an enumeration costs five times as much as looking up a name: this is looked at per message.
_OPEN: Final = Life.OPEN


class Loop:
    """The connection of one instance, and the only place where it waits.

    Attributes:
        clock: the time in seconds, counted from anywhere; it must never go back. Every time-out and heartbeat goes by
            it. Tests put a clock of their own here before connecting.
        life: where the connection is; moved on by :meth:`advance` alone.
        connecting: whether connect() has not returned yet.
        announced: whether the program knows that the connection is open. Then it hears of its end too.
        writable: whether more can be sent, as far as the program has been told.
        failure: what ended the connection; the call that works it raises this.
        flush_at: when what handlers have sent goes out at the latest.
        next_delivery_id: where the delivery ids of the next connection start: tags of a link name do not come again.
    """

    __slots__ = (
        "_log",
        "_narrow",
        "_outgoing",
        "_properties",
        "_records",
        "_reports",
        "_route",
        "_settings",
        "announced",
        "calls",
        "clock",
        "connecting",
        "events",
        "failure",
        "flush_at",
        "life",
        "next_delivery_id",
        "pump",
        "reported",
        "waiter",
        "writable",
    )

    def __init__(
        self,
        settings: Settings,
        properties: Properties,
        route: Route,
        calls: Calls,
        events: EventQueue,
        log: Log,
        reports: Reports,
        records: Records,
        outgoing: Outgoing,
    ) -> None:
        self._settings = settings
        self._properties = properties
        self._route = route
        self._log = log
        self._reports = reports
        self._records = records
        self._outgoing = outgoing
        self.calls: Calls = calls
        self.events: EventQueue = events
        self.clock: Callable[[], float] = time.monotonic
        self.waiter: Waiter | None = None
        self.pump: Pump | None = None
        self.reported: deque[Event] = deque()
        """What the engine has reported and the pump's sink has not seen yet."""
        self.life: Life = Life.DISCONNECTED
        self.connecting: bool = False
        self.announced: bool = False
        self.writable: bool = False
        self.failure: AMQPError | None = None
        self.flush_at: float = 0.0
        self._narrow: Session | None = None
        """The session whose closed window a message waits for."""
        self.next_delivery_id: int = 0

    def advance(self, change: Change) -> None:
        """Move the life cycle on."""
        self.life = TRANSITIONS[self.life, change]

    @property
    def engine(self) -> Connection | None:
        """The protocol of the present connection."""
        return self.pump.engine if self.pump is not None else None

    @property
    def connected(self) -> bool:
        """Whether the connection is open."""
        return self.life is _OPEN or self.life is Life.CLOSING

    @property
    def blocked(self) -> bool:
        """Whether bytes wait because the socket takes no more now."""
        return self.pump is not None and self.pump.blocked

    @property
    def in_use(self) -> bool:
        """Whether there is a connection, or one is on its way: what says how to connect is locked."""
        return self.pump is not None or self.connecting

    def check_unlocked(self, name: str, code: int) -> None:
        """Raise the error of a property that cannot be changed while connected."""
        if self.in_use:
            raise AMQPError(code, f"{name} cannot be changed while connected")

    def get_waiter(self) -> Waiter:
        """What waits for sockets; made when it is first needed."""
        waiter = self.waiter
        if waiter is None:
            from amqp10.net.waiting import Waiter

            waiter = self.waiter = Waiter()
        return waiter

    # -- the beginning and the end of a connection -----------------------------------------------------------------

    def begin(self) -> None:
        """Forget the last connection: a new one is on its way."""
        self.failure = None
        self._narrow = None
        self.announced = False
        self._outgoing.clear()
        self._records.clear()
        self.advance(Change.CONNECT)

    def start(self, engine: Connection, transport: Transport, sink: Callable[[], None]) -> None:
        """Speak the protocol over a transport."""
        pump = self.pump = Pump(engine, transport, self.get_waiter(), self.clock, self.reported, sink)
        self.advance(Change.REACHED)
        self.follow_log()
        engine.start(self.clock())
        # What came before may have taken long: without an absolute time-out, the last step of it counts as movement.
        pump.moved_at = self.clock()

    def status(self, stage: str, error: AMQPError | None = None) -> None:
        """Tell that the connection has passed a stage."""
        code, text = (0, "OK") if error is None else (error.code, error.message)
        self.events.post("on_connection_status", AMQPConnectionStatusEventParams(stage, code, text))

    def tear_down(self, error: AMQPError | None) -> None:
        """Drop the transport and all that lived on it; fires ``on_disconnected`` if the connection had been open."""
        was_open, self.announced = self.announced, False
        ended = [STATUS_DISCONNECTED]
        if self._route.tls is not None:
            ended.append(STATUS_SECURE_ENDED)
        if self._route.proxied:
            ended.append(STATUS_FIREWALL_ENDED)
        if self.reported and self.pump is not None:
            self.pump.sink()
        self.events.release_unseen()
        self.drop_transport(graceful=error is None or error.code != 1120)
        reason = error or AMQPError(600, "the connection was closed")
        for record in self._records.sessions.values():
            self._records.forget_session(record, reason)
        if was_open:
            code, text = (0, "OK") if error is None else (error.code, error.message)
            for stage in ended:
                self.status(stage, error)
            self._log(1, "Info", "disconnected" if error is None else f"disconnected: {error}")
            self.events.post("on_disconnected", AMQPDisconnectedEventParams(code, text))

    def drop_transport(self, *, graceful: bool) -> None:
        """Write the last bytes and close; an instance that is not connected holds no descriptors."""
        pump = self.pump
        self.advance(Change.DROP)
        self.writable = False
        self._route.forget_addresses()
        if pump is None:
            if self.waiter is not None:
                self.waiter.close()
                self.waiter = None
            return
        try:
            pump.flush()
        except AMQPError as error:
            self._log(2, "Session", f"the last bytes could not be sent: {error}")
        finally:
            self.pump = None
            self.next_delivery_id = pump.engine.next_delivery_id
            self.reported.clear()
            pump.close(graceful)
            pump.waiter.close()
            self.waiter = None

    def lose(self, error: AMQPError, undelivered: Iterable[OutgoingDelivery] = ()) -> None:
        """The connection is gone, not by our wish. The call that works it raises this; see :meth:`raise_failure`."""
        self.advance(Change.LOSE)
        if self.failure is None and self.life is Life.LOST:
            self.failure = error
            # Those with an outcome to come are counted when it is known which outcomes have arrived.
            self._outgoing.unwritten = [delivery for delivery in undelivered if delivery.settled]

    def raise_failure(self) -> None:
        """Tear down after the connection was lost, fire ``on_disconnected`` and raise what ended it."""
        error = self.failure
        if error is None:
            return
        self.failure = None
        self.tear_down(error)
        self.dispatch()
        raise self._outgoing.account(error)

    def _broken(self, pump: Pump, error: AMQPError) -> None:
        """The transport broke. A peer that gave its reason and hung up is believed: its close may still be unread."""
        try:
            while self.failure is None and pump.receive():
                pass
        except AMQPError as second:
            self._log(2, "Session", f"nothing more can be read: {second}")
        self.lose(error)

    # -- logging of an open connection -----------------------------------------------------------------------------

    def follow_log(self) -> None:
        """A setting or handler has changed: what is logged about an open connection follows at once."""
        pump = self.pump
        if pump is not None:
            pump.engine.output.trace = self._tracer()
            pump.tap = self._log_bytes if self._settings.log_frame_bytes and self._log.wanted(3) else None

    def _tracer(self) -> Trace | None:
        """What logs each frame, when anybody would see it; None otherwise, which keeps the engine's fast paths."""
        return self._log_frame if self._log.wanted(3) else None

    def _log_frame(self, outgoing: bool, channel: int, performative: object, payload: int) -> None:
        self._log(3, "Frame", frame_line(outgoing, channel, performative, payload))

    def _log_bytes(self, outgoing: bool, buffers: list[bytes | memoryview]) -> None:
        """Log bytes as they are on the connection, beneath TLS excepted. Nothing of a SASL exchange: it has secrets."""
        engine = self.engine
        if engine is not None and engine.state is not ConnectionState.START:
            self._log(3, "Frame", f"{'->' if outgoing else '<-'} bytes {b''.join(buffers).hex(' ', 4)}")

    # -- firing ----------------------------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Fire what is queued, unless a handler is running: then it waits for that to return."""
        calls = self.calls
        if calls.handling:
            return
        if self.reported and self.pump is not None:
            self.pump.sink()
        events = self.events
        entries = events.entries
        if not entries and events.current is None and events.missed is None:
            return
        try:
            calls.handling = calls.depth or 1
            if events.missed is not None:
                events.fire_missed()
            entry = events.current
            if entry is not None and not (entries and entries[0] is entry):
                entries.appendleft(entry)  # what was not done when an exception came
            actions = events.actions
            while entries:
                entry = events.current = entries[0]
                entries.popleft()
                actions[type(entry)](entry)
                events.current = None
                now = self.clock()
                if now >= self.flush_at:
                    self.flush_at = now + _FLUSH_INTERVAL
                    self._keep_alive(now)
            # The outcomes of the last ones, and what their handlers sent: the program may not call again soon.
            self.let_out()
        except BaseException as error:
            events.failed(error)
            # A handler failed. What was decided so far goes out: the program may not call again for a long time.
            self.let_out()
            raise
        finally:
            calls.handling = 0

    def _keep_alive(self, now: float) -> None:
        """Between handlers: send what they queued, and the heartbeat when it is due."""
        pump = self.pump
        if pump is None:
            return
        engine = pump.engine
        due = engine.next_deadline()
        if due is not None and now >= due:
            # Only what this side sent matters here: what the peer sent waits in the socket, not looked at yet.
            engine.send_heartbeat(now)
        self.let_out()

    # -- moving bytes ----------------------------------------------------------------------------------------------

    def let_out(self) -> None:
        """Write what waits, where a fault must not be raised: the call that works the connection does that."""
        pump = self.pump
        if pump is None:
            return
        try:
            pump.flush()
        except AMQPError as error:
            self._broken(pump, error)

    def flushed(self) -> bool:
        """Hand what waits to the socket; whether nothing is left. A connection that is broken is torn down.

        Raises:
            AMQPError: the connection was lost.
        """
        pump = self.pump
        if pump is None:
            return True
        try:
            return pump.flush()
        except AMQPError as error:
            self._broken(pump, error)
        self.raise_failure()
        return True

    def poll(self) -> None:
        """Look at what is there, without waiting."""
        pump = self.pump
        assert pump is not None
        waiter = pump.waiter
        try:
            waiter.begin()
            self._turn(pump, 0)
        finally:
            waiter.end()

    def _turn(self, pump: Pump, wait: float | None) -> None:
        """One round of the pump, then fire what came of it."""
        try:
            pump.turn(wait)
        except AMQPError as error:
            if error.code == 10004:
                raise
            self._broken(pump, error)
        if (
            not self.writable
            and self.announced
            and not (pump.blocked or pump.engine.backlogged or self._window_closed())
        ):
            self.writable = True
            self.events.post("on_ready_to_send", AMQPReadyToSendEventParams())
        self.dispatch()
        self.raise_failure()

    def hold(self, session: Session | None = None) -> None:
        """Nothing can be sent now, over a session or at all: ``on_ready_to_send`` tells when that has changed."""
        self.writable = False
        if session is not None:
            self._narrow = session

    def _window_closed(self) -> bool:
        """Whether the window that a message waited for is still closed."""
        session = self._narrow
        if session is None or session.window.remote_incoming > 0 or not session.mapped:
            self._narrow = None
            return False
        return True

    # -- waiting ---------------------------------------------------------------------------------------------------

    def work(
        self,
        done: Callable[[], bool],
        limit: float,
        what: str,
        *,
        absolute: bool | None = None,
        since: float | None = None,
        patient: bool = False,
    ) -> bool:
        """Work the connection until a condition holds.

        Args:
            done: the condition.
            limit: the time-out in seconds; 0 for none.
            what: what is being waited for, for the message of the time-out.
            absolute: whether the time-out counts from the start, rather than from the last byte that moved;
                by default as the setting ``AbsoluteTimeout`` says.
            since: when the call began, where this is not the first that it waits for; by default now.
            patient: whether time that is up is no error. (That of a handler's own call is one all the same.)

        Returns:
            Whether the condition holds.

        Raises:
            AMQPTimeoutError: 201.
            InterruptedCallError: 10004; ``interrupt()`` was called.
            AMQPError: the connection was lost.
        """
        if done():
            return True
        pump = self.pump
        assert pump is not None
        if absolute is None:
            absolute = self._settings.absolute_timeout
        start = self.clock() if since is None else since
        waiter = pump.waiter
        try:
            waiter.begin()
            while not done():
                wait: float | None = None
                if limit > 0:
                    if not absolute:
                        start = max(start, pump.moved_at)
                    wait = start + limit - self.clock()
                    if wait <= 0:
                        if patient:
                            return False
                        raise AMQPTimeoutError(f"time-out after {seconds(limit)} while {what}")
                self._turn(pump, wait)
                if self.pump is not pump:
                    raise AMQPError(1117, f"the connection was closed while {what}")
        finally:
            waiter.end()
        return True

    def answer(self, done: Callable[[], bool], what: str, *, absolute: bool | None = None) -> None:
        """Wait for an answer of the peer, as long as ``timeout`` allows. Errors as for :meth:`work`."""
        self.work(done, self._properties.limit, what, absolute=absolute)

    def connected_pump(self) -> Pump:
        """The pump of the open connection.

        Raises:
            AMQPError: 1117; there is none. The error of a connection that was just lost comes first.
        """
        pump = self.pump
        if pump is None or self.life is not _OPEN or self._reports.unheard:
            self._refuse()
        return pump

    def _refuse(self) -> NoReturn:
        self.raise_failure()
        self._reports.raise_unheard()
        raise AMQPError(1117, "not connected: call connect() first")

    def do_events(self) -> None:
        """One wait for something to happen, then all that is there already."""
        self.raise_failure()
        self._reports.raise_unheard()
        pump = self.pump
        if pump is None:
            self._idle()
            return
        waiter = pump.waiter
        try:
            waiter.begin()
            pump.more = False
            self._turn(pump, _DO_EVENTS_WAIT if not self.events.entries else 0)
            end = self.clock() + _DO_EVENTS_LONGEST
            while self.pump is pump and pump.more and self.clock() < end:
                pump.more = False
                self._turn(pump, 0)
        finally:
            waiter.end()
        self._reports.raise_unheard()

    def _idle(self) -> None:
        """What ``do_events()`` does without a connection: it waits as long as with one, so that loops do not spin."""
        outgoing = self._outgoing
        error, outgoing.left_over = outgoing.left_over, None
        if error is not None and outgoing.unsettled:
            # A loop that waits for the outcomes would never end.
            raise error
        if self.events.entries or self.connecting:
            self.dispatch()
            return
        waiter = self.get_waiter()
        try:
            waiter.begin()
            waiter.wait(timeout=_DO_EVENTS_WAIT)
        finally:
            waiter.end()
            # An instance that is not connected holds no descriptors.
            self.waiter = None
            waiter.close()


def closed_here(what: str) -> AMQPError:
    """The reason of an end that the program wanted."""
    return AMQPError(600, f"{what} was closed here")


def seconds(number: float) -> str:
    """A time for messages: ``"1 second"``, ``"2.5 seconds"``."""
    return f"{number:g} second" if number == 1 else f"{number:g} seconds"

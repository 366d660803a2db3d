"""The component's inner loop: who may call, what is waited for, which events fire and when.

Rules (see docs/architecture.md, "events and threads"): one thread drives an instance; events fire on it, one at a
time, inside methods that work the connection. What arises while a handler runs is queued and fires when it has
returned, so the stack stays flat; state changes take effect at once, so a blocking call made inside a handler still
sees its condition met.
"""

from __future__ import annotations

import time
from _thread import get_ident
from collections import deque
from collections.abc import Callable, Iterable
from functools import cache
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final, NoReturn, SupportsIndex, TypeAlias

from amqp10.component.endings import Ended, reached
from amqp10.component.events import (
    AMQPConnectedEventParams,
    AMQPConnectionStatusEventParams,
    AMQPDisconnectedEventParams,
    AMQPErrorEventParams,
    AMQPLinkReadyToSendEventParams,
    AMQPLogEventParams,
    AMQPMessageInEventParams,
    AMQPMessageOutcomeEventParams,
    AMQPMessageOutEventParams,
    AMQPReadyToSendEventParams,
    AMQPSSLServerAuthenticationEventParams,
    AMQPSSLStatusEventParams,
)
from amqp10.component.fields import EventHook, LogHook
from amqp10.component.log_lines import event_line
from amqp10.component.registry import LinkRecord, ReceiverRecord, Registry, SenderRecord, SessionRecord
from amqp10.component.settings import Settings
from amqp10.engine import IncomingDelivery
from amqp10.engine.events import (
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
    DeliveriesUpdated,
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
from amqp10.errors import AMQPError, AMQPTimeoutError, ProtocolError, escaped

if TYPE_CHECKING:
    from logging import Logger

    from amqp10.component.pump import Pump
    from amqp10.engine import Connection, OutgoingDelivery, Session

__all__ = ["Core", "Notice"]


_LEVELS: Final = {1: 20, 2: 10, 3: 10}
"""LogLevel -> the level of the standard library's: INFO and DEBUG."""
_WARNING: Final = 30
_FLUSH_INTERVAL: Final = 0.002
"""While many messages are being handled, what their handlers sent goes out at least this often (seconds)."""


_Entry: TypeAlias = "Notice | IncomingDelivery | DeliveriesUpdated | Ended"


class Notice:
    """An event that is ready to fire: which hook, and its parameters."""

    __slots__ = ("hook", "params")

    def __init__(self, hook: str, params: object) -> None:
        self.hook: str = hook
        self.params: object = params


@cache
def standard_logger() -> Logger:
    """The standard library's logger ``amqp10``, fetched when there is first something to log: it costs to import."""
    from logging import getLogger

    return getLogger("amqp10")


class Core:
    """State, event queue and wait loop. See the module's docstring; the public class is in ``amqp.py``."""

    __slots__ = (
        "__weakref__",
        "_clock",
        "_connecting",
        "_depth",
        "_dispatching",
        "_engine",
        "_established",
        "_event",
        "_failure",
        "_fetched",
        "_fetches",
        "_flush_at",
        "_left_over",
        "_links",
        "_missed",
        "_narrow",
        "_next_delivery_id",
        "_on_connected",
        "_on_connection_status",
        "_on_disconnected",
        "_on_error",
        "_on_link_ready_to_send",
        "_on_log",
        "_on_message_in",
        "_on_message_out",
        "_on_message_outcome",
        "_on_ready_to_send",
        "_on_ssl_server_authentication",
        "_on_ssl_status",
        "_opened",
        "_owner",
        "_pump",
        "_queue",
        "_reported",
        "_sessions",
        "_settings",
        "_timeout",
        "_unheard",
        "_unwritten",
        "_writable",
    )

    _timeout: int
    _on_error: Callable[[AMQPErrorEventParams], object] | None
    _on_log: Callable[[AMQPLogEventParams], object] | None
    _on_message_in: Callable[[AMQPMessageInEventParams], object] | None
    _on_message_out: Callable[[AMQPMessageOutEventParams], object] | None
    _on_message_outcome: Callable[[AMQPMessageOutcomeEventParams], object] | None
    _on_ssl_server_authentication: Callable[[AMQPSSLServerAuthenticationEventParams], object] | None

    on_connected: EventHook[AMQPConnectedEventParams] = EventHook(AMQPConnectedEventParams)
    """Fires when an attempt to connect has ended: once the connection is open, or before the call raises what went
    wrong."""

    on_connection_status: EventHook[AMQPConnectionStatusEventParams] = EventHook(AMQPConnectionStatusEventParams)
    """Fires when the connection passes a stage: the proxy or the server has been reached, TLS is established, the
    connection has ended."""

    on_disconnected: EventHook[AMQPDisconnectedEventParams] = EventHook(AMQPDisconnectedEventParams)
    """Fires once when a connection that had been open is gone, whoever ended it. Sessions and links are gone by then; a
    handler may connect anew."""

    on_error: EventHook[AMQPErrorEventParams] = EventHook(AMQPErrorEventParams)
    """Fires for a fault that does not end the connection and that no call was waiting for: the server has ended a link
    or a session, or a message cannot be decoded. An error of the connection is raised by the call that works it."""

    on_link_ready_to_send: EventHook[AMQPLinkReadyToSendEventParams] = EventHook(AMQPLinkReadyToSendEventParams)
    """Fires when the credit of a sender link goes from none to some: first when the server grants it, then after each
    time that it was used up."""

    on_log: LogHook[AMQPLogEventParams] = LogHook(AMQPLogEventParams)
    """Fires for each log message of a level up to the setting ``LogLevel``: 1 for what the program does and what the
    server ends, 2 for every change of a session or link, 3 for every frame. The same lines go to the standard logger
    ``amqp10``, level 1 as INFO and the others as DEBUG."""

    on_message_in: EventHook[AMQPMessageInEventParams] = EventHook(AMQPMessageInEventParams)
    """Fires for each message received, which the ``received_message_...`` properties show. Its handler sets the outcome
    through ``state``; an exception in it releases the message."""

    on_message_out: EventHook[AMQPMessageOutEventParams] = EventHook(AMQPMessageOutEventParams)
    """Fires for each message that is done with: a settled one when it has been sent, an unsettled one when its outcome,
    whichever it is, has arrived."""

    on_message_outcome: EventHook[AMQPMessageOutcomeEventParams] = EventHook(AMQPMessageOutcomeEventParams)
    """Fires when the outcome of an unsettled message is known, sent from here or received. The ``RejectError...`` and
    ``Modified...`` settings tell more while the handler runs."""

    on_ready_to_send: EventHook[AMQPReadyToSendEventParams] = EventHook(AMQPReadyToSendEventParams)
    """Fires when all that waited for the socket, or for a session window of the peer, has gone out."""

    on_ssl_server_authentication: EventHook[AMQPSSLServerAuthenticationEventParams] = EventHook(
        AMQPSSLServerAuthenticationEventParams
    )
    """Fires once per TLS handshake when the server has shown its certificate, before anything secret is sent. The
    handler may overrule the verification through ``accept``."""

    on_ssl_status: EventHook[AMQPSSLStatusEventParams] = EventHook(AMQPSSLStatusEventParams)
    """Fires with the progress of the TLS handshake."""

    def __init__(self) -> None:
        self._clock: Callable[[], float] = time.monotonic
        """The time in seconds, counted from anywhere; it must never go back. Every time-out and heartbeat goes by it.
        Tests may put a clock of their own here before connecting."""
        self._owner: dict[int, int] = {}
        """The thread that is inside a call, under 0: a dict, because ``setdefault`` looks and takes in one step."""
        self._depth = 0
        self._dispatching = 0
        """The depth of the call whose handler is running; 0 while none is. An exception of a signal handler may leave
        both as they are not, but then the next call is no deeper than this."""
        self._reported: deque[Event] = deque()
        """What the engine has reported and :meth:`_take` has not seen yet."""
        self._queue: deque[_Entry] = deque()
        self._event: _Entry | None = None
        """The entry of the queue that is being handled."""
        self._missed: AMQPMessageOutEventParams | None = None
        """An ``on_message_out`` that is due, though the handler before it has failed."""
        self._unheard: deque[AMQPError] = deque()
        """Errors about undelivered messages that no ``on_error`` has reported: the next call raises one."""
        self._left_over: AMQPError | None = None
        """What the next ``do_events()`` without a connection says of the messages that have no outcome."""
        self._unwritten: list[OutgoingDelivery] = []
        """Settled messages that were still waiting to be written when the connection was lost."""
        self._narrow: Session | None = None
        """The session whose closed window a message waits for."""
        self._engine: Connection | None = None
        self._next_delivery_id = 0
        """Where the delivery ids of the next connection start: tags of a link name do not come again."""
        self._pump: Pump | None = None
        self._opened = False
        self._connecting = False
        self._established = False
        self._writable = False
        self._failure: AMQPError | None = None
        self._flush_at = 0.0
        self._fetches: list[ReceiverRecord] = []
        """The links on which a fetch waits."""
        self._fetched: list[IncomingDelivery] = []
        """Messages that a fetch has got and not handed over yet."""
        self._sessions: Registry[SessionRecord] = Registry("session")
        self._links: Registry[LinkRecord] = Registry("link")
        self._settings = Settings()
        for hook in _HOOKS:
            method = getattr(type(self), hook).method
            setattr(self, "_" + hook, None if method is None else MethodType(method, self))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """A subclass may define event handlers as methods: ``def on_message_in(self, event)``."""
        super().__init_subclass__(**kwargs)
        for name, value in list(vars(cls).items()):
            hook = vars(Core).get(name)
            if isinstance(hook, EventHook) and not isinstance(value, EventHook):
                if not isinstance(value, FunctionType):
                    raise TypeError(f"{cls.__name__}.{name} must be a method that takes the event, not {value!r}")
                setattr(cls, name, hook.defined_as(value))

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse to be copied or pickled: a connection belongs to one instance."""
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled: make a new one and set its properties")

    # -- one thread at a time --------------------------------------------------------------------------------------

    def _enter(self) -> None:
        """Begin a public call, as the first thing in a ``try`` whose ``finally`` calls :meth:`_leave`.

        Taking the instance is one step, so that an exception of a signal handler cannot leave it taken by nobody.

        Raises:
            AMQPError: 211; another thread is inside a call of this instance.
        """
        me = get_ident()
        if self._owner.setdefault(0, me) != me:
            raise AMQPError(
                211, "another thread is using this instance; only interrupt() may be called from any thread"
            )
        depth = self._depth = self._depth + 1
        if depth == 1 or depth <= self._dispatching:
            # No handler runs and no fetch waits, whatever an exception has left over.
            self._dispatching = 0
            if self._fetches or self._fetched:
                self._clean_up()

    def _clean_up(self) -> None:
        raise NotImplementedError

    def _leave(self) -> None:
        if self._owner.get(0) != get_ident():
            return  # it was another thread's
        depth = self._depth = self._depth - 1
        if depth <= 0:
            self._depth = 0
            self._owner.clear()

    # -- logging ---------------------------------------------------------------------------------------------------

    def _logs(self, level: int) -> bool:
        """Whether anybody would see a log message of this level."""
        return level <= self._settings.log_level and (
            self._on_log is not None or standard_logger().isEnabledFor(_LEVELS[level])
        )

    def _settings_changed(self) -> None:
        raise NotImplementedError

    def _log(self, level: int, kind: str, message: str, severity: int = 0) -> None:
        """Log a message: level 1 to 3, type Info, Session or Frame. Never with a secret in it.

        ``severity`` is the level for the standard library's logger, where it is not the usual one.
        """
        if not severity and not self._logs(level):
            return
        message = escaped(message)  # a peer's words may be part of it, and must not pass for further lines
        standard_logger().log(severity or _LEVELS[level], "%s", message)
        if self._on_log is not None:
            self._queue.append(Notice("_on_log", AMQPLogEventParams(level, message, kind)))

    def _warn(self, message: str) -> None:
        """Log that the program does what it hardly means to. Of type Info; for the standard logger, a warning."""
        if self._settings.log_level > 0:
            self._log(1, "Info", message, _WARNING)

    # -- events ----------------------------------------------------------------------------------------------------

    def _post(self, hook: str, params: object) -> None:
        """Queue an event; it fires when the running handler has returned."""
        if getattr(self, hook) is not None:
            self._queue.append(Notice(hook, params))

    def _post_error(self, error: AMQPError) -> None:
        self._log(1, "Info", f"error: {error}")
        self._post("_on_error", AMQPErrorEventParams(error.code, error.message))

    def _raise_unheard(self) -> None:
        """Raise what a handler of ``on_error`` should have been told."""
        if self._unheard:
            raise self._unheard.popleft()

    def _dispatch(self) -> None:
        """Fire what is queued, unless a handler is running: then it waits for that to return.

        An entry leaves the queue by way of ``_event``, and is forgotten when it has been handled: a signal handler may
        raise at any place in between.
        """
        if self._dispatching:
            return
        if self._reported:
            self._take()
        queue = self._queue
        if not queue and self._event is None and self._missed is None:
            return
        try:
            self._dispatching = self._depth or 1
            if self._missed is not None:
                self._fire_missed()
            event = self._event
            if event is not None and not (queue and queue[0] is event):
                queue.appendleft(event)  # what was not done when an exception came
            while queue:
                event = self._event = queue[0]
                queue.popleft()
                kind = type(event)
                if kind is IncomingDelivery:
                    self._deliver(event)  # type: ignore[arg-type]
                elif kind is DeliveriesUpdated:
                    self._conclude(event)  # type: ignore[arg-type]
                elif kind is Notice:
                    self._fire(event)  # type: ignore[arg-type]
                else:
                    self._conclude_end(event)  # type: ignore[arg-type]
                self._event = None
                now = self._clock()
                if now >= self._flush_at:
                    self._flush_at = now + _FLUSH_INTERVAL
                    self._keep_alive(now)
            if self._pump is not None:
                # The outcomes of the last ones, and what their handlers sent: the program may not call again soon.
                self._let_out(self._pump)
        except BaseException as error:
            if type(self._event) is IncomingDelivery:
                self._settle_failed(self._event, error)
            # A handler failed. What was decided so far goes out: the program may not call again for a long time.
            if self._pump is not None:
                self._let_out(self._pump)
            raise
        finally:
            self._dispatching = 0

    def _fire(self, notice: Notice) -> None:
        handler = getattr(self, notice.hook)
        if handler is None:
            return
        try:
            # In one step, so that no exception of a signal handler comes between: it would fire again.
            self._event = (handler(notice.params), None)[1]
        except BaseException as error:
            if reached(error, handler):
                self._event = None
            raise

    def _fire_missed(self) -> None:
        params, handler = self._missed, self._on_message_out
        try:
            self._missed = (handler(params), None)[1] if handler is not None and params is not None else None
        except BaseException as error:
            if handler is not None and reached(error, handler):
                self._missed = None
            raise

    def _conclude_end(self, ended: Ended) -> None:
        raise NotImplementedError

    def _keep_alive(self, now: float) -> None:
        """Between handlers: send what they queued, and the heartbeat when it is due."""
        pump = self._pump
        if pump is None:
            return
        engine = pump.engine
        due = engine.next_deadline()
        if due is not None and now >= due:
            # Only what this side sent matters here: what the peer sent waits in the socket, not looked at yet.
            engine.send_heartbeat(now)
        self._let_out(pump)

    def _let_out(self, pump: Pump) -> None:
        """Write what waits, where a fault must not be raised: the call that works the connection does that."""
        try:
            pump.flush()
        except AMQPError as error:
            self._broken(pump, error)

    def _deliver(self, delivery: IncomingDelivery) -> object:
        raise NotImplementedError

    def _settle_failed(self, delivery: IncomingDelivery, error: BaseException) -> None:
        raise NotImplementedError

    def _conclude(self, update: DeliveriesUpdated) -> None:
        raise NotImplementedError

    # -- what the engine reports -----------------------------------------------------------------------------------

    def _take(self) -> None:
        """The pump's sink: state changes at once, events into the queue.

        What has been reported is forgotten only when that is done. Doing it twice does no harm: a signal handler may
        raise at any place in between.
        """
        queue, reported = self._queue, self._reported
        if reported and queue and queue[-1] is reported[0]:
            reported.popleft()  # an exception came between the two steps
        while reported:
            event = reported[0]
            kind = type(event)
            if kind is IncomingDelivery:
                record: ReceiverRecord = event.link.context  # type: ignore[union-attr]
                if record.automatic:
                    record.queued += 1
                    queue.append(event)  # type: ignore[arg-type]
                else:
                    self._take_fetched(record, event)  # type: ignore[arg-type]
            elif kind is DeliveriesUpdated:
                queue.append(event)  # type: ignore[arg-type]
            else:
                self._apply(event)
            reported.popleft()

    def _take_fetched(self, record: ReceiverRecord, delivery: IncomingDelivery) -> None:
        raise NotImplementedError

    def _replace_aborted(self, delivery: IncomingDelivery) -> None:
        raise NotImplementedError

    def _apply(self, event: Event) -> None:
        if isinstance(event, LinkFlow):
            self._on_flow(event)
        elif isinstance(event, LinkAttached):
            # Before anything fires: a handler that is told of the link's credit must find the link.
            link: LinkRecord | None = event.link.context
            if link is not None:
                self._links.add(link)
                link.session.links[link.name] = link
        elif isinstance(event, LinkDetached):
            self._on_detached(event)
        elif isinstance(event, DeliveryAborted):
            self._replace_aborted(event.delivery)
        elif isinstance(event, LinkRequested):
            # A client only has the links that it asks for.
            event.link.refuse(ProtocolError("this client accepts no links", condition="amqp:not-implemented"))
        elif isinstance(event, SessionRequested):
            event.session.end(ProtocolError("this client accepts no sessions", condition="amqp:not-implemented"))
        elif isinstance(event, SessionBegun):
            session: SessionRecord | None = event.session.context
            if session is not None:
                self._sessions.add(session)
            else:
                # The call that asked for it has given up.
                event.session.end()
        elif isinstance(event, SessionEnded):
            self._on_session_ended(event)
        elif isinstance(event, ConnectionOpened):
            self._opened = True
        elif isinstance(event, ConnectionClosed):
            self._on_closed(event)
        elif isinstance(event, ConnectionFailed):
            self._lose(event.error, event.undelivered)
        self._log_event(event)

    def _log_event(self, event: Event) -> None:
        if self._logs(2):
            self._log(2, "Session", event_line(event))

    def _on_flow(self, event: LinkFlow) -> None:
        record = event.link.context
        if not isinstance(record, SenderRecord):
            return
        link = record.engine
        if link.drain:
            # Nothing is held back here: what was sent took its credit, so the rest can be given back at once.
            link.drained()
        if link.credit <= 0:
            record.announced = False
        elif not record.announced:
            record.announced = True
            self._post("_on_link_ready_to_send", AMQPLinkReadyToSendEventParams(self, record.name))

    def _on_detached(self, event: LinkDetached) -> None:
        record: LinkRecord | None = event.link.context
        if record is None:
            return  # refused, or given up: the call that waited for it says what happened
        if record.closed:
            if isinstance(record, SenderRecord):
                self._end(closed_here(f"link {record.name!r}"), event, event.undelivered)
            return
        if self._links.get(record.name) is not record:
            return
        error = event.error or ProtocolError("the peer closed the link and gave no reason")
        self._log(1, "Info", f"link {record.name!r} ended by the peer: {error.message}")
        # An error while it is being attached is raised by the call that does it.
        self._end(error, event, event.undelivered, tell=not record.attaching)
        self._forget_link(record, error)

    def _on_session_ended(self, event: SessionEnded) -> None:
        record: SessionRecord | None = event.session.context
        if record is None:
            return
        if record.closed:
            self._end(closed_here(f"session {record.name!r}"), event, event.undelivered)
            return
        if self._sessions.get(record.name) is not record:
            return
        error = event.error or ProtocolError("the peer ended the session and gave no reason")
        self._log(1, "Info", f"session {record.name!r} ended: {error.message}")
        # An error while a link is being attached is raised by the call that does it.
        self._end(error, event, event.undelivered, tell=not record.attaching)
        self._forget_session(record, error)

    def _end(
        self, reason: AMQPError, event: Event | None, deliveries: Iterable[OutgoingDelivery], *, tell: bool = False
    ) -> None:
        """Queue the end of a link or session, after the outcomes that have arrived."""
        last = self._queue[-1] if self._queue else None
        if event is not None and type(last) is Ended and last.event is event:
            return
        ended = Ended(reason, event, tell=tell, deliveries=deliveries)
        if ended.tell or ended.deliveries:
            self._queue.append(ended)

    def _on_closed(self, event: ConnectionClosed) -> None:
        if event.by_peer:
            error = event.error or ProtocolError("the peer closed the connection and gave no reason")
            self._lose(error, event.undelivered)
        else:
            self._opened = False

    def _forget_link(self, record: LinkRecord, error: AMQPError | None) -> None:
        self._links.remove(record.name, error)
        record.session.links.pop(record.name, None)

    def _forget_session(self, record: SessionRecord, error: AMQPError | None) -> None:
        for link in list(record.links.values()):
            self._forget_link(link, error)
        self._sessions.remove(record.name, error)

    def _lose(self, error: AMQPError, undelivered: Iterable[OutgoingDelivery] = ()) -> None:
        """The connection is gone, not by our wish. The call that works it raises this; see :meth:`_raise_failure`."""
        self._opened = False
        if self._failure is None:
            self._failure = error
            # Those with an outcome to come are counted when it is known which outcomes have arrived.
            self._unwritten = [delivery for delivery in undelivered if delivery.settled]

    # -- waiting ---------------------------------------------------------------------------------------------------

    def _raise_failure(self) -> None:
        """Tear down after the connection was lost, fire ``on_disconnected`` and raise what ended it."""
        error = self._failure
        if error is None:
            return
        self._failure = None
        self._tear_down(error)
        self._dispatch()
        raise self._with_left_over(error)

    def _with_left_over(self, error: AMQPError) -> AMQPError:
        raise NotImplementedError

    def _broken(self, pump: Pump, error: AMQPError) -> None:
        """The transport broke. A peer that gave its reason and hung up is believed: its close may still be unread."""
        try:
            while self._failure is None and pump.receive():
                pass
        except AMQPError as second:
            self._log(2, "Session", f"nothing more can be read: {second}")
        self._lose(error)

    def _poll(self) -> None:
        """Look at what is there, without waiting."""
        pump = self._pump
        assert pump is not None
        waiter = pump.waiter
        try:
            waiter.begin()
            self._turn(0)
        finally:
            waiter.end()

    def _tear_down(self, error: AMQPError | None) -> None:
        raise NotImplementedError

    def _turn(self, wait: float | None) -> None:
        """One round of the pump, then fire what came of it."""
        pump = self._pump
        assert pump is not None
        try:
            pump.turn(wait)
        except AMQPError as error:
            if error.code == 10004:
                raise
            self._broken(pump, error)
        if not self._writable and self._established and not (pump.blocked or pump.engine.backlogged or self._closed()):
            self._writable = True
            self._post("_on_ready_to_send", AMQPReadyToSendEventParams())
        self._dispatch()
        self._raise_failure()

    def _closed(self) -> bool:
        """Whether the window that a message waited for is still closed."""
        session = self._narrow
        if session is None or session.window.remote_incoming > 0 or not session.mapped:
            self._narrow = None
            return False
        return True

    def _work(
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
        pump = self._pump
        assert pump is not None
        if absolute is None:
            absolute = self._settings.absolute_timeout
        start = self._clock() if since is None else since
        waiter = pump.waiter
        try:
            waiter.begin()
            while not done():
                wait: float | None = None
                if limit > 0:
                    if not absolute:
                        start = max(start, pump.moved_at)
                    wait = start + limit - self._clock()
                    if wait <= 0:
                        if patient:
                            return False
                        raise AMQPTimeoutError(f"time-out after {seconds(limit)} while {what}")
                self._turn(wait)
                if self._pump is not pump:
                    raise AMQPError(1117, f"the connection was closed while {what}")
        finally:
            waiter.end()
        return True

    def _limit(self) -> float:
        """The time-out of calls that wait for an answer of the peer. With ``timeout`` 0, which never waits to send,
        answers are still waited for, as long as a default time-out would allow."""
        return float(self._timeout or 60)

    def _connected_pump(self) -> Pump:
        """The pump of the open connection.

        Raises:
            AMQPError: 1117; there is none. The error of a connection that was just lost comes first.
        """
        if self._failure is not None:
            self._raise_failure()
        if self._unheard:
            self._raise_unheard()
        pump = self._pump
        if pump is None or not self._opened:
            raise AMQPError(1117, "not connected: call connect() first")
        return pump

    def _flushed(self) -> bool:
        """Hand what waits to the socket; whether nothing is left. A connection that is broken is torn down.

        Raises:
            AMQPError: the connection was lost.
        """
        pump = self._pump
        if pump is None:
            return True
        try:
            return pump.flush()
        except AMQPError as error:
            self._broken(pump, error)
        self._raise_failure()
        return True

    def _session_index(self, name: str) -> int:
        return self._sessions.index_of(name)

    def _link_index(self, name: str) -> int:
        return self._links.index_of(name)


def closed_here(what: str) -> AMQPError:
    """The reason of an end that the program wanted."""
    return AMQPError(600, f"{what} was closed here")


def seconds(number: float) -> str:
    """A time for messages: ``"1 second"``, ``"2.5 seconds"``."""
    return f"{number:g} second" if number == 1 else f"{number:g} seconds"


_HOOKS: Final = tuple(name for name, value in vars(Core).items() if isinstance(value, EventHook))

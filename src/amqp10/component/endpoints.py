"""Sessions and links: the calls that make and end them, and what the engine reports about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from amqp10.codec import Symbol
from amqp10.component.events import AMQPLinkReadyToSendEventParams
from amqp10.component.inbox import Inbox
from amqp10.component.life import Change
from amqp10.component.log import Log
from amqp10.component.log_lines import event_line
from amqp10.component.loop import Loop, closed_here
from amqp10.component.properties import Properties
from amqp10.component.registry import LinkRecord, ReceiverRecord, Records, SenderRecord, SessionRecord
from amqp10.component.reports import Reports
from amqp10.component.settings import Settings
from amqp10.conditions import ErrorCondition
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
from amqp10.engine.states import LinkState, SessionState
from amqp10.errors import LimitError, ProtocolError
from amqp10.wire.messaging import ACCEPTED, RELEASED, Modified, Rejected, Source, Target
from amqp10.wire.performatives import SenderSettleMode

if TYPE_CHECKING:
    from amqp10.engine import Connection

__all__ = ["Endpoints", "address_hint", "product_of"]

_OUTCOMES: Final = tuple(Symbol(kind.DESCRIPTOR_NAME) for kind in (type(ACCEPTED), Rejected, type(RELEASED), Modified))


class Endpoints:
    """The sessions and links of one instance."""

    __slots__ = ("_inbox", "_log", "_loop", "_properties", "_records", "_reports", "_settings")

    def __init__(
        self,
        settings: Settings,
        properties: Properties,
        log: Log,
        reports: Reports,
        records: Records,
        loop: Loop,
        inbox: Inbox,
    ) -> None:
        self._settings = settings
        self._properties = properties
        self._log = log
        self._reports = reports
        self._records = records
        self._loop = loop
        self._inbox = inbox

    # -- sessions --------------------------------------------------------------------------------------------------

    def create_session(self, name: str) -> None:
        """Begin a session; see ``AMQP.create_session``."""
        pump = self._loop.connected_pump()
        settings = self._settings
        if len(self._records.sessions) >= settings.max_session_count:
            raise LimitError(f"MaxSessionCount allows {settings.max_session_count} sessions, and there are as many")
        self._records.sessions.reserve(name)
        try:
            engine = pump.engine.begin(
                incoming_window=settings.default_incoming_window,
                outgoing_window=settings.default_outgoing_window,
                handle_max=settings.max_link_count_per_session - 1,
            )
            engine.context = record = SessionRecord(name, engine, settings.max_link_count_per_session)
            try:
                self._loop.answer(
                    lambda: engine.state is not SessionState.BEGIN_SENT, f"waiting for session {name!r} to begin"
                )
            except BaseException:
                # Nothing is left. A begin that has not been answered yet is ended when it is.
                engine.context = None
                self._records.forget_session(record, None)
                if self._loop.pump is pump and engine.state is not SessionState.BEGIN_SENT:
                    engine.end()
                    self._loop.let_out()
                raise
        finally:
            self._records.sessions.release(name)
        if engine.state is not SessionState.MAPPED and not record.closed:
            raise engine.error or ProtocolError(f"the peer ended session {name!r} at once and gave no reason")
        self._log(1, "Session", f"session {name!r} has begun on channel {engine.channel}")
        self._loop.dispatch()

    def close_session(self, name: str) -> None:
        """End a session; see ``AMQP.close_session``."""
        self._loop.connected_pump()
        record = self._records.sessions.find(name)
        self._inbox.settle_handled(lambda link: link.session is record)
        for link in list(record.links.values()):
            self._loop.events.release_unseen(link.name)
        engine = record.engine
        record.closed = True
        self._records.forget_session(record, None)
        for endpoint in list(engine.links.values()):
            endpoint.detach()
        engine.end()
        try:
            self._loop.answer(lambda: engine.state is SessionState.UNMAPPED, f"waiting for session {name!r} to end")
        except BaseException:
            # Nothing more will be known of them, whatever the peer says later.
            self._loop.events.end(closed_here(f"session {name!r}"), None, engine.undelivered())
            raise
        self._log(1, "Session", f"session {name!r} has ended")
        self._loop.dispatch()
        self._reports.raise_unheard()

    # -- links -----------------------------------------------------------------------------------------------------

    def _session_for_link(self, session_name: str) -> SessionRecord:
        self._loop.connected_pump()
        session = self._records.sessions.find(session_name)
        if len(session.links) >= session.link_limit:
            raise LimitError(f"session {session_name!r} has {session.link_limit} links, which is its limit")
        return session

    def create_sender(self, session_name: str, name: str, target: str) -> None:
        """Attach a sender link; see ``AMQP.create_sender_link``."""
        session = self._session_for_link(session_name)
        check_address("target", target)
        settings = self._settings
        self._records.links.reserve(name)
        try:
            engine = session.engine.attach_sender(
                name,
                source=Source(address=self._properties.container_id or None, outcomes=_OUTCOMES),
                target=Target(address=target or None, capabilities=capabilities(settings.default_target_capabilities)),
                snd_settle_mode=SenderSettleMode(settings.default_sender_settle_mode),
                max_message_size=settings.max_message_size,
            )
            self._finish_attach(SenderRecord(name, session, engine), target)
        finally:
            self._records.links.release(name)
        self._loop.dispatch()

    def create_receiver(self, session_name: str, name: str, source: str) -> None:
        """Attach a receiver link; see ``AMQP.create_receiver_link``."""
        session = self._session_for_link(session_name)
        check_address("source", source)
        settings = self._settings
        self._records.links.reserve(name)
        try:
            engine = session.engine.attach_receiver(
                name,
                source=Source(
                    address=source or None,
                    outcomes=_OUTCOMES,
                    capabilities=capabilities(settings.default_source_capabilities),
                ),
                target=Target(address=self._properties.container_id or None),
                snd_settle_mode=SenderSettleMode(settings.default_sender_settle_mode),
                max_message_size=settings.max_message_size,
            )
            record = ReceiverRecord(
                name,
                session,
                engine,
                self._properties.receive_mode,
                settings.default_credit,
                settings.default_credit_threshold,
            )
            self._finish_attach(record, source)
        finally:
            self._records.links.release(name)
        pump = self._loop.pump
        if record.automatic and pump is not None and engine.attached:
            record.renew_credit()
            self._loop.flushed()
        self._loop.dispatch()

    def _finish_attach(self, record: LinkRecord, address: str) -> None:
        """Wait for the peer's answer; leave no link when it is a refusal."""
        engine = record.engine
        engine.context = record
        pump = self._loop.pump
        session = record.session
        session.attaching += 1
        try:
            self._loop.answer(
                lambda: (
                    (engine.remote_attach is not None and not engine.refusing) or engine.state is LinkState.DETACHED
                ),
                f"waiting for the peer to attach link {record.name!r}",
            )
        except BaseException:
            # Also when a handler failed meanwhile: a call that raises leaves no link.
            engine.context = None
            self._records.forget_link(record, None)
            if pump is not None and self._loop.pump is pump:
                engine.detach()
                self._loop.let_out()
            raise
        finally:
            session.attaching -= 1
            record.attaching = False
        if engine.state is not LinkState.ATTACHED and not (record.closed or session.closed):
            error = (
                engine.error
                or engine.session.error
                or ProtocolError(f"the peer ended link {record.name!r} at once and gave no reason")
            )
            hint = (
                address_hint(product_of(self._loop.engine), address)
                if error.condition == ErrorCondition.INVALID_FIELD
                else ""
            )
            raise error.with_hint(hint) if hint else error
        self._log(1, "Session", f"link {record.name!r} is attached")

    def close_link(self, name: str) -> None:
        """Close a link; see ``AMQP.close_link``."""
        self._loop.connected_pump()
        record = self._records.links.find(name)
        self._inbox.settle_handled(lambda link: link is record)
        self._loop.events.release_unseen(name)
        engine = record.engine
        record.closed = True
        self._records.forget_link(record, None)
        engine.detach()
        try:
            self._loop.answer(
                lambda: engine.state is LinkState.DETACHED, f"waiting for the peer to detach link {name!r}"
            )
        except BaseException:
            if isinstance(record, SenderRecord):
                # Nothing more will be known of them, whatever the peer says later.
                self._loop.events.end(closed_here(f"link {name!r}"), None, record.engine.undelivered)
            raise
        self._log(1, "Session", f"link {name!r} is closed")
        self._loop.dispatch()
        self._reports.raise_unheard()

    # -- what the engine reports -----------------------------------------------------------------------------------

    def take(self) -> None:
        """The pump's sink: state changes at once, events into the queue.

        What has been reported is forgotten only when that is done. Doing it twice does no harm: a signal handler may
        raise at any place in between.
        """
        queue, reported = self._loop.events.entries, self._loop.reported
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
                    record.take_fetched(event)  # type: ignore[arg-type]
            elif kind is DeliveriesUpdated:
                queue.append(event)  # type: ignore[arg-type]
            else:
                self._apply(event)
            reported.popleft()

    def _apply(self, event: Event) -> None:
        if isinstance(event, LinkFlow):
            self._on_flow(event)
        elif isinstance(event, LinkAttached):
            # Before anything fires: a handler that is told of the link's credit must find the link.
            link: LinkRecord | None = event.link.context
            if link is not None:
                self._records.links.add(link)
                link.session.links[link.name] = link
        elif isinstance(event, LinkDetached):
            self._on_detached(event)
        elif isinstance(event, DeliveryAborted):
            receiver: ReceiverRecord | None = event.delivery.link.context
            if receiver is not None:
                receiver.replace_aborted()
        elif isinstance(event, (LinkRequested, SessionRequested)):
            event.decline()
        elif isinstance(event, SessionBegun):
            session: SessionRecord | None = event.session.context
            if session is not None:
                self._records.sessions.add(session)
            else:
                # The call that asked for it has given up.
                event.session.end()
        elif isinstance(event, SessionEnded):
            self._on_session_ended(event)
        elif isinstance(event, ConnectionOpened):
            self._loop.advance(Change.OPENED)
        elif isinstance(event, ConnectionClosed):
            self._on_closed(event)
        elif isinstance(event, ConnectionFailed):
            self._loop.lose(event.error, event.undelivered)
        self._log_event(event)

    def _log_event(self, event: Event) -> None:
        if self._log.wanted(2):
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
            self._loop.events.post("on_link_ready_to_send", AMQPLinkReadyToSendEventParams(self._records, record.name))

    def _on_detached(self, event: LinkDetached) -> None:
        record: LinkRecord | None = event.link.context
        if record is None:
            return  # refused, or given up: the call that waited for it says what happened
        if record.closed:
            if isinstance(record, SenderRecord):
                self._loop.events.end(closed_here(f"link {record.name!r}"), event, event.undelivered)
            return
        if self._records.links.get(record.name) is not record:
            return
        error = event.error or ProtocolError("the peer closed the link and gave no reason")
        self._log(1, "Info", f"link {record.name!r} ended by the peer: {error.message}")
        # An error while it is being attached is raised by the call that does it.
        self._loop.events.end(error, event, event.undelivered, tell=not record.attaching)
        self._records.forget_link(record, error)

    def _on_session_ended(self, event: SessionEnded) -> None:
        record: SessionRecord | None = event.session.context
        if record is None:
            return
        if record.closed:
            self._loop.events.end(closed_here(f"session {record.name!r}"), event, event.undelivered)
            return
        if self._records.sessions.get(record.name) is not record:
            return
        error = event.error or ProtocolError("the peer ended the session and gave no reason")
        self._log(1, "Info", f"session {record.name!r} ended: {error.message}")
        # An error while a link is being attached is raised by the call that does it.
        self._loop.events.end(error, event, event.undelivered, tell=not record.attaching)
        self._records.forget_session(record, error)

    def _on_closed(self, event: ConnectionClosed) -> None:
        if event.by_peer:
            error = event.error or ProtocolError("the peer closed the connection and gave no reason")
            self._loop.lose(error, event.undelivered)
        else:
            self._loop.advance(Change.CLOSED)


def capabilities(text: str) -> tuple[Symbol, ...]:
    """The terminus capabilities that a setting lists (messaging, "source", "target")."""
    return tuple(Symbol(name) for part in text.split(";") if (name := part.strip()))


def product_of(engine: Connection | None) -> str:
    """What the peer says it is, in the properties of its open; empty when it does not."""
    opened = engine.remote_open if engine is not None else None
    properties = opened.properties if opened is not None else None
    product = properties.get("product") if properties else None
    return product if isinstance(product, str) else ""


def address_hint(product: str, address: str) -> str:
    """What may be wrong with an address that the peer calls invalid; empty when nothing is known."""
    if product != "RabbitMQ" or not address.startswith("/"):
        return ""
    from urllib.parse import quote  # only a refusal needs it

    kind, slash, rest = address[1:].partition("/")
    parts = [rest] if kind == "queues" else rest.split("/", 1)
    suggested = f"/{kind}{slash}{'/'.join(quote(part, safe='') for part in parts)}"
    text = "RabbitMQ takes /queues/QUEUE, and from a sender /exchanges/EXCHANGE/KEY, with each name percent-encoded"
    return f"{text}: {suggested}" if kind in ("queues", "exchanges") and suggested != address else text


def check_address(what: str, address: object) -> None:
    """Raise TypeError for a terminus address that is not a str."""
    if not isinstance(address, str):
        raise TypeError(f"{what} must be a str, not {type(address).__name__}")

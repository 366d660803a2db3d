"""The parts of the class ``AMQP``, made one by one, over a transport in memory. No sockets, no threads, no waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from amqp10.component.calls import Calls
from amqp10.component.connecting import Connecting
from amqp10.component.endpoints import Endpoints
from amqp10.component.event_queue import EventQueue
from amqp10.component.handler_outcome import HandlerOutcome
from amqp10.component.handlers import Handlers
from amqp10.component.inbox import Inbox
from amqp10.component.log import Log
from amqp10.component.loop import Loop
from amqp10.component.network import Network
from amqp10.component.outbox import Outbox
from amqp10.component.outgoing import Outgoing
from amqp10.component.properties import Properties, Route
from amqp10.component.registry import Records
from amqp10.component.reports import Reports
from amqp10.component.settings import Settings
from amqp10.engine import (
    Connection,
    EndpointRole,
    Event,
    LinkFlow,
    LinkRequested,
    ReceiverLink,
    SenderLink,
    SessionRequested,
)
from amqp10.errors import ConnectionDroppedError
from amqp10.net.options import TransportOptions

__all__ = ["Parts", "ServerTransport"]


class ServerTransport:
    """A transport with a server engine at its other end, which answers what a test does not take from it.

    Attributes:
        server: the engine of the server.
        events: what it has reported and not answered.
        silent: whether it answers nothing.
        broken: whether sending fails.
        ended: whether the server has ended the stream.
        closed: how the transport was closed; None while it is not.
        credit: what the server grants to senders.
    """

    local_address = ("127.0.0.1", 1)
    remote_address = ("127.0.0.1", 2)
    unsent = False
    progress = 0

    def __init__(self, clock: Callable[[], float], **server: Any) -> None:
        self.server = Connection(EndpointRole.SERVER, container_id="server", **server)
        self.clock = clock
        self.server.start(clock())
        self.events: list[Event] = []
        self.silent = self.broken = self.ended = False
        self.closed: bool | None = None
        self.credit = 10
        self.pushes = 0

    @property
    def buffered(self) -> bool:
        """Nothing is held inside: what has arrived makes the waiter say so."""
        return False

    @property
    def readable(self) -> bool:
        """Whether the server has said something."""
        output = self.server.output
        return self.ended or bool(output.buffers or output.pending)

    def recv(self, max_bytes: int = 0) -> bytes | None:
        """What the server has said."""
        data = b"".join(self.server.data_to_send(self.clock()))
        return data if data or self.ended else None

    def send(self, buffers: list[bytes | memoryview]) -> int:
        """Hand everything to the server."""
        if self.broken:
            raise ConnectionDroppedError("the server hung up")
        data = b"".join(buffers)
        for event in self.server.receive_data(data, self.clock()):
            self.events.append(event)
            if not self.silent:
                self._answer(event)
        return len(data)

    def _answer(self, event: Event) -> None:
        if isinstance(event, SessionRequested):
            event.session.accept()
        elif isinstance(event, LinkRequested):
            link = event.link
            link.accept()
            if isinstance(link, ReceiverLink):
                link.flow(self.credit)
        elif isinstance(event, LinkFlow) and isinstance(event.link, SenderLink) and event.link.drain:
            event.link.drained()

    def push(self) -> None:
        """Count it."""
        self.pushes += 1

    def next_send_time(self) -> float | None:
        """No rate limit."""
        return None

    def reconfigure(self, options: TransportOptions) -> None:
        """There is no socket to change."""

    def fileno(self) -> int:
        """There is no socket."""
        return -1

    def close(self, graceful: bool = True) -> None:
        """Note how."""
        self.closed = graceful


class MemoryWaiter:
    """Waits for the transport in memory: where nothing is there, time passes at once."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.depth = 0

    def begin(self) -> None:
        """A blocking call begins."""
        self.depth += 1

    def end(self) -> None:
        """It has ended."""
        self.depth -= 1

    def wait(
        self, fd: int = -1, *, read: bool = False, write: bool = False, timeout: float | None = None
    ) -> tuple[bool, bool]:
        """Whether the transport can be read, and written."""
        transport = self._parts.transport
        readable = read and transport is not None and transport.readable
        if not readable and not write:
            assert timeout is not None, "this would wait for ever"
            self._parts.now += timeout
        return readable, write

    def close(self) -> None:
        """There is nothing to close."""


class Parts:
    """One of each, joined like those of an ``AMQP``."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.settings = Settings()
        self.properties = Properties()
        self.route = Route()
        self.handlers = Handlers()
        self.calls = Calls()
        self.records = Records()
        self.outcome = HandlerOutcome(self.handlers)
        self.events = EventQueue(self.calls, self.handlers)
        self.log = Log(self.settings, self.handlers, self.events)
        self.reports = Reports(self.handlers, self.events, self.log)
        self.outgoing = Outgoing(
            self.settings, self.handlers, self.events, self.log, self.reports, self.records, self.outcome
        )
        self.loop = Loop(
            self.settings,
            self.properties,
            self.route,
            self.calls,
            self.events,
            self.log,
            self.reports,
            self.records,
            self.outgoing,
        )
        self.loop.clock = lambda: self.now
        self.outbox = Outbox(
            self.settings, self.properties, self.handlers, self.log, self.records, self.outgoing, self.loop
        )
        self.inbox = Inbox(
            self.settings, self.properties, self.handlers, self.log, self.reports, self.records, self.outcome, self.loop
        )
        self.endpoints = Endpoints(
            self.settings, self.properties, self.log, self.reports, self.records, self.loop, self.inbox
        )
        self.network = Network(self.settings, self.properties, self.route, self.handlers, self.log, self.loop)
        self.connecting = Connecting(
            self.settings,
            self.properties,
            self.route,
            self.log,
            self.reports,
            self.outgoing,
            self.loop,
            self.inbox,
            self.endpoints,
            self.network,
        )
        self.transport: ServerTransport | None = None
        self.seen: deque[tuple[str, Any]] = deque()

    def listen(self, *names: str) -> None:
        """Note events in ``seen`` as (name, parameters)."""
        for name in names:
            setattr(self.handlers, name, lambda params, name=name: self.seen.append((name, params)))

    def connect(self, **server: Any) -> ServerTransport:
        """Open a connection to a server in memory, as connect() does."""
        self.loop.begin()
        self.loop.waiter = MemoryWaiter(self)  # type: ignore[assignment]
        transport = self.transport = ServerTransport(self.loop.clock, **server)
        engine = Connection(EndpointRole.CLIENT, container_id="client", initial_outgoing_id=self.loop.next_delivery_id)
        self.loop.start(engine, transport, self.endpoints.take)
        self.loop.answer(lambda: self.loop.connected, "waiting for the server")
        self.loop.writable = self.loop.announced = True
        return transport

    def link(self, name: str) -> Any:
        """The server's end of a link."""
        assert self.transport is not None
        for session in self.transport.server.sessions.values():
            for link in session.links.values():
                if link.name == name:
                    return link
        raise AssertionError(f"the server has no link {name!r}")

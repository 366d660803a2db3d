"""A driver with a virtual clock, and a peer in memory: the client's core without sockets, threads and waiting.

Tasks run when :meth:`FakeDriver.settle` is called, and time passes when :meth:`FakeDriver.advance` is.
"""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar

from amqp10.client.client_options import ClientOptions
from amqp10.client.core import ClientCore
from amqp10.client.incarnation import Incarnation, Transport
from amqp10.client.options import Address, Reconnect, addresses
from amqp10.client.wait import Pause
from amqp10.engine import (
    Connection,
    ConnectionClosed,
    EndpointRole,
    Event,
    IncomingDelivery,
    LinkDetached,
    LinkEndpoint,
    LinkFlow,
    LinkRequested,
    ReceiverLink,
    SaslServer,
    SenderLink,
    SessionRequested,
)
from amqp10.errors import AMQPError, AMQPTimeoutError, ConnectionDroppedError
from amqp10.wire.messaging import ACCEPTED

__all__ = ["FakeDriver", "FakeTask", "Peer", "Rig", "options"]


def options(**changes: Any) -> ClientOptions:
    """Options for tests: no randomness, one server."""
    values: dict[str, Any] = {
        "addresses": addresses("amqp://broker"),
        "container_id": "client",
        "idle_timeout": 0.0,
        "timeout": 30.0,
        "policy": Reconnect(jitter=0.0),
        "random": lambda: 0.0,
    }
    values.update(changes)
    return ClientOptions(**values)


class FakeWait:
    def __init__(self, driver: FakeDriver) -> None:
        self._driver = driver
        self.is_set = False

    def set(self) -> None:
        self.is_set = True

    def wait(self, deadline: float | None) -> Awaitable[None]:
        return Pause(self, deadline)


class FakeTask:
    """A coroutine that the driver runs."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work
        self.pause: Pause | None = None
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.steps = 0

    def step(self, error: BaseException | None = None) -> None:
        """Run to the next await, or throw where it waits."""
        self.steps += 1
        try:
            self.pause = self._work.send(None) if error is None else self._work.throw(error)
        except StopIteration as stop:
            self.done = True
            self.result = stop.value
        except BaseException as raised:  # noqa: BLE001 - it is what the task gave, and the test looks at it
            self.done = True
            self.error = raised

    def close(self) -> None:
        """End it where it waits."""
        self._work.close()
        self.done = True

    def value(self) -> Any:
        """What it returned; raises what it raised."""
        assert self.done, "the task still waits"
        if self.error is not None:
            raise self.error
        return self.result


class Peer:
    """A server's engine that does what tests tell it to."""

    def __init__(self, *, credit: int = 100) -> None:
        self.engine = Connection(
            EndpointRole.SERVER, container_id="peer", sasl=SaslServer(anonymous=True, anybody=True)
        )
        self.credit = credit
        self.received: list[IncomingDelivery] = []
        self.links: list[LinkEndpoint] = []
        self.refuse: AMQPError | None = None
        self.accepting = False
        self.silent_links = False
        self.answers_drains = True
        self.change_source: Callable[[Any], Any] = lambda source: source
        self.detached: list[LinkDetached] = []
        self.closed = False

    def handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, SessionRequested):
                event.session.accept()
            elif isinstance(event, LinkRequested):
                self._requested(event)
            elif isinstance(event, IncomingDelivery):
                self.received.append(event)
                if self.accepting and not event.settled:
                    event.settle(ACCEPTED)
            elif isinstance(event, LinkFlow):
                link = event.link
                if isinstance(link, SenderLink) and link.drain and self.answers_drains:
                    link.drained()
            elif isinstance(event, LinkDetached):
                self.detached.append(event)
                if event.link in self.links:
                    self.links.remove(event.link)
            elif isinstance(event, ConnectionClosed):
                self.closed = True

    def _requested(self, event: LinkRequested) -> None:
        if self.silent_links:
            return
        link = event.link
        if self.refuse is not None:
            link.refuse(self.refuse)
            return
        self.links.append(link)
        target = link.target
        if getattr(target, "dynamic", False):
            target.address = "made-up"  # type: ignore[union-attr]
        source = self.change_source(link.source)
        if source is not None and source.dynamic:
            source.address = "made-up"
        link.accept(source=source)
        if isinstance(link, ReceiverLink) and self.credit:
            link.flow(self.credit)

    @property
    def receiver(self) -> ReceiverLink:
        """The newest link on which this peer receives."""
        found = [link for link in self.links if isinstance(link, ReceiverLink)]
        return found[-1]

    @property
    def sender(self) -> SenderLink:
        """The newest link on which this peer sends."""
        found = [link for link in self.links if isinstance(link, SenderLink)]
        return found[-1]

    @property
    def bodies(self) -> list[Any]:
        """The bodies of what has arrived."""
        from amqp10.client.message import Message

        return [Message.decode(delivery.payload).body for delivery in self.received]

    def accept(self, count: int | None = None) -> None:
        """Accept the first messages that are not settled."""
        waiting = [delivery for delivery in self.received if not delivery.settled]
        for delivery in waiting[:count]:
            delivery.settle(ACCEPTED)


class FakeTransport:
    def __init__(self, driver: FakeDriver, peer: Peer) -> None:
        self.driver = driver
        self.peer = peer
        self.incarnation: Incarnation | None = None
        self.live = True
        self.frozen = False
        """Whether bytes go nowhere, and nobody is told."""
        self.cut_after: int | None = None
        """After how many more bytes to the peer the network goes."""
        self.cut_before: int | None = None
        """After how many more bytes from the peer."""

    def start(self, incarnation: Incarnation) -> None:
        self.incarnation = incarnation

    def close(self) -> None:
        self.pump_out()
        self.live = False

    def abort(self) -> None:
        self.live = False

    def cut(self) -> None:
        """The network goes, and both sides hear of it."""
        if self.live:
            self.live = False
            assert self.incarnation is not None
            self.incarnation.lost(ConnectionDroppedError("the network is gone"))
            self.peer.handle(self.peer.engine.receive_eof(self.driver.now))

    def pump_out(self) -> bool:
        """To the peer, as far as the connection lives."""
        if self.incarnation is None or not self.live or self.frozen:
            return False
        self.incarnation.core.before_flush()
        data = b"".join(self.incarnation.engine.data_to_send(self.driver.now))
        if self.cut_after is not None:
            if len(data) > self.cut_after:
                data = data[: self.cut_after]
                if data:
                    self.peer.handle(self.peer.engine.receive_data(data, self.driver.now))
                self.cut()
                return True
            self.cut_after -= len(data)
        if data:
            self.peer.handle(self.peer.engine.receive_data(data, self.driver.now))
        return bool(data)

    def pump_in(self) -> bool:
        if self.incarnation is None or not self.live or self.frozen:
            return False
        data = b"".join(self.peer.engine.data_to_send(self.driver.now))
        if self.cut_before is not None:
            if len(data) > self.cut_before:
                if self.cut_before:
                    self.incarnation.received(data[: self.cut_before])
                self.cut()
                return True
            self.cut_before -= len(data)
        if data:
            self.incarnation.received(data)
        return bool(data)


class FakeDriver:
    """Runs tasks in virtual time."""

    made: ClassVar[weakref.WeakSet[FakeDriver]] = weakref.WeakSet()
    """Those of the test that is running; see ``conftest.py``."""

    def __init__(self) -> None:
        self.made.add(self)
        self.now = 100.0
        self.tasks: list[FakeTask] = []
        self.transports: list[FakeTransport] = []
        self.server: Callable[[Address], Peer] = lambda address: Peer()
        self.calls: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        self.finished = False
        self.opened: list[tuple[float, str]] = []

    def clock(self) -> float:
        return self.now

    def new_wait(self) -> FakeWait:
        return FakeWait(self)

    def kick(self) -> None:
        return

    async def open(self, where: Address, deadline: float | None) -> Transport:
        self.opened.append((self.now, where.url))
        peer = self.server(where)
        transport = FakeTransport(self, peer)
        self.transports.append(transport)
        return transport

    async def ask(self, token: Callable[[], Any]) -> str:
        return str(token())

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.start(work)

    def call(self, callback: Callable[..., object], *arguments: object) -> None:
        self.calls.append((callback, arguments))

    def finish(self) -> None:
        self.finished = True

    # -- for tests -------------------------------------------------------------------------------------------------

    def abandon(self) -> None:
        """End the tasks that still wait, as the end of a program does."""
        for task in self.tasks:
            if not task.done:
                task.close()
        self.tasks.clear()

    def start(self, work: Coroutine[Any, Any, Any]) -> FakeTask:
        task = FakeTask(work)
        self.tasks.append(task)
        task.step()
        return task

    def settle(self) -> None:
        """Until nothing moves without time passing."""
        for _ in range(10_000):
            moved = False
            for transport in list(self.transports):
                moved |= transport.pump_out()
                moved |= transport.pump_in()
            for task in list(self.tasks):
                if task.done:
                    self.tasks.remove(task)
                elif task.pause is not None and task.pause.wait.is_set:
                    task.step()
                    moved = True
            calls, self.calls = self.calls, []
            for callback, arguments in calls:
                callback(*arguments)
                moved = True
            if not moved:
                return
        raise AssertionError("the core does not come to rest")

    def deadlines(self) -> list[float]:
        times = [
            task.pause.deadline
            for task in self.tasks
            if not task.done and task.pause is not None and task.pause.deadline is not None
        ]
        for transport in self.transports:
            if transport.live and transport.incarnation is not None:
                due = transport.incarnation.engine.next_deadline()
                if due is not None:
                    times.append(due)
        return times

    def advance(self, seconds: float) -> None:
        """Let time pass, and do what comes due on the way."""
        until = self.now + seconds
        self.settle()
        for _ in range(100_000):
            due = min(self.deadlines(), default=None)
            if due is None or due > until:
                break
            self.now = max(self.now, due)
            for task in list(self.tasks):
                pause = task.pause
                if task.done or pause is None or pause.deadline is None or pause.wait.is_set:
                    continue
                if pause.deadline <= self.now:
                    task.step(AMQPTimeoutError("the time is up"))
            for transport in list(self.transports):
                if transport.live and transport.incarnation is not None:
                    transport.incarnation.tick()
            self.settle()
        self.now = until


class Rig:
    """A connection in memory: a driver, the core and the peers that it met."""

    def __init__(self, *, credit: int = 100, **changes: Any) -> None:
        self.driver = FakeDriver()
        self.peers: list[Peer] = []
        self.credit = credit
        self.unreachable = False
        self.black_holes: set[str] = set()
        """Hosts that take a connection and never say anything."""
        self.prepare: Callable[[Peer], None] = lambda peer: None
        self.driver.server = self._server
        self.core = ClientCore(self.driver, options(**changes))

    def _server(self, address: Address) -> Peer:
        if self.unreachable:
            raise AMQPError(10061, "the peer refused the connection")
        peer = Peer(credit=self.credit)
        if address.host in self.black_holes:
            peer.engine.receive_data = lambda data, now: []  # type: ignore[method-assign]
        self.prepare(peer)
        self.peers.append(peer)
        return peer

    @property
    def peer(self) -> Peer:
        return self.peers[-1]

    @property
    def transport(self) -> FakeTransport:
        return self.driver.transports[-1]

    def run(self, work: Coroutine[Any, Any, Any], seconds: float = 0.0) -> Any:
        """Run a coroutine to its end."""
        task = self.driver.start(work)
        self.driver.settle()
        if seconds and not task.done:
            self.driver.advance(seconds)
        return task.value()

    def start(self, work: Coroutine[Any, Any, Any]) -> FakeTask:
        task = self.driver.start(work)
        self.driver.settle()
        return task

    def connect(self) -> Rig:
        from amqp10.client import operations

        self.run(operations.connect(self.core, self.driver.now + 30))
        return self

    def sender(self, address: str | None = "orders", **spec: Any) -> Any:
        from amqp10.client import operations
        from amqp10.client.options import sender_spec

        session = self.core.default_session()
        return self.run(operations.attach_sender(session, sender_spec(address, spec), self.driver.now + 30))

    def receiver(self, address: str | None = "orders", **spec: Any) -> Any:
        from amqp10.client import operations
        from amqp10.client.options import receiver_spec

        session = self.core.default_session()
        return self.run(operations.attach_receiver(session, receiver_spec(address, spec), self.driver.now + 30))

"""A scripted AMQP server on the engine's server role, behind a real loopback socket, in a thread.

It answers everything by default. A test takes answers away (``hold``), replaces them (``on``) or acts on its own
(``do``); all of that runs in the server's thread, one step at a time, so nothing needs a lock or a sleep. What the
client sent is in ``frames``, what the server gave is not recorded: the client's own log shows it.
"""

from __future__ import annotations

import contextlib
import select
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

from amqp10 import AMQP, ReceiveMode
from amqp10.engine import (
    Connection,
    DeliveriesUpdated,
    EndpointRole,
    Event,
    IncomingDelivery,
    LinkFlow,
    LinkRequested,
    LinkState,
    OutgoingDelivery,
    ReceiverLink,
    SaslServer,
    SenderLink,
    SessionRequested,
)
from amqp10.errors import AMQPError, ProtocolError
from amqp10.net.waiting import Waiter
from amqp10.wire.message import Message
from amqp10.wire.messaging import ACCEPTED, DeliveryState
from amqp10.wire.performatives import Detach

__all__ = ["LIMIT", "FakeClock", "Feed", "Peer", "Server", "SkippingPoller", "client", "faster", "refusal", "skipping"]

T = TypeVar("T")
LIMIT = 8.0
"""No step of a test takes longer than this, in seconds."""

Hook = Callable[["Peer", Any], bool]


def refusal(condition: str, text: str) -> AMQPError:
    """An error for the server to report."""
    return ProtocolError(text, condition=condition)


def client(server: Server, *links: str, session: str = "s", **properties: Any) -> AMQP:
    """A connected client with a session and links: ``"out>"`` sends, ``"in<"`` receives, ``"get?"`` fetches.

    The address of a link is its name. ``properties`` are assigned before connecting.
    """
    amqp = AMQP()
    amqp.timeout = 10
    amqp.config("TcpNoDelay=True")  # what is written in two pieces would wait for the peer to acknowledge the first one
    for name, value in properties.items():
        setattr(amqp, name, value)
    amqp.connect_to(server.host, server.port)
    amqp.create_session(session)
    for link in links:
        name = link[:-1]
        if link[-1] == ">":
            amqp.create_sender_link(session, name, name)
        else:
            amqp.receive_mode = ReceiveMode.rmFetch if link[-1] == "?" else ReceiveMode.rmAutomatic
            amqp.create_receiver_link(session, name, name)
    return amqp


@dataclass
class Feed:
    """Messages for the client, by source address."""

    payloads: deque[tuple[bytes, bool]] = field(default_factory=deque)
    sent: list[OutgoingDelivery] = field(default_factory=list)


class FakeClock:
    """A clock that only moves when told to; other threads can wait for somebody to look at it."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.looks = 0
        self._changed = threading.Condition()

    def __call__(self) -> float:
        with self._changed:
            self.looks += 1
            self._changed.notify_all()
            return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self._changed:
            self.now += seconds
            self._changed.notify_all()

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Wait until a condition holds; it is looked at whenever somebody looks at the clock."""
        with self._changed:
            return self._changed.wait_for(condition, LIMIT)


class SkippingPoller:
    """``select.poll`` for :class:`Waiter` that can skip waits: where nothing is ready, only the clock moves on.

    Attributes:
        skip: waits of up to so many milliseconds are skipped; 0 for none.
    """

    def __init__(self, clock: FakeClock) -> None:
        self._poll = select.poll()
        self.register = self._poll.register
        self.unregister = self._poll.unregister
        self.clock = clock
        self.skip = 0.0

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        if timeout is None or timeout > self.skip:
            return self._poll.poll(timeout)
        ready = self._poll.poll(0)
        if not ready:
            self.clock.advance(timeout / 1000)
        return ready


def skipping(amqp: AMQP) -> SkippingPoller:
    """Give an instance that is not connected a clock that only moves when it is told to, and a poller to move it."""
    clock = FakeClock()
    poller = SkippingPoller(clock)
    amqp._loop.clock = clock
    amqp._loop.waiter = Waiter(poller)
    return poller


class Pace:
    """The time of day for one instance: it passes faster than elsewhere until it is told to pass as usual again."""

    def __init__(self, rate: float) -> None:
        self._at = self._real = time.monotonic()
        self.rate = rate

    def __call__(self) -> float:
        return self._at + (time.monotonic() - self._real) * self.rate

    def change(self, rate: float) -> None:
        """Let time pass at another rate from now on."""
        self._at, self._real = self(), time.monotonic()
        self.rate = rate


@contextlib.contextmanager
def faster(amqp: AMQP, rate: float = 20) -> Iterator[Pace]:
    """Within this block time passes faster for an instance, so that a second of waiting is over soon.

    The peer's time is the usual one. What needs an answer in time should not be in the block.
    """
    pace = Pace(rate)
    amqp._loop.clock = pace
    if amqp._loop.pump is not None:
        amqp._loop.pump.clock = pace
    waiter = amqp._loop.get_waiter()
    poll = waiter._poll
    waiter._poll = lambda timeout=None, /: poll(None if timeout is None else timeout / rate)
    try:
        yield pace
    finally:
        waiter._poll = poll
        pace.change(1)


class Peer:
    """The server's end of one connection."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.unsent = bytearray()
        self.muted = False
        """Whether nothing is written any more."""
        self.paused = False
        """Whether nothing is read any more."""
        self.received = 0
        self.eof = False
        sasl = server.sasl() if server.sasl is not None else None
        self.engine = Connection(
            EndpointRole.SERVER,
            container_id="test-server",
            sasl=sasl,
            max_frame_size=server.max_frame_size,
            channel_max=server.channel_max,
            idle_timeout=server.idle_timeout,
        )
        self.engine.output.trace = self._trace
        self.engine.start(time.monotonic())

    def _trace(self, outgoing: bool, channel: int, performative: object, payload: int) -> None:
        if outgoing:
            return
        self.server.frames.append((channel, performative, payload))
        if type(performative).__name__.lower() in self.server.hold & {"open", "close", "end", "detach"}:
            # The engine answers these by itself: from here on nothing of what it says is heard.
            self.muted = True
        if isinstance(performative, Detach):
            # The client has given up on a link whose attach was withheld: by now the answer may come.
            for session in self.engine.sessions.values():
                for link in list(session.links.values()):
                    if link.state is LinkState.ATTACH_RCVD and link.remote_handle == performative.handle:
                        link.accept()

    # -- what scripts use ------------------------------------------------------------------------------------------

    def link(self, name: str) -> SenderLink | ReceiverLink:
        """The server's end of a link."""
        for session in self.engine.sessions.values():
            for (link_name, _), link in session.links.items():
                if link_name == name:
                    assert isinstance(link, (SenderLink, ReceiverLink))
                    return link
        raise AssertionError(f"no link {name}")

    def sender(self, name: str) -> SenderLink:
        """The server's end of a receiver link of the client."""
        link = self.link(name)
        assert isinstance(link, SenderLink)
        return link

    def receiver(self, name: str) -> ReceiverLink:
        """The server's end of a sender link of the client."""
        link = self.link(name)
        assert isinstance(link, ReceiverLink)
        return link

    def raw(self, data: bytes) -> None:
        """Write bytes as they are, behind what the engine has queued."""
        self.flush()
        self.unsent += data
        self.write()

    def cut(self, *, reset: bool = False) -> None:
        """End the TCP connection without a word."""
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.server.drop(self)

    # -- the thread's steps ----------------------------------------------------------------------------------------

    def read(self) -> None:
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        if not data:
            self.eof = True
            self.server.drop(self)
            return
        self.received += len(data)
        server = self.server
        if self.engine.sasl is not None and not self.engine.remote_open and data[:5] == b"AMQP\x00":
            self.engine.sasl = None  # a client without SASL is welcome too
        for event in self.engine.receive_data(data, time.monotonic()):
            if not any(hook(self, event) for hook in server.hooks):
                self.answer(event)

    def answer(self, event: Event) -> None:
        """What the server does when no script says otherwise."""
        server = self.server
        if isinstance(event, SessionRequested):
            if "begin" not in server.hold:
                event.session.accept()
        elif isinstance(event, LinkRequested):
            if "attach" not in server.hold:
                self.accept(event.link)
        elif isinstance(event, IncomingDelivery):
            server.messages.append(event.payload)
            if event.remote_settled:
                event.settle(ACCEPTED)
            elif "disposition" not in server.hold:
                event.settle(server.outcome(event))
            else:
                server.held.append(event)
            link = event.link
            if link.attached and server.credit and link.credit <= server.credit // 2 and "flow" not in server.hold:
                link.flow(server.credit)
        elif isinstance(event, LinkFlow):
            link_of = event.link
            if isinstance(link_of, SenderLink) and "messages" not in server.hold:
                self.feed(link_of)
        elif isinstance(event, DeliveriesUpdated):
            server.outcomes.extend((delivery, event.state, event.settled) for delivery in event.deliveries)
            for delivery in event.deliveries:
                if not event.settled:
                    delivery.settle(event.state)

    def accept(self, link: Any, **kwargs: Any) -> None:
        """Accept a link, give it credit if it is the client's to send on."""
        server = self.server
        if isinstance(link, ReceiverLink):
            kwargs.setdefault("max_message_size", server.max_message_size)
            link.accept(**kwargs)
            if server.credit and "flow" not in server.hold and link.attached:
                link.flow(server.credit)
        else:
            link.accept(**kwargs)

    def feed(self, link: SenderLink) -> None:
        """Send what there is for a link, as far as its credit goes; answer a drain."""
        address = getattr(link.source, "address", None)
        feed = self.server.feeds.setdefault(str(address), Feed())
        while feed.payloads and link.credit > 0:
            payload, settled = feed.payloads.popleft()
            feed.sent.append(link.send(payload, settled=settled))
        if link.drain and "drain" not in self.server.hold:
            link.drained()

    def flush(self) -> None:
        """Take what the engine has queued."""
        for buffer in self.engine.data_to_send(time.monotonic()):
            if not self.muted:
                self.unsent += buffer

    def write(self) -> None:
        while self.unsent and not self.muted:
            try:
                sent = self.sock.send(self.unsent)
            except BlockingIOError:
                return
            del self.unsent[:sent]
        if self.engine.finished and not self.unsent and not self.muted:
            self.server.drop(self)


class Server:
    """The listening end. Use it as a context manager.

    Attributes:
        hold: answers to withhold: "open", "begin", "attach", "flow", "disposition", "messages", "drain", "end",
            "detach", "close".
        credit: what sender links of the client get.
        messages: the payloads of all messages received.
        frames: every frame received: channel, performative, payload size.
        hooks: looked at for every event of the engine; one that returns True has dealt with it.
    """

    def __init__(
        self,
        *,
        sasl: Callable[[], SaslServer] | None = lambda: SaslServer(anybody=True),
        max_frame_size: int = 0xFFFFFFFF,
        channel_max: int = 65535,
        idle_timeout: float = 0,
        max_message_size: int = 0,
        credit: int = 100,
        hold: Iterable[str] = (),
        family: socket.AddressFamily = socket.AF_INET,
        receive_buffer: int = 0,
    ) -> None:
        self.sasl = sasl
        self.max_frame_size = max_frame_size
        self.channel_max = channel_max
        self.idle_timeout = idle_timeout
        self.max_message_size = max_message_size
        self.credit = credit
        self.hold = set(hold)
        self.hooks: list[Hook] = []
        self.first: Callable[[Peer], None] | None = None
        """Called for each connection that is accepted."""
        self.messages: list[bytes] = []
        self.held: list[IncomingDelivery] = []
        self.outcomes: list[tuple[OutgoingDelivery, DeliveryState | None, bool]] = []
        self.outcome: Callable[[IncomingDelivery], DeliveryState] = lambda delivery: ACCEPTED
        self.feeds: dict[str, Feed] = {}
        self.frames: list[tuple[int, Any, int]] = []
        self.peers: list[Peer] = []
        self.gone: list[Peer] = []
        self.error: BaseException | None = None
        self._jobs: deque[tuple[Callable[[], Any], list[Any], threading.Event]] = deque()
        self._changed = threading.Condition()
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        self._listener.listen()
        self._listener.setblocking(False)
        self.host, self.port = self._listener.getsockname()[:2]
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self._stop = False
        self._thread = threading.Thread(target=self._serve, name="test server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop = True
        with contextlib.suppress(OSError):  # the thread has failed: its error is raised below
            self._wake_out.send(b"\0")
        self._thread.join(LIMIT)
        if error is None and self.error is not None:
            raise self.error

    # -- for the test's thread -------------------------------------------------------------------------------------

    @property
    def peer(self) -> Peer:
        """The latest connection that is open."""
        return self.peers[-1]

    def do(self, job: Callable[[Peer], T]) -> T:
        """Run a job in the server's thread; returns when it is done and what came of it was written."""
        return self.run(lambda: job(self.peer))

    def run(self, job: Callable[[], T]) -> T:
        """Run a job in the server's thread, also without a connection."""
        result: list[Any] = []
        done = threading.Event()
        self._jobs.append((job, result, done))
        self._wake_out.send(b"\0")
        assert done.wait(LIMIT), "the server's thread is stuck"
        if isinstance(result[0], BaseException):
            raise result[0]
        value: T = result[0]
        return value

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is looked at after each step of the server."""
        with self._changed:
            assert self._changed.wait_for(condition, LIMIT), "it never happened"

    def put(self, address: str, *payloads: bytes | str, settled: bool = False) -> None:
        """Have messages for a source; sent at once where a link has credit. A str becomes a message of that text."""

        def job() -> None:
            feed = self.feeds.setdefault(address, Feed())
            for payload in payloads:
                data = payload if isinstance(payload, bytes) else Message(value=payload).encode()
                feed.payloads.append((data, settled))
            for peer in self.peers:
                for session in peer.engine.sessions.values():
                    for link in session.links.values():
                        if isinstance(link, SenderLink) and getattr(link.source, "address", None) == address:
                            peer.feed(link)

        self.run(job)

    def settle_held(self, state: DeliveryState) -> None:
        """Report the outcome of all messages for which it was withheld."""

        def job() -> None:
            for delivery in self.held:
                delivery.settle(state)
            self.held.clear()

        self.run(job)

    def received(self, kind: type[T]) -> list[T]:
        """The performatives of one kind that the client sent."""
        return self.run(lambda: [performative for _, performative, _ in self.frames if isinstance(performative, kind)])

    def texts(self) -> list[object]:
        """The values of the messages received."""
        return self.run(lambda: [Message.decode(payload).value for payload in self.messages])

    # -- the thread ------------------------------------------------------------------------------------------------

    def drop(self, peer: Peer) -> None:
        """Close a connection."""
        if peer in self.peers:
            self.peers.remove(peer)
            self.gone.append(peer)
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(peer.sock)
            peer.sock.close()

    def drop_all(self) -> None:
        """Close every connection."""
        for peer in list(self.peers):
            self.drop(peer)

    def _serve(self) -> None:
        try:
            while not self._stop:
                for key, mask in self._selector.select(LIMIT):
                    self._step(key, mask)
                while self._jobs:
                    job, result, done = self._jobs.popleft()
                    try:
                        result.append(job())
                    except BaseException as error:  # noqa: BLE001 - handed to the test's thread
                        result.append(error)
                    self._settle()
                    done.set()
                self._settle()
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            self.error = error
        finally:
            self.drop_all()
            self._selector.close()
            for sock in (self._listener, self._wake_in, self._wake_out):
                sock.close()

    def _step(self, key: selectors.SelectorKey, mask: int) -> None:
        if key.fileobj is self._listener:
            sock, _ = self._listener.accept()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = Peer(self, sock)
            self.peers.append(peer)
            self._selector.register(sock, selectors.EVENT_READ, peer)
            if self.first is not None:
                self.first(peer)
        elif key.fileobj is self._wake_in:
            self._wake_in.recv(4096)
        elif key.data in self.peers:
            try:
                if mask & selectors.EVENT_READ and not key.data.paused:
                    key.data.read()
            except OSError:
                self.drop(key.data)

    def _settle(self) -> None:
        """Write what is due, and watch what is of interest."""
        for peer in list(self.peers):
            try:
                peer.flush()
                peer.write()
            except OSError:
                self.drop(peer)
            if peer in self.peers:
                mask = (0 if peer.paused else selectors.EVENT_READ) | (
                    selectors.EVENT_WRITE if peer.unsent and not peer.muted else 0
                )
                if not mask:
                    with contextlib.suppress(KeyError):
                        self._selector.unregister(peer.sock)
                else:
                    try:
                        self._selector.modify(peer.sock, mask, peer)
                    except KeyError:
                        self._selector.register(peer.sock, mask, peer)
        with self._changed:
            self._changed.notify_all()

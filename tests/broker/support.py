"""Clients of the broker for tests: engines, joined with a container in memory or with its loop by sockets."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from amqp10.broker.container import BrokerConnection, BrokerContainer
from amqp10.broker.loop import Loop
from amqp10.codec import Symbol
from amqp10.engine import (
    Connection,
    ConnectionClosed,
    EndpointRole,
    Event,
    IncomingDelivery,
    LinkDetached,
    ReceiverLink,
    SenderLink,
    Session,
)
from amqp10.wire.message import Message
from amqp10.wire.messaging import Source, Target


def body(text: str, **sections: Any) -> bytes:
    """An encoded message with a text."""
    return Message(value=text, **sections).encode()


class Client:
    """One client of the broker, in memory."""

    def __init__(self, net: Net, *, container_id: str = "", **options: Any) -> None:
        self.net = net
        net.count += 1
        self.engine = Connection(EndpointRole.CLIENT, container_id=container_id or f"client {net.count}", **options)
        self.broker: BrokerConnection = net.container.accept()
        self.events: list[Event] = []
        self.engine.start(0)
        net.clients.append(self)
        net.step()
        self.session: Session = self.engine.begin()
        net.step()

    def sender(self, address: str | None, name: str = "out", **target: Any) -> SenderLink:
        link = self.session.attach_sender(name, source=Source(), target=Target(address=address, **target))
        self.net.step()
        return link

    def receiver(
        self,
        address: str | None,
        name: str = "in",
        credit: int = 0,
        *,
        largest: int = 0,
        mode: str | None = None,
        filters: Mapping[str, Any] | None = None,
        desired: tuple[str, ...] = (),
        **options: Any,
    ) -> ReceiverLink:
        source = Source(
            address=address,
            dynamic=address is None,
            distribution_mode=Symbol(mode) if mode else None,
            filter={Symbol(key): value for key, value in filters.items()} if filters else None,
            **options,
        )
        link = self.session.attach_receiver(
            name, source=source, target=Target(), max_message_size=largest, desired_capabilities=desired
        )
        self.net.step()
        if credit:
            link.flow(credit)
            self.net.step()
        return link

    def send(self, link: SenderLink, *texts: str | bytes) -> None:
        for text in texts:
            link.send(text if isinstance(text, bytes) else body(text))
        self.net.step()

    def got(self, link: ReceiverLink) -> list[IncomingDelivery]:
        """What has arrived on a link, settled or not."""
        return [event for event in self.events if isinstance(event, IncomingDelivery) and event.link is link]

    def texts(self, link: ReceiverLink) -> list[str]:
        return [str(Message.decode(delivery.payload).value) for delivery in self.got(link)]

    def error(self, link: SenderLink | ReceiverLink) -> str:
        """The condition with which the broker ended a link."""
        (event,) = [event for event in self.events if isinstance(event, LinkDetached) and event.link is link]
        assert event.error is not None
        return str(event.error.condition)

    @property
    def closed(self) -> ConnectionClosed | None:
        """How the broker closed the connection; None while it has not."""
        return next((event for event in self.events if isinstance(event, ConnectionClosed)), None)

    def close(self) -> None:
        """Close the connection without a word about links and sessions, as many clients do."""
        self.engine.close()
        self.net.step()

    def vanish(self) -> None:
        """Be gone without a word at all, as after a crash."""
        self.net.clients.remove(self)
        self.broker.close()
        self.net.step()


class Net:
    """A container and its clients."""

    def __init__(self, **options: Any) -> None:
        self.now = 0.0
        self.count = 0
        self.container = BrokerContainer(clock=lambda: self.now, wall_clock=lambda: self.now, **options)
        self.clients: list[Client] = []

    def step(self) -> None:
        """Move bytes until nobody has anything left to say."""
        busy = True
        while busy:
            busy = False
            for client in list(self.clients):
                out = b"".join(client.engine.data_to_send(self.now))
                if out:
                    client.broker.receive(out)
                    busy = True
            busy |= self.container.work()
            for client in list(self.clients):
                back = b"".join(client.broker.engine.data_to_send(self.now))
                client.broker.unsent = 0
                client.broker.resume()
                if back:
                    client.events += client.engine.receive_data(back, self.now)
                    busy = True

    def waiting(self, name: str) -> list[str]:
        return [str(Message.decode(message.payload).value) for message in self.container.queues[name].messages]


class Hub:
    """A broker's loop that is driven turn by turn, with a clock of its own. Clients are sockets."""

    def __init__(self, **options: Any) -> None:
        self.now = 0.0
        self.container = BrokerContainer(clock=lambda: self.now, wall_clock=lambda: self.now, **options)
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.address: tuple[str, int] = listener.getsockname()
        self.loop = Loop(self.container, listener)
        self.sockets: list[socket.socket] = []

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.close()
        for sock in self.sockets:
            sock.close()

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.loop.wake()  # so that waiting ends at once
            self.loop.turn(self.loop.wait())

    def calls(self, times: int = 1) -> int:
        """How many calls of Python functions so many turns took."""
        return count_calls(lambda: self.turn(times))

    def connect(self) -> socket.socket:
        """A client that has connected and said nothing."""
        sock = socket.create_connection(self.address)
        sock.setblocking(False)
        self.sockets.append(sock)
        return sock

    def client(self) -> SocketClient:
        """A client with an open connection and a session."""
        return SocketClient(self)


class SocketClient:
    """An engine behind a socket of a :class:`Hub`."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.sock = hub.connect()
        self.engine = Connection(EndpointRole.CLIENT, container_id=f"client {len(hub.sockets)}")
        self.events: list[Event] = []
        self.unsent = b""
        self.engine.start(hub.now)
        self.until(lambda: self.engine.remote_open is not None)
        self.session = self.engine.begin()
        self.until(lambda: self.session.mapped)

    def pump(self) -> None:
        """Write what there is, and read what has come."""
        self.unsent += b"".join(self.engine.data_to_send(self.hub.now))
        try:
            while self.unsent:
                self.unsent = self.unsent[self.sock.send(self.unsent) :]
        except BlockingIOError:
            pass
        try:
            data = self.sock.recv(1 << 20)
        except BlockingIOError:
            return
        self.events += self.engine.receive_data(data, self.hub.now) if data else self.engine.receive_eof(self.hub.now)

    def until(self, done: Callable[[], bool], turns: int = 200) -> int:
        """Work until something has come about; returns how many turns of the broker that took."""
        for turn in range(turns):
            self.pump()
            if done():
                return turn
            self.hub.turn()
        raise AssertionError(f"it did not happen within {turns} turns")

    def exchange(self, name: str = "probe") -> int:
        """Send a message through a queue of its own, and get it back; returns how many turns that took."""
        out = self.session.attach_sender(name, source=Source(), target=Target(address=name))
        back = self.session.attach_receiver(name, source=Source(address=name), target=Target())
        turns = self.until(lambda: out.credit > 0 and back.attached)
        out.send(body(name))
        back.flow(1)
        return turns + self.until(
            lambda: any(isinstance(event, IncomingDelivery) and event.link is back for event in self.events)
        )


def count_calls(work: Callable[[], object]) -> int:
    """How many calls of Python functions something takes."""
    calls = 0

    def profile(frame: FrameType, event: str, arg: object) -> None:
        nonlocal calls
        if event == "call":
            calls += 1

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls

"""The broker behind a listening socket, in a thread."""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Any, Final, Self

from amqp10.broker.container import BrokerConnection, BrokerContainer
from amqp10.errors import AMQPError
from amqp10.wire.message import Message

__all__ = ["Broker"]

logger = logging.getLogger("amqp10.broker")

_MOST_UNSENT: Final = 4 * 1024 * 1024
"""How much may wait for a client that does not read, in octets, before the broker stops reading from it."""


class _Client:
    """One connection: socket, engine and what the socket has not taken yet."""

    __slots__ = ("connection", "mask", "sock", "unsent", "unsent_size")

    def __init__(self, sock: socket.socket, connection: BrokerConnection) -> None:
        self.sock = sock
        self.connection = connection
        self.unsent: list[bytes | memoryview] = []
        self.unsent_size = 0
        self.mask = selectors.EVENT_READ


class Broker:
    """An AMQP 1.0 broker in this process, for development and tests. It keeps everything in memory.

    ::

        with Broker() as broker:
            amqp.connect_to(broker.host, broker.port)

    Args:
        host: the address to listen on.
        port: the port; 0 for a free one.
        users: user name -> password; without users everybody gets in.
        max_queue_length: how many messages a queue holds at most; further ones are rejected with
            ``amqp:resource-limit-exceeded``. 0 for no limit.
        max_message_size: the largest message accepted, in octets; 0 for no limit.
        max_frame_size: the largest frame accepted, in octets, from 512.
        idle_timeout: after how many seconds of silence a client is given up; 0 for never.
        auto_create: whether queues are made when they are first named.
        queues: queues that exist from the start.
        refuse: addresses to which links are refused.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        users: Mapping[str, str] | None = None,
        max_queue_length: int = 0,
        max_message_size: int = 0,
        max_frame_size: int = 0xFFFFFFFF,
        idle_timeout: float = 0,
        auto_create: bool = True,
        queues: Collection[str] = (),
        refuse: Collection[str] = (),
    ) -> None:
        self._container = BrokerContainer(
            users=users,
            max_queue_length=max_queue_length,
            max_message_size=max_message_size,
            auto_create=auto_create,
            queues=queues,
            refuse=refuse,
        )
        self._max_frame_size = max_frame_size
        self._idle_timeout = idle_timeout
        self._wanted = (host, port)
        self._bound: tuple[Any, ...] | None = None
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._selector: selectors.BaseSelector | None = None
        self._clients: dict[socket.socket, _Client] = {}
        self._lock = threading.RLock()
        self._stopping = False
        self._wake_in: socket.socket | None = None
        self._wake_out: socket.socket | None = None

    # -- life cycle ------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen, and serve in a thread of its own. A broker that was stopped starts again with its messages, and on
        the port it had.

        Raises:
            OSError: the address cannot be listened on.
        """
        if self._thread is not None:
            return self
        self._listener = socket.create_server(self._wanted)
        self._listener.setblocking(False)
        self._bound = self._listener.getsockname()
        self._wanted = (self._wanted[0], int(self._bound[1]))
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        selector = self._selector = selectors.DefaultSelector()
        selector.register(self._listener, selectors.EVENT_READ)
        selector.register(self._wake_in, selectors.EVENT_READ)
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="amqp10 broker", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close every connection and stop serving. The messages stay, for :meth:`messages`."""
        thread = self._thread
        if thread is None:
            return
        self._stopping = True
        self._wake()
        thread.join()
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # -- what programs ask for -------------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """The address it listens on."""
        return str(self._address()[0])

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._address()[1])

    @property
    def url(self) -> str:
        """Where it can be reached: ``amqp://HOST:PORT``."""
        return f"amqp://{self.host}:{self.port}"

    def _address(self) -> tuple[Any, ...]:
        if self._bound is None:
            raise AMQPError(211, "the broker has not been started")
        return self._bound

    def queues(self) -> list[str]:
        """The names of all queues."""
        with self._lock:
            return list(self._container.queues)

    def queue_length(self, name: str) -> int:
        """How many messages wait in a queue, without those that consumers have; 0 for one that does not exist."""
        with self._lock:
            queue = self._container.queues.get(name)
            return len(queue) if queue is not None else 0

    def messages(self, name: str) -> list[Message]:
        """The messages that wait in a queue, the oldest first. They stay there."""
        with self._lock:
            queue = self._container.queues.get(name)
            return [Message.decode(message.payload) for message in queue.messages] if queue is not None else []

    def purge(self, name: str) -> int:
        """Drop the messages that wait in a queue; returns how many there were."""
        with self._lock:
            queue = self._container.queues.get(name)
            if queue is None:
                return 0
            count = len(queue)
            queue.messages.clear()
            return count

    def kill_connections(self) -> None:
        """Cut every connection without a word, as a crash would."""
        with self._lock:
            for client in list(self._clients.values()):
                self._drop(client)

    # -- the thread ------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        wake = self._wake_out
        if wake is not None:
            with contextlib.suppress(OSError):
                wake.send(b"\0")

    def _serve(self) -> None:
        selector = self._selector
        assert selector is not None
        try:
            while not self._stopping:
                ready = selector.select(self._pause())
                with self._lock:
                    self._work([(key.fileobj, mask) for key, mask in ready])
        finally:
            with self._lock:
                for client in list(self._clients.values()):
                    self._drop(client)
                selector.close()
                for sock in (self._listener, self._wake_in, self._wake_out):
                    if sock is not None:
                        sock.close()

    def _pause(self) -> float:
        """How long nothing is due, in seconds."""
        now = self._container.clock()
        deadlines = [client.connection.engine.next_deadline() for client in list(self._clients.values())]
        due = min((deadline for deadline in deadlines if deadline is not None), default=now + 60)
        return max(0.0, due - now)

    def _work(self, ready: list[tuple[Any, int]]) -> None:
        for sock, mask in ready:
            if sock is self._listener:
                self._accept()
            elif self._wake_in is not None and sock is self._wake_in:
                with contextlib.suppress(OSError):
                    self._wake_in.recv(4096)
            else:
                client = self._clients.get(sock)
                if client is not None and mask & selectors.EVENT_READ:
                    self._guard(client, self._read)
        for client in list(self._clients.values()):
            self._guard(client, self._tick)
        # A message for one client may have come from another, so all of them are looked at; and once more when one has
        # gone, as what it had not settled is for the others.
        left = -1
        while left != len(self._clients):
            left = len(self._clients)
            for client in list(self._clients.values()):
                self._guard(client, self._write)

    def _tick(self, client: _Client) -> None:
        engine = client.connection.engine
        now = self._container.clock()
        due = engine.next_deadline()
        if due is not None and now >= due:
            client.connection.handle(engine.tick(now))

    def _guard(self, client: _Client, step: Callable[[_Client], None]) -> None:
        """Take a step for a client; one that goes wrong ends that client, never the broker."""
        try:
            step(client)
        except OSError as error:
            logger.debug("connection lost: %s", error)
            self._drop(client)
        except AMQPError as error:
            logger.warning("connection given up: %s", error)
            self._drop(client)
        except Exception:
            logger.exception("a defect of the broker; the connection that met it is given up")
            self._drop(client)

    def _accept(self) -> None:
        assert self._listener is not None
        assert self._selector is not None
        try:
            sock, _ = self._listener.accept()
        except OSError as error:
            logger.debug("a client went before it was accepted: %s", error)
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._container.accept(max_frame_size=self._max_frame_size, idle_timeout=self._idle_timeout)
        self._clients[sock] = _Client(sock, connection)
        self._selector.register(sock, selectors.EVENT_READ)

    def _read(self, client: _Client) -> None:
        try:
            data = client.sock.recv(262144)
        except BlockingIOError:
            return
        if data:
            client.connection.receive(data)
        else:
            self._drop(client)

    def _write(self, client: _Client) -> None:
        if client.sock not in self._clients:
            return
        buffers = client.connection.engine.data_to_send(self._container.clock())
        if buffers:
            client.unsent.append(b"".join(buffers))
        while client.unsent:
            data = client.unsent[0]
            try:
                sent = client.sock.send(data)
            except BlockingIOError:
                break
            if sent < len(data):
                client.unsent[0] = memoryview(data)[sent:]
            else:
                client.unsent.pop(0)
        if client.connection.engine.finished and not client.unsent:
            self._drop(client)
            return
        size = sum(len(data) for data in client.unsent)
        # A client that does not take what it is sent is not listened to either, so that nothing piles up here.
        mask = (selectors.EVENT_WRITE if size else 0) | (selectors.EVENT_READ if size < _MOST_UNSENT else 0)
        if mask != client.mask:
            client.mask = mask
            assert self._selector is not None
            self._selector.modify(client.sock, mask)

    def _drop(self, client: _Client) -> None:
        if self._clients.pop(client.sock, None) is None:
            return
        assert self._selector is not None
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(client.sock)
        client.sock.close()
        client.connection.close()

"""The public class of the broker: a listening socket, and a thread that serves it."""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from amqp10.broker.container import BrokerContainer
from amqp10.broker.faults import Refusable
from amqp10.broker.limits import Limits
from amqp10.broker.loop import Loop
from amqp10.conditions import ErrorCondition
from amqp10.errors import AMQPError
from amqp10.wire.message import Message

if TYPE_CHECKING:
    import ssl

__all__ = ["Broker"]

logger: Final = logging.getLogger("amqp10.broker")

_STOP_TIMEOUT: Final = 0.5
_BACKLOG: Final = 128


class Broker:
    """An AMQP 1.0 broker in this process, for development and tests. It keeps everything in memory.

    ::

        with Broker() as broker:
            amqp.connect_to(broker.host, broker.port)

    Args:
        host: the IPv4 or IPv6 address to listen on; with ``0.0.0.0`` or ``::`` everybody in the network can connect.
        port: the port; 0 for a free one.
        users: user name -> password; without users everybody gets in.
        tls: a context with the server's certificate and key; None for plain TCP. If it requires clients to have
            certificates, SASL EXTERNAL is offered, and the common name is the user.
        max_queue_length: how many messages may wait in a queue; further ones are rejected with
            ``amqp:resource-limit-exceeded``. 0 for no limit.
        max_message_size: the largest message accepted, in bytes; 0 for no limit.
        max_frame_size: the largest frame accepted, in bytes, from 512.
        idle_timeout: after how many seconds without data a client is given up; 0 for never.
        auto_create: whether queues and topics are made when they are first named.
        queues: queues that exist from the start.
        topics: topics that exist from the start.
        streams: streams that exist, addressed like queues: messages stay, and each consumer chooses where to start.
        refuse: addresses to which links are refused.
        limits: all limits: see :class:`amqp10.broker.Limits`. ``max_queue_length``, ``max_message_size`` and
            ``max_frame_size`` take precedence.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        users: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        max_queue_length: int | None = None,
        max_message_size: int | None = None,
        max_frame_size: int | None = None,
        idle_timeout: float = 0,
        auto_create: bool = True,
        queues: Collection[str] = (),
        topics: Collection[str] = (),
        streams: Collection[str] = (),
        refuse: Collection[str] = (),
        limits: Limits | None = None,
    ) -> None:
        given: dict[str, Any] = {
            "max_queue_length": max_queue_length,
            "max_message_size": max_message_size,
            "max_frame_size": max_frame_size,
        }
        self._container = BrokerContainer(
            users=users,
            limits=limits,
            auto_create=auto_create,
            queues=queues,
            topics=topics,
            streams=streams,
            refuse=refuse,
            **{name: value for name, value in given.items() if value is not None},
        )
        self._tls = tls
        self._idle_timeout = idle_timeout
        self._wanted = (host, port)
        self._bound: tuple[Any, ...] | None = None
        self._loop: Loop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()
        self._stop_within: float | None = None

    # -- life cycle ------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen, and serve in a thread. A broker that was stopped starts again with the same messages and port.

        Raises:
            OSError: the address cannot be listened on.
        """
        if self._thread is not None:
            return self
        family = socket.AF_INET6 if ":" in self._wanted[0] else socket.AF_INET
        listener = socket.create_server(self._wanted, family=family, backlog=_BACKLOG)
        listener.setblocking(False)
        self._bound = bound = listener.getsockname()
        self._wanted = (self._wanted[0], int(bound[1]))
        if not self._container.users and not self._tls_asks_for_certificates and not _is_local(self.host):
            logger.warning(
                "the broker on %s port %d lets everybody in who can reach this machine: give it users",
                self.host,
                self.port,
            )
        self._stop_within = None
        self._loop = Loop(self._container, listener, tls=self._tls, idle_timeout=self._idle_timeout)
        self._thread = threading.Thread(target=self._serve, args=(self._loop,), name="amqp10 broker", daemon=True)
        self._thread.start()
        return self

    def stop(self, timeout: float = _STOP_TIMEOUT) -> None:
        """Close every connection and stop serving. The messages stay, for :meth:`messages`.

        Clients get a *close* with ``amqp:connection:forced``.

        Args:
            timeout: for how many seconds to wait for their answers. Then their connections are dropped.
        """
        thread, loop = self._thread, self._loop
        if thread is None or loop is None:
            return
        self._stop_within = timeout
        loop.wake()
        thread.join()
        self._thread = self._loop = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _serve(self, loop: Loop) -> None:
        try:
            while self._stop_within is None:
                ready = loop.wait()
                with self._lock:
                    loop.turn(ready)
            with self._lock:
                going_on = loop.stop(self._stop_within)
            while going_on():
                ready = loop.wait()
                with self._lock:
                    loop.turn(ready)
        finally:
            with self._lock:
                loop.close()

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
        """Where to connect to: ``amqp://HOST:PORT``, or ``amqps://`` with TLS."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"amqp{'s' if self._tls is not None else ''}://{host}:{self.port}"

    def _address(self) -> tuple[Any, ...]:
        if self._bound is None:
            raise AMQPError(211, "the broker has not been started")
        return self._bound

    @property
    def _tls_asks_for_certificates(self) -> bool:
        from ssl import CERT_REQUIRED

        return self._tls is not None and self._tls.verify_mode is CERT_REQUIRED

    def queues(self) -> list[str]:
        """The names of all queues and streams."""
        with self._lock:
            return list(self._container.queues)

    def topics(self) -> list[str]:
        """The names of all topics."""
        with self._lock:
            return list(self._container.topics)

    def subscriptions(self, topic: str) -> list[str]:
        """The names of the durable and shared subscriptions of a topic, those without a consumer included."""
        with self._lock:
            known = self._container.subscriptions.items()
            return [key[1] for key, subscription in known if subscription.topic.name == topic]

    def queue_length(self, name: str) -> int:
        """How many messages wait in a queue, without those that consumers have; 0 if there is no such queue."""
        with self._lock:
            queue = self._container.queues.get(name)
            return len(queue) if queue is not None else 0

    def messages(self, name: str) -> list[Message]:
        """The messages that wait in a queue, the oldest first. They stay in it."""
        with self._lock:
            queue = self._container.queues.get(name)
            return [Message.decode(message.encoded()) for message in queue.messages] if queue is not None else []

    def purge(self, name: str) -> int:
        """Drop the messages that wait in a queue; returns how many there were."""
        with self._lock:
            queue = self._container.queues.get(name)
            return queue.clear() if queue is not None else 0

    # -- failures on demand ----------------------------------------------------------------------------------------

    def kill_connections(self) -> None:
        """Drop every connection without a *close*, as a crash would."""
        with self._at_work() as loop:
            for client in list(loop.clients.values()):
                loop.drop(client)

    def disconnect_all(
        self,
        condition: str = ErrorCondition.CONNECTION_FORCED,
        description: str = "the broker has ended the connection",
    ) -> None:
        """Close every connection, as an operator would. Clients can connect again at once.

        Args:
            condition: the error condition that clients are told.
            description: the error's text.
        """
        with self._at_work() as loop:
            loop.disconnect(condition, description)

    def refuse_next(
        self,
        what: Refusable,
        *,
        count: int = 1,
        condition: str = ErrorCondition.INTERNAL_ERROR,
        description: str = "refused on demand",
        address: str | None = None,
    ) -> None:
        """Have the next of a kind refused, to see how a program handles it.

        Args:
            what: "login" (as if the password were wrong), "connection" (a *close* right after
                *open*), "session" (*end*), "link" (*detach*) or "message" (*rejected*).
            count: how many of them. What is left of earlier calls comes first.
            condition: the error condition; a login has none.
            description: the error's text.
            address: of links and messages, the name of the queue or topic that they are for; None for any.

        Raises:
            ValueError: there is no such kind.
        """
        with self._lock:
            self._container.faults.add(what, count, condition, description, address)

    def stall(self) -> AbstractContextManager[None]:
        """Stop reading and writing, as if the process hung, until :meth:`resume`, or until the end of the block if used
        in a ``with`` statement.

        Connections stay open, new ones are not answered, and the broker's timers stop.
        """
        with self._at_work() as loop:
            loop.stall(True)
        return _Stalled(self)

    def resume(self) -> None:
        """Go on after :meth:`stall`."""
        with self._at_work() as loop:
            loop.stall(False)

    @contextmanager
    def _at_work(self) -> Iterator[Loop]:
        """The loop, which is locked meanwhile.

        Raises:
            AMQPError: 211, the broker is not running.
        """
        loop = self._loop
        if loop is None:
            raise AMQPError(211, "the broker is not running")
        with self._lock:
            yield loop
        loop.wake()


class _Stalled(AbstractContextManager[None]):
    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def __exit__(self, *_: object) -> None:
        self._broker.resume()


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

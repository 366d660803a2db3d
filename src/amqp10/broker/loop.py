"""The broker's clients and their sockets, served in turns of bounded work.

In a turn, each client that has sent something is read from once, the nodes do a bounded amount of work, and each client
with output is written to. Clients without anything to do cost nothing.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import logging
import selectors
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from amqp10.broker.queues import MOST_UNSENT
from amqp10.broker.tls import certificate_identity
from amqp10.conditions import ErrorCondition
from amqp10.engine import ConnectionState
from amqp10.errors import AMQPError, AMQPTimeoutError, ConnectionDroppedError, ProtocolError
from amqp10.net.options import TransportOptions
from amqp10.net.tcp import TcpTransport
from amqp10.net.transport import Transport, rest_of

if TYPE_CHECKING:
    import ssl

    from amqp10.broker.container import BrokerConnection, BrokerContainer
    from amqp10.broker.queues import Peer

__all__ = ["Loop"]

logger: Final = logging.getLogger("amqp10.broker")

READ_SIZE: Final = 65536
"""How many bytes are read from a client in a turn, because every small frame costs work. More than two clients share
them, with at least a page each."""
_PAGE: Final = 4096
_LARGE_READ: Final = 262144
"""The same while a large frame is arriving, which costs next to nothing."""
_MOST_ACCEPTED: Final = 16
"""How many clients are accepted in a turn."""
_ACCEPT_PAUSE: Final = 0.5
"""For how many seconds no client is accepted when the process has no more descriptors."""
_EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_TLS_FAULTS: Final = frozenset((276, 280, 283, 284))
"""Error codes for clients that do not trust this broker, have no certificate that it trusts, or do not use TLS."""
_OPTIONS: Final = TransportOptions(tcp_no_delay=True)
_CLOSING: Final = (ConnectionState.CLOSE_SENT, ConnectionState.DISCARDING)


class Client:
    """One connection: its transport, its engine, and what the transport has not taken yet."""

    __slots__ = (
        "close_by",
        "connection",
        "hold_until",
        "mask",
        "open_by",
        "scheduled",
        "transport",
        "unsent",
        "unsent_size",
    )

    def __init__(self, transport: Transport, connection: BrokerConnection) -> None:
        self.transport: Transport = transport
        self.connection: BrokerConnection = connection
        self.unsent: list[bytes | memoryview] = []
        self.unsent_size: int = 0
        self.mask: int = 0
        """What its socket is watched for."""
        self.open_by: float | None = None
        """The time by which it must have opened its connection; None once it has."""
        self.close_by: float | None = None
        """The time by which it must have answered our *close*, and taken what is left to be written."""
        self.hold_until: float | None = None
        """Until then nothing is read from it or written to it."""
        self.scheduled: float | None = None
        """When its next timer is due."""


class Loop:
    """All clients, and the listening socket.

    Args:
        container: the nodes, and the users.
        listener: the listening socket, non-blocking.
        tls: the server's side of TLS; None for plain TCP.
        idle_timeout: after how many seconds without data a client is given up; 0 for never.

    Attributes:
        clients: those that are connected.
    """

    def __init__(
        self,
        container: BrokerContainer,
        listener: socket.socket,
        *,
        tls: ssl.SSLContext | None = None,
        idle_timeout: float = 0,
    ) -> None:
        self.container: BrokerContainer = container
        container.takes_turns = True
        self.clients: dict[Peer, Client] = {}
        self._stalled = False
        self._listener = listener
        self._tls = tls
        self._idle_timeout = idle_timeout
        self._timers: list[tuple[float, int, Client]] = []
        """The timers of clients. An entry may be earlier than its client needs; then a new one is made."""
        self._timer_count = 0
        self._share = READ_SIZE
        self._listening = False
        self._listen_again: float | None = None
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self._listen(True)

    # -- turns -----------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """End :meth:`wait` now. Any thread may call it."""
        with contextlib.suppress(OSError):  # full, so it is awake already, or closed
            self._wake_out.send(b"\0")

    def wait(self) -> list[tuple[Any, int]]:
        """Wait until there is something to do. The result is for :meth:`turn`."""
        ready = self._selector.select(self._pause())
        return [(key.data if key.data is not None else key.fileobj, mask) for key, mask in ready]

    def _pause(self) -> float | None:
        """Seconds until something is due; None if nothing is."""
        if self._stalled:
            return None
        store = self.container.store
        if store.active or store.busy:
            return 0
        due = self._timers[0][0] if self._timers else None
        if self._listen_again is not None and (due is None or self._listen_again < due):
            due = self._listen_again
        return None if due is None else max(0.0, due - self.container.clock())

    def turn(self, ready: list[tuple[Any, int]]) -> None:
        """Serve what is ready, once."""
        self._share = READ_SIZE if len(ready) <= 2 else max(_PAGE, READ_SIZE // len(ready))
        for what, mask in ready:
            if what is self._listener:
                if self._listening:
                    self._accept()
            elif what is self._wake_in:
                with contextlib.suppress(OSError):
                    self._wake_in.recv(4096)
            elif what.connection in self.clients and not self._stalled:
                if mask & selectors.EVENT_READ:
                    self._guard(what, self._read)
                if mask & selectors.EVENT_WRITE:
                    self.container.store.busy[what.connection] = None
        if self._stalled:
            return
        self._act_on_time()
        self.container.work()
        busy = self.container.store.busy
        # Only these: a client that is dropped here may give work to others, which is for the next turn.
        for peer in list(busy):
            busy.pop(peer, None)
            client = self.clients.get(peer)
            if client is not None:
                self._guard(client, self._write)

    def _guard(self, client: Client, step: Callable[[Client], None]) -> None:
        """Do something for a client. An error drops this client, and never stops the broker."""
        try:
            step(client)
        except AMQPTimeoutError as error:
            logger.info("connection given up: %s", error.message)
            self.drop(client)
        except AMQPError as error:
            if isinstance(error, ConnectionDroppedError) or error.code in _TLS_FAULTS:
                logger.debug("connection lost: %s", error.message)
            else:
                logger.warning("connection given up: %s", error)
            self.drop(client)
        except Exception:
            logger.exception("a defect of the broker; the connection that met it is given up")
            self.drop(client)

    # -- clients come and go ---------------------------------------------------------------------------------------

    def _listen(self, wanted: bool) -> None:
        if wanted is self._listening:
            return
        self._listening = wanted
        if wanted:
            self._listen_again = None
            self._selector.register(self._listener, selectors.EVENT_READ)
        else:
            self._selector.unregister(self._listener)

    def _accept(self) -> None:
        limits = self.container.limits
        for _ in range(_MOST_ACCEPTED):
            try:
                sock, _address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    # The client stays in the queue of the system, so trying again at once would be all that is done.
                    logger.warning("no client can be accepted for now: %s", error)
                    self._listen(False)
                    self._listen_again = self.container.clock() + _ACCEPT_PAUSE
                else:
                    logger.debug("a client went before it was accepted: %s", error)
                return
            if 0 < limits.max_connections <= len(self.clients):
                logger.debug("a client is sent away: there are %d", limits.max_connections)
                sock.close()
                continue
            self._welcome(sock)

    def _welcome(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # not TCP, or gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            tcp = TcpTransport(sock, _OPTIONS, self.container.clock)
        except OSError as error:
            logger.debug("a client disconnected as soon as it was accepted: %s", error)
            sock.close()
            return
        transport: Transport = tcp
        external: Callable[[str], str | None] | None = None
        if self._tls is not None:
            from ssl import CERT_REQUIRED

            from amqp10.net.tls.stdlib import StdlibSession
            from amqp10.net.tls.transport import TlsTransport

            session = StdlibSession(self._tls, None)
            transport = TlsTransport(tcp, session, b"")
            if self._tls.verify_mode is CERT_REQUIRED:
                external = partial(certificate_identity, session)
        connection = self.container.accept(idle_timeout=self._idle_timeout, external=external)
        client = self.clients[connection] = Client(transport, connection)
        self._watch(client, selectors.EVENT_READ)
        if self.container.limits.open_timeout > 0:
            client.open_by = self.container.clock() + self.container.limits.open_timeout
            self._schedule(client)

    def drop(self, client: Client) -> None:
        """Drop a client's connection without a *close*."""
        if self.clients.pop(client.connection, None) is None:
            return
        self._watch(client, 0)
        client.scheduled = None
        client.transport.close()
        client.connection.close()
        self.container.store.busy.pop(client.connection, None)
        if not self._listening and self._listen_again is not None:
            self._listen(True)

    def _watch(self, client: Client, mask: int) -> None:
        if mask == client.mask:
            return
        if not mask:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(client.transport.fileno())
        elif client.mask:
            self._selector.modify(client.transport.fileno(), mask, client)
        else:
            self._selector.register(client.transport.fileno(), mask, client)
        client.mask = mask

    # -- time ------------------------------------------------------------------------------------------------------

    def _schedule(self, client: Client) -> None:
        """Set a client's timer."""
        due = client.connection.engine.next_deadline()
        for other in (client.open_by, client.close_by, client.hold_until):
            if other is not None and (due is None or other < due):
                due = other
        if due is not None and (client.scheduled is None or due < client.scheduled):
            client.scheduled = due
            self._timer_count += 1
            heapq.heappush(self._timers, (due, self._timer_count, client))
            if len(self._timers) > 2 * len(self.clients) + 64:
                # Remove the entries of clients that are gone, and those replaced by earlier ones.
                self._timers = [entry for entry in self._timers if entry[2].scheduled == entry[0]]
                heapq.heapify(self._timers)

    def _act_on_time(self) -> None:
        timers = self._timers
        if not timers and self._listen_again is None:
            return
        now = self.container.clock()
        if self._listen_again is not None and now >= self._listen_again:
            self._listen(True)
        while timers and timers[0][0] <= now:
            due, _, client = heapq.heappop(timers)
            if client.connection in self.clients and client.scheduled == due:
                client.scheduled = None
                self._guard(client, self._tick)

    def _tick(self, client: Client) -> None:
        connection = client.connection
        engine = connection.engine
        now = self.container.clock()
        if client.open_by is not None and now >= client.open_by:
            if engine.remote_open is None:
                raise AMQPTimeoutError("the client did not open its connection in time")
            client.open_by = None
        if client.close_by is not None and now >= client.close_by:
            raise AMQPTimeoutError("the client did not end its connection in time")
        if client.hold_until is not None and now >= client.hold_until:
            client.hold_until = None
            self.container.store.busy[connection] = None
        due = engine.next_deadline()
        if due is not None and now >= due:
            connection.handle(engine.tick(now))
        if connection not in self.container.store.busy:  # otherwise _write() does it
            self._schedule(client)

    # -- bytes -----------------------------------------------------------------------------------------------------

    def _read(self, client: Client) -> None:
        connection = client.connection
        transport = client.transport
        large = connection.engine.missing > READ_SIZE
        data = transport.recv(_LARGE_READ if large else self._share)
        if data:
            connection.receive(data)
        if data == b"" or transport.buffered:  # with TLS, the end can arrive together with the last data
            self.drop(client)
        elif transport.unsent or client.unsent:
            # Reading may have given the transport something to send, or ended a handshake.
            self.container.store.busy[connection] = None

    def _write(self, client: Client) -> None:
        connection = client.connection
        engine = connection.engine
        if connection.login_refused and client.hold_until is None:
            pause = self.container.limits.login_pause
            connection.login_refused = False
            if pause > 0:
                client.hold_until = self.container.clock() + pause
                client.open_by = None
        if client.hold_until is not None:
            self._watch(client, 0)
            self._schedule(client)
            return
        transport = client.transport
        buffers = engine.data_to_send(self.container.clock())
        if buffers:
            # Most buffers are short: one is less work than many.
            data = b"".join(buffers)
            client.unsent.append(data)
            client.unsent_size += len(data)
        if client.unsent or transport.unsent:
            sent = transport.send(client.unsent)
            client.unsent = rest_of(client.unsent, sent)
            client.unsent_size -= sent
        size = connection.unsent = client.unsent_size
        waits = size > 0 or transport.unsent
        if engine.finished and not waits:
            self.drop(client)
            return
        if connection.stalled:
            connection.resume()
        # Nothing is read from a client that does not take its output, so that nothing piles up here.
        self._watch(
            client, (selectors.EVENT_WRITE if waits else 0) | (selectors.EVENT_READ if size < MOST_UNSENT else 0)
        )
        state = engine.state
        if client.close_by is None and (state in _CLOSING or engine.finished):
            client.close_by = self.container.clock() + self.container.limits.close_timeout
        self._schedule(client)

    def stall(self, stalled: bool) -> None:
        """Stop reading, writing and timers, as if the process hung; or go on."""
        if stalled is self._stalled:
            return
        self._stalled = stalled
        self._listen(not stalled)
        self._listen_again = None
        for client in self.clients.values():
            if stalled:
                self._watch(client, 0)
            else:
                self.container.store.busy[client.connection] = None

    # -- the end ---------------------------------------------------------------------------------------------------

    def disconnect(self, condition: str, description: str) -> None:
        """Close every connection, and tell the clients why. Connections that are not open yet are dropped."""
        for client in list(self.clients.values()):
            if client.connection.engine.remote_open is None:
                self.drop(client)
            else:
                client.connection.end(ProtocolError(description), condition)

    def stop(self, timeout: float) -> Callable[[], bool]:
        """Close the listening socket and every connection. Call turns as long as the returned function says so."""
        self.stall(False)
        self._listen(False)
        self._listen_again = None
        self._listener.close()
        self.disconnect(ErrorCondition.CONNECTION_FORCED, "the broker is stopping")
        deadline = self.container.clock() + timeout
        for client in self.clients.values():
            client.close_by = deadline
            self._schedule(client)
        return lambda: bool(self.clients) and self.container.clock() < deadline

    def close(self) -> None:
        """Drop the remaining connections, and close the sockets."""
        for client in list(self.clients.values()):
            self.drop(client)
        self._selector.close()
        for sock in (self._listener, self._wake_in, self._wake_out):
            sock.close()

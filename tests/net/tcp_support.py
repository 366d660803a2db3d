"""Loopback servers, clocks and pollers that the tests of TCP and proxies share. Nothing here sleeps."""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from amqp10.net.blocking import BlockingNetwork, BlockingStream, taken_over
from amqp10.net.dial import reach, secure
from amqp10.net.direct import Dialled
from amqp10.net.network import run
from amqp10.net.options import TransportOptions
from amqp10.net.resolve import Lookup, system_lookup
from amqp10.net.tcp import TcpTransport
from amqp10.net.tls.session import TlsSession
from amqp10.net.tls.transport import TlsTransport
from amqp10.net.waiting import Deadline, Waiter

PATIENCE = 20.0
"""Seconds after which a test gives up; only ever reached by a test that fails."""


class FakeClock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class SignallingPoller:
    """``select.poll`` that tells when somebody is about to block in it."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self.entered = threading.Event()
        self.register = self._poll.register
        self.unregister = self._poll.unregister
        self.limits: list[float | None] = []

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        self.limits.append(timeout)
        self.entered.set()
        return self._poll.poll(timeout)


class Background:
    """Runs a function in a thread; joins it and raises its exception at the end of the ``with`` block."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._error: BaseException | None = None
        self._function = function
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self._function()
        except BaseException as error:  # noqa: BLE001  (raised in the test's thread)
            self._error = error

    def __enter__(self) -> Background:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the helper thread hangs"
        if self._error is not None and error is None:
            raise self._error


class ScriptedServer:
    """Accepts connections on a free loopback port and hands each to a function, one after the other, in a thread."""

    def __init__(self, *handlers: Callable[[socket.socket], None], host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self._listener.settimeout(PATIENCE)
        self._handlers = handlers
        self._background = Background(self._serve)
        self.host = host
        self.port: int = self._listener.getsockname()[1]

    def _serve(self) -> None:
        for handler in self._handlers:
            with self._listener.accept()[0] as conn:
                conn.settimeout(PATIENCE)
                handler(conn)

    def __enter__(self) -> Self:
        self._background.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # nobody may be coming any more: end the wait for them
        try:
            self._background.__exit__(kind, error, traceback)
        finally:
            self._listener.close()


class ThreadedListener:
    """Listens on a free port and serves each connection in a thread of its own.

    Attributes:
        host, port: where it listens.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self.host = "127.0.0.1"
        self.port: int = self._listener.getsockname()[1]

    def serve(self, client: socket.socket) -> None:
        """Serve one connection."""
        raise NotImplementedError

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # the listener was shut down: the test is over
            thread = threading.Thread(target=self.serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive(), f"a thread of the {type(self).__name__} hangs"


def read_exactly(conn: socket.socket, count: int) -> bytes:
    """Receive so many bytes from a blocking socket."""
    data = b""
    while len(data) < count:
        chunk = conn.recv(count - len(data))
        assert chunk, f"the stream ended after {data!r}"
        data += chunk
    return data


def read_until(conn: socket.socket, end: bytes) -> bytes:
    """Receive from a blocking socket, byte by byte, up to and including some bytes."""
    data = b""
    while not data.endswith(end):
        data += read_exactly(conn, 1)
    return data


def wait_for_close(conn: socket.socket) -> None:
    """Read until the peer closes, in whatever way."""
    with contextlib.suppress(ConnectionError):
        while conn.recv(65536):
            pass


def connect_tcp(
    host: str,
    port: int,
    options: TransportOptions,
    deadline: Deadline,
    waiter: Waiter,
    *,
    lookup: Lookup = system_lookup,
) -> TcpTransport:
    """``reach`` for callers that block."""
    transport = taken_over(run(reach(host, port, options, BlockingNetwork(waiter, lookup), deadline)))
    assert isinstance(transport, TcpTransport)
    return transport


def shake_hands(tcp: TcpTransport, session: TlsSession, deadline: Deadline, waiter: Waiter) -> TlsTransport:
    """``secure`` for callers that block."""
    dialled = Dialled(BlockingStream(tcp, waiter), tcp.remote_address)
    run(secure(dialled, session, BlockingNetwork(waiter), deadline))
    transport = taken_over(dialled)
    assert isinstance(transport, TlsTransport)
    return transport


def open_transport(
    host: str, port: int, options: TransportOptions | None = None, deadline: Deadline | None = None
) -> TcpTransport:
    """``connect_tcp`` with defaults."""
    with Waiter() as waiter:
        return connect_tcp(host, port, options or TransportOptions(), deadline or Deadline(PATIENCE), waiter)


@contextlib.contextmanager
def connected_pair(
    options: TransportOptions | None = None, clock: Callable[[], float] | None = None
) -> Iterator[tuple[TcpTransport, socket.socket]]:
    """A transport and the plain blocking socket at its other end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        deadline = Deadline(PATIENCE) if clock is None else Deadline(PATIENCE, clock=clock)
        transport = open_transport("127.0.0.1", listener.getsockname()[1], options, deadline)
        peer, _ = listener.accept()
    peer.settimeout(PATIENCE)
    try:
        with peer:
            yield transport, peer
    finally:
        transport.close()


@contextlib.contextmanager
def silent_address() -> Iterator[tuple[str, int]]:
    """An address that answers no connection attempt: a listener whose queue is full (Linux drops further attempts)."""
    assert sys.platform == "linux", "other systems answer in other ways"
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on at the moment."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def no_descriptor_leaks() -> Iterator[None]:
    """Fails when the block leaves more descriptors open than there were."""
    before = open_descriptors()
    yield
    after = open_descriptors()
    assert len(after) <= len(before), f"left open: {after.items() - before.items()}"


def open_descriptors() -> dict[str, str]:
    """What this process has open, by number."""
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that this loop reads the directory with
            found[link.name] = str(link.readlink())
    return found

"""A TLS session joined with a socket: how its end is noticed, and what may take time within a handshake."""

from __future__ import annotations

import contextlib
import datetime
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from amqp10.errors import AMQPError, InterruptedCallError
from amqp10.net.options import TransportOptions
from amqp10.net.tls.revocation import CrlSource
from amqp10.net.tls.session import TlsContext, TlsSession
from amqp10.net.tls.transport import TlsTransport
from amqp10.net.waiting import Deadline, Waiter
from tests.net.pki import HOST, NOW, Identity, MemoryServer, good_server, issue, make_crl, root_ca, server_context
from tests.net.tcp_support import PATIENCE, FakeClock, ScriptedServer, connect_tcp, shake_hands, wait_for_close
from tests.net.test_tls_handshake import BOTH, TLS13, connected, options

Versions = tuple[int, int]


def serving(
    then: Callable[[socket.socket, MemoryServer], None], versions: Versions = TLS13, identity: Identity | None = None
) -> Callable[[socket.socket], None]:
    """A server that does its part of the handshake, and then what it is told."""

    def serve(conn: socket.socket) -> None:
        server = MemoryServer(server_context(identity or good_server(), versions=versions))
        while True:
            data = conn.recv(65536)
            if not data:
                return
            server.receive(data)
            # What a server sends last goes out together with what follows, as one piece.
            if server.finished or server.error is not None:
                break
            conn.sendall(server.output())
        then(conn, server)

    return serve


def wait_in(conn: socket.socket, server: MemoryServer) -> None:
    with contextlib.suppress(ConnectionError):  # who refuses the server resets the connection
        conn.sendall(server.output())
    wait_for_close(conn)


@contextmanager
def opened(serve: Callable[[socket.socket], None]) -> Iterator[tuple[TlsTransport, Waiter]]:
    with ScriptedServer(serve) as server, Waiter() as waiter:
        deadline = Deadline(PATIENCE)
        tcp = connect_tcp(server.host, server.port, TransportOptions(), deadline, waiter)
        try:
            yield shake_hands(tcp, TlsSession(TlsContext(options()), HOST), deadline, waiter), waiter
        finally:
            tcp.close(graceful=False)


def next_piece(transport: TlsTransport, waiter: Waiter) -> bytes:
    """What a pump does: read when the socket is readable, or the transport says that it holds something."""
    while True:
        if not transport.buffered:
            assert waiter.wait(transport.fileno(), read=True, timeout=PATIENCE)[0], "nothing came"
        data = transport.recv()
        if data is not None:
            return data


@BOTH
def test_the_end_behind_the_last_data_is_noticed_though_the_server_keeps_its_socket_open(versions: Versions) -> None:
    def goodbye(conn: socket.socket, server: MemoryServer) -> None:
        server.connection.send(b"last words")
        server.connection.shutdown()
        conn.sendall(server.output())
        wait_for_close(conn)

    with opened(serving(goodbye, versions)) as (transport, waiter):
        assert next_piece(transport, waiter) == b"last words"
        assert next_piece(transport, waiter) == b""
        assert next_piece(transport, waiter) == b""


def test_a_fault_behind_good_data_is_raised_though_nothing_more_arrives() -> None:
    def spoil(conn: socket.socket, server: MemoryServer) -> None:
        server.connection.send(b"good")
        conn.sendall(server.output() + b"\x17\x03\x03\x00\x40" + bytes(64))
        wait_for_close(conn)

    with opened(serving(spoil)) as (transport, waiter):
        assert next_piece(transport, waiter) == b"good"
        with pytest.raises(AMQPError) as caught:
            next_piece(transport, waiter)
        assert caught.value.code == 284


# --- fetching CRLs takes time within the handshake ---


class SkippingPoller:
    """``select.poll`` that, once told to, does not wait: it moves a clock instead."""

    def __init__(self, clock: FakeClock) -> None:
        self._poll = select.poll()
        self._clock = clock
        self.skipping = False
        self.register = self._poll.register
        self.unregister = self._poll.unregister

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        if not self.skipping:
            return self._poll.poll(timeout)
        assert timeout is not None
        self._clock.now += timeout / 1000
        return []

    def skip(self) -> datetime.datetime:
        """Stands in for the clock of CRLs, which is looked at right before one is fetched."""
        self.skipping = True
        return NOW


def shake(source: CrlSource, deadline: Deadline, waiter: Waiter) -> None:
    """A handshake with a server whose certificate names a CRL."""
    context = TlsContext(options(check_crl=1), crl_source=source)
    identity = issue("broker", root_ca(), crl_urls=("http://crl.test/",))
    with ScriptedServer(serving(wait_in, identity=identity)) as server:
        tcp = connect_tcp(server.host, server.port, TransportOptions(), Deadline(PATIENCE), waiter)
        try:
            shake_hands(tcp, TlsSession(context, HOST), deadline, waiter)
        finally:
            tcp.close(graceful=False)


def test_a_crl_is_fetched_in_another_thread_and_believed() -> None:
    threads: list[threading.Thread] = []

    def fetch(_url: str, _timeout: float, _size: int) -> bytes:
        threads.append(threading.current_thread())
        return make_crl(root_ca())

    with Waiter() as waiter:
        shake(CrlSource(fetch=fetch), Deadline(PATIENCE), waiter)
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


@pytest.mark.parametrize(
    ("timeout", "limit", "code", "words"),
    [
        (5, 30, 201, r"within 5 seconds.*fetching a CRL"),
        (3600, 30, 280, r"could not be checked .*no answer within 30 s"),
    ],
    ids=["time-out of the call", "limit of the CRL"],
)
def test_a_stalled_crl_server_outlasts_neither_the_time_out_nor_its_limit(
    timeout: float, limit: float, code: int, words: str
) -> None:
    release = threading.Event()
    clock = FakeClock()
    poller = SkippingPoller(clock)

    def fetch(_url: str, _timeout: float, _size: int) -> bytes:
        release.wait(PATIENCE)
        return b""

    source = CrlSource(fetch=fetch, timeout=limit, now=poller.skip)
    with Waiter(poller) as waiter:
        try:
            with pytest.raises(AMQPError, match=words) as caught:
                shake(source, Deadline(timeout, clock=clock), waiter)
        finally:
            release.set()
    assert caught.value.code == code
    assert clock.now - 1000 < 31


def test_a_stalled_crl_server_can_be_interrupted() -> None:
    release = threading.Event()

    with Waiter() as waiter:

        def fetch(_url: str, _timeout: float, _size: int) -> bytes:
            waiter.interrupt()
            release.wait(PATIENCE)
            return b""

        try:
            with pytest.raises(InterruptedCallError):
                shake(CrlSource(fetch=fetch), Deadline(PATIENCE), waiter)
        finally:
            release.set()


# --- sending ---


class Wire:
    """Stands in for a TcpTransport: takes so many bytes, then no more until it is given more room."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sent = b""
        self.largest = 0

    def send(self, buffers: list[bytes | memoryview]) -> int:
        data = b"".join(buffers)
        self.largest = max(self.largest, len(data))
        taken = data[: self.room]
        self.room -= len(taken)
        self.sent += taken
        return len(taken)


@pytest.mark.parametrize("size", [1, 8192, 131_071, 131_072, 131_073, 500_000])
def test_everything_is_taken_while_the_socket_takes_it_and_arrives_in_order(size: int) -> None:
    session, server = connected()
    wire = Wire(1 << 30)
    transport = TlsTransport(wire, session, [])  # type: ignore[arg-type]
    data = bytes(range(256)) * (size // 256 + 1)
    buffers: list[bytes | memoryview] = [b"first", memoryview(data)[:size], b"", data[:9000], b"last"]
    assert transport.send(buffers) == sum(map(len, buffers))
    assert not transport.unsent
    server.receive(wire.sent)
    assert server.plain == b"".join(buffers)


def test_no_more_than_a_portion_is_encrypted_ahead_of_a_full_socket() -> None:
    session, server = connected()
    wire = Wire(200_000)
    transport = TlsTransport(wire, session, [])  # type: ignore[arg-type]
    data = bytes(range(256)) * 8000
    taken = transport.send([data])
    assert taken == 2 * 131_072
    assert transport.send([data[taken:]]) == 0
    while taken < len(data) or transport.unsent:
        wire.room = 100_000
        taken += transport.send([data[taken:]])
    server.receive(wire.sent)
    assert server.plain == data
    assert wire.largest < 140_000


# --- servers that stop in the middle ---


class StallPoller(SkippingPoller):
    """Does not wait any more once the server has sent its last byte and all that came was read."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.stalled = threading.Event()

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        if not self.stalled.is_set():
            # Not for long: nothing tells this one that the server has stalled while it waits.
            return super().poll(timeout if timeout is None else min(timeout, 10))
        events = super().poll(0)
        if not events and timeout is not None:
            self._clock.now += timeout / 1000
        return events


@BOTH
@pytest.mark.parametrize(
    ("part", "stage"),
    [
        (0.0, "waiting for the server's first answer"),
        (0.05, "waiting for the server's certificate"),
        (0.95, "waiting for the"),
    ],
)
@pytest.mark.parametrize("how", ["time-out", "interruption", "cut"])
def test_a_server_that_stops_in_its_handshake_is_given_up_and_gets_nothing(
    how: str, part: float, stage: str, versions: Versions
) -> None:
    clock = FakeClock()
    poller = StallPoller(clock)
    wire = b""

    def serve(conn: socket.socket) -> None:
        nonlocal wire
        server = MemoryServer(server_context(good_server(), versions=versions))
        server.receive(conn.recv(65536))
        flight = server.output()
        conn.sendall(flight[: int(len(flight) * part)])
        if how == "cut":
            return
        poller.stalled.set()
        if how == "interruption":
            waiter.interrupt()
        with contextlib.suppress(ConnectionError):
            while data := conn.recv(65536):
                wire += data

    with Waiter(poller) as waiter, ScriptedServer(serve) as server:
        tcp = connect_tcp(server.host, server.port, TransportOptions(), Deadline(PATIENCE), waiter)
        session = TlsSession(TlsContext(options()), HOST)
        with pytest.raises(AMQPError) as caught:
            shake_hands(tcp, session, Deadline(5, clock=clock), waiter)
        tcp.close(graceful=False)
    assert caught.value.code == {"time-out": 201, "interruption": 10004, "cut": 276}[how]
    if how == "time-out":
        assert "within 5 seconds" in caught.value.message
    if how != "interruption":
        assert stage in caught.value.message
    assert wire == b""

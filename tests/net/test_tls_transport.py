"""A TLS session joined with a socket: how its end is noticed, and what may take time within a handshake."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from amqp10.errors import AMQPError, AMQPTimeoutError, InterruptedCallError
from amqp10.net.revocation import CrlSource
from amqp10.net.tcp import Deadline, TransportOptions, Waiter, connect_tcp
from amqp10.net.tls import TlsContext, TlsSession
from amqp10.net.tls_transport import TlsTransport, shake_hands
from tests.net.pki import HOST, Identity, MemoryServer, good_server, issue, make_crl, root_ca, server_context
from tests.net.tcp_support import PATIENCE, FakeClock, ScriptedServer, wait_for_close
from tests.net.test_tls_handshake import BOTH, TLS13, options

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


def crl_context(fetch: Callable[[str, float, int], bytes]) -> TlsContext:
    return TlsContext(options(check_crl=1), crl_source=CrlSource(fetch=fetch, timeout=30))


def with_crl() -> Identity:
    return issue("broker", root_ca(), crl_urls=("http://crl.test/",))


def shake(context: TlsContext, deadline: Deadline, waiter: Waiter, after: Callable[[], None]) -> None:
    with ScriptedServer(serving(wait_in, identity=with_crl())) as server:
        tcp = connect_tcp(server.host, server.port, TransportOptions(), Deadline(PATIENCE), waiter)
        try:
            shake_hands(tcp, TlsSession(context, HOST), deadline, waiter)
        finally:
            after()
            tcp.close(graceful=False)


def test_a_crl_is_fetched_while_the_time_out_and_interruptions_apply() -> None:
    threads: list[threading.Thread] = []

    def fetch(_url: str, _timeout: float, _size: int) -> bytes:
        threads.append(threading.current_thread())
        return make_crl(root_ca())

    with Waiter() as waiter:
        shake(crl_context(fetch), Deadline(PATIENCE), waiter, lambda: None)
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


def test_a_stalled_crl_server_does_not_outlast_the_time_out() -> None:
    release = threading.Event()
    clock = FakeClock()

    def fetch(_url: str, _timeout: float, _size: int) -> bytes:
        clock.now += 6  # and it would take longer
        release.wait(PATIENCE)
        return b""

    with Waiter() as waiter, pytest.raises(AMQPTimeoutError, match=r"within 5 seconds.*fetching a CRL"):
        shake(crl_context(fetch), Deadline(5, clock=clock), waiter, release.set)


def test_a_stalled_crl_server_is_given_up_after_its_own_limit_and_counts_as_unreachable() -> None:
    release = threading.Event()
    clock = FakeClock()

    def fetch(_url: str, _timeout: float, _size: int) -> bytes:
        clock.now += 31
        release.wait(PATIENCE)
        return b""

    with Waiter() as waiter, pytest.raises(AMQPError, match=r"could not be checked .*no answer within 30 s") as caught:
        shake(crl_context(fetch), Deadline(3600, clock=clock), waiter, release.set)
    assert caught.value.code == 280


def test_a_stalled_crl_server_can_be_interrupted() -> None:
    release = threading.Event()

    with Waiter() as waiter:

        def fetch(_url: str, _timeout: float, _size: int) -> bytes:
            waiter.interrupt()
            release.wait(PATIENCE)
            return b""

        with pytest.raises(InterruptedCallError):
            shake(crl_context(fetch), Deadline(PATIENCE), waiter, release.set)

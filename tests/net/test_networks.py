"""Connecting over real sockets, once with the network that blocks and once with that of an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from amqp10 import FirewallType
from amqp10.aio.network import AioNetwork
from amqp10.errors import AMQPError, AMQPTimeoutError, InterruptedCallError
from amqp10.net.blocking import BlockingNetwork
from amqp10.net.dial import dial
from amqp10.net.direct import Dialled
from amqp10.net.network import Network, SecureSession, TimeIsUpError, run
from amqp10.net.options import TransportOptions
from amqp10.net.proxy.options import ProxyKind, ProxyOptions
from amqp10.net.tls.session import TlsContext, TlsSession
from amqp10.net.tls.stdlib import StdlibSession
from amqp10.net.waiting import Deadline, Waiter
from tests.component.relay_proxy import RelayProxy
from tests.net.pki import HOST, MemoryServer, good_server, root_ca, server_context
from tests.net.tcp_support import (
    PATIENCE,
    ScriptedServer,
    SignallingPoller,
    ThreadedListener,
    free_port,
    no_descriptor_leaks,
    silent_address,
    wait_for_close,
)
from tests.net.test_tls_handshake import options as tls_options

T = TypeVar("T")
Work = Callable[[Network[Any]], Coroutine[Any, Any, T]]


def lookup(_host: str, port: int, _family: int) -> list[tuple[Any, ...]]:
    """Every name is this machine's."""
    return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]


def blocking(work: Work[T]) -> T:
    with Waiter() as waiter:
        waiter.begin()
        return run(work(BlockingNetwork(waiter, lookup)))


def evented(work: Work[T]) -> T:
    async def main() -> T:
        return await work(AioNetwork(lookup))

    return asyncio.run(main(), debug=True)


NETWORKS = pytest.mark.parametrize("on", [blocking, evented])
SESSIONS = pytest.mark.parametrize("kind", [None, "OpenSSL", "ssl"])


def session(kind: str | None, host: str = HOST) -> SecureSession | None:
    if kind is None:
        return None
    if kind == "OpenSSL":
        return TlsSession(TlsContext(tls_options()), host)
    return StdlibSession(ssl.create_default_context(cadata=root_ca().pem.decode()), host)


class Echo(ThreadedListener):
    """Echoes, over TLS where there is a context; can stop in the middle of its answers.

    Args:
        secure: whether it speaks TLS.
        flight: how many bytes of its first answer it sends before it stays silent; None for all.
    """

    def __init__(self, *, secure: bool = False, flight: int | None = None) -> None:
        super().__init__()
        self._secure = secure
        self._flight = flight
        self.stalled = threading.Event()

    def serve(self, client: socket.socket) -> None:
        server = MemoryServer(server_context(good_server()))
        echoed = 0
        with contextlib.suppress(OSError), client:
            while data := client.recv(65536):
                if not self._secure:
                    client.sendall(data)
                    continue
                server.receive(data)
                if server.finished and len(server.plain) > echoed:
                    server.connection.send(server.plain[echoed:])
                    echoed = len(server.plain)
                answer = server.output()
                if self._flight is None:
                    client.sendall(answer)
                    continue
                client.sendall(answer[: self._flight])
                self.stalled.set()
                wait_for_close(client)
                return


async def round_trip(dialled: Dialled[Any]) -> bytes:
    deadline = Deadline(PATIENCE)
    tls = dialled.session
    if tls is None:
        await dialled.stream.write(b"ping", deadline)
        data: bytes = await dialled.stream.read(100, deadline)
    else:
        tls.write([b"ping"])
        await dialled.stream.write(tls.data_to_send(), deadline)
        data = dialled.early
        while not data:
            data = b"".join(tls.feed(await dialled.stream.read(65536, deadline)))
    dialled.stream.abort()
    return data


@NETWORKS
@SESSIONS
@pytest.mark.parametrize("proxied", [False, True])
def test_bytes_flow_over_every_way(on: Callable[[Work[bytes]], bytes], kind: str | None, proxied: bool) -> None:
    with (
        no_descriptor_leaks(),
        Echo(secure=kind is not None) as server,
        RelayProxy(FirewallType.fwTunnel, (server.host, server.port)) as relay,
    ):
        proxy = ProxyOptions(ProxyKind.TUNNEL, relay.host, relay.port) if proxied else None
        options = TransportOptions(proxy=proxy, tcp_no_delay=True)

        async def work(network: Network[Any]) -> bytes:
            deadline = Deadline(PATIENCE)
            return await round_trip(await dial(HOST, server.port, options, network, deadline, session=session(kind)))

        assert on(work) == b"ping"


@NETWORKS
def test_a_port_where_nobody_listens(on: Callable[[Work[Any]], Any]) -> None:
    port = free_port()
    with no_descriptor_leaks(), pytest.raises(AMQPError) as caught:
        on(lambda network: dial(HOST, port, TransportOptions(), network, Deadline(PATIENCE)))
    assert caught.value.code == 10061
    assert f"127.0.0.1:{port}" in caught.value.message


@NETWORKS
def test_an_address_that_does_not_answer(on: Callable[[Work[Any]], Any]) -> None:
    with silent_address() as (_, port), no_descriptor_leaks(), pytest.raises(AMQPTimeoutError):
        on(lambda network: dial(HOST, port, TransportOptions(), network, Deadline(0.02)))


@NETWORKS
@pytest.mark.parametrize("kind", ["OpenSSL", "ssl"])
@pytest.mark.parametrize("flight", [0, 3, 200])
def test_a_handshake_that_stalls(on: Callable[[Work[Any]], Any], kind: str, flight: int) -> None:
    with no_descriptor_leaks(), Echo(secure=True, flight=flight) as server, pytest.raises(AMQPTimeoutError) as caught:
        on(lambda net: dial(HOST, server.port, TransportOptions(), net, Deadline(0.1), session=session(kind)))
    assert "TLS handshake" in caught.value.message


@NETWORKS
@pytest.mark.parametrize("kind", ["OpenSSL", "ssl"])
def test_a_wrong_name_is_refused(on: Callable[[Work[Any]], Any], kind: str) -> None:
    tls = session(kind, "other.test")
    with no_descriptor_leaks(), Echo(secure=True) as server, pytest.raises(AMQPError) as caught:
        on(lambda net: dial("other.test", server.port, TransportOptions(), net, Deadline(PATIENCE), session=tls))
    assert caught.value.code == 280


@NETWORKS
def test_a_proxy_that_resets_the_connection(on: Callable[[Work[Any]], Any]) -> None:
    def reset(conn: socket.socket) -> None:
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with no_descriptor_leaks(), ScriptedServer(reset) as server:
        options = TransportOptions(proxy=ProxyOptions(ProxyKind.TUNNEL, server.host, server.port))
        with pytest.raises(AMQPError) as caught:
            on(lambda net: dial(HOST, 5671, options, net, Deadline(PATIENCE)))
    # A reset before the socket is looked at is a failed attempt, and a broken connection after that.
    assert caught.value.code in (1120, 10054, 10057)


@NETWORKS
def test_a_call_that_does_not_return_is_left_to_itself(on: Callable[[Work[Any]], Any]) -> None:
    release = threading.Event()
    with pytest.raises(TimeIsUpError):
        on(lambda network: network.call(lambda: release.wait(PATIENCE), Deadline(0.01).remaining, "testing"))  # type: ignore[arg-type,return-value]
    release.set()
    join("testing")


@NETWORKS
def test_what_a_call_raises_comes_out(on: Callable[[Work[Any]], Any]) -> None:
    def fail() -> None:
        raise TimeoutError("not ours")

    with pytest.raises(TimeoutError, match="not ours"):
        on(lambda network: network.call(fail, Deadline(PATIENCE).remaining, "testing"))  # type: ignore[arg-type,return-value]
    join("testing")


def join(doing: str) -> None:
    for thread in threading.enumerate():
        if thread.name == f"amqp10 {doing}":
            thread.join(PATIENCE)


@pytest.mark.parametrize("kind", ["OpenSSL", "ssl"])
@pytest.mark.parametrize("flight", [0, 200])
def test_a_cancelled_task_leaves_no_socket_open(kind: str, flight: int) -> None:
    async def main() -> None:
        work = dial(HOST, server.port, TransportOptions(), AioNetwork(lookup), Deadline(None), session=session(kind))
        task = asyncio.create_task(work)
        await asyncio.to_thread(server.stalled.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with no_descriptor_leaks(), Echo(secure=True, flight=flight) as server:
        asyncio.run(main(), debug=True)
        gc.collect()


def test_a_cancelled_connect_leaves_no_socket_open() -> None:
    async def main() -> None:
        task = asyncio.create_task(dial(HOST, port, TransportOptions(), AioNetwork(lookup), Deadline(None)))
        for _ in range(50):  # the resolver's thread, and then the attempt
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        join("resolving " + HOST)

    with silent_address() as (_, port), no_descriptor_leaks():
        asyncio.run(main(), debug=True)


def test_an_interrupted_handshake_leaves_no_socket_open() -> None:
    with no_descriptor_leaks(), Echo(secure=True, flight=200) as server, Waiter(SignallingPoller()) as waiter:

        def interrupt() -> None:
            server.stalled.wait(PATIENCE)
            waiter.interrupt()

        waiter.begin()
        thread = threading.Thread(target=interrupt)
        thread.start()
        network = BlockingNetwork(waiter, lookup)
        with pytest.raises(InterruptedCallError):
            run(dial(HOST, server.port, TransportOptions(), network, Deadline(None), session=session("ssl")))
        thread.join(PATIENCE)

"""Connecting as a whole, over a network in memory: every stage, every way to fail, every place to be interrupted."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Any

import pytest

from amqp10.errors import AMQPError, AMQPTimeoutError, ConnectionDroppedError, InterruptedCallError
from amqp10.net.dial import dial
from amqp10.net.direct import Dialled
from amqp10.net.memory import MemoryNetwork, MemoryStream
from amqp10.net.network import SecureSession
from amqp10.net.options import TransportOptions
from amqp10.net.proxy.options import ProxyKind, ProxyOptions
from amqp10.net.tls.options import TlsOptions
from amqp10.net.tls.revocation import CrlSource, FetchError
from amqp10.net.tls.session import TlsContext, TlsSession
from amqp10.net.tls.stdlib import StdlibSession
from amqp10.net.waiting import Deadline
from tests.net.pki import DAY, HOST, NOW, Identity, MemoryServer, good_server, issue, make_crl, root_ca, server_context

Peer = Callable[[MemoryStream], Coroutine[Any, Any, None]]
MakeSession = Callable[[], SecureSession]

SERVER = ("192.0.2.1", 5671)
PROXY = ("192.0.2.99", 3128)
NAMES = {HOST: (SERVER[0],), "proxy.test": (PROXY[0],)}
FOREVER = Deadline(None)
GREETING = b"server speaking first"


def openssl(host: str = HOST, **settings: Any) -> TlsSession:
    made = TlsOptions(ca_cert_file_paths="", server_ca_certs=root_ca().pem.decode(), **settings)
    return TlsSession(TlsContext(made), host)


def stdlib(host: str = HOST, trusted: Identity | None = None) -> StdlibSession:
    context = ssl.create_default_context(cadata=(trusted or root_ca()).pem.decode())
    return StdlibSession(context, host)


BOTH = pytest.mark.parametrize("make", [openssl, stdlib])


def tls_server(identity: Identity | None = None, *, stop_after: int | None = None, stall: bool = False) -> Peer:
    """A server that answers the handshake, speaks first, and then echoes.

    Args:
        identity: its certificate.
        stop_after: after so many bytes it sends nothing more...
        stall: ... and stays silent, instead of closing.
    """

    async def serve(stream: MemoryStream) -> None:
        tls = MemoryServer(server_context(identity or good_server()))
        left = stop_after
        greeted = False
        while data := await stream.read(65536, FOREVER):
            tls.receive(data)
            answer = tls.output()
            if tls.finished and not greeted:
                greeted = True
                tls.connection.send(GREETING)
                answer += tls.output()
            if left is not None:
                answer, left = answer[:left], max(0, left - len(answer))
            await stream.write(answer, FOREVER)
            if left == 0:
                if stall:
                    await stream.read(1 << 20, FOREVER)
                    await stream.read(1 << 20, FOREVER)
                return

    return serve


async def echo(stream: MemoryStream) -> None:
    while data := await stream.read(65536, FOREVER):
        await stream.write(data, FOREVER)


def tunnel(target: Peer, *, excess: bytes = b"") -> Peer:
    async def serve(stream: MemoryStream) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += await stream.read(1, FOREVER)
        assert request.startswith(b"CONNECT broker.test:5671 HTTP/1.1\r\n")
        await stream.write(b"HTTP/1.1 200 OK\r\n\r\n" + excess, FOREVER)
        await target(stream)

    return serve


def socks(target: Peer) -> Peer:
    async def serve(stream: MemoryStream) -> None:
        assert await stream.read(3, FOREVER) == b"\5\1\0"
        await stream.write(b"\5\0", FOREVER)
        assert await stream.read(10, FOREVER) == b"\5\1\0\1\xc0\0\2\1\x16\x27"
        await stream.write(b"\5\0\0\1\0\0\0\0\0\0", FOREVER)
        await target(stream)

    return serve


def through(kind: ProxyKind) -> TransportOptions:
    return TransportOptions(proxy=ProxyOptions(kind, "proxy.test", PROXY[1]))


def connecting(
    network: MemoryNetwork,
    *,
    options: TransportOptions | None = None,
    session: SecureSession | None = None,
    seconds: float | None = 10,
    absolute: bool = False,
    host: str = HOST,
) -> Coroutine[Any, Any, Dialled[MemoryStream]]:
    deadline = Deadline(seconds, clock=network.clock, absolute=absolute)
    return dial(host, SERVER[1], options or TransportOptions(), network, deadline, session=session)


def fails(network: MemoryNetwork, **more: Any) -> AMQPError:
    with pytest.raises(AMQPError) as caught:
        network.run(connecting(network, **more))
    assert all(stream.closed for stream in network.streams), "a stream was left open"
    return caught.value


# -- the way there -------------------------------------------------------------------------------------------------


def test_addresses_are_tried_in_turn_and_those_of_both_families() -> None:
    names = {HOST: ("192.0.2.7", "2001:db8::7", SERVER[0])}
    network = MemoryNetwork({SERVER: echo}, names)
    dialled = network.run(connecting(network, options=TransportOptions(use_ipv6=2)))
    assert dialled.remote_address == SERVER
    assert dialled.proxy_address is None
    error = fails(MemoryNetwork({}, names), options=TransportOptions(use_ipv6=2))
    assert error.code == 10061
    assert [part in error.message for part in ("[2001:db8::7]", "192.0.2.7", SERVER[0])] == [True] * 3


def test_an_address_that_never_answers_gets_only_its_share_of_the_time() -> None:
    network = MemoryNetwork({("192.0.2.7", 5671): None, SERVER: echo}, {HOST: ("192.0.2.7", SERVER[0])})
    assert network.run(connecting(network)).remote_address == SERVER
    assert 5 <= network.now < 6


def test_a_server_that_never_answers_is_a_time_out_after_exactly_the_time() -> None:
    network = MemoryNetwork({SERVER: None}, NAMES)
    error = fails(network)
    assert isinstance(error, AMQPTimeoutError)
    assert "10 seconds" in error.message
    assert 10 <= network.now <= 11


@pytest.mark.parametrize("make", [openssl, stdlib, None])
@pytest.mark.parametrize(
    ("options", "peers"),
    [
        (TransportOptions(), {SERVER: tls_server()}),
        (through(ProxyKind.TUNNEL), {PROXY: tunnel(tls_server())}),
        (through(ProxyKind.SOCKS5), {PROXY: socks(tls_server())}),
    ],
    ids=["direct", "HTTP", "SOCKS5"],
)
def test_every_way_ends_in_an_open_connection(
    make: MakeSession | None, options: TransportOptions, peers: Mapping[tuple[str, int], Peer]
) -> None:
    network = MemoryNetwork(peers, NAMES)
    session = make() if make is not None else None
    dialled = network.run(connecting(network, options=options, session=session))
    assert dialled.session is session
    assert not dialled.stream.closed
    assert (dialled.proxy_address is not None) == (options.proxy is not None)
    if session is not None:
        assert session.handshake_done


@pytest.mark.parametrize("make", [openssl, stdlib])
def test_what_a_proxy_sends_after_its_answer_reaches_the_server_side(make: MakeSession) -> None:
    network = MemoryNetwork({PROXY: tunnel(echo, excess=GREETING)}, NAMES)
    dialled = network.run(connecting(network, options=through(ProxyKind.TUNNEL)))
    assert dialled.early == GREETING
    # With TLS it is what the server says in the handshake: here it makes no sense.
    network = MemoryNetwork({PROXY: tunnel(echo, excess=GREETING)}, NAMES)
    assert fails(network, options=through(ProxyKind.TUNNEL), session=make()).code == 276


@BOTH
def test_data_that_comes_with_the_end_of_the_handshake_is_kept(make: MakeSession) -> None:
    async def serve(stream: MemoryStream) -> None:
        tls = MemoryServer(server_context(good_server()))
        greeting = GREETING
        while data := await stream.read(65536, FOREVER):
            tls.receive(data)
            if tls.finished and greeting:
                tls.connection.send(greeting)
                greeting = b""
            await stream.write(tls.output(), FOREVER)

    network = MemoryNetwork({SERVER: serve}, NAMES)
    session = make()

    async def work() -> bytes:
        dialled = await connecting(network, session=session)
        received = dialled.early
        while len(received) < len(GREETING):
            received += b"".join(session.feed(await dialled.stream.read(65536, FOREVER)))
        return received

    assert network.run(work()) == GREETING


# -- TLS that must fail --------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("identity", "text"),
    [
        (lambda: issue("other", root_ca(), hosts=("other.test",)), "other.test|not valid for|mismatch"),
        (lambda: issue("broker", issue("Stranger", ca=True)), "issuer|CA"),
        (lambda: issue("broker"), "self.signed|CA"),
        (lambda: issue("broker", root_ca(), start=NOW - 9 * DAY, end=NOW - DAY), "expired"),
        (lambda: issue("broker", root_ca(), start=NOW + timedelta(hours=2)), "not.*valid"),
    ],
    ids=["wrong name", "unknown CA", "self-signed", "expired", "from the future"],
)
def test_a_server_that_must_not_be_trusted_gets_an_alert_and_nothing_else(
    make: MakeSession, identity: Callable[[], Identity], text: str
) -> None:
    seen: list[bytes] = []

    async def serve(stream: MemoryStream) -> None:
        tls = MemoryServer(server_context(identity()))
        tls.receive(await stream.read(65536, FOREVER))
        await stream.write(tls.output(), FOREVER)
        while data := await stream.read(65536, FOREVER):
            seen.append(data)

    network = MemoryNetwork({SERVER: serve}, NAMES)
    error = fails(network, session=make())
    assert error.code == 280
    assert re.search(text, error.message)


@BOTH
def test_a_handshake_that_stalls_is_a_time_out_wherever_it_does(make: MakeSession) -> None:
    for size in (0, 3, 100, 600):
        network = MemoryNetwork({SERVER: tls_server(stop_after=size, stall=True)}, NAMES)
        error = fails(network, session=make())
        assert isinstance(error, AMQPTimeoutError)
        assert "TLS handshake" in error.message
        assert 10 <= network.now < 12


@BOTH
@pytest.mark.parametrize("size", [0, 1, 5, 90, 127, 200, 700, 900])
def test_a_handshake_that_is_cut_is_an_error_wherever_it_is(make: MakeSession, size: int) -> None:
    error = fails(MemoryNetwork({SERVER: tls_server(stop_after=size)}, NAMES), session=make())
    assert error.code in (276, 1120)


def test_bytes_that_trickle_do_not_extend_an_absolute_time_out() -> None:
    async def trickle(stream: MemoryStream) -> None:
        await stream.write(b"HTTP/1.1 200 OK\r\nX: ", FOREVER)
        while True:
            await stream.write(b"x", FOREVER)
            network.now += 1

    network = MemoryNetwork({PROXY: trickle}, NAMES)
    error = fails(network, options=through(ProxyKind.TUNNEL), absolute=True)
    assert isinstance(error, AMQPTimeoutError)
    assert network.now < 12


@pytest.mark.parametrize("outcome", ["good", "failing", "late"])
def test_a_crl_is_fetched_between_two_steps_of_the_handshake(outcome: str) -> None:
    def fetch(_url: str, _timeout: float, _size: int) -> bytes:
        if outcome == "failing":
            raise FetchError("no such host")
        return make_crl(root_ca())

    identity = issue("broker", root_ca(), crl_urls=("http://crl.test/root.crl",))
    made = TlsOptions(ca_cert_file_paths="", server_ca_certs=root_ca().pem.decode(), check_crl=1)
    session = TlsSession(TlsContext(made, crl_source=CrlSource(timeout=3, fetch=fetch)), HOST)
    network = MemoryNetwork({SERVER: tls_server(identity)}, NAMES)
    if outcome == "late":
        network.call_time = 4
    if outcome == "good":
        assert network.run(connecting(network, session=session)).session is session
        return
    error = fails(network, session=session)
    assert error.code == 280
    assert ("no such host" if outcome == "failing" else "no answer within") in error.message


# -- interruptions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [None, ProxyKind.TUNNEL, ProxyKind.SOCKS5])
@pytest.mark.parametrize("make", [None, openssl, stdlib])
@pytest.mark.parametrize("throw", [asyncio.CancelledError, KeyboardInterrupt, InterruptedCallError])
def test_an_interruption_at_any_await_leaves_nothing_open(
    kind: ProxyKind | None, make: MakeSession | None, throw: type[BaseException]
) -> None:
    server = tls_server() if make is not None else echo
    peers = {SERVER: server, PROXY: tunnel(server) if kind is ProxyKind.TUNNEL else socks(server)}
    options = through(kind) if kind is not None else TransportOptions()
    step = 1
    finished = False
    while not finished:
        network = MemoryNetwork(peers, NAMES)
        work = connecting(network, options=options, session=make() if make is not None else None)
        try:
            network.run(work, interrupt=(step, throw()))
            finished = True
        except throw:
            assert all(stream.closed for stream in network.streams), f"interrupted at step {step}"
            step += 1
    # The name, connecting; request and answer of a proxy; flights of TLS.
    assert step >= 3 + (2 if kind is not None else 0) + (2 if make is not None else 0)


def test_an_aborted_peer_is_a_dropped_connection() -> None:
    async def serve(stream: MemoryStream) -> None:
        await stream.read(10, FOREVER)
        stream.abort()

    error = fails(MemoryNetwork({SERVER: serve}, NAMES), session=stdlib())
    assert isinstance(error, ConnectionDroppedError)


def test_messages_use_the_neutral_words_of_net() -> None:
    texts = [
        fails(MemoryNetwork({}, NAMES), host="a b").message,
        fails(MemoryNetwork({}, NAMES), host="nowhere.test").message,
        fails(MemoryNetwork({}, NAMES), options=TransportOptions(proxy=ProxyOptions(7, "p"))).message,
        fails(MemoryNetwork({}, NAMES), options=TransportOptions(local_host="x y")).message,
    ]
    for text in texts:
        assert not any(name in text for name in ("remote_host", "firewall", "local_host", "UseIPv6")), text

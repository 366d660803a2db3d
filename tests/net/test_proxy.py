"""Tunnels through proxies, against small servers in threads that play each protocol byte by byte."""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
from collections.abc import Callable

import pytest

from amqp10.errors import AMQPError, AMQPTimeoutError, ConnectionDroppedError, InterruptedCallError
from amqp10.net.options import TransportOptions
from amqp10.net.proxy.options import ProxyKind, ProxyOptions
from amqp10.net.tcp import TcpTransport
from amqp10.net.waiting import Deadline, Waiter
from tests.net.tcp_support import (
    PATIENCE,
    ScriptedServer,
    SignallingPoller,
    connect_tcp,
    free_port,
    no_descriptor_leaks,
    read_exactly,
    read_until,
    silent_address,
    wait_for_close,
)
from tests.net.test_resolve import Answer, answering

Handler = Callable[[socket.socket], None]
Lookup = Callable[[str, int, int], Answer]

GREETING = b"server speaking first"


def unresolvable(host: str, port: int, family: int) -> Answer:
    """A resolver for tests in which only the proxy's own address may be looked up."""
    raise AssertionError(f"{host} was resolved here")


def connect(
    server: ScriptedServer,
    kind: int,
    host: str = "broker.example",
    *,
    lookup: Lookup = unresolvable,
    seconds: float = PATIENCE,
    options: TransportOptions | None = None,
    **proxy: str | int | bool,
) -> TcpTransport:
    options = options or TransportOptions()
    options.proxy = ProxyOptions(kind, server.host, server.port, **proxy)  # type: ignore[arg-type]  # fields by name
    with Waiter() as waiter:
        return connect_tcp(host, 5672, options, Deadline(seconds), waiter, lookup=lookup)


def refusal(handler: Handler, kind: int, host: str = "broker.example", **more: object) -> AMQPError:
    with no_descriptor_leaks(), ScriptedServer(handler) as server, pytest.raises(AMQPError) as caught:
        connect(server, kind, host, **more)  # type: ignore[arg-type]  # passed on as they are
    error = caught.value
    # Which hop failed must be plain.
    assert f"the proxy 127.0.0.1:{server.port}" in error.message
    return error


def check_tunnel(transport: TcpTransport, server: ScriptedServer) -> None:
    """The server's first bytes are all there, and what is sent comes back."""
    assert transport.proxy_address == (server.host, server.port)
    with Waiter() as waiter:
        received = b""
        assert transport.send([b"ping"]) == 4
        while len(received) < len(GREETING) + 4:
            waiter.wait(transport.fileno(), read=True, timeout=PATIENCE)
            received += transport.recv() or b""
    assert received == GREETING + b"ping"
    transport.close()


def be_the_server(conn: socket.socket) -> None:
    with contextlib.suppress(ConnectionError):  # a client that did not like the answer resets the connection
        conn.sendall(read_exactly(conn, 4))
        wait_for_close(conn)


# -- HTTP ----------------------------------------------------------------------------------------------------------


class HttpProxy:
    """Answers one CONNECT; keeps the request."""

    def __init__(self, answer: bytes, *, piecewise: bool = False) -> None:
        self.answer = answer
        self.piecewise = piecewise
        self.request = b""

    def __call__(self, conn: socket.socket) -> None:
        self.request = read_until(conn, b"\r\n\r\n")
        if self.piecewise:
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number in range(len(self.answer)):
                conn.sendall(self.answer[number : number + 1])
        else:
            conn.sendall(self.answer)
        if b" 200" in self.answer[:20]:
            be_the_server(conn)
        else:
            wait_for_close(conn)

    @property
    def lines(self) -> list[str]:
        return self.request.decode().split("\r\n")


OPEN = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n" + GREETING


class TestTunnel:
    @pytest.mark.parametrize("piecewise", [False, True], ids=["whole", "byte by byte"])
    def test_nothing_after_the_answer_is_lost(self, piecewise: bool) -> None:
        proxy = HttpProxy(OPEN, piecewise=piecewise)
        with ScriptedServer(proxy) as server:
            transport = connect(server, ProxyKind.TUNNEL)
            assert transport.remote_address == ("broker.example", 5672)
            check_tunnel(transport, server)
        assert proxy.lines == ["CONNECT broker.example:5672 HTTP/1.1", "Host: broker.example:5672", "", ""]

    def test_bare_line_feeds_and_other_successes(self) -> None:
        with ScriptedServer(HttpProxy(b"HTTP/1.0 200\n\n" + GREETING)) as server:
            check_tunnel(connect(server, ProxyKind.TUNNEL), server)

    def test_ipv6_address_is_bracketed(self) -> None:
        proxy = HttpProxy(OPEN)
        with ScriptedServer(proxy) as server:
            check_tunnel(connect(server, ProxyKind.TUNNEL, "2001:db8::1"), server)
        assert proxy.lines[0] == "CONNECT [2001:db8::1]:5672 HTTP/1.1"

    def test_name_outside_ascii_travels_as_idna(self) -> None:
        proxy = HttpProxy(OPEN)
        with ScriptedServer(proxy) as server:
            check_tunnel(connect(server, ProxyKind.TUNNEL, "bröker.example"), server)
        assert proxy.lines[0] == "CONNECT xn--brker-kua.example:5672 HTTP/1.1"

    def test_credentials_are_sent_as_basic(self) -> None:
        proxy = HttpProxy(OPEN)
        with ScriptedServer(proxy) as server:
            check_tunnel(connect(server, ProxyKind.TUNNEL, user="ann", password="pä:ss"), server)
        encoded = base64.b64encode("ann:pä:ss".encode()).decode()
        assert proxy.lines[2] == f"Proxy-Authorization: Basic {encoded}"

    def test_further_header_lines(self) -> None:
        proxy = HttpProxy(OPEN)
        with ScriptedServer(proxy) as server:
            check_tunnel(connect(server, ProxyKind.TUNNEL, data="X-Token: abc\r\nX-Empty:\nX-Tab: a\tb\r\n"), server)
        assert proxy.lines[2:] == ["X-Token: abc", "X-Empty:", "X-Tab: a\tb", "", ""]

    def test_rate_limit_holds_for_the_request_too(self) -> None:
        proxy = HttpProxy(OPEN)
        options = TransportOptions(max_transfer_rate=2000)
        with ScriptedServer(proxy) as server:
            transport = connect(server, ProxyKind.TUNNEL, options=options, data="X-Long: " + "x" * 150)
            transport.close(graceful=False)
        assert len(proxy.request) > 200

    @pytest.mark.parametrize(
        ("status", "code"),
        [
            ("401 Unauthorized", 10013),
            ("403 Forbidden", 10013),
            ("400 Bad Request", 10045),
            ("405 Method Not Allowed", 10045),
            ("500 Unable to connect", 10061),
            ("502 Bad Gateway", 10061),
            ("503 Service Unavailable", 10061),
            ("504 Gateway Timeout", 10060),
            ("301 Moved Permanently", 10061),
            ("999", 10061),
        ],
    )
    def test_refusal_says_what_the_proxy_answered(self, status: str, code: int) -> None:
        error = refusal(HttpProxy(f"HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\nno!".encode()), ProxyKind.TUNNEL)
        assert error.code == code
        assert f"answered {status}" in error.message

    def test_authentication_required(self) -> None:
        answer = (
            b"HTTP/1.1 407 Proxy Authentication Required\r\n"
            b'Proxy-Authenticate: Basic realm="r"\r\nproxy-authenticate: Digest realm="r"\r\n\r\n'
        )
        error = refusal(HttpProxy(answer), ProxyKind.TUNNEL)
        assert error.code == 10013
        assert "answered 407 Proxy Authentication Required" in error.message
        assert "Basic, Digest" in error.message
        assert "the proxy's user" in error.message

    def test_wrong_password_is_not_repeated_in_the_message(self) -> None:
        answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n"
        error = refusal(HttpProxy(answer), ProxyKind.TUNNEL, user="ann", password="hunter2")
        assert error.code == 10013
        assert "hunter2" not in repr(error)
        assert base64.b64encode(b"ann:hunter2").decode() not in repr(error)

    @pytest.mark.parametrize(
        "answer",
        [
            "HTTP/1.1 400 Basic YW5uOmh1bnRlcjI=\r\n\r\n",
            "HTTP/1.1 400 OmH1BnRL\r\n\r\n",
            "HTTP/1.1 400 no hunter2 here\r\n\r\n",
            "HTTP/1.1 502 X-Token: t0ken-77\r\n\r\n",
            "HTTP/1.1 407 No\r\nProxy-Authenticate: YW5uOmh1bnRlcjI=\r\n\r\n",
            "Proxy-Authorization: Basic YW5uOmh1bnRlcjI=\r\n\r\n",
            "hunter2\r\n\r\n",
            "HTTX t0ken-77\r\n\r\n",
        ],
    )
    def test_a_proxy_that_reflects_the_request_puts_no_secret_into_an_error(self, answer: str) -> None:
        error = refusal(
            HttpProxy(answer.encode()), ProxyKind.TUNNEL, user="ann", password="hunter2", data="X-Token: t0ken-77"
        )
        shown = (error.message + repr(error) + repr(error.__cause__)).lower()
        for secret in ("hunter2", "yw5uomh1bnrlcji", "omh1bnrl", "t0ken"):
            assert secret not in shown

    def test_a_socks_proxy_that_reflects_the_password_puts_it_into_no_error(self) -> None:
        def handler(conn: socket.socket) -> None:
            read_exactly(conn, 3)
            conn.sendall(b"\5\2")
            conn.sendall(read_exactly(conn, 13)[5:])
            wait_for_close(conn)

        error = refusal(handler, ProxyKind.SOCKS5, "192.0.2.7", user="ann", password="hunter2")
        assert error.code == 10041
        assert "hunter2" not in error.message + repr(error.__cause__)

    def test_what_a_proxy_says_in_its_own_words_is_shown_though_a_password_was_sent(self) -> None:
        answer = b"HTTP/1.1 407 Go away\r\nProxy-Authenticate: Basic\r\n\r\n"
        error = refusal(
            HttpProxy(answer), ProxyKind.TUNNEL, user="ann", password="hunter2", data="X-Scheme: Basic secret"
        )
        assert "answered 407 Go away" in error.message
        assert "it asks for Basic" in error.message

    def test_control_characters_in_the_answer_do_not_reach_the_message(self) -> None:
        error = refusal(HttpProxy(b"HTTP/1.1 403 \x1b[31mno\x07\r\n\r\n"), ProxyKind.TUNNEL)
        assert "\x1b" not in error.message
        assert "\x07" not in error.message

    @pytest.mark.parametrize(
        "answer", [b"\x05\x00", b"SSH-2.0-test\r\n", b"HTTQ/1.1 200 OK\r\n\r\n", b"HTTP/1.1 2x0\r\n\r\n"]
    )
    def test_answer_in_another_protocol_fails_at_once(self, answer: bytes) -> None:
        error = refusal(HttpProxy(answer), ProxyKind.TUNNEL)
        assert error.code == 10041
        assert "does not speak HTTP" in error.message

    def test_endless_header_is_cut_off(self) -> None:
        error = refusal(HttpProxy(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000), ProxyKind.TUNNEL)
        assert error.code == 10041

    @pytest.mark.parametrize("answer", [b"", b"HT", b"HTTP/1.1 200 OK\r\n"])
    def test_closed_instead_of_answering(self, answer: bytes) -> None:
        def handler(conn: socket.socket) -> None:
            read_until(conn, b"\r\n\r\n")
            conn.sendall(answer)

        error = refusal(handler, ProxyKind.TUNNEL)
        assert isinstance(error, ConnectionDroppedError)
        assert error.code == 1120


class TestChecksBeforeConnecting:
    @pytest.mark.parametrize(
        ("kind", "fields", "text"),
        [
            (ProxyKind.TUNNEL, {"data": "X-A: b\r\n\r\nGET / HTTP/1.1"}, "the header lines for the proxy"),
            (ProxyKind.TUNNEL, {"data": "no header"}, "the header lines for the proxy"),
            (ProxyKind.TUNNEL, {"data": " folded: line"}, "the header lines for the proxy"),
            (ProxyKind.TUNNEL, {"data": "X-A: b\0"}, "the header lines for the proxy"),
            (ProxyKind.TUNNEL, {"data": "Host: other"}, "Host"),
            (ProxyKind.TUNNEL, {"data": "Content-Length: 5"}, "Content-Length"),
            (ProxyKind.TUNNEL, {"data": "Proxy-Authorization: x", "user": "u"}, "Proxy-Authorization"),
            (ProxyKind.TUNNEL, {"user": "a:b"}, "the proxy's user"),
            (ProxyKind.TUNNEL, {"user": "a\r\nb"}, "the proxy's user"),
            (ProxyKind.SOCKS5, {"data": "X-A: b"}, "the header lines for the proxy"),
            (ProxyKind.SOCKS5, {"user": "u"}, "the proxy's password"),
            (ProxyKind.SOCKS5, {"password": "hunter2"}, "the proxy's user"),
            (ProxyKind.SOCKS5, {"user": "u" * 256, "password": "hunter2"}, "the proxy's user"),
            (ProxyKind.SOCKS5, {"user": "u", "password": "hunter2ä"}, "the proxy's password"),
            (ProxyKind.SOCKS4, {"password": "hunter2"}, "the proxy's password"),
            (ProxyKind.SOCKS4, {"user": "a\0b"}, "the proxy's user"),
            (ProxyKind.SOCKS4A, {"user": "ä"}, "the proxy's user"),
            (7, {}, "the kind of proxy"),
            (0, {}, "the kind of proxy"),
            (ProxyKind.TUNNEL, {"port": 70000}, "the proxy's port"),
        ],
    )
    def test_setting_that_cannot_be_honoured_is_refused(self, kind: int, fields: dict[str, str], text: str) -> None:
        proxy = ProxyOptions(kind, "192.0.2.1", **fields)  # type: ignore[arg-type]  # fields by name
        with Waiter() as waiter, pytest.raises(AMQPError) as caught:
            connect_tcp("192.0.2.2", 5672, TransportOptions(proxy=proxy), Deadline(PATIENCE), waiter)
        assert caught.value.code == 604
        assert text in caught.value.message
        assert "hunter2" not in repr(caught.value)

    @pytest.mark.parametrize("host", ["a\r\nX-Evil: 1", "a b", "a/b", "a\0b"])
    def test_host_cannot_smuggle_anything_into_a_request(self, host: str) -> None:
        proxy = ProxyOptions(ProxyKind.TUNNEL, "192.0.2.1")
        with Waiter() as waiter, pytest.raises(AMQPError) as caught:
            connect_tcp(host, 5672, TransportOptions(proxy=proxy), Deadline(PATIENCE), waiter)
        assert caught.value.code == 11001

    def test_empty_proxy_host_names_the_property(self) -> None:
        proxy = ProxyOptions(ProxyKind.TUNNEL, "")
        with Waiter() as waiter, pytest.raises(AMQPError) as caught:
            connect_tcp("192.0.2.2", 5672, TransportOptions(proxy=proxy), Deadline(PATIENCE), waiter)
        assert caught.value.code == 102
        assert "the proxy's host" in caught.value.message

    def test_repr_hides_secrets(self) -> None:
        options = ProxyOptions(ProxyKind.TUNNEL, "proxy", user="ann", password="hunter2", data="X-Token: secret")
        assert "hunter2" not in repr(options)
        assert "secret" not in repr(options)
        assert "ann" in repr(options)
        assert "***" in repr(options)
        assert "hunter2" not in repr(TransportOptions(proxy=options))

    def test_default_ports(self) -> None:
        assert ProxyKind.TUNNEL.default_port == 80
        assert {kind.default_port for kind in ProxyKind if kind is not ProxyKind.TUNNEL} == {1080}

    def test_excepted_host_is_reached_directly(self) -> None:
        with ScriptedServer(wait_for_close) as server:
            proxy = ProxyOptions(ProxyKind.TUNNEL, "192.0.2.1", exceptions="127.0.0.1")
            options = TransportOptions(proxy=proxy)
            with Waiter() as waiter:
                transport = connect_tcp("127.0.0.1", server.port, options, Deadline(PATIENCE), waiter)
            assert transport.proxy_address is None
            transport.close()


class TestReachingTheProxy:
    def fails(self, proxy: ProxyOptions, seconds: float = PATIENCE) -> AMQPError:
        with Waiter() as waiter, pytest.raises(AMQPError) as caught:
            connect_tcp("192.0.2.2", 5672, TransportOptions(proxy=proxy), Deadline(seconds), waiter)
        return caught.value

    @pytest.mark.parametrize("kind", list(ProxyKind))
    def test_refused(self, kind: ProxyKind) -> None:
        port = free_port()
        with no_descriptor_leaks():
            error = self.fails(ProxyOptions(kind, "127.0.0.1", port))
        assert error.code == 10061
        assert f"the proxy 127.0.0.1:{port}" in error.message

    def test_silent(self) -> None:
        with silent_address() as (host, port), no_descriptor_leaks():
            error = self.fails(ProxyOptions(ProxyKind.SOCKS5, host, port), 0.02)
        assert isinstance(error, AMQPTimeoutError)
        assert f"the proxy {host}:{port}" in error.message

    def test_unknown_name_names_the_property(self) -> None:
        error = self.fails(ProxyOptions(ProxyKind.SOCKS5, "a..b"))
        assert error.code == 11001
        assert "the proxy's host" in error.message

    @pytest.mark.parametrize("kind", list(ProxyKind))
    def test_proxy_that_accepts_and_says_nothing(self, kind: ProxyKind) -> None:
        with no_descriptor_leaks(), ScriptedServer(wait_for_close) as server:
            error = self.fails(ProxyOptions(kind, "127.0.0.1", server.port), 0.02)
        assert isinstance(error, AMQPTimeoutError)
        assert error.code == 201
        assert f"the proxy 127.0.0.1:{server.port} did not answer" in error.message

    @pytest.mark.parametrize("kind", list(ProxyKind))
    def test_interrupt_while_the_proxy_says_nothing(self, kind: ProxyKind) -> None:
        poller = SignallingPoller()

        with no_descriptor_leaks(), Waiter(poller) as waiter:

            def handler(conn: socket.socket) -> None:
                assert conn.recv(1)  # the request has begun to arrive
                waiter.interrupt()
                wait_for_close(conn)

            with ScriptedServer(handler) as server:
                proxy = ProxyOptions(kind, "127.0.0.1", server.port)
                waiter.begin()
                with pytest.raises(InterruptedCallError):
                    connect_tcp("192.0.2.2", 5672, TransportOptions(proxy=proxy), Deadline(None), waiter)
                waiter.end()


# -- SOCKS ---------------------------------------------------------------------------------------------------------


class Socks4Proxy:
    """Plays SOCKS4 and 4A; keeps what was asked."""

    def __init__(self, reply: bytes = b"\0\x5a\0\0\0\0\0\0") -> None:
        self.reply = reply
        self.port = 0
        self.address = b""
        self.user = b""
        self.name = b""

    def __call__(self, conn: socket.socket) -> None:
        version, command, self.port, self.address = struct.unpack("!BBH4s", read_exactly(conn, 8))
        assert (version, command) == (4, 1)
        self.user = read_until(conn, b"\0")[:-1]
        if self.address[:3] == b"\0\0\0" and self.address[3]:
            self.name = read_until(conn, b"\0")[:-1]
        conn.sendall(self.reply)
        if self.reply[:2] == b"\0\x5a":
            conn.sendall(GREETING)
            be_the_server(conn)
        else:
            wait_for_close(conn)


class TestSocks4:
    def test_name_is_resolved_here(self) -> None:
        proxy = Socks4Proxy()
        with ScriptedServer(proxy) as server:
            transport = connect(server, ProxyKind.SOCKS4, lookup=answering("192.0.2.7"))
            assert transport.remote_address == ("192.0.2.7", 5672)
            check_tunnel(transport, server)
        assert (proxy.address, proxy.port, proxy.name) == (bytes([192, 0, 2, 7]), 5672, b"")

    def test_user_is_sent(self) -> None:
        proxy = Socks4Proxy()
        with ScriptedServer(proxy) as server:
            check_tunnel(connect(server, ProxyKind.SOCKS4, "192.0.2.7", user="ann"), server)
        assert proxy.user == b"ann"

    def test_4a_leaves_the_name_to_the_proxy(self) -> None:
        proxy = Socks4Proxy()
        with ScriptedServer(proxy) as server:
            transport = connect(server, ProxyKind.SOCKS4A, user="ann")
            assert transport.remote_address == ("broker.example", 5672)
            check_tunnel(transport, server)
        assert (proxy.name, proxy.user) == (b"broker.example", b"ann")

    @pytest.mark.parametrize("host", ["*broker.example", "192.0.2.7"])
    def test_4a_with_a_star_and_with_an_address(self, host: str) -> None:
        proxy = Socks4Proxy()
        with ScriptedServer(proxy) as server:
            check_tunnel(connect(server, ProxyKind.SOCKS4A, host), server)
        assert proxy.name == (b"broker.example" if host.startswith("*") else b"")

    @pytest.mark.parametrize(
        ("reply", "code", "text"),
        [
            (b"\0\x5b\0\0\0\0\0\0", 10061, "91"),
            (b"\0\x5c\0\0\0\0\0\0", 10013, "identd"),
            (b"\0\x5d\0\0\0\0\0\0", 10013, "identd"),
            (b"\0\x11\0\0\0\0\0\0", 10041, "not SOCKS4"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", 10041, "HTTP"),
        ],
    )
    def test_refusals(self, reply: bytes, code: int, text: str) -> None:
        error = refusal(Socks4Proxy(reply), ProxyKind.SOCKS4, "192.0.2.7")
        assert error.code == code
        assert text in error.message
        assert "192.0.2.7:5672" in error.message

    @pytest.mark.parametrize(
        ("kind", "host", "use_ipv6", "code"),
        [
            (ProxyKind.SOCKS4, "*broker.example", 0, 604),
            (ProxyKind.SOCKS4, "2001:db8::1", 2, 10047),
            (ProxyKind.SOCKS4A, "2001:db8::1", 2, 10047),
            (ProxyKind.SOCKS4, "broker.example", 1, 10047),
        ],
    )
    def test_what_the_protocol_cannot_carry(self, kind: int, host: str, use_ipv6: int, code: int) -> None:
        options = TransportOptions(use_ipv6=use_ipv6, proxy=ProxyOptions(kind, "192.0.2.1"))
        with Waiter() as waiter, pytest.raises(AMQPError) as caught:
            connect_tcp(host, 5672, options, Deadline(PATIENCE), waiter)
        assert caught.value.code == code
        assert "SOCKS5" in caught.value.message


class Socks5Proxy:
    """Plays SOCKS5; keeps what was asked."""

    def __init__(
        self,
        *,
        method: int = 0,
        auth_status: int = 0,
        reply: bytes = b"\5\0\0\1\0\0\0\0\0\0",
        piecewise: bool = False,
    ) -> None:
        self.method = method
        self.auth_status = auth_status
        self.reply = reply
        self.piecewise = piecewise
        self.offered = b""
        self.user = b""
        self.password = b""
        self.target: tuple[str, int] = ("", 0)

    def __call__(self, conn: socket.socket) -> None:
        assert read_exactly(conn, 1) == b"\5"
        self.offered = read_exactly(conn, read_exactly(conn, 1)[0])
        self.send(conn, bytes([5, self.method]))
        if self.method == 2:
            assert read_exactly(conn, 1) == b"\1"
            self.user = read_exactly(conn, read_exactly(conn, 1)[0])
            self.password = read_exactly(conn, read_exactly(conn, 1)[0])
            self.send(conn, bytes([1, self.auth_status]))
        if self.method == 0xFF or self.auth_status:
            wait_for_close(conn)
            return
        assert read_exactly(conn, 3) == b"\5\1\0"
        kind = read_exactly(conn, 1)[0]
        if kind == 3:
            host = read_exactly(conn, read_exactly(conn, 1)[0]).decode()
        else:
            family, size = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
            host = socket.inet_ntop(family, read_exactly(conn, size))
        self.target = (host, int.from_bytes(read_exactly(conn, 2), "big"))
        self.send(conn, self.reply)
        if self.reply[:2] == b"\5\0":
            conn.sendall(GREETING)
            be_the_server(conn)
        else:
            wait_for_close(conn)

    def send(self, conn: socket.socket, data: bytes) -> None:
        if self.piecewise:
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number in range(len(data)):
                conn.sendall(data[number : number + 1])
        else:
            conn.sendall(data)


@pytest.fixture(
    params=[
        b"\5\0\0\1\x7f\0\0\1\x16\x28",
        b"\5\0\0\4" + bytes(16) + b"\x16\x28",
        b"\5\0\0\3\x09localhost\x16\x28",
    ],
    ids=["IPv4", "IPv6", "name"],
)
def success(request: pytest.FixtureRequest) -> bytes:
    """The forms in which a proxy may report its own address."""
    reply: bytes = request.param
    return reply


class TestSocks5:
    @pytest.mark.parametrize("piecewise", [False, True], ids=["whole", "byte by byte"])
    def test_nothing_after_the_answer_is_lost(self, success: bytes, piecewise: bool) -> None:
        proxy = Socks5Proxy(reply=success, piecewise=piecewise)
        with ScriptedServer(proxy) as server:
            check_tunnel(connect(server, ProxyKind.SOCKS5, "192.0.2.7"), server)
        assert proxy.target == ("192.0.2.7", 5672)
        assert proxy.offered == b"\0"

    def test_name_is_resolved_here_without_a_star(self) -> None:
        proxy = Socks5Proxy()
        with ScriptedServer(proxy) as server:
            transport = connect(server, ProxyKind.SOCKS5, lookup=answering("192.0.2.9"))
            assert transport.remote_address == ("192.0.2.9", 5672)
            check_tunnel(transport, server)
        assert proxy.target == ("192.0.2.9", 5672)

    def test_name_is_left_to_the_proxy_with_a_star(self) -> None:
        proxy = Socks5Proxy()
        with ScriptedServer(proxy) as server:
            transport = connect(server, ProxyKind.SOCKS5, "*broker.example")
            assert transport.remote_address == ("broker.example", 5672)
            check_tunnel(transport, server)
        assert proxy.target == ("broker.example", 5672)

    def test_name_is_left_to_the_proxy_when_the_options_say_so(self) -> None:
        proxy = Socks5Proxy()
        with ScriptedServer(proxy) as server:
            check_tunnel(connect(server, ProxyKind.SOCKS5, remote_dns=True), server)
        assert proxy.target == ("broker.example", 5672)

    def test_ipv6_target(self) -> None:
        proxy = Socks5Proxy()
        with ScriptedServer(proxy) as server:
            check_tunnel(connect(server, ProxyKind.SOCKS5, "2001:db8::7"), server)
        assert proxy.target == ("2001:db8::7", 5672)

    def test_credentials(self) -> None:
        proxy = Socks5Proxy(method=2)
        with ScriptedServer(proxy) as server:
            check_tunnel(connect(server, ProxyKind.SOCKS5, "192.0.2.7", user="ann", password="pass"), server)
        assert (proxy.user, proxy.password) == (b"ann", b"pass")
        assert proxy.offered == b"\0\2"

    def test_next_address_is_tried_when_the_proxy_cannot_reach_one(self) -> None:
        first = Socks5Proxy(reply=b"\5\4\0\1\0\0\0\0\0\0")
        second = Socks5Proxy()
        with no_descriptor_leaks(), ScriptedServer(first, second) as server:
            options = TransportOptions(use_ipv6=2)
            transport = connect(server, ProxyKind.SOCKS5, lookup=answering("192.0.2.9", "2001:db8::9"), options=options)
            assert transport.remote_address == ("192.0.2.9", 5672)
            check_tunnel(transport, server)
        assert first.target == ("2001:db8::9", 5672)

    def test_next_address_is_not_tried_when_the_proxy_forbids(self) -> None:
        error = refusal(
            Socks5Proxy(reply=b"\5\2\0\1\0\0\0\0\0\0"),
            ProxyKind.SOCKS5,
            lookup=answering("192.0.2.9", "192.0.2.10"),
        )
        assert error.code == 10013

    @pytest.mark.parametrize(
        ("reply", "code"),
        [(1, 10061), (2, 10013), (3, 10051), (4, 10065), (5, 10061), (6, 10060), (7, 10045), (8, 10047), (99, 10041)],
    )
    def test_refusals(self, reply: int, code: int) -> None:
        error = refusal(Socks5Proxy(reply=bytes([5, reply, 0, 1, 0, 0, 0, 0, 0, 0])), ProxyKind.SOCKS5, "192.0.2.7")
        assert error.code == code
        assert "192.0.2.7:5672" in error.message

    def test_wrong_password(self) -> None:
        proxy = Socks5Proxy(method=2, auth_status=1)
        error = refusal(proxy, ProxyKind.SOCKS5, "192.0.2.7", user="ann", password="hunter2")
        assert error.code == 10013
        assert "the proxy's password" in error.message
        assert "hunter2" not in repr(error)

    @pytest.mark.parametrize("fields", [{}, {"user": "ann", "password": "hunter2"}])
    def test_no_acceptable_method(self, fields: dict[str, str]) -> None:
        error = refusal(Socks5Proxy(method=0xFF), ProxyKind.SOCKS5, "192.0.2.7", **fields)
        assert error.code == 10013
        assert ("the proxy's user" in error.message) is bool(fields)

    def test_method_that_was_not_offered(self) -> None:
        def handler(conn: socket.socket) -> None:
            read_exactly(conn, 3)
            conn.sendall(b"\5\2")
            wait_for_close(conn)

        assert refusal(handler, ProxyKind.SOCKS5, "192.0.2.7").code == 10041

    @pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\4\0", b"\5\x03"])
    def test_answer_in_another_protocol(self, answer: bytes) -> None:
        def handler(conn: socket.socket) -> None:
            read_exactly(conn, 3)
            conn.sendall(answer)
            wait_for_close(conn)

        error = refusal(handler, ProxyKind.SOCKS5, "192.0.2.7")
        assert error.code == 10041
        assert "not SOCKS5" in error.message

    @pytest.mark.parametrize("reply", [b"\5\0\0\3\x02\xff\xff\0\0", b"\5\0\0\x07", b"\5\0\1\1\0\0\0\0\0\0"])
    def test_malformed_success_is_no_success(self, reply: bytes) -> None:
        def handler(conn: socket.socket) -> None:
            read_exactly(conn, 3)
            conn.sendall(b"\5\0")
            read_exactly(conn, 10)
            conn.sendall(reply)
            wait_for_close(conn)

        assert refusal(handler, ProxyKind.SOCKS5, "192.0.2.7").code == 10041

    @pytest.mark.parametrize("sent", [b"", b"\5", b"\5\0", b"\5\0\5\0\0\1"])
    def test_closed_instead_of_answering(self, sent: bytes) -> None:
        def handler(conn: socket.socket) -> None:
            read_exactly(conn, 3)
            conn.sendall(sent)
            conn.shutdown(socket.SHUT_WR)
            wait_for_close(conn)

        error = refusal(handler, ProxyKind.SOCKS5, "192.0.2.7")
        assert isinstance(error, ConnectionDroppedError)

    @pytest.mark.parametrize("host", ["*" + "x" * 64 + ".example", "*" + "a." * 200])
    def test_name_that_the_protocol_cannot_carry(self, host: str) -> None:
        with ScriptedServer() as server, pytest.raises(AMQPError) as caught:
            connect(server, ProxyKind.SOCKS5, host)
        assert caught.value.code == 11001

    def test_time_out_is_one_budget_for_the_whole_exchange(self) -> None:
        def handler(conn: socket.socket) -> None:
            read_exactly(conn, 3)
            conn.sendall(b"\5\0")
            wait_for_close(conn)

        with ScriptedServer(handler) as server, Waiter() as waiter:
            options = TransportOptions(proxy=ProxyOptions(ProxyKind.SOCKS5, server.host, server.port))
            with pytest.raises(AMQPTimeoutError, match=r"did not answer in 0\.05 seconds"):
                connect_tcp("192.0.2.7", 5672, options, Deadline(0.05, absolute=True), waiter)

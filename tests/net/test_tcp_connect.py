"""Opening connections: addresses in order, socket options, errors and what they say, time-outs, interruption."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from amqp10.errors import AMQPError, AMQPTimeoutError, InterruptedCallError
from amqp10.net.options import TransportOptions
from amqp10.net.resolve import Lookup, system_lookup
from amqp10.net.tcp import TcpTransport
from amqp10.net.waiting import Deadline, Waiter
from tests.net.tcp_support import (
    PATIENCE,
    Background,
    SignallingPoller,
    connect_tcp,
    free_port,
    no_descriptor_leaks,
    open_transport,
    silent_address,
)
from tests.net.test_resolve import answering, entry

HAS_IPV6 = socket.has_ipv6 and os.path.exists("/proc/net/if_inet6")  # noqa: PTH110

needs_ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


def failure(
    host: str,
    port: int,
    options: TransportOptions | None = None,
    *,
    seconds: float = PATIENCE,
    lookup: Lookup = system_lookup,
) -> AMQPError:
    with no_descriptor_leaks(), Waiter() as waiter, pytest.raises(AMQPError) as caught:
        connect_tcp(host, port, options or TransportOptions(), Deadline(seconds), waiter, lookup=lookup)
    return caught.value


def connect_with(options: TransportOptions, listener: socket.socket) -> TcpTransport:
    return open_transport("127.0.0.1", port_of(listener), options)


def option_of(transport: TcpTransport, level: int, option: int) -> int:
    with socket.socket(fileno=os.dup(transport.fileno())) as copy:
        return copy.getsockopt(level, option)


class TestAddresses:
    def test_connects_to_a_name(self, listener: socket.socket) -> None:
        transport = open_transport("localhost", port_of(listener))
        peer, address = listener.accept()
        with peer:
            assert transport.local_address == address
            assert transport.remote_address == listener.getsockname()
            transport.close()

    def test_next_address_is_tried_when_one_refuses(self, listener: socket.socket) -> None:
        with Waiter() as waiter:
            transport = connect_tcp(
                "broker.example",
                port_of(listener),
                TransportOptions(),
                Deadline(PATIENCE),
                waiter,
                lookup=answering("127.0.0.2", "127.0.0.1"),
            )
        assert transport.remote_address[0] == "127.0.0.1"
        transport.close()

    def test_next_address_is_tried_in_time_when_one_is_silent(self, listener: socket.socket) -> None:
        with silent_address() as (host, port), Waiter() as waiter:
            transport = connect_tcp(
                "broker.example",
                5672,
                TransportOptions(),
                Deadline(0.2),
                waiter,
                lookup=lambda *_: [entry(host, port), entry("127.0.0.1", port_of(listener))],
            )
        assert transport.remote_address == listener.getsockname()
        transport.close()

    @needs_ipv6
    def test_ipv6(self) -> None:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
            transport = open_transport("[::1]", port_of(listener), TransportOptions(use_ipv6=1))
            assert transport.remote_address == ("::1", port_of(listener))
            assert transport.local_address[0] == "::1"
            assert "[::1]:" in repr(transport)
            transport.close()

    @needs_ipv6
    def test_ipv6_falls_back_to_ipv4(self, listener: socket.socket) -> None:
        with Waiter() as waiter:
            transport = connect_tcp(
                "broker.example",
                port_of(listener),
                TransportOptions(use_ipv6=2),
                Deadline(PATIENCE),
                waiter,
                lookup=answering("127.0.0.1", "::1"),
            )
        assert transport.remote_address[0] == "127.0.0.1"
        transport.close()

    def test_star_means_nothing_without_a_proxy(self, listener: socket.socket) -> None:
        open_transport("*localhost", port_of(listener)).close()

    def test_success_extends_an_inactivity_deadline(self, listener: socket.socket) -> None:
        class Touched(Deadline):
            __slots__ = ("touches",)
            touches: int

            def touch(self) -> None:
                self.touches += 1

        deadline = Touched(PATIENCE)
        deadline.touches = 0
        open_transport("127.0.0.1", port_of(listener), deadline=deadline).close()
        assert deadline.touches == 1


class TestErrors:
    def test_refused(self) -> None:
        port = free_port()
        error = failure("127.0.0.1", port)
        assert error.code == 10061
        assert f"127.0.0.1:{port}" in error.message
        assert "nothing listens" in error.message

    def test_message_tells_about_every_address(self) -> None:
        port = free_port()
        error = failure("broker.example", port, lookup=answering("127.0.0.1", "127.0.0.2"))
        assert error.code == 10061
        for text in (f"broker.example:{port}", f"127.0.0.1:{port}", f"127.0.0.2:{port}"):
            assert text in error.message

    def test_time_out(self) -> None:
        with silent_address() as (host, port):
            error = failure(host, port, seconds=0.02)
        assert isinstance(error, AMQPTimeoutError)
        assert error.code == 201
        assert f"{host}:{port}" in error.message
        assert "0.02 seconds" in error.message

    def test_no_time_at_all(self) -> None:
        with silent_address() as (host, port):
            assert failure(host, port, seconds=0).code == 201

    @pytest.mark.parametrize("host", ["0.0.0.0", "0"])
    def test_address_of_nobody(self, host: str) -> None:
        assert failure(host, 5672).code == 102

    @needs_ipv6
    def test_ipv6_address_of_nobody(self) -> None:
        assert failure("::", 5672, TransportOptions(use_ipv6=1)).code == 102

    def test_empty_host(self) -> None:
        assert failure("", 5672).code == 102
        assert failure("*", 5672).code == 102

    @pytest.mark.parametrize("port", [0, -1, 65536])
    def test_port_out_of_range(self, port: int) -> None:
        error = failure("127.0.0.1", port)
        assert error.code == 116
        assert "5672" in error.message

    def test_unknown_name(self) -> None:
        def lookup(*_: object) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        assert failure("nobody.example", 5672, lookup=lookup).code == 11001

    @pytest.mark.parametrize(
        ("number", "code"), [(errno.ENETUNREACH, 10051), (errno.EHOSTUNREACH, 10065), (errno.EACCES, 10013)]
    )
    def test_failures_that_the_system_reports_at_once(
        self, number: int, code: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(socket.socket, "connect_ex", lambda *_: number)
        error = failure("192.0.2.1", 5672)
        assert error.code == code
        assert os.strerror(number) in error.message

    def test_port_that_connects_to_itself_is_refused(self) -> None:
        port = free_port()
        error = failure("127.0.0.1", port, TransportOptions(local_host="127.0.0.1", local_port=port))
        assert error.code == 10061


class TestLocalAddress:
    def test_local_host_and_port_are_used(self, listener: socket.socket) -> None:
        port = free_port()
        transport = connect_with(TransportOptions(local_host="127.0.0.3", local_port=port), listener)
        assert transport.local_address == ("127.0.0.3", port)
        transport.close()

    def test_local_port_alone(self, listener: socket.socket) -> None:
        port = free_port()
        transport = connect_with(TransportOptions(local_port=port), listener)
        assert transport.local_address == ("127.0.0.1", port)
        transport.close()

    def test_local_name_is_resolved(self, listener: socket.socket) -> None:
        transport = connect_with(TransportOptions(local_host="localhost"), listener)
        assert transport.local_address[0] == "127.0.0.1"
        transport.close()

    def test_local_port_can_be_used_again_at_once(self, listener: socket.socket) -> None:
        port = free_port()
        for _ in range(2):
            with socket.create_server(("127.0.0.1", 0)) as other:
                transport = connect_with(TransportOptions(local_port=port), other)
                peer, _ = other.accept()
                with peer:
                    transport.close()
                    assert peer.recv(1) == b""

    def test_port_in_use(self, listener: socket.socket) -> None:
        port = port_of(listener)
        error = failure("127.0.0.1", port, TransportOptions(local_host="127.0.0.1", local_port=port))
        assert error.code == 10048
        assert "the local port" in error.message
        assert f"127.0.0.1:{port}" in error.message

    def test_port_that_two_connections_want_to_the_same_server(self, listener: socket.socket) -> None:
        port = free_port()
        first = connect_with(TransportOptions(local_port=port), listener)
        error = failure("127.0.0.1", port_of(listener), TransportOptions(local_port=port))
        first.close()
        assert error.code == 10048
        assert f"local port {port}" in error.message

    @needs_ipv6
    def test_port_in_use_is_not_hidden_by_a_family_that_has_no_local_address(self) -> None:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
            port = port_of(taken)
            options = TransportOptions(local_host="::1", local_port=port, use_ipv6=2)
            assert failure("both.example", port, options, lookup=answering("::1", "127.0.0.1")).code == 10048

    def test_address_of_another_machine(self, listener: socket.socket) -> None:
        error = failure("127.0.0.1", port_of(listener), TransportOptions(local_host="192.0.2.1"))
        assert error.code == 10049
        assert "the local host" in error.message

    def test_local_address_of_the_wrong_family(self, listener: socket.socket) -> None:
        options = TransportOptions(use_ipv6=2, local_host="::1")
        assert failure("127.0.0.1", port_of(listener), options).code == 10047

    def test_local_name_that_does_not_exist_is_named(self, listener: socket.socket) -> None:
        error = failure("127.0.0.1", port_of(listener), TransportOptions(local_host="a..b"))
        assert error.code == 11001
        assert "the local host" in error.message


class TestSocketOptions:
    def test_defaults_leave_the_system_alone(self, listener: socket.socket) -> None:
        transport = connect_with(TransportOptions(), listener)
        assert option_of(transport, socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        assert option_of(transport, socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
        assert option_of(transport, socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
        assert not os.get_blocking(transport.fileno())
        assert not os.get_inheritable(transport.fileno())
        transport.close()

    def test_no_delay(self, listener: socket.socket) -> None:
        transport = connect_with(TransportOptions(tcp_no_delay=True), listener)
        assert option_of(transport, socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        transport.close()

    def test_keep_alive_times_are_rounded_up_to_seconds(self, listener: socket.socket) -> None:
        options = TransportOptions(keep_alive=True, keep_alive_time_ms=1500, keep_alive_interval_ms=2000)
        transport = connect_with(options, listener)
        assert option_of(transport, socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert option_of(transport, socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 2
        assert option_of(transport, socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 2
        transport.close()

    def test_keep_alive_alone_keeps_the_systems_times(self, listener: socket.socket) -> None:
        with socket.socket() as plain:
            expected = plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        transport = connect_with(TransportOptions(keep_alive=True), listener)
        assert option_of(transport, socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == expected
        transport.close()

    def test_value_that_the_system_refuses_names_the_setting(self, listener: socket.socket) -> None:
        options = TransportOptions(keep_alive=True, keep_alive_time_ms=2**31 - 1)
        error = failure("127.0.0.1", port_of(listener), options)
        assert error.code == 10022
        assert "the keep-alive time" in error.message

    def test_option_that_the_system_lacks_names_the_setting(
        self, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("amqp10.net.options._KEEP_INTERVAL", None)
        options = TransportOptions(keep_alive=True, keep_alive_interval_ms=1000)
        error = failure("127.0.0.1", port_of(listener), options)
        assert error.code == 10042
        assert "the keep-alive interval" in error.message

    def test_buffer_sizes(self, listener: socket.socket) -> None:
        transport = connect_with(TransportOptions(in_buffer_size=20000, out_buffer_size=30000), listener)
        # Linux doubles the sizes for its own bookkeeping.
        assert option_of(transport, socket.SOL_SOCKET, socket.SO_RCVBUF) == 40000
        assert option_of(transport, socket.SOL_SOCKET, socket.SO_SNDBUF) == 60000
        transport.close()

    def test_absurd_buffer_sizes_fall_back(self, listener: socket.socket) -> None:
        connect_with(TransportOptions(in_buffer_size=2**31 - 1, out_buffer_size=1), listener).close()


class TestInterruption:
    def test_interrupt_while_connecting(self) -> None:
        poller = SignallingPoller()
        with silent_address() as (host, port), no_descriptor_leaks(), Waiter(poller) as waiter:

            def interrupt() -> None:
                assert poller.entered.wait(PATIENCE)
                waiter.interrupt()

            waiter.begin()
            with Background(interrupt), pytest.raises(InterruptedCallError):
                connect_tcp(host, port, TransportOptions(), Deadline(None), waiter)
            waiter.end()

    def test_interrupt_does_not_move_on_to_the_next_address(self, listener: socket.socket) -> None:
        with silent_address() as (host, port), Waiter() as waiter:
            waiter.begin()

            def lookup(*_: object) -> list[tuple[Any, ...]]:
                waiter.interrupt()
                return [entry(host, port), entry("127.0.0.1", port_of(listener))]

            with pytest.raises(InterruptedCallError):
                connect_tcp("broker.example", 5672, TransportOptions(), Deadline(None), waiter, lookup=lookup)
            waiter.end()

    def test_keyboard_interrupt_while_connecting_leaves_nothing_open(self) -> None:
        poller = SignallingPoller()

        def handler(*_: object) -> None:
            raise KeyboardInterrupt

        def work() -> None:
            assert poller.entered.wait(PATIENCE)
            os.kill(os.getpid(), signal.SIGUSR1)

        previous = signal.signal(signal.SIGUSR1, handler)
        try:
            with silent_address() as (host, port), no_descriptor_leaks(), Waiter(poller) as waiter:  # noqa: SIM117
                with Background(work), pytest.raises(KeyboardInterrupt):
                    connect_tcp(host, port, TransportOptions(), Deadline(PATIENCE), waiter)
        finally:
            signal.signal(signal.SIGUSR1, previous)


def test_reset_right_after_opening_is_an_error_and_not_an_exception_of_python(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getpeername(_: socket.socket) -> None:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    monkeypatch.setattr(socket.socket, "getpeername", getpeername)
    assert failure("127.0.0.1", port_of(listener)).code == 10057

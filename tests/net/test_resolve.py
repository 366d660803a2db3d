"""Name resolution: order and choice of addresses, errors, time-outs, interruption."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from amqp10.errors import AMQPError, AMQPTimeoutError, InterruptedCallError
from amqp10.net import network
from amqp10.net import resolve as resolving
from amqp10.net.blocking import BlockingNetwork
from amqp10.net.names import Endpoint, clean_host, is_ip_address
from amqp10.net.resolve import Lookup, system_lookup
from amqp10.net.tls.options import TlsOptions
from amqp10.net.tls.session import TlsSession
from amqp10.net.waiting import Deadline, Waiter
from tests.net.tcp_support import PATIENCE, Background, SignallingPoller, no_descriptor_leaks

Answer = list[tuple[Any, ...]]


def entry(address: str, port: int = 5672) -> tuple[Any, ...]:
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)


def answering(*addresses: str) -> Callable[[str, int, int], Answer]:
    def lookup(_host: str, port: int, family: int) -> Answer:
        found = [entry(address, port) for address in addresses]
        return [item for item in found if family in (socket.AF_UNSPEC, item[0])]

    return lookup


def failing(error: BaseException) -> Callable[[str, int, int], Answer]:
    def lookup(_host: str, _port: int, _family: int) -> Answer:
        raise error

    return lookup


def run(host: str, use_ipv6: int = 0, lookup: Callable[[str, int, int], Answer] | None = None) -> list[str]:
    with Waiter() as waiter:
        deadline = Deadline(PATIENCE)
        if lookup is None:
            found = resolve(host, 5672, use_ipv6, deadline, waiter)
        else:
            found = resolve(host, 5672, use_ipv6, deadline, waiter, lookup=lookup)
    return [str(endpoint) for endpoint in found]


class TestChoiceOfAddresses:
    def test_ipv4_only_asks_for_ipv4(self) -> None:
        assert run("h", 0, answering("2001:db8::1", "192.0.2.1", "192.0.2.2")) == ["192.0.2.1:5672", "192.0.2.2:5672"]

    def test_ipv6_only_asks_for_ipv6(self) -> None:
        assert run("h", 1, answering("192.0.2.1", "2001:db8::1")) == ["[2001:db8::1]:5672"]

    def test_both_puts_ipv6_first_and_keeps_the_order_within_a_family(self) -> None:
        assert run("h", 2, answering("192.0.2.2", "2001:db8::2", "192.0.2.1", "2001:db8::1")) == [
            "[2001:db8::2]:5672",
            "[2001:db8::1]:5672",
            "192.0.2.2:5672",
            "192.0.2.1:5672",
        ]

    def test_resolver_that_ignores_the_family_is_filtered(self) -> None:
        assert run("h", 1, lambda *_: [entry("192.0.2.1"), entry("2001:db8::1")]) == ["[2001:db8::1]:5672"]

    def test_duplicates_are_tried_once(self) -> None:
        assert run("h", 0, answering("192.0.2.1", "192.0.2.1")) == ["192.0.2.1:5672"]

    def test_address_is_not_looked_up(self) -> None:
        lookup = failing(AssertionError("looked up"))
        assert run("192.0.2.7", 0, lookup) == ["192.0.2.7:5672"]
        assert run("2001:db8::7", 1, lookup) == ["[2001:db8::7]:5672"]
        assert run("2001:db8::7", 2, lookup) == ["[2001:db8::7]:5672"]

    def test_system_resolver_knows_localhost(self) -> None:
        assert run("localhost") == ["127.0.0.1:5672"]


class TestErrors:
    def fails(self, host: str, use_ipv6: int = 0, lookup: Callable[[str, int, int], Answer] | None = None) -> AMQPError:
        with no_descriptor_leaks(), pytest.raises(AMQPError) as caught:
            run(host, use_ipv6, lookup)
        return caught.value

    @pytest.mark.parametrize(
        ("eai", "code"),
        [
            (socket.EAI_NONAME, 11001),
            (socket.EAI_AGAIN, 11002),
            (socket.EAI_FAIL, 11003),
            (socket.EAI_NODATA, 11004),
        ],
    )
    def test_code_says_what_kind_of_failure(self, eai: int, code: int) -> None:
        error = self.fails("broker.example", 0, failing(socket.gaierror(eai, "reason")))
        assert error.code == code
        assert "broker.example" in error.message
        assert "reason" in error.message

    def test_a_name_that_does_not_exist_is_not_blamed_on_the_family(self) -> None:
        for eai in (socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL):
            error = self.fails("broker.exampel", 0, failing(socket.gaierror(eai, "unknown")))
            assert "kind of addresses" not in error.message
        error = self.fails("v6.example", 0, failing(socket.gaierror(socket.EAI_NODATA, "none")))
        assert "kind of addresses" in error.message

    def test_no_address_of_the_family_names_the_setting(self) -> None:
        error = self.fails("broker.example", 1, answering("192.0.2.1"))
        assert error.code == 11004
        assert "IPv6" in error.message

    def test_address_of_the_wrong_family_names_the_setting(self) -> None:
        assert self.fails("2001:db8::1", 0).code == 10047
        error = self.fails("192.0.2.1", 1)
        assert error.code == 10047
        assert "the kind of addresses is 1" in error.message

    def test_unknown_interface_in_a_scope(self) -> None:
        assert self.fails("fe80::1%nosuchinterface", 1).code in (11001, 11003)

    @pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", "ü" * 80])
    def test_names_that_no_dns_can_hold(self, host: str) -> None:
        assert self.fails(host).code == 11001

    def test_unexpected_exception_of_the_resolver_is_not_lost(self) -> None:
        error = self.fails("broker.example", 0, failing(RuntimeError("broken resolver")))
        assert error.code == 11003
        assert isinstance(error.__cause__, RuntimeError)

    def test_value_of_use_ipv6(self) -> None:
        assert self.fails("192.0.2.1", 3).code == 604

    @pytest.mark.parametrize(
        ("host", "code"),
        [("", 102), ("amqp://host", 11001), ("a b", 11001), ("a\r\nb", 11001), ("a\0", 11001), ("a\x7f", 11001)],
    )
    def test_hosts_that_are_none(self, host: str, code: int) -> None:
        with pytest.raises(AMQPError) as caught:
            clean_host(host, "remote_host")
        assert caught.value.code == code
        assert "remote_host" in caught.value.message

    def test_brackets_of_an_ipv6_address_are_taken_off(self) -> None:
        assert clean_host("[::1]", "remote_host") == "::1"
        assert is_ip_address("::1")
        assert not is_ip_address("[::1]")


class TestWaiting:
    def test_time_out_while_the_resolver_hangs(self) -> None:
        release = threading.Event()

        def lookup(*_: object) -> Answer:
            release.wait(PATIENCE)
            return [entry("192.0.2.1")]

        with Waiter() as waiter, pytest.raises(AMQPTimeoutError) as caught:
            resolve("slow.example", 5672, 0, Deadline(0.01), waiter, lookup=lookup)
        assert caught.value.code == 201
        assert "slow.example" in caught.value.message
        assert "0.01 seconds" in caught.value.message
        release.set()
        join_resolver("slow.example")

    def test_interrupt_while_the_resolver_hangs(self) -> None:
        release = threading.Event()
        poller = SignallingPoller()

        def lookup(*_: object) -> Answer:
            release.wait(PATIENCE)
            raise socket.gaierror(socket.EAI_FAIL, "nobody hears this")

        with Waiter(poller) as waiter:

            def interrupt() -> None:
                assert poller.entered.wait(PATIENCE)
                waiter.interrupt()

            waiter.begin()
            with Background(interrupt), pytest.raises(InterruptedCallError):
                resolve("slow.example", 5672, 0, Deadline(None), waiter, lookup=lookup)
            waiter.end()
        release.set()
        join_resolver("slow.example")

    def test_abandoned_resolver_gives_its_descriptor_back(self) -> None:
        release = threading.Event()

        def lookup(*_: object) -> Answer:
            release.wait(PATIENCE)
            return []

        with no_descriptor_leaks():
            with Waiter() as waiter, pytest.raises(AMQPTimeoutError):
                resolve("slow.example", 5672, 0, Deadline(0), waiter, lookup=lookup)
            release.set()
            join_resolver("slow.example")


def resolve(
    host: str, port: int, use_ipv6: int, deadline: Deadline, waiter: Waiter, *, lookup: Lookup = system_lookup
) -> list[Endpoint]:
    """``resolve`` for callers that block."""
    return network.run(resolving.resolve(host, port, use_ipv6, BlockingNetwork(waiter, lookup), deadline))


def join_resolver(host: str) -> None:
    for thread in threading.enumerate():
        if thread.name == f"amqp10 resolving {host}":
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_endpoint_text() -> None:
    assert str(Endpoint(socket.AF_INET6, ("::1", 1, 0, 0))) == "[::1]:1"
    assert Endpoint(socket.AF_INET, ("192.0.2.1", 1)).host == "192.0.2.1"


def test_an_international_name_is_looked_up_under_the_name_that_tls_verifies() -> None:
    """IDNA 2003, which Python's own encoding follows, makes another name of this one: fass.test."""
    asked: list[str] = []

    def lookup(host: str, port: int, family: int) -> list[tuple[Any, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    with Waiter() as waiter:
        resolve("faß.test", 5671, 0, Deadline(PATIENCE), waiter, lookup=lookup)
    assert asked == ["xn--fa-hia.test"]
    assert TlsSession(TlsOptions(), "faß.test")._hostname == asked[0]

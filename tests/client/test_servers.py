"""Which server is next: in turn, with a redirection in between, and how long each may take."""

from __future__ import annotations

from amqp10.client.options import Address
from amqp10.client.servers import Servers
from amqp10.errors import RemoteError


def servers(*hosts: str) -> Servers:
    return Servers([Address(host, 5672, secure=False, user="me") for host in hosts])


def redirection(**info: object) -> RemoteError:
    error = RemoteError("go elsewhere", condition="amqp:connection:redirect")
    error.info = dict(info)
    return error


def test_servers_are_tried_in_turn_and_again_from_the_first() -> None:
    these = servers("a", "b")
    assert [these.next().host for _ in range(3)] == ["a", "b", "a"]


def test_a_server_that_another_one_named_comes_before_the_next_in_turn() -> None:
    these = servers("a", "b")
    these.current = these.next()
    assert these.follow(redirection(**{"network-host": "c", "port": 1234}))
    before, named, after = these.redirected, these.next(), these.redirected
    assert (before, after) == (True, False)
    assert (named.host, named.port, named.user) == ("c", 1234, "me")
    assert these.next().host == "b"


def test_a_server_that_was_named_may_not_name_another() -> None:
    these = servers("a")
    assert these.follow(redirection(hostname="c"))
    these.current = these.next()
    assert these.current.port == 5672
    assert not these.follow(redirection(hostname="d"))
    assert these.next().host == "a"
    # The servers of the program may.
    assert these.follow(redirection(hostname="c"))


def test_a_redirection_that_names_nobody_is_an_error_like_others() -> None:
    these = servers("a")
    assert not these.follow(redirection())
    assert not these.follow(RemoteError("no", condition="amqp:not-found"))
    assert not these.redirected


def test_the_time_that_is_left_is_shared_by_the_servers_that_are_left() -> None:
    these = servers("a", "b", "c")
    assert these.share(10.0, 40.0, attempts=0) == 20.0
    assert these.share(20.0, 40.0, attempts=1) == 30.0
    assert these.share(30.0, 40.0, attempts=2) == 40.0
    assert these.share(30.0, None, attempts=2) is None

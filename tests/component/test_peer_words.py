"""What the peer says reaches the program: as attributes of the error, and in a text that cannot pass for another."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from amqp10 import AMQPError
from amqp10.codec import Symbol, UInt
from amqp10.component.events import AMQPErrorEventParams
from amqp10.engine.faults import remote_error
from amqp10.errors import escaped
from amqp10.wire.performatives import Error
from tests.component.server import Server, client, refusal

WHERE = {
    Symbol("hostname"): "tenant-a",
    Symbol("network-host"): "10.1.2.3",
    Symbol("port"): UInt(5673),
    Symbol("address"): "queue-b",
}


def error_of(condition: str, info: dict[Any, Any] | None) -> AMQPError:
    error = remote_error(Error(condition=Symbol(condition), description="moved", info=info), "the peer closed")
    assert error is not None
    return error


@pytest.mark.parametrize("condition", ["amqp:connection:redirect", "amqp:link:redirect"])
def test_a_redirect_names_host_port_and_address_in_its_text_and_in_its_info(condition: str) -> None:
    error = error_of(condition, WHERE)
    for part in ("10.1.2.3", "5673", "tenant-a", "queue-b"):
        assert part in error.message
    assert (error.condition, error.description, error.info) == (condition, "moved", WHERE)


@pytest.mark.parametrize("info", [None, {}, {Symbol("port"): "five"}, {Symbol("elsewhere"): 1}])
def test_a_redirect_that_does_not_say_where_to_is_reported_all_the_same(info: dict[Any, Any] | None) -> None:
    assert error_of("amqp:link:redirect", info).message.startswith("the peer closed: amqp:link:redirect: moved")


@pytest.mark.parametrize("char", ["\n", "\r", "\x1b", "\0", "\x7f", "\u202e", "\u2028", "\ud800"])
def test_no_character_of_the_peer_can_forge_a_line_or_a_colour_in_a_text(char: str) -> None:
    error = remote_error(Error(condition=Symbol("x:y"), description=f"one{char}two"), "the peer closed")
    assert error is not None
    assert char not in error.message + str(error)
    assert escaped(f"one{char}two") in error.message
    assert error.description == f"one{char}two", "the attribute has the peer's own words"


def test_text_without_such_characters_is_left_alone() -> None:
    assert escaped("queue 'größe' 日本 is gone") == "queue 'größe' 日本 is gone"


def test_an_ended_link_goes_on_telling_condition_description_and_info() -> None:
    with Server() as server:
        amqp = client(server, "out>")
        seen: list[AMQPErrorEventParams] = []
        amqp.on_error = seen.append
        error = refusal("amqp:link:redirect", "moved")
        server.do(lambda peer: peer.link("out").detach(error=error))
        while not seen:
            amqp.do_events()
        with pytest.raises(AMQPError) as caught:
            amqp.send_message("out")
        assert (caught.value.condition, caught.value.description) == ("amqp:link:redirect", "moved")
        amqp.disconnect()


def test_attributes_of_an_error_survive_copies() -> None:
    error = error_of("amqp:link:redirect", WHERE)
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (twin.condition, twin.description, twin.info) == (error.condition, error.description, error.info)

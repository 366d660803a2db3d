"""Text of received values is bounded, and made only when somebody looks at it."""

from __future__ import annotations

import struct

import pytest

from amqp10 import AMQPError
from amqp10.component import json_text, values
from amqp10.wire.message import Message
from amqp10.wire.messaging import Accepted, Rejected
from tests.component.server import Server, client
from tests.component.test_events_rules import pump
from tests.steps import MEGABYTE, cost


def long_descriptor(count: int) -> bytes:
    """An array of ubytes that share one long descriptor: a little data, and gigabytes of text."""
    body = b"\x00\xb3" + struct.pack(">I", count) + b"d" * count + b"\x50" + b"x" * count
    return b"\x00\x53\x77\xf0" + struct.pack(">II", 4 + len(body), count) + body


def zero_width(count: int) -> bytes:
    body = b"\xe0" + b"\x02\x01\x43" * count
    return b"\x00\x53\x77\xf0" + struct.pack(">II", 4 + len(body), count) + body


@pytest.mark.parametrize(
    "payload",
    [long_descriptor(50_000), pytest.param(zero_width(30_000), marks=pytest.mark.slow)],
    ids=["descriptor", "zero width"],
)
def test_a_value_that_makes_gigabytes_of_text_ends_within_bounds_as_an_error(payload: bytes) -> None:
    message = Message.decode(payload)
    assert message.value is not None

    def show() -> None:
        with pytest.raises(AMQPError, match="more than the 1048576 characters") as caught:
            values.body_text(message, True, 1 << 20)
        assert caught.value.code == 604

    _, memory = cost(show, 1000 * len(payload))
    assert memory < 6 * MEGABYTE


def test_a_value_that_makes_too_much_text_is_rejected_and_the_next_comes() -> None:
    with Server() as server, client(server, "in<") as amqp:
        assert amqp.config("MaxJSONSize") == "16777216"
        amqp.config("MaxJSONSize=1000")
        seen: list[str] = []
        errors: list[str] = []
        amqp.on_message_in = lambda event: seen.append(amqp.received_message_value)
        amqp.on_error = lambda event: errors.append(event.description)
        server.put("in", Message(value=list(range(100))).encode(), Message(value=[1]).encode())
        pump(amqp, lambda: len(seen) == 1)
        server.wait_for(lambda: len(server.outcomes) == 2)
        assert [type(state) for _, state, _ in server.outcomes] == [Rejected, Accepted]
        assert errors == ["the value makes more than the 1000 characters of composite JSON that MaxJSONSize allows"]


@pytest.mark.parametrize("listens", [True, False])
def test_a_value_that_nobody_looks_at_makes_no_text(listens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object) -> str:
        raise AssertionError("somebody has asked for the text")

    monkeypatch.setattr(json_text, "dumps", never)
    with Server() as server, client(server, "in<") as amqp:
        if listens:
            amqp.on_message_in = lambda event: None
        server.put("in", long_descriptor(5000), Message(value={"key": [1, 2]}).encode())
        pump(amqp, lambda: len(server.outcomes) == 2)
        assert [type(state) for _, state, _ in server.outcomes] == [Accepted, Accepted]


def test_what_is_wrong_with_an_undecodable_message_is_told_to_both_sides() -> None:
    odd = b"\x00\x53\x77\xc1\x02\x01\x41"
    with Server() as server, client(server, "in<") as amqp:
        errors: list[str] = []
        amqp.on_message_in = lambda event: None
        amqp.on_error = lambda event: errors.append(event.description)
        server.put("in", odd)
        pump(amqp, lambda: bool(errors))
        server.wait_for(lambda: bool(server.outcomes))
        state = server.outcomes[0][1]
        assert isinstance(state, Rejected)
        assert state.error is not None
        assert "odd number of elements" in errors[0]
        assert state.error.description == errors[0]

"""The text of received values: bounded, and made only for who looks at it."""

from __future__ import annotations

import struct
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from amqp10.codec import Described, Symbol, decode
from amqp10.component.composite_json import dumps
from amqp10.component.messages import Beginning, MessageView
from amqp10.component.outcomes import OutcomeMetadata
from amqp10.component.settings import Settings
from amqp10.errors import AMQPError, DecodeError
from amqp10.wire.message import Message
from amqp10.wire.messaging import Accepted, Rejected
from tests.component.server import Server, client
from tests.component.test_events_rules import pump
from tests.steps import MEGABYTE, cost

VALUE = b"\x00\x53\x77"


def _has_two(items: list[Any]) -> bool:
    return len(items) == 2


def array32(count: int, body: bytes) -> bytes:
    return b"\xf0" + struct.pack(">II", 4 + len(body), count) + body


def shared(size: int) -> bytes:
    """An array of bytes, each described by the same descriptor, which is as long as the array."""
    return array32(size, b"\x00\xb3" + struct.pack(">I", size) + b"d" * size + b"\x50" + bytes(size))


def long_texts(size: int) -> dict[str, bytes]:
    """Values whose texts are much longer than they are."""
    value = shared(size)
    return {
        "bytes that share a long descriptor": value,
        "a list of them": b"\xd0" + struct.pack(">II", 4 + len(value), 1) + value,
        "nested arrays of elements without bytes": array32(size // 5, b"\xe0" + b"\x02\x01\x43" * (size // 5)),
    }


SHARED = shared(50_000)
LONG = long_texts(50_000)
SHORT = long_texts(8_000)


def view(payload: bytes, most: int) -> MessageView:
    settings = Settings()
    settings.max_json_size = most
    delivery: Any = SimpleNamespace()
    return MessageView(payload, "link", True, delivery, settings)


@pytest.mark.parametrize(
    "body",
    [*SHORT.values(), *(pytest.param(body, marks=pytest.mark.slow) for body in LONG.values())],
    ids=[f"{name}, {size}" for size in ("small", "large") for name in LONG],
)
def test_a_text_that_is_too_long_is_an_error_before_it_costs_memory(body: bytes) -> None:
    message = view(VALUE + body, 2 * len(body))

    def look() -> None:
        with pytest.raises(AMQPError, match="MaxJSONSize"):
            _ = message.value

    lines, memory = cost(look, 1000 * len(body))
    assert lines < 1000 * len(body)
    assert memory < 50 * MEGABYTE
    assert message.broken


def test_the_text_of_annotations_that_an_outcome_brings_is_bounded_too() -> None:
    metadata = OutcomeMetadata()
    metadata.annotations = {Symbol("x"): decode(SHARED)[0]}

    def look() -> None:
        with pytest.raises(AMQPError, match="MaxJSONSize"):
            metadata.annotations_text(True, 200_000)

    _, memory = cost(look, 100_000)
    assert memory < MEGABYTE


@pytest.mark.parametrize("simplified", [True, False])
def test_a_text_of_the_longest_size_is_given_and_one_character_more_is_not(simplified: bool) -> None:
    value = ["a", {"k": Described(Symbol("d"), [1, None])}, Described("x", b"12"), Described(1, Described(2, 3))]
    text = dumps(value, simplified)
    assert dumps(value, simplified, len(text)) == text
    with pytest.raises(AMQPError) as caught:
        dumps(value, simplified, len(text) - 1)
    assert caught.value.code == 604


@pytest.mark.parametrize("size", [8_000, pytest.param(50_000, marks=pytest.mark.slow)])
def test_a_text_is_not_made_of_a_message_that_nobody_looks_at(size: int) -> None:
    for data in long_texts(size).values():
        message = view(VALUE + data, 1024)

        def unseen(message: MessageView = message) -> None:
            message.check(Beginning())
            message.validate()
            assert message.is_sound()

        lines, memory = cost(unseen, 1000 * len(data))
        assert lines < 100 * len(data)
        assert memory < 50 * MEGABYTE


def test_a_value_that_has_no_text_at_all_is_found_without_making_one() -> None:
    for value in (Described(Described(1, 2), 3), [[1, {"k": Described(Described(1, 2), 3)}]]):
        with pytest.raises(DecodeError, match="descriptor"):
            view(Message(value=value).encode(), 1024).validate()
    array = decode(bytes.fromhex("e0080200004142500102"))[0]
    with pytest.raises(DecodeError, match="descriptor"):
        view(Message(value=array).encode(), 1024).validate()
    view(Message(value=[Described(1, [Described("d", None)])]).encode(), 1024).validate()


def test_a_message_whose_text_is_too_long_is_rejected_when_it_is_read_and_accepted_when_it_is_not() -> None:
    for look, outcome in ((True, Rejected), (False, Accepted)):
        with Server() as server, client(server, "in<") as amqp:
            amqp.config("MaxJSONSize=2000")
            errors: list[Any] = []
            seen: list[str] = []
            amqp.on_error = errors.append
            if look:

                def read(event: object, amqp: Any = amqp, seen: list[str] = seen) -> None:
                    seen.append(amqp.received_message_value)

                amqp.on_message_in = read
            server.put("in", Message(value=["x" * 2000]).encode(), Message(value=["x" * 1000]).encode())
            pump(amqp, partial(_has_two, server.outcomes))
            assert [type(state) for _, state, _ in server.outcomes] == [outcome, Accepted]
            assert [event.error_code for event in errors] == ([604] if look else [])
            assert len(seen) == (1 if look else 0)

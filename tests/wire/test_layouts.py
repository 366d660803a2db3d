"""Messages that are built like earlier ones: read by their layout they are what the general way makes of them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amqp10.codec import DecodeError, Int, Symbol, Timestamp, UByte, UInt, ULong
from amqp10.codec.composite import Composite
from amqp10.wire import layouts
from amqp10.wire import message as message_module
from amqp10.wire.layouts import Layouts
from amqp10.wire.message import LAYOUTS, Message
from amqp10.wire.messaging import Header, Properties
from tests.strategies import exact, scalars

SECTIONS = (
    "header",
    "delivery_annotations",
    "message_annotations",
    "properties",
    "application_properties",
    "data",
    "sequence",
    "value",
    "footer",
)
short = st.text(st.characters(codec="utf-8"), max_size=20)
names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def maps(keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return optional(st.dictionaries(keys, scalars | short, max_size=4))


uints = st.integers(0, 2**32 - 1).map(UInt)
timestamps = st.integers(-(2**63), 2**63 - 1).map(Timestamp)
ids = st.one_of(short, st.integers(0, 2**64 - 1).map(ULong), st.binary(max_size=10), st.uuids())
headers = st.builds(
    Header,
    durable=optional(st.booleans()),
    priority=optional(st.integers(0, 255).map(UByte)),
    ttl=optional(uints),
    first_acquirer=optional(st.booleans()),
    delivery_count=optional(uints),
)
properties = st.builds(
    Properties,
    message_id=optional(ids),
    user_id=optional(st.binary(max_size=10)),
    to=optional(short),
    subject=optional(short),
    correlation_id=optional(ids),
    content_type=optional(names.map(Symbol)),
    creation_time=optional(timestamps),
    group_id=optional(short),
    group_sequence=optional(uints),
)
bodies = st.text(st.characters(codec="utf-8"), max_size=60) | st.dictionaries(
    short | scalars, scalars | short, max_size=4
)
messages = st.builds(
    Message,
    header=optional(headers),
    delivery_annotations=maps(names.map(Symbol)),
    message_annotations=maps(names.map(Symbol)),
    properties=optional(properties),
    application_properties=maps(names),
    value=st.text(st.characters(codec="utf-8"), max_size=60)
    | st.dictionaries(short | scalars, scalars | short, max_size=4),
)


def widened(data: bytes) -> bytes:
    """The same message with its lists and maps in the wide forms that other libraries write, an empty header too."""
    parts = [] if Message.decode(data).header is not None else [b"\x00\x53\x70\x45"]
    for start, value, end in Message.decode(data).scan().values():
        if data[value] in (0xC0, 0xC1):
            size, count, body = data[value + 1], data[value + 2], data[value + 3 : end]
            parts.append(data[start:value] + struct.pack(">BII", data[value] + 0x10, size + 3, count) + body)
        else:
            parts.append(data[start:end])
    return b"".join(parts)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages, st.booleans(), st.data())
def test_messages_in_wide_forms_read_like_those_in_short_ones(
    message: Message, damage: bool, draw: st.DataObject
) -> None:
    forget()
    data = widened(message.encode())
    teach(data)
    narrow = read(message.encode(), by_layout=False)
    found = read(data, by_layout=True)
    assert found[1:] == narrow[1:]
    if damage:
        raw = bytearray(data)
        raw[draw.draw(st.integers(0, len(raw) - 1))] = draw.draw(st.integers(0, 255))
        data = bytes(raw)
    assert read(data, by_layout=True) == read(data, by_layout=False)


@pytest.fixture(autouse=True)
def _nothing_learned() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    LAYOUTS.known.clear()
    LAYOUTS.seen.clear()


def shown(value: Any) -> Any:
    if isinstance(value, Composite):
        return [(spec.name, exact(getattr(value, spec.attribute))) for spec in value.FIELDS]
    return exact(value)


def read(data: bytes, *, by_layout: bool) -> list[Any]:
    """Every section of a message, or what is wrong with it."""
    found: list[Any] = []
    message = Message.decode(data)
    if not by_layout:
        try:
            message.scan()
        except DecodeError as error:
            return [str(error)] * len(SECTIONS)
    for name in SECTIONS:
        try:
            found.append(shown(getattr(message, name)))
        except DecodeError as error:
            found.append(str(error))
    return found


def teach(data: bytes) -> bool:
    """Have a layout learned; whether it was one that can be."""
    spans = Message.decode(data).scan()
    LAYOUTS.learn(data[:8], data, spans)
    LAYOUTS.learn(data[:8], data, spans)
    return data[:8] in LAYOUTS.known


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages)
def test_a_message_read_by_its_layout_is_what_the_general_way_makes_of_it(message: Message) -> None:
    forget()
    data = message.encode()
    teach(data)
    assert read(data, by_layout=True) == read(data, by_layout=False)
    again = Message.decode(data)
    assert again.value == message.value
    assert (again.encode(), again.body_kind) == (data, message.body_kind)
    assert again.scan() == Message.decode(data).scan()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages, st.data())
def test_damaged_messages_of_a_known_layout_read_like_any_other(message: Message, draw: st.DataObject) -> None:
    forget()
    data = bytearray(message.encode())
    teach(bytes(data))
    match draw.draw(st.sampled_from(["change", "cut", "add"])):
        case "change":
            for _ in range(draw.draw(st.integers(1, 3))):
                data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
        case "cut":
            del data[draw.draw(st.integers(0, len(data) - 1)) :]
        case _:
            data += draw.draw(st.binary(min_size=1, max_size=8))
    assert read(bytes(data), by_layout=True) == read(bytes(data), by_layout=False)


TYPICAL = Message(
    header=Header(durable=True, priority=UByte(3)),
    message_annotations={Symbol("x-key"): "orders", Symbol("x-time"): Timestamp(7)},
    properties=Properties(message_id="id-1", to="/queues/q", creation_time=Timestamp(12), group_sequence=UInt(700)),
    application_properties={"region": "eu", "attempt": 3, "x-key": True, "none": None, "big": 2**40, "real": 0.5},
    value="some text",
)


def test_a_usual_message_is_one_that_can_be_learned_and_another_with_the_same_layout_is_read_by_it() -> None:
    assert teach(TYPICAL.encode())
    (reader,) = LAYOUTS.known[TYPICAL.encode()[:8]]
    other = Message.decode(TYPICAL.encode().replace(b"id-1", b"id-2").replace(b"some text", b"more text"))
    assert reader(other, other.encode())
    assert other._spans is not None  # everything is there, nothing is left to be found
    assert other.properties is not None
    assert (other.properties.message_id, other.value) == ("id-2", "more text")
    longer = Message.decode(TYPICAL.encode().replace(b"\x09some text", b"\x0asome texts"))
    assert reader(longer, longer.encode())
    assert longer.value == "some texts"


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            "a list among the properties",
            Message(properties=Properties(to="a" * 9), application_properties={"a": [1]}, value=""),
        ),
        ("a body that is no text", Message(properties=Properties(to="a" * 9), value=1)),
        ("a data body", Message(properties=Properties(to="a" * 9), data=b"x")),
        ("nothing in front of the body", Message(value="a long enough text")),
        ("a footer", Message(properties=Properties(to="a" * 9), value="x", footer={Symbol("f"): 1})),
        ("a body too long for the short form", Message(properties=Properties(to="a" * 9), value="x" * 300)),
    ],
)
def test_what_has_no_short_cut_is_not_learned(what: str, message: Message) -> None:
    assert not teach(message.encode()), what
    assert read(message.encode(), by_layout=True) == read(message.encode(), by_layout=False)


def test_the_messages_of_proton_are_ones_that_can_be_learned() -> None:
    first = bytes.fromhex("005370 45 005373 d0000000060000000153 07 005377 d10000000e00000002a10373657171000102fe")
    assert teach(first)
    (reader,) = LAYOUTS.known[first[:8]]
    message = Message.decode(first)
    assert reader(message, first)
    assert (message.properties, message.value) == (Properties(message_id=ULong(7)), {"seq": Int(66302)})
    assert message.header == Header()


def test_a_layout_is_compiled_only_when_it_comes_again() -> None:
    data = TYPICAL.encode()
    LAYOUTS.learn(data[:8], data, Message.decode(data).scan())
    assert not LAYOUTS.known


def test_layouts_are_learned_from_a_stream_of_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    data = TYPICAL.encode()
    for _ in range(200):
        assert Message.decode(data).value == "some text"

    def scan(_: bytes) -> None:
        raise AssertionError("the general way was taken")

    monkeypatch.setattr(message_module, "find_sections", scan)
    assert Message.decode(data).application_properties == TYPICAL.application_properties


def test_however_many_layouts_there_are_few_are_kept_and_those_of_the_last_messages() -> None:
    last = b""
    for key in range(100):
        for size in range(1, 8):
            message = Message(
                properties=Properties(message_id="x" * key), application_properties={"k" * size: 1}, value=""
            )
            last = message.encode()
            teach(last)
    assert len(LAYOUTS.known) == layouts.BEGINNINGS_KEPT
    assert max(len(alike) for alike in LAYOUTS.known.values()) == layouts.ALIKE_KEPT
    assert len(LAYOUTS.seen) <= layouts.SEEN_KEPT
    # Nobody can fill the room for good.
    assert last[:8] in LAYOUTS.known


def test_what_one_stream_has_taught_takes_nothing_from_another() -> None:
    mine = Layouts()
    data = TYPICAL.encode()
    for _ in range(200):
        assert Message.decode(data, mine).value == "some text"
    assert len(mine.known) == 1
    assert not LAYOUTS.known

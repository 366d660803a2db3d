"""JSON that is written straight from the wire is what decoding and writing give, also for damaged data."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqp10.codec import UByte, ULong, encode
from amqp10.component.ids import IdText
from amqp10.component.messages import Beginning, MessageView
from amqp10.component.settings import Settings
from amqp10.component.wire_text import compound_text
from amqp10.errors import AMQPError
from amqp10.wire.message import Message
from amqp10.wire.messaging import Properties
from tests.codec.test_forms import encodings
from tests.examples import examples
from tests.strategies import TEXT, values
from tests.strategies import scalars as any_scalar

SIMPLE = any_scalar | st.text(max_size=20) | st.integers(-300, 300) | st.floats()
COMPOUNDS = st.one_of(
    st.dictionaries(st.text(max_size=8) | TEXT, SIMPLE, max_size=6),
    st.lists(SIMPLE, max_size=8),
    st.dictionaries(any_scalar, SIMPLE, max_size=3),
    st.lists(values, max_size=3),
)
HEADS = ("", "005370 45", "005370 c00100", "005370 d00000000400000000", "005372 d1000000 0400000000")
IDS = (
    "",
    "005373 45",
    "005373 c00100",
    "005373 c003015301",
    "005373 c00301a100",
    "005373 c00401a1016d",
    "005373 c00a0180fffffffffffffffe",
    "005373 d0000000060000000153ff",
    "005373 d00000000d00000001800000000000000101",
    "005373 d00000000700000001a1016d",
    "005373 c0020144",
    "005373 c0020140",
    "005373 d00000000400000000",
)


def view(payload: bytes, most: int = 0) -> MessageView:
    settings = Settings()
    settings.max_json_size = most
    delivery: Any = SimpleNamespace()
    return MessageView(payload, "link", True, delivery, settings)


def outcome(payload: bytes, general: bool, most: int = 0, seen_before: Beginning | None = None) -> Any:
    """What a program gets to see of a message."""
    message = view(payload, most)
    try:
        if general:
            message.message.scan()
        else:
            message.check(seen_before or Beginning())
    except AMQPError as error:
        return "no message", error.code
    seen: list[Any] = []
    for name in ("id", "value_type", "value"):
        try:
            found = getattr(message, name)
        except AMQPError as error:
            found = error.code, error.message
        seen += (found, type(found))
        if isinstance(found, IdText):
            seen += (found.value, type(found.value))
    return seen, message.is_sound()


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    head = bytes.fromhex(draw(st.sampled_from(HEADS)) + draw(st.sampled_from(IDS)))
    return head + b"\x00\x53\x77" + draw(COMPOUNDS.flatmap(encodings))


@given(payloads(), st.sampled_from([0, 40, 100]))
@settings(max_examples=examples(400))
def test_a_message_looks_the_same_whichever_way_it_is_read(payload: bytes, most: int) -> None:
    assert outcome(payload, general=False, most=most) == outcome(payload, general=True, most=most)


@given(payloads(), st.data())
@settings(max_examples=examples(600))
def test_a_damaged_message_looks_the_same_whichever_way_it_is_read(payload: bytes, data: st.DataObject) -> None:
    raw = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(raw[: data.draw(st.integers(0, len(raw)))]) if data.draw(st.booleans()) else bytes(raw)
    quick, slow = outcome(damaged, general=False), outcome(damaged, general=True)
    if quick != slow:
        # The properties behind the id are not looked at, as long as nobody asks for one of them: docs/architecture.md.
        assert slow[1] is False
        assert quick[0][-4:] == slow[0][-4:]
        assert slow[0][0][0] == 604
        message = view(damaged)
        message.check(Beginning())
        with pytest.raises(AMQPError):
            _ = message.subject
        assert not message.is_sound()


def stream_of(text: str, identifier: str) -> bytes:
    return Message(properties=Properties(message_id=identifier, subject="s"), value=text).encode()


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "\u00e9", "abcd"]), TEXT), min_size=2, max_size=5), st.data())
@settings(max_examples=examples(400))
def test_a_message_looks_the_same_whatever_came_before_it(texts: list[tuple[str, str]], data: st.DataObject) -> None:
    seen = Beginning()
    for identifier, text in texts:
        raw = bytearray(stream_of(text, identifier))
        if data.draw(st.booleans()):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        payload = bytes(raw[: data.draw(st.integers(0, len(raw)))]) if data.draw(st.booleans()) else bytes(raw)
        assert outcome(payload, general=False, seen_before=seen) == outcome(payload, general=False)


def test_a_message_that_begins_like_the_last_one_is_not_walked_over_again() -> None:
    seen = Beginning()
    message = view(stream_of("first", "id-1"))
    message.check(seen)
    known = seen.known
    message = view(stream_of("second", "id-2"))
    message.check(seen)
    assert seen.known is known
    assert (message.id, message.value) == ("id-2", "second")


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": 1, "b": "x", "c": None, "d": 2.5, "e": True, "f": UByte(200), "g": -5, "h": 10**12, "": ULong(0)},
        ["x", 1, -129, float("inf"), False, None, ULong(7)],
    ],
    ids=repr,
)
def test_what_programs_send_is_written_without_decoding_it(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = Message(value=value).encode()
    expected = outcome(payload, general=True)[0]
    monkeypatch.setattr(Message, "_read", None)
    message = view(payload)
    message.check(Beginning())
    assert [message.value, str] == expected[-2:]


@pytest.mark.parametrize("value", [{"k": 1}, ["k", 1]], ids=repr)
def test_a_text_straight_from_the_wire_is_bounded_too(value: Any) -> None:
    data = encode(value)
    text = compound_text(data, 0, 0)
    assert text is not None
    assert compound_text(data, 0, len(text)) == text
    assert compound_text(data, 0, len(text) - 1) is None


def test_the_id_that_proton_gives_is_read_without_decoding_the_properties(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Message, "_read", None)
    message = view(bytes.fromhex("005370 45 005373 d0000000060000000153ff 005377 d10000000400000000"))
    message.check(Beginning())
    assert message.id == "255"
    assert isinstance(message.id, IdText)
    assert message.id.value == ULong(255)
    assert message.value == '{"type": "map", "value": []}'

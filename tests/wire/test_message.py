"""Messages: every section there and back, lazily, and byte for byte where nothing was changed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqp10.codec import DecodeError, EncodeError, Symbol, Timestamp, UByte, UInt, encode
from amqp10.wire.message import ABSENT, BodyKind, Message
from amqp10.wire.messaging import Header, Properties
from tests.strategies import exact, scalars, values

FULL = Message(
    header=Header(durable=True, priority=UByte(7), ttl=UInt(1000), delivery_count=UInt(2)),
    delivery_annotations={Symbol("da"): 1},
    message_annotations={Symbol("ma"): "x"},
    properties=Properties(message_id="id", subject="s", creation_time=Timestamp(5)),
    application_properties={"a": 1, "b": None},
    value={"k": [1, 2]},
    footer={Symbol("f"): True},
)


def test_every_section_survives_a_round_trip() -> None:
    data = FULL.encode()
    message = Message.decode(data)
    for name in (
        "header",
        "delivery_annotations",
        "message_annotations",
        "properties",
        "application_properties",
        "value",
        "footer",
    ):
        assert getattr(message, name) == getattr(FULL, name), name
    assert message.encode() == data


@given(values)
def test_any_value_survives_as_a_body(value: Any) -> None:
    decoded = Message.decode(Message(value=value).encode())
    assert exact(decoded.value) == exact(value)
    assert decoded.body_kind is BodyKind.VALUE


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=3))
def test_data_sections_survive(parts: list[bytes]) -> None:
    decoded = Message.decode(Message(data=parts).encode())
    assert decoded.data_sections == parts
    assert decoded.data == b"".join(parts)
    assert (decoded.body_kind, decoded.value, decoded.sequence) == (BodyKind.DATA, None, None)


@given(st.lists(st.lists(scalars, max_size=3), min_size=1, max_size=3))
def test_sequence_sections_survive(parts: list[list[Any]]) -> None:
    decoded = Message.decode(Message(sequence=parts).encode())
    assert exact(decoded.sequence) == exact(parts)


def test_a_null_body_is_not_an_absent_one() -> None:
    assert Message.decode(Message(value=None).encode()).body_kind is BodyKind.VALUE
    assert Message.decode(Message().encode()).body_kind is BodyKind.NONE
    assert repr(ABSENT) == "ABSENT"


def test_two_kinds_of_body_are_refused() -> None:
    with pytest.raises(EncodeError):
        Message(data=b"x", value=1)


def test_a_section_that_is_not_looked_at_is_not_decoded() -> None:
    broken = b"\x00\x53\x74\xc1\x05\x02\xa1\x01\xff\x40"  # application properties whose key is not UTF-8
    data = Properties(message_id="id").encode() + broken + b"\x00\x53\x77\xa1\x01x"
    message = Message.decode(data)
    properties = message.properties
    assert properties is not None
    assert properties.message_id == "id"
    assert message.value == "x"
    with pytest.raises(DecodeError):
        _ = message.application_properties
    with pytest.raises(DecodeError):
        message.validate()


def test_untouched_sections_go_out_as_they_came_in() -> None:
    # A long form that this encoder would not write: it must stay, because signatures are over these bytes.
    long_form = b"\x00\x80\x00\x00\x00\x00\x00\x00\x00\x73\xd0\x00\x00\x00\x09\x00\x00\x00\x01\xb1\x00\x00\x00\x00"
    data = long_form + b"\x00\x53\x77\x55\x01"
    message = Message.decode(data)
    assert message.properties is not None
    message.header = Header(durable=True)
    assert message.encode() == Header(durable=True).encode() + data


def test_assigned_sections_replace_what_was_there() -> None:
    message = Message.decode(FULL.encode())
    message.application_properties = {"new": 1}
    message.footer = None
    again = Message.decode(message.encode())
    assert again.application_properties == {"new": 1}
    assert again.footer is None
    assert again.value == FULL.value


VALUE = b"\x00\x53\x77\x40"
MALFORMED = {
    "no section": b"\x40",
    "unknown section": b"\x00\x53\x10\x45",
    "section described by a list": b"\x00\x45\x40" + VALUE,
    "section described by a map": b"\x00\xc1\x01\x00\x40" + VALUE,
    "section described by a described value": b"\x00\x00\x53\x01\x40\x40" + VALUE,
    "section described by null": b"\x00\x40\x40" + VALUE,
    "descriptors without an end": b"\x00\x53\x77" + b"\x00" * 100_000,
    "body before properties": VALUE + Properties(message_id="a").encode(),
    "section twice": Header().encode() + Header().encode() + VALUE,
    "value twice": VALUE + VALUE,
    "two kinds of body": b"\x00\x53\x75\xa0\x00" + VALUE,
    "trailing garbage": VALUE + b"\x01",
    "cut short": FULL.encode()[:-1],
    "data that is not binary": b"\x00\x53\x75\xa1\x00",
    "sequence that is not a list": b"\x00\x53\x76\xa1\x00",
    "properties that are not a list": b"\x00\x53\x73\xa1\x00" + VALUE,
    "annotations that are not a map": b"\x00\x53\x72\x45" + VALUE,
    "a number where a text belongs": b"\x00\x53\x73" + encode([None, None, None, 5]) + VALUE,
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_messages_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Message.decode(data).validate()


@given(st.binary(max_size=100))
def test_random_bytes_give_a_message_or_a_decode_error(data: bytes) -> None:
    message = Message.decode(data)
    try:
        message.validate()
    except DecodeError:
        return
    assert message.encode() == data


@given(st.data())
def test_a_damaged_message_gives_a_message_or_a_decode_error(data: st.DataObject) -> None:
    raw = bytearray(FULL.encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        Message.decode(bytes(raw)).validate()
    except DecodeError:
        return

"""Messages that are changed, put together wrongly, or cut short: what goes out, and what is refused."""

from __future__ import annotations

from typing import Any, cast

import pytest

from amqp10.codec import DecodeError, EncodeError, Map, Symbol, Timestamp, UInt, ULong
from amqp10.wire.message import ABSENT, BodyKind, Message
from amqp10.wire.messaging import Header, Properties
from tests.strategies import exact
from tests.wire.test_message import FULL, MALFORMED

WIDE_HEADER = bytes.fromhex("005370 d000000006 00000001 5601")


def test_a_message_that_is_malformed_is_still_handed_on_byte_for_byte() -> None:
    message = Message.decode(b"\x00\x53\x77garbage")
    assert message.encode() == b"\x00\x53\x77garbage"


def test_looking_at_sections_does_not_change_the_bytes() -> None:
    # Wide forms throughout, which this encoder would write smaller.
    data = (
        WIDE_HEADER
        + b"\x00\xa3\x1famqp:application-properties:map"
        + bytes.fromhex("d10000000c 00000002 b10000000161 5601")
        + bytes.fromhex("005376 d000000004 00000000 005376 45")
    )
    message = Message.decode(data)
    message.validate()
    assert message.header == Header(durable=True)
    assert message.application_properties == {"a": True}
    assert message.sequence == [[], []]
    assert message.encode() == data


def test_a_change_in_place_goes_out_and_leaves_the_rest_as_it_was() -> None:
    message = Message.decode(WIDE_HEADER + Message(application_properties={"a": 1}, value=[1]).encode())
    assert message.header == Header(durable=True)
    cast("dict[str, Any]", message.application_properties)["a"] = 2
    message.value.append(2)
    assert message.encode() == WIDE_HEADER + Message(application_properties={"a": 2}, value=[1, 2]).encode()


@pytest.mark.parametrize(
    ("before", "after"), [(1, True), (1, UInt(1)), ("a", Symbol("a")), (None, []), ([], None), (b"", b"x"), (0.0, -0.0)]
)
def test_a_change_that_python_takes_for_equal_is_a_change(before: Any, after: Any) -> None:
    message = Message.decode(Message(value=before).encode())
    assert exact(message.value) == exact(before)
    message.value = after
    assert exact(Message.decode(message.encode()).value) == exact(after)


def test_a_field_changed_in_place_goes_out() -> None:
    message = Message.decode(FULL.encode())
    properties = message.properties
    assert properties is not None
    properties.subject = "another"
    again = Message.decode(message.encode())
    assert again.properties == Properties(message_id="id", subject="another", creation_time=Timestamp(5))
    assert again.header == FULL.header


BODIES: list[tuple[str, Any, BodyKind]] = [
    ("data", b"x", BodyKind.DATA),
    ("sequence", [[1], [2]], BodyKind.SEQUENCE),
    ("value", "text", BodyKind.VALUE),
    ("value", None, BodyKind.VALUE),
]


@pytest.mark.parametrize("old", BODIES, ids=str)
@pytest.mark.parametrize("new", BODIES, ids=str)
@pytest.mark.parametrize("decoded", [False, True], ids=["built", "decoded"])
def test_an_assigned_body_replaces_one_of_any_kind(
    old: tuple[str, Any, BodyKind], new: tuple[str, Any, BodyKind], decoded: bool
) -> None:
    before: dict[str, Any] = {old[0]: old[1]}
    message = Message(**before)
    if decoded:
        message = Message.decode(message.encode())
    assert message.body_kind is old[2]
    name, content, kind = new
    setattr(message, name, content)
    assert message.body_kind is kind
    after: dict[str, Any] = {name: content}
    assert message.encode() == Message(**after).encode()
    again = Message.decode(message.encode())
    assert (again.body_kind, getattr(again, name)) == (kind, content)


def test_a_body_can_be_taken_away() -> None:
    message = Message.decode(Message(header=Header(durable=True), value=1).encode())
    message.value = ABSENT
    assert message.body_kind is BodyKind.NONE
    assert message.value is None
    assert message.encode() == Header(durable=True).encode()


@pytest.mark.parametrize("name", ["header", "delivery_annotations", "message_annotations", "properties", "footer"])
def test_a_section_can_be_taken_away(name: str) -> None:
    message = Message.decode(FULL.encode())
    setattr(message, name, None)
    again = Message.decode(message.encode())
    assert getattr(again, name) is None
    assert again.value == FULL.value
    assert len(again.scan()) == len(Message.decode(FULL.encode()).scan()) - 1


@pytest.mark.parametrize(
    "body",
    [
        {"data": "text"},
        {"data": []},
        {"data": ["text"]},
        {"data": 5},
        {"sequence": "text"},
        {"sequence": b"octets"},
        {"sequence": 5},
        {"data": b"", "sequence": []},
        {"sequence": [], "value": None},
    ],
    ids=repr,
)
def test_what_cannot_be_a_body_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(EncodeError):
        Message(**body)


def test_a_sequence_of_lists_is_one_section_for_each() -> None:
    assert Message.decode(Message(sequence=[]).encode()).sequence == [[]]
    assert Message.decode(Message(sequence=[1, "a"]).encode()).sequence == [[1, "a"]]
    assert Message.decode(Message(sequence=[[1], ["a"]]).encode()).sequence == [[1], ["a"]]


@pytest.mark.parametrize("section", ["delivery_annotations", "message_annotations", "footer"])
def test_plain_text_keys_of_annotations_are_sent_as_symbols(section: str) -> None:
    sections: dict[str, Any] = {section: {"x-a": 1, Symbol("x-b"): 2, ULong(3): 3}}
    decoded = getattr(Message.decode(Message(**sections).encode()), section)
    assert exact(decoded) == exact({Symbol("x-a"): 1, Symbol("x-b"): 2, ULong(3): 3})


def test_keys_that_become_the_same_symbol_are_refused() -> None:
    with pytest.raises(EncodeError):
        Message(message_annotations=Map([("a", 1), (Symbol("a"), 2)])).encode()


@pytest.mark.parametrize(
    "sections",
    [
        {"header": Properties()},
        {"header": {"durable": True}},
        {"properties": Header()},
        {"properties": {"subject": "s"}},
        {"application_properties": [("a", 1)]},
        {"application_properties": {1: 1}},
        {"message_annotations": ["a"]},
        {"message_annotations": {"é": 1}},
        {"footer": 5},
        {"value": {1, 2}},
        {"sequence": [{1, 2}]},
        {"properties": Properties(subject="\ud800")},
    ],
    ids=ascii,
)
def test_a_section_of_the_wrong_type_is_refused_when_encoding(sections: dict[str, Any]) -> None:
    with pytest.raises(EncodeError):
        Message(**sections).encode()


def test_a_message_cut_anywhere_is_a_shorter_message_or_refused() -> None:
    data = FULL.encode()
    edges = {0, *(span[2] for span in Message.decode(data).scan().values())}
    for cut in range(len(data)):
        message = Message.decode(data[:cut])
        if cut in edges:
            message.validate()
            continue
        # It comes out at the first look at any section, and at every further one.
        for name in ("properties", "header", "value"):
            with pytest.raises(DecodeError):
                getattr(message, name)


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_message_stays_malformed_however_often_it_is_looked_at(data: bytes) -> None:
    message = Message.decode(data)
    for _ in range(2):
        with pytest.raises(DecodeError):
            message.validate()


def test_bytes_of_any_kind_are_decoded() -> None:
    data = FULL.encode()
    for payload in (bytearray(data), memoryview(data), memoryview(b"." + data)[1:]):
        assert Message.decode(payload).value == FULL.value


def test_many_data_sections_keep_their_edges() -> None:
    parts = [bytes([n % 256]) * (n % 300) for n in range(500)]
    decoded = Message.decode(Message(data=parts, footer={"f": 1}).encode())
    assert decoded.data_sections == parts
    assert decoded.footer == {"f": 1}


def test_repr_names_the_sections_and_shows_no_content() -> None:
    assert repr(Message(properties=Properties(subject="secret"), value="secret")) == "<Message: properties, amqp-value>"
    message = Message.decode(FULL.encode())
    assert repr(message) == f"<Message of {len(FULL.encode())} bytes>"
    message.scan()
    assert "footer" in repr(message)

"""Messages of the modern API: what goes in comes out, and what cannot travel cannot be built."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqp10.client.message import _PROPERTIES, BodyKind, Message
from amqp10.codec import ULong
from amqp10.errors import EncodeError
from amqp10.wire.message import Message as WireMessage
from amqp10.wire.messaging import Properties

MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
IDS = st.one_of(st.text(max_size=300), st.binary(max_size=20), st.uuids(), st.integers(0, 2**64 - 1))
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "id": IDS,
    "user_id": st.binary(),
    "to": st.text(),
    "subject": st.text(),
    "reply_to": st.text(),
    "correlation_id": IDS,
    "content_type": st.text(st.characters(max_codepoint=127)),
    "expires": MOMENTS,
    "created": MOMENTS,
    "group_id": st.text(),
    "group_sequence": st.integers(0, 2**32 - 1),
    "durable": st.booleans(),
    "priority": st.integers(0, 255),
    "ttl": st.integers(0, 10**6).map(float),
    "properties": st.dictionaries(st.text(), st.one_of(st.text(), st.integers(-(2**63), 2**63 - 1)), min_size=1),
}
SOME_FIELDS = st.fixed_dictionaries({}, optional=FIELDS)


@given(body=st.one_of(st.text(), st.binary(), st.integers(-(2**63), 2**63 - 1), st.none()), fields=SOME_FIELDS)
def test_every_field_comes_back_as_it_was_given(body: Any, fields: dict[str, Any]) -> None:
    message = Message.decode(Message(body, **fields).encode())
    assert message.body == body
    for name, value in fields.items():
        assert getattr(message, name) == value, name


@given(message_id=IDS)
def test_the_short_cut_for_a_lone_id_writes_what_the_declaration_writes(message_id: Any) -> None:
    wanted = ULong(message_id) if isinstance(message_id, int) else message_id
    general = WireMessage(properties=Properties(message_id=wanted), value=None).encode()
    assert Message(None, id=message_id).encode() == general


@given(fields=SOME_FIELDS, changes=SOME_FIELDS)
def test_replacing_fields_keeps_the_others_and_the_body(fields: dict[str, Any], changes: dict[str, Any]) -> None:
    original = Message.of_sequence([[1, 2], ["three"]], **fields)
    changed = original.replace(**changes)
    assert changed.body_kind is BodyKind.SEQUENCE
    assert changed.body_parts == [[1, 2], ["three"]]
    for name, value in {**fields, **changes}.items():
        assert getattr(changed, name) == value, name
    assert changed.replace(body="new").body == "new"


@given(fields=SOME_FIELDS, changes=SOME_FIELDS)
def test_replacing_properties_writes_what_is_composed_anew(fields: dict[str, Any], changes: dict[str, Any]) -> None:
    changes = {name: value for name, value in changes.items() if name in _PROPERTIES}
    changed = Message("body", **fields).replace(**changes)
    assert changed.encode() == Message("body", **{**fields, **changes}).encode()
    without = changed.replace(**dict.fromkeys(_PROPERTIES))
    others = {name: value for name, value in fields.items() if name not in _PROPERTIES}
    assert without.encode() == Message("body", **others).encode()


def test_a_message_does_not_change_with_what_it_was_made_of() -> None:
    body = {"a": [1]}
    properties = {"n": 1}
    message = Message(body, properties=properties)
    body["a"].append(2)
    properties["n"] = 2
    assert message.body == {"a": [1]}
    assert message.properties == {"n": 1}


def test_times_keep_their_moment_whatever_their_zone() -> None:
    there = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    assert Message("x", created=there).created == there


@pytest.mark.parametrize(
    "fields",
    [
        {"expires": datetime(2026, 1, 1)},
        {"priority": 256},
        {"ttl": -1.0},
        {"ttl": 2.0**33},
        {"group_sequence": -1},
        {"id": -1},
        {"properties": {1: "x"}},
        {"body": object()},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_has_no_encoding_is_refused_when_the_message_is_built(fields: dict[str, Any]) -> None:
    with pytest.raises(EncodeError):
        Message(**fields)


def test_equal_messages_are_equal_and_have_one_hash() -> None:
    first, second = (Message("x", id=uuid.UUID(int=1)) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    assert first != Message("y")

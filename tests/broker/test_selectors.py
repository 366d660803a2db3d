"""Selectors in the language of JMS: what they mean, what is malformed, and that none of them is expensive."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqp10.broker.filters import Filters, MessageView, OffsetSpec
from amqp10.broker.messages import StoredMessage
from amqp10.broker.selectors import MAX_LENGTH, Selector
from amqp10.codec import Described, Symbol, Timestamp, UByte, UInt, ULong
from amqp10.errors import ProtocolError
from amqp10.wire.message import Message
from amqp10.wire.messaging import Header, Properties
from tests.broker.support import count_calls

VALUES: dict[str, Any] = {
    "a": 1,
    "b": "red",
    "c": True,
    "f": 2.5,
    "n": -7,
    "s": "a_b%c",
    "$x": 1,
    "ä_1": 2,
    "big": 2**62,
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "a = 1",
        "1 = a",
        "a <> 2 AND a < 2 AND a <= 1 AND a > 0 AND a >= 1",
        "a + 1 * 2 = 3",
        "(a + 1) * 2 = 4",
        "n / 2 = -3",
        "f / 2 = 1.25",
        "-n = 7 AND +a = 1 AND - -a = 1",
        "a - 1 - 1 = -1",
        "f > a",
        "a = 1.0",
        "b = 'red'",
        "b <> 'blue'",
        "'it''s' = 'it''s'",
        "b LIKE 'r_d'",
        "b LIKE '%'",
        "b LIKE 'red%'",
        "b LIKE '%e%'",
        "b NOT LIKE '%x%'",
        r"s LIKE 'a\_b\%c' ESCAPE '\'",
        "b IN ('blue', 'red')",
        "b NOT IN ('blue')",
        "a BETWEEN 1 AND 1",
        "a NOT BETWEEN 2 AND 3",
        "nothing IS NULL",
        "a IS NOT NULL",
        "c",
        "c = TRUE",
        "NOT c = FALSE",
        "NOT (a = 2)",
        "nothing = 1 OR a = 1",
        "NOT (nothing = 1 AND a = 2)",
        "a = 0x1 AND n = -07 AND f = 25e-1 AND f = 2.5F AND a = 1L AND f = .25E1 AND a = 1.",
        "$x = 1 AND ä_1 = 2",
        "a = 1 aNd NoT b = 'blue'",
        "a\n=\t1",
    ],
)
def test_true(text: str) -> None:
    assert Selector(text).matches(VALUES)


@pytest.mark.parametrize(
    "text",
    [
        "a = 2",
        "nothing = 1",
        "NOT nothing = 1",
        "nothing <> 1",
        "nothing = 1 OR nothing = 2",
        "nothing IN ('x')",
        "nothing NOT IN ('x')",
        "nothing LIKE '%'",
        "nothing NOT LIKE '%'",
        "nothing BETWEEN 1 AND 2",
        "nothing NOT BETWEEN 1 AND 2",
        "a = '1'",
        "b > 'a'",
        "c = 1",
        "c > FALSE",
        "b = TRUE",
        "a / 0 = 1",
        "a / 0 <> 1",
        "b + 1 = 2",
        "-b = 1",
        "a",
        "b",
        "NOT a",
        "A = 1",
        "b = 'RED'",
        "s LIKE 'a'",
        "b LIKE 're'",
        "b LIKE '_'",
        "b LIKE 'red_%'",
        "a LIKE '1'",
        "b LIKE ''",
        "big * big * big * big * big * big * big * big * big * big * big * big * big * big * big * big * 1.5 = 1",
    ],
)
def test_not_true(text: str) -> None:
    assert not Selector(text).matches(VALUES)


@pytest.mark.parametrize(
    "text",
    [
        "a =",
        "= 1",
        "(a = 1",
        "a = 1)",
        "a b",
        "a = 1 AND",
        "AND a = 1",
        "NOT",
        "b LIKE a",
        "b LIKE 'x' ESCAPE 'ab'",
        "b IN ()",
        "b IN (1)",
        "b IN 'x'",
        "a BETWEEN 1",
        "a IS 3",
        "a NOT = 1",
        "1.2.3 = a",
        "12a = 1",
        "1.5L = 1",
        "'x",
        'a = "x"',
        "a # 1",
        "a == 1",
        "a = 9999999999999999999999",
        "between = 1",
        "(" * 100 + "a" + ")" * 100,
        "NOT " * 500 + "c",
        "-" * 1000 + "1 = a",
        "a" + "+a" * 1000 + " = 1",
        "a" + "*a" * 1000 + " = 1",
        "a" + "=a" * 1000,
        "a = '" + "x" * MAX_LENGTH + "'",
    ],
)
def test_malformed(text: str) -> None:
    with pytest.raises(ProtocolError, match="selector") as caught:
        Selector(text)
    assert caught.value.condition == "amqp:invalid-field"


@given(st.text(alphabet="abn'%_()=<>+-*/. 019eLIKEANDOTISUBW", max_size=60))
def test_any_text_is_a_selector_or_malformed(text: str) -> None:
    try:
        selector = Selector(text)
    except ProtocolError:
        return
    assert selector.matches(VALUES) in (True, False)


@given(st.text(alphabet="ab%_", max_size=8), st.text(alphabet="ab", max_size=8))
def test_like_means_what_the_slow_way_says(pattern: str, text: str) -> None:
    def slow(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "%":
            return any(slow(pattern[1:], text[start:]) for start in range(len(text) + 1))
        return bool(text) and pattern[0] in ("_", text[0]) and slow(pattern[1:], text[1:])

    assert Selector(f"x LIKE '{pattern}'").matches({"x": text}) is slow(pattern, text)


def test_no_pattern_tries_every_way_to_match() -> None:
    selector = Selector("x LIKE '" + "%a" * 500 + "%b'")
    assert count_calls(lambda: selector.matches({"x": "a" * 10_000})) < 1500
    assert not selector.matches({"x": "a" * 10_000})


def test_a_long_list_of_alternatives_is_no_deep_one() -> None:
    text = " OR ".join(f"a={number}" for number in range(400, 0, -1))
    assert Selector(text).matches({"a": 1})
    assert not Selector(text).matches({"a": 0})


def test_the_headers_of_jms_are_the_properties_of_the_message() -> None:
    message = Message(
        header=Header(durable=True, priority=UByte(7), delivery_count=UInt(2)),
        properties=Properties(
            message_id="ID:1",
            correlation_id=ULong(5),
            user_id=b"me",
            to="q",
            subject="kind",
            reply_to="r",
            creation_time=Timestamp(9),
            group_id="g",
            group_sequence=UInt(3),
        ),
        application_properties={"colour": "red", "JMSXOwn": 1},
        value="x",
    )
    view = MessageView(StoredMessage(message.encode()))
    text = (
        "JMSPriority = 7 AND JMSDeliveryMode = 'PERSISTENT' AND JMSXDeliveryCount = 3 AND JMSRedelivered = TRUE"
        " AND JMSMessageID = 'ID:1' AND JMSCorrelationID = 'ID:AMQP_ULONG:5' AND JMSXUserID = 'me'"
        " AND JMSDestination = 'q' AND JMSType = 'kind' AND JMSReplyTo = 'r' AND JMSTimestamp = 9"
        " AND JMSXGroupID = 'g' AND JMSXGroupSeq = 3 AND JMSExpiration IS NULL AND colour = 'red' AND JMSXOwn = 1"
    )
    assert Selector(text).matches(view)
    bare = MessageView(StoredMessage(Message(value="x").encode()))
    assert Selector(
        "JMSPriority = 4 AND JMSDeliveryMode = 'NON_PERSISTENT' AND JMSRedelivered = FALSE AND JMSMessageID IS NULL"
    ).matches(bare)


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x00\x53\x74\xc1", b"\x00\x53\x73\xc0\xff", b"\xff" * 20])
def test_a_malformed_message_has_no_properties(payload: bytes) -> None:
    view = MessageView(StoredMessage(payload))
    assert Selector("colour IS NULL AND JMSType IS NULL").matches(view)


# -- filter sets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("descriptor", [Symbol("apache.org:selector-filter:string"), ULong(0x0000468C00000004)])
def test_a_selector_is_known_by_symbol_and_by_code_under_any_name(descriptor: Any) -> None:
    wanted = {
        Symbol("jms-selector"): Described(descriptor, "colour = 'red'"),
        Symbol("other"): Described(Symbol("x:y"), 1),
    }
    filters = Filters(wanted)
    assert filters.answer == {Symbol("jms-selector"): wanted[Symbol("jms-selector")]}
    assert filters
    red = Message(application_properties={"colour": "red"}, value="x").encode()
    assert filters.pass_on(MessageView(StoredMessage(red)), 1, 1)
    assert not filters.pass_on(MessageView(StoredMessage(Message(value="x").encode())), 1, 2)


def test_filters_that_nobody_knows_are_left_out_of_the_answer() -> None:
    wanted = {
        Symbol("a"): Described(Symbol("rabbitmq:stream-offset-spec"), "first"),
        Symbol("b"): Described(ULong(1), "x"),
        Symbol("c"): "not described",
        Symbol("d"): Described(1.5, "x"),
    }
    filters = Filters(wanted)
    assert not filters
    assert filters.answer == {}


@pytest.mark.parametrize("value", ["middle", -1, True, None, 1.5, "7W", "D", "1" * 20 + "h"])
def test_an_offset_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(ProtocolError, match="stream offset"):
        OffsetSpec(value, 0)


def test_an_interval_counts_back_from_now() -> None:
    assert OffsetSpec("2h", 10_000).since == 10_000 - 7200

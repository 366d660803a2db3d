"""Message values: text to AMQP and back, and a clear refusal of what is malformed."""

from __future__ import annotations

import math
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqp10.codec import (
    Byte,
    Char,
    Decimal32,
    Decimal64,
    Decimal128,
    Described,
    Float,
    Int,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
    encode,
)
from amqp10.component.enums import ValueType
from amqp10.component.scalars import format_float, parse_float
from amqp10.component.values import body_text, from_amqp, to_amqp
from amqp10.errors import AMQPError
from amqp10.wire.message import Message

from .amqp_values import SCALARS, VALUES

V = ValueType


@pytest.mark.parametrize(
    ("value_type", "text", "value"),
    [
        (V.mvtNull, "ignored", None),
        (V.mvtBoolean, "True", True),
        (V.mvtBoolean, "fALSE", False),
        (V.mvtUbyte, "255", UByte(255)),
        (V.mvtUshort, "65535", UShort(65535)),
        (V.mvtUint, "4294967295", UInt(4294967295)),
        (V.mvtUlong, "18446744073709551615", ULong(18446744073709551615)),
        (V.mvtByte, "-128", Byte(-128)),
        (V.mvtShort, "-32768", Short(-32768)),
        (V.mvtInt, "-2147483648", Int(-2147483648)),
        (V.mvtLong, "-9223372036854775808", -9223372036854775808),
        (V.mvtLong, "+7", 7),
        (V.mvtFloat, "0.1", Float(0.1)),
        (V.mvtFloat, "-Infinity", Float("-inf")),
        (V.mvtDouble, "1e-3", 0.001),
        (V.mvtDouble, ".5", 0.5),
        (V.mvtDouble, "NaN", math.nan),
        (V.mvtDouble, "infinity", math.inf),
        (V.mvtDecimal, "22500001", Decimal32(b"\x22\x50\x00\x01")),
        (V.mvtDecimal, "00" * 8, Decimal64(bytes(8))),
        (V.mvtDecimal, "fF" * 16, Decimal128(b"\xff" * 16)),
        (V.mvtChar, "\U0001f31e", Char("\U0001f31e")),
        (V.mvtTimestamp, "-1", Timestamp(-1)),
        (V.mvtUuid, "00112233-4455-6677-8899-AABBccddeeff", UUID("00112233-4455-6677-8899-aabbccddeeff")),
        (V.mvtUuid, "00112233445566778899AABBCCDDEEFF", UUID("00112233-4455-6677-8899-aabbccddeeff")),
        (V.mvtBinary, "0a0B", b"\x0a\x0b"),
        (V.mvtBinary, "", b""),
        (V.mvtString, "", ""),
        (V.mvtString, "grüße\0", "grüße\0"),
        (V.mvtSymbol, "a:b", Symbol("a:b")),
        (V.mvtJson, '{"type": "list", "value": [null]}', [None]),
    ],
)
def test_each_type_reads_its_text(value_type: ValueType, text: str, value: Any) -> None:
    got = to_amqp(value_type, text)
    assert type(got) is type(value)
    assert encode(got) == encode(value)
    assert encode(to_amqp(int(value_type), text)) == encode(value)


@pytest.mark.parametrize(
    ("value_type", "text"),
    [
        (V.mvtBoolean, ""),
        (V.mvtBoolean, "1"),
        (V.mvtBoolean, " True"),
        (V.mvtUbyte, "256"),
        (V.mvtUbyte, "-1"),
        (V.mvtUshort, "65536"),
        (V.mvtUint, "4294967296"),
        (V.mvtUlong, "18446744073709551616"),
        (V.mvtByte, "128"),
        (V.mvtShort, "32768"),
        (V.mvtInt, "2147483648"),
        (V.mvtLong, "9223372036854775808"),
        (V.mvtInt, ""),
        (V.mvtInt, " 1"),
        (V.mvtInt, "1\n"),
        (V.mvtInt, "1_0"),
        (V.mvtInt, "0x1"),
        (V.mvtInt, "1.0"),
        (V.mvtInt, "--1"),
        (V.mvtInt, "\u0661"),
        (V.mvtLong, "9" * 5000),
        (V.mvtFloat, "1e39"),
        (V.mvtFloat, "1,5"),
        (V.mvtDouble, "1e309"),
        (V.mvtDouble, "1_0.5"),
        (V.mvtDouble, " 1"),
        (V.mvtDouble, "1.5\n"),
        (V.mvtDouble, "0x1p3"),
        (V.mvtDouble, "\u0661"),
        (V.mvtDouble, ""),
        (V.mvtDouble, "."),
        (V.mvtDouble, "nan(1)"),
        (V.mvtDouble, "1" * 10000),
        (V.mvtDecimal, ""),
        (V.mvtDecimal, "2250"),
        (V.mvtDecimal, "1.5"),
        (V.mvtChar, ""),
        (V.mvtChar, "ab"),
        (V.mvtChar, "\ud800"),
        (V.mvtTimestamp, "now"),
        (V.mvtUuid, ""),
        (V.mvtUuid, "0011223344556677-8899-AABBCCDDEEFF"),
        (V.mvtUuid, "{00112233-4455-6677-8899-AABBCCDDEEFF}"),
        (V.mvtBinary, "0"),
        (V.mvtBinary, "0g"),
        (V.mvtBinary, "00 00"),
        (V.mvtBinary, "ä"),
        (V.mvtString, "\udc80"),
        (V.mvtSymbol, "ä"),
        (V.mvtJson, "x" * 100_000),
    ],
)
def test_malformed_text_is_refused_naming_property_type_and_text(value_type: ValueType, text: str) -> None:
    with pytest.raises(AMQPError) as caught:
        to_amqp(value_type, text, "message_value")
    assert caught.value.code == 604
    message = caught.value.message
    assert "message_value" in message
    assert value_type is V.mvtJson or value_type.name in message
    assert value_type is V.mvtJson or repr(text[:40])[:-1] in message
    assert len(message) < 300
    message.encode()


@pytest.mark.parametrize("number", [-1, 20, 99])
def test_a_number_that_is_no_type_is_refused(number: int) -> None:
    with pytest.raises(AMQPError) as caught:
        to_amqp(number, "")
    assert caught.value.code == 604


@given(SCALARS)
def test_every_scalar_reads_back_as_the_same_value_of_the_same_type(value: Any) -> None:
    value_type, text = from_amqp(value)
    assert type(text) is str
    assert value_type is not V.mvtJson
    assert encode(to_amqp(value_type, text)) == encode(value)


@given(VALUES)
def test_every_value_reads_back_as_the_same_value(value: Any) -> None:
    for simplified in (True, False):
        value_type, text = from_amqp(value, simplified)
        assert encode(to_amqp(value_type, text)) == encode(value)


@given(st.sampled_from(list(ValueType)), st.text())
def test_any_text_is_read_or_refused_with_604(value_type: ValueType, text: str) -> None:
    code = 0
    try:
        encode(to_amqp(value_type, text))
    except AMQPError as error:
        code = error.code
    assert code in (0, 604)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, (V.mvtNull, "")),
        (True, (V.mvtBoolean, "True")),
        (Float(0.1), (V.mvtFloat, "0.1")),
        (1e100, (V.mvtDouble, "1e+100")),
        (b"\x0a\xff", (V.mvtBinary, "0AFF")),
        (Decimal32(b"\x0a\xff\x00\x01"), (V.mvtDecimal, "0AFF0001")),
        (UUID(int=10), (V.mvtUuid, "00000000-0000-0000-0000-00000000000a")),
        ([], (V.mvtJson, '{"type": "list", "value": []}')),
        (Described(ULong(1), "a"), (V.mvtJson, '{"descriptor": {"type": "ulong", "value": 1}, "value": "a"}')),
    ],
)
def test_values_are_written_as_documented(value: Any, expected: tuple[ValueType, str]) -> None:
    assert from_amqp(value) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (Message(), (V.mvtNull, "")),
        (Message(value=None), (V.mvtNull, "")),
        (Message(value=UInt(5)), (V.mvtUint, "5")),
        (Message(value=b"\x01"), (V.mvtBinary, "01")),
        (Message(data=b"\x01\xab"), (V.mvtBinary, "01AB")),
        (Message(data=[b"\x01", b"", b"\x02"]), (V.mvtBinary, "0102")),
        (Message(data=b""), (V.mvtBinary, "")),
        (Message(sequence=[["a", None], [], [True]]), (V.mvtJson, '{"type": "list", "value": ["a", null, true]}')),
        (Message(value={"a": None}), (V.mvtJson, '{"type": "map", "value": ["a", null]}')),
    ],
)
def test_every_kind_of_body_has_a_text(message: Message, expected: tuple[ValueType, str]) -> None:
    assert body_text(message) == expected
    assert body_text(Message.decode(message.encode())) == expected


def test_a_body_in_the_full_syntax_when_asked_for() -> None:
    text = '{"type": "list", "value": [{"type": "string", "value": "a"}]}'
    assert body_text(Message(value=["a"]), simplified=False) == (V.mvtJson, text)
    assert body_text(Message(sequence=[["a"]]), simplified=False) == (V.mvtJson, text)


@given(st.floats(width=32, allow_nan=False))
def test_binary32_text_is_exact_and_has_nine_digits_at_most(value: float) -> None:
    text = format_float(value)
    assert parse_float(text) == value
    assert math.copysign(1, parse_float(text)) == math.copysign(1, value)
    if math.isfinite(value):
        digits = text.lower().split("e")[0].replace(".", "").lstrip("-0").rstrip("0")
        assert len(digits) <= 9


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("340282356779733661637539395458142568448", None),  # halfway beyond the largest
        ("3.40282356779733661637539395458142568447e38", 3.4028234663852886e38),  # just below that
        ("-3.40282356779733661637539395458142568447e38", -3.4028234663852886e38),
        (f"{2.0**-150:.120g}", 0.0),  # half the smallest: a tie, to even
        ("7.0064923216240853546186479164495807e-46", 1.401298464324817e-45),  # just above that
        ("1.000000059604644775390625", 1.0),
        ("1e-9999", 0.0),
    ],
)
def test_binary32_rounding_at_the_edges(text: str, value: float | None) -> None:
    if value is None:
        with pytest.raises(ValueError, match="too large"):
            parse_float(text)
    else:
        assert parse_float(text) == value

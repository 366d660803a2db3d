"""Composite JSON: every AMQP value there and back, and a clear refusal of everything else."""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqp10.codec import (
    MAX_DEPTH,
    MAX_UNBACKED,
    MAX_ZERO_WIDTH,
    Array,
    Byte,
    Char,
    Decimal32,
    Decimal64,
    Decimal128,
    Described,
    Float,
    Int,
    Map,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
    decode,
    encode,
)
from amqp10.component.composite_json import dumps, loads
from amqp10.errors import AMQPError

from .amqp_values import VALUES


def same(one: Any, other: Any) -> bool:
    """Equal on the wire, which tells types apart that are equal in Python."""
    return encode(one) == encode(other)


@pytest.mark.parametrize("simplified", [True, False])
@given(value=VALUES)
def test_every_value_is_the_same_on_the_wire_after_a_round_trip(simplified: bool, value: Any) -> None:
    assert same(loads(dumps(value, simplified)), value)


@given(value=VALUES)
def test_what_was_decoded_from_the_wire_makes_the_round_trip_too(value: Any) -> None:
    octets = encode(value)
    assert encode(loads(dumps(decode(octets)[0]))) == octets


@given(value=VALUES)
def test_the_full_syntax_has_a_type_on_every_value(value: Any) -> None:
    def check(node: Any) -> None:
        assert isinstance(node, dict)
        if isinstance(node["value"], dict):
            assert "descriptor" in node["value"]  # a described value inside a described value
            check(node["value"])
        else:
            assert "type" in node
        if "descriptor" in node:
            check(node["descriptor"])
        if isinstance(node["value"], list):
            for element in node["value"]:
                check(element)

    check(json.loads(dumps(value, simplified=False)))


# As rich as any document in practice: all types, nesting, descriptors in both syntaxes, arrays of every kind.
DOCUMENT = """
{
  "descriptor": { "type": "symbol", "value": "example:weather-report" },
  "type": "list",
  "value": [
    "Überall sonnig \\ud83c\\udf1e",
    null, true, false,
    { "type": "null", "value": null },
    { "type": "boolean", "value": false },
    { "type": "string", "value": "plain" },
    { "type": "uuid", "value": "00112233-4455-6677-8899-AABBCCDDEEFF" },
    { "type": "uuid", "value": "00112233445566778899aabbccddeeff" },
    { "type": "ubyte", "value": 255 },
    { "type": "ushort", "value": 65535 },
    { "type": "uint", "value": 4294967295 },
    { "type": "ulong", "value": 18446744073709551615 },
    { "type": "byte", "value": -128 },
    { "type": "short", "value": -32768 },
    { "type": "int", "value": -2147483648 },
    { "type": "long", "value": -9223372036854775808 },
    { "type": "long", "value": 9007199254740993 },
    { "type": "float", "value": 0.1 },
    { "type": "float", "value": "-Infinity" },
    { "type": "double", "value": 2.5e-3 },
    { "type": "double", "value": "NaN" },
    { "type": "decimal", "value": "22500001" },
    { "type": "decimal", "value": "0123456789abcdef" },
    { "type": "decimal", "value": "000102030405060708090A0B0C0D0E0F" },
    { "type": "char", "value": "\\u20ac" },
    { "type": "timestamp", "value": 1700000000000 },
    { "type": "binary", "value": "00FFab" },
    { "type": "symbol", "value": "unit:celsius" },
    { "type": "array", "value": [
      { "type": "int", "value": 1 }, { "type": "int", "value": 2 }, { "type": "int", "value": -3 } ] },
    { "type": "array", "value": [ "north", { "type": "string", "value": "south" } ] },
    { "type": "array", "value": [
      { "descriptor": { "type": "ulong", "value": 7 }, "type": "list", "value": [ true ] },
      { "descriptor": { "type": "ulong", "value": 7 }, "type": "list", "value": [] } ] },
    { "type": "array", "value": [
      { "type": "array", "value": [ { "type": "ubyte", "value": 1 } ] },
      { "type": "array", "value": [ { "type": "symbol", "value": "s" } ] } ] },
    { "type": "array", "value": [] },
    { "type": "array", "value": [], "constructor": "70" },
    { "type": "map", "value": [
      { "type": "symbol", "value": "station" }, "Wendelstein",
      { "type": "int", "value": 7 }, { "type": "list", "value": [ { "type": "map", "value": [] } ] },
      { "type": "list", "value": [ true ] }, null,
      true, { "type": "float", "value": -2 },
      { "type": "uint", "value": 1 }, "uint",
      { "type": "ulong", "value": 1 }, "ulong" ] },
    { "descriptor": { "type": "symbol", "value": "example:note" }, "value": "abbreviated" },
    { "descriptor": "a string", "value": null },
    { "descriptor": { "type": "ulong", "value": 1 },
      "value": { "descriptor": { "type": "ulong", "value": 2 }, "type": "int", "value": 3 } },
    { "descriptor": { "type": "list", "value": [ null ] }, "type": "binary", "value": "" }
  ]
}
"""

VALUE = Described(
    Symbol("example:weather-report"),
    [
        "Überall sonnig \U0001f31e",
        None,
        True,
        False,
        None,
        False,
        "plain",
        UUID("00112233-4455-6677-8899-aabbccddeeff"),
        UUID("00112233-4455-6677-8899-aabbccddeeff"),
        UByte(255),
        UShort(65535),
        UInt(4294967295),
        ULong(18446744073709551615),
        Byte(-128),
        Short(-32768),
        Int(-2147483648),
        -9223372036854775808,
        9007199254740993,
        Float(0.1),
        Float("-inf"),
        0.0025,
        float("nan"),
        Decimal32(bytes.fromhex("22500001")),
        Decimal64(bytes.fromhex("0123456789abcdef")),
        Decimal128(bytes(range(16))),
        Char("\u20ac"),
        Timestamp(1700000000000),
        b"\x00\xff\xab",
        Symbol("unit:celsius"),
        Array([Int(1), Int(2), Int(-3)]),
        Array(["north", "south"]),
        Array([Described(ULong(7), [True]), Described(ULong(7), [])]),
        Array([Array([UByte(1)]), Array([Symbol("s")])]),
        Array(),
        Array((), b"\x70"),
        Map(
            [
                (Symbol("station"), "Wendelstein"),
                (Int(7), [{}]),
                ([True], None),
                (True, Float(-2)),
                (UInt(1), "uint"),
                (ULong(1), "ulong"),
            ]
        ),
        Described(Symbol("example:note"), "abbreviated"),
        Described("a string", None),
        Described(ULong(1), Described(ULong(2), Int(3))),
        Described([None], b""),
    ],
)


def test_a_document_with_everything_in_it_is_read() -> None:
    value = loads(DOCUMENT)
    for index, (got, expected) in enumerate(zip(value.value, VALUE.value, strict=True)):
        assert same(got, expected), (index, got, expected)
    assert same(value, VALUE)
    for simplified in (True, False):
        assert same(loads(dumps(VALUE, simplified)), VALUE)


def test_both_syntaxes_are_written_as_documented() -> None:
    value = Described(Symbol("d"), ["a", None, True, Int(-2), Described(ULong(1), "x"), {Symbol("k"): b"\x0a"}])
    assert dumps(value) == (
        '{"descriptor": {"type": "symbol", "value": "d"}, "type": "list", "value": ["a", null, true, '
        '{"type": "int", "value": -2}, {"descriptor": {"type": "ulong", "value": 1}, "value": "x"}, '
        '{"type": "map", "value": [{"type": "symbol", "value": "k"}, {"type": "binary", "value": "0A"}]}]}'
    )
    assert dumps(["a", Described(ULong(1), None)], simplified=False) == (
        '{"type": "list", "value": [{"type": "string", "value": "a"}, '
        '{"descriptor": {"type": "ulong", "value": 1}, "type": "null", "value": null}]}'
    )


def test_map_order_and_repeated_looking_keys_survive() -> None:
    value = Map([(2, "b"), (1, "a"), (UInt(1), "c"), ("1", "d"), (Symbol("1"), "e"), (True, "f")])
    assert [type(key) for key in loads(dumps(value))] == [int, int, UInt, str, Symbol, bool]
    assert same(loads(dumps(value)), value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Float(0.1), '{"type": "float", "value": 0.1}'),
        (Float(16777216), '{"type": "float", "value": 16777216.0}'),
        (0.1, '{"type": "double", "value": 0.1}'),
        (-0.0, '{"type": "double", "value": -0.0}'),
        (float("inf"), '{"type": "double", "value": "Infinity"}'),
        (Float("nan"), '{"type": "float", "value": "NaN"}'),
        (2**63 - 1, '{"type": "long", "value": 9223372036854775807}'),
    ],
)
def test_numbers_are_written_exactly_and_short(value: Any, text: str) -> None:
    assert dumps(value) == text
    assert same(loads(text), value)


def test_a_float_is_rounded_once() -> None:
    # By way of binary64 this would end on the halfway point, and then on the even neighbour, 1.0.
    value = loads('{"type": "float", "value": 1.00000005960464477539062500000001}')
    assert value == 1.00000011920928955078125


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("", "", "not JSON"),
        ("{", "", "line 1, column 2"),
        ('{"type": "int", "value": 1} x', "", "Extra data"),
        ('{"type": "double", "value": NaN}', "", "NaN"),
        ("5", "$:", "needs its type"),
        ("1.5", "$:", "needs its type"),
        ("[]", "$:", "needs its type"),
        ("{}", "$:", '"value" is missing'),
        ('{"value": 1}', "$:", '"type" is missing'),
        ('{"value": "x"}', "$:", '"type" is missing'),
        ('{"type": "int"}', "$:", '"value" is missing'),
        ('{"type": "Int", "value": 1}', "$.type", "lower case"),
        ('{"type": "integer", "value": 1}', "$.type", "not a type"),
        ('{"type": 5, "value": 1}', "$.type", "string"),
        ('{"type": ["int"], "value": 1}', "$.type", "string"),
        ('{"type": "int", "value": 1, "unit": "m"}', "$:", "'unit'"),
        ('{"type": "int", "value": 1, "value": 2}', "$:", "twice"),
        ('{"type": "null", "value": 0}', "$.value", "null"),
        ('{"type": "boolean", "value": "true"}', "$.value", "boolean"),
        ('{"type": "ubyte", "value": 256}', "$.value", "256"),
        ('{"type": "ubyte", "value": -1}', "$.value", "0 to 255"),
        ('{"type": "int", "value": 1.0}', "$.value", "fraction"),
        ('{"type": "int", "value": 1e3}', "$.value", "fraction"),
        ('{"type": "int", "value": "1"}', "$.value", "number"),
        ('{"type": "int", "value": true}', "$.value", "number"),
        ('{"type": "long", "value": 9223372036854775808}', "$.value", "9223372036854775808"),
        ('{"type": "long", "value": ' + "9" * 10000 + "}", "$.value", "10000 digits"),
        ('{"type": "double", "value": ' + "9" * 10000 + "}", "$.value", "10000 digits"),
        ('{"type": "float", "value": 1e39}', "$.value", "too large"),
        ('{"type": "double", "value": 1e309}', "$.value", "too large"),
        ('{"type": "double", "value": "inf"}', "$.value", "Infinity"),
        ('{"type": "double", "value": "1"}', "$.value", "number"),
        ('{"type": "decimal", "value": "0A1B"}', "$.value", "4, 8 or 16"),
        ('{"type": "char", "value": "ab"}', "$.value", "one character"),
        ('{"type": "char", "value": ""}', "$.value", "one character"),
        ('{"type": "char", "value": "\\ud800"}', "$.value", "surrogate"),
        ('{"type": "string", "value": "a\\udfff"}', "$.value", "surrogate"),
        ('"a\\udfff"', "$:", "surrogate"),
        ('{"type": "symbol", "value": "ä"}', "$.value", "ASCII"),
        ('{"type": "binary", "value": "0"}', "$.value", "hexadecimal"),
        ('{"type": "binary", "value": "0 0"}', "$.value", "hexadecimal"),
        ('{"type": "uuid", "value": "0"}', "$.value", "UUID"),
        ('{"type": "list", "value": {}}', "$.value", "not a JSON array"),
        ('{"type": "list", "value": [null, 5]}', "$.value[1]", "needs its type"),
        ('{"type": "map", "value": ["a"]}', "$.value", "a value for each key"),
        ('{"type": "map", "value": ["a", 1, "b", "x"]}', "$.value[1]", "needs its type"),
        ('{"type": "map", "value": ["a", null, "b", null, "a", null]}', "$.value[4]", "twice"),
        (
            '{"type": "map", "value": [{"type": "list", "value": []}, "a", {"type": "list", "value": []}, "b"]}',
            "$.value[2]",
            "twice",
        ),
        ('{"type": "array", "value": ["a", null]}', "$.value[1]", "null follows string"),
        (
            '{"type": "array", "value": [{"type": "int", "value": 1}, {"type": "uint", "value": 1}]}',
            "$.value[1]",
            "uint follows int",
        ),
        (
            '{"type": "array", "value": [{"descriptor": "a", "value": "x"}, {"descriptor": "b", "value": "x"}]}',
            "$.value[1]",
            "descriptor",
        ),
        ('{"type": "array", "value": ["a", {"descriptor": "a", "value": "x"}]}', "$.value[1]", "one type"),
        (
            '{"type": "array", "value": [{"descriptor": "a", "value": "x"}, {"descriptor": "a", "value": true}]}',
            "$.value[1]",
            "boolean follows string",
        ),
        (
            '{"type": "array", "value": [{"type": "decimal", "value": "00000000"}, '
            '{"type": "decimal", "value": "0000000000000000"}]}',
            "$.value[1]",
            "decimal64 follows decimal32",
        ),
        (
            '{"type": "map", "value": [{"type": "float", "value": "NaN"}, "", {"type": "float", "value": "NaN"}, ""]}',
            "$.value[2]",
            "twice",
        ),
        ('{"type": "int", "value": 01}', "", "not JSON"),
        ('{"type": "int", "value": 1,}', "", "not JSON"),
        ('{"type": "double", "value": 1e99999999}', "$.value", "number"),
        ('{"type": "uuid", "value": "00112233-445566778899-AABBCCDDEEFF"}', "$.value", "UUID"),
        ('{"type": "array", "value": [null], "constructor": "40"}', "$:", "empty array"),
        ('{"type": "list", "value": [], "constructor": "40"}', "$:", "empty array"),
        ('{"type": "array", "value": [], "constructor": ""}', "$.constructor", "constructor"),
        ('{"type": "array", "value": [], "constructor": "00"}', "$.constructor", "constructor"),
        ('{"type": "array", "value": [], "constructor": "99"}', "$.constructor", "constructor"),
        ('{"type": "array", "value": [], "constructor": "4040"}', "$.constructor", "constructor"),
        ('{"type": "array", "value": [], "constructor": 40}', "$.constructor", "constructor"),
        ('{"descriptor": 1, "type": "int", "value": 1}', "$.descriptor", "needs its type"),
        ('{"descriptor": {"type": "x", "value": 1}, "value": "y"}', "$.descriptor.type", "not a type"),
        ('{"descriptor": {"descriptor": "a", "value": "b"}, "value": "c"}', "$.descriptor", "itself be described"),
        ('{"descriptor": "a", "value": {"type": "int", "value": 1}}', "$:", '"type" is missing'),
        (
            '{"type": "list", "value": [null, null, null, {"type": "list", "value": [{"type": "int", "value": "x"}]}]}',
            "$.value[3].value[0].value",
            "'x'",
        ),
        (
            '{"descriptor": "a", "value": {"descriptor": "b", "type": "list", "value": [5]}}',
            "$.value.value[0]",
            "needs its type",
        ),
    ],
)
def test_a_wrong_document_is_refused_with_the_place_and_the_reason(text: str, path: str, reason: str) -> None:
    with pytest.raises(AMQPError) as caught:
        loads(text, "message_value")
    assert caught.value.code == 604
    message = caught.value.message
    assert message.startswith("message_value")
    assert path in message
    assert reason in message
    assert len(message) < 300


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.one_of(
            st.lists(inner),
            st.dictionaries(st.sampled_from(["type", "value", "descriptor", "constructor", "x"]), inner),
            st.tuples(st.sampled_from(["int", "list", "array", "map", "float", "char", "decimal"]), inner).map(
                lambda pair: {"type": pair[0], "value": pair[1]}
            ),
        ),
    )
)
def test_any_json_is_read_or_refused_with_604(document: Any) -> None:
    code = 0
    try:
        encode(loads(json.dumps(document)))
    except AMQPError as error:
        code = error.code
    assert code in (0, 604)


@given(st.text() | st.text(alphabet='{}[]",:0123456789.eE-+\\u"typevalue '))
def test_any_text_is_read_or_refused_with_604(text: str) -> None:
    code = 0
    try:
        loads(text)
    except AMQPError as error:
        code = error.code
    assert code in (0, 604)


def nest(levels: int) -> str:
    return '{"type": "list", "value": [' * levels + "null" + "]}" * levels


def test_values_nest_as_deep_as_the_codec_allows_and_no_deeper() -> None:
    value = loads(nest(MAX_DEPTH))
    assert decode(encode(value))[0] == value
    assert same(loads(dumps(value, simplified=False)), value)
    for levels in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(AMQPError) as caught:
            loads(nest(levels))
        assert caught.value.code == 604
        assert f"{MAX_DEPTH} levels" in caught.value.message
    with pytest.raises(AMQPError) as caught:
        dumps([value])
    assert caught.value.code == 604


def test_a_call_stack_that_is_nearly_full_gives_604_and_no_recursion_error() -> None:
    text = nest(MAX_DEPTH)
    value = loads(text)
    codes: set[int] = set()

    def deeper(levels: int) -> None:
        if levels:
            deeper(levels - 1)
            return
        for call in (lambda: loads(text), lambda: dumps(value)):
            try:
                call()
            except AMQPError as error:
                codes.add(error.code)

    used = len(inspect.stack(0))
    # Room for a call and its error, but not for as many levels as the value has.
    deeper(sys.getrecursionlimit() - used - 60)
    assert codes == {604}


def test_text_is_written_as_it_is_and_not_as_escapes() -> None:
    assert dumps(["grün", Char("€"), "\U0001f31e", 'a"\\\n']) == (
        '{"type": "list", "value": ["grün", {"type": "char", "value": "€"}, "\U0001f31e", "a\\"\\\\\\n"]}'
    )


def test_an_endless_value_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(AMQPError) as caught:
        dumps(value)
    assert caught.value.code == 604


def test_an_array_of_null_is_bounded_as_on_the_wire() -> None:
    for prefix, most in (("", MAX_ZERO_WIDTH), ('"descriptor": "a", ', MAX_UNBACKED)):
        element = f'{{{prefix}"type": "null", "value": null}}'
        fits = '{"type": "array", "value": [' + ", ".join([element] * most) + "]}"
        assert len(loads(fits)) == most
        with pytest.raises(AMQPError):
            loads(fits.replace("[", f"[{element}, ", 1))


@pytest.mark.parametrize("value", [object(), {1, 2}, 2**63, Described(Described(1, 2), 3), [object()]])
def test_what_has_no_place_in_the_schema_is_refused(value: Any) -> None:
    with pytest.raises(AMQPError) as caught:
        dumps(value)
    assert caught.value.code == 604


def test_subclasses_and_mappings_are_written_as_what_they_are() -> None:
    class Text(str):
        __slots__ = ()

    assert loads(dumps(Text("x"))) == "x"
    assert loads(dumps(("a", bytearray(b"\x01"), memoryview(b"\x02")))) == ["a", b"\x01", b"\x02"]


@pytest.mark.parametrize(
    "text", ['{"total": 12}', '{"type": "order", "total": 12}', "{}", "[1, 2]", "12", '{"type":"list","value":[12]}']
)
def test_plain_json_is_told_as_such_with_what_to_write(text: str) -> None:
    with pytest.raises(AMQPError) as caught:
        loads(text)
    assert caught.value.code == 604
    assert "This is plain JSON" in caught.value.message
    assert "mvtString" in caught.value.message


@pytest.mark.parametrize(
    "text", ['{"type": "order", "value": 3}', '{"value": "x"}', "{", '{"type": "int", "value": "x"}']
)
def test_composite_json_with_a_mistake_is_not_taken_for_plain_json(text: str) -> None:
    with pytest.raises(AMQPError) as caught:
        loads(text)
    assert "plain JSON" not in caught.value.message


def test_an_object_for_a_map_is_told_how_a_map_is_written() -> None:
    with pytest.raises(AMQPError) as caught:
        loads('{"type": "map", "value": {"a": 1}}')
    assert "keys and values in turn" in caught.value.message

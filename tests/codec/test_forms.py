"""Every form that a value may have on the wire, chosen at random and nested, decodes to the same typed value."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amqp10.codec import (
    MAX_UNBACKED,
    MAX_ZERO_WIDTH,
    Array,
    Byte,
    Char,
    Decimal32,
    Decimal64,
    Decimal128,
    DecodeError,
    Described,
    EncodeError,
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
from amqp10.codec.decode import DECODE_FAULTS, skip_value
from tests.examples import examples
from tests.strategies import exact, values


def scalar_forms(value: Any) -> list[bytes]:
    """All encodings of a scalar, its format code included, smallest first."""
    kind = type(value)
    if value is None:
        return [b"\x40"]
    if kind is bool:
        return [b"\x41", b"\x56\x01"] if value else [b"\x42", b"\x56\x00"]
    zero, small, wide, pack = {
        UByte: (0, 0, 0x50, ">B"),
        UShort: (0, 0, 0x60, ">H"),
        UInt: (0x43, 0x52, 0x70, ">I"),
        ULong: (0x44, 0x53, 0x80, ">Q"),
        Byte: (0, 0, 0x51, ">b"),
        Short: (0, 0, 0x61, ">h"),
        Int: (0, 0x54, 0x71, ">i"),
        int: (0, 0x55, 0x81, ">q"),
        Float: (0, 0, 0x72, ">f"),
        float: (0, 0, 0x82, ">d"),
        Timestamp: (0, 0, 0x83, ">q"),
    }.get(kind, (0, 0, 0, ""))
    if pack:
        forms = [bytes((zero,))] if zero and value == 0 else []
        signed = kind in (Int, int)
        if small and (-128 <= value <= 127 if signed else value <= 255):
            forms.append(bytes((small, value & 0xFF)))
        return [*forms, bytes((wide,)) + struct.pack(pack, value)]
    if kind is Char:
        return [b"\x73" + struct.pack(">I", ord(value))]
    if kind is uuid.UUID:
        return [b"\x98" + value.bytes]
    for decimal, code in ((Decimal32, 0x74), (Decimal64, 0x84), (Decimal128, 0x94)):
        if kind is decimal:
            return [bytes((code,)) + value]
    texts: dict[type, int] = {bytes: 0xA0, str: 0xA1, Symbol: 0xA3}
    code = texts[kind]
    data = value if kind is bytes else value.encode()
    forms = [bytes((code, len(data))) + data] if len(data) < 256 else []
    return [*forms, bytes((code | 0x10,)) + struct.pack(">I", len(data)) + data]


def compound_forms(code: int, count: int, body: bytes) -> list[bytes]:
    size = len(body) + 1
    forms = [bytes((code, size, count)) + body] if size < 256 and count < 256 else []
    return [*forms, bytes((code | 0x10,)) + struct.pack(">II", size + 3, count) + body]


@st.composite
def encodings(draw: st.DrawFn, value: Any) -> bytes:
    """An encoding of a value, any that is permitted."""
    if isinstance(value, list):
        body = b"".join([draw(encodings(item)) for item in value])
        forms = compound_forms(0xC0, len(value), body)
        return draw(st.sampled_from(forms if value else [b"\x45", *forms]))
    if isinstance(value, (dict, Map)):
        body = b"".join([draw(encodings(item)) for pair in value.items() for item in pair])
        return draw(st.sampled_from(compound_forms(0xC1, 2 * len(value), body)))
    if isinstance(value, Described):
        return b"\x00" + draw(encodings(value.descriptor)) + draw(encodings(value.value))
    if isinstance(value, Array):
        if not value:
            return draw(st.sampled_from(compound_forms(0xE0, 0, value.constructor)))
        constructor, bodies = draw(element_forms(value.items))
        return draw(st.sampled_from(compound_forms(0xE0, len(value), constructor + b"".join(bodies))))
    return draw(st.sampled_from(scalar_forms(value)))


@st.composite
def element_forms(draw: st.DrawFn, items: Sequence[Any]) -> tuple[bytes, list[bytes]]:
    """A constructor that all these elements can have, and their bytes after it."""
    if isinstance(items[0], Described):
        constructor, bodies = draw(element_forms([item.value for item in items]))
        return b"\x00" + draw(encodings(items[0].descriptor)) + constructor, bodies
    if isinstance(items[0], (list, dict, Map, Array)):
        # The form with wide sizes is one that each of them can have.
        widened = []
        for item in items:
            whole = draw(encodings(item))
            if whole == b"\x45":
                whole = b"\xd0\x00\x00\x00\x04\x00\x00\x00\x00"
            elif whole[0] & 0x10 == 0:
                whole = bytes((whole[0] | 0x10,)) + struct.pack(">II", whole[1] + 3, whole[2]) + whole[3:]
            widened.append(whole)
        return widened[0][:1], [whole[1:] for whole in widened]
    by_code = [{form[:1]: form[1:] for form in scalar_forms(item)} for item in items]
    common = sorted(set.intersection(*map(set, by_code)))
    code = draw(st.sampled_from(common))
    return code, [forms[code] for forms in by_code]


@given(values, st.data())
@settings(max_examples=examples(200), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_value_in_any_form_is_the_same_value(value: Any, data: st.DataObject) -> None:
    raw = data.draw(encodings(value))
    decoded, end = decode(raw)
    assert exact(decoded) == exact(value)
    assert end == len(raw)
    assert encode(decoded) == encode(value)


@given(values, st.data())
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_value_in_any_form_is_stepped_over_to_its_end(value: Any, data: st.DataObject) -> None:
    raw = data.draw(encodings(value))
    assert skip_value(b"\xff" + raw + b"\xff", 1) == len(raw) + 1
    for cut in {0, 1, len(raw) // 2, len(raw) - 1} - {len(raw)}:
        with pytest.raises((DecodeError, *DECODE_FAULTS)):
            skip_value(raw[:cut], 0)


@given(values, st.data())
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_value_in_any_form_that_is_cut_short_is_refused(value: Any, data: st.DataObject) -> None:
    raw = data.draw(encodings(value))
    cut = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(DecodeError):
        decode(raw[:cut])
    # Bytes that follow must not be taken for the missing ones of a compound value that says where it ends.
    if raw[0] >> 4 in (0xC, 0xE) and cut > 2:
        short = bytes((raw[0], cut - 2)) + raw[2:]
        with pytest.raises(DecodeError):
            decode(short)


@given(values)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_what_is_written_is_the_smallest_form_of_every_scalar(value: Any) -> None:
    if isinstance(value, (list, dict, Map, Described, Array)):
        return
    assert encode(value) == scalar_forms(value)[0]


@pytest.mark.parametrize(
    ("code", "most"),
    [
        *((code, MAX_ZERO_WIDTH) for code in ("40", "41", "42", "43", "44")),
        *((code, MAX_UNBACKED) for code in ("45", "00530140")),
        ("00530145", MAX_UNBACKED // 2),
        ("00530100530240", MAX_UNBACKED // 2),
    ],
)
def test_elements_without_octets_are_taken_up_to_the_limit(code: str, most: int) -> None:
    element = bytes.fromhex(code)
    for count in (1, 2, most - 1, most):
        raw = b"\xf0" + struct.pack(">II", 4 + len(element), count) + element
        decoded, end = decode(raw)
        assert end == len(raw)
        assert isinstance(decoded, Array)
        assert len(decoded) == count
        assert exact(decoded.items) == exact([decode(element)[0]] * count)
    with pytest.raises(DecodeError):
        decode(b"\xf0" + struct.pack(">II", 4 + len(element), most + 1) + element)


@pytest.mark.parametrize(
    ("element", "most"),
    [
        (None, MAX_ZERO_WIDTH),
        (Described(ULong(1), None), MAX_UNBACKED),
        (Described(ULong(1), Described(ULong(2), UInt(7))), None),
        (Described(ULong(1), UByte(7)), None),
    ],
)
def test_what_is_written_can_be_read_again_whatever_the_limits_on_elements(element: Any, most: int | None) -> None:
    for count in (1, 2, 300, MAX_UNBACKED, MAX_UNBACKED + 1, MAX_ZERO_WIDTH, MAX_ZERO_WIDTH + 1):
        value = Array([element] * count)
        if most is None or count <= most:
            assert exact(decode(encode(value))[0]) == exact(value)
        else:
            with pytest.raises(EncodeError, match=str(most)):
                encode(value)
    deep: Any = UByte(1)
    for number in range(100):
        deep = Described(ULong(number), deep)
    assert exact(decode(encode(Array([deep] * 2)))[0]) == exact(Array([deep] * 2))
    with pytest.raises(EncodeError, match="100 descriptors"):
        encode(Array([deep] * 300))


KEYS = [
    None,
    True,
    1,
    UInt(1),
    ULong(1),
    UByte(1),
    Int(1),
    1.0,
    Float(1.0),
    "1",
    Symbol("1"),
    b"1",
    Char("1"),
    [1],
    {1: 1},
]


@given(st.lists(st.sampled_from(KEYS), unique_by=encode, max_size=8), st.data())
def test_keys_of_all_types_stay_apart_in_any_form(keys: list[Any], data: st.DataObject) -> None:
    value = Map([(key, number) for number, key in enumerate(keys)])
    decoded, _ = decode(data.draw(encodings(value)))
    assert exact(decoded) == exact(value)
    assert len(decoded) == len(keys)
    if isinstance(decoded, Map):
        for number, key in enumerate(keys):
            assert decoded[key] == number


@given(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique_by=encode), st.data())
def test_a_key_that_stands_in_a_map_twice_is_refused_in_any_form(keys: list[Any], data: st.DataObject) -> None:
    keys.insert(data.draw(st.integers(0, len(keys))), data.draw(st.sampled_from(keys)))
    body = b"".join([data.draw(encodings(key)) + b"\x40" for key in keys])
    with pytest.raises(DecodeError):
        decode(data.draw(st.sampled_from(compound_forms(0xC1, 2 * len(keys), body))))

"""Malformed data: always a DecodeError, never anything else, never memory for what a count merely claims."""

from __future__ import annotations

import contextlib
import importlib
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amqp10.codec import MAX_DEPTH, DecodeError, Map, Symbol, decode, encode
from amqp10.errors import AMQPError
from tests.codec.test_roundtrip import ENCODINGS
from tests.strategies import values

# The package has a function of that name.
decoder = importlib.import_module("amqp10.codec.decode")

BAD: dict[str, str] = {
    "nothing at all": "",
    "unknown format code": "3f",
    "boolean byte 2": "5602",
    "string that is not UTF-8": "a101ff",
    "symbol that is not ASCII": "a301ff",
    "string that runs over": "a105616263",
    "string32 that claims 4 GiB": "b1ffffffff61",
    "binary32 that claims 4 GiB": "b0ffffffff61",
    "list8 without its count": "c000",
    "list8 that runs over": "c0050155",
    "list8 whose element runs over its end": "c00201" + "5501",
    "list8 that ends early": "c00401550140",
    "list32 with a count bomb": "d000000005ffffffff40",
    "list32 of size 3": "d00000000300000000",
    "map with an odd count": "c1020140",
    "map with an odd count of texts": "c10803" + "a1016b" + "41" + "a1016c",
    "map with more than its count": "c10902" + "a1016b" + "41" + "a1016c" + "42",
    "map with less than its count": "c10904" + "a1016b" + "a1036c6c6c",
    "map with a duplicate key": "c10904" + "a1016b" + "41" + "a1016b" + "42",
    "array with a count bomb": "f000000005ffffffff40",
    "array of 4097 nulls": "f0000000050000100140",
    "array of 4 billion empty lists": "f000000005ffffffff45",
    "array that runs over": "e0050270000000",
    "array that ends early": "e00701700000000100",
    "array of unknown type": "e002013f",
    "empty array of unknown type": "e002003f",
    "char beyond Unicode": "7300110000",
    "surrogate as a char": "730000d800",
    "described value without a value": "005301",
    "described value without a descriptor": "00",
    "truncated ulong": "80000000",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_malformed_data_are_refused_with_a_decode_error(data: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(bytes.fromhex(data))
    assert isinstance(caught.value, AMQPError)
    assert caught.value.message


@pytest.mark.parametrize("data", [data for data, _ in ENCODINGS])
def test_every_truncation_of_every_encoding_is_refused(data: str) -> None:
    raw = bytes.fromhex(data)
    for cut in range(len(raw)):
        with pytest.raises(DecodeError):
            decode(raw[:cut])


@given(values, st.data())
def test_a_truncated_value_is_refused(value: Any, data: st.DataObject) -> None:
    raw = encode(value)
    cut = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(DecodeError):
        decode(raw[:cut])


@given(st.binary(max_size=200))
@example(b"\x00" * 200)
@example(b"\xd0\x00\x00\x00\xff" * 40)
def test_random_bytes_give_a_value_or_a_decode_error(data: bytes) -> None:
    try:
        _, end = decode(data)
    except DecodeError:
        return
    assert 0 < end <= len(data)


@given(values, st.data())
def test_a_damaged_value_gives_a_value_or_a_decode_error(value: Any, data: st.DataObject) -> None:
    raw = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        _, end = decode(bytes(raw))
    except DecodeError:
        return
    assert end <= len(raw)


@pytest.mark.parametrize("opening", ["c0ff01", "d0000000ff00000001", "005301", "e0ff01", "00" * 3])
def test_a_depth_bomb_is_refused(opening: str) -> None:
    with pytest.raises(DecodeError):
        decode(bytes.fromhex(opening) * 5000 + b"\x40" * 300)


@pytest.mark.parametrize("other", [Symbol("k"), 1, "x" * 300], ids=["equal text", "number", "long text"])
def test_maps_that_nest_are_read_once_each_whatever_their_keys(other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    value: Any = "innermost"
    for _ in range(12):
        value = Map([("k", value), (other, None)])
    data = encode(value)
    calls = 0
    whole: Callable[..., list[Any]] = decoder.decode_elements

    def counted(*arguments: Any) -> list[Any]:
        nonlocal calls
        calls += 1
        return whole(*arguments)

    monkeypatch.setattr(decoder, "decode_elements", counted)
    assert encode(decode(data)[0]) == data
    assert calls == 12


def test_the_depth_limit_is_named() -> None:
    with pytest.raises(DecodeError, match=str(MAX_DEPTH)):
        decode(b"\x00\x53\x01" * (MAX_DEPTH + 1) + b"\x40")


@pytest.mark.parametrize(
    "data", [data for name, data in BAD.items() if "bomb" in name or "billion" in name or "4 GiB" in name]
)
def test_a_claimed_size_costs_no_memory(data: str) -> None:
    raw = bytes.fromhex(data)
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            decode(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 65536


def test_an_offset_outside_the_data_is_refused() -> None:
    for offset in (-1, 2, 3):
        with pytest.raises(DecodeError):
            decode(b"\x40", offset)


def _array32(count: int, body: bytes) -> bytes:
    return b"\xf0" + struct.pack(">II", 4 + len(body), count) + body


AMPLIFIERS: dict[str, bytes] = {
    **{
        f"arrays of {most} elements {code.hex()}": _array32(
            2000, b"\xe0" + (bytes((len(code) + 1, most)) + code) * 2000
        )
        for code in (b"\x40", b"\x45", b"\x00\x44\x40", b"\x00\x44" * 100 + b"\x40")
        for most in (8, 64, 255)
    },
    "bytes with 120 descriptors each": _array32(2000, b"\x00\x44" * 120 + b"\x50" + bytes(2000)),
    "empty lists": b"\xd0" + struct.pack(">II", 4 + 2000, 2000) + b"\x45" * 2000,
    "described nulls": b"\xd0" + struct.pack(">II", 4 + 6000, 2000) + b"\x00\x44\x40" * 2000,
    "empty arrays": _array32(2000, b"\xe0" + b"\x02\x00\x40" * 2000),
}


@pytest.mark.parametrize("data", AMPLIFIERS.values(), ids=AMPLIFIERS.keys())
def test_no_data_make_hundreds_of_times_their_size_in_objects(data: bytes) -> None:
    tracemalloc.start()
    try:
        with contextlib.suppress(DecodeError):
            decode(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 300 * len(data)

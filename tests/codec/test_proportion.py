"""Work and memory in proportion to what arrives, whatever that is: counted, never timed."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest

from amqp10.codec import (
    MAX_DEPTH,
    MAX_PREDICTABLE_KEYS,
    MAX_UNBACKED,
    MAX_ZERO_WIDTH,
    Array,
    DecodeError,
    Described,
    EncodeError,
    Float,
    Map,
    Timestamp,
    UInt,
    ULong,
    decode,
    encode,
)
from amqp10.codec.decode import skip_value
from amqp10.codec.shown import shown
from amqp10.wire.message import Message
from amqp10.wire.performatives import Open
from tests.steps import MEGABYTE, cost

MODULUS = 2**61 - 1
"""Numbers that differ by a multiple of it have the same hash."""


def array32(count: int, body: bytes) -> bytes:
    return b"\xf0" + struct.pack(">II", 4 + len(body), count) + body


def list32(count: int, body: bytes) -> bytes:
    return b"\xd0" + struct.pack(">II", 4 + len(body), count) + body


def map32(keys: Iterable[bytes]) -> bytes:
    pairs = [key + b"\x40" for key in keys]
    body = b"".join(pairs)
    return b"\xd1" + struct.pack(">II", 4 + len(body), 2 * len(pairs)) + body


def read(data: bytes, reader: Callable[[bytes], Any] = decode) -> tuple[Any, int, int]:
    """What reading gives, a DecodeError included, with the lines and the memory that it took."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(reader(data))
        except DecodeError as error:
            results.append(error)

    lines, memory = cost(run, 1000 * len(data))
    return results[0], lines, memory


def shared(size: int) -> bytes:
    """An array of bytes, each described by the same long descriptor."""
    return array32(size, b"\x00\xb3" + struct.pack(">I", size) + b"d" * size + b"\x50" + bytes(size))


SHARED = shared(50_000)
SHORT = shared(10_000)

AMPLIFIERS: dict[str, bytes] = {
    "120 KB of arrays of 64 nulls": array32(40_000, b"\xe0" + b"\x02\x40\x40" * 40_000),
    "120 KB of arrays of 64 uints 0": array32(40_000, b"\xe0" + b"\x02\x40\x43" * 40_000),
    "120 KB of arrays of 8 empty lists": array32(40_000, b"\xe0" + b"\x02\x08\x45" * 40_000),
    "60 KB of arrays of 64 nulls": array32(20_000, b"\xe0" + b"\x02\x40\x40" * 20_000),
    "60 KB of arrays of 1 null": array32(20_000, b"\xe0" + b"\x02\x01\x40" * 20_000),
    "60 KB of empty arrays": array32(20_000, b"\xe0" + b"\x02\x00\x40" * 20_000),
    "arrays of 255 nulls side by side in a list": list32(60_000, b"\xe0\x02\xff\x40" * 60_000),
    "bytes with 120 descriptors each": array32(100_000, b"\x00\x44" * 120 + b"\x50" + bytes(100_000)),
    "15 KB of arrays of 1 null": array32(5_000, b"\xe0" + b"\x02\x01\x40" * 5_000),
    "15 KB of empty arrays": array32(5_000, b"\xe0" + b"\x02\x00\x40" * 5_000),
    "bytes that share a descriptor": SHORT,
    "a key whose bytes share a descriptor": map32([SHORT]),
    "the same key twice, with bytes that share a descriptor": map32([SHORT, SHORT]),
    "a composite whose descriptor has a text": b"\x00" + SHORT + b"\x45",
    "bytes that share a long descriptor": SHARED,
    "a key whose bytes share a long descriptor": map32([SHARED]),
    "the same key twice, with bytes that share a long descriptor": map32([SHARED, SHARED]),
    "a composite whose descriptor has a long text": b"\x00" + SHARED + b"\x45",
}
LONG = {name for name in AMPLIFIERS if "long" in name or "60 KB" in name or "120 KB" in name}
"""Like another one, and larger: counting every line that runs takes long."""


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(data, id=name, marks=[pytest.mark.slow] if name in LONG else [])
        for name, data in AMPLIFIERS.items()
    ],
)
def test_no_data_take_more_than_150_times_their_size_or_1000_lines_for_each_byte(data: bytes) -> None:
    _, lines, memory = read(data)
    assert memory < 150 * len(data) + 65536
    assert lines < 1000 * len(data)


@pytest.mark.parametrize("code", ["40", "41", "42", "43", "44"])
def test_a_hundred_elements_without_bytes_in_one_array_are_read(code: str) -> None:
    data = b"\xe0\x02\x64" + bytes.fromhex(code)
    value, end = decode(data)
    assert len(value) == 100
    assert end == 4


def test_elements_without_bytes_are_bounded_for_the_whole_message_and_not_for_each_section() -> None:
    array = b"\xe0\x02\xfa\x40"
    fitting = MAX_ZERO_WIDTH // 250
    pairs = map32([b"\xa3\x02x" + bytes((65 + number,)) for number in range(fitting)])[:-1].replace(b"\x40", array)
    body = len(pairs) - 5 + 1
    pairs = b"\xd1" + struct.pack(">II", body + len(array) - 1, 2 * fitting) + pairs[9:] + array
    good = Message.decode(b"\x00\x53\x72" + pairs + b"\x00\x53\x77\x40")
    good.validate()
    for _ in range(3):
        assert Message.decode(bytes(bytearray(good.encode()))).message_annotations is not None
    again = good.encode()
    for _ in range(3):
        message = Message.decode(again)
        message.validate()  # what is read twice is counted once
    bad = Message.decode(b"\x00\x53\x72" + pairs + b"\x00\x53\x77" + array)
    with pytest.raises(DecodeError, match=str(MAX_ZERO_WIDTH)):
        bad.validate()


def test_objects_without_bytes_count_more_than_elements_without_bytes() -> None:
    arrays = b"\xe0\x02\xff\x45"
    with pytest.raises(DecodeError):
        decode(list32(3, arrays * 3))
    assert len(decode(list32(2, arrays * 2))[0]) == 2
    assert MAX_UNBACKED == 512


COLLIDING: dict[str, tuple[bytes, ...]] = {
    "UUIDs": tuple(encode(UUID(int=7 + number * MODULUS)) for number in range(16_000)),
    "described ulongs": tuple(
        b"\x00\x53" + bytes((number >> 3,)) + b"\x80" + struct.pack(">Q", 7 + (number & 7) * MODULUS)
        for number in range(2048)
    ),
    "described UUIDs": tuple(encode(Described(ULong(1), UUID(int=7 + number * MODULUS))) for number in range(16_000)),
    "longs": tuple(encode(7 + (number << 47)) for number in range(16_000)),
    "ulongs": tuple(encode(ULong(7 + (number << 47))) for number in range(16_000)),
    "timestamps": tuple(encode(Timestamp(7 + (number << 47))) for number in range(16_000)),
    "doubles": tuple(encode(float(number << 61)) for number in range(16_000)),
    "floats": tuple(encode(Float(number << 61)) for number in range(16_000)),
}


@pytest.mark.parametrize("count", [3_000, pytest.param(16_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("keys", COLLIDING.values(), ids=COLLIDING.keys())
def test_keys_that_collide_by_construction_cost_no_more_than_others(keys: tuple[bytes, ...], count: int) -> None:
    keys = keys[:count]
    data = map32(keys)
    (value, _), lines, memory = read(data)
    assert isinstance(value, Map)
    assert len(value) == len(keys)
    assert lines < 10 * len(data)
    assert memory < 50 * MEGABYTE


def test_uuid_keys_that_collide_are_compared_a_bounded_number_of_times_below_the_limit() -> None:
    most = MAX_PREDICTABLE_KEYS // 8
    data = map32(COLLIDING["UUIDs"][:most])
    value, lines, _ = read(data)
    assert type(value[0]) is dict
    assert lines < 40 * len(data)
    assert type(decode(map32(COLLIDING["UUIDs"][: most + 1]))[0]) is Map


def test_only_keys_with_predictable_hashes_make_a_large_map_anything_but_a_dict() -> None:
    names = [encode(f"key {number}") for number in range(5000)]
    numbers = [encode(UInt(number)) for number in range(MAX_PREDICTABLE_KEYS)]
    assert type(decode(map32(names))[0]) is dict
    assert type(decode(map32(numbers))[0]) is dict
    assert type(decode(map32(names + numbers))[0]) is dict
    value = decode(map32([*names, *numbers, encode(UInt(5000))]))[0]
    assert isinstance(value, Map)
    assert len(value) == 6025
    assert value["key 7"] is None
    assert encode(value) == map32([*names, *numbers, encode(UInt(5000))])


@pytest.mark.parametrize("count", [3_000, pytest.param(16_000, marks=pytest.mark.slow)])
def test_an_open_with_colliding_keys_in_its_properties_costs_no_more_than_others(count: int) -> None:
    fields = b"\xa1\x01c" + b"\x40" * 8 + map32(COLLIDING["UUIDs"][:count])
    data = b"\x00\x53\x10\xd0" + struct.pack(">II", len(fields) + 4, 10) + fields
    from amqp10.codec.composite import decode_composite

    (opened, _), lines, memory = read(data, lambda octets: decode_composite(octets, 0))
    assert isinstance(opened, Open)
    assert len(opened.properties or ()) == count
    assert lines < 10 * len(data)
    assert memory < 50 * MEGABYTE
    shown_lines, shown_memory = cost(lambda: repr(opened), 100_000)
    assert shown_lines < 100_000
    assert shown_memory < MEGABYTE


@pytest.mark.parametrize("depth", [1, MAX_DEPTH - 1, MAX_DEPTH])
def test_what_can_be_read_can_be_passed_over(depth: int) -> None:
    for data in (b"\x00\x44" * depth + b"\x40", b"\x00" * depth + b"\x44" + b"\x40" * depth):
        assert decode(data)[1] == skip_value(data, 0) == len(data)


@pytest.mark.parametrize(
    "data", [b"\x00\x44" * 129 + b"\x40", b"\x00" * 129 + b"\x44" + b"\x40" * 129, b"\x00" * 10_000]
)
def test_passing_over_a_value_ends_at_the_limit_of_depth_and_not_at_that_of_the_stack(data: bytes) -> None:
    with pytest.raises(DecodeError, match=str(MAX_DEPTH)):
        skip_value(data, 0)
    with pytest.raises(DecodeError, match=str(MAX_DEPTH)):
        decode(data)


def test_a_mapping_that_holds_itself_is_refused_by_its_depth() -> None:
    inside: dict[str, Any] = {}
    endless = MappingProxyType(inside)
    inside["x"] = endless
    with pytest.raises(EncodeError, match=str(MAX_DEPTH)):
        encode(endless)


def test_the_text_of_a_value_in_an_error_is_cut_before_it_is_made() -> None:
    value = decode(SHARED)[0]
    assert isinstance(value, Array)
    lines, memory = cost(lambda: shown(value, 60), 1000)
    assert lines < 1000
    assert memory < 100_000
    assert len(shown(value, 60)) < 70
    for small in (1, "a", [1, "b"], {"k": b"v"}, Described("d", [None]), Array([1, 2])):
        assert shown(small, 200) == repr(small)
    assert shown([[[[1, 2]]]] * 100, 20) == "[[[[1, 2]]], [[[1..."

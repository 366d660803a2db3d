"""Decoding costs work and memory in proportion to the data, whatever the data are."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from uuid import UUID

import pytest

from amqp10.codec import Array, DecodeError, Described, Map, UInt, ULong, decode, encode
from amqp10.codec.decode import skip_value
from tests.steps import MEGABYTE, cost


def array32(constructor: bytes, count: int, body: bytes) -> bytes:
    return b"\xf0" + struct.pack(">II", 4 + len(constructor) + len(body), count) + constructor + body


def list32(*items: bytes) -> bytes:
    body = b"".join(items)
    return b"\xd0" + struct.pack(">II", 4 + len(body), len(items)) + body


def map32(*items: bytes) -> bytes:
    return b"\xd1" + list32(*items)[1:]


def colliding(number: int) -> UUID:
    """UUIDs with one and the same hash."""
    return UUID(bytes=(7 + number * (2**61 - 1)).to_bytes(16, "big"))


def colliding_described(number: int) -> bytes:
    """Described values whose keys collide, described the same."""
    return b"\x00\x53\x01\x98" + colliding(number).bytes


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "arrays of 255 nulls": lambda n: array32(b"\xe0", n, b"\x02\xff\x40" * n),
    "arrays of 255 uint0": lambda n: list32(*[b"\xe0\x02\xff\x43"] * n),
    "empty arrays": lambda n: array32(b"\xe0", n, b"\x02\x00\x40" * n),
    "arrays of one ubyte": lambda n: array32(b"\xe0", n, b"\x03\x01\x50\x07" * n),
    "arrays of arrays of 255 nulls": lambda n: array32(b"\xe0", n, b"\x05\x01\xe0\x02\xff\x40" * n),
    "a map of UUIDs with one hash": lambda n: map32(
        *[part for i in range(n) for part in (b"\x98" + colliding(i).bytes, b"\x40")]
    ),
    "an array with a long descriptor": lambda n: array32(
        b"\x00\xb0" + struct.pack(">I", 2 * n) + b"d" * 2 * n + b"\x50", 2 * n, b"x" * 2 * n
    ),
    "descriptors that are described": lambda n: b"\x00" * 5 * n,
    "lists in lists": lambda n: b"\xc0\xff\x01" * 5 * n,
}


@pytest.mark.parametrize("count", [4_000, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_data_end_within_bounds_as_a_value_or_an_error(name: str, count: int) -> None:
    data = HOSTILE[name](count)

    def read() -> None:
        with contextlib.suppress(DecodeError):
            decode(data)

    _, memory = cost(read, 1000 * len(data))
    # A megabyte of the like stays within 50.
    assert memory < 50 * len(data) + MEGABYTE


@pytest.mark.parametrize("kind", ["uuid", "described"])
def test_keys_with_equal_hashes_are_compared_no_more_often_than_others(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = 0

    def same(self: object, other: object) -> bool:
        nonlocal compared
        compared += 1
        return False

    monkeypatch.setattr(UUID, "__eq__", same)
    keys = [b"\x98" + colliding(i).bytes if kind == "uuid" else colliding_described(i) for i in range(4000)]
    value, _ = decode(map32(*[part for key in keys for part in (key, b"\x40")]))
    assert isinstance(value, Map)
    assert len(value) == 4000
    assert compared < 100 * 4000


def test_a_small_map_of_uuids_stays_a_dict() -> None:
    keys = [UUID(int=i) for i in range(100)]
    value, _ = decode(encode(dict.fromkeys(keys, 1)))
    assert type(value) is dict
    assert list(value) == keys


@pytest.mark.parametrize(
    ("code", "element"), [(0x40, None), (0x41, True), (0x42, False), (0x43, UInt(0)), (0x44, ULong(0))]
)
@pytest.mark.parametrize("count", [1, 100, 200, 255])
def test_arrays_of_elements_without_octets_are_read(code: int, element: object, count: int) -> None:
    value, _ = decode(array32(bytes((code,)), count, b""))
    assert isinstance(value, Array)
    assert list(value) == [element] * count
    assert value == Array([element] * count)
    assert value[0:2] == [element] * min(2, count)


def test_an_array_that_was_read_is_no_ones_but_its_own() -> None:
    data = array32(b"\x41", 3, b"")
    one, _ = decode(data)
    two, _ = decode(data)
    assert one == two
    assert list(one) == [True, True, True]
    assert encode(one) == encode(two)
    assert repr(one) == "Array([True, True, True])"


def test_skipping_nests_no_deeper_than_decoding() -> None:
    deep = b"\x00" * 500 + b"\x40" * 501
    with pytest.raises(DecodeError, match="nest more than 128 levels"):
        skip_value(deep, 0)
    value = Described(Described(1, 2), 3)
    data = encode(value)
    assert skip_value(data, 0) == len(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xc0\x00\x00", "the list at offset 0 has the size 0, but its count alone takes 1 byte"),
        (
            b"\xd1\x00\x00\x00\x03\x00\x00\x00\x00",
            "the map at offset 0 has the size 3, but its count alone takes 4 bytes",
        ),
        (b"\xc0\x05\x01\x40", "the value at offset 2 needs 5 bytes, but only 2 bytes are left"),
        (b"\xa1\x02a", "the value at offset 2 needs 2 bytes, but only 1 byte is left"),
        (b"\xc1\x02\x01\x41", "a map has an odd number of elements, at offset 3"),
    ],
)
def test_what_is_said_of_sizes_is_true(data: bytes, words: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(data)
    assert caught.value.message == words

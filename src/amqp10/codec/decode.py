"""AMQP bytes to Python values (types, "type encodings").

One cursor, one table of 256 functions, and the most common encodings inline in the loop over list and map elements.

Bounds are checked without a check for each value: a list or map checks its size and count against the buffer first, and
at its end that it is where its size says, so an element that is too long is noticed there at the latest. Reads past the
end of the buffer raise IndexError or struct.error; variable-width values check their own end, because slices do not.
Only the public functions turn these exceptions into :class:`DecodeError`.
"""

from __future__ import annotations

from struct import Struct
from struct import error as struct_error
from typing import Any, Final

from amqp10.codec.maps import Map
from amqp10.codec.primitives import PRIMITIVES, SYMBOLS, Decoder, byte_count, decode_symbol, truncated
from amqp10.codec.types import (
    MAX_DEPTH,
    MAX_PREDICTABLE_KEYS,
    MAX_UNBACKED,
    MAX_ZERO_WIDTH,
    Array,
    Char,
    Decimal32,
    Decimal64,
    Decimal128,
    Described,
    Symbol,
    UInt,
)
from amqp10.errors import DecodeError, EncodeError

__all__ = [
    "SYMBOLS",
    "TABLE",
    "decode",
    "decode_elements",
    "decode_map",
    "decode_symbol",
    "decode_value",
    "skip_value",
    "translate",
]

_U32 = Struct(">I").unpack_from
_new = int.__new__
_UINT0: Final = UInt(0)
_TWO_U32 = Struct(">II").unpack_from

# -- compounds -------------------------------------------------------------------------------------------------------


def _head8(buf: bytes, pos: int, what: str) -> tuple[int, int, int]:
    """Position of the first element, count, and end of a compound with one-byte size and count."""
    size = buf[pos]
    count = buf[pos + 1]
    end = pos + 1 + size
    if size < 1 or end > len(buf):
        raise _bad_size(what, pos, pos + 1, size, 1, len(buf))
    return pos + 2, count, end


def _head32(buf: bytes, pos: int, what: str) -> tuple[int, int, int]:
    size, count = _TWO_U32(buf, pos)
    end = pos + 4 + size
    if size < 4 or end > len(buf):
        raise _bad_size(what, pos, pos + 4, size, 4, len(buf))
    return pos + 8, count, end


def _bad_size(what: str, at: int, start: int, size: int, least: int, have: int) -> DecodeError:
    if size < least:
        return DecodeError(
            f"the {what} at offset {at - 1} has the size {size}, but its count alone takes {byte_count(least)}"
        )
    return truncated(start, size, have)


def decode_elements(buf: bytes, pos: int, count: int, end: int, depth: int) -> list[Any]:
    """The elements of a list or map: ``count`` values that reach from ``pos`` to exactly ``end``."""
    if count > end - pos:
        # Every element takes one byte at least.
        raise DecodeError(f"{count} elements do not fit in {end - pos} bytes, at offset {pos}")
    if depth > MAX_DEPTH:
        raise DecodeError(f"values nest more than {MAX_DEPTH} levels deep, at offset {pos}")
    start = pos
    items: list[Any] = []
    append = items.append
    table = TABLE
    # An element that reaches past the end is noticed below, because positions only grow.
    for _ in range(count):
        code = buf[pos]
        if code == 0xA1:
            stop = pos + 2 + buf[pos + 1]
            append(buf[pos + 2 : stop].decode())
            pos = stop
        elif code == 0x40:
            append(None)
            pos += 1
        elif code < 0x53:
            if code == 0x52:
                append(_new(UInt, buf[pos + 1]))
                pos += 2
            elif code == 0x43:
                append(_UINT0)
                pos += 1
            elif code == 0x41:
                append(True)
                pos += 1
            elif code == 0x42:
                append(False)
                pos += 1
            else:
                value, pos = table[code](buf, pos + 1, depth)
                append(value)
        elif code == 0xA3:
            stop = pos + 2 + buf[pos + 1]
            append(decode_symbol(buf[pos + 2 : stop]))
            pos = stop
        elif code == 0x55:
            byte = buf[pos + 1]
            append(byte - 256 if byte > 127 else byte)
            pos += 2
        elif code == 0x70:
            append(_new(UInt, _U32(buf, pos + 1)[0]))
            pos += 5
        else:
            value, pos = table[code](buf, pos + 1, depth)
            append(value)
    if pos != end:
        raise DecodeError(f"a compound value at offset {start} does not end where its size says")
    return items


def _list0(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return [], pos


def _list8(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    start, count, end = _head8(buf, pos, "list")
    return decode_elements(buf, start, count, end, depth + 1), end


def _list32(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    start, count, end = _head32(buf, pos, "list")
    return decode_elements(buf, start, count, end, depth + 1), end


def _map8(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    start, count, end = _head8(buf, pos, "map")
    return decode_map(buf, start, count, end, depth + 1), end


def _map32(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    start, count, end = _head32(buf, pos, "map")
    return decode_map(buf, start, count, end, depth + 1), end


def decode_map(buf: bytes, start: int, count: int, end: int, depth: int) -> dict[Any, Any] | Map:
    """The map of ``count`` keys and values that reach from ``start`` to exactly ``end``.

    As long as the keys are short strings or symbols, and all different, the map is built while it is read; the rest
    goes through a list of its elements. Nothing is read twice, because that would multiply with the nesting.
    """
    if count & 1:
        raise DecodeError(f"a map has an odd number of elements, at offset {start}")
    result: dict[Any, Any] = {}
    table = TABLE
    pos = start
    if depth <= MAX_DEPTH:
        while pos < end:
            code = buf[pos]
            stop = pos + 2 + buf[pos + 1]
            if code == 0xA1:
                key: str = buf[pos + 2 : stop].decode()
            elif code == 0xA3:
                key = decode_symbol(buf[pos + 2 : stop])
            else:
                break
            if key in result:
                break
            code = buf[stop]
            if code == 0xA1:
                pos = stop + 2 + buf[stop + 1]
                result[key] = buf[stop + 2 : pos].decode()
            elif code == 0x55:
                byte = buf[stop + 1]
                result[key] = byte - 256 if byte > 127 else byte
                pos = stop + 2
            else:
                result[key], pos = table[code](buf, stop + 1, depth)
        else:
            if pos != end or 2 * len(result) != count:
                raise DecodeError(f"a compound value at offset {start} does not end where its size says")
            return result
    items = [item for pair in result.items() for item in pair]
    return _build_map(items + decode_elements(buf, pos, count - len(items), end, depth), start)


def _build_map(items: list[Any], pos: int) -> dict[Any, Any] | Map:
    """A dict if it can hold the map without loss, otherwise a Map."""
    keys = items[::2]
    try:
        result = {} if _are_predictable(keys) else dict(zip(keys, items[1::2], strict=True))
    except TypeError:
        pass  # a key that cannot be hashed
    else:
        if len(result) == len(keys):
            return result
    try:
        return Map(zip(keys, items[1::2], strict=True))
    except EncodeError as error:
        raise DecodeError(f"{error.message}, at offset {pos}") from None


_OBJECT: Final = MAX_ZERO_WIDTH // MAX_UNBACKED
"""How many elements without bytes an object counts as."""
_SALTED: Final = frozenset((str, Symbol, Char, bytes, Decimal32, Decimal64, Decimal128))
"""The types whose hashes differ from one process to the next."""


def _are_predictable(keys: list[Any]) -> bool:
    """Whether a sender who knows the hashes of these keys could make a ``dict`` of them take quadratic time."""
    if len(keys) * _OBJECT <= MAX_PREDICTABLE_KEYS:
        return False
    left = MAX_PREDICTABLE_KEYS
    for key in keys:
        if type(key) not in _SALTED:
            left -= 1 if isinstance(key, (int, float)) else _OBJECT
    return left < 0


def _described(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    depth += 1
    if depth > MAX_DEPTH:
        raise DecodeError(f"values nest more than {MAX_DEPTH} levels deep, at offset {pos}")
    descriptor, pos = TABLE[buf[pos]](buf, pos + 1, depth)
    value, pos = TABLE[buf[pos]](buf, pos + 1, depth)
    return Described(descriptor, value), pos


def _array8(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    start, count, end = _head8(buf, pos, "array")
    return _array_elements(buf, start, count, end, depth + 1), end


def _array32(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    start, count, end = _head32(buf, pos, "array")
    return _array_elements(buf, start, count, end, depth + 1), end


def _array_elements(buf: bytes, pos: int, count: int, end: int, depth: int) -> Array:
    if depth > MAX_DEPTH:
        raise DecodeError(f"values nest more than {MAX_DEPTH} levels deep, at offset {pos}")
    start = pos
    descriptors = []
    while buf[pos] == 0x00:
        descriptor, pos = TABLE[buf[pos + 1]](buf, pos + 2, depth)
        descriptors.append(descriptor)
        depth += 1
        if depth > MAX_DEPTH:
            raise DecodeError(f"values nest more than {MAX_DEPTH} levels deep, at offset {pos}")
    code = buf[pos]
    decoder = TABLE[code]
    pos += 1
    if pos > end:
        raise DecodeError(f"an array at offset {start} does not end where its size says")
    if count == 0:
        if decoder is _unknown:
            _unknown(buf, pos, depth)
        if pos != end:
            raise DecodeError(f"an array at offset {start} does not end where its size says")
        return Array((), buf[start:pos])
    if code & 0xF0 == 0x40:
        if pos != end:
            raise DecodeError(f"an array at offset {start} does not end where its size says")
        objects = len(descriptors) + (code == 0x45)
        if count > end - start or count * objects > end - start:
            _charge(buf, start, count * (objects * _OBJECT or 1))
        if not objects:
            return Array(decoder(buf, pos, depth)[:1] * count)
    elif count > end - pos:
        raise DecodeError(f"{count} elements do not fit in {end - pos} bytes, at offset {pos}")
    elif descriptors and count * len(descriptors) > end - start:
        _charge(buf, start, count * len(descriptors) * _OBJECT)
    items = []
    for _ in range(count):
        value, pos = decoder(buf, pos, depth)
        if pos > end:
            break
        for descriptor in reversed(descriptors):
            value = Described(descriptor, value)
        items.append(value)
    if pos != end:
        raise DecodeError(f"an array at offset {start} does not end where its size says")
    return Array(items)


class _Account:
    """Counts the array elements in a buffer that take no bytes; each array, by its position, once."""

    __slots__ = ("arrays", "buf", "left")

    def __init__(self, buf: bytes) -> None:
        self.buf = buf
        self.arrays: set[int] = set()
        self.left = MAX_ZERO_WIDTH


_latest: Final = [_Account(b"")]
"""The account of the last message that had such an array. It cannot belong to one call, because a message may be read
section by section and more than once. With several threads, at worst the count starts again."""


def _charge(buf: bytes, pos: int, elements: int) -> None:
    """Count elements that take no bytes. A message may have only few of them, because they cost nothing to send."""
    (account,) = _latest
    if account.buf is not buf:
        account = _latest[0] = _Account(buf)
    if pos not in account.arrays:
        if elements > account.left:
            raise DecodeError(f"more than {MAX_ZERO_WIDTH} elements of arrays that take no bytes, at offset {pos}")
        account.left -= elements
        account.arrays.add(pos)


def _unknown(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    raise DecodeError(f"unknown format code 0x{buf[pos - 1]:02X}, at offset {pos - 1}")


TABLE: Final[list[Decoder]] = [_unknown] * 256
"""The decoder of each format code."""
for _code, _decoder in {
    **PRIMITIVES,
    0x00: _described,
    0x45: _list0,
    0xC0: _list8,
    0xC1: _map8,
    0xD0: _list32,
    0xD1: _map32,
    0xE0: _array8,
    0xF0: _array32,
}.items():
    TABLE[_code] = _decoder


def decode_value(buf: bytes, pos: int, depth: int = 0) -> tuple[Any, int]:
    """Decode the value at ``pos``. Reads past the buffer raise IndexError or struct.error; see :func:`translate`."""
    return TABLE[buf[pos]](buf, pos + 1, depth)


def skip_value(buf: bytes, pos: int, depth: int = 0) -> int:
    """The position after the value at ``pos``, found from its format code and size alone; nothing is built.

    Descriptors may nest as deep as in :func:`decode_value`. Raises DecodeError if the value reaches past the buffer;
    IndexError or struct.error as :func:`decode_value`.
    """
    while buf[pos] == 0x00:
        depth += 1
        if depth > MAX_DEPTH:
            raise DecodeError(f"values nest more than {MAX_DEPTH} levels deep, at offset {pos}")
        pos = skip_value(buf, pos + 1, depth)
    code = buf[pos]
    if TABLE[code] is _unknown:
        _unknown(buf, pos + 1, 0)
    category = code >> 4
    if category in (0xA, 0xC, 0xE):
        end = pos + 2 + buf[pos + 1]
    elif category in (0xB, 0xD, 0xF):
        end = pos + 5 + _U32(buf, pos + 1)[0]
    else:
        end = pos + 1 + _WIDTHS[category]
    if end > len(buf):
        raise truncated(pos, end - pos, len(buf))
    return end


_WIDTHS: Final = {4: 0, 5: 1, 6: 2, 7: 4, 8: 8, 9: 16}


def translate(error: Exception) -> DecodeError:
    """The DecodeError for an exception below a public function."""
    if isinstance(error, DecodeError):
        return error
    if isinstance(error, UnicodeDecodeError):
        what = "a symbol that is not ASCII" if error.encoding == "ascii" else "a string that is not UTF-8"
        return DecodeError(f"{what}: {error.reason}")
    if isinstance(error, RecursionError):
        return DecodeError("values nest too deep")
    return DecodeError("the data end in the middle of a value")


DECODE_FAULTS: Final = (IndexError, struct_error, UnicodeDecodeError, RecursionError)
"""The exceptions for bad data, besides DecodeError, below the public functions."""


def decode(data: bytes | bytearray | memoryview, offset: int = 0) -> tuple[Any, int]:
    """Decode one value.

    Args:
        data: encoded AMQP data.
        offset: where the value's constructor is.

    Returns:
        The value, and the offset just after it.

    Raises:
        DecodeError: the data are malformed, truncated, or nest deeper than ``MAX_DEPTH``.
    """
    buf = data if isinstance(data, bytes) else bytes(data)
    if not 0 <= offset <= len(buf):
        raise DecodeError(f"offset {offset} is outside the {len(buf)} bytes")
    try:
        value, pos = decode_value(buf, offset)
    except DECODE_FAULTS as error:
        raise translate(error) from None
    if pos > len(buf):
        raise DecodeError("the data end in the middle of a value")
    return value, pos

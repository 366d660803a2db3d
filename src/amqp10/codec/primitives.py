"""The decoders of AMQP's primitive types, by format code (types, "type encodings").

``decode.py`` has the compound types, and says how bounds are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from amqp10.codec.types import (
    NAME_KEPT,
    NAMES_KEPT,
    Byte,
    Char,
    Decimal32,
    Decimal64,
    Decimal128,
    Float,
    Int,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
)
from amqp10.errors import DecodeError

__all__ = ["PRIMITIVES", "SYMBOLS", "Decoder", "byte_count", "decode_symbol", "truncated"]

_U16 = Struct(">H").unpack_from
_U32 = Struct(">I").unpack_from
_U64 = Struct(">Q").unpack_from
_I8 = Struct(">b").unpack_from
_I16 = Struct(">h").unpack_from
_I32 = Struct(">i").unpack_from
_I64 = Struct(">q").unpack_from
_F32 = Struct(">f").unpack_from
_F64 = Struct(">d").unpack_from

# The numbers come from fixed-width fields, so the range checks of the constructors are not needed.
_new = int.__new__

Decoder = Callable[[bytes, int, int], tuple[Any, int]]
"""(buffer, position after the format code, depth) -> (value, position after the value)"""


def _null(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return None, pos


def _true(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return True, pos


def _false(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return False, pos


def _boolean(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    byte = buf[pos]
    if byte > 1:
        raise DecodeError(f"a boolean byte is 0 or 1, not {byte}, at offset {pos}")
    return byte == 1, pos + 1


def _ubyte(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return _new(UByte, buf[pos]), pos + 1


def _ushort(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return _new(UShort, _U16(buf, pos)[0]), pos + 2


def _uint(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return _new(UInt, _U32(buf, pos)[0]), pos + 4


def _smalluint(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return _new(UInt, buf[pos]), pos + 1


def _uint0(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return _UINT0, pos


def _ulong(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return _new(ULong, _U64(buf, pos)[0]), pos + 8


def _smallulong(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return _new(ULong, buf[pos]), pos + 1


def _ulong0(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return _ULONG0, pos


def _byte(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return _new(Byte, _I8(buf, pos)[0]), pos + 1


def _short(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return _new(Short, _I16(buf, pos)[0]), pos + 2


def _int(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return _new(Int, _I32(buf, pos)[0]), pos + 4


def _smallint(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return _new(Int, _I8(buf, pos)[0]), pos + 1


def _long(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return _I64(buf, pos)[0], pos + 8


def _smalllong(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return _I8(buf, pos)[0], pos + 1


def _float(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return float.__new__(Float, _F32(buf, pos)[0]), pos + 4


def _double(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return _F64(buf, pos)[0], pos + 8


def _decimal32(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return Decimal32(_octets(buf, pos, 4)), pos + 4


def _decimal64(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return Decimal64(_octets(buf, pos, 8)), pos + 8


def _decimal128(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return Decimal128(_octets(buf, pos, 16)), pos + 16


def _char(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    (point,) = _U32(buf, pos)
    if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
        raise DecodeError(f"0x{point:X} is not a Unicode character, at offset {pos}")
    return str.__new__(Char, chr(point)), pos + 4


def _timestamp(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    return _new(Timestamp, _I64(buf, pos)[0]), pos + 8


def _uuid(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    from uuid import UUID  # takes longer to import than this package

    return UUID(bytes=_octets(buf, pos, 16)), pos + 16


def _octets(buf: bytes, pos: int, size: int) -> bytes:
    end = pos + size
    if end > len(buf):
        raise truncated(pos, size, len(buf))
    return buf[pos:end]


def truncated(pos: int, size: int, have: int) -> DecodeError:
    left = max(0, have - pos)
    verb = "is" if left == 1 else "are"
    return DecodeError(f"the value at offset {pos} needs {byte_count(size)}, but only {byte_count(left)} {verb} left")


def byte_count(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"


def _vbin8(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    size = buf[pos]
    return _octets(buf, pos + 1, size), pos + 1 + size


def _vbin32(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    (size,) = _U32(buf, pos)
    return _octets(buf, pos + 4, size), pos + 4 + size


def _str8(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    size = buf[pos]
    return _octets(buf, pos + 1, size).decode(), pos + 1 + size


def _str32(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    (size,) = _U32(buf, pos)
    return _octets(buf, pos + 4, size).decode(), pos + 4 + size


SYMBOLS: Final[dict[bytes, Symbol]] = {}
"""Some symbols, because they are few and repeated: each is made and checked only once."""


def decode_symbol(data: bytes) -> Symbol:
    """The symbol of these bytes."""
    symbol = SYMBOLS.get(data)
    if symbol is None:
        symbol = str.__new__(Symbol, data.decode("ascii"))
        if len(SYMBOLS) < NAMES_KEPT and len(data) <= NAME_KEPT:
            SYMBOLS[data] = symbol
    return symbol


def _sym8(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    size = buf[pos]
    return decode_symbol(_octets(buf, pos + 1, size)), pos + 1 + size


def _sym32(buf: bytes, pos: int, depth: int) -> tuple[Any, int]:
    (size,) = _U32(buf, pos)
    return decode_symbol(_octets(buf, pos + 4, size)), pos + 4 + size


_UINT0: Final = UInt(0)
_ULONG0: Final = ULong(0)

PRIMITIVES: Final[dict[int, Decoder]] = {
    0x40: _null,
    0x41: _true,
    0x42: _false,
    0x43: _uint0,
    0x44: _ulong0,
    0x50: _ubyte,
    0x51: _byte,
    0x52: _smalluint,
    0x53: _smallulong,
    0x54: _smallint,
    0x55: _smalllong,
    0x56: _boolean,
    0x60: _ushort,
    0x61: _short,
    0x70: _uint,
    0x71: _int,
    0x72: _float,
    0x73: _char,
    0x74: _decimal32,
    0x80: _ulong,
    0x81: _long,
    0x82: _double,
    0x83: _timestamp,
    0x84: _decimal64,
    0x94: _decimal128,
    0x98: _uuid,
    0xA0: _vbin8,
    0xA1: _str8,
    0xA3: _sym8,
    0xB0: _vbin32,
    0xB1: _str32,
    0xB3: _sym32,
}

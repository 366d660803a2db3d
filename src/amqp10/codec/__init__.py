"""The AMQP type system: bytes to Python values and back (part 1 of the specification, "types").

``decode(data, offset)`` returns a value and the offset after it, ``encode(value)`` returns bytes. Malformed data raise
:class:`DecodeError`, values without an encoding :class:`EncodeError`; both are subclasses of ``AMQPError``.
"""

from amqp10.codec.decode import decode
from amqp10.codec.encode import encode
from amqp10.codec.maps import Map
from amqp10.codec.types import (
    MAX_DEPTH,
    MAX_PREDICTABLE_KEYS,
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
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
)
from amqp10.errors import DecodeError, EncodeError

__all__ = [
    "MAX_DEPTH",
    "MAX_PREDICTABLE_KEYS",
    "MAX_UNBACKED",
    "MAX_ZERO_WIDTH",
    "Array",
    "Byte",
    "Char",
    "Decimal32",
    "Decimal64",
    "Decimal128",
    "DecodeError",
    "Described",
    "EncodeError",
    "Float",
    "Int",
    "Map",
    "Short",
    "Symbol",
    "Timestamp",
    "UByte",
    "UInt",
    "ULong",
    "UShort",
    "decode",
    "encode",
]

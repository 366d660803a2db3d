"""AMQP values to composite JSON; :mod:`amqp10.component.composite_json` says what that is, and reads it.

The text of a value can be thousands of times as long as its encoding, because the elements of an array share their
constructor. So its length is counted while it is written, and writing ends where the limit is passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from json.encoder import encode_basestring
from typing import Any, Final
from uuid import UUID

from amqp10.codec import MAX_DEPTH
from amqp10.codec.maps import Map
from amqp10.codec.types import (
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
from amqp10.component.scalars import format_double, format_float, format_hex
from amqp10.errors import AMQPError

__all__ = ["LONG_MAX", "LONG_MIN", "NOT_FINITE", "check", "dumps", "too_long", "type_name"]

LONG_MIN: Final = -(2**63)
LONG_MAX: Final = 2**63 - 1
NOT_FINITE: Final = ("NaN", "Infinity", "-Infinity")
"""The floating-point values that JSON lacks, as they are written."""
_NO_LIMIT: Final = 1 << 62
_DESCRIBED_DESCRIPTOR: Final = "a descriptor that is itself described has no place in the schema"


class _UnwritableError(Exception):
    """The value has no place in the schema."""


class _TooLongError(Exception):
    """The text is longer than it may be."""


def dumps(value: Any, simplified: bool = True, most: int = 0) -> str:
    """The JSON document that describes an AMQP value.

    Args:
        value: any value that the codec can encode.
        simplified: whether to use the abbreviated syntax where the schema allows it.
        most: how long the text may be, in characters; 0 for no limit.

    Raises:
        AMQPError: 604; the value has no AMQP type, nests too deep, has a described descriptor, or its text is too long.
    """
    writer = _Writer(simplified, most or _NO_LIMIT)
    try:
        writer.write("", value, 0)
    except _UnwritableError as fault:
        raise AMQPError(604, f"the value cannot be written as composite JSON: $: {fault}") from None
    except _TooLongError:
        raise too_long(most) from None
    except RecursionError:
        # The program's own calls leave too little of the stack for 128 levels.
        raise AMQPError(604, "the value nests too deep for what is left of the call stack") from None
    return "".join(writer.parts)


def check(value: Any) -> None:
    """Make sure that a decoded value has a place in the schema. No text is made of it.

    Raises:
        AMQPError: 604; it has a described descriptor.
    """
    rest: list[Any] = [value]
    while rest:
        value = rest.pop()
        if isinstance(value, Described):
            if isinstance(value.descriptor, Described):
                raise AMQPError(604, f"the value cannot be written as composite JSON: $: {_DESCRIBED_DESCRIPTOR}")
            rest += (value.descriptor, value.value)
        elif isinstance(value, Array):
            if value.items and type(value.items[0]) is Described:
                # The descriptor is the same for all of them.
                rest.append(value.items[0])
                rest += [item.value for item in value.items[1:]]
            elif value.items and type(value.items[0]) not in _FULL:
                rest += value.items
        elif isinstance(value, list):
            rest += [item for item in value if type(item) not in _FULL]
        elif isinstance(value, Mapping):
            rest += [item for item in _flat(value) if type(item) not in _FULL]


def too_long(most: int) -> AMQPError:
    """The error for a text that is longer than ``most`` characters."""
    return AMQPError(604, f"the value makes more than the {most} characters of composite JSON that MaxJSONSize allows")


class _Writer:
    """A text that is being written, piece by piece."""

    __slots__ = ("parts", "room", "scalars", "simplified")

    def __init__(self, simplified: bool, room: int) -> None:
        self.simplified = simplified
        self.scalars = _SHORT if simplified else _FULL
        self.room = room
        self.parts: list[str] = []

    def add(self, text: str) -> None:
        """Append a piece."""
        self.room -= len(text)
        if self.room < 0:
            raise _TooLongError
        self.parts.append(text)

    def write(self, before: str, value: Any, depth: int) -> None:
        """A value, after ``before``."""
        scalar = self.scalars.get(type(value))
        if scalar is None:
            if isinstance(value, Described):
                self.described(before, value, depth)
                return
            scalar = self.inherited(value)
        if scalar is not None:
            head, form, tail = scalar
            self.add(f"{before}{head}{form(value)}{tail}")
        elif isinstance(value, Array):
            self.sequence(f'{before}{{"type": "array", "value": [', value.items, depth)
            self.add(f"{_constructor(value)}}}")
        elif isinstance(value, (list, tuple)):
            self.sequence(f'{before}{{"type": "list", "value": [', value, depth)
            self.add("}")
        else:
            self.sequence(f'{before}{{"type": "map", "value": [', _flat(value), depth)
            self.add("}")

    def described(self, before: str, value: Described, depth: int) -> None:
        """A described value: what describes it, then the members of the value itself."""
        if isinstance(value.descriptor, Described):
            raise _UnwritableError(_DESCRIBED_DESCRIPTOR)
        depth = _deeper(depth)
        self.write(f'{before}{{"descriptor": ', value.descriptor, depth)
        inner = value.value
        if isinstance(inner, Described):
            self.described(', "value": ', inner, depth)
            self.add("}")
            return
        # The members of the object that the value would be alone, but for the bracket in front.
        start = len(self.parts)
        self.write(", ", inner, depth)
        first = self.parts[start]
        if first.startswith(", {"):
            self.parts[start] = f", {first[3:]}"
            self.room += 1
        else:
            self.parts[start] = f', "value": {first[2:]}'
            self.room -= len('"value": ')
            self.add("}")

    def sequence(self, before: str, items: Iterable[Any], depth: int) -> None:
        """The elements of a compound value, up to the closing bracket."""
        depth = _deeper(depth)
        scalars = self.scalars
        append = self.parts.append
        self.add(before)
        room = self.room
        before = ""
        for item in items:
            scalar = scalars.get(type(item))
            if scalar is not None:
                head, form, tail = scalar
                text = f"{before}{head}{form(item)}{tail}"
                room -= len(text)
                if room < 0:
                    raise _TooLongError
                append(text)
            else:
                self.room = room
                self.write(before, item, depth)
                room = self.room
            before = ", "
        self.room = room
        self.add("]")

    def inherited(self, value: Any) -> _Scalar | None:
        """How a value of a class is written that a program derived from the type of a scalar."""
        for base in type(value).__mro__[1:]:
            scalar = self.scalars.get(base)
            if scalar is not None:
                return scalar
        return None


def _flat(value: Any) -> Iterable[Any]:
    """Keys and values in turn."""
    if isinstance(value, Map):
        return (item for pair in value.pairs() for item in pair)
    if isinstance(value, Mapping):
        return (item for pair in value.items() for item in pair)
    raise _UnwritableError(f"a value of type {type(value).__name__} has no AMQP type")


def _constructor(value: Array) -> str:
    if value.items or value.constructor == b"\x40":
        return ""
    return f', "constructor": "{format_hex(value.constructor)}"'


def _deeper(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise _UnwritableError(f"nested more than {MAX_DEPTH} levels deep")
    return depth + 1


def type_name(value: Any) -> str:
    """The name of a value's type in the schema."""
    if isinstance(value, Described):
        return "a described type"
    scalar = _NAMES.get(type(value))
    if scalar is not None:
        return scalar[0]
    return "array" if isinstance(value, Array) else "map" if isinstance(value, Map) else "list"


def _quoted_hex(value: bytes | bytearray | memoryview) -> str:
    return f'"{format_hex(value)}"'


def _real_text(form: Callable[[float], str]) -> Callable[[float], str]:
    def write(value: float) -> str:
        text = form(value)
        return f'"{text}"' if text in NOT_FINITE else text

    return write


def _long(value: int) -> str:
    if not LONG_MIN <= value <= LONG_MAX:
        raise _UnwritableError("an int outside -2**63 to 2**63 - 1 has no AMQP type")
    return int.__repr__(value)


_ABBREVIATED: Final = frozenset(("null", "boolean", "string"))
_NAMES: Final[dict[type, tuple[str, Callable[[Any], str]]]] = {
    type(None): ("null", lambda value: "null"),
    bool: ("boolean", lambda value: "true" if value else "false"),
    UByte: ("ubyte", int.__repr__),
    UShort: ("ushort", int.__repr__),
    UInt: ("uint", int.__repr__),
    ULong: ("ulong", int.__repr__),
    Byte: ("byte", int.__repr__),
    Short: ("short", int.__repr__),
    Int: ("int", int.__repr__),
    int: ("long", _long),
    Float: ("float", _real_text(format_float)),
    float: ("double", _real_text(format_double)),
    Decimal32: ("decimal", _quoted_hex),
    Decimal64: ("decimal", _quoted_hex),
    Decimal128: ("decimal", _quoted_hex),
    Char: ("char", encode_basestring),
    Timestamp: ("timestamp", int.__repr__),
    UUID: ("uuid", lambda value: f'"{value}"'),
    bytes: ("binary", _quoted_hex),
    bytearray: ("binary", _quoted_hex),
    memoryview: ("binary", _quoted_hex),
    str: ("string", encode_basestring),
    Symbol: ("symbol", encode_basestring),
}

_Scalar = tuple[str, Callable[[Any], str], str]
"""What is written before a scalar, its text, and what is written after it."""
_FULL: Final[dict[type, _Scalar]] = {
    kind: (f'{{"type": "{name}", "value": ', form, "}") for kind, (name, form) in _NAMES.items()
}
_SHORT: Final[dict[type, _Scalar]] = {
    kind: ("", _NAMES[kind][1], "") if _NAMES[kind][0] in _ABBREVIATED else scalar for kind, scalar in _FULL.items()
}

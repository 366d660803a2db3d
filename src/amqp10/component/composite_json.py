"""AMQP values of any shape as JSON, and back (``json_text.py`` writes it).

A value is an object ``{"type": NAME, "value": ...}``, with a ``"descriptor"`` in front where it is a described type.
Null, booleans and strings may be written as they are; a described one of these may leave out ``"type"``. The value
of an array, a list or a map is a JSON array of such objects; a map's are keys and values by turns, in order. Numbers
are JSON numbers, read exactly; the floating-point values that JSON lacks are the strings "NaN", "Infinity" and
"-Infinity". Binary and decimal values are hexadecimal.

Three things have no place in that schema. They are additions, written only where they are needed:

- An empty array has a type. It is kept as ``"constructor"``, the hexadecimal bytes of the element constructor; without
  one an empty array is an array of null.
- A described value whose value is itself described leaves out ``"type"`` and has the inner object as its ``"value"``.
- A NaN is one NaN: the bits that tell NaNs apart are lost.

A descriptor that is itself described is refused both ways, as the schema demands.
Every value but NaNs with a payload is the same on the wire after a round trip. Types, "type system".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, NoReturn

from amqp10.codec import MAX_DEPTH, decode, encode
from amqp10.codec.maps import Map
from amqp10.codec.types import (
    MAX_UNBACKED,
    MAX_ZERO_WIDTH,
    Array,
    Byte,
    Char,
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
from amqp10.component.json_text import LONG_MAX, LONG_MIN, NOT_FINITE, dumps, type_name
from amqp10.component.scalars import (
    parse_char,
    parse_decimal,
    parse_double,
    parse_float,
    parse_hex,
    parse_int,
    parse_string,
    parse_symbol,
    parse_uuid,
    show,
)
from amqp10.errors import AMQPError, DecodeError, EncodeError

__all__ = ["dumps", "loads"]


class _DocumentError(Exception):
    """What is wrong with a document, and where; the path is gathered while the exception passes upwards."""

    def __init__(self, reason: str, *path: str, plain: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = list(path)
        self.plain = plain
        """Whether this is what plain JSON has, without the types that AMQP needs."""

    def __str__(self) -> str:
        text = f"${''.join(reversed(self.path))}: {self.reason}"
        return text + _PLAIN if self.plain else text


_PLAIN: Final = (
    '. This is plain JSON; composite JSON has types, as in {"type": "map", "value": ["key", {"type": "int", "value":'
    " 1}]}. For JSON as text use mvtString"
)


class _Object(list[tuple[str, Any]]):
    """A JSON object with its members in their order, so that a repeated one is seen."""


class _Integer(str):
    """A JSON number without fraction and exponent, as it is written."""

    __slots__ = ()


class _Decimal(str):
    """Another JSON number, as it is written."""

    __slots__ = ()


# -- JSON to values --------------------------------------------------------------------------------------------------


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; write it as a string")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_Object, parse_int=_Integer, parse_float=_Decimal, parse_constant=_constant
)


def loads(text: str, prop: str = "message_value") -> Any:
    """The AMQP value that a document describes.

    Args:
        text: the JSON text.
        prop: what the text is the value of, for errors.

    Raises:
        AMQPError: 604; the message has the JSON path of the offending element, such as ``$.value[3].value[0]``.
    """
    try:
        return _read(_DECODER.decode(text), 0)
    except _DocumentError as fault:
        problem = str(fault)
    except json.JSONDecodeError as error:
        problem = f"not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
    except ValueError as error:
        problem = f"not JSON: {error}"
    except RecursionError:
        # Either far too deep, or the program's own calls leave too little of the stack.
        problem = f"$: nested too deep: {MAX_DEPTH} levels at most, and fewer where the call stack is nearly full"
    raise AMQPError(604, f"{prop} (composite JSON) {problem}")


def _read(node: Any, depth: int) -> Any:
    if node is None or isinstance(node, bool):
        return node
    kind = type(node)
    if kind is str:
        return _string(node)
    if kind is _Object:
        return _read_object(node, depth)
    if kind is list:
        raise _DocumentError('a JSON array needs its type, as in {"type": "list", "value": []}', plain=True)
    raise _DocumentError('a number needs its type, as in {"type": "int", "value": 1}', plain=True)


def _read_object(node: _Object, depth: int) -> Any:
    members: dict[str, Any] = {}
    for name, member in node:
        if name not in ("descriptor", "type", "value", "constructor"):
            raise _DocumentError(f"unknown member {show(name)}", plain=True)
        if name in members:
            raise _DocumentError(f'"{name}" is here twice')
        members[name] = member
    if "value" not in members:
        raise _DocumentError('"value" is missing', plain=not members)
    if "descriptor" not in members:
        return _read_value(members, depth)
    inner = _deeper(depth)
    try:
        if isinstance(members["descriptor"], _Object) and any(
            name == "descriptor" for name, _ in members["descriptor"]
        ):
            raise _DocumentError("a descriptor cannot itself be described")
        descriptor = _read(members["descriptor"], inner)
    except _DocumentError as fault:
        fault.path.append(".descriptor")
        raise
    return Described(descriptor, _read_described_value(members, inner))


def _is_described(node: Any) -> bool:
    return isinstance(node, _Object) and any(name == "descriptor" for name, _ in node)


def _read_described_value(members: dict[str, Any], depth: int) -> Any:
    if "type" in members:
        return _read_value(members, depth)
    value = members["value"]
    if not (_is_described(value) or value is None or isinstance(value, bool) or type(value) is str):
        raise _DocumentError('"type" is missing; only null, true, false and a string can do without')
    try:
        return _read(value, depth)
    except _DocumentError as fault:
        fault.path.append(".value")
        raise


def _read_value(members: dict[str, Any], depth: int) -> Any:
    try:
        name = members["type"]
    except KeyError:
        raise _DocumentError('"type" is missing') from None
    reader = _READERS.get(name) if type(name) is str else None
    if reader is None:
        raise _DocumentError(_unknown_type(name), ".type")
    if "constructor" in members:
        return _read_empty_array(members)
    try:
        return reader(members["value"], depth)
    except _DocumentError as fault:
        fault.path.append(".value")
        raise
    except (ValueError, EncodeError) as error:
        reason = error.message if isinstance(error, EncodeError) else str(error)
        raise _DocumentError(f"{name}: {_shown(members['value'])} is {reason}", ".value") from None


def _unknown_type(name: Any) -> str:
    if type(name) is not str:
        return "the name of a type is a string"
    if name.lower() in _READERS:
        return f"{show(name)} is not a type; the names are in lower case"
    return f"{show(name)} is not a type"


def _shown(node: Any) -> str:
    if isinstance(node, (_Integer, _Decimal)):
        return show(node)[1:-1] if len(node) < 40 else f"a number of {len(node)} digits"
    if isinstance(node, str):
        return show(node)
    if node is None or isinstance(node, bool):
        return {None: "null", True: "true", False: "false"}[node]
    return "a JSON object" if isinstance(node, _Object) else "a JSON array"


def _deeper(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise _DocumentError(f"nested more than {MAX_DEPTH} levels deep")
    return depth + 1


def _string(node: Any) -> str:
    if type(node) is not str:
        raise ValueError("not a JSON string")
    if node.isascii():
        return node
    try:
        return parse_string(node)
    except ValueError as error:
        raise _DocumentError(f"{_shown(node)}: {error}") from None


def _text(parse: Callable[[str], Any], make: Callable[[Any], Any]) -> Callable[[Any, int], Any]:
    """A reader for values that JSON has no type for and that are written as a string."""

    def read(node: Any, depth: int) -> Any:
        if type(node) is not str:
            raise ValueError("not a JSON string")
        return make(parse(node))

    return read


def _integer(make: Callable[[int], Any], low: int, high: int) -> Callable[[Any, int], Any]:
    def read(node: Any, depth: int) -> Any:
        if type(node) is not _Integer:
            raise ValueError("not a JSON number without fraction")
        return make(parse_int(node, low, high))

    return read


def _real(make: Callable[[float], Any], parse: Callable[[str], float]) -> Callable[[Any, int], Any]:
    def read(node: Any, depth: int) -> Any:
        if (type(node) is str and node in NOT_FINITE) or isinstance(node, (_Integer, _Decimal)):
            return make(parse(node))
        raise ValueError('not a JSON number, "NaN", "Infinity" or "-Infinity"')

    return read


def _read_null(node: Any, depth: int) -> None:
    if node is not None:
        raise ValueError("not null")


def _read_boolean(node: Any, depth: int) -> bool:
    if node is True or node is False:
        return bool(node)
    raise ValueError("not true or false")


def _read_string(node: Any, depth: int) -> str:
    return _string(node)


def _elements(node: Any, depth: int) -> list[Any]:
    if type(node) is _Object:
        raise ValueError("not a JSON array; a map is one of keys and values in turn")
    if type(node) is not list:
        raise ValueError("not a JSON array")
    elements: list[Any] = []
    append = elements.append
    try:
        for element in node:
            append(_read(element, depth))
    except _DocumentError as fault:
        fault.path.append(f"[{len(elements)}]")
        raise
    return elements


def _read_list(node: Any, depth: int) -> list[Any]:
    return _elements(node, _deeper(depth))


def _read_map(node: Any, depth: int) -> Map:
    elements = _elements(node, _deeper(depth))
    if len(elements) % 2:
        raise _DocumentError(f"a map needs a value for each key, but has {len(elements)} elements")
    try:
        return Map(zip(elements[::2], elements[1::2], strict=True))
    except EncodeError:
        seen = set()
        for index in range(0, len(elements), 2):
            identity = encode(elements[index])
            if identity in seen:
                raise _DocumentError("this key is in the map twice", f"[{index}]") from None
            seen.add(identity)
        raise


def _read_array(node: Any, depth: int) -> Array:
    elements = _elements(node, _deeper(depth))
    if elements:
        first = _signature(elements[0])
        for index, element in enumerate(elements):
            if _signature(element) != first:
                raise _DocumentError(_mixed(elements[0], element), f"[{index}]")
        most = MAX_ZERO_WIDTH if len(first) == 1 else MAX_UNBACKED // (len(first) - 1)
        if first[-1] is type(None) and len(elements) > most:
            raise _DocumentError(f"an array of null may have {most} elements at most")
    return Array(elements)


def _signature(value: Any) -> tuple[Any, ...]:
    """What all the elements of an array must have in common."""
    if isinstance(value, Described):
        return (encode(value.descriptor), *_signature(value.value))
    return (type(value),)


def _mixed(first: Any, other: Any) -> str:
    one, two = type_name(first), type_name(other)
    while isinstance(first, Described) and isinstance(other, Described):
        if encode(first.descriptor) != encode(other.descriptor):
            return "all elements of an array must have the same descriptor"
        first, other = first.value, other.value
        one, two = type_name(first), type_name(other)
    if one == two:
        one, two = type(first).__name__.lower(), type(other).__name__.lower()  # the three decimals share a name
    return f"all elements of an array must be of one type, but here {two} follows {one}"


def _read_empty_array(members: dict[str, Any]) -> Array:
    text, value = members["constructor"], members["value"]
    if members["type"] != "array" or type(value) is not list or value:
        raise _DocumentError('"constructor" belongs to an empty array only')
    try:
        code = parse_hex(text) if type(text) is str else b""
        # As the empty array itself, so that the codec decides what a constructor is.
        decode(b"\xf0" + (len(code) + 4).to_bytes(4, "big") + bytes(4) + code)
    except (ValueError, DecodeError):
        raise _DocumentError(
            f"{_shown(text)} is not the hexadecimal form of an element constructor", ".constructor"
        ) from None
    return Array((), code)


_READERS: Final[dict[str, Callable[[Any, int], Any]]] = {
    "null": _read_null,
    "boolean": _read_boolean,
    "ubyte": _integer(UByte, 0, 2**8 - 1),
    "ushort": _integer(UShort, 0, 2**16 - 1),
    "uint": _integer(UInt, 0, 2**32 - 1),
    "ulong": _integer(ULong, 0, 2**64 - 1),
    "byte": _integer(Byte, -(2**7), 2**7 - 1),
    "short": _integer(Short, -(2**15), 2**15 - 1),
    "int": _integer(Int, -(2**31), 2**31 - 1),
    "long": _integer(int, LONG_MIN, LONG_MAX),
    "float": _real(Float, parse_float),
    "double": _real(float, parse_double),
    "decimal": _text(parse_decimal, lambda value: value),
    "char": _text(parse_char, Char),
    "timestamp": _integer(Timestamp, LONG_MIN, LONG_MAX),
    "uuid": _text(parse_uuid, lambda value: value),
    "binary": _text(parse_hex, bytes),
    "string": _read_string,
    "symbol": _text(parse_symbol, Symbol),
    "array": _read_array,
    "list": _read_list,
    "map": _read_map,
}

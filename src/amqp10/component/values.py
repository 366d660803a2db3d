"""The value of a message: text and type on the program's side, an AMQP value on the wire.

Text is parsed strictly: what is malformed or out of range is refused with an error that names the property, the type
and the offending text (cut when it is long). What is written reads back as the same value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from amqp10.codec.types import (
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
from amqp10.component.enums import ValueType
from amqp10.component.scalars import (
    format_double,
    format_float,
    format_hex,
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
from amqp10.errors import AMQPError

if TYPE_CHECKING:
    from amqp10.wire.message import Message

__all__ = ["body_text", "check_body", "from_amqp", "from_json", "to_amqp", "to_json"]


def to_amqp(value_type: ValueType | int, text: str, prop: str = "message_value") -> Any:
    """The AMQP value of a text.

    Args:
        value_type: the type to read the text as. For ``mvtNull`` the text is ignored.
        text: decimal digits for numbers ("NaN", "Infinity" and "-Infinity" for the floating-point ones); "True" or
            "False" in any case; hexadecimal digits for binary, decimal (4, 8 or 16 bytes) and UUID (hyphens optional);
            milliseconds since 1970 UTC for timestamps; one character for char; ASCII for symbol; composite JSON.
        prop: the property that the text comes from, for errors.

    Returns:
        The value as the codec takes it. ``mvtBinary`` gives bytes; that they travel as a data section is the caller's
        business.

    Raises:
        AMQPError: 604; the text is malformed, or out of the range of the type.
    """
    reader = _READERS.get(value_type)
    if reader is None:
        if value_type == ValueType.mvtJson:
            return from_json(text, prop)
        raise AMQPError(604, f"{prop}: there is no value type {int(value_type)}")
    try:
        return reader(text)
    except ValueError as error:
        name = ValueType(value_type).name
        raise AMQPError(604, f"{prop} ({name}): {show(text)} is {error}") from None


def from_json(text: str, prop: str = "message_value") -> Any:
    """The AMQP value that a composite JSON document describes; see :mod:`amqp10.component.composite_json`.

    Raises:
        AMQPError: 604; with the JSON path of the offending element.
    """
    from amqp10.component import composite_json  # most programs never need it

    return composite_json.loads(text, prop)


def to_json(value: Any, simplified: bool = True, most: int = 0) -> str:
    """The composite JSON document of an AMQP value, in the abbreviated syntax if ``simplified``.

    Raises:
        AMQPError: 604; the value has no place in the schema, or the text is longer than ``most`` characters, if that is
            not 0.
    """
    from amqp10.component import json_text

    return json_text.dumps(value, simplified, most)


def from_amqp(value: Any, simplified: bool = True, most: int = 0) -> tuple[ValueType, str]:
    """The type and the text of an AMQP value.

    Whatever is not a scalar (lists, maps, arrays, described values) is ``mvtJson``, of ``most`` characters at most if
    that is not 0.

    Raises:
        AMQPError: 604; the value has no AMQP type, or its JSON is too long.
    """
    writer = _WRITERS.get(type(value))
    if writer is not None:
        return writer[0], writer[1](value)
    from uuid import UUID  # not before it is needed, because it takes long to import

    if type(value) is UUID:
        return ValueType.mvtUuid, str(value)
    return ValueType.mvtJson, to_json(value, simplified, most)


def body_text(message: Message, simplified: bool = True, most: int = 0) -> tuple[ValueType, str]:
    """The type and the text of a message's body (messaging, "message format").

    Data sections, joined, are ``mvtBinary``; sequence sections, joined, a list in JSON; a missing body is ``mvtNull``.
    JSON may have ``most`` characters, if that is not 0.

    Raises:
        AMQPError: 604; the body cannot be decoded, its value has no place in the JSON schema, or too long a text.
    """
    data = message.data
    if data is not None:
        return ValueType.mvtBinary, format_hex(data)
    sequences = message.sequence
    if sequences is not None:
        return ValueType.mvtJson, to_json([item for sequence in sequences for item in sequence], simplified, most)
    return from_amqp(message.value, simplified, most)


def check_body(message: Message) -> None:
    """Make sure that a message's body is one that has a text, without making it.

    Raises:
        AMQPError: 604; the body cannot be decoded, or its value has no place in the JSON schema.
    """
    if message.data_sections is not None:
        return
    value = message.sequence or message.value
    if type(value) not in _WRITERS:
        from amqp10.component import json_text

        json_text.check(value)


def _boolean(text: str) -> bool:
    word = text.lower() if len(text) <= 5 else ""
    if word == "true":
        return True
    if word == "false":
        return False
    raise ValueError("neither True nor False")


def _integer(make: Callable[[int], Any], low: int, high: int) -> Callable[[str], Any]:
    return lambda text: make(parse_int(text, low, high))


_READERS: Final[dict[int, Callable[[str], Any]]] = {
    ValueType.mvtNull: lambda text: None,
    ValueType.mvtBoolean: _boolean,
    ValueType.mvtUbyte: _integer(UByte, 0, 2**8 - 1),
    ValueType.mvtUshort: _integer(UShort, 0, 2**16 - 1),
    ValueType.mvtUint: _integer(UInt, 0, 2**32 - 1),
    ValueType.mvtUlong: _integer(ULong, 0, 2**64 - 1),
    ValueType.mvtByte: _integer(Byte, -(2**7), 2**7 - 1),
    ValueType.mvtShort: _integer(Short, -(2**15), 2**15 - 1),
    ValueType.mvtInt: _integer(Int, -(2**31), 2**31 - 1),
    ValueType.mvtLong: _integer(int, -(2**63), 2**63 - 1),
    ValueType.mvtFloat: lambda text: Float(parse_float(text)),
    ValueType.mvtDouble: parse_double,
    ValueType.mvtDecimal: parse_decimal,
    ValueType.mvtChar: lambda text: Char(parse_char(text)),
    ValueType.mvtTimestamp: _integer(Timestamp, -(2**63), 2**63 - 1),
    ValueType.mvtUuid: parse_uuid,
    ValueType.mvtBinary: parse_hex,
    ValueType.mvtString: parse_string,
    ValueType.mvtSymbol: lambda text: Symbol(parse_symbol(text)),
}

_WRITERS: Final[dict[type, tuple[ValueType, Callable[[Any], str]]]] = {
    type(None): (ValueType.mvtNull, lambda value: ""),
    bool: (ValueType.mvtBoolean, str),
    UByte: (ValueType.mvtUbyte, int.__repr__),
    UShort: (ValueType.mvtUshort, int.__repr__),
    UInt: (ValueType.mvtUint, int.__repr__),
    ULong: (ValueType.mvtUlong, int.__repr__),
    Byte: (ValueType.mvtByte, int.__repr__),
    Short: (ValueType.mvtShort, int.__repr__),
    Int: (ValueType.mvtInt, int.__repr__),
    int: (ValueType.mvtLong, int.__repr__),
    Float: (ValueType.mvtFloat, format_float),
    float: (ValueType.mvtDouble, format_double),
    Decimal32: (ValueType.mvtDecimal, format_hex),
    Decimal64: (ValueType.mvtDecimal, format_hex),
    Decimal128: (ValueType.mvtDecimal, format_hex),
    Char: (ValueType.mvtChar, str.__str__),
    Timestamp: (ValueType.mvtTimestamp, int.__repr__),
    bytes: (ValueType.mvtBinary, format_hex),
    bytearray: (ValueType.mvtBinary, format_hex),
    memoryview: (ValueType.mvtBinary, format_hex),
    str: (ValueType.mvtString, str.__str__),
    Symbol: (ValueType.mvtSymbol, str.__str__),
}

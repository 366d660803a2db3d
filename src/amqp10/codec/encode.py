"""Python values to AMQP bytes, in the smallest form of each type (types, "type encodings").

Dispatch is on the exact type of a value: one dictionary for scalars, one for compounds, which count their depth. A
subclass that is in neither finds its encoder through its bases, once.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from amqp10.codec.types import (
    MAX_DEPTH,
    MAX_UNBACKED,
    MAX_ZERO_WIDTH,
    NAME_KEPT,
    NAMES_KEPT,
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
from amqp10.errors import EncodeError

if TYPE_CHECKING:
    from uuid import UUID

__all__ = [
    "COMPOUNDS",
    "KEYS",
    "OCTETS",
    "STRING8",
    "encode",
    "encode_binary",
    "encode_boolean",
    "encode_dict",
    "encode_list",
    "encode_pairs",
    "encode_string",
    "encode_symbol",
    "encode_timestamp",
    "encode_ubyte",
    "encode_uint",
    "encode_ulong",
    "encode_ushort",
    "encode_value",
    "no_encoding",
]

_U16 = struct.Struct(">H").pack
_U32 = struct.Struct(">I").pack
_U64 = struct.Struct(">Q").pack
_I8 = struct.Struct(">b").pack
_I16 = struct.Struct(">h").pack
_I32 = struct.Struct(">i").pack
_I64 = struct.Struct(">q").pack
_F32 = struct.Struct(">f").pack
_F64 = struct.Struct(">d").pack
_TWO_U32 = struct.Struct(">II").pack


def _table(code: int) -> list[bytes]:
    """The two bytes of a small form for each value of the second."""
    return [bytes((code, n)) for n in range(256)]


_BIN8: Final = _table(0xA0)
STRING8: Final = _table(0xA1)
"""Format code and size of short strings, by their bytes."""
_SYM8: Final = _table(0xA3)
_UBYTE: Final = _table(0x50)
_UINT8: Final = [b"\x43", *_table(0x52)[1:]]
_ULONG8: Final = [b"\x44", *_table(0x53)[1:]]
_LIST8: Final = _table(0xC0)
_MAP8: Final = _table(0xC1)
_SMALLLONG: Final = [bytes((0x55, n & 0xFF)) for n in range(-128, 128)]
OCTETS: Final = [bytes((n,)) for n in range(256)]
"""Every byte, as ``bytes``."""
_LIMIT: Final = 0xFFFFFFFF


def _too_long(what: str) -> EncodeError:
    return EncodeError(f"a {what} of more than {_LIMIT} bytes has no encoding")


def encode_boolean(value: bool) -> bytes:
    """boolean, in the form without a data byte."""
    return b"\x41" if value else b"\x42"


def encode_ubyte(value: int) -> bytes:
    """ubyte."""
    return _UBYTE[value]


def encode_ushort(value: int) -> bytes:
    """ushort."""
    return b"\x60" + _U16(value)


def encode_uint(value: int) -> bytes:
    """uint: uint0, smalluint or uint."""
    return _UINT8[value] if value < 256 else b"\x70" + _U32(value)


def encode_ulong(value: int) -> bytes:
    """ulong: ulong0, smallulong or ulong."""
    return _ULONG8[value] if value < 256 else b"\x80" + _U64(value)


def _encode_byte(value: int) -> bytes:
    return b"\x51" + _I8(value)


def _encode_short(value: int) -> bytes:
    return b"\x61" + _I16(value)


def _encode_int(value: int) -> bytes:
    return b"\x54" + _I8(value) if -128 <= value <= 127 else b"\x71" + _I32(value)


def _encode_long(value: int) -> bytes:
    if -128 <= value <= 127:
        return _SMALLLONG[value + 128]
    try:
        return b"\x81" + _I64(value)
    except struct.error:
        raise EncodeError("an int outside -2**63 to 2**63 - 1 has no AMQP type; use ULong up to 2**64 - 1") from None


def _encode_float(value: float) -> bytes:
    return b"\x72" + _F32(value)


def _encode_double(value: float) -> bytes:
    return b"\x82" + _F64(value)


def _encode_char(value: str) -> bytes:
    return b"\x73" + _U32(ord(value))


def encode_timestamp(value: int) -> bytes:
    """timestamp."""
    return b"\x83" + _I64(value)


def _uuid_octets(value: UUID) -> bytes:
    return value.bytes


def _encode_uuid(value: UUID) -> bytes:
    return b"\x98" + value.bytes


def encode_binary(value: bytes) -> bytes:
    """binary: vbin8 or vbin32."""
    size = len(value)
    if size < 256:
        return _BIN8[size] + value
    if size > _LIMIT:
        raise _too_long("binary")
    return b"\xb0" + _U32(size) + value


def encode_string(value: str) -> bytes:
    """string: str8-utf8 or str32-utf8. Raises UnicodeEncodeError for a lone surrogate."""
    data = value.encode()
    size = len(data)
    if size < 256:
        return STRING8[size] + data
    if size > _LIMIT:
        raise _too_long("string")
    return b"\xb1" + _U32(size) + data


def encode_symbol(value: str) -> bytes:
    """symbol: sym8 or sym32. Raises UnicodeEncodeError for what is not ASCII."""
    data = value.encode("ascii")
    size = len(data)
    if size < 256:
        return _SYM8[size] + data
    if size > _LIMIT:
        raise _too_long("symbol")
    return b"\xb3" + _U32(size) + data


def _encode_null(value: None) -> bytes:
    return b"\x40"


SCALARS: Final[dict[type, Callable[[Any], bytes]]] = {
    type(None): _encode_null,
    bool: encode_boolean,
    str: encode_string,
    Symbol: encode_symbol,
    bytes: encode_binary,
    int: _encode_long,
    float: _encode_double,
    UByte: encode_ubyte,
    UShort: encode_ushort,
    UInt: encode_uint,
    ULong: encode_ulong,
    Byte: _encode_byte,
    Short: _encode_short,
    Int: _encode_int,
    Float: _encode_float,
    Char: _encode_char,
    Timestamp: encode_timestamp,
    Decimal32: lambda value: b"\x74" + value,
    Decimal64: lambda value: b"\x84" + value,
    Decimal128: lambda value: b"\x94" + value,
    bytearray: lambda value: encode_binary(bytes(value)),
    memoryview: lambda value: encode_binary(bytes(value)),
}


def encode_value(value: Any, depth: int = 0) -> bytes:
    """Encode any value. Texts and numbers raise Python's own errors; :func:`encode` translates them."""
    kind = type(value)
    scalar = SCALARS.get(kind)
    if scalar is not None:
        return scalar(value)
    compound = COMPOUNDS.get(kind)
    if compound is None:
        return _encode_other(value, depth)
    if depth >= MAX_DEPTH:
        raise EncodeError(f"values nest more than {MAX_DEPTH} levels deep")
    return compound(value, depth + 1)


def _encode_other(value: Any, depth: int) -> bytes:
    """Encode a value of a type that is in no table, with the encoder of its nearest base, and remember that encoder."""
    encoded = getattr(value, "__amqp_encode__", None)
    if encoded is not None:
        return bytes(encoded())
    _meet_uuid()
    for base in type(value).__mro__:
        if base in SCALARS:
            SCALARS[type(value)] = SCALARS[base]
            return SCALARS[base](value)
        if base in COMPOUNDS:
            COMPOUNDS[type(value)] = COMPOUNDS[base]
            return encode_value(value, depth)
    if isinstance(value, Mapping):
        if depth >= MAX_DEPTH:
            raise EncodeError(f"values nest more than {MAX_DEPTH} levels deep")
        return encode_pairs(list(value.items()), depth + 1)
    raise EncodeError(f"a value of type {type(value).__name__} has no AMQP type")


def _meet_uuid() -> None:
    """Add UUID to the tables if its module has been imported, which takes longer than importing this package."""
    module = sys.modules.get("uuid")
    if module is not None:
        SCALARS.setdefault(module.UUID, _encode_uuid)
        _FIXED.setdefault(module.UUID, (b"\x98", _uuid_octets))


def _wrap(small: list[bytes], large: bytes, count: int, body: bytes) -> bytes:
    """Size and count in front of the elements of a list or map: one byte each where both fit."""
    size = len(body) + 1
    if size < 256 and count < 256:
        return small[size] + OCTETS[count] + body
    if size + 3 > _LIMIT:
        raise _too_long("compound value")
    return large + _TWO_U32(size + 3, count) + body


def encode_list(items: list[Any] | tuple[Any, ...], depth: int = 1) -> bytes:
    """list: list0, list8 or list32."""
    if not items:
        return b"\x45"
    scalars = SCALARS
    parts = []
    for item in items:
        scalar = scalars.get(type(item))
        parts.append(scalar(item) if scalar is not None else encode_value(item, depth))
    return _wrap(_LIST8, b"\xd0", len(parts), b"".join(parts))


KEYS: Final[dict[str, bytes]] = {}
"""The encodings of some keys, because the keys of maps are few and repeated."""


def _encode_key(key: str) -> bytes:
    """A key that is not kept yet."""
    encoded = encode_string(key)
    if len(KEYS) < NAMES_KEPT and len(key) <= NAME_KEPT:
        KEYS[key] = encoded
    return encoded


def encode_dict(value: dict[Any, Any], depth: int = 1) -> bytes:
    """map: map8 or map32. Raises UnicodeEncodeError for text that has no encoding."""
    scalars = SCALARS
    keys = KEYS
    parts: list[bytes] = []
    append = parts.append
    for key, item in value.items():
        if type(key) is str:
            encoded = keys.get(key)
            append(encoded if encoded is not None else _encode_key(key))
        else:
            append(encode_value(key, depth))
        if type(item) is str:
            data = item.encode()
            append(STRING8[len(data)] + data if len(data) < 256 else encode_string(item))
        elif type(item) is int and -128 <= item <= 127:
            append(_SMALLLONG[item + 128])
        else:
            scalar = scalars.get(type(item))
            append(scalar(item) if scalar is not None else encode_value(item, depth))
    return _wrap(_MAP8, b"\xd1", 2 * len(value), b"".join(parts))


def encode_pairs(pairs: list[tuple[Any, Any]], depth: int) -> bytes:
    """map, from keys and values that a ``dict`` cannot hold."""
    parts = [encode_value(item, depth) for pair in pairs for item in pair]
    return _wrap(_MAP8, b"\xd1", len(parts), b"".join(parts))


def _encode_described(value: Described, depth: int) -> bytes:
    return b"\x00" + encode_value(value.descriptor, depth) + encode_value(value.value, depth)


# Array elements share one constructor at the front, so all have the same form (types, "array"), which the widest
# element decides.


def _element_form(items: list[Any], depth: int) -> tuple[bytes, list[bytes]]:
    """The constructor for these elements, and the elements without it."""
    first = items[0]
    kind = type(first)
    if isinstance(first, Described):
        descriptor = encode_value(first.descriptor, depth)
        for item in items:
            # Decoded elements share one descriptor object, which may be as long as the rest of the message.
            if not isinstance(item, Described) or (
                item.descriptor is not first.descriptor and encode_value(item.descriptor, depth) != descriptor
            ):
                raise EncodeError("the elements of an array of described values must share one descriptor")
        if depth >= MAX_DEPTH:
            raise EncodeError(f"values nest more than {MAX_DEPTH} levels deep")
        constructor, bodies = _element_form([item.value for item in items], depth + 1)
        return b"\x00" + descriptor + constructor, bodies
    # An element that is a subclass of an AMQP type is one of that type.
    kind = _array_kind(kind)
    for item in items:
        if _array_kind(type(item)) is not kind:
            raise EncodeError(
                f"the elements of an array must be of one type, not {kind.__name__} and {type(item).__name__}"
            )
    fixed = _FIXED.get(kind)
    if fixed is not None:
        code, pack = fixed
        try:
            return code, [pack(item) for item in items]
        except struct.error:
            raise EncodeError("an int outside -2**63 to 2**63 - 1 has no AMQP type") from None
    if kind in (str, Symbol, bytes):
        return _variable_form(kind, items)
    if kind is list:
        return b"\xd0", [_wide(encode_value(item, depth)) for item in items]
    if kind is dict:
        return b"\xd1", [_wide(encode_value(item, depth)) for item in items]
    if kind is Array:
        return b"\xf0", [_wide(encode_value(item, depth)) for item in items]
    raise EncodeError(f"a value of type {kind.__name__} has no AMQP type")


def _array_kind(kind: type) -> type:
    if kind in _FIXED or kind in _OTHER_ARRAY_KINDS:
        return kind
    if issubclass(kind, Mapping):
        return dict
    _meet_uuid()
    for base in kind.__mro__:
        if base in _FIXED or base in _OTHER_ARRAY_KINDS:
            return base
    raise EncodeError(f"a value of type {kind.__name__} cannot be an array element")


_VARIABLE: Final[dict[type, tuple[int, int]]] = {str: (0xA1, 0xB1), Symbol: (0xA3, 0xB3), bytes: (0xA0, 0xB0)}


def _variable_form(kind: type, items: list[Any]) -> tuple[bytes, list[bytes]]:
    small, large = _VARIABLE[kind]
    if kind is bytes:
        data = [bytes(item) for item in items]
    else:
        encoding = "utf-8" if kind is str else "ascii"
        data = [item.encode(encoding) for item in items]
    widest = max(len(item) for item in data)
    if widest < 256:
        return bytes((small,)), [bytes((len(item),)) + item for item in data]
    if widest > _LIMIT:
        raise _too_long("value")
    return bytes((large,)), [_U32(len(item)) + item for item in data]


def _wide(encoded: bytes) -> bytes:
    """The body of a list, map or array in its wide form, whatever form ``encoded`` has."""
    code = encoded[0]
    if code == 0x45:
        return _TWO_U32(4, 0)
    if code & 0xF0 in (0xD0, 0xF0):
        return encoded[1:]
    return _TWO_U32(encoded[1] + 3, encoded[2]) + encoded[3:]


_FIXED: Final[dict[type, tuple[bytes, Callable[[Any], bytes]]]] = {
    type(None): (b"\x40", lambda value: b""),
    bool: (b"\x56", lambda value: b"\x01" if value else b"\x00"),
    UByte: (b"\x50", lambda value: bytes((value,))),
    UShort: (b"\x60", _U16),
    UInt: (b"\x70", _U32),
    ULong: (b"\x80", _U64),
    Byte: (b"\x51", _I8),
    Short: (b"\x61", _I16),
    Int: (b"\x71", _I32),
    int: (b"\x81", _I64),
    Float: (b"\x72", _F32),
    float: (b"\x82", _F64),
    Char: (b"\x73", lambda value: _U32(ord(value))),
    Timestamp: (b"\x83", _I64),
    Decimal32: (b"\x74", bytes),
    Decimal64: (b"\x84", bytes),
    Decimal128: (b"\x94", bytes),
}

_OTHER_ARRAY_KINDS: Final = frozenset({str, Symbol, bytes, list, dict, Array, Described})


def _check_backed(items: list[Any], constructor: int, width: int) -> None:
    """Check the limits that decoding has on elements that take fewer bytes than objects."""
    descriptors = 0
    first = items[0]
    while isinstance(first, Described):
        descriptors += 1
        first = first.value
    if descriptors:
        objects = len(items) * descriptors
        if objects > constructor + width and objects > MAX_UNBACKED:
            raise EncodeError(
                f"an array of {len(items)} elements may not have {descriptors} descriptors for each:"
                f" {MAX_UNBACKED} at most in all, or one for each byte"
            )
    elif not width and len(items) > MAX_ZERO_WIDTH:
        raise EncodeError(f"an array of null may have {MAX_ZERO_WIDTH} elements at most")


def _encode_array(value: Array, depth: int) -> bytes:
    items = value.items
    if items:
        constructor, bodies = _element_form(items, depth)
        if constructor[0] == 0x00 or not bodies[0]:
            _check_backed(items, len(constructor), sum(map(len, bodies)))
        body = constructor + b"".join(bodies)
    else:
        body = value.constructor
    size = len(body) + 1
    if size < 256 and len(items) < 256:
        return bytes((0xE0, size, len(items))) + body
    if size + 3 > _LIMIT:
        raise _too_long("array")
    return b"\xf0" + _TWO_U32(size + 3, len(items)) + body


COMPOUNDS: Final[dict[type, Callable[[Any, int], bytes]]] = {
    list: encode_list,
    tuple: encode_list,
    dict: encode_dict,
    Array: _encode_array,
    Described: _encode_described,
}
"""The encoder of each compound type; ``maps`` adds its own."""


def encode(value: Any) -> bytes:
    """Encode a value.

    Args:
        value: a value of the mapping that :mod:`amqp10.codec.types` describes, nested up to ``MAX_DEPTH`` levels.

    Returns:
        Its smallest encoding, constructor included.

    Raises:
        EncodeError: it has no AMQP type, is out of the range of its type, or nests too deep.
    """
    try:
        scalar = SCALARS.get(type(value))
        return scalar(value) if scalar is not None else encode_value(value)
    except UnicodeEncodeError as error:
        raise no_encoding(error) from None


def no_encoding(error: UnicodeEncodeError) -> EncodeError:
    """The EncodeError for a text that has no encoding."""
    return EncodeError(f"text that cannot be encoded as {error.encoding}: {error.reason}")

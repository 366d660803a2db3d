"""Composite JSON of maps and lists straight from the wire: without the values in between.

For maps whose keys are short strings, and for lists, of strings, numbers, booleans and nulls: what most programs send.
Anything else, and whatever is wrong with the data, is left to the general way, decoding and
:mod:`amqp10.component.json_text`; a test compares the two. Types, "type encodings".
"""

from __future__ import annotations

from collections.abc import Callable
from json.encoder import encode_basestring
from struct import Struct
from struct import error as struct_error
from typing import Any, Final

from amqp10.codec.types import NAME_KEPT, NAMES_KEPT
from amqp10.component.json_text import NOT_FINITE
from amqp10.component.scalars import format_double

__all__ = ["compound_text"]

_TWO_U32: Final = Struct(">II").unpack_from
_DOUBLE: Final = Struct(">d").unpack_from
_KEYS: Final[dict[bytes, str]] = {}
"""Keys are names, few and repeated: the texts of some are kept."""


def _texts(name: str, numbers: range) -> list[str]:
    texts = [f'{{"type": "{name}", "value": {number}}}' for number in numbers]
    return texts if numbers.start == 0 else texts[128:] + texts[:128]


_UNSIGNED: Final = range(256)
_SIGNED: Final = range(-128, 128)
_NO_OCTETS: Final = {
    0x40: "null",
    0x41: "true",
    0x42: "false",
    0x43: '{"type": "uint", "value": 0}',
    0x44: '{"type": "ulong", "value": 0}',
}
_ONE_OCTET: Final = {
    0x50: _texts("ubyte", _UNSIGNED),
    0x51: _texts("byte", _SIGNED),
    0x52: _texts("uint", _UNSIGNED),
    0x53: _texts("ulong", _UNSIGNED),
    0x54: _texts("int", _SIGNED),
    0x55: _texts("long", _SIGNED),
}
"""The texts of values of one byte, by that byte."""


def _wide(name: str, format: str) -> tuple[str, Callable[[bytes, int], tuple[Any, ...]], int]:
    layout = Struct(f">{format}")
    return f'{{"type": "{name}", "value": ', layout.unpack_from, layout.size + 1


_WIDE: Final = {
    0x60: _wide("ushort", "H"),
    0x61: _wide("short", "h"),
    0x70: _wide("uint", "I"),
    0x71: _wide("int", "i"),
    0x80: _wide("ulong", "Q"),
    0x81: _wide("long", "q"),
    0x83: _wide("timestamp", "q"),
}
"""What is written before a number, how it is read, and what it takes with its format code."""


def compound_text(buf: bytes, pos: int, most: int) -> str | None:
    """The composite JSON, in the abbreviated syntax, of the map or list at ``pos``, the last value in ``buf``.

    None where the general way has to be taken, and where the text is longer than ``most`` characters, if that is not 0.
    """
    code = buf[pos]
    try:
        if code >= 0xD0:
            size, count = _TWO_U32(buf, pos + 1)
            end = pos + 5 + size
            pos += 9
        else:
            end = pos + 2 + buf[pos + 1]
            count = buf[pos + 2]
            pos += 3
        if end != len(buf):
            return None
        parts = _pairs(buf, pos, end, count) if code & 1 else _elements(buf, pos, end, count)
    except (IndexError, struct_error, UnicodeDecodeError):
        return None
    if parts is None:
        return None
    text = f'{{"type": "{"map" if code & 1 else "list"}", "value": [{", ".join(parts)}]}}'
    return None if 0 < most < len(text) else text


def _pairs(buf: bytes, pos: int, end: int, count: int) -> list[str] | None:
    """The texts of keys and values, a key with its value."""
    parts: list[str] = []
    append = parts.append
    keys = set()
    while pos < end:
        if buf[pos] != 0xA1:
            return None
        at = pos + 2 + buf[pos + 1]
        raw = buf[pos + 2 : at]
        key = _KEYS.get(raw)
        if key is None:
            key = f"{encode_basestring(raw.decode())}, "
            if len(_KEYS) < NAMES_KEPT and len(raw) <= NAME_KEPT:
                _KEYS[raw] = key
        keys.add(raw)
        code = buf[at]
        if code == 0xA1:
            pos = at + 2 + buf[at + 1]
            append(f"{key}{encode_basestring(buf[at + 2 : pos].decode())}")
        elif (texts := _ONE_OCTET.get(code)) is not None:
            append(key + texts[buf[at + 1]])
            pos = at + 2
        elif (wide := _WIDE.get(code)) is not None:
            head, unpack, width = wide
            append(f"{key}{head}{unpack(buf, at + 1)[0]}}}")
            pos = at + width
        else:
            text, pos = _other(buf, at, code)
            if not pos:
                return None
            append(key + text)
    return parts if pos == end and 2 * len(parts) == count and len(keys) == len(parts) else None


def _elements(buf: bytes, pos: int, end: int, count: int) -> list[str] | None:
    parts: list[str] = []
    append = parts.append
    while pos < end:
        code = buf[pos]
        if code == 0xA1:
            at = pos
            pos = at + 2 + buf[at + 1]
            append(encode_basestring(buf[at + 2 : pos].decode()))
        elif (texts := _ONE_OCTET.get(code)) is not None:
            append(texts[buf[pos + 1]])
            pos += 2
        elif (wide := _WIDE.get(code)) is not None:
            head, unpack, width = wide
            append(f"{head}{unpack(buf, pos + 1)[0]}}}")
            pos += width
        else:
            text, pos = _other(buf, pos, code)
            if not pos:
                return None
            append(text)
    return parts if pos == end and len(parts) == count else None


def _other(buf: bytes, pos: int, code: int) -> tuple[str, int]:
    """The text of a double or of a value without bytes, and the position after it; 0 for any other."""
    if code == 0x82:
        text = format_double(_DOUBLE(buf, pos + 1)[0])
        if text in NOT_FINITE:
            text = f'"{text}"'
        return f'{{"type": "double", "value": {text}}}', pos + 9
    fixed = _NO_OCTETS.get(code)
    return (fixed, pos + 1) if fixed is not None else ("", 0)

"""The sections of a message: encoding, decoding, and finding them in a payload (messaging, "message format")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any, Final

from amqp10.codec.composite import lookup
from amqp10.codec.decode import decode_value, skip_value
from amqp10.codec.encode import STRING8, encode, encode_dict, no_encoding
from amqp10.codec.maps import Map
from amqp10.codec.types import Symbol
from amqp10.errors import DecodeError, EncodeError
from amqp10.wire.messaging import (
    SECTION_AMQP_SEQUENCE,
    SECTION_AMQP_VALUE,
    SECTION_APPLICATION_PROPERTIES,
    SECTION_DATA,
    SECTION_DELIVERY_ANNOTATIONS,
    SECTION_FOOTER,
    SECTION_HEADER,
    SECTION_MESSAGE_ANNOTATIONS,
    SECTION_NAMES,
    SECTION_PROPERTIES,
    Header,
    Properties,
)

__all__ = [
    "MAP_SECTIONS",
    "SHORT_NAMES",
    "VALUE_HEAD",
    "Span",
    "data_sections",
    "encode_application_properties",
    "encode_section",
    "encode_text_section",
    "find_sections",
    "section_value",
    "sequence_sections",
]

Span = tuple[int, int, int]
"""Where a section starts, where its value starts, and where it ends; of a repeated section, its first and its last."""

SHORT_NAMES: Final = {code: name.split(":")[1] for name, code in SECTION_NAMES.items()}
"""Descriptor code -> the name of the section in the specification."""
VALUE_HEAD: Final = bytes((0x00, 0x53, SECTION_AMQP_VALUE))
"""The first bytes of an amqp-value section."""
_TEXT_HEADS: Final = [VALUE_HEAD + head for head in STRING8]
_APPLICATION_PROPERTIES_HEAD: Final = bytes((0x00, 0x53, SECTION_APPLICATION_PROPERTIES))
_HEADS: Final = {code: bytes((0x00, 0x53, code)) for code in SHORT_NAMES}


# -- the body as it is given -----------------------------------------------------------------------------------------


def data_sections(data: Any) -> list[bytes]:
    if isinstance(data, bytes):
        return [data]
    if isinstance(data, (bytearray, memoryview)):
        return [bytes(data)]
    if isinstance(data, Sequence) and data and all(isinstance(part, (bytes, bytearray, memoryview)) for part in data):
        return [bytes(part) for part in data]
    raise EncodeError("a data body is bytes, or a sequence of at least one of them")


def sequence_sections(sequence: Any) -> list[list[Any]]:
    if not isinstance(sequence, Sequence) or isinstance(sequence, (str, bytes, bytearray, memoryview)):
        raise EncodeError("a sequence body is a list, or a sequence of at least one of them")
    parts = list(sequence)
    return parts if parts and all(isinstance(part, list) for part in parts) else [parts]


# -- sections to bytes -----------------------------------------------------------------------------------------------


def encode_section(code: int, value: Any) -> bytes:
    head = _HEADS[code]
    if code == SECTION_AMQP_VALUE:
        return head + encode(value)
    if code in (SECTION_PROPERTIES, SECTION_HEADER):
        if not isinstance(value, Properties if code == SECTION_PROPERTIES else Header):
            raise EncodeError(
                f"the section {SHORT_NAMES[code]} is a {SHORT_NAMES[code].title()}, not a {type(value).__name__}"
            )
        return value.encode()
    if code in (SECTION_DATA, SECTION_AMQP_SEQUENCE):
        return b"".join([head + encode(part) for part in value])
    if code == SECTION_APPLICATION_PROPERTIES:
        return encode_application_properties(value)
    _check_map(code, value)
    if any(type(key) is str for key in value):
        value = Map([(Symbol(key) if type(key) is str else key, item) for key, item in value.items()])
    return head + encode(value)


def encode_application_properties(pairs: Any) -> bytes:
    if type(pairs) is not dict:
        _check_map(SECTION_APPLICATION_PROPERTIES, pairs)
    for key in pairs:
        if not isinstance(key, str):
            raise EncodeError(f"the keys of application-properties are strings, not {type(key).__name__}")
    try:
        return _APPLICATION_PROPERTIES_HEAD + (encode_dict(pairs) if type(pairs) is dict else encode(pairs))
    except UnicodeEncodeError as error:
        raise no_encoding(error) from None


def encode_text_section(text: str) -> bytes:
    """An amqp-value section with a text, the most common body."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise no_encoding(error) from None
    return _TEXT_HEADS[len(data)] + data if len(data) < 256 else VALUE_HEAD + encode(text)


def _check_map(code: int, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise EncodeError(f"the section {SHORT_NAMES[code]} is a map, not a {type(value).__name__}")


# -- bytes to sections -----------------------------------------------------------------------------------------------


_SHORT_FORMS: Final = frozenset((0xA0, 0xA1, 0xC0, 0xC1))
"""The format codes with a one-byte size that sections usually have."""
_HEAD_AND_SIZE: Final = Struct(">IB").unpack_from
_USUAL_HEADS: Final = {0x5300C0 + (code << 8): code for code in (SECTION_HEADER, SECTION_PROPERTIES)} | {
    0x5300C1 + (code << 8): code
    for code in (SECTION_DELIVERY_ANNOTATIONS, SECTION_MESSAGE_ANNOTATIONS, SECTION_APPLICATION_PROPERTIES)
}
"""The first four bytes of a section in its usual form, up to the format code of its value, and its code."""
_USUAL_BODIES: Final = {
    0x5300A0 + (SECTION_DATA << 8): SECTION_DATA,
    0x5300A1 + (SECTION_AMQP_VALUE << 8): SECTION_AMQP_VALUE,
}
MAP_SECTIONS: Final = frozenset(
    (
        SECTION_DELIVERY_ANNOTATIONS,
        SECTION_MESSAGE_ANNOTATIONS,
        SECTION_APPLICATION_PROPERTIES,
        SECTION_FOOTER,
    )
)


def find_sections(buf: bytes) -> dict[int, Span]:
    """Where the sections are. Each is skipped by its size, without reading its contents."""
    spans: dict[int, Span] = {}
    pos = last = 0
    end = len(buf)
    # Most messages have sections in the usual forms and in order, with the body last. For all others the general
    # function starts again, because it knows what is wrong with them.
    while pos + 5 <= end:
        head, size = _HEAD_AND_SIZE(buf, pos)
        stop = pos + 5 + size
        code = _USUAL_HEADS.get(head, 0)
        if code <= last:
            if stop == end and (code := _USUAL_BODIES.get(head, 0)):
                spans[code] = pos, pos + 3, end
                return spans
            break
        spans[code] = pos, pos + 3, stop
        pos = stop
        last = code
    return _find_unusual(buf)


def _find_unusual(buf: bytes) -> dict[int, Span]:
    """Where the sections are, in whatever form, or what is wrong with them."""
    spans: dict[int, Span] = {}
    pos = 0
    last = 0
    end = len(buf)
    while pos < end:
        start = pos
        if buf[pos] != 0x00:
            raise DecodeError(f"a message section was expected at offset {pos}")
        if buf[pos + 1] == 0x53:
            code = buf[pos + 2]
            pos += 3
        else:
            code, pos = _other_descriptor(buf, pos + 1)
        if not SECTION_HEADER <= code <= SECTION_FOOTER:
            raise DecodeError(f"the descriptor at offset {start} is not that of a message section")
        value = pos
        pos = value + 2 + buf[value + 1] if buf[value] in _SHORT_FORMS else skip_value(buf, value)
        if pos > end:
            skip_value(buf, value)  # raises an error that says what is wrong
        if code > last:
            if last >= SECTION_DATA and code <= SECTION_AMQP_VALUE:
                raise DecodeError(f"the message has two kinds of body, {SHORT_NAMES[last]} and {SHORT_NAMES[code]}")
            spans[code] = start, value, pos
            last = code
        elif code == last and (code in (SECTION_DATA, SECTION_AMQP_SEQUENCE)):
            start, value, _ = spans[code]
            spans[code] = start, value, pos
        elif code == last:
            raise DecodeError(f"the section {SHORT_NAMES[code]} is repeated at offset {start}")
        else:
            raise DecodeError(f"the section {SHORT_NAMES[code]} at offset {start} comes after {SHORT_NAMES[last]}")
    return spans


def _other_descriptor(buf: bytes, pos: int) -> tuple[int, int]:
    """The code of a descriptor in one of its rarer forms, -1 for none, and the position after it."""
    descriptor, pos = decode_value(buf, pos)
    # Any value can be a descriptor, even one that cannot be hashed.
    if isinstance(descriptor, str):
        return SECTION_NAMES.get(descriptor, -1), pos
    return (int(descriptor) if isinstance(descriptor, int) else -1), pos


def section_value(buf: bytes, code: int, start: int, end: int) -> Any:
    """The value of a section in any form."""
    if code in (SECTION_DATA, SECTION_AMQP_SEQUENCE):
        expected: type = bytes if code == SECTION_DATA else list
        parts = []
        while True:
            part, pos = decode_value(buf, start)
            if not isinstance(part, expected):
                raise _wrong_value(code, part)
            parts.append(part)
            if pos == end:
                return parts
            # The descriptor of the next one was checked when the sections were found.
            start = skip_value(buf, pos + 1)
    value, pos = decode_value(buf, start)
    if pos != end:
        raise DecodeError(f"the section {SHORT_NAMES[code]} at offset {start} does not end where its size says")
    if code == SECTION_AMQP_VALUE:
        return value
    if code in (SECTION_HEADER, SECTION_PROPERTIES):
        if not isinstance(value, list):
            raise _wrong_value(code, value)
        cls = lookup(code)
        assert cls is not None
        return cls.from_list(value)
    if not isinstance(value, (dict, Map)):
        raise _wrong_value(code, value)
    return value


def _wrong_value(code: int, value: Any) -> DecodeError:
    return DecodeError(f"the section {SHORT_NAMES[code]} cannot hold a value of type {type(value).__name__}")

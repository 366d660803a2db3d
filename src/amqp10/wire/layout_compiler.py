"""Layouts: a message that has the same structure as earlier ones is read in one step.

Most messages of a stream have the same structure: the same sections, fields and keys, with texts of the same sizes.
What does not change, everything before the body except the contents of the fields, is their *layout*. Some messages are
analysed as samples. A layout that is found again is compiled into a function, which takes a message apart with one
``unpack``, compares the constant parts, and builds the sections from the rest. That takes less time than finding the
sections.

This is only an optimization. A message with an unknown layout, with a body that is neither a short text nor a map, or
with an error is read by :mod:`amqp10.wire.message`; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any, Final, NamedTuple

from amqp10.codec import DecodeError
from amqp10.codec.composite import RESTRICTED, Composite
from amqp10.codec.decode import DECODE_FAULTS, decode_map, decode_symbol, decode_value
from amqp10.codec.types import Byte, Int, Short, Symbol, Timestamp, UByte, UInt, ULong, UShort
from amqp10.wire.messaging import (
    SECTION_AMQP_VALUE,
    SECTION_APPLICATION_PROPERTIES,
    SECTION_DELIVERY_ANNOTATIONS,
    SECTION_HEADER,
    SECTION_MESSAGE_ANNOTATIONS,
    SECTION_PROPERTIES,
    Header,
    Properties,
)

__all__ = ["draft_of"]

Spans = Mapping[int, tuple[int, int, int]]
_LONGEST: Final = 1024
"""The longest part before the body, in bytes, for which a layout is made."""


class _Kind(NamedTuple):
    """How a value of one format code is read, given its place in the unpacked data as ``{}``."""

    format: str
    """Its code in a ``Struct``; "s" for bytes after their size, empty for a value without bytes."""
    source: str
    width: int = 0


_KINDS: Final[Mapping[int, _Kind]] = {
    0x40: _Kind("", "None"),
    0x41: _Kind("", "True"),
    0x42: _Kind("", "False"),
    0x43: _Kind("", "new(UInt, 0)"),
    0x44: _Kind("", "new(ULong, 0)"),
    0x50: _Kind("B", "new(UByte, {})", 1),
    0x51: _Kind("b", "new(Byte, {})", 1),
    0x52: _Kind("B", "new(UInt, {})", 1),
    0x53: _Kind("B", "new(ULong, {})", 1),
    0x54: _Kind("b", "new(Int, {})", 1),
    0x55: _Kind("b", "{}", 1),
    0x60: _Kind("H", "new(UShort, {})", 2),
    0x61: _Kind("h", "new(Short, {})", 2),
    0x70: _Kind("I", "new(UInt, {})", 4),
    0x71: _Kind("i", "new(Int, {})", 4),
    0x80: _Kind("Q", "new(ULong, {})", 8),
    0x81: _Kind("q", "{}", 8),
    0x82: _Kind("d", "{}", 8),
    0x83: _Kind("q", "new(Timestamp, {})", 8),
    0xA0: _Kind("s", "{}"),
    0xA1: _Kind("s", "{}.decode()"),
    0xA3: _Kind("s", "symbol({})"),
}
_FITTING: Final[Mapping[str, frozenset[int]]] = {
    "*": frozenset(_KINDS),
    "binary": frozenset((0x40, 0xA0)),
    "boolean": frozenset((0x40, 0x41, 0x42)),
    "string": frozenset((0x40, 0xA1)),
    "symbol": frozenset((0x40, 0xA3)),
    "timestamp": frozenset((0x40, 0x83)),
    "ubyte": frozenset((0x40, 0x50)),
    "uint": frozenset((0x40, 0x43, 0x52, 0x70)),
}
"""The format codes that a field of each type may have, whatever the contents."""
_NAMES: Final = {
    "new": int.__new__,
    "Byte": Byte,
    "Int": Int,
    "Short": Short,
    "Timestamp": Timestamp,
    "UByte": UByte,
    "UInt": UInt,
    "ULong": ULong,
    "UShort": UShort,
    "symbol": decode_symbol,
    "make": object.__new__,
    "read_map": decode_map,
    "sizes": Struct(">II").unpack_from,
    "Header": Header,
    "Properties": Properties,
    "faults": (*DECODE_FAULTS, DecodeError),
}
_COMPOSITES: Final[Mapping[int, type[Composite]]] = {SECTION_HEADER: Header, SECTION_PROPERTIES: Properties}
_MAPS: Final[Mapping[int, str]] = {
    SECTION_DELIVERY_ANNOTATIONS: "delivery_annotations",
    SECTION_MESSAGE_ANNOTATIONS: "message_annotations",
    SECTION_APPLICATION_PROPERTIES: "application_properties",
}
_OTHERS: Final = ("header", *_MAPS.values(), "properties", "data", "sequence", "footer")


class _UnfitError(Exception):
    """There is no layout for something in the message."""


class Draft:
    """A layout that is being made: what to unpack, and the source that builds the sections from it."""

    def __init__(self, buf: bytes, spans: Spans) -> None:
        self.buf: bytes = buf
        self.spans: Spans = spans
        self.start: int = 0
        """Where the bytes that are not unpacked yet start."""
        self.formats: list[str] = []
        self.fixed: dict[str, bytes] = {}
        self.keys: list[str | Symbol] = []
        self.lines: list[str] = []

    def skip_to(self, pos: int) -> None:
        """Add the bytes before ``pos``, which are the same in every message of this layout."""
        if pos > self.start:
            self.fixed[f"f{len(self.formats)}"] = self.buf[self.start : pos]
            self.formats.append(f"{pos - self.start}s")
            self.start = pos

    def value(self, pos: int, fitting: frozenset[int]) -> tuple[str, int]:
        """The source of the value at ``pos``, and where it ends."""
        code = self.buf[pos]
        if code not in fitting:
            raise _UnfitError
        kind = _KINDS[code]
        pos += 1
        size = kind.width
        if kind.format == "s":
            size = self.buf[pos]
            pos += 1
        if not kind.format:
            return kind.source, pos
        self.skip_to(pos)
        name = f"v{len(self.formats)}"
        self.formats.append(f"{size}s" if kind.format == "s" else kind.format)
        self.start = pos + size
        return kind.source.format(name), pos + size

    def key(self, pos: int) -> tuple[str, int]:
        """The source of the key of a map, which is the same in every message."""
        if self.buf[pos] not in (0xA1, 0xA3):
            raise _UnfitError
        key, pos = decode_value(self.buf, pos)
        self.keys.append(key)
        return f"keys[{len(self.keys) - 1}]" if isinstance(key, Symbol) else repr(key), pos

    def compound(self, pos: int, code: int) -> tuple[int, int]:
        """How many elements the list or map at ``pos`` has, in either form, and where the first one starts."""
        if self.buf[pos] == code:
            return self.buf[pos + 2], pos + 3
        if self.buf[pos] != code + 0x10:
            raise _UnfitError
        return _SIZES(self.buf, pos + 1)[1], pos + 9

    def composite(self, cls: type[Composite], pos: int, end: int) -> None:
        """The section of a composite type whose list starts at ``pos``."""
        name = cls.NAME
        if self.buf[pos] == 0x45:
            count = 0
            pos += 1
        else:
            count, pos = self.compound(pos, 0xC0)
        self.lines.append(f"{name} = make({cls.__name__})")
        absent = ""
        for i, spec in enumerate(cls.FIELDS):
            source = "None"
            if i < count:
                source, pos = self.value(pos, _FITTING[RESTRICTED.get(spec.type, spec.type)])
            if source == "None":
                absent += f"{name}.{spec.attribute} = "
            else:
                self.lines.append(f"{name}.{spec.attribute} = {source}")
        if absent:
            self.lines.append(f"{absent}None")
        if pos != end:
            raise _UnfitError

    def map(self, name: str, pos: int, end: int) -> None:
        """The section of keys and values whose map starts at ``pos``."""
        count, pos = self.compound(pos, 0xC1)
        pairs = []
        first = len(self.keys)
        while pos < end:
            key, pos = self.key(pos)
            value, pos = self.value(pos, _FITTING["*"])
            pairs.append(f"{key}: {value}")
        keys = self.keys[first:]
        self.lines.append(f"{name} = {{{', '.join(pairs)}}}")
        if pos != end or 2 * len(pairs) != count or len(set(keys)) < len(keys):
            raise _UnfitError

    def body(self, pos: int) -> list[str]:
        """The lines that read a body at ``pos`` in the form of this one, and everything before it."""
        form = self.buf[pos + 3]
        same = f"if buf[{pos} : {pos + 4}] != {_BODY + bytes((form,))!r}"
        at = pos + 4
        if form == 0xA1:
            size = f"buf[{at}] != size - {at + 1}"
            read = [f"value = buf[{at + 1} :].decode()"]
        elif form == 0xC1:
            size = f"buf[{at}] != size - {at + 1}"
            read = [f"value = read_map(buf, {at + 2}, buf[{at + 1}], size, 1)"]
        else:
            size = f"sizes(buf, {at})[0] != size - {at + 4}"
            read = [f"value = read_map(buf, {at + 8}, sizes(buf, {at})[1], size, 1)"]
        return [f"{same} or {size}:", "    return False", *self.lines, *read]

    @property
    def layout(self) -> tuple[bytes | str, ...]:
        """What messages of the same layout have in common."""
        at = self.spans[SECTION_AMQP_VALUE][1]
        return (*self.formats, *self.fixed.values(), self.buf[at : at + 1])

    def reader(self) -> Callable[[Any, bytes], bool]:
        """The function for messages of this layout, compiled."""
        context: dict[str, Any] = {
            **_NAMES,
            "keys": self.keys,
            "unpack": Struct(">" + "".join(self.formats)).unpack_from,
        }
        exec(self._source(), context)
        read: Callable[[Any, bytes], bool] = context["read"]
        return read

    def _source(self) -> str:
        spans = self.spans
        end = spans[SECTION_AMQP_VALUE][0]
        names = ", ".join(f"{'f' if f'f{i}' in self.fixed else 'v'}{i}" for i in range(len(self.formats)))
        differs = " or ".join(f"{name} != {data!r}" for name, data in self.fixed.items())
        found = "".join(f"{code}: {span}, " for code, span in spans.items() if code != SECTION_AMQP_VALUE)
        present = {
            _COMPOSITES[code].NAME if code in _COMPOSITES else _MAPS[code] for code in spans if code in _SECTIONS
        }
        lines = [
            f"({names},) = unpack(buf)",
            f"if {differs}:",
            "    return False",
            "size = len(buf)",
            *self.body(end),
        ]
        return "\n".join(
            (
                "def read(message, buf):",
                "    try:",
                *(f"        {line}" for line in lines),
                "    except faults:",
                "        return False",
                *(f"    message._{name} = {name}" for name in sorted(present)),
                *(f"    message._{name} = None" for name in _OTHERS if name not in present),
                "    message._value = value",
                f"    message._spans = {{{found}{SECTION_AMQP_VALUE}: ({end}, {end + 3}, size)}}",
                "    return True",
            )
        )


_SECTIONS: Final = frozenset((*_COMPOSITES, *_MAPS))
_BODY: Final = bytes((0x00, 0x53, SECTION_AMQP_VALUE))
_BODIES: Final = frozenset((0xA1, 0xC1, 0xD1))
"""The format codes of bodies that a layout can have: a short text, or a map of values of any kind."""
_SIZES: Final = Struct(">II").unpack_from


def draft_of(key: bytes, buf: bytes, spans: Spans) -> Draft | None:
    """The layout of a message; None if there cannot be one.

    Args:
        key: the bytes that the message begins with, by which it will be looked up.
        buf: the payload.
        spans: where its sections are, see ``Message.scan``.
    """
    body = spans.get(SECTION_AMQP_VALUE)
    if body is None or not len(key) < body[0] <= _LONGEST or buf[body[1]] not in _BODIES or body[2] != len(buf):
        return None
    draft = Draft(buf, spans)
    try:
        for code, (_, start, end) in spans.items():
            if code in _COMPOSITES:
                draft.composite(_COMPOSITES[code], start, end)
            elif code in _MAPS:
                draft.map(_MAPS[code], start, end)
    except (_UnfitError, IndexError, UnicodeDecodeError, DecodeError):
        return None
    draft.skip_to(body[0])
    return draft

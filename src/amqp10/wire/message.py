"""Messages: sections, decoded when they are first looked at (messaging, "message format")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import cycle
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias

from amqp10.codec.composite import lookup
from amqp10.codec.decode import (
    DECODE_FAULTS,
    decode_map,
    decode_value,
    skip_value,
    translate,
)
from amqp10.codec.encode import STRING8, encode, encode_dict, no_encoding
from amqp10.codec.types import Map, Symbol
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

if TYPE_CHECKING:
    from amqp10.wire.layouts import Layouts

__all__ = ["ABSENT", "BodyKind", "Message"]


class _Absent(Enum):
    ABSENT = 0
    UNREAD = 1

    def __repr__(self) -> str:
        return self.name


ABSENT: Final = _Absent.ABSENT
"""Stands for "no amqp-value section", because an amqp-value section may hold null."""
_UNREAD: Final = _Absent.UNREAD
_Unread: TypeAlias = Literal[_Absent.UNREAD]


class BodyKind(Enum):
    """Which sections make up a message's body."""

    NONE = "none"
    DATA = "data"
    SEQUENCE = "amqp-sequence"
    VALUE = "amqp-value"


_KINDS: Final = {
    SECTION_DATA: BodyKind.DATA,
    SECTION_AMQP_SEQUENCE: BodyKind.SEQUENCE,
    SECTION_AMQP_VALUE: BodyKind.VALUE,
}
_NAMES: Final = {code: name.split(":")[1] for name, code in SECTION_NAMES.items()}
_VALUE_HEAD: Final = bytes((0x00, 0x53, SECTION_AMQP_VALUE))
_TEXT_HEADS: Final = [_VALUE_HEAD + head for head in STRING8]
_APPLICATION_PROPERTIES_HEAD: Final = bytes((0x00, 0x53, SECTION_APPLICATION_PROPERTIES))
_HEADS: Final = {code: bytes((0x00, 0x53, code)) for code in _NAMES}

Pairs = Mapping[Any, Any]
Span = tuple[int, int, int]
"""Where a section starts, where its value starts, and where it ends; of a repeated section, its first and its last."""


_new: Final = object.__new__
_COMPOSED: Final[dict[int, Span]] = {}
"""The spans of a message that was not decoded."""
LAYOUTS: Final[Layouts] = {}
"""The layouts that are known, see ``layouts.py``."""
_SAMPLES: Final = cycle((*(False,) * 63, True))
"""Which messages are looked at more closely, to learn their layouts."""


class Message:
    """A message with all its sections.

    Sections are read and assigned as attributes; ``None`` is an absent one. The body is given by exactly one of
    ``data``, ``sequence`` and ``value``, or by none; assigning one of them replaces the body.

    A decoded message keeps its bytes. :meth:`encode` gives them back as they are, and of a message that was changed it
    gives back every section that was not: whether it was changed by assignment or in place.

    Keys of annotations and of the footer that are plain ``str`` are sent as symbols, which is what the specification
    wants there.

    Args:
        header: durability, priority, time to live (messaging, "header").
        delivery_annotations: for the next hop only.
        message_annotations: for the infrastructure.
        properties: the standard properties.
        application_properties: the program's own; string keys, simple values.
        data: one binary section, or a sequence of at least one.
        sequence: the elements of one amqp-sequence section, or a sequence of at least one list, one for each section.
        value: one value of any type; None stands for null.
        footer: what can only be known once the message is complete.

    Raises:
        EncodeError: more than one kind of body is given, or something that cannot be one.
    """

    __slots__ = (
        "_application_properties",
        "_data",
        "_delivery_annotations",
        "_footer",
        "_header",
        "_message_annotations",
        "_payload",
        "_properties",
        "_sequence",
        "_spans",
        "_value",
    )

    _payload: bytes
    _spans: dict[int, Span] | None
    _header: Header | _Unread | None
    _delivery_annotations: Pairs | _Unread | None
    _message_annotations: Pairs | _Unread | None
    _properties: Properties | _Unread | None
    _application_properties: Pairs | _Unread | None
    _data: list[bytes] | _Unread | None
    _sequence: list[list[Any]] | _Unread | None
    _value: Any
    _footer: Pairs | _Unread | None

    def __init__(
        self,
        *,
        header: Header | None = None,
        delivery_annotations: Pairs | None = None,
        message_annotations: Pairs | None = None,
        properties: Properties | None = None,
        application_properties: Pairs | None = None,
        data: bytes | bytearray | memoryview | Sequence[bytes] | None = None,
        sequence: Sequence[Any] | None = None,
        value: Any = ABSENT,
        footer: Pairs | None = None,
    ) -> None:
        self._payload = b""
        self._spans = _COMPOSED
        self._header = header
        self._delivery_annotations = delivery_annotations
        self._message_annotations = message_annotations
        self._properties = properties
        self._application_properties = application_properties
        self._footer = footer
        self._value = value
        self._data = None
        self._sequence = None
        if data is not None or sequence is not None:
            if value is not ABSENT or (data is not None and sequence is not None):
                raise EncodeError("a message has one kind of body: data, sequence or value")
            if data is not None:
                self._data = _data_sections(data)
            elif sequence is not None:
                self._sequence = _sequence_sections(sequence)

    # -- decoding --------------------------------------------------------------------------------------------------

    @classmethod
    def decode(cls, payload: bytes | bytearray | memoryview) -> Self:
        """The message of an encoded payload. Nothing is looked at yet, so this raises nothing.

        Every later access to a section raises :class:`DecodeError` when the sections are out of order, repeated, of
        mixed bodies or cut short, or when that section itself is malformed.
        """
        self = _new(cls)
        self._payload = payload if type(payload) is bytes else bytes(payload)
        self._spans = None
        self._header = self._delivery_annotations = self._message_annotations = self._properties = _UNREAD
        self._application_properties = self._data = self._sequence = self._value = self._footer = _UNREAD
        return self

    def scan(self) -> Mapping[int, Span]:
        """Find the sections, without decoding them: descriptor code -> where it stands in the payload.

        Raises:
            DecodeError: the payload is not a sequence of sections in the right order.
        """
        spans = self._spans
        if spans is None:
            try:
                spans = self._spans = _scan(self._payload)
            except DECODE_FAULTS as error:
                raise translate(error) from None
        return spans

    def _read(self, code: int) -> Any:
        """Decode a section that nobody has looked at yet."""
        buf = self._payload
        try:
            spans = self._spans
            if spans is None:
                key = buf[:8]
                for read in LAYOUTS.get(key, ()):
                    if read(self, buf):
                        return getattr(self, _SLOTS[code])
                spans = self._spans = _scan(buf)
                if next(_SAMPLES):
                    from amqp10.wire.layouts import learn  # not before there is a stream of messages to learn from

                    learn(LAYOUTS, key, buf, spans)
            span = spans.get(code)
            if span is None:
                return ABSENT if code == SECTION_AMQP_VALUE else None
            _, start, end = span
            # The forms that common messages have, without the steps in between. Finding the sections has checked the
            # size.
            form = buf[start]
            if form == 0xC1:
                if code in _MAPS:
                    return decode_map(buf, start + 3, buf[start + 2], end, 1)
            elif form == 0xA1:
                if code == SECTION_AMQP_VALUE:
                    return buf[start + 2 : end].decode()
            elif form == 0xC0:
                if code == SECTION_PROPERTIES:
                    return Properties.from_buffer(buf, start + 3, buf[start + 2], end)
                if code == SECTION_HEADER:
                    return Header.from_buffer(buf, start + 3, buf[start + 2], end)
            return _section_value(buf, code, start, end)
        except DECODE_FAULTS as error:
            raise translate(error) from None

    def validate(self) -> None:
        """Decode every section.

        Raises:
            DecodeError: one of them is malformed.
        """
        for code in self.scan():
            if getattr(self, _SLOTS[code]) is _UNREAD:
                setattr(self, _SLOTS[code], self._read(code))

    # -- sections --------------------------------------------------------------------------------------------------

    @property
    def header(self) -> Header | None:
        """Delivery details (messaging, "header")."""
        value = self._header
        if value is not _UNREAD:
            return value
        read: Header | None = self._read(SECTION_HEADER)
        self._header = read
        return read

    @header.setter
    def header(self, value: Header | None) -> None:
        self.scan()
        self._header = value

    @property
    def delivery_annotations(self) -> Pairs | None:
        """For the next hop only (messaging, "delivery-annotations")."""
        value = self._delivery_annotations
        if value is not _UNREAD:
            return value
        read: Pairs | None = self._read(SECTION_DELIVERY_ANNOTATIONS)
        self._delivery_annotations = read
        return read

    @delivery_annotations.setter
    def delivery_annotations(self, value: Pairs | None) -> None:
        self.scan()
        self._delivery_annotations = value

    @property
    def message_annotations(self) -> Pairs | None:
        """For the infrastructure (messaging, "message-annotations")."""
        value = self._message_annotations
        if value is not _UNREAD:
            return value
        read: Pairs | None = self._read(SECTION_MESSAGE_ANNOTATIONS)
        self._message_annotations = read
        return read

    @message_annotations.setter
    def message_annotations(self, value: Pairs | None) -> None:
        self.scan()
        self._message_annotations = value

    @property
    def properties(self) -> Properties | None:
        """The standard properties (messaging, "properties")."""
        value = self._properties
        if value is not _UNREAD:
            return value
        read: Properties | None = self._read(SECTION_PROPERTIES)
        self._properties = read
        return read

    @properties.setter
    def properties(self, value: Properties | None) -> None:
        self.scan()
        self._properties = value

    @property
    def application_properties(self) -> Pairs | None:
        """The program's own properties (messaging, "application-properties")."""
        value = self._application_properties
        if value is not _UNREAD:
            return value
        read: Pairs | None = self._read(SECTION_APPLICATION_PROPERTIES)
        self._application_properties = read
        return read

    @application_properties.setter
    def application_properties(self, value: Pairs | None) -> None:
        self.scan()
        self._application_properties = value

    @property
    def footer(self) -> Pairs | None:
        """What could only be known at the end (messaging, "footer")."""
        value = self._footer
        if value is not _UNREAD:
            return value
        read: Pairs | None = self._read(SECTION_FOOTER)
        self._footer = read
        return read

    @footer.setter
    def footer(self, value: Pairs | None) -> None:
        self.scan()
        self._footer = value

    # -- body ------------------------------------------------------------------------------------------------------

    @property
    def body_kind(self) -> BodyKind:
        """Which kind of body the message has."""
        spans = self.scan()
        for code, kind in _KINDS.items():
            value = getattr(self, _SLOTS[code])
            if code in spans if value is _UNREAD else value is not None and value is not ABSENT:
                return kind
        if self._value is None:
            return BodyKind.VALUE
        return BodyKind.NONE

    @property
    def data_sections(self) -> list[bytes] | None:
        """The data sections one by one; None when the body is of another kind (messaging, "data")."""
        value = self._data
        if value is not _UNREAD:
            return value
        read: list[bytes] | None = self._read(SECTION_DATA)
        self._data = read
        return read

    @property
    def data(self) -> bytes | None:
        """The data sections, joined; None when the body is of another kind (messaging, "data").

        Assign one section, or a sequence of them.
        """
        parts = self.data_sections
        if parts is None:
            return None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @data.setter
    def data(self, value: bytes | bytearray | memoryview | Sequence[bytes]) -> None:
        parts = _data_sections(value)
        self._drop_body()
        self._data = parts

    @property
    def sequence(self) -> list[list[Any]] | None:
        """The amqp-sequence sections; None when the body is of another kind (messaging, "amqp-sequence").

        Assign the elements of one section, or a sequence of lists, one for each.
        """
        value = self._sequence
        if value is not _UNREAD:
            return value
        read: list[list[Any]] | None = self._read(SECTION_AMQP_SEQUENCE)
        self._sequence = read
        return read

    @sequence.setter
    def sequence(self, value: Sequence[Any]) -> None:
        parts = _sequence_sections(value)
        self._drop_body()
        self._sequence = parts

    @property
    def value(self) -> Any:
        """The value of an amqp-value body; None for null and for bodies of another kind (messaging, "amqp-value").

        Assign ``ABSENT`` for no body at all.
        """
        value = self._value
        if value is _UNREAD:
            value = self._value = self._read(SECTION_AMQP_VALUE)
        return None if value is ABSENT else value

    @value.setter
    def value(self, value: Any) -> None:
        self._drop_body()
        self._value = value

    def _drop_body(self) -> None:
        self.scan()
        self._data = self._sequence = None
        self._value = ABSENT

    # -- encoding --------------------------------------------------------------------------------------------------

    def encode(self) -> bytes:
        """The encoded message.

        Raises:
            EncodeError: a section holds a value that has no encoding, or that does not belong there.
            DecodeError: a decoded message was changed, and what it was decoded from is malformed.
        """
        spans = self._spans
        if spans is None:
            return self._payload
        if spans is _COMPOSED:
            return self._compose()
        parts: list[bytes] = []
        for code, slot in _SLOTS.items():
            value = getattr(self, slot)
            span = spans.get(code)
            if span is not None and (value is _UNREAD or self._is_unchanged(code, span, value)):
                parts.append(self._payload[span[0] : span[2]])
            elif value is _UNREAD or value is ABSENT or (value is None and code != SECTION_AMQP_VALUE):
                continue
            else:
                parts.append(_encode_section(code, value))
        return b"".join(parts)

    def _compose(self) -> bytes:
        """The encoding of a message that was not decoded: every section as it is now."""
        parts = []
        if self._header is not None:
            parts.append(_encode_section(SECTION_HEADER, self._header))
        if self._delivery_annotations is not None:
            parts.append(_encode_section(SECTION_DELIVERY_ANNOTATIONS, self._delivery_annotations))
        if self._message_annotations is not None:
            parts.append(_encode_section(SECTION_MESSAGE_ANNOTATIONS, self._message_annotations))
        properties = self._properties
        if type(properties) is Properties:
            parts.append(properties.encode())
        elif properties is not None:
            parts.append(_encode_section(SECTION_PROPERTIES, properties))
        pairs = self._application_properties
        if pairs is not None:
            parts.append(_encode_application_properties(pairs))
        value = self._value
        if type(value) is str:
            parts.append(_encode_text_section(value))
        elif value is not ABSENT:
            parts.append(_VALUE_HEAD + encode(value))
        elif self._data is not None:
            parts.append(_encode_section(SECTION_DATA, self._data))
        elif self._sequence is not None:
            parts.append(_encode_section(SECTION_AMQP_SEQUENCE, self._sequence))
        if self._footer is not None:
            parts.append(_encode_section(SECTION_FOOTER, self._footer))
        return b"".join(parts)

    def _is_unchanged(self, code: int, span: Span, value: Any) -> bool:
        """Whether a section still has the value that was decoded. Its encoding tells, because values can be changed in
        place, and because Python takes values of different types for equal."""
        if value is ABSENT or (value is None and code != SECTION_AMQP_VALUE):
            return False
        try:
            before = _section_value(self._payload, code, span[1], span[2])
        except DECODE_FAULTS as error:
            raise translate(error) from None
        if type(before) is not type(value):
            return False
        return _encode_section(code, before) == _encode_section(code, value)

    def __repr__(self) -> str:
        if self._spans is None:
            return f"<Message of {len(self._payload)} octets>"
        shown = []
        for code, slot in _SLOTS.items():
            value = getattr(self, slot)
            if code in self._spans if value is _UNREAD else value is not None and value is not ABSENT:
                shown.append(_NAMES[code])
        return f"<Message: {', '.join(shown)}>"


_SLOTS: Final = {
    SECTION_HEADER: "_header",
    SECTION_DELIVERY_ANNOTATIONS: "_delivery_annotations",
    SECTION_MESSAGE_ANNOTATIONS: "_message_annotations",
    SECTION_PROPERTIES: "_properties",
    SECTION_APPLICATION_PROPERTIES: "_application_properties",
    SECTION_DATA: "_data",
    SECTION_AMQP_SEQUENCE: "_sequence",
    SECTION_AMQP_VALUE: "_value",
    SECTION_FOOTER: "_footer",
}
"""Every section and the slot that it is kept in, in the order in which they stand in a message."""


# -- the body as it is given -----------------------------------------------------------------------------------------


def _data_sections(data: Any) -> list[bytes]:
    if isinstance(data, bytes):
        return [data]
    if isinstance(data, (bytearray, memoryview)):
        return [bytes(data)]
    if isinstance(data, Sequence) and data and all(isinstance(part, (bytes, bytearray, memoryview)) for part in data):
        return [bytes(part) for part in data]
    raise EncodeError("a data body is bytes, or a sequence of at least one of them")


def _sequence_sections(sequence: Any) -> list[list[Any]]:
    if not isinstance(sequence, Sequence) or isinstance(sequence, (str, bytes, bytearray, memoryview)):
        raise EncodeError("a sequence body is a list, or a sequence of at least one of them")
    parts = list(sequence)
    return parts if parts and all(isinstance(part, list) for part in parts) else [parts]


# -- sections to bytes -----------------------------------------------------------------------------------------------


def _encode_section(code: int, value: Any) -> bytes:
    head = _HEADS[code]
    if code == SECTION_AMQP_VALUE:
        return head + encode(value)
    if code in (SECTION_PROPERTIES, SECTION_HEADER):
        if not isinstance(value, Properties if code == SECTION_PROPERTIES else Header):
            raise EncodeError(f"the section {_NAMES[code]} is a {_NAMES[code].title()}, not a {type(value).__name__}")
        return value.encode()
    if code in (SECTION_DATA, SECTION_AMQP_SEQUENCE):
        return b"".join([head + encode(part) for part in value])
    if code == SECTION_APPLICATION_PROPERTIES:
        return _encode_application_properties(value)
    _check_map(code, value)
    if any(type(key) is str for key in value):
        value = Map([(Symbol(key) if type(key) is str else key, item) for key, item in value.items()])
    return head + encode(value)


def _encode_application_properties(pairs: Any) -> bytes:
    if type(pairs) is not dict:
        _check_map(SECTION_APPLICATION_PROPERTIES, pairs)
    for key in pairs:
        if not isinstance(key, str):
            raise EncodeError(f"the keys of application-properties are strings, not {type(key).__name__}")
    try:
        return _APPLICATION_PROPERTIES_HEAD + (encode_dict(pairs) if type(pairs) is dict else encode(pairs))
    except UnicodeEncodeError as error:
        raise no_encoding(error) from None


def _encode_text_section(text: str) -> bytes:
    """An amqp-value section with a text, which most bodies are."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise no_encoding(error) from None
    return _TEXT_HEADS[len(data)] + data if len(data) < 256 else _VALUE_HEAD + encode(text)


def _check_map(code: int, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise EncodeError(f"the section {_NAMES[code]} is a map, not a {type(value).__name__}")


# -- bytes to sections -----------------------------------------------------------------------------------------------


_SHORT_FORMS: Final = frozenset((0xA0, 0xA1, 0xC0, 0xC1))
"""Format codes of values whose size is the octet behind them, as far as sections usually have them."""
_HEAD_AND_SIZE: Final = Struct(">IB").unpack_from
_USUAL_HEADS: Final = {0x5300C0 + (code << 8): code for code in (SECTION_HEADER, SECTION_PROPERTIES)} | {
    0x5300C1 + (code << 8): code
    for code in (SECTION_DELIVERY_ANNOTATIONS, SECTION_MESSAGE_ANNOTATIONS, SECTION_APPLICATION_PROPERTIES)
}
"""The first four octets of a section in its usual form, up to the format code of its value, and its code."""
_USUAL_BODIES: Final = {
    0x5300A0 + (SECTION_DATA << 8): SECTION_DATA,
    0x5300A1 + (SECTION_AMQP_VALUE << 8): SECTION_AMQP_VALUE,
}
_MAPS: Final = frozenset(
    (
        SECTION_DELIVERY_ANNOTATIONS,
        SECTION_MESSAGE_ANNOTATIONS,
        SECTION_APPLICATION_PROPERTIES,
        SECTION_FOOTER,
    )
)


def _scan(buf: bytes) -> dict[int, Span]:
    """Where the sections stand. Each is stepped over by its size; what is in it is not looked at."""
    spans: dict[int, Span] = {}
    pos = last = 0
    end = len(buf)
    # Sections in their usual forms and in order, the body last: most messages are like that. The walk begins anew for
    # all others, because only it knows what is wrong with them.
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
    return _scan_any(buf)


def _scan_any(buf: bytes) -> dict[int, Span]:
    """Where the sections stand, in whatever form, or what is wrong with them."""
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
            raise DecodeError(f"no message section has the descriptor at offset {start}")
        value = pos
        pos = value + 2 + buf[value + 1] if buf[value] in _SHORT_FORMS else skip_value(buf, value)
        if pos > end:
            skip_value(buf, value)  # it has the words for what is wrong
        if code > last:
            if last >= SECTION_DATA and code <= SECTION_AMQP_VALUE:
                raise DecodeError(f"the message has two kinds of body, {_NAMES[last]} and {_NAMES[code]}")
            spans[code] = start, value, pos
            last = code
        elif code == last and (code in (SECTION_DATA, SECTION_AMQP_SEQUENCE)):
            start, value, _ = spans[code]
            spans[code] = start, value, pos
        elif code == last:
            raise DecodeError(f"the section {_NAMES[code]} stands a second time at offset {start}")
        else:
            raise DecodeError(f"the section {_NAMES[code]} at offset {start} stands behind {_NAMES[last]}")
    return spans


def _other_descriptor(buf: bytes, pos: int) -> tuple[int, int]:
    """The code that a descriptor in one of its rarer forms stands for, -1 for none, and the position behind it."""
    descriptor, pos = decode_value(buf, pos)
    # Any value can be a descriptor, those that cannot be hashed included.
    if isinstance(descriptor, str):
        return SECTION_NAMES.get(descriptor, -1), pos
    return (int(descriptor) if isinstance(descriptor, int) else -1), pos


def _section_value(buf: bytes, code: int, start: int, end: int) -> Any:
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
        raise DecodeError(f"the section {_NAMES[code]} at offset {start} does not end where its size says")
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
    return DecodeError(f"the section {_NAMES[code]} cannot hold a value of type {type(value).__name__}")

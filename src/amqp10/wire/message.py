"""Messages: sections, decoded when they are first read (messaging, "message format")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from struct import Struct
from typing import Any, Final, Literal, Self, TypeAlias

from amqp10.codec.decode import DECODE_FAULTS, decode_map, translate
from amqp10.codec.encode import encode
from amqp10.errors import EncodeError
from amqp10.wire.layouts import Layouts
from amqp10.wire.messaging import (
    SECTION_AMQP_SEQUENCE,
    SECTION_AMQP_VALUE,
    SECTION_APPLICATION_PROPERTIES,
    SECTION_DATA,
    SECTION_DELIVERY_ANNOTATIONS,
    SECTION_FOOTER,
    SECTION_HEADER,
    SECTION_MESSAGE_ANNOTATIONS,
    SECTION_PROPERTIES,
    Header,
    Properties,
)
from amqp10.wire.sections import (
    MAP_SECTIONS,
    SHORT_NAMES,
    VALUE_HEAD,
    Span,
    data_sections,
    encode_application_properties,
    encode_section,
    encode_text_section,
    find_sections,
    section_value,
    sequence_sections,
)

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

Pairs = Mapping[Any, Any]

_new: Final = object.__new__
_COMPOSITES: Final[dict[int, type[Header | Properties]]] = {SECTION_HEADER: Header, SECTION_PROPERTIES: Properties}
_SIZES: Final = Struct(">II").unpack_from
_COMPOSED: Final[dict[int, Span]] = {}
"""The spans of a message that was not decoded."""
LAYOUTS: Final = Layouts()
"""The layouts of messages that are decoded without layouts of their stream."""


class Message:
    """A message with all its sections.

    Sections are read and assigned as attributes; ``None`` is an absent one. The body is given by exactly one of
    ``data``, ``sequence`` and ``value``, or by none; assigning one of them replaces the body.

    A decoded message keeps its bytes. :meth:`encode` returns them as they are. If the message was changed, by
    assignment or in place, only the sections that changed are encoded again.

    Keys of annotations and of the footer that are plain ``str`` are sent as symbols, as the specification requires.

    Args:
        header: durability, priority, time to live (messaging, "header").
        delivery_annotations: for the next hop only.
        message_annotations: for the brokers on the way.
        properties: the standard properties.
        application_properties: the application's own; string keys, simple values.
        data: one binary section, or a sequence of at least one.
        sequence: the elements of one amqp-sequence section, or a sequence of at least one list, one for each section.
        value: one value of any type; None is null.
        footer: what is only known when the message is complete.

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
    _spans: dict[int, Span] | Layouts
    """Where the sections are; before they are needed, the layouts that the message may have."""
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
                self._data = data_sections(data)
            elif sequence is not None:
                self._sequence = sequence_sections(sequence)

    # -- decoding --------------------------------------------------------------------------------------------------

    @classmethod
    def decode(cls, payload: bytes | bytearray | memoryview, layouts: Layouts | None = None) -> Self:
        """The message of an encoded payload. Nothing is read yet, so this never raises.

        Reading a section later raises :class:`DecodeError` if the sections are out of order, repeated, truncated or
        have two kinds of body, or if that section itself is malformed.

        Args:
            payload: the encoded message.
            layouts: the layouts of its stream; by default those of all messages that are decoded without.
        """
        self = _new(cls)
        self._payload = payload if type(payload) is bytes else bytes(payload)
        self._spans = layouts or LAYOUTS
        self._header = self._delivery_annotations = self._message_annotations = self._properties = _UNREAD
        self._application_properties = self._data = self._sequence = self._value = self._footer = _UNREAD
        return self

    def scan(self) -> Mapping[int, Span]:
        """Find the sections, without decoding them: descriptor code -> where it starts in the payload.

        Raises:
            DecodeError: the payload is not a sequence of sections in the right order.
        """
        spans = self._spans
        if type(spans) is Layouts:
            try:
                spans = self._spans = find_sections(self._payload)
            except DECODE_FAULTS as error:
                raise translate(error) from None
        return spans

    def _read(self, code: int) -> Any:
        """Decode a section that has not been read yet."""
        buf = self._payload
        try:
            spans = self._spans
            if type(spans) is Layouts:
                layouts = spans
                key = buf[:8]
                for read in layouts.known.get(key, ()):
                    if read(self, buf):
                        return getattr(self, _SLOTS[code])
                spans = self._spans = find_sections(buf)
                if next(layouts.samples):
                    layouts.learn(key, buf, spans)
            span = spans.get(code)
            if span is None:
                return ABSENT if code == SECTION_AMQP_VALUE else None
            _, start, end = span
            # The forms that common messages have, without the steps in between. Finding the sections has checked the
            # size.
            form = buf[start]
            if form == 0xC1:
                if code in MAP_SECTIONS:
                    return decode_map(buf, start + 3, buf[start + 2], end, 1)
            elif form == 0xA1:
                if code == SECTION_AMQP_VALUE:
                    return buf[start + 2 : end].decode()
            elif form == 0xC0:
                if code == SECTION_PROPERTIES:
                    return Properties.from_buffer(buf, start + 3, buf[start + 2], end)
                if code == SECTION_HEADER:
                    return Header.from_buffer(buf, start + 3, buf[start + 2], end)
            elif form == 0xD1:
                if code == SECTION_AMQP_VALUE or code in MAP_SECTIONS:
                    size, count = _SIZES(buf, start + 1)
                    if start + 5 + size == end and size >= 4:
                        return decode_map(buf, start + 9, count, end, 1)
            elif form == 0xD0 and code in _COMPOSITES:
                size, count = _SIZES(buf, start + 1)
                if start + 5 + size == end and size >= 4:
                    return _COMPOSITES[code].from_buffer(buf, start + 9, count, end)
            return section_value(buf, code, start, end)
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
        """For the brokers on the way (messaging, "message-annotations")."""
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
        """The application's own properties (messaging, "application-properties")."""
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
        """What is only known when the message is complete (messaging, "footer")."""
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
        parts = data_sections(value)
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
        parts = sequence_sections(value)
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
        if type(spans) is Layouts:
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
                parts.append(encode_section(code, value))
        return b"".join(parts)

    def _compose(self) -> bytes:
        """The encoding of a message that was not decoded."""
        parts = []
        if self._header is not None:
            parts.append(encode_section(SECTION_HEADER, self._header))
        if self._delivery_annotations is not None:
            parts.append(encode_section(SECTION_DELIVERY_ANNOTATIONS, self._delivery_annotations))
        if self._message_annotations is not None:
            parts.append(encode_section(SECTION_MESSAGE_ANNOTATIONS, self._message_annotations))
        properties = self._properties
        if type(properties) is Properties:
            parts.append(properties.encode())
        elif properties is not None:
            parts.append(encode_section(SECTION_PROPERTIES, properties))
        pairs = self._application_properties
        if pairs is not None:
            parts.append(encode_application_properties(pairs))
        value = self._value
        if type(value) is str:
            parts.append(encode_text_section(value))
        elif value is not ABSENT:
            parts.append(VALUE_HEAD + encode(value))
        elif self._data is not None:
            parts.append(encode_section(SECTION_DATA, self._data))
        elif self._sequence is not None:
            parts.append(encode_section(SECTION_AMQP_SEQUENCE, self._sequence))
        if self._footer is not None:
            parts.append(encode_section(SECTION_FOOTER, self._footer))
        return b"".join(parts)

    def _is_unchanged(self, code: int, span: Span, value: Any) -> bool:
        """Whether a section still has the value that was decoded. The encodings are compared, because values can be
        changed in place, and because values of different types can be equal in Python."""
        if value is ABSENT or (value is None and code != SECTION_AMQP_VALUE):
            return False
        try:
            before = section_value(self._payload, code, span[1], span[2])
        except DECODE_FAULTS as error:
            raise translate(error) from None
        if type(before) is not type(value):
            return False
        return encode_section(code, before) == encode_section(code, value)

    def __repr__(self) -> str:
        spans = self._spans
        if type(spans) is Layouts:
            return f"<Message of {len(self._payload)} bytes>"
        shown = []
        for code, slot in _SLOTS.items():
            value = getattr(self, slot)
            if code in spans if value is _UNREAD else value is not None and value is not ABSENT:
                shown.append(SHORT_NAMES[code])
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
"""Every section and its slot, in the order of a message."""

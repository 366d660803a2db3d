"""Messages: sections, decoded when they are first looked at (messaging, "message format")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final, Self

from amqp10.codec.composite import Composite, lookup
from amqp10.codec.decode import DECODE_FAULTS, decode_value, skip_value, translate
from amqp10.codec.encode import encode
from amqp10.codec.types import Map
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

__all__ = ["ABSENT", "BodyKind", "Message"]


class _Absent(Enum):
    ABSENT = 0

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent.ABSENT
"""Stands for "no amqp-value section", because an amqp-value section may hold null."""


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
_REPEATABLE: Final = frozenset((SECTION_DATA, SECTION_AMQP_SEQUENCE))
_BEFORE_BODY: Final = (
    SECTION_HEADER,
    SECTION_DELIVERY_ANNOTATIONS,
    SECTION_MESSAGE_ANNOTATIONS,
    SECTION_PROPERTIES,
    SECTION_APPLICATION_PROPERTIES,
)

Pairs = Mapping[Any, Any]


class Message:
    """A message with all its sections.

    Sections are read and assigned as attributes; ``None`` is an absent one. The body is given by exactly one of
    ``data``, ``sequence`` and ``value``, or by none.

    A decoded message keeps its bytes: :meth:`encode` gives them back unchanged, and sections that were not assigned
    anew go out byte for byte as they came in. A section that is changed in place, rather than assigned, is not
    noticed.

    Args:
        header: durability, priority, time to live (messaging, "header").
        delivery_annotations: for the next hop only.
        message_annotations: for the infrastructure.
        properties: the standard properties.
        application_properties: the program's own; string keys, simple values.
        data: one or more binary sections.
        sequence: one or more list sections.
        value: one value of any type; None stands for null.
        footer: what can only be known once the message is complete.

    Raises:
        EncodeError: more than one kind of body is given.
    """

    __slots__ = ("_changed", "_payload", "_sections", "_values")

    _changed: set[int]
    """Sections that were given or assigned here; the others go out as they came in."""

    def __init__(
        self,
        *,
        header: Header | None = None,
        delivery_annotations: Pairs | None = None,
        message_annotations: Pairs | None = None,
        properties: Properties | None = None,
        application_properties: Pairs | None = None,
        data: bytes | Sequence[bytes] | None = None,
        sequence: Sequence[Any] | None = None,
        value: Any = ABSENT,
        footer: Pairs | None = None,
    ) -> None:
        self._payload = b""
        self._sections: dict[int, list[tuple[int, int, int]]] | None = {}
        self._values: dict[int, Any] = {}
        for code, section in (
            (SECTION_HEADER, header),
            (SECTION_DELIVERY_ANNOTATIONS, delivery_annotations),
            (SECTION_MESSAGE_ANNOTATIONS, message_annotations),
            (SECTION_PROPERTIES, properties),
            (SECTION_APPLICATION_PROPERTIES, application_properties),
            (SECTION_FOOTER, footer),
        ):
            if section is not None:
                self._values[code] = section
        if (data is not None) + (sequence is not None) + (value is not ABSENT) > 1:
            raise EncodeError("a message has one kind of body: data, sequence or value")
        if data is not None:
            self._values[SECTION_DATA] = (
                [bytes(data)] if isinstance(data, (bytes, bytearray, memoryview)) else [bytes(part) for part in data]
            )
        elif sequence is not None:
            parts = list(sequence)
            self._values[SECTION_AMQP_SEQUENCE] = parts if all(isinstance(p, list) for p in parts) else [parts]
        elif value is not ABSENT:
            self._values[SECTION_AMQP_VALUE] = value
        self._changed = set(self._values)

    # -- decoding --------------------------------------------------------------------------------------------------

    @classmethod
    def decode(cls, payload: bytes | bytearray | memoryview) -> Self:
        """The message of an encoded payload. Nothing is looked at yet, so this raises nothing.

        Every later access to a section raises :class:`DecodeError` when the sections are out of order, repeated, of
        mixed bodies or cut short, or when that section itself is malformed.
        """
        self = cls.__new__(cls)
        self._payload = payload if isinstance(payload, bytes) else bytes(payload)
        self._sections = None
        self._values = {}
        self._changed = set()
        return self

    def scan(self) -> dict[int, list[tuple[int, int, int]]]:
        """Find the sections, without decoding them: code -> (start, start of the value, end) for each.

        Raises:
            DecodeError: the payload is not a sequence of sections in the right order.
        """
        sections = self._sections
        if sections is None:
            try:
                sections = self._sections = _scan(self._payload)
            except DECODE_FAULTS as error:
                raise translate(error) from None
        return sections

    def _section(self, code: int) -> Any:
        values = self._values
        if code in values:
            return values[code]
        found = self.scan().get(code)
        if not found:
            return None
        try:
            value = _decode_section(self._payload, code, found)
        except DECODE_FAULTS as error:
            raise translate(error) from None
        values[code] = value
        return value

    def _assign(self, code: int, value: Any) -> None:
        self.scan()
        self._values[code] = value
        self._changed.add(code)

    def validate(self) -> None:
        """Decode every section.

        Raises:
            DecodeError: one of them is malformed.
        """
        for code in list(self.scan()):
            self._section(code)

    # -- sections --------------------------------------------------------------------------------------------------

    @property
    def header(self) -> Header | None:
        """Delivery details (messaging, "header")."""
        value: Header | None = self._section(SECTION_HEADER)
        return value

    @header.setter
    def header(self, value: Header | None) -> None:
        self._assign(SECTION_HEADER, value)

    @property
    def delivery_annotations(self) -> Pairs | None:
        """For the next hop only (messaging, "delivery-annotations")."""
        value: Pairs | None = self._section(SECTION_DELIVERY_ANNOTATIONS)
        return value

    @delivery_annotations.setter
    def delivery_annotations(self, value: Pairs | None) -> None:
        self._assign(SECTION_DELIVERY_ANNOTATIONS, value)

    @property
    def message_annotations(self) -> Pairs | None:
        """For the infrastructure (messaging, "message-annotations")."""
        value: Pairs | None = self._section(SECTION_MESSAGE_ANNOTATIONS)
        return value

    @message_annotations.setter
    def message_annotations(self, value: Pairs | None) -> None:
        self._assign(SECTION_MESSAGE_ANNOTATIONS, value)

    @property
    def properties(self) -> Properties | None:
        """The standard properties (messaging, "properties")."""
        value: Properties | None = self._section(SECTION_PROPERTIES)
        return value

    @properties.setter
    def properties(self, value: Properties | None) -> None:
        self._assign(SECTION_PROPERTIES, value)

    @property
    def application_properties(self) -> Pairs | None:
        """The program's own properties (messaging, "application-properties")."""
        value: Pairs | None = self._section(SECTION_APPLICATION_PROPERTIES)
        return value

    @application_properties.setter
    def application_properties(self, value: Pairs | None) -> None:
        self._assign(SECTION_APPLICATION_PROPERTIES, value)

    @property
    def footer(self) -> Pairs | None:
        """What could only be known at the end (messaging, "footer")."""
        value: Pairs | None = self._section(SECTION_FOOTER)
        return value

    @footer.setter
    def footer(self, value: Pairs | None) -> None:
        self._assign(SECTION_FOOTER, value)

    @property
    def body_kind(self) -> BodyKind:
        """Which kind of body the message has."""
        for code, kind in _KINDS.items():
            if code in self._values or code in self.scan():
                return kind
        return BodyKind.NONE

    @property
    def data(self) -> bytes | None:
        """The data sections, joined; None when the body is of another kind (messaging, "data")."""
        parts: list[bytes] | None = self._section(SECTION_DATA)
        if parts is None:
            return None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @property
    def data_sections(self) -> list[bytes] | None:
        """The data sections one by one."""
        parts: list[bytes] | None = self._section(SECTION_DATA)
        return parts

    @property
    def sequence(self) -> list[list[Any]] | None:
        """The amqp-sequence sections; None when the body is of another kind (messaging, "amqp-sequence")."""
        parts: list[list[Any]] | None = self._section(SECTION_AMQP_SEQUENCE)
        return parts

    @property
    def value(self) -> Any:
        """The value of an amqp-value body; None for null and for bodies of another kind (messaging, "amqp-value")."""
        return self._section(SECTION_AMQP_VALUE)

    # -- encoding --------------------------------------------------------------------------------------------------

    def encode(self) -> bytes:
        """The encoded message.

        Raises:
            EncodeError: a section holds a value that has no encoding.
        """
        if not self._changed and self._payload:
            return self._payload
        parts: list[bytes] = []
        for code in _BEFORE_BODY:
            self._encode_section(code, parts)
        for code in _KINDS:
            self._encode_section(code, parts)
        self._encode_section(SECTION_FOOTER, parts)
        return b"".join(parts)

    def _encode_section(self, code: int, parts: list[bytes]) -> None:
        if code not in self._changed:
            for start, _, end in (self._sections or {}).get(code, ()):
                parts.append(self._payload[start:end])
            return
        value: Any = self._values[code]
        head = bytes((0, 0x53, code))
        if code == SECTION_AMQP_VALUE:
            parts.append(head + encode(value))
        elif value is None:
            return
        elif code in _REPEATABLE:
            parts.extend(head + encode(part) for part in value)
        elif isinstance(value, Composite):
            parts.append(value.encode())
        elif code in (SECTION_HEADER, SECTION_PROPERTIES):
            raise EncodeError(
                f"the section {_NAMES[code]} takes a {_NAMES[code].title()}, not a {type(value).__name__}"
            )
        else:
            parts.append(head + encode(value if isinstance(value, Map) else dict(value)))

    def __repr__(self) -> str:
        kind = "changed" if self._changed else f"{len(self._payload)} octets"
        return f"<Message {kind}>"


def _scan(buf: bytes) -> dict[int, list[tuple[int, int, int]]]:
    sections: dict[int, list[tuple[int, int, int]]] = {}
    pos = 0
    last = 0
    end = len(buf)
    while pos < end:
        start = pos
        if buf[pos] != 0:
            raise DecodeError(f"a message section was expected at offset {pos}")
        if buf[pos + 1] == 0x53:
            code = buf[pos + 2]
            pos += 3
        else:
            descriptor, pos = decode_value(buf, pos + 1)
            # Any value can be a descriptor, those that cannot be hashed included.
            if isinstance(descriptor, str):
                code = SECTION_NAMES.get(descriptor, -1)
            else:
                code = descriptor if isinstance(descriptor, int) else -1
        if code not in _NAMES:
            raise DecodeError(f"no message section has the descriptor at offset {start}")
        value = pos
        pos = skip_value(buf, pos)
        if code <= last and not (code == last and code in _REPEATABLE):
            what = "stands twice" if code == last else f"stands behind {_NAMES[last]}"
            raise DecodeError(f"the section {_NAMES[code]} at offset {start} {what}")
        if last in _KINDS and code in _KINDS and code != last:
            raise DecodeError(f"the message has two kinds of body, {_NAMES[last]} and {_NAMES[code]}")
        last = code
        sections.setdefault(code, []).append((start, value, pos))
    return sections


def _decode_section(buf: bytes, code: int, found: list[tuple[int, int, int]]) -> Any:
    if code in _REPEATABLE:
        expected: type = bytes if code == SECTION_DATA else list
        parts = []
        for _, start, _ in found:
            part, _ = decode_value(buf, start)
            if not isinstance(part, expected):
                raise DecodeError(f"the section {_NAMES[code]} holds a {type(part).__name__}")
            parts.append(part)
        return parts
    _, start, end = found[0]
    value, stop = decode_value(buf, start)
    if stop != end:
        raise DecodeError(f"the section {_NAMES[code]} does not end where its size says")
    if code in (SECTION_HEADER, SECTION_PROPERTIES):
        cls = lookup(code)
        assert cls is not None
        if not isinstance(value, list):
            raise DecodeError(f"the section {_NAMES[code]} holds a {type(value).__name__}")
        return cls.from_list(value)
    if code != SECTION_AMQP_VALUE and not isinstance(value, (dict, Map)):
        raise DecodeError(f"the section {_NAMES[code]} holds a {type(value).__name__}")
    return value

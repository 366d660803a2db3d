"""Messages as programs build and read them (messaging, "message format").

A message *is* its encoding: it is made when the message is built, so a message that has no encoding cannot be built,
sending it again costs nothing, and changing a dict that went into it changes nothing. Fields are read back from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from amqp10.codec import Timestamp, UByte, UInt, ULong
from amqp10.errors import EncodeError
from amqp10.wire.message import BodyKind
from amqp10.wire.message import Message as WireMessage
from amqp10.wire.messaging import (
    SECTION_AMQP_SEQUENCE,
    SECTION_AMQP_VALUE,
    SECTION_DATA,
    SECTION_DELIVERY_ANNOTATIONS,
    SECTION_FOOTER,
    SECTION_MESSAGE_ANNOTATIONS,
    SECTION_PROPERTIES,
    Header,
    Properties,
)
from amqp10.wire.sections import (
    data_sections,
    encode_application_properties,
    encode_section,
    encode_text_section,
)

__all__ = ["BodyKind", "Message", "as_timestamp"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BODY_SECTIONS: Final = (SECTION_DATA, SECTION_AMQP_SEQUENCE, SECTION_AMQP_VALUE)
_LONGEST_TTL: Final = 0xFFFFFFFF
_BODY: Final = ("body", "_section")
_NO_PROPERTIES: Final = (None,) * 12
_PROPERTIES: Final = {
    "id": "message_id",
    "user_id": "user_id",
    "to": "to",
    "subject": "subject",
    "reply_to": "reply_to",
    "correlation_id": "correlation_id",
    "content_type": "content_type",
    "content_encoding": "content_encoding",
    "expires": "absolute_expiry_time",
    "created": "creation_time",
    "group_id": "group_id",
    "group_sequence": "group_sequence",
    "reply_to_group_id": "reply_to_group_id",
}
"""Which field of the properties section is which argument."""
_SHORT_ID: Final = 100
# A properties section with nothing but a message-id: a list8 of one str8, up to the text.
_ID_SECTIONS: Final = [
    bytes((0x00, 0x53, SECTION_PROPERTIES, 0xC0, size + 3, 1, 0xA1, size)) for size in range(_SHORT_ID + 1)
]


def as_timestamp(value: datetime, field: str) -> Timestamp:
    """A ``datetime`` as AMQP has it, in whole milliseconds. ``field`` is for the error if it has no time zone."""
    if value.tzinfo is None:
        raise EncodeError(f"{field} needs a datetime with a time zone")
    return Timestamp((value - _EPOCH) // timedelta(milliseconds=1))


def _moment(value: int | None) -> datetime | None:
    if value is None:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=int(value))
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if value > 0 else datetime.min.replace(tzinfo=UTC)


def _message_id(value: Any) -> Any:
    # The only integer that may be an id is a ulong (messaging, "message-id-ulong").
    return ULong(value) if type(value) is int else value


def _ttl(seconds: float) -> int:
    milliseconds = round(seconds * 1000)
    if not 0 <= milliseconds <= _LONGEST_TTL:
        raise EncodeError(f"ttl must be between 0 and {_LONGEST_TTL // 1000} seconds, not {seconds:g}")
    return milliseconds


def _wire_property(name: str, value: Any) -> Any:
    """A value of the properties section, as AMQP has it."""
    if name in ("id", "correlation_id"):
        return _message_id(value)
    if name in ("expires", "created"):
        return as_timestamp(value, name)
    if name == "user_id" and isinstance(value, str):
        return value.encode()
    return UInt(value) if name == "group_sequence" else value


def _body_section(body: Any) -> bytes:
    if isinstance(body, (bytes, bytearray, memoryview)):
        return encode_section(SECTION_DATA, data_sections(body))
    return encode_section(SECTION_AMQP_VALUE, body)


def _properties(
    message_id: Any,
    user_id: bytes | str | None,
    to: str | None,
    subject: str | None,
    reply_to: str | None,
    correlation_id: Any,
    content_type: str | None,
    content_encoding: str | None,
    expires: datetime | None,
    created: datetime | None,
    group_id: str | None,
    group_sequence: int | None,
    reply_to_group_id: str | None,
) -> bytes:
    return Properties(
        message_id=_message_id(message_id),
        user_id=user_id.encode() if isinstance(user_id, str) else user_id,
        to=to,
        subject=subject,
        reply_to=reply_to,
        correlation_id=_message_id(correlation_id),
        content_type=content_type,
        content_encoding=content_encoding,
        absolute_expiry_time=None if expires is None else as_timestamp(expires, "expires"),
        creation_time=None if created is None else as_timestamp(created, "created"),
        group_id=group_id,
        group_sequence=None if group_sequence is None else UInt(group_sequence),
        reply_to_group_id=reply_to_group_id,
    ).encode()


class Message:
    """A message. It is immutable; :meth:`replace` makes a copy with changes.

    Args:
        body: ``bytes`` are sent as a data section; ``str`` and everything else as one AMQP value. For other bodies see
            :meth:`of_data`, :meth:`of_sequence` and :meth:`of_value`.
        id: the message id: ``str``, ``bytes``, ``uuid.UUID`` or a number from 0 to 2**64 - 1.
        user_id: who is responsible for the message.
        to: where it goes to.
        subject: what it is about.
        reply_to: where answers go to.
        correlation_id: the id of what it answers; types as for ``id``.
        content_type, content_encoding: what the data are (MIME).
        expires: when it expires; a datetime with a time zone.
        created: when it was made; a datetime with a time zone.
        group_id, group_sequence, reply_to_group_id: the group it belongs to (messaging, "properties").
        durable: whether it must survive a restart of the broker.
        priority: from 0 to 255; a message without one has 4.
        ttl: after how many seconds it expires, up to 49 days.
        properties: the application's own, by name (messaging, "application-properties").
        annotations: for the brokers on the way (messaging, "message-annotations").
        delivery_annotations: for the next hop only.
        footer: what is only known when the rest is complete, such as a checksum.

    Raises:
        EncodeError: a value has no AMQP encoding, or is out of its range.
    """

    __slots__ = ("_encoded", "_wire")

    _encoded: bytes
    _wire: WireMessage | None

    def __init__(
        self,
        body: Any = None,
        *,
        id: Any = None,
        user_id: bytes | str | None = None,
        to: str | None = None,
        subject: str | None = None,
        reply_to: str | None = None,
        correlation_id: Any = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
        expires: datetime | None = None,
        created: datetime | None = None,
        group_id: str | None = None,
        group_sequence: int | None = None,
        reply_to_group_id: str | None = None,
        durable: bool | None = None,
        priority: int | None = None,
        ttl: float | None = None,
        properties: Mapping[str, Any] | None = None,
        annotations: Mapping[str, Any] | None = None,
        delivery_annotations: Mapping[str, Any] | None = None,
        footer: Mapping[str, Any] | None = None,
        _section: bytes | None = None,
    ) -> None:
        encoded = b""
        if durable is not None or priority is not None or ttl is not None:
            header = Header(
                durable=durable,
                priority=None if priority is None else UByte(priority),
                ttl=None if ttl is None else _ttl(ttl),
            )
            encoded = header.encode()
        if delivery_annotations:
            encoded += encode_section(SECTION_DELIVERY_ANNOTATIONS, delivery_annotations)
        if annotations:
            encoded += encode_section(SECTION_MESSAGE_ANNOTATIONS, annotations)
        rest = (
            user_id,
            to,
            subject,
            reply_to,
            correlation_id,
            content_type,
            content_encoding,
            expires,
            created,
            group_id,
            group_sequence,
            reply_to_group_id,
        )
        if rest != _NO_PROPERTIES:
            encoded += _properties(id, *rest)
        elif type(id) is str and len(id) <= _SHORT_ID and id.isascii():
            # What most messages have, without the steps in between.
            encoded += _ID_SECTIONS[len(id)] + id.encode()
        elif id is not None:
            encoded += _properties(id, *rest)
        if properties:
            encoded += encode_application_properties(dict(properties))
        if _section is not None:
            encoded += _section
        else:
            encoded += encode_text_section(body) if type(body) is str else _body_section(body)
        if footer:
            encoded += encode_section(SECTION_FOOTER, footer)
        self._encoded = encoded
        self._wire = None

    @classmethod
    def of_data(cls, parts: Iterable[bytes], **fields: Any) -> Message:
        """A message whose body is several data sections (messaging, "data"). ``fields`` as for the class."""
        return Message(_section=encode_section(SECTION_DATA, data_sections(list(parts))), **fields)

    @classmethod
    def of_sequence(cls, lists: Iterable[list[Any]], **fields: Any) -> Message:
        """A message whose body is amqp-sequence sections, one for each list. ``fields`` as for the class."""
        sections = [list(part) for part in lists]
        if not sections:
            raise EncodeError("a sequence body has at least one list")
        return Message(_section=encode_section(SECTION_AMQP_SEQUENCE, sections), **fields)

    @classmethod
    def of_value(cls, value: Any, **fields: Any) -> Message:
        """A message whose body is one AMQP value, ``bytes`` included (messaging, "amqp-value")."""
        return Message(_section=encode_section(SECTION_AMQP_VALUE, value), **fields)

    @classmethod
    def decode(cls, encoded: bytes) -> Message:
        """The message that these bytes encode. A malformed part raises DecodeError when it is read."""
        self = Message.__new__(Message)
        self._encoded = bytes(encoded)
        self._wire = None
        return self

    def encode(self) -> bytes:
        """The encoded message."""
        return self._encoded

    def replace(self, **changes: Any) -> Message:
        """A message like this one, with other values for some of its fields. Arguments as for the class."""
        if changes.keys() <= _PROPERTIES.keys():
            return self._with_properties(changes)
        fields: dict[str, Any] = {name: getattr(self, name) for name in _FIELDS}
        fields.update(changes)
        if not any(name in changes for name in _BODY):
            fields["_section"] = self._body_bytes()
        return Message(**fields)

    def _with_properties(self, changes: Mapping[str, Any]) -> Message:
        """Only the section of the properties is written anew."""
        encoded = self.encode()
        wire = self.wire
        spans = wire.scan()
        section = wire.properties
        fields = {} if section is None else {name: getattr(section, name) for name in _PROPERTIES.values()}
        for name, value in changes.items():
            fields[_PROPERTIES[name]] = None if value is None else _wire_property(name, value)
        new = b"" if all(value is None for value in fields.values()) else Properties(**fields).encode()
        if section is not None:
            start, _, end = spans[SECTION_PROPERTIES]
        else:
            later = [span[0] for code, span in spans.items() if code > SECTION_PROPERTIES]
            start = end = min(later, default=len(encoded))
        return Message.decode(b"".join((encoded[:start], new, encoded[end:])))

    def _body_bytes(self) -> bytes:
        encoded = self.encode()
        spans = self.wire.scan()
        for code in _BODY_SECTIONS:
            if code in spans:
                start, _, end = spans[code]
                return bytes(encoded[start:end])
        return b""

    @property
    def wire(self) -> WireMessage:
        """The sections as the specification has them, with AMQP's own types."""
        wire = self._wire
        if wire is None:
            wire = self._wire = WireMessage.decode(self.encode())
        return wire

    # -- body ------------------------------------------------------------------------------------------------------

    @property
    def body(self) -> Any:
        """The body: ``bytes`` of data, the elements of sequences as one list, or the value. None when there is none."""
        wire = self._wire or self.wire
        value = wire.value
        if value is not None:
            return value
        data = wire.data
        if data is not None:
            return data
        lists = wire.sequence
        if lists is None:
            return None
        return lists[0] if len(lists) == 1 else [item for part in lists for item in part]

    @property
    def body_kind(self) -> BodyKind:
        """Which sections make up the body."""
        return self.wire.body_kind

    @property
    def body_parts(self) -> list[Any]:
        """The sections of a body of data or sequences one by one; a value as the only one."""
        wire = self.wire
        kind = wire.body_kind
        if kind is BodyKind.DATA:
            return list(wire.data_sections or ())
        if kind is BodyKind.SEQUENCE:
            return list(wire.sequence or ())
        return [wire.value] if kind is BodyKind.VALUE else []

    # -- properties ------------------------------------------------------------------------------------------------

    @property
    def id(self) -> Any:
        """The message id."""
        section = (self._wire or self.wire).properties
        return None if section is None else section.message_id

    @property
    def user_id(self) -> bytes | None:
        """Who is responsible for the message."""
        section = (self._wire or self.wire).properties
        return None if section is None else section.user_id

    @property
    def to(self) -> Any:
        """Where it goes to."""
        section = (self._wire or self.wire).properties
        return None if section is None else section.to

    @property
    def subject(self) -> str | None:
        """What it is about."""
        section = (self._wire or self.wire).properties
        return None if section is None else section.subject

    @property
    def reply_to(self) -> Any:
        """Where answers go."""
        section = (self._wire or self.wire).properties
        return None if section is None else section.reply_to

    @property
    def correlation_id(self) -> Any:
        """The id of what it answers."""
        section = (self._wire or self.wire).properties
        return None if section is None else section.correlation_id

    @property
    def content_type(self) -> str | None:
        """The MIME type of the body."""
        section = (self._wire or self.wire).properties
        return None if section is None or section.content_type is None else str(section.content_type)

    @property
    def content_encoding(self) -> str | None:
        """How the body is compressed (MIME)."""
        section = (self._wire or self.wire).properties
        return None if section is None or section.content_encoding is None else str(section.content_encoding)

    @property
    def expires(self) -> datetime | None:
        """When it expires."""
        section = (self._wire or self.wire).properties
        return None if section is None else _moment(section.absolute_expiry_time)

    @property
    def created(self) -> datetime | None:
        """When it was made."""
        section = (self._wire or self.wire).properties
        return None if section is None else _moment(section.creation_time)

    @property
    def group_id(self) -> str | None:
        """The group it belongs to."""
        section = (self._wire or self.wire).properties
        return None if section is None else section.group_id

    @property
    def group_sequence(self) -> int | None:
        """Its place in the group."""
        section = (self._wire or self.wire).properties
        return None if section is None else section.group_sequence

    @property
    def reply_to_group_id(self) -> str | None:
        """The group that answers belong to."""
        section = (self._wire or self.wire).properties
        return None if section is None else section.reply_to_group_id

    # -- header ----------------------------------------------------------------------------------------------------

    @property
    def durable(self) -> bool:
        """Whether it must survive a restart of the broker."""
        header = (self._wire or self.wire).header
        return header is not None and bool(header.durable)

    @property
    def priority(self) -> int:
        """From 0 to 255; 4 if the message has none."""
        header = (self._wire or self.wire).header
        return 4 if header is None or header.priority is None else int(header.priority)

    @property
    def ttl(self) -> float | None:
        """After how many seconds it expires; None for never."""
        header = (self._wire or self.wire).header
        return None if header is None or header.ttl is None else int(header.ttl) / 1000

    # -- maps ------------------------------------------------------------------------------------------------------

    @property
    def properties(self) -> Mapping[str, Any]:
        """The program's own properties. Changing the mapping does not change the message."""
        section = (self._wire or self.wire).application_properties
        return {} if section is None else section

    @property
    def annotations(self) -> Mapping[Any, Any]:
        """What brokers add to the message (messaging, "message-annotations")."""
        section = (self._wire or self.wire).message_annotations
        return {} if section is None else section

    @property
    def delivery_annotations(self) -> Mapping[Any, Any]:
        """For the next hop only (messaging, "delivery-annotations")."""
        section = (self._wire or self.wire).delivery_annotations
        return {} if section is None else section

    @property
    def footer(self) -> Mapping[Any, Any]:
        """What is only known when the rest is complete, such as a checksum (messaging, "footer")."""
        section = (self._wire or self.wire).footer
        return {} if section is None else section

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return self.encode() == other.encode()

    def __hash__(self) -> int:
        return hash(self.encode())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.encode())} bytes>"


_FIELDS: Final = (
    "id",
    "user_id",
    "to",
    "subject",
    "reply_to",
    "correlation_id",
    "content_type",
    "content_encoding",
    "expires",
    "created",
    "group_id",
    "group_sequence",
    "reply_to_group_id",
    "durable",
    "priority",
    "ttl",
    "properties",
    "annotations",
    "delivery_annotations",
    "footer",
)

"""The message families of the component: the draft that is being composed, and views of encoded messages.

The draft (``message_*``) keeps the encoding of everything that did not change since the last message, so that a program
that sends many alike pays only for the id and the value. A view (``received_message_*``, ``incoming_message_*``,
``outgoing_message_*``) holds the encoded message and decodes a section when one of its fields is first looked at.
Messaging, "message format".
"""

from __future__ import annotations

from struct import Struct
from struct import error as struct_error
from typing import TYPE_CHECKING, Any, Final

from amqp10.codec import DecodeError, Symbol, Timestamp, UByte, UInt
from amqp10.codec.decode import skip_value
from amqp10.codec.encode import encode_binary, encode_string, encode_value
from amqp10.component import values
from amqp10.component.enums import ValueType
from amqp10.component.ids import id_text, ulong_text, wire_id
from amqp10.errors import AMQPError
from amqp10.wire.message import Message
from amqp10.wire.messaging import Header, Properties

if TYPE_CHECKING:
    from amqp10.component.settings import Settings
    from amqp10.engine import IncomingDelivery, OutgoingDelivery

__all__ = ["Beginning", "MessageDraft", "MessageView", "whole_sections"]

_PROPERTIES: Final = b"\x00\x53\x73"
_AMQP_VALUE: Final = b"\x00\x53\x77"
_DATA: Final = b"\x00\x53\x75"
_UINT: Final = Struct(">I").unpack_from
_ULONG: Final = Struct(">Q").unpack_from
_STRING_VALUE: Final = [_AMQP_VALUE + bytes((0xA1, size)) for size in range(256)]
# Looking up a member of an enumeration costs five times as much as looking up a name: this is looked at per message.
_TEXT: Final = ValueType.mvtString
_JSON: Final = ValueType.mvtJson
# The first four bytes of a section -> what it is: 16 times its place among the sections, and 0 for a short form, 1 for
# a wide one, 2 for an empty list. A body adds 2 for a map or a list; one that is no string, map or list has no entry.
_BODY: Final = 0x60
_PROPERTIES_LAST: Final = 0x4F
_STARTS: Final[dict[bytes, int]] = {
    **{
        bytes((0, 0x53, code, form)): (code - 0x6F) << 4 | kind
        for code in range(0x70, 0x75)
        for form, kind in ((0xC0, 0), (0xC1, 0), (0xD0, 1), (0xD1, 1), (0x45, 2))
        if code != 0x73 or form not in (0xC1, 0xD1)
    },
    **{
        _AMQP_VALUE + bytes((form,)): _BODY | kind
        for form, kind in ((0xA1, 0), (0xB1, 1), (0xC0, 2), (0xC1, 2), (0xD0, 3), (0xD1, 3))
    },
}
_LONGEST_BEGINNING: Final = 256
"""Bytes in front of an id up to which they are kept, to be compared with those of the next message."""
_LONG: Final = 8192
"""Bytes of a body from which on a part of its own costs less than a copy."""


class MessageDraft:
    """The message being composed: the ``message_*`` properties, and their encoding."""

    __slots__ = (
        "_count",
        "_header",
        "_prefixes",
        "_stale",
        "_tail",
        "absolute_expiry_time",
        "content_encoding",
        "content_type",
        "correlation_id",
        "creation_time",
        "delivery_count",
        "durable",
        "first_acquirer",
        "group_id",
        "group_sequence",
        "id",
        "link_name",
        "lost_value",
        "priority",
        "reply_to",
        "reply_to_group_id",
        "settled",
        "subject",
        "to",
        "ttl",
        "user_id",
        "value",
        "value_type",
    )

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Every field at its default."""
        self.absolute_expiry_time: int = 0
        self.content_encoding: str = ""
        self.content_type: str = ""
        self.correlation_id: str = ""
        self.creation_time: int = 0
        self.delivery_count: int = 0
        self.durable: bool = False
        self.first_acquirer: bool = False
        self.group_id: str = ""
        self.group_sequence: int = 0
        self.id: str = ""
        self.link_name: str = ""
        self.priority: int = 4
        self.reply_to: str = ""
        self.reply_to_group_id: str = ""
        self.settled: bool = True
        self.subject: str = ""
        self.to: str = ""
        self.ttl: int = -1
        self.user_id: str = ""
        self.value: str = ""
        self.value_type: ValueType = ValueType.mvtNull
        self.lost_value: bool = False
        """Whether a message with a value was encoded that says by its type that it has none."""
        # What is kept between messages, once it has been encoded: the header section; the number of properties, and
        # what follows the id among them; and all up to the id, by the size of the properties.
        self._stale = True
        self._header = b""
        self._count = 1
        self._tail = b""
        self._prefixes: dict[int, bytes] = {}

    def set(self, field: str, value: Any) -> None:
        """Set a field that has a part in the cached encoding."""
        setattr(self, field, value)
        self._stale = True

    def encode(self) -> tuple[bytes, bytes]:
        """The encoded message in one part, or in two when its body is long: every copy of that costs.

        Messaging, "message format".

        Raises:
            AMQPError: 604; the value is not of its type, or a text cannot be encoded.
        """
        if self._stale:
            self._refresh()
        identifier = self.id
        if type(identifier) is str:
            try:
                name = identifier.encode()
            except UnicodeEncodeError as error:
                raise AMQPError(604, f"message_id cannot be encoded as UTF-8: {error.reason}") from None
            prefix = self._prefixes.get(len(name))
            head = prefix + name + self._tail if prefix is not None else self._head(name)
        else:
            head = self._with_properties(encode_value(wire_id(identifier)))
        if self.value_type is _TEXT:
            try:
                data = self.value.encode()
            except UnicodeEncodeError as error:
                raise AMQPError(604, f"message_value cannot be encoded as UTF-8: {error.reason}") from None
            if len(data) < 256:
                return head + _STRING_VALUE[len(data)] + data, b""
            return self._long(head + _AMQP_VALUE + b"\xb1", data)
        return self._other(head)

    def _head(self, name: bytes) -> bytes:
        """Header and properties with an id of text, or with none. What is in front of a short one is kept."""
        if not name and not self._tail:
            self._prefixes[0] = self._header
            return self._header
        encoded = encode_string(name.decode()) if name else b"\x40"
        whole = self._with_properties(encoded)
        if len(encoded) + len(self._tail) < 255:
            self._prefixes[len(name)] = whole[: len(whole) - len(name) - len(self._tail)]
        return whole

    def _with_properties(self, encoded_id: bytes) -> bytes:
        fields = encoded_id + self._tail
        size = len(fields) + 1
        if size < 256:
            return self._header + _PROPERTIES + bytes((0xC0, size, self._count)) + fields
        counts = (size + 3).to_bytes(4, "big") + self._count.to_bytes(4, "big")
        return self._header + _PROPERTIES + b"\xd0" + counts + fields

    @staticmethod
    def _long(head: bytes, data: bytes) -> tuple[bytes, bytes]:
        if len(data) > 0xFFFFFFFF:
            raise AMQPError(604, "message_value is longer than the 4 GiB that AMQP can carry")
        head += len(data).to_bytes(4, "big")
        return (head, data) if len(data) >= _LONG else (head + data, b"")

    def _other(self, head: bytes) -> tuple[bytes, bytes]:
        """A message whose value is anything but text."""
        if self.value_type is ValueType.mvtNull and self.value:
            self.lost_value = True
        value = values.to_amqp(self.value_type, self.value, "message_value")
        if self.value_type is ValueType.mvtBinary:
            assert isinstance(value, bytes)
            if len(value) < 256:
                return head + _DATA + encode_binary(value), b""
            return self._long(head + _DATA + b"\xb0", value)
        return head + _AMQP_VALUE + encode_value(value), b""

    def _refresh(self) -> None:
        """Encode anew what is kept between messages: the header, and the properties behind the message id."""
        header = Header(
            durable=True if self.durable else None,
            priority=UByte(self.priority) if self.priority != 4 else None,
            ttl=UInt(self.ttl) if self.ttl >= 0 else None,
            first_acquirer=True if self.first_acquirer else None,
            delivery_count=UInt(self.delivery_count) if self.delivery_count else None,
        )
        self._header = header.encode() if header != Header() else b""
        binary = self.value_type is ValueType.mvtBinary
        fields: list[object] = [
            self.user_id.encode("utf-8", "surrogateescape") if self.user_id else None,
            self.to or None,
            self.subject or None,
            self.reply_to or None,
            wire_id(self.correlation_id),
            Symbol(self.content_type) if binary and self.content_type else None,
            Symbol(self.content_encoding) if binary and self.content_encoding else None,
            Timestamp(self.absolute_expiry_time) if self.absolute_expiry_time > 0 else None,
            Timestamp(self.creation_time) if self.creation_time > 0 else None,
            self.group_id or None,
            UInt(self.group_sequence) if self.group_id and self.group_sequence >= 0 else None,
            self.reply_to_group_id or None,
        ]
        while fields and fields[-1] is None:
            fields.pop()
        self._prefixes.clear()
        self._count = len(fields) + 1
        self._tail = b"".join(encode_value(field) for field in fields)
        self._stale = False


def whole_sections(payload: bytes) -> bytes:
    """The sections at the start of a message that have arrived whole, of one that is still arriving."""
    end = 0
    try:
        while end < len(payload):
            end = skip_value(payload, end)
    except (DecodeError, IndexError, struct_error):
        return payload[:end]
    return payload


class Beginning:
    """How the last message of a link began, up to the size of its id.

    Messages of one sender mostly have the same header and annotations, and properties and ids of the same size. Where
    these bytes are equal, the id and the end of the properties are where they were.

    Attributes:
        known: the bytes, how many they are, where the id starts in a message, and where the properties end.
    """

    __slots__ = ("known",)

    def __init__(self) -> None:
        # No message equals these bytes, whatever it begins with.
        self.known: tuple[bytes, int, int, int] = (b"\xff", 1, 0, 0)


class MessageView:
    """An encoded message, read field by field. Fields that are absent read as the reference's defaults.

    Every attribute raises :class:`AMQPError` 604 when the section it stands in cannot be decoded.
    """

    __slots__ = (
        "_body",
        "_body_at",
        "_id_at",
        "_message",
        "_payload",
        "delivery",
        "link_name",
        "problem",
        "settings",
        "settled",
        "text",
    )

    def __init__(
        self,
        payload: bytes | memoryview,
        link_name: str,
        settled: bool,
        delivery: IncomingDelivery | OutgoingDelivery,
        settings: Settings,
    ) -> None:
        self._payload = payload
        self.link_name: str = link_name
        self.settled: bool = settled
        self.delivery: IncomingDelivery | OutgoingDelivery = delivery
        self.settings: Settings = settings
        self.problem: str = ""
        """What is wrong with a section that turned out to be malformed."""
        self._message: Message | None = None
        self._body: tuple[ValueType, str, bool] | None = None
        self.text: str | None = None
        """The body, where it is one string that :meth:`check` has decoded or somebody has looked at."""
        # Where a message id starts, and the body: for the common message these are all that is ever looked at. The id
        # is a short string, or a ulong where the number is negative; the body one long string, or a map or a list where
        # it is negative. 0 where the general way has to be taken.
        self._id_at = 0
        self._body_at = 0

    @property
    def broken(self) -> bool:
        """Whether a section turned out to be malformed."""
        return self.problem != ""

    def _broke(self, error: AMQPError) -> None:
        self.problem = self.problem or error.message or "it is malformed"

    @property
    def message(self) -> Message:
        """The message with all its sections."""
        message = self._message
        if message is None:
            payload = self._payload
            if type(payload) is not bytes:
                payload = self._payload = bytes(payload)
            message = self._message = Message.decode(payload)
        return message

    @property
    def _properties(self) -> Properties | None:
        try:
            return self.message.properties
        except DecodeError as error:
            self._broke(error)
            raise

    @property
    def _header(self) -> Header | None:
        try:
            return self.message.header
        except DecodeError as error:
            self._broke(error)
            raise

    def _text(self, name: str) -> str:
        properties = self._properties
        value = getattr(properties, name) if properties is not None else None
        return str(value) if value is not None else ""

    @property
    def absolute_expiry_time(self) -> int:
        properties = self._properties
        value = properties.absolute_expiry_time if properties is not None else None
        return int(value) if value is not None else -1

    @property
    def content_encoding(self) -> str:
        return self._text("content_encoding")

    @property
    def content_type(self) -> str:
        return self._text("content_type")

    @property
    def correlation_id(self) -> str:
        properties = self._properties
        return id_text(properties.correlation_id) if properties is not None else ""

    @property
    def creation_time(self) -> int:
        properties = self._properties
        value = properties.creation_time if properties is not None else None
        return int(value) if value is not None else -1

    @property
    def delivery_count(self) -> int:
        header = self._header
        return int(header.delivery_count or 0) if header is not None else 0

    @property
    def durable(self) -> bool:
        header = self._header
        return bool(header.durable) if header is not None else False

    @property
    def first_acquirer(self) -> bool:
        header = self._header
        return bool(header.first_acquirer) if header is not None else False

    @property
    def group_id(self) -> str:
        return self._text("group_id")

    @property
    def group_sequence(self) -> int:
        properties = self._properties
        value = properties.group_sequence if properties is not None else None
        return int(value) if value is not None else -1

    @property
    def id(self) -> str:
        at = self._id_at
        payload = self._payload
        if at > 0:
            try:
                return str(payload[at + 2 : at + 2 + payload[at + 1]], "utf-8")
            except UnicodeDecodeError:
                self._id_at = 0  # the general way has the words for it
        elif at < 0:
            return ulong_text(payload[1 - at] if payload[-at] == 0x53 else _ULONG(payload, 1 - at)[0])
        properties = self._properties
        return id_text(properties.message_id) if properties is not None else ""

    @property
    def priority(self) -> int:
        header = self._header
        value = header.priority if header is not None else None
        return int(value) if value is not None else 4

    @property
    def reply_to(self) -> str:
        return self._text("reply_to")

    @property
    def reply_to_group_id(self) -> str:
        return self._text("reply_to_group_id")

    @property
    def subject(self) -> str:
        return self._text("subject")

    @property
    def to(self) -> str:
        return self._text("to")

    @property
    def ttl(self) -> int:
        header = self._header
        value = header.ttl if header is not None else None
        return int(value) if value is not None else -1

    @property
    def user_id(self) -> str:
        properties = self._properties
        value = properties.user_id if properties is not None else None
        return bytes(value).decode("utf-8", "surrogateescape") if value is not None else ""

    def _decoded_body(self) -> tuple[ValueType, str, bool]:
        """Type and text of the body, and whether the abbreviated syntax of JSON was used."""
        body = self._body
        simplified = self.settings.simplified_json_format
        if body is None or (body[2] is not simplified and body[0] is ValueType.mvtJson):
            if self._body_at < 0 and simplified:
                from amqp10.component.wire_text import compound_text

                assert type(self._payload) is bytes
                text = compound_text(self._payload, -self._body_at, self.settings.max_json_size)
                if text is not None:
                    body = self._body = (_JSON, text, True)
                    return body
                self._body_at = 0
            try:
                body = self._body = (
                    *values.body_text(self.message, simplified, self.settings.max_json_size),
                    simplified,
                )
            except DecodeError as error:
                self._broke(error)
                raise
            except AMQPError as error:
                # It is a value, but one that cannot be shown: no more use to the program than a malformed one.
                self._broke(error)
                raise DecodeError(error.message) from error
        return body

    @property
    def value(self) -> str:
        text = self.text
        if text is not None:
            return text
        if self._body_at > 0:
            try:
                text = self.text = str(self._payload[self._body_at :], "utf-8")
            except UnicodeDecodeError:
                self._body_at = 0
            else:
                return text
        return self._decoded_body()[1]

    @property
    def value_type(self) -> ValueType:
        return _TEXT if self.text is not None or self._body_at > 0 else self._decoded_body()[0]

    def is_sound(self) -> bool:
        """Whether all that was looked at is well formed, and the body, which is looked at now."""
        if not self.broken and self.text is None and self._body is None:
            try:
                message = self.message
                _ = message.data_sections, message.sequence, message.value
            except DecodeError as error:
                self._broke(error)
        return not self.broken

    def validate(self) -> None:
        """Decode everything, also what nobody has looked at. No text is made of it.

        Raises:
            DecodeError: something is malformed.
        """
        try:
            self.message.validate()
            if self.text is None:
                values.check_body(self.message)
        except DecodeError as error:
            self._broke(error)
            raise
        except AMQPError as error:
            self._broke(error)
            raise DecodeError(error.message) from error

    def check(self, seen: Beginning) -> None:
        """Find the sections, so that a message that is no message is found out before it is handed on.

        A body that is one short string is decoded here. What else stands inside a section is decoded when it is first
        looked at; ``broken`` tells when that failed.

        The walk over a common message is done here, whose body is one string, map or list. What it accepts is sound as
        far as :meth:`Message.scan` would tell.

        Args:
            seen: how the last message of the link began. One that begins alike is not walked over up to there again.
        """
        payload = self._payload
        pos = last = 0
        # To hash a part of a view would be to hash all that arrived with it.
        starts = payload if type(payload) is bytes else bytes(payload[:_LONG])
        beginning, size, first, end = seen.known
        try:
            if payload[:size] == beginning:
                self._id_at = first
                pos = end
                last = _PROPERTIES_LAST
            while (kind := _STARTS.get(starts[pos : pos + 4], 0)) > last:
                if kind < _BODY:
                    last = kind | 15
                    if kind & 2:
                        pos += 4
                        continue
                    if kind & 1:
                        end = pos + 8 + _UINT(payload, pos + 4)[0]
                        first = pos + 12
                    else:
                        end = pos + 5 + payload[pos + 4]
                        first = pos + 6
                    if last == _PROPERTIES_LAST and payload[first - 1]:
                        form = payload[first]
                        if form == 0xA1:
                            if first + 2 + payload[first + 1] > end:
                                break
                            self._id_at = first
                            if first < _LONGEST_BEGINNING and type(payload) is bytes:
                                seen.known = (payload[: first + 2], first + 2, first, end)
                        elif (form == 0x53 and first + 2 <= end) or (form == 0x80 and first + 9 <= end):
                            self._id_at = -first
                    pos = end
                    continue
                if kind & 1:
                    start = pos + 8
                    end = start + _UINT(payload, pos + 4)[0]
                else:
                    start = pos + 5
                    end = start + payload[pos + 4]
                if end != len(payload):
                    break
                if kind & 2:
                    if type(payload) is not bytes:
                        break
                    self._body_at = -3 - pos
                elif end - start < _LONG:
                    self.text = str(payload[start:], "utf-8")
                else:
                    self._body_at = start
                return
        except (IndexError, struct_error):
            pass  # the general way has the words for it
        except UnicodeDecodeError:
            self._decoded_body()
        self._id_at = self._body_at = 0
        try:
            self.message.scan()
        except DecodeError as error:
            self._broke(error)
            raise

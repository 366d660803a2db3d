"""Filters: which messages of a node a source passes on (messaging, "filter-set"). No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from amqp10.broker.selectors import Selector
from amqp10.codec import Described, Symbol, Timestamp
from amqp10.conditions import ErrorCondition
from amqp10.errors import DecodeError, ProtocolError
from amqp10.wire.message import Message

if TYPE_CHECKING:
    from amqp10.broker.messages import StoredMessage
    from amqp10.wire.messaging import Header, Properties

__all__ = ["Filters", "MessageView", "OffsetSpec"]

SELECTOR: Final = "apache.org:selector-filter:string"
NO_LOCAL: Final = "apache.org:no-local-filter:list"
STREAM_OFFSET: Final = "rabbitmq:stream-offset-spec"
STREAM_FILTER: Final = "rabbitmq:stream-filter"
STREAM_UNFILTERED: Final = "rabbitmq:stream-match-unfiltered"
STREAM_FILTER_VALUE: Final = Symbol("x-stream-filter-value")

_CODES: Final = {0x0000_468C_0000_0003: NO_LOCAL, 0x0000_468C_0000_0004: SELECTOR}
_INTERVAL: Final = re.compile(r"(\d{1,9})([YMDhms])")
_SECONDS: Final = {"Y": 365 * 86400, "M": 30 * 86400, "D": 86400, "h": 3600, "m": 60, "s": 1}


class MessageView:
    """A message as selectors see it: application properties by name, and the JMS headers.

    Whatever is malformed has no value. Nothing is decoded before it is needed.
    """

    __slots__ = ("_failures", "_message", "_pairs")

    def __init__(self, message: StoredMessage) -> None:
        self._message = Message.decode(message.payload)
        self._failures = message.failures
        self._pairs: Mapping[Any, Any] | None = None

    def get(self, name: str) -> Any:
        """See :class:`~amqp10.broker.selectors.Properties`."""
        try:
            if name.startswith("JMS"):
                return self._header(name)
            pairs = self._pairs
            if pairs is None:
                pairs = self._pairs = dict(self._message.application_properties or {})
            value = pairs.get(name)
        except DecodeError:
            return None
        # Types without a literal (UUIDs, decimals, binary) have no value. A timestamp is a number of milliseconds.
        return value if isinstance(value, (str, bool, int, float)) else None

    def annotation(self, name: Symbol) -> Any:
        """A message annotation; None if there is none."""
        try:
            return (self._message.message_annotations or {}).get(name)
        except DecodeError:
            return None

    def _header(self, name: str) -> Any:
        header: Header | None = self._message.header
        properties: Properties | None = self._message.properties
        if name == "JMSPriority":
            return int(header.priority) if header is not None and header.priority is not None else 4
        if name == "JMSDeliveryMode":
            return "PERSISTENT" if header is not None and header.durable else "NON_PERSISTENT"
        if name in ("JMSXDeliveryCount", "JMSRedelivered"):
            count = self._failures + int((header and header.delivery_count) or 0)
            return count > 0 if name == "JMSRedelivered" else count + 1
        attribute = _HEADERS.get(name)
        if attribute is None:
            return self._message.application_properties and self._message.application_properties.get(name)
        value = getattr(properties, attribute) if properties is not None else None
        if value is None:
            return None
        if attribute in ("message_id", "correlation_id"):
            return _id_text(value)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return int(value) if isinstance(value, int) else str(value)


_HEADERS: Final = {
    "JMSMessageID": "message_id",
    "JMSXUserID": "user_id",
    "JMSDestination": "to",
    "JMSType": "subject",
    "JMSReplyTo": "reply_to",
    "JMSCorrelationID": "correlation_id",
    "JMSExpiration": "absolute_expiry_time",
    "JMSTimestamp": "creation_time",
    "JMSXGroupID": "group_id",
    "JMSXGroupSeq": "group_sequence",
}
"""The JMS headers, by the properties that they are mapped to."""


def _id_text(value: Any) -> str:
    """An id as JMS clients see it: text, with its type in front where it is not text."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bytes):
        return f"ID:AMQP_BINARY:{value.hex().upper()}"
    if isinstance(value, int):
        return f"ID:AMQP_ULONG:{int(value)}"
    return f"ID:AMQP_UUID:{value}"


class OffsetSpec:
    """Where a stream's consumer starts.

    Args:
        value: "first", "last", "next", an offset, a time, or an interval such as ``7D`` or ``2h``.

    Raises:
        ProtocolError: it is none of them.
    """

    __slots__ = ("offset", "since", "where")

    def __init__(self, value: Any, wall: float) -> None:
        self.where: str = ""
        self.offset: int = 0
        self.since: float = 0.0
        if isinstance(value, Timestamp):
            self.where, self.since = "time", int(value) / 1000
        elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            self.where, self.offset = "offset", int(value)
        elif isinstance(value, str) and value in ("first", "last", "next"):
            self.where = str(value)
        elif isinstance(value, str) and (match := _INTERVAL.fullmatch(value)) is not None:
            self.where, self.since = "time", wall - int(match[1]) * _SECONDS[match[2]]
        else:
            raise ProtocolError(
                f"{value!r:.60} is not a stream offset: 'first', 'last', 'next', a number, a timestamp, or an interval"
                " such as '2h'",
                condition=ErrorCondition.INVALID_FIELD,
            )


class Filters:
    """The filters of a source that this broker supports. Others are left out of the answer, as the specification says.

    Args:
        wanted: the filter set that the client asks for.
        wall: the time of day, in seconds since 1970.
        stream: whether the node is a stream; filters for streams are ignored otherwise.

    Attributes:
        answer: the filters in place, as they were asked for.
        no_local: whether messages of the same connection are left out.
        offset: where to start in a stream; None if not given.

    Raises:
        ProtocolError: one of them is malformed.
    """

    __slots__ = ("_selector", "_unfiltered", "_values", "answer", "no_local", "offset")

    def __init__(self, wanted: Mapping[Any, Any] | None, *, wall: float = 0.0, stream: bool = False) -> None:
        self.answer: dict[Symbol, Any] = {}
        self.no_local: bool = False
        self.offset: OffsetSpec | None = None
        self._selector: Selector | None = None
        self._values: frozenset[str] | None = None
        self._unfiltered = False
        for name, given in (wanted or {}).items():
            kind = _kind(given)
            value = given.value if isinstance(given, Described) else given
            if kind == SELECTOR:
                if not isinstance(value, str):
                    raise ProtocolError("the selector is not a string", condition=ErrorCondition.INVALID_FIELD)
                self._selector = Selector(str(value))
            elif kind == NO_LOCAL:
                self.no_local = True
            elif not stream:
                continue
            elif kind == STREAM_OFFSET:
                self.offset = OffsetSpec(value, wall)
            elif kind == STREAM_FILTER:
                self._values = _texts(value)
            elif kind == STREAM_UNFILTERED:
                self._unfiltered = value is True
            else:
                continue
            self.answer[Symbol(name)] = given

    def __bool__(self) -> bool:
        """Whether it filters at all."""
        return self.no_local or self._selector is not None or self._values is not None

    def pass_on(self, view: MessageView, origin: int, peer: int) -> bool:
        """Whether a client gets a message.

        Args:
            view: the message.
            origin: the number of the connection that it came from.
            peer: the number of the client's connection.
        """
        if self.no_local and origin == peer:
            return False
        if self._values is not None:
            value = view.annotation(STREAM_FILTER_VALUE)
            if not (self._unfiltered if value is None else value in self._values):
                return False
        return self._selector is None or self._selector.matches(view)


def _kind(given: Any) -> str:
    """The name of a filter's type, whether its descriptor is a symbol or a code."""
    if not isinstance(given, Described):
        return ""
    descriptor = given.descriptor
    if isinstance(descriptor, str):
        return str(descriptor)
    return _CODES.get(int(descriptor), "") if isinstance(descriptor, int) else ""


def _texts(value: Any) -> frozenset[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, Sequence) or isinstance(values, bytes) or not all(isinstance(v, str) for v in values):
        raise ProtocolError("a stream filter is a string, or a list of strings", condition=ErrorCondition.INVALID_FIELD)
    return frozenset(str(value) for value in values)

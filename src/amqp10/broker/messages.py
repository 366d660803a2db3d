"""Messages as the broker keeps them: encoded, together with what has happened to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from amqp10.codec import Symbol, UInt
from amqp10.errors import DecodeError, EncodeError
from amqp10.wire.message import Message
from amqp10.wire.messaging import Header, Modified, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["StoredMessage", "annotate", "expiry", "modify", "place_of", "reject"]

_PROPERTIES8: Final = b"\x00\x53\x73\xc0"
"""What a message without header and annotations starts with: properties as a list8."""


class StoredMessage:
    """A message in a queue, or on its way to a consumer.

    Attributes:
        payload: the encoded message, as it arrived.
        expires: when it expires, on the broker's clock; None for never.
        barred: consumers that must not get it again (messaging, "modified").
        failures: how many deliveries of it have failed here; added to the count in the header at the next delivery.
        origin: the number of the connection that it came from.
        sequence: its place in its queue.
        cost: how much it counts towards the limits, in bytes.
    """

    __slots__ = ("barred", "cost", "expires", "failures", "origin", "payload", "sequence")

    def __init__(self, payload: bytes, expires: float | None = None, origin: int = 0) -> None:
        self.payload: bytes = payload
        self.expires: float | None = expires
        self.barred: WeakSet[Any] | None = None
        self.failures: int = 0
        self.origin: int = origin
        self.sequence: int = 0
        self.cost: int = 0

    def encoded(self) -> bytes:
        """The message as it is delivered: with its failed deliveries counted in the header (messaging, "header")."""
        if not self.failures:
            return self.payload
        message = Message.decode(self.payload)
        try:
            header = message.header or Header()
            message.header = Header(
                durable=header.durable,
                priority=header.priority,
                ttl=header.ttl,
                first_acquirer=False,
                delivery_count=UInt(min(int(header.delivery_count or 0) + self.failures, 0xFFFFFFFF)),
            )
            return message.encode()
        except (DecodeError, EncodeError):
            return self.payload  # not a message of the standard format, so it has no header


def place_of(message: StoredMessage) -> int:
    """The key that the messages of a queue are sorted by."""
    return message.sequence


def annotate(payload: bytes, annotations: Mapping[Any, Any]) -> bytes:
    """A message with more message annotations. If it does not have the standard format it is returned unchanged."""
    message = Message.decode(payload)
    try:
        message.message_annotations = {**dict(message.message_annotations or {}), **annotations}
        return message.encode()
    except (DecodeError, EncodeError):
        return payload


def modify(message: StoredMessage, outcome: Modified, consumer: object, largest: int) -> None:
    """Change a message as the outcome *modified* says (messaging, "modified").

    Args:
        message: the message.
        outcome: what its consumer said.
        consumer: the consumer that said so.
        largest: how large it may become, in bytes; annotations that would make it larger are left out. 0: no limit.
    """
    if outcome.undeliverable_here:
        if message.barred is None:
            message.barred = WeakSet()
        message.barred.add(consumer)
    if outcome.delivery_failed:
        message.failures += 1
    if outcome.message_annotations:
        payload = annotate(message.payload, outcome.message_annotations)
        if not len(payload) > largest > 0:
            message.payload = payload


def reject(message: StoredMessage, outcome: Rejected) -> None:
    """Count a rejected message as failed, and add the error to its annotations (messaging, "rejected")."""
    message.failures += 1
    if outcome.error is None:
        return
    decoded = Message.decode(message.payload)
    try:
        annotations = dict(decoded.delivery_annotations or {})
        annotations[Symbol("rejected")] = outcome.error
        decoded.delivery_annotations = annotations
        merged = dict(decoded.message_annotations or {})
        merged[Symbol("x-opt-rejected-condition")] = str(outcome.error.condition)
        merged[Symbol("x-opt-rejected-description")] = outcome.error.description or ""
        decoded.message_annotations = merged
        message.payload = decoded.encode()
    except (DecodeError, EncodeError):
        return


def expiry(payload: bytes, clock: Callable[[], float], wall_clock: Callable[[], float]) -> float | None:
    """When a message expires on the broker's clock: by its time to live, or its absolute expiry time.

    Args:
        payload: the encoded message.
        clock: the broker's clock.
        wall_clock: the time of day in seconds since 1970, which absolute expiry times are in.
    """
    # Most messages start with properties that are too short to have an absolute-expiry-time.
    if payload[:4] == _PROPERTIES8 and payload[5:6] < b"\x09":
        return None
    message = Message.decode(payload)
    times = []
    try:
        header = message.header
        if header is not None and header.ttl is not None:
            times.append(clock() + int(header.ttl) / 1000)
        properties = message.properties
        if properties is not None and properties.absolute_expiry_time is not None:
            times.append(clock() + int(properties.absolute_expiry_time) / 1000 - wall_clock())
    except DecodeError:
        return None
    return min(times, default=None)

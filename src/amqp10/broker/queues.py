"""Queues: messages, consumers, and who gets what (messaging, "distribution nodes"). No I/O, no sockets, no clock of
its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from amqp10.codec import Symbol, UInt
from amqp10.errors import AMQPError, DecodeError
from amqp10.wire.message import Message
from amqp10.wire.messaging import Header, Modified, Rejected
from amqp10.wire.performatives import SenderSettleMode

if TYPE_CHECKING:
    from amqp10.engine import OutgoingDelivery, SenderLink

__all__ = ["Consumer", "Queue", "QueueFullError", "StoredMessage"]

DEAD_LETTER_SUFFIX = ".dlq"


class QueueFullError(AMQPError):
    """A queue holds as many messages as it may. Code 600, condition ``amqp:resource-limit-exceeded``."""

    __slots__ = ()

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(
            600, f"the queue {name!r} is full: it holds {limit} messages", condition="amqp:resource-limit-exceeded"
        )


class StoredMessage:
    """A message in a queue, or on its way to a consumer.

    Attributes:
        payload: the encoded message.
        expires: when it expires, on the broker's clock; None for never.
        barred: links that must not get it again (messaging, "modified").
    """

    __slots__ = ("barred", "expires", "payload")

    def __init__(self, payload: bytes, expires: float | None = None) -> None:
        self.payload = payload
        self.expires = expires
        self.barred: set[SenderLink] | None = None


class Consumer:
    """A link that takes messages from a queue.

    Attributes:
        link: the sending end of the link.
        browsing: whether messages stay in the queue (distribution mode *copy*).
        unsettled: what it has and has not settled, in the order sent.
        position: how far a browser has come.
    """

    __slots__ = ("browsing", "link", "position", "unsettled")

    def __init__(self, link: SenderLink, browsing: bool = False) -> None:
        self.link = link
        self.browsing = browsing
        self.unsettled: dict[OutgoingDelivery, StoredMessage] = {}
        self.position = 0


class Queue:
    """One queue.

    Args:
        name: its name.
        max_length: how many messages it holds at most; 0 for no limit.
        transient: whether it goes when its last consumer goes (a dynamic node).
    """

    __slots__ = ("consumers", "max_length", "messages", "name", "transient")

    def __init__(self, name: str, max_length: int = 0, *, transient: bool = False) -> None:
        self.name = name
        self.max_length = max_length
        self.transient = transient
        self.messages: deque[StoredMessage] = deque()
        self.consumers: deque[Consumer] = deque()

    def __len__(self) -> int:
        return len(self.messages)

    def put(self, message: StoredMessage) -> None:
        """Add a message at the end.

        Raises:
            QueueFullError: there is no room.
        """
        if self.max_length and len(self.messages) >= self.max_length:
            raise QueueFullError(self.name, self.max_length)
        self.messages.append(message)

    def put_back(self, messages: Iterable[StoredMessage]) -> None:
        """Put messages back in front, in their order. Room is not asked for: they have been in the queue before."""
        self.messages.extendleft(reversed(list(messages)))

    def dispatch(self, now: float) -> None:
        """Hand messages to consumers with credit, a message each in turn, the oldest message first."""
        messages = self.messages
        consumers = self.consumers
        idle = 0
        while messages and idle < len(consumers):
            consumer = consumers[0]
            consumers.rotate(-1)
            link = consumer.link
            if link.credit <= 0 or not link.attached:
                idle += 1
                continue
            if consumer.browsing:
                idle = 0 if self._browse(consumer) else idle + 1
                continue
            message = self._take_for(link, now)
            if message is None:
                idle += 1
                continue
            idle = 0
            settled = link.snd_settle_mode == SenderSettleMode.SETTLED
            delivery = link.send(message.payload, settled=settled, context=consumer)
            if not settled:
                consumer.unsettled[delivery] = message

    def _take_for(self, link: SenderLink, now: float) -> StoredMessage | None:
        """The oldest message that this link may have; expired ones are dropped on the way."""
        messages = self.messages
        passed: list[StoredMessage] = []
        found: StoredMessage | None = None
        while messages:
            message = messages.popleft()
            if message.expires is not None and now >= message.expires:
                continue
            if message.barred is not None and link in message.barred:
                passed.append(message)
                continue
            found = message
            break
        if passed:
            self.put_back(passed)
        return found

    def _browse(self, consumer: Consumer) -> bool:
        """Show a browser the next message; it stays where it is."""
        if consumer.position >= len(self.messages):
            return False
        consumer.link.send(self.messages[consumer.position].payload, settled=True, context=consumer)
        consumer.position += 1
        return True

    def leave(self, consumer: Consumer) -> None:
        """A consumer is gone: what it had not settled comes back, in front and in order."""
        if consumer in self.consumers:
            self.consumers.remove(consumer)
        if consumer.unsettled:
            self.put_back(consumer.unsettled.values())
            consumer.unsettled.clear()


def modify(message: StoredMessage, outcome: Modified, link: SenderLink) -> None:
    """Change a message as the outcome *modified* says (messaging, "modified")."""
    if outcome.undeliverable_here:
        if message.barred is None:
            message.barred = set()
        message.barred.add(link)
    if not outcome.delivery_failed and not outcome.message_annotations:
        return
    decoded = Message.decode(message.payload)
    try:
        if outcome.delivery_failed:
            count_delivery(decoded)
        if outcome.message_annotations:
            merged = dict(decoded.message_annotations or {})
            merged.update(outcome.message_annotations)
            decoded.message_annotations = merged
    except DecodeError:
        return  # not a message of the standard format: there is no place to write it down
    message.payload = decoded.encode()


def count_delivery(message: Message) -> None:
    """Count one more unsuccessful delivery in the header (messaging, "header")."""
    header = message.header or Header()
    message.header = Header(
        durable=header.durable,
        priority=header.priority,
        ttl=header.ttl,
        first_acquirer=False,
        delivery_count=UInt(int(header.delivery_count or 0) + 1),
    )


def reject(message: StoredMessage, outcome: Rejected) -> None:
    """Note on a message why it was rejected (messaging, "rejected"): counted, with the error as an annotation."""
    decoded = Message.decode(message.payload)
    try:
        count_delivery(decoded)
        if outcome.error is not None:
            annotations = dict(decoded.delivery_annotations or {})
            annotations[Symbol("rejected")] = outcome.error
            decoded.delivery_annotations = annotations
            merged = dict(decoded.message_annotations or {})
            merged[Symbol("x-opt-rejected-condition")] = str(outcome.error.condition)
            merged[Symbol("x-opt-rejected-description")] = outcome.error.description or ""
            decoded.message_annotations = merged
    except DecodeError:
        return
    message.payload = decoded.encode()


def expiry(payload: bytes, now: float, wall: float) -> float | None:
    """When a message expires on the broker's clock: by its time to live, or its absolute expiry time.

    Args:
        payload: the encoded message.
        now: the broker's clock.
        wall: the time of day in seconds since 1970, which absolute expiry times are in.
    """
    # The common message starts with properties that are too short to reach absolute-expiry-time, its ninth field.
    if payload[:4] == b"\x00\x53\x73\xc0" and payload[5] < 9:
        return None
    message = Message.decode(payload)
    try:
        times = []
        header = message.header
        if header is not None and header.ttl is not None:
            times.append(now + int(header.ttl) / 1000)
        properties = message.properties
        if properties is not None and properties.absolute_expiry_time:
            times.append(now + int(properties.absolute_expiry_time) / 1000 - wall)
        return min(times, default=None)
    except DecodeError:
        return None

"""Queues: messages, consumers, and who gets what (messaging, "distribution nodes"). No I/O, no sockets, no clock of
its own."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from amqp10.codec import Symbol, UInt
from amqp10.errors import AMQPError, DecodeError, ProtocolError
from amqp10.wire.message import Message
from amqp10.wire.messaging import Header, Modified, Rejected
from amqp10.wire.performatives import SenderSettleMode

if TYPE_CHECKING:
    from amqp10.engine import LinkEndpoint, OutgoingDelivery, ReceiverLink, SenderLink

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
        sequence: its place among the messages of its queue.
    """

    __slots__ = ("barred", "expires", "payload", "sequence")

    def __init__(self, payload: bytes, expires: float | None = None) -> None:
        self.payload = payload
        self.expires = expires
        self.barred: set[SenderLink] | None = None
        self.sequence = 0


def place_of(message: StoredMessage) -> int:
    """The key that the messages of a queue are sorted by."""
    return message.sequence


class Consumer:
    """A link that takes messages from a queue.

    Attributes:
        link: the sending end of the link.
        browsing: whether messages stay in the queue (distribution mode *copy*).
        unsettled: what it has and has not settled, in the order sent.
        position: how far a browser has come: the place behind the last message it saw.
    """

    __slots__ = ("browsing", "link", "position", "unsettled")

    def __init__(self, link: SenderLink, browsing: bool = False) -> None:
        self.link = link
        self.browsing = browsing
        self.unsettled: dict[OutgoingDelivery, StoredMessage] = {}
        self.position = 0


class Queue:
    """One queue. Its messages are kept in the order in which they first came, wherever they have been meanwhile.

    Args:
        name: its name.
        max_length: how many messages wait in it at most; 0 for no limit.
        owner: the link that it lives and dies with (a dynamic node); None for a queue that stays.

    Attributes:
        messages: those that wait, the oldest first.
        consumers: the links that take messages; the next one to be served comes first.
        producers: the links that bring messages.
    """

    __slots__ = ("_sequence", "consumers", "max_length", "messages", "name", "owner", "producers")

    def __init__(self, name: str, max_length: int = 0, *, owner: LinkEndpoint | None = None) -> None:
        self.name = name
        self.max_length = max_length
        self.owner = owner
        self.messages: deque[StoredMessage] = deque()
        self.consumers: deque[Consumer] = deque()
        self.producers: set[ReceiverLink] = set()
        self._sequence = 0

    def __len__(self) -> int:
        return len(self.messages)

    def put(self, message: StoredMessage) -> None:
        """Add a message at the end.

        Raises:
            QueueFullError: there is no room.
        """
        if self.max_length and len(self.messages) >= self.max_length:
            raise QueueFullError(self.name, self.max_length)
        self.append(message)

    def append(self, message: StoredMessage) -> None:
        """Add a message at the end, room or not."""
        message.sequence = self._sequence
        self._sequence += 1
        self.messages.append(message)

    def put_back(self, messages: Iterable[StoredMessage]) -> None:
        """Put messages back in their places. Room is not asked for: they have been in the queue before."""
        waiting = self.messages
        for message in sorted(messages, key=place_of, reverse=True):
            # What comes back is old: mostly it goes in front. But it may come back one by one, the oldest first.
            if not waiting or message.sequence < waiting[0].sequence:
                waiting.appendleft(message)
            elif message.sequence > waiting[-1].sequence:
                waiting.append(message)
            else:
                waiting.insert(bisect_right(waiting, message.sequence, key=place_of), message)

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
                idle = 0 if self._browse(consumer, now) else idle + 1
                continue
            message = self._take_for(link, now)
            if message is None:
                idle += 1
                continue
            if len(message.payload) > link.remote_max_message_size > 0:
                self._end_too_small(link, message)
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

    def _end_too_small(self, link: SenderLink, message: StoredMessage) -> None:
        """End a link that cannot take the message that is next, so that its owner learns why none comes."""
        self.put_back([message])
        link.detach(
            error=ProtocolError(
                f"the next message of queue {self.name!r} has {len(message.payload)} octets; this link takes no more"
                f" than {link.remote_max_message_size}",
                condition="amqp:link:message-size-exceeded",
            )
        )

    def _browse(self, consumer: Consumer, now: float) -> bool:
        """Show a browser the next message; it stays where it is."""
        messages = self.messages
        largest = consumer.link.remote_max_message_size
        index = bisect_right(messages, consumer.position - 1, key=place_of)
        while index < len(messages):
            message = messages[index]
            index += 1
            consumer.position = message.sequence + 1
            if (message.expires is None or now < message.expires) and not len(message.payload) > largest > 0:
                consumer.link.send(message.payload, settled=True, context=consumer)
                return True
        return False

    def leave(self, consumer: Consumer) -> None:
        """A consumer is gone: what it had not settled comes back to its places."""
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

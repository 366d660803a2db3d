"""Streams: messages stay, and each consumer chooses where to start. No I/O."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from amqp10.broker.limits import MESSAGE_COST
from amqp10.broker.messages import annotate
from amqp10.broker.queues import Queue, QueueFullError
from amqp10.codec import Symbol, ULong

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from amqp10.broker.filters import OffsetSpec
    from amqp10.broker.messages import StoredMessage
    from amqp10.broker.queues import Consumer

__all__ = ["STREAM_OFFSET", "Stream"]

STREAM_OFFSET = Symbol("x-stream-offset")
"""The message annotation with a message's place in its stream."""


class Stream(Queue):
    """A stream: consumers get copies, and messages stay. When it is full the oldest ones are dropped.

    Args:
        name: its name.
        wall_clock: the time of day in seconds since 1970, for consumers that start at a time.
        options: as for :class:`~amqp10.broker.queues.Queue`.
    """

    __slots__ = ("_stored", "wall_clock")

    def __init__(self, name: str, wall_clock: Callable[[], float], *options: Any, **more: Any) -> None:
        super().__init__(name, *options, **more)
        self.wall_clock: Callable[[], float] = wall_clock
        self.keeps: bool = True
        self._stored: dict[int, float] = {}
        """When each message arrived, by its offset."""

    def put(self, message: StoredMessage) -> None:
        """Add a message at the end, and drop the oldest ones to make room.

        Raises:
            QueueFullError: it is larger than the stream, or other queues fill the broker.
        """
        offset = self.next_sequence
        message.payload = annotate(message.payload, {STREAM_OFFSET: ULong(offset)})
        size = len(message.payload) + MESSAGE_COST
        if size > self.max_bytes > 0:
            raise QueueFullError(f"the message has {size} bytes, and the stream {self.name!r} holds {self.max_bytes}")
        while self.messages and (0 < self.max_length <= len(self.messages) or self.bytes + size > self.max_bytes > 0):
            oldest = self.messages.popleft()
            self._stored.pop(oldest.sequence, None)
            self.forget(oldest)
        super().put(message)
        self._stored[offset] = self.wall_clock()

    def clear(self) -> int:
        """Drop all messages; returns how many there were."""
        self._stored.clear()
        return super().clear()

    def start(self, consumer: Consumer, spec: OffsetSpec | None) -> None:
        """Put a consumer where it wants to start; by default after the last message."""
        where = spec.where if spec is not None else "next"
        end = self.next_sequence
        if spec is None or where == "next":
            consumer.position = end
        elif where == "first":
            consumer.position = 0
        elif where == "last":
            consumer.position = max(0, end - 1)
        elif where == "offset":
            consumer.position = min(spec.offset, end)
        else:
            index = bisect_left(self.messages, spec.since, key=self._when)
            consumer.position = self.messages[index].sequence if index < len(self.messages) else end

    def _when(self, message: StoredMessage) -> float:
        return self._stored[message.sequence]

"""Topics: each message goes to every subscription, which is a queue of its own. No I/O."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

from amqp10.broker.filters import MessageView
from amqp10.broker.limits import MESSAGE_COST
from amqp10.broker.messages import StoredMessage
from amqp10.broker.queues import QueueFullError

if TYPE_CHECKING:
    from amqp10.broker.filters import Filters
    from amqp10.broker.queues import Consumer, Lifetime, Peer, Queue, Store
    from amqp10.engine import ReceiverLink

__all__ = ["Subscription", "SubscriptionKey", "Topic"]

logger: Final = logging.getLogger("amqp10.broker")

_LOOK: Final = 8
"""How many units of work it takes to look at a message with a selector; a copy is one unit."""

SubscriptionKey: TypeAlias = tuple[str | None, str, bool]
"""Whose subscription it is (a container; None for everybody's), its name, and whether it is durable."""


class Subscription:
    """What one subscriber, or several that share it, get of a topic.

    Args:
        topic: the topic.
        queue: what keeps its messages.
        filters: which messages it gets.
        key: under which it is found again; None for one that is not.
        shared: whether several consumers may have it at once.
    """

    __slots__ = ("filters", "key", "peer", "queue", "shared", "topic")

    def __init__(
        self, topic: Topic, queue: Queue, filters: Filters, key: SubscriptionKey | None, *, shared: bool
    ) -> None:
        self.topic: Topic = topic
        self.queue: Queue = queue
        self.filters: Filters = filters
        self.key: SubscriptionKey | None = key
        self.shared: bool = shared
        self.peer: int = 0
        """The number of the connection that had it last; its own messages may be unwanted."""

    @property
    def durable(self) -> bool:
        """Whether it stays when nobody consumes from it."""
        return self.key is not None and self.key[2]


class Topic:
    """One topic. What has arrived is handed to the subscriptions in work that is bounded like that of queues.

    Args:
        name: its name.
        store: what it shares with the queues.

    Attributes:
        subscriptions: who gets its messages.
        producers: the links that bring messages, with the clients at their other ends.
        lifetime: how long it lives, if it is dynamic.
        bytes: how much it holds that has not been handed on yet.
    """

    __slots__ = ("_left", "_waiting", "bytes", "lifetime", "name", "producers", "store", "subscriptions")

    def __init__(self, name: str, store: Store) -> None:
        self.name: str = name
        self.store: Store = store
        self.subscriptions: dict[Subscription, None] = {}
        self.producers: dict[ReceiverLink, Peer] = {}
        self.lifetime: Lifetime | None = None
        self.bytes: int = 0
        self._waiting: deque[StoredMessage] = deque()
        self._left: list[Subscription] = []
        """Who has not got the first of those that wait yet."""

    @property
    def consumers(self) -> list[Consumer]:
        """Who consumes from its subscriptions."""
        return [consumer for subscription in self.subscriptions for consumer in subscription.queue.consumers]

    def put(self, message: StoredMessage) -> None:
        """Take a message for the subscriptions that there are now.

        Raises:
            QueueFullError: there is no room.
        """
        if not self.subscriptions:
            return  # nobody is interested
        store = self.store
        cost = len(message.payload) + MESSAGE_COST
        if store.bytes + cost > store.max_bytes > 0:
            raise QueueFullError(f"the broker is full: its queues hold {store.bytes} of {store.max_bytes} bytes")
        message.cost = cost
        store.bytes += cost
        self.bytes += cost
        if not self._waiting:
            self._left = list(self.subscriptions)
        self._waiting.append(message)
        store.active[self] = None

    def dispatch(self, now: float, budget: int) -> int:
        """See :class:`~amqp10.broker.queues.Node`."""
        waiting = self._waiting
        while waiting and budget > 0:
            message = waiting[0]
            view: MessageView | None = None
            while self._left and budget > 0:
                subscription = self._left.pop()
                budget -= 1
                if subscription.filters:
                    budget -= _LOOK
                    view = view or MessageView(message)
                    if not subscription.filters.pass_on(view, message.origin, subscription.peer):
                        continue
                try:
                    subscription.queue.put(StoredMessage(message.payload, message.expires, message.origin))
                except QueueFullError as error:
                    logger.info("a message for a subscription is lost: %s", error.message)
            if self._left:
                break
            waiting.popleft()
            self.store.bytes -= message.cost
            self.bytes -= message.cost
            if waiting:
                self._left = list(self.subscriptions)
        return max(0, budget)

    def clear(self) -> None:
        """Drop what has not been handed on yet."""
        self._waiting.clear()
        self._left = []
        self.store.bytes -= self.bytes
        self.bytes = 0

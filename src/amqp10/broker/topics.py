"""Topics: each message goes to every subscription, which is a queue of its own. No I/O."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

from amqp10.broker.filters import MessageView
from amqp10.broker.limits import MESSAGE_COST
from amqp10.broker.messages import StoredMessage
from amqp10.broker.queues import LOOK_COST, QueueFullError

if TYPE_CHECKING:
    from amqp10.broker.filters import Filters
    from amqp10.broker.queues import Consumer, Lifetime, Peer, Queue, Store
    from amqp10.engine import ReceiverLink

__all__ = ["Subscription", "SubscriptionKey", "Topic"]

logger: Final = logging.getLogger("amqp10.broker")

SubscriptionKey: TypeAlias = tuple[str | None, str, bool]
"""Whose subscription it is (a container; None for everybody's), its name, and whether it is durable."""


class Subscription:
    """What one subscriber, or several that share it, get from a topic.

    Args:
        topic: the topic.
        queue: holds its messages.
        filters: which messages it gets.
        key: identifies it; None if no other link can find it.
        shared: whether several consumers may use it at once.
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
        """The number of the connection that used it last, for the filter *no-local*."""

    @property
    def durable(self) -> bool:
        """Whether it stays when it has no consumers."""
        return self.key is not None and self.key[2]


class Topic:
    """One topic. It passes its messages to the subscriptions, with the same bounds on work as queues.

    Args:
        name: its name.
        store: what it shares with the queues.

    Attributes:
        subscriptions: the subscriptions that get its messages.
        producers: the links that bring messages, and their clients.
        lifetime: how long it lives; None unless it is dynamic.
        bytes: how many bytes have not been passed on yet.
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
        """The subscriptions that have not got the first waiting message yet."""

    @property
    def consumers(self) -> list[Consumer]:
        """The consumers of its subscriptions."""
        return [consumer for subscription in self.subscriptions for consumer in subscription.queue.consumers]

    def put(self, message: StoredMessage) -> None:
        """Take a message for the subscriptions that there are now.

        Raises:
            QueueFullError: there is no room.
        """
        if not self.subscriptions:
            return  # nobody gets it
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
                    budget -= LOOK_COST
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
        """Drop what has not been passed on yet."""
        self._waiting.clear()
        self._left = []
        self.store.bytes -= self.bytes
        self.bytes = 0

"""All nodes of the broker, found by their addresses. No I/O."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final, TypeAlias

from amqp10.broker.addresses import DEAD_LETTER_SUFFIX, Address, parse_address
from amqp10.broker.faults import Faults
from amqp10.broker.limits import Limits
from amqp10.broker.messages import StoredMessage, reject
from amqp10.broker.queues import Lifetime, Queue, Store
from amqp10.broker.streams import Stream
from amqp10.broker.topics import Subscription, Topic
from amqp10.conditions import ErrorCondition
from amqp10.errors import LimitError, ProtocolError
from amqp10.wire.messaging import DeleteOnClose, DeleteOnNoLinks, DeleteOnNoMessages

if TYPE_CHECKING:
    from amqp10.broker.filters import Filters
    from amqp10.broker.queues import Peer
    from amqp10.broker.topics import SubscriptionKey
    from amqp10.engine import LinkEndpoint
    from amqp10.wire.messaging import Rejected

__all__ = ["WORK_PER_TURN", "Directory", "LinkKey"]

LinkKey: TypeAlias = tuple[str, str, bool]
"""The id of the client's container, the name of the link, and whether the client is the receiver."""
_DYNAMIC: Final = re.compile(r"dynamic-\d+-")
_AWKWARD: Final = re.compile(r"[^A-Za-z0-9._-]")

WORK_PER_TURN: Final = 2000
"""How many units of work the nodes do before clients are listened to again; sending a message is one."""


class Directory:
    """All nodes, and the rules for using them.

    Args:
        limits: the limits.
        auto_create: whether a queue is made when it is first named; otherwise only those of ``queues`` exist, with
            their dead-letter queues.
        queues: the names of queues that exist from the start.
        topics: the names of topics that exist from the start.
        streams: the names of streams. They are addressed like queues.
        refuse: addresses to which links are refused, with their dead-letter queues. A name without a prefix means both
            the queue and the topic.
        clock: the time in seconds; monotonic.
        wall_clock: the time of day in seconds since 1970.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        auto_create: bool = True,
        queues: Collection[str] = (),
        topics: Collection[str] = (),
        streams: Collection[str] = (),
        refuse: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.limits: Limits = limits if limits is not None else Limits()
        self.auto_create: bool = auto_create
        self.refuse: frozenset[Address] = frozenset(
            parse_address(address, topic=topic) for address in refuse for topic in (False, True)
        )
        self.clock: Callable[[], float] = clock
        self.wall_clock: Callable[[], float] = wall_clock
        self.store: Store = Store(self.limits.max_bytes)
        self.takes_turns: bool = False
        """Whether somebody calls :meth:`work` regularly, so that it is not called whenever a client sends something."""
        self.faults: Faults = Faults()
        self.queues: dict[str, Queue] = {}
        self.topics: dict[str, Topic] = {}
        self.subscriptions: dict[SubscriptionKey, Subscription] = {}
        """The subscriptions that can be found again: durable and shared ones."""
        self.containers: dict[str, dict[Peer, None]] = {}
        """The connections that are open, by the ids of their containers."""
        self.links: dict[LinkKey, tuple[Peer, LinkEndpoint]] = {}
        """The attached links. A name is used only once between two containers, in each direction."""
        self._dynamic = 0
        for name in queues:
            self._add(name)
        for name in topics:
            self._add_topic(name)
        for name in streams:
            self.queues[name] = Stream(
                name,
                wall_clock,
                self.store,
                max_length=self.limits.max_queue_length,
                max_bytes=self.limits.max_queue_bytes,
                max_unsettled=self.limits.max_unsettled,
            )

    # -- nodes -----------------------------------------------------------------------------------------------------

    def check(self, address: Address) -> None:
        """Check that links to a node are allowed.

        Raises:
            ProtocolError: they are refused.
        """
        dead = address.name.endswith(DEAD_LETTER_SUFFIX)
        plain = Address(address.name.removesuffix(DEAD_LETTER_SUFFIX), address.topic)
        if address in self.refuse or (dead and plain in self.refuse):
            raise ProtocolError(f"links to {address.name!r} are refused", condition=ErrorCondition.UNAUTHORIZED_ACCESS)

    def find(self, address: object, *, topic: bool = False) -> Queue | Topic:
        """The node of an address, made if need be. See :func:`~amqp10.broker.addresses.parse_address`.

        Args:
            address: the address.
            topic: whether a name without a prefix is that of a topic.

        Raises:
            ProtocolError: there is no such node, or links to it are refused.
            LimitError: there are too many nodes.
        """
        node = parse_address(address, topic=topic)
        self.check(node)
        name = node.name
        create = self.auto_create and _DYNAMIC.match(name) is None  # a dynamic node that was deleted is not made again
        if node.topic:
            if name not in self.topics and not create:
                raise ProtocolError(f"there is no topic {name!r}", condition=ErrorCondition.NOT_FOUND)
            return self.topics.get(name) or self._add_topic(name)
        queue = self.queues.get(name)
        if queue is None:
            parent = name.removesuffix(DEAD_LETTER_SUFFIX)
            if not create and (parent == name or (parent not in self.queues and parent not in self.topics)):
                raise ProtocolError(f"there is no queue {name!r}", condition=ErrorCondition.NOT_FOUND)
            queue = self._add(name)
        return queue

    def _check_count(self) -> None:
        limit = self.limits.max_queues
        if 0 < limit <= len(self.queues) + len(self.topics) + len(self.subscriptions):
            raise LimitError(f"the broker already has {limit} queues, topics and subscriptions, which is the limit")

    def _new_queue(self, name: str, dead_letters: str | None) -> Queue:
        self._check_count()
        limits = self.limits
        return Queue(
            name,
            self.store,
            max_length=limits.max_queue_length,
            max_bytes=limits.max_queue_bytes,
            max_unsettled=limits.max_unsettled,
            dead_letters=dead_letters,
        )

    def _add(self, name: str, *, dead_letters: bool = True) -> Queue:
        dead = None if name.endswith(DEAD_LETTER_SUFFIX) or not dead_letters else name + DEAD_LETTER_SUFFIX
        queue = self.queues[name] = self._new_queue(name, dead)
        return queue

    def _add_topic(self, name: str) -> Topic:
        self._check_count()
        topic = self.topics[name] = Topic(name, self.store)
        return topic

    def dynamic(self, link: LinkEndpoint, policy: int, *, topic: bool = False) -> Queue | Topic:
        """A dynamic node (messaging, "lifetime policies").

        Args:
            link: the link that asks for it.
            policy: the code of its lifetime policy.
            topic: whether it is a topic.
        """
        self._dynamic += 1
        # Only characters that an address need not escape.
        name = f"dynamic-{self._dynamic}-{_AWKWARD.sub('_', link.name)}"[:120]
        node: Queue | Topic = self._add_topic(name) if topic else self._add(name, dead_letters=False)
        node.lifetime = Lifetime(policy, link)
        return node

    def reap(self, node: Queue | Topic) -> None:
        """Delete a dynamic node if its lifetime is over. To be called when its links or messages have changed."""
        lifetime = node.lifetime
        if lifetime is None:
            return
        policy = lifetime.policy
        over = (
            lifetime.creator is None
            if policy in (DeleteOnClose.DESCRIPTOR_CODE, DeleteOnNoMessages.DESCRIPTOR_CODE)
            else not node.producers and not node.consumers
        )
        if over and (policy in (DeleteOnClose.DESCRIPTOR_CODE, DeleteOnNoLinks.DESCRIPTOR_CODE) or not node.bytes):
            node.lifetime = None
            self.delete(node)

    def delete(self, node: Queue | Topic) -> None:
        """Remove a node with its messages, and end the links to it."""
        known: dict[str, Queue] | dict[str, Topic] = self.topics if isinstance(node, Topic) else self.queues
        if known.get(node.name) is node:
            del known[node.name]
        gone = ProtocolError(f"{node.name!r} has been deleted", condition=ErrorCondition.RESOURCE_DELETED)
        links: list[tuple[LinkEndpoint, Peer]] = [*node.producers.items()]
        links += [(consumer.link, consumer.peer) for consumer in node.consumers]
        for link, peer in links:
            link.detach(error=gone)
            self.store.busy[peer] = None
        if isinstance(node, Topic):
            for subscription in list(node.subscriptions):
                self.unsubscribe(subscription)
        else:
            for consumer in list(node.consumers):
                node.leave(consumer)
        node.clear()
        self.store.active.pop(node, None)

    # -- subscriptions ---------------------------------------------------------------------------------------------

    def subscribe(self, topic: Topic, filters: Filters, key: SubscriptionKey | None, *, shared: bool) -> Subscription:
        """The subscription of a consumer: an existing one, or a new one.

        An existing one with another topic or filter is replaced, as JMS requires, unless somebody consumes from it.

        Args:
            topic: the topic.
            filters: which messages it gets.
            key: identifies it; None for a subscription that no other link can find.
            shared: whether several consumers may use it at once.

        Raises:
            ProtocolError: others use it with another topic or filter.
            LimitError: there are too many.
        """
        known = self.subscriptions.get(key) if key is not None else None
        if known is not None:
            same = known.topic is topic and known.filters.answer == filters.answer and known.shared is shared
            if same:
                return known
            if known.queue.consumers:
                raise ProtocolError(
                    f"the subscription {key and key[1]!r} is in use with another topic or filter",
                    condition=ErrorCondition.RESOURCE_LOCKED,
                )
            self.unsubscribe(known)
        label = f"{topic.name}: {key[1]}" if key is not None else topic.name
        queue = self._new_queue(label, topic.name + DEAD_LETTER_SUFFIX)
        subscription = Subscription(topic, queue, filters, key, shared=shared)
        topic.subscriptions[subscription] = None
        if key is not None:
            self.subscriptions[key] = subscription
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription; its messages are gone."""
        subscription.topic.subscriptions.pop(subscription, None)
        if subscription.key is not None and self.subscriptions.get(subscription.key) is subscription:
            del self.subscriptions[subscription.key]
        queue = subscription.queue
        for consumer in list(queue.consumers):
            queue.leave(consumer)
        queue.clear()
        self.store.active.pop(queue, None)

    # -- messages --------------------------------------------------------------------------------------------------

    def bury(self, queue: Queue, message: StoredMessage, outcome: Rejected) -> None:
        """Move a rejected message to the dead-letter queue of its queue. If it is rejected there too, it is dropped."""
        queue.forget(message)
        name = queue.dead_letters
        if name is None:
            return
        target = self.queues.get(name)
        if target is None:
            try:
                target = self._add(name)
            except LimitError:
                return
        reject(message, outcome)
        target.bury(message)

    def work(self, budget: int = WORK_PER_TURN) -> bool:
        """Have the nodes with something to do do it, in turn. Returns whether there is more to do."""
        active = self.store.active
        now = self.clock()
        while active and budget > 0:
            node = next(iter(active))
            del active[node]
            budget = node.dispatch(now, budget)
            if budget <= 0:
                active[node] = None  # it may have more to do, after the others
        return bool(active)

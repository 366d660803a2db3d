"""All nodes of the broker, found by their addresses. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from amqp10.broker.addresses import DEAD_LETTER_SUFFIX, Address, parse_address
from amqp10.broker.limits import Limits
from amqp10.broker.messages import StoredMessage, reject
from amqp10.broker.queues import Queue, Store
from amqp10.errors import LimitError, ProtocolError

if TYPE_CHECKING:
    from amqp10.broker.queues import Peer
    from amqp10.engine import LinkEndpoint
    from amqp10.wire.messaging import Rejected

__all__ = ["WORK_PER_TURN", "Directory"]

WORK_PER_TURN: Final = 2000
"""How many units of work the nodes do before clients are listened to again; sending a message is one."""


class Directory:
    """All queues, and the rules they are used by.

    Args:
        limits: how much there may be of everything.
        auto_create: whether a queue is made when it is first named; otherwise only those of ``queues`` exist, with
            their dead-letter queues.
        queues: the names of queues that exist from the start.
        refuse: addresses to which links are refused, with their dead-letter queues.
        clock: the time in seconds; monotonic.
        wall_clock: the time of day in seconds since 1970.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        auto_create: bool = True,
        queues: Collection[str] = (),
        refuse: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.limits = limits if limits is not None else Limits()
        self.auto_create = auto_create
        self.refuse = frozenset(parse_address(address) for address in refuse)
        self.clock = clock
        self.wall_clock = wall_clock
        self.store = Store(self.limits.max_bytes)
        self.queues: dict[str, Queue] = {}
        self._dynamic = 0
        for name in queues:
            self._add(name)

    # -- nodes -----------------------------------------------------------------------------------------------------

    def check(self, address: Address) -> None:
        """Whether links to a node are allowed.

        Raises:
            ProtocolError: they are refused.
        """
        dead = address.name.endswith(DEAD_LETTER_SUFFIX)
        plain = Address(address.name.removesuffix(DEAD_LETTER_SUFFIX), address.topic)
        if address in self.refuse or (dead and plain in self.refuse):
            raise ProtocolError(f"links to {address.name!r} are refused", condition="amqp:unauthorized-access")

    def find(self, address: object) -> Queue:
        """The queue of an address, made if need be. ``NAME`` and ``/queues/NAME`` (percent-encoded) are the same.

        Raises:
            ProtocolError: there is no such queue, or links to it are refused.
            LimitError: there are too many queues.
        """
        node = parse_address(address)
        self.check(node)
        name = node.name
        queue = self.queues.get(name)
        if queue is None:
            parent = name.removesuffix(DEAD_LETTER_SUFFIX)
            if not self.auto_create and (parent == name or parent not in self.queues):
                raise ProtocolError(f"there is no queue {name!r}", condition="amqp:not-found")
            queue = self._add(name)
        return queue

    def _add(self, name: str, *, dead_letters: bool = True) -> Queue:
        limits = self.limits
        if 0 < limits.max_queues <= len(self.queues):
            raise LimitError(f"the broker has {limits.max_queues} queues already, which is its limit")
        dead = None if name.endswith(DEAD_LETTER_SUFFIX) or not dead_letters else name + DEAD_LETTER_SUFFIX
        queue = self.queues[name] = Queue(
            name,
            self.store,
            max_length=limits.max_queue_length,
            max_bytes=limits.max_queue_bytes,
            max_unsettled=limits.max_unsettled,
            dead_letters=dead,
        )
        return queue

    def dynamic_queue(self, link: LinkEndpoint) -> Queue:
        """A queue for a dynamic node. What becomes of it is up to who asked for it."""
        self._dynamic += 1
        return self._add(f"dynamic-{self._dynamic}-{link.name}"[:120], dead_letters=False)

    def delete(self, queue: Queue) -> None:
        """Remove a queue with its messages, and end the links to it."""
        if self.queues.get(queue.name) is queue:
            del self.queues[queue.name]
        gone = ProtocolError(f"the queue {queue.name!r} has been deleted", condition="amqp:resource-deleted")
        links: list[tuple[LinkEndpoint, Peer]] = [*queue.producers.items()]
        links += [(consumer.link, consumer.peer) for consumer in queue.consumers]
        for link, peer in links:
            link.detach(error=gone)
            self.store.busy[peer] = None
        for consumer in list(queue.consumers):
            queue.leave(consumer)
        queue.clear()
        self.store.active.pop(queue, None)

    # -- messages --------------------------------------------------------------------------------------------------

    def bury(self, queue: Queue, message: StoredMessage, outcome: Rejected) -> None:
        """Move a rejected message to the dead-letter queue of its queue. One that is rejected there too is gone."""
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
        """Let the nodes that have something to do work, in turn. Returns whether there is more to do."""
        active = self.store.active
        now = self.clock()
        while active and budget > 0:
            node = next(iter(active))
            del active[node]
            budget = node.dispatch(now, budget)
            if budget <= 0:
                active[node] = None  # perhaps there is more: the others come first
        return bool(active)

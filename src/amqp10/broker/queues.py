"""Queues: messages, consumers, and who gets what (messaging, "distribution nodes"). No I/O, and no clock."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from amqp10.broker.limits import MESSAGE_COST
from amqp10.broker.messages import StoredMessage, place_of
from amqp10.conditions import ErrorCondition
from amqp10.engine import LinkState
from amqp10.errors import AMQPError, ProtocolError
from amqp10.wire.messaging import Accepted, Released
from amqp10.wire.performatives import SenderSettleMode

if TYPE_CHECKING:
    from amqp10.engine import LinkEndpoint, OutgoingDelivery, ReceiverLink, SenderLink
    from amqp10.wire.messaging import Outcome

__all__ = ["LOOK_COST", "MOST_UNSENT", "Consumer", "Lifetime", "Node", "Peer", "Queue", "QueueFullError", "Store"]

MOST_UNSENT: Final = 1024 * 1024
"""How many bytes may wait for a client that does not read. With more, it gets no messages and is not read from."""
LOOK_COST: Final = 8
"""How many units of work it costs to check whether a message matches; sending one costs one unit."""
# Looking up a member of an enumeration costs five times as much as a global name, and these are needed per message.
_ATTACHED: Final = LinkState.ATTACHED
_SETTLED: Final = SenderSettleMode.SETTLED


class QueueFullError(AMQPError):
    """A queue, or the broker, holds as much as it may. Code 600, condition ``amqp:resource-limit-exceeded``."""

    __slots__ = ()

    def __init__(self, message: str) -> None:
        super().__init__(600, message, condition=ErrorCondition.RESOURCE_LIMIT_EXCEEDED)


class Store:
    """What all queues share: their total size, which of them have work to do, and which clients may have output.

    Attributes:
        max_bytes: how much the queues hold together at most, in bytes; 0 for no limit.
        bytes: how much they hold.
        active: the nodes with something to do, the next one to be served first.
        busy: the clients that may have output.
    """

    __slots__ = ("active", "busy", "bytes", "max_bytes")

    def __init__(self, max_bytes: int = 0) -> None:
        self.max_bytes: int = max_bytes
        self.bytes: int = 0
        self.active: dict[Node, None] = {}
        self.busy: dict[Peer, None] = {}


class Node(Protocol):
    """What can be given work: a queue, a stream, a topic."""

    def dispatch(self, now: float, budget: int) -> int:
        """Do up to ``budget`` units of work. Returns what is left of them; 0 when there may be more to do."""
        ...


class Peer:
    """One client.

    Attributes:
        number: identifies the connection; never used again.
        container_id: the client's container, once its *open* has arrived.
        unsent: about how many bytes of messages for it have not been written yet.
        stalled: its consumers that have credit, but must wait until it reads or settles.
        partial: how many bytes of incomplete messages have arrived.
        sole: whether no other connection may use its container id.
    """

    def __init__(self, number: int) -> None:
        self.number: int = number
        self.container_id: str = ""
        self.unsent: int = 0
        self.stalled: dict[Consumer, None] = {}
        self.partial: int = 0
        self.sole: bool = False

    def resume(self) -> None:
        """It has read or settled: serve its consumers that had to wait."""
        if self.stalled and self.unsent < MOST_UNSENT:
            stalled = list(self.stalled)
            self.stalled.clear()
            for consumer in stalled:
                consumer.queue.wake(consumer)


class Consumer:
    """A link that takes messages from a queue.

    Attributes:
        link: the sending end of the link.
        peer: the client at its other end.
        queue: where its messages come from.
        browsing: whether messages stay in the queue (distribution mode *copy*).
        default: the outcome, chosen by the client, of messages that are settled without one or not at all; None if it
            did not choose (messaging, "source", default-outcome).
        matches: which messages it takes; None for all.
        ready: whether it is in the queue's list of consumers with credit.
        selective: whether it skips messages, so that ``position`` matters.
        unsettled: its unsettled messages, in the order sent.
        position: for browsers and selective consumers, the place after the last message that was checked.
    """

    __slots__ = (
        "__weakref__",
        "browsing",
        "default",
        "link",
        "matches",
        "peer",
        "position",
        "queue",
        "ready",
        "selective",
        "unsettled",
    )

    def __init__(
        self,
        link: SenderLink,
        peer: Peer,
        queue: Queue,
        *,
        browsing: bool = False,
        default: Outcome | None = None,
        matches: Callable[[StoredMessage], bool] | None = None,
    ) -> None:
        self.link: SenderLink = link
        self.peer: Peer = peer
        self.queue: Queue = queue
        self.browsing: bool = browsing
        self.default: Outcome | None = default
        self.matches: Callable[[StoredMessage], bool] | None = matches
        self.ready: bool = False
        self.selective: bool = browsing or matches is not None
        self.unsettled: dict[OutgoingDelivery, StoredMessage] = {}
        self.position: int = 0

    def takes(self, message: StoredMessage) -> bool:
        """Whether this consumer takes the message."""
        if message.barred is not None and self in message.barred:
            return False
        return self.matches is None or self.matches(message)


class Lifetime:
    """How long a dynamic node lives (messaging, "lifetime policies").

    Attributes:
        policy: the code of the policy.
        creator: the link that asked for the node; None when that link has ended.
    """

    __slots__ = ("creator", "policy")

    def __init__(self, policy: int, creator: LinkEndpoint) -> None:
        self.policy: int = policy
        self.creator: LinkEndpoint | None = creator


class Queue:
    """One queue. Its messages stay in the order in which they first arrived, even if they were delivered meanwhile.

    Args:
        name: its name.
        store: what it shares with the other queues.
        max_length: how many messages may wait in it; 0 for no limit.
        max_bytes: how many bytes it may hold, unsettled messages of consumers included; 0 for no limit.
        max_unsettled: how many messages a session may have without settling them; 0 for no limit.
        dead_letters: the name of the queue that rejected messages go to; None for nowhere.

    Attributes:
        messages: the waiting messages, the oldest first.
        bytes: how many bytes it holds.
        consumers: the links that take messages.
        producers: the links that bring messages, and their clients.
        next_sequence: the place of the next message.
        keeps: whether messages stay when they are settled, as in a stream.
        lifetime: how long it lives; None unless it is dynamic.
    """

    __slots__ = (
        "_draining",
        "_ready",
        "_selective",
        "bytes",
        "consumers",
        "dead_letters",
        "keeps",
        "lifetime",
        "max_bytes",
        "max_length",
        "max_unsettled",
        "messages",
        "name",
        "next_sequence",
        "producers",
        "store",
    )

    def __init__(
        self,
        name: str,
        store: Store | None = None,
        *,
        max_length: int = 0,
        max_bytes: int = 0,
        max_unsettled: int = 0,
        dead_letters: str | None = None,
    ) -> None:
        self.name: str = name
        self.store: Store = store if store is not None else Store()
        self.max_length: int = max_length
        self.max_bytes: int = max_bytes
        self.max_unsettled: int = max_unsettled or 1 << 62
        self.dead_letters: str | None = dead_letters
        self.messages: deque[StoredMessage] = deque()
        self.bytes: int = 0
        self.consumers: dict[Consumer, None] = {}
        self.producers: dict[ReceiverLink, Peer] = {}
        self._ready: deque[Consumer] = deque()
        """Consumers with credit, the next one to be served first."""
        self._draining: dict[Consumer, None] = {}
        self._selective: dict[Consumer, None] = {}
        self.next_sequence: int = 0
        self.keeps: bool = False
        self.lifetime: Lifetime | None = None

    def __len__(self) -> int:
        return len(self.messages)

    # -- messages in and out ---------------------------------------------------------------------------------------

    def put(self, message: StoredMessage) -> None:
        """Add a message at the end.

        Raises:
            QueueFullError: there is no room.
        """
        if 0 < self.max_length <= len(self.messages):
            raise QueueFullError(f"the queue {self.name!r} is full: it holds {self.max_length} messages")
        cost = len(message.payload) + MESSAGE_COST
        if self.bytes + cost > self.max_bytes > 0:
            raise QueueFullError(f"the queue {self.name!r} is full: it holds {self.bytes} of {self.max_bytes} bytes")
        store = self.store
        if store.bytes + cost > store.max_bytes > 0:
            raise QueueFullError(f"the broker is full: its queues hold {store.bytes} of {store.max_bytes} bytes")
        message.cost = cost
        message.sequence = self.next_sequence
        self.next_sequence += 1
        self.bytes += cost
        store.bytes += cost
        self.messages.append(message)
        if self._ready:
            store.active[self] = None

    def bury(self, message: StoredMessage) -> bool:
        """Add a rejected message at the end, and drop the oldest ones to make room. False if it does not fit at all."""
        if len(message.payload) + MESSAGE_COST > self.max_bytes > 0:
            return False
        while True:
            try:
                self.put(message)
                return True
            except QueueFullError:
                if not self.messages:
                    return False
                self.forget(self.messages.popleft())

    def forget(self, message: StoredMessage) -> None:
        """A message is gone: stop counting it."""
        self.bytes -= message.cost
        self.store.bytes -= message.cost

    def charge(self, message: StoredMessage) -> None:
        """The size of a message has changed: count it anew."""
        cost = len(message.payload) + MESSAGE_COST
        self.bytes += cost - message.cost
        self.store.bytes += cost - message.cost
        message.cost = cost

    def clear(self) -> int:
        """Drop the waiting messages; returns how many there were."""
        count = len(self.messages)
        while self.messages:
            self.forget(self.messages.popleft())
        return count

    def put_back(self, messages: Iterable[StoredMessage]) -> None:
        """Put messages back in their places, even if the queue is full: they have been in it before."""
        waiting = self.messages
        first = self.next_sequence
        for message in sorted(messages, key=place_of, reverse=True):
            first = message.sequence
            # Messages that come back are old and usually go to the front. But they can come one by one, oldest first.
            if not waiting or first < waiting[0].sequence:
                waiting.appendleft(message)
            elif first > waiting[-1].sequence:
                waiting.append(message)
            else:
                waiting.insert(bisect_right(waiting, first, key=place_of), message)
        for consumer in self._selective:
            # A browser does not look at a message twice.
            if consumer.position > first and not consumer.browsing:
                consumer.position = first
        if self._ready:
            self.store.active[self] = None

    # -- consumers -------------------------------------------------------------------------------------------------

    def join(self, consumer: Consumer) -> None:
        """Add a consumer. It is served when it has credit: see :meth:`wake`."""
        self.consumers[consumer] = None
        if consumer.selective:
            self._selective[consumer] = None

    def wake(self, consumer: Consumer) -> None:
        """A consumer may have got credit, have room again, or ask to be drained."""
        if consumer not in self.consumers:
            return
        link = consumer.link
        if link.drain:
            self._draining[consumer] = None
        if link.credit > 0 and not consumer.ready:
            consumer.ready = True
            self._ready.append(consumer)
        self.store.active[self] = None

    def bar(self, consumer: Consumer) -> None:
        """A consumer must not get some message again: from now on it is selective."""
        consumer.selective = True
        self._selective[consumer] = None

    def leave(self, consumer: Consumer) -> None:
        """Remove a consumer. Its unsettled messages go back to their places as failed deliveries, unless its default
        outcome says otherwise.
        """
        if consumer not in self.consumers:
            return
        del self.consumers[consumer]
        self._selective.pop(consumer, None)
        self._draining.pop(consumer, None)
        consumer.peer.stalled.pop(consumer, None)
        if consumer.ready:
            consumer.ready = False
            self._ready.remove(consumer)
        if not consumer.unsettled:
            return
        messages = list(consumer.unsettled.values())
        consumer.unsettled.clear()
        default = consumer.default
        if isinstance(default, Accepted):
            for message in messages:
                self.forget(message)
            return
        if not isinstance(default, Released):
            for message in messages:
                message.failures += 1
        self.put_back(messages)

    # -- who gets what ---------------------------------------------------------------------------------------------

    def dispatch(self, now: float, budget: int) -> int:
        """Send messages to consumers with credit, one to each in turn, the oldest message first.

        Args:
            now: the broker's clock.
            budget: how many units of work to do at most; sending a message is one.

        Returns:
            What is left of the budget; 0 when there may be more to do.
        """
        messages = self.messages
        ready = self._ready
        busy = self.store.busy
        idle = 0
        while messages and idle < len(ready):
            if budget <= 0:
                return 0
            consumer = ready[0]
            link = consumer.link
            peer = consumer.peer
            if link.credit <= 0 or link.state is not _ATTACHED or not self._has_room(consumer):
                ready.popleft()
                consumer.ready = False
                continue
            ready.rotate(-1)
            if consumer.selective:
                message, looked = self._search(consumer, now, budget)
                budget -= looked
                if message is None:
                    if budget > 0:
                        idle += 1
                    continue
            else:
                message = messages.popleft()
                if message.expires is not None and now >= message.expires:
                    self.forget(message)
                    budget -= 1
                    continue
            payload = message.encoded() if message.failures else message.payload
            size = len(payload)
            if size > link.remote_max_message_size > 0:
                budget -= 1
                self._too_large(consumer, message)
                continue
            idle = 0
            budget -= 1
            peer.unsent += size
            busy[peer] = None
            if consumer.browsing:
                # A consumer of a stream may settle its messages, but that changes nothing.
                link.send(payload, settled=not self.keeps or link.snd_settle_mode == _SETTLED, context=consumer)
            elif link.snd_settle_mode == _SETTLED:
                link.send(payload, settled=True)
                self.forget(message)
            else:
                consumer.unsettled[link.send(payload, context=consumer)] = message
        if self._draining:
            self._answer_drains()
        return budget

    def _has_room(self, consumer: Consumer) -> bool:
        """Whether the client can take another message; if not, it is served again when it has read or settled."""
        link = consumer.link
        if consumer.peer.unsent < MOST_UNSENT and not link.pending and len(link.session_unsettled) < self.max_unsettled:
            return True
        consumer.peer.stalled[consumer] = None
        return False

    def _search(self, consumer: Consumer, now: float, budget: int) -> tuple[StoredMessage | None, int]:
        """The next message for a consumer, and how much work it took to find it."""
        messages = self.messages
        start = bisect_left(messages, consumer.position, key=place_of)
        looked = 0
        expired: list[StoredMessage] = []
        found: StoredMessage | None = None
        for message in islice(messages, start, start + max(1, budget // LOOK_COST)):
            looked += LOOK_COST
            consumer.position = message.sequence + 1
            if message.expires is not None and now >= message.expires:
                expired.append(message)
            elif consumer.takes(message):
                found = message
                break
        for message in expired:
            self._remove(message)
            self.forget(message)
        if found is not None and not consumer.browsing:
            self._remove(found)
        return found, looked

    def _remove(self, message: StoredMessage) -> None:
        messages = self.messages
        if messages[0] is message:
            messages.popleft()
        else:
            del messages[bisect_left(messages, message.sequence, key=place_of)]

    def _too_large(self, consumer: Consumer, message: StoredMessage) -> None:
        """End a link that is too small for the next message, so that its program learns why none comes. A browser skips
        the message."""
        if consumer.browsing:
            return
        self.put_back([message])
        link = consumer.link
        link.detach(
            error=ProtocolError(
                f"the next message of queue {self.name!r} has {len(message.payload)} bytes, and this link takes at most"
                f" {link.remote_max_message_size}",
                condition=ErrorCondition.MESSAGE_SIZE_EXCEEDED,
            )
        )
        self.store.busy[consumer.peer] = None

    def _answer_drains(self) -> None:
        """There are no more messages for the consumers that drain: give back the rest of their credit."""
        for consumer in list(self._draining):
            link = consumer.link
            stalled = consumer in consumer.peer.stalled
            if stalled and len(link.session_unsettled) < self.max_unsettled:
                continue  # it gets more as soon as it reads
            del self._draining[consumer]
            link.drained()
            self.store.busy[consumer.peer] = None

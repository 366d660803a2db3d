"""The broker as an AMQP container: joins queues with the links of any number of connections. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from amqp10.broker.queues import (
    DEAD_LETTER_SUFFIX,
    Consumer,
    Queue,
    QueueFullError,
    StoredMessage,
    expiry,
    modify,
    reject,
)
from amqp10.codec import Symbol
from amqp10.engine import (
    Connection,
    ConnectionClosed,
    ConnectionFailed,
    DeliveriesUpdated,
    EndpointRole,
    Event,
    IncomingDelivery,
    LinkDetached,
    LinkEndpoint,
    LinkFlow,
    LinkRequested,
    OutgoingDelivery,
    ReceiverLink,
    SaslServer,
    SenderLink,
    SessionEnded,
    SessionRequested,
)
from amqp10.engine.faults import wire_error
from amqp10.errors import AMQPError, DecodeError, ProtocolError
from amqp10.wire.message import Message
from amqp10.wire.messaging import ACCEPTED, Accepted, Modified, Rejected, Released, Source, Target

if TYPE_CHECKING:
    from amqp10.wire.messaging import DeliveryState

__all__ = ["BrokerContainer", "BrokerConnection"]

_PRODUCER_CREDIT: Final = 1000
_PREFIX: Final = "/queues/"


class BrokerContainer:
    """All queues, and the rules they are used by.

    Args:
        users: user name -> password for SASL PLAIN. Without users everybody gets in, with SASL ANONYMOUS or no SASL.
        max_queue_length: how many messages a queue holds at most; 0 for no limit.
        max_message_size: the largest message accepted, in octets; 0 for no limit.
        auto_create: whether a queue is made when it is first named; otherwise only those of ``queues`` exist.
        queues: queues that exist from the start.
        refuse: addresses to which links are refused.
        clock: the time in seconds; monotonic.
        wall_clock: the time of day in seconds since 1970.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        max_queue_length: int = 0,
        max_message_size: int = 0,
        auto_create: bool = True,
        queues: Collection[str] = (),
        refuse: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.users = dict(users or {})
        self.max_queue_length = max_queue_length
        self.max_message_size = max_message_size
        self.auto_create = auto_create
        self.refuse = frozenset(refuse)
        self.clock = clock
        self.wall_clock = wall_clock
        self.queues: dict[str, Queue] = {}
        self._dynamic = 0
        for name in queues:
            self.queues[name] = Queue(name, max_queue_length)

    def accept(self, *, max_frame_size: int = 0xFFFFFFFF, idle_timeout: float = 0) -> BrokerConnection:
        """A new connection; feed its engine, and give what the engine reports to ``handle``."""
        return BrokerConnection(self, max_frame_size, idle_timeout)

    def find(self, address: object) -> Queue:
        """The queue of an address, made if need be. ``NAME`` and ``/queues/NAME`` (percent-encoded) are the same.

        Raises:
            AMQPError: there is no such queue, or links to it are refused.
        """
        if not isinstance(address, str) or not address:
            raise ProtocolError("the link names no address", condition="amqp:invalid-field")
        if address in self.refuse:
            raise ProtocolError(f"links to {address!r} are refused", condition="amqp:unauthorized-access")
        name = unquote(address.removeprefix(_PREFIX)) if address.startswith(_PREFIX) else str(address)
        queue = self.queues.get(name)
        if queue is None:
            if not self.auto_create and not name.endswith(DEAD_LETTER_SUFFIX):
                raise ProtocolError(f"there is no queue {name!r}", condition="amqp:not-found")
            queue = self.queues[name] = Queue(name, self.max_queue_length)
        return queue

    def dynamic_queue(self, link: LinkEndpoint) -> Queue:
        """A queue for a dynamic node; it lives as long as the link that asked for it (messaging, "delete-on-close")."""
        self._dynamic += 1
        name = f"dynamic-{self._dynamic}-{link.name}"[:120]
        queue = self.queues[name] = Queue(name, self.max_queue_length, owner=link)
        return queue

    def delete(self, queue: Queue) -> None:
        """Remove a queue with its messages, and end the links to it."""
        self.queues.pop(queue.name, None)
        gone = ProtocolError(f"the queue {queue.name!r} has been deleted", condition="amqp:resource-deleted")
        for link in [*queue.producers, *(consumer.link for consumer in queue.consumers)]:
            link.detach(error=gone)

    def bury(self, queue: Queue, message: StoredMessage, outcome: Rejected) -> None:
        """Move a rejected message to the dead-letter queue of its queue. One that is rejected there too is gone."""
        if queue.name.endswith(DEAD_LETTER_SUFFIX) or queue.owner is not None:
            return
        reject(message, outcome)
        name = queue.name + DEAD_LETTER_SUFFIX
        target = self.queues.get(name)
        if target is None:
            target = self.queues[name] = Queue(name)
        target.append(message)
        target.dispatch(self.clock())


class BrokerConnection:
    """One client's connection: its engine, and what its links are joined with."""

    def __init__(self, container: BrokerContainer, max_frame_size: int, idle_timeout: float) -> None:
        self.container = container
        sasl = SaslServer(users=container.users, anonymous=not container.users, anybody=not container.users)
        self.sasl = sasl
        self.engine = Connection(
            EndpointRole.SERVER,
            container_id="amqp10-broker",
            max_frame_size=max_frame_size,
            idle_timeout=idle_timeout,
            sasl=sasl,
            offered_capabilities=("ANONYMOUS-RELAY",),
        )
        self._consumers: dict[SenderLink, tuple[Queue, Consumer]] = {}
        self._producers: dict[ReceiverLink, Queue | None] = {}
        self._start: bytes | None = b""
        self.engine.start(container.clock())

    def receive(self, data: bytes) -> None:
        """Take bytes that arrived from the client."""
        if self._start is not None:
            # The protocol header decides whether there is a SASL exchange, and it may come octet by octet.
            data = self._start = self._start + data
            if len(data) < 8 and b"AMQP".startswith(data[:4]):
                return
            self._start = None
            if data[4:5] != b"\x03" and not self.container.users:
                # No SASL layer, and nobody has to prove who they are: the plain protocol will do.
                self.engine.sasl = None
        self.handle(self.engine.receive_data(data, self.container.clock()))

    def handle(self, events: list[Event]) -> None:
        """Act on what the engine reports."""
        touched: dict[Queue, None] = {}
        for event in events:
            if isinstance(event, IncomingDelivery):
                self._take(event, touched)
            elif isinstance(event, DeliveriesUpdated):
                self._settle(event, touched)
            elif isinstance(event, LinkFlow):
                self._flow(event, touched)
            elif isinstance(event, LinkRequested):
                self._attach(event, touched)
            elif isinstance(event, LinkDetached):
                self._detach(event.link, touched)
            elif isinstance(event, SessionRequested):
                event.session.accept()
            elif isinstance(event, SessionEnded):
                for link in [link for link in (*self._consumers, *self._producers) if link.session is event.session]:
                    self._detach(link, touched)
            elif isinstance(event, (ConnectionClosed, ConnectionFailed)):
                for link in [*self._consumers, *self._producers]:
                    self._detach(link, touched)
        self._dispatch(touched)
        for link, (queue, _) in list(self._consumers.items()):
            if link.drain and queue in touched:
                link.drained()
        for producer in self._producers:
            if producer.attached and producer.credit <= _PRODUCER_CREDIT // 2:
                producer.flow(_PRODUCER_CREDIT)

    def close(self) -> None:
        """The client is gone: what it had not settled goes back to the queues."""
        touched: dict[Queue, None] = {}
        for link in [*self._consumers, *self._producers]:
            self._detach(link, touched)
        self._dispatch(touched)

    def _dispatch(self, touched: Iterable[Queue]) -> None:
        now = self.container.clock()
        for queue in touched:
            queue.dispatch(now)

    # -- links -----------------------------------------------------------------------------------------------------

    def _attach(self, event: LinkRequested, touched: dict[Queue, None]) -> None:
        link = event.link
        if not link.requested:
            return  # it went again in the same batch
        try:
            if isinstance(link, SenderLink):
                self._attach_consumer(link, touched)
            elif isinstance(link, ReceiverLink):
                self._attach_producer(link)
        except AMQPError as error:
            link.refuse(error)

    def _attach_consumer(self, link: SenderLink, touched: dict[Queue, None]) -> None:
        source = link.source
        if not isinstance(source, Source):
            raise ProtocolError("the link has no source", condition="amqp:invalid-field")
        if source.filter:
            raise ProtocolError("this broker has no filters", condition="amqp:not-implemented")
        browsing = source.distribution_mode == "copy"
        queue = self.container.dynamic_queue(link) if source.dynamic else self.container.find(source.address)
        link.accept(
            source=Source(
                address=queue.name if source.dynamic else source.address,
                dynamic=source.dynamic,
                distribution_mode=Symbol("copy") if browsing else None,
                outcomes=source.outcomes,
            )
        )
        consumer = Consumer(link, browsing)
        self._consumers[link] = (queue, consumer)
        queue.consumers.append(consumer)
        touched[queue] = None

    def _attach_producer(self, link: ReceiverLink) -> None:
        target = link.target
        if not isinstance(target, Target):
            what = "transactions are not supported" if target is not None else "the link has no target"
            raise ProtocolError(what, condition="amqp:not-implemented")
        if target.dynamic:
            queue: Queue | None = self.container.dynamic_queue(link)
            assert queue is not None
            target = Target(address=queue.name, dynamic=True)
        else:
            # Without an address each message says where it goes: the anonymous terminus.
            queue = self.container.find(target.address) if target.address else None
        link.accept(target=target, max_message_size=self.container.max_message_size)
        self._producers[link] = queue
        if queue is not None:
            queue.producers.add(link)
        link.flow(_PRODUCER_CREDIT)

    def _detach(self, link: LinkEndpoint, touched: dict[Queue, None]) -> None:
        queue: Queue | None = None
        if isinstance(link, SenderLink):
            entry = self._consumers.pop(link, None)
            if entry is not None:
                queue, consumer = entry
                queue.leave(consumer)
                touched[queue] = None
        elif isinstance(link, ReceiverLink):
            queue = self._producers.pop(link, None)
            if queue is not None:
                queue.producers.discard(link)
        if queue is not None and queue.owner is link:
            self.container.delete(queue)

    def _flow(self, event: LinkFlow, touched: dict[Queue, None]) -> None:
        link = event.link
        if isinstance(link, SenderLink) and link in self._consumers:
            touched[self._consumers[link][0]] = None

    # -- messages --------------------------------------------------------------------------------------------------

    def _take(self, delivery: IncomingDelivery, touched: dict[Queue, None]) -> None:
        """A message from a producer."""
        container = self.container
        payload = delivery.payload
        try:
            queue = self._producers.get(delivery.link)
            if queue is None:
                queue = self._addressed(payload)
            queue.put(StoredMessage(payload, expiry(payload, container.clock(), container.wall_clock())))
        except (QueueFullError, ProtocolError, DecodeError) as error:
            delivery.settle(Rejected(error=wire_error(error)))
            return
        delivery.settle(ACCEPTED)
        touched[queue] = None

    def _addressed(self, payload: bytes) -> Queue:
        properties = Message.decode(payload).properties
        to = properties.to if properties is not None else None
        if not to:
            raise ProtocolError("the message has no address in its properties", condition="amqp:precondition-failed")
        return self.container.find(to)

    def _settle(self, event: DeliveriesUpdated, touched: dict[Queue, None]) -> None:
        """Outcomes from consumers."""
        state = event.state
        returned: dict[Queue, list[StoredMessage]] = {}
        for delivery in event.deliveries:
            entry = self._consumers.get(delivery.link)
            if entry is None:
                continue
            queue, consumer = entry
            if state is None and not event.settled:
                continue
            self._conclude(queue, consumer, delivery, state, event.settled, returned)
        for queue, messages in returned.items():
            queue.put_back(messages)
            touched[queue] = None

    def _conclude(
        self,
        queue: Queue,
        consumer: Consumer,
        delivery: OutgoingDelivery,
        state: DeliveryState | None,
        settled: bool,
        returned: dict[Queue, list[StoredMessage]],
    ) -> None:
        if not isinstance(state, (Accepted, Rejected, Released, Modified)) and not settled:
            return  # not an outcome: more is to come
        message = consumer.unsettled.pop(delivery, None)
        if not settled:
            delivery.settle(state)
        if message is None:
            return
        if isinstance(state, Rejected):
            self.container.bury(queue, message, state)
        elif isinstance(state, Modified):
            modify(message, state, consumer.link)
            returned.setdefault(queue, []).append(message)
        elif isinstance(state, Released) or state is None:
            # Settled without an outcome: the default of this broker is that the message stays.
            returned.setdefault(queue, []).append(message)

"""One client's connection: its engine, and the nodes of its links. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from amqp10.broker.addresses import Address
from amqp10.broker.filters import Filters, MessageView
from amqp10.broker.messages import StoredMessage, expiry, modify
from amqp10.broker.queues import Consumer, Peer, QueueFullError
from amqp10.broker.streams import Stream
from amqp10.broker.termini import (
    SHARED_SUBSCRIPTIONS,
    default_outcome,
    lifetime_policy,
    means_topic,
    queue_source,
    subscription_key,
    subscription_source,
    target_answer,
)
from amqp10.broker.topics import Topic
from amqp10.codec import Symbol
from amqp10.conditions import ErrorCondition
from amqp10.engine import (
    Connection,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
    DeliveriesUpdated,
    EndpointRole,
    Event,
    IncomingDelivery,
    LinkDetached,
    LinkFlow,
    LinkRequested,
    OutgoingDelivery,
    ReceiverLink,
    SaslServer,
    SenderLink,
    SessionEnded,
    SessionRequested,
)
from amqp10.engine.wire_errors import wire_error
from amqp10.errors import AMQPError, AuthenticationError, DecodeError, LimitError, ProtocolError
from amqp10.version import VERSION
from amqp10.wire.message import Message
from amqp10.wire.messaging import (
    ACCEPTED,
    Accepted,
    ExpiryPolicy,
    Modified,
    Rejected,
    Released,
    Source,
    Target,
    TerminusDurability,
)
from amqp10.wire.performatives import SaslCode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from amqp10.broker.directory import Directory, LinkKey
    from amqp10.broker.faults import Faults
    from amqp10.broker.queues import Queue
    from amqp10.broker.topics import Subscription
    from amqp10.engine import LinkEndpoint
    from amqp10.wire.messaging import DeliveryState
    from amqp10.wire.performatives import Attach, Open

__all__ = ["BrokerConnection"]

_PRODUCER_CREDIT: Final = 1000
_LOW_CREDIT: Final = _PRODUCER_CREDIT // 2
SOLE_CONNECTION: Final = "sole-connection-for-container"
"""The capability with which a client asks for its container id to be used by no other connection."""
_SOLE_POLICY: Final = Symbol("sole-connection-enforcement-policy")
_CLOSE_EXISTING: Final = 1
_ESTABLISHMENT_FAILED: Final = "amqp:connection-establishment-failed"
"""A property of *open* that says that a *close* with the reason follows."""
_JMS_DESTINATION: Final = Symbol("x-opt-jms-dest")
_JMS_TOPICS: Final = (1, 3)
"""The values of that annotation for topics and temporary topics."""
_NOTHING: Final = (None, None)


class _Engine(Connection):
    """An engine whose *open* depends on the client's."""

    owner: BrokerConnection

    def prepare_open(self, opened: Open) -> None:
        self.owner.prepare_open(opened)


class _Sasl(SaslServer):
    """Decides who gets in, unless a test wants somebody to be refused."""

    __slots__ = ("faults",)

    faults: Faults

    def judge(self, mechanism: str, response: bytes) -> SaslCode:
        if self.faults.take("login") is not None:
            return SaslCode.AUTH
        return super().judge(mechanism, response)


class BrokerConnection(Peer):
    """One client's connection. Give it bytes with :meth:`receive`, and write what its ``engine`` has to send.

    Args:
        directory: the nodes.
        number: identifies the connection.
        users: user name -> password; without users everybody gets in.
        max_frame_size: the largest frame accepted, in bytes.
        idle_timeout: after how many seconds without data the client is given up; 0 for never.
        external: returns the user of a client with a certificate, given the user it asks to be (empty for its own);
            None if clients have no certificates.
    """

    container_id: str

    def __init__(
        self,
        directory: Directory,
        number: int,
        *,
        users: Mapping[str, str],
        max_frame_size: int,
        idle_timeout: float,
        external: Callable[[str], str | None] | None = None,
    ) -> None:
        super().__init__(number)
        self.directory: Directory = directory
        self.login_refused: bool = False
        """Whether the client gave a wrong password, so that the answer to it is to be delayed."""
        self._everybody = not users and external is None
        sasl = _Sasl(users=users, anonymous=self._everybody, anybody=self._everybody, external=external)
        sasl.faults = directory.faults
        engine = _Engine(
            EndpointRole.SERVER,
            container_id="amqp10-broker",
            max_frame_size=max_frame_size,
            channel_max=directory.limits.max_sessions - 1,
            idle_timeout=idle_timeout,
            sasl=sasl,
            properties={"product": "amqp10", "version": VERSION},
            offered_capabilities=("ANONYMOUS-RELAY", SHARED_SUBSCRIPTIONS),
        )
        engine.owner = self
        self.engine: Connection = engine
        self._consumers: dict[SenderLink, Consumer] = {}
        self._producers: dict[ReceiverLink, Queue | Topic | None] = {}
        self._subscriptions: dict[LinkEndpoint, Subscription] = {}
        self._created: dict[LinkEndpoint, Queue | Topic] = {}
        """The dynamic nodes that this client's links have created."""
        self._ended = False
        self._refused: ProtocolError | None = None
        """Why the connection is closed as soon as it is open."""
        self._replaces = False
        """Whether the other connections of the client's container are to be closed."""
        self._start: bytes | None = b""
        self.engine.start(directory.clock())

    # -- bytes and events ------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes that arrived from the client."""
        if self._start is not None:
            # The protocol header decides whether there is a SASL exchange, and it may come byte by byte.
            data = self._start = self._start + data
            if len(data) < 8 and b"AMQP".startswith(data[:4]):
                return
            self._start = None
            if data[4:5] != b"\x03" and self._everybody:
                # The client uses no SASL layer, and nobody has to log in.
                self.engine.sasl = None
        engine = self.engine
        self.handle(engine.receive_data(data, self.directory.clock()))
        if engine.partials or self.partial:
            self._weigh_partials()

    def _weigh_partials(self) -> None:
        """Count messages that have partly arrived, though they are in no queue yet."""
        engine, store = self.engine, self.directory.store
        size = sum([delivery.size for delivery in engine.partials])
        store.bytes += size - self.partial
        self.partial = size
        if store.bytes > store.max_bytes > 0:
            self.end(
                LimitError(f"the broker is full: it holds {store.bytes} of {store.max_bytes} bytes"),
                ErrorCondition.RESOURCE_LIMIT_EXCEEDED,
            )

    def end(self, error: AMQPError, condition: str) -> None:
        """Close the connection, and say why."""
        error.condition = condition
        self._ended = True
        self.engine.close(error)
        self.close()
        self.directory.store.busy[self] = None

    def handle(self, events: list[Event]) -> None:
        """Act on what the engine reports."""
        directory = self.directory
        directory.store.busy[self] = None
        low: dict[ReceiverLink, None] = {}
        for event in events:
            if isinstance(event, IncomingDelivery):
                self._take(event)
                if event.link.credit <= _LOW_CREDIT:
                    low[event.link] = None
            elif isinstance(event, DeliveriesUpdated):
                self._settle(event)
            elif isinstance(event, LinkFlow):
                consumer = self._consumers.get(event.link)  # type: ignore[call-overload]
                if consumer is not None:
                    consumer.queue.wake(consumer)
            else:
                self._change(event)
                if self._ended:
                    break  # what came after it is ignored
        if self.stalled:
            self.resume()
        if not directory.takes_turns:
            directory.work()
        for link in low:
            if link.attached and link.credit <= _LOW_CREDIT:
                link.flow(_PRODUCER_CREDIT)

    def _change(self, event: Event) -> None:
        """Act on the events that are not about messages."""
        if isinstance(event, LinkRequested):
            self._attach(event)
        elif isinstance(event, LinkDetached):
            self._detach(event.link, closed=event.closed and event.by_peer)
        elif isinstance(event, SessionRequested):
            if (error := self.directory.faults.take("session")) is not None:
                event.session.end(error)
                return
            # The limit on links is one for the whole connection, so a session never needs more handles.
            event.session.handle_max = (self.directory.limits.max_links or 1 << 32) - 1
            event.session.accept()
        elif isinstance(event, SessionEnded):
            links = (*self._consumers, *self._producers, *self._subscriptions)
            for link in [link for link in links if link.session is event.session]:
                self._detach(link)
        elif isinstance(event, ConnectionOpened):
            self._open(event.open)
        elif isinstance(event, (ConnectionClosed, ConnectionFailed)):
            self.login_refused = isinstance(event.error, AuthenticationError)
            self.close()

    def prepare_open(self, opened: Open) -> None:
        """The client's *open* has arrived; ours is about to be sent."""
        directory = self.directory
        self.container_id = opened.container_id
        if (error := directory.faults.take("connection")) is not None:
            self._refused = error
        others = directory.containers.get(self.container_id, {})
        wanted = SOLE_CONNECTION in opened.desired_capabilities
        if wanted:
            self.engine.offered_capabilities += (SOLE_CONNECTION,)
        self.sole = wanted
        if others and (wanted or any(peer.sole for peer in others)):
            # The container has another connection, and one of the two wants to be the only one.
            self._replaces = wanted and (opened.properties or {}).get(_SOLE_POLICY) == _CLOSE_EXISTING
            if not self._replaces:
                self._refused = ProtocolError(
                    f"the container id {self.container_id!r} is in use", condition=ErrorCondition.INVALID_FIELD
                )
                self._refused.info = {Symbol("invalid-field"): Symbol("container-id")}
        if self._refused is not None:
            self.engine.properties = {**(self.engine.properties or {}), _ESTABLISHMENT_FAILED: True}

    def _open(self, opened: Open) -> None:
        directory = self.directory
        if self._refused is not None:
            self.end(self._refused, self._refused.condition or ErrorCondition.INTERNAL_ERROR)
            return
        connections = directory.containers.setdefault(self.container_id, {})
        if self._replaces:
            for other in list(connections):
                assert isinstance(other, BrokerConnection)
                closed = ProtocolError(
                    "the container has made a new connection", condition=ErrorCondition.RESOURCE_LOCKED
                )
                closed.info = {Symbol("sole-connection-enforcement"): True}
                other.end(closed, ErrorCondition.RESOURCE_LOCKED)
            connections = directory.containers.setdefault(self.container_id, {})
        connections[self] = None

    def close(self) -> None:
        """The client is gone: its unsettled messages go back to the queues."""
        for link in [*self._consumers, *self._producers, *self._subscriptions]:
            self._detach(link)
        connections = self.directory.containers.get(self.container_id)
        if connections is not None:
            connections.pop(self, None)
            if not connections:
                del self.directory.containers[self.container_id]
        self.directory.store.bytes -= self.partial
        self.partial: int = 0

    # -- links -----------------------------------------------------------------------------------------------------

    def _attach(self, event: LinkRequested) -> None:
        link = event.link
        if not link.requested:
            return  # detached again in the same batch
        limit = self.directory.limits.max_links
        try:
            if 0 < limit <= len(self._consumers) + len(self._producers):
                raise LimitError(f"the connection already has {limit} links, which is the limit")
            self._take_name(link)
            if isinstance(link, SenderLink):
                self._attach_consumer(link, event.attach)
            elif isinstance(link, ReceiverLink):
                self._attach_producer(link)
        except AMQPError as error:
            if isinstance(error, LimitError):
                error.condition = ErrorCondition.RESOURCE_LIMIT_EXCEEDED.value
            self._detach(link)
            link.refuse(error)

    def _take_name(self, link: LinkEndpoint) -> None:
        """Two containers use a link name only once: an older link with the same name is ended (transport, "link names"
        and *stolen*)."""
        if not self.container_id:
            return  # clients without a container id cannot be told apart
        key = self._key(link)
        older = self.directory.links.get(key)
        self.directory.links[key] = (self, link)
        if older is None:
            return
        peer, stolen = older
        assert isinstance(peer, BrokerConnection)
        stolen.detach(
            error=ProtocolError(
                f"the link {link.name!r} has been attached again elsewhere", condition=ErrorCondition.STOLEN
            )
        )
        peer._detach(stolen)
        self.directory.store.busy[peer] = None

    def _key(self, link: LinkEndpoint) -> LinkKey:
        return (self.container_id, link.name, not link.is_receiver)

    def _node(self, link: LinkEndpoint, terminus: Source | Target) -> tuple[Queue | Topic, Any, int | None]:
        """The node of a terminus, its address and, if it is dynamic, its lifetime policy."""
        directory = self.directory
        topic = means_topic(terminus)
        if terminus.dynamic:
            policy = lifetime_policy(terminus.dynamic_node_properties)
            node = self._created[link] = directory.dynamic(link, policy, topic=topic)
            return node, str(Address(node.name, topic=True)) if topic else node.name, policy
        node = directory.find(terminus.address, topic=topic)
        if (error := directory.faults.take("link", node.name)) is not None:
            raise error
        return node, terminus.address, None

    def _attach_consumer(self, link: SenderLink, attach: Attach) -> None:
        source = link.source
        if source is None:
            self._look_up(link, attach)
            return
        if not isinstance(source, Source):
            raise ProtocolError("the link has no source", condition=ErrorCondition.INVALID_FIELD)
        node, address, policy = self._node(link, source)
        if isinstance(node, Topic):
            self._subscribe(link, attach, source, node, address, policy)
            return
        stream = node if isinstance(node, Stream) else None
        filters = Filters(source.filter, wall=self.directory.wall_clock(), stream=stream is not None)
        copies = stream is not None or source.distribution_mode == "copy"
        consumer = Consumer(
            link,
            self,
            node,
            browsing=copies,
            default=default_outcome(source),
            matches=self._match(filters) if filters else None,
        )
        if stream is not None:
            stream.start(consumer, filters.offset)
        self._consumers[link] = consumer
        node.join(consumer)
        link.accept(source=queue_source(source, address, filters, copies=copies, policy=policy))

    def _match(self, filters: Filters) -> Callable[[StoredMessage], bool]:
        number = self.number
        return lambda message: filters.pass_on(MessageView(message), message.origin, number)

    def _subscribe(
        self, link: SenderLink, attach: Attach, source: Source, topic: Topic, address: Any, policy: int | None
    ) -> None:
        durable = source.durable != TerminusDurability.NONE and source.expiry_policy == ExpiryPolicy.NEVER
        key = subscription_key(link.name, self.container_id, source.capabilities, durable=durable)
        shared = "shared" in source.capabilities
        subscription = self.directory.subscribe(topic, Filters(source.filter), key, shared=shared)
        subscription.peer = self.number
        self._subscriptions[link] = subscription
        default = default_outcome(source)
        consumer = self._consumers[link] = Consumer(link, self, subscription.queue, default=default)
        subscription.queue.join(consumer)
        link.accept(
            source=subscription_source(source, address, subscription, policy),
            offered_capabilities=[name for name in attach.desired_capabilities if name == SHARED_SUBSCRIPTIONS],
        )

    def _look_up(self, link: SenderLink, attach: Attach) -> None:
        """A link without a source asks for an existing subscription; closing the link ends the subscription."""
        key = subscription_key(link.name, self.container_id, attach.desired_capabilities, durable=True)
        subscription = self.directory.subscriptions.get(key) if key is not None else None
        if subscription is None:
            raise ProtocolError(f"there is no subscription {link.name!r}", condition=ErrorCondition.NOT_FOUND)
        if subscription.queue.consumers:
            raise ProtocolError(f"the subscription {link.name!r} is in use", condition=ErrorCondition.RESOURCE_LOCKED)
        self._subscriptions[link] = subscription
        address = str(Address(subscription.topic.name, topic=True))
        link.accept(source=subscription_source(Source(), address, subscription, None))

    def _attach_producer(self, link: ReceiverLink) -> None:
        target = link.target
        if not isinstance(target, Target):
            what = "transactions are not supported" if target is not None else "the link has no target"
            raise ProtocolError(what, condition=ErrorCondition.NOT_IMPLEMENTED)
        node: Queue | Topic | None = None
        policy: int | None = None
        address: Any = None
        if target.dynamic or target.address:
            node, address, policy = self._node(link, target)
            node.producers[link] = self
        # Without an address (the anonymous terminus) each message says where it goes.
        self._producers[link] = node
        link.accept(
            target=target_answer(target, address, policy=policy),
            max_message_size=self.directory.limits.max_message_size,
        )
        if link.attached:  # the client may have detached it already
            link.flow(_PRODUCER_CREDIT)

    def _detach(self, link: LinkEndpoint, *, closed: bool = False) -> None:
        """A link is over.

        Args:
            link: the link.
            closed: whether the client has closed the link, which ends a durable subscription, instead of detaching it.
        """
        directory = self.directory
        key = self._key(link)
        if directory.links.get(key, _NOTHING)[1] is link:
            del directory.links[key]
        node: Queue | Topic | None = None
        if isinstance(link, SenderLink):
            consumer = self._consumers.pop(link, None)
            if consumer is not None:
                node = consumer.queue
                consumer.queue.leave(consumer)
        elif isinstance(link, ReceiverLink):
            node = self._producers.pop(link, None)
            if node is not None:
                node.producers.pop(link, None)
        subscription = self._subscriptions.pop(link, None)
        if subscription is not None:
            node = subscription.topic
            if not subscription.queue.consumers and (closed or not subscription.durable):
                directory.unsubscribe(subscription)
        created = self._created.pop(link, None)
        if created is not None and created.lifetime is not None:
            created.lifetime.creator = None
            directory.reap(created)
        if node is not None and node.lifetime is not None:
            directory.reap(node)

    # -- messages --------------------------------------------------------------------------------------------------

    def _take(self, delivery: IncomingDelivery) -> None:
        """A message from a producer."""
        directory = self.directory
        payload = delivery.payload
        try:
            node = self._producers.get(delivery.link)
            if node is None:
                node = self._addressed(payload)
            if directory.faults.messages and (error := directory.faults.take("message", node.name)) is not None:
                raise error
            expires = expiry(payload, directory.clock, directory.wall_clock)
            node.put(StoredMessage(payload, expires, self.number))
        except (QueueFullError, ProtocolError, LimitError, DecodeError) as refused:
            delivery.settle(Rejected(error=wire_error(refused)))
            return
        delivery.settle(ACCEPTED)

    def _addressed(self, payload: bytes) -> Queue | Topic:
        """The node for a message from an anonymous producer. JMS clients say in an annotation whether it is a topic."""
        message = Message.decode(payload)
        properties = message.properties
        to = properties.to if properties is not None else None
        if not to:
            raise ProtocolError(
                "the message has no address in its properties", condition=ErrorCondition.PRECONDITION_FAILED
            )
        kind = (message.message_annotations or {}).get(_JMS_DESTINATION)
        return self.directory.find(to, topic=isinstance(kind, int) and kind in _JMS_TOPICS)

    def _settle(self, event: DeliveriesUpdated) -> None:
        """Outcomes from consumers."""
        state = event.state
        settled = event.settled
        if not settled and not isinstance(state, (Accepted, Rejected, Released, Modified)):
            return  # not an outcome yet
        returned: dict[Queue, list[StoredMessage]] = {}
        for delivery in event.deliveries:
            consumer = self._consumers.get(delivery.link)
            if consumer is not None:
                self._conclude(consumer, delivery, state, settled, returned)
        for queue, messages in returned.items():
            queue.put_back(messages)

    def _conclude(
        self,
        consumer: Consumer,
        delivery: OutgoingDelivery,
        state: DeliveryState | None,
        settled: bool,
        returned: dict[Queue, list[StoredMessage]],
    ) -> None:
        message = consumer.unsettled.pop(delivery, None)
        if not settled:
            delivery.settle(state)
        elif state is None:
            state = consumer.default
        if message is None:
            return
        queue = consumer.queue
        if isinstance(state, Accepted):
            queue.forget(message)
            if queue.lifetime is not None:
                self.directory.reap(queue)
        elif isinstance(state, Rejected):
            self.directory.bury(queue, message, state)
        else:
            # Settled without an outcome, and the source has no default: the message stays.
            if isinstance(state, Modified):
                modify(message, state, consumer, self.directory.limits.max_message_size)
                queue.charge(message)
                if state.undeliverable_here:
                    queue.bar(consumer)
            returned.setdefault(queue, []).append(message)

"""One client's connection: its engine, and what its links are joined with. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from amqp10.broker.messages import StoredMessage, expiry, modify
from amqp10.broker.queues import Consumer, Peer, QueueFullError
from amqp10.codec import Symbol
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
from amqp10.engine.faults import wire_error
from amqp10.errors import AMQPError, AuthenticationError, DecodeError, LimitError, ProtocolError
from amqp10.version import VERSION
from amqp10.wire.message import Message
from amqp10.wire.messaging import ACCEPTED, Accepted, Modified, Rejected, Released, Source, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from amqp10.broker.directory import Directory
    from amqp10.broker.queues import Queue
    from amqp10.engine import LinkEndpoint
    from amqp10.wire.messaging import DeliveryState

__all__ = ["BrokerConnection"]

_PRODUCER_CREDIT: Final = 1000
_LOW_CREDIT: Final = _PRODUCER_CREDIT // 2


class BrokerConnection(Peer):
    """One client's connection. Feed it bytes with :meth:`receive`; what is to be written is in its ``engine``.

    Args:
        directory: the queues.
        number: tells connections apart.
        users: user name -> password; without users everybody gets in.
        max_frame_size: the largest frame accepted, in bytes.
        idle_timeout: after how many seconds of silence the client is given up; 0 for never.
        external: who a client with a certificate is, given who it wants to be; None if clients have no certificates.
    """

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
        self.directory = directory
        self.login_refused = False
        """Whether the client gave a wrong password: the answer to it should keep it waiting."""
        self._everybody = not users and external is None
        self.sasl = SaslServer(users=users, anonymous=self._everybody, anybody=self._everybody, external=external)
        self.engine = Connection(
            EndpointRole.SERVER,
            container_id="amqp10-broker",
            max_frame_size=max_frame_size,
            channel_max=directory.limits.max_sessions - 1,
            idle_timeout=idle_timeout,
            sasl=self.sasl,
            properties={"product": "amqp10", "version": VERSION},
            offered_capabilities=("ANONYMOUS-RELAY",),
        )
        self._consumers: dict[SenderLink, Consumer] = {}
        self._producers: dict[ReceiverLink, Queue | None] = {}
        self._owned: dict[LinkEndpoint, Queue] = {}
        """The dynamic nodes that live as long as a link."""
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
                # No SASL layer, and nobody has to prove who they are: the plain protocol will do.
                self.engine.sasl = None
        engine = self.engine
        self.handle(engine.receive_data(data, self.directory.clock()))
        if engine.partials or self.partial:
            self._weigh_partials()

    def _weigh_partials(self) -> None:
        """Messages of which parts have arrived count too, though they are in no queue yet."""
        engine, store = self.engine, self.directory.store
        size = sum([delivery.size for delivery in engine.partials])
        store.bytes += size - self.partial
        self.partial = size
        if store.bytes > store.max_bytes > 0:
            self.end(
                LimitError(f"the broker is full: it holds {store.bytes} of {store.max_bytes} bytes"),
                "amqp:resource-limit-exceeded",
            )

    def end(self, error: AMQPError, condition: str) -> None:
        """Close the connection, and say why."""
        error.condition = condition
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
        if self.stalled:
            self.resume()
        directory.work()
        for link in low:
            if link.attached and link.credit <= _LOW_CREDIT:
                link.flow(_PRODUCER_CREDIT)

    def _change(self, event: Event) -> None:
        """Act on what does not happen for each message."""
        if isinstance(event, LinkRequested):
            self._attach(event)
        elif isinstance(event, LinkDetached):
            self._detach(event.link)
        elif isinstance(event, SessionRequested):
            # Links are counted by connection, so one session never needs more handles than that.
            event.session.handle_max = (self.directory.limits.max_links or 1 << 32) - 1
            event.session.accept()
        elif isinstance(event, SessionEnded):
            for link in [link for link in (*self._consumers, *self._producers) if link.session is event.session]:
                self._detach(link)
        elif isinstance(event, ConnectionOpened):
            self.container_id = event.open.container_id
        elif isinstance(event, (ConnectionClosed, ConnectionFailed)):
            self.login_refused = isinstance(event.error, AuthenticationError)
            self.close()

    def close(self) -> None:
        """The client is gone: what it had not settled goes back to the queues."""
        for link in [*self._consumers, *self._producers]:
            self._detach(link)
        self.directory.store.bytes -= self.partial
        self.partial = 0

    # -- links -----------------------------------------------------------------------------------------------------

    def _attach(self, event: LinkRequested) -> None:
        link = event.link
        if not link.requested:
            return  # it went again in the same batch
        try:
            limit = self.directory.limits.max_links
            if 0 < limit <= len(self._consumers) + len(self._producers):
                raise LimitError(f"the connection has {limit} links already, which is its limit")
            if isinstance(link, SenderLink):
                self._attach_consumer(link)
            elif isinstance(link, ReceiverLink):
                self._attach_producer(link)
        except AMQPError as error:
            if isinstance(error, LimitError):
                error.condition = "amqp:resource-limit-exceeded"
            self._detach(link)
            link.refuse(error)

    def _attach_consumer(self, link: SenderLink) -> None:
        source = link.source
        if not isinstance(source, Source):
            raise ProtocolError("the link has no source", condition="amqp:invalid-field")
        check_capabilities(source)
        if source.filter:
            raise ProtocolError("this broker has no filters", condition="amqp:not-implemented")
        browsing = source.distribution_mode == "copy"
        if source.dynamic:
            queue = self._owned[link] = self.directory.dynamic_queue(link)
        else:
            queue = self.directory.find(source.address)
        consumer = self._consumers[link] = Consumer(link, self, queue, browsing=browsing)
        queue.join(consumer)
        link.accept(
            source=Source(
                address=queue.name if source.dynamic else source.address,
                dynamic=source.dynamic,
                distribution_mode=Symbol("copy") if browsing else None,
                outcomes=source.outcomes,
            )
        )

    def _attach_producer(self, link: ReceiverLink) -> None:
        target = link.target
        if not isinstance(target, Target):
            what = "transactions are not supported" if target is not None else "the link has no target"
            raise ProtocolError(what, condition="amqp:not-implemented")
        check_capabilities(target)
        queue: Queue | None
        if target.dynamic:
            dynamic = queue = self._owned[link] = self.directory.dynamic_queue(link)
            answer = Target(address=dynamic.name, dynamic=True)
        else:
            # Without an address each message says where it goes: the anonymous terminus.
            queue = self.directory.find(target.address) if target.address else None
            answer = Target(address=target.address)
        self._producers[link] = queue
        if queue is not None:
            queue.producers[link] = self
        link.accept(target=answer, max_message_size=self.directory.limits.max_message_size)
        link.flow(_PRODUCER_CREDIT)

    def _detach(self, link: LinkEndpoint) -> None:
        if isinstance(link, SenderLink):
            consumer = self._consumers.pop(link, None)
            if consumer is not None:
                consumer.queue.leave(consumer)
        elif isinstance(link, ReceiverLink):
            queue = self._producers.pop(link, None)
            if queue is not None:
                queue.producers.pop(link, None)
        owned = self._owned.pop(link, None)
        if owned is not None:
            self.directory.delete(owned)

    # -- messages --------------------------------------------------------------------------------------------------

    def _take(self, delivery: IncomingDelivery) -> None:
        """A message from a producer."""
        directory = self.directory
        payload = delivery.payload
        try:
            queue = self._producers.get(delivery.link)
            if queue is None:
                queue = self._addressed(payload)
            expires = expiry(payload, directory.clock, directory.wall_clock)
            queue.put(StoredMessage(payload, expires, self.number))
        except (QueueFullError, ProtocolError, LimitError, DecodeError) as error:
            delivery.settle(Rejected(error=wire_error(error)))
            return
        delivery.settle(ACCEPTED)

    def _addressed(self, payload: bytes) -> Queue:
        properties = Message.decode(payload).properties
        to = properties.to if properties is not None else None
        if not to:
            raise ProtocolError("the message has no address in its properties", condition="amqp:precondition-failed")
        return self.directory.find(to)

    def _settle(self, event: DeliveriesUpdated) -> None:
        """Outcomes from consumers."""
        state = event.state
        settled = event.settled
        if not settled and not isinstance(state, (Accepted, Rejected, Released, Modified)):
            return  # not an outcome: more is to come
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
        if message is None:
            return
        queue = consumer.queue
        if isinstance(state, Accepted):
            queue.forget(message)
        elif isinstance(state, Rejected):
            self.directory.bury(queue, message, state)
        else:
            # Settled without an outcome: the default of this broker is that the message stays.
            if isinstance(state, Modified):
                modify(message, state, consumer, self.directory.limits.max_message_size)
                queue.charge(message)
                if state.undeliverable_here:
                    queue.bar(consumer)
            returned.setdefault(queue, []).append(message)


def check_capabilities(terminus: Source | Target) -> None:
    """Refuse a terminus that asks for what this broker cannot do.

    Raises:
        ProtocolError: it does.
    """
    if "topic" in terminus.capabilities:
        raise ProtocolError("this broker has no topics", condition="amqp:not-implemented")

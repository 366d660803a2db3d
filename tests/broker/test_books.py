"""Whatever clients do, the broker's books are right: every message is somewhere, and what is gone leaves nothing."""

from __future__ import annotations

import random
from typing import Any

import pytest

from amqp10.broker.queues import Queue
from amqp10.broker.topics import Topic
from amqp10.codec import Described, Symbol
from amqp10.engine import IncomingDelivery, ReceiverLink, SenderLink
from amqp10.wire.messaging import (
    ACCEPTED,
    RELEASED,
    DeleteOnClose,
    DeleteOnNoLinks,
    DeleteOnNoLinksOrMessages,
    DeleteOnNoMessages,
    ExpiryPolicy,
    Modified,
    Rejected,
    Source,
    Target,
    TerminusDurability,
)
from tests.broker.support import Client, Net, body

ADDRESSES = ["q", "/queues/q", "p", "/topics/t", "/topics/u", "s"]
POLICIES: list[Any] = [DeleteOnClose, DeleteOnNoLinks, DeleteOnNoMessages, DeleteOnNoLinksOrMessages]
OUTCOMES: list[Any] = [
    ACCEPTED,
    RELEASED,
    Rejected(),
    Modified(),
    Modified(delivery_failed=True),
    Modified(undeliverable_here=True),
    Modified(message_annotations={Symbol("x"): "y"}),
]


class Program:
    """A client that does something legal at random."""

    def __init__(self, net: Net, chance: random.Random, number: int) -> None:
        self.net = net
        self.chance = chance
        self.client = Client(net, container_id=f"container {number}")
        self.names = 0

    def links(self, kind: type[Any]) -> list[Any]:
        return [link for link in self.client.session.links.values() if isinstance(link, kind) and link.attached]

    def name(self) -> str:
        self.names += 1
        return f"link {self.names}"

    def attach_sender(self) -> None:
        address = self.chance.choice([*ADDRESSES, None, *self.dynamic()])
        self.client.sender(address, self.name())

    def dynamic(self) -> list[str]:
        return [name for name in self.net.container.queues if name.startswith("dynamic")]

    def attach_receiver(self) -> None:
        options: dict[str, Any] = {}
        address = self.chance.choice([*ADDRESSES, *self.dynamic()])
        name = self.name()
        kind = self.chance.randrange(5)
        if kind == 0:
            name = f"sub {self.chance.randrange(2)}"
            if any(link.name == name for link in self.client.session.links.values()):
                return
            options = {"durable": TerminusDurability.UNSETTLED_STATE, "expiry_policy": ExpiryPolicy.NEVER}
            address = "/topics/t"
        elif kind == 1:
            options = {"capabilities": (Symbol("topic"), Symbol("shared"), Symbol("global"))}
            address, name = "t", f"shared|{name}"
        elif kind == 2:
            options = {"filters": {"s": Described(Symbol("apache.org:selector-filter:string"), "n = 1")}}
        elif kind == 3:
            options = {"mode": "copy"}
        self.client.receiver(address, name, **options)

    def attach_dynamic(self) -> None:
        properties = {Symbol("lifetime-policy"): self.chance.choice(POLICIES)()}
        capabilities = (Symbol("temporary-topic"),) if self.chance.random() < 0.3 else ()
        target = Target(dynamic=True, dynamic_node_properties=properties, capabilities=capabilities)
        self.client.session.attach_sender(self.name(), source=Source(), target=target)

    def send(self) -> None:
        for link in self.links(SenderLink)[:3]:
            for _ in range(min(link.credit, self.chance.randrange(6))):
                number = self.chance.randrange(3)
                link.send(body(str(number), application_properties={"n": number}))

    def flow(self) -> None:
        for link in self.links(ReceiverLink):
            link.flow(self.chance.randrange(20), drain=self.chance.random() < 0.2)

    def settle(self) -> None:
        deliveries = [event for event in self.client.events if isinstance(event, IncomingDelivery)]
        for delivery in deliveries:
            if not delivery.settled and delivery.link.attached and self.chance.random() < 0.6:
                delivery.settle(self.chance.choice(OUTCOMES))
        self.client.events = [delivery for delivery in deliveries if not delivery.settled]

    def detach(self) -> None:
        links = self.links((SenderLink, ReceiverLink))  # type: ignore[arg-type]
        if links:
            self.chance.choice(links).detach(closed=self.chance.random() < 0.7)

    def renew(self) -> None:
        if self.chance.random() < 0.5:
            self.client.vanish()
        else:
            self.client.close()
            self.net.clients.remove(self.client)
        self.client = Client(self.net, container_id=self.client.engine.container_id)
        self.names = 0

    def act(self) -> None:
        actions = [self.attach_sender, self.attach_receiver, self.attach_receiver, self.attach_dynamic, self.detach]
        actions += [self.send, self.flow, self.settle] * 4
        self.chance.choice(actions if self.chance.random() < 0.99 else [self.renew])()
        self.net.step()
        assert self.client.closed is None
        assert self.client.session.mapped


def all_queues(net: Net) -> list[Queue]:
    container = net.container
    subscribed = [subscription.queue for topic in container.topics.values() for subscription in topic.subscriptions]
    return [*container.queues.values(), *subscribed]


def check(net: Net) -> None:
    container = net.container
    queues = all_queues(net)
    held = 0
    for queue in queues:
        messages = list(queue.messages)
        for consumer in queue.consumers:
            messages += consumer.unsettled.values()
            assert consumer.link.attached
        assert queue.bytes == sum(message.cost for message in messages)
        assert len({message.sequence for message in messages}) == len(messages)
        assert [message.sequence for message in queue.messages] == sorted(
            message.sequence for message in queue.messages
        )
        held += queue.bytes
    held += sum(topic.bytes for topic in container.topics.values())
    assert container.store.bytes == held
    assert not container.work()
    for subscription in container.subscriptions.values():
        assert subscription in subscription.topic.subscriptions
    for peer, link in container.links.values():
        assert link.attached
        assert peer in container.containers[peer.container_id]


@pytest.mark.parametrize("seed", range(12))
def test_the_books_are_right_whatever_clients_do_and_nothing_stays_of_those_that_go(seed: int) -> None:
    chance = random.Random(seed)
    net = Net(streams=["s"], max_queue_length=40 if seed % 3 == 0 else 0, max_unsettled=5 if seed % 4 == 0 else 1000)
    programs = [Program(net, chance, number) for number in range(3)]
    for turn in range(600):
        chance.choice(programs).act()
        if turn % 5 == 0:
            check(net)
    for program in programs:
        program.client.close()
    check(net)
    container = net.container
    assert container.links == {}
    assert container.containers == {}
    assert not any(queue.consumers or queue.producers for queue in all_queues(net))
    nodes: list[Queue | Topic] = [*container.queues.values(), *container.topics.values()]
    for node in nodes:
        assert node.lifetime is None or node.bytes
    # Only durable subscriptions stay.
    assert all(subscription.durable for topic in container.topics.values() for subscription in topic.subscriptions)
    for queue in list(container.queues.values()):
        queue.clear()
    for subscription in list(container.subscriptions.values()):
        container.unsubscribe(subscription)
    assert container.store.bytes == 0

"""The broker's rules without sockets: clients are engines, joined with the container in memory."""

from __future__ import annotations

import pytest

from amqp10.broker.container import BrokerContainer
from amqp10.codec import Symbol
from amqp10.engine import SaslServer
from amqp10.errors import ProtocolError
from amqp10.wire.frames import SASL_HEADER
from amqp10.wire.message import Message
from amqp10.wire.messaging import ACCEPTED, RELEASED, Modified, Rejected, Source, Target
from amqp10.wire.performatives import Error
from tests.broker.support import Client, Net


def test_released_messages_return_to_their_places_one_by_one() -> None:
    net = Net()
    client = Client(net)
    client.send(client.sender("q"), *"abcdef")
    link = client.receiver("q", credit=5)
    deliveries = client.got(link)
    for index in (1, 3, 0, 4, 2):
        deliveries[index].settle(RELEASED)
        net.step()
    assert net.waiting("q") == list("abcdef")


def test_messages_of_two_consumers_are_in_order_again_when_both_have_gone() -> None:
    net = Net()
    client = Client(net)
    one, two = Client(net), Client(net)
    one.receiver("q", credit=3)
    two.receiver("q", credit=3)
    client.send(client.sender("q"), *"abcdefgh")
    assert net.waiting("q") == ["g", "h"]
    one.close()
    two.close()
    assert net.waiting("q") == list("abcdefgh")


def test_what_a_closed_connection_had_goes_to_the_others_at_once() -> None:
    net = Net()
    client = Client(net)
    waiting = Client(net)
    first = Client(net)
    first.receiver("q", credit=2)
    client.send(client.sender("q"), "a", "b")
    link = waiting.receiver("q", credit=10)
    assert waiting.texts(link) == []
    first.close()
    assert waiting.texts(link) == ["a", "b"]


def test_only_what_a_consumer_has_credit_for_is_dispatched_to_it() -> None:
    net = Net()
    client = Client(net)
    greedy, modest, idle = Client(net), Client(net), Client(net)
    large, small, none = greedy.receiver("q", credit=100), modest.receiver("q", credit=2), idle.receiver("q")
    client.send(client.sender("q"), *"abcdefgh")
    assert greedy.texts(large) == list("acefgh")
    assert modest.texts(small) == ["b", "d"]
    assert idle.texts(none) == []


def test_a_drain_takes_what_there_is_and_gives_the_rest_back() -> None:
    net = Net()
    client = Client(net)
    client.send(client.sender("q"), "a", "b")
    link = client.receiver("q")
    link.flow(10, drain=True)
    net.step()
    assert client.texts(link) == ["a", "b"]
    assert link.credit == 0
    link.flow(10, drain=True)
    net.step()
    assert link.credit == 0
    client.send(client.sender("q", "later"), "c")
    assert client.texts(link) == ["a", "b"]
    assert net.waiting("q") == ["c"]


def test_a_message_that_is_rejected_from_the_dead_letter_queue_does_not_go_round_in_circles() -> None:
    net = Net()
    client = Client(net)
    client.send(client.sender("q"), "bad")
    outcome = Rejected(error=Error(condition=Symbol("amqp:not-allowed")))
    for name in ("q", "q.dlq"):
        link = client.receiver(name, name, credit=10)
        (delivery,) = client.got(link)
        delivery.settle(outcome)
        net.step()
    assert list(net.container.queues) == ["q", "q.dlq"]
    assert net.waiting("q.dlq") == []
    assert client.texts(link) == ["bad"]


def test_modified_counts_and_bars_and_leaves_the_rest_of_the_queue_in_order() -> None:
    net = Net()
    client = Client(net)
    client.send(client.sender("q"), *"abc")
    link = client.receiver("q", credit=1)
    client.got(link)[0].settle(Modified(delivery_failed=True, undeliverable_here=True))
    net.step()
    link.flow(10)
    net.step()
    assert client.texts(link) == ["a", "b", "c"]
    assert net.waiting("q") == ["a"]
    other = client.receiver("q", "other", credit=1)
    header = Message.decode(client.got(other)[0].payload).header
    assert header is not None
    assert header.delivery_count == 1


def test_a_dynamic_source_is_a_queue_that_ends_with_its_link_and_takes_its_senders_along() -> None:
    net = Net()
    asking, answering = Client(net), Client(net)
    replies = asking.receiver(None, credit=10)
    assert isinstance(replies.source, Source)
    assert replies.source.dynamic
    address = replies.source.address
    assert isinstance(address, str)
    out = answering.sender(address)
    answering.send(out, "reply")
    assert asking.texts(replies) == ["reply"]
    asking.got(replies)[0].settle(ACCEPTED)
    replies.detach()
    net.step()
    assert address not in net.container.queues
    assert answering.error(out) == "amqp:resource-deleted"
    assert not out.attached
    answering.sender("elsewhere", "second")  # the connection goes on


def test_a_dynamic_target_outlives_its_consumers() -> None:
    net = Net()
    client = Client(net)
    out = client.session.attach_sender("out", source=Source(), target=Target(dynamic=True))
    net.step()
    assert isinstance(out.target, Target)
    address = str(out.target.address)
    client.receiver(address).detach()
    net.step()
    client.send(out, "kept")
    assert net.waiting(address) == ["kept"]
    out.detach()
    net.step()
    assert address not in net.container.queues


def test_a_consumer_that_cannot_take_the_next_message_is_told_and_nobody_else_suffers() -> None:
    net = Net()
    client = Client(net)
    other = Client(net)
    narrow = other.receiver("q", credit=10, largest=100)
    out = client.sender("q")
    client.send(out, "x" * 200, "small")
    assert other.error(narrow) == "amqp:link:message-size-exceeded"
    assert out.attached
    assert [len(text) for text in net.waiting("q")] == [200, 5]
    assert [len(text) for text in client.texts(client.receiver("q", credit=10))] == [200, 5]


def test_a_browser_sees_each_message_once_while_others_take_them() -> None:
    net = Net()
    client = Client(net)
    out = client.sender("q")
    client.send(out, *"abc")
    browser = client.receiver("q", "browser", credit=1, mode="copy")
    taker = client.receiver("q", "taker", credit=2)
    for delivery in client.got(taker):
        delivery.settle(ACCEPTED)
    client.send(out, "d")
    browser.flow(10)
    net.step()
    assert client.texts(browser) == ["a", "c", "d"]
    assert net.waiting("q") == ["c", "d"]


def test_a_full_queue_has_room_again_when_messages_are_taken_and_refuses_none_that_return() -> None:
    net = Net(max_queue_length=2)
    client = Client(net)
    out = client.sender("q")
    client.send(out, "a", "b", "too many")
    link = client.receiver("q", credit=1)
    client.send(out, "c")
    client.got(link)[0].settle(RELEASED)
    net.step()
    assert net.waiting("q") == ["a", "b", "c"]


@pytest.mark.parametrize("header", [SASL_HEADER, b"AMQP\x00\x01\x00\x00"], ids=["SASL", "plain"])
def test_a_protocol_header_that_comes_octet_by_octet_is_understood(header: bytes) -> None:
    connection = BrokerContainer().accept()
    for octet in header:
        connection.receive(bytes((octet,)))
    assert b"".join(connection.engine.data_to_send(0))[:8] == header
    assert isinstance(connection.engine.sasl, SaslServer) == (header == SASL_HEADER)


def test_what_is_no_amqp_is_answered_at_once() -> None:
    connection = BrokerContainer().accept()
    connection.receive(b"GET")
    connection.receive(b" / HTTP/1.1\r\n")
    assert b"".join(connection.engine.data_to_send(0))[:4] == b"AMQP"
    assert connection.engine.finished


@pytest.mark.parametrize("error", [None, "amqp:internal-error"])
def test_a_link_that_is_detached_as_soon_as_it_is_attached_leaves_the_connection_alone(error: str | None) -> None:
    net = Net()
    client = Client(net)
    link = client.session.attach_sender("gone", source=Source(), target=Target(address="q"))
    # In one piece with the attach: the broker's engine knows of it before the broker hears of the attach.
    link.detach(error=ProtocolError("never mind", condition=error) if error else None)
    net.step()
    assert client.closed is None
    client.send(client.sender("q"), "still here")
    assert net.waiting("q") == ["still here"]

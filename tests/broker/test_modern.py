"""What the modern API asks of a broker, and trouble on demand: the whole client, over sockets."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import amqp10
from amqp10 import (
    AMQPError,
    AuthenticationError,
    Connection,
    LinkRefusedError,
    Message,
    MessageRejectedError,
    Stream,
)
from amqp10.broker import Broker


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker(streams=["log"]) as running:
        yield running


def connect(broker: Broker, **options: Any) -> Connection:
    return amqp10.connect(broker.url, **{"timeout": 20, **options})


def take(receiver: Any, count: int) -> list[Any]:
    """The bodies of that many messages, which are accepted, and of no more."""
    bodies = []
    for _ in range(count):
        message = receiver.receive(timeout=20)
        assert message is not None
        bodies.append(message.body)
        message.accept()
    return bodies


def test_a_selector_a_browser_and_what_is_left(broker: Broker) -> None:
    with connect(broker) as connection:
        for number in range(4):
            connection.send("q", Message(number, properties={"even": number % 2 == 0}))
        browser = connection.receiver("q", browse=True, prefetch=10)
        assert take(browser, 4) == [0, 1, 2, 3]
        browser.close()
        odd = connection.receiver("q", selector="NOT even")
        assert take(odd, 2) == [1, 3]
    assert [message.value for message in broker.messages("q")] == [0, 2]


def test_a_selector_that_is_malformed_is_an_error_with_the_place(broker: Broker) -> None:
    with connect(broker) as connection, pytest.raises(LinkRefusedError, match="character 9"):
        connection.receiver("q", selector="even AND").receive(timeout=20)


def test_a_durable_subscription_pauses_resumes_and_ends(broker: Broker) -> None:
    with connect(broker, container_id="me") as connection:
        receiver = connection.receiver("/topics/news", subscription="sub")
        connection.send("/topics/news", "one")
        assert take(receiver, 1) == ["one"]
        receiver.close()
        connection.send("/topics/news", "two")
    assert broker.subscriptions("news") == ["sub"]
    with connect(broker, container_id="me") as connection:
        receiver = connection.receiver("/topics/news", subscription="sub")
        assert take(receiver, 1) == ["two"]
        receiver.close(unsubscribe=True)
        assert broker.subscriptions("news") == []
    assert broker.topics() == ["news"]


def test_a_dynamic_node_answers_requests(broker: Broker) -> None:
    with connect(broker) as connection:
        inbox = connection.receiver(None, dynamic=True, lifetime="no-links")
        with connect(broker) as other:
            other.send(str(inbox.address), "reply")
        assert take(inbox, 1) == ["reply"]
        inbox.close()
        assert not [name for name in broker.queues() if name.startswith("dynamic")]


def test_a_stream_is_read_twice_and_resumed_behind_what_was_read(broker: Broker) -> None:
    with connect(broker) as connection:
        for number in range(3):
            connection.send("log", number)
        first = connection.receiver("log", stream=Stream("first"))
        assert take(first, 3) == [0, 1, 2]
        broker.disconnect_all()
        connection.send("log", 3)
        assert take(first, 1) == [3]  # and not again from the start
        assert take(connection.receiver("log", stream=Stream(1)), 3) == [1, 2, 3]


# -- trouble on demand -----------------------------------------------------------------------------------------------


def test_a_client_outlives_the_end_of_all_connections(broker: Broker) -> None:
    with connect(broker) as connection:
        connection.send("q", 1)
        broker.disconnect_all("amqp:connection:forced", "maintenance")
        connection.send("q", 2)
    assert broker.queue_length("q") == 2


def test_a_client_without_reconnection_is_told_why_all_connections_end(broker: Broker) -> None:
    with connect(broker, reconnect=None) as connection:
        connection.send("q", 1)
        broker.disconnect_all(description="maintenance")

        def send_on() -> None:
            for _ in range(100):
                connection.send("q", 2)

        with pytest.raises(AMQPError, match="maintenance"):
            send_on()


def test_refusals_on_demand_reach_the_program(broker: Broker) -> None:
    broker.refuse_next("login")
    with pytest.raises(AuthenticationError):
        connect(broker, user="u", password="p")
    broker.refuse_next("connection", condition="amqp:not-allowed", description="not today")
    with pytest.raises(AMQPError, match="not today"):
        connect(broker, reconnect=None)
    with connect(broker) as connection:
        broker.refuse_next("link", condition="amqp:not-found", description="no such thing", address="q")
        with pytest.raises(LinkRefusedError, match="no such thing"):
            connection.sender("q").send("x")
        broker.refuse_next("message", description="not this one")
        with pytest.raises(MessageRejectedError, match="not this one"):
            connection.send("other", "x")
        connection.send("other", "y")
    assert [message.value for message in broker.messages("other")] == ["y"]


def test_a_broker_that_hangs_answers_when_it_goes_on(broker: Broker) -> None:
    with connect(broker) as connection:
        sender = connection.sender("q")
        sender.send(0)
        with broker.stall():
            delivery = sender.submit(1)
            assert not delivery.done
            other = threading.Thread(target=lambda: connect(broker).close(), daemon=True)
            other.start()
            assert broker.queue_length("q") == 1
        delivery.result(timeout=20)
        other.join(20)
        assert not other.is_alive()
    assert broker.queue_length("q") == 2


def test_trouble_needs_a_broker_that_runs() -> None:
    broker = Broker()
    for trouble in (broker.kill_connections, broker.disconnect_all, broker.stall, broker.resume):
        with pytest.raises(AMQPError, match="is not running"):
            trouble()
    with pytest.raises(ValueError, match="cannot be refused"):
        broker.refuse_next("weather")  # type: ignore[arg-type]

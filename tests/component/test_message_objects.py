"""Whole messages through the class ``AMQP``: application properties and annotations are within its reach."""

from __future__ import annotations

from typing import Any

import pytest

from amqp10 import AMQP, AMQPMessageInEventParams, AMQPMessageOutcomeEventParams, Message, MessageState
from amqp10.broker import Broker
from tests.component.test_events_rules import code_of, pump


def test_a_message_with_all_its_sections_travels_there_and_back() -> None:
    sent = Message(
        {"total": 12}, id="order-1", subject="new", properties={"region": "eu"}, annotations={"x-opt-a": 1}, ttl=60.0
    )
    received: list[Any] = []
    outcomes: list[tuple[str, int]] = []
    with Broker() as broker, AMQP() as amqp:

        def on_message_in(event: AMQPMessageInEventParams) -> None:
            received.append(amqp.received_message)
            assert amqp.received_message_subject == "new"
            event.state = MessageState.Accepted

        def on_outcome(event: AMQPMessageOutcomeEventParams) -> None:
            outcomes.append((event.message_id, event.state))

        amqp.on_message_in = on_message_in
        amqp.on_message_outcome = on_outcome
        assert amqp.received_message is None
        amqp.message_settled = False
        amqp.message_id = "not this one"
        amqp.connect_to(broker.host, broker.port)
        amqp.create_session("s")
        amqp.create_sender_link("s", "out", "q")
        amqp.send_message_object("out", sent)
        assert amqp.message_id == "not this one"
        amqp.create_receiver_link("s", "in", "q")
        pump(amqp, lambda: bool(received) and bool(outcomes))
        message = received[0]
        assert (message.body, message.id, message.ttl) == ({"total": 12}, "order-1", 60.0)
        assert dict(message.properties) == {"region": "eu"}
        assert message.annotations["x-opt-a"] == 1
        assert ("order-1", MessageState.Accepted) in outcomes


@pytest.mark.parametrize("link", ["in", "nowhere"])
def test_a_message_is_sent_on_sender_links_only(link: str) -> None:
    with Broker() as broker, AMQP() as amqp:
        assert code_of(lambda: amqp.send_message_object("out", Message("x"))) == 1117
        amqp.connect_to(broker.host, broker.port)
        amqp.create_session("s")
        amqp.create_receiver_link("s", "in", "q")
        assert code_of(lambda: amqp.send_message_object(link, Message("x"))) == 600

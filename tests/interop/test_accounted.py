"""Every message is accounted for against RabbitMQ, however a link ends: fifty rounds each. See docs/outcomes.md."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from amqp10 import AMQP, AMQPError, MessageState, OutcomeDirection, ValueType
from tests.interop.peers import RabbitMQ
from tests.interop.support import work

pytestmark = pytest.mark.interop

ROUNDS = 50


@pytest.fixture
def amqp(rabbitmq: RabbitMQ) -> Iterator[AMQP]:
    with AMQP() as amqp:
        amqp.timeout = 30
        amqp.user, amqp.password = rabbitmq.user, rabbitmq.password
        amqp.message_value_type = ValueType.mvtString
        amqp.message_settled = False
        yield amqp


def connect(amqp: AMQP, rabbitmq: RabbitMQ) -> None:
    amqp.connect_to(rabbitmq.host, rabbitmq.port)
    amqp.create_session("s")


def test_a_queue_deleted_under_a_busy_producer_leaves_no_message_without_a_word(amqp: AMQP, rabbitmq: RabbitMQ) -> None:
    outcomes: dict[str, int] = {}
    reported: list[str] = []
    errors: list[str] = []

    def on_outcome(event: Any) -> None:
        if event.direction == OutcomeDirection.Received:
            outcomes[event.message_id] = event.state

    def on_error(event: Any) -> None:
        errors.append(event.description)
        reported.extend(message.message_id for message in amqp.undelivered_messages)

    amqp.on_message_outcome, amqp.on_error = on_outcome, on_error
    amqp.connect_to(rabbitmq.host, rabbitmq.port)
    for number in range(ROUNDS):
        address = rabbitmq.declare_queue(f"doomed-{number}", type="classic")
        amqp.create_session("s")
        amqp.create_sender_link("s", "out", address)
        outcomes.clear()
        reported.clear()
        errors.clear()
        deleter = threading.Thread(target=rabbitmq.delete_queue, args=(f"doomed-{number}",))
        sent: list[str] = []

        def produce(number: int = number, sent: list[str] = sent, deleter: threading.Thread = deleter) -> None:
            for index in range(1_000_000):
                if index == 20:
                    deleter.start()
                amqp.message_id = amqp.message_value = f"{number}-{index}"
                amqp.send_message("out")
                sent.append(amqp.message_id)
                if index > 20 and not deleter.is_alive() and (errors or MessageState.Released in outcomes.values()):
                    return

        failed: AMQPError | None = None
        try:
            produce()
        except AMQPError as error:
            failed = error
        deleter.join()
        # The loop of the README: it ends.
        work(amqp, lambda: amqp.outgoing_message_count == 0, "an end of the wait")
        told = set(outcomes) | set(reported)
        if failed is not None:
            told |= {message.message_id for message in failed.undelivered}
        assert set(sent) <= told, f"round {number}: {set(sent) - told} are nowhere; {errors}"
        assert not set(outcomes) & set(reported)
        if "s" in [amqp.get_session_name(index) for index in range(amqp.session_count)]:
            amqp.close_session("s")


def test_a_wrong_address_inside_a_handler_accounts_for_the_message_that_is_being_handled(
    amqp: AMQP, rabbitmq: RabbitMQ
) -> None:
    address = rabbitmq.declare_queue("handled", type="classic")
    connect(amqp, rabbitmq)
    amqp.create_sender_link("s", "out", address)
    for number in range(ROUNDS):
        amqp.message_value = str(number)
        amqp.send_message("out")
    work(amqp, lambda: amqp.outgoing_message_count == 0, "the outcomes")
    seen: list[str] = []
    told: list[str] = []
    failures: list[AMQPError] = []

    def on_message_in(event: Any) -> None:
        seen.append(amqp.received_message_value)
        # RabbitMQ ends the whole session for it, with the link of this message.
        with pytest.raises(AMQPError) as caught:
            amqp.create_sender_link("r", "wrong", "/queues/there-is-none-of-this-name")
        failures.append(caught.value)

    amqp.on_message_in = on_message_in
    amqp.on_message_outcome = lambda event: told.append(event.message_id)
    for number in range(ROUNDS):
        amqp.create_session("r")
        amqp.create_receiver_link("r", "in", address)
        work(amqp, lambda number=number: len(failures) > number, "the refusal")  # type: ignore[misc]
        assert failures[number].condition == "amqp:not-found"
    # The broker owns every one of them still: nothing was said to be accepted.
    assert told == []
    amqp.on_message_in = None
    left: set[str] = set()
    amqp.on_message_in = lambda event: left.add(amqp.received_message_value)
    amqp.create_session("rest")
    amqp.create_receiver_link("rest", "in", address)
    work(amqp, lambda: len(left) == ROUNDS, "all messages again")


def test_disconnecting_inside_a_handler_settles_its_message_and_no_other(amqp: AMQP, rabbitmq: RabbitMQ) -> None:
    address = rabbitmq.declare_queue("leaving", type="classic")
    connect(amqp, rabbitmq)
    amqp.create_sender_link("s", "out", address)
    for number in range(ROUNDS):
        amqp.message_value = str(number)
        amqp.send_message("out")
    work(amqp, lambda: amqp.outgoing_message_count == 0, "the outcomes")
    amqp.disconnect()
    seen: list[str] = []
    told: list[int] = []

    def on_message_in(event: Any) -> None:
        seen.append(amqp.received_message_value)
        amqp.disconnect()

    amqp.on_message_in = on_message_in
    amqp.on_message_outcome = lambda event: told.append(event.state)
    for number in range(ROUNDS):
        connect(amqp, rabbitmq)
        amqp.create_receiver_link("s", "in", address)
        work(amqp, lambda number=number: len(seen) > number and not amqp.connected, "the handler")  # type: ignore[misc]
        # One message is handled, and settled before the connection goes; the others are the broker's again.
        assert len(seen) == len(told) == number + 1
    assert len(set(seen)) == ROUNDS
    assert told == [MessageState.Accepted] * ROUNDS
    assert rabbitmq.queue_length("leaving") == 0

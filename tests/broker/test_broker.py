"""The embedded broker, through the class AMQP over real sockets: queues, outcomes, redelivery, limits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import pytest

from amqp10 import AMQP, AMQPError, AMQPMessageInEventParams, MessageState, ReceiveMode, ValueType
from amqp10.broker import Broker, Limits
from amqp10.broker.container import BrokerConnection
from amqp10.broker.messages import StoredMessage, expiry
from amqp10.broker.queues import Queue
from amqp10.codec import Timestamp, UInt
from amqp10.engine import Event, IncomingDelivery
from amqp10.wire.message import Message
from amqp10.wire.messaging import Header, Properties
from tests.broker.support import count_calls


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


@pytest.fixture
def amqp(broker: Broker) -> Iterator[AMQP]:
    with connect(broker) as amqp:
        yield amqp


def connect(broker: Broker) -> AMQP:
    amqp = AMQP()
    amqp.timeout = 20
    amqp.connect_to(broker.host, broker.port)
    amqp.create_session("s")
    amqp.message_value_type = ValueType.mvtString
    amqp.message_settled = False
    return amqp


def work(done: Callable[[], bool], *clients: AMQP) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end, "it did not happen"
        for client in clients:
            client.do_events()


def send(amqp: AMQP, target: str, *values: str) -> None:
    amqp.create_sender_link("s", "out", target)
    amqp.send_messages("out", values)
    work(lambda: amqp.outgoing_message_count == 0, amqp)
    amqp.close_link("out")


def fetch(amqp: AMQP, source: str, state: MessageState = MessageState.Accepted, *settings: str) -> str:
    def decide(event: AMQPMessageInEventParams) -> None:
        event.state = state
        for setting in settings:
            amqp.config(setting)

    amqp.on_message_in = decide
    amqp.receive_mode = ReceiveMode.rmFetch
    amqp.create_receiver_link("s", "in", source)
    try:
        amqp.fetch_message("in")
    finally:
        amqp.close_link("in")
    return amqp.received_message_value


def test_a_queue_is_made_when_it_is_first_named_and_keeps_order(amqp: AMQP, broker: Broker) -> None:
    send(amqp, "q", "a", "b", "c")
    assert broker.queue_length("q") == 3
    assert [message.value for message in broker.messages("q")] == ["a", "b", "c"]
    assert [fetch(amqp, "/queues/q") for _ in range(3)] == ["a", "b", "c"]
    assert broker.queue_length("q") == 0


def test_percent_encoded_and_bare_names_are_one_queue(amqp: AMQP, broker: Broker) -> None:
    send(amqp, "/queues/a%2Fb", "x")
    assert broker.queue_length("a/b") == 1


def test_rejected_messages_go_to_the_dead_letter_queue_with_the_reason(amqp: AMQP, broker: Broker) -> None:
    send(amqp, "q", "bad")
    fetch(amqp, "q", MessageState.Rejected, "RejectErrorCondition=amqp:not-allowed", "RejectErrorDescription=no")
    work(lambda: broker.queue_length("q.dlq") == 1, amqp)
    (message,) = broker.messages("q.dlq")
    assert message.value == "bad"
    assert message.message_annotations is not None
    assert message.message_annotations["x-opt-rejected-condition"] == "amqp:not-allowed"
    assert broker.queue_length("q") == 0


def test_released_messages_come_again_uncounted_and_modified_ones_counted(amqp: AMQP, broker: Broker) -> None:
    send(amqp, "q", "m")
    fetch(amqp, "q", MessageState.Released)
    fetch(
        amqp,
        "q",
        MessageState.Modified,
        "ModifiedDeliveryFailed=True",
        'ModifiedMessageAnnotations={"type":"map","value":[{"type":"symbol","value":"x-opt-a"},"b"]}',
    )
    assert amqp.received_message_delivery_count == 0
    fetch(amqp, "q", MessageState.Released)
    assert amqp.received_message_delivery_count == 1
    work(lambda: broker.queue_length("q") == 1, amqp)
    annotations = broker.messages("q")[0].message_annotations
    assert annotations is not None
    assert annotations["x-opt-a"] == "b"


def test_undeliverable_here_keeps_a_message_from_the_link_that_said_so(amqp: AMQP, broker: Broker) -> None:
    send(amqp, "q", "m")
    seen: list[str] = []

    def refuse(event: AMQPMessageInEventParams) -> None:
        seen.append(event.link_name)
        if event.link_name == "first":
            event.state = MessageState.Modified
            amqp.config("ModifiedUndeliverableHere=True")

    amqp.on_message_in = refuse
    amqp.create_receiver_link("s", "first", "q")
    work(lambda: bool(seen), amqp)
    work(lambda: broker.queue_length("q") == 1, amqp)
    amqp.create_receiver_link("s", "second", "q")
    work(lambda: len(seen) == 2, amqp)
    assert seen == ["first", "second"]


def test_unsettled_messages_return_in_order_when_the_connection_is_cut(amqp: AMQP, broker: Broker) -> None:
    send(amqp, "q", *"abcde")
    with connect(broker) as other:
        other.config("DefaultCredit=3")
        other.config("DefaultCreditThreshold=0")

        def fail(_: AMQPMessageInEventParams) -> None:
            broker.kill_connections()
            raise RuntimeError("handler fails")

        other.on_message_in = fail
        other.create_receiver_link("s", "in", "q")
        with pytest.raises(RuntimeError):
            work(lambda: False, other)
    assert [message.value for message in broker.messages("q")] == list("abcde")


def test_consumers_share_messages_fairly(amqp: AMQP, broker: Broker) -> None:
    counts = {"a": 0, "b": 0}

    def count(event: AMQPMessageInEventParams) -> None:
        counts[event.link_name] += 1

    amqp.on_message_in = count
    amqp.create_receiver_link("s", "a", "q")
    amqp.create_receiver_link("s", "b", "q")
    send(amqp, "q", *(["x"] * 100))
    work(lambda: sum(counts.values()) == 100, amqp)
    assert counts == {"a": 50, "b": 50}


def test_full_queue_rejects_with_a_reason() -> None:
    with Broker(max_queue_length=2) as broker, connect(broker) as amqp:
        reasons: list[str] = []
        amqp.on_message_outcome = lambda e: reasons.append(amqp.config("RejectErrorDescription"))
        send(amqp, "q", "1", "2", "3")
        assert [bool(reason) for reason in reasons] == [False, False, True]
        assert "full" in reasons[2]


def test_users_are_checked_and_strangers_kept_out() -> None:
    with Broker(users={"u": "p"}, limits=Limits(login_pause=0)) as broker:
        for user, password in (("u", "wrong"), ("x", "p"), ("", "")):
            stranger = AMQP()
            stranger.user, stranger.password = user, password
            with pytest.raises(AMQPError) as caught:
                stranger.connect_to(broker.host, broker.port)
            assert caught.value.code == 602
        with AMQP() as friend:
            friend.user, friend.password = "u", "p"
            friend.connect_to(broker.host, broker.port)
            assert friend.connected


def test_unknown_and_refused_addresses_are_refused_with_a_reason() -> None:
    with Broker(auto_create=False, queues=["known"], refuse=["forbidden"]) as broker, connect(broker) as amqp:
        send(amqp, "known", "x")
        for address, condition in (("unknown", "amqp:not-found"), ("forbidden", "amqp:unauthorized-access")):
            with pytest.raises(AMQPError) as caught:
                amqp.create_sender_link("s", "l", address)
            assert caught.value.condition == condition


def test_expired_messages_are_not_delivered() -> None:
    queue = Queue("q")

    def clock() -> float:
        return 50.0

    def wall_clock() -> float:
        return 1_000_000.0

    payload = Message(header=Header(ttl=UInt(1000)), value="x").encode()
    assert expiry(payload, clock, wall_clock) == 51.0
    absolute = Message(properties=Properties(absolute_expiry_time=Timestamp(1_000_002_000)), value="x").encode()
    assert expiry(absolute, clock, wall_clock) == 52.0
    assert expiry(Message(properties=Properties(message_id="a"), value="x").encode(), clock, wall_clock) is None
    queue.put(StoredMessage(payload, 51.0))
    assert len(queue) == 1


def test_several_clients_exchange_messages_through_one_queue(amqp: AMQP, broker: Broker) -> None:
    with connect(broker) as consumer:
        got: list[str] = []
        consumer.on_message_in = lambda e: got.append(consumer.received_message_value)
        consumer.create_receiver_link("s", "in", "q")
        amqp.create_sender_link("s", "out", "q")
        values = [f"m{i}" for i in range(3000)]
        amqp.send_messages("out", values)
        work(lambda: len(got) == 3000, consumer, amqp)
        assert got == values


def test_a_broker_that_stops_tells_its_clients_and_does_not_wait_for_those_that_hang() -> None:
    broker = Broker().start()
    amqp = connect(broker)
    broker.stop(timeout=0.01)  # nobody works the connection meanwhile
    with pytest.raises(AMQPError) as caught:
        work(lambda: False, amqp)
    assert caught.value.condition == "amqp:connection:forced"
    assert "stopping" in caught.value.message


def test_a_broker_that_is_started_again_has_its_port_and_its_messages() -> None:
    broker = Broker()
    with broker, connect(broker) as amqp:
        host, port = broker.host, broker.port
        send(amqp, "q", "kept")
    assert (broker.host, broker.port) == (host, port)
    with broker, connect(broker) as amqp:
        assert broker.port == port
        assert fetch(amqp, "q") == "kept"


def test_a_defect_that_one_client_meets_does_not_end_the_broker(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(broker) as amqp:
        handle = BrokerConnection.handle

        def fail(connection: BrokerConnection, events: list[Event]) -> None:
            if any(isinstance(event, IncomingDelivery) for event in events):
                raise ZeroDivisionError
            handle(connection, events)

        monkeypatch.setattr(BrokerConnection, "handle", fail)
        with connect(broker) as victim, pytest.raises(AMQPError) as caught:
            send(victim, "q", "x")
        assert caught.value.code == 1120
        monkeypatch.undo()
        send(amqp, "q", "y")
    assert "ZeroDivisionError" in caplog.text


def test_the_fixture_gives_a_running_broker(amqp10_broker: Broker) -> None:
    with connect(amqp10_broker) as amqp:
        send(amqp, "q", "x")
    assert amqp10_broker.queue_length("q") == 1


@pytest.mark.parametrize("order", ["oldest first", "newest first", "shuffled"])
def test_messages_that_come_back_one_by_one_find_their_places_at_little_cost(order: str) -> None:
    queue = Queue("q")
    messages = [StoredMessage(b"%d" % number) for number in range(20_100)]
    for message in messages:
        queue.put(message)
    out = [queue.messages.popleft() for _ in range(20_000)]
    if order == "newest first":
        out.reverse()
    elif order == "shuffled":
        random.Random(1).shuffle(out)

    def put_back() -> None:
        for message in out:
            queue.put_back([message])

    assert count_calls(put_back) < 40 * len(out)  # looking for a place takes the logarithm of how many there are
    assert list(queue.messages) == messages

"""The class AMQP and the modern API against ActiveMQ Artemis, Qpid Broker-J and ActiveMQ Classic."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator

import pytest

import amqp10
from amqp10 import AMQP, AMQPError, AMQPTimeoutError, MessageState, OutcomeDirection, ReceiveMode, ValueType
from tests.interop.conftest import prepared
from tests.interop.peers.java import Artemis, BrokerJ, Classic, JavaBroker
from tests.interop.support import work

pytestmark = pytest.mark.interop

KINDS: dict[str, type[JavaBroker]] = {"artemis": Artemis, "brokerj": BrokerJ, "classic": Classic}
VALUES = [
    (ValueType.mvtNull, ""),
    (ValueType.mvtBoolean, "True"),
    (ValueType.mvtUbyte, "255"),
    (ValueType.mvtUshort, "65535"),
    (ValueType.mvtUint, "4294967295"),
    (ValueType.mvtUlong, "18446744073709551615"),
    (ValueType.mvtByte, "-128"),
    (ValueType.mvtShort, "-32768"),
    (ValueType.mvtInt, "-2147483648"),
    (ValueType.mvtLong, "-9223372036854775808"),
    (ValueType.mvtFloat, "1.5"),
    (ValueType.mvtDouble, "-2.5"),
    (ValueType.mvtChar, "\N{SNOWMAN}"),
    (ValueType.mvtTimestamp, "1700000000000"),
    (ValueType.mvtUuid, "12345678-1234-5678-1234-567812345678"),
    (ValueType.mvtBinary, "00FF80"),
    (ValueType.mvtString, "Grüße, 世界"),
    (ValueType.mvtSymbol, "symbol"),
    (ValueType.mvtJson, '{"type": "map", "value": ["key", {"type": "list", "value": [true, null, "text"]}]}'),
]


@pytest.fixture(scope="module", params=list(KINDS))
def broker(request: pytest.FixtureRequest) -> Iterator[JavaBroker]:
    with prepared():
        peer = KINDS[request.param]()
    with peer:
        yield peer


def client(broker: JavaBroker, *, tls: bool = False, password: str = "", virtual_host: str = "") -> AMQP:
    """A client that has not connected yet."""
    amqp = AMQP()
    amqp.timeout = 20
    amqp.user, amqp.password = broker.user, password or broker.password
    amqp.message_value_type = ValueType.mvtString
    amqp.message_settled = False
    if broker.virtual_host or virtual_host:
        amqp.config(f"VirtualHost={virtual_host or broker.virtual_host}")
    amqp.config(f"DefaultSourceCapabilities={broker.capability}")
    amqp.config(f"DefaultTargetCapabilities={broker.capability}")
    if tls:
        amqp.ssl_enabled = True
        amqp.config(f"OpenSSLCAFile={broker.ca}")
        amqp.remote_host, amqp.remote_port = "localhost", broker.tls_port
    else:
        amqp.remote_host, amqp.remote_port = broker.host, broker.port
    return amqp


@pytest.fixture
def amqp(broker: JavaBroker) -> Iterator[AMQP]:
    with client(broker) as amqp:
        amqp.connect()
        amqp.create_session("s")
        yield amqp


def send(amqp: AMQP, link: str, *texts: str) -> None:
    for text in texts:
        amqp.message_value = text
        amqp.send_message(link)
    work(amqp, lambda: amqp.outgoing_message_count == 0, "the outcomes")


def test_a_wrong_password_is_602_and_the_right_one_lets_in(broker: JavaBroker) -> None:
    with client(broker, password="wrong") as amqp, pytest.raises(AMQPError) as caught:
        amqp.connect()
    assert caught.value.code == 602
    assert "wrong" not in caught.value.message
    with client(broker) as amqp:
        amqp.connect()
        assert amqp.connected


@pytest.mark.parametrize(("value_type", "text"), VALUES, ids=[kind.name for kind, _ in VALUES])
def test_each_type_comes_back_as_it_went(amqp: AMQP, broker: JavaBroker, value_type: ValueType, text: str) -> None:
    address = broker.queue(f"types.{value_type.name}")
    amqp.create_sender_link("s", "out", address)
    amqp.message_value_type, amqp.message_id = value_type, "an id"
    send(amqp, "out", text)
    seen: list[tuple[object, ...]] = []
    amqp.on_message_in = lambda event: seen.append(
        (amqp.received_message_value_type, amqp.received_message_value, event.message_id)
    )
    amqp.create_receiver_link("s", "in", address)
    work(amqp, lambda: bool(seen), "the message")
    assert seen == [(value_type, text, "an id")]


def test_each_outcome_does_what_it_says(amqp: AMQP, broker: JavaBroker) -> None:
    address = broker.queue("outcomes")
    amqp.create_sender_link("s", "out", address)
    send(amqp, "out", "accepted", "released", "modified", "rejected")
    seen: list[str] = []
    reported: list[int] = []

    def on_message_in(event: amqp10.AMQPMessageInEventParams) -> None:
        text = amqp.received_message_value
        first = text not in seen
        seen.append(text)
        if text == "rejected":
            amqp.config("RejectErrorDescription=not wanted")
        if text == "modified":
            amqp.config("ModifiedDeliveryFailed=True")
        event.state = MessageState[text.capitalize()] if first else MessageState.Accepted

    amqp.on_message_in = on_message_in
    amqp.on_message_outcome = lambda event: reported.append(event.direction)
    amqp.create_receiver_link("s", "in", address)
    # What was released or failed comes again; what was accepted or rejected does not.
    # A broker may send them again before it sends the last one for the first time.
    work(
        amqp,
        lambda: seen.count("released") == 2 and seen.count("modified") == 2 and "rejected" in seen,
        "the second deliveries",
    )
    assert seen.count("accepted") == 1
    if broker.dead_letters:
        assert seen.count("rejected") == 1
    assert reported.count(OutcomeDirection.Sent) == len(seen)


def test_fetching_gets_one_message_drains_and_leaves_no_credit(amqp: AMQP, broker: JavaBroker) -> None:
    address = broker.queue("fetch")
    amqp.create_sender_link("s", "out", address)
    amqp.receive_mode = ReceiveMode.rmFetch
    amqp.create_receiver_link("s", "in", address)
    amqp.fetch_timeout = 1
    with pytest.raises(AMQPTimeoutError, match=r"within 1 second\Z"):
        amqp.fetch_message("in")
    assert amqp.get_link_credit(amqp.link_count - 1) == 0
    send(amqp, "out", "one", "two")
    amqp.fetch_timeout = 10
    for text in ("one", "two"):
        amqp.fetch_message("in")
        assert amqp.received_message_value == text


@pytest.mark.parametrize("frames", [512, 65536])
def test_large_messages_travel_whole_in_frames_of_any_size(broker: JavaBroker, frames: int) -> None:
    size = 10_000_000 if frames > 512 else 300_000
    with client(broker) as amqp:
        amqp.config(f"MaxFrameSize={frames}")
        amqp.connect()
        amqp.create_session("s")
        address = broker.queue(f"large.{frames}")
        amqp.create_sender_link("s", "out", address)
        text = "x" * size
        send(amqp, "out", text)
        amqp.create_receiver_link("s", "in", address)
        received: list[bool] = []
        amqp.on_message_in = lambda event: received.append(amqp.received_message_value == text)
        work(amqp, lambda: bool(received), "the message")
        assert received == [True]


def test_a_connection_that_is_idle_both_ways_stays(broker: JavaBroker) -> None:
    with client(broker) as amqp:
        amqp.idle_timeout = 2
        amqp.connect()
        amqp.create_session("s")
        end = time.monotonic() + 5
        while time.monotonic() < end:
            amqp.do_events()
        assert amqp.connected
        amqp.create_sender_link("s", "out", broker.queue("idle"))
        send(amqp, "out", "still here")


def test_a_virtual_host_that_is_not_there_is_told(broker: JavaBroker) -> None:
    with client(broker, virtual_host="nowhere") as amqp:
        if not broker.virtual_host:
            # A broker without virtual hosts lets everybody in.
            amqp.connect()
            return
        with pytest.raises(AMQPError) as caught:
            amqp.connect()
    assert "nowhere" in caught.value.message
    assert caught.value.condition


def test_a_wrong_address_is_told_with_its_condition(amqp: AMQP, broker: JavaBroker) -> None:
    if broker.name == "brokerj":
        with pytest.raises(AMQPError) as caught:
            amqp.create_sender_link("s", "out", "nowhere")
        assert caught.value.condition == "amqp:not-found"
    else:
        amqp.create_sender_link("s", "out", "nowhere")  # the others make a queue of every name
    amqp.create_sender_link("s", "other", broker.queue("after"))
    send(amqp, "other", "the session goes on")


def test_tls_verifies_the_broker(broker: JavaBroker) -> None:
    with client(broker, tls=True) as amqp:
        amqp.connect()
        amqp.create_session("s")
        amqp.create_sender_link("s", "out", broker.queue("tls"))
        send(amqp, "out", "encrypted")
    with client(broker, tls=True) as amqp:
        amqp.config("OpenSSLCAFile=")
        with pytest.raises(AMQPError) as caught:
            amqp.connect()
    assert caught.value.code == 280


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_a_broker_that_goes_leaves_every_message_accounted_for(broker: JavaBroker, how: str) -> None:
    address = broker.queue(f"gone.{how}")
    outcomes: dict[str, int] = {}
    with client(broker) as amqp:
        amqp.message_durable = True
        amqp.on_message_outcome = lambda event: outcomes.update({event.message_id: event.state})
        amqp.connect()
        amqp.create_session("s")
        amqp.create_sender_link("s", "out", address)
        sent: list[str] = []

        def produce() -> None:
            while True:
                amqp.message_id = amqp.message_value = f"{how}-{len(sent)}"
                amqp.send_message("out")
                sent.append(amqp.message_id)
                if len(sent) == 500:
                    getattr(broker, how)()

        with pytest.raises(AMQPError) as caught:
            produce()
        left = [amqp.get_outgoing_message_id(index) for index in range(amqp.outgoing_message_count)]
        # Each has an outcome, or is named as one without.
        assert set(sent) <= set(outcomes) | set(left)
        assert {message.message_id for message in caught.value.undelivered} >= set(left)
    broker.start()
    with client(broker) as amqp:
        amqp.connect()
        amqp.create_session("s")
        seen: list[str] = []
        amqp.on_message_in = lambda event: seen.append(event.message_id)
        amqp.create_receiver_link("s", "in", address)
        accepted = {name for name, state in outcomes.items() if state == MessageState.Accepted}
        work(amqp, lambda: accepted <= set(seen), "every message that the broker had accepted")


def url_of(broker: JavaBroker, *, tls: bool = False) -> str:
    host, port = ("localhost", broker.tls_port) if tls else (broker.host, broker.port)
    return f"{'amqps' if tls else 'amqp'}://{broker.user}:{broker.password}@{host}:{port}"


def options(broker: JavaBroker) -> dict[str, str]:
    return {"hostname": broker.virtual_host} if broker.virtual_host else {}


def test_the_blocking_api_sends_receives_and_settles(broker: JavaBroker) -> None:
    address = broker.queue("modern")
    capabilities = [broker.capability] if broker.capability else []
    with amqp10.connect(url_of(broker), **options(broker)) as connection:  # type: ignore[arg-type]
        sender = connection.sender(address, capabilities=capabilities)
        for number in range(100):
            sender.send(amqp10.Message({"number": number}, properties={"kind": "test"}))
        receiver = connection.receiver(address, capabilities=capabilities)
        for number in range(100):
            message = receiver.receive(timeout=20)
            assert message.body == {"number": number}
            assert message.properties["kind"] == "test"
            message.accept()


def test_the_asyncio_api_sends_over_tls_and_receives(broker: JavaBroker) -> None:
    address = broker.queue("modern.aio")
    capabilities = [broker.capability] if broker.capability else []
    context = ssl.create_default_context(cafile=broker.ca)

    async def main() -> list[object]:
        async with amqp10.aio.connect(url_of(broker, tls=True), tls=context, **options(broker)) as connection:  # type: ignore[arg-type]
            sender = await connection.sender(address, capabilities=capabilities)
            deliveries = [sender.try_submit(amqp10.Message(f"text {number}")) for number in range(10)]
            await sender.flush()
            assert all(delivery is not None for delivery in deliveries)
            receiver = await connection.receiver(address, capabilities=capabilities)
            bodies: list[object] = []
            for _ in range(10):
                message = await receiver.receive(timeout=20)
                bodies.append(message.body)
                message.accept()
            return bodies

    assert asyncio.run(main()) == [f"text {number}" for number in range(10)]

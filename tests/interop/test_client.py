"""The class AMQP against RabbitMQ 4, the broker of Proton, a rhea container and the embedded broker."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from amqp10 import (
    AMQP,
    AMQPError,
    AMQPMessageInEventParams,
    AMQPMessageOutcomeEventParams,
    AuthScheme,
    MessageState,
    ReceiveMode,
    ValueType,
)
from amqp10.broker import Broker
from amqp10.codec import ULong
from amqp10.ipworksmq import IPWorksMQError
from tests.interop.conftest import run_peer
from tests.interop.peers import PASSWORD, USER, RabbitMQ, RheaContainer
from tests.interop.support import work

pytestmark = pytest.mark.interop

COUNT = int(os.environ.get("AMQP10_INTEROP_COUNT", "100000"))


class Place:
    """A broker to talk to, whichever it is."""

    def __init__(self, kind: str, host: str, port: int, user: str, password: str, queue: Callable[[str], str]) -> None:
        self.kind = kind
        self.host = host
        self.port = port
        self.user = user
        self.password = password
        self.queue = queue
        """Makes sure that a queue exists; gives its address."""

    def connect(self, amqp: AMQP) -> None:
        amqp.user = self.user
        amqp.password = self.password
        amqp.connect_to(self.host, self.port)
        amqp.create_session("s")


@pytest.fixture(scope="module")
def embedded() -> Iterator[Broker]:
    with Broker(users={USER: PASSWORD}) as broker:
        yield broker


@pytest.fixture(params=["rabbitmq", "embedded", "proton_broker", "rhea_container"])
def place(request: pytest.FixtureRequest) -> Place:
    kind: str = request.param
    peer: Any = request.getfixturevalue(kind)
    if kind == "rabbitmq":
        return Place(kind, peer.host, peer.port, peer.user, peer.password, lambda name: str(peer.declare_queue(name)))
    if kind == "proton_broker":
        return Place(kind, peer.host, peer.port, "", "", lambda name: name)
    return Place(kind, peer.host, peer.port, USER, PASSWORD, lambda name: name)


@pytest.fixture
def amqp() -> Iterator[AMQP]:
    with AMQP() as amqp:
        amqp.timeout = 30
        amqp.message_value_type = ValueType.mvtString
        amqp.message_settled = False
        yield amqp


@pytest.mark.parametrize("batched", [False, True], ids=["one by one", "batched"])
def test_every_unsettled_message_goes_there_and_back_once_and_in_order(amqp: AMQP, place: Place, batched: bool) -> None:
    address = place.queue("bulk")
    place.connect(amqp)
    amqp.create_sender_link("s", "out", address)
    sent_ids: list[str] = []
    outcomes: list[int] = []
    amqp.on_message_out = lambda e: sent_ids.append(e.message_id)
    amqp.on_message_outcome = lambda e: outcomes.append(e.state) if e.direction == 1 else None
    if batched:
        texts, ids = (f"text {i}" for i in range(COUNT)), (f"id-{i}" for i in range(COUNT))
        assert amqp.send_messages("out", texts, ids=ids) == COUNT
    else:
        for i in range(COUNT):
            amqp.message_id = f"id-{i}"
            amqp.message_value = f"text {i}"
            amqp.send_message("out")
    work(amqp, lambda: len(sent_ids) >= COUNT, "on_message_out for every message")
    assert amqp.outgoing_message_count == 0
    assert sorted(sent_ids) == sorted(f"id-{i}" for i in range(COUNT))
    assert outcomes == [MessageState.Accepted] * COUNT

    received: list[tuple[str, str]] = []
    amqp.on_message_in = lambda e: received.append((e.message_id, amqp.received_message_value))
    amqp.create_receiver_link("s", "in", address)
    work(amqp, lambda: len(received) >= COUNT, "every message received")
    amqp.do_events()
    assert received == [(f"id-{i}", f"text {i}") for i in range(COUNT)]


@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        (ValueType.mvtString, "Grüße, 世界"),
        (ValueType.mvtString, "x" * 5_000_000),
        (ValueType.mvtBinary, "00FF80" * 1000),
        (ValueType.mvtBinary, "AB" * 5_000_000),
        (ValueType.mvtInt, "-2147483648"),
        (ValueType.mvtUlong, "18446744073709551615"),
        (ValueType.mvtBoolean, "True"),
        (ValueType.mvtDouble, "1.5"),
        (ValueType.mvtUuid, "12345678-1234-5678-1234-567812345678"),
        (ValueType.mvtJson, '{"type": "map", "value": ["k", {"type": "uint", "value": 7}, null, true]}'),
    ],
    ids=["text", "5 MB text", "binary", "5 MB binary", "int", "ulong", "boolean", "double", "uuid", "map"],
)
def test_value_arrives_as_it_was_sent(amqp: AMQP, place: Place, value_type: ValueType, value: str) -> None:
    import json

    address = place.queue("values")
    place.connect(amqp)
    amqp.create_sender_link("s", "out", address)
    amqp.message_value_type = value_type
    amqp.message_value = value
    amqp.message_subject = "a subject"
    amqp.message_correlation_id = "c-1"
    amqp.message_user_id = place.user  # RabbitMQ wants it to be who is logged in
    amqp.message_content_type = "application/x-test"
    amqp.send_message("out")
    work(amqp, lambda: amqp.outgoing_message_count == 0, "the outcome")
    amqp.receive_mode = ReceiveMode.rmFetch
    amqp.create_receiver_link("s", "in", address)
    amqp.fetch_message("in")
    if value_type is ValueType.mvtJson:
        # The abbreviated syntax on both sides, white space apart.
        assert json.loads(amqp.received_message_value) == {
            "type": "map",
            "value": ["k", {"type": "uint", "value": 7}, None, True],
        }
    else:
        assert amqp.received_message_value == value
    assert amqp.received_message_value_type == value_type
    assert amqp.received_message_subject == "a subject"
    assert amqp.received_message_correlation_id == "c-1"
    if value_type is ValueType.mvtBinary:
        assert amqp.received_message_content_type == "application/x-test"


# Proton's example broker does not answer a drain.
@pytest.mark.parametrize(
    "given",
    ["text", "", 0, 5_000_000_000, UUID("12345678-90ab-cdef-0000-00805f9b34fb"), b"\xab\xcd\x00"],
    ids=["string", "none", "ulong 0", "ulong", "uuid", "binary"],
)
def test_an_id_keeps_its_type_on_its_way_there_and_when_it_is_passed_on(amqp: AMQP, place: Place, given: Any) -> None:
    # Proton decodes the message and encodes it anew; so does rhea, which takes any binary id for a UUID then.
    anew = place.kind == "rhea_container" and not isinstance(given, bytes)
    address = "reencode/ids" if anew else place.queue("ids")
    place.connect(amqp)
    amqp.create_sender_link("s", "out", address)
    amqp.receive_mode = ReceiveMode.rmFetch
    amqp.create_receiver_link("s", "in", address)
    amqp.message_id = amqp.message_correlation_id = given
    amqp.message_value = "x"
    text = amqp.message_id
    for _ in range(2):
        amqp.send_message("out")
        work(amqp, lambda: amqp.outgoing_message_count == 0, "the outcome")
        amqp.fetch_message("in")
        assert (amqp.received_message_id, amqp.received_message_correlation_id) == (text, text)
        received = amqp.received_message
        assert received is not None
        expected = None if given == "" else given
        assert (received.id, received.correlation_id) == (expected, expected)
        assert type(received.id) in (type(expected), ULong)
        amqp.message_id = amqp.received_message_id
        amqp.message_correlation_id = amqp.received_message_correlation_id


@pytest.mark.parametrize("place", ["rabbitmq", "embedded", "rhea_container"], indirect=True)
def test_fetch_without_a_message_times_out_and_the_link_works_on(amqp: AMQP, place: Place) -> None:
    address = place.queue("fetch")
    place.connect(amqp)
    amqp.create_sender_link("s", "out", address)
    amqp.receive_mode = ReceiveMode.rmFetch
    amqp.create_receiver_link("s", "in", address)
    amqp.fetch_timeout = 1
    for round_number in range(2):
        with pytest.raises(AMQPError) as caught:
            amqp.fetch_message("in")
        assert caught.value.code == 201
        assert amqp.get_link_credit(1) == 0
        amqp.message_value = f"hello {round_number}"
        amqp.send_message("out")
        work(amqp, lambda: amqp.outgoing_message_count == 0, "the outcome")
        amqp.fetch_message("in")
        assert amqp.received_message_value == f"hello {round_number}"


# Proton's example broker lets everybody in.
@pytest.mark.parametrize("place", ["rabbitmq", "embedded", "rhea_container"], indirect=True)
def test_wrong_password_is_told_as_such(amqp: AMQP, place: Place) -> None:
    amqp.user = place.user
    amqp.password = "wrong"
    with pytest.raises(AMQPError) as caught:
        amqp.connect_to(place.host, place.port)
    assert caught.value.code == 602
    assert "wrong" not in str(caught.value)
    assert "not accepted" in str(caught.value)
    # The instance is as good as new.
    place.connect(amqp)


# -- outcomes --------------------------------------------------------------------------------------------------------


def _send_one(amqp: AMQP, address: str, value: str = "x") -> None:
    amqp.create_sender_link("s", "out", address)
    amqp.message_value = value
    amqp.send_message("out")
    work(amqp, lambda: amqp.outgoing_message_count == 0, "the outcome")


# Proton's example broker forgets a message as soon as it has written it to somebody.
@pytest.mark.parametrize("place", ["rabbitmq", "embedded", "rhea_container"], indirect=True)
def test_released_comes_again_uncounted_modified_counted_and_rejected_is_set_apart(
    amqp: AMQP, place: Place, request: pytest.FixtureRequest
) -> None:
    if place.kind == "rabbitmq":
        broker: RabbitMQ = request.getfixturevalue("rabbitmq")
        dead = str(broker.declare_queue("mortal.dead"))
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "mortal.dead"}
        address = str(broker.declare_queue("mortal", arguments=arguments))
    else:
        address = "mortal"
        dead = "mortal.dlq" if place.kind == "embedded" else "mortal.rejected"
    place.connect(amqp)
    _send_one(amqp, address, "doomed")
    outcomes = [MessageState.Released, MessageState.Modified, MessageState.Rejected]
    counts: list[int] = []
    told: list[int] = []

    def decide(event: AMQPMessageInEventParams) -> None:
        event.state = outcomes[len(counts)]
        counts.append(amqp.received_message_delivery_count)
        if event.state == MessageState.Modified:
            amqp.config("ModifiedDeliveryFailed=True")
        elif event.state == MessageState.Rejected:
            amqp.config("RejectErrorCondition=amqp:precondition-failed")
            amqp.config("RejectErrorDescription=not today")

    amqp.on_message_in = decide
    amqp.on_message_outcome = lambda e: told.append(e.state)
    amqp.receive_mode = ReceiveMode.rmFetch
    amqp.create_receiver_link("s", "in", address)
    for _ in outcomes:
        amqp.fetch_message("in")
        assert amqp.received_message_value == "doomed"
    assert counts == [0, 0, 1]
    assert told == outcomes
    amqp.on_message_in = None
    amqp.create_receiver_link("s", "graveyard", dead)
    amqp.fetch_message("graveyard")
    assert amqp.received_message_value == "doomed"
    amqp.fetch_timeout = 1
    for link in ("in", "graveyard"):
        with pytest.raises(AMQPError) as caught:
            amqp.fetch_message(link)
        assert caught.value.code == 201, "it is in one place only"


def test_rabbitmq_releases_what_it_cannot_route(amqp: AMQP, rabbitmq: RabbitMQ) -> None:
    rabbitmq.declare_exchange("nowhere")
    amqp.user, amqp.password = rabbitmq.user, rabbitmq.password
    amqp.connect_to(rabbitmq.host, rabbitmq.port)
    amqp.create_session("s")
    states: list[int] = []
    amqp.on_message_outcome = lambda e: states.append(e.state)
    _send_one(amqp, "/exchanges/nowhere/key")
    assert states == [MessageState.Released]


@pytest.mark.parametrize(
    ("prefix", "state"),
    [("reject/q", MessageState.Rejected), ("release/q", MessageState.Released), ("modify/q", MessageState.Modified)],
)
def test_outcome_of_a_sent_message_is_told_with_its_reason(
    amqp: AMQP, rhea_container: RheaContainer, prefix: str, state: MessageState
) -> None:
    amqp.connect_to(rhea_container.host, rhea_container.port)
    amqp.create_session("s")
    seen: list[tuple[int, str, str]] = []
    fired: list[str] = []

    def on_outcome(event: AMQPMessageOutcomeEventParams) -> None:
        seen.append((event.state, amqp.config("RejectErrorCondition"), amqp.config("ModifiedDeliveryFailed")))

    amqp.on_message_outcome = on_outcome
    amqp.on_message_out = lambda e: fired.append(e.message_id)
    amqp.message_id = "m-1"
    _send_one(amqp, prefix)
    condition = "amqp:precondition-failed" if state is MessageState.Rejected else ""
    failed = "True" if state is MessageState.Modified else "False"
    assert seen == [(state, condition, failed)]
    assert fired == ["m-1"]


# -- things that go wrong --------------------------------------------------------------------------------------------


def test_rabbitmq_names_the_queue_that_does_not_exist(amqp: AMQP, rabbitmq: RabbitMQ) -> None:
    amqp.user, amqp.password = rabbitmq.user, rabbitmq.password
    amqp.connect_to(rabbitmq.host, rabbitmq.port)
    amqp.create_session("s")
    with pytest.raises(AMQPError) as caught:
        amqp.create_receiver_link("s", "in", "/queues/missing")
    assert caught.value.code == 600
    assert caught.value.condition == "amqp:not-found"
    assert "missing" in caught.value.message
    assert amqp.link_count == 0


def test_refused_attach_leaves_no_link_and_gives_the_reason(amqp: AMQP, rhea_container: RheaContainer) -> None:
    amqp.connect_to(rhea_container.host, rhea_container.port)
    amqp.create_session("s")
    # A name each: rhea takes an attach in the other direction under the same name for the old link.
    for name, create in (("out", amqp.create_sender_link), ("in", amqp.create_receiver_link)):
        with pytest.raises(AMQPError) as caught:
            create("s", name, "refuse/it")
        assert (caught.value.code, caught.value.condition) == (600, "amqp:not-found")
        assert amqp.link_count == 0
    amqp.create_sender_link("s", "out", "welcome")


def _send_and_work(amqp: AMQP, link: str) -> None:
    amqp.send_message(link)
    work(amqp, lambda: False, "the end of the connection")


def test_close_by_the_server_is_raised_by_the_next_call(amqp: AMQP, rhea_container: RheaContainer) -> None:
    amqp.connect_to(rhea_container.host, rhea_container.port)
    amqp.create_session("s")
    ends: list[int] = []
    amqp.on_disconnected = lambda e: ends.append(e.status_code)
    amqp.create_sender_link("s", "l", "close-connection/now")
    amqp.message_value = "x"
    with pytest.raises(AMQPError) as caught:
        _send_and_work(amqp, "l")
    assert (caught.value.code, caught.value.condition) == (600, "amqp:connection:forced")
    assert ends == [600]
    assert not amqp.connected


def test_dropped_connection_is_1120(amqp: AMQP, rhea_container: RheaContainer) -> None:
    amqp.connect_to(rhea_container.host, rhea_container.port)
    amqp.create_session("s")
    amqp.create_sender_link("s", "l", "drop/now")
    amqp.message_value = "x"
    with pytest.raises(AMQPError) as caught:
        _send_and_work(amqp, "l")
    assert caught.value.code == 1120
    assert amqp.outgoing_message_count == 1


class _Listener:
    """Accepts connections and answers with fixed bytes, or with nothing."""

    def __init__(self, answer: bytes) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.sock.getsockname()[1]
        self._answer = answer
        self._accepted: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            self._accepted.append(sock)
            if self._answer:
                sock.sendall(self._answer)

    def close(self) -> None:
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self._thread.join()
        for sock in self._accepted:
            sock.close()


@pytest.fixture
def listener(request: pytest.FixtureRequest) -> Iterator[_Listener]:
    made = _Listener(request.param)
    yield made
    made.close()


@pytest.mark.parametrize("listener", [b"AMQP\x00\x00\x09\x01"], indirect=True)
def test_server_of_another_protocol_version_is_named(amqp: AMQP, listener: _Listener) -> None:
    with pytest.raises(AMQPError, match="AMQP 0-9-1") as caught:
        amqp.connect_to("127.0.0.1", listener.port)
    assert caught.value.code == 600


@pytest.mark.parametrize("listener", [b""], indirect=True)
def test_silent_server_is_given_up_in_time(amqp: AMQP, listener: _Listener) -> None:
    amqp.timeout = 1
    start = time.monotonic()
    with pytest.raises(AMQPError) as caught:
        amqp.connect_to("127.0.0.1", listener.port)
    assert caught.value.code == 201
    assert time.monotonic() - start < 5


def test_port_that_nobody_listens_on_is_refused_at_once(amqp: AMQP) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    statuses: list[int] = []
    amqp.on_connected = lambda e: statuses.append(e.status_code)
    with pytest.raises(AMQPError) as caught:
        amqp.connect_to("127.0.0.1", port)
    assert caught.value.code == 10061
    assert statuses == [10061]


# -- interruption ----------------------------------------------------------------------------------------------------


def _interrupt_soon(amqp: AMQP) -> threading.Timer:
    timer = threading.Timer(0.3, amqp.interrupt)
    timer.start()
    return timer


@pytest.mark.parametrize("listener", [b""], indirect=True)
def test_interrupt_ends_connect(amqp: AMQP, listener: _Listener) -> None:
    timer = _interrupt_soon(amqp)
    with pytest.raises(AMQPError) as caught:
        amqp.connect_to("127.0.0.1", listener.port)
    timer.join()
    assert caught.value.code == 10004


def test_interrupt_ends_fetch_and_sending_and_the_connection_stays_usable(amqp: AMQP, embedded: Broker) -> None:
    amqp.user, amqp.password = USER, PASSWORD
    amqp.connect_to(embedded.host, embedded.port)
    amqp.create_session("s")
    amqp.receive_mode = ReceiveMode.rmFetch
    amqp.create_receiver_link("s", "in", "interrupted")
    amqp.fetch_timeout = 0
    timer = _interrupt_soon(amqp)
    with pytest.raises(AMQPError) as caught:
        amqp.fetch_message("in")
    timer.join()
    assert caught.value.code == 10004
    _send_one(amqp, "interrupted", "still here")
    amqp.fetch_message("in")
    assert amqp.received_message_value == "still here"


# -- the reference's names -------------------------------------------------------------------------------------------


def test_program_written_with_getters_and_setters_runs(rabbitmq: RabbitMQ) -> None:
    from amqp10 import ipworksmq

    address = rabbitmq.declare_queue("getters")
    client = ipworksmq.AMQP()
    client.set_auth_scheme(AuthScheme.smSASLPlain)
    client.set_user(rabbitmq.user)
    client.set_password(rabbitmq.password)
    client.set_container_id("reference-program")
    client.set_remote_host(rabbitmq.host)
    client.set_remote_port(rabbitmq.port)
    client.set_connected(True)
    assert client.get_connected()
    client.create_session("session")
    client.create_sender_link("session", "sender", address)
    client.reset_message()
    client.set_message_id("1")
    client.set_message_value("Hello, world!")
    client.set_message_value_type(17)
    client.set_message_settled(False)
    client.send_message("sender")
    work(client, lambda: client.get_outgoing_message_count() == 0, "the outcome")
    client.set_receive_mode(1)
    client.create_receiver_link("session", "receiver", address)
    client.fetch_message("receiver")
    assert client.get_received_message_value() == "Hello, world!"
    assert client.get_received_message_value_type() == 17
    assert [client.get_link_name(i) for i in range(client.get_link_count())] == ["sender", "receiver"]
    with pytest.raises(IPWorksMQError):
        client.get_link_name(2)
    client.close_link("receiver")
    client.close_session("session")
    client.set_connected(False)
    assert not client.connected


# -- heartbeats ------------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient() -> Iterator[RheaContainer]:
    """A container that gives up a client it has not heard of for 0.8 seconds."""
    yield from run_peer(lambda: RheaContainer(idle_timeout=400))


def test_heartbeats_go_out_whatever_call_works_the_connection(amqp: AMQP, impatient: RheaContainer) -> None:
    amqp.connect_to(impatient.host, impatient.port)
    amqp.create_session("s")
    ends: list[int] = []
    amqp.on_disconnected = lambda e: ends.append(e.status_code)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        amqp.do_events()
    amqp.receive_mode = ReceiveMode.rmFetch
    amqp.create_receiver_link("s", "get", "nothing")
    amqp.fetch_timeout = 2
    with pytest.raises(AMQPError) as caught:
        amqp.fetch_message("get")
    assert caught.value.code == 201
    amqp.create_sender_link("s", "out", "slow")
    amqp.send_messages("out", ["x"] * 8)
    handled: list[int] = []

    def slowly(event: AMQPMessageInEventParams) -> None:
        handled.append(1)
        time.sleep(0.25)  # what such a handler does for a living

    amqp.on_message_in = slowly
    amqp.receive_mode = ReceiveMode.rmAutomatic
    amqp.create_receiver_link("s", "in", "slow")
    work(amqp, lambda: len(handled) == 8, "every message handled")
    assert amqp.connected
    assert ends == []

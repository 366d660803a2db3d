"""What one client may take of the broker: every limit, without sockets."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqp10.broker.addresses import Address, parse_address
from amqp10.broker.container import BrokerContainer
from amqp10.broker.limits import MESSAGE_COST, Limits
from amqp10.codec import Map, Symbol, UInt
from amqp10.engine import Connection as Engine
from amqp10.engine import ConnectionFailed, DeliveriesUpdated, EndpointRole, LinkDetached, SessionEnded
from amqp10.engine.sasl import PlainMechanism, SaslClient
from amqp10.errors import ProtocolError
from amqp10.wire.message import Message
from amqp10.wire.messaging import ACCEPTED, Header, Modified, Properties, Rejected
from amqp10.wire.performatives import Error
from tests.broker.support import Client, Net, body


def outcomes(client: Client) -> list[str]:
    """The kinds of outcomes that a client's messages had, in order."""
    return [
        type(event.state).__name__.lower()
        for event in client.events
        if isinstance(event, DeliveriesUpdated)
        for _ in event.deliveries
    ]


def size_of(text: str) -> int:
    return len(body(text)) + MESSAGE_COST


def test_the_broker_states_its_product_and_its_limits_in_open() -> None:
    client = Client(Net(max_frame_size=4096, max_sessions=3))
    opened = client.engine.remote_open
    assert opened is not None
    assert opened.properties is not None
    assert opened.properties["product"] == "amqp10"
    assert opened.properties["version"]
    assert (opened.max_frame_size, opened.channel_max) == (4096, 2)


@pytest.mark.parametrize(
    "values", [{"max_links": -1}, {"max_sessions": 0}, {"max_sessions": 65537}, {"max_frame_size": 511}]
)
def test_limits_out_of_range_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Limits(**values)


def test_a_session_beyond_the_limit_ends_the_connection_that_begins_it() -> None:
    net = Net(max_sessions=2)
    client, other = Client(net), Client(net)
    client.engine.channel_max = client.engine.channels.highest = 10  # it does not keep to what was agreed
    client.engine.begin()
    client.engine.begin()
    net.step()
    assert client.closed is not None
    assert other.session.mapped


def test_a_link_beyond_the_limit_is_refused_and_the_others_go_on() -> None:
    net = Net(max_links=2)
    client = Client(net)
    first = client.sender("q", "first")
    client.receiver("q", "second")
    one, client.session = client.session, client.engine.begin()
    net.step()
    third = client.sender("q", "third")
    assert client.error(third) == "amqp:resource-limit-exceeded"
    client.send(first, "x")
    assert net.waiting("q") == ["x"]
    first.detach()
    net.step()
    assert one.mapped
    assert client.sender("q", "fourth").attached


def test_refused_links_that_are_never_detached_do_not_pile_up() -> None:
    net = Net(max_links=2)
    client = Client(net)
    assert client.session.remote_handle_max == 1


def test_queues_beyond_the_limit_are_refused_dynamic_ones_included() -> None:
    net = Net(max_queues=2)
    client = Client(net)
    client.sender("one", "one")
    assert client.receiver(None, "two").attached
    for name, address in (("three", "three"), ("four", None)):
        assert client.error(client.receiver(address, name)) == "amqp:resource-limit-exceeded"


def test_a_queue_that_holds_its_bytes_rejects_more_until_some_are_settled() -> None:
    net = Net(max_queue_bytes=size_of("a") * 2)
    client = Client(net)
    out = client.sender("q")
    client.send(out, "a", "b", "c")
    assert outcomes(client) == ["accepted", "accepted", "rejected"]
    link = client.receiver("q", credit=2)
    client.send(out, "d")  # nothing waits, but nothing has been settled either
    assert outcomes(client)[-1] == "rejected"
    client.got(link)[0].settle(ACCEPTED)
    net.step()
    client.send(out, "e")
    assert outcomes(client)[-1] == "accepted"


def test_a_dead_message_that_is_larger_than_its_queue_does_not_push_out_the_others() -> None:
    net = Net(max_queue_bytes=size_of("a") * 4)
    client = Client(net)
    out = client.sender("q")
    client.send(out, "a", "b")
    link = client.receiver("q", credit=2)
    first, second = client.got(link)
    first.settle(Rejected())
    # The description becomes an annotation of the message, which then is larger than the whole queue.
    second.settle(Rejected(error=Error(condition="amqp:decode-error", description="x" * size_of("a") * 4)))
    net.step()
    assert net.waiting("q.dlq") == ["a"]


def test_all_queues_together_hold_no_more_than_the_broker_may() -> None:
    net = Net(max_bytes=size_of("a") * 2)
    client = Client(net)
    for name in "one", "two", "three":
        client.send(client.sender(name, name), "a")
    assert outcomes(client) == ["accepted", "accepted", "rejected"]
    net.container.queues["one"].clear()
    client.send(client.sender("four", "four"), "a")
    assert outcomes(client)[-1] == "accepted"


def test_what_goes_counts_no_more_whichever_way_it_goes() -> None:
    net = Net()
    client = Client(net)
    out = client.sender("q")
    client.send(out, *"abcd", body("expires", header=Header(ttl=UInt(1000))))
    link = client.receiver("q", credit=4)
    a, b, c, _ = client.got(link)
    a.settle(ACCEPTED)
    b.settle(Rejected())
    c.settle(Modified(delivery_failed=True, message_annotations=Map([(Symbol("x"), "y" * 50)])))
    net.step()
    assert net.container.store.bytes == sum(queue.bytes for queue in net.container.queues.values())
    net.now = 5
    link.flow(10)
    net.step()
    for delivery in client.got(link):
        delivery.settle(ACCEPTED)
    net.step()
    net.container.queues["q.dlq"].clear()
    settled = client.receiver(None, "dynamic")
    address = settled.source.address  # type: ignore[union-attr]
    client.send(client.sender(str(address), "reply"), "z")
    settled.detach()
    net.step()
    assert net.container.store.bytes == 0


def test_the_oldest_dead_letters_make_room_for_new_ones() -> None:
    net = Net(max_queue_length=3)
    client = Client(net)
    out = client.sender("q")
    link = client.receiver("q", credit=10)
    client.send(out, *"ab")
    client.send(out, *"cd")
    for delivery in client.got(link):
        delivery.settle(Rejected(error=Error(condition=Symbol("amqp:not-allowed"))))
        net.step()
    assert net.waiting("q.dlq") == ["b", "c", "d"]


def test_annotations_of_modified_do_not_make_a_message_larger_than_messages_may_be() -> None:
    net = Net(max_message_size=200)
    client = Client(net)
    client.send(client.sender("q"), "a")
    link = client.receiver("q", credit=1)
    for turn in range(10):
        client.got(link)[-1].settle(Modified(message_annotations=Map([(Symbol(f"x-{turn}"), "y" * 40)])))
        net.step()
        link.flow(1)
        net.step()
    assert len(client.got(link)) == 11
    assert 100 < max(delivery.size for delivery in client.got(link)) <= 200


def test_links_that_bar_messages_leave_nothing_behind_when_they_go() -> None:
    net = Net()
    client = Client(net)
    client.send(client.sender("q"), "a")
    for turn in range(20):
        link = client.receiver("q", f"in {turn}", credit=1)
        client.got(link)[0].settle(Modified(undeliverable_here=True))
        net.step()
        link.detach()
        net.step()
    (message,) = net.container.queues["q"].messages
    assert message.barred is not None
    assert not list(message.barred)


def test_a_message_larger_than_the_limit_ends_its_link_only() -> None:
    net = Net(max_message_size=100)
    client = Client(net)
    out = client.sender("q")
    assert out.remote_max_message_size == 100
    out.send_limit = 0
    client.send(out, "x" * 200)
    assert client.error(out) == "amqp:link:message-size-exceeded"
    client.send(client.sender("q", "second"), "fits")
    assert net.waiting("q") == ["fits"]


def test_messages_that_never_become_whole_count_and_end_their_connection_only() -> None:
    net = Net(max_bytes=20_000, max_frame_size=4096)
    client, honest = Client(net), Client(net)
    out = [client.sender("q", f"out {number}") for number in range(8)]
    for link in out:
        client.session.window.remote_incoming = 1  # each sends the first frame of its message, and no more
        link.send(b"x" * 10_000)
        net.step()
    assert client.closed is not None
    assert client.closed.error is not None
    assert client.closed.error.condition == "amqp:resource-limit-exceeded"
    assert net.container.store.bytes == 0
    honest.send(honest.sender("q"), "a")
    assert net.waiting("q") == ["a"]


def test_a_consumer_that_settles_nothing_gets_no_more_than_a_session_may_have() -> None:
    net = Net(max_unsettled=3)
    client = Client(net)
    link = client.receiver("q", credit=100)
    client.send(client.sender("q"), *"abcdef")
    assert client.texts(link) == list("abc")
    client.got(link)[1].settle(ACCEPTED)
    net.step()
    assert client.texts(link) == list("abcd")
    link.flow(96, drain=True)
    net.step()
    assert link.credit == 0


# -- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["secret", "/queues/secret", "%73ecret", "/queues/%73ecret", "secret.dlq"])
@pytest.mark.parametrize("refused", ["secret", "/queues/secret"])
def test_a_refused_address_is_refused_however_it_is_written(address: str, refused: str) -> None:
    net = Net(refuse=[refused])
    client = Client(net)
    assert client.error(client.sender(address)) == "amqp:unauthorized-access"
    assert client.error(client.receiver(address)) == "amqp:unauthorized-access"
    relay = client.sender(None, "relay")
    client.send(relay, Message(properties=Properties(to=address), value="x").encode())
    assert outcomes(client) == ["rejected"]
    assert net.container.queues == {}


@pytest.mark.parametrize("address", ["x", "x.dlq", "/queues/x.dlq", "%78.dlq", "known.dlq.dlq", ".dlq"])
def test_nothing_is_made_without_auto_create_however_it_is_written(address: str) -> None:
    net = Net(auto_create=False, queues=["known"])
    client = Client(net)
    assert client.error(client.sender(address)) == "amqp:not-found"
    assert client.receiver("known.dlq").attached  # what is rejected from a queue that exists can be looked at
    assert sorted(net.container.queues) == ["known", "known.dlq"]


@given(st.text(min_size=1, max_size=20))
def test_every_name_has_an_address_that_leads_to_it(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    for topic in (False, True):
        assert parse_address(str(Address(name, topic))) == Address(name, topic)


@pytest.mark.parametrize("address", ["", "/queues/", "/topics/", None, 7, b"q"])
def test_an_address_that_names_nothing_is_an_invalid_field(address: Any) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_address(address)
    assert caught.value.condition == "amqp:invalid-field"


# -- who gets in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("users", [{"user": "secret", "boss": "other"}, None])
@pytest.mark.parametrize(("identity", "accepted"), [("", True), ("user", True), ("boss", False), ("user ", False)])
def test_nobody_acts_for_somebody_else(users: dict[str, str] | None, identity: str, accepted: bool) -> None:
    container = BrokerContainer(users=users)
    broker = container.accept()
    engine = Engine(
        EndpointRole.CLIENT, container_id="c", sasl=SaslClient([PlainMechanism("user", "secret", identity)])
    )
    engine.start(0)
    events: list[Any] = []
    for _ in range(5):
        if out := b"".join(engine.data_to_send(0)):
            broker.receive(out)
        if back := b"".join(broker.engine.data_to_send(0)):
            events += engine.receive_data(back, 0)
    assert engine.authenticated is accepted
    assert any(isinstance(event, ConnectionFailed) for event in events) is not accepted
    assert broker.login_refused is not accepted


# -- damage ----------------------------------------------------------------------------------------------------------

MESSAGES = [
    body("text"),
    body("text", properties=Properties(message_id="id", absolute_expiry_time=None, subject="s")),
    Message(
        header=Header(durable=True, ttl=UInt(1000), delivery_count=UInt(1)),
        message_annotations={Symbol("x-opt-a"): 1},
        properties=Properties(message_id=UInt(1), to="q", group_id="g", reply_to_group_id="r"),
        application_properties={"a": 1, "b": "c", "d": None, "e": True},
        data=b"x" * 300,
        footer={Symbol("f"): 1},
    ).encode(),
]


def hurt(payload: bytes) -> None:
    """Take a message through everything that the broker does with one."""
    net = Net()
    client = Client(net)
    out, relay = client.sender("q"), client.sender(None, "relay")
    link = client.receiver("q", credit=10)
    browser = client.receiver("q", "browser", credit=100, mode="copy")
    client.send(out, payload)
    client.send(relay, payload)
    assert outcomes(client)[0] == "accepted"
    client.got(link)[0].settle(Modified(delivery_failed=True, message_annotations=Map([(Symbol("x"), "y")])))
    net.step()
    client.got(link)[-1].settle(Rejected(error=Error(condition=Symbol("a:b"), description="c")))
    net.step()
    client.receiver("q.dlq", "dead", credit=10)
    assert client.closed is None
    assert not any(isinstance(event, (SessionEnded, LinkDetached)) for event in client.events)
    assert browser.attached
    honest = Client(net)
    honest.send(honest.sender("q", "after"), "fine")
    waiting = [message.payload for message in net.container.queues["q"].messages]
    assert body("fine") in [*waiting, *(delivery.payload for delivery in client.got(link))]


@pytest.mark.parametrize(
    "payload", [b"\x00\x53\x73\xc0", b"\x00\x53\x73\xc0\x00", b"\x00\x53\x70\xd0", b"", b"\x00", b"\xff" * 9]
)
def test_a_message_that_is_cut_short_does_not_hurt_the_broker(payload: bytes) -> None:
    hurt(payload)


@pytest.mark.parametrize("message", MESSAGES, ids=["value", "properties", "all sections"])
def test_a_message_that_is_cut_anywhere_does_not_hurt_the_broker(message: bytes) -> None:
    step = 1 if len(message) < 100 else 3
    for size in range(0, len(message), step):
        hurt(message[:size])


def test_damaged_messages_do_not_hurt_the_broker() -> None:
    chance = random.Random(12)
    for _ in range(250):
        message = bytearray(chance.choice(MESSAGES))
        for _ in range(chance.choice((1, 1, 2, 5))):
            message[chance.randrange(min(len(message), 120))] = chance.choice(
                (0, 0x40, 0x45, 0x53, 0xC0, 0xD1, 0xFF, chance.randrange(256))
            )
        hurt(bytes(message))


@given(st.binary(max_size=60))
def test_nonsense_does_not_hurt_the_broker(payload: bytes) -> None:
    hurt(payload)

"""Topics, subscriptions, filters, streams, dynamic nodes, names of links and containers: by engines in memory."""

from __future__ import annotations

from typing import Any

import pytest

from amqp10.codec import Described, Symbol, Timestamp, ULong
from amqp10.engine import DeliveriesUpdated, LinkAttached, LinkDetached, ReceiverLink, SessionEnded
from amqp10.wire.message import Message
from amqp10.wire.messaging import (
    ACCEPTED,
    RELEASED,
    DeleteOnClose,
    DeleteOnNoLinks,
    DeleteOnNoLinksOrMessages,
    DeleteOnNoMessages,
    DeliveryState,
    ExpiryPolicy,
    Modified,
    Properties,
    Rejected,
    Source,
    Target,
    TerminusDurability,
)
from amqp10.wire.performatives import SenderSettleMode
from tests.broker.support import Client, Net, body

SELECTOR = Symbol("apache.org:selector-filter:string")
NO_LOCAL = Symbol("apache.org:no-local-filter:list")
DURABLE: dict[str, Any] = {"durable": TerminusDurability.UNSETTLED_STATE, "expiry_policy": ExpiryPolicy.NEVER}
TOPIC = (Symbol("topic"),)
SHARED = (Symbol("topic"), Symbol("shared"))
GLOBAL = (Symbol("topic"), Symbol("shared"), Symbol("global"))


def coloured(colour: str, text: str = "x") -> bytes:
    return body(text, application_properties={"colour": colour})


def selector(text: str) -> dict[str, Any]:
    return {"jms-selector": Described(SELECTOR, text)}


def source_of(link: ReceiverLink) -> Source:
    assert isinstance(link.source, Source)
    return link.source


# -- topics ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "capabilities"), [("/topics/a%2Fb", ()), ("a/b", TOPIC), ("a%2Fb", (Symbol("temporary-topic"),))]
)
def test_every_subscriber_of_a_topic_gets_every_message(address: str, capabilities: tuple[Symbol, ...]) -> None:
    net = Net()
    client, other = Client(net), Client(net)
    links = [client.receiver(address, str(n), 10, capabilities=capabilities) for n in range(2)]
    third = other.receiver("/topics/a%2Fb", "third", 10)
    client.send(client.sender(address, capabilities=capabilities), "x", "y")
    assert [client.texts(link) for link in links] == [["x", "y"]] * 2
    assert other.texts(third) == ["x", "y"]
    assert net.container.queues == {}
    for link in (*links, third):
        link.detach()
    net.step()
    assert net.container.topics["a/b"].subscriptions == {}
    assert net.container.store.bytes == 0


def test_a_topic_and_a_queue_of_one_name_are_two_nodes() -> None:
    net = Net()
    client = Client(net)
    link = client.receiver("/topics/n", credit=10)
    client.send(client.sender("n", "queue"), "for the queue")
    client.send(client.sender("n", "topic", capabilities=TOPIC), "for the topic")
    assert client.texts(link) == ["for the topic"]
    assert net.waiting("n") == ["for the queue"]


def test_a_topic_without_subscribers_takes_messages_and_keeps_none() -> None:
    net = Net()
    client = Client(net)
    client.send(client.sender("/topics/t"), "x")
    assert client.texts(client.receiver("/topics/t", credit=10)) == []
    assert net.container.store.bytes == 0


def test_an_anonymous_producer_reaches_a_topic_by_address_and_by_the_annotation_of_jms() -> None:
    net = Net()
    client = Client(net)
    link = client.receiver("/topics/t", credit=10)
    out = client.sender(None)
    client.send(out, body("one", properties=Properties(to="/topics/t")))
    annotated = {Symbol("x-opt-jms-dest"): 1}
    client.send(out, body("two", properties=Properties(to="t"), message_annotations=annotated))
    client.send(out, body("queue", properties=Properties(to="t"), message_annotations={Symbol("x-opt-jms-dest"): 0}))
    assert client.texts(link) == ["one", "two"]
    assert net.waiting("t") == ["queue"]


def test_a_subscriber_that_is_slow_fills_its_own_queue_only() -> None:
    net = Net(max_queue_length=2)
    client = Client(net)
    slow, fast = client.receiver("/topics/t", "slow"), client.receiver("/topics/t", "fast", 10)
    client.send(client.sender("/topics/t"), "a", "b")
    client.send(client.sender("/topics/t", "more"), "c", "d")
    assert client.texts(fast) == list("abcd")
    slow.flow(10)
    net.step()
    assert client.texts(slow) == ["a", "b"]


def test_refuse_and_auto_create_apply_to_topics() -> None:
    net = Net(auto_create=False, topics=["known"], refuse=["secret", "/topics/%68idden"])
    client = Client(net)
    assert client.sender("/topics/known", "1").attached
    assert client.error(client.sender("/topics/unknown", "2")) == "amqp:not-found"
    assert client.error(client.sender("secret", "3", capabilities=TOPIC)) == "amqp:unauthorized-access"
    assert client.error(client.receiver("/topics/secret", "4")) == "amqp:unauthorized-access"
    assert client.error(client.receiver("hidden", "5", capabilities=TOPIC)) == "amqp:unauthorized-access"
    assert client.error(client.receiver("hidden", "6")) == "amqp:not-found"  # which would be a queue


def test_a_node_that_is_to_be_a_topic_and_a_queue_is_refused() -> None:
    client = Client(Net())
    link = client.receiver("n", capabilities=(Symbol("topic"), Symbol("queue")))
    assert client.error(link) == "amqp:invalid-field"


# -- filters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["q", "/topics/t"])
def test_a_selector_is_answered_and_selects(address: str) -> None:
    net = Net()
    client = Client(net)
    wanted = {**selector("colour = 'red'"), "unknown": Described(Symbol("x:y"), 1)}
    red = client.receiver(address, "red", 10, filters=wanted)
    assert source_of(red).filter == {Symbol("jms-selector"): Described(SELECTOR, "colour = 'red'")}
    client.send(client.sender(address), coloured("red", "1"), coloured("blue", "2"), body("3"), coloured("red", "4"))
    assert client.texts(red) == ["1", "4"]


def test_what_a_selector_passes_over_stays_for_others_in_order() -> None:
    net = Net()
    client = Client(net)
    client.send(client.sender("q"), *(coloured("red" if n % 3 == 0 else "blue", str(n)) for n in range(9)))
    red = client.receiver("q", "red", 10, filters=selector("colour = 'red'"))
    assert client.texts(red) == ["0", "3", "6"]
    for delivery in client.got(red):
        delivery.settle(ACCEPTED)
    assert client.texts(client.receiver("q", "all", 4)) == ["1", "2", "4", "5"]


def test_a_message_that_comes_back_is_found_again_by_those_that_have_passed_it() -> None:
    net = Net()
    client = Client(net)
    client.send(client.sender("q"), coloured("red", "first"), coloured("blue", "second"))
    one = client.receiver("q", "one", 1, filters=selector("colour = 'red'"))
    two = client.receiver("q", "two", 5, filters=selector("colour IN ('red', 'green')"))
    assert client.texts(two) == []
    client.got(one)[0].settle(RELEASED)
    net.step()
    assert client.texts(two) == ["first"]


def test_a_selector_that_matches_nothing_is_looked_at_in_bounded_steps() -> None:
    net = Net()
    client = Client(net)
    out = client.sender("q")
    for _ in range(4):
        client.send(out, *([coloured("blue")] * 250))
    queue = net.container.queues["q"]
    link = client.receiver("q", "red", filters=selector("colour = 'red'"))
    link.flow(10)
    client.broker.receive(b"".join(client.engine.data_to_send(0)))
    (consumer,) = queue.consumers
    seen = consumer.position
    assert 0 < seen < 1000
    assert net.container.work()  # there is more to do
    net.step()
    assert consumer.position == 1000
    assert not net.container.work()
    client.send(out, coloured("red", "at last"))
    assert client.texts(link) == ["at last"]


def test_a_drain_is_answered_when_the_whole_queue_has_been_looked_at() -> None:
    net = Net()
    client = Client(net)
    out = client.sender("q")
    for _ in range(3):
        client.send(out, *([coloured("blue")] * 250))
    client.send(out, coloured("red", "last"))
    link = client.receiver("q", "red", filters=selector("colour = 'red'"))
    link.flow(10, drain=True)
    net.step()
    assert client.texts(link) == ["last"]
    assert link.credit == 0


def test_a_malformed_selector_refuses_the_link() -> None:
    client = Client(Net())
    assert client.error(client.receiver("q", filters=selector("colour ="))) == "amqp:invalid-field"
    assert (
        client.error(client.receiver("/topics/t", "t", filters={"s": Described(SELECTOR, 7)})) == "amqp:invalid-field"
    )


@pytest.mark.parametrize("address", ["q", "/topics/t"])
def test_no_local_leaves_out_what_the_same_connection_sent(address: str) -> None:
    net = Net()
    client, other = Client(net), Client(net)
    filters = {"no-local": Described(ULong(0x0000468C00000003), [])}
    link = client.receiver(address, credit=10, filters=filters)
    assert Symbol("no-local") in (source_of(link).filter or {})
    client.send(client.sender(address), "own")
    other.send(other.sender(address), "foreign")
    assert client.texts(link) == ["foreign"]


def test_a_browser_sees_what_it_selects_and_takes_nothing() -> None:
    net = Net()
    client = Client(net)
    client.send(client.sender("q"), coloured("red", "1"), coloured("blue", "2"))
    browser = client.receiver("q", credit=10, mode="copy", filters=selector("colour = 'blue'"))
    assert source_of(browser).distribution_mode == "copy"
    assert client.texts(browser) == ["2"]
    assert net.waiting("q") == ["1", "2"]


# -- subscriptions ---------------------------------------------------------------------------------------------------


def test_a_durable_subscription_gets_what_comes_while_its_subscriber_is_away() -> None:
    net = Net()
    publisher = Client(net)
    out = publisher.sender("/topics/t")
    client = Client(net, container_id="me")
    link = client.receiver("t", "sub", 10, capabilities=TOPIC, **DURABLE)
    source = source_of(link)
    assert (source.durable, source.expiry_policy) == (TerminusDurability.UNSETTLED_STATE, ExpiryPolicy.NEVER)
    publisher.send(out, "a")
    client.got(link)[0].settle(ACCEPTED)
    link.detach(closed=False)
    net.step()
    publisher.send(out, "b")
    client.close()
    publisher.send(out, "c")
    again = Client(net, container_id="me")
    assert again.texts(again.receiver("t", "sub", 10, capabilities=TOPIC, **DURABLE)) == ["b", "c"]
    stranger = Client(net, container_id="somebody else")
    assert stranger.texts(stranger.receiver("t", "sub", 10, capabilities=TOPIC, **DURABLE)) == []


def test_what_a_lost_subscriber_had_not_settled_is_there_again() -> None:
    net = Net()
    client = Client(net, container_id="me")
    client.receiver("/topics/t", "sub", 10, **DURABLE)
    publisher = Client(net)
    publisher.send(publisher.sender("/topics/t"), "a")
    client.vanish()
    again = Client(net, container_id="me")
    link = again.receiver("/topics/t", "sub", 10, **DURABLE)
    (delivery,) = again.got(link)
    header = Message.decode(delivery.payload).header
    assert header is not None
    assert (header.delivery_count, header.first_acquirer) == (1, False)


def test_closing_the_link_of_a_durable_subscription_ends_it() -> None:
    net = Net()
    client = Client(net, container_id="me")
    client.receiver("/topics/t", "sub", **DURABLE).detach(closed=True)
    net.step()
    assert net.container.subscriptions == {}
    assert net.container.topics["t"].subscriptions == {}


def test_another_filter_makes_a_durable_subscription_anew() -> None:
    net = Net()
    client = Client(net, container_id="me")
    link = client.receiver("/topics/t", "sub", filters=selector("colour = 'red'"), **DURABLE)
    link.detach(closed=False)
    net.step()
    client.send(client.sender("/topics/t"), coloured("red", "old"), coloured("blue", "never"))
    again = client.receiver("/topics/t", "sub", 10, filters=selector("colour = 'blue'"), **DURABLE)
    client.send(client.sender("/topics/t", "second"), coloured("blue", "new"), coloured("red", "not"))
    assert client.texts(again) == ["new"]
    assert net.container.store.bytes == sum(s.queue.bytes for s in net.container.subscriptions.values())


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("everybody", [True, False])
def test_consumers_of_a_shared_subscription_share_its_messages(durable: bool, everybody: bool) -> None:
    net = Net()
    capabilities = GLOBAL if everybody else SHARED
    options: dict[str, Any] = {"capabilities": capabilities, **(DURABLE if durable else {})}
    client = Client(net, container_id="me")
    other = Client(net, container_id="other") if everybody else client
    one = client.receiver("t", "sub|global" if everybody else "sub", 10, desired=("SHARED-SUBS",), **options)
    two = other.receiver("t", "sub|2", 10, **options)
    assert one.remote_attach is not None
    assert one.remote_attach.offered_capabilities == ("SHARED-SUBS",)
    alone = client.receiver("t", "alone", 10, capabilities=TOPIC)
    client.send(client.sender("/topics/t"), *"abcd")
    assert client.texts(alone) == list("abcd")
    assert sorted(client.texts(one) + other.texts(two)) == list("abcd")
    assert len(client.texts(one)) == 2
    for link in (one, two):
        link.detach(closed=not durable)
        net.step()
    client.send(client.sender("/topics/t", "late"), "e")
    third = other.receiver("t", "sub|3", 10, **options)
    assert [text for text in other.texts(third) if text == "e"] == (["e"] if durable else [])


def test_a_shared_subscription_in_use_is_not_replaced() -> None:
    net = Net()
    client = Client(net)
    client.receiver("t", "sub", 10, capabilities=SHARED, filters=selector("colour = 'red'"))
    second = client.receiver("t", "sub|2", capabilities=SHARED, filters=selector("colour = 'blue'"))
    assert client.error(second) == "amqp:resource-locked"
    third = client.receiver("other", "sub|3", capabilities=SHARED)
    assert client.error(third) == "amqp:resource-locked"


@pytest.mark.parametrize("shared", [True, False])
def test_a_subscription_ends_as_jms_ends_it_by_a_link_without_a_source(shared: bool) -> None:
    net = Net()
    client = Client(net, container_id="me")
    capabilities = GLOBAL if shared else TOPIC
    name = "sub|global" if shared else "sub"
    desired = ("shared", "global") if shared else ()
    client.receiver("t", name, capabilities=capabilities, **DURABLE).detach(closed=False)
    net.step()
    again = Client(net, container_id="me")
    link = again.session.attach_receiver(name, source=None, target=Target(), desired_capabilities=desired)
    net.step()
    assert link.attached
    assert link.remote_attach is not None
    assert link.remote_attach.source.address == "/topics/t"
    assert len(net.container.subscriptions) == 1
    link.detach(closed=True)
    net.step()
    assert net.container.subscriptions == {}
    gone = again.session.attach_receiver(name, source=None, target=Target(), desired_capabilities=desired)
    net.step()
    assert again.error(gone) == "amqp:not-found"


def test_a_subscription_in_use_cannot_be_ended_by_others() -> None:
    net = Net()
    client = Client(net, container_id="me")
    client.receiver("t", "sub|1", capabilities=GLOBAL, **DURABLE)
    link = client.session.attach_receiver(
        "sub|global", source=None, target=Target(), desired_capabilities=("shared", "global")
    )
    net.step()
    assert client.error(link) == "amqp:resource-locked"


def test_rejected_messages_of_a_subscription_go_to_the_dead_letters_of_the_topic() -> None:
    net = Net()
    client = Client(net)
    link = client.receiver("/topics/t", credit=10)
    client.send(client.sender("/topics/t"), "bad")
    client.got(link)[0].settle(Rejected())
    net.step()
    assert net.waiting("t.dlq") == ["bad"]


def test_durability_of_a_queue_is_not_promised() -> None:
    net = Net()
    client = Client(net)
    link = client.receiver("q", "sub", **DURABLE)
    assert source_of(link).durable == TerminusDurability.NONE
    assert source_of(link).expiry_policy != ExpiryPolicy.NEVER


# -- dynamic nodes ---------------------------------------------------------------------------------------------------


def policy(cls: Any) -> dict[str, Any]:
    return {"dynamic_node_properties": {Symbol("lifetime-policy"): cls()}}


def attach_dynamic(client: Client, name: str, cls: Any, capabilities: tuple[Symbol, ...] = ()) -> tuple[Any, str]:
    target = Target(dynamic=True, capabilities=capabilities, **policy(cls))
    link = client.session.attach_sender(name, source=Source(), target=target)
    client.net.step()
    assert isinstance(link.target, Target)
    given = (link.target.dynamic_node_properties or {})[Symbol("lifetime-policy")]
    assert getattr(given, "descriptor", None) == cls.DESCRIPTOR_CODE or isinstance(given, cls)
    return link, str(link.target.address)


@pytest.mark.parametrize("cls", [DeleteOnClose, DeleteOnNoLinks, DeleteOnNoMessages, DeleteOnNoLinksOrMessages])
@pytest.mark.parametrize("end", ["detach", "close", "vanish"])
def test_a_dynamic_node_lives_as_long_as_its_policy_says(cls: Any, end: str) -> None:
    net = Net()
    client, other = Client(net), Client(net)
    out, name = attach_dynamic(client, "out", cls)
    client.send(out, "x")
    link = other.receiver(name, credit=1)
    if end == "detach":
        out.detach()
        net.step()
    else:
        getattr(client, end)()
    if cls is DeleteOnClose:
        assert name not in net.container.queues
        assert other.error(link) == "amqp:resource-deleted"
        return
    assert name in net.container.queues
    other.got(link)[0].settle(ACCEPTED)
    net.step()
    assert (name in net.container.queues) is (cls is not DeleteOnNoMessages)
    link.detach()
    net.step()
    assert name not in net.container.queues
    assert net.container.store.bytes == 0


@pytest.mark.parametrize("cls", [DeleteOnNoMessages, DeleteOnNoLinksOrMessages])
def test_a_dynamic_node_with_messages_waits_for_them_to_go(cls: Any) -> None:
    net = Net()
    client = Client(net)
    out, name = attach_dynamic(client, "out", cls)
    client.send(out, "x")
    out.detach()
    net.step()
    assert net.waiting(name) == ["x"]
    link = client.receiver(name, credit=1)
    client.got(link)[0].settle(ACCEPTED)
    link.detach()
    net.step()
    assert name not in net.container.queues


def test_a_temporary_topic_is_one_and_ends_with_its_link() -> None:
    net = Net()
    client, other = Client(net), Client(net)
    creator, address = attach_dynamic(client, "creator", DeleteOnClose, (Symbol("temporary-topic"),))
    links = [client.receiver(address, str(n), 5) for n in range(2)]
    other.send(other.sender(address), "x")
    assert [client.texts(link) for link in links] == [["x"], ["x"]]
    creator.detach()
    net.step()
    assert net.container.topics == {}
    assert client.error(links[0]) == "amqp:resource-deleted"


def test_a_dynamic_node_is_found_under_its_address_whatever_its_link_is_called() -> None:
    net = Net()
    client = Client(net)
    link = client.session.attach_receiver("/queues/a%20b ä", source=Source(dynamic=True), target=Target())
    net.step()
    address = source_of(link).address
    link.flow(1)
    client.send(client.sender(str(address)), "x")
    assert client.texts(link) == ["x"]


@pytest.mark.parametrize("kind", ["temporary-queue", "temporary-topic"])
def test_a_dynamic_node_that_has_gone_is_not_made_anew_by_those_who_look_for_it(kind: str) -> None:
    net = Net()
    client = Client(net)
    creator, address = attach_dynamic(client, "creator", DeleteOnClose, (Symbol(kind),))
    creator.detach()
    net.step()
    assert client.error(client.sender(address, "late")) == "amqp:not-found"
    assert not net.container.queues
    assert not net.container.topics


def test_a_lifetime_policy_that_is_none_is_refused() -> None:
    client = Client(Net())
    link = client.receiver(None, dynamic_node_properties={Symbol("lifetime-policy"): Described(ULong(0x2F), [])})
    assert client.error(link) == "amqp:invalid-field"


# -- streams ---------------------------------------------------------------------------------------------------------


def offset(value: Any) -> dict[str, Any]:
    return {"rabbitmq:stream-offset-spec": Described(Symbol("rabbitmq:stream-offset-spec"), value)}


def stream(net: Net, client: Client, count: int = 5) -> None:
    out = client.sender("s", "filler")
    for number in range(count):
        net.now = float(number * 10)
        client.send(out, str(number))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("first", "01234"),
        ("last", "4"),
        ("next", ""),
        (ULong(3), "34"),
        (ULong(99), ""),
        (Timestamp(15_000), "234"),
        (Timestamp(0), "01234"),
        (Timestamp(99_000), ""),
        ("20s", "234"),
        (None, ""),
    ],
)
def test_a_stream_is_read_from_where_its_consumer_wants(where: Any, expected: str) -> None:
    net = Net(streams=["s"])
    client = Client(net)
    stream(net, client)
    link = client.receiver("s", credit=100, filters=offset(where) if where is not None else None)
    assert "".join(client.texts(link)) == expected
    client.send(client.sender("s"), "new")
    assert client.texts(link) == [*expected, "new"]


def test_messages_of_a_stream_stay_and_have_their_offsets() -> None:
    net = Net(streams=["s"])
    client = Client(net)
    stream(net, client)
    for turn in range(2):
        link = client.receiver("s", str(turn), 100, filters=offset("first"))
        deliveries = client.got(link)
        annotations = [Message.decode(delivery.payload).message_annotations or {} for delivery in deliveries]
        assert [int(pairs["x-stream-offset"]) for pairs in annotations] == [0, 1, 2, 3, 4]
        assert not any(delivery.settled for delivery in deliveries)
        outcomes: list[DeliveryState] = [ACCEPTED, RELEASED, Rejected(), Modified(), ACCEPTED]
        for delivery, outcome in zip(deliveries, outcomes, strict=True):
            delivery.settle(outcome)
        net.step()
    assert list(net.container.queues) == ["s"]
    assert len(net.waiting("s")) == 5


def test_a_full_stream_loses_its_oldest_messages() -> None:
    net = Net(streams=["s"], max_queue_length=3)
    client = Client(net)
    stream(net, client)
    assert client.texts(client.receiver("s", credit=10, filters=offset("first"))) == ["2", "3", "4"]
    assert client.texts(client.receiver("s", "early", credit=10, filters=offset(ULong(0)))) == ["2", "3", "4"]


def test_a_message_that_is_larger_than_its_stream_does_not_push_out_the_others() -> None:
    net = Net(streams=["s"], max_queue_bytes=5000)
    client = Client(net)
    stream(net, client)
    client.send(client.sender("s", "large"), "x" * 5000)
    outcomes = [event.state for event in client.events if isinstance(event, DeliveriesUpdated)]
    assert isinstance(outcomes[-1], Rejected)
    assert client.texts(client.receiver("s", credit=10, filters=offset("first"))) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("wanted", "unfiltered", "expected"),
    [("a", False, ["a"]), ("a", True, ["a", "none"]), (["a", "b"], False, ["a", "b"]), (["z"], True, ["none"])],
)
def test_a_stream_filter_passes_on_what_was_published_with_its_values(
    wanted: Any, unfiltered: bool, expected: list[str]
) -> None:
    net = Net(streams=["s"])
    client = Client(net)
    out = client.sender("s")
    for value in "abc":
        client.send(out, body(value, message_annotations={Symbol("x-stream-filter-value"): value}))
    client.send(out, "none")
    filters = {
        **offset("first"),
        "rabbitmq:stream-filter": Described(Symbol("rabbitmq:stream-filter"), wanted),
        "rabbitmq:stream-match-unfiltered": Described(Symbol("rabbitmq:stream-match-unfiltered"), unfiltered),
    }
    link = client.receiver("s", credit=10, filters=filters)
    assert set(source_of(link).filter or {}) == {Symbol(name) for name in filters}
    assert client.texts(link) == expected


def test_a_wrong_offset_refuses_the_link_and_a_queue_has_none() -> None:
    client = Client(Net(streams=["s"]))
    assert client.error(client.receiver("s", filters=offset("middle"))) == "amqp:invalid-field"
    assert source_of(client.receiver("q", "q", filters=offset("first"))).filter is None


# -- names -----------------------------------------------------------------------------------------------------------


def test_a_link_name_is_taken_over_from_another_connection_of_the_container() -> None:
    net = Net()
    first, second = Client(net, container_id="same"), Client(net, container_id="same")
    stranger = Client(net, container_id="other")
    kept = stranger.receiver("q", "in", 10)
    old = first.receiver("q", "in", 10)
    first.send(first.sender("q"), "a", "b")
    assert len(first.texts(old)) == 1
    new = second.receiver("q", "in", 10)
    assert first.error(old) == "amqp:link:stolen"
    assert kept.attached
    assert new.attached
    assert second.texts(new) + stranger.texts(kept) in (["b", "a"], ["a", "b"])  # what the old one had not settled
    assert first.session.mapped
    out = second.sender("q", "out")
    assert out.attached


def test_a_link_name_is_taken_over_from_another_session() -> None:
    net = Net()
    client = Client(net)
    out = client.sender("q", "name")
    client.session = client.engine.begin()
    net.step()
    again = client.sender("q", "name")
    assert client.error(out) == "amqp:link:stolen"
    assert again.attached
    link = client.receiver("q", "name")  # the other direction is another name
    assert link.attached
    again.detach()
    link.detach()
    net.step()
    assert net.container.links == {}


SOLE = ("sole-connection-for-container",)


def test_a_container_id_is_exclusive_if_a_client_wants_it_so() -> None:
    net = Net()
    first = Client(net, container_id="me", desired_capabilities=SOLE)
    opened = first.engine.remote_open
    assert opened is not None
    assert SOLE[0] in opened.offered_capabilities
    for desired in (SOLE, ()):
        second = Client.__new__(Client)
        with pytest.raises(Exception, match="not open"):
            second.__init__(net, container_id="me", desired_capabilities=desired)  # type: ignore[misc]
        opened = second.engine.remote_open
        assert opened is not None
        assert opened.properties is not None
        assert opened.properties["amqp:connection-establishment-failed"] is True
        assert second.closed is not None
        error = second.closed.error
        assert error is not None
        assert error.condition == "amqp:invalid-field"
        assert error.info == {"invalid-field": "container-id"}
    assert Client(net, container_id="other", desired_capabilities=SOLE).session.mapped
    first.close()
    assert Client(net, container_id="me", desired_capabilities=SOLE).session.mapped


def test_a_client_may_want_older_connections_of_its_container_closed() -> None:
    net = Net()
    first = Client(net, container_id="me", desired_capabilities=SOLE)
    second = Client(
        net,
        container_id="me",
        desired_capabilities=SOLE,
        properties={"sole-connection-enforcement-policy": ULong(1)},
    )
    assert second.session.mapped
    assert first.closed is not None
    assert first.closed.error is not None
    assert first.closed.error.condition == "amqp:resource-locked"
    assert net.container.containers == {"me": {second.broker: None}}


def test_container_ids_are_shared_by_those_that_do_not_mind() -> None:
    net = Net()
    assert Client(net, container_id="me").session.mapped
    assert Client(net, container_id="me").session.mapped


# -- delivery counts -------------------------------------------------------------------------------------------------


def test_failed_deliveries_are_counted_and_released_ones_are_not() -> None:
    net = Net()
    client = Client(net)
    client.send(client.sender("q"), "x")
    counts = []
    for turn, state in enumerate((RELEASED, Modified(delivery_failed=True), Modified(), RELEASED, None, None)):
        link = client.receiver("q", f"in {turn}", 1)
        (delivery,) = client.got(link)
        header = Message.decode(delivery.payload).header
        counts.append(int((header and header.delivery_count) or 0))
        if state is not None:
            delivery.settle(state)
        net.step()
        link.detach()
        net.step()
    assert counts == [0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize("address", ["q", "/topics/t"])
@pytest.mark.parametrize("end", ["settle", "detach", "vanish"])
@pytest.mark.parametrize(
    ("default", "expected"),
    [(None, "waits"), (ACCEPTED, "gone"), (RELEASED, "waits"), (Modified(delivery_failed=True), "waits counted")],
)
def test_what_is_settled_without_an_outcome_has_the_default_outcome(
    default: Any, expected: str, end: str, address: str
) -> None:
    net = Net()
    client = Client(net, container_id="me")
    options = DURABLE if address != "q" else {}
    link = client.receiver(address, "sub", 1, default_outcome=default, **options)
    assert source_of(link).default_outcome == default
    client.send(client.sender(address), "x")
    (delivery,) = client.got(link)
    if end == "settle":
        client.session.dispositions.add(True, delivery.delivery_id, None, True)
        net.step()
        link.detach(closed=False)
    elif end == "detach":
        link.detach(closed=False)
    else:
        client.vanish()
    net.step()
    again = Client(net, container_id="me")
    found = again.got(again.receiver(address, "sub", 5, **options))
    assert len(found) == (expected != "gone")
    if found:
        header = Message.decode(found[0].payload).header
        counted = bool(header and header.delivery_count)
        # Without a wish of the client it counts as a failure that it went without a word.
        assert counted is ("counted" in expected or (default is None and end != "settle"))
    else:
        assert net.container.store.bytes == 0


# -- trouble on demand -----------------------------------------------------------------------------------------------


def test_links_and_sessions_and_messages_are_refused_on_demand_and_only_as_many() -> None:
    net = Net()
    client = Client(net)
    faults = net.container.faults
    faults.add("link", 1, "amqp:not-found", "for a test", "q")
    assert client.sender("other", "0").attached
    assert client.error(client.sender("q", "1")) == "amqp:not-found"
    out = client.sender("q", "2")
    assert out.attached
    faults.add("message", 2, "amqp:precondition-failed", "for a test", None)
    client.send(out, "a", "b", "c")
    assert net.waiting("q") == ["c"]
    faults.add("session", 1, "amqp:internal-error", "for a test", None)
    session = client.engine.begin()
    net.step()
    assert any(isinstance(event, SessionEnded) and event.session is session for event in client.events)
    assert client.engine.begin() is not session
    net.step()
    faults.add("link", 3, "a:b", "", None)
    faults.clear()
    assert client.sender("q", "3").attached
    with pytest.raises(ValueError, match="cannot be refused"):
        faults.add("weather", 1, "a:b", "", None)  # type: ignore[arg-type]


def test_settle_mode_settled_leaves_nothing_to_settle_whatever_the_source() -> None:
    net = Net(streams=["s"])
    client = Client(net)
    for address in ("q", "/topics/t", "s"):
        link = client.session.attach_receiver(
            address, source=Source(address=address), target=Target(), snd_settle_mode=SenderSettleMode.SETTLED
        )
        net.step()
        link.flow(5)
        client.send(client.sender(address, f"to {address}"), "x")
        (delivery,) = client.got(link)
        assert delivery.settled
    assert not any(isinstance(event, LinkDetached) for event in client.events)
    assert sum(isinstance(event, LinkAttached) for event in client.events) == 6

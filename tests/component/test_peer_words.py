"""What the peer says reaches the program: as attributes of the error, and in a text that cannot pass for another."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from amqp10 import AMQP, AMQPError
from amqp10.codec import Symbol, UInt
from amqp10.component.endpoints import address_hint
from amqp10.component.events import AMQPErrorEventParams
from amqp10.engine import Event, LinkRequested
from amqp10.engine.events import ConnectionOpened
from amqp10.engine.wire_errors import remote_error
from amqp10.errors import escaped
from amqp10.wire.performatives import Error
from tests.component.server import Peer, Server, client, refusal

WHERE = {
    Symbol("hostname"): "tenant-a",
    Symbol("network-host"): "10.1.2.3",
    Symbol("port"): UInt(5673),
    Symbol("address"): "queue-b",
}


def error_of(condition: str, info: dict[Any, Any] | None) -> AMQPError:
    error = remote_error(Error(condition=Symbol(condition), description="moved", info=info), "the peer closed")
    assert error is not None
    return error


@pytest.mark.parametrize("condition", ["amqp:connection:redirect", "amqp:link:redirect"])
def test_a_redirect_names_host_port_and_address_in_its_text_and_in_its_info(condition: str) -> None:
    error = error_of(condition, WHERE)
    for part in ("10.1.2.3", "5673", "tenant-a", "queue-b"):
        assert part in error.message
    assert (error.condition, error.description, error.info) == (condition, "moved", WHERE)


@pytest.mark.parametrize("info", [None, {}, {Symbol("port"): "five"}, {Symbol("elsewhere"): 1}])
def test_a_redirect_that_does_not_say_where_to_is_reported_all_the_same(info: dict[Any, Any] | None) -> None:
    assert error_of("amqp:link:redirect", info).message.startswith("the peer closed: amqp:link:redirect: moved")


@pytest.mark.parametrize("char", ["\n", "\r", "\x1b", "\0", "\x7f", "\u202e", "\u2028", "\ud800"])
def test_no_character_of_the_peer_can_forge_a_line_or_a_colour_in_a_text(char: str) -> None:
    error = remote_error(Error(condition=Symbol("x:y"), description=f"one{char}two"), "the peer closed")
    assert error is not None
    assert char not in error.message + str(error)
    assert escaped(f"one{char}two") in error.message
    assert error.description == f"one{char}two", "the attribute has the peer's own words"


def test_text_without_such_characters_is_left_alone() -> None:
    assert escaped("queue 'größe' 日本 is gone") == "queue 'größe' 日本 is gone"


def test_an_ended_link_goes_on_telling_condition_description_and_info() -> None:
    with Server() as server:
        amqp = client(server, "out>")
        seen: list[AMQPErrorEventParams] = []
        amqp.on_error = seen.append
        error = refusal("amqp:link:redirect", "moved")
        server.do(lambda peer: peer.link("out").detach(error=error))
        while not seen:
            amqp.do_events()
        with pytest.raises(AMQPError) as caught:
            amqp.send_message("out")
        assert (caught.value.condition, caught.value.description) == ("amqp:link:redirect", "moved")
        amqp.disconnect()


def test_attributes_of_an_error_survive_copies() -> None:
    error = error_of("amqp:link:redirect", WHERE)
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (twin.condition, twin.description, twin.info) == (error.condition, error.description, error.info)


# -- a link or session that ends while a call waits for it ------------------------------------------------------------


def no_such_queue(peer: Peer, event: Event) -> bool:
    """What RabbitMQ does for a missing queue: no attach comes back, the whole session ends."""
    if isinstance(event, LinkRequested):
        event.link.session.end(refusal("amqp:not-found", "no queue"))
        return True
    return False


def attached_and_gone(peer: Peer, event: Event) -> bool:
    """An attach that looks sound, and a detach with the reason behind it."""
    if isinstance(event, LinkRequested):
        peer.accept(event.link)
        event.link.detach(error=refusal("amqp:not-found", "no queue"))
        return True
    return False


def refused(peer: Peer, event: Event) -> bool:
    """An attach without a terminus, and the detach that says why."""
    if isinstance(event, LinkRequested):
        event.link.refuse(refusal("amqp:not-found", "no queue"))
        return True
    return False


@pytest.mark.parametrize("hook", [no_such_queue, attached_and_gone, refused])
@pytest.mark.parametrize("create", ["create_sender_link", "create_receiver_link"])
def test_a_link_to_a_missing_queue_is_reported_by_the_exception_alone(create: str, hook: Any) -> None:
    with Server() as server:
        amqp = client(server)
        seen: list[AMQPErrorEventParams] = []
        amqp.on_error = seen.append
        server.hooks.append(hook)
        with pytest.raises(AMQPError) as caught:
            getattr(amqp, create)("s", "x", "missing")
        assert (caught.value.code, caught.value.condition) == (600, "amqp:not-found")
        amqp.do_events()
        assert seen == []
        assert amqp.link_count == 0
        amqp.disconnect()


def test_the_end_of_another_link_meanwhile_still_fires_on_error() -> None:
    with Server() as server:
        amqp = client(server, "out>")
        seen: list[AMQPErrorEventParams] = []
        amqp.on_error = seen.append

        def hook(peer: Peer, event: Event) -> bool:
            if isinstance(event, LinkRequested):
                peer.link("out").detach(error=refusal("amqp:resource-deleted", "gone"))
            return False

        server.hooks.append(hook)
        amqp.create_sender_link("s", "other", "other")
        assert [event.description for event in seen] == ["the peer detached the link: amqp:resource-deleted: gone"]
        amqp.disconnect()


def test_the_end_of_a_session_after_its_links_are_there_fires_on_error() -> None:
    with Server() as server:
        amqp = client(server, "out>")
        seen: list[AMQPErrorEventParams] = []
        amqp.on_error = seen.append
        server.do(lambda peer: peer.link("out").session.end(refusal("amqp:internal-error", "over")))
        while not seen:
            amqp.do_events()
        amqp.disconnect()


# -- what RabbitMQ means ---------------------------------------------------------------------------------------------


def as_rabbitmq(peer: Peer) -> None:
    peer.engine.properties = {"product": "RabbitMQ"}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(
    ("product", "name", "warned"),
    [("RabbitMQ", "orders", True), ("RabbitMQ", "vhost:orders", False), ("RabbitMQ", "", False), ("qpid", "x", False)],
)
def test_a_virtual_host_that_rabbitmq_would_not_see_is_a_warning(
    product: str, name: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with Server() as server, AMQP() as amqp:
        server.first = lambda peer: setattr(peer.engine, "properties", {"product": product})
        logged: list[Any] = []
        amqp.on_log = logged.append
        amqp.config(f"VirtualHost={name}")
        amqp.connect_to(server.host, server.port)
        assert ["vhost:orders" in text for text in warnings(caplog)] == ([True] if warned else [])
        assert any("vhost:orders" in line.message for line in logged) is warned


def test_a_server_that_hangs_up_after_the_login_may_not_have_the_virtual_host() -> None:
    with Server(hold=["open"]) as server:

        def hang_up(peer: Peer, event: Event) -> bool:
            if isinstance(event, ConnectionOpened):
                peer.cut()
                return True
            return False

        server.hooks.append(hang_up)
        amqp = AMQP()
        amqp.config("VirtualHost=vhost:nowhere")
        with pytest.raises(AMQPError) as caught:
            amqp.connect_to(server.host, server.port)
        assert caught.value.code == 1120
        assert "right after the login" in caught.value.message
        assert "'vhost:nowhere'" in caught.value.message


@pytest.mark.parametrize(
    ("address", "suggested"),
    [
        ("/queues/my queue", "/queues/my%20queue"),
        ("/queues/a/b", "/queues/a%2Fb"),
        ("/queues/50%", "/queues/50%25"),
        ("/exchanges/amq.direct/my key", "/exchanges/amq.direct/my%20key"),
        ("/queue/x", "/queues/QUEUE"),
    ],
)
def test_an_address_that_is_not_percent_encoded_gets_the_rule(address: str, suggested: str) -> None:
    with Server() as server:
        server.first = as_rabbitmq
        amqp = client(server)

        def bad_address(peer: Peer, event: Event) -> bool:
            if isinstance(event, LinkRequested):
                event.link.session.end(refusal("amqp:invalid-field", "bad_address"))
                return True
            return False

        server.hooks.append(bad_address)
        with pytest.raises(AMQPError) as caught:
            amqp.create_sender_link("s", "x", address)
        assert "percent-encoded" in caught.value.message
        assert suggested in caught.value.message
        assert (caught.value.condition, caught.value.description) == ("amqp:invalid-field", "bad_address")
        amqp.disconnect()


def test_other_peers_and_other_faults_get_no_rule_of_rabbitmqs() -> None:
    assert address_hint("apache-activemq-artemis", "/queues/my queue") == ""
    assert address_hint("RabbitMQ", "plain") == ""


# -- a value that does not travel ------------------------------------------------------------------------------------


def test_a_value_without_a_type_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with Server() as server:
        amqp = client(server, "out>")
        amqp.send_message("out")
        assert warnings(caplog) == [], "a null that was meant"
        amqp.message_value = "hello"
        amqp.send_message("out")
        amqp.send_message("out")
        amqp.send_messages("out", ["a", "b"])
        assert len(warnings(caplog)) == 1
        assert "mvtString" in warnings(caplog)[0]
        amqp.disconnect()


def test_log_level_0_switches_warnings_off(caplog: pytest.LogCaptureFixture) -> None:
    with Server() as server:
        amqp = client(server, "out>")
        amqp.config("LogLevel=0")
        amqp.message_value = "hello"
        amqp.send_message("out")
        assert warnings(caplog) == []
        amqp.disconnect()

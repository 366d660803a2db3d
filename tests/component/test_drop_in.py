"""What programs written for the reference do without thinking about it."""

from __future__ import annotations

import copy
import pickle
import tomllib
from pathlib import Path
from typing import Any

import pytest

import amqp10
from amqp10 import AMQP, AMQPError, AMQPMessageInEventParams, AMQPSSLServerAuthenticationEventParams, FirewallType
from amqp10.component.handlers import EVENTS
from amqp10.component.settings import SETTINGS
from amqp10.component.surface import PROPERTIES
from amqp10.net.waiting import Waiter
from tests.component.relay_proxy import RelayProxy
from tests.component.server import Server, client
from tests.component.tls_front import TlsFront
from tests.net.pki import good_server, root_ca, server_context

FLAGS = [spec.name for spec in PROPERTIES if spec.type is bool and spec.settable and spec.index is None]


# -- licence and version ---------------------------------------------------------------------------------------------


def test_a_licence_key_can_be_set_and_read_and_survives_reset() -> None:
    amqp = AMQP()
    assert amqp.runtime_license == ""
    amqp.set_runtime_license("1234-ABCD")
    amqp.reset()
    assert amqp.get_runtime_license() == amqp.runtime_license == "1234-ABCD"
    amqp.runtime_license = ""
    assert amqp.runtime_license == ""
    with pytest.raises(TypeError):
        amqp.runtime_license = None  # type: ignore[assignment]


def test_about_names_package_and_version() -> None:
    assert AMQP().about == AMQP().get_about() == f"amqp10 {amqp10.__version__}"


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    assert amqp10.__version__ == project["project"]["version"]


# -- handlers as methods ---------------------------------------------------------------------------------------------


class Consumer(AMQP):
    """A program in the style of the reference's classes: the handler is a method."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[str] = []

    # pyright wants an attribute where the base class has one; mypy does not.
    def on_message_in(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, e: AMQPMessageInEventParams
    ) -> None:
        self.got.append(self.received_message_value)


class Louder(Consumer):
    def on_message_in(self, e: AMQPMessageInEventParams) -> None:
        super().on_message_in(e)
        self.got.append("!")


@pytest.mark.parametrize(("kind", "expected"), [(Consumer, ["x"]), (Louder, ["x", "!"])])
def test_a_handler_that_is_a_method_of_a_subclass_is_called(kind: type[Consumer], expected: list[str]) -> None:
    with Server() as server, kind() as amqp:
        server.put("in", "x")
        amqp.connect_to(server.host, server.port)
        amqp.create_session("s")
        amqp.create_receiver_link("s", "in", "in")
        while not amqp.got:
            amqp.do_events()
        assert amqp.got == expected


def test_a_handler_that_is_a_method_can_be_replaced_and_removed_on_an_instance() -> None:
    one, other = Consumer(), Consumer()
    seen: list[Any] = []
    one.on_message_in = seen.append  # type: ignore[assignment]
    one.on_message_in(None)  # type: ignore[arg-type]
    assert (seen, other.on_message_in.__self__) == ([None], other)  # type: ignore[attr-defined]
    one.on_message_in = None  # type: ignore[assignment,method-assign]
    assert one._handlers.on_message_in is None


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_can_be_a_method(name: str) -> None:
    seen: list[Any] = []
    kind = type("Program", (AMQP,), {name: lambda self, event: seen.append((self, event))})
    amqp = kind()
    amqp._loop.events.post(name, "parameters")
    amqp._loop.dispatch()
    assert seen == [(amqp, "parameters")]


def test_what_cannot_be_a_handler_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match=r"Program.on_message_in must be a method"):
        type("Program", (AMQP,), {"on_message_in": 3})


# -- waiting without a connection ------------------------------------------------------------------------------------


def test_do_events_without_a_connection_waits_like_one_with(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float | None] = []

    def wait(self: Waiter, fd: int = -1, *, timeout: float | None = None, **_: bool) -> tuple[bool, bool]:
        waits.append(timeout)
        return False, False

    monkeypatch.setattr(Waiter, "wait", wait)
    amqp = AMQP()
    amqp.do_events()
    amqp.do_events()
    assert waits == [0.02, 0.02]
    assert amqp._loop.waiter is None, "an instance that is not connected holds no descriptors"


def test_do_events_without_a_connection_can_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    amqp = AMQP()
    real = Waiter.wait

    def wait(self: Waiter, *args: Any, **kwargs: Any) -> tuple[bool, bool]:
        amqp.interrupt()
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Waiter, "wait", wait)
    with pytest.raises(AMQPError) as caught:
        amqp.do_events()
    assert caught.value.code == 10004
    assert amqp._loop.waiter is None


def test_do_events_without_a_connection_fires_what_is_left_at_once() -> None:
    seen: list[Any] = []
    amqp = AMQP()
    amqp.on_disconnected = seen.append
    amqp._loop.events.post("on_disconnected", "gone")
    amqp.do_events()
    assert seen == ["gone"]


# -- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [AMQP, Consumer])
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_an_instance_cannot_be_copied_or_pickled(kind: type[AMQP], how: Any) -> None:
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        how(kind())


def test_a_copy_of_what_holds_an_instance_is_refused_too() -> None:
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        copy.deepcopy({"amqp": AMQP()})


# -- flags as numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FLAGS)
def test_flags_take_0_and_1(name: str) -> None:
    amqp = AMQP()
    for number in (1, 0) if name != "connected" else (0,):
        setattr(amqp, name, number)
        assert getattr(amqp, name) is bool(number)
        getattr(amqp, f"set_{name}")(number)
        assert getattr(amqp, name) is bool(number)
    with pytest.raises(AMQPError) as caught:
        setattr(amqp, name, 2)
    assert caught.value.code == 604
    for wrong in ("1", None, 1.0):
        with pytest.raises(TypeError):
            setattr(amqp, name, wrong)


def test_accept_of_a_server_certificate_takes_0_and_1() -> None:
    event = AMQPSSLServerAuthenticationEventParams(b"", "", "", "", False)
    event.accept = 1  # type: ignore[assignment]
    assert event.accept is True
    with pytest.raises(AMQPError):
        event.accept = 2  # type: ignore[assignment]


# -- ranges of the wire ----------------------------------------------------------------------------------------------

WIRE = {
    "DefaultCredit": 2**32 - 1,
    "DefaultCreditThreshold": 2**32 - 1,
    # Serial numbers (RFC 1982) tell "more" from "less" over half their range only.
    "DefaultIncomingWindow": 2**31 - 1,
    "DefaultOutgoingWindow": 2**31 - 1,
    "MaxFrameSize": 2**32 - 1,
    "MaxLinkCountPerSession": 2**32 - 1,
    "MaxMessageSize": 2**64 - 1,
    "MaxSessionCount": 2**16 - 1,
    "DefaultSenderSettleMode": 2,
}


@pytest.mark.parametrize("name", WIRE)
def test_a_setting_ends_where_its_field_on_the_wire_does(name: str) -> None:
    amqp = AMQP()
    amqp.config(f"{name}={WIRE[name]}")
    with pytest.raises(AMQPError) as caught:
        amqp.config(f"{name}={WIRE[name] + 1}")
    assert caught.value.code == 604
    assert amqp.config(name) == str(WIRE[name])


def test_every_number_that_travels_is_in_that_list() -> None:
    local = {"LogLevel"}
    numbers = {spec.name for spec in SETTINGS if spec.group == "AMQP" and spec.type is int and not spec.read_only}
    assert numbers == set(WIRE) | local


def test_credit_ends_where_serial_numbers_can_still_be_compared() -> None:
    with Server() as server:
        amqp = AMQP()
        amqp.config(f"DefaultCredit={2**32 - 1}")
        amqp.config(f"DefaultCreditThreshold={2**32 - 1}")
        amqp.connect_to(server.host, server.port)
        amqp.create_session("s")
        amqp.create_receiver_link("s", "in", "in")
        assert server.do(lambda peer: peer.sender("in").credit) == 2**31 - 1
        amqp.disconnect()


def test_the_largest_values_make_a_connection_that_works() -> None:
    with Server() as server:
        amqp = AMQP()
        for name, value in WIRE.items():
            amqp.config(f"{name}={value}")
        server.put("in", "x")
        amqp.idle_timeout = 2147483
        amqp.message_ttl = amqp.message_group_sequence = 2**32 - 1
        amqp.connect_to(server.host, server.port)
        amqp.create_session("s")
        amqp.create_receiver_link("s", "in", "in")
        amqp.create_sender_link("s", "out", "out")
        amqp.send_message("out")
        while not amqp.received_message_value:
            amqp.do_events()
        amqp.disconnect()


# -- the end of a connection -----------------------------------------------------------------------------------------


def stages(amqp: AMQP) -> list[str]:
    seen: list[str] = []
    amqp.on_connection_status = lambda event: seen.append(event.connection_event)
    return seen


def test_the_end_of_a_plain_connection_has_one_stage() -> None:
    with Server() as server:
        amqp = client(server)
        seen = stages(amqp)
        amqp.disconnect()
    assert seen == ["Remote host disconnected."]


def test_the_end_of_a_connection_is_told_for_tls_and_the_proxy_behind_it() -> None:
    tunnel = FirewallType.fwTunnel
    with (
        TlsFront(server_context(good_server())) as front,
        RelayProxy(tunnel, (front.host, front.port)) as proxy,
    ):
        amqp = AMQP()
        amqp.user, amqp.password = "user", "s3cret"
        amqp.ssl_enabled = True
        amqp.config("SSLServerCACerts=" + root_ca().pem.decode())
        amqp.connect_to("127.0.0.1", front.port)
        seen = stages(amqp)
        amqp.disconnect()
        assert seen == ["Remote host disconnected.", "SSL or S/Shell connection broken."]
        amqp.firewall_type, amqp.firewall_host, amqp.firewall_port = tunnel, "127.0.0.1", proxy.port
        amqp.connect()
        seen.clear()
        amqp.disconnect()
        assert seen == [
            "Remote host disconnected.",
            "SSL or S/Shell connection broken.",
            "Firewall host disconnected.",
        ]


def test_the_end_of_a_connection_is_told_for_the_proxy_too() -> None:
    tunnel = FirewallType.fwTunnel
    with Server() as server, RelayProxy(tunnel, (server.host, server.port)) as proxy:
        amqp = AMQP()
        amqp.firewall_type = tunnel
        amqp.firewall_host, amqp.firewall_port = "127.0.0.1", proxy.port
        amqp.connect_to(server.host, server.port)
        seen = stages(amqp)
        amqp.disconnect()
        assert seen == ["Remote host disconnected.", "Firewall host disconnected."]
        seen.clear()
        amqp.firewall_type = FirewallType.fwNone
        amqp.connect_to(server.host, server.port)
        seen.clear()
        amqp.disconnect()
        assert seen == ["Remote host disconnected."], "what the connection before went through does not matter"

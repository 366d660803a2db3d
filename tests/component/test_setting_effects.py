"""Every setting of the groups AMQP, TCPClient and Socket has an effect that can be seen from outside."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from amqp10 import AMQP, AMQPError, AuthScheme, ValueType
from amqp10.codec import Symbol
from amqp10.component.connecting import is_local
from amqp10.component.settings import SETTINGS
from amqp10.engine import LinkRequested
from amqp10.net import options
from amqp10.wire.message import Message
from amqp10.wire.performatives import Attach, Begin, Open, SaslInit, SenderSettleMode, Transfer
from tests.component.server import LIMIT, Peer, Server, client, faster, skipping
from tests.component.test_events_rules import code_of, pump

TESTS = Path(__file__).parents[1]
F = TypeVar("F", bound=Callable[..., object])

# Observed by the tests of their subjects.
RECEIVING = "component/test_receiving.py::test_"
SENDING = "component/test_sending.py::test_"
CREDIT = RECEIVING + "credit_is_given_at_first_and_restored_at_the_threshold_with_one_flow"
PROPERTIES = "component/test_property_effects.py::test_"
OUTCOMES = RECEIVING + "the_handler_decides_the_outcome_and_its_settings"
OBSERVED: dict[str, str] = {
    "DefaultCredit": CREDIT,
    "DefaultCreditThreshold": CREDIT,
    "GenerateMessageId": SENDING + "generated_ids_are_unique_and_replace_the_one_that_was_set",
    "LogLevel": "component/test_logging.py::test_each_level_adds_to_the_one_before_with_the_documented_types",
    "ModifiedDeliveryFailed": OUTCOMES,
    "ModifiedMessageAnnotations": OUTCOMES,
    "ModifiedUndeliverableHere": OUTCOMES,
    "RejectErrorCondition": OUTCOMES,
    "RejectErrorDescription": OUTCOMES,
    "LogFrameBytes": "component/test_logging.py::test_bytes_are_logged_on_demand_and_not_those_of_the_sasl_exchange",
    "MaxJSONSize": "component/test_text_bounds.py::"
    "test_a_value_that_makes_too_much_text_is_rejected_and_the_next_comes",
    "VirtualHost": PROPERTIES + "what_open_states_comes_from_properties_and_settings",
    "AbsoluteTimeout": "component/test_timeouts.py::test_an_absolute_time_out_is_not_extended_by_a_trickle",
    "FirewallAutoDetect": PROPERTIES + "the_environments_proxy_is_used_when_that_is_asked_for",
    "ProxyExceptionsList": PROPERTIES + "hosts_on_the_list_of_exceptions_are_reached_without_the_proxy",
    **dict.fromkeys(
        ("FirewallData", "FirewallHost", "FirewallPassword", "FirewallPort", "FirewallType", "FirewallUser"),
        PROPERTIES + "the_proxy_that_the_properties_or_settings_name_is_used",
    ),
}
# AMQP has no lines; the reference has the setting from its common base, and so it is kept, checked, and documented.
WITHOUT_EFFECT = {"MaxLineLength"}


def observes(*names: str) -> Callable[[F], F]:
    def note(test: F) -> F:
        for name in names:
            OBSERVED[name] = f"component/{Path(__file__).name}::{test.__name__}"
        return test

    return note


@contextmanager
def connected(*settings: str, host: str = "", user: str = "", **server_options: Any) -> Iterator[tuple[Server, AMQP]]:
    """A server, and an instance with these settings that is connected to it and has a session."""
    with Server(**server_options) as server:
        amqp = AMQP()
        amqp.timeout = 10
        if user:
            amqp.user, amqp.password = user, "pw"
        for setting in settings:
            amqp.config(setting)
        amqp.connect_to(host or server.host, server.port)
        amqp.create_session("s")
        try:
            yield server, amqp
        finally:
            amqp.disconnect()


def socket_of(amqp: AMQP) -> socket.socket:
    assert amqp._loop.pump is not None
    sock = amqp._loop.pump.transport._sock  # type: ignore[attr-defined]
    assert isinstance(sock, socket.socket)
    return sock


# -- AMQP ------------------------------------------------------------------------------------------------------------


@observes("AuthorizationIdentity")
def test_the_authorization_identity_goes_out_with_the_credentials() -> None:
    with Server() as server:
        amqp = AMQP()
        amqp.user, amqp.password = "user", "pw"
        amqp.config("AuthorizationIdentity=boss")
        with pytest.raises(AMQPError):  # which that server does not grant
            amqp.connect_to(server.host, server.port)
        assert bytes(server.received(SaslInit)[0].initial_response or b"") == b"boss\0user\0pw"
        amqp.disconnect()


@observes("DefaultSourceCapabilities", "DefaultTargetCapabilities")
def test_capabilities_are_asked_of_the_terminus_that_has_the_address() -> None:
    with connected("DefaultSourceCapabilities= queue ;", "DefaultTargetCapabilities=topic;shared") as (server, amqp):
        amqp.create_receiver_link("s", "in", "in")
        amqp.create_sender_link("s", "out", "out")
        amqp.config("DefaultTargetCapabilities=")
        amqp.create_sender_link("s", "plain", "plain")
        receiver, sender, plain = server.received(Attach)
        assert (receiver.source.capabilities, receiver.target.capabilities) == ((Symbol("queue"),), ())
        assert (sender.source.capabilities, sender.target.capabilities) == ((), (Symbol("topic"), Symbol("shared")))
        assert plain.target.capabilities == ()
        assert code_of(lambda: amqp.config("DefaultSourceCapabilities=größe")) == 604


@observes("AllowPlainWithoutTLS")
def test_a_password_in_the_clear_is_a_warning_or_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The tests' server is on this machine, where nobody else can listen.
    with connected(user="user") as (server, amqp):
        assert not [record for record in caplog.records if record.levelname == "WARNING"]
        amqp.disconnect()
        monkeypatch.setattr("amqp10.component.connecting.is_local", lambda address: False)
        amqp.connect()
        warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert len(warned) == 1
        assert "AllowPlainWithoutTLS" in warned[0]
        amqp.disconnect()
        before = len(server.received(SaslInit))
        amqp.config("AllowPlainWithoutTLS=False")
        with pytest.raises(AMQPError) as caught:
            amqp.connect()
        assert caught.value.code == 602
        assert "pw" not in caught.value.message
        assert len(server.received(SaslInit)) == before, "nothing was sent"
        amqp.auth_scheme = AuthScheme.smSASLAnonymous
        amqp.connect()


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", False),
        ("broker.example", False),
    ],
)
def test_only_loopback_addresses_are_local(address: str, local: bool) -> None:
    assert is_local(address) is local


@observes("DefaultIncomingWindow", "DefaultOutgoingWindow")
def test_windows_are_stated_in_begin_and_apply_to_new_sessions_only() -> None:
    with connected("DefaultIncomingWindow=11", "DefaultOutgoingWindow=12") as (server, amqp):
        amqp.config("DefaultIncomingWindow=21")
        amqp.create_session("t")
        first, second = server.received(Begin)
        assert (first.incoming_window, first.outgoing_window) == (11, 12)
        assert (second.incoming_window, second.outgoing_window) == (21, 12)


@observes("MaxFrameSize")
def test_max_frame_size_is_stated_and_larger_messages_still_arrive() -> None:
    with connected("MaxFrameSize=512") as (server, amqp):
        assert server.received(Open)[0].max_frame_size == 512
        amqp.create_receiver_link("s", "in", "in")
        server.put("in", "x" * 5000)
        pump(amqp, lambda: amqp.received_message_value == "x" * 5000)


@observes("MaxSessionCount")
def test_max_session_count_is_stated_as_channel_max_and_kept() -> None:
    with connected("MaxSessionCount=2") as (server, amqp):
        assert server.received(Open)[0].channel_max == 1
        amqp.create_session("t")
        assert code_of(lambda: amqp.create_session("u")) == 603
        amqp.close_session("t")
        amqp.create_session("u")


@observes("MaxLinkCountPerSession")
def test_max_link_count_is_stated_as_handle_max_and_kept() -> None:
    with connected("MaxLinkCountPerSession=2") as (server, amqp):
        assert server.received(Begin)[0].handle_max == 1
        amqp.create_sender_link("s", "a", "q")
        amqp.create_sender_link("s", "b", "q")
        assert code_of(lambda: amqp.create_sender_link("s", "c", "q")) == 603
        amqp.close_link("a")
        amqp.create_sender_link("s", "c", "q")


@observes("MaxMessageSize")
def test_max_message_size_is_stated_and_binds_both_directions_of_new_links() -> None:
    with connected("MaxMessageSize=1000") as (server, amqp):
        amqp.create_receiver_link("s", "in", "in")
        amqp.create_sender_link("s", "out", "q")
        assert [attach.max_message_size for attach in server.received(Attach)] == [1000, 1000]
        pump(amqp, lambda: amqp.get_link_ready_to_send(1))
        amqp.message_value_type = ValueType.mvtString
        for send in (lambda: amqp.send_message("out"), lambda: amqp.send_messages("out", [amqp.message_value])):
            amqp.message_value = "x" * 1000
            with pytest.raises(AMQPError, match="this side has set at most 1000") as caught:
                send()
            assert (caught.value.code, caught.value.condition) == (600, "amqp:link:message-size-exceeded")
        amqp.message_value = "x" * 900
        amqp.send_message("out")
        amqp.config("MaxMessageSize=0")
        amqp.create_sender_link("s", "large", "q")
        pump(amqp, lambda: amqp.get_link_ready_to_send(2))
        amqp.message_value = "x" * 1000
        amqp.send_message("large")
        server.wait_for(lambda: len(server.messages) == 2)


@observes("MaxJSONSize")
def test_max_json_size_bounds_the_text_of_received_values() -> None:
    with connected("MaxJSONSize=2000") as (server, amqp):
        amqp.create_receiver_link("s", "in", "in")
        server.put("in", Message(value=["x" * 1000]).encode())
        pump(amqp, lambda: amqp.received_message_value_type == ValueType.mvtJson)
        assert len(amqp.received_message_value) > 1000
        amqp.config("MaxJSONSize=1024")
        server.put("in", Message(value=["x" * 1024]).encode())
        pump(amqp, lambda: len(server.outcomes) == 2)
        with pytest.raises(AMQPError, match="more than the 1024 characters"):
            _ = amqp.received_message_value


@observes("DefaultSenderSettleMode", "SenderSettleMode")
@pytest.mark.parametrize("mode", [0, 1, 2])
def test_new_links_of_both_kinds_ask_for_the_settle_mode_and_say_what_was_agreed(mode: int) -> None:
    with connected(f"DefaultSenderSettleMode={mode}") as (server, amqp):
        amqp.create_receiver_link("s", "in", "in")
        amqp.create_sender_link("s", "out", "q")
        assert [attach.snd_settle_mode for attach in server.received(Attach)] == [mode, mode]
        amqp.config(f"DefaultSenderSettleMode={(mode + 1) % 3}")
        assert amqp.config("SenderSettleMode[in]") == amqp.config("SenderSettleMode[out]") == str(mode)

        def accept(peer: Peer, event: Any) -> bool:
            if isinstance(event, LinkRequested):
                event.link.accept(snd_settle_mode=SenderSettleMode.SETTLED)
                return True
            return False

        server.hooks.append(accept)
        amqp.create_receiver_link("s", "other", "in")
        assert amqp.config("SenderSettleMode[other]") == "1", "the sender has the last word"


@observes("ProtocolVersion")
def test_the_protocol_version_is_that_of_the_header() -> None:
    with connected() as (_, amqp):
        assert amqp.config("ProtocolVersion") == "1.0"


@observes("SimplifiedJSONFormat")
def test_received_lists_are_shown_in_the_syntax_asked_for() -> None:
    shown = {}
    for simplified in (True, False):
        with connected(f"SimplifiedJSONFormat={simplified}") as (server, amqp):
            amqp.create_receiver_link("s", "in", "in")
            server.put("in", Message(value=["a"]).encode())
            pump(amqp, lambda amqp=amqp: amqp.received_message_value != "")  # type: ignore[misc]
            assert amqp.received_message_value_type == ValueType.mvtJson
            shown[simplified] = json.loads(amqp.received_message_value)
    assert shown[True] != shown[False]
    assert '"string"' in json.dumps(shown[False])


# -- TCPClient -------------------------------------------------------------------------------------------------------


@observes("ConnectionTimeout")
def test_the_connection_time_out_replaces_the_general_one_while_connecting() -> None:
    with Server(hold={"open"}) as server:
        amqp = AMQP()
        amqp.timeout = int(LIMIT) - 1
        amqp.config("ConnectionTimeout=1")
        with faster(amqp), pytest.raises(AMQPError, match="1 second") as caught:
            amqp.connect_to(server.host, server.port)
        assert caught.value.code == 201


@observes("TCPKeepAlive", "KeepAliveTime", "KeepAliveInterval")
@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="this system names the options otherwise")
def test_keep_alive_settings_are_those_of_the_socket() -> None:
    with connected("KeepAliveTime=61000", "KeepAliveInterval=7000") as (_, amqp):
        sock = socket_of(amqp)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 61
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 7
    with connected("TCPKeepAlive=True") as (_, amqp):
        assert socket_of(amqp).getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    with connected() as (_, amqp):
        assert socket_of(amqp).getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


@observes("TcpNoDelay")
@pytest.mark.parametrize("on", [True, False])
def test_tcp_no_delay_is_that_of_the_socket_also_after_sending(on: bool) -> None:
    with connected(f"TcpNoDelay={on}") as (server, amqp):
        amqp.create_sender_link("s", "out", "q")
        amqp.send_message("out")
        server.wait_for(lambda: len(server.messages) == 1)
        assert bool(socket_of(amqp).getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) is on


@observes("Linger")
@pytest.mark.parametrize("linger", [True, False])
def test_without_linger_the_server_sees_a_reset_instead_of_the_streams_end(linger: bool) -> None:
    with connected(f"Linger={linger}") as (server, amqp):
        amqp.disconnect()
        server.wait_for(lambda: len(server.gone) == 1)
        # The server closes by itself when it has seen the close; what it sees first is the engine's business.
        assert server.gone[0].engine.finished
    resets: list[bool] = []
    original = options.apply_before_close

    def spy(sock: socket.socket, *, linger: bool, linger_time: int) -> None:
        original(sock, linger=linger, linger_time=linger_time)
        on, seconds = _linger_of(sock)
        resets.append(bool(on) and seconds == 0)

    with connected(f"Linger={linger}") as (_, amqp):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("amqp10.net.tcp.apply_before_close", spy)
            amqp.disconnect()
        assert resets == [not linger]


def _linger_of(sock: socket.socket) -> tuple[int, int]:
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
    return int.from_bytes(data[:4], "little"), int.from_bytes(data[4:], "little")


@observes("LingerTime")
@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has another option for it")
def test_the_linger_time_is_the_systems_limit_for_delivering_the_rest() -> None:
    seen: list[int] = []
    original = options.apply_before_close

    def spy(sock: socket.socket, *, linger: bool, linger_time: int) -> None:
        original(sock, linger=linger, linger_time=linger_time)
        seen.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))

    with connected("LingerTime=17") as (_, amqp), pytest.MonkeyPatch.context() as patch:
        patch.setattr("amqp10.net.tcp.apply_before_close", spy)
        amqp.disconnect()
    assert seen == [17_000]


@observes("LocalHost", "LocalPort")
def test_the_connection_comes_from_the_local_host_and_port() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with connected("LocalHost=127.0.0.1", f"LocalPort={port}") as (server, amqp):
        assert server.do(lambda peer: peer.sock.getpeername()) == ("127.0.0.1", port)
        assert (amqp.local_host, amqp.local_port) == ("127.0.0.1", port)


@observes("MaxTransferRate")
@pytest.mark.parametrize("while_connected", [False, True])
def test_the_transfer_rate_is_reached_and_not_exceeded(while_connected: bool) -> None:
    rate, size = 400_000, 200_000
    with Server() as server:
        amqp = AMQP()
        poller = skipping(amqp)
        if not while_connected:
            amqp.config(f"MaxTransferRate={rate}")
            # What opens the connection is held back too. No wait for the server is as short as one for the limit.
            poller.skip = 60
        amqp.connect_to(server.host, server.port)
        amqp.create_session("s")
        amqp.create_sender_link("s", "out", "q")
        pump(amqp, lambda: amqp.get_link_ready_to_send(0))
        if while_connected:
            amqp.config(f"MaxTransferRate={rate}")
            poller.skip = 60
        amqp.message_value_type = ValueType.mvtString
        amqp.message_value = "x" * size
        start = poller.clock.now
        amqp.send_message("out")
        server.wait_for(lambda: len(server.messages) == 1)
        # A fifth of a second's worth may have piled up before.
        assert rate * 0.9 <= size / (poller.clock.now - start) <= rate * 2
        start = poller.clock.now
        amqp.message_value = "x" * size * 10
        amqp.send_message("out")
        assert rate * 0.9 <= size * 10 / (poller.clock.now - start) <= rate * 1.1
        amqp.config("MaxTransferRate=0")
        start = poller.clock.now
        amqp.send_message("out")
        assert poller.clock.now - start < 0.2
        amqp.disconnect()


@observes("UseIPv6")
def test_the_kind_of_addresses_to_connect_to() -> None:
    with connected("UseIPv6=1", family=socket.AF_INET6) as (server, amqp):
        assert server.do(lambda peer: peer.sock.family) == socket.AF_INET6
    with connected("UseIPv6=2", host="127.0.0.1") as (server, amqp):
        assert server.do(lambda peer: peer.sock.family) == socket.AF_INET
    for value, family in ((0, socket.AF_INET6), (1, socket.AF_INET)):
        with Server(family=family) as server:
            amqp = AMQP()
            amqp.config(f"UseIPv6={value}")
            assert code_of(lambda amqp=amqp, server=server: amqp.connect_to(server.host, server.port)) == 10047  # type: ignore[misc]


# -- Socket ----------------------------------------------------------------------------------------------------------


@observes("InBufferSize", "OutBufferSize")
def test_buffer_sizes_are_those_of_the_socket() -> None:
    with connected("InBufferSize=40000", "OutBufferSize=50000") as (_, amqp):
        sock = socket_of(amqp)
        # Linux reserves as much again for its own book-keeping and reports the sum.
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) in (40_000, 80_000)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) in (50_000, 100_000)


def test_an_open_connection_follows_the_settings_of_its_socket() -> None:
    def option(level: int, name: int) -> int:
        return sock.getsockopt(level, name)

    with connected() as (_, amqp):
        sock = socket_of(amqp)
        for on in (True, False):
            amqp.config(f"TcpNoDelay={on}")
            assert bool(option(socket.IPPROTO_TCP, socket.TCP_NODELAY)) is on
            amqp.config(f"TCPKeepAlive={on}")
            assert bool(option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is on
        amqp.config("OutBufferSize=50000")
        amqp.config("InBufferSize=40000")
        assert option(socket.SOL_SOCKET, socket.SO_SNDBUF) in (50_000, 100_000)
        assert option(socket.SOL_SOCKET, socket.SO_RCVBUF) in (40_000, 80_000)
        if hasattr(socket, "TCP_KEEPIDLE"):
            amqp.config("KeepAliveTime=61000")
            amqp.config("KeepAliveInterval=7000")
            assert option(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 61
            assert option(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 7
        closed: list[tuple[bool, int]] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "amqp10.net.tcp.apply_before_close",
                lambda sock, *, linger, linger_time: closed.append((linger, linger_time)),
            )
            amqp.config("Linger=False")
            amqp.config("LingerTime=3")
            amqp.disconnect()
        assert closed == [(False, 3)]


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="this system names the option otherwise")
def test_a_setting_that_the_system_refuses_keeps_its_value() -> None:
    with connected() as (_, amqp):
        # More seconds than the system has room for.
        assert code_of(lambda: amqp.config("KeepAliveTime=2147483647")) == 10022
        assert (amqp.config("KeepAliveTime"), amqp.config("TCPKeepAlive")) == ("0", "False")
        assert amqp.connected


def test_a_setting_outside_its_handler_is_told_apart_from_one_inside() -> None:
    with Server() as server, client(server, "in<") as amqp:
        with pytest.raises(AMQPError) as caught:
            amqp.config("RejectErrorCondition=amqp:not-found")
        assert caught.value.code == 606
        seen: list[str] = []

        def handler(event: Any) -> None:
            amqp.config("RejectErrorCondition=amqp:not-found")
            seen.append(amqp.config("RejectErrorCondition"))

        amqp.on_message_in = handler
        server.put("in", "x")
        pump(amqp, lambda: bool(seen))
        assert seen == ["amqp:not-found"]
        assert not server.received(Transfer), "nothing was sent for it"


# -- the table -------------------------------------------------------------------------------------------------------


def test_every_setting_is_observed_by_a_test_that_exists() -> None:
    surface = json.loads((TESTS / "data" / "surface.json").read_text("utf-8"))
    names = {
        entry["name"].partition("[")[0]
        for entry in surface["config_settings"]
        if entry["group"].split()[0] in ("AMQP", "TCPClient", "Socket")
    }
    names |= {spec.name for spec in SETTINGS if spec.group == "Ours"}
    assert names - WITHOUT_EFFECT == set(OBSERVED)
    for where in OBSERVED.values():
        file, _, name = where.partition("::")
        assert f"def {name}(" in (TESTS / file).read_text("utf-8"), where

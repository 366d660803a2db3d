"""Bad input for every settable property and every setting: the right error, and nothing changed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from amqp10 import AMQP, AMQPError, AMQPMessageInEventParams, MessageState
from amqp10.component.settings import SETTINGS, SettingSpec
from amqp10.component.surface import PROPERTIES, PropertySpec
from amqp10.wire.messaging import Rejected
from tests.component.server import Server, client
from tests.component.test_events_rules import each, pump

SETTABLE = [spec for spec in PROPERTIES if spec.settable]
WRONG_TYPES: dict[type, tuple[Any, ...]] = {
    int: ("1", 1.0, None, True, b"1", [1]),
    bool: ("1", "True", None, 1.0),
    str: (1, None, b"x", ["x"], 1.5, True),
    bytes: (1, None, ["x"], 1.5, True),
}

TYPED_IDS = ("message_id", "message_correlation_id")
"""An int, a UUID and bytes are ids too."""


def wrong_types(spec: PropertySpec) -> tuple[Any, ...]:
    return (None, ["x"], 1.5, True) if spec.name in TYPED_IDS else WRONG_TYPES[spec.type]


HUGE = 10**30
# Property -> values of the right type that it must refuse, all with 604.
BAD_VALUES: dict[str, tuple[Any, ...]] = {
    "auth_scheme": (-1, 4, HUGE),
    "container_id": ("a\0b", "\ud800"),
    "fetch_timeout": (-1, 2**31, HUGE),
    "firewall_type": (-1, 4, 9, 11, HUGE),
    "firewall_host": ("a b", "a\nb", "a\0b", "\ud800"),
    "firewall_password": ("a\0b", "\ud800"),
    "firewall_port": (-1, 65536, HUGE),
    "firewall_user": ("a\0b", "\ud800"),
    "idle_timeout": (-1, 2147484, HUGE),
    "local_host": ("a b", "a\nb", "a\0", "\ud800"),
    "local_port": (-1, 65536, HUGE),
    "message_absolute_expiry_time": (-2, 2**63, HUGE),
    "message_content_encoding": ("\u00e4", "\ud800"),
    "message_content_type": ("\u00e4",),
    "message_correlation_id": ("\ud800",),
    "message_creation_time": (-2, 2**63),
    "message_delivery_count": (-1, 2**32, HUGE),
    "message_durable": (),
    "message_first_acquirer": (),
    "message_group_id": ("\ud800",),
    "message_group_sequence": (-2, 2**32, HUGE),
    "message_id": (),  # checked when the message is sent
    "message_priority": (-1, 256, HUGE),
    "message_reply_to": ("\ud800",),
    "message_reply_to_group_id": ("\ud800",),
    "message_settled": (),
    "message_subject": ("\ud800",),
    "message_to": ("\ud800",),
    "message_ttl": (-2, 2**32, HUGE),
    "message_user_id": ("\ud800",),
    "message_value": (),  # checked when the message is sent
    "message_value_type": (-1, 20, HUGE),
    "password": ("a\0b", "\ud800"),
    "receive_mode": (-1, 2, HUGE),
    "remote_host": ("a b", "a\nb", "\x7f", "\ud800"),
    "remote_port": (-1, 65536, HUGE),
    "ssl_accept_server_cert_encoded": ("\ud800",),
    "ssl_cert_encoded": ("\ud800",),
    "ssl_cert_store": ("\ud800",),
    "ssl_cert_store_password": ("a\0b", "\ud800"),
    "ssl_cert_store_type": (-1, 23, 98, HUGE),
    "ssl_cert_subject": ("\ud800",),
    "ssl_enabled": (),
    "ssl_provider": (-1, 3, HUGE),
    "timeout": (-1, 2**31, HUGE),
    "user": ("a\0b", "\ud800"),
    "connected": (),
    "firewall_auto_detect": (),
}

# Property -> the code for an assignment while connected. Others can change at any time.
LOCKED = {
    "remote_port": 100,
    "remote_host": 101,
    "local_port": 106,
    "local_host": 107,
    **dict.fromkeys(
        ("auth_scheme", "container_id", "idle_timeout", "password", "user", "ssl_enabled", "ssl_provider"), 211
    ),
    **dict.fromkeys((spec.name for spec in SETTABLE if spec.name.startswith(("firewall_", "ssl_"))), 211),
}


def snapshot(amqp: AMQP) -> dict[str, Any]:
    """Every property and setting that can be read."""
    state = {spec.name: getattr(amqp, spec.name) for spec in PROPERTIES if spec.index is None}
    for setting in SETTINGS:
        if setting.store != "outcome" and not setting.indexed:
            state[setting.name] = amqp.config(setting.name)
    return state


@contextlib.contextmanager
def unchanged(amqp: AMQP) -> Iterator[None]:
    before = snapshot(amqp)
    yield
    assert snapshot(amqp) == before


def other_value(spec: PropertySpec) -> Any:
    """A valid value that is not the default."""
    if spec.enum is not None:
        return 1
    if spec.type is int:
        return int(spec.default) + 1
    return {bool: not spec.default, str: "x", bytes: b"x"}[spec.type]


def test_the_tables_cover_every_settable_property() -> None:
    assert set(BAD_VALUES) == {spec.name for spec in SETTABLE}


@pytest.mark.parametrize("spec", SETTABLE, ids=lambda spec: spec.name)
def test_a_value_of_the_wrong_type_is_a_type_error_and_changes_nothing(spec: PropertySpec) -> None:
    amqp = AMQP()
    with unchanged(amqp):
        for value in wrong_types(spec):
            with pytest.raises(TypeError, match=spec.name):
                setattr(amqp, spec.name, value)
            with pytest.raises(TypeError):
                getattr(amqp, f"set_{spec.name}")(value)


@pytest.mark.parametrize("spec", SETTABLE, ids=lambda spec: spec.name)
def test_a_value_out_of_range_or_malformed_is_604_and_changes_nothing(spec: PropertySpec) -> None:
    amqp = AMQP()
    with unchanged(amqp):
        for value in BAD_VALUES[spec.name]:
            with pytest.raises(AMQPError) as caught:
                setattr(amqp, spec.name, value)
            assert caught.value.code == 604, value
            assert spec.name in caught.value.message
            assert len(caught.value.message) < 1000


def test_numbers_of_any_size_are_refused_in_few_words() -> None:
    amqp = AMQP()
    for name in ("timeout", "remote_port", "message_ttl", "message_value_type", "receive_mode"):
        with pytest.raises(AMQPError) as caught:
            setattr(amqp, name, 10**10_000)
        assert caught.value.code == 604
        assert len(caught.value.message) < 700


@pytest.fixture(scope="module")
def connected() -> Iterator[AMQP]:
    with Server() as server:
        amqp = client(server)
        yield amqp
        amqp.disconnect()


@pytest.mark.parametrize("spec", SETTABLE, ids=lambda spec: spec.name)
def test_what_a_connection_depends_on_cannot_change_under_it(spec: PropertySpec, connected: AMQP) -> None:
    if spec.name == "connected":
        return
    code = LOCKED.get(spec.name)
    if code is None:
        before = getattr(connected, spec.name)
        setattr(connected, spec.name, other_value(spec))
        assert getattr(connected, spec.name) == other_value(spec)
        setattr(connected, spec.name, before)
        return
    with unchanged(connected):
        with pytest.raises(AMQPError) as caught:
            setattr(connected, spec.name, other_value(spec))
        assert caught.value.code == code
        for value in wrong_types(spec):
            with pytest.raises(TypeError):
                setattr(connected, spec.name, value)
    assert connected.connected


# -- settings --------------------------------------------------------------------------------------------------------

CHANGEABLE = [spec for spec in SETTINGS if not spec.read_only]
LOCKED_SETTINGS = {spec.name: spec.locked for spec in SETTINGS if spec.locked}
LOCKED_SETTINGS |= dict.fromkeys(
    ("FirewallAutoDetect", "FirewallHost", "FirewallPassword", "FirewallPort", "FirewallType", "FirewallUser"), 606
)


def bad_texts(spec: SettingSpec) -> tuple[str, ...]:
    if spec.type is bool:
        return ("", "2", "on", "Truee", "x" * 100_000)
    if spec.type is int:
        texts = ["", "x", "1.5", "--1", "1 2", "9" * 5000]
        if spec.minimum is not None:
            texts.append(str(spec.minimum - 1))
        if spec.maximum is not None:
            texts.append(str(spec.maximum + 1))
        return tuple(texts)
    return ("\ud800",)


@pytest.mark.parametrize("spec", CHANGEABLE, ids=lambda spec: spec.name)
def test_a_malformed_setting_is_604_and_changes_nothing(spec: SettingSpec) -> None:
    amqp = AMQP()
    with unchanged(amqp):
        for text in bad_texts(spec):
            with pytest.raises(AMQPError) as caught:
                amqp.config(f"{spec.name}={text}")
            assert caught.value.code == (606 if spec.store == "outcome" else 604), text[:20]
            assert len(caught.value.message) < 600


@pytest.mark.parametrize("spec", CHANGEABLE, ids=lambda spec: spec.name)
def test_a_setting_that_the_connection_depends_on_cannot_change_under_it(spec: SettingSpec, connected: AMQP) -> None:
    if spec.store == "outcome":
        return
    code = LOCKED_SETTINGS.get(spec.name)
    value = connected.config(spec.name)
    with unchanged(connected):
        if code is None:
            assert connected.config(f"{spec.name}={value}") == ""
        else:
            with pytest.raises(AMQPError) as caught:
                connected.config(f"{spec.name}={value}")
            assert caught.value.code == code


NO_SETTINGS = ["", "=", "=1", "Nonsense", "Nonsense=1", "DefaultCredit[1]", "x" * 1_000_000, "\0", "\ud800"]


@pytest.mark.parametrize("text", NO_SETTINGS, ids=lambda text: ascii(text[:10]))
def test_unknown_settings_are_606(text: str) -> None:
    amqp = AMQP()
    with unchanged(amqp), pytest.raises(AMQPError) as caught:
        amqp.config(text)
    assert caught.value.code == 606
    assert len(caught.value.message) < 500


# -- methods at the wrong time ---------------------------------------------------------------------------------------


def test_methods_that_need_a_connection_say_so() -> None:
    amqp = AMQP()
    for call in each(
        lambda: amqp.create_session("s"),
        lambda: amqp.close_session("s"),
        lambda: amqp.create_sender_link("s", "l", "t"),
        lambda: amqp.create_receiver_link("s", "l", "t"),
        lambda: amqp.close_link("l"),
        lambda: amqp.send_message("l"),
        lambda: amqp.send_messages("l", ["x"]),
        lambda: amqp.fetch_message("l"),
    ):
        with pytest.raises(AMQPError) as caught:
            call()
        assert caught.value.code == 1117
    amqp.disconnect()
    amqp.do_events()
    amqp.interrupt()
    amqp.reset_message()
    amqp.connected = False
    assert amqp.connected is False


def test_connecting_twice_is_104_and_bad_targets_have_their_codes(connected: AMQP) -> None:
    with unchanged(connected):
        for call in each(connected.connect, lambda: connected.connect_to("127.0.0.1", 1)):
            with pytest.raises(AMQPError) as caught:
                call()
            assert caught.value.code == 104
    connected.connected = True
    cases = [("", 5672, 102), ("0.0.0.0", 5672, 102), ("127.0.0.1", 0, 116), ("a host", 1, 604), ("h", 70_000, 604)]
    for host, port, code in cases:
        amqp = AMQP()
        with pytest.raises(AMQPError) as caught:
            amqp.connect_to(host, port)
        assert caught.value.code == code, (host, port)
        if code == 604:
            assert (amqp.remote_host, amqp.remote_port) == ("", 5672), "neither is changed when one is wrong"
    with pytest.raises(TypeError):
        AMQP().connect_to(None, 1)  # type: ignore[arg-type]


def test_assigning_connected_connects_and_disconnects() -> None:
    with Server() as server:
        amqp = AMQP()
        amqp.remote_host = server.host
        amqp.remote_port = server.port
        amqp.connected = True
        assert amqp.get_connected()
        assert amqp.remote_host == "127.0.0.1"
        amqp.connected = False
        assert not amqp.get_connected()


# -- at the wrong time: inside handlers ------------------------------------------------------------------------------


def test_what_a_connection_depends_on_cannot_change_while_it_is_being_opened_or_in_a_handler() -> None:
    """Every locked property and setting, in a handler that runs while connecting, and in one for a message."""
    problems: list[str] = []

    def expect(code: int, what: str, call: Callable[[], object]) -> None:
        try:
            call()
        except AMQPError as error:
            if error.code != code:
                problems.append(f"{what}: {error}")
        else:
            problems.append(f"{what}: no error")

    def meddle(event: object) -> None:
        stages.append(type(event).__name__)
        amqp.on_connection_status = amqp.on_message_in = None
        with unchanged(amqp):
            for spec in SETTABLE:
                if spec.name in LOCKED:
                    expect(LOCKED[spec.name], spec.name, lambda spec=spec: setattr(amqp, spec.name, other_value(spec)))  # type: ignore[misc]
            for name, code in LOCKED_SETTINGS.items():
                text = f"{name}={amqp.config(name)}"
                expect(code, name, lambda text=text: amqp.config(text))  # type: ignore[misc]

    stages: list[str] = []
    with Server() as server:
        amqp = AMQP()
        amqp.on_connection_status = meddle
        amqp.connect_to(server.host, server.port)
        amqp.create_session("s")
        amqp.create_receiver_link("s", "in", "in")
        amqp.on_message_in = meddle
        server.put("in", "x")
        pump(amqp, lambda: len(stages) == 2)
        amqp.disconnect()
    assert stages == ["AMQPConnectionStatusEventParams", "AMQPMessageInEventParams"]
    assert problems == []


OUTCOME_SETTINGS = [spec for spec in SETTINGS if spec.store == "outcome"]
BAD_OUTCOMES: dict[str, tuple[str, ...]] = {
    "ModifiedDeliveryFailed": ("", "2", "Truee"),
    "ModifiedUndeliverableHere": ("", "2", "Truee"),
    "ModifiedMessageAnnotations": (
        "x",
        "{",
        "1",
        '"text"',
        '{"type": "list", "value": []}',
        '{"type": "map", "value": ["text", "key"]}',
        '{"type": "map", "value": [{"type": "symbol", "value": "odd"}]}',
        "[" * 100_000,
        "\ud800",
    ),
    "RejectErrorCondition": ("\u00e4", "\ud800"),
    "RejectErrorDescription": ("\ud800",),
}
GOOD_OUTCOMES = {
    "ModifiedDeliveryFailed": "True",
    "ModifiedUndeliverableHere": "True",
    "ModifiedMessageAnnotations": '{"type":"map","value":[{"type":"symbol","value":"k"},"v"]}',
    "RejectErrorCondition": "amqp:not-found",
    "RejectErrorDescription": "words",
}


def test_the_settings_of_outcomes_refuse_bad_values_and_are_refused_outside_their_handlers() -> None:
    assert set(BAD_OUTCOMES) == set(GOOD_OUTCOMES) == {spec.name for spec in OUTCOME_SETTINGS}
    seen: dict[str, list[int | str]] = {}

    def note(where: str, text: str) -> None:
        try:
            result: int | str = amqp.config(text)
        except AMQPError as error:
            result = error.code if len(error.message) < 1000 else -1
        seen.setdefault(where, []).append(result)

    def message_in(event: AMQPMessageInEventParams) -> None:
        for name, good in GOOD_OUTCOMES.items():
            note("set", f"{name}={good}")
            for bad in BAD_OUTCOMES[name]:
                note("bad", f"{name}={bad}")
            seen.setdefault("kept", []).append(json.loads(amqp.config(name)) if "{" in good else amqp.config(name))
        event.state = MessageState.Modified

    def outcome(event: object) -> None:
        for name, good in GOOD_OUTCOMES.items():
            note("set afterwards", f"{name}={good}")
            note("read afterwards", name)

    def elsewhere(event: object) -> None:
        for name, good in GOOD_OUTCOMES.items():
            note("elsewhere", f"{name}={good}")
            note("elsewhere", name)

    with Server() as server, client(server, "in<") as amqp:
        amqp.on_message_in = message_in
        amqp.on_message_outcome = outcome
        amqp.on_link_ready_to_send = amqp.on_message_out = elsewhere
        server.put("in", "x")
        pump(amqp, lambda: "read afterwards" in seen)
        amqp.on_message_outcome = None
        amqp.create_sender_link("s", "out", "q")
        pump(amqp, lambda: "elsewhere" in seen)
        amqp.send_message("out")
    goods = [json.loads(good) if "{" in good else good for good in GOOD_OUTCOMES.values()]
    assert seen["set"] == [""] * 5
    assert set(seen["bad"]) == {604}
    assert seen["kept"] == goods, "a value that is refused leaves the one before"
    assert set(seen["set afterwards"]) == {606}
    assert len(seen["read afterwards"]) == 5
    assert 606 not in seen["read afterwards"]
    assert set(seen["elsewhere"]) == {606}
    assert len(seen["elsewhere"]) == 20


LONG_OUTCOMES = {
    "RejectErrorCondition": "%s",
    "ModifiedMessageAnnotations": '{"type":"map","value":[{"type":"symbol","value":"k"},"%s"]}',
}


@pytest.mark.parametrize("name", LONG_OUTCOMES)
def test_an_outcome_that_the_peer_cannot_take_is_refused_when_it_is_set_and_costs_nothing(name: str) -> None:
    codes: list[int] = []
    kept: list[int] = []

    def message_in(event: AMQPMessageInEventParams) -> None:
        fits = 0
        for size in range(400, 512):
            try:
                amqp.config(f"{name}={LONG_OUTCOMES[name] % ('x' * size)}")
                fits = len(amqp.config(name))
            except AMQPError as error:
                codes.append(error.code)
        kept.append(fits)
        kept.append(len(amqp.config(name)))
        event.state = MessageState.Modified if name.startswith("Mod") else MessageState.Rejected

    with Server(max_frame_size=512) as server, client(server, "in<") as amqp:
        amqp.on_message_in = message_in
        server.put("in", "x")
        pump(amqp, lambda: bool(kept))
        server.wait_for(lambda: bool(server.outcomes))
        assert set(codes) == {604}
        assert kept[0] == kept[1], "what was refused has changed nothing"
        assert amqp.connected


def test_a_description_that_the_peer_cannot_take_whole_arrives_cut() -> None:
    with Server(max_frame_size=512) as server, client(server, "in<") as amqp:

        def message_in(event: AMQPMessageInEventParams) -> None:
            amqp.config(f"RejectErrorDescription={'x' * 5000}")
            event.state = MessageState.Rejected

        amqp.on_message_in = message_in
        server.put("in", "x")
        pump(amqp, lambda: bool(server.outcomes))
        state = server.outcomes[0][1]
        assert isinstance(state, Rejected)
        assert state.error is not None
        assert 300 < len(state.error.description or "") < 512
        assert amqp.connected


def test_names_and_addresses_that_do_not_fit_into_a_frame_leave_no_link_behind() -> None:
    with Server(max_frame_size=512) as server, client(server) as amqp:
        for create in (amqp.create_sender_link, amqp.create_receiver_link):
            for name, address, code in (
                ("x" * 600, "q", 600),
                ("l", "q" * 600, 600),
                ("l", "\ud800", 604),
                ("\ud800", "q", 604),
            ):
                with pytest.raises(AMQPError) as caught:
                    create("s", name, address)
                assert caught.value.code == code
                assert amqp.link_count == 0
            create("s", "l", "q")
            amqp.close_link("l")
        assert amqp.session_count == 1

"""The class AMQP against the documented surface: every property, method, event, setting and code, on a live one."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

import amqp10
import amqp10.ipworksmq
from amqp10 import AMQP, AMQPError
from amqp10.component.events import EVENT_CLASSES
from amqp10.component.settings import SETTINGS, SettingSpec
from amqp10.errors import ERROR_CODES
from tests.component.server import Server, client
from tests.component.test_conformance import DEVIATIONS

SURFACE: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "surface.json").read_text("utf-8"))
PROPERTIES = SURFACE["properties"]
PLAIN = [entry for entry in PROPERTIES if entry["index"] is None]
INDEXED = [entry for entry in PROPERTIES if entry["index"] is not None]
SETTINGS_DOC = SURFACE["config_settings"]
TYPES: dict[str, type] = {"int": int, "bool": bool, "str": str, "bytes": bytes}


def name_of(entry: dict[str, Any]) -> str:
    return str(entry["name"])


def default_of(entry: dict[str, Any]) -> object:
    default = entry["default"]
    return default.encode() if entry["type"] == "bytes" else default


def other_than(entry: dict[str, Any], value: Any) -> Any:
    """Another valid value."""
    if entry["name"] in ("firewall_type", "auth_scheme", "receive_mode", "ssl_provider", "ssl_cert_store_type"):
        return 1
    if entry["type"] == "bool":
        return not value
    if entry["type"] == "int":
        return int(value) + 1
    return b"x" if entry["type"] == "bytes" else "x"


def test_the_numbers_of_everything_documented_are_known() -> None:
    assert len(PROPERTIES) == 132
    assert len(SURFACE["methods"]) == 15
    assert len(SURFACE["events"]) == 11
    assert len(SETTINGS_DOC) == 71
    assert len(SURFACE["error_codes"]) == 90


@pytest.mark.parametrize("entry", PLAIN, ids=name_of)
def test_a_new_instance_has_each_property_with_its_type_and_default(entry: dict[str, Any]) -> None:
    amqp = AMQP()
    value = getattr(amqp, entry["name"])
    assert value == default_of(entry)
    assert isinstance(value, TYPES[entry["type"]])
    assert isinstance(value, bool) is (entry["type"] == "bool")
    assert getattr(amqp, f"get_{entry['name']}")() == value


@pytest.mark.parametrize("entry", [entry for entry in PLAIN if entry["settable"]], ids=name_of)
def test_each_settable_property_takes_a_value_by_attribute_and_by_setter(entry: dict[str, Any]) -> None:
    name = entry["name"]
    if name in ("connected", "ssl_cert_encoded", "ssl_cert_subject"):
        return  # these act: see the tests of connecting and of certificates
    amqp = AMQP()
    value = other_than(entry, default_of(entry))
    setattr(amqp, name, value)
    assert getattr(amqp, name) == value
    amqp = AMQP()
    assert getattr(amqp, f"set_{name}")(value) is None
    assert getattr(amqp, f"get_{name}")() == value
    amqp.reset_message()
    assert (getattr(amqp, name) == default_of(entry)) is name.startswith("message_")
    amqp.reset()
    assert getattr(amqp, name) == default_of(entry), "reset() restores every property"


@pytest.mark.parametrize("entry", [entry for entry in PLAIN if not entry["settable"]], ids=name_of)
def test_a_read_only_property_refuses_assignment_and_has_no_setter(entry: dict[str, Any]) -> None:
    amqp = AMQP()
    with pytest.raises(AttributeError):
        setattr(amqp, entry["name"], default_of(entry))
    assert not hasattr(AMQP, f"set_{entry['name']}")
    with pytest.raises(AttributeError):
        delattr(amqp, entry["name"])


@pytest.mark.parametrize("entry", INDEXED, ids=name_of)
def test_an_indexed_property_answers_a_bad_index_with_an_amqp_error(entry: dict[str, Any]) -> None:
    amqp = AMQP()
    getter = getattr(amqp, f"get_{entry['name']}")
    assert list(inspect.signature(getter).parameters) == [entry["index"]]
    assert not hasattr(amqp, entry["name"]), "an indexed property is no attribute"
    assert not hasattr(amqp, f"set_{entry['name']}")
    for index in (0, -1, 1, 10**30):
        with pytest.raises(AMQPError) as caught:
            getter(index)
        assert caught.value.code == 10022
        assert entry["index"] in caught.value.message
    for wrong in ("0", None, 0.0, True):
        with pytest.raises(TypeError):
            getter(wrong)


def test_every_indexed_property_has_its_type_on_live_items() -> None:
    with Server(hold={"disposition", "messages"}) as server:
        server.first = None
        with client(server, "out>", "in<") as amqp:
            amqp.message_settled = False
            amqp.message_value_type = 17
            amqp.send_message("out")
            seen: list[str] = []

            def handler(event: object) -> None:
                counts = {"link": 2, "session": 1, "incoming_message": 1, "outgoing_message": 1}
                for entry in INDEXED:
                    family = entry["index"].removesuffix("_index")
                    assert getattr(amqp, f"{family}_count") == counts[family]
                    for index in range(counts[family]):
                        value = getattr(amqp, f"get_{entry['name']}")(index)
                        assert isinstance(value, TYPES[entry["type"]]), entry["name"]
                        assert isinstance(value, bool) is (entry["type"] == "bool"), entry["name"]
                        seen.append(entry["name"])
                    with pytest.raises(AMQPError):
                        getattr(amqp, f"get_{entry['name']}")(counts[family])

            amqp.on_message_in = handler
            server.hold.discard("messages")
            server.put("in", "hello")
            while not seen:
                amqp.do_events()
    assert set(seen) == {entry["name"] for entry in INDEXED}


def test_assigning_to_an_unknown_attribute_is_an_attribute_error() -> None:
    amqp = AMQP()
    for name in ("remote_hots", "on_mesage_in", "timeOut", "Timeout", "get_timeout", "x"):
        with pytest.raises(AttributeError):
            setattr(amqp, name, "x")
    with pytest.raises(AttributeError):
        _ = amqp.remote_hots  # type: ignore[attr-defined]
    assert not hasattr(amqp, "__dict__")


@pytest.mark.parametrize("method", SURFACE["methods"], ids=name_of)
def test_each_method_has_the_documented_signature(method: dict[str, Any]) -> None:
    signature = inspect.signature(getattr(AMQP, method["name"]))
    parameters = list(signature.parameters.values())[1:]
    assert ", ".join(str(parameter) for parameter in parameters).replace("'", "") == method["params"]
    assert str(signature.return_annotation).replace("<class 'str'>", "str") == method["returns"]
    assert all(parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)
    assert getattr(AMQP, method["name"]).__doc__


@pytest.mark.parametrize("event", [*SURFACE["events"], {"name": "on_ready_to_send"}], ids=name_of)
def test_each_event_takes_a_callable_or_none_and_nothing_else(event: dict[str, Any]) -> None:
    amqp, name = AMQP(), event["name"]
    assert getattr(amqp, name) is None
    calls: list[object] = []
    setattr(amqp, name, calls.append)
    assert getattr(amqp, name) == calls.append
    for wrong in (1, "handler", object()):
        with pytest.raises(TypeError, match=name):
            setattr(amqp, name, wrong)
    assert getattr(amqp, name) == calls.append, "a refused assignment changes nothing"
    setattr(amqp, name, None)
    assert getattr(amqp, name) is None


def test_reset_keeps_the_event_handlers() -> None:
    amqp = AMQP()
    amqp.on_message_in = print
    amqp.reset()
    assert amqp.on_message_in is print


@pytest.mark.parametrize("entry", SETTINGS_DOC, ids=name_of)
def test_each_setting_is_answered_by_config_as_documented(entry: dict[str, Any]) -> None:
    amqp, name = AMQP(), entry["name"].removesuffix("[LinkName]")
    spec = next(spec for spec in SETTINGS if spec.name == name)
    if spec.indexed:
        with pytest.raises(AMQPError) as caught:
            amqp.config(f"{name}[nothing]")
        assert caught.value.code == 600
        return
    if spec.store == "outcome":
        with pytest.raises(AMQPError) as caught:
            amqp.config(name)
        assert caught.value.code == 606
        return
    answer = amqp.config(name)
    assert isinstance(answer, str)
    assert amqp.config(name.upper()) == amqp.config(f"  {name.lower()} ") == answer
    if spec.read_only:
        assert answer == ("1.0" if name == "ProtocolVersion" else "")
        with pytest.raises(AMQPError) as caught:
            amqp.config(f"{name}=1")
        assert caught.value.code == 606
        return
    default = DEVIATIONS.get(("setting default", name), entry.get("default"))
    if default is not None:
        assert answer == (str(default) if not isinstance(default, bool) else ("True" if default else "False"))
    assert amqp.config(f"{name}={answer}") == ""
    assert amqp.config(name) == answer


SAMPLES = {
    "AuthorizationIdentity": "somebody else",
    "FirewallHost": "proxy.example",
    "FirewallType": "3",
    "LocalHost": "127.0.0.1",
    "OpenSSLCADir": "/tmp",
    "SSLEnabledProtocols": "12288",
    "TLS12SignatureAlgorithms": "sha256-rsa",
    "TLS12SupportedGroups": "ecdhe_secp256r1",
    "TLS13KeyShareGroups": "ecdhe_x25519",
    "TLS13SignatureAlgorithms": "ed25519",
    "TLS13SupportedGroups": "ecdhe_x25519",
    "SSLEnabledCipherSuites": "TLS_AES_128_GCM_SHA256",
}


CHANGEABLE = [spec for spec in SETTINGS if not spec.read_only and spec.store != "outcome"]


@pytest.mark.parametrize("spec", CHANGEABLE, ids=lambda spec: spec.name)
def test_each_setting_can_be_changed_and_is_restored_by_reset(spec: SettingSpec) -> None:
    amqp = AMQP()
    before = amqp.config(spec.name)
    if spec.name in SAMPLES:
        value = SAMPLES[spec.name]
    elif spec.type is bool:
        value = "False" if before == "True" else "True"
    elif spec.type is int:
        number = int(before)
        value = str(number + 1 if spec.maximum is None or number < spec.maximum else number - 1)
    else:
        value = "x=1;y[2] "
    assert amqp.config(f"{spec.name}={value}") == ""
    holder = amqp if spec.store == "property" else amqp._settings
    if spec.secret:
        assert getattr(holder, spec.attribute) == value
    else:
        assert amqp.config(spec.name) == value
    amqp.reset()
    assert amqp.config(spec.name) == before
    assert getattr(amqp if spec.store == "property" else amqp._settings, spec.attribute) == spec.default


def test_settings_of_negotiated_tls_are_empty_without_tls() -> None:
    with Server() as server, client(server) as amqp:
        for spec in SETTINGS:
            if spec.name.startswith("SSLNegotiated"):
                assert amqp.config(spec.name) == ""


def test_every_code_has_words_and_the_reference_import_gives_the_same_classes() -> None:
    assert {entry["code"] for entry in SURFACE["error_codes"]} == set(ERROR_CODES)
    assert all(text and not text.endswith(".") for text in ERROR_CODES.values())
    assert amqp10.ipworksmq.AMQP is AMQP
    assert amqp10.ipworksmq.IPWorksMQError is AMQPError
    events = {name: getattr(amqp10.ipworksmq, name) for name in amqp10.ipworksmq.__all__ if name.endswith("Params")}
    assert set(events.values()) == set(EVENT_CLASSES.values()), "programs with type hints name them"
    assert all(cls.__name__ == name for name, cls in events.items())
    error = AMQPError(600, "text", condition="amqp:not-found")
    assert (error.code, error.message, error.condition, str(error)) == (600, "text", "amqp:not-found", "[600] text")

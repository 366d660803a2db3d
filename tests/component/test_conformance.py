"""The documented surface, as facts: ``tests/data/surface.json`` against this project's tables and classes.

Every deliberate difference stands in ``DEVIATIONS`` below, and nowhere else.
"""

from __future__ import annotations

import inspect
import json
import typing
from enum import IntEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from amqp10 import AMQP
from amqp10.component import enums
from amqp10.component.events import EVENT_CLASSES
from amqp10.component.settings import SETTINGS
from amqp10.component.surface import PROPERTIES
from amqp10.errors import ERROR_CODES

SURFACE: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "surface.json").read_text("utf-8"))

# (what, name) -> our value, and why it differs.
DEVIATIONS: dict[tuple[str, str], Any] = {
    # The documented default (TLS 1.0 to 1.2) leaves out the current version and includes two broken ones.
    ("setting default", "SSLEnabledProtocols"): 15360,
    # Named in the documentation of ready_to_send without a description of its own.
    ("extra event", "on_ready_to_send"): (),
    # Passwords in the clear are the program's decision.
    ("extra setting", "AllowPlainWithoutTLS"): "True",
    # Brokers tell queues from topics by them.
    ("extra setting", "DefaultSourceCapabilities"): "",
    ("extra setting", "DefaultTargetCapabilities"): "",
    # Frames in hexadecimal on demand: the documented levels show them decoded.
    ("extra setting", "LogFrameBytes"): "False",
    # A text that is thousands of times as long as the message is no use to anybody.
    ("extra setting", "MaxJSONSize"): "16777216",
    # The documented way to ask for another host name in the AMQP open does not exist.
    ("extra setting", "VirtualHost"): "",
    # Many messages in one call.
    ("extra member", "send_messages"): (),
    # Messages with application properties and annotations.
    ("extra member", "send_message_object"): (),
    ("extra member", "received_message"): (),
    ("extra member", "undelivered_messages"): (),
    # What licensed programs touch first; the documentation of the class does not list them.
    ("extra member", "runtime_license"): (),
    ("extra member", "get_runtime_license"): (),
    ("extra member", "set_runtime_license"): (),
    ("extra member", "about"): (),
    ("extra member", "get_about"): (),
}

TYPES = {"int": int, "bool": bool, "str": str, "bytes": bytes}

ENUMS: dict[type[IntEnum], dict[str, int]] = {
    enums.AuthScheme: {"smNone": 0, "smSASLAnonymous": 1, "smSASLPlain": 2, "smSASLExternal": 3},
    enums.ReceiveMode: {"rmAutomatic": 0, "rmFetch": 1},
    enums.LinkReceiveMode: {"lrmAutomatic": 0, "lrmFetch": 1},
    enums.LinkRole: {"lrSender": 0, "lrReceiver": 1},
    enums.FirewallType: {"fwNone": 0, "fwTunnel": 1, "fwSOCKS4": 2, "fwSOCKS5": 3, "fwSOCKS4A": 10},
    enums.SSLProvider: {"sslpAutomatic": 0, "sslpPlatform": 1, "sslpInternal": 2},
    enums.MessageState: {"Accepted": 0, "Rejected": 1, "Released": 2, "Modified": 3},
    enums.OutcomeDirection: {"Sent": 0, "Received": 1},
    enums.LogLevel: {"Off": 0, "Info": 1, "Verbose": 2, "Debug": 3},
}
VALUE_TYPES = """
    Null Boolean Ubyte Ushort Uint Ulong Byte Short Int Long Float Double Decimal Char Timestamp Uuid Binary String
    Symbol Json
"""
STORE_TYPES = """
    User Machine PFXFile PFXBlob JKSFile JKSBlob PEMKeyFile PEMKeyBlob PublicKeyFile PublicKeyBlob SSHPublicKeyBlob
    P7BFile P7BBlob SSHPublicKeyFile PPKFile PPKBlob XMLFile XMLBlob JWKFile JWKBlob SecurityKey BCFKSFile BCFKSBlob
"""
ENUMS[enums.ValueType] = {f"mvt{name}": value for value, name in enumerate(VALUE_TYPES.split())}
ENUMS[enums.CertStoreType] = {**{f"cst{name}": value for value, name in enumerate(STORE_TYPES.split())}, "cstAuto": 99}


def test_the_property_table_is_the_documented_one() -> None:
    ours = [
        {
            "name": spec.name,
            "type": spec.type.__name__,
            "default": spec.default.decode() if isinstance(spec.default, bytes) else spec.default,
            "settable": spec.settable,
            "index": spec.index,
        }
        for spec in PROPERTIES
    ]
    assert ours == SURFACE["properties"]
    for spec in PROPERTIES:
        assert type(spec.default) is spec.type
        if spec.enum is not None:
            assert spec.default in list(spec.enum)


def test_the_class_has_the_documented_members_and_no_others() -> None:
    documented = {member["name"] for kind in ("methods", "events") for member in SURFACE[kind]}
    for entry in SURFACE["properties"]:
        documented.add(f"get_{entry['name']}")
        if entry["settable"]:
            documented.add(f"set_{entry['name']}")
        if entry["index"] is None:
            documented.add(entry["name"])
    documented |= {name for kind, name in DEVIATIONS if kind in ("extra member", "extra event")}
    assert {name for name in dir(AMQP) if not name.startswith("_")} == documented


@pytest.mark.parametrize("entry", SURFACE["properties"], ids=lambda entry: entry["name"])
def test_each_getter_and_setter_has_the_documented_signature(entry: dict[str, Any]) -> None:
    getter = getattr(AMQP, f"get_{entry['name']}")
    hints = typing.get_type_hints(getter)
    returned = hints.pop("return")
    # An enumeration is a kind of number.
    assert issubclass(returned, TYPES[entry["type"]])
    assert issubclass(returned, bool) is (entry["type"] == "bool")
    index = entry["index"]
    assert list(inspect.signature(getter).parameters) == ["self", *([index] if index else [])]
    assert hints == ({index: int} if index else {})
    if entry["settable"]:
        setter = getattr(AMQP, f"set_{entry['name']}")
        assert list(inspect.signature(setter).parameters) == ["self", "value"]
        hints = typing.get_type_hints(setter, localns={"MessageId": str | int | bytes | UUID})
        assert hints["return"] is type(None)
        taken = typing.get_args(hints["value"]) or (hints["value"],)
        assert TYPES[entry["type"]] in taken, "what the documentation says can be given"


def test_the_error_codes_are_the_documented_ones() -> None:
    assert sorted(ERROR_CODES) == sorted(entry["code"] for entry in SURFACE["error_codes"])


def test_the_settings_are_the_documented_ones() -> None:
    documented = [entry["name"] for entry in SURFACE["config_settings"]]
    extra = [name for kind, name in DEVIATIONS if kind == "extra setting"]
    ours = [f"{spec.name}[LinkName]" if spec.indexed else spec.name for spec in SETTINGS]
    assert ours == documented + extra
    assert len(documented) == 71


@pytest.mark.parametrize(("spec", "entry"), list(zip(SETTINGS, SURFACE["config_settings"], strict=False)))
def test_each_setting_has_the_documented_facts(spec: Any, entry: dict[str, Any]) -> None:
    assert spec.group == entry["group"]
    assert spec.read_only is entry["read_only"]
    assert (spec.store == "outcome") is ("only_in" in entry)
    if "default" in entry:
        expected = DEVIATIONS.get(("setting default", spec.name), entry["default"])
        assert spec.default == expected
        assert type(spec.default) is type(expected)


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.__name__)
def test_enumerations_have_the_documented_names_and_numbers(enum: type[IntEnum]) -> None:
    assert {member.name: member.value for member in enum} == ENUMS[enum]


def test_every_enumeration_is_checked_here() -> None:
    assert set(enums.__all__) == {enum.__name__ for enum in ENUMS}


def test_the_events_are_the_documented_ones() -> None:
    documented = [event["name"] for event in SURFACE["events"]]
    extra = [name for kind, name in DEVIATIONS if kind == "extra event"]
    assert sorted(EVENT_CLASSES) == sorted(documented + extra)


@pytest.mark.parametrize("event", SURFACE["events"], ids=lambda event: event["name"])
def test_each_event_class_has_the_documented_parameters(event: dict[str, Any]) -> None:
    cls = EVENT_CLASSES[event["name"]]
    assert cls.__name__ == event["params_class"]
    assert list(cls.PARAMS) == list(event["params"])
    public = {name for name, _ in inspect.getmembers(cls, lambda member: isinstance(member, property))}
    assert public == set(event["params"])
    for name, type_name in event["params"].items():
        attribute = inspect.getattr_static(cls, name)
        assert isinstance(attribute, property)
        assert typing.get_type_hints(attribute.fget)["return"].__name__ == type_name
        assert (attribute.fset is not None) is (name in event["settable"])

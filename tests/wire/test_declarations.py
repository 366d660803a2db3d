"""Every declared composite, restricted type and enumeration against the specification's own XML, field by field."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import amqp10
from amqp10.codec import Described, Symbol, ULong, encode
from amqp10.codec.composite import RESTRICTED, Composite, decode_composite, lookup
from amqp10.conditions import ErrorCondition
from amqp10.wire import messaging, performatives
from amqp10.wire.messaging import SECTION_NAMES

SPEC = Path(__file__).parents[1] / "data" / "spec"
NAMESPACE = "{http://www.amqp.org/schema/amqp.xsd}"


def _types(kind: str) -> dict[str, ElementTree.Element]:
    found = {}
    for path in sorted(SPEC.glob("*.xml")):
        for element in ElementTree.parse(path).getroot().iter(f"{NAMESPACE}type"):
            if element.get("class") == kind:
                found[str(element.get("name"))] = element
    return found


COMPOSITES = _types("composite")
RESTRICTIONS = _types("restricted")


def _default(field: ElementTree.Element, restricted: dict[str, ElementTree.Element]) -> Any:
    text = field.get("default")
    if text is None:
        return None
    kind = str(field.get("type"))
    source = restricted.get(kind)
    if source is not None:
        for choice in source.iter(f"{NAMESPACE}choice"):
            if choice.get("name") == text:
                text = str(choice.get("value"))
        kind = str(source.get("source"))
    if kind == "boolean":
        return text == "true"
    if kind in ("symbol", "string"):
        return text
    return int(text)


def test_the_specification_was_read() -> None:
    assert len(COMPOSITES) == 33
    assert "transfer" in COMPOSITES


@pytest.mark.parametrize("name", sorted(COMPOSITES))
def test_composite_is_declared_as_the_specification_has_it(name: str) -> None:
    element = COMPOSITES[name]
    descriptor = element.find(f"{NAMESPACE}descriptor")
    assert descriptor is not None
    domain, code = (int(part, 16) for part in str(descriptor.get("code")).split(":"))
    assert domain == 0
    cls = lookup(ULong(code))
    assert cls is not None, f"{name} is not declared"
    assert lookup(Symbol(str(descriptor.get("name")))) is cls
    assert (name, code, descriptor.get("name")) == (cls.NAME, cls.DESCRIPTOR_CODE, cls.DESCRIPTOR_NAME)
    expected = [
        (
            field.get("name"),
            field.get("type"),
            field.get("mandatory") == "true",
            field.get("multiple") == "true",
            field.get("requires"),
            _default(field, RESTRICTIONS),
        )
        for field in element.iter(f"{NAMESPACE}field")
    ]
    declared = [
        (spec.name, spec.type, spec.mandatory, spec.multiple, spec.requires, spec.default) for spec in cls.FIELDS
    ]
    assert declared == expected


@pytest.mark.parametrize("name", sorted(RESTRICTED))
def test_restricted_type_has_the_source_that_the_specification_gives(name: str) -> None:
    source = str(RESTRICTIONS[name].get("source"))
    while source in RESTRICTIONS:
        source = str(RESTRICTIONS[source].get("source"))
    assert RESTRICTED[name] == source


@pytest.mark.parametrize(
    ("name", "enum"),
    [
        ("sender-settle-mode", performatives.SenderSettleMode),
        ("receiver-settle-mode", performatives.ReceiverSettleMode),
        ("sasl-code", performatives.SaslCode),
        ("terminus-durability", messaging.TerminusDurability),
        ("terminus-expiry-policy", messaging.ExpiryPolicy),
        ("std-dist-mode", messaging.DistributionMode),
        ("txn-capability", messaging.TxnCapability),
    ],
)
def test_choices_have_the_values_of_the_specification(name: str, enum: Any) -> None:
    choices = {choice.get("value") for choice in RESTRICTIONS[name].iter(f"{NAMESPACE}choice")}
    assert {str(member.value) for member in enum} == choices


def test_every_error_condition_of_the_specification_is_known() -> None:
    conditions = {
        choice.get("value")
        for name in ("amqp-error", "connection-error", "session-error", "link-error", "transaction-error")
        for choice in RESTRICTIONS[name].iter(f"{NAMESPACE}choice")
    }
    assert {str(member.value) for member in ErrorCondition} == conditions


def test_no_error_condition_is_spelt_out_anywhere_else() -> None:
    values = {f'"{member.value}"' for member in ErrorCondition}
    spelt = [
        f"{path.name}: {value}"
        for path in sorted(Path(amqp10.__file__).parent.rglob("*.py"))
        for value in values
        if path.name != "conditions.py" and value in path.read_text(encoding="utf-8").replace(f"``{value}``", "")
    ]
    assert spelt == []


def test_sections_have_the_descriptors_of_the_specification() -> None:
    expected = {}
    for element in [*COMPOSITES.values(), *RESTRICTIONS.values()]:
        descriptor = element.find(f"{NAMESPACE}descriptor")
        if element.get("provides") == "section" and descriptor is not None:
            expected[descriptor.get("name")] = int(str(descriptor.get("code")).split(":")[1], 16)
    assert dict(SECTION_NAMES) == expected


SAMPLES: list[Composite] = [
    performatives.Open(container_id="c", hostname="h", max_frame_size=1000, channel_max=3, idle_time_out=5),
    performatives.Begin(next_outgoing_id=1, incoming_window=2, outgoing_window=3, handle_max=4),
    performatives.Attach(
        name="l",
        handle=1,
        role=True,
        source=messaging.Source(address="a", outcomes=(Symbol("amqp:accepted:list"),)),
        target=messaging.Target(address="b"),
    ),
    performatives.Flow(incoming_window=1, next_outgoing_id=2, outgoing_window=3, handle=0, link_credit=5, drain=True),
    performatives.Transfer(handle=0, delivery_id=1, delivery_tag=b"t", message_format=0, more=True),
    performatives.Disposition(role=True, first=1, last=2, settled=True, state=messaging.ACCEPTED),
    performatives.Detach(handle=0, closed=True, error=performatives.Error(condition="amqp:not-found")),
    performatives.SaslMechanisms(sasl_server_mechanisms=(Symbol("PLAIN"), Symbol("ANONYMOUS"))),
    messaging.Modified(delivery_failed=True, message_annotations={Symbol("x"): 1}),
    messaging.Properties(message_id="id", user_id=b"u", subject="s", group_sequence=4),
]


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.NAME for sample in SAMPLES])
def test_composite_survives_a_round_trip(sample: Composite) -> None:
    data = sample.encode()
    decoded, end = decode_composite(data, 0)
    assert decoded == sample
    assert end == len(data)
    assert decoded.encode() == data


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.NAME for sample in SAMPLES])
def test_descriptor_is_taken_in_every_form(sample: Composite) -> None:
    body = sample.encode()[3:]
    code = sample.DESCRIPTOR_CODE
    for descriptor in (
        b"\x53" + bytes((code,)),
        b"\x80" + code.to_bytes(8, "big"),
        encode(Symbol(sample.DESCRIPTOR_NAME)),
    ):
        decoded, _ = decode_composite(b"\x00" + descriptor + body, 0)
        assert decoded == sample


def test_a_secret_field_does_not_show() -> None:
    init = performatives.SaslInit(mechanism="PLAIN", initial_response=b"\0user\0hunter2")
    assert "hunter2" not in repr(init)
    assert "***" in repr(init)


def test_unknown_described_values_stay_as_they_are() -> None:
    source = messaging.Source(filter={Symbol("f"): Described(Symbol("apache.org:selector-filter:string"), "a = 1")})
    decoded, _ = decode_composite(source.encode(), 0)
    assert decoded == source

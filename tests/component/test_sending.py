"""Sending: settle modes, fields and values on the wire, credit, sizes, and a socket that is full."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from amqp10 import AMQP, AMQPError, AMQPMessageOutEventParams, MessageState, ValueType
from amqp10.codec import (
    Byte,
    Char,
    Decimal32,
    Decimal64,
    Decimal128,
    Described,
    Float,
    Int,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
)
from amqp10.engine import SessionRequested
from amqp10.errors import ProtocolError
from amqp10.wire.message import Message
from amqp10.wire.messaging import (
    ACCEPTED,
    RELEASED,
    Declared,
    DeliveryState,
    Modified,
    Received,
    Rejected,
    TransactionalState,
)
from amqp10.wire.performatives import Attach, Error, ReceiverSettleMode, SenderSettleMode, Transfer
from tests.component.server import Peer, Server, client, faster
from tests.component.test_events_rules import code_of, pump


def ready(amqp: AMQP, link: int = 0) -> AMQP:
    pump(amqp, lambda: amqp.get_link_ready_to_send(link))
    return amqp


# -- settle modes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("settled", [True, False])
def test_the_settle_mode_of_a_sender_link_decides_and_mixed_asks_the_message(mode: int, settled: bool) -> None:
    with Server() as server, client(server) as amqp:
        amqp.config(f"DefaultSenderSettleMode={mode}")
        amqp.create_sender_link("s", "out", "q")
        assert amqp.config("SenderSettleMode[out]") == str(mode)
        amqp.message_settled = settled
        amqp.send_message("out")
        unsettled = mode == 0 or (mode == 2 and not settled)
        assert amqp.outgoing_message_count == (1 if unsettled else 0)
        pump(amqp, lambda: amqp.outgoing_message_count == 0)
        attach = server.received(Attach)[0]
        assert int(attach.snd_settle_mode) == mode
        assert int(attach.rcv_settle_mode) == ReceiverSettleMode.FIRST
        assert bool(server.received(Transfer)[0].settled) is not unsettled


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_the_settle_mode_asked_of_a_sender_by_a_receiver_link_is_what_was_negotiated(mode: int) -> None:
    with Server() as server, client(server) as amqp:
        amqp.config(f"DefaultSenderSettleMode={mode}")
        amqp.create_receiver_link("s", "in", "q")
        assert int(server.received(Attach)[0].snd_settle_mode) == mode
        assert amqp.config("SenderSettleMode[in]") == str(mode)

        def other(peer: Peer, event: Any) -> bool:
            if type(event).__name__ != "LinkRequested":
                return False
            peer.accept(event.link, snd_settle_mode=SenderSettleMode.SETTLED)
            return True

        server.hooks.append(other)
        amqp.create_receiver_link("s", "in2", "q")
        assert amqp.config("SenderSettleMode[in2]") == "1", "the sender has the last word"


def test_a_receiver_that_states_another_settle_mode_does_not_change_the_senders() -> None:
    def other(peer: Peer, event: Any) -> bool:
        if type(event).__name__ != "LinkRequested":
            return False
        peer.accept(event.link, snd_settle_mode=SenderSettleMode.MIXED)
        return True

    with Server() as server, client(server) as amqp:
        server.hooks.append(other)
        amqp.config("DefaultSenderSettleMode=0")
        amqp.create_sender_link("s", "out", "q")
        assert amqp.config("SenderSettleMode[out]") == "0"
        amqp.message_settled = True
        amqp.send_message("out")
        assert amqp.outgoing_message_count == 1


# -- fields ----------------------------------------------------------------------------------------------------------

FIELDS: dict[str, tuple[Any, str, str, Any]] = {
    # property -> value, section, field on the wire, value on the wire
    "message_durable": (True, "header", "durable", True),
    "message_priority": (9, "header", "priority", UByte(9)),
    "message_ttl": (5000, "header", "ttl", UInt(5000)),
    "message_first_acquirer": (True, "header", "first_acquirer", True),
    "message_delivery_count": (3, "header", "delivery_count", UInt(3)),
    "message_id": ("id-1", "properties", "message_id", "id-1"),
    "message_user_id": ("J\u00fcrgen\udcff", "properties", "user_id", "J\u00fcrgen".encode() + b"\xff"),
    "message_to": ("there", "properties", "to", "there"),
    "message_subject": ("subj\u20ac", "properties", "subject", "subj\u20ac"),
    "message_reply_to": ("back", "properties", "reply_to", "back"),
    "message_correlation_id": ("c-1", "properties", "correlation_id", "c-1"),
    "message_content_type": ("text/plain", "properties", "content_type", Symbol("text/plain")),
    "message_content_encoding": ("gzip", "properties", "content_encoding", Symbol("gzip")),
    "message_absolute_expiry_time": (
        1_700_000_000_000,
        "properties",
        "absolute_expiry_time",
        Timestamp(1_700_000_000_000),
    ),
    "message_creation_time": (1, "properties", "creation_time", Timestamp(1)),
    "message_group_id": ("g", "properties", "group_id", "g"),
    "message_group_sequence": (4294967295, "properties", "group_sequence", UInt(4294967295)),
    "message_reply_to_group_id": ("rg", "properties", "reply_to_group_id", "rg"),
}


def test_every_field_reaches_the_wire_in_its_type_and_comes_back_as_it_was() -> None:
    with Server() as server, client(server, "out>", "in<") as amqp:
        for name, (value, *_) in FIELDS.items():
            setattr(amqp, name, value)
        amqp.message_value_type = ValueType.mvtBinary
        amqp.message_value = "00ff"
        amqp.send_message("out")
        server.wait_for(lambda: bool(server.messages))
        payload = server.messages[0]
        message = Message.decode(payload)
        for name, (_, section, field, wire) in FIELDS.items():
            found = getattr(getattr(message, section), field)
            assert found == wire, name
            assert type(found) is type(wire), name
        assert message.data == b"\x00\xff"
        got: list[str] = []

        def handler(event: Any) -> None:
            assert event.message_id == "id-1"
            for name, (value, *_) in FIELDS.items():
                assert getattr(amqp, f"received_{name}") == value, name
                assert getattr(amqp, f"get_incoming_{name}")(0) == value, name
            assert amqp.received_message_value_type == ValueType.mvtBinary
            got.append(amqp.received_message_value)

        amqp.on_message_in = handler
        server.put("in", payload)
        pump(amqp, lambda: bool(got))
        assert got == ["00ff"] or got == ["00FF"]


def test_every_field_is_seen_in_the_outgoing_view_as_it_was_sent() -> None:
    with Server(hold={"disposition"}) as server, client(server, "out>") as amqp:
        for name, (value, *_) in FIELDS.items():
            setattr(amqp, name, value)
        amqp.message_settled = False
        amqp.message_value_type = ValueType.mvtBinary
        amqp.message_value = "00ff"
        amqp.send_message("out")
        amqp.reset_message()
        assert amqp.message_id == ""
        for name, (value, *_) in FIELDS.items():
            assert getattr(amqp, f"get_outgoing_{name}")(0) == value, name
        assert amqp.get_outgoing_message_value(0) == "00FF"
        assert amqp.get_outgoing_message_value_type(0) is ValueType.mvtBinary
        assert amqp.get_outgoing_message_link_name(0) == "out"
        assert amqp.get_outgoing_message_settled(0) is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("delivery_count", 1),
        ("delivery_count", 2**32 - 1),
        ("priority", 0),
        ("priority", 3),
        ("priority", 255),
        ("ttl", 0),
        ("ttl", 2**32 - 1),
        ("group_sequence", 0),
        ("creation_time", 1),
        ("absolute_expiry_time", 2**63 - 1),
        ("id", "x" * 300),
        ("subject", "x" * 70_000),
    ],
)
def test_values_next_to_the_default_and_at_the_limits_reach_the_wire(name: str, value: Any) -> None:
    with Server(hold={"disposition"}) as server, client(server, "out>") as amqp:
        amqp.message_group_id = "g"
        setattr(amqp, f"message_{name}", value)
        amqp.message_settled = False
        amqp.send_message("out")
        assert getattr(amqp, f"get_outgoing_message_{name}")(0) == value
        server.wait_for(lambda: bool(server.messages))
        message = Message.decode(server.messages[0])
        section = message.header if name in ("delivery_count", "priority", "ttl") else message.properties
        assert getattr(section, "message_id" if name == "id" else name) == value


def test_fields_that_are_not_set_are_absent_from_the_wire() -> None:
    with Server() as server, client(server, "out>") as amqp:
        amqp.message_value_type = ValueType.mvtString
        amqp.message_value = "x"
        amqp.send_message("out")
        # Not set in other ways: 0 or -1 for times, a group sequence without a group, content fields without content.
        amqp.message_absolute_expiry_time = -1
        amqp.message_creation_time = -1
        amqp.message_group_sequence = 7
        amqp.message_content_type = "text/plain"
        amqp.message_content_encoding = "gzip"
        amqp.message_ttl = -1
        amqp.send_message("out")
        amqp.message_group_id = "g"
        amqp.message_group_sequence = -1
        amqp.message_ttl = 0
        amqp.send_message("out")
        server.wait_for(lambda: len(server.messages) == 3)
        assert server.messages[0] == server.messages[1] == bytes.fromhex("005377a10178")
        last = Message.decode(server.messages[2])
        assert last.properties is not None
        assert last.header is not None
        assert (last.properties.group_id, last.properties.group_sequence, last.header.ttl) == ("g", None, 0)


def test_what_was_sent_can_be_changed_at_once_and_is_seen_in_the_outgoing_view() -> None:
    with Server(hold={"disposition"}) as server, client(server, "out>") as amqp:
        amqp.message_settled = False
        for name, (value, *_) in FIELDS.items():
            setattr(amqp, name, value)
        amqp.message_value_type = ValueType.mvtBinary
        amqp.message_value = "00ff"
        amqp.send_message("out")
        assert amqp.message_link_name == "out"
        amqp.reset_message()
        assert amqp.message_link_name == ""
        amqp.message_settled = False
        amqp.send_message("out")
        assert amqp.outgoing_message_count == 2
        for name, (value, *_) in FIELDS.items():
            assert getattr(amqp, f"get_outgoing_{name}")(0) == value
        assert amqp.get_outgoing_message_id(1) == ""
        assert amqp.get_outgoing_message_link_name(0) == "out"
        assert amqp.get_outgoing_message_settled(0) is False
        amqp.disconnect()
        assert amqp.outgoing_message_count == 2, "so that a program can send them again"
        assert amqp.get_outgoing_message_id(0) == "id-1"
        amqp.connect_to(server.host, server.port)
        assert amqp.outgoing_message_count == 0


def test_generated_ids_are_unique_and_replace_the_one_that_was_set() -> None:
    with Server() as server, client(server, "out>") as amqp:
        amqp.config("GenerateMessageId=True")
        amqp.message_id = "mine"
        seen = set()
        for _ in range(5):
            amqp.send_message("out")
            seen.add(str(uuid.UUID(amqp.message_id)))
        assert len(seen) == 5
        server.wait_for(lambda: len(server.messages) == 5)
        assert {str(Message.decode(payload).properties.message_id) for payload in server.messages} == seen  # type: ignore[union-attr]


# -- values ----------------------------------------------------------------------------------------------------------

VALUES: list[tuple[ValueType, str, Any, str | None]] = [
    # type, text, value on the wire, text when it comes back if that differs
    (ValueType.mvtNull, "ignored", None, ""),
    (ValueType.mvtBoolean, "true", True, "True"),
    (ValueType.mvtBoolean, "False", False, None),
    (ValueType.mvtUbyte, "255", UByte(255), None),
    (ValueType.mvtUshort, "65535", UShort(65535), None),
    (ValueType.mvtUint, "4294967295", UInt(4294967295), None),
    (ValueType.mvtUlong, "18446744073709551615", ULong(2**64 - 1), None),
    (ValueType.mvtByte, "-128", Byte(-128), None),
    (ValueType.mvtShort, "-32768", Short(-32768), None),
    (ValueType.mvtInt, "-2147483648", Int(-(2**31)), None),
    (ValueType.mvtLong, "-9223372036854775808", -(2**63), None),
    (ValueType.mvtFloat, "1.5", Float(1.5), None),
    (ValueType.mvtDouble, "0.1", 0.1, None),
    (ValueType.mvtDouble, "Infinity", math.inf, None),
    (ValueType.mvtDecimal, "0A1B2C3D", Decimal32(bytes.fromhex("0A1B2C3D")), None),
    (ValueType.mvtDecimal, "0A1B2C3D" * 2, Decimal64(bytes.fromhex("0A1B2C3D" * 2)), None),
    (ValueType.mvtDecimal, "0A1B2C3D" * 4, Decimal128(bytes.fromhex("0A1B2C3D" * 4)), None),
    (ValueType.mvtChar, "\U0001f600", Char("\U0001f600"), None),
    (ValueType.mvtTimestamp, "-1", Timestamp(-1), None),
    (
        ValueType.mvtUuid,
        "12345678000010008000 00805F9B34FB".replace(" ", ""),
        uuid.UUID("12345678-0000-1000-8000-00805f9b34fb"),
        "12345678-0000-1000-8000-00805f9b34fb",
    ),
    (ValueType.mvtString, "h\u00e9llo\n\0", "h\u00e9llo\n\0", None),
    (ValueType.mvtString, "", "", None),
    (ValueType.mvtString, "x" * 70_000, "x" * 70_000, None),
    (ValueType.mvtSymbol, "a:b", Symbol("a:b"), None),
    (ValueType.mvtJson, '{"type":"list","value":["a",null,{"type":"ubyte","value":3}]}', ["a", None, UByte(3)], None),
    (ValueType.mvtJson, '{"descriptor":{"type":"symbol","value":"d"},"value":"x"}', Described(Symbol("d"), "x"), None),
]


@pytest.mark.parametrize(("kind", "text", "wire", "back"), VALUES, ids=lambda value: getattr(value, "name", ""))
def test_each_type_of_value_travels_in_its_wire_type_and_comes_back(
    kind: ValueType, text: str, wire: Any, back: str | None
) -> None:
    import json

    with Server() as server, client(server, "out>", "in<") as amqp:
        amqp.message_value_type = kind
        amqp.message_value = text
        amqp.send_message("out")
        server.wait_for(lambda: bool(server.messages))
        value = Message.decode(server.messages[0]).value
        assert value == wire
        assert type(value) is type(wire)
        got: list[tuple[int, str]] = []
        amqp.on_message_in = lambda event: got.append((amqp.received_message_value_type, amqp.received_message_value))
        server.put("in", server.messages[0])
        pump(amqp, lambda: bool(got))
        assert got[0][0] == kind
        if kind is ValueType.mvtJson:
            assert json.loads(got[0][1]) == json.loads(text)
        else:
            assert got[0][1] == (text if back is None else back)


BAD_VALUES = [
    (ValueType.mvtBoolean, "2"),
    (ValueType.mvtUbyte, "256"),
    (ValueType.mvtUbyte, "-1"),
    (ValueType.mvtUshort, "65536"),
    (ValueType.mvtUint, ""),
    (ValueType.mvtUint, "1.0"),
    (ValueType.mvtUlong, "18446744073709551616"),
    (ValueType.mvtByte, "128"),
    (ValueType.mvtShort, "x"),
    (ValueType.mvtInt, "0x10"),
    (ValueType.mvtLong, "9" * 100_000),
    (ValueType.mvtFloat, "one"),
    (ValueType.mvtDouble, "1,5"),
    (ValueType.mvtDecimal, "0A1B2C"),
    (ValueType.mvtDecimal, "zz"),
    (ValueType.mvtChar, "ab"),
    (ValueType.mvtChar, ""),
    (ValueType.mvtTimestamp, "now"),
    (ValueType.mvtUuid, "1234"),
    (ValueType.mvtBinary, "abc"),
    (ValueType.mvtBinary, "gg"),
    (ValueType.mvtString, "\ud800"),
    (ValueType.mvtSymbol, "\u00e4"),
    (ValueType.mvtJson, "{"),
    (ValueType.mvtJson, '{"type":"array","value":["a",null]}'),
    (ValueType.mvtJson, '{"type":"map","value":["a","b","a","c"]}'),
]


@pytest.mark.parametrize(("kind", "text"), BAD_VALUES, ids=lambda value: getattr(value, "name", str(value)[:12]))
def test_a_malformed_value_raises_604_that_names_it_and_nothing_is_sent(kind: ValueType, text: str) -> None:
    with Server() as server, client(server, "out>") as amqp:
        ready(amqp)
        credit = amqp.get_link_credit(0)
        amqp.message_value_type = kind
        amqp.message_value = text
        with pytest.raises(AMQPError) as caught:
            amqp.send_message("out")
        assert caught.value.code == 604
        assert "message_value" in caught.value.message
        assert len(caught.value.message) < 1000
        assert amqp.get_link_credit(0) == credit
        assert amqp.message_value == text
        amqp.message_value_type = ValueType.mvtString
        amqp.message_value = "fine"
        amqp.send_message("out")
        server.wait_for(lambda: bool(server.messages))
        assert server.texts() == ["fine"]


def test_a_lone_surrogate_in_an_id_raises_604() -> None:
    with Server() as server, client(server, "out>") as amqp:
        amqp.message_id = "\ud800"
        assert code_of(lambda: amqp.send_message("out")) == 604
        for name in ("message_to", "message_subject", "message_reply_to", "message_group_id", "message_correlation_id"):
            assert code_of(lambda name=name: setattr(amqp, name, "\ud800")) == 604  # type: ignore[misc]
        assert code_of(lambda: setattr(amqp, "message_user_id", "\ud800")) == 604


def test_decimals_can_be_made_of_decimal_numbers() -> None:
    assert Decimal64.from_decimal(Decimal("1.5")).hex()  # what a program would put into message_value


# -- sizes -----------------------------------------------------------------------------------------------------------


def test_a_message_larger_than_the_peers_frames_is_split_and_one_larger_than_its_limit_is_refused() -> None:
    with Server(max_frame_size=512, max_message_size=5000) as server, client(server, "out>") as amqp:
        ready(amqp)
        amqp.message_value_type = ValueType.mvtString
        amqp.message_value = "x" * 4000
        amqp.send_message("out")
        server.wait_for(lambda: bool(server.messages))
        assert server.texts() == ["x" * 4000]
        assert len(server.received(Transfer)) > 8
        credit = amqp.get_link_credit(0)
        amqp.message_value = "x" * 5000
        with pytest.raises(AMQPError, match="5000") as caught:
            amqp.send_message("out")
        assert caught.value.code == 600
        assert amqp.get_link_credit(0) == credit
        amqp.message_value = "small"
        amqp.send_message("out")
        server.wait_for(lambda: len(server.messages) == 2)


# -- outcomes --------------------------------------------------------------------------------------------------------


def test_each_outcome_is_reported_with_its_settings_readable_in_the_handler_only() -> None:
    outcomes: list[DeliveryState] = [
        ACCEPTED,
        Rejected(error=Error(condition=Symbol("amqp:precondition-failed"), description="too late")),
        Rejected(),
        RELEASED,
        Modified(
            delivery_failed=True,
            undeliverable_here=True,
            message_annotations={Symbol("x-opt-why"): "because"},
        ),
    ]
    with Server() as server, client(server, "out>") as amqp:
        server.outcome = lambda delivery: outcomes[len(server.messages) - 1]
        seen: list[tuple[Any, ...]] = []
        out: list[str] = []
        keys = (
            "RejectErrorCondition",
            "RejectErrorDescription",
            "ModifiedDeliveryFailed",
            "ModifiedUndeliverableHere",
            "ModifiedMessageAnnotations",
        )

        def on_outcome(event: Any) -> None:
            assert event.direction == 1
            assert amqp.get_outgoing_message_id(0) == event.message_id
            seen.append((event.message_id, event.state, *[amqp.config(key) for key in keys]))
            assert code_of(lambda: amqp.config("RejectErrorCondition=x")) == 606

        amqp.on_message_outcome = on_outcome
        amqp.on_message_out = lambda event: out.append(event.message_id)
        amqp.message_settled = False
        for i in range(len(outcomes)):
            amqp.message_id = str(i)
            amqp.send_message("out")
            pump(amqp, lambda i=i: len(out) == i + 1)  # type: ignore[misc]
        assert out == ["0", "1", "2", "3", "4"]
        plain = ("", "", "False", "False", "")
        assert seen[0] == ("0", 0, *plain)
        assert seen[1] == ("1", 1, "amqp:precondition-failed", "too late", "False", "False", "")
        assert seen[2] == ("2", 1, *plain)
        assert seen[3] == ("3", 2, *plain)
        assert seen[4][:6] == ("4", 3, "", "", "True", "True")
        assert "x-opt-why" in seen[4][6]
        for key in keys:
            assert code_of(lambda key=key: amqp.config(key)) == 606  # type: ignore[misc]


@pytest.mark.parametrize(
    ("state", "settled", "reported"),
    [
        (None, True, MessageState.Accepted),
        (None, False, None),
        (Received(section_number=0, section_offset=0), False, None),
        (Received(section_number=0, section_offset=0), True, MessageState.Released),
        (Declared(txn_id=b"t"), True, MessageState.Released),
        (Declared(txn_id=b"t"), False, None),
        (Described(Symbol("example:parked:list"), []), True, MessageState.Released),
        (Described(ULong(0x99), [1]), False, None),
        (TransactionalState(txn_id=b"t", outcome=Rejected()), True, MessageState.Rejected),
        (TransactionalState(txn_id=b"t", outcome=Rejected()), False, None),
        (TransactionalState(txn_id=b"t"), True, MessageState.Released),
        (ACCEPTED, False, MessageState.Accepted),
    ],
)
def test_only_an_outcome_is_an_outcome_and_what_is_unknown_does_not_pass_for_accepted(
    state: Any, settled: bool, reported: MessageState | None
) -> None:
    with Server(hold={"disposition"}) as server, client(server, "out>") as amqp:
        events: list[tuple[str, int]] = []
        amqp.on_message_outcome = lambda event: events.append(("outcome", event.state))
        amqp.on_message_out = lambda event: events.append(("out", amqp.outgoing_message_count))
        amqp.message_settled = False
        amqp.send_message("out")
        server.wait_for(lambda: len(server.held) == 1)
        delivery = server.held[0]
        server.run(lambda: delivery.settle(state) if settled else delivery.update(state))
        amqp.create_session("t")  # what the server says to this comes behind the disposition
        if reported is None:
            assert not events
            assert amqp.outgoing_message_count == 1
            server.run(lambda: delivery.settle(ACCEPTED))
            pump(amqp, lambda: amqp.outgoing_message_count == 0)
            assert events == [("outcome", MessageState.Accepted), ("out", 0)]
        else:
            assert events == [("outcome", reported), ("out", 0)]


def test_an_outcome_that_the_peer_has_not_settled_is_settled_here_and_told_once() -> None:
    with Server(hold={"disposition"}) as server, client(server, "out>") as amqp:
        events: list[str] = []
        amqp.on_message_outcome = lambda event: events.append("outcome")
        amqp.on_message_out = lambda event: events.append("out")
        amqp.message_settled = False
        amqp.send_message("out")
        server.wait_for(lambda: len(server.held) == 1)
        delivery = server.held[0]

        def twice(peer: Peer) -> None:
            # Both in one piece: the client hears of the second before it has answered the first.
            delivery.update(RELEASED)
            peer.flush()
            delivery.update(RELEASED)

        server.do(twice)
        pump(amqp, lambda: amqp.outgoing_message_count == 0)
        server.wait_for(lambda: delivery.remote_settled)
        amqp.create_session("t")
        assert events == ["outcome", "out"]


# -- credit and a full socket ----------------------------------------------------------------------------------------


def test_without_credit_sending_waits_until_there_is_some() -> None:
    with Server(credit=0) as server, client(server, "out>") as amqp:
        first = server.hooks

        def give(peer: Peer, event: Any) -> bool:
            return False

        first.append(give)
        assert amqp.get_link_ready_to_send(0) is False
        events: list[str] = []
        amqp.on_link_ready_to_send = lambda event: events.append(event.link_name)
        import threading

        def later() -> None:
            server.do(lambda peer: peer.receiver("out").flow(1))

        thread = threading.Thread(target=later)
        thread.start()
        amqp.send_message("out")
        thread.join()
        assert events == ["out"]
        assert amqp.get_link_credit(0) == 0
        server.do(lambda peer: peer.receiver("out").flow(2))
        pump(amqp, lambda: len(events) == 2)
        server.do(lambda peer: peer.receiver("out").flow(5))
        pump(amqp, lambda: amqp.get_link_credit(0) == 5)
        assert events == ["out", "out"], "credit that grows is no news"


def test_credit_that_was_taken_back_is_told_when_it_comes_again_and_more_of_it_is_not() -> None:
    with Server(credit=5) as server, client(server) as amqp:
        told: list[int] = []
        amqp.on_link_ready_to_send = lambda event: told.append(amqp.get_link_credit(event.link_index))
        amqp.create_sender_link("s", "out", "q")
        pump(amqp, lambda: told == [5])
        for credit, expected in ((7, [5]), (0, [5]), (0, [5]), (3, [5, 3]), (1, [5, 3])):
            server.do(lambda peer, credit=credit: peer.receiver("out").flow(credit))  # type: ignore[misc]
            pump(amqp, lambda credit=credit: amqp.get_link_credit(0) == credit)  # type: ignore[misc]
            assert told == expected


def test_a_peer_that_drains_a_sender_link_gets_its_credit_back_at_once() -> None:
    with Server(credit=5) as server, client(server, "out>") as amqp:
        ready(amqp)
        told: list[Any] = []
        amqp.on_link_ready_to_send = told.append
        amqp.send_message("out")
        server.wait_for(lambda: len(server.messages) == 1)
        server.do(lambda peer: peer.receiver("out").flow(4, drain=True))
        pump(amqp, lambda: amqp.get_link_credit(0) == 0)
        server.wait_for(lambda: server.peer.receiver("out").credit == 0)
        assert not server.do(lambda peer: peer.receiver("out").drain), "the drain has been answered"
        assert amqp.get_link_delivery_count(0) == 5
        assert not amqp.get_link_ready_to_send(0)
        assert not told
        server.do(lambda peer: peer.receiver("out").flow(1))
        pump(amqp, lambda: len(told) == 1)


def test_with_timeout_0_no_credit_is_135_and_nothing_is_queued() -> None:
    with Server(credit=0) as server, client(server, "out>") as amqp:
        amqp.timeout = 0
        for _ in range(3):
            assert code_of(lambda: amqp.send_message("out")) == 135
        assert code_of(lambda: amqp.send_messages("out", ["x"])) == 135
        assert amqp.outgoing_message_count == 0
        server.do(lambda peer: peer.receiver("out").flow(10))
        ready(amqp)
        amqp.message_value_type = ValueType.mvtString
        amqp.message_value = "now"
        amqp.send_message("out")
        server.wait_for(lambda: bool(server.messages))
        assert server.texts() == ["now"]


def test_no_credit_in_time_is_201_and_the_link_goes_on() -> None:
    with Server(credit=0) as server, client(server, "out>") as amqp:
        amqp.timeout = 1
        with faster(amqp):
            assert code_of(lambda: amqp.send_message("out")) == 201
        amqp.timeout = 10
        server.do(lambda peer: peer.receiver("out").flow(10))
        amqp.send_message("out")
        server.wait_for(lambda: len(server.messages) == 1)


def test_a_peer_that_stops_reading_turns_ready_to_send_off_and_on_again() -> None:
    with Server(credit=100_000, receive_buffer=4096) as server, client(server, "out>") as amqp:
        ready(amqp)
        amqp.config("OutBufferSize=4096")
        events: list[Any] = []
        amqp.on_ready_to_send = events.append
        server.do(lambda peer: setattr(peer, "paused", True))
        amqp.timeout = 0
        amqp.message_value_type = ValueType.mvtString
        amqp.message_value = "x" * 100_000
        sent = 0
        assert amqp.get_ready_to_send()
        while amqp.get_ready_to_send():
            amqp.send_message("out")
            sent += 1
            assert sent < 1000
        assert code_of(lambda: amqp.send_message("out")) == 135
        assert not events
        amqp.do_events()
        assert not amqp.get_ready_to_send()
        server.do(lambda peer: setattr(peer, "paused", False))
        pump(amqp, lambda: bool(events))
        assert amqp.ready_to_send
        amqp.timeout = 10
        amqp.send_message("out")
        server.wait_for(lambda: len(server.messages) == sent + 1)
        assert len(events) == 1


def test_a_peer_that_stops_reading_lets_sending_time_out_with_201() -> None:
    with Server(credit=100_000, receive_buffer=4096) as server, client(server, "out>") as amqp:
        ready(amqp)
        server.do(lambda peer: setattr(peer, "paused", True))
        amqp.timeout = 1
        amqp.message_value_type = ValueType.mvtString
        amqp.message_value = "x" * 20_000_000
        with faster(amqp, 5):
            assert code_of(lambda: amqp.send_message("out")) == 201
        server.do(lambda peer: setattr(peer, "paused", False))
        amqp.timeout = 20
        amqp.message_value = "small"
        amqp.send_message("out")
        server.wait_for(lambda: len(server.messages) == 2)


def test_large_messages_of_a_batch_wait_for_the_peer_instead_of_piling_up_here() -> None:
    with Server(credit=100_000, receive_buffer=4096) as server, client(server, "out>") as amqp:
        ready(amqp)
        server.do(lambda peer: setattr(peer, "paused", True))
        amqp.timeout = 1
        amqp.message_value_type = ValueType.mvtString
        taken = 0

        def values() -> Iterator[str]:
            nonlocal taken
            while True:
                taken += 1
                yield "x" * 1_000_000

        with faster(amqp, 5):
            assert code_of(lambda: amqp.send_messages("out", values())) == 201
        assert taken < 50, "sockets hold a few, and nothing else may"
        server.do(lambda peer: setattr(peer, "paused", False))
        amqp.timeout = 20
        amqp.message_value = "small"
        amqp.send_message("out")
        server.wait_for(lambda: len(server.messages) == taken + 1)


def test_outcomes_of_large_messages_are_taken_while_more_are_sent() -> None:
    with Server(credit=100_000, receive_buffer=4096) as server, client(server, "out>") as amqp:
        ready(amqp)
        amqp.message_settled = False
        amqp.message_value_type = ValueType.mvtString
        amqp.message_value = "x" * 1_000_000
        for _ in range(40):
            amqp.send_message("out")
        # With one look in 64 messages, all of them would still be kept.
        assert amqp.outgoing_message_count < 40


def test_messages_sent_in_a_handler_go_out_together() -> None:
    with Server() as server, client(server, "out>", "in<") as amqp:
        ready(amqp)
        before: list[int] = []

        def handler(event: Any) -> None:
            pumped = amqp._loop.pump
            assert pumped is not None
            before.append(pumped.moved)
            for _ in range(20):
                amqp.send_message("out")
            before.append(pumped.moved)

        amqp.on_message_in = handler
        server.put("in", "x")
        pump(amqp, lambda: bool(before))
        assert before[0] == before[1], "nothing was written while the handler ran"
        server.wait_for(lambda: len(server.messages) == 20)


def test_the_outgoing_view_stays_cheap_with_thousands_of_messages() -> None:
    count = 5000
    with Server(credit=100_000, hold={"disposition"}) as server, client(server, "out>") as amqp:
        ready(amqp)
        amqp.message_settled = False
        for i in range(count):
            amqp.message_id = str(i)
            amqp.send_message("out")
            assert amqp.get_outgoing_message_id(amqp.outgoing_message_count - 1) == str(i)
        first = amqp.get_outgoing_message_id
        expected = iter(range(count))

        def on_outcome(event: Any) -> None:
            assert event.message_id == first(0) == str(next(expected))

        amqp.on_message_outcome = on_outcome
        server.wait_for(lambda: len(server.held) == count)
        server.settle_held(ACCEPTED)
        pump(amqp, lambda: amqp.outgoing_message_count == 0)


def test_the_outgoing_view_is_right_when_outcomes_come_out_of_order() -> None:
    with Server(credit=1000, hold={"disposition"}) as server, client(server, "out>") as amqp:
        ready(amqp)
        amqp.message_settled = False
        for i in range(6):
            amqp.message_id = str(i)
            amqp.send_message("out")

        def view() -> list[str]:
            return [amqp.get_outgoing_message_id(i) for i in range(amqp.outgoing_message_count)]

        assert view() == ["0", "1", "2", "3", "4", "5"]
        server.wait_for(lambda: len(server.held) == 6)
        for number, left in ((0, "12345"), (3, "1245"), (5, "124"), (1, "24")):
            server.do(lambda peer, number=number: server.held[number].settle(ACCEPTED))  # type: ignore[misc]
            pump(amqp, lambda left=left: amqp.outgoing_message_count == len(left))  # type: ignore[misc]
            assert view() == list(left)
        amqp.message_id = "6"
        amqp.send_message("out")
        assert view() == ["2", "4", "6"]


@pytest.mark.parametrize("order", ["last first", "shuffled"])
def test_the_outgoing_view_is_right_in_handlers_when_thousands_have_their_outcomes_out_of_order(order: str) -> None:
    count = 2000
    with Server(credit=100_000, hold={"disposition"}) as server, client(server, "out>") as amqp:
        ready(amqp)
        amqp.message_settled = False
        amqp.send_messages("out", [""] * count, ids=map(str, range(count)))
        server.wait_for(lambda: len(server.held) == count)
        server.run(server.held.reverse if order == "last first" else lambda: random.Random(5).shuffle(server.held))
        left = {str(number): None for number in range(count)}
        wrong: list[str] = []

        def on_outcome(event: Any) -> None:
            first, last = next(iter(left)), next(reversed(left))
            if (amqp.get_outgoing_message_id(0), amqp.get_outgoing_message_id(len(left) - 1)) != (first, last):
                wrong.append(event.message_id)
            del left[event.message_id]

        amqp.on_message_outcome = on_outcome
        server.settle_held(ACCEPTED)
        pump(amqp, lambda: not left)
        assert not wrong
        assert amqp.outgoing_message_count == 0


# -- many messages in one call -----------------------------------------------------------------------------------------


def many(server: Server) -> AMQP:
    """A client that sends texts unsettled."""
    amqp = ready(client(server, "out>"))
    amqp.message_settled = False
    amqp.message_value_type = ValueType.mvtString
    return amqp


def grant(peer: Peer, window: int) -> None:
    """The server takes so many transfers at a time: its session window."""
    (session,) = peer.engine.sessions.values()
    session.window.incoming = window
    session.send_flow()


@pytest.mark.parametrize("level", [0, 3])
@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("credit", [3, 100, 1000])
def test_many_messages_are_the_same_frames_as_one_by_one(credit: int, settled: bool, level: int) -> None:
    texts = [str(number) * (1 if number % 40 else 20_000) for number in range(600)]
    ids = [f"id-{number}" for number in range(600)]

    def run(batched: bool) -> tuple[list[bytes], list[tuple[int, bytes | None, bool]]]:
        with Server(credit=credit) as server, many(server) as amqp:
            out: list[str] = []
            amqp.on_message_out = lambda event: out.append(event.message_id)
            amqp.config(f"LogLevel={level}")
            amqp.message_settled = settled
            amqp.message_subject = "s"
            if batched:
                assert amqp.send_messages("out", texts, ids=ids) == 600
            else:
                for name, text in zip(ids, texts, strict=True):
                    amqp.message_id, amqp.message_value = name, text
                    amqp.send_message("out")
            assert (amqp.message_id, amqp.message_value, amqp.message_link_name) == (ids[-1], texts[-1], "out")
            pump(amqp, lambda: len(out) == 600)
            assert out == ids
            server.wait_for(lambda: len(server.messages) == 600)
            frames = [(int(t.delivery_id or 0), t.delivery_tag, bool(t.settled)) for t in server.received(Transfer)]
            return server.messages, frames

    messages, frames = run(True)
    assert [Message.decode(payload).value for payload in messages] == texts
    assert (messages, frames) == run(False)


def failing() -> Iterator[str]:
    yield "a"
    yield "b"
    raise LookupError("no more")


@pytest.mark.parametrize(
    ("values", "ids", "error", "words"),
    [
        (["a", "b", 5], None, TypeError, r"values\[2\]"),
        (["a", "b", "\ud800"], None, AMQPError, r"values\[2\]"),
        (["a", "b", "c"], ["1", "2"], TypeError, r"ids\[2\]"),
        (["a", "b", "c"], ["1", "2", 3.5], TypeError, r"ids\[2\]"),
        (failing(), None, LookupError, "no more"),
    ],
    ids=["no str", "no text", "too few ids", "an id that is no str", "an error of the program"],
)
def test_what_stands_in_front_of_a_bad_value_is_sent(values: Any, ids: Any, error: type[Exception], words: str) -> None:
    with Server() as server, many(server) as amqp:
        with pytest.raises(error, match=words):
            amqp.send_messages("out", values, ids=ids)
        assert amqp.outgoing_message_count == 2
        server.wait_for(lambda: len(server.messages) == 2)
        assert server.texts() == ["a", "b"]
        assert amqp.send_messages("out", ["c"]) == 1
        pump(amqp, lambda: amqp.outgoing_message_count == 0)
        assert server.texts() == ["a", "b", "c"]


@pytest.mark.parametrize(("timeout", "code"), [(0, 135), (1, 201)])
def test_without_credit_the_properties_show_the_first_of_many_that_was_not_sent(timeout: int, code: int) -> None:
    with Server(credit=5) as server, many(server) as amqp:
        server.run(lambda: server.hold.add("flow"))
        amqp.timeout = timeout
        texts = [f"text {number}" for number in range(8)]
        ids = [f"id-{number}" for number in range(8)]
        with faster(amqp):
            assert code_of(lambda: amqp.send_messages("out", texts, ids=ids)) == code
        assert (amqp.message_id, amqp.message_value) == ("id-5", "text 5")
        server.wait_for(lambda: len(server.messages) == 5)
        server.do(lambda peer: peer.receiver("out").flow(100))
        ready(amqp)
        amqp.timeout = 10
        assert amqp.send_messages("out", texts[5:], ids=ids[5:]) == 3
        pump(amqp, lambda: amqp.outgoing_message_count == 0)
        assert server.texts() == texts


def test_a_message_of_many_that_is_larger_than_the_peer_takes_is_refused_alone() -> None:
    with Server(max_message_size=200) as server, many(server) as amqp:
        assert code_of(lambda: amqp.send_messages("out", ["a", "b", "x" * 300, "c"])) == 600
        assert amqp.message_value == "x" * 300
        server.wait_for(lambda: len(server.messages) == 2)
        assert server.texts() == ["a", "b"]


def test_indexes_stay_right_while_many_are_sent() -> None:
    with Server(hold=["disposition"]) as server, many(server) as amqp:
        amqp.message_id = "first"
        amqp.send_message("out")
        assert amqp.get_outgoing_message_id(0) == "first"
        ids = [f"id-{number}" for number in range(50)]
        amqp.send_messages("out", ids, ids=ids)
        assert amqp.outgoing_message_count == 51
        assert [amqp.get_outgoing_message_id(i) for i in range(51)] == ["first", *ids]


def test_outcomes_are_taken_while_a_program_does_nothing_but_send_a_few_at_a_time() -> None:
    with Server(credit=1_000_000) as server, many(server) as amqp:
        server.do(lambda peer: grant(peer, 1_000_000))
        amqp.send_message("out")
        pump(amqp, lambda: amqp.outgoing_message_count == 0)
        sent = 0
        while amqp.outgoing_message_count == sent:
            assert sent < 100_000, "nobody looks for outcomes"
            sent += amqp.send_messages("out", ["x", "y"])


def test_many_are_wholly_written_when_the_call_returns_also_through_a_narrow_session_window() -> None:
    with Server(credit=1000) as server, many(server) as amqp:
        server.do(lambda peer: grant(peer, 4))
        amqp.do_events()
        texts = [str(number) for number in range(50)]
        amqp.send_messages("out", texts)
        server.wait_for(lambda: len(server.messages) == 50)
        assert server.texts() == texts


def test_many_that_use_up_the_credit_are_told_when_there_is_new() -> None:
    with Server(credit=5) as server, many(server) as amqp:
        server.run(lambda: server.hold.add("flow"))
        events: list[object] = []
        amqp.on_link_ready_to_send = events.append
        amqp.send_messages("out", ["x"] * 5)
        server.wait_for(lambda: len(server.messages) == 5)
        server.do(lambda peer: peer.receiver("out").flow(5))
        pump(amqp, lambda: bool(events))
        assert amqp.get_link_credit(0) == 5


def test_with_timeout_0_a_closed_session_window_is_135_until_on_ready_to_send() -> None:
    with Server(credit=100) as server, many(server) as amqp:
        server.do(lambda peer: grant(peer, 1))
        amqp.send_message("out")
        pump(amqp, lambda: amqp.outgoing_message_count == 0)
        server.do(lambda peer: setattr(peer, "paused", True))
        amqp.timeout = 0
        events: list[object] = []
        amqp.on_ready_to_send = events.append
        amqp.send_message("out")
        assert amqp.ready_to_send
        amqp.send_message("out")
        assert not amqp.get_ready_to_send(), "the second waits for the window"
        for _ in range(2):
            assert code_of(lambda: amqp.send_message("out")) == 135
            assert code_of(lambda: amqp.send_messages("out", ["x"])) == 135
            amqp.do_events()
        assert (amqp.outgoing_message_count, events) == (2, [])
        server.do(lambda peer: setattr(peer, "paused", False))
        pump(amqp, lambda: bool(events))
        assert amqp.get_ready_to_send()
        amqp.timeout = 10
        amqp.send_message("out")
        server.wait_for(lambda: len(server.messages) == 4)


def test_with_timeout_0_many_do_not_pile_up_in_front_of_a_peer_that_stops_reading() -> None:
    with Server(credit=100_000, receive_buffer=4096) as server, many(server) as amqp:
        amqp.config("OutBufferSize=4096")
        server.do(lambda peer: setattr(peer, "paused", True))
        amqp.timeout = 0
        texts = [str(number) + "x" * 1000 for number in range(20_000)]
        assert code_of(lambda: amqp.send_messages("out", texts)) == 135
        sent = texts.index(amqp.message_value)
        server.do(lambda peer: setattr(peer, "paused", False))
        amqp.timeout = 10
        amqp.send_messages("out", texts[sent : sent + 5])
        server.wait_for(lambda: len(server.messages) == sent + 5)
        assert server.texts() == texts[: sent + 5]


def test_a_handler_that_closes_the_link_ends_the_sending_of_many() -> None:
    with Server(credit=10) as server, many(server) as amqp:
        server.run(lambda: server.hold.add("flow"))

        def close(event: object) -> None:
            amqp.on_message_out = None
            amqp.close_link("out")

        amqp.on_message_out = close
        assert code_of(lambda: amqp.send_messages("out", ["x"] * 20)) == 600
        assert server.texts() == ["x"] * 10


def test_handlers_that_change_the_id_do_not_change_those_of_many() -> None:
    with Server(credit=10) as server, many(server) as amqp:
        out: list[str] = []

        def on_out(event: AMQPMessageOutEventParams) -> None:
            out.append(event.message_id)
            amqp.message_id = "another"

        amqp.on_message_out = on_out
        ids = [f"id-{number}" for number in range(41)]
        amqp.send_messages("out", [*["x"] * 40, "long" * 5000], ids=ids)
        pump(amqp, lambda: len(out) == 41)
        assert out == ids


def test_handlers_send_many_too() -> None:
    with Server(credit=1000) as server, many(server) as amqp:
        left = [300, 300]

        def more(event: object) -> None:
            if left:
                amqp.send_messages("out", ["nested"] * left.pop())

        amqp.on_message_out = more
        amqp.send_messages("out", ["outer"] * 300)
        pump(amqp, lambda: amqp.outgoing_message_count == 0)
        texts = server.texts()
        assert (len(texts), texts.count("nested"), texts.count("outer")) == (900, 600, 300)


def test_a_handler_that_sends_while_a_message_waits_for_credit_does_not_change_its_id() -> None:
    with Server(credit=0) as server, client(server, "out>") as amqp:
        out: list[str] = []
        amqp.on_message_out = lambda event: out.append(event.message_id)

        def on_ready(event: Any) -> None:
            amqp.message_id = amqp.message_value = "second"
            amqp.send_message("out")

        amqp.on_link_ready_to_send = on_ready
        amqp.message_settled = True
        amqp.message_value_type = ValueType.mvtString
        amqp.message_id = amqp.message_value = "first"
        # On its way already when the call begins to wait.
        server.do(lambda peer: peer.receiver("out").flow(5))
        amqp.send_message("out")
        pump(amqp, lambda: len(out) == 2)
        assert sorted(out) == ["first", "second"]


@pytest.mark.parametrize("what", ["reset", "connect"])
def test_a_handler_of_an_outcome_may_connect_anew_or_reset(what: str) -> None:
    with Server() as server, client(server, "out>") as amqp:
        seen: list[str] = []

        def on_outcome(event: Any) -> None:
            seen.append(event.message_id)
            if what == "reset":
                amqp.reset()
            else:
                amqp.disconnect()
                amqp.connect()

        amqp.on_message_outcome = on_outcome
        amqp.message_settled = False
        amqp.message_id = "one"
        amqp.send_message("out")
        assert amqp.get_outgoing_message_id(0) == "one"
        pump(amqp, lambda: bool(seen))
        assert seen == ["one"]
        assert amqp.outgoing_message_count == 0
        assert amqp.connected is (what == "connect")


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("what", ["link", "session"])
def test_a_link_that_the_peer_ends_while_a_message_is_being_written_is_an_error(
    settled: bool, many: bool, what: str
) -> None:
    def narrow(peer: Peer, event: Any) -> bool:
        if isinstance(event, SessionRequested):
            event.session.accept(incoming_window=1)
            return True
        return False

    with Server(max_frame_size=512) as server:
        server.hooks.append(narrow)
        with client(server, "out>") as amqp:
            ready(amqp)
            out: list[str] = []
            amqp.on_message_out = lambda event: out.append(event.message_id)

            def end(peer: Peer) -> None:
                error = ProtocolError("gone", condition="amqp:resource-deleted")
                link = peer.receiver("out")
                if what == "link":
                    link.detach(error=error)
                else:
                    link.session.end(error)

            amqp.message_settled = settled
            amqp.message_value_type = ValueType.mvtString
            amqp.message_value = "v" * 5000
            # Waits in the client's socket until the call under test looks there.
            server.do(end)

            def send() -> None:
                if many:
                    amqp.send_messages("out", ["v" * 5000, "w" * 5000])
                else:
                    amqp.send_message("out")

            with pytest.raises(AMQPError, match="amqp:resource-deleted") as caught:
                send()
            assert caught.value.code == 600
            assert many or not out, "it has not been sent"
            assert amqp.connected


def test_an_outcome_that_is_here_already_counts_though_the_program_disconnects_without_looking() -> None:
    with Server(hold={"disposition"}) as server, client(server, "out>") as amqp:
        out: list[str] = []
        amqp.on_message_out = lambda event: out.append(event.message_id)
        amqp.message_settled = False
        for name in "ab":
            amqp.message_id = name
            amqp.send_message("out")
        server.wait_for(lambda: len(server.held) == 2)
        assert amqp.outgoing_message_count == 2
        server.settle_held(ACCEPTED)
        amqp.disconnect()
        assert (out, amqp.outgoing_message_count) == (["a", "b"], 0)


def test_an_error_of_a_handler_comes_out_of_disconnect() -> None:
    with Server(hold={"disposition"}) as server, client(server, "out>") as amqp:

        def fail(_: object) -> None:
            raise AMQPError(604, "the program's own")

        amqp.on_message_out = fail
        amqp.message_settled = False
        amqp.send_message("out")
        server.wait_for(lambda: bool(server.held))
        server.settle_held(ACCEPTED)
        with pytest.raises(AMQPError, match="the program's own"):
            amqp.disconnect()
        assert not amqp.connected

"""Receiving: ids, bodies, defaults, outcomes, credit, fetching, messages that cannot be decoded, partial messages."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from amqp10 import AMQP, AMQPError, AMQPTimeoutError, ReceiveMode, ValueType
from amqp10.codec import Array, Described, Symbol, Timestamp, UByte, UInt, ULong
from amqp10.engine.events import LinkFlow
from amqp10.wire.frames import encode_frame
from amqp10.wire.message import Message
from amqp10.wire.messaging import Accepted, Header, Modified, Properties, Rejected, Released
from amqp10.wire.performatives import Disposition, Flow, Transfer
from tests.component.server import LIMIT, Peer, Server, client, faster
from tests.component.test_events_rules import code_of, pump
from tests.examples import THOROUGH


def receive(amqp: AMQP, server: Server, *payloads: bytes | str) -> list[dict[str, Any]]:
    """What the received properties show for each message."""
    fields = ["id", "correlation_id", "user_id", "value", "value_type", "absolute_expiry_time", "creation_time"]
    fields += ["group_sequence", "ttl", "priority", "delivery_count", "durable", "settled", "content_type", "link_name"]
    fields += ["first_acquirer", "group_id", "subject", "to", "reply_to", "reply_to_group_id", "content_encoding"]
    seen: list[dict[str, Any]] = []
    amqp.on_message_in = lambda event: seen.append({name: getattr(amqp, f"received_message_{name}") for name in fields})
    server.put("in", *payloads)
    pump(amqp, lambda: len(seen) == len(payloads))
    amqp.on_message_in = None
    return seen


# -- what is read ----------------------------------------------------------------------------------------------------


def test_ids_of_every_wire_type_read_as_text() -> None:
    number = uuid.UUID("12345678-0000-1000-8000-00805f9b34fb")
    ids: list[tuple[Any, str]] = [
        ("text", "text"),
        (ULong(18446744073709551615), "18446744073709551615"),
        (number, str(number)),
        (b"\x00\xab", "00ab"),
        ("x" * 300, "x" * 300),
    ]
    payloads = [Message(properties=Properties(message_id=i, correlation_id=i), value="x").encode() for i, _ in ids]
    with Server() as server, client(server, "in<") as amqp:
        events: list[str] = []
        amqp.on_message_outcome = lambda event: events.append(event.message_id)
        seen = receive(amqp, server, *payloads)
    for (_, text), fields in zip(ids, seen, strict=True):
        assert fields["id"].lower() == fields["correlation_id"].lower() == text
    assert [name.lower() for name in events] == [text for _, text in ids]


def test_absent_fields_read_as_documented() -> None:
    with Server() as server, client(server, "in<") as amqp:
        (fields,) = receive(amqp, server, Message(value=None).encode())
    assert fields == {
        "id": "", "correlation_id": "", "user_id": "", "value": "", "value_type": 0, "absolute_expiry_time": -1,
        "creation_time": -1, "group_sequence": -1, "ttl": -1, "priority": 4, "delivery_count": 0, "durable": False,
        "settled": False, "content_type": "", "link_name": "in", "first_acquirer": False, "group_id": "",
        "subject": "", "to": "", "reply_to": "", "reply_to_group_id": "", "content_encoding": "",
    }  # fmt: skip


def test_every_kind_of_body_has_its_type_and_text() -> None:
    symbol_map = '{"type":"map","value":[{"type":"symbol","value":"k"},true]}'
    bodies: list[tuple[Message, ValueType, str]] = [
        (Message(data=b"\x01\x02"), ValueType.mvtBinary, "0102"),
        (Message(data=[b"\x01", b"", b"\x02"]), ValueType.mvtBinary, "0102"),
        (Message(value=b"\x01"), ValueType.mvtBinary, "01"),
        (Message(value=[UInt(1), None]), ValueType.mvtJson, '{"type":"list","value":[{"type":"uint","value":1},null]}'),
        (Message(sequence=[["a"], ["b"]]), ValueType.mvtJson, '{"type":"list","value":["a","b"]}'),
        (Message(value={Symbol("k"): True}), ValueType.mvtJson, symbol_map),
        (Message(value=Array([UByte(1)])), ValueType.mvtJson, '{"type":"array","value":[{"type":"ubyte","value":1}]}'),
        (Message(value=Timestamp(5)), ValueType.mvtTimestamp, "5"),
    ]  # fmt: skip
    with Server() as server, client(server, "in<") as amqp:
        seen = receive(amqp, server, *[message.encode() for message, _, _ in bodies])
        for (_, kind, text), fields in zip(bodies, seen, strict=True):
            assert fields["value_type"] == kind
            if kind is ValueType.mvtJson:
                assert json.loads(fields["value"]) == json.loads(text)
            else:
                assert fields["value"].lower() == text
        amqp.config("SimplifiedJSONFormat=False")
        (fields,) = receive(amqp, server, Message(value=["a"]).encode())
        assert json.loads(fields["value"]) == {"type": "list", "value": [{"type": "string", "value": "a"}]}
        for form, element in (("True", "a"), ("False", {"type": "string", "value": "a"})):
            amqp.config(f"SimplifiedJSONFormat={form}")
            assert json.loads(amqp.received_message_value)["value"] == [element], (
                "also of a message that is here already"
            )


def test_a_text_in_front_of_a_footer_ends_where_it_ends() -> None:
    footer = Message(value="hello", footer={Symbol("x-opt-crc"): UInt(7)})
    large = Message(value="h" * 20_000, footer={Symbol("x-opt-crc"): UInt(7)})
    with Server() as server, client(server, "in<") as amqp:
        seen = receive(amqp, server, footer.encode(), large.encode())
        assert [fields["value"] for fields in seen] == ["hello", "h" * 20_000]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 8191, 8192, 20_000])
def test_texts_of_every_size_read_as_they_are_inside_and_after_the_handler(size: int) -> None:
    text = "ü" * (size // 2) + "x" * (size % 2)
    with Server() as server, client(server, "in<") as amqp:
        (fields,) = receive(amqp, server, Message(value=text).encode())
        assert (fields["value"], fields["value_type"]) == (text, ValueType.mvtString)
        assert (amqp.received_message_value, amqp.received_message_value_type) == (text, ValueType.mvtString)
        received: list[Any] = []
        amqp.on_message_in = lambda event: received.append(amqp.received_message_value_type)
        server.put("in", Message(value=text).encode())
        pump(amqp, lambda: bool(received))
        assert received == [ValueType.mvtString], "the type is known before the value is looked at"
        assert amqp.received_message_value == text


def test_header_fields_read_as_sent_and_a_settled_message_says_so() -> None:
    header = Header(durable=True, priority=UByte(7), ttl=UInt(9), first_acquirer=True, delivery_count=UInt(2))
    with Server() as server, client(server, "in<") as amqp:
        (fields,) = receive(amqp, server, Message(header=header, value="x").encode())
        assert [fields[name] for name in ("durable", "priority", "ttl", "first_acquirer", "delivery_count")] == [
            True, 7, 9, True, 2,
        ]  # fmt: skip
        seen: list[Any] = []
        outcomes: list[Any] = []
        amqp.on_message_in = lambda event: seen.append(amqp.received_message_settled)
        amqp.on_message_outcome = outcomes.append
        server.put("in", "settled", settled=True)
        pump(amqp, lambda: bool(seen))
        assert seen == [True]
        assert not outcomes, "a message that came settled has no outcome to send"
        assert amqp.received_message_value == "settled", "it stays readable after the handler"
        assert amqp.received_message_link_name == "in"


# -- outcomes --------------------------------------------------------------------------------------------------------


def test_the_handler_decides_the_outcome_and_its_settings() -> None:
    annotations = '{"type":"map","value":[{"type":"symbol","value":"x-opt-k"},"v"]}'
    with Server() as server, client(server, "in<") as amqp:
        reported: list[tuple[Any, ...]] = []

        def on_message_in(event: Any) -> None:
            assert event.state == 0
            assert amqp.config("RejectErrorCondition") == "", "settings of one message are not those of the next"
            event.state = int(amqp.received_message_value[0])
            if amqp.received_message_value == "1 with":
                amqp.config("RejectErrorCondition=amqp:not-allowed")
                amqp.config("RejectErrorDescription=do not = like it")
            if amqp.received_message_value == "3 with":
                amqp.config("ModifiedDeliveryFailed=Yes")
                amqp.config("ModifiedUndeliverableHere=1")
                amqp.config(f"ModifiedMessageAnnotations={annotations}")

        def on_message_outcome(event: Any) -> None:
            reported.append(
                (
                    event.direction,
                    event.state,
                    amqp.config("RejectErrorCondition"),
                    amqp.config("ModifiedDeliveryFailed"),
                )
            )
            assert code_of(lambda: amqp.config("RejectErrorCondition=x")) == 606

        amqp.on_message_in = on_message_in
        amqp.on_message_outcome = on_message_outcome
        server.put("in", "0", "1", "1 with", "2", "3", "3 with")
        server_states = server.outcomes
        pump(amqp, lambda: len(reported) == 6)
        server.wait_for(lambda: len(server_states) == 6)
        states = [state for _, state, _ in server_states]
        assert [type(state) for state in states] == [Accepted, Rejected, Rejected, Released, Modified, Modified]
        assert all(settled for _, _, settled in server_states), "settle mode first"
        assert isinstance(states[1], Rejected)
        assert states[1].error is None
        assert isinstance(states[2], Rejected)
        assert states[2].error is not None
        assert (states[2].error.condition, states[2].error.description) == ("amqp:not-allowed", "do not = like it")
        assert isinstance(states[4], Modified)
        assert not states[4].delivery_failed
        assert isinstance(states[5], Modified)
        assert states[5].delivery_failed is states[5].undeliverable_here is True
        assert states[5].message_annotations == {"x-opt-k": "v"}
        assert reported == [
            (0, 0, "", "False"), (0, 1, "", "False"), (0, 1, "amqp:not-allowed", "False"), (0, 2, "", "False"),
            (0, 3, "", "False"), (0, 3, "", "True"),
        ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "null",
        '{"type":"list","value":[]}',
        '{"type":"map","value":["plain string key","v"]}',
        '{"type":"map","value":[{"type":"list","value":[]},"v"]}',
        '{"type":"map","value":[{"type":"symbol","value":"a"}]}',
    ],
)
def test_annotations_that_are_no_map_of_symbols_are_refused(text: str) -> None:
    with Server() as server, client(server, "in<") as amqp:
        codes: list[int] = []

        def handler(event: Any) -> None:
            event.state = 3
            codes.append(code_of(lambda: amqp.config(f"ModifiedMessageAnnotations={text}")))
            assert amqp.config("ModifiedMessageAnnotations") == ""

        amqp.on_message_in = handler
        server.put("in", "x")
        pump(amqp, lambda: bool(codes))
        assert codes == [604]
        server.wait_for(lambda: len(server.outcomes) == 1)


def test_details_of_an_outcome_go_out_and_read_back_in_the_form_that_is_asked_for() -> None:
    with Server() as server, client(server, "in<") as amqp:
        texts: list[str] = []

        def on_message_in(event: Any) -> None:
            event.state = int(amqp.received_message_value)
            amqp.config("RejectErrorDescription=no reason that a program would know")
            amqp.config('ModifiedMessageAnnotations={"type":"map","value":[{"type":"symbol","value":"k"},"v"]}')
            for form in ("True", "False"):
                amqp.config(f"SimplifiedJSONFormat={form}")
                texts.append(amqp.config("ModifiedMessageAnnotations"))

        amqp.on_message_in = on_message_in
        server.put("in", "1")
        server.wait_for(lambda: bool(server.feeds["in"].sent))
        pump(amqp, lambda: len(texts) == 2)
        server.wait_for(lambda: len(server.outcomes) == 1)
        state = server.outcomes[0][1]
        assert isinstance(state, Rejected)
        assert state.error is not None
        assert state.error.condition == "amqp:internal-error", "an error must have a condition"
        key = '{"type": "symbol", "value": "k"}'
        assert texts == [
            f'{{"type": "map", "value": [{key}, "v"]}}',
            f'{{"type": "map", "value": [{key}, {{"type": "string", "value": "v"}}]}}',
        ]


OUTCOME_SETTINGS = (
    "RejectErrorCondition=amqp:not-allowed",
    "RejectErrorDescription=because",
    "ModifiedDeliveryFailed=True",
    "ModifiedUndeliverableHere=True",
    'ModifiedMessageAnnotations={"type":"map","value":[]}',
)


def test_settings_of_an_outcome_exist_in_handlers_only() -> None:
    def refused() -> None:
        for setting in OUTCOME_SETTINGS:
            assert code_of(lambda setting=setting: amqp.config(setting)) == 606  # type: ignore[misc]
            name = setting.partition("=")[0]
            assert code_of(lambda name=name: amqp.config(name)) == 606  # type: ignore[misc]

    with Server() as server, client(server, "in<", "out>") as amqp:
        refused()
        seen: list[str] = []

        def on_message_in(event: Any) -> None:
            for setting in OUTCOME_SETTINGS:
                amqp.config(setting)
            seen.append("in")

        def on_message_out(event: Any) -> None:
            refused()
            seen.append("out")

        amqp.on_message_in = on_message_in
        amqp.on_message_out = on_message_out
        server.put("in", "x")
        pump(amqp, lambda: seen == ["in"])
        refused()
        amqp.send_message("out")
        assert seen == ["in", "out"]


def test_a_fetch_in_a_handler_has_settings_of_an_outcome_of_its_own() -> None:
    with Server() as server:
        server.put("in", "outer")
        server.put("get", "inner")
        with client(server, "get?") as amqp:

            def on_message_in(event: Any) -> None:
                if amqp.received_message_value == "outer":
                    amqp.config("RejectErrorCondition=amqp:outer")
                    amqp.fetch_message("get")
                    assert amqp.config("RejectErrorCondition") == "amqp:outer"
                else:
                    assert amqp.config("RejectErrorCondition") == ""
                    amqp.config("RejectErrorCondition=amqp:inner")
                event.state = 1

            amqp.on_message_in = on_message_in
            amqp.receive_mode = ReceiveMode.rmAutomatic
            amqp.create_receiver_link("s", "in", "in")
            pump(amqp, lambda: len(server.outcomes) == 2)
            states = [state for _, state, _ in server.outcomes]
            assert [str(state.error.condition) for state in states if isinstance(state, Rejected) and state.error] == [
                "amqp:inner",
                "amqp:outer",
            ]


def test_outcomes_of_neighbours_travel_in_one_range() -> None:
    with Server() as server, client(server) as amqp:
        server.put("in", *["x"] * 50)
        seen: list[Any] = []
        amqp.on_message_in = seen.append
        amqp.create_receiver_link("s", "in", "in")
        pump(amqp, lambda: len(seen) == 50)
        server.wait_for(lambda: len(server.outcomes) == 50)
        assert len(server.received(Disposition)) < 25


# -- messages that cannot be decoded ---------------------------------------------------------------------------------

BROKEN = {
    "no section": b"\xff\xff\xff",
    "unknown section": bytes.fromhex("0053ff a10178"),
    "cut off": bytes.fromhex("005377a1ff78"),
    "two bodies": bytes.fromhex("005377a10178 005377a10178"),
    "sections out of order": bytes.fromhex("005377a10178 005370c00100"),
    "bad text": bytes.fromhex("005377a102c328"),
    "header with too many fields": bytes.fromhex("005370c00706404040404040 005377a10178"),
    "header behind the properties": bytes.fromhex("005373c00100 005370c00100 005377a10178"),
    "two headers": bytes.fromhex("005370c00100 005370c00100 005377a10178"),
    "bad text in the id": bytes.fromhex("005373c00501 a102c328 005377a10178"),
    "id that is longer than the properties": bytes.fromhex("005373c00401 a1ff78 005377a10178"),
    "id that runs into the next section": bytes.fromhex("005373c00401 a10278 005377a10178"),
    "subject of a wrong type": bytes.fromhex("005373c00504404040 5401 005377a10178"),
    "nested too deep": bytes.fromhex("005377") + b"\xd0\xff\xff\xff\xff\x00\x00\x00\x01" * 3,
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("catches", [False, True])
def test_a_message_that_cannot_be_decoded_is_rejected_and_the_link_goes_on(name: str, catches: bool) -> None:
    with Server() as server, client(server, "in<") as amqp:
        errors: list[Any] = []
        good: list[str] = []

        def on_message_in(event: Any) -> None:
            try:
                value = amqp.received_message_value
                _ = event.message_id, amqp.received_message_durable
            except AMQPError as error:
                if not catches or error.code != 604:
                    raise
                return
            good.append(value)

        amqp.on_error = errors.append
        amqp.on_message_in = on_message_in
        server.put("in", BROKEN[name], "good")
        pump(amqp, lambda: bool(good))
        assert good == ["good"]
        assert [event.error_code for event in errors] == [604]
        server.wait_for(lambda: len(server.outcomes) == 2)
        first = server.outcomes[0][1]
        assert isinstance(first, Rejected)
        assert first.error is not None
        assert first.error.condition == "amqp:decode-error"
        assert isinstance(server.outcomes[1][1], Accepted)
        assert amqp.incoming_message_count == 0


UNREADABLE = {
    "bad text": BROKEN["bad text"],
    "bad text that is long": b"\x00\x53\x77\xb1\x00\x00\x23\x28" + b"\xc3" * 9000,
    "bad text in a list": bytes.fromhex("005377 c00501 a102c328"),
    "bad sequence": bytes.fromhex("005376 c00501 a102c328"),
    "data that is none": bytes.fromhex("005375 a10178"),
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("hook", [False, True])
def test_a_body_that_cannot_be_decoded_is_not_accepted_only_because_nobody_looked_at_it(name: str, hook: bool) -> None:
    with Server() as server, client(server, "in<") as amqp:
        errors: list[Any] = []
        amqp.on_error = errors.append
        if hook:
            amqp.on_message_in = lambda event: None
        server.put("in", UNREADABLE[name], "good")
        pump(amqp, lambda: amqp.received_message_value_type == 17 and amqp.received_message_value == "good")
        server.wait_for(lambda: len(server.outcomes) == 2)
        assert [type(state) for _, state, _ in server.outcomes] == [Rejected, Accepted]
        assert [event.error_code for event in errors] == [604]


def test_without_a_handler_nothing_is_accepted_that_has_a_malformed_part() -> None:
    with Server() as server, client(server, "in<") as amqp:
        errors: list[Any] = []
        amqp.on_error = errors.append
        unwritable = Message(value=Described(Described(1, 2), 3)).encode()
        server.put("in", BROKEN["subject of a wrong type"], BROKEN["header with too many fields"], unwritable, "good")
        pump(amqp, lambda: amqp.received_message_value == "good")
        server.wait_for(lambda: len(server.outcomes) == 4)
        assert [type(state) for _, state, _ in server.outcomes] == [Rejected, Rejected, Rejected, Accepted]
        assert [event.error_code for event in errors] == [604, 604, 604]


def test_a_handler_may_give_back_what_it_cannot_read() -> None:
    with Server() as server, client(server, "in<") as amqp:
        amqp.on_message_in = lambda event: setattr(event, "state", 2)
        server.put("in", UNREADABLE["bad text in a list"])
        server.wait_for(lambda: bool(server.feeds["in"].sent))
        pump(amqp, lambda: bool(server.outcomes))
        assert isinstance(server.outcomes[0][1], Released)


@pytest.mark.parametrize("catches", [False, True])
def test_a_value_that_the_schema_has_no_place_for_is_rejected_instead_of_coming_back_for_ever(catches: bool) -> None:
    strange = Message(value=Described(Described(1, 2), 3)).encode()
    with Server() as server, client(server, "in<") as amqp:
        errors: list[Any] = []
        seen: list[str] = []

        def on_message_in(event: Any) -> None:
            try:
                seen.append(amqp.received_message_value)
            except AMQPError:
                if not catches:
                    raise

        amqp.on_message_in = on_message_in
        amqp.on_error = errors.append
        server.put("in", strange, "good")
        pump(amqp, lambda: seen == ["good"])
        server.wait_for(lambda: len(server.outcomes) == 2)
        assert [type(state) for _, state, _ in server.outcomes] == [Rejected, Accepted]
        assert [event.error_code for event in errors] == [604]


@pytest.mark.parametrize("hook", [False, True])
def test_a_fetch_of_a_message_that_cannot_be_decoded_raises_and_the_next_one_gets_the_next(hook: bool) -> None:
    with Server() as server, client(server, "get?") as amqp:
        errors: list[Any] = []
        amqp.on_error = errors.append
        if hook:
            amqp.on_message_in = lambda event: None
        server.put("get", UNREADABLE["bad text"], BROKEN["cut off"], "good")
        for number in (1, 2):
            assert code_of(lambda: amqp.fetch_message("get")) == 604
            assert amqp.received_message_value == ""
            assert [event.error_code for event in errors] == [604] * number
        amqp.fetch_message("get")
        assert amqp.received_message_value == "good"


def test_a_message_beyond_max_message_size_ends_its_link_only() -> None:
    with Server() as server, client(server) as amqp:
        amqp.config("MaxMessageSize=1000")
        amqp.create_receiver_link("s", "in", "in")
        amqp.create_sender_link("s", "out", "q")
        errors: list[Any] = []
        amqp.on_error = errors.append
        server.do(lambda peer: setattr(peer.link("in"), "send_limit", 0))
        server.put("in", "x" * 2000)
        pump(amqp, lambda: bool(errors))
        assert "1000" in errors[0].description
        assert amqp.link_count == 1
        amqp.send_message("out")


# -- credit ----------------------------------------------------------------------------------------------------------


def test_credit_is_given_at_first_and_restored_at_the_threshold_with_one_flow() -> None:
    with Server() as server, client(server) as amqp:
        amqp.config("DefaultCredit=10")
        amqp.config("DefaultCreditThreshold=4")
        amqp.create_receiver_link("s", "in", "in")
        assert amqp.get_link_credit(0) == 10

        def grants() -> list[int]:
            return [int(flow.link_credit or 0) for flow in server.received(Flow) if flow.handle is not None]

        server.run(lambda: None)
        pump(amqp, lambda: grants() == [10])
        seen: list[Any] = []
        amqp.on_message_in = seen.append
        for i in range(5):
            server.put("in", str(i))
            pump(amqp, lambda i=i: len(seen) == i + 1)  # type: ignore[misc]
        assert amqp.get_link_credit(0) == 5
        assert grants() == [10]
        server.put("in", "6th")
        pump(amqp, lambda: len(seen) == 6)
        assert amqp.get_link_credit(0) == 10
        pump(amqp, lambda: grants() == [10, 10])
        for i in range(100):
            server.put("in", str(i))
        pump(amqp, lambda: len(seen) == 106)
        assert len(grants()) <= 2 + 100 // 6 + 1


def test_messages_that_wait_for_a_slow_handler_count_as_credit_in_use() -> None:
    with Server() as server, client(server) as amqp:
        amqp.config("DefaultCredit=10")
        amqp.config("DefaultCreditThreshold=4")
        server.put("in", *["x"] * 10)
        in_use: list[int] = []
        amqp.on_message_in = lambda event: in_use.append(amqp.get_link_credit(0) + 10 - len(in_use) - 1)
        amqp.create_receiver_link("s", "in", "in")
        server.wait_for(lambda: len(server.feeds["in"].sent) == 10)
        pump(amqp, lambda: len(in_use) == 10)
        assert max(in_use) <= 10, "credit and queue together never exceed what the link began with"
        assert amqp.get_link_credit(0) >= 5


def test_the_link_view_is_live() -> None:
    with Server() as server, client(server, "out>", "in<", "get?") as amqp:
        pump(amqp, lambda: amqp.get_link_ready_to_send(0))
        assert [amqp.get_link_role(i) for i in range(3)] == [0, 1, 1]
        assert [amqp.get_link_receive_mode(i) for i in range(3)] == [0, 0, 1]
        assert [amqp.get_link_credit(i) for i in range(3)] == [100, 1024, 0]
        assert [amqp.get_link_ready_to_send(i) for i in range(3)] == [True, False, False]
        amqp.send_message("out")
        assert amqp.get_link_credit(0) == 99
        assert amqp.get_link_delivery_count(0) == 1

        def tell(peer: Peer) -> None:
            link = peer.sender("in")
            link.available = 42
            link.send_flow()

        server.do(tell)
        pump(amqp, lambda: amqp.get_link_available(1) == 42)


# -- fetching --------------------------------------------------------------------------------------------------------


def test_fetch_gets_one_message_at_a_time_and_no_more_credit_than_that() -> None:
    with Server() as server, client(server, "get?", fetch_timeout=5) as amqp:
        server.put("get", "a", "b", "c")
        seen: list[str] = []
        amqp.on_message_in = lambda event: seen.append(amqp.received_message_value)
        amqp.do_events()
        assert seen == []
        for expected in ("a", "b", "c"):
            amqp.fetch_message("get")
            assert seen[-1] == expected
            assert amqp.get_link_credit(0) == 0
        assert len(seen) == 3


def test_a_fetch_that_times_out_drains_and_leaves_no_credit_behind() -> None:
    with Server() as server, client(server, "get?", fetch_timeout=1) as amqp:
        with faster(amqp):
            assert code_of(lambda: amqp.fetch_message("get")) == 201
        assert amqp.get_link_credit(0) == 0
        assert amqp.get_link_delivery_count(0) == 1, "the sender has used the credit up"
        server.put("get", "later")
        amqp.do_events()
        assert amqp.received_message_value == ""
        amqp.fetch_message("get")
        assert amqp.received_message_value == "later"


def test_a_message_that_crosses_the_drain_is_delivered() -> None:
    with Server(hold={"messages", "drain"}) as server, client(server, "get?", fetch_timeout=1) as amqp:

        def answer_drain(peer: Peer, event: Any) -> bool:
            if type(event).__name__ == "LinkFlow" and event.link.drain:
                event.link.send(Message(value="just in time").encode())
                return True
            return False

        server.hooks.append(answer_drain)
        with faster(amqp):
            amqp.fetch_message("get")
        assert amqp.received_message_value == "just in time"
        assert amqp.get_link_credit(0) == 0


def test_a_drain_that_is_never_answered_is_201_and_a_message_that_comes_after_all_is_not_lost() -> None:
    with Server(hold={"messages", "drain"}) as server, client(server, "get?", fetch_timeout=1) as amqp:
        amqp.timeout = 1
        with faster(amqp):
            assert code_of(lambda: amqp.fetch_message("get")) == 201
        amqp.timeout = 10
        server.do(lambda peer: peer.sender("get").send(Message(value="late").encode()))
        pump(amqp, lambda: len(server.outcomes) == 1)
        assert isinstance(server.outcomes[0][1], Released), "nobody waits for it: its sender gets it back"
        server.do(lambda peer: peer.sender("get").drained())
        server.hold.clear()
        server.put("get", "fresh")
        amqp.fetch_message("get")
        assert amqp.received_message_value == "fresh"


def test_a_peer_that_never_answers_drains_does_not_hold_a_fetch_for_the_whole_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("amqp10.component.inbox._DRAIN_PATIENCE", 0.05)
    with Server(hold={"drain"}) as server, client(server, "get?", fetch_timeout=1) as amqp:
        amqp.timeout = 3600
        for text in ("one", "two"):
            with faster(amqp):
                assert code_of(lambda: amqp.fetch_message("get")) == 201
            server.put("get", text)
            # The credit that was not given back is the one that brings it.
            server.do(lambda peer: None)
            amqp.fetch_timeout = 5
            amqp.fetch_message("get")
            assert amqp.received_message_value == text
            amqp.fetch_timeout = 1


def test_a_fetch_behind_a_drain_whose_answer_is_late_is_not_starved() -> None:
    with Server(hold={"messages", "drain"}) as server, client(server, "get?", fetch_timeout=0) as amqp:
        flows: list[Any] = []

        def watch(peer: Peer, event: Any) -> bool:
            if type(event).__name__ == "LinkFlow":
                flows.append(event.link.drain)
            return False

        server.hooks.append(watch)

        def stop() -> None:
            server.wait_for(lambda: len(flows) == 1)
            amqp.interrupt()

        thread = threading.Thread(target=stop)
        thread.start()
        assert code_of(lambda: amqp.fetch_message("get")) == 10004
        thread.join(LIMIT)
        server.wait_for(lambda: flows == [False, True])

        def answer() -> None:
            server.do(lambda peer: peer.sender("get").drained())
            server.hold.clear()
            server.put("get", "x")

        thread = threading.Thread(target=answer)
        thread.start()
        amqp.fetch_timeout = 5
        amqp.fetch_message("get")
        thread.join(LIMIT)
        assert amqp.received_message_value == "x"


def test_a_settled_message_that_comes_too_late_waits_for_the_next_fetch() -> None:
    with Server(hold={"messages", "drain"}) as server, client(server, "get?", fetch_timeout=1) as amqp:
        amqp.timeout = 1
        with faster(amqp):
            assert code_of(lambda: amqp.fetch_message("get")) == 201
        amqp.timeout = 10
        server.do(lambda peer: peer.sender("get").send(Message(value="late").encode(), settled=True))
        for _ in range(5):
            amqp.do_events()
        amqp.fetch_message("get")
        assert amqp.received_message_value == "late"


def test_a_link_that_ends_during_a_fetch_raises_the_reason() -> None:
    from tests.component.server import refusal

    with Server(hold={"messages"}) as server, client(server, "get?", fetch_timeout=0) as amqp:
        server.hooks.append(
            lambda peer, event: (
                type(event).__name__ == "LinkFlow"
                and event.link.detach(error=refusal("amqp:resource-deleted", "gone")) is None
            )
        )
        with pytest.raises(AMQPError, match="gone"):
            amqp.fetch_message("get")
        assert amqp.link_count == 0


# -- partial messages and closing ------------------------------------------------------------------------------------


def test_parts_of_a_message_are_seen_in_the_incoming_view_until_it_is_whole() -> None:
    payload = Message(properties=Properties(message_id="big"), value="x" * 3000).encode()
    with Server() as server, client(server) as amqp:
        amqp.config("LogLevel=0")
        amqp.disconnect()
        amqp.config("MaxFrameSize=1000")
        amqp.connect_to(server.host, server.port)
        amqp.create_session("s")
        amqp.create_receiver_link("s", "in", "in")

        def halve(peer: Peer) -> bytes:
            peer.flush()
            peer.write()
            assert not peer.unsent
            peer.sender("in").send(payload)
            whole = b"".join(peer.engine.data_to_send(0))
            peer.raw(whole[:1500])
            return whole[1500:]

        server.wait_for(lambda: server.peer.sender("in").credit > 0)
        rest = server.do(halve)
        pump(amqp, lambda: amqp.incoming_message_count == 1)
        assert amqp.get_incoming_message_link_name(0) == "in"
        assert amqp.get_incoming_message_id(0) == "big"
        assert amqp.get_incoming_message_value(0) == "", "the body is not here yet"
        for _ in range(3):
            assert amqp.get_incoming_message_settled(0) is False
        assert amqp.received_message_id == ""
        server.do(lambda peer: peer.raw(rest))
        pump(amqp, lambda: amqp.received_message_id == "big")
        assert amqp.incoming_message_count == 0
        assert amqp.received_message_value == "x" * 3000


@pytest.mark.parametrize("how", ["aborted", "link ended", "session ended", "too large", "close_link", "close_session"])
def test_nothing_is_left_in_the_incoming_view_of_a_message_that_never_becomes_whole(how: str) -> None:
    with Server() as server, client(server) as amqp:
        amqp.config("MaxMessageSize=1000")
        amqp.create_receiver_link("s", "in", "in")
        server.wait_for(lambda: server.peer.sender("in").credit > 0)

        def frame(peer: Peer, payload: bytes, **fields: Any) -> None:
            link = peer.sender("in")
            transfer = Transfer(handle=link.handle, delivery_id=0, delivery_tag=b"t", **fields)
            peer.raw(encode_frame(link.session.channel, transfer, payload))
            link.session.window.next_outgoing_id += 1

        server.do(lambda peer: frame(peer, b"\x00\x53", more=True))
        pump(amqp, lambda: amqp.incoming_message_count == 1)
        if how == "aborted":
            server.do(lambda peer: frame(peer, b"", aborted=True))
        elif how == "link ended":
            server.do(lambda peer: peer.link("in").detach())
        elif how == "session ended":
            server.do(lambda peer: peer.link("in").session.end())
        elif how == "too large":
            server.do(lambda peer: frame(peer, bytes(2000), more=True))
        else:
            getattr(amqp, how)("in" if how == "close_link" else "s")
        pump(amqp, lambda: amqp.incoming_message_count == 0)
        assert amqp._loop.engine is not None
        assert not amqp._loop.engine.partials
        assert amqp.received_message_link_name == ""


@pytest.mark.parametrize("close", ["close_link", "close_session", "disconnect"])
def test_messages_that_no_handler_has_seen_go_back_when_their_link_is_closed(close: str) -> None:
    with Server() as server, client(server) as amqp:
        server.put("in", "a", "b", "c")
        handled: list[str] = []

        def handler(event: Any) -> None:
            handled.append(amqp.received_message_value)
            if close == "disconnect":
                amqp.disconnect()
            else:
                getattr(amqp, close)("in" if close == "close_link" else "s")

        amqp.on_message_in = handler
        server.wait_for(lambda: bool(server.feeds))
        amqp.create_receiver_link("s", "in", "in")
        pump(amqp, lambda: bool(handled))
        for _ in range(3):
            amqp.do_events()
        assert handled == ["a"]
        states = [
            (delivery.delivery_id, type(state)) for delivery, state, _ in server.run(lambda: list(server.outcomes))
        ]
        assert (1, Released) in states
        assert (2, Released) in states


@pytest.mark.parametrize("close", ["close_link", "close_session", "disconnect"])
def test_settled_messages_that_no_handler_has_seen_still_come_when_their_link_is_closed(close: str) -> None:
    with Server() as server, client(server) as amqp:
        server.put("in", "a", "b", "c", settled=True)
        handled: list[str] = []

        def handler(event: Any) -> None:
            handled.append(amqp.received_message_value)
            if len(handled) > 1:
                assert event.link_index == -1
            elif close == "disconnect":
                amqp.disconnect()
            else:
                getattr(amqp, close)("in" if close == "close_link" else "s")

        amqp.on_message_in = handler
        amqp.create_receiver_link("s", "in", "in")
        server.wait_for(lambda: len(server.feeds["in"].sent) == 3)
        pump(amqp, lambda: len(handled) == 3)
        assert handled == ["a", "b", "c"], "nobody has them but this side"


def test_the_incoming_view_is_cheap_with_thousands_of_partial_messages() -> None:
    count = 1500 if THOROUGH else 500
    with Server() as server, client(server) as amqp:
        amqp.config("LogLevel=0")
        listed = _Listed()
        assert amqp._loop.engine is not None
        amqp._loop.engine.channels.partials = listed
        for i in range(count):
            amqp.create_receiver_link("s", f"l{i}", f"l{i}")
        first_frames = bytearray()

        def start(peer: Peer) -> None:
            for i in range(count):
                link = peer.sender(f"l{i}")
                transfer = Transfer(handle=link.handle, delivery_id=i, delivery_tag=b"t%d" % i, more=True)
                first_frames.extend(encode_frame(link.session.channel, transfer, Message(value="x").encode()[:4]))
            peer.raw(bytes(first_frames))
            session = peer.sender("l0").session
            session.window.next_outgoing_id += count
            session.window.next_delivery_id += count

        server.do(start)
        pump(amqp, lambda: amqp.incoming_message_count == count)
        names = [amqp.get_incoming_message_link_name(i) for i in range(amqp.incoming_message_count)]
        assert sorted(names) == sorted(f"l{i}" for i in range(count))
        # A whole message beside them: neither the number nor its own index looks at the thousands.
        amqp.create_receiver_link("s", "in", "in")
        seen: list[tuple[int, str]] = []
        assert len(listed) == count
        listed.times = 0

        def on_message_in(event: Any) -> None:
            number = amqp.incoming_message_count
            seen.append((number, amqp.get_incoming_message_value(number - 1)))

        amqp.on_message_in = on_message_in
        server.put("in", *map(str, range(10)))
        pump(amqp, lambda: len(seen) == 10)
        assert seen == [(count + 1, str(i)) for i in range(10)]
        assert listed.times == 0
        amqp.get_incoming_message_link_name(0)
        amqp.get_incoming_message_link_name(count - 1)
        assert listed.times == 1
        amqp.close_session("s")
        assert amqp.incoming_message_count == 0
        assert not listed, "nothing is kept of what will never be whole"


class _Listed(dict[Any, None]):
    """Counts how often it is gone through."""

    times = 0

    def __iter__(self) -> Iterator[Any]:
        self.times += 1
        return super().__iter__()


@pytest.mark.parametrize("settled", [True, False])
def test_a_fetched_message_is_not_lost_when_a_handler_fails_in_the_same_moment(settled: bool) -> None:
    with Server() as server, client(server, "in<", "get?", fetch_timeout=5) as amqp:

        def both(peer: Peer, event: Any) -> bool:
            if not isinstance(event, LinkFlow) or event.link.name != "get":
                return False
            server.hooks.clear()
            # The two arrive together.
            peer.sender("get").send(Message(value="fetched").encode(), settled=settled)
            peer.sender("in").send(Message(value="automatic").encode(), settled=True)
            return True

        def on_in(event: Any) -> None:
            if event.link_name == "in":
                raise ValueError("the handler failed")

        amqp.on_message_in = on_in
        server.hooks.append(both)
        with pytest.raises(ValueError, match="the handler failed"):
            amqp.fetch_message("get")
        if settled:
            # Nobody would send it again.
            amqp.fetch_message("get")
            assert amqp.received_message_value == "fetched"
        else:
            amqp.do_events()
            server.wait_for(lambda: [type(state) for _, state, _ in server.outcomes] == [Released])


def give_up(peer: Peer, name: str, count: int) -> None:
    """Begin messages and give them up."""
    link = peer.sender(name)
    session = link.session
    for _ in range(count):
        number = session.window.next_delivery_id
        begun = Transfer(handle=link.handle, delivery_id=number, delivery_tag=b"%d" % number, more=True)
        peer.raw(encode_frame(session.channel, begun, b"x"))
        peer.raw(encode_frame(session.channel, Transfer(handle=link.handle, aborted=True)))
        session.window.next_delivery_id += 1
        session.window.next_outgoing_id += 2
        link.delivery_count += 1
        link.credit -= 1


def test_messages_that_the_sender_gives_up_do_not_use_up_the_credit_of_an_automatic_link() -> None:
    with Server() as server, client(server) as amqp:
        amqp.config("DefaultCredit=10")
        amqp.config("DefaultCreditThreshold=5")
        amqp.create_receiver_link("s", "in", "in")
        received: list[str] = []
        amqp.on_message_in = lambda event: received.append(amqp.received_message_value)
        server.wait_for(lambda: peer_credit(server, "in") == 10)
        server.do(lambda peer: give_up(peer, "in", 10))
        pump(amqp, lambda: amqp.get_link_delivery_count(0) == 10)
        assert amqp.get_link_credit(0) > 5
        assert amqp.incoming_message_count == 0
        server.put("in", "whole")
        pump(amqp, lambda: received == ["whole"])


def peer_credit(server: Server, name: str) -> int:
    return server.peer.sender(name).credit


def test_a_fetch_goes_on_when_the_sender_gives_up_its_message() -> None:
    with Server() as server, client(server, "get?", fetch_timeout=5) as amqp:

        def hook(peer: Peer, event: Any) -> bool:
            if not isinstance(event, LinkFlow):
                return False
            server.hooks.clear()
            give_up(peer, "get", 1)
            return True

        server.hooks.append(hook)
        server.put("get", "whole")
        amqp.fetch_message("get")
        assert amqp.received_message_value == "whole"
        assert amqp.get_link_credit(0) == 0


def test_a_time_out_that_a_handler_meets_during_a_fetch_is_not_the_time_out_of_the_fetch() -> None:
    with Server() as server, client(server, "in<", "get?", fetch_timeout=5) as amqp:

        def on_in(event: Any) -> None:
            if event.link_name == "in":
                raise AMQPTimeoutError("the handler's own")

        amqp.on_message_in = on_in

        def hook(peer: Peer, event: Any) -> bool:
            if isinstance(event, LinkFlow) and event.link.name == "get":
                server.hooks.clear()
                peer.sender("in").send(Message(value="x").encode())
            return False

        server.hooks.append(hook)
        with pytest.raises(AMQPTimeoutError, match="the handler's own"):
            amqp.fetch_message("get")
        server.put("get", "whole")
        amqp.fetch_message("get")
        assert amqp.received_message_value == "whole"

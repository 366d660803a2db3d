"""Message ids and correlation ids: each of the four types is read as text, keeps its type, and can be given."""

from __future__ import annotations

import copy
import pickle
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqp10 import AMQP, AMQPError, Message, ValueType
from amqp10.codec import ULong
from amqp10.component.ids import IdText, check_id, id_text
from amqp10.component.messages import MessageDraft
from amqp10.wire import message as wire
from tests.component.server import Server, client

UID = UUID("12345678-90ab-cdef-0000-00805f9b34fb")
IDS = [
    pytest.param("text", "text", "text", id="string"),
    pytest.param("ABCD", "ABCD", "ABCD", id="string of hexadecimal digits"),
    pytest.param(0, ULong(0), "0", id="ulong 0"),
    pytest.param(2**64 - 1, ULong(2**64 - 1), str(2**64 - 1), id="largest ulong"),
    pytest.param(UID, UID, "12345678-90ab-cdef-0000-00805f9b34fb", id="uuid"),
    pytest.param(b"\xab\xcd\x00", b"\xab\xcd\x00", "ABCD00", id="binary"),
]

ids = st.one_of(
    st.text(min_size=1),
    st.integers(0, 2**64 - 1),
    st.uuids(),
    st.binary(min_size=1, max_size=300),
)


def sent(server: Server, amqp: AMQP) -> wire.Message:
    """What arrives of the message as it is composed."""
    before = len(server.messages)
    amqp.message_settled = False
    amqp.send_message("out")
    while amqp.outgoing_message_count:
        amqp.do_events()
    return wire.Message.decode(server.messages[before])


@pytest.mark.parametrize(("given_as", "travels", "text"), IDS)
@pytest.mark.parametrize("field", ["message_id", "message_correlation_id"])
@pytest.mark.parametrize("how", ["attribute", "setter"])
def test_an_id_can_be_given_with_its_type(field: str, how: str, given_as: Any, travels: Any, text: str) -> None:
    with Server() as server, client(server, "out>") as amqp:
        if how == "attribute":
            setattr(amqp, field, given_as)
        else:
            getattr(amqp, f"set_{field}")(given_as)
        assert getattr(amqp, field) == getattr(amqp, f"get_{field}")() == text
        properties = sent(server, amqp).properties
        assert properties is not None
        got = getattr(properties, field.removeprefix("message_") if field != "message_id" else field)
        assert (type(got), got) == (type(travels), travels)


@pytest.mark.parametrize(("given_as", "travels", "text"), IDS)
def test_an_id_that_is_passed_on_keeps_its_type(given_as: Any, travels: Any, text: str) -> None:
    with Server() as server:
        request = Message("x", id=travels, correlation_id=travels).encode()
        server.put("in", request)
        with client(server, "out>", "in<") as amqp:
            seen: list[str] = []

            def answer(event: Any) -> None:
                seen.append(event.message_id)
                amqp.message_id = amqp.received_message_correlation_id
                amqp.message_correlation_id = event.message_id
                amqp.send_message("out")

            amqp.on_message_in = answer
            while not (seen and server.messages):
                amqp.do_events()
            assert (seen, amqp.received_message_id) == ([text], text)
            properties = wire.Message.decode(server.messages[0]).properties
            assert properties is not None
            for got in (properties.message_id, properties.correlation_id):
                assert (type(got), got) == (type(travels), travels)


@pytest.mark.parametrize(("given_as", "travels", "text"), IDS)
def test_an_id_is_its_text_in_events_and_lists(given_as: Any, travels: Any, text: str) -> None:
    with Server(hold=["disposition"]) as server, client(server, "out>") as amqp:
        amqp.message_settled = False
        amqp.message_id = given_as
        amqp.send_message("out")
        amqp.send_messages("out", ["x"], [given_as])
        amqp.send_message_object("out", Message("x", id=travels))
        assert [amqp.get_outgoing_message_id(i) for i in range(3)] == [text] * 3
        outcomes: list[str] = []
        amqp.on_message_outcome = lambda event: outcomes.append(event.message_id)
        server.wait_for(lambda: len(server.held) == 3)
        from amqp10.wire.messaging import ACCEPTED

        server.settle_held(ACCEPTED)
        while len(outcomes) < 3:
            amqp.do_events()
        assert outcomes == [text] * 3


@given(ids, ids)
def test_ids_of_every_type_come_back_as_they_went(first: Any, second: Any) -> None:
    draft = MessageDraft()
    draft.id = check_id("message_id", first)
    draft.set("correlation_id", check_id("message_correlation_id", second))
    for _ in range(2):  # from what is kept between messages too
        properties = wire.Message.decode(b"".join(draft.encode())).properties
        assert properties is not None
        for got, expected in ((properties.message_id, first), (properties.correlation_id, second)):
            assert got == expected
            assert id_text(got) == check_id("", expected)
            assert check_id("", id_text(got)) == id_text(got)


def test_one_case_of_letters_is_used_for_binary_everywhere() -> None:
    data = bytes(range(256))
    amqp = AMQP()
    amqp.message_id = data
    amqp.message_value_type = ValueType.mvtBinary
    assert amqp.message_id == id_text(data) == data.hex().upper()


@pytest.mark.parametrize("wrong", [-1, 2**64])
def test_a_number_that_is_no_ulong_is_604(wrong: int) -> None:
    amqp = AMQP()
    amqp.message_id = "before"
    for name in ("message_id", "message_correlation_id"):
        with pytest.raises(AMQPError) as caught:
            setattr(amqp, name, wrong)
        assert caught.value.code == 604
    assert amqp.message_id == "before"


def test_an_empty_id_and_reset_leave_none() -> None:
    with Server() as server, client(server, "out>") as amqp:
        amqp.message_id = amqp.message_correlation_id = 7
        amqp.reset_message()
        assert sent(server, amqp).properties is None
        amqp.message_id = amqp.message_correlation_id = 7
        amqp.message_id = amqp.message_correlation_id = ""
        assert sent(server, amqp).properties is None


def test_a_typed_id_is_a_str_for_all_purposes_and_survives_copies() -> None:
    text = check_id("message_id", UID)
    assert isinstance(text, str)
    assert (text, hash(text), f"{text}") == (str(UID), hash(str(UID)), str(UID))
    for twin in (copy.copy(text), copy.deepcopy(text), pickle.loads(pickle.dumps(text))):
        assert isinstance(twin, IdText)
        assert twin.value == UID

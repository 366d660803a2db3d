"""Every composite: there and back with random fields, in every form that is permitted, damaged, filled in wrongly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from amqp10.codec import Array, DecodeError, Described, EncodeError, Int, Symbol, UByte, UInt, ULong, UShort, encode
from amqp10.codec.composite import RESTRICTED, Composite, FieldSpec, decode_composite, lookup
from amqp10.codec.decode import DECODE_FAULTS, decode_elements, translate
from amqp10.errors import AMQPError
from amqp10.wire import messaging, performatives
from amqp10.wire.messaging import ACCEPTED, Accepted, Modified, Properties, Rejected, Source, TransactionalState
from amqp10.wire.performatives import (
    Attach,
    Detach,
    Disposition,
    Error,
    Flow,
    Open,
    SaslInit,
    SaslMechanisms,
    Transfer,
)
from tests.examples import examples
from tests.strategies import SCALARS, TEXT, scalars

ALL: list[type[Composite]] = sorted(
    {
        value
        for module in (performatives, messaging)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Composite) and value is not Composite
    },
    key=lambda cls: cls.DESCRIPTOR_CODE,
)
STATES = st.sampled_from(
    [
        ACCEPTED,
        Rejected(error=Error(condition="amqp:not-found", description="no")),
        Modified(delivery_failed=True),
        TransactionalState(txn_id=b"t", outcome=ACCEPTED),
    ]
)
SYMBOLS = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20).map(Symbol)
MAPS = st.dictionaries(SYMBOLS, scalars, max_size=3)
ARCHETYPES: dict[str, st.SearchStrategy[Any]] = {
    "message-id": st.one_of(TEXT, st.uuids(), st.binary(max_size=20), SCALARS["ulong"]),
    "address": TEXT,
    "delivery-state": STATES,
    "outcome": st.sampled_from([ACCEPTED, Rejected(), Modified()]),
    "source": st.sampled_from([Source(address="s"), Source(), Source(dynamic=True, capabilities=(Symbol("queue"),))]),
    "target": st.sampled_from([messaging.Target(address="t"), messaging.Coordinator()]),
    "txn-id": st.binary(max_size=20),
    "global-tx-id": st.binary(max_size=20),
}
PRIMITIVES: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "ubyte": st.integers(0, 1),
    "ushort": st.one_of(st.integers(0, 300), st.just(65535)),
    "uint": st.one_of(st.integers(0, 300), st.integers(0, 2**32 - 1)),
    "ulong": st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1)),
    "timestamp": st.integers(-(2**63), 2**63 - 1),
    "binary": st.binary(max_size=300),
    "string": TEXT,
    "symbol": SYMBOLS,
    "map": MAPS,
    "error": st.builds(Error, condition=st.just(Symbol("amqp:not-found")), description=st.none() | TEXT),
}


def field_values(spec: FieldSpec) -> st.SearchStrategy[Any]:
    if spec.multiple:
        return st.lists(SYMBOLS, min_size=1 if spec.mandatory else 0, max_size=3).map(tuple)
    primitive = RESTRICTED.get(spec.type, spec.type)
    present = ARCHETYPES[str(spec.requires)] if primitive == "*" else PRIMITIVES[primitive]
    if spec.mandatory:
        return present
    return st.one_of(st.just(spec.default), present)


def composites_of(cls: type[Composite]) -> st.SearchStrategy[Composite]:
    return st.fixed_dictionaries({spec.attribute: field_values(spec) for spec in cls.FIELDS}).map(
        lambda fields: cls(**fields)
    )


composites = st.one_of([composites_of(cls) for cls in ALL])


@given(composites)
@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.too_slow])
def test_any_composite_survives_a_round_trip(value: Composite) -> None:
    data = value.encode()
    decoded, end = decode_composite(b"\xff\xff" + data + b"\xff", 2)
    assert decoded == value
    assert end == len(data) + 2
    assert decoded.encode() == data
    assert encode(value) == data
    assert repr(decoded) == repr(value)


@given(composites, st.data())
@settings(max_examples=examples(600), suppress_health_check=[HealthCheck.too_slow])
def test_fields_read_in_place_are_those_of_the_decoded_list_also_when_damaged(
    value: Composite, data: st.DataObject
) -> None:
    encoded = bytearray(value.encode())
    assume(encoded[3] == 0xC0)
    for _ in range(data.draw(st.integers(0, 2), label="damaged bytes")):
        # The count is a byte among them; the size is what the caller has checked.
        encoded[data.draw(st.integers(5, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    buf, count, end = bytes(encoded), encoded[5], len(encoded)
    cls = type(value)

    def outcome(read: Callable[[], Composite]) -> tuple[str, ...]:
        try:
            return ("read", repr(read()), read().encode().hex())
        except (AMQPError, *DECODE_FAULTS) as error:
            # Which byte is found to be one too many may differ, what kind of fault it is may not.
            fault = translate(error)
            return ("refused", type(fault).__name__, str(fault.condition))

    in_place = outcome(lambda: cls.from_buffer(buf, 6, count, end))
    assert in_place == outcome(lambda: cls.from_list(decode_elements(buf, 6, count, end, 1)))


@given(composites)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_the_fields_of_a_list_make_the_same_object(value: Composite) -> None:
    from amqp10.codec import decode

    described, _ = decode(value.encode())
    assert isinstance(described, Described)
    assert described.descriptor == value.DESCRIPTOR_CODE
    assert type(value).from_list(described.value) == value


@given(composites, st.data())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_composite_cut_anywhere_is_refused(value: Composite, data: st.DataObject) -> None:
    raw = value.encode()
    cut = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(DecodeError):
        decode_composite(raw[:cut], 0)


@given(composites, st.data())
@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_composite_gives_an_object_or_a_decode_error(value: Composite, data: st.DataObject) -> None:
    raw = bytearray(value.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded, end = decode_composite(bytes(raw), 0)
    except DecodeError:
        return
    assert end <= len(raw)
    assert repr(decoded)
    try:
        decoded.encode()
    except EncodeError:
        # What a peer sent may be more than this side would send; it must only not be another exception.
        return


@given(composites)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_nulls_at_the_end_change_nothing(value: Composite) -> None:
    from amqp10.codec import decode

    described, _ = decode(value.encode())
    padded = described.value + [None] * (len(value.FIELDS) - len(described.value))
    head = b"\x00\x53" + bytes((value.DESCRIPTOR_CODE,))
    body = b"".join(map(encode, padded))
    for raw in (
        encode(Described(ULong(value.DESCRIPTOR_CODE), padded)),
        head + b"\xd0" + (len(body) + 4).to_bytes(4, "big") + len(padded).to_bytes(4, "big") + body,
    ):
        decoded, end = decode_composite(raw, 0)
        assert decoded == value
        assert end == len(raw)


def described(cls: type[Composite], *fields: Any) -> bytes:
    return encode(Described(ULong(cls.DESCRIPTOR_CODE), list(fields)))


@pytest.mark.parametrize("number", [UByte(7), UShort(7), UInt(7), ULong(7), Int(7), 7], ids=repr)
def test_an_integer_field_is_taken_in_any_width(number: int) -> None:
    decoded, _ = decode_composite(described(Flow, number, number, number, number), 0)
    assert decoded == Flow(next_incoming_id=7, incoming_window=7, next_outgoing_id=7, outgoing_window=7)


@pytest.mark.parametrize("bad", [-1, 2**32, ULong(2**63), True, 1.0, "7", b"7", [7]], ids=repr)
def test_what_is_no_integer_in_range_is_refused(bad: Any) -> None:
    with pytest.raises(DecodeError, match=r"flow.*incoming-window") as caught:
        decode_composite(described(Flow, None, bad, 1, 1), 0)
    assert caught.value.condition == "amqp:invalid-field"


def test_text_is_taken_as_string_and_as_symbol() -> None:
    decoded, _ = decode_composite(described(Open, Symbol("container"), "host"), 0)
    assert decoded == Open(container_id="container", hostname="host")
    decoded, _ = decode_composite(described(SaslInit, "PLAIN"), 0)
    assert decoded == SaslInit(mechanism="PLAIN")


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        (None, ()),
        (Array((), b"\xa3"), ()),
        (Symbol("a"), ("a",)),
        (Array([Symbol("a")]), ("a",)),
        (Array([Symbol("a"), Symbol("b")]), ("a", "b")),
        (Array(["a", "b"]), ("a", "b")),
    ],
    ids=repr,
)
def test_a_field_of_multiple_values_is_taken_alone_and_as_an_array(sent: Any, held: tuple[str, ...]) -> None:
    decoded, _ = decode_composite(described(Open, "c", None, None, None, None, None, None, sent), 0)
    assert isinstance(decoded, Open)
    assert decoded.offered_capabilities == held


@pytest.mark.parametrize("bad", [5, [Symbol("a")], {}, Array([1]), Array([b"a"])], ids=repr)
def test_multiple_values_of_another_type_are_refused(bad: Any) -> None:
    with pytest.raises(DecodeError, match="offered-capabilities"):
        decode_composite(described(Open, "c", None, None, None, None, None, None, bad), 0)


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.NAME)
def test_a_missing_mandatory_field_is_named(cls: type[Composite]) -> None:
    first = next((spec for spec in cls.FIELDS if spec.mandatory), None)
    for raw in (
        described(cls),
        described(cls, *[None] * len(cls.FIELDS)),
        b"\x00\x53" + bytes((cls.DESCRIPTOR_CODE, 0x45)),
    ):
        if first is None:
            assert type(decode_composite(raw, 0)[0]) is cls
            continue
        with pytest.raises(DecodeError, match=f"{cls.NAME}.*{first.name}") as caught:
            decode_composite(raw, 0)
        assert caught.value.condition == "amqp:invalid-field"


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.NAME)
def test_more_values_than_fields_are_refused(cls: type[Composite]) -> None:
    with pytest.raises(DecodeError, match=cls.NAME):
        decode_composite(described(cls, *[None] * (len(cls.FIELDS) + 1)), 0)


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.NAME)
def test_a_composite_that_is_no_list_is_refused(cls: type[Composite]) -> None:
    others: list[Any] = [None, {}, "text", Array([1]), Described(ULong(1), [])]
    for value in others:
        with pytest.raises(DecodeError):
            decode_composite(encode(Described(ULong(cls.DESCRIPTOR_CODE), value)), 0)


@pytest.mark.parametrize(
    "descriptor", [ULong(0x0F), Symbol("amqp:nothing:list"), None, 5.0, [], {}, Array([1])], ids=repr
)
def test_an_unknown_descriptor_is_refused(descriptor: Any) -> None:
    with pytest.raises(DecodeError):
        decode_composite(encode(Described(descriptor, [])), 0)


@pytest.mark.parametrize(
    ("cls", "fields", "name"),
    [
        (Detach, (0, "yes"), "closed"),
        (Detach, (0, True, "broken"), "error"),
        (Detach, (0, True, Described(ULong(0x24), [])), "error"),
        (Transfer, (0, 1, "tag"), "delivery-tag"),
        (Disposition, (True, 0, 0, True, Described(ULong(0x28), [])), "state"),
        (Attach, ("l", 0, True, 2, 0, Described(ULong(0x29), [])), "source"),
        (Open, (b"c",), "container-id"),
        (Open, ("c", None, None, None, None, None, None, None, None, [1]), "properties"),
        (Properties, (None, "user"), "user-id"),
        (SaslInit, (5,), "mechanism"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(cls: type[Composite], fields: tuple[Any, ...], name: str) -> None:
    with pytest.raises(DecodeError, match=f"{cls.NAME}.*{name}"):
        decode_composite(described(cls, *fields), 0)


@pytest.mark.parametrize(
    "state",
    [
        b"\x00\x53\x24\x45",
        b"\x00\x53\x24\xc0\x01\x00",
        b"\x00\x53\x24\xd0\x00\x00\x00\x04\x00\x00\x00\x00",
        b"\x00\x80\x00\x00\x00\x00\x00\x00\x00\x24\x45",
        encode(Described(Symbol("amqp:accepted:list"), [])),
    ],
    ids=bytes.hex,
)
def test_a_state_is_taken_in_every_form(state: bytes) -> None:
    body = b"\x41\x43\x43\x41" + state
    decoded, _ = decode_composite(b"\x00\x53\x15\xc0" + bytes((len(body) + 1, 5)) + body, 0)
    assert decoded == Disposition(role=True, first=0, last=0, settled=True, state=Accepted())


def test_states_of_extensions_stay_described() -> None:
    state = Described(Symbol("example:state:list"), [1])
    decoded, _ = decode_composite(described(Disposition, True, 0, 0, True, state), 0)
    assert isinstance(decoded, Disposition)
    assert decoded.state == state
    assert decode_composite(decoded.encode(), 0)[0] == decoded


def test_defaults_are_left_out_and_come_back() -> None:
    explicit = Open(container_id="c", max_frame_size=2**32 - 1, channel_max=65535)
    assert explicit.encode() == Open(container_id="c").encode() == described(Open, "c")
    decoded, _ = decode_composite(described(Open, "c"), 0)
    assert isinstance(decoded, Open)
    assert (decoded.max_frame_size, decoded.channel_max, decoded.idle_time_out) == (2**32 - 1, 65535, None)


@pytest.mark.parametrize(
    "bad",
    [
        Open(container_id="c", channel_max=65536),
        Open(container_id="c", channel_max=-1),
        Open(container_id="c", max_frame_size=2**32),
        Open(container_id=5),  # type: ignore[arg-type]
        Open(container_id=None),  # type: ignore[arg-type]
        Open(container_id="\ud800"),
        Open(container_id="c", idle_time_out="5"),  # type: ignore[arg-type]
        Open(container_id="c", offered_capabilities="abc"),  # type: ignore[arg-type]
        Open(container_id="c", offered_capabilities=(5,)),  # type: ignore[arg-type]
        Open(container_id="c", offered_capabilities=("é",)),
        Transfer(handle=0, delivery_tag="tag"),  # type: ignore[arg-type]
        SaslInit(mechanism="é"),
        Properties(creation_time=2**63),
    ],
    ids=ascii,
)
def test_what_cannot_be_sent_raises_an_error_of_ours(bad: Composite) -> None:
    with pytest.raises(EncodeError) as caught:
        bad.encode()
    assert caught.value.code == 604


def test_composites_compare_by_their_fields() -> None:
    assert Error(condition="a") == Error(condition="a")
    assert Error(condition="a") != Error(condition="b")
    assert Accepted() != messaging.Released()
    assert Accepted() != 5
    with pytest.raises(TypeError):
        hash(Error(condition="a"))


def test_repr_shows_what_is_set_and_no_secret() -> None:
    assert repr(Flow(incoming_window=1, next_outgoing_id=2, outgoing_window=3, drain=True)) == (
        "flow(incoming-window=1, next-outgoing-id=2, outgoing-window=3, drain=true)"
    )
    for secret in (
        SaslInit(mechanism="PLAIN", initial_response=b"hunter2"),
        performatives.SaslResponse(response=b"hunter2"),
        performatives.SaslChallenge(challenge=b"hunter2"),
        performatives.SaslOutcome(code=0, additional_data=b"hunter2"),
    ):
        assert "hunter2" not in repr(secret)
        assert b"hunter2".hex() not in repr(secret)


def test_a_misspelled_field_is_refused() -> None:
    with pytest.raises(TypeError):
        Open(container_id="c", chanel_max=5)  # type: ignore[call-arg]
    value = Open(container_id="c")
    with pytest.raises(AttributeError):
        value.chanel_max = 5  # type: ignore[attr-defined]


def test_every_composite_is_found_by_both_descriptors() -> None:
    assert len(ALL) == 33
    for cls in ALL:
        assert lookup(ULong(cls.DESCRIPTOR_CODE)) is lookup(Symbol(cls.DESCRIPTOR_NAME)) is cls
    assert lookup(True) is None


@given(st.binary(max_size=60))
def test_random_fields_give_an_object_or_an_error_of_ours(data: bytes) -> None:
    for cls in (Transfer, Flow, Attach, Properties, SaslMechanisms):
        for count in (1, len(cls.FIELDS)):
            raw = b"\x00\x53" + bytes((cls.DESCRIPTOR_CODE, 0xC0, len(data) + 1, count)) + data
            try:
                decode_composite(raw, 0)
            except AMQPError:
                continue

"""Frames and protocol headers: whole, byte by byte, with trailing data, and malformed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amqp10.codec import DecodeError, EncodeError
from amqp10.errors import AMQPError, MalformedFrameError
from amqp10.wire.frames import (
    AMQP_HEADER,
    EMPTY_FRAME,
    FRAME_AMQP,
    FRAME_SASL,
    SASL_HEADER,
    Frame,
    FrameBuffer,
    decode_frame_body,
    describe_header,
    encode_frame,
    encode_sasl_frame,
)
from amqp10.wire.messaging import ACCEPTED, Header
from amqp10.wire.performatives import (
    MIN_MAX_FRAME_SIZE,
    Begin,
    Close,
    Disposition,
    End,
    Flow,
    Open,
    SaslInit,
    SaslMechanisms,
    Transfer,
)

TRANSFER = Transfer(handle=3, delivery_id=7, delivery_tag=b"tag", message_format=0)
STREAM = [
    (0, Open(container_id="c", max_frame_size=4096), b""),
    (0, None, b""),
    (5, Begin(next_outgoing_id=0, incoming_window=1, outgoing_window=1), b""),
    (5, TRANSFER, b"payload of the message" * 10),
    (5, TRANSFER, b""),
    (65535, Disposition(role=True, first=0, last=9, settled=True, state=ACCEPTED), b""),
    (5, Flow(incoming_window=1, next_outgoing_id=2, outgoing_window=3), b""),
    (5, End(), b""),
    (0, Close(), b""),
]
ENCODED = [EMPTY_FRAME if body is None else encode_frame(channel, body, payload) for channel, body, payload in STREAM]
WIRE = b"".join(ENCODED)


def frames(buffer: FrameBuffer) -> list[Frame]:
    return list(buffer)


def contents(found: list[Frame]) -> list[tuple[int, int, bytes]]:
    return [(kind, channel, buf[start:stop]) for kind, channel, buf, start, stop in found]


EXPECTED = [(FRAME_AMQP, channel, frame[8:]) for (channel, _, _), frame in zip(STREAM, ENCODED, strict=True)]


def test_frames_of_one_piece_are_found_without_being_copied() -> None:
    buffer = FrameBuffer(4096)
    buffer.feed(WIRE)
    found = frames(buffer)
    assert contents(found) == EXPECTED
    assert all(buf is WIRE for _, _, buf, _, _ in found)
    assert len(buffer) == 0


def test_frames_that_arrive_byte_by_byte_are_the_same() -> None:
    buffer = FrameBuffer(4096)
    found = []
    for i in range(len(WIRE)):
        buffer.feed(WIRE[i : i + 1])
        found += frames(buffer)
    assert contents(found) == EXPECTED
    assert len(buffer) == 0


@given(st.lists(st.integers(0, len(WIRE)), max_size=20))
def test_frames_that_arrive_in_any_pieces_are_the_same(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(WIRE)]
    buffer = FrameBuffer(4096)
    found = []
    for start, stop in pairwise(edges):
        buffer.feed(WIRE[start:stop])
        found += frames(buffer)
    assert contents(found) == EXPECTED


@given(st.lists(st.integers(0, len(WIRE)), max_size=5))
def test_pieces_that_pile_up_before_anyone_looks_are_not_lost(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(WIRE)]
    buffer = FrameBuffer(4096)
    for start, stop in pairwise(edges):
        buffer.feed(WIRE[start:stop])
    assert contents(frames(buffer)) == EXPECTED


@pytest.mark.parametrize("kept", range(1, len(ENCODED[0])))
def test_trailing_data_wait_for_the_rest_of_their_frame(kept: int) -> None:
    buffer = FrameBuffer(4096)
    buffer.feed(WIRE + ENCODED[0][:kept])
    assert contents(frames(buffer)) == EXPECTED
    assert len(buffer) == kept
    buffer.feed(ENCODED[0][kept:])
    assert contents(frames(buffer)) == EXPECTED[:1]


@pytest.mark.parametrize(
    ("head", "about"),
    [
        ("0000000702000000", "data offset"),
        ("0000000002000000", "data offset"),
        ("0000000801000000", "data offset"),
        ("0000000800000000", "data offset"),
        ("0000000803000000", "data offset"),
        ("0000000bff000000", "data offset"),
        ("0000020102000000", "maximum"),
        ("ffffffff02000000", "maximum"),
        ("4854545002000000", "maximum"),
    ],
)
def test_a_malformed_frame_header_is_refused_at_once(head: str, about: str) -> None:
    buffer = FrameBuffer(MIN_MAX_FRAME_SIZE)
    buffer.feed(ENCODED[1] + bytes.fromhex(head))
    assert len([next(buffer)]) == 1
    with pytest.raises(MalformedFrameError, match=about):
        next(buffer)
    # A second look does not get past it.
    with pytest.raises(MalformedFrameError, match=about) as caught:
        next(buffer)
    assert caught.value.code == 601
    assert caught.value.condition == "amqp:connection:framing-error"


def test_a_frame_of_exactly_the_limit_is_accepted_and_one_octet_more_is_not() -> None:
    frame = encode_frame(0, TRANSFER, bytes(MIN_MAX_FRAME_SIZE - len(encode_frame(0, TRANSFER))))
    assert len(frame) == MIN_MAX_FRAME_SIZE
    buffer = FrameBuffer(MIN_MAX_FRAME_SIZE)
    buffer.feed(frame)
    assert len(frames(buffer)) == 1
    buffer.feed(encode_frame(0, TRANSFER, bytes(MIN_MAX_FRAME_SIZE + 1 - len(encode_frame(0, TRANSFER)))))
    with pytest.raises(MalformedFrameError):
        frames(buffer)


def test_the_limit_can_grow_with_what_was_agreed() -> None:
    frame = encode_frame(0, TRANSFER, bytes(2000))
    buffer = FrameBuffer(MIN_MAX_FRAME_SIZE)
    buffer.feed(ENCODED[0])
    assert len(frames(buffer)) == 1
    buffer.limit = 4096
    buffer.feed(frame)
    assert len(frames(buffer)) == 1


def test_what_is_kept_is_bounded_by_the_limit() -> None:
    buffer = FrameBuffer(1000)
    buffer.feed(bytes.fromhex("000003e802000000"))
    kept = 0
    for _ in range(991):
        assert frames(buffer) == []
        buffer.feed(b"x")
        kept = max(kept, len(buffer))
    assert kept <= 1000


@given(st.binary(max_size=300), st.integers(1, 300))
@example(b"\x00\x00\x00\x08\x02\x00\x00\x00" * 3, 5)
def test_random_bytes_give_frames_or_a_malformed_frame_error(data: bytes, size: int) -> None:
    buffer = FrameBuffer(MIN_MAX_FRAME_SIZE)
    try:
        for i in range(0, len(data), size):
            buffer.feed(data[i : i + size])
            for kind, channel, buf, start, stop in buffer:
                assert 0 <= kind <= 255
                assert 0 <= channel <= 65535
                assert 8 <= start <= stop <= len(buf)
                assert len(buffer) < MIN_MAX_FRAME_SIZE + size
    except MalformedFrameError:
        return


def test_an_extended_header_is_stepped_over() -> None:
    body = Close().encode()
    frame = (12 + len(body)).to_bytes(4, "big") + b"\x03\x00\x00\x00" + b"\xde\xad\xbe\xef" + body
    buffer = FrameBuffer(MIN_MAX_FRAME_SIZE)
    buffer.feed(frame)
    ((_, _, buf, start, stop),) = frames(buffer)
    assert decode_frame_body(buf, start, stop) == (Close(), stop)


@pytest.mark.parametrize(("channel", "body", "payload"), [entry for entry in STREAM if entry[1] is not None])
def test_performative_and_payload_come_back(channel: int, body: Transfer, payload: bytes) -> None:
    frame = encode_frame(channel, body, payload)
    # What follows in the buffer belongs to the next frame.
    decoded, start = decode_frame_body(frame + b"\x00\x53\x10", 8, len(frame))
    assert decoded == body
    assert frame[start:] == payload
    assert encode_frame(channel, body, memoryview(payload)) == frame


def test_a_sasl_frame_has_its_type() -> None:
    frame = encode_sasl_frame(SaslInit(mechanism="ANONYMOUS"))
    buffer = FrameBuffer(MIN_MAX_FRAME_SIZE)
    buffer.feed(frame)
    ((kind, _, buf, start, stop),) = frames(buffer)
    assert kind == FRAME_SASL
    assert decode_frame_body(buf, start, stop)[0] == SaslInit(mechanism="ANONYMOUS")


@pytest.mark.parametrize("body", [body for _, body, _ in STREAM if body is not None], ids=lambda body: body.NAME)
def test_a_frame_body_that_is_cut_short_is_refused(body: Transfer) -> None:
    frame = encode_frame(0, body)
    for stop in range(8, len(frame)):
        with pytest.raises((DecodeError, MalformedFrameError)):
            decode_frame_body(frame[:stop], 8, stop)
        # The same when the bytes of the next frame follow: they must not be taken for the missing ones.
        with pytest.raises((DecodeError, MalformedFrameError)):
            decode_frame_body(frame, 8, stop)


def test_what_is_no_frame_body_is_refused() -> None:
    for body in (Header().encode(), ACCEPTED.encode()):
        with pytest.raises(MalformedFrameError) as caught:
            decode_frame_body(body, 0, len(body))
        assert caught.value.condition == "amqp:decode-error"


@given(st.binary(max_size=80))
@example(b"\x00\x45\x45")
@example(b"\x00\xc1\x01\x00\x45")
@example(b"\x00" * 80)
@example(b"\x00\x53\x15\xc0\x09\x05\x41\x43\x40\x41\xa1\x01a")
def test_a_random_frame_body_gives_a_performative_or_an_error_of_ours(data: bytes) -> None:
    for body in (data, b"\x00\x53\x14" + data, b"\x00\x53\x12" + data):
        try:
            performative, pos = decode_frame_body(body, 0, len(body))
        except AMQPError:
            continue
        assert pos <= len(body)
        assert repr(performative)


@given(st.sampled_from(ENCODED).filter(lambda frame: len(frame) > 8), st.data())
def test_a_damaged_frame_body_gives_a_performative_or_an_error_of_ours(frame: bytes, data: st.DataObject) -> None:
    raw = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(8, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_frame_body(bytes(raw), 8, len(raw))
    except AMQPError:
        return


@pytest.mark.parametrize("channel", [-1, 65536])
def test_a_channel_out_of_range_is_refused(channel: int) -> None:
    with pytest.raises(EncodeError):
        encode_frame(channel, Close())


def test_a_mechanism_list_is_read_from_one_symbol_or_an_array() -> None:
    one = bytes.fromhex("005340c00801a305504c41494e")
    decoded, _ = decode_frame_body(one, 0, len(one))
    assert decoded == SaslMechanisms(sasl_server_mechanisms=("PLAIN",))  # type: ignore[arg-type]  # a str equals it


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"AMQP\x00\x00\x09\x01", "AMQP 0-9-1"),
        (b"AMQP\x01\x01\x00\x0a", "AMQP 0-10"),
        (b"AMQP\x01\x01\x08\x00", "AMQP 0-8"),
        (AMQP_HEADER, "AMQP 1.0.0"),
        (SASL_HEADER, "SASL"),
        (b"AMQP\x02\x01\x00\x00", "TLS"),
        (b"AMQP\x07\x01\x00\x00", "7"),
        (b"HTTP/1.1", "HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "TLS"),
        (b"\x16\x03\x03\x00\x7a\x02\x00\x00", "TLS"),
        (b"220 smtp", "220 smtp"),
        (b"\x00\xff", r"\x00\xff"),
        (b"AMQP", "AMQP"),
        (b"", "nothing"),
    ],
)
def test_an_answer_in_another_protocol_is_named(answer: bytes, says: str) -> None:
    assert says in describe_header(answer)


@given(st.binary(max_size=8))
def test_any_answer_can_be_described(answer: bytes) -> None:
    assert describe_header(answer).isprintable()

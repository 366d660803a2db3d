"""Frames and protocol headers, written and read. How frames are found in what arrives: tests/engine/test_stream.py."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amqp10.codec import DecodeError, EncodeError
from amqp10.errors import AMQPError, MalformedFrameError
from amqp10.wire.frames import (
    AMQP_HEADER,
    FRAME_AMQP,
    FRAME_SASL,
    SASL_HEADER,
    decode_frame_body,
    describe_header,
    encode_frame,
    encode_sasl_frame,
)
from amqp10.wire.messaging import ACCEPTED, Header
from amqp10.wire.performatives import (
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
FRAMES: list[tuple[int, Any, bytes]] = [
    (0, Open(container_id="c", max_frame_size=4096), b""),
    (5, Begin(next_outgoing_id=0, incoming_window=1, outgoing_window=1), b""),
    (5, TRANSFER, b"payload of the message" * 10),
    (5, TRANSFER, b""),
    (65535, Disposition(role=True, first=0, last=9, settled=True, state=ACCEPTED), b""),
    (5, Flow(incoming_window=1, next_outgoing_id=2, outgoing_window=3), b""),
    (5, End(), b""),
    (0, Close(), b""),
]


@pytest.mark.parametrize(("channel", "body", "payload"), FRAMES)
def test_performative_and_payload_come_back(channel: int, body: Transfer, payload: bytes) -> None:
    frame = encode_frame(channel, body, payload)
    # What follows in the buffer belongs to the next frame.
    decoded, start = decode_frame_body(frame + b"\x00\x53\x10", 8, len(frame))
    assert decoded == body
    assert frame[start:] == payload
    assert encode_frame(channel, body, memoryview(payload)) == frame


def test_a_frame_header_has_size_offset_type_and_channel() -> None:
    frame = encode_frame(0x1234, TRANSFER, bytes(300))
    assert frame[:8] == struct.pack(">IBBH", len(frame), 2, FRAME_AMQP, 0x1234)
    assert len(frame) == 8 + len(TRANSFER.encode()) + 300


def test_a_sasl_frame_has_its_type() -> None:
    frame = encode_sasl_frame(SaslInit(mechanism="ANONYMOUS"))
    assert frame[:8] == bytes((0, 0, 0, len(frame), 2, FRAME_SASL, 0, 0))
    assert decode_frame_body(frame, 8, len(frame)) == (SaslInit(mechanism="ANONYMOUS"), len(frame))


@pytest.mark.parametrize("body", [body for _, body, _ in FRAMES], ids=lambda body: body.NAME)
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


@given(st.sampled_from([encode_frame(*frame) for frame in FRAMES]), st.data())
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

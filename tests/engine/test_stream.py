"""Frames in the byte stream: whole, byte by byte, in any pieces, with trailing data, and malformed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqp10.codec.composite import Composite
from amqp10.engine import ConnectionFailed, Event, IncomingDelivery
from amqp10.errors import MalformedFrameError
from amqp10.wire.frames import EMPTY_FRAME, encode_frame
from amqp10.wire.messaging import ACCEPTED
from amqp10.wire.performatives import MIN_MAX_FRAME_SIZE, Begin, Disposition, End, Flow, Transfer
from tests.engine.harness import BIG, Scripted


def transfer(number: int) -> Transfer:
    return Transfer(handle=0, delivery_id=number, delivery_tag=number.to_bytes(4, "big"), message_format=0)


FLOW = Flow(next_incoming_id=0, incoming_window=BIG, next_outgoing_id=0, outgoing_window=BIG)
SETTLED = Disposition(role=True, first=0, last=1, settled=True, state=ACCEPTED)
BEGIN = Begin(next_outgoing_id=0, incoming_window=1, outgoing_window=1)
STREAM: list[tuple[int, Any, bytes]] = [
    (0, FLOW, b""),
    (0, transfer(0), b"payload of the message" * 10),
    (0, None, b""),
    (0, transfer(1), b""),
    (0, SETTLED, b""),
    (7, BEGIN, b""),
    (0, transfer(2), bytes(range(256))),
    (7, End(), b""),
    (0, transfer(3), b"last"),
]
ENCODED = [EMPTY_FRAME if body is None else encode_frame(channel, body, payload) for channel, body, payload in STREAM]
WIRE = b"".join(ENCODED)


class Client(Scripted):
    """A client with a link on which it receives. ``seen`` is what its trace says, if it is to have one."""

    def __init__(self, *, trace: bool, **options: Any) -> None:
        super().__init__(**options)
        self.receiver(self.session())
        self.events.clear()
        self.seen: list[tuple[int, object, int]] = []
        if trace:
            self.engine.output.trace = self._trace

    def _trace(self, outgoing: bool, channel: int, body: object, size: int) -> None:
        if not outgoing:
            self.seen.append((channel, body, size))

    def feed_pieces(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            if piece:
                self.feed(piece)


def meaning(events: list[Event]) -> list[object]:
    return [event.payload if isinstance(event, IncomingDelivery) else type(event).__name__ for event in events]


def check(client: Client, *, trace: bool) -> None:
    """All of the stream has arrived, each frame once, and nothing is left."""
    payloads = [payload for _, body, payload in STREAM if isinstance(body, Transfer)]
    assert meaning(client.events) == [*payloads[:2], "SessionRequested", payloads[2], "SessionEnded", payloads[3]]
    assert client.engine.missing == 0
    assert client.engine.empty_bytes == len(EMPTY_FRAME)
    if trace:
        assert client.seen == [(channel, body, len(payload)) for channel, body, payload in STREAM]


# With a trace every frame takes the general way, without one transfers and dispositions are read in place.
both_ways = pytest.mark.parametrize("trace", [False, True], ids=["quick", "general"])


@both_ways
@pytest.mark.parametrize("size", [len(WIRE), 1, 7, 8, 9], ids=["whole", "1", "7", "8", "9"])
def test_frames_are_the_same_in_pieces_of_any_size(trace: bool, size: int) -> None:
    client = Client(trace=trace)
    client.feed_pieces(WIRE[start : start + size] for start in range(0, len(WIRE), size))
    check(client, trace=trace)


@both_ways
@given(st.lists(st.integers(0, len(WIRE)), max_size=20))
def test_frames_are_the_same_in_any_pieces(trace: bool, cuts: list[int]) -> None:
    client = Client(trace=trace)
    client.feed_pieces(WIRE[start:stop] for start, stop in pairwise([0, *sorted(cuts), len(WIRE)]))
    check(client, trace=trace)


@both_ways
@pytest.mark.parametrize("kept", range(1, len(ENCODED[0])))
def test_trailing_data_wait_for_the_rest_of_their_frame(trace: bool, kept: int) -> None:
    client = Client(trace=trace)
    client.feed(WIRE[: len(WIRE) - len(ENCODED[-1])])
    extra = encode_frame(0, FLOW)
    before = len(client.seen)
    client.feed(ENCODED[-1] + extra[:kept])
    assert meaning(client.events)[-1] == b"last"
    assert client.engine.missing == (8 if kept < 8 else len(extra)) - kept
    client.feed(extra[kept:])
    assert client.engine.missing == 0
    if trace:
        assert [body for _, body, _ in client.seen[before:]] == [transfer(3), FLOW]


@pytest.mark.parametrize("piece", [1, 1000], ids=["byte by byte", "whole"])
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
def test_a_malformed_frame_header_ends_the_connection_without_waiting_for_more(
    head: str, about: str, piece: int
) -> None:
    client = Client(trace=True, max_frame_size=MIN_MAX_FRAME_SIZE)
    data = encode_frame(0, FLOW) + bytes.fromhex(head)
    client.feed_pieces(data[start : start + piece] for start in range(0, len(data), piece))
    assert [body for _, body, _ in client.seen] == [FLOW]
    (failed,) = client.events
    assert isinstance(failed, ConnectionFailed)
    assert isinstance(failed.error, MalformedFrameError)
    assert about in failed.error.message
    assert failed.error.code == 601
    assert failed.error.condition == "amqp:connection:framing-error"
    assert client.sent()[-1].NAME == "close"
    # What follows is out of step: nobody looks at it.
    assert client.feed(encode_frame(0, FLOW)) == []


def test_a_frame_of_exactly_the_limit_is_accepted_and_one_byte_more_is_not() -> None:
    client = Client(trace=False, max_frame_size=MIN_MAX_FRAME_SIZE)
    largest = encode_frame(0, transfer(0), bytes(MIN_MAX_FRAME_SIZE - len(encode_frame(0, transfer(0)))))
    assert len(largest) == MIN_MAX_FRAME_SIZE
    assert [type(event) for event in client.feed(largest)] == [IncomingDelivery]
    size = MIN_MAX_FRAME_SIZE + 1 - len(encode_frame(0, transfer(1)))
    assert [type(event) for event in client.feed(encode_frame(0, transfer(1), bytes(size)))] == [ConnectionFailed]


@pytest.mark.parametrize("piece", [1, 1000], ids=["byte by byte", "whole"])
@pytest.mark.parametrize(("body", "payload"), [(FLOW, b""), (transfer(0), b"x"), (SETTLED, b"")])
def test_an_extended_header_is_stepped_over(body: Composite, payload: bytes, piece: int) -> None:
    rest = b"\x03\x00\x00\x00" + b"\xde\xad\xbe\xef" + body.encode() + payload
    frame = (4 + len(rest)).to_bytes(4, "big") + rest
    for trace in (False, True):
        client = Client(trace=trace)
        client.feed_pieces(frame[start : start + piece] for start in range(0, len(frame), piece))
        assert client.engine.missing == 0
        assert meaning(client.events) == ([payload] if payload else [])
        if trace:
            assert client.seen == [(0, body, len(payload))]

"""Transfers as other libraries write them: what is read in place, and what is compared with the shape of the last one,
is what the general decoder makes of the same bytes."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqp10.engine import IncomingDelivery, ReceiverLink, connection, incoming
from tests.engine.harness import Pair
from tests.examples import examples

Frame = tuple[bytes, ...]
"""The fields of a transfer, each encoded, and what follows the performative."""


def uints(value: int) -> st.SearchStrategy[bytes]:
    """Every encoding of a uint."""
    forms = [b"\x70" + struct.pack(">I", value)]
    if value < 256:
        forms.append(bytes((0x52, value)))
    if value == 0:
        forms.append(b"\x43")
    return st.sampled_from(forms)


@st.composite
def transfers(draw: st.DrawFn) -> list[bytes]:
    """Frames of one link; mostly legal ones, often several of one shape in a row."""
    frames: list[bytes] = []
    # Where the width of an id changes, too.
    number = draw(st.sampled_from([70_000, 300, 254, 250, 0]))
    while len(frames) < draw(st.integers(1, 12), label="frames"):
        count = draw(st.sampled_from([5, 5, 5, 6, 4, 3, 7, 8]))
        handle = draw(uints(1 if draw(st.integers(0, 19)) == 19 else 0))
        tag_size = draw(st.sampled_from([4, 4, 4, 1, 0, 32, 33]))
        rest = [
            draw(st.sampled_from([*[b"\x43"] * 5, b"\x52\x00", b"\x70\x00\x00\x00\x00", b"\x40", b"\x52\x07"])),
            draw(st.sampled_from([b"\x42", b"\x41", b"\x40", b"\x56\x00", b"\x56\x01", b"\x56\x02", b"\x43"])),
            draw(st.sampled_from([b"\x42", b"\x42", b"\x42", b"\x40", b"\x56\x00", b"\x41", b"\x56\x01"])),
            draw(st.sampled_from([b"\x40", b"\x50\x00"])),
            draw(st.sampled_from([b"\x40", b"\x00\x53\x24\x45"])),
        ][: count - 3]
        wide = draw(st.booleans())
        for _ in range(draw(st.integers(1, 4))):
            # Frames of one length, of which one detail is another than in the last.
            oddity = draw(st.sampled_from(["", "settled", "tag", "", "count"]))
            announced = len(rest) + 3
            if oddity == "count":
                announced += draw(st.sampled_from([1, -1]))
            elif oddity == "settled" and count > 4 and len(rest[1]) == 1:
                rest[1] = b"\x41" if rest[1] == b"\x42" else b"\x42"
            if oddity == "tag" and tag_size > 3:
                head = b"\xb0" + struct.pack(">I", tag_size - 3)
                tag = draw(st.binary(min_size=tag_size - 3, max_size=tag_size - 3))
            else:
                head = bytes((0xA0, tag_size))
                tag = draw(st.binary(min_size=tag_size, max_size=tag_size))
            fields = handle + draw(uints(number)) + head + tag + b"".join(rest)
            number += draw(st.sampled_from([1, 1, 1, 1, 0]))
            if wide:
                body = b"\xd0" + struct.pack(">II", len(fields) + 4, announced) + fields
            else:
                body = bytes((0xC0, len(fields) + 1, announced)) + fields
            body = b"\x00\x53\x14" + body + draw(st.binary(max_size=20))
            frames.append(struct.pack(">IBBH", len(body) + 8, 2, 0, 0) + body)
    return frames


def outcome(frames: list[bytes], traced: bool, credit: int = 40, most: int = 0) -> list[Any]:
    """What an engine makes of the frames, or pieces of them, and how it is afterwards."""
    pair = Pair()
    mine, theirs = pair.session()
    _, incoming = pair.sender(mine, credit=credit)
    assert isinstance(incoming, ReceiverLink)
    incoming.max_message_size = most
    if traced:
        # A trace makes the engine decode every frame the general way.
        pair.server.output.trace = lambda *_: None
    pair.take(server=True)
    found: list[Any] = []
    for frame in frames:
        for event in pair.server.receive_data(frame, pair.now):
            if isinstance(event, IncomingDelivery):
                found.append(
                    (
                        event.delivery_id,
                        event.tag,
                        event.payload,
                        event.settled,
                        event.remote_settled,
                        event.remote_state,
                        event.message_format,
                    )
                )
            else:
                error = getattr(event, "error", None)
                found.append((type(event).__name__, error and error.condition))
    sent = b"".join(pair.server.data_to_send(pair.now))
    # The words of an error may differ, what is done about it may not.
    kinds = [sent[at : at + 3] for at in range(len(sent)) if sent[at : at + 2] == b"\x00\x53"]
    return [
        *found,
        kinds,
        pair.server.state,
        theirs.state,
        incoming.state,
        incoming.credit,
        incoming.delivery_count,
        incoming.partial is None,
        theirs.window.next_incoming_id,
        theirs.window.left,
        sorted(incoming.unsettled),
        sorted(theirs.incoming_unsettled),
    ]


@given(transfers())
@settings(max_examples=examples(400))
def test_transfers_in_any_shape_mean_the_same_read_in_place_and_decoded(frames: list[bytes]) -> None:
    assert outcome(frames, traced=False) == outcome(frames, traced=True)


@given(st.lists(transfers(), min_size=1, max_size=4), st.integers(1, 40), st.sampled_from([0, 10]), st.data())
@settings(max_examples=examples(400))
def test_transfers_that_arrive_at_once_mean_the_same_as_one_by_one(
    parts: list[list[bytes]], credit: int, most: int, data: st.DataObject
) -> None:
    frames = [frame for part in parts for frame in part]
    whole = b"".join(frames)
    cut = data.draw(st.integers(0, len(whole)))
    assert outcome([whole[:cut], whole[cut:]], False, credit, most) == outcome(frames, False, credit, most)


def frame(number: int, payload: bytes = b"x") -> bytes:
    fields = b"\x43\x70" + struct.pack(">I", number) + b"\xa0\x04" + struct.pack(">I", number) + b"\x43\x42"
    body = b"\x00\x53\x14" + bytes((0xC0, len(fields) + 1, 5)) + fields + payload
    return struct.pack(">IBBH", len(body) + 8, 2, 0, 0) + body


def test_a_run_of_transfers_is_taken_in_one_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def receive(*args: Any) -> Any:
        taken.append(args[3])
        return incoming.receive_transfer(*args)

    monkeypatch.setattr(connection, "receive_transfer", receive)
    frames = [frame(number, b"x" * number) for number in range(30)]
    found = outcome([b"".join(frames)], traced=False)
    # The first tells the shape, and the second that it comes again.
    assert len(taken) == 2
    assert [event[0] for event in found[:30]] == list(range(30))

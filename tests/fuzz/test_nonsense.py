"""Frames that are well formed and make no sense together: whatever a peer sends, the engine answers with frames.

No call raises anything but the errors it documents, what is written stays legal for frame sizes and order of closing,
and after a fault of the connection nothing is looked at any more.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amqp10.codec import Symbol
from amqp10.engine import (
    Connection,
    ConnectionFailed,
    EndpointRole,
    IncomingDelivery,
    LinkFlow,
    LinkRequested,
    ReceiverLink,
    SenderLink,
    SessionRequested,
)
from amqp10.errors import AMQPError
from amqp10.wire.frames import AMQP_HEADER, encode_frame
from amqp10.wire.messaging import ACCEPTED, RELEASED, Coordinator, Modified, Received, Rejected, Source, Target
from amqp10.wire.performatives import (
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Error,
    Flow,
    Open,
    Transfer,
)
from tests.examples import examples
from tests.fuzz.auditor import Frames

SMALL = st.sampled_from([0, 1, 2, 3])
SERIAL = st.sampled_from([0, 1, 2, 5, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF])
FLAG = st.booleans()
ERROR = st.one_of(st.none(), st.just(Error(condition="test:no", description="x" * 700, info={Symbol("k"): 1})))
STATE = st.sampled_from(
    [None, ACCEPTED, RELEASED, Modified(), Rejected(), Received(section_number=0, section_offset=5)]
)


def maybe(strategy: Any) -> Any:
    return st.one_of(st.none(), strategy)


FRAMES: Any = st.one_of(
    st.builds(
        Begin, remote_channel=maybe(SMALL), next_outgoing_id=SERIAL, incoming_window=SERIAL, outgoing_window=SERIAL
    ),
    st.builds(
        Attach,
        name=st.sampled_from(["a", "b", "c" * 600, ""]),
        handle=SERIAL,
        role=FLAG,
        snd_settle_mode=SMALL,
        rcv_settle_mode=st.sampled_from([0, 1]),
        source=maybe(st.just(Source(address="q"))),
        target=maybe(st.sampled_from([Target(address="q"), Coordinator()])),
        unsettled=maybe(st.just({b"t": None})),
        incomplete_unsettled=FLAG,
        initial_delivery_count=maybe(SERIAL),
        max_message_size=maybe(SERIAL),
    ),
    st.builds(
        Flow,
        next_incoming_id=maybe(SERIAL),
        incoming_window=SERIAL,
        next_outgoing_id=SERIAL,
        outgoing_window=SERIAL,
        handle=maybe(SERIAL),
        delivery_count=maybe(SERIAL),
        link_credit=maybe(SERIAL),
        available=maybe(SERIAL),
        drain=FLAG,
        echo=FLAG,
    ),
    st.builds(
        Transfer,
        handle=SERIAL,
        delivery_id=maybe(SERIAL),
        delivery_tag=maybe(st.sampled_from([b"", b"t", b"x" * 32, b"x" * 33])),
        message_format=maybe(SERIAL),
        settled=maybe(FLAG),
        more=FLAG,
        rcv_settle_mode=maybe(SMALL),
        state=STATE,
        resume=FLAG,
        aborted=FLAG,
        batchable=FLAG,
    ),
    st.builds(Disposition, role=FLAG, first=SERIAL, last=maybe(SERIAL), settled=FLAG, state=STATE, batchable=FLAG),
    st.builds(Detach, handle=SERIAL, closed=FLAG, error=ERROR),
    st.builds(End, error=ERROR),
)
RARE: Any = st.one_of(st.builds(Open, container_id=st.just("again")), st.builds(Close, error=ERROR))
STEPS = st.lists(
    st.tuples(st.sampled_from([0, 0, 0, 1, 7]), FRAMES, st.booleans()),
    max_size=25,
)


@pytest.mark.parametrize("role", list(EndpointRole))
@given(steps=STEPS, last=maybe(RARE), size=st.sampled_from([512, 4096]), step=st.integers(1, 4000))
@settings(
    max_examples=examples(250),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
def test_frames_that_make_no_sense_are_answered_with_frames(
    role: EndpointRole, steps: list[Any], last: Any, size: int, step: int
) -> None:
    engine = Connection(role, container_id="e", channel_max=5, max_frame_size=65536)
    engine.start(0)
    written = Frames()
    data = AMQP_HEADER + encode_frame(0, Open(container_id="peer", max_frame_size=size, channel_max=5))
    feed(engine, data, written, size)
    if role is EndpointRole.CLIENT:
        session = engine.begin(incoming_window=4)
        data = encode_frame(0, Begin(remote_channel=0, next_outgoing_id=0, incoming_window=4, outgoing_window=4))
        feed(engine, data, written, size)
        session.attach_sender("a", source=Source(), target=Target(address="q"))
        session.attach_receiver("b", source=Source(address="q"), target=Target()).flow(3)
    for channel, frame, payload in steps:
        feed(engine, encode_frame(channel, frame, b"\x00\x53\x77\x40" if payload else b""), written, size, step)
    if last is not None:
        feed(engine, encode_frame(0, last), written, size, step)


def feed(engine: Connection, data: bytes, written: Frames, size: int, step: int = 4000) -> None:
    for start in range(0, len(data), step):
        events = engine.receive_data(data[start : start + step], 0)
        failed = any(isinstance(event, ConnectionFailed) for event in events)
        for event in events:
            act(event)
        for _, length, frame, _ in written.feed(b"".join(engine.data_to_send(0))):
            assert not hasattr(written, "closed"), f"{frame!r} behind a close"
            assert length <= size or isinstance(frame, Open)
            if isinstance(frame, Close):
                written.closed = True  # type: ignore[attr-defined]
        if failed:
            assert engine.receive_data(AMQP_HEADER * 20, 0) == []
            assert hasattr(written, "closed")


def act(event: Any) -> None:
    """What a program does with events. It may come too late, and is told so with an error of ours."""
    with contextlib.suppress(AMQPError):
        if isinstance(event, SessionRequested):
            event.session.accept()
        elif isinstance(event, LinkRequested):
            event.link.accept()
            if isinstance(event.link, ReceiverLink):
                event.link.flow(2)
        elif isinstance(event, IncomingDelivery):
            assert len(event.payload) == event.size
            event.settle(Rejected(error=Error(condition="test:no", description="y" * 700)))
        elif isinstance(event, LinkFlow) and isinstance(event.link, SenderLink):
            if event.link.credit and event.link.attached:
                event.link.send(b"z" * 1500)
            event.link.drained()

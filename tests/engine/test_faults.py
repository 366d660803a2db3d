"""A peer that breaks the protocol gets the close, end or detach that the specification asks for, naming the rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqp10.engine import (
    Connection,
    ConnectionFailed,
    EndpointRole,
    LinkDetached,
    PlainMechanism,
    SaslClient,
    SessionEnded,
)
from amqp10.wire.frames import AMQP_HEADER, SASL_HEADER, encode_frame
from amqp10.wire.messaging import Source, Target
from amqp10.wire.performatives import (
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Flow,
    Open,
    Transfer,
)
from tests.engine.harness import BIG, Pair, Scripted
from tests.examples import examples

PAYLOAD = b"\x00\x53\x77\x40"


def transfer(**fields: Any) -> bytes:
    values = {"handle": 0, "delivery_id": 0, "delivery_tag": b"t", "message_format": 0, **fields}
    return encode_frame(0, Transfer(**values), PAYLOAD)


FLOW: dict[str, Any] = {"incoming_window": BIG, "next_outgoing_id": 0, "outgoing_window": BIG}

CONNECTION_FAULTS: dict[str, tuple[bytes, str, int]] = {
    "frame of 7 bytes": (b"\0\0\0\x07\x02\0\0\0", "amqp:connection:framing-error", 601),
    "data offset 1": (b"\0\0\0\x08\x01\0\0\0", "amqp:connection:framing-error", 601),
    "data offset outside": (b"\0\0\0\x08\x03\0\0\0", "amqp:connection:framing-error", 601),
    "frame of 4 GiB": (b"\xff\xff\xff\xff\x02\0\0\0", "amqp:connection:framing-error", 601),
    "unknown frame type": (b"\0\0\0\x08\x02\x07\0\0", "amqp:connection:framing-error", 601),
    "SASL frame": (b"\0\0\0\x0c\x02\x01\0\0\x00\x53\x40\x45", "amqp:connection:framing-error", 601),
    "unknown descriptor": (b"\0\0\0\x0c\x02\0\0\0\x00\x53\x01\x45", "amqp:decode-error", 601),
    "truncated performative": (b"\0\0\0\x0c\x02\0\0\0\x00\x53\x13\xc0", "amqp:decode-error", 601),
    "mandatory field missing": (b"\0\0\0\x0c\x02\0\0\0\x00\x53\x13\x45", "amqp:decode-error", 601),
    "performative that reaches past its frame": (
        b"\0\0\0\x0c\x02\0\0\0\x00\x53\x18\xc0\x01\x00\0\0\0\x08\x02\0\0\0",
        "amqp:decode-error",
        601,
    ),
    "truncated transfer": (b"\0\0\0\x0e\x02\0\0\0\x00\x53\x14\xc0\x50\x05", "amqp:decode-error", 601),
    "open a second time": (encode_frame(0, Open(container_id="again")), "amqp:not-allowed", 600),
    "frame on a channel without a session": (encode_frame(5, End()), "amqp:not-allowed", 600),
    "answer to a begin that nobody sent": (
        encode_frame(4, Begin(remote_channel=9, next_outgoing_id=0, incoming_window=1, outgoing_window=1)),
        "amqp:not-allowed",
        600,
    ),
    "begin on a channel in use": (
        encode_frame(0, Begin(next_outgoing_id=0, incoming_window=1, outgoing_window=1)),
        "amqp:not-allowed",
        600,
    ),
}


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize(("data", "condition", "code"), CONNECTION_FAULTS.values(), ids=CONNECTION_FAULTS.keys())
def test_fault_of_the_connection_closes_it_with_the_condition(
    data: bytes, condition: str, code: int, step: int
) -> None:
    peer = Scripted(max_frame_size=65536)
    peer.session()
    events = []
    for piece in [data[i : i + 1] for i in range(len(data))] if step else [data]:
        events += peer.feed(piece)
    (event,) = [e for e in events if isinstance(e, ConnectionFailed)]
    assert (event.error.condition, event.error.code) == (condition, code)
    assert len(event.error.message) > 20
    (close,) = peer.sent()
    assert isinstance(close, Close)
    assert close.error is not None
    assert close.error.condition == condition
    assert peer.feed(b"\0\0\0\x08\x02\0\0\0") == [], "nothing after the fault is looked at"


@pytest.mark.parametrize("begun", [False, True])
def test_a_second_open_is_called_that_whether_its_channel_is_in_use_or_not(begun: bool) -> None:
    peer = Scripted()
    if begun:
        peer.session()
    (event,) = peer.feed(encode_frame(0, Open(container_id="again")))
    assert isinstance(event, ConnectionFailed)
    assert event.error.message == "the peer sent open a second time"


SESSION_FAULTS: dict[str, tuple[bytes, str]] = {
    "transfer to an unknown handle": (transfer(handle=7), "amqp:session:unattached-handle"),
    "flow for an unknown handle": (encode_frame(0, Flow(handle=7, **FLOW)), "amqp:session:unattached-handle"),
    "detach of an unknown handle": (encode_frame(0, Detach(handle=7)), "amqp:session:unattached-handle"),
    "attach with a handle in use": (
        encode_frame(0, Attach(name="x", handle=0, role=True)),
        "amqp:session:handle-in-use",
    ),
    "attach with an unknown settle mode": (
        encode_frame(0, Attach(name="x", handle=1, role=True, snd_settle_mode=9)),
        "amqp:invalid-field",
    ),
    "attach of a sender without its count": (
        encode_frame(0, Attach(name="x", handle=1, role=False)),
        "amqp:invalid-field",
    ),
    "first transfer without a delivery id": (transfer(delivery_id=None), "amqp:invalid-field"),
    "first transfer without a tag": (transfer(delivery_tag=None), "amqp:invalid-field"),
    "tag of 33 bytes": (transfer(delivery_tag=b"x" * 33), "amqp:invalid-field"),
    "delivery id in use": (transfer() + transfer(delivery_tag=b"u"), "amqp:invalid-field"),
    "delivery id that changes": (transfer(more=True) + transfer(delivery_id=1, delivery_tag=None), "amqp:not-allowed"),
    "tag that changes": (transfer(more=True) + transfer(delivery_tag=b"u"), "amqp:not-allowed"),
    "flow from the future": (encode_frame(0, Flow(next_incoming_id=5, **FLOW)), "amqp:session:window-violation"),
    "disposition of no range": (
        encode_frame(0, Disposition(role=True, first=10, last=5)),
        "amqp:invalid-field",
    ),
    "more transfers than the window": (
        b"".join(transfer(delivery_id=i, settled=True) for i in range(6)),
        "amqp:session:window-violation",
    ),
}


@pytest.mark.parametrize(("data", "condition"), SESSION_FAULTS.values(), ids=SESSION_FAULTS.keys())
def test_fault_of_a_session_ends_it_with_the_condition(data: bytes, condition: str) -> None:
    peer = Scripted()
    session = peer.session(incoming_window=5)
    peer.receiver(session)
    peer.engine.output._dirty.clear()
    events = peer.feed(data)
    (event,) = [e for e in events if isinstance(e, SessionEnded)]
    assert event.error is not None
    assert event.error.condition == condition
    assert not event.by_peer
    (end,) = [frame for frame in peer.sent() if isinstance(frame, End)]
    assert end.error is not None
    assert end.error.condition == condition
    # What the peer sent before it saw our end is passed over, and its end completes ours.
    assert peer.feed(transfer(delivery_id=9)) == []
    peer.feed(encode_frame(0, End()))
    assert not peer.engine.sessions
    assert peer.engine.can_send


LINK_FAULTS: dict[str, tuple[bytes, str]] = {
    "more messages than credit": (
        b"".join(transfer(delivery_id=i, settled=True) for i in range(3)),
        "amqp:link:transfer-limit-exceeded",
    ),
    "message that is too large": (
        encode_frame(0, Transfer(handle=0, delivery_id=0, delivery_tag=b"t", message_format=0), bytes(101)),
        "amqp:link:message-size-exceeded",
    ),
    "message that grows too large": (
        encode_frame(0, Transfer(handle=0, delivery_id=0, delivery_tag=b"t", message_format=0, more=True), bytes(60))
        + encode_frame(0, Transfer(handle=0, more=True), bytes(60)),
        "amqp:link:message-size-exceeded",
    ),
}


@pytest.mark.parametrize(("data", "condition"), LINK_FAULTS.values(), ids=LINK_FAULTS.keys())
def test_fault_of_a_link_detaches_it_with_the_condition(data: bytes, condition: str) -> None:
    peer = Scripted()
    session = peer.session()
    peer.receiver(session, credit=2, max_message_size=100)
    events = peer.feed(data)
    (event,) = [e for e in events if isinstance(e, LinkDetached)]
    assert event.error is not None
    assert event.error.condition == condition
    (detach,) = [frame for frame in peer.sent() if isinstance(frame, Detach)]
    assert detach.closed
    assert detach.error is not None
    assert detach.error.condition == condition
    peer.feed(encode_frame(0, Detach(handle=0, closed=True)))
    assert session.mapped, "the session goes on"
    assert not session.links


def test_message_on_our_sender_link_is_refused() -> None:
    peer = Scripted()
    peer.sender(peer.session())
    (event,) = [e for e in peer.feed(transfer()) if isinstance(e, SessionEnded)]
    assert event.error is not None
    assert event.error.condition == "amqp:not-allowed"


def test_huge_disposition_range_costs_nothing() -> None:
    peer = Scripted()
    link = peer.sender(peer.session())
    sent = [link.send(PAYLOAD) for _ in range(3)]
    peer.sent()
    events = peer.feed(encode_frame(0, Disposition(role=True, first=0, last=0x7FFFFFFF, settled=True)))
    assert [d for e in events for d in e.deliveries] == sent  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"AMQP\x00\x00\x09\x01", "AMQP 0-9-1"),
        (b"AMQP\x01\x01\x00\x0a", "AMQP 0-10"),
        (b"AMQP\x00\x02\x00\x00", "2.0.0"),
        (SASL_HEADER, "SASL"),
        (b"HTTP/1.1 400 Bad Request\r\n", "HTTP"),
        (b"\x15\x03\x03\x00\x02\x02\x46\x00", "TLS"),
        (b"SSH-2.0-OpenSSH", "does not speak AMQP"),
    ],
)
def test_server_of_another_protocol_is_named(answer: bytes, words: str) -> None:
    engine = Connection(EndpointRole.CLIENT, container_id="c")
    engine.start(0)
    (event,) = engine.receive_data(answer, 0)
    assert isinstance(event, ConnectionFailed)
    assert words in event.error.message
    assert event.error.code == 600


@pytest.mark.parametrize("opened", [False, True])
def test_end_of_the_stream_is_reported_once(opened: bool) -> None:
    engine = Connection(EndpointRole.CLIENT, container_id="c")
    engine.start(0)
    if opened:
        engine.receive_data(AMQP_HEADER + encode_frame(0, Open(container_id="s")), 0)
    (event,) = engine.receive_eof(0)
    assert isinstance(event, ConnectionFailed)
    assert event.error.code == 1120
    assert engine.receive_eof(0) == []


def _conversation() -> bytes:
    pair = Pair(server={"max_frame_size": 512})
    mine, _ = pair.session()
    out, _ = pair.sender(mine)
    for i in range(5):
        out.send(bytes(i * 300))
    pair.step()
    mine.attach_receiver("back", source=Source(address="q"), target=Target())
    pair.step()
    return pair.to_server


CONVERSATION = _conversation()
STAGES: list[Callable[[], Connection]] = [
    lambda: Connection(EndpointRole.SERVER, container_id="s"),
    lambda: Connection(EndpointRole.CLIENT, container_id="c"),
    lambda: Connection(EndpointRole.CLIENT, container_id="c", sasl=SaslClient([PlainMechanism("u", "p")])),
]


@given(st.sampled_from(STAGES), st.sampled_from([b"", AMQP_HEADER, SASL_HEADER]), st.binary(max_size=300))
@settings(deadline=None)
def test_random_bytes_never_raise(make: Callable[[], Connection], header: bytes, data: bytes) -> None:
    engine = make()
    engine.start(0)
    engine.receive_data((header + data) or b"\0", 0)
    engine.data_to_send(0)


@given(st.data())
@settings(max_examples=examples(300))
def test_damaged_conversation_never_raises(data: st.DataObject) -> None:
    raw = bytearray(CONVERSATION)
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(8, len(raw) - 1))] = data.draw(st.integers(0, 255))
    engine = Connection(EndpointRole.SERVER, container_id="s")
    engine.start(0)
    step = data.draw(st.integers(1, 400))
    for start in range(0, len(raw), step):
        for event in engine.receive_data(bytes(raw[start : start + step]), 0):
            name = type(event).__name__
            if name == "SessionRequested" and engine.can_send:
                event.session.accept()  # type: ignore[union-attr]
            elif name == "LinkRequested" and event.link.session.can_send:  # type: ignore[union-attr]
                event.link.accept()  # type: ignore[union-attr]
        engine.data_to_send(0)

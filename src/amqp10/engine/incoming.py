"""What arrives on a session: transfers, dispositions, flow (transport, "links"). Attach and detach: ``linking.py``.

The hot paths are :func:`receive_transfer` and :func:`receive_disposition`, which read the common shapes of these frames
in place; every other shape goes through the general decoder, to :func:`on_transfer` and :func:`on_disposition`, with
the same result.

These are functions, not methods of a class that ``Session`` adds to: what they report names the whole session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from amqp10.conditions import ErrorCondition
from amqp10.engine.events import (
    DeliveriesSettled,
    DeliveriesUpdated,
    DeliveryAborted,
    DeliveryGrows,
    LinkFlow,
    SessionEnded,
)
from amqp10.engine.faults import ConnectionFault, SessionFault
from amqp10.engine.input import TORN
from amqp10.engine.linking import errant_link, link_of, on_attach, on_detach
from amqp10.engine.receiver import IncomingDelivery, ReceiverLink
from amqp10.engine.serial import HALF, MASK, serial_range
from amqp10.engine.shapes import NOTHING, read_fields, shape_of
from amqp10.engine.states import LinkState, SessionState
from amqp10.wire.frames import decode_frame_body
from amqp10.wire.messaging import ACCEPTED
from amqp10.wire.performatives import MAX_DELIVERY_TAG_SIZE, Attach, Detach, Disposition, End, Flow, Transfer

if TYPE_CHECKING:
    from amqp10.codec.composite import Composite
    from amqp10.engine.events import Events
    from amqp10.engine.input import Input
    from amqp10.engine.sender import OutgoingDelivery
    from amqp10.engine.session import Session
    from amqp10.wire.messaging import DeliveryState

__all__ = ["fail_session", "receive_disposition", "receive_frame", "receive_transfer"]

_UINT = Struct(">I").unpack_from
_TWO_UINTS = Struct(">II").unpack_from
_ACCEPTED_FORMS: Final = (b"\x00\x53\x24\x45", b"\x00\x53\x24\xc0\x01\x00")
_LARGE = 65536
"""The size of a payload, in bytes, from which it is cheaper not to copy it out of what arrived."""
# Looking up a member of an enumeration costs five times as much as looking up a name: these are looked at per frame.
_ATTACHED: Final = LinkState.ATTACHED
_RECEIVING: Final = (SessionState.MAPPED, SessionState.BEGIN_RCVD)


def receive_frame(session: Session, performative: Composite, payload: bytes, events: Events) -> None:
    """Take a frame of a session that has begun: any but begin."""
    if isinstance(performative, End):
        by_peer = session.state not in (SessionState.END_SENT, SessionState.DISCARDING)
        undelivered = session.undelivered()
        events.append(SessionEnded(session, session.on_end(performative), by_peer, undelivered))
    elif session.state not in _RECEIVING:
        # Sent before the peer saw our end (transport, "session errors").
        return
    elif isinstance(performative, Transfer):
        on_transfer(session, performative, payload, events)
    elif isinstance(performative, Flow):
        on_flow(session, performative, events)
    elif isinstance(performative, Disposition):
        on_disposition(session, performative, events)
    elif isinstance(performative, Attach):
        on_attach(session, performative, events)
    elif isinstance(performative, Detach):
        on_detach(session, performative, events)
    else:
        name = type(performative).__name__.lower()
        raise ConnectionFault.broken_rule(ErrorCondition.NOT_ALLOWED, f"the peer sent {name} where it has no meaning")


def fail_session(session: Session, fault: SessionFault, events: Events) -> None:
    """End a session on which the peer broke a rule (transport, "session errors")."""
    session.error = fault.error
    undelivered = session.undelivered()
    session.end(fault.error)
    events.append(SessionEnded(session, fault.error, False, undelivered))


def receive_transfer(
    session: Session, buf: bytes, pos: int, stop: int, events: Events, pieces: Input
) -> ReceiverLink | None:
    """Take a transfer frame; ``pos`` is just after the descriptor, ``stop`` at the frame's end.

    Shapes that common peers send are read here, field by field in place, and once a link has a shape its next
    frames are compared with it as a whole. Whatever else is legal goes through :func:`_receive_general`, with the
    same result. ``pieces`` is where the bytes are kept until they have been handled.

    Returns the link, when the frame had its shape: others of the same shape may follow.
    """
    code = buf[pos]
    if code == 0xC0:
        count = buf[pos + 2]
        body = pos + 2 + buf[pos + 1]
        p = pos + 3
    elif code == 0xD0:
        size, count = _TWO_UINTS(buf, pos + 1)
        body = pos + 5 + size
        p = pos + 9
    else:
        _receive_general(session, buf, pos, stop, events, pieces)
        return None
    if not 4 <= count <= 6 or body > stop:
        _receive_general(session, buf, pos, stop, events, pieces)
        return None
    # handle
    code = buf[p]
    if code == 0x43:
        handle = 0
        p += 1
    elif code == 0x52:
        handle = buf[p + 1]
        p += 2
    elif code == 0x70:
        (handle,) = _UINT(buf, p + 1)
        p += 5
    else:
        _receive_general(session, buf, pos, stop, events, pieces)
        return None
    link = session.remote_handles.get(handle)
    if not isinstance(link, ReceiverLink) or link.partial is not None or link.state is not _ATTACHED:
        _receive_general(session, buf, pos, stop, events, pieces)
        return None
    unpack, fields_of_shape, size, tag_head, rest, settled = link.shape
    # All that differs between the frames of one shape is the delivery id and the tag.
    same = p + size == body and count == fields_of_shape
    code, delivery_id, head, tag, tail = unpack(buf, p) if same else NOTHING
    alike: ReceiverLink | None = link
    if code != 0x70 or head != tag_head or tail != rest:
        alike = None
        fields = read_fields(buf, p, body, count)
        if fields is None:
            _receive_general(session, buf, pos, stop, events, pieces)
            return None
        delivery_id, tag, settled = fields
        if buf[p] == 0x70:
            link.shape = shape_of(buf, p, body, count, len(tag), settled)
    if delivery_id in session.incoming_unsettled:
        raise _delivery_id_in_use(delivery_id)
    size = stop - body
    if size > link.max_message_size > 0:
        link.count_delivery()
        raise link.too_large()
    # A view keeps all of what arrived, which must not be much more than the message.
    payload = buf[body:stop] if size < _LARGE or size < len(buf) >> 1 else memoryview(buf)[body:stop]
    delivery = link.delivery_type(link, delivery_id, tag, payload, settled)
    # From counting it to reporting it nothing is called, so that no signal handler comes in between.
    half = link.count_delivery()
    if not settled:
        link.unsettled[delivery_id] = session.incoming_unsettled[delivery_id] = delivery
    pieces.done = stop
    events.append(delivery)
    if half:
        session.output.mark_dirty(session)
    return alike


def _delivery_id_in_use(delivery_id: int) -> SessionFault:
    return SessionFault(
        ErrorCondition.INVALID_FIELD, f"the peer started delivery {delivery_id}, which is still unsettled"
    )


def _receive_general(session: Session, buf: bytes, pos: int, stop: int, events: Events, pieces: Input) -> None:
    transfer, body = decode_frame_body(buf, pos - 3, stop)
    if not isinstance(transfer, Transfer):
        raise ConnectionFault.malformed(f"a transfer was expected, not {type(transfer).__name__}")
    pieces.done = TORN
    on_transfer(session, transfer, buf[body:stop], events)


def on_transfer(session: Session, transfer: Transfer, payload: bytes, events: Events) -> None:
    """Take a transfer of any shape (transport, "transferring a message")."""
    link = link_of(session, int(transfer.handle), "transfer")
    if not isinstance(link, ReceiverLink):
        raise SessionFault(
            ErrorCondition.NOT_ALLOWED, f"the peer sent a message on link {link.name!r}, on which it is the receiver"
        )
    if link.state is not _ATTACHED:
        if link.requested:
            link.count_delivery()  # which has no credit yet
        if session.window.count_transfer():
            session.output.mark_dirty(session)
        return  # sent before the peer saw our detach
    delivery = link.partial
    if delivery is None:
        delivery = _start_delivery(session, link, transfer, payload)
        if transfer.resume:
            if link.resumable is not None and delivery.tag in link.resumable:
                link.resumed[delivery.tag] = delivery
            else:
                link.skipped = delivery
        if transfer.more and not transfer.aborted:
            delivery.partial = True
            delivery.start_parts()
            link.partial = delivery
            link.partials[delivery] = None
    else:
        if session.window.count_transfer():
            session.output.mark_dirty(session)
        _continue_delivery(session, link, delivery, transfer, payload)
    if transfer.state is not None:
        delivery.remote_state = transfer.state
    if delivery is link.skipped:
        # It is not left unsettled from an earlier attachment, so there is nothing to resume: the receiver must ignore
        # it (transport, "transfer", resume).
        link.forget(delivery)
        if transfer.aborted or not transfer.more:
            link.end_partial()
        return
    if transfer.aborted:
        link.end_partial()
        delivery.settled = delivery.remote_settled = True
        link.forget(delivery)
        events.append(DeliveryAborted(delivery))
    elif not transfer.more:
        if delivery.partial:
            link.end_partial()
        if not delivery.settled:
            link.keep(delivery)
        events.append(delivery)
    elif link.streaming:
        link.hold_part()
        events.append(DeliveryGrows(delivery))


def _start_delivery(session: Session, link: ReceiverLink, transfer: Transfer, payload: bytes) -> IncomingDelivery:
    delivery_id, tag = transfer.delivery_id, transfer.delivery_tag
    if delivery_id is None or tag is None:
        missing = "delivery-id" if delivery_id is None else "delivery-tag"
        raise SessionFault(ErrorCondition.INVALID_FIELD, f"the first transfer of a delivery lacks its {missing}")
    if len(tag) > MAX_DELIVERY_TAG_SIZE:
        raise SessionFault(
            ErrorCondition.INVALID_FIELD, f"a delivery tag has {len(tag)} bytes; {MAX_DELIVERY_TAG_SIZE} are the limit"
        )
    if int(delivery_id) in session.incoming_unsettled:
        raise _delivery_id_in_use(int(delivery_id))
    if link.count_delivery():
        session.output.mark_dirty(session)
    if len(payload) > link.max_message_size > 0:
        raise link.too_large()
    delivery = link.delivery_type(link, int(delivery_id), bytes(tag), payload, bool(transfer.settled))
    delivery.message_format = int(transfer.message_format or 0)
    if not delivery.settled:
        link.keep(delivery)
    return delivery


def _continue_delivery(
    session: Session, link: ReceiverLink, delivery: IncomingDelivery, transfer: Transfer, payload: bytes
) -> None:
    if transfer.delivery_id is not None and int(transfer.delivery_id) != delivery.delivery_id:
        raise SessionFault(
            ErrorCondition.NOT_ALLOWED,
            f"delivery {int(transfer.delivery_id)} starts on link {link.name!r} before delivery"
            f" {delivery.delivery_id} is complete",
        )
    if transfer.delivery_tag is not None and bytes(transfer.delivery_tag) != delivery.tag:
        raise SessionFault(
            ErrorCondition.NOT_ALLOWED, f"the delivery tag of delivery {delivery.delivery_id} changes on its way"
        )
    if transfer.aborted:
        return
    if transfer.settled and not delivery.settled:
        delivery.settled = delivery.remote_settled = True
        link.forget(delivery)
    parts = delivery.parts or delivery.start_parts()
    if 0 < link.max_message_size < parts.size + len(payload):
        raise link.too_large()
    parts.add(payload)


def receive_disposition(session: Session, buf: bytes, pos: int, stop: int, events: Events, pieces: Input) -> bool:
    """Take a disposition frame that says "accepted and settled" in a usual shape; ``pos`` is after the descriptor.
    ``pieces`` is where the bytes are kept until they have been handled.

    Returns whether it was one. What was not is left to the general decoder.
    """
    if buf[pos] != 0xC0 or buf[pos + 3] != 0x41 or not 5 <= buf[pos + 2] <= 6:
        return False
    count = buf[pos + 2]
    body = pos + 2 + buf[pos + 1]
    p = pos + 4
    code = buf[p]
    if code == 0x70:
        (first,) = _UINT(buf, p + 1)
        p += 5
    elif code == 0x52:
        first = buf[p + 1]
        p += 2
    elif code == 0x43:
        first = 0
        p += 1
    else:
        return False
    code = buf[p]
    if code == 0x40:
        last = first
        p += 1
    elif code == 0x70:
        (last,) = _UINT(buf, p + 1)
        p += 5
    elif code == 0x52:
        last = buf[p + 1]
        p += 2
    elif code == 0x43:
        last = 0
        p += 1
    else:
        return False
    if buf[p] != 0x41 or body != stop:
        return False
    state = buf[p + 1 : body]
    if count == 6:
        if state[-1:] not in (b"\x40", b"\x42"):
            return False
        state = state[:-1]
    if state not in _ACCEPTED_FORMS:
        return False
    if first != last:
        _take_disposition(session, True, first, last, True, ACCEPTED, events)
        return True
    # The same in fewer steps for one delivery.
    delivery = session.outgoing_unsettled.get(first)
    if delivery is not None:
        event = DeliveriesUpdated(session, [delivery], ACCEPTED, True)
        # From here to reporting it nothing is called, so that no signal handler comes in between.
        delivery.remote_state = ACCEPTED
        delivery.remote_settled = True
        del session.outgoing_unsettled[first], delivery.link.unsettled[first]
        pieces.done = stop
        events.append(event)
    return True


def on_disposition(session: Session, disposition: Disposition, events: Events) -> None:
    """Take a disposition: states of deliveries sent from here, or of ones received here."""
    first = int(disposition.first)
    last = first if disposition.last is None else int(disposition.last)
    _take_disposition(
        session, bool(disposition.role), first, last, bool(disposition.settled), disposition.state, events
    )


def _take_disposition(
    session: Session,
    receiver: bool,
    first: int,
    last: int,
    settled: bool,
    state: DeliveryState | None,
    events: Events,
) -> None:
    """Apply a range of delivery ids. Ids that are not known (any more) are passed over: they are settled."""
    count = ((last - first) & MASK) + 1
    if count > HALF:
        raise SessionFault(
            ErrorCondition.INVALID_FIELD, f"a disposition names the deliveries {first} to {last}, which is no range"
        )
    if receiver:
        _update_sent(session, first, count, settled, state, events)
    else:
        _update_received(session, first, count, settled, state, events)


def _named(unsettled: Mapping[int, Any], first: int, count: int) -> Sequence[int]:
    """Delivery ids in a range of so many: all of them, or those in flight, whichever costs less."""
    if count <= len(unsettled):
        return serial_range(first, count)
    return [i for i in unsettled if (i - first) & MASK < count]


def _update_sent(
    session: Session, first: int, count: int, settled: bool, state: DeliveryState | None, events: Events
) -> None:
    event: DeliveriesUpdated | None = None
    try:
        deliveries = _sent_range(session, first, count, settled, state)
        if deliveries:
            if state is not None:
                for delivery in deliveries:
                    delivery.remote_state = state
            event = DeliveriesUpdated(session, deliveries, state, settled)
            events.append(event)
            if settled:
                for delivery in deliveries:
                    delivery.remote_settled = True
                    del delivery.link.unsettled[delivery.delivery_id]
    except BaseException:
        # A signal handler has raised: what has not been reported is found again when the frame is looked at again.
        if event is None or not events or events[-1] is not event:
            session.recall_sent()
        elif settled:
            for delivery in event.deliveries:
                delivery.remote_settled = True
                delivery.link.unsettled.pop(delivery.delivery_id, None)
        raise


def _sent_range(
    session: Session, first: int, count: int, settled: bool, state: DeliveryState | None
) -> list[OutgoingDelivery]:
    """The deliveries of which a disposition says something new. If they are settled, the session has forgotten them."""
    unsettled = session.outgoing_unsettled
    if count == 1:
        one = unsettled.pop(first, None) if settled else unsettled.get(first)
        return [one] if one is not None and (settled or one.remote_state != state) else []
    visited = min(count, len(unsettled))
    ids = _named(unsettled, first, count)
    if settled:
        pop = unsettled.pop
        found = [d for i in ids if (d := pop(i, None)) is not None]
        session.charge(visited - len(found))
        return found
    session.charge(visited)
    return [d for i in ids if (d := unsettled.get(i)) is not None and d.remote_state != state]


def _update_received(
    session: Session, first: int, count: int, settled: bool, state: DeliveryState | None, events: Events
) -> None:
    finished: list[IncomingDelivery] = []
    unsettled = session.incoming_unsettled
    ids = _named(unsettled, first, count)
    visited = min(count, len(unsettled))
    for i in ids:
        delivery = unsettled.get(i)
        if delivery is None:
            continue
        if delivery.link.errant:
            raise errant_link(delivery.link, "a disposition")
        if state is not None:
            delivery.remote_state = state
        if settled:
            # The sender forgot it: nothing that is said about it from here on reaches anybody.
            delivery.remote_settled = True
            if delivery.state is not None:
                delivery.settled = True
                delivery.link.forget(delivery)
                finished.append(delivery)
    if count > 1:
        session.charge(visited - len(finished))
    if finished:
        events.append(DeliveriesSettled(session, finished))


def on_flow(session: Session, flow: Flow, events: Events) -> None:
    """Take flow state (transport, "session flow control" and "flow control")."""
    window = session.window
    if not window.on_flow(flow):
        raise SessionFault(
            ErrorCondition.WINDOW_VIOLATION,
            f"the peer expects transfer {window.expected(flow)}, but only {window.next_outgoing_id} has been reached",
        )
    handle = flow.handle
    if handle is not None:
        link = link_of(session, int(handle), "flow")
        if link.state in (_ATTACHED, LinkState.ATTACH_RCVD):
            link.on_flow(flow)
            events.append(LinkFlow(link))
            if flow.echo and link.attached:
                session.output.owe_flow(link)
    elif flow.echo:
        session.answer_begin()
        session.output.owe_flow(session)
    if session.backlog:
        session.backlog.pump()

"""Runs of transfers: frames of one shape that follow each other on one link are taken in one loop.

The counterpart of ``SenderLink.send_many``. What a run has in common is looked at once, and window, credit and delivery
count are written once. Transport, "transferring a message".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from amqp10.engine.serial import MASK
from amqp10.engine.shapes import run_shape_of

if TYPE_CHECKING:
    from amqp10.engine.events import Events
    from amqp10.engine.input import Input
    from amqp10.engine.receiver import ReceiverLink

__all__ = ["receive_run"]

_LARGEST: Final = 65536
"""Frames from this size on are left to the general way, which need not copy their payload."""


def receive_run(
    link: ReceiverLink, buf: bytes, start: int, pos: int, stop: int, most: int, events: Events, pieces: Input
) -> int:
    """Take the transfers that follow one of the link's shape, as far as they are whole and have that shape too.

    Whatever is unusual about a frame, such as one more than the credit allows, ends the run in front of it: it goes the
    general way.

    Args:
        link: the link, whose last transfer had its shape.
        buf: what arrived.
        start: where the frame of that transfer starts.
        pos: the position after its descriptor.
        stop: where it ends, which is where the run begins.
        most: the largest frame that may come, in bytes.
        events: a queue, where each delivery is as soon as it is known.
        pieces: where the bytes are kept until they have been handled.

    Returns:
        Where the run ends.
    """
    run = link.run
    if run is None or run.shape is not link.shape:
        run = link.run = run_shape_of(link.shape, buf, start, pos)
    _, unpack, run_head, run_tag_head, run_rest, head_size, settled = run
    window = link.window
    room = min(window.left, link.credit)
    most = min(most, _LARGEST)
    if link.max_message_size > 0:
        most = min(most, head_size + link.max_message_size)
    unsettled = link.unsettled
    of_session = link.session_unsettled
    delivery_type = link.delivery_type
    end = len(buf)
    last = end - head_size
    taken = 0
    try:
        while stop <= last and taken < room:
            size, head, delivery_id, tag_head, tag, rest = unpack(buf, stop)
            if (
                head != run_head
                or tag_head != run_tag_head
                or rest != run_rest
                or not head_size <= size <= most
                or stop + size > end
                or delivery_id in of_session
            ):
                break
            delivery = delivery_type(link, delivery_id, tag, buf[stop + head_size : stop + size], settled)
            # From here to reporting it nothing is called, so that no signal handler comes in between.
            stop += size
            taken += 1
            if not settled:
                unsettled[delivery_id] = of_session[delivery_id] = delivery
            events.append(delivery)
    finally:
        if taken:
            pieces.done = stop
            window.left -= taken
            window.next_incoming_id = ((window.next_incoming_id or 0) + taken) & MASK
            link.credit -= taken
            link.delivery_count = (link.delivery_count + taken) & MASK
            link.available = max(0, link.available - taken)
            if window.half_used:
                link.output.mark_dirty(link.session)
    return stop

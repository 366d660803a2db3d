"""The shapes of transfer frames: what the frames that one peer sends on one link have in common.

This side's are written as :func:`sent_shape` says. Of those that arrive, ``incoming.receive_transfer`` reads the fields
of a usual one in place (:func:`read_fields`) and keeps its shape with the link; a next frame of the same shape, in
which only delivery id and tag differ, is unpacked in one call. Frames that follow it are compared as whole heads in
``runs.receive_run``. What is unusual goes to the general decoder. Transport, "transfer".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from struct import Struct, pack
from typing import Any, Final, NamedTuple, TypeAlias

from amqp10.wire.performatives import MAX_DELIVERY_TAG_SIZE

__all__ = [
    "NOTHING",
    "NO_SHAPE",
    "RunShape",
    "SentShape",
    "TransferShape",
    "read_fields",
    "run_shape_of",
    "sent_shape",
    "shape_of",
]

_UINT = Struct(">I").unpack_from

TransferShape: TypeAlias = tuple[Callable[[bytes, int], tuple[Any, ...]], int, int, bytes, bytes, bool]
"""How to unpack format code, delivery id, head of the tag, tag and the rest; the number of fields; the bytes from the
delivery id on; the head of the tag; the rest; and whether that means "settled"."""

NO_SHAPE: Final[TransferShape] = (lambda buf, pos: (), 0, 1 << 40, b"", b"", False)
"""What no frame has."""

NOTHING: Final = (0, 0, b"", b"", b"")
"""Unpacked from a frame whose length alone tells that it has another shape."""


def read_fields(buf: bytes, p: int, body: int, count: int) -> tuple[int, bytes, bool] | None:
    """Delivery id, tag and "settled" of a message's first transfer, field by field; ``p`` is at the delivery id.

    ``None`` when a field has another than its usual values: then the general decoder has to look.
    """
    code = buf[p]
    if code == 0x52:
        delivery_id = buf[p + 1]
        p += 2
    elif code == 0x70:
        (delivery_id,) = _UINT(buf, p + 1)
        p += 5
    elif code == 0x43:
        delivery_id = 0
        p += 1
    else:
        return None
    # delivery-tag
    if buf[p] != 0xA0:
        return None
    start = p + 2
    p = start + buf[p + 1]
    tag = buf[start:p]
    if len(tag) > MAX_DELIVERY_TAG_SIZE:
        return None
    # message-format
    code = buf[p]
    if code == 0x43:
        p += 1
    elif code == 0x52 and buf[p + 1] == 0:
        p += 2
    elif code == 0x70 and buf[p + 1 : p + 5] == b"\0\0\0\0":
        p += 5
    else:
        return None
    settled = False
    if count >= 5:
        code = buf[p]
        p += 1
        if code == 0x41:
            settled = True
        elif code == 0x56:
            if buf[p] > 1:
                return None
            settled = buf[p] == 1
            p += 1
        elif code != 0x42 and code != 0x40:
            return None
        if count == 6:
            # more
            code = buf[p]
            p += 1
            if code != 0x42 and code != 0x40:
                return None
    return (delivery_id, tag, settled) if p == body else None


@cache
def _layout(tag_size: int, rest: int) -> Struct:
    return Struct(f">BI2s{tag_size}s{rest}s")


def shape_of(buf: bytes, p: int, body: int, count: int, tag_size: int, settled: bool) -> TransferShape:
    """The shape of a transfer whose delivery id is a uint of four bytes at ``p``."""
    rest = body - p - 7 - tag_size
    unpack = _layout(tag_size, rest).unpack_from
    return unpack, count, body - p, buf[p + 5 : p + 7], buf[body - rest : body], settled


class RunShape(NamedTuple):
    """What the heads of frames have in common that follow each other on one link: all but size, delivery id and tag."""

    shape: TransferShape
    """The shape of their transfers."""
    unpack: Callable[[bytes, int], tuple[Any, ...]]
    """How to unpack size, head, delivery id, head of the tag, tag and the rest."""
    head: bytes
    """What is between the size and the delivery id."""
    tag_head: bytes
    rest: bytes
    """What is between the tag and the payload."""
    size: int
    """How many bytes are in front of the payload."""
    settled: bool


@cache
def _run_layout(head: int, tag_size: int, rest: int) -> Struct:
    return Struct(f">I{head}sI2s{tag_size}s{rest}s")


def run_shape_of(shape: TransferShape, buf: bytes, start: int, pos: int) -> RunShape:
    """For frames like the one at ``start``, which has the shape; ``pos`` is after its descriptor."""
    _, _, size, tag_head, rest, settled = shape
    body = pos + 2 + buf[pos + 1] if buf[pos] == 0xC0 else pos + 5 + _UINT(buf, pos + 1)[0]
    at = body - size + 1
    unpack = _run_layout(at - start - 4, size - 7 - len(rest), len(rest)).unpack_from
    return RunShape(shape, unpack, buf[start + 4 : at], tag_head, rest, body - start, settled)


class SentShape(NamedTuple):
    """The transfers that one link sends in a single frame: all but size and delivery id is the same for every message.

    ``pack`` takes the size of the frame, the head, the delivery id, the head of the tag, the tag (which is the delivery
    id again) and the rest: message-format 0, and for ``pack_settled`` *settled* too.
    """

    head: bytes
    """What is between the size and the delivery id."""
    settled_head: bytes
    size: int
    """How many bytes are in front of the payload of an unsettled message; it is one more for a settled one."""
    pack: Callable[..., bytes]
    pack_settled: Callable[..., bytes]


def sent_shape(channel: int, handle: int) -> SentShape:
    """The shape for a link: a list8 of handle, delivery-id, delivery-tag, message-format and, where the message is
    settled, settled (transport, "transfer")."""
    if handle == 0:
        handle_code = b"\x43"
    elif handle < 256:
        handle_code = bytes((0x52, handle))
    else:
        handle_code = b"\x70" + pack(">I", handle)
    fixed = pack(">BBH", 2, 0, channel) + b"\x00\x53\x14\xc0"
    fields = len(handle_code) + 5 + 6 + 1
    head = fixed + bytes((fields + 1, 4)) + handle_code + b"\x70"
    settled_head = fixed + bytes((fields + 2, 5)) + handle_code + b"\x70"
    layout = f">I{len(head)}sI2sI"
    return SentShape(head, settled_head, len(head) + 15, Struct(layout + "1s").pack, Struct(layout + "2s").pack)

"""What has arrived on a connection and has not been read.

A signal handler may raise at any call. So bytes stay here until they have been handled, and ``done`` moves on in the
same step in which what a frame says takes effect: no frame is lost, and none takes effect twice.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from amqp10.engine.faults import torn_frame

__all__ = ["TORN", "Input"]

_HEADER = Struct(">IBBH").unpack_from
_TRANSFER: Final = b"\x00\x53\x14"
TORN: Final = -(1 << 62)
"""So that enough is always here to go on, and say what has happened."""
_TRANSFER_START: Final = 25
"""So many bytes of a transfer frame are enough to tell its link: the headers, and the handle in its largest form."""


class Input:
    """Bytes in the pieces in which they came.

    Attributes:
        chunks: the pieces.
        have: how many bytes they are.
        need: how many are needed to go on: a header, or a whole frame.
        done: how many bytes of the first piece have been handled. ``TORN`` while a frame is being handled that must not
            be looked at twice: where :meth:`take` finds that, an exception has come in between.
    """

    __slots__ = ("chunks", "done", "have", "need")

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.have: int = 0
        self.need: int = 8
        self.done: int = 0

    @property
    def ready(self) -> bool:
        """Whether there is enough to go on."""
        return bool(self.chunks) and self.have - self.done >= self.need

    @property
    def missing(self) -> int:
        """How many bytes are still to come of what has begun to arrive; 0 when nothing has."""
        return self.need - self.have if self.chunks else 0

    def add(self, data: bytes) -> None:
        """Keep what arrived."""
        if self.chunks:
            self.have += len(data)
        else:
            self.have = len(data)
            self.done = 0
        self.chunks.append(data)

    def take(self) -> bytes:
        """All that has not been handled, or nothing if it is not enough to go on. A frame that comes in many pieces is
        joined once, when it is whole.

        It stays here until :meth:`put_back` says what is left of it, or ``chunks`` is emptied.

        Raises:
            ConnectionFault: an exception came while a frame was being handled that must not be looked at twice.
        """
        chunks = self.chunks
        if not chunks or self.have - self.done < self.need:
            return b""
        self.need = 8
        if len(chunks) == 1 and not self.done:
            return chunks[0]
        if self.done < 0:
            raise torn_frame()
        data = self.rest()
        self.put_back(data)
        return data

    def rest(self) -> bytes:
        """All that has not been handled, however little."""
        return b"".join(self.chunks)[max(self.done, 0) :]

    def put_back(self, rest: bytes) -> None:
        """Keep what is the start of something that is not whole, and nothing else."""
        have = len(rest)
        self.chunks = [rest]
        self.have = have
        self.done = 0

    def starts_transfer(self, channel: int, handle: int | None) -> bool:
        """Whether a transfer on a channel for a handle has begun to arrive and is not whole yet."""
        start = self.chunks[0] if self.chunks else b""
        if len(start) < _TRANSFER_START:
            start = b"".join(self.chunks)
        if len(start) < _TRANSFER_START:
            return False
        _, doff, _, on_channel = _HEADER(start, 0)
        at = doff * 4
        if on_channel != channel or start[at : at + 3] != _TRANSFER:
            return False
        # A list8 or list32, whose first field is the handle (transport, "transfer").
        at += 6 if start[at + 3 : at + 4] == b"\xc0" else 12
        form, rest = start[at : at + 1], start[at + 1 :]
        found = 0 if form == b"\x43" else int.from_bytes(rest[: 1 if form == b"\x52" else 4], "big")
        return found == handle

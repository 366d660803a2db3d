"""What has arrived on a connection and has not been read."""

from __future__ import annotations

from struct import Struct
from typing import Final

__all__ = ["Input"]

_HEADER = Struct(">IBBH").unpack_from
_TRANSFER: Final = b"\x00\x53\x14"
_TRANSFER_START: Final = 25
"""So many bytes of a transfer frame are enough to tell its link: the headers, and the handle in its largest form."""


class Input:
    """Bytes in the pieces in which they came.

    Attributes:
        chunks: the pieces.
        have: how many bytes they are.
        need: how many are needed to go on: a header, or a whole frame.
    """

    __slots__ = ("chunks", "have", "need")

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.have: int = 0
        self.need: int = 8

    @property
    def ready(self) -> bool:
        """Whether there is enough to go on."""
        return bool(self.chunks) and self.have >= self.need

    @property
    def missing(self) -> int:
        """How many bytes are still to come of what has begun to arrive; 0 when nothing has."""
        return self.need - self.have if self.chunks else 0

    def add(self, data: bytes) -> None:
        """Keep what arrived."""
        self.have = self.have + len(data) if self.chunks else len(data)
        self.chunks.append(data)

    def take(self) -> bytes:
        """All that is here. A frame that comes in many pieces is joined once, when it is whole."""
        chunks = self.chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        return data

    def put_back(self, rest: bytes) -> None:
        """Keep what is the start of something that is not whole."""
        self.chunks.append(rest)
        self.have = len(rest)

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

"""A message that arrives in several frames, until it is whole (transport, "transferring large messages")."""

from __future__ import annotations

__all__ = ["Parts"]

_SMALL_PART = 1024
"""Bytes up to which parts of a message are copied together as they arrive."""


class Parts:
    """The parts of one message, in order.

    Attributes:
        size: bytes that have arrived, those that have been taken included.
    """

    __slots__ = ("_waiting", "size")

    def __init__(self, first: bytes | memoryview) -> None:
        self.size: int = len(first)
        self._waiting: list[bytes | bytearray | memoryview] = [first]

    def add(self, part: bytes) -> None:
        """One more part has arrived."""
        waiting = self._waiting
        size = len(part)
        self.size += size
        if size >= _SMALL_PART:
            waiting.append(part)
        elif waiting and type(last := waiting[-1]) is bytearray:
            last += part
        else:
            # An object of its own costs many times the size of a part of a few bytes.
            waiting.append(bytearray(part))

    def joined(self) -> bytes:
        """What has arrived and has not been taken, in one piece.

        It stays joined, so that looking at a growing message does not join all of it each time.
        """
        whole = b"".join(self._waiting)
        self._waiting = [whole]
        return whole

    def take(self) -> list[bytes | bytearray | memoryview]:
        """What has arrived since the last call."""
        taken, self._waiting = self._waiting, []
        return taken

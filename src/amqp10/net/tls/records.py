"""TLS record headers, for the packet log and for recognizing a server that does not use TLS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["RecordLog", "describe_stranger"]

_TYPES: Final[dict[int, str]] = {
    20: "change cipher spec",
    21: "alert",
    22: "handshake",
    23: "application data",
    24: "heartbeat",
}
_HEADER: Final = 5

_UNKNOWN: Final = "the server's answer is not TLS; it probably does not use TLS on this port"
_GREETINGS: Final = (
    (
        b"AMQP",
        "the server answers in plain AMQP; it does not use TLS on this port (its TLS port is usually 5671, "
        "or set ssl_enabled to False)",
    ),
    (b"HTTP/", "the server answers in HTTP; it does not use TLS on this port"),
)


class RecordLog:
    """Reports each record in either direction, with its type and size; never its contents."""

    __slots__ = ("_incoming", "_outgoing", "_report")

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._incoming = _Scanner()
        self._outgoing = _Scanner()

    def received(self, data: bytes | bytearray | memoryview) -> None:
        for kind, length in self._incoming.scan(data):
            self._report(f"TLS record received: {_TYPES.get(kind, f'type {kind}')}, {length} bytes")

    def sent(self, data: bytes | bytearray | memoryview) -> None:
        for kind, length in self._outgoing.scan(data):
            self._report(f"TLS record sent: {_TYPES.get(kind, f'type {kind}')}, {length} bytes")


class _Scanner:
    """Finds record headers in a stream that arrives in pieces of any size."""

    __slots__ = ("_header", "_skip")

    def __init__(self) -> None:
        self._header = b""
        self._skip = 0

    def scan(self, data: bytes | bytearray | memoryview) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        view = memoryview(data)
        position = 0
        while position < len(view):
            if self._skip:
                step = min(self._skip, len(view) - position)
                self._skip -= step
                position += step
                continue
            step = min(_HEADER - len(self._header), len(view) - position)
            self._header += bytes(view[position : position + step])
            position += step
            if len(self._header) == _HEADER:
                self._skip = int.from_bytes(self._header[3:], "big")
                found.append((self._header[0], self._skip))
                self._header = b""
        return found


def describe_stranger(start: bytes, *, complete: bool) -> str | None:
    """The protocol of a server whose first bytes are not TLS.

    Args:
        start: the first bytes, eight of them if there are as many.
        complete: whether no more will come.

    Returns:
        The description; ``""`` if it is TLS; ``None`` if it is not, and more bytes are needed to tell what it is.
    """
    if not start:
        return ""
    if start[0] in (21, 22):
        return "" if len(start) < 2 or start[1] == 3 else _UNKNOWN
    for greeting, description in _GREETINGS:
        if start.startswith(greeting):
            return description
        if greeting.startswith(start) and not complete:
            return None
    return _UNKNOWN

"""What the layers above need of a connection, whatever it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from amqp10.net.options import TransportOptions

__all__ = ["COPY_LIMIT", "RECEIVE_SIZE", "Transport", "rest_of"]

RECEIVE_SIZE: Final = 262144
"""How much is read at once: large enough for a thousand small messages, small enough to stay in a cache."""

COPY_LIMIT: Final = 8192
"""Buffers shorter than this are joined before they are sent or encrypted, which costs less than a buffer more in a
system call, or a record more. Longer ones are never copied."""


class Transport(Protocol):
    """A stream of bytes in both directions. No method waits; :class:`~amqp10.net.waiting.Waiter` does that.

    The addresses are IP address (or, where a proxy resolved it, host name) and port.
    """

    @property
    def local_address(self) -> tuple[str, int]:
        """This end."""
        ...

    @property
    def remote_address(self) -> tuple[str, int]:
        """The server; not the proxy, when there is one."""
        ...

    @property
    def unsent(self) -> bool:
        """Whether bytes that were taken wait inside for the socket; ``send`` with no buffers moves them on."""
        ...

    @property
    def buffered(self) -> bool:
        """Whether bytes that have arrived are held inside, so that ``recv`` gives them without the socket being
        readable."""
        ...

    @property
    def progress(self) -> int:
        """Changes when bytes moved that ``send`` and ``recv`` do not report, because they are parts of TLS records."""
        ...

    def recv(self, max_bytes: int = RECEIVE_SIZE) -> bytes | None:
        """Bytes that have arrived: ``None`` when there are none yet, empty when the peer has ended the stream.

        Raises:
            ConnectionDroppedError: 1120; the connection broke.
        """
        ...

    def send(self, buffers: list[bytes | memoryview]) -> int:
        """Take as many bytes as fit now, from the first buffer on, and return how many: 0 when none fit.

        Memoryviews are one-dimensional views of bytes. Buffers are not used any more after the call returns.

        Raises:
            ConnectionDroppedError: 1120; the connection broke.
        """
        ...

    def push(self) -> None:
        """Have the system send what it holds back in the hope of more (Nagle's algorithm): the caller is about to wait.

        Otherwise a small last write could lie there until the peer acknowledges an earlier one, which it may put off
        for 40 milliseconds, while both sides wait.
        """
        ...

    def next_send_time(self) -> float | None:
        """When the last ``send`` took less than everything because of a rate limit: the time to try again.

        By the clock that the transport was made with. ``None`` when only the socket decides: wait until it can be
        written to.
        """
        ...

    def reconfigure(self, options: TransportOptions) -> None:
        """Change the socket's settings, lingering and the rate limit. What says where to connect to is not looked at.

        Raises:
            AMQPError: the system refuses an option; the message names the setting.
        """
        ...

    def fileno(self) -> int:
        """The descriptor of the socket to wait for; -1 once closed."""
        ...

    def close(self, graceful: bool = True) -> None:
        """Close the connection without waiting. May be called twice.

        Args:
            graceful: whether unsent bytes are still delivered, as far as the options say so; otherwise they are
                discarded and the connection is reset.
        """
        ...


def rest_of(buffers: list[bytes | memoryview], sent: int) -> list[bytes | memoryview]:
    """What is left of buffers of which so many bytes have been sent."""
    for index, buffer in enumerate(buffers):
        size = len(buffer)
        if sent < size:
            rest = buffers[index:]
            if sent:
                rest[0] = memoryview(buffer)[sent:]
            return rest
        sent -= size
    return []

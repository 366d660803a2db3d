"""The interface of a connection, for the layers above."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from amqp10.net.options import TransportOptions

__all__ = ["COPY_LIMIT", "RECEIVE_SIZE", "Transport", "rest_of"]

RECEIVE_SIZE: Final = 262144
"""How many bytes are read at once: enough for a thousand small messages, few enough for the processor's cache."""

COPY_LIMIT: Final = 8192
"""Shorter buffers are joined before they are sent or encrypted, which costs less than another buffer in a system call,
or another record. Longer ones are never copied."""


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
        """Whether bytes that were taken wait here for the socket; ``send`` with no buffers sends them on."""
        ...

    @property
    def buffered(self) -> bool:
        """Whether bytes that have arrived are held here, so that ``recv`` returns them although the socket is not
        readable."""
        ...

    @property
    def progress(self) -> int:
        """Changes when bytes have moved that ``send`` and ``recv`` do not report: parts of TLS records."""
        ...

    def recv(self, max_bytes: int = RECEIVE_SIZE) -> bytes | None:
        """Bytes that have arrived: ``None`` when there are none yet, empty when the peer has ended the stream.

        Raises:
            ConnectionDroppedError: 1120; the connection broke.
        """
        ...

    def send(self, buffers: list[bytes | memoryview]) -> int:
        """Send as many bytes as the socket takes now, from the first buffer on, and return how many; may be 0.

        Memoryviews are one-dimensional views of bytes. Buffers are not used any more after the call returns.

        Raises:
            ConnectionDroppedError: 1120; the connection broke.
        """
        ...

    def push(self) -> None:
        """Have the system send what it holds back in the hope of more (Nagle's algorithm): the caller is about to wait.

        Otherwise a small last write could be held until the peer acknowledges an earlier one, which it may delay for 40
        milliseconds, while both sides wait.
        """
        ...

    def next_send_time(self) -> float | None:
        """If the last ``send`` did not take everything because of a rate limit, the time to try again.

        It is a time of the transport's clock. ``None`` means that only the socket decides: wait until it is writable.
        """
        ...

    def reconfigure(self, options: TransportOptions) -> None:
        """Change the socket's settings, lingering and the rate limit. Where to connect to is ignored.

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
    """What is left of the buffers after ``sent`` bytes of them have been sent."""
    for index, buffer in enumerate(buffers):
        size = len(buffer)
        if sent < size:
            rest = buffers[index:]
            if sent:
                rest[0] = memoryview(buffer)[sent:]
            return rest
        sent -= size
    return []

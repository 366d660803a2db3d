"""The operations that connecting is built from, and how a blocking caller runs it.

Connecting (:mod:`amqp10.net.dial`) is written once, as coroutines that await only what a :class:`Network` and its
:class:`Stream` offer. With a network whose coroutines never suspend, :func:`run` gives the result to a caller that
blocks; with one for an event loop, the loop awaits the same code. Time-outs, interruptions and the cancellation of a
task are all raised at an ``await``, so there is one way to clean up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from amqp10.net.names import Endpoint
    from amqp10.net.options import TransportOptions
    from amqp10.net.waiting import Deadline

__all__ = ["Network", "SecureSession", "Stream", "TimeIsUpError", "run"]

T = TypeVar("T")
S_co = TypeVar("S_co", bound="Stream", covariant=True)


class TimeIsUpError(Exception):
    """The deadline has passed. The caller, who knows what was awaited, raises an ``AMQPTimeoutError`` that says so."""


class Stream(Protocol):
    """A connection that is being set up. Once it is open, a driver takes over what is inside."""

    @property
    def remote_address(self) -> tuple[str, int]:
        """IP address and port of the other end, which may be a proxy."""
        ...

    def read(self, max_bytes: int, deadline: Deadline, /) -> Awaitable[bytes]:
        """Read between one and ``max_bytes`` bytes; empty when the peer has ended the stream. Touches the deadline.

        Raises:
            ConnectionDroppedError: 1120; the connection broke.
            TimeIsUpError: nothing came in time.
        """
        ...

    def write(self, data: bytes, deadline: Deadline, /) -> Awaitable[None]:
        """Send all of the data. Touches the deadline whenever some of it was sent. Errors as for :meth:`read`."""
        ...

    def offer(self, data: bytes, /) -> None:
        """Send what the system takes at once, and ignore errors: for a last message, such as a TLS alert."""
        ...

    def abort(self) -> None:
        """Close at once. May be called twice."""
        ...


class Network(Protocol[S_co]):
    """Makes streams."""

    def lookup(self, host: str, port: int, family: int, /) -> list[tuple[Any, ...]]:
        """What ``socket.getaddrinfo`` returns. May block, so it is called through :meth:`call`.

        Raises:
            socket.gaierror: there is no answer.
        """
        ...

    def call(self, work: Callable[[], T], remaining: Callable[[], float | None], doing: str, /) -> Awaitable[T]:
        """Make a blocking call in another thread.

        Args:
            work: the call. What it raises is raised here.
            remaining: returns the seconds that are left, None for no limit.
            doing: what the call is for, in messages.

        Raises:
            TimeIsUpError: it has not returned in time. It runs on, and its result is ignored.
        """
        ...

    def connect(
        self, endpoint: Endpoint, local: Endpoint | None, options: TransportOptions, deadline: Deadline, /
    ) -> Awaitable[S_co]:
        """Connect to one address. Nothing is left open when this raises, or is cancelled.

        Args:
            endpoint: the address.
            local: the address to connect from; None leaves it to the system.
            options: the settings of the socket. The proxy and host names in them are ignored.
            deadline: when to give up.

        Raises:
            TimeIsUpError: there was no answer in time.
            AMQPError: the system's error. The message does not name the address; the caller adds it.
        """
        ...


class SecureSession(Protocol):
    """One TLS connection over buffers, client side, whichever library does it.

    Call :meth:`start`, send :meth:`data_to_send`, and pass what the network gives to :meth:`feed`, after each of which
    there may be more to send. An error is final: send what :meth:`data_to_send` still has (an alert), and close.
    """

    @property
    def handshake_done(self) -> bool:
        """The server was accepted and both sides have finished: data may flow."""
        ...

    @property
    def ended(self) -> bool:
        """There will be no more data: the peer said so, or there was an error, which the next call raises."""
        ...

    @property
    def stage(self) -> str:
        """What the handshake is waiting for, in words."""
        ...

    @property
    def download(self) -> Callable[[], None] | None:
        """A blocking call that is needed before the server can be verified, or None. Make it in another thread, and
        then call :meth:`downloaded`, before anything else."""
        ...

    @property
    def download_limit(self) -> float:
        """How many seconds :attr:`download` may take."""
        ...

    def downloaded(self) -> list[bytes]:
        """Go on after :attr:`download` was called, or has timed out. Otherwise like :meth:`feed`."""
        ...

    def start(self) -> None:
        """Begin the handshake."""
        ...

    def feed(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Take bytes from the network; return decrypted data.

        Raises:
            AMQPError: the server was refused, the handshake failed, or the data cannot be decrypted.
        """
        ...

    def feed_eof(self) -> bool:
        """The network connection has ended. True if the peer had said so before, with TLS's own close.

        Raises:
            AMQPError: the handshake was not finished.
        """
        ...

    def write(self, buffers: list[bytes | memoryview]) -> None:
        """Encrypt buffers, in order. The result is in :meth:`data_to_send`."""
        ...

    def data_to_send(self) -> bytes:
        """The bytes that must be sent now; empty if there are none."""
        ...

    def close(self) -> None:
        """Tell the peer that no more data will come (close_notify). Harmless at any time."""
        ...


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, because its network blocks instead."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    work.close()
    raise RuntimeError("the coroutine was suspended, and nothing will resume it")

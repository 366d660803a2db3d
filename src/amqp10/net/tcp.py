"""TCP connections: opening them, and moving bytes through them without ever blocking.

Nothing here waits. Connecting as a whole is ``dial.py``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import Final

from amqp10.errors import AMQPError, ConnectionDroppedError, code_from_errno, describe_code
from amqp10.net.names import Endpoint, format_address
from amqp10.net.options import TransportOptions, apply_before_close, apply_before_connect, apply_while_connected
from amqp10.net.rate import TokenBucket
from amqp10.net.transport import COPY_LIMIT, RECEIVE_SIZE

__all__ = ["TcpTransport", "begin_connecting", "connected", "prepare_socket"]

_BATCH_SIZE: Final = 262144
"""About how many bytes go into one system call; sockets rarely take more."""

_MAX_DRAIN: Final = 1 << 20
"""How many unread bytes are discarded at most when a connection is closed gracefully."""

_CONNECTING: Final = frozenset(
    {errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN, getattr(errno, "WSAEWOULDBLOCK", errno.EWOULDBLOCK)}
)


def _vector_length() -> int:
    try:
        length = os.sysconf("SC_IOV_MAX")
    except (AttributeError, ValueError, OSError):  # no such function or name on this system
        length = -1
    return min(length, 1024) if length > 0 else 16  # what POSIX guarantees


_MAX_VECTOR: Final = _vector_length()
_HAS_SENDMSG: Final = hasattr(socket.socket, "sendmsg")


class TcpTransport:
    """A connected TCP socket. See :class:`~amqp10.net.transport.Transport` for the common methods.

    Args:
        sock: a connected socket, which the instance makes non-blocking and owns from now on.
        options: linger and rate limit are used.
        clock: the time in seconds; monotonic. Used for the rate limit.

    Raises:
        OSError: the socket is not connected (any more).

    Attributes:
        local_address: IP address and port of this end.
        remote_address: IP address and port of the server; its name instead, if a proxy resolved it.
        proxy_address: IP address and port of the proxy; ``None`` without one.
    """

    __slots__ = (
        "_bucket",
        "_clock",
        "_early",
        "_linger",
        "_linger_time",
        "_no_delay",
        "_resume",
        "_sock",
        "local_address",
        "proxy_address",
        "remote_address",
        "unsent",
    )

    def __init__(self, sock: socket.socket, options: TransportOptions, clock: Callable[[], float]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._clock = clock
        self._bucket: TokenBucket | None = None
        self._early = b""
        self.unsent: bool = False
        """Nothing is ever held here."""
        self._take(options)
        # IPv6 addresses come with two more numbers.
        self.local_address: tuple[str, int] = sock.getsockname()[:2]
        self.remote_address: tuple[str, int] = sock.getpeername()[:2]
        self.proxy_address: tuple[str, int] | None = None

    def _take(self, options: TransportOptions) -> None:
        self._no_delay = options.tcp_no_delay
        self._linger = options.linger
        self._linger_time = options.linger_time
        rate = options.max_transfer_rate
        if self._bucket is None or self._bucket.rate != rate:
            self._bucket = TokenBucket(rate, self._clock()) if rate > 0 else None
            self._resume: float | None = None

    def reconfigure(self, options: TransportOptions) -> None:
        """See :class:`~amqp10.net.transport.Transport`."""
        apply_while_connected(self._sock, options)
        self._take(options)

    def tunnel_established(self, remote_address: tuple[str, int]) -> None:
        """Note that the socket's other end is a proxy, which has connected to this address."""
        self.proxy_address = self.remote_address
        self.remote_address = remote_address

    def __repr__(self) -> str:
        via = f" through {format_address(self.proxy_address)}" if self.proxy_address is not None else ""
        state = "" if self._sock.fileno() >= 0 else ", closed"
        return (
            f"<TcpTransport {format_address(self.local_address)} to {format_address(self.remote_address)}{via}{state}>"
        )

    @property
    def buffered(self) -> bool:
        """Whether bytes were put back."""
        return bool(self._early)

    @property
    def progress(self) -> int:
        """Always 0: what moves is reported."""
        return 0

    def push(self) -> None:
        """See :class:`~amqp10.net.transport.Transport`.

        Setting TCP_NODELAY sends what Nagle's algorithm holds back; unsetting it restores the option.
        """
        if self._no_delay:
            return
        with contextlib.suppress(OSError):  # a broken connection: the next read or write reports it
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)

    def fileno(self) -> int:
        """See :class:`~amqp10.net.transport.Transport`."""
        return self._sock.fileno()

    @property
    def sock(self) -> socket.socket:
        """The non-blocking socket, for a driver that takes it over. The instance must not be used after that."""
        return self._sock

    # -- receiving -------------------------------------------------------------------------------------------------

    def recv(self, max_bytes: int = RECEIVE_SIZE) -> bytes | None:
        """See :class:`~amqp10.net.transport.Transport`. What was put back comes first."""
        if self._early:
            data, self._early = self._early, b""
            return data
        try:
            return self._sock.recv(max_bytes)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._broken(error) from error

    def put_back(self, data: bytes) -> None:
        """Have :meth:`recv` return bytes again that were read too early."""
        self._early = data

    # -- sending ---------------------------------------------------------------------------------------------------

    def send(self, buffers: list[bytes | memoryview]) -> int:
        """See :class:`~amqp10.net.transport.Transport`."""
        bucket = self._bucket
        if bucket is None:
            if len(buffers) != 1:
                return self._send_now(buffers)
            try:
                return self._sock.send(buffers[0])
            except BlockingIOError:
                return 0
            except OSError as error:
                raise self._broken(error) from error
        wanted = sum(map(len, buffers))
        allowed = min(wanted, bucket.available(self._clock()))
        sent = self._send_now(_first(buffers, allowed)) if allowed else 0
        bucket.spend(sent)
        # If the socket took less than it was offered, the socket is what to wait for; otherwise it is the limit.
        self._resume = bucket.ready_at(self._clock(), wanted - sent) if sent == allowed < wanted else None
        return sent

    def next_send_time(self) -> float | None:
        """See :class:`~amqp10.net.transport.Transport`."""
        return self._resume

    def _send_now(self, buffers: list[bytes | memoryview]) -> int:
        sent = 0
        try:
            if len(buffers) == 1:
                return self._sock.send(buffers[0])
            start = 0
            while start < len(buffers):
                batch, size, start = _gather(buffers, start)
                taken = self._sock.send(batch[0]) if len(batch) == 1 else self._send_vector(batch)
                sent += taken
                if taken < size:
                    break
        except BlockingIOError:
            pass  # what was taken before counts; the socket is full now
        except OSError as error:
            raise self._broken(error) from error
        return sent

    def _send_vector(self, batch: list[bytes | memoryview]) -> int:
        if _HAS_SENDMSG:
            return self._sock.sendmsg(batch)
        # Windows: the rest of the batch is offered again by the caller, as after any partial write.
        return self._sock.send(batch[0])

    def _broken(self, error: OSError) -> AMQPError:
        if self._sock.fileno() < 0:
            return AMQPError(212, f"the connection to {format_address(self.remote_address)} has been closed here")
        return ConnectionDroppedError(
            f"the connection to {format_address(self.remote_address)} broke: {error.strerror or error}"
        )

    # -- closing ---------------------------------------------------------------------------------------------------

    def close(self, graceful: bool = True) -> None:
        """See :class:`~amqp10.net.transport.Transport`.

        With ``graceful`` the settings decide: without ``Linger`` the connection is reset; with it, the system delivers
        what is unsent in the background, for at most ``LingerTime`` seconds if that is set, and then resets it. (On
        systems without TCP_USER_TIMEOUT the time is set with SO_LINGER.) Unread bytes that have arrived are discarded
        first, because closing with unread bytes would reset the connection, and what was just sent could be lost.
        """
        sock = self._sock
        if sock.fileno() < 0:
            return
        linger = graceful and self._linger
        # Each step only improves on close(), and any of them may fail if the connection is already broken.
        with contextlib.suppress(OSError):
            apply_before_close(sock, linger=linger, linger_time=self._linger_time)
        if linger:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
                drained = 0
                while drained < _MAX_DRAIN and (count := len(sock.recv(65536))):
                    drained += count
        sock.close()


def _gather(buffers: list[bytes | memoryview], start: int) -> tuple[list[bytes | memoryview], int, int]:
    """What goes into the next system call: the buffers for it, their total size, and the index of the next one."""
    count = len(buffers)
    if not start:
        # By far the most frequent case, so it has no loop: short frames only.
        sizes = list(map(len, buffers))
        total = sum(sizes)
        if total <= _BATCH_SIZE and max(sizes) < COPY_LIMIT:
            return [b"".join(buffers)], total, count
    batch: list[bytes | memoryview] = []
    short: list[bytes | memoryview] = []
    size = 0
    while start < count and size < _BATCH_SIZE and len(batch) < _MAX_VECTOR - 1:
        buffer = buffers[start]
        length = len(buffer)
        if length < COPY_LIMIT:
            short.append(buffer)
        else:
            if short:
                batch.append(b"".join(short) if len(short) > 1 else short[0])
                short = []
            batch.append(buffer)
        size += length
        start += 1
    if short:
        batch.append(b"".join(short) if len(short) > 1 else short[0])
    return batch, size, start


def _first(buffers: list[bytes | memoryview], count: int) -> list[bytes | memoryview]:
    """The first ``count`` bytes of the buffers."""
    chosen: list[bytes | memoryview] = []
    for buffer in buffers:
        if len(buffer) >= count:
            chosen.append(memoryview(buffer)[:count])
            break
        chosen.append(buffer)
        count -= len(buffer)
    return chosen


# -- connecting ----------------------------------------------------------------------------------------------------


def prepare_socket(endpoint: Endpoint, local: Endpoint | None, options: TransportOptions) -> socket.socket:
    """A non-blocking socket that is ready to be connected.

    Args:
        endpoint: the address that it will connect to.
        local: where to bind it to; None leaves that to the system.
        options: its settings.

    Raises:
        AMQPError: the system refuses an option or the local address, or has no more sockets.
    """
    try:
        sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
    except OSError as error:
        raise AMQPError(code_from_errno(error.errno), f"no socket could be made: {error.strerror or error}") from error
    try:
        sock.setblocking(False)
        apply_before_connect(sock, options)
        if local is not None:
            _bind(sock, local, options)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(sock: socket.socket, endpoint: Endpoint, options: TransportOptions) -> None:
    try:
        sock.bind(endpoint.address)
    except OSError as error:
        words = options.words
        raise AMQPError(
            code_from_errno(error.errno),
            f"local address {endpoint} ({words.local_host}, {words.local_port}) cannot be used: "
            f"{error.strerror or error}",
        ) from error


def begin_connecting(sock: socket.socket, endpoint: Endpoint) -> int | None:
    """Start connecting. Returns the system's error number, 0 if it is done, None if it goes on."""
    code = sock.connect_ex(endpoint.address)
    return None if code in _CONNECTING else code


def connected(
    sock: socket.socket, code: int | None, options: TransportOptions, clock: Callable[[], float]
) -> TcpTransport:
    """The transport on a socket whose attempt to connect is over.

    Args:
        sock: the socket. It stays the caller's when this raises.
        code: the system's error number, 0 for none; None asks the socket.
        options: its settings.
        clock: drives the rate limit.

    Raises:
        AMQPError: the attempt failed.
    """
    if code is None:
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code == 0:
        try:
            if sock.getsockname() != sock.getpeername():
                return TcpTransport(sock, options, clock)
            # Connected to itself: nobody listens on this local port, and the system chose it for this end.
            code = errno.ECONNREFUSED
        except OSError as error:  # opened, and reset at once
            code = error.errno or errno.ECONNRESET
    # Windows has its own numbers, for which Python has no texts.
    number = code_from_errno(code)
    if number == 10049 and options.local_port:
        # A port that may be shared can be bound twice; only connecting finds that the connection exists already.
        taken = f"local port {options.local_port} ({options.words.local_port}) already has a connection to that address"
        raise AMQPError(10048, taken)
    text = os.strerror(code) if code < 10000 else describe_code(number)
    if number == 10061:
        text += " (nothing listens on that port, or a firewall rejects the connection)"
    raise AMQPError(number, text)

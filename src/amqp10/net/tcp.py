"""TCP connections: opening them, and moving bytes through them without ever blocking.

Waiting is done in one place, :class:`~amqp10.net.waiting.Waiter`, for the name to be resolved, the connection to be
opened, and later for bytes; so every wait obeys its time-out and can be interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import Final

from amqp10.errors import AMQPError, AMQPTimeoutError, ConnectionDroppedError, code_from_errno, describe_code
from amqp10.net.options import TransportOptions, apply_before_close, apply_before_connect, apply_while_connected
from amqp10.net.rate import TokenBucket
from amqp10.net.resolve import Endpoint, Lookup, clean_host, format_address, resolve, system_lookup
from amqp10.net.transport import RECEIVE_SIZE, Transport
from amqp10.net.waiting import Deadline, Waiter

__all__ = ["Deadline", "TcpTransport", "Transport", "TransportOptions", "Waiter", "connect_directly", "connect_tcp"]

COPY_LIMIT: Final = 8192
"""Buffers shorter than this are joined before they are sent, which costs less than an entry in an I/O vector each.
Longer ones are never copied."""

_BATCH_SIZE: Final = 262144
"""About how much goes into one system call: sockets rarely take more, so more would be prepared in vain."""

_MAX_DRAIN: Final = 1 << 20
"""How much unread data is thrown away at most when a connection is closed gracefully."""

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
        clock: the time in seconds; monotonic. The rate limit goes by it.

    Raises:
        OSError: the socket is not connected (any more).

    Attributes:
        local_address: IP address and port of this end.
        remote_address: IP address and port of the server; its name, where a proxy resolved it.
        proxy_address: IP address and port of the proxy; ``None`` without one.
    """

    __slots__ = (
        "_bucket",
        "_clock",
        "_linger",
        "_linger_time",
        "_no_delay",
        "_resume",
        "_sock",
        "local_address",
        "proxy_address",
        "remote_address",
    )

    def __init__(self, sock: socket.socket, options: TransportOptions, clock: Callable[[], float]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._clock = clock
        self._bucket: TokenBucket | None = None
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
    def unsent(self) -> bool:
        """Always False: nothing is held here."""
        return False

    @property
    def buffered(self) -> bool:
        """Always False: nothing is held here."""
        return False

    @property
    def progress(self) -> int:
        """Always 0: what moves is reported."""
        return 0

    def push(self) -> None:
        """See :class:`~amqp10.net.transport.Transport`.

        Setting TCP_NODELAY sends what Nagle's algorithm holds; taking it back leaves the option as it was asked for.
        """
        if self._no_delay:
            return
        with contextlib.suppress(OSError):  # a broken connection: the next read or write reports it
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)

    def fileno(self) -> int:
        """See :class:`~amqp10.net.transport.Transport`."""
        return self._sock.fileno()

    def detach(self) -> socket.socket:
        """Give the socket to somebody else, non-blocking as it is. The instance must not be used any more."""
        return self._sock

    # -- receiving -------------------------------------------------------------------------------------------------

    def recv(self, max_bytes: int = RECEIVE_SIZE) -> bytes | None:
        """See :class:`~amqp10.net.transport.Transport`."""
        try:
            return self._sock.recv(max_bytes)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._broken(error) from error

    def peek(self, max_bytes: int) -> bytes | None:
        """Like :meth:`recv`, but what is returned can be read again."""
        try:
            return self._sock.recv(max_bytes, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._broken(error) from error

    # -- sending ---------------------------------------------------------------------------------------------------

    def send(self, buffers: list[bytes | memoryview]) -> int:
        """See :class:`~amqp10.net.transport.Transport`."""
        bucket = self._bucket
        if bucket is None:
            return self._send_now(buffers)
        wanted = sum(map(len, buffers))
        allowed = min(wanted, bucket.available(self._clock()))
        sent = self._send_now(_first(buffers, allowed)) if allowed else 0
        bucket.spend(sent)
        # A socket that took less than it was offered is what to wait for; otherwise it is the limit, if any is left.
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

        With ``graceful`` the settings decide: ``Linger`` off resets the connection; on, the system delivers what is
        unsent in the background, for ``LingerTime`` seconds at most when that is set, and then resets it. (On systems
        without TCP_USER_TIMEOUT the time is handed over with SO_LINGER.) Bytes that arrived and were not read are
        discarded first, as far as they are here already: a close with unread bytes would reset the connection and
        might destroy what was just sent.
        """
        sock = self._sock
        if sock.fileno() < 0:
            return
        linger = graceful and self._linger
        # Each step only improves on what close() does; on a connection that broke before, any of them may fail.
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
        # By far the most frequent case, and so without a loop: a round's worth of short frames.
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
    """The first so many bytes of the buffers."""
    chosen: list[bytes | memoryview] = []
    for buffer in buffers:
        if len(buffer) >= count:
            chosen.append(memoryview(buffer)[:count])
            break
        chosen.append(buffer)
        count -= len(buffer)
    return chosen


# -- connecting ----------------------------------------------------------------------------------------------------


def connect_tcp(
    host: str,
    port: int,
    options: TransportOptions,
    deadline: Deadline,
    waiter: Waiter,
    *,
    lookup: Lookup = system_lookup,
) -> TcpTransport:
    """Open a connection, through a proxy if the options name one and do not except the host.

    All addresses of the host are tried in order; while there are further ones, none gets more than its share of the
    time that is left. When all fail, the code is that of the last one and the message tells about every one.

    Args:
        host: name or address of the server. A leading ``*`` has a SOCKS proxy resolve the name; without a proxy it
            means nothing.
        port: port of the server, 1 to 65535.
        options: the socket's settings.
        deadline: when to give up. Its clock also drives the transport's rate limit.
        waiter: waits; the caller has called ``begin``.
        lookup: replaces the system's resolver.

    Raises:
        AMQPTimeoutError: 201; the name was not resolved, or nobody answered, in time.
        InterruptedCallError: 10004; the waiter was interrupted.
        AMQPError: 102, there is no usable address (0.0.0.0); 116, the port is out of range; 11001 to 11004, the name
            has no address; 10048, 10049 or 10013, the local host and port cannot be used; 10061, the server refused
            the connection; other codes of the 10000 range as the operating system reports.
    """
    if not 1 <= port <= 65535:
        raise AMQPError(116, f"remote_port is {port}: a port from 1 to 65535 is needed (5672, or 5671 with TLS)")
    name = clean_host(host.removeprefix("*"), "remote_host")
    if options.proxy is not None:
        from amqp10.net.proxy import connect_through  # not needed by most programs

        if not options.proxy.excepts(name, port):
            remote_dns = host.startswith("*")
            return connect_through(name, port, options, deadline, waiter, remote_dns=remote_dns, lookup=lookup)
    return connect_directly(name, port, options, deadline, waiter, lookup=lookup)


def connect_directly(
    host: str,
    port: int,
    options: TransportOptions,
    deadline: Deadline,
    waiter: Waiter,
    *,
    setting: str = "remote_host",
    role: str = "",
    lookup: Lookup = system_lookup,
) -> TcpTransport:
    """:func:`connect_tcp` without a proxy.

    For messages, ``setting`` names where the host comes from, and ``role`` says what it is ("the proxy ").
    """
    endpoints = usable(resolve(host, port, options.use_ipv6, deadline, waiter, setting=setting, lookup=lookup), setting)
    local = _local_endpoints(options, deadline, waiter, lookup)
    target = f"{role}{format_address((host, port))}"
    failures: list[tuple[Endpoint, AMQPError]] = []
    for position, endpoint in enumerate(endpoints):
        remaining = deadline.remaining()
        limit = None if remaining is None else remaining / (len(endpoints) - position)
        try:
            sock = _attempt(endpoint, local, options, deadline.clock, limit, waiter)
        except AMQPError as error:
            if error.code == 10004:
                raise
            failures.append((endpoint, error))
            continue
        try:
            transport = TcpTransport(sock, options, deadline.clock)
        except OSError as error:  # reset within a moment of being opened
            sock.close()
            failures.append((endpoint, AMQPError(code_from_errno(error.errno), error.strerror or str(error))))
            continue
        deadline.touch()
        return transport
    last = failures[-1][1]
    if len(failures) == 1 and endpoints[0].host == host:
        tried = last.message
    else:
        tried = "; ".join(f"{endpoint}: {error.message}" for endpoint, error in failures)
    message = f"could not connect to {target}: {tried}"
    if isinstance(last, AMQPTimeoutError):
        raise AMQPTimeoutError(f"{message} (time-out {deadline.in_words()})")
    # That this end has no address of some family says nothing where another family was tried.
    code = next((error.code for _, error in reversed(failures) if error.code != 10047), last.code)
    raise AMQPError(code, message) from last


def usable(endpoints: list[Endpoint], setting: str) -> list[Endpoint]:
    """The addresses without the unspecified one, which means "any" and is nobody's.

    Raises:
        AMQPError: 102; there is no other.
    """
    kept = [endpoint for endpoint in endpoints if endpoint.host not in ("0.0.0.0", "::")]
    if not kept:
        raise AMQPError(102, f"{setting} is the address {endpoints[0].host}, to which nobody can connect")
    return kept


def _local_endpoints(
    options: TransportOptions, deadline: Deadline, waiter: Waiter, lookup: Lookup
) -> dict[int, Endpoint] | None:
    """By address family, where to bind to; None when the system is to choose."""
    if not options.local_host:
        if not options.local_port:
            return None
        return {
            socket.AF_INET: Endpoint(socket.AF_INET, ("0.0.0.0", options.local_port)),
            socket.AF_INET6: Endpoint(socket.AF_INET6, ("::", options.local_port)),
        }
    host = clean_host(options.local_host, "local_host")
    found = resolve(host, options.local_port, options.use_ipv6, deadline, waiter, setting="local_host", lookup=lookup)
    return {endpoint.family: endpoint for endpoint in reversed(found)}  # the first of each family


def _attempt(
    endpoint: Endpoint,
    local: dict[int, Endpoint] | None,
    options: TransportOptions,
    clock: Callable[[], float],
    limit: float | None,
    waiter: Waiter,
) -> socket.socket:
    """Open one connection to one address. Messages of errors do not name that address: the caller does."""
    try:
        sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
    except OSError as error:
        raise AMQPError(code_from_errno(error.errno), f"no socket could be made: {error.strerror or error}") from error
    try:
        sock.setblocking(False)
        apply_before_connect(sock, options)
        if local is not None:
            _bind(sock, local.get(endpoint.family))
        try:
            _open(sock, endpoint, clock, limit, waiter)
        except AMQPError as error:
            if error.code != 10049 or not options.local_port:
                raise
            # A port that may be shared can be bound twice; that the two connections would be the same is found here.
            text = f"local port {options.local_port} (local_port) has a connection to that address already"
            raise AMQPError(10048, text) from error
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(sock: socket.socket, endpoint: Endpoint | None) -> None:
    if endpoint is None:
        raise AMQPError(10047, "local_host has no address of this kind")
    try:
        sock.bind(endpoint.address)
    except OSError as error:
        raise AMQPError(
            code_from_errno(error.errno),
            f"local address {endpoint} (local_host, local_port) cannot be used: {error.strerror or error}",
        ) from error


def _open(
    sock: socket.socket, endpoint: Endpoint, clock: Callable[[], float], limit: float | None, waiter: Waiter
) -> None:
    end = None if limit is None else clock() + limit
    code = sock.connect_ex(endpoint.address)
    if code in _CONNECTING:
        while True:
            remaining = None if end is None else end - clock()
            if remaining is not None and remaining <= 0:
                raise AMQPTimeoutError("no answer in time")
            if waiter.wait(sock.fileno(), write=True, timeout=remaining)[1]:
                break
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code == 0:
        try:
            if sock.getsockname() == sock.getpeername():
                # A port of this machine's that nobody listens on can be the one that the system chose for this end.
                code = errno.ECONNREFUSED
        except OSError as error:  # opened, and reset at once
            code = error.errno or errno.ECONNRESET
    if code:
        # Windows has its own numbers, for which Python has no texts.
        text = os.strerror(code) if code < 10000 else describe_code(code_from_errno(code))
        if code_from_errno(code) == 10061:
            text += " (nothing listens on that port, or a firewall rejects the connection)"
        raise AMQPError(code_from_errno(code), text)

"""The network for callers that block: its coroutines never suspend, but wait with a ``Waiter``.

:func:`amqp10.net.network.run` runs coroutines that use it. Every wait has a time-out and can be interrupted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from amqp10.errors import AMQPError
from amqp10.net.background import call_in_thread
from amqp10.net.network import TimeIsUpError
from amqp10.net.resolve import Lookup, system_lookup
from amqp10.net.tcp import TcpTransport, begin_connecting, connected, prepare_socket

if TYPE_CHECKING:
    from amqp10.net.direct import Dialled
    from amqp10.net.names import Endpoint
    from amqp10.net.options import TransportOptions
    from amqp10.net.tls.transport import TlsTransport
    from amqp10.net.waiting import Deadline, Waiter

__all__ = ["BlockingNetwork", "BlockingStream", "taken_over"]

T = TypeVar("T")


class BlockingStream:
    """A TCP connection whose reads and writes wait. See :class:`~amqp10.net.network.Stream`.

    Attributes:
        transport: the connection, for whoever takes it over.
    """

    __slots__ = ("_waiter", "transport")

    def __init__(self, transport: TcpTransport, waiter: Waiter) -> None:
        self.transport: TcpTransport = transport
        self._waiter = waiter

    @property
    def remote_address(self) -> tuple[str, int]:
        """See :class:`~amqp10.net.network.Stream`."""
        return self.transport.remote_address

    async def read(self, max_bytes: int, deadline: Deadline) -> bytes:
        """See :class:`~amqp10.net.network.Stream`."""
        while True:
            data = self.transport.recv(max_bytes)
            if data is not None:
                deadline.touch()
                return data
            self._waiter.wait(self.transport.fileno(), read=True, timeout=_left(deadline))

    async def write(self, data: bytes, deadline: Deadline) -> None:
        """See :class:`~amqp10.net.network.Stream`. Obeys the rate limit."""
        transport = self.transport
        rest = memoryview(data)
        while rest:
            sent = transport.send([rest])
            rest = rest[sent:]
            if sent:
                deadline.touch()
                continue
            left = _left(deadline)
            resume = transport.next_send_time()
            if resume is None:
                self._waiter.wait(transport.fileno(), write=True, timeout=left)
            else:  # held back by the rate limit, not by the socket
                pause = max(0.0, resume - deadline.clock())
                self._waiter.wait(timeout=pause if left is None else min(pause, left))
        transport.push()

    def offer(self, data: bytes) -> None:
        """See :class:`~amqp10.net.network.Stream`."""
        if data:
            with contextlib.suppress(AMQPError):
                self.transport.send([data])

    def abort(self) -> None:
        """See :class:`~amqp10.net.network.Stream`."""
        self.transport.close(graceful=False)


class BlockingNetwork:
    """See :class:`~amqp10.net.network.Network`.

    Args:
        waiter: does the waiting; the caller has called ``begin``.
        lookup: replaces the system's resolver.
    """

    __slots__ = ("_lookup", "_waiter")

    def __init__(self, waiter: Waiter, lookup: Lookup = system_lookup) -> None:
        self._waiter = waiter
        self._lookup = lookup

    def lookup(self, host: str, port: int, family: int) -> list[tuple[Any, ...]]:
        """See :class:`~amqp10.net.network.Network`."""
        return self._lookup(host, port, family)

    async def call(self, work: Callable[[], T], remaining: Callable[[], float | None], doing: str) -> T:
        """See :class:`~amqp10.net.network.Network`. The call is made in a daemon thread."""
        return call_in_thread(work, self._waiter, remaining, doing)

    async def connect(
        self, endpoint: Endpoint, local: Endpoint | None, options: TransportOptions, deadline: Deadline
    ) -> BlockingStream:
        """See :class:`~amqp10.net.network.Network`."""
        sock = prepare_socket(endpoint, local, options)
        try:
            code = begin_connecting(sock, endpoint)
            while code is None and not self._waiter.wait(sock.fileno(), write=True, timeout=_left(deadline))[1]:
                pass
            return BlockingStream(connected(sock, code, options, deadline.clock), self._waiter)
        except BaseException:
            sock.close()
            raise


def _left(deadline: Deadline) -> float | None:
    left = deadline.remaining()
    if left is not None and left <= 0:
        raise TimeIsUpError
    return left


def taken_over(dialled: Dialled[BlockingStream]) -> TcpTransport | TlsTransport:
    """The transport of an open connection, for a driver that takes it over. It never waits."""
    tcp = dialled.stream.transport
    if dialled.proxy_address is not None:
        tcp.tunnel_established(dialled.remote_address)
    if dialled.session is None:
        tcp.put_back(dialled.early)
        return tcp
    from amqp10.net.tls.transport import TlsTransport

    return TlsTransport(tcp, dialled.session, dialled.early)

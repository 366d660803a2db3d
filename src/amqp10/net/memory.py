"""A network for tests, without sockets, threads or a real clock: pairs of streams, and names that only it knows.

The code under test and its peers are coroutines. :meth:`MemoryNetwork.run` resumes them in turn; when all of them
wait, it moves its clock. So time-outs are exact and take no real time, and a test can interrupt at every ``await``.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from amqp10.errors import AMQPError, ConnectionDroppedError
from amqp10.net.network import TimeIsUpError

if TYPE_CHECKING:
    from amqp10.net.names import Endpoint
    from amqp10.net.options import TransportOptions
    from amqp10.net.waiting import Deadline

__all__ = ["MemoryNetwork", "MemoryStream", "stream_pair"]

T = TypeVar("T")

_CAPACITY = 65536
"""How many bytes may be in flight; writing more waits, as with a socket."""


class _Turn:
    """Lets the other coroutines run."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield


class MemoryStream:
    """One end of a pair. See :class:`~amqp10.net.network.Stream`.

    Attributes:
        remote_address: the address of the other end.
        closed: whether this end was closed, by :meth:`abort` or :meth:`finish`.
        broken: whether either end was aborted.
    """

    __slots__ = ("_arrived", "_ended", "_peer", "broken", "closed", "remote_address")

    def __init__(self, remote_address: tuple[str, int]) -> None:
        self.remote_address: tuple[str, int] = remote_address
        self.closed: bool = False
        self.broken: bool = False
        self._arrived = bytearray()
        self._ended = False
        self._peer: MemoryStream = self

    async def read(self, max_bytes: int, deadline: Deadline) -> bytes:
        """See :class:`~amqp10.net.network.Stream`."""
        await _Turn()
        while not self._arrived:
            self._check()
            if self._ended:
                return b""
            if deadline.expired:
                raise TimeIsUpError
            await _Turn()
        data = bytes(self._arrived[:max_bytes])
        del self._arrived[:max_bytes]
        deadline.touch()
        return data

    async def write(self, data: bytes, deadline: Deadline) -> None:
        """See :class:`~amqp10.net.network.Stream`."""
        await _Turn()
        while data:
            self._check()
            room = _CAPACITY - len(self._peer._arrived)
            if room > 0:
                self._peer._arrived += data[:room]
                data = data[room:]
                deadline.touch()
                continue
            if deadline.expired:
                raise TimeIsUpError
            await _Turn()

    def offer(self, data: bytes) -> None:
        """See :class:`~amqp10.net.network.Stream`."""
        if not self.broken:
            self._peer._arrived += data

    def finish(self) -> None:
        """End the stream in order: the other end reads what was written, and then the end."""
        self.closed = True
        self._peer._ended = True

    def abort(self) -> None:
        """See :class:`~amqp10.net.network.Stream`."""
        if not self.closed:
            self.closed = True
            self.broken = self._peer.broken = True

    def _check(self) -> None:
        if self.broken or self.closed:
            raise ConnectionDroppedError("the connection broke")


def stream_pair(
    here: tuple[str, int] = ("client", 0), there: tuple[str, int] = ("server", 0)
) -> tuple[MemoryStream, MemoryStream]:
    """Two streams: what one writes the other reads."""
    left, right = MemoryStream(there), MemoryStream(here)
    left._peer, right._peer = right, left
    return left, right


Peer = Callable[[MemoryStream], Coroutine[Any, Any, None]]


class MemoryNetwork:
    """See :class:`~amqp10.net.network.Network`.

    Args:
        peers: the peer that listens at each IP address and port; None for an address that never answers. Nobody
            listens at any other address.
        names: the addresses of each name.

    Attributes:
        now: the time, which moves only while everybody waits.
        streams: the client's ends of all connections that were made.
        asked: the names that were looked up.
        call_time: how many seconds a blocking call takes.
    """

    def __init__(
        self, peers: Mapping[tuple[str, int], Peer | None], names: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        self.now: float = 0.0
        self.streams: list[MemoryStream] = []
        self.asked: list[str] = []
        self.call_time: float = 0.0
        self._peers = peers
        self._names = names or {}
        self._running: list[Coroutine[Any, Any, None]] = []

    def clock(self) -> float:
        """The time."""
        return self.now

    def lookup(self, host: str, port: int, family: int) -> list[tuple[Any, ...]]:
        """See :class:`~amqp10.net.network.Network`."""
        self.asked.append(host)
        found: list[tuple[Any, ...]] = []
        for address in self._names.get(host, ()):
            kind = socket.AF_INET6 if ":" in address else socket.AF_INET
            if family in (socket.AF_UNSPEC, kind):
                found.append((kind, socket.SOCK_STREAM, 0, "", (address, port)))
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "there is no such name")
        return found

    async def call(self, work: Callable[[], T], remaining: Callable[[], float | None], doing: str) -> T:
        """See :class:`~amqp10.net.network.Network`."""
        del doing
        await _Turn()
        self.now += self.call_time
        if remaining() == 0:
            raise TimeIsUpError
        return work()

    async def connect(
        self, endpoint: Endpoint, local: Endpoint | None, options: TransportOptions, deadline: Deadline
    ) -> MemoryStream:
        """See :class:`~amqp10.net.network.Network`."""
        del local, options
        await _Turn()
        where = (endpoint.host, int(endpoint.address[1]))
        if where not in self._peers:
            raise AMQPError(10061, "connection refused")
        peer = self._peers[where]
        while peer is None:
            if deadline.expired:
                raise TimeIsUpError
            await _Turn()
        ours, theirs = stream_pair(("client", 0), where)
        self.streams.append(ours)
        self._running.append(_served(peer, theirs))
        return ours

    def run(self, work: Coroutine[Any, Any, T], interrupt: tuple[int, BaseException] | None = None) -> T:
        """Run a coroutine, and the peers that it connects to.

        Args:
            work: the code under test.
            interrupt: the step, counted from 0, at which to throw an exception into it, and the exception.
        """
        step = 0
        try:
            while True:
                before = self._moved()
                try:
                    if interrupt is not None and interrupt[0] == step:
                        work.throw(interrupt[1])
                    else:
                        work.send(None)
                except StopIteration as stop:
                    result: T = stop.value
                    return result
                step += 1
                for peer in tuple(self._running):
                    try:
                        peer.send(None)
                    except StopIteration:
                        self._running.remove(peer)
                if self._moved() == before:
                    self.now += 0.25
        finally:
            work.close()
            for peer in self._running:
                peer.close()
            self._running.clear()

    def _moved(self) -> list[tuple[int, int, bool, bool]]:
        return [(len(end._arrived), len(end._peer._arrived), end._ended, end.broken) for end in self.streams]


async def _served(peer: Peer, stream: MemoryStream) -> None:
    try:
        await peer(stream)
        stream.finish()
    except ConnectionDroppedError:
        return  # the program went away

"""The network of an event loop, for :mod:`amqp10.net.dial`: raw sockets that a driver takes over once they are open."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from amqp10.errors import AMQPError, ConnectionDroppedError
from amqp10.net.names import format_address
from amqp10.net.network import TimeIsUpError
from amqp10.net.resolve import Lookup, system_lookup
from amqp10.net.tcp import TcpTransport, connected, prepare_socket

if TYPE_CHECKING:
    from amqp10.net.names import Endpoint
    from amqp10.net.options import TransportOptions
    from amqp10.net.waiting import Deadline

__all__ = ["AioNetwork", "AioStream"]

T = TypeVar("T")


class AioStream:
    """A TCP connection on an event loop. See :class:`~amqp10.net.network.Stream`.

    Attributes:
        transport: the connection, for whoever takes over its socket.
    """

    __slots__ = ("_loop", "transport")

    def __init__(self, transport: TcpTransport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport: TcpTransport = transport
        self._loop = loop

    @property
    def remote_address(self) -> tuple[str, int]:
        """See :class:`~amqp10.net.network.Stream`."""
        return self.transport.remote_address

    async def read(self, max_bytes: int, deadline: Deadline) -> bytes:
        """See :class:`~amqp10.net.network.Stream`."""
        try:
            data = await _in_time(self._loop.sock_recv(self.transport.sock, max_bytes), deadline)
        except OSError as error:
            raise self._broken(error) from error
        deadline.touch()
        return data

    async def write(self, data: bytes, deadline: Deadline) -> None:
        """See :class:`~amqp10.net.network.Stream`."""
        try:
            await _in_time(self._loop.sock_sendall(self.transport.sock, data), deadline)
        except OSError as error:
            raise self._broken(error) from error
        deadline.touch()

    def _broken(self, error: OSError) -> ConnectionDroppedError:
        where = format_address(self.transport.remote_address)
        return ConnectionDroppedError(f"the connection to {where} broke: {error.strerror or error}")

    def offer(self, data: bytes) -> None:
        """See :class:`~amqp10.net.network.Stream`."""
        if data:
            with contextlib.suppress(AMQPError):
                self.transport.send([data])

    def abort(self) -> None:
        """See :class:`~amqp10.net.network.Stream`."""
        self.transport.close(graceful=False)


class AioNetwork:
    """See :class:`~amqp10.net.network.Network`. Made and used in tasks of one loop.

    Args:
        lookup: replaces the system's resolver.
    """

    __slots__ = ("_lookup", "_loop")

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        self._loop = asyncio.get_running_loop()
        self._lookup = lookup

    def lookup(self, host: str, port: int, family: int) -> list[tuple[Any, ...]]:
        """See :class:`~amqp10.net.network.Network`."""
        return self._lookup(host, port, family)

    async def call(self, work: Callable[[], T], remaining: Callable[[], float | None], doing: str) -> T:
        """See :class:`~amqp10.net.network.Network`. The call is made in a daemon thread and not in the loop's
        executor: for those the interpreter waits at its end, half a minute for a resolver that gets no answer."""
        loop = self._loop
        future: asyncio.Future[T] = loop.create_future()

        def settle(result: list[T], error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result[0])

        def run() -> None:
            result: list[T] = []
            failure: BaseException | None = None
            try:
                result.append(work())
            except BaseException as error:  # noqa: BLE001 - raised where it is awaited
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
                loop.call_soon_threadsafe(settle, result, failure)

        try:
            threading.Thread(target=run, name=f"amqp10 {doing}", daemon=True).start()
        except RuntimeError as error:
            raise AMQPError(10055, f"no thread could be started for {doing}: {error}") from error
        try:
            await asyncio.wait((future,), timeout=remaining())
            if not future.done():
                raise TimeIsUpError
            return future.result()
        finally:
            future.cancel()

    async def connect(
        self, endpoint: Endpoint, local: Endpoint | None, options: TransportOptions, deadline: Deadline
    ) -> AioStream:
        """See :class:`~amqp10.net.network.Network`."""
        sock = prepare_socket(endpoint, local, options)
        try:
            code: int | None = 0
            try:
                await _in_time(self._loop.sock_connect(sock, endpoint.address), deadline)
            except OSError as error:
                code = error.errno
            return AioStream(connected(sock, code, options, deadline.clock), self._loop)
        except BaseException:
            sock.close()
            raise


async def _in_time(work: Awaitable[T], deadline: Deadline) -> T:
    limit = asyncio.timeout(deadline.remaining())
    try:
        async with limit:
            return await work
    except TimeoutError:
        if limit.expired():  # otherwise it is the system's: ETIMEDOUT
            raise TimeIsUpError from None
        raise

"""A driver of the client's core on asyncio streams, as short as it can be: the rest is in ``client`` and ``net``.

It shares nothing with ``amqp10.aio``, whose driver also writes once per turn of the loop, keeps heartbeats while the
loop is blocked, and holds back senders when the socket is full.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from amqp10.client.incarnation import Incarnation
from amqp10.client.options import Address
from amqp10.errors import AMQPError, AMQPTimeoutError, ConnectionDroppedError
from amqp10.net.dial import dial
from amqp10.net.direct import Dialled
from amqp10.net.names import Endpoint
from amqp10.net.network import SecureSession, TimeIsUpError
from amqp10.net.options import TransportOptions
from amqp10.net.resolve import system_lookup
from amqp10.net.waiting import Deadline

T = TypeVar("T")


async def in_time(work: Awaitable[T], seconds: float | None) -> T:
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError:
        raise TimeIsUpError from None
    except OSError as error:
        raise ConnectionDroppedError(str(error)) from error


class SmallStream:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.remote_address: tuple[str, int] = writer.get_extra_info("peername")[:2]

    async def read(self, max_bytes: int, deadline: Deadline) -> bytes:
        return await in_time(self.reader.read(max_bytes), deadline.remaining())

    async def write(self, data: bytes, deadline: Deadline) -> None:
        self.writer.write(data)
        await in_time(self.writer.drain(), deadline.remaining())

    def offer(self, data: bytes) -> None:
        self.writer.write(data)

    def abort(self) -> None:
        self.writer.transport.abort()


class SmallNetwork:
    def lookup(self, host: str, port: int, family: int) -> list[tuple[Any, ...]]:
        return system_lookup(host, port, family)

    async def call(self, work: Callable[[], T], remaining: Callable[[], float | None], _doing: str) -> T:
        return await in_time(asyncio.to_thread(work), remaining())

    async def connect(self, to: Endpoint, _local: Any, _options: TransportOptions, limit: Deadline) -> SmallStream:
        return SmallStream(*await in_time(asyncio.open_connection(to.host, to.address[1]), limit.remaining()))


class SmallWait:
    def __init__(self) -> None:
        self.event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        return self.event.is_set()

    def set(self) -> None:
        self.event.set()

    async def wait(self, deadline: float | None) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self.event.wait()
        except TimeoutError:
            raise AMQPTimeoutError("not in time") from None


class SmallTransport:
    def __init__(self, driver: SmallDriver, dialled: Dialled[SmallStream]) -> None:
        self.driver, self.dialled, self.stream = driver, dialled, dialled.stream

    def start(self, incarnation: Incarnation) -> None:
        self.incarnation, self.driver.transport = incarnation, self
        self.task = asyncio.create_task(self.pump())

    async def pump(self) -> None:
        tls, data, error = self.dialled.session, self.dialled.early, None
        self.flush()
        with contextlib.suppress(OSError):
            while True:
                if data:
                    self.incarnation.received(data)
                    self.flush()
                due = self.incarnation.engine.next_deadline()
                try:
                    async with asyncio.timeout_at(due):
                        data = await self.stream.reader.read(65536)
                except TimeoutError:
                    self.incarnation.tick()
                    self.flush()
                    data = b""
                    continue
                if not data:
                    break
                try:
                    data = b"".join(tls.feed(data)) if tls is not None else data
                except AMQPError as broken:
                    error = broken
                    break
        self.incarnation.lost(error)

    def flush(self) -> None:
        buffers = self.incarnation.engine.data_to_send(self.driver.clock())
        tls = self.dialled.session
        if tls is not None and buffers:
            tls.write(buffers)
            buffers = [tls.data_to_send()]
        self.stream.writer.writelines(buffers)

    def close(self) -> None:
        self.flush()
        self.stream.writer.close()
        self.task.cancel()

    def abort(self) -> None:
        self.stream.abort()
        self.task.cancel()


class SmallDriver:
    def __init__(self, options: TransportOptions, secure: Callable[[Address], SecureSession | None]) -> None:
        self.options, self.secure = options, secure
        self.transport: SmallTransport | None = None
        self.clock = asyncio.get_running_loop().time
        self.new_wait = SmallWait
        self.tasks: list[asyncio.Task[None]] = []

    def kick(self) -> None:
        if self.transport is not None:
            self.call(self.transport.flush)

    def call(self, callback: Callable[..., object], *arguments: object) -> None:
        asyncio.get_running_loop().call_soon(callback, *arguments)

    async def open(self, where: Address, deadline: float | None) -> SmallTransport:
        limit = Deadline(None if deadline is None else deadline - self.clock(), clock=self.clock, absolute=True)
        session = self.secure(where)
        dialled = await dial(where.host, where.port, self.options, SmallNetwork(), limit, session=session)
        return SmallTransport(self, dialled)

    async def ask(self, token: Callable[[], Any]) -> str:
        return str(await token())

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(work))

    def finish(self) -> None:
        for task in self.tasks:
            task.cancel()

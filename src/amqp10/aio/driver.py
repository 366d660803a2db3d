"""The asyncio driver: bytes between a transport of the event loop and the core, and the time.

Output is written once per turn of the loop. All deadlines of a connection share one timer of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from amqp10.aio.guardian import GUARDIAN
from amqp10.aio.network import AioNetwork
from amqp10.client.options import Address, Default
from amqp10.errors import AMQPError, AMQPTimeoutError, ConnectionDroppedError, ConnectionLostError, code_from_errno
from amqp10.net.dial import dial
from amqp10.net.options import TransportOptions
from amqp10.net.proxy.url import proxy_of_url
from amqp10.net.transport import RECEIVE_SIZE
from amqp10.net.waiting import Deadline
from amqp10.wire.frames import EMPTY_FRAME

if TYPE_CHECKING:
    from amqp10.client.core import ClientCore
    from amqp10.client.incarnation import Incarnation
    from amqp10.engine.output import Output
    from amqp10.net.network import SecureSession
    from amqp10.net.tls.choice import SessionMaker

__all__ = ["AioDriver"]

T = TypeVar("T")

_FLUSH_SIZE: Final = 64 * 1024
_FLUSH_COUNT: Final = 256
_HIGH_WATER: Final = 256 * 1024
_STALE_KEPT: Final = 512
"""How many deadlines that nobody waits for any more may stay in the heap beside as many live ones."""


class AioWait:
    """Something that happens once, as a future that is made when somebody waits for it."""

    __slots__ = ("_driver", "_future", "is_set")

    def __init__(self, driver: AioDriver) -> None:
        self._driver = driver
        self._future: asyncio.Future[None] | None = None
        self.is_set: bool = False

    def set(self) -> None:
        self.is_set = True
        future = self._future
        if future is not None and not future.done():
            future.set_result(None)

    async def wait(self, deadline: float | None) -> None:
        if self.is_set:
            return
        driver = self._driver
        driver.before_wait()
        future = self._future = driver.loop.create_future()
        if deadline is None:
            await future
            return
        entry = driver.add_deadline(deadline, future)
        try:
            await future
        finally:
            driver.drop_deadline(entry)


class _Deadline:
    __slots__ = ("future", "when")

    def __init__(self, when: float, future: asyncio.Future[None]) -> None:
        self.when: float = when
        self.future: asyncio.Future[None] | None = future

    def __lt__(self, other: _Deadline) -> bool:
        return self.when < other.when


class AioDriver:
    """What the core needs of the world, on an event loop. Used from tasks of that loop only."""

    def __init__(self, sessions: SessionMaker | None, proxy: str | None = None) -> None:
        self.tcp: TransportOptions = TransportOptions(use_ipv6=2, tcp_no_delay=True)
        if proxy is not None:
            self.tcp.proxy = proxy_of_url(proxy)
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.thread: int = threading.get_ident()
        self.sessions: SessionMaker | None = sessions
        self.core: ClientCore | None = None
        self.transport: AioTransport | None = None
        self._deadlines: list[_Deadline] = []
        self._stale = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._flushing = False
        """Whether output is there that waits for the end of the turn."""
        self._held = False
        """Whether an operation runs that has not waited yet: it writes when it does, which saves a turn of the loop."""
        self._work: asyncio.Task[None] | None = None

    # -- what the core asks for ------------------------------------------------------------------------------------

    def clock(self) -> float:
        return self.loop.time()

    def new_wait(self) -> AioWait:
        return AioWait(self)

    def kick(self) -> None:
        if not self._flushing:
            self._flushing = True
            if not self._held:
                self.loop.call_soon(self._flush)
            return
        transport = self.transport
        if transport is not None and transport.overfull():
            transport.flush()

    def _flush(self) -> None:
        self._flushing = False
        transport = self.transport
        if transport is not None:
            transport.flush()

    def _release(self) -> None:
        """The operation has waited, or will not: what is left is written at the end of the turn."""
        if self._held:
            self._held = False
            if self._flushing:
                self.loop.call_soon(self._flush)

    def before_wait(self) -> None:
        """Somebody is about to wait. When nobody else does, what it waits for had better go out now than at the end
        of the turn; many share one write."""
        held, self._held = self._held, False
        if not self._flushing:
            return
        transport = None if self._live_deadlines() else self.transport
        if transport is None:
            if held:
                self.loop.call_soon(self._flush)
        elif held:
            self._flush()
        else:
            transport.flush()

    async def open(self, where: Address, deadline: float | None) -> AioTransport:
        transport = AioTransport(self)
        limit = None if deadline is None else deadline - self.loop.time()
        await transport.connect(where, Deadline(limit, clock=self.loop.time, absolute=True))
        return transport

    async def ask(self, token: Callable[[], str | Awaitable[str]]) -> str:
        value = token()
        return value if isinstance(value, str) else await value

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = self.loop.create_task(work, name="amqp10 recovery")

    def call(self, callback: Callable[..., object], *arguments: object) -> None:
        self.loop.call_soon(callback, *arguments)

    def finish(self) -> None:
        GUARDIAN.forget(self)
        work = self._work
        if work is not None and not work.done() and asyncio.current_task(self.loop) is not work:
            work.cancel()
        if self._timer is not None and not self._live_deadlines():
            self._timer.cancel()
            self._timer = None

    # -- for the public classes ------------------------------------------------------------------------------------

    def check_thread(self) -> None:
        """Every method is for tasks of the one loop.

        Raises:
            AMQPError: this is another thread.
        """
        if threading.get_ident() != self.thread:
            raise AMQPError(211, "this connection belongs to an event loop; other threads use the blocking API")

    async def run(self, operation: Coroutine[Any, Any, T]) -> T:
        """Await an operation of the core. What it sends before it first waits is written when it does."""
        if threading.get_ident() != self.thread:
            operation.close()
            self.check_thread()
        self._held = True
        try:
            return await operation
        finally:
            self._release()

    def call_core(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call something of the core that does not wait."""
        self.check_thread()
        return function(*arguments)

    def deadline(self, timeout: float | Default | None) -> float | None:
        """When a time-out of this many seconds is over."""
        core = self.core
        if isinstance(timeout, Default):
            timeout = core.options.timeout if core is not None else None
        return None if timeout is None else self.loop.time() + timeout

    # -- time ------------------------------------------------------------------------------------------------------

    def add_deadline(self, when: float, future: asyncio.Future[None]) -> _Deadline:
        entry = _Deadline(when, future)
        heapq.heappush(self._deadlines, entry)
        self._arm(when)
        return entry

    def drop_deadline(self, entry: _Deadline) -> None:
        if entry.future is None:
            return
        entry.future = None
        self._stale += 1
        if self._stale > _STALE_KEPT and self._stale * 2 > len(self._deadlines):
            self._deadlines = [left for left in self._deadlines if left.future is not None]
            heapq.heapify(self._deadlines)
            self._stale = 0

    def _live_deadlines(self) -> bool:
        return len(self._deadlines) > self._stale

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self.loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = self.loop.time()
        deadlines = self._deadlines
        while deadlines and (deadlines[0].future is None or deadlines[0].when <= now):
            entry = heapq.heappop(deadlines)
            future, entry.future = entry.future, None
            if future is None:
                self._stale -= 1
            elif not future.done():
                future.set_exception(AMQPTimeoutError("the operation did not finish in time"))
        if deadlines:
            self._arm(deadlines[0].when)
        transport = self.transport
        if transport is not None:
            transport.check_time(now)

    def watch(self, when: float) -> None:
        """The engine wants to be asked at this time."""
        self._arm(when)


class AioTransport(asyncio.BufferedProtocol):
    """One TCP connection, with TLS where it is asked for."""

    def __init__(self, driver: AioDriver) -> None:
        self.driver = driver
        self.lock: threading.Lock = threading.Lock()
        """Held while bytes are encrypted or handed to the transport; the guardian writes only when it is free."""
        self._transport: asyncio.Transport | None = None
        self._tls: SecureSession | None = None
        self._incarnation: Incarnation | None = None
        self._output: Output | None = None
        self._plain = b""
        """What came with the end of the handshake."""
        self._early: list[bytes] = []
        """What came between connecting and the start, as it came."""
        self._over = False
        self._error: AMQPError | None = None
        self._duplicate: socket.socket | None = None
        self._rest = b""
        self._buffer = memoryview(bytearray(RECEIVE_SIZE))
        """What is read into: the loop itself would have the system map a buffer of this size for each read."""
        self.last_written: float = 0.0

    # -- connecting ------------------------------------------------------------------------------------------------

    async def connect(self, where: Address, deadline: Deadline) -> None:
        driver = self.driver
        session = None
        if where.secure and driver.sessions is not None:
            session = driver.sessions(where.host)
        dialled = await dial(where.host, where.port, driver.tcp, AioNetwork(), deadline, session=session)
        self._tls = session
        self._plain = dialled.early
        try:
            await driver.loop.create_connection(lambda: self, sock=dialled.stream.transport.sock)
        except BaseException:
            dialled.stream.abort()
            self.abort()
            raise

    # -- the event loop's side -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No isinstance(): the transports of uvloop have the methods and not the base class.
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._arrived(bytes(self._buffer[:nbytes]))

    def _arrived(self, data: bytes) -> None:
        if self._over:
            return
        incarnation = self._incarnation
        if incarnation is None:
            self._early.append(data)
            return
        tls = self._tls
        if tls is not None:
            try:
                with self.lock:
                    data = b"".join(tls.feed(data))
            except AMQPError as error:
                self._end(error)
                return
            if data:
                incarnation.received(data)
            if tls.ended:
                self._end(None)
            return
        incarnation.received(data)

    def eof_received(self) -> bool:
        self._end(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self._end(None)
            return
        error: AMQPError
        if isinstance(exc, OSError):
            code = code_from_errno(exc.errno) if exc.errno is not None else 1120
            error = ConnectionDroppedError(f"the connection was lost: {exc}", code=code)
        else:
            # Something in here raised it, and would again: there is nothing to wait for.
            error = ConnectionLostError(f"the connection was stopped by a fault: {type(exc).__name__}: {exc}")
        error.__cause__ = exc
        self._end(error)

    def _end(self, error: AMQPError | None) -> None:
        if self._over:
            return
        self._over = True
        self._error = error
        incarnation = self._incarnation
        if incarnation is not None:
            incarnation.lost(error)
        self.abort()

    def pause_writing(self) -> None:
        core = self.driver.core
        if core is not None:
            core.pause_sending()

    def resume_writing(self) -> None:
        core = self.driver.core
        if core is not None:
            core.resume_sending()

    # -- the core's side -------------------------------------------------------------------------------------------

    def start(self, incarnation: Incarnation) -> None:
        self._incarnation = incarnation
        self._output = incarnation.engine.output
        self.driver.transport = self
        if self._over:
            self.driver.loop.call_soon(incarnation.lost, self._error)
        elif self._plain or self._early or (self._tls is not None and self._tls.ended):
            self.driver.loop.call_soon(self._replay)

    def _replay(self) -> None:
        plain, self._plain = self._plain, b""
        early, self._early = b"".join(self._early), []
        if plain and self._incarnation is not None and not self._over:
            self._incarnation.received(plain)
        if early:
            self._arrived(early)
        elif self._tls is not None and self._tls.ended:
            self._end(None)

    def overfull(self) -> bool:
        """Whether so much is queued that it is better written now than at the end of the turn."""
        output = self._output
        if output is None:
            return False
        buffers = output.buffers
        return len(buffers) >= _FLUSH_COUNT or (bool(buffers) and len(buffers[-1]) >= _FLUSH_SIZE)

    def flush(self) -> None:
        incarnation = self._incarnation
        if incarnation is None or self._over:
            return
        engine = incarnation.engine
        incarnation.core.before_flush()
        buffers = engine.data_to_send(self.driver.loop.time())
        if buffers:
            self._send(b"".join(buffers) if len(buffers) > 1 else bytes(buffers[0]))
        due = engine.next_deadline()
        if due is not None:
            self.driver.watch(due)
            if engine.idle.remote_timeout > 0 and self._duplicate is None:
                self._guard()

    def _send(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or not data or transport.is_closing():
            return
        with self.lock:
            tls = self._tls
            if tls is not None:
                data = _encrypted(tls, data)
            if self._rest:
                data, self._rest = self._rest + data, b""
            self.last_written = time.monotonic()
            transport.write(data)

    def close(self) -> None:
        self.flush()
        self._drop(abort=False)

    def abort(self) -> None:
        self._drop(abort=True)

    def _drop(self, *, abort: bool) -> None:
        self._over = True
        if self.driver.transport is self:
            self.driver.transport = None
        with self.lock:
            duplicate, self._duplicate = self._duplicate, None
        if duplicate is not None:
            duplicate.close()
        transport = self._transport
        if transport is not None:
            if abort:
                transport.abort()
            else:
                transport.close()

    # -- time ------------------------------------------------------------------------------------------------------

    def check_time(self, now: float) -> None:
        """Called when something is due, after what the loop has read has been handled."""
        incarnation = self._incarnation
        if incarnation is None or self._over:
            return
        due = incarnation.engine.next_deadline()
        if due is None:
            return
        if due <= now:
            incarnation.tick()
            self.flush()
            due = None if self._over else incarnation.engine.next_deadline()
        if due is not None:
            self.driver.watch(due)

    # -- the guardian's side: another thread -----------------------------------------------------------------------

    def _guard(self) -> None:
        assert self._transport is not None
        sock = self._transport.get_extra_info("socket")
        if sock is None:
            return
        self._duplicate = socket.fromfd(sock.fileno(), sock.family, sock.type)
        self._duplicate.setblocking(False)
        assert self._incarnation is not None
        GUARDIAN.watch(self.driver, self, self._incarnation.engine)

    def in_use(self) -> bool:
        """See :class:`amqp10.aio.guardian.Guarded`."""
        if not self.driver.loop.is_closed():
            return True
        duplicate, self._duplicate = self._duplicate, None
        if duplicate is not None:
            duplicate.close()
        return False

    def keep_alive(self) -> None:
        """Write an empty frame if nothing else is being written. The loop is busy with something else."""
        if not self.lock.acquire(blocking=False):
            return
        try:
            transport, duplicate = self._transport, self._duplicate
            if duplicate is None or transport is None or self._over or self._rest:
                return
            if transport.is_closing() or transport.get_write_buffer_size():
                return
            frame = EMPTY_FRAME if self._tls is None else _encrypted(self._tls, EMPTY_FRAME)
            sent = 0
            # A full buffer means that bytes are on their way: the peer hears something.
            with contextlib.suppress(BlockingIOError, InterruptedError):
                sent = duplicate.send(frame)
            if sent < len(frame) and (sent or self._tls is not None):
                self._rest = frame[sent:]
        finally:
            self.lock.release()


def _encrypted(tls: SecureSession, data: bytes) -> bytes:
    tls.write([data])
    return tls.data_to_send()

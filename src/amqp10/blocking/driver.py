"""The blocking driver: one thread per connection reads and keeps the time; callers write themselves, under the lock.

A call runs the core's coroutines in its own thread (:func:`amqp10.client.wait.run`) and lets the lock go while it
waits. Callbacks of the program run on the thread of the connection, without the lock.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakSet

from amqp10.blocking.transport import BlockingTransport
from amqp10.client.options import Address, Default
from amqp10.client.wait import Pause, run
from amqp10.errors import AMQPError, AMQPTimeoutError, ConnectionDroppedError, ConnectionLostError, InterruptedCallError
from amqp10.net.options import TransportOptions
from amqp10.net.proxy.url import proxy_of_url
from amqp10.net.waiting import Deadline, Waiter

if TYPE_CHECKING:
    from amqp10.client.core import ClientCore
    from amqp10.net.tls.choice import SessionMaker

__all__ = ["BlockingDriver"]

logger: logging.Logger = logging.getLogger("amqp10.client")

T = TypeVar("T")

FLUSH_COUNT: Final = 128
_FLUSH_DELAY: Final = 0.001
"""Seconds after which the connection's thread writes what callers have left."""
_JOIN_TIME: Final = 2.0
_LONGEST_WAIT: Final = 3600.0

_new_gate: Final = threading.Lock
"""What a caller waits at. Tests put in one that is interrupted."""

_drivers: WeakSet[BlockingDriver] = WeakSet()


class _ParentsLock:
    """Stands for the lock of a connection that a fork has brought into a child: the child must not touch it."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        raise AMQPError(211, "this connection belongs to the parent process: connect after the fork")

    def release(self) -> None:
        return

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *args: object) -> None:
        return


def _forked() -> None:
    for driver in list(_drivers):
        driver.lock = _ParentsLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class _Step:
    """What belongs to a step under the lock: ``with driver.lock, driver.step``.

    The lock is entered as such, because only then no exception of a signal handler comes between taking it and the
    block that lets it go.
    """

    __slots__ = ("_driver",)

    def __init__(self, driver: BlockingDriver) -> None:
        self._driver = driver

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        driver = self._driver
        try:
            if error is None:
                driver.leave()
            else:
                driver.failed(error)
        except BaseException as interruption:
            driver.failed(interruption)
            raise


class BlockingWait:
    """Something that happens once. Set under the driver's lock."""

    __slots__ = ("_driver", "gate", "is_set")

    def __init__(self, driver: BlockingDriver) -> None:
        self._driver = driver
        self.gate: threading.Lock | None = None
        self.is_set: bool = False

    def set(self) -> None:
        if self.is_set:
            return
        self.is_set = True
        if self.gate is not None:
            self.gate.release()
        elif self._driver.awaited is self:
            self._driver.wake()

    def wait(self, deadline: float | None) -> Pause:
        return Pause(self, deadline)


class BlockingDriver:
    """What the core needs of the world, for callers that block, in any thread."""

    def __init__(self, sessions: SessionMaker | None, proxy: str | None = None) -> None:
        self._tcp = TransportOptions(use_ipv6=2, tcp_no_delay=True)
        if proxy is not None:
            self._tcp.proxy = proxy_of_url(proxy)
        # A lock that knows who holds it: after an interruption there is no other way to tell.
        self.lock: threading.RLock | _ParentsLock = threading.RLock()
        self.step: _Step = _Step(self)
        _drivers.add(self)
        self.sessions = sessions
        self.core: ClientCore | None = None
        self.transport: BlockingTransport | None = None
        self.awaited: Any = None
        """What the recovery waits for."""
        self._thread: threading.Thread | None = None
        self._ident: int | None = None
        self._waiter = Waiter()
        self._dialling: Waiter | None = None
        self._work: Coroutine[Any, Any, None] | None = None
        self._pause: Pause | None = None
        self._calls: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self.kicks: int = 0
        self.flush_at: float | None = None
        self._finished = False
        self._thread_over = False
        """Whether the connection's thread does nothing any more."""
        self._ending: list[BlockingTransport] = []
        self.expected: BaseException | None = None
        """What interrupted a wait: it was raised where that is allowed for."""

    # -- what the core asks for ------------------------------------------------------------------------------------

    def clock(self) -> float:
        return time.monotonic()

    def new_wait(self) -> BlockingWait:
        return BlockingWait(self)

    def kick(self) -> None:
        self.kicks += 1
        transport = self.transport
        if transport is not None and transport.overfull():
            self._flush()

    async def open(self, where: Address, deadline: float | None) -> BlockingTransport:
        """Runs in the thread that asks, without the lock; nothing else can be done with the connection meanwhile."""
        waiter = Waiter()
        # Before anybody can interrupt it: this forgets interruptions.
        waiter.begin()
        self._dialling = waiter
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        limit = Deadline(left, absolute=True)
        sessions = self.sessions if where.secure else None
        transport: BlockingTransport | None = None
        try:
            self.lock.release()
            transport = BlockingTransport.connect(self, where, self._tcp, sessions, limit, waiter)
            self.lock.acquire()
        except BaseException as error:
            self._hold(error)
            if transport is not None:
                transport.abort()
            if isinstance(error, InterruptedCallError):
                raise ConnectionDroppedError("the connection is not wanted any more") from None
            raise
        finally:
            self._dialling = None
            waiter.close()
        return transport

    async def ask(self, token: Callable[[], str | Awaitable[str]]) -> str:
        """The program's function runs without the lock: it may wait for somebody else."""
        try:
            self.lock.release()
            value = token()
            self.lock.acquire()
        except BaseException as error:
            self._hold(error)
            raise
        if not isinstance(value, str):
            raise TypeError("token() of the blocking API gives the token itself, not something to await")
        return value

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = work
        self._pause = None
        self._start_thread()
        self.wake()

    def call(self, callback: Callable[..., object], *arguments: object) -> None:
        self._calls.append((callback, arguments))
        self.wake()

    def finish(self) -> None:
        self._finished = True
        if self._dialling is not None:
            self._dialling.interrupt()
        self.wake()

    # -- callers ---------------------------------------------------------------------------------------------------

    def _hold(self, interruption: BaseException) -> None:
        """Take the lock again after an interruption, which may have come on either side of letting it go or of taking
        it back. A further interruption meanwhile adds nothing to the first, which is raised."""
        while True:
            try:
                with contextlib.suppress(RuntimeError):  # this thread does not have it
                    self.lock.release()
                self.lock.acquire()
                self.expected = interruption
            except BaseException:  # noqa: BLE001 - see above
                continue
            return

    def failed(self, error: BaseException) -> None:
        """A step has raised. Called before the lock is let go, instead of :meth:`leave`. When the step was interrupted
        in the middle, nobody knows how far it came, and the connection needs a recovery."""
        expected, self.expected = self.expected, None
        if not isinstance(error, Exception) and error is not expected:
            self.damaged()
        self.leave()

    def leave(self) -> None:
        """Called before the lock is let go: what was sent is written now, or soon by the connection's thread."""
        if self.kicks:
            if self.kicks >= FLUSH_COUNT or self._thread is None:
                self._flush()
            elif self.flush_at is None:
                self.flush_at = time.monotonic() + _FLUSH_DELAY
                self.wake()

    def damaged(self) -> None:
        """A step was interrupted in the middle: the state of the connection is not to be trusted."""
        core = self.core
        if core is not None and core.incarnation is not None:
            core.incarnation.lost(ConnectionDroppedError("a call was interrupted while it changed the connection"))

    def run(self, operation: Coroutine[Any, Any, T]) -> T:
        """Run an operation of the core, and wait as long as it does.

        Raises:
            AMQPError: 135, this is a callback, which must not wait.
        """
        if threading.get_ident() == self._ident:
            operation.close()
            raise AMQPError(135, "a callback runs on the connection's own thread and must not wait for it")
        try:
            with self.lock, self.step:
                try:
                    return run(operation, self._block)
                finally:
                    operation.close()
        finally:
            operation.close()
            if self._finished or self._thread is None:
                self._after_call()

    def _after_call(self) -> None:
        if self._thread is None:
            self._run_calls()
            if self._finished:
                self._waiter.close()
        elif self._finished and threading.get_ident() != self._ident:
            self._thread.join(_JOIN_TIME)

    def call_core(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call something of the core that does not wait."""
        with self.lock, self.step:
            return function(*arguments)

    def deadline(self, timeout: float | Default | None) -> float | None:
        """When a time-out of this many seconds is over."""
        core = self.core
        if isinstance(timeout, Default):
            timeout = core.options.timeout if core is not None else None
        return None if timeout is None else time.monotonic() + timeout

    def _block(self, pause: Pause) -> None:
        wait: Any = pause.wait
        if wait.is_set:
            return
        gate = wait.gate = _new_gate()
        gate.acquire()
        if self.kicks:
            self._flush()
        left = -1.0
        if pause.deadline is not None:
            left = min(max(0.0, pause.deadline - time.monotonic()), threading.TIMEOUT_MAX)
        try:
            self.lock.release()
            gate.acquire(timeout=left)
            self.lock.acquire()
        except BaseException as error:
            self._hold(error)
            raise
        if not wait.is_set:
            raise AMQPTimeoutError("the operation did not finish in time")

    # -- output ----------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        self.kicks = 0
        self.flush_at = None
        transport = self.transport
        if transport is not None:
            transport.flush()

    # -- the connection's thread -----------------------------------------------------------------------------------

    def wake(self) -> None:
        """Have the connection's thread look."""
        if threading.get_ident() != self._ident:
            self._waiter.interrupt()

    def started(self, transport: BlockingTransport) -> None:
        """A transport carries the connection now."""
        self.transport = transport
        self._start_thread()
        self.wake()

    def ended(self, transport: BlockingTransport) -> None:
        """A transport does not any more; its socket is closed by the connection's thread, which may be waiting for
        it."""
        if self.transport is transport:
            self.transport = None
        if self._thread is None or threading.get_ident() == self._ident:
            transport.dispose()
        else:
            self._ending.append(transport)
            self.wake()

    def _start_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="amqp10 connection", daemon=True)
            self._thread.start()

    def _main(self) -> None:
        self._ident = threading.get_ident()
        self._waiter.begin()
        try:
            while self._turn():
                pass
        except BaseException:
            # A fault in here: whoever waits must not wait for ever.
            with self.lock:
                self._give_up()
            raise
        finally:
            with self.lock:
                self._thread_over = True
                for transport in self._ending:
                    transport.dispose()
                self._ending.clear()
            self.run_left()
            self._waiter.close()

    def _give_up(self) -> None:
        core = self.core
        if core is None:
            return
        error = ConnectionLostError("the thread of the connection was stopped by a fault")
        try:
            if core.incarnation is not None:
                core.incarnation.lost(error)
        finally:
            core.fail(error)

    def _turn(self) -> bool:
        with self.lock:
            self._step_work()
            if self.flush_at is not None or self.kicks:
                self._write_left()
            for transport in self._ending:
                transport.dispose()
            self._ending.clear()
            calls = bool(self._calls)
            carrier = self.transport
            if self._finished and carrier is None and self._work is None and not calls:
                self._thread_over = True
                return False
            fd, write, timeout = self._plan(carrier)
        if calls:
            self._run_calls()
            return True
        try:
            readable, writable = self._waiter.wait(fd, read=fd >= 0, write=write, timeout=timeout)
        except InterruptedCallError:
            return True
        if carrier is not None:
            self._serve(carrier, readable or carrier.buffered, writable)
        return True

    def _write_left(self) -> None:
        """What callers have left is written when it is a moment old: more may come, and they write themselves."""
        if self.flush_at is None or time.monotonic() >= self.flush_at or self._finished:
            self._flush()

    def _plan(self, carrier: BlockingTransport | None) -> tuple[int, bool, float]:
        now = time.monotonic()
        times: list[float] = [now + _LONGEST_WAIT]
        if self.flush_at is not None:
            times.append(self.flush_at)
        if self._pause is not None and self._pause.deadline is not None:
            times.append(self._pause.deadline)
        fd, write = -1, False
        if carrier is not None:
            fd, write = carrier.fileno(), carrier.unsent
            due = carrier.next_deadline()
            if due is not None:
                times.append(due)
            if carrier.buffered:
                times.append(now)
        return fd, write, max(0.0, min(times) - now)

    def _serve(self, carrier: BlockingTransport, readable: bool, writable: bool) -> None:
        if not readable:
            with self.lock:
                if self.transport is not carrier:
                    return
                due = carrier.next_deadline()
                late = due is not None and time.monotonic() >= due
                if writable:
                    carrier.flush()
                if not late:
                    return
        # A peer is judged silent only after a look at what has arrived: this process may have been stopped.
        data, error = carrier.read()
        with self.lock:
            if self.transport is not carrier:
                return
            carrier.arrived(data, error)
            if self.transport is carrier:
                carrier.tick(time.monotonic())
                self.kicks = 0
                self.flush_at = None
                if self.transport is carrier:
                    carrier.flush()

    def _step_work(self) -> None:
        """Run the recovery as far as it goes."""
        while self._work is not None:
            work, pause = self._work, self._pause
            try:
                if pause is None or pause.wait.is_set:
                    following = work.send(None)
                elif pause.deadline is not None and time.monotonic() >= pause.deadline:
                    following = work.throw(AMQPTimeoutError("the time is up"))
                else:
                    return
            except StopIteration:
                if self._work is work:
                    self._work = self._pause = self.awaited = None
                continue
            self._pause = following
            self.awaited = following.wait

    def run_left(self) -> None:
        """Run callbacks that came when the connection's thread had ended: in the caller's. Without the lock."""
        if self._thread_over:
            self._run_calls()

    def _run_calls(self) -> None:
        while True:
            try:
                callback, arguments = self._calls.popleft()
            except IndexError:
                return
            try:
                callback(*arguments)
            except Exception:
                logger.exception("a callback of the program failed")

"""The blocking driver: one thread per connection keeps the time; callers write themselves, under the lock.

A call runs the core's coroutines in its own thread (:func:`amqp10.client.wait.run`) and lets the lock go while it
waits. One caller that waits reads from the socket for everybody, which saves waking two threads for each answer; while
there is none, or none in a hurry, the thread of the connection reads. Whoever reads has the lock, so it does not matter
who it is. Callbacks of the program run on the thread of the connection, without the lock.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from amqp10.blocking.fork import ParentsLock, is_owned, locked_in_children
from amqp10.blocking.interruption import Step, is_interruption
from amqp10.blocking.transport import BlockingTransport
from amqp10.blocking.watch import Watch
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
_LOOK: Final = 0.1
"""Seconds after which the connection's thread looks after a caller that reads."""

_new_gate: Final = threading.Lock
"""What a caller waits at. Tests put in one that is interrupted."""


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
        driver = self._driver
        if self.gate is not None:
            self.gate.release()
        elif driver.polling is self:
            driver.watch.wake_borrower()
        elif driver.awaited is self:
            driver.wake()

    def wait(self, deadline: float | None) -> Pause:
        return Pause(self, deadline)


class BlockingDriver:
    """What the core needs of the world, for callers that block, in any thread."""

    def __init__(self, sessions: SessionMaker | None, proxy: str | None = None) -> None:
        self._tcp = TransportOptions(use_ipv6=2, tcp_no_delay=True)
        if proxy is not None:
            self._tcp.proxy = proxy_of_url(proxy)
        # A lock that knows who holds it: after an interruption there is no other way to tell.
        self.lock: threading.RLock | ParentsLock = threading.RLock()
        self.step: Step = Step(self)
        locked_in_children(self)
        self.sessions = sessions
        self.core: ClientCore | None = None
        self.transport: BlockingTransport | None = None
        self.awaited: Any = None
        """What the recovery waits for."""
        self._thread: threading.Thread | None = None
        self._ident: int | None = None
        self.watch: Watch = Watch()
        self.polling: BlockingWait | None = None
        """The wait of the caller that waits for the socket itself, while it does."""
        self._reader: BlockingWait | None = None
        """The wait of the caller that reads for everybody until it has what it waits for."""
        self._reader_ident = 0
        self._reader_seen: BlockingWait | None = None
        self._reads = 0
        self._reads_seen = -1
        # A thread that has not begun looks by itself.
        self._looks = True
        """Whether the connection's thread looks after callers that read."""
        self._woken = True
        """Whether it is about to look anyway."""
        self._until = 0.0
        """When the connection's thread looks by itself."""
        self._fault: BaseException | None = None
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
        if error is not expected and not isinstance(error, AMQPError) and is_interruption(error):
            self.damaged()
        self.leave()

    def leave(self) -> None:
        """Called before the lock is let go: what was sent is written now, or soon by the connection's thread."""
        if self.kicks:
            if self.kicks >= FLUSH_COUNT or self._thread is None:
                self._flush()
            elif self.flush_at is None:
                self.flush_at = time.monotonic() + _FLUSH_DELAY
                if self.flush_at < self._until:
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
                self.watch.close()
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
        if self._may_read():
            try:
                self._read_until(wait, pause.deadline)
            except BaseException as error:
                self._hold(error)
                raise
            finally:
                self.polling = None
                if self._reader is wait:
                    self._end_reading()
                if self._thread_over:
                    self._all_over()
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
            if is_owned(self.lock):
                self.lock.acquire()
                # Nobody else can take the lock, and so nothing would arrive.
                raise AMQPError(135, "a signal handler has interrupted a call of this connection, and must not wait")
            gate.acquire(timeout=left)
            self.lock.acquire()
        except BaseException as error:
            self._hold(error)
            raise
        if not wait.is_set:
            raise AMQPTimeoutError("the operation did not finish in time")

    # -- callers that read for themselves --------------------------------------------------------------------------

    def _may_read(self) -> bool:
        """Whether a caller that waits now reads from the socket itself. With much in flight there is no hurry, and the
        thread of the connection reads while the caller does something else."""
        transport = self.transport
        if self._reader is not None:
            if self._reader_ident == threading.get_ident():
                # A signal handler in the middle of its wait.
                self._end_reading()
            elif not self._looks:
                self._looks = True
                self.wake()
            return False
        return transport is not None and self.polling is None and self.watch.lends and transport.calm()

    def _read_until(self, wait: BlockingWait, deadline: float | None) -> None:
        self._reader = wait
        self._reader_ident = threading.get_ident()
        self._reads += 1
        watch = self.watch
        waiter = watch.borrow()
        # Before anything is written: the answer may be here at once.
        watch.lend()
        if self.kicks:
            self._flush()
        if not self._looks:
            self._looks = True
            self.wake()
        while self._reader is wait and not wait.is_set:
            transport = self.transport
            if transport is None or not transport.calm():
                return
            left = _LONGEST_WAIT if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return
            fd = transport.fileno()
            self.polling = wait
            self.lock.release()
            with contextlib.suppress(InterruptedCallError):
                waiter.wait(fd, read=True, timeout=left)
            self.lock.acquire()
            self.polling = None
            if self.transport is transport:
                # A signal handler may raise in the middle of it.
                incarnation, in_flight = transport.in_flight()
                try:
                    self._take(transport)
                except BaseException as error:
                    if is_interruption(error):
                        incarnation.interrupted(in_flight)
                        raise
                    # It is raised in the connection's thread, as if that had read.
                    self._fault = error
                    self.wake()
                    return
                due = transport.next_deadline()
                if due is not None and due < self._until:
                    self.wake()

    def _end_reading(self) -> None:
        """The connection's thread reads again."""
        self._reader = None
        self.watch.take_back()
        if self.polling is not None:
            self.watch.wake_borrower()

    # -- output ----------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        self.kicks = 0
        self.flush_at = None
        transport = self.transport
        if transport is not None:
            transport.flush()

    # -- the connection's thread -----------------------------------------------------------------------------------

    def wake(self) -> None:
        """Have the connection's thread look. Under the lock."""
        if not self._woken and threading.get_ident() != self._ident:
            self._woken = True
            self.watch.wake()

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
            self.watch.set(-1, False)
            if self.polling is not None:
                self.watch.wake_borrower()
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
            with self.lock:
                self._all_over()

    def _all_over(self) -> None:
        """Give the descriptors back, unless a caller still waits with one of them: then it does that."""
        if self.polling is None:
            self.watch.close()

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
            self._woken = False
            if self._fault is not None:
                raise self._fault
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
            fd, timeout = self._plan(carrier)
        if calls:
            self._run_calls()
            return True
        readable, writable = self.watch.wait(fd, timeout)
        if carrier is not None:
            self._serve(carrier, readable or carrier.buffered, writable)
        return True

    def _look_after_reader(self) -> bool:
        """End the reading of a caller that has waited for a while: there is no hurry, or a signal handler runs in the
        middle of it. Returns whether to look again soon."""
        reader = self._reader
        if reader is None and self._reads == self._reads_seen:
            return False
        self._reads_seen = self._reads
        if reader is not None and reader is self._reader_seen:
            self._end_reading()
        self._reader_seen = self._reader
        return True

    def _write_left(self) -> None:
        """What callers have left is written when it is a moment old: more may come, and they write themselves."""
        if self.flush_at is None or time.monotonic() >= self.flush_at or self._finished:
            self._flush()

    def _plan(self, carrier: BlockingTransport | None) -> tuple[int, float]:
        now = time.monotonic()
        self._looks = self._look_after_reader()
        times: list[float] = [now + (_LOOK if self._looks else _LONGEST_WAIT)]
        if self.flush_at is not None:
            times.append(self.flush_at)
        if self._pause is not None and self._pause.deadline is not None:
            times.append(self._pause.deadline)
        fd = -1
        if carrier is not None:
            fd = carrier.fileno()
            self.watch.set(fd, carrier.unsent)
            due = carrier.next_deadline()
            if due is not None:
                times.append(due)
            if carrier.buffered:
                times.append(now)
        until = self._until = min(times)
        return fd, max(0.0, until - now)

    def _serve(self, carrier: BlockingTransport, readable: bool, writable: bool) -> None:
        with self.lock:
            if self.transport is not carrier:
                return
            due = carrier.next_deadline()
            late = due is not None and time.monotonic() >= due
            if not readable and not late:
                if writable:
                    carrier.flush()
                return
            # A peer is judged silent only after a look at what has arrived: this process may have been stopped.
            self._take(carrier, late)

    def _take(self, carrier: BlockingTransport, late: bool = False) -> None:
        """Take what has arrived, and write what arises. Under the lock, by whoever waits for the socket."""
        data, error = carrier.read()
        carrier.arrived(data, error)
        if late and self.transport is carrier:
            carrier.tick(time.monotonic())
        if self.transport is carrier:
            self.kicks = 0
            self.flush_at = None
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

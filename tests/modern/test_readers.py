"""Callers of the blocking API that read from the socket themselves while they wait; no timing involved."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

import pytest

import amqp10
from amqp10 import AMQPError, ConnectionState
from amqp10.blocking.driver import BlockingDriver
from amqp10.blocking.transport import BlockingTransport
from amqp10.broker import Broker
from amqp10.net.waiting import Waiter

from .test_interruptions import WAITING, check_nothing_waits, interrupt, is_free, prepared, strange

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="callers read where there is epoll")


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


@pytest.fixture
def handled() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Sets what SIGUSR1 does."""
    before = signal.getsignal(signal.SIGUSR1)

    def set_handler(action: Callable[[], object]) -> None:
        signal.signal(signal.SIGUSR1, lambda number, frame: action() and None)

    yield set_handler
    signal.signal(signal.SIGUSR1, before)


def when_reading(driver: BlockingDriver, action: Callable[[], object]) -> threading.Thread:
    """Do something as soon as a caller waits for the socket."""

    def watch() -> None:
        while driver.polling is None:
            pass
        action()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def given_to_the_thread(driver: BlockingDriver) -> None:
    """Wait until no caller reads."""
    while driver.polling is not None:
        pass


# -- who reads -------------------------------------------------------------------------------------------------------


def test_a_caller_that_waits_for_an_outcome_reads_it_itself(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[str] = []
    real = BlockingDriver._take

    def take(self: BlockingDriver, *arguments: Any) -> None:
        readers.append(threading.current_thread().name)
        real(self, *arguments)

    with amqp10.connect(broker.url) as connection:
        sender = connection.sender("q")
        sender.send(0)
        monkeypatch.setattr(BlockingDriver, "_take", take)
        for n in range(100):
            sender.send(n)
        # Others may take the lock between a wait and its end, but that is rare.
        assert readers.count(threading.current_thread().name) > 50
        monkeypatch.undo()


def test_a_caller_that_waits_for_long_leaves_the_socket_to_the_thread_of_the_connection(broker: Broker) -> None:
    with amqp10.connect(broker.url) as connection:
        receiver = connection.receiver("q")
        driver = connection._driver
        got: list[Any] = []
        waiting = threading.Thread(target=lambda: got.append(receiver.receive(timeout=None).body))
        thread = when_reading(driver, lambda: given_to_the_thread(driver))
        waiting.start()
        thread.join()
        connection.send("q", 1)
        waiting.join()
        assert got == [1]


def test_a_system_without_epoll_lets_the_thread_of_the_connection_read(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(select, "epoll")
    with amqp10.connect(broker.url) as connection:
        receiver = connection.receiver("q")
        for n in range(10):
            connection.send("q", n)
            assert receiver.receive().body == n
        connection.send("q", b"x" * 4_000_000)
        assert len(receiver.receive(timeout=20).body) == 4_000_000
        assert connection._driver._reads == 0
        broker.kill_connections()
        connection.send("q", "again")


def test_the_thread_of_the_connection_reads_on_when_a_caller_has_what_it_wanted(broker: Broker) -> None:
    done = threading.Event()
    with amqp10.connect(broker.url) as connection:
        sender = connection.sender("q")
        for n in range(50):
            sender.send(n)
            delivery = sender.submit(n)
            delivery.add_done_callback(lambda _: done.set())
            assert done.wait(20)
            done.clear()


def test_a_connection_that_is_lost_while_a_caller_reads_is_found_again(broker: Broker) -> None:
    with amqp10.connect(broker.url) as connection:
        receiver = connection.receiver("q")
        driver = connection._driver
        got: list[Any] = []
        waiting = threading.Thread(target=lambda: got.append(receiver.receive(timeout=60).body))
        thread = when_reading(driver, broker.kill_connections)
        waiting.start()
        thread.join()
        connection.send("q", 1)
        waiting.join()
        assert got == [1]


@pytest.mark.parametrize("idle", ["reading", "waiting"])
def test_closing_ends_the_wait_of_another_thread(idle: str, broker: Broker) -> None:
    connection = amqp10.connect(broker.url)
    receiver = connection.receiver("q")
    driver = connection._driver
    ends: list[BaseException] = []

    def receive() -> None:
        try:
            receiver.receive(timeout=None)
        except amqp10.ClosedError as error:
            ends.append(error)

    waiting = threading.Thread(target=receive)
    thread = when_reading(driver, (lambda: None) if idle == "reading" else (lambda: given_to_the_thread(driver)))
    waiting.start()
    thread.join()
    connection.close()
    waiting.join(20)
    assert len(ends) == 1
    assert driver.watch.closed


# -- interruptions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["when it has let the lock go", "while it waits", "when it has the lock back"])
@pytest.mark.parametrize("name", WAITING)
def test_an_interruption_of_a_caller_that_reads_ends_the_call_and_nothing_else(
    name: str, moment: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[Any] = []
    with amqp10.connect(broker.url, on_state=changes.append) as connection:
        call = prepared(connection, name)
        driver = connection._driver
        lock = strange(connection)
        read: list[bool] = []

        def wait(self: Waiter, *arguments: Any, **named: Any) -> tuple[bool, bool]:
            if self is driver.watch.borrow():
                read.append(True)
                if moment == "while it waits":
                    raise KeyboardInterrupt
                return True, False
            return real(self, *arguments, **named)

        real = Waiter.wait
        with monkeypatch.context() as patched:
            patched.setattr(Waiter, "wait", wait)
            if moment == "when it has let the lock go":
                lock.after_release = interrupt
            elif moment == "when it has the lock back":
                lock.after_acquire = interrupt
            with pytest.raises(KeyboardInterrupt):
                call()
        assert len(read) == (0 if moment == "when it has let the lock go" else 1)
        assert is_free(lock)
        assert driver.polling is None
        check_nothing_waits(connection)
    assert broker.queue_length("blocked") == 0
    assert ConnectionState.LOST not in {change.state for change in changes}


class Interruption:
    """Raises KeyboardInterrupt at the n-th line of what a caller does with what has arrived, once."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        return self._lines if frame.f_code is BlockingDriver._take.__code__ else None

    def _lines(self, frame: FrameType, event: str, argument: object) -> Any:
        over = event == "return" and frame.f_code is BlockingDriver._take.__code__
        sys.settrace(self if over else self._lines)
        # Not in what the garbage collector calls: nothing that is raised there goes anywhere.
        if event == "line" and frame.f_globals["__name__"].startswith("amqp10."):
            self.count += 1
            if self.count == self.at:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self._lines


def interrupted(connection: Any, call: Callable[[], object], at: int) -> bool:
    """Call, and interrupt it. Whether it came so far."""
    driver = connection._driver
    before = sys.gettrace()
    with pytest.MonkeyPatch.context() as patched:
        # Nobody else reads.
        patched.setattr(driver, "_serve", lambda *_: None)
        patched.setattr(driver, "_look_after_reader", lambda: True)
        sys.settrace(Interruption(at))
        try:
            call()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
    return False


# Each line has a connection of its own: in the usual run it is every third line.
LINES = pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)])


@LINES
def test_an_interruption_anywhere_in_what_a_caller_reads_costs_the_connection_and_no_message(
    broker: Broker, step: int
) -> None:
    at, came = 0, True
    while came:
        at += step
        with amqp10.connect(broker.url) as connection:
            sender = connection.sender("q")
            sender.send(0)
            earlier = sender.submit(1)
            came = interrupted(connection, partial(sender.send, 2), at)
            assert earlier.result(timeout=20) == amqp10.Accepted(), at
            assert sender.send(3, timeout=20)
            core: Any = sender._core
            assert (core.open, core.unsettled, core.unsettled_bytes) == (0, 0, 0), at
    assert at > 50


@LINES
def test_an_interruption_anywhere_in_a_receive_loses_no_message(broker: Broker, step: int) -> None:
    at, came = 0, True
    while came:
        at += step
        with amqp10.connect(broker.url) as connection:
            connection.send(f"q{at}", at)
            receiver = connection.receiver(f"q{at}", prefetch=0)
            came = interrupted(connection, partial(receiver.receive, timeout=20), at)
            if came:
                assert receiver.receive(timeout=20).body == at
    assert at > 50


def test_ctrl_c_ends_a_call_that_reads(broker: Broker) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with amqp10.connect(broker.url) as connection:
            receiver = connection.receiver("q")
            driver = connection._driver

            def later() -> None:
                given_to_the_thread(driver)
                os.kill(os.getpid(), signal.SIGINT)

            for action in (lambda: os.kill(os.getpid(), signal.SIGINT), later):
                thread = when_reading(driver, action)
                with pytest.raises(KeyboardInterrupt):
                    receiver.receive(timeout=60)
                thread.join()
                assert isinstance(connection.send("still", "works"), amqp10.Accepted)
    finally:
        signal.signal(signal.SIGINT, before)


class OutOfTimeError(Exception):
    """What the handlers of some programs raise."""


def raise_out_of_time(number: int = 0, frame: object = None) -> None:
    raise OutOfTimeError


@pytest.mark.parametrize("reading", [True, False])
def test_a_time_out_by_a_signal_handler_is_no_fault_of_the_connection(
    reading: bool, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGUSR1, raise_out_of_time)
    lost = threading.Event()

    def note(change: Any) -> None:
        if change.state is ConnectionState.LOST:
            lost.set()

    raised: list[bool] = []
    undisturbed: Any = None

    def raising(*arguments: Any) -> None:
        if not raised:
            raised.append(True)
            signal.raise_signal(signal.SIGUSR1)
        undisturbed(*arguments)

    try:
        with amqp10.connect(broker.url, on_state=note) as connection:
            sender = connection.sender("q")
            sender.send(1)
            with monkeypatch.context() as patched:
                if reading:
                    undisturbed = connection._core.handle
                    patched.setattr(connection._driver, "_serve", lambda *_: None)
                    patched.setattr(connection._core, "handle", raising)
                else:
                    undisturbed = connection._driver.kick
                    patched.setattr(connection._driver, "kick", raising)
                with pytest.raises(OutOfTimeError):
                    sender.send(2)
            assert lost.wait(20)
            assert isinstance(sender.send(3, timeout=20), amqp10.Accepted)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_handler_may_make_a_call_of_its_own(
    broker: Broker, handled: Callable[[Callable[[], object]], None]
) -> None:
    with amqp10.connect(broker.url) as connection:
        receiver = connection.receiver("q")
        sender = connection.sender("q")
        handled(lambda: sender.send("from the handler", timeout=20))
        thread = when_reading(connection._driver, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        assert receiver.receive(timeout=60).body == "from the handler"
        thread.join()


def test_a_signal_handler_in_the_middle_of_a_step_is_refused_where_it_would_wait_for_ever(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with amqp10.connect(broker.url) as connection:
        sender = connection.sender("q")
        with monkeypatch.context() as patch:
            # With many messages in flight callers leave reading to the thread, which needs the lock for it.
            patch.setattr(BlockingTransport, "calm", lambda self: False)
            with connection._driver.lock, pytest.raises(AMQPError) as caught:
                sender.send("from the handler", timeout=20)
        assert caught.value.code == 135
        assert sender.send("after it", timeout=20) == amqp10.Accepted()


def test_a_signal_handler_may_wait_for_a_thread_that_makes_calls(
    broker: Broker, handled: Callable[[Callable[[], object]], None]
) -> None:
    # It runs in the middle of the wait of the caller that reads for all.
    with amqp10.connect(broker.url) as connection:
        receiver = connection.receiver("q")
        sender = connection.sender("q")
        outcomes: list[Any] = []

        def handler() -> None:
            worker = threading.Thread(target=lambda: outcomes.append(sender.send("from a thread", timeout=60)))
            worker.start()
            worker.join()

        handled(handler)
        thread = when_reading(connection._driver, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        assert receiver.receive(timeout=60).body == "from a thread"
        thread.join()
        assert outcomes == [amqp10.Accepted()]

"""Exceptions of signal handlers, and other threads, at the worst moments of a blocking call; no timing involved.

The primitives that a call uses are replaced by ones that raise, or that let something else happen first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import amqp10
from amqp10 import ConnectionLostError, ConnectionState
from amqp10.blocking import driver as driver_module
from amqp10.blocking.transport import BlockingTransport
from amqp10.broker import Broker


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


class StrangeLock:
    """A connection's lock with something happening around one of its steps, once, in the thread that made it.

    It is entered and left like a lock, without a line of Python between.
    """

    def __init__(self, real: Any) -> None:
        self.real = real
        self.owner = threading.get_ident()
        self.before_enter: Callable[[], None] | None = None
        self.after_acquire: Callable[[], None] | None = None
        self.after_release: Callable[[], None] | None = None

    def _once(self, name: str) -> None:
        if threading.get_ident() == self.owner:
            action: Callable[[], None] | None = getattr(self, name)
            setattr(self, name, None)
            if action is not None:
                action()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        held: bool = self.real.acquire(blocking, timeout)
        self._once("after_acquire")
        return held

    def release(self) -> None:
        self.real.release()
        self._once("after_release")

    def _is_owned(self) -> bool:
        return bool(self.real._is_owned())

    def __enter__(self) -> bool:
        self._once("before_enter")
        entered: bool = self.real.__enter__()
        return entered

    def __exit__(self, *error: Any) -> None:
        self.real.__exit__(*error)


class InterruptedGate:
    """Who waits here is interrupted."""

    def __init__(self) -> None:
        self.waits = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        self.waits += 1
        if self.waits > 1:
            raise KeyboardInterrupt
        return True

    def release(self) -> None:
        return


def strange(connection: Any) -> StrangeLock:
    driver = connection._driver
    lock = driver.lock = StrangeLock(driver.lock)
    return lock


def interrupt() -> None:
    raise KeyboardInterrupt


def is_free(lock: StrangeLock) -> bool:
    """Whether another thread can have the lock."""
    got: list[bool] = []

    def take() -> None:
        got.append(lock.real.acquire(timeout=10))
        if got[0]:
            lock.real.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return got[0]


def check_nothing_waits(connection: Any) -> None:
    """What :func:`prepared` made looks as before, and the connection works."""
    links: list[Any] = connection._core.sessions.links
    for link in links:
        if hasattr(link, "again"):
            link.unsettled = link.open = 0
            assert len(link.turns) == link.turns.granted == len(link._idle) == 0
        else:
            assert len(link.turns) == link.turns.granted == 0
    assert isinstance(connection.send("still", "works"), amqp10.Accepted)
    assert connection.state is ConnectionState.OPEN


def prepared(connection: Any, name: str) -> Callable[[], Any]:
    """A call that has to wait, with everything that it needs made before."""
    if name in ("send", "submit", "send_many"):
        sender = connection.sender("blocked", max_unsettled=1)
        sender._core.unsettled = 1
        if name == "send_many":
            return lambda: sender.send_many(["x", "y"], timeout=30)
        return lambda: getattr(sender, name)("x", timeout=30)
    if name == "sender.flush":
        sender = connection.sender("blocked")
        sender._core.open += 1
        return lambda: sender.flush(timeout=30)
    if name == "changes":
        changes = connection.changes()
        return lambda: next(changes)
    receiver = connection.receiver("empty", prefetch=0 if name == "manual receive" else 10)
    if name == "next":
        return lambda: next(receiver)
    if name == "receive_many":
        return lambda: receiver.receive_many(10, timeout=30)
    return lambda: receiver.receive(timeout=30)


WAITING = [
    "send",
    "submit",
    "send_many",
    "sender.flush",
    "changes",
    "receive",
    "manual receive",
    "receive_many",
    "next",
]
MOMENTS = ["when it has let the lock go", "while it waits", "when it has the lock back"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", WAITING)
def test_an_interruption_at_any_moment_of_a_wait_ends_the_call_and_nothing_else(
    name: str, moment: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[Any] = []
    with amqp10.connect(broker.url, on_state=changes.append) as connection:
        call = prepared(connection, name)
        lock = strange(connection)
        with monkeypatch.context() as patched:
            if moment == MOMENTS[0]:
                lock.after_release = interrupt
            else:
                gates = InterruptedGate()
                if moment == MOMENTS[2]:
                    gates.acquire = lambda *a, **k: True  # type: ignore[method-assign]
                    lock.after_acquire = interrupt
                patched.setattr(driver_module, "_new_gate", lambda: gates)
            with pytest.raises(KeyboardInterrupt):
                call()
        assert is_free(lock)
        check_nothing_waits(connection)
    assert broker.queue_length("blocked") == 0
    assert ConnectionState.LOST not in {change.state for change in changes}


@pytest.mark.parametrize("name", ["submit", "next", "accept"])
def test_an_interruption_in_the_middle_of_a_step_costs_the_connection_and_no_message(
    name: str, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = threading.Event()

    def note(change: Any) -> None:
        if change.state is ConnectionState.LOST:
            lost.set()

    with amqp10.connect(broker.url, on_state=note) as connection:
        sender, receiver = connection.sender("q"), connection.receiver("q")
        sender.send(1)
        message = receiver.receive() if name == "accept" else None
        driver = connection._driver
        real = driver.leave
        calls: list[int] = []

        def leave() -> None:
            if not calls and threading.current_thread() is threading.main_thread():
                calls.append(1)
                raise KeyboardInterrupt
            real()

        lock = strange(connection)
        monkeypatch.setattr(driver, "leave", leave)
        calls_by_name: dict[str, Callable[[], Any]] = {
            "submit": lambda: sender.submit(2),
            "next": lambda: next(receiver),
            "accept": lambda: message and message.accept(),
        }
        with pytest.raises(KeyboardInterrupt):
            calls_by_name[name]()
        assert is_free(lock)
        assert lost.wait(20)
        sender.send(3)
        expected = {"submit": {1, 2, 3}, "next": {1, 3}, "accept": {3}}[name]
        got: set[Any] = set()
        while not expected <= got:
            received = receiver.receive(timeout=20)
            got.add(received.body)
            received.accept()


def test_a_receiver_that_is_closed_at_the_last_moment_ends_the_iteration(broker: Broker) -> None:
    with amqp10.connect(broker.url) as connection:
        receiver = connection.receiver("q")
        strange(connection).before_enter = receiver.close
        assert list(receiver) == []


def test_ctrl_c_while_the_receiver_is_being_closed_is_not_taken_for_the_end(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with amqp10.connect(broker.url) as connection:
        receiver = connection.receiver("q")

        class Gate(InterruptedGate):
            def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
                if self.waits:
                    thread = threading.Thread(target=receiver.close)
                    with monkeypatch.context() as patched:
                        patched.setattr(driver_module, "_new_gate", threading.Lock)
                        thread.start()
                        thread.join()
                return super().acquire(blocking, timeout)

        monkeypatch.setattr(driver_module, "_new_gate", Gate)
        with pytest.raises(KeyboardInterrupt):
            next(receiver)
        monkeypatch.undo()


def test_a_callback_that_is_added_when_the_connection_is_closed_is_called(broker: Broker) -> None:
    done: list[Any] = []
    with amqp10.connect(broker.url) as connection:
        delivery = connection.sender("q").submit(1)
        delivery.result(20)
    delivery.add_done_callback(done.append)
    assert done == [delivery]


def test_closing_while_the_recovery_is_about_to_dial_does_not_wait_for_the_dialling(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = amqp10.connect(broker.url)
    closed = threading.Event()
    real = BlockingTransport.connect

    def dial(*arguments: Any) -> Any:
        closer = threading.Thread(target=connection.close)
        closer.start()
        while not connection._core.over:  # it sets that and interrupts the dialling under the lock
            pass
        with connection._driver.lock:
            closed.set()
        return real(*arguments)

    monkeypatch.setattr(BlockingTransport, "connect", dial)
    interrupted: list[bool] = []

    def refused(*arguments: Any, **named: Any) -> Any:
        waiter = arguments[3].waiter if hasattr(arguments[3], "waiter") else arguments[3]._waiter
        try:
            waiter.wait(timeout=20)
        except amqp10.errors.InterruptedCallError:
            interrupted.append(True)
            raise
        interrupted.append(False)
        raise amqp10.AMQPError(10061, "nobody answers")

    monkeypatch.setattr("amqp10.blocking.transport.dial", refused)
    broker.kill_connections()
    thread = connection._driver._thread
    assert thread is not None
    thread.join(20)
    assert closed.is_set()
    assert interrupted == [True]


def test_a_fault_in_the_thread_of_the_connection_reaches_those_who_wait(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", faults.append)
    connection = amqp10.connect(broker.url)
    receiver = connection.receiver("q")

    def fault(*arguments: Any) -> None:
        raise RuntimeError("a fault")

    sender = connection.sender("q", max_unsettled=1)
    sender._core.unsettled = 1
    waiting: list[BaseException] = []

    def wait() -> None:
        try:
            sender.send(1, timeout=20)
        except BaseException as error:  # noqa: BLE001 - it is looked at below
            waiting.append(error)

    sending = threading.Thread(target=wait)
    sending.start()
    while not sender._core.turns.waiting:
        pass
    monkeypatch.setattr(connection._core, "_handle_rare", fault)
    with pytest.raises(ConnectionLostError):
        connection.sender("another")
    with pytest.raises(ConnectionLostError):
        receiver.receive(timeout=20)
    sending.join()
    assert [type(error) for error in waiting] == [ConnectionLostError]
    connection.close()
    assert len(faults) == 1

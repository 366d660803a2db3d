"""The wait loop: time-outs, readiness, interruption from threads and signal handlers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import ClassVar

import pytest

from amqp10.errors import AMQPError, InterruptedCallError
from amqp10.net.waiting import Deadline, SelectPoller, Waiter
from tests.net.tcp_support import PATIENCE, Background, FakeClock, SignallingPoller, no_descriptor_leaks


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


@pytest.fixture(params=["poll", "select"])
def waiter(request: pytest.FixtureRequest) -> Iterator[Waiter]:
    with Waiter(SelectPoller() if request.param == "select" else None) as waiter:
        yield waiter


class TestDeadline:
    def test_inactivity_deadline_starts_anew_at_every_touch(self) -> None:
        clock = FakeClock()
        deadline = Deadline(5, clock=clock)
        clock.now += 4
        assert deadline.remaining() == 1
        deadline.touch()
        assert deadline.remaining() == 5
        clock.now += 5
        assert deadline.expired
        assert deadline.remaining() == 0

    def test_absolute_deadline_is_not_extended(self) -> None:
        clock = FakeClock()
        deadline = Deadline(5, clock=clock, absolute=True)
        clock.now += 4
        deadline.touch()
        assert deadline.remaining() == 1

    def test_remaining_is_never_negative(self) -> None:
        clock = FakeClock()
        deadline = Deadline(5, clock=clock)
        clock.now += 50
        assert deadline.remaining() == 0

    def test_no_limit_never_expires(self) -> None:
        clock = FakeClock()
        deadline = Deadline(None, clock=clock)
        clock.now += 1e9
        deadline.touch()
        assert deadline.remaining() is None
        assert not deadline.expired

    def test_zero_has_expired_at_once(self) -> None:
        assert Deadline(0, clock=FakeClock()).expired

    @pytest.mark.parametrize(("seconds", "text"), [(1, "1 second"), (5.0, "5 seconds"), (0.25, "0.25 seconds")])
    def test_wording(self, seconds: float, text: str) -> None:
        assert Deadline(seconds).in_words() == text


class TestReadiness:
    def test_time_out_reports_nothing_ready(self, waiter: Waiter, pair: tuple[socket.socket, socket.socket]) -> None:
        assert waiter.wait(pair[0].fileno(), read=True, timeout=0.001) == (False, False)

    def test_zero_only_looks(self, waiter: Waiter, pair: tuple[socket.socket, socket.socket]) -> None:
        assert waiter.wait(pair[0].fileno(), read=True, timeout=0) == (False, False)
        pair[1].send(b"x")
        assert waiter.wait(pair[0].fileno(), read=True, timeout=0) == (True, False)

    def test_only_what_was_asked_for_is_reported(
        self, waiter: Waiter, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        fd = pair[0].fileno()
        pair[1].send(b"x")
        assert waiter.wait(fd, write=True, timeout=PATIENCE) == (False, True)
        assert waiter.wait(fd, read=True, write=True, timeout=PATIENCE) == (True, True)
        assert waiter.wait(fd, read=True, timeout=PATIENCE) == (True, False)

    def test_end_of_stream_is_readable(self, waiter: Waiter, pair: tuple[socket.socket, socket.socket]) -> None:
        pair[1].close()
        assert waiter.wait(pair[0].fileno(), read=True, timeout=PATIENCE) == (True, False)

    def test_hang_up_does_not_end_a_wait_without_interest(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with Waiter() as waiter:
            fd = pair[0].fileno()
            waiter.wait(fd, write=True, timeout=0)
            pair[1].close()
            assert waiter.wait(fd, timeout=0.001) == (False, False)
            assert waiter.wait(timeout=0.001) == (False, False)

    def test_sockets_can_change(self, waiter: Waiter, pair: tuple[socket.socket, socket.socket]) -> None:
        pair[0].send(b"x")
        assert waiter.wait(pair[0].fileno(), read=True, timeout=0) == (False, False)
        assert waiter.wait(pair[1].fileno(), read=True, timeout=0) == (True, False)

    def test_reused_descriptor_is_watched_as_what_it_is_now(self, waiter: Waiter) -> None:
        for _ in range(2):
            left, right = socket.socketpair()
            with left, right:
                assert waiter.wait(left.fileno(), read=True, timeout=0) == (False, False)
                right.send(b"x")
                assert waiter.wait(left.fileno(), read=True, timeout=0) == (True, False)

    def test_closed_socket_raises_instead_of_waiting_for_ever(
        self, waiter: Waiter, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        waiter.wait(pair[0].fileno(), read=True, timeout=0)
        pair[0].close()
        with pytest.raises(AMQPError) as caught:
            waiter.wait(pair[0].fileno(), read=True, timeout=None)
        assert caught.value.code == 10009

    def test_fractions_of_a_millisecond_are_rounded_up(self) -> None:
        poller = SignallingPoller()
        with Waiter(poller) as waiter:
            waiter.wait(timeout=0.0001)
            waiter.wait(timeout=0.0011)
            waiter.wait(timeout=0)
            waiter.wait(timeout=-1)
        assert poller.limits == [1, 2, 0, 0]

    def test_long_waits_are_cut_into_slices_that_add_up(self) -> None:
        class Recorder(SelectPoller):
            limits: ClassVar[list[float | None]] = []

            def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
                self.limits.append(timeout)
                return []

        with Waiter(Recorder()) as waiter:
            assert waiter.wait(timeout=1.2) == (False, False)
        assert Recorder.limits == [500, 500, 200]

    def test_wait_without_limit_outlasts_its_slices(self, pair: tuple[socket.socket, socket.socket]) -> None:
        class Patient(SelectPoller):
            rounds = 0

            def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
                self.rounds += 1
                if self.rounds == 10_000:
                    pair[1].send(b"x")
                return super().poll(0)

        with Waiter(Patient()) as waiter:
            assert waiter.wait(pair[0].fileno(), read=True, timeout=None) == (True, False)


class TestInterruption:
    def test_interrupt_from_another_thread_ends_a_wait_without_limit(self) -> None:
        poller = SignallingPoller()
        with Waiter(poller) as waiter:

            def interrupt() -> None:
                assert poller.entered.wait(PATIENCE)
                waiter.interrupt()

            waiter.begin()
            with Background(interrupt), pytest.raises(InterruptedCallError) as caught:
                waiter.wait(timeout=None)
            waiter.end()
        assert caught.value.code == 10004

    def test_interrupt_between_two_waits_of_one_call_ends_the_second(self, waiter: Waiter) -> None:
        waiter.begin()
        waiter.wait(timeout=0)
        waiter.interrupt()
        with pytest.raises(InterruptedCallError):
            waiter.wait(timeout=None)
        waiter.end()

    def test_interrupt_with_no_call_blocked_does_not_end_the_next_call(self, waiter: Waiter) -> None:
        waiter.interrupt()
        waiter.begin()
        assert waiter.wait(timeout=0) == (False, False)
        waiter.end()

    def test_interrupt_ends_one_call_only(self, waiter: Waiter, pair: tuple[socket.socket, socket.socket]) -> None:
        waiter.begin()
        for _ in range(3):
            waiter.interrupt()
        with pytest.raises(InterruptedCallError):
            waiter.wait(timeout=None)
        assert waiter.wait(pair[0].fileno(), read=True, timeout=0.001) == (False, False)
        waiter.end()

    def test_interrupt_goes_before_readiness_and_loses_no_data(
        self, waiter: Waiter, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        pair[1].send(b"kept")
        waiter.begin()
        waiter.interrupt()
        with pytest.raises(InterruptedCallError):
            waiter.wait(pair[0].fileno(), read=True, timeout=PATIENCE)
        waiter.end()
        assert waiter.wait(pair[0].fileno(), read=True, timeout=PATIENCE) == (True, False)
        assert pair[0].recv(10) == b"kept"

    def test_nested_call_keeps_an_interrupt_that_was_meant_for_the_outer_one(self, waiter: Waiter) -> None:
        waiter.begin()
        waiter.interrupt()
        waiter.begin()
        with pytest.raises(InterruptedCallError):
            waiter.wait(timeout=None)
        waiter.end()
        waiter.end()

    def test_ten_thousand_interrupts_neither_block_nor_pile_up(self, waiter: Waiter) -> None:
        for _ in range(10_000):
            waiter.interrupt()
        waiter.begin()
        assert waiter.wait(timeout=0.001) == (False, False)
        waiter.end()

    def test_stale_wake_up_does_not_cut_a_wait_short(self) -> None:
        # The flag has been seen, the byte in the channel comes after: exactly what a race of two threads leaves behind.
        with Waiter() as waiter:
            waiter.interrupt()
            waiter._interrupted = False
            started = time.monotonic()
            assert waiter.wait(timeout=0.02) == (False, False)
            assert time.monotonic() - started >= 0.02

    def test_interrupt_after_close_is_harmless(self) -> None:
        waiter = Waiter()
        waiter.close()
        waiter.close()
        waiter.interrupt()

    def test_close_gives_all_descriptors_back(self) -> None:
        with no_descriptor_leaks():
            Waiter().close()


@contextlib.contextmanager
def handling(handler: signal._HANDLER) -> Iterator[None]:
    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, previous)


class TestSignals:
    def send_signal_when_blocked(self, poller: SignallingPoller) -> None:
        assert poller.entered.wait(PATIENCE)
        os.kill(os.getpid(), signal.SIGUSR1)

    def test_interrupt_from_a_signal_handler(self) -> None:
        poller = SignallingPoller()
        with Waiter(poller) as waiter, handling(lambda *_: waiter.interrupt()):
            waiter.begin()
            with Background(lambda: self.send_signal_when_blocked(poller)), pytest.raises(InterruptedCallError):
                waiter.wait(timeout=PATIENCE)
            waiter.end()

    def test_exception_of_a_signal_handler_ends_the_wait(self) -> None:
        poller = SignallingPoller()

        def handler(*_: object) -> None:
            raise KeyboardInterrupt

        with Waiter(poller) as waiter, handling(handler):
            with Background(lambda: self.send_signal_when_blocked(poller)), pytest.raises(KeyboardInterrupt):
                waiter.wait(timeout=PATIENCE)
            assert waiter.wait(timeout=0) == (False, False)

    def test_handler_that_returns_does_not_end_the_wait(self, pair: tuple[socket.socket, socket.socket]) -> None:
        poller = SignallingPoller()
        handled = threading.Event()

        def work() -> None:
            self.send_signal_when_blocked(poller)
            assert handled.wait(PATIENCE)
            pair[1].send(b"x")

        with Waiter(poller) as waiter, handling(lambda *_: handled.set()), Background(work):
            assert waiter.wait(pair[0].fileno(), read=True, timeout=PATIENCE) == (True, False)

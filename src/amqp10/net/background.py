"""Blocking calls that cannot be interrupted, made so that time-outs and interruptions still work.

The call runs in a daemon thread. After a time-out or an interruption the caller goes on, and the thread finishes by
itself; it holds one descriptor until then, and its result is ignored.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from amqp10.errors import AMQPError
from amqp10.net.network import TimeIsUpError

if TYPE_CHECKING:
    from amqp10.net.waiting import Waiter

__all__ = ["call_in_thread"]

T = TypeVar("T")


def call_in_thread(work: Callable[[], T], waiter: Waiter, remaining: Callable[[], float | None], doing: str) -> T:
    """Make a blocking call in another thread and wait for it.

    Args:
        work: the call.
        waiter: does the waiting.
        remaining: returns the seconds that are left, ``None`` for no limit; called again after each wait.
        doing: what the call is for; names the thread, and is used in messages.

    Returns:
        What ``work`` returned. What it raised is raised here.

    Raises:
        TimeIsUpError: there was no result in time.
        InterruptedCallError: 10004; the waiter was interrupted.
        AMQPError: 10055; no more threads can be started.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    done, signal = socket.socketpair()

    def run() -> None:
        # The thread owns its end of the pair: closing it says that there is a result.
        with signal:
            try:
                results.append(work())
            except BaseException as error:  # noqa: BLE001  (handed to the caller, who raises it)
                errors.append(error)

    with done:
        try:
            threading.Thread(target=run, name=f"amqp10 {doing}", daemon=True).start()
        except RuntimeError as error:
            signal.close()
            raise AMQPError(10055, f"no thread could be started for {doing}: {error}") from error
        readable = False
        while not readable:
            left = remaining()
            if left is not None and left <= 0:
                raise TimeIsUpError
            readable, _ = waiter.wait(done.fileno(), read=True, timeout=left)
    if errors:
        raise errors[0]
    return results[0]

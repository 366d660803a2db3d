"""Exceptions of signal handlers, which come at any line of the main thread."""

from __future__ import annotations

import signal
import threading
from types import TracebackType
from typing import Protocol

__all__ = ["Step", "is_interruption"]


class _Stepping(Protocol):
    def leave(self) -> None: ...

    def failed(self, error: BaseException) -> None: ...


class Step:
    """What belongs to a step under the lock: ``with driver.lock, driver.step``.

    The lock is entered as such, because only then no exception of a signal handler comes between taking it and the
    block that lets it go.
    """

    __slots__ = ("_driver",)

    def __init__(self, driver: _Stepping) -> None:
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


def is_interruption(error: BaseException) -> bool:
    """Whether a signal handler has raised it, and not the code in which it came.

    One that is no ``Exception``, such as ``KeyboardInterrupt``, is taken for one. Otherwise the handler is to be found
    among the frames that the exception has passed through.
    """
    if not isinstance(error, Exception):
        return True
    if threading.current_thread() is not threading.main_thread():
        return False
    handlers = {getattr(signal.getsignal(number), "__code__", None) for number in signal.valid_signals()}
    place = error.__traceback__
    while place is not None:
        if place.tb_frame.f_code in handlers:
            return True
        place = place.tb_next
    return False

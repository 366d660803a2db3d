"""Work and memory, counted: what a test may assert instead of time."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["MEGABYTE", "cost", "peak"]

MEGABYTE = 1 << 20


def cost(call: Callable[[], object], most: int) -> tuple[int, int]:
    """The lines of Python that a call runs, and the memory that it had at its peak, in bytes.

    Args:
        call: the call.
        most: after so many lines it is stopped: the test has failed.
    """
    lines = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal lines
        if event == "line":
            lines += 1
            if lines > most:
                raise AssertionError(f"more than {most} lines")
        return trace

    def traced() -> None:
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            call()
        finally:
            sys.settrace(before)

    memory = peak(traced)
    return lines, memory


def peak(call: Callable[[], object]) -> int:
    """The memory that a call had at its peak, in bytes. Much cheaper than `cost`, which runs line by line."""
    tracemalloc.start()
    try:
        start = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        call()
        return tracemalloc.get_traced_memory()[1] - start
    finally:
        tracemalloc.stop()

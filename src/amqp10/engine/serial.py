"""Serial numbers: delivery counts, transfer ids and delivery ids of 32 bits, which begin anew after the last one
(RFC 1982; transport, "sequence-no").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["HALF", "MASK", "serial_difference", "serial_max", "serial_range"]

MASK: Final = 0xFFFFFFFF
"""``(number + n) & MASK`` is the n-th serial number after another."""
HALF: Final = 0x80000000
"""Two numbers that are so far apart cannot be compared."""


def serial_difference(a: int, b: int) -> int:
    """``a - b`` of two serial numbers: negative when a comes before b."""
    return ((a - b + HALF) & MASK) - HALF


def serial_max(a: int, b: int) -> int:
    """Whichever of two serial numbers comes later."""
    return a if serial_difference(a, b) >= 0 else b


def serial_range(first: int, count: int) -> Sequence[int]:
    """So many serial numbers one after the other."""
    if first + count <= MASK + 1:
        return range(first, first + count)
    return [number & MASK for number in range(first, first + count)]

"""A limit on how fast bytes are sent (the setting ``MaxTransferRate``)."""

from __future__ import annotations

from typing import Final

__all__ = ["TokenBucket"]

# How many bytes may accumulate while nothing is sent, and how many are worth waking up for, in seconds of the rate. The
# first is larger, so that waking up late costs no throughput.
_CAPACITY_SECONDS: Final = 0.2
_QUANTUM_SECONDS: Final = 0.05

# Without it, rounding could leave nothing for a caller that comes exactly on time.
_EPSILON: Final = 1e-6


class TokenBucket:
    """Bytes become available at a constant rate; whoever sends takes them.

    Args:
        rate: bytes per second, at least 1.
        now: the time in seconds; monotonic.
    """

    __slots__ = ("_capacity", "_quantum", "_tokens", "_updated", "rate")

    def __init__(self, rate: int, now: float) -> None:
        self.rate: Final = rate
        self._capacity = max(1.0, rate * _CAPACITY_SECONDS)
        self._quantum = max(1.0, rate * _QUANTUM_SECONDS)
        self._tokens = self._quantum
        self._updated = now

    def available(self, now: float) -> int:
        """How many bytes may be sent now."""
        self._refill(now)
        return int(self._tokens + _EPSILON)

    def spend(self, count: int) -> None:
        """Take bytes out, at most what :meth:`available` said."""
        self._tokens -= count

    def ready_at(self, now: float, wanted: int) -> float:
        """When to try again with ``wanted`` bytes left to send."""
        self._refill(now)
        missing = min(float(wanted), self._quantum) - self._tokens
        return now + max(0.0, missing / self.rate)

    def _refill(self, now: float) -> None:
        if now > self._updated:
            self._tokens = min(self._capacity, self._tokens + (now - self._updated) * self.rate)
            self._updated = now

"""The time-outs of an idle connection, in both directions (transport, "idle time-out of a connection")."""

from __future__ import annotations

__all__ = ["IdleTimer"]


class IdleTimer:
    """When something was last read and written, and what has to happen when.

    Attributes:
        timeout: seconds without a byte from the peer after which it is given up; 0 for never.
        remote_timeout: seconds after which the peer gives this side up; 0 for never, or not known yet.
        last_read, last_written: when bytes were last read and written.
    """

    __slots__ = ("last_read", "last_written", "remote_timeout", "timeout")

    def __init__(self, timeout: float) -> None:
        self.timeout: float = timeout
        self.remote_timeout: float = 0.0
        self.last_read: float = 0.0
        self.last_written: float = 0.0

    @property
    def stated(self) -> int | None:
        """What the peer is told, in milliseconds: half of the real threshold, as the specification advises. None for no
        limit."""
        return max(1, round(self.timeout * 500)) if self.timeout > 0 else None

    def start(self, now: float) -> None:
        """Count from now on."""
        self.last_read = self.last_written = now

    def deadline(self, *, heartbeats: bool) -> float | None:
        """When something has to happen next; None when time does not matter.

        Args:
            heartbeats: whether frames may be sent.
        """
        due = self.last_read + self.timeout if self.timeout > 0 else None
        if heartbeats and self.remote_timeout > 0:
            heartbeat = self.last_written + self.remote_timeout / 2
            if due is None or heartbeat < due:
                return heartbeat
        return due

    def silent(self, now: float) -> bool:
        """Whether the peer has been silent for too long."""
        return 0 < self.timeout <= now - self.last_read

    def heartbeat_due(self, now: float) -> bool:
        """Whether the peer should hear something: half of its time has passed."""
        return 0 < self.remote_timeout <= 2 * (now - self.last_written)

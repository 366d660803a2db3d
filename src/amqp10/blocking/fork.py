"""Connections that a fork has brought into a child: the child must not touch them."""

from __future__ import annotations

import os
import threading
from typing import Any, Protocol
from weakref import WeakSet

from amqp10.errors import AMQPError

__all__ = ["ParentsLock", "is_owned", "locked_in_children"]


class ParentsLock:
    """Stands for the lock of a connection in a child."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        raise AMQPError(211, "this connection belongs to the parent process: connect after the fork")

    def release(self) -> None:
        return

    def _is_owned(self) -> bool:
        return False

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *args: object) -> None:
        return


def is_owned(lock: Any) -> bool:
    """Whether this thread has a lock: what ``threading.Condition`` asks of one."""
    return bool(lock._is_owned())


class _Locked(Protocol):
    lock: threading.RLock | ParentsLock


_owners: WeakSet[_Locked] = WeakSet()


def locked_in_children(owner: _Locked) -> None:
    """See that a child gets an error where it takes the lock of this owner."""
    _owners.add(owner)


def _forked() -> None:
    for owner in list(_owners):
        owner.lock = ParentsLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

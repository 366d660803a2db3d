"""How a connection comes back: its life as a table, which errors may pass, and when to try again.

Nothing here waits; ``upkeep.py`` does what these tables and numbers say.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from amqp10.conditions import ErrorCondition
from amqp10.errors import (
    AMQPError,
    AuthenticationError,
    ConnectionLostError,
    DecodeError,
    EncodeError,
    LimitError,
    ProtocolError,
    RemoteError,
)

if TYPE_CHECKING:
    from amqp10.client.options import Reconnect

__all__ = ["TRANSITIONS", "Backoff", "ConnectionState", "Move", "StateChange", "Verdict", "judge", "may_pass"]


class ConnectionState(Enum):
    """Where a connection is in its life."""

    CONNECTING = "connecting"
    OPEN = "open"
    LOST = "lost"
    BACKOFF = "backoff"
    FAILED = "failed"
    CLOSED = "closed"


class Move(Enum):
    """What moves it."""

    OPENED = auto()
    LOST = auto()
    ATTEMPT = auto()
    DELAY = auto()
    GIVE_UP = auto()
    CLOSE = auto()


_S = ConnectionState
_M = Move

TRANSITIONS: Final[dict[tuple[ConnectionState, Move], ConnectionState]] = {
    (_S.CONNECTING, _M.OPENED): _S.OPEN,
    (_S.CONNECTING, _M.ATTEMPT): _S.CONNECTING,
    (_S.CONNECTING, _M.DELAY): _S.BACKOFF,
    (_S.CONNECTING, _M.GIVE_UP): _S.FAILED,
    (_S.CONNECTING, _M.CLOSE): _S.CLOSED,
    (_S.OPEN, _M.LOST): _S.LOST,
    (_S.OPEN, _M.GIVE_UP): _S.FAILED,
    (_S.OPEN, _M.CLOSE): _S.CLOSED,
    (_S.LOST, _M.ATTEMPT): _S.CONNECTING,
    (_S.LOST, _M.DELAY): _S.BACKOFF,
    (_S.LOST, _M.GIVE_UP): _S.FAILED,
    (_S.LOST, _M.CLOSE): _S.CLOSED,
    (_S.BACKOFF, _M.ATTEMPT): _S.CONNECTING,
    (_S.BACKOFF, _M.GIVE_UP): _S.FAILED,
    (_S.BACKOFF, _M.CLOSE): _S.CLOSED,
}
"""FAILED and CLOSED are left by nothing."""


class StateChange(NamedTuple):
    """One step in the life of a connection, as ``on_state`` and ``changes()`` report it."""

    state: ConnectionState
    error: AMQPError | None
    """Why, when the state is not what the program wants."""
    url: str
    """Which server it is about, without credentials."""
    attempt: int
    """Which attempt of this outage it is, from 1; 0 while nothing is wrong."""
    elapsed: float
    """Seconds since the outage began, or since ``connect()``."""
    resent: int
    """With OPEN: how many messages go out again because their outcome was lost. At most so many are duplicated."""
    retry_in: float | None
    """With BACKOFF: seconds until the next attempt."""


class Verdict(Enum):
    """What an error means for whether to try again."""

    RETRY = auto()
    AGAIN = auto()
    """Retried for what has worked before; of a link's first attach the program hears at once."""
    GRACE = auto()
    """Retried for a while after a reconnection, fatal otherwise."""
    FATAL = auto()


_RETRY: Final = Verdict.RETRY
_AGAIN: Final = Verdict.AGAIN
_GRACE: Final = Verdict.GRACE
_FATAL: Final = Verdict.FATAL

CONDITIONS: Final[dict[str, Verdict]] = {
    ErrorCondition.CONNECTION_FORCED: _RETRY,
    ErrorCondition.DETACH_FORCED: _RETRY,
    ErrorCondition.INTERNAL_ERROR: _RETRY,
    ErrorCondition.RESOURCE_LIMIT_EXCEEDED: _AGAIN,
    ErrorCondition.RESOURCE_LOCKED: _RETRY,
    ErrorCondition.TRANSACTION_TIMEOUT: _RETRY,
    "com.microsoft:server-busy": _RETRY,
    "com.microsoft:timeout": _RETRY,
    "com.microsoft:operation-cancelled": _RETRY,
    ErrorCondition.NOT_FOUND: _GRACE,
    ErrorCondition.NOT_ALLOWED: _GRACE,
    ErrorCondition.RESOURCE_DELETED: _FATAL,
    ErrorCondition.UNAUTHORIZED_ACCESS: _FATAL,
    ErrorCondition.STOLEN: _FATAL,
    ErrorCondition.MESSAGE_SIZE_EXCEEDED: _FATAL,
    ErrorCondition.NOT_IMPLEMENTED: _FATAL,
    ErrorCondition.PRECONDITION_FAILED: _FATAL,
}
"""What a condition that the peer gives for a close, end or detach means. One that is not here is fatal."""

_FATAL_TLS: Final = frozenset((270, 271, 272, 273, 274, 275, 280, 281, 282))
"""Codes of TLS errors that the next attempt meets again: no library, no store, no certificate, a wrong server."""
_PROTOCOL_FAULTS: Final = 3
"""How many protocol faults in a row are taken for damage on the way."""


def judge(error: AMQPError | None) -> Verdict:
    """What an error means for a link, session or connection that ended with it; no error at all is an orderly end
    that the program did not ask for, and may pass."""
    if error is None:
        return _RETRY
    if isinstance(error, ConnectionLostError):
        return _FATAL
    if isinstance(error, RemoteError):
        return CONDITIONS.get(error.condition or "", _FATAL)
    if isinstance(error, AuthenticationError):
        return _RETRY if error.retryable else _FATAL
    if isinstance(error, (EncodeError, LimitError)) or error.code in _FATAL_TLS:
        return _FATAL
    if isinstance(error, (ProtocolError, DecodeError)):
        return _FATAL
    return _RETRY


def may_pass(
    error: AMQPError | None, retry: Callable[[AMQPError], bool] | None, *, grace: bool = False, first: bool = False
) -> bool:
    """Whether to try again.

    Args:
        error: what happened.
        retry: the program's own rule, which comes first.
        grace: whether this is shortly after a reconnection.
        first: whether it is the answer to the first attach of a link.
    """
    if retry is not None and error is not None:
        return retry(error)
    verdict = judge(error)
    return verdict is _RETRY or (verdict is _AGAIN and not first) or (verdict is _GRACE and grace)


class Backoff:
    """When to try again: one outage of a connection, or of a link that ended alone.

    Args:
        policy: the program's wishes.
        urls: how many there are: the delay grows only after a whole round.
        random: a number from 0 to 1.
    """

    __slots__ = ("_policy", "_random", "_urls", "attempts", "faults", "refused", "started")

    def __init__(self, policy: Reconnect, urls: int, random: Callable[[], float]) -> None:
        self._policy = policy
        self._urls = urls
        self._random = random
        self.attempts: int = 0
        self.faults: int = 0
        """Protocol faults in a row."""
        self.refused: int = 0
        """Attempts in a row in which the login failed."""
        self.started: float | None = None
        """When the outage began; None while there is none."""

    def begin(self, now: float) -> None:
        """An outage begins, or goes on when the connection never proved itself."""
        if self.started is None:
            self.started = now

    def reset(self) -> None:
        """The connection works: an OPEN and a round trip on it succeeded."""
        self.attempts = self.faults = self.refused = 0
        self.started = None

    def elapsed(self, now: float) -> float:
        """Seconds since the outage began."""
        return 0.0 if self.started is None else now - self.started

    def goes_on(self, error: AMQPError | None, now: float) -> bool:
        """Count a failed attempt; whether there is to be another."""
        policy = self._policy
        if policy.max_attempts is not None and self.attempts >= policy.max_attempts:
            return False
        if policy.max_time is not None and self.elapsed(now) >= policy.max_time:
            return False
        if policy.retry is not None and error is not None:
            return policy.retry(error)
        if isinstance(error, AuthenticationError) and not error.retryable:
            # Other servers of the list may know the user: once on every URL.
            self.refused += 1
            return self.refused < self._urls
        self.refused = 0
        if isinstance(error, ProtocolError) and not isinstance(error, RemoteError):
            self.faults += 1
            return self.faults < _PROTOCOL_FAULTS
        self.faults = 0
        return may_pass(error, None, grace=True)

    def delay(self) -> float:
        """Seconds until the next attempt: none before the first of an outage, or within a round over the URLs."""
        rounds, place = divmod(self.attempts, self._urls)
        if rounds == 0 or place:
            return 0.0
        policy = self._policy
        delay = min(policy.max_delay, policy.initial_delay * policy.factor ** min(rounds - 1, 64))
        return delay * (1 - policy.jitter * self._random())

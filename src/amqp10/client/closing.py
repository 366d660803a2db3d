"""What becomes of messages in flight when something ends: one table for every front end.

Columns of deliveries: ``QUEUED`` waits for credit, for the window or for a connection; ``WRITTEN`` has no outcome yet;
``SETTLED`` was sent settled and written. Rows are the ways in which a link can end. docs/reconnection.md has the same
table in words.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from amqp10.errors import AMQPError, ClosedError, ConnectionLostError, DeliveryUnknownError, LinkError

__all__ = ["FATES", "Ending", "Fate", "Stage", "failure"]


class Ending(Enum):
    """Why a link no longer carries messages."""

    LOST = auto()
    """The connection was lost, or the link ended for a reason that may pass."""
    GAVE_UP = auto()
    """The connection will not come back."""
    REFUSED = auto()
    """The link was refused or ended for good."""
    CLOSED = auto()
    """The program closed it, and no outcome came in time."""


class Stage(Enum):
    """How far an outgoing delivery has come."""

    QUEUED = auto()
    WRITTEN = auto()
    SETTLED = auto()


class Fate(Enum):
    """What becomes of it."""

    WAITS = auto()
    """It stays in its place and goes out when the link is back."""
    RESENT = auto()
    """It goes out again, before everything that was never written."""
    DONE = auto()
    """Nothing more is to be known of it: at most once."""
    FAILS = auto()
    """It ends with the error of the ending; it was never sent."""
    UNKNOWN = auto()
    """It ends with an error that says that it may have arrived."""


_W, _R, _D, _F, _U = Fate.WAITS, Fate.RESENT, Fate.DONE, Fate.FAILS, Fate.UNKNOWN

FATES: Final[dict[tuple[Ending, Stage], Fate]] = {
    (Ending.LOST, Stage.QUEUED): _W,
    (Ending.LOST, Stage.WRITTEN): _R,
    (Ending.LOST, Stage.SETTLED): _D,
    (Ending.GAVE_UP, Stage.QUEUED): _F,
    (Ending.GAVE_UP, Stage.WRITTEN): _U,
    (Ending.GAVE_UP, Stage.SETTLED): _D,
    (Ending.REFUSED, Stage.QUEUED): _F,
    (Ending.REFUSED, Stage.WRITTEN): _U,
    (Ending.REFUSED, Stage.SETTLED): _D,
    (Ending.CLOSED, Stage.QUEUED): _F,
    (Ending.CLOSED, Stage.WRITTEN): _U,
    (Ending.CLOSED, Stage.SETTLED): _D,
}


def failure(ending: Ending, fate: Fate, cause: AMQPError | None) -> AMQPError:
    """The error with which one delivery ends: each has its own, with the cause behind it."""
    error: AMQPError
    sent = False if fate is Fate.FAILS else None
    if ending is Ending.REFUSED and cause is not None:
        kind = type(cause) if isinstance(cause, LinkError) else LinkError
        error = kind(cause.message, condition=cause.condition)
        error.description = cause.description
        error.info = cause.info
        error.sent = sent
    elif fate is Fate.UNKNOWN:
        reason = f": {cause.message}" if cause is not None else ""
        error = DeliveryUnknownError(f"the outcome of the message is not known{reason}")
    elif ending is Ending.CLOSED:
        error = ClosedError("the link was closed before the message was sent", sent=False)
    else:
        reason = f": {cause.message}" if cause is not None else ""
        error = ConnectionLostError(f"the message was not sent, the connection is lost{reason}")
        error.sent = False
    error.__cause__ = cause
    return error

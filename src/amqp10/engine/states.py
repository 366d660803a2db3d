"""Every state machine of the engine, as enumerations and transition tables.

A transition that is not in a table is illegal; the engine turns it into the fault that the specification asks for.
Connection and session tables follow the diagrams of transport, "connection states" and "session states", and are the
same for both roles. Links have no diagram in the specification: theirs is the product of "attach sent or received"
and "detach sent or received", drawn from transport, "establishing or resuming a link" and "closing a link".
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

__all__ = [
    "CONNECTION_CLOSED",
    "CONNECTION_SENDS",
    "CONNECTION_TRANSITIONS",
    "CONNECTION_UNOPENED",
    "LINK_TRANSITIONS",
    "SESSION_TRANSITIONS",
    "ConnectionState",
    "EndpointRole",
    "LinkState",
    "SessionState",
    "Stage",
    "Trigger",
]


class EndpointRole(Enum):
    """Which end of the transport connection an engine plays: the one that opened it, or the one that accepted it."""

    CLIENT = auto()
    SERVER = auto()


class Trigger(Enum):
    """What moves a state machine: something was sent (S) or received (R)."""

    S_HEADER = auto()
    R_HEADER = auto()
    S_OPEN = auto()
    R_OPEN = auto()
    S_CLOSE = auto()
    S_CLOSE_ERROR = auto()
    R_CLOSE = auto()
    S_BEGIN = auto()
    R_BEGIN = auto()
    S_END = auto()
    S_END_ERROR = auto()
    R_END = auto()
    S_ATTACH = auto()
    R_ATTACH = auto()
    S_DETACH = auto()
    R_DETACH = auto()


class ConnectionState(Enum):
    """Transport, "connection states"."""

    START = auto()
    HDR_RCVD = auto()
    HDR_SENT = auto()
    HDR_EXCH = auto()
    OPEN_PIPE = auto()
    OC_PIPE = auto()
    OPEN_RCVD = auto()
    OPEN_SENT = auto()
    CLOSE_PIPE = auto()
    OPENED = auto()
    CLOSE_RCVD = auto()
    CLOSE_SENT = auto()
    DISCARDING = auto()
    END = auto()


class Stage(Enum):
    """What the next bytes are that arrive on a connection."""

    HANDSHAKE = auto()
    FRAMES = auto()
    DISCARDED = auto()
    """Frames of which only a close is looked at: this side has given the connection up."""
    OVER = auto()


class SessionState(Enum):
    """Transport, "session states"."""

    UNMAPPED = auto()
    BEGIN_SENT = auto()
    BEGIN_RCVD = auto()
    MAPPED = auto()
    END_SENT = auto()
    END_RCVD = auto()
    DISCARDING = auto()


class LinkState(Enum):
    """Which of the two attaches and detaches have been exchanged."""

    DETACHED = auto()
    ATTACH_SENT = auto()
    ATTACH_RCVD = auto()
    ATTACHED = auto()
    DETACH_SENT = auto()
    DETACH_RCVD = auto()
    DETACH_PIPE = auto()
    """Attach and detach sent, nothing received yet: the peer's attach is still to come."""


_C = ConnectionState
_S = SessionState
_L = LinkState
_T = Trigger

CONNECTION_TRANSITIONS: Final[Mapping[tuple[ConnectionState, Trigger], ConnectionState]] = {
    (_C.START, _T.S_HEADER): _C.HDR_SENT,
    (_C.START, _T.R_HEADER): _C.HDR_RCVD,
    (_C.HDR_RCVD, _T.S_HEADER): _C.HDR_EXCH,
    (_C.HDR_SENT, _T.R_HEADER): _C.HDR_EXCH,
    (_C.HDR_SENT, _T.S_OPEN): _C.OPEN_PIPE,
    (_C.HDR_EXCH, _T.S_OPEN): _C.OPEN_SENT,
    (_C.HDR_EXCH, _T.R_OPEN): _C.OPEN_RCVD,
    (_C.OPEN_PIPE, _T.R_HEADER): _C.OPEN_SENT,
    (_C.OPEN_PIPE, _T.S_CLOSE): _C.OC_PIPE,
    (_C.OPEN_PIPE, _T.S_CLOSE_ERROR): _C.OC_PIPE,
    (_C.OC_PIPE, _T.R_HEADER): _C.CLOSE_PIPE,
    (_C.OPEN_RCVD, _T.S_OPEN): _C.OPENED,
    (_C.OPEN_SENT, _T.R_OPEN): _C.OPENED,
    (_C.OPEN_SENT, _T.S_CLOSE): _C.CLOSE_PIPE,
    (_C.OPEN_SENT, _T.S_CLOSE_ERROR): _C.CLOSE_PIPE,
    (_C.CLOSE_PIPE, _T.R_OPEN): _C.CLOSE_SENT,
    (_C.OPENED, _T.S_CLOSE): _C.CLOSE_SENT,
    (_C.OPENED, _T.S_CLOSE_ERROR): _C.DISCARDING,
    (_C.OPENED, _T.R_CLOSE): _C.CLOSE_RCVD,
    (_C.CLOSE_RCVD, _T.S_CLOSE): _C.END,
    (_C.CLOSE_RCVD, _T.S_CLOSE_ERROR): _C.END,
    (_C.CLOSE_SENT, _T.R_CLOSE): _C.END,
    (_C.DISCARDING, _T.R_CLOSE): _C.END,
}

CONNECTION_SENDS: Final = frozenset((_C.OPENED, _C.OPEN_SENT, _C.OPEN_PIPE, _C.CLOSE_RCVD))
"""In which frames other than open and close may be sent."""
CONNECTION_UNOPENED: Final = frozenset((_C.START, _C.HDR_SENT, _C.HDR_RCVD))
"""In which there is nothing to close but the transport."""
CONNECTION_CLOSED: Final = frozenset((_C.END, _C.CLOSE_SENT, _C.DISCARDING, _C.CLOSE_PIPE, _C.OC_PIPE))
"""In which this side has sent its close, or never will."""

SESSION_TRANSITIONS: Final[Mapping[tuple[SessionState, Trigger], SessionState]] = {
    (_S.UNMAPPED, _T.S_BEGIN): _S.BEGIN_SENT,
    (_S.UNMAPPED, _T.R_BEGIN): _S.BEGIN_RCVD,
    (_S.BEGIN_SENT, _T.R_BEGIN): _S.MAPPED,
    (_S.BEGIN_RCVD, _T.S_BEGIN): _S.MAPPED,
    (_S.MAPPED, _T.S_END): _S.END_SENT,
    (_S.MAPPED, _T.S_END_ERROR): _S.DISCARDING,
    (_S.MAPPED, _T.R_END): _S.END_RCVD,
    (_S.END_SENT, _T.R_END): _S.UNMAPPED,
    (_S.DISCARDING, _T.R_END): _S.UNMAPPED,
    (_S.END_RCVD, _T.S_END): _S.UNMAPPED,
    (_S.END_RCVD, _T.S_END_ERROR): _S.UNMAPPED,
}

LINK_TRANSITIONS: Final[Mapping[tuple[LinkState, Trigger], LinkState]] = {
    (_L.DETACHED, _T.S_ATTACH): _L.ATTACH_SENT,
    (_L.DETACHED, _T.R_ATTACH): _L.ATTACH_RCVD,
    (_L.ATTACH_SENT, _T.R_ATTACH): _L.ATTACHED,
    (_L.ATTACH_SENT, _T.S_DETACH): _L.DETACH_PIPE,
    (_L.ATTACH_RCVD, _T.S_ATTACH): _L.ATTACHED,
    (_L.DETACH_PIPE, _T.R_ATTACH): _L.DETACH_SENT,
    (_L.ATTACHED, _T.S_DETACH): _L.DETACH_SENT,
    (_L.ATTACHED, _T.R_DETACH): _L.DETACH_RCVD,
    (_L.DETACH_SENT, _T.R_DETACH): _L.DETACHED,
    (_L.DETACH_RCVD, _T.S_DETACH): _L.DETACHED,
}

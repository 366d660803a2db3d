"""The life cycle of the component's connection, as a table: from connect() to the end, whoever brings it about.

The engine has the states of the protocol; these are what the program can see of them.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

__all__ = ["TRANSITIONS", "Change", "Life"]


class Life(Enum):
    """Where the connection is."""

    DISCONNECTED = auto()
    """There is none."""
    REACHING = auto()
    """connect() is on its way to the server: name, TCP, proxy, TLS."""
    OPENING = auto()
    """There is a transport, and the server's open is waited for."""
    OPEN = auto()
    """The server's open has arrived."""
    CLOSING = auto()
    """disconnect() has sent close, and waits for the server's."""
    CLOSED = auto()
    """The server's close has arrived."""
    LOST = auto()
    """It has ended, and not by our wish. The call that works it tears down and raises what ended it."""


class Change(Enum):
    """What moves it on."""

    CONNECT = auto()
    REACHED = auto()
    OPENED = auto()
    CLOSE = auto()
    CLOSED = auto()
    LOSE = auto()
    DROP = auto()
    """The transport is dropped, with all that lived on it."""


_NONE, _REACHING, _OPENING, _OPEN = Life.DISCONNECTED, Life.REACHING, Life.OPENING, Life.OPEN
_CLOSING, _CLOSED, _LOST = Life.CLOSING, Life.CLOSED, Life.LOST

# An exception of a signal handler may have a step done twice: the second time changes nothing.
TRANSITIONS: Final[dict[tuple[Life, Change], Life]] = {
    (_NONE, Change.CONNECT): _REACHING,
    (_NONE, Change.LOSE): _NONE,
    (_NONE, Change.DROP): _NONE,
    (_REACHING, Change.CONNECT): _REACHING,
    (_REACHING, Change.REACHED): _OPENING,
    (_REACHING, Change.LOSE): _LOST,  # a handler has called disconnect()
    (_REACHING, Change.DROP): _NONE,
    (_OPENING, Change.REACHED): _OPENING,
    (_OPENING, Change.OPENED): _OPEN,
    (_OPENING, Change.CLOSED): _LOST,
    (_OPENING, Change.LOSE): _LOST,
    (_OPENING, Change.DROP): _NONE,
    (_OPEN, Change.OPENED): _OPEN,
    (_OPEN, Change.CLOSE): _CLOSING,
    (_OPEN, Change.CLOSED): _LOST,
    (_OPEN, Change.LOSE): _LOST,
    (_OPEN, Change.DROP): _NONE,
    (_CLOSING, Change.OPENED): _CLOSING,
    (_CLOSING, Change.CLOSE): _CLOSING,
    (_CLOSING, Change.CLOSED): _CLOSED,
    (_CLOSING, Change.LOSE): _LOST,
    (_CLOSING, Change.DROP): _NONE,
    (_CLOSED, Change.CLOSED): _CLOSED,
    (_CLOSED, Change.LOSE): _CLOSED,  # what breaks now has done its work
    (_CLOSED, Change.DROP): _NONE,
    (_LOST, Change.REACHED): _LOST,
    (_LOST, Change.OPENED): _LOST,
    (_LOST, Change.CLOSED): _LOST,
    (_LOST, Change.LOSE): _LOST,
    (_LOST, Change.DROP): _NONE,
}

"""Log messages: for the program's ``on_log``, and for the standard library's logger ``amqp10``."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from amqp10.component.event_queue import EventQueue, Notice
from amqp10.component.events import AMQPLogEventParams
from amqp10.component.handlers import Handlers
from amqp10.component.settings import Settings
from amqp10.errors import escaped

if TYPE_CHECKING:
    from logging import Logger

__all__ = ["Log", "standard_logger"]

_LEVELS: Final = {1: 20, 2: 10, 3: 10}
"""LogLevel -> the level of the standard library's: INFO and DEBUG."""
_WARNING: Final = 30


@cache
def standard_logger() -> Logger:
    """The standard library's logger ``amqp10``, fetched when there is first something to log: it costs to import."""
    from logging import getLogger

    return getLogger("amqp10")


class Log:
    """Writes log messages. Calling it writes one; never with a secret in it."""

    __slots__ = ("_events", "_handlers", "_settings")

    def __init__(self, settings: Settings, handlers: Handlers, events: EventQueue) -> None:
        self._settings = settings
        self._handlers = handlers
        self._events = events

    def wanted(self, level: int) -> bool:
        """Whether anybody would see a log message of this level."""
        return level <= self._settings.log_level and (
            self._handlers.on_log is not None or standard_logger().isEnabledFor(_LEVELS[level])
        )

    def __call__(self, level: int, kind: str, message: str, severity: int = 0) -> None:
        """Log a message.

        Args:
            level: 1 to 3, as the setting LogLevel counts.
            kind: Info, Session or Frame.
            message: the text.
            severity: the level for the standard library's logger, where it is not the usual one.
        """
        if not severity and not self.wanted(level):
            return
        message = escaped(message)  # a peer's words may be part of it, and must not pass for further lines
        standard_logger().log(severity or _LEVELS[level], "%s", message)
        if self._handlers.on_log is not None:
            self._events.entries.append(Notice("on_log", AMQPLogEventParams(level, message, kind)))

    def warn(self, message: str) -> None:
        """Log that the program does what it hardly means to. Of type Info; for the standard logger, a warning."""
        if self._settings.log_level > 0:
            self(1, "Info", message, _WARNING)

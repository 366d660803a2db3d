"""Errors that no call of the program waits for: ``on_error`` has them, or the next call raises them."""

from __future__ import annotations

from collections import deque
from typing import NoReturn

from amqp10.component.endings import reached, with_undelivered
from amqp10.component.event_queue import EventQueue
from amqp10.component.events import AMQPErrorEventParams
from amqp10.component.handlers import Handlers
from amqp10.component.log import Log
from amqp10.errors import AMQPError

__all__ = ["Reports"]


class Reports:
    """Tells the program of errors.

    Attributes:
        unheard: errors about undelivered messages that no ``on_error`` has reported: the next call raises one.
    """

    __slots__ = ("_events", "_handlers", "_log", "unheard")

    def __init__(self, handlers: Handlers, events: EventQueue, log: Log) -> None:
        self._handlers = handlers
        self._events = events
        self._log = log
        self.unheard: deque[AMQPError] = deque()

    def post(self, error: AMQPError) -> None:
        """Log an error and queue ``on_error``."""
        self._log(1, "Info", f"error: {error}")
        self._events.post("on_error", AMQPErrorEventParams(error.code, error.message))

    def tell(self, error: AMQPError) -> None:
        """Fire ``on_error``. Where nobody listens and messages are concerned, the next call raises the error."""
        self._log(1, "Info", f"error: {error}")
        handler = self._handlers.on_error
        if handler is None:
            unheard = self.unheard
            if error.undelivered and (not unheard or unheard[-1].undelivered is not error.undelivered):
                unheard.append(error)
            return
        try:
            self._events.current = (handler(AMQPErrorEventParams(error.code, error.message)), None)[1]
        except BaseException as failure:
            if reached(failure, handler):
                self._events.current = None
            raise

    def raise_unheard(self) -> None:
        """Raise what a handler of ``on_error`` should have been told."""
        if self.unheard:
            raise self.unheard.popleft()

    def raise_with_unheard(self, error: AMQPError) -> NoReturn:
        """Raise the error of a call, which says what became of earlier messages too where nobody has heard of it."""
        if not self.unheard or self.unheard[0] is error or error.undelivered:
            raise error
        earlier = self.unheard.popleft()
        raise with_undelivered(error, earlier.undelivered) from error

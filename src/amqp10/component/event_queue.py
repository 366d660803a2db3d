"""What is to fire: the events that wait for their turn, in order, and the one that is being handled.

Events fire one at a time, and those that arise while a handler runs wait for it to return. An entry is forgotten only
when it has been handled: a signal handler may raise at any place in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from amqp10.component.calls import Calls
from amqp10.component.endings import Ended, reached
from amqp10.component.handlers import Handlers
from amqp10.engine import IncomingDelivery
from amqp10.engine.events import DeliveriesUpdated
from amqp10.wire.messaging import RELEASED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from amqp10.component.events import AMQPMessageOutEventParams
    from amqp10.engine import Event, OutgoingDelivery
    from amqp10.errors import AMQPError

__all__ = ["EventQueue", "Notice"]


class Notice:
    """An event that is ready to fire: its name, and its parameters."""

    __slots__ = ("hook", "params")

    def __init__(self, hook: str, params: object) -> None:
        self.hook: str = hook
        self.params: object = params


Entry: TypeAlias = Notice | IncomingDelivery | DeliveriesUpdated | Ended


class EventQueue:
    """The events of one instance.

    Attributes:
        entries: what waits, in order.
        current: the entry that is being handled.
        missed: an ``on_message_out`` that is due, though the handler before it has failed.
        actions: what handles an entry, by its type. The parts that know how add theirs.
    """

    __slots__ = ("_calls", "_handlers", "actions", "current", "entries", "missed")

    def __init__(self, calls: Calls, handlers: Handlers) -> None:
        self._calls = calls
        self._handlers = handlers
        self.entries: deque[Entry] = deque()
        self.current: Entry | None = None
        self.missed: AMQPMessageOutEventParams | None = None
        self.actions: dict[type, Callable[[Any], object]] = {Notice: self._fire}

    def post(self, hook: str, params: object) -> None:
        """Queue an event; it fires when the running handler has returned."""
        if getattr(self._handlers, hook) is not None:
            self.entries.append(Notice(hook, params))

    def end(
        self, reason: AMQPError, event: Event | None, deliveries: Iterable[OutgoingDelivery], *, tell: bool = False
    ) -> None:
        """Queue the end of a link or session, after the outcomes that have arrived."""
        last = self.entries[-1] if self.entries else None
        if event is not None and type(last) is Ended and last.event is event:
            return
        ended = Ended(reason, event, tell=tell, deliveries=deliveries)
        if ended.tell or ended.deliveries:
            self.entries.append(ended)

    def _fire(self, notice: Notice) -> None:
        handler = getattr(self._handlers, notice.hook)
        if handler is None:
            return
        try:
            # In one step, so that no exception of a signal handler comes between: it would fire again.
            self.current = (handler(notice.params), None)[1]
        except BaseException as error:
            if reached(error, handler):
                self.current = None
            raise

    def fire_missed(self) -> None:
        """Fire the ``on_message_out`` that is due."""
        params, handler = self.missed, self._handlers.on_message_out
        try:
            self.missed = (handler(params), None)[1] if handler is not None and params is not None else None
        except BaseException as error:
            if handler is not None and reached(error, handler):
                self.missed = None
            raise

    def failed(self, error: BaseException) -> None:
        """An exception has come with an entry in hand: a message is done with, unless its handler was not called."""
        delivery = self.current
        if type(delivery) is not IncomingDelivery:
            return
        hook = self._handlers.on_message_in
        if (delivery.settled and not delivery.remote_settled) or hook is None or reached(error, hook):
            self.current = None

    def release_unseen(self, link_name: str | None = None) -> None:
        """Messages that no handler has seen: their sender gets them back. Settled ones stay, nobody has them but us.

        Those of one link, or all.
        """
        entries = self.entries
        kept = []
        if not self._calls.handling and isinstance(self.current, IncomingDelivery):
            # A signal handler has raised before it was handled.
            entries.appendleft(self.current)
            self.current = None
        for entry in entries:
            if (
                isinstance(entry, IncomingDelivery)
                and not entry.settled
                and (link_name is None or entry.link.context.name == link_name)
            ):
                entry.settle(RELEASED)
                entry.link.context.queued -= 1
            else:
                kept.append(entry)
        if len(kept) != len(entries):
            entries.clear()
            entries.extend(kept)

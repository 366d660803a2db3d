"""What becomes of messages in flight when a link, a session or the connection ends.

docs/outcomes.md has the rules as a table, and ``tests/data/endings.json`` the same table for the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from amqp10.errors import AMQPError, UndeliveredMessage

if TYPE_CHECKING:
    from amqp10.component.registry import SenderRecord
    from amqp10.engine import Event, OutgoingDelivery

__all__ = ["Ended", "account_for", "reached", "with_undelivered"]

_MOST_IDS: Final = 10
_LONGEST_ID: Final = 60


class Ended:
    """A link or session is over: an entry of the event queue, after the outcomes that arrived before the end.

    Attributes:
        reason: what the peer said, or who closed it.
        event: what the engine reported; None for an end that it does not report.
        tell: whether the program is told even if no message is concerned.
        deliveries: what had no outcome when it ended, in order.
        undelivered: of these the ones that have none by now; None until that has been looked at.
    """

    __slots__ = ("deliveries", "event", "reason", "tell", "undelivered")

    def __init__(
        self, reason: AMQPError, event: Event | None, *, tell: bool, deliveries: Iterable[OutgoingDelivery]
    ) -> None:
        self.reason: AMQPError = reason
        self.event: Event | None = event
        self.tell: bool = tell
        self.deliveries: list[OutgoingDelivery] = list(deliveries)
        self.undelivered: tuple[UndeliveredMessage, ...] | None = None


def account_for(delivery: OutgoingDelivery) -> UndeliveredMessage:
    """What a program needs of a message that was not delivered."""
    record: SenderRecord | None = delivery.link.context
    name = record.name if record is not None else delivery.link.name
    return UndeliveredMessage(name, str(delivery.context or ""), delivery.delivery_id >= 0, delivery.payload)


def with_undelivered(
    error: AMQPError, undelivered: tuple[UndeliveredMessage, ...], hint: str = "", *, links: bool = False
) -> AMQPError:
    """The same error, which says of which messages nothing more will be known.

    ``links`` has the links named too, ``hint`` comes last.
    """
    if not undelivered:
        return error
    written = [message for message in undelivered if message.written]
    unwritten = [message for message in undelivered if not message.written]
    parts = []
    if written:
        verb = "has no outcome" if len(written) == 1 else "have no outcome"
        parts.append(f"{_count(written)} {verb} and may have arrived: {_names(written, links)}")
    if unwritten:
        verb = "was" if len(unwritten) == 1 else "were"
        parts.append(f"{_count(unwritten)} {verb} never sent: {_names(unwritten, links)}")
    twin = error.with_hint("; ".join([*parts, hint] if hint else parts))
    twin.undelivered = undelivered
    return twin


def _count(messages: list[UndeliveredMessage]) -> str:
    return "1 message" if len(messages) == 1 else f"{len(messages)} messages"


def _names(messages: list[UndeliveredMessage], links: bool) -> str:
    """The ids of the first messages, with their links where that is asked for."""
    by_link: dict[str, list[str]] = {}
    for message in messages[:_MOST_IDS]:
        name = message.message_id
        name = repr(name if len(name) <= _LONGEST_ID else name[:_LONGEST_ID] + "...") if name else "one without an id"
        by_link.setdefault(message.link_name, []).append(name)
    shown = [", ".join(names) + (f" on link {link!r}" if links else "") for link, names in by_link.items()]
    more = len(messages) - _MOST_IDS
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def reached(error: BaseException, handler: Callable[..., Any]) -> bool:
    """Whether a handler had been called when an exception came out of calling it.

    A signal handler may raise between the decision to fire an event and the first line of the event's handler. The
    event fires again then. What the call itself raises, such as a TypeError for a handler that takes no argument,
    counts as reached: firing again would raise the same.
    """
    code = getattr(getattr(handler, "__func__", handler), "__code__", None)
    if code is None:
        return True
    trace = error.__traceback__
    last = trace
    while trace is not None:
        if trace.tb_frame.f_code is code:
            return True
        last, trace = trace, trace.tb_next
    # The last frame is that of the signal handler, or one of ours where Python's own one raised KeyboardInterrupt.
    ours = last is not None and last.tb_frame.f_globals.get("__package__") == __package__
    return ours and not isinstance(error, KeyboardInterrupt)

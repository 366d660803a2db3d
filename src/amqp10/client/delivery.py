"""A message that a program has submitted, from then until its outcome is known, however often it is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from amqp10.client.message import Message
from amqp10.client.outcomes import Outcome
from amqp10.client.wait import Wait
from amqp10.errors import AMQPError

if TYPE_CHECKING:
    from amqp10.client.links import LinkOwner
    from amqp10.engine import OutgoingDelivery

__all__ = ["Delivery", "DeliverySender"]


class DeliverySender(Protocol):
    """What a delivery needs of its sender: see :class:`amqp10.client.sending.SenderCore`."""

    core: LinkOwner

    def take_back(self, delivery: Delivery) -> bool:
        """Take a delivery back that has not been written."""
        ...

    def abandon(self, delivery: Delivery) -> bool | None:
        """Nobody waits for the outcome any more."""
        ...


class Delivery:
    """A message that was submitted, and what became of it.

    Attributes:
        message: what was submitted.
        attempts: how often it was written: more than 1 after it was sent again.
        outcome: what the receiver did with it; None while that is not known, and when it failed.
        error: why it failed; None while it has not.
    """

    __slots__ = (
        "_breaks",
        "_callbacks",
        "_carrier",
        "_gone",
        "_sender",
        "_settled",
        "_waits",
        "attempts",
        "error",
        "message",
        "outcome",
    )

    def __init__(self, sender: DeliverySender, message: Message, settled: bool) -> None:
        self._sender = sender
        self.message: Message = message
        self._settled = settled
        self.attempts: int = 0
        self._breaks = 0
        self.outcome: Outcome | None = None
        self.error: AMQPError | None = None
        self._carrier: OutgoingDelivery | None = None
        self._waits: list[Wait] | None = None
        self._callbacks: list[Callable[[Any], object]] | None = None
        self._gone = False
        """Whether nobody waits for its outcome any more: it is not sent again."""

    @property
    def done(self) -> bool:
        """Whether it has its outcome, or has failed."""
        return self.outcome is not None or self.error is not None

    @property
    def sent(self) -> bool:
        """Whether it has been written, at least in part."""
        carrier = self._carrier
        return self.attempts > (1 if carrier is not None and carrier.delivery_id < 0 else 0)

    @property
    def message_id(self) -> Any:
        """The id of its message."""
        return self.message.id

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call ``callback(delivery)`` when it is done: soon, not from within this call."""
        if self.done:
            self._sender.core.driver.call(callback, self)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def _withdraw(self) -> bool:
        """Take it back before it is written. Returns whether that was possible; then it has failed as closed."""
        return self._sender.take_back(self)

    def _finish(self, outcome: Outcome | None, error: AMQPError | None) -> None:
        """It has come to its end."""
        self.outcome = outcome
        self.error = error
        self._carrier = None
        waits, self._waits = self._waits, None
        if waits is not None:
            for wait in waits:
                wait.set()
        callbacks, self._callbacks = self._callbacks, None
        if callbacks is not None:
            for callback in callbacks:
                self._sender.core.driver.call(callback, self)

    async def _wait_outcome(self, deadline: float | None) -> Outcome:
        """Until it is done.

        Raises:
            AMQPError: it failed, see :mod:`amqp10.client.closing`; MessageRejectedError when it was rejected.
            AMQPTimeoutError: it is not done in time. It goes on.
        """
        while not self.done:
            wait = self._sender.core.driver.new_wait()
            if self._waits is None:
                self._waits = [wait]
            else:
                self._waits.append(wait)
            try:
                await wait.wait(deadline)
            finally:
                if self._waits is not None and wait in self._waits:
                    self._waits.remove(wait)
        if self.error is not None:
            raise self.error
        assert self.outcome is not None
        return self.outcome

    def __repr__(self) -> str:
        state = "failed" if self.error is not None else repr(self.outcome) if self.outcome is not None else "under way"
        return f"<Delivery {state}, attempts={self.attempts}>"

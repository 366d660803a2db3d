"""The outcome that the running handler decides, or is told of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amqp10.component.handlers import Handlers
from amqp10.component.outcomes import OutcomeMetadata

if TYPE_CHECKING:
    from amqp10.component.events import AMQPMessageOutcomeEventParams
    from amqp10.engine import OutgoingDelivery

__all__ = ["HandlerOutcome"]


class HandlerOutcome:
    """What the settings of outcomes are about at the moment, and who has been told.

    Attributes:
        metadata: what the settings of outcomes read as; None until a handler that may decide first touches one, and
            outside handlers.
        settable: whether the handler may decide.
        told: the message sent from here whose ``on_message_outcome`` has fired last.
    """

    __slots__ = ("_handlers", "metadata", "settable", "told")

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self.metadata: OutcomeMetadata | None = None
        self.settable: bool = False
        self.told: OutgoingDelivery | None = None

    def fire(
        self, params: AMQPMessageOutcomeEventParams, metadata: OutcomeMetadata, delivery: OutgoingDelivery | None = None
    ) -> None:
        """Fire ``on_message_outcome``, which has a handler.

        ``delivery`` is the message, if it was sent from here.
        """
        previous = self.metadata, self.settable
        self.metadata, self.settable = metadata, False
        handler = self._handlers.on_message_outcome
        try:
            assert handler is not None
            # In one step, so that no exception of a signal handler comes between: it would fire again.
            self.told = (handler(params), delivery)[1]
        finally:
            self.metadata, self.settable = previous

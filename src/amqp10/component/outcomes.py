"""The metadata of outcomes: what the ``RejectError...`` and ``Modified...`` settings hold inside a handler.

Messaging, "rejected" and "modified". Each handler call gets a fresh object for those settings.
"""

from __future__ import annotations

from collections.abc import Mapping

from amqp10.codec import Symbol
from amqp10.component import values
from amqp10.conditions import ErrorCondition
from amqp10.errors import AMQPError
from amqp10.wire.messaging import DeliveryState, Modified, Rejected
from amqp10.wire.performatives import Error

__all__ = ["OutcomeMetadata"]

_DEFAULT_CONDITION = ErrorCondition.INTERNAL_ERROR


class OutcomeMetadata:
    """Why a message was rejected, or how it is to be modified."""

    __slots__ = ("annotations", "condition", "delivery_failed", "description", "undeliverable_here")

    def __init__(self) -> None:
        self.condition: str = ""
        self.description: str = ""
        self.delivery_failed: bool = False
        self.undeliverable_here: bool = False
        self.annotations: Mapping[object, object] | None = None

    @classmethod
    def from_state(cls, state: DeliveryState | None) -> OutcomeMetadata:
        """What the peer said with an outcome."""
        metadata = cls()
        if isinstance(state, Rejected):
            if state.error is not None:
                metadata.condition = str(state.error.condition)
                metadata.description = state.error.description or ""
        elif isinstance(state, Modified):
            metadata.delivery_failed = bool(state.delivery_failed)
            metadata.undeliverable_here = bool(state.undeliverable_here)
            metadata.annotations = state.message_annotations
        return metadata

    def set_condition(self, text: str) -> None:
        """Set the error condition: a symbol.

        Raises:
            AMQPError: 604; it is not ASCII.
        """
        if not text.isascii():
            raise AMQPError(604, "RejectErrorCondition is a symbol and must be ASCII")
        self.condition = text

    def set_annotations(self, text: str) -> None:
        """Set the message annotations from the JSON of one AMQP map; empty text for none.

        Raises:
            AMQPError: 604; it is something else.
        """
        if not text:
            self.annotations = None
            return
        value = values.from_json(text, "ModifiedMessageAnnotations")
        if not isinstance(value, Mapping):
            raise AMQPError(604, "ModifiedMessageAnnotations must be the JSON of an AMQP map")
        for key in value:
            # The field is a map of the type "fields", whose keys are symbols (transport, "fields").
            if not isinstance(key, Symbol):
                raise AMQPError(604, f"ModifiedMessageAnnotations: the keys must be symbols, not {type(key).__name__}")
        self.annotations = value

    def annotations_text(self, simplified: bool, most: int = 0) -> str:
        """The message annotations as JSON; empty when there are none.

        Raises:
            AMQPError: 604; the text has more than ``most`` characters, if that is not 0. They may come from the peer.
        """
        return "" if self.annotations is None else values.to_json(self.annotations, simplified, most)

    def rejected(self) -> Rejected:
        """The outcome *rejected*, with the error where one was given."""
        if not self.condition and not self.description:
            return Rejected()
        return Rejected(
            error=Error(condition=Symbol(self.condition or _DEFAULT_CONDITION), description=self.description or None)
        )

    def modified(self) -> Modified:
        """The outcome *modified*."""
        return Modified(
            delivery_failed=True if self.delivery_failed else None,
            undeliverable_here=True if self.undeliverable_here else None,
            message_annotations=dict(self.annotations) if self.annotations else None,
        )

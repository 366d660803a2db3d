"""What the receiver did with a message: its delivery state and whether it settled (messaging, "delivery state")."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from amqp10.errors import AMQPError, DeliveryUnknownError, MessageRejectedError
from amqp10.wire.messaging import Accepted, Declared, Modified, Received, Rejected, Released, TransactionalState

__all__ = ["Accepted", "Modified", "Outcome", "Released", "outcome_of"]

Outcome: TypeAlias = Accepted | Released | Modified
"""What a send gives back. A rejection is raised instead, as MessageRejectedError."""

_FINE: Final = (Accepted, Released, Modified, Declared)


def outcome_of(state: Any, settled: bool) -> Any | AMQPError | None:
    """The outcome that a delivery state is, the error that it is, or None while there is more to come.

    Args:
        state: the state that the receiver reported.
        settled: whether it has settled the delivery, so that nothing more will come.
    """
    if type(state) is TransactionalState:
        state = state.outcome
    if isinstance(state, _FINE):
        return state
    if type(state) is Rejected:
        return _rejected(state)
    if not settled:
        return None
    if state is None or type(state) is Received:
        return DeliveryUnknownError("the receiver settled the message without an outcome", sent=True)
    return DeliveryUnknownError(
        f"the receiver settled the message with a state that is no outcome: {type(state).__name__}", sent=True
    )


def _rejected(state: Rejected) -> MessageRejectedError:
    reason = state.error
    text = "the receiver rejected the message"
    if reason is None:
        return MessageRejectedError(text, sent=True)
    text += f": {reason.condition}"
    if reason.description:
        text += f": {reason.description}"
    error = MessageRejectedError(text, condition=str(reason.condition), sent=True)
    error.description = reason.description
    error.info = reason.info
    return error

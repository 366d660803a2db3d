"""A message that arrived, as the program has it: what it says, and the ways to settle it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from amqp10.client.links import Stage
from amqp10.client.message import Message
from amqp10.codec import Symbol
from amqp10.conditions import ErrorCondition
from amqp10.wire.layouts import Layouts
from amqp10.wire.message import Message as WireMessage
from amqp10.wire.messaging import ACCEPTED, RELEASED, Modified, Rejected
from amqp10.wire.performatives import Error

if TYPE_CHECKING:
    from amqp10.client.links import LinkOwner
    from amqp10.engine import IncomingDelivery, ReceiverLink

__all__ = ["MessageReceiver", "ReceivedMessage"]

_DETACHING: Final = Stage.DETACHING
_FAILED: Final = Modified(delivery_failed=True)


class MessageReceiver(Protocol):
    """What a message needs of its receiver: see :class:`amqp10.client.receiving.ReceiverCore`."""

    core: LinkOwner
    link: ReceiverLink | None
    stage: Stage
    layouts: Layouts

    def settle(self, delivery: IncomingDelivery, state: Any) -> bool:
        """Settle a message with an outcome. Returns whether it was still this program's."""
        ...

    async def wait_settled(self, delivery: IncomingDelivery, deadline: float | None) -> None:
        """Until the sender has settled a delivery."""
        ...


class ReceivedMessage(Message):
    """A message that arrived. Settle it when it has been dealt with; settling does not wait.

    Each way of settling returns False when the delivery is no longer this program's: the connection was lost
    meanwhile, and the message will come again.
    """

    __slots__ = ("_delivery", "_receiver")

    def __init__(self, delivery: IncomingDelivery, receiver: MessageReceiver) -> None:
        self._delivery = delivery
        self._receiver = receiver
        self._wire = None

    def encode(self) -> bytes:
        """The message as it travelled."""
        return self._delivery.payload

    @property
    def wire(self) -> WireMessage:
        """The sections as the specification has them, with AMQP's own types."""
        wire = self._wire
        if wire is None:
            wire = self._wire = WireMessage.decode(self._delivery.payload, self._receiver.layouts)
        return wire

    def _settle(self, state: Any) -> bool:
        return self._receiver.settle(self._delivery, state)

    def accept(self) -> bool:
        """It was processed (messaging, "accepted")."""
        return self._settle(ACCEPTED)

    def release(self) -> bool:
        """It was not looked at, and may go to anybody (messaging, "released")."""
        return self._settle(RELEASED)

    def reject(
        self,
        condition: str = ErrorCondition.INTERNAL_ERROR,
        description: str | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> bool:
        """It is invalid (messaging, "rejected"). What becomes of it is the peer's business: often a dead letter."""
        pairs = None if info is None else {Symbol(name): value for name, value in info.items()}
        return self._settle(Rejected(error=Error(condition=Symbol(condition), description=description, info=pairs)))

    def modify(
        self,
        *,
        delivery_failed: bool = True,
        undeliverable_here: bool = False,
        annotations: Mapping[str, Any] | None = None,
    ) -> bool:
        """It was not processed and goes back changed (messaging, "modified").

        Args:
            delivery_failed: whether to count this as an attempt that failed.
            undeliverable_here: whether it must not come to this receiver again.
            annotations: to be merged into the message's annotations.
        """
        if delivery_failed and not undeliverable_here and annotations is None:
            return self._settle(_FAILED)
        pairs = None if annotations is None else {Symbol(name): value for name, value in annotations.items()}
        return self._settle(
            Modified(delivery_failed=delivery_failed, undeliverable_here=undeliverable_here, message_annotations=pairs)
        )

    @property
    def stale(self) -> bool:
        """Whether the link that it came on is gone: it cannot be settled any more."""
        receiver = self._receiver
        return self._delivery.link is not receiver.link or receiver.stage is _DETACHING

    @property
    def delivery_count(self) -> int:
        """How often its delivery failed before (messaging, "header")."""
        header = self.wire.header
        return 0 if header is None or header.delivery_count is None else int(header.delivery_count)

    @property
    def redelivered(self) -> bool:
        """Whether it may have been delivered before."""
        header = self.wire.header
        return header is not None and (header.first_acquirer is False or bool(header.delivery_count))

    @property
    def tag(self) -> bytes:
        """The delivery tag (transport, "delivery-tag")."""
        return self._delivery.tag

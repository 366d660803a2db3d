"""Deliveries in flight: messages on their way out or in, from the first byte until both sides forgot them.

Transport, "transferring a message". The objects are small and carry no behaviour on the hot path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from amqp10.engine.serial import MASK
from amqp10.errors import ProtocolError

if TYPE_CHECKING:
    from amqp10.engine.receiver import ReceiverLink
    from amqp10.engine.sender import SenderLink
    from amqp10.wire.messaging import DeliveryState

__all__ = ["IncomingDelivery", "OutgoingDelivery", "TransferFields"]

_SMALL_PART = 1024
"""Bytes up to which parts of a message are copied together as they arrive."""


class TransferFields(NamedTuple):
    """What the first transfer of a delivery says that is not usual."""

    tag: bytes | None
    """The delivery tag; None for the delivery id in network order."""
    message_format: int
    state: DeliveryState | None
    resume: bool


_USUAL: Final = TransferFields(None, 0, None, False)
_ABORTED: Final = -1


class OutgoingDelivery:
    """A message sent on a sender link.

    Attributes:
        link: the link it was sent on.
        delivery_id: its number within the session (a 32-bit serial number); -1 while it waits for the session window.
        size: bytes of the encoded message.
        settled: whether this side has forgotten it (sent settled, or settled since).
        sent: how many bytes of the payload have been framed; equal to ``size`` once it is wholly on its way, -1 when it
            has been given up.
        remote_state: the last state the receiver reported.
        remote_settled: whether the receiver has settled it.
        context: whatever the user of the engine wants to find again.
    """

    __slots__ = (
        "_payload",
        "context",
        "delivery_id",
        "fields",
        "link",
        "remote_settled",
        "remote_state",
        "sent",
        "settled",
        "size",
    )

    def __init__(
        self,
        link: SenderLink,
        delivery_id: int,
        payload: bytes | tuple[bytes, bytes],
        size: int,
        sent: int,
        settled: bool,
        context: Any,
    ) -> None:
        self.link: SenderLink = link
        self.delivery_id: int = delivery_id
        self._payload = payload
        self.size: int = size
        self.settled: bool = settled
        self.sent: int = sent
        self.fields: TransferFields | None = None
        """What its first transfer says that is not usual; None for nothing."""
        self.remote_state: DeliveryState | None = None
        self.remote_settled: bool = False
        self.context: Any = context

    @property
    def payload(self) -> bytes:
        """The encoded message. One that was given in two parts is joined when it is first looked at."""
        payload = self._payload
        if isinstance(payload, tuple):
            payload = self._payload = payload[0] + payload[1]
        return payload

    @property
    def tag(self) -> bytes:
        """The delivery tag: the delivery id in network order, unless it was sent with another, or had to wait."""
        tag = self.fields.tag if self.fields is not None else None
        return tag if tag is not None else self.delivery_id.to_bytes(4, "big")

    @property
    def message_format(self) -> int:
        """The message format code of its first transfer."""
        return self.fields.message_format if self.fields is not None else 0

    @property
    def aborted(self) -> bool:
        """Whether it has been given up."""
        return self.sent == _ABORTED

    @property
    def complete(self) -> bool:
        """Whether every byte has been framed for sending."""
        return self.sent >= self.size and self.delivery_id >= 0

    def wait(self, tag: bytes) -> None:
        """It waits for the session window, and so has no delivery id yet: it gets a tag of its own, if it has none."""
        fields = self.fields or _USUAL
        if fields.tag is None:
            self.fields = fields._replace(tag=tag)

    def give_up(self) -> None:
        """No more of it is sent."""
        self.sent = _ABORTED
        self.settled = True

    def settle(self, state: DeliveryState | None = None) -> None:
        """Forget the delivery and tell the receiver so (transport, "transferring a message").

        Args:
            state: the final state to tell; by default what the receiver reported.
        """
        if self.settled:
            return
        self.settled = True
        link = self.link
        link.forget(self)
        if not self.remote_settled and not link.closing:
            link.dispositions.add(False, self.delivery_id, state or self.remote_state, True)

    def abort(self) -> None:
        """Give up a delivery that is only partly sent (transport, "transferring large messages").

        Raises:
            ProtocolError: the delivery has been sent completely.
        """
        if self.complete:
            raise ProtocolError("a delivery that has been sent completely cannot be aborted")
        self.link.abort(self)

    def __repr__(self) -> str:
        return f"<OutgoingDelivery {self.delivery_id} on {self.link.name!r}: {self.size} bytes>"


class IncomingDelivery:
    """A message that arrived on a receiver link, wholly or in part.

    Attributes:
        link: the link it arrived on.
        delivery_id: the sender's number for it within the session.
        tag: its delivery tag.
        settled: whether it is settled (by the sender on transfer, or here since).
        message_format: the message format code of its first transfer.
        remote_state: the last state the sender reported.
    """

    __slots__ = (
        "_parts",
        "_payload",
        "_size",
        "delivery_id",
        "link",
        "message_format",
        "partial",
        "remote_settled",
        "remote_state",
        "settled",
        "state",
        "tag",
    )

    def __init__(
        self, link: ReceiverLink, delivery_id: int, tag: bytes, payload: bytes | memoryview, settled: bool
    ) -> None:
        self.link: ReceiverLink = link
        self.delivery_id: int = delivery_id
        self.tag: bytes = tag
        self._payload = payload
        self.settled: bool = settled
        self.remote_settled: bool = settled
        self.message_format: int = 0
        self.partial: bool = False
        self.state: DeliveryState | None = None
        self.remote_state: DeliveryState | None = None
        self._parts: list[bytes | bytearray | memoryview] | None = None
        self._size = 0

    @property
    def payload(self) -> bytes:
        """The encoded message; only what has arrived so far while ``partial``."""
        payload = self.buffer
        if type(payload) is not bytes:
            payload = self._payload = bytes(payload)
        return payload

    @property
    def buffer(self) -> bytes | memoryview:
        """The encoded message where it lies: a large one within the bytes that arrived, so that it is not copied.

        Parts of a multi-frame message are joined once, when they are first looked at.
        """
        parts = self._parts
        if parts:
            self._payload = b"".join(parts)
            # While more is to come they stay parts, so that looking at a growing delivery does not join it each time.
            self._parts = [self._payload] if self.partial or self._size != len(self._payload) else None
        return self._payload

    @property
    def size(self) -> int:
        """Bytes of the encoded message that have arrived, those taken by :meth:`take_parts` included."""
        return self._size if self._parts is not None else len(self._payload)

    def start_parts(self) -> None:
        """Turn a fresh delivery into one that is being assembled."""
        self.partial = True
        self._size = len(self._payload)
        self._parts = [self._payload]

    @property
    def resumed(self) -> bool:
        """Whether it goes on where an earlier attachment of the link left it (transport, "resuming deliveries")."""
        return self.link.resumed.get(self.tag) is self

    def take_parts(self) -> Sequence[bytes | bytearray | memoryview]:
        """The parts of the message that have arrived since the last call, in order; ``payload`` has them no more.

        On a link with ``streaming`` this opens the session window for as many frames more.
        """
        if self.partial:
            self.link.let_go()
        parts = self._parts
        if parts is None:
            self._size = len(self._payload)
            parts = [self._payload]
        self._parts = []
        self._payload = b""
        return parts

    def add_part(self, part: bytes) -> None:
        """Append the payload of a continuation transfer."""
        parts = self._parts
        assert parts is not None
        size = len(part)
        self._size += size
        if size >= _SMALL_PART:
            parts.append(part)
        elif parts and type(last := parts[-1]) is bytearray:
            last += part
        else:
            # An object of its own costs many times the size of a part of a few bytes.
            parts.append(bytearray(part))

    def settle(self, state: DeliveryState) -> None:
        """Report the outcome and forget the delivery. Nothing is sent for one that the sender has settled already.

        Raises:
            ProtocolError: the annotations of *modified*, or the condition of *rejected*, do not fit a frame that the
                peer accepts. The delivery stays unsettled.
        """
        if self.settled:
            return
        link = self.link
        delivery_id = self.delivery_id
        if not self.remote_settled and not link.closing:
            run = link.dispositions
            if run.next == delivery_id and run.state is state and run.settles_received:
                run.next = (delivery_id + 1) & MASK
            else:
                run.add(True, delivery_id, state, True)
        self.settled = True
        self.state = state
        link.unsettled.pop(delivery_id, None)
        link.session.incoming_unsettled.pop(delivery_id, None)

    def update(self, state: DeliveryState) -> None:
        """Report a state without settling (receiver settle mode *second*, or a non-terminal state)."""
        if self.settled or self.remote_settled or self.link.closing:
            return
        self.state = state
        self.link.dispositions.add(True, self.delivery_id, state, False)

    def __repr__(self) -> str:
        return f"<IncomingDelivery {self.delivery_id} on {self.link.name!r}: {self.size} bytes>"

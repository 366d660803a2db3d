"""Deliveries in flight: messages on their way out or in, from the first byte until both sides forgot them.

Transport, "transferring a message". The objects are small and carry no behaviour on the hot path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amqp10.errors import ProtocolError

if TYPE_CHECKING:
    from amqp10.engine.receiver import ReceiverLink
    from amqp10.engine.sender import SenderLink
    from amqp10.wire.messaging import DeliveryState

__all__ = ["IncomingDelivery", "OutgoingDelivery"]

_SMALL_PART = 1024
"""Octets up to which parts of a message are copied together as they arrive."""


class OutgoingDelivery:
    """A message sent on a sender link.

    Attributes:
        link: the link it was sent on.
        delivery_id: its number within the session (a 32-bit serial number).
        tag: its delivery tag.
        size: octets of the encoded message.
        settled: whether this side has forgotten it (sent settled, or settled since).
        sent: how many octets of the payload have been framed; equal to ``size`` once it is wholly on its way.
        remote_state: the last state the receiver reported.
        remote_settled: whether the receiver has settled it.
        context: whatever the user of the engine wants to find again.
    """

    __slots__ = (
        "_body",
        "_payload",
        "aborted",
        "context",
        "delivery_id",
        "link",
        "message_format",
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
        payload: bytes,
        body: bytes,
        size: int,
        sent: int,
        settled: bool,
        context: Any,
    ) -> None:
        self.link = link
        self.delivery_id = delivery_id
        self._payload = payload
        self._body = body
        self.size = size
        self.settled = settled
        self.message_format = 0
        self.sent = sent
        self.aborted = False
        self.remote_state: DeliveryState | None = None
        self.remote_settled = False
        self.context = context

    @property
    def payload(self) -> bytes:
        """The encoded message. One that was given in two parts is joined when it is first looked at."""
        if self._body:
            self._payload += self._body
            self._body = b""
        return self._payload

    @property
    def tag(self) -> bytes:
        """The delivery tag: the delivery id in network order."""
        return self.delivery_id.to_bytes(4, "big")

    @property
    def complete(self) -> bool:
        """Whether every octet has been framed for sending."""
        return self.sent >= self.size and not self.aborted and self.delivery_id >= 0

    def settle(self, state: DeliveryState | None = None) -> None:
        """Forget the delivery and tell the receiver so (transport, "transferring a message").

        Args:
            state: the final state to tell; by default what the receiver reported.
        """
        if self.settled:
            return
        self.settled = True
        session = self.link.session
        session.outgoing_unsettled.pop(self.delivery_id, None)
        if not self.remote_settled and not self.link.closing:
            session.queue_disposition(False, self.delivery_id, state or self.remote_state, True)

    def abort(self) -> None:
        """Give up a delivery that is only partly sent (transport, "transferring large messages").

        Raises:
            ProtocolError: the delivery has been sent completely.
        """
        if self.complete:
            raise ProtocolError("a delivery that has been sent completely cannot be aborted")
        self.link.abort(self)

    def __repr__(self) -> str:
        return f"<OutgoingDelivery {self.delivery_id} on {self.link.name!r}: {self.size} octets>"


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
        self.link = link
        self.delivery_id = delivery_id
        self.tag = tag
        self._payload = payload
        self.settled = settled
        self.remote_settled = settled
        self.message_format = 0
        self.partial = False
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
        if parts is not None:
            self._payload = b"".join(parts)
            # While more is to come they stay parts, so that looking at a growing delivery does not join it each time.
            self._parts = [self._payload] if self.partial else None
        return self._payload

    @property
    def size(self) -> int:
        """Octets of the encoded message that have arrived."""
        return self._size if self._parts is not None else len(self._payload)

    def start_parts(self) -> None:
        """Turn a fresh delivery into one that is being assembled."""
        self.partial = True
        self._size = len(self._payload)
        self._parts = [self._payload]

    def add_part(self, part: bytes) -> None:
        """Append the payload of a continuation transfer."""
        parts = self._parts
        assert parts is not None
        size = len(part)
        self._size += size
        if size >= _SMALL_PART:
            parts.append(part)
        elif type(last := parts[-1]) is bytearray:
            last += part
        else:
            # An object of its own costs many times the size of a part of a few octets.
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
        session = link.session
        if not self.remote_settled and not link.closing:
            session.queue_disposition(True, self.delivery_id, state, True)
        self.settled = True
        self.state = state
        session.incoming_unsettled.pop(self.delivery_id, None)

    def update(self, state: DeliveryState) -> None:
        """Report a state without settling (receiver settle mode *second*, or a non-terminal state)."""
        if self.settled or self.remote_settled or self.link.closing:
            return
        self.state = state
        self.link.session.queue_disposition(True, self.delivery_id, state, False)

    def __repr__(self) -> str:
        return f"<IncomingDelivery {self.delivery_id} on {self.link.name!r}: {self.size} octets>"

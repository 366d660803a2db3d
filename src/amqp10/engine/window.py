"""The numbers of a session's flow control, which it shares with its links (transport, "session flow control")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amqp10.conditions import ErrorCondition
from amqp10.engine.faults import SessionFault
from amqp10.engine.serial import MASK, serial_difference

if TYPE_CHECKING:
    from amqp10.wire.performatives import Begin, Flow

__all__ = ["SessionWindow"]


class SessionWindow:
    """How many transfer frames may travel, in both directions, and how they are counted.

    Attributes:
        incoming: how many transfer frames the peer may send before this side must answer.
        left: how many of these it may still send.
        held: how many of those that have arrived are parts of streamed messages which nobody has taken: so much smaller
            is the window that is stated to the peer.
        outgoing: what is stated to the peer as this side's outgoing window.
        remote_incoming: how many transfer frames the peer can take now.
        remote_outgoing: what the peer states as its outgoing window.
        initial_outgoing_id: the transfer id, and the delivery id, of the first transfer sent.
        next_outgoing_id, next_incoming_id: transfer ids (32-bit serial numbers). There is no incoming one before the
            peer's begin.
        next_delivery_id: the delivery id of the next delivery sent (a 32-bit serial number).
    """

    __slots__ = (
        "_tags",
        "held",
        "incoming",
        "initial_outgoing_id",
        "left",
        "next_delivery_id",
        "next_incoming_id",
        "next_outgoing_id",
        "outgoing",
        "remote_incoming",
        "remote_outgoing",
    )

    def __init__(self, incoming: int, outgoing: int, initial_outgoing_id: int) -> None:
        self.incoming: int = incoming
        self.left: int = incoming
        self.held: int = 0
        self.outgoing: int = outgoing
        self.remote_incoming: int = 0
        self.remote_outgoing: int = 0
        self.initial_outgoing_id: int = initial_outgoing_id
        self.next_outgoing_id: int = initial_outgoing_id
        self.next_delivery_id: int = initial_outgoing_id
        self.next_incoming_id: int | None = None
        self._tags = 0

    def new_tag(self) -> bytes:
        """A delivery tag for a delivery that has no delivery id yet.

        It has eight bytes, so that it is not the one of a delivery with an id. Like delivery ids, it does not come
        again on a next connection whose ids go on where those of this one end.
        """
        self._tags += 1
        return self.next_delivery_id.to_bytes(4, "big") + (self._tags & MASK).to_bytes(4, "big")

    @property
    def half_used(self) -> bool:
        """Whether the peer has used half of the incoming window or more, and it can be opened again."""
        return self.left <= self.incoming >> 1 and self.left < self.incoming - self.held

    def count_transfer(self) -> bool:
        """Count a transfer that has arrived. Returns whether so many have that the window should be opened again.

        Raises:
            SessionFault: the window was closed.
        """
        left = self.left - 1
        if left < 0:
            raise SessionFault(
                ErrorCondition.WINDOW_VIOLATION,
                f"the peer sent more than the {self.incoming} transfers that the session window allows",
            )
        self.left = left
        self.next_incoming_id = ((self.next_incoming_id or 0) + 1) & MASK
        return left <= self.incoming >> 1

    def open(self) -> int:
        """Open the incoming window again. Returns what is to be stated to the peer."""
        self.left = max(0, self.incoming - self.held)
        return self.left

    @property
    def transfers(self) -> int:
        """Transfers sent and received so far, from where the counts start, modulo 2**32."""
        return (self.next_outgoing_id + (self.next_incoming_id or 0)) & MASK

    def on_begin(self, begin: Begin) -> None:
        """Take what the peer states when the session begins."""
        self.next_incoming_id = int(begin.next_outgoing_id)
        self.remote_incoming = int(begin.incoming_window)
        self.remote_outgoing = int(begin.outgoing_window)

    def on_flow(self, flow: Flow) -> bool:
        """Take the peer's flow state. Returns False, and takes nothing, if it expects a transfer that has not been
        reached."""
        ahead = serial_difference(self.next_outgoing_id, self.expected(flow))
        if ahead < 0:
            return False
        self.remote_incoming = max(0, int(flow.incoming_window) - ahead)
        self.next_incoming_id = int(flow.next_outgoing_id)
        self.remote_outgoing = int(flow.outgoing_window)
        return True

    def expected(self, flow: Flow) -> int:
        """Which transfer the peer expects next: before it has seen our begin, the first one."""
        return self.initial_outgoing_id if flow.next_incoming_id is None else int(flow.next_incoming_id)

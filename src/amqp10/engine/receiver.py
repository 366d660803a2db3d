"""The receiving end of a link: credit, drain, how much may arrive, and the messages that have (transport, "links").

Messages are taken from their frames in ``incoming.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from amqp10.conditions import ErrorCondition
from amqp10.engine.faults import LinkFault
from amqp10.engine.link import LinkEndpoint, LinkSession, LinkTerms
from amqp10.engine.parts import Parts
from amqp10.engine.serial import HALF, MASK
from amqp10.engine.shapes import NO_SHAPE, RunShape, TransferShape
from amqp10.engine.states import LinkState
from amqp10.errors import ProtocolError

if TYPE_CHECKING:
    from amqp10.wire.messaging import DeliveryState
    from amqp10.wire.performatives import Flow

__all__ = ["IncomingDelivery", "ReceiverLink"]

# Looking up a member of an enumeration costs five times as much as looking up a name.
_ATTACHED: Final = LinkState.ATTACHED


class IncomingDelivery:
    """A message that arrived on a receiver link, wholly or in part.

    Attributes:
        link: the link it arrived on.
        delivery_id: the sender's number for it within the session.
        tag: its delivery tag.
        settled: whether it is settled (by the sender on transfer, or here since).
        message_format: the message format code of its first transfer.
        partial: whether more of it is to come.
        parts: what arrived of it in several frames, or is taken part by part; None for one that came whole.
        remote_state: the last state the sender reported.
    """

    __slots__ = (
        "_payload",
        "delivery_id",
        "link",
        "message_format",
        "partial",
        "parts",
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
        self.parts: Parts | None = None

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
        return self._payload if self.parts is None else self.parts.joined()

    @property
    def size(self) -> int:
        """Bytes of the encoded message that have arrived, those taken by :meth:`take_parts` included."""
        return len(self._payload) if self.parts is None else self.parts.size

    @property
    def resumed(self) -> bool:
        """Whether it goes on where an earlier attachment of the link left it (transport, "resuming deliveries")."""
        return self.link.resumed.get(self.tag) is self

    def start_parts(self) -> Parts:
        """From now on it is kept as parts: more is to come, or they are taken one by one."""
        parts = self.parts = Parts(self._payload)
        self._payload = b""
        return parts

    def take_parts(self) -> Sequence[bytes | bytearray | memoryview]:
        """The parts of the message that have arrived since the last call, in order; ``payload`` has them no more.

        On a link with ``streaming`` this opens the session window for as many frames more.
        """
        if self.partial:
            self.link.let_go()
        return (self.parts or self.start_parts()).take()

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
        if delivery_id in link.unsettled:
            del link.unsettled[delivery_id], link.session_unsettled[delivery_id]

    def update(self, state: DeliveryState) -> None:
        """Report a state without settling (receiver settle mode *second*, or a non-terminal state)."""
        if self.settled or self.remote_settled or self.link.closing:
            return
        self.state = state
        self.link.dispositions.add(True, self.delivery_id, state, False)

    def __repr__(self) -> str:
        return f"<IncomingDelivery {self.delivery_id} on {self.link.name!r}: {self.size} bytes>"


class ReceivingSession(LinkSession, Protocol):
    """What a receiver needs of its session besides.

    Attributes:
        incoming_unsettled: the unsettled deliveries of all its receivers, by delivery id.
    """

    incoming_unsettled: dict[int, IncomingDelivery]

    @property
    def partials(self) -> dict[IncomingDelivery, None]:
        """The deliveries of which parts have arrived, on any session of the connection."""
        ...


class ReceiverLink(LinkEndpoint):
    """The receiving end of a link."""

    __slots__ = (
        "_excess",
        "delivery_type",
        "held",
        "partial",
        "partials",
        "resumed",
        "returned",
        "run",
        "shape",
        "skipped",
        "streaming",
    )

    is_receiver = True
    available: int
    credit: int
    delivery_count: int
    drain: bool
    unsettled: dict[int, IncomingDelivery]
    session_unsettled: dict[int, IncomingDelivery]

    def __init__(self, session: ReceivingSession, name: str, handle: int, terms: LinkTerms) -> None:
        super().__init__(session, name, handle, terms, session.incoming_unsettled)
        self.delivery_type: type[IncomingDelivery] = IncomingDelivery
        """The class of its deliveries: a subclass makes one object do for the engine and for its user."""
        self.streaming: bool = False
        """Whether each part of a delivery is reported as it comes, with ``DeliveryGrows``. The session window is then
        opened again only for the parts that have been taken."""
        self.held: int = 0
        """How many frames of the delivery that is arriving have not been taken. Only with ``streaming``."""
        self.resumed: dict[bytes, IncomingDelivery] = {}
        """The deliveries that went on here where an earlier attachment left them, by tag: the last of each tag, so that
        they are no more than this side has named."""
        self.partial: IncomingDelivery | None = None
        """The delivery of which more is to come."""
        self.partials: dict[IncomingDelivery, None] = session.partials
        """Such deliveries of all links of the connection, in the order of their first parts."""
        self.shape: TransferShape = NO_SHAPE
        """The shape of the last transfer that had one; ``incoming.receive_transfer`` compares the next one with it."""
        self.run: RunShape | None = None
        """The same of whole frames, for ``runs.receive_run``."""
        self.skipped: IncomingDelivery | None = None
        """A resumed delivery of which this side knows nothing: it is passed over (transport, "resuming deliveries")."""
        self.returned: bool = False
        """Whether the sender's last flow said that it has no credit and is draining. It has answered a drain then, even
        if it did not advance its delivery count; whether it was the last drain or one before, only the caller knows."""
        self._excess = 0
        """How many deliveries beyond the credit may arrive: the sender may not know yet that the credit was reduced."""

    def flow(self, credit: int, *, drain: bool = False, echo: bool = False) -> None:
        """Set the link's credit and tell the sender (transport, "flow control").

        Args:
            credit: how many more deliveries the sender may start, from 0 to 2**32 - 1.
            drain: ask the sender to send what it has and give the rest back.
            echo: ask for the sender's state in return.

        Raises:
            ProtocolError: the link is not attached, or the credit is out of range. Nothing changes then.
        """
        if self.state is not _ATTACHED and self.state is not LinkState.ATTACH_SENT:
            raise ProtocolError(f"link {self.name!r} is not attached", condition=ErrorCondition.ILLEGAL_STATE)
        if not 0 <= credit <= MASK:
            raise ProtocolError(f"link credit must be between 0 and {MASK}, not {credit}")
        # Settling goes first: a sender that takes both in order never has more unsettled than there was credit at once.
        self.dispositions.flush()
        before = self.credit, self.drain, self._excess
        # Messages sent before the sender learns of a reduced credit are still legal.
        self._excess = max(0, self._excess + self.credit - credit)
        self.credit = credit
        self.drain = drain
        self.returned = False
        try:
            self.send_flow(echo=echo)
        except BaseException:
            # Of a signal handler: whether the sender will be told is not known. What it sends then is no fault.
            self.credit, self.drain, excess = before
            self._excess = excess + credit
            raise

    def forget_credit(self) -> None:
        """Take it that the sender has no credit any more (see ``returned``). Nothing is sent, and a message that comes
        all the same is no fault."""
        self._excess += self.credit
        self.credit = 0
        self.drain = False

    def count_delivery(self) -> bool:
        """Count the first transfer of a delivery. Returns whether the session window should be opened again.

        Raises:
            SessionFault: the session window was closed.
            LinkFault: the sender had no credit left for it.
        """
        half = self.window.count_transfer()
        if self.credit > 0:
            self.credit -= 1
        elif self._excess > 0:
            self._excess -= 1
        else:
            raise LinkFault(
                self.remote_handle,
                ErrorCondition.TRANSFER_LIMIT_EXCEEDED,
                f"the peer sent a message on link {self.name!r} without credit",
            )
        self.delivery_count = (self.delivery_count + 1) & MASK
        if self.available > 0:
            self.available -= 1
        return half

    def on_flow(self, flow: Flow) -> None:
        """Take the sender's view: it alone decides about delivery-count and available."""
        if flow.delivery_count is not None:
            advanced = (int(flow.delivery_count) - self.delivery_count) & MASK
            # A count that went back would be credit that nobody gave: it is not believed. (With credit of 2**31 or more
            # a drain may move the count further than serial numbers can be compared.)
            if advanced < HALF or advanced <= self.credit:
                self.delivery_count = int(flow.delivery_count)
                self._excess = max(0, self._excess - max(0, advanced - self.credit))
                self.credit = max(0, self.credit - advanced)
        self.returned = bool(flow.drain) and flow.link_credit == 0
        if flow.available is not None:
            self.available = int(flow.available)
        if self.drain and self.credit == 0:
            self.drain = False

    def state_count(self, flow: Flow) -> None:
        """See :class:`~amqp10.engine.link.LinkEndpoint`."""
        if self.remote_handle is not None:
            flow.delivery_count = self.delivery_count

    def keep(self, delivery: IncomingDelivery) -> None:
        """The delivery is unsettled."""
        self.unsettled[delivery.delivery_id] = self.session_unsettled[delivery.delivery_id] = delivery

    def forget(self, delivery: IncomingDelivery) -> None:
        """The delivery is settled, or given up."""
        delivery_id = delivery.delivery_id
        if delivery_id in self.unsettled:
            del self.unsettled[delivery_id], self.session_unsettled[delivery_id]

    def too_large(self) -> LinkFault:
        """The fault of a peer whose message is larger than what this side said it accepts."""
        return LinkFault(
            self.remote_handle,
            ErrorCondition.MESSAGE_SIZE_EXCEEDED,
            f"a message on link {self.name!r} is larger than the {self.max_message_size} bytes accepted",
        )

    def stop(self) -> None:
        """See :class:`~amqp10.engine.link.LinkEndpoint`."""
        self.end_partial()

    def hold_part(self) -> None:
        """A part of a streamed delivery waits to be taken."""
        self.held += 1
        self.window.held += 1

    def let_go(self) -> None:
        """The parts that have arrived have been taken, or will be all at once."""
        if self.held:
            self.window.held -= self.held
            self.held = 0
            self.output.mark_dirty(self.session)

    def end_partial(self) -> None:
        """No more is to come of the delivery that was arriving, if there was one."""
        delivery = self.partial
        self.let_go()
        self.skipped = None
        if delivery is not None:
            self.partial = None
            delivery.partial = False
            self.partials.pop(delivery, None)

"""The dispositions that a session sends: neighbours that share a state travel in a range (transport, "disposition")."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, Protocol

from amqp10.conditions import ErrorCondition
from amqp10.engine.serial import MASK
from amqp10.errors import ProtocolError
from amqp10.wire.messaging import ACCEPTED, Modified, Rejected
from amqp10.wire.performatives import Disposition, Error

if TYPE_CHECKING:
    from amqp10.engine.output import Output
    from amqp10.wire.messaging import DeliveryState

__all__ = ["Dispositions"]

_NOTHING: Final = -1
_FRAME_SIZE: Final = 64
"""Bytes of a disposition frame without its state, at most."""
# "Accepted and settled", of one delivery and of a range: frame header, descriptor, list of five fields (role, first,
# last, settled, state).
_HEAD: Final = b"\x00\x53\x15\xc0"
_ACCEPTED: Final = b"\x41\x00\x53\x24\x45"
_PACK_ONE = Struct(">IBBH4sBBBBIB5s").pack
_PACK_RANGE = Struct(">IBBH4sBBBBIBI5s").pack
_TRUE: Final = 0x41
_UINT: Final = 0x70
_NULL: Final = 0x40


class Reporting(Protocol):
    """Whose dispositions these are: a session."""

    @property
    def can_send(self) -> bool:
        """Whether frames may be sent on it now."""
        ...

    def flush(self) -> None:
        """Called before bytes are handed out."""


class Dispositions:
    """The disposition that is being collected.

    Attributes:
        next: the delivery id that would make the range longer; -1 if none is being collected.
        state: the state that its deliveries have in common.
        settles_received: whether it settles deliveries that were received here. With ``next`` and ``state`` that is all
            that settling one more delivery has to look at.
    """

    __slots__ = (
        "_channel",
        "_first",
        "_output",
        "_receiver",
        "_session",
        "_settled",
        "next",
        "settles_received",
        "state",
    )

    def __init__(self, output: Output, channel: int, session: Reporting) -> None:
        self._output = output
        self._channel = channel
        self._session = session
        self.next: int = _NOTHING
        self.state: DeliveryState | None = None
        self.settles_received: bool = False
        self._first = 0
        self._receiver = False
        self._settled = False

    def add(self, receiver: bool, delivery_id: int, state: DeliveryState | None, settled: bool) -> None:
        """Report a state for a delivery.

        Args:
            receiver: whether it was received here.
            delivery_id: its id.
            state: the state; None to settle without one.
            settled: whether it is settled with that.

        Raises:
            ProtocolError: it was received here, and the annotations of *modified*, or the condition of *rejected*, do
                not fit a frame that the peer accepts.
        """
        if self.next == delivery_id and self.state is state and self._receiver is receiver and self._settled is settled:
            self.next = (delivery_id + 1) & MASK
            return
        if isinstance(state, (Modified, Rejected)) and (problem := self._too_large(state)) is not None:
            if receiver:
                raise problem
            state = None  # It was the receiver that said so: it needs no telling, only that the delivery is settled.
        if self.next != _NOTHING:
            self.flush()
        else:
            self._output.mark_dirty(self._session)
        self._first = delivery_id
        self.next = (delivery_id + 1) & MASK
        self.state = state
        self._receiver = receiver
        self._settled = settled
        self.settles_received = receiver and settled

    def _too_large(self, state: Modified | Rejected) -> ProtocolError | None:
        """What is wrong with annotations, or the condition of an error, that do not fit a frame. (Its description is
        cut short when it does not.)"""
        what = "modified with its annotations"
        if isinstance(state, Rejected):
            if state.error is None:
                return None
            what = "rejected with its condition"
            state = Rejected(error=Error(condition=state.error.condition))
        size = len(state.encode()) + _FRAME_SIZE
        if size <= self._output.max_frame_size:
            return None
        return ProtocolError(
            f"the outcome {what} makes a frame of {size} bytes; the peer accepts {self._output.max_frame_size}",
            condition=ErrorCondition.FRAME_SIZE_TOO_SMALL,
        )

    def flush(self) -> None:
        """Queue what is being collected, if the session can still send it."""
        if self.next != _NOTHING:
            if self._session.can_send:
                self._send()
            self.next = _NOTHING
            self.state = None

    def _send(self) -> None:
        first, last = self._first, (self.next - 1) & MASK
        if self.state is ACCEPTED and self._settled and self._receiver and self._output.trace is None:
            # The usual case of a receiver, without a performative.
            if first == last:
                frame = _PACK_ONE(26, 2, 0, self._channel, _HEAD, 13, 5, _TRUE, _UINT, first, _NULL, _ACCEPTED)
            else:
                frame = _PACK_RANGE(30, 2, 0, self._channel, _HEAD, 17, 5, _TRUE, _UINT, first, _UINT, last, _ACCEPTED)
            self._output.buffers.append(frame)
            return
        self._output.send(
            self._channel,
            Disposition(
                role=self._receiver,
                first=first,
                last=None if first == last else last,
                settled=self._settled,
                state=self.state,
            ),
        )

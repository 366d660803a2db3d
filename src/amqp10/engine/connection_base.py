"""What this side does with a connection: open and close, frames out, heartbeats (transport, "connections").

``connection_opening.py`` adds the protocol headers and SASL, ``connection.py`` sessions and what arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from amqp10.codec import Symbol
from amqp10.engine.events import ConnectionFailed
from amqp10.engine.faults import shortened, wire_error
from amqp10.engine.states import CONNECTION_TRANSITIONS, ConnectionState, EndpointRole, Trigger
from amqp10.errors import AMQPTimeoutError, ProtocolError
from amqp10.wire.frames import EMPTY_FRAME, encode_frame
from amqp10.wire.performatives import MIN_MAX_FRAME_SIZE, Close, Open

if TYPE_CHECKING:
    from amqp10.engine.delivery import IncomingDelivery, OutgoingDelivery
    from amqp10.engine.events import Event
    from amqp10.engine.link import LinkEndpoint
    from amqp10.engine.sasl import SaslClient, SaslServer
    from amqp10.engine.session import Session
    from amqp10.errors import AMQPError
    from amqp10.wire.performatives import Attach, Begin, Detach, Disposition, End, Flow, Transfer

__all__ = ["ConnectionBase", "Stage", "Trace"]

_MASK = 0xFFFFFFFF
_FRAME_HEAD = Struct(">IBBH").pack

Trace = Callable[[bool, int, object, int], None]
"""Called for every frame: (outgoing, channel, performative or None for an empty frame, payload size in octets)."""


class Stage(Enum):
    """What the next incoming bytes are."""

    SASL_HEADER = auto()
    SASL_FRAMES = auto()
    HEADER = auto()
    FRAMES = auto()
    DISCARDED = auto()
    """Frames of which only a close is looked at: this side has given the connection up."""
    OVER = auto()


# Looking up a member of an enumeration costs five times as much as looking up a name: these are looked at per frame.
_FRAMES: Final = Stage.FRAMES
_DISCARDED: Final = Stage.DISCARDED
_OVER: Final = Stage.OVER
_REASON_TIME: Final = 1.0
"""For how many seconds a server that answers open with something else is given the time to say why."""
_END: Final = ConnectionState.END
_SENDING: Final = (
    ConnectionState.OPENED,
    ConnectionState.OPEN_SENT,
    ConnectionState.OPEN_PIPE,
    ConnectionState.CLOSE_RCVD,
)


class ConnectionBase:
    """What is known of a connection, and what this side sends. See :class:`~amqp10.engine.connection.Connection`."""

    def __init__(
        self,
        role: EndpointRole,
        *,
        container_id: str,
        hostname: str | None = None,
        max_frame_size: int = _MASK,
        channel_max: int = 65535,
        idle_timeout: float = 0,
        sasl: SaslClient | SaslServer | None = None,
        properties: Mapping[str, Any] | None = None,
        offered_capabilities: Sequence[str] = (),
        desired_capabilities: Sequence[str] = (),
        initial_outgoing_id: int = 0,
        initial_delivery_count: int = 0,
    ) -> None:
        if not MIN_MAX_FRAME_SIZE <= max_frame_size <= _MASK:
            raise ProtocolError(f"max-frame-size must be between {MIN_MAX_FRAME_SIZE} and {_MASK}")
        self.role = role
        self.container_id = container_id
        self.hostname = hostname
        self.max_frame_size = max_frame_size
        self.channel_max = channel_max
        self.idle_timeout = idle_timeout
        self.sasl = sasl
        self.properties = properties
        self.offered_capabilities = tuple(offered_capabilities)
        self.desired_capabilities = tuple(desired_capabilities)
        self.initial_outgoing_id = initial_outgoing_id
        self.initial_delivery_count = initial_delivery_count
        self.state = ConnectionState.START
        self.remote_open: Open | None = None
        self.remote_max_frame_size = MIN_MAX_FRAME_SIZE
        self.remote_channel_max = 0
        self.remote_idle_timeout = 0.0
        self.authenticated = False
        self.heard = False
        self.output: list[bytes | memoryview] = []
        self.empty_octets = 0
        self.trace: Trace | None = None
        self.sessions: dict[int, Session] = {}
        """Every session by the channel number that this side sends on."""
        self.partials: dict[IncomingDelivery, None] = {}
        """The deliveries of which parts have arrived, on any session, in the order of their first parts."""
        self._incoming: dict[int, Session] = {}
        self._free_channels: list[int] = []
        self._next_channel = 0
        self._dirty: set[Session] = set()
        self._owed: dict[Session | LinkEndpoint, None] = {}
        self._stage = Stage.HEADER
        self._sasl_rounds = 0
        self._chunks: list[bytes] = []
        self._have = 0
        self._need = 8
        self._last_received = 0.0
        self._last_sent = 0.0
        self._left: tuple[OutgoingDelivery, ...] = ()
        """What had no outcome when this side closed the connection."""
        self._discard_until: float | None = None
        """While frames are discarded: when the peer's close is no longer waited for; None for no limit."""
        self._failure: ConnectionFailed | None = None
        """What is reported when the peer does not say why it sent what cannot be an open."""

    # -- life cycle ------------------------------------------------------------------------------------------------

    @property
    def can_send(self) -> bool:
        """Whether frames other than close may be sent now (transport, "connection states")."""
        return self.state in _SENDING

    @property
    def finished(self) -> bool:
        """Whether nothing more is to be exchanged: the transport can be closed when the output has been written."""
        return self.state is ConnectionState.END

    def _advance(self, trigger: Trigger) -> None:
        state = CONNECTION_TRANSITIONS.get((self.state, trigger))
        if state is None:
            raise ProtocolError(
                f"connection: {trigger.name} is not possible in state {self.state.name}", condition="amqp:illegal-state"
            )
        self.state = state

    def _send_open(self) -> None:
        # The peer is told half of the real threshold (transport, "idle time-out of a connection").
        idle = max(1, round(self.idle_timeout * 500)) if self.idle_timeout > 0 else None
        properties = {Symbol(name): value for name, value in self.properties.items()} if self.properties else None
        frame = Open(
            container_id=self.container_id,
            hostname=self.hostname,
            max_frame_size=self.max_frame_size,
            channel_max=self.channel_max,
            idle_time_out=idle,
            offered_capabilities=tuple(Symbol(name) for name in self.offered_capabilities),
            desired_capabilities=tuple(Symbol(name) for name in self.desired_capabilities),
            properties=properties,
        )
        self.send(0, frame)
        self._advance(Trigger.S_OPEN)

    def close(self, error: AMQPError | None = None) -> None:
        """Queue a close. Nothing may be sent behind it; does nothing when one has been sent already.

        Args:
            error: why, when it is not an orderly end.
        """
        if self.state in (
            ConnectionState.END,
            ConnectionState.CLOSE_SENT,
            ConnectionState.DISCARDING,
            ConnectionState.CLOSE_PIPE,
            ConnectionState.OC_PIPE,
        ):
            return
        if self.state in (
            ConnectionState.START,
            ConnectionState.HDR_SENT,
            ConnectionState.HDR_RCVD,
        ):
            # No open has been sent: there is nothing to close but the transport.
            self.state = ConnectionState.END
            self._stage = _OVER
            return
        if self.state in (ConnectionState.OPEN_RCVD, ConnectionState.HDR_EXCH):
            self._send_open()
        self._flush()
        self.send(0, Close(error=wire_error(error)))
        self._advance(Trigger.S_CLOSE if error is None else Trigger.S_CLOSE_ERROR)
        self._left = self._undelivered()
        self._drop_sessions(error)

    def _undelivered(self) -> tuple[OutgoingDelivery, ...]:
        if self._left:
            return self._left
        sessions = {**dict.fromkeys(self.sessions.values()), **dict.fromkeys(self._incoming.values())}
        return tuple(delivery for session in sessions for delivery in session.undelivered())

    def _drop_sessions(self, error: AMQPError | None) -> None:
        """Nothing may be written behind a close, neither by this engine nor by a link that somebody still holds."""
        for session in [*self.sessions.values(), *self._incoming.values()]:
            session.drop(error)
        self.sessions.clear()
        self._incoming.clear()
        self._dirty.clear()
        self._owed.clear()

    def _fail(self, error: AMQPError, *, in_step: bool = False) -> list[Event]:
        """Give the connection up: tell the peer why where the protocol has come far enough for that.

        Args:
            error: what went wrong.
            in_step: whether it is known where the peer's next frame starts. Its close is waited for then (transport,
                "connection states", DISCARDING); otherwise nothing more can be understood.
        """
        if self.state is _END:
            return []
        failed = ConnectionFailed(error, self._undelivered())
        said = self.state in (ConnectionState.CLOSE_SENT, ConnectionState.DISCARDING)
        talking = self._stage is _FRAMES
        if talking:
            self.close(error)
        if said or not talking or not in_step:
            self._finish()
            return [failed]
        self._stage = _DISCARDED
        now = self._last_received
        if self.idle_timeout > 0:
            self._discard_until = now + self.idle_timeout
        if self.role is EndpointRole.CLIENT and self.remote_open is None:
            # A server that refuses the connection may put nonsense into its open, and the reason into the close
            # that follows. The reason is worth more than the nonsense.
            self._failure = failed
            self._discard_until = now + _REASON_TIME
            return []
        return [failed]

    def _finish(self) -> None:
        """Nothing more is read, and what is queued is the last that is written."""
        self._chunks.clear()
        self._stage = _OVER
        self.state = _END

    def _withheld(self) -> list[Event]:
        """The failure that has not been reported yet, if there is one."""
        failure, self._failure = self._failure, None
        return [failure] if failure is not None else []

    # -- sending ---------------------------------------------------------------------------------------------------

    def mark_dirty(self, session: Session) -> None:
        """Have a session flushed before the next bytes are handed out."""
        self._dirty.add(session)

    def send(
        self, channel: int, performative: Open | Begin | Attach | Flow | Disposition | Detach | End | Close
    ) -> None:
        """Queue a frame without payload.

        Raises:
            ProtocolError: its smallest encoding is larger than what the peer accepts.
        """
        frame = encode_frame(channel, performative)
        # Before the peer's open arrives, all that is known is what everyone must accept. Only open itself cannot help
        # being as large as it is.
        if len(frame) > self.remote_max_frame_size and type(performative) is not Open:
            size = len(frame)
            shorter = shortened(performative, size - self.remote_max_frame_size)
            frame = encode_frame(channel, shorter)
            if len(frame) > self.remote_max_frame_size:
                # What stood beside condition and text is gone now, and how much of the text fits is known.
                frame = encode_frame(channel, shortened(shorter, len(frame) - self.remote_max_frame_size))
            if len(frame) > self.remote_max_frame_size:
                raise ProtocolError(
                    f"a frame of type {type(performative).__name__.lower()} has {size} octets, more than the"
                    f" {self.remote_max_frame_size} octets that the peer accepts",
                    condition="amqp:frame-size-too-small",
                )
        if self.trace is not None:
            self.trace(True, channel, performative, 0)
        self.output.append(frame)

    def send_encoded(self, channel: int, transfer: Transfer, head: bytes, payload: bytes | memoryview) -> None:
        """Queue a transfer frame whose performative is encoded already; the payload is not copied."""
        if self.trace is not None:
            self.trace(True, channel, transfer, len(payload))
        self.output.append(_FRAME_HEAD(8 + len(head) + len(payload), 2, 0, channel) + head)
        self.output.append(payload)

    def owe_flow(self, to: Session | LinkEndpoint) -> None:
        """The peer asks for flow state. It gets the state of when the next bytes go out, however often it has asked."""
        self._owed[to] = None

    def _flush(self) -> None:
        while self._dirty:
            self._dirty.pop().flush()
        if self._owed:
            owed, self._owed = self._owed, {}
            for to in owed:
                to.answer_flow()

    @property
    def pending(self) -> bool:
        """Whether :meth:`data_to_send` may have something to give."""
        return bool(self.output or self._dirty or self._owed)

    @property
    def backlogged(self) -> bool:
        """Whether messages of any session wait for the peer to open its window."""
        return any(session.backlog for session in self.sessions.values())

    def data_to_send(self, now: float) -> list[bytes | memoryview]:
        """Take what is to be written to the transport, in order. Empty when there is nothing."""
        if self._dirty or self._owed:
            self._flush()
        output = self.output
        if not output:
            return []
        self.output = []
        self._last_sent = now
        return output

    def send_heartbeat(self, now: float) -> None:
        """Queue an empty frame if the peer is about to hear nothing for too long; for callers without :meth:`tick`."""
        if self.remote_idle_timeout > 0 and self.can_send and now - self._last_sent >= self.remote_idle_timeout / 2:
            if self.trace is not None:
                self.trace(True, 0, None, 0)
            self.output.append(EMPTY_FRAME)

    # -- time ------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When :meth:`tick` has to be called next, on the clock of ``now``; None when time does not matter."""
        if self._stage is not _FRAMES:
            return self._discard_until if self._stage is _DISCARDED else None
        due = self._last_received + self.idle_timeout if self.idle_timeout > 0 else None
        if self.remote_idle_timeout > 0 and self.can_send:
            heartbeat = self._last_sent + self.remote_idle_timeout / 2
            if due is None or heartbeat < due:
                return heartbeat
        return due

    def tick(self, now: float) -> list[Event]:
        """Do what is due: send a heartbeat, give up a silent peer (transport, "idle time-out of a connection")."""
        if self._stage is not _FRAMES:
            if self._stage is _DISCARDED and self._discard_until is not None and now >= self._discard_until:
                self._finish()
                return self._withheld()
            return []
        if self.idle_timeout > 0 and now - self._last_received >= self.idle_timeout:
            error = AMQPTimeoutError(f"nothing arrived from the peer for {self.idle_timeout:g} seconds (idle time-out)")
            error.condition = "amqp:resource-limit-exceeded"
            self._last_received = now  # its answer has as much time once more
            return self._fail(error, in_step=True) or self._withheld()
        self.send_heartbeat(now)
        return []

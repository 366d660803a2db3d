"""The connection: protocol headers, SASL, open and close, frames to sessions and back, heartbeats.

Transport, "connections" and "version negotiation"; security, "sasl". The engine does no I/O: feed it what arrived with
:meth:`Connection.receive_data`, write out what :meth:`Connection.data_to_send` returns, and call
:meth:`Connection.tick` when :meth:`Connection.next_deadline` has come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from heapq import heappop, heappush
from struct import Struct
from struct import error as struct_error
from typing import TYPE_CHECKING, Any, Final

from amqp10.codec import DecodeError, Symbol
from amqp10.engine.events import ConnectionClosed, ConnectionFailed, ConnectionOpened, Event, SessionEnded
from amqp10.engine.faults import ConnectionFault, LinkFault, SessionFault, remote_error, shortened, wire_error
from amqp10.engine.sasl import SaslClient, SaslServer, outcome_in_words
from amqp10.engine.session import Session
from amqp10.engine.states import CONNECTION_TRANSITIONS, ConnectionState, EndpointRole, SessionState, Trigger
from amqp10.errors import (
    AMQPError,
    AMQPTimeoutError,
    AuthenticationError,
    ConnectionDroppedError,
    LimitError,
    MalformedFrameError,
    ProtocolError,
)
from amqp10.wire.frames import (
    AMQP_HEADER,
    EMPTY_FRAME,
    SASL_HEADER,
    decode_frame_body,
    describe_header,
    encode_frame,
    encode_sasl_frame,
)
from amqp10.wire.messaging import ACCEPTED
from amqp10.wire.performatives import (
    MIN_MAX_FRAME_SIZE,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Flow,
    Open,
    SaslChallenge,
    SaslCode,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    SaslResponse,
    Transfer,
)

if TYPE_CHECKING:
    from amqp10.engine.delivery import IncomingDelivery

__all__ = ["Connection", "Trace"]

_MASK = 0xFFFFFFFF
_HEADER = Struct(">IBBH").unpack_from
_FRAME_HEAD = Struct(">IBBH").pack
_UINT = Struct(">I").unpack_from
_TRANSFER: Final = b"\x00\x53\x14"
_DISPOSITION: Final = b"\x00\x53\x15"
_ACCEPTED_FORMS: Final = (b"\x00\x53\x24\x45", b"\x00\x53\x24\xc0\x01\x00")
_SASL_FRAME_LIMIT: Final = 65536
"""SASL frames are limited to 512 octets by the letter (security, "sasl"), but tokens are larger in practice."""
_SASL_ROUNDS: Final = 32

Trace = Callable[[bool, int, object, int], None]
"""Called for every frame: (outgoing, channel, performative or None for an empty frame, payload size in octets)."""


class _Stage(Enum):
    """What the next incoming bytes are."""

    SASL_HEADER = auto()
    SASL_FRAMES = auto()
    HEADER = auto()
    FRAMES = auto()
    OVER = auto()


# Looking up a member of an enumeration costs five times as much as looking up a name: these are looked at per frame.
_FRAMES: Final = _Stage.FRAMES
_OVER: Final = _Stage.OVER
_MAPPED: Final = SessionState.MAPPED
_END: Final = ConnectionState.END
_SENDING: Final = (
    ConnectionState.OPENED,
    ConnectionState.OPEN_SENT,
    ConnectionState.OPEN_PIPE,
    ConnectionState.CLOSE_RCVD,
)


class Connection:
    """One end of an AMQP connection.

    Args:
        role: CLIENT sends the first protocol header, SERVER answers it.
        container_id: this container's name, stated in open.
        hostname: the host name stated in open and in SASL init; None to leave it out.
        max_frame_size: the largest frame accepted, in octets, from 512 to 2**32 - 1.
        channel_max: the highest channel number used, from 0 to 65535; it bounds the number of sessions.
        idle_timeout: after how many seconds without a frame from the peer the connection is given up; 0 never. Half of
            it is what the peer is told (transport, "idle time-out of a connection").
        sasl: the SASL exchange to hold first; None for none.
        properties: connection properties stated in open.
        offered_capabilities, desired_capabilities: stated in open.
        initial_outgoing_id, initial_delivery_count: where the serial numbers start.

    Attributes:
        state: transport, "connection states".
        heard: whether the peer has sent a protocol header, so that it is known to speak AMQP 1.0.
        remote_open: the peer's open, once it has arrived.
        remote_max_frame_size: the largest frame the peer accepts.
        output: buffers to be sent; taken by :meth:`data_to_send`.
        empty_octets: how many octets of what arrived were empty frames, which say no more than "still here".
        trace: called for every frame while set; costs the fast paths, so leave it None unless somebody looks.
    """

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
        self._stage = _Stage.HEADER
        self._sasl_rounds = 0
        self._chunks: list[bytes] = []
        self._have = 0
        self._need = 8
        self._last_received = 0.0
        self._last_sent = 0.0
        self._closing_error: AMQPError | None = None

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

    def start(self, now: float) -> None:
        """Begin. A client queues its protocol header, and open right behind it where no SASL exchange comes first.

        Args:
            now: the time, in seconds of any monotonic clock; the same clock everywhere.
        """
        self._last_received = self._last_sent = now
        if self.role is EndpointRole.SERVER:
            return
        if isinstance(self.sasl, SaslClient):
            self.output.append(SASL_HEADER)
            self._stage = _Stage.SASL_HEADER
        else:
            self._start_amqp()

    def _start_amqp(self) -> None:
        self.output.append(AMQP_HEADER)
        self._advance(Trigger.S_HEADER)
        self._stage = _Stage.HEADER
        self._send_open()

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
        self._closing_error = error
        self._drop_sessions(error)

    def _drop_sessions(self, error: AMQPError | None) -> None:
        """Nothing may be written behind a close, neither by this engine nor by a link that somebody still holds."""
        for session in [*self.sessions.values(), *self._incoming.values()]:
            session.drop(error)
        self.sessions.clear()
        self._incoming.clear()
        self._dirty.clear()

    # -- sessions --------------------------------------------------------------------------------------------------

    def begin(self, *, incoming_window: int = 2048, outgoing_window: int = 2048, handle_max: int = _MASK) -> Session:
        """Begin a session on the lowest free channel (transport, "establishing a session").

        Args:
            incoming_window: how many transfer frames the peer may send before it hears from this side again.
            outgoing_window: stated to the peer.
            handle_max: the highest link handle to be used.

        Raises:
            LimitError: no channel is left.
            ProtocolError: the connection is not open.
        """
        if not self.can_send:
            raise ProtocolError("the connection is not open", condition="amqp:illegal-state")
        session = self._new_session(self._take_channel(), incoming_window, outgoing_window, handle_max)
        session.send_begin()
        return session

    def _take_channel(self) -> int:
        if self._free_channels:
            return heappop(self._free_channels)
        channel = self._next_channel
        if channel > self.channel_max or channel > self.remote_channel_max:
            limit = min(self.channel_max, self.remote_channel_max) + 1
            raise LimitError(f"the connection carries {limit} sessions already, which is its limit")
        self._next_channel = channel + 1
        return channel

    def _new_session(self, channel: int, incoming_window: int, outgoing_window: int, handle_max: int) -> Session:
        session = Session(
            self,
            channel,
            incoming_window=incoming_window,
            outgoing_window=outgoing_window,
            handle_max=handle_max,
            initial_outgoing_id=self.initial_outgoing_id,
            initial_delivery_count=self.initial_delivery_count,
        )
        self.sessions[channel] = session
        return session

    def release_session(self, session: Session) -> None:
        """Forget a session whose ends have both been exchanged; its channels are free again."""
        if self.sessions.get(session.channel) is session:
            del self.sessions[session.channel]
            heappush(self._free_channels, session.channel)
        remote = session.remote_channel
        if remote is not None and self._incoming.get(remote) is session:
            del self._incoming[remote]
        self._dirty.discard(session)

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
            frame = encode_frame(channel, shortened(performative, size - self.remote_max_frame_size))
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

    def _flush(self) -> None:
        while self._dirty:
            self._dirty.pop().flush()

    @property
    def pending(self) -> bool:
        """Whether :meth:`data_to_send` may have something to give."""
        return bool(self.output or self._dirty)

    @property
    def backlogged(self) -> bool:
        """Whether messages of any session wait for the peer to open its window."""
        return any(session.backlog for session in self.sessions.values())

    def data_to_send(self, now: float) -> list[bytes | memoryview]:
        """Take what is to be written to the transport, in order. Empty when there is nothing."""
        if self._dirty:
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
        if self.state is _END or self._stage is not _FRAMES:
            return None
        due = self._last_received + self.idle_timeout if self.idle_timeout > 0 else None
        if self.remote_idle_timeout > 0 and self.can_send:
            heartbeat = self._last_sent + self.remote_idle_timeout / 2
            if due is None or heartbeat < due:
                return heartbeat
        return due

    def tick(self, now: float) -> list[Event]:
        """Do what is due: send a heartbeat, give up a silent peer (transport, "idle time-out of a connection")."""
        if self.state is _END or self._stage is not _FRAMES:
            return []
        if self.idle_timeout > 0 and now - self._last_received >= self.idle_timeout:
            error = AMQPTimeoutError(f"nothing arrived from the peer for {self.idle_timeout:g} seconds (idle time-out)")
            error.condition = "amqp:resource-limit-exceeded"
            return self._fail(error)
        self.send_heartbeat(now)
        return []

    # -- receiving -------------------------------------------------------------------------------------------------

    @property
    def missing(self) -> int:
        """How many octets are still to come of a frame of which some are here; 0 when there is none."""
        return self._need - self._have if self._chunks else 0

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """Take bytes that arrived, in pieces of any size.

        A peer that breaks the protocol does not make this raise: the close, end or detach that the specification asks
        for is queued, and an event says which rule was broken.

        Args:
            data: what arrived; not empty.
            now: the time.

        Returns:
            What the bytes mean, in order.
        """
        self._last_received = now
        if self._chunks:
            # A frame that comes in many pieces is joined once, when it is whole.
            self._chunks.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            data = b"".join(self._chunks)
            self._chunks.clear()
        events: list[Event] = []
        pos = 0
        try:
            pos = self._consume(data, events)
        except ConnectionFault as fault:
            events += self._fail(fault.error)
            return events
        if pos < len(data):
            rest = data[pos:]
            self._chunks.append(rest)
            self._have = len(rest)
        return events

    def _consume(self, data: bytes, events: list[Event]) -> int:
        """Handle all that is whole in ``data``; return how far that reaches. Sets how much is needed to go on."""
        pos = 0
        end = len(data)
        incoming = self._incoming
        while True:
            if end - pos < 8:
                self._need = 8
                return end if self._stage is _OVER else pos
            if self._stage is not _FRAMES:
                pos = self._consume_opening(data, pos, events)
                if self._need > 8:
                    return pos
                continue
            size, doff, kind, channel = _HEADER(data, pos)
            stop = pos + size
            if size > self.max_frame_size:
                raise ConnectionFault.malformed(
                    f"the peer sent a frame of {size} octets; {self.max_frame_size} is the agreed maximum"
                )
            if doff < 2 or doff * 4 > size:
                raise ConnectionFault.malformed(f"the peer sent a frame of {size} octets with data offset {doff}")
            if stop > end:
                self._need = size
                return pos
            body = pos + doff * 4
            pos = stop
            if kind != 0:
                raise ConnectionFault.malformed(f"the peer sent a frame of type {kind} where AMQP frames are expected")
            if body == stop:
                self.empty_octets += size
                if self.trace is not None:
                    self.trace(False, channel, None, 0)
                continue
            try:
                if self.trace is None and data[body : body + 3] == _TRANSFER:
                    session = incoming.get(channel)
                    if session is not None and session.state is _MAPPED:
                        session.receive_transfer(data, body + 3, stop, events)
                        continue
                elif self.trace is None and data[body : body + 3] == _DISPOSITION:
                    session = incoming.get(channel)
                    if (
                        session is not None
                        and session.state is _MAPPED
                        and self._fast_disposition(session, data, body + 3, stop, events)
                    ):
                        continue
                self._dispatch(channel, data, body, stop, events)
            except LinkFault as fault:
                fault.link.session.fail_link(fault, events)
            except SessionFault as fault:
                self._fail_session(fault, events)
            except (IndexError, struct_error) as error:
                raise ConnectionFault(
                    MalformedFrameError(
                        "the peer sent a frame whose performative is cut short", condition="amqp:decode-error"
                    )
                ) from error
            except DecodeError as error:
                raise ConnectionFault(
                    MalformedFrameError(
                        f"the peer sent a malformed frame: {error.message}", condition="amqp:decode-error"
                    )
                ) from error
            except AMQPError as error:
                # A state that does not allow what came, a limit that it breaks, a body that reaches behind its frame.
                if isinstance(error, LimitError):
                    error.condition = "amqp:resource-limit-exceeded"
                raise ConnectionFault(error) from error

    def _fast_disposition(self, session: Session, buf: bytes, pos: int, stop: int, events: list[Event]) -> bool:
        """Read the usual shapes of "accepted and settled"; False leaves the frame to the general decoder."""
        if buf[pos] != 0xC0 or buf[pos + 3] != 0x41 or not 5 <= buf[pos + 2] <= 6:
            return False
        count = buf[pos + 2]
        body = pos + 2 + buf[pos + 1]
        p = pos + 4
        ids = [0, 0]
        for i in (0, 1):
            code = buf[p]
            if code == 0x70:
                (ids[i],) = _UINT(buf, p + 1)
                p += 5
            elif code == 0x52:
                ids[i] = buf[p + 1]
                p += 2
            elif code == 0x43:
                p += 1
            elif code == 0x40 and i == 1:
                ids[1] = ids[0]
                p += 1
            else:
                return False
        if buf[p] != 0x41 or body != stop:
            return False
        state = buf[p + 1 : body]
        if count == 6:
            if state[-1:] not in (b"\x40", b"\x42"):
                return False
            state = state[:-1]
        if state not in _ACCEPTED_FORMS:
            return False
        session.take_disposition(True, ids[0], ids[1], True, ACCEPTED, events)
        return True

    @staticmethod
    def decode_body(buf: bytes, start: int, stop: int) -> tuple[object, int]:
        """The performative of a frame body, and where its payload starts."""
        return decode_frame_body(buf, start, stop)

    def _dispatch(self, channel: int, data: bytes, body: int, stop: int, events: list[Event]) -> None:
        performative, payload = decode_frame_body(data, body, stop)
        if self.trace is not None:
            self.trace(False, channel, performative, stop - payload)
        kind = type(performative)
        if self.state in (ConnectionState.DISCARDING, ConnectionState.CLOSE_SENT) and kind is not Close:
            # After our close whatever still arrives is not looked at; after an error it must not be.
            return
        if self.remote_open is None:
            if kind is not Open:
                raise ConnectionFault.broken_rule(
                    "amqp:not-allowed", f"the peer sent {kind.__name__.lower()} before open"
                )
            self._on_open(performative, channel, events)  # type: ignore[arg-type]
            return
        if kind is Close:
            self._on_close(performative, events)  # type: ignore[arg-type]
            return
        if channel > self.channel_max:
            raise ConnectionFault.broken_rule(
                "amqp:connection:framing-error",
                f"the peer used channel {channel}, beyond the agreed maximum of {self.channel_max}",
            )
        if kind is Begin:
            self._on_begin(performative, channel, events)  # type: ignore[arg-type]
            return
        session = self._incoming.get(channel)
        if session is None:
            name = kind.__name__.lower()
            raise ConnectionFault.broken_rule(
                "amqp:not-allowed", f"the peer sent {name} on channel {channel}, on which no session has begun"
            )
        if isinstance(performative, End):
            events.append(session.on_end(performative))
        elif session.state not in (SessionState.MAPPED, SessionState.BEGIN_RCVD):
            # Sent before the peer saw our end (transport, "session errors").
            return
        elif isinstance(performative, Transfer):
            session.on_transfer(performative, data[payload:stop], events)
        elif isinstance(performative, Flow):
            session.on_flow(performative, events)
        elif isinstance(performative, Disposition):
            session.on_disposition(performative, events)
        elif isinstance(performative, Attach):
            session.on_attach(performative, events)
        elif isinstance(performative, Detach):
            session.on_detach(performative, events)
        else:
            raise ConnectionFault.broken_rule(
                "amqp:not-allowed", f"the peer sent {kind.__name__.lower()} where it has no meaning"
            )

    def _on_open(self, performative: Open, channel: int, events: list[Event]) -> None:
        if channel != 0:
            raise ConnectionFault.broken_rule("amqp:not-allowed", f"the peer sent open on channel {channel}, not 0")
        size = int(performative.max_frame_size)
        if size < MIN_MAX_FRAME_SIZE:
            raise ConnectionFault.broken_rule(
                "amqp:invalid-field",
                f"the peer's max-frame-size of {size} is below the {MIN_MAX_FRAME_SIZE} that everyone must accept",
            )
        self.remote_open = performative
        self.remote_max_frame_size = size
        self.remote_channel_max = int(performative.channel_max)
        self.remote_idle_timeout = int(performative.idle_time_out or 0) / 1000
        self._advance(Trigger.R_OPEN)
        if self.state is ConnectionState.OPEN_RCVD:
            self._send_open()
        if self.can_send:
            events.append(ConnectionOpened(performative))

    def _on_close(self, performative: Close, events: list[Event]) -> None:
        by_peer = self.state not in (ConnectionState.CLOSE_SENT, ConnectionState.DISCARDING)
        error = remote_error(performative.error, "the peer closed the connection")
        self._advance(Trigger.R_CLOSE)
        if by_peer:
            self._flush()
            # Before close(), which would forget the sessions without the peer's reason.
            self._drop_sessions(error)
            self.close()
        self._stage = _OVER
        events.append(ConnectionClosed(error, by_peer))

    def _on_begin(self, performative: Begin, channel: int, events: list[Event]) -> None:
        if channel in self._incoming:
            raise ConnectionFault.broken_rule(
                "amqp:not-allowed", f"the peer began a session on channel {channel}, which is in use"
            )
        remote = performative.remote_channel
        if remote is not None:
            session = self.sessions.get(int(remote))
            if session is None or session.remote_channel is not None or not session.local_request:
                raise ConnectionFault.broken_rule(
                    "amqp:not-allowed", f"the peer answered a begin on channel {int(remote)} that nobody sent"
                )
        else:
            session = self._new_session(self._take_channel(), 2048, 2048, _MASK)
            session.local_request = False
        self._incoming[channel] = session
        events.append(session.on_begin(performative, channel))

    def _fail_session(self, fault: SessionFault, events: list[Event]) -> None:
        session = fault.session
        session.error = fault.error
        session.end(fault.error)
        events.append(SessionEnded(session, fault.error, by_peer=False))

    def _fail(self, error: AMQPError) -> list[Event]:
        """Give the connection up: tell the peer why where the protocol has come far enough for that."""
        self._chunks.clear()
        if self.state is ConnectionState.END:
            return []
        if self._stage is _FRAMES:
            already = self.state in (ConnectionState.CLOSE_SENT, ConnectionState.DISCARDING)
            self.close(error)
            if already:
                self._stage = _OVER
                self.state = ConnectionState.END
        else:
            self.state = ConnectionState.END
        # Nothing that the peer says after this can be trusted to be in step.
        self._stage = _OVER
        return [ConnectionFailed(error)]

    def receive_eof(self, now: float) -> list[Event]:
        """The byte stream from the peer has ended."""
        if self.state is ConnectionState.END:
            return []
        orderly = self.state in (ConnectionState.CLOSE_SENT, ConnectionState.DISCARDING)
        self.state = ConnectionState.END
        self._drop_sessions(None)
        over = self._stage is _OVER
        stage, self._stage = self._stage, _OVER
        if over:
            return []
        if orderly:
            return [ConnectionClosed(None, by_peer=False)]
        start = b"".join(self._chunks)
        expected = SASL_HEADER if stage is _Stage.SASL_HEADER else AMQP_HEADER
        if self.role is EndpointRole.CLIENT and start and not self.heard and not expected.startswith(start):
            # Too short for a protocol header, and enough to say what it is not: a TLS alert has seven octets.
            return [ConnectionFailed(ProtocolError(describe_header(start), condition="amqp:not-implemented"))]
        return [ConnectionFailed(ConnectionDroppedError(f"the peer dropped the connection{self._when(stage)}"))]

    def _when(self, stage: _Stage) -> str:
        """How far the connection had come when it ended, for a message."""
        if self.remote_open is not None:
            return ""
        if stage is _Stage.SASL_FRAMES:
            return " during the SASL exchange"
        if self.authenticated:
            return " behind a login that it had accepted, before the connection was open"
        return " before the connection was open"

    # -- the opening: headers and SASL -----------------------------------------------------------------------------

    def _consume_opening(self, data: bytes, pos: int, events: list[Event]) -> int:
        """Handle a protocol header or a SASL frame at ``pos``; return the position behind it, or set ``_need``."""
        self._need = 8
        if self._stage is _OVER:
            return len(data)
        if self._stage is not _Stage.SASL_FRAMES:
            self._on_header(data[pos : pos + 8])
            return pos + 8
        header: tuple[int, int, int, int] = _HEADER(data, pos)
        size, doff, kind, _ = header
        if size > _SASL_FRAME_LIMIT or doff < 2 or doff * 4 > size:
            raise ConnectionFault.malformed(f"the peer sent a SASL frame of {size} octets with data offset {doff}")
        if len(data) - pos < size:
            self._need = size
            return pos
        if kind != 1:
            raise ConnectionFault.malformed(f"the peer sent a frame of type {kind} where SASL frames are expected")
        try:
            performative, _ = decode_frame_body(data, pos + doff * 4, pos + size)
        except (DecodeError, MalformedFrameError) as error:
            raise ConnectionFault.malformed(f"the peer sent a malformed SASL frame: {error.message}") from error
        if self.trace is not None:
            self.trace(False, 0, performative, 0)
        try:
            self._on_sasl(performative)
        except AuthenticationError as error:
            raise ConnectionFault(error) from error
        return pos + size

    def _on_header(self, header: bytes) -> None:
        if self.role is EndpointRole.SERVER and self._stage is _Stage.HEADER and self.state is ConnectionState.START:
            self._on_first_header(header)
            return
        expected = SASL_HEADER if self._stage is _Stage.SASL_HEADER else AMQP_HEADER
        if header != expected:
            raise ConnectionFault(ProtocolError(self._wrong_header(header), condition="amqp:not-implemented"))
        self.heard = True
        if self._stage is _Stage.SASL_HEADER:
            self._stage = _Stage.SASL_FRAMES
            return
        self._advance(Trigger.R_HEADER)
        if self.state is ConnectionState.HDR_RCVD:  # a server, behind its SASL exchange
            self.output.append(AMQP_HEADER)
            self._advance(Trigger.S_HEADER)
        self._stage = _FRAMES

    def _wrong_header(self, header: bytes) -> str:
        if self.role is EndpointRole.SERVER:
            return "the client did not go on with the protocol header of AMQP 1.0 behind its SASL exchange"
        if header == SASL_HEADER:
            return "the server requires a SASL layer; choose an authentication scheme other than none"
        if header == AMQP_HEADER:
            return "the server does not take part in SASL; choose the authentication scheme none"
        return describe_header(header)

    def _on_first_header(self, header: bytes) -> None:
        """A server's answer to the client's first header (transport, "version negotiation")."""
        if isinstance(self.sasl, SaslServer) and not self.authenticated:
            if header == SASL_HEADER:
                self.output.append(SASL_HEADER)
                self._send_sasl(SaslMechanisms(sasl_server_mechanisms=tuple(Symbol(m) for m in self.sasl.mechanisms)))
                self._stage = _Stage.SASL_FRAMES
                return
            wanted = SASL_HEADER
        else:
            wanted = AMQP_HEADER
        if header != wanted:
            self.output.append(wanted)
            raise ConnectionFault(ProtocolError(describe_header(header), condition="amqp:not-implemented"))
        self._advance(Trigger.R_HEADER)
        self.output.append(AMQP_HEADER)
        self._advance(Trigger.S_HEADER)
        self._stage = _FRAMES

    def _send_sasl(self, performative: SaslMechanisms | SaslInit | SaslChallenge | SaslResponse | SaslOutcome) -> None:
        if self.trace is not None:
            self.trace(True, 0, performative, 0)
        self.output.append(encode_sasl_frame(performative))

    def _on_sasl(self, performative: object) -> None:
        self._sasl_rounds += 1
        if self._sasl_rounds > _SASL_ROUNDS:
            raise AuthenticationError("the SASL exchange does not come to an end")
        if isinstance(self.sasl, SaslClient):
            self._on_sasl_client(self.sasl, performative)
        elif isinstance(self.sasl, SaslServer):
            self._on_sasl_server(self.sasl, performative)

    def _on_sasl_client(self, sasl: SaslClient, performative: object) -> None:
        if isinstance(performative, SaslMechanisms) and sasl.mechanism is None:
            mechanism, response = sasl.choose([str(name) for name in performative.sasl_server_mechanisms])
            self._send_sasl(SaslInit(mechanism=Symbol(mechanism), initial_response=response, hostname=self.hostname))
        elif isinstance(performative, SaslChallenge):
            self._send_sasl(SaslResponse(response=sasl.respond(bytes(performative.challenge))))
        elif isinstance(performative, SaslOutcome) and sasl.mechanism is not None:
            code = int(performative.code)
            if code != SaslCode.OK:
                raise AuthenticationError(f"SASL {sasl.mechanism} failed: {outcome_in_words(code)} (outcome {code})")
            self.authenticated = True
            self._start_amqp()
        else:
            name = type(performative).__name__
            raise AuthenticationError(f"the server sent {name} out of turn in the SASL exchange")

    def _on_sasl_server(self, sasl: SaslServer, performative: object) -> None:
        if not isinstance(performative, SaslInit):
            raise AuthenticationError(f"the client sent {type(performative).__name__} out of turn in the SASL exchange")
        code = sasl.judge(str(performative.mechanism), bytes(performative.initial_response or b""))
        self._send_sasl(SaslOutcome(code=code))
        if code != SaslCode.OK:
            raise AuthenticationError(f"the client's SASL {performative.mechanism} was refused")
        self.authenticated = True
        # The state is still START: behind SASL the AMQP headers are exchanged anew.
        self._stage = _Stage.HEADER

    def __repr__(self) -> str:
        return f"<Connection {self.role.name} {self.state.name} sessions={len(self.sessions)}>"

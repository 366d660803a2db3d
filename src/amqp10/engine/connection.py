"""The connection: from bytes to frames, from frames to sessions; open, close, faults and the end of the stream.

Transport, "connections". The engine does no I/O: feed it what arrived with :meth:`Connection.receive_data`, write out
what :meth:`Connection.data_to_send` returns, and call :meth:`Connection.tick` when :meth:`Connection.next_deadline` has
come. Its parts: ``input.py`` and ``output.py`` for bytes, ``handshake.py`` until the first frame, ``idle.py`` for time,
``channels.py`` for sessions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from struct import error as struct_error
from typing import TYPE_CHECKING, Any, Final

from amqp10.codec import Symbol
from amqp10.conditions import ErrorCondition
from amqp10.engine.channels import Channels
from amqp10.engine.discarding import Discarding
from amqp10.engine.events import ConnectionClosed, ConnectionFailed, ConnectionOpened
from amqp10.engine.faults import ConnectionFault, LinkFault, SessionFault, bad_frame, bad_open, dropped, unreadable
from amqp10.engine.handshake import Handshake
from amqp10.engine.idle import IdleTimer
from amqp10.engine.incoming import fail_session, receive_disposition, receive_frame, receive_transfer
from amqp10.engine.input import TORN, Input
from amqp10.engine.linking import fail_link
from amqp10.engine.output import Output, Trace
from amqp10.engine.runs import receive_run
from amqp10.engine.serial import MASK
from amqp10.engine.states import (
    CONNECTION_CLOSED,
    CONNECTION_SENDS,
    CONNECTION_TRANSITIONS,
    CONNECTION_UNOPENED,
    ConnectionState,
    EndpointRole,
    SessionState,
    Stage,
    Trigger,
)
from amqp10.engine.wire_errors import remote_error, wire_error
from amqp10.errors import AMQPError, AMQPTimeoutError, ProtocolError
from amqp10.wire.frames import decode_frame_body
from amqp10.wire.performatives import MIN_MAX_FRAME_SIZE, Begin, Close, Disposition, Flow, Open, Transfer

if TYPE_CHECKING:
    from amqp10.engine.events import Event, Events
    from amqp10.engine.receiver import IncomingDelivery, ReceiverLink
    from amqp10.engine.sasl import SaslClient, SaslServer
    from amqp10.engine.sender import OutgoingDelivery
    from amqp10.engine.session import Session

__all__ = ["Connection", "Trace"]

_HEADER = Struct(">IBBH").unpack_from
_TRANSFER: Final = b"\x00\x53\x14"
_QUICK: Final = (_TRANSFER, b"\x00\x53\x15")
"""Transfers and dispositions."""
_REASON_TIME: Final = 1.0
"""How many seconds a server gets to say why it has answered open with something else."""


# Looking up a member of an enumeration costs five times as much as looking up a name: these are looked at per frame.
_HANDSHAKE: Final = Stage.HANDSHAKE
_FRAMES: Final = Stage.FRAMES
_DISCARDED: Final = Stage.DISCARDED
_OVER: Final = Stage.OVER
_MAPPED: Final = SessionState.MAPPED
_END: Final = ConnectionState.END
_STATES: Final = (Flow, Disposition)
"""What these say is how things are, so they may be looked at twice."""
_CLOSING: Final = (ConnectionState.CLOSE_SENT, ConnectionState.DISCARDING)


class Connection:
    """One end of an AMQP connection.

    Args:
        role: CLIENT sends the first protocol header, SERVER answers it.
        container_id: this container's name, stated in open.
        hostname: the host name stated in open and in SASL init; None to leave it out.
        max_frame_size: the largest frame accepted, in bytes, from 512 to 2**32 - 1.
        channel_max: the highest channel number used, from 0 to 65535; it bounds the number of sessions.
        idle_timeout: after how many seconds without a frame from the peer the connection is given up; 0 never. Half of
            it is what the peer is told (transport, "idle time-out of a connection").
        sasl: the SASL exchange to hold first; None for none.
        properties: connection properties stated in open.
        offered_capabilities, desired_capabilities: stated in open.
        initial_outgoing_id, initial_delivery_count: where the serial numbers start. Sessions that begin after others
            have ended go on with their ids.

    Attributes:
        state: transport, "connection states".
        header_received, authenticated: whether the peer has sent a protocol header, and whether SASL has succeeded.
        remote_open: the peer's open, once it has arrived.
        output: the frames that wait to be written, and the largest frame that the peer accepts.
        idle: when something was last read and written.
        channels: the sessions by their channel numbers.
        empty_bytes: how many bytes of what arrived were empty frames, which only say that the peer is there.

    Raises:
        ProtocolError: the frame size is out of range.
    """

    def __init__(
        self,
        role: EndpointRole,
        *,
        container_id: str,
        hostname: str | None = None,
        max_frame_size: int = MASK,
        channel_max: int = 65535,
        idle_timeout: float = 0,
        sasl: SaslClient | SaslServer | None = None,
        properties: Mapping[str, Any] | None = None,
        offered_capabilities: Sequence[str] = (),
        desired_capabilities: Sequence[str] = (),
        initial_outgoing_id: int = 0,
        initial_delivery_count: int = 0,
    ) -> None:
        if not MIN_MAX_FRAME_SIZE <= max_frame_size <= MASK:
            raise ProtocolError(f"max-frame-size must be between {MIN_MAX_FRAME_SIZE} and {MASK}")
        self.role = role
        self.container_id = container_id
        self.hostname = hostname
        self.max_frame_size = max_frame_size
        self.channel_max = channel_max
        self.sasl = sasl
        """A server may still replace it before the first bytes arrive."""
        self.properties = properties
        self.offered_capabilities: tuple[str, ...] = tuple(offered_capabilities)
        self.desired_capabilities: tuple[str, ...] = tuple(desired_capabilities)
        self.state: ConnectionState = ConnectionState.START
        self.header_received: bool = False
        self.authenticated: bool = False
        self.remote_open: Open | None = None
        self.output: Output = Output()
        self.idle: IdleTimer = IdleTimer(idle_timeout)
        self.empty_bytes: int = 0
        self._input = Input()
        self._handshake: Handshake | None = None
        """From the first byte to the first frame."""
        self._stage = _HANDSHAKE
        self.channels: Channels = Channels(self.output, initial_outgoing_id, initial_delivery_count)
        self._left: tuple[OutgoingDelivery, ...] = ()
        """What had no outcome when this side closed the connection."""
        self._discarding: Discarding | None = None
        """After this side has given the connection up."""

    # -- life cycle ------------------------------------------------------------------------------------------------

    @property
    def can_send(self) -> bool:
        """Whether frames other than close may be sent now (transport, "connection states")."""
        return self.output.open

    @property
    def finished(self) -> bool:
        """Whether the transport can be closed as soon as the output has been written."""
        return self.state is _END

    def _enter(self, state: ConnectionState) -> None:
        self.state = state
        self.output.open = state in CONNECTION_SENDS

    def _advance(self, trigger: Trigger) -> None:
        state = CONNECTION_TRANSITIONS.get((self.state, trigger))
        if state is None:
            raise ProtocolError(
                f"connection: {trigger.name} is not possible in state {self.state.name}",
                condition=ErrorCondition.ILLEGAL_STATE,
            )
        self._enter(state)

    def start(self, now: float) -> None:
        """Begin. A client queues its protocol header, and open right after it where no SASL exchange comes first.

        Args:
            now: the time, in seconds of any monotonic clock; the same clock everywhere.
        """
        self.idle.start(now)
        if self.role is EndpointRole.CLIENT:
            self._handshake = Handshake(self.role, self.output, self.sasl, self.hostname)
            self._follow(self._handshake.start())

    def _follow(self, triggers: tuple[Trigger, ...]) -> None:
        """Go as far as the handshake takes the connection."""
        for trigger in triggers:
            self._advance(trigger)
            if self.state is ConnectionState.HDR_SENT:  # a client need not wait for the server's header
                self._send_open()

    def _send_open(self) -> None:
        properties = {Symbol(name): value for name, value in self.properties.items()} if self.properties else None
        frame = Open(
            container_id=self.container_id,
            hostname=self.hostname,
            max_frame_size=self.max_frame_size,
            channel_max=self.channel_max,
            idle_time_out=self.idle.stated,
            offered_capabilities=tuple(Symbol(name) for name in self.offered_capabilities),
            desired_capabilities=tuple(Symbol(name) for name in self.desired_capabilities),
            properties=properties,
        )
        self.output.send(0, frame)
        self._advance(Trigger.S_OPEN)

    def close(self, error: AMQPError | None = None) -> None:
        """Queue a close. Nothing may be sent after it; does nothing when one has been sent already.

        Args:
            error: why, when it is not an orderly end.
        """
        if self.state in CONNECTION_CLOSED:
            return
        if self.state in CONNECTION_UNOPENED:
            self._finish()  # no open has been sent: there is nothing to close but the transport
            return
        if self.state in (ConnectionState.OPEN_RCVD, ConnectionState.HDR_EXCH):
            self._send_open()
        self.output.flush()
        self.output.send(0, Close(error=wire_error(error)))
        self._advance(Trigger.S_CLOSE if error is None else Trigger.S_CLOSE_ERROR)
        self._left = self._undelivered()
        self.channels.drop(error)

    def _undelivered(self) -> tuple[OutgoingDelivery, ...]:
        if self._left:
            return self._left
        return tuple(delivery for session in self.channels.all() for delivery in session.undelivered())

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
        said = self.state in _CLOSING
        talking = self._stage is _FRAMES
        if talking:
            self.close(error)
        if said or not talking or not in_step:
            self._finish()
            return [failed]
        self._stage = _DISCARDED
        now = self.idle.last_read
        if self.role is EndpointRole.CLIENT and self.remote_open is None:
            # A server that refuses the connection may put nonsense into its open, and the reason into the close
            # that follows. The reason is worth more than the nonsense.
            self._discarding = Discarding(now + _REASON_TIME, failed)
            return []
        self._discarding = Discarding(now + self.idle.timeout if self.idle.timeout > 0 else None, None)
        return [failed]

    def _finish(self) -> list[Event]:
        """Nothing more is read, and what is queued is the last that is written. Returns what is left to report."""
        self._input.chunks.clear()
        self._stage = _OVER
        self._enter(_END)
        return self._discarding.report() if self._discarding is not None else []

    # -- output and time -------------------------------------------------------------------------------------------

    @property
    def output_size(self) -> int:
        """How many bytes wait to be taken by :meth:`data_to_send`, without what sessions still have to say."""
        return self.output.size

    @property
    def pending(self) -> bool:
        """Whether :meth:`data_to_send` may have something to give."""
        return self.output.pending

    @property
    def backlogged(self) -> bool:
        """Whether messages of any session wait for the peer to open its window."""
        return any(session.backlog for session in self.sessions.values())

    def data_to_send(self, now: float) -> list[bytes | memoryview]:
        """Take what is to be written to the transport, in order. Empty when there is nothing."""
        buffers = self.output.take()
        if buffers:
            self.idle.last_written = now
        return buffers

    def send_heartbeat(self, now: float) -> None:
        """Queue an empty frame if the peer is about to hear nothing for too long; for callers without :meth:`tick`."""
        if self.can_send and self.idle.heartbeat_due(now):
            self.output.send_heartbeat()

    def next_deadline(self) -> float | None:
        """When :meth:`tick` has to be called next, on the clock of ``now``; None when time does not matter."""
        if self._stage is _FRAMES:
            return self.idle.deadline(heartbeats=self.can_send)
        return self._discarding.until if self._discarding is not None and self._stage is _DISCARDED else None

    def tick(self, now: float) -> list[Event]:
        """Do what is due: send a heartbeat, give up an idle peer (transport, "idle time-out of a connection")."""
        if self._stage is not _FRAMES:
            return self._finish() if (until := self.next_deadline()) is not None and now >= until else []
        if self.idle.silent(now):
            error = AMQPTimeoutError(f"nothing arrived from the peer for {self.idle.timeout:g} seconds (idle time-out)")
            error.condition = ErrorCondition.RESOURCE_LIMIT_EXCEEDED.value
            self.idle.last_read = now  # its answer gets the same time again
            failed = self._fail(error, in_step=True)
            return failed or (self._discarding.report() if self._discarding is not None else [])
        self.send_heartbeat(now)
        return []

    # -- sessions --------------------------------------------------------------------------------------------------

    def begin(self, *, incoming_window: int = 2048, outgoing_window: int = 2048, handle_max: int = MASK) -> Session:
        """Begin a session on the lowest free channel (transport, "establishing a session").

        Args:
            incoming_window: how many transfer frames the peer may send before this side must answer.
            outgoing_window: stated to the peer.
            handle_max: the highest link handle to be used.

        Raises:
            LimitError: no channel is left.
            ProtocolError: the connection is not open.
        """
        if not self.can_send:
            raise ProtocolError("the connection is not open", condition=ErrorCondition.ILLEGAL_STATE)
        session = self.channels.new_session(incoming_window, outgoing_window, handle_max)
        session.send_begin()
        return session

    @property
    def sessions(self) -> dict[int, Session]:
        """Every session by the channel number that this side sends on."""
        return self.channels.outgoing

    @property
    def partials(self) -> dict[IncomingDelivery, None]:
        """The deliveries of which parts have arrived, on any session, in the order of their first parts."""
        return self.channels.partials

    @property
    def next_delivery_id(self) -> int:
        """The first delivery id, and with it the first delivery tag, that no session has used. As the
        ``initial_outgoing_id`` of the next connection it keeps tags from coming again on links of the same names."""
        return self.channels.next_delivery_id

    # -- receiving -------------------------------------------------------------------------------------------------

    @property
    def missing(self) -> int:
        """How many bytes are still to come of a frame of which some are here; 0 when there is none."""
        return self._input.missing

    def arriving(self, link: ReceiverLink) -> bool:
        """Whether a message of a link has begun to arrive and is not whole yet."""
        if link.partial is not None:
            return True
        channel = link.session.remote_channel
        return channel is not None and self._input.starts_transfer(channel, link.remote_handle)

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
        events: list[Event] = []
        self.feed(data, now)
        self.process(events)
        return events

    def feed(self, data: bytes | None, now: float) -> bytes | None:
        """The first half of :meth:`receive_data`: keep what arrived, if anything did, and give it back.

        In two halves, nothing is lost between transport, engine and the caller's queue when a signal handler raises.
        """
        if data:
            self.idle.last_read = now
            self._input.add(data)
        return data

    @property
    def unread(self) -> bool:
        """Whether :meth:`process` has something to do."""
        return self._input.ready

    def process(self, events: Events) -> None:
        """The second half of :meth:`receive_data`: see what the bytes mean.

        Args:
            events: a queue, where each event is as soon as it is known.
        """
        pieces = self._input
        try:
            data = pieces.take()
            if not data:
                return
            self._consume(data, events)
        except ConnectionFault as fault:
            events.extend(self._fail(fault.error))
            return
        done = pieces.done
        if done < len(data):
            pieces.put_back(data[done:])
        else:
            pieces.chunks.clear()

    def _consume(self, data: bytes, events: Events) -> None:
        """Handle all that is whole in ``data``. Sets how far that reaches, and how much is needed to go on."""
        pieces = self._input
        pos = pieces.done
        end = len(data)
        incoming = self.channels.incoming
        output = self.output
        while True:
            pieces.done = pos
            if end - pos < 8:
                if self._stage is _OVER:
                    pieces.done = end
                return
            if self._stage is not _FRAMES:
                if self._stage is _OVER:
                    pos = end
                elif self._stage is _DISCARDED:
                    pos = self._discard(data, pos, events)
                else:
                    pieces.done = TORN
                    pos = self._shake_hands(data, pos)
                if pieces.need > 8:
                    pieces.done = pos
                    return
                continue
            size, doff, kind, channel = _HEADER(data, pos)
            stop = pos + size
            if size > self.max_frame_size or doff < 2 or doff * 4 > size or kind != 0:
                raise bad_frame(size, doff, kind, self.max_frame_size)
            if stop > end:
                pieces.need = size
                return
            body = pos + doff * 4
            pos = stop
            if body == stop:
                self.empty_bytes += size
                if output.trace is not None:
                    output.trace(False, channel, None, 0)
                continue
            try:
                code = data[body : body + 3]
                if code in _QUICK and output.trace is None:
                    session = incoming.get(channel)
                    if session is not None and session.state is _MAPPED:
                        if code == _TRANSFER:
                            link = receive_transfer(session, data, body + 3, stop, events, pieces)
                            if link is not None and stop < end:
                                start, most = stop - size, self.max_frame_size
                                pos = receive_run(link, data, start, body + 3, stop, most, events, pieces)
                            continue
                        if receive_disposition(session, data, body + 3, stop, events, pieces):
                            continue
                self._dispatch(channel, data, body, stop, events)
            except LinkFault as fault:
                fail_link(incoming[channel], fault, events)
            except SessionFault as fault:
                fail_session(incoming[channel], fault, events)
            except ConnectionFault as fault:
                events.extend(self._fail(fault.error, in_step=True))
            except (IndexError, struct_error, AMQPError) as error:
                events.extend(self._fail(unreadable(error), in_step=True))

    def _shake_hands(self, data: bytes, pos: int) -> int:
        """Take a header or a SASL frame at ``pos``; return the position after it, or set how much is needed."""
        handshake = self._handshake
        if handshake is None:
            handshake = self._handshake = Handshake(self.role, self.output, self.sasl, self.hostname)
        pos, triggers = handshake.read(data, pos)
        self._input.need = handshake.need
        self.header_received = handshake.header_received
        self.authenticated = handshake.authenticated
        if handshake.done:
            self._handshake = None
            self._stage = _FRAMES
        self._follow(triggers)
        return pos

    def _discard(self, data: bytes, pos: int, events: Events) -> int:
        """Pass over the frame at ``pos``; return the position after it, or set how much is needed."""
        discarding = self._discarding
        assert discarding is not None
        pos = discarding.read(data, pos, self.output.trace)
        self._input.need = discarding.need
        if pos < 0:
            events.extend(self._finish())
            return len(data)
        return pos

    def _dispatch(self, channel: int, data: bytes, body: int, stop: int, events: Events) -> None:
        performative, payload = decode_frame_body(data, body, stop)
        if self.output.trace is not None:
            self.output.trace(False, channel, performative, stop - payload)
        if self.state in _CLOSING and not isinstance(performative, Close):
            return  # after our close what still arrives need not be looked at; after an error it must not be
        if not isinstance(performative, _STATES):
            self._input.done = TORN
        if isinstance(performative, Open):
            self._on_open(performative, channel, events)
            return
        if self.remote_open is None:
            text = f"the peer sent {type(performative).__name__.lower()} before open"
            raise ConnectionFault.broken_rule(ErrorCondition.NOT_ALLOWED, text)
        if isinstance(performative, Close):
            self._on_close(performative, events)
            return
        if channel > self.channel_max:
            raise ConnectionFault.broken_rule(
                ErrorCondition.FRAMING_ERROR,
                f"the peer used channel {channel}, beyond the agreed maximum of {self.channel_max}",
            )
        if isinstance(performative, Begin):
            events.append(self.channels.on_begin(performative, channel))
            return
        session = self.channels.incoming.get(channel)
        if session is None:
            name = type(performative).__name__.lower()
            raise ConnectionFault.broken_rule(
                ErrorCondition.NOT_ALLOWED, f"the peer sent {name} on channel {channel}, on which no session has begun"
            )
        receive_frame(session, performative, data[payload:stop] if isinstance(performative, Transfer) else b"", events)

    def _on_open(self, performative: Open, channel: int, events: Events) -> None:
        if (fault := bad_open(performative, channel, again=self.remote_open is not None)) is not None:
            raise fault
        self.remote_open = performative
        self.output.max_frame_size = int(performative.max_frame_size)
        self.channels.highest = min(self.channel_max, int(performative.channel_max))
        self.idle.remote_timeout = int(performative.idle_time_out or 0) / 1000
        self._advance(Trigger.R_OPEN)
        if self.state is ConnectionState.OPEN_RCVD:
            self.prepare_open(performative)
            self._send_open()
        if self.can_send:
            events.append(ConnectionOpened(performative))

    def prepare_open(self, opened: Open) -> None:
        """Called with the peer's open before the answer to it goes out; a subclass may change what it will say."""

    def _on_close(self, performative: Close, events: Events) -> None:
        by_peer = self.state not in _CLOSING
        error = remote_error(performative.error, "the peer closed the connection")
        self._advance(Trigger.R_CLOSE)
        undelivered = self._undelivered()
        if by_peer:
            self.output.flush()
            # Before close(), which would forget the sessions without the peer's reason.
            self.channels.drop(error)
            self.close()
        self._stage = _OVER
        events.append(ConnectionClosed(error, by_peer, undelivered))

    def receive_eof(self, now: float) -> list[Event]:
        """The byte stream from the peer has ended."""
        if self.state is _END:
            return []
        if self._stage is _DISCARDED:
            return self._finish()
        orderly = self.state in _CLOSING
        self._enter(_END)
        undelivered = self._undelivered()
        self.channels.drop(None)
        stage, self._stage = self._stage, _OVER
        if stage is _OVER:
            return []
        if orderly:
            return [ConnectionClosed(None, False, undelivered)]
        handshake = self._handshake
        if handshake is not None and (fault := handshake.on_eof(self._input.rest())) is not None:
            return [ConnectionFailed(fault)]
        in_sasl = handshake is not None and handshake.in_sasl
        error = dropped(opened=self.remote_open is not None, in_sasl=in_sasl, authenticated=self.authenticated)
        return [ConnectionFailed(error, undelivered)]

    def __repr__(self) -> str:
        return f"<Connection {self.role.name} {self.state.name} sessions={len(self.sessions)}>"

"""The connection: its sessions, and what arrives: the byte stream, frames to sessions, faults, the end of the stream.

Transport, "connections". The engine does no I/O: feed it what arrived with :meth:`Connection.receive_data`, write out
what :meth:`Connection.data_to_send` returns, and call :meth:`Connection.tick` when :meth:`Connection.next_deadline` has
come. Open, close, sending and heartbeats are in ``connection_base.py``, headers and SASL in ``connection_opening.py``.
"""

from __future__ import annotations

from heapq import heappop, heappush
from struct import Struct
from struct import error as struct_error
from typing import TYPE_CHECKING, Final

from amqp10.codec import DecodeError
from amqp10.engine.connection_base import Stage, Trace
from amqp10.engine.connection_opening import ConnectionOpening
from amqp10.engine.events import ConnectionClosed, ConnectionFailed, ConnectionOpened, SessionEnded
from amqp10.engine.faults import ConnectionFault, LinkFault, SessionFault, remote_error
from amqp10.engine.incoming import on_disposition, on_flow, on_transfer, receive_disposition, receive_transfer
from amqp10.engine.session import Session
from amqp10.engine.states import ConnectionState, EndpointRole, SessionState, Trigger
from amqp10.errors import AMQPError, ConnectionDroppedError, LimitError, MalformedFrameError, ProtocolError
from amqp10.wire.frames import AMQP_HEADER, SASL_HEADER, decode_frame_body, describe_header
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
    Transfer,
)

if TYPE_CHECKING:
    from amqp10.engine.events import Event, Events
    from amqp10.engine.receiver import ReceiverLink

__all__ = ["Connection", "Trace"]

_MASK = 0xFFFFFFFF
_HEADER = Struct(">IBBH").unpack_from
_TRANSFER: Final = b"\x00\x53\x14"
_DISPOSITION: Final = b"\x00\x53\x15"
_CLOSE_SIZE: Final = 65536
"""The largest frame that is read for the close in it after this side has given the connection up."""
_TRANSFER_START: Final = 25
"""So many bytes of a transfer frame are enough to tell its link: the headers, and the handle in its largest form."""
# Looking up a member of an enumeration costs five times as much as looking up a name: these are looked at per frame.
_FRAMES: Final = Stage.FRAMES
_DISCARDED: Final = Stage.DISCARDED
_OVER: Final = Stage.OVER
_MAPPED: Final = SessionState.MAPPED


class Connection(ConnectionOpening):
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

    # -- receiving -------------------------------------------------------------------------------------------------

    @property
    def missing(self) -> int:
        """How many octets are still to come of a frame of which some are here; 0 when there is none."""
        return self._need - self._have if self._chunks else 0

    def arriving(self, link: ReceiverLink) -> bool:
        """Whether a message of a link has begun to arrive and is not whole yet."""
        if link.partial is not None:
            return True
        if self._have < _TRANSFER_START or not self._chunks:
            return False
        start = self._chunks[0]
        if len(start) < _TRANSFER_START:
            start = b"".join(self._chunks)
        _, doff, _, channel = _HEADER(start, 0)
        at = doff * 4
        if channel != link.session.remote_channel or start[at : at + 3] != _TRANSFER:
            return False
        # A list8 or list32, whose first field is the handle (transport, "transfer").
        at += 6 if start[at + 3 : at + 4] == b"\xc0" else 12
        form, rest = start[at : at + 1], start[at + 1 :]
        handle = 0 if form == b"\x43" else int.from_bytes(rest[: 1 if form == b"\x52" else 4], "big")
        return handle == link.remote_handle

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
        self.receive_into(events, data, now)
        return events

    def receive_into(self, events: Events, data: bytes, now: float) -> None:
        """Like :meth:`receive_data`, for a caller with a queue of its own."""
        self.feed(data, now)
        self.process(events)

    def feed(self, data: bytes | None, now: float) -> bytes | None:
        """The first half of :meth:`receive_data`: keep what arrived, if anything did, and give it back.

        In two halves, nothing is lost between transport, engine and the caller's queue when a signal handler raises.
        """
        if data:
            self._last_received = now
            self._have = self._have + len(data) if self._chunks else len(data)
            self._chunks.append(data)
        return data

    @property
    def unread(self) -> bool:
        """Whether :meth:`process` has something to do."""
        return bool(self._chunks) and self._have >= self._need

    def process(self, events: Events) -> None:
        """The second half of :meth:`receive_data`: see what the bytes mean.

        Args:
            events: a queue, where each event is as soon as it is known.
        """
        chunks = self._chunks
        if not chunks or self._have < self._need:
            return
        # A frame that comes in many pieces is joined once, when it is whole.
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        try:
            pos = self._consume(data, events)
        except ConnectionFault as fault:
            events.extend(self._fail(fault.error))
            return
        if pos < len(data):
            rest = data[pos:]
            self._chunks.append(rest)
            self._have = len(rest)

    def _consume(self, data: bytes, events: Events) -> int:
        """Handle all that is whole in ``data``; return how far that reaches. Sets how much is needed to go on."""
        pos = 0
        end = len(data)
        incoming = self._incoming
        while True:
            if end - pos < 8:
                self._need = 8
                return end if self._stage is _OVER else pos
            if self._stage is not _FRAMES:
                if self._stage is _DISCARDED:
                    pos = self._discard(data, pos, events)
                else:
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
            if kind != 0:
                raise ConnectionFault.malformed(f"the peer sent a frame of type {kind} where AMQP frames are expected")
            if stop > end:
                self._need = size
                return pos
            body = pos + doff * 4
            pos = stop
            if body == stop:
                self.empty_octets += size
                if self.trace is not None:
                    self.trace(False, channel, None, 0)
                continue
            try:
                if self.trace is None and data[body : body + 3] == _TRANSFER:
                    session = incoming.get(channel)
                    if session is not None and session.state is _MAPPED:
                        receive_transfer(session, data, body + 3, stop, events)
                        continue
                elif self.trace is None and data[body : body + 3] == _DISPOSITION:
                    session = incoming.get(channel)
                    if (
                        session is not None
                        and session.state is _MAPPED
                        and receive_disposition(session, data, body + 3, stop, events)
                    ):
                        continue
                self._dispatch(channel, data, body, stop, events)
            except LinkFault as fault:
                fault.link.session.fail_link(fault, events)
            except SessionFault as fault:
                self._fail_session(fault, events)
            except ConnectionFault as fault:
                events.extend(self._fail(fault.error, in_step=True))
            except (IndexError, struct_error):
                cut = "the peer sent a frame whose performative is cut short"
                events.extend(self._fail(MalformedFrameError(cut, condition="amqp:decode-error"), in_step=True))
            except DecodeError as error:
                malformed = MalformedFrameError(
                    f"the peer sent a malformed frame: {error.message}", condition="amqp:decode-error"
                )
                events.extend(self._fail(malformed, in_step=True))
            except AMQPError as error:
                # A state that does not allow what came, a limit that it breaks, a body that reaches behind its frame.
                if isinstance(error, LimitError):
                    error.condition = "amqp:resource-limit-exceeded"
                events.extend(self._fail(error, in_step=True))

    def _discard(self, data: bytes, pos: int, events: Events) -> int:
        """Pass over a frame at ``pos``, unless it is the peer's close: that ends the connection (transport, "connection
        states", DISCARDING). Returns the position after it, or sets ``_need``."""
        self._need = 8
        header: tuple[int, int, int, int] = _HEADER(data, pos)
        size, doff, kind, _ = header
        if not 8 <= doff * 4 <= size <= _CLOSE_SIZE or kind != 0:
            self._finish()
            events.extend(self._withheld())
            return len(data)
        if len(data) - pos < size:
            self._need = size
            return pos
        try:
            performative = decode_frame_body(data, pos + doff * 4, pos + size)[0] if size > doff * 4 else None
        except (DecodeError, MalformedFrameError):
            performative = None
        if self.trace is not None:
            self.trace(False, 0, performative, 0)
        if isinstance(performative, Close):
            error = remote_error(performative.error, "the peer closed the connection")
            failure = self._failure
            if failure is not None and error is not None:
                self._failure = None
                events.append(ConnectionClosed(error, by_peer=True, undelivered=failure.undelivered))
            self._finish()
            events.extend(self._withheld())
            return len(data)
        return pos + size

    def _dispatch(self, channel: int, data: bytes, body: int, stop: int, events: Events) -> None:
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
            on_transfer(session, performative, data[payload:stop], events)
        elif isinstance(performative, Flow):
            on_flow(session, performative, events)
        elif isinstance(performative, Disposition):
            on_disposition(session, performative, events)
        elif isinstance(performative, Attach):
            session.on_attach(performative, events)
        elif isinstance(performative, Detach):
            session.on_detach(performative, events)
        else:
            raise ConnectionFault.broken_rule(
                "amqp:not-allowed", f"the peer sent {kind.__name__.lower()} where it has no meaning"
            )

    def _on_open(self, performative: Open, channel: int, events: Events) -> None:
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
            self.prepare_open(performative)
            self._send_open()
        if self.can_send:
            events.append(ConnectionOpened(performative))

    def prepare_open(self, opened: Open) -> None:
        """Called with the peer's open before the answer to it goes out; a subclass may change what it will say."""

    def _on_close(self, performative: Close, events: Events) -> None:
        by_peer = self.state not in (ConnectionState.CLOSE_SENT, ConnectionState.DISCARDING)
        error = remote_error(performative.error, "the peer closed the connection")
        self._advance(Trigger.R_CLOSE)
        undelivered = self._undelivered()
        if by_peer:
            self._flush()
            # Before close(), which would forget the sessions without the peer's reason.
            self._drop_sessions(error)
            self.close()
        self._stage = _OVER
        events.append(ConnectionClosed(error, by_peer, undelivered))

    def _on_begin(self, performative: Begin, channel: int, events: Events) -> None:
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

    def _fail_session(self, fault: SessionFault, events: Events) -> None:
        session = fault.session
        session.error = fault.error
        undelivered = session.undelivered()
        session.end(fault.error)
        events.append(SessionEnded(session, fault.error, False, undelivered))

    def receive_eof(self, now: float) -> list[Event]:
        """The byte stream from the peer has ended."""
        if self.state is ConnectionState.END:
            return []
        if self._stage is _DISCARDED:
            self._finish()
            return self._withheld()
        orderly = self.state in (ConnectionState.CLOSE_SENT, ConnectionState.DISCARDING)
        self.state = ConnectionState.END
        undelivered = self._undelivered()
        self._drop_sessions(None)
        over = self._stage is _OVER
        stage, self._stage = self._stage, _OVER
        if over:
            return []
        if orderly:
            return [ConnectionClosed(None, False, undelivered)]
        start = b"".join(self._chunks)
        expected = SASL_HEADER if stage is Stage.SASL_HEADER else AMQP_HEADER
        if self.role is EndpointRole.CLIENT and start and not self.heard and not expected.startswith(start):
            # Too short for a protocol header, and enough to say what it is not: a TLS alert has seven octets.
            return [ConnectionFailed(ProtocolError(describe_header(start), condition="amqp:not-implemented"))]
        error = ConnectionDroppedError(f"the peer dropped the connection{self._when(stage)}")
        return [ConnectionFailed(error, undelivered)]

    def _when(self, stage: Stage) -> str:
        """How far the connection had come when it ended, for a message."""
        if self.remote_open is not None:
            return ""
        if stage is Stage.SASL_FRAMES:
            return " during the SASL exchange"
        if self.authenticated:
            return " after a login that it had accepted, before the connection was open"
        return " before the connection was open"

    def __repr__(self) -> str:
        return f"<Connection {self.role.name} {self.state.name} sessions={len(self.sessions)}>"

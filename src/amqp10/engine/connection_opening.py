"""The first bytes of a connection: protocol headers and the SASL exchange, of a client and of a server.

Transport, "version negotiation"; security, "sasl". The mechanisms themselves are in ``sasl.py``.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from amqp10.codec import DecodeError, Symbol
from amqp10.engine.connection_base import ConnectionBase, Stage
from amqp10.engine.faults import ConnectionFault
from amqp10.engine.sasl import SaslClient, SaslServer, outcome_in_words
from amqp10.engine.states import ConnectionState, EndpointRole, Trigger
from amqp10.errors import AuthenticationError, MalformedFrameError, ProtocolError
from amqp10.wire.frames import AMQP_HEADER, SASL_HEADER, decode_frame_body, describe_header, encode_sasl_frame
from amqp10.wire.performatives import (
    SaslChallenge,
    SaslCode,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    SaslResponse,
)

if TYPE_CHECKING:
    from amqp10.engine.events import Events

__all__ = ["ConnectionOpening"]

_HEADER = Struct(">IBBH").unpack_from
_SASL_FRAME_LIMIT: Final = 65536
"""SASL frames are limited to 512 octets by the letter (security, "sasl"), but tokens are larger in practice."""
_SASL_ROUNDS: Final = 32


class ConnectionOpening(ConnectionBase):
    """The way from the first byte to the first frame."""

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
            self._stage = Stage.SASL_HEADER
        else:
            self._start_amqp()

    def _start_amqp(self) -> None:
        self.output.append(AMQP_HEADER)
        self._advance(Trigger.S_HEADER)
        self._stage = Stage.HEADER
        self._send_open()

    def _consume_opening(self, data: bytes, pos: int, events: Events) -> int:
        """Handle a protocol header or a SASL frame at ``pos``; return the position behind it, or set ``_need``."""
        self._need = 8
        if self._stage is Stage.OVER:
            return len(data)
        if self._stage is not Stage.SASL_FRAMES:
            self._on_header(data[pos : pos + 8])
            return pos + 8
        header: tuple[int, int, int, int] = _HEADER(data, pos)
        size, doff, kind, _ = header
        if size > _SASL_FRAME_LIMIT or doff < 2 or doff * 4 > size:
            raise ConnectionFault.malformed(f"the peer sent a SASL frame of {size} octets with data offset {doff}")
        if kind != 1:
            raise ConnectionFault.malformed(f"the peer sent a frame of type {kind} where SASL frames are expected")
        if len(data) - pos < size:
            self._need = size
            return pos
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
        if self.role is EndpointRole.SERVER and self._stage is Stage.HEADER and self.state is ConnectionState.START:
            self._on_first_header(header)
            return
        expected = SASL_HEADER if self._stage is Stage.SASL_HEADER else AMQP_HEADER
        if header != expected:
            raise ConnectionFault(ProtocolError(self._wrong_header(header), condition="amqp:not-implemented"))
        self.heard = True
        if self._stage is Stage.SASL_HEADER:
            self._stage = Stage.SASL_FRAMES
            return
        self._advance(Trigger.R_HEADER)
        if self.state is ConnectionState.HDR_RCVD:  # a server, behind its SASL exchange
            self.output.append(AMQP_HEADER)
            self._advance(Trigger.S_HEADER)
        self._stage = Stage.FRAMES

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
                self._stage = Stage.SASL_FRAMES
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
        self._stage = Stage.FRAMES

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
                refused = AuthenticationError(
                    f"SASL {sasl.mechanism} failed: {outcome_in_words(code)} (outcome {code})"
                )
                refused.retryable = code == SaslCode.SYS_TEMP
                raise refused
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
        self._stage = Stage.HEADER

"""The first bytes of a connection: protocol headers and the SASL exchange, of a client and of a server.

Transport, "version negotiation"; security, "sasl". The mechanisms themselves are in ``sasl.py``.
"""

from __future__ import annotations

from enum import Enum, auto
from struct import Struct
from typing import TYPE_CHECKING, Final

from amqp10.codec import DecodeError, Symbol
from amqp10.conditions import ErrorCondition
from amqp10.engine.faults import ConnectionFault
from amqp10.engine.sasl import SaslClient, SaslServer, outcome_in_words
from amqp10.engine.states import EndpointRole, Trigger
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
    from amqp10.engine.output import Output

__all__ = ["Handshake"]

_HEADER = Struct(">IBBH").unpack_from
_HEADER_SIZE: Final = 8
_SASL_FRAME_LIMIT: Final = 65536
"""SASL frames are limited to 512 bytes by the letter (security, "sasl"), but tokens are larger in practice."""
_SASL_ROUNDS: Final = 32


class _Next(Enum):
    """What the next incoming bytes are."""

    SASL_HEADER = auto()
    SASL_FRAME = auto()
    AMQP_HEADER = auto()
    FRAMES = auto()


class Handshake:
    """The way from the first byte to the first frame.

    Attributes:
        need: how many bytes have to be there for the next :meth:`read`.
        header_received: whether the peer has sent a protocol header, so that it is known to speak AMQP 1.0.
        authenticated: whether the SASL exchange has succeeded.
    """

    __slots__ = (
        "_hostname",
        "_next",
        "_output",
        "_role",
        "_rounds",
        "_sasl",
        "authenticated",
        "header_received",
        "need",
    )

    def __init__(
        self, role: EndpointRole, output: Output, sasl: SaslClient | SaslServer | None, hostname: str | None
    ) -> None:
        self._role = role
        self._output = output
        self._sasl = sasl
        self._hostname = hostname
        self._next = _Next.AMQP_HEADER
        self._rounds = 0
        self.need: int = _HEADER_SIZE
        self.header_received: bool = False
        self.authenticated: bool = False

    @property
    def done(self) -> bool:
        """Whether the next incoming bytes are the first frame."""
        return self._next is _Next.FRAMES

    @property
    def in_sasl(self) -> bool:
        """Whether the SASL exchange has begun and is not over."""
        return self._next is _Next.SASL_FRAME

    def start(self) -> tuple[Trigger, ...]:
        """Begin. A client queues its first protocol header, a server waits for it.

        Returns:
            How far that takes the connection.
        """
        if self._role is EndpointRole.SERVER:
            return ()
        if isinstance(self._sasl, SaslClient):
            self._output.buffers.append(SASL_HEADER)
            self._next = _Next.SASL_HEADER
            return ()
        return self._send_amqp_header()

    def _send_amqp_header(self) -> tuple[Trigger, ...]:
        self._output.buffers.append(AMQP_HEADER)
        self._next = _Next.AMQP_HEADER
        return (Trigger.S_HEADER,)

    def read(self, data: bytes, pos: int) -> tuple[int, tuple[Trigger, ...]]:
        """Read the protocol header or the SASL frame at ``pos``, where at least :attr:`need` bytes are.

        Returns:
            The position after it, and how far that takes the connection. The same position if ``need`` has grown,
            because the SASL frame is not whole.

        Raises:
            ConnectionFault: the peer does not speak AMQP 1.0, breaks the protocol, or there is no way to log in.
        """
        self.need = _HEADER_SIZE
        if self._next is not _Next.SASL_FRAME:
            on_header = self._on_client_header if self._role is EndpointRole.SERVER else self._on_server_header
            return pos + _HEADER_SIZE, on_header(data[pos : pos + _HEADER_SIZE])
        header: tuple[int, int, int, int] = _HEADER(data, pos)
        size, doff, kind, _ = header
        if size > _SASL_FRAME_LIMIT or doff < 2 or doff * 4 > size:
            raise ConnectionFault.malformed(f"the peer sent a SASL frame of {size} bytes with data offset {doff}")
        if kind != 1:
            raise ConnectionFault.malformed(f"the peer sent a frame of type {kind} where SASL frames are expected")
        if len(data) - pos < size:
            self.need = size
            return pos, ()
        try:
            performative, _ = decode_frame_body(data, pos + doff * 4, pos + size)
        except (DecodeError, MalformedFrameError) as error:
            raise ConnectionFault.malformed(f"the peer sent a malformed SASL frame: {error.message}") from error
        if self._output.trace is not None:
            self._output.trace(False, 0, performative, 0)
        try:
            return pos + size, self._on_sasl(performative)
        except AuthenticationError as error:
            raise ConnectionFault(error) from error

    def on_eof(self, start: bytes) -> ProtocolError | None:
        """The byte stream has ended. What there is of a header may be enough to say what it is not: a TLS alert has
        seven bytes."""
        if self._role is EndpointRole.SERVER or self.header_received or self._expected_header.startswith(start):
            return None
        return ProtocolError(describe_header(start), condition=ErrorCondition.NOT_IMPLEMENTED)

    # -- headers ---------------------------------------------------------------------------------------------------

    @property
    def _expected_header(self) -> bytes:
        return SASL_HEADER if self._next is _Next.SASL_HEADER else AMQP_HEADER

    def _on_server_header(self, header: bytes) -> tuple[Trigger, ...]:
        if header != self._expected_header:
            raise ConnectionFault(ProtocolError(self._wrong_header(header), condition=ErrorCondition.NOT_IMPLEMENTED))
        self.header_received = True
        if self._next is _Next.SASL_HEADER:
            self._next = _Next.SASL_FRAME
            return ()
        self._next = _Next.FRAMES
        return (Trigger.R_HEADER,)

    @staticmethod
    def _wrong_header(header: bytes) -> str:
        if header == SASL_HEADER:
            return "the server requires a SASL layer; choose an authentication scheme other than none"
        if header == AMQP_HEADER:
            return "the server does not take part in SASL; choose the authentication scheme none"
        return describe_header(header)

    def _on_client_header(self, header: bytes) -> tuple[Trigger, ...]:
        """A server's answer to a client's header (transport, "version negotiation")."""
        sasl = self._sasl
        wanted = AMQP_HEADER
        if isinstance(sasl, SaslServer) and not self.authenticated:
            if header == SASL_HEADER:
                self.header_received = True
                self._output.buffers.append(SASL_HEADER)
                self._send_sasl(SaslMechanisms(sasl_server_mechanisms=tuple(Symbol(m) for m in sasl.mechanisms)))
                self._next = _Next.SASL_FRAME
                return ()
            wanted = SASL_HEADER
        if header != wanted:
            self._output.buffers.append(wanted)
            raise ConnectionFault(ProtocolError(describe_header(header), condition=ErrorCondition.NOT_IMPLEMENTED))
        self.header_received = True
        self._output.buffers.append(AMQP_HEADER)
        self._next = _Next.FRAMES
        return (Trigger.R_HEADER, Trigger.S_HEADER)

    # -- SASL ------------------------------------------------------------------------------------------------------

    def _send_sasl(self, performative: SaslMechanisms | SaslInit | SaslChallenge | SaslResponse | SaslOutcome) -> None:
        self._output.write(encode_sasl_frame(performative), 0, performative)

    def _on_sasl(self, performative: object) -> tuple[Trigger, ...]:
        self._rounds += 1
        if self._rounds > _SASL_ROUNDS:
            raise AuthenticationError("the SASL exchange does not come to an end")
        if isinstance(self._sasl, SaslClient):
            return self._on_sasl_client(self._sasl, performative)
        if isinstance(self._sasl, SaslServer):
            self._on_sasl_server(self._sasl, performative)
        return ()

    def _on_sasl_client(self, sasl: SaslClient, performative: object) -> tuple[Trigger, ...]:
        if isinstance(performative, SaslMechanisms) and sasl.mechanism is None:
            mechanism, response = sasl.choose([str(name) for name in performative.sasl_server_mechanisms])
            self._send_sasl(SaslInit(mechanism=Symbol(mechanism), initial_response=response, hostname=self._hostname))
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
            data = performative.additional_data
            sasl.finish(None if data is None else bytes(data))
            self.authenticated = True
            return self._send_amqp_header()
        else:
            name = type(performative).__name__
            raise AuthenticationError(f"the server sent {name} out of turn in the SASL exchange")
        return ()

    def _on_sasl_server(self, sasl: SaslServer, performative: object) -> None:
        if not isinstance(performative, SaslInit):
            raise AuthenticationError(f"the client sent {type(performative).__name__} out of turn in the SASL exchange")
        code = sasl.judge(str(performative.mechanism), bytes(performative.initial_response or b""))
        self._send_sasl(SaslOutcome(code=code))
        if code != SaslCode.OK:
            raise AuthenticationError(f"the client's SASL {performative.mechanism} was refused")
        self.authenticated = True
        # After SASL the AMQP headers are exchanged anew.
        self._next = _Next.AMQP_HEADER

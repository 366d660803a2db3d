"""Frames and protocol headers (transport, "framing" and "version-negotiation")."""

from __future__ import annotations

from struct import Struct
from struct import error as struct_error
from typing import Final, get_args

from amqp10.codec.composite import Composite, decode_composite
from amqp10.conditions import ErrorCondition
from amqp10.errors import EncodeError, MalformedFrameError
from amqp10.wire import messaging as _messaging  # registers the termini and states that frame bodies carry
from amqp10.wire.performatives import Performative, SaslFrame

__all__ = [
    "AMQP_HEADER",
    "EMPTY_FRAME",
    "FRAME_AMQP",
    "FRAME_SASL",
    "SASL_HEADER",
    "TLS_HEADER",
    "decode_frame_body",
    "describe_header",
    "encode_frame",
    "encode_sasl_frame",
]

assert _messaging.ACCEPTED is not None

AMQP_HEADER: Final = b"AMQP\x00\x01\x00\x00"
TLS_HEADER: Final = b"AMQP\x02\x01\x00\x00"
SASL_HEADER: Final = b"AMQP\x03\x01\x00\x00"
FRAME_AMQP: Final = 0
FRAME_SASL: Final = 1
EMPTY_FRAME: Final = b"\x00\x00\x00\x08\x02\x00\x00\x00"
"""A frame without a body: a heartbeat (transport, "idle time-out of a connection")."""

_PACK = Struct(">IBBH").pack


def encode_frame(channel: int, performative: Performative, payload: bytes | memoryview = b"") -> bytes:
    """One AMQP frame.

    Args:
        channel: 0 to 65535.
        performative: the frame body.
        payload: what comes after it.

    Raises:
        EncodeError: the channel is out of range, or a field of the performative does not fit.
    """
    body = performative.encode()
    try:
        head = _PACK(8 + len(body) + len(payload), 2, FRAME_AMQP, channel)
    except struct_error:
        raise EncodeError("a channel is a number from 0 to 65535, and a frame has less than 2**32 bytes") from None
    return b"".join((head, body, payload))


def encode_sasl_frame(performative: SaslFrame) -> bytes:
    """One SASL frame (security, "sasl").

    Raises:
        EncodeError: a field of the frame body does not fit.
    """
    body = performative.encode()
    return _PACK(8 + len(body), 2, FRAME_SASL, 0) + body


_BODIES: Final = frozenset((*get_args(Performative), *get_args(SaslFrame)))


def decode_frame_body(buf: bytes, start: int, stop: int) -> tuple[Composite, int]:
    """The performative at ``start`` in a frame, and where its payload starts.

    Raises:
        DecodeError: it is malformed.
        MalformedFrameError: it reaches past ``stop``, or is not a frame body.
    """
    performative, pos = decode_composite(buf, start)
    if pos > stop:
        raise MalformedFrameError(
            f"the peer sent a frame whose {performative.NAME} reaches past its end",
            condition=ErrorCondition.DECODE_ERROR,
        )
    if type(performative) not in _BODIES:
        raise MalformedFrameError(
            f"the peer sent a frame whose body is of type {performative.NAME}", condition=ErrorCondition.DECODE_ERROR
        )
    return performative, pos


_PRINTABLE: Final = frozenset(range(0x20, 0x7F))


def describe_header(header: bytes) -> str:
    """A sentence about the protocol of a peer that does not answer with the expected protocol header.

    Args:
        header: its first bytes, up to 8.
    """
    if header[:4] == b"AMQP" and len(header) >= 8:
        protocol, major, minor, revision = header[4:8]
        # AMQP 0-9-1 has 0, 0, 9, 1 after the letters; 0-8 to 0-10 have 1, 1 and then their version, 0-8 reversed.
        if (protocol, major) == (0, 0):
            return f"the server speaks AMQP {major}-{minor}-{revision}, not AMQP 1.0"
        if (protocol, major) == (1, 1):
            version = "0-8" if (minor, revision) == (8, 0) else f"{minor}-{revision}"
            return f"the server speaks AMQP {version}, not AMQP 1.0"
        names = {0: "AMQP", 2: "AMQP over TLS", 3: "AMQP with a SASL layer"}
        what = names.get(protocol, f"the unknown protocol {protocol} of AMQP")
        return f"the server speaks {what} {major}.{minor}.{revision}, which does not match what was asked for"
    if header[:1] in (b"\x15", b"\x16") and header[1:2] == b"\x03":
        return "the server speaks TLS on this port: enable TLS, or use the port for plain AMQP"
    if header[:5] == b"HTTP/":
        return "the server speaks HTTP, not AMQP"
    if not header:
        return "the server does not speak AMQP: it answered nothing"
    shown = "".join(chr(byte) if byte in _PRINTABLE else f"\\x{byte:02x}" for byte in header[:8])
    return f"the server does not speak AMQP: it answered '{shown}'"

"""Frames and protocol headers (transport, "framing" and "version-negotiation")."""

from __future__ import annotations

from struct import Struct
from typing import Final

from amqp10.codec.composite import Composite, decode_composite
from amqp10.errors import MalformedFrameError
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
    "read_frame_header",
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
_UNPACK = Struct(">IBBH").unpack_from


def encode_frame(channel: int, performative: Performative, payload: bytes = b"") -> bytes:
    """One AMQP frame.

    Args:
        channel: 0 to 65535.
        performative: the frame body.
        payload: what stands behind it.
    """
    body = performative.encode()
    return _PACK(8 + len(body) + len(payload), 2, FRAME_AMQP, channel) + body + payload


def encode_sasl_frame(performative: SaslFrame) -> bytes:
    """One SASL frame (security, "sasl")."""
    body = performative.encode()
    return _PACK(8 + len(body), 2, FRAME_SASL, 0) + body


def read_frame_header(buf: bytes, pos: int, limit: int) -> tuple[int, int, int, int]:
    """Read the frame header at ``pos``, of which all 8 octets are there.

    Args:
        buf: the bytes.
        pos: where the frame starts.
        limit: the largest frame that is accepted, in octets.

    Returns:
        The position of the body, the position behind the frame, the frame type and the channel.

    Raises:
        MalformedFrameError: the size is below 8 or beyond the limit, or the data offset points outside the frame.
            Nothing of the announced size has been waited for or allocated then.
    """
    size, doff, kind, channel = _UNPACK(buf, pos)
    if size > limit:
        raise MalformedFrameError(f"the peer sent a frame of {size} octets; {limit} is the agreed maximum")
    if doff < 2 or doff * 4 > size:
        raise MalformedFrameError(f"the peer sent a frame of {size} octets with data offset {doff}")
    return pos + doff * 4, pos + size, kind, channel


def decode_frame_body(buf: bytes, start: int, stop: int) -> tuple[Composite, int]:
    """The performative that stands at ``start`` of a frame, and where its payload starts.

    Raises:
        DecodeError: it is malformed, or reaches behind ``stop``.
        MalformedFrameError: it is no frame body.
    """
    performative, pos = decode_composite(buf, start)
    if pos > stop:
        raise MalformedFrameError(
            f"the peer sent a frame whose {performative.NAME} reaches behind its end", condition="amqp:decode-error"
        )
    return performative, pos


_PRINTABLE: Final = frozenset(range(0x20, 0x7F))


def describe_header(header: bytes) -> str:
    """What a peer speaks that answers with other bytes than the expected protocol header, as a sentence.

    Args:
        header: its first octets, up to 8.
    """
    if header[:4] == b"AMQP" and len(header) >= 8:
        protocol, major, minor, revision = header[4:8]
        # AMQP 0-9-1 has 0, 0, 9, 1 behind the letters; 0-8 to 0-10 have 1, 1 and then their version.
        if (protocol, major) == (0, 0):
            return f"the server speaks AMQP {major}-{minor}-{revision}, not AMQP 1.0"
        if (protocol, major) == (1, 1):
            return f"the server speaks AMQP {minor}-{revision}, not AMQP 1.0"
        names = {0: "AMQP", 2: "AMQP over TLS", 3: "AMQP with a SASL layer"}
        what = names.get(protocol, f"the unknown protocol {protocol} of AMQP")
        return f"the server speaks {what} {major}.{minor}.{revision}, which does not match what was asked for"
    if header[:1] in (b"\x15", b"\x16") and header[1:2] == b"\x03":
        return "the server speaks TLS on this port: enable TLS, or use the port for plain AMQP"
    if header[:5] == b"HTTP/":
        return "the server speaks HTTP, not AMQP"
    shown = "".join(chr(octet) if octet in _PRINTABLE else f"\\x{octet:02x}" for octet in header[:8])
    return f"the server does not speak AMQP: it answered {shown!r}"

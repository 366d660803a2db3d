"""A peer that is never the bottleneck: a sink that swallows messages and a source that pours out prepared ones.

Handshakes, sessions and links go through this project's engine; the bulk does not. The sink only looks at the frame
headers, counts the deliveries and answers each read with one disposition range. The source sends the same prepared
frame again and again, with the delivery id patched in, and reads dispositions only to keep the socket flowing.

Run it as a program: it prints ``READY <port>`` and serves connections, one after the other, until it is killed.
Addresses: ``sink`` and ``hold`` (targets; ``hold`` never tells an outcome), ``source/COUNT/SIZE`` and
``settled/COUNT/SIZE`` (sources), ``service`` (a target: what comes is accepted and goes back as it is) and, for what
goes back, ``replies`` or a dynamic node (sources). With a file of a certificate and its key as argument it speaks TLS.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import sys
import time
from collections import deque
from typing import Final

from amqp10.codec import UInt
from amqp10.engine import (
    Connection,
    EndpointRole,
    IncomingDelivery,
    LinkRequested,
    ReceiverLink,
    SaslServer,
    SenderLink,
    SessionRequested,
)
from amqp10.wire.message import Message
from amqp10.wire.messaging import ACCEPTED, Properties, Source

_SIZE: Final = struct.Struct(">I").unpack_from
_CREDIT: Final = 0x7FFFFFFF


class Sink:
    """Counts the transfers of one session and accepts them in ranges."""

    def __init__(self, link: ReceiverLink, sock: socket.socket, hold: bool) -> None:
        self.sock = sock
        self.hold = hold
        self.next_id = 0
        self.rest = b""
        self.missing = 0
        self.channel = link.session.channel
        self.acknowledged = 0
        self.session = link.session

    def take(self, data: bytes) -> bool:
        """Swallow what arrived. False when something other than transfers is in it: then the engine has to look."""
        if self.missing >= len(data):
            # In the middle of a large frame: nothing to look at.
            self.missing -= len(data)
            return True
        if self.missing:
            data = data[self.missing :]
            self.missing = 0
        data = self.rest + data
        pos = 0
        end = len(data)
        count = 0
        unsettled = False
        while end - pos >= 8:
            (size,) = _SIZE(data, pos)
            if pos + size > end and not (end - pos > 512 and data[pos + 10] == 0x14):
                break
            code = data[pos + 10] if size > 10 else 0
            if code == 0x14:
                # "more" is the sixth field; only the last frame of a message counts.
                count += 0 if self._continues(data, pos + 11) else 1
                unsettled = unsettled or data[pos + 13] < 5 or not self._settled(data, pos + 11)
            elif size > 8:
                self.rest = b""
                self.leftover = data[pos:]
                self._acknowledge(count, unsettled)
                return False
            pos += size
        if pos > end:
            # The performative has been seen; of the rest only the length matters.
            self.missing = pos - end
            pos = end
        self.rest = data[pos:]
        self._acknowledge(count, unsettled)
        return True

    @staticmethod
    def _fields(data: bytes, pos: int) -> list[object]:
        from amqp10.codec import decode

        value, _ = decode(data[pos : pos + 300] if data[pos] == 0xC0 else data, 0 if data[pos] == 0xC0 else pos)
        return list(value)

    def _continues(self, data: bytes, pos: int) -> bool:
        if data[pos] == 0xC0 and data[pos + 2] < 6:
            return False
        fields = self._fields(data, pos)
        return len(fields) > 5 and fields[5] is True

    def _settled(self, data: bytes, pos: int) -> bool:
        if data[pos] == 0xC0 and data[pos + 2] == 5:
            return data[pos + 1 + data[pos + 1]] == 0x41
        fields = self._fields(data, pos)
        return len(fields) > 4 and fields[4] is True

    def _acknowledge(self, count: int, unsettled: bool) -> None:
        if not count:
            return
        first = self.next_id
        self.next_id += count
        if unsettled and not self.hold:
            body = b"\x00\x53\x15\xc0\x11\x05\x41\x70%b\x70%b\x41\x00\x53\x24\x45" % (
                struct.pack(">I", first),
                struct.pack(">I", self.next_id - 1),
            )
            self.sock.sendall(struct.pack(">IBBH", len(body) + 8, 2, 0, self.channel) + body)
        if self.next_id - self.acknowledged > 10000:
            # The session window is opened anew; the figure is only ever generous.
            self.acknowledged = self.next_id
            self._open_window()

    def _open_window(self) -> None:
        from amqp10.wire.frames import encode_frame
        from amqp10.wire.performatives import Flow

        flow = Flow(
            next_incoming_id=UInt(self.next_id & 0xFFFFFFFF),
            incoming_window=_CREDIT,
            next_outgoing_id=0,
            outgoing_window=_CREDIT,
        )
        self.sock.sendall(encode_frame(self.channel, flow))


def prepared_message(link: SenderLink, settled: bool, size: int) -> tuple[bytes, int, int]:
    """The transfer frames of one message, how many they are, and where the delivery id stands in the first."""
    payload = Message(properties=Properties(message_id="id-0000001"), value="x" * size).encode()
    handle = bytes((0x52, link.handle)) if link.handle else b"\x43"
    first = handle + b"\x70\0\0\0\0" + b"\xa0\x04\0\0\0\0" + b"\x43" + (b"\x41" if settled else b"\x42")
    room = link.output.max_frame_size - 40
    frames = []
    for start in range(0, len(payload), room):
        last = start + room >= len(payload)
        fields = first if start == 0 else handle + b"\x40\x40\x40\x40"
        if not last:
            fields += b"\x41"
        elif start:
            fields += b"\x42"
        count = 5 if start == 0 and last else 6
        body = b"\x00\x53\x14\xc0" + bytes((len(fields) + 1, count)) + fields + payload[start : start + room]
        frames.append(struct.pack(">IBBH", len(body) + 8, 2, 0, link.session.channel) + body)
    return b"".join(frames), len(frames), 8 + 6 + len(handle) + 1


def pour(conn: Connection, link: SenderLink, sock: socket.socket, count: int, size: int, settled: bool) -> None:
    """Send ``count`` messages as fast as the peer takes them, ignoring its credit's exact figure but not its pace."""
    batch = max(1, min(1000, 1_000_000 // (size + 60)))
    message, frames, at = prepared_message(link, settled, size)
    step = len(message)
    buffer = bytearray(message * batch)
    sent = 0
    pack = struct.Struct(">I").pack_into
    sock.setblocking(False)
    while sent < count:
        while link.credit <= 0:
            select.select([sock], [], [])
            _read(sock, conn)
        n = min(batch, count - sent, link.credit)
        for i in range(n):
            pack(buffer, i * step + at, sent + i)
            pack(buffer, i * step + at + 6, sent + i)
        view = memoryview(buffer)[: n * step]
        while view:
            readable, writable, _ = select.select([sock], [sock], [])
            if readable:
                _read(sock, conn)
            if writable:
                try:
                    view = view[sock.send(view) :]
                except BlockingIOError:
                    continue
        link.credit -= n
        link.delivery_count += n
        link.session.window.next_outgoing_id += n * frames
        sent += n
    sock.setblocking(True)


def _read(sock: socket.socket, conn: Connection) -> None:
    try:
        data = sock.recv(262144)
    except BlockingIOError:
        return
    if not data:
        raise EOFError
    conn.receive_data(data, time.monotonic())


def serve(sock: socket.socket) -> None:
    """Serve one connection."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = sock.recv(1 << 20)
    # Some clients speak AMQP without a SASL layer in front.
    sasl = SaslServer(users={"u": "p"}) if data[4:5] == b"\x03" else None
    conn = Connection(EndpointRole.SERVER, container_id="benchmark", sasl=sasl)
    conn.start(time.monotonic())
    sink: Sink | None = None
    replies: SenderLink | None = None
    responses: deque[bytes] = deque()
    scratch = bytearray(1 << 18)
    # A large buffer is fetched from the system and given back for each read: not for those who send a little at a time.
    wanted = 1 << 16
    while not conn.finished:
        if not data and sink is not None and sink.missing:
            # In the middle of a large frame: nothing to look at, and so nothing to allocate.
            taken = sock.recv_into(scratch, min(len(scratch), sink.missing))
            if not taken:
                return
            sink.missing -= taken
            continue
        if not data:
            data = sock.recv(wanted)
            wanted = 1 << 20 if len(data) >= 1 << 16 else 1 << 16
        if not data:
            return
        if sink is not None:
            if sink.take(data):
                data = b""
                continue
            data = sink.leftover
        todo = None
        arrived, data = data, b""
        for event in conn.receive_data(arrived, time.monotonic()):
            if isinstance(event, SessionRequested):
                event.session.window.incoming = _CREDIT
                event.session.window.outgoing = _CREDIT
                event.session.accept()
            elif isinstance(event, IncomingDelivery):
                event.settle(ACCEPTED)
                responses.append(event.payload)
            elif isinstance(event, LinkRequested):
                link = event.link
                if (
                    isinstance(link, SenderLink)
                    and link.source
                    and (link.source.dynamic or link.source.address == "replies")
                ):
                    link.accept(source=Source(address="replies", dynamic=link.source.dynamic))
                    replies = link
                    continue
                link.accept()
                if isinstance(link, ReceiverLink):
                    link.flow(_CREDIT)
                    if sink is None and getattr(link.target, "address", None) != "service":
                        sink = Sink(link, sock, getattr(link.target, "address", None) == "hold")
                        sink.next_id = link.session.window.next_incoming_id or 0
                else:
                    todo = link
        while responses and replies is not None and replies.credit > 0:
            replies.send(responses.popleft())
        out = conn.data_to_send(time.monotonic())
        if out:
            sock.sendall(b"".join(out))
        if isinstance(todo, SenderLink):
            kind, count, size = str(todo.source.address if todo.source else "").split("/")
            pour(conn, todo, sock, int(count), int(size), kind == "settled")


def main() -> None:
    """Listen on a free port and serve until killed."""
    context = None
    if len(sys.argv) > 1:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print("READY", listener.getsockname()[1], flush=True)
        while True:
            sock, _ = listener.accept()
            with contextlib.suppress(EOFError, ConnectionError, ssl.SSLEOFError):
                if context is not None:
                    sock = context.wrap_socket(sock, server_side=True)
                with sock:
                    serve(sock)


if __name__ == "__main__":
    sys.exit(main())

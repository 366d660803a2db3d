"""A TLS session on a TCP connection, as a :class:`~amqp10.net.transport.Transport`.

The TLS protocol itself is in ``session.py`` and ``stdlib.py``, without I/O, and a client's handshake in ``dial.py``;
this joins a session with a socket.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from amqp10.errors import AMQPError
from amqp10.net.transport import RECEIVE_SIZE

if TYPE_CHECKING:
    from amqp10.net.network import SecureSession
    from amqp10.net.options import TransportOptions
    from amqp10.net.tcp import TcpTransport

__all__ = ["TlsTransport"]

_PORTION: Final = 131072
"""How many bytes are encrypted at a time, once the socket has taken what was encrypted earlier: this bounds what is
held here. OpenSSL's output is read back in one piece; a larger one would not fit into the processor's cache."""


class TlsTransport:
    """A TLS session. Until its handshake is done, which only a server has to do here, ``recv`` continues it, and
    ``send`` takes nothing.

    Args:
        tcp: the connection underneath; owned from now on.
        session: the session.
        early: plaintext that arrived together with the end of the handshake.

    Attributes:
        progress: how many encrypted bytes have moved.
    """

    __slots__ = ("_cipher", "_early", "_ended", "_tcp", "progress", "session")

    def __init__(self, tcp: TcpTransport, session: SecureSession, early: bytes) -> None:
        self._tcp = tcp
        self.session: SecureSession = session
        self._early = early
        self._ended = session.ended
        self._cipher: bytes | memoryview = b""
        self.progress: int = 0

    @property
    def local_address(self) -> tuple[str, int]:
        """See :class:`~amqp10.net.transport.Transport`."""
        return self._tcp.local_address

    @property
    def remote_address(self) -> tuple[str, int]:
        """See :class:`~amqp10.net.transport.Transport`."""
        return self._tcp.remote_address

    @property
    def unsent(self) -> bool:
        """Whether encrypted bytes wait for the socket."""
        return bool(self._cipher)

    @property
    def buffered(self) -> bool:
        """Whether decrypted bytes, or the end of the stream, are available without waiting."""
        return self._ended or bool(self._early)

    def reconfigure(self, options: TransportOptions) -> None:
        """See :class:`~amqp10.net.transport.Transport`."""
        self._tcp.reconfigure(options)

    def fileno(self) -> int:
        """See :class:`~amqp10.net.transport.Transport`."""
        return self._tcp.fileno()

    def recv(self, max_bytes: int = RECEIVE_SIZE) -> bytes | None:
        """See :class:`~amqp10.net.transport.Transport`; more than ``max_bytes`` may come when several records
        arrived."""
        if self._early:
            data, self._early = self._early, b""
            return data
        if self._ended:
            self.session.feed(b"")  # raises if it was an error that ended it
            return b""
        raw = self._tcp.recv(max_bytes)
        if raw is None:
            return None
        self.progress += len(raw)
        if not raw:
            self.session.feed_eof()
            return b""
        try:
            pieces = self.session.feed(raw)
        except AMQPError:
            # An alert tells the peer what is wrong; whether it still arrives does not matter.
            with contextlib.suppress(AMQPError):
                self._push()
            raise
        # The end may come right after the last data, and nothing else may follow, if the peer keeps its socket open.
        self._ended = self.session.ended
        if self._cipher or self._ended or not pieces:
            # Reading may have to be answered: key updates, alerts.
            self._push()
        if pieces:
            return b"".join(pieces)
        return b"" if self._ended else None

    def send(self, buffers: list[bytes | memoryview]) -> int:
        """See :class:`~amqp10.net.transport.Transport`. What is taken is encrypted at once, and sent as the socket
        allows."""
        if not self._push() or not self.session.handshake_done:
            return 0
        taken = size = 0
        portion: list[bytes | memoryview] = []
        for buffer in buffers:
            rest = buffer
            while size + len(rest) >= _PORTION:
                view = memoryview(rest)
                portion.append(view[: _PORTION - size])
                rest = view[_PORTION - size :]
                self.session.write(portion)
                taken += _PORTION
                portion, size = [], 0
                if not self._push():
                    return taken
            portion.append(rest)
            size += len(rest)
        if size:
            self.session.write(portion)
            self._push()
        return taken + size

    def _push(self) -> bool:
        """Send what is encrypted. Returns whether all of it was sent."""
        fresh = self.session.data_to_send()
        cipher = b"".join((self._cipher, fresh)) if self._cipher and fresh else (self._cipher or fresh)
        if cipher:
            sent = self._tcp.send([cipher])
            self.progress += sent
            cipher = memoryview(cipher)[sent:] if sent < len(cipher) else b""
        self._cipher = cipher
        return not cipher

    def push(self) -> None:
        """See :class:`~amqp10.net.transport.Transport`."""
        self._tcp.push()

    def next_send_time(self) -> float | None:
        """See :class:`~amqp10.net.transport.Transport`."""
        return self._tcp.next_send_time()

    def close(self, graceful: bool = True) -> None:
        """See :class:`~amqp10.net.transport.Transport`. Sends close_notify first when ``graceful``."""
        if graceful and self.fileno() >= 0:
            self.session.close()
            try:
                self._push()
            except AMQPError:
                graceful = False  # the connection is broken
        self._tcp.close(graceful)

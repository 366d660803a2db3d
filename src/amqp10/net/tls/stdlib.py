"""A TLS session of the standard library over memory buffers: bytes in, bytes out, no sockets."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from amqp10.errors import AMQPError
from amqp10.net.names import server_name

__all__ = ["StdlibSession"]

_READ_SIZE: Final = 262144


class StdlibSession:
    """One side of a TLS connection. See :class:`~amqp10.net.network.SecureSession`.

    Args:
        context: the settings.
        host: the name that the server's certificate must be for, also sent as SNI; None on the server's side.

    Raises:
        AMQPError: 102; it cannot be a host name.
    """

    __slots__ = (
        "_closing",
        "_incoming",
        "_object",
        "_outgoing",
        "_peer",
        "closed_by_peer",
        "download",
        "download_limit",
        "handshake_done",
    )

    def __init__(self, context: ssl.SSLContext, host: str | None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        if host is None:
            self._peer = "client"
            self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        else:
            self._peer = "server"
            try:
                self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name(host))
            except ValueError as error:
                raise AMQPError(102, f"{host!r} is not a host name: {error}") from error
        self._closing = False
        self.handshake_done: bool = False
        self.closed_by_peer: bool = False
        self.download: Callable[[], None] | None = None
        self.download_limit: float = 0.0

    @property
    def ended(self) -> bool:
        """See :class:`~amqp10.net.network.SecureSession`."""
        return self.closed_by_peer

    @property
    def stage(self) -> str:
        """See :class:`~amqp10.net.network.SecureSession`."""
        return "established" if self.handshake_done else f"waiting for the {self._peer}'s part of the handshake"

    @property
    def peer_certificate(self) -> Mapping[str, Any]:
        """The peer's certificate as ``ssl.SSLSocket.getpeercert`` gives it; empty without one that was verified."""
        return self._object.getpeercert() or {}

    def downloaded(self) -> list[bytes]:
        """See :class:`~amqp10.net.network.SecureSession`. Nothing is downloaded here."""
        return []

    def start(self) -> None:
        """See :class:`~amqp10.net.network.SecureSession`."""
        self._advance()

    def feed(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """See :class:`~amqp10.net.network.SecureSession`.

        Raises:
            AMQPError: 280, the server's certificate is not accepted; 276, the handshake failed for another reason;
                284, the bytes are not TLS records of this connection, or contain an alert.
        """
        self._incoming.write(data)
        if not self.handshake_done:
            self._advance()
            if not self.handshake_done:
                return []
        parts: list[bytes] = []
        try:
            while part := self._object.read(_READ_SIZE):
                parts.append(part)
            self.closed_by_peer = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.closed_by_peer = True
        except ssl.SSLError as error:
            raise AMQPError(
                284, f"what the {self._peer} sent could not be decrypted: {error.reason or error}"
            ) from error
        return parts

    def _advance(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLCertVerificationError as error:
            raise AMQPError(280, f"the {self._peer}'s certificate was not accepted: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise AMQPError(276, f"the TLS handshake failed: {error.reason or error}") from error
        self.handshake_done = True

    def feed_eof(self) -> bool:
        """See :class:`~amqp10.net.network.SecureSession`.

        Raises:
            AMQPError: 276; the handshake was not finished.
        """
        if not self.handshake_done:
            raise AMQPError(
                276, f"the TLS handshake failed: the {self._peer} closed the connection in the middle of it"
            )
        return self.closed_by_peer

    def write(self, buffers: Iterable[bytes | memoryview]) -> None:
        """See :class:`~amqp10.net.network.SecureSession`.

        Raises:
            AMQPError: 211 before the handshake is done or after :meth:`close`, 283 if it cannot be encrypted.
        """
        if not self.handshake_done or self._closing:
            raise AMQPError(211, "data can be sent only while the TLS session is established")
        try:
            self._object.write(b"".join(buffers))
        except ssl.SSLError as error:
            raise AMQPError(283, f"data could not be encrypted: {error.reason or error}") from error

    def data_to_send(self) -> bytes:
        """See :class:`~amqp10.net.network.SecureSession`."""
        return self._outgoing.read()

    def close(self) -> None:
        """See :class:`~amqp10.net.network.SecureSession`."""
        if self._closing:
            return
        self._closing = True
        if self.handshake_done:
            try:
                self._object.unwrap()
            except ssl.SSLError:
                # The peer's answer is missing, for which nobody waits, or the peer is gone.
                return

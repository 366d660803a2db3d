"""A TLS session of the standard library over buffers in memory: bytes in, bytes out, no sockets."""

from __future__ import annotations

import ssl

from amqp10.errors import AMQPError

__all__ = ["TlsCodec"]


class TlsCodec:
    """The client's side of one TLS connection.

    Args:
        context: what is asked of the server, and of the connection.
        host: the name that the server's certificate has to be for, and that it is asked for (SNI).
    """

    __slots__ = ("_incoming", "_object", "_outgoing")

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def handshake(self, data: bytes) -> bool:
        """Take what the server sent; returns whether the handshake is complete. What to send is in :meth:`output`.

        Raises:
            AMQPError: 275 when the certificate is not accepted, 276 when the handshake failed for another reason.
        """
        if data:
            self._incoming.write(data)
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLCertVerificationError as error:
            raise AMQPError(275, f"the server's certificate was not accepted: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise AMQPError(276, f"the TLS handshake failed: {error.reason or error}") from error
        return True

    def output(self) -> bytes:
        """Bytes for the server."""
        return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        """Bytes for the server that carry these."""
        self._object.write(data)
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """What the server's bytes carry, as far as it is complete.

        Raises:
            AMQPError: 284, the bytes are no TLS records of this connection, or the server ended the session.
        """
        self._incoming.write(data)
        parts: list[bytes] = []
        try:
            while part := self._object.read(262144):
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            if not parts:
                raise AMQPError(1120, "the server ended the TLS session") from None
        except ssl.SSLError as error:
            raise AMQPError(284, f"what the server sent could not be decrypted: {error.reason or error}") from error
        return b"".join(parts)

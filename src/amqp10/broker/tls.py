"""TLS on the broker's side, over buffers in memory: bytes in, bytes out, no sockets."""

from __future__ import annotations

import contextlib
import ssl
from typing import Any, Final

__all__ = ["ServerTls"]

_READ_SIZE: Final = 65536


class ServerTls:
    """The server's side of one TLS connection.

    Args:
        context: the server's certificate and key, and what is asked of clients.
    """

    __slots__ = ("_incoming", "_object", "_outgoing", "ended", "established")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.established: bool = False
        self.ended: bool = False
        """Whether the client has said that nothing more comes."""

    def feed(self, data: bytes) -> bytes:
        """Take what the socket gave; returns what the client sent within it.

        Raises:
            ssl.SSLError: the handshake failed, or these are no records of this connection. An alert for the client
                may be among what is to be sent.
        """
        self._incoming.write(data)
        parts: list[bytes] = []
        try:
            if not self.established:
                self._object.do_handshake()
                self.established = True
            while part := self._object.read(_READ_SIZE):
                parts.append(part)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return b"".join(parts)

    def write(self, data: bytes) -> None:
        """Encrypt bytes for the client."""
        self._object.write(data)

    def data_to_send(self) -> bytes:
        """Take what is to be written to the socket."""
        return self._outgoing.read()

    def close(self) -> None:
        """Say that nothing more comes."""
        with contextlib.suppress(ssl.SSLError):  # the client has not said so yet, and is not waited for
            self._object.unwrap()

    def identity(self, wanted: str) -> str | None:
        """Who the client is by its certificate: the common name. None when it wants to be somebody else.

        Args:
            wanted: who it wants to be; empty for who it is.
        """
        certificate: dict[str, Any] = self._object.getpeercert() or {}
        for part in certificate.get("subject", ()):
            for name, value in part:
                if name == "commonName":
                    return str(value) if wanted in ("", value) else None
        return None

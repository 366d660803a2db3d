"""A TLS listener in front of the embedded broker, which keeps what the client sent in the clear: its hello."""

from __future__ import annotations

import contextlib
import selectors
import socket
from types import TracebackType
from typing import Self

from OpenSSL import SSL

from amqp10.broker import Broker
from tests.net.pki import MemoryServer
from tests.net.tcp_support import ThreadedListener

__all__ = ["TlsFront"]


class TlsFront(ThreadedListener):
    """Each connection has a thread that moves bytes between the client and a connection to the broker.

    Attributes:
        servers: the server's side of each connection, with everything that reached it (``wire``).
    """

    def __init__(self, context: SSL.Context) -> None:
        super().__init__()
        self._context = context
        self._broker = Broker(users={"user": "s3cret"})
        self.servers: list[MemoryServer] = []

    def serve(self, client: socket.socket) -> None:
        server = MemoryServer(self._context)
        self.servers.append(server)
        address = (self._broker.host, self._broker.port)
        # Either side may hang up at any time; who looks at what was received finds it in ``wire`` and ``plain``.
        with (
            contextlib.suppress(OSError),
            client,
            socket.create_connection(address) as behind,
            selectors.DefaultSelector() as selector,
        ):
            selector.register(client, selectors.EVENT_READ)
            selector.register(behind, selectors.EVENT_READ)
            passed = 0
            while server.error is None:
                for key, _ in selector.select():
                    data = client.recv(65536) if key.fileobj is client else behind.recv(65536)
                    if not data:
                        return
                    if key.fileobj is client:
                        server.receive(data)
                        behind.sendall(server.plain[passed:])
                        passed = len(server.plain)
                    else:
                        server.connection.send(data)
                    client.sendall(server.output())

    def __enter__(self) -> Self:
        self._broker.__enter__()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._broker.__exit__(kind, error, traceback)
        super().__exit__(kind, error, traceback)

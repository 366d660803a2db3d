"""A TLS listener in front of the embedded broker, which keeps what the client sent in the clear: its hello."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import Self

from OpenSSL import SSL

from amqp10.broker import Broker
from tests.net.pki import MemoryServer

__all__ = ["TlsFront"]


class TlsFront:
    """Each connection has a thread that moves bytes between the client and a connection to the broker.

    Attributes:
        host, port: where it listens.
        servers: the server's side of each connection, with everything that reached it (``wire``).
    """

    def __init__(self, context: SSL.Context) -> None:
        self._context = context
        self._broker = Broker(users={"user": "s3cret"})
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = [threading.Thread(target=self._accept, daemon=True)]
        self.servers: list[MemoryServer] = []
        self.host = "127.0.0.1"
        self.port: int = self._listener.getsockname()[1]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # the listener was shut down: the test is over
            thread = threading.Thread(target=self._relay, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _relay(self, client: socket.socket) -> None:
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
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._broker.__exit__(kind, error, traceback)
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive(), "a thread of the TLS listener hangs"

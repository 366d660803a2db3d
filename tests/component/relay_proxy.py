"""A proxy for tests: speaks each of the four protocols, passes bytes on, and keeps what it was asked."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import Self

from amqp10 import FirewallType
from tests.net.tcp_support import read_exactly, read_until

__all__ = ["RelayProxy"]


class RelayProxy:
    """Connects to ``target`` whatever it is asked for, so that names need not exist.

    Attributes:
        asked: for each connection what was asked: the header of a tunnel; host, port and user for SOCKS.
    """

    def __init__(self, kind: FirewallType, target: tuple[str, int], answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self._kind = kind
        self._target = target
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self.asked: list[str] = []
        self.port: int = self._listener.getsockname()[1]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # the listener was shut down: the test is over
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, AssertionError), client:
            if self._kind is FirewallType.fwTunnel:
                self.asked.append(read_until(client, b"\r\n\r\n").decode())
                client.sendall(self._answer)
                if b" 200 " not in self._answer:
                    return
            elif self._kind is FirewallType.fwSOCKS5:
                self.asked.append(self._socks5(client))
            else:
                self.asked.append(self._socks4(client))
            self._relay(client)

    def _socks4(self, client: socket.socket) -> str:
        head = read_exactly(client, 8)
        user = read_until(client, b"\0")[:-1].decode()
        host = socket.inet_ntoa(head[4:])
        if head[4:7] == b"\0\0\0":
            host = read_until(client, b"\0")[:-1].decode()
        client.sendall(b"\0\x5a" + bytes(6))
        return f"{host}:{int.from_bytes(head[2:4], 'big')} {user}"

    def _socks5(self, client: socket.socket) -> str:
        methods = read_exactly(client, read_exactly(client, 2)[1])
        user = password = ""
        if b"\2" in methods:
            client.sendall(b"\5\2")
            user = read_exactly(client, read_exactly(client, 2)[1]).decode()
            password = read_exactly(client, read_exactly(client, 1)[0]).decode()
            client.sendall(b"\1\0")
        else:
            client.sendall(b"\5\0")
        kind = read_exactly(client, 4)[3]
        host = (
            read_exactly(client, read_exactly(client, 1)[0]).decode()
            if kind == 3
            else socket.inet_ntop(
                socket.AF_INET6 if kind == 4 else socket.AF_INET, read_exactly(client, 16 if kind == 4 else 4)
            )
        )
        port = int.from_bytes(read_exactly(client, 2), "big")
        client.sendall(b"\5\0\0\1" + bytes(6))
        return f"{host}:{port} {user}:{password}"

    def _relay(self, client: socket.socket) -> None:
        with socket.create_connection(self._target) as server, selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]  # both are sockets
                    if not data:
                        return
                    key.data.sendall(data)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive(), "a thread of the proxy hangs"

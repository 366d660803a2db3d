"""A proxy for tests: speaks each of the four protocols, passes bytes on, and keeps what it was asked."""

from __future__ import annotations

import contextlib
import selectors
import socket

from amqp10 import FirewallType
from tests.net.tcp_support import ThreadedListener, read_exactly, read_until

__all__ = ["RelayProxy"]


class RelayProxy(ThreadedListener):
    """Connects to ``target`` whatever it is asked for, so that names need not exist.

    Attributes:
        asked: for each connection what was asked: the header of a tunnel; host, port and user for SOCKS.
    """

    def __init__(self, kind: FirewallType, target: tuple[str, int], answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        super().__init__()
        self._kind = kind
        self._target = target
        self._answer = answer
        self.asked: list[str] = []

    def serve(self, client: socket.socket) -> None:
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

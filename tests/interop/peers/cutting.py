"""A proxy that resets connections in the middle of what passes through it."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from typing import Final

from tests.interop.peers.base import HOST, Peer, PeerError

__all__ = ["CuttingProxy"]

_LINGER: Final = struct.pack("ii", 1, 0)
"""Close with a reset, and forget what has not been sent."""


class CuttingProxy(Peer):
    """Passes bytes on in both directions, and resets the connection when it is told to.

    A cut comes after a random number of further bytes, in either direction: mostly inside a frame.
    """

    def __init__(self, target: Peer, *, most: int = 2000) -> None:
        self._target = target
        self._most = most
        self._listener: socket.socket | None = None
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._changed = threading.Condition()
        self._fuse: int | None = None
        """How many more bytes pass until the cut; None while none is asked for."""
        self._cuts = 0

    def start(self) -> None:
        """Listen."""
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, args=(self._listener,), name="cutting proxy", daemon=True).start()

    def stop(self) -> None:
        """Reset what there is, and listen no more."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._changed:
            pairs = list(self._pairs)
        for pair in pairs:
            self._reset(pair)

    def cut(self, timeout: float) -> None:
        """Cut after some more bytes, and return when that was done. `PeerError` when nothing passes any more."""
        with self._changed:
            wanted = self._cuts + 1
            self._fuse = random.randrange(self._most)
            if not self._changed.wait_for(lambda: self._cuts == wanted, timeout):
                raise PeerError("nothing passes the proxy that could be cut")

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # stop() has closed it
            try:
                server = socket.create_connection((self._target.host, self._target.port))
            except OSError:
                client.close()
                continue
            pair = (client, server)
            with self._changed:
                self._pairs.add(pair)
            for source, target in (pair, pair[::-1]):
                threading.Thread(target=self._move, args=(source, target, pair), daemon=True).start()

    def _move(self, source: socket.socket, target: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        try:
            while data := source.recv(65536):
                left = self._burn(len(data))
                target.sendall(data[:left])
                if left is not None:
                    self._reset(pair)
                    with self._changed:
                        self._cuts += 1
                        self._changed.notify_all()
                    return
        except OSError:
            pass  # the other direction has reset it, or one of the two ends has
        self._reset(pair)

    def _burn(self, size: int) -> int | None:
        """How many of so many bytes still pass before the cut; None when there is no cut in them."""
        with self._changed:
            if self._fuse is None:
                return None
            if size <= self._fuse:
                self._fuse -= size
                return None
            left, self._fuse = self._fuse, None
            return left

    def _reset(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._changed:
            if pair not in self._pairs:
                return
            self._pairs.remove(pair)
        for end in pair:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            with contextlib.suppress(OSError):  # it may have been reset by its peer
                end.shutdown(socket.SHUT_RD)  # wakes the thread that reads from it
            end.close()

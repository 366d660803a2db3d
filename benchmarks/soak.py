"""Numbered messages through RabbitMQ while it is killed and started again, or a proxy cuts: is anything lost?

``python -m benchmarks.soak --api aio --restarts 20 --messages 100000`` sends and receives with no recovery code of its
own, and compares at the end what was received with what was sent. ``--cuts`` has a proxy reset the connections instead
of killing the broker. It needs what ``scripts/peers rabbitmq`` prepares.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import socket
import struct
import sys
import threading
import time
from collections import Counter, deque
from typing import Any

from tests.interop.peers import RabbitMQ

import amqp10
from amqp10 import ConnectionState, Message, Reconnect

_POLICY = Reconnect(max_delay=0.5)
_TIMEOUT = 120.0


class CuttingProxy:
    """Passes bytes on, and resets every connection when it is told to."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            behind = socket.create_connection(self._target)
            self._pairs.append((client, behind))
            for source, target in ((client, behind), (behind, client)):
                threading.Thread(target=self._move, args=(source, target), daemon=True).start()

    @staticmethod
    def _move(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            end.close()

    def cut(self) -> None:
        """Reset what there is."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                try:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RDWR)
                    end.close()
                except OSError:
                    continue


class Run:
    """One run, whatever the API."""

    def __init__(self, messages: int, url: str, address: str) -> None:
        self.messages = messages
        self.url = url
        self.address = address
        self.got: Counter[int] = Counter()
        self.changes: list[Any] = []
        self.stopped = threading.Event()

    def options(self) -> dict[str, Any]:
        """What both APIs are told."""
        return {"reconnect": _POLICY, "on_state": self.changes.append, "timeout": _TIMEOUT}

    def blocking(self) -> None:
        """With threads."""
        with amqp10.connect(self.url, **self.options()) as connection:
            sender = connection.sender(self.address)
            receiver = connection.receiver(self.address)

            def produce() -> None:
                waiting: deque[Any] = deque()
                for n in range(self.messages):
                    waiting.append(sender.submit(Message(n, durable=True)))
                    while len(waiting) > 1000:
                        waiting.popleft().result(_TIMEOUT)
                while waiting:
                    waiting.popleft().result(_TIMEOUT)

            producer = threading.Thread(target=produce)
            producer.start()
            while len(self.got) < self.messages or producer.is_alive():
                try:
                    message = receiver.receive(timeout=2 if len(self.got) == self.messages else _TIMEOUT)
                except amqp10.AMQPTimeoutError:
                    if len(self.got) == self.messages:
                        continue
                    raise
                if message.accept():
                    self.got[message.body] += 1
            producer.join()

    async def aio(self) -> None:
        """With tasks."""
        async with amqp10.aio.connect(self.url, **self.options()) as connection:
            sender = await connection.sender(self.address)
            receiver = await connection.receiver(self.address)

            async def produce() -> None:
                waiting: deque[Any] = deque()
                for n in range(self.messages):
                    waiting.append(await sender.submit(Message(n, durable=True)))
                    while len(waiting) > 1000:
                        await waiting.popleft()
                while waiting:
                    await waiting.popleft()

            producer = asyncio.create_task(produce())
            while len(self.got) < self.messages or not producer.done():
                try:
                    message = await receiver.receive(timeout=2 if len(self.got) == self.messages else _TIMEOUT)
                except amqp10.AMQPTimeoutError:
                    if len(self.got) == self.messages:
                        continue
                    raise
                if message.accept():
                    self.got[message.body] += 1
            await producer

    def report(self, seconds: float) -> int:
        """Say what came out; the exit code."""
        lost = self.messages - len(self.got)
        duplicates = sum(self.got.values()) - len(self.got)
        resent = sum(change.resent for change in self.changes)
        losses = sum(1 for change in self.changes if change.state is ConnectionState.LOST)
        print(
            f"{self.messages} messages, {losses} losses of the connection, {lost} lost, {duplicates} duplicates,"
            f" {resent} resent, {seconds:.0f} s"
        )
        return 1 if lost else 0


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--api", choices=["blocking", "aio"], default="blocking")
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--cuts", type=int, default=0)
    chosen = parser.parse_args()
    with RabbitMQ() as broker:
        address = broker.declare_queue("soak", type="classic")
        port = broker.port
        proxy = None
        if chosen.cuts:
            proxy = CuttingProxy((broker.host, broker.port))
            port = proxy.port
        run = Run(chosen.messages, f"amqp://{broker.user}:{broker.password}@{broker.host}:{port}", address)

        def disturb() -> None:
            times = chosen.cuts if proxy else chosen.restarts
            for turn in range(times):
                wanted = chosen.messages * (turn + 1) // (times + 1)
                while len(run.got) < wanted and not run.stopped.is_set():
                    time.sleep(random.random() * 0.02)
                if run.stopped.is_set():
                    return
                if proxy:
                    proxy.cut()
                else:
                    broker.restart()

        disturber = threading.Thread(target=disturb)
        disturber.start()
        start = time.monotonic()
        try:
            if chosen.api == "aio":
                asyncio.run(run.aio())
            else:
                run.blocking()
        finally:
            run.stopped.set()
            disturber.join()
        return run.report(time.monotonic() - start)


if __name__ == "__main__":
    sys.exit(main())

"""Numbered messages through a broker while it is killed and started again, or a proxy cuts: is anything lost?

``python -m benchmarks.soak --api aio --restarts 20 --messages 100000`` sends and receives with no recovery code of its
own, and compares at the end what was received with what was sent. ``--cuts`` has a proxy reset the connections instead
of killing the broker, ``--signal TERM`` stops it in an orderly way, ``--dead-url`` puts a server that is not there in
front of the list. RabbitMQ needs what ``scripts/peers rabbitmq`` prepares; ``--queue`` says of which type its queue is.
``--artemis FOLDER --port N`` takes an instance of Artemis instead, as ``artemis create`` makes it, with its AMQP port.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any, Self

from tests.interop.peers import RabbitMQ, free_port

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


class Rabbit:
    """RabbitMQ."""

    def __init__(self, queue: Any) -> None:
        self._broker = RabbitMQ()
        self._queue = queue

    def __enter__(self) -> Self:
        broker = self._broker.__enter__()
        self.host, self.port = broker.host, broker.port
        self.user, self.password = broker.user, broker.password
        self.address = broker.declare_queue("soak", type=self._queue)
        # RabbitMQ keeps the names of its quorum queues in a table that it writes minutes later. Killed before that,
        # it starts the queue as a new, empty one that never has a leader, and answers nobody.
        broker.evaluate("[dets:sync(Table) || Table <- dets:all()]")
        return self

    def __exit__(self, *error: Any) -> None:
        self._broker.__exit__(*error)

    def restart(self, *, gently: bool) -> None:
        """Stop it, as SIGTERM does when ``gently``, otherwise at once, and start it again."""
        if gently:
            self._broker.ctl("stop")  # what SIGTERM does to it, and it is waited for
        self._broker.restart()


class Artemis:
    """An instance of Artemis."""

    host = "127.0.0.1"
    user = password = "admin"

    def __init__(self, folder: str, port: int) -> None:
        self._folder = Path(folder)
        self.port = port
        self.address = f"soak-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stop(signal.SIGKILL)

    def restart(self, *, gently: bool) -> None:
        """Stop it, as SIGTERM does when ``gently``, otherwise at once, and start it again."""
        self._stop(signal.SIGTERM if gently else signal.SIGKILL)
        self._start()

    def _start(self) -> None:
        (self._folder / "lock" / "cli.lock").unlink(missing_ok=True)
        command = [str(self._folder / "bin" / "artemis"), "run"]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection((self.host, self.port), 1).close()
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
            else:
                return

    def _stop(self, how: signal.Signals) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, how)
            self._process.wait(60)
            self._process = None


class Run:
    """One run, whatever the API."""

    def __init__(self, messages: int, url: list[str], address: str) -> None:
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
    parser.add_argument("--queue", choices=["classic", "quorum"], default="classic")
    parser.add_argument("--signal", choices=["KILL", "TERM"], default="KILL")
    parser.add_argument("--dead-url", action="store_true")
    parser.add_argument("--artemis", metavar="FOLDER")
    parser.add_argument("--port", type=int, default=5672)
    chosen = parser.parse_args()
    with Artemis(chosen.artemis, chosen.port) if chosen.artemis else Rabbit(chosen.queue) as broker:
        port = broker.port
        proxy = None
        if chosen.cuts:
            proxy = CuttingProxy((broker.host, broker.port))
            port = proxy.port
        urls = [f"amqp://{broker.user}:{broker.password}@{broker.host}:{port}"]
        if chosen.dead_url:
            urls.insert(0, f"amqp://{broker.user}:{broker.password}@{broker.host}:{free_port()}")
        run = Run(chosen.messages, urls, broker.address)

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
                    broker.restart(gently=chosen.signal == "TERM")

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

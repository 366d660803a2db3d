"""This project's modern API, blocking or asyncio, for benchmarks/run.py. Prints one line of JSON."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

import common

import amqp10
from amqp10 import Message
from amqp10.errors import AMQPError

_OPTIONS: dict[str, Any] = {"user": common.USER or None, "password": common.PASSWORD or None, "reconnect": None}
if common.CA:
    _OPTIONS["tls"] = common.CA
_PREFETCH = 1000


class Meter:
    """Measures from :meth:`start` to :meth:`stop`, and reports."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.latencies: list[float] = []

    def start(self) -> None:
        """The work begins."""
        self.latencies.clear()
        self._cpu = time.process_time()
        self._start = time.perf_counter()

    def stop(self) -> None:
        """The work is done."""
        seconds = time.perf_counter() - self._start
        common.report(self.count, seconds, time.process_time() - self._cpu, self.latencies)


def fresh(count: int, size: int) -> Callable[[int], Message]:
    """What makes the message of a number."""
    text = "x" * size
    return lambda i: Message(text, id=f"id-{i:07}")


def blocking(work: str, url: str, count: int, size: int, sink: str, source: str) -> None:
    """One kind of work with the blocking API."""
    meter = Meter(count)
    make = fresh(count, size)
    if work == "connect":
        for number in range(count + 1):
            if number == 1:
                meter.start()
            before = time.perf_counter()
            with amqp10.connect(url, **_OPTIONS) as connection:
                connection.sender(sink)
                meter.latencies.append(time.perf_counter() - before)
        meter.stop()
        return
    connection = amqp10.connect(url, **_OPTIONS)
    if work.startswith("receive"):
        receiver = connection.receiver(source, prefetch=_PREFETCH)
        meter.start()
        left = count
        for message in receiver:
            assert message.id
            assert message.body
            message.accept()
            left -= 1
            if not left:
                break
        meter.stop()
    elif work == "request":
        assert connection.request("service", make(0)).body
        meter.start()
        for i in range(count):
            before = time.perf_counter()
            assert connection.request("service", make(i)).body
            meter.latencies.append(time.perf_counter() - before)
        meter.stop()
    else:
        sender = connection.sender(sink)
        settled = work == "send-settled"
        prebuilt = [make(i) for i in range(count)] if work == "send-prebuilt" else []
        meter.start()
        if work == "send-many":
            sender.send_many(make(i) for i in range(count))
        elif work == "latency":
            for i in range(count):
                before = time.perf_counter()
                sender.send(make(i))
                meter.latencies.append(time.perf_counter() - before)
        else:
            for i in range(count):
                sender.submit(prebuilt[i] if prebuilt else make(i), settled=settled)
            sender.flush()
        meter.stop()
    close_quietly(connection.close)


def close_quietly(close: Callable[[], None]) -> None:
    """Proton's programs close the connection themselves when they have what they want."""
    try:
        close()
    except AMQPError as error:
        print(f"close: {error}", file=sys.stderr)


async def with_asyncio(work: str, url: str, count: int, size: int, sink: str, source: str) -> None:
    """One kind of work with the asyncio API."""
    meter = Meter(count)
    make = fresh(count, size)
    if work == "connect":
        for number in range(count + 1):
            if number == 1:
                meter.start()
            before = time.perf_counter()
            async with amqp10.aio.connect(url, **_OPTIONS) as connection:
                await connection.sender(sink)
                meter.latencies.append(time.perf_counter() - before)
        meter.stop()
        return
    connection = await amqp10.aio.connect(url, **_OPTIONS)
    if work.startswith("receive"):
        receiver = await connection.receiver(source, prefetch=_PREFETCH)
        meter.start()
        left = count
        async for message in receiver:
            assert message.id
            assert message.body
            message.accept()
            left -= 1
            if not left:
                break
        meter.stop()
    elif work == "request":
        assert (await connection.request("service", make(0))).body
        meter.start()
        for i in range(count):
            before = time.perf_counter()
            assert (await connection.request("service", make(i))).body
            meter.latencies.append(time.perf_counter() - before)
        meter.stop()
    else:
        sender = await connection.sender(sink)
        settled = work == "send-settled"
        prebuilt = [make(i) for i in range(count)] if work == "send-prebuilt" else []
        meter.start()
        if work == "send-many":
            await sender.send_many(make(i) for i in range(count))
        elif work == "latency":
            for i in range(count):
                before = time.perf_counter()
                await sender.send(make(i))
                meter.latencies.append(time.perf_counter() - before)
        else:
            for i in range(count):
                await sender.submit(prebuilt[i] if prebuilt else make(i), settled=settled)
            await sender.flush()
        meter.stop()
    try:
        await connection.close()
    except AMQPError as error:
        print(f"close: {error}", file=sys.stderr)


def main(api: str, work: str, port: str, count: str, size: str, sink: str = "sink", source: str = "") -> None:
    """Do one kind of work and report it."""
    kind = "settled" if work == "receive-settled" else "source"
    scheme = "amqps" if common.CA else "amqp"
    arguments = (work, f"{scheme}://127.0.0.1:{port}", int(count), int(size), sink, source or f"{kind}/{count}/{size}")
    if api == "aio":
        asyncio.run(with_asyncio(*arguments))
    else:
        blocking(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])

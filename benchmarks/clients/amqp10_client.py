"""This project's client, for benchmarks/run.py. Prints one line of JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable

from amqp10 import AMQP, AMQPMessageInEventParams, AMQPMessageOutEventParams, ReceiveMode, ValueType


def main(work: str, port: int, count: int, size: int) -> None:
    """Do one kind of work and report it."""
    amqp = AMQP()
    amqp.user = "u"
    amqp.password = "p"
    amqp.connect_to("127.0.0.1", port)
    amqp.create_session("s")
    done = 0
    latencies: list[float] = []

    def on_out(_: AMQPMessageOutEventParams) -> None:
        nonlocal done
        done += 1

    def on_in(event: AMQPMessageInEventParams) -> None:
        nonlocal done
        done += 1
        assert event.message_id
        assert amqp.received_message_value

    amqp.on_message_out = on_out
    amqp.on_message_in = on_in
    amqp.message_value_type = ValueType.mvtString
    amqp.message_settled = work == "send-settled"
    amqp.message_value = "x" * size
    if not work.startswith("receive"):
        amqp.create_sender_link("s", "out", "sink")

    def send() -> None:
        for i in range(count):
            amqp.message_id = f"id-{i:07}"
            amqp.send_message("out")
        while done < count:
            amqp.do_events()

    def send_batched() -> None:
        amqp.send_messages("out", ["x" * size] * count, ids=[f"id-{i:07}" for i in range(count)])
        while done < count:
            amqp.do_events()

    def latency() -> None:
        for i in range(count):
            start = time.perf_counter()
            amqp.message_id = f"id-{i:07}"
            amqp.send_message("out")
            while done <= i:
                amqp.do_events()
            latencies.append(time.perf_counter() - start)

    def receive() -> None:
        kind = "settled" if work == "receive-settled" else "source"
        amqp.receive_mode = ReceiveMode.rmAutomatic
        amqp.create_receiver_link("s", "in", f"{kind}/{count}/{size}")
        while done < count:
            amqp.do_events()

    works: dict[str, Callable[[], None]] = {
        "send": send,
        "send-settled": send,
        "send-batched": send_batched,
        "latency": latency,
        "receive": receive,
        "receive-settled": receive,
    }
    cpu = time.process_time()
    start = time.perf_counter()
    works[work]()
    seconds = time.perf_counter() - start
    cpu = time.process_time() - cpu
    amqp.disconnect()
    report(count, seconds, cpu, latencies)


def report(count: int, seconds: float, cpu: float, latencies: list[float]) -> None:
    """Print the result."""
    latencies.sort()
    print(
        json.dumps(
            {
                "messages": count,
                "seconds": seconds,
                "cpu": cpu,
                "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                "p50_us": latencies[len(latencies) // 2] * 1e6 if latencies else None,
                "p99_us": latencies[len(latencies) * 99 // 100] * 1e6 if latencies else None,
                "p999_us": latencies[len(latencies) * 999 // 1000] * 1e6 if latencies else None,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))

"""Does memory stay flat? Sends small messages through the embedded broker and receives them, and watches the figures.

    python -m benchmarks.memory [--count 1000000] [--steps 10]

The broker runs in a process of its own (``amqp10 broker``). The client sends unsettled messages in lots and receives
each lot before the next, so that at any time a few hundred messages are under way, and anything that is left of a
message anywhere adds up. The resident set sizes of both processes are printed at intervals; the last line compares the
end with the first tenth, by when caches are filled. Linux only: the figures come from /proc.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from amqp10 import AMQP, ValueType

LOT = 500


def resident(pid: int) -> float:
    """The resident set size of a process in MiB."""
    match = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) / 1024


def start_broker() -> tuple[subprocess.Popen[str], int]:
    """The embedded broker in a process, and its port."""
    broker = subprocess.Popen(
        [sys.executable, "-u", "-m", "amqp10", "broker", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    assert broker.stdout is not None
    return broker, int(broker.stdout.readline().rsplit(":", 1)[1])


class Run:
    """The client's side: one connection that sends and receives."""

    def __init__(self, port: int) -> None:
        self.received = 0
        self.out = 0
        amqp = self.amqp = AMQP()
        amqp.on_message_in = self._on_in
        amqp.on_message_out = self._on_out
        amqp.connect_to("127.0.0.1", port)
        amqp.create_session("s")
        amqp.create_sender_link("s", "out", "memory")
        amqp.create_receiver_link("s", "in", "memory")
        amqp.message_value_type = ValueType.mvtString
        amqp.message_settled = False

    def _on_in(self, _: object) -> None:
        assert self.amqp.received_message_value.startswith("text ")
        self.received += 1

    def _on_out(self, _: object) -> None:
        self.out += 1

    def lot(self, first: int, count: int) -> None:
        """Send some messages; returns when each has its outcome and has come back."""
        numbers = range(first, first + count)
        self.amqp.send_messages("out", [f"text {i}" for i in numbers], ids=[f"id-{i}" for i in numbers])
        while self.received < first + count or self.out < first + count:
            self.amqp.do_events()


def main() -> int:
    """Run it; the exit status is 1 when memory has grown."""
    parser = argparse.ArgumentParser(description="watch the memory of client and broker")
    parser.add_argument("--count", type=int, default=1_000_000, help="how many messages (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="how many figures (default: %(default)s)")
    arguments = parser.parse_args()
    broker, port = start_broker()
    try:
        run = Run(port)
        print(f"{'messages':>12} {'client':>10} {'broker':>10}", flush=True)
        figures: list[tuple[float, float]] = []
        done = 0
        for step in range(1, arguments.steps + 1):
            until = arguments.count * step // arguments.steps
            while done < until:
                size = min(LOT, until - done)
                run.lot(done, size)
                done += size
            figures.append((resident(os.getpid()), resident(broker.pid)))
            print(f"{done:12,} {figures[-1][0]:6.1f} MiB {figures[-1][1]:6.1f} MiB", flush=True)
        run.amqp.disconnect()
    finally:
        broker.terminate()
        broker.communicate()
    growth = [last - first for first, last in zip(figures[0], figures[-1], strict=True)]
    print(
        f"growth since {arguments.count // arguments.steps:,}: {growth[0]:+.1f} MiB client, {growth[1]:+.1f} MiB broker"
    )
    return int(max(growth) > 2.0)


if __name__ == "__main__":
    sys.exit(main())

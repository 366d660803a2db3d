"""Encoding and decoding one typical message: this project beside python-qpid-proton.

``python -m benchmarks.codec`` runs each in an interpreter of its own, in turn. The message has an id, a subject, two
application properties and 100 characters of text. Encoding includes making the message; decoding includes reading all
of that.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROUNDS = 5
PEERS = Path(os.environ.get("AMQP10_PEERS") or Path.home() / ".cache" / "amqp10-peers")

TIMING = """
import json, time
def cost(work, count=20000):
    start = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - start) / count * 1e6
def decode():
    message = read()
    assert fields(message) == ("id-0000001", "orders.created", {"region": "eu", "attempt": 3}, "x" * 100)
decode()
print(json.dumps({"encode": cost(lambda: make().encode()), "decode": cost(decode)}))
"""

OURS = """
from amqp10 import Message
from amqp10.wire.messaging import Properties
def make():
    return Message(
        properties=Properties(message_id="id-0000001", subject="orders.created"),
        application_properties={"region": "eu", "attempt": 3},
        value="x" * 100,
    )
data = make().encode()
def read():
    return Message.decode(data)
def fields(message):
    properties = message.properties
    return properties.message_id, properties.subject, message.application_properties, message.value
"""

PROTON = """
from proton import Message
def make():
    return Message(
        id="id-0000001", subject="orders.created", properties={"region": "eu", "attempt": 3}, body="x" * 100
    )
data = make().encode()
def read():
    message = Message()
    message.decode(data)
    return message
def fields(message):
    return message.id, message.subject, message.properties, message.body
"""


def main() -> None:
    """The command."""
    found = {"amqp10": (sys.executable, OURS)}
    proton = PEERS / "proton-python" / "venv" / "bin" / "python"
    if proton.exists():
        found["python-qpid-proton"] = (str(proton), PROTON)
    costs: dict[str, dict[str, list[float]]] = {name: {"encode": [], "decode": []} for name in found}
    for _ in range(ROUNDS):
        for name, (python, program) in found.items():
            done = subprocess.run([python, "-c", program + TIMING], capture_output=True, text=True, check=True)
            for what, cost in json.loads(done.stdout).items():
                costs[name][what].append(cost)
    for what in ("encode", "decode"):
        medians = {name: statistics.median(costs[name][what]) for name in found}
        line = ", ".join(f"{name} {cost:.1f} us" for name, cost in medians.items())
        base = medians.get("python-qpid-proton")
        print(f"{what}: {line}" + (f", ratio {base / medians['amqp10']:.1f}" if base else ""))


if __name__ == "__main__":
    main()

"""What the Python clients of the benchmarks share: they run in other environments, so this needs nothing but Python."""

import json
import os
import resource
import time
from pathlib import Path

# What benchmarks/run.py says to log in with; its own server knows u and p.
USER = os.environ.get("BENCHMARK_USER", "u")
PASSWORD = os.environ.get("BENCHMARK_PASSWORD", "p")
CA = os.environ.get("BENCHMARK_CA", "")
"""The file of the CA to trust: the server speaks TLS."""

TEXT = "x" * 100
# What a stream of messages might hold: alike, but no two the same, and not all of one size.
TYPICAL = [
    (
        f"id-{i:07}",
        ("orders.created", "orders.cancelled")[i % 2],
        {"region": ("eu", "us", "apac")[i % 3], "attempt": i % 5},
        "x" * (80 + i * 7 % 41),
    )
    for i in range(300)
]
LARGE_MAP = {f"key-{i}": i for i in range(1000)}


def report(count, seconds, cpu, latencies=(), **more):
    """Print the result as one line of JSON."""
    latencies = sorted(latencies)
    n = len(latencies)

    def tail(share):
        return latencies[min(n - 1, int(n * share))] * 1e6 if n else None

    result = {
        "messages": count,
        "seconds": seconds,
        "cpu": cpu,
        "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "p50_us": tail(0.5),
        "p99_us": tail(0.99),
        "p999_us": tail(0.999),
    }
    print(json.dumps({**result, **more}), flush=True)


def resident_kib():
    """What the process has in memory now."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize() // 1024


def timed(count, work, inputs):
    """Do something so many times, with each of the inputs in turn, and report it."""
    for item in inputs:
        work(item)
    rounds = [inputs[i % len(inputs)] for i in range(count)]
    cpu = time.process_time()
    start = time.perf_counter()
    for item in rounds:
        work(item)
    report(count, time.perf_counter() - start, time.process_time() - cpu)


def codec(work, count, make, make_map, encode, decode, fields, value):
    """The four works of the codec, given what a library does for each.

    ``make`` composes a message of one of ``TYPICAL`` and ``make_map`` one of ``LARGE_MAP``, ``encode`` gives its bytes,
    ``decode`` makes a message of bytes, and ``fields`` and ``value`` read one: nothing may be left undecoded.
    """
    if work == "encode":
        timed(count, lambda parts: encode(make(*parts)), TYPICAL)
    elif work == "decode":
        stream = [bytes(encode(make(*parts))) for parts in TYPICAL]
        assert [fields(decode(data)) for data in stream] == TYPICAL
        timed(count, lambda data: fields(decode(data)), stream)
    elif work == "encode-map":
        timed(count, encode, [make_map()])
    else:
        data = bytes(encode(make_map()))
        assert value(decode(data)) == LARGE_MAP
        timed(count, lambda data: value(decode(data)), [data])

"""What the Python clients of the benchmarks share: they run in other environments, so this needs nothing but Python."""

import json
import os
import resource
import time
from pathlib import Path

# What benchmarks/run.py says to log in with; its own server knows u and p.
USER = os.environ.get("BENCHMARK_USER", "u")
PASSWORD = os.environ.get("BENCHMARK_PASSWORD", "p")

MESSAGE_ID = "id-0000001"
SUBJECT = "orders.created"
PROPERTIES = {"region": "eu", "attempt": 3}
TEXT = "x" * 100
FIELDS = (MESSAGE_ID, SUBJECT, PROPERTIES, TEXT)
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


def timed(count, work):
    """Do something so many times and report it."""
    work()
    cpu = time.process_time()
    start = time.perf_counter()
    for _ in range(count):
        work()
    report(count, time.perf_counter() - start, time.process_time() - cpu)


def codec(work, count, make, make_map, encode, decode, fields, value):
    """The four works of the codec, given what a library does for each.

    ``make`` and ``make_map`` compose a message (of ``FIELDS``, of ``LARGE_MAP``), ``encode`` gives its bytes,
    ``decode`` makes a message of bytes, and ``fields`` and ``value`` read one: nothing may be left undecoded.
    """
    if work == "encode":
        timed(count, lambda: encode(make()))
    elif work == "decode":
        data = bytes(encode(make()))
        assert fields(decode(data)) == FIELDS
        timed(count, lambda: fields(decode(data)))
    elif work == "encode-map":
        message = make_map()
        timed(count, lambda: encode(message))
    else:
        data = bytes(encode(make_map()))
        assert value(decode(data)) == LARGE_MAP
        timed(count, lambda: value(decode(data)))

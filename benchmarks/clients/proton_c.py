"""Runs Proton's C examples and times them as processes, for benchmarks/run.py. Prints one line of JSON.

The programs' messages are theirs: an id and a small map. Start-up and connection are in the time, as they are small
here.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time


def main(folder: str, work: str, port: str, count: str, size: str) -> None:
    """Run ``c-send`` or ``c-receive``."""
    if work == "send":
        command = [f"{folder}/c-send", "127.0.0.1", port, "sink", count]
    else:
        command = [f"{folder}/c-receive", "127.0.0.1", port, f"source/{count}/{size}", count]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=120)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        json.dumps(
            {
                "messages": int(count),
                "seconds": seconds,
                "cpu": used.ru_utime + used.ru_stime,
                "peak_kib": used.ru_maxrss,
                "p50_us": None,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:6])

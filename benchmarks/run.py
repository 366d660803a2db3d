"""Runs this project and its peers on the same work, in turn, and writes what came out.

``python -m benchmarks.run`` needs what ``scripts/peers proton rhea proton-python`` prepares; clients that are not
there are left out, and said to be. Every client is a process of its own, against the same peer
(``benchmarks/peer.py``), in rounds: A B C A B C. The figures are medians with their spread; the ratios are of
medians, to python-qpid-proton.

Results: ``benchmarks/results/results.json``, ``results.md`` and ``results.svg``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEERS = Path(os.environ.get("AMQP10_PEERS") or Path.home() / ".cache" / "amqp10-peers")
BASE = "python-qpid-proton"


@dataclass(frozen=True)
class Work:
    """One kind of work."""

    name: str
    title: str
    count: int
    size: int = 100


WORKS = [
    Work("send", "send, unsettled, one call a message", 50_000),
    Work("send-batched", "send, unsettled, batched", 100_000),
    Work("send-settled", "send, settled", 50_000),
    Work("receive", "receive and accept, id and body read", 50_000),
    Work("receive-settled", "receive settled, id and body read", 50_000),
    Work("latency", "send and wait for the outcome", 3_000),
    Work("large-send", "send 1 MB messages", 200, 1_000_000),
    Work("large-receive", "receive 1 MB messages", 200, 1_000_000),
]


def clients() -> dict[str, tuple[list[str], dict[str, str], set[str]]]:
    """Name -> command, extra environment, and the works it can do."""
    proton = PEERS / "proton-python" / "venv" / "bin" / "python"
    rhea = next(iter(PEERS.glob("rhea/**/node_modules/rhea")), None)
    c_send = PEERS / "proton" / "bin" / "c-send"
    found: dict[str, tuple[list[str], dict[str, str], set[str]]] = {
        "amqp10": ([sys.executable, str(HERE / "clients" / "amqp10_client.py")], {}, {work.name for work in WORKS}),
    }
    if proton.exists():
        found[BASE] = (
            [str(proton), str(HERE / "clients" / "proton_client.py")],
            {},
            {"send", "send-settled", "receive", "latency", "large-send", "large-receive"},
        )
    if rhea is not None:
        found["rhea"] = (
            ["node", str(HERE / "clients" / "rhea_client.js")],
            {"NODE_PATH": str(rhea.parent)},
            {"send", "send-settled", "receive", "large-send", "large-receive"},
        )
    if c_send.exists():
        found["proton-c"] = (
            [sys.executable, str(HERE / "clients" / "proton_c.py"), str(c_send.parent)],
            {},
            {"send", "receive"},
        )
    return found


@contextmanager
def peer() -> Iterator[int]:
    """The sink and source, in a process of its own; gives its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.peer"], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=_environment({})
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().split()[1])
    finally:
        process.kill()
        process.wait()


def _environment(extra: dict[str, str]) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, **extra}


def one(command: list[str], extra: dict[str, str], work: Work, port: int) -> dict[str, Any] | None:
    """Run one client once; None when it failed."""
    name = work.name.replace("large-", "")
    try:
        done = subprocess.run(
            [*command, name, str(port), str(work.count), str(work.size)],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            env=_environment(extra),
        )
    except subprocess.TimeoutExpired:
        print(f"  {command[1]}: no result in time", file=sys.stderr)
        return None
    line = next((line for line in reversed(done.stdout.splitlines()) if line.startswith("{")), None)
    if done.returncode or line is None:
        print(f"  {command[1]} failed: {done.stderr[-300:]}", file=sys.stderr)
        return None
    result: dict[str, Any] = json.loads(line)
    result["rate"] = result["messages"] / result["seconds"]
    return result


def measure(rounds: int, only: list[str]) -> dict[str, Any]:
    """Everything, in rounds."""
    found = clients()
    results: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for work in WORKS:
        if only and work.name not in only:
            continue
        taking = {name: entry for name, entry in found.items() if work.name in entry[2]}
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in taking}
        for number in range(rounds):
            for name, (command, extra, _) in taking.items():
                # A peer of its own for each run: what one client leaves behind is no burden for the next.
                with peer() as port:
                    result = one(command, extra, work, port)
                if result is not None:
                    runs[name].append(result)
                    print(f"{work.name} {number + 1}/{rounds} {name}: {result['rate']:,.0f}/s", flush=True)
        results[work.name] = runs
    return {
        "when": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "raw_socket_mb_s": raw_socket(),
        "rounds": rounds,
        "results": results,
    }


def raw_socket(size: int = 1_000_000, count: int = 400) -> float:
    """MB/s of a bare loopback socket that copies the same bytes from one process to another."""
    code = (
        "import socket,sys\n"
        "s=socket.create_connection(('127.0.0.1',int(sys.argv[1])))\n"
        "b=bytearray(262144)\n"
        "while s.recv_into(b): pass\n"
    )
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        child = subprocess.Popen([sys.executable, "-c", code, str(listener.getsockname()[1])])
        sock, _ = listener.accept()
        data = b"x" * size
        start = time.perf_counter()
        with sock:
            for _ in range(count):
                sock.sendall(data)
        child.wait()
        return size * count / (time.perf_counter() - start) / 1e6


def table(data: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        f"Python {data['python']}, {data['processors']} processors, {data['rounds']} rounds, {data['when']}."
        f" A raw loopback socket copies {data['raw_socket_mb_s']:,.0f} MB/s.",
        "",
        "| work | client | msg/s (median) | min to max | CPU us/msg | peak MiB | ratio | p50 / p99 / p99.9 us |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for work in WORKS:
        runs = data["results"].get(work.name)
        if not runs:
            continue
        medians = {name: statistics.median(r["rate"] for r in rs) for name, rs in runs.items() if rs}
        base = medians.get(BASE)
        if base is None and work.name == "send-batched" and data["results"].get("send", {}).get(BASE):
            base = statistics.median(r["rate"] for r in data["results"]["send"][BASE])
        for name, rs in runs.items():
            if not rs:
                continue
            rates = [r["rate"] for r in rs]
            cpu = statistics.median(r["cpu"] / r["messages"] * 1e6 for r in rs)
            memory = statistics.median(r["peak_kib"] for r in rs) / 1024
            ratio = f"{medians[name] / base:.1f}" if base else ""
            tail = ""
            if rs[0].get("p50_us"):
                tail = " / ".join(
                    f"{statistics.median(r[key] for r in rs):,.0f}" for key in ("p50_us", "p99_us", "p999_us")
                )
            rate = f"{medians[name]:,.0f}"
            if work.size >= 1_000_000:
                rate += f" ({medians[name] * work.size / 1e6:,.0f} MB/s)"
            lines.append(
                f"| {work.title} | {name} | {rate} | {min(rates):,.0f} to {max(rates):,.0f} | {cpu:.1f} | {memory:.0f}"
                f" | {ratio} | {tail} |"
            )
    return "\n".join(lines) + "\n"


def chart(data: dict[str, Any]) -> str:
    """The rates as horizontal bars (SVG), each work to its own scale."""
    colours = {"amqp10": "#2563eb", BASE: "#9ca3af", "rhea": "#65a30d", "proton-c": "#d97706"}
    parts: list[str] = []
    y = 10
    for work in WORKS:
        runs = {name: rs for name, rs in data["results"].get(work.name, {}).items() if rs}
        if not runs:
            continue
        parts.append(f'<text x="10" y="{y + 14}" font-weight="bold">{work.title}</text>')
        y += 22
        medians = {name: statistics.median(r["rate"] for r in rs) for name, rs in runs.items()}
        top = max(medians.values())
        for name, rate in medians.items():
            width = max(1, rate / top * 420)
            parts.append(f'<text x="10" y="{y + 12}">{name}</text>')
            parts.append(
                f'<rect x="150" y="{y}" width="{width:.0f}" height="15" fill="{colours.get(name, "#6b7280")}"/>'
            )
            parts.append(f'<text x="{155 + width:.0f}" y="{y + 12}">{rate:,.0f}/s</text>')
            y += 19
        y += 10
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="680" height="{y}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[], help="names of works")
    arguments = parser.parse_args()
    data = measure(arguments.rounds, arguments.only)
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    (folder / "results.json").write_text(json.dumps(data, indent=1))
    (folder / "results.md").write_text(table(data))
    (folder / "results.svg").write_text(chart(data))
    print(table(data))


if __name__ == "__main__":
    main()

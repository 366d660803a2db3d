"""Runs this project and its peers on the same work, in turn, and writes what came out.

``python -m benchmarks.run`` needs what ``scripts/peers`` prepares; clients that are not there are left out, and said to
be. Every client is a process of its own, and gets a server of its own (``benchmarks/peer.py``, or RabbitMQ), in rounds:
A B C A B C. The figures are medians with their spread; the ratios are of medians, to python-qpid-proton.

Results, written after each kind of work: ``benchmarks/results/results.json``, ``results.md`` and ``results.svg``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEERS = Path(os.environ.get("AMQP10_PEERS") or Path.home() / ".cache" / "amqp10-peers")
BASE = "python-qpid-proton"
OURS = "amqp10"
BATCHED = "amqp10, batched"
RAW = "raw socket"
MODERN = {
    "amqp10.connect": ("blocking", ""),
    "amqp10.aio": ("aio", ""),
    "amqp10.connect, prebuilt": ("blocking", "send-prebuilt"),
    "amqp10.aio, prebuilt": ("aio", "send-prebuilt"),
    "amqp10.connect, send_many": ("blocking", "send-many"),
    "amqp10.aio, send_many": ("aio", "send-many"),
}
"""The modern API: client -> which front end, and what it does instead of "send"."""
LARGE = {"large-send", "large-receive"}


@dataclass(frozen=True)
class Work:
    """One kind of work.

    Attributes:
        name: what ``--only`` takes.
        title: what the table says.
        count: how many messages, or whatever is counted.
        size: octets of text in each; for links and outstanding ones, how many of them.
        task: what the clients call it.
        server: what the client talks to.
        together: whether client and server share one processor: for works in which they take turns, and in which a
            wake-up across processors would cost more than the work.
        tls: whether they speak TLS.
    """

    name: str
    title: str
    count: int
    size: int = 100
    task: str = ""
    server: Literal["peer", "proton", "rabbitmq", "none"] = "peer"
    together: bool = False
    tls: bool = False


WORKS = [
    Work("send", "send, unsettled", 100_000),
    Work("send-settled", "send, settled", 50_000),
    Work("receive", "receive and accept, id and body read", 50_000),
    Work("receive-settled", "receive settled, id and body read", 50_000),
    Work("latency", "send and wait for the outcome", 3_000, together=True),
    Work("request", "request, and wait for the response", 3_000, together=True),
    Work("large-send", "send 1 MB messages", 200, 1_000_000, task="send"),
    Work("large-receive", "receive 1 MB messages", 200, 1_000_000, task="receive"),
    Work("connect", "connection, session, link, close", 200, together=True),
    Work("connect-tls", "connection with TLS, session, link, close", 100, task="connect", together=True, tls=True),
    Work("encode", "compose and encode a typical message", 100_000, server="none"),
    Work("decode", "decode and read a typical message", 100_000, server="none"),
    Work("encode-map", "encode a map of 1,000 entries", 400, server="none"),
    Work("decode-map", "decode a map of 1,000 entries", 400, server="none"),
    Work("import", "import the package", 1, server="none"),
    Work("memory", "send 100,000 messages without an outcome", 1_000, 100_000, task="outstanding"),
    *(Work(f"links-{n}", f"send over {n:,} links in turn", 10_000, n, task="links") for n in (1, 10, 100, 1_000)),
    *(
        Work(f"outstanding-{n}", f"send with {n:,} messages outstanding", 1_000, n, task="outstanding")
        for n in (1_000, 10_000, 100_000, 1_000_000)
    ),
    Work("proton-send", "send to Proton's C receiver", 20_000, task="send", server="proton"),
    Work("proton-receive", "receive from Proton's C sender", 20_000, task="receive", server="proton"),
    Work("rabbitmq-send", "send to a quorum queue of RabbitMQ", 20_000, task="send", server="rabbitmq"),
    Work("rabbitmq-receive", "receive from it and accept", 20_000, task="receive", server="rabbitmq"),
]
TRANSFERS = {"send", "send-settled", "receive", "latency", "request", "connect", "connect-tls"} | LARGE
CODEC = {"encode", "decode", "encode-map", "decode-map"}
BROKERS = {"proton-send", "proton-receive", "rabbitmq-send", "rabbitmq-receive"}


class Client(NamedTuple):
    """How to run a client, and what it can do."""

    command: list[str]
    environment: dict[str, str]
    works: set[str]
    module: str = ""
    """What "import" imports."""
    task: str = ""
    """What it does instead of the task of the work."""
    scale: int = 1
    """How many times as many messages it gets: those that are done in a moment say more when they run longer."""


def clients() -> dict[str, Client]:
    """The clients that are prepared."""
    folder = HERE / "clients"
    proton = PEERS / "proton-python" / "venv" / "bin" / "python"
    azure = PEERS / "azure" / "venv" / "bin" / "python"
    rhea = next(iter(PEERS.glob("rhea/**/node_modules/rhea")), None)
    c_send = PEERS / "proton" / "bin" / "c-send"
    every = {work.name for work in WORKS}
    ours = [sys.executable, str(folder / "amqp10_client.py")]
    found = {
        OURS: Client(ours, {}, every, "amqp10.component.amqp"),
        # The same works, with one call for all messages instead of one for each.
        BATCHED: Client(ours, {}, {"send", "proton-send", "rabbitmq-send"}, task="send-batched", scale=4),
        RAW: Client([], {}, LARGE),
    }
    for name, (api, task) in MODERN.items():
        modern = [sys.executable, str(folder / "modern_client.py"), api]
        found[name] = Client(modern, {}, {"send"} if task else TRANSFERS | BROKERS, task=task)
    if proton.exists():
        works = TRANSFERS | CODEC | BROKERS | {"memory", "import"}
        found[BASE] = Client([str(proton), str(folder / "proton_client.py")], {}, works, "proton")
    if azure.exists():
        # Outcomes that come in ranges cost its sender quadratic time: no work with many of them ends within minutes.
        works = {"send-settled", "receive", "large-receive", "connect", "connect-tls", "import"} | CODEC
        module = "azure.servicebus._pyamqp"
        found["azure"] = Client([str(azure), str(folder / "azure_client.py")], {}, works, module)
        # It connects over TLS and nothing else.
        found["uamqp"] = Client([str(azure), str(folder / "uamqp_client.py")], {}, CODEC | {"import"}, "uamqp")
    if rhea is not None:
        works = TRANSFERS | CODEC | BROKERS
        found["rhea"] = Client(["node", str(folder / "rhea_client.js")], {"NODE_PATH": str(rhea.parent)}, works)
    if c_send.exists():
        command = [sys.executable, str(folder / "proton_c.py"), str(c_send.parent)]
        found["proton-c"] = Client(command, {}, {"send", "receive"}, scale=4)
    return found


class Server(NamedTuple):
    """Where a client finds its server."""

    port: int
    login: tuple[str, str] = ("u", "p")
    addresses: tuple[str, ...] = ()
    """Of sink and source, when they are not the usual ones."""
    ca: str = ""
    """The file of the CA that signed its certificate, where it speaks TLS."""


@contextmanager
def certificates() -> Iterator[tuple[str, str]]:
    """Two files: the server's certificate with its key, and the CA's that signed it."""
    from tests.net.pki import issue
    from tests.net.stores import pem

    root = issue("Benchmark Root", ca=True, usage=None)
    server = issue("localhost", root, hosts=("localhost", "127.0.0.1"))
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "server.pem"), Path(folder, "ca.pem")
        files[0].write_bytes(pem(server))
        files[1].write_bytes(root.pem)
        yield str(files[0]), str(files[1])


@contextmanager
def peer(together: bool, certificate: str = "") -> Iterator[Server]:
    """The sink and source, in a process of its own; with TLS when there is a certificate."""
    command = [*_on_one_processor(together), sys.executable, "-m", "benchmarks.peer"]
    if certificate:
        command.append(certificate)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=_environment({}))
    try:
        assert process.stdout is not None
        yield Server(int(process.stdout.readline().split()[1]))
    finally:
        process.kill()
        process.wait()


@contextmanager
def rabbitmq() -> Iterator[Any]:
    """RabbitMQ, with a queue; or None when it is not prepared."""
    from tests.interop.peers import PeerNotPreparedError, RabbitMQ

    try:
        broker = RabbitMQ()
    except PeerNotPreparedError as error:
        print(f"RabbitMQ is left out: {error}", file=sys.stderr)
        yield None
        return
    with broker:
        broker.declare_queue("benchmark")
        yield broker


def _on_one_processor(together: bool) -> list[str]:
    return ["taskset", "-c", "0"] if together and shutil.which("taskset") else []


def _environment(extra: dict[str, str]) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, **extra}


def one(name: str, client: Client, work: Work, server: Server) -> dict[str, Any] | None:
    """Run one client once; None when it failed."""
    if work.name == "import":
        return _import(client)
    command = [*_on_one_processor(work.together), *client.command, client.task or work.task or work.name]
    command += [str(server.port), str(work.count * client.scale), str(work.size), *server.addresses]
    login = {"BENCHMARK_USER": server.login[0], "BENCHMARK_PASSWORD": server.login[1]}
    environment = _environment({**client.environment, **login, "BENCHMARK_CA": server.ca})
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    except subprocess.TimeoutExpired:
        print(f"  {name}: no result in time", file=sys.stderr)
        return None
    line = next((line for line in reversed(done.stdout.splitlines()) if line.startswith("{")), None)
    if done.returncode or line is None:
        print(f"  {name} failed: {done.stderr[-600:]}", file=sys.stderr)
        return None
    result: dict[str, Any] = json.loads(line)
    result["rate"] = result["messages"] / result["seconds"]
    return result


def _import(client: Client) -> dict[str, Any]:
    """A process that imports the client and ends; beside it, one that imports ``ssl``."""
    environment = _environment({})
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # or every start would compile anew
    seconds = {}
    # The first time it is compiled.
    for module in (client.module, client.module, "ssl"):
        start = time.perf_counter()
        subprocess.run([client.command[0], "-c", f"import {module}"], check=True, env=environment)
        seconds[module] = time.perf_counter() - start
    took = seconds[client.module]
    return {"messages": 1, "seconds": took, "cpu": took, "peak_kib": 0, "rate": 1 / took, "ssl": seconds["ssl"]}


def measure(works: Iterable[Work], rounds: int) -> Iterator[tuple[Work, dict[str, list[dict[str, Any]]]]]:
    """Each work with the runs of every client, in rounds."""
    found = clients()
    with ExitStack() as stack:
        broker = None
        for work in works:
            taking = {name: client for name, client in found.items() if work.name in client.works}
            if work.server == "proton" and "proton-c" not in found:
                print("Proton's C programs are left out: they are not prepared", file=sys.stderr)
                continue
            if work.server == "rabbitmq":
                broker = broker or stack.enter_context(rabbitmq())
                if broker is None:
                    continue
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in taking}
            for number in range(rounds):
                for name, client in taking.items():
                    result = _run(name, client, work, broker)
                    if result is not None:
                        runs[name].append(result)
                        print(f"{work.name} {number + 1}/{rounds} {name}: {result['rate']:,.0f}/s", flush=True)
            yield work, runs


def _run(name: str, client: Client, work: Work, broker: Any) -> dict[str, Any] | None:
    if name == RAW:
        return raw_socket(work)
    if work.server == "none":
        return one(name, client, work, Server(0))
    if work.tls:
        with certificates() as (certificate, ca), peer(work.together, certificate) as server:
            return one(name, client, work, server._replace(ca=ca))
    if work.server == "peer":
        # One of its own for each run: what one client leaves behind is no burden for the next.
        with peer(work.together) as server:
            return one(name, client, work, server)
    if work.server == "proton":
        from tests.interop.peers import ProtonDirect

        # Without a broker between them: it takes or sends so many messages, and ends.
        with ProtonDirect(count=work.count * client.scale) as direct:
            return one(name, client, work, Server(direct.port, ("", ""), ("examples", "examples")))
    address = "/queues/benchmark"
    server = Server(broker.port, (broker.user, broker.password), (address, address))
    if work.task == "receive":
        # This project's client fills the queue for everybody.
        one(BATCHED, clients()[BATCHED]._replace(scale=1), work, server)
    result = one(name, client, work, server)
    broker.purge_queue("benchmark")
    return result


def raw_socket(work: Work) -> dict[str, Any]:
    """A bare loopback socket that copies the same bytes from one process to another."""
    code = (
        "import socket,sys\n"
        "s=socket.create_connection(('127.0.0.1',int(sys.argv[1])))\n"
        "b=bytearray(262144)\n"
        "while s.recv_into(b): pass\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        child = subprocess.Popen([sys.executable, "-c", code, str(listener.getsockname()[1])])
        sock, _ = listener.accept()
        data = b"x" * work.size
        cpu = time.process_time()
        start = time.perf_counter()
        with sock:
            for _ in range(work.count):
                sock.sendall(data)
        child.wait()
        seconds = time.perf_counter() - start
    cpu = time.process_time() - cpu
    return {"messages": work.count, "seconds": seconds, "cpu": cpu, "peak_kib": 0, "rate": work.count / seconds}


# -- what came out ---------------------------------------------------------------------------------------------------


def median(runs: list[dict[str, Any]], key: str) -> float:
    """The median of one figure."""
    return float(statistics.median(run[key] for run in runs))


def remark(work: Work, runs: list[dict[str, Any]], data: dict[str, Any]) -> str:
    """What there is to say about a figure beyond the rate."""
    if work.name == "import":
        return f"{median(runs, 'seconds') * 1e3:.0f} ms; `import ssl` {median(runs, 'ssl') * 1e3:.0f} ms"
    if work.name in LARGE:
        rate, raw = median(runs, "rate"), median(data["results"][work.name][RAW], "rate")
        return f"{rate * work.size / 1e6:,.0f} MB/s, {rate / raw:.0%} of the raw socket"
    if work.name == "memory":
        each = statistics.median((run["kib_after"] - run["kib_before"]) * 1024 / work.size for run in runs)
        return f"{each:,.0f} octets a message"
    if runs[0].get("p50_us"):
        tail = " / ".join(f"{median(runs, key):,.0f}" for key in ("p50_us", "p99_us", "p999_us"))
        # A connection is compared with the quickest there is.
        other = "azure" if work.name.startswith("connect") else BASE
        base = data["results"][work.name].get(other)
        ratio = f", p50 {median(runs, 'p50_us') / median(base, 'p50_us'):.2f} of {other}'s" if base else ""
        what = "until the link is there, " if other != BASE else ""
        return f"{what}p50 / p99 / p99.9: {tail} us{ratio}"
    if work.name.startswith(("links-", "outstanding-")):
        first = next(other for other in WORKS if other.task == work.task and other.name != "memory")
        least = data["results"].get(first.name, {}).get(OURS)
        if least:
            cost = statistics.median(run["cpu"] for run in runs) / statistics.median(run["cpu"] for run in least)
            return f"{cost:.2f} of the CPU time at {first.size:,}"
    return ""


def table(data: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        f"Python {data['python']}, {data['processors']} processors, {data['rounds']} rounds, {data['when']}.",
        "",
        "| work | client | per second (median) | min to max | CPU us | peak MiB | ratio | |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for work in WORKS:
        runs = data["results"].get(work.name) or {}
        medians = {name: median(rs, "rate") for name, rs in runs.items() if rs}
        base = medians.get(BASE)
        for name, rate in medians.items():
            rs = runs[name]
            rates = [run["rate"] for run in rs]
            cpu = statistics.median(run["cpu"] / run["messages"] * 1e6 for run in rs)
            peak = f"{median(rs, 'peak_kib') / 1024:.0f}" if rs[0]["peak_kib"] else ""
            ratio = f"{rate / base:.1f}" if base else ""
            lines.append(
                f"| {work.title} | {name} | {rate:,.0f} | {min(rates):,.0f} to {max(rates):,.0f} | {cpu:,.1f} | {peak}"
                f" | {ratio} | {remark(work, rs, data)} |"
            )
    return "\n".join(lines) + "\n"


def chart(data: dict[str, Any]) -> str:
    """The rates as horizontal bars (SVG), each work to its own scale."""
    colours = {
        OURS: "#2563eb",
        BATCHED: "#1e3a8a",
        BASE: "#9ca3af",
        "rhea": "#65a30d",
        "proton-c": "#d97706",
        "azure": "#0891b2",
    }
    parts: list[str] = []
    y = 10
    for work in WORKS:
        runs = {name: rs for name, rs in data["results"].get(work.name, {}).items() if rs}
        if len(runs) < 2:
            continue
        parts.append(f'<text x="10" y="{y + 14}" font-weight="bold">{work.title}</text>')
        y += 22
        medians = {name: median(rs, "rate") for name, rs in runs.items()}
        top = max(medians.values())
        for name, rate in medians.items():
            width = max(1, rate / top * 420)
            colour = colours.get(name, "#6b7280")
            parts.append(f'<text x="10" y="{y + 12}">{name}</text>')
            parts.append(f'<rect x="150" y="{y}" width="{width:.0f}" height="15" fill="{colour}"/>')
            parts.append(f'<text x="{155 + width:.0f}" y="{y + 12}">{rate:,.0f}/s</text>')
            y += 19
        y += 10
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="680" height="{y}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def write(data: dict[str, Any], folder: Path) -> None:
    """Everything that is known so far."""
    folder.mkdir(exist_ok=True)
    (folder / "results.json").write_text(json.dumps(data, indent=1))
    (folder / "results.md").write_text(table(data))
    (folder / "results.svg").write_text(chart(data))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[], help="names of works")
    parser.add_argument("--tiny", action="store_true", help="a hundredth of everything, to see whether all of it works")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where to write")
    arguments = parser.parse_args()
    known = [work.name for work in WORKS]
    unknown = [name for name in arguments.only if name not in known]
    if unknown:
        parser.error(f"no such work: {', '.join(unknown)}; there are {', '.join(known)}")
    works = [work for work in WORKS if not arguments.only or work.name in arguments.only]
    if arguments.tiny:
        works = [replace(w, count=max(1, w.count // 100), size=min(w.size, 1000)) for w in works]
    data: dict[str, Any] = {
        "when": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "rounds": arguments.rounds,
        "results": {},
    }
    for work, runs in measure(works, arguments.rounds):
        data["results"][work.name] = runs
        write(data, arguments.results)
    print(table(data))


if __name__ == "__main__":
    main()

"""TLS beside the standard library's ``ssl`` on the same raw work: large writes, and handshakes.

``python -m benchmarks.tls`` starts one server process (the standard library's ``ssl``, which only counts what it
gets), and lets both clients send the same bytes to it and connect to it in turn. Verification is on in both.
"""

from __future__ import annotations

import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from amqp10.net.blocking import BlockingNetwork, taken_over
from amqp10.net.dial import dial
from amqp10.net.network import run
from amqp10.net.options import TransportOptions
from amqp10.net.tls.options import TlsOptions
from amqp10.net.tls.policy import TlsContext
from amqp10.net.tls.session import TlsSession
from amqp10.net.tls.transport import TlsTransport
from amqp10.net.waiting import Deadline, Waiter

HOST = "localhost"
MEGABYTES = 300
HANDSHAKES = 150
ROUNDS = 5


def serve(certificate: str, key: str) -> None:
    """Take connections one after the other, and swallow what comes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.num_tickets = 0
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        buffer = bytearray(262144)
        while True:
            conn, _ = listener.accept()
            try:
                with context.wrap_socket(conn, server_side=True) as tls:
                    while tls.recv_into(buffer):
                        pass
                    tls.unwrap()
            except OSError:
                continue  # the client left without a goodbye


def standard(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    """A verified connection by the standard library."""
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname=HOST)


def ours(context: TlsContext, port: int, waiter: Waiter) -> TlsTransport:
    """A verified connection by this project."""
    session = TlsSession(context, HOST)
    network = BlockingNetwork(waiter)
    dialled = run(dial("127.0.0.1", port, TransportOptions(), network, Deadline(10), session=session))
    transport = taken_over(dialled)
    assert isinstance(transport, TlsTransport)
    return transport


def write(transport: TlsTransport, data: bytes, waiter: Waiter) -> None:
    """All of the data, waiting for the socket when it is full."""
    rest: bytes | memoryview = data
    while rest or transport.unsent:
        sent = transport.send([rest] if rest else [])
        rest = memoryview(rest)[sent:]
        if not sent:
            waiter.wait(transport.fileno(), write=True, timeout=10)


def timed(work: Callable[[], object], count: int) -> float:
    """Seconds for doing something so many times."""
    start = time.perf_counter()
    for _ in range(count):
        work()
    return time.perf_counter() - start


def main() -> None:
    """The command."""
    if len(sys.argv) > 2:
        serve(sys.argv[1], sys.argv[2])
        return
    from tests.net.pki import issue
    from tests.net.stores import pem

    root = issue("Benchmark Root", ca=True, usage=None)
    server = issue(HOST, root, hosts=(HOST,))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "server.pem").write_bytes(pem(server))
        (folder / "ca.pem").write_bytes(root.pem)
        files = [str(folder / "server.pem")] * 2
        with subprocess.Popen(
            [sys.executable, "-m", "benchmarks.tls", *files], stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                compare(int(process.stdout.readline()), str(folder / "ca.pem"))
            finally:
                process.kill()


def compare(port: int, ca: str) -> None:
    """Both clients, in turn."""
    data = b"x" * 1_000_000
    # Both load the trusted certificates once: what is measured are handshakes.
    context = TlsContext(TlsOptions(ca_file=ca, reuse_session=False))
    other = ssl.create_default_context(cafile=ca)
    rates: dict[str, list[float]] = {"ssl write": [], "amqp10 write": [], "ssl shake": [], "amqp10 shake": []}
    with Waiter() as waiter:
        for _ in range(ROUNDS):
            with standard(other, port) as tls:
                rates["ssl write"].append(MEGABYTES / timed(partial(tls.sendall, data), MEGABYTES))
            transport = ours(context, port, waiter)
            rates["amqp10 write"].append(MEGABYTES / timed(partial(write, transport, data, waiter), MEGABYTES))
            transport.close()
            rates["ssl shake"].append(HANDSHAKES / timed(lambda: standard(other, port).close(), HANDSHAKES))
            rates["amqp10 shake"].append(HANDSHAKES / timed(lambda: ours(context, port, waiter).close(), HANDSHAKES))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for what, unit in (("write", "MB/s"), ("shake", "handshakes/s")):
        mine, theirs = medians[f"amqp10 {what}"], medians[f"ssl {what}"]
        print(f"{unit}: amqp10 {mine:,.0f}, ssl {theirs:,.0f}, ratio {mine / theirs:.2f}")


if __name__ == "__main__":
    main()

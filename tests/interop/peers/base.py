"""What every peer needs: its folder, a free port, a process that ends with the tests."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Protocol, Self

HOST: Final = "127.0.0.1"
USER: Final = "amqp10"
PASSWORD: Final = "s3cret"

#: How long a peer may take to get ready. A loaded machine of two cores has taken half a minute for RabbitMQ.
RABBITMQ_START_TIMEOUT: Final = 120.0
START_TIMEOUT: Final = 30.0

#: The versions of what a peer's folder holds; `scripts/peers` writes them and has the same numbers.
_STAMPS: Final = {
    "rabbitmq": "rabbitmq-1",
    "proton": "proton-1",
    "rhea": "rhea-1",
    "artemis": "artemis-1",
    "brokerj": "brokerj-1",
    "classic": "classic-1",
    "jms": "jms-1",
    "protonj2": "protonj2-1",
    "go-amqp": "go-amqp-1",
    "fe2o3-amqp": "fe2o3-amqp-1",
    "proton-python": "proton-python-1",
}


class PeerError(Exception):
    """A peer did not start, or did not do what it was asked to. The message ends with the end of its log."""


class PeerNotPreparedError(Exception):
    """This machine has no such peer yet. The message says which command prepares it."""


PeerName = Literal[
    "rabbitmq",
    "proton",
    "rhea",
    "artemis",
    "brokerj",
    "classic",
    "jms",
    "protonj2",
    "go-amqp",
    "fe2o3-amqp",
    "proton-python",
]


def peer_folder(name: PeerName) -> Path:
    """The folder of a prepared peer; `PeerNotPreparedError` when it is missing or was made by an older checkout."""
    root = os.environ.get("AMQP10_PEERS")
    folder = (Path(root) if root else Path.home() / ".cache" / "amqp10-peers") / name
    try:
        stamp = (folder / "stamp").read_text(encoding="utf-8").strip()
    except OSError:
        stamp = ""
    if stamp != _STAMPS[name]:
        raise PeerNotPreparedError(f"{name} is not prepared on this machine; run: scripts/peers {name}")
    return folder


def free_port() -> int:
    """A loopback port that nothing listens on.

    It is taken from below the range that the kernel gives to outgoing connections. A port within that range, such as a
    bind to port 0 finds, could be given to an unrelated connection while a broker is being restarted, and a client that
    keeps trying to reconnect to it can even be connected to itself.
    """
    try:
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        low = 32768
    first = max(1024, low - 12000)
    for _ in range(200):
        port = random.randrange(first, low) if low > first else 0
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise PeerError("no free port was found")


# -- processes

# Runs its arguments as a child, and ends the whole process group as soon as standard input does. That is the pipe from
# the process that started the peer, so a test run that is killed leaves nothing behind.
_WATCHDOG: Final = """
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
( cat <&3; kill -9 0 ) >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait "$child"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"""


class Process:
    """A peer's process: it keeps the log, waits for lines in it, and ends the process and all its children."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self._lines: deque[str] = deque(maxlen=10_000)
        self._changed = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "sh", *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            cwd=folder,
            start_new_session=True,  # a process group of its own, which stop() kills as a whole
        )
        self._reader = threading.Thread(target=self._read, name=f"{name} log", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line.decode("utf-8", "replace").rstrip())
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def log(self) -> str:
        """What the process has printed so far (its last 10,000 lines)."""
        with self._changed:
            return "\n".join(self._lines)

    @property
    def running(self) -> bool:
        """Whether the process is still there."""
        return self._process.poll() is None

    def failure(self, what: str) -> PeerError:
        """An error that says what went wrong and ends with the end of the log."""
        tail = "\n".join(f"  | {line}" for line in self.log.splitlines()[-40:])
        return PeerError(f"{self.name} {what}; the end of its log:\n{tail or '  | (empty)'}")

    def wait_for(self, pattern: str, timeout: float) -> re.Match[str]:
        """Wait for a line that matches the pattern; an end of the process or of the time is a `PeerError`."""
        expression = re.compile(pattern)
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for line in self._lines:
                    if match := expression.search(line):
                        return match
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    break
                self._changed.wait(left)
        raise self.failure("ended" if self._ended else f"did not print {pattern!r} within {timeout:g} s")

    def wait(self, timeout: float) -> int:
        """Wait for the process to end by itself, and return its exit status."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self.failure(f"did not end within {timeout:g} s") from None
        self._close()
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal to the process and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def find(self, program: str) -> int:
        """The number of the process of the group that runs a program, for a signal to that one alone."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                name, _, rest = (folder / "stat").read_text(encoding="utf-8").rpartition(") ")
                if name.partition("(")[2] == program and int(rest.split()[2]) == self._process.pid:
                    return int(folder.name)
        raise self.failure(f"has no process {program}")

    def stop(self) -> None:
        """Kill the process and its children at once. Nothing that a peer keeps is worth an orderly end."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
        self._close()

    def _close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # the watchdog ends what is left of the process group
        self._reader.join(30)  # the log ends when the last process that holds it does
        self._process.stdout.close()


def wait_for_port(port: int, timeout: float, process: Process) -> None:
    """Wait until something accepts connections at the port."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            with socket.create_connection((HOST, port), timeout=1):
                return
        except OSError:
            # There is no event to wait for: a refused connection is all that the kernel tells.
            if not process.running or time.monotonic() > deadline:
                raise process.failure(f"does not accept connections at port {port}") from None
            time.sleep(0.02)


def wait_until_free(ports: Sequence[int], timeout: float = 15.0) -> None:
    """Wait until the ports of a process that was killed can be bound again."""
    deadline = time.monotonic() + timeout
    for port in ports:
        while True:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, port))
                    break
                except OSError as error:
                    if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                        raise
            time.sleep(0.02)


class Listening(Protocol):
    """Where a client connects to: a `Peer`, or anything else that listens."""

    host: str
    port: int


class Peer:
    """What all peers that listen have in common: a process that is started, killed and stopped, and its log."""

    #: The address to connect to.
    host: str = HOST
    port: int = 0

    _process: Process | None = None

    def start(self) -> None:
        """Start the peer, and return once it accepts connections."""
        raise NotImplementedError

    def _run(self, process: Process, ready: str, timeout: float = START_TIMEOUT) -> re.Match[str]:
        """Make a new process the peer's, and wait for the line of its log that says that it is ready."""
        self._process = process
        return process.wait_for(ready, timeout)

    def kill(self) -> None:
        """Kill the peer as a crash would: its clients see a dropped connection. It does no harm to do so twice."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def stop(self) -> None:
        """Kill the peer, and remove what it kept. It does no harm to do so twice."""
        self.kill()

    @property
    def log(self) -> str:
        """What the peer has printed since its last start (its last 10,000 lines)."""
        return self._process.log if self._process else ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@dataclass(frozen=True)
class TLSFiles:
    """The PEM files of a peer's TLS listener.

    With `verify`, a client certificate is asked for and checked against `cacertfile`; with `fail_if_no_peer_cert` as
    well, a client without one is turned away in the handshake.
    """

    certfile: Path
    keyfile: Path
    cacertfile: Path
    verify: bool = False
    fail_if_no_peer_cert: bool = False

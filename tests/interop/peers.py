"""Starts and stops the real AMQP 1.0 peers that the interop tests talk to.

`scripts/peers` prepares the peers on a machine; this module runs them. Every peer is a context manager with a `host`
and a `port`:

=================  ==============================================================  ===============
class              what it is                                                      ready within
=================  ==============================================================  ===============
`RabbitMQ`         RabbitMQ 4.0 in a Debian root of its own                        5 to 11 s
`ProtonBroker`     the example broker of Qpid Proton C++ (or that of Proton C)     0.05 s
`ProtonDirect`     Proton's examples that listen, and send or receive by           0.05 s
                   themselves
`RheaContainer`    an in-memory container of ours on the Node.js library rhea      0.25 s
=================  ==============================================================  ===============

`proton_send` and `proton_receive` run Proton's client examples against any of the brokers.

Everything listens on the loopback address only and on ports that were free, so that several can run at once. A peer
never outlives the process that started it: each is tied to a pipe, and is killed when that pipe's other end closes,
however that came about.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

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
    "jms": "jms-1",
    "protonj2": "protonj2-1",
    "go-amqp": "go-amqp-1",
    "proton-python": "proton-python-1",
}


class PeerError(Exception):
    """A peer did not start, or did not do what it was asked to. The message ends with the end of its log."""


class PeerNotPreparedError(Exception):
    """This machine has no such peer yet. The message says which command prepares it."""


PeerName = Literal["rabbitmq", "proton", "rhea", "jms", "protonj2", "go-amqp", "proton-python"]


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


def _wait_until_free(ports: Sequence[int], timeout: float = 15.0) -> None:
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


class Peer:
    """What all peers that listen have in common."""

    #: The address to connect to.
    host: str = HOST
    port: int = 0

    def start(self) -> None:
        """Start the peer, and return once it accepts connections."""
        raise NotImplementedError

    def stop(self) -> None:
        """Kill the peer. It does no harm to do so twice."""
        raise NotImplementedError

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


# -- RabbitMQ

# Runs a command in RabbitMQ's Debian root, within namespaces of its own: the mounts, the host name and every process
# that the command starts (epmd among them) go away with it. The host name is one that is known in the root, as a
# look-up of it in the DNS would hold up the start.
_IN_ROOT: Final = """
set -e
mount -t proc proc "$1/proc"
mount --bind "$2" "$1/srv"
hostname localhost
root="$1"
shift 2
exec chroot "$root" "$@"
"""

# A control node: it reads one Erlang expression a line, has the broker evaluate it, and prints one line for the result.
# It makes an administrative step a matter of milliseconds, while every run of rabbitmqctl takes 1.5 s.
_CONTROL_NODE: Final = """
Node = list_to_atom(os:getenv("RABBITMQ_NODENAME")),
Text = fun(Value) when is_binary(Value) -> Value;
          (Value) -> unicode:characters_to_binary(io_lib:format("~0tp", [Value])) end,
Loop = fun(Again) ->
    case io:get_line("") of
        Line when is_list(Line) ->
            {Kind, Result} = try
                {ok, Tokens, _} = erl_scan:string(Line),
                {ok, Expressions} = erl_parse:parse_exprs(Tokens),
                {value, Value, _} = erpc:call(Node, erl_eval, exprs, [Expressions, []], 60000),
                {"ok", Value}
            catch Class:Reason -> {"error", {Class, Reason}} end,
            io:format("~s ~s~n", [Kind, base64:encode(Text(Result))]),
            Again(Again);
        _ -> halt(0)
    end
end,
io:format("READY~n"),
Loop(Loop).
"""


def _erlang_binary(text: str) -> str:
    """An Erlang expression for the text as a binary, whatever characters are in it."""
    return f'base64:decode("{base64.b64encode(text.encode()).decode()}")'


_INSTANCE: Final = "amqp10-rabbitmq-"


def _remove_stale_instances() -> None:
    """Remove what brokers of test runs that were killed have left in the folder for temporary files."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_INSTANCE}*-*"):
        owner = folder.name.removeprefix(_INSTANCE).partition("-")[0]
        if owner.isdecimal() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)


class RabbitMQ(Peer):
    """RabbitMQ 4.0, which speaks AMQP 1.0 natively. It gets ready within 5 to 11 s, and again so after a restart.

    Addresses are those of version 2: `/queues/NAME` for a queue (as a source or a target), and `/exchanges/NAME` or
    `/exchanges/NAME/KEY` as a target; names are percent-encoded (`queue_address` does so). Queues must be declared
    first, by `declare_queue` here or by the client through the management node `/management`.

    The user `amqp10` may do everything in the virtual host `/`. ANONYMOUS logs in as the same user, unless `anonymous`
    is false, in which case the mechanism is not offered. A connection without a SASL layer is refused.

    With `tls` there is a second listener at `tls_port`, the mechanism EXTERNAL is offered there, and the common name of
    a client's certificate is the user's name; `external_users` are made for it, without passwords.

    `configuration` has further lines for rabbitmq.conf, for example `["heartbeat = 5"]`; `plugins` has further plugins.
    What the broker keeps lives in a temporary folder, which `stop` removes.

    What version 4.0.5 was seen to do on the wire:

    * open: max-frame-size 131072, channel-max 63, idle-time-out 30000; begin: next-outgoing-id 0xfffffffc, incoming
      window 400, handle-max 255; attach as a sender: initial-delivery-count 0xfffffffb. The counters wrap after a few
      transfers. A flow that a client sends before it has seen that attach must leave delivery-count out: with 0 in it
      the broker reckons five more credits than were meant.
    * A target gets 170 credits; max-message-size is 16 MiB, and a larger message ends the session with
      `amqp:link:message-size-exceeded`.
    * A node that does not exist: no attach comes back, the whole session is ended with `amqp:not-found`.
    * A message that no queue gets is released (also one that a link to the anonymous terminus sends to a missing
      queue); one refused by `x-overflow = reject-publish` is rejected without an error; one without a `to`, on the
      anonymous terminus, is rejected with `amqp:precondition-failed`.
    * Every message gets the annotations `x-exchange` and `x-routing-key`, one of a quorum queue that was delivered
      before `x-delivery-count` as well. The default outcome is released.
    """

    #: What the peer accepts with the mechanism PLAIN.
    user: Final = USER
    password: Final = PASSWORD
    virtual_host: Final = "/"

    def __init__(
        self,
        *,
        anonymous: bool = True,
        tls: TLSFiles | None = None,
        external_users: Sequence[str] = (),
        configuration: Sequence[str] = (),
        plugins: Sequence[str] = (),
    ) -> None:
        folder = peer_folder("rabbitmq")
        self.version: Final = (folder / "version").read_text(encoding="utf-8").strip()
        self._root = folder / "root"
        self._anonymous = anonymous
        self._tls = tls
        self._external_users = tuple(external_users)
        self._configuration = tuple(configuration)
        self._plugins = (*plugins, *(["rabbitmq_auth_mechanism_ssl"] if tls else []))
        self._instance: Path | None = None
        self._process: Process | None = None
        self._control: subprocess.Popen[bytes] | None = None
        self._control_lock = threading.Lock()
        self.tls_port: int = 0
        self._ports: list[int] = []
        self._environment: dict[str, str] = {}

    # -- life

    def start(self) -> None:
        """Start a new, empty broker."""
        _remove_stale_instances()
        instance = Path(tempfile.mkdtemp(prefix=f"{_INSTANCE}{os.getpid()}-"))
        self._instance = instance
        # Another process could take a port between its choice and the broker's start; then other ports are tried.
        for attempt in range(3):
            self._configure(instance)
            try:
                self._launch()
                return
            except PeerError as error:
                in_use = "eaddrinuse" in str(error).lower() or "already in use" in str(error).lower()
                if attempt == 2 or not in_use:
                    raise
                self.kill()

    def _configure(self, instance: Path) -> None:
        self._ports = [free_port() for _ in range(4)]
        self.port, self.tls_port, distribution_port, epmd_port = self._ports
        if self._tls is None:
            self.tls_port = 0
        name = f"amqp10-{os.getpid()}-{self.port}@localhost"
        loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        self._environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": "/srv",  # where the instance's folder is seen in the root
            "RABBITMQ_NODENAME": name,
            "RABBITMQ_CONFIG_FILE": "/srv/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": "/srv/rabbitmq-env.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": "/srv/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": "/srv/data",
            "RABBITMQ_LOG_BASE": "/srv/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback,
            "RABBITMQ_CTL_ERL_ARGS": loopback,
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_CRASH_DUMP_SECONDS": "0",
        }
        configuration = [
            f"listeners.tcp.1 = {HOST}:{self.port}",
            "log.console = true",
            "log.console.level = info",
            "load_definitions = /srv/definitions.json",
            "auth_mechanisms.1 = PLAIN",
            "auth_mechanisms.2 = AMQPLAIN",
        ]
        if self._anonymous:
            configuration += [
                "auth_mechanisms.3 = ANONYMOUS",
                f"anonymous_login_user = {self.user}",
                f"anonymous_login_pass = {self.password}",
            ]
        else:
            configuration += ["anonymous_login_user = none"]
        if self._tls is not None:
            configuration += self._configure_tls(self._tls, instance)
        (instance / "rabbitmq.conf").write_text("\n".join([*configuration, *self._configuration, ""]), encoding="utf-8")
        (instance / "rabbitmq-env.conf").write_text("", encoding="utf-8")
        (instance / "enabled_plugins").write_text(f"[{','.join(self._plugins)}].\n", encoding="utf-8")
        names = [self.user, *self._external_users]
        definitions = {
            "vhosts": [{"name": self.virtual_host}],
            "users": [
                {"name": self.user, "password": self.password, "tags": ["administrator"]},
                # A user without a password hash can log in by certificate only.
                *({"name": each, "password_hash": "", "tags": []} for each in self._external_users),
            ],
            "permissions": [
                {"user": each, "vhost": self.virtual_host, "configure": ".*", "write": ".*", "read": ".*"}
                for each in names
            ],
        }
        (instance / "definitions.json").write_text(json.dumps(definitions), encoding="utf-8")
        cookie = instance / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(os.urandom(16).hex(), encoding="ascii")
            cookie.chmod(0o400)

    def _configure_tls(self, files: TLSFiles, instance: Path) -> list[str]:
        for source, name in (
            (files.cacertfile, "ca.pem"),
            (files.certfile, "server.pem"),
            (files.keyfile, "server.key"),
        ):
            shutil.copyfile(source, instance / name)
        return [
            f"listeners.ssl.1 = {HOST}:{self.tls_port}",
            "ssl_options.cacertfile = /srv/ca.pem",
            "ssl_options.certfile = /srv/server.pem",
            "ssl_options.keyfile = /srv/server.key",
            f"ssl_options.verify = {'verify_peer' if files.verify else 'verify_none'}",
            f"ssl_options.fail_if_no_peer_cert = {str(files.fail_if_no_peer_cert).lower()}",
            "auth_mechanisms.4 = EXTERNAL",
            "ssl_cert_login_from = common_name",
        ]

    def _in_root(self, *command: str) -> list[str]:
        unshare = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
        return [*unshare, "/bin/sh", "-c", _IN_ROOT, "sh", str(self._root), str(self._instance), *command]

    def _launch(self) -> None:
        started = time.monotonic()
        self._process = Process(
            f"RabbitMQ at port {self.port}",
            self._in_root("/usr/lib/rabbitmq/bin/rabbitmq-server"),
            environment=self._environment,
            folder=Path("/"),
        )
        self._process.wait_for("Server startup complete", RABBITMQ_START_TIMEOUT)
        wait_for_port(self.port, 10, self._process)
        #: How long the last start took, in seconds.
        self.start_seconds = time.monotonic() - started

    def kill(self) -> None:
        """Kill the broker at once, as a power cut would: its clients see a dropped connection. The data stay."""
        self._stop_control()
        if self._process is not None:
            self._process.stop()
            self._process = None
            _wait_until_free(self._ports)

    def restart(self) -> None:
        """Kill the broker (unless that was done) and start it again with the same ports and data.

        Quorum queues and durable classic queues keep their durable messages; what was not settled is delivered again.
        """
        if self._instance is None:
            raise PeerError("RabbitMQ was never started")
        self.kill()
        self._launch()

    def stop(self) -> None:
        """Kill the broker and remove what it kept."""
        self.kill()
        if self._instance is not None:
            shutil.rmtree(self._instance, ignore_errors=True)
            self._instance = None

    @property
    def log(self) -> str:
        """The broker's log since its last start."""
        return self._process.log if self._process else ""

    # -- administration

    def ctl(self, *arguments: str, timeout: float = 60.0) -> str:
        """Run rabbitmqctl against the broker and return what it printed. It takes about 1.5 s."""
        done = subprocess.run(
            self._in_root("/usr/lib/rabbitmq/bin/rabbitmqctl", *arguments),
            env=self._environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            command = " ".join(arguments)
            raise PeerError(f"rabbitmqctl {command} failed with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def evaluate(self, expression: str) -> str:
        """Have the broker evaluate Erlang expressions (ASCII, no full stop needed) and return the last one's value.

        A binary is returned as its text, any other value as Erlang writes it. An exception is a `PeerError`.
        """
        line = " ".join(expression.split()).rstrip(".") + ".\n"
        with self._control_lock:
            if self._control is None:
                self._control = self._start_control()
            assert self._control.stdin is not None
            assert self._control.stdout is not None
            self._control.stdin.write(line.encode("ascii"))
            self._control.stdin.flush()
            answer = self._control.stdout.readline().decode("ascii").strip()
        kind, _, encoded = answer.partition(" ")
        text = base64.b64decode(encoded).decode("utf-8", "replace")
        if kind != "ok":
            raise PeerError(f"RabbitMQ could not evaluate {expression!r}: {text or 'the control node is gone'}")
        return text

    def _start_control(self) -> subprocess.Popen[bytes]:
        # It needs no watchdog: standard input is where it reads from, and it ends when that does.
        name = f"control-{os.getpid()}-{self.port}@localhost"
        program = " ".join(_CONTROL_NODE.split())
        control = subprocess.Popen(
            self._in_root(
                *("erl", "-noshell", "-hidden", "-start_epmd", "false", "-sname", name),
                *("-kernel", "inet_dist_use_interface", "{127,0,0,1}", "-eval", program),
            ),
            env=self._environment,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert control.stdout is not None
        ready = control.stdout.readline()
        if ready.strip() != b"READY":
            rest = ready + control.stdout.read(4000)
            self._end_control(control)
            raise PeerError(f"RabbitMQ's control node did not start: {rest.decode('utf-8', 'replace')}")
        return control

    def _stop_control(self) -> None:
        with self._control_lock:
            if self._control is not None:
                self._end_control(self._control)
                self._control = None

    @staticmethod
    def _end_control(control: subprocess.Popen[bytes]) -> None:
        control.kill()  # and by --kill-child of unshare everything that it started
        control.wait(30)
        for pipe in (control.stdin, control.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def declare(self, definitions: Mapping[str, Any]) -> None:
        """Import definitions, in the format that `rabbitmqctl export_definitions` writes."""
        document = _erlang_binary(json.dumps(definitions))
        if (result := self.evaluate(f"rabbit_definitions:import_raw({document})")) != "ok":
            raise PeerError(f"RabbitMQ did not import the definitions: {result}")

    def declare_queue(
        self,
        name: str,
        *,
        type: Literal["quorum", "classic", "stream"] = "quorum",
        arguments: Mapping[str, Any] | None = None,
        durable: bool = True,
    ) -> str:
        """Declare a queue, unless there is one of that name already, and return its AMQP 1.0 address."""
        queue = {
            "name": name,
            "vhost": self.virtual_host,
            "durable": durable,
            "auto_delete": False,
            "arguments": {"x-queue-type": type, **(arguments or {})},
        }
        self.declare({"queues": [queue]})
        return queue_address(name)

    def declare_exchange(
        self,
        name: str,
        *,
        type: Literal["direct", "fanout", "topic", "headers"] = "direct",
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Declare a durable exchange, unless there is one of that name already."""
        exchange = {
            "name": name,
            "vhost": self.virtual_host,
            "type": type,
            "durable": True,
            "auto_delete": False,
            "internal": False,
            "arguments": dict(arguments or {}),
        }
        self.declare({"exchanges": [exchange]})

    def bind(self, exchange: str, queue: str, key: str = "", *, arguments: Mapping[str, Any] | None = None) -> None:
        """Bind a queue to an exchange."""
        binding = {
            "source": exchange,
            "vhost": self.virtual_host,
            "destination": queue,
            "destination_type": "queue",
            "routing_key": key,
            "arguments": dict(arguments or {}),
        }
        self.declare({"bindings": [binding]})

    def delete_queue(self, name: str) -> None:
        """Delete a queue with all that is in it; a queue that is not there is left so."""
        self._with_queue(
            name, 'rabbit_amqqueue:delete(Queue, false, false, <<"amqp10">>)', missing="{error, not_found}"
        )

    def purge_queue(self, name: str) -> None:
        """Remove the messages of a queue that are ready for delivery."""
        self._with_queue(name, "rabbit_amqqueue:purge(Queue)")

    def queue_length(self, name: str) -> int:
        """How many messages the queue holds, with those that were delivered and are not settled yet.

        The queue itself is asked; the figures of `rabbitmqctl list_queues` can be five seconds old for quorum queues.
        """
        return int(self._queue_figure(name, "query_messages_total", "messages"))

    def queue_ready(self, name: str) -> int:
        """How many messages of the queue are ready for delivery."""
        return int(self._queue_figure(name, "query_messages_ready", "messages_ready"))

    def _queue_figure(self, name: str, quorum_query: str, item: str) -> str:
        return self._with_queue(
            name,
            f"""case amqqueue:get_type(Queue) of
                    rabbit_quorum_queue ->
                        {{ok, Count, _}} = ra:consistent_query(
                            amqqueue:get_pid(Queue), fun rabbit_fifo:{quorum_query}/1),
                        Count;
                    _ ->
                        [{{_, Count}}] = rabbit_amqqueue:info(Queue, [{item}]),
                        Count
                end""",
        )

    def _with_queue(self, name: str, expression: str, *, missing: str = "error(no_such_queue)") -> str:
        resource = f"rabbit_misc:r({_erlang_binary(self.virtual_host)}, queue, {_erlang_binary(name)})"
        return self.evaluate(
            f"""case rabbit_amqqueue:lookup({resource}) of
                    {{ok, Queue}} -> {expression};
                    {{error, not_found}} -> {missing}
                end"""
        )

    def close_all_connections(self, reason: str = "closed by the test") -> None:
        """Have the broker close all its clients' connections, as an operator would with rabbitmqctl.

        The close frame has the condition `amqp:internal-error` and the description `Connection forced: "<reason>"`.
        """
        self.evaluate(
            f"""[rabbit_networking:close_connection(Pid, binary_to_list({_erlang_binary(reason)}))
                 || Pid <- rabbit_networking:connections()]"""
        )

    def connection_count(self) -> int:
        """How many AMQP connections clients have open."""
        return int(self.evaluate("length(rabbit_networking:connections())"))


def queue_address(name: str) -> str:
    """The AMQP 1.0 address of a RabbitMQ queue: percent-encoded, as version 2 of its addresses asks."""
    kept = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    return "/queues/" + "".join(chr(byte) if byte in kept else f"%{byte:02X}" for byte in name.encode())


# -- Qpid Proton


def proton_program(name: str) -> Path:
    """The path of one of Proton's compiled examples, such as `c-send` or `cpp-broker`."""
    return peer_folder("proton") / "bin" / name


class ProtonBroker(Peer):
    """The example broker of Qpid Proton.

    Queues are made when they are first used. Both flavours accept every message that arrives, and forget it as soon as
    they have written it to a receiver, so that nothing is ever delivered twice: accepted, rejected, released and
    modified make no difference. Only the mechanism ANONYMOUS is offered, and a connection without a SASL layer is
    served too. Neither closes anything by itself.

    `cpp` (version 0.37) keeps 10 credits on an incoming link, sends unsettled (and does not look at what comes back),
    encodes messages anew, and makes a queue of its own for a dynamic source. Its attach has no source where it
    receives. With several receivers on a queue one without credit can keep the others waiting.

    `c` keeps 5 credits, sends settled, passes messages on byte for byte, and takes them off a queue in a time that
    grows with the queue's length. It crashes on a link without an address (a dynamic source, the anonymous terminus),
    and writes every part of a message that arrives in several reads to the start of its buffer, so that a message of
    more than a frame may come out garbled.
    """

    def __init__(self, flavour: Literal["cpp", "c"] = "cpp") -> None:
        self._program = proton_program(f"{flavour}-broker")
        self._flavour = flavour
        self._process: Process | None = None

    def start(self) -> None:
        """Start the broker."""
        arguments = ["-a", f"{HOST}:0"] if self._flavour == "cpp" else [HOST, "0"]
        self._process = Process(f"Proton's {self._flavour} broker", [self._program, *arguments])
        self.port = int(self._process.wait_for(r"listening on (\d+)", START_TIMEOUT)[1])

    def stop(self) -> None:
        """Kill the broker."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    kill = stop

    @property
    def log(self) -> str:
        """What the broker has printed."""
        return self._process.log if self._process else ""


class ProtonDirect(Peer):
    """One of Proton's examples that listen for a connection and send or receive on it, without a broker.

    `c-direct` does what the client's first link asks for; the other two do what their names say. Senders send the maps
    `{"sequence": 1}` to `{"sequence": count}`; receivers accept and print what they get. The C++ one takes the
    message-id for a sequence number (it must be a number) and skips a message whose id is below the count of those it
    got. Each ends when it has its count. Only ANONYMOUS is offered, or no SASL layer.
    """

    def __init__(
        self, program: Literal["c-direct", "cpp-direct_recv", "cpp-direct_send"] = "c-direct", *, count: int = 10
    ) -> None:
        self._path = proton_program(program)
        self._name = program
        self._count = count
        self._process: Process | None = None

    def start(self) -> None:
        """Start the program."""
        if self._name == "c-direct":
            arguments = [HOST, "0", "examples", str(self._count)]
        else:
            arguments = ["-a", f"{HOST}:0/examples", "-m", str(self._count)]
        self._process = Process(f"Proton's {self._name}", [self._path, *arguments])
        self.port = int(self._process.wait_for(r"listening on (\d+)", START_TIMEOUT)[1])

    def wait(self, timeout: float = 30.0) -> list[str]:
        """Wait until the program has sent or received its count, and return the lines that it printed.

        The first line is `listening on PORT`. A receiver prints every body, a sender one line at the end.
        """
        assert self._process is not None
        if status := self._process.wait(timeout):
            raise self._process.failure(f"failed with {status}")
        return self._process.log.splitlines()

    def stop(self) -> None:
        """Kill the program, if it has not ended."""
        if self._process is not None:
            self._process.stop()
            self._process = None


def run_proton(program: str, *arguments: str, timeout: float = 60.0) -> list[str]:
    """Run one of Proton's client examples to its end, and return the lines that it printed."""
    process = Process(f"Proton's {program}", [proton_program(program), *arguments])
    try:
        if status := process.wait(timeout):
            raise process.failure(f"failed with {status}")
        return process.log.splitlines()
    finally:
        process.stop()


def proton_send(
    peer: Peer, address: str, count: int, *, flavour: Literal["cpp", "c"] = "cpp", timeout: float = 60.0
) -> None:
    """Send messages with Proton's example `simple_send` (C++) or `send` (C), and wait until all are accepted.

    Their bodies are the maps `{"sequence": 1}` to `{"sequence": count}` (AMQP ints), their message-ids the same numbers
    (an int with C++, a ulong with C). The C++ one logs in as ANONYMOUS; when a message is not accepted it goes on
    waiting until the timeout. The C one uses no SASL layer, which RabbitMQ refuses; it fails when a message is not
    accepted.
    """
    if flavour == "cpp":
        arguments = ["-a", f"{peer.host}:{peer.port}/{address}", "-m", str(count)]
        lines = run_proton("cpp-simple_send", *arguments, timeout=timeout)
        expected = "all messages confirmed"
    else:
        lines = run_proton("c-send", peer.host, str(peer.port), address, str(count), timeout=timeout)
        expected = f"{count} messages sent and acknowledged"
    if lines[-1:] != [expected]:
        raise PeerError(f"Proton's {flavour} sender did not send all messages: {lines[-5:]}")


def proton_receive(
    peer: Peer, address: str, count: int, *, flavour: Literal["cpp", "c"] = "cpp", timeout: float = 60.0
) -> list[str]:
    """Receive and accept messages with Proton's example `simple_recv` (C++) or `receive` (C).

    What is returned are the bodies as Proton writes them: a map as `{"sequence"=1}`, a list as `[1, 2]`, a string as
    `"text"` with C and as `text` with C++. The C++ one logs in as ANONYMOUS and keeps 10 credits, so that the broker
    may have sent it more than it was to receive; it skips a message whose message-id is a number below the count of
    those it got. The C one gives as many credits as it is to receive and uses no SASL layer, which RabbitMQ refuses.
    """
    if flavour == "cpp":
        arguments = ["-a", f"{peer.host}:{peer.port}/{address}", "-m", str(count)]
        lines = run_proton("cpp-simple_recv", *arguments, timeout=timeout)
    else:
        lines = run_proton("c-receive", peer.host, str(peer.port), address, str(count), timeout=timeout)
        if lines[-1:] == [f"{count} messages received"]:
            lines.pop()
    if len(lines) != count:
        raise PeerError(f"Proton's {flavour} receiver did not receive all messages: {lines[-5:]}")
    return lines


# -- rhea


class RheaContainer(Peer):
    """An in-memory container for tests, a program of ours on the Node.js library rhea (`rhea_container.js`).

    A queue is made when its address is first used, as a source or a target. A message that arrives at it is accepted
    and goes, byte for byte as it came, to one of its receivers, in order and by their credit. What a receiver answers:

    * accepted, or settled without an outcome: the message is gone;
    * released: it goes back to its place in the queue, and is delivered again unchanged;
    * modified: the same; `delivery_failed` adds 1 to its delivery-count, `undeliverable_here` keeps it from that link,
      and message annotations are merged into its own (the message is encoded anew by rhea in the first and last case);
    * rejected: it goes to the queue `NAME.rejected`, with the annotations `x-opt-rejected-condition` and
      `x-opt-rejected-description`;
    * a link, session or connection that ends with unsettled deliveries: they go back to their places.

    A drain is answered, a dynamic source or target gets an address `dynamic/...`, the anonymous terminus (a target
    without an address) sends each message where its `to` says, and the settle modes are those that the client asks for.
    Filters, transactions (the attach is refused with `amqp:not-implemented`) and durable state are not supported.

    These addresses are special:

    ======================  ===========================================================================================
    `reject/...`            every message is rejected, with `amqp:precondition-failed` and a description
    `release/...`           every message is released
    `modify/...`            every message is modified, with delivery-failed
    `modify-here/...`       ... with delivery-failed, undeliverable-here and the annotation `x-opt-reason`
    `hold/...`              no message is ever answered
    `reencode/...`          a queue whose messages rhea decodes and encodes anew
    `refuse/...`            the attach is refused with `amqp:not-found`
    `close-connection/...`  a message makes it close the connection, with `amqp:connection:forced`
    `end-session/...`       a message makes it end the session, with `amqp:internal-error`
    `detach-link/...`       a message makes it detach the link, with `amqp:link:detach-forced`
    `drop/...`              a message makes it drop the TCP connection without a word
    ======================  ===========================================================================================

    The descriptions are the address and what was done, for example `reject/a rejects every message`.

    `sasl` has the mechanisms to offer; an empty one means that no SASL layer is accepted. Where ANONYMOUS is among them
    a connection may also go without a SASL layer, unless `require_sasl` is true. With `tls` it serves TLS only; with
    its `verify` a client certificate is required and EXTERNAL is offered too. `idle_timeout` is in milliseconds (rhea
    gives up on a silent client after twice that time). `credit` is what an incoming link is kept at, 500 by default.
    """

    #: What the peer accepts with the mechanism PLAIN.
    user: Final = USER
    password: Final = PASSWORD

    def __init__(
        self,
        *,
        sasl: Sequence[Literal["anonymous", "plain"]] = ("anonymous", "plain"),
        require_sasl: bool = False,
        max_frame_size: int | None = None,
        channel_max: int | None = None,
        idle_timeout: int | None = None,
        credit: int | None = None,
        tls: TLSFiles | None = None,
    ) -> None:
        self._modules = peer_folder("rhea") / "node_modules"
        arguments = ["--sasl", ",".join(sasl), "--user", self.user, "--password", self.password]
        if require_sasl:
            arguments.append("--require-sasl")
        for flag, value in (
            ("--max-frame-size", max_frame_size),
            ("--channel-max", channel_max),
            ("--idle-timeout", idle_timeout),
            ("--credit", credit),
        ):
            if value is not None:
                arguments += [flag, str(value)]
        if tls is not None:
            arguments += ["--tls-key", str(tls.keyfile), "--tls-cert", str(tls.certfile)]
            if tls.verify:
                arguments += ["--tls-ca", str(tls.cacertfile)]
        self._arguments = arguments
        self._process: Process | None = None

    def start(self) -> None:
        """Start the container."""
        node = shutil.which("node")
        if node is None:
            raise PeerNotPreparedError("node is not on this machine; run: scripts/peers rhea")
        program = Path(__file__).with_name("rhea_container.js")
        self._process = Process(
            "the rhea container",
            [node, program, *self._arguments],
            environment={**os.environ, "NODE_PATH": str(self._modules)},
        )
        self.port = int(self._process.wait_for(r"^READY (\d+)$", START_TIMEOUT)[1])

    def stop(self) -> None:
        """Kill the container; its clients see a dropped connection."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    kill = stop

    @property
    def log(self) -> str:
        """What the container has printed: `READY`, and the errors that its clients sent it."""
        return self._process.log if self._process else ""

"""RabbitMQ 4.0, in a Debian root of its own."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from tests.interop.peers.base import (
    HOST,
    PASSWORD,
    RABBITMQ_START_TIMEOUT,
    USER,
    Peer,
    PeerError,
    Process,
    TLSFiles,
    free_port,
    peer_folder,
    wait_for_port,
    wait_until_free,
)

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
        process = Process(
            f"RabbitMQ at port {self.port}",
            self._in_root("/usr/lib/rabbitmq/bin/rabbitmq-server"),
            environment=self._environment,
            folder=Path("/"),
        )
        self._run(process, "Server startup complete", RABBITMQ_START_TIMEOUT)
        wait_for_port(self.port, 10, process)
        #: How long the last start took, in seconds.
        self.start_seconds = time.monotonic() - started

    def kill(self) -> None:
        """Kill the broker at once, as a power cut would: its clients see a dropped connection. The data stay."""
        self._stop_control()
        if self._process is not None:
            super().kill()
            wait_until_free(self._ports)

    def terminate(self) -> None:
        """End the broker in order with SIGTERM, as its operator would. The data stay."""
        self._stop_control()
        if self._process is not None:
            os.kill(self._process.find("beam.smp"), signal.SIGTERM)
            self._process.wait(60)
            self._process = None
            wait_until_free(self._ports)

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
        super().stop()
        if self._instance is not None:
            shutil.rmtree(self._instance, ignore_errors=True)
            self._instance = None

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

    def write_tables(self) -> None:
        """Have the broker write to the disk which quorum queues it has, as it would some minutes later by itself.

        Killed before that, it starts them as new, empty ones that never have a leader, and answers nobody.
        """
        self.evaluate("[ok = dets:sync(Table) || Table <- dets:all()]")

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

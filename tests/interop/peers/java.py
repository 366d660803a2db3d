"""ActiveMQ Artemis, Qpid Broker-J and ActiveMQ Classic, started for the interop tests.

`scripts/peers artemis brokerj classic` fetches them. Each listens on two free ports of the loopback address: AMQP, and
AMQP over TLS with a certificate for `localhost`. User and password are those of `peers`. What a broker keeps lives in a
temporary folder, over `kill()` and `start()` too, and is removed by `stop()`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import ClassVar, Final

import trustme

from tests.interop.peers import (
    HOST,
    PASSWORD,
    START_TIMEOUT,
    USER,
    Peer,
    PeerError,
    PeerName,
    Process,
    free_port,
    peer_folder,
)

__all__ = ["Artemis", "BrokerJ", "Classic", "JavaBroker"]

_STORE_PASSWORD: Final = "changeit"
_MEMORY: Final = ("-Xms64m", "-Xmx768m")


class JavaBroker(Peer):
    """What the three have in common."""

    name: ClassVar[PeerName]
    #: A line of the log that says that the broker serves.
    ready: ClassVar[str]
    #: The capability that makes a terminus a queue, where a plain address is none.
    capability: ClassVar[str] = ""
    #: What a virtual host is called that is there; empty where there are none.
    virtual_host: ClassVar[str] = ""

    #: Whether rejected messages go elsewhere as shipped, instead of coming again.
    dead_letters: ClassVar[bool] = True

    user: Final = USER
    password: Final = PASSWORD

    def __init__(self) -> None:
        self._home = peer_folder(self.name)
        self.version = (self._home / "version").read_text(encoding="utf-8").strip()
        self._folder: Path | None = None
        self.tls_port = 0

    @property
    def folder(self) -> Path:
        """Where the broker keeps its files."""
        assert self._folder is not None, "the broker has not been started"
        return self._folder

    @property
    def ca(self) -> Path:
        """The certificate of the authority that has signed the broker's."""
        return self.folder / "ca.pem"

    def start(self) -> None:
        """Start the broker; after `kill` with the messages that it had."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix=f"amqp10-{self.name}-"))
            self.port, self.tls_port = free_port(), free_port()
            self._make_certificates()
            self._configure()
        environment = {**os.environ, **self._environment()}
        # Some listen before they serve.
        self._run(
            Process(self.name, self._command(), folder=self._folder, environment=environment),
            self.ready,
            START_TIMEOUT * 2,
        )

    def terminate(self) -> None:
        """End the broker in order, as its operator would."""
        process = self._process
        if process is not None:
            process.send_signal(signal.SIGTERM)
            process.wait(START_TIMEOUT * 2)
            self._process = None

    def restart(self) -> None:
        """Kill the broker (unless it has ended) and start it again with the same ports and messages."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """Kill the broker, and remove what it kept."""
        self.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def queue(self, name: str) -> str:
        """The address of a queue, which is made when it is first named."""
        return name

    def _configure(self) -> None:
        """Write the broker's configuration."""

    def _command(self) -> list[str | Path]:
        raise NotImplementedError

    def _environment(self) -> dict[str, str]:
        return {}

    def _make_certificates(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca)
        pem = self.folder / "server.pem"
        authority.issue_cert("localhost", HOST).private_key_and_cert_chain_pem.write_to_path(pem)
        command = ["openssl", "pkcs12", "-export", "-in", str(pem), "-out", str(self.folder / "server.p12")]
        made = subprocess.run(
            [*command, "-name", "server", "-passout", f"pass:{_STORE_PASSWORD}"], capture_output=True, check=False
        )
        if made.returncode:
            raise PeerError(f"no key store for {self.name}: {made.stderr.decode()}")


class Artemis(JavaBroker):
    """ActiveMQ Artemis 2.40, up within 4 to 8 s.

    A plain address is multicast as shipped: a terminus needs the capability `queue` to be one. PLAIN only.
    """

    name = "artemis"
    ready = "AMQ221007"
    capability = "queue"

    def _configure(self) -> None:
        instance = self.folder / "instance"
        program = self._home / "home" / "bin" / "artemis"
        program.chmod(0o755)
        login = ["--user", USER, "--password", PASSWORD, "--require-login", "--silent", "--host", HOST]
        without = [
            f"--no-{what}" for what in ("web", "hornetq-acceptor", "mqtt-acceptor", "stomp-acceptor", "autotune")
        ]
        made = subprocess.run(
            [str(program), "create", str(instance), *login, *without, "--java-options", " ".join(_MEMORY)],
            capture_output=True,
            check=False,
        )
        if made.returncode:
            raise PeerError(f"Artemis could not be set up: {made.stdout.decode()}{made.stderr.decode()}")
        path = instance / "etc" / "broker.xml"
        text = path.read_text(encoding="utf-8")
        options = "amqpCredits=1000;amqpLowCredits=300;protocols=AMQP;saslMechanisms=PLAIN"
        store = f"keyStorePath={self.folder}/server.p12;keyStoreType=PKCS12;keyStorePassword={_STORE_PASSWORD}"
        acceptors = (
            f'<acceptors><acceptor name="amqp">tcp://{HOST}:{self.port}?{options}</acceptor>'
            f'<acceptor name="amqps">tcp://{HOST}:{self.tls_port}?{options};sslEnabled=true;{store}</acceptor>'
            "</acceptors>"
        )
        text = re.sub(r"<acceptors>.*?</acceptors>", lambda _: acceptors, text, flags=re.DOTALL)
        path.write_text(text.replace("<max-disk-usage>90<", "<max-disk-usage>-1<"), encoding="utf-8")

    def _command(self) -> list[str | Path]:
        # A broker that was killed leaves its lock behind.
        (self.folder / "instance" / "lock" / "cli.lock").unlink(missing_ok=True)
        return [self.folder / "instance" / "bin" / "artemis", "run"]


class BrokerJ(JavaBroker):
    """Qpid Broker-J 9.2, up within 3 to 7 s. Addresses that start with `q.` are queues, made when they are first named.

    The host name in *open* names the virtual host; one that is none is refused.
    """

    name = "brokerj"
    ready = "BRK-1004"
    virtual_host = "default"
    dead_letters = False

    def queue(self, name: str) -> str:
        """The address of a queue, which is made when it is first named."""
        return f"q.{name}"

    def _configure(self) -> None:
        aliases = [{"name": kind, "type": kind} for kind in ("nameAlias", "defaultAlias", "hostnameAlias")]

        def port(name: str, number: int, transport: str) -> dict[str, object]:
            return {
                "name": name,
                "port": str(number),
                "bindingAddress": HOST,
                "authenticationProvider": "plain",
                "transports": [transport],
                "virtualhostaliases": aliases,
            }

        queues = {
            "pattern": "q[.].*",
            "createdOnPublish": "true",
            "createdOnConsume": "true",
            "nodeType": "Queue",
            "attributes": {},
        }
        host = {"type": "DERBY", "nodeAutoCreationPolicies": [queues]}
        configuration = {
            "name": "interop",
            "modelVersion": "9.0",
            "authenticationproviders": [
                {
                    "name": "plain",
                    "type": "Plain",
                    "secureOnlyMechanisms": [],
                    "users": [{"name": USER, "type": "managed", "password": PASSWORD}],
                }
            ],
            "keystores": [
                {
                    "name": "store",
                    "type": "FileKeyStore",
                    "storeUrl": str(self.folder / "server.p12"),
                    "password": _STORE_PASSWORD,
                    "keyStoreType": "pkcs12",
                }
            ],
            "ports": [port("AMQP", self.port, "TCP"), port("AMQPS", self.tls_port, "SSL") | {"keyStore": "store"}],
            "virtualhostnodes": [
                {
                    "name": "default",
                    "type": "JSON",
                    "defaultVirtualHostNode": "true",
                    "virtualHostInitialConfiguration": json.dumps(host),
                }
            ],
        }
        (self.folder / "initial.json").write_text(json.dumps(configuration), encoding="utf-8")

    def _command(self) -> list[str | Path]:
        home = self._home / "home"
        options = [f"-DQPID_HOME={home}", f"-DQPID_WORK={self.folder}", "-XX:MaxDirectMemorySize=768m"]
        program = ["org.apache.qpid.server.Main", "-icp", str(self.folder / "initial.json")]
        return ["java", *_MEMORY, *options, "-cp", f"{home}/lib/*", *program]

    def _environment(self) -> dict[str, str]:
        return {"QPID_WORK": str(self.folder)}


class Classic(JavaBroker):
    """ActiveMQ Classic 6.1, its libraries run as a broker, up within 2 to 4 s. Any address is a queue."""

    name = "classic"
    ready = "^READY$"

    def _command(self) -> list[str | Path]:
        store = [f"-Djavax.net.ssl.keyStore={self.folder}/server.p12"]
        store += [f"-Djavax.net.ssl.keyStorePassword={_STORE_PASSWORD}"]
        arguments = [USER, PASSWORD, str(self.folder), str(self.port), str(self.tls_port)]
        return ["java", *_MEMORY, *store, "-cp", f"{self._home}/lib/*:{self._home}", "Classic", *arguments]

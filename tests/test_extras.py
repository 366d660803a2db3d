"""The plain case needs no other package, and what needs one says which."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trustme

MISSING = """
import sys

class Missing:
    NAMES = {"OpenSSL", "cryptography", "service_identity", "idna", "click", "rich", "python_socks"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.NAMES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""

PLAIN = """
import asyncio, ssl
import amqp10
from amqp10 import AMQP, ValueType
from amqp10.broker import Broker
import amqp10.testing

with Broker() as broker:
    with AMQP() as amqp:
        amqp.connect_to(broker.host, broker.port)
        amqp.create_session("s")
        amqp.create_sender_link("s", "out", "q")
        amqp.message_value_type, amqp.message_value = ValueType.mvtString, "one"
        amqp.send_message("out")
    url = f"amqp://{broker.host}:{broker.port}"
    with amqp10.connect(url) as connection:
        connection.send("q", amqp10.Message("two"))

    async def main():
        async with amqp10.aio.connect(url) as connection:
            await connection.send("q", amqp10.Message("three"))

    asyncio.run(main())
    assert broker.queue_length("q") == 3

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("server.pem")
with Broker(tls=context) as broker:
    url = f"amqps://localhost:{broker.port}"
    with amqp10.connect(url, tls=ssl.create_default_context(cafile="ca.pem")) as connection:
        connection.send("q", amqp10.Message("four"))
    assert broker.queue_length("q") == 1
print("done")
"""


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MISSING + program], capture_output=True, text=True, check=False, timeout=60, cwd=folder
    )


def test_connections_broker_and_fixtures_need_no_package(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    done = run(PLAIN, tmp_path)
    assert (done.stdout, done.stderr) == ("done\n", "")


@pytest.mark.parametrize(
    ("program", "package"),
    [
        ("amqp.ssl_enabled = True; amqp.connect_to('localhost', 5671)", "pyOpenSSL"),
        ("amqp.ssl_cert_store = 'store.p12'; amqp.ssl_cert_subject = 'me'", "cryptography"),
    ],
)
def test_tls_of_the_class_amqp_says_what_to_install(program: str, package: str, tmp_path: Path) -> None:
    listener = "import socket; s = socket.create_server(('127.0.0.1', 0)); port = s.getsockname()[1]\n"
    program = program.replace("'localhost', 5671", "'127.0.0.1', port")
    done = run(
        f"from amqp10 import AMQP, AMQPError\n{listener}amqp = AMQP()\n"
        f"try:\n    {program}\nexcept AMQPError as error:\n    print(error.code, error.message)",
        tmp_path,
    )
    assert done.stdout.startswith("270 "), done.stderr
    assert package in done.stdout
    assert 'pip install "amqp10[tls]"' in done.stdout


def test_a_host_name_that_needs_idna_says_what_to_install(tmp_path: Path) -> None:
    done = run(
        "from amqp10 import AMQP, AMQPError\n"
        "try:\n    AMQP().connect_to('b\\u00fccher.example', 5672)\nexcept AMQPError as error:\n    print(error)",
        tmp_path,
    )
    assert done.stdout.startswith("[11001] "), done.stderr
    assert 'pip install "amqp10[tls]"' in done.stdout


def test_the_command_says_what_to_install(tmp_path: Path) -> None:
    done = run("from amqp10.__main__ import main; main()", tmp_path)
    assert done.returncode == 1
    assert done.stderr == 'amqp10: the command needs the package click: pip install "amqp10[cli]"\n'

"""The broker as programs start it: TLS, warnings, stopping."""

from __future__ import annotations

import logging
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner

import amqp10
from amqp10 import AMQP, AMQPError, AuthScheme
from amqp10.broker import Broker, Limits
from amqp10.cli import commands
from amqp10.engine import ExternalMechanism

AUTHORITY = trustme.CA()


def server_context(*, client_certificates: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    if client_certificates:
        context.verify_mode = ssl.CERT_REQUIRED
        AUTHORITY.configure_trust(context)
    return context


def client_context(name: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    if name is not None:
        AUTHORITY.issue_cert("client.invalid", common_name=name).configure_cert(context)
    return context


def test_tls_carries_messages_small_and_large() -> None:
    with Broker(tls=server_context(), users={"u": "p"}) as broker:
        assert broker.url.startswith("amqps://")
        with amqp10.connect(broker.url, user="u", password="p", tls=client_context(), timeout=20) as connection:
            bodies = ["small", "x" * 3_000_000, b"y" * 100]
            for body in bodies:
                connection.send("q", body)
            receiver = connection.receiver("q")
            got = []
            for _ in bodies:
                message = receiver.receive(timeout=20)
                assert message is not None
                got.append(message.body)
                message.accept()
            assert got == bodies


def test_a_client_that_speaks_no_tls_or_does_not_trust_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with Broker(tls=server_context()) as broker:
        with socket.create_connection((broker.host, broker.port)) as plain:
            plain.sendall(b"AMQP\x00\x01\x00\x00")
            plain.settimeout(20)
            while plain.recv(1000):
                pass  # an alert, and the end
        with pytest.raises(AMQPError), amqp10.connect(broker.url, timeout=20, reconnect=None):
            pass
        with amqp10.connect(broker.url, tls=client_context(), timeout=20) as connection:
            connection.send("q", "x")
        assert broker.queue_length("q") == 1
    # Whoever likes to can do that as often as they like.
    assert [record for record in caplog.records if record.name == "amqp10.broker"] == []


def test_a_client_is_who_its_certificate_says() -> None:
    with Broker(tls=server_context(client_certificates=True)) as broker:
        with pytest.raises(AMQPError), amqp10.connect(broker.url, tls=client_context(), timeout=20, reconnect=None):
            pass
        with amqp10.connect(
            broker.url, tls=client_context("alice"), sasl=[ExternalMechanism()], timeout=20
        ) as connection:
            connection.send("q", "x")
        assert broker.queue_length("q") == 1


@pytest.mark.parametrize(
    ("host", "options", "warned"),
    [
        ("0.0.0.0", {}, True),
        ("0.0.0.0", {"users": {"u": "p"}}, False),
        ("127.0.0.1", {}, False),
        ("127.0.0.2", {}, False),
    ],
)
def test_a_broker_that_lets_the_whole_network_in_says_so(
    host: str, options: dict[str, dict[str, str]], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), Broker(host, **options):  # type: ignore[arg-type]
        pass
    assert ("lets everybody in" in caplog.text) is warned


@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6 here")
def test_a_broker_listens_on_ipv6() -> None:
    try:
        broker = Broker("::1").start()
    except OSError:
        pytest.skip("there is no IPv6 here")
    with broker, amqp10.connect(broker.url, timeout=20) as connection:
        assert broker.url.startswith("amqp://[::1]:")
        connection.send("q", "x")
    assert broker.queue_length("q") == 1


def test_a_client_with_a_thread_of_its_own_answers_the_close_of_a_broker_that_stops() -> None:
    broker = Broker().start()
    with amqp10.connect(broker.url, reconnect=None, timeout=20) as connection:
        connection.send("q", "x")
        broker.stop(timeout=20)  # which ends as soon as the client has answered
        with pytest.raises(AMQPError, match="stopping"):
            connection.send("q", "y")


def test_limits_and_single_options_go_together() -> None:
    with Broker(limits=Limits(max_links=1, max_queue_length=5), max_queue_length=1) as broker, AMQP() as amqp:
        amqp.connect_to(broker.host, broker.port)
        amqp.create_session("s")
        amqp.create_sender_link("s", "one", "q")
        with pytest.raises(AMQPError):
            amqp.create_sender_link("s", "two", "q")


def test_the_command_refuses_a_certificate_that_is_none(tmp_path: Path) -> None:
    pem = tmp_path / "no.pem"
    pem.write_text("nothing")
    for arguments in (["--tls-certificate", str(pem)], ["--tls-key", str(pem)]):
        result = CliRunner().invoke(commands, ["broker", "--port", "0", *arguments])
        assert result.exit_code != 0
        assert "certificate" in result.output


def test_the_command_serves_tls_streams_and_limits(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued = AUTHORITY.issue_cert("localhost", "127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    arguments = ["--port", "0", "--stream", "log", "--max-message-size", "1000"]
    arguments += ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "amqp10", "broker", *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        with amqp10.connect(url, tls=client_context(), timeout=20) as connection:
            connection.send("log", "x")
            for name in ("one", "two"):
                receiver = connection.receiver("log", stream=amqp10.Stream("first"), name=name)
                message = receiver.receive(timeout=20)
                assert message is not None
                assert message.body == "x"
            assert connection.sender("log").max_message_size == 1000
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def test_the_class_amqp_logs_in_over_tls() -> None:
    with Broker(tls=server_context(), users={"u": "p"}) as broker, AMQP() as amqp:
        amqp.ssl_enabled = True
        amqp.on_ssl_server_authentication = lambda event: setattr(event, "accept", True)
        amqp.auth_scheme = AuthScheme.smSASLPlain
        amqp.user, amqp.password = "u", "p"
        amqp.connect_to(broker.host, broker.port)
        assert amqp.connected

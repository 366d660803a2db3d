"""The amqp10 command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from amqp10 import AMQP
from amqp10.broker import Broker
from amqp10.cli import ask_password, commands, parse_url


def test_demo_runs_on_its_own_broker_and_shows_a_table() -> None:
    result = CliRunner().invoke(commands, ["demo", "--count", "400", "--size", "10"])
    assert result.exit_code == 0, result.output
    assert "400 accepted" in result.output
    assert "p50" in result.output


def test_demo_runs_on_a_broker_that_is_named() -> None:
    with Broker(users={"me": "s:cret"}) as broker:
        url = f"amqp://me:s%3Acret@{broker.host}:{broker.port}/there"
        result = CliRunner().invoke(commands, ["demo", "--url", url, "--count", "20"])
        assert result.exit_code == 0, result.output
        assert broker.queues() == ["there"]
        assert "s:cret" not in result.output


def test_error_is_one_line_and_exit_status_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-m", "amqp10", "demo", "--url", f"amqp://u:secret@127.0.0.1:{port}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "10061" in done.stderr
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.parametrize("url", ["http://x", "amqp://", "amqp://h:99999", "nonsense"])
def test_url_that_is_none_is_explained(url: str) -> None:
    result = CliRunner().invoke(commands, ["demo", "--url", url])
    assert result.exit_code == 1
    assert result.output.startswith("Error: --url: ")
    assert len(result.output.splitlines()) == 1


def test_url_is_taken_apart() -> None:
    target = parse_url("amqps://a%40b:p%2Fw@host/queues/x%20y")
    assert (target.host, target.port, target.address) == ("host", 5671, "/queues/x%20y")
    assert (target.user, target.password, target.tls) == ("a@b", "p/w", True)
    assert "p/w" not in repr(target)


def test_messages_of_others_stay_in_their_queue() -> None:
    with Broker() as broker, AMQP() as amqp:
        amqp.connect_to(broker.host, broker.port)
        amqp.create_session("s")
        amqp.create_sender_link("s", "l", "orders")
        amqp.message_settled = False
        for name in ("order-1", "order-2"):
            amqp.message_id = name
            amqp.send_message("l")
        while amqp.outgoing_message_count:
            amqp.do_events()
        result = CliRunner().invoke(commands, ["demo", "--url", f"{broker.url}/orders", "--count", "20"])
        assert result.exit_code == 1
        assert "orders holds messages of others" in result.output
        assert len(result.output.splitlines()) == 1
        ids = [message.properties and message.properties.message_id for message in broker.messages("orders")]
        assert ids == ["order-1", "order-2"]


def test_what_an_interrupted_demonstration_left_does_not_count_for_the_next() -> None:
    with Broker() as broker, AMQP() as amqp:
        amqp.connect_to(broker.host, broker.port)
        amqp.create_session("s")
        amqp.create_sender_link("s", "l", "demo")
        amqp.message_settled = False
        for i in range(5):
            amqp.message_id = f"amqp10-demo-0-{i}"
            amqp.send_message("l")
        while amqp.outgoing_message_count:
            amqp.do_events()
        result = CliRunner().invoke(commands, ["demo", "--url", f"{broker.url}/demo", "--count", "20"])
        assert result.exit_code == 0, result.output
        assert broker.queue_length("demo") == 0


def test_the_broker_command_leaves_the_signal_handlers_as_they_were() -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with socket.create_server(("127.0.0.1", 0)) as sock:
        result = CliRunner().invoke(commands, ["broker", "--port", str(sock.getsockname()[1])])
    assert result.exit_code == 1
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers


def test_a_port_that_is_taken_is_told_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        result = CliRunner().invoke(commands, ["broker", "--port", str(port)])
    assert result.exit_code == 1
    assert f"127.0.0.1:{port}" in result.output
    assert "--port" in result.output


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(
    ("command", "lines", "status"),
    [(["broker", "--port", "0"], 1, 0), (["demo", "--count", "10000000"], 2, 130)],
    ids=["broker", "demo"],
)
def test_ctrl_c_ends_either_command_without_a_traceback(command: list[str], lines: int, status: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "amqp10", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        for _ in range(lines):  # by then it is at work
            assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == status
        assert "Traceback" not in errors
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_broker_runs_until_it_is_told_to_stop() -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "amqp10", "broker", "--port", "0", "--user", "u:p"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = int(line.rsplit(":", 1)[1])
        with AMQP() as amqp:
            amqp.user, amqp.password = "u", "p"
            amqp.connect_to("127.0.0.1", port)
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "stopped" in rest
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


# -- passwords that are not on the command line -----------------------------------------------------------------------


def test_a_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQP10_PASSWORD", "s3cret")
    assert parse_url("amqp://me@host/q").password == "s3cret"
    assert parse_url("amqp://me:@host/q").password == "", "an empty one that is written down is one"
    assert parse_url("amqp://me:other@host/q").password == "other"
    assert parse_url("amqp://host/q").password == "", "nobody is logged in"
    with Broker(users={"me": "s3cret"}) as broker:
        url = f"amqp://me@{broker.host}:{broker.port}/there"
        result = CliRunner().invoke(commands, ["demo", "--url", url, "--count", "20"])
    assert result.exit_code == 0, result.output
    assert "s3cret" not in result.output


def test_a_password_is_asked_for_on_a_terminal_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AMQP10_PASSWORD", raising=False)
    asked: list[tuple[str, bool]] = []

    def prompt(text: str, *, hide_input: bool, err: bool) -> str:
        asked.append((text, hide_input))
        return "typed"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(click, "prompt", prompt)
    assert ask_password("me") == "typed"
    assert asked == [("Password for me", True)]


@pytest.mark.parametrize("command", [["demo", "--url", "amqp://me@host/q"], ["broker", "--port", "0", "--user", "me"]])
def test_without_a_terminal_a_missing_password_says_where_it_is_looked_for(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AMQP10_PASSWORD", raising=False)
    result = CliRunner().invoke(commands, command)
    assert result.exit_code == 2
    assert "AMQP10_PASSWORD" in result.output


def test_a_user_of_the_broker_gets_the_password_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQP10_PASSWORD", "p")
    users: dict[str, str] = {}

    def broker(host: str, port: int, *, users: dict[str, str], **_: object) -> Broker:
        seen.update(users)
        raise OSError("that is all")

    seen = users
    monkeypatch.setattr("amqp10.broker.Broker", broker)
    result = CliRunner().invoke(commands, ["broker", "--user", "one", "--user", "two:x"])
    assert result.exit_code == 1
    assert users == {"one": "p", "two": "x"}
    assert CliRunner().invoke(commands, ["broker", "--user", ":x"]).exit_code == 2

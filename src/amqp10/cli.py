"""The command ``amqp10``: the embedded broker, and a demonstration."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import click

from amqp10 import AMQP, __version__
from amqp10.component.enums import MessageState, ValueType
from amqp10.component.events import AMQPMessageInEventParams, AMQPMessageOutcomeEventParams, AMQPMessageOutEventParams
from amqp10.errors import AMQPError

if TYPE_CHECKING:
    from ssl import SSLContext
    from types import FrameType

__all__ = ["main"]

PASSWORD_VARIABLE = "AMQP10_PASSWORD"
_LATENCY_SAMPLES = 300
_ID_PREFIX = "amqp10-demo-"
_LOOK_SECONDS = 0.3
"""For how many seconds the demonstration looks for messages of others in a shared queue before it sends any."""


def main() -> None:
    """Entry point of the command: errors are one line on standard error and exit status 1."""
    try:
        commands(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.UsageError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(f"amqp10: {error.format_message()}", err=True)
        sys.exit(error.exit_code)
    except AMQPError as error:
        click.echo(f"amqp10: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        click.echo(f"amqp10: {error.strerror or error}", err=True)
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="amqp10")
def commands() -> None:
    """AMQP 1.0 from the command line."""


# -- broker ----------------------------------------------------------------------------------------------------------


def ask_password(user: str) -> str:
    """The password of a user, if it is not given on the command line, where everybody on the machine could read it.

    It is taken from the environment variable ``AMQP10_PASSWORD``, or asked for without being shown.

    Raises:
        click.UsageError: there is neither the variable nor a terminal.
    """
    password = os.environ.get(PASSWORD_VARIABLE)
    if password is not None:
        return password
    if not sys.stdin.isatty():
        raise click.UsageError(f"no password for {user}: set {PASSWORD_VARIABLE}, or run this on a terminal")
    answer: str = click.prompt(f"Password for {user}", hide_input=True, err=True)
    return answer


def _user(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    users = {}
    for value in values:
        name, separator, password = value.partition(":")
        if not name:
            # The message does not repeat the value, which may be a password.
            raise click.BadParameter("write NAME, or NAME:PASSWORD")
        users[name] = password if separator else ask_password(name)
    return users


def _server_tls(certificate: str, key: str | None) -> SSLContext:
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise click.ClickException(f"{certificate} does not have a certificate with its key: {error}") from error
    return context


@commands.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=5672, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 for a free one.")
@click.option(
    "--user",
    "users",
    multiple=True,
    metavar="NAME[:PASSWORD]",
    callback=_user,
    help=f"A user; others cannot log in. Without a password it is taken from {PASSWORD_VARIABLE}, or asked for."
    " Repeatable.",
)
@click.option(
    "--max-queue-length", default=0, type=click.IntRange(0), help="Most messages that wait in a queue; 0 for no limit."
)
@click.option("--max-message-size", type=click.IntRange(0), help="Largest message in bytes; 0 for no limit.")
@click.option("--max-bytes", type=click.IntRange(0), help="Most bytes in all queues together; 0 for no limit.")
@click.option("--max-connections", type=click.IntRange(0), help="Most clients at once; 0 for no limit.")
@click.option(
    "--stream",
    "streams",
    multiple=True,
    metavar="NAME",
    help="A stream, whose messages stay when they are read. Repeatable.",
)
@click.option(
    "--tls-certificate", type=click.Path(exists=True, dir_okay=False), help="Use TLS with this certificate chain (PEM)."
)
@click.option(
    "--tls-key",
    type=click.Path(exists=True, dir_okay=False),
    help="The private key of the certificate, if it is in another file.",
)
def broker(
    host: str,
    port: int,
    users: dict[str, str],
    streams: tuple[str, ...],
    tls_certificate: str | None,
    tls_key: str | None,
    **limits: int | None,
) -> None:
    """Run the embedded broker until Ctrl-C. It is for development and tests: messages are gone when it ends."""
    from amqp10.broker import Broker, Limits

    if tls_key is not None and tls_certificate is None:
        raise click.UsageError("--tls-key needs --tls-certificate")
    stop = threading.Event()

    def on_signal(_: int, __: FrameType | None) -> None:
        stop.set()

    given = {name: value for name, value in limits.items() if value is not None}
    tls = None if tls_certificate is None else _server_tls(tls_certificate, tls_key)
    embedded = Broker(host, port, users=users, tls=tls, streams=streams, limits=Limits(**given))
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        try:
            embedded.start()
        except OSError as error:
            taken = "; another one can be chosen with --port" if error.errno == errno.EADDRINUSE else ""
            reason = os.strerror(error.errno) if error.errno else error
            raise click.ClickException(f"cannot listen on {host}:{port}: {reason}{taken}") from error
        with embedded as running:
            click.echo(f"listening on {running.url}")
            stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    click.echo("stopped")


# -- demo ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """Where the demonstration goes."""

    host: str
    port: int
    address: str
    user: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False


def parse_url(url: str) -> Target:
    """``amqp://user:password@host:port/ADDRESS`` taken apart; ``amqps`` is TLS. A user without a password has it asked
    for, see :func:`ask_password`.

    Raises:
        click.ClickException: it is not of that form.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("amqp", "amqps"):
        raise click.ClickException("--url: the URL must start with amqp:// or amqps://")
    try:
        port = parts.port
    except ValueError:
        raise click.ClickException("--url: the port must be a number from 1 to 65535") from None
    if not parts.hostname:
        raise click.ClickException("--url: the URL names no host")
    tls = parts.scheme == "amqps"
    user = unquote(parts.username or "")
    address = parts.path
    # RabbitMQ's addresses start with a slash, other brokers' do not.
    if not address.startswith(("/queues/", "/exchanges/")):
        address = unquote(address.removeprefix("/"))
    return Target(
        host=parts.hostname,
        port=port or (5671 if tls else 5672),
        address=address or "amqp10-demo",
        user=user,
        password=unquote(parts.password) if parts.password is not None else ask_password(user) if user else "",
        tls=tls,
    )


@dataclass
class Report:
    """What the demonstration found."""

    sent: int = 0
    received: int = 0
    send_seconds: float = 0.0
    receive_seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)


@commands.command()
@click.option(
    "--url",
    default="",
    help="Another broker than the embedded one: amqp://user@host:port/ADDRESS. The password is taken from"
    f" {PASSWORD_VARIABLE}, or asked for.",
)
@click.option(
    "--count", default=5000, show_default=True, type=click.IntRange(1, 10_000_000), help="Number of messages."
)
@click.option(
    "--size", default=100, show_default=True, type=click.IntRange(0, 16_000_000), help="Size of each message, in bytes."
)
def demo(url: str, count: int, size: int) -> None:
    """Send messages through a broker, receive them, and show how it went."""
    with _place(url) as target:
        report = run_demo(target, count, size, _progress, shared=bool(url))
    _show(target, report, size)
    if report.received != count:
        raise click.ClickException(f"{count} messages were sent, but {report.received} came back")


@contextlib.contextmanager
def _place(url: str) -> Iterator[Target]:
    if url:
        yield parse_url(url)
        return
    from amqp10.broker import Broker

    with Broker() as running:
        click.echo(f"embedded broker on {running.url}")
        yield Target(running.host, running.port, "demo")


Progress = Callable[[str, int], contextlib.AbstractContextManager[Callable[[int], None]]]


@contextlib.contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, a line elsewhere. Gives a function that takes the number done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console()
    if not console.is_terminal:
        click.echo(f"{what} {total} messages")
        yield lambda done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)


def run_demo(target: Target, count: int, size: int, progress: Progress, *, shared: bool = False) -> Report:
    """Send ``count`` messages unsettled, receive them, and measure single round trips.

    Args:
        target: the broker and the queue.
        count: how many messages.
        size: bytes of text in each.
        progress: shows how far it is.
        shared: whether others may use the queue: then it has to be empty. What an earlier demonstration left is taken.

    Raises:
        AMQPError: the broker cannot be reached or used.
        click.ClickException: the queue holds messages of others. They stay there.
    """
    report = Report()
    run = f"{_ID_PREFIX}{os.urandom(4).hex()}-"
    with AMQP() as amqp:
        amqp.user = target.user
        amqp.password = target.password
        amqp.ssl_enabled = target.tls

        def on_outcome(event: AMQPMessageOutcomeEventParams) -> None:
            if event.direction == 1:
                report.outcomes[MessageState(event.state).name.lower()] += 1

        def on_out(_: AMQPMessageOutEventParams) -> None:
            report.sent += 1

        def on_in(event: AMQPMessageInEventParams) -> None:
            if event.message_id.startswith(run):
                report.received += 1
            elif not event.message_id.startswith(_ID_PREFIX):
                # The exception gives it back: a message whose handler fails is released.
                raise click.ClickException(
                    f"{target.address} holds messages of others, which the demonstration would take; it wants a queue"
                    " of its own"
                )

        amqp.on_message_outcome = on_outcome
        amqp.on_message_out = on_out
        amqp.on_message_in = on_in
        amqp.connect_to(target.host, target.port)
        amqp.create_session("demo")
        if shared:
            amqp.create_receiver_link("demo", "demo-look", target.address)
            quiet = time.perf_counter() + _LOOK_SECONDS
            while time.perf_counter() < quiet:
                amqp.do_events()
            amqp.close_link("demo-look")
        amqp.create_sender_link("demo", "demo-sender", target.address)
        amqp.message_settled = False
        amqp.message_value_type = ValueType.mvtString
        _send(amqp, report, run, count, size, progress)
        with progress("receiving", count) as show:
            start = time.perf_counter()
            amqp.create_receiver_link("demo", "demo-receiver", target.address)
            last, stalled = 0, time.perf_counter()
            while report.received < count:
                amqp.do_events()
                show(report.received)
                if report.received != last:
                    last, stalled = report.received, time.perf_counter()
                elif time.perf_counter() - stalled > 10:
                    break  # the command says how many came
            report.receive_seconds = time.perf_counter() - start
        amqp.close_link("demo-receiver")
    report.latencies.sort()
    return report


def _send(amqp: AMQP, report: Report, run: str, count: int, size: int, progress: Progress) -> None:
    value = "x" * size
    samples = min(_LATENCY_SAMPLES, count)
    with progress("sending", count) as show:
        # First one at a time, for the latency, then the rest as fast as they go.
        for i in range(samples):
            begin = time.perf_counter()
            amqp.message_id = f"{run}{i}"
            amqp.message_value = value
            amqp.send_message("demo-sender")
            while report.sent <= i:
                amqp.do_events()
            report.latencies.append(time.perf_counter() - begin)
        start = time.perf_counter()
        for i in range(samples, count):
            amqp.message_id = f"{run}{i}"
            amqp.send_message("demo-sender")
            if i % 500 == 0:
                show(report.sent)
        while report.sent < count:
            amqp.do_events()
            show(report.sent)
        show(count)
        report.send_seconds = time.perf_counter() - start if count > samples else sum(report.latencies)


def _show(target: Target, report: Report, size: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{target.host}:{target.port} {target.address}", show_header=True)
    table.add_column("")
    table.add_column("sent", justify="right")
    table.add_column("received", justify="right")
    bulk = max(1, report.sent - len(report.latencies)) if report.sent > len(report.latencies) else report.sent
    table.add_row("messages", f"{report.sent:,}", f"{report.received:,}")
    table.add_row(
        "messages/s",
        f"{bulk / max(report.send_seconds, 1e-9):,.0f}",
        f"{report.received / max(report.receive_seconds, 1e-9):,.0f}",
    )
    outcomes = ", ".join(f"{count:,} {name}" for name, count in sorted(report.outcomes.items())) or "none"
    table.add_row("outcomes", outcomes, "")
    latencies = report.latencies
    if latencies:
        p50 = latencies[len(latencies) // 2] * 1000
        p99 = latencies[len(latencies) * 99 // 100] * 1000
        table.add_row("latency p50 / p99", f"{p50:.2f} / {p99:.2f} ms", "")
    table.add_row("message size", f"{size:,} bytes", "")
    Console().print(table)

"""What only one of the drivers has to do: threads, signals, forks, loops that are blocked, TLS."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

import amqp10
from amqp10 import AMQPError, ConnectionLostError, ConnectionState, FirewallType, aio
from amqp10.broker import Broker
from amqp10.engine import PlainMechanism
from tests.component.relay_proxy import RelayProxy

# -- signals ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


CALLS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "send": lambda connection, sender, receiver: sender.send("x", timeout=30),
    "submit": lambda connection, sender, receiver: sender.submit("x", timeout=30),
    "receive": lambda connection, sender, receiver: receiver.receive(timeout=30),
    "receive_many": lambda connection, sender, receiver: receiver.receive_many(10, timeout=30),
    "next": lambda connection, sender, receiver: next(receiver),
    "flush": lambda connection, sender, receiver: sender.flush(timeout=30),
    "changes": lambda connection, sender, receiver: next(connection.changes()),
}


@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c_ends_the_call_and_not_the_connection(name: str, broker: Broker) -> None:
    with amqp10.connect(broker.url) as connection:
        # Nobody gives this sender credit: what it sends waits.
        sender = connection.sender("q", max_unsettled=1)
        if name == "flush":
            sender._core.open += 1
        elif name in ("send", "submit"):
            sender._core.unsettled = 1
        receiver = connection.receiver("empty")
        timer = threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            CALLS[name](connection, sender, receiver)
        timer.join()
        if name == "flush":
            sender._core.open -= 1
        sender._core.unsettled = 0
        assert connection.state is ConnectionState.OPEN
        assert isinstance(connection.send("still", "works"), amqp10.Accepted)
        assert broker.queue_length("q") == 0


def test_ctrl_c_while_connecting_leaves_no_thread_and_no_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        timer = threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            amqp10.connect(f"amqp://127.0.0.1:{silent.getsockname()[1]}", timeout=30)
        timer.join()
        accepted, _ = silent.accept()
        with accepted:
            accepted.settimeout(10)
            while accepted.recv(1000):
                pass
    for thread in threading.enumerate():
        if thread.name == "amqp10 connection":
            thread.join(5)
            assert not thread.is_alive()


def test_a_callback_that_waits_gets_an_error_at_once(broker: Broker) -> None:
    errors: list[BaseException] = []
    with amqp10.connect(broker.url) as connection:

        def done(delivery: Any) -> None:
            try:
                connection.send("q", "from a callback")
            except AMQPError as error:
                errors.append(error)

        delivery = connection.sender("q").submit("x")
        delivery.add_done_callback(done)
        delivery.result(10)
        end = time.monotonic() + 10
        while not errors and time.monotonic() < end:
            time.sleep(0.002)
    assert isinstance(errors[0], AMQPError)
    assert errors[0].code == 135


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_after_a_fork_the_child_gets_an_error(broker: Broker) -> None:
    program = f"""
import os, sys, amqp10
connection = amqp10.connect({broker.url!r})
sender = connection.sender("q")
pid = os.fork()
if pid == 0:
    try:
        sender.send("from the child")
    except amqp10.AMQPError as error:
        os._exit(7 if "fork" in str(error) else 8)
    os._exit(9)
_, status = os.waitpid(pid, 0)
sender.send("from the parent")
connection.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], timeout=60, check=False)
    assert done.returncode == 7
    assert broker.queue_length("q") == 1


# -- loops -----------------------------------------------------------------------------------------------------------


def test_another_thread_is_told_that_the_connection_belongs_to_a_loop(broker: Broker) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as connection:
            receiver = await connection.receiver("q")

            def elsewhere() -> None:
                with pytest.raises(AMQPError, match="event loop"):
                    receiver.pause()

            await asyncio.to_thread(elsewhere)

    asyncio.run(main(), debug=True)


def test_a_coroutine_of_another_loop_is_refused_and_leaves_nothing_that_was_never_awaited(broker: Broker) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as connection:
            sender = await connection.sender("q")
            codes: list[int] = []

            def elsewhere() -> None:
                for call in (lambda: sender.send("x"), sender.flush, lambda: connection.send("q", "x")):
                    with pytest.raises(AMQPError) as caught:
                        asyncio.run(call())
                    codes.append(caught.value.code)

            thread = threading.Thread(target=elsewhere)
            thread.start()
            await asyncio.to_thread(thread.join)
            assert codes == [211, 211, 211]

    asyncio.run(main())  # pytest reports a coroutine that was never awaited


def test_a_task_that_sends_and_waits_alone_has_its_message_written_without_another_turn(broker: Broker) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as connection:
            sender = await connection.sender("q")
            flushes = 0
            flush = connection._driver._flush

            def counted() -> None:
                nonlocal flushes
                flushes += 1
                flush()

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(connection._driver, "_flush", counted)
                for _ in range(10):
                    await sender.send("x")
            assert flushes == 10, "each is written when its task waits, and no end of a turn is asked for"

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["loop", "main thread"])
def test_a_program_that_computes_for_several_idle_time_outs_keeps_its_connection(kind: str) -> None:
    # Long enough for a machine whose other processes take the processor away for a moment.
    limit = 1.0

    def compute() -> int:
        end = time.monotonic() + 4 * limit
        count = 0
        while time.monotonic() < end:
            count += 1
        return count

    changes: list[Any] = []
    with Broker(idle_timeout=limit) as strict:
        if kind == "loop":

            async def main() -> None:
                async with aio.connect(strict.url, on_state=changes.append, idle_timeout=limit) as connection:
                    await connection.send("q", 1)
                    compute()
                    await connection.send("q", 2)

            asyncio.run(main())
        else:
            with amqp10.connect(strict.url, on_state=changes.append, idle_timeout=limit) as connection:
                connection.send("q", 1)
                compute()
                connection.send("q", 2)
    assert [change.state for change in changes][:2] in (
        [ConnectionState.OPEN],
        [ConnectionState.OPEN, ConnectionState.CLOSED],
    )


def test_a_connection_whose_loop_is_closed_is_not_kept_alive_for_ever() -> None:
    program = """
import asyncio, time
from amqp10 import aio
from amqp10.aio.guardian import GUARDIAN
from amqp10.broker import Broker
from amqp10.engine import PlainMechanism

with Broker(idle_timeout=0.2) as strict:
    async def main():
        connection = await aio.connect(strict.url)
        await connection.send("q", 1)
        assert GUARDIAN._watched
    asyncio.run(main())
    end = time.monotonic() + 20
    while GUARDIAN._watched and time.monotonic() < end:
        time.sleep(0.01)
    assert not GUARDIAN._watched
"""
    subprocess.run([sys.executable, "-W", "ignore::ResourceWarning", "-c", program], timeout=60, check=True)


def test_a_thousand_tasks_share_a_sender_and_a_receiver_in_debug_mode_without_a_complaint(broker: Broker) -> None:
    complaints: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        async with aio.connect(broker.url) as connection:
            sender = await connection.sender("q")
            receiver = await connection.receiver("q", prefetch=100)
            got: list[int] = []

            async def one(n: int) -> None:
                await sender.send(n)
                message = await receiver.receive()
                got.append(message.body)
                message.accept()

            await asyncio.gather(*(one(n) for n in range(1000)))
            assert sorted(got) == list(range(1000))
            core = sender._core
            assert (core.open, core.unsettled, len(core.turns), core.turns.granted) == (0, 0, 0, 0)

    asyncio.run(main(), debug=True)
    assert not complaints


def test_fifty_threads_share_a_sender_and_a_receiver(broker: Broker) -> None:
    each, threads = 40, 50
    lock = threading.Lock()
    got: list[tuple[int, int]] = []
    failures: list[BaseException] = []
    with amqp10.connect(broker.url) as connection:
        sender = connection.sender("q", max_unsettled=30)
        receiver = connection.receiver("q", prefetch=100)

        def work(number: int) -> None:
            try:
                for n in range(each):
                    sender.send([number, n], timeout=30)
                    message = receiver.receive(timeout=30)
                    with lock:
                        got.append(tuple(message.body))
                    assert message.accept()
            except BaseException as error:
                failures.append(error)
                raise

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert failures == []
        assert sorted(got) == [(number, n) for number in range(threads) for n in range(each)]
        core = sender._core
        assert (core.open, core.unsettled, len(core.turns), core.turns.granted) == (0, 0, 0, 0)
    assert len(broker.messages("q")) == 0


def test_cancelled_tasks_leave_neither_credit_nor_messages_behind(broker: Broker) -> None:
    async def main() -> None:
        async with aio.connect(broker.url) as connection:
            sender = await connection.sender("q", max_unsettled=20)
            receiver = await connection.receiver("q", prefetch=50)
            sent: list[int] = []
            got: list[int] = []

            async def send(n: int) -> None:
                await sender.send(n)
                sent.append(n)

            async def receive() -> None:
                while True:
                    message = await receiver.receive(timeout=None)
                    got.append(message.body)
                    message.accept()

            tasks = [asyncio.create_task(send(n)) for n in range(2000)]
            receivers = [asyncio.create_task(receive()) for _ in range(20)]
            for number, task in enumerate(tasks):
                if number % 7 == 0:
                    task.cancel()
                if number % 100 == 0:
                    receivers[number // 100 % 20].cancel()
                    receivers[number // 100 % 20] = asyncio.create_task(receive())
                    await asyncio.sleep(0)
            await asyncio.gather(*tasks, return_exceptions=True)
            await sender.flush()
            async with asyncio.timeout(20):
                while not set(sent) <= set(got):
                    await asyncio.sleep(0.005)
            for task in receivers:
                task.cancel()
            await asyncio.gather(*receivers, return_exceptions=True)
            core = sender._core
            async with asyncio.timeout(20):
                while core.unsettled:
                    await asyncio.sleep(0.005)
            assert (core.open, len(core.turns), core.turns.granted) == (0, 0, 0)
            assert (len(receiver._core.turns), receiver._core.unsettled) == (0, 0)

    asyncio.run(main())


def test_importing_the_package_does_not_import_asyncio_and_the_blocking_api_needs_no_openssl(broker: Broker) -> None:
    program = f"""
import sys, amqp10
assert "asyncio" not in sys.modules
with amqp10.connect({broker.url!r}) as connection:
    connection.send("q", "x")
assert "asyncio" not in sys.modules
assert "OpenSSL" not in sys.modules and "cryptography" not in sys.modules
amqp10.aio.connect
assert "asyncio" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)


# -- TLS -------------------------------------------------------------------------------------------------------------


class TlsRelay:
    """A TLS server that passes on what is inside to the broker, with a thread for each direction."""

    def __init__(self, broker: Broker, authority: trustme.CA) -> None:
        self._broker = broker
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"amqps://localhost:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                inside = self._context.wrap_socket(client, server_side=True)
            except (ssl.SSLError, ConnectionError):
                continue
            except OSError:
                return
            behind = socket.create_connection((self._broker.host, self._broker.port))
            for source, target in ((inside, behind), (behind, inside)):
                thread = threading.Thread(target=self._move, args=(source, target), daemon=True)
                self._threads.append(thread)
                thread.start()

    @staticmethod
    def _move(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            return
        finally:
            for end in (source, target):
                end.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def relay(broker: Broker, authority: trustme.CA) -> Iterator[TlsRelay]:
    running = TlsRelay(broker, authority)
    yield running
    running.close()


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_tls_carries_small_and_large_messages_in_both_apis(relay: TlsRelay, authority: trustme.CA) -> None:
    body = bytes(range(256)) * 4000

    async def main() -> None:
        async with aio.connect(relay.url, tls=trusting(authority)) as connection:
            await connection.send("q", "small")
            await connection.send("q", body)

    asyncio.run(main(), debug=True)
    with amqp10.connect(relay.url, tls=trusting(authority)) as connection, connection.receiver("q") as receiver:
        for expected in ("small", body):
            message = receiver.receive(timeout=20)
            assert message.body == expected
            message.accept()


def test_a_server_that_nobody_vouches_for_is_refused_by_default_and_not_tried_again(relay: TlsRelay) -> None:
    with pytest.raises(AMQPError) as refused:
        amqp10.connect(relay.url, timeout=20)
    assert refused.value.code == 280

    async def main() -> None:
        with pytest.raises(AMQPError) as refused:
            await aio.connect(relay.url, timeout=20)
        assert refused.value.code == 280

    asyncio.run(main())


def test_a_tls_context_without_a_tls_url_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="amqps"):
        amqp10.connect("amqp://localhost", tls=ssl.create_default_context())


# -- proxies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "scheme"),
    [(FirewallType.fwTunnel, "http"), (FirewallType.fwSOCKS5, "socks5h"), (FirewallType.fwSOCKS4, "socks4a")],
)
def test_both_apis_go_through_a_proxy_and_come_back_through_it(kind: FirewallType, scheme: str, broker: Broker) -> None:
    with RelayProxy(kind, (broker.host, broker.port)) as relay:
        proxy = f"{scheme}://{relay.host}:{relay.port}"
        url = "amqp://nowhere.invalid:5672"

        async def main() -> None:
            async with aio.connect(url, proxy=proxy) as connection:
                await connection.send("q", 1)
                broker.kill_connections()
                await connection.send("q", 2)

        asyncio.run(main(), debug=True)
        with amqp10.connect(url, proxy=proxy) as connection:
            connection.send("q", 3)
        assert len(relay.asked) == 3
        assert "nowhere.invalid" in relay.asked[0]


# -- faults ----------------------------------------------------------------------------------------------------------


class BrokenMechanism(PlainMechanism):
    """Somebody's mechanism that does not work."""

    starts = 0

    def start(self) -> bytes | None:
        type(self).starts += 1
        raise RuntimeError("no ticket")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_in_a_mechanism_ends_the_blocking_connection_and_is_not_tried_again(broker: Broker) -> None:
    BrokenMechanism.starts = 0
    with pytest.raises(ConnectionLostError):
        amqp10.connect(broker.url, sasl=[BrokenMechanism("u", "p")], plain_without_tls=True, timeout=20)
    assert BrokenMechanism.starts == 1


def test_a_fault_in_a_mechanism_ends_the_asyncio_connection_and_is_not_tried_again(broker: Broker) -> None:
    BrokenMechanism.starts = 0

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        with pytest.raises(ConnectionLostError) as lost:
            await aio.connect(broker.url, sasl=[BrokenMechanism("u", "p")], plain_without_tls=True, timeout=20)
        assert "no ticket" in str(lost.value)

    asyncio.run(main())
    assert BrokenMechanism.starts == 1


@pytest.mark.parametrize("wrong", [{"sasl": "EXTERNAL"}, {"sasl": ["PLAIN"]}, {"desired_capabilities": "abc"}])
def test_a_text_where_several_are_wanted_is_refused_at_once(broker: Broker, wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        amqp10.connect(broker.url, **wrong)
    with pytest.raises(TypeError):
        asyncio.run(ready(aio.connect(broker.url, **wrong)))
    with amqp10.connect(broker.url) as connection, pytest.raises(TypeError):
        connection.sender("q", capabilities="queue")


async def ready(connecting: Any) -> None:
    await connecting

"""Each call that waits is interrupted at each of its waits, on both drivers and against the embedded broker; what is
left is compared with a connection on which it was never made.

asyncio: the coroutine is stepped by hand, and its task is cancelled where it waits. Blocking: what the call waits at is
replaced by something that raises ``KeyboardInterrupt`` there. The broker is stalled except where a call has to go on,
so that nothing depends on who is faster.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
import trustme

import amqp10
from amqp10.blocking import driver as blocking_driver
from amqp10.broker import Broker
from amqp10.errors import LinkRefusedError
from amqp10.net.waiting import Waiter
from tests.client.operations import engine_state, state_of, stranded

AT_ONCE, TO_GO_ON = "before what it waits for", "after what it waits for"


class Peer(Protocol):
    """The other side, while a call is made."""

    def help(self) -> None:
        """Let the call go on."""
        ...

    def hold(self) -> None:
        """No further than to its next wait."""
        ...


class AioFront:
    """Calls of the asyncio API, from a loop that runs while one is made."""

    api = amqp10.aio

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = asyncio.new_event_loop()
        self.result: Any = None
        """What the last call gave that was not interrupted."""
        self.complaints: list[Any] = []
        self.loop.set_exception_handler(lambda loop, context: self.complaints.append(context))

    def run(self, call: Callable[[], Any]) -> Any:
        async def work() -> Any:
            return await call()

        return self.loop.run_until_complete(work())

    def interrupted(self, call: Callable[[], Any], waits: int, moment: str, peer: Peer) -> bool:
        """Make a call, and interrupt it at one of its waits. Returns whether it came so far."""
        stepped = Stepped(call, waits, moment, peer)
        try:
            self.result = self.run(lambda: stepped)
        except asyncio.CancelledError:
            assert stepped.waits == waits
            return True
        return False

    def following(self, iterator: Any) -> Any:
        return anext(iterator)

    def outcome(self, delivery: Any) -> Any:
        return delivery

    def stranded(self, connection: Any, delivery: Any) -> Any:
        """What looks as if somebody waited, when nobody does."""
        return stranded(connection._core, delivery)

    def at_rest(self, connection: Any) -> bool:
        """Whether the driver waits for nothing but bytes."""
        return not connection._driver._live_deadlines() and not asyncio.all_tasks(self.loop)

    async def rest(self) -> None:
        """Let the loop do what is left."""
        for _ in range(3):
            await asyncio.sleep(0)

    def ended(self, connection: Any) -> None:
        """Nothing of a connection that is closed is at work."""
        self.run(self.rest)
        assert not asyncio.all_tasks(self.loop)

    def close(self) -> None:
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        assert not self.complaints


class Stepped:
    """Awaits what a call returns, and cancels the task at one of its suspensions."""

    def __init__(self, call: Callable[[], Any], last: int, moment: str, peer: Peer) -> None:
        self.call = call
        self.last = last
        self.moment = moment
        self.peer = peer
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self.call().__await__()
        task = asyncio.current_task()
        assert task is not None
        error: BaseException | None = None
        while True:
            try:
                future = steps.send(None) if error is None else steps.throw(error)
            except StopIteration as stop:
                return stop.value
            error = None
            self.waits += 1
            if self.waits != self.last:
                self.peer.help()
            elif self.moment == AT_ONCE or future is None:
                task.cancel()
            else:
                self.peer.help()
                future.add_done_callback(lambda done: task.cancel())  # before it wakes the task
            try:
                yield future
            except BaseException as raised:  # noqa: BLE001 - it is raised where the call waits
                error = raised
            self.peer.hold()


class BlockingFront:
    """Calls of the blocking API."""

    api = amqp10.blocking

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stepped: SteppedThread | None = None
        self.result: Any = None
        self.thread = threading.get_ident()
        waiting, joining = Waiter.wait, threading.Thread.join

        def wait(waiter: Waiter, *arguments: Any, **named: Any) -> Any:
            return self.wait(lambda: waiting(waiter, *arguments, **named))

        monkeypatch.setattr(blocking_driver, "_new_gate", lambda: Gate(self))

        def join(thread: threading.Thread, timeout: float | None = None) -> None:
            self.wait(lambda: joining(thread, timeout))

        monkeypatch.setattr(Waiter, "wait", wait)
        monkeypatch.setattr(threading.Thread, "join", join)

    def wait(self, real: Callable[[], Any]) -> Any:
        stepped = self.stepped
        if stepped is None or threading.get_ident() != self.thread:
            return real()
        self.stepped = None
        try:
            return stepped.wait(real)
        finally:
            self.stepped = stepped

    def run(self, call: Callable[[], Any]) -> Any:
        return call()

    def interrupted(self, call: Callable[[], Any], waits: int, moment: str, peer: Peer) -> bool:
        """As on asyncio."""
        stepped = self.stepped = SteppedThread(waits, moment, peer)
        try:
            self.result = call()
        except KeyboardInterrupt:
            assert stepped.waits >= waits  # it may wait for a thread to end when it has been interrupted
            return True
        finally:
            self.stepped = None
        return False

    def following(self, iterator: Any) -> Any:
        return next(iterator)

    def outcome(self, delivery: Any) -> Any:
        return delivery.result()

    def stranded(self, connection: Any, delivery: Any) -> Any:
        with connection._driver.lock:
            return stranded(connection._core, delivery)

    def at_rest(self, connection: Any) -> bool:
        return not connection._driver._calls

    def rest(self) -> None:
        return

    def ended(self, connection: Any) -> None:
        thread = connection._driver._thread
        thread.join(20)
        assert not thread.is_alive()

    def close(self) -> None:
        return


class SteppedThread:
    """The waits of one call, of which the last is interrupted."""

    def __init__(self, last: int, moment: str, peer: Peer) -> None:
        self.last = last
        self.moment = moment
        self.peer = peer
        self.waits = 0

    def wait(self, real: Callable[[], Any]) -> Any:
        self.waits += 1
        if self.waits == self.last and self.moment == AT_ONCE:
            raise KeyboardInterrupt
        self.peer.help()
        try:
            return real()
        finally:
            # Another thread that wakes it with an exception makes no difference.
            self.peer.hold()
            if self.waits == self.last:
                raise KeyboardInterrupt


class Gate:
    """What a caller waits at."""

    def __init__(self, front: BlockingFront) -> None:
        self.lock = threading.Lock()
        self.front = front

    def acquire(self, timeout: float = -1) -> bool:
        if not self.lock.locked():
            return self.lock.acquire()
        taken: bool = self.front.wait(lambda: self.lock.acquire(timeout=timeout))
        return taken

    def release(self) -> None:
        self.lock.release()


class Scene:
    """A connection that is used for one call."""

    def __init__(self, front: Any, broker: Broker, other: Any) -> None:
        self.front = front
        self.broker = broker
        self.other = other
        """A connection of somebody else."""
        self.delivers = False
        """Whether there is to be a message for the receiver."""
        self.sender: Any = None
        self.receiver: Any = None
        self.session: Any = None
        self.delivery: Any = None
        self.message: Any = None
        self.changes: Any = None
        self.connection = self.run(lambda: front.api.connect(broker.url, timeout=20))
        self.still = self.run(lambda: self.connection.receiver("still"))
        self.use()

    def run(self, call: Callable[[], Any]) -> Any:
        return self.front.run(call)

    def use(self) -> None:
        """Send a message and receive it. All that the broker has to say about what was before is here then."""
        self.run(lambda: self.connection.send("still", "works"))
        message = self.run(lambda: self.still.receive(timeout=20))
        assert message.body == "works"
        assert message.accept()

    # -- what was before -------------------------------------------------------------------------------------------

    def sending(self) -> None:
        """A sender that waits for the outcome of each message, and has sent one."""
        self.sender = self.run(lambda: self.connection.sender("q", max_unsettled=1))
        self.submit()

    def sending_on_a_session(self) -> None:
        self.session = self.run(self.connection.session)
        self.sender = self.run(lambda: self.session.sender("q"))
        self.submit()

    def submit(self) -> None:
        self.broker.stall()
        self.delivery = self.run(lambda: self.sender.submit("first"))

    def receiving(self, **options: Any) -> None:
        self.receiver = self.run(lambda: self.connection.receiver("q", **options))
        self.delivers = True

    def receiving_by_hand(self) -> None:
        self.receiving(prefetch=0)

    def receiving_nothing(self) -> None:
        self.receiving(prefetch=0)
        self.delivers = False

    def with_credit(self) -> None:
        self.receiving(prefetch=0)
        self.receiver.add_credit(5)

    def with_settle_mode_second(self) -> None:
        self.receiving(confirm="second")
        self.help()
        self.message = self.run(lambda: self.receiver.receive(timeout=20))
        self.broker.stall()
        self.message.accept()

    def watching(self) -> None:
        self.changes = self.connection.changes()

    # -- meanwhile -------------------------------------------------------------------------------------------------

    def help(self) -> None:
        self.broker.resume()
        if self.delivers:
            self.delivers = False
            self.other.send("q", "for the receiver")

    def hold(self) -> None:
        self.broker.stall()

    # -- afterwards ------------------------------------------------------------------------------------------------

    def pick_up(self) -> None:
        """The message goes to the next who asks."""
        message = self.run(lambda: self.receiver.receive(timeout=20))
        assert message.body == "for the receiver"
        assert message.accept()

    def send_another(self) -> None:
        self.run(lambda: self.connection.send("q", "another"))

    def request_again(self) -> None:
        assert self.run(lambda: self.connection.request("rpc", "again")).body == "again"

    def left(self) -> dict[str, Any]:
        """All that a call could leave behind."""
        core = self.connection._core
        return {
            "connection": (core.state, core.closing, type(core.error), None if core.over else core.next_due()),
            "core": (len(core._over_waits), len(core.listeners), len(core.unwritten), len(core.sessions)),
            "links": [self.left_of(link) for session in core.sessions for link in session.links],
            "engine": engine_state(core.incarnation and core.incarnation.engine),
            "requests": [(len(link._under_way), link._attaching) for link in self.connection._requests._links.values()],
            "senders": list(self.connection._senders),
        }

    @staticmethod
    def left_of(link: Any) -> dict[str, Any]:
        state = state_of(link)
        if not link.is_receiver or link.spec.dynamic:
            # How much credit a sender has is the broker's business, and how many responses came does not matter.
            state["link"] = link.stage
        return state

    def close(self) -> list[Any]:
        """Returns the bodies of what is in the queue then."""
        self.run(self.connection.close)
        self.front.ended(self.connection)
        bodies = [amqp10.Message.decode(message.encode()).body for message in self.broker.messages("q")]
        self.broker.purge("q")
        return bodies


@dataclass(frozen=True)
class Case:
    """A call.

    Attributes:
        call: makes it.
        before: what is there before.
        after: what the program does next: with this, what is kept for it is there, and what was under way is over.
        queue: what is in the queue in the end, if all of it was written.
        closes: whether it closes the connection.
        helped: whether it goes on when it is helped.
    """

    call: Callable[[Scene], Any]
    before: Callable[[Scene], None] = lambda scene: None
    after: Callable[[Scene], None] = lambda scene: None
    queue: tuple[str, ...] = ()
    closes: bool = False
    helped: bool = True


CASES: dict[str, Case] = {
    "attach a sender": Case(lambda s: s.connection.sender("new")),
    "attach a receiver": Case(lambda s: s.connection.receiver("new")),
    "submit": Case(lambda s: s.sender.submit("x"), Scene.sending, queue=("first", "x")),
    "send": Case(lambda s: s.sender.send("x"), Scene.sending, queue=("first", "x")),
    "send settled": Case(lambda s: s.sender.send("x", settled=True), Scene.sending, queue=("first", "x")),
    "send many": Case(lambda s: s.sender.send_many(["x", "y", "z"]), Scene.sending, queue=("first", "x", "y", "z")),
    "send to an address": Case(lambda s: s.connection.send("q", "x"), after=Scene.send_another, queue=("x", "another")),
    "outcome": Case(lambda s: s.front.outcome(s.delivery), Scene.sending, queue=("first",)),
    "flush": Case(lambda s: s.sender.flush(), Scene.sending, queue=("first",)),
    "receive": Case(lambda s: s.receiver.receive(), Scene.receiving, Scene.pick_up),
    "receive by hand": Case(lambda s: s.receiver.receive(), Scene.receiving_by_hand, Scene.pick_up),
    "receive by hand in vain": Case(lambda s: s.receiver.receive(), Scene.receiving_nothing, helped=False),
    "receive many": Case(lambda s: s.receiver.receive_many(10), Scene.receiving, Scene.pick_up),
    "iterate": Case(lambda s: s.front.following(s.receiver), Scene.receiving, Scene.pick_up),
    "drain": Case(lambda s: s.receiver.drain(), Scene.receiving, Scene.pick_up),
    "drain by hand": Case(lambda s: s.receiver.drain(), Scene.with_credit, Scene.pick_up),
    "settled": Case(lambda s: s.message.settled(), Scene.with_settle_mode_second),
    "request": Case(lambda s: s.connection.request("rpc", "x"), after=Scene.request_again),
    "request once more": Case(lambda s: s.connection.request("rpc", "x"), Scene.request_again, Scene.request_again),
    "changes": Case(lambda s: s.front.following(s.changes), Scene.watching, helped=False),
    "close a sender": Case(
        lambda s: s.sender.close(), Scene.sending, lambda s: s.run(s.sender.close), queue=("first",)
    ),
    "close a receiver": Case(
        lambda s: s.receiver.close(),
        Scene.receiving,
        lambda s: s.run(s.receiver.close),
        queue=("for the receiver",),
    ),
    "close a session": Case(
        lambda s: s.session.close(), Scene.sending_on_a_session, lambda s: s.run(s.session.close), queue=("first",)
    ),
    "close a connection": Case(
        lambda s: s.connection.close(),
        Scene.sending,
        lambda s: s.run(s.connection.close),
        queue=("first",),
        closes=True,
    ),
}


def play(case: Case, scene: Scene, waits: int, moment: str = AT_ONCE) -> tuple[dict[str, Any], bool]:
    """Interrupt a call at one of its waits; 0: it is not made.

    Returns:
        What is left, and whether the call came so far.
    """
    case.before(scene)
    scene.hold()
    interrupted = False
    try:
        if waits:
            interrupted = scene.front.interrupted(lambda: case.call(scene), waits, moment, scene)
        if interrupted:
            assert scene.front.stranded(scene.connection, scene.delivery) == {}
    finally:
        scene.help()
    if interrupted or not waits:
        case.after(scene)
        if not case.closes:
            scene.use()
            scene.use()
            assert scene.front.at_rest(scene.connection)
    left = scene.left()
    left["queue"] = scene.close()
    return left, interrupted


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


@pytest.fixture(scope="module")
def other(broker: Broker) -> Iterator[Any]:
    """A connection of somebody else, who answers requests."""
    with amqp10.connect(broker.url) as connection:

        def serve() -> None:
            for request in connection.receiver("rpc"):
                response = amqp10.Message(request.body, correlation_id=request.correlation_id)
                with contextlib.suppress(LinkRefusedError):  # whoever asked is gone
                    connection.send(request.reply_to, response)
                request.accept()

        thread = threading.Thread(target=serve)
        thread.start()
        yield connection
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture(params=[AioFront, BlockingFront], ids=["aio", "blocking"])
def front(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    front = request.param(monkeypatch)
    yield front
    front.close()


@pytest.mark.parametrize("name", CASES)
def test_an_interrupted_call_leaves_nothing_behind(name: str, front: Any, broker: Broker, other: Any) -> None:
    case = CASES[name]
    never, _ = play(case, Scene(front, broker, other), 0)
    queued = never.pop("queue")
    for waits in range(1, 20 if case.helped else 2):
        for moment in (AT_ONCE, TO_GO_ON)[: 1 + case.helped]:
            left, interrupted = play(case, Scene(front, broker, other), waits, moment)
            if not interrupted:
                assert waits > 1
                return
            queue = left.pop("queue")
            assert left == never, (waits, moment)
            assert all(body in queue for body in queued)
            written = iter(case.queue)
            assert all(body in written for body in queue), "they are in order"
    assert not case.helped, "the call has more waits than were stepped through"


class Server:
    """A broker to connect to."""

    def __init__(self, broker: Broker, other: Any, options: dict[str, Any]) -> None:
        self.broker = broker
        self.other = other
        self.options = options
        self.help = broker.resume
        self.hold = broker.stall

    def descriptors(self, front: Any) -> int:
        """How many files and sockets this process, and with it the broker, has open."""
        for _ in range(3):
            # The broker accepts, sees the end and closes in that many turns.
            self.other.send("still", "there")
        front.run(front.rest)
        return sum(1 for _ in Path("/dev/fd").iterdir())


@pytest.fixture(scope="module", params=["TCP", "TLS"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options: dict[str, Any] = {}
    context = None
    if request.param == "TLS":
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        options["tls"] = tmp_path_factory.mktemp("ca") / "ca.pem"
        authority.cert_pem.write_to_path(options["tls"])
    with Broker(tls=context) as broker, amqp10.connect(broker.url, **options) as other:
        yield Server(broker, other, options)


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="descriptors cannot be counted here")
@pytest.mark.parametrize("moment", [AT_ONCE, TO_GO_ON])
def test_an_interrupted_connect_leaves_no_socket_and_no_thread(moment: str, front: Any, server: Server) -> None:
    def connect() -> Any:
        return front.api.connect(server.broker.url, timeout=20, **server.options)

    front.run(front.run(connect).close)
    threads, files = threading.active_count(), server.descriptors(front)
    for waits in range(1, 40):
        server.hold()
        try:
            interrupted = front.interrupted(connect, waits, moment, server)
        finally:
            server.help()
        if not interrupted:
            front.run(front.result.close)
            break
        assert server.descriptors(front) == files, waits
        assert threading.active_count() == threads, waits
    else:
        raise AssertionError("the call has more waits than were stepped through")
    assert waits > 1

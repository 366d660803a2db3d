"""What the tests of cancellation have in common: a connection on which something can be left behind, and each operation
with what makes it wait and what lets it go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from amqp10.aio.hot import SenderMethods
from amqp10.client import operations as ops
from amqp10.client.changes import Changes
from amqp10.client.message import Message
from amqp10.client.options import receiver_spec, sender_spec
from amqp10.client.received import ReceivedMessage
from amqp10.client.requests import Requests
from amqp10.client.wait import Waits
from amqp10.engine import SessionRequested
from amqp10.errors import AMQPTimeoutError
from amqp10.wire.messaging import ACCEPTED
from tests.client.fake import Rig

__all__ = ["CASES", "TIME_IS_UP", "Case", "Scene", "engine_state", "state_of", "stranded"]


class Scene:
    """A connection with a sender that has no credit and three receivers."""

    def __init__(self) -> None:
        self.rig = Rig(credit=0).connect()
        self.core = self.rig.core
        self.sender = self.rig.sender()
        self.receiver = self.rig.receiver()
        self.manual = self.rig.receiver("manual", prefetch=0)
        self.second = self.rig.receiver("second", confirm="second")
        self.requests = Requests(self.core)
        self.senders: dict[str, Any] = {}
        self.session = self.core.default_session()
        self.message: Any = None
        self.result: Any = None
        self.delivery: Any = None
        self.changes: Any = None
        self.news = Waits(self.rig.driver)

    @property
    def peer(self) -> Any:
        return self.rig.peer

    # -- what the peer does ----------------------------------------------------------------------------------------

    def peers(self, address: str) -> list[Any]:
        """The peer's links to or from an address."""
        return [link for link in self.peer.links if address in (link.source.address, link.target.address)]

    def credit(self) -> None:
        """Credit for one message on every link that has none."""
        for link in self.peer.links:
            if link.is_receiver and link.credit == 0:
                link.flow(1)

    def accept(self) -> None:
        self.peer.accept()

    def deliver(self, address: str) -> None:
        """One message to each receiver from an address that has credit."""
        for link in self.peers(address):
            if not link.is_receiver and link.credit:
                link.send(Message(f"from {address}").encode())

    def respond(self) -> None:
        """Answer the requests that are here, as a service does."""
        for delivery in self.peer.received:
            request = Message.decode(delivery.payload)
            for link in self.peers("made-up"):
                if request.reply_to == "made-up" and not delivery.settled:
                    delivery.settle(ACCEPTED)
                    link.send(Message("response", correlation_id=request.correlation_id).encode())

    def be_silent(self) -> None:
        """Links are not answered before :meth:`answer`."""
        self.peer._requested = self._kept.append

    def answer(self) -> None:
        peer = self.peer
        peer.__dict__.pop("_requested", None)
        kept, self._kept[:] = self._kept[:], []
        for event in kept:
            if not event.link.detached:
                peer._requested(event)

    @property
    def _kept(self) -> list[Any]:
        kept: list[Any] = self.peer.__dict__.setdefault("kept", [])
        return kept

    def hold_drains(self) -> None:
        self.peer.answers_drains = False

    def drained(self) -> None:
        self.peer.answers_drains = True
        for link in self.peer.links:
            if not link.is_receiver and link.drain:
                link.drained()

    def cut(self) -> None:
        """The connection is lost, and the server cannot be reached."""
        self.rig.unreachable = True
        self.rig.transport.cut()

    def reachable(self) -> None:
        self.rig.unreachable = False
        self.rig.driver.advance(120)

    def be_narrow(self) -> None:
        """Small frames, and one of them on a session before the peer has said that it takes more."""

        def prepare(peer: Any) -> None:
            peer.engine.max_frame_size = 512
            handle = peer.handle

            def accept(events: list[Any]) -> None:
                for event in events:
                    if isinstance(event, SessionRequested):
                        event.session.accept(incoming_window=1)
                handle(events)

            peer.handle = accept

        self.rig.prepare = prepare
        self.cut()
        self.reachable()
        self.peer.receiver.flow(5)

    # -- what was before -------------------------------------------------------------------------------------------

    def submitted(self) -> None:
        """A message that has no outcome yet."""
        self.credit()
        self.rig.driver.settle()
        self.delivery = self.rig.run(self.sender.submit("before", False, None))

    def listening(self) -> None:
        self.changes = Changes(self.core)

    def accepted_second(self) -> None:
        """A message whose settling the sender has not confirmed."""
        self.deliver("second")
        self.rig.driver.settle()
        self.message = self.rig.run(self.second.receive(None))
        self.message.accept()

    def confirm(self) -> None:
        for link in self.peers("second"):
            for delivery in list(link.unsettled.values()):
                delivery.settle()

    def requested(self) -> None:
        """A request that has its response: the links for more are here."""
        task = self.rig.start(self.request())
        for help in (self.credit, self.respond):
            help()
            self.rig.driver.settle()
        task.value()

    def request(self) -> Coroutine[Any, Any, Any]:
        return self.requests.request("rpc", "x", False, None, ReceivedMessage)

    async def coming(self) -> AsyncIterator[str]:
        """Two messages that the program has to wait for."""
        for body in ("x", "y"):
            await self.news.wait(None)
            yield body

    def send_many(self, messages: list[Any] | AsyncIterator[Any]) -> Coroutine[Any, Any, Any]:
        methods: Any = SenderMethods()
        methods._core = self.sender
        methods._driver = SimpleNamespace(check_thread=lambda: None, deadline=lambda timeout: None)
        work: Coroutine[Any, Any, Any] = methods.send_many(messages)
        return work

    async def send_after(self, large: str, *small: str, settled: bool) -> None:
        """Send a message, which needs many frames, and then others."""
        self.delivery = await self.sender.submit(large, settled, None)
        for body in small:
            await ops.send(self.sender, body, settled, None)

    # -- what comes after ------------------------------------------------------------------------------------------

    def pick_up(self) -> None:
        """Accept every message that has arrived."""
        messages = self.result if isinstance(self.result, list) else [self.result]
        for receiver in (self.receiver, self.manual):
            while (message := receiver.try_receive()) is not None:
                messages.append(message)
        for message in messages:
            if isinstance(message, ReceivedMessage):
                assert message.accept()

    def keep_sender(self) -> None:
        """Have the sender to the address that is kept."""
        self.rig.run(ops.cached_sender(self.core, self.senders, "another", None))
        self.credit()

    def keep_request_links(self) -> None:
        self.requested()
        self.credit()

    # -- what is left ----------------------------------------------------------------------------------------------

    def stranded(self) -> dict[str, int]:
        """What looks as if somebody waited, when nobody does."""
        found = stranded(self.core, self.delivery)
        if self.changes is not None and self.changes._waits:
            found["changes"] = len(self.changes._waits)
        over = [sender for sender in (self.senders | self.requests._senders).values() if sender.error is not None]
        if over:
            found["senders that are kept and over"] = len(over)
        return found

    def held(self) -> list[Any]:
        """The bodies of what has been sent and not written, as the session window holds it back."""
        link = self.sender.link
        return [] if link is None else [c.context.message.body for c in link.pending if c.delivery_id < 0]

    def left(self) -> dict[str, Any]:
        """All that an operation could leave behind."""
        core = self.rig.core
        return {
            "connection": (core.state, core.closing, type(core.error), core.next_due(), core.upkeep.running),
            "core": (len(core._over_waits), len(core.listeners), len(core.touched), len(core.unwritten)),
            "tasks": sum(not task.done for task in self.rig.driver.tasks),
            "transports": sum(transport.live for transport in self.rig.driver.transports),
            "sessions": [len(session.links) for session in core.sessions],
            "links": [state_of(link) for session in core.sessions for link in session.links],
            "engine": engine_state(core.incarnation and core.incarnation.engine),
            "peer's engine": engine_state(self.peer.engine),
            "peer's credit": [(link.credit, link.is_receiver) for link in self.peer.links],
            "under way": [(len(link._under_way), link._attaching) for link in self.requests._links.values()],
            "senders": list(self.senders),
            "written": self.peer.bodies,
            "waits of others": (
                self.delivery and (self.delivery.done, self.delivery._waits or None),
                self.changes and (len(self.changes._waits), len(self.changes._kept)),
            ),
        }


def state_of(link: Any) -> dict[str, Any]:
    state: dict[str, Any] = {
        "link": (link.address, link.stage, link.credit),
        "waits": len(link._ready) + len(link._gone),
    }
    state["turns"] = (len(link.turns), link.turns.granted)
    state["unsettled"] = link.unsettled
    if link.is_receiver:
        state["queue"] = (len(link.queue), link._last)
        state["credit"] = (link.window.paused, link._asked, link._drain_sent)
        state["waits"] += len(link._draining) + len(link._settling)
    else:
        state["open"] = (link.open, link.unsettled_bytes, len(link.again), link.cautious, len(link._unwritten))
        state["waits"] += len(link._idle)
    return state


def engine_state(engine: Any) -> list[Any]:
    return (
        []
        if engine is None
        else [
            (
                sorted(len(name) for name, _ in session.links),
                len(session.remote_handles),
                len(session.outgoing_unsettled),
                len(session.incoming_unsettled),
                len(session.backlog),
            )
            for session in engine.channels.outgoing.values()
        ]
    )


def stranded(core: Any, delivery: Any) -> dict[str, int]:
    """What looks as if somebody waited.

    Args:
        core: the connection.
        delivery: the only one that the program has; None if it has none.
    """
    links = [link for session in core.sessions for link in session.links]
    senders = [link for link in links if not link.is_receiver]
    found = {
        "waits": sum(state_of(link)["waits"] for link in links) + len(core._over_waits),
        "turns": sum(len(link.turns) for link in links),
        "waits for the outcome": len((delivery and delivery._waits) or ()),
        "deliveries": sum(link.open for link in senders) - (delivery is not None and not delivery.done),
    }
    return {what: number for what, number in found.items() if number}


TIME_IS_UP = AMQPTimeoutError("the time is up")

Step = Callable[[Scene], object]


@dataclass(frozen=True)
class Case:
    """An operation.

    Attributes:
        begin: calls it.
        before: what makes it wait.
        helps: what lets it go on where it waits, in order; an error is raised there.
        after: what the program does next: with this it has what is kept for it, and has nothing left to do.
        goes_on: whether it goes on when it is interrupted, as a close does.
        partly: the same operation for as much as was written; None: it writes nothing, or all.
    """

    begin: Callable[[Scene], Coroutine[Any, Any, Any]]
    before: tuple[Step, ...] = ()
    helps: tuple[Step | AMQPTimeoutError, ...] = ()
    after: Step = lambda scene: None
    goes_on: bool = False
    partly: Callable[[Scene], Coroutine[Any, Any, Any]] | None = None


def receiving(begin: Callable[[Scene], Coroutine[Any, Any, Any]], address: str) -> Case:
    return Case(begin, helps=(lambda s: s.deliver(address),), after=Scene.pick_up)


def closing(begin: Callable[[Scene], Coroutine[Any, Any, Any]]) -> Case:
    return Case(begin, before=(Scene.submitted,), helps=(Scene.accept,), goes_on=True)


def five_credits(scene: Scene) -> None:
    scene.manual.add_credit(5)


CASES: dict[str, Case] = {
    "attach sender": Case(
        lambda s: ops.attach_sender(s.session, sender_spec("new", {}), None),
        before=(Scene.be_silent,),
        helps=(Scene.answer,),
    ),
    "attach receiver": Case(
        lambda s: ops.attach_receiver(s.session, receiver_spec("new", {}), None),
        before=(Scene.be_silent,),
        helps=(Scene.answer,),
    ),
    "submit": Case(lambda s: s.sender.submit("x", False, None), helps=(Scene.credit, Scene.accept)),
    "submit settled": Case(lambda s: s.sender.submit("x", True, None), helps=(Scene.credit,)),
    "send": Case(lambda s: ops.send(s.sender, "x", False, None), helps=(Scene.credit, Scene.accept)),
    "send while the connection is down": Case(
        lambda s: ops.send(s.sender, "x", False, None),
        before=(Scene.cut,),
        helps=(Scene.reachable, Scene.credit, Scene.accept),
    ),
    "send many": Case(
        lambda s: s.send_many(["x", "y"]),
        helps=(Scene.credit, Scene.accept, Scene.credit, Scene.accept),
        partly=lambda s: s.send_many(["x"]),
    ),
    "send many as they come": Case(
        lambda s: s.send_many(s.coming()),
        helps=(lambda s: s.news.set(), Scene.credit, Scene.accept) * 2,
        partly=lambda s: s.send_many(["x"]),
    ),
    "send what the session window holds back": Case(
        lambda s: s.send_after("large " * 300, "small", settled=False),
        before=(Scene.be_narrow,),
        helps=(Scene.accept, Scene.accept),
        partly=lambda s: s.send_after("large " * 300, settled=False),
    ),
    "send settled what the session window holds back": Case(
        lambda s: s.send_after("large " * 300, "small", settled=True),
        before=(Scene.be_narrow,),
        partly=lambda s: s.send_after("large " * 300, settled=True),
    ),
    "send to an address": Case(
        lambda s: ops.send_to(s.core, s.senders, "another", "x", None),
        before=(Scene.be_silent,),
        helps=(Scene.answer, Scene.credit, Scene.accept),
        after=Scene.keep_sender,
    ),
    "outcome": Case(lambda s: s.delivery._wait_outcome(None), before=(Scene.submitted,), helps=(Scene.accept,)),
    "flush": Case(lambda s: s.sender.flush(None), before=(Scene.submitted,), helps=(Scene.accept,)),
    "receive": receiving(lambda s: s.receiver.receive(None), "orders"),
    "receive many": receiving(lambda s: s.receiver.receive_many(10, None), "orders"),
    "manual receive": receiving(lambda s: s.manual.receive(None), "manual"),
    "manual receive many": receiving(lambda s: s.manual.receive_many(10, None), "manual"),
    "manual receive that has timed out": Case(
        lambda s: s.manual.receive(None), before=(Scene.hold_drains,), helps=(TIME_IS_UP, Scene.drained)
    ),
    "manual receive with credit of the program's": Case(
        lambda s: s.manual.receive(None), before=(five_credits,), helps=(TIME_IS_UP,)
    ),
    "drain": Case(
        lambda s: s.receiver.drain(None),
        before=(Scene.hold_drains,),
        helps=(lambda s: s.deliver("orders"), Scene.drained),
        after=Scene.pick_up,
    ),
    "manual drain": Case(
        lambda s: s.manual.drain(None),
        before=(Scene.hold_drains, five_credits),
        helps=(lambda s: s.deliver("manual"), Scene.drained),
        after=Scene.pick_up,
    ),
    "settled": Case(
        lambda s: s.second.wait_settled(s.message._delivery, None),
        before=(Scene.accepted_second,),
        helps=(Scene.confirm,),
    ),
    "request": Case(
        Scene.request,
        before=(Scene.be_silent,),
        helps=(Scene.answer, Scene.credit, Scene.respond),
        after=Scene.keep_request_links,
    ),
    "request again": Case(Scene.request, before=(Scene.requested,), helps=(Scene.credit, Scene.respond)),
    "request while the connection is down": Case(
        Scene.request, before=(Scene.requested, Scene.cut), helps=(Scene.reachable, Scene.credit, Scene.respond)
    ),
    "changes": Case(lambda s: s.changes.next(), before=(Scene.listening,), helps=(Scene.cut, Scene.reachable)),
    "wait for the link": Case(lambda s: s.sender.wait_back(None), before=(Scene.cut,), helps=(Scene.reachable,)),
    "close a sender": closing(lambda s: ops.close_link(s.sender, None)),
    "close a receiver": Case(
        lambda s: ops.close_link(s.receiver, None), before=(Scene.hold_drains,), helps=(Scene.drained,), goes_on=True
    ),
    "close a session": closing(lambda s: ops.close_session(s.session, None)),
    "close a connection": closing(lambda s: ops.close_connection(s.core, None)),
}

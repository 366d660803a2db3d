"""Two engines joined in memory, random legal traffic both ways, and bytes that arrive in pieces and when they like.

Either side begins and ends sessions, attaches and detaches links, grants and drains credit, sends, aborts, settles.
Nothing waits for the other side, so everything crosses everything. An auditor at each end checks what the engine
writes with books of its own; the model here knows which messages must arrive, and which outcome each must get.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from amqp10.engine import (
    Connection,
    ConnectionFailed,
    ConnectionOpened,
    DeliveriesUpdated,
    DeliveryAborted,
    EndpointRole,
    IncomingDelivery,
    LinkAttached,
    LinkDetached,
    LinkEndpoint,
    LinkFlow,
    LinkRequested,
    OutgoingDelivery,
    ReceiverLink,
    SenderLink,
    Session,
    SessionBegun,
    SessionEnded,
    SessionRequested,
)
from amqp10.errors import ProtocolError
from amqp10.wire.messaging import ACCEPTED, RELEASED, Modified, Rejected, Source, Target
from amqp10.wire.performatives import Error, ReceiverSettleMode, SenderSettleMode
from tests.examples import examples
from tests.fuzz.auditor import Auditor

ENDS = st.sampled_from([0, 1])
PICK = st.integers(0, 1 << 16)
STATES: list[Any] = [
    ACCEPTED,
    RELEASED,
    Modified(delivery_failed=True),
    Rejected(error=Error(condition="test:no", description="no")),
]
REACHED: Counter[str] = Counter()


class End:
    """One engine, what it has asked for, and what it has been told."""

    def __init__(self, engine: Connection, name: str) -> None:
        self.engine = engine
        self.audit = Auditor(name)
        self.inbox = b""
        self.sessions: list[Session] = []
        self.asked: list[LinkEndpoint | Session] = []
        self.links: list[LinkEndpoint] = []
        self.arrived: dict[LinkEndpoint, list[bytes]] = {}
        self.taken: dict[IncomingDelivery, bytes] = {}
        self.open: list[IncomingDelivery] = []
        self.sent: dict[LinkEndpoint, list[OutgoingDelivery]] = {}
        self.outcomes: dict[OutgoingDelivery, Any] = {}
        self.events: list[Any] = []

    def living(self, kind: type[Any]) -> list[Any]:
        return [link for link in self.links if isinstance(link, kind) and link.attached]

    def take(self, events: list[Any]) -> None:
        for event in events:
            REACHED[type(event).__name__] += 1
            assert not isinstance(event, ConnectionFailed), event
            if isinstance(event, IncomingDelivery):
                assert not event.partial
                self.arrived[event.link].append(self.taken.pop(event, b"") + event.payload)
                if not event.settled:
                    self.open.append(event)
            elif isinstance(event, SessionRequested):
                self.sessions.append(event.session)
                self.asked.append(event.session)
            elif isinstance(event, LinkRequested):
                self.adopt(event.link)
                self.asked.append(event.link)
            elif isinstance(event, DeliveriesUpdated):
                self.update(event)
            elif isinstance(event, (SessionEnded, LinkDetached)):
                assert event.error is None or event.error.condition == "test:no", event

    def session_of(self, link: LinkEndpoint) -> Session:
        return next(session for session in self.sessions if session is link.session)

    def adopt(self, link: LinkEndpoint) -> None:
        self.links.append(link)
        if isinstance(link, ReceiverLink):
            self.arrived[link] = []
            link.streaming = len(self.links) % 2 == 0
        else:
            self.sent[link] = []

    def take_parts(self) -> bool:
        """Take the parts of all messages that are arriving on links with streaming. Returns whether there were any."""
        waiting = [link for link in self.living(ReceiverLink) if link.held]
        for link in waiting:
            self.taken[link.partial] = self.taken.get(link.partial, b"") + b"".join(link.partial.take_parts())
            REACHED["parts taken"] += 1
        return bool(waiting)

    def update(self, event: DeliveriesUpdated) -> None:
        for delivery in event.deliveries:
            if event.settled:
                assert delivery not in self.outcomes, "a delivery was settled twice"
                self.outcomes[delivery] = event.state
            elif not delivery.settled:
                # The receiver waits for this side to settle first (receiver settle mode second).
                delivery.settle()
                assert delivery not in self.outcomes
                self.outcomes[delivery] = event.state
                REACHED["settled second"] += 1


class Traffic(RuleBasedStateMachine):
    """The rules. Whatever is illegal now is not tried, except that a sender without credit must be refused."""

    def __init__(self) -> None:
        super().__init__()
        self.names = 0
        self.pairs: dict[str, dict[bool, tuple[End, LinkEndpoint]]] = {}
        """By the name of a link: its sending and its receiving end."""
        self.settled_by: dict[IncomingDelivery, Any] = {}

    @initialize(
        frames=st.tuples(st.sampled_from([512, 700, 4096]), st.sampled_from([512, 700, 4096])),
        window=st.integers(1, 6),
        start=st.sampled_from([0, 0x7FFFFFF8, 0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF]),
        count=st.sampled_from([0, 0x7FFFFFFD, 0xFFFFFFF8, 0xFFFFFFFE, 0xFFFFFFFF]),
    )
    def connect(self, frames: tuple[int, int], window: int, start: int, count: int) -> None:
        self.window = window
        self.ends = [
            End(
                Connection(
                    role,
                    container_id=role.name,
                    max_frame_size=size,
                    channel_max=3,
                    initial_outgoing_id=start,
                    initial_delivery_count=count,
                ),
                role.name,
            )
            for role, size in zip(EndpointRole, frames, strict=True)
        ]
        for end in self.ends:
            end.engine.start(0)
        self.settle_down()
        for which, end in enumerate(self.ends):
            assert end.engine.remote_open is not None
            self.begin(which)
        # Something to begin with: a link each way on each of two sessions.
        self.come_to_rest()
        for which in (0, 1):
            for number in (0, 1):
                self.attach(which, number, number == 0, SenderSettleMode.MIXED, ReceiverSettleMode(which), 3)
        self.come_to_rest()

    # -- bytes -----------------------------------------------------------------------------------------------------

    def collect(self, which: int) -> None:
        """Audit what an engine has to say, and put it on its way."""
        end = self.ends[which]
        data = b"".join(end.engine.data_to_send(0))
        end.audit.sent(data)
        self.ends[1 - which].inbox += data

    def hand_over(self, which: int, size: int) -> None:
        end = self.ends[which]
        data, end.inbox = end.inbox[:size], end.inbox[size:]
        if not data:
            return
        end.audit.received(data)
        events = end.engine.receive_data(data, 0)
        end.take(events)
        self.collect(which)

    def settle_down(self) -> None:
        """Until nothing is under way any more."""
        for which in (0, 1):
            self.collect(which)
        while any(end.inbox for end in self.ends):
            for which in (0, 1):
                self.hand_over(which, len(self.ends[which].inbox))

    @rule(which=ENDS, size=st.one_of(st.integers(1, 40), st.integers(1, 3000)))
    def deliver(self, which: int, size: int) -> None:
        self.hand_over(which, size)

    @rule()
    def deliver_everything(self) -> None:
        self.settle_down()

    # -- sessions --------------------------------------------------------------------------------------------------

    def some(self, test: Any) -> bool:
        return any(test(end) for end in getattr(self, "ends", ()))

    @precondition(lambda self: self.some(lambda end: len(end.engine.sessions) < 2))
    @rule(which=ENDS)
    def begin(self, which: int) -> None:
        end = self.ends[which]
        if len(end.engine.sessions) + len(self.ends[1 - which].engine.sessions) < 3:
            end.sessions.append(end.engine.begin(incoming_window=self.window, handle_max=9))
            self.collect(which)

    @precondition(lambda self: self.some(lambda end: end.asked))
    @rule(which=ENDS, refuse=st.booleans(), pick=PICK)
    def answer(self, which: int, refuse: bool, pick: int) -> None:
        end = self.ends[which]
        if not end.asked:
            return
        asked = end.asked.pop(pick % len(end.asked))
        self.answer_one(end, asked, refuse=refuse and pick % 3 == 0)
        self.collect(which)

    def answer_one(self, end: End, asked: LinkEndpoint | Session, *, refuse: bool) -> None:
        no = ProtocolError("no", condition="test:no")
        if isinstance(asked, Session):
            if refuse:
                asked.end(no)
            else:
                asked.accept(incoming_window=self.window)
        elif refuse:
            asked.refuse(no)
        else:
            # A peer may attach right after its begin, before that has been answered; the answers have their order.
            end.session_of(asked).accept(incoming_window=self.window)
            asked.accept()

    @rule(which=ENDS, pick=PICK, fault=st.booleans())
    def end(self, which: int, pick: int, fault: bool) -> None:
        end = self.ends[which]
        living = [session for session in end.sessions if session.mapped]
        if living and pick % 6 == 0:
            living[pick % len(living)].end(ProtocolError("no", condition="test:no") if fault else None)
            self.collect(which)

    @rule(which=ENDS, pick=PICK)
    def echo(self, which: int, pick: int) -> None:
        end = self.ends[which]
        living = [session for session in end.sessions if session.can_send]
        links = [link for link in end.links if link.attached]
        if links and pick % 2:
            links[pick % len(links)].send_flow(echo=True)
        elif living:
            living[pick % len(living)].send_flow(echo=True)
        self.collect(which)

    # -- links -----------------------------------------------------------------------------------------------------

    @rule(
        which=ENDS,
        pick=PICK,
        sender=st.booleans(),
        snd=st.sampled_from(list(SenderSettleMode)),
        rcv=st.sampled_from(list(ReceiverSettleMode)),
        credit=st.integers(0, 5),
    )
    def attach(self, which: int, pick: int, sender: bool, snd: Any, rcv: Any, credit: int) -> None:
        end = self.ends[which]
        living = [session for session in end.sessions if session.can_send and len(session.links) < 4]
        if not living:
            return
        session = living[pick % len(living)]
        self.names += 1
        attach = session.attach_sender if sender else session.attach_receiver
        options: dict[str, Any] = {"source": Source(address="a"), "target": Target(address="b")}
        link = attach(f"link-{self.names}", **options, snd_settle_mode=snd, rcv_settle_mode=rcv)
        end.adopt(link)
        if isinstance(link, ReceiverLink) and credit:
            # Credit may be granted before the sender has answered.
            link.flow(credit)
        self.collect(which)

    @precondition(lambda self: self.some(lambda end: any(link.detached for link in end.links)))
    @rule(which=ENDS, pick=PICK)
    def attach_again_under_a_name_that_is_free(self, which: int, pick: int) -> None:
        end = self.ends[which]
        gone = [link for link in end.links if link.detached and link.local_request and link.session.can_send]
        if not gone:
            return
        old = gone[pick % len(gone)]
        session = end.session_of(old)
        if (old.name, old.is_receiver) in session.links or len(session.links) > 3:
            return
        attach = session.attach_receiver if old.is_receiver else session.attach_sender
        end.adopt(attach(old.name, source=Source(address="a"), target=Target(address="b")))
        REACHED["attached again"] += 1
        self.collect(which)

    @rule(which=ENDS, pick=PICK, closed=st.booleans(), fault=st.booleans())
    def detach(self, which: int, pick: int, closed: bool, fault: bool) -> None:
        end = self.ends[which]
        links = [link for link in end.links if link.state.name in ("ATTACHED", "ATTACH_SENT")]
        if links and pick % 4 == 0:
            error = ProtocolError("no", condition="test:no") if fault else None
            links[pick % len(links)].detach(closed=closed, error=error)
            self.collect(which)

    @precondition(lambda self: self.some(lambda end: end.living(ReceiverLink)))
    @rule(which=ENDS, pick=PICK, credit=st.integers(0, 7), drain=st.booleans(), echo=st.booleans())
    def flow(self, which: int, pick: int, credit: int, drain: bool, echo: bool) -> None:
        links = self.ends[which].living(ReceiverLink)
        if links:
            links[pick % len(links)].flow(credit, drain=drain, echo=echo)
            self.collect(which)

    @precondition(lambda self: self.some(lambda end: any(link.drain for link in end.living(SenderLink))))
    @rule(which=ENDS)
    def give_credit_back(self, which: int) -> None:
        for link in self.ends[which].living(SenderLink):
            link.drained()
        self.collect(which)

    # -- messages --------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.some(lambda end: end.living(SenderLink)))
    @rule(
        which=ENDS,
        pick=PICK,
        sizes=st.lists(st.sampled_from([0, 1, 40, 465, 700, 1500, 3000]), min_size=1, max_size=4),
        settled=st.booleans(),
        at_once=st.booleans(),
    )
    def send(self, which: int, pick: int, sizes: list[int], settled: bool, at_once: bool) -> None:
        end = self.ends[which]
        links = end.living(SenderLink)
        if not links:
            return
        # Mostly where there is credit.
        links = [link for link in links if link.credit > 0 and pick % 8] or links
        link = links[pick % len(links)]
        if link.snd_settle_mode != SenderSettleMode.MIXED:
            settled = link.snd_settle_mode == SenderSettleMode.SETTLED
        for size in sizes:
            payload = b"%d/%s/" % (len(end.sent[link]), link.name.encode()) + bytes(size)
            if link.credit <= 0:
                with pytest.raises(ProtocolError):
                    link.send(payload, settled=settled)
            elif at_once:
                end.sent[link] += link.send_many([payload], [None], settled=settled)
            else:
                end.sent[link].append(link.send(payload[:3], payload[3:], settled=settled))
        self.collect(which)

    @precondition(lambda self: self.some(lambda end: any(link.credit for link in end.living(SenderLink))))
    @rule(which=ENDS, pick=PICK, size=st.sampled_from([10, 3000, 6000]))
    def send_and_think_better_of_it(self, which: int, pick: int, size: int) -> None:
        end = self.ends[which]
        links = [
            link for link in end.living(SenderLink) if link.credit and link.snd_settle_mode != SenderSettleMode.SETTLED
        ]
        if links:
            link = links[pick % len(links)]
            delivery = link.send(bytes(size))
            end.sent[link].append(delivery)
            if not delivery.complete:
                delivery.abort()
            self.collect(which)

    @precondition(lambda self: self.some(lambda end: end.engine.backlogged))
    @rule(which=ENDS, pick=PICK)
    def abort(self, which: int, pick: int) -> None:
        if not self.ends[which].engine.backlogged:
            which = 1 - which
        end = self.ends[which]
        pending = [delivery for link in end.living(SenderLink) for delivery in link.pending if not delivery.aborted]
        if pending:
            # Mostly one of which a part is on its way.
            pending = [delivery for delivery in pending if delivery.sent and pick % 4] or pending
            pending[pick % len(pending)].abort()
            self.collect(which)

    @precondition(lambda self: self.some(lambda end: end.open))
    @rule(which=ENDS, pick=PICK, state=st.sampled_from(STATES), several=st.integers(1, 6))
    def settle(self, which: int, pick: int, state: Any, several: int) -> None:
        end = self.ends[which]
        for _ in range(several):
            if end.open:
                self.settle_one(end, end.open[pick % len(end.open)], state)
        self.collect(which)

    def settle_one(self, end: End, delivery: IncomingDelivery, state: Any) -> None:
        end.open.remove(delivery)
        second = delivery.link.rcv_settle_mode == ReceiverSettleMode.SECOND
        if not delivery.remote_settled and not delivery.settled:
            self.settled_by[delivery] = state
        if second and not delivery.remote_settled:
            delivery.update(state)
        else:
            delivery.settle(state)

    @precondition(lambda self: self.some(lambda end: any(s.outgoing_unsettled for s in end.sessions)))
    @rule(which=ENDS, pick=PICK, state=st.sampled_from(STATES))
    def sender_settles_first(self, which: int, pick: int, state: Any) -> None:
        end = self.ends[which]
        unsettled = [d for session in end.sessions for d in session.outgoing_unsettled.values() if d.complete]
        if unsettled and pick % 3 == 0:
            unsettled[pick % len(unsettled)].settle(state)
            REACHED["sender settled first"] += 1
            self.collect(which)

    @precondition(lambda self: self.some(lambda end: any(link.held for link in end.living(ReceiverLink))))
    @rule(which=ENDS)
    def take_parts(self, which: int) -> None:
        if self.ends[which].take_parts():
            self.collect(which)

    # -- what must always hold -------------------------------------------------------------------------------------

    @invariant()
    def links_and_their_session_know_the_same_deliveries(self) -> None:
        for end in getattr(self, "ends", ()):
            for session in end.sessions:
                if session.mapped:
                    links = [link for link in end.links if link.session is session]
                    sent = {i: d for link in links if not link.is_receiver for i, d in link.unsettled.items()}
                    received = {i: d for link in links if link.is_receiver for i, d in link.unsettled.items()}
                    assert sent == session.outgoing_unsettled
                    assert received == session.incoming_unsettled

    # -- what must hold when everything has come to rest ------------------------------------------------------------

    @rule()
    @precondition(lambda self: self.names)
    def everything_sent_has_arrived(self) -> None:
        self.come_to_rest()

    def come_to_rest(self) -> None:
        for _ in range(3):
            for which, end in enumerate(self.ends):
                while end.asked:
                    self.answer_one(end, end.asked.pop(0), refuse=False)
                self.collect(which)
            self.settle_down()
        while any(end.take_parts() for end in self.ends):
            for which in (0, 1):
                self.collect(which)
            self.settle_down()
        for which, end in enumerate(self.ends):
            other = self.ends[1 - which]
            assert all(not session.window.held for session in end.sessions if session.mapped)
            for link in end.living(SenderLink):
                self.check_link(end, other, link)

    def check_link(self, end: End, other: End, link: SenderLink) -> None:
        twin = next(
            peer
            for peer in other.living(ReceiverLink)
            if peer.name == link.name and peer.session.remote_channel == link.session.channel
        )
        assert not link.pending or link.held_back, "at rest the window has let everything out that has credit"
        held = list(link.pending)
        if held:
            REACHED["held back"] += 1
        expected = [d.payload for d in end.sent[link] if not d.aborted and d not in held]
        assert other.arrived[twin] == expected, "lost, doubled or out of order"
        assert twin.partial is None
        assert (link.delivery_count - len(held)) & 0xFFFFFFFF == twin.delivery_count
        assert link.credit == twin.credit

    def teardown(self) -> None:
        if not hasattr(self, "ends"):
            return
        self.come_to_rest()
        for which, end in enumerate(self.ends):
            for link in end.living(ReceiverLink):
                link.flow(20)
            self.collect(which)
        self.come_to_rest()
        for which, end in enumerate(self.ends):
            assert all(not link.pending for link in end.living(SenderLink))
            for delivery in list(end.open):
                self.settle_one(end, delivery, ACCEPTED)
            self.collect(which)
        self.settle_down()
        for which, end in enumerate(self.ends):
            other = self.ends[1 - which]
            for link in end.living(SenderLink):
                self.check_outcomes(end, other, link)
            for session in end.sessions:
                if session.mapped:
                    living = [d for d in session.outgoing_unsettled.values() if d.link.attached]
                    assert living == [], "settled by both sides, and still kept"
                    assert [d for d in session.incoming_unsettled.values() if d.link.attached] == []
                    assert all(not d.link.closing for d in session.outgoing_unsettled.values())
                    assert all(not d.link.closing for d in session.incoming_unsettled.values())
        first = self.names % 2
        self.ends[first].engine.close()
        if self.names % 3 == 0:
            self.ends[1 - first].engine.close()
        self.settle_down()
        for end in self.ends:
            assert end.engine.finished
            REACHED.update(end.audit.seen)

    def check_outcomes(self, end: End, other: End, link: SenderLink) -> None:
        said = {
            delivery.delivery_id: state
            for delivery, state in self.settled_by.items()
            if delivery.link.name == link.name
            and delivery.link in other.arrived
            and delivery.link.session.remote_channel == link.session.channel
            and delivery.link.attached
        }
        for delivery in end.sent[link]:
            if delivery in end.outcomes:
                assert end.outcomes[delivery] is not None
                assert end.outcomes[delivery] == said[delivery.delivery_id], "another outcome than the receiver's"
            else:
                assert delivery.settled, "no outcome for a delivery that was not settled from here"


def test_random_legal_traffic_loses_nothing_doubles_nothing_and_overruns_nothing() -> None:
    REACHED.clear()
    run_state_machine_as_test(
        Traffic,
        settings=settings(
            max_examples=examples(300),
            stateful_step_count=70,
            report_multiple_bugs=False,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        ),
    )
    # The rules are only worth what they reach.
    missing = [
        what
        for what in (
            ConnectionOpened.__name__,
            SessionBegun.__name__,
            SessionEnded.__name__,
            LinkAttached.__name__,
            LinkDetached.__name__,
            LinkFlow.__name__,
            IncomingDelivery.__name__,
            DeliveriesUpdated.__name__,
            DeliveryAborted.__name__,
            "continued",
            "parts taken",
        )
        if not REACHED[what]
    ]
    assert missing == []

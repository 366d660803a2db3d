"""What becomes of each message in flight when something ends: the table of docs/outcomes.md, cell by cell."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amqp10 import AMQP, AMQPError, MessageState, OutcomeDirection, ValueType
from amqp10.engine import SessionRequested
from amqp10.errors import ProtocolError
from amqp10.wire.message import Message
from amqp10.wire.messaging import ACCEPTED, Released
from tests.component.server import Peer, Server, client, faster
from tests.component.test_events_rules import code_of, pump
from tests.component.test_sending import grant

ROOT = Path(__file__).parents[2]
TABLE: dict[str, Any] = json.loads((ROOT / "tests/data/endings.json").read_text("utf-8"))
OURS = {"close_link()": "link", "close_session()": "session", "disconnect()": "", "reset()": ""}
HANDLERS = ("on_message_in", "on_message_outcome", "on_error")
GONE = ProtocolError("the queue is gone", condition="amqp:resource-deleted")


def cells(column: str, *wheres: str) -> list[Any]:
    """Each end, from each place from which it can be asked for."""
    return [
        pytest.param(end, where, row[column], id=f"{end} {where}")
        for end, row in TABLE["ends"].items()
        for where in (wheres if end in OURS else ("outside",))
    ]


def ending(end: str, amqp: AMQP, server: Server, link: str) -> Callable[[], None]:
    """What makes something end."""

    def by_peer(peer: Peer) -> None:
        if end == "the connection is lost":
            peer.flush()
            peer.write()
            peer.cut()
        elif end == "the peer closes":
            peer.engine.close(GONE)
        elif end == "the peer ends the session":
            peer.link(link).session.end(GONE)
        else:
            peer.link(link).detach(error=GONE if end.endswith("with an error") else None)

    return {
        "close_link()": lambda: amqp.close_link(link),
        "close_session()": lambda: amqp.close_session("s"),
        "disconnect()": amqp.disconnect,
        "reset()": amqp.reset,
    }.get(end, lambda: server.do(by_peer))


class Program:
    """A program that listens to everything, and ends something from one of its handlers."""

    def __init__(self, server: Server, *links: str) -> None:
        self.server = server
        self.amqp = client(server, *links, "in<", "ok>", "other>")
        self.amqp.message_value_type = ValueType.mvtString
        self.amqp.message_settled = False
        self.errors: list[str] = []
        self.seen: list[str] = []
        self.told: list[tuple[int, str, int]] = []
        self.act: Callable[[], None] | None = None
        self.acting = ""
        self.amqp.on_error = self.on_error
        self.amqp.on_message_in = self.on_message_in
        self.amqp.on_message_outcome = self.on_message_outcome

    def _now(self, where: str) -> None:
        if self.acting == where and self.act is not None:
            act, self.act = self.act, None
            act()

    def on_error(self, event: Any) -> None:
        self.errors.append(event.description)
        self._now("on_error")

    def on_message_in(self, event: Any) -> None:
        self.seen.append(self.amqp.received_message_value)
        event.state = MessageState.Modified
        self._now("on_message_in")

    def on_message_outcome(self, event: Any) -> None:
        self.told.append((event.direction, event.message_id, event.state))
        self._now("on_message_outcome")

    def send(self, link: str, *ids: str) -> None:
        for name in ids:
            self.amqp.message_id = self.amqp.message_value = name
            self.amqp.send_message(link)

    def _settle_trigger(self, peer: Peer) -> None:
        for held in self.server.held:
            if held.link.name == "ok":
                held.settle(ACCEPTED)

    def end(self, where: str, act: Callable[[], None]) -> None:
        """Have something end, from a handler or outside."""
        if where == "outside":
            act()
            return
        self.act, self.acting = act, where
        if where == "on_message_in":
            self.server.put("in", "trigger")
        elif where == "on_error":
            self.server.do(lambda peer: peer.link("other").detach(error=GONE))
        else:
            self.send("ok", "trigger")
            self.server.wait_for(lambda: any(held.link.name == "ok" for held in self.server.held))
            self.server.do(self._settle_trigger)
        pump(self.amqp, lambda: self.act is None)


def check_unsent(program: Program, becomes: str, ids: list[str], written: bool) -> None:
    """The messages are accounted for as the table says."""
    amqp = program.amqp
    if becomes in ("reported", "cleared"):
        pump(amqp, lambda: amqp.outgoing_message_count == 0)
    told = [text for text in program.errors if all(repr(name) in text for name in ids)]
    assert len(told) == 1, program.errors
    assert ("may have arrived" if written else "never sent") in told[0]
    if becomes != "cleared":
        assert [message.message_id for message in amqp.undelivered_messages] == ids
        assert [message.written for message in amqp.undelivered_messages] == [written] * len(ids)
        assert [Message.decode(message.payload).value for message in amqp.undelivered_messages] == ids
    if becomes == "kept":
        assert [amqp.get_outgoing_message_id(i) for i in range(amqp.outgoing_message_count)] == ids
        amqp.connect_to(program.server.host, program.server.port)
        assert amqp.outgoing_message_count == 0
        assert amqp.undelivered_messages == ()
    # No outcome was made up.
    assert not [entry for entry in program.told if entry[0] == OutcomeDirection.Received and entry[1] in ids]


def end_and_see_it(program: Program, end: str, where: str, link: str) -> None:
    """Have something end. An end of the connection that was not asked for is raised by the call that works it."""
    amqp = program.amqp
    program.end(where, ending(end, amqp, program.server, link))
    if end in ("the peer closes", "the connection is lost"):
        with pytest.raises(AMQPError) as caught:
            pump(amqp, lambda: False)
        program.errors.append(caught.value.message)
    elif end == "disconnect()" and where == "outside":
        # So that a loop that waits for outcomes ends.
        with pytest.raises(AMQPError, match="the connection was closed here") as caught:
            amqp.do_events()
        assert [message.message_id for message in caught.value.undelivered]
        amqp.do_events()


@pytest.mark.parametrize(("end", "where", "becomes"), cells("unsettled", "outside", *HANDLERS))
def test_messages_without_an_outcome_are_accounted_for(end: str, where: str, becomes: str) -> None:
    with Server(hold={"disposition"}) as server:
        program = Program(server, "out>")
        program.send("out", "u1", "u2")
        server.wait_for(lambda: len(server.held) == 2)
        end_and_see_it(program, end, where, "out")
        check_unsent(program, becomes, ["u1", "u2"], written=True)
        program.amqp.disconnect()


@pytest.mark.parametrize(("end", "where", "becomes"), cells("waiting", "outside", *HANDLERS))
def test_a_message_that_waits_for_the_window_is_accounted_for(end: str, where: str, becomes: str) -> None:
    with Server(hold={"disposition"}) as server:
        program = Program(server, "out>")
        amqp = program.amqp
        if where == "on_message_outcome":
            # Its message goes before the window closes.
            program.send("ok", "trigger")
            server.wait_for(lambda: len(server.held) == 1)
        server.do(lambda peer: grant(peer, 0))
        pump(amqp, lambda: not amqp.get_link_ready_to_send(0))
        amqp.timeout = 0
        program.send("out", "w1")
        assert not amqp.ready_to_send
        amqp.timeout = 10
        if where == "on_message_outcome":
            program.act, program.acting = ending(end, amqp, server, "out"), where
            server.do(lambda peer: server.held[0].settle(ACCEPTED))
            pump(amqp, lambda: program.act is None)
        else:
            end_and_see_it(program, end, where, "out")
        check_unsent(program, becomes, ["w1"], written=False)
        assert "w1" not in server.texts()
        amqp.disconnect()


@pytest.mark.parametrize("what", ["credit", "window"])
@pytest.mark.parametrize(("end", "where", "becomes"), cells("waiting", "on_message_in"))
def test_a_call_that_waits_to_send_raises_and_has_not_sent(end: str, where: str, becomes: str, what: str) -> None:
    with Server(hold={"disposition"}, credit=0 if what == "credit" else 10) as server:
        program = Program(server, "out>")
        amqp = program.amqp
        act = ending(end, amqp, server, "out")
        if end in OURS:
            program.act, program.acting = act, where
            if what == "window":
                server.do(lambda peer: grant(peer, 0))
                pump(amqp, lambda: not amqp.get_link_ready_to_send(0))
            server.put("in", "trigger")
        else:
            if what == "window":
                server.do(lambda peer: grant(peer, 0))
                pump(amqp, lambda: not amqp.get_link_ready_to_send(0))
            act()  # waits in the socket until the call looks there
        with pytest.raises(AMQPError) as caught:
            program.send("out", "w1")
        assert caught.value.code in (600, 1117, 1120)
        assert amqp.outgoing_message_count == 0
        assert "w1" not in server.texts()
        amqp.disconnect()


@pytest.mark.parametrize(("end", "where", "becomes"), cells("queued", "on_message_in"))
def test_messages_in_the_queue_are_not_reported_as_accepted(end: str, where: str, becomes: str) -> None:
    with Server(hold={"messages"}) as server:
        program = Program(server)
        amqp = program.amqp

        def messages(peer: Peer) -> None:
            for text in ("trigger", "q1", "q2"):
                peer.sender("in").send(Message(value=text).encode())

        server.wait_for(lambda: server.peer.sender("in").credit > 0)
        if end in OURS:
            program.act, program.acting = ending(end, amqp, server, "in"), where
            server.do(messages)
            pump(amqp, lambda: program.act is None)
            assert program.seen == ["trigger"]
        else:

            def messages_and_end(peer: Peer) -> None:
                messages(peer)
                if end == "the connection is lost":
                    peer.flush()
                    peer.write()
                    peer.cut()
                elif end == "the peer closes":
                    peer.engine.close(GONE)
                elif end == "the peer ends the session":
                    peer.link("in").session.end(GONE)
                else:
                    peer.link("in").detach(error=GONE if end.endswith("with an error") else None)

            if end == "the connection is lost":
                # Known only to who reads on, as the first handler does.
                program.act, program.acting = lambda: pump(amqp, lambda: not amqp.connected), "on_message_in"
            server.do(messages_and_end)
            if end in ("the peer closes", "the connection is lost"):
                code_of(lambda: pump(amqp, lambda: False))
            else:
                pump(amqp, lambda: bool(program.errors))
        # Nothing is said to have an outcome that the peer was not told.
        sent = [entry for entry in program.told if entry[0] == OutcomeDirection.Sent]
        assert len(sent) == (1 if end in OURS else 0)
        if becomes == "released":
            server.wait_for(lambda: len(server.outcomes) == 3 or not server.peers)
            assert [type(state) for _, state, _ in server.outcomes[1:]] in ([Released, Released], [])
        amqp.disconnect()


@pytest.mark.parametrize(("end", "where", "becomes"), cells("handled", "on_message_in"))
def test_the_message_whose_handler_ends_its_link_is_settled_first_or_not_reported(
    end: str, where: str, becomes: str
) -> None:
    with Server() as server:
        program = Program(server)
        amqp = program.amqp
        act = ending(end, amqp, server, "in")

        def end_it() -> None:
            act()
            if end not in OURS:
                # The handler works the connection, and the end arrives.
                pump(amqp, lambda: amqp.link_count < 3)

        program.act, program.acting = end_it, "on_message_in"
        server.put("in", "trigger")
        if end in ("the peer closes", "the connection is lost"):
            with pytest.raises(AMQPError):
                pump(amqp, lambda: False)
        else:
            pump(amqp, lambda: program.act is None)
        sent = [entry for entry in program.told if entry[0] == OutcomeDirection.Sent]
        if becomes == "settled":
            server.wait_for(lambda: bool(server.outcomes))
            assert [type(state).__name__ for _, state, _ in server.outcomes] == ["Modified"]
            assert [state for _, _, state in sent] == [MessageState.Modified]
        else:
            assert sent == []
        amqp.disconnect()


@pytest.mark.parametrize(("end", "where", "becomes"), cells("fetched", "on_message_in"))
def test_a_fetch_raises_when_what_it_waits_on_ends(end: str, where: str, becomes: str) -> None:
    with Server() as server:
        program = Program(server, "get?")
        amqp = program.amqp
        act = ending(end, amqp, server, "get")
        if end in OURS:
            program.act, program.acting = act, where
            server.put("in", "trigger")
        else:
            act()
        amqp.fetch_timeout = 10
        with pytest.raises(AMQPError) as caught:
            amqp.fetch_message("get")
        assert caught.value.code in (600, 1117, 1120)
        amqp.disconnect()


@pytest.mark.parametrize("end", [end for end, row in TABLE["ends"].items() if row["unsettled"] == "reported"])
def test_without_on_error_the_next_call_raises_what_became_of_messages(end: str) -> None:
    with Server(hold={"disposition"}) as server:
        program = Program(server, "out>")
        amqp = program.amqp
        amqp.on_error = None
        program.send("out", "u1", "u2")
        server.wait_for(lambda: len(server.held) == 2)

        def loop() -> None:
            ending(end, amqp, server, "out")()
            # The loop of the README: it ends.
            while amqp.outgoing_message_count:
                amqp.do_events()

        with pytest.raises(AMQPError, match="2 messages have no outcome and may have arrived: 'u1', 'u2'") as caught:
            loop()
        assert [message.message_id for message in caught.value.undelivered] == ["u1", "u2"]
        assert amqp.outgoing_message_count == 0
        amqp.do_events()  # it is raised once
        amqp.disconnect()


@pytest.mark.parametrize("end", ["close_link()", "close_session()"])
def test_a_peer_that_never_answers_a_detach_does_not_keep_messages_waiting(end: str) -> None:
    with Server(hold={"disposition", "detach", "end"}) as server:
        program = Program(server, "out>")
        program.send("out", "u1")
        server.wait_for(lambda: len(server.held) == 1)
        program.amqp.timeout = 1
        with faster(program.amqp):
            assert code_of(ending(end, program.amqp, server, "out")) == 201
        pump(program.amqp, lambda: program.amqp.outgoing_message_count == 0)
        assert [text for text in program.errors if "'u1'" in text]
        server.run(server.drop_all)
        program.amqp.disconnect()


def test_a_closed_window_does_not_make_copies_of_a_message_that_is_sent_again() -> None:
    with Server() as server:
        amqp = client(server, "out>")
        amqp.message_value_type, amqp.timeout = ValueType.mvtString, 1
        server.do(lambda peer: grant(peer, 0))
        pump(amqp, lambda: not amqp.get_link_ready_to_send(0))
        for settled in (True, False):
            amqp.message_settled = settled
            amqp.message_value = f"settled {settled}"
            with faster(amqp):
                assert code_of(lambda: amqp.send_message("out")) == 201
            assert not amqp.ready_to_send
            assert amqp.outgoing_message_count == 0
        ready: list[object] = []
        amqp.on_ready_to_send = ready.append
        server.do(lambda peer: grant(peer, 10))
        pump(amqp, lambda: bool(ready))
        assert amqp.ready_to_send
        amqp.timeout = 10
        amqp.message_value = "the only one"
        amqp.send_message("out")
        pump(amqp, lambda: amqp.outgoing_message_count == 0)
        assert server.texts() == ["the only one"]
        amqp.disconnect()


def test_a_large_message_that_the_window_stops_half_way_is_aborted_when_its_call_raises() -> None:
    def narrow(peer: Peer, event: Any) -> bool:
        if isinstance(event, SessionRequested):
            event.session.accept(incoming_window=2)
            return True
        return False

    with Server(max_frame_size=512) as server:
        server.hooks.append(narrow)
        amqp = client(server, "out>")
        amqp.message_value_type, amqp.timeout, amqp.message_settled = ValueType.mvtString, 1, False
        pump(amqp, lambda: amqp.get_link_ready_to_send(0))
        # The engine opens the window again when it is asked for bytes: it is not asked.
        server.do(lambda peer: setattr(peer, "paused", True))
        amqp.message_value = "x" * 5000
        with faster(amqp), pytest.raises(AMQPError) as caught:
            amqp.send_message("out")
        assert (caught.value.code, caught.value.sent) == (201, False)
        assert amqp.outgoing_message_count == 0
        server.do(lambda peer: setattr(peer, "paused", False))
        amqp.message_value = "small"
        amqp.timeout = 10
        amqp.send_message("out")
        pump(amqp, lambda: amqp.outgoing_message_count == 0)
        assert server.texts() == ["small"]
        amqp.disconnect()


def test_an_outcome_event_of_a_message_with_malformed_properties_can_be_read() -> None:
    malformed = b"\x00\x53\x73\xc0\x05\x01\xa1\x09ab" + Message(value="sound").encode()
    with Server() as server:
        amqp = client(server, "in<")
        ids: list[str] = []
        amqp.on_message_in = lambda event: None
        amqp.on_message_outcome = lambda event: ids.append(event.message_id)
        server.put("in", malformed)
        pump(amqp, lambda: bool(ids))
        assert ids == [""]
        amqp.disconnect()


def test_the_documentation_has_the_same_table() -> None:
    page = (ROOT / "docs" / "outcomes.md").read_text("utf-8")
    words = TABLE["words"]
    rows = [f"| | {' | '.join(TABLE['columns'].values())} |"]
    rows.append(f"| --- |{' --- |' * len(TABLE['columns'])}")
    for end, row in TABLE["ends"].items():
        name = f"`{end}`" if end in OURS else end
        rows.append(f"| {name} | {' | '.join(words[row[column]] for column in TABLE['columns'])} |")
    assert "\n".join(rows) in page
    for word in words.values():
        assert re.search(rf"^- \*{word}\*: ", page, re.MULTILINE), word

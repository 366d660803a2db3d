"""Events and threads: order, no nesting, handlers that call methods or fail, interruption, threads, ends."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from amqp10 import AMQP, AMQPError, ReceiveMode
from amqp10.codec import DecodeError, decode
from amqp10.engine.events import Event, LinkDetached, SessionEnded
from amqp10.wire.messaging import ACCEPTED, Accepted, Released, Source, Target
from amqp10.wire.performatives import Detach, End, Flow
from tests.component.server import LIMIT, FakeClock, Peer, Server, client, faster, refusal


def pump(amqp: AMQP, condition: Callable[[], bool]) -> None:
    """Work the connection until something has happened; bounded by the test's own patience."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "it never happened"
        amqp.do_events()


def code_of(call: Callable[[], object]) -> int:
    with pytest.raises(AMQPError) as caught:
        call()
    return caught.value.code


def each(*calls: Callable[[], object]) -> tuple[Callable[[], object], ...]:
    """Tells the type checker what these are."""
    return calls


def record_all(amqp: AMQP) -> list[tuple[str, Any]]:
    """Have every event but the log noted."""
    events: list[tuple[str, Any]] = []
    for name in (
        "on_connected",
        "on_connection_status",
        "on_disconnected",
        "on_error",
        "on_link_ready_to_send",
        "on_message_in",
        "on_message_out",
        "on_message_outcome",
        "on_ready_to_send",
    ):
        setattr(amqp, name, lambda event, name=name: events.append((name, event)))
    return events


def names(events: list[tuple[str, Any]]) -> list[str]:
    return [name for name, _ in events]


# -- order and nesting -----------------------------------------------------------------------------------------------


def test_the_events_of_a_whole_life_come_in_order() -> None:
    with Server() as server:
        amqp = AMQP()
        events = record_all(amqp)
        amqp.connect_to(server.host, server.port)
        amqp.create_session("s")
        amqp.create_sender_link("s", "out", "q")
        pump(amqp, lambda: amqp.get_link_credit(0) > 0)
        amqp.message_settled = True
        amqp.message_id = "1"
        amqp.send_message("out")
        amqp.message_settled = False
        amqp.message_id = "2"
        amqp.send_message("out")
        pump(amqp, lambda: amqp.outgoing_message_count == 0)
        amqp.create_receiver_link("s", "in", "in")
        server.put("in", "x")
        pump(amqp, lambda: "on_message_in" in names(events))
        amqp.disconnect()
    assert names(events) == [
        "on_connection_status",
        "on_connected",
        "on_link_ready_to_send",
        "on_message_out",
        "on_message_outcome",
        "on_message_out",
        "on_message_in",
        "on_message_outcome",
        "on_connection_status",
        "on_disconnected",
    ]
    out = events[3][1]
    assert (out.session_name, out.session_index, out.link_name, out.message_id) == ("s", -1, "out", "1")
    assert (events[4][1].direction, events[4][1].state, events[4][1].message_id) == (1, 0, "2")
    assert (events[7][1].direction, events[7][1].state) == (0, 0)
    assert (events[9][1].status_code, events[9][1].description) == (0, "OK")


def test_events_that_arise_in_a_handler_fire_when_it_has_returned() -> None:
    with Server() as server:
        server.put("in", *[str(i) for i in range(20)])
        with client(server, "out>") as amqp:
            depth = 0
            deepest = 0
            order: list[str] = []

            def enter(what: str) -> None:
                nonlocal depth, deepest
                depth += 1
                deepest = max(deepest, depth)
                order.append(what)

            def on_message_in(event: Any) -> None:
                nonlocal depth
                enter(f"in {amqp.received_message_value}")
                amqp.message_value_type = 17
                amqp.message_settled = int(amqp.received_message_value) % 2 == 0
                amqp.send_message("out")
                amqp.do_events()
                depth -= 1

            def on_message_out(event: Any) -> None:
                nonlocal depth
                enter("out")
                amqp.do_events()
                depth -= 1

            amqp.on_message_in = on_message_in
            amqp.on_message_out = on_message_out
            amqp.create_receiver_link("s", "in", "in")
            pump(amqp, lambda: len(order) >= 40)
            assert deepest == 1
            assert [what for what in order if what != "out"] == [f"in {i}" for i in range(20)]
            assert order.count("out") == 20


def test_what_a_handler_sends_and_heartbeats_go_out_while_further_messages_are_handled() -> None:
    with Server(idle_timeout=10) as server:
        server.put("in", *"abc")
        amqp = AMQP()
        amqp._loop.clock = clock = FakeClock()
        amqp.connect_to(server.host, server.port)
        amqp.create_session("s")
        amqp.create_sender_link("s", "out", "q")
        pump(amqp, lambda: amqp.get_link_ready_to_send(0))
        seen: list[str] = []

        def on_message_in(event: Any) -> None:
            seen.append(amqp.received_message_value)
            if seen == ["a"]:
                amqp.send_message("out")
                assert not server.messages
                clock.advance(1)
            elif seen == ["a", "b"]:
                server.wait_for(lambda: len(server.messages) == 1)
                assert not any(performative is None for _, performative, _ in server.frames)
                clock.advance(6)
            else:
                server.wait_for(lambda: any(performative is None for _, performative, _ in server.frames))

        amqp.on_message_in = on_message_in
        amqp.create_receiver_link("s", "in", "in")
        server.wait_for(lambda: len(server.feeds["in"].sent) == 3)
        pump(amqp, lambda: len(seen) == 3)
        assert seen == ["a", "b", "c"]
        amqp.disconnect()


def test_a_long_chain_of_messages_sent_from_handlers_does_not_grow_the_stack() -> None:
    with Server(credit=1000) as server, client(server, "out>") as amqp:
        pump(amqp, lambda: amqp.get_link_ready_to_send(0))
        amqp.message_settled = True
        count = 0

        def again(event: Any) -> None:
            nonlocal count
            count += 1
            if count < 3000:
                amqp.send_message("out")

        amqp.on_message_out = again
        amqp.send_message("out")
        pump(amqp, lambda: count >= 3000)


def test_fetch_in_a_handler_fires_its_message_before_it_returns() -> None:
    with Server() as server:
        server.put("in", "auto")
        server.put("get", "fetched")
        with client(server, "get?") as amqp:
            order: list[str] = []

            def on_message_in(event: Any) -> None:
                order.append(f"{event.link_name} begins")
                if event.link_name == "in":
                    amqp.fetch_message("get")
                    assert amqp.received_message_value == "fetched"
                    assert amqp.incoming_message_count == 1
                else:
                    assert amqp.incoming_message_count == 2
                    assert [amqp.get_incoming_message_value(i) for i in range(2)] == ["auto", "fetched"]
                order.append(f"{event.link_name} ends")

            amqp.on_message_in = on_message_in
            amqp.receive_mode = ReceiveMode.rmAutomatic
            amqp.create_receiver_link("s", "in", "in")
            pump(amqp, lambda: len(order) == 4)
            assert order == ["in begins", "get begins", "get ends", "in ends"]
            assert amqp.incoming_message_count == 0


def test_events_that_arise_while_a_fetched_message_is_handled_fire_when_its_handler_has_returned() -> None:
    with Server() as server:
        server.put("get", "fetched")
        with client(server, "get?", "out>") as amqp:
            pump(amqp, lambda: amqp.get_link_ready_to_send(1))
            order: list[str] = []

            def on_message_in(event: Any) -> None:
                order.append("in begins")
                amqp.send_message("out")
                amqp.do_events()
                order.append("in ends")

            amqp.on_message_in = on_message_in
            amqp.on_message_out = lambda event: order.append("out")
            amqp.on_message_outcome = lambda event: order.append("outcome")
            amqp.fetch_message("get")
            assert order == ["in begins", "in ends", "outcome", "out"]


# -- handlers that call methods --------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["on_message_in", "on_link_ready_to_send", "on_message_out", "on_connected"])
def test_disconnect_in_a_handler_ends_the_connection_once(hook: str) -> None:
    with Server() as server:
        server.put("in", "a", "b", "c")
        amqp = AMQP()
        gone: list[Any] = []
        handled: list[Any] = []
        amqp.on_disconnected = gone.append

        def handler(event: Any) -> None:
            handled.append(event)
            amqp.disconnect()
            assert not amqp.connected
            assert amqp.link_count == amqp.session_count == 0
            assert not gone, "it fires when this handler has returned"

        setattr(amqp, hook, handler)
        with pytest.raises(AMQPError) as caught:  # noqa: PT012 - whichever call is the one that is cut short
            amqp.connect_to(server.host, server.port)
            amqp.create_session("s")
            amqp.create_sender_link("s", "out", "q")
            pump(amqp, lambda: not amqp.connected or amqp.get_link_ready_to_send(0))
            amqp.send_message("out")
            amqp.create_receiver_link("s", "in", "in")
            pump(amqp, lambda: bool(handled))
            amqp.create_session("t")
        assert caught.value.code == 1117
        amqp.do_events()
        assert len(handled) == 1
        assert [(event.status_code, event.description) for event in gone] == [(0, "OK")]
        assert code_of(lambda: amqp.create_session("t")) == 1117
        amqp.on_connected = None
        setattr(amqp, hook, None)
        amqp.connect_to(server.host, server.port)
        amqp.disconnect()
        assert len(gone) == 2


def test_handlers_may_connect_anew() -> None:
    with Server() as server:
        amqp = AMQP()
        again: list[Any] = []

        def on_disconnected(event: Any) -> None:
            again.append(event.status_code)
            if len(again) == 1:
                amqp.connect()
                amqp.create_session("s2")

        amqp.on_disconnected = on_disconnected
        amqp.connect_to(server.host, server.port)
        amqp.create_session("s")
        server.do(lambda peer: peer.cut())
        assert code_of(lambda: pump(amqp, lambda: False)) == 1120
        assert again == [1120]
        assert amqp.connected
        assert amqp.get_session_name(0) == "s2"
        amqp.do_events()
        amqp.disconnect()
        assert again == [1120, 0]


def test_links_and_sessions_can_be_made_and_closed_in_handlers_with_the_views_right() -> None:
    with Server() as server:
        server.put("in", *["x"] * 6)
        with client(server) as amqp:
            seen = 0

            def on_message_in(event: Any) -> None:
                nonlocal seen
                session, link = f"s{seen}", f"l{seen}"
                amqp.create_session(session)
                amqp.create_sender_link(session, link, "q")
                if seen % 2:
                    amqp.create_receiver_link("s", f"r{seen}", "other")
                if seen >= 2:
                    amqp.close_session(f"s{seen - 2}")
                assert amqp.get_session_name(event.session_index) == "s"
                assert amqp.get_link_name(event.link_index) == "in"
                names = [amqp.get_link_name(i) for i in range(amqp.link_count)]
                assert len(set(names)) == len(names)
                assert link in names
                assert f"l{seen - 2}" not in names
                assert amqp.get_link_channel_name(names.index(link)) == session
                seen += 1

            amqp.on_message_in = on_message_in
            amqp.create_receiver_link("s", "in", "in")
            pump(amqp, lambda: seen == 6)
            assert [amqp.get_session_name(i) for i in range(amqp.session_count)] == ["s", "s4", "s5"]
            assert {amqp.get_link_name(i) for i in range(amqp.link_count)} == {"in", "l4", "l5", "r1", "r3", "r5"}


def test_thousands_of_links_made_and_closed_in_handlers_keep_views_and_handles_right() -> None:
    count = 2000
    with Server(credit=1) as server, client(server) as amqp:
        made: list[str] = []

        def on_ready(event: Any) -> None:
            assert amqp.get_link_name(event.link_index) == event.link_name
            number = len(made)
            made.append(event.link_name)
            if number >= 10:
                amqp.close_link(made[number - 10])
            if number + 1 < count:
                amqp.create_sender_link("s", f"l{number + 1}", "q")

        amqp.on_link_ready_to_send = on_ready
        amqp.create_sender_link("s", "l0", "q")
        pump(amqp, lambda: len(made) == count)
        assert [amqp.get_link_name(i) for i in range(amqp.link_count)] == made[-10:]
        assert server.do(lambda peer: len(peer.engine.sessions[0].links)) == 10


# -- handlers that fail ----------------------------------------------------------------------------------------------


class HandlerError(Exception):
    """What a program's handler raises."""


def test_a_failing_on_message_in_releases_its_message_and_the_rest_still_fires() -> None:
    with Server() as server:
        server.put("in", "a", "b", "c", "d")
        with client(server, "in<") as amqp:
            seen: list[str] = []

            def on_message_in(event: Any) -> None:
                seen.append(amqp.received_message_value)
                if amqp.received_message_value == "b":
                    raise HandlerError

            amqp.on_message_in = on_message_in
            with pytest.raises(HandlerError):
                pump(amqp, lambda: len(seen) == 4)
            assert seen[-1] == "b"
            assert amqp.incoming_message_count == 0
            server.wait_for(lambda: len(server.outcomes) >= 2)
            assert [type(state) for _, state, _ in server.outcomes][1] is Released, "without a further call"
            pump(amqp, lambda: len(seen) == 4)
            server.wait_for(lambda: len(server.outcomes) == 4)
            assert [type(state) for _, state, _ in server.outcomes] == [Accepted, Released, Accepted, Accepted]
            amqp.create_sender_link("s", "out", "q")


def test_a_failing_outcome_handler_loses_no_other_outcome_and_no_message_out() -> None:
    with Server(hold={"disposition"}) as server, client(server, "out>") as amqp:
        amqp.message_settled = False
        for i in range(5):
            amqp.message_id = str(i)
            amqp.send_message("out")
        outcomes: list[str] = []
        out: list[str] = []

        def on_outcome(event: Any) -> None:
            outcomes.append(event.message_id)
            if event.message_id == "1":
                raise HandlerError

        amqp.on_message_outcome = on_outcome
        amqp.on_message_out = lambda event: out.append(event.message_id)
        server.wait_for(lambda: len(server.held) == 5)
        server.settle_held(ACCEPTED)
        with pytest.raises(HandlerError):
            pump(amqp, lambda: len(out) == 5)
        assert out == ["0"]
        pump(amqp, lambda: len(out) == 5)
        assert outcomes == out == ["0", "1", "2", "3", "4"]
        assert amqp.outgoing_message_count == 0


@pytest.mark.parametrize("listens", [False, True])
def test_a_failing_on_message_out_loses_no_other_outcome(listens: bool) -> None:
    with Server(hold={"disposition"}) as server, client(server, "out>") as amqp:
        amqp.message_settled = False
        for i in range(5):
            amqp.message_id = str(i)
            amqp.send_message("out")
        out: list[str] = []
        outcomes: list[str] = []

        def on_out(event: Any) -> None:
            out.append(event.message_id)
            if event.message_id == "1":
                raise HandlerError

        amqp.on_message_out = on_out
        if listens:
            amqp.on_message_outcome = lambda event: outcomes.append(event.message_id)
        server.wait_for(lambda: len(server.held) == 5)
        server.settle_held(ACCEPTED)
        with pytest.raises(HandlerError):
            pump(amqp, lambda: len(out) == 5)
        assert out == ["0", "1"]
        assert amqp.outgoing_message_count == 3
        pump(amqp, lambda: len(out) == 5)
        assert out == ["0", "1", "2", "3", "4"]
        assert outcomes == (out if listens else [])
        assert amqp.outgoing_message_count == 0


def test_a_decode_error_of_the_programs_own_is_an_exception_in_a_handler_like_any_other() -> None:
    with Server() as server, client(server, "in<") as amqp:
        errors: list[Any] = []

        def on_message_in(event: Any) -> None:
            decode(b"\xff")

        amqp.on_error = errors.append
        amqp.on_message_in = on_message_in
        server.put("in", "fine")
        with pytest.raises(DecodeError):
            pump(amqp, lambda: False)
        server.wait_for(lambda: len(server.outcomes) == 1)
        assert isinstance(server.outcomes[0][1], Released)
        assert not errors


@pytest.mark.parametrize("what", ["session", "sender", "receiver"])
def test_a_handler_that_fails_while_something_is_created_leaves_nothing_half_made(what: str) -> None:
    with Server() as server, client(server, "in<") as amqp:

        def fail(event: Any) -> None:
            raise HandlerError

        amqp.on_message_in = fail
        server.put("in", "x")
        server.wait_for(lambda: bool(server.feeds["in"].sent))
        # The message is there before the answer to what is asked for now.
        create: Callable[[], object] = {
            "session": lambda: amqp.create_session("t"),
            "sender": lambda: amqp.create_sender_link("s", "t", "q"),
            "receiver": lambda: amqp.create_receiver_link("s", "t", "q"),
        }[what]
        with pytest.raises(HandlerError):
            create()
        amqp.on_message_in = None
        server.run(lambda: None)
        for _ in range(3):
            amqp.do_events()
        assert amqp.session_count == 1
        assert amqp.link_count == 1
        server.wait_for(lambda: bool([frame for _, frame, _ in server.frames if isinstance(frame, (End, Detach))]))
        if what == "session":
            amqp.create_session("t")
        else:
            amqp.create_sender_link("s", "t", "q")


@pytest.mark.parametrize("hook", ["on_connected", "on_connection_status", "on_log"])
def test_a_handler_that_fails_while_connecting_leaves_a_usable_instance(hook: str) -> None:
    with Server() as server:
        amqp = AMQP()

        def fail(event: Any) -> None:
            setattr(amqp, hook, None)
            raise HandlerError

        setattr(amqp, hook, fail)
        with pytest.raises(HandlerError):
            amqp.connect_to(server.host, server.port)
        if not amqp.connected:
            amqp.connect_to(server.host, server.port)
        amqp.create_session("s")
        amqp.disconnect()
        assert not amqp.connected


def test_a_handler_that_fails_while_disconnecting_does_not_keep_the_connection() -> None:
    with Server() as server:
        server.put("in", "x")
        amqp = client(server)
        gone: list[Any] = []
        amqp.config("LogLevel=3")

        def fail(event: Any) -> None:
            amqp.on_log = None
            raise HandlerError

        amqp.on_disconnected = gone.append
        amqp.on_log = fail
        with pytest.raises(HandlerError):
            amqp.disconnect()
        assert not amqp.connected
        amqp.disconnect()
        amqp.do_events()
        assert len(gone) == 1


# -- threads and interruption ----------------------------------------------------------------------------------------


def blocked_calls() -> dict[str, tuple[set[str], Callable[[AMQP], object]]]:
    """Every call that can block: what the server withholds, and the call."""

    def send(amqp: AMQP) -> None:
        amqp.send_message("out")

    def send_many(amqp: AMQP) -> None:
        amqp.send_messages("out", ["x"])

    return {
        "connect": ({"open"}, lambda amqp: amqp.connect()),
        "create_session": ({"begin"}, lambda amqp: amqp.create_session("t")),
        "create_sender_link": ({"attach"}, lambda amqp: amqp.create_sender_link("s", "t", "q")),
        "create_receiver_link": ({"attach"}, lambda amqp: amqp.create_receiver_link("s", "t", "q")),
        "close_link": ({"detach"}, lambda amqp: amqp.close_link("out")),
        "close_session": ({"end"}, lambda amqp: amqp.close_session("s")),
        "send_message": ({"flow"}, send),
        "send_messages": ({"flow"}, send_many),
        "fetch_message": ({"messages"}, lambda amqp: amqp.fetch_message("get")),
        "disconnect": ({"close"}, lambda amqp: amqp.disconnect()),
    }


def prepare(server: Server, name: str) -> AMQP:
    """An instance in the state in which the call blocks."""
    if name == "connect":
        server.hold.add("open")
        amqp = AMQP()
        amqp.remote_host, amqp.remote_port = server.host, server.port
        return amqp
    if name.startswith("send_"):
        server.hold.add("flow")
    amqp = client(server, "out>", "get?", timeout=int(LIMIT), fetch_timeout=0)
    amqp.message_value_type = 17
    server.hold |= blocked_calls()[name][0]
    return amqp


@pytest.mark.parametrize("name", blocked_calls())
def test_interrupt_from_another_thread_ends_each_blocking_call_at_once(name: str) -> None:
    with Server() as server:
        amqp = prepare(server, name)
        waiting = threading.Event()
        clock = amqp._loop.clock

        def watched() -> float:
            # The call has begun when it looks at the time; from then on no interruption may be lost.
            if armed:
                waiting.set()
            return clock()

        armed = True
        amqp._loop.clock = watched

        def interrupt() -> None:
            assert waiting.wait(LIMIT)
            amqp.interrupt()

        thread = threading.Thread(target=interrupt)
        thread.start()
        assert code_of(lambda: blocked_calls()[name][1](amqp)) == 10004
        thread.join(LIMIT)
        server.hold.clear()
        if name in ("close_link", "close_session"):
            # The server has fallen silent for good in these scripts.
            server.do(lambda peer: peer.cut())
            assert code_of(lambda: pump(amqp, lambda: False)) == 1120
        elif name not in ("connect", "disconnect"):
            assert amqp.connected, "the connection stays usable"
            amqp.create_session("u")
            amqp.create_sender_link("u", "again", "q")
            pump(amqp, lambda: amqp.get_link_ready_to_send(amqp.link_count - 1))
            amqp.send_message("again")
        else:
            assert not amqp.connected
            amqp.connect_to(server.host, server.port)
        amqp.disconnect()


def test_interrupt_ends_do_events_while_it_waits() -> None:
    with Server() as server, client(server, "out>") as amqp:
        over = threading.Event()

        def interrupt() -> None:
            # An interruption that comes between two calls of do_events() is forgotten, as nothing was blocked then.
            while not over.wait(0.001):
                amqp.interrupt()

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            assert code_of(lambda: pump(amqp, lambda: False)) == 10004
        finally:
            over.set()
            thread.join(LIMIT)
        assert amqp.connected
        amqp.do_events()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
@pytest.mark.parametrize("name", ["connect", "send_message", "fetch_message", "create_session", "disconnect"])
def test_interrupt_from_a_signal_handler_ends_a_blocking_call(name: str) -> None:
    with Server() as server:
        amqp = prepare(server, name)
        before = signal.signal(signal.SIGALRM, lambda number, frame: amqp.interrupt())
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.02, 0.05)
            assert code_of(lambda: blocked_calls()[name][1](amqp)) == 10004
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        amqp.interrupt()
        amqp.disconnect()


def test_a_keyboard_interrupt_passes_through_a_blocking_call() -> None:
    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    with Server() as server:
        amqp = prepare(server, "fetch_message")
        before = signal.signal(signal.SIGALRM, stop)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with pytest.raises(KeyboardInterrupt):
                amqp.fetch_message("get")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        server.hold.clear()
        server.put("get", "x")
        amqp.fetch_message("get")
        assert amqp.received_message_value == "x"
        amqp.disconnect()


def test_interrupt_with_nobody_blocked_does_not_poison_a_later_call() -> None:
    with Server(credit=1000) as server, client(server, "out>", "get?") as amqp:
        pump(amqp, lambda: amqp.get_link_ready_to_send(0))
        server.put("get", "x")

        def send_many() -> None:
            for _ in range(200):
                amqp.send_message("out")

        calls: list[Callable[[], object]] = [
            send_many,
            lambda: amqp.send_messages("out", [""] * 600),
            amqp.do_events,
            lambda: amqp.fetch_message("get"),
            lambda: amqp.create_session("t"),
            lambda: amqp.close_session("t"),
        ]
        for call in calls:
            amqp.interrupt()
            call()
        amqp.timeout = 0
        amqp.interrupt()
        amqp.send_message("out")
    AMQP().interrupt()


def test_a_handler_can_interrupt_the_call_it_runs_in() -> None:
    with Server() as server, client(server, "in<", "get?", fetch_timeout=0) as amqp:
        amqp.on_message_in = lambda event: amqp.interrupt()
        server.put("in", "x")
        assert code_of(lambda: amqp.fetch_message("get")) == 10004


def test_a_second_thread_gets_a_clear_error_and_harms_nothing() -> None:
    with Server(hold={"messages"}) as server, client(server, "out>", "get?", fetch_timeout=0) as amqp:
        codes: list[int] = []
        calls: list[Callable[[], object]] = [
            lambda: amqp.send_message("out"),
            lambda: amqp.create_session("t"),
            lambda: amqp.connect_to("127.0.0.1", 1),
            amqp.connect,
            amqp.disconnect,
            amqp.do_events,
            lambda: amqp.fetch_message("get"),
            amqp.reset,
            lambda: amqp.close_link("out"),
            lambda: amqp.config("LogLevel=3"),
            lambda: amqp.config("LogLevel"),
            amqp.reset_message,
        ]

        def meddle() -> None:
            server.wait_for(lambda: any(isinstance(frame, Flow) and frame.link_credit for _, frame, _ in server.frames))
            for call in calls:
                try:
                    call()
                except AMQPError as error:
                    codes.append(error.code)
            server.hold.clear()
            server.put("get", "x")

        thread = threading.Thread(target=meddle)
        thread.start()
        amqp.fetch_message("get")
        thread.join(LIMIT)
        assert codes == [211] * len(calls)
        assert amqp.received_message_value == "x"
        assert amqp.connected


def test_an_instance_may_move_to_another_thread_between_calls() -> None:
    with Server() as server:
        amqp = client(server, "out>")
        errors: list[BaseException] = []

        def work() -> None:
            try:
                amqp.send_message("out")
                amqp.disconnect()
            except AMQPError as error:
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(LIMIT)
        assert not errors
        assert not amqp.connected


# -- ends ------------------------------------------------------------------------------------------------------------


def test_a_failure_to_connect_is_in_the_log() -> None:
    amqp = AMQP()
    lines: list[Any] = []
    amqp.on_log = lines.append
    with Server(hold={"open"}) as server:
        server.first = lambda peer: peer.cut()
        code = code_of(lambda: amqp.connect_to(server.host, server.port))
    assert [line.message for line in lines if line.log_level == 1][-1].startswith(f"connecting failed: [{code}]")


def test_on_connected_fires_for_a_failure_too_and_on_disconnected_does_not() -> None:
    with Server() as server:
        port = server.port
    amqp = AMQP()
    events = record_all(amqp)
    assert code_of(lambda: amqp.connect_to("127.0.0.1", port)) == 10061
    assert names(events) == ["on_connected"]
    assert events[0][1].status_code == 10061
    assert events[0][1].description
    amqp.disconnect()
    assert names(events) == ["on_connected"]


def test_a_server_that_closes_right_behind_its_open_makes_connecting_fail_with_its_error() -> None:
    with Server() as server:

        def hook(peer: Peer, event: Any) -> bool:
            peer.engine.close(refusal("amqp:not-allowed", "no such vhost"))
            return True

        server.hooks.append(hook)
        amqp = AMQP()
        events = record_all(amqp)
        with pytest.raises(AMQPError, match="no such vhost") as caught:
            amqp.connect_to(server.host, server.port)
        assert (caught.value.code, caught.value.condition) == (600, "amqp:not-allowed")
        assert [name for name in names(events) if name != "on_connection_status"] == ["on_connected"]
        assert not amqp.connected


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda peer: peer.engine.close(refusal("amqp:connection:forced", "maintenance")), 600),
        (lambda peer: peer.engine.close(), 600),
        (lambda peer: peer.cut(), 1120),
        (lambda peer: peer.raw(b"\0\0\0\3garbage"), 601),
    ],
    ids=["close with an error", "close", "cut", "garbage"],
)
def test_an_end_by_the_server_raises_once_and_fires_on_disconnected_once(end: Any, code: int) -> None:
    with Server() as server:
        amqp = client(server, "out>", "in<")
        gone: list[Any] = []
        amqp.on_disconnected = gone.append
        server.do(end)
        with pytest.raises(AMQPError) as caught:
            pump(amqp, lambda: False)
        assert caught.value.code == code
        assert [event.status_code for event in gone] == [code]
        assert not amqp.connected
        assert amqp.link_count == amqp.session_count == 0
        assert not amqp.ready_to_send
        if code == 600:
            assert gone[0].description in str(caught.value)
        assert code_of(lambda: amqp.create_session("t")) == 1117
        amqp.disconnect()
        amqp.do_events()
        assert len(gone) == 1
        amqp.connect_to(server.host, server.port)
        amqp.disconnect()
        assert [event.status_code for event in gone] == [code, 0]


def test_the_reason_of_a_server_that_closed_and_hung_up_is_told_also_when_sending_finds_out() -> None:
    with Server() as server:
        amqp = client(server, "out>")
        pump(amqp, lambda: amqp.get_link_ready_to_send(0))
        gone: list[Any] = []
        amqp.on_disconnected = gone.append

        def end(peer: Peer) -> None:
            peer.engine.close(refusal("amqp:connection:forced", "maintenance"))
            peer.flush()
            peer.write()
            peer.cut()

        server.do(end)
        amqp.message_value_type = 17
        amqp.message_value = "x" * 1000
        with pytest.raises(AMQPError, match="maintenance") as caught:  # noqa: PT012 - which one finds out is the system's
            for _ in range(200):
                amqp.send_message("out")
        assert caught.value.code == 600
        assert not amqp.connected
        assert [event.status_code for event in gone] == [600]


def test_sending_to_a_server_that_reset_the_connection_tears_it_down() -> None:
    with Server() as server:
        amqp = client(server, "out>")
        pump(amqp, lambda: amqp.get_link_ready_to_send(0))
        gone: list[Any] = []
        amqp.on_disconnected = gone.append
        server.do(lambda peer: peer.cut(reset=True))
        with pytest.raises(AMQPError) as caught:  # noqa: PT012 - which one finds out is the system's
            for _ in range(200):
                amqp.send_message("out")
        assert caught.value.code in (1120, 10054)
        assert not amqp.connected
        assert len(gone) == 1


def test_a_link_that_the_peer_ends_is_gone_and_its_name_tells_why() -> None:
    with Server() as server, client(server, "out>", "in<", "get?") as amqp:
        errors: list[Any] = []
        amqp.on_error = errors.append
        server.do(lambda peer: peer.link("out").detach(error=refusal("amqp:resource-deleted", "the queue is gone")))
        server.do(lambda peer: peer.link("get").detach(error=refusal("amqp:resource-deleted", "the other too")))
        pump(amqp, lambda: len(errors) == 2)
        assert [event.error_code for event in errors] == [600, 600]
        assert "the queue is gone" in errors[0].description
        assert [amqp.get_link_name(i) for i in range(amqp.link_count)] == ["in"]
        calls: list[tuple[Callable[[], object], str]] = [
            (lambda: amqp.send_message("out"), "the queue is gone"),
            (lambda: amqp.close_link("out"), "the queue is gone"),
            (lambda: amqp.fetch_message("get"), "the other too"),
        ]
        for call, text in calls:
            with pytest.raises(AMQPError, match=text) as caught:
                call()
            assert (caught.value.code, caught.value.condition) == (600, "amqp:resource-deleted")
        amqp.create_sender_link("s", "out", "q")
        amqp.send_message("out")
        amqp.close_link("out")
        with pytest.raises(AMQPError, match="there is no link named 'out'"):
            amqp.send_message("out")  # this one was closed from here: the old reason is not its


def test_a_session_that_the_peer_ends_takes_its_links_along() -> None:
    with Server() as server, client(server, "out>", "in<") as amqp:
        amqp.create_session("other")
        amqp.create_sender_link("other", "stays", "q")
        errors: list[Any] = []
        amqp.on_error = errors.append
        server.do(lambda peer: peer.engine.sessions[0].end(refusal("amqp:session:window-violation", "too much")))
        pump(amqp, lambda: bool(errors))
        assert len(errors) == 1
        assert [amqp.get_link_name(i) for i in range(amqp.link_count)] == ["stays"]
        assert [amqp.get_session_name(i) for i in range(amqp.session_count)] == ["other"]
        for call in each(lambda: amqp.send_message("out"), lambda: amqp.create_sender_link("s", "new", "q")):
            with pytest.raises(AMQPError, match="too much"):
                call()
        amqp.send_message("stays")


def test_a_refused_link_raises_the_reason_and_leaves_nothing() -> None:
    with Server() as server, client(server) as amqp:
        errors: list[Any] = []
        amqp.on_error = errors.append

        def refuse(peer: Peer, event: Any) -> bool:
            if type(event).__name__ != "LinkRequested":
                return False
            event.link.refuse(refusal("amqp:not-found", "no such queue"))
            return True

        server.hooks.append(refuse)
        for call in each(
            lambda: amqp.create_sender_link("s", "l", "q"),
            lambda: amqp.create_receiver_link("s", "l", "q"),
        ):
            with pytest.raises(AMQPError, match="no such queue") as caught:
                call()
            assert (caught.value.code, caught.value.condition) == (600, "amqp:not-found")
            assert amqp.link_count == 0
        assert not errors, "the call has told already"
        server.hooks.clear()
        amqp.create_sender_link("s", "l", "q")


def test_a_refused_session_raises_the_reason() -> None:
    with Server() as server, client(server) as amqp:

        def refuse(peer: Peer, event: Any) -> bool:
            if type(event).__name__ != "SessionRequested":
                return False
            event.session.end(refusal("amqp:resource-limit-exceeded", "no more sessions"))
            return True

        server.hooks.append(refuse)
        with pytest.raises(AMQPError, match="no more sessions") as caught:
            amqp.create_session("t")
        assert caught.value.code == 600
        assert amqp.session_count == 1
        server.hooks.clear()
        amqp.create_session("t")


def test_links_and_sessions_that_the_peer_asks_for_are_refused_and_do_no_harm() -> None:
    with Server() as server, client(server, "out>") as amqp:
        errors: list[Any] = []
        amqp.on_error = errors.append
        ended: list[Event] = []

        def note(peer: Peer, event: Any) -> bool:
            if isinstance(event, (LinkDetached, SessionEnded)):
                ended.append(event)
            return False

        server.hooks.append(note)

        def ask(peer: Peer) -> None:
            (session,) = peer.engine.sessions.values()
            session.attach_sender("theirs", source=Source(address="a"), target=Target(address="b"))
            session.attach_receiver("theirs too", source=Source(address="a"), target=Target(address="b"))
            peer.engine.begin(incoming_window=10, outgoing_window=10)

        server.do(ask)
        pump(amqp, lambda: len(ended) == 3)
        conditions = {event.error.condition for event in ended if event.error is not None}  # type: ignore[union-attr]
        assert conditions == {"amqp:not-implemented"}
        assert [amqp.get_link_name(i) for i in range(amqp.link_count)] == ["out"]
        assert amqp.session_count == 1
        amqp.send_message("out")
        server.wait_for(lambda: len(server.messages) == 1)
        assert not errors


def test_names_are_unique_known_and_tell_which_one_it_was() -> None:
    with Server() as server, client(server, "out>", "in<") as amqp:
        for call in each(
            lambda: amqp.create_session("s"),
            lambda: amqp.create_sender_link("s", "in", "q"),
            lambda: amqp.create_receiver_link("s", "out", "q"),
            lambda: amqp.create_sender_link("nosession", "x", "q"),
            lambda: amqp.close_session("nosession"),
            lambda: amqp.close_link("nolink"),
            lambda: amqp.send_message("nolink"),
            lambda: amqp.fetch_message("nolink"),
            lambda: amqp.send_message("in"),
            lambda: amqp.fetch_message("out"),
            lambda: amqp.fetch_message("in"),
            lambda: amqp.create_session(""),
        ):
            with pytest.raises(AMQPError) as caught:
                call()
            assert caught.value.code == 600
        for wrong in (
            lambda: amqp.create_session(1),  # type: ignore[arg-type]
            lambda: amqp.create_sender_link("s", None, "q"),  # type: ignore[arg-type]
            lambda: amqp.create_sender_link("s", "x", None),  # type: ignore[arg-type]
            lambda: amqp.create_receiver_link(b"s", "x", "q"),  # type: ignore[arg-type]
            lambda: amqp.send_message(None),  # type: ignore[arg-type]
            lambda: amqp.fetch_message(0),  # type: ignore[arg-type]
            lambda: amqp.close_link([]),  # type: ignore[arg-type]
            lambda: amqp.close_session({}),  # type: ignore[arg-type]
            lambda: amqp.config(1),  # type: ignore[arg-type]
        ):
            with pytest.raises(TypeError):
                wrong()
        for call in each(
            lambda: amqp.create_sender_link("s", "\ud800", "q"),
            lambda: amqp.create_sender_link("s", "fine", "\ud800"),
            lambda: amqp.create_receiver_link("s", "fine", "\udfff"),
        ):
            with pytest.raises(AMQPError) as caught:
                call()
            assert caught.value.code == 604
        assert (amqp.session_count, amqp.link_count) == (1, 2)


def test_a_time_out_of_create_leaves_nothing_and_a_late_answer_is_undone() -> None:
    with Server() as server:
        amqp = client(server)
        late: list[Any] = []

        def withhold(peer: Peer, event: Any) -> bool:
            late.append(event)
            return True

        server.hooks.append(withhold)
        amqp.timeout = 1
        for call in each(
            lambda: amqp.create_session("t"),
            lambda: amqp.create_sender_link("s", "l", "q"),
            lambda: amqp.create_receiver_link("s", "l2", "q"),
        ):
            with faster(amqp, 4) as clock:
                start = clock()
                assert code_of(call) == 201
                assert 0.9 < clock() - start < 1.9, "sending the request is no reason to wait twice"
        assert (amqp.session_count, amqp.link_count) == (1, 0)

        server.do(lambda peer: late[0].session.accept())
        for _ in range(3):
            amqp.do_events()
        server.wait_for(lambda: [type(frame) for _, frame, _ in server.frames[-2:]] == [Detach, End])
        assert (amqp.session_count, amqp.link_count) == (1, 0)
        server.hooks.clear()
        server.hold.clear()
        amqp.timeout = 10
        amqp.create_session("t")
        amqp.disconnect()

"""Each part of the class ``AMQP`` alone: calls, the life cycle, events, reports; the others with a server in memory."""

from __future__ import annotations

import sys
import threading
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from amqp10.component import calls as calls_module
from amqp10.component.calls import Calls
from amqp10.component.enums import FirewallType, MessageState, ReceiveMode, ValueType
from amqp10.component.life import TRANSITIONS, Change, Life
from amqp10.component.log import standard_logger
from amqp10.component.properties import Properties
from amqp10.engine.states import LinkState
from amqp10.errors import AMQPError, ProtocolError
from amqp10.wire.message import Message
from amqp10.wire.messaging import ACCEPTED, Rejected
from tests.component.parts import Parts

# -- calls -----------------------------------------------------------------------------------------------------------


def test_a_second_thread_is_refused_until_the_outermost_call_has_returned() -> None:
    calls = Calls()
    refused: list[int] = []

    def enter() -> None:
        try:
            with calls:
                refused.append(0)
        except AMQPError as error:
            refused.append(error.code)

    def from_another_thread() -> None:
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()

    with calls:
        with calls:
            from_another_thread()
        from_another_thread()
    from_another_thread()
    assert refused == [211, 211, 0]


def test_a_refused_thread_does_not_end_the_call_of_the_other() -> None:
    calls = Calls()
    with calls:
        before = calls.depth

        def refused() -> None:
            with pytest.raises(AMQPError), calls:
                pass

        thread = threading.Thread(target=refused)
        thread.start()
        thread.join()
        assert calls.depth == before == 1


class AlarmError(Exception):
    """Raised by a signal handler, so to speak."""


def test_an_exception_at_any_line_of_beginning_a_call_leaves_nobody_inside() -> None:
    file = str(Path(calls_module.__file__))
    for number in range(1, 100):
        calls = Calls()
        left = number

        def trace(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal left
            if frame.f_code.co_filename != file or frame.f_code.co_name != "__enter__":
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    raise AlarmError
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        raised = False
        try:
            with calls:
                pass
        except AlarmError:
            raised = True
        finally:
            sys.settrace(before)
        assert calls.depth == 0, number
        assert calls._owner == {}, number
        if not raised:
            assert number > 5
            return
    raise AssertionError("it never came to an end")


def test_what_an_interrupted_call_has_left_is_taken_back_when_the_next_one_begins() -> None:
    calls = Calls()
    done: list[int] = []
    calls.clean_up = lambda: done.append(calls.depth)
    calls.handling = 7
    with calls:
        assert (done, calls.handling) == ([1], 0)
        calls.handling = 1
        with calls:
            assert done == [1], "a handler's own call takes nothing back"


# -- the life cycle ---------------------------------------------------------------------------------------------------


def test_every_life_can_end_and_begin_anew() -> None:
    for life in Life:
        assert TRANSITIONS[life, Change.DROP] is Life.DISCONNECTED or life is Life.DISCONNECTED
    assert TRANSITIONS[Life.DISCONNECTED, Change.CONNECT] is Life.REACHING


def test_a_change_that_an_exception_has_done_twice_changes_nothing_more() -> None:
    for (life, change), after in TRANSITIONS.items():
        again = TRANSITIONS.get((after, change))
        assert again is after, f"{life.name}, {change.name} twice"


def test_only_what_can_be_lost_is_lost() -> None:
    lost = {life for life in Life if TRANSITIONS.get((life, Change.LOSE)) is Life.LOST}
    assert lost == {Life.REACHING, Life.OPENING, Life.OPEN, Life.CLOSING, Life.LOST}


def test_the_table_names_every_change_that_can_come() -> None:
    missing = {(life.name, change.name) for life, change in product(Life, Change) if (life, change) not in TRANSITIONS}
    # connect() is refused while there is a connection, and disconnect() does not send close without one.
    assert {change for _, change in missing} == {"CONNECT", "REACHED", "OPENED", "CLOSE", "CLOSED"}
    assert {life for life, change in missing if change == "CLOSED"} == {"DISCONNECTED", "REACHING"}
    assert {life for life, change in missing if change == "OPENED"} == {"DISCONNECTED", "REACHING", "CLOSED"}


# -- properties -------------------------------------------------------------------------------------------------------


def test_the_port_follows_tls_and_the_kind_of_proxy_as_long_as_it_is_a_default_one() -> None:
    properties = Properties()
    properties.choose_tls(True)
    assert properties.remote_port == 5671
    properties.choose_tls(False)
    assert properties.remote_port == 5672
    properties.remote_port = 7000
    properties.choose_tls(True)
    assert properties.remote_port == 7000
    properties.choose_proxy(FirewallType.fwSOCKS5)
    assert properties.firewall_port == 1080


def test_a_time_out_of_zero_still_waits_for_answers() -> None:
    properties = Properties()
    properties.timeout = 0
    assert properties.limit == 60
    properties.timeout = 3
    assert properties.limit == 3


# -- the queue of events, and reports ---------------------------------------------------------------------------------


def test_an_event_without_a_handler_is_not_queued() -> None:
    parts = Parts()
    parts.events.post("on_ready_to_send", None)
    assert not parts.events.entries
    parts.listen("on_ready_to_send")
    parts.events.post("on_ready_to_send", None)
    assert len(parts.events.entries) == 1


def test_events_fire_in_order_and_never_inside_each_other() -> None:
    parts = Parts()
    order: list[str] = []

    def first(_: object) -> None:
        order.append("first begins")
        parts.events.post("on_disconnected", None)
        parts.loop.dispatch()
        order.append("first ends")

    parts.handlers.on_connected = first
    parts.handlers.on_disconnected = lambda _: order.append("second")
    parts.events.post("on_connected", None)
    parts.loop.dispatch()
    assert order == ["first begins", "first ends", "second"]


def test_an_event_whose_handler_failed_does_not_fire_again_and_the_next_one_does() -> None:
    parts = Parts()
    seen: list[str] = []

    def fails(_: object) -> None:
        seen.append("failed")
        raise ZeroDivisionError

    parts.handlers.on_connected = fails
    parts.handlers.on_disconnected = lambda _: seen.append("next")
    parts.events.post("on_connected", None)
    parts.events.post("on_disconnected", None)
    with pytest.raises(ZeroDivisionError):
        parts.loop.dispatch()
    parts.loop.dispatch()
    assert seen == ["failed", "next"]
    assert parts.calls.handling == 0


def undelivered(parts: Parts) -> AMQPError | None:
    """The error of a message that was sent and got no outcome, if it is raised."""
    parts.connect()
    parts.endpoints.create_session("s")
    parts.endpoints.create_sender("s", "out", "q")
    draft = parts.outbox.draft
    draft.value_type, draft.value, draft.id, draft.settled = ValueType.mvtString, "x", "1", False
    parts.outbox.send("out")
    parts.link("out").detach(error=ProtocolError("away with it", condition="amqp:link:detach-forced"))
    try:
        parts.loop.do_events()
    except AMQPError as error:
        return error
    return None


def test_without_a_handler_the_next_call_raises_what_became_of_a_message() -> None:
    error = undelivered(Parts())
    assert error is not None
    assert [message.message_id for message in error.undelivered] == ["1"]
    assert "away with it" in error.message


def test_with_a_handler_it_is_told_and_no_call_raises() -> None:
    parts = Parts()
    parts.listen("on_error")
    assert undelivered(parts) is None
    ((name, params),) = parts.seen
    assert name == "on_error"
    assert "away with it" in params.description


def test_the_error_of_a_call_says_what_became_of_earlier_messages_too() -> None:
    parts = Parts()
    earlier = undelivered(Parts())
    assert earlier is not None
    parts.reports.tell(earlier)
    with pytest.raises(AMQPError, match=r"too large.*may have arrived: '1'") as caught:
        parts.reports.raise_with_unheard(AMQPError(600, "too large"))
    assert caught.value.undelivered == earlier.undelivered
    parts.reports.raise_unheard()  # nothing is left to raise


def test_nothing_is_logged_that_nobody_would_see(caplog: pytest.LogCaptureFixture) -> None:
    parts = Parts()
    with caplog.at_level("WARNING", "amqp10"):
        parts.log(1, "Info", "hello")
        assert not caplog.records
        parts.log.warn("careful\nnow")
    assert [record.getMessage() for record in caplog.records] == ["careful\\nnow"]
    parts.listen("on_log")
    parts.log(1, "Info", "hello")
    parts.log(2, "Session", "details")
    parts.loop.dispatch()
    assert [params.message for _, params in parts.seen] == ["hello"]
    assert standard_logger().name == "amqp10"


# -- the loop, with a server in memory --------------------------------------------------------------------------------


def test_a_connection_lives_from_connect_to_disconnect() -> None:
    parts = Parts()
    parts.listen("on_disconnected")
    transport = parts.connect()
    lives = [parts.loop.life]
    parts.connecting.disconnect()
    lives.append(parts.loop.life)
    assert lives == [Life.OPEN, Life.DISCONNECTED]
    assert transport.closed is True
    assert [(name, params.status_code) for name, params in parts.seen] == [("on_disconnected", 0)]


def test_a_connection_that_breaks_is_torn_down_by_the_call_that_works_it() -> None:
    parts = Parts()
    parts.listen("on_disconnected")
    transport = parts.connect()
    parts.endpoints.create_session("s")
    transport.ended = True
    with pytest.raises(AMQPError) as caught:
        parts.loop.do_events()
    assert caught.value.code == 1120
    assert parts.loop.life is Life.DISCONNECTED
    assert len(parts.records.sessions) == 0
    assert [(name, params.status_code) for name, params in parts.seen] == [("on_disconnected", 1120)]
    with pytest.raises(AMQPError) as caught:
        parts.loop.connected_pump()
    assert caught.value.code == 1117


def test_a_server_that_does_not_answer_is_waited_for_as_long_as_timeout_says() -> None:
    parts = Parts()
    transport = parts.connect()
    parts.properties.timeout = 7
    transport.silent = True
    before = parts.now
    with pytest.raises(AMQPError, match="7 seconds while waiting for session 's'") as caught:
        parts.endpoints.create_session("s")
    assert caught.value.code == 201
    assert parts.now - before == pytest.approx(7)
    assert len(parts.records.sessions) == 0


def test_a_message_goes_out_and_its_outcome_comes_back() -> None:
    parts = Parts()
    parts.listen("on_message_out", "on_message_outcome")
    transport = parts.connect()
    parts.endpoints.create_session("s")
    parts.endpoints.create_sender("s", "out", "q")
    draft = parts.outbox.draft
    draft.value_type, draft.value, draft.id, draft.settled = ValueType.mvtString, "hello", "1", False
    parts.outbox.send("out")
    assert parts.outgoing.at(0).value == "hello"
    delivery: Any = transport.events[-1]
    delivery.settle(ACCEPTED)
    parts.loop.do_events()
    assert [(name, params.message_id) for name, params in parts.seen] == [
        ("on_message_outcome", "1"),
        ("on_message_out", "1"),
    ]
    assert not parts.outgoing.unsettled


@pytest.mark.parametrize("state", [MessageState.Accepted, MessageState.Rejected])
def test_a_message_comes_in_and_its_handler_decides_the_outcome(state: MessageState) -> None:
    parts = Parts()
    transport = parts.connect()
    parts.endpoints.create_session("s")
    parts.endpoints.create_receiver("s", "in", "q")
    seen: list[str] = []

    def handler(params: Any) -> None:
        seen.append(parts.inbox.received.value)
        params.state = state

    parts.handlers.on_message_in = handler
    link = parts.link("in")
    assert link.credit == parts.settings.default_credit
    sent = link.send(Message(value="hello").encode())
    parts.loop.do_events()
    assert seen == ["hello"]
    update: Any = transport.events[-1]
    assert list(update.deliveries) == [sent]
    assert isinstance(update.state, type(ACCEPTED) if state is MessageState.Accepted else Rejected)


def test_a_fetch_that_gets_nothing_gives_its_credit_back() -> None:
    parts = Parts()
    parts.connect()
    parts.endpoints.create_session("s")
    parts.properties.receive_mode = ReceiveMode.rmFetch
    parts.properties.fetch_timeout = 2
    parts.endpoints.create_receiver("s", "get", "q")
    with pytest.raises(AMQPError) as caught:
        parts.inbox.fetch("get")
    assert caught.value.code == 201
    assert parts.link("get").credit == 0
    assert parts.records.links.find("get").engine.state is LinkState.ATTACHED


def test_sending_waits_for_credit_and_says_so_when_none_comes() -> None:
    parts = Parts()
    transport = parts.connect()
    transport.credit = 0
    parts.endpoints.create_session("s")
    parts.endpoints.create_sender("s", "out", "q")
    parts.properties.timeout = 3
    with pytest.raises(AMQPError, match="waiting for credit to send on link 'out'") as caught:
        parts.outbox.send("out")
    assert (caught.value.code, len(parts.outgoing.unsettled)) == (201, 0)
    parts.properties.timeout = 0
    with pytest.raises(AMQPError) as caught:
        parts.outbox.send("out")
    assert caught.value.code == 135

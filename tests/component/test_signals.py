"""An exception out of a signal handler may come between any two steps: it loses no event and doubles none that matters.

It is raised here by a trace function, at every line of the component in turn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from amqp10 import AMQP, ValueType
from amqp10.component import loop
from amqp10.wire.messaging import ACCEPTED
from tests.component.server import Peer, Server, client
from tests.component.test_events_rules import pump

ROOM = str(Path(loop.__file__).parent)
MOST = 5000


class AlarmError(Exception):
    """Raised at some line of the component."""


class Bomb:
    """Raises an AlarmError at the n-th line of the component that is reached, once."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.where = ""

    def trace(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(ROOM) or in_handler(frame):
            return None
        if event == "line" and self.left > 0:
            self.left -= 1
            if self.left == 0:
                self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                raise AlarmError(self.where)
        return self.trace

    def run(self, call: Callable[[], object]) -> bool:
        """Make a call with the bomb in it; whether it went off."""
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            call()
        except AlarmError:
            return True
        finally:
            sys.settrace(before)
        return False


def in_handler(frame: FrameType | None) -> bool:
    """Whether a handler of this file is running: what raises in it is its own affair."""
    while frame is not None:
        if frame.f_code.co_filename == __file__ and frame.f_code.co_name == "<lambda>":
            return True
        frame = frame.f_back
    return False


def drive(amqp: AMQP, bomb: Bomb, done: Callable[[], bool]) -> None:
    """Work the connection until all is here: with the bomb until it has gone off, then without."""
    went_off = False
    for _ in range(2000):
        if done():
            return
        if went_off:
            amqp.do_events()
        else:
            went_off = bomb.run(amqp.do_events)
    raise AssertionError(f"events were lost after an exception at {bomb.where}")


def each_line(round_of: Callable[[int, Bomb], None]) -> None:
    """Rounds with the bomb at one line after the other, until a round has fewer lines."""
    for number in range(1, MOST):
        bomb = Bomb(number)
        round_of(number, bomb)
        if bomb.left:
            assert number > 50, "the component was hardly traced"
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("listens", [True, False])
@pytest.mark.slow
def test_an_exception_at_any_line_loses_no_outcome(listens: bool) -> None:
    with Server(hold={"disposition"}) as server, client(server, "out>") as amqp:
        amqp.message_value_type, amqp.message_value, amqp.message_settled = ValueType.mvtString, "x", False
        outcomes: list[str] = []
        out: list[str] = []
        if listens:
            amqp.on_message_outcome = lambda event: outcomes.append(event.message_id)
        amqp.on_message_out = lambda event: out.append(event.message_id)

        def settle(peer: Peer) -> None:
            # One disposition each, so that there are several events.
            for held in server.held:
                held.settle(ACCEPTED)
                peer.flush()
            server.held.clear()

        def round_of(number: int, bomb: Bomb) -> None:
            outcomes.clear()
            out.clear()
            ids = [f"{number}-{i}" for i in range(3)]
            for name in ids:
                amqp.message_id = name
                amqp.send_message("out")
            server.wait_for(lambda: len(server.held) == 3)
            server.do(settle)
            drive(amqp, bomb, lambda: amqp.outgoing_message_count == 0 and set(out) == set(ids))
            assert out == ids, bomb.where
            assert outcomes == (ids if listens else []), bomb.where

        each_line(round_of)


@pytest.mark.slow
def test_an_exception_at_any_line_loses_no_message() -> None:
    with Server() as server, client(server, "in<") as amqp:
        seen: list[str] = []
        amqp.on_message_in = lambda event: seen.append(amqp.received_message_value)

        def round_of(number: int, bomb: Bomb) -> None:
            seen.clear()
            server.outcomes.clear()
            texts = [f"{number}-{i}" for i in range(3)]
            server.put("in", *texts)
            drive(amqp, bomb, lambda: len(server.outcomes) == 3)
            # Those that the program has not seen were released, and would come again.
            released = [type(state).__name__ for _, state, _ in server.outcomes].count("Released")
            assert len(set(seen)) + released >= 3, bomb.where
            assert released <= 1, bomb.where

        each_line(round_of)


@pytest.mark.slow
def test_an_exception_at_any_line_of_a_fetch_leaves_no_credit_behind() -> None:
    with Server() as server, client(server, "get?") as amqp:
        seen: list[str] = []
        amqp.on_message_in = lambda event: seen.append(amqp.received_message_value)

        def round_of(number: int, bomb: Bomb) -> None:
            server.outcomes.clear()
            server.put("get", f"message {number}")
            bomb.run(partial(amqp.fetch_message, "get"))
            # Whatever it had asked for has been used or given back: the message is settled, or still the server's.
            amqp.do_events()
            pump(amqp, lambda: server.do(lambda peer: peer.sender("get").credit) == 0)
            pump(amqp, lambda: len(server.outcomes) + len(server.feeds["get"].payloads) == 1)
            server.feeds["get"].payloads.clear()

        each_line(round_of)

"""Credit arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqp10.client.credit import CreditWindow
from amqp10.client.message import Message
from tests.client.fake import Rig


def test_credit_is_given_when_half_of_it_is_used_and_not_before() -> None:
    window = CreditWindow(10)
    assert window.due(0, 0, 0) == 10
    assert window.due(6, 0, 0) == 0
    assert window.due(5, 0, 0) == 10
    assert window.due(2, 3, 0) == 7
    assert window.due(2, 0, 3) == 7


def test_messages_that_the_program_holds_count_as_credit_in_use() -> None:
    window = CreditWindow(10)
    assert window.due(0, 0, 10) == 0
    assert window.due(0, 6, 0) == 0
    assert window.due(0, 0, 5) == 5


def test_a_program_that_holds_more_than_half_of_its_prefetch_still_gets_the_rest() -> None:
    window = CreditWindow(10)
    assert window.due(0, 0, 7) == 3
    assert window.due(3, 0, 7) == 0
    assert window.due(0, 3, 7) == 0


def test_a_prefetch_of_one_asks_for_one_message_at_a_time() -> None:
    window = CreditWindow(1)
    assert window.due(0, 0, 0) == 1
    assert window.due(1, 0, 0) == 0
    assert window.due(0, 0, 1) == 0


def test_a_paused_receiver_and_one_without_prefetch_give_no_credit() -> None:
    window = CreditWindow(10)
    window.paused = True
    assert window.due(0, 0, 0) == 0
    assert CreditWindow(0).due(0, 0, 0) == 0


@given(st.integers(1, 1000), st.lists(st.sampled_from(["arrive", "receive", "settle"]), max_size=200))
def test_no_more_than_the_prefetch_is_ever_under_way(prefetch: int, steps: list[str]) -> None:
    window = CreditWindow(prefetch)
    credit = window.due(0, 0, 0)
    queued = unsettled = 0
    for step in steps:
        if step == "arrive" and credit:
            credit -= 1
            queued += 1
        elif step == "receive" and queued:
            queued -= 1
            unsettled += 1
        elif step == "settle" and unsettled:
            unsettled -= 1
        credit = window.due(credit, queued, unsettled) or credit
        assert credit + queued + unsettled <= prefetch
        # Whoever waits for a message and may have one gets it.
        assert credit or queued or unsettled == prefetch


def test_a_program_that_forgets_to_settle_is_told_so_once_and_not_at_once(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig().connect()
    receiver = rig.receiver(prefetch=2)
    for n in range(2):
        rig.peer.sender.send(Message(n).encode())
    rig.driver.settle()
    held = [rig.run(receiver.receive(None)) for _ in range(2)]
    waiting = rig.start(receiver.receive(None))
    rig.driver.advance(10)
    assert not caplog.messages
    rig.driver.advance(60)
    assert sum("has not settled" in message for message in caplog.messages) == 1
    held[0].accept()
    rig.driver.settle()
    rig.peer.sender.send(Message(2).encode())
    rig.driver.settle()
    assert waiting.value().body == 2

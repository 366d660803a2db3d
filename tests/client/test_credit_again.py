"""Credit that a message has used which never came whole, or not to the program, is given again."""

from __future__ import annotations

from typing import Any

import pytest

from amqp10.client import operations
from amqp10.client.message import Message
from amqp10.client.options import receiver_spec
from amqp10.errors import RemoteError
from tests.client.fake import FakeTask, Rig

LONG = Message("x" * 3000).encode()


class Scene:
    """A sender that is stopped by the session window after the first frame of each long message."""

    def __init__(self, prefetch: int, window: int = 1) -> None:
        self.rig = Rig(max_frame_size=512).connect()
        self.driver = self.rig.driver
        session = self.rig.core.add_session(window, 2048)
        spec = receiver_spec("orders", {"prefetch": prefetch})
        self.receiver: Any = self.rig.run(operations.attach_receiver(session, spec, self.driver.now + 30))

    @property
    def transport(self) -> Any:
        return self.rig.transport

    def send(self, body: Any) -> None:
        self.rig.peer.sender.send(Message(body).encode())
        self.driver.settle()

    def start_of_a_long_one(self) -> Any:
        """One frame of it arrives, and the sender is not told that there is room for more."""
        delivery = self.rig.peer.sender.send(LONG)
        self.transport.pump_in()
        assert self.receiver.link.partial is not None
        return delivery

    def abort(self) -> None:
        delivery = self.start_of_a_long_one()
        delivery.abort()
        self.driver.settle()
        assert self.receiver.link.partial is None

    def lose(self) -> None:
        self.transport.cut()
        self.driver.settle()

    def receive(self) -> FakeTask:
        return self.rig.start(self.receiver.receive(None))


def test_credit_of_messages_that_the_sender_gives_up_is_given_again() -> None:
    scene = Scene(prefetch=4)
    for _ in range(20):
        scene.abort()
    waiting = scene.receive()
    scene.send("whole")
    assert waiting.value().body == "whole"


def test_a_receive_whose_message_the_sender_gives_up_has_the_next() -> None:
    scene = Scene(prefetch=0)
    waiting = scene.receive()
    scene.abort()
    assert scene.rig.peer.sender.credit == 1
    scene.send("whole")
    assert waiting.value().body == "whole"
    assert scene.rig.peer.sender.credit == 0


def test_credit_of_the_program_that_a_given_up_message_had_used_is_given_again() -> None:
    scene = Scene(prefetch=0)
    scene.receiver.add_credit(3)
    scene.driver.settle()
    scene.send("first")
    scene.abort()
    scene.abort()
    assert scene.rig.peer.sender.credit == 2


def test_a_receiver_that_is_closed_does_not_wait_for_a_message_that_was_given_up() -> None:
    scene = Scene(prefetch=1)
    delivery = scene.start_of_a_long_one()
    closing = scene.rig.driver.start(operations.close_link(scene.receiver, None))
    delivery.abort()
    scene.driver.settle()
    assert closing.done


@pytest.mark.parametrize("before", [0, 1])
def test_a_message_of_which_a_part_had_come_when_the_connection_was_lost_is_asked_for_again(before: int) -> None:
    scene = Scene(prefetch=0, window=before + 1)
    waiting = [scene.receive() for _ in range(before + 1)]
    for n in range(before):
        scene.rig.peer.sender.send(Message(n).encode())
    scene.start_of_a_long_one()
    for n in range(before):
        waiting[n].step()
        assert waiting[n].value().body == n
    scene.lose()
    assert scene.rig.peer.sender.credit == 1
    scene.send("again")
    assert waiting[before].value().body == "again"


def test_a_message_that_nobody_had_taken_when_the_connection_was_lost_is_asked_for_again() -> None:
    scene = Scene(prefetch=0)
    waiting = scene.receive()
    scene.rig.peer.sender.send(Message("first").encode())
    scene.transport.pump_in()
    scene.lose()
    scene.send("again")
    assert waiting.value().body == "again"


def test_a_message_that_came_together_with_the_end_of_the_connection_is_asked_for_once() -> None:
    scene = Scene(prefetch=0)
    waiting = scene.receive()
    scene.rig.peer.sender.send(Message("first").encode())
    scene.rig.peer.engine.close(RemoteError("restarting", condition="amqp:connection:forced"))
    scene.driver.settle()
    assert not waiting.done
    assert scene.rig.peer.sender.credit == 1
    scene.send("again")
    assert waiting.value().body == "again"
    assert scene.rig.peer.sender.credit == 0


def test_credit_of_the_program_for_messages_that_it_had_not_taken_is_given_again_with_the_connection() -> None:
    scene = Scene(prefetch=0)
    scene.receiver.add_credit(5)
    scene.driver.settle()
    for n in range(3):
        scene.send(n)
    assert scene.receive().value().body == 0
    scene.start_of_a_long_one()
    scene.lose()
    assert scene.rig.peer.sender.credit == 4


def test_a_part_that_is_on_its_way_is_for_the_next_who_asks() -> None:
    scene = Scene(prefetch=0)
    first = scene.receive()
    scene.start_of_a_long_one()
    first.step(KeyboardInterrupt())
    second = scene.receive()
    scene.driver.settle()
    assert second.value().encode() == LONG
    assert scene.rig.peer.sender.credit == 0

"""What a peer asks of a client that only makes links itself is refused, so that it need not wait for an answer."""

from __future__ import annotations

from typing import Any

from amqp10.client.message import Message
from amqp10.client.recovery import ConnectionState
from amqp10.engine import LinkDetached, LinkState, SessionEnded, SessionState
from amqp10.wire.messaging import Source, Target
from tests.client.fake import Rig


def test_a_link_that_the_peer_asks_for_is_refused_and_the_others_go_on() -> None:
    rig = Rig().connect()
    sender = rig.sender()
    session: Any = rig.peer.receiver.session
    link = session.attach_sender("theirs", source=Source(address="a"), target=Target(address="b"))
    rig.driver.settle()
    assert link.state is LinkState.DETACHED
    (detached,) = rig.peer.detached
    assert isinstance(detached, LinkDetached)
    assert detached.refused
    assert detached.error is not None
    assert detached.error.condition == "amqp:not-implemented"
    delivery = rig.run(sender.submit(Message("x"), False, None))
    rig.driver.settle()
    rig.peer.accept()
    rig.driver.settle()
    assert delivery.outcome is not None


def test_a_session_that_the_peer_asks_for_is_refused_and_the_others_go_on() -> None:
    rig = Rig().connect()
    sender = rig.sender()
    session = rig.peer.engine.begin()
    ended: list[SessionEnded] = []
    handle = rig.peer.handle

    def seen(events: list[object]) -> None:
        ended.extend(event for event in events if isinstance(event, SessionEnded))
        handle(events)  # type: ignore[arg-type]

    rig.peer.handle = seen  # type: ignore[method-assign, assignment]
    rig.driver.settle()
    assert session.state is SessionState.UNMAPPED
    (event,) = ended
    assert event.error is not None
    assert event.error.condition == "amqp:not-implemented"
    assert rig.core.state is ConnectionState.OPEN
    assert sender.credit > 0

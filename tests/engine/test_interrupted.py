"""An exception out of a signal handler, such as KeyboardInterrupt, may come at any call that the engine makes.

Python runs signal handlers when a function is entered and when one in C has returned. A profile function is called at
the same places, and raises at each of them in turn.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from amqp10 import engine
from amqp10.engine import (
    ConnectionFailed,
    DeliveriesUpdated,
    Event,
    IncomingDelivery,
    LinkFlow,
    LinkRequested,
    OutgoingDelivery,
    SenderLink,
)
from amqp10.wire.frames import AMQP_HEADER
from amqp10.wire.messaging import ACCEPTED, RELEASED, Source, Target
from tests.engine.harness import Pair

ENGINE = str(Path(engine.__file__).parent)


class AlarmError(BaseException):
    """Raised by a signal handler."""


def interrupted(number: int, call: Callable[[], object]) -> bool:
    """Make a call and raise at the n-th place in it where a signal handler may run. Whether there is such a place."""
    left = number

    def profile(frame: FrameType, event: str, arg: object) -> None:
        nonlocal left
        if event in ("call", "c_return") and frame.f_code.co_filename.startswith(ENGINE):
            left -= 1
            if left == 0:
                sys.setprofile(None)
                raise AlarmError

    sys.setprofile(profile)
    try:
        call()
    except AlarmError:
        return True
    finally:
        sys.setprofile(None)
    return False


def until_it_does_not(attempt: Callable[[int], bool]) -> int:
    """Interrupt something at each place. Returns how many there are."""
    number = 1
    while attempt(number):
        number += 1
    return number - 1


class Talk:
    """A client that sends on one link and receives on another, each with messages in flight."""

    def __init__(self, frame: int = 600) -> None:
        self.pair = Pair(client={"max_frame_size": frame}, server={"max_frame_size": frame})
        self.mine, self.theirs = self.pair.session(incoming_window=100)
        self.out, self.their_in = self.pair.sender(self.mine)
        self.back = self.mine.attach_receiver("back", source=Source(), target=Target())
        self.pair.step()
        (asked,) = [event.link for event in self.pair.take(server=True) if isinstance(event, LinkRequested)]
        assert isinstance(asked, SenderLink)
        self.their_out = asked
        self.their_out.accept()
        self.back.flow(50)
        self.pair.step()
        self.pair.take()
        self.pair.take(server=True)
        self.sent = [self.out.send(b"out %d" % i) for i in range(9)]
        self.pair.step()
        self.got = [event for event in self.pair.take(server=True) if isinstance(event, IncomingDelivery)]
        self.events: deque[Event] = deque()

    @property
    def arrived(self) -> list[bytes]:
        return [event.payload for event in self.events if isinstance(event, IncomingDelivery)]

    def hand_over(self) -> None:
        """Give the client what the server has written, without looking at it."""
        self.pair.client.feed(b"".join(self.pair.server.data_to_send(0)), 0)

    def go_on(self) -> None:
        """See what is there, and let both sides come to rest."""
        self.pair.client.process(self.events)
        self.pair.step()
        self.events.extend(self.pair.take())

    def check(self) -> None:
        """Both sides agree on everything, and can go on."""
        assert not [event for event in self.events if isinstance(event, ConnectionFailed)]
        assert self.mine.mapped
        self.their_out.send(b"last")
        self.go_on()
        assert self.arrived[-1] == b"last"
        self.back.flow(7)
        self.their_in.flow(8)
        self.pair.step()
        assert (self.their_out.credit, self.out.credit) == (7, 8)
        assert self.back.delivery_count == self.their_out.delivery_count
        assert self.mine.window.next_incoming_id == self.theirs.window.next_outgoing_id


def test_no_message_is_lost_or_seen_twice_whenever_an_exception_comes() -> None:
    def attempt(number: int) -> bool:
        talk = Talk()
        for i in range(5):
            talk.their_out.send(b"a %d" % i)
        for i in range(5):
            talk.their_out.send(b"b %d" % i, settled=True)
        talk.their_out.send(b"c")
        talk.hand_over()
        again = interrupted(number, lambda: talk.pair.client.process(talk.events))
        talk.go_on()
        assert talk.arrived == [b"a %d" % i for i in range(5)] + [b"b %d" % i for i in range(5)] + [b"c"]
        unsettled = [event for event in talk.events if isinstance(event, IncomingDelivery) and not event.settled]
        assert list(talk.back.unsettled.values()) == list(talk.mine.incoming_unsettled.values()) == unsettled
        talk.check()
        return again

    assert until_it_does_not(attempt) > 20


def test_no_outcome_is_lost_whenever_an_exception_comes() -> None:
    def attempt(number: int) -> bool:
        talk = Talk()
        first, second, *others, last = talk.got
        for delivery in (first, *others):
            delivery.settle(ACCEPTED)
        second.settle(RELEASED)
        last.update(ACCEPTED)
        talk.their_in.flow(100, echo=True)
        talk.hand_over()
        again = interrupted(number, lambda: talk.pair.client.process(talk.events))
        talk.go_on()
        reported: list[OutgoingDelivery] = []
        for event in talk.events:
            if isinstance(event, DeliveriesUpdated):
                assert event.state == (RELEASED if event.deliveries == [talk.sent[1]] else ACCEPTED)
                reported += [delivery for delivery in event.deliveries if delivery not in reported]
        assert sorted(reported, key=lambda delivery: delivery.delivery_id) == talk.sent
        assert [delivery.remote_settled for delivery in talk.sent] == [True] * 8 + [False]
        assert list(talk.out.unsettled.values()) == list(talk.mine.outgoing_unsettled.values()) == [talk.sent[8]]
        assert any(isinstance(event, LinkFlow) for event in talk.events)
        talk.check()
        return again

    assert until_it_does_not(attempt) > 20


def test_a_frame_that_must_not_be_looked_at_twice_ends_the_connection_with_the_reason() -> None:
    ended = 0

    def attempt(number: int) -> bool:
        nonlocal ended
        talk = Talk()
        large = bytes(range(256)) * 6
        talk.their_out.send(b"small")
        talk.their_out.send(large)
        talk.theirs.attach_sender("more", source=Source(), target=Target())
        talk.hand_over()
        again = interrupted(number, lambda: talk.pair.client.process(talk.events))
        talk.go_on()
        assert talk.arrived in ([b"small", large], [b"small"], []), "what arrives is whole"
        failed = [event for event in talk.events if isinstance(event, ConnectionFailed)]
        if failed:
            ended += 1
            assert "an exception came while a frame was being handled" in failed[0].error.message
            assert talk.pair.client.finished
        else:
            assert talk.arrived == [b"small", large]
            assert [event.link.name for event in talk.events if isinstance(event, LinkRequested)] == ["more"]
            talk.check()
        return again

    places = until_it_does_not(attempt)
    assert 0 < ended < places


def test_the_handshake_is_not_held_twice() -> None:
    def attempt(number: int) -> bool:
        pair = Pair()
        pair.server.feed(b"".join(pair.client.data_to_send(0)), 0)
        events: deque[Event] = deque()
        again = interrupted(number, lambda: pair.server.process(events))
        pair.server.process(events)
        assert b"".join(pair.server.data_to_send(0)).count(AMQP_HEADER) <= 1
        return again

    assert until_it_does_not(attempt) > 5


SENDS: dict[str, tuple[Callable[[SenderLink], object], list[bytes]]] = {
    "one": (lambda link: link.send(b"new"), [b"new"]),
    "settled": (lambda link: link.send(b"new", settled=True), [b"new"]),
    "with a tag": (lambda link: link.send(b"new", tag=b"tag"), [b"new"]),
    "large": (lambda link: link.send(b"n" * 9000, b"e" * 9000), [b"n" * 9000 + b"e" * 9000]),
    "many": (lambda link: link.send_many([b"n1", b"n2", b"n3"], [1, 2, 3]), [b"n1", b"n2", b"n3"]),
}


@pytest.mark.parametrize("frame", [600, 65536], ids=["small frames", "large frames"])
@pytest.mark.parametrize("window", ["open", "closed"])
@pytest.mark.parametrize(("send", "messages"), SENDS.values(), ids=SENDS.keys())
def test_a_message_is_sent_whole_or_not_at_all_whenever_an_exception_comes(
    send: Callable[[SenderLink], object], messages: list[bytes], window: str, frame: int
) -> None:
    def attempt(number: int) -> bool:
        talk = Talk(frame)
        link, window_of_link = talk.out, talk.mine.window
        if window == "closed":
            window_of_link.remote_incoming = 0
        again = interrupted(number, lambda: send(link))
        talk.theirs.send_flow()
        talk.go_on()
        link.send(b"next")
        talk.go_on()
        got = [event.payload for event in talk.pair.take(server=True) if isinstance(event, IncomingDelivery)]
        assert got[-1:] == [b"next"]
        assert got[:-1] == messages[: len(got) - 1], "what was sent is whole, in order, and there once"
        assert not link.pending
        assert not talk.mine.backlog
        assert link.delivery_count == talk.their_in.delivery_count
        assert link.credit == talk.their_in.credit
        assert list(link.unsettled) == list(talk.their_in.unsettled)
        talk.check()
        return again

    assert until_it_does_not(attempt) > 2


def accept(deliveries: list[IncomingDelivery]) -> None:
    for delivery in deliveries:
        delivery.settle(ACCEPTED)


SAYS: dict[str, Callable[[Talk], object]] = {
    "an outcome": lambda talk: talk.got[0].settle(RELEASED),
    "outcomes in a row": lambda talk: accept(talk.got),
    "credit": lambda talk: talk.their_in.flow(5),
    "less credit, and drain": lambda talk: talk.their_in.flow(1, drain=True),
}


@pytest.mark.parametrize("say", SAYS.values(), ids=SAYS.keys())
def test_what_a_receiver_says_is_said_once_more_without_harm_when_an_exception_comes(
    say: Callable[[Talk], object],
) -> None:
    def attempt(number: int) -> bool:
        talk = Talk()
        written: list[bytes | memoryview] = []

        def say_and_write() -> None:
            nonlocal written
            say(talk)
            written += talk.pair.server.data_to_send(0)

        again = interrupted(number, say_and_write)
        talk.pair.client.feed(b"".join(written), 0)
        say(talk)
        talk.go_on()
        for delivery in talk.got:
            delivery.settle(ACCEPTED)
        talk.go_on()
        talk.check()
        return again

    assert until_it_does_not(attempt) > 2

"""Time-outs of every blocking call, against peers that trickle, stall in the middle of a frame, or stop reading."""

from __future__ import annotations

import threading

import pytest

from amqp10 import AMQP, AMQPError
from tests.component.server import LIMIT, FakeClock, Server
from tests.component.test_events_rules import blocked_calls, prepare

# The start of a frame that never becomes whole.
PART = b"\x00\x00\x01\x00\x02\x00\x00\x00\x00\x53\x13\xd0\x00\x00\x00\xf0"
STEP = 0.75
"""Seconds between two octets; the time-out is 1."""


class Trickle:
    """Lets a peer send octet after octet of a frame, and time pass between them, until the call has ended."""

    def __init__(self, server: Server, clock: FakeClock, part: bytes, octets: int) -> None:
        self.server = server
        self.clock = clock
        self.part = part[:octets]
        self.sent = 0
        self.ended = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Trickle:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended = True
        self.clock.advance(0)
        self._thread.join(LIMIT)

    def _run(self) -> None:
        clock = self.clock
        # The call is waiting once the server has everything that the client sends first.
        self.server.wait_for(lambda: bool(self.server.peers) and self.waiting())
        for octet in self.part:
            if self.ended:
                return
            looks = clock.looks
            clock.advance(STEP)
            try:
                self.server.run(lambda octet=octet: [peer.sock.send(bytes((octet,))) for peer in self.server.peers])  # type: ignore[misc]
            except ConnectionError:
                # The call has timed out and hung up, which the test sees for itself.
                return
            self.sent += 1
            clock.wait_until(lambda looks=looks: self.ended or clock.looks > looks + 2)  # type: ignore[misc]
        clock.advance(STEP * 2)

    def waiting(self) -> bool:
        return bool(self.server.frames)


def start(server: Server, name: str, *settings: str) -> tuple[AMQP, FakeClock, bytes]:
    amqp = prepare(server, name)
    for setting in settings:
        amqp.config(setting)
    clock = FakeClock(amqp.clock())
    if amqp._pump is not None:
        amqp._pump.clock = clock
    amqp.clock = clock
    amqp.timeout = 1
    amqp.fetch_timeout = 1
    part = b"AMQP\x00\x01\x00\x00" + PART if name == "connect" else PART
    return amqp, clock, part


def expect_time_out(amqp: AMQP, name: str) -> None:
    if name == "disconnect":
        # The server's answer is a courtesy: without one the connection is over all the same.
        amqp.disconnect()
        assert not amqp.connected
        return
    with pytest.raises(AMQPError, match="1 second") as caught:
        blocked_calls()[name][1](amqp)
    assert caught.value.code == 201


def leave(server: Server, amqp: AMQP) -> None:
    """The server has fallen silent for good in some scripts: end the connection under both."""
    server.run(server.drop_all)
    amqp.disconnect()


@pytest.mark.parametrize("name", blocked_calls())
def test_an_absolute_time_out_is_not_extended_by_a_trickle(name: str) -> None:
    with Server() as server:
        amqp, clock, part = start(server, name, "AbsoluteTimeout=True")
        before = clock.now
        with Trickle(server, clock, part, len(part)) as trickle:
            expect_time_out(amqp, name)
            # A fetch that has timed out waits once more, for its credit to be drained.
            assert trickle.sent < len(part) // 2
        assert clock.now - before < len(part) // 2 * STEP
        leave(server, amqp)


# A fetch counts its own time-out from its start, and a disconnect gives up without an error.
@pytest.mark.parametrize("name", [name for name in blocked_calls() if name not in ("fetch_message", "disconnect")])
def test_a_trickle_keeps_an_inactivity_time_out_away_and_a_stall_within_a_frame_does_not(name: str) -> None:
    octets = 12
    with Server() as server:
        amqp, clock, part = start(server, name)
        before = clock.now
        with Trickle(server, clock, part, octets) as trickle:
            expect_time_out(amqp, name)
            assert trickle.sent == octets, "each octet gave the peer another second"
        assert clock.now - before >= octets * STEP
        leave(server, amqp)

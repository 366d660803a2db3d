"""What two ends agree on when a link is attached."""

from __future__ import annotations

import itertools

import pytest

from amqp10.engine import LinkRequested
from amqp10.wire.messaging import Source, Target
from amqp10.wire.performatives import ReceiverSettleMode, SenderSettleMode
from tests.engine.harness import Pair

SENDER_MODES = list(itertools.permutations(SenderSettleMode, 2))


@pytest.mark.parametrize("sends", [True, False], ids=["sender attaches", "receiver attaches"])
@pytest.mark.parametrize(("snd", "other_snd"), SENDER_MODES)
@pytest.mark.parametrize("rcv", ReceiverSettleMode)
@pytest.mark.parametrize("other_rcv", ReceiverSettleMode)
def test_each_end_decides_how_it_settles_and_what_the_other_states_is_a_wish(
    sends: bool,
    snd: SenderSettleMode,
    other_snd: SenderSettleMode,
    rcv: ReceiverSettleMode,
    other_rcv: ReceiverSettleMode,
) -> None:
    pair = Pair()
    session, _ = pair.session()
    attach = session.attach_sender if sends else session.attach_receiver
    mine = attach("l", source=Source(), target=Target(), snd_settle_mode=snd, rcv_settle_mode=rcv)
    pair.step()
    theirs = next(event.link for event in pair.take(server=True) if isinstance(event, LinkRequested))
    assert (theirs.snd_settle_mode, theirs.rcv_settle_mode) == (snd, rcv)
    theirs.accept(snd_settle_mode=other_snd, rcv_settle_mode=other_rcv)
    pair.step()
    stated = mine.remote_attach
    assert stated is not None
    assert (stated.snd_settle_mode, stated.rcv_settle_mode) == (other_snd, other_rcv)
    agreed = (snd, other_rcv) if sends else (other_snd, rcv)
    assert (mine.snd_settle_mode, mine.rcv_settle_mode) == agreed
    assert (theirs.snd_settle_mode, theirs.rcv_settle_mode) == agreed

"""Requests: what the program is told when there is nowhere for responses to come to."""

from __future__ import annotations

import pytest

from amqp10.client.received import ReceivedMessage
from amqp10.client.requests import Requests
from amqp10.errors import LinkRefusedError, ProtocolError
from tests.client.fake import Rig


def refusal(condition: str, reply_to: str | None = None) -> LinkRefusedError:
    """What a request fails with when the peer refuses the link for responses."""
    rig = Rig().connect()
    rig.peer.refuse = ProtocolError("no such thing here", condition=condition)
    requests = Requests(rig.core)
    with pytest.raises(LinkRefusedError, match="no such thing here") as refused:
        rig.run(requests.request("rpc", "x", False, None, ReceivedMessage, reply_to))
    assert refused.value.condition == condition
    return refused.value


def test_a_peer_without_dynamic_nodes_is_answered_with_the_way_to_do_without() -> None:
    error = refusal("amqp:not-implemented")
    assert "reply_to names a queue" in error.message
    assert "reply_to names a queue" in error.args[1]
    assert isinstance(error.__cause__, LinkRefusedError)


@pytest.mark.parametrize("condition", ["amqp:unauthorized-access", "amqp:not-found", "com.example:full"])
def test_another_reason_for_refusing_a_dynamic_node_has_no_hint_that_leads_astray(condition: str) -> None:
    assert "reply_to" not in refusal(condition).message


def test_a_refused_queue_that_reply_to_names_has_no_hint_to_name_one() -> None:
    assert "reply_to" not in refusal("amqp:not-implemented", "responses").message

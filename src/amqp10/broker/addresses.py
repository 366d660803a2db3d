"""Addresses: which node is meant. A node can be written in several ways; rules apply to the node, not to the text."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from amqp10.conditions import ErrorCondition
from amqp10.errors import ProtocolError

__all__ = ["DEAD_LETTER_SUFFIX", "Address", "parse_address"]

DEAD_LETTER_SUFFIX: Final = ".dlq"
"""The name of a dead-letter queue is the name of its queue with this suffix."""

_QUEUES: Final = "/queues/"
_TOPICS: Final = "/topics/"


class Address(NamedTuple):
    """A node: a queue or a topic, and its name."""

    name: str
    topic: bool = False

    def __str__(self) -> str:
        return f"{_TOPICS if self.topic else _QUEUES}{quote(self.name, safe='')}"


def parse_address(address: object, *, topic: bool = False) -> Address:
    """The node of an address: ``NAME`` and ``/queues/NAME`` are a queue, ``/topics/NAME`` is a topic.

    Names are percent-encoded: ``a%2Fb`` is ``a/b``.

    Args:
        address: what the peer gave.
        topic: whether a name without a prefix is that of a topic.

    Raises:
        ProtocolError: it is not a string, or has no name.
    """
    if not isinstance(address, str) or not address:
        raise ProtocolError("the link has no address", condition=ErrorCondition.INVALID_FIELD)
    text = str(address)
    if text.startswith(_TOPICS):
        text, topic = text.removeprefix(_TOPICS), True
    elif text.startswith(_QUEUES):
        text, topic = text.removeprefix(_QUEUES), False
    name = unquote(text) if "%" in text else text
    if not name:
        raise ProtocolError(f"the address {str(address)!r} has no name", condition=ErrorCondition.INVALID_FIELD)
    return Address(name, topic)

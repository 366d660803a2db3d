"""Names of links and sessions: order, indexes, and what is remembered of the ones that ended."""

from __future__ import annotations

from typing import Any

import pytest

from amqp10.component.registry import Registry
from amqp10.errors import AMQPError, ProtocolError


def record(name: str) -> Any:
    return Record(name)


class Record:
    """A record as far as the registry looks at it."""

    def __init__(self, name: str) -> None:
        self.name = name


def test_indexes_follow_the_order_of_creation_while_records_come_and_go() -> None:
    registry: Registry[Any] = Registry("link")
    for name in "abc":
        registry.add(record(name))
    assert [registry.at(i, "link_index").name for i in range(3)] == ["a", "b", "c"]
    registry.remove("b")
    registry.add(record("d"))
    registry.add(record("b"))
    assert [registry.at(i, "link_index").name for i in range(4)] == ["a", "c", "d", "b"]
    assert [registry.index_of(name) for name in "abcdx"] == [0, 3, 1, 2, -1]
    again = registry.get("a")
    registry.add(again)
    assert [registry.at(i, "link_index").name for i in range(4)] == ["a", "c", "d", "b"]
    registry.clear()
    assert registry.index_of("a") == -1
    with pytest.raises(AMQPError, match="out of range"):
        registry.at(0, "link_index")


def test_what_is_remembered_of_ended_names_is_bounded_and_the_latest_are_kept() -> None:
    registry: Registry[Any] = Registry("link")
    for number in range(3000):
        registry.add(record(f"l{number}"))
        registry.remove(f"l{number}", ProtocolError(f"reason {number}"))
    assert len(registry._ended) == 1000
    with pytest.raises(AMQPError, match="reason 2999"):
        registry.find("l2999")
    with pytest.raises(AMQPError, match="there is no link named 'l0'"):
        registry.find("l0")

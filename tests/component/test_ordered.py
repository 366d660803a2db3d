"""The ordered collection behind the indexes of outgoing messages: right, and cheap in whatever order items go."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqp10.component import ordered
from amqp10.component.ordered import Ordered


@pytest.mark.parametrize("few", [0, 3])
@given(steps=st.lists(st.integers(-1, 10**6), max_size=150))
def test_indexes_are_those_of_a_list(few: int, steps: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordered, "_FEW", few)
        items: Ordered[int] = Ordered([0, 1])
        plain = [0, 1]
        for number, step in enumerate(steps, 2):
            if step < 0 or not plain:
                items.append(number)
                plain.append(number)
            else:
                items.remove(plain.pop(step % len(plain)))
            assert len(items) == len(plain)
            assert [items.at(index) for index in range(len(plain))] == plain
            assert [items.index(item) for item in plain] == list(range(len(plain)))


def test_what_is_not_there_cannot_be_removed() -> None:
    items = Ordered("ab")
    items.remove("a")
    with pytest.raises(KeyError):
        items.remove("a")
    with pytest.raises(KeyError):
        items.index("a")
    assert items.at(0) == "b"
    assert items.index("b") == 0


class Counted:
    """An item that counts how often any of them is looked at by a dictionary."""

    looks = 0

    def __hash__(self) -> int:
        Counted.looks += 1
        return id(self)

    __eq__ = object.__eq__


@pytest.mark.parametrize("order", ["first", "last", "middle", "random"])
def test_removing_and_indexing_take_a_constant_number_of_steps_whatever_goes_first(order: str) -> None:
    count = 20_000
    items: Ordered[Any] = Ordered()
    plain = [Counted() for _ in range(count)]
    for item in plain:
        items.append(item)
    if order == "last":
        plain.reverse()
    elif order == "middle":
        plain = plain[count // 2 :] + plain[: count // 2]
    elif order == "random":
        random.Random(7).shuffle(plain)
    Counted.looks = 0
    for item in plain:
        items.at(0)
        items.at(len(items) - 1)
        assert items.at(items.index(item)) is item
        items.remove(item)
    assert len(items) == 0
    # A list that is built anew after each removal would be count * count / 2.
    assert Counted.looks < 14 * count
    assert len(items._items) <= 2 * ordered._FEW + 2, "what is gone takes no memory"

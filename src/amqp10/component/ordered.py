"""An ordered collection with indexes, for what is appended at the end and goes in almost any order.

Removing from the middle of a list moves all that comes after, and an index counted anew after each removal is no
cheaper. Here removed items leave holes, which an index steps over by binary search, until there are so many that
closing them pays.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterable
from typing import Final, Generic, TypeVar

__all__ = ["Ordered"]

T = TypeVar("T", bound=Hashable)
_FEW: Final = 256
"""So many holes, or gone items in front, are always left as they are."""


class Ordered(Generic[T]):
    """Items in the order in which they were appended, each at most once.

    Appending and removing take constant time on average, indexes take the logarithm of the number of holes.
    """

    __slots__ = ("_base", "_first", "_holes", "_items", "_where")

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._fill(items)

    def _fill(self, items: Iterable[T]) -> None:
        kept = list(items)
        self._items: list[T | None] = [*kept]
        # A position counts from the first item there ever was; ``_base`` is the one at which the list starts now.
        self._base = 0
        self._where: dict[T, int] = {item: position for position, item in enumerate(kept)}
        self._first = 0
        """The position of the first item that is there."""
        self._holes: list[int] = []
        """The positions after that at which there is none, sorted."""

    def __len__(self) -> int:
        return len(self._where)

    def append(self, item: T) -> None:
        """Add an item after the last."""
        self._where[item] = self._base + len(self._items)
        self._items.append(item)

    def remove(self, item: T) -> None:
        """Take an item out; one that is not there raises ``KeyError``."""
        position = self._where.pop(item)
        items, holes = self._items, self._holes
        items[position - self._base] = None
        if position != self._first:
            insort(holes, position)
            if len(holes) > _FEW + len(self._where) // 8:
                self._fill(self._where)
            return
        position += 1
        passed = 0
        while passed < len(holes) and holes[passed] == position:
            passed += 1
            position += 1
        del holes[:passed]
        self._first = position
        gone = position - self._base
        if gone > _FEW and gone > len(items) // 2:
            del items[:gone]
            self._base = position

    def index(self, item: T) -> int:
        """The index of an item; one that is not there raises ``KeyError``."""
        position = self._where[item]
        return position - self._first - bisect_left(self._holes, position)

    def at(self, index: int) -> T:
        """The item at an index from 0 up to the length, which the caller has checked."""
        holes = self._holes
        wanted = self._first + index
        low, high = 0, len(holes)
        while low < high:
            middle = (low + high) // 2
            if holes[middle] - middle <= wanted:
                low = middle + 1
            else:
                high = middle
        item = self._items[wanted + low - self._base]
        assert item is not None
        return item

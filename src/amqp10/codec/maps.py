"""Maps that a ``dict`` cannot hold (types, "map")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from amqp10.codec.encode import COMPOUNDS, encode, encode_pairs
from amqp10.codec.shown import shown
from amqp10.errors import EncodeError

__all__ = ["Map"]


class Map(Mapping[Any, Any]):
    """A map that distinguishes keys by type: ``True`` is not ``1``, a uint 1 is not a ulong 1.

    Decoding returns a plain ``dict`` if that can hold the map. It returns a ``Map`` if two keys are equal in Python but
    not in AMQP, a key cannot be hashed, or more than ``MAX_PREDICTABLE_KEYS`` keys are numbers. Pairs keep their order.

    Args:
        pairs: keys and values.

    Raises:
        EncodeError: two keys are the same AMQP value (types, "map").
    """

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[Any, Any]] = ()) -> None:
        self._pairs: dict[bytes, tuple[Any, Any]] = {}
        for key, value in pairs:
            identity = encode(key)
            if identity in self._pairs:
                raise EncodeError(f"the key {shown(key, 60)} is in the map twice")
            self._pairs[identity] = (key, value)

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._pairs[encode(key)][1]
        except (KeyError, EncodeError):
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[Any]:
        return (key for key, _ in self._pairs.values())

    def __len__(self) -> int:
        return len(self._pairs)

    def pairs(self) -> list[tuple[Any, Any]]:
        """Keys and values, in order."""
        return list(self._pairs.values())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Map):
            return self._pairs == other._pairs
        return NotImplemented

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Map({self.pairs()!r})"


def _encode_map(value: Map, depth: int) -> bytes:
    return encode_pairs(value.pairs(), depth)


COMPOUNDS[Map] = _encode_map

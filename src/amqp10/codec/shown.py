"""Values in messages for people: ``repr``, cut before it gets long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from amqp10.codec.types import Array, Described

__all__ = ["shown"]

_DEEPEST: Final = 16


def shown(value: Any, most: int) -> str:
    """The ``repr`` of a value, cut after about ``most`` characters.

    The elements of an array share their descriptor, so the ``repr`` of a value can be thousands of times as long as its
    encoding. This does no more work than its result needs.
    """
    parts: list[str] = []
    room = _show(value, most, parts, 0)
    text = "".join(parts)
    return f"{text[:most]}..." if room < 0 else text


def _show(value: Any, room: int, parts: list[str], depth: int) -> int:
    """Append the text of a value to ``parts``. Returns the characters that are left, less than 0 if it was cut."""
    if isinstance(value, (str, bytes, bytearray)):
        cut = value[: room + 1]
        text = repr(cut)
    elif depth == _DEEPEST and isinstance(value, (list, tuple, Array, Described, Mapping)):
        text = "..."
    elif isinstance(value, Described):
        parts.append("Described(")
        room = _show(value.descriptor, room - 11, parts, depth + 1)
        if room >= 0:
            parts.append(", ")
            room = _show(value.value, room - 2, parts, depth + 1)
            parts.append(")")
        return room
    elif isinstance(value, Array) and value.items:
        return _show_all(value.items, "Array([", "])", room, parts, depth)
    elif type(value) is list:
        return _show_all(value, "[", "]", room, parts, depth)
    elif isinstance(value, Mapping):
        parts.append("{")
        room -= 2
        for number, (key, item) in enumerate(value.items()):
            if number:
                parts.append(", ")
            room = _show(key, room - 2, parts, depth + 1)
            if room < 0:
                return room
            parts.append(": ")
            room = _show(item, room - 2, parts, depth + 1)
            if room < 0:
                return room
        parts.append("}")
        return room
    else:
        text = repr(value)
    parts.append(text)
    return room - len(text)


def _show_all(items: Iterable[Any], before: str, after: str, room: int, parts: list[str], depth: int) -> int:
    parts.append(before)
    room -= len(before) + len(after)
    for number, item in enumerate(items):
        if number:
            parts.append(", ")
        room = _show(item, room - 2 if number else room, parts, depth + 1)
        if room < 0:
            return room
    parts.append(after)
    return room

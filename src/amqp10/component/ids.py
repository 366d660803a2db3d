"""Message ids and correlation ids: as text for programs, with the type that they have on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amqp10.codec import ULong
from amqp10.component.checks import check_int, check_text
from amqp10.component.scalars import format_hex
from amqp10.errors import AMQPError

if TYPE_CHECKING:
    from uuid import UUID

    MessageId = str | int | UUID | bytes

__all__ = ["IdText", "check_id", "id_text", "ulong_text", "wire_id"]


class IdText(str):
    """The text of a message id or correlation id that is no string on the wire, with the id itself.

    It is a str for all purposes. Assigned to ``message_id`` or ``message_correlation_id`` it travels as what it was
    (messaging, "message-id-ulong" and following).
    """

    __slots__ = ("value",)

    value: ULong | UUID | bytes


def _typed_id(text: str, value: ULong | UUID | bytes) -> IdText:
    made = IdText(text)
    made.value = value
    return made


def ulong_text(number: int) -> IdText:
    """The text of an id that is a ulong, for a number that is known to be one."""
    made = IdText(number)
    made.value = int.__new__(ULong, number)
    return made


def check_id(name: str, value: object) -> str:
    """An id as a program gives it: a str, or an int, a UUID or bytes for an id of that type on the wire.

    Raises:
        TypeError: it is of none of these types.
        AMQPError: 604; an int that is no ulong, or a str that UTF-8 cannot encode.
    """
    if isinstance(value, IdText):
        return value
    if isinstance(value, str):
        return str(check_text(name, value))
    if isinstance(value, int) and not isinstance(value, bool):
        number = check_int(name, value, 0, 2**64 - 1)
        return _typed_id(str(number), ULong(number))
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        return _typed_id(format_hex(data), data)
    from uuid import UUID

    if isinstance(value, UUID):
        return _typed_id(str(value), value)
    raise TypeError(f"{name} must be a str, an int, a UUID or bytes, not {type(value).__name__}")


def wire_id(text: str) -> object:
    """An id as it travels; None for none."""
    return text.value if isinstance(text, IdText) else text or None


def id_text(value: object) -> str:
    """A message id or correlation id as text: ulong in decimal, uuid canonical, binary in upper-case hexadecimal.

    What is no string on the wire is an :class:`IdText`, so that it keeps its type where it is passed on.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    try:
        return check_id("message_id", value)
    except (TypeError, AMQPError):
        return repr(value)

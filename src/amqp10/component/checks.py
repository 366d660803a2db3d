"""What programs assign, checked: plain values of the right type, or the error that says why not."""

from __future__ import annotations

from enum import IntEnum
from typing import TypeVar

from amqp10.errors import AMQPError

__all__ = ["check_bool", "check_bytes", "check_enum", "check_host", "check_int", "check_text"]

E = TypeVar("E", bound=IntEnum)


def _number(value: int) -> str:
    # Python refuses to print an int of thousands of digits.
    return str(int(value)) if -(10**40) < value < 10**40 else "a number of more than 40 digits"


def check_int(name: str, value: object, minimum: int, maximum: int) -> int:
    """``value`` as a plain int, or the error that says why it cannot be one."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not minimum <= value <= maximum:
        raise AMQPError(604, f"{name} must be between {minimum} and {maximum}, not {_number(value)}")
    return int(value)


def check_text(name: str, value: object, errors: str = "strict") -> str:
    """``value`` as a str that has an encoding, or the error that says why it cannot be one."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value.isascii():
        try:
            value.encode("utf-8", errors)
        except UnicodeEncodeError as error:
            raise AMQPError(604, f"{name} cannot be encoded as UTF-8: {error.reason}") from None
    return value


def check_host(name: str, value: object) -> str:
    """``value`` as a host name or address: no blanks and no control characters in it."""
    text = check_text(name, value)
    if any(char <= " " or char == "\x7f" for char in text):
        raise AMQPError(604, f"{name} must not contain blanks or control characters")
    return text


def check_bool(name: str, value: object) -> bool:
    """``value`` as a bool; the numbers 0 and 1 are taken for one, because programs for the reference write them."""
    if isinstance(value, bool):
        return value
    if type(value) is int:
        if value in (0, 1):
            return value == 1
        raise AMQPError(604, f"{name} must be True or False (or 1 or 0), not {_number(value)}")
    raise TypeError(f"{name} must be a bool, not {type(value).__name__}")


def check_bytes(name: str, value: object) -> bytes:
    """``value`` as bytes; a str is taken as its UTF-8, because file names and PEM are texts."""
    if isinstance(value, str):
        return check_text(name, value).encode()
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"{name} must be bytes, not {type(value).__name__}")
    return bytes(value)


def check_enum(name: str, enum: type[E], value: object) -> E:
    """The member of ``enum`` that ``value`` is or names."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    try:
        return enum(value)
    except ValueError:
        known = ", ".join(f"{member.name} ({member.value})" for member in enum)
        raise AMQPError(604, f"{name} must be one of {known}; not {_number(value)}") from None

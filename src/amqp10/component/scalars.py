"""Text <-> scalar values: what message values, composite JSON and config settings have in common.

The parsers are strict: ASCII digits only, no underscores, no surrounding space, bounded length. They raise
``ValueError`` with the reason; the callers add what the text was for.
"""

from __future__ import annotations

import math
import re
from struct import Struct
from typing import TYPE_CHECKING, Final

from amqp10.codec.types import Decimal32, Decimal64, Decimal128

if TYPE_CHECKING:
    from decimal import Decimal
    from fractions import Fraction
    from uuid import UUID

__all__ = [
    "format_double",
    "format_float",
    "format_hex",
    "parse_char",
    "parse_decimal",
    "parse_double",
    "parse_float",
    "parse_hex",
    "parse_int",
    "parse_string",
    "parse_symbol",
    "parse_uuid",
    "show",
]

# Texts, because ``re`` compiles each when it is first used and keeps it: importing this module need not.
_INTEGER: Final = r"[+-]?[0-9]{1,40}"
_NUMBER: Final = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?"
_NUMBER_LIMIT: Final = 2048
_UUID: Final = r"[0-9A-Fa-f]{8}(-?)[0-9A-Fa-f]{4}\1[0-9A-Fa-f]{4}\1[0-9A-Fa-f]{4}\1[0-9A-Fa-f]{12}"
_SHOWN: Final = 60
_DECIMALS: Final[dict[int, type[Decimal32 | Decimal64 | Decimal128]]] = {4: Decimal32, 8: Decimal64, 16: Decimal128}
_SPECIAL: Final = {
    "nan": math.nan,
    "inf": math.inf,
    "+inf": math.inf,
    "-inf": -math.inf,
    "infinity": math.inf,
    "+infinity": math.inf,
    "-infinity": -math.inf,
}
_FLOAT: Final = Struct(">f")


def show(text: str) -> str:
    """The text quoted for an error message, cut when it is long."""
    if len(text) <= _SHOWN:
        return repr(text)
    return f"{text[:_SHOWN]!r}... ({len(text)} characters)"


def parse_int(text: str, low: int, high: int) -> int:
    """A decimal integer from ``low`` to ``high``."""
    if re.fullmatch(_INTEGER, text) is None:
        raise ValueError("not a decimal integer")
    value = int(text)
    if not low <= value <= high:
        raise ValueError(f"not in the range {low} to {high}")
    return value


def parse_double(text: str) -> float:
    """A binary64 number in decimal notation, or NaN, Infinity, -Infinity in any case."""
    special = _SPECIAL.get(text.lower()) if len(text) <= 9 else None
    if special is not None:
        return special
    if len(text) > _NUMBER_LIMIT or re.fullmatch(_NUMBER, text) is None:
        raise ValueError("not a number in decimal notation")
    value = float(text)
    if math.isinf(value):
        raise ValueError("too large for a 64-bit number")
    return value


def parse_float(text: str) -> float:
    """A number as :func:`parse_double` takes it, rounded to binary32 once (not by way of binary64)."""
    value = parse_double(text)
    if not math.isfinite(value):
        return value
    try:
        below = _to_float(math.nextafter(value, -math.inf))
        nearest = _to_float(value)
        above = _to_float(math.nextafter(value, math.inf))
    except OverflowError:
        # Only the largest binary32 has neighbours that overflow; the exact value is what decides.
        return _largest_float(text)
    if below == above:
        return nearest
    # The binary64 is at a boundary between two binary32 numbers: which side the text itself is on decides.
    exact = _fraction(text)
    distance_below = exact - _fraction_of(below)
    distance_above = _fraction_of(above) - exact
    if distance_below == distance_above:
        return nearest  # struct rounds a tie to even, as IEEE 754 does
    return below if distance_below < distance_above else above


def _largest_float(text: str) -> float:
    largest = 3.4028234663852886e38
    limit = 3.4028235677973366e38  # halfway to what the next binary32 would be
    exact = _fraction(text)
    if abs(exact) >= _fraction_of(limit):
        raise ValueError("too large for a 32-bit number")
    return math.copysign(largest, exact)


def _fraction(text: str) -> Fraction:
    from decimal import Decimal

    return _fraction_of(Decimal(text))


def _fraction_of(value: float | Decimal) -> Fraction:
    from fractions import Fraction

    return Fraction(value)


def _to_float(value: float) -> float:
    result: float = _FLOAT.unpack(_FLOAT.pack(value))[0]
    return result


def format_double(value: float) -> str:
    """The shortest decimal digits that read back as the same binary64 number."""
    if math.isfinite(value):
        return float.__repr__(value)
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def format_float(value: float) -> str:
    """The shortest decimal digits that read back as the same binary32 number."""
    if not math.isfinite(value):
        return format_double(value)
    for digits in range(1, 10):
        candidate = float(f"{value:.{digits}g}")
        try:
            if _to_float(candidate) == value:
                return repr(candidate)
        except OverflowError:
            continue  # rounded up past the largest number; more digits help
    return float.__repr__(value)  # not a binary32 number: nothing shorter is exact


def parse_hex(text: str) -> bytes:
    """Bytes as pairs of hexadecimal digits, in either case."""
    from binascii import unhexlify

    try:
        return unhexlify(text)
    except ValueError:
        raise ValueError("not pairs of hexadecimal digits") from None


def format_hex(data: bytes | bytearray | memoryview) -> str:
    """Bytes as upper-case hexadecimal digits."""
    return data.hex().upper()


def parse_decimal(text: str) -> Decimal32 | Decimal64 | Decimal128:
    """A decimal number as the hexadecimal digits of its 4, 8 or 16 bytes. Raises ``ValueError`` for anything else."""
    data = parse_hex(text)
    kind = _DECIMALS.get(len(data))
    if kind is None:
        raise ValueError("not 4, 8 or 16 bytes")
    return kind(data)


def parse_uuid(text: str) -> UUID:
    """A UUID as 32 hexadecimal digits in either case, with all four hyphens or none."""
    if re.fullmatch(_UUID, text) is None:
        raise ValueError("not a UUID")
    from uuid import UUID

    return UUID(text)


def parse_char(text: str) -> str:
    """One Unicode character."""
    if len(text) != 1:
        raise ValueError("not exactly one character")
    return parse_string(text)


def parse_string(text: str) -> str:
    """Text that UTF-8 can encode."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"the character at {error.start} is half of a surrogate pair") from None
    return text


def parse_symbol(text: str) -> str:
    """ASCII text."""
    if not text.isascii():
        raise ValueError("not ASCII text")
    return text

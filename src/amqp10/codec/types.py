"""The AMQP type system as Python values (types, "primitive type definitions").

Types that Python has are used as they are: ``None``, ``bool``, ``int`` (long), ``float`` (double), ``str`` (string),
``bytes`` (binary), ``uuid.UUID``, ``list`` and ``dict``. Every other type is a small subclass defined here, so that a
value keeps its type through a round trip while it still compares and calculates like the Python value it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, SupportsIndex, overload

from amqp10.errors import EncodeError

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = [
    "Array",
    "Byte",
    "Char",
    "Decimal128",
    "Decimal32",
    "Decimal64",
    "Described",
    "Float",
    "Int",
    "MAX_DEPTH",
    "MAX_PREDICTABLE_KEYS",
    "MAX_UNBACKED",
    "MAX_ZERO_WIDTH",
    "NAMES_KEPT",
    "NAME_KEPT",
    "Short",
    "Symbol",
    "Timestamp",
    "UByte",
    "UInt",
    "ULong",
    "UShort",
]

MAX_DEPTH: Final = 128
"""How deep values may nest, when decoding and encoding."""

MAX_ZERO_WIDTH: Final = 4096
"""How many elements without bytes the arrays of a message may have in total. An array with no more elements than bytes
does not count."""

MAX_UNBACKED: Final = 512
"""The same for elements that are objects in Python: empty lists, and described values with fewer bytes than
descriptors. Each counts as eight."""

MAX_PREDICTABLE_KEYS: Final = 1024
"""How many numbers a map may have as keys and still become a ``dict``. A sender can know their hashes, and choose keys
that collide. UUIDs and described values count as eight, because comparing two of them takes longer."""

NAMES_KEPT: Final = 1024
"""How many names (symbols, keys of maps) the codec remembers, of each kind."""
NAME_KEPT: Final = 64
"""The longest name that is remembered, in characters."""


class _Integer(int):
    """An integer of a fixed range."""

    __slots__ = ()

    MIN: ClassVar[int]
    MAX: ClassVar[int]

    def __new__(cls, value: SupportsIndex | str = 0) -> Self:
        self = super().__new__(cls, value)
        if not cls.MIN <= self <= cls.MAX:
            shown = int(self) if -(10**30) < self < 10**30 else "a number of many digits"
            raise EncodeError(f"{cls.__name__} must be between {cls.MIN} and {cls.MAX}, not {shown}")
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self)})"

    def __str__(self) -> str:
        return int.__repr__(self)


class UByte(_Integer):
    """ubyte: 0 to 255."""

    __slots__ = ()
    MIN: ClassVar[int] = 0
    MAX: ClassVar[int] = 0xFF


class UShort(_Integer):
    """ushort: 0 to 65535."""

    __slots__ = ()
    MIN: ClassVar[int] = 0
    MAX: ClassVar[int] = 0xFFFF


class UInt(_Integer):
    """uint: 0 to 2**32 - 1."""

    __slots__ = ()
    MIN: ClassVar[int] = 0
    MAX: ClassVar[int] = 0xFFFFFFFF


class ULong(_Integer):
    """ulong: 0 to 2**64 - 1."""

    __slots__ = ()
    MIN: ClassVar[int] = 0
    MAX: ClassVar[int] = 0xFFFFFFFFFFFFFFFF


class Byte(_Integer):
    """byte: -128 to 127."""

    __slots__ = ()
    MIN: ClassVar[int] = -0x80
    MAX: ClassVar[int] = 0x7F


class Short(_Integer):
    """short: -32768 to 32767."""

    __slots__ = ()
    MIN: ClassVar[int] = -0x8000
    MAX: ClassVar[int] = 0x7FFF


class Int(_Integer):
    """int: -2**31 to 2**31 - 1. Not to be confused with Python's int, which is AMQP's long."""

    __slots__ = ()
    MIN: ClassVar[int] = -0x80000000
    MAX: ClassVar[int] = 0x7FFFFFFF


class Timestamp(_Integer):
    """timestamp: milliseconds since 1970-01-01 00:00 UTC, a signed 64-bit number."""

    __slots__ = ()
    MIN: ClassVar[int] = -0x8000000000000000
    MAX: ClassVar[int] = 0x7FFFFFFFFFFFFFFF


class Float(float):
    """float: an IEEE 754 binary32. The value is rounded to what that can hold.

    Raises:
        EncodeError: a finite value is too large for it.
    """

    __slots__ = ()

    def __new__(cls, value: float | str = 0.0) -> Self:
        number = float(value)
        try:
            rounded = struct.unpack(">f", struct.pack(">f", number))[0]
        except OverflowError:
            raise EncodeError(f"{number!r} is too large for a float") from None
        return super().__new__(cls, rounded)

    def __repr__(self) -> str:
        return f"Float({float.__repr__(self)})"

    def __str__(self) -> str:
        return float.__repr__(self)


class Char(str):
    """char: one Unicode code point.

    Raises:
        EncodeError: it is not exactly one, or it is a surrogate.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        if len(value) != 1 or "\ud800" <= value <= "\udfff":
            raise EncodeError(f"a char is one Unicode character, not {value[:20]!r}")
        return super().__new__(cls, value)

    def __repr__(self) -> str:
        return f"Char({str.__repr__(self)})"


class Symbol(str):
    """symbol: ASCII text from a constrained domain.

    Raises:
        EncodeError: it is not ASCII.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        if not value.isascii():
            raise EncodeError(f"a symbol must be ASCII, unlike {value[:40]!r}")
        return super().__new__(cls, value)

    def __repr__(self) -> str:
        return f"Symbol({str.__repr__(self)})"


class _DecimalBits(bytes):
    """A decimal floating-point number as its bits (IEEE 754-2008, binary integer decimal encoding, network order).

    The bits are kept as they are, so that every value survives, payloads of NaN included; :meth:`to_decimal` and
    :meth:`from_decimal` convert.
    """

    __slots__ = ()

    WIDTH: ClassVar[int]
    DIGITS: ClassVar[int]
    BIAS: ClassVar[int]
    EXPONENT_BITS: ClassVar[int]

    def __new__(cls, value: bytes) -> Self:
        if len(value) != cls.WIDTH:
            raise EncodeError(f"{cls.__name__} takes {cls.WIDTH} bytes, not {len(value)}")
        return super().__new__(cls, value)

    def to_decimal(self) -> Decimal:
        """The number as a ``decimal.Decimal``; a coefficient beyond the format's digits counts as zero, as the
        standard says."""
        from decimal import Decimal

        bits = int.from_bytes(self, "big")
        total = self.WIDTH * 8
        sign = bits >> (total - 1)
        combination = (bits >> (total - 6)) & 0x1F
        if combination == 0x1F:
            return Decimal(("-" if sign else "") + ("sNaN" if (bits >> (total - 7)) & 1 else "NaN"))
        if combination == 0x1E:
            return Decimal("-Infinity" if sign else "Infinity")
        width = self.EXPONENT_BITS
        if combination >> 3 == 3:
            exponent = (bits >> (total - 3 - width)) & ((1 << width) - 1)
            rest = total - 3 - width
            coefficient = (0b100 << rest) | (bits & ((1 << rest) - 1))
        else:
            rest = total - 1 - width
            exponent = (bits >> rest) & ((1 << width) - 1)
            coefficient = bits & ((1 << rest) - 1)
        if coefficient >= 10**self.DIGITS:
            coefficient = 0
        digits = tuple(int(d) for d in str(coefficient))
        return Decimal((sign, digits, exponent - self.BIAS))

    @classmethod
    def from_decimal(cls, value: Decimal) -> Self:
        """The bits of a number.

        Raises:
            EncodeError: it has more digits, or a larger exponent, than the format holds exactly.
        """
        total = cls.WIDTH * 8
        sign, digits, exponent = value.as_tuple()
        bits = sign << (total - 1)
        if exponent == "F":
            return cls((bits | (0x1E << (total - 6))).to_bytes(cls.WIDTH, "big"))
        if exponent in ("n", "N"):
            quiet = 0 if exponent == "n" else 1
            return cls((bits | (0x1F << (total - 6)) | (quiet << (total - 7))).to_bytes(cls.WIDTH, "big"))
        assert isinstance(exponent, int)
        coefficient = int("".join(map(str, digits)) or "0")
        top = (1 << cls.EXPONENT_BITS) - (1 << (cls.EXPONENT_BITS - 2)) - 1
        while coefficient and coefficient % 10 == 0 and (coefficient >= 10**cls.DIGITS):
            coefficient //= 10
            exponent += 1
        while exponent + cls.BIAS > top and coefficient and coefficient * 10 < 10**cls.DIGITS:
            coefficient *= 10
            exponent -= 1
        if coefficient >= 10**cls.DIGITS or not 0 <= exponent + cls.BIAS <= top:
            raise EncodeError(f"{cls.__name__} cannot hold {value} exactly")
        biased = exponent + cls.BIAS
        rest = total - 1 - cls.EXPONENT_BITS
        if coefficient < 1 << rest:
            bits |= (biased << rest) | coefficient
        else:
            rest -= 2
            bits |= (3 << (total - 3)) | (biased << rest) | (coefficient & ((1 << rest) - 1))
        return cls(bits.to_bytes(cls.WIDTH, "big"))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({bytes.__repr__(self)})"


class Decimal32(_DecimalBits):
    """decimal32: 7 digits."""

    __slots__ = ()
    WIDTH: ClassVar[int] = 4
    DIGITS: ClassVar[int] = 7
    BIAS: ClassVar[int] = 101
    EXPONENT_BITS: ClassVar[int] = 8


class Decimal64(_DecimalBits):
    """decimal64: 16 digits."""

    __slots__ = ()
    WIDTH: ClassVar[int] = 8
    DIGITS: ClassVar[int] = 16
    BIAS: ClassVar[int] = 398
    EXPONENT_BITS: ClassVar[int] = 10


class Decimal128(_DecimalBits):
    """decimal128: 34 digits."""

    __slots__ = ()
    WIDTH: ClassVar[int] = 16
    DIGITS: ClassVar[int] = 34
    BIAS: ClassVar[int] = 6176
    EXPONENT_BITS: ClassVar[int] = 14


class Described:
    """A described value: a descriptor that says what it means, and a value (types, "described types")."""

    __slots__ = ("descriptor", "value")

    def __init__(self, descriptor: Any, value: Any) -> None:
        self.descriptor: Any = descriptor
        self.value: Any = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Described):
            return NotImplemented
        return bool(self.descriptor == other.descriptor and self.value == other.value)

    def __hash__(self) -> int:
        return hash((Described, self.descriptor, self.value))

    def __repr__(self) -> str:
        return f"Described({self.descriptor!r}, {self.value!r})"


class Array(Sequence[Any]):
    """An array: elements that share one type (types, "array").

    Args:
        items: the elements, all of the same Python type; for described ones, with the same descriptor.
        constructor: the element constructor on the wire. Only needed for an empty array, whose type would be lost
            otherwise; by default an empty array is one of null.
    """

    __slots__ = ("constructor", "items")

    def __init__(self, items: Iterable[Any] = (), constructor: bytes = b"\x40") -> None:
        self.items: list[Any] = list(items)
        self.constructor: bytes = constructor

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Array):
            return NotImplemented
        return self.items == other.items and bool(self.items or self.constructor == other.constructor)

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Array({self.items!r})" if self.items else f"Array(constructor={self.constructor!r})"

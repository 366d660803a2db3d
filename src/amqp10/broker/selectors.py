"""Selectors: which messages a consumer wants, in the syntax of JMS (JMS 2.0, "message selectors").

A selector is parsed once, into functions that take a message. Unknown values are ``None``, as in SQL: a comparison
with one is neither true nor false, and a message for which the selector is not true is not selected.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

from amqp10.conditions import ErrorCondition
from amqp10.errors import ProtocolError

__all__ = ["Properties", "Selector"]

MAX_LENGTH: Final = 4096
"""How long a selector may be, in characters."""
MAX_DEPTH: Final = 48
"""How deep parentheses, signs and NOTs may nest."""
MAX_CHAINED: Final = 200
"""How many operators may be chained, such as ``1 + 2 + 3``; AND and OR do not count."""


class Properties(Protocol):
    """A message, for a selector."""

    def get(self, name: str, /) -> Any:
        """The value of a property or JMS header: a ``str``, ``bool``, ``int`` or ``float``, ``None`` if there is
        none."""
        ...


Evaluate: TypeAlias = Callable[[Properties], Any]

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<number>(?:0[xX][0-9a-fA-F]+[lL]?)|(?:(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?[lLdDfF]?))(?![\w$.])
      | (?P<text>'(?:[^']|'')*')
      | (?P<name>[^\W\d][\w$]*|\$[\w$]*)
      | (?P<sign><>|<=|>=|[=<>+\-*/(),])
    )""",
    re.VERBOSE,
)
_WORDS: Final = frozenset(("AND", "BETWEEN", "ESCAPE", "FALSE", "IN", "IS", "LIKE", "NOT", "NULL", "OR", "TRUE"))
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Selector:
    """A parsed selector.

    Args:
        text: for example ``colour = 'red' AND weight BETWEEN 1 AND 5``.

    Raises:
        ProtocolError: it is malformed; the message says where. Condition ``amqp:invalid-field``.
    """

    __slots__ = ("_evaluate", "text")

    def __init__(self, text: str) -> None:
        self.text: str = text
        self._evaluate = _Parser(text).parse()

    def matches(self, message: Properties) -> bool:
        """Whether the selector is true for a message."""
        return self._evaluate(message) is True

    def __repr__(self) -> str:
        return f"Selector({self.text!r})"


# -- values ----------------------------------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _comparison(sign: str, left: Evaluate, right: Evaluate) -> Evaluate:
    compare = _COMPARE[sign]
    ordered = sign not in ("=", "<>")

    def evaluate(message: Properties) -> bool | None:
        a, b = left(message), right(message)
        if a is None or b is None:
            return None
        if _is_number(a):
            # Comparing values of different types is false (JMS 2.0, 3.8.1.2).
            return compare(a, b) if _is_number(b) else False
        if ordered or type(a) is not type(b):
            return False
        return compare(a, b)

    return evaluate


def _arithmetic(sign: str, left: Evaluate, right: Evaluate) -> Evaluate:
    def evaluate(message: Properties) -> int | float | None:
        a, b = left(message), right(message)
        if not _is_number(a) or not _is_number(b):
            return None
        try:
            if sign == "+":
                return a + b  # type: ignore[no-any-return]
            if sign == "-":
                return a - b  # type: ignore[no-any-return]
            if sign == "*":
                return a * b  # type: ignore[no-any-return]
            if isinstance(a, int) and isinstance(b, int):
                # Integers are divided as in Java, rounding towards zero.
                quotient = abs(a) // abs(b)
                return quotient if (a < 0) is (b < 0) else -quotient
            return a / b  # type: ignore[no-any-return]
        except (ZeroDivisionError, OverflowError):
            return None

    return evaluate


def _negative(value: Evaluate) -> Evaluate:
    def evaluate(message: Properties) -> int | float | None:
        number = value(message)
        return -number if _is_number(number) else None

    return evaluate


def _and(terms: list[Evaluate]) -> Evaluate:
    def evaluate(message: Properties) -> bool | None:
        result: bool | None = True
        for term in terms:
            value = term(message)
            if value is False:
                return False
            if value is not True:
                result = None
        return result

    return evaluate


def _or(terms: list[Evaluate]) -> Evaluate:
    def evaluate(message: Properties) -> bool | None:
        result: bool | None = False
        for term in terms:
            value = term(message)
            if value is True:
                return True
            if value is not False:
                result = None
        return result

    return evaluate


def _not(term: Evaluate) -> Evaluate:
    def evaluate(message: Properties) -> bool | None:
        value = term(message)
        return not value if isinstance(value, bool) else None

    return evaluate


def _in(value: Evaluate, choices: frozenset[str]) -> Evaluate:
    def evaluate(message: Properties) -> bool | None:
        text = value(message)
        if text is None:
            return None
        return isinstance(text, str) and text in choices

    return evaluate


def _is_null(value: Evaluate) -> Evaluate:
    return lambda message: value(message) is None


class _Pattern:
    """A pattern of LIKE: ``%`` is any text, ``_`` any character.

    The parts between the ``%`` are searched for one after the other, each at its first place, so that matching never
    takes more than the length of the pattern times that of the text.
    """

    __slots__ = ("_first", "_last", "_middle", "_whole")

    def __init__(self, pattern: str, escape: str | None) -> None:
        parts: list[list[str]] = [[]]
        chars = iter(pattern)
        for char in chars:
            if char == escape:
                char = next(chars, "")
                parts[-1].append(re.escape(char))
            elif char == "%":
                parts.append([])
            else:
                parts[-1].append("." if char == "_" else re.escape(char))
        compiled = [re.compile("".join(part), re.DOTALL) for part in parts]
        self._whole = compiled[0] if len(compiled) == 1 else None
        self._first = compiled[0]
        self._middle = [part for part, source in zip(compiled[1:-1], parts[1:-1], strict=True) if source]
        self._last = re.compile("".join(parts[-1]) + r"\Z", re.DOTALL), len(parts[-1])

    def matches(self, text: str) -> bool:
        if self._whole is not None:
            return self._whole.fullmatch(text) is not None
        start = self._first.match(text)
        if start is None:
            return False
        pos = start.end()
        for part in self._middle:
            found = part.search(text, pos)
            if found is None:
                return False
            pos = found.end()
        last, size = self._last
        return len(text) - size >= pos and last.match(text, len(text) - size) is not None


def _like(value: Evaluate, pattern: _Pattern) -> Evaluate:
    def evaluate(message: Properties) -> bool | None:
        text = value(message)
        if text is None:
            return None
        return isinstance(text, str) and pattern.matches(text)

    return evaluate


# -- the grammar -----------------------------------------------------------------------------------------------------


class _Parser:
    """Parses a text to a function, by recursive descent. A token is a kind, a text (words in capitals) and a place."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str, int]] = []
        self._next = 0
        self._depth = 0
        self._chained = 0
        if len(text) > MAX_LENGTH:
            raise ProtocolError(
                f"the selector has {len(text)} characters; the limit is {MAX_LENGTH}",
                condition=ErrorCondition.INVALID_FIELD,
            )
        self._split()

    def _split(self) -> None:
        text = self._text
        end = len(text.rstrip())
        pos = 0
        while pos < end:
            match = _TOKEN.match(text, pos)
            if match is None:
                raise self._wrong("unexpected text", pos)
            kind = str(match.lastgroup)
            found, start = match[kind], match.start(kind)
            if kind == "name" and found.upper() in _WORDS:
                kind, found = "word", found.upper()
            self._tokens.append((kind, found, start))
            pos = match.end()
        self._tokens.append(("end", "", end))

    def _wrong(self, what: str, pos: int | None = None) -> ProtocolError:
        at = self._tokens[self._next][2] if pos is None else pos
        shown = self._text[at : at + 20]
        return ProtocolError(
            f"the selector is malformed: {what} at character {at + 1}: {shown!r}",
            condition=ErrorCondition.INVALID_FIELD,
        )

    def parse(self) -> Evaluate:
        if len(self._tokens) == 1:
            return lambda message: True  # an empty selector selects everything
        evaluate = self._or()
        if self._tokens[self._next][0] != "end":
            raise self._wrong("the end was expected")
        return evaluate

    def _accept(self, *wanted: str) -> str | None:
        """Take the next word or sign if it is one of these."""
        kind, text, _ = self._tokens[self._next]
        if kind in ("word", "sign") and text in wanted:
            self._next += 1
            return text
        return None

    def _expect(self, wanted: str) -> None:
        if self._accept(wanted) is None:
            raise self._wrong(f"{wanted} was expected")

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong(f"it nests deeper than {MAX_DEPTH} levels")

    def _chain(self) -> None:
        self._chained += 1
        if self._chained > MAX_CHAINED:
            raise self._wrong(f"it has more than {MAX_CHAINED} operators")

    def _or(self) -> Evaluate:
        terms = [self._and()]
        while self._accept("OR"):
            terms.append(self._and())
        return terms[0] if len(terms) == 1 else _or(terms)

    def _and(self) -> Evaluate:
        terms = [self._not()]
        while self._accept("AND"):
            terms.append(self._not())
        return terms[0] if len(terms) == 1 else _and(terms)

    def _not(self) -> Evaluate:
        if not self._accept("NOT"):
            return self._comparison()
        self._deeper()
        term = _not(self._not())
        self._depth -= 1
        return term

    def _comparison(self) -> Evaluate:
        left = self._sum()
        first = True
        while (after := self._test(left)) is not None:
            left = after
            if not first:
                self._chain()
            first = False
        return left

    def _test(self, left: Evaluate) -> Evaluate | None:
        """One comparison or other test of a value; None if none follows."""
        if (sign := self._accept(*_COMPARE)) is not None:
            return _comparison(sign, left, self._sum())
        if self._accept("IS"):
            negated = self._accept("NOT")
            self._expect("NULL")
            return _not(_is_null(left)) if negated else _is_null(left)
        negated = self._accept("NOT")
        if self._accept("BETWEEN"):
            low = self._sum()
            self._expect("AND")
            test = _and([_comparison(">=", left, low), _comparison("<=", left, self._sum())])
        elif self._accept("IN"):
            test = _in(left, self._choices())
        elif self._accept("LIKE"):
            test = _like(left, self._pattern())
        elif negated:
            raise self._wrong("BETWEEN, IN or LIKE was expected")
        else:
            return None
        return _not(test) if negated else test

    def _choices(self) -> frozenset[str]:
        self._expect("(")
        choices = [self._string()]
        while self._accept(","):
            choices.append(self._string())
        self._expect(")")
        return frozenset(choices)

    def _pattern(self) -> _Pattern:
        pattern = self._string()
        escape = None
        if self._accept("ESCAPE"):
            escape = self._string()
            if len(escape) != 1:
                raise self._wrong("ESCAPE takes one character")
        return _Pattern(pattern, escape)

    def _string(self) -> str:
        kind, text, _ = self._tokens[self._next]
        if kind != "text":
            raise self._wrong("a string in single quotes was expected")
        self._next += 1
        return text[1:-1].replace("''", "'")

    def _sum(self) -> Evaluate:
        left = self._product()
        while sign := self._accept("+", "-"):
            self._chain()
            left = _arithmetic(sign, left, self._product())
        return left

    def _product(self) -> Evaluate:
        left = self._signed()
        while sign := self._accept("*", "/"):
            self._chain()
            left = _arithmetic(sign, left, self._signed())
        return left

    def _signed(self) -> Evaluate:
        sign = self._accept("+", "-")
        if sign is None:
            return self._operand()
        self._deeper()
        value = self._signed()
        self._depth -= 1
        return _negative(value) if sign == "-" else value

    def _operand(self) -> Evaluate:
        kind, text, _ = self._tokens[self._next]
        if kind == "text":
            string = self._string()
            return lambda message: string
        if kind == "number":
            number = self._number(text)
            self._next += 1
            return lambda message: number
        if kind == "name":
            self._next += 1
            return lambda message: message.get(text)
        if (word := self._accept("TRUE", "FALSE")) is not None:
            truth = word == "TRUE"
            return lambda message: truth
        if self._accept("("):
            self._deeper()
            inner = self._or()
            self._expect(")")
            self._depth -= 1
            return inner
        raise self._wrong("a value was expected")

    def _number(self, text: str) -> int | float:
        if text[:2] in ("0x", "0X"):
            return int(text.rstrip("lL"), 16)
        plain = text.rstrip("lLdDfF")
        whole = plain.isdigit() and text[-1] not in "dDfF"
        if not whole and text[-1] in "lL":
            raise self._wrong("an integer was expected")
        if not whole:
            return float(plain)
        if len(plain) > 1 and plain[0] == "0" and not set(plain) - set("01234567"):
            return int(plain, 8)
        if len(plain) > 20:
            raise self._wrong("the number is too large")
        return int(plain)

"""Hypothesis strategies for AMQP values of every type, as the codec takes them."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from amqp10.codec import (
    Array,
    Byte,
    Char,
    Decimal32,
    Decimal64,
    Decimal128,
    Described,
    EncodeError,
    Float,
    Int,
    Map,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
    encode,
)

__all__ = ["SCALARS", "VALUES"]

_characters = st.characters(exclude_categories=["Cs"])


def _one_nan(value: float) -> float:
    # Text has one NaN; the payloads of others have no place in it.
    return math.nan if math.isnan(value) else value


_BY_TYPE: list[st.SearchStrategy[Any]] = [
    st.none(),
    st.booleans(),
    st.integers(0, 2**8 - 1).map(UByte),
    st.integers(0, 2**16 - 1).map(UShort),
    st.integers(0, 2**32 - 1).map(UInt),
    st.integers(0, 2**64 - 1).map(ULong),
    st.integers(-(2**7), 2**7 - 1).map(Byte),
    st.integers(-(2**15), 2**15 - 1).map(Short),
    st.integers(-(2**31), 2**31 - 1).map(Int),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(width=32).map(_one_nan).map(Float),
    st.floats().map(_one_nan),
    st.binary(min_size=4, max_size=4).map(Decimal32),
    st.binary(min_size=8, max_size=8).map(Decimal64),
    st.binary(min_size=16, max_size=16).map(Decimal128),
    _characters.map(Char),
    st.integers(-(2**63), 2**63 - 1).map(Timestamp),
    st.uuids(),
    st.binary(max_size=300),
    st.text(_characters, max_size=300),
    st.text(st.characters(max_codepoint=127), max_size=300).map(Symbol),
]
SCALARS: st.SearchStrategy[Any] = st.one_of(_BY_TYPE)

_CONSTRUCTORS = st.sampled_from(["40", "50", "70", "52", "a1", "b1", "c0", "f0", "0053 7270", "00a1016100a30162c1"])


def _map_of(pairs: list[tuple[Any, Any]]) -> Map:
    unique: dict[bytes, tuple[Any, Any]] = {}
    for key, value in pairs:
        unique.setdefault(encode(key), (key, value))
    return Map(unique.values())


def _arrays(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Array]:
    element = [st.lists(kind, min_size=1, max_size=5) for kind in _BY_TYPE]
    plain = st.one_of([*element, st.lists(st.lists(inner, max_size=3), min_size=1, max_size=3)])
    described = st.tuples(_described_by(SCALARS), plain).map(
        lambda pair: [Described(pair[0].descriptor, item) for item in pair[1]]
    )
    nested = st.lists(plain.map(Array), min_size=1, max_size=3)
    empty = _CONSTRUCTORS.map(lambda code: Array((), bytes.fromhex(code)))
    return st.one_of(plain.map(Array), described.map(Array), nested.map(Array), empty)


def _described_by(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Described]:
    descriptor = SCALARS | st.lists(SCALARS, max_size=2)
    return st.builds(Described, descriptor, inner)


def _encodable(value: Any) -> bool:
    try:
        encode(value)
    except EncodeError:
        return False
    return True


VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(st.tuples(inner, inner), max_size=4).map(_map_of),
        st.dictionaries(st.text(_characters, max_size=5), inner, max_size=3),
        _arrays(inner),
        _described_by(inner),
    ),
    max_leaves=20,
).filter(_encodable)

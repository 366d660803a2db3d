"""Hypothesis strategies for AMQP values, and exact comparison of them."""

from __future__ import annotations

import struct
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
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=300)
SYMBOLS = st.text(st.characters(max_codepoint=127), max_size=300).map(Symbol)


def _integers(kind: Any) -> st.SearchStrategy[Any]:
    edges = [
        value
        for value in (kind.MIN, kind.MAX, 0, 1, -1, 127, 128, -128, -129, 255, 256)
        if kind.MIN <= value <= kind.MAX
    ]
    return st.one_of(st.sampled_from(edges), st.integers(kind.MIN, kind.MAX)).map(kind)


LONGS = st.one_of(st.sampled_from([-(2**63), 2**63 - 1, 0, 127, 128, -128, -129]), st.integers(-(2**63), 2**63 - 1))
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "ubyte": _integers(UByte),
    "ushort": _integers(UShort),
    "uint": _integers(UInt),
    "ulong": _integers(ULong),
    "byte": _integers(Byte),
    "short": _integers(Short),
    "int": _integers(Int),
    "long": LONGS,
    "float": st.floats(width=32, allow_nan=False).map(Float),
    "double": st.floats(allow_nan=False),
    "decimal32": st.binary(min_size=4, max_size=4).map(Decimal32),
    "decimal64": st.binary(min_size=8, max_size=8).map(Decimal64),
    "decimal128": st.binary(min_size=16, max_size=16).map(Decimal128),
    "char": st.characters(codec="utf-8").map(Char),
    "timestamp": _integers(Timestamp),
    "uuid": st.uuids(),
    "binary": st.binary(max_size=300),
    "string": TEXT,
    "symbol": SYMBOLS,
}
scalars = st.one_of(*SCALARS.values())


def _maps(keys: st.SearchStrategy[Any], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(st.tuples(keys, values), max_size=4).map(_map)


def _map(pairs: list[tuple[Any, Any]]) -> Any:
    """What the decoder gives for these pairs, the first of equal keys winning: a dict where it can hold them."""
    from amqp10.codec import encode

    unique = {encode(key): (key, value) for key, value in reversed(pairs)}
    chosen = list(unique.values())
    try:
        as_dict = dict(chosen)
    except TypeError:
        return Map(chosen)
    return as_dict if len(as_dict) == len(chosen) else Map(chosen)


def _compounds(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=4),
        _maps(inner, inner),
        st.builds(Described, scalars, inner),
        arrays(inner),
    )


def arrays(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Arrays of every scalar type, of lists, maps, arrays and described values."""
    plain = st.one_of([st.lists(strategy, min_size=1, max_size=4) for strategy in SCALARS.values()])
    nested = st.one_of(
        st.lists(st.lists(inner, max_size=3), min_size=1, max_size=3),
        st.lists(_maps(scalars, inner), min_size=1, max_size=3),
        st.lists(plain.map(Array), min_size=1, max_size=3),
    )
    described = st.tuples(st.one_of(SCALARS["symbol"], SCALARS["ulong"]), st.one_of(plain, nested)).map(
        lambda pair: [Described(pair[0], value) for value in pair[1]]
    )
    empty = st.sampled_from([b"\x40", b"\x70", b"\xa1", b"\xd0", b"\x00\x53\x10\xc0"]).map(lambda code: Array((), code))
    return st.one_of(plain.map(Array), nested.map(Array), described.map(Array), empty)


values = st.recursive(scalars, _compounds, max_leaves=12)


def exact(value: Any) -> Any:
    """A form of a value in which ``==`` means the same AMQP value of the same type; floats are compared by bits."""
    kind = type(value)
    if isinstance(value, float):
        return kind, struct.pack(">d", value)
    if isinstance(value, (list, tuple)):
        return list, [exact(item) for item in value]
    if isinstance(value, Array):
        return kind, [exact(item) for item in value], value.constructor if not value.items else b""
    if isinstance(value, Map):
        return "map", [(exact(key), exact(item)) for key, item in value.pairs()]
    if isinstance(value, dict):
        return "map", [(exact(key), exact(item)) for key, item in value.items()]
    if isinstance(value, Described):
        return kind, exact(value.descriptor), exact(value.value)
    return kind, value

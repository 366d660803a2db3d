"""Compiles the declaration of a composite to functions that encode and decode it (types, "composite types").

Each function is generated as source and compiled when it is first used, so that the declaration is not interpreted for
each value. ``fields.py`` has the parts of a declaration.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import error as struct_error
from typing import Any, Final

from amqp10.codec.decode import TABLE, decode_elements, decode_symbol
from amqp10.codec.encode import (
    OCTETS,
    STRING8,
    encode_binary,
    encode_boolean,
    encode_string,
    encode_symbol,
    encode_timestamp,
    encode_ubyte,
    encode_uint,
    encode_ulong,
    encode_ushort,
    encode_value,
)
from amqp10.codec.fields import RESTRICTED, Declared, FieldSpec, InvalidFieldError, wrong_type
from amqp10.codec.maps import Map
from amqp10.codec.types import Array, Described, Symbol
from amqp10.errors import EncodeError

__all__ = ["compile_function"]

Resolver = Callable[[type[Any], FieldSpec, Any], Any]
"""(class, field, value) -> the value, or the composite that it describes."""

_DESCRIBED_ONLY: Final = frozenset({"source", "target", "delivery-state", "outcome"})
"""Archetypes that only described values provide."""


def _primitive(type_name: str) -> str:
    return RESTRICTED.get(type_name, type_name)


_ENCODERS: Final[dict[str, Callable[[Any], bytes]]] = {
    "boolean": encode_boolean,
    "ubyte": encode_ubyte,
    "ushort": encode_ushort,
    "uint": encode_uint,
    "ulong": encode_ulong,
    "timestamp": encode_timestamp,
    "binary": encode_binary,
    "string": encode_string,
    "symbol": encode_symbol,
}
_RANGES: Final[dict[str, tuple[int, int]]] = {
    "ubyte": (0, 0xFF),
    "ushort": (0, 0xFFFF),
    "uint": (0, 0xFFFFFFFF),
    "ulong": (0, 0xFFFFFFFFFFFFFFFF),
    "timestamp": (-(2**63), 2**63 - 1),
}


def compile_function(cls: type[Declared], name: str, resolve_field: Resolver) -> Callable[..., Any]:
    """Generate one of the functions of a composite as source, and compile it.

    Args:
        cls: the class with the declaration.
        name: ``__init__``, ``encode``, ``from_list`` or ``from_buffer``; the last two take the class.
        resolve_field: turns a described list into the composite that it describes, if the field allows it.
    """
    specs, code = cls.FIELDS, cls.DESCRIPTOR_CODE
    context: dict[str, Any] = {**_CONTEXT, "cls": cls, "specs": specs}
    if name == "encode":
        context |= {
            "head": b"\x00\x53" + bytes((code,)),
            "list8": [b"\x00\x53" + bytes((code, 0xC0, size)) for size in range(256)],
            "nulls8": [b"\x40" * count for count in range(len(specs))],
        }
    elif name != "__init__":
        context |= {
            "new": cls.__new__,
            "resolve_field": resolve_field,
            "nulls": [[None] * (len(specs) - count) for count in range(len(specs))],
            **{f"default{i}": _default(spec) for i, spec in enumerate(specs)},
        }
    exec("\n".join(_SOURCES[name](specs)), context)
    function: Callable[..., Any] = context[name]
    return function


def _default(spec: FieldSpec) -> Any:
    return () if spec.multiple and spec.default is None else spec.default


def _init_source(specs: tuple[FieldSpec, ...]) -> list[str]:
    if not specs:
        return ["def __init__(self):", "    pass"]
    head = "def __init__(self, *" + "".join(_parameter(spec) for spec in specs) + "):"
    return [head, *(f"    self.{spec.attribute} = {spec.attribute}" for spec in specs)]


def _encode_source(specs: tuple[FieldSpec, ...]) -> list[str]:
    lines = ["def encode(self):", "    parts = []", "    count = 0", "    try:"]
    for i, spec in enumerate(specs):
        lines += ["        " + line for line in _encode_lines(i, spec)]
    return [
        *lines,
        "        pass",
        "    except (TypeError, AttributeError, IndexError, struct_error, UnicodeError, ValueError) as error:",
        "        raise bad_value(self, error) from error",
        "    body = b''.join(parts)",
        "    size = len(body) + 1",
        "    if count and size < 256:",
        "        return list8[size] + single[count] + body",
        "    return wrap(head, count, body)",
    ]


def _from_list_source(specs: tuple[FieldSpec, ...]) -> list[str]:
    lines = [
        "def from_list(cls, values):",
        "    count = len(values)",
        f"    if count < {len(specs)}:",
        "        values = values + nulls[count]",
        f"    elif count > {len(specs)}:",
        "        raise too_many(cls, count)",
        "    self = new(cls)",
    ]
    if specs:
        lines.append("    " + "".join(f"{spec.attribute}, " for spec in specs) + "= values")
    for i, spec in enumerate(specs):
        lines += ["    " + line for line in _decode_lines(i, spec)]
    return [*lines, "    return self"]


def _from_buffer_source(specs: tuple[FieldSpec, ...]) -> list[str]:
    # Unusual data are left to the general functions, which find out what is wrong with them, if anything.
    general = "return cls.from_list(decode_elements(buf, start, count, end, 1))"
    lines = [
        "def from_buffer(cls, buf, start, count, end):",
        f"    if count > {len(specs)} or count > end - start:",
        f"        {general}",
        "    self = new(cls)",
        "    p = start",
    ]
    at_end = ["if p != end:", f"    {general}", "return self"]
    for i, spec in enumerate(specs):
        lines += ["    " + line for line in _read_lines(i, spec, _rest_lines(specs, i, general, at_end), general)]
    return [*lines, *("    " + line for line in at_end)]


_SOURCES: Final[dict[str, Callable[[tuple[FieldSpec, ...]], list[str]]]] = {
    "__init__": _init_source,
    "encode": _encode_source,
    "from_list": _from_list_source,
    "from_buffer": _from_buffer_source,
}


def _parameter(spec: FieldSpec) -> str:
    return f", {spec.attribute}" if spec.mandatory else f", {spec.attribute}={_default_text(spec)}"


def _default_text(spec: FieldSpec) -> str:
    """The default as source. Members of enumerations become plain numbers or texts."""
    if spec.multiple:
        return "()"
    default = spec.default
    if isinstance(default, int) and not isinstance(default, bool):
        return repr(int(default))
    return repr(str(default) if isinstance(default, str) else default)


def _encode_lines(index: int, spec: FieldSpec) -> list[str]:
    """Source that appends one field. Nulls are held back until another value follows, so trailing nulls are left out.

    ``count`` is the number of appended fields, those nulls included."""
    name = spec.attribute
    primitive = _primitive(spec.type)
    lines = [f"v = self.{name}"]
    if spec.mandatory and not spec.multiple:
        lines += ["if v is None:", f"    raise missing_to_send(cls, {spec.name!r})"]
        condition = None
    elif spec.multiple:
        condition = "v" if not spec.mandatory else None
    elif spec.default is not None:
        condition = f"v is not None and v != {_default_text(spec)}"
    else:
        condition = "v is not None"
    if spec.multiple:
        encoded = f"encode_multiple(v, {primitive!r})"
    elif primitive in _ENCODERS:
        encoded = f"encode_{primitive}(v)"
    else:
        encoded = "encode_value(v, 1)"
    body = []
    if primitive in _RANGES and not spec.multiple:
        low, high = _RANGES[primitive]
        body += [f"if not {low} <= v <= {high}:", f"    raise ValueError({spec.name!r})"]
    if index:
        body += [f"if count < {index}:", f"    parts.append(nulls8[{index} - count])"]
    body += [f"count = {index + 1}"]
    if primitive == "*" and not spec.multiple:
        # A message id or an address, usually a short text.
        body += ["data = v.encode() if type(v) is str else nothing"]
        body += [f"parts.append(strings[len(data)] + data if 0 < len(data) < 256 else {encoded})"]
    else:
        body += [f"parts.append({encoded})"]
    if condition is None:
        return lines + body
    return [*lines, f"if {condition}:", *("    " + line for line in body)]


def _decode_lines(index: int, spec: FieldSpec) -> list[str]:
    """Source that checks one decoded field and assigns it."""
    name = spec.attribute
    primitive = _primitive(spec.type)
    target = f"self.{name}"
    if spec.multiple:
        empty = [f"    raise missing(cls, {spec.name!r})"] if spec.mandatory else [f"    {target} = ()"]
        return [f"if {name} is None:", *empty, "else:", f"    {target} = multiple(cls, specs[{index}], {name})"]
    if spec.mandatory:
        lines = [f"if {name} is None:", f"    raise missing(cls, {spec.name!r})"]
    else:
        default = "None" if spec.default is None else f"default{index}"
        lines = [f"if {name} is None:", f"    {target} = {default}"]
    if primitive == "boolean":
        check = f"{name} is True or {name} is False"
    elif primitive in _RANGES:
        low, high = _RANGES[primitive]
        check = f"isinstance({name}, int) and {name} is not True and {name} is not False and {low} <= {name} <= {high}"
    elif primitive in ("string", "symbol"):
        check = f"isinstance({name}, str)"
    elif primitive == "binary":
        check = f"isinstance({name}, bytes)"
    elif primitive == "map":
        check = f"isinstance({name}, Mapping)"
    elif primitive == "*":
        # Only a described value can be a composite, and a field that requires one allows nothing else.
        other = [f"elif type({name}) is not Described:"]
        if spec.requires in _DESCRIBED_ONLY:
            other.append(f"    raise wrong(cls, specs[{index}], {name})")
        else:
            other.append(f"    {target} = {name}")
        return [*lines, *other, "else:", f"    {target} = resolve_field(cls, specs[{index}], {name})"]
    else:
        return [*lines, "else:", f"    {target} = resolve_field(cls, specs[{index}], {name})"]
    return [
        *lines,
        f"elif {check}:",
        f"    {target} = {name}",
        "else:",
        f"    raise wrong(cls, specs[{index}], {name})",
    ]


_TEXT_CODES: Final[dict[str, tuple[int, str]]] = {
    "*": (0xA1, "buf[p + 2 : q].decode()"),
    "string": (0xA1, "buf[p + 2 : q].decode()"),
    "symbol": (0xA3, "symbol(buf[p + 2 : q])"),
    "binary": (0xA0, "buf[p + 2 : q]"),
}
"""For each type, the format code of its short form, and the source that reads such a value from ``p + 2`` to ``q``."""


def _rest_lines(specs: tuple[FieldSpec, ...], index: int, general: str, at_end: list[str]) -> list[str]:
    """Source for a list that ends before a field: this field and all after it are absent."""
    rest = specs[index:]
    if any(spec.mandatory for spec in rest):
        return [general]
    plain = [f"self.{spec.attribute} = " for spec in rest if not spec.multiple and spec.default is None]
    lines = ["".join(plain) + "None"] if plain else []
    for i, spec in enumerate(rest, index):
        if spec.multiple or spec.default is not None:
            lines.append(f"self.{spec.attribute} = " + ("()" if spec.multiple else f"default{i}"))
    return lines + at_end


def _read_lines(index: int, spec: FieldSpec, rest: list[str], general: str) -> list[str]:
    """Source that reads one field at ``p``: the usual forms inline, others with the table of decoders."""
    primitive = _primitive(spec.type)
    target = f"self.{spec.attribute}"
    if spec.mandatory:
        absent = [general]
    elif spec.multiple:
        absent = [f"{target} = ()"]
    else:
        absent = [f"{target} = None" if spec.default is None else f"{target} = default{index}"]
    lines = [f"if count == {index}:", *("    " + line for line in rest)]
    lines += ["if (code := buf[p]) == 0x40:", "    p += 1", *("    " + line for line in absent)]
    if spec.multiple:
        return [*lines, "else:", f"    {general}"]
    short = _TEXT_CODES.get(primitive) if spec.requires not in _DESCRIBED_ONLY else None
    if short is not None:
        code, read = short
        lines += [f"elif code == {code}:", "    q = p + 2 + buf[p + 1]"]
        lines += [f"    {target} = {read}", "    p = q"]
    elif primitive == "boolean":
        lines += ["elif code == 0x41:", f"    {target} = True", "    p += 1"]
        lines += ["elif code == 0x42:", f"    {target} = False", "    p += 1"]
    low, high = _RANGES.get(primitive, (0, 0))
    check = {
        "*": "type(v) is not Described",
        "string": "isinstance(v, str)",
        "symbol": "isinstance(v, str)",
        "binary": "isinstance(v, bytes)",
        "boolean": "v is True or v is False",
        "map": "isinstance(v, Mapping)",
    }.get(primitive, f"isinstance(v, int) and v is not True and v is not False and {low} <= v <= {high}")
    if primitive not in (*_RANGES, *_TEXT_CODES, "boolean", "map") or spec.requires in _DESCRIBED_ONLY:
        return [*lines, "else:", f"    {general}"]  # a composite
    return [
        *lines,
        "else:",
        "    v, p = table[code](buf, p + 1, 1)",
        f"    if not ({check}):",
        f"        {general}",
        f"    {target} = v",
    ]


def _wrap(head: bytes, count: int, body: bytes) -> bytes:
    """An empty list, or one that is too long for the short form."""
    if not count:
        return head + b"\x45"
    return head + b"\xd0" + (len(body) + 4).to_bytes(4, "big") + count.to_bytes(4, "big") + body


def _encode_multiple(values: Any, primitive: str) -> bytes:
    if isinstance(values, (str, bytes)):
        raise TypeError("a field with multiple values takes a sequence of them")
    if not values:
        return b"\xe0\x02\x00\xa3" if primitive == "symbol" else b"\x45"
    if primitive == "symbol":
        return encode_value(Array(Symbol(value) for value in values), 1)
    return encode_value(Array(values), 1)


def _missing_to_send(cls: type[Declared], name: str) -> EncodeError:
    return EncodeError(f"{cls.NAME} cannot be sent without its mandatory field {name}")


def _bad_value(obj: Declared, error: Exception) -> EncodeError:
    return EncodeError(f"{obj.NAME} has a field whose value does not fit: {type(error).__name__}: {error}")


def _missing(cls: type[Declared], name: str) -> InvalidFieldError:
    return InvalidFieldError(f"{cls.NAME} lacks its mandatory field {name}")


def _too_many(cls: type[Declared], count: int) -> InvalidFieldError:
    return InvalidFieldError(f"{cls.NAME} has {len(cls.FIELDS)} fields, not {count}")


def _multiple(cls: type[Declared], spec: FieldSpec, value: Any) -> tuple[Any, ...]:
    """A field with multiple values: an array, or a single value for one."""
    values = tuple(value) if isinstance(value, Array) else (value,)
    if _primitive(spec.type) == "symbol":
        for item in values:
            if not isinstance(item, str):
                raise wrong_type(cls, spec, item)
    return values


_CONTEXT: Final[dict[str, Any]] = {
    "encode_value": encode_value,
    "encode_multiple": _encode_multiple,
    "wrap": _wrap,
    "missing_to_send": _missing_to_send,
    "bad_value": _bad_value,
    "missing": _missing,
    "too_many": _too_many,
    "wrong": wrong_type,
    "multiple": _multiple,
    "struct_error": struct_error,
    "Mapping": (dict, Map),
    "Described": Described,
    "decode_elements": decode_elements,
    "table": TABLE,
    "symbol": decode_symbol,
    "strings": STRING8,
    "single": OCTETS,
    "nothing": b"",
    **{f"encode_{name}": encoder for name, encoder in _ENCODERS.items()},
}
"""The global names of the generated functions."""

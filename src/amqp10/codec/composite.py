"""Composite types: declared once, with encoder and decoder compiled from the declaration (types, "composite types").

A declaration reads like the specification's::

    @composite("amqp:detach:list", 0x16)
    class Detach(Composite):
        handle: int = field("handle", mandatory=True)
        closed: bool = field("boolean", default=False)
        error: Error | None = field("error")

From it come a keyword-only ``__init__``, ``__eq__``, a ``__repr__`` that shows what is set, and
:meth:`Composite.encode`, :meth:`Composite.from_list` and :meth:`Composite.from_buffer`, whose code ``compile.py``
generates when one of them is first called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Self, TypeVar, dataclass_transform

from amqp10.codec.decode import DECODE_FAULTS, decode_value, translate
from amqp10.codec.fields import RESTRICTED, FieldSpec, InvalidFieldError, wrong_type
from amqp10.codec.shown import shown
from amqp10.codec.types import Described
from amqp10.errors import DecodeError

__all__ = [
    "PROVIDERS",
    "RESTRICTED",
    "Composite",
    "FieldSpec",
    "InvalidFieldError",
    "composite",
    "decode_composite",
    "field",
    "lookup",
    "resolve",
]

C = TypeVar("C", bound="Composite")


def field(
    type: str,
    *,
    mandatory: bool = False,
    default: Any = None,
    multiple: bool = False,
    requires: str | None = None,
    secret: bool = False,
) -> Any:
    """Declare a field of a composite.

    Args:
        type: the name of its type in the specification: primitive, restricted, a composite, or ``*``.
        mandatory: whether it must be present.
        default: its value when absent; given for every field that is not mandatory, for type checkers.
        multiple: whether it holds any number of values: a tuple here, an array on the wire.
        requires: the archetype that a value of type ``*`` must provide.
        secret: whether ``repr`` must not show it.
    """
    return FieldSpec("", type, mandatory, None if multiple else default, multiple, requires, secret)


class _CompositeType(type):
    """Turns the declarations of a class, made with :func:`field`, into slots and field specifications."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _CompositeType:
        declared = [(key, value) for key, value in namespace.items() if type(value) is FieldSpec]
        for key, _ in declared:
            del namespace[key]
        namespace["__slots__"] = tuple(key for key, _ in declared)
        namespace["FIELDS"] = tuple(value._replace(name=key.replace("_", "-")) for key, value in declared)
        return super().__new__(mcs, name, bases, namespace)


class Composite(metaclass=_CompositeType):
    """Base of all composite types."""

    __slots__ = ()

    NAME: ClassVar[str]
    DESCRIPTOR_NAME: ClassVar[str]
    DESCRIPTOR_CODE: ClassVar[int]
    FIELDS: ClassVar[tuple[FieldSpec, ...]]

    def encode(self) -> bytes:
        """The described list, descriptor included.

        Raises:
            EncodeError: a mandatory field is missing, or a value is not of its field's type.
        """
        raise NotImplementedError

    @classmethod
    def from_list(cls, values: list[Any]) -> Self:
        """The object for decoded field values; absent ones get their defaults.

        Raises:
            InvalidFieldError: a mandatory field is missing, a value is of a wrong type, or there are too many.
        """
        raise NotImplementedError

    @classmethod
    def from_buffer(cls, buf: bytes, start: int, count: int, end: int) -> Self:
        """The object for ``count`` encoded field values that reach from ``start`` to exactly ``end``.

        The same as :meth:`from_list` of the decoded elements, in one go.

        Raises:
            DecodeError: as :meth:`from_list` and the decoder; also the exceptions that ``translate`` turns into one.
        """
        raise NotImplementedError

    def __amqp_encode__(self) -> bytes:
        return self.encode()

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, spec.attribute) == getattr(other, spec.attribute) for spec in self.FIELDS)

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = []
        for spec in self.FIELDS:
            value = getattr(self, spec.attribute)
            if value is None or value == () or (value == spec.default and not spec.mandatory):
                continue
            shown.append(f"{spec.name}={'***' if spec.secret else _show(value)}")
        return f"{self.NAME}({', '.join(shown)})"


def _show(value: Any) -> str:
    # Plain numbers and texts, because their Python types would be noise in a line about a frame.
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, str):
        return str.__repr__(value)
    if isinstance(value, bytes):
        return value.hex() if len(value) <= 32 else f"<{len(value)} bytes>"
    if isinstance(value, tuple):
        return f"[{', '.join(_show(item) for item in value)}]"
    return shown(value, _LONGEST_SHOWN)


_LONGEST_SHOWN: Final = 2000
_BY_CODE: Final[dict[int, type[Composite]]] = {}
_BY_NAME: Final[dict[str, type[Composite]]] = {}
PROVIDERS: Final[dict[str, set[type[Composite]]]] = {}
"""Archetype -> the composites that provide it."""


@dataclass_transform(kw_only_default=True, eq_default=True, field_specifiers=(field,))
def composite(descriptor_name: str, code: int, *, provides: Sequence[str] = ()) -> Callable[[type[C]], type[C]]:
    """Class decorator that gives a composite its descriptors and registers it under them.

    Args:
        descriptor_name: the symbolic descriptor, such as ``amqp:open:list``.
        code: the numeric descriptor; the domain, its upper half, is 0 for the whole specification.
        provides: the archetypes it provides, such as ``delivery-state``.
    """

    def decorate(cls: type[C]) -> type[C]:
        cls.NAME = descriptor_name.split(":")[1]
        cls.DESCRIPTOR_NAME = descriptor_name
        cls.DESCRIPTOR_CODE = code
        _compile_when_used(cls)
        _BY_CODE[code] = cls
        _BY_NAME[descriptor_name] = cls
        for archetype in provides:
            PROVIDERS.setdefault(archetype, set()).add(cls)
        return cls

    return decorate


def _compile_when_used(cls: type[Composite]) -> None:
    """Install functions that compile the real ones when they are first called.

    Compiling all of them would take most of the time of importing this package and of the first connection. Few
    programs use all composites, and fewer both read and write them.
    """

    def compiled(name: str) -> Callable[..., Any]:
        from amqp10.codec.compile import compile_function

        return compile_function(cls, name, _resolve_field)

    def init(self: Composite, **fields: Any) -> None:
        cls.__init__ = compiled("__init__")  # type: ignore[method-assign]
        self.__init__(**fields)  # type: ignore[misc]  # the one that has just been made

    def encode(self: Composite) -> bytes:
        cls.encode = compiled("encode")  # type: ignore[method-assign]
        return self.encode()

    def from_list(kind: type[Composite], values: list[Any]) -> Composite:
        cls.from_list = classmethod(compiled("from_list"))  # type: ignore[assignment]
        return cls.from_list(values)

    def from_buffer(kind: type[Composite], buf: bytes, start: int, count: int, end: int) -> Composite:
        cls.from_buffer = classmethod(compiled("from_buffer"))  # type: ignore[assignment]
        return cls.from_buffer(buf, start, count, end)

    cls.__init__ = init  # type: ignore[method-assign,assignment]
    cls.encode = encode  # type: ignore[method-assign]
    cls.from_list = classmethod(from_list)  # type: ignore[assignment]
    cls.from_buffer = classmethod(from_buffer)  # type: ignore[assignment]


# -- from the wire ---------------------------------------------------------------------------------------------------


def lookup(descriptor: Any) -> type[Composite] | None:
    """The composite of a descriptor: a number in any width, or a symbol."""
    if isinstance(descriptor, str):
        return _BY_NAME.get(descriptor)
    if isinstance(descriptor, int) and not isinstance(descriptor, bool):
        return _BY_CODE.get(descriptor)
    return None


def resolve(value: Any) -> Any:
    """A described list as the composite that it describes, if that is known; any other value unchanged."""
    if isinstance(value, Described) and isinstance(value.value, list):
        cls = lookup(value.descriptor)
        if cls is not None:
            return cls.from_list(value.value)
    return value


def _resolve_field(cls: type[Composite], spec: FieldSpec, value: Any) -> Any:
    """A field of type ``*`` or of a composite type: described lists become the composite they describe."""
    resolved = resolve(value)
    if spec.type != "*":
        if not isinstance(resolved, Composite) or spec.type != resolved.NAME:
            raise wrong_type(cls, spec, value)
        return resolved
    if isinstance(resolved, Composite) and spec.requires is not None:
        allowed = PROVIDERS.get(spec.requires)
        if allowed is not None and type(resolved) not in allowed:
            raise InvalidFieldError(
                f"{cls.NAME} has {resolved.NAME} in its field {spec.name}, which requires {spec.requires}"
            )
    return resolved


def decode_composite(buf: bytes, pos: int) -> tuple[Composite, int]:
    """Decode the composite at ``pos``.

    Returns:
        The object, and the position after it.

    Raises:
        DecodeError: it is malformed, its descriptor is not known, or its fields do not fit.
    """
    try:
        if buf[pos] != 0:
            raise DecodeError(f"a described list was expected at offset {pos}")
        if buf[pos + 1] == 0x53:
            descriptor: Any = buf[pos + 2]
            p = pos + 3
        else:
            descriptor, p = decode_value(buf, pos + 1)
        cls = lookup(descriptor)
        if cls is None:
            what = f"0x{descriptor:X}" if isinstance(descriptor, int) else shown(descriptor, 60)
            raise DecodeError(f"unknown descriptor {what} of a composite, at offset {pos}")
        code = buf[p]
        if code == 0xC0:
            end = p + 2 + buf[p + 1]
            count = buf[p + 2]
            start = p + 3
            if end > len(buf) or end < start:
                raise DecodeError(f"{cls.NAME} at offset {pos} reaches past the end of the data")
            return cls.from_buffer(buf, start, count, end), end
        values, end = decode_value(buf, p)
        if not isinstance(values, list):
            raise DecodeError(f"{cls.NAME} at offset {pos} is not a list")
        return cls.from_list(values), end
    except DECODE_FAULTS as error:
        raise translate(error) from None

"""Typed descriptors for the properties of :class:`~amqp10.component.amqp.AMQP`.

A property is one line in the class body: IDEs, ``help()`` and type checkers see a real attribute with its type, and
assignment is checked where it happens. The values live in the parts that the instance holds, and it has no
``__dict__``, so that a misspelt attribute name is an ``AttributeError``. Assigning a wrong Python type is a
``TypeError``; a value that is out of range or malformed, an :class:`~amqp10.errors.AMQPError`.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from enum import IntEnum
from functools import cache
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, Generic, Never, NoReturn, Self, TypeVar, overload

from amqp10.component.checks import check_bool, check_bytes, check_enum, check_int, check_text
from amqp10.component.enums import ValueType
from amqp10.component.ids import check_id
from amqp10.errors import AMQPError

if TYPE_CHECKING:
    from amqp10.component.ids import MessageId

__all__ = [
    "Attribute",
    "BoolProperty",
    "DraftBool",
    "DraftEnum",
    "DraftId",
    "DraftInt",
    "DraftText",
    "EnumProperty",
    "EventHook",
    "FastId",
    "FastText",
    "IntProperty",
    "LogHook",
    "Property",
    "ReadOnlyDraftText",
    "ReceivedBool",
    "ReceivedField",
    "ReceivedInt",
    "ReceivedText",
    "ReceivedValueType",
    "TextProperty",
]

T = TypeVar("T")
E = TypeVar("E", bound=IntEnum)

INT32: Final = (-(2**31), 2**31 - 1)


@cache
def _texts_of(owner: type) -> dict[str, str]:
    """The string literals below the attributes of a class, by attribute. None where there is no source."""
    import ast  # only help() and the documentation look
    import inspect
    from itertools import pairwise
    from textwrap import dedent

    try:
        tree = ast.parse(dedent(inspect.getsource(owner)))
    except (OSError, TypeError):
        return {}
    (definition,) = tree.body
    assert isinstance(definition, ast.ClassDef)
    return {
        node.target.id: " ".join(below.value.value.split())
        for node, below in pairwise(definition.body)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }


class _Doc:
    """The ``__doc__`` of a descriptor: the text below the attribute that it is; of its class: the class's own."""

    def __init__(self, text: str | None) -> None:
        self._text = text

    def __get__(self, obj: Attribute | None, owner: type) -> str | None:
        return self._text if obj is None else _texts_of(obj.owner).get(obj.name, self._text)


class Attribute:
    """A descriptor that is documented by the string literal below it, where editors show it; ``help()`` does too."""

    owner: type = object
    """The class that it was made in."""
    name: str = ""
    """The attribute that it is."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        setattr(cls, "__doc__", _Doc(vars(cls).get("__doc__")))  # noqa: B010 - its type says str

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner = owner
        self.name = name


class Property(Attribute, Generic[T]):
    """A settable property whose value the instance's ``Properties`` hold.

    Args:
        locked: the error code for a change while connected; 0 when the property may change at any time.
    """

    def __init__(self, *, locked: int = 0) -> None:
        self._locked: int = locked

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...
    @overload
    def __get__(self, obj: object, owner: type) -> T: ...
    def __get__(self, obj: Any, owner: type) -> Self | T:
        if obj is None:
            return self
        value: T = getattr(obj._properties, self.name)
        return value

    def _store(self, obj: Any, checked: T) -> None:
        if self._locked:
            obj._loop.check_unlocked(self.name, self._locked)
        setattr(obj._properties, self.name, checked)


class TextProperty(Property[str]):
    """A str. ``secret`` ones never show in an error."""

    def __set__(self, obj: Any, value: str) -> None:
        text = check_text(self.name, value)
        if "\0" in text:
            raise AMQPError(604, f"{self.name} must not contain a NUL character")
        self._store(obj, text)


class IntProperty(Property[int]):
    """An int within bounds, both included."""

    def __init__(self, *, minimum: int = 0, maximum: int = INT32[1], locked: int = 0) -> None:
        super().__init__(locked=locked)
        self._minimum: int = minimum
        self._maximum: int = maximum

    def __set__(self, obj: Any, value: int) -> None:
        self._store(obj, check_int(self.name, value, self._minimum, self._maximum))


class BoolProperty(Property[bool]):
    """A bool."""

    def __set__(self, obj: Any, value: bool) -> None:
        self._store(obj, check_bool(self.name, value))


class BytesProperty(Property[bytes]):
    """Bytes; a str is taken as its UTF-8."""

    def __set__(self, obj: Any, value: bytes) -> None:
        self._store(obj, check_bytes(self.name, value))


class EnumProperty(Property[E]):
    """A member of an enumeration; its number is taken as well."""

    def __init__(self, enum: type[E], *, locked: int = 0) -> None:
        super().__init__(locked=locked)
        self._enum: type[E] = enum

    def __set__(self, obj: Any, value: E | int) -> None:
        self._store(obj, check_enum(self.name, self._enum, value))


# -- the message to be sent ------------------------------------------------------------------------------------------
#
# These are on the hot path of sending: one attribute of the draft each, and the draft is told what went stale.


class DraftField(Attribute, Generic[T]):
    """A field of the message to be sent."""

    field: str = ""
    """The attribute of the draft."""

    def __set_name__(self, owner: type, name: str) -> None:
        super().__set_name__(owner, name)
        self.field = name.removeprefix("message_")

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...
    @overload
    def __get__(self, obj: object, owner: type) -> T: ...
    def __get__(self, obj: Any, owner: type) -> Self | T:
        if obj is None:
            return self
        value: T = getattr(obj._draft, self.field)
        return value


class DraftText(DraftField[str]):
    """A text field of the message to be sent. ``errors`` says how surrogates are encoded, as for ``str.encode``."""

    def __init__(self, *, ascii_only: bool = False, errors: str = "strict") -> None:
        self._ascii: bool = ascii_only
        self._errors: str = errors

    def __set__(self, obj: Any, value: str) -> None:
        if type(value) is not str or not value.isascii():
            value = str(check_text(self.name, value, self._errors))
            if self._ascii and not value.isascii():
                raise AMQPError(604, f"{self.name} is a symbol and must be ASCII")
        obj._draft.set(self.field, value)


class FastText(DraftField[str]):
    """A text field that changes with every message: nothing else of the draft goes stale with it."""

    def __set__(self, obj: Any, value: str) -> None:
        if type(value) is not str:
            # A lone surrogate is found when the message is encoded: this is set once per message.
            value = str(check_text(self.name, value))
        setattr(obj._draft, self.field, value)


class DraftId(DraftField[str]):
    """The correlation id: a str, or an int, a UUID or bytes for an id of that type on the wire."""

    def __set__(self, obj: Any, value: MessageId) -> None:
        obj._draft.set(self.field, value if type(value) is str and value.isascii() else check_id(self.name, value))


class FastId(DraftField[str]):
    """The message id: a str, or an int, a UUID or bytes for an id of that type on the wire."""

    def __set__(self, obj: Any, value: MessageId) -> None:
        if type(value) is not str:
            value = check_id(self.name, value)
        setattr(obj._draft, self.field, value)


class ReadOnlyDraftText(DraftField[str]):
    """A text field of the message to be sent that only the class itself sets."""

    def __set__(self, obj: Any, value: Never) -> NoReturn:
        raise AttributeError(f"{self.name} is read-only")


class DraftInt(DraftField[int]):
    """A number of the message to be sent, within bounds, both included."""

    def __init__(self, *, minimum: int, maximum: int) -> None:
        self._minimum: int = minimum
        self._maximum: int = maximum

    def __set__(self, obj: Any, value: int) -> None:
        obj._draft.set(self.field, check_int(self.name, value, self._minimum, self._maximum))


class DraftBool(DraftField[bool]):
    """A flag of the message to be sent."""

    def __set__(self, obj: Any, value: bool) -> None:
        obj._draft.set(self.field, check_bool(self.name, value))


class DraftEnum(DraftField[E]):
    """An enumerated field of the message to be sent."""

    def __init__(self, enum: type[E]) -> None:
        self._enum: type[E] = enum

    def __set__(self, obj: Any, value: E | int) -> None:
        obj._draft.set(self.field, value if type(value) is self._enum else check_enum(self.name, self._enum, value))


# -- the message received last ---------------------------------------------------------------------------------------


class ReceivedField(Attribute, Generic[T]):
    """A field of the message received last; decoded when it is first looked at."""

    field: str = ""
    """The attribute of the message."""

    def __set_name__(self, owner: type, name: str) -> None:
        super().__set_name__(owner, name)
        self.field = name.removeprefix("received_message_")

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...
    @overload
    def __get__(self, obj: object, owner: type) -> T: ...
    def __get__(self, obj: Any, owner: type) -> Self | T:
        if obj is None:
            return self
        value: T = getattr(obj._inbox.received, self.field)
        return value

    def __set__(self, obj: Any, value: Never) -> NoReturn:
        raise AttributeError(f"{self.name} is read-only")


class ReceivedText(ReceivedField[str]):
    """A text field."""


class ReceivedInt(ReceivedField[int]):
    """A number field."""


class ReceivedBool(ReceivedField[bool]):
    """A flag."""


class ReceivedValueType(ReceivedField[ValueType]):
    """The value type."""


# -- event hooks -----------------------------------------------------------------------------------------------------

P = TypeVar("P")


class EventHook(Attribute, Generic[P]):
    """An ``on_...`` property: any callable that takes the event's parameters, or None for no handler.

    A subclass of the component may define the handler as a method: see :meth:`defined_as`.
    """

    method: Callable[[Any, P], object] | None = None
    """What a subclass has defined as the handler."""

    def __init__(self, params: type[P]) -> None:
        """``params`` is there for type checkers: what the handler is given."""

    def defined_as(self, method: Callable[[Any, P], object]) -> Self:
        """The same property for a subclass that defines the handler as a method: new instances begin with it."""
        hook = copy(self)
        hook.method = method
        return hook

    @overload
    def __get__(self, obj: None, owner: type) -> Self: ...
    @overload
    def __get__(self, obj: object, owner: type) -> Callable[[P], object] | None: ...
    def __get__(self, obj: Any, owner: type) -> Self | Callable[[P], object] | None:
        if obj is None:
            return self
        hook: Callable[[P], object] | None = getattr(obj._handlers, self.name)
        method = self.method
        if method is not None and hook is not None and getattr(hook, "__self__", None) is obj:
            # For ``super()``, each class has its own.
            bound: Callable[[P], object] = MethodType(method, obj)
            return bound
        return hook

    def __set__(self, obj: Any, value: Callable[[P], object] | None) -> None:
        if value is not None and not callable(value):
            raise TypeError(f"{self.name} must be a callable or None, not {type(value).__name__}")
        setattr(obj._handlers, self.name, value)


class LogHook(EventHook[P]):
    """The hook for log messages: whether frames are worth tracing depends on it."""

    def __set__(self, obj: Any, value: Callable[[P], object] | None) -> None:
        super().__set__(obj, value)
        obj._loop.follow_log()

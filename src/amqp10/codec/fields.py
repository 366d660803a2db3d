"""The declared fields of composite types (types, "composite types")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, NamedTuple, Protocol

from amqp10.conditions import ErrorCondition
from amqp10.errors import DecodeError

__all__ = ["RESTRICTED", "Declared", "FieldSpec", "InvalidFieldError", "wrong_type"]

RESTRICTED: Final[Mapping[str, str]] = {
    "address-string": "string",
    "annotations": "map",
    "delivery-number": "uint",
    "delivery-tag": "binary",
    "fields": "map",
    "filter-set": "map",
    "handle": "uint",
    "ietf-language-tag": "symbol",
    "message-format": "uint",
    "milliseconds": "uint",
    "node-properties": "map",
    "receiver-settle-mode": "ubyte",
    "role": "boolean",
    "sasl-code": "ubyte",
    "seconds": "uint",
    "sender-settle-mode": "ubyte",
    "sequence-no": "uint",
    "terminus-durability": "uint",
    "terminus-expiry-policy": "symbol",
    "transaction-id": "binary",
    "transfer-number": "uint",
}
"""The restricted types of fields, and the primitive type of each. A test compares them with the specification."""


class InvalidFieldError(DecodeError):
    """A composite value whose fields do not fit its declaration: too many, of a wrong type, or a mandatory one
    missing."""

    __slots__ = ()

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.condition: str | None = ErrorCondition.INVALID_FIELD


class FieldSpec(NamedTuple):
    """One declared field, in the specification's terms."""

    name: str
    type: str
    mandatory: bool
    default: Any
    multiple: bool
    requires: str | None
    secret: bool

    @property
    def attribute(self) -> str:
        """The Python name of the field."""
        return self.name.replace("-", "_")


class Declared(Protocol):
    """A class that declares fields, before it has been compiled."""

    NAME: ClassVar[str]
    DESCRIPTOR_CODE: ClassVar[int]
    FIELDS: ClassVar[tuple[FieldSpec, ...]]


def wrong_type(cls: type[Declared], spec: FieldSpec, value: Any) -> InvalidFieldError:
    """The error for a field whose value is not of its type."""
    wanted = f"requires {spec.requires}" if spec.type == "*" else f"is {spec.type}"
    return InvalidFieldError(f"{cls.NAME} has a {type(value).__name__} in its field {spec.name}, which {wanted}")

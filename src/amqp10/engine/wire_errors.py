"""Errors as they travel: in *close*, *end*, *detach* and *rejected* (transport, "error").

They become exceptions when they arrive, and are made of exceptions when they are sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from amqp10.codec import Symbol
from amqp10.conditions import ErrorCondition
from amqp10.errors import RemoteError
from amqp10.wire.messaging import Rejected
from amqp10.wire.performatives import Error

if TYPE_CHECKING:
    from amqp10.codec.composite import Composite
    from amqp10.errors import AMQPError

__all__ = ["remote_error", "shortened", "wire_error"]

P = TypeVar("P", bound="Composite")


def remote_error(error: Error | None, what: str) -> RemoteError | None:
    """The exception for an error that the peer reported; None when it reported none.

    Args:
        error: the error field of a close, end or detach.
        what: what the peer did, as the start of the message: "the peer closed the connection".
    """
    if error is None:
        return None
    condition = str(error.condition)
    text = f"{what}: {condition}"
    if error.description:
        text += f": {error.description}"
    if condition in _REDIRECTS:
        text += _redirect_target(error.info or {})
    raised = RemoteError(text, condition=condition)
    raised.description = error.description
    raised.info = error.info
    return raised


_REDIRECTS = frozenset((ErrorCondition.CONNECTION_REDIRECT, ErrorCondition.LINK_REDIRECT))


def _redirect_target(info: Mapping[Any, Any]) -> str:
    """Where a redirect leads to, in words (transport, "connection error", "link error")."""
    host, port = info.get("network-host"), info.get("port")
    parts = []
    if host is not None:
        parts.append(f"at {host}" + (f", port {port}" if port is not None else ""))
    elif port is not None:
        parts.append(f"at port {port}")
    if info.get("hostname") is not None:
        parts.append(f"as host name {info['hostname']}")
    if info.get("address") is not None:
        parts.append(f"under the address {info['address']}")
    return f" (to be found {', '.join(parts)})" if parts else ""


def wire_error(error: AMQPError | None) -> Error | None:
    """The wire form of an error to report to the peer."""
    if error is None:
        return None
    condition = Symbol(error.condition or ErrorCondition.INTERNAL_ERROR)
    return Error(condition=condition, description=error.message, info=error.info)


def shortened(performative: P, excess: int) -> P:
    """A performative that carries an error, with the error's text cut so that it takes ``excess`` bytes less.

    Whatever it has besides condition and text is left out. A performative without an error comes back as it is.
    """
    state = getattr(performative, "state", None)
    error = getattr(performative, "error", None) or getattr(state, "error", None)
    if not isinstance(error, Error):
        return performative
    text = (error.description or "").encode("utf-8", "replace")
    # Some bytes more, because the text that is left may need another form of its size.
    text = text[: max(0, len(text) - excess - 16)] if error.info is None else text[:128]
    cut = Error(condition=error.condition, description=text.decode("utf-8", "ignore") or None)
    fields = {spec.attribute: getattr(performative, spec.attribute) for spec in performative.FIELDS}
    return type(performative)(**{**fields, **({"error": cut} if state is None else {"state": Rejected(error=cut)})})

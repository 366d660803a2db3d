"""How the engine stops at a broken rule: exceptions that name the scope the specification wants ended.

They never leave the engine: ``Connection.receive_data`` answers with the close, end or detach that carries the
condition and reports the event. They are raised only when a peer misbehaves, never on the way of a good frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from amqp10.codec import DecodeError, Symbol
from amqp10.errors import AMQPError, LimitError, MalformedFrameError, ProtocolError, RemoteError
from amqp10.wire.messaging import Rejected
from amqp10.wire.performatives import Error

if TYPE_CHECKING:
    from amqp10.codec.composite import Composite
    from amqp10.engine.link import LinkEndpoint
    from amqp10.engine.session import Session

__all__ = [
    "ConnectionFault",
    "LinkFault",
    "SessionFault",
    "bad_frame",
    "remote_error",
    "shortened",
    "unreadable",
    "wire_error",
]

P = TypeVar("P", bound="Composite")


class ConnectionFault(Exception):  # noqa: N818 - never leaves the engine
    """The connection must be closed with this error."""

    def __init__(self, error: AMQPError) -> None:
        super().__init__(error)
        self.error = error

    @classmethod
    def broken_rule(cls, condition: str, message: str) -> ConnectionFault:
        """A fault of code 600: the peer broke the rule that the message names."""
        return cls(ProtocolError(message, condition=condition))

    @classmethod
    def malformed(cls, message: str) -> ConnectionFault:
        """A fault of code 601: the bytes do not form a frame."""
        return cls(MalformedFrameError(message))


class SessionFault(Exception):  # noqa: N818 - never leaves the engine
    """The session must be ended with this error (transport, "session errors")."""

    def __init__(self, session: Session, condition: str, message: str) -> None:
        super().__init__(message)
        self.session = session
        self.error = ProtocolError(message, condition=condition)


class LinkFault(Exception):  # noqa: N818 - never leaves the engine
    """The link must be detached with this error (transport, "link errors")."""

    def __init__(self, link: LinkEndpoint, condition: str, message: str) -> None:
        super().__init__(message)
        self.link = link
        self.error = ProtocolError(message, condition=condition)


def bad_frame(size: int, doff: int, kind: int, largest: int) -> ConnectionFault:
    """What is wrong with a frame of an open connection, by its header (transport, "framing")."""
    if size > largest:
        return ConnectionFault.malformed(f"the peer sent a frame of {size} octets; {largest} is the agreed maximum")
    if doff < 2 or doff * 4 > size:
        return ConnectionFault.malformed(f"the peer sent a frame of {size} octets with data offset {doff}")
    return ConnectionFault.malformed(f"the peer sent a frame of type {kind} where AMQP frames are expected")


def unreadable(error: Exception) -> AMQPError:
    """Why the connection has to be closed when reading one of its frames raised an error that is no fault."""
    if isinstance(error, DecodeError):
        text = f"the peer sent a malformed frame: {error.message}"
        return MalformedFrameError(text, condition="amqp:decode-error")
    if not isinstance(error, AMQPError):  # read beyond the end of the frame
        text = "the peer sent a frame whose performative is cut short"
        return MalformedFrameError(text, condition="amqp:decode-error")
    # A state that does not allow what came, a limit that it breaks, a body that reaches beyond its frame.
    if isinstance(error, LimitError):
        error.condition = "amqp:resource-limit-exceeded"
    return error


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


_REDIRECTS = frozenset(("amqp:connection:redirect", "amqp:link:redirect"))


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
    condition = Symbol(error.condition or "amqp:internal-error")
    return Error(condition=condition, description=error.message, info=error.info)


def shortened(performative: P, excess: int) -> P:
    """A performative that carries an error, with the error's text cut so that it takes ``excess`` octets less.

    Whatever it has besides condition and text is left out. A performative without an error comes back as it is.
    """
    state = getattr(performative, "state", None)
    error = getattr(performative, "error", None) or getattr(state, "error", None)
    if not isinstance(error, Error):
        return performative
    text = (error.description or "").encode("utf-8", "replace")
    # Some octets more, because the text that is left may need another form of its size.
    text = text[: max(0, len(text) - excess - 16)] if error.info is None else text[:128]
    cut = Error(condition=error.condition, description=text.decode("utf-8", "ignore") or None)
    fields = {spec.attribute: getattr(performative, spec.attribute) for spec in performative.FIELDS}
    return type(performative)(**{**fields, **({"error": cut} if state is None else {"state": Rejected(error=cut)})})

"""What event handlers receive: one small read-only object per event.

The objects live for one call only and are built for every message, so they hold references and compute on demand: the
index of a session or link is looked up when the handler asks for it, and the id of a message is taken from the message
only then. The two things a handler can decide, ``state`` and ``accept``, can be assigned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from amqp10.component.checks import check_bool
from amqp10.component.enums import MessageState
from amqp10.errors import AMQPError, DecodeError

if TYPE_CHECKING:
    from typing import Protocol

    from amqp10.component.outcomes import OutcomeMetadata

    class IndexOwner(Protocol):
        """Knows the current position of a session or link in the component's lists; -1 for one that is gone."""

        def session_index(self, name: str, /) -> int: ...

        def link_index(self, name: str, /) -> int: ...

    class MessageWithId(Protocol):
        """A message whose id may still have to be decoded."""

        @property
        def id(self) -> str: ...


__all__ = [
    "AMQPConnectedEventParams",
    "AMQPConnectionStatusEventParams",
    "AMQPDisconnectedEventParams",
    "AMQPErrorEventParams",
    "AMQPLinkReadyToSendEventParams",
    "AMQPLogEventParams",
    "AMQPMessageInEventParams",
    "AMQPMessageOutEventParams",
    "AMQPMessageOutcomeEventParams",
    "AMQPReadyToSendEventParams",
    "AMQPSSLServerAuthenticationEventParams",
    "AMQPSSLStatusEventParams",
    "EVENT_CLASSES",
    "EventParams",
]

_REPR_LIMIT: Final = 100


class EventParams:
    """Base of all event parameter classes."""

    __slots__ = ()

    PARAMS: ClassVar[tuple[str, ...]] = ()
    """The names of the parameters, in the documented order."""

    def __repr__(self) -> str:
        shown = []
        for name in self.PARAMS:
            value = repr(getattr(self, name))
            # A certificate or a log line would otherwise swamp the output.
            shown.append(f"{name}={value if len(value) <= _REPR_LIMIT else value[: _REPR_LIMIT - 3] + '...'}")
        return f"{type(self).__name__}({', '.join(shown)})"


class _StatusParams(EventParams):
    __slots__ = ("_description", "_status_code")

    PARAMS: ClassVar[tuple[str, ...]] = ("status_code", "description")

    def __init__(self, status_code: int, description: str) -> None:
        self._status_code = status_code
        self._description = description

    @property
    def status_code(self) -> int:
        """0 when all went well, otherwise the error code."""
        return self._status_code

    @property
    def description(self) -> str:
        """``"OK"``, or what went wrong."""
        return self._description


class AMQPConnectedEventParams(_StatusParams):
    """``on_connected``: an attempt to connect has ended, well or badly."""

    __slots__ = ()


class AMQPDisconnectedEventParams(_StatusParams):
    """``on_disconnected``: the connection is gone."""

    __slots__ = ()


class AMQPConnectionStatusEventParams(_StatusParams):
    """``on_connection_status``: the connection passed a stage."""

    __slots__ = ("_connection_event",)

    PARAMS: ClassVar[tuple[str, ...]] = ("connection_event", "status_code", "description")

    def __init__(self, connection_event: str, status_code: int, description: str) -> None:
        super().__init__(status_code, description)
        self._connection_event = connection_event

    @property
    def connection_event(self) -> str:
        """The stage, as text."""
        return self._connection_event


class AMQPErrorEventParams(EventParams):
    """``on_error``: something went wrong that no call of the program's was waiting for."""

    __slots__ = ("_description", "_error_code")

    PARAMS: ClassVar[tuple[str, ...]] = ("error_code", "description")

    def __init__(self, error_code: int, description: str) -> None:
        self._error_code = error_code
        self._description = description

    @property
    def error_code(self) -> int:
        """The error code, one of :data:`amqp10.errors.ERROR_CODES`."""
        return self._error_code

    @property
    def description(self) -> str:
        """What went wrong."""
        return self._description


class AMQPLinkReadyToSendEventParams(EventParams):
    """``on_link_ready_to_send``: a sender link that had no credit has some."""

    __slots__ = ("_link_name", "_owner")

    PARAMS: ClassVar[tuple[str, ...]] = ("link_name", "link_index")

    def __init__(self, owner: IndexOwner, link_name: str) -> None:
        self._owner = owner
        self._link_name = link_name

    @property
    def link_name(self) -> str:
        """The name of the sender link."""
        return self._link_name

    @property
    def link_index(self) -> int:
        """The link's index for the ``get_link_*`` methods."""
        return self._owner.link_index(self._link_name)


class AMQPReadyToSendEventParams(EventParams):
    """``on_ready_to_send``: all that waited has gone out, and more is taken. No parameters."""

    __slots__ = ()


class AMQPLogEventParams(EventParams):
    """``on_log``: one log message."""

    __slots__ = ("_log_level", "_log_type", "_message")

    PARAMS: ClassVar[tuple[str, ...]] = ("log_level", "message", "log_type")

    def __init__(self, log_level: int, message: str, log_type: str) -> None:
        self._log_level = log_level
        self._message = message
        self._log_type = log_type

    @property
    def log_level(self) -> int:
        """The level of the message: one of :class:`~amqp10.component.enums.LogLevel`."""
        return self._log_level

    @property
    def message(self) -> str:
        """The text."""
        return self._message

    @property
    def log_type(self) -> str:
        """The subject: ``"Info"``, ``"Session"`` or ``"Frame"``."""
        return self._log_type


class _MessageParams(EventParams):
    __slots__ = ("_link_name", "_message", "_owner", "_session_name")

    PARAMS: ClassVar[tuple[str, ...]] = ("session_name", "session_index", "link_name", "link_index", "message_id")

    def __init__(self, owner: IndexOwner, session_name: str, link_name: str, message: str | MessageWithId) -> None:
        self._owner = owner
        self._session_name = session_name
        self._link_name = link_name
        self._message = message

    @property
    def session_name(self) -> str:
        """The session of the message."""
        return self._session_name

    @property
    def session_index(self) -> int:
        """The session's index for the ``get_session_*`` methods."""
        return self._owner.session_index(self._session_name)

    @property
    def link_name(self) -> str:
        """The link of the message."""
        return self._link_name

    @property
    def link_index(self) -> int:
        """The link's index for the ``get_link_*`` methods."""
        return self._owner.link_index(self._link_name)

    @property
    def message_id(self) -> str:
        """The message's id as text; empty when it has none."""
        message = self._message
        return message if isinstance(message, str) else message.id


class AMQPMessageInEventParams(_MessageParams):
    """``on_message_in``: a message has arrived; the handler decides its outcome."""

    __slots__ = ("_metadata", "_sent", "_state")

    _metadata: OutcomeMetadata | None

    PARAMS: ClassVar[tuple[str, ...]] = (*_MessageParams.PARAMS, "state")

    def __init__(
        self,
        owner: IndexOwner,
        session_name: str,
        link_name: str,
        message: str | MessageWithId,
        state: MessageState = MessageState.Accepted,
    ) -> None:
        # Not through super(): one call less for every message received.
        self._owner = owner
        self._session_name = session_name
        self._link_name = link_name
        self._message = message
        self._state = state
        # For a handler that ends the link of its message: see ``Inbox.settle_handled``.
        self._sent: int | None = None

    @property
    def state(self) -> int:
        """The outcome to report: one of :class:`~amqp10.component.enums.MessageState`. Can be assigned.

        Raises:
            TypeError: assigned something other than an int.
            AMQPError: 604, assigned a number that is no outcome.
        """
        return self._state

    @state.setter
    def state(self, value: int) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"state must be an int, not {type(value).__name__}")
        if not 0 <= value <= 3:
            raise AMQPError(
                604, f"state: {_brief(value)} is not 0 (Accepted), 1 (Rejected), 2 (Released) or 3 (Modified)"
            )
        self._state = MessageState(value)


class AMQPMessageOutEventParams(_MessageParams):
    """``on_message_out``: a message has been sent and, unless it went settled, its outcome is known."""

    __slots__ = ()


class AMQPMessageOutcomeEventParams(_MessageParams):
    """``on_message_outcome``: the outcome of a message is known."""

    __slots__ = ("_direction", "_state")

    PARAMS: ClassVar[tuple[str, ...]] = (*_MessageParams.PARAMS, "direction", "state")

    def __init__(
        self,
        owner: IndexOwner,
        session_name: str,
        link_name: str,
        message: str | MessageWithId,
        direction: int,
        state: int,
    ) -> None:
        self._owner = owner
        self._session_name = session_name
        self._link_name = link_name
        self._message = message
        self._direction = direction
        self._state = state

    @property
    def message_id(self) -> str:
        """The message's id as text; empty if it has none, or if it cannot be decoded."""
        try:
            return super().message_id
        except DecodeError:
            return ""

    @property
    def direction(self) -> int:
        """0 for an outcome that this side sent, 1 for one that it received."""
        return self._direction

    @property
    def state(self) -> int:
        """The outcome: one of :class:`~amqp10.component.enums.MessageState`."""
        return self._state


class AMQPSSLServerAuthenticationEventParams(EventParams):
    """``on_ssl_server_authentication``: the server has shown its certificate; the handler may accept it."""

    __slots__ = ("_accept", "_cert_encoded", "_cert_issuer", "_cert_subject", "_status")

    PARAMS: ClassVar[tuple[str, ...]] = ("cert_encoded", "cert_subject", "cert_issuer", "status", "accept")

    def __init__(self, cert_encoded: bytes, cert_subject: str, cert_issuer: str, status: str, accept: bool) -> None:
        self._cert_encoded = cert_encoded
        self._cert_subject = cert_subject
        self._cert_issuer = cert_issuer
        self._status = status
        self._accept = accept

    @property
    def cert_encoded(self) -> bytes:
        """The certificate, or the whole chain when ``SSLIncludeCertChain`` is on, as PEM."""
        return self._cert_encoded

    @property
    def cert_subject(self) -> str:
        """The subject of the certificate."""
        return self._cert_subject

    @property
    def cert_issuer(self) -> str:
        """The issuer of the certificate."""
        return self._cert_issuer

    @property
    def status(self) -> str:
        """``"OK"``, or why the verification failed."""
        return self._status

    @property
    def accept(self) -> bool:
        """Whether the certificate is accepted; at first the result of the verification. Can be assigned.

        Raises:
            TypeError: assigned something other than a bool, 1 or 0, so that no text passes for consent.
            AMQPError: 604 for another number.
        """
        return self._accept

    @accept.setter
    def accept(self, value: bool) -> None:
        self._accept = check_bool("accept", value)


class AMQPSSLStatusEventParams(EventParams):
    """``on_ssl_status``: progress of the TLS handshake, for information."""

    __slots__ = ("_message",)

    PARAMS: ClassVar[tuple[str, ...]] = ("message",)

    def __init__(self, message: str) -> None:
        self._message = message

    @property
    def message(self) -> str:
        """The text."""
        return self._message


def _brief(value: int) -> str:
    # An int may have more digits than Python is willing to print.
    return str(value) if -1_000_000_000 < value < 1_000_000_000 else "the number"


EVENT_CLASSES: Final[dict[str, type[EventParams]]] = {
    "on_connected": AMQPConnectedEventParams,
    "on_connection_status": AMQPConnectionStatusEventParams,
    "on_disconnected": AMQPDisconnectedEventParams,
    "on_error": AMQPErrorEventParams,
    "on_link_ready_to_send": AMQPLinkReadyToSendEventParams,
    "on_log": AMQPLogEventParams,
    "on_message_in": AMQPMessageInEventParams,
    "on_message_out": AMQPMessageOutEventParams,
    "on_message_outcome": AMQPMessageOutcomeEventParams,
    "on_ready_to_send": AMQPReadyToSendEventParams,
    "on_ssl_server_authentication": AMQPSSLServerAuthenticationEventParams,
    "on_ssl_status": AMQPSSLStatusEventParams,
}
"""Event name -> the class of its parameters."""

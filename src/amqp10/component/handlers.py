"""The handlers that the program has set, and the ``on_...`` properties that set them."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, Final

from amqp10.component.events import (
    EVENT_CLASSES,
    AMQPConnectedEventParams,
    AMQPConnectionStatusEventParams,
    AMQPDisconnectedEventParams,
    AMQPErrorEventParams,
    AMQPLinkReadyToSendEventParams,
    AMQPLogEventParams,
    AMQPMessageInEventParams,
    AMQPMessageOutcomeEventParams,
    AMQPMessageOutEventParams,
    AMQPReadyToSendEventParams,
    AMQPSSLServerAuthenticationEventParams,
    AMQPSSLStatusEventParams,
)
from amqp10.component.fields import EventHook, LogHook

__all__ = ["EVENTS", "EventHooks", "Handlers"]

EVENTS: Final = tuple(EVENT_CLASSES)
"""The names of all events."""


class Handlers:
    """The handler of each event, None where there is none."""

    __slots__ = (
        "on_connected",
        "on_connection_status",
        "on_disconnected",
        "on_error",
        "on_link_ready_to_send",
        "on_log",
        "on_message_in",
        "on_message_out",
        "on_message_outcome",
        "on_ready_to_send",
        "on_ssl_server_authentication",
        "on_ssl_status",
    )

    on_connected: Callable[[AMQPConnectedEventParams], object] | None
    on_connection_status: Callable[[AMQPConnectionStatusEventParams], object] | None
    on_disconnected: Callable[[AMQPDisconnectedEventParams], object] | None
    on_error: Callable[[AMQPErrorEventParams], object] | None
    on_link_ready_to_send: Callable[[AMQPLinkReadyToSendEventParams], object] | None
    on_log: Callable[[AMQPLogEventParams], object] | None
    on_message_in: Callable[[AMQPMessageInEventParams], object] | None
    on_message_out: Callable[[AMQPMessageOutEventParams], object] | None
    on_message_outcome: Callable[[AMQPMessageOutcomeEventParams], object] | None
    on_ready_to_send: Callable[[AMQPReadyToSendEventParams], object] | None
    on_ssl_server_authentication: Callable[[AMQPSSLServerAuthenticationEventParams], object] | None
    on_ssl_status: Callable[[AMQPSSLStatusEventParams], object] | None

    def __init__(self) -> None:
        for name in EVENTS:
            setattr(self, name, None)


class EventHooks:
    """The ``on_...`` properties. A subclass may define a handler as a method: ``def on_message_in(self, event)``."""

    __slots__ = ()

    _handlers: Handlers

    on_connected: EventHook[AMQPConnectedEventParams] = EventHook(AMQPConnectedEventParams)
    """Fires when an attempt to connect has ended: once the connection is open, or before the call raises what went
    wrong."""

    on_connection_status: EventHook[AMQPConnectionStatusEventParams] = EventHook(AMQPConnectionStatusEventParams)
    """Fires when the connection passes a stage: the proxy or the server has been reached, TLS is established, the
    connection has ended."""

    on_disconnected: EventHook[AMQPDisconnectedEventParams] = EventHook(AMQPDisconnectedEventParams)
    """Fires once when a connection that had been open is gone, whoever ended it. Sessions and links are gone by then; a
    handler may connect anew."""

    on_error: EventHook[AMQPErrorEventParams] = EventHook(AMQPErrorEventParams)
    """Fires for a fault that does not end the connection and that no call was waiting for: the server has ended a link
    or a session, or a message cannot be decoded. An error of the connection is raised by the call that works it."""

    on_link_ready_to_send: EventHook[AMQPLinkReadyToSendEventParams] = EventHook(AMQPLinkReadyToSendEventParams)
    """Fires when the credit of a sender link goes from none to some: first when the server grants it, then after each
    time that it was used up."""

    on_log: LogHook[AMQPLogEventParams] = LogHook(AMQPLogEventParams)
    """Fires for each log message of a level up to the setting ``LogLevel``: 1 for what the program does and what the
    server ends, 2 for every change of a session or link, 3 for every frame. The same lines go to the standard logger
    ``amqp10``, level 1 as INFO and the others as DEBUG."""

    on_message_in: EventHook[AMQPMessageInEventParams] = EventHook(AMQPMessageInEventParams)
    """Fires for each message received, which the ``received_message_...`` properties show. Its handler sets the outcome
    through ``state``; an exception in it releases the message."""

    on_message_out: EventHook[AMQPMessageOutEventParams] = EventHook(AMQPMessageOutEventParams)
    """Fires for each message that is done with: a settled one when it has been sent, an unsettled one when its outcome,
    whichever it is, has arrived."""

    on_message_outcome: EventHook[AMQPMessageOutcomeEventParams] = EventHook(AMQPMessageOutcomeEventParams)
    """Fires when the outcome of an unsettled message is known, sent from here or received. The ``RejectError...`` and
    ``Modified...`` settings tell more while the handler runs."""

    on_ready_to_send: EventHook[AMQPReadyToSendEventParams] = EventHook(AMQPReadyToSendEventParams)
    """Fires when all that waited for the socket, or for a session window of the peer, has gone out."""

    on_ssl_server_authentication: EventHook[AMQPSSLServerAuthenticationEventParams] = EventHook(
        AMQPSSLServerAuthenticationEventParams
    )
    """Fires once per TLS handshake when the server has shown its certificate, before anything secret is sent. The
    handler may overrule the verification through ``accept``."""

    on_ssl_status: EventHook[AMQPSSLStatusEventParams] = EventHook(AMQPSSLStatusEventParams)
    """Fires with the progress of the TLS handshake."""

    def _make_handlers(self) -> Handlers:
        """The handlers that a new instance begins with: those that its class defines."""
        handlers = Handlers()
        for name in EVENTS:
            method = getattr(type(self), name).method
            if method is not None:
                setattr(handlers, name, MethodType(method, self))
        return handlers

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, value in list(vars(cls).items()):
            hook = vars(EventHooks).get(name)
            if isinstance(hook, EventHook) and not isinstance(value, EventHook):
                if not isinstance(value, FunctionType):
                    raise TypeError(f"{cls.__name__}.{name} must be a method that takes the event, not {value!r}")
                setattr(cls, name, hook.defined_as(value))

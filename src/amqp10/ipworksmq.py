"""The names that a program written for the reference imports: change the import, keep the program."""

from amqp10.component.amqp import AMQP
from amqp10.component.events import (
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
from amqp10.errors import AMQPError as IPWorksMQError

__all__ = [
    "AMQP",
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
    "IPWorksMQError",
]

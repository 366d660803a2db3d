"""The AMQP 1.0 protocol without I/O: bytes and the time go in, events and bytes come out.

Open ``connection.py`` for the byte stream, open and close, and its parts: ``input.py``, ``output.py``, ``idle.py`` for
time, ``channels.py``, ``handshake.py`` for protocol headers and the SASL exchange (its mechanisms: ``sasl.py``);
``session.py`` for handles and dispositions, ``window.py`` for flow control, ``backlog.py`` for what waits for it;
``link.py`` for attach and detach, ``sender.py`` for messages out, ``receiver.py`` for messages in and their credit;
``incoming.py`` for what arrives on a session, ``linking.py`` for what arrives about its links; ``states.py`` for every
legal state change and ``events.py`` for what the engine reports.
"""

from amqp10.engine.connection import Connection
from amqp10.engine.events import (
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
    DeliveriesSettled,
    DeliveriesUpdated,
    DeliveryAborted,
    DeliveryGrows,
    Event,
    LinkAttached,
    LinkDetached,
    LinkFlow,
    LinkRequested,
    SessionBegun,
    SessionEnded,
    SessionRequested,
)
from amqp10.engine.link import LinkEndpoint
from amqp10.engine.receiver import IncomingDelivery, ReceiverLink
from amqp10.engine.sasl import (
    AnonymousMechanism,
    ClientMechanism,
    ExternalMechanism,
    PlainMechanism,
    SaslClient,
    SaslServer,
)
from amqp10.engine.sender import OutgoingDelivery, SenderLink
from amqp10.engine.session import Session
from amqp10.engine.states import ConnectionState, EndpointRole, LinkState, SessionState

__all__ = [
    "AnonymousMechanism",
    "ClientMechanism",
    "Connection",
    "ConnectionClosed",
    "ConnectionFailed",
    "ConnectionOpened",
    "ConnectionState",
    "DeliveriesSettled",
    "DeliveriesUpdated",
    "DeliveryAborted",
    "DeliveryGrows",
    "EndpointRole",
    "Event",
    "ExternalMechanism",
    "IncomingDelivery",
    "LinkAttached",
    "LinkDetached",
    "LinkEndpoint",
    "LinkFlow",
    "LinkRequested",
    "LinkState",
    "OutgoingDelivery",
    "PlainMechanism",
    "ReceiverLink",
    "SaslClient",
    "SaslServer",
    "SenderLink",
    "Session",
    "SessionBegun",
    "SessionEnded",
    "SessionRequested",
    "SessionState",
]

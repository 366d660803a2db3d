"""The blocking API; its names are in :mod:`amqp10`."""

from amqp10.blocking.api import Connection, Receiver, Sender, Session, connect
from amqp10.blocking.hot import Delivery, ReceivedMessage

__all__ = ["Connection", "Delivery", "ReceivedMessage", "Receiver", "Sender", "Session", "connect"]

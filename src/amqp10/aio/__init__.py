"""The asyncio API: the same names as in :mod:`amqp10`, to be awaited."""

from amqp10.aio.api import Connection, Receiver, Sender, Session, connect
from amqp10.aio.hot import Delivery, ReceivedMessage

__all__ = ["Connection", "Delivery", "ReceivedMessage", "Receiver", "Sender", "Session", "connect"]

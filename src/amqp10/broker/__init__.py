"""An in-memory AMQP 1.0 broker for development and tests, on the same engine as the client.

``queues.py`` holds the messages, ``container.py`` joins them with the engine; neither does I/O. ``server.py`` runs
them behind a listening socket, in a thread: :class:`Broker` is what programs use.
"""

from amqp10.broker.server import Broker

__all__ = ["Broker"]

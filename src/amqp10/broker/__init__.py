"""An in-memory AMQP 1.0 broker for development and tests, on the same engine as the client.

``queues.py`` holds the messages, ``directory.py`` finds the queues, ``connection.py`` connects them to the engine; none
of them does I/O. ``loop.py`` serves connections over sockets, and ``server.py`` runs that in a thread. Programs use
:class:`Broker`, and set its limits with :class:`Limits`.
"""

from amqp10.broker.limits import Limits
from amqp10.broker.server import Broker

__all__ = ["Broker", "Limits"]

"""Starts and stops the real AMQP 1.0 peers that the interop tests talk to.

`scripts/peers` prepares the peers on a machine; this package runs them; each of them, or their family, has a module.
Every peer is a context manager with a `host` and a `port`:

=================  ==============================================================  ===============
class              what it is                                                      ready within
=================  ==============================================================  ===============
`RabbitMQ`         RabbitMQ 4.0 in a Debian root of its own                        5 to 11 s
`ProtonBroker`     the example broker of Qpid Proton C++ (or that of Proton C)     0.05 s
`ProtonDirect`     Proton's examples that listen, and send or receive by           0.05 s
                   themselves
`RheaContainer`    an in-memory container of ours on the Node.js library rhea      0.25 s
`Artemis`,         the Java brokers, in `peers.java`                               5 to 20 s
`BrokerJ`,
`Classic`
`CuttingProxy`     passes bytes on to any of them, and cuts when it is told to, in     0 s
                   `peers.cutting`
=================  ==============================================================  ===============

`proton_send` and `proton_receive` run Proton's client examples against any of the brokers.

Everything listens on the loopback address only and on ports that were free, so that several can run at once. A peer
never outlives the process that started it: each is tied to a pipe, and is killed when that pipe's other end closes,
however that came about.
"""

from __future__ import annotations

from tests.interop.peers.base import (
    HOST,
    PASSWORD,
    START_TIMEOUT,
    USER,
    Peer,
    PeerError,
    PeerName,
    PeerNotPreparedError,
    Process,
    TLSFiles,
    free_port,
    peer_folder,
    wait_for_port,
)
from tests.interop.peers.proton import (
    ProtonBroker,
    ProtonDirect,
    proton_program,
    proton_receive,
    proton_send,
    run_proton,
)
from tests.interop.peers.rabbitmq import RabbitMQ, queue_address
from tests.interop.peers.rhea import RheaContainer

__all__ = [
    "HOST",
    "PASSWORD",
    "Peer",
    "PeerError",
    "PeerName",
    "PeerNotPreparedError",
    "Process",
    "ProtonBroker",
    "ProtonDirect",
    "RabbitMQ",
    "RheaContainer",
    "START_TIMEOUT",
    "TLSFiles",
    "USER",
    "free_port",
    "peer_folder",
    "proton_program",
    "proton_receive",
    "proton_send",
    "queue_address",
    "run_proton",
    "wait_for_port",
]

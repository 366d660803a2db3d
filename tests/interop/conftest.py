"""The peers of the interop tests as fixtures, each started once for a whole test run.

A test must not rely on what another one left in a shared peer: it uses addresses of its own. A test that kills or
configures a peer starts one of its own with the classes of `peers`.

On a machine where a peer is not prepared its tests are skipped, with the command that prepares it. In CI, and with
AMQP10_REQUIRE_PEERS=1, they fail instead, so that a CI that lost its peers does not pass for a green one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from tests.interop.peers import Peer, PeerNotPreparedError, ProtonBroker, RabbitMQ, RheaContainer

PeerType = TypeVar("PeerType", bound=Peer)


@contextlib.contextmanager
def prepared() -> Iterator[None]:
    """Skips the test when what it needs is not prepared, and fails it in CI."""
    try:
        yield
    except PeerNotPreparedError as error:
        if os.environ.get("CI") or os.environ.get("AMQP10_REQUIRE_PEERS") == "1":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


def run_peer(make: Callable[[], PeerType]) -> Iterator[PeerType]:
    """A peer that is stopped afterwards."""
    with prepared():
        peer = make()
    with peer:
        yield peer


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    """RabbitMQ 4.0, empty at first; a test declares the queues that it uses."""
    yield from run_peer(RabbitMQ)


@pytest.fixture(scope="session")
def proton_broker() -> Iterator[ProtonBroker]:
    """The example broker of Qpid Proton C++."""
    yield from run_peer(ProtonBroker)


@pytest.fixture(scope="session")
def proton_c_broker() -> Iterator[ProtonBroker]:
    """The example broker of Qpid Proton C."""
    yield from run_peer(lambda: ProtonBroker("c"))


@pytest.fixture(scope="session")
def rhea_container() -> Iterator[RheaContainer]:
    """The in-memory container on rhea, with ANONYMOUS and PLAIN."""
    yield from run_peer(RheaContainer)


@pytest.fixture(scope="session")
def proton_programs() -> None:
    """Asks for Proton's compiled examples, for a test that runs them itself (`proton_send` and others)."""
    with prepared():
        ProtonBroker()

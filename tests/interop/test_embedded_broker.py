"""The embedded broker with clients of other makers: Proton's example programs in C and C++, and the library rhea."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from amqp10.broker import Broker
from tests.interop.conftest import prepared
from tests.interop.peers import (
    PeerNotPreparedError,
    Process,
    peer_folder,
    proton_program,
    proton_receive,
    proton_send,
    run_proton,
)

pytestmark = pytest.mark.interop

USERS = {"me": "s3cret"}
Flavour = Literal["c", "cpp"]


class Embedded:
    """The embedded broker as the helpers for Proton's programs want it."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.host, self.port = broker.host, broker.port
        self.url = f"{self.host}:{self.port}"


@pytest.fixture
def embedded() -> Iterator[Embedded]:
    with Broker(auto_create=True, refuse=["refused"]) as broker:
        yield Embedded(broker)


def rhea(scenario: str, port: int, *login: str) -> Any:
    """Run a scenario of rhea_client.js; gives what it printed."""
    with prepared():
        folder = peer_folder("rhea")
        node = shutil.which("node")
        if node is None:
            raise PeerNotPreparedError("node is not on this machine; run: scripts/peers rhea")
    environment = {**os.environ, "NODE_PATH": str(folder / "node_modules")}
    program = Path(__file__).with_name("rhea_client.js")
    process = Process(f"rhea's {scenario}", [node, program, scenario, str(port), *login], environment=environment)
    try:
        status = process.wait(60)
        lines = process.log.splitlines()
        if status or len(lines) != 1:
            raise process.failure(f"ended with {status}")
        return json.loads(lines[0])
    finally:
        process.stop()


# -- Proton ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("proton_programs")
@pytest.mark.parametrize("sending", ["c", "cpp"])
@pytest.mark.parametrize("receiving", ["c", "cpp"])
def test_protons_programs_exchange_messages_in_order(embedded: Embedded, sending: Flavour, receiving: Flavour) -> None:
    proton_send(embedded, "q", 2000, flavour=sending)
    assert embedded.broker.queue_length("q") == 2000
    bodies = proton_receive(embedded, "q", 2000, flavour=receiving)
    assert bodies == [f'{{"sequence"={i}}}' for i in range(1, 2001)]


@pytest.mark.usefixtures("proton_programs")
def test_protons_receivers_share_a_queue_and_leave_nothing_unsettled(embedded: Embedded) -> None:
    got: list[list[str]] = []
    # One of each language: the C program's container id is its path and its link's name is fixed, so that a second one
    # would take over the link of the first (transport, "link names").
    flavours: tuple[Flavour, ...] = ("c", "cpp")
    threads = [
        threading.Thread(
            target=lambda one: got.append(proton_receive(embedded, "q", 100, flavour=one)), args=(flavour,)
        )
        for flavour in flavours
    ]
    for thread in threads:
        thread.start()
    proton_send(embedded, "q", 200, flavour="c")
    for thread in threads:
        thread.join()
    assert sorted([*got[0], *got[1]]) == sorted(f'{{"sequence"={i}}}' for i in range(1, 201))
    assert embedded.broker.queue_length("q") == 0


@pytest.mark.usefixtures("proton_programs")
def test_what_protons_receiver_had_and_did_not_settle_is_there_for_the_next(embedded: Embedded) -> None:
    # The C++ one has credit for 10 and leaves after 3.
    proton_send(embedded, "q", 20)
    assert proton_receive(embedded, "q", 3) == [f'{{"sequence"={i}}}' for i in range(1, 4)]
    assert proton_receive(embedded, "q", 17, flavour="c") == [f'{{"sequence"={i}}}' for i in range(4, 21)]


@pytest.mark.usefixtures("proton_programs")
def test_protons_client_gets_answers_of_protons_server_at_its_dynamic_address(embedded: Embedded) -> None:
    server = Process("Proton's server", [proton_program("cpp-server"), embedded.url, "questions"])
    try:
        server.wait_for("connected", 30)
        lines = run_proton("cpp-client", "-a", f"{embedded.url}/questions")
    finally:
        server.stop()
    assert len(lines) == 4
    assert all(line.split(" => ")[1].strip() == line.split(" => ")[0].strip().upper() for line in lines)


@pytest.mark.usefixtures("proton_programs")
def test_protons_browser_sees_the_messages_and_they_stay(embedded: Embedded) -> None:
    proton_send(embedded, "q", 3)
    browser = Process("Proton's browser", [proton_program("cpp-queue_browser"), embedded.url, "q"])
    try:
        browser.wait_for('"sequence"=3', 30)
    finally:
        browser.stop()
    assert browser.log.splitlines() == [f'{{"sequence"={i}}}' for i in range(1, 4)]
    assert embedded.broker.queue_length("q") == 3


@pytest.mark.usefixtures("proton_programs")
def test_aborted_messages_of_proton_leave_nothing_behind(embedded: Embedded) -> None:
    run_proton("c-send-abort", embedded.host, str(embedded.port), "q", "20")
    assert embedded.broker.queue_length("q") == 0
    proton_send(embedded, "q", 5)
    assert embedded.broker.queue_length("q") == 5


# -- rhea ------------------------------------------------------------------------------------------------------------


def test_rhea_sends_and_receives_in_order(embedded: Embedded) -> None:
    result = rhea("bulk", embedded.port)
    assert result == {"accepted": 500, "received": list(range(500))}
    assert embedded.broker.queue_length("bulk") == 0


def test_rheas_outcomes_do_what_they_must(embedded: Embedded) -> None:
    assert rhea("outcomes", embedded.port) == {"counts": [0, 0, 1, 2], "condition": "amqp:not-allowed"}
    assert embedded.broker.queue_length("outcomes") == 0


def test_rheas_drain_is_answered(embedded: Embedded) -> None:
    assert rhea("drain", embedded.port) == {"received": ["a", "b", "c"], "credit": 0}


def test_rhea_gets_a_reply_at_a_dynamic_source_through_the_anonymous_terminus(embedded: Embedded) -> None:
    assert rhea("dynamic", embedded.port) == {"body": "reply"}
    assert not [name for name in embedded.broker.queues() if name.startswith("dynamic")]


@pytest.mark.usefixtures("proton_programs")
def test_what_rhea_did_not_settle_returns_in_order_when_it_closes(embedded: Embedded) -> None:
    proton_send(embedded, "hoard", 5)
    before = [message.value for message in embedded.broker.messages("hoard")]
    assert len(rhea("hoard", embedded.port)["received"]) == 5
    assert [message.value for message in embedded.broker.messages("hoard")] == before


def test_rhea_is_told_why_a_link_is_refused(embedded: Embedded) -> None:
    errors = rhea("refused", embedded.port)["errors"]
    assert [error["condition"] for error in errors] == ["amqp:unauthorized-access"] * 2
    assert all("'refused'" in error["description"] for error in errors)


def test_rhea_is_told_that_a_queue_is_full() -> None:
    with Broker(max_queue_length=2) as broker:
        outcomes = rhea("full", broker.port)["outcomes"]
    assert outcomes[:2] == ["accepted", "accepted"]
    assert "full" in outcomes[2]


def test_rhea_logs_in_with_the_right_password_only() -> None:
    with Broker(users=USERS) as broker:
        assert rhea("login", broker.port, "me", "s3cret") == {"open": True}
        assert "error" in rhea("login", broker.port, "me", "wrong")

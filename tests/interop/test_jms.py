"""The embedded broker with Qpid JMS as its client: each scenario of ``JmsScenarios.java``."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from amqp10.broker import Broker
from tests.interop.conftest import prepared
from tests.interop.peers import PeerNotPreparedError, Process, peer_folder

pytestmark = pytest.mark.interop

PROGRAM = Path(__file__).with_name("JmsScenarios.java")
SCENARIOS = re.findall(r'scenarios\.put\("(\w+)"', PROGRAM.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def results() -> Iterator[dict[str, str]]:
    """What the program printed for each scenario: all of them in one process, which starts slowly."""
    with prepared():
        libraries = peer_folder("jms") / "lib"
        java = shutil.which("java")
        if java is None:
            raise PeerNotPreparedError("java is not on this machine; run: scripts/peers jms")
    environment = {name: value for name, value in os.environ.items() if name != "JAVA_TOOL_OPTIONS"}
    with Broker() as broker:
        command = [java, "-XX:TieredStopAtLevel=1", "-cp", f"{libraries}/*", str(PROGRAM), broker.url]
        process = Process("Qpid JMS", command, environment=environment)
        try:
            status = process.wait(180)
            lines = [line.partition(" ") for line in process.log.splitlines()]
            if status:
                raise process.failure(f"ended with {status}")
            yield {name: result for name, _, result in lines if name in SCENARIOS}
            assert not [name for name in (*broker.queues(), *broker.topics()) if name.startswith("dynamic")]
        finally:
            process.stop()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_jms_programs_find_what_they_expect(results: dict[str, str], scenario: str) -> None:
    assert results.get(scenario) == "ok"

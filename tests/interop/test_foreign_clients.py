"""The embedded broker with clients of other makers that do all that it offers: Qpid JMS, ProtonJ2, go-amqp and
fe2o3-amqp.

Each of them runs its scenarios in one process, which starts slowly, and prints a line for each.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from amqp10.broker import Broker
from tests.interop.conftest import prepared
from tests.interop.peers import PeerName, PeerNotPreparedError, Process, peer_folder

pytestmark = pytest.mark.interop

HERE = Path(__file__).parent
PROGRAMS: dict[PeerName, Path] = {
    "jms": HERE / "JmsScenarios.java",
    "protonj2": HERE / "ProtonJ2Scenarios.java",
    "go-amqp": HERE / "go_amqp" / "main.go",
    "fe2o3-amqp": HERE / "fe2o3_amqp" / "main.rs",
}
SCENARIOS = [
    (peer, scenario)
    for peer, program in PROGRAMS.items()
    for scenario in re.findall(
        r'(?:scenarios\.put\(|^\t\t\{|^    report\()"(\w+)"', program.read_text(encoding="utf-8"), re.MULTILINE
    )
]


def tool(name: str, peer: PeerName) -> str:
    found = shutil.which(name)
    if found is None:
        raise PeerNotPreparedError(f"{name} is not on this machine; run: scripts/peers {peer}")
    return found


def java(peer: PeerName, where: list[str]) -> list[str]:
    libraries = peer_folder(peer) / "lib"
    return [tool("java", peer), "-XX:TieredStopAtLevel=1", "-cp", f"{libraries}/*", str(PROGRAMS[peer]), *where]


def command(peer: PeerName, broker: Broker, folder: Path) -> list[str]:
    if peer == "jms":
        return java(peer, [broker.url])
    if peer == "protonj2":
        return java(peer, [broker.host, str(broker.port)])
    # The program may be newer than when the library was fetched; the library does not change.
    if peer == "fe2o3-amqp":
        for part in ("Cargo.toml", "Cargo.lock"):
            shutil.copy(peer_folder(peer) / part, folder)
        (folder / "src").mkdir()
        shutil.copy(PROGRAMS[peer], folder / "src")
        target = str(peer_folder(peer) / "target")
        return [tool("cargo", peer), "run", "--quiet", "--offline", "--target-dir", target, "--", broker.url]
    for part in ("go.mod", "go.sum"):
        shutil.copy(peer_folder(peer) / part, folder)
    shutil.copy(PROGRAMS[peer], folder)
    return [tool("go", peer), "run", "-mod=readonly", ".", broker.url]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Callable[[PeerName], dict[str, str]]:
    """What a client printed for each of its scenarios; it runs when it is first asked for."""

    @cache
    def run(peer: PeerName) -> dict[str, str]:
        folder = tmp_path_factory.mktemp(peer)
        environment = {name: value for name, value in os.environ.items() if name != "JAVA_TOOL_OPTIONS"}
        with Broker(streams=["log"], refuse=["refused"]) as broker:
            process = Process(peer, command(peer, broker, folder), environment=environment, folder=folder)
            try:
                status = process.wait(180)
                lines = [line.partition(" ") for line in process.log.splitlines()]
                if status:
                    raise process.failure(f"ended with {status}")
            finally:
                process.stop()
            assert not [name for name in (*broker.queues(), *broker.topics()) if name.startswith("dynamic")]
        return {name: result for name, _, result in lines}

    return run


@pytest.mark.parametrize(("peer", "scenario"), SCENARIOS)
def test_programs_find_what_they_expect(
    results: Callable[[PeerName], dict[str, str]], peer: PeerName, scenario: str
) -> None:
    with prepared():
        assert results(peer).get(scenario) == "ok"

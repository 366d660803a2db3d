"""The benchmarks work: a hundredth of everything, without a look at how long it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from benchmarks.run import BATCHED, BROKERS, CODEC, LARGE, MODERN, OURS, RAW, TRANSFERS, WORKS, clients

ROOT = Path(__file__).parents[1]


def run(folder: Path, *arguments: str, **environment: str) -> dict[str, Any]:
    """The results of a tiny run, which left a table and a chart too."""
    command = [sys.executable, "-m", "benchmarks.run", "--tiny", "--rounds", "1", "--results", str(folder)]
    done = subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())["results"]
    assert (folder / "results.md").read_text().count(f"| {OURS} |") == len(results)
    ET.parse(folder / "results.svg")
    return results


@pytest.mark.slow
def test_every_work_gives_a_result_when_no_other_client_is_prepared(tmp_path: Path) -> None:
    results = run(tmp_path / "results", AMQP10_PEERS=str(tmp_path / "none"))
    wanted = {work.name for work in WORKS if work.server in ("peer", "none")}
    assert set(results) == wanted
    for name, runs in results.items():
        others = {RAW} if name in LARGE else {BATCHED} if name == "send" else set()
        others |= {client for client, (_, task) in MODERN.items() if name in ({"send"} if task else TRANSFERS)}
        assert set(runs) == {OURS} | others, name
        for (result,) in runs.values():
            assert result["messages"] > 0
            assert result["seconds"] > 0


@pytest.mark.interop
def test_every_client_that_is_prepared_gives_a_result(tmp_path: Path) -> None:
    names = sorted((TRANSFERS | CODEC | BROKERS) - {"connect"})
    results = run(tmp_path, "--only", *names)
    found = clients()
    assert len(found) > 1 or "AMQP10_REQUIRE_PEERS" not in os.environ
    for name in names:
        assert set(results[name]) == {client for client, entry in found.items() if name in entry.works}
        assert all(results[name].values()), f"{name}: a client failed"


@pytest.mark.skipif(sys.platform != "linux", reason="the figures come from /proc")
def test_memory_is_watched_on_both_sides() -> None:
    command = [sys.executable, "-m", "benchmarks.memory", "--count", "2000", "--steps", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["1,000", "2,000"], done.stderr
    assert "client" in lines[3]
    assert "broker" in lines[3]


def test_an_unknown_work_is_refused_with_the_names_of_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no such work: sendd; there are send, send-settled"):
        run(tmp_path, "--only", "sendd")

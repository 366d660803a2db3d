"""``run.py`` passes on what it is asked for, and ends as quietly as its command."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
USUAL = "not interop and not slow"


@pytest.fixture
def run_py(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_py", ROOT / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["-m", USUAL, "-q", "-n", "auto", "--dist", "loadgroup"]),
        (["tests/codec"], ["-m", USUAL, "tests/codec"]),
        (["-k", "drain", "-x"], ["-m", USUAL, "-k", "drain", "-x"]),
        (["-m", "interop"], ["-m", "interop"]),
        (["-m", "slow and not interop"], ["-m", "slow and not interop"]),
        (["-minterop", "tests"], ["-minterop", "tests"]),
    ],
)
def test_slow_tests_and_those_with_real_brokers_run_only_when_a_marker_is_given(
    run_py: Any, arguments: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(run_py, "prepare", lambda extra: Path("python"))

    def run(python: Path, *command: str) -> int:
        commands.append(command)
        return 0

    monkeypatch.setattr(run_py, "run", run)
    assert run_py.main(["test", *arguments]) == 0
    assert commands == [("-m", "pytest", *expected)]


@pytest.mark.parametrize("whole_group", [True, False])
def test_ctrl_c_ends_the_broker_without_a_traceback(whole_group: bool, tmp_path: Path) -> None:
    # Its own virtual environment is the one that runs the tests.
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import run; from pathlib import Path\n"
        "run.PATIENCE = 0.2 if sys.argv[1] == 'False' else 10\n"
        f"run.prepare = lambda extra: Path({sys.executable!r})\n"
        "sys.exit(run.main(['broker', '--port', '0']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(whole_group)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    process.stdout.readline()
    if whole_group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert errors == ""
    assert process.returncode == 0

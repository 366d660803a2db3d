"""Type checkers see the documented surface: a right program passes, and each mistake is flagged."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from mypy import api

DATA = Path(__file__).parent / "data" / "typing"


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[int]]:
    """The lines with errors, by file."""
    folder = tmp_path_factory.mktemp("typing")
    files = []
    for source in sorted(DATA.glob("*.py.txt")):
        file = folder / source.name.removesuffix(".txt")
        file.write_text(source.read_text("utf-8"), "utf-8")
        files.append(str(file))
    output, errors, _ = api.run(
        ["--strict", "--config-file=", f"--python-executable={sys.executable}", f"--cache-dir={folder}", *files]
    )
    assert not errors
    found: dict[str, set[int]] = {Path(file).name: set() for file in files}
    for line in output.splitlines():
        match = re.match(r"(.*?\.py):(\d+): error: ", line)
        if match:
            assert Path(match[1]).name in found, line
            found[Path(match[1]).name].add(int(match[2]))
    return found


def test_a_program_after_the_reference_type_checks(complaints: dict[str, set[int]]) -> None:
    assert complaints["correct.py"] == set()


def test_misspelt_names_wrong_types_and_writes_to_read_only_properties_are_flagged(
    complaints: dict[str, set[int]],
) -> None:
    lines = (DATA / "wrong.py.txt").read_text("utf-8").splitlines()
    assert complaints["wrong.py"] == {number for number, line in enumerate(lines, 1) if line.endswith("# E")}

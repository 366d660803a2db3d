"""Type checkers see the documented surface: a right program passes, and each mistake is flagged.

Two programs were written by hand; two are made from the documented surface, so that they use, and misuse, all of it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mypy import api

import amqp10

DATA = Path(__file__).parent / "data"
SURFACE: dict[str, Any] = json.loads((DATA / "surface.json").read_text("utf-8"))
VALUES = {"int": "1", "bool": "True", "str": '"text"', "bytes": 'b"bytes"'}
MARK = "  # E"

Complaints = dict[str, set[int]]
# What its fixtures start is started once; a checker takes some seconds.
pytestmark = [pytest.mark.xdist_group("types"), pytest.mark.slow]


def everything() -> Iterator[str]:
    """A program that uses every documented member, with the documented types."""
    yield "from collections.abc import Callable"
    yield f"from amqp10.ipworksmq import {', '.join(['AMQP', 'IPWorksMQError'])}"
    classes = ", ".join(event["params_class"] for event in SURFACE["events"])
    yield f"from amqp10 import {classes}"
    yield "amqp = AMQP()"
    for number, entry in enumerate(SURFACE["properties"]):
        name, kind, index = entry["name"], entry["type"], entry["index"]
        yield f"get{number}: {kind} = amqp.get_{name}({'0' if index else ''})"
        if index:
            yield f"key{number}: {kind} = amqp.get_{name}({index}=0)"
            continue
        yield f"value{number}: {kind} = amqp.{name}"
        if entry["settable"]:
            yield f"amqp.{name} = {VALUES[kind]}"
            yield f"amqp.set_{name}({VALUES[kind]})"
    for method in SURFACE["methods"]:
        parameters = [part.partition(": ") for part in method["params"].split(", ") if part]
        result = f"{method['name']}_result: str = " if method["returns"] == "str" else ""
        yield f"{result}amqp.{method['name']}({', '.join(f'{name}={VALUES[kind]}' for name, _, kind in parameters)})"
        yield f"amqp.{method['name']}({', '.join(VALUES[kind] for _, _, kind in parameters)})"
    for event in SURFACE["events"]:
        name, params = event["name"], event["params_class"]
        yield f"def {name}(event: {params}) -> None:"
        for parameter, kind in event["params"].items():
            yield f"    {parameter}: {kind} = event.{parameter}"
        for parameter in event["settable"]:
            yield f"    event.{parameter} = {VALUES[event['params'][parameter]]}"
        yield f"amqp.{name} = {name}"
        yield f"{name}_hook: Callable[[{params}], None] = lambda event: None"
        yield f"amqp.{name} = {name}_hook"
        yield f"amqp.{name} = None"
    yield "try:"
    yield "    amqp.connect()"
    yield "except IPWorksMQError as error:"
    yield "    code: int = error.code"
    yield "    message: str = error.message"


def every_mistake() -> Iterator[str]:
    """A program in which every documented member is misspelt, given a wrong type, or written though it is read-only."""
    yield "from amqp10 import *"
    yield "amqp = AMQP()"
    for entry in SURFACE["properties"]:
        name, kind, index = entry["name"], entry["type"], entry["index"]
        wrong = "None" if kind in ("bool", "bytes") or name.endswith("_id") else 'b"x"'
        if index:
            yield f"amqp.get_{name}(){MARK}"
            yield f'amqp.get_{name}("0"){MARK}'
            yield f"amqp.set_{name}(0, {VALUES[kind]}){MARK}"
            continue
        yield f"amqp.{name}x = {VALUES[kind]}{MARK}"
        yield f"amqp.get_{name}(0){MARK}"
        if entry["settable"]:
            yield f"amqp.{name} = {wrong}{MARK}"
            yield f"amqp.set_{name}({wrong}){MARK}"
        else:
            yield f"amqp.{name} = {VALUES[kind]}{MARK}"
            yield f"amqp.set_{name}({VALUES[kind]}){MARK}"
    for method in SURFACE["methods"]:
        yield f"amqp.{method['name']}(1, 2, 3, 4, 5, 6){MARK}"
        yield f"amqp.{method['name']}_(){MARK}"
    for event in SURFACE["events"]:
        other = "AMQPErrorEventParams" if event["name"] != "on_error" else "AMQPLogEventParams"
        yield f"def {event['name']}(event: {other}) -> None: ..."
        yield f"amqp.{event['name']} = {event['name']}{MARK}"
        yield f"def {event['name']}_params(event: {event['params_class']}) -> None:"
        for parameter, kind in event["params"].items():
            if parameter not in event["settable"]:
                yield f"    event.{parameter} = {VALUES[kind]}{MARK}"
        yield f"    event.other{MARK}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs."""
    folder = tmp_path_factory.mktemp("typing")
    for source in sorted((DATA / "typing").glob("*.py.txt")):
        (folder / source.name.removesuffix(".txt")).write_text(source.read_text("utf-8"), "utf-8")
    (folder / "everything.py").write_text("\n".join(everything()) + "\n", "utf-8")
    (folder / "mistakes.py").write_text("\n".join(every_mistake()) + "\n", "utf-8")
    return folder


def ask_mypy(folder: Path) -> Complaints:
    files = sorted(map(str, folder.glob("*.py")))
    output, errors, _ = api.run(
        ["--strict", "--config-file=", f"--python-executable={sys.executable}", f"--cache-dir={folder}", *files]
    )
    assert not errors
    found: Complaints = {Path(file).name: set() for file in files}
    for line in output.splitlines():
        match = re.match(r"(.*?\.py):(\d+): error: ", line)
        if match:
            assert Path(match[1]).name in found, line
            found[Path(match[1]).name].add(int(match[2]))
    return found


def ask_pyright(folder: Path) -> Complaints:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert run.returncode in (0, 1), run.stderr
    found: Complaints = {file.name: set() for file in folder.glob("*.py")}
    for entry in json.loads(run.stdout)["generalDiagnostics"]:
        if entry["severity"] == "error":
            found[Path(entry["file"]).name].add(entry["range"]["start"]["line"] + 1)
    return found


@pytest.fixture(scope="module", params=[ask_mypy, ask_pyright], ids=["mypy", "pyright"])
def complaints(request: pytest.FixtureRequest, folder: Path) -> Complaints:
    """The lines with errors, by file."""
    found: Complaints = request.param(folder)
    return found


@pytest.mark.parametrize("name", ["correct.py", "everything.py"])
def test_a_program_after_the_reference_type_checks(name: str, complaints: Complaints, folder: Path) -> None:
    lines = (folder / name).read_text("utf-8").splitlines()
    assert [lines[number - 1] for number in sorted(complaints[name])] == []


@pytest.mark.parametrize("name", ["wrong.py", "mistakes.py"])
def test_misspelt_names_wrong_types_and_writes_to_read_only_properties_are_flagged(
    name: str, complaints: Complaints, folder: Path
) -> None:
    lines = (folder / name).read_text("utf-8").splitlines()
    expected = [line for line in lines if line.endswith(MARK)]
    assert expected
    assert [lines[number - 1] for number in sorted(complaints[name])] == expected


def test_every_exported_type_is_one_that_all_checkers_see_alike(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    run = subprocess.run(
        [*command, "--verifytypes", "amqp10", "--ignoreexternal"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        # An installation that points at the sources is found only where PYTHONPATH names them.
        env={**os.environ, "PYTHONPATH": str(Path(amqp10.__file__).parents[1])},
    )
    found = json.loads(run.stdout)["typeCompleteness"]
    unknown = {
        entry["name"]: [note["message"] for note in entry["diagnostics"]]
        for entry in found["symbols"]
        if entry["isExported"] and (entry["isTypeAmbiguous"] or not entry["isTypeKnown"])
    }
    assert unknown == {}
    assert found["completenessScore"] == 1

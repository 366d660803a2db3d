"""The modern API for programs that block: the same tests, made by the script that makes the API."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from amqp10.broker import Broker

HERE = Path(__file__).parent
SCRIPT = HERE.parents[1] / "scripts" / "generate_blocking.py"


def load_script() -> Any:
    spec = importlib.util.spec_from_file_location("generate_blocking", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocking_bodies() -> dict[str, Any]:
    source = load_script().generate((HERE / "bodies.py").read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "tests.modern.blocking_bodies"}
    exec(compile(source.replace("helpers_aio", "helpers_blocking"), "blocking bodies", "exec"), names)
    return names


BODIES = blocking_bodies()
NAMES = [name for name in BODIES if name.startswith("body_")]


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as running:
        yield running


def test_the_generated_file_is_up_to_date() -> None:
    assert load_script().main(["--check"]) == 0


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.removeprefix("body_"))
def test_body(name: str, broker: Broker) -> None:
    BODIES[name](broker)
    for thread in threading.enumerate():
        if thread.name == "amqp10 connection":
            thread.join(5)
            assert not thread.is_alive()

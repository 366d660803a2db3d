"""The generated getters and setters: up to date, and doing what the attribute does."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from amqp10 import AMQP
from amqp10.component.accessors import Accessors
from amqp10.component.surface import PROPERTIES, PropertySpec

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "generate_accessors.py"


def load_script() -> dict[str, Any]:
    import runpy

    return runpy.run_path(str(SCRIPT))


def test_the_committed_file_is_what_the_generator_writes() -> None:
    assert load_script()["main"](["--check"]) == 0, "run scripts/generate_accessors.py"


def test_check_fails_for_a_stale_or_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = load_script()["main"]
    target = tmp_path / "accessors.py"
    assert main(["--check"], target) == 1
    assert not target.exists()
    target.write_text("class Accessors: ...\n", encoding="utf-8")
    assert main(["--check"], target) == 1
    assert "out of date" in capsys.readouterr().err
    assert main([], target) == 0
    assert main(["--check"], target) == 0


class Item:
    """An indexed item: any field is its own name."""

    def __init__(self, kind: str, index: int) -> None:
        self.kind, self.index = kind, index

    def __getattr__(self, name: str) -> str:
        return f"{self.kind}[{self.index}].{name}"


class Fake(Accessors):
    """Attributes spring into being, so that every accessor can be tried."""

    def __getattr__(self, name: str) -> Any:
        return f"value of {name}"

    def _get_incoming_message(self, index: int) -> Any:
        return Item("incoming_message", index)

    def _get_outgoing_message(self, index: int) -> Any:
        return Item("outgoing_message", index)

    def _get_link(self, index: int) -> Any:
        return Item("link", index)

    def _get_session(self, index: int) -> Any:
        return Item("session", index)


@pytest.mark.parametrize("spec", PROPERTIES, ids=lambda spec: spec.name)
def test_each_accessor_reads_and_writes_its_own_attribute(spec: PropertySpec) -> None:
    fake = Fake()
    getter = getattr(Accessors, f"get_{spec.name}")
    assert getter.__doc__
    parameters = list(inspect.signature(getter).parameters)
    if spec.index is not None:
        assert parameters == ["self", spec.index]
        assert getter(fake, 7) == f"{spec.family}[7].{spec.field}"
        assert getter(fake, **{spec.index: 8}) == f"{spec.family}[8].{spec.field}"
    else:
        assert parameters == ["self"]
        assert getter(fake) == f"value of {spec.name}"
    assert hasattr(Accessors, f"set_{spec.name}") is spec.settable
    if spec.settable:
        mark = object()
        getattr(fake, f"set_{spec.name}")(mark)
        assert vars(fake) == {spec.name: mark}


def test_the_types_of_accessors_are_those_of_the_attributes() -> None:
    typed = AMQP()
    typed.set_timeout(5)
    seconds: int = typed.get_timeout()
    name: str = typed.get_user()
    assert (seconds, name, typed.timeout) == (5, "", 5)

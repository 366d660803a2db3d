"""Imports point downward only and never in a circle, and ``import amqp10`` stays cheap."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "amqp10"

BASIS = {"conditions", "errors", "version", "codec", "wire", "engine", "net"}

# Layer -> the layers that it may import. ``engine`` and ``net`` stand side by side.
ALLOWED: dict[str, set[str]] = {
    "conditions": set(),
    "errors": {"conditions"},
    "version": set(),
    "codec": {"conditions", "errors"},
    "wire": {"conditions", "errors", "codec"},
    "engine": {"conditions", "errors", "codec", "wire"},
    "net": {"conditions", "errors"},
    "component": {*BASIS, "client"},
    "client": {"conditions", "errors", "codec", "wire", "engine"},
    "aio": {*BASIS, "client"},
    "blocking": {*BASIS, "client"},
    "broker": BASIS,
    "ipworksmq": {"errors", "component"},
    # What stands in amqp10/__init__.py itself is the layer "".
    "": {*BASIS, "component", "client", "blocking", "aio"},
    "testing": {*BASIS, "component", "broker", "client", "blocking", "aio", ""},
    "cli": {*BASIS, "component", "broker", ""},
    "__main__": {"cli"},
}

# What costs time to import and is needed on use only.
HEAVY = ("OpenSSL", "asyncio", "click", "cryptography", "rich", "service_identity", "ssl")

# Modules that import each other, if only for annotations, and why they may. Everything else is free of circles.
CIRCLES: dict[str, set[str]] = {}

MODULES = sorted(PACKAGE.rglob("*.py"))


def layer_of(path: Path) -> str:
    """The layer that a file belongs to: its folder, or its own name for a file that stands in none."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


@cache
def nodes(path: Path) -> list[ast.AST]:
    """The nodes of a module that import something, or may do so."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom | ast.Call)]


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of every module that is imported anywhere: in functions and for type checkers too."""
    package = ("amqp10", *path.relative_to(PACKAGE).parts[:-1])
    for node in nodes(path):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module or "")))
            yield node.lineno, module
            # "from amqp10 import net" names a layer, not something in __init__.py.
            if module == "amqp10":
                for alias in node.names:
                    if (PACKAGE / alias.name).is_dir() or (PACKAGE / f"{alias.name}.py").is_file():
                        yield node.lineno, f"amqp10.{alias.name}"
        elif isinstance(node, ast.Call) and _called(node.func).endswith("import_module"):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant):
                    yield node.lineno, str(argument.value)


def _called(function: ast.expr) -> str:
    """The last part of the name of what is called; empty for anything without a name."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward_only(path: Path) -> None:
    layer = layer_of(path)
    wrong = []
    for line, module in imported(path):
        root, _, rest = module.partition(".")
        if root != "amqp10":
            continue
        target = rest.partition(".")[0]
        if target != layer and target not in ALLOWED[layer]:
            wrong.append(f"line {line}: {layer or 'amqp10/__init__.py'} imports {module}")
    assert not wrong, "\n".join(wrong)


def circles() -> list[set[str]]:
    """Modules that reach each other by imports, those in functions and for annotations included."""
    names = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in MODULES}
    reach: dict[str, set[str]] = {}
    for name, path in names.items():
        found = {module.removeprefix("amqp10.") for _, module in imported(path)}
        for node in nodes(path):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found |= {f"{node.module}.{alias.name}".removeprefix("amqp10.") for alias in node.names}
        reach[name] = (found & set(names)) - {name}
    for middle in names:  # the transitive closure
        for targets in reach.values():
            if middle in targets:
                targets |= reach[middle]
    found_circles: list[set[str]] = []
    for name in names:
        circle = {other for other in reach[name] if name in reach[other]} | {name}
        if len(circle) > 1 and circle not in found_circles:
            found_circles.append(circle)
    return found_circles


def test_no_modules_import_each_other_in_a_circle_without_a_reason() -> None:
    found = circles()
    assert [circle for circle in found if not any(circle <= known for known in CIRCLES.values())] == []
    # A reason for a circle that is gone goes too.
    assert [reason for reason, known in CIRCLES.items() if not any(circle <= known for circle in found)] == []


def test_no_class_is_deeper_than_two_bases_of_our_own() -> None:
    deep = []
    for path in MODULES:
        name = ".".join(("amqp10", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        if path.name == "__main__.py":
            continue
        for value in vars(importlib.import_module(name)).values():
            # Errors form a tree for ``except``: it adds no behaviour from level to level.
            if not isinstance(value, type) or value.__module__ != name or issubclass(value, Exception):
                continue
            if max_depth(value) > 2:
                deep.append(f"{name}.{value.__name__}: {[base.__name__ for base in value.__mro__]}")
    assert deep == []


def max_depth(kind: type) -> int:
    """How many classes of ours are above each other, over the longest way up."""
    ours = [base for base in kind.__bases__ if base.__module__.partition(".")[0] == "amqp10"]
    return max((1 + max_depth(base) for base in ours), default=0)


def test_no_module_is_longer_than_600_lines_but_generated_ones() -> None:
    long = []
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 600 and "Generated by scripts/" not in text[:500]:
            long.append(str(path.relative_to(PACKAGE)))
    assert long == []


def test_every_layer_has_its_rule() -> None:
    assert {layer_of(path) for path in MODULES} <= set(ALLOWED)


@pytest.mark.parametrize("module", ["amqp10", "amqp10.ipworksmq", "amqp10.codec"])
def test_importing_stays_cheap(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []

"""The documentation is true: examples run, links lead somewhere, names exist, the reference is current.

Conventions for the pages (README.md and docs/):

- Every ``python`` block is a whole program and is run in a process of its own, in an empty folder.
- ``<!-- continues -->`` in front of a block: it is run together with the blocks before it on the page, back to the last
  one without this remark.
- ``<!-- not run: REASON -->`` in front of a block: it is only compiled, and its names are checked.
- ``"localhost", 5672`` stands for a broker: the test starts the embedded one on a free port and puts in its address. It
  knows the user ``guest`` with the password ``guest``, or lets everybody in for an example that names no user.
  ``amqp://guest:guest@localhost`` stands for the same.
- ``sh`` blocks are not run; the commands in them have to exist.
- ``text`` and ``json`` blocks are not looked at, but for JSON: each has to be a composite document.

Set AMQP10_DOCS_BROKER to ``HOST:PORT`` to run the examples against another broker; the queues have to exist.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import amqp10
from amqp10 import AMQP
from amqp10.broker import Broker
from amqp10.component import enums
from amqp10.component.settings import find, parse
from amqp10.component.values import from_json

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
WRITTEN = [page for page in PAGES if page.parent.name != "reference"]

ADDRESS = '"localhost", 5672'
URL = "amqp://guest:guest@localhost"
TIME_LIMIT = 20


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


# -- blocks ----------------------------------------------------------------------------------------------------------


@dataclass
class Block:
    """A fenced block: where it stands, what it is, what the remark in front of it says."""

    page: Path
    line: int
    language: str
    text: str
    remark: str

    @property
    def name(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
REMARK = re.compile(r"^<!-- ([^\n]*) -->\n\Z", re.MULTILINE)


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        remark = REMARK.search(text[: match.start()])
        line = text.count("\n", 0, match.start()) + 2
        yield Block(page, line, match[1], match[2], remark[1] if remark else "")


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
# Docstrings have examples, and no room for their imports.
PRELUDE = "from amqp10 import *\nfrom amqp10.broker import Broker\namqp = AMQP()\n"


def programs() -> Iterator[tuple[Block, str]]:
    """The programs of the pages: the last block of each, and the text of all of them together."""
    current: tuple[Block, str] | None = None
    for block in PYTHON:
        if block.remark.startswith("not run"):
            continue
        if block.remark == "continues":
            assert current is not None, f"{block.name} continues nothing"
            current = (block, current[1] + "\n" + block.text)
            continue
        if current is not None:
            yield current
        current = (block, (PRELUDE if block.page.parent.name == "reference" else "") + block.text)
    if current is not None:
        yield current


PROGRAMS = list(programs())


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[bool, tuple[str, int]]]:
    """Where the brokers for the examples listen: one with a user, one for examples that name none."""
    other = os.environ.get("AMQP10_DOCS_BROKER")
    if other is not None:
        host, _, port = other.rpartition(":")
        yield dict.fromkeys((True, False), (host, int(port)))
        return
    with Broker(users={"guest": "guest"}) as closed, Broker() as open_:
        yield {True: (closed.host, closed.port), False: (open_.host, open_.port)}


def run_program(text: str, folder: Path) -> None:
    """Run an example in a process of its own, which must end well and say nothing on stderr."""
    program = folder / "test_example.py"
    program.write_text(text, encoding="utf-8")
    # Of pytest's plugins only the package's own is wanted, and importing the others costs more than the example.
    runner = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:xdist"]
    done = subprocess.run(
        # An instance keeps the two sockets through which interrupt() wakes it until it is collected.
        [
            *(sys.executable, "-W", "error", "-W", "ignore::ResourceWarning"),
            *(runner if "\ndef test_" in text else ()),
            program.name,
        ],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, done.stderr


@pytest.mark.parametrize("text", [pytest.param(text, id=block.name) for block, text in PROGRAMS])
def test_examples_run(text: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if ADDRESS in text:
        host, port = request.getfixturevalue("addresses")["guest" in text]
        text = text.replace(ADDRESS, f'"{host}", {port}')
    if URL in text:
        host, port = request.getfixturevalue("addresses")[True]
        text = text.replace(URL, f"amqp://guest:guest@{host}:{port}")
    run_program(text, tmp_path)


def test_examples_were_found() -> None:
    # A changed fence or remark must not make this module test nothing.
    assert len(PROGRAMS) >= 8
    assert sum(ADDRESS in text for _, text in PROGRAMS) >= 5


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.name)
def test_names_in_examples_exist(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "amqp":
            assert hasattr(AMQP, node.attr), f"AMQP has no {node.attr}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "amqp10":
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "config":
            (argument,) = node.args
            # "NAME=" + value: what comes first is the name.
            while isinstance(argument, ast.BinOp):
                argument = argument.left
            assert isinstance(argument, ast.Constant)
            parse(str(argument.value))


SPAN = re.compile(r"`([^`\n]+)`")
MEMBER = re.compile(r"(?:get_|set_)?(?:firewall|link|message|on|received_message|session|ssl)_\w*[a-z]")


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_names_in_the_text_exist(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for span in SPAN.findall(text):
        name = re.sub(r"\(.*\)", "", span)
        if MEMBER.fullmatch(name):
            # Parameters of events and families such as message_... are written the same way.
            assert hasattr(AMQP, name) or name in ("message_id", "link_name"), f"AMQP has no {name}"
        if match := re.fullmatch(r'config\("(.*)"\)', span):
            find(re.split(r"[\[=]", match[1])[0]) if match[1].partition("=")[0] != "NAME" else None
        if match := re.fullmatch(r"([A-Z]+[a-z]\w+)=.*", span):
            find(match[1])
        if re.fullmatch(r"[\w/]+\.py", span):
            assert (ROOT / span).is_file() or (ROOT / "src" / "amqp10" / span).is_file(), f"there is no {span}"
        if re.fullmatch(r"scripts/\w+", span):
            assert (ROOT / span).exists(), f"there is no {span}"
        if re.fullmatch(r"amqp10(\.\w+)+", span):
            assert _resolves(span), f"there is no {span}"


def _resolves(dotted: str) -> bool:
    parts = dotted.split(".")
    owner: Any = amqp10
    for at, part in enumerate(parts[1:], 2):
        if hasattr(owner, part):
            owner = getattr(owner, part)
        elif isinstance(owner, ModuleType) and importlib.util.find_spec(".".join(parts[:at])) is not None:
            owner = importlib.import_module(".".join(parts[:at]))
        else:
            return False
    return True


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "json"], ids=lambda block: block.name)
def test_json_examples_are_composite_documents(block: Block) -> None:
    from_json(block.text)


# -- commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "sh"], ids=lambda block: block.name)
def test_commands_exist(block: Block) -> None:
    for line in block.text.splitlines():
        words = re.sub(r"^(\w+=\S+ )+", "", line).split("#")[0].split()
        if not words:
            continue
        if words[:2] == ["pip", "install"]:
            assert all(word.startswith(("-", ".", '".')) for word in words[2:]), f"not published: {line}"
        elif words[0] == "python3" and words[1] == "run.py":
            assert re.search(rf"^  {words[2]} ", _usage(), re.MULTILINE), f"run.py has no command {words[2]}"
            assert all((ROOT / word).exists() for word in words[3:] if "/" in word)
        elif words[0] == "amqp10":
            assert _tool_has(words[1]), f"amqp10 has no command {words[1]}"
        elif words[0] == "python3" and words[1].startswith("scripts/"):
            assert (ROOT / words[1]).is_file()
        elif words[:2] == ["python3", "-m"]:
            assert importlib.util.find_spec(words[2]) is not None
        elif words[0].startswith("scripts/"):
            assert os.access(ROOT / words[0], os.X_OK)
        else:
            assert words[0] in ("docker", "pytest"), f"{name_of(block.page)} uses an unknown command: {line}"


@cache
def _usage() -> str:
    """What run.py says when it is asked for nothing."""
    return subprocess.run(
        [sys.executable, ROOT / "run.py"], capture_output=True, text=True, check=False, timeout=TIME_LIMIT
    ).stderr


@cache
def _tool_has(command: str) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "amqp10", command, "--help"],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=TIME_LIMIT,
    )
    return done.returncode == 0


# -- links -----------------------------------------------------------------------------------------------------------

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors_of(page: Path) -> set[str]:
    """The anchors that headings get where Markdown is shown."""
    anchors: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        unique = slug
        number = 0
        while unique in anchors:
            number += 1
            unique = f"{slug}-{number}"
        anchors.add(unique)
    return anchors


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name_of(page)} links to {target}"
        if anchor:
            assert anchor in anchors_of(file), f"{name_of(page)} links to {target}"


def test_every_page_can_be_reached() -> None:
    reached = {ROOT / "README.md"}
    todo = list(reached)
    while todo:
        page = todo.pop()
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            file = (page.parent / target.partition("#")[0]).resolve()
            if file.suffix == ".md" and file not in reached and file.exists():
                reached.add(file)
                todo.append(file)
    assert {name_of(page) for page in PAGES} == {name_of(page) for page in reached}


# -- what is generated -----------------------------------------------------------------------------------------------


def load_script(name: str) -> ModuleType:
    """A script as a module; they stand outside the package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    module = load_script("generate_reference")
    vars(module)["generate"] = cache(module.generate)  # no test changes what the pages are made of
    return module


def test_the_reference_is_up_to_date(generator: ModuleType) -> None:
    assert generator.main(["--check"]) == 0


def test_every_public_member_has_a_docstring(generator: ModuleType) -> None:
    assert generator.undocumented() == []


def test_the_check_notices_stale_missing_and_strange_files(
    generator: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generator.main(["--check"], tmp_path) == 1
    assert generator.main([], tmp_path) == 0
    assert generator.main(["--check"], tmp_path) == 0
    (tmp_path / "methods.md").write_text("old")
    assert generator.main(["--check"], tmp_path) == 1
    assert "methods.md is out of date" in capsys.readouterr().err
    generator.main([], tmp_path)
    (tmp_path / "stranger.md").write_text("")
    assert generator.main(["--check"], tmp_path) == 1


def test_a_member_without_a_docstring_is_noticed(generator: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AMQP, "fresh_method", lambda self: None, raising=False)
    assert "AMQP.fresh_method" in generator.undocumented()


class Undescribed(IntEnum):
    """An enumeration."""

    told = 0
    """This one is described."""
    untold = 1


def test_a_member_of_an_enumeration_without_a_text_is_noticed(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enums, "LogLevel", Undescribed)
    missing = generator.undocumented()
    assert "LogLevel.untold" in missing
    assert "LogLevel.told" not in missing

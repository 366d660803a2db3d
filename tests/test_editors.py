"""What editors show: the text of each property and event when the mouse is over it, and no strays among completions.

Asked of pyright's language server, as an editor asks it.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import amqp10
from amqp10 import AMQP
from amqp10.component.fields import Attribute
from amqp10.component.surface import PROPERTIES

ATTRIBUTES = sorted(
    {name for kind in AMQP.__mro__ for name, value in vars(kind).items() if isinstance(value, Attribute)}
    | {spec.name for spec in PROPERTIES if spec.index is None}
)
pytestmark = pytest.mark.xdist_group("editors")  # what its fixtures start is started once


class LanguageServer:
    """The part of the language server protocol that these tests need."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pyright.langserver", "--stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            # The server asks the interpreter on the PATH for its folders, which may not be this one.
            env={**os.environ, "PYTHONPATH": str(Path(amqp10.__file__).parents[1])},
        )
        self._number = 0
        self.ask("initialize", processId=None, rootUri=folder.as_uri(), capabilities={})
        self.tell("initialized")

    def tell(self, method: str, **parameters: Any) -> None:
        self._write({"jsonrpc": "2.0", "method": method, "params": parameters})

    def ask(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        self._write({"jsonrpc": "2.0", "id": self._number, "method": method, "params": parameters})
        while True:
            message = self._read()
            if message.get("id") == self._number and "method" not in message:
                return message.get("result")
            if "id" in message and "method" in message:
                # What the server wants to know of its client: nothing is configured.
                items = message.get("params", {}).get("items", [None])
                result = [None] * len(items) if message["method"] == "workspace/configuration" else None
                self._write({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def _write(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        body = json.dumps(message).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        out = self._process.stdout
        assert out is not None
        length = 0
        while (line := out.readline().strip()) or not length:
            assert out.peek(1), "the language server has ended"  # type: ignore[attr-defined]
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        message: dict[str, Any] = json.loads(out.read(length))
        return message

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


def text(name: str) -> str:
    return " ".join((inspect.getdoc(inspect.getattr_static(AMQP, name)) or "").split())


@pytest.fixture(scope="module")
def hovers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What is shown for each attribute."""
    folder = tmp_path_factory.mktemp("editor")
    program = folder / "program.py"
    names = [*ATTRIBUTES, "connect", "body"]
    lines = ["from amqp10 import AMQP, Message", "amqp = AMQP()", "message = Message()"]
    lines += [f"{'message' if name == 'body' else 'amqp'}.{name}" for name in names]
    program.write_text("\n".join(lines) + "\n", encoding="utf-8")
    server = LanguageServer(folder)
    try:
        uri = program.as_uri()
        server.tell(
            "textDocument/didOpen",
            textDocument={"uri": uri, "languageId": "python", "version": 1, "text": program.read_text("utf-8")},
        )
        shown: dict[str, str] = {}
        for number, name in enumerate(names, 3):
            where = {"line": number, "character": lines[number].index(".") + 2}
            answer = server.ask("textDocument/hover", textDocument={"uri": uri}, position=where)
            shown[name] = json.dumps(answer["contents"]["value"]) if answer else ""
        yield shown
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_hovering_over_an_attribute_shows_its_text(name: str, hovers: dict[str, str]) -> None:
    expected = text(name)
    assert expected
    words = [word for word in expected.replace("`", " ").split() if word.isalpha()][:6]
    shown = hovers[name]
    assert all(word in shown for word in words), (name, shown)


@pytest.mark.slow
def test_hovering_over_methods_and_messages_shows_their_text(hovers: dict[str, str]) -> None:
    assert "open the AMQP connection" in hovers["connect"]
    assert len(hovers["body"]) > 40


def test_every_descriptor_has_a_text_of_its_own() -> None:
    texts = [text(name) for name in ATTRIBUTES]
    assert all(texts)
    for name in ATTRIBUTES:
        value = inspect.getattr_static(AMQP, name)
        if isinstance(value, Attribute):
            assert text(name) != " ".join((inspect.getdoc(type(value)) or "").split()), name


def test_what_messages_are_made_of_imports_from_the_package() -> None:
    from amqp10 import codec
    from amqp10.wire import messaging

    for name in ("Header", "Properties"):
        assert getattr(amqp10, name) is getattr(messaging, name)
        assert name in amqp10.__all__
    kinds = "Array Byte Char Decimal32 Decimal64 Decimal128 Described Float Int Map Short Symbol Timestamp UByte UInt"
    for name in [*kinds.split(), "ULong", "UShort"]:
        assert getattr(amqp10, name) is getattr(codec, name)
        assert name in amqp10.__all__


@pytest.mark.slow
def test_completion_offers_nothing_that_is_not_for_programs() -> None:
    assert "clock" not in dir(AMQP())
    assert not [name for name in dir(amqp10) if not name.startswith("_") and not hasattr(amqp10, name)]

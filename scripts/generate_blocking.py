"""Writes ``src/amqp10/blocking/api.py`` from ``src/amqp10/aio/api.py``: the same classes, without ``await``.

python scripts/generate_blocking.py           # writes the file
python scripts/generate_blocking.py --check   # fails when it is not what would be written
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Final

__all__ = ["generate", "main"]

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "src" / "amqp10" / "aio" / "api.py"
TARGET: Final = ROOT / "src" / "amqp10" / "blocking" / "api.py"

_BANNER: Final = (
    '"""The public classes of the blocking API.\n\n'
    "Generated from ``amqp10/aio/api.py`` by ``scripts/generate_blocking.py``; changes belong there.\n"
    '"""\n'
)

_REPLACEMENTS: Final[tuple[tuple[str, str], ...]] = (
    (r'^""".*?"""\n', _BANNER),
    (r"from amqp10\.aio\.opening import Opening\n", ""),
    (r"amqp10\.aio\.", "amqp10.blocking."),
    (r"\bAioDriver\b", "BlockingDriver"),
    (r"\bOpening\[(\w+)\]", r"\1"),
    (r"\bOpening\((.*)\)$", r"\1"),
    (r"import AsyncIterator, Awaitable, Callable, Mapping", "import Callable, Iterator, Mapping"),
    (r"str \| Awaitable\[str\]", "str"),
    (r"; in asyncio it may be a coroutine function", ""),
    (r"\basync (def|with|for) ", r"\1 "),
    (r"\bawait ", ""),
    (r"``async with``", "``with``"),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"__aenter__", "__enter__"),
    (r"__aexit__", "__exit__"),
)


def generate(source: str) -> str:
    """The blocking file that belongs to an asyncio file."""
    for pattern, replacement in _REPLACEMENTS:
        flags = re.MULTILINE if not pattern.startswith('^"""') else re.DOTALL
        source = re.sub(pattern, replacement, source, count=1 if flags is re.DOTALL else 0, flags=flags)
    return source


def main(arguments: list[str] | None = None) -> int:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the file is not up to date")
    check: bool = parser.parse_args(arguments).check
    text = generate(SOURCE.read_text(encoding="utf-8"))
    if not check:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.read_text(encoding="utf-8") != text:
        print(f"{TARGET.relative_to(ROOT)} is not up to date: run python scripts/generate_blocking.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

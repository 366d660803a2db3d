#!/usr/bin/env python3
"""Sets everything up and runs it: ``python3 run.py demo``, ``python3 run.py test``.

Needs a Python from 3.11 on with venv, and nothing else: it makes a virtual environment beside this file (``.venv``, or
the folder that the environment variable AMQP10_VENV names), installs the project into it, and runs the command there.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATIENCE = 2
"""Seconds after Ctrl-C in which a command ends by itself, because the terminal has told it too."""
USUAL = "not interop and not slow"
USAGE = """\
usage: python3 run.py COMMAND [ARGUMENT ...]

  demo [ARGUMENT ...]   send and receive messages through the embedded broker (see: demo --help)
  test [ARGUMENT ...]   run the tests (pytest; the arguments are its arguments); slow ones and those with real brokers
                        only with -m: test -m slow, test -m interop
  check                 lint and type checks
  broker [ARGUMENT ...] run the embedded broker
"""


def main(arguments: list[str]) -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever runs this may have an older one
        print(f"amqp10 needs Python 3.11 or newer; this is {sys.version.split()[0]}", file=sys.stderr)
        return 1
    if not arguments or arguments[0] not in ("demo", "test", "check", "broker"):
        print(USAGE, end="", file=sys.stderr)
        return 2
    command, rest = arguments[0], arguments[1:]
    if command in ("demo", "broker"):
        return run(prepare("cli"), "-m", "amqp10", command, *rest)
    python = prepare("dev")
    if command == "test":
        # Tests with real brokers need the brokers: scripts/peers prepares them, and -m interop runs them. All that are
        # left share the processors; with arguments of your own (-x, --pdb) they run one by one.
        marked = any(argument.startswith(("-m", "--markers")) for argument in rest)
        return run(
            python,
            "-m",
            "pytest",
            *([] if marked else ["-m", USUAL]),
            *(rest or ["-q", "-n", "auto", "--dist", "loadgroup"]),
        )
    for step in (
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
        ("pyright", "--pythonpath", str(python)),
    ):
        print(f"== {' '.join(step)}", flush=True)
        status = run(python, "-m", *step)
        if status:
            return status
    return 0


def run(python: Path, *command: str) -> int:
    """Run a command in the project's folder; its exit status. Ctrl-C is the command's to handle."""
    process = subprocess.Popen([str(python), *command], cwd=HERE)
    while True:
        try:
            status = process.wait()
            return status if status >= 0 else 128 - status
        except KeyboardInterrupt:
            try:
                process.wait(PATIENCE)
            except (KeyboardInterrupt, subprocess.TimeoutExpired):
                # It came to this process alone, or the command takes its time.
                process.send_signal(signal.SIGINT)


def prepare(extra: str) -> Path:
    """The virtual environment's Python, with the project installed; made or brought up to date when needed."""
    folder = Path(os.environ.get("AMQP10_VENV") or HERE / ".venv")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    digest = hashlib.sha256((HERE / "pyproject.toml").read_bytes()).hexdigest()
    stamp = folder / "amqp10-installed"
    have = stamp.read_text() if stamp.exists() else ""
    if python.exists() and have in (f"{digest} {extra}", f"{digest} dev"):  # "dev" has everything
        return python
    if not python.exists():
        print(f"== making a virtual environment in {folder}", flush=True)
        venv.create(folder, with_pip=True)
    elif subprocess.call([str(python), "-c", "import pip"], stderr=subprocess.DEVNULL):
        # What is left of a run that was interrupted here.
        subprocess.check_call([str(python), "-m", "ensurepip"], stdout=subprocess.DEVNULL)
    print("== installing", flush=True)
    target = f"{HERE}[{extra}]"
    subprocess.check_call([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-e", target])
    stamp.write_text(f"{digest} {extra}")
    return python


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

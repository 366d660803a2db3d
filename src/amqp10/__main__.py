"""``python -m amqp10``: the ``amqp10`` command."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Entry point of the command; it needs the packages of the extra ``cli``."""
    try:
        from amqp10.cli import main as command
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        print(f'amqp10: the command needs the package {error.name}: pip install "amqp10[cli]"', file=sys.stderr)
        sys.exit(1)
    command()


if __name__ == "__main__":
    main()

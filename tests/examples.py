"""How many examples the property tests try.

Few in the usual run, so that it takes seconds; all of them where ``AMQP10_THOROUGH`` is set, as CI does for the tests
that take long. What a run of few examples finds by chance is kept in ``.hypothesis`` and tried again.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["THOROUGH", "examples"]

THOROUGH: Final = bool(os.environ.get("AMQP10_THOROUGH"))
_SHARE: Final = 6
_LEAST: Final = 15


def examples(number: int) -> int:
    """How many examples a test tries for which so many are thorough."""
    return number if THOROUGH else min(number, max(number // _SHARE, _LEAST))

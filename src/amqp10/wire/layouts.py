"""The known layouts of a stream of messages; ``layout_compiler.py`` says what a layout is.

They belong to the reader of the stream: each link of the client has its own, so that one peer cannot displace the
layouts of another. Messages that are decoded on their own share those in ``message.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from typing import Any, Final, final

__all__ = ["Layouts", "Reader"]

Reader = Callable[[Any, bytes], bool]
"""Fills the sections of a message from its payload; False, with nothing changed, if it has another layout."""

BEGINNINGS_KEPT: Final = 64
ALIKE_KEPT: Final = 4
"""For how many beginnings of messages layouts are kept, and how many layouts for each. The oldest is dropped."""
SEEN_KEPT: Final = 1024
_SAMPLES: Final = (*(False,) * 63, True)


@final
class Layouts:
    """The layouts of the messages of one stream.

    Attributes:
        known: compiled layouts, by the bytes that a message begins with.
        samples: which messages are analysed for their layouts.
        seen: the layouts of earlier samples.
    """

    __slots__ = ("known", "samples", "seen")

    def __init__(self) -> None:
        self.known: dict[bytes, tuple[Reader, ...]] = {}
        self.samples: Iterator[bool] = cycle(_SAMPLES)
        self.seen: set[tuple[bytes | str, ...]] = set()

    def learn(self, key: bytes, buf: bytes, spans: Mapping[int, tuple[int, int, int]]) -> None:
        """Note the layout of a message, and compile it if an earlier sample had the same one.

        Args:
            key: the bytes that the message begins with, by which it will be looked up.
            buf: the payload.
            spans: where its sections are, see ``Message.scan``.
        """
        from amqp10.wire.layout_compiler import draft_of  # only once there are many messages

        draft = draft_of(key, buf, spans)
        if draft is None:
            return
        if draft.layout not in self.seen:
            if len(self.seen) >= SEEN_KEPT:
                self.seen.clear()
            self.seen.add(draft.layout)
            return
        alike = self.known.pop(key, ())
        if len(self.known) >= BEGINNINGS_KEPT:
            del self.known[next(iter(self.known))]
        self.known[key] = (*alike[1 - ALIKE_KEPT :], draft.reader())

"""What ``connect()``, ``sender()`` and ``receiver()`` return: awaited it gives the object, entered it closes it."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["Opening"]


class Closable(Protocol):
    """Something that is closed when its block is left."""

    async def close(self) -> None:
        """Close it."""
        ...


T = TypeVar("T", bound=Closable)


class Opening(Generic[T]):
    """``await`` it, or use it with ``async with``."""

    __slots__ = ("_object", "_work")

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        self._object: T | None = None

    def __await__(self) -> Generator[Any, None, T]:
        return self._work.__await__()

    async def __aenter__(self) -> T:
        self._object = await self._work
        return self._object

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._object is not None:
            await self._object.close()

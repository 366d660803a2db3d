"""Failures that a test asks for."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from amqp10.errors import ProtocolError

__all__ = ["Faults", "Refusable"]

Refusable: TypeAlias = Literal["login", "connection", "session", "link", "message"]
_KINDS: Final = ("login", "connection", "session", "link", "message")


class Faults:
    """What is to be refused, in the order in which it was asked for.

    Attributes:
        messages: whether any message is to be refused; checked for each message.
    """

    __slots__ = ("_waiting", "messages")

    def __init__(self) -> None:
        self._waiting: list[tuple[str, str | None, ProtocolError]] = []
        self.messages: bool = False

    def add(self, what: Refusable, count: int, condition: str, description: str, address: str | None) -> None:
        """Have the next of a kind refused.

        Args:
            what: "login", "connection", "session", "link" or "message".
            count: how many of them.
            condition: the error condition.
            description: the error's text.
            address: of links and messages, the name of the node that they are for; None for any.

        Raises:
            ValueError: there is no such kind.
        """
        if what not in _KINDS:
            raise ValueError(f"{what!r} cannot be refused; {', '.join(_KINDS)} can")
        for _ in range(count):
            self._waiting.append((what, address, ProtocolError(description, condition=condition)))
        self._look()

    def take(self, what: Refusable, address: str | None = None) -> ProtocolError | None:
        """The error to refuse this one with; None if it is not to be refused."""
        for index, (kind, wanted, error) in enumerate(self._waiting):
            if kind == what and wanted in (None, address):
                del self._waiting[index]
                self._look()
                return error
        return None

    def clear(self) -> None:
        """Forget what is to be refused."""
        self._waiting.clear()
        self._look()

    def _look(self) -> None:
        self.messages = any(what == "message" for what, _, _ in self._waiting)

"""How much credit a receiver gives, and when (transport, "flow control"). Pure arithmetic, no link."""

from __future__ import annotations

__all__ = ["CreditWindow"]


class CreditWindow:
    """Keeps up to ``prefetch`` messages on their way to the program.

    What is queued here and what the program has not settled yet counts as credit in use: a program that does not
    settle is not flooded, it stalls.

    Args:
        prefetch: the most messages that may be under way, queued or unsettled at once; 0 when the program gives
            credit itself.
        low: credit is renewed when no more than this is in use; half of ``prefetch`` where it is not given, so that
            there is one flow for half a window of messages.
    """

    __slots__ = ("low", "paused", "prefetch")

    def __init__(self, prefetch: int, low: int | None = None) -> None:
        self.prefetch: int = prefetch
        self.low: int = prefetch // 2 if low is None else low
        self.paused: bool = False

    def due(self, credit: int, queued: int, unsettled: int) -> int:
        """The credit to set now; 0 to leave it as it is.

        Args:
            credit: what the sender has left.
            queued: messages that are here, or of which a part is, and that have not been received.
            unsettled: messages that the program has received and not settled.
        """
        if self.paused or self.prefetch == 0:
            return 0
        left = self.prefetch - queued - unsettled
        if left <= credit:
            return 0
        if credit + queued + unsettled <= self.low or credit + queued == 0:
            return left
        return 0

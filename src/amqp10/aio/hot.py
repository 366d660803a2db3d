"""The asyncio side of what happens once per message: submit, outcomes, iteration, settling."""

from __future__ import annotations

from asyncio import sleep
from collections import deque
from collections.abc import AsyncIterable, Generator, Iterable
from itertools import islice
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Self, cast

from amqp10.client import delivery as _delivery
from amqp10.client import operations
from amqp10.client import received as _received
from amqp10.client.options import DEFAULT, Default
from amqp10.errors import AMQPTimeoutError, ClosedError, SendTimeoutError

if TYPE_CHECKING:
    from amqp10.aio.driver import AioDriver
    from amqp10.client.message import Message
    from amqp10.client.outcomes import Outcome
    from amqp10.client.receiving import ReceiverCore
    from amqp10.client.sending import SenderCore

_LOT: Final = 256
"""How many messages ``send_many()`` sends before it looks up."""

__all__ = ["Delivery", "ReceivedMessage", "ReceiverMethods", "SenderMethods"]


class Delivery(_delivery.Delivery):
    """A message that was submitted. ``await delivery`` gives its outcome; giving up waiting does not touch it."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, Outcome]:
        return self._wait_outcome(None).__await__()

    def cancel(self) -> bool:
        """Take it back before it is written. Returns whether that was possible."""
        return self._withdraw()


class ReceivedMessage(_received.ReceivedMessage):
    """A message that arrived. Settle it when it has been dealt with; settling does not wait.

    Each way of settling returns False when the delivery is no longer this program's: the connection was lost
    meanwhile, and the message will come again.
    """

    __slots__ = ()

    async def settled(self, *, timeout: float | Default | None = DEFAULT) -> None:
        """Until the sender has settled too; for receivers with ``confirm="second"``."""
        driver: Any = self._receiver.core.driver
        await self._receiver.wait_settled(self._delivery, driver.deadline(timeout))


class SenderMethods:
    """What a sender does per message."""

    _core: SenderCore
    _driver: AioDriver

    async def send(
        self, message: Message | Any, *, settled: bool = False, timeout: float | Default | None = DEFAULT
    ) -> Outcome:
        """Send a message, and wait for its outcome.

        Args:
            message: a Message, or the body of one.
            settled: whether to send it without asking for an outcome: at most once.
            timeout: seconds for all of it.

        Raises:
            MessageRejectedError: the receiver rejected it.
            SendTimeoutError: there was no outcome in time. It is not sent (again) after that.
            DeliveryUnknownError: its outcome was lost, and it may not be sent again.
            ConnectionLostError, LinkError, ClosedError: ``sent`` says how far it had come.
        """
        driver = self._driver
        return await driver.run(operations.send(self._core, message, settled, driver.deadline(timeout)))

    async def submit(
        self, message: Message | Any, *, settled: bool = False, timeout: float | Default | None = DEFAULT
    ) -> Delivery:
        """Send a message as soon as there is credit, and do not wait for its outcome. Arguments as for :meth:`send`.

        Raises:
            SendTimeoutError: there was no credit in time. It was not sent.
            ConnectionLostError, LinkError, ClosedError: it was not sent.
        """
        if get_ident() != self._driver.thread:
            self._driver.check_thread()
        delivery = self._core.try_submit(message, settled)
        if delivery is None:
            try:
                delivery = await self._core.submit(message, settled, self._driver.deadline(timeout))
            except AMQPTimeoutError:
                raise SendTimeoutError("the receiver gave no credit in time", sent=False) from None
        return cast("Delivery", delivery)

    def try_submit(self, message: Message | Any, *, settled: bool = False) -> Delivery | None:
        """Send a message if that is possible at once; None when it would have to wait. Errors as for :meth:`submit`."""
        self._driver.check_thread()
        return cast("Delivery | None", self._core.try_submit(message, settled))

    async def send_many(
        self,
        messages: Iterable[Message | Any] | AsyncIterable[Message | Any],
        *,
        timeout: float | Default | None = DEFAULT,
    ) -> list[Outcome]:
        """Send messages one after the other without waiting for each, and wait for all outcomes.

        Returns:
            Their outcomes, in order.

        Raises:
            AMQPError: the first error of one of them, when all have come to their end, or when time is up. Errors as
                for :meth:`send`.
        """
        self._driver.check_thread()
        core = self._core
        deadline = self._driver.deadline(timeout)
        waiting: deque[_delivery.Delivery] = deque()
        outcomes: list[Outcome] = []

        async def add(lot: list[Any]) -> None:
            while lot:
                sent = core.submit_some(lot)
                if not sent:
                    sent = [await core.submit(lot[0], False, deadline)]
                waiting.extend(sent)
                del lot[: len(sent)]
            while waiting and (outcome := waiting[0].outcome) is not None:
                outcomes.append(outcome)
                waiting.popleft()

        try:
            if isinstance(messages, AsyncIterable):
                async for message in messages:
                    await add([message])
            else:
                iterator = iter(messages)
                while lot := list(islice(iterator, _LOT)):
                    await add(lot)
                    # Others have their turn, and outcomes are looked at.
                    await sleep(0)
            for delivery in waiting:
                outcomes.append(await delivery._wait_outcome(deadline))
        except BaseException as error:
            for delivery in waiting:
                if not delivery.done:
                    core.abandon(delivery)
            if isinstance(error, AMQPTimeoutError) and not isinstance(error, SendTimeoutError):
                raise SendTimeoutError("not all messages had their outcome in time", sent=None) from None
            raise
        return outcomes


class ReceiverMethods:
    """What a receiver does per message."""

    _core: ReceiverCore
    _driver: AioDriver

    async def receive(self, *, timeout: float | Default | None = DEFAULT) -> ReceivedMessage:
        """The next message.

        Raises:
            AMQPTimeoutError: none came in time.
            ClosedError: the receiver was closed.
            LinkError, ConnectionLostError: it is over, and nothing is left of what had arrived.
        """
        self._driver.check_thread()
        message = self._core.try_receive()
        if message is None:
            message = await self._core.receive(self._driver.deadline(timeout))
        return cast("ReceivedMessage", message)

    async def receive_many(self, max: int, *, timeout: float | Default | None = DEFAULT) -> list[ReceivedMessage]:
        """As many messages as are here, up to ``max``; waits for the first one only. Errors as for :meth:`receive`."""
        self._driver.check_thread()
        messages = await self._core.receive_many(max, self._driver.deadline(timeout))
        return cast("list[ReceivedMessage]", messages)

    def accept_all(self, messages: Iterable[ReceivedMessage]) -> int:
        """Accept many messages at once. Returns how many were still this program's."""
        self._driver.check_thread()
        return self._core.accept_all(messages)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReceivedMessage:
        core = self._core
        if get_ident() != self._driver.thread:
            self._driver.check_thread()
        try:
            message = core.try_receive()
            if message is None:
                message = await core.receive(None)
        except ClosedError:
            raise StopAsyncIteration from None
        return cast("ReceivedMessage", message)

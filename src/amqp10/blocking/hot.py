"""The blocking side of what happens once per message: submit, outcomes, iteration, settling."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self, cast

from amqp10.blocking.driver import FLUSH_COUNT
from amqp10.client import delivery as _delivery
from amqp10.client import operations
from amqp10.client import received as _received
from amqp10.client.options import DEFAULT, Default
from amqp10.errors import AMQPTimeoutError, ClosedError, SendTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from amqp10.blocking.driver import BlockingDriver
    from amqp10.client.message import Message
    from amqp10.client.outcomes import Outcome
    from amqp10.client.receiving import ReceiverCore
    from amqp10.client.sending import SenderCore

_LOT: Final = 256
"""How many messages ``send_many()`` sends before it looks up."""

__all__ = ["Delivery", "ReceivedMessage", "ReceiverMethods", "SenderMethods"]


class Delivery(_delivery.Delivery):
    """A message that was submitted. :meth:`result` gives its outcome; giving up waiting does not touch it."""

    __slots__ = ()

    @property
    def _driver(self) -> BlockingDriver:
        return cast("BlockingDriver", self._sender.core.driver)

    def result(self, timeout: float | Default | None = DEFAULT) -> Outcome:
        """Wait for the outcome.

        Raises:
            AMQPTimeoutError: there is none in time; the message goes on.
            MessageRejectedError: the receiver rejected it.
            DeliveryUnknownError, ConnectionLostError, LinkError, ClosedError: ``sent`` says how far it had come.
        """
        if self.outcome is not None:
            return self.outcome
        driver = self._driver
        return driver.run(self._wait_outcome(driver.deadline(timeout)))

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call ``callback(delivery)`` when it is done, on the connection's thread. It must not wait."""
        driver = self._driver
        with driver.lock, driver.step:
            super().add_done_callback(callback)
        driver.run_left()

    def cancel(self) -> bool:
        """Take it back before it is written. Returns whether that was possible."""
        with self._driver.lock, self._driver.step:
            return self._withdraw()


class ReceivedMessage(_received.ReceivedMessage):
    """A message that arrived. Settle it when it has been dealt with; settling does not wait.

    Each way of settling returns False when the delivery is no longer this program's: the connection was lost
    meanwhile, and the message will come again.
    """

    __slots__ = ()

    def _settle(self, state: Any) -> bool:
        receiver = self._receiver
        driver: BlockingDriver = receiver.core.driver  # type: ignore[assignment]
        with driver.lock:
            try:
                done = receiver.settle(self._delivery, state)
                if driver.flush_at is None or driver.kicks >= FLUSH_COUNT:
                    driver.leave()
            except BaseException as error:
                driver.failed(error)
                raise
        return done

    def settled(self, *, timeout: float | Default | None = DEFAULT) -> None:
        """Until the sender has settled too; for receivers with ``confirm="second"``."""
        driver = cast("BlockingDriver", self._receiver.core.driver)
        driver.run(self._receiver.wait_settled(self._delivery, driver.deadline(timeout)))


class SenderMethods:
    """What a sender does per message."""

    _core: SenderCore
    _driver: BlockingDriver

    def send(
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
        return driver.run(operations.send(self._core, message, settled, driver.deadline(timeout)))

    def submit(
        self, message: Message | Any, *, settled: bool = False, timeout: float | Default | None = DEFAULT
    ) -> Delivery:
        """Send a message as soon as there is credit, and do not wait for its outcome. Arguments as for :meth:`send`.

        Raises:
            SendTimeoutError: there was no credit in time. It was not sent.
            ConnectionLostError, LinkError, ClosedError: it was not sent.
        """
        delivery = self.try_submit(message, settled=settled)
        if delivery is None:
            driver = self._driver
            try:
                waited = driver.run(self._core.submit(message, settled, driver.deadline(timeout)))
            except AMQPTimeoutError:
                raise SendTimeoutError("the receiver gave no credit in time", sent=False) from None
            return cast("Delivery", waited)
        return delivery

    def try_submit(self, message: Message | Any, *, settled: bool = False) -> Delivery | None:
        """Send a message if that is possible at once; None when it would have to wait. Errors as for :meth:`submit`."""
        driver = self._driver
        # What "with driver.lock, driver.step" does, in fewer calls.
        with driver.lock:
            try:
                delivery = self._core.try_submit(message, settled)
                if driver.flush_at is None or driver.kicks >= FLUSH_COUNT:
                    driver.leave()
            except BaseException as error:
                driver.failed(error)
                raise
        return delivery  # type: ignore[return-value]

    def send_many(
        self, messages: Iterable[Message | Any], *, timeout: float | Default | None = DEFAULT
    ) -> list[Outcome]:
        """Send messages one after the other without waiting for each, and wait for all outcomes.

        Returns:
            Their outcomes, in order.

        Raises:
            AMQPError: the first error of one of them, when all have come to their end, or when time is up. Errors as
                for :meth:`send`.
        """
        driver, core = self._driver, self._core
        deadline = driver.deadline(timeout)
        waiting: deque[_delivery.Delivery] = deque()
        outcomes: list[Outcome] = []
        try:
            iterator = iter(messages)
            while lot := list(islice(iterator, _LOT)):
                while lot:
                    with driver.lock, driver.step:
                        sent = core.submit_some(lot)
                    if not sent:
                        sent = [driver.run(core.submit(lot[0], False, deadline))]
                    waiting.extend(sent)
                    del lot[: len(sent)]
                while waiting and (outcome := waiting[0].outcome) is not None:
                    outcomes.append(outcome)
                    waiting.popleft()
            for delivery in waiting:
                if delivery.outcome is not None:
                    outcomes.append(delivery.outcome)
                else:
                    outcomes.append(driver.run(delivery._wait_outcome(deadline)))
        except BaseException as error:
            with driver.lock, driver.step:
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
    _driver: BlockingDriver

    def receive(self, *, timeout: float | Default | None = DEFAULT) -> ReceivedMessage:
        """The next message.

        Raises:
            AMQPTimeoutError: none came in time.
            ClosedError: the receiver was closed.
            LinkError, ConnectionLostError: it is over, and nothing is left of what had arrived.
        """
        driver = self._driver
        with driver.lock, driver.step:
            message = self._core.try_receive()
        if message is None:
            message = driver.run(self._core.receive(driver.deadline(timeout)))
        return cast("ReceivedMessage", message)

    def receive_many(self, max: int, *, timeout: float | Default | None = DEFAULT) -> list[ReceivedMessage]:
        """As many messages as are here, up to ``max``; waits for the first one only. Errors as for :meth:`receive`."""
        driver = self._driver
        messages = driver.run(self._core.receive_many(max, driver.deadline(timeout)))
        return cast("list[ReceivedMessage]", messages)

    def accept_all(self, messages: Iterable[ReceivedMessage]) -> int:
        """Accept many messages at once. Returns how many were still this program's."""
        with self._driver.lock, self._driver.step:
            return self._core.accept_all(messages)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ReceivedMessage:
        core, driver = self._core, self._driver
        try:
            with driver.lock:
                try:
                    message = core.try_receive()
                    if driver.flush_at is None or driver.kicks >= FLUSH_COUNT:
                        driver.leave()
                except BaseException as error:
                    driver.failed(error)
                    raise
            if message is None:
                message = driver.run(core.receive(None))
        except ClosedError:
            # Not asked before: another thread may close it at any time.
            raise StopIteration from None
        return cast("ReceivedMessage", message)

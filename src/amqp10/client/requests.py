"""Requests and their responses: one reply link for all that are under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import uuid4

from amqp10.client import operations
from amqp10.client.delivery import Delivery
from amqp10.client.message import Message
from amqp10.client.options import ReceiverSpec
from amqp10.client.outcomes import Modified, Released
from amqp10.client.sending import Late
from amqp10.client.wait import Waits
from amqp10.conditions import ErrorCondition
from amqp10.errors import (
    AMQPError,
    AMQPTimeoutError,
    DeliveryError,
    DeliveryUnknownError,
    LinkRefusedError,
    RequestLostError,
)
from amqp10.wire.messaging import ACCEPTED

if TYPE_CHECKING:
    from amqp10.client.core import ClientCore
    from amqp10.client.outcomes import Outcome
    from amqp10.client.received import ReceivedMessage
    from amqp10.client.receiving import ReceiverCore
    from amqp10.client.sending import SenderCore
    from amqp10.client.wait import Wait
    from amqp10.engine import IncomingDelivery

__all__ = ["Requests"]

M = TypeVar("M", bound="ReceivedMessage")

_WINDOW: Final = 1000
"""How many responses may be on their way."""


class _Request(Late):
    """One request, as a message that is built when its turn has come: only then is the address for replies known."""

    __slots__ = ("error", "key", "message", "replies", "reply", "wait")

    def __init__(self, message: Message, key: Any, replies: ReceiverCore, wait: Wait) -> None:
        self.message = message
        self.key = key
        self.replies = replies
        self.wait = wait
        self.reply: IncomingDelivery | None = None
        self.error: AMQPError | None = None

    def make(self) -> Message:
        """The message as it goes out now."""
        return self.message.replace(reply_to=self.replies.address, correlation_id=self.key)

    def fail(self, error: AMQPError) -> None:
        """There will be no response."""
        if self.reply is None and self.error is None:
            self.error = error
            self.wait.set()


class _RequestDelivery(Delivery):
    """The delivery of a request: that it was accepted says nothing, that it was not ends the request."""

    __slots__ = ("request",)

    request: _Request

    def _finish(self, outcome: Outcome | None, error: AMQPError | None) -> None:
        super()._finish(outcome, error)
        if isinstance(error, DeliveryUnknownError):
            lost = RequestLostError(f"the request may have been lost: {error.message}")
            lost.__cause__ = error
            self.request.fail(lost)
        elif error is not None:
            self.request.fail(error)
        elif isinstance(outcome, (Released, Modified)):
            self.request.fail(DeliveryError("the receiver did not take the request", sent=True))


class _ReplyLink:
    """The link on which responses come: to a dynamic address, or to one that the program names."""

    def __init__(self, core: ClientCore, address: str | None) -> None:
        self._core = core
        self._address = address
        self._replies: ReceiverCore | None = None
        self._under_way: dict[Any, _Request] = {}
        self._attaching: Waits | None = None

    def begin(self, request: _Request) -> None:
        """A request waits for a response."""
        if request.key in self._under_way:
            raise ValueError(f"a request with the correlation id {request.key!r} is under way")
        self._under_way[request.key] = request

    def end(self, request: _Request) -> None:
        """It does not any more."""
        if self._under_way.get(request.key) is request:
            del self._under_way[request.key]

    async def receiver(self, deadline: float | None) -> ReceiverCore:
        """The receiver, attached."""
        while True:
            replies = self._replies
            if (
                replies is not None
                and replies.error is None
                and replies.address is not None
                and replies.link is not None
            ):
                return replies
            if self._attaching is not None:
                await self._attaching.wait(deadline)
                continue
            attaching = self._attaching = Waits(self._core.driver)
            try:
                if replies is None or replies.error is not None:
                    await self._attach(deadline)
                else:
                    await replies.wait_back(deadline)
            finally:
                self._attaching = None
                attaching.set()

    async def _attach(self, deadline: float | None) -> None:
        session = self._core.default_session()
        spec = ReceiverSpec(address=self._address, dynamic=self._address is None, prefetch=_WINDOW)
        try:
            replies = await operations.attach_receiver(session, spec, deadline)
        except LinkRefusedError as error:
            if self._address is None and error.condition == ErrorCondition.NOT_IMPLEMENTED:
                raise error.with_hint(
                    "where the broker makes no dynamic nodes, reply_to names a queue for responses"
                ) from error
            raise
        replies.sink = self._arrived
        replies.on_lost = self._lost
        self._replies = replies

    def _arrived(self, delivery: IncomingDelivery) -> None:
        message = Message.decode(delivery.payload)
        delivery.settle(ACCEPTED)
        try:
            key = message.correlation_id
        except AMQPError:
            return  # it cannot be anybody's
        request = self._under_way.get(key)
        if request is not None:
            request.reply = delivery
            request.wait.set()

    def _lost(self) -> None:
        for request in list(self._under_way.values()):
            request.fail(RequestLostError("the connection was lost before the response came"))


class Requests:
    """The requests of a connection."""

    def __init__(self, core: ClientCore) -> None:
        self._core = core
        self._links: dict[str | None, _ReplyLink] = {}
        self._senders: dict[str, SenderCore] = {}

    async def request(
        self,
        address: str,
        body: Any,
        idempotent: bool,
        deadline: float | None,
        message_type: type[M],
        reply_to: str | None = None,
    ) -> M:
        """Send a request and wait for its response.

        Raises:
            RequestLostError: the reply address was lost with the connection, and the request is not idempotent.
            AMQPTimeoutError: no response in time.
        """
        message = body if isinstance(body, Message) else Message(body)
        link = self._links.get(reply_to)
        if link is None:
            link = self._links[reply_to] = _ReplyLink(self._core, reply_to)
        while True:
            try:
                return await self._once(address, message, link, deadline, message_type)
            except RequestLostError:
                if not idempotent:
                    raise

    async def _once(
        self, address: str, message: Message, link: _ReplyLink, deadline: float | None, message_type: type[M]
    ) -> M:
        replies = await link.receiver(deadline)
        key = message.correlation_id if message.correlation_id is not None else str(uuid4())
        request = _Request(message, key, replies, self._core.driver.new_wait())
        link.begin(request)
        delivery: Delivery | None = None
        try:
            sender = await operations.cached_sender(
                self._core, self._senders, address, deadline, resend=False, delivery_type=_RequestDelivery
            )
            delivery = await sender.submit(request, False, deadline)
            assert isinstance(delivery, _RequestDelivery)
            delivery.request = request
            if request.error is None and request.reply is None:
                await request.wait.wait(deadline)
        except AMQPTimeoutError:
            raise AMQPTimeoutError(f"no response from {address!r} in time") from None
        finally:
            link.end(request)
            if delivery is not None and not delivery.done:
                delivery._sender.abandon(delivery)
        if request.error is not None:
            raise request.error
        assert request.reply is not None
        return message_type(request.reply, replies)

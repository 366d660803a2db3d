"""What can wait, each written once for every front end.

A deadline is a time on the driver's clock; None for no limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amqp10.client.core import ClientCore
from amqp10.client.delivery import Delivery
from amqp10.client.options import ReceiverSpec, SenderSpec
from amqp10.client.received import ReceivedMessage
from amqp10.client.receiving import ReceiverCore
from amqp10.client.recovery import Move
from amqp10.client.sending import SenderCore
from amqp10.errors import AMQPError, AMQPTimeoutError, ClosedError, SendTimeoutError

if TYPE_CHECKING:
    from amqp10.client.links import LinkCore
    from amqp10.client.outcomes import Outcome
    from amqp10.client.sessions import SessionCore

__all__ = [
    "attach_receiver",
    "attach_sender",
    "cached_sender",
    "close_connection",
    "close_link",
    "close_session",
    "connect",
    "send",
    "send_to",
]


async def connect(core: ClientCore, deadline: float | None) -> None:
    """Open the connection for the first time: what may pass is tried again until the deadline.

    Raises:
        AMQPError: what the last attempt failed with. Nothing is left then, nor when the call is interrupted.
    """
    core.backoff.begin(core.driver.clock())
    try:
        while True:
            try:
                await core.attempt(deadline)
                break
            except AMQPError as error:
                await _before_next(core, error, deadline)
    except BaseException as error:
        core.fail(error if isinstance(error, AMQPError) else AMQPError(211, "connect() was interrupted"))
        raise
    core.backoff.reset()
    core.restored()


async def _before_next(core: ClientCore, error: AMQPError, deadline: float | None) -> None:
    now = core.driver.clock()
    if core.servers.follow(error):
        return
    in_time = deadline is None or now < deadline
    if not core.backoff.goes_on(error, now) or not in_time:
        raise error
    tried = core.backoff.attempts
    if not core.options.recovers and tried >= len(core.options.addresses):
        raise error
    delay = core.backoff.delay()
    if deadline is not None and now + delay >= deadline:
        raise error
    if delay > 0:
        await core.upkeep.rest(delay, error)
        core.move(Move.ATTEMPT, error)


async def _attached(link: LinkCore[Any], deadline: float | None) -> None:
    try:
        await link.wait_attached(deadline)
    except AMQPTimeoutError as error:
        raise AMQPTimeoutError(f"the peer did not attach the link to {link.address!r} in time") from error


async def attach_sender(
    session: SessionCore, spec: SenderSpec, deadline: float | None, delivery_type: type[Delivery] = Delivery
) -> SenderCore:
    """Attach a sender.

    Raises:
        LinkError: the peer refused it.
        AMQPTimeoutError: it did not answer in time; a detach follows the attach.
    """
    session.core.refuse()
    link = SenderCore(session.core, session, spec)
    link.delivery_type = delivery_type
    await _attach(link, deadline)
    return link


async def attach_receiver(
    session: SessionCore,
    spec: ReceiverSpec,
    deadline: float | None,
    message_type: type[ReceivedMessage] = ReceivedMessage,
) -> ReceiverCore:
    """Attach a receiver. Errors as for :func:`attach_sender`."""
    session.core.refuse()
    link = ReceiverCore(session.core, session, spec)
    link.message_type = message_type
    await _attach(link, deadline)
    return link


async def _attach(link: LinkCore[Any], deadline: float | None) -> None:
    core = link.core
    if link.session.can_carry:
        link.attach()
        core.driver.kick()
    await _attached(link, deadline)


async def send(sender: SenderCore, message: Any, settled: bool, deadline: float | None) -> Outcome:
    """Send, and wait for the outcome.

    Raises:
        SendTimeoutError: there is no outcome in time. A message that was not written is never sent; one that was is
            not sent again.
        MessageRejectedError: the receiver rejected it.
        AMQPError: see :mod:`amqp10.client.closing`.
    """
    try:
        delivery = await sender.submit(message, settled, deadline)
    except AMQPTimeoutError:
        raise SendTimeoutError(
            "the message could not be sent in time: the receiver gave no credit", sent=False
        ) from None
    if delivery.outcome is not None:
        return delivery.outcome
    try:
        return await delivery._wait_outcome(deadline)
    except AMQPError as error:
        if delivery.done or not isinstance(error, AMQPTimeoutError):
            raise
        sent = sender.abandon(delivery)
        raise SendTimeoutError("the message had no outcome in time", sent=sent) from None
    except BaseException:
        if not delivery.done:
            sender.abandon(delivery)
        raise


async def cached_sender(
    core: ClientCore,
    senders: dict[str, SenderCore],
    address: str,
    deadline: float | None,
    *,
    resend: bool = True,
    delivery_type: type[Delivery] = Delivery,
) -> SenderCore:
    """The sender that is kept for an address; attached when it is asked for first. Errors as for
    :func:`attach_sender`."""
    while (sender := senders.get(address)) is not None and sender.error is None:
        if sender.was_attached:
            return sender
        try:
            await sender.wait_ready(deadline)
        except ClosedError:
            # Whoever was attaching it was interrupted: it is this call's turn to do that.
            core.refuse()
    core.refuse()
    sender = SenderCore(core, core.default_session(), SenderSpec(address=address, resend=resend))
    sender.delivery_type = delivery_type
    sender.shared = True
    senders[address] = sender
    try:
        await _attach(sender, deadline)
    except BaseException:
        if sender.error is not None and senders.get(address) is sender:
            del senders[address]
        raise
    return sender


async def send_to(
    core: ClientCore, senders: dict[str, SenderCore], address: str, message: Any, deadline: float | None
) -> Outcome:
    """Send to an address, over the sender that is kept for it. Errors as for :func:`send` and :func:`attach_sender`."""
    sender = await cached_sender(core, senders, address, deadline)
    return await send(sender, message, False, deadline)


async def close_link(link: LinkCore[Any], deadline: float | None) -> None:
    """Close a link: outcomes are awaited until the deadline. An interrupted close goes on by itself."""
    link.start_closing(deadline)
    await link.wait_gone()


async def close_session(session: SessionCore, deadline: float | None) -> None:
    """Close a session with its links, as :func:`close_link` does."""
    links = list(session.links)
    session.close(deadline)
    for link in links:
        await link.wait_gone()


async def close_connection(core: ClientCore, deadline: float | None) -> None:
    """Close the connection with everything on it, as :func:`close_link` does."""
    core.start_closing(deadline)
    await core.wait_over()

"""Messages in: what happens to each on its way through the component.

This is the component's hot path; see docs/architecture.md before making it do more per message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from amqp10.codec import DecodeError, Symbol
from amqp10.component.enums import MessageState, OutcomeDirection
from amqp10.component.events import AMQPMessageInEventParams, AMQPMessageOutcomeEventParams
from amqp10.component.handler_outcome import HandlerOutcome
from amqp10.component.handlers import Handlers
from amqp10.component.log import Log
from amqp10.component.loop import Loop, seconds
from amqp10.component.messages import MessageDraft, MessageView, whole_sections
from amqp10.component.outcomes import OutcomeMetadata
from amqp10.component.properties import Properties
from amqp10.component.registry import LinkRecord, ReceiverRecord, Records, check_index
from amqp10.component.reports import Reports
from amqp10.component.settings import Settings
from amqp10.conditions import ErrorCondition
from amqp10.engine import IncomingDelivery
from amqp10.engine.states import LinkState
from amqp10.errors import AMQPError, AMQPTimeoutError
from amqp10.wire.messaging import ACCEPTED, RELEASED, Modified, Rejected, Released
from amqp10.wire.performatives import Error

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Inbox"]

# Looking up a member of an enumeration costs five times as much as looking up a name: this is looked at per message.
_ATTACHED: Final = LinkState.ATTACHED

_DRAIN_PATIENCE: Final = 5.0
"""How long the answer to a drain is waited for at most, in seconds. Some peers never give one; a late one does no harm,
as the next fetch waits for it too."""


class Inbox:
    """Receives messages: automatically, or a message at a time.

    Attributes:
        received: the message that ``received_message_...`` show.
    """

    __slots__ = (
        "_cache",
        "_cache_key",
        "_fetched",
        "_fetches",
        "_handlers",
        "_handling",
        "_log",
        "_loop",
        "_outcome",
        "_properties",
        "_records",
        "_reports",
        "_settings",
        "received",
    )

    def __init__(
        self,
        settings: Settings,
        properties: Properties,
        handlers: Handlers,
        log: Log,
        reports: Reports,
        records: Records,
        outcome: HandlerOutcome,
        loop: Loop,
    ) -> None:
        self._settings = settings
        self._properties = properties
        self._handlers = handlers
        self._log = log
        self._reports = reports
        self._records = records
        self._outcome = outcome
        self._loop = loop
        self.received: MessageDraft | MessageView = MessageDraft()
        self._handling: list[tuple[MessageView, AMQPMessageInEventParams]] = []
        """The messages that handlers have in hand, the innermost last."""
        self._fetches: list[ReceiverRecord] = []
        """The links on which a fetch waits."""
        self._fetched: list[IncomingDelivery] = []
        """Messages that a fetch has got and not handed over yet."""
        self._cache: list[MessageView | IncomingDelivery] | None = None
        self._cache_key: tuple[object, ...] = ()
        loop.events.actions[IncomingDelivery] = self._deliver

    def reset(self) -> None:
        """Forget the message that was received last."""
        self.received = MessageDraft()

    # -- one message -----------------------------------------------------------------------------------------------

    def _deliver(self, delivery: IncomingDelivery) -> DecodeError | None:
        """A whole message has arrived: let the program decide, then report the outcome.

        Returns what is wrong with one that cannot be decoded; everybody has been told.
        """
        record: ReceiverRecord = delivery.link.context
        link = delivery.link
        if record.automatic:
            queued = record.queued
            if queued:
                queued = record.queued = queued - 1
            if link.state is not _ATTACHED:
                if not delivery.settled:
                    return None  # it is the sender's again: it is neither handled nor is an outcome reported
            elif link.credit + queued <= record.window.low:
                # Before the handler runs, so that the sender goes on while the rest of the batch is handled.
                record.renew_credit()
                self._loop.flush_at = 0.0
        view = MessageView(delivery.buffer, record.name, delivery.remote_settled, delivery, self._settings)
        hook = self._handlers.on_message_in
        state = 0
        metadata: OutcomeMetadata | None = None
        params: AMQPMessageInEventParams | None = None
        try:
            view.check(record.beginning)
            self.received = view
            if hook is None:
                # Nobody looks at it before it is accepted: what cannot be read must be found out here.
                view.validate()
            else:
                params = AMQPMessageInEventParams(self._records, record.session.name, record.name, view)
                outcome = self._outcome
                outer = outcome.metadata, outcome.settable
                if self._handling:
                    self._handling[-1][1]._metadata = outer[0]
                # The settings of the outcome come into being when the handler first touches one.
                outcome.metadata, outcome.settable = None, True
                self._handling.append((view, params))
                try:
                    hook(params)
                finally:
                    metadata = outcome.metadata
                    outcome.metadata, outcome.settable = outer
                    self._handling.pop()
                state = params.state
        except DecodeError as error:
            if not view.broken:
                delivery.settle(RELEASED)
                raise
            delivery.settle(_undecodable(error))
            self._reports.post(error)
            return error
        except BaseException:
            # The program failed on it: somebody else may do better, so nothing is lost.
            delivery.settle(RELEASED)
            raise
        if delivery.settled:
            if params is None or params._sent is None:
                return None
            # The handler has ended the link, and what it had decided by then went out before that.
            state = params._sent
        elif link.state is not _ATTACHED:
            return None  # the peer has ended it meanwhile, and the message is its own again
        elif state == 0 and view.text is not None and not view.problem:
            delivery.settle(ACCEPTED)
        else:
            undecodable = self._settle(delivery, view, state, metadata)
            if undecodable is not None:
                return undecodable
        if self._handlers.on_message_outcome is not None:
            self._outcome.fire(
                AMQPMessageOutcomeEventParams(
                    self._records, record.session.name, record.name, view, OutcomeDirection.Sent, state
                ),
                metadata or OutcomeMetadata(),
            )
        return None

    def _settle(
        self, delivery: IncomingDelivery, view: MessageView, state: int, metadata: OutcomeMetadata | None
    ) -> DecodeError | None:
        """Report the outcome of a message. Returns what is wrong with one that cannot be decoded."""
        if state == 0 and (view.broken or view.text is None) and not view.is_sound():
            # The handler has seen the error and decided nothing, or it has not looked.
            undecodable = DecodeError(
                f"a message on link {delivery.link.context.name!r} cannot be decoded: {view.problem}"
            )
            delivery.settle(_undecodable(undecodable))
            self._reports.post(undecodable)
            return undecodable
        delivery.settle(ACCEPTED if state == 0 else _delivery_state(state, metadata or OutcomeMetadata()))
        return None

    def settle_handled(self, concerns: Callable[[LinkRecord], bool]) -> None:
        """A handler is about to end links: the messages that are being handled get the outcomes decided so far, as
        long as they can be told."""
        for number, (view, params) in enumerate(self._handling, 1):
            delivery = view.delivery
            assert isinstance(delivery, IncomingDelivery)
            if delivery.settled or delivery.link.state is not _ATTACHED or not concerns(delivery.link.context):
                continue
            innermost = number == len(self._handling)
            metadata = self._outcome.metadata if innermost else params._metadata
            undecodable = self._settle(delivery, view, params.state, metadata)
            params._sent = None if undecodable is not None else params.state

    # -- fetching --------------------------------------------------------------------------------------------------

    def fetch(self, link_name: str) -> None:
        """Ask a fetch link for one message; see ``AMQP.fetch_message``."""
        pump = self._loop.connected_pump()
        record = self._records.links.find(link_name)
        if not isinstance(record, ReceiverRecord):
            raise AMQPError(600, f"link {link_name!r} is a sender link; messages are fetched over receiver links")
        if record.automatic:
            raise AMQPError(600, f"link {link_name!r} receives automatically; only fetch links can fetch")
        if record.fetching is not None:
            raise AMQPError(600, f"link {link_name!r} is being fetched from already")
        if record.late:
            self._deliver_fetched(record.late.popleft())
            return
        link = record.engine
        waiting: list[IncomingDelivery] = []
        count = len(self._fetched)
        try:
            pump.waiter.begin()
            self._loop.calls.clean_up = self._clean_up
            self._fetches.append(record)
            record.fetching = waiting
            if not self._await_fetched(record, waiting):
                self._drain(record, waiting)
            # In one step from one list to the other: a signal handler may raise in between.
            self._fetched += [waiting.pop(0)] if waiting else []
        finally:
            pump.waiter.end()
            self._end_fetch(record)
        if len(self._fetched) > count and not self._fetched[-1].settled and not link.attached:
            self._fetched.pop()  # the link ended behind it, and the message is the sender's again
        if len(self._fetched) == count:
            self._records.links.find(link_name)
            limit = seconds(self._properties.fetch_timeout)
            raise AMQPTimeoutError(f"no message arrived on link {link_name!r} within {limit}")
        self._deliver_fetched(self._fetched[-1])

    def _end_fetch(self, record: ReceiverRecord) -> None:
        """Nobody waits for messages on a link any more: give back the credit, and what came of it."""
        waiting, record.fetching = record.fetching or [], None
        link = record.engine
        if link.attached and link.credit > 0 and not link.drain:
            link.flow(link.credit, drain=True)
            self._loop.let_out()
        for delivery in waiting:
            record.take_fetched(delivery)
        if record in self._fetches:
            self._fetches.remove(record)

    def _clean_up(self) -> None:
        """What an exception of a signal handler has left of a fetch."""
        while self._fetches:
            self._end_fetch(self._fetches[0])
        while self._fetched:
            delivery = self._fetched.pop()
            if delivery.settled:
                delivery.link.context.late.append(delivery)
            else:
                delivery.settle(RELEASED)
        self._loop.calls.clean_up = None

    def _await_fetched(self, record: ReceiverRecord, waiting: list[IncomingDelivery]) -> bool:
        """Give one credit and wait for what comes of it, at most for ``fetch_timeout``; False when the time is up."""
        link = record.engine

        def draining() -> bool:
            return link.drain and link.credit > 0

        clock, work = self._loop.clock, self._loop.work
        start = clock()
        limit = float(self._properties.fetch_timeout)
        what = f"fetching a message over link {record.name!r}"
        # An earlier fetch may have given up, and the peer not said yet whether its credit is used. New credit given now
        # would be taken back with the old; and should a message come after all, it is as good as any.
        if draining() and not work(
            lambda: bool(waiting) or not draining() or not link.attached, limit, what, absolute=True, patient=True
        ):
            return False
        if waiting or not link.attached:
            return True
        link.flow(1)
        if limit > 0:
            limit = max(limit - (clock() - start), 0.001)
        if work(lambda: bool(waiting) or not link.attached, limit, what, absolute=True, patient=True):
            return True
        return self._await_rest(record, waiting)

    def _await_rest(self, record: ReceiverRecord, waiting: list[IncomingDelivery]) -> bool:
        """The time is up, but a message has begun to arrive: wait for the rest of it for as long as bytes move.

        Given up now it would come again with the next fetch, and never be whole in time. False when there is none.
        """
        link = record.engine
        engine = self._loop.engine
        if engine is None or not engine.arriving(link):
            return False
        self._loop.answer(
            lambda: bool(waiting) or not link.attached or not engine.arriving(link),
            f"receiving the rest of a message over link {link.name!r}",
            absolute=False,
        )
        return bool(waiting) or not link.attached

    def _deliver_fetched(self, delivery: IncomingDelivery) -> None:
        """Hand over the result of a fetch. The one event that fires inside a handler: it is what the call is for."""
        try:
            with self._loop.calls.in_handler():
                error = self._deliver(delivery)
        finally:
            if delivery in self._fetched:
                self._fetched.remove(delivery)
        self._loop.flushed()
        self._loop.dispatch()
        if error is not None:
            # Whoever fetches would take the message before it for the new one.
            raise error

    def _drain(self, record: ReceiverRecord, waiting: list[IncomingDelivery]) -> None:
        """The time is up: take the credit back, or what the sender makes of it (transport, "synchronous get")."""
        link = record.engine
        link.flow(link.credit, drain=True)
        if self._loop.work(
            lambda: bool(waiting) or link.credit == 0 or link.returned or not link.attached,
            min(self._properties.limit, _DRAIN_PATIENCE),
            f"draining link {record.name!r}",
            absolute=True,
            patient=True,
        ):
            # Credit that was used is none that was given back.
            if not self._await_rest(record, waiting) and link.credit > 0 and link.attached:
                link.forget_credit()
        elif not self._await_rest(record, waiting):
            # A peer that does not answer a drain: should a message come after all, it is returned.
            self._log(1, "Info", f"the peer did not answer the drain of link {record.name!r}")

    # -- views -----------------------------------------------------------------------------------------------------

    def _partials(self) -> dict[IncomingDelivery, None]:
        engine = self._loop.engine
        return engine.partials if engine is not None else {}

    @property
    def count(self) -> int:
        """How many messages are partly here, or in the hands of handlers: ``incoming_message_count``."""
        return len(self._partials()) + len(self._handling)

    def at(self, index: int) -> MessageView:
        """The message at an index, for ``incoming_message_...``."""
        partials = self._partials()
        count = len(partials)
        check_index(index, count + len(self._handling), "incoming_message_index")
        if index >= count:
            return self._handling[index - count][0]
        # Listed anew only when something has arrived meanwhile, so that a loop over thousands of them is cheap.
        pump = self._loop.pump
        key = (pump, pump.moved if pump is not None else 0, count)
        messages = self._cache
        if messages is None or key != self._cache_key:
            messages = self._cache = list(partials)
            self._cache_key = key
        message = messages[index]
        if isinstance(message, MessageView):
            return message
        record: LinkRecord | None = message.link.context
        name = record.name if record is not None else message.link.name
        # Of a message that is still arriving the sections that are here can be read; fields of others are absent.
        payload = whole_sections(message.payload)
        # The view replaces the delivery, so that reading several fields joins and decodes what is there only once.
        view = messages[index] = MessageView(payload, name, message.settled, message, self._settings)
        return view


def _delivery_state(state: int, metadata: OutcomeMetadata) -> Rejected | Released | Modified:
    if state == MessageState.Released:
        return RELEASED
    if state == MessageState.Rejected:
        return metadata.rejected()
    return metadata.modified()


def _undecodable(error: DecodeError) -> Rejected:
    return Rejected(error=Error(condition=Symbol(ErrorCondition.DECODE_ERROR), description=error.message))

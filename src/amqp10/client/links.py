"""A link as the program wants it: it outlives the engine's links, which die with a session or a connection."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar
from uuid import uuid4

from amqp10.client.closing import Ending
from amqp10.client.recovery import Backoff, may_pass
from amqp10.client.wait import Waits
from amqp10.conditions import ErrorCondition
from amqp10.errors import (
    AMQPError,
    AMQPTimeoutError,
    ClosedError,
    FilterRefusedError,
    LinkDetachedError,
    LinkRefusedError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amqp10.client.client_options import ClientOptions
    from amqp10.client.driver import Driver
    from amqp10.client.options import ReceiverSpec, SenderSpec
    from amqp10.engine import LinkAttached, LinkDetached, LinkEndpoint, OutgoingDelivery, Session

__all__ = ["Batched", "LinkCore", "LinkOwner", "LinkSession", "Stage", "Unwritten"]


L = TypeVar("L", bound="LinkEndpoint")
"""The engine's link."""


class Stage(Enum):
    """Where a link is between the program's wish and its end."""

    WAITING = auto()
    """For its session, or for the time of the next attempt."""
    ATTACHING = auto()
    ATTACHED = auto()
    CLOSING = auto()
    """The program closed it: what is in flight comes to its end first."""
    DETACHING = auto()
    OVER = auto()


class Batched(Protocol):
    """Something that says once for a batch of messages what is to be said about them."""

    def batch_done(self) -> None:
        """The batch is over."""
        ...


class Unwritten(Protocol):
    """Something with messages that the session window holds back."""

    def note_written(self) -> None:
        """The window may have let some of them out."""
        ...


class LinkSession(Protocol):
    """What a link needs of its session: see :class:`amqp10.client.sessions.SessionCore`."""

    links: dict[LinkCore[Any], None]
    engine: Session | None
    due: float | None

    @property
    def can_carry(self) -> bool:
        """Whether links can be attached now."""
        ...

    def begin(self) -> None:
        """Begin, and attach the links."""
        ...

    def adopt(self, link: LinkCore[Any]) -> None:
        """Take over a link of another session."""
        ...


class LinkOwner(Protocol):
    """What sessions and links need of the connection: see :class:`amqp10.client.core.ClientCore`."""

    driver: Driver
    options: ClientOptions
    paused: bool
    down_error: AMQPError | None
    touched: set[Batched]
    """Receivers that have something to say before the next bytes are written."""
    unwritten: set[Unwritten]
    """Senders with settled messages that wait for the session window."""

    def refuse(self) -> None:
        """Raise the reason why the connection cannot be used, if there is one."""
        ...

    def private_session(self) -> LinkSession:
        """A session for a link that endangers others."""
        ...

    def in_grace(self, now: float) -> bool:
        """Whether it is shortly after a reconnection."""
        ...

    def attend(self) -> None:
        """Something is to be done, now or later."""
        ...

    def progress(self) -> None:
        """A link has come or gone."""
        ...

    def sends_again(self) -> None:
        """A sender has sent again what may have arrived."""
        ...


_ATTACHED: Final = Stage.ATTACHED
_UNDER_WAY: Final = (Stage.ATTACHING, Stage.ATTACHED, Stage.CLOSING, Stage.DETACHING)


class LinkCore(Generic[L]):
    """What senders and receivers have in common.

    Attributes:
        stage: where it is.
        link: the engine's link of the present attachment; None while there is none.
        error: why it is over; None while it is not.
        address: where its messages come from or go to; of a dynamic node what the peer calls it now.
        due: when something has to be done about it: a new attempt, or an end to waiting. None for never.
    """

    is_receiver: bool
    patience: float | None = None
    """For how many seconds a link that is being closed waits to come to rest, at most; None: as long as there is."""

    def __init__(self, core: LinkOwner, session: LinkSession, spec: SenderSpec | ReceiverSpec) -> None:
        self.core = core
        self.session: LinkSession = session
        self.stage: Stage = Stage.WAITING
        self.link: L | None = None
        self.error: AMQPError | None = None
        self.address: str | None = spec.address
        self._base_name: str = spec.name or uuid4().hex
        self.name: str = self._base_name
        self._named = spec.name is not None
        self._attachments = 0
        self.due: float | None = None
        self._close_by: float | None = None
        self._attached_at: float | None = None
        """When its last attachment began; None when an attempt to attach has failed since."""
        self.was_attached: bool = False
        self.shared: bool = False
        """Whether others use it as soon as it is attached: who attaches it may not take it back then."""
        self._last_refusal: AMQPError | None = None
        self._ready = Waits(core.driver)
        self._gone = Waits(core.driver)
        self.backoff: Backoff = Backoff(core.options.policy, 1, core.options.random)
        session.links[self] = None

    # -- what the two kinds add ------------------------------------------------------------------------------------

    def _send_attach(self, name: str) -> L:
        raise NotImplementedError

    def _missing_filters(self, link: L) -> Sequence[str]:
        return ()

    def _started(self) -> None:
        """The link is attached."""
        raise NotImplementedError

    def _stopped(self, ending: Ending, undelivered: Sequence[OutgoingDelivery], error: AMQPError | None) -> None:
        """The link carries no messages any more."""
        raise NotImplementedError

    def _left_on(self, link: L) -> Sequence[OutgoingDelivery]:
        """What is on a link that ends from this side, without an outcome."""
        return ()

    def _at_rest(self) -> bool:
        """Whether a link that is being closed can be detached now."""
        raise NotImplementedError

    # -- attach ----------------------------------------------------------------------------------------------------

    def attach(self) -> None:
        """Attach on the session as it is now."""
        if not self._named and self._attachments:
            # A half-dead old connection must not be able to steal the link.
            self.name = f"{self._base_name}-{self._attachments}"
        self._attachments += 1
        try:
            link = self._send_attach(self.name)
        except AMQPError as error:
            self.fail(error)
            return
        link.context = self
        self.link = link
        self.stage = Stage.ATTACHING
        timeout = self.core.options.timeout
        if self.was_attached:
            self.due = None if timeout is None else self.core.driver.clock() + timeout
        self.core.attend()

    def attached(self, event: LinkAttached) -> None:
        """The peer's attach is here."""
        link = self.link
        if link is None or event.link is not link or self.stage is not Stage.ATTACHING:
            return
        missing = self._missing_filters(link)
        if missing:
            names = ", ".join(missing)
            self.fail(FilterRefusedError(f"the peer attached the link without the filter {names}"))
            return
        terminus = link.source if self.is_receiver else link.target
        address = getattr(terminus, "address", None)
        if address is not None and (self.address is None or getattr(terminus, "dynamic", False)):
            self.address = str(address)
        self.stage = Stage.ATTACHED
        self._attached_at = self.core.driver.clock()
        self.due = None
        self.was_attached = True
        self._started()
        self._ready.set()
        self.core.progress()

    @property
    def credit(self) -> int:
        """The link's credit now; 0 while it is not attached."""
        link = self.link
        return link.credit if link is not None and self.stage is _ATTACHED else 0

    @property
    def max_message_size(self) -> int:
        """The largest message that may be sent, in bytes; 0 for no limit."""
        return 0 if self.link is None else int(self.link.send_limit)

    @property
    def remote_properties(self) -> dict[str, Any]:
        """The link properties that the peer stated."""
        attach = None if self.link is None else self.link.remote_attach
        return {} if attach is None else {str(name): value for name, value in (attach.properties or {}).items()}

    async def wait_ready(self, deadline: float | None) -> None:
        """Until a link that somebody else attaches is attached. Errors as for :meth:`wait_attached`; the link stays."""
        while not self.was_attached:
            if self.error is not None:
                raise self.error
            await self._ready.wait(deadline)

    async def wait_back(self, deadline: float | None) -> None:
        """Until a link that was lost is attached again, or over."""
        while self.stage is not _ATTACHED and self.error is None:
            await self._ready.wait(deadline)

    async def wait_attached(self, deadline: float | None) -> None:
        """Until the link is attached for the first time.

        Raises:
            LinkError: the peer refused it.
            AMQPTimeoutError: it did not answer in time.
        """
        try:
            await self.wait_ready(deadline)
        except BaseException as error:
            if not (self.shared and self.was_attached):
                self.withdraw()
            if isinstance(error, AMQPTimeoutError) and self._last_refusal is not None:
                raise self._last_refusal from None
            raise

    def withdraw(self) -> None:
        """Nobody wants the link any more: a detach follows its attach, whatever the peer says."""
        if self.stage is not Stage.OVER:
            self._end(Ending.CLOSED, (), ClosedError("the link was given up before it was attached"), detach=True)

    # -- endings ---------------------------------------------------------------------------------------------------

    def detached(self, event: LinkDetached) -> None:
        """The link is over on the peer's side, or because the peer broke a rule on it."""
        if event.link is not self.link:
            return
        undelivered = event.undelivered
        self.link = None
        if self.stage in (Stage.CLOSING, Stage.DETACHING):
            self._end(Ending.CLOSED, undelivered, ClosedError("the link is closed"))
            return
        self._ended_with(self._told(event), undelivered, broke=event.error is not None and not event.refused)

    @property
    def attaching(self) -> bool:
        """Whether the peer has not answered its attach."""
        return self.stage is Stage.ATTACHING

    def refused_with_session(self, cause: AMQPError) -> None:
        """The peer ended the session instead of answering the attach. A further attempt has a session of its own."""
        self.link = None
        error = LinkRefusedError(cause.message, condition=cause.condition)
        error.__cause__ = cause
        self._ended_with(error, (), broke=False)
        if self.stage is Stage.WAITING:
            self.core.private_session().adopt(self)

    def _ended_with(self, error: AMQPError, undelivered: Sequence[OutgoingDelivery], *, broke: bool) -> None:
        self._last_refusal = error
        now = self.core.driver.clock()
        if self._attached_at is not None and now - self._attached_at >= self.core.options.policy.max_delay:
            self.backoff.reset()  # it has held for long enough to say that it works
        self._attached_at = None
        self.backoff.begin(now)
        policy = self.core.options.policy
        first = not self.was_attached and not self.core.in_grace(now)
        retryable = may_pass(error, policy.retry, grace=not first and self.core.in_grace(now), first=first)
        error.retryable = retryable
        if not retryable or not self.core.options.recovers or not self.backoff.goes_on(error, now):
            self._end(Ending.REFUSED, undelivered, error)
            return
        self._interrupted(undelivered, error if broke else None)
        self.due = now + self.backoff.delay()
        self.backoff.attempts += 1
        self.core.attend()

    @staticmethod
    def _told(event: LinkDetached) -> AMQPError:
        kind = LinkRefusedError if event.refused else LinkDetachedError
        cause = event.error
        if cause is None:
            what = "refused the link" if event.refused else "detached the link"
            error = kind(f"the peer {what} and gave no reason", condition=ErrorCondition.DETACH_FORCED)
        else:
            error = kind(cause.message, condition=cause.condition)
            error.description = cause.description
            error.info = cause.info
            error.__cause__ = cause
        return error

    def _interrupted(self, undelivered: Sequence[OutgoingDelivery], error: AMQPError | None) -> None:
        self.link = None
        self.stage = Stage.WAITING
        self._stopped(Ending.LOST, undelivered, error)

    def lost(self, undelivered: Sequence[OutgoingDelivery]) -> None:
        """The connection or the session is gone and will come back, and the link with it."""
        if self.stage is Stage.OVER:
            return
        if self.stage in (Stage.CLOSING, Stage.DETACHING):
            self._end(Ending.CLOSED, undelivered, ClosedError("the link is closed"))
            return
        if self.was_attached:
            self.due = None
        self._interrupted(undelivered, None)

    def fail(
        self,
        error: AMQPError,
        undelivered: Sequence[OutgoingDelivery] = (),
        ending: Ending = Ending.REFUSED,
    ) -> None:
        """The link is over for good."""
        if self.stage is not Stage.OVER:
            self._end(ending, undelivered, error, detach=ending is Ending.REFUSED)

    def _end(
        self,
        ending: Ending,
        undelivered: Sequence[OutgoingDelivery],
        error: AMQPError,
        *,
        detach: bool = False,
    ) -> None:
        link, self.link = self.link, None
        if link is not None and not undelivered:
            undelivered = self._left_on(link)
        self.stage = Stage.OVER
        self.error = error
        self.due = None
        if detach and link is not None and link.session.can_send:
            link.detach()
            self.core.driver.kick()
        self.session.links.pop(self, None)
        self._stopped(ending, undelivered, error)
        self._ready.set()
        self._gone.set()
        self.core.progress()

    # -- closing ---------------------------------------------------------------------------------------------------

    def start_closing(self, deadline: float | None) -> None:
        """Close: what is in flight comes to its end first, as far as the time allows. Goes on by itself."""
        if self.stage is Stage.OVER:
            return
        if self.stage in (Stage.CLOSING, Stage.DETACHING):
            if deadline is not None and (self.due is None or deadline < self.due):
                self.due = deadline
                self.core.attend()
            return
        if self.stage is not _ATTACHED:
            self._end(Ending.CLOSED, (), ClosedError("the link is closed"), detach=True)
            return
        self.stage = Stage.CLOSING
        self._close_by = self.due = deadline
        if self.patience is not None:
            patience = self.core.driver.clock() + self.patience
            self.due = patience if deadline is None else min(deadline, patience)
        self._wind_down()
        self.core.attend()
        self.advance_closing()

    def _wind_down(self) -> None:
        """Take nothing new."""
        raise NotImplementedError

    def advance_closing(self) -> None:
        """Detach when all has come to its end."""
        if self.stage is Stage.CLOSING and self._at_rest():
            self._detach()

    def _detach(self) -> None:
        link = self.link
        assert link is not None  # what is being closed is over when its link is
        self.stage = Stage.DETACHING
        self.due = self._close_by
        self._before_detach()
        self._detach_link(link)
        self.core.driver.kick()

    def _detach_link(self, link: L) -> None:
        link.detach()

    def _before_detach(self) -> None:
        """The last chance to say something on the link."""

    async def wait_gone(self) -> None:
        """Until the link is over."""
        while self.stage is not Stage.OVER:
            # The time is kept by the core, so that an interrupted close goes on.
            await self._gone.wait(None)

    # -- time ------------------------------------------------------------------------------------------------------

    def at_due(self, now: float) -> None:
        """What had to happen by now has not happened, or is to be tried again."""
        if self.due is None or now < self.due:
            return
        if self.stage is Stage.CLOSING and (self._close_by is None or now < self._close_by):
            self._detach()
        elif self.stage in (Stage.CLOSING, Stage.DETACHING):
            self._end(Ending.CLOSED, (), ClosedError("the link is closed"), detach=True)
        elif self.stage is Stage.ATTACHING:
            if self.was_attached:
                link, self.link = self.link, None
                if link is not None and link.session.can_send:
                    link.detach()
                self.backoff.begin(now)
                self.stage = Stage.WAITING
                self.due = now + self.backoff.delay()
                self.backoff.attempts += 1
            else:
                self.due = None  # whoever waits for it has the same deadline
        elif self.stage is Stage.WAITING:
            self.due = None
            if self.session.can_carry:
                self.attach()
            elif self.session.engine is None and self.session.due is None:
                self.session.begin()

"""Sessions as the program wants them, with their links (transport, "sessions")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from amqp10.client.closing import Ending
from amqp10.client.links import LinkOwner
from amqp10.client.recovery import Backoff, may_pass
from amqp10.errors import AMQPError, ClosedError, SessionEndedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from amqp10.client.incarnation import Incarnation
    from amqp10.client.links import LinkCore
    from amqp10.engine import OutgoingDelivery, Session, SessionEnded

__all__ = ["SessionCore", "SessionOwner", "Sessions"]


class SessionOwner(LinkOwner, Protocol):
    """What a session needs of the connection, for itself and for its links."""

    incarnation: Incarnation | None
    sessions: Sessions


class SessionCore:
    """A session; recovered with its links, in the order in which they were made.

    Args:
        core: the connection.
        incoming_window: how many transfer frames the peer may send before this side must answer.
        outgoing_window: stated to the peer.
    """

    def __init__(self, core: SessionOwner, incoming_window: int = 2048, outgoing_window: int = 2048) -> None:
        self.core = core
        self.incoming_window = incoming_window
        self.outgoing_window = outgoing_window
        self.engine: Session | None = None
        self.links: dict[LinkCore[Any], None] = {}
        self.error: AMQPError | None = None
        self.due: float | None = None
        self.private = False
        """Whether it was made for one link, and goes with it."""
        self._begun_at = 0.0
        self.backoff: Backoff = Backoff(core.options.policy, 1, core.options.random)

    @property
    def can_carry(self) -> bool:
        """Whether links can be attached now."""
        return self.engine is not None and self.engine.can_send

    def begin(self) -> None:
        """Begin, and attach the links right after: nothing of it waits for the peer."""
        incarnation = self.core.incarnation
        if incarnation is None or not incarnation.opened or self.error is not None:
            return
        self.due = None
        try:
            self.engine = incarnation.engine.begin(
                incoming_window=self.incoming_window, outgoing_window=self.outgoing_window
            )
        except AMQPError as error:
            self.fail(error)
            return
        self.engine.context = self
        self._begun_at = self.core.driver.clock()
        for link in list(self.links):
            link.attach()
        self.core.driver.kick()

    def ended(self, event: SessionEnded) -> None:
        """The session is over, by the peer or because it broke a rule."""
        if event.session is not self.engine:
            return
        self.engine = None
        if self.error is not None:
            self._spread(event.undelivered, None, self.error)
            return
        now = self.core.driver.clock()
        cause = event.error
        text = cause.message if cause is not None else "the peer ended the session and gave no reason"
        error = SessionEndedError(text, condition=cause.condition if cause is not None else None)
        error.__cause__ = cause
        refused = self._refused_link() if event.by_peer and cause is not None else None
        if refused is not None:
            # RabbitMQ ends the session when it refuses a link. That must not cost the other links anything.
            refused.refused_with_session(error)
            retryable = True
        else:
            if now - self._begun_at >= self.core.options.policy.max_delay:
                self.backoff.reset()
            self.backoff.begin(now)
            retryable = cause is None or may_pass(error, self.core.options.policy.retry)
        if not self.core.options.recovers or not retryable:
            self.fail(error, event.undelivered)
            return
        self._spread(event.undelivered, Ending.LOST, error)
        if not self.links:
            self.due = None
            self.core.sessions.discard(self)
            return
        self.due = now + (0.0 if refused is not None else self.backoff.delay())
        self.backoff.attempts += refused is None
        self.core.attend()

    def _refused_link(self) -> LinkCore[Any] | None:
        """The link that the peer ended the session for: the first one whose attach it has not answered."""
        return next((link for link in self.links if link.attaching), None)

    def adopt(self, link: LinkCore[Any]) -> None:
        """Take over a link of another session."""
        link.session.links.pop(link, None)
        link.session = self
        self.links[link] = None

    def lost(self, undelivered: Sequence[OutgoingDelivery]) -> None:
        """The connection is gone, and the session with it."""
        self.engine = None
        self.due = None
        self._spread(undelivered, Ending.LOST, None)

    def fail(
        self, error: AMQPError, undelivered: Sequence[OutgoingDelivery] = (), ending: Ending = Ending.REFUSED
    ) -> None:
        """The session is over for good, with everything on it."""
        self.error = error
        self.engine = None
        self.due = None
        self._spread(undelivered, ending, error)
        self.core.sessions.discard(self)

    def _spread(self, undelivered: Sequence[OutgoingDelivery], ending: Ending | None, error: AMQPError | None) -> None:
        per_link: dict[object, list[OutgoingDelivery]] = {}
        for delivery in undelivered:
            per_link.setdefault(delivery.link, []).append(delivery)
        for link in list(self.links):
            mine = per_link.get(link.link, ())
            if ending is Ending.LOST or ending is None or error is None:
                link.lost(mine)
            else:
                link.fail(error, mine, ending)

    def at_due(self, now: float) -> None:
        """Try again what is to be tried again by now."""
        if self.due is not None and now >= self.due:
            self.begin()

    def close(self, deadline: float | None) -> None:
        """Close its links; the session ends when they are gone."""
        if self.error is None:
            self.error = ClosedError("the session is closed")
        for link in list(self.links):
            link.start_closing(deadline)
        self.advance_closing()

    def advance_closing(self) -> None:
        """End the session when its last link is gone."""
        if self.links or self not in self.core.sessions or (self.error is None and not self.private):
            return
        engine, self.engine = self.engine, None
        self.core.sessions.discard(self)
        if engine is not None and engine.mapped and engine.can_send:
            engine.end()
            self.core.driver.kick()


class Sessions:
    """The sessions of a connection, in the order in which they were made, and what is done with all of them.

    One that is over is no longer among them. Iterating goes over those of now, whatever happens to them meanwhile.

    Args:
        owner: the connection.
    """

    __slots__ = ("_default", "_owner", "_sessions")

    def __init__(self, owner: SessionOwner) -> None:
        self._owner = owner
        self._sessions: dict[SessionCore, None] = {}
        self._default: SessionCore | None = None

    def __iter__(self) -> Iterator[SessionCore]:
        return iter(list(self._sessions))

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session: object) -> bool:
        return session in self._sessions

    def add(self, incoming_window: int = 2048, outgoing_window: int = 2048) -> SessionCore:
        """Another session. It begins when :meth:`SessionCore.begin` is called."""
        session = SessionCore(self._owner, incoming_window, outgoing_window)
        self._sessions[session] = None
        return session

    def discard(self, session: SessionCore) -> None:
        """The session is over."""
        self._sessions.pop(session, None)

    def default(self) -> SessionCore:
        """The session of links that were not given one."""
        session = self._default
        if session is None or session not in self._sessions:
            session = self._default = self.add()
            session.begin()
        return session

    @property
    def links(self) -> list[LinkCore[Any]]:
        """The links of all sessions."""
        return [link for session in self._sessions for link in session.links]

    def begin(self) -> None:
        """Begin all, and attach their links: the connection is open."""
        for session in self:
            session.begin()

    def lost(self, undelivered: Sequence[OutgoingDelivery]) -> None:
        """The connection is gone and will come back.

        Args:
            undelivered: what was on its links without an outcome.
        """
        per_session = _by_session(undelivered)
        for session in self:
            session.lost(per_session.get(session.engine, ()))

    def fail(self, error: AMQPError, undelivered: Sequence[OutgoingDelivery], ending: Ending) -> None:
        """The connection is over for good. Arguments as for :meth:`lost` and :meth:`SessionCore.fail`."""
        per_session = _by_session(undelivered)
        for session in self:
            session.fail(error, per_session.get(session.engine, ()), ending)

    def close(self, deadline: float | None) -> None:
        """Close all, with their links."""
        for session in self:
            session.close(deadline)

    def advance_closing(self) -> None:
        """End those whose last link is gone."""
        for session in self:
            session.advance_closing()

    def next_due(self) -> float | None:
        """When something has to be done next about one of them, or about a link."""
        times = [link.due for link in self.links if link.due is not None]
        times += [session.due for session in self._sessions if session.due is not None]
        return min(times, default=None)

    def at_due(self, now: float) -> None:
        """Do what is due by now."""
        for session in self:
            session.at_due(now)
            for link in list(session.links):
                link.at_due(now)


def _by_session(undelivered: Sequence[OutgoingDelivery]) -> dict[object, list[OutgoingDelivery]]:
    found: dict[object, list[OutgoingDelivery]] = {}
    for delivery in undelivered:
        found.setdefault(delivery.link.session, []).append(delivery)
    return found

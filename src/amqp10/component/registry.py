"""What the component knows of its sessions and links: names, order, and what became of the ones that are gone.

Names are looked up for every message, indexes only when somebody asks; both stay cheap with thousands of links.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from amqp10.client.credit import CreditWindow
from amqp10.component.enums import LinkRole, ReceiveMode
from amqp10.component.messages import Beginning
from amqp10.component.ordered import Ordered
from amqp10.errors import AMQPError
from amqp10.wire.messaging import RELEASED

if TYPE_CHECKING:
    from amqp10.engine import IncomingDelivery, ReceiverLink, SenderLink, Session

__all__ = ["LinkRecord", "ReceiverRecord", "Records", "Registry", "SenderRecord", "SessionRecord"]

_MOST_CREDIT = 2**31 - 1
"""Beyond it, serial numbers cannot tell more from less (RFC 1982; transport, "flow control")."""
_REMEMBERED = 1000
"""How many ended names are remembered with the error that ended them."""


class SessionRecord:
    """A session under the name that the program gave it. Its attributes are what ``session_*`` shows."""

    __slots__ = ("attaching", "closed", "engine", "link_limit", "links", "name")

    def __init__(self, name: str, engine: Session, link_limit: int) -> None:
        self.name: str = name
        self.engine: Session = engine
        self.link_limit: int = link_limit
        self.links: dict[str, LinkRecord] = {}
        self.closed: bool = False
        """Whether the program has closed it."""
        self.attaching: int = 0
        """How many calls wait for a link of it to be attached: an end of the session is reported by them."""

    @property
    def incoming_window(self) -> int:
        return self.engine.incoming_window

    @property
    def outgoing_window(self) -> int:
        return self.engine.outgoing_window


class LinkRecord:
    """A link under the name that the program gave it. Its attributes are what ``link_*`` shows."""

    __slots__ = ("attaching", "closed", "engine", "name", "session")

    role: LinkRole
    engine: SenderLink | ReceiverLink
    receive_mode: ReceiveMode = ReceiveMode.rmAutomatic

    def __init__(self, name: str, session: SessionRecord, engine: SenderLink | ReceiverLink) -> None:
        self.name: str = name
        self.session: SessionRecord = session
        self.engine = engine
        self.closed: bool = False
        """Whether the program has closed it."""
        self.attaching: bool = True
        """Whether the call that makes it has not returned yet: what ends it is reported by that call."""

    @property
    def channel_name(self) -> str:
        return self.session.name

    @property
    def credit(self) -> int:
        return self.engine.credit

    @property
    def delivery_count(self) -> int:
        return self.engine.delivery_count

    @property
    def available(self) -> int:
        return self.engine.available

    @property
    def ready_to_send(self) -> bool:
        return False


class SenderRecord(LinkRecord):
    """A sender link."""

    __slots__ = ("announced",)

    role = LinkRole.lrSender
    engine: SenderLink  # pyright: ignore[reportIncompatibleVariableOverride] - assigned once, in __init__

    def __init__(self, name: str, session: SessionRecord, engine: SenderLink) -> None:
        super().__init__(name, session, engine)
        self.announced: bool = False
        """Whether the program has been told that there is credit, since there was none."""

    @property
    def ready_to_send(self) -> bool:
        engine = self.engine
        return engine.attached and engine.credit > 0 and engine.window.remote_incoming > 0 and not engine.backlog


class ReceiverRecord(LinkRecord):
    """A receiver link, with how its credit is kept up."""

    __slots__ = ("automatic", "beginning", "fetching", "late", "queued", "receive_mode", "window")

    role = LinkRole.lrReceiver
    engine: ReceiverLink  # pyright: ignore[reportIncompatibleVariableOverride] - assigned once, in __init__

    def __init__(
        self, name: str, session: SessionRecord, engine: ReceiverLink, mode: ReceiveMode, credit: int, threshold: int
    ) -> None:
        super().__init__(name, session, engine)
        self.receive_mode: ReceiveMode = mode
        self.automatic: bool = mode is ReceiveMode.rmAutomatic
        credit = min(credit, _MOST_CREDIT)
        self.window: CreditWindow = CreditWindow(credit, min(threshold, credit - 1) if credit > 0 else 0)
        self.beginning: Beginning = Beginning()
        self.queued: int = 0
        """Messages that have arrived and wait to be handled."""
        self.fetching: list[IncomingDelivery] | None = None
        """While a fetch waits: where its delivery is put."""
        self.late: deque[IncomingDelivery] = deque()
        """Settled messages that came when no fetch waited (any more); the next fetch takes them."""

    def take_fetched(self, delivery: IncomingDelivery) -> None:
        """A message on a fetch link: for the fetch that waits, or one that comes late."""
        if self.fetching is not None:
            if delivery not in self.fetching:
                self.fetching.append(delivery)
        elif delivery.settled:
            # Nobody would send it again, so the next fetch gets it.
            if delivery not in self.late:
                self.late.append(delivery)
        else:
            delivery.settle(RELEASED)

    def renew_credit(self) -> None:
        """Give credit when little of it is left. What waits in the queue counts as credit in use: a slow handler never
        makes the queue grow beyond the credit."""
        due = self.window.due(self.engine.credit, self.queued, 0)
        if due > 0:
            self.engine.flow(due)

    def replace_aborted(self) -> None:
        """The sender gave up a message of which parts had arrived: it took credit, and nothing comes of that."""
        link = self.engine
        if not link.attached:
            return
        if self.automatic:
            self.renew_credit()
        elif self.fetching is not None and not self.fetching and link.credit == 0 and not link.drain:
            link.flow(1)


R = TypeVar("R", SessionRecord, LinkRecord)


class Registry(Generic[R]):
    """Records by name, in the order of their creation, and the errors of names that the peer ended."""

    __slots__ = ("_ended", "_order", "_records", "_reserved", "kind")

    def __init__(self, kind: str) -> None:
        self.kind: str = kind
        self._records: dict[str, R] = {}
        self._order: Ordered[R] | None = None
        """The records with indexes, once somebody has asked for one."""
        self._ended: dict[str, AMQPError] = {}
        self._reserved: set[str] = set()

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, name: str) -> bool:
        return name in self._records

    def values(self) -> list[R]:
        """All records, in order."""
        return list(self._records.values())

    def get(self, name: str) -> R | None:
        """The record of that name, if there is one."""
        return self._records.get(name)

    def add(self, record: R) -> None:
        """Add a record under its name."""
        if self._order is not None and record.name not in self._records:
            self._order.append(record)
        self._records[record.name] = record
        self._reserved.discard(record.name)
        self._ended.pop(record.name, None)

    def remove(self, name: str, error: AMQPError | None = None) -> None:
        """Remove a record; ``error`` is what later uses of the name will be told."""
        record = self._records.pop(name, None)
        if record is not None and self._order is not None:
            self._order.remove(record)
        if error is not None:
            if len(self._ended) >= _REMEMBERED:
                del self._ended[next(iter(self._ended))]
            self._ended[name] = error

    def clear(self) -> None:
        """Forget everything."""
        self._records.clear()
        self._ended.clear()
        self._reserved.clear()
        self._order = None

    def find(self, name: str) -> R:
        """The record of that name.

        Raises:
            AMQPError: 600; there is none. Where the peer ended it, the error says so in the peer's words.
        """
        record = self._records.get(name)
        if record is None:
            self.check_name(name)
            ended = self._ended.get(name)
            if ended is not None:
                error = AMQPError(
                    600, f"the {self.kind} {name!r} has ended: {ended.message}", condition=ended.condition
                )
                error.description, error.info = ended.description, ended.info
                raise error from ended
            raise AMQPError(600, f"there is no {self.kind} named {name!r}")
        return record

    def check_name(self, name: object) -> None:
        """Raise TypeError for a name that is not a str."""
        if not isinstance(name, str):
            raise TypeError(f"a {self.kind} name must be a str, not {type(name).__name__}")

    def reserve(self, name: str) -> None:
        """Take a name for a record that is about to be added, or given up with :meth:`release`.

        Raises:
            AMQPError: 600; the name is taken, or empty.
        """
        self.check_name(name)
        if not name:
            raise AMQPError(600, f"a {self.kind} needs a name")
        if name in self._records or name in self._reserved:
            raise AMQPError(600, f"a {self.kind} named {name!r} exists already")
        self._reserved.add(name)

    def release(self, name: str) -> None:
        """Give a reserved name back."""
        self._reserved.discard(name)

    def index_of(self, name: str) -> int:
        """The index of the record; -1 when it is gone."""
        record = self._records.get(name)
        return -1 if record is None else self._ordered().index(record)

    def _ordered(self) -> Ordered[R]:
        order = self._order
        if order is None:
            order = self._order = Ordered(self._records.values())
        return order

    def at(self, index: int, what: str) -> R:
        """The record at an index.

        Raises:
            AMQPError: 10022; there is no such index.
        """
        check_index(index, len(self._records), what)
        return self._ordered().at(index)


class Records:
    """All that the component knows of its sessions and links."""

    __slots__ = ("links", "sessions")

    def __init__(self) -> None:
        self.sessions: Registry[SessionRecord] = Registry("session")
        self.links: Registry[LinkRecord] = Registry("link")

    def clear(self) -> None:
        """Forget everything, the names that have ended as well."""
        self.sessions.clear()
        self.links.clear()

    def forget_link(self, record: LinkRecord, error: AMQPError | None) -> None:
        """A link is gone; ``error`` is what later uses of its name will be told."""
        self.links.remove(record.name, error)
        record.session.links.pop(record.name, None)

    def forget_session(self, record: SessionRecord, error: AMQPError | None) -> None:
        """A session is gone, and its links with it; ``error`` is what later uses of their names will be told."""
        for link in list(record.links.values()):
            self.forget_link(link, error)
        self.sessions.remove(record.name, error)

    def session_index(self, name: str) -> int:
        """The index of a session; -1 when it is gone."""
        return self.sessions.index_of(name)

    def link_index(self, name: str) -> int:
        """The index of a link; -1 when it is gone."""
        return self.links.index_of(name)


def check_index(index: object, count: int, what: str) -> None:
    """Raise for an index that is not one of ``0 .. count - 1``."""
    if not isinstance(index, int) or isinstance(index, bool):
        raise TypeError(f"{what} must be an int, not {type(index).__name__}")
    if not 0 <= index < count:
        raise AMQPError(10022, f"{what} {index} is out of range: there are {count}")

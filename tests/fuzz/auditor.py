"""One end of a conversation as the wire shows it: what it sends must be legal for what has reached it.

It keeps its own books, from nothing but the frames, so that it does not share the engine's mistakes. Transport,
"session flow control", "flow control" and "transferring a message".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from amqp10.wire.frames import decode_frame_body
from amqp10.wire.performatives import Attach, Begin, Close, Detach, Disposition, End, Flow, Open, Transfer

MASK = 0xFFFFFFFF


def ahead(a: int, b: int) -> int:
    """How far the serial number a is ahead of b; negative when it is behind."""
    return ((a - b + 0x80000000) & MASK) - 0x80000000


class Frames:
    """Cuts a byte stream into frames, however it is fed. The protocol header is passed over."""

    def __init__(self) -> None:
        self.data = b""
        self.headed = False

    def feed(self, data: bytes) -> list[tuple[int, int, Any, int]]:
        """(channel, size, performative, payload size) of each frame that is whole now."""
        self.data += data
        frames = []
        while len(self.data) >= 8:
            if not self.headed:
                assert self.data[:4] == b"AMQP"
                self.headed = True
                self.data = self.data[8:]
                continue
            size = int.from_bytes(self.data[:4], "big")
            if len(self.data) < size:
                break
            body = self.data[:size]
            self.data = self.data[size:]
            if size > 8:
                performative, payload = decode_frame_body(body, 8, size)
                frames.append((int.from_bytes(body[6:8], "big"), size, performative, size - payload))
        return frames


@dataclass(eq=False)
class Book:
    """One link, as this end has to see it."""

    sending: bool
    handle: int | None = None
    detached: bool = False
    count: int = 0
    known: bool = False
    limits: list[int] = field(default_factory=lambda: [0])
    """The delivery limit, and before it those that held since this end last wrote something."""
    earliest: int = 0
    """The delivery count when this end last wrote something."""
    answered: bool = False
    granted_early: int = 0
    drain: bool = False
    partial: int | None = None

    @property
    def highest(self) -> int:
        """The most generous limit of late."""
        best = self.limits[0]
        for limit in self.limits:
            if ahead(limit, best) > 0:
                best = limit
        return best


@dataclass(eq=False)
class SessionBook:
    """One session, as this end has to see it."""

    next_outgoing: int = 0
    initial_outgoing: int = 0
    next_delivery: int | None = None
    next_incoming: int | None = None
    earliest: int = 0
    window_end: int = 0
    highest_end: int = 0
    ended: bool = False
    links: dict[tuple[str, bool], Book] = field(default_factory=dict)
    by_handle: dict[int, Book] = field(default_factory=dict)
    by_remote: dict[int, tuple[str, bool]] = field(default_factory=dict)
    received: set[int] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)


class Auditor:
    """The books of one end. ``sent`` checks what it sends; ``received`` notes what has reached it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.outgoing = Frames()
        self.incoming = Frames()
        self.frame_limit = 512
        self.closed = False
        self.sessions: dict[int, SessionBook] = {}
        """By the channel that this end sends on."""
        self.remote: dict[int, SessionBook] = {}
        self.begun: dict[int, Begin] = {}
        """Begins of the peer that this end has not answered."""
        self.seen: set[str] = set()
        """What has happened on the wire at all, for the test that the rules reach it."""

    # -- what this end sends ---------------------------------------------------------------------------------------

    def sent(self, data: bytes) -> None:
        """Check bytes that this end has written."""
        for channel, size, frame, payload in self.outgoing.feed(data):
            assert not self.closed, f"{self.name} sent {frame!r} behind its close"
            if not isinstance(frame, Open):
                assert size <= self.frame_limit, f"{self.name} sent {size} bytes: {frame!r}"
            self._send(channel, frame, payload)
        for session in self.sessions.values():
            session.highest_end = session.window_end
            session.earliest = session.next_incoming or 0
            for book in session.links.values():
                del book.limits[:-1]
                book.earliest = book.count

    def _send(self, channel: int, frame: Any, payload: int) -> None:
        if isinstance(frame, Open):
            return
        if isinstance(frame, Close):
            self.closed = True
            return
        if isinstance(frame, Begin):
            self._send_begin(channel, frame)
            return
        session = self.sessions.get(channel)
        assert session is not None, f"{self.name} sent {frame!r} on channel {channel}, which has no session"
        assert not session.ended, f"{self.name} sent {frame!r} behind its end"
        if isinstance(frame, End):
            session.ended = True
            self.seen.add("end")
            self._forget(channel, session)
        elif isinstance(frame, Attach):
            self._send_attach(session, frame)
        elif isinstance(frame, Detach):
            book = session.by_handle.pop(int(frame.handle))
            book.detached = True
            self.seen.add("detach for good" if frame.closed else "detach")
        elif isinstance(frame, Flow):
            self._send_flow(session, frame)
        elif isinstance(frame, Transfer):
            self._send_transfer(session, frame, payload)
        elif isinstance(frame, Disposition):
            self._send_disposition(session, frame)

    def _forget(self, channel: int, session: SessionBook) -> None:
        if session.ended and session not in self.remote.values():
            del self.sessions[channel]

    def _send_begin(self, channel: int, begin: Begin) -> None:
        assert channel not in self.sessions, f"{self.name} began on channel {channel}, which is in use"
        session = SessionBook() if begin.remote_channel is None else self.remote[int(begin.remote_channel)]
        session.initial_outgoing = session.next_outgoing = int(begin.next_outgoing_id)
        self.sessions[channel] = session
        if begin.remote_channel is not None:
            self._pair(session, self.begun.pop(int(begin.remote_channel)))

    def _pair(self, session: SessionBook, begin: Begin) -> None:
        if session.next_incoming is None:
            session.next_incoming = session.earliest = int(begin.next_outgoing_id)
        session.window_end = session.highest_end = (session.initial_outgoing + int(begin.incoming_window)) & MASK

    def _send_attach(self, session: SessionBook, attach: Attach) -> None:
        handle = int(attach.handle)
        assert handle not in session.by_handle, f"{self.name} attached handle {handle} twice"
        key = attach.name, not attach.role
        book = session.links.get(key)
        if book is None or book.handle is not None:
            book = session.links[key] = Book(sending=not attach.role)
        book.handle = handle
        session.by_handle[handle] = book
        if book.sending:
            assert attach.initial_delivery_count is not None
            book.count = int(attach.initial_delivery_count)
            book.known = True
            book.limits = [(book.count + book.granted_early) & MASK]

    def _send_flow(self, session: SessionBook, flow: Flow) -> None:
        if session.next_incoming is None:
            assert flow.next_incoming_id is None
        else:
            assert flow.next_incoming_id is not None
            seen = int(flow.next_incoming_id)
            assert ahead(seen, session.earliest) >= 0, f"{self.name} lost count: {flow!r}"
            assert ahead(session.next_incoming, seen) >= 0, f"{self.name} lost count: {flow!r}"
        assert flow.next_outgoing_id == session.next_outgoing, f"{self.name} lost count: {flow!r}"
        if flow.handle is None:
            return
        book = session.by_handle[int(flow.handle)]
        if not book.sending:
            if book.known:
                assert flow.delivery_count is not None
                seen = int(flow.delivery_count)
                assert ahead(seen, book.earliest) >= 0, f"{self.name} is behind {book.earliest}: {flow!r}"
                assert ahead(book.count, seen) >= 0, f"{self.name} is ahead of {book.count}: {flow!r}"
            return
        assert flow.delivery_count is not None
        count = int(flow.delivery_count)
        if count != book.count:
            assert book.drain, f"{self.name} moved its delivery count without being asked: {flow!r}"
            assert book.partial is None
            assert ahead(book.highest, count) >= 0, f"{self.name} moved its delivery count too far: {flow!r}"
            self.seen.add("drained")
        credits = [max(0, ahead(limit, count)) for limit in book.limits]
        assert flow.link_credit in credits, f"{self.name} has credit {credits}: {flow!r}"
        book.count = count

    def _send_transfer(self, session: SessionBook, transfer: Transfer, payload: int) -> None:
        book = session.by_handle[int(transfer.handle)]
        assert book.sending
        assert ahead(session.highest_end, session.next_outgoing) > 0, f"{self.name} overran the session window"
        session.next_outgoing = (session.next_outgoing + 1) & MASK
        if book.partial is None:
            assert ahead(book.highest, book.count) > 0, f"{self.name} overran the credit of its link"
            book.count = (book.count + 1) & MASK
            assert transfer.delivery_id is not None
            assert transfer.delivery_tag is not None
            if session.next_delivery is not None:
                assert transfer.delivery_id == session.next_delivery, "delivery ids must be in sequence"
            session.next_delivery = (int(transfer.delivery_id) + 1) & MASK
            if session.next_delivery == 0:
                self.seen.add("delivery ids wrapped")
            book.partial = int(transfer.delivery_id)
        else:
            assert transfer.delivery_id in (None, book.partial)
            self.seen.add("continued")
        if transfer.aborted:
            self.seen.add("aborted")
        if transfer.aborted or not transfer.more:
            book.partial = None
        else:
            assert payload, "a frame of a large message carries something"

    def _send_disposition(self, session: SessionBook, disposition: Disposition) -> None:
        first = int(disposition.first)
        last = first if disposition.last is None else int(disposition.last)
        assert ahead(last, first) >= 0
        if last < first:
            self.seen.add("disposition across the wrap")
        elif last != first:
            self.seen.add("disposition of a range")
        if not disposition.role:
            return
        for number in range(ahead(last, first) + 1):
            delivery = (first + number) & MASK
            assert delivery in session.received, f"{self.name} has not received {delivery}"
            assert delivery not in session.settled, f"{self.name} settled {delivery} twice"
            if disposition.settled:
                session.settled.add(delivery)

    # -- what has reached it ---------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Note bytes that this end has been given."""
        for channel, _, frame, _ in self.incoming.feed(data):
            self._receive(channel, frame)

    def _receive(self, channel: int, frame: Any) -> None:
        if isinstance(frame, Open):
            self.frame_limit = int(frame.max_frame_size)
            return
        if isinstance(frame, Begin):
            if frame.remote_channel is None:
                self.begun[channel] = frame
                self.remote[channel] = session = SessionBook()
                session.next_incoming = session.earliest = int(frame.next_outgoing_id)
            else:
                session = self.sessions[int(frame.remote_channel)]
                self.remote[channel] = session
                self._pair(session, frame)
            return
        session_or_none = self.remote.get(channel)
        if session_or_none is None or isinstance(frame, Close):
            return
        session = session_or_none
        if isinstance(frame, End):
            del self.remote[channel]
            for number, other in list(self.sessions.items()):
                if other is session:
                    self._forget(number, session)
        elif session.ended:
            self.seen.add("crossed an end")
        elif isinstance(frame, Attach):
            self._receive_attach(session, frame)
        elif isinstance(frame, Detach):
            session.by_remote.pop(int(frame.handle), None)
        elif isinstance(frame, Flow):
            self._receive_flow(session, frame)
        elif isinstance(frame, Transfer):
            self._receive_transfer(session, frame)

    def _receive_attach(self, session: SessionBook, attach: Attach) -> None:
        key = attach.name, bool(attach.role)
        session.by_remote[int(attach.handle)] = key
        book = session.links.get(key)
        if book is None or book.answered:
            book = session.links[key] = Book(sending=bool(attach.role))
        book.answered = True
        if not book.sending and attach.initial_delivery_count is not None:
            book.count = book.earliest = int(attach.initial_delivery_count)
            book.known = True

    def _receive_flow(self, session: SessionBook, flow: Flow) -> None:
        base = session.initial_outgoing if flow.next_incoming_id is None else int(flow.next_incoming_id)
        session.window_end = (base + int(flow.incoming_window)) & MASK
        if ahead(session.window_end, session.highest_end) > 0:
            session.highest_end = session.window_end
        if flow.handle is None:
            return
        key = session.by_remote.get(int(flow.handle))
        book = session.links.get(key) if key is not None else None
        if book is None:
            return
        if not book.sending:
            if flow.delivery_count is not None:
                book.count = int(flow.delivery_count)
            return
        book.drain = bool(flow.drain)
        credit = int(flow.link_credit or 0)
        if not book.known:
            book.granted_early = credit
            return
        start = book.count if flow.delivery_count is None else int(flow.delivery_count)
        book.limits.append((start + credit) & MASK)

    def _receive_transfer(self, session: SessionBook, transfer: Transfer) -> None:
        assert session.next_incoming is not None
        session.next_incoming = (session.next_incoming + 1) & MASK
        key = session.by_remote.get(int(transfer.handle))
        book = session.links.get(key) if key is not None else None
        if transfer.delivery_id is not None:
            session.received.add(int(transfer.delivery_id))
            if book is not None and book.partial is None:
                book.count = (book.count + 1) & MASK
        if book is not None:
            if transfer.delivery_id is not None:
                book.partial = int(transfer.delivery_id)
            if transfer.aborted or not transfer.more:
                book.partial = None

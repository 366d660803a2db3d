"""Two engines joined in memory, and a scripted peer for one: no sockets, no clocks, no sleeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from amqp10.codec.composite import Composite
from amqp10.engine import (
    Connection,
    EndpointRole,
    Event,
    LinkRequested,
    ReceiverLink,
    SenderLink,
    Session,
    SessionRequested,
)
from amqp10.wire.frames import AMQP_HEADER, decode_frame_body, encode_frame
from amqp10.wire.messaging import Source, Target
from amqp10.wire.performatives import Attach, Begin, Flow, Open

BIG = 1 << 20


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    """The data in pieces of a size; 0 for all at once."""
    step = size or len(data) or 1
    for start in range(0, len(data), step):
        yield data[start : start + step]


class Pair:
    """A client and a server engine. ``step`` delivers what both have to say until neither has anything left."""

    def __init__(self, *, chunk: int = 0, client: Any = None, server: Any = None) -> None:
        self.now = 100.0
        self.chunk = chunk
        self.client = Connection(EndpointRole.CLIENT, container_id="client", **(client or {}))
        self.server = Connection(EndpointRole.SERVER, container_id="server", **(server or {}))
        self.client_events: list[Event] = []
        self.server_events: list[Event] = []
        self.to_server = b""
        self.to_client = b""
        self.client.start(self.now)
        self.server.start(self.now)

    def step(self) -> None:
        while True:
            out = b"".join(self.client.data_to_send(self.now))
            back = b"".join(self.server.data_to_send(self.now))
            if not out and not back:
                return
            self.to_server += out
            self.to_client += back
            for piece in chunks(out, self.chunk):
                self.server_events += self.server.receive_data(piece, self.now)
            for piece in chunks(back, self.chunk):
                self.client_events += self.client.receive_data(piece, self.now)

    def take(self, *, server: bool = False) -> list[Event]:
        """The events since the last time."""
        events = self.server_events if server else self.client_events
        taken = list(events)
        events.clear()
        return taken

    def session(self, **options: Any) -> tuple[Session, Session]:
        """A session with both its ends."""
        self.step()
        self.take(server=True)
        mine = self.client.begin(**options)
        self.step()
        theirs = next(e.session for e in self.take(server=True) if isinstance(e, SessionRequested))
        theirs.accept()
        self.step()
        return mine, theirs

    def sender(
        self, session: Session, name: str = "l", credit: int = 100, **answer: Any
    ) -> tuple[SenderLink, ReceiverLink]:
        """A link from the client to the server."""
        mine = session.attach_sender(name, source=Source(), target=Target(address="q"))
        self.step()
        # The events stay: messages on other links may be among them.
        theirs = next(e.link for e in self.server_events if isinstance(e, LinkRequested) and e.link.name == name)
        self.server_events = [e for e in self.server_events if not isinstance(e, LinkRequested)]
        theirs.accept(**answer)
        assert isinstance(theirs, ReceiverLink)
        if credit:
            theirs.flow(credit)
        self.step()
        return mine, theirs


class Scripted:
    """A client engine whose server is the test: it sends frames by hand and looks at those that come back."""

    def __init__(self, **options: Any) -> None:
        self.now = 100.0
        self.engine = Connection(EndpointRole.CLIENT, container_id="client", **options)
        self.engine.start(self.now)
        self.events: list[Event] = []
        self.sent()
        self.feed(AMQP_HEADER + encode_frame(0, Open(container_id="server")))

    def feed(self, data: bytes) -> list[Event]:
        """Bytes from the server."""
        events = self.engine.receive_data(data, self.now)
        self.events += events
        return events

    def sent(self) -> list[Composite]:
        """The frames that the client has sent since the last time."""
        data = b"".join(self.engine.data_to_send(self.now))
        frames: list[Composite] = []
        pos = 8 if data[:4] == b"AMQP" else 0
        while pos < len(data):
            size = int.from_bytes(data[pos : pos + 4], "big")
            if size > 8:
                frames.append(decode_frame_body(data, pos + 8, pos + size)[0])
            pos += size
        return frames

    def session(self, **options: Any) -> Session:
        """A session that both sides have begun."""
        session = self.engine.begin(**options)
        self.feed(
            encode_frame(
                0, Begin(remote_channel=session.channel, next_outgoing_id=0, incoming_window=BIG, outgoing_window=BIG)
            )
        )
        self.sent()
        return session

    def receiver(self, session: Session, credit: int = 10, **options: Any) -> ReceiverLink:
        """A link on which the client receives, attached."""
        link = session.attach_receiver("in", source=Source(address="q"), target=Target(), **options)
        self.feed(
            encode_frame(
                0,
                Attach(
                    name="in",
                    handle=0,
                    role=False,
                    source=Source(address="q"),
                    target=Target(),
                    initial_delivery_count=0,
                ),
            )
        )
        link.flow(credit)
        self.sent()
        return link

    def sender(self, session: Session, credit: int = 10) -> SenderLink:
        """A link on which the client sends, attached, with credit."""
        link = session.attach_sender("out", source=Source(), target=Target(address="q"))
        self.feed(
            encode_frame(0, Attach(name="out", handle=0, role=True, source=Source(), target=Target(address="q")))
            + encode_frame(
                0,
                Flow(
                    next_incoming_id=0,
                    incoming_window=BIG,
                    next_outgoing_id=0,
                    outgoing_window=BIG,
                    handle=0,
                    delivery_count=0,
                    link_credit=credit,
                ),
            )
        )
        self.sent()
        return link

"""The blocking driver's byte stream: a socket that never blocks, and TLS over buffers where it is asked for."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, Protocol

from amqp10.errors import AMQPError
from amqp10.net.blocking import BlockingNetwork
from amqp10.net.dial import dial
from amqp10.net.network import run
from amqp10.net.transport import RECEIVE_SIZE, rest_of

if TYPE_CHECKING:
    from amqp10.client.incarnation import Incarnation
    from amqp10.client.options import Address
    from amqp10.engine import OutgoingDelivery, Session
    from amqp10.net.network import SecureSession
    from amqp10.net.options import TransportOptions
    from amqp10.net.tcp import TcpTransport
    from amqp10.net.tls.choice import SessionMaker
    from amqp10.net.waiting import Deadline, Waiter

__all__ = ["BlockingTransport"]

_FLUSH_SIZE: Final = 64 * 1024
_FLUSH_COUNT: Final = 256
_HIGH_WATER: Final = 256 * 1024
_LOW_WATER: Final = 64 * 1024
_SMALL_READ: Final = 65536
"""How many bytes are read while little comes. The system's allocator has a buffer of this size for next to nothing, and
may map a larger one anew for each read, which takes longer than reading a small message does."""
_LARGEST_READ: Final = 1 << 20
_FEW: Final = 16
"""How many messages without an outcome are few, so that whoever waits is in a hurry."""


class Owner(Protocol):
    """What a transport needs of the driver that made it."""

    def clock(self) -> float:
        """The time, in seconds of a monotonic clock."""
        ...

    def wake(self) -> None:
        """Have the connection's thread look."""
        ...

    def started(self, transport: BlockingTransport) -> None:
        """A transport carries the connection now."""
        ...

    def ended(self, transport: BlockingTransport) -> None:
        """A transport does not any more; it is to be disposed of when nobody waits for its socket."""
        ...


class BlockingTransport:
    """Used under the driver's lock, but for :meth:`connect`."""

    def __init__(self, driver: Owner, tcp: TcpTransport, tls: SecureSession | None, plain: bytes) -> None:
        self._driver = driver
        self._tcp = tcp
        self._tls = tls
        self._incarnation: Incarnation | None = None
        self._unsent: list[bytes | memoryview] = []
        self._unsent_size = 0
        self._paused = False
        self._over = False
        self._plain = plain
        self._read_size = _SMALL_READ

    @classmethod
    def connect(
        cls,
        driver: Owner,
        where: Address,
        options: TransportOptions,
        sessions: SessionMaker | None,
        deadline: Deadline,
        waiter: Waiter,
    ) -> BlockingTransport:
        """Connect, and shake hands where there is TLS. Waits, inside what the waiter has begun; without the
        lock."""
        session = sessions(where.host) if sessions is not None else None
        network = BlockingNetwork(waiter)
        dialled = run(dial(where.host, where.port, options, network, deadline, session=session))
        return cls(driver, dialled.stream.transport, session, dialled.early)

    # -- the core's side -------------------------------------------------------------------------------------------

    def start(self, incarnation: Incarnation) -> None:
        """See :class:`amqp10.client.incarnation.Transport`."""
        self._incarnation = incarnation
        self._driver.started(self)

    def close(self) -> None:
        """See :class:`amqp10.client.incarnation.Transport`."""
        if not self._over:
            with contextlib.suppress(AMQPError):
                self._push_out()
            self._end()

    def abort(self) -> None:
        """See :class:`amqp10.client.incarnation.Transport`."""
        self._end()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._driver.ended(self)

    def dispose(self) -> None:
        """Close the socket: nobody waits for it any more."""
        self._tcp.close(graceful=True)

    # -- the driver's side -----------------------------------------------------------------------------------------

    @property
    def unsent(self) -> bool:
        """Whether bytes wait for the socket."""
        return bool(self._unsent)

    @property
    def buffered(self) -> bool:
        """Whether bytes are here, so that :meth:`read` is called without the socket being readable."""
        return bool(self._plain)

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._tcp.fileno()

    def next_deadline(self) -> float | None:
        """When the engine is to be asked next."""
        return None if self._incarnation is None else self._incarnation.engine.next_deadline()

    def calm(self) -> bool:
        """Whether little is in flight: few messages without an outcome."""
        if self._incarnation is None:
            return False
        return all(len(session.outgoing_unsettled) <= _FEW for session in self._incarnation.engine.sessions.values())

    def in_flight(self) -> tuple[Incarnation, list[tuple[Session, OutgoingDelivery]]]:
        """The life that it carries, and its messages without an outcome."""
        assert self._incarnation is not None
        return self._incarnation, self._incarnation.in_flight()

    def overfull(self) -> bool:
        """Whether so much is queued that it is better written now than when the call is over."""
        if self._incarnation is None:
            return False
        buffers = self._incarnation.engine.output.buffers
        return len(buffers) >= _FLUSH_COUNT or (bool(buffers) and len(buffers[-1]) >= _FLUSH_SIZE)

    def flush(self) -> None:
        """Write what there is, as far as the socket takes it."""
        if self._over:
            return
        try:
            self._push_out()
        except AMQPError as error:
            self._broken(error)
            return
        incarnation = self._incarnation
        if incarnation is None:
            return
        if self._unsent_size > _HIGH_WATER and not self._paused:
            self._paused = True
            incarnation.core.pause_sending()
        elif self._paused and self._unsent_size <= _LOW_WATER:
            self._paused = False
            incarnation.core.resume_sending()
        if self._unsent:
            self._driver.wake()

    def _push_out(self) -> None:
        incarnation = self._incarnation
        if incarnation is None:
            return
        incarnation.core.before_flush()
        buffers: list[bytes | memoryview] = incarnation.engine.data_to_send(self._driver.clock())
        tls = self._tls
        if tls is not None and buffers:
            tls.write(buffers)
            buffers = [tls.data_to_send()]
        if self._unsent:
            self._unsent += buffers
            buffers = self._unsent
        if not buffers:
            return
        sent = self._tcp.send(buffers)
        self._unsent = rest_of(buffers, sent)
        self._unsent_size = sum(map(len, self._unsent))

    def read(self) -> tuple[bytes | None, AMQPError | None]:
        """What has arrived: None for nothing, empty for the end; and what went wrong."""
        missing = self._incarnation.engine.missing if self._incarnation is not None and self._tls is None else 0
        # The rest of a large frame is read as such: what comes after it in the same piece would have to be copied.
        wanted = self._read_size if missing < _SMALL_READ else min(missing, _LARGEST_READ)
        try:
            data = self._tcp.recv(wanted)
        except AMQPError as error:
            return b"", error
        self._read_size = RECEIVE_SIZE if data and len(data) >= _SMALL_READ else _SMALL_READ
        return data, None

    def arrived(self, data: bytes | None, error: AMQPError | None) -> None:
        """Take what :meth:`read` gave."""
        incarnation = self._incarnation
        if incarnation is None or self._over:
            return
        if self._plain:
            plain, self._plain = self._plain, b""
            incarnation.received(plain)
        if data is None or self._over:
            return
        if not data:
            self._broken(error)
            return
        tls = self._tls
        if tls is None:
            incarnation.received(data)
            return
        try:
            data = b"".join(tls.feed(data))
        except AMQPError as broken:
            self._broken(broken)
            return
        if data:
            incarnation.received(data)
        if tls.ended and not self._over:
            self._broken(None)

    def tick(self, now: float) -> None:
        """Do what is due."""
        incarnation = self._incarnation
        if incarnation is None or self._over:
            return
        due = incarnation.engine.next_deadline()
        if due is not None and now >= due:
            incarnation.tick()

    def _broken(self, error: AMQPError | None) -> None:
        self._end()
        if self._incarnation is not None:
            self._incarnation.lost(error)

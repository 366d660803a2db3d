"""The public classes of the asyncio API. ``amqp10/blocking/api.py`` is generated from this file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from amqp10.aio.driver import AioDriver
from amqp10.aio.hot import Delivery, ReceivedMessage, ReceiverMethods, SenderMethods
from amqp10.aio.opening import Opening
from amqp10.client import operations
from amqp10.client.changes import Changes
from amqp10.client.configure import client_options, wants_tls
from amqp10.client.core import ClientCore
from amqp10.client.options import (
    DEFAULT,
    Default,
    ReceiverOptions,
    Reconnect,
    SenderOptions,
    receiver_spec,
    sender_spec,
)
from amqp10.client.recovery import ConnectionState, StateChange
from amqp10.client.remote import RemoteInfo
from amqp10.client.requests import Requests
from amqp10.net.tls.choice import given_options, session_maker

if TYPE_CHECKING:
    import os
    import ssl

    from amqp10.client.message import Message
    from amqp10.client.outcomes import Outcome
    from amqp10.client.receiving import ReceiverCore
    from amqp10.client.sending import SenderCore
    from amqp10.client.sessions import SessionCore
    from amqp10.engine import ClientMechanism
    from amqp10.net.tls.options import TlsOptions

__all__ = ["Connection", "Receiver", "Sender", "Session", "connect"]


def connect(
    url: str | Sequence[str],
    *,
    user: str | None = None,
    password: str | None = None,
    sasl: Sequence[ClientMechanism] | None = None,
    token: Callable[[], str | Awaitable[str]] | None = None,
    tls: ssl.SSLContext | TlsOptions | str | os.PathLike[str] | None = None,
    plain_without_tls: bool = True,
    proxy: str | None = None,
    hostname: str | None = None,
    container_id: str | None = None,
    idle_timeout: float = 60.0,
    max_frame_size: int = 1 << 20,
    properties: Mapping[str, Any] | None = None,
    desired_capabilities: Sequence[str] = (),
    timeout: float | None = 60.0,
    reconnect: Reconnect | None = Reconnect(),  # noqa: B008 - it is frozen
    on_state: Callable[[StateChange], object] | None = None,
) -> Opening[Connection]:
    """Connect to a server, or to the first of several that answers.

    Args:
        url: ``amqp://[user:password@]host[:port][/vhost]``, ``amqps://`` for TLS, or several of them.
        user, password: for SASL PLAIN, instead of those in the URL. Without a user ANONYMOUS is offered.
        sasl: mechanisms to offer instead, the most preferred first.
        token: returns the token to log in with; called each time a connection is made. The token is sent with
            OAUTHBEARER, XOAUTH2, or as the password of PLAIN, whichever the server offers. The function may block; in
            asyncio it may be a coroutine function.
        tls: how the server is verified; by default with ``ssl.create_default_context()``. A path is that of the CA
            certificates to trust instead of the system's. With a client certificate in ``TlsOptions`` EXTERNAL is
            offered; for an ``ssl.SSLContext`` that has one, name the mechanism in ``sasl``.
        plain_without_tls: False forbids sending a password or token to another machine without TLS, where others may
            read it; by default that only logs a warning.
        proxy: the proxy to use: ``http://[user:password@]host[:port]``, or ``socks5://``, ``socks5h://``,
            ``socks4://`` or ``socks4a://``. The environment's proxy variables are ignored.
        hostname: the host name sent to the server, if it is not the one in the URL.
        container_id: this client's name; a random one if not given.
        idle_timeout: after how many seconds without data the server is given up; 0 for never. The server is told half
            of that.
        max_frame_size: the largest frame accepted, in bytes, from 512.
        properties: connection properties sent to the server.
        desired_capabilities: capabilities that the server is asked for.
        timeout: seconds for connecting, and the default for everything that waits; None for no limit.
        reconnect: how a lost connection is restored; None for not at all.
        on_state: called with each StateChange.

    Raises:
        ValueError: an argument is out of its range, or there are no CA certificates at the path in ``tls``.
        AuthenticationError: the server did not let the user in.
        AMQPError: no server could be connected to in time; the error is that of the last attempt.
    """
    given = given_options(tls)
    options = client_options(
        url,
        user=user,
        password=password,
        sasl=sasl,
        token=token,
        hostname=hostname,
        container_id=container_id,
        idle_timeout=idle_timeout,
        max_frame_size=max_frame_size,
        properties=properties,
        desired_capabilities=desired_capabilities,
        timeout=timeout,
        reconnect=reconnect,
        on_state=on_state,
        external=given is not None and given.client_certificate is not None,
        proxied=proxy is not None,
        plain_without_tls=plain_without_tls,
    )
    sessions = session_maker(tls) if wants_tls(options, tls is not None) else None
    return Opening(Connection._open(AioDriver(sessions, proxy), options))


class Connection:
    """A connection. When the network connection is lost it reconnects, and restores its senders and receivers.

    Made by :func:`connect`; leaving its ``async with`` block closes it.
    """

    def __init__(self, driver: AioDriver, core: ClientCore) -> None:
        self._driver = driver
        self._core = core
        self._requests = Requests(core)
        self._senders: dict[str, SenderCore] = {}

    @classmethod
    async def _open(cls, driver: AioDriver, options: Any) -> Connection:
        core = driver.core = ClientCore(driver, options)
        await driver.run(operations.connect(core, driver.deadline(DEFAULT)))
        return cls(driver, core)

    def session(self, *, incoming_window: int = 2048, outgoing_window: int = 2048) -> Opening[Session]:
        """Another session, with windows of its own (transport, "session flow control"). It is restored with its links.

        Args:
            incoming_window: how many transfer frames the server may send before it has to wait for a flow frame.
            outgoing_window: the number sent to the server.
        """
        return Opening(self._open_session(incoming_window, outgoing_window))

    async def _open_session(self, incoming_window: int, outgoing_window: int) -> Session:
        core = self._driver.call_core(self._core.add_session, incoming_window, outgoing_window)
        return Session(self._driver, core)

    def sender(self, address: str | None = None, **options: Unpack[SenderOptions]) -> Opening[Sender]:
        """A sender to an address, on the default session.

        Args:
            address: where messages go; None with ``dynamic=True``, or if each message has its address in ``to``.
            options: see :class:`~amqp10.SenderOptions`.

        Raises:
            LinkRefusedError: the server refused the link.
            AMQPTimeoutError: it did not answer in time.
        """
        return Opening(self._open_sender(address, options))

    async def _open_sender(self, address: str | None, options: Mapping[str, Any]) -> Sender:
        session = self._driver.call_core(self._core.default_session)
        return await Sender._open(self._driver, session, address, options)

    def receiver(self, address: str | None = None, **options: Unpack[ReceiverOptions]) -> Opening[Receiver]:
        """A receiver from an address, on the default session.

        Args:
            address: where messages come from; None with ``dynamic=True``.
            options: see :class:`~amqp10.ReceiverOptions`.

        Raises:
            LinkRefusedError: the server refused the link.
            FilterRefusedError: the server does not apply a filter that was asked for.
            AMQPTimeoutError: it did not answer in time.
        """
        return Opening(self._open_receiver(address, options))

    async def _open_receiver(self, address: str | None, options: Mapping[str, Any]) -> Receiver:
        session = self._driver.call_core(self._core.default_session)
        return await Receiver._open(self._driver, session, address, options)

    async def send(self, address: str, message: Message | Any, *, timeout: float | Default | None = DEFAULT) -> Outcome:
        """Send a message to an address, and wait for its outcome. The sender for an address is kept for the next call.

        Errors as for ``Sender.send`` and :meth:`sender`.
        """
        deadline = self._driver.deadline(timeout)
        return await self._driver.run(operations.send_to(self._core, self._senders, address, message, deadline))

    async def request(
        self,
        address: str,
        message: Message | Any,
        *,
        timeout: float | Default | None = DEFAULT,
        idempotent: bool = False,
        reply_to: str | None = None,
    ) -> ReceivedMessage:
        """Send a request and wait for its response, which comes on a dynamic address of this connection.

        Args:
            address: where requests go.
            message: a Message, or the body of one. ``reply_to`` and ``correlation_id`` are filled in.
            timeout: seconds until the response.
            idempotent: whether the request may be sent again if the connection is lost before the response arrives.
            reply_to: the address for responses, for brokers that have no dynamic nodes (RabbitMQ 4.0). It must be a
                queue that only this connection receives from; it does so until it is closed.

        Returns:
            The response, which is already settled.

        Raises:
            RequestLostError: the connection was lost before the response came, and the request is not idempotent.
            AMQPTimeoutError: no response in time.
        """
        deadline = self._driver.deadline(timeout)
        operation = self._requests.request(address, message, idempotent, deadline, ReceivedMessage, reply_to)
        return await self._driver.run(operation)

    async def close(self, *, timeout: float | None = 10.0) -> None:
        """Close links and sessions, then the connection. Outcomes are awaited for ``timeout`` seconds; None: no limit.

        If the call is interrupted, closing goes on in the background.
        """
        await self._driver.run(operations.close_connection(self._core, self._driver.deadline(timeout)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def changes(self) -> AsyncIterator[StateChange]:
        """State changes from now on, until the connection is closed or given up. At most 64 wait for a slow reader."""
        changes = Changes(self._core)
        try:
            while True:
                change = await self._driver.run(changes.next())
                if change is None:
                    return
                yield change
        finally:
            self._driver.call_core(changes.stop)

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return self._core.state

    @property
    def url(self) -> str:
        """The URL of the server that it is, or was last, connected to; without credentials."""
        return self._core.address.url

    @property
    def remote(self) -> RemoteInfo:
        """What the server said about itself. Every field is None or 0 while the connection is down."""
        return RemoteInfo.of(self._core)

    def __repr__(self) -> str:
        return f"<Connection to {self.url} {self.state.value}>"


class Session:
    """A session: senders and receivers that share a window."""

    def __init__(self, driver: AioDriver, core: SessionCore) -> None:
        self._driver = driver
        self._core = core

    def sender(self, address: str | None = None, **options: Unpack[SenderOptions]) -> Opening[Sender]:
        """A sender on this session. Arguments and errors as for ``Connection.sender``."""
        return Opening(Sender._open(self._driver, self._core, address, options))

    def receiver(self, address: str | None = None, **options: Unpack[ReceiverOptions]) -> Opening[Receiver]:
        """A receiver on this session. Arguments and errors as for ``Connection.receiver``."""
        return Opening(Receiver._open(self._driver, self._core, address, options))

    async def close(self, *, timeout: float | None = 10.0) -> None:
        """Close its links, then end it."""
        await self._driver.run(operations.close_session(self._core, self._driver.deadline(timeout)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


class Sender(SenderMethods):
    """A sender. Made by ``connection.sender()``."""

    def __init__(self, driver: AioDriver, core: SenderCore) -> None:
        self._driver = driver
        self._core = core

    @classmethod
    async def _open(
        cls, driver: AioDriver, session: SessionCore, address: str | None, options: Mapping[str, Any]
    ) -> Sender:
        spec = sender_spec(address, options)
        deadline = driver.deadline(spec.timeout)
        core = await driver.run(operations.attach_sender(session, spec, deadline, Delivery))
        return cls(driver, core)

    async def flush(self, *, timeout: float | Default | None = DEFAULT) -> None:
        """Wait until every message of this sender has its outcome.

        Raises:
            AMQPTimeoutError: some have no outcome in time.
        """
        await self._driver.run(self._core.flush(self._driver.deadline(timeout)))

    async def close(self, *, timeout: float | None = 10.0) -> None:
        """Close it. Outcomes are awaited for ``timeout`` seconds. If interrupted, closing goes on in the background."""
        await self._driver.run(operations.close_link(self._core, self._driver.deadline(timeout)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def address(self) -> str | None:
        """Where messages go; for a dynamic node its current address."""
        return self._core.address

    @property
    def name(self) -> str:
        """The current name of the link."""
        return self._core.name

    @property
    def credit(self) -> int:
        """How many more messages the receiver takes now."""
        return self._core.credit

    @property
    def unsettled(self) -> int:
        """How many messages have no outcome yet."""
        return self._core.open

    @property
    def max_message_size(self) -> int:
        """The largest message that may be sent, in bytes; 0 for no limit."""
        return self._core.max_message_size

    @property
    def remote_properties(self) -> Mapping[str, Any]:
        """The link properties that the server sent."""
        return self._core.remote_properties


class Receiver(ReceiverMethods):
    """A receiver: iterate over it to get its messages. Made by ``connection.receiver()``."""

    def __init__(self, driver: AioDriver, core: ReceiverCore) -> None:
        self._driver = driver
        self._core = core

    @classmethod
    async def _open(
        cls, driver: AioDriver, session: SessionCore, address: str | None, options: Mapping[str, Any]
    ) -> Receiver:
        spec = receiver_spec(address, options)
        deadline = driver.deadline(spec.timeout)
        core = await driver.run(operations.attach_receiver(session, spec, deadline, ReceivedMessage))
        return cls(driver, core)

    def add_credit(self, n: int) -> None:
        """Ask for more messages; for receivers with ``prefetch=0``. What receive() waits for is among them."""
        self._driver.call_core(self._core.add_credit, n)

    async def drain(self, *, timeout: float | Default | None = DEFAULT) -> int:
        """Have the peer send what it has and give back the rest of the credit. After that the receiver is paused.

        A call that is interrupted or times out leaves the receiver as it was.

        Returns:
            How much credit was given back.
        """
        return await self._driver.run(self._core.drain(self._driver.deadline(timeout)))

    def pause(self) -> None:
        """Give no new credit. Messages that have arrived, or are in flight, can still be received."""
        self._driver.call_core(self._core.pause)

    def resume(self) -> None:
        """Give credit again."""
        self._driver.call_core(self._core.resume)

    async def close(self, *, timeout: float | None = 10.0, unsubscribe: bool = False) -> None:
        """Close it. Messages that nobody has received are released. If interrupted, closing goes on in the background.

        Args:
            timeout: seconds for closing; None for no limit.
            unsubscribe: whether to delete a durable subscription; otherwise it is only paused.
        """
        if unsubscribe:
            self._driver.call_core(self._core.unsubscribe)
        await self._driver.run(operations.close_link(self._core, self._driver.deadline(timeout)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def address(self) -> str | None:
        """Where messages come from; for a dynamic node its current address."""
        return self._core.address

    @property
    def name(self) -> str:
        """The current name of the link."""
        return self._core.name

    @property
    def credit(self) -> int:
        """How many more messages the server may send now."""
        return self._core.credit

    @property
    def remote_properties(self) -> Mapping[str, Any]:
        """The link properties that the server sent."""
        return self._core.remote_properties

"""Opening the connection, and closing it in order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from amqp10.component.endpoints import Endpoints, product_of
from amqp10.component.enums import AuthScheme
from amqp10.component.events import AMQPConnectedEventParams
from amqp10.component.inbox import Inbox
from amqp10.component.life import Change, Life
from amqp10.component.log import Log
from amqp10.component.loop import Loop, closed_here
from amqp10.component.network import Network
from amqp10.component.outgoing import Outgoing
from amqp10.component.properties import Properties, Route
from amqp10.component.reports import Reports
from amqp10.component.settings import Settings
from amqp10.engine.connection import Connection
from amqp10.engine.sasl import AnonymousMechanism, ClientMechanism, ExternalMechanism, PlainMechanism, SaslClient
from amqp10.engine.states import EndpointRole, SessionState
from amqp10.errors import (
    AMQPError,
    AMQPTimeoutError,
    AuthenticationError,
    ConnectionDroppedError,
    InterruptedCallError,
)
from amqp10.version import VERSION

if TYPE_CHECKING:
    from amqp10.component.pump import Pump

__all__ = ["Connecting", "is_local"]

_LAST_READS: Final = 64
"""How often at most is read before disconnecting: a peer that never stops talking must not keep us."""


class Connecting:
    """Connects and disconnects."""

    __slots__ = (
        "_endpoints",
        "_inbox",
        "_log",
        "_loop",
        "_network",
        "_outgoing",
        "_properties",
        "_reports",
        "_route",
        "_settings",
    )

    def __init__(
        self,
        settings: Settings,
        properties: Properties,
        route: Route,
        log: Log,
        reports: Reports,
        outgoing: Outgoing,
        loop: Loop,
        inbox: Inbox,
        endpoints: Endpoints,
        network: Network,
    ) -> None:
        self._settings = settings
        self._properties = properties
        self._route = route
        self._log = log
        self._reports = reports
        self._outgoing = outgoing
        self._loop = loop
        self._inbox = inbox
        self._endpoints = endpoints
        self._network = network

    # -- connect ---------------------------------------------------------------------------------------------------

    def check_not_connected(self) -> None:
        """Raise 104 while connected, and 1105 while a connection is being opened."""
        if self._loop.connecting:
            raise AMQPError(1105, "a connection is being opened already; this is one of its event handlers")
        if self._loop.pump is not None:
            raise AMQPError(104, "already connected; disconnect() first to connect anew")

    def connect(self) -> None:
        """Connect; see ``AMQP.connect``."""
        self.check_not_connected()
        loop = self._loop
        loop.begin()
        waiter = loop.get_waiter()
        # One blocking call from here to the end, so that an interruption between its waits is not lost.
        loop.connecting = True
        try:
            waiter.begin()
            self._open_connection()
        except AMQPError as error:
            loop.connecting = False  # a handler of what follows may try again
            loop.drop_transport(graceful=False)
            self._log(1, "Info", f"connecting failed: {error}")
            loop.events.post("on_connected", AMQPConnectedEventParams(error.code, error.message))
            loop.dispatch()
            raise
        except BaseException:
            loop.drop_transport(graceful=False)
            raise
        finally:
            loop.connecting = False
            waiter.end()
        loop.writable = loop.announced = True
        self._log(1, "Info", f"connected to {self._properties.remote_host}:{self._properties.remote_port}")
        loop.events.post("on_connected", AMQPConnectedEventParams(0, "OK"))
        loop.dispatch()

    def _open_connection(self) -> None:
        loop, properties, settings = self._loop, self._properties, self._settings
        host = properties.remote_host
        if not host:
            raise AMQPError(102, "remote_host is empty: set it to the name or address of the server")
        limit = float(settings.connection_timeout or properties.limit)
        since = loop.clock()
        transport = self._network.open_transport(limit)
        try:
            self._check_plain()
        except BaseException:
            transport.close(graceful=False)
            raise
        hostname = settings.virtual_host or host.removeprefix("*")
        engine = Connection(
            EndpointRole.CLIENT,
            container_id=properties.container_id or default_container_id(),
            hostname=hostname,
            max_frame_size=settings.max_frame_size,
            channel_max=min(settings.max_session_count, 65536) - 1,
            idle_timeout=properties.idle_timeout,
            sasl=self._sasl(),
            properties={"product": "amqp10", "version": VERSION, "platform": "Python"},
            initial_outgoing_id=loop.next_delivery_id,
        )
        loop.start(engine, transport, self._endpoints.take)
        try:
            loop.work(lambda: loop.connected, limit, "waiting for the server to open the connection", since=since)
        except (AMQPTimeoutError, ConnectionDroppedError) as error:
            if engine.authenticated and isinstance(error, ConnectionDroppedError):
                # What RabbitMQ does.
                raise error.with_hint(
                    f"right after the login: RabbitMQ does so when the virtual host {hostname!r} does not exist, or the"
                    " user may not use it"
                ) from None
            if engine.header_received:
                raise
            raise type(error)(f"{error.message} ({self._silence()})", code=error.code) from None
        except AuthenticationError as error:
            if properties.auth_scheme is not AuthScheme.smSASLPlain or properties.user or properties.password:
                raise
            raise AuthenticationError(f"{error.message}; user and password are not set") from None
        self._check_virtual_host()

    def _check_virtual_host(self) -> None:
        name = self._settings.virtual_host
        if name and not name.startswith("vhost:") and product_of(self._loop.engine) == "RabbitMQ":
            self._log.warn(
                f"the setting VirtualHost is {name!r}, which RabbitMQ does not take for a virtual host: this connection"
                f" is in its default one; write vhost:{name}"
            )

    def _check_plain(self) -> None:
        """A password that others on the network can read is worth a warning, or an error where the program says so.

        Raises:
            AuthenticationError: 602.
        """
        properties = self._properties
        if properties.ssl_enabled or properties.auth_scheme is not AuthScheme.smSASLPlain:
            return
        if not (properties.user or properties.password):
            return
        address = self._route.remote_address
        if address is not None and not self._route.proxied and is_local(address[0]):
            return
        text = "SASL PLAIN without TLS sends the password so that everybody on the way can read it"
        if not self._settings.allow_plain_without_tls:
            raise AuthenticationError(f"{text}, and AllowPlainWithoutTLS is False: set ssl_enabled")
        self._log.warn(f"{text}; set ssl_enabled, or the setting AllowPlainWithoutTLS to False to have it refused")

    def _silence(self) -> str:
        """What may be wrong with a server that does not say a word: the commonest mistakes in settings."""
        reasons = [] if self._properties.ssl_enabled else ["wait for TLS"]
        if self._properties.auth_scheme is AuthScheme.smNone:
            reasons.append("insist on SASL")
        reasons.append("not speak AMQP 1.0")
        return f"no AMQP header came from the server: it may {', or '.join(reasons)} on this port"

    def _sasl(self) -> SaslClient | None:
        """The SASL exchange that ``auth_scheme``, ``user`` and ``password`` ask for (security, "sasl")."""
        scheme = self._properties.auth_scheme
        identity = self._settings.authorization_identity
        mechanisms: list[ClientMechanism]
        if scheme is AuthScheme.smNone:
            return None
        if scheme is AuthScheme.smSASLAnonymous:
            mechanisms = [AnonymousMechanism()]
        elif scheme is AuthScheme.smSASLExternal:
            mechanisms = [ExternalMechanism(identity)]
        elif not self._properties.user and not self._properties.password:
            self._log(1, "Info", "no user and no password are set: SASL ANONYMOUS is used if the server offers it")
            mechanisms = [AnonymousMechanism(), PlainMechanism("", "", identity)]
        else:
            mechanisms = [PlainMechanism(self._properties.user, self._properties.password, identity)]
        return SaslClient(mechanisms)

    # -- disconnect ------------------------------------------------------------------------------------------------

    def disconnect(self) -> None:
        """Disconnect; see ``AMQP.disconnect``."""
        loop = self._loop
        pump = loop.pump
        if pump is None:
            loop.failure = None
            if loop.connecting:
                # In a handler of a connection that is being opened (on_ssl_server_authentication): it goes no further.
                loop.lose(AMQPError(1117, "the connection was closed while it was being opened"))
            return
        self._read_what_is_here(pump)
        engine = pump.engine
        reason, loop.failure = loop.failure, None
        if not loop.connected:
            loop.tear_down(reason)
            loop.dispatch()
            return
        self._inbox.settle_handled(lambda record: True)
        loop.events.release_unseen()
        self._outgoing.unwritten = [
            delivery for session in engine.sessions.values() for delivery in session.undelivered() if delivery.settled
        ]
        # What arises meanwhile fires at the end: an error of a handler is the program's, none of the connection's.
        try:
            try:
                with loop.calls.in_handler():
                    _close_in_order(engine)
                    loop.advance(Change.CLOSE)
                    loop.answer(
                        lambda: loop.life is not Life.CLOSING,
                        "waiting for the server to close the connection",
                        absolute=True,
                    )
            finally:
                # Whatever happens on the way, also in a handler: there is no connection afterwards.
                loop.failure = None
                loop.tear_down(None)
        except InterruptedCallError:
            loop.dispatch()
            raise
        except AMQPError as error:
            # The connection ends either way; that the peer did not answer matters to nobody but the log.
            self._log(1, "Info", f"the connection did not close in order: {error}")
        loop.dispatch()
        self._tell_left_over()
        if not loop.calls.handling:
            self._reports.raise_unheard()

    def _tell_left_over(self) -> None:
        """The program has disconnected while messages had no outcome: say so, here and where it waits for them."""
        error = self._outgoing.account(closed_here("the connection"))
        if not error.undelivered:
            return
        self._outgoing.left_over = error
        self._reports.post(error)
        self._loop.dispatch()

    def _read_what_is_here(self, pump: Pump) -> None:
        """Take in the outcomes that are here already. After our close they would be ignored, and a program would send
        a message again that the peer has accepted."""
        try:
            for _ in range(_LAST_READS):
                if not pump.receive():
                    break
        except AMQPError as error:
            self._log(2, "Session", f"nothing more can be read: {error}")


def _close_in_order(engine: Connection) -> None:
    """Close links, sessions and the connection, in order, without waiting for each."""
    for session in list(engine.sessions.values()):
        if session.state is SessionState.MAPPED:
            for link in list(session.links.values()):
                link.detach()
            session.end()
    engine.close()


def is_local(address: str) -> bool:
    """Whether an IP address is one of this machine's that no other can reach."""
    from ipaddress import ip_address

    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


def default_container_id() -> str:
    """A container id for programs that set none: unique enough to tell connections apart in a broker's listing."""
    import socket  # not before it is needed: it is a good part of what importing the package would take

    return f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"

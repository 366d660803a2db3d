"""Connecting and disconnecting, sessions and links: the calls that wait for an answer of the peer."""

from __future__ import annotations

import os
from typing import Final

from amqp10.codec import Symbol
from amqp10.component.core import closed_here
from amqp10.component.enums import AuthScheme
from amqp10.component.events import (
    AMQPConnectedEventParams,
    AMQPDisconnectedEventParams,
    AMQPErrorEventParams,
)
from amqp10.component.log_lines import frame_line
from amqp10.component.messages import MessageDraft
from amqp10.component.network import STATUS_DISCONNECTED, STATUS_FIREWALL_ENDED, STATUS_SECURE_ENDED, Network
from amqp10.component.pump import Pump
from amqp10.component.registry import LinkRecord, ReceiverRecord, SenderRecord, SessionRecord
from amqp10.component.settings import Settings
from amqp10.engine import IncomingDelivery
from amqp10.engine.connection import Connection, Trace
from amqp10.engine.sasl import AnonymousMechanism, ClientMechanism, ExternalMechanism, PlainMechanism, SaslClient
from amqp10.engine.states import ConnectionState, EndpointRole, LinkState, SessionState
from amqp10.errors import (
    AMQPError,
    AMQPTimeoutError,
    AuthenticationError,
    ConnectionDroppedError,
    InterruptedCallError,
    LimitError,
    ProtocolError,
)
from amqp10.version import VERSION
from amqp10.wire.messaging import ACCEPTED, RELEASED, Modified, Rejected, Source, Target
from amqp10.wire.performatives import SenderSettleMode

__all__ = ["Lifecycle"]

_DO_EVENTS_WAIT: Final = 0.02
_LAST_READS: Final = 64
"""How often at most is read before disconnecting: a peer that never stops talking must not keep us."""
_DO_EVENTS_LONGEST: Final = 0.1
"""After so many seconds do_events() reads no more: a peer that sends faster than its messages are handled would
otherwise keep it from ever returning."""


_OUTCOMES: Final = tuple(Symbol(kind.DESCRIPTOR_NAME) for kind in (type(ACCEPTED), Rejected, type(RELEASED), Modified))


class Lifecycle(Network):
    """The connection, its sessions and its links."""

    __slots__ = ("_auth_scheme", "_container_id", "_idle_timeout", "_password", "_user")

    _auth_scheme: AuthScheme
    _container_id: str
    _idle_timeout: int
    _password: str
    _user: str

    # -- connect ---------------------------------------------------------------------------------------------------

    def _check_not_connected(self) -> None:
        if self._connecting:
            raise AMQPError(1105, "a connection is being opened already; this is one of its event handlers")
        if self._pump is not None:
            raise AMQPError(104, "already connected; disconnect() first to connect anew")

    def _connect(self) -> None:
        self._check_not_connected()
        self._failure = None
        self._left_over = None
        self._narrow = None
        self._undelivered = ()
        self._outgoing.clear()
        self._outgoing_order = None
        self._sessions.clear()
        self._links.clear()
        self._established = False
        waiter = self._get_waiter()
        # One blocking call from here to the end, so that an interruption between its waits is not lost.
        self._connecting = True
        try:
            waiter.begin()
            self._open_connection()
        except AMQPError as error:
            self._connecting = False  # a handler of what follows may try again
            self._drop_transport(graceful=False)
            self._log(1, "Info", f"connecting failed: {error}")
            self._post("_on_connected", AMQPConnectedEventParams(error.code, error.message))
            self._dispatch()
            raise
        except BaseException:
            self._drop_transport(graceful=False)
            raise
        finally:
            self._connecting = False
            waiter.end()
        self._writable = self._established = True
        self._log(1, "Info", f"connected to {self._remote_host}:{self._remote_port}")
        self._post("_on_connected", AMQPConnectedEventParams(0, "OK"))
        self._dispatch()

    def _open_connection(self) -> None:
        host = self._remote_host
        if not host:
            raise AMQPError(102, "remote_host is empty: set it to the name or address of the server")
        limit = float(self._settings.connection_timeout or self._limit())
        since = self._clock()
        transport = self._open_transport(limit)
        try:
            self._check_plain()
        except BaseException:
            transport.close(graceful=False)
            raise
        hostname = self._settings.virtual_host or host.removeprefix("*")
        engine = Connection(
            EndpointRole.CLIENT,
            container_id=self._container_id or default_container_id(),
            hostname=hostname,
            max_frame_size=self._settings.max_frame_size,
            channel_max=min(self._settings.max_session_count, 65536) - 1,
            idle_timeout=self._idle_timeout,
            sasl=self._sasl(),
            properties={"product": "amqp10", "version": VERSION, "platform": "Python"},
            initial_outgoing_id=self._next_delivery_id,
        )
        self._engine = engine
        self._pump = Pump(engine, transport, self._get_waiter(), self._clock, self._reported, self._take)
        self._settings_changed()
        engine.start(self._clock())
        self._opened = False
        # What came before may have taken long: without an absolute time-out, the last step of it counts as movement.
        self._pump.moved_at = self._clock()
        try:
            self._work(lambda: self._opened, limit, "waiting for the server to open the connection", since=since)
        except (AMQPTimeoutError, ConnectionDroppedError) as error:
            if engine.authenticated and isinstance(error, ConnectionDroppedError):
                # What RabbitMQ does.
                raise error.with_hint(
                    f"right after the login: RabbitMQ does so when the virtual host {hostname!r} does not exist, or the"
                    " user may not use it"
                ) from None
            if engine.heard:
                raise
            raise type(error)(f"{error.message} ({self._silence()})", code=error.code) from None
        except AuthenticationError as error:
            if self._auth_scheme is not AuthScheme.smSASLPlain or self._user or self._password:
                raise
            raise AuthenticationError(f"{error.message}; user and password are not set") from None

        self._check_virtual_host()

    @property
    def _product(self) -> str:
        """What the peer says it is, in the properties of its open; empty when it does not."""
        engine = self._engine
        opened = engine.remote_open if engine is not None else None
        properties = opened.properties if opened is not None else None
        product = properties.get("product") if properties else None
        return product if isinstance(product, str) else ""

    def _check_virtual_host(self) -> None:
        name = self._settings.virtual_host
        if name and not name.startswith("vhost:") and self._product == "RabbitMQ":
            self._warn(
                f"the setting VirtualHost is {name!r}, which RabbitMQ does not take for a virtual host: this connection"
                f" is in its default one; write vhost:{name}"
            )

    def _check_plain(self) -> None:
        """A password that others on the network can read is worth a warning, or an error where the program says so.

        Raises:
            AuthenticationError: 602.
        """
        if self._ssl_enabled or self._auth_scheme is not AuthScheme.smSASLPlain or not (self._user or self._password):
            return
        address = self._remote_address
        if address is not None and not self._through_proxy and is_local(address[0]):
            return
        text = "SASL PLAIN without TLS sends the password so that everybody on the way can read it"
        if not self._settings.allow_plain_without_tls:
            raise AuthenticationError(f"{text}, and AllowPlainWithoutTLS is False: set ssl_enabled")
        self._warn(f"{text}; set ssl_enabled, or the setting AllowPlainWithoutTLS to False to have it refused")

    def _silence(self) -> str:
        """What may be wrong with a server that does not say a word: the commonest mistakes in settings."""
        reasons = [] if self._ssl_enabled else ["wait for TLS"]
        if self._auth_scheme is AuthScheme.smNone:
            reasons.append("insist on SASL")
        reasons.append("not speak AMQP 1.0")
        return f"no AMQP header came from the server: it may {', or '.join(reasons)} on this port"

    def _sasl(self) -> SaslClient | None:
        """The SASL exchange that ``auth_scheme``, ``user`` and ``password`` ask for (security, "sasl")."""
        scheme = self._auth_scheme
        identity = self._settings.authorization_identity
        mechanisms: list[ClientMechanism]
        if scheme is AuthScheme.smNone:
            return None
        if scheme is AuthScheme.smSASLAnonymous:
            mechanisms = [AnonymousMechanism()]
        elif scheme is AuthScheme.smSASLExternal:
            mechanisms = [ExternalMechanism(identity)]
        elif not self._user and not self._password:
            self._log(1, "Info", "no user and no password are set: SASL ANONYMOUS is used if the server offers it")
            mechanisms = [AnonymousMechanism(), PlainMechanism("", "", identity)]
        else:
            mechanisms = [PlainMechanism(self._user, self._password, identity)]
        return SaslClient(mechanisms)

    def _tracer(self) -> Trace | None:
        """What logs each frame, when anybody would see it; None otherwise, which keeps the engine's fast paths."""
        return self._log_frame if self._logs(3) else None

    def _log_frame(self, outgoing: bool, channel: int, performative: object, payload: int) -> None:
        self._log(3, "Frame", frame_line(outgoing, channel, performative, payload))

    def _log_bytes(self, outgoing: bool, buffers: list[bytes | memoryview]) -> None:
        """Log bytes as they are on the connection, beneath TLS excepted. Nothing of a SASL exchange: it has secrets."""
        engine = self._engine
        if engine is not None and engine.state is not ConnectionState.START:
            self._log(3, "Frame", f"{'->' if outgoing else '<-'} bytes {b''.join(buffers).hex(' ', 4)}")

    def _settings_changed(self) -> None:
        """A setting or handler has changed: what is logged about an open connection follows at once."""
        pump = self._pump
        if pump is not None:
            pump.engine.output.trace = self._tracer()
            pump.tap = self._log_bytes if self._settings.log_frame_bytes and self._logs(3) else None

    # -- disconnect ------------------------------------------------------------------------------------------------

    def _disconnect(self) -> None:
        pump = self._pump
        if pump is None:
            # In a handler of a connection that is being opened (on_ssl_server_authentication), it is to go no further.
            closed = AMQPError(1117, "the connection was closed while it was being opened")
            self._failure = closed if self._connecting else None
            return
        self._read_last_words(pump)
        engine = pump.engine
        reason, self._failure = self._failure, None
        if not self._opened:
            self._tear_down(reason)
            self._dispatch()
            return
        self._settle_handled(lambda record: True)
        self._drop_queued(None)
        self._unwritten = [
            delivery for session in engine.sessions.values() for delivery in session.undelivered() if delivery.settled
        ]
        # What arises meanwhile fires at the end: an error of a handler is the program's, none of the connection's.
        outer, self._dispatching = self._dispatching, self._depth or 1
        try:
            try:
                self._say_goodbye(engine)
                self._work(
                    lambda: not self._opened,
                    self._limit(),
                    "waiting for the server to close the connection",
                    absolute=True,
                )
            finally:
                # Whatever happens on the way, also in a handler: there is no connection afterwards.
                self._dispatching = outer
                self._failure = None
                self._tear_down(None)
        except InterruptedCallError:
            self._dispatch()
            raise
        except AMQPError as error:
            # The connection ends either way; that the peer did not answer matters to nobody but the log.
            self._log(1, "Info", f"the connection did not close in order: {error}")
        self._dispatch()
        self._tell_left_over()
        if not self._dispatching:
            self._raise_unheard()

    def _tell_left_over(self) -> None:
        """The program has disconnected while messages had no outcome: say so, here and where it waits for them."""
        error = self._with_left_over(closed_here("the connection"))
        if not error.undelivered:
            return
        self._log(1, "Info", f"error: {error}")
        self._left_over = error
        self._post("_on_error", AMQPErrorEventParams(error.code, error.message))
        self._dispatch()

    def _read_last_words(self, pump: Pump) -> None:
        """Take in the outcomes that are here already. Behind our close they would be ignored, and a program would send
        a message again that the peer has accepted."""
        try:
            for _ in range(_LAST_READS):
                if not pump.receive():
                    break
        except AMQPError as error:
            self._log(2, "Session", f"nothing more can be read: {error}")

    def _say_goodbye(self, engine: Connection) -> None:
        """Close links, sessions and the connection, in order, without waiting for each."""
        for session in list(engine.sessions.values()):
            if session.state is SessionState.MAPPED:
                for link in list(session.links.values()):
                    link.detach()
                session.end()
        engine.close()

    def _tear_down(self, error: AMQPError | None) -> None:
        """Drop the transport and all that lived on it; fires ``on_disconnected`` if the connection had been open."""
        was_open, self._established = self._established, False
        ended = [STATUS_DISCONNECTED]
        if self._tls_info is not None:
            ended.append(STATUS_SECURE_ENDED)
        if self._through_proxy:
            ended.append(STATUS_FIREWALL_ENDED)
        if self._reported:
            self._take()
        self._drop_queued(None)
        self._drop_transport(graceful=error is None or error.code != 1120)
        reason = error or AMQPError(600, "the connection was closed")
        for record in self._sessions.values():
            self._forget_session(record, reason)
        if was_open:
            code, text = (0, "OK") if error is None else (error.code, error.message)
            for stage in ended:
                self._status(stage, error)
            self._log(1, "Info", "disconnected" if error is None else f"disconnected: {error}")
            self._post("_on_disconnected", AMQPDisconnectedEventParams(code, text))

    def _drop_transport(self, *, graceful: bool) -> None:
        pump = self._pump
        self._opened = False
        self._writable = False
        self._remote_address = self._local_address = self._proxy_address = None
        if pump is None:
            if self._waiter is not None:
                self._waiter.close()
                self._waiter = None
            return
        try:
            pump.flush()
        except AMQPError as error:
            self._log(2, "Session", f"the last bytes could not be sent: {error}")
        finally:
            self._pump = None
            self._next_delivery_id = pump.engine.next_delivery_id
            self._engine = None
            self._reported.clear()
            pump.close(graceful)
            # The wake-up channel goes with the connection: an instance that is not connected holds no descriptors.
            pump.waiter.close()
            self._waiter = None

    def _drop_queued(self, link_name: str | None) -> None:
        """Messages that no handler has seen: their sender gets them back. Settled ones stay, nobody has them but us."""
        kept = []
        if not self._dispatching and isinstance(self._event, IncomingDelivery):
            # A signal handler has raised before it was handled.
            self._queue.appendleft(self._event)
            self._event = None
        for event in self._queue:
            if (
                isinstance(event, IncomingDelivery)
                and not event.settled
                and (link_name is None or event.link.context.name == link_name)
            ):
                event.settle(RELEASED)
                event.link.context.queued -= 1
            else:
                kept.append(event)
        if len(kept) != len(self._queue):
            self._queue.clear()
            self._queue.extend(kept)

    def _do_events(self) -> None:
        self._raise_failure()
        self._raise_unheard()
        pump = self._pump
        if pump is None:
            self._idle()
            return
        waiter = pump.waiter
        try:
            waiter.begin()
            # One wait for something to happen, then all that is there already.
            pump.more = False
            self._turn(_DO_EVENTS_WAIT if not self._queue else 0)
            end = self._clock() + _DO_EVENTS_LONGEST
            while self._pump is pump and pump.more and self._clock() < end:
                pump.more = False
                self._turn(0)
        finally:
            waiter.end()
        self._raise_unheard()

    def _idle(self) -> None:
        """What ``do_events()`` does without a connection: it waits as long as with one, so that loops do not spin."""
        error, self._left_over = self._left_over, None
        if error is not None and self._outgoing:
            # A loop that waits for the outcomes would never end.
            raise error
        if self._queue or self._connecting:
            self._dispatch()
            return
        waiter = self._get_waiter()
        try:
            waiter.begin()
            waiter.wait(timeout=_DO_EVENTS_WAIT)
        finally:
            waiter.end()
            # An instance that is not connected holds no descriptors.
            self._waiter = None
            waiter.close()

    def _reset(self) -> None:
        self._settings = Settings()
        self._draft.reset()
        self._received = MessageDraft()
        self._left_over = None
        self._undelivered = ()
        self._outgoing.clear()
        self._outgoing_order = None

    # -- sessions --------------------------------------------------------------------------------------------------

    def _create_session(self, name: str) -> None:
        pump = self._connected_pump()
        settings = self._settings
        if len(self._sessions) >= settings.max_session_count:
            raise LimitError(f"MaxSessionCount allows {settings.max_session_count} sessions, and there are as many")
        self._sessions.reserve(name)
        try:
            engine = pump.engine.begin(
                incoming_window=settings.default_incoming_window,
                outgoing_window=settings.default_outgoing_window,
                handle_max=settings.max_link_count_per_session - 1,
            )
            engine.context = record = SessionRecord(name, engine, settings.max_link_count_per_session)
            try:
                self._work(
                    lambda: engine.state is not SessionState.BEGIN_SENT,
                    self._limit(),
                    f"waiting for session {name!r} to begin",
                )
            except BaseException:
                # Nothing is left. A begin that has not been answered yet is ended when it is.
                engine.context = None
                self._forget_session(record, None)
                if self._pump is pump and engine.state is not SessionState.BEGIN_SENT:
                    engine.end()
                    self._let_out(pump)
                raise
        finally:
            self._sessions.release(name)
        if engine.state is not SessionState.MAPPED and not record.closed:
            raise engine.error or ProtocolError(f"the peer ended session {name!r} at once and gave no reason")
        self._log(1, "Session", f"session {name!r} has begun on channel {engine.channel}")
        self._dispatch()

    def _close_session(self, name: str) -> None:
        self._connected_pump()
        record = self._sessions.find(name)
        self._settle_handled(lambda link: link.session is record)
        for link in list(record.links.values()):
            self._drop_queued(link.name)
        engine = record.engine
        record.closed = True
        self._forget_session(record, None)
        for endpoint in list(engine.links.values()):
            endpoint.detach()
        engine.end()
        try:
            self._work(
                lambda: engine.state is SessionState.UNMAPPED, self._limit(), f"waiting for session {name!r} to end"
            )
        except BaseException:
            # Nothing more will be known of them, whatever the peer says later.
            self._end(closed_here(f"session {name!r}"), None, engine.undelivered())
            raise
        self._log(1, "Session", f"session {name!r} has ended")
        self._dispatch()
        self._raise_unheard()

    # -- links -----------------------------------------------------------------------------------------------------

    def _session_for_link(self, session_name: str) -> SessionRecord:
        self._connected_pump()
        session = self._sessions.find(session_name)
        if len(session.links) >= session.link_limit:
            raise LimitError(f"session {session_name!r} has {session.link_limit} links, which is its limit")
        return session

    def _create_sender(self, session_name: str, name: str, target: str) -> None:
        session = self._session_for_link(session_name)
        check_address("target", target)
        settings = self._settings
        self._links.reserve(name)
        try:
            engine = session.engine.attach_sender(
                name,
                source=Source(address=self._container_id or None, outcomes=_OUTCOMES),
                target=Target(address=target or None, capabilities=capabilities(settings.default_target_capabilities)),
                snd_settle_mode=SenderSettleMode(settings.default_sender_settle_mode),
                max_message_size=settings.max_message_size,
            )
            self._finish_attach(SenderRecord(name, session, engine), target)
        finally:
            self._links.release(name)
        self._dispatch()

    def _create_receiver(self, session_name: str, name: str, source: str) -> None:
        session = self._session_for_link(session_name)
        check_address("source", source)
        settings = self._settings
        self._links.reserve(name)
        try:
            engine = session.engine.attach_receiver(
                name,
                source=Source(
                    address=source or None,
                    outcomes=_OUTCOMES,
                    capabilities=capabilities(settings.default_source_capabilities),
                ),
                target=Target(address=self._container_id or None),
                snd_settle_mode=SenderSettleMode(settings.default_sender_settle_mode),
                max_message_size=settings.max_message_size,
            )
            record = ReceiverRecord(
                name, session, engine, self._receive_mode, settings.default_credit, settings.default_credit_threshold
            )
            self._finish_attach(record, source)
        finally:
            self._links.release(name)
        pump = self._pump
        if record.automatic and record.initial_credit > 0 and pump is not None and engine.attached:
            engine.flow(record.initial_credit)
            self._flushed()
        self._dispatch()

    def _finish_attach(self, record: LinkRecord, address: str) -> None:
        """Wait for the peer's answer; leave no link when it is a refusal."""
        engine = record.engine
        engine.context = record
        pump = self._pump
        session = record.session
        session.attaching += 1
        try:
            self._work(
                lambda: (
                    (engine.remote_attach is not None and not engine.refusing) or engine.state is LinkState.DETACHED
                ),
                self._limit(),
                f"waiting for the peer to attach link {record.name!r}",
            )
        except BaseException:
            # Also when a handler failed meanwhile: a call that raises leaves no link.
            engine.context = None
            self._forget_link(record, None)
            if pump is not None and self._pump is pump:
                engine.detach()
                self._let_out(pump)
            raise
        finally:
            session.attaching -= 1
            record.attaching = False
        if engine.state is not LinkState.ATTACHED and not (record.closed or session.closed):
            error = (
                engine.error
                or engine.session.error
                or ProtocolError(f"the peer ended link {record.name!r} at once and gave no reason")
            )
            hint = address_hint(self._product, address) if error.condition == "amqp:invalid-field" else ""
            raise error.with_hint(hint) if hint else error
        self._log(1, "Session", f"link {record.name!r} is attached")

    def _close_link(self, name: str) -> None:
        self._connected_pump()
        record = self._links.find(name)
        self._settle_handled(lambda link: link is record)
        self._drop_queued(name)
        engine = record.engine
        record.closed = True
        self._forget_link(record, None)
        engine.detach()
        try:
            self._work(
                lambda: engine.state is LinkState.DETACHED,
                self._limit(),
                f"waiting for the peer to detach link {name!r}",
            )
        except BaseException:
            if isinstance(record, SenderRecord):
                # Nothing more will be known of them, whatever the peer says later.
                self._end(closed_here(f"link {name!r}"), None, record.engine.undelivered)
            raise
        self._log(1, "Session", f"link {name!r} is closed")
        self._dispatch()
        self._raise_unheard()


def capabilities(text: str) -> tuple[Symbol, ...]:
    """The terminus capabilities that a setting lists (messaging, "source", "target")."""
    return tuple(Symbol(name) for part in text.split(";") if (name := part.strip()))


def address_hint(product: str, address: str) -> str:
    """What may be wrong with an address that the peer calls invalid; empty when nothing is known."""
    if product != "RabbitMQ" or not address.startswith("/"):
        return ""
    from urllib.parse import quote  # only a refusal needs it

    kind, slash, rest = address[1:].partition("/")
    parts = [rest] if kind == "queues" else rest.split("/", 1)
    suggested = f"/{kind}{slash}{'/'.join(quote(part, safe='') for part in parts)}"
    text = "RabbitMQ takes /queues/QUEUE, and from a sender /exchanges/EXCHANGE/KEY, with each name percent-encoded"
    return f"{text}: {suggested}" if kind in ("queues", "exchanges") and suggested != address else text


def is_local(address: str) -> bool:
    """Whether an IP address is one of this machine's that no other can reach."""
    from ipaddress import ip_address

    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback


def check_address(what: str, address: object) -> None:
    """Raise TypeError for a terminus address that is not a str."""
    if not isinstance(address, str):
        raise TypeError(f"{what} must be a str, not {type(address).__name__}")


def default_container_id() -> str:
    """A container id for programs that set none: unique enough to tell connections apart in a broker's listing."""
    import socket  # not before it is needed: it is a good part of what importing the package would take

    return f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"

"""The class ``AMQP``: its parts and how they are joined, and each method in a few lines.

The properties are declared in ``connection_properties.py``, ``message_properties.py`` and ``handlers.py``. The
``get_...`` and ``set_...`` methods are generated from the same facts, in ``accessors.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self, SupportsIndex

from amqp10.component.calls import Calls
from amqp10.component.checks import check_bool, check_host, check_text
from amqp10.component.configure import Configuration
from amqp10.component.connecting import Connecting
from amqp10.component.connection_properties import ConnectionProperties
from amqp10.component.endpoints import Endpoints
from amqp10.component.event_queue import EventQueue
from amqp10.component.handler_outcome import HandlerOutcome
from amqp10.component.handlers import EventHooks
from amqp10.component.inbox import Inbox
from amqp10.component.log import Log
from amqp10.component.loop import Loop
from amqp10.component.message_properties import MessageProperties
from amqp10.component.messages import MessageDraft
from amqp10.component.network import Network
from amqp10.component.outbox import Outbox
from amqp10.component.outgoing import Outgoing
from amqp10.component.properties import Properties, Route
from amqp10.component.registry import LinkRecord, Records, SessionRecord
from amqp10.component.reports import Reports
from amqp10.component.settings import Settings
from amqp10.errors import AMQPError
from amqp10.version import VERSION

if TYPE_CHECKING:
    from amqp10.client.message import Message
    from amqp10.component.ids import MessageId
    from amqp10.component.messages import MessageView
    from amqp10.errors import UndeliveredMessage

__all__ = ["AMQP"]


class AMQP(MessageProperties, EventHooks, ConnectionProperties):
    """An AMQP 1.0 client: connects to a broker, sends and receives messages.

    One thread drives an instance; only :meth:`interrupt` may be called from any thread or a signal handler. Events
    fire on the calling thread, inside methods that work the connection (connecting, creating, sending when it waits,
    fetching, closing, :meth:`do_events`). Every error is an :class:`~amqp10.errors.AMQPError`, save for values of a
    wrong Python type, which are ``TypeError``.

    Use it as a context manager to have it disconnected at the end::

        with AMQP() as amqp:
            amqp.connect_to("localhost", 5672)
            amqp.create_session("s")
            amqp.create_sender_link("s", "out", "/queues/orders")
            amqp.message_value_type = ValueType.mvtString
            amqp.message_value = "hello"
            amqp.send_message("out")
    """

    __slots__ = (
        "__weakref__",
        "_calls",
        "_configuration",
        "_connecting",
        "_draft",
        "_endpoints",
        "_handlers",
        "_inbox",
        "_loop",
        "_network",
        "_outbox",
        "_outgoing",
        "_properties",
        "_records",
        "_reports",
        "_route",
        "_runtime_license",
        "_settings",
    )

    def __init__(self) -> None:
        # Each part is given those that it uses, which are the ones before it.
        settings = self._settings = Settings()
        properties = self._properties = Properties()
        route = self._route = Route()
        handlers = self._handlers = self._make_handlers()
        records = self._records = Records()
        calls = self._calls = Calls()
        outcome = HandlerOutcome(handlers)
        events = EventQueue(calls, handlers)
        log = Log(settings, handlers, events)
        reports = self._reports = Reports(handlers, events, log)
        outgoing = self._outgoing = Outgoing(settings, handlers, events, log, reports, records, outcome)
        loop = self._loop = Loop(settings, properties, route, calls, events, log, reports, records, outgoing)
        self._outbox = Outbox(settings, properties, handlers, log, records, outgoing, loop)
        inbox = self._inbox = Inbox(settings, properties, handlers, log, reports, records, outcome, loop)
        endpoints = self._endpoints = Endpoints(settings, properties, log, reports, records, loop, inbox)
        network = self._network = Network(settings, properties, route, handlers, log, loop)
        self._connecting = Connecting(
            settings, properties, route, log, reports, outgoing, loop, inbox, endpoints, network
        )
        self._configuration = Configuration(self, settings, route, records, outcome, loop, network)
        self._draft: MessageDraft = self._outbox.draft
        """The same as the outbox's: the properties of the message to be sent are on the hot path."""
        self._runtime_license = ""

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse to be copied or pickled: a connection belongs to one instance."""
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled: make a new one and set its properties")

    # -- state and lists -------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether the connection is open. Assigning True connects, assigning False disconnects."""
        return self._loop.connected

    @connected.setter
    def connected(self, value: bool) -> None:
        if check_bool("connected", value):
            if not self._loop.connected:
                self.connect()
        else:
            self.disconnect()

    @property
    def ready_to_send(self) -> bool:
        """Whether more can be sent now; False once the socket is full or the peer's session window closed, until
        ``on_ready_to_send``."""
        return self._loop.writable and self._loop.connected

    @property
    def session_count(self) -> int:
        """How many sessions there are: ``get_session_...`` take the indexes from 0 to one less."""
        return len(self._records.sessions)

    @property
    def link_count(self) -> int:
        """How many links there are: ``get_link_...`` take the indexes from 0 to one less."""
        return len(self._records.links)

    @property
    def incoming_message_count(self) -> int:
        """How many messages are partly here or being handled: ``get_incoming_message_...`` take 0 to one less."""
        return self._inbox.count

    @property
    def outgoing_message_count(self) -> int:
        """How many unsettled messages have no outcome yet: ``get_outgoing_message_...`` take 0 to one less.

        They stay readable when the connection has ended, until the next connect().
        """
        return len(self._outgoing.unsettled)

    def _get_session(self, index: int) -> SessionRecord:
        return self._records.sessions.at(index, "session_index")

    def _get_link(self, index: int) -> LinkRecord:
        return self._records.links.at(index, "link_index")

    def _get_incoming_message(self, index: int) -> MessageView:
        return self._inbox.at(index)

    def _get_outgoing_message(self, index: int) -> MessageView:
        return self._outgoing.at(index)

    # -- methods ---------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Connect to ``remote_host`` and ``remote_port`` and open the AMQP connection.

        Returns when the server's open has arrived; ``on_connected`` fires either way. The time limit is ``timeout``
        (60 seconds where that is 0), or the setting ConnectionTimeout.

        Raises:
            AMQPError: 104 when connected; 102 or 116 without a host or port; 11001 to 11004 when the name does not
                resolve; 10061 and its neighbours when the server cannot be reached; 201 when time is up; 602 when
                authentication fails; 600 when the server closes the connection or speaks another protocol; 1120 when
                it hangs up.
        """
        with self._calls:
            self._connecting.connect()

    def connect_to(self, host: str, port: int) -> None:
        """Set ``remote_host`` and ``remote_port``, then :meth:`connect`.

        Args:
            host: the name or address of the server.
            port: its port, 1 to 65535.

        Raises:
            AMQPError: as for :meth:`connect`; 604 for a host or a port that cannot be one. Then neither is changed.
        """
        with self._calls:
            self._connecting.check_not_connected()
            # Both are checked before either is changed.
            name = check_host("remote_host", host)
            self.remote_port = port
            self.remote_host = name
            self._connecting.connect()

    def disconnect(self) -> None:
        """Close links, sessions and the connection, in order; wait for the server's close, at most for ``timeout``.

        ``on_disconnected`` fires with 0 and "OK", also when the server does not answer in time: that is only logged.
        Messages that no handler has seen go back to their senders. Unsettled outgoing messages stay readable until the
        next :meth:`connect`. Does nothing when not connected.

        Raises:
            AMQPError: 10004 when :meth:`interrupt` ended the wait; the connection is gone all the same.
        """
        with self._calls:
            self._connecting.disconnect()

    def create_session(self, name: str) -> None:
        """Begin a session (transport, "establishing a session").

        Args:
            name: a name of the program's choice, not empty, and unique among its sessions. It does not travel.

        Raises:
            AMQPError: 600 when the name is taken or the server ends the session; 603 when MaxSessionCount or the
                server's own limit is reached; 201 when the server does not answer in time; 1117 when not connected.
        """
        with self._calls:
            self._endpoints.create_session(name)

    def close_session(self, name: str) -> None:
        """End a session and close its links (transport, "ending a session").

        Args:
            name: the session. It and its links are gone from the lists at once, also when the call fails after that.

        Raises:
            AMQPError: 600 when there is no such session; 201 when the server does not answer in time; 1117 when not
                connected.
        """
        with self._calls:
            self._endpoints.close_session(name)

    def create_sender_link(self, session_name: str, name: str, target: str) -> None:
        """Attach a link to send messages on (transport, "establishing or resuming a link").

        ``on_link_ready_to_send`` fires once the server has given the link credit.

        Args:
            session_name: the session to carry it.
            name: unique among all links of this instance.
            target: the address of the node that receives, such as ``/queues/orders``; empty for none.

        Raises:
            AMQPError: 600 when a name is unknown or taken, or the server refuses the link; 603 when
                MaxLinkCountPerSession or the server's own limit is reached; 201 when the server does not answer in
                time; 1117 when not connected.
        """
        with self._calls:
            self._endpoints.create_sender(session_name, name, target)

    def create_receiver_link(self, session_name: str, name: str, source: str) -> None:
        """Attach a link to receive messages on, in the mode that ``receive_mode`` says.

        An automatic link gives the credit DefaultCredit at once; a fetch link gives none before :meth:`fetch_message`.

        Args:
            session_name: the session to carry it.
            name: unique among all links of this instance.
            source: the address of the node that sends, such as ``/queues/orders``; empty for none.

        Raises:
            AMQPError: as for :meth:`create_sender_link`.
        """
        with self._calls:
            self._endpoints.create_receiver(session_name, name, source)

    def close_link(self, name: str) -> None:
        """Close a link (transport, "closing a link"). Messages that no handler has seen go back to their sender.

        Args:
            name: the link. It is gone from the list at once, also when the call fails after that.

        Raises:
            AMQPError: 600 when there is no such link; 201 when the server does not answer in time; 1117 when not
                connected.
        """
        with self._calls:
            self._endpoints.close_link(name)

    def send_message(self, link_name: str) -> None:
        """Send the message that the ``message_...`` properties describe.

        Returns when its bytes have been handed to the operating system. Without credit it works the connection until
        there is some; with ``timeout`` 0 it raises 135 at once instead. Inside an event handler the bytes of several
        messages go out together, when the handler has returned.

        Args:
            link_name: the sender link.

        Raises:
            AMQPError: 600 for a name that is no sender link, or a message larger than the server takes; 604 when the
                value is not of its type; 135 or 201 when it cannot be sent now or in time; 1117 when not connected.
                When it raises for want of credit the message has not been sent, nor kept.
        """
        with self._calls:
            try:
                self._outbox.send(link_name)
            except AMQPError as error:
                self._reports.raise_with_unheard(error)

    def send_message_object(self, link_name: str, message: Message) -> None:
        """Send a message with all its sections: application properties, annotations and a body of any kind.

        An addition to the reference. The ``message_...`` properties play no part but for ``message_settled``; waiting,
        events and errors are those of :meth:`send_message`. In events the message's id is its text, empty for none.

        Args:
            link_name: the sender link.
            message: an ``amqp10.Message``.

        Raises:
            AMQPError: as for :meth:`send_message`.
        """
        with self._calls:
            try:
                self._outbox.send(link_name, message)
            except AMQPError as error:
                self._reports.raise_with_unheard(error)

    @property
    def received_message(self) -> Message | None:
        """The message that ``received_message_...`` describe, with all its sections; None before there was one.

        An addition to the reference. A section that cannot be decoded raises DecodeError when it is looked at.
        """
        received = self._inbox.received
        if isinstance(received, MessageDraft):
            return None
        from amqp10.client.message import Message  # most programs look at the properties only

        return Message.decode(received.delivery.payload)

    @property
    def undelivered_messages(self) -> tuple[UndeliveredMessage, ...]:
        """The messages that got no outcome because a link, a session or the connection ended: those of the last such
        end, in the order in which they were sent. Empty until there is one, and after :meth:`connect`.

        An addition to the reference. They are the ones that ``on_error`` has just told of, or that the error which a
        call raised has as ``undelivered``; ``amqp10.Message.decode(message.payload)`` makes a message of each to send
        again. One whose ``written`` is True may have arrived all the same.
        """
        return self._outgoing.undelivered

    def send_messages(self, link_name: str, values: Iterable[str], ids: Iterable[MessageId] | None = None) -> int:
        """Send one message per value, in fewer and larger writes than :meth:`send_message`: several times as fast.

        An addition to the reference. Everything but the value and the id is taken from the ``message_...`` properties,
        and every event fires as for single messages.

        Args:
            link_name: the sender link.
            values: the values as text, each read as ``message_value_type`` says.
            ids: the message ids, one for each value; without them all messages have ``message_id``, or generated ones
                with the setting GenerateMessageId.

        Returns:
            How many messages were sent.

        Raises:
            TypeError: a value is not a str, an id is of no type that ``message_id`` takes, or there are fewer ids than
                values.
            AMQPError: as for :meth:`send_message`. The messages before the value it names have been sent; where it
                names none, ``message_id`` and ``message_value`` are those of the first message that was not sent.
        """
        with self._calls:
            try:
                return self._outbox.send_many(link_name, values, ids)
            except AMQPError as error:
                self._reports.raise_with_unheard(error)

    def fetch_message(self, link_name: str) -> None:
        """Ask a fetch link for one message and wait for it; ``on_message_in`` fires before this returns.

        When ``fetch_timeout`` has passed the credit is drained: a message that still comes is delivered, otherwise this
        raises (transport, "synchronous get").

        Args:
            link_name: a receiver link created in fetch mode.

        Raises:
            AMQPError: 201 when no message came; 600 for a name that is no fetch link; 604 when the message that came
                cannot be decoded: it has been rejected, and ``received_message_...`` is still the one before.
        """
        with self._calls:
            self._inbox.fetch(link_name)

    def do_events(self) -> None:
        """Handle everything that has arrived; with nothing there, wait up to 20 milliseconds for something.

        Without a connection it waits as long, so that a loop around it does not use up the processor.

        From a server that never pauses it reads for a tenth of a second; handling what was read may take longer. Also
        sends the heartbeat that is due and gives up a server that has been silent for ``idle_timeout``.
        """
        with self._calls:
            self._loop.do_events()

    def interrupt(self) -> None:
        """Make the blocked call raise 10004 at once. May be called from any thread and from signal handlers.

        The connection stays usable. Without a blocked call it does nothing; a loop around :meth:`do_events`, which is
        not blocked between its calls, needs a condition of its own.
        """
        waiter = self._loop.waiter
        if waiter is not None:
            waiter.interrupt()

    def config(self, configuration_string: str) -> str:
        """Set a configuration setting with ``"NAME=VALUE"``, or read one with ``"NAME"``.

        Args:
            configuration_string: names are case-insensitive; booleans are True, False, Yes, No, 1 or 0.

        Returns:
            The value as text; booleans as "True" or "False".

        Raises:
            AMQPError: 606 for an unknown setting (the message names the nearest), one that is read-only, or one that
                cannot change now; 604 for a malformed value.
        """
        with self._calls:
            return self._configuration(configuration_string)

    def reset(self) -> None:
        """Disconnect, then set every property and setting to its default. Event handlers stay."""
        with self._calls:
            try:
                self._connecting.disconnect()
            finally:
                # Also when a handler has failed, or interrupt() was called.
                self._settings.reset()
                self._properties.reset()
                self._network.reset()
                self._outbox.draft.reset()
                self._inbox.reset()
                self._outgoing.clear()

    def reset_message(self) -> None:
        """Set the ``message_...`` properties to their defaults."""
        with self._calls:
            self._outbox.draft.reset()

    # -- the reference's licence and version -----------------------------------------------------------------------

    @property
    def runtime_license(self) -> str:
        """Accepted for programs that set their licence key first. It has no meaning here: no licence is needed."""
        return self._runtime_license

    @runtime_license.setter
    def runtime_license(self, value: str) -> None:
        self._runtime_license = check_text("runtime_license", value)

    def get_runtime_license(self) -> str:
        """Return ``runtime_license``: what was set, which has no meaning here."""
        return self._runtime_license

    def set_runtime_license(self, value: str) -> None:
        """Set ``runtime_license``, which has no meaning here."""
        self.runtime_license = value

    @property
    def about(self) -> str:
        """The name and the version of this package."""
        return f"amqp10 {VERSION}"

    def get_about(self) -> str:
        """Return ``about``: the name and the version of this package."""
        return self.about

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        state = "connected to" if self._loop.connected else "not connected to"
        return f"<AMQP {state} {self._properties.remote_host or 'any host'}:{self._properties.remote_port}>"

"""The class ``AMQP``: the whole public surface in one place, each property one line, each method a few.

What the methods do is in ``lifecycle.py`` (connections, sessions, links), ``sending.py`` and ``receiving.py``
(messages) and ``core.py`` (events, threads, time-outs). The ``get_...`` and ``set_...`` methods are generated from the
same facts, in ``accessors.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from amqp10.component.accessors import Accessors
from amqp10.component.checks import check_bool, check_bytes, check_enum, check_host, check_int, check_text
from amqp10.component.configure import configure
from amqp10.component.enums import AuthScheme, CertStoreType, FirewallType, ReceiveMode, SSLProvider, ValueType
from amqp10.component.fields import (
    BoolProperty,
    BytesProperty,
    DraftBool,
    DraftEnum,
    DraftId,
    DraftInt,
    DraftText,
    EnumProperty,
    FastId,
    FastText,
    IntProperty,
    ReadOnlyDraftText,
    ReceivedBool,
    ReceivedInt,
    ReceivedText,
    ReceivedValueType,
    TextProperty,
)
from amqp10.component.lifecycle import Lifecycle
from amqp10.component.messages import MessageDraft
from amqp10.component.registry import LinkRecord, SessionRecord
from amqp10.errors import AMQPError
from amqp10.version import VERSION

if TYPE_CHECKING:
    from amqp10.client.message import Message
    from amqp10.component.ids import MessageId
    from amqp10.errors import UndeliveredMessage

__all__ = ["AMQP"]


class AMQP(Accessors, Lifecycle):
    """An AMQP 1.0 client: connects to a broker, sends and receives messages.

    One thread drives an instance; only :meth:`interrupt` may be called from any thread or a signal handler. Events
    fire on the calling thread, inside methods that work the connection (connecting, creating, sending when it waits,
    fetching, closing,
    :meth:`do_events`). Every error is an :class:`~amqp10.errors.AMQPError`, save for values of a wrong Python type,
    which are ``TypeError``.

    Use it as a context manager to have it disconnected at the end::

        with AMQP() as amqp:
            amqp.connect_to("localhost", 5672)
            amqp.create_session("s")
            amqp.create_sender_link("s", "out", "/queues/orders")
            amqp.message_value_type = ValueType.mvtString
            amqp.message_value = "hello"
            amqp.send_message("out")
    """

    __slots__ = ("_runtime_license",)

    def __init__(self) -> None:
        super().__init__()
        self._runtime_license = ""
        self._set_defaults()

    def _set_defaults(self) -> None:
        self._auth_scheme = AuthScheme.smSASLPlain
        self._container_id = ""
        self._fetch_timeout = 60
        self._idle_timeout = 0
        self._password = ""
        self._receive_mode = ReceiveMode.rmAutomatic
        self._timeout = 60
        self._user = ""

    # -- connection ------------------------------------------------------------------------------------------------

    auth_scheme: EnumProperty[AuthScheme] = EnumProperty(AuthScheme, locked=211)
    """How to authenticate: none, or a SASL mechanism (security, "sasl")."""

    container_id: TextProperty = TextProperty(locked=211)
    """The name of this container, stated in open; empty for a generated one (transport, "open")."""

    user: TextProperty = TextProperty(locked=211)
    """The user name for SASL PLAIN."""

    password: TextProperty = TextProperty(locked=211)
    """The password for SASL PLAIN. It never shows in a log, an error or a ``repr``."""

    idle_timeout: IntProperty = IntProperty(maximum=2147483, locked=211)
    """After how many seconds without data from the server the connection is given up; 0 for never (transport, "idle
    time-out of a connection")."""

    timeout: IntProperty = IntProperty()
    """The longest wait in seconds, counted from the last byte that moved (heartbeats left out), or with the setting
    AbsoluteTimeout from the start of the call. With 0, send_message never waits."""

    fetch_timeout: IntProperty = IntProperty()
    """The longest wait of fetch_message in seconds; 0 waits for ever."""

    receive_mode: EnumProperty[ReceiveMode] = EnumProperty(ReceiveMode)
    """Whether new receiver links receive by themselves, or a message at a time by fetch_message."""

    remote_port: IntProperty = IntProperty(maximum=65535, locked=100)
    """The port of the server, 1 to 65535."""

    @property
    def remote_host(self) -> str:
        """The server's name or address; while connected, the address it was resolved to.

        The name as it was assigned goes on serving for TLS verification, the open frame and connecting again.
        """
        address = self._remote_address
        return address[0] if address is not None else self._remote_host

    @remote_host.setter
    def remote_host(self, value: str) -> None:
        text = check_host("remote_host", value)
        self._check_unlocked("remote_host", 101)
        self._remote_host = text

    @property
    def local_host(self) -> str:
        """The local name or address to connect from, empty for any; while connected, the address in use."""
        address = self._local_address
        return address[0] if address is not None else self._local_host

    @local_host.setter
    def local_host(self, value: str) -> None:
        text = check_host("local_host", value)
        self._check_unlocked("local_host", 107)
        self._local_host = text

    @property
    def local_port(self) -> int:
        """The local port to connect from, 0 for any free one; while connected, the port in use."""
        address = self._local_address
        return address[1] if address is not None else self._local_port

    @local_port.setter
    def local_port(self, value: int) -> None:
        port = check_int("local_port", value, 0, 65535)
        self._check_unlocked("local_port", 106)
        self._local_port = port

    @property
    def connected(self) -> bool:
        """Whether the connection is open. Assigning True connects, assigning False disconnects."""
        return self._opened

    @connected.setter
    def connected(self, value: bool) -> None:
        if check_bool("connected", value):
            if not self._opened:
                self.connect()
        else:
            self.disconnect()

    @property
    def ready_to_send(self) -> bool:
        """Whether more can be sent now; False once the socket is full or the peer's session window closed, until
        ``on_ready_to_send``."""
        return self._writable and self._opened

    def _check_unlocked(self, name: str, code: int) -> None:
        if self._pump is not None or self._connecting:
            raise AMQPError(code, f"{name} cannot be changed while connected")

    # -- proxy -----------------------------------------------------------------------------------------------------

    firewall_auto_detect: BoolProperty = BoolProperty(locked=211)
    """Whether to take the proxy from the environment's proxy variables, where firewall_type names none."""

    firewall_password: TextProperty = TextProperty(locked=211)
    """The password for the proxy. It never shows in a log or an error."""

    firewall_port: IntProperty = IntProperty(maximum=65535, locked=211)
    """The proxy's port, 0 for the usual one of its kind."""

    firewall_user: TextProperty = TextProperty(locked=211)
    """The user name for the proxy."""

    @property
    def firewall_host(self) -> str:
        """The proxy's name or address; while connected through it, the address it was resolved to."""
        address = self._proxy_address
        return address[0] if address is not None else self._firewall_host

    @firewall_host.setter
    def firewall_host(self, value: str) -> None:
        text = check_host("firewall_host", value)
        self._check_unlocked("firewall_host", 211)
        self._firewall_host = text

    @property
    def firewall_type(self) -> FirewallType:
        """The kind of proxy to connect through; assigning one sets ``firewall_port`` to the usual port of that kind."""
        return self._firewall_type

    @firewall_type.setter
    def firewall_type(self, value: FirewallType | int) -> None:
        kind = check_enum("firewall_type", FirewallType, value)
        self._check_unlocked("firewall_type", 211)
        self._set_firewall_type(kind)

    # -- TLS -------------------------------------------------------------------------------------------------------

    ssl_accept_server_cert_encoded: BytesProperty = BytesProperty(locked=211)
    """A server certificate (PEM, DER or base64) that is accepted whatever else is wrong with it."""

    ssl_cert_store: BytesProperty = BytesProperty(locked=211)
    """The store of the client certificate: a file name, the content, or a name, as ``ssl_cert_store_type`` says. A str
    is taken as UTF-8."""

    ssl_cert_store_password: TextProperty = TextProperty(locked=211)
    """The password of that store. It never shows in a log, an error or a ``repr``."""

    ssl_cert_store_type: EnumProperty[CertStoreType] = EnumProperty(CertStoreType, locked=211)
    """The kind of that store."""

    ssl_provider: EnumProperty[SSLProvider] = EnumProperty(SSLProvider, locked=211)
    """The TLS implementation; only the internal one (OpenSSL) exists on every system."""

    @property
    def ssl_cert_encoded(self) -> bytes:
        """The client certificate (PEM, DER or base64). Assigning one searches the store for its key, and sets
        ``ssl_cert_subject`` to its subject, or to nothing when the key is not there."""
        return self._ssl_cert_encoded

    @ssl_cert_encoded.setter
    def ssl_cert_encoded(self, value: bytes) -> None:
        encoded = check_bytes("ssl_cert_encoded", value)
        self._check_unlocked("ssl_cert_encoded", 211)
        self._select_encoded(encoded)

    @property
    def ssl_cert_subject(self) -> str:
        """The subject of the client certificate. Assigning one searches the store: for the exact subject, then for one
        that contains it, ``"*"`` for any; it then reads as the full subject, or as nothing when there is none."""
        return self._ssl_cert_subject

    @ssl_cert_subject.setter
    def ssl_cert_subject(self, value: str) -> None:
        subject = check_text("ssl_cert_subject", value)
        self._check_unlocked("ssl_cert_subject", 211)
        self._select_subject(subject)

    @property
    def ssl_enabled(self) -> bool:
        """Whether to connect with TLS. Assigning it moves ``remote_port`` between its two defaults, 5672 and 5671."""
        return self._ssl_enabled

    @ssl_enabled.setter
    def ssl_enabled(self, value: bool) -> None:
        enabled = check_bool("ssl_enabled", value)
        self._check_unlocked("ssl_enabled", 211)
        self._set_ssl_enabled(enabled)

    @property
    def ssl_server_cert_encoded(self) -> bytes:
        """The server's certificate as PEM, also when it was refused; empty before the first TLS connection."""
        return self._ssl_server_cert_encoded

    # -- the message to be sent ------------------------------------------------------------------------------------

    message_absolute_expiry_time: DraftInt = DraftInt(minimum=-1, maximum=9223372036854775807)
    """When the message expires, in milliseconds since 1970 UTC; 0 or -1 for never (messaging, "properties")."""

    message_content_encoding: DraftText = DraftText(ascii_only=True)
    """How the content is encoded, such as ``gzip``; sent with binary values only (messaging, "properties")."""

    message_content_type: DraftText = DraftText(ascii_only=True)
    """The media type of the content; sent with binary values only (messaging, "properties")."""

    message_correlation_id: DraftId = DraftId()
    """The id of the message that this one answers (messaging, "properties"). An int, a UUID or bytes make an id of that
    type; an id that was received keeps the type that it has."""

    message_creation_time: DraftInt = DraftInt(minimum=-1, maximum=9223372036854775807)
    """When the message was made, in milliseconds since 1970 UTC; 0 or -1 for unset (messaging, "properties")."""

    message_delivery_count: DraftInt = DraftInt(minimum=0, maximum=4294967295)
    """How many earlier deliveries failed, 0 to 2**32 - 1 (messaging, "header")."""

    message_durable: DraftBool = DraftBool()
    """Whether the message must survive a restart of whoever stores it (messaging, "header")."""

    message_first_acquirer: DraftBool = DraftBool()
    """Whether no other link has acquired the message before (messaging, "header")."""

    message_group_id: DraftText = DraftText()
    """The group that the message belongs to (messaging, "properties")."""

    message_group_sequence: DraftInt = DraftInt(minimum=-1, maximum=4294967295)
    """The position in the group, 0 to 2**32 - 1, or -1; sent only with a group id (messaging, "properties")."""

    message_link_name: ReadOnlyDraftText = ReadOnlyDraftText()
    """The link that the message was sent on last."""

    message_id: FastId = FastId()
    """The id of the message (messaging, "properties"). An int, a UUID or bytes make an id of that type; an id that was
    received keeps the type that it has."""

    message_priority: DraftInt = DraftInt(minimum=0, maximum=255)
    """How urgent the message is, 0 to 255, higher is more (messaging, "header")."""

    message_reply_to: DraftText = DraftText()
    """The address that answers go to (messaging, "properties")."""

    message_reply_to_group_id: DraftText = DraftText()
    """The group that answers belong to (messaging, "properties")."""

    message_settled: DraftBool = DraftBool()
    """Whether to send settled, without an outcome; ignored unless the link's settle mode is mixed."""

    message_subject: DraftText = DraftText()
    """What the message is about (messaging, "properties")."""

    message_to: DraftText = DraftText()
    """The address that the message is meant for (messaging, "properties")."""

    message_ttl: DraftInt = DraftInt(minimum=-1, maximum=4294967295)
    """Time to live in milliseconds, 0 to 2**32 - 1; -1 for none (messaging, "header")."""

    message_user_id: DraftText = DraftText(errors="surrogateescape")
    """Who made the message; sent as its UTF-8 bytes, lone surrogates as the bytes that they represent (messaging,
    "properties")."""

    message_value: FastText = FastText()
    """The value as text, read as ``message_value_type`` says; checked when the message is sent."""

    message_value_type: DraftEnum[ValueType] = DraftEnum(ValueType)
    """The AMQP type of the value (types, "type-system")."""

    # -- the message received last ---------------------------------------------------------------------------------

    received_message_absolute_expiry_time: ReceivedInt = ReceivedInt()
    """When it expires, in milliseconds since 1970 UTC; -1 when it says nothing."""

    received_message_content_encoding: ReceivedText = ReceivedText()
    """How its content is encoded, such as `gzip`; empty when it says nothing."""

    received_message_content_type: ReceivedText = ReceivedText()
    """The media type of its content; empty when it says nothing."""

    received_message_correlation_id: ReceivedText = ReceivedText()
    """The id of the message that it answers, as text; empty for none."""

    received_message_creation_time: ReceivedInt = ReceivedInt()
    """When it was made, in milliseconds since 1970 UTC; -1 when it says nothing."""

    received_message_delivery_count: ReceivedInt = ReceivedInt()
    """How many earlier deliveries of it failed."""

    received_message_durable: ReceivedBool = ReceivedBool()
    """Whether it was sent as durable."""

    received_message_first_acquirer: ReceivedBool = ReceivedBool()
    """Whether no other link has acquired it before."""

    received_message_group_id: ReceivedText = ReceivedText()
    """The group that it belongs to; empty for none."""

    received_message_group_sequence: ReceivedInt = ReceivedInt()
    """Its position in the group; -1 when it says nothing."""

    received_message_link_name: ReceivedText = ReceivedText()
    """The link that it arrived on."""

    received_message_id: ReceivedText = ReceivedText()
    """Its id as text: a ulong in decimal, a UUID with hyphens, binary in upper-case hexadecimal; empty for none.
    Assigned to ``message_id`` or ``message_correlation_id`` it keeps its type."""

    received_message_priority: ReceivedInt = ReceivedInt()
    """How urgent it is, 0 to 255, higher is more; 4 when it says nothing."""

    received_message_reply_to: ReceivedText = ReceivedText()
    """The address that answers go to; empty for none."""

    received_message_reply_to_group_id: ReceivedText = ReceivedText()
    """The group that answers belong to; empty for none."""

    received_message_settled: ReceivedBool = ReceivedBool()
    """Whether it arrived settled; then it gets no outcome."""

    received_message_subject: ReceivedText = ReceivedText()
    """What it is about; empty when it says nothing."""

    received_message_to: ReceivedText = ReceivedText()
    """The address that it was meant for; empty when it says nothing."""

    received_message_ttl: ReceivedInt = ReceivedInt()
    """Its time to live in milliseconds; -1 for none."""

    received_message_user_id: ReceivedText = ReceivedText()
    """Who made it; bytes that are not UTF-8 are lone surrogates. Empty when it says nothing."""

    received_message_value: ReceivedText = ReceivedText()
    """Its value as text, in the form that ``received_message_value_type`` has; 604 when it cannot be decoded."""

    received_message_value_type: ReceivedValueType = ReceivedValueType()
    """The AMQP type of its value: ``mvtBinary`` for data sections, ``mvtJson`` for all that is composite."""

    # -- lists -----------------------------------------------------------------------------------------------------

    @property
    def session_count(self) -> int:
        """How many sessions there are: ``get_session_...`` take the indexes from 0 to one less."""
        return len(self._sessions)

    @property
    def link_count(self) -> int:
        """How many links there are: ``get_link_...`` take the indexes from 0 to one less."""
        return len(self._links)

    @property
    def incoming_message_count(self) -> int:
        """How many messages are partly here or being handled: ``get_incoming_message_...`` take 0 to one less."""
        return self._count_incoming()

    @property
    def outgoing_message_count(self) -> int:
        """How many unsettled messages have no outcome yet: ``get_outgoing_message_...`` take 0 to one less.

        They stay readable when the connection has ended, until the next connect().
        """
        return len(self._outgoing)

    def _get_session(self, index: int) -> SessionRecord:
        return self._sessions.at(index, "session_index")

    def _get_link(self, index: int) -> LinkRecord:
        return self._links.at(index, "link_index")

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
        try:
            self._enter()
            self._connect()
        finally:
            self._leave()

    def connect_to(self, host: str, port: int) -> None:
        """Set ``remote_host`` and ``remote_port``, then :meth:`connect`.

        Args:
            host: the name or address of the server.
            port: its port, 1 to 65535.

        Raises:
            AMQPError: as for :meth:`connect`; 604 for a host or a port that cannot be one. Then neither is changed.
        """
        try:
            self._enter()
            self._check_not_connected()
            # Both are checked before either is changed.
            name = check_host("remote_host", host)
            self.remote_port = port
            self.remote_host = name
            self._connect()
        finally:
            self._leave()

    def disconnect(self) -> None:
        """Close links, sessions and the connection, in order; wait for the server's close, at most for ``timeout``.

        ``on_disconnected`` fires with 0 and "OK", also when the server does not answer in time: that is only logged.
        Messages that no handler has seen go back to their senders. Unsettled outgoing messages stay readable until the
        next :meth:`connect`. Does nothing when not connected.

        Raises:
            AMQPError: 10004 when :meth:`interrupt` ended the wait; the connection is gone all the same.
        """
        try:
            self._enter()
            self._disconnect()
        finally:
            self._leave()

    def create_session(self, name: str) -> None:
        """Begin a session (transport, "establishing a session").

        Args:
            name: a name of the program's choice, not empty, and unique among its sessions. It does not travel.

        Raises:
            AMQPError: 600 when the name is taken or the server ends the session; 603 when MaxSessionCount or the
                server's own limit is reached; 201 when the server does not answer in time; 1117 when not connected.
        """
        try:
            self._enter()
            self._create_session(name)
        finally:
            self._leave()

    def close_session(self, name: str) -> None:
        """End a session and close its links (transport, "ending a session").

        Args:
            name: the session. It and its links are gone from the lists at once, also when the call fails after that.

        Raises:
            AMQPError: 600 when there is no such session; 201 when the server does not answer in time; 1117 when not
                connected.
        """
        try:
            self._enter()
            self._close_session(name)
        finally:
            self._leave()

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
        try:
            self._enter()
            self._create_sender(session_name, name, target)
        finally:
            self._leave()

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
        try:
            self._enter()
            self._create_receiver(session_name, name, source)
        finally:
            self._leave()

    def close_link(self, name: str) -> None:
        """Close a link (transport, "closing a link"). Messages that no handler has seen go back to their sender.

        Args:
            name: the link. It is gone from the list at once, also when the call fails after that.

        Raises:
            AMQPError: 600 when there is no such link; 201 when the server does not answer in time; 1117 when not
                connected.
        """
        try:
            self._enter()
            self._close_link(name)
        finally:
            self._leave()

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
        try:
            self._enter()
            self._send(link_name)
        except AMQPError as error:
            self._raise_with_unheard(error)
        finally:
            self._leave()

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
        try:
            self._enter()
            self._send(link_name, message)
        except AMQPError as error:
            self._raise_with_unheard(error)
        finally:
            self._leave()

    @property
    def received_message(self) -> Message | None:
        """The message that ``received_message_...`` describe, with all its sections; None before there was one.

        An addition to the reference. A section that cannot be decoded raises DecodeError when it is looked at.
        """
        received = self._received
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
        return self._undelivered

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
        try:
            self._enter()
            return self._send_many(link_name, values, ids)
        except AMQPError as error:
            self._raise_with_unheard(error)
        finally:
            self._leave()

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
        try:
            self._enter()
            self._fetch(link_name)
        finally:
            self._leave()

    def do_events(self) -> None:
        """Handle everything that has arrived; with nothing there, wait up to 20 milliseconds for something.

        Without a connection it waits as long, so that a loop around it does not use up the processor.

        From a server that never pauses it reads for a tenth of a second; handling what was read may take longer. Also
        sends the heartbeat that is due and gives up a server that has been silent for ``idle_timeout``.
        """
        try:
            self._enter()
            self._do_events()
        finally:
            self._leave()

    def interrupt(self) -> None:
        """Make the blocked call raise 10004 at once. May be called from any thread and from signal handlers.

        The connection stays usable. Without a blocked call it does nothing; a loop around :meth:`do_events`, which is
        not blocked between its calls, needs a condition of its own.
        """
        waiter = self._waiter
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
        try:
            self._enter()
            return configure(self, configuration_string)
        finally:
            self._leave()

    def reset(self) -> None:
        """Disconnect, then set every property and setting to its default. Event handlers stay."""
        try:
            self._enter()
            try:
                self._disconnect()
            finally:
                # Also when a handler has failed, or interrupt() was called.
                self._reset()
                self._set_network_defaults()
                self._set_defaults()
        finally:
            self._leave()

    def reset_message(self) -> None:
        """Set the ``message_...`` properties to their defaults."""
        try:
            self._enter()
            self._draft.reset()
        finally:
            self._leave()

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
        state = "connected to" if self._opened else "not connected to"
        return f"<AMQP {state} {self._remote_host or 'any host'}:{self._remote_port}>"

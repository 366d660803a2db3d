"""The properties of the component as data: names, types, defaults, which can be assigned, which take an index.

This is the one place for these facts. The getter and setter methods (``accessors.py``) are generated from it, and the
tests compare both it and the classes with the documented surface. The four message families are one set of fields seen
four ways, so the fields are listed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from amqp10.component.enums import (
    AuthScheme,
    CertStoreType,
    FirewallType,
    LinkReceiveMode,
    LinkRole,
    ReceiveMode,
    SSLProvider,
    ValueType,
)

__all__ = [
    "FieldSpec",
    "LINK_FIELDS",
    "MESSAGE_FIELDS",
    "PROPERTIES",
    "PROPERTIES_BY_NAME",
    "PropertySpec",
    "PropertyType",
    "PropertyValue",
    "SESSION_FIELDS",
    "phrase",
]

PropertyType = type[int] | type[bool] | type[str] | type[bytes]
PropertyValue = int | bool | str | bytes
EnumType = type[IntEnum]


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of a family (messages, links, sessions).

    Attributes:
        name: the name without the family's prefix.
        type: the Python type of the value.
        default: the value when nothing has been set or received.
        doc: what the field is; see :func:`phrase`. Of a message the one that a program is about to send.
        settable: whether a program may assign it on the message it is about to send.
        enum: the enumeration that an int value belongs to.
        seen: what the field is on a message that was sent or received, where that is something else.
    """

    name: str
    type: PropertyType
    default: PropertyValue
    doc: str
    settable: bool = True
    enum: EnumType | None = None
    seen: str = ""


@dataclass(frozen=True, slots=True)
class PropertySpec:
    """One property of the component.

    Attributes:
        name: the full name.
        type: the Python type of the value.
        default: the value of a new instance; for indexed ones, of an item that does not have the field.
        settable: whether it can be assigned.
        index: the name of the index parameter; ``None`` for a property without an index.
        doc: what it is; see :func:`phrase`.
        family: ``"message"``, ``"received_message"``, ``"incoming_message"``, ``"outgoing_message"``, ``"link"`` or
            ``"session"`` for a field of a family, otherwise empty.
        field: the name within the family, otherwise empty.
        enum: the enumeration that an int value belongs to.
    """

    name: str
    type: PropertyType
    default: PropertyValue
    settable: bool
    index: str | None
    doc: str
    family: str = ""
    field: str = ""
    enum: EnumType | None = None


def phrase(doc: str) -> str:
    """What a property is, to be read after "Return": with an article unless it starts with "whether"."""
    return doc if doc.startswith("whether ") else f"the {doc}"


MESSAGE_FIELDS: Final[tuple[FieldSpec, ...]] = (
    FieldSpec(
        "absolute_expiry_time",
        int,
        0,
        "time at which the message expires, in milliseconds since 1970 UTC; 0 or -1 for never",
        seen="time at which the message expires, in milliseconds since 1970 UTC; -1 when it states none",
    ),
    FieldSpec(
        "content_encoding",
        str,
        "",
        "encoding of the content, such as gzip; sent with binary values only",
        seen="encoding of the content, such as gzip; empty when it states none",
    ),
    FieldSpec(
        "content_type",
        str,
        "",
        "media type of the content, such as application/json; sent with binary values only",
        seen="media type of the content, such as application/json; empty when it states none",
    ),
    FieldSpec("correlation_id", str, "", "id of the message that this one answers; empty for none"),
    FieldSpec(
        "creation_time",
        int,
        0,
        "time at which the message was made, in milliseconds since 1970 UTC; 0 or -1 for unset",
        seen="time at which the message was made, in milliseconds since 1970 UTC; -1 when it states none",
    ),
    FieldSpec("delivery_count", int, 0, "number of earlier deliveries that failed"),
    FieldSpec("durable", bool, False, "whether the message must survive a restart of whoever stores it"),
    FieldSpec("first_acquirer", bool, False, "whether no other link has acquired the message before"),
    FieldSpec("group_id", str, "", "group that the message belongs to; empty for none"),
    FieldSpec(
        "group_sequence",
        int,
        0,
        "position of the message in its group; sent only with a group id",
        seen="position of the message in its group; -1 when it states none",
    ),
    FieldSpec(
        "link_name",
        str,
        "",
        "name of the link that the message was sent on last",
        settable=False,
        seen="name of the link that the message travels on",
    ),
    FieldSpec("id", str, "", "id of the message; empty for none"),
    FieldSpec("priority", int, 4, "priority of the message, 0 to 255; higher is more urgent, 4 is usual"),
    FieldSpec("reply_to", str, "", "address that answers go to; empty for none"),
    FieldSpec("reply_to_group_id", str, "", "group that answers belong to; empty for none"),
    FieldSpec(
        "settled",
        bool,
        True,
        "whether to send the message settled, without an outcome; a link of mode mixed asks for it",
        seen="whether the sender has settled the message, so that it gets no outcome",
    ),
    FieldSpec("subject", str, "", "subject of the message; empty for none"),
    FieldSpec("to", str, "", "address that the message is meant for; empty for none"),
    FieldSpec("ttl", int, -1, "time to live in milliseconds; -1 for none"),
    FieldSpec("user_id", str, "", "user who made the message; bytes that are not UTF-8 are lone surrogates"),
    FieldSpec(
        "value",
        str,
        "",
        "value of the message as text, read as message_value_type says",
        seen="value of the message as text, in the form that its type has",
    ),
    FieldSpec("value_type", int, 0, "AMQP type of the value, one of ValueType", enum=ValueType),
)

LINK_FIELDS: Final[tuple[FieldSpec, ...]] = (
    FieldSpec("available", int, 0, "number of messages that wait at the sender for credit, as far as it tells"),
    FieldSpec("channel_name", str, "", "name of the session that carries the link"),
    FieldSpec("credit", int, 0, "number of messages that the link's sender may send now"),
    FieldSpec("delivery_count", int, 0, "delivery count of the link: its messages so far, modulo 2**32"),
    FieldSpec("name", str, "", "name of the link"),
    FieldSpec("ready_to_send", bool, False, "whether a sender link has credit; always False for a receiver link"),
    FieldSpec(
        "receive_mode",
        int,
        0,
        "mode of a receiver link, one of LinkReceiveMode; without meaning for a sender link",
        enum=LinkReceiveMode,
    ),
    FieldSpec("role", int, 0, "end of the link that this side is, one of LinkRole", enum=LinkRole),
)

SESSION_FIELDS: Final[tuple[FieldSpec, ...]] = (
    FieldSpec("incoming_window", int, 0, "number of transfer frames that the session takes at a time"),
    FieldSpec("name", str, "", "name of the session"),
    FieldSpec("outgoing_window", int, 0, "number of transfer frames that the session sends at a time"),
)


def _plain(
    name: str,
    type_: PropertyType,
    default: PropertyValue,
    doc: str,
    *,
    settable: bool = True,
    enum: EnumType | None = None,
) -> PropertySpec:
    return PropertySpec(name, type_, default, settable, None, doc, enum=enum)


def _family(
    family: str, fields: tuple[FieldSpec, ...], *, indexed: bool, settable: bool = False
) -> tuple[PropertySpec, ...]:
    return tuple(
        PropertySpec(
            f"{family}_{field.name}",
            field.type,
            field.default,
            settable and field.settable,
            f"{family}_index" if indexed else None,
            field.doc if settable or not field.seen else field.seen,
            family,
            field.name,
            field.enum,
        )
        for field in fields
    )


# In the order of the documentation.
PROPERTIES: Final[tuple[PropertySpec, ...]] = (
    _plain("auth_scheme", int, 2, "way to authenticate, one of AuthScheme", enum=AuthScheme),
    _plain("connected", bool, False, "whether the connection is open; assigning connects or disconnects"),
    _plain("container_id", str, "", "name under which this client is known to the server"),
    _plain("fetch_timeout", int, 60, "longest wait of fetch_message in seconds; 0 waits for ever"),
    _plain("firewall_auto_detect", bool, False, "whether to take the proxy from the environment's proxy variables"),
    _plain("firewall_type", int, 0, "kind of proxy, one of FirewallType", enum=FirewallType),
    _plain("firewall_host", str, "", "host name or address of the proxy"),
    _plain("firewall_password", str, "", "password for the proxy"),
    _plain("firewall_port", int, 0, "port of the proxy"),
    _plain("firewall_user", str, "", "user name for the proxy"),
    _plain(
        "idle_timeout",
        int,
        0,
        "seconds without data after which the connection is given up; 0 for no limit",
    ),
    _plain(
        "incoming_message_count", int, 0, "number of messages that are partly here or being handled", settable=False
    ),
    *_family("incoming_message", MESSAGE_FIELDS, indexed=True),
    _plain("link_count", int, 0, "number of links", settable=False),
    *_family("link", LINK_FIELDS, indexed=True),
    _plain("local_host", str, "", "local name or address to connect from; while connected, the address in use"),
    _plain("local_port", int, 0, "local port to connect from, 0 for any; while connected, the port in use"),
    *_family("message", MESSAGE_FIELDS, indexed=False, settable=True),
    _plain("outgoing_message_count", int, 0, "number of unsettled messages that have no outcome yet", settable=False),
    *_family("outgoing_message", MESSAGE_FIELDS, indexed=True),
    _plain("password", str, "", "password to authenticate with"),
    _plain("ready_to_send", bool, False, "whether more can be sent now", settable=False),
    *_family("received_message", MESSAGE_FIELDS, indexed=False),
    _plain("receive_mode", int, 0, "mode of new receiver links, one of ReceiveMode", enum=ReceiveMode),
    _plain("remote_host", str, "", "name or address of the server; while connected, the address it was resolved to"),
    _plain("remote_port", int, 5672, "port of the server"),
    _plain("session_count", int, 0, "number of sessions", settable=False),
    *_family("session", SESSION_FIELDS, indexed=True),
    _plain("ssl_accept_server_cert_encoded", bytes, b"", "server certificate to accept whoever signed it (PEM)"),
    _plain("ssl_cert_encoded", bytes, b"", "client certificate (PEM)"),
    _plain("ssl_cert_store", bytes, b"MY", "store of the client certificate: a path, a name, or the content itself"),
    _plain("ssl_cert_store_password", str, "", "password of the client certificate's store"),
    _plain("ssl_cert_store_type", int, 0, "kind of store, one of CertStoreType", enum=CertStoreType),
    _plain("ssl_cert_subject", str, "", "subject that selects the client certificate in its store"),
    _plain("ssl_enabled", bool, False, "whether to connect with TLS"),
    _plain("ssl_provider", int, 0, "TLS implementation, one of SSLProvider", enum=SSLProvider),
    _plain("ssl_server_cert_encoded", bytes, b"", "server's certificate (PEM)", settable=False),
    _plain("timeout", int, 60, "longest wait of an operation in seconds; with 0 send_message never waits"),
    _plain("user", str, "", "user name to authenticate with"),
)

PROPERTIES_BY_NAME: Final[dict[str, PropertySpec]] = {spec.name: spec for spec in PROPERTIES}

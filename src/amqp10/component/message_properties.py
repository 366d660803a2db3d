"""The ``message_...`` and ``received_message_...`` properties of the class ``AMQP``, each one line."""

from __future__ import annotations

from amqp10.component.enums import ValueType
from amqp10.component.fields import (
    DraftBool,
    DraftEnum,
    DraftId,
    DraftInt,
    DraftText,
    FastId,
    FastText,
    ReadOnlyDraftText,
    ReceivedBool,
    ReceivedInt,
    ReceivedText,
    ReceivedValueType,
)

__all__ = ["MessageProperties"]


class MessageProperties:
    """The message to be sent, and the one that was received last."""

    __slots__ = ()

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

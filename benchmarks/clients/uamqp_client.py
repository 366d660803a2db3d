"""uamqp, for benchmarks/run.py; in an environment of its own. Only the codec: it connects over TLS and nothing else.

Strings come back as bytes; the works decode them, as a program would.
"""

import sys

import common
from uamqp import Message
from uamqp.constants import MessageBodyType
from uamqp.message import MessageProperties


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def pairs(value):
    return {text(key): text(item) for key, item in value.items()}


def main(work, port, count, size):
    def fields(message):
        properties = message.properties
        return (
            text(properties.message_id),
            text(properties.subject),
            pairs(message.application_properties),
            text(message.get_data()),
        )

    common.codec(
        work,
        count,
        lambda message_id, subject, properties, text: Message(
            body=text,
            body_type=MessageBodyType.Value,
            properties=MessageProperties(message_id=message_id, subject=subject),
            application_properties=properties,
        ),
        lambda: Message(body=common.LARGE_MAP, body_type=MessageBodyType.Value),
        Message.encode_message,
        Message.decode_from_bytes,
        fields,
        lambda message: pairs(message.get_data()),
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))

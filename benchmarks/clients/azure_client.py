"""The pure-Python AMQP inside azure-servicebus, for benchmarks/run.py; in an environment of its own.

It is private to that package, which is why underscores are used here. Its strings come back as bytes; the works decode
them, as a program would.
"""

import sys
import time

import common
from azure.servicebus._pyamqp import ReceiveClient, SendClient, _decode, _encode
from azure.servicebus._pyamqp.authentication import SASLPlainAuth
from azure.servicebus._pyamqp.message import Message, Properties
from azure.servicebus._pyamqp.outcomes import Accepted


def open_client(kind, port, address, **options):
    if common.CA:
        # With TLS the port of the host's name counts for nothing.
        options.update(connection_verify=common.CA, custom_endpoint_address=f"amqps://127.0.0.1:{port}")
    else:
        options.update(use_tls=False)
    client = kind(f"127.0.0.1:{port}", address, auth=SASLPlainAuth(common.USER, common.PASSWORD), **options)
    client.open()
    while not client.client_ready() or (kind is SendClient and not client._link.current_link_credit):
        client.do_work()
    return client


def make(i, size):
    return Message(properties=Properties(message_id=f"id-{i:07}"), value="x" * size)


def send(port, count, size, sink, settled):
    client = open_client(SendClient, port, sink, send_settle_mode=1 if settled else 0)
    done = 0

    def complete(reason, state):
        nonlocal done
        done += 1

    cpu = time.process_time()
    start = time.perf_counter()
    for i in range(count):
        client._link.send_transfer(make(i, size), on_send_complete=complete)
        if i % 500 == 499 and not settled:
            client._connection.listen(wait=False)
    while done < count and not settled:
        client.do_work()
    common.report(count, time.perf_counter() - start, time.process_time() - cpu)
    client.close()


def receive(port, count, size, source):
    client = open_client(ReceiveClient, port, source, link_credit=1000, receive_settle_mode=0)
    done = 0

    def take(frame, message):
        nonlocal done
        assert message.properties.message_id.decode()
        assert message.value.decode()
        done += 1
        return Accepted()

    client._link._on_transfer = take
    cpu = time.process_time()
    start = time.perf_counter()
    while done < count:
        client.do_work(batch=1000)
    common.report(count, time.perf_counter() - start, time.process_time() - cpu)
    client.close()


def latency(port, count, size, sink):
    client = open_client(SendClient, port, sink)
    latencies = []
    cpu = time.process_time()
    begin = time.perf_counter()
    for i in range(count):
        start = time.perf_counter()
        client.send_message(make(i, size))
        latencies.append(time.perf_counter() - start)
    common.report(count, time.perf_counter() - begin, time.process_time() - cpu, latencies)
    client.close()


def connect(port, count, sink):
    open_client(SendClient, port, sink).close()
    cpu = time.process_time()
    start = time.perf_counter()
    latencies = []
    for _ in range(count):
        before = time.perf_counter()
        client = open_client(SendClient, port, sink)
        latencies.append(time.perf_counter() - before)
        # It says goodbye, and does not wait for the answers.
        client.close()
    common.report(count, time.perf_counter() - start, time.process_time() - cpu, latencies)


def encode(message):
    data = bytearray()
    _encode.encode_payload(data, message)
    return data


def fields(message):
    properties = {
        key.decode(): value.decode() if isinstance(value, bytes) else value
        for key, value in message.application_properties.items()
    }
    return (
        message.properties.message_id.decode(),
        message.properties.subject.decode(),
        properties,
        message.value.decode(),
    )


def codec(work, count):
    common.codec(
        work,
        count,
        lambda message_id, subject, properties, text: Message(
            properties=Properties(message_id=message_id, subject=subject),
            application_properties=properties,
            value=text,
        ),
        lambda: Message(value=common.LARGE_MAP),
        encode,
        lambda data: _decode.decode_payload(memoryview(data)),
        fields,
        lambda message: {key.decode(): value for key, value in message.value.items()},
    )


def main(work, port, count, size, sink="sink", source=""):
    if work.startswith(("encode", "decode")):
        codec(work, count)
    elif work == "latency":
        latency(port, count, size, sink)
    elif work == "connect":
        connect(port, count, sink)
    elif work == "receive":
        receive(port, count, size, source or f"source/{count}/{size}")
    else:
        send(port, count, size, sink, work == "send-settled")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])

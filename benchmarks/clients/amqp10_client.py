"""This project's client, for benchmarks/run.py. Prints one line of JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import common

from amqp10 import AMQP, AMQPError, AMQPMessageInEventParams, AMQPMessageOutEventParams, ReceiveMode, ValueType


class Client:
    """One kind of work against a server: ``sink`` and ``source`` are addresses there."""

    def __init__(self, work: str, port: int, count: int, size: int, sink: str, source: str) -> None:
        self.work = work
        self.port = port
        self.count = count
        self.size = size
        self.sink = sink
        self.source = source
        self.done = 0
        self.awaited = ""
        self.latencies: list[float] = []
        self.more: dict[str, float] = {}
        self.amqp = self.component()

    def component(self) -> AMQP:
        """An instance that is set up, but not connected."""
        amqp = AMQP()
        amqp.user = common.USER
        amqp.password = common.PASSWORD
        amqp.message_value_type = ValueType.mvtString
        amqp.message_settled = self.work == "send-settled"
        amqp.message_value = "x" * self.size
        # What the other clients are told, too.
        amqp.config("DefaultCredit=1000")
        amqp.config("DefaultCreditThreshold=500")
        if common.CA:
            amqp.ssl_enabled = True
            amqp.config(f"OpenSSLCAFile={common.CA}")
        return amqp

    def run(self) -> None:
        """Connect, do it, report it."""
        amqp = self.amqp
        if self.work != "connect":
            amqp.connect_to("127.0.0.1", self.port)
            amqp.create_session("s")
            amqp.on_message_out = self.on_out
            amqp.on_message_in = self.on_in
        prepare = getattr(self, "prepare_" + self.work.replace("-", "_"), None)
        if prepare is not None:
            prepare()
        elif self.work.startswith(("send", "latency")):
            amqp.create_sender_link("s", "out", self.sink)
        works: dict[str, Callable[[], None]] = {
            "send": self.send,
            "send-settled": self.send,
            "send-batched": self.send_batched,
            "latency": self.latency,
            "request": self.request,
            "receive": self.receive,
            "receive-settled": self.receive,
            "connect": self.connect,
            "links": self.links,
            "outstanding": self.outstanding,
        }
        self.begin()
        works[self.work]()
        seconds = time.perf_counter() - self.start
        cpu = time.process_time() - self.cpu
        amqp.disconnect()
        common.report(self.count, seconds, cpu, self.latencies, **self.more)

    def begin(self) -> None:
        """Measure from now on."""
        self.latencies.clear()
        self.cpu = time.process_time()
        self.start = time.perf_counter()

    def on_out(self, _: AMQPMessageOutEventParams) -> None:
        """A message has its outcome."""
        self.done += 1

    def on_in(self, event: AMQPMessageInEventParams) -> None:
        """A message has come: the id and the body are read."""
        self.done += 1
        assert event.message_id
        assert self.amqp.received_message_value

    def until(self, done: int) -> None:
        """Work the connection until so many messages are through."""
        try:
            while self.done < done:
                self.amqp.do_events()
        except AMQPError:
            # Proton's program closes the connection when it has its messages.
            if self.done < done:
                raise

    def send(self) -> None:
        """One call for each message."""
        amqp = self.amqp
        for i in range(self.count):
            amqp.message_id = f"id-{i:07}"
            amqp.send_message("out")
        self.until(self.count)

    def send_batched(self) -> None:
        """One call for all messages."""
        ids = [f"id-{i:07}" for i in range(self.count)]
        self.amqp.send_messages("out", ["x" * self.size] * self.count, ids=ids)
        self.until(self.count)

    def latency(self) -> None:
        """Each message waits for the outcome of the one before."""
        amqp = self.amqp
        for i in range(self.count):
            start = time.perf_counter()
            amqp.message_id = f"id-{i:07}"
            amqp.send_message("out")
            self.until(i + 1)
            self.latencies.append(time.perf_counter() - start)

    def prepare_request(self) -> None:
        """A link for requests and one for responses, which have gone once round."""
        amqp = self.amqp
        amqp.create_sender_link("s", "out", "service")
        amqp.receive_mode = ReceiveMode.rmAutomatic
        amqp.create_receiver_link("s", "in", "replies")
        amqp.on_message_out = lambda _: None
        amqp.on_message_in = self.on_response
        amqp.message_reply_to = "replies"

    def request(self) -> None:
        """Each request waits for the response to the one before."""
        amqp = self.amqp
        for i in range(self.count):
            start = time.perf_counter()
            amqp.message_id = f"id-{i:07}"
            amqp.message_correlation_id = self.awaited = f"request-{i}"
            amqp.send_message("out")
            self.until(i + 1)
            self.latencies.append(time.perf_counter() - start)

    def on_response(self, _: AMQPMessageInEventParams) -> None:
        """A response has come: it is the one that is awaited, and its body is read."""
        assert self.amqp.received_message_correlation_id == self.awaited
        assert self.amqp.received_message_value
        self.done += 1

    def receive(self) -> None:
        """Everything that the source has."""
        self.amqp.receive_mode = ReceiveMode.rmAutomatic
        self.amqp.create_receiver_link("s", "in", self.source)
        self.until(self.count)

    def connect(self) -> None:
        """Connection, session, link, and the end of it."""
        for number in range(self.count + 1):
            if number == 1:
                self.begin()
            start = time.perf_counter()
            amqp = self.component()
            amqp.connect_to("127.0.0.1", self.port)
            amqp.create_session("s")
            amqp.create_sender_link("s", "out", self.sink)
            self.latencies.append(time.perf_counter() - start)
            amqp.disconnect()

    def prepare_links(self) -> None:
        """As many links as ``size`` says."""
        for i in range(self.size):
            self.amqp.create_sender_link("s", f"link-{i}", self.sink)
        self.amqp.message_value = common.TEXT

    def links(self) -> None:
        """Messages over all links in turn."""
        for i in range(self.count):
            self.amqp.send_message(f"link-{i % self.size}")
        self.until(self.count)

    def prepare_outstanding(self) -> None:
        """As many messages without an outcome as ``size`` says."""
        amqp = self.amqp
        amqp.create_sender_link("s", "out", "hold")
        before = common.resident_kib()
        values = [common.TEXT] * 1000
        for start in range(0, self.size, 1000):
            amqp.send_messages("out", values, ids=[f"id-{i:07}" for i in range(start, start + 1000)])
        self.more["kib_before"] = before
        self.more["kib_after"] = common.resident_kib()
        amqp.message_value = common.TEXT

    def outstanding(self) -> None:
        """Some more messages on top of those."""
        for i in range(self.count):
            self.amqp.message_id = f"id-{i:07}"
            self.amqp.send_message("out")


def codec(work: str, count: int) -> None:
    """Messages to bytes and back."""
    from amqp10.wire.message import Message
    from amqp10.wire.messaging import Properties

    def fields(message: Message) -> object:
        properties = message.properties
        assert properties is not None
        return properties.message_id, properties.subject, message.application_properties, message.value

    common.codec(
        work,
        count,
        lambda message_id, subject, properties, text: Message(
            properties=Properties(message_id=message_id, subject=subject),
            application_properties=properties,
            value=text,
        ),
        lambda: Message(value=common.LARGE_MAP),
        Message.encode,
        Message.decode,
        fields,
        lambda message: message.value,
    )


def main(work: str, port: int, count: int, size: int, sink: str = "sink", source: str = "") -> None:
    """Do one kind of work and report it."""
    if work.startswith(("encode", "decode")):
        codec(work, count)
        return
    kind = "settled" if work == "receive-settled" else "source"
    Client(work, port, count, size, sink, source or f"{kind}/{count}/{size}").run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])

"""python-qpid-proton, for benchmarks/run.py. Runs in a virtual environment of its own. Prints one line of JSON."""

import sys
import time

import common
from proton import Message, SSLDomain
from proton.handlers import MessagingHandler
from proton.reactor import AtMostOnce, Container
from proton.utils import BlockingConnection, SyncRequestResponse


class Send(MessagingHandler):
    def __init__(self, url, count, size, sink, settled):
        super().__init__()
        self.url, self.count, self.size, self.sink, self.settled = url, count, size, sink, settled
        self.sent = self.done = 0
        self.start = self.cpu = 0.0

    def on_start(self, event):
        connection = event.container.connect(self.url)
        event.container.create_sender(connection, self.sink, options=AtMostOnce() if self.settled else None)

    def on_sendable(self, event):
        if not self.start:
            self.start = time.perf_counter()
            self.cpu = time.process_time()
        while event.sender.credit and self.sent < self.count:
            event.sender.send(Message(id=f"id-{self.sent:07}", body="x" * self.size))
            self.sent += 1
            if self.sent % 1000 == 0:
                self.again(event)
                return
        if self.settled and self.sent == self.count:
            self.finish(event)

    def again(self, event):
        event.container.schedule(0, Again(self, event.sender))

    def on_accepted(self, event):
        self.done += 1
        if self.done == self.count:
            self.finish(event)

    def finish(self, event):
        common.report(self.count, time.perf_counter() - self.start, time.process_time() - self.cpu)
        event.connection.close()


class Again(MessagingHandler):
    """Goes on sending after the I/O has had its turn: the credit alone would never stop the loop."""

    def __init__(self, outer, sender):
        super().__init__()
        self.outer, self.sender = outer, sender

    def on_timer_task(self, event):
        outer = self.outer
        while self.sender.credit and outer.sent < outer.count:
            self.sender.send(Message(id=f"id-{outer.sent:07}", body="x" * outer.size))
            outer.sent += 1
            if outer.sent % 1000 == 0 and outer.sent < outer.count:
                event.container.schedule(0, self)
                return


class Receive(MessagingHandler):
    def __init__(self, url, count, source):
        super().__init__(prefetch=1000)
        self.url, self.count, self.source = url, count, source
        self.done = 0

    def on_start(self, event):
        connection = event.container.connect(self.url)
        self.start = time.perf_counter()
        self.cpu = time.process_time()
        event.container.create_receiver(connection, self.source)

    def on_message(self, event):
        assert event.message.id
        assert event.message.body
        self.done += 1
        if self.done == self.count:
            common.report(self.count, time.perf_counter() - self.start, time.process_time() - self.cpu)
            event.connection.close()


def latency(url, count, size, sink):
    connection = BlockingConnection(url)
    sender = connection.create_sender(sink)
    latencies = []
    cpu = time.process_time()
    begin = time.perf_counter()
    for i in range(count):
        start = time.perf_counter()
        sender.send(Message(id=f"id-{i:07}", body="x" * size))
        latencies.append(time.perf_counter() - start)
    common.report(count, time.perf_counter() - begin, time.process_time() - cpu, latencies)
    connection.close()


def request(url, count, size):
    connection = BlockingConnection(url)
    client = SyncRequestResponse(connection, "service")
    assert client.call(Message(id="id", body="x" * size)).body
    latencies = []
    cpu = time.process_time()
    begin = time.perf_counter()
    for i in range(count):
        start = time.perf_counter()
        assert client.call(Message(id=f"id-{i:07}", body="x" * size)).body
        latencies.append(time.perf_counter() - start)
    common.report(count, time.perf_counter() - begin, time.process_time() - cpu, latencies)
    connection.close()


def trust():
    """What to trust, made for each connection as the other clients do."""
    if not common.CA:
        return {}
    domain = SSLDomain(SSLDomain.MODE_CLIENT)
    domain.set_trusted_ca_db(common.CA)
    domain.set_peer_authentication(SSLDomain.VERIFY_PEER_NAME)
    # It compares names only, not addresses.
    return {"ssl_domain": domain, "virtual_host": "localhost"}


def connect(url, count, sink):
    for number in range(count + 1):
        if number == 1:
            latencies = []
            cpu = time.process_time()
            begin = time.perf_counter()
        start = time.perf_counter()
        connection = BlockingConnection(url, **trust())
        connection.create_sender(sink)
        if number:
            latencies.append(time.perf_counter() - start)
        connection.close()
    common.report(count, time.perf_counter() - begin, time.process_time() - cpu, latencies)


class Outstanding(MessagingHandler):
    """Sends messages that never get an outcome, and looks at the memory before and after."""

    def __init__(self, url, size):
        super().__init__()
        self.url, self.size = url, size
        self.sent = 0
        self.before = None

    def on_start(self, event):
        self.sender = event.container.create_sender(event.container.connect(self.url), "hold")

    def on_sendable(self, event):
        if self.before is None:
            self.before = common.resident_kib()
            self.start, self.cpu = time.perf_counter(), time.process_time()
            event.container.schedule(0, self)

    def on_timer_task(self, event):
        while self.sent < self.size:
            self.sender.send(Message(id=f"id-{self.sent:07}", body=common.TEXT))
            self.sent += 1
            if self.sent % 1000 == 0:
                event.container.schedule(0, self)
                return
        common.report(
            self.size,
            time.perf_counter() - self.start,
            time.process_time() - self.cpu,
            kib_before=self.before,
            kib_after=common.resident_kib(),
        )
        self.sender.connection.close()


def codec(work, count):
    def decode(data):
        message = Message()
        message.decode(data)
        return message

    common.codec(
        work,
        count,
        lambda message_id, subject, properties, text: Message(
            id=message_id, subject=subject, properties=properties, body=text
        ),
        lambda: Message(body=common.LARGE_MAP),
        Message.encode,
        decode,
        lambda message: (message.id, message.subject, message.properties, message.body),
        lambda message: message.body,
    )


def main(work, port, count, size, sink="sink", source=""):
    login = f"{common.USER}:{common.PASSWORD}@" if common.USER else ""
    url = f"{'amqps' if common.CA else 'amqp'}://{login}127.0.0.1:{port}"
    source = source or f"source/{count}/{size}"
    if work.startswith(("encode", "decode")):
        codec(work, count)
    elif work == "latency":
        latency(url, count, size, sink)
    elif work == "request":
        request(url, count, size)
    elif work == "connect":
        connect(url, count, sink)
    elif work == "outstanding":
        Container(Outstanding(url, size)).run()
    elif work == "receive":
        Container(Receive(url, count, source)).run()
    else:
        Container(Send(url, count, size, sink, work == "send-settled")).run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])

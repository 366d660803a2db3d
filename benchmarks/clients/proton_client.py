"""python-qpid-proton, for benchmarks/run.py. Runs in a virtual environment of its own. Prints one line of JSON."""

import json
import resource
import sys
import time

from proton import Message
from proton.handlers import MessagingHandler
from proton.reactor import AtMostOnce, Container
from proton.utils import BlockingConnection


class Send(MessagingHandler):
    def __init__(self, url, count, size, settled):
        super().__init__()
        self.url, self.count, self.size, self.settled = url, count, size, settled
        self.sent = self.done = 0
        self.start = self.cpu = 0.0

    def on_start(self, event):
        connection = event.container.connect(self.url)
        event.container.create_sender(connection, "sink", options=AtMostOnce() if self.settled else None)

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
        report(self.count, time.perf_counter() - self.start, time.process_time() - self.cpu, [])
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
    def __init__(self, url, count, size):
        super().__init__(prefetch=1000)
        self.url, self.count, self.size = url, count, size
        self.done = 0

    def on_start(self, event):
        connection = event.container.connect(self.url)
        self.start = time.perf_counter()
        self.cpu = time.process_time()
        event.container.create_receiver(connection, f"source/{self.count}/{self.size}")

    def on_message(self, event):
        assert event.message.id
        assert event.message.body
        self.done += 1
        if self.done == self.count:
            report(self.count, time.perf_counter() - self.start, time.process_time() - self.cpu, [])
            event.connection.close()


def latency(url, count, size):
    connection = BlockingConnection(url)
    sender = connection.create_sender("sink")
    latencies = []
    cpu = time.process_time()
    begin = time.perf_counter()
    for i in range(count):
        start = time.perf_counter()
        sender.send(Message(id=f"id-{i:07}", body="x" * size))
        latencies.append(time.perf_counter() - start)
    report(count, time.perf_counter() - begin, time.process_time() - cpu, latencies)
    connection.close()


def report(count, seconds, cpu, latencies):
    latencies.sort()
    n = len(latencies)
    print(
        json.dumps(
            {
                "messages": count,
                "seconds": seconds,
                "cpu": cpu,
                "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
                "p50_us": latencies[n // 2] * 1e6 if n else None,
                "p99_us": latencies[n * 99 // 100] * 1e6 if n else None,
                "p999_us": latencies[n * 999 // 1000] * 1e6 if n else None,
            }
        ),
        flush=True,
    )


def main(work, port, count, size):
    url = f"amqp://u:p@127.0.0.1:{port}"
    if work == "latency":
        latency(url, count, size)
    elif work == "receive":
        Container(Receive(url, count, size)).run()
    else:
        Container(Send(url, count, size, work == "send-settled")).run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))

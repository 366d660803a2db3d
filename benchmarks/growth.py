"""What a message costs this project's client when there is much of something: links, or messages without an outcome.

``python -m benchmarks.growth`` prints microseconds of the client thread's CPU time for each message, and the ratio to
the smallest case.
"""

from __future__ import annotations

import time

from tests.component.server import Server, client

from amqp10 import AMQP, ValueType
from amqp10.broker import Broker
from amqp10.engine import IncomingDelivery

LINKS = (1, 10, 100, 1_000)
OUTSTANDING = (1_000, 10_000, 100_000, 1_000_000)


def prepare(amqp: AMQP) -> None:
    """Small unsettled messages of text."""
    amqp.message_value_type = ValueType.mvtString
    amqp.message_value = "x" * 100
    amqp.message_settled = False


def many_links(links: int, count: int = 10_000) -> float:
    """Messages in turn over so many links, with their outcomes, through the embedded broker."""
    with Broker() as broker, AMQP() as amqp:
        amqp.connect_to(broker.host, broker.port)
        amqp.create_session("s")
        prepare(amqp)
        for i in range(links):
            amqp.create_sender_link("s", f"link-{i}", f"queue-{i % 10}")
        for i in range(links):
            while not amqp.get_link_ready_to_send(i):
                amqp.do_events()
        start = time.thread_time()
        for i in range(count):
            amqp.send_message(f"link-{i % links}")
        while amqp.outgoing_message_count:
            amqp.do_events()
        return (time.thread_time() - start) / count * 1e6


def many_outstanding(outstanding: int, count: int = 1_000) -> float:
    """The last of so many messages of which none has an outcome."""
    with Server(credit=2 * max(OUTSTANDING)) as server:
        held: list[IncomingDelivery] = []

        def keep(_: object, event: object) -> bool:
            if isinstance(event, IncomingDelivery):
                held.append(event)
                return True
            return False

        server.hooks.append(keep)
        amqp = client(server, "out>")
        prepare(amqp)
        for _ in range(outstanding - count):
            amqp.send_message("out")
        start = time.thread_time()
        for _ in range(count):
            amqp.send_message("out")
        cost = (time.thread_time() - start) / count * 1e6
        server.run(server.drop_all)
        amqp.disconnect()
        return cost


def main() -> None:
    """The command."""
    for what, cases, measure in (("links", LINKS, many_links), ("outstanding", OUTSTANDING, many_outstanding)):
        least = 0.0
        for case in cases:
            cost = measure(case)
            least = least or cost
            print(f"{case:>9,} {what}: {cost:.1f} us a message, ratio {cost / least:.2f}", flush=True)


if __name__ == "__main__":
    main()

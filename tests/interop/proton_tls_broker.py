"""A broker that speaks TLS only, on python-qpid-proton, whose interpreter runs it; nothing of ours is in it.

Arguments: port, certificate file, key file. Prints READY when it listens.
"""

from __future__ import annotations

import sys
from collections import defaultdict, deque
from typing import Any

from proton.handlers import MessagingHandler  # type: ignore[import-not-found,unused-ignore]
from proton.reactor import Container  # type: ignore[import-not-found,unused-ignore]


class Broker(MessagingHandler):  # type: ignore[misc,unused-ignore]
    """Keeps messages by address, and hands them out as credit allows."""

    def __init__(self, port: str, certificate: str, key: str) -> None:
        super().__init__()
        self.port = port
        self.certificate = certificate
        self.key = key
        self.queues: dict[str, deque[Any]] = defaultdict(deque)

    def on_start(self, event: Any) -> None:
        event.container.ssl.server.set_credentials(self.certificate, self.key, None)
        event.container.listen(f"amqps://127.0.0.1:{self.port}")
        print("READY", flush=True)

    def on_link_opening(self, event: Any) -> None:
        link = event.link
        if link.is_sender:
            link.source.address = link.remote_source.address
        else:
            link.target.address = link.remote_target.address

    def on_message(self, event: Any) -> None:
        self.queues[event.link.target.address].append(event.message)

    def on_sendable(self, event: Any) -> None:
        sender = event.sender
        queue = self.queues[sender.source.address]
        while sender.credit and queue:
            sender.send(queue.popleft())


if __name__ == "__main__":
    Container(Broker(*sys.argv[1:])).run()

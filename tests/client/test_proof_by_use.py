"""A front end can be written in 150 lines: everything but moving bytes is in ``client`` and ``net``."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from amqp10 import FirewallType
from amqp10.client import operations
from amqp10.client.client_options import ClientOptions
from amqp10.client.core import ClientCore
from amqp10.client.options import addresses, receiver_spec, sender_spec
from amqp10.net.options import TransportOptions
from amqp10.net.proxy.options import ProxyKind, ProxyOptions
from amqp10.net.tls.stdlib import StdlibSession
from tests.client import small_driver
from tests.client.small_driver import SmallDriver
from tests.component.relay_proxy import RelayProxy
from tests.component.tls_front import TlsFront
from tests.net.pki import HOST, good_server, root_ca, server_context
from tests.net.tcp_support import PATIENCE


async def there_and_back(url: str, options: TransportOptions, context: ssl.SSLContext, address: str) -> list[object]:
    """Connect over TLS through the proxy, attach, send, get the outcome, receive, close."""
    driver = SmallDriver(options, lambda where: StdlibSession(context, where.host))
    core = ClientCore(driver, ClientOptions(addresses(url), container_id="small", recovers=False))
    deadline = driver.clock() + PATIENCE
    await operations.connect(core, deadline)
    session = core.default_session()
    sender = await operations.attach_sender(session, sender_spec(address, {}), deadline)
    outcome = await operations.send(sender, "over TLS, through a proxy", False, deadline)
    receiver = await operations.attach_receiver(session, receiver_spec(address, {}), deadline)
    message = await receiver.receive(deadline)
    settled = message.accept()
    await operations.close_connection(core, deadline)
    return [type(outcome).__name__, message.body, settled]


def test_150_lines_connect_over_tls_through_a_proxy_and_move_messages() -> None:
    lines = Path(small_driver.__file__).read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 150
    context = ssl.create_default_context(cadata=root_ca().pem.decode())
    with (
        TlsFront(server_context(good_server())) as front,
        RelayProxy(FirewallType.fwTunnel, (front.host, front.port)) as proxy,
    ):
        options = TransportOptions(proxy=ProxyOptions(ProxyKind.TUNNEL, proxy.host, proxy.port))
        url = f"amqps://user:s3cret@{HOST}:{front.port}"
        assert asyncio.run(there_and_back(url, options, context, "q"), debug=True) == [
            "Accepted",
            "over TLS, through a proxy",
            True,
        ]
        assert proxy.asked[0].startswith(f"CONNECT {HOST}:{front.port} HTTP/1.1")
        assert b"over TLS" not in front.servers[0].wire

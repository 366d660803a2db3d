"""Connecting through a proxy, in a thread of its own: what talks to proxies waits for sockets itself."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING

from amqp10.net.options import TransportOptions
from amqp10.net.tcp import connect_tcp
from amqp10.net.waiting import Deadline, Waiter

if TYPE_CHECKING:
    from amqp10.client.options import Address
    from amqp10.net.proxy import ProxyOptions

__all__ = ["open_tunnel"]


async def open_tunnel(loop: asyncio.AbstractEventLoop, where: Address, proxy: ProxyOptions) -> socket.socket:
    """A socket that reaches the server through the proxy. A call that is cancelled interrupts the thread.

    Raises:
        AMQPError: see :func:`amqp10.net.proxy.connect_through`.
    """
    found: asyncio.Future[socket.socket] = loop.create_future()
    waiter = Waiter()

    def settle(sock: socket.socket | None, error: BaseException | None) -> None:
        if not found.done():
            if sock is not None:
                found.set_result(sock)
            elif error is not None:
                found.set_exception(error)
        elif sock is not None:
            sock.close()

    def work() -> None:
        sock: socket.socket | None = None
        failure: BaseException | None = None
        try:
            waiter.begin()
            options = TransportOptions(use_ipv6=2, tcp_no_delay=True, proxy=proxy)
            # The time is kept by whoever awaits this.
            sock = connect_tcp(where.host, where.port, options, Deadline(None), waiter).detach()
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            failure = error
        finally:
            waiter.close()
        try:
            loop.call_soon_threadsafe(settle, sock, failure)
        except RuntimeError:
            # The loop has ended meanwhile, and nobody waits.
            if sock is not None:
                sock.close()

    threading.Thread(target=work, name="amqp10 proxy", daemon=True).start()
    try:
        return await found
    except asyncio.CancelledError:
        waiter.interrupt()
        raise

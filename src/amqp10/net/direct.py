"""Connecting without a proxy: every address of the host in turn."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Generic, TypeVar

from amqp10.errors import AMQPError, AMQPTimeoutError
from amqp10.net.names import Endpoint, clean_host, format_address
from amqp10.net.network import Network, SecureSession, Stream, TimeIsUpError
from amqp10.net.options import TransportOptions
from amqp10.net.resolve import resolve
from amqp10.net.waiting import Deadline

__all__ = ["Dialled", "connect_directly", "usable"]

S = TypeVar("S", bound=Stream)


@dataclass(slots=True)
class Dialled(Generic[S]):
    """An open connection, ready to be taken over by a driver.

    Attributes:
        stream: the connection to the server, or to the proxy that has connected to it.
        remote_address: IP address and port of the server; its name instead, if a proxy resolved it.
        proxy_address: IP address and port of the proxy; None without one.
        early: what the server has already sent; plaintext if there is a session.
        session: the TLS session after its handshake; None without TLS.
    """

    stream: S
    remote_address: tuple[str, int]
    proxy_address: tuple[str, int] | None = None
    early: bytes = b""
    session: SecureSession | None = None


async def connect_directly(
    host: str,
    port: int,
    options: TransportOptions,
    network: Network[S],
    deadline: Deadline,
    *,
    setting: str,
    role: str = "",
) -> S:
    """:func:`amqp10.net.dial.reach` without a proxy.

    In messages, ``setting`` names the setting that the host comes from, and ``role`` says what it is ("the proxy ").
    """
    found = await resolve(host, port, options.use_ipv6, network, deadline, setting=setting, words=options.words)
    endpoints = usable(found, setting)
    local = await _local_endpoints(options, network, deadline)
    failures: list[tuple[Endpoint, AMQPError]] = []
    for position, endpoint in enumerate(endpoints):
        remaining = deadline.remaining()
        share = None if remaining is None else remaining / (len(endpoints) - position)
        limit = Deadline(share, clock=deadline.clock, absolute=True)
        try:
            if local is not None and endpoint.family not in local:
                raise AMQPError(10047, f"{options.words.local_host} has no address of this kind")
            stream = await network.connect(endpoint, local[endpoint.family] if local else None, options, limit)
        except TimeIsUpError:
            failures.append((endpoint, AMQPTimeoutError("no answer in time")))
        except AMQPError as error:
            if error.code == 10004:
                raise
            failures.append((endpoint, error))
        else:
            deadline.touch()
            return stream
    last = failures[-1][1]
    if len(failures) == 1 and endpoints[0].host == host:
        tried = last.message
    else:
        tried = "; ".join(f"{endpoint}: {error.message}" for endpoint, error in failures)
    message = f"could not connect to {role}{format_address((host, port))}: {tried}"
    if isinstance(last, AMQPTimeoutError):
        raise AMQPTimeoutError(f"{message} (time-out {deadline.in_words()})")
    # A missing local address of one family is not the reason if another family was tried.
    code = next((error.code for _, error in reversed(failures) if error.code != 10047), last.code)
    raise AMQPError(code, message) from last


def usable(endpoints: list[Endpoint], setting: str) -> list[Endpoint]:
    """The addresses without the unspecified one (0.0.0.0 or ::), to which nobody can connect.

    Raises:
        AMQPError: 102; there is no other.
    """
    kept = [endpoint for endpoint in endpoints if endpoint.host not in ("0.0.0.0", "::")]
    if not kept:
        raise AMQPError(102, f"{setting} is the address {endpoints[0].host}, to which nobody can connect")
    return kept


async def _local_endpoints(
    options: TransportOptions, network: Network[S], deadline: Deadline
) -> dict[int, Endpoint] | None:
    """The address to bind to for each family; None if the system is to choose."""
    if not options.local_host:
        if not options.local_port:
            return None
        return {
            socket.AF_INET: Endpoint(socket.AF_INET, ("0.0.0.0", options.local_port)),
            socket.AF_INET6: Endpoint(socket.AF_INET6, ("::", options.local_port)),
        }
    setting = options.words.local_host
    host = clean_host(options.local_host, setting)
    found = await resolve(
        host, options.local_port, options.use_ipv6, network, deadline, setting=setting, words=options.words
    )
    return {endpoint.family: endpoint for endpoint in reversed(found)}  # the first of each family

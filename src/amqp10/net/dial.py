"""Connecting, written once for all APIs: the name, TCP, the proxy, TLS.

:func:`dial` and its parts :func:`reach` and :func:`secure` are coroutines that await only what a
:class:`~amqp10.net.network.Network` offers. After an error, an interruption or a cancellation nothing stays open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from amqp10.errors import AMQPError, AMQPTimeoutError
from amqp10.net.direct import Dialled, connect_directly
from amqp10.net.names import clean_host
from amqp10.net.network import Network, SecureSession, Stream, TimeIsUpError
from amqp10.net.options import TransportOptions
from amqp10.net.transport import RECEIVE_SIZE
from amqp10.net.waiting import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["dial", "reach", "secure"]

S = TypeVar("S", bound=Stream)


async def dial(
    host: str,
    port: int,
    options: TransportOptions,
    network: Network[S],
    deadline: Deadline,
    *,
    session: SecureSession | None = None,
) -> Dialled[S]:
    """Connect, and do the TLS handshake if there is a session.

    Arguments and errors are those of :func:`reach` and :func:`secure`.
    """
    dialled = await reach(host, port, options, network, deadline)
    if session is not None:
        await secure(dialled, session, network, deadline)
    return dialled


async def reach(host: str, port: int, options: TransportOptions, network: Network[S], deadline: Deadline) -> Dialled[S]:
    """Open a connection, through a proxy if the options name one and do not exclude the host.

    All addresses of the host are tried in order; the remaining time is divided among those that are left. If all
    fail, the code is that of the last one, and the message lists all of them.

    Args:
        host: name or address of the server. With a leading ``*`` a SOCKS proxy resolves the name; without a proxy the
            ``*`` is ignored.
        port: port of the server, 1 to 65535.
        options: the socket's settings, and the proxy.
        network: makes connections.
        deadline: when to give up.

    Raises:
        AMQPTimeoutError: 201; the name was not resolved, or nobody answered, in time.
        InterruptedCallError: 10004; the network was interrupted.
        AMQPError: 102, there is no usable address (0.0.0.0); 116, the port is out of range; 11001 to 11004, the name
            has no address; 10048, 10049 or 10013, the local host and port cannot be used; 10061, the server refused
            the connection; other codes of the 10000 range as the operating system reports. With a proxy also those
            that :mod:`amqp10.net.proxy.connect` lists.
    """
    words = options.words
    if not 1 <= port <= 65535:
        raise AMQPError(116, f"{words.port} is {port}: a port from 1 to 65535 is needed (5672, or 5671 with TLS)")
    name = clean_host(host.removeprefix("*"), words.host)
    if options.proxy is not None:
        from amqp10.net.proxy.connect import connect_through  # not needed by most programs

        if not options.proxy.excepts(name, port):
            return await connect_through(name, port, options, network, deadline, remote_dns=host.startswith("*"))
    stream = await connect_directly(name, port, options, network, deadline, setting=words.host)
    return Dialled(stream, stream.remote_address)


# -- TLS -----------------------------------------------------------------------------------------------------------


async def secure(dialled: Dialled[S], session: SecureSession, network: Network[S], deadline: Deadline) -> None:
    """Do the TLS handshake on an open connection, and store the session in it. The server is verified during the
    handshake, before anything else is sent.

    Args:
        dialled: the connection. If this raises, it is closed.
        session: a new session.
        network: fetches CRLs.
        deadline: when to give up.

    Raises:
        AMQPError: 276, the handshake failed; 280, the server was refused; 281, it wants a client certificate.
        AMQPTimeoutError: 201.
        ConnectionDroppedError: 1120; the connection broke.
        InterruptedCallError: 10004; the network was interrupted.
    """
    stream = dialled.stream
    try:
        plaintext = await _shake_hands(stream, dialled.early, session, network, deadline)
    except TimeIsUpError:
        stream.abort()
        raise AMQPTimeoutError(
            f"the TLS handshake was not finished within {deadline.in_words()}: this side was {session.stage}"
        ) from None
    except BaseException as error:
        if isinstance(error, AMQPError) and error.code != 10004:
            stream.offer(session.data_to_send())  # an alert tells the server why
        stream.abort()
        raise
    dialled.early = plaintext
    dialled.session = session


async def _shake_hands(
    stream: Stream, early: bytes, session: SecureSession, network: Network[Stream], deadline: Deadline
) -> bytes:
    """Returns plaintext that arrived together with the end of the handshake."""
    plaintext: list[bytes] = []
    session.start()
    while True:
        while session.download is not None:
            await _download(session.download, session.download_limit, network, deadline)
            plaintext += session.downloaded()
        flight = session.data_to_send()
        if flight:
            await stream.write(flight, deadline)
        if session.handshake_done:
            return b"".join(plaintext)
        data, early = early or await stream.read(RECEIVE_SIZE, deadline), b""
        if deadline.expired:
            raise TimeIsUpError
        if data:
            plaintext += session.feed(data)
        else:
            session.feed_eof()


async def _download(work: Callable[[], None], limit: float, network: Network[Stream], deadline: Deadline) -> None:
    """Fetch within a limit of its own and the time-out of the whole call."""
    ends = deadline.clock() + limit

    def remaining() -> float:
        left, whole = max(0.0, ends - deadline.clock()), deadline.remaining()
        return left if whole is None else min(left, whole)

    try:
        await network.call(work, remaining, "fetching a CRL")
    except TimeIsUpError:
        if deadline.expired:
            raise
    else:
        deadline.touch()

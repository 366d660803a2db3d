"""Connections through a proxy: an HTTP tunnel (CONNECT), SOCKS4, SOCKS4A, SOCKS5.

The requests to proxies and the meaning of their answers are here (RFC 9110, RFC 1928, RFC 1929, the SOCKS4 protocol and
its extension 4A); the bytes go through a stream of the network that connects.

Who resolves the server's name: an HTTP proxy and a SOCKS4A proxy always do; a SOCKS5 proxy does when the name has a
``*`` in front, otherwise it is resolved here, as for SOCKS4, which can only carry IPv4 addresses.

Refusals carry the code that fits best what the proxy said:

- 10013 (permission): wrong or missing credentials, forbidden by the proxy's rules (HTTP 401, 403, 407).
- 10061, 10051, 10065, 10060, 10047: the proxy reports that the server refused, its network or host cannot be reached,
  it did not answer, the kind of address is not supported. HTTP 504 and 408 are 10060. 10061 is also for failures
  that the proxy does not explain (HTTP 500, 502, 503, SOCKS4's single code, SOCKS5's "general failure").
- 10045: the proxy does not offer this service (HTTP 400, 405, 501).
- 10041: the protocol has no such answer; the message shows how it begins.
- 1120: the proxy closed the connection instead of answering; 201: no answer in time.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from typing import Final, Generic, TypeVar

from amqp10.errors import AMQPError, AMQPTimeoutError, ConnectionDroppedError
from amqp10.net.direct import Dialled, connect_directly, usable
from amqp10.net.names import ascii_name, clean_host, format_address, is_ip_address
from amqp10.net.network import Network, Stream, TimeIsUpError
from amqp10.net.options import TransportOptions
from amqp10.net.proxy.options import ProxyKind, ProxyOptions
from amqp10.net.resolve import resolve
from amqp10.net.waiting import Deadline
from amqp10.net.words import Words

__all__ = ["connect_through"]

S = TypeVar("S", bound=Stream)


async def connect_through(
    host: str,
    port: int,
    options: TransportOptions,
    network: Network[S],
    deadline: Deadline,
    *,
    remote_dns: bool = False,
) -> Dialled[S]:
    """Open a connection through ``options.proxy``.

    If the name is resolved here and has several addresses, they are tried in order, each through a new connection to
    the proxy, as long as the proxy reports that an address cannot be reached.

    Args:
        host: name or address of the server, without a ``*``.
        port: port of the server.
        options: the settings of the socket, with the proxy.
        network: makes connections.
        deadline: when to give up.
        remote_dns: whether the proxy is to resolve the name.

    Raises:
        AMQPError: as :func:`amqp10.net.dial.reach`, for the proxy (the message says "the proxy") or the server;
            604, a setting of the proxy is not valid; the codes that the module's description lists.
    """
    proxy = options.proxy
    assert proxy is not None
    words = options.words
    kind = _check_kind(proxy, words)
    _check_credentials(proxy, kind, words)
    request = _tunnel_request(host, port, proxy, words) if kind is ProxyKind.TUNNEL else b""
    proxy_host = clean_host(proxy.host, proxy.origin)
    proxy_port = proxy.port or kind.default_port
    if not 1 <= proxy_port <= 65535:
        raise AMQPError(604, f"{words.proxy_port} is {proxy_port}: a port from 1 to 65535 is needed")
    targets = await _targets(host, port, kind, options, remote_dns or proxy.remote_dns, network, deadline)
    refusal: AMQPError | None = None
    for target in targets:
        stream = await connect_directly(
            proxy_host, proxy_port, options, network, deadline, setting=proxy.origin, role="the proxy "
        )
        name = f"the proxy {format_address((proxy_host, proxy_port))}"
        try:
            hop = Hop(stream, name, proxy, words, deadline)
            if kind is ProxyKind.TUNNEL:
                refusal = await _open_tunnel(hop, request)
            elif kind is ProxyKind.SOCKS5:
                refusal = await _open_socks5(hop, target, port)
            else:
                refusal = await _open_socks4(hop, kind, target, port)
            if refusal is None:
                return Dialled(stream, (target, port), stream.remote_address, hop.excess)
        except TimeIsUpError:
            stream.abort()
            raise AMQPTimeoutError(f"{name} did not answer in {deadline.in_words()}") from None
        except BaseException:
            stream.abort()
            raise
        stream.abort()
        if refusal.code not in _TRY_NEXT_ADDRESS:
            break
    assert refusal is not None
    raise refusal


_TRY_NEXT_ADDRESS: Final = frozenset({10047, 10051, 10060, 10061, 10065})


# -- checking what the program asked for ---------------------------------------------------------------------------


def _check_kind(proxy: ProxyOptions, words: Words) -> ProxyKind:
    try:
        return ProxyKind(proxy.kind)
    except ValueError:
        raise AMQPError(604, f"{words.proxy_kind} is {proxy.kind!r}: it can be 0 (none), 1, 2, 3 or 10") from None


def _check_credentials(proxy: ProxyOptions, kind: ProxyKind, words: Words) -> None:
    """Refuse what the protocol has no place for, instead of leaving it out. No message contains the password."""
    if kind is not ProxyKind.TUNNEL and proxy.data:
        raise AMQPError(
            604, f"{words.proxy_data} is for HTTP tunnels, and {words.proxy_kind} is {kind.title}: clear one of them"
        )
    if kind is ProxyKind.TUNNEL:
        if ":" in proxy.user or not proxy.user.isprintable():
            raise AMQPError(604, f"{words.proxy_user} cannot contain a colon or control characters for an HTTP tunnel")
        # Python's own error for such text shows it whole.
        if not (_is_utf8(proxy.user) and _is_utf8(proxy.password)):
            raise AMQPError(
                604, f"the user name and password of the proxy ({proxy.origin}) must be text that UTF-8 can encode"
            )
        return
    if kind is not ProxyKind.SOCKS5:
        if proxy.password:
            raise AMQPError(604, f"{kind.title} has no passwords: clear {words.proxy_password}, or use SOCKS5")
        if not proxy.user.isascii() or "\0" in proxy.user:
            raise AMQPError(604, f"{words.proxy_user} must be ASCII text for {kind.title}")
        return
    if bool(proxy.user) != bool(proxy.password):
        raise AMQPError(604, f"SOCKS5 needs {words.proxy_user} and {words.proxy_password}, or neither")
    for name, value in ((words.proxy_user, proxy.user), (words.proxy_password, proxy.password)):
        if not value.isascii() or len(value) > 255:
            raise AMQPError(604, f"{name} must be ASCII text of at most 255 characters for SOCKS5")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


async def _targets(
    host: str,
    port: int,
    kind: ProxyKind,
    options: TransportOptions,
    remote_dns: bool,
    network: Network[S],
    deadline: Deadline,
) -> list[str]:
    """What to ask the proxy for: the name, or its addresses in order."""
    if kind is ProxyKind.TUNNEL:
        return [host]
    words = options.words
    literal = is_ip_address(host)
    if kind is ProxyKind.SOCKS5:
        if literal or remote_dns:
            return [host if literal else ascii_name(host, words.host)]
        found = await resolve(host, port, options.use_ipv6, network, deadline, setting=words.host, words=words)
    else:
        if ":" in host:
            raise AMQPError(10047, f"{kind.title} cannot connect to the IPv6 address {host}: use SOCKS5")
        if kind is ProxyKind.SOCKS4A:
            return [host if literal else ascii_name(host, words.host)]
        if remote_dns and not literal:
            raise AMQPError(604, f"a SOCKS4 proxy cannot resolve names (*{host}): use SOCKS4A or SOCKS5")
        if options.use_ipv6 == 1:
            raise AMQPError(10047, f"SOCKS4 carries only IPv4 addresses, and {words.address_kinds} is 1: use SOCKS5")
        found = await resolve(host, port, 0, network, deadline, setting=words.host, words=words)
    return [endpoint.host for endpoint in usable(found, words.host)]


# -- talking to the proxy ------------------------------------------------------------------------------------------


class Hop(Generic[S]):
    """The connection to the proxy while a tunnel is being set up."""

    __slots__ = ("_deadline", "_stream", "answer", "excess", "name", "proxy", "words")

    def __init__(self, stream: S, name: str, proxy: ProxyOptions, words: Words, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline
        self.name: str = name
        self.proxy: ProxyOptions = proxy
        self.words: Words = words
        self.answer: bytes = b""
        """What the proxy has sent since the last write: its answer as it came over the wire."""
        self.excess: bytes = b""
        """What came after an HTTP header: the first bytes from the server."""

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        self.answer = b""
        await self._stream.write(data, self._deadline)

    async def read_exactly(self, count: int) -> bytes:
        """Receive so many bytes."""
        start = len(self.answer)
        while len(self.answer) < start + count:
            self.answer += await self._read(start + count - len(self.answer))
        return self.answer[start:]

    async def read_header(self, limit: int) -> bytes:
        """Receive an HTTP header up to and including its empty line.

        Ends early when it is clear that this is not HTTP, or when it gets longer than the limit.
        """
        while (end := _header_end(self.answer)) < 0 and len(self.answer) < limit:
            if self.answer[:5] != b"HTTP/"[: len(self.answer)]:
                break
            self.answer += await self._read(limit - len(self.answer))
        if end >= 0:
            self.answer, self.excess = self.answer[:end], self.answer[end:]
        return self.answer

    async def _read(self, count: int) -> bytes:
        chunk = await self._stream.read(count, self._deadline)
        if not chunk:
            raise ConnectionDroppedError(f"{self.name} closed the connection instead of answering")
        if self._deadline.expired:  # bytes that keep coming never make anybody wait
            raise TimeIsUpError
        return chunk


# -- HTTP ----------------------------------------------------------------------------------------------------------

_MAX_HEADER: Final = 16384

# RFC 9110: a token, a colon, a value of visible characters, spaces and tabs (and whatever else a proxy takes in UTF-8).
_HEADER_LINE: Final = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[^\x00-\x08\x0a-\x1f\x7f]*")
_STATUS_LINE: Final = re.compile(rb"HTTP/[0-9](?:\.[0-9])? ([0-9]{3})(?: ([^\r\n]*))?\r?\n")

_HTTP_CODES: Final[dict[int, int]] = {
    400: 10045,
    401: 10013,
    403: 10013,
    405: 10045,
    407: 10013,
    408: 10060,
    501: 10045,
    504: 10060,
}


def _tunnel_request(host: str, port: int, proxy: ProxyOptions, words: Words) -> bytes:
    """The CONNECT request (RFC 9110, "CONNECT"). ``clean_host`` has made sure that the host cannot end a line."""
    authority = format_address((host if is_ip_address(host) else ascii_name(host, words.host), port))
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.user or proxy.password:
        # RFC 7617
        credentials = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {credentials}")
    lines += _extra_lines(proxy, words)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _extra_lines(proxy: ProxyOptions, words: Words) -> list[str]:
    """The additional lines, each a header field. Messages never show them, because they may be secret."""
    data = proxy.data.strip("\r\n")
    lines = re.split(r"\r\n|\r|\n", data) if data else []
    for number, line in enumerate(lines, 1):
        match = _HEADER_LINE.fullmatch(line)
        if match is None:
            raise AMQPError(604, f"line {number} of {words.proxy_data} is not a header line, 'Name: value'")
        name = match.group(1).lower()
        if name in ("host", "content-length", "transfer-encoding"):
            raise AMQPError(
                604, f"line {number} of {words.proxy_data} sets {match.group(1)}, which the request already has"
            )
        if name == "proxy-authorization" and (proxy.user or proxy.password):
            raise AMQPError(
                604, f"{words.proxy_data} sets Proxy-Authorization, and so does {words.proxy_user}: clear one of them"
            )
    return lines


async def _open_tunnel(hop: Hop[S], request: bytes) -> AMQPError | None:
    """Returns the proxy's refusal, or None when the tunnel is open."""
    proxy, words = hop.proxy, hop.words
    await hop.send(request)
    header = await hop.read_header(_MAX_HEADER)
    match = _STATUS_LINE.match(header)
    if match is None or not _is_complete(header):
        return AMQPError(
            10041, f"{hop.name} does not speak HTTP, as {words.proxy_kind} says: it answered {_excerpt(header, proxy)}"
        )
    status = int(match.group(1))
    if 200 <= status < 300:
        return None
    reason = _quotable(match.group(2) or b"", proxy)
    message = f"{hop.name} answered {status} {reason}".rstrip()
    if status == 407:
        offered = re.findall(rb"(?im)^proxy-authenticate:[ \t]*([!-~]+)", header)
        shown = dict.fromkeys(_quotable(scheme, proxy) for scheme in offered)
        schemes = ", ".join(scheme for scheme in shown if scheme) or "credentials"
        if proxy.user or proxy.password:
            message += f" ({words.proxy_user} and {words.proxy_password} were sent as Basic; it asks for {schemes})"
        else:
            message += f" (it asks for {schemes}; {words.proxy_user} and {words.proxy_password} are not set)"
    return AMQPError(_HTTP_CODES.get(status, 10061), message)


def _header_end(data: bytes) -> int:
    """The index after the empty line that ends a header, or -1. Bare line feeds are tolerated (RFC 9112)."""
    match = re.search(rb"\n\r?\n", data)
    return match.end() if match is not None else -1


def _is_complete(data: bytes) -> bool:
    return data.endswith((b"\n\r\n", b"\n\n"))


# -- SOCKS ---------------------------------------------------------------------------------------------------------

_SOCKS5_REPLIES: Final[dict[int, tuple[int, str]]] = {
    1: (10061, "it failed and gave no reason (code 1)"),
    2: (10013, "its rules do not allow the connection (code 2)"),
    3: (10051, "the network cannot be reached from it (code 3)"),
    4: (10065, "the host cannot be reached from it (code 4)"),
    5: (10061, "the server refused the connection (code 5)"),
    6: (10060, "the server did not answer it in time (code 6)"),
    7: (10045, "it does not support making connections (code 7)"),
    8: (10047, "it does not support this kind of address (code 8)"),
}

_SOCKS4_REPLIES: Final[dict[int, tuple[int, str]]] = {
    0x5B: (10061, "it rejected the request, or could not connect (code 91)"),
    0x5C: (10013, "it wants an identd on this machine and cannot reach it (code 92)"),
    0x5D: (10013, "identd on this machine reports another user (code 93)"),
}


_SOCKS5_ADDRESS_SIZES: Final = {1: 4, 4: 16}


async def _open_socks4(hop: Hop[S], kind: ProxyKind, target: str, port: int) -> AMQPError | None:
    """Ask a SOCKS4 proxy. Returns its refusal, or None when the connection is made."""
    user = hop.proxy.user.encode("ascii") + b"\0"
    place = port.to_bytes(2, "big")
    if is_ip_address(target):
        request = b"\4\1" + place + ipaddress.IPv4Address(target).packed + user
    else:  # 4A: an address that cannot be one says that a name follows
        request = b"\4\1" + place + b"\0\0\0\1" + user + target.encode("ascii") + b"\0"
    await hop.send(request)
    if (await hop.read_exactly(8))[:2] == b"\0\x5a":
        return None
    return _refused(hop, kind, target, port)


async def _open_socks5(hop: Hop[S], target: str, port: int) -> AMQPError | None:
    """Ask a SOCKS5 proxy (RFC 1928). Returns its refusal, or None when the connection is made."""
    kind, proxy = ProxyKind.SOCKS5, hop.proxy
    await hop.send(b"\5\2\0\2" if proxy.user else b"\5\1\0")
    method = await hop.read_exactly(2)
    if method == b"\5\2" and proxy.user:
        user, password = proxy.user.encode("ascii"), proxy.password.encode("ascii")
        await hop.send(b"\1" + bytes((len(user),)) + user + bytes((len(password),)) + password)  # RFC 1929
        if await hop.read_exactly(2) != b"\1\0":
            return _refused(hop, kind, target, port)
    elif method != b"\5\0":
        return _refused(hop, kind, target, port)
    if is_ip_address(target):
        address = ipaddress.ip_address(target)
        request = (b"\1" if address.version == 4 else b"\4") + address.packed
    else:
        name = target.encode("ascii")
        request = b"\3" + bytes((len(name),)) + name
    await hop.send(b"\5\1\0" + request + port.to_bytes(2, "big"))
    reply = await hop.read_exactly(4)
    if reply[:3] != b"\5\0\0":
        return _refused(hop, kind, target, port)
    # The address from which the proxy connected is of no use here, but is part of its answer.
    size = _SOCKS5_ADDRESS_SIZES.get(reply[3])
    if size is None:
        if reply[3] != 3:
            return _refused(hop, kind, target, port)
        size = (await hop.read_exactly(1))[0]
    bound = await hop.read_exactly(size + 2)
    if reply[3] == 3 and not bound[:size].isascii():
        return _refused(hop, kind, target, port)
    return None


def _refused(hop: Hop[S], kind: ProxyKind, target: str, port: int) -> AMQPError:
    code, text = _explain(kind, hop.answer, hop.proxy, hop.words)
    destination = format_address((target, port))
    return AMQPError(code, f"{hop.name} ({kind.title}) did not connect to {destination}: {text}")


def _explain(kind: ProxyKind, answer: bytes, proxy: ProxyOptions, words: Words) -> tuple[int, str]:
    """Code and text for a refusal, from what the proxy sent (RFC 1928, RFC 1929, and the SOCKS4 protocol)."""
    first, second = (*answer[:2], -1, -1)[:2]
    if kind is not ProxyKind.SOCKS5:
        if first == 0 and second in _SOCKS4_REPLIES:
            return _SOCKS4_REPLIES[second]
    elif first == 1 and len(answer) == 2:
        return 10013, f"it does not accept {words.proxy_user} and {words.proxy_password}"
    elif first == 5 and second == 0xFF:
        offered = f"with {words.proxy_user} and {words.proxy_password}" if proxy.user else "without a user name"
        return 10013, f"it does not accept a connection {offered}"
    elif first == 5 and second in _SOCKS5_REPLIES and len(answer) > 2:  # two bytes would choose a way to log in
        return _SOCKS5_REPLIES[second]
    return 10041, f"its answer is not {kind.title}, as {words.proxy_kind} says ({_excerpt(answer, proxy)})"


_PIECE: Final = 4
"""The length of a part of a secret that is recognized, in characters."""


_SCHEMES: Final = frozenset(("basic", "bearer", "digest", "negotiate", "ntlm"))


def _echoes(text: str, proxy: ProxyOptions) -> bool:
    """Whether a text from the proxy contains any part of the credentials: it may repeat the request."""
    credentials = f"{proxy.user}:{proxy.password}"
    values = (line.partition(":")[2] for line in proxy.data.lower().splitlines())
    secrets = {word for value in values for word in value.split()} - _SCHEMES
    if proxy.password:
        secrets |= {proxy.password.lower(), base64.b64encode(credentials.encode()).decode().lower()}
    low = text.lower()
    for secret in secrets:
        pieces = (secret[at : at + _PIECE] for at in range(max(1, len(secret) - _PIECE + 1)))
        if secret and any(piece in low for piece in pieces):
            return True
    return False


def _quotable(text: bytes, proxy: ProxyOptions) -> str:
    """The proxy's text for a message; empty if it repeats credentials."""
    words = _printable(text)
    return "" if _echoes(words, proxy) else words


def _excerpt(data: bytes, proxy: ProxyOptions) -> str:
    """The beginning of an answer, for a message."""
    if _echoes(data[:40].decode("latin-1"), proxy):
        return "with what was sent to it"
    return repr(bytes(data[:40])) + ("..." if len(data) > 40 else "")


def _printable(text: bytes) -> str:
    decoded = text[:200].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in decoded).strip()

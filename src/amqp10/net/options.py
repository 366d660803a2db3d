"""The settings of a TCP connection, and how they are applied to a socket."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from amqp10.errors import AMQPError, code_from_errno
from amqp10.net.words import NEUTRAL, Words

if TYPE_CHECKING:
    from amqp10.net.proxy.options import ProxyOptions

__all__ = ["TransportOptions", "apply_before_connect", "apply_before_close", "apply_while_connected"]


@dataclass(slots=True, eq=False, repr=False)
class TransportOptions:
    """The settings of a TCP connection, with their defaults.

    Attributes:
        use_ipv6: 0 for IPv4 only, 1 for IPv6 only, 2 for IPv6 first and then IPv4.
        local_host: name or address of the interface to connect from; empty leaves it to the system.
        local_port: port to connect from, 0 to 65535; 0 leaves it to the system.
        tcp_no_delay: send small segments at once (no Nagle algorithm).
        keep_alive: let the system probe an idle connection. The two times below need it.
        keep_alive_time_ms: milliseconds without traffic before the first probe; 0 for the system's
            default. Systems count in seconds: it is rounded up.
        keep_alive_interval_ms: milliseconds between unanswered probes; likewise.
        in_buffer_size: bytes of the socket's receive buffer; 0 for the system's default.
        out_buffer_size: bytes of the socket's send buffer; 0 for the system's default.
        linger: whether closing lets the system deliver what is unsent; otherwise it is discarded and the
            connection reset.
        linger_time: seconds that the system may take for that; 0 for its own limit.
        max_transfer_rate: the most bytes to send per second; 0 for no limit.
        proxy: the proxy to connect through, or ``None``.
        words: what messages call these settings.
    """

    use_ipv6: int = 0
    local_host: str = ""
    local_port: int = 0
    tcp_no_delay: bool = False
    keep_alive: bool = False
    keep_alive_time_ms: int = 0
    keep_alive_interval_ms: int = 0
    in_buffer_size: int = 0
    out_buffer_size: int = 0
    linger: bool = True
    linger_time: int = 0
    max_transfer_rate: int = 0
    proxy: ProxyOptions | None = None
    words: Words = NEUTRAL


# struct linger: two ints, except on Windows.
_LINGER: Final = struct.Struct("HH" if sys.platform == "win32" else "ii")

# macOS has the idle time under another name, which Python's socket module lacks in some versions.
_KEEP_IDLE: Final[int | None] = getattr(
    socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", 0x10 if sys.platform == "darwin" else None)
)
_KEEP_INTERVAL: Final[int | None] = getattr(socket, "TCP_KEEPINTVL", None)
_USER_TIMEOUT: Final[int | None] = getattr(socket, "TCP_USER_TIMEOUT", None)


def apply_before_connect(sock: socket.socket, options: TransportOptions) -> None:
    """Set what must be set before connecting, and what may be: buffer sizes affect the window scale that is negotiated.

    Raises:
        AMQPError: the system refuses an option; the message names the setting.
    """
    if options.tcp_no_delay:
        _set(sock, options.words.no_delay, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if options.keep_alive:
        _set(sock, options.words.keep_alive, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        _set_keep_alive_times(sock, options)
    _set_buffer_sizes(sock, options)
    if options.local_port and sys.platform != "win32":
        # Otherwise a program could not reconnect from its port until the old connection's TIME_WAIT is over.
        # On Windows the option means something else: it takes the port from whoever has it.
        _set(sock, options.words.local_port, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def apply_while_connected(sock: socket.socket, options: TransportOptions) -> None:
    """Change what can be changed on an open connection. Options set back to 0, the system's value, stay as they were.

    Raises:
        AMQPError: the system refuses an option; the message names the setting.
    """
    _set(sock, options.words.no_delay, socket.IPPROTO_TCP, socket.TCP_NODELAY, int(options.tcp_no_delay))
    _set(sock, options.words.keep_alive, socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(options.keep_alive))
    _set_keep_alive_times(sock, options)
    _set_buffer_sizes(sock, options)


def _set_keep_alive_times(sock: socket.socket, options: TransportOptions) -> None:
    _set_seconds(sock, options.words.keep_alive_time, _KEEP_IDLE, options.keep_alive_time_ms)
    _set_seconds(sock, options.words.keep_alive_interval, _KEEP_INTERVAL, options.keep_alive_interval_ms)


def _set_buffer_sizes(sock: socket.socket, options: TransportOptions) -> None:
    for option, size in ((socket.SO_RCVBUF, options.in_buffer_size), (socket.SO_SNDBUF, options.out_buffer_size)):
        if size > 0:
            # As documented, the system's size is kept if it refuses the one asked for.
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, option, size)


def apply_before_close(sock: socket.socket, *, linger: bool, linger_time: int) -> None:
    """Tell the system what to do with unsent bytes when the socket is closed; closing itself never waits.

    Raises:
        OSError: the connection is broken, on systems that refuse options then.
    """
    if not linger:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.pack(1, 0))
    elif linger_time > 0:
        if _USER_TIMEOUT is not None:
            # On Linux SO_LINGER with a time makes close() wait, even on a non-blocking socket. This has the same effect
            # without waiting: the system resets the connection if data stay unacknowledged for that long.
            sock.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, linger_time * 1000)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.pack(1, linger_time))


def _set_seconds(sock: socket.socket, setting: str, option: int | None, milliseconds: int) -> None:
    if milliseconds <= 0:
        return
    if option is None:
        raise AMQPError(10042, f"{setting} cannot be set on this system: leave it at 0")
    _set(sock, setting, socket.IPPROTO_TCP, option, -(-milliseconds // 1000))


def _set(sock: socket.socket, setting: str, level: int, option: int, value: int) -> None:
    try:
        sock.setsockopt(level, option, value)
    except OSError as error:
        raise AMQPError(
            code_from_errno(error.errno), f"the system does not accept {setting} ({value}): {error.strerror or error}"
        ) from error

"""The names of a connection's settings in messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["NEUTRAL", "Words"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Words:
    """The names of settings in messages: each API puts in the names that its programs know."""

    host: str = "the host"
    port: str = "the port"
    local_host: str = "the local host"
    local_port: str = "the local port"
    address_kinds: str = "the kind of addresses"
    no_delay: str = "TCP_NODELAY"
    keep_alive: str = "keep-alive"
    keep_alive_time: str = "the keep-alive time"
    keep_alive_interval: str = "the keep-alive interval"
    proxy_kind: str = "the kind of proxy"
    proxy_host: str = "the proxy's host"
    proxy_port: str = "the proxy's port"
    proxy_user: str = "the proxy's user"
    proxy_password: str = "the proxy's password"
    proxy_data: str = "the header lines for the proxy"


NEUTRAL: Final = Words()

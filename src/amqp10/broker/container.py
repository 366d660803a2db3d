"""The broker as an AMQP container: the nodes, and any number of connections to them. No I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from amqp10.broker.connection import BrokerConnection
from amqp10.broker.directory import Directory
from amqp10.broker.limits import Limits

__all__ = ["BrokerConnection", "BrokerContainer"]


class BrokerContainer(Directory):
    """All nodes, the rules for using them, and the users.

    Args:
        users: user name -> password for SASL PLAIN. Without users everybody gets in, with SASL ANONYMOUS or no SASL.
        limits: the limits.
        options: single limits, by their names in ``limits``.

    The other arguments are those of :class:`~amqp10.broker.directory.Directory`.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        auto_create: bool = True,
        queues: Collection[str] = (),
        topics: Collection[str] = (),
        streams: Collection[str] = (),
        refuse: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        **options: Any,
    ) -> None:
        super().__init__(
            limits=replace(limits or Limits(), **options),
            auto_create=auto_create,
            queues=queues,
            topics=topics,
            streams=streams,
            refuse=refuse,
            clock=clock,
            wall_clock=wall_clock,
        )
        self.users: dict[str, str] = dict(users or {})
        self._connections = 0

    def accept(
        self,
        *,
        max_frame_size: int | None = None,
        idle_timeout: float = 0,
        external: Callable[[str], str | None] | None = None,
    ) -> BrokerConnection:
        """A new connection: give it what the client sends, and write what its engine has to send.

        Args:
            max_frame_size: the largest frame accepted, in bytes; by default that of the limits.
            idle_timeout: after how many seconds without data the client is given up; 0 for never.
            external: returns the user of a client with a certificate; see :class:`BrokerConnection`.
        """
        self._connections += 1
        return BrokerConnection(
            self,
            self._connections,
            users=self.users,
            max_frame_size=max_frame_size or self.limits.max_frame_size,
            idle_timeout=idle_timeout,
            external=external,
        )

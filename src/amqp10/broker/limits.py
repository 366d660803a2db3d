"""The broker's limits, so that no client can stop it or fill the memory."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MESSAGE_COST", "Limits"]

MESSAGE_COST = 256
"""What a message counts in addition to its payload, in bytes, because small ones take memory too."""

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """The broker's limits. 0 means no limit, except where a range is given.

    Attributes:
        max_frame_size: the largest frame accepted, in bytes, from 512 to 2**32 - 1.
        max_message_size: the largest message accepted, in bytes.
        max_connections: how many clients may be connected at once. Further connections are closed at once.
        max_sessions: how many sessions a connection may have, from 1 to 65536.
        max_links: how many links a connection may have.
        max_unsettled: how many messages a session may have without settling them. It gets no more until it does.
        max_queues: how many queues, topics and subscriptions there may be.
        max_queue_length: how many messages may wait in a queue.
        max_queue_bytes: how much a queue holds, in bytes, with what its consumers have not settled. A dead-letter
            queue that is full loses its oldest messages.
        max_bytes: how much all queues hold together, in bytes.
        open_timeout: how many seconds a client has to get through TLS, SASL and *open*.
        close_timeout: how many seconds a client has to answer *close*.
        login_pause: for how many seconds the answer to a wrong password is delayed.
    """

    max_frame_size: int = _MIB
    max_message_size: int = 64 * _MIB
    max_connections: int = 1000
    max_sessions: int = 256
    max_links: int = 1024
    max_unsettled: int = 50_000
    max_queues: int = 10_000
    max_queue_length: int = 0
    max_queue_bytes: int = 256 * _MIB
    max_bytes: int = 1024 * _MIB
    open_timeout: float = 10.0
    close_timeout: float = 5.0
    login_pause: float = 0.5

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is not negative")
        if not 1 <= self.max_sessions <= 65536:
            raise ValueError(f"max_sessions is between 1 and 65536, not {self.max_sessions}")
        if not 512 <= self.max_frame_size <= 0xFFFFFFFF:
            raise ValueError(f"max_frame_size is between 512 and {0xFFFFFFFF}, not {self.max_frame_size}")

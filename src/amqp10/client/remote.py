"""What the server said about itself in its open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from amqp10.client.core import ClientCore

__all__ = ["RemoteInfo"]


class RemoteInfo(NamedTuple):
    """What is known of the server while the connection is up (transport, "open")."""

    container_id: str | None = None
    product: str | None = None
    version: str | None = None
    offered_capabilities: tuple[str, ...] = ()
    properties: Mapping[str, Any] = {}
    max_frame_size: int = 0
    channel_max: int = 0
    idle_timeout: float = 0.0

    @classmethod
    def of(cls, core: ClientCore) -> RemoteInfo:
        """What the present server said."""
        incarnation = core.incarnation
        opened = incarnation.engine.remote_open if incarnation is not None else None
        if opened is None:
            return cls()
        properties = {str(name): value for name, value in (opened.properties or {}).items()}
        product, version = properties.get("product"), properties.get("version")
        return cls(
            container_id=opened.container_id,
            product=None if product is None else str(product),
            version=None if version is None else str(version),
            offered_capabilities=tuple(str(name) for name in opened.offered_capabilities or ()),
            properties=properties,
            max_frame_size=int(opened.max_frame_size),
            channel_max=int(opened.channel_max),
            idle_timeout=int(opened.idle_time_out or 0) / 1000,
        )

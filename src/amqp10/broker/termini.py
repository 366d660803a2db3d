"""Sources and targets: what a client asks for, and what it gets (messaging, "sources and targets")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from amqp10.codec import Described, Symbol
from amqp10.conditions import ErrorCondition
from amqp10.errors import ProtocolError
from amqp10.wire.messaging import (
    Accepted,
    DeleteOnClose,
    DeleteOnNoLinks,
    DeleteOnNoLinksOrMessages,
    DeleteOnNoMessages,
    ExpiryPolicy,
    Modified,
    Rejected,
    Released,
    Source,
    Target,
    TerminusDurability,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from amqp10.broker.filters import Filters
    from amqp10.broker.topics import Subscription, SubscriptionKey

__all__ = [
    "SHARED_SUBSCRIPTIONS",
    "default_outcome",
    "lifetime_policy",
    "means_topic",
    "queue_source",
    "subscription_key",
    "subscription_source",
    "target_answer",
]

SHARED_SUBSCRIPTIONS: Final = "SHARED-SUBS"
"""The capability of a connection, or of a link, that JMS clients look for."""

_TOPIC: Final = frozenset(("topic", "temporary-topic"))
_QUEUE: Final = frozenset(("queue", "temporary-queue"))
_SHARED: Final = "shared"
_GLOBAL: Final = "global"
_POLICIES: Final = {
    cls.DESCRIPTOR_CODE: cls for cls in (DeleteOnClose, DeleteOnNoLinks, DeleteOnNoMessages, DeleteOnNoLinksOrMessages)
}
_POLICY_NAMES: Final = {cls.DESCRIPTOR_NAME: code for code, cls in _POLICIES.items()}
_LIFETIME: Final = Symbol("lifetime-policy")


def means_topic(terminus: Source | Target) -> bool:
    """Whether a name without a prefix is that of a topic.

    Raises:
        ProtocolError: the client asks for a topic and a queue at once.
    """
    topic = not _TOPIC.isdisjoint(terminus.capabilities)
    if topic and not _QUEUE.isdisjoint(terminus.capabilities):
        raise ProtocolError("a node is a topic or a queue, not both", condition=ErrorCondition.INVALID_FIELD)
    return topic


def default_outcome(source: Source) -> Accepted | Rejected | Released | Modified | None:
    """The outcome of messages that are settled without one; None if the client did not choose one."""
    default = source.default_outcome
    return default if isinstance(default, (Accepted, Rejected, Released, Modified)) else None


def _granted(terminus: Source | Target, can: Collection[str]) -> tuple[Symbol, ...]:
    return tuple(Symbol(name) for name in terminus.capabilities if name in can)


def lifetime_policy(properties: Mapping[Any, Any] | None) -> int:
    """The code of the lifetime policy of a dynamic node; *delete-on-close* if the client asks for none.

    Raises:
        ProtocolError: there is no such policy.
    """
    given = (properties or {}).get(_LIFETIME)
    if given is None:
        return DeleteOnClose.DESCRIPTOR_CODE
    descriptor = given.descriptor if isinstance(given, Described) else getattr(given, "DESCRIPTOR_CODE", None)
    code = _POLICY_NAMES.get(descriptor) if isinstance(descriptor, str) else descriptor
    if code not in _POLICIES:
        raise ProtocolError("there is no such lifetime policy", condition=ErrorCondition.INVALID_FIELD)
    return int(code)


def _node_properties(policy: int | None) -> dict[Symbol, Any] | None:
    return None if policy is None else {_LIFETIME: _POLICIES[policy]()}


def queue_source(source: Source, address: Any, filters: Filters, *, copies: bool, policy: int | None) -> Source:
    """The source actually in place for a consumer of a queue. It is not durable: nothing of it outlives its link.

    Args:
        source: what was asked for.
        address: where the messages come from.
        filters: the filters that are in place.
        copies: whether messages stay in the queue.
        policy: the lifetime policy of a dynamic node.
    """
    return Source(
        address=address,
        dynamic=policy is not None,
        dynamic_node_properties=_node_properties(policy),
        distribution_mode=Symbol("copy") if copies else None,
        filter=filters.answer or None,
        default_outcome=default_outcome(source),
        outcomes=source.outcomes,
        capabilities=_granted(source, _QUEUE),
    )


def subscription_source(source: Source, address: Any, subscription: Subscription, policy: int | None) -> Source:
    """The source actually in place for a subscriber."""
    durable = subscription.durable
    return Source(
        address=address,
        dynamic=policy is not None,
        dynamic_node_properties=_node_properties(policy),
        durable=TerminusDurability.UNSETTLED_STATE if durable else TerminusDurability.NONE,
        expiry_policy=ExpiryPolicy.NEVER if durable else ExpiryPolicy.LINK_DETACH,
        distribution_mode=Symbol("copy"),
        filter=subscription.filters.answer or None,
        default_outcome=default_outcome(source),
        outcomes=source.outcomes,
        capabilities=_granted(source, (*_TOPIC, _SHARED, _GLOBAL)),
    )


def target_answer(target: Target, address: Any, *, policy: int | None) -> Target:
    """The target actually in place for a producer."""
    return Target(
        address=address,
        dynamic=policy is not None,
        dynamic_node_properties=_node_properties(policy),
        capabilities=_granted(target, (*_TOPIC, *_QUEUE)),
    )


def subscription_key(
    name: str, container_id: str, capabilities: Collection[str], *, durable: bool
) -> SubscriptionKey | None:
    """Identifies a subscription; None for one that ends with its link.

    A shared subscription has several links, which JMS clients name ``NAME``, ``NAME|2`` and so on. A global one belongs
    to no container.

    Args:
        name: the name of the link.
        container_id: the client's container.
        capabilities: what the client asks of the source, or of the link if it has no source.
        durable: whether the subscription stays when it has no consumers.
    """
    shared = _SHARED in capabilities
    if not shared and not durable:
        return None
    if shared and "|" in name:
        name = name.rpartition("|")[0]
    return (None if _GLOBAL in capabilities else container_id, name, durable)

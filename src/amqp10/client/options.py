"""The options of connections and links, and the tables (at the end) that say which AMQP field each of them sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final, Literal, TypedDict, TypeVar
from urllib.parse import unquote, urlsplit

from amqp10.client.message import as_timestamp
from amqp10.codec import Described, Symbol, ULong
from amqp10.errors import AMQPError
from amqp10.wire.messaging import (
    DeleteOnClose,
    DeleteOnNoLinks,
    DeleteOnNoLinksOrMessages,
    DeleteOnNoMessages,
    DistributionMode,
    ExpiryPolicy,
    Source,
    Target,
    TerminusDurability,
)
from amqp10.wire.performatives import PORT, SECURE_PORT, ReceiverSettleMode, SenderSettleMode

__all__ = [
    "DEFAULT",
    "Address",
    "Default",
    "ReceiverOptions",
    "ReceiverSpec",
    "Reconnect",
    "SenderOptions",
    "SenderSpec",
    "Stream",
    "addresses",
    "receiver_fields",
    "receiver_spec",
    "sender_fields",
    "sender_spec",
]

_PORTS: Final = {"amqp": PORT, "amqps": SECURE_PORT}
_MIB: Final = 1 << 20

S = TypeVar("S", "SenderSpec", "ReceiverSpec")


class Default:
    """Stands for the time-out of the connection."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "DEFAULT"


DEFAULT: Final = Default()


@dataclass(frozen=True, slots=True)
class Reconnect:
    """How a lost connection is restored. ``reconnect=None`` in ``connect()`` switches that off.

    Attributes:
        initial_delay: seconds before the second round of attempts; the first one starts at once.
        factor: by how much the delay grows after each round over all URLs.
        max_delay: the longest delay, in seconds.
        jitter: which part of a delay is random, from 0 to 1, so that a broker's clients do not all come back at once.
        max_attempts: how many attempts an outage gets, over all URLs; None for no limit.
        max_time: how many seconds an outage may last; None for no limit.
        while_down: what happens to messages meanwhile: they "wait", or "fail" with ConnectionLostError.
        attach_grace: for how many seconds after a reconnection a link is tried again that the peer refuses as not
            found or not allowed, because a broker that starts may open its port before its queues exist.
        retry: decides whether to try again after an error, instead of the library's rules.
    """

    initial_delay: float = 0.05
    factor: float = 2.0
    max_delay: float = 10.0
    jitter: float = 0.5
    max_attempts: int | None = None
    max_time: float | None = None
    while_down: Literal["wait", "fail"] = "wait"
    attach_grace: float = 30.0
    retry: Callable[[AMQPError], bool] | None = None

    def __post_init__(self) -> None:
        if self.initial_delay < 0 or self.max_delay < 0 or self.factor < 1 or not 0 <= self.jitter <= 1:
            raise ValueError("Reconnect: delays are not negative, factor is at least 1, jitter is between 0 and 1")
        if self.while_down not in ("wait", "fail"):
            raise ValueError(f"Reconnect: while_down is 'wait' or 'fail', not {self.while_down!r}")


@dataclass(frozen=True, slots=True)
class Stream:
    """Where to start in a RabbitMQ stream, and which messages to take from it.

    Attributes:
        offset: "first", "last" (the last chunk), "next" (what comes from now on), an offset, or a time.
        filter: only messages that were published with one of these filter values; None for all messages.
        match_unfiltered: whether messages that were published without a filter value are delivered too.
    """

    offset: str | int | datetime = "next"
    filter: str | Sequence[str] | None = None
    match_unfiltered: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.offset, str) and self.offset not in ("first", "last", "next"):
            raise ValueError(f"Stream: offset is 'first', 'last', 'next', a number or a time, not {self.offset!r}")


class SenderOptions(TypedDict, total=False):
    """Options of ``connection.sender()``; docs/tutorial.md explains each."""

    name: str
    settle: Literal["unsettled", "settled", "mixed"]
    confirm: Literal["first", "second"]
    generate_id: bool
    resend: bool
    max_attempts: int
    max_unsettled: int
    max_unsettled_bytes: int
    max_message_size: int
    dynamic: bool
    lifetime: Literal["link", "no-links", "no-messages", "no-links-or-messages"]
    durable: bool
    capabilities: Sequence[str]
    properties: Mapping[str, Any]
    timeout: float | None


class ReceiverOptions(TypedDict, total=False):
    """Options of ``connection.receiver()``; docs/tutorial.md explains each."""

    name: str
    prefetch: int
    accept: Literal["manual", "auto", "none"]
    confirm: Literal["first", "second"]
    browse: bool
    selector: str
    stream: Stream
    filters: Mapping[str, Any]
    filters_required: bool
    subscription: str
    dynamic: bool
    lifetime: Literal["link", "no-links", "no-messages", "no-links-or-messages"]
    capabilities: Sequence[str]
    properties: Mapping[str, Any]
    max_message_size: int
    timeout: float | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SenderSpec:
    """A sender as it was asked for, with the defaults filled in."""

    address: str | None
    name: str | None = None
    settle: str = "mixed"
    confirm: str = "first"
    generate_id: bool = False
    resend: bool = True
    max_attempts: int = 5
    max_unsettled: int = 10_000
    max_unsettled_bytes: int = 64 * _MIB
    max_message_size: int = 0
    dynamic: bool = False
    lifetime: str | None = None
    durable: bool = False
    capabilities: Sequence[str] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | Default | None = DEFAULT


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ReceiverSpec:
    """A receiver as it was asked for, with the defaults filled in."""

    address: str | None
    name: str | None = None
    prefetch: int = 200
    accept: str = "manual"
    confirm: str = "first"
    browse: bool = False
    selector: str | None = None
    stream: Stream | None = None
    filters: Mapping[str, Any] = field(default_factory=dict)
    filters_required: bool = True
    subscription: str | None = None
    dynamic: bool = False
    lifetime: str | None = None
    capabilities: Sequence[str] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)
    max_message_size: int = 64 * _MIB
    timeout: float | Default | None = DEFAULT


_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "settle": ("unsettled", "settled", "mixed"),
    "confirm": ("first", "second"),
    "accept": ("manual", "auto", "none"),
}


def _checked(spec: type[S], address: str | None, options: Mapping[str, Any]) -> S:
    known = {entry.name for entry in fields(spec)}
    for name, value in options.items():
        if name not in known:
            raise TypeError(f"there is no option {name!r}; there are {', '.join(sorted(known - {'address'}))}")
        allowed = _CHOICES.get(name)
        if allowed is not None and value not in allowed:
            raise ValueError(f"{name} is one of {', '.join(allowed)}, not {value!r}")
        if name == "lifetime" and value not in _LIFETIMES:
            raise ValueError(f"lifetime is one of {', '.join(_LIFETIMES)}, not {value!r}")
        if name in _LEAST and value < _LEAST[name]:
            raise ValueError(f"{name} is at least {_LEAST[name]}, not {value}")
    if address is not None and options.get("dynamic"):
        raise ValueError("a dynamic node gets its address from the peer: give an address or dynamic=True, not both")
    return spec(address, **options)


_LEAST: Final = {
    "prefetch": 0,
    "max_attempts": 1,
    "max_unsettled": 1,
    "max_unsettled_bytes": 1,
    "max_message_size": 0,
}


def sender_spec(address: str | None, options: Mapping[str, Any]) -> SenderSpec:
    """Check the options of a sender.

    Raises:
        TypeError: there is no such option.
        ValueError: a value is out of its range.
    """
    return _checked(SenderSpec, address, options)


def receiver_spec(address: str | None, options: Mapping[str, Any]) -> ReceiverSpec:
    """Check the options of a receiver. Errors as for :func:`sender_spec`."""
    spec = _checked(ReceiverSpec, address, options)
    if address is None and not spec.dynamic:
        raise ValueError("a receiver needs an address, or dynamic=True")
    if spec.subscription is not None and spec.name not in (None, spec.subscription):
        raise ValueError("a subscription's name is the name of its link: give one of the two")
    return spec


# -- URLs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect to: what a URL says.

    Attributes:
        host, port: where the server listens.
        secure: whether TLS comes first (``amqps``).
        user, password: credentials of the URL.
        vhost: the path: RabbitMQ's virtual host.
    """

    host: str
    port: int
    secure: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    vhost: str | None = None

    @property
    def url(self) -> str:
        """The URL without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        path = f"/{self.vhost}" if self.vhost is not None else ""
        return f"amqp{'s' if self.secure else ''}://{host}:{self.port}{path}"


def _address(url: str) -> Address:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # The text may hold a password: it is not repeated.
        raise ValueError("the URL is malformed: expected amqp://[user:password@]host[:port][/vhost]") from None
    if parts.scheme not in _PORTS:
        raise ValueError(f"the URL starts with {parts.scheme or 'no scheme'!r}; amqp:// and amqps:// are known")
    if not parts.hostname:
        raise ValueError("the URL has no host")
    if parts.query or parts.fragment:
        raise ValueError("the URL has a query or fragment; options are arguments of connect()")
    path = unquote(parts.path[1:])
    return Address(
        host=unquote(parts.hostname),
        port=_PORTS[parts.scheme] if port is None else port,
        secure=parts.scheme == "amqps",
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        vhost=path or None,
    )


def addresses(url: str | Sequence[str]) -> tuple[Address, ...]:
    """The addresses of one URL or several.

    Raises:
        ValueError: one is malformed, or there is none.
    """
    urls = (url,) if isinstance(url, str) else tuple(url)
    if not urls:
        raise ValueError("at least one URL is needed")
    return tuple(_address(one) for one in urls)


# -- options to the wire ---------------------------------------------------------------------------------------------

_SETTLE: Final = {
    "unsettled": SenderSettleMode.UNSETTLED,
    "settled": SenderSettleMode.SETTLED,
    "mixed": SenderSettleMode.MIXED,
}
_CONFIRM: Final = {"first": ReceiverSettleMode.FIRST, "second": ReceiverSettleMode.SECOND}
_ACCEPT: Final = {
    "manual": SenderSettleMode.MIXED,
    "auto": SenderSettleMode.MIXED,
    "none": SenderSettleMode.SETTLED,
}
_LIFETIMES: Final = {
    "link": DeleteOnClose,
    "no-links": DeleteOnNoLinks,
    "no-messages": DeleteOnNoMessages,
    "no-links-or-messages": DeleteOnNoLinksOrMessages,
}
_SELECTOR: Final = "apache.org:selector-filter:string"
_OFFSET: Final = "rabbitmq:stream-offset-spec"
_STREAM_FILTER: Final = "rabbitmq:stream-filter"
_MATCH_UNFILTERED: Final = "rabbitmq:stream-match-unfiltered"


def _node_properties(lifetime: str | None) -> dict[Any, Any] | None:
    return None if lifetime is None else {Symbol("lifetime-policy"): _LIFETIMES[lifetime]()}


def check_names(option: str, names: Sequence[str]) -> None:
    """Refuse a text where several are wanted, which would pass for its letters.

    Raises:
        TypeError: it is one, or holds something other than texts.
    """
    if isinstance(names, (str, bytes)) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{option} takes a sequence of names, such as ['queue'], not {names!r:.60}")


def _capabilities(names: Sequence[str]) -> tuple[Symbol, ...]:
    check_names("capabilities", names)
    return tuple(Symbol(name) for name in names)


def _link_properties(properties: Mapping[str, Any]) -> dict[Symbol, Any] | None:
    return {Symbol(name): value for name, value in properties.items()} or None


def sender_fields(spec: SenderSpec) -> dict[str, Any]:
    """The arguments of ``engine.Session.attach_sender`` but the name."""
    return {
        "source": Source(),
        "target": Target(
            address=spec.address,
            durable=TerminusDurability.CONFIGURATION if spec.durable else TerminusDurability.NONE,
            dynamic=spec.dynamic,
            dynamic_node_properties=_node_properties(spec.lifetime),
            capabilities=_capabilities(spec.capabilities),
        ),
        "snd_settle_mode": _SETTLE[spec.settle],
        "rcv_settle_mode": _CONFIRM[spec.confirm],
        "max_message_size": spec.max_message_size,
        "properties": _link_properties(spec.properties),
    }


def receiver_fields(spec: ReceiverSpec, resume_behind: int | None = None) -> dict[str, Any]:
    """The arguments of ``engine.Session.attach_receiver`` but the name.

    Args:
        spec: what was asked for.
        resume_behind: of a stream, the offset of the last message that the program has had.
    """
    durable = spec.subscription is not None
    source = Source(
        address=spec.address,
        durable=TerminusDurability.UNSETTLED_STATE if durable else TerminusDurability.NONE,
        expiry_policy=ExpiryPolicy.NEVER if durable else ExpiryPolicy.SESSION_END,
        dynamic=spec.dynamic,
        dynamic_node_properties=_node_properties(spec.lifetime),
        distribution_mode=Symbol(DistributionMode.COPY) if spec.browse else None,
        filter=_filters(spec, resume_behind) or None,
        capabilities=_capabilities(spec.capabilities),
    )
    return {
        "source": source,
        "target": Target(),
        "snd_settle_mode": _ACCEPT[spec.accept],
        "rcv_settle_mode": _CONFIRM[spec.confirm],
        "max_message_size": spec.max_message_size,
        "properties": _link_properties(spec.properties),
    }


def _filters(spec: ReceiverSpec, resume_behind: int | None) -> dict[Symbol, Any]:
    wanted: dict[str, Any] = {}
    if spec.selector is not None:
        wanted[_SELECTOR] = spec.selector
    stream = spec.stream
    if stream is not None:
        offset: Any = stream.offset
        if resume_behind is not None:
            offset = ULong(resume_behind + 1)
        elif isinstance(offset, datetime):
            offset = as_timestamp(offset, "Stream.offset")
        elif isinstance(offset, int):
            offset = ULong(offset)
        wanted[_OFFSET] = offset
        if stream.filter is not None:
            wanted[_STREAM_FILTER] = stream.filter if isinstance(stream.filter, str) else list(stream.filter)
            wanted[_MATCH_UNFILTERED] = stream.match_unfiltered
    wanted.update(spec.filters)
    return {
        Symbol(name): value if isinstance(value, Described) else Described(Symbol(name), value)
        for name, value in wanted.items()
    }

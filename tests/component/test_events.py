"""The event parameter classes: cheap, lazy, read-only but for the two decisions of a handler."""

from __future__ import annotations

import pytest

from amqp10.component.enums import MessageState
from amqp10.component.events import (
    EVENT_CLASSES,
    AMQPConnectedEventParams,
    AMQPConnectionStatusEventParams,
    AMQPDisconnectedEventParams,
    AMQPErrorEventParams,
    AMQPLinkReadyToSendEventParams,
    AMQPLogEventParams,
    AMQPMessageInEventParams,
    AMQPMessageOutcomeEventParams,
    AMQPMessageOutEventParams,
    AMQPReadyToSendEventParams,
    AMQPSSLServerAuthenticationEventParams,
    AMQPSSLStatusEventParams,
    EventParams,
)
from amqp10.errors import AMQPError


class Owner:
    """Stands in for the component; counts how often an index is looked up."""

    def __init__(self) -> None:
        self.lookups: list[str] = []

    def session_index(self, name: str, /) -> int:
        self.lookups.append(name)
        return 3

    def link_index(self, name: str, /) -> int:
        self.lookups.append(name)
        return 5


class Message:
    """A message whose id takes effort to find."""

    def __init__(self) -> None:
        self.reads = 0

    @property
    def id(self) -> str:
        self.reads += 1
        return "m-1"


def every_event() -> list[EventParams]:
    owner = Owner()
    return [
        AMQPConnectedEventParams(0, "OK"),
        AMQPConnectionStatusEventParams("Remote host connected", 0, "OK"),
        AMQPDisconnectedEventParams(1120, "dropped"),
        AMQPErrorEventParams(604, "bad"),
        AMQPLinkReadyToSendEventParams(owner, "link"),
        AMQPLogEventParams(1, "text", "Info"),
        AMQPMessageInEventParams(owner, "session", "link", "m-1"),
        AMQPMessageOutEventParams(owner, "session", "link", "m-1"),
        AMQPMessageOutcomeEventParams(owner, "session", "link", "m-1", 1, 2),
        AMQPReadyToSendEventParams(),
        AMQPSSLServerAuthenticationEventParams(b"x" * 500, "CN=a", "CN=b", "OK", True),
        AMQPSSLStatusEventParams("text"),
    ]


def test_the_list_of_classes_is_complete() -> None:
    assert [type(event) for event in every_event()] == list(EVENT_CLASSES.values())


@pytest.mark.parametrize("event", every_event(), ids=lambda event: type(event).__name__)
def test_objects_have_no_dict_and_refuse_assignment(event: EventParams) -> None:
    assert not hasattr(event, "__dict__")
    with pytest.raises(AttributeError):
        event.unknown = 1  # type: ignore[attr-defined]
    for name in event.PARAMS:
        if name not in ("state", "accept") or isinstance(event, AMQPMessageOutcomeEventParams):
            with pytest.raises(AttributeError):
                setattr(event, name, getattr(event, name))


@pytest.mark.parametrize("event", every_event(), ids=lambda event: type(event).__name__)
def test_repr_shows_every_parameter_and_stays_short(event: EventParams) -> None:
    text = repr(event)
    assert text.startswith(type(event).__name__ + "(")
    for name in event.PARAMS:
        assert f"{name}=" in text
    assert len(text) < 400


def test_indexes_and_ids_are_looked_up_only_when_asked_for() -> None:
    owner, message = Owner(), Message()
    event = AMQPMessageInEventParams(owner, "session", "link", message)
    assert (event.session_name, event.link_name, event.state) == ("session", "link", 0)
    assert owner.lookups == []
    assert message.reads == 0
    assert (event.session_index, event.link_index, event.message_id) == (3, 5, "m-1")
    assert owner.lookups == ["session", "link"]


def test_state_takes_outcomes_and_nothing_else() -> None:
    event = AMQPMessageInEventParams(Owner(), "session", "link", "m-1")
    event.state = 1
    assert event.state == MessageState.Rejected
    event.state = MessageState.Modified
    assert event.state == 3
    for wrong in (-1, 4, 10**5000):
        with pytest.raises(AMQPError) as caught:
            event.state = wrong
        assert caught.value.code == 604
    for unfit in (True, "1", None, 1.0):
        with pytest.raises(TypeError):
            event.state = unfit  # type: ignore[assignment]
    assert event.state == 3


def test_accept_takes_a_flag_and_no_text_for_one() -> None:
    event = AMQPSSLServerAuthenticationEventParams(b"", "", "", "expired", False)
    event.accept = True
    assert event.accept is True
    for unfit in ("1", "False", None):
        with pytest.raises(TypeError):
            event.accept = unfit  # type: ignore[assignment]
    assert event.accept is True

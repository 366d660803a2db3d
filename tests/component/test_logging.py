"""Logging: levels, types, one line per frame, bytes on demand, the standard logger, and no secrets anywhere."""

from __future__ import annotations

import logging
import re
from functools import partial
from typing import Any

import pytest

from amqp10 import AMQP, AMQPError, ValueType
from amqp10.component.log_lines import event_line
from amqp10.engine import (
    Connection,
    ConnectionClosed,
    ConnectionFailed,
    DeliveryAborted,
    EndpointRole,
    Event,
    IncomingDelivery,
    LinkDetached,
    LinkRequested,
    ReceiverLink,
    SaslServer,
    Session,
    SessionEnded,
    SessionRequested,
)
from amqp10.engine.link import LinkTerms
from amqp10.wire.performatives import Attach, ReceiverSettleMode, SenderSettleMode
from tests.component.server import Server, client, refusal
from tests.component.test_events_rules import pump

SECRET = "s3cr3t-pa55"


def a_life(level: int, **settings: str) -> list[Any]:
    """The log events of a connection on which everything happens once."""
    lines: list[Any] = []
    with Server() as server:
        amqp = AMQP()
        amqp.config(f"LogLevel={level}")
        for name, value in settings.items():
            amqp.config(f"{name}={value}")
        amqp.on_log = lines.append
        amqp.connect_to(server.host, server.port)
        amqp.create_session("s")
        amqp.create_sender_link("s", "out", "q")
        amqp.create_receiver_link("s", "in", "in")
        amqp.message_value_type = ValueType.mvtString
        amqp.message_value = "hello"
        amqp.message_settled = False
        amqp.send_message("out")
        pump(amqp, lambda: amqp.outgoing_message_count == 0)
        server.put("in", "x")
        pump(amqp, lambda: amqp.received_message_value == "x")
        amqp.disconnect()
    return lines


def test_each_level_adds_to_the_one_before_with_the_documented_types() -> None:
    lives = [a_life(level) for level in range(4)]
    assert lives[0] == []
    for level in range(1, 4):
        assert {line.log_level for line in lives[level]} == set(range(1, level + 1))
        assert all(line.log_type in ("Info", "Session", "Frame") for line in lives[level])
        assert all(line.message and "\n" not in line.message for line in lives[level])
        below = [line.message for line in lives[level] if line.log_level < level and line.log_type != "Session"]
        before = [line.message for line in lives[level - 1] if line.log_type != "Session"]
        assert len(below) == len(before)
    assert {line.log_type for line in lives[1]} == {"Info", "Session"}
    assert not any(line.log_type == "Frame" for line in lives[2])
    assert any("connected" in line.message for line in lives[1])


def test_level_2_tells_in_words_what_changed() -> None:
    lines = [line.message for line in a_life(2) if line.log_level == 2]
    for words in (
        "the server has opened the connection: open(container-id='test-server'",
        "session 's' (channel 0) is mapped to the server's channel 0",
        "sender link 'out' is attached: source(",
        "sender link 'out' has credit 100 at delivery count 0",
        "receiver link 'in' is attached: source(address='in'",
        "the connection is closed from here",
    ):
        assert any(line.startswith(words) for line in lines), words
    assert not any("<" in line for line in lines)


def test_every_event_of_the_engine_has_a_line() -> None:
    engine = Connection(EndpointRole.CLIENT, container_id="c")
    session = Session(
        engine.channels,
        0,
        incoming_window=1,
        outgoing_window=1,
        handle_max=1,
        initial_outgoing_id=0,
        initial_delivery_count=0,
    )
    link = ReceiverLink(
        session,
        "l",
        0,
        LinkTerms(None, None, SenderSettleMode.MIXED, ReceiverSettleMode.FIRST, max_message_size=0),
    )
    error = refusal("amqp:not-found", "no such queue")
    lines: list[tuple[Event, str]] = [
        (ConnectionClosed(error, True), "the connection is closed by the server: no such queue"),
        (ConnectionFailed(error), "the connection has failed: no such queue"),
        (SessionRequested(session), "the server asks for a session on its channel None"),
        (SessionEnded(session, error, True), "channel 0 is ended by the server: no such queue"),
        (LinkRequested(link, Attach(name="l", handle=0, role=False)), "the server asks for receiver link 'l'"),
        (LinkDetached(link, None, False, True), "receiver link 'l' is detached from here"),
        (
            DeliveryAborted(IncomingDelivery(link, 0, b"", b"", False)),
            "receiver link 'l': the sender gave up a message of which parts had arrived",
        ),
    ]
    assert [event_line(event) for event, _ in lines] == [line for _, line in lines]


def test_level_3_shows_each_frame_in_one_readable_line() -> None:
    frames = [line.message for line in a_life(3) if line.log_type == "Frame"]
    for performative in ("open", "begin", "attach", "flow", "transfer", "disposition", "detach", "end", "close"):
        for arrow in ("->", "<-"):
            pattern = rf"{arrow} \[\d+\] {performative}\("
            assert any(re.match(pattern, line) for line in frames), (arrow, performative)
    transfer = next(line for line in frames if line.startswith("-> [0] transfer("))
    assert "handle=" in transfer
    assert "delivery-id=" in transfer
    assert re.search(r"\+\d+ bytes$", transfer)
    assert not any("bytes" in line.split()[1] for line in frames)


def test_bytes_are_logged_on_demand_and_not_those_of_the_sasl_exchange() -> None:
    lines = [line.message for line in a_life(3, LogFrameBytes="True") if line.message[3:8] == "bytes"]
    assert any(line.startswith("-> ") for line in lines)
    assert any(line.startswith("<- ") for line in lines)
    octets = b"".join(bytes.fromhex(line[8:]) for line in lines if line.startswith("-> "))
    assert octets.startswith(b"AMQP\0\1\0\0"), "the first that is shown is the AMQP header behind the SASL exchange"
    assert b"hello" in octets


def test_a_log_level_or_handler_set_while_connected_works_at_once() -> None:
    with Server() as server, client(server) as amqp:
        lines: list[Any] = []
        amqp.config("LogLevel=3")
        amqp.on_log = lines.append
        amqp.create_session("t")
        assert any("begin(" in line.message for line in lines)
        amqp.config("LogLevel=0")
        lines.clear()
        amqp.create_session("u")
        assert lines == []
        amqp.config("LogLevel=3")
        amqp.on_log = None
        assert amqp._loop.engine is not None
        assert amqp._loop.engine.output.trace is None or logging.getLogger("amqp10").isEnabledFor(logging.DEBUG), (
            "costs nothing"
        )
        amqp.on_log = lines.append
        amqp.config("LogFrameBytes=True")
        assert amqp._loop.pump is not None
        assert amqp._loop.pump.tap is not None
        amqp.config("LogLevel=2")
        assert amqp._loop.engine.output.trace is None
        assert amqp._loop.pump.tap is None, "no hexadecimal digits for nobody"


def test_the_same_lines_go_to_the_standard_logger(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="amqp10"):
        lines = a_life(3)
    records = [record for record in caplog.records if record.name == "amqp10"]
    assert [record.getMessage() for record in records] == [line.message for line in lines]
    levels = {1: logging.INFO, 2: logging.DEBUG, 3: logging.DEBUG}
    assert [record.levelno for record in records] == [levels[line.log_level] for line in lines]


def test_a_peers_words_cannot_pass_for_further_lines_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    lines: list[Any] = []
    text = "gone\n1 Info connected to bank\r\x1b[2J\u2028end"
    with caplog.at_level(logging.DEBUG, logger="amqp10"), Server() as server, client(server, "out>") as amqp:
        amqp.on_log = lines.append
        server.do(lambda peer: peer.link("out").detach(error=refusal("amqp:resource-deleted", text)))
        pump(amqp, lambda: any("gone" in line.message for line in lines))
    texts = [line.message for line in lines] + [record.getMessage() for record in caplog.records]
    assert all(text.isprintable() for text in texts)
    assert any("gone\\n1 Info" in text for text in texts), "still readable"


def test_heartbeats_are_seen_at_level_3() -> None:
    lines: list[Any] = []
    with Server() as server, client(server) as amqp:
        amqp.config("LogLevel=3")
        amqp.on_log = lines.append
        server.do(lambda peer: peer.raw(bytes.fromhex("0000000802000000")))
        pump(amqp, lambda: any(line.message == "<- [0] heartbeat" for line in lines))


def test_a_handler_of_log_messages_may_call_methods_and_fail_like_any_other() -> None:
    with Server() as server, client(server) as amqp:
        made: list[str] = []

        def on_log(event: Any) -> None:
            if "'t' has begun" in event.message:
                amqp.create_session("u")
                made.append(amqp.get_session_name(amqp.session_count - 1))
            if "'u' has begun" in event.message:
                raise ZeroDivisionError

        amqp.on_log = on_log
        with pytest.raises(ZeroDivisionError):
            amqp.create_session("t")
        assert made == ["u"]
        assert [amqp.get_session_name(i) for i in range(amqp.session_count)] == ["s", "t", "u"]


def test_secrets_are_in_no_log_no_error_and_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    lines: list[Any] = []
    texts: list[str] = []
    for users, anonymous in (({"user": SECRET}, False), ({"user": "other"}, False), ({}, True)):
        with (
            caplog.at_level(logging.DEBUG, logger="amqp10"),
            Server(sasl=partial(SaslServer, users=users, anonymous=anonymous)) as server,
        ):
            amqp = AMQP()
            amqp.config("LogLevel=3")
            amqp.config("LogFrameBytes=True")
            amqp.on_log = lines.append
            amqp.on_error = lines.append
            amqp.on_connected = lines.append
            amqp.user = "user"
            amqp.password = SECRET
            amqp.firewall_password = SECRET
            amqp.ssl_cert_store_password = SECRET
            amqp.config(f"FirewallData=Proxy-Authorization: {SECRET}")
            amqp.config(f"OpenSSLPrngSeedData={SECRET}")
            texts.append(repr(amqp))
            texts.append(repr(amqp._settings))
            try:
                amqp.connect_to(server.host, server.port)
                texts.append(repr(amqp))
                amqp.disconnect()
            except AMQPError as error:
                texts += [str(error), repr(error), repr(error.__cause__), repr(error.__context__)]
            for name in ("password", "firewall_password", "ssl_cert_store_password"):
                with pytest.raises(AMQPError) as caught:
                    setattr(amqp, name, SECRET + "\0")
                texts += [str(caught.value), repr(caught.value)]
            for name in ("user", "password"):
                with pytest.raises(TypeError) as wrong:
                    setattr(amqp, name, SECRET.encode())
                texts.append(str(wrong.value))
    assert any("sasl-init(" in getattr(line, "message", "") for line in lines)
    texts += [repr(line) for line in lines]
    texts += [getattr(line, "message", "") + getattr(line, "description", "") for line in lines]
    texts += [record.getMessage() for record in caplog.records]
    forms = [SECRET, SECRET.encode().hex(), SECRET.encode().hex(" ", 4), SECRET[::-1]]
    for text in texts:
        for form in forms:
            assert form.lower() not in text.lower()
        assert SECRET.encode().hex() not in text.replace(" ", "").lower()

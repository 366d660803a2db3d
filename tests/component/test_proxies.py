"""The ``firewall_`` properties and the settings of proxies, observed through ``AMQP`` by a proxy in this process."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from amqp10 import AMQP, AMQPError, FirewallType
from amqp10.broker import Broker
from tests.component.relay_proxy import RelayProxy
from tests.component.tls_front import TlsFront
from tests.net.pki import HOST, good_server, root_ca, server_context

KINDS = [FirewallType.fwTunnel, FirewallType.fwSOCKS4, FirewallType.fwSOCKS4A, FirewallType.fwSOCKS5]
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@contextmanager
def behind(kind: FirewallType, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> Iterator[tuple[AMQP, RelayProxy, int]]:
    """An instance that is to go through a proxy, the proxy, and the port of a broker."""
    with (
        Broker(users={"user": "s3cret"}) as broker,
        RelayProxy(kind, (broker.host, broker.port), answer) as proxy,
        AMQP() as amqp,
    ):
        amqp.timeout = 15
        amqp.user, amqp.password = "user", "s3cret"
        amqp.firewall_type = kind
        amqp.firewall_host, amqp.firewall_port = "localhost", proxy.port
        yield amqp, proxy, broker.port


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_proxy_is_used_and_told_of(kind: FirewallType) -> None:
    with behind(kind) as (amqp, proxy, port):
        stages: list[str] = []
        amqp.on_connection_status = lambda event: stages.append(event.connection_event)
        amqp.connect_to("127.0.0.1", port)
        assert amqp.connected
        assert len(proxy.asked) == 1
        assert f"127.0.0.1:{port}" in proxy.asked[0]
        assert stages[:2] == ["Firewall connection complete.", "Remote host connection complete."]
        assert amqp.remote_host == "127.0.0.1"
        # As the reference has it: the address, once a name was resolved; the name serves again the next time.
        assert amqp.firewall_host == "127.0.0.1"
        assert amqp.config("FirewallHost") == "127.0.0.1"
        amqp.disconnect()
        assert amqp.firewall_host == "localhost"


@pytest.mark.parametrize("kind", KINDS)
def test_the_server_is_verified_through_each_kind_of_proxy(kind: FirewallType) -> None:
    with (
        TlsFront(server_context(good_server())) as front,
        RelayProxy(kind, (front.host, front.port)) as proxy,
        AMQP() as amqp,
    ):
        amqp.timeout = 15
        amqp.user, amqp.password = "user", "s3cret"
        amqp.ssl_enabled = True
        amqp.firewall_type, amqp.firewall_host, amqp.firewall_port = kind, "127.0.0.1", proxy.port
        named = kind is not FirewallType.fwSOCKS4  # which resolves here, where the name does not exist
        host = HOST if kind in (FirewallType.fwTunnel, FirewallType.fwSOCKS4A) else "*" + HOST
        with pytest.raises(AMQPError) as caught:
            amqp.connect_to(host if named else "127.0.0.1", 5671)
        assert caught.value.code == 280
        assert not front.servers[-1].finished
        amqp.config("SSLServerCACerts=" + root_ca().pem.decode())
        amqp.connect()
        assert amqp.connected
        assert proxy.asked[-1].split()[0 if kind is not FirewallType.fwTunnel else 1] == (
            f"{HOST if named else '127.0.0.1'}:5671"
        )
        assert amqp.remote_host == (HOST if named else "127.0.0.1")
        amqp.disconnect()
        with pytest.raises(AMQPError) as caught:
            amqp.connect_to("*other.test" if kind is FirewallType.fwSOCKS5 else "127.0.0.9", 5671)
        assert caught.value.code == 280
        assert "is not for" in caught.value.message


def test_credentials_and_further_lines_reach_the_proxy_and_nobody_else() -> None:
    with behind(FirewallType.fwTunnel) as (amqp, proxy, port):
        logged: list[str] = []
        amqp.config("LogLevel=3")
        amqp.on_log = lambda event: logged.append(event.message)
        amqp.firewall_user, amqp.firewall_password = "ann", "pr0xy"
        amqp.config("FirewallData=X-Token: t0ken\r\nX-Other: 2")
        amqp.connect_to("127.0.0.1", port)
        lines = proxy.asked[0].split("\r\n")
        credentials = base64.b64encode(b"ann:pr0xy").decode()
        assert f"Proxy-Authorization: Basic {credentials}" in lines
        assert {"X-Token: t0ken", "X-Other: 2"} <= set(lines)
        for secret in ("pr0xy", "t0ken", credentials):
            assert not any(secret in text for text in (*logged, repr(amqp)))
    with behind(FirewallType.fwSOCKS5) as (amqp, proxy, port):
        amqp.firewall_user, amqp.firewall_password = "ann", "pr0xy"
        amqp.connect_to("127.0.0.1", port)
        assert proxy.asked == [f"127.0.0.1:{port} ann:pr0xy"]


def test_a_refusal_names_the_hop_and_what_it_answered() -> None:
    with behind(FirewallType.fwTunnel, b"HTTP/1.1 403 Not from here\r\n\r\n") as (amqp, proxy, port):
        amqp.firewall_user, amqp.firewall_password = "ann", "pr0xy"
        with pytest.raises(AMQPError, match=rf"the proxy localhost:{proxy.port} answered 403 Not from here") as caught:
            amqp.connect_to("127.0.0.1", port)
        assert caught.value.code == 10013
        assert "pr0xy" not in str(caught.value)


def test_hosts_on_the_list_of_exceptions_are_reached_directly() -> None:
    with behind(FirewallType.fwTunnel) as (amqp, proxy, port):
        stages: list[str] = []
        amqp.on_connection_status = lambda event: stages.append(event.connection_event)
        amqp.config("ProxyExceptionsList=other.test;127.0.0.1")
        amqp.connect_to("127.0.0.1", port)
        assert proxy.asked == []
        assert stages == ["Remote host connection complete."]
        assert amqp.firewall_host == "localhost"


def test_the_port_follows_the_kind_and_the_settings_are_the_properties() -> None:
    amqp = AMQP()
    for kind, port in ((1, 80), (2, 1080), (3, 1080), (10, 1080)):
        amqp.config(f"FirewallType={kind}")
        assert (amqp.firewall_type, amqp.firewall_port) == (kind, port)
    for setting, name, value in (
        ("FirewallHost", "firewall_host", "proxy.test"),
        ("FirewallUser", "firewall_user", "ann"),
        ("FirewallPassword", "firewall_password", "pr0xy"),
        ("FirewallPort", "firewall_port", 3128),
        ("FirewallAutoDetect", "firewall_auto_detect", True),
    ):
        amqp.config(f"{setting}={value}")
        assert getattr(amqp, name) == value


def test_the_environments_proxy_is_found_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with behind(FirewallType.fwTunnel) as (amqp, proxy, _port):
        amqp.firewall_type, amqp.firewall_host = FirewallType.fwNone, ""
        monkeypatch.setenv("https_proxy", f"http://ann:pr%400xy@127.0.0.1:{proxy.port}")
        amqp.firewall_auto_detect = True
        amqp.connect_to("broker.test", 5672)
        assert proxy.asked[0].startswith("CONNECT broker.test:5672 ")
        assert base64.b64encode(b"ann:pr@0xy").decode() in proxy.asked[0]
        assert amqp.firewall_host == ""


@pytest.mark.parametrize(
    "value",
    [
        "http://ann:12#pr0xy@proxy.test:3128",
        "http://ann:12/pr0xy@proxy.test:3128",
        "http://ann:12?pr0xy@proxy.test:3128",
        "http://ann:pr0xy\udcff@127.0.0.1:1",
        "http://ann:pr0xy@pr oxy.test",
        "ftp://ann:pr0xy@proxy.test",
    ],
)
def test_a_variable_that_cannot_be_used_is_named_without_its_password(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", value)
    amqp = AMQP()
    amqp.firewall_auto_detect = True
    with pytest.raises(AMQPError, match="the environment variable https_proxy") as caught:
        amqp.connect_to("broker.test", 5672)
    assert caught.value.code in (604, 11001)
    error: BaseException | None = caught.value
    while error is not None:
        assert "pr0xy" not in repr(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    "text", ["http://ann:pr0xy@proxy.test:80", "ann:pr0xy@proxy.test", "amqps://ann:pr0xy@proxy.test/"]
)
@pytest.mark.parametrize("name", ["firewall_host", "remote_host"])
def test_a_url_in_the_place_of_a_host_is_refused_without_showing_its_password(name: str, text: str) -> None:
    amqp = AMQP()
    events: list[Any] = []
    amqp.on_connected = events.append
    amqp.remote_host = "broker.test"
    amqp.firewall_type, amqp.firewall_host = FirewallType.fwTunnel, "proxy.test"
    setattr(amqp, name, text)
    with pytest.raises(AMQPError, match=f"{name} is .*proxy.test") as caught:
        amqp.connect()
    assert caught.value.code == 11001
    assert "pr0xy" not in str(caught.value) + repr(events)

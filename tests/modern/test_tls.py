"""TLS and passwords in the modern API, for both drivers."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import amqp10
from amqp10 import AMQPError, AuthenticationError, TlsOptions, aio
from amqp10.broker import Broker
from amqp10.engine import ExternalMechanism
from amqp10.net.certstores.stores import StoreType, load_client_certificate

Send = Callable[..., None]


@pytest.fixture(params=["blocking", "aio"])
def send(request: pytest.FixtureRequest) -> Send:
    """Connects, sends a message and has it back."""

    def blocking(url: str, **options: Any) -> None:
        with amqp10.connect(url, timeout=20, **options) as connection:
            connection.send("q", "x")
            with connection.receiver("q") as receiver:
                receiver.receive().accept()

    def tasks(url: str, **options: Any) -> None:
        async def main() -> None:
            async with aio.connect(url, timeout=20, **options) as connection:
                await connection.send("q", "x")
                async with connection.receiver("q") as receiver:
                    (await receiver.receive()).accept()

        asyncio.run(main(), debug=True)

    return blocking if request.param == "blocking" else tasks


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def context_for(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Broker]:
    with Broker(tls=context_for(authority, "localhost")) as running:
        yield running


def url_of(broker: Broker, host: str = "localhost") -> str:
    return f"amqps://{host}:{broker.port}"


@pytest.mark.parametrize("kind", ["context", "text", "path", "folder", "options"])
def test_each_way_of_naming_the_authority_lets_the_right_server_in(
    kind: str, send: Send, secure: Broker, ca_file: Path, tmp_path: Path
) -> None:
    ways: dict[str, Any] = {
        "context": ssl.create_default_context(cafile=str(ca_file)),
        "text": str(ca_file),
        "path": ca_file,
        "options": TlsOptions(ca_file=str(ca_file)),
        "folder": tmp_path,
    }
    if kind == "folder":
        from OpenSSL import crypto

        certificate = crypto.load_certificate(crypto.FILETYPE_PEM, ca_file.read_bytes())
        (tmp_path / f"{certificate.subject_name_hash():08x}.0").write_bytes(ca_file.read_bytes())
    send(url_of(secure), tls=ways[kind])


@pytest.mark.parametrize("kind", ["default", "path", "options", "default options"])
def test_a_server_of_an_unknown_authority_is_refused(kind: str, send: Send, secure: Broker, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    ways: dict[str, Any] = {
        "default": None,
        "path": other,
        "options": TlsOptions(ca_file=str(other)),
        "default options": TlsOptions(),
    }
    with pytest.raises(AMQPError) as refused:
        send(url_of(secure), tls=ways[kind])
    assert refused.value.code == 280


@pytest.mark.parametrize("kind", ["path", "options"])
def test_a_server_with_the_certificate_of_another_host_is_refused(
    kind: str, send: Send, authority: trustme.CA, ca_file: Path
) -> None:
    with Broker(tls=context_for(authority, "elsewhere.example")) as broker:
        with pytest.raises(AMQPError) as refused:
            send(url_of(broker), tls=ca_file if kind == "path" else TlsOptions(ca_file=str(ca_file)))
        assert refused.value.code == 280


@pytest.mark.parametrize("kind", ["context", "options"])
def test_a_client_certificate_logs_in(kind: str, send: Send, authority: trustme.CA, ca_file: Path) -> None:
    server = context_for(authority, "localhost")
    server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server)
    identity = authority.issue_cert("client@example.org", common_name="client")
    with Broker(tls=server) as broker:
        if kind == "context":
            context = ssl.create_default_context(cafile=str(ca_file))
            identity.configure_cert(context)
            send(url_of(broker), tls=context, sasl=[ExternalMechanism()])
        else:
            entry = load_client_certificate(
                identity.private_key_and_cert_chain_pem.bytes(), StoreType.PEM_KEY_BLOB, subject="*"
            )
            send(url_of(broker), tls=TlsOptions(ca_file=str(ca_file), client_certificate=entry))
        with pytest.raises(AMQPError):
            send(url_of(broker), tls=ca_file, reconnect=None)


def test_a_path_without_certificates_and_a_wrong_type_are_told_at_once(send: Send, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no CA certificates"):
        send("amqps://localhost:1", tls=tmp_path / "missing.pem")
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    with pytest.raises(ValueError, match="no CA certificates"):
        send("amqps://localhost:1", tls=empty)
    with pytest.raises(TypeError, match="SSLContext"):
        send("amqps://localhost:1", tls=5)


# -- passwords in the open -------------------------------------------------------------------------------------------

ABROAD = "amqp://me:s3cret@192.0.2.1:5672"


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Connecting fails at once; notes that it was tried."""
    tried: list[str] = []

    async def dial(host: str, *arguments: Any, **named: Any) -> Any:
        tried.append(host)
        raise AMQPError(10061, "nobody answers")

    monkeypatch.setattr("amqp10.blocking.transport.dial", dial)
    monkeypatch.setattr("amqp10.aio.driver.dial", dial)
    return tried


@pytest.mark.parametrize("how", ["url", "arguments", "token"])
def test_a_password_in_the_open_is_worth_one_warning_without_the_password(
    how: str, send: Send, nowhere: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"reconnect": None}
    url = ABROAD if how == "url" else "amqp://192.0.2.1:5672"
    if how == "arguments":
        options.update(user="me", password="s3cret")
    if how == "token":
        options.update(token=lambda: "s3cret")
    with caplog.at_level(logging.WARNING, "amqp10.client"), pytest.raises(AMQPError):
        send([url, url], **options)
    assert nowhere == ["192.0.2.1"] * 2
    said = [record.getMessage() for record in caplog.records if "plain_without_tls" in record.getMessage()]
    assert len(said) == 1
    assert "s3cret" not in caplog.text


def test_a_password_in_the_open_can_be_forbidden_and_then_nothing_is_dialled(send: Send, nowhere: list[str]) -> None:
    with pytest.raises(AuthenticationError, match="plain_without_tls"):
        send(ABROAD, plain_without_tls=False)
    assert nowhere == []


@pytest.mark.parametrize(
    "url", ["amqp://me:pw@localhost", "amqp://me:pw@127.0.0.2", "amqp://me:pw@[::1]", "amqp://192.0.2.1"]
)
def test_what_nobody_can_overhear_is_not_forbidden(
    url: str, send: Send, nowhere: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "amqp10.client"), pytest.raises(AMQPError, match="nobody answers"):
        send(url, plain_without_tls=False, reconnect=None)
    assert len(nowhere) == 1
    assert "plain_without_tls" not in caplog.text


def test_a_proxy_makes_every_server_a_distant_one(send: Send, nowhere: list[str]) -> None:
    with pytest.raises(AuthenticationError, match="plain_without_tls"):
        send("amqp://me:pw@localhost", proxy="http://192.0.2.1:8080", plain_without_tls=False)
    assert nowhere == []

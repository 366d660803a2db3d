"""What a newcomer meets first: a wrong port, a wrong protocol, no credentials. Each is told in words that help."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from amqp10 import AMQP, AMQPError, AuthScheme
from amqp10.broker import Broker, Limits
from tests.component.server import faster

TLS_ALERT = b"\x15\x03\x03\x00\x02\x02\x46"


@contextlib.contextmanager
def answering(answer: bytes | None) -> Iterator[int]:
    """A server that reads, says something and hangs up; None for one that says nothing and stays. Gives its port."""
    accepted: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                accepted.append(sock)
                if answer is not None:
                    sock.recv(4096)
                    sock.sendall(answer)
                    sock.shutdown(socket.SHUT_WR)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for sock in accepted:
                sock.close()


def failure(amqp: AMQP, host: str, port: int) -> AMQPError:
    with pytest.raises(AMQPError) as caught:
        amqp.connect_to(host, port)
    assert not amqp.connected
    return caught.value


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (b"AMQP\x00\x00\x09\x01", 600, "AMQP 0-9-1"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", 600, "HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 600, "SSH-2.0-"),
        (TLS_ALERT, 600, "enable TLS"),
        (b"\x20\x02\x00\x01", 600, r"\x02"),
        (b"AMQP", 1120, "no AMQP header came"),
        (b"", 1120, "it may wait for TLS, or not speak AMQP 1.0 on this port"),
    ],
    ids=["AMQP 0-9-1", "HTTP", "SSH", "TLS", "MQTT", "half a header", "nothing"],
)
def test_a_server_that_hangs_up_is_told_apart_by_what_it_said(answer: bytes, code: int, words: str) -> None:
    with answering(answer) as port:
        error = failure(AMQP(), "127.0.0.1", port)
    assert error.code == code
    assert words in error.message


def test_a_server_that_says_nothing_is_201_with_a_hint_that_fits_the_settings() -> None:
    with answering(None) as port:
        amqp = AMQP()
        amqp.timeout = 1
        with faster(amqp):
            error = failure(amqp, "127.0.0.1", port)
        assert error.code == 201
        assert "it may wait for TLS" in error.message
        amqp.auth_scheme = AuthScheme.smNone
        with faster(amqp):
            assert "insist on SASL" in failure(amqp, "127.0.0.1", port).message


def test_a_server_that_hangs_up_on_tls_without_a_word_may_not_use_it() -> None:
    with answering(b"") as port:
        amqp = AMQP()
        amqp.ssl_enabled = True
        error = failure(amqp, "127.0.0.1", port)
    assert error.code == 276
    assert "it may not use TLS on this port" in error.message


def test_a_forgotten_user_is_told_as_such_and_a_wrong_one_is_not() -> None:
    with Broker(users={"u": "p"}, limits=Limits(login_pause=0)) as broker:
        amqp = AMQP()
        error = failure(amqp, broker.host, broker.port)
        assert (error.code, "user and password are not set" in error.message) == (602, True)
        amqp.user = "u"
        error = failure(amqp, broker.host, broker.port)
        assert (error.code, "not set" in error.message) == (602, False)


def test_a_port_within_the_host_name_is_told_as_such() -> None:
    error = failure(AMQP(), "localhost:5672", 5672)
    assert error.code == 11001
    assert "'localhost'" in error.message

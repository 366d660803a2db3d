"""Each of the error codes is raised by a test, or noted as one that cannot occur here, with the reason."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from amqp10 import AMQP, AMQPError
from amqp10.component.error_notes import ERROR_NOTES
from amqp10.engine import SaslServer
from amqp10.errors import ERROR_CODES, code_from_errno
from tests.component.server import Server, client, faster
from tests.component.test_events_rules import pump

TESTS = Path(__file__).parents[1]

# Codes that the tests of another layer raise: where the number is expected by name.
ELSEWHERE = {
    212: "net/test_tcp_transport.py",
    270: "net/test_tls_settings.py",
    271: "net/test_certstores.py",
    272: "net/test_certstores.py",
    273: "net/test_tls_settings.py",
    274: "net/test_tls_settings.py",
    275: "net/test_tls_settings.py",
    276: "net/test_tls_handshake.py",
    280: "net/test_tls_handshake.py",
    281: "net/test_tls_handshake.py",
    284: "net/test_tls_handshake.py",
    302: "net/test_tls_settings.py",
    10041: "net/test_proxy.py",
    11001: "net/test_resolve.py",
    11002: "net/test_resolve.py",
    11003: "net/test_resolve.py",
    11004: "net/test_resolve.py",
}


# Codes that the operating system's error numbers stand for; raised below by a socket that reports them.
SYSTEM = {
    name: code_from_errno(getattr(errno, name))
    for name in re.findall(
        r"\w+",
        "EBADF EACCES EPERM EFAULT EINVAL EMFILE ENFILE EALREADY ENOTSOCK EDESTADDRREQ EPROTOTYPE ENOPROTOOPT"
        " EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN"
        " ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT"
        " ECONNREFUSED EHOSTDOWN EHOSTUNREACH EUSERS EXDEV",
    )
    if hasattr(errno, name)
}


def while_connected(call: Callable[[AMQP], object]) -> Callable[[], None]:
    def run() -> None:
        with Server() as server, client(server, "out>") as amqp:
            call(amqp)

    return run


def refused_password() -> None:
    with Server(sasl=lambda: SaslServer(users={"u": "p"}, anonymous=False)) as server:
        amqp = AMQP()
        amqp.user, amqp.password = "u", "wrong"
        amqp.connect_to(server.host, server.port)


def malformed_frame() -> None:
    with Server() as server, client(server) as amqp:
        server.do(lambda peer: peer.raw(b"\0\0\0\3garbage"))
        pump(amqp, lambda: False)


def dropped() -> None:
    with Server() as server, client(server) as amqp:
        server.do(lambda peer: peer.cut())
        pump(amqp, lambda: False)


def too_many_sessions(amqp: AMQP) -> None:
    amqp.config("MaxSessionCount=1")
    amqp.create_session("second")


def too_many_links(amqp: AMQP) -> None:
    amqp.config("MaxLinkCountPerSession=1")
    amqp.create_session("small")
    amqp.create_sender_link("small", "one", "q")
    amqp.create_sender_link("small", "two", "q")


def no_credit() -> None:
    with Server(credit=0) as server, client(server, "out>") as amqp:
        amqp.timeout = 0
        amqp.send_message("out")


def timed_out() -> None:
    with Server() as server, client(server, "get?", fetch_timeout=1) as amqp, faster(amqp):
        amqp.fetch_message("get")


def connect_within_connecting() -> None:
    with Server() as server:
        amqp = AMQP()
        amqp.config("LogLevel=3")

        def handler(event: object) -> None:
            amqp.on_log = None
            amqp.connect()

        amqp.on_log = handler
        amqp.connect_to(server.host, server.port)


def interrupted() -> None:
    with Server() as server, client(server, "in<", "get?", fetch_timeout=0) as amqp:
        amqp.on_message_in = lambda event: amqp.interrupt()
        server.put("in", "x")
        amqp.fetch_message("get")


def connect_from(host: str, port: int) -> Callable[[], None]:
    def run() -> None:
        with Server() as server:
            amqp = AMQP()
            amqp.local_host, amqp.local_port = host, port or server.port
            amqp.connect_to(server.host, server.port)

    return run


def bad_value(amqp: AMQP) -> None:
    amqp.message_value_type, amqp.message_value = 2, "256"
    amqp.send_message("out")


RAISED: dict[int, list[Callable[[], object]]] = {
    600: [while_connected(lambda amqp: amqp.close_link("unknown"))],
    601: [malformed_frame],
    602: [refused_password],
    603: [while_connected(too_many_sessions), while_connected(too_many_links)],
    604: [while_connected(bad_value), lambda: setattr(AMQP(), "remote_port", 70_000)],
    606: [lambda: AMQP().config("Nonsense=1"), while_connected(lambda amqp: amqp.config("MaxFrameSize=1000"))],
    100: [while_connected(lambda amqp: setattr(amqp, "remote_port", 1))],
    101: [while_connected(lambda amqp: setattr(amqp, "remote_host", "x"))],
    102: [lambda: AMQP().connect(), lambda: AMQP().connect_to("0.0.0.0", 5672)],
    104: [while_connected(lambda amqp: amqp.connect())],
    106: [while_connected(lambda amqp: setattr(amqp, "local_port", 1))],
    107: [while_connected(lambda amqp: setattr(amqp, "local_host", "127.0.0.1"))],
    112: [while_connected(lambda amqp: amqp.config("MaxLineLength=4096"))],
    116: [lambda: AMQP().connect_to("127.0.0.1", 0)],
    135: [no_credit],
    201: [timed_out],
    211: [while_connected(lambda amqp: setattr(amqp, "container_id", "x"))],
    1105: [connect_within_connecting],
    1117: [lambda: AMQP().create_session("s")],
    1119: [while_connected(lambda amqp: amqp.config("LocalHost=127.0.0.1"))],
    1120: [dropped],
    10004: [interrupted],
    10022: [lambda: AMQP().get_link_name(0)],
    10048: [connect_from("127.0.0.1", 0)],
    10049: [connect_from("192.0.2.1", 0)],
}


def test_every_code_has_a_note_and_every_note_a_code() -> None:
    assert set(ERROR_NOTES) == set(ERROR_CODES)
    assert len(ERROR_NOTES) == 90
    for note in ERROR_NOTES.values():
        assert note.text.endswith(".")


def test_every_code_is_raised_by_a_test_or_cannot_occur() -> None:
    tested = set(RAISED) | set(ELSEWHERE) | set(SYSTEM.values()) | {283, 10042}
    assert tested == {code for code, note in ERROR_NOTES.items() if note.raised}


@pytest.mark.parametrize("code", RAISED)
def test_the_code_is_raised(code: int) -> None:
    for call in RAISED[code]:
        with pytest.raises(AMQPError) as caught:
            call()
        assert caught.value.code == code
        assert caught.value.message


@pytest.mark.parametrize("code", ELSEWHERE)
def test_the_code_is_expected_by_a_test_of_another_layer(code: int) -> None:
    source = (TESTS / ELSEWHERE[code]).read_text("utf-8")
    assert re.search(rf"\b{code}\b", source), ELSEWHERE[code]


@pytest.mark.parametrize("name", SYSTEM)
def test_what_the_system_reports_while_connecting_becomes_its_code(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    number = getattr(errno, name)
    monkeypatch.setattr(socket.socket, "connect_ex", lambda self, address: number)
    amqp = AMQP()
    reported: list[int] = []
    amqp.on_connected = lambda event: reported.append(event.status_code)
    with pytest.raises(AMQPError) as caught:
        amqp.connect_to("127.0.0.1", 5672)
    assert caught.value.code == SYSTEM[name]
    assert reported == [SYSTEM[name]]
    assert not amqp.connected


def test_data_that_openssl_cannot_encrypt_is_283() -> None:
    from OpenSSL import SSL

    from amqp10.net.tls.options import TlsOptions
    from amqp10.net.tls.policy import TlsContext
    from amqp10.net.tls.session import TlsSession

    class Broken:
        """A TLS connection that cannot go on."""

        def send(self, data: object) -> int:
            raise SSL.Error([("SSL routines", "", "bad length")])

    session = TlsSession(TlsContext(TlsOptions()), "localhost")
    session._connection = Broken()  # type: ignore[assignment,misc]  # stands in for OpenSSL's
    with pytest.raises(AMQPError, match="bad length") as caught:
        session._encrypt(b"x")
    assert caught.value.code == 283


def test_an_option_that_the_system_lacks_is_10042(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amqp10.net.options._KEEP_IDLE", None)
    amqp = AMQP()
    amqp.config("KeepAliveTime=1000")
    with pytest.raises(AMQPError, match="KeepAliveTime") as caught:
        amqp.connect_to("127.0.0.1", 5672)
    assert caught.value.code == 10042

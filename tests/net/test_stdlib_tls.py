"""The TLS session of the standard library, against a server in memory."""

from __future__ import annotations

import ssl

import pytest
from OpenSSL import SSL

from amqp10.errors import AMQPError
from amqp10.net.network import SecureSession
from amqp10.net.tls.stdlib import StdlibSession
from tests.net.pki import HOST, MemoryServer, good_server, root_ca, server_context

TLS12 = (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)
TLS13 = (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION)
BOTH = pytest.mark.parametrize("versions", [TLS12, TLS13], ids=["tls12", "tls13"])


def context() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=root_ca().pem.decode())


def exchange(session: SecureSession, server: MemoryServer) -> bytes:
    """Move bytes until nothing moves; what the client decrypted."""
    received = b""
    while True:
        data = session.data_to_send()
        server.receive(data)
        answer = server.output()
        if not data and not answer:
            return received
        if answer:
            received += b"".join(session.feed(answer))


def connected(versions: tuple[int, int], host: str = HOST) -> tuple[StdlibSession, MemoryServer]:
    session = StdlibSession(context(), host)
    server = MemoryServer(server_context(good_server(), versions=versions))
    session.start()
    assert exchange(session, server) == b""
    assert session.handshake_done
    return session, server


@BOTH
def test_data_flows_both_ways_in_the_order_of_the_buffers(versions: tuple[int, int]) -> None:
    session, server = connected(versions)
    session.write([b"one ", memoryview(b"two "), b"x" * 100_000])
    exchange(session, server)
    assert server.plain == b"one two " + b"x" * 100_000
    server.connection.send(b"y" * 100_000)
    assert exchange(session, server) == b"y" * 100_000
    assert not session.ended


@BOTH
def test_the_last_data_before_the_peers_close_is_not_lost(versions: tuple[int, int]) -> None:
    session, server = connected(versions)
    server.connection.send(b"last words")
    server.connection.shutdown()
    assert exchange(session, server) == b"last words"
    assert session.ended
    assert session.feed_eof() is True


@BOTH
def test_a_cut_connection_is_no_close(versions: tuple[int, int]) -> None:
    session, _ = connected(versions)
    assert session.feed_eof() is False
    assert not session.ended


@BOTH
def test_our_close_reaches_the_server(versions: tuple[int, int]) -> None:
    session, server = connected(versions)
    session.close()
    exchange(session, server)
    assert server.error == "closed"
    session.close()


def test_closing_before_the_handshake_is_harmless() -> None:
    session = StdlibSession(context(), HOST)
    session.start()
    session.close()
    assert session.data_to_send()


@BOTH
def test_damaged_records_are_an_error_of_ours(versions: tuple[int, int]) -> None:
    session, server = connected(versions)
    server.connection.send(b"data")
    record = bytearray(server.output())
    record[-1] ^= 1
    with pytest.raises(AMQPError) as caught:
        session.feed(bytes(record))
    assert caught.value.code == 284


def test_an_answer_that_is_no_tls_fails_the_handshake() -> None:
    session = StdlibSession(context(), HOST)
    session.start()
    with pytest.raises(AMQPError) as caught:
        session.feed(b"AMQP\0\1\0\0")
    assert caught.value.code == 276


@BOTH
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "a.wild.test.", "BROKER.test"])
def test_addresses_and_other_spellings_of_a_name_are_verified(versions: tuple[int, int], host: str) -> None:
    connected(versions, host)


@pytest.mark.parametrize("host", ["", "a b", "x" * 64 + ".test", ".test"])
def test_what_cannot_be_a_host_name_is_refused_at_once(host: str) -> None:
    with pytest.raises(AMQPError) as caught:
        StdlibSession(context(), host)
    assert caught.value.code == 102


def test_nothing_is_written_before_the_handshake_and_after_the_close() -> None:
    early = StdlibSession(context(), HOST)
    early.start()
    late, _ = connected(TLS13)
    late.close()
    for session in (early, late):
        with pytest.raises(AMQPError) as caught:
            session.write([b"secret"])
        assert caught.value.code == 211

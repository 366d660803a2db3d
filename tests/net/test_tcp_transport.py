"""Moving bytes: batches, partial writes, broken connections, the rate limit, closing."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqp10.errors import AMQPError, ConnectionDroppedError
from amqp10.net import tcp
from amqp10.net.options import TransportOptions
from amqp10.net.tcp import TcpTransport
from amqp10.net.transport import COPY_LIMIT, Transport
from amqp10.net.waiting import Waiter
from tests.net.tcp_support import PATIENCE, Background, FakeClock, connected_pair, no_descriptor_leaks, read_exactly

Buffers = list[bytes | memoryview]


def send_all(transport: TcpTransport, buffers: Buffers) -> None:
    """What the pump does, in its simplest form."""
    data = [memoryview(buffer) for buffer in buffers]
    with Waiter() as waiter:
        while data:
            sent = transport.send(list(data))
            while data and sent >= len(data[0]):
                sent -= len(data.pop(0))
            if sent:
                data[0] = data[0][sent:]
            if data:
                waiter.wait(transport.fileno(), write=True, timeout=PATIENCE)


class FakeSocket:
    """A connected socket that takes what it is told to, and remembers the calls."""

    def __init__(self, room: int | None = None, error: OSError | None = None) -> None:
        self.room = room
        self.error = error
        self.calls: list[list[bytes]] = []
        self.taken = b""

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 40000

    def getpeername(self) -> tuple[str, int]:
        return "127.0.0.1", 5672

    def fileno(self) -> int:
        return 99

    def send(self, data: bytes | memoryview) -> int:
        return self._take([bytes(data)])

    def sendmsg(self, buffers: Buffers) -> int:
        assert len(buffers) <= os.sysconf("SC_IOV_MAX")
        return self._take([bytes(buffer) for buffer in buffers])

    def recv(self, _count: int) -> bytes:
        assert self.error is not None
        raise self.error

    def _take(self, buffers: list[bytes]) -> int:
        if self.error is not None:
            raise self.error
        self.calls.append(buffers)
        data = b"".join(buffers)
        if self.room is not None:
            if self.room == 0:
                raise BlockingIOError(errno.EAGAIN, "full")
            data = data[: self.room]
            self.room -= len(data)
        self.taken += data
        return len(data)


def fake_transport(sock: FakeSocket) -> TcpTransport:
    stand_in: Any = sock
    return TcpTransport(stand_in, TransportOptions(), FakeClock())


class TestReceiving:
    def test_nothing_there_is_none_and_the_end_is_empty(self) -> None:
        with connected_pair() as (transport, peer), Waiter() as waiter:
            assert transport.recv() is None
            peer.sendall(b"hello")
            waiter.wait(transport.fileno(), read=True, timeout=PATIENCE)
            assert transport.recv() == b"hello"
            peer.close()
            waiter.wait(transport.fileno(), read=True, timeout=PATIENCE)
            assert transport.recv() == b""
            assert transport.recv() == b""

    def test_no_more_than_asked_for(self) -> None:
        with connected_pair() as (transport, peer), Waiter() as waiter:
            peer.sendall(b"hello")
            waiter.wait(transport.fileno(), read=True, timeout=PATIENCE)
            assert transport.recv(2) == b"he"
            assert transport.recv() == b"llo"
            assert transport.recv() is None

    def test_what_was_put_back_comes_first_and_needs_no_readable_socket(self) -> None:
        with connected_pair() as (transport, peer), Waiter() as waiter:
            peer.sendall(b"llo")
            waiter.wait(transport.fileno(), read=True, timeout=PATIENCE)
            transport.put_back(b"he")
            states = [transport.buffered]
            assert transport.recv() == b"he"
            states.append(transport.buffered)
            assert states == [True, False]
            assert transport.recv() == b"llo"

    def test_reset_is_a_dropped_connection_and_keeps_the_systems_words(self) -> None:
        with connected_pair() as (transport, peer), Waiter() as waiter:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            waiter.wait(transport.fileno(), read=True, timeout=PATIENCE)
            with pytest.raises(ConnectionDroppedError) as caught:
                transport.recv()
            assert caught.value.code == 1120
            assert os.strerror(errno.ECONNRESET) in caught.value.message
            assert f"127.0.0.1:{transport.remote_address[1]}" in caught.value.message

    @pytest.mark.parametrize("number", [errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTUNREACH])
    def test_every_way_to_break_has_one_code(self, number: int) -> None:
        transport = fake_transport(FakeSocket(error=OSError(number, os.strerror(number))))
        with pytest.raises(ConnectionDroppedError, match=os.strerror(number)):
            transport.recv()
        with pytest.raises(ConnectionDroppedError, match=os.strerror(number)):
            transport.send([b"x"])


class TestSending:
    def test_buffers_arrive_in_order(self) -> None:
        buffers: Buffers = [b"a", memoryview(b"xbcx")[1:3], b"", b"d" * 20000, b"e", memoryview(b"f" * 9000), b"g"]
        with connected_pair() as (transport, peer):
            expected = b"".join(buffers)
            with Background(lambda: send_all(transport, buffers)):
                assert read_exactly(peer, len(expected)) == expected

    def test_nothing_to_send(self) -> None:
        transport = fake_transport(FakeSocket())
        assert transport.send([]) == 0
        assert transport.send([b""]) == 0

    def test_short_buffers_go_out_in_one_call_as_one(self) -> None:
        sock = FakeSocket()
        assert fake_transport(sock).send([b"ab"] * 1000) == 2000
        assert sock.calls == [[b"ab" * 1000]]

    def test_large_buffers_are_not_copied(self) -> None:
        large = b"x" * COPY_LIMIT
        batch, size, following = tcp._gather([b"a", b"b", large, b"c"], 0)
        assert batch == [b"ab", large, b"c"]
        assert batch[1] is large
        assert (size, following) == (len(large) + 3, 4)

    def test_more_buffers_than_one_call_may_have(self) -> None:
        sock = FakeSocket()
        buffers: Buffers = [b"x" * COPY_LIMIT, b"y"] * 3000
        assert fake_transport(sock).send(buffers) == (COPY_LIMIT + 1) * 3000
        assert sock.taken == b"".join(buffers)

    def test_a_full_socket_takes_nothing(self) -> None:
        assert fake_transport(FakeSocket(room=0)).send([b"x"]) == 0
        assert fake_transport(FakeSocket(room=0)).send([b"x", b"y" * 10000]) == 0

    def test_what_was_taken_counts_when_the_socket_fills_between_two_calls(self) -> None:
        buffers: Buffers = [bytes([number]) * 100_000 for number in range(9)]
        _, size, _ = tcp._gather(buffers, 0)
        sock = FakeSocket(room=size)
        assert fake_transport(sock).send(buffers) == size
        assert sock.taken == b"".join(buffers)[:size]

    def test_a_long_queue_is_not_prepared_in_vain(self) -> None:
        sock = FakeSocket(room=10)
        assert fake_transport(sock).send([b"x" * 1000] * 100_000) == 10
        assert sum(map(len, sock.calls[0])) < 300_000
        assert len(sock.calls) == 1

    def test_without_sendmsg(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tcp, "_HAS_SENDMSG", False)
        buffers: Buffers = [b"a", b"b" * 20000, b"c", b"d" * 20000]
        with connected_pair() as (transport, peer):
            expected = b"".join(buffers)
            with Background(lambda: send_all(transport, buffers)):
                assert read_exactly(peer, len(expected)) == expected

    @given(
        sizes=st.lists(st.sampled_from([0, 1, 100, 8191, 8192, 8193, 70_000, 300_000]), max_size=40),
        room=st.integers(0, 2_000_000),
    )
    def test_any_buffers_into_any_room(self, sizes: list[int], room: int) -> None:
        buffers: Buffers = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
        whole = b"".join(buffers)
        sock = FakeSocket(room)
        sent = fake_transport(sock).send(buffers)
        assert sent == min(room, len(whole))
        assert sock.taken == whole[:sent]

    def test_a_slow_reader_gets_everything(self) -> None:
        options = TransportOptions(out_buffer_size=4096)
        buffers: Buffers = [bytes([number % 256]) * (number * 97 % 20000) for number in range(20)]
        expected = b"".join(buffers)
        with connected_pair(options) as (transport, peer):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            received = bytearray()
            with Background(lambda: send_all(transport, buffers)):
                while len(received) < len(expected):
                    received += peer.recv(997)
            assert received == expected

    def test_writing_to_a_reset_connection_is_a_dropped_connection(self) -> None:
        with connected_pair() as (transport, peer), Waiter() as waiter:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            waiter.wait(transport.fileno(), read=True, timeout=PATIENCE)
            with pytest.raises(ConnectionDroppedError):
                transport.send([b"x"])
            with pytest.raises(ConnectionDroppedError):
                transport.send([b"x", b"y" * 10000])


class TestPush:
    @pytest.mark.parametrize("no_delay", [False, True])
    def test_leaves_the_option_as_the_program_set_it(self, no_delay: bool) -> None:
        with connected_pair(TransportOptions(tcp_no_delay=no_delay)) as (transport, _):
            transport.push()
            with socket.socket(fileno=os.dup(transport.fileno())) as copy:
                assert bool(copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) is no_delay

    def test_on_a_closed_transport_is_harmless(self) -> None:
        with connected_pair() as (transport, _):
            transport.close()
            transport.push()


class TestRateLimit:
    def test_send_takes_only_what_is_allowed_and_says_when_to_go_on(self) -> None:
        clock = FakeClock()
        with connected_pair(TransportOptions(max_transfer_rate=1000), clock) as (transport, peer):
            buffers: Buffers = [b"a" * 30, b"b" * 500]
            assert transport.send(buffers) == 50
            resume = transport.next_send_time()
            assert resume == pytest.approx(clock.now + 0.05)
            assert transport.send([b"b" * 480]) == 0
            assert transport.next_send_time() == resume
            clock.now += 0.1
            assert transport.send([b"b" * 480]) == 100
            clock.now += 10
            assert transport.send([b"b" * 150]) == 150
            assert transport.next_send_time() is None
            assert read_exactly(peer, 300) == b"a" * 30 + b"b" * 270

    def test_a_full_socket_is_waited_for_and_not_the_clock(self) -> None:
        stand_in: Any = FakeSocket(room=5)
        transport = TcpTransport(stand_in, TransportOptions(max_transfer_rate=1000), FakeClock())
        assert transport.send([b"x" * 500]) == 5
        assert transport.next_send_time() is None
        assert transport.send([b"x" * 495]) == 0
        assert transport.next_send_time() is None

    def test_unlimited_never_names_a_time(self) -> None:
        transport = fake_transport(FakeSocket(room=5))
        transport.send([b"x" * 500])
        assert transport.next_send_time() is None


def get_linger(sock: socket.socket) -> tuple[int, int]:
    on, seconds = struct.unpack("ii", sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
    return on, seconds


class TestClosing:
    def test_linger_delivers_what_was_sent_and_ends_the_stream(self) -> None:
        with connected_pair() as (transport, peer):
            transport.send([b"last words"])
            transport.close()
            assert read_exactly(peer, 10) == b"last words"
            assert peer.recv(1) == b""

    def test_unread_bytes_do_not_turn_a_graceful_close_into_a_reset(self) -> None:
        with connected_pair() as (transport, peer), Waiter() as waiter:
            peer.sendall(b"never read")
            waiter.wait(transport.fileno(), read=True, timeout=PATIENCE)
            transport.close()
            assert peer.recv(1) == b""

    def test_without_linger_the_connection_is_reset(self) -> None:
        with connected_pair(TransportOptions(linger=False)) as (transport, peer):
            transport.close()
            with pytest.raises(ConnectionResetError):
                peer.recv(1)

    def test_abort_resets_whatever_the_settings_say(self) -> None:
        with connected_pair(TransportOptions(linger_time=5)) as (transport, peer):
            transport.close(graceful=False)
            with pytest.raises(ConnectionResetError):
                peer.recv(1)

    def test_linger_time_bounds_the_delivery_without_making_close_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        options = TransportOptions(linger_time=3)
        with connected_pair(options) as (transport, _):
            copy = socket.socket(fileno=os.dup(transport.fileno()))
            with copy:
                transport.close()
                assert copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 3000
                assert get_linger(copy)[0] == 0
        monkeypatch.setattr("amqp10.net.options._USER_TIMEOUT", None)
        with connected_pair(options) as (transport, peer):
            copy = socket.socket(fileno=os.dup(transport.fileno()))
            with copy:
                transport.close()
                assert get_linger(copy) == (1, 3)
            peer.close()

    def test_closed_transport_says_so(self) -> None:
        with connected_pair() as (transport, _):
            transport.close()
            transport.close()
            assert transport.fileno() == -1
            assert "closed" in repr(transport)
            for call in (transport.recv, lambda: transport.send([b"x"])):
                with pytest.raises(AMQPError) as caught:
                    call()
                assert caught.value.code == 212

    def test_closing_a_broken_connection_raises_nothing(self) -> None:
        with no_descriptor_leaks(), connected_pair() as (transport, peer), Waiter() as waiter:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            waiter.wait(transport.fileno(), read=True, timeout=PATIENCE)
            transport.close()

    def test_a_peer_that_never_stops_sending_cannot_hold_up_a_close(self) -> None:
        class Endless(FakeSocket):
            received = 0

            def setsockopt(self, *_: object) -> None: ...
            def shutdown(self, _how: int) -> None: ...
            def close(self) -> None: ...

            def recv(self, count: int) -> bytes:
                self.received += count
                return b"x" * count

        sock = Endless()
        fake_transport(sock).close()
        assert sock.received <= 2_000_000


def test_transport_protocol_is_satisfied() -> None:
    def accept(transport: Transport) -> None:
        assert transport.local_address[0] == "127.0.0.1"

    with connected_pair() as (transport, peer):
        accept(transport)
        assert transport.local_address == peer.getpeername()
        assert transport.remote_address == peer.getsockname()
        assert transport.proxy_address is None

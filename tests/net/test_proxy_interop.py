"""Tunnels through proxies that others wrote: tinyproxy (HTTP), microsocks (SOCKS5), dante (SOCKS4, SOCKS5).

None of them knows SOCKS4A; OpenSSH does (ssh -D).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from amqp10.errors import AMQPError
from amqp10.net.options import TransportOptions
from amqp10.net.proxy.options import ProxyKind, ProxyOptions
from amqp10.net.tcp import TcpTransport
from amqp10.net.waiting import Deadline, Waiter
from tests.net.tcp_support import (
    PATIENCE,
    ScriptedServer,
    connect_tcp,
    free_port,
    open_transport,
    read_exactly,
    wait_for_close,
)

pytestmark = pytest.mark.interop

GREETING = b"from the server"


def program(name: str, package: str) -> str:
    """The path of a program; without it the test is skipped, or fails where it has to be there."""
    # Debian keeps servers in a directory that is not on every user's path.
    path = shutil.which(name, path=os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin")
    if path is None:
        reason = f"{name} is missing: apt-get install --no-install-recommends {package}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@contextlib.contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[int]:
    """A server process, from the moment that it accepts connections."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            with Waiter() as pause:
                deadline = Deadline(PATIENCE)
                while True:
                    assert process.poll() is None, f"{command[0]} ended: {log.read_text()}"
                    assert not deadline.expired, f"{command[0]} does not accept connections: {log.read_text()}"
                    try:
                        open_transport("127.0.0.1", port).close()
                        break
                    except AMQPError:
                        pause.wait(timeout=0.01)  # other programs have no better way to say that they are ready
            yield port
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:  # sshd has been seen to miss the signal
                process.kill()


def serve(conn: socket.socket) -> None:
    conn.sendall(GREETING)
    conn.sendall(read_exactly(conn, 4))
    wait_for_close(conn)


def connect(kind: ProxyKind, proxy_port: int, host: str, port: int, user: str = "", password: str = "") -> TcpTransport:
    proxy = ProxyOptions(kind, "127.0.0.1", proxy_port, user, password)
    with Waiter() as waiter:
        return connect_tcp(host, port, TransportOptions(proxy=proxy), Deadline(PATIENCE), waiter)


def check(kind: ProxyKind, proxy_port: int, host: str, user: str = "", password: str = "") -> None:
    with ScriptedServer(serve) as server, Waiter() as waiter:
        transport = connect(kind, proxy_port, host, server.port, user, password)
        assert transport.proxy_address == ("127.0.0.1", proxy_port)
        assert transport.send([b"ping"]) == 4
        received = b""
        while len(received) < len(GREETING) + 4:
            waiter.wait(transport.fileno(), read=True, timeout=PATIENCE)
            received += transport.recv() or b""
        assert received == GREETING + b"ping"
        transport.close()


def refused(kind: ProxyKind, proxy_port: int, user: str = "", password: str = "") -> AMQPError:
    with pytest.raises(AMQPError) as caught:
        connect(kind, proxy_port, "127.0.0.1", free_port(), user, password)
    assert f"127.0.0.1:{proxy_port}" in caught.value.message
    return caught.value


def start_tinyproxy(tmp_path: Path, more: str = "") -> contextlib.AbstractContextManager[int]:
    port = free_port()
    config = tmp_path / "tinyproxy.conf"
    config.write_text(f"Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 10\nAllow 127.0.0.1\n{more}")
    command = [program("tinyproxy", "tinyproxy-bin"), "-d", "-c", str(config)]
    return running(command, port, tmp_path / "tinyproxy.log")


def start_microsocks(tmp_path: Path, *more: str) -> contextlib.AbstractContextManager[int]:
    port = free_port()
    command = [program("microsocks", "microsocks"), "-i", "127.0.0.1", "-p", str(port), *more]
    return running(command, port, tmp_path / "microsocks.log")


def start_dante(tmp_path: Path) -> contextlib.AbstractContextManager[int]:
    path = program("danted", "dante-server")
    if os.geteuid() != 0:
        pytest.skip("dante starts as root only")
    port = free_port()
    config = tmp_path / "danted.conf"
    config.write_text(
        f"""
logoutput: stderr
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
"""
    )
    return running([path, "-f", str(config), "-N", "1"], port, tmp_path / "danted.log")


@contextlib.contextmanager
def start_openssh(tmp_path: Path) -> Iterator[int]:
    """OpenSSH's forwarding, which is a SOCKS4, 4A and 5 proxy: a client, and the server that it logs in to."""
    server, client = program("sshd", "openssh-server"), program("ssh", "openssh-client")
    if os.geteuid() != 0:
        pytest.skip("sshd lets only root in without a password database")
    Path("/run/sshd").mkdir(exist_ok=True)  # where it goes without privileges; made by its service otherwise
    key = tmp_path / "key"
    subprocess.run(
        [program("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True
    )
    (tmp_path / "authorized").write_text((tmp_path / "key.pub").read_text())
    ssh_port, port = free_port(), free_port()
    config = tmp_path / "sshd.conf"
    config.write_text(
        f"ListenAddress 127.0.0.1:{ssh_port}\nHostKey {key}\nAuthorizedKeysFile {tmp_path / 'authorized'}\n"
        "StrictModes no\nUsePAM no\nPidFile none\n"
    )
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ExitOnForwardFailure=yes"]
    forward = [
        client,
        "-F",
        "none",
        "-N",
        "-D",
        f"127.0.0.1:{port}",
        "-p",
        str(ssh_port),
        "-i",
        str(key),
        "root@127.0.0.1",
    ]
    for option in options:
        forward[1:1] = ["-o", option]
    with (
        running([server, "-D", "-e", "-f", str(config)], ssh_port, tmp_path / "sshd.log"),
        running(forward, port, tmp_path / "ssh.log"),
    ):
        yield port


class TestOpenSSH:
    def test_socks4a(self, tmp_path: Path) -> None:
        with start_openssh(tmp_path) as port:
            check(ProxyKind.SOCKS4A, port, "127.0.0.1")
            check(ProxyKind.SOCKS4A, port, "localhost", "ann")
            check(ProxyKind.SOCKS4, port, "localhost")
            check(ProxyKind.SOCKS5, port, "*localhost")
            assert refused(ProxyKind.SOCKS4A, port).code in (10061, 1120)


class TestTinyproxy:
    def test_tunnel(self, tmp_path: Path) -> None:
        with start_tinyproxy(tmp_path) as port:
            check(ProxyKind.TUNNEL, port, "127.0.0.1")
            check(ProxyKind.TUNNEL, port, "localhost")
            error = refused(ProxyKind.TUNNEL, port)
            assert error.code == 10061
            assert "answered 50" in error.message

    def test_credentials(self, tmp_path: Path) -> None:
        with start_tinyproxy(tmp_path, "BasicAuth ann secret\n") as port:
            check(ProxyKind.TUNNEL, port, "127.0.0.1", "ann", "secret")
            for error in (refused(ProxyKind.TUNNEL, port), refused(ProxyKind.TUNNEL, port, "ann", "wrong")):
                assert error.code == 10013
                assert "answered 40" in error.message


class TestMicrosocks:
    def test_socks5(self, tmp_path: Path) -> None:
        with start_microsocks(tmp_path) as port:
            for host in ("127.0.0.1", "localhost", "*localhost"):
                check(ProxyKind.SOCKS5, port, host)
            assert refused(ProxyKind.SOCKS5, port).code == 10061

    def test_credentials(self, tmp_path: Path) -> None:
        with start_microsocks(tmp_path, "-u", "ann", "-P", "secret") as port:
            check(ProxyKind.SOCKS5, port, "127.0.0.1", "ann", "secret")
            assert refused(ProxyKind.SOCKS5, port).code == 10013
            assert refused(ProxyKind.SOCKS5, port, "ann", "wrong").code == 10013

    def test_other_protocols(self, tmp_path: Path) -> None:
        with start_microsocks(tmp_path) as port:
            for kind in (ProxyKind.TUNNEL, ProxyKind.SOCKS4):
                assert refused(kind, port).code in (10041, 1120)


class TestDante:
    def test_socks4(self, tmp_path: Path) -> None:
        with start_dante(tmp_path) as port:
            check(ProxyKind.SOCKS4, port, "127.0.0.1", "ann")
            check(ProxyKind.SOCKS4, port, "localhost")
            assert refused(ProxyKind.SOCKS4, port).code == 10061

    def test_socks5(self, tmp_path: Path) -> None:
        with start_dante(tmp_path) as port:
            check(ProxyKind.SOCKS5, port, "127.0.0.1")
            check(ProxyKind.SOCKS5, port, "*localhost")
            assert refused(ProxyKind.SOCKS5, port).code == 10061

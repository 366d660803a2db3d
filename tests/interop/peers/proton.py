"""The example programs of Qpid Proton, in C and C++: brokers, peers that listen, and clients."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from tests.interop.peers.base import (
    HOST,
    Listening,
    Peer,
    PeerError,
    Process,
    peer_folder,
)

#: The line of a program that listens.
_LISTENING: Final = r"listening on (\d+)"


def proton_program(name: str) -> Path:
    """The path of one of Proton's compiled examples, such as `c-send` or `cpp-broker`."""
    return peer_folder("proton") / "bin" / name


class ProtonBroker(Peer):
    """The example broker of Qpid Proton.

    Queues are made when they are first used. Both flavours accept every message that arrives, and forget it as soon as
    they have written it to a receiver, so that nothing is ever delivered twice: accepted, rejected, released and
    modified make no difference. Only the mechanism ANONYMOUS is offered, and a connection without a SASL layer is
    served too. Neither closes anything by itself.

    `cpp` (version 0.37) keeps 10 credits on an incoming link, sends unsettled (and does not look at what comes back),
    encodes messages anew, and makes a queue of its own for a dynamic source. Its attach has no source where it
    receives. With several receivers on a queue one without credit can keep the others waiting.

    `c` keeps 5 credits, sends settled, passes messages on byte for byte, and takes them off a queue in a time that
    grows with the queue's length. It crashes on a link without an address (a dynamic source, the anonymous terminus),
    and writes every part of a message that arrives in several reads to the start of its buffer, so that a message of
    more than a frame may come out garbled.
    """

    def __init__(self, flavour: Literal["cpp", "c"] = "cpp") -> None:
        self._program = proton_program(f"{flavour}-broker")
        self._flavour = flavour

    def start(self) -> None:
        """Start the broker."""
        arguments = ["-a", f"{HOST}:0"] if self._flavour == "cpp" else [HOST, "0"]
        process = Process(f"Proton's {self._flavour} broker", [self._program, *arguments])
        self.port = int(self._run(process, _LISTENING)[1])


class ProtonDirect(Peer):
    """One of Proton's examples that listen for a connection and send or receive on it, without a broker.

    `c-direct` does what the client's first link asks for; the other two do what their names say. Senders send the maps
    `{"sequence": 1}` to `{"sequence": count}`; receivers accept and print what they get. The C++ one takes the
    message-id for a sequence number (it must be a number) and skips a message whose id is below the count of those it
    got. Each ends when it has its count. Only ANONYMOUS is offered, or no SASL layer.
    """

    def __init__(
        self, program: Literal["c-direct", "cpp-direct_recv", "cpp-direct_send"] = "c-direct", *, count: int = 10
    ) -> None:
        self._path = proton_program(program)
        self._name = program
        self._count = count

    def start(self) -> None:
        """Start the program."""
        if self._name == "c-direct":
            arguments = [HOST, "0", "examples", str(self._count)]
        else:
            arguments = ["-a", f"{HOST}:0/examples", "-m", str(self._count)]
        process = Process(f"Proton's {self._name}", [self._path, *arguments])
        self.port = int(self._run(process, _LISTENING)[1])

    def wait(self, timeout: float = 30.0) -> list[str]:
        """Wait until the program has sent or received its count, and return the lines that it printed.

        The first line is `listening on PORT`. A receiver prints every body, a sender one line at the end.
        """
        assert self._process is not None
        return _output(self._process, timeout)


def run_proton(program: str, *arguments: str, timeout: float = 60.0) -> list[str]:
    """Run one of Proton's client examples to its end, and return the lines that it printed."""
    process = Process(f"Proton's {program}", [proton_program(program), *arguments])
    try:
        return _output(process, timeout)
    finally:
        process.stop()


def _output(process: Process, timeout: float) -> list[str]:
    """The lines that a program printed, once it has ended; a failure of it is a `PeerError`."""
    if status := process.wait(timeout):
        raise process.failure(f"failed with {status}")
    return process.log.splitlines()


def proton_send(
    peer: Listening, address: str, count: int, *, flavour: Literal["cpp", "c"] = "cpp", timeout: float = 60.0
) -> None:
    """Send messages with Proton's example `simple_send` (C++) or `send` (C), and wait until all are accepted.

    Their bodies are the maps `{"sequence": 1}` to `{"sequence": count}` (AMQP ints), their message-ids the same numbers
    (an int with C++, a ulong with C). The C++ one logs in as ANONYMOUS; when a message is not accepted it goes on
    waiting until the timeout. The C one uses no SASL layer, which RabbitMQ refuses; it fails when a message is not
    accepted.
    """
    if flavour == "cpp":
        arguments = ["-a", f"{peer.host}:{peer.port}/{address}", "-m", str(count)]
        lines = run_proton("cpp-simple_send", *arguments, timeout=timeout)
        expected = "all messages confirmed"
    else:
        lines = run_proton("c-send", peer.host, str(peer.port), address, str(count), timeout=timeout)
        expected = f"{count} messages sent and acknowledged"
    if lines[-1:] != [expected]:
        raise PeerError(f"Proton's {flavour} sender did not send all messages: {lines[-5:]}")


def proton_receive(
    peer: Listening, address: str, count: int, *, flavour: Literal["cpp", "c"] = "cpp", timeout: float = 60.0
) -> list[str]:
    """Receive and accept messages with Proton's example `simple_recv` (C++) or `receive` (C).

    What is returned are the bodies as Proton writes them: a map as `{"sequence"=1}`, a list as `[1, 2]`, a string as
    `"text"` with C and as `text` with C++. The C++ one logs in as ANONYMOUS and keeps 10 credits, so that the broker
    may have sent it more than it was to receive; it skips a message whose message-id is a number below the count of
    those it got. The C one gives as many credits as it is to receive and uses no SASL layer, which RabbitMQ refuses.
    """
    if flavour == "cpp":
        arguments = ["-a", f"{peer.host}:{peer.port}/{address}", "-m", str(count)]
        lines = run_proton("cpp-simple_recv", *arguments, timeout=timeout)
    else:
        lines = run_proton("c-receive", peer.host, str(peer.port), address, str(count), timeout=timeout)
        if lines[-1:] == [f"{count} messages received"]:
            lines.pop()
    if len(lines) != count:
        raise PeerError(f"Proton's {flavour} receiver did not receive all messages: {lines[-5:]}")
    return lines

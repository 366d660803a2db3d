"""A container of ours on the Node.js library rhea."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from tests.interop.peers.base import (
    PASSWORD,
    USER,
    Peer,
    PeerNotPreparedError,
    Process,
    TLSFiles,
    peer_folder,
)


class RheaContainer(Peer):
    """An in-memory container for tests, a program of ours on the Node.js library rhea (`rhea_container.js`).

    A queue is made when its address is first used, as a source or a target. A message that arrives at it is accepted
    and goes, byte for byte as it came, to one of its receivers, in order and by their credit. What a receiver answers:

    * accepted, or settled without an outcome: the message is gone;
    * released: it goes back to its place in the queue, and is delivered again unchanged;
    * modified: the same; `delivery_failed` adds 1 to its delivery-count, `undeliverable_here` keeps it from that link,
      and message annotations are merged into its own (the message is encoded anew by rhea in the first and last case);
    * rejected: it goes to the queue `NAME.rejected`, with the annotations `x-opt-rejected-condition` and
      `x-opt-rejected-description`;
    * a link, session or connection that ends with unsettled deliveries: they go back to their places.

    A drain is answered, a dynamic source or target gets an address `dynamic/...`, the anonymous terminus (a target
    without an address) sends each message where its `to` says, and the settle modes are those that the client asks for.
    Filters, transactions (the attach is refused with `amqp:not-implemented`) and durable state are not supported.

    These addresses are special:

    ======================  ===========================================================================================
    `reject/...`            every message is rejected, with `amqp:precondition-failed` and a description
    `release/...`           every message is released
    `modify/...`            every message is modified, with delivery-failed
    `modify-here/...`       ... with delivery-failed, undeliverable-here and the annotation `x-opt-reason`
    `hold/...`              no message is ever answered
    `reencode/...`          a queue whose messages rhea decodes and encodes anew
    `refuse/...`            the attach is refused with `amqp:not-found`
    `close-connection/...`  a message makes it close the connection, with `amqp:connection:forced`
    `end-session/...`       a message makes it end the session, with `amqp:internal-error`
    `detach-link/...`       a message makes it detach the link, with `amqp:link:detach-forced`
    `drop/...`              a message makes it drop the TCP connection without a word
    ======================  ===========================================================================================

    The descriptions are the address and what was done, for example `reject/a rejects every message`.

    `sasl` has the mechanisms to offer; an empty one means that no SASL layer is accepted. Where ANONYMOUS is among them
    a connection may also go without a SASL layer, unless `require_sasl` is true. With `tls` it serves TLS only; with
    its `verify` a client certificate is required and EXTERNAL is offered too. `idle_timeout` is in milliseconds (rhea
    gives up on a silent client after twice that time). `credit` is what an incoming link is kept at, 500 by default.
    Its log has `READY`, and the errors that its clients sent it.
    """

    #: What the peer accepts with the mechanism PLAIN.
    user: Final = USER
    password: Final = PASSWORD

    def __init__(
        self,
        *,
        sasl: Sequence[Literal["anonymous", "plain"]] = ("anonymous", "plain"),
        require_sasl: bool = False,
        max_frame_size: int | None = None,
        channel_max: int | None = None,
        idle_timeout: int | None = None,
        credit: int | None = None,
        tls: TLSFiles | None = None,
    ) -> None:
        self._modules = peer_folder("rhea") / "node_modules"
        arguments = ["--sasl", ",".join(sasl), "--user", self.user, "--password", self.password]
        if require_sasl:
            arguments.append("--require-sasl")
        for flag, value in (
            ("--max-frame-size", max_frame_size),
            ("--channel-max", channel_max),
            ("--idle-timeout", idle_timeout),
            ("--credit", credit),
        ):
            if value is not None:
                arguments += [flag, str(value)]
        if tls is not None:
            arguments += ["--tls-key", str(tls.keyfile), "--tls-cert", str(tls.certfile)]
            if tls.verify:
                arguments += ["--tls-ca", str(tls.cacertfile)]
        self._arguments = arguments

    def start(self) -> None:
        """Start the container."""
        node = shutil.which("node")
        if node is None:
            raise PeerNotPreparedError("node is not on this machine; run: scripts/peers rhea")
        program = Path(__file__).parents[1] / "rhea_container.js"
        process = Process(
            "the rhea container",
            [node, program, *self._arguments],
            environment={**os.environ, "NODE_PATH": str(self._modules)},
        )
        self.port = int(self._run(process, r"^READY (\d+)$")[1])

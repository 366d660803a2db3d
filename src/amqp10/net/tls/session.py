"""TLS over memory buffers: bytes in, bytes out, no sockets. One session serves blocking and asyncio drivers alike.

The server's certificate is judged inside the handshake. OpenSSL works on memory buffers, so its output leaves this
process only through :meth:`TlsSession.data_to_send`. Once the server's certificate has arrived, that method returns
nothing until the certificate is accepted: no client certificate, no Finished, no application data. A refused server
gets an alert instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from amqp10.errors import AMQPError
from amqp10.net.names import is_ip_address, server_name
from amqp10.net.tls.names import group_from_openssl
from amqp10.net.tls.options import PeerCertificate, TlsInfo, TlsOptions
from amqp10.net.tls.outcome import Circumstances, data_error, handshake_error, negotiated
from amqp10.net.tls.policy import SESSION_LIFETIME, Observed, TlsContext, append_key_log, reasons
from amqp10.net.tls.records import RecordLog, describe_stranger
from amqp10.net.tls.revocation import DownloadNeededError, FetchError
from amqp10.net.tls.verify import (
    ALERTS,
    Kind,
    Problem,
    Rules,
    ServerChain,
    problems_of,
    remaining,
    status_text,
)
from amqp10.net.transport import COPY_LIMIT
from amqp10.net.x509names import MALFORMED, check_readable, name_text

__all__ = ["TlsContext", "TlsInfo", "TlsOptions", "TlsSession"]

# One record's worth of plaintext: what a single read of OpenSSL's can give.
_RECORD: Final = 16384
# More than what is encrypted at a time, so that one call gives all of it.
_DRAIN: Final = 256 * 1024

# An alert record of OpenSSL's own, encrypted or not, is shorter than this; a client's second flight is longer.
_LONGEST_ALERT: Final = 48


class _SavedSession:
    """A session that may be resumed, and the certificates of its handshake."""

    __slots__ = ("chain", "expires", "session")

    def __init__(self, session: SSL.Session, chain: ServerChain, expires: float) -> None:
        self.session = session
        self.chain = chain
        self.expires = expires


class TlsSession:
    """One TLS connection, client side.

    Call :meth:`start`, send :meth:`data_to_send`, and pass what the network gives to :meth:`feed`, after each of
    which there may be more to send. An error is final: send what :meth:`data_to_send` still has (an alert), then
    close the connection.

    Args:
        options: the settings, or a ``TlsContext`` made from them (faster from the second connection on, and needed
            for sessions to be resumed).
        server_hostname: the name or address that the certificate must be for; also sent as SNI if it is a name.
        on_status: called with sentences about the progress.
        authenticate: called once to decide, when the server's certificate has been verified and before anything is
            sent to the server. What it raises is raised by :meth:`feed` or :meth:`downloaded`.

    Raises:
        AMQPError: 606 and others for settings, see ``TlsContext``; 102 for an invalid host name.
    """

    __slots__ = (
        "_authenticate",
        "_chain",
        "_closed_by_peer",
        "_closing",
        "_connection",
        "_context",
        "_dirty",
        "_download_url",
        "_downloads",
        "_error",
        "_finished",
        "_held",
        "_hostname",
        "_info",
        "_on_status",
        "_received",
        "_record_log",
        "_resumable",
        "_seen",
        "_send_queue",
        "_status",
        "_verified",
        "download",
        "download_limit",
    )

    def __init__(
        self,
        options: TlsOptions | TlsContext,
        server_hostname: str,
        *,
        on_status: Callable[[str], None] | None = None,
        authenticate: Callable[[PeerCertificate], bool] | None = None,
    ) -> None:
        self._context: Final = options if isinstance(options, TlsContext) else TlsContext(options)
        self._hostname: Final = server_name(server_hostname)
        self._on_status = on_status
        self._authenticate = authenticate
        self._downloads: dict[str, bytes | FetchError] = {}
        self._download_url = ""
        self.download: Callable[[], None] | None = None
        """See :class:`~amqp10.net.network.SecureSession`: a CRL."""
        self.download_limit: float = 0.0
        self._seen: Final = Observed()
        self._connection: Final = SSL.Connection(self._context.context, None)
        self._connection.set_app_data(self._seen)
        self._connection.set_connect_state()
        if not is_ip_address(self._hostname):
            self._connection.set_tlsext_host_name(self._hostname.encode("ascii"))
        if self._context.options.check_crl:
            self._connection.request_ocsp()
        self._resumable = self._saved_session()
        if self._resumable is not None:
            self._connection.set_session(self._resumable.session)
        self._record_log: Final = RecordLog(self._report) if self._context.options.log_packets else None
        self._send_queue: list[bytes] = []
        self._held: list[bytes] = []
        self._received = b""
        self._dirty = False
        self._finished = False
        self._verified = False
        self._closing = False
        self._closed_by_peer = False
        self._chain: ServerChain | None = None
        self._status = "OK"
        self._info: TlsInfo | None = None
        self._error: AMQPError | None = None

    # --- what a driver looks at ---

    @property
    def handshake_done(self) -> bool:
        """The server was accepted and both sides have finished; data may flow."""
        return self._finished and self._verified

    @property
    def info(self) -> TlsInfo | None:
        """What was negotiated; ``None`` before the handshake is done."""
        if self._info is None and self.handshake_done and self._chain is not None:
            resumed = not self._seen.certificate_seen
            self._info = negotiated(self._connection, self._chain, status=self._status, resumed=resumed)
        return self._info

    @property
    def closed_by_peer(self) -> bool:
        """Whether the peer has said that it sends no more."""
        return self._closed_by_peer

    @property
    def ended(self) -> bool:
        """Whether there will be no more data: the peer said so, or there was an error, which the next call raises."""
        return self._closed_by_peer or self._error is not None

    @property
    def server_certificate(self) -> bytes:
        """The server's certificate as PEM once it has been judged, even if it was refused; empty before."""
        return self._chain.leaf.public_bytes(Encoding.PEM) if self._chain is not None else b""

    @property
    def stage(self) -> str:
        """What the handshake is waiting for, for messages."""
        if self.handshake_done:
            return "established"
        if self.download is not None:
            return "fetching a CRL"
        if not self._received:
            return "waiting for the server's first answer"
        if self._verified:
            return "waiting for the server to finish"
        if self._seen.certificate_seen:
            return "waiting for the rest of the server's handshake, after its certificate"
        return "waiting for the server's certificate"

    # --- handshake ---

    def start(self) -> None:
        """Begin: afterwards there is a first flight to send."""
        self._report(f"TLS handshake with {self._hostname} begins")
        self._advance()

    def feed(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """Take bytes from the network; return decrypted data, in pieces of up to 16 KiB.

        Raises:
            AMQPError: 280 if the server is refused, 276 if the handshake fails, 281 if the server wants a client
                certificate, 284 for data that cannot be decrypted or an alert, 302 for the key log.
        """
        self._check_usable()
        if not data:
            return []
        if len(self._received) < 8:
            self._received += bytes(data[: 8 - len(self._received)])
            stranger = describe_stranger(self._received, complete=False)
            if stranger is None:
                return []
            if stranger:
                raise self._failed(AMQPError(276, f"TLS handshake with {self._hostname} failed: {stranger}"))
        if self._record_log is not None:
            self._record_log.received(data)
        self._connection.bio_write(data)
        if not self._finished:
            self._advance()
            if not self._finished:
                return []
        return self._read() if self._verified else []

    def downloaded(self) -> list[bytes]:
        """Go on with the verdict after :attr:`download` was called, or has timed out. Otherwise like :meth:`feed`."""
        self._check_usable()
        self.download = None
        late = FetchError(f"no answer within {self.download_limit:g} s")
        self._downloads.setdefault(self._download_url, late)
        self._decide()
        if self.handshake_done:
            self._report_done()
            return self._read()
        return []

    def feed_eof(self) -> bool:
        """The network connection has ended. True if the peer had said so before, with TLS's own close.

        False means that data may be missing at the end, by accident or because somebody cut the connection: only a
        *close* of the protocol above shows that everything has arrived.

        Raises:
            AMQPError: 276 if the handshake was not finished, 281 if a client certificate is missing.
        """
        self._check_usable()
        if not self.handshake_done:
            why = describe_stranger(self._received, complete=True) or (
                f"the server closed the connection while this side was {self.stage}"
                f"{'' if self._received else ' (it may not use TLS on this port)'}"
            )
            raise self._failed(AMQPError(276, f"TLS handshake with {self._hostname} failed: {why}"))
        self._save_session()
        if not self._closed_by_peer:
            self._report("the connection ended without a TLS close; data may be missing")
        return self._closed_by_peer

    # --- data ---

    def write(self, buffers: Iterable[bytes | bytearray | memoryview]) -> None:
        """Encrypt buffers, in order. The result is in :meth:`data_to_send`.

        Raises:
            AMQPError: 211 before the handshake is done or after :meth:`close`, 283 if OpenSSL fails.
        """
        self._check_usable()
        if not self.handshake_done or self._closing:
            raise AMQPError(211, "data can be sent only while the TLS session is established")
        small: list[bytes | bytearray | memoryview] = []
        size = 0
        for buffer in buffers:
            length = len(buffer)
            if length > COPY_LIMIT:
                if small:
                    self._encrypt(b"".join(small))
                    small, size = [], 0
                self._encrypt(buffer)
                continue
            small.append(buffer)
            size += length
            if size >= _RECORD:
                self._encrypt(b"".join(small))
                small, size = [], 0
        if small:
            self._encrypt(b"".join(small))

    def data_to_send(self) -> bytes:
        """The bytes that must be sent now; empty if there are none."""
        if self._dirty:
            self._dirty = False
            self._send_queue += self._drain()
        if not self._send_queue:
            return b""
        data = b"".join(self._send_queue)
        self._send_queue.clear()
        if self._record_log is not None:
            self._record_log.sent(data)
        return data

    def close(self) -> None:
        """Send close_notify; after that there may be something to send. Harmless at any time."""
        if self._closing or self._error is not None:
            return
        self._closing = True
        if not self.handshake_done:
            return
        try:
            self._connection.shutdown()
        except SSL.Error:
            return  # the peer has already ended the session and would not read a close_notify
        self._dirty = True
        self._save_session()
        self._report("TLS session closed")

    # --- inside ---

    def _report(self, message: str) -> None:
        if self._on_status is not None:
            self._on_status(message)

    def _circumstances(self) -> Circumstances:
        context = self._context
        has_certificate = context.options.client_certificate is not None
        return Circumstances(self._hostname, context.versions, self._verified, has_certificate)

    def _check_usable(self) -> None:
        if self._error is not None:
            raise self._error

    def _failed(self, error: AMQPError) -> AMQPError:
        """Remember an error, after which the session cannot be used any more; returns it, to be raised."""
        self._error = error
        self._dirty = True  # OpenSSL may have an alert for the peer
        self.download = None
        self._held.clear()
        self._report(error.message)
        return error

    def _drain(self) -> list[bytes]:
        chunks: list[bytes] = []
        while True:
            try:
                chunk = self._connection.bio_read(_DRAIN)
            except SSL.WantReadError:
                return chunks
            chunks.append(chunk)
            if len(chunk) < _DRAIN:
                return chunks

    def _encrypt(self, data: bytes | bytearray | memoryview) -> None:
        if not len(data):
            return
        try:
            self._connection.send(data)
        except SSL.Error as error:
            raise self._failed(AMQPError(283, f"data could not be encrypted: {reasons(error)}")) from error
        self._dirty = True

    def _read(self) -> list[bytes]:
        pieces: list[bytes] = []
        receive = self._connection.recv
        try:
            while True:
                pieces.append(receive(_RECORD))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            if not self._closed_by_peer:
                self._closed_by_peer = True
                self._report("the server closed the TLS session")
        except SSL.Error as error:
            failure = self._failed(data_error(error, self._connection, self._circumstances()))
            if not pieces:
                raise failure from error
            # What arrived before it is good; the next call raises the error.
        self._dirty = True  # reading can answer: key updates, alerts
        return pieces

    def _advance(self) -> None:
        """Let OpenSSL get as far as it can with the handshake; verify the server before anything is sent."""
        try:
            self._connection.do_handshake()
            self._finished = True
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            # The certificate may not have been judged. OpenSSL's alert may be sent, its second flight may not.
            output = b"".join(self._drain())
            if self._verified or not self._seen.certificate_seen or len(output) <= _LONGEST_ALERT:
                self._send_queue.append(output)
            raise self._failed(handshake_error(error, self._connection, self._circumstances())) from error
        finally:
            self._flush_key_log()
        output_now = self._drain()
        if self._verified or not (self._finished or self._seen.certificate_seen):
            self._send_queue += output_now
        else:
            self._held += output_now
            if self._finished or self._held:
                # The server has proved that it holds the certificate's key, and it is this side's turn.
                self._decide()
        if self.handshake_done:
            self._report_done()

    def _flush_key_log(self) -> None:
        lines = self._seen.key_log
        if lines:
            self._seen.key_log = []
            try:
                append_key_log(self._context.options.key_log_file, lines)
            except AMQPError as error:
                raise self._failed(error) from error

    def _decide(self) -> None:
        """The verdict. Returns if the server is accepted, or when something has to be fetched first; otherwise drops
        what was held back and raises."""
        try:
            chain = self._chain
            if chain is None:
                self._chain = chain = self._server_chain()
                name, issuer = name_text(chain.leaf.subject), name_text(chain.leaf.issuer)
                self._report(f"server certificate: {name}, issued by {issuer}")
                self._check_group()
            leaf = chain.leaf
            problems = self._problems(chain)
            unlifted = remaining(problems, self._context.flags)
            accept = not unlifted
            status = status_text(unlifted)
            if problems and not unlifted:
                self._report(f"lifted by SSLSecurityFlags: {status_text(problems)}")
            if unlifted and self._context.accept_der == leaf.public_bytes(Encoding.DER):
                self._report(f"accepted as ssl_accept_server_cert_encoded: {status}")
                accept, status = True, "OK"
            if self._authenticate is not None:
                shown = chain.presented if self._context.options.include_cert_chain else chain.presented[:1]
                accept = self._authenticate(
                    PeerCertificate(
                        encoded=b"".join(item.public_bytes(Encoding.PEM) for item in shown),
                        subject=name_text(leaf.subject),
                        issuer=name_text(leaf.issuer),
                        status=status,
                        accept=accept,
                    )
                )
        except DownloadNeededError as needed:
            self._download_url, self.download_limit = needed.url, needed.limit
            self.download = partial(self._fetch, needed.url, needed.fetch)
            return
        except AMQPError as error:
            self._refuse(46)
            raise self._failed(error) from error
        except BaseException:
            # The callback raised. Its exception goes to the caller as it is; the session is over.
            self._refuse(46)
            self._failed(AMQPError(280, f"the server certificate of {self._hostname} was not accepted"))
            raise
        if accept is not True:
            self._refuse(ALERTS[unlifted[0].kind] if unlifted else 46)
            why = status if unlifted else "the program refused it"
            if any(problem.kind is Kind.UNKNOWN_CA for problem in unlifted):
                why += (
                    " (a CA of your own is trusted by the setting SSLServerCACerts, its PEM, or OpenSSLCAFile, a file)"
                )
            raise self._failed(AMQPError(280, f"the server certificate of {self._hostname} was not accepted: {why}"))
        self._verified = True
        self._seen.decided = True
        self._status = status
        self._send_queue += self._held
        self._held.clear()
        self._report("server certificate accepted" if status == "OK" else f"server certificate accepted: {status}")

    def _refuse(self, alert: int) -> None:
        """Drop what was held back and queue a fatal alert in its place.

        It is sent in plaintext: this side has not sent its Finished, so with TLS 1.2 that is the only form; a server
        with TLS 1.3 either understands it or ends the handshake because of it.
        """
        self._held.clear()
        self._seen.decided = True
        # TLS 1.3 records carry the version number of 1.2.
        version = min(self._connection.get_protocol_version(), SSL.TLS1_2_VERSION)
        self._send_queue.append(bytes((21, version >> 8, version & 0xFF, 0, 2, 2, alert)))

    def _server_chain(self) -> ServerChain:
        connection = self._connection
        try:
            presented = tuple(connection.get_peer_cert_chain(as_cryptography=True) or ())
            leaf = connection.get_peer_certificate(as_cryptography=True)
            built = tuple(connection.get_verified_chain(as_cryptography=True) or ())
            for certificate in (*presented, *built):
                check_readable(certificate)
        except (*MALFORMED, SSL.Error) as error:
            raise AMQPError(280, f"the certificate that {self._hostname} sent cannot be read") from error
        saved = self._resumable
        if not self._seen.certificate_seen and saved is not None and leaf == saved.chain.leaf:
            # A resumed session brings no certificates: the ones of its first handshake are judged again, because
            # time has passed and the callback has its say for every connection.
            return saved.chain
        if not self._seen.certificate_seen or leaf is None or not presented:
            raise AMQPError(280, f"{self._hostname} sent no certificate")
        return ServerChain(presented, built, tuple(self._seen.errors), self._seen.ocsp)

    def _problems(self, chain: ServerChain) -> list[Problem]:
        try:
            return problems_of(chain, self._rules())
        except MALFORMED as error:
            # Parts of a certificate are parsed when they are looked at, and any of them may be malformed.
            raise AMQPError(280, f"the certificate that {self._hostname} sent is malformed: {error}") from error

    def _rules(self) -> Rules:
        context = self._context
        tls13 = self._connection.get_protocol_version() == SSL.TLS1_3_VERSION
        return Rules(
            hostname=self._hostname,
            check_crl=context.options.check_crl,
            crls=context.crl_source,
            signatures=context.tls13_signatures if tls13 else context.tls12_signatures,
            tls13=tls13,
            run=self._fetched,
        )

    def _fetched(self, url: str, fetch: Callable[[], bytes], limit: float) -> bytes:
        """What was fetched from an address; raises a request for it if nothing was fetched yet."""
        result = self._downloads.get(url)
        if result is None:
            raise DownloadNeededError(url, fetch, limit)
        if isinstance(result, FetchError):
            raise result
        return result

    def _fetch(self, url: str, fetch: Callable[[], bytes]) -> None:
        """Blocks; may run in another thread."""
        result: bytes | FetchError
        try:
            result = fetch()
        except FetchError as error:
            result = error
        self._downloads[url] = result

    def _check_group(self) -> None:
        """Raise if the list of groups for the version in use lacks the one that the server chose."""
        tls13 = self._connection.get_protocol_version() == SSL.TLS1_3_VERSION
        allowed = self._context.tls13_groups if tls13 else self._context.tls12_groups
        name = self._connection.get_group_name()
        if allowed is None or not name:
            return
        group = group_from_openssl(name)
        if group is not None and group.name in allowed:
            return
        raise AMQPError(
            276,
            f"{self._hostname} chose the key exchange group {name}, which "
            f"{'TLS13SupportedGroups' if tls13 else 'TLS12SupportedGroups'} does not allow",
        )

    def _report_done(self) -> None:
        info = self.info
        if info is not None and self._on_status is not None:
            resumed = ", session resumed" if info.resumed else ""
            self._report(
                f"TLS handshake done: {info.version}, {info.cipher_suite} ({info.cipher_strength} bits), "
                f"key exchange {info.key_exchange}{resumed}"
            )

    # --- resumption ---

    def _saved_session(self) -> _SavedSession | None:
        if not self._context.options.reuse_session:
            return None
        saved = self._context.sessions.get(self._hostname)
        if not isinstance(saved, _SavedSession):
            return None
        if saved.expires <= time.time():
            del self._context.sessions[self._hostname]
            return None
        return saved

    def _save_session(self) -> None:
        # Late, because TLS 1.3 servers send the ticket after the handshake.
        if not self._context.options.reuse_session or self._chain is None:
            return
        session = self._connection.get_session()
        if session is None:
            return
        expires = time.time() + SESSION_LIFETIME
        saved = self._resumable
        if saved is not None and not self._seen.certificate_seen:
            expires = saved.expires  # resuming does not make the first handshake any younger
        expires = min(expires, *(item.not_valid_after_utc.timestamp() for item in _certificates(self._chain)))
        self._context.sessions[self._hostname] = _SavedSession(session, self._chain, expires)


def _certificates(chain: ServerChain) -> tuple[x509.Certificate, ...]:
    return chain.built or chain.presented

"""For each error code: when it is raised here, or why it cannot occur. Data for the documentation and for a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["ERROR_NOTES", "ErrorNote"]


@dataclass(frozen=True, slots=True)
class ErrorNote:
    """What there is to say about one error code.

    Attributes:
        raised: whether it can be raised at all.
        text: when it is raised, or the reason why it cannot be.
    """

    raised: bool
    text: str


def _yes(text: str) -> ErrorNote:
    return ErrorNote(True, text)


def _no(text: str) -> ErrorNote:
    return ErrorNote(False, text)


_DATAGRAM: Final = _no("Belongs to datagram sockets; AMQP travels over TCP.")
_FILES: Final = _no("A fault of file systems; no socket operation reports it, and files here give 302 or 271.")
_WINSOCK: Final = _no("A fault of the Windows socket library at its start, which Python takes care of.")
_LISTENING: Final = _no("Belongs to components that listen; this one only connects.")
_SYSTEM: Final = "When the operating system reports it for the socket, most often while connecting."

ERROR_NOTES: Final[dict[int, ErrorNote]] = {
    600: _yes("The peer broke a rule or reported an error, or a name given here is unknown or taken."),
    601: _yes("The peer sent bytes that are no valid frame."),
    602: _yes("The server refused the credentials, or offers none of the mechanisms asked for."),
    603: _yes("MaxSessionCount, MaxLinkCountPerSession or a limit stated by the peer is reached."),
    604: _yes("A property, setting or message value is malformed or out of range, or a message cannot be decoded."),
    605: _no("Read-only message properties raise AttributeError, which type checkers find before the program runs."),
    606: _yes("A setting is unknown, can only be read, or cannot be changed now; or TLS cannot honour it here."),
    100: _yes("remote_port is assigned while connected or connecting."),
    101: _yes("remote_host is assigned while connected or connecting."),
    102: _yes("remote_host is empty, or the unspecified address, when connecting."),
    104: _yes("connect() or connect_to() is called while connected."),
    106: _yes("local_port is assigned while connected or connecting."),
    107: _yes("local_host is assigned while connected or connecting."),
    112: _yes("The setting MaxLineLength is changed while connected."),
    116: _yes("remote_port is 0 when connecting."),
    117: _no("The option UseConnection belongs to another component."),
    135: _yes("With timeout 0, when there is no credit to send with or the socket is full."),
    201: _yes("An operation has not finished within its time-out."),
    211: _yes("A property cannot change while connected, or another thread is using the instance."),
    212: _yes("The transport is used after it was closed on this side."),
    213: _LISTENING,
    301: _no("Time-outs are always reported as 201."),
    302: _yes("A file that a setting names cannot be opened, such as SSLKeyLogFile."),
    434: _no("All texts are Unicode; one that has no encoding is reported as 604."),
    1105: _yes("connect() is called in an event handler while a connection is being opened."),
    1117: _yes("A method that needs a connection is called without one."),
    1119: _yes("The setting LocalHost is changed while connected; the property gives 107."),
    1120: _yes("The server ended the TCP connection without an AMQP close."),
    270: _yes("pyOpenSSL cannot be imported, or OpenSSL lacks something essential."),
    271: _yes("A certificate store cannot be opened: no such file, a wrong password, an unknown format."),
    272: _yes("The certificate store holds no certificate with the subject asked for."),
    273: _yes("The client certificate has no private key, or its key does not fit what TLS is to use."),
    274: _yes("The certificates that complete the client's chain (SSLCACerts) cannot be used."),
    275: _yes("The certificates to verify the server's chain with (SSLServerCACerts and others) cannot be used."),
    276: _yes("The TLS handshake failed, for example because no version or cipher suite is common to both sides."),
    280: _yes("The server's certificate was not accepted; the message tells the reason."),
    281: _yes("The server insists on a client certificate and none is set."),
    282: _no("Belongs to components that listen with TLS; a server without a certificate fails the handshake (276)."),
    283: _yes("OpenSSL cannot encrypt data on an established connection."),
    284: _yes("Data on an established connection cannot be decrypted."),
    10004: _yes("interrupt() ended a blocking call."),
    10009: _yes("The socket is closed; also when the operating system reports it."),
    10013: _yes("Permission was refused, for example by a local firewall, or for a privileged local_port."),
    10014: _yes(_SYSTEM),
    10022: _yes("An index is out of range; also when the operating system reports it."),
    10024: _yes("The process or the system has no more descriptors."),
    10035: _no("Sockets that are not ready are waited for, or reported as 135 with timeout 0."),
    10036: _no("Connecting is waited for; the number for that state never leaves the transport."),
    10037: _yes(_SYSTEM),
    10038: _yes(_SYSTEM),
    10039: _yes(_SYSTEM),
    10040: _DATAGRAM,
    10041: _yes("What answers is not the kind of peer expected, or the operating system reports it."),
    10042: _yes("A socket option that a setting asks for does not exist on this system."),
    10043: _yes(_SYSTEM),
    10044: _yes(_SYSTEM),
    10045: _yes(_SYSTEM),
    10046: _yes(_SYSTEM),
    10047: _yes("local_host and the server have no kind of address in common; also when the system reports it."),
    10048: _yes("local_port is in use."),
    10049: _yes("local_host is no address of this machine."),
    10050: _yes(_SYSTEM),
    10051: _yes(_SYSTEM),
    10052: _yes(_SYSTEM),
    10053: _yes(_SYSTEM),
    10054: _yes(_SYSTEM),
    10055: _yes("The system has no memory or buffers for the socket, or no thread can be started to resolve a name."),
    10056: _yes(_SYSTEM),
    10057: _yes(_SYSTEM),
    10058: _yes(_SYSTEM),
    10059: _yes(_SYSTEM),
    10060: _yes("The system gave up on a peer that does not answer, before the time-out that was set here."),
    10061: _yes("Nothing listens on the port, or a firewall rejects the connection."),
    10062: _FILES,
    10063: _FILES,
    10064: _yes(_SYSTEM),
    10065: _yes(_SYSTEM),
    10066: _FILES,
    10067: _no("No system that Python runs on reports it for sockets; processes are not started here."),
    10068: _yes(_SYSTEM),
    10069: _FILES,
    10070: _FILES,
    10071: _FILES,
    10091: _yes("The operating system reports a fault for which the table has no number."),
    10092: _WINSOCK,
    10093: _WINSOCK,
    11001: _yes("The host name does not exist."),
    11002: _yes("The name cannot be resolved now; another attempt may succeed."),
    11003: _yes("Name resolution failed for good."),
    11004: _yes("The name exists, but has no address of the kind that UseIPv6 asks for."),
}
"""Error code -> when it is raised, or why it cannot occur."""

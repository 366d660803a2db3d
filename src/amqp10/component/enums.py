"""The enumerations of the component: every number it takes or gives that is a choice.

The members have the names and the values that the component documents; plain ints compare equal to them. The text
below a member goes into the reference.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "AuthScheme",
    "CertStoreType",
    "FirewallType",
    "LinkReceiveMode",
    "LinkRole",
    "LogLevel",
    "MessageState",
    "OutcomeDirection",
    "ReceiveMode",
    "SSLProvider",
    "ValueType",
]


class AuthScheme(IntEnum):
    """How the client proves who it is when it connects (security, "sasl")."""

    smNone = 0
    """No SASL layer. Few servers take that."""
    smSASLAnonymous = 1
    """SASL ANONYMOUS."""
    smSASLPlain = 2
    """SASL PLAIN with ``user`` and ``password``; with neither, ANONYMOUS if the server offers it."""
    smSASLExternal = 3
    """SASL EXTERNAL: the TLS client certificate is the identity."""


class ValueType(IntEnum):
    """The AMQP type of a message value (types, "primitive type definitions"; ``mvtJson`` for everything composite)."""

    mvtNull = 0
    """Null; the text is ignored."""
    mvtBoolean = 1
    """\"True" or "False", in any case."""
    mvtUbyte = 2
    """0 to 255."""
    mvtUshort = 3
    """0 to 65535."""
    mvtUint = 4
    """0 to 4294967295."""
    mvtUlong = 5
    """0 to 18446744073709551615."""
    mvtByte = 6
    """-128 to 127."""
    mvtShort = 7
    """-32768 to 32767."""
    mvtInt = 8
    """-2147483648 to 2147483647."""
    mvtLong = 9
    """-9223372036854775808 to 9223372036854775807."""
    mvtFloat = 10
    """A binary number of 32 bits, in decimal notation; "NaN", "Infinity", "-Infinity"."""
    mvtDouble = 11
    """The same with 64 bits."""
    mvtDecimal = 12
    """A decimal number as the hexadecimal digits of its 4, 8 or 16 bytes."""
    mvtChar = 13
    """One Unicode character."""
    mvtTimestamp = 14
    """Milliseconds since 1970-01-01 00:00 UTC; negative before."""
    mvtUuid = 15
    """32 hexadecimal digits, with all four hyphens or none."""
    mvtBinary = 16
    """Bytes as hexadecimal digits; travels as a data section."""
    mvtString = 17
    """Text."""
    mvtSymbol = 18
    """ASCII text."""
    mvtJson = 19
    """Any value, lists, maps, arrays and described ones included, as composite JSON."""


class ReceiveMode(IntEnum):
    """Whether new receiver links ask for messages by themselves or one at a time on request."""

    rmAutomatic = 0
    """The link gives credit and keeps it up; messages come as they are there."""
    rmFetch = 1
    """The link gives one credit for each ``fetch_message()``."""


class LinkReceiveMode(IntEnum):
    """The receive mode of an existing receiver link."""

    lrmAutomatic = 0
    """It receives by itself."""
    lrmFetch = 1
    """It receives one message for each ``fetch_message()``."""


class LinkRole(IntEnum):
    """Which end of a link this side is (transport, "role")."""

    lrSender = 0
    """Messages are sent on it."""
    lrReceiver = 1
    """Messages are received on it."""


class FirewallType(IntEnum):
    """The kind of proxy to connect through."""

    fwNone = 0
    """No proxy."""
    fwTunnel = 1
    """HTTP CONNECT; the usual port is 80."""
    fwSOCKS4 = 2
    """SOCKS4; the usual port is 1080."""
    fwSOCKS5 = 3
    """SOCKS5; the usual port is 1080."""
    fwSOCKS4A = 10
    """SOCKS4A; the usual port is 1080."""


class CertStoreType(IntEnum):
    """What ``ssl_cert_store`` contains: a kind of key or certificate file, or its content."""

    cstUser = 0
    """The system's trusted certificates, as the stores ``ROOT`` and ``CA``. They have no keys."""
    cstMachine = 1
    """The same."""
    cstPFXFile = 2
    """A PKCS#12 file."""
    cstPFXBlob = 3
    """The content of one."""
    cstJKSFile = 4
    """A Java key store (JKS) in a file."""
    cstJKSBlob = 5
    """The content of one."""
    cstPEMKeyFile = 6
    """A PEM file with a key and certificates."""
    cstPEMKeyBlob = 7
    """The content of one."""
    cstPublicKeyFile = 8
    """A file with one certificate, PEM or DER, without a key."""
    cstPublicKeyBlob = 9
    """The content of one."""
    cstSSHPublicKeyBlob = 10
    """An SSH public key."""
    cstP7BFile = 11
    """A PKCS#7 file: certificates without a key."""
    cstP7BBlob = 12
    """The content of one."""
    cstSSHPublicKeyFile = 13
    """A file with an SSH public key."""
    cstPPKFile = 14
    """A PuTTY private key in a file."""
    cstPPKBlob = 15
    """The content of one."""
    cstXMLFile = 16
    """An XML file with an ``RSAKeyValue`` or an ``X509Certificate``."""
    cstXMLBlob = 17
    """The content of one."""
    cstJWKFile = 18
    """A JSON Web Key, or a set of them, in a file."""
    cstJWKBlob = 19
    """The content of one."""
    cstSecurityKey = 20
    """A PKCS#11 token; not supported: raises 271."""
    cstBCFKSFile = 21
    """A Bouncy Castle key store; not supported: raises 271."""
    cstBCFKSBlob = 22
    """The content of one; not supported: raises 271."""
    cstAuto = 99
    """Any of these; the content tells which."""


class SSLProvider(IntEnum):
    """Which TLS implementation to use."""

    sslpAutomatic = 0
    """OpenSSL."""
    sslpPlatform = 1
    """The system's own; there is none here: connecting raises 270."""
    sslpInternal = 2
    """OpenSSL."""


class MessageState(IntEnum):
    """The outcome of a delivery (messaging, "delivery state")."""

    Accepted = 0
    """Processed; the sender may forget it."""
    Rejected = 1
    """Invalid; the ``RejectError...`` settings tell why."""
    Released = 2
    """Not processed; somebody else may have it."""
    Modified = 3
    """Not processed, and to be changed as the ``Modified...`` settings tell."""


class OutcomeDirection(IntEnum):
    """Which way an outcome travelled: sent to the peer, or received from it."""

    Sent = 0
    """From here to the peer, about a message that was received."""
    Received = 1
    """From the peer, about a message that was sent."""


class LogLevel(IntEnum):
    """How much ``on_log`` reports; each level includes the ones before it."""

    Off = 0
    """Nothing."""
    Info = 1
    """What the program does with connections, sessions and links, and what goes wrong."""
    Verbose = 2
    """Every change of the connection, a session or a link too."""
    Debug = 3
    """Every frame too."""

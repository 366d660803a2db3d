"""The enumerations of the component: every number it takes or gives that stands for a choice.

The members have the names and the values that the component documents; plain ints compare equal to them.
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
    smSASLAnonymous = 1
    smSASLPlain = 2
    smSASLExternal = 3


class ValueType(IntEnum):
    """The AMQP type of a message value (types, "primitive type definitions"; ``mvtJson`` for everything composite)."""

    mvtNull = 0
    mvtBoolean = 1
    mvtUbyte = 2
    mvtUshort = 3
    mvtUint = 4
    mvtUlong = 5
    mvtByte = 6
    mvtShort = 7
    mvtInt = 8
    mvtLong = 9
    mvtFloat = 10
    mvtDouble = 11
    mvtDecimal = 12
    mvtChar = 13
    mvtTimestamp = 14
    mvtUuid = 15
    mvtBinary = 16
    mvtString = 17
    mvtSymbol = 18
    mvtJson = 19


class ReceiveMode(IntEnum):
    """Whether new receiver links ask for messages by themselves or one at a time on request."""

    rmAutomatic = 0
    rmFetch = 1


class LinkReceiveMode(IntEnum):
    """The receive mode of an existing receiver link."""

    lrmAutomatic = 0
    lrmFetch = 1


class LinkRole(IntEnum):
    """Which end of a link this side is (transport, "role")."""

    lrSender = 0
    lrReceiver = 1


class FirewallType(IntEnum):
    """The kind of proxy to connect through."""

    fwNone = 0
    fwTunnel = 1
    fwSOCKS4 = 2
    fwSOCKS5 = 3
    fwSOCKS4A = 10


class CertStoreType(IntEnum):
    """What ``ssl_cert_store`` contains: a kind of key or certificate file, or its content."""

    cstUser = 0
    cstMachine = 1
    cstPFXFile = 2
    cstPFXBlob = 3
    cstJKSFile = 4
    cstJKSBlob = 5
    cstPEMKeyFile = 6
    cstPEMKeyBlob = 7
    cstPublicKeyFile = 8
    cstPublicKeyBlob = 9
    cstSSHPublicKeyBlob = 10
    cstP7BFile = 11
    cstP7BBlob = 12
    cstSSHPublicKeyFile = 13
    cstPPKFile = 14
    cstPPKBlob = 15
    cstXMLFile = 16
    cstXMLBlob = 17
    cstJWKFile = 18
    cstJWKBlob = 19
    cstSecurityKey = 20
    cstBCFKSFile = 21
    cstBCFKSBlob = 22
    cstAuto = 99


class SSLProvider(IntEnum):
    """Which TLS implementation to use."""

    sslpAutomatic = 0
    sslpPlatform = 1
    sslpInternal = 2


class MessageState(IntEnum):
    """The outcome of a delivery (messaging, "delivery state")."""

    Accepted = 0
    Rejected = 1
    Released = 2
    Modified = 3


class OutcomeDirection(IntEnum):
    """Which way an outcome travelled: sent to the peer, or received from it."""

    Sent = 0
    Received = 1


class LogLevel(IntEnum):
    """How much ``on_log`` reports; each level includes the ones before it."""

    Off = 0
    Info = 1
    Verbose = 2
    Debug = 3

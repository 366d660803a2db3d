"""SASL: choosing a mechanism and exchanging its messages, on the client's side and on the server's.

Security, "sasl". No mechanism does I/O; a client mechanism answers challenges, a server mechanism judges responses.
Secrets stay inside the mechanism objects, which never show them in ``repr``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from amqp10.errors import AuthenticationError
from amqp10.wire.performatives import SaslCode

__all__ = [
    "AnonymousMechanism",
    "ClientMechanism",
    "ExternalMechanism",
    "PlainMechanism",
    "SaslClient",
    "SaslServer",
    "outcome_in_words",
]

_OUTCOMES: Mapping[int, str] = {
    SaslCode.OK: "ok",
    SaslCode.AUTH: "the user name, password or other credentials were not accepted",
    SaslCode.SYS: "a system error on the server",
    SaslCode.SYS_PERM: "a permanent system error on the server",
    SaslCode.SYS_TEMP: "a temporary system error on the server; try again later",
}


def outcome_in_words(code: int) -> str:
    """What a SASL outcome code means (security, "sasl-code")."""
    return _OUTCOMES.get(code, f"unknown outcome code {code}")


class ClientMechanism(Protocol):
    """One SASL mechanism on the client's side."""

    @property
    def name(self) -> str:
        """The registered name of the mechanism."""
        ...

    def start(self) -> bytes | None:
        """The initial response; None when the mechanism has none."""
        ...

    def step(self, challenge: bytes) -> bytes:
        """The response to a challenge. Raises AuthenticationError for one that makes no sense."""
        ...

    def finish(self, additional_data: bytes | None) -> None:
        """The server lets the client in: its last word, if it has one (security, "sasl-outcome").

        Raises AuthenticationError if that does not prove what the mechanism asks the server to prove.
        """
        ...


class _Plain:
    """What mechanisms have in common in which the server proves nothing."""

    __slots__ = ()

    def finish(self, additional_data: bytes | None) -> None:
        """The server lets the client in. What else it says has no meaning here."""


class AnonymousMechanism(_Plain):
    """ANONYMOUS (RFC 4505). ``trace`` is the optional, public trace information."""

    __slots__ = ("_trace",)
    name = "ANONYMOUS"

    def __init__(self, trace: str = "") -> None:
        self._trace = trace

    def start(self) -> bytes | None:
        return self._trace.encode()

    def step(self, challenge: bytes) -> bytes:
        raise AuthenticationError("the server sent a challenge, which SASL ANONYMOUS does not have")


class PlainMechanism(_Plain):
    """PLAIN (RFC 4616): authorization identity, user and password in one response.

    Raises:
        AuthenticationError: one of them contains a NUL character, which PLAIN cannot carry.
    """

    __slots__ = ("_response",)
    name = "PLAIN"

    def __init__(self, user: str, password: str, authorization_identity: str = "") -> None:
        if "\0" in user or "\0" in password or "\0" in authorization_identity:
            raise AuthenticationError("SASL PLAIN cannot carry a NUL character in a user name or password")
        self._response = f"{authorization_identity}\0{user}\0{password}".encode()

    def start(self) -> bytes | None:
        return self._response

    def step(self, challenge: bytes) -> bytes:
        raise AuthenticationError("the server sent a challenge, which SASL PLAIN does not have")


class ExternalMechanism(_Plain):
    """EXTERNAL (RFC 4422, appendix A): the identity comes from outside, as a rule the TLS client certificate."""

    __slots__ = ("_identity",)
    name = "EXTERNAL"

    def __init__(self, authorization_identity: str = "") -> None:
        self._identity = authorization_identity

    def start(self) -> bytes | None:
        return self._identity.encode()

    def step(self, challenge: bytes) -> bytes:
        # A server may ask again with an empty challenge when it did not read the initial response.
        return self._identity.encode()


class SaslClient:
    """The client's side of a SASL exchange.

    Args:
        mechanisms: what this side is willing to use, the most preferred first.
    """

    __slots__ = ("_current", "_mechanisms")

    def __init__(self, mechanisms: Sequence[ClientMechanism]) -> None:
        if not mechanisms:
            raise ValueError("a SASL client needs at least one mechanism")
        self._mechanisms = tuple(mechanisms)
        self._current: ClientMechanism | None = None

    @property
    def mechanism(self) -> str | None:
        """The name of the mechanism in use; None before the server offered any."""
        return self._current.name if self._current is not None else None

    def choose(self, offered: Sequence[str]) -> tuple[str, bytes | None]:
        """The first own mechanism that the server offers, and its initial response.

        Raises:
            AuthenticationError: there is none; the message names what the server offers.
        """
        for mechanism in self._mechanisms:
            if mechanism.name in offered:
                self._current = mechanism
                return mechanism.name, mechanism.start()
        wanted = " or ".join(mechanism.name for mechanism in self._mechanisms)
        available = ", ".join(str(name) for name in offered[:20]) or "none"
        raise AuthenticationError(f"the server does not offer SASL {wanted}; it offers: {available}")

    def respond(self, challenge: bytes) -> bytes:
        """The response to a challenge of the mechanism in use."""
        if self._current is None:
            raise AuthenticationError("the server sent a challenge before a mechanism was chosen")
        return self._current.step(challenge)

    def finish(self, additional_data: bytes | None) -> None:
        """The exchange has succeeded: give the mechanism in use the server's last word. Errors as for its own."""
        if self._current is not None:
            self._current.finish(additional_data)

    def __repr__(self) -> str:
        return f"<SaslClient {' '.join(mechanism.name for mechanism in self._mechanisms)}>"


class SaslServer:
    """The server's side: which mechanisms are offered, and who gets in.

    Args:
        users: user name -> password for PLAIN. Empty: PLAIN is not offered.
        anonymous: whether ANONYMOUS is offered.
        anybody: whether PLAIN is offered and takes any user and password; for brokers that let everybody in.
        external: called for EXTERNAL with the requested identity; returns the identity granted, or None to refuse.
            None: EXTERNAL is not offered.
    """

    __slots__ = ("_anonymous", "_anybody", "_external", "_users", "identity")

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        anonymous: bool = True,
        anybody: bool = False,
        external: Callable[[str], str | None] | None = None,
    ) -> None:
        self._users = dict(users or {})
        self._anonymous = anonymous
        self._anybody = anybody
        self._external = external
        self.identity: str | None = None
        """Who was authenticated; "anonymous" for ANONYMOUS."""

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """What is offered, the strongest first."""
        names = []
        if self._external is not None:
            names.append("EXTERNAL")
        if self._users or self._anybody:
            names.append("PLAIN")
        if self._anonymous:
            names.append("ANONYMOUS")
        return tuple(names)

    def judge(self, mechanism: str, response: bytes) -> SaslCode:
        """The outcome for a mechanism and its (initial) response. Sets ``identity`` when it is OK."""
        if mechanism not in self.mechanisms:
            return SaslCode.AUTH
        if mechanism == "ANONYMOUS":
            self.identity = "anonymous"
            return SaslCode.OK
        if mechanism == "EXTERNAL":
            assert self._external is not None
            self.identity = self._external(response.decode("utf-8", "replace"))
            return SaslCode.OK if self.identity is not None else SaslCode.AUTH
        return self._judge_plain(response)

    def _judge_plain(self, response: bytes) -> SaslCode:
        parts = response.split(b"\0")
        if len(parts) != 3:
            return SaslCode.AUTH
        if parts[0] and parts[0] != parts[1]:
            # Nobody may act for somebody else here (RFC 4616, authorization identity).
            return SaslCode.AUTH
        user = parts[1].decode("utf-8", "replace")
        if self._anybody:
            self.identity = user
            return SaslCode.OK
        from hmac import compare_digest  # only servers need it, and it brings OpenSSL's hashes with it

        # An unknown user costs the same comparison as a wrong password, so that the time does not tell them apart.
        expected = self._users.get(user, "")
        right = compare_digest(expected.encode(), parts[2])
        if not right or user not in self._users:
            return SaslCode.AUTH
        self.identity = user
        return SaslCode.OK

    def __repr__(self) -> str:
        return f"<SaslServer {' '.join(self.mechanisms)}>"

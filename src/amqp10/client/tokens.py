"""SASL mechanisms that log in with a token: OAUTHBEARER (RFC 7628), XOAUTH2, and PLAIN with the token as password."""

from __future__ import annotations

from amqp10.engine import ClientMechanism, PlainMechanism
from amqp10.errors import AuthenticationError

__all__ = ["OAuthBearerMechanism", "XOAuth2Mechanism", "token_mechanisms"]

_SEPARATOR = "\x01"
_LONGEST_REASON = 200


class _Token:
    """What both have in common. The token never shows in ``repr``."""

    __slots__ = ("_response",)
    name = ""

    def __init__(self, response: str) -> None:
        self._response = response.encode()

    def start(self) -> bytes | None:
        """The initial response: the token."""
        return self._response

    def step(self, challenge: bytes) -> bytes:
        """A challenge says why the token is not accepted.

        Raises:
            AuthenticationError: with the server's reason.
        """
        reason = challenge[:_LONGEST_REASON].decode("utf-8", "replace")
        raise AuthenticationError(f"the server does not accept the token: {reason}")

    def finish(self, additional_data: bytes | None) -> None:
        """The server accepts the token, and proves nothing."""


class OAuthBearerMechanism(_Token):
    """OAUTHBEARER (RFC 7628).

    Args:
        token: the bearer token.
        user: the authorization identity; empty for that of the token.
        host: the host name that the client connects to.
    """

    __slots__ = ()
    name = "OAUTHBEARER"

    def __init__(self, token: str, user: str = "", host: str = "") -> None:
        identity = f"a={user.replace('=', '=3D').replace(',', '=2C')}" if user else ""
        hosts = f"{_SEPARATOR}host={host}" if host else ""
        super().__init__(f"n,{identity},{hosts}{_SEPARATOR}auth=Bearer {token}{_SEPARATOR}{_SEPARATOR}")


class XOAuth2Mechanism(_Token):
    """XOAUTH2, as Google and Microsoft have it."""

    __slots__ = ()
    name = "XOAUTH2"

    def __init__(self, token: str, user: str = "") -> None:
        super().__init__(f"user={user}{_SEPARATOR}auth=Bearer {token}{_SEPARATOR}{_SEPARATOR}")


def token_mechanisms(token: str, user: str, host: str) -> list[ClientMechanism]:
    """The mechanisms for a token, the most preferred first. RabbitMQ takes it as the password of PLAIN."""
    return [
        OAuthBearerMechanism(token, user, host),
        XOAuth2Mechanism(token, user),
        PlainMechanism(user, token),
    ]

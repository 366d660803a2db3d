"""Logging in with a token."""

from __future__ import annotations

import pytest

from amqp10.client.tokens import OAuthBearerMechanism, XOAuth2Mechanism, token_mechanisms
from amqp10.errors import AuthenticationError


def test_oauthbearer_has_the_form_of_its_rfc() -> None:
    mechanism = OAuthBearerMechanism("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==", "user@example.com", "server")
    expected = "n,a=user@example.com,\x01host=server\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
    assert mechanism.start() == expected.encode()
    assert OAuthBearerMechanism("t", "a=b,c").start() == b"n,a=a=3Db=2Cc,\x01auth=Bearer t\x01\x01"


def test_xoauth2_has_the_form_that_its_servers_document() -> None:
    assert XOAuth2Mechanism("tok", "me@example.com").start() == b"user=me@example.com\x01auth=Bearer tok\x01\x01"


def test_a_servers_reason_is_told_and_the_token_is_not() -> None:
    for mechanism in token_mechanisms("s3cret", "me", "host")[:2]:
        assert "s3cret" not in repr(mechanism)
        with pytest.raises(AuthenticationError, match="invalid_token") as raised:
            mechanism.step(b'{"status":"invalid_token"}')
        assert "s3cret" not in str(raised.value)

"""The SASL exchange, when it does not go as it should, and who a server lets in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from amqp10.codec import Symbol
from amqp10.codec.composite import Composite
from amqp10.engine import (
    AnonymousMechanism,
    ClientMechanism,
    Connection,
    ConnectionFailed,
    ConnectionOpened,
    EndpointRole,
    ExternalMechanism,
    PlainMechanism,
    SaslClient,
    SaslServer,
)
from amqp10.errors import AuthenticationError
from amqp10.wire.frames import SASL_HEADER, decode_frame_body, encode_frame, encode_sasl_frame
from amqp10.wire.performatives import (
    Open,
    SaslChallenge,
    SaslCode,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    SaslResponse,
)
from tests.engine.harness import Pair


def offer(*names: str) -> bytes:
    return encode_sasl_frame(SaslMechanisms(sasl_server_mechanisms=tuple(Symbol(name) for name in names)))


def as_sasl(frame: bytes) -> bytes:
    """The same frame with the type of SASL frames."""
    return frame[:5] + b"\x01" + frame[6:]


OFFER = offer("ANONYMOUS", "PLAIN", "EXTERNAL")
CHALLENGE = encode_sasl_frame(SaslChallenge(challenge=b""))


def frames(engine: Connection) -> list[Composite]:
    """The SASL frames that an engine has written."""
    data = b"".join(engine.data_to_send(0)).removeprefix(SASL_HEADER)
    found = []
    while data[4:6] == b"\x02\x01":
        size = int.from_bytes(data[:4], "big")
        found.append(decode_frame_body(data, 8, size)[0])
        data = data[size:]
    return found


def client(*mechanisms: ClientMechanism, **options: Any) -> Connection:
    """A client whose server has sent its header and nothing else."""
    engine = Connection(EndpointRole.CLIENT, container_id="c", sasl=SaslClient(mechanisms), **options)
    engine.start(0)
    assert engine.receive_data(SASL_HEADER, 0) == []
    assert frames(engine) == []
    return engine


def failure(engine: Connection, data: bytes) -> str:
    """Feed what ends the exchange; the sentence that says why."""
    (event,) = engine.receive_data(data, 0)
    assert isinstance(event, ConnectionFailed)
    assert engine.finished
    return event.error.message


OUT_OF_TURN: dict[str, tuple[Sequence[bytes], str]] = {
    "challenge before the mechanisms": ([CHALLENGE], "a challenge before a mechanism was chosen"),
    "outcome before the mechanisms": ([encode_sasl_frame(SaslOutcome(code=0))], "SaslOutcome out of turn"),
    "mechanisms twice": ([OFFER, OFFER], "SaslMechanisms out of turn"),
    "the client's own frame": ([encode_sasl_frame(SaslInit(mechanism=Symbol("PLAIN")))], "SaslInit out of turn"),
    "a challenge that the mechanism does not have": ([OFFER, CHALLENGE], "challenge, which SASL ANONYMOUS does not"),
    "an AMQP frame": ([encode_frame(0, Open(container_id="s"))], "a frame of type 0 where SASL frames are expected"),
    "a performative of AMQP": ([as_sasl(encode_frame(0, Open(container_id="s")))], "Open out of turn"),
    "an empty frame": ([b"\0\0\0\x08\x02\x01\0\0"], "a malformed SASL frame"),
    "a frame that is cut short": ([b"\0\0\0\x0b\x02\x01\0\0\x00\x53\x40"], "a malformed SASL frame"),
    "a frame beyond the limit": ([b"\0\1\0\1\x02\x01\0\0"], "a SASL frame of 65537 bytes"),
    "no mechanism that is wanted": ([offer("GSSAPI")], "does not offer SASL ANONYMOUS; it offers: GSSAPI"),
}


@pytest.mark.parametrize(("arrive", "words"), OUT_OF_TURN.values(), ids=OUT_OF_TURN.keys())
def test_what_a_server_may_not_send_ends_the_exchange_with_the_reason(arrive: Sequence[bytes], words: str) -> None:
    engine = client(AnonymousMechanism())
    for data in arrive[:-1]:
        assert engine.receive_data(data, 0) == []
    assert words in failure(engine, arrive[-1])
    assert not engine.authenticated


class Endless:
    """A mechanism that answers whatever it is asked."""

    name = "ENDLESS"

    def __init__(self) -> None:
        self.asked = 0

    def start(self) -> bytes | None:
        return None

    def step(self, challenge: bytes) -> bytes:
        self.asked += 1
        return challenge[::-1]

    def finish(self, additional_data: bytes | None) -> None:
        raise AssertionError("it has no end")


def test_challenges_are_answered_in_order_and_not_for_ever() -> None:
    mechanism = Endless()
    engine = client(mechanism)
    engine.receive_data(offer("ENDLESS") + encode_sasl_frame(SaslChallenge(challenge=b"ab")), 0)
    init, response = frames(engine)
    assert isinstance(init, SaslInit)
    assert (init.mechanism, init.initial_response) == ("ENDLESS", None)
    assert isinstance(response, SaslResponse)
    assert response.response == b"ba"
    assert "does not come to an end" in failure(engine, CHALLENGE * 100)
    assert mechanism.asked == 31


@pytest.mark.parametrize(
    ("code", "words", "passes"),
    [
        (SaslCode.AUTH, "credentials were not accepted (outcome 1)", False),
        (SaslCode.SYS, "a system error on the server (outcome 2)", False),
        (SaslCode.SYS_PERM, "a permanent system error on the server (outcome 3)", False),
        (SaslCode.SYS_TEMP, "try again later (outcome 4)", True),
        (77, "unknown outcome code 77 (outcome 77)", False),
    ],
)
def test_an_outcome_that_refuses_says_why_and_whether_it_may_pass(code: int, words: str, passes: bool) -> None:
    engine = client(AnonymousMechanism())
    (event,) = engine.receive_data(OFFER + encode_sasl_frame(SaslOutcome(code=code)), 0)
    assert isinstance(event, ConnectionFailed)
    assert isinstance(event.error, AuthenticationError)
    assert words in event.error.message
    assert event.error.retryable is passes


def test_the_client_prefers_its_own_order_and_names_the_host() -> None:
    engine = client(PlainMechanism("u", "p", "other"), AnonymousMechanism(), hostname="h")
    engine.receive_data(OFFER, 0)
    (init,) = frames(engine)
    assert isinstance(init, SaslInit)
    assert (init.mechanism, init.initial_response, init.hostname) == ("PLAIN", b"other\0u\0p", "h")


def test_external_gives_its_identity_again_when_it_is_asked() -> None:
    engine = client(ExternalMechanism("me"))
    engine.receive_data(OFFER + CHALLENGE, 0)
    init, response = frames(engine)
    assert isinstance(init, SaslInit)
    assert isinstance(response, SaslResponse)
    assert init.initial_response == response.response == b"me"


@pytest.mark.parametrize("field", range(3))
def test_plain_refuses_what_it_cannot_carry(field: int) -> None:
    words = ["u", "p", "i"]
    words[field] = "a\0b"
    with pytest.raises(AuthenticationError, match="NUL"):
        PlainMechanism(*words)


def test_secrets_are_not_in_the_text_of_a_mechanism() -> None:
    for shown in (PlainMechanism("name", "secret"), SaslClient([PlainMechanism("name", "secret")])):
        assert "secret" not in repr(shown)
    assert "secret" not in repr(SaslServer(users={"name": "secret"}))


# -- servers -----------------------------------------------------------------------------------------------------------


def server(sasl: SaslServer, *arrive: SaslInit | SaslResponse) -> tuple[Connection, list[Composite]]:
    """A server that has read a client's header and SASL frames; what it has answered."""
    engine = Connection(EndpointRole.SERVER, container_id="s", sasl=sasl)
    engine.start(0)
    engine.receive_data(SASL_HEADER + b"".join(encode_sasl_frame(frame) for frame in arrive), 0)
    return engine, frames(engine)


LOGINS: dict[str, tuple[dict[str, Any], str, bytes | None, str | None]] = {
    "the right password": ({"users": {"u": "p"}}, "PLAIN", b"\0u\0p", "u"),
    "a wrong password": ({"users": {"u": "p"}}, "PLAIN", b"\0u\0q", None),
    "an unknown user": ({"users": {"u": "p"}}, "PLAIN", b"\0v\0", None),
    "in one's own name": ({"users": {"u": "p"}}, "PLAIN", b"u\0u\0p", "u"),
    "in another's name": ({"users": {"u": "p"}}, "PLAIN", b"v\0u\0p", None),
    "too few parts": ({"users": {"u": "p"}}, "PLAIN", b"u\0p", None),
    "too many parts": ({"users": {"u": "p"}}, "PLAIN", b"\0u\0p\0", None),
    "no response": ({"users": {"u": "p"}}, "PLAIN", None, None),
    "anybody": ({"anybody": True}, "PLAIN", b"\0x\0y", "x"),
    "nobody with a password": ({}, "PLAIN", b"\0u\0p", None),
    "anonymous": ({}, "ANONYMOUS", b"trace", "anonymous"),
    "anonymous where that is not offered": ({"users": {"u": "p"}, "anonymous": False}, "ANONYMOUS", b"", None),
    "external": ({"external": lambda asked: f"cert of {asked}"}, "EXTERNAL", b"me", "cert of me"),
    "external refused": ({"external": lambda asked: None}, "EXTERNAL", b"me", None),
    "external where that is not offered": ({}, "EXTERNAL", b"me", None),
}


@pytest.mark.parametrize(("options", "mechanism", "response", "identity"), LOGINS.values(), ids=LOGINS.keys())
def test_who_gets_in_and_as_whom(
    options: dict[str, Any], mechanism: str, response: bytes | None, identity: str | None
) -> None:
    sasl = SaslServer(**options)
    engine, answers = server(sasl, SaslInit(mechanism=Symbol(mechanism), initial_response=response))
    assert isinstance(answers[0], SaslMechanisms)
    assert (mechanism in answers[0].sasl_server_mechanisms) is (mechanism in sasl.mechanisms)
    outcome = answers[1]
    assert isinstance(outcome, SaslOutcome)
    assert outcome.code == (SaslCode.AUTH if identity is None else SaslCode.OK)
    assert sasl.identity == identity
    assert engine.authenticated is (identity is not None)
    assert engine.finished is (identity is None)


def test_mechanisms_are_offered_the_strongest_first() -> None:
    sasl = SaslServer(users={"u": "p"}, external=lambda asked: asked)
    assert sasl.mechanisms == ("EXTERNAL", "PLAIN", "ANONYMOUS")


def test_a_client_that_answers_before_it_has_chosen_is_not_let_in() -> None:
    engine, answers = server(SaslServer(), SaslResponse(response=b""))
    assert engine.finished
    assert not any(isinstance(answer, SaslOutcome) for answer in answers)


def test_a_client_logs_in_by_its_certificate() -> None:
    sasl = SaslServer(anonymous=False, external=lambda asked: asked or "by certificate")
    pair = Pair(client={"sasl": SaslClient([ExternalMechanism(), AnonymousMechanism()])}, server={"sasl": sasl})
    pair.step()
    assert isinstance(pair.take()[0], ConnectionOpened)
    assert sasl.identity == "by certificate"

"""Configuration settings: lookup, conversion, and what may not be changed."""

from __future__ import annotations

import functools
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqp10 import AMQP
from amqp10.component.settings import (
    SETTINGS,
    SETTINGS_BY_NAME,
    Settings,
    SettingSpec,
    check_change,
    convert,
    find,
    format_value,
    parse,
)
from amqp10.errors import ERROR_CODES, AMQPError

STORED = [spec for spec in SETTINGS if spec.store == "settings"]


def test_names_and_attributes_are_unique() -> None:
    assert len(SETTINGS_BY_NAME) == len(SETTINGS)
    assert len({spec.attribute for spec in SETTINGS}) == len(SETTINGS)


@pytest.mark.parametrize("spec", SETTINGS, ids=lambda spec: spec.name)
def test_each_row_of_the_table_is_complete(spec: SettingSpec) -> None:
    assert type(spec.default) is spec.type
    assert spec.doc.endswith(".")
    assert spec.group in ("AMQP", "TCPClient", "SSL", "Socket", "Ours")
    assert spec.locked == 0 or spec.locked in ERROR_CODES
    if spec.type is int and not spec.read_only:
        assert spec.choices is not None or (spec.minimum is not None and spec.maximum is not None)
    if not spec.read_only:
        assert convert(spec, format_value(spec.default)) == spec.default


def test_the_typed_attributes_are_exactly_the_stored_settings() -> None:
    hints = typing.get_type_hints(Settings)
    assert hints == {spec.attribute: spec.type for spec in STORED}
    assert set(Settings.__slots__) == set(hints)


def test_new_settings_have_their_defaults_and_reset_restores_them() -> None:
    settings = Settings()
    assert settings.default_credit == 1024
    assert settings.ssl_enabled_protocols == 15360
    settings.set(find("DefaultCredit"), "5")
    settings.set(find("TcpNoDelay"), "Yes")
    assert (settings.default_credit, settings.tcp_no_delay) == (5, True)
    settings.reset()
    for spec in STORED:
        assert settings.get(spec) == spec.default


def test_a_misspelt_attribute_is_an_error() -> None:
    with pytest.raises(AttributeError):
        Settings().default_credits = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MaxFrameSize", ("MaxFrameSize", None, None)),
        ("maxframesize=512", ("MaxFrameSize", None, "512")),
        (" TcpNoDelay =True", ("TcpNoDelay", None, "True")),
        ("FirewallPassword=a=b[c] ", ("FirewallPassword", None, "a=b[c] ")),
        ("FirewallPassword=", ("FirewallPassword", None, "")),
        ("SenderSettleMode[out]", ("SenderSettleMode", "out", None)),
        ("sendersettlemode[a=b[c]] ", ("SenderSettleMode", "a=b[c]", None)),
        ("SenderSettleMode[]", ("SenderSettleMode", "", None)),
        ("SenderSettleMode[out]=1", ("SenderSettleMode", "out", "1")),
    ],
)
def test_configuration_strings_are_taken_apart(text: str, expected: tuple[str, str | None, str | None]) -> None:
    spec, index, value = parse(text)
    assert (spec.name, index, value) == expected


@pytest.mark.parametrize("text", ["DefaultCredit[x]=1", "SenderSettleMode", "SenderSettleMode=1", "SenderSettleMode[x"])
def test_an_index_must_be_where_it_belongs(text: str) -> None:
    with pytest.raises(AMQPError) as caught:
        parse(text)
    assert caught.value.code == 606


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("DefaultCredits=1", "DefaultCredit"), ("nodelay", "TcpNoDelay"), ("SLLServerCACerts", "SSLServerCACerts")],
)
def test_an_unknown_name_is_answered_with_the_nearest_one(wrong: str, right: str) -> None:
    with pytest.raises(AMQPError) as caught:
        parse(wrong)
    assert caught.value.code == 606
    assert right in caught.value.message


@pytest.mark.parametrize("wrong", ["Heartbeat=5", "Prefetch", "x", "ReconnectDelay"])
def test_a_name_that_resembles_no_setting_gets_no_guess(wrong: str) -> None:
    with pytest.raises(AMQPError) as caught:
        parse(wrong)
    assert caught.value.code == 606
    assert "did you mean" not in caught.value.message


def test_an_endless_name_is_not_echoed() -> None:
    with pytest.raises(AMQPError) as caught:
        parse("x" * 1_000_000)
    assert len(caught.value.message) < 300


def test_only_text_can_be_a_configuration_string() -> None:
    with pytest.raises(TypeError):
        parse(b"DefaultCredit")  # type: ignore[arg-type]


@given(st.text())
def test_any_text_gives_a_setting_or_a_606(text: str) -> None:
    code = 0
    try:
        parse(text)
    except AMQPError as error:
        code = error.code
    assert code in (0, 606)


@pytest.mark.parametrize("text", ["True", "true", "TRUE", "1", "Yes", "yes", " True "])
def test_words_for_true(text: str) -> None:
    assert convert(find("Linger"), text) is True


@pytest.mark.parametrize("text", ["False", "0", "No", "nO"])
def test_words_for_false(text: str) -> None:
    assert convert(find("Linger"), text) is False


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Linger", ""),
        ("Linger", "2"),
        ("Linger", "on"),
        ("DefaultCredit", ""),
        ("DefaultCredit", "0"),
        ("DefaultCredit", "4294967296"),
        ("DefaultCredit", "1_000"),
        ("DefaultCredit", "\u0661"),
        ("DefaultCredit", "1.0"),
        ("DefaultCredit", "0x10"),
        ("DefaultCredit", "9" * 5000),
        ("MaxFrameSize", "511"),
        ("MaxLineLength", "255"),
        ("MaxSessionCount", "65536"),
        ("DefaultSenderSettleMode", "3"),
        ("LogLevel", "4"),
        ("UseIPv6", "-1"),
        ("FirewallType", "4"),
        ("SSLEnabledProtocols", "0"),
        ("SSLEnabledProtocols", "16384"),
        ("SSLEnabledProtocols", "13"),
        ("SSLSecurityFlags", "8"),
        ("SSLEnabledCipherSuites", "A B"),
        ("SSLEnabledCipherSuites", ""),
        ("TLS12SupportedGroups", "ecdhe_secp256r1,x"),
        ("TLS13SupportedGroups", ""),
        ("TLS13SignatureAlgorithms", "ed25519, ed448"),
        ("RejectErrorCondition", "ä"),
    ],
)
def test_a_malformed_value_is_refused_and_changes_nothing(name: str, text: str) -> None:
    spec = find(name)
    settings = Settings()
    change = functools.partial(settings.set if spec.store == "settings" else convert, spec, text)
    with pytest.raises(AMQPError) as caught:
        change()
    assert caught.value.code == 604
    assert name in caught.value.message
    assert len(caught.value.message) < 500
    assert repr(settings) == "Settings()"


def test_flags_may_be_given_in_hexadecimal() -> None:
    assert convert(find("SSLSecurityFlags"), "0x80000001") == 0x80000001
    assert convert(find("SSLEnabledProtocols"), "0xC00") == 3072


def test_empty_signature_algorithms_lift_the_restriction() -> None:
    assert convert(find("TLS12SignatureAlgorithms"), "") == ""


@pytest.mark.parametrize("name", ["KeepAliveTime", "KeepAliveInterval"])
def test_a_keep_alive_time_turns_keep_alive_on(name: str) -> None:
    settings = Settings()
    with pytest.raises(AMQPError):
        settings.set(find(name), "x")
    settings.set(find(name), "0")
    assert settings.tcp_keep_alive is False, "0 stands for the system's own time"
    settings.set(find(name), "5000")
    assert settings.tcp_keep_alive is True


def test_queries_answer_in_the_documented_form() -> None:
    assert format_value(True) == "True"
    assert format_value(False) == "False"
    assert format_value(4294967295) == "4294967295"
    assert format_value("a b") == "a b"


def test_what_can_only_be_read_cannot_be_set() -> None:
    for spec in SETTINGS:
        if spec.read_only:
            with pytest.raises(AMQPError) as caught:
                check_change(spec, connected=False)
            assert caught.value.code == 606
        else:
            check_change(spec, connected=False)


@pytest.mark.parametrize(
    ("name", "code"),
    [("MaxFrameSize", 606), ("VirtualHost", 606), ("MaxLineLength", 112), ("LocalPort", 106), ("LocalHost", 1119)],
)
def test_some_settings_stay_as_they_are_while_connected(name: str, code: int) -> None:
    check_change(find(name), connected=False)
    with pytest.raises(AMQPError) as caught:
        check_change(find(name), connected=True)
    assert caught.value.code == code
    check_change(find("DefaultCredit"), connected=True)


SECRETS = [spec.name for spec in SETTINGS if spec.secret]


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_setting_does_not_read_back(name: str) -> None:
    amqp = AMQP()
    amqp.config(f"{name}=Proxy-Authorization: geheim")
    assert amqp.config(name) == ""


def test_the_secret_settings_are_all_that_hold_secrets() -> None:
    assert SECRETS == ["FirewallPassword", "OpenSSLPrngSeedData", "FirewallData"]


def test_secrets_show_neither_in_repr_nor_in_errors() -> None:
    settings = Settings()
    settings.set(find("OpenSSLPrngSeedData"), "geheim")
    settings.set(find("FirewallData"), "Proxy-Authorization: geheim")
    settings.set(find("DefaultCredit"), "7")
    assert "geheim" not in repr(settings)
    assert "DefaultCredit=7" in repr(settings)

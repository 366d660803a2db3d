"""Configuration settings: their values, and the text form in which ``config()`` takes and gives them.

The facts about every setting are in :mod:`amqp10.component.settings_table`. Here are the class that holds the values,
as typed attributes for the other layers, and the functions that find a setting by name, convert text and enforce the
rules.

Errors: 606 for an unknown setting, one that can only be read, or one that cannot be changed now (unless the table of
error codes has a closer code); 604 for a malformed or impossible value. Nothing is changed when an error is raised.
"""

from __future__ import annotations

import re
from typing import Final

from amqp10.component.scalars import parse_int, show
from amqp10.component.setting_spec import SettingSpec, SettingValue
from amqp10.component.settings_table import SETTINGS
from amqp10.errors import AMQPError

__all__ = [
    "SETTINGS",
    "SETTINGS_BY_NAME",
    "SettingSpec",
    "SettingValue",
    "Settings",
    "check_change",
    "convert",
    "find",
    "format_value",
    "parse",
]

SETTINGS_BY_NAME: Final[dict[str, SettingSpec]] = {spec.name.lower(): spec for spec in SETTINGS}
"""Lower-case name -> setting."""

_STORED: Final = tuple(spec for spec in SETTINGS if spec.store == "settings")
_TRUE: Final = frozenset(("true", "1", "yes"))
_FALSE: Final = frozenset(("false", "0", "no"))
_NAME: Final = r"(?s)\s*(?P<name>[^\[=]*?)\s*(?:(?P<bracket>\[)|(?P<equals>=)|\Z)"


class Settings:
    """The settings of one component, as attributes. Numbers and times are in the units that the table gives."""

    __slots__ = (
        "absolute_timeout",
        "allow_plain_without_tls",
        "authorization_identity",
        "connection_timeout",
        "default_credit",
        "default_credit_threshold",
        "default_incoming_window",
        "default_outgoing_window",
        "default_sender_settle_mode",
        "default_source_capabilities",
        "default_target_capabilities",
        "firewall_data",
        "generate_message_id",
        "in_buffer_size",
        "keep_alive_interval",
        "keep_alive_time",
        "linger",
        "linger_time",
        "log_frame_bytes",
        "log_level",
        "log_ssl_packets",
        "max_frame_size",
        "max_json_size",
        "max_line_length",
        "max_link_count_per_session",
        "max_message_size",
        "max_session_count",
        "max_transfer_rate",
        "openssl_ca_dir",
        "openssl_ca_file",
        "openssl_cipher_list",
        "openssl_prng_seed_data",
        "out_buffer_size",
        "proxy_exceptions_list",
        "reuse_ssl_session",
        "simplified_json_format",
        "ssl_ca_cert_file_paths",
        "ssl_ca_certs",
        "ssl_check_crl",
        "ssl_cipher_strength",
        "ssl_enable_renegotiation",
        "ssl_enabled_cipher_suites",
        "ssl_enabled_protocols",
        "ssl_include_cert_chain",
        "ssl_key_log_file",
        "ssl_security_flags",
        "ssl_server_ca_certs",
        "tcp_keep_alive",
        "tcp_no_delay",
        "tls12_signature_algorithms",
        "tls12_supported_groups",
        "tls13_key_share_groups",
        "tls13_signature_algorithms",
        "tls13_supported_groups",
        "use_ipv6",
        "virtual_host",
    )
    absolute_timeout: bool
    allow_plain_without_tls: bool
    authorization_identity: str
    connection_timeout: int
    default_credit: int
    default_credit_threshold: int
    default_incoming_window: int
    default_outgoing_window: int
    default_sender_settle_mode: int
    default_source_capabilities: str
    default_target_capabilities: str
    firewall_data: str
    generate_message_id: bool
    in_buffer_size: int
    keep_alive_interval: int
    keep_alive_time: int
    linger: bool
    linger_time: int
    log_frame_bytes: bool
    log_level: int
    log_ssl_packets: bool
    max_frame_size: int
    max_json_size: int
    max_line_length: int
    max_link_count_per_session: int
    max_message_size: int
    max_session_count: int
    max_transfer_rate: int
    openssl_ca_dir: str
    openssl_ca_file: str
    openssl_cipher_list: str
    openssl_prng_seed_data: str
    out_buffer_size: int
    proxy_exceptions_list: str
    reuse_ssl_session: bool
    simplified_json_format: bool
    ssl_ca_cert_file_paths: str
    ssl_ca_certs: str
    ssl_check_crl: int
    ssl_cipher_strength: int
    ssl_enable_renegotiation: bool
    ssl_enabled_cipher_suites: str
    ssl_enabled_protocols: int
    ssl_include_cert_chain: bool
    ssl_key_log_file: str
    ssl_security_flags: int
    ssl_server_ca_certs: str
    tcp_keep_alive: bool
    tcp_no_delay: bool
    tls12_signature_algorithms: str
    tls12_supported_groups: str
    tls13_key_share_groups: str
    tls13_signature_algorithms: str
    tls13_supported_groups: str
    use_ipv6: int
    virtual_host: str

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Every setting at its default."""
        for spec in _STORED:
            setattr(self, spec.attribute, spec.default)

    def get(self, spec: SettingSpec) -> SettingValue:
        """The value of a setting that is stored here (``store`` is "settings")."""
        value: SettingValue = getattr(self, spec.attribute)
        return value

    def set(self, spec: SettingSpec, text: str) -> None:
        """Convert and store a setting that is stored here; the two keep-alive times also turn keep-alive probes on.

        The caller has made sure with :func:`check_change` that the setting may change now.

        Raises:
            AMQPError: 604; the setting keeps its value.
        """
        value = convert(spec, text)
        setattr(self, spec.attribute, value)
        if value and spec.attribute in ("keep_alive_time", "keep_alive_interval"):
            self.tcp_keep_alive = True

    def __repr__(self) -> str:
        changed = [
            f"{spec.name}={'***' if spec.secret else repr(value)}"
            for spec in _STORED
            if (value := self.get(spec)) != spec.default
        ]
        return f"Settings({', '.join(changed)})"


def find(name: str) -> SettingSpec:
    """The setting with a name, in any case.

    Raises:
        AMQPError: 606; the message names a setting with a similar name, where there is one.
    """
    spec = SETTINGS_BY_NAME.get(name.lower())
    if spec is not None:
        return spec
    if not name:
        raise AMQPError(606, "the name of the configuration setting is missing")
    from difflib import get_close_matches  # only a mistake needs it

    # Bounded, because the comparison takes time in proportion to the length.
    nearest = get_close_matches(name[:80].lower(), SETTINGS_BY_NAME, n=1, cutoff=0.6)
    hint = f"; did you mean {SETTINGS_BY_NAME[nearest[0]].name}?" if nearest else ""
    raise AMQPError(606, f"there is no configuration setting {show(name)}{hint}")


def parse(configuration_string: str) -> tuple[SettingSpec, str | None, str | None]:
    """Take apart what ``config()`` is given: ``"NAME"``, ``"NAME=VALUE"`` or ``"NAME[INDEX]"``.

    Returns:
        The setting; the index (only for settings that take one, otherwise ``None``); and the text of the value as it
        comes after the equals sign, ``None`` for a query.

    Raises:
        TypeError: not a str.
        AMQPError: 606; no such setting, or an index is missing or out of place.
    """
    if not isinstance(configuration_string, str):
        raise TypeError(f"configuration_string must be a str, not {type(configuration_string).__name__}")
    match = re.match(_NAME, configuration_string)
    assert match is not None  # the pattern matches any text
    spec = find(match["name"])
    rest = configuration_string[match.end() :]
    if match["bracket"] is None:
        if spec.indexed:
            raise AMQPError(606, f"{spec.name} needs the name of a link in brackets: {spec.name}[NAME]")
        return spec, None, rest if match["equals"] is not None else None
    if not spec.indexed:
        raise AMQPError(606, f"{spec.name} takes no index in brackets")
    # A link's name may itself contain brackets and equals signs, so the last bracket is the one that counts.
    if rest.rstrip().endswith("]"):
        return spec, rest.rstrip()[:-1], None
    index, closing, value = rest.rpartition("]")
    if not closing or not value.lstrip().startswith("="):
        raise AMQPError(606, f"{spec.name}: the closing bracket is missing")
    return spec, index, value.lstrip()[1:]


def check_change(spec: SettingSpec, *, connected: bool) -> None:
    """Refuse a change that is not possible now.

    Raises:
        AMQPError: 606 for a setting that can only be read; the setting's own code (606, 106, 112, 1119) for one that
            has to stay as it is while connected.
    """
    if spec.read_only:
        raise AMQPError(606, f"{spec.name} can be queried but not set")
    if spec.locked and connected:
        raise AMQPError(spec.locked, f"{spec.name} cannot be changed while connected")


def convert(spec: SettingSpec, text: str) -> SettingValue:
    """The typed value of a text.

    Booleans are True, False, 1, 0, Yes and No in any case; space around booleans and numbers is ignored; texts are
    taken as they are.

    Raises:
        AMQPError: 604; names the setting, the text (unless it is secret) and what would be allowed.
    """
    try:
        if spec.type is bool:
            return _to_bool(text)
        if spec.type is int:
            return _to_int(spec, text.strip(" \t\r\n"))
        if spec.check is not None:
            spec.check(text)
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError as error:
        raise AMQPError(604, f"{spec.name} cannot be encoded as UTF-8: {error.reason}") from None
    except ValueError as error:
        raise AMQPError(604, f"{spec.name}: {'the value' if spec.secret else show(text)} is {error}") from None
    return text


def _to_bool(text: str) -> bool:
    word = text.strip(" \t\r\n").lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("not True or False")


def _to_int(spec: SettingSpec, text: str) -> int:
    if spec.hexadecimal and re.fullmatch(r"0[xX][0-9A-Fa-f]{1,16}", text):
        text = str(int(text, 16))
    if spec.choices is not None:
        value = parse_int(text, min(spec.choices), max(spec.choices))
        if value not in spec.choices:
            raise ValueError(f"not one of {', '.join(map(str, spec.choices))}")
        return value
    assert spec.minimum is not None
    assert spec.maximum is not None
    value = parse_int(text, spec.minimum, spec.maximum)
    if spec.mask is not None and value & ~spec.mask:
        raise ValueError(f"not made of the known flags (0x{value & ~spec.mask:X} is unknown)")
    return value


def format_value(value: SettingValue) -> str:
    """A value as ``config()`` answers a query: "True" or "False", a decimal number, or the text itself."""
    if isinstance(value, bool):
        return "True" if value else "False"
    return str(int(value)) if isinstance(value, int) else value

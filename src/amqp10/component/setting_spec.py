"""What is known about one configuration setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

__all__ = ["SettingSpec", "SettingType", "SettingValue", "Store"]

SettingType = type[int] | type[bool] | type[str]
SettingValue = int | bool | str
Store = Literal["settings", "outcome", "property", "live"]


class SettingSpec(NamedTuple):
    """One configuration setting.

    Attributes:
        name: the name as documented; ``config()`` takes it in any case.
        group: ``"AMQP"``, ``"TCPClient"``, ``"SSL"``, ``"Socket"``, or ``"Ours"`` for an addition of this project.
        type: the Python type of the value.
        default: the value of a new instance. For a setting that does not say otherwise, 0 and "" mean "not set".
        attribute: the attribute or property that holds it; for ``"live"`` ones a name in the same style.
        doc: what it is for.
        store: where the value lives: ``"settings"``, an attribute of ``Settings``; ``"outcome"``, an attribute of the
            metadata of an outcome, within message handlers only; ``"property"``, the property of the component named
            ``attribute``; ``"live"``, nowhere: it is asked of the connection.
        minimum, maximum: the range of a number, both ends included.
        choices: the only numbers allowed, when they are not a range.
        mask: the bits that a number may consist of.
        check: a further test of a text; raises ``ValueError`` with the reason.
        read_only: it can be queried only.
        locked: the error code for changing it while connected; 0 when it can be changed at any time.
        followed: an open connection follows a change at once: the setting is one of its socket.
        indexed: it is asked for as ``NAME[INDEX]``.
        secret: its value must not appear in messages, logs or ``repr``.
        hexadecimal: numbers may be given as ``0x...`` too.
    """

    name: str
    group: str
    type: SettingType
    default: SettingValue
    attribute: str
    doc: str
    store: Store = "settings"
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[int, ...] | None = None
    mask: int | None = None
    check: Callable[[str], object] | None = None
    read_only: bool = False
    locked: int = 0
    followed: bool = False
    indexed: bool = False
    secret: bool = False
    hexadecimal: bool = False

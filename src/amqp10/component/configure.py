"""``config()``: finds where a setting lives, and reads or changes it there.

The facts are in ``settings_table.py``. A setting lives in the ``Settings`` object, in a property of the component,
in the metadata of the outcome that a handler is deciding, or nowhere: then it is asked of the connection.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Final

from amqp10.codec import Symbol
from amqp10.component.outcomes import OutcomeMetadata
from amqp10.component.setting_spec import SettingSpec, SettingValue
from amqp10.component.settings import check_change, convert, format_value, parse
from amqp10.errors import AMQPError
from amqp10.wire.messaging import Modified, Rejected
from amqp10.wire.performatives import Error

if TYPE_CHECKING:
    from amqp10.component.lifecycle import Lifecycle

__all__ = ["configure"]

PROTOCOL_VERSION: Final = "1.0"

_DISPOSITION_SIZE: Final = 80
"""More than the frame of a disposition takes besides the outcome."""


def configure(amqp: Lifecycle, text: str) -> str:
    """Change or read a setting; see ``AMQP.config``. A change answers with the empty string."""
    spec, index, value = parse(text)
    if value is None:
        return _read(amqp, spec, index)
    check_change(spec, connected=amqp._pump is not None or amqp._connecting)
    if spec.store == "settings":
        _change(amqp, spec, value)
    elif spec.store == "property":
        setattr(amqp, spec.attribute, convert(spec, value))
    else:
        _write_outcome(amqp, spec, value)
    return ""


def _change(amqp: Lifecycle, spec: SettingSpec, text: str) -> None:
    settings = amqp._settings
    before = settings.get(spec), settings.tcp_keep_alive
    settings.set(spec, text)
    amqp._settings_changed()
    if spec.followed:
        try:
            amqp._socket_settings_changed()
        except AMQPError:
            setattr(settings, spec.attribute, before[0])
            settings.tcp_keep_alive = before[1]
            raise


def _read(amqp: Lifecycle, spec: SettingSpec, index: str | None) -> str:
    if spec.secret:
        return ""  # what config() answers ends in logs and on screens
    if spec.store == "settings":
        return format_value(amqp._settings.get(spec))
    if spec.store == "property":
        value = getattr(amqp, spec.attribute)
        return format_value(value)
    if spec.store == "outcome":
        return _read_outcome(amqp, spec)
    if spec.attribute == "protocol_version":
        return PROTOCOL_VERSION
    if index is not None:
        return str(int(amqp._links.find(index).engine.snd_settle_mode))
    return format_value(amqp._negotiated(spec.attribute))


def _metadata(amqp: Lifecycle, spec: SettingSpec) -> OutcomeMetadata:
    metadata = amqp._metadata
    if metadata is None and amqp._metadata_settable:
        metadata = amqp._metadata = OutcomeMetadata()
    if metadata is None:
        raise AMQPError(606, f"{spec.name} is only valid inside on_message_in and on_message_outcome handlers")
    return metadata


def _read_outcome(amqp: Lifecycle, spec: SettingSpec) -> str:
    metadata = _metadata(amqp, spec)
    if spec.name == "ModifiedMessageAnnotations":
        return metadata.annotations_text(amqp._settings.simplified_json_format, amqp._settings.max_json_size)
    values: dict[str, SettingValue] = {
        "RejectErrorCondition": metadata.condition,
        "RejectErrorDescription": metadata.description,
        "ModifiedDeliveryFailed": metadata.delivery_failed,
        "ModifiedUndeliverableHere": metadata.undeliverable_here,
    }
    return format_value(values[spec.name])


def _write_outcome(amqp: Lifecycle, spec: SettingSpec, text: str) -> None:
    metadata = _metadata(amqp, spec)
    if not amqp._metadata_settable:
        raise AMQPError(606, f"{spec.name} can only be set inside an on_message_in handler")
    value = convert(spec, text)
    changed = copy(metadata)
    if spec.name == "ModifiedMessageAnnotations":
        changed.set_annotations(str(value))
    elif spec.name == "RejectErrorCondition":
        changed.set_condition(str(value))
    elif spec.name == "RejectErrorDescription":
        changed.description = str(value)
    elif spec.name == "ModifiedDeliveryFailed":
        changed.delivery_failed = bool(value)
    else:
        changed.undeliverable_here = bool(value)
    _check_size(amqp, spec, changed)
    amqp._metadata = changed


def _check_size(amqp: Lifecycle, spec: SettingSpec, metadata: OutcomeMetadata) -> None:
    """An outcome travels in one frame: what cannot fit is refused here, where the program can do something about it.

    Only a description, which is for people, can be cut; the engine does that.
    """
    if amqp._engine is None or spec.name not in ("ModifiedMessageAnnotations", "RejectErrorCondition"):
        return
    outcome: Modified | Rejected = metadata.modified()
    if spec.name == "RejectErrorCondition":
        outcome = Rejected(error=Error(condition=Symbol(metadata.condition)))
    largest = amqp._engine.output.max_frame_size - _DISPOSITION_SIZE
    if len(outcome.encode()) > largest:
        raise AMQPError(604, f"{spec.name} is too long: the peer takes outcomes of up to {largest} bytes")

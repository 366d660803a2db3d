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
    from amqp10.component.handler_outcome import HandlerOutcome
    from amqp10.component.loop import Loop
    from amqp10.component.network import Network
    from amqp10.component.properties import Route
    from amqp10.component.registry import Records
    from amqp10.component.settings import Settings

__all__ = ["Configuration"]

PROTOCOL_VERSION: Final = "1.0"

_DISPOSITION_SIZE: Final = 80
"""More than the frame of a disposition takes besides the outcome."""


class Configuration:
    """What ``config()`` reads and changes.

    Args:
        owner: has the properties that settings are other names of.
    """

    __slots__ = ("_loop", "_network", "_outcome", "_owner", "_records", "_route", "_settings")

    def __init__(
        self,
        owner: object,
        settings: Settings,
        route: Route,
        records: Records,
        outcome: HandlerOutcome,
        loop: Loop,
        network: Network,
    ) -> None:
        self._owner = owner
        self._settings = settings
        self._route = route
        self._records = records
        self._outcome = outcome
        self._loop = loop
        self._network = network

    def __call__(self, text: str) -> str:
        """Change or read a setting; see ``AMQP.config``. A change answers with the empty string."""
        spec, index, value = parse(text)
        if value is None:
            return self._read(spec, index)
        check_change(spec, connected=self._loop.in_use)
        if spec.store == "settings":
            self._change(spec, value)
        elif spec.store == "property":
            setattr(self._owner, spec.attribute, convert(spec, value))
        else:
            self._write_outcome(spec, value)
        return ""

    def _change(self, spec: SettingSpec, text: str) -> None:
        settings = self._settings
        before = settings.get(spec), settings.tcp_keep_alive
        settings.set(spec, text)
        self._loop.follow_log()
        if spec.followed:
            try:
                self._network.follow_settings()
            except AMQPError:
                setattr(settings, spec.attribute, before[0])
                settings.tcp_keep_alive = before[1]
                raise

    def _read(self, spec: SettingSpec, index: str | None) -> str:
        if spec.secret:
            return ""  # what config() answers ends in logs and on screens
        if spec.store == "settings":
            return format_value(self._settings.get(spec))
        if spec.store == "property":
            return format_value(getattr(self._owner, spec.attribute))
        if spec.store == "outcome":
            return self._read_outcome(spec)
        if spec.attribute == "protocol_version":
            return PROTOCOL_VERSION
        if index is not None:
            return str(int(self._records.links.find(index).engine.snd_settle_mode))
        return format_value(self._route.negotiated(spec.attribute))

    def _metadata(self, spec: SettingSpec) -> OutcomeMetadata:
        metadata = self._outcome.metadata
        if metadata is None and self._outcome.settable:
            metadata = self._outcome.metadata = OutcomeMetadata()
        if metadata is None:
            raise AMQPError(606, f"{spec.name} is only valid inside on_message_in and on_message_outcome handlers")
        return metadata

    def _read_outcome(self, spec: SettingSpec) -> str:
        metadata = self._metadata(spec)
        if spec.name == "ModifiedMessageAnnotations":
            return metadata.annotations_text(self._settings.simplified_json_format, self._settings.max_json_size)
        values: dict[str, SettingValue] = {
            "RejectErrorCondition": metadata.condition,
            "RejectErrorDescription": metadata.description,
            "ModifiedDeliveryFailed": metadata.delivery_failed,
            "ModifiedUndeliverableHere": metadata.undeliverable_here,
        }
        return format_value(values[spec.name])

    def _write_outcome(self, spec: SettingSpec, text: str) -> None:
        metadata = self._metadata(spec)
        if not self._outcome.settable:
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
        self._check_size(spec, changed)
        self._outcome.metadata = changed

    def _check_size(self, spec: SettingSpec, metadata: OutcomeMetadata) -> None:
        """An outcome travels in one frame: one that cannot fit is refused here, where the program can do something.

        Only a description, which is for people, can be cut; the engine does that.
        """
        engine = self._loop.engine
        if engine is None or spec.name not in ("ModifiedMessageAnnotations", "RejectErrorCondition"):
            return
        outcome: Modified | Rejected = metadata.modified()
        if spec.name == "RejectErrorCondition":
            outcome = Rejected(error=Error(condition=Symbol(metadata.condition)))
        largest = engine.output.max_frame_size - _DISPOSITION_SIZE
        if len(outcome.encode()) > largest:
            raise AMQPError(604, f"{spec.name} is too long: the peer takes outcomes of up to {largest} bytes")

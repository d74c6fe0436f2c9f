"""A preset with changes."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from app.errors import InvalidError
from app.hparams.presets import preset
from app.hparams.run import RunHParams


class InvalidSettingsError(InvalidError):
    """Hyperparameters that cannot be."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        """`faults`: what is wrong, by the path of the setting or of the group that it is about; "" is the run."""
        super().__init__("; ".join(f"{path or 'hparams'}: {what}" for path, what in faults.items()))
        self.faults = dict(faults)


def planned(preset_name: str, changes: Mapping[str, Any] | None = None) -> RunHParams:
    """A preset with `changes`, nested like its fields.

    Raises: InvalidError without such a preset, InvalidSettingsError naming each value that is wrong.
    """
    try:
        base = preset(preset_name)
    except KeyError as error:
        raise InvalidError(str(error.args[0])) from error
    return changed(base, changes or {})


def changed(base: RunHParams, changes: Mapping[str, Any]) -> RunHParams:
    """Hyperparameters with `changes`, nested like their fields.

    Raises: InvalidSettingsError naming each value that is wrong.
    """
    try:
        return RunHParams.model_validate(_merged(base.model_dump(mode="json"), changes))
    except ValidationError as error:
        faults: dict[str, str] = {}
        for fault in error.errors():
            path = ".".join(map(str, fault["loc"]))
            faults[path] = f"{faults[path]}; {fault['msg']}" if path in faults else fault["msg"]
        raise InvalidSettingsError(faults) from error


def differences(*all_hparams: RunHParams) -> dict[str, list[Any]]:
    """The settings in which they are not all alike, by path in the order of the fields, with the value of each."""
    flat = [dict(_flat(one.model_dump(mode="json"))) for one in all_hparams]
    values = {path: [one.get(path) for one in flat] for path in (flat[0] if flat else ())}
    return {path: found for path, found in values.items() if any(one != found[0] for one in found)}


def parse_changes(words: list[str]) -> dict[str, Any]:
    """Nested changes of hyperparameters from words such as `ppo.batch=64`; values are JSON or else plain text.

    Raises: InvalidError naming a word without `=`.
    """
    changes: dict[str, Any] = {}
    for word in words:
        path, separator, value = word.partition("=")
        if not separator:
            raise InvalidError(f"Write {word!r} as name=value, such as ppo.batch=64.")
        *groups, name = path.split(".")
        place = changes
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = _value(value)
    return changes


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for name, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(both.get(name), Mapping)
        both[name] = _merged(both[name], value) if nested else value
    return both


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        here = f"{path}.{name}".lstrip(".")
        if isinstance(value, Mapping):
            yield from _flat(value, here)
        else:
            yield here, value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text

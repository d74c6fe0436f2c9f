"""A preset with changes."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app.errors import InvalidError
from app.hparams.presets import preset
from app.hparams.run import RunHParams


def planned(preset_name: str, changes: Mapping[str, Any] | None = None) -> RunHParams:
    """A preset with `changes`, nested like its fields.

    Raises: InvalidError without such a preset, or naming each value that is wrong.
    """
    try:
        base = preset(preset_name).model_dump(mode="json")
        return RunHParams.model_validate(_merged(base, changes or {}))
    except KeyError as error:
        raise InvalidError(str(error.args[0])) from error
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, fault['loc'])) or 'hparams'}: {fault['msg']}" for fault in error.errors())
        raise InvalidError("; ".join(faults)) from error


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


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text

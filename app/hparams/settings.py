"""Every hyperparameter with its documentation, as forms and the API show it; made from the classes themselves."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.hparams.run import RunHParams

TITLES = {
    "": "Run",
    "task": "Task",
    "reward": "Reward model",
    "ppo": "PPO",
    "ppo.guards": "Guards of every update",
    "schedule": "Schedule and label budget",
    "labeling": "Labeling",
    "collection": "Collection",
    "promotion": "Promotion",
    "andon": "Andon cord",
}
"""Of each group of settings, by the path that leads to it; a group that is not named here is called by its path."""


class SettingKind(StrEnum):
    """How a value is typed in."""

    WHOLE = "whole"
    NUMBER = "number"
    YES_NO = "yes_no"
    CHOICE = "choice"
    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One hyperparameter of one run or preset."""

    path: str
    """Such as `ppo.batch`; what `--set` takes."""
    group: str
    title: str
    """Of the group."""
    name: str
    kind: SettingKind
    value: Any
    text: str
    """The value as it is typed in; JSON but for text and choices. Empty stands for none."""
    optional: bool
    """Whether it may be none."""
    choices: tuple[str, ...]
    description: str


def settings_of(hparams: RunHParams) -> list[Setting]:
    """All hyperparameters in the order of their classes, but the preset's name."""
    schema = RunHParams.model_json_schema()
    return [one for one in _walk(schema, schema["$defs"], hparams.model_dump(mode="json"), "") if one.path != "preset"]


def typed(settings: list[Setting], texts: Mapping[str, str]) -> dict[str, Any]:
    """Nested changes from what was typed in for some paths; what was left as it is changes nothing."""
    changes: dict[str, Any] = {}
    for one in settings:
        text = texts.get(one.path)
        if text is None or text.replace("\r\n", "\n") == one.text:
            continue
        *groups, name = one.path.split(".")
        place = changes
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = _value(one, text.replace("\r\n", "\n"))
    return changes


def _walk(schema: Mapping[str, Any], known: Mapping[str, Any], values: Any, path: str) -> Iterator[Setting]:
    nested = []
    for name, field in schema["properties"].items():
        inner = known[field["$ref"].rsplit("/", 1)[-1]] if "$ref" in field else field
        if "properties" in inner:
            nested.append((f"{path}.{name}".lstrip("."), inner, values[name]))
        else:
            yield _setting(name, field, inner, known, values[name], path)
    for inner_path, inner, inner_values in nested:
        yield from _walk(inner, known, inner_values, inner_path)


def _setting(
    name: str, field: Mapping[str, Any], inner: Mapping[str, Any], known: Mapping[str, Any], value: Any, group: str
) -> Setting:
    options = field.get("anyOf", [inner])
    optional = any(option.get("type") == "null" for option in options)
    (shape,) = [option for option in options if option.get("type") != "null"][:1]
    if "$ref" in shape:
        shape = known[shape["$ref"].rsplit("/", 1)[-1]]
    kind = _kind(shape)
    return Setting(
        path=f"{group}.{name}".lstrip("."),
        group=group,
        title=TITLES.get(group, group),
        name=name.replace("_", " "),
        kind=kind,
        value=value,
        text=_text(kind, value),
        optional=optional,
        choices=tuple(map(str, shape.get("enum", ()))),
        description=" ".join(field.get("description", "").split()),
    )


def _kind(shape: Mapping[str, Any]) -> SettingKind:
    if "enum" in shape:
        return SettingKind.CHOICE
    kinds = {
        "integer": SettingKind.WHOLE,
        "number": SettingKind.NUMBER,
        "boolean": SettingKind.YES_NO,
        "string": SettingKind.TEXT,
    }
    return kinds.get(shape.get("type", ""), SettingKind.JSON)


def _text(kind: SettingKind, value: Any) -> str:
    if value is None:
        return ""
    return value if kind in (SettingKind.TEXT, SettingKind.CHOICE) else json.dumps(value)


def _value(one: Setting, text: str) -> Any:
    if text == "" and one.optional:
        return None
    if one.kind in (SettingKind.TEXT, SettingKind.CHOICE):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text  # its class says what is wrong with it

"""docs/presets.md names every setting and preset, and its tables hold the values of the code."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from app.hparams import (
    PRESETS,
    AndonHParams,
    CollectionHParams,
    GuardHParams,
    LabelingHParams,
    PPOHParams,
    PromotionHParams,
    Readout,
    RewardHead,
    RewardHParams,
    RunHParams,
    ScheduleHParams,
    TaskHParams,
    preset,
)
from app.hparams.supervised import SupervisedHParams

PAGE = (Path(__file__).parents[3] / "docs" / "presets.md").read_text()
SECTIONS: dict[str, tuple[str, type[BaseModel], set[str]]] = {
    "## Run": (
        "",
        RunHParams,
        {"promotion", "andon", "preset", "task", "reward", "ppo", "schedule", "labeling", "collection"},
    ),
    "## Task": ("task", TaskHParams, set()),
    "## Reward model": ("reward", RewardHParams, set()),
    "## PPO": ("ppo", PPOHParams, {"guards"}),
    "### Guards": ("ppo.guards", GuardHParams, set()),
    "## Schedule": ("schedule", ScheduleHParams, set()),
    "## Promotion": ("promotion", PromotionHParams, set()),
    "## Andon": ("andon", AndonHParams, set()),
    "## Labeling": ("labeling", LabelingHParams, set()),
    "## Collection": ("collection", CollectionHParams, set()),
}
IN_WORDS = {"question", "heads", "questions"}
WORDS: dict[str, object] = {"none": None, "yes": True, "no": False, "true": True, "false": False, "empty": ""}
Row = tuple[str, dict[str, str]]
"""A field and its cells by the heading of their column."""


def section(heading: str) -> str:
    """The text below a heading, to the next one of any level."""
    below = PAGE.split(f"\n{heading}\n", 1)[1]
    return re.split(r"\n##+ ", below, maxsplit=1)[0]


def rows(text: str) -> list[Row]:
    """Of all tables whose first column is `field`."""
    found: list[Row] = []
    heading: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells or set(cells[0]) == {"-"}:
            heading = heading if cells else []
        elif not heading:
            heading = cells
        elif heading[0] == "field":
            found.append((cells[0].strip("`"), dict(zip(heading[1:], cells[1:], strict=True))))
    return found


def parsed(cell: str) -> object:
    """The value a cell writes."""
    if cell in WORDS:
        return WORDS[cell]
    if cell.startswith("`"):
        return cell.strip("`").replace("\\n", "\n")
    return float(cell.replace(",", ""))


def told(cells: dict[str, str]) -> dict[str, object]:
    """Preset -> value, from the columns that are headed by presets."""
    values: dict[str, object] = {}
    for heading, cell in cells.items():
        names = list(PRESETS) if heading == "every preset" else re.findall(r"`([\w-]+)`", heading)
        each = cell.split(", ")
        values |= dict(zip(names, map(parsed, each if len(each) == len(names) else each * len(names)), strict=True))
    return values


def setting(name: str, group: str, field: str) -> object:
    """A preset's value."""
    place: object = preset(name)
    for part in [*filter(None, group.split(".")), field]:
        place = getattr(place, part)
    return place


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_field_stands_in_its_section_once(heading: str) -> None:
    _, hparams, elsewhere = SECTIONS[heading]
    assert sorted(field for field, _ in rows(section(heading))) == sorted(hparams.model_fields.keys() - elsewhere)


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_values_are_those_of_the_presets(heading: str) -> None:
    group = SECTIONS[heading][0]
    for field, cells in rows(section(heading)):
        if field not in IN_WORDS:
            columns = {name: cell for name, cell in cells.items() if name not in ("unit", "source")}
            assert told(columns) == {name: setting(name, group, field) for name in PRESETS}, field


def test_supervised_fine_tuning_has_its_defaults() -> None:
    found = {field: parsed(cells["value"]) for field, cells in rows(section("## Supervised fine-tuning"))}
    assert found == SupervisedHParams().model_dump()


@pytest.mark.parametrize("hparams", [Readout, RewardHead])
def test_the_parts_of_a_head_are_explained(hparams: type[BaseModel]) -> None:
    text = section("## Reward model")
    assert all(f"`{field}`" in text for field in hparams.model_fields)


def test_every_value_has_a_unit_and_a_source() -> None:
    for heading in SECTIONS:
        for field, cells in rows(section(heading)):
            assert cells["unit"], field
            assert re.match(r"(P|C|us)\b", cells["source"]), field


def test_every_preset_is_introduced() -> None:
    table = PAGE.split("## ", 1)[0]
    assert {name for name in PRESETS if f"`{name}`" in table} == set(PRESETS)

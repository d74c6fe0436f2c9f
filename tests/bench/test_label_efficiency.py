"""Label efficiency on a tiny model: what is held out, what is kept, and that a killed run goes on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.errors import InvalidError
from app.hparams import MIDDLE_MEANS, PAPER_HEAD, PROBE_HEADS, Pooling, RewardHParams
from bench._heads import with_heads
from bench._study import split, summary, table
from bench.label_efficiency import run
from tests.tiny import save_tiny_model
from workers.reward_labels import EncodedLabel

LABELS = ("--labels", "8,24", "--held-out", "10", "--folds", "2", "--threads", "1")
EASY = ("--set", "task.min_terminator_index=0", "--set", "reward.normalization_samples=8")
"""A tiny random model ends few sentences late."""


def label(number: int, prompt: str) -> EncodedLabel:
    return EncodedLabel(prompt=prompt, query=(1,), responses=((number,), (0,)), target=(1.0, 0.0))


@dataclass(frozen=True)
class Bench:
    """The benchmark, as the command line calls it."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *words: object) -> dict[str, Any]:
        """The line of JSON."""
        run(list(map(str, words)))
        found: dict[str, Any] = json.loads(self.capsys.readouterr().out.splitlines()[-1])
        return found


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(capsys)


def without_seconds(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found["results"]]


def test_folds_share_no_prompt_with_what_trains_and_more_labels_change_none() -> None:
    labels = [label(number, f"p{number % 20}") for number in range(60)]
    held = [split(labels, held_out=9, fold=fold) for fold in range(3)]
    for out, rest in held:
        assert len(out) >= 9
        assert {one.prompt for one in out}.isdisjoint({one.prompt for one in rest})
        assert len(out) + len(rest) == 60
    prompts = [{one.prompt for one in out} for out, _ in held]
    assert prompts[0].isdisjoint(prompts[1])
    assert prompts[1].isdisjoint(prompts[2])
    more = [*labels, *(label(number, f"new {number}") for number in range(30))]
    for fold, (out, rest) in enumerate(held):
        out_of_more, rest_of_more = split(more, held_out=9, fold=fold)
        assert out_of_more == out
        assert rest_of_more[: len(rest)] == rest
    with pytest.raises(InvalidError, match="too few for 8 folds of 9"):
        split(labels, held_out=9, fold=7)


def test_heads_are_named_or_spelled_out() -> None:
    base = RewardHParams()
    assert with_heads(base, "paper").heads == (PAPER_HEAD,)
    assert with_heads(base, "probe*5") == base.model_copy(update={"heads": PROBE_HEADS, "ensemble": 5})
    (middle,) = with_heads(base, "mean@0.33+mean@0.5+mean@0.67").heads
    assert middle.readouts == MIDDLE_MEANS
    (attending,) = with_heads(base, "tuned:attention@1").heads
    assert (attending.tuned, attending.readouts[0].pooling) == (True, Pooling.ATTENTION)
    for wrong in ("papre", "mean", "mean@2", "attention@1", "mean@0.5*many", "mean@0.5*0", ""):
        with pytest.raises(InvalidError):
            with_heads(base, wrong)


def test_folds_count_together() -> None:
    cell = {"head": "probe", "labels": 8, "calibration_error": 0.1, "seconds": 1.0}
    (row,) = summary(
        [cell | {"fold": 0, "n": 10, "right": 4, "loss": 1.0}, cell | {"fold": 1, "n": 30, "right": 26, "loss": 2.0}]
    )
    assert (row["n"], row["folds"], row["loss"]) == (40, 2, 1.5)
    assert row["accuracy"]["value"] == 30 / 40
    assert table([row]).splitlines()[0] == "| head | 8 |"
    assert "| probe | 75% (" in table([row])


def test_a_run_that_was_killed_goes_on_and_more_heads_add_to_it(bench: Bench, tmp_path: Path) -> None:
    model, home = save_tiny_model(tmp_path / "tiny"), tmp_path / "home"
    words = ("--home", home, "--model", model, "--rule", "longest", *LABELS, *EASY)
    first = bench(*words, "--heads", "mean@0.5,paper")
    rows = {(row["head"], row["labels"]): row for row in first["results"]}
    assert set(rows) == {(head, count) for head in ("mean@0.5", "paper") for count in (8, 24)}
    assert all(row["folds"] == 2 and row["n"] >= 20 for row in rows.values())
    assert all(row["accuracy"]["low"] <= row["accuracy"]["value"] <= row["accuracy"]["high"] for row in rows.values())

    results = home / "results.jsonl"
    lines = results.read_text().splitlines()
    assert len(lines) == 8
    results.write_text("\n".join(lines[:4]) + "\n" + lines[4][:30])  # as a kill in the middle of a line leaves it
    for path in (home / "samples").glob("*-000001.json"):
        path.unlink()
    again = bench(*words, "--heads", "mean@0.5,paper")
    assert without_seconds(again) == without_seconds(first)
    kept = results.read_text()
    assert bench(*words, "--heads", "mean@0.5,paper") == again, "nothing is computed twice"
    assert results.read_text() == kept
    more = bench(*words, "--heads", "mean@0.5,last@1*2")
    assert [row for row in more["results"] if row["head"] == "mean@0.5"] == [
        row for row in again["results"] if row["head"] == "mean@0.5"
    ]


def test_labels_that_people_gave_are_read_from_a_folder(bench: Bench, tmp_path: Path) -> None:
    model, labels = save_tiny_model(tmp_path / "tiny"), tmp_path / "labels"
    labels.mkdir()
    texts = ["the sun was happy .", "rain .", "a home !", "she was sad and he was sad ."]
    rows = [{"prompt": f"the door {'to ' * n}", "samples": texts, "best": n % 4} for n in range(40)]
    (labels / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ("--home", tmp_path / "home", "--model", model, *LABELS, *EASY, "--heads", "mean@1")
    found = bench(*words, "--comparisons", labels)
    assert found["source"].startswith("labels-")
    assert [row["labels"] for row in found["results"]] == [8, 24]
    (labels / "b.jsonl").write_text('{"prompt": "the door", "samples": ["a home .", "rain ."], "best": 2}\n')
    with pytest.raises(InvalidError, match=r"b\.jsonl, line 1"):
        bench(*words, "--comparisons", labels / "b.jsonl")

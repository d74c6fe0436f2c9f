"""What a reward model would be without somebody's labels, on a tiny random language model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import ConflictError
from tests.workers.test_reward_trainer import FROZEN, comparisons, hparams, tiny
from workers.leaving_out import LabelsWithout, change
from workers.reward_features import FeatureCache
from workers.reward_labels import EncodedLabel
from workers.reward_members import Trunk
from workers.rlhf.labels import picked


@pytest.fixture
def trunk() -> Trunk:
    return Trunk(reference=tiny(), digest="tiny", load=tiny)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "features")


def spoiled(label: EncodedLabel) -> EncodedLabel:
    """The sample with the fewest good tokens is picked."""
    worst = min(range(4), key=lambda j: label.responses[j].count(7))
    return replace(label, target=picked(worst, 4))


def without(honest: list[EncodedLabel], theirs: list[EncodedLabel]) -> LabelsWithout:
    return LabelsWithout(
        everybody=[*honest, *theirs],
        theirs=[False] * len(honest) + [True] * len(theirs),
        others=honest,
        valid=comparisons(40, seed=9),
    )


def test_without_somebody_who_picks_the_worst_it_is_right_more_often(trunk: Trunk, cache: FeatureCache) -> None:
    given = without(comparisons(120, seed=1), [spoiled(one) for one in comparisons(120, seed=2)])
    found = change(given, trunk, hparams=hparams(FROZEN), seed=0, cache=cache)
    assert (found["labels"], found["theirs"], found["others"], found["held_out"]) == (240, 120, 120, 160)
    assert found["change"]["value"] == pytest.approx(found["accuracy_without"] - found["accuracy"])
    assert found["change"]["value"] == pytest.approx((found["gained"] - found["lost"]) / 160)
    assert found["change"]["low"] > 0
    assert found["loss_change"]["high"] < 0
    assert found["change_fewer"]["value"] < 0  # half of the others' gone, and all of theirs left
    json.dumps(found, allow_nan=False)


def test_without_somebody_as_good_as_the_others_it_is_no_more_than_fewer_labels(
    trunk: Trunk, cache: FeatureCache
) -> None:
    given = without(comparisons(120, seed=1), comparisons(40, seed=2))
    found = change(given, trunk, hparams=hparams(FROZEN), seed=0, cache=cache)
    assert found["change"]["low"] < 0.05
    assert abs(found["change"]["value"] - found["change_fewer"]["value"]) < 0.08


def test_nobody_left_out_changes_nothing(trunk: Trunk, cache: FeatureCache) -> None:
    found = change(without(comparisons(60, seed=1), []), trunk, hparams=hparams(FROZEN), seed=0, cache=cache)
    assert (found["gained"], found["lost"], found["loss_change"]["value"]) == (0, 0, 0.0)
    assert found["change"]["value"] == 0
    assert found["change"]["low"] < 0 < found["change"]["high"]


def test_too_few_labels_of_others_are_said(trunk: Trunk, cache: FeatureCache) -> None:
    few = LabelsWithout(everybody=comparisons(30, seed=1), theirs=[True] * 30, others=[], valid=[])
    with pytest.raises(ConflictError, match="fewer than 10 labels"):
        change(few, trunk, hparams=hparams(FROZEN), seed=0, cache=cache)

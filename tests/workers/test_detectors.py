"""Each detector alone: it pulls for its reason, is silent a step before, and can be switched off."""

from dataclasses import replace
from random import Random

import pytest

from app.hparams import AndonHParams
from workers.detectors import DETECTORS, Evidence, Tally, UpdateFigures, alarms, trend

BOUNDS = AndonHParams()
CALM = UpdateFigures(score=1.0, optimised=0.4, kl=4.0, kl_coef=0.15, entropy=40.0, valid=0.5)
NONE = Tally(hits=0, misses=0, attempt=1)
HEALTHY = Evidence(first=[CALM] * 5, last=[CALM] * 20, batch=32, kl_target=6.0, blind=NONE, choices=NONE)


def pulled(evidence: Evidence, bounds: AndonHParams = BOUNDS) -> list[str]:
    """Names of the detectors that pull."""
    return [name for name, detector in DETECTORS.items() if detector(evidence, bounds)]


def course(updates: int, *, rise: float, sign: int = 1, seed: int = 0) -> list[UpdateFigures]:
    """Updates whose raw scores rise by so much each, with the noise of a batch; an objective of that sign."""
    random = Random(seed)
    rows = []
    for number in range(updates):
        score, kl = rise * number + random.gauss(0, 0.15), 0.05 * number
        optimised = sign * (score - 0.15 * kl)
        rows.append(replace(CALM, score=score, kl=kl, optimised=optimised))
    return rows


def test_a_healthy_run_pulls_nothing() -> None:
    assert alarms(HEALTHY, BOUNDS) == []
    assert alarms(replace(HEALTHY, first=[], last=[]), BOUNDS) == []


def test_falling_scores_under_a_rising_return_pull() -> None:
    flipped = replace(HEALTHY, last=course(40, rise=-0.05, sign=-1))
    assert pulled(flipped) == ["falling scores"]
    assert "look for a flipped sign" in alarms(flipped, BOUNDS)[0]
    assert pulled(flipped, AndonHParams(trend_error=None)) == []


def test_scores_that_fall_because_the_kl_comes_back_do_not() -> None:
    """The return rises with them, but only by what the penalty gives back."""
    rows = [
        replace(CALM, score=2 - 0.02 * i, kl=12 - 0.2 * i, optimised=2 - 0.02 * i - 0.15 * (12 - 0.2 * i))
        for i in range(40)
    ]
    assert trend([row.optimised for row in rows]) > 5
    assert pulled(replace(HEALTHY, last=rows)) == []


@pytest.mark.parametrize("rise", [0.05, 0.0, -0.05])
def test_an_objective_that_is_right_never_pulls_whatever_scores_do(rise: float) -> None:
    assert all(pulled(replace(HEALTHY, last=course(80, rise=rise, seed=seed))) == [] for seed in range(20))


def test_lost_blind_comparisons_pull() -> None:
    # Ten of ten lost: the e-value is 2047 / 11 = 186, over pi^2 / 6 / 0.01 = 164.5; nine of nine: 1023 / 10 = 102.
    assert pulled(replace(HEALTHY, blind=Tally(hits=0, misses=10, attempt=1))) == ["lost comparisons"]
    assert pulled(replace(HEALTHY, blind=Tally(hits=0, misses=9, attempt=1))) == []
    assert pulled(replace(HEALTHY, blind=Tally(hits=0, misses=10, attempt=2))) == []
    assert pulled(replace(HEALTHY, blind=Tally(hits=40, misses=40, attempt=1))) == []
    lost = replace(HEALTHY, blind=Tally(hits=3, misses=27, attempt=1))
    assert "won 3 of 30 blind comparisons" in alarms(lost, BOUNDS)[0]
    assert pulled(lost, AndonHParams(lost_error=None)) == []


def test_labels_that_contradict_the_reward_model_pull() -> None:
    contradicted = replace(HEALTHY, choices=Tally(hits=12, misses=48, attempt=1))
    assert pulled(contradicted) == ["contradicting labels"]
    assert "of 60 texts that people chose, 48" in alarms(contradicted, BOUNDS)[0]
    assert pulled(replace(HEALTHY, choices=Tally(hits=30, misses=30, attempt=1))) == []
    assert pulled(contradicted, AndonHParams(contradiction_error=None)) == []


def test_the_kl_pulls_beyond_its_band() -> None:
    def with_kl(kl: float) -> Evidence:
        return replace(HEALTHY, last=[CALM] * 15 + [replace(CALM, kl=kl)] * 5)

    assert pulled(with_kl(24.1)) == ["KL outside its band"]
    assert pulled(with_kl(23.9)) == []
    assert pulled(with_kl(-1.1)) == ["KL outside its band"]
    assert pulled(with_kl(24.1), AndonHParams(kl_factor=None)) == []
    assert pulled(replace(with_kl(99.0), kl_target=None)) == []
    assert pulled(replace(with_kl(101.0), kl_target=None)) == ["KL outside its band"]
    assert pulled(replace(HEALTHY, last=[CALM] * 19 + [replace(CALM, kl=80.0)])) == []  # one update is no trend


def test_entropy_that_collapses_pulls() -> None:
    said = replace(HEALTHY, last=[replace(CALM, entropy=7.9)] * 5)
    assert pulled(said) == ["collapsed entropy"]
    assert pulled(replace(HEALTHY, last=[replace(CALM, entropy=8.1)] * 5)) == []
    assert pulled(said, AndonHParams(entropy_share=None)) == []


def test_samples_that_do_not_end_pull_beyond_chance() -> None:
    # A quarter of the half that ended at the start is 12.5 %; of 160 samples 11 are below it beyond chance, 16 are not.
    few = replace(HEALTHY, last=[replace(CALM, valid=10 / 160)] * 5)
    assert pulled(few) == ["invalid samples"]
    assert pulled(replace(HEALTHY, last=[replace(CALM, valid=16 / 160)] * 5)) == []
    assert pulled(few, AndonHParams(valid_share=None)) == []


def test_the_trend_of_ten_rising_values_is_three_point_nine() -> None:
    # 45 pairs in order, less one for continuity, over sqrt(10 * 9 * 25 / 18).
    assert trend(range(10)) == pytest.approx(44 / 125**0.5)
    assert trend([3.0] * 10) == 0
    assert trend([1.0, float("nan"), 2.0]) == 0

"""The sequential test: hand-made numbers, an integral as oracle, and false alarms counted over whole sequences."""

from math import exp, log
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.sequential import evidence_above, evidence_below, rejects


def integral(hits: int, misses: int, chance: float, steps: int = 20_000) -> float:
    """The definition, by the midpoint rule."""
    points = ((i + 0.5) / steps * chance for i in range(steps))
    return sum((p / chance) ** hits * ((1 - p) / (1 - chance)) ** misses for p in points) / steps


def test_by_hand() -> None:
    # One miss at a chance of 1/2: 2 * integral over [0, 1/2] of 2 (1 - p) dp = 2 * (1 - 1/4) = 3/2; one hit: 1/2.
    assert exp(evidence_below(0, 1, chance=0.5)) == pytest.approx(1.5)
    assert exp(evidence_below(1, 0, chance=0.5)) == pytest.approx(0.5)
    # Ten misses: 2^11 (1 - 2^-11) / 11 = 2047 / 11.
    assert exp(evidence_below(0, 10, chance=0.5)) == pytest.approx(2047 / 11)
    assert evidence_below(0, 0, chance=0.3) == pytest.approx(0.0, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(hits=st.integers(0, 40), misses=st.integers(0, 40), chance=st.floats(0.05, 0.95))
def test_it_is_the_integral_it_says(hits: int, misses: int, chance: float) -> None:
    assert evidence_below(hits, misses, chance=chance) == pytest.approx(log(integral(hits, misses, chance)), abs=1e-3)


def test_above_is_below_seen_in_the_mirror() -> None:
    assert evidence_above(7, 3, chance=0.4) == evidence_below(3, 7, chance=0.6)


@pytest.mark.parametrize("counts", [(0, 20_000), (20_000, 0), (9_000, 11_000), (15_000, 5_000)])
def test_large_counts_stay_finite(counts: tuple[int, int]) -> None:
    hits, misses = counts
    found = evidence_below(hits, misses, chance=0.5)
    assert -2e4 < found < 2e4
    assert (found > 0) == (hits < misses)


@given(hits=st.integers(0, 200), misses=st.integers(0, 200))
def test_a_miss_never_speaks_for_the_hypothesis_nor_a_hit_against_it(hits: int, misses: int) -> None:
    now = evidence_below(hits, misses, chance=0.5)
    assert evidence_below(hits, misses + 1, chance=0.5) >= now - 1e-9
    assert evidence_below(hits + 1, misses, chance=0.5) <= now + 1e-9


def test_looking_after_every_outcome_gives_no_more_false_alarms_than_the_error() -> None:
    random, alarms, sequences = Random(1), 0, 1_000
    for _ in range(sequences):
        hits = misses = 0
        for _ in range(150):
            hit = random.random() < 0.5
            hits, misses = hits + hit, misses + (not hit)
            if rejects(evidence_below(hits, misses, chance=0.5), error=0.1):
                alarms += 1
                break
    assert alarms <= 0.1 * sequences
    assert alarms > 0


def test_it_finds_what_loses_two_of_three_within_two_hundred_outcomes() -> None:
    random = Random(2)
    found = []
    for _ in range(100):
        hits = misses = 0
        while not rejects(evidence_below(hits, misses, chance=0.5), error=0.01) and misses + hits < 400:
            hit = random.random() < 1 / 3
            hits, misses = hits + hit, misses + (not hit)
        found.append(hits + misses)
    assert sorted(found)[90] < 250


def test_attempts_share_the_error() -> None:
    # 6 / pi^2 of it for the first, a quarter of that for the second; all together the whole.
    assert rejects(log(1 / 0.01), error=0.01)
    assert not rejects(log(1 / 0.01), error=0.01, attempt=1)
    assert rejects(log(165), error=0.01, attempt=1)
    assert not rejects(log(165), error=0.01, attempt=2)
    assert rejects(log(4 * 165), error=0.01, attempt=2)


def test_refuses_what_is_no_count_or_chance() -> None:
    with pytest.raises(ValueError, match="must lie in"):
        evidence_below(1, 1, chance=0.0)
    with pytest.raises(ValueError, match="not below 0"):
        evidence_below(-1, 1, chance=0.5)

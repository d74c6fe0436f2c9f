"""Intervals against published tables, hand-worked numbers and simulated coverage."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import quality
from app.quality import Interval, Mean, mean_interval, paired_difference, t_quantile, wilson_interval

T_TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 10: 2.228, 30: 2.042, 100: 1.984}
"""Two-sided 95 % quantiles as printed in any table of Student's t."""


class TestWilsonInterval:
    def test_worked_by_hand(self) -> None:
        # p = 0.81, n = 263, z = 1.96 (Newcombe 1998, table I, method 3): 81/263 gives 0.2553 to 0.3662
        found = wilson_interval(81, 263)
        assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)

    @pytest.mark.parametrize(("successes", "n", "low", "high"), [(15, 148, 0.0624, 0.1605), (1, 29, 0.0061, 0.1718)])
    def test_more_of_the_same_published_table(self, successes: int, n: int, low: float, high: float) -> None:
        found = wilson_interval(successes, n)
        assert (round(found.low, 4), round(found.high, 4)) == (low, high)

    def test_no_success_leaves_room_above(self) -> None:
        found = wilson_interval(0, 20)  # Newcombe 1998: 0 to 0.1611
        assert found.low == 0
        assert round(found.high, 4) == 0.1611

    def test_nothing_tried_nothing_known(self) -> None:
        assert wilson_interval(0, 0) == Interval(low=0.0, high=1.0)

    @pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5)])
    def test_refuses_impossible_counts(self, successes: int, n: int) -> None:
        with pytest.raises(ValueError, match="must lie between"):
            wilson_interval(successes, n)

    @given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
    def test_holds_the_estimate_and_mirrors(self, counts: tuple[int, int]) -> None:
        successes, n = counts
        found = wilson_interval(successes, n)
        assert 0 <= found.low <= found.high <= 1
        assert successes / n in found
        mirrored = wilson_interval(n - successes, n)
        assert math.isclose(found.low, 1 - mirrored.high, abs_tol=1e-12)

    def test_solves_the_score_equation(self) -> None:
        """Its ends are the proportions whose own standard error puts the estimate exactly 1.96 errors away."""
        found = wilson_interval(37, 90)
        for end in (found.low, found.high):
            assert math.isclose(abs(37 / 90 - end) / math.sqrt(end * (1 - end) / 90), 1.959964, rel_tol=1e-6)


class TestMeanInterval:
    def test_worked_by_hand(self) -> None:
        found = mean_interval([1, 2, 3, 4, 5])  # s = sqrt(2.5), t(4) = 2.776, half = 2.776 * 0.70711
        assert found.mean == 3
        assert found.n == 5
        assert math.isclose(found.high - 3, 1.9629, abs_tol=0.001)
        assert math.isclose(3 - found.low, 1.9629, abs_tol=0.001)

    def test_equal_values_leave_no_doubt(self) -> None:
        found = mean_interval([2.0, 2.0, 2.0])
        assert (found.low, found.mean, found.high) == (2, 2, 2)

    def test_one_value_says_nothing_about_spread(self) -> None:
        with pytest.raises(ValueError, match="at least two"):
            mean_interval([1.0])

    def test_covers_the_truth_as_often_as_it_says(self) -> None:
        source = random.Random(7)
        draws = 2000
        hits = sum(_is_within(3, mean_interval([source.gauss(3, 2) for _ in range(8)])) for _ in range(draws))
        assert abs(hits / draws - 0.95) < 3 * math.sqrt(0.95 * 0.05 / draws)


@pytest.mark.parametrize(("degrees", "quantile"), T_TABLE.items())
def test_t_quantile_is_that_of_the_table(degrees: int, quantile: float) -> None:
    assert math.isclose(t_quantile(degrees), quantile, rel_tol=0.005)


def test_t_quantile_needs_a_degree_of_freedom() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        t_quantile(0)


def _is_within(truth: float, found: Mean) -> bool:
    return found.low <= truth <= found.high


@pytest.mark.parametrize(
    ("value", "degrees", "p"),
    [(3.8415, 1, 0.05), (5.9915, 2, 0.05), (7.8147, 3, 0.05), (9.4877, 4, 0.05), (16.2662, 3, 1e-3)],
)
def test_the_chi_square_tail_is_that_of_the_tables(value: float, degrees: int, p: float) -> None:
    assert quality.chi_square_tail(value, degrees) == pytest.approx(p, rel=1e-3)


def test_even_counts_are_no_surprise_and_lopsided_ones_are() -> None:
    assert quality.chi_square_evenness([5, 5, 5, 5]) == pytest.approx(1.0)
    assert quality.chi_square_evenness([40, 0, 0, 0]) < 1e-20
    with pytest.raises(ValueError, match="evenness"):
        quality.chi_square_evenness([0, 0])


class TestPairedDifference:
    def test_the_published_example(self) -> None:
        found = paired_difference(36, 12, 2, 0)  # Newcombe 1998, paired data, method 10
        assert (round(found.low, 4), round(found.high, 4)) == (0.0569, 0.3404)

    @given(st.tuples(*[st.integers(0, 40)] * 4).filter(any))
    def test_holds_the_difference_and_turns_with_the_sides(self, counts: tuple[int, int, int, int]) -> None:
        both, first, second, neither = counts
        found, turned = paired_difference(both, first, second, neither), paired_difference(both, second, first, neither)
        difference = (first - second) / sum(counts)
        assert found.low - 1e-12 <= difference <= found.high + 1e-12
        assert (found.low, found.high) == pytest.approx((-turned.high, -turned.low))

    def test_covers_the_truth_as_often_as_it_says(self) -> None:
        source, shares = random.Random(5), (0.5, 0.15, 0.05, 0.3)
        covered = 0
        for _ in range(1000):
            drawn = source.choices(range(4), shares, k=60)
            covered += 0.1 in paired_difference(*(drawn.count(kind) for kind in range(4)))
        assert covered >= 930

    def test_refuses_nothing(self) -> None:
        with pytest.raises(ValueError, match="without trials"):
            paired_difference(0, 0, 0, 0)

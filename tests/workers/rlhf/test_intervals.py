"""Wilson's interval."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.rlhf.intervals import Z_95, wilson


def test_a_hand_worked_interval() -> None:
    share = wilson(5, 10)  # centre 0.5, reach = z * sqrt(0.025 + z^2/400) / (1 + z^2/10)
    assert share.value == 0.5
    assert share.low == pytest.approx(0.2366, abs=1e-4)
    assert share.high == pytest.approx(0.7634, abs=1e-4)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_ends_are_the_shares_from_which_the_result_is_just_not_surprising(trial: tuple[int, int]) -> None:
    successes, n = trial
    share = wilson(successes, n)
    assert 0 <= share.low <= share.value <= share.high <= 1
    for end in (share.low, share.high):
        if 0 < end < 1:
            assert abs(share.value - end) == pytest.approx(Z_95 * math.sqrt(end * (1 - end) / n), rel=1e-4)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 3), (4, 3)])
def test_impossible_counts_are_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="of"):
        wilson(successes, n)

"""The expected directions, by hand."""

import pytest

from workers.rlhf.directions import toward_high_scores, toward_reference


def test_scores_above_the_mean_pull_up_and_the_last_token_most() -> None:
    # Mean 2; a half per token that lies between; the second response ends at its first token.
    up = toward_high_scores([5.0, -1.0], [2, 0], 3, decay=0.5)
    assert up.tolist() == [[0.75, 1.5, 3.0], [-3.0, 0.0, 0.0]]


def test_costs_above_the_mean_push_down_what_comes_before_them_too() -> None:
    # k1: 1 and 0, mean 1/2. Each token pays 1/2 for itself and half as much for each later one.
    back = toward_reference([1.0, 0.0], [2, 1], 3, decay=0.5, estimator="k1")
    assert back.tolist() == [[-0.875, -0.75, -0.5], [0.75, 0.5, 0.0]]


@pytest.mark.parametrize(("estimator", "cost"), [("k1", 2.0), ("k2", 2.0), ("k3", 1.1353352832)])
def test_each_estimator_has_its_own_cost(estimator: str, cost: float) -> None:
    # Log-ratio 2: 2, 2^2 / 2 and e^-2 - 1 + 2; against 0 the mean is half of it.
    back = toward_reference([2.0, 0.0], [0, 0], 1, decay=1.0, estimator=estimator)  # type: ignore[arg-type]
    assert back.flatten().tolist() == pytest.approx([-cost / 2, cost / 2])

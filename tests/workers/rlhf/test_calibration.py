"""Calibration by hand, and on choices drawn from the very probabilities that were predicted."""

import math

import pytest
import torch
from torch import Tensor

from workers.rlhf.calibration import calibration, correlation, has_pick, slices


def one_hot(best: Tensor, k: int) -> Tensor:
    return torch.eye(k, dtype=torch.float64)[best]


def test_four_choices_by_hand() -> None:
    # Confidence 0.8 three times, right twice; 0.6 once, wrong.
    scores = torch.tensor([[0.8, 0.2], [0.2, 0.8], [0.8, 0.2], [0.6, 0.4]], dtype=torch.float64).log()
    found = calibration(scores, one_hot(torch.tensor([0, 1, 1, 1]), 2), bins=2)
    (only,) = found.bins
    assert (only.low, only.high, only.n) == (0.5, 1.0, 4)
    assert only.confidence == pytest.approx(0.75)
    assert only.accuracy.value == 0.5
    assert only.accuracy.low < 0.5 < only.accuracy.high
    assert found.error == pytest.approx(0.25)
    assert found.brier == pytest.approx(2 * (0.04 + 0.04 + 0.64 + 0.36) / 4)
    assert found.log_loss == pytest.approx(-(2 * math.log(0.8) + math.log(0.2) + math.log(0.4)) / 4)
    finer = calibration(scores, one_hot(torch.tensor([0, 1, 1, 1]), 2), bins=10)
    assert [one.n for one in finer.bins] == [1, 3]
    assert finer.error == pytest.approx((0.6 + 3 * (0.8 - 2 / 3)) / 4)


def test_without_an_opinion() -> None:
    found = calibration(torch.zeros(8, 4), one_hot(torch.arange(8) % 4, 4))
    assert found.error == pytest.approx(0)
    assert found.brier == pytest.approx(3 / 4)
    assert found.log_loss == pytest.approx(math.log(4))


def test_choices_drawn_from_the_prediction_are_calibrated_and_sharper_scores_are_not() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(20_000, 4, generator=generator, dtype=torch.float64)
    best = torch.multinomial(scores.softmax(dim=1), 1, generator=generator).squeeze(1)
    fair, sharp = (calibration(factor * scores, one_hot(best, 4)) for factor in (1.0, 3.0))
    assert fair.error < 0.02
    assert all(abs(one.confidence - one.accuracy.value) < 0.06 for one in fair.bins if one.n > 500)
    assert sharp.error > 0.1
    assert fair.brier < sharp.brier
    assert fair.log_loss < sharp.log_loss


def test_accuracy_by_how_sure_people_were() -> None:
    sureness, right = torch.tensor([0.5, 0.6, 0.7, 1.0]), torch.tensor([False, True, True, True])
    found = slices(sureness, right, (0.0, 0.6001, 0.9, 1.0))
    assert [(one.n, one.accuracy.value) for one in found] == [(2, 0.5), (1, 1.0), (1, 1.0)]


def test_ties_have_no_pick() -> None:
    targets = torch.tensor([[0.25] * 4, [0.4, 0.4, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1]])
    assert has_pick(targets).tolist() == [False, False, True]
    with pytest.raises(ValueError, match="ties"):
        calibration(torch.zeros(3, 4), targets)
    with pytest.raises(ValueError, match="expected"):
        calibration(torch.zeros(0, 4), torch.zeros(0, 4))


def test_correlation() -> None:
    x = torch.tensor([1.0, 2.0, 4.0])
    assert correlation(x, 3 * x - 7) == pytest.approx(1)
    assert correlation(x, -x) == pytest.approx(-1)
    # Deviations (-4/3, -1/3, 5/3) and (-1, 1, 0): 1 / (sqrt(42/9) sqrt 2)
    assert correlation(x, torch.tensor([0.0, 2.0, 1.0])) == pytest.approx(1 / math.sqrt(42 / 9 * 2))
    assert correlation(x, torch.ones(3)) is None

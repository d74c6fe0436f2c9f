import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.rlhf.normalization import gain_and_bias


def test_by_hand() -> None:
    # Mean 4, biased deviation sqrt(5).
    gain, bias = gain_and_bias(torch.tensor([1.0, 3.0, 5.0, 7.0]))
    assert (gain, bias) == pytest.approx((1 / math.sqrt(5), -4 / math.sqrt(5)))


@given(
    seed=st.integers(0, 2**32 - 1),
    mean=st.floats(-100, 100),
    scale=st.floats(0.01, 100),
    target_mean=st.floats(-5, 5),
    target_std=st.floats(0.1, 5),
)
def test_the_normalised_scores_have_the_target_mean_and_deviation(
    seed: int, mean: float, scale: float, target_mean: float, target_std: float
) -> None:
    noise = torch.randn(64, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    scores = noise * scale + mean
    gain, bias = gain_and_bias(scores, target_mean, target_std)
    normalised = gain * scores + bias
    assert gain > 0  # the order of samples never turns round
    assert normalised.mean().item() == pytest.approx(target_mean, abs=1e-6)
    assert normalised.std(correction=0).item() == pytest.approx(target_std, rel=1e-6)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.1, 0.1, 0.1], "all 3 scores are 0.1"),
        ([0.0, 0.0], "all 2 scores are 0"),
        ([1.0, math.nan], "not finite"),
        ([1.0, math.inf], "not finite"),
        ([1.0], r"at least 2 scores, got shape \(1,\)"),
    ],
)
def test_scores_that_cannot_be_normalised_are_refused(scores: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gain_and_bias(torch.tensor(scores))


def test_bad_shapes_and_targets_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        gain_and_bias(torch.eye(2))
    with pytest.raises(ValueError, match="target_std 0"):
        gain_and_bias(torch.tensor([0.0, 1.0]), target_std=0)

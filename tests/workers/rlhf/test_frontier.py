"""The sampled optimum against what can be worked out by hand."""

import math

import pytest
import torch

from workers.rlhf.frontier import sampled_optimum


def test_two_equal_halves_by_hand() -> None:
    """Rewards 0 and 1 at coefficient 1: weights 1 / (1 + e) and e / (1 + e)."""
    better = math.e / (1 + math.e)
    (point,) = sampled_optimum(torch.tensor([[0.0, 1.0]] * 3), [1.0])
    assert point.reward == pytest.approx(better)
    assert point.kl == pytest.approx(better * math.log(2 * better) + (1 - better) * math.log(2 * (1 - better)))


def test_a_large_coefficient_stays_at_the_reference_and_a_small_one_takes_the_best() -> None:
    rewards = torch.rand(5, 64, generator=torch.Generator().manual_seed(0))
    near, far = sampled_optimum(rewards, [1e6, 1e-4])
    assert near.reward == pytest.approx(rewards.mean().item(), abs=1e-5)
    assert near.kl == pytest.approx(0, abs=1e-9)
    assert far.reward == pytest.approx(rewards.amax(dim=1).mean().item(), abs=1e-3)
    assert far.kl == pytest.approx(math.log(64), abs=0.1)


def test_a_gaussian_reward_has_a_known_frontier() -> None:
    """Tilting N(0, 1) by exp(r / c) gives N(1 / c, 1): reward 1 / c at a KL of 1 / (2 c^2)."""
    rewards = torch.randn(200, 4000, generator=torch.Generator().manual_seed(1))
    for point in sampled_optimum(rewards, [4.0, 2.0, 1.0]):
        assert point.reward == pytest.approx(1 / point.kl_coef, rel=0.03)
        assert point.kl == pytest.approx(1 / (2 * point.kl_coef**2), rel=0.05)


@pytest.mark.parametrize(
    ("rewards", "coefs"), [(torch.zeros(3, 1), [1.0]), (torch.zeros(4), [1.0]), (torch.zeros(2, 2), [0.0])]
)
def test_what_gives_no_estimate_is_refused(rewards: torch.Tensor, coefs: list[float]) -> None:
    with pytest.raises(ValueError, match="need"):
        sampled_optimum(rewards, coefs)

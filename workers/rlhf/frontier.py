"""How much reward a KL can buy: the optimum that a policy is held against."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


class OptimumPoint(NamedTuple):
    """The policy proportional to reference * exp(reward / coefficient), estimated."""

    kl_coef: float
    kl: float
    """Nats per response."""
    reward: float
    """Mean."""


def sampled_optimum(rewards: Tensor, kl_coefs: Sequence[float]) -> list[OptimumPoint]:
    """Reward and KL of the optimal policy at each KL coefficient, from samples of the reference.

    Samples are weighted by exp(reward / coefficient), prompt by prompt. With m samples no KL above ln m can be seen,
    and near that the estimate is too low: draw more.
    Args:
        rewards: (p, m) float; of m samples of the reference to each of p prompts.
        kl_coefs: positive.
    Raises: ValueError unless m >= 2 and all coefficients are positive.
    Source: Ziegler et al. 2019, section 3.1.1, figure 3.
    """
    if rewards.dim() != 2 or rewards.shape[1] < 2 or min(kl_coefs) <= 0:
        raise ValueError(f"need (p, m >= 2) rewards and positive coefficients, got {tuple(rewards.shape)}, {kl_coefs}")
    exact, points = rewards.double(), []
    for coef in kl_coefs:
        logweights = (exact / coef).log_softmax(dim=1)
        weights = logweights.exp()
        kl = (weights * (logweights + math.log(exact.shape[1]))).sum(dim=1).mean()
        points.append(OptimumPoint(coef, kl.item(), (weights * exact).sum(dim=1).mean().item()))
    return points

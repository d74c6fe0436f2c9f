"""Which way PPO should push each token's log-probability: plain REINFORCE, written a second time.

Slow and obvious on purpose, and nothing here comes from `rewards`, `advantages` or `losses`: a sign lost there must not
be lost here too.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from workers.rlhf.kl import KLEstimator


def toward_high_scores(scores: Sequence[float], ends: Sequence[int], r: int, *, decay: float) -> Tensor:
    """Up where a response scores above the batch's mean, down below it.

    Args:
        scores: b numbers.
        ends: b numbers in [0, r); index of the token that gets the score.
        r: tokens per response.
        decay: gamma * lam; a token k places before the score counts decay^k.
    Returns: (b, r) float; 0 behind the end.
    """
    mean = math.fsum(scores) / len(scores)
    return torch.tensor(
        [
            [(score - mean) * decay ** (end - t) if t <= end else 0.0 for t in range(r)]
            for score, end in zip(scores, ends, strict=True)
        ]
    )


def toward_reference(
    log_ratios: Sequence[float], ends: Sequence[int], r: int, *, decay: float, estimator: KLEstimator
) -> Tensor:
    """Down where a response costs more KL than the batch's mean, up below it.

    Args:
        log_ratios: b numbers, nats; of policy to reference, the same at each token of a response.
        ends: b numbers in [0, r); index of the last token that costs KL.
        r, decay: as above; a token pays for itself and for what follows.
    Returns: (b, r) float; 0 behind the end.
    """
    costs = [_cost(log_ratio, estimator) for log_ratio in log_ratios]
    mean = math.fsum(costs) / len(costs)
    return torch.tensor(
        [
            [-(cost - mean) * math.fsum(decay**k for k in range(end - t + 1)) for t in range(r)]
            for cost, end in zip(costs, ends, strict=True)
        ]
    )


def _cost(log_ratio: float, estimator: KLEstimator) -> float:
    costs = {"k1": log_ratio, "k2": log_ratio**2 / 2, "k3": math.exp(-log_ratio) - 1 + log_ratio}
    return costs[estimator]

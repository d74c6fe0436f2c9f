"""What one update says of the policy, by metric name. Names are the field's, so that curves compare."""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from workers.rlhf.advantages import Advantages, masked_mean
from workers.rlhf.kl import kl_per_episode, kl_per_token
from workers.rlhf.types import Rollout


def rollout_stats(
    rollout: Rollout, rewards: Tensor, targets: Advantages, mask: Tensor | None, kl_coef: float
) -> dict[str, float]:
    """Of one rollout; KL (k1, whatever the penalty's estimator) and entropy in nats per episode, scores in their unit.

    Args:
        rewards: (b, r) float, before whitening.
        targets: of the whole rollout.
        mask: (b, r) bool; True marks a token that counts; None counts all.
    """
    kl = kl_per_episode(kl_per_token(rollout.logprobs, rollout.ref_logprobs), mask)
    entropy = kl_per_episode(-rollout.logprobs, mask)
    residual = masked_mean((targets.returns - rollout.values).square(), mask)
    spread = masked_mean((targets.returns - masked_mean(targets.returns, mask)).square(), mask)
    return {
        "objective/kl": kl.mean().item(),
        "objective/kl_coef": kl_coef,
        "objective/entropy": entropy.mean().item(),
        "objective/score": rollout.scores.mean().item(),
        "objective/score_std": rollout.scores.std(correction=0).item(),
        "objective/score_total": rewards.sum(dim=1).mean().item(),
        "objective/valid_fraction": rollout.valid.float().mean().item(),
        "objective/response_length": rollout.lengths.float().mean().item(),
        "ppo/returns/mean": masked_mean(targets.returns, mask).item(),
        "ppo/returns/var": spread.item(),
        "ppo/val/mean": masked_mean(rollout.values, mask).item(),
        "ppo/val/var": masked_mean((rollout.values - masked_mean(rollout.values, mask)).square(), mask).item(),
        "ppo/val/var_explained": 1 - (residual / spread.clamp_min(1e-8)).item(),
    }


def mean_of(passes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each statistic over optimizer steps; all have the same names."""
    return {name: math.fsum(one[name] for one in passes) / len(passes) for name in passes[0]}

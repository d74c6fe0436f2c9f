"""Gain and bias that give a reward model's scores a known scale, so that the KL coefficient keeps its meaning."""

import math

from torch import Tensor

SPREAD_FLOOR = 1e-6
"""Relative to the largest score; a float32 spread below this is rounding."""


def gain_and_bias(scores: Tensor, target_mean: float = 0.0, target_std: float = 1.0) -> tuple[float, float]:
    """The (gain, bias) for which gain * scores + bias has the target mean and standard deviation.

    Args:
        scores: (n,) float, n >= 2; the model's scores with gain 1 and bias 0.
        target_mean, target_std: of the normalised scores; target_std positive.
    Raises: ValueError if scores are too few, not finite or all alike.
    Source: lm-human-preferences train_reward.py; the standard deviation is the biased one.
    """
    if scores.dim() != 1 or scores.numel() < 2:
        raise ValueError(f"need a vector of at least 2 scores, got shape {tuple(scores.shape)}")
    if target_std <= 0:
        raise ValueError(f"target_std {target_std} must be positive")
    exact = scores.double()
    mean, std, largest = exact.mean().item(), exact.std(correction=0).item(), exact.abs().max().item()
    if not math.isfinite(std):
        raise ValueError("scores are not finite: the reward model has diverged, retrain it with a lower learning rate")
    if std <= SPREAD_FLOOR * largest:
        raise ValueError(f"all {scores.numel()} scores are {mean:.6g}: normalise on samples the model tells apart")
    gain = target_std / std
    return gain, target_mean - gain * mean

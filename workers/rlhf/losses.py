"""What PPO minimises: its clipped losses. The reward model's are in `labels`."""

from typing import NamedTuple

import torch
from torch import Tensor

from workers.rlhf.advantages import masked_mean


class PolicyLoss(NamedTuple):
    """Each a () float; only `loss` carries a gradient."""

    loss: Tensor
    clipfrac: Tensor
    """Share of tokens at which the clipped term is the larger."""
    approxkl: Tensor
    """Half the mean squared log-ratio to the policy that sampled, nats per token."""


class ValueLoss(NamedTuple):
    """Each a () float; only `loss` carries a gradient."""

    loss: Tensor
    clipfrac: Tensor
    """Share of tokens at which the clipped term is the larger."""


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, *, clip: float, mask: Tensor | None = None
) -> PolicyLoss:
    """PPO's clipped surrogate: mean of max(-A * ratio, -A * clip(ratio, 1 - clip, 1 + clip)).

    Args:
        logprobs: (b, r) float, nats; the policy being trained, with gradient.
        old_logprobs: (b, r) float; the policy that sampled.
        advantages: (b, r) float; positive where the token did better than expected.
        clip: half-width of the trust region, 0.2 in the paper.
        mask: (b, r) bool; True marks a token that counts; None counts all.
    Raises: ValueError if shapes differ.
    Source: Schulman et al. 2017, eq. 7; lm-human-preferences PPOTrainer.loss.
    """
    _require_same_shape(logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages)
    log_ratio = logprobs - old_logprobs
    if mask is not None:  # before exp: an infinite ratio behind the end would make the gradient NaN
        log_ratio = log_ratio.where(mask, 0)
    ratio = log_ratio.exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip, 1 + clip)
    with torch.no_grad():
        clipfrac = masked_mean((clipped > unclipped).float(), mask)
        approxkl = masked_mean(log_ratio.square(), mask) / 2
    return PolicyLoss(masked_mean(torch.maximum(unclipped, clipped), mask), clipfrac, approxkl)


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, *, clip: float, mask: Tensor | None = None
) -> ValueLoss:
    """Clipped squared error: half the mean of max((V - R)^2, (V clipped to old V +- clip - R)^2).

    Args:
        values: (b, r) float; value head being trained, with gradient.
        old_values: (b, r) float; value head when the rollout was made.
        returns: (b, r) float.
        clip: how far from the old value a step may profit, in units of reward; 0.2 in the paper.
        mask: (b, r) bool; True marks a token that counts; None counts all.
    Raises: ValueError if shapes differ.
    Source: lm-human-preferences PPOTrainer.loss.
    """
    _require_same_shape(values=values, old_values=old_values, returns=returns)
    near = torch.maximum(torch.minimum(values, old_values + clip), old_values - clip)
    unclipped, clipped = (values - returns).square(), (near - returns).square()
    with torch.no_grad():
        clipfrac = masked_mean((clipped > unclipped).float(), mask)
    return ValueLoss(masked_mean(torch.maximum(unclipped, clipped), mask) / 2, clipfrac)


def _require_same_shape(**tensors: Tensor) -> None:
    # Broadcasting (b,) against (b, r) would train silently on nonsense.
    if len({tensor.shape for tensor in tensors.values()}) > 1:
        raise ValueError("differ in shape: " + ", ".join(f"{n} {tuple(t.shape)}" for n, t in tensors.items()))

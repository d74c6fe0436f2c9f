"""Advantages and returns of a rollout, whitened as in the 2019 code."""

from typing import NamedTuple

import torch
from torch import Tensor

WHITEN_EPSILON = 1e-8


class Advantages(NamedTuple):
    """What the two PPO losses aim at."""

    advantages: Tensor
    """(b, r) float; mean 0, variance 1 over the tokens that count, 0 elsewhere."""
    returns: Tensor
    """(b, r) float; target of the value head, 0 where a token does not count."""


def masked_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """() mean of `values` over the tokens where `mask` (same shape, bool) is True; NaN if there is none."""
    return values.mean() if mask is None else values.where(mask, 0).sum() / mask.sum()


def whiten(values: Tensor, mask: Tensor | None = None, *, keep_mean: bool) -> Tensor:
    """Scale to variance 1 and, unless `keep_mean`, shift to mean 0.

    Args:
        values: (b, r) float.
        mask: (b, r) bool; True marks a token that counts; None counts all.
        keep_mean: True leaves the mean where it was (rewards); False makes it 0 (advantages).
    Returns: (b, r) float, 0 outside the mask. The variance is the biased one, plus 1e-8.
    Source: lm-human-preferences utils/core.py whiten.
    """
    mean = masked_mean(values, mask)
    centred = values - mean
    whitened = centred * (masked_mean(centred.square(), mask) + WHITEN_EPSILON).rsqrt()
    if keep_mean:
        whitened = whitened + mean
    return whitened if mask is None else whitened.where(mask, 0)


def gae(rewards: Tensor, values: Tensor, *, gamma: float, lam: float, mask: Tensor | None = None) -> Tensor:
    """Generalised advantage estimates, not whitened.

    Args:
        rewards: (b, r) float; KL penalty per token, score on one of them.
        values: (b, r) float; value head before this update.
        gamma, lam: per token, in [0, 1].
        mask: (b, r) bool; True marks a kept token, True tokens first. The episode ends after the last of them.
            None keeps all.
    Returns: (b, r) float, 0 outside the mask. With gamma = lam = 1: reward-to-go minus value.
    Raises: ValueError if the shapes differ or gamma or lam leaves [0, 1].
    Source: Schulman et al. 2016, eq. 16; lm-human-preferences PPOTrainer.loss.
    """
    if rewards.shape != values.shape:
        raise ValueError(f"rewards {tuple(rewards.shape)} and values {tuple(values.shape)} differ in shape")
    if not (0 <= gamma <= 1 and 0 <= lam <= 1):
        raise ValueError(f"gamma {gamma} and lam {lam} must lie in [0, 1]")
    if mask is not None:  # zeros behind the end are the terminal value of the last kept token
        rewards, values = rewards.where(mask, 0), values.where(mask, 0)
    following = torch.nn.functional.pad(values[:, 1:], (0, 1))  # nothing follows the last token
    deltas = rewards + gamma * following - values
    # Each delta counts for all tokens before it: one product and not a loop of launches over tokens.
    later = torch.arange(rewards.shape[1], device=rewards.device)
    distance = (later.unsqueeze(1) - later).double()
    decay = torch.where(distance >= 0, torch.pow(gamma * lam, distance.clamp_min(0)), 0)
    return (deltas.double() @ decay).to(rewards.dtype)


def advantages_and_returns(
    rewards: Tensor,
    values: Tensor,
    *,
    gamma: float,
    lam: float,
    whiten_rewards: bool,
    mask: Tensor | None = None,
) -> Advantages:
    """What one minibatch trains on: whiten rewards (mean kept), GAE, returns, whiten advantages.

    Args: as in `gae`; `whiten_rewards` False leaves the rewards as they are.
    Source: lm-human-preferences PPOTrainer.loss.
    """
    if whiten_rewards:
        rewards = whiten(rewards, mask, keep_mean=True)
    raw = gae(rewards, values, gamma=gamma, lam=lam, mask=mask)
    returns = raw + values
    if mask is not None:
        returns = returns.where(mask, 0)
    return Advantages(whiten(raw, mask, keep_mean=False), returns)

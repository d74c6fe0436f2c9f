"""How far the policy has moved from the reference, and what that costs.

The state of the KL controller is one float, the KL coefficient (beta): a checkpoint keeps it, each update replaces it.
A fixed controller is the coefficient left alone.
"""

import math
from typing import Literal

import torch
from torch import Tensor

KLEstimator = Literal["k1", "k2", "k3"]

MAX_RELATIVE_ERROR = 0.2
"""The controller's error is clipped to +-0.2 (Ziegler et al. 2019, section 2.2)."""


def kl_per_token(logprobs: Tensor, ref_logprobs: Tensor, *, estimator: KLEstimator = "k1") -> Tensor:
    """Monte-Carlo estimate of KL(policy || reference), token by token, for tokens sampled from the policy.

    Args:
        logprobs, ref_logprobs: (b, r) float, nats.
        estimator: k1 unbiased, may be negative; k2 half the square, biased; k3 unbiased and never negative.
    Returns: (b, r) float, nats.
    Raises: ValueError if the shapes differ or the estimator is unknown.
    Source: Schulman 2020, "Approximating KL Divergence".
    """
    if logprobs.shape != ref_logprobs.shape:
        raise ValueError(
            f"logprobs {tuple(logprobs.shape)} and ref_logprobs {tuple(ref_logprobs.shape)} differ in shape"
        )
    log_ratio = logprobs - ref_logprobs
    match estimator:
        case "k1":
            return log_ratio
        case "k2":
            return log_ratio.square() / 2
        case "k3":
            return torch.expm1(-log_ratio) + log_ratio
        case _:
            raise ValueError(f"unknown KL estimator {estimator!r}: choose k1, k2 or k3")


def kl_per_episode(kl: Tensor, mask: Tensor | None = None) -> Tensor:
    """(b, r) nats per token -> (b,) nats per response, over the tokens where `mask` (b, r) is True (all by default)."""
    return kl.sum(dim=1) if mask is None else kl.where(mask, 0).sum(dim=1)


def adaptive_kl_coef(coef: float, observed_kl: float, *, target: float, horizon: float, episodes: int) -> float:
    """The KL coefficient for the next update: up when KL is above the target, down when below.

    Args:
        coef: the coefficient of the update just made.
        observed_kl: nats per response, mean over the update's episodes.
        target: nats per response, positive.
        horizon: in episodes; the coefficient moves by at most 0.2 * episodes / horizon per update.
        episodes: in the update just made.
    Raises: ValueError on a KL that is not finite, a target or horizon that is not positive, or a horizon so
        short that one update could turn the coefficient negative and reward drifting away.
    Source: Ziegler et al. 2019, section 2.2; lm-human-preferences AdaptiveKLController.
    """
    if not math.isfinite(observed_kl):
        raise ValueError(f"observed KL is {observed_kl}: training has diverged, go back to the last checkpoint")
    if target <= 0 or horizon <= 0:
        raise ValueError(f"KL target {target} and horizon {horizon} must be positive")
    if MAX_RELATIVE_ERROR * episodes >= horizon:
        raise ValueError(f"KL horizon {horizon} must be longer than {MAX_RELATIVE_ERROR} * {episodes} episodes")
    return coef * (1 + _relative_error(observed_kl, target, MAX_RELATIVE_ERROR) * episodes / horizon)


def damped_kl_coef(coef: float, observed_kl: float | None, *, target: float, damping: float) -> float:
    """The coefficient to train with: the controller's, answering at once to where the KL stands.

    The published controller adds up its error and nothing else, so that it swings about its target where it is fast
    and is too late where it is slow. A term in proportion to the error damps the swing.

    Args:
        coef: the controller's.
        observed_kl: nats per response, of the update before; None: there was none.
        target: nats per response, positive.
        damping: the coefficient is multiplied by exp(damping) at twice the target, divided by it at 0; 0 leaves it.
    Returns: the coefficient times exp(damping * error), the error clipped to +-1: between both it never turns negative.
    Source: ours; the idea is Stooke et al. 2020, "Responsive Safety in RL by PID Lagrangian Methods".
    """
    if observed_kl is None:
        return coef
    return coef * math.exp(damping * _relative_error(observed_kl, target, 1.0))


def _relative_error(observed_kl: float, target: float, most: float) -> float:
    return min(max(observed_kl / target - 1, -most), most)

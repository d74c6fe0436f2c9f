"""From scores (one per response) to rewards (one per token, KL penalty included)."""

from typing import Literal

import torch
from torch import Tensor

from workers.rlhf.kl import KLEstimator, kl_per_token
from workers.rlhf.masks import response_mask

RewardMode = Literal["reference", "corrected"]
"""`reference` as published in 2019; `corrected` ends the episode at the last kept token."""


def score_penalty(scores: Tensor, valid: Tensor, penalty: float = -1.0) -> Tensor:
    """(b,) scores with `penalty` in place of the score wherever `valid` (b,) is False.

    Source: Ziegler et al. 2019, section 3.1.2: an invalid sample gets a fixed score, its KL terms remain.
    """
    return scores.where(valid, penalty)


def per_token_rewards(
    logprobs: Tensor,
    ref_logprobs: Tensor,
    scores: Tensor,
    lengths: Tensor,
    *,
    kl_coef: float,
    mode: RewardMode,
    estimator: KLEstimator = "k1",
) -> Tensor:
    """Reward of each token: minus `kl_coef` times its KL, plus the score on one token.

    Args:
        logprobs, ref_logprobs: (b, r) float, nats, on the responses as sampled.
        scores: (b,) float, penalty already in.
        lengths: (b,) int64 in [1, r]; tokens kept by truncation.
        kl_coef: not negative.
        mode: `reference` charges KL on every sampled token and puts the score on the last index, wherever the
            response was cut; `corrected` charges KL on kept tokens only, puts the score on the last of them, and
            leaves zero behind it.
        estimator: of the KL that is charged.
    Returns: (b, r) float.
    Raises: ValueError if shapes disagree, `kl_coef` is negative or mode or estimator is unknown.
    Source: lm-human-preferences train_policy.py compute_rewards; `corrected` as in TRL's PPO trainer.
    """
    b, r = logprobs.shape
    if scores.shape != (b,) or lengths.shape != (b,):
        raise ValueError(f"scores {tuple(scores.shape)}, lengths {tuple(lengths.shape)}: expected ({b},) for both")
    if kl_coef < 0:
        raise ValueError(f"kl_coef {kl_coef} is negative: it would reward drifting away from the reference")
    penalty = -kl_coef * kl_per_token(logprobs, ref_logprobs, estimator=estimator)
    match mode:
        case "reference":
            last = torch.full_like(lengths, r - 1)
        case "corrected":
            last = lengths - 1
            penalty = penalty.where(response_mask(lengths, r), 0)
        case _:
            raise ValueError(f"unknown reward mode {mode!r}: choose reference or corrected")
    return penalty.scatter_add(1, last.unsqueeze(1), scores.to(penalty.dtype).unsqueeze(1))

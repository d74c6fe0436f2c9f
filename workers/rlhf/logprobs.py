"""Log-probabilities and entropy of the tempered model.

The temperature is part of the model: it divides the logits wherever the policy or the reference is sampled, scored or
compared. All sums over the vocabulary are taken in float32 at least, whatever the logits' dtype.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _TokenLogprobs(torch.autograd.Function):
    """log_softmax(logits / T) at one token per position.

    Written out because a vocabulary's worth of floats per position is what an update mostly moves: the backward pass
    fills one such tensor where autograd's own would fill three.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor, temperature: float) -> Tensor:
        scaled = _tempered(logits, temperature)
        normaliser = scaled.logsumexp(dim=-1, keepdim=True)
        ctx.save_for_backward(logits, tokens, normaliser)
        ctx.temperature = temperature
        return (scaled.gather(-1, tokens.unsqueeze(-1)) - normaliser).squeeze(-1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        logits, tokens, normaliser = ctx.saved_tensors
        step = (grad / ctx.temperature).unsqueeze(-1)
        # d logprob / d logits = (onehot - softmax) / T
        slope = _tempered(logits, ctx.temperature).sub_(normaliser).exp_().mul_(-step)
        return slope.scatter_add_(-1, tokens.unsqueeze(-1), step).to(logits.dtype), None, None


_token_logprobs: Callable[[Tensor, Tensor, float], Tensor] = _TokenLogprobs.apply


def gather_logprobs(logits: Tensor, tokens: Tensor, temperature: float) -> Tensor:
    """Log-probability of each token under softmax(logits / temperature).

    Args:
        logits: (b, r, v) float; position t holds the prediction *of* token t.
        tokens: (b, r) int64 in [0, v).
        temperature: positive.
    Returns: (b, r) float32 (float64 for float64 logits), nats; differentiable once in the logits.
    Raises: ValueError if shapes disagree or the temperature is not positive.
    """
    if logits.shape[:-1] != tokens.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and tokens {tuple(tokens.shape)} disagree on (b, r)")
    _require_positive(temperature)
    return _token_logprobs(logits, tokens, temperature)


def entropy(logits: Tensor, temperature: float) -> Tensor:
    """Entropy of softmax(logits / temperature) at each position.

    Args:
        logits: (b, r, v) float.
        temperature: positive.
    Returns: (b, r) float32 or float64, nats per token, in [0, ln v].
    Raises: ValueError if the temperature is not positive.
    """
    _require_positive(temperature)
    logprobs = _tempered(logits, temperature).log_softmax(dim=-1)
    return -(logprobs.exp() * logprobs).sum(dim=-1)


def _tempered(logits: Tensor, temperature: float) -> Tensor:
    """A new tensor, so that callers may write into it."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).div(temperature)


def _require_positive(temperature: float) -> None:
    if temperature <= 0:
        raise ValueError(f"temperature {temperature} must be positive")

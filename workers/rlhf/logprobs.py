"""Log-probabilities and entropy of the tempered model.

The temperature is part of the model: it divides the logits wherever the policy or the reference is sampled, scored or
compared. All sums over the vocabulary are taken in float32 at least, whatever the logits' dtype.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

STRIP_NUMBERS = (1_500_000, 64_000_000)
"""Logits held at once by `head_logprobs`, on a CPU and on a GPU."""
LEAST_STRIP = 1024
"""Tokens of the vocabulary; narrower products are slow."""
ALIGNED = 64
"""Numbers; products into rows that begin elsewhere take slow kernels on GPUs, and vocabularies have odd sizes."""


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


class _HeadLogprobs(torch.autograd.Function):
    """log_softmax((hidden W^T + c) / T) at one token per row, a strip of the vocabulary at a time.

    No strip is kept. Where the head is not trained, the forward pass also sums softmax-weighted rows of W, since the
    gradient in `hidden` is that sum's difference from the token's own row; else the backward pass computes strips anew.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tensor, temperature: float
    ) -> Tensor:
        ctx.temperature = temperature
        ctx.trains_head = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        scaled = hidden / temperature
        mixed = torch.zeros_like(hidden) if ctx.needs_input_grad[0] and not ctx.trains_head else None
        normaliser = _normaliser(scaled, weight, bias, temperature, mixed)
        said: Tensor = torch.linalg.vecdot(scaled, weight[tokens])
        if bias is not None:
            said += bias[tokens] / temperature
        if mixed is not None:
            ctx.save_for_backward(weight[tokens].sub_(mixed).div_(temperature))
        elif ctx.trains_head:
            ctx.save_for_backward(scaled, weight, bias, tokens, normaliser)
        return said - normaliser

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        with torch.autocast(grad.device.type, enabled=False):
            if not ctx.trains_head:
                (slope,) = ctx.saved_tensors
                return slope * grad.unsqueeze(1), None, None, None, None
            return *_head_gradients(ctx, grad), None, None


def _normaliser(
    scaled: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, mixed: Tensor | None
) -> Tensor:
    """(n,) logsumexp over the vocabulary; `mixed`, zeros (n, width), becomes the mean of W's rows under the softmax."""
    top = scaled.new_full((len(scaled), 1), -torch.inf)
    total = torch.zeros_like(top)
    strips = _strips(scaled, weight)
    room = scaled.new_empty(len(scaled), _width(strips))
    for strip in strips:
        terms = product(scaled, weight[strip], out=room[:, : strip.stop - strip.start])
        if bias is not None:
            terms.add_(bias[strip] / temperature)
        new_top = torch.maximum(top, terms.amax(dim=1, keepdim=True))
        shrink = (top - new_top).exp_()
        terms.sub_(new_top).exp_()
        total.mul_(shrink).add_(terms.sum(dim=1, keepdim=True))
        if mixed is not None:
            mixed.mul_(shrink).addmm_(terms, weight[strip])
        top = new_top
    if mixed is not None:
        mixed.div_(total)
    normaliser: Tensor = (top + total.log()).squeeze(1)
    return normaliser


def _head_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Of hidden states, weight and bias; d logprob / d logits = (onehot - softmax) / T.

    A strip of the softmax stands on its side, so that the normaliser is subtracted as a product's bias; its factors
    are multiplied into what is narrow.
    """
    scaled, weight, bias, tokens, normaliser = ctx.saved_tensors
    wants = ctx.needs_input_grad
    step = (grad / ctx.temperature).unsqueeze(1)
    weighted = scaled * step
    mixed = torch.zeros_like(scaled) if wants[0] else None
    weight_grad = torch.empty_like(weight) if wants[1] else None
    bias_grad = torch.zeros_like(bias).index_add_(0, tokens, step.squeeze(1)) if wants[2] else None
    strips = _strips(scaled, weight)
    room = scaled.new_empty(_width(strips), len(scaled))
    for strip in strips:
        shares = torch.addmm(-normaliser, weight[strip], scaled.t(), out=room[: strip.stop - strip.start])
        if bias is not None:
            shares.add_((bias[strip] / ctx.temperature).unsqueeze(1))
        shares.exp_()
        if mixed is not None:
            mixed.addmm_(shares.t(), weight[strip])
        if weight_grad is not None:
            torch.mm(shares, weighted, out=weight_grad[strip]).neg_()
        if bias_grad is not None:
            bias_grad[strip] -= (shares @ step).squeeze(1)
    if weight_grad is not None:
        weight_grad.index_add_(0, tokens, weighted).mul_(ctx.temperature)
    return None if mixed is None else weight[tokens].sub_(mixed).mul_(step), weight_grad, bias_grad


def product(rows: Tensor, columns: Tensor, *, out: Tensor) -> Tensor:
    """(n, width) times (v, width) transposed, into (n, v) whose rows begin aligned; without gradient.

    An odd rest of the columns goes by itself: with it all of them would take a GPU's slow kernels.
    """
    even = len(columns) // ALIGNED * ALIGNED
    for part in (slice(0, even), slice(even, len(columns))):
        if part.stop > part.start:
            torch.mm(rows, columns[part].t(), out=out[:, part])
    return out


def _strips(scaled: Tensor, weight: Tensor) -> list[slice]:
    """Parts of the vocabulary whose logits stay in a cache; of a width whose rows GPUs find aligned."""
    size = max(LEAST_STRIP, STRIP_NUMBERS[scaled.device.type == "cuda"] // len(scaled) // ALIGNED * ALIGNED)
    return [slice(start, min(start + size, len(weight))) for start in range(0, len(weight), size)]


def _width(strips: list[slice]) -> int:
    """What a strip's logits need room for; rounded up, rows of the last strip are aligned as well."""
    widest: int = strips[0].stop
    return widest + -widest % ALIGNED


_head_logprobs: Callable[[Tensor, Tensor, Tensor | None, Tensor, float], Tensor] = _HeadLogprobs.apply


def head_logprobs(hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tensor, temperature: float) -> Tensor:
    """As `gather_logprobs` of the logits hidden weight^T + bias, without ever holding them whole.

    Args:
        hidden: (b, r, width) float, of the weight's type.
        weight: (v, width) float32 or float64.
        bias: (v,) float or None.
        tokens: (b, r) int64 in [0, v).
        temperature: positive.
    Returns: (b, r), of the weight's type, nats; differentiable once in hidden states, weight and bias.
    Raises: ValueError if shapes disagree or the temperature is not positive.
    """
    if hidden.shape[:-1] != tokens.shape:
        raise ValueError(f"hidden states {tuple(hidden.shape)} and tokens {tuple(tokens.shape)} disagree on (b, r)")
    _require_positive(temperature)
    with torch.autocast(hidden.device.type, enabled=False):
        rows = hidden.reshape(-1, hidden.shape[-1])
        return _head_logprobs(rows, weight, bias, tokens.reshape(-1), temperature).view(tokens.shape)


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

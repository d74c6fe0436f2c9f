"""Log-probabilities and entropy of the tempered model.

The temperature is part of the model: it divides the logits wherever the policy or the reference is sampled, scored or
compared. All sums over the vocabulary are taken in float32 at least, whatever the logits' dtype.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

STRIP_NUMBERS = (1_500_000, 64_000_000)
"""Logits held at once by `head_logprobs`, on a CPU and on a GPU."""
KEPT_NUMBERS = (64_000_000, 0)
"""Logits kept for the backward pass of a head that trains, likewise; where there are more it computes them anew."""
LEAST_STRIP = 1024
"""Tokens of the vocabulary; narrower products are slow."""
PRODUCT_STRIP = 2048
"""Tokens of the vocabulary that a CPU multiplies at once: with few rows wider products are slower."""
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


class _Kept(NamedTuple):
    """What a strip of the vocabulary leaves for the backward pass."""

    strip: slice
    terms: Tensor
    """(n, strip) exp(logits / T - top)."""
    top: Tensor
    """(n, 1), the largest of a row's logits / T up to here."""


class _HeadLogprobs(torch.autograd.Function):
    """log_softmax((hidden W^T + c) / T) at one token per row, a strip of the vocabulary at a time.

    The forward pass also sums softmax-weighted rows of W, since the gradient in `hidden` is that sum's difference from
    the token's own row. Where the head is trained strips are kept for its gradient, or, if they are many, none is and
    the backward pass computes them anew.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tensor, temperature: float, most: int
    ) -> Tensor:
        ctx.temperature = temperature
        ctx.trains_head = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        ctx.kept = [] if ctx.trains_head and len(hidden) * len(weight) <= most else None
        scaled = hidden / temperature
        mixes = ctx.needs_input_grad[0] and (ctx.kept is not None or not ctx.trains_head)
        mixed = torch.zeros_like(hidden) if mixes else None
        normaliser = _normaliser(scaled, weight, bias, temperature, mixed, ctx.kept)
        said: Tensor = torch.linalg.vecdot(scaled, weight[tokens])
        if bias is not None:
            said += bias[tokens] / temperature
        slope = None if mixed is None else weight[tokens].sub_(mixed).div_(temperature)
        ctx.save_for_backward(slope, *((scaled, weight, bias, tokens, normaliser) if ctx.trains_head else ()))
        return said - normaliser

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None, None]:
        slope, *rest = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            if not ctx.trains_head:
                return slope * grad.unsqueeze(1), None, None, None, None, None
            if (kept := ctx.kept) is None:
                return *_computed_anew(ctx, grad), None, None, None
            ctx.kept = None  # a vocabulary's worth for every token: not to wait until the graph goes
            hidden_grad = None if slope is None else slope * grad.unsqueeze(1)
            return hidden_grad, *_from_kept(ctx, kept, rest, grad), None, None, None


def _normaliser(
    scaled: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    temperature: float,
    mixed: Tensor | None,
    kept: list[_Kept] | None,
) -> Tensor:
    """(n,) logsumexp over the vocabulary.

    Args:
        mixed: zeros (n, width); becomes the mean of W's rows under the softmax.
        kept: empty; becomes a part for each strip.
    """
    top = scaled.new_full((len(scaled), 1), -torch.inf)
    total = torch.zeros_like(top)
    strips = _strips(scaled, weight)
    room = scaled.new_empty(len(scaled), _width(strips))
    for strip in strips:
        room = room if kept is None else torch.empty_like(room)
        terms = product(scaled, weight[strip], out=room[:, : strip.stop - strip.start])
        if bias is not None:
            terms.add_(bias[strip] / temperature)
        new_top = torch.maximum(top, terms.amax(dim=1, keepdim=True))
        shrink = (top - new_top).exp_()
        terms.sub_(new_top).exp_()
        total.mul_(shrink).add_(terms.sum(dim=1, keepdim=True))
        if mixed is not None:
            mixed.mul_(shrink).addmm_(terms, weight[strip])
        if kept is not None:
            kept.append(_Kept(strip, terms, new_top))
        top = new_top
    if mixed is not None:
        mixed.div_(total)
    normaliser: Tensor = (top + total.log()).squeeze(1)
    return normaliser


def _from_kept(ctx: Any, kept: list[_Kept], saved: list[Tensor], grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of weight and bias; what a strip's terms lack to a softmax is multiplied into what is narrow."""
    scaled, weight, bias, tokens, normaliser = saved
    step = (grad / ctx.temperature).unsqueeze(1)
    weighted = scaled * step
    weight_grad = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
    bias_grad = torch.zeros_like(bias).index_add_(0, tokens, step.squeeze(1)) if ctx.needs_input_grad[2] else None
    for strip, terms, top in kept:
        share = (top - normaliser.unsqueeze(1)).exp_()
        if weight_grad is not None:
            torch.mm(terms.t(), weighted * share, out=weight_grad[strip]).neg_()
        if bias_grad is not None:
            bias_grad[strip] -= (terms.t() @ (step * share)).squeeze(1)
    if weight_grad is not None:
        weight_grad.index_add_(0, tokens, weighted).mul_(ctx.temperature)
    return weight_grad, bias_grad


def _computed_anew(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of hidden states, weight and bias; d logprob / d logits = (onehot - softmax) / T.

    A strip of the softmax stands on its side, so that the normaliser is subtracted as a product's bias; its factors
    are multiplied into what is narrow.
    """
    _, scaled, weight, bias, tokens, normaliser = ctx.saved_tensors
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

    A CPU takes strips of the columns. On a GPU an odd rest of them goes by itself: with it all would take slow kernels.
    """
    v = len(columns)
    strip = PRODUCT_STRIP if rows.device.type == "cpu" else max(v // ALIGNED * ALIGNED, ALIGNED)
    for start in range(0, v, strip):
        part = slice(start, min(start + strip, v))
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


_head_logprobs: Callable[[Tensor, Tensor, Tensor | None, Tensor, float, int], Tensor] = _HeadLogprobs.apply


def head_logprobs(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    tokens: Tensor,
    temperature: float,
    *,
    most_kept: int | None = None,
) -> Tensor:
    """As `gather_logprobs` of the logits hidden weight^T + bias, holding a strip of them at a time where they are many.

    Args:
        hidden: (b, r, width) float, of the weight's type.
        weight: (v, width) float32 or float64.
        bias: (v,) float or None.
        tokens: (b, r) int64 in [0, v).
        temperature: positive.
        most_kept: numbers that may be kept for the gradient of the head, up to one for each logit; None:
            `KEPT_NUMBERS`. With more logits each is computed twice.
    Returns: (b, r), of the weight's type, nats; differentiable once in hidden states, weight and bias.
    Raises: ValueError if shapes disagree or the temperature is not positive.
    """
    if hidden.shape[:-1] != tokens.shape:
        raise ValueError(f"hidden states {tuple(hidden.shape)} and tokens {tuple(tokens.shape)} disagree on (b, r)")
    _require_positive(temperature)
    with torch.autocast(hidden.device.type, enabled=False):
        rows = hidden.reshape(-1, hidden.shape[-1])
        most = KEPT_NUMBERS[rows.device.type == "cuda"] if most_kept is None else most_kept
        most = most if torch.is_grad_enabled() else 0  # asked here: within a function of autograd's it never is
        return _head_logprobs(rows, weight, bias, tokens.reshape(-1), temperature, most).view(tokens.shape)


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

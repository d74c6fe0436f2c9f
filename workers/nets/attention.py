"""Attention as plain batched matrix products, with key and value heads shared by groups left unrepeated.

PyTorch's fused kernels are slow on CPUs, and for the one-token queries of a decode step. On GPUs whole texts take them.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

try:
    from workers.nets.decode_kernel import decode_attention
except ImportError:  # PyTorch's builds for CPUs come without Triton
    decode_attention = None  # type: ignore[assignment]

MASKED = -1e30
"""Finite, so that a query with nothing to look at (padding) yields numbers and no NaN."""
GROUPED = "prefloop_grouped"
"""Name under which transformers' models find this attention."""


class Prefix(NamedTuple):
    """What b texts begin with, each of which n / b rows continue."""

    keys: Tensor
    """(b, g, q, d) float."""
    values: Tensor
    """(b, g, q, d) float."""
    read: Tensor
    """(1,) int64, place of the token that is read now among the keys behind it; later ones are not written yet."""


def set_prefix(key: Tensor, prefix: Prefix) -> None:
    """Let `grouped_attention` find what stands before these keys: layers hand on keys and nothing else."""
    key.prefix = prefix  # type: ignore[attr-defined]


def grouped_attention(
    module: nn.Module,  # noqa: ARG001 - part of the call
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """softmax(query key^T scaling) value in the form transformers' attention layers call.

    Args:
        module: the calling layer, not looked at.
        query: (b, h, t, d) float; heads of one group stand next to each other.
        key, value: (b, g, s, d) float with h a multiple of g.
        attention_mask: (b or 1, 1, t, s); bool, True where a query may look, or float, added to the scores.
        scaling: None is 1 / sqrt(d).
        dropout: probability of dropping a weight; layers give 0 unless they train with it.
    With `set_prefix` t is 1, the mask has columns for the prefix first and forbids what is not written yet.
    Returns: (b, t, h, d) and None in place of the weights.
    Raises: ValueError for options that change the result and are not supported.
    """
    if unsupported := {name for name in ("softcap", "s_aux", "position_bias") if kwargs.get(name) is not None}:
        raise ValueError(f"attention with {', '.join(sorted(unsupported))} is not supported: choose another model")
    b, h, t, d = query.shape
    g, s = key.shape[1:3]
    if query.device.type == "cuda" and t > 1:
        return fused_attention(query, key, value, attention_mask, scaling=scaling, dropout=dropout), None
    if isinstance(prefix := getattr(key, "prefix", None), Prefix):
        return _behind(prefix, query, key, value, attention_mask, d**-0.5 if scaling is None else scaling), None
    scores = (query * (d**-0.5 if scaling is None else scaling)).reshape(b, g, -1, d) @ key.transpose(-1, -2)
    if attention_mask is not None:
        bias = attention_mask if attention_mask.dtype != torch.bool else mask_bias(attention_mask)
        scores = scores.view(b, g, -1, t, s).add_(bias.unsqueeze(1)).view(b, g, -1, s)
    weights = scores.softmax(dim=-1).to(value.dtype)
    mixed = (torch.dropout(weights, dropout, train=True) if dropout else weights) @ value
    return mixed.view(b, h, t, d).transpose(1, 2).contiguous(), None


def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """As `grouped_attention`, by PyTorch's kernels, which keep no weights; (b, t, h, d)."""
    b, h, t, _ = query.shape
    if (repeats := h // key.shape[1]) > 1:
        key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
    bias = attention_mask
    if bias is not None:
        bias = bias.expand(b, h, t, -1) if bias.dtype == torch.bool else bias.to(query.dtype).expand(b, h, t, -1)
    mixed = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=bias, dropout_p=dropout, scale=scaling
    )
    return mixed.transpose(1, 2).contiguous()


def _behind(prefix: Prefix, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """One token per row, (n, 1, h, d): the prefix is read once for all rows that continue it."""
    n, h, _, d = query.shape
    b, g, q, _ = prefix.keys.shape
    bias = mask_bias(mask) if mask is not None and mask.dtype == torch.bool else mask
    if decode_attention is not None and query.device.type == "cuda" and bias is not None:
        return decode_attention(query, prefix[:2], (key, value), bias, prefix.read, scaling)
    one = (n, g, h // g)
    scaled = query * scaling
    before = _apart(_together(scaled.reshape(*one, d), b) @ prefix.keys.transpose(-1, -2), one)
    scores = torch.cat([before, scaled.reshape(*one, d) @ key.transpose(-1, -2)], dim=-1)
    weights = (scores if bias is None else scores.add_(bias)).softmax(dim=-1).to(value.dtype)
    mixed = _apart(_together(weights[..., :q], b) @ prefix.values, one) + weights[..., q:] @ value
    return mixed.reshape(n, 1, h, d)  # of one text alone it is no view


def _together(rows: Tensor, b: int) -> Tensor:
    """(n, g, m, x) of rows -> (b, g, n / b * m, x), those of one text in one matrix."""
    texts: Tensor = rows.unflatten(0, (b, -1)).transpose(1, 2).flatten(2, 3)
    return texts


def _apart(texts: Tensor, one: tuple[int, int, int]) -> Tensor:
    """The way back to (n, g, m, x)."""
    n, _, m = one
    rows: Tensor = texts.unflatten(2, (n // len(texts), m)).transpose(1, 2).flatten(0, 1)
    return rows


def mask_bias(mask: Tensor) -> Tensor:
    """Bool mask, True where a query may look -> float32 of the same shape to add to scores.

    Made once for all layers: adding is several times faster than filling in.
    """
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, MASKED)


AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, eager_mask)

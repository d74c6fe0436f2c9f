"""Attention as plain batched matrix products, with key and value heads shared by groups left unrepeated.

PyTorch's fused kernel is slow on CPUs for the one-token queries of a decode step.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

MASKED = -1e30
"""Finite, so that a query with nothing to look at (padding) yields numbers and no NaN."""
GROUPED = "prefloop_grouped"
"""Name under which transformers' models find this attention."""


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
    Returns: (b, t, h, d) and None in place of the weights.
    Raises: ValueError for options that change the result and are not supported.
    """
    if unsupported := {name for name in ("softcap", "s_aux", "position_bias") if kwargs.get(name) is not None}:
        raise ValueError(f"attention with {', '.join(sorted(unsupported))} is not supported: choose another model")
    b, h, t, d = query.shape
    g, s = key.shape[1:3]
    scores = (query * (d**-0.5 if scaling is None else scaling)).reshape(b, g, -1, d) @ key.transpose(-1, -2)
    if attention_mask is not None:
        bias = attention_mask if attention_mask.dtype != torch.bool else mask_bias(attention_mask)
        scores = scores.view(b, g, -1, t, s).add_(bias.unsqueeze(1)).view(b, g, -1, s)
    weights = scores.softmax(dim=-1).to(value.dtype)
    mixed = (torch.dropout(weights, dropout, train=True) if dropout else weights) @ value
    return mixed.view(b, h, t, d).transpose(1, 2).contiguous(), None


def mask_bias(mask: Tensor) -> Tensor:
    """Bool mask, True where a query may look -> float32 of the same shape to add to scores.

    Made once for all layers: adding is several times faster than filling in.
    """
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, MASKED)


AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, eager_mask)

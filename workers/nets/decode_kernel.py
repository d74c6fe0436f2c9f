"""One token's attention on a GPU, as one kernel: keys and values are read once, as fast as memory gives them.

Batched products read them at a third of that speed, with a score, a softmax and a sum between them. Needs Triton, which
comes with PyTorch's builds for GPUs.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

NUMBERS = 2048
"""Of keys looked at together, times the heads that look: what the registers of a block of threads have room for."""
LEAST_BLOCK = 16
WARPS = 1


@triton.jit  # type: ignore[untyped-decorator]
def _looked_at(  # type: ignore[no-untyped-def]
    query, keys, values, bias, top, total, mixed, count, dims, width: tl.constexpr, block: tl.constexpr
):
    """Take `count` tokens more into a softmax that is under way; all in float32."""
    for start in range(0, count, block):
        tokens = start + tl.arange(0, block)
        there = tokens < count
        inside = there[:, None] & (dims[None, :] < width)
        places = tokens[:, None] * width + dims[None, :]
        key = tl.load(keys + places, mask=inside, other=0.0).to(tl.float32)
        value = tl.load(values + places, mask=inside, other=0.0).to(tl.float32)
        added = tl.load(bias + tokens, mask=there, other=-float("inf")).to(tl.float32)
        scores = tl.sum(query[:, None, :] * key[None, :, :], axis=2) + added[None, :]
        new_top = tl.maximum(top, tl.max(scores, axis=1))
        shrink = tl.exp(top - new_top)
        weights = tl.exp(scores - new_top[:, None])
        total = total * shrink + tl.sum(weights, axis=1)
        mixed = mixed * shrink[:, None] + tl.sum(weights[:, :, None] * value[None, :, :], axis=1)
        top = new_top
    return top, total, mixed


@triton.jit  # type: ignore[untyped-decorator]
def _attend(  # type: ignore[no-untyped-def]
    query,
    prefix_keys,
    prefix_values,
    keys,
    values,
    bias,
    out,
    scaling,
    prefix_tokens,
    tokens,
    copies,
    query_row,
    query_head,
    bias_row,
    groups: tl.constexpr,
    heads: tl.constexpr,
    heads_padded: tl.constexpr,
    width: tl.constexpr,
    width_padded: tl.constexpr,
    block: tl.constexpr,
):
    """A row's heads that share keys: first what all rows of its text begin with, then what is its own."""
    row, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    each, dims = tl.arange(0, heads_padded), tl.arange(0, width_padded)
    asked = (each < heads)[:, None] & (dims < width)[None, :]
    places = row * query_row + (group * heads + each)[:, None] * query_head + dims[None, :]
    q = tl.load(query + places, mask=asked, other=0.0).to(tl.float32) * scaling
    top = tl.full((heads_padded,), -float("inf"), tl.float32)
    total = tl.zeros((heads_padded,), tl.float32)
    mixed = tl.zeros((heads_padded, width_padded), tl.float32)
    first = ((row // copies) * groups + group) * prefix_tokens * width
    added = bias + row * bias_row
    top, total, mixed = _looked_at(
        q, prefix_keys + first, prefix_values + first, added, top, total, mixed, prefix_tokens, dims, width, block
    )
    own = (row * groups + group) * tokens * width
    top, total, mixed = _looked_at(
        q, keys + own, values + own, added + prefix_tokens, top, total, mixed, tokens, dims, width, block
    )
    written = ((row * groups + group) * heads + each)[:, None] * width + dims[None, :]
    tl.store(out + written, (mixed / total[:, None]).to(out.dtype.element_ty), mask=asked)


def decode_attention(
    query: Tensor, prefix: tuple[Tensor, Tensor], own: tuple[Tensor, Tensor], bias: Tensor, scaling: float
) -> Tensor:
    """softmax(query key^T scaling + bias) value of one token per row, over its text's prefix and its own tokens.

    Args:
        query: (n, h, 1, d) float, d contiguous.
        prefix: keys and values, (b, g, q, d) float, contiguous; n / b rows continue each.
        own: keys and values, (n, g, s, d) float, contiguous.
        bias: (n, 1, 1, q + s) float32, the last contiguous.
    Returns: (n, 1, h, d) of the values' type.
    """
    (n, h, _, d), (b, g, q, _) = query.shape, prefix[0].shape
    heads, dims = triton.next_power_of_2(h // g), triton.next_power_of_2(d)
    out = torch.empty(n, 1, h, d, device=query.device, dtype=own[1].dtype)
    _attend[(n, g)](
        query,
        *prefix,
        *own,
        bias,
        out,
        scaling,
        q,
        own[0].shape[2],
        n // b,
        query.stride(0),
        query.stride(1),
        bias.stride(0),
        groups=g,
        heads=h // g,
        heads_padded=heads,
        width=d,
        width_padded=dims,
        block=max(LEAST_BLOCK, NUMBERS // (heads * dims)),
        num_warps=WARPS,
    )
    return out

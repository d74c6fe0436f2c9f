"""One token's attention on a GPU, as one kernel: keys and values are read once, as fast as memory gives them.

Batched products read them at a third of that speed, with a score, a softmax and a sum between them. Rows that continue
one text are looked at together, so that what they begin with is read once for several of them. Needs Triton, which
comes with PyTorch's builds for GPUs.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

TOGETHER = 4
"""Rows of one text that are looked at together."""
LEAST = 16
"""Rows, columns and sums of a product must have so many."""
PREFIX_BLOCK = 64
OWN_BLOCK = 16
"""Tokens that are looked at together: of what rows share, of what is each row's own."""
WARPS = 1
STAGES = 1
"""Blocks that are on their way at once. Many small programs that wait for memory do better here than few large ones."""


@triton.jit
def _looked_at(q, key, value, added, scaling, top, total, mixed):  # type: ignore[no-untyped-def]
    """Take a block of tokens more into a softmax that is under way; sums in float32."""
    scores = tl.dot(q, tl.trans(key), input_precision="ieee") * scaling + added
    new_top = tl.maximum(top, tl.max(scores, axis=1))
    shrink = tl.exp(top - new_top)
    weights = tl.exp(scores - new_top[:, None])
    total = total * shrink + tl.sum(weights, axis=1)
    mixed = mixed * shrink[:, None] + tl.dot(weights.to(value.dtype), value, input_precision="ieee")
    return new_top, total, mixed


@triton.jit  # type: ignore[untyped-decorator]
def _attend(  # type: ignore[no-untyped-def]
    query,
    prefix_keys,
    prefix_values,
    keys,
    values,
    bias,
    read,
    out,
    scaling,
    prefix_tokens,
    copies,
    query_row,
    query_head,
    bias_row,
    key_row,
    key_group,
    key_token,
    value_row,
    value_group,
    value_token,
    own_row,
    own_group,
    own_token,
    groups: tl.constexpr,
    heads: tl.constexpr,
    asked: tl.constexpr,
    together: tl.constexpr,
    width: tl.constexpr,
    width_padded: tl.constexpr,
    prefix_block: tl.constexpr,
    own_block: tl.constexpr,
):
    """A few rows of one text, their heads that share keys: first what the text begins with, then what is their own."""
    text, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    first = tl.program_id(2) * together
    dims, each = tl.arange(0, width_padded), tl.arange(0, asked)
    wide = (dims < width)[None, :]
    copy, head = first + each // heads, group * heads + each % heads
    row = text * copies + copy
    real = (each < together * heads) & (copy < copies)
    q = tl.load(
        query + row[:, None] * query_row + head[:, None] * query_head + dims[None, :],
        mask=real[:, None] & wide,
        other=0.0,
    ).to(keys.dtype.element_ty)
    row_bias = bias + row * bias_row
    top = tl.full((asked,), -float("inf"), tl.float32)
    total = tl.zeros((asked,), tl.float32)
    mixed = tl.zeros((asked, width_padded), tl.float32)

    first_key = prefix_keys + text * key_row + group * key_group
    first_value = prefix_values + text * value_row + group * value_group
    for start in range(0, prefix_tokens, prefix_block):
        tokens = start + tl.arange(0, prefix_block)
        there = tokens < prefix_tokens
        inside = there[:, None] & wide
        key = tl.load(first_key + tokens[:, None] * key_token + dims[None, :], mask=inside, other=0.0)
        value = tl.load(first_value + tokens[:, None] * value_token + dims[None, :], mask=inside, other=0.0)
        added = tl.load(row_bias[:, None] + tokens[None, :], mask=real[:, None] & there[None, :], other=0.0)
        added = tl.where(there[None, :], added, -float("inf"))
        top, total, mixed = _looked_at(q, key, value, added, scaling, top, total, mixed)

    written = tl.load(read) + 1
    column = tl.arange(0, together * own_block)
    of = first + column // own_block
    begin_own = (text * copies + of) * own_row + group * own_group
    for start in range(0, written, own_block):
        tokens = start + column % own_block
        there = (tokens < written) & (of < copies)
        places = (begin_own + tokens * own_token)[:, None] + dims[None, :]
        key = tl.load(keys + places, mask=there[:, None] & wide, other=0.0)
        value = tl.load(values + places, mask=there[:, None] & wide, other=0.0)
        mine = there[None, :] & (copy[:, None] == of[None, :]) & real[:, None]
        added = tl.load(row_bias[:, None] + prefix_tokens + tokens[None, :], mask=mine, other=-float("inf"))
        top, total, mixed = _looked_at(q, key, value, added, scaling, top, total, mixed)

    at = (row * groups * heads + head)[:, None] * width + dims[None, :]
    tl.store(out + at, (mixed / total[:, None]).to(out.dtype.element_ty), mask=real[:, None] & wide)


def decode_attention(
    query: Tensor,
    prefix: tuple[Tensor, Tensor],
    own: tuple[Tensor, Tensor],
    bias: Tensor,
    read: Tensor,
    scaling: float,
) -> Tensor:
    """softmax(query key^T scaling + bias) value of one token per row, over its text's prefix and its own tokens.

    Args:
        query: (n, h, 1, d) float, d contiguous.
        prefix: keys and values, (b, g, q, d) float; n / b rows continue each.
        own: keys and values, (n, g, s, d) float, both laid out alike, d contiguous.
        bias: (n, 1, 1, q + s) float32, the last contiguous.
        read: (1,) int64, the last place of `own` that is written; none behind it is looked at.
    Returns: (n, 1, h, d) of the values' type.
    """
    mixed: Tensor = _attended(query, *prefix, *own, bias, read, scaling)
    return mixed


@torch.library.custom_op("prefloop::decode_attention", mutates_args=())
def _attended(
    query: Tensor,
    prefix_keys: Tensor,
    prefix_values: Tensor,
    keys: Tensor,
    values: Tensor,
    bias: Tensor,
    read: Tensor,
    scaling: float,
) -> Tensor:
    """One operation of PyTorch's: a compiler calls it and does not look inside."""
    (n, h, _, d), (b, g, q, _) = query.shape, prefix_keys.shape
    prefix_keys, prefix_values = (
        part if part.stride(3) == 1 else part.contiguous() for part in (prefix_keys, prefix_values)
    )
    copies, heads = n // b, h // g
    together = min(TOGETHER, triton.next_power_of_2(copies))
    out = torch.empty(n, 1, h, d, device=query.device, dtype=values.dtype)
    _attend[(b, g, triton.cdiv(copies, together))](
        query,
        prefix_keys,
        prefix_values,
        keys,
        values,
        bias,
        read,
        out,
        scaling,
        q,
        copies,
        query.stride(0),
        query.stride(1),
        bias.stride(0),
        *prefix_keys.stride()[:3],
        *prefix_values.stride()[:3],
        *keys.stride()[:3],
        groups=g,
        heads=heads,
        asked=max(LEAST, triton.next_power_of_2(together * heads)),
        together=together,
        width=d,
        width_padded=max(LEAST, triton.next_power_of_2(d)),
        prefix_block=PREFIX_BLOCK,
        own_block=OWN_BLOCK,
        num_warps=WARPS,
        num_stages=STAGES,
    )
    return out


@_attended.register_fake
def _shaped(  # what a compiler knows of the result
    query: Tensor,
    prefix_keys: Tensor,  # noqa: ARG001
    prefix_values: Tensor,  # noqa: ARG001
    keys: Tensor,  # noqa: ARG001
    values: Tensor,
    bias: Tensor,  # noqa: ARG001
    read: Tensor,  # noqa: ARG001
    scaling: float,  # noqa: ARG001
) -> Tensor:
    n, h, _, d = query.shape
    return values.new_empty(n, 1, h, d)

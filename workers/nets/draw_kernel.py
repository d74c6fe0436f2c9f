"""A token for every row on a GPU, by two kernels: one pass over the scores, and a second look at one block of them.

A softmax with its sums reads and writes all of them several times. Needs Triton, which comes with PyTorch's builds for
GPUs.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCKS = 16
"""Blocks of tokens that one program adds up."""
WARPS = 4


@triton.jit  # type: ignore[untyped-decorator]
def _add_up(  # type: ignore[no-untyped-def]
    scores, tops, sums, blocks, score_row, block: tl.constexpr, together: tl.constexpr
):
    """The largest score of some blocks of a row, and the sum of exp(score - largest)."""
    row = tl.program_id(0).to(tl.int64)
    which = tl.program_id(1) * together + tl.arange(0, together)
    places = which[:, None] * block + tl.arange(0, block)[None, :]
    seen = tl.load(scores + row * score_row + places, mask=(which < blocks)[:, None], other=-float("inf"))
    seen = seen.to(tl.float32)
    top = tl.max(seen, axis=1)
    total = tl.sum(tl.exp(seen - tl.where(top == -float("inf"), 0.0, top)[:, None]), axis=1)
    tl.store(tops + row * blocks + which, top, mask=which < blocks)
    tl.store(sums + row * blocks + which, total, mask=which < blocks)


@triton.jit  # type: ignore[untyped-decorator]
def _first_above(weights, target, places, most: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where the running sum first exceeds the target; where rounding keeps it below, the last weight above 0.

    Sums that run in a tree may fall by rounding, so a weight of 0 is passed over by name.
    """
    above = (weights > 0) & (tl.cumsum(weights, axis=0) > target)
    first = tl.min(tl.where(above, places, most))
    return tl.where(first == most, tl.max(tl.where(weights > 0, places, 0)), first)


@triton.jit  # type: ignore[untyped-decorator]
def _draw(  # type: ignore[no-untyped-def]
    scores,
    tops,
    sums,
    uniform,
    tokens,
    logprobs,
    blocks,
    score_row,
    block: tl.constexpr,
    blocks_padded: tl.constexpr,
):
    """A row's block, then its token within it."""
    row = tl.program_id(0).to(tl.int64)
    which, inside = tl.arange(0, blocks_padded), tl.arange(0, block)
    top = tl.load(tops + row * blocks + which, mask=which < blocks, other=-float("inf"))
    highest = tl.max(top)
    weights = tl.load(sums + row * blocks + which, mask=which < blocks, other=0.0) * tl.exp(top - highest)
    total = tl.sum(weights)
    target = tl.load(uniform + row) * total
    chosen = _first_above(weights, target, which, blocks_padded)
    target -= tl.sum(tl.where(which < chosen, weights, 0.0))
    seen = tl.load(scores + row * score_row + chosen * block + inside).to(tl.float32)
    place = _first_above(tl.exp(seen - highest), target, inside, block)
    score = tl.sum(tl.where(inside == place, seen, 0.0))
    tl.store(tokens + row, (chosen * block + place).to(tl.int64))
    tl.store(logprobs + row, score - highest - tl.log(total))


def draw(scores: Tensor, uniform: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """One token per row, by inverting the cumulative distribution, first of blocks of tokens, then within one.

    Args:
        scores: (n, v) float, v a multiple of `block`, the last contiguous; -inf where there is no token.
        uniform: (n,) float32 in [0, 1), contiguous.
        block: a power of two.
    Returns: (n,) int64 tokens and (n,) float32 log-probabilities under softmax(scores).
    """
    (n, v), device = scores.shape, scores.device
    blocks = v // block
    tops, sums = torch.empty(2, n, blocks, device=device)
    tokens = torch.empty(n, device=device, dtype=torch.int64)
    logprobs = torch.empty(n, device=device)
    _add_up[(n, triton.cdiv(blocks, BLOCKS))](
        scores, tops, sums, blocks, scores.stride(0), block=block, together=BLOCKS, num_warps=WARPS
    )
    _draw[(n,)](
        scores,
        tops,
        sums,
        uniform,
        tokens,
        logprobs,
        blocks,
        scores.stride(0),
        block=block,
        blocks_padded=triton.next_power_of_2(blocks),
        num_warps=1,
    )
    return tokens, logprobs

"""Several responses behind one query in one text: the query is read once, and no response sees another."""

import torch
from torch import Tensor

from workers.rlhf.masks import position_ids


def branching(query_mask: Tensor, response_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Who may look at whom, and where everybody stands.

    Args:
        query_mask: (g, q) bool, left-padded.
        response_mask: (g, k, r) bool, right-padded.
    Returns: (g, 1, t, t) bool, True where a token may look at another, and (g, t) int64 positions, with t = q + k r:
        the query, then its responses one after another.
    """
    (_, q), (_, k, r) = query_mask.shape, response_mask.shape
    branch = torch.arange(q + k * r, device=query_mask.device).sub(q).div(r, rounding_mode="floor").clamp_min(-1)
    earlier = torch.ones(len(branch), len(branch), dtype=torch.bool, device=branch.device).tril()
    related = (branch.unsqueeze(1) == branch) | (branch < 0)
    real = torch.cat([query_mask, response_mask.flatten(1)], dim=1)
    behind = query_mask.sum(dim=1)[:, None, None] + position_ids(response_mask)
    positions = torch.cat([position_ids(query_mask), behind.flatten(1)], dim=1)
    return earlier & related & real[:, None, None, :], positions


def unbranched(states: Tensor, q: int, k: int) -> Tensor:
    """(g, q + k r, ...) of queries and responses -> (g k, q + r, ...), each query before each of its responses."""
    queries = states[:, :q].repeat_interleave(k, dim=0)
    responses = states[:, q:].unflatten(1, (k, -1)).flatten(0, 1)
    return torch.cat([queries, responses], dim=1)

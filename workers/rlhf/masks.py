"""Which tokens count: truncation, masks and positions."""

from typing import NamedTuple

import torch
from torch import Tensor


class Truncation(NamedTuple):
    """Responses cut after their first terminator."""

    tokens: Tensor
    """(b, r) int64; padding after the terminator."""
    valid: Tensor
    """(b,) bool; True where a terminator was found."""
    lengths: Tensor
    """(b,) int64; tokens kept, the terminator included; r where invalid."""


def truncate(responses: Tensor, *, terminators: Tensor, min_index: int, pad_id: int) -> Truncation:
    """Keep each response up to its first terminator at 0-based index >= `min_index`; pad the rest.

    Args:
        responses: (b, r) int64, as sampled; not changed.
        terminators: (t,) int64, the token ids that end a response; at least one.
        min_index: first 0-based index at which a terminator counts, in [0, r).
        pad_id: written over the tokens after the terminator.
    Returns: a response without terminator comes back whole and invalid.
    Raises: ValueError if there is no terminator or `min_index` leaves no token to look at.
    Source: Ziegler et al. 2019, section 3.1.2; lm-human-preferences lm_tasks.py.
    """
    r = responses.shape[1]
    if terminators.numel() == 0:
        raise ValueError("no terminators: a task without an end rule must not truncate")
    if not 0 <= min_index < r:
        raise ValueError(f"min_index {min_index} must lie in [0, {r}), the indices of a response")
    ends = torch.isin(responses, terminators)
    ends[:, :min_index] = False
    valid = ends.any(dim=1)
    lengths = torch.where(valid, ends.to(torch.int8).argmax(dim=1) + 1, r)
    tokens = responses.masked_fill(~response_mask(lengths, r), pad_id)
    return Truncation(tokens, valid, lengths)


def response_mask(lengths: Tensor, r: int) -> Tensor:
    """(b,) int64 tokens kept -> (b, r) bool; True marks a kept token."""
    return torch.arange(r, device=lengths.device) < lengths.unsqueeze(1)


def position_ids(mask: Tensor) -> Tensor:
    """Positions that do not count padding: how many real tokens stand before each token.

    Args:
        mask: (..., t) bool; True marks a real token.
    Returns: (..., t) int64; 0 on left padding and on the first real token.
    Source: lm-human-preferences model.py, exclusive cumulative sum of the mask.
    """
    counts = mask.long()
    return counts.cumsum(dim=-1) - counts

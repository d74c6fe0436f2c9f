"""Bounds that every update must keep, as pure checks: what is measured, and the error that names it.

TRL's trackers show what such bounds catch: ratios that explode for a padding mistake, a KL that is not zero at the
start, a reference that changed under the trainer. Each is invisible in the text until hours later.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

TAIL = 0.999


class GuardError(Exception):
    """An update left its bounds; nothing of it may be kept. The message says what to do."""

    def __init__(self, guard: str, found: str, advice: str) -> None:
        super().__init__(f"{guard} {found}: {advice}")
        self.guard = guard


def require_at_most(guard: str, value: float, bound: float, advice: str) -> None:
    """Raise GuardError unless `value` <= `bound`; a NaN never is."""
    if not value <= bound:
        raise GuardError(guard, f"is {value:.4g}, beyond its bound of {bound:.4g}", advice)


def require_at_least(guard: str, value: float, bound: float, advice: str) -> None:
    """Raise GuardError unless `value` >= `bound`; a NaN never is."""
    if not value >= bound:
        raise GuardError(guard, f"is {value:.4g}, below its bound of {bound:.4g}", advice)


def require_finite(guard: str, value: float, advice: str) -> None:
    """Raise GuardError for NaN and infinities."""
    if not math.isfinite(value):
        raise GuardError(guard, f"is {value}, not a finite number", advice)


class Deviation(NamedTuple):
    """|ratio - 1| over tokens: how far recomputed log-probabilities lie from those of sampling."""

    mean: float
    tail: float
    """99.9th percentile."""
    worst: float


def deviation(errors: Tensor) -> Deviation:
    """Sum up (n,) float |ratio - 1|, n >= 1. The percentile is the smallest error that so many do not exceed."""
    rank = max(1, math.ceil(TAIL * errors.numel()))
    return Deviation(errors.mean().item(), errors.kthvalue(rank).values.item(), errors.max().item())


def checksum(parameters: Iterable[Tensor]) -> int:
    """The sum of all bits, taken as whole numbers modulo 2^64: exact, whatever the threads.

    Costs one pass over the memory: some 50 ms for 135M float32 parameters on two cores.
    """
    return sum(int(_words(parameter).sum(dtype=torch.int64)) for parameter in parameters) % 2**64


def cosine(
    one: Sequence[Tensor], other: Sequence[Tensor], summed: Callable[[Sequence[float]], list[float]] = list
) -> float:
    """Of the angle between two gradients, each a tensor per parameter; NaN if either is zero.

    Args:
        summed: adds numbers up over the processes that each have a part of both.
    """
    inner, *squares = summed(
        [
            math.fsum((a * b).sum().item() for a, b in zip(one, other, strict=True)),
            *(math.fsum(part.square().sum().item() for part in gradient) for gradient in (one, other)),
        ]
    )
    return inner / math.sqrt(squares[0] * squares[1]) if all(squares) else math.nan


def _words(parameter: Tensor) -> Tensor:
    """As int64 where the size allows: eight bytes are added at once."""
    flat = parameter.detach().contiguous().view(-1)
    whole = flat.numel() * flat.element_size() % 8 == 0 and flat.storage_offset() * flat.element_size() % 8 == 0
    return flat.view(torch.int64 if whole else torch.uint8)

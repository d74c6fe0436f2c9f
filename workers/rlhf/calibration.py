"""Whether a reward model is as sure as it is right."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from workers.rlhf.intervals import Share, wilson

BINS = 10


class Slice(NamedTuple):
    """Choices whose confidence lies in (low, high]."""

    low: float
    high: float
    n: int
    confidence: float
    """Their mean confidence."""
    accuracy: Share
    """How often the favourite was picked; well calibrated if `confidence` lies in the interval."""


class Calibration(NamedTuple):
    """Predicted probabilities held against what people picked."""

    n: int
    error: float
    """Expected calibration error: the mean gap of confidence and accuracy over the bins, by their size; 0 is best."""
    brier: float
    """Mean summed square of probability minus pick; 0 at best, 1 - 1/k without an opinion, 2 at worst."""
    log_loss: float
    """Nats per choice; ln k without an opinion."""
    bins: tuple[Slice, ...]
    """Those that are not empty, by confidence."""


def calibration(scores: Tensor, targets: Tensor, bins: int = BINS) -> Calibration:
    """How the softmax of scores agrees with choices.

    Args:
        scores: (n, k) float at the scale they were fitted at, n >= 1, of choices that no fit saw.
        targets: (n, k) float; each row a distribution with one largest share, the sample picked.
        bins: of equal width in [0, 1]; the confidence is the favourite's probability.
    Raises: ValueError if shapes differ, nothing is given or a row has no single pick.
    Source: Naeini et al. 2015; Guo et al. 2017, section 2; Brier 1950.
    """
    if scores.dim() != 2 or scores.shape != targets.shape or not len(scores):
        raise ValueError(f"scores {tuple(scores.shape)} and targets {tuple(targets.shape)}: expected (n, k), n >= 1")
    if not has_pick(targets).all():
        raise ValueError("ties are neither right nor wrong: leave out targets without one largest share")
    probabilities = scores.double().softmax(dim=1)
    confidence, right = probabilities.amax(dim=1), favourite_is_picked(scores, targets)
    edges = [number / bins for number in range(bins + 1)]
    found = slices(confidence, right, edges)
    return Calibration(
        n=len(scores),
        error=sum(one.n * abs(one.confidence - one.accuracy.value) for one in found) / len(scores),
        brier=(probabilities - targets).square().sum(dim=1).mean().item(),
        log_loss=-(targets * scores.double().log_softmax(dim=1)).sum(dim=1).mean().item(),
        bins=found,
    )


def slices(confidence: Tensor, right: Tensor, edges: Sequence[float]) -> tuple[Slice, ...]:
    """Accuracy by confidence.

    Args:
        confidence: (n,) float: the model's, or how sure people were.
        right: (n,) bool.
        edges: rising; slices are (edges[i], edges[i + 1]]. Empty ones are left out.
    """
    places = torch.bucketize(confidence.double(), torch.tensor(edges, dtype=torch.float64)) - 1
    found = []
    for place, (low, high) in enumerate(pairwise(edges)):
        here = places == place
        if n := int(here.sum()):
            share = wilson(int(right[here].sum()), n)
            found.append(Slice(low, high, n, confidence[here].double().mean().item(), share))
    return tuple(found)


def favourite_is_picked(scores: Tensor, targets: Tensor) -> Tensor:
    """(n,) bool of (n, k) scores and targets; of equal highest scores the first counts."""
    return scores.argmax(dim=1) == targets.argmax(dim=1)


def has_pick(targets: Tensor) -> Tensor:
    """(n,) bool; True where one of the k shares is the largest: not at ties."""
    top = targets.topk(2, dim=1).values
    return top[:, 0] > top[:, 1]


def correlation(one: Tensor, other: Tensor) -> float | None:
    """Pearson's r of two (n,) floats; None where either is constant."""
    centred = torch.stack([one.double() - one.double().mean(), other.double() - other.double().mean()])
    norms = centred.norm(dim=1)
    if not norms.prod() > 0:
        return None
    return float((centred[0] @ centred[1]) / norms.prod())

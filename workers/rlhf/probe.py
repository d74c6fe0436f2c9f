"""A linear reward head fitted to choices by convex optimisation: seconds, no learning rate, no seed."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from workers.rlhf.losses import best_of_k_loss

MAX_ITERATIONS = 200
TOLERANCE = 1e-5
"""Largest slope of the loss per comparison at which a fit is done."""
HOPELESS = 1.05
"""Penalties weaker than one whose loss exceeds the lowest by this factor are not tried."""


class CrossValidated(NamedTuple):
    """The best penalty of those tried."""

    l2: float
    loss: float
    """Nats per comparison, each scored by the fit that did not see its fold."""
    scores: Tensor
    """(n, k) float64; those scores."""


def fit_linear(features: Tensor, best: Tensor, *, l2: float, start: Tensor | None = None) -> Tensor:
    """The weight that minimises the summed best-of-k loss of features @ weight, plus l2 / 2 * |weight|^2.

    Args:
        features: (n, k, d) float64.
        best: (n,) int64 in [0, k).
        l2: positive; the precision of a Gaussian prior, so it means the same for any n.
        start: (d,) float64 to begin from; zero without it. The result does not depend on it.
    Returns: (d,) float64.
    Source: Ziegler et al. 2019, eq. 1.
    """
    if l2 <= 0:
        raise ValueError(f"l2 {l2} must be positive")
    n, _, d = features.shape
    weight = (torch.zeros(d, dtype=features.dtype) if start is None else start.clone()).requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [weight],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=TOLERANCE * n,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = n * best_of_k_loss(features @ weight, best) + l2 / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach()


def cross_validate(features: Tensor, best: Tensor, folds: Tensor, penalties: Sequence[float]) -> CrossValidated:
    """Score every comparison by a fit on the other folds, for each penalty; keep the penalty of the lowest loss.

    Args:
        features, best: as in `fit_linear`.
        folds: (n,) int64; comparisons of one prompt must share a fold.
        penalties: values of l2 to try, from the strongest to where they clearly do harm.
    Raises: ValueError unless there are two folds and one penalty.
    """
    numbers = folds.unique().tolist()
    if len(numbers) < 2 or not penalties:
        raise ValueError(f"{len(numbers)} folds and {len(penalties)} penalties: need at least 2 and 1")
    weights: dict[int, Tensor] = {}
    lowest = CrossValidated(math.nan, math.inf, features.new_empty(0))
    for l2 in sorted(penalties, reverse=True):  # strong ones converge at once and are good starts for weaker ones
        scores = features.new_empty(features.shape[:2])
        for fold in numbers:
            held_out = folds == fold
            weights[fold] = fit_linear(features[~held_out], best[~held_out], l2=l2, start=weights.get(fold))
            scores[held_out] = features[held_out] @ weights[fold]
        loss = best_of_k_loss(scores, best).item()
        if loss < lowest.loss:
            lowest = CrossValidated(l2, loss, scores)
        elif loss > HOPELESS * lowest.loss:
            break
    return lowest


def assign_folds(groups: Sequence[str], folds: int, generator: torch.Generator) -> Tensor:
    """(n,) int64 in [0, folds): equal groups share a fold; folds differ in size by one group at most.

    Raises: ValueError if there are fewer than 2 groups; with fewer groups than folds each is a fold.
    """
    names = sorted(set(groups))
    if len(names) < 2:
        raise ValueError("labels of at least 2 different prompts are needed to hold some out")
    order = torch.randperm(len(names), generator=generator).tolist()
    fold_of = {name: place % min(folds, len(names)) for name, place in zip(names, order, strict=True)}
    return torch.tensor([fold_of[group] for group in groups])

"""A linear reward head fitted to choices by convex optimisation: seconds, no learning rate, no seed."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from workers.rlhf.losses import best_of_k_loss

MAX_ITERATIONS = 200


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
        [weight], max_iter=MAX_ITERATIONS, tolerance_grad=1e-6 * n, tolerance_change=0.0, line_search_fn="strong_wolfe"
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
        penalties: values of l2 to try.
    Raises: ValueError unless there are two folds and one penalty.
    """
    numbers = folds.unique().tolist()
    if len(numbers) < 2 or not penalties:
        raise ValueError(f"{len(numbers)} folds and {len(penalties)} penalties: need at least 2 and 1")
    descending = sorted(penalties, reverse=True)  # strong ones converge at once and are good starts for weaker ones
    scores = torch.zeros(len(descending), *features.shape[:2], dtype=features.dtype)
    for fold in numbers:
        held_out = folds == fold
        seen, chosen, unseen = features[~held_out], best[~held_out], features[held_out]
        weight = None
        for row, l2 in enumerate(descending):
            weight = fit_linear(seen, chosen, l2=l2, start=weight)
            scores[row, held_out] = unseen @ weight
    losses = [best_of_k_loss(of_penalty, best).item() for of_penalty in scores]
    lowest = min(range(len(losses)), key=losses.__getitem__)
    return CrossValidated(descending[lowest], losses[lowest], scores[lowest])


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

"""A linear reward head fitted to labels by convex optimisation: seconds, no learning rate, no seed."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from workers.rlhf.labels import Choice, LabelKind, LeastSquares

MAX_ITERATIONS = 200
TOLERANCE = 1e-5
"""Largest slope of the loss per label at which a fit is done."""
HOPELESS = 1.05
"""Penalties weaker than one whose loss exceeds the lowest by this factor are not tried."""
CHOICE = Choice()


class LinearFit(NamedTuple):
    """A linear head."""

    weight: Tensor
    """(d,) float64."""
    intercept: float = 0.0

    def scores(self, features: Tensor) -> Tensor:
        """(..., d) float64 -> (...) float64."""
        return features @ self.weight + self.intercept


class CrossValidated(NamedTuple):
    """The best penalty of those tried."""

    l2: float
    loss: float
    """Per label, each scored by the fit that did not see its fold."""
    scores: Tensor
    """(n, k) float64; those scores."""


def fit_linear(
    features: Tensor,
    targets: Tensor,
    *,
    l2: float,
    kind: LabelKind = CHOICE,
    start: LinearFit | None = None,
    weights: Tensor | None = None,
) -> LinearFit:
    """The head that minimises the summed loss of its scores, plus l2 / 2 * |weight|^2.

    Args:
        features: (n, k, d) float64.
        targets: (n, m) float64, as `kind` has them.
        l2: positive; the precision of a Gaussian prior, so it means the same for any n.
        start: where to begin; zero without it. The result does not depend on it.
        weights: (n,) float64, of each loss; of choices alone. None: 1 each.
    Raises: ValueError if l2 is not positive, or weights are given for a fit by least squares.
    Source: Ziegler et al. 2019, eq. 1, for choices; ridge regression for ratings and differences.
    """
    if l2 <= 0:
        raise ValueError(f"l2 {l2} must be positive")
    problem = kind.least_squares(features, targets)
    if problem is not None:
        if weights is not None:
            raise ValueError("ratings and differences take no weights: give every label the weight 1")
        return _ridge(problem, l2)
    n, _, d = features.shape
    weight = (torch.zeros(d, dtype=features.dtype) if start is None else start.weight.clone()).requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [weight],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=TOLERANCE * n,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        losses = kind.losses(features @ weight, targets)
        loss = (losses if weights is None else losses * weights).sum() + l2 / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return LinearFit(weight.detach())


def cross_validate(
    features: Tensor,
    targets: Tensor,
    folds: Tensor,
    penalties: Sequence[float],
    *,
    kind: LabelKind = CHOICE,
    weights: Tensor | None = None,
) -> CrossValidated:
    """Score every label by a fit on the other folds, for each penalty; keep the penalty of the lowest loss.

    Args:
        features, targets, kind, weights: as in `fit_linear`; what is held out is measured without weights.
        folds: (n,) int64; labels of one prompt must share a fold.
        penalties: values of l2 to try, from the strongest to where they clearly do harm.
    Raises: ValueError unless there are two folds and one penalty.
    """
    numbers = folds.unique().tolist()
    if len(numbers) < 2 or not penalties:
        raise ValueError(f"{len(numbers)} folds and {len(penalties)} penalties: need at least 2 and 1")
    fits: dict[int, LinearFit] = {}
    lowest = CrossValidated(math.nan, math.inf, features.new_empty(0))
    for l2 in sorted(penalties, reverse=True):  # strong ones converge at once and are good starts for weaker ones
        scores = features.new_empty(features.shape[:2])
        for fold in numbers:
            held_out = folds == fold
            rest = ~held_out
            heavy = None if weights is None else weights[rest]
            start = fits.get(fold)
            fits[fold] = fit_linear(features[rest], targets[rest], l2=l2, kind=kind, start=start, weights=heavy)
            scores[held_out] = fits[fold].scores(features[held_out])
        loss = kind.losses(scores, targets).mean().item()
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


def bootstrap(groups: Sequence[str], generator: torch.Generator) -> Tensor:
    """(n',) int64 rows: as many groups as there are, drawn with replacement, each with all of its rows.

    Source: Efron 1979, with prompts as what is drawn: labels of one prompt are alike.
    """
    rows: dict[str, list[int]] = {name: [] for name in sorted(set(groups))}
    for row, group in enumerate(groups):
        rows[group].append(row)
    names = list(rows)
    drawn = torch.randint(len(names), (len(names),), generator=generator).tolist()
    return torch.tensor([row for place in drawn for row in rows[names[place]]])


def _ridge(problem: LeastSquares, l2: float) -> LinearFit:
    """In closed form, by the smaller of the (d, d) and the (n, n) system."""
    x, y = problem.inputs, problem.outputs
    x_mean, y_mean = (x.mean(dim=0), y.mean()) if problem.intercept else (torch.zeros_like(x[0]), y.new_zeros(()))
    x, y = x - x_mean, y - y_mean
    n, d = x.shape
    penalty = l2 / 2 * torch.eye(min(n, d), dtype=x.dtype)
    if d <= n:
        weight = torch.linalg.solve(x.T @ x + penalty, x.T @ y)
    else:
        weight = x.T @ torch.linalg.solve(x @ x.T + penalty, y)
    return LinearFit(weight, (y_mean - x_mean @ weight).item())

"""The kinds of labels a reward model learns from: what each wants of the scores, and at what scale.

Best-of-k and pairwise labels are choices; a choice may be unsure, or even where people saw no difference.
Source: lm-human-preferences label_types.py; Ziegler et al. 2019, section 2.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch.nn.functional as F
from torch import Tensor

SLACK = 1e-4
"""How far from 1 the sum of a distribution may be."""


class LeastSquares(NamedTuple):
    """A linear fit with squared errors."""

    inputs: Tensor
    """(n, d) float."""
    outputs: Tensor
    """(n,) float."""
    intercept: bool
    """Whether a constant is fitted too."""


class LabelKind(Protocol):
    """What a kind of label asks of the scores of the samples it is about."""

    @property
    def name(self) -> str:
        """As in reports."""
        ...

    def losses(self, scores: Tensor, targets: Tensor) -> Tensor:
        """(n, k) scores and (n, m) targets -> (n,) losses. Raises: ValueError if shapes disagree."""
        ...

    def target_scale(self, targets: Tensor) -> tuple[float, float]:
        """Mean and standard deviation that scores should have before training."""
        ...

    def least_squares(self, features: Tensor, targets: Tensor) -> LeastSquares | None:
        """The fit of a linear head to (n, k, d) features, if it is one of squared errors."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of k samples is the best. Targets (n, k): a distribution over them."""

    name: str = "choice"

    def losses(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of softmax over the scores against the targets, nats; with k = 2 soft Bradley-Terry."""
        _require_shapes(scores, targets, (scores.shape[0], scores.shape[-1]))
        return -(targets * F.log_softmax(scores, dim=1)).sum(dim=1)

    def target_scale(self, targets: Tensor) -> tuple[float, float]:  # noqa: ARG002
        """Mean 0, standard deviation 1: choices do not say how good a sample is."""
        return 0.0, 1.0

    def least_squares(self, features: Tensor, targets: Tensor) -> LeastSquares | None:  # noqa: ARG002
        """None."""
        return None


@dataclass(frozen=True, slots=True)
class Rating:
    """How good one sample is. Targets (n, 1): the rating, in any unit."""

    name: str = "rating"

    def losses(self, scores: Tensor, targets: Tensor) -> Tensor:
        """(score - rating)^2."""
        _require_shapes(scores, targets, (scores.shape[0], 1), k=1)
        return (scores - targets).squeeze(1).square()

    def target_scale(self, targets: Tensor) -> tuple[float, float]:
        """The ratings' own. Raises: ValueError if they are all alike."""
        return _scale(targets)

    def least_squares(self, features: Tensor, targets: Tensor) -> LeastSquares | None:
        """Features against ratings."""
        return LeastSquares(features[:, 0], targets[:, 0], intercept=True)


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better the second of two samples is than the first. Targets (n, 1): r1 - r0, in any unit."""

    name: str = "difference"

    def losses(self, scores: Tensor, targets: Tensor) -> Tensor:
        """(score 1 - score 0 - difference)^2."""
        _require_shapes(scores, targets, (scores.shape[0], 1), k=2)
        return (scores[:, 1] - scores[:, 0] - targets[:, 0]).square()

    def target_scale(self, targets: Tensor) -> tuple[float, float]:
        """That of half the differences, as published. Raises: ValueError if they are all alike."""
        return _scale(targets / 2)

    def least_squares(self, features: Tensor, targets: Tensor) -> LeastSquares | None:
        """Differences of features against differences; a constant would cancel."""
        return LeastSquares(features[:, 1] - features[:, 0], targets[:, 0], intercept=False)


def picked(best: int, k: int, sureness: float = 1.0) -> tuple[float, ...]:
    """Target of a choice: `sureness` of it on the sample picked, the rest evenly on all k.

    Raises: ValueError if best is not one of the k, or sureness not in [0, 1].
    """
    if not 0 <= best < k:
        raise ValueError(f"best {best} must lie in [0, {k}), the samples compared")
    if not 0 <= sureness <= 1:
        raise ValueError(f"sureness {sureness} must lie in [0, 1]")
    return tuple((1 - sureness) / k + (sureness if place == best else 0.0) for place in range(k))


def even(k: int) -> tuple[float, ...]:
    """Target of a choice that is none: all k alike."""
    return picked(0, k, 0.0)


def preference(strength: float) -> tuple[float, float]:
    """Target of a pair: strength -1 is the first for sure, 0 a tie, 1 the second for sure; p is strength 2p - 1.

    Raises: ValueError if strength is not in [-1, 1].
    """
    if not -1 <= strength <= 1:
        raise ValueError(f"strength {strength} must lie in [-1, 1]; a probability p is the strength 2 * p - 1")
    return (1 - strength) / 2, (1 + strength) / 2


def require_distributions(targets: Tensor) -> None:
    """Raises: ValueError unless each row of (n, k) targets is a distribution."""
    if not ((targets >= 0).all() and ((targets.sum(dim=1) - 1).abs() <= SLACK).all()):
        raise ValueError("the target of a choice must be shares in [0, 1] that add up to 1, one per sample")


def _scale(values: Tensor) -> tuple[float, float]:
    mean, std = values.double().mean().item(), values.double().std(correction=0).item()
    if not std > 0:
        raise ValueError(f"all {values.numel()} labels are {values.flatten()[0].item():g}: there is nothing to learn")
    return mean, std


def _require_shapes(scores: Tensor, targets: Tensor, wanted: tuple[int, int], k: int | None = None) -> None:
    # Broadcasting (n, 1) against (n, k) would train silently on nonsense.
    if scores.dim() != 2 or (k is not None and scores.shape[1] != k) or tuple(targets.shape) != wanted:
        raise ValueError(
            f"scores {tuple(scores.shape)} and targets {tuple(targets.shape)}: expected (n, {k or 'k'}) and {wanted}"
        )

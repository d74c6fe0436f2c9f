"""How well scores predict labels that no fit saw, as JSON for reports."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from workers.rlhf.calibration import Slice, calibration, correlation, favourite_is_picked, has_pick, slices
from workers.rlhf.intervals import wilson
from workers.rlhf.labels import Choice, LabelKind

LABEL_CONFIDENCE = (0.0, 0.6, 0.75, 0.9, 1.0)
"""Edges of the share that people gave to the sample they picked."""


def quality(kind: LabelKind, scores: Tensor, targets: Tensor) -> dict[str, Any]:
    """Figures of (n, k) scores, at the scale they were fitted at, against (n, m) targets.

    Returns: `loss`, per label. Of choices, where any has a pick (ties have none): `accuracy` as value, low, high;
        `confidence`, the mean probability of the favourite; `calibration`; `by_label_confidence`, accuracy by how sure
        people were, if they were not always equally sure. Of ratings and differences `pearson`, None if undefined.
    """
    found: dict[str, Any] = {"loss": kind.losses(scores, targets).mean().item()}
    if isinstance(kind, Choice):
        known = has_pick(targets)
        return found | (_of_picks(scores[known], targets[known]) if known.any() else {})
    compared = kind.least_squares(scores.unsqueeze(-1), targets)
    assert compared is not None, "labels that are no choices are fitted by least squares"
    return found | {"pearson": correlation(compared.inputs[:, 0], compared.outputs)}


def named(found: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The figures of `quality` with `where` added to their names; other entries are left out."""
    names = ("loss", "accuracy", "confidence", "calibration", "by_label_confidence", "pearson")
    return {f"{name}_{where}": found[name] for name in names if name in found}


def _of_picks(scores: Tensor, targets: Tensor) -> dict[str, Any]:
    right, sureness = favourite_is_picked(scores, targets), targets.amax(dim=1)
    agreed = calibration(scores, targets)
    found: dict[str, Any] = {
        "accuracy": wilson(int(right.sum()), len(right))._asdict(),
        "confidence": scores.softmax(dim=1).amax(dim=1).mean().item(),
        "calibration": agreed._asdict() | {"bins": [_slice(one) for one in agreed.bins]},
    }
    if sureness.min() < sureness.max():
        found["by_label_confidence"] = [_slice(one) for one in slices(sureness, right, LABEL_CONFIDENCE)]
    return found


def _slice(one: Slice) -> dict[str, Any]:
    return one._asdict() | {"accuracy": one.accuracy._asdict()}

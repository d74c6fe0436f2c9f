"""What a reward model would be without one labeler's labels: held out by prompt, pair by pair, on what others said."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
import torch
from torch import Generator, Tensor

from app import quality
from app.errors import ConflictError
from app.hparams import PROBE_HEADS, RewardHead, RewardHParams
from workers.reward_features import FeatureCache
from workers.reward_fitting import PENALTIES
from workers.reward_labels import EncodedLabel, targets_of, weights_of
from workers.reward_members import Trunk, reads_of
from workers.rlhf.calibration import favourite_is_picked, has_pick
from workers.rlhf.labels import Choice
from workers.rlhf.probe import assign_folds, cross_validate, fit_linear

LEAST_HELD_OUT = 10
"""Fewer labels by others say nothing."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsWithout:
    """The same labels with and without one labeler's."""

    everybody: Sequence[EncodedLabel]
    """All that train now."""
    theirs: Sequence[bool]
    """Which of them the labeler gave."""
    others: Sequence[EncodedLabel]
    """All that would train without the labeler: another's label may then stand in for one of theirs."""
    valid: Sequence[EncodedLabel]
    """Others' labels on prompts that train nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fits:
    """Linear heads on features of the frozen reference."""

    everybody: Tensor
    """(n, k, d) float64, standardised as all others are."""
    others: Tensor
    held_out: Tensor
    l2: float


def change(
    labels: LabelsWithout, trunk: Trunk, *, hparams: RewardHParams, seed: int, cache: FeatureCache, bf16: bool = False
) -> dict[str, Any]:
    """The change in held-out accuracy without the labeler, and with as many labels of others left out instead.

    A frozen head is fitted five times for each: on the labels of four fifths of the prompts, judged on what others
    said of the rest; labels of the valid split are judged too and train nothing. Head and penalty are those of the
    lowest cross-validated loss on all labels.

    Returns: JSON: `labels`, `theirs`, `others` (labels that train); `held_out`, choices judged; `accuracy`,
        `accuracy_without`, `accuracy_fewer`; `change`, `change_fewer` (paired, with 95 % intervals), `gained`, `lost`
        (choices right only without, only with them), `loss_change` in nats, positive where it grows; `head`, `l2`.
    Raises: ConflictError if there are too few labels of others.
    """
    held = [*labels.others, *labels.valid]
    targets = targets_of(held)
    judged = has_pick(targets) if len(held) else torch.zeros(0, dtype=torch.bool)
    if int(judged.sum()) < LEAST_HELD_OUT or len({one.prompt for one in labels.others}) < 2:
        raise ConflictError(f"Others gave fewer than {LEAST_HELD_OUT} labels: nothing could be told from them.")
    head, fits = _choose(labels, held, trunk, hparams, seed, cache, bf16)
    fold_of = _folds(labels, held, hparams.folds, seed)
    fewer = _fewer(labels, seed)
    arms = {
        "with": (fits.everybody, labels.everybody),
        "without": (fits.others, labels.others),
        "fewer": (fits.everybody[fewer], [labels.everybody[row] for row in fewer]),
    }
    scores = {name: _scores(fits, rows, given, fold_of, held) for name, (rows, given) in arms.items()}
    right = {name: favourite_is_picked(found[judged], targets[judged]) for name, found in scores.items()}
    losses = {name: Choice().losses(found, targets) for name, found in scores.items()}
    log.info("labeler_left_out", theirs=sum(labels.theirs), held_out=int(judged.sum()))
    return {
        "labels": len(labels.everybody),
        "theirs": sum(labels.theirs),
        "others": len(labels.others),
        "held_out": int(judged.sum()),
        "accuracy": right["with"].double().mean().item(),
        "accuracy_without": right["without"].double().mean().item(),
        "accuracy_fewer": right["fewer"].double().mean().item(),
        "change": _paired(right["without"], right["with"]),
        "change_fewer": _paired(right["fewer"], right["with"]),
        "gained": int((right["without"] & ~right["with"]).sum()),
        "lost": int((right["with"] & ~right["without"]).sum()),
        "loss_change": _mean(losses["without"] - losses["with"]),
        "head": head.model_dump(mode="json"),
        "l2": fits.l2,
    }


def _choose(
    labels: LabelsWithout,
    held: Sequence[EncodedLabel],
    trunk: Trunk,
    hparams: RewardHParams,
    seed: int,
    cache: FeatureCache,
    bf16: bool,
) -> tuple[RewardHead, _Fits]:
    heads = [head for head in hparams.heads if not head.tuned] or list(PROBE_HEADS[:1])
    folds = assign_folds([one.prompt for one in labels.everybody], hparams.folds, Generator().manual_seed(seed))
    targets, weights = targets_of(labels.everybody), weights_of(labels.everybody)
    best: tuple[float, RewardHead, _Fits] | None = None
    for head in heads:
        everybody, others, apart = _features(head, (labels.everybody, labels.others, held), trunk, cache, bf16)
        penalties = [penalty * everybody.shape[-1] for penalty in PENALTIES]
        found = cross_validate(everybody, targets, folds, penalties, weights=weights)
        if best is None or found.loss < best[0]:
            fits = _Fits(everybody=everybody, others=others, held_out=apart, l2=found.l2)
            best = found.loss, head, fits
    assert best is not None
    return best[1], best[2]


def _features(
    head: RewardHead, groups: Sequence[Sequence[EncodedLabel]], trunk: Trunk, cache: FeatureCache, bf16: bool
) -> list[Tensor]:
    """(n, k, d) float64 of each group, with mean 0 and standard deviation 1 over all samples."""
    samples = [sample for group in groups for label in group for sample in label.samples]
    reads = reads_of(head, trunk.reference)
    found = cache.features(trunk.reference, trunk.digest, samples, reads, bf16=bf16).flatten(1).double()
    spread = found.std(dim=0, correction=0)
    standard = (found - found.mean(dim=0)) / torch.where(spread > 0, spread, torch.ones_like(spread))
    sizes = [sum(len(label.responses) for label in group) for group in groups]
    k = len(groups[0][0].responses)
    return [part.unflatten(0, (-1, k)) for part in standard.split(sizes)]


def _folds(labels: LabelsWithout, held: Sequence[EncodedLabel], folds: int, seed: int) -> dict[str, int]:
    """The fold of each prompt; both arms leave out the same ones."""
    prompts = sorted({one.prompt for one in (*labels.everybody, *held)})
    numbers = assign_folds(prompts, folds, Generator().manual_seed(seed)).tolist()
    return dict(zip(prompts, numbers, strict=True))


def _fewer(labels: LabelsWithout, seed: int) -> list[int]:
    """Rows of `everybody` without as many labels of others as the labeler's leaving would cost."""
    rest = [row for row, theirs in enumerate(labels.theirs) if not theirs]
    out = max(0, min(len(labels.everybody) - len(labels.others), len(rest) - 1))
    order = torch.randperm(len(rest), generator=Generator().manual_seed(seed)).tolist()
    gone = {rest[place] for place in order[:out]}
    return [row for row in range(len(labels.everybody)) if row not in gone]


def _scores(
    fits: _Fits,
    features: Tensor,
    labels: Sequence[EncodedLabel],
    fold_of: dict[str, int],
    held: Sequence[EncodedLabel],
) -> Tensor:
    """(h, k) float64 of what was held out, each by the fit that saw no label of its prompt."""
    targets, weights = targets_of(labels), weights_of(labels)
    own = torch.tensor([fold_of[one.prompt] for one in labels])
    apart = torch.tensor([fold_of[one.prompt] for one in held])
    scores = fits.held_out.new_empty(fits.held_out.shape[:2])
    for fold in apart.unique().tolist():
        rest, out = own != fold, apart == fold
        heavy = None if weights is None else weights[rest]
        fit = fit_linear(features[rest], targets[rest], l2=fits.l2, weights=heavy)
        scores[out] = fit.scores(fits.held_out[out])
    return scores


def _paired(ours: Tensor, theirs: Tensor) -> dict[str, float]:
    both, first, second = int((ours & theirs).sum()), int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    neither = len(ours) - both - first - second
    interval = quality.paired_difference(both, first, second, neither)
    return {"value": (first - second) / len(ours), "low": interval.low, "high": interval.high}


def _mean(differences: Tensor) -> dict[str, float]:
    found = quality.mean_interval(differences.tolist())
    return {"value": found.mean, "low": found.low, "high": found.high}

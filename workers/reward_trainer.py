"""Labels to a reward model: an own copy of the reference with a scalar head, fitted from scratch to all labels.

Candidates from `RewardHParams.heads` compete by held-out loss. A frozen one is a linear head on cached features of the
reference, a convex problem solved in seconds; a tuned one is trained as in the paper.
Source: Ziegler et al. 2019, section 2.2.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import structlog
import torch
from torch import Generator, Tensor

from app.hparams import RewardHead, RewardHParams
from workers.nets.language_model import LanguageModel
from workers.nets.reward_model import Read, RewardModel
from workers.reward_features import EncodedComparison, EncodedSample, FeatureCache
from workers.reward_tuning import Tuned, normalise, score_comparisons, tune
from workers.rlhf.intervals import wilson
from workers.rlhf.losses import best_of_k_loss
from workers.rlhf.probe import assign_folds, cross_validate, fit_linear

PENALTIES = tuple(10 ** (exponent / 2) for exponent in range(-4, 3))
"""Tried as l2, times the number of features: with standard features the scores' spread then depends on it alone."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardData:
    """What a reward model is made of."""

    train: Sequence[EncodedComparison]
    """All usable labels that train."""
    valid: Sequence[EncodedComparison]
    """Labels on prompts that train nothing; may be empty."""
    normalization: Sequence[EncodedSample]
    """Samples of the reference on train prompts, neither cut nor filtered; they set the scale of the scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trunk:
    """Where trunks come from."""

    reference: LanguageModel
    """Never changed; frozen reward models share it."""
    digest: str
    """Names the reference's weights."""
    load: Callable[[], LanguageModel]
    """A fresh copy of the reference, to be trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedReward:
    """A reward model ready to score, and what is known of it."""

    model: RewardModel
    head: RewardHead
    report: dict[str, Any]
    """JSON. `labels`, `loss_train`, `gain`, `bias`, `l2` (None where tuned), `candidates`; where known `loss_heldout`,
    `accuracy_heldout`, `loss_valid`, `accuracy_valid` (accuracies as value, low, high) and `confidence_heldout`: the
    mean probability of the favourite, to be compared with the accuracy."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What to save: all weights of a tuned model, the head of a frozen one."""
        return self.model.state_dict() if self.head.tuned else self.model.head_state_dict()

    @property
    def meta(self) -> dict[str, Any]:
        """What `restore` needs beside the tensors, as JSON."""
        return {"head": self.head.model_dump(mode="json")}


def restore(tensors: Mapping[str, Tensor], meta: Mapping[str, Any], trunk: Trunk) -> RewardModel:
    """The reward model that was saved as `FittedReward.tensors` and `meta`."""
    head = RewardHead.model_validate(meta["head"])
    model = _fresh(head, trunk, Generator())
    if head.tuned:
        model.load_state_dict(tensors)
    else:
        model.load_head_state_dict(dict(tensors))
    return _settled(model)


def fit(
    data: RewardData, trunk: Trunk, *, hparams: RewardHParams, seed: int, cache: FeatureCache, bf16: bool = False
) -> FittedReward:
    """A reward model from the reference, on all labels of `data.train`.

    Args:
        seed: decides folds, the order of training and a tuned head's start.
        cache: keeps features of samples between calls.
        bf16: matrix products of the trunk in bfloat16.
    Raises: ValueError if labels or normalization samples do not suffice; the message says which.
    """
    if not data.train:
        raise ValueError("there are no labels to fit a reward model to")
    fitter = _Fitter(data=data, trunk=trunk, hparams=hparams, seed=seed, cache=cache, bf16=bf16)
    competing = len(hparams.heads) > 1 or not hparams.heads[0].tuned
    evaluated = [fitter.evaluate(head) for head in hparams.heads] if competing else [_Evaluated(head=hparams.heads[0])]
    winner = reduce(_better, evaluated)
    log.info("reward_head_chosen", head=winner.head.model_dump(mode="json"), labels=len(data.train))
    model, tuned = fitter.build(winner)
    report = {
        "labels": len(data.train),
        "loss_train": tuned.loss,
        "gain": model.gain.item(),
        "bias": model.bias.item(),
        "l2": winner.l2,
        "candidates": [one.summary() for one in evaluated],
    }
    report |= _named(winner.summary(), "heldout") | _named(fitter.validation(model, tuned.gain), "valid")
    return FittedReward(model=model, head=winner.head, report=report)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evaluated:
    """How a candidate did on what it was not fitted to."""

    head: RewardHead
    scores: Tensor | None = None
    """(n, k) float64; NaN where not held out."""
    best: Tensor | None = None
    """(n,) int64."""
    l2: float | None = None

    def losses(self) -> Tensor:
        """(n,) float64; NaN where not held out."""
        assert self.scores is not None
        assert self.best is not None
        return torch.nn.functional.cross_entropy(self.scores, self.best, reduction="none")

    def summary(self) -> dict[str, Any]:
        """As JSON."""
        summary: dict[str, Any] = {"head": self.head.model_dump(mode="json"), "l2": self.l2}
        if self.scores is None or self.best is None:
            return summary
        known = ~self.scores.isnan().any(dim=1)
        return summary | _quality(self.scores[known], self.best[known])


def _better(one: _Evaluated, other: _Evaluated) -> _Evaluated:
    """The lower loss on the comparisons that both were kept from."""
    difference = (other.losses() - one.losses()).nanmean()
    return other if difference < 0 else one


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fitter:
    """The candidates' common ground."""

    data: RewardData
    trunk: Trunk
    hparams: RewardHParams
    seed: int
    cache: FeatureCache
    bf16: bool

    def evaluate(self, head: RewardHead) -> _Evaluated:
        return self._evaluate_tuned(head) if head.tuned else self._evaluate_frozen(head)

    def build(self, winner: _Evaluated) -> tuple[RewardModel, Tuned]:
        """The model on all labels."""
        model = _fresh(winner.head, self.trunk, self._generator())
        if winner.head.tuned:
            tuned = tune(
                model,
                self.data.train,
                self.data.normalization,
                hparams=self.hparams,
                generator=self._generator(),
                bf16=self.bf16,
            )
            return _settled(model), tuned
        assert winner.l2 is not None
        features, normalization = self._features(winner.head)
        model.standardise(torch.cat([features.flatten(0, 1), normalization]))
        weight = fit_linear(_standard(model, features), self._best(), l2=winner.l2)
        with torch.no_grad():
            model.head.weight.copy_(weight.unsqueeze(0))
            # A convex fit forgets where it began, so it is normalised only after.
            normalise(model, model.score_features(normalization.to(model.trunk.device)).cpu())
        return _settled(model), Tuned(best_of_k_loss(_standard(model, features) @ weight, self._best()).item(), 1.0)

    def validation(self, model: RewardModel, gain: float) -> dict[str, Any]:
        """Quality on prompts that train nothing."""
        if not self.data.valid:
            return {}
        best = torch.tensor([comparison.best for comparison in self.data.valid])
        return _quality(self._scores(model, gain, self.data.valid), best)

    def _evaluate_frozen(self, head: RewardHead) -> _Evaluated:
        model = _fresh(head, self.trunk, self._generator())
        features, normalization = self._features(head)
        model.standardise(torch.cat([features.flatten(0, 1), normalization]))
        penalties = [penalty * features.shape[-1] for penalty in PENALTIES]
        found = cross_validate(_standard(model, features), self._best(), self._folds(), penalties)
        return _Evaluated(head=head, scores=found.scores, best=self._best(), l2=found.l2)

    def _evaluate_tuned(self, head: RewardHead) -> _Evaluated:
        """One fold only: each costs a whole training."""
        held_out = self._folds() == 0
        train = [one for one, held in zip(self.data.train, held_out.tolist(), strict=True) if not held]
        rest = [one for one, held in zip(self.data.train, held_out.tolist(), strict=True) if held]
        model = _fresh(head, self.trunk, self._generator())
        generator = self._generator()
        tuned = tune(model, train, self.data.normalization, hparams=self.hparams, generator=generator, bf16=self.bf16)
        scores = torch.full((len(self.data.train), len(rest[0].responses)), torch.nan, dtype=torch.float64)
        scores[held_out] = self._scores(model, tuned.gain, rest)
        return _Evaluated(head=head, scores=scores, best=self._best())

    def _scores(self, model: RewardModel, gain: float, comparisons: Sequence[EncodedComparison]) -> Tensor:
        """(n, k) float64 at the scale that was fitted: the normalised one says nothing of how sure people are."""
        scores = score_comparisons(model, comparisons, bf16=self.bf16).double()
        return scores * (gain / model.gain.item())

    def _features(self, head: RewardHead) -> tuple[Tensor, Tensor]:
        """(n, k, width) of the labeled samples and (m, width) of the normalization samples."""
        heads = [one for one in self.hparams.heads if not one.tuned]
        reads = list(dict.fromkeys(read for one in heads for read in _reads(one, self.trunk.reference)))
        labeled = [sample for comparison in self.data.train for sample in comparison.samples]
        everything = self.cache.features(
            self.trunk.reference, self.trunk.digest, [*labeled, *self.data.normalization], reads, bf16=self.bf16
        )
        features = everything[:, [reads.index(read) for read in _reads(head, self.trunk.reference)]].flatten(1)
        return features[: len(labeled)].unflatten(0, (len(self.data.train), -1)), features[len(labeled) :]

    def _best(self) -> Tensor:
        return torch.tensor([comparison.best for comparison in self.data.train])

    def _folds(self) -> Tensor:
        return assign_folds([one.prompt for one in self.data.train], self.hparams.folds, self._generator())

    def _generator(self) -> Generator:
        return Generator().manual_seed(self.seed)


def _fresh(head: RewardHead, trunk: Trunk, generator: Generator) -> RewardModel:
    own = trunk.load() if head.tuned else trunk.reference
    return RewardModel(own, reads=_reads(head, own), frozen=not head.tuned, generator=generator)


def _settled(model: RewardModel) -> RewardModel:
    """No gradients from now on; a shared trunk is left as it is."""
    for part in model.children():
        if part is not model.trunk or not model.frozen:
            part.requires_grad_(False)
    for parameter in (model.gain, model.bias):
        parameter.requires_grad_(False)
    return model


def _reads(head: RewardHead, model: LanguageModel) -> tuple[Read, ...]:
    return tuple(Read(layer=model.layer_at(one.depth), pooling=one.pooling) for one in head.readouts)


def _standard(model: RewardModel, features: Tensor) -> Tensor:
    """What the head's weight meets, in float64."""
    return (features.double() - model.feature_mean.cpu().double()) / model.feature_std.cpu().double()


def _quality(scores: Tensor, best: Tensor) -> dict[str, Any]:
    right = int((scores.argmax(dim=1) == best).sum())
    return {
        "loss": best_of_k_loss(scores, best).item(),
        "accuracy": wilson(right, len(best))._asdict(),
        "confidence": scores.softmax(dim=1).amax(dim=1).mean().item(),
    }


def _named(quality: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {f"{name}_{where}": quality[name] for name in ("loss", "accuracy", "confidence") if name in quality}

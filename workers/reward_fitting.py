"""Training members of a reward model and holding candidates against labels that they did not see."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from app.hparams import RewardHead, RewardHParams
from workers.frozen_reads import FrozenReads
from workers.nets.reward_ensemble import Reward
from workers.nets.reward_model import Read, RewardModel
from workers.ranks import ALONE, Ranks
from workers.reward_features import FeatureCache
from workers.reward_labels import EncodedSample, RewardData, targets_of, weights_of
from workers.reward_members import Member, Trunk, at_fitted_scale, fresh, reads_of, settled
from workers.reward_quality import named, quality
from workers.reward_tuning import Scale, member_scores, normalise, tune
from workers.rlhf.labels import LabelKind
from workers.rlhf.probe import assign_folds, bootstrap, cross_validate, fit_linear
from workers.rlhf.schedule import SEED_STRIDE

PENALTIES = tuple(10 ** (exponent / 2) for exponent in range(-4, 3))
"""Tried as l2, times the number of features: with standard features the scores' spread then depends on it alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """How a candidate did on what it was not fitted to."""

    head: RewardHead
    kind: LabelKind
    targets: Tensor
    """(n, m) float64."""
    scores: Tensor | None = None
    """(n, k) float64; NaN where not held out. None: nothing was."""
    l2: float | None = None
    kept: Member | None = None
    """The best of several trainings, which is used as it is."""

    def losses(self) -> Tensor:
        """(n,) float64; NaN where not held out."""
        assert self.scores is not None
        return self.kind.losses(self.scores, self.targets)

    def summary(self) -> dict[str, Any]:
        """As JSON."""
        summary: dict[str, Any] = {"head": self.head.model_dump(mode="json"), "l2": self.l2}
        if self.scores is None:
            return summary
        known = ~self.scores.isnan().any(dim=1)
        return summary | quality(self.kind, self.scores[known], self.targets[known])


def better(one: Evaluated, other: Evaluated) -> Evaluated:
    """The lower loss on the labels that both were kept from."""
    difference = (other.losses() - one.losses()).nanmean()
    return other if difference < 0 else one


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitter:
    """The candidates' common ground."""

    data: RewardData
    trunk: Trunk
    hparams: RewardHParams
    seed: int
    cache: FeatureCache
    bf16: bool
    ranks: Ranks = ALONE
    """Processes that fit together; all decide the same, for all hold the same scores."""

    def evaluate(self, head: RewardHead) -> Evaluated:
        """Held-out scores of a candidate: by cross-validation where frozen, on one fold where each costs a training."""
        return self._evaluate_tuned(head) if head.tuned else self._evaluate_frozen(head)

    def not_evaluated(self, head: RewardHead) -> Evaluated:
        """A candidate that need not compete."""
        return Evaluated(head=head, kind=self.data.kind, targets=self._targets())

    def validation(self, members: Sequence[Member], model: Reward) -> dict[str, Any]:
        """Figures on `data.valid`, whose prompts train nothing; none where it is empty."""
        labels = self.data.valid
        if not labels:
            return {}
        said = self._member_scores(members, [sample for label in labels for sample in label.samples])
        scores = at_fitted_scale(members, said).view(len(labels), -1)
        found = named(quality(self.data.kind, scores, targets_of(labels)), "valid")
        spread = model.combine(said.to(model.device)).disagreement
        return found if spread is None else found | {"disagreement_valid": spread.mean().item()}

    def members(self, winner: Evaluated) -> list[Member]:
        """The winner trained on all labels, or `ensemble` of it, each on prompts drawn anew with replacement."""
        if winner.kept is not None:
            return [winner.kept]
        if self.hparams.ensemble == 1:
            return [self._member(winner, torch.arange(len(self.data.train)), 0)]
        return [self._bootstrapped(winner, number) for number in range(self.hparams.ensemble)]

    def best_seed(
        self, head: RewardHead, rows: Tensor, held_out: Tensor, number: int, seeds: int
    ) -> tuple[Member, Tensor]:
        """Of `seeds` trainings on `rows` the one with the lowest loss on `held_out`, and its (h, k) scores there.

        Args:
            rows, held_out: of the labels that train; which labels a seed is judged by is the caller's to choose.
            number: the seeds are those from `number` times `seeds` on.
        """
        held, targets = [self.data.train[row] for row in held_out.tolist()], self._targets()[held_out]
        if not held:
            raise ValueError("every prompt was drawn: to choose among seeds, labels of more prompts are needed")
        best: tuple[float, Member, Tensor] | None = None
        for seed in range(seeds):
            member = self._tuned(head, rows, number * seeds + seed)
            said = self._said(member, [one for label in held for one in label.samples])
            scores = at_fitted_scale([member], said).view(len(held), -1)
            loss = self.data.kind.losses(scores, targets).mean().item()
            if best is None or loss < best[0]:
                best = loss, member, scores
            del member  # the next one needs its memory
        assert best is not None
        return best[1], best[2]

    def _bootstrapped(self, winner: Evaluated, number: int) -> Member:
        prompts = [label.prompt for label in self.data.train]
        return self._member(winner, bootstrap(prompts, self._generator(number)), number)

    def _member(self, winner: Evaluated, rows: Tensor, number: int) -> Member:
        if not winner.head.tuned:
            return self._frozen(winner, rows)
        if self.hparams.seeds == 1:
            return self._tuned(winner.head, rows, number)
        out = torch.ones(len(self.data.train), dtype=torch.bool)
        out[rows] = False  # by prompt, for the rows were drawn by prompt
        return self.best_seed(winner.head, rows, out.nonzero().flatten(), number, self.hparams.seeds)[0]

    def _frozen(self, winner: Evaluated, rows: Tensor) -> Member:
        assert winner.l2 is not None
        model = fresh(winner.head, self.trunk, self._generator())
        features, normalization = self._features(winner.head)
        model.standardise(torch.cat([features.flatten(0, 1), normalization]))
        standard, targets = _standard(model, features)[rows], self._targets()[rows]
        weights = weights_of([self.data.train[row] for row in rows.tolist()])
        fit = fit_linear(standard, targets, l2=winner.l2, kind=self.data.kind, weights=weights)
        with torch.no_grad():
            model.head.weight.copy_(fit.weight.unsqueeze(0))
            model.head.bias.fill_(fit.intercept)
            # A convex fit forgets where it began, so it is normalised only after.
            normalise(model, model.score_features(normalization.to(model.device)).cpu())
        loss = self.data.kind.losses(fit.scores(standard), targets).mean().item()
        return Member(settled(model), Scale(1.0, 0.0), loss)

    def _tuned(self, head: RewardHead, rows: Tensor, number: int) -> Member:
        model = fresh(head, self.trunk, self._generator(number))
        tuned = tune(
            model,
            [self.data.train[row] for row in rows.tolist()],
            self.data.normalization,
            kind=self.data.kind,
            hparams=self.hparams,
            generator=self._generator(number),
            bf16=self.bf16,
            ranks=self.ranks,
        )
        return Member(settled(model), tuned.scale, tuned.loss)

    def _evaluate_frozen(self, head: RewardHead) -> Evaluated:
        model = fresh(head, self.trunk, self._generator())
        features, normalization = self._features(head)
        model.standardise(torch.cat([features.flatten(0, 1), normalization]))
        penalties = [penalty * features.shape[-1] for penalty in PENALTIES]
        targets, kind = self._targets(), self.data.kind
        standard, weights = _standard(model, features), weights_of(self.data.train)
        found = cross_validate(standard, targets, self._folds(), penalties, kind=kind, weights=weights)
        return Evaluated(head=head, kind=kind, targets=targets, scores=found.scores, l2=found.l2)

    def _evaluate_tuned(self, head: RewardHead) -> Evaluated:
        """Of several seeds the best one is kept, without the labels that chose it."""
        held_out = self._folds() == 0
        rows, held = (~held_out).nonzero().flatten(), held_out.nonzero().flatten()
        seeds = self.hparams.seeds if self.hparams.ensemble == 1 else 1
        member, found = self.best_seed(head, rows, held, 0, seeds)
        scores = torch.full((len(self.data.train), found.shape[1]), torch.nan, dtype=torch.float64)
        scores[held_out] = found
        targets, kept = self._targets(), member if seeds > 1 else None
        return Evaluated(head=head, kind=self.data.kind, targets=targets, scores=scores, kept=kept)

    def _member_scores(self, members: Sequence[Member], samples: Sequence[EncodedSample]) -> Tensor:
        """(m, n) float32; of frozen members from cached features."""
        first = members[0].model
        if not first.frozen:
            return torch.cat([self._said(one, samples) for one in members])
        features = self._cached(samples, first.reads).to(first.device)
        with torch.inference_mode():
            return torch.stack([one.model.score_features(features).cpu() for one in members])

    def _said(self, member: Member, samples: Sequence[EncodedSample]) -> Tensor:
        return member_scores(member.model, samples, bf16=self.bf16, ranks=self.ranks)

    def _features(self, head: RewardHead) -> tuple[Tensor, Tensor]:
        """(n, k, width) of the labeled samples and (m, width) of the normalization samples."""
        labeled = [sample for label in self.data.train for sample in label.samples]
        features = self._cached([*labeled, *self.data.normalization], reads_of(head, self.trunk.reference))
        return features[: len(labeled)].unflatten(0, (len(self.data.train), -1)), features[len(labeled) :]

    def _cached(self, samples: Sequence[EncodedSample], wanted: Sequence[Read]) -> Tensor:
        """(n, wanted * width); what any of the heads reads comes from the same pass."""
        reads = FrozenReads(trunk=self.trunk, cache=self.cache, heads=self.hparams.heads, bf16=self.bf16)
        return self.ranks.in_turn(lambda: reads.features(samples, wanted))

    def _targets(self) -> Tensor:
        return targets_of(self.data.train)

    def _folds(self) -> Tensor:
        return assign_folds([one.prompt for one in self.data.train], self.hparams.folds, self._generator())

    def _generator(self, number: int = 0) -> Generator:
        return Generator().manual_seed(self.seed + SEED_STRIDE * number)


def _standard(model: RewardModel, features: Tensor) -> Tensor:
    """What the head's weight meets, in float64."""
    return (features.double() - model.feature_mean.cpu().double()) / model.feature_std.cpu().double()

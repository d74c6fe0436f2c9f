"""Labels to a reward model: an own copy of the reference with a scalar head, fitted from scratch to all labels.

Candidates from `RewardHParams.heads` compete by held-out loss. A frozen one is a linear head on cached features of the
reference, a convex problem solved in seconds; a tuned one is trained as in the paper.
Source: Ziegler et al. 2019, section 2.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from torch import Generator, Tensor

from app.hparams import RewardHead, RewardHParams
from workers.nets.reward_ensemble import Reward, RewardEnsemble
from workers.ranks import ALONE, Ranks
from workers.reward_features import FeatureCache
from workers.reward_fitting import Evaluated, Fitter, better
from workers.reward_labels import RewardData
from workers.reward_members import Trunk, fresh, settled, together
from workers.reward_quality import named

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedReward:
    """A reward model ready to score, and what is known of it."""

    model: Reward
    head: RewardHead
    report: dict[str, Any]
    """JSON. `labels`, `kind`, `members`, `loss_train`, `gain`, `bias`, `l2` (None where tuned), `candidates`; with
    `_heldout` (by prompt, of train labels; of a single model of this head) and `_valid` (of this model) added to their
    names, where known, the figures of `reward_quality.quality`; `disagreement_valid` of ensembles, its mean."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What to save: all weights of a tuned model, the head of a frozen one."""
        return self.model.state_dict() if self.head.tuned else self.model.head_state_dict()

    @property
    def meta(self) -> dict[str, Any]:
        """What `restore` needs beside the tensors, as JSON."""
        return {"head": self.head.model_dump(mode="json"), "members": self.report["members"]}


def restore(tensors: Mapping[str, Tensor], meta: Mapping[str, Any], trunk: Trunk) -> Reward:
    """The reward model that was saved as `FittedReward.tensors` and `meta`."""
    head = RewardHead.model_validate(meta["head"])
    members = [settled(fresh(head, trunk, Generator())) for _ in range(int(meta.get("members", 1)))]
    model = members[0] if len(members) == 1 else RewardEnsemble(members)
    if head.tuned:
        model.load_state_dict(tensors)
    else:
        model.load_head_state_dict(dict(tensors))
    return model


def fit(
    data: RewardData,
    trunk: Trunk,
    *,
    hparams: RewardHParams,
    seed: int,
    cache: FeatureCache,
    bf16: bool = False,
    ranks: Ranks = ALONE,
) -> FittedReward:
    """A reward model from the reference, on all labels of `data.train`.

    With `seeds` above 1 the labels that choose among them, those of 1 / `folds` of the prompts, train nothing.

    Args:
        seed: decides folds, the order of training, a tuned head's start and what an ensemble's members see.
        cache: keeps features of samples between calls.
        bf16: matrix products of the trunk in bfloat16.
        ranks: processes that fit together, each given the same.
    Raises: ValueError if labels or normalization samples do not suffice; the message says which.
    """
    fitter = Fitter(data=data, trunk=trunk, hparams=hparams, seed=seed, cache=cache, bf16=bf16, ranks=ranks)
    winner, candidates = _compete(fitter) if _must_compete(hparams) else _alone(fitter)
    log.info("reward_head_chosen", head=winner.head.model_dump(mode="json"), labels=len(data.train))
    members = fitter.members(winner)
    model = together(members, data.normalization, bf16=bf16)
    report = {
        "labels": len(data.train),
        "kind": data.kind.name,
        "members": len(members),
        "loss_train": sum(one.loss for one in members) / len(members),
        "gain": model.gain.item(),
        "bias": model.bias.item(),
        "l2": winner.l2,
        "candidates": candidates,
    }
    report |= named(winner.summary(), "heldout") | fitter.validation(members, model)
    _log_calibration(report)
    return FittedReward(model=model, head=winner.head, report=report)


def _must_compete(hparams: RewardHParams) -> bool:
    """Frozen heads find their penalty by it; one tuned head is spared, unless one of several trainings is kept."""
    chosen_among_seeds = hparams.seeds > 1 and hparams.ensemble == 1
    return len(hparams.heads) > 1 or not hparams.heads[0].tuned or chosen_among_seeds


def _compete(fitter: Fitter) -> tuple[Evaluated, list[dict[str, Any]]]:
    """The candidate of the lowest held-out loss, and what is known of each."""
    first, *rest = fitter.hparams.heads
    winner = fitter.evaluate(first)
    candidates = [winner.summary()]
    for head in rest:
        evaluated = fitter.evaluate(head)
        candidates.append(evaluated.summary())
        winner = better(winner, evaluated)
    return winner, candidates


def _alone(fitter: Fitter) -> tuple[Evaluated, list[dict[str, Any]]]:
    only = fitter.not_evaluated(fitter.hparams.heads[0])
    return only, [only.summary()]


def _log_calibration(report: Mapping[str, Any]) -> None:
    for where in ("heldout", "valid"):
        found = report.get(f"calibration_{where}")
        if found is not None:
            accuracy, confidence = report[f"accuracy_{where}"]["value"], report[f"confidence_{where}"]
            log.info(
                "reward_calibration",
                where=where,
                choices=found["n"],
                accuracy=accuracy,
                confidence=confidence,
                **{name: found[name] for name in ("error", "brier", "log_loss")},
            )

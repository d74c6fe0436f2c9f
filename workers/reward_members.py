"""One trained reward model, and several as one: made from the reference, settled, scored at the scale of the labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from app.hparams import RewardHead
from workers.nets.language_model import LanguageModel
from workers.nets.reward_ensemble import Reward, RewardEnsemble
from workers.nets.reward_model import Read, RewardModel
from workers.reward_labels import EncodedSample
from workers.reward_tuning import Scale, member_scores, normalise


@dataclass(frozen=True, slots=True, kw_only=True)
class Trunk:
    """Where trunks come from."""

    reference: LanguageModel
    """Never changed; frozen reward models share it."""
    digest: str
    """Names the reference's weights."""
    load: Callable[[], LanguageModel]
    """A fresh copy of the reference, to be trained."""


class Member(NamedTuple):
    """One trained reward model."""

    model: RewardModel
    scale: Scale
    """Before the last normalisation."""
    loss: float
    """Per label it was trained on."""


def together(members: Sequence[Member], normalization: Sequence[EncodedSample], *, bf16: bool) -> Reward:
    """One model of the members; these samples' scores have mean 0 and standard deviation 1."""
    if len(members) == 1:
        return members[0].model
    ensemble = RewardEnsemble([one.model for one in members])
    for parameter in (ensemble.gain, ensemble.bias):
        parameter.requires_grad_(False)
    normalise(ensemble, member_scores(ensemble, normalization, bf16=bf16).mean(dim=0))
    return ensemble


def at_fitted_scale(members: Sequence[Member], scores: Tensor) -> Tensor:
    """(m, n) scores of members -> (n,) float64, their mean at the scale that was fitted.

    The normalised scale says nothing of how sure people are.
    """
    fitted = [
        (of_member.double() - one.model.bias.item()) / one.model.gain.item() * one.scale.gain + one.scale.bias
        for of_member, one in zip(scores, members, strict=True)
    ]
    return torch.stack(fitted).mean(dim=0)


def fresh(head: RewardHead, trunk: Trunk, generator: Generator) -> RewardModel:
    """An untrained reward model."""
    own = trunk.load() if head.tuned else trunk.reference
    return RewardModel(own, reads=reads_of(head, own), frozen=not head.tuned, generator=generator)


def settled(model: RewardModel) -> RewardModel:
    """No gradients from now on; a shared trunk is left as it is."""
    for name, parameter in model.named_parameters():
        if not (model.frozen and name.startswith("trunk.")):
            parameter.requires_grad_(False)
    return model


def reads_of(head: RewardHead, model: LanguageModel) -> tuple[Read, ...]:
    """Where a head reads in this model."""
    return tuple(Read(layer=model.layer_at(one.depth), pooling=one.pooling) for one in head.readouts)

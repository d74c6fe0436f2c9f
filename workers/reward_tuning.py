"""Training a whole reward model, trunk included, as in the paper; scoring with any."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from app.hparams import RewardHParams
from workers.gradients import Gradients
from workers.nets.precision import autocast
from workers.nets.reward_ensemble import Reward, RewardEnsemble
from workers.nets.reward_model import RewardModel, Scored
from workers.ranks import ALONE, Ranks
from workers.reward_features import batches, pad
from workers.reward_labels import EncodedLabel, EncodedSample, targets_of, weights_of
from workers.rlhf.adam import TFAdam
from workers.rlhf.labels import LabelKind
from workers.rlhf.normalization import gain_and_bias
from workers.rlhf.schedule import linear_decay


class Scale(NamedTuple):
    """A gain and bias at which scores mean what the labels meant."""

    gain: float
    bias: float


class Tuned(NamedTuple):
    """What training leaves beside the weights."""

    loss: float
    """Mean over the last epoch's steps, per label."""
    scale: Scale
    """Before the last normalisation: with it the scores predict how sure people are, or their ratings."""


def score_samples(
    model: Reward, samples: Sequence[EncodedSample], *, bf16: bool = False, ranks: Ranks = ALONE
) -> Tensor:
    """(n,) float32 scores on the CPU."""
    return judge_samples(model, samples, bf16=bf16, ranks=ranks).scores


def judge_samples(
    model: Reward, samples: Sequence[EncodedSample], *, bf16: bool = False, ranks: Ranks = ALONE
) -> Scored:
    """Scores and, of an ensemble, disagreement, each (n,) float32 on the CPU."""
    with torch.inference_mode():
        scores, disagreement = model.combine(member_scores(model, samples, bf16=bf16, ranks=ranks).to(model.device))
        return Scored(scores.cpu(), None if disagreement is None else disagreement.cpu())


def member_scores(
    model: Reward, samples: Sequence[EncodedSample], *, bf16: bool = False, ranks: Ranks = ALONE
) -> Tensor:
    """(m, n) float32 on the CPU: what each of m members says, at its own scale.

    Args:
        ranks: processes that hold the same model and samples; each reads some of the batches that one would read.
    """
    found: list[Tensor] = []
    order: list[int] = []
    scores = torch.zeros(len(model.members) if isinstance(model, RewardEnsemble) else 1, len(samples))
    with torch.inference_mode():
        for number, (rows, k) in enumerate(batches(samples)):
            if number % ranks.size == ranks.rank:
                found.append(_read(model, [samples[i] for i in rows], k, bf16=bf16).cpu())
                order += rows
        if found:
            scores[:, order] = torch.cat(found, dim=1)
    return ranks.added(scores)


def normalise(model: Reward, scores: Tensor, *, mean: float = 0.0, std: float = 1.0) -> None:
    """Set gain and bias so that samples with these (n,) scores get this mean and standard deviation.

    Raises: ValueError if the scores are all alike or not finite.
    """
    with torch.no_grad():
        raw = (scores - model.bias.cpu()) / model.gain.cpu()  # as with gain 1 and bias 0
        gain, bias = gain_and_bias(raw, mean, std)
        model.gain.fill_(gain)
        model.bias.fill_(bias)


def tune(
    model: RewardModel,
    labels: Sequence[EncodedLabel],
    normalization: Sequence[EncodedSample],
    *,
    kind: LabelKind,
    hparams: RewardHParams,
    generator: Generator,
    bf16: bool,
    ranks: Ranks = ALONE,
) -> Tuned:
    """Train trunk, head, gain and bias by Adam, normalised before and after.

    Args:
        model: with a trunk of its own; changed in place.
        normalization: samples of the reference that set the scale: before training that of the labels, where these
            have one, and mean 0 and standard deviation 1 after it.
        generator: orders the labels; on the CPU.
        ranks: processes that train together, each reading its share of every batch; all are given the same.
    Raises: ValueError when the scores are no longer finite.
    Source: Ziegler et al. 2019, section 2.2; lm-human-preferences train_reward.py.
    """
    mean, std = kind.target_scale(targets_of(labels))
    normalise(model, score_samples(model, normalization, bf16=bf16, ranks=ranks), mean=mean, std=std)
    gradients = Gradients([model], model.member_scores, ranks)
    optimizer = TFAdam(model.parameters(), lr=hparams.learning_rate, eps=hparams.adam_epsilon)
    steps = math.ceil(len(labels) / hparams.batch)
    loss = math.nan
    for epoch in range(hparams.epochs):
        order = torch.randperm(len(labels), generator=generator).split(hparams.batch)
        losses = []
        for step, rows in enumerate(order, start=epoch * steps):
            for group in optimizer.param_groups:
                group["lr"] = linear_decay(hparams.learning_rate, step, steps * hparams.epochs)
            batch = [labels[i] for i in rows.tolist()]
            losses.append(_step(gradients, optimizer, batch, kind, device=model.device, bf16=bf16))
        loss = math.fsum(losses) / len(losses)
    scale = Scale(model.gain.item(), model.bias.item())
    normalise(model, score_samples(model, normalization, bf16=bf16, ranks=ranks))
    ranks.require_alike([model])
    return Tuned(loss, scale)


def _step(
    gradients: Gradients[Tensor],
    optimizer: TFAdam,
    labels: Sequence[EncodedLabel],
    kind: LabelKind,
    *,
    device: torch.device,
    bf16: bool,
) -> float:
    """One step on a batch of labels; their mean loss."""
    optimizer.zero_grad(set_to_none=True)
    mine, weights = _mine(labels, gradients.ranks)
    samples = [sample for label in mine for sample in label.samples]
    scores = _forward(gradients.forward, samples, len(labels[0].responses), device, bf16=bf16).view(len(mine), -1)
    losses = kind.losses(scores, targets_of(mine).to(scores))
    loss = (losses * weights.to(losses)).sum() / len(labels)
    loss.backward()
    optimizer.step()
    return gradients.ranks.summed([loss.item()])[0]


def _mine(labels: Sequence[EncodedLabel], ranks: Ranks) -> tuple[list[EncodedLabel], Tensor]:
    """The part of a batch that this process reads, and its (n,) weights.

    Where the processes cannot share it evenly, it is filled up with labels that weigh nothing.
    """
    missing = -len(labels) % ranks.size
    weights = weights_of(labels)
    weights = torch.ones(len(labels)) if weights is None else weights
    rows = ranks.rows(len(labels) + missing)
    filled = [*labels, *[labels[0]] * missing]
    return filled[rows], torch.nn.functional.pad(weights, (0, missing))[rows]


def _read(model: Reward, samples: Sequence[EncodedSample], k: int, *, bf16: bool) -> Tensor:
    """(m, n) float32 of samples of which each k in turn have one query."""
    return _forward(model.member_scores, samples, k, model.device, bf16=bf16)


def _forward(
    member_scores: Callable[..., Tensor], samples: Sequence[EncodedSample], k: int, device: torch.device, *, bf16: bool
) -> Tensor:
    padded = pad(samples, device)
    with autocast(device, bf16):
        return member_scores(*padded.branches(k))

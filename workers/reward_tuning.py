"""Training a whole reward model, trunk included, as in the paper; scoring with any."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from app.hparams import RewardHParams
from workers.nets.precision import autocast
from workers.nets.reward_ensemble import Reward
from workers.nets.reward_model import RewardModel, Scored
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


def score_samples(model: Reward, samples: Sequence[EncodedSample], *, bf16: bool = False) -> Tensor:
    """(n,) float32 scores on the CPU."""
    return judge_samples(model, samples, bf16=bf16).scores


def judge_samples(model: Reward, samples: Sequence[EncodedSample], *, bf16: bool = False) -> Scored:
    """Scores and, of an ensemble, disagreement, each (n,) float32 on the CPU."""
    with torch.inference_mode():
        scores, disagreement = model.combine(member_scores(model, samples, bf16=bf16).to(model.device))
        return Scored(scores.cpu(), None if disagreement is None else disagreement.cpu())


def member_scores(model: Reward, samples: Sequence[EncodedSample], *, bf16: bool = False) -> Tensor:
    """(m, n) float32 on the CPU: what each of m members says, at its own scale."""
    found: list[Tensor] = []
    order: list[int] = []
    with torch.inference_mode():
        for rows, k in batches(samples):
            found.append(_forward(model, [samples[i] for i in rows], k, bf16=bf16).cpu())
            order += rows
        together = torch.cat(found, dim=1)
        scores = torch.empty_like(together)
        scores[:, order] = together
    return scores


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
) -> Tuned:
    """Train trunk, head, gain and bias by Adam, normalised before and after.

    Args:
        model: with a trunk of its own; changed in place.
        normalization: samples of the reference that set the scale: before training that of the labels, where these
            have one, and mean 0 and standard deviation 1 after it.
        generator: orders the labels; on the CPU.
    Raises: ValueError when the scores are no longer finite.
    Source: Ziegler et al. 2019, section 2.2; lm-human-preferences train_reward.py.
    """
    mean, std = kind.target_scale(targets_of(labels))
    normalise(model, score_samples(model, normalization, bf16=bf16), mean=mean, std=std)
    optimizer = TFAdam(model.parameters(), lr=hparams.learning_rate, eps=hparams.adam_epsilon)
    steps = math.ceil(len(labels) / hparams.batch)
    loss = math.nan
    for epoch in range(hparams.epochs):
        order = torch.randperm(len(labels), generator=generator).split(hparams.batch)
        losses = []
        for step, rows in enumerate(order, start=epoch * steps):
            for group in optimizer.param_groups:
                group["lr"] = linear_decay(hparams.learning_rate, step, steps * hparams.epochs)
            losses.append(_step(model, optimizer, [labels[i] for i in rows.tolist()], kind, bf16=bf16))
        loss = math.fsum(losses) / len(losses)
    scale = Scale(model.gain.item(), model.bias.item())
    normalise(model, score_samples(model, normalization, bf16=bf16))
    return Tuned(loss, scale)


def _step(
    model: RewardModel, optimizer: TFAdam, labels: Sequence[EncodedLabel], kind: LabelKind, *, bf16: bool
) -> float:
    samples = [sample for label in labels for sample in label.samples]
    optimizer.zero_grad(set_to_none=True)
    scores = _forward(model, samples, len(labels[0].responses), bf16=bf16).view(len(labels), -1)
    losses, weights = kind.losses(scores, targets_of(labels).to(scores)), weights_of(labels)
    loss = losses.mean() if weights is None else (losses * weights.to(losses)).mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def _forward(model: Reward, samples: Sequence[EncodedSample], k: int, *, bf16: bool) -> Tensor:
    """(m, n) float32 of samples of which each k in turn have one query."""
    padded = pad(samples, model.device)
    with autocast(model.device, bf16):
        return model.member_scores(*padded.branches(k))

"""Training a whole reward model, trunk included, as in the paper."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from app.hparams import RewardHParams
from workers.nets.precision import autocast
from workers.nets.reward_model import RewardModel
from workers.reward_features import EncodedComparison, EncodedSample, batches, pad
from workers.rlhf.adam import TFAdam
from workers.rlhf.losses import best_of_k_loss
from workers.rlhf.normalization import gain_and_bias
from workers.rlhf.schedule import linear_decay


class Tuned(NamedTuple):
    """What training leaves beside the weights."""

    loss: float
    """Mean over the last epoch's steps, nats per comparison."""
    gain: float
    """Before the last normalisation: with it the scores predict how sure people are."""


def score_samples(model: RewardModel, samples: Sequence[EncodedSample], *, bf16: bool = False) -> Tensor:
    """(n,) float32 scores on the CPU."""
    scores = torch.empty(len(samples))
    with torch.inference_mode():
        for rows in batches(samples):
            scores[rows] = _forward(model, [samples[i] for i in rows], bf16=bf16).cpu()
    return scores


def score_comparisons(model: RewardModel, comparisons: Sequence[EncodedComparison], *, bf16: bool = False) -> Tensor:
    """(n, k) float32 scores on the CPU; all comparisons have k samples."""
    flat = [sample for comparison in comparisons for sample in comparison.samples]
    return score_samples(model, flat, bf16=bf16).view(len(comparisons), -1)


def normalise(model: RewardModel, scores: Tensor) -> None:
    """Set gain and bias so that samples with these (n,) scores get mean 0 and standard deviation 1.

    Raises: ValueError if the scores are all alike or not finite.
    """
    with torch.no_grad():
        raw = (scores - model.bias.cpu()) / model.gain.cpu()  # as with gain 1 and bias 0
        gain, bias = gain_and_bias(raw)
        model.gain.fill_(gain)
        model.bias.fill_(bias)


def tune(
    model: RewardModel,
    comparisons: Sequence[EncodedComparison],
    normalization: Sequence[EncodedSample],
    *,
    hparams: RewardHParams,
    generator: Generator,
    bf16: bool,
) -> Tuned:
    """Train trunk, head, gain and bias by Adam, normalised before and after.

    Args:
        model: with a trunk of its own; changed in place.
        normalization: samples of the reference that set the scale.
        generator: orders the comparisons; on the CPU.
    Raises: ValueError when the scores are no longer finite.
    Source: Ziegler et al. 2019, section 2.2; lm-human-preferences train_reward.py.
    """
    normalise(model, score_samples(model, normalization, bf16=bf16))
    optimizer = TFAdam(model.parameters(), lr=hparams.learning_rate)
    steps = math.ceil(len(comparisons) / hparams.batch)
    loss = math.nan
    for epoch in range(hparams.epochs):
        order = torch.randperm(len(comparisons), generator=generator).split(hparams.batch)
        losses = []
        for step, rows in enumerate(order, start=epoch * steps):
            for group in optimizer.param_groups:
                group["lr"] = linear_decay(hparams.learning_rate, step, steps * hparams.epochs)
            losses.append(_step(model, optimizer, [comparisons[i] for i in rows.tolist()], bf16=bf16))
        loss = math.fsum(losses) / len(losses)
    gain = model.gain.item()
    normalise(model, score_samples(model, normalization, bf16=bf16))
    return Tuned(loss, gain)


def _step(model: RewardModel, optimizer: TFAdam, comparisons: Sequence[EncodedComparison], *, bf16: bool) -> float:
    samples = [sample for comparison in comparisons for sample in comparison.samples]
    best = torch.tensor([comparison.best for comparison in comparisons], device=model.trunk.device)
    optimizer.zero_grad(set_to_none=True)
    loss = best_of_k_loss(_forward(model, samples, bf16=bf16).view(len(comparisons), -1), best)
    loss.backward()
    optimizer.step()
    return loss.item()


def _forward(model: RewardModel, samples: Sequence[EncodedSample], *, bf16: bool) -> Tensor:
    padded = pad(samples, model.trunk.device)
    with autocast(model.trunk.device, bf16):
        scores: Tensor = model(padded.queries, padded.query_mask, padded.responses, padded.response_mask)
    return scores

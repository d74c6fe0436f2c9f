"""Training a whole reward model as published: its scale before and after, its rate, its Adam, step by step."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Generator, Tensor

from app.hparams import RewardHParams
from tests.workers.test_reward_trainer import comparisons, own_copy, samples
from workers.nets.reward_model import Read, RewardModel
from workers.reward_labels import EncodedLabel, EncodedSample
from workers.reward_tuning import Tuned, tune
from workers.rlhf.labels import Choice, LabelKind, Rating

NORMALIZATION = samples(12, seed=3)
NO_STEP = RewardHParams(learning_rate=1e-12, batch=4)


def fresh() -> RewardModel:
    return RewardModel(own_copy(), reads=(Read(),), frozen=False, generator=Generator().manual_seed(4))


def tuned(
    model: RewardModel, labels: list[EncodedLabel], hparams: RewardHParams, *, kind: LabelKind | None = None
) -> Tuned:
    generator = Generator().manual_seed(5)
    return tune(model, labels, NORMALIZATION, kind=kind or Choice(), hparams=hparams, generator=generator, bf16=False)


def raw_scores(model: RewardModel, some: list[EncodedSample]) -> Tensor:
    """(n,) of the head alone on the last token after the final norm, one bare text at a time."""
    states = []
    for sample in some:
        ids = torch.tensor([sample.query + sample.response])
        states.append(model.trunk.hidden(ids, torch.ones_like(ids, dtype=torch.bool))[0, -1])
    return torch.stack(states) @ model.head.weight[0] + model.head.bias


def mean_and_deviation(scores: Tensor) -> tuple[float, float]:
    """Biased."""
    numbers = scores.tolist()
    mean = math.fsum(numbers) / len(numbers)
    return mean, math.sqrt(math.fsum((x - mean) ** 2 for x in numbers) / len(numbers))


def test_before_training_scores_of_the_reference_get_mean_0_and_deviation_1() -> None:
    model, labels = fresh(), comparisons(4, seed=1)
    with torch.no_grad():
        mean, deviation = mean_and_deviation(raw_scores(model, NORMALIZATION))
        said = [(raw_scores(model, label.samples) - mean) / deviation for label in labels]
    found = tuned(model, labels, NO_STEP)
    assert found.scale == pytest.approx((1 / deviation, -mean / deviation), rel=1e-3)
    picks = [label.target.index(1.0) for label in labels]
    losses = [scores.exp().sum().log() - scores[pick] for scores, pick in zip(said, picks, strict=True)]
    assert found.loss == pytest.approx(sum(loss.item() for loss in losses) / 4, rel=1e-4)


def test_before_training_on_ratings_the_scale_is_that_of_the_ratings() -> None:
    labels = [
        EncodedLabel(prompt=one.prompt, query=one.query, responses=one.responses[:1], target=(rating,))
        for one, rating in zip(comparisons(4, seed=1), (1.0, 1.0, 7.0, 7.0), strict=True)  # mean 4, deviation 3
    ]
    model = fresh()
    with torch.no_grad():
        mean, deviation = mean_and_deviation(raw_scores(model, NORMALIZATION))
    found = tuned(model, labels, NO_STEP, kind=Rating())
    assert found.scale == pytest.approx((3 / deviation, 4 - 3 * mean / deviation), rel=1e-3)


def test_gain_and_bias_are_trained_and_computed_anew_afterwards() -> None:
    labels, hparams = comparisons(8, seed=1), RewardHParams(learning_rate=1e-2, batch=4)
    model = fresh()
    found = tuned(model, labels, hparams)
    assert abs(found.scale.gain / tuned(fresh(), labels, NO_STEP).scale.gain - 1) > 1e-3
    with torch.no_grad():
        mean, deviation = mean_and_deviation(raw_scores(model, NORMALIZATION))
    assert (model.gain.item(), model.bias.item()) == pytest.approx((1 / deviation, -mean / deviation), rel=1e-3)


def test_training_is_tensorflows_adam_without_decay_at_a_rate_that_falls_in_a_line_to_zero() -> None:
    labels, rate = comparisons(10, seed=1), 1e-3
    hparams = RewardHParams(learning_rate=rate, batch=4, epochs=2)  # batches of 4, 4 and 2, twice
    model, slow = fresh(), fresh()
    found = tuned(model, labels, hparams)
    with torch.no_grad():
        mean, deviation = mean_and_deviation(raw_scores(slow, NORMALIZATION))
        slow.gain.fill_(1 / deviation)
        slow.bias.fill_(-mean / deviation)
    generator = Generator().manual_seed(5)
    orders = [torch.randperm(10, generator=generator).tolist() for _ in range(2)]
    batches = [order[start : start + 4] for order in orders for start in (0, 4, 8)]
    weights = list(slow.parameters())
    moments = [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in weights]
    for done, rows in enumerate(batches):
        losses = []
        for label in (labels[row] for row in rows):
            scores = slow.gain * raw_scores(slow, label.samples) + slow.bias
            losses.append(scores.logsumexp(dim=0) - scores[label.target.index(1.0)])
        slopes = torch.autograd.grad(torch.stack(losses).mean(), weights)
        step = rate * (1 - done / 6) * math.sqrt(1 - 0.999 ** (done + 1)) / (1 - 0.9 ** (done + 1))
        with torch.no_grad():
            for weight, (first, second), slope in zip(weights, moments, slopes, strict=True):
                first.mul_(0.9).add_(0.1 * slope)
                second.mul_(0.999).add_(0.001 * slope**2)
                weight.sub_(step * first / (second.sqrt() + 1e-5))
    trained = dict(model.named_parameters())
    apart = [
        (trained[name] - weight).abs().max().item()
        for name, weight in slow.named_parameters()
        if name not in ("gain", "bias")
    ]
    # Rounding of float32; one step moves a weight by up to 1e-3.
    assert max(apart) < 3e-6
    assert found.scale == pytest.approx((slow.gain.item(), slow.bias.item()), abs=3e-6)


def test_a_label_without_weight_teaches_nothing() -> None:
    one, other = comparisons(2, seed=1)
    hparams = RewardHParams(learning_rate=1e-3, batch=2)
    flipped = replace(other, target=other.target[1:] + other.target[:1])
    found = []
    for weight in (0.0, 1.0):
        models = fresh(), fresh()
        for model, label in zip(models, (other, flipped), strict=True):
            tuned(model, [replace(one, weight=2.0 - weight), replace(label, weight=weight)], hparams)
        found.append([model.head.weight.detach() for model in models])
    assert torch.equal(*found[0])
    assert not torch.equal(*found[1])

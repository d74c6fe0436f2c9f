"""The objective of a minibatch against hand-worked numbers and a slow oracle over lists, in both modes."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.hparams import PPOHParams
from workers.ppo_objective import Objective
from workers.rlhf.types import Rollout

Table = list[list[float]]


def hparams(**changes: Any) -> PPOHParams:
    """Plain settings: no whitening of rewards, no discount."""
    plain = {"episodes": 8, "batch": 8, "whiten_rewards": False, "gamma": 1.0, "lam": 1.0}
    return PPOHParams.model_validate(plain | changes)


def rollout(logprobs: Table, ref_logprobs: Table, values: Table, scores: list[float], lengths: list[int]) -> Rollout:
    """Of one-token queries."""
    b, r = len(logprobs), len(logprobs[0])
    return Rollout(
        queries=torch.ones(b, 1, dtype=torch.int64),
        query_mask=torch.ones(b, 1, dtype=torch.bool),
        responses=torch.ones(b, r, dtype=torch.int64),
        logprobs=torch.tensor(logprobs, dtype=torch.float64),
        ref_logprobs=torch.tensor(ref_logprobs, dtype=torch.float64),
        values=torch.tensor(values, dtype=torch.float64),
        scores=torch.tensor(scores, dtype=torch.float64),
        valid=torch.ones(b, dtype=torch.bool),
        lengths=torch.tensor(lengths),
    )


TWO = rollout(
    logprobs=[[-1.0, -1.0, -1.0], [-2.0, -2.0, -2.0]],
    ref_logprobs=[[-2.0, -1.0, -4.0], [-2.0, -3.0, -2.0]],
    values=[[0.5, 0.0, 9.0], [0.0, 0.0, 0.0]],
    scores=[3.0, -1.0],
    lengths=[2, 3],
)
"""Log-ratios 1, 0, 3 and 0, 1, 0; the first response was cut after its second token."""


def test_reference_mode_by_hand() -> None:
    objective = Objective(hparams(mode="reference"))
    # Coefficient 1/2: -1/2, 0, -3/2 + 3 and 0, -1/2, -1; the last token was cut off and counts all the same.
    assert objective.rewards(TWO, kl_coef=0.5).tolist() == [[-0.5, 0.0, 1.5], [0.0, -0.5, -1.0]]
    # To go: 1, 3/2, 3/2 and -3/2, -3/2, -1. Those are the returns at gamma = lam = 1.
    assert objective.targets(TWO, kl_coef=0.5).returns.tolist() == [[1.0, 1.5, 1.5], [-1.5, -1.5, -1.0]]
    assert objective.mask(TWO) is None


def test_corrected_mode_by_hand() -> None:
    objective = Objective(hparams(mode="corrected"))
    # The score stands on the second token of the first response, its third one is gone.
    assert objective.rewards(TWO, kl_coef=0.5).tolist() == [[-0.5, 3.0, 0.0], [0.0, -0.5, -1.0]]
    targets = objective.targets(TWO, kl_coef=0.5)
    assert targets.returns.tolist() == [[2.5, 3.0, 0.0], [-1.5, -1.5, -1.0]]
    mask = objective.mask(TWO)
    assert mask is not None
    assert mask.tolist() == [[True, True, False], [True, True, True]]
    # To go less the value: 2, 3 and -3/2, -3/2, -1; their mean 1/5, biased variance 18.5/5 - 1/25 = 3.66.
    raw = [2.0, 3.0, -1.5, -1.5, -1.0]
    assert targets.advantages[mask].tolist() == pytest.approx([(x - 0.2) / math.sqrt(3.66) for x in raw])
    assert targets.advantages[0, 2].item() == 0


def test_the_estimator_is_that_of_the_hyperparameters() -> None:
    # Log-ratio 3 of the first response's last token: 9 / 2 for k2; e^-3 - 1 + 3 for k3.
    for estimator, cost in (("k1", 3.0), ("k2", 4.5), ("k3", 2 + math.exp(-3))):
        rewards = Objective(hparams(mode="reference", kl_estimator=estimator)).rewards(TWO, kl_coef=0.5)
        assert rewards[0, 2].item() == pytest.approx(3 - cost / 2)


def test_whitening_looks_at_the_minibatch_alone() -> None:
    objective = Objective(hparams(mode="reference", whiten_rewards=True))
    alone = objective.targets(TWO.select(torch.tensor([0])), kl_coef=0.5)
    # Rewards -1/2, 0, 3/2: mean 1/3, biased variance 5/6 - 1/9 = 13/18. The last return is the whitened 3/2.
    assert alone.returns[0, 2].item() == pytest.approx(1 / 3 + (1.5 - 1 / 3) / math.sqrt(13 / 18))
    both = objective.targets(TWO, kl_coef=0.5)
    assert both.returns[0, 2].item() != pytest.approx(alone.returns[0, 2].item(), rel=1e-2)


def mean_and_deviation(numbers: list[float]) -> tuple[float, float]:
    """Biased, with the published epsilon."""
    mean = sum(numbers) / len(numbers)
    return mean, math.sqrt(sum((x - mean) ** 2 for x in numbers) / len(numbers) + 1e-8)


def slow_losses(batch: Rollout, new: Table, new_values: Table, ppo: PPOHParams, coef: float) -> tuple[float, float]:
    """Policy and value loss, one token after the other."""
    r = len(new[0])
    ends = batch.lengths.tolist() if ppo.mode == "corrected" else [r] * len(new)
    old, ref, old_values = batch.logprobs.tolist(), batch.ref_logprobs.tolist(), batch.values.tolist()
    rewards = [[-coef * (old[i][t] - ref[i][t]) for t in range(end)] for i, end in enumerate(ends)]
    for i, row in enumerate(rewards):
        row[-1] += batch.scores[i].item()
    if ppo.whiten_rewards:
        mean, deviation = mean_and_deviation([x for row in rewards for x in row])
        rewards = [[(x - mean) / deviation + mean for x in row] for row in rewards]
    advantages, returns = [], []
    for i, row in enumerate(rewards):
        following, estimate, backwards = 0.0, 0.0, []
        for t in reversed(range(len(row))):
            estimate = row[t] + ppo.gamma * following - old_values[i][t] + ppo.gamma * ppo.lam * estimate
            following = old_values[i][t]
            backwards.append(estimate)
        advantages.append(backwards[::-1])
        returns.append([a + old_values[i][t] for t, a in enumerate(backwards[::-1])])
    mean, deviation = mean_and_deviation([x for row in advantages for x in row])
    policy, value = [], []
    for i, row in enumerate(advantages):
        for t, raw in enumerate(row):
            advantage, ratio = (raw - mean) / deviation, math.exp(new[i][t] - old[i][t])
            clipped = min(max(ratio, 1 - ppo.clip_ratio), 1 + ppo.clip_ratio)
            policy.append(max(-advantage * ratio, -advantage * clipped))
            low, high = old_values[i][t] - ppo.clip_value, old_values[i][t] + ppo.clip_value
            near = min(max(new_values[i][t], low), high)
            value.append(max((new_values[i][t] - returns[i][t]) ** 2, (near - returns[i][t]) ** 2) / 2)
    return sum(policy) / len(policy), sum(value) / len(value)


@given(
    seed=st.integers(0, 2**32 - 1),
    b=st.integers(1, 5),
    r=st.integers(1, 7),
    mode=st.sampled_from(["reference", "corrected"]),
    whiten=st.booleans(),
    gamma=st.sampled_from([1.0, 0.9]),
    lam=st.sampled_from([1.0, 0.95, 0.0]),
)
def test_both_losses_are_those_of_a_loop_over_tokens(
    seed: int, b: int, r: int, mode: str, whiten: bool, gamma: float, lam: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    old, ref, values, new, new_values = torch.randn(5, b, r, generator=generator, dtype=torch.float64)
    scores = torch.randn(b, generator=generator, dtype=torch.float64).tolist()
    lengths = torch.randint(1, r + 1, (b,), generator=generator).tolist()
    batch = rollout(old.tolist(), ref.tolist(), values.tolist(), scores, lengths)
    ppo = hparams(mode=mode, whiten_rewards=whiten, gamma=gamma, lam=lam)
    objective = Objective(ppo)
    targets = objective.targets(batch, kl_coef=0.15)
    found = objective.losses(new, new_values, batch, targets, objective.mask(batch))
    policy, value = slow_losses(batch, new.tolist(), new_values.tolist(), ppo, 0.15)
    assert found.policy.loss.item() == pytest.approx(policy, rel=1e-6, abs=1e-9)
    assert found.value.loss.item() == pytest.approx(value, rel=1e-6, abs=1e-9)
    assert found.total.item() == pytest.approx(policy + 0.1 * value, rel=1e-6, abs=1e-9)


@given(seed=st.integers(0, 2**32 - 1), lengths=st.lists(st.integers(1, 5), min_size=2, max_size=4))
def test_in_corrected_mode_what_follows_the_end_changes_no_loss_and_gets_no_gradient(
    seed: int, lengths: list[int]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    b, objective = len(lengths), Objective(hparams(whiten_rewards=True))
    tables = torch.randn(3, b, 5, generator=generator, dtype=torch.float64)
    tail = torch.arange(5) >= torch.tensor(lengths).unsqueeze(1)
    found = []
    for change in (0.0, 3.0):
        old, ref, values = (tables + change * tail).tolist()
        batch = rollout(old, ref, values, [float(i) for i in range(b)], lengths)
        now = tables[0].clone().requires_grad_()
        out = objective.losses(now, tables[2], batch, objective.targets(batch, kl_coef=0.1), objective.mask(batch))
        (slope,) = torch.autograd.grad(out.total, now)
        assert not slope[tail].any()
        found.append(out.total.item())
    assert found[0] == pytest.approx(found[1], rel=1e-9)

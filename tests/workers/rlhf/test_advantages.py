import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.rlhf.advantages import advantages_and_returns, gae, masked_mean, whiten
from workers.rlhf.masks import response_mask

seeds = st.integers(0, 2**32 - 1)
shares = st.floats(0, 1)


def table(seed: int, b: int, r: int) -> torch.Tensor:
    return torch.randn(b, r, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_gae(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """The definition: A_t = sum over l of (gamma lam)^l delta_{t+l}, delta_t = r_t + gamma V_{t+1} - V_t."""
    following = [*values[1:], 0.0]
    deltas = [r + gamma * after - v for r, v, after in zip(rewards, values, following, strict=True)]
    return [
        sum((gamma * lam) ** distance * delta for distance, delta in enumerate(deltas[t:])) for t in range(len(deltas))
    ]


def test_masked_mean_looks_only_at_what_counts() -> None:
    values = torch.tensor([[1.0, math.nan], [5.0, 6.0]])
    assert masked_mean(values, torch.tensor([[True, False], [True, True]])).item() == 4.0
    assert masked_mean(torch.tensor([[1.0, 2.0]])).item() == 1.5
    assert masked_mean(values, torch.zeros(2, 2, dtype=torch.bool)).isnan()


def test_whitening_by_hand() -> None:
    values = torch.tensor([[1.0, 3.0, 5.0, 7.0]])  # mean 4, biased variance (9 + 1 + 1 + 9) / 4 = 5
    unit = [x / math.sqrt(5) for x in (-3, -1, 1, 3)]
    assert whiten(values, keep_mean=False)[0].tolist() == pytest.approx(unit)
    assert whiten(values, keep_mean=True)[0].tolist() == pytest.approx([4 + x for x in unit])


@given(seed=seeds, mean=st.floats(-50, 50), scale=st.floats(0.01, 100))
def test_whitening_gives_variance_one_and_the_mean_that_was_asked_for(seed: int, mean: float, scale: float) -> None:
    values = table(seed, 4, 6) * scale + mean
    shifted, kept = whiten(values, keep_mean=False), whiten(values, keep_mean=True)
    assert shifted.mean().item() == pytest.approx(0, abs=1e-6)
    assert kept.mean().item() == pytest.approx(values.mean().item(), abs=1e-6)
    assert shifted.var(correction=0).item() == pytest.approx(1, rel=1e-2)
    assert kept.var(correction=0).item() == pytest.approx(1, rel=1e-2)


def test_whitening_equal_values_gives_no_noise() -> None:
    assert whiten(torch.full((2, 3), 0.25), keep_mean=False).abs().max().item() == 0
    assert whiten(torch.full((2, 3), 0.25), keep_mean=True).tolist() == [[0.25] * 3] * 2


@pytest.mark.parametrize("keep_mean", [True, False])
def test_whitening_under_a_mask_is_whitening_what_the_mask_keeps(keep_mean: bool) -> None:
    values = table(3, 2, 4)
    mask = response_mask(torch.tensor([2, 3]), 4)
    masked = whiten(values.masked_fill(~mask, math.nan), mask, keep_mean=keep_mean)
    torch.testing.assert_close(masked[mask], whiten(values[mask], keep_mean=keep_mean))
    assert masked[~mask].eq(0).all()


def test_gae_by_hand() -> None:
    # gamma 1/2, lam 1/2: delta_1 = 4 - 2 = 2; delta_0 = 1 + 1 - 3 = -1; A_0 = -1 + 2/4.
    advantages = gae(torch.tensor([[1.0, 4.0]]), torch.tensor([[3.0, 2.0]]), gamma=0.5, lam=0.5)
    assert advantages.tolist() == [[-0.5, 2.0]]


@given(seed=seeds, r=st.integers(1, 9), gamma=shares, lam=shares)
def test_gae_is_its_definition(seed: int, r: int, gamma: float, lam: float) -> None:
    rewards, values = table(seed, 3, r), table(seed + 1, 3, r)
    fast = gae(rewards, values, gamma=gamma, lam=lam)
    for i in range(3):
        assert fast[i].tolist() == pytest.approx(slow_gae(rewards[i].tolist(), values[i].tolist(), gamma, lam))


@given(seed=seeds, r=st.integers(1, 9))
def test_with_gamma_and_lam_one_it_is_reward_to_go_minus_value(seed: int, r: int) -> None:
    rewards, values = table(seed, 2, r), table(seed + 1, 2, r)
    to_go = torch.stack([rewards[:, t:].sum(dim=1) for t in range(r)], dim=1)
    torch.testing.assert_close(gae(rewards, values, gamma=1, lam=1), to_go - values)


@given(seed=seeds, lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4), lam=shares)
def test_under_a_mask_each_row_is_the_gae_of_its_kept_tokens(seed: int, lengths: list[int], lam: float) -> None:
    mask = response_mask(torch.tensor(lengths), 6)
    rewards = table(seed, len(lengths), 6).masked_fill(~mask, math.nan)
    values = table(seed + 1, len(lengths), 6).masked_fill(~mask, math.inf)
    masked = gae(rewards, values, gamma=0.9, lam=lam, mask=mask)
    for i, kept in enumerate(lengths):
        alone = gae(rewards[i : i + 1, :kept], values[i : i + 1, :kept], gamma=0.9, lam=lam)
        torch.testing.assert_close(masked[i : i + 1, :kept], alone)
    assert masked[~mask].eq(0).all()


def test_a_minibatch_whitens_rewards_then_estimates_then_whitens_advantages() -> None:
    # Rewards of mean 2 and biased deviation 2 become 1 and 3; with values 0 and gamma = lam = 1 the returns are
    # the rewards to go, 4 and 3, and whitening sends any two different numbers to +1 and -1.
    rewards, values = torch.tensor([[0.0, 4.0]]), torch.zeros(1, 2)
    advantages, returns = advantages_and_returns(rewards, values, gamma=1, lam=1, whiten_rewards=True)
    assert returns[0].tolist() == pytest.approx([4.0, 3.0])
    assert advantages[0].tolist() == pytest.approx([1.0, -1.0])
    raw = advantages_and_returns(rewards, values, gamma=1, lam=1, whiten_rewards=False)
    assert raw.returns.tolist() == [[4.0, 4.0]]


@pytest.mark.parametrize("whiten_rewards", [True, False])
def test_a_minibatch_does_not_see_what_follows_the_end(whiten_rewards: bool) -> None:
    mask = response_mask(torch.tensor([2, 4, 1]), 4)
    rewards, values = table(5, 3, 4), table(6, 3, 4)
    first = advantages_and_returns(rewards, values, gamma=1, lam=0.95, whiten_rewards=whiten_rewards, mask=mask)
    second = advantages_and_returns(
        rewards.masked_fill(~mask, math.nan),
        values.masked_fill(~mask, -9e9),
        gamma=1,
        lam=0.95,
        whiten_rewards=whiten_rewards,
        mask=mask,
    )
    assert torch.equal(first.advantages, second.advantages)
    assert torch.equal(first.returns, second.returns)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\) and values \(1, 3\)"):
        gae(torch.zeros(1, 2), torch.zeros(1, 3), gamma=1, lam=1)
    with pytest.raises(ValueError, match=r"gamma 1\.5"):
        gae(torch.zeros(1, 2), torch.zeros(1, 2), gamma=1.5, lam=1)


@given(seed=seeds, lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4), keep_mean=st.booleans())
def test_whatever_the_mask_whitening_agrees_with_a_loop_over_what_it_keeps(
    seed: int, lengths: list[int], keep_mean: bool
) -> None:
    values = table(seed, len(lengths), 6)
    kept = [values[i, t].item() for i, n in enumerate(lengths) for t in range(n)]
    mean = sum(kept) / len(kept)
    deviation = math.sqrt(sum((x - mean) ** 2 for x in kept) / len(kept) + 1e-8)
    found = whiten(values, response_mask(torch.tensor(lengths), 6), keep_mean=keep_mean)
    for i, n in enumerate(lengths):
        expected = [(values[i, t].item() - mean) / deviation + keep_mean * mean for t in range(n)]
        assert found[i].tolist() == pytest.approx(expected + [0.0] * (6 - n), abs=1e-6)

from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.rlhf.kl import KLEstimator
from workers.rlhf.rewards import RewardMode, per_token_rewards, score_penalty

LOGPROBS = torch.tensor([[-1.0, -1.0, -1.0, -1.0], [-2.0, -2.0, -2.0, -2.0]])
REF_LOGPROBS = torch.tensor([[-2.0, -1.5, -1.0, -4.0], [-1.0, -2.0, -2.0, -3.0]])
SCORES = torch.tensor([5.0, -1.0])
LENGTHS = torch.tensor([2, 4])


def rewards(mode: RewardMode, kl_coef: float = 0.1) -> torch.Tensor:
    return per_token_rewards(LOGPROBS, REF_LOGPROBS, SCORES, LENGTHS, kl_coef=kl_coef, mode=mode)


def test_reference_mode_charges_every_sampled_token_and_scores_the_last_index() -> None:
    expected = torch.tensor([[-0.1, -0.05, 0.0, 4.7], [0.1, 0.0, 0.0, -1.1]])
    torch.testing.assert_close(rewards("reference"), expected)


def test_corrected_mode_ends_at_the_last_kept_token() -> None:
    expected = torch.tensor([[-0.1, 4.95, 0.0, 0.0], [0.1, 0.0, 0.0, -1.1]])
    torch.testing.assert_close(rewards("corrected"), expected)


@given(
    seed=st.integers(0, 2**32 - 1),
    lengths=st.integers(1, 7).flatmap(lambda r: st.lists(st.integers(1, r), min_size=1, max_size=5)),
    spare=st.integers(0, 3),
    mode=st.sampled_from(["reference", "corrected"]),
)
def test_whatever_the_shape_each_token_gets_what_a_loop_gives_it(
    seed: int, lengths: list[int], spare: int, mode: RewardMode
) -> None:
    b, r = len(lengths), max(lengths) + spare
    logprobs, ref = torch.randn(2, b, r, generator=torch.Generator().manual_seed(seed))
    found = per_token_rewards(
        logprobs, ref, torch.arange(b) + 0.5, torch.tensor(lengths), kl_coef=0.2, mode=mode
    ).tolist()
    for i, kept in enumerate(lengths):
        end = r if mode == "reference" else kept
        for t in range(r):
            kl = (logprobs[i, t] - ref[i, t]).item() if t < end else 0.0
            assert found[i][t] == pytest.approx(-0.2 * kl + (i + 0.5 if t == end - 1 else 0.0), abs=1e-6)


def test_corrected_mode_does_not_see_what_follows_the_end() -> None:
    logprobs = LOGPROBS.clone()
    logprobs[0, 2:] = torch.tensor([float("nan"), -123.0])
    changed = per_token_rewards(logprobs, REF_LOGPROBS, SCORES, LENGTHS, kl_coef=0.1, mode="corrected")
    assert torch.equal(changed, rewards("corrected"))


@pytest.mark.parametrize("mode", ["reference", "corrected"])
def test_with_the_policy_at_the_reference_only_the_score_is_left(mode: RewardMode) -> None:
    total = per_token_rewards(LOGPROBS, LOGPROBS, SCORES, LENGTHS, kl_coef=0.3, mode=mode)
    assert total.sum(dim=1).tolist() == SCORES.tolist()
    assert (total != 0).sum(dim=1).tolist() == [1, 1]


def test_the_penalty_is_charged_by_the_estimator_asked_for() -> None:
    # Log-ratios of the first row: 1, 1/2, 0, 3. Half of 9 is 4.5; e^-3 - 1 + 3 = 2.049787.
    def last(estimator: KLEstimator) -> float:
        total = per_token_rewards(
            LOGPROBS, REF_LOGPROBS, SCORES, LENGTHS, kl_coef=0.1, mode="reference", estimator=estimator
        )
        return total[0, 3].item()

    assert last("k1") == pytest.approx(5 - 0.3)
    assert last("k2") == pytest.approx(5 - 0.45)
    assert last("k3") == pytest.approx(5 - 0.2049787)


def test_a_higher_score_is_a_higher_reward_and_a_higher_kl_a_lower_one() -> None:
    assert (
        rewards("reference").sum()
        > per_token_rewards(LOGPROBS, REF_LOGPROBS, SCORES - 1, LENGTHS, kl_coef=0.1, mode="reference").sum()
    )
    assert rewards("reference", kl_coef=0.2)[0].sum() < rewards("reference", kl_coef=0.1)[0].sum()


def test_invalid_responses_get_the_penalty() -> None:
    scores, valid = torch.tensor([3.0, 9.0]), torch.tensor([True, False])
    assert score_penalty(scores, valid).tolist() == [3.0, -1.0]
    assert score_penalty(scores, valid, penalty=-2.5).tolist() == [3.0, -2.5]
    assert scores.tolist() == [3.0, 9.0]


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"scores \(2, 1\)"):
        per_token_rewards(LOGPROBS, REF_LOGPROBS, SCORES[:, None], LENGTHS, kl_coef=0.1, mode="reference")
    with pytest.raises(ValueError, match="negative"):
        rewards("reference", kl_coef=-0.1)
    with pytest.raises(ValueError, match="guess"):
        rewards(cast(RewardMode, "guess"))

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.rlhf.losses import best_of_k_loss, pairwise_loss, policy_loss, value_loss


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_before_the_first_step_every_ratio_is_one() -> None:
    logprobs, advantages = draw(0, 2, 3), draw(1, 2, 3)
    result = policy_loss(logprobs, logprobs, advantages, clip=0.2)
    assert result.loss.item() == pytest.approx(-advantages.mean().item())
    assert result.clipfrac.item() == 0
    assert result.approxkl.item() == 0


def test_policy_loss_by_hand() -> None:
    # Ratios 1.5 and 0.5, clip 0.2. A good token may not gain beyond 1.2 (clipped); a bad one pays the full 1.5;
    # a good one at 0.5 pulls with 0.5; a bad one at 0.5 gains no more than at 0.8 (clipped).
    ratios = torch.tensor([[1.5, 1.5], [0.5, 0.5]])
    advantages = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    result = policy_loss(ratios.log(), torch.zeros(2, 2), advantages, clip=0.2)
    assert result.loss.item() == pytest.approx((-1.2 + 1.5 - 0.5 + 0.8) / 4)
    assert result.clipfrac.item() == 0.5
    assert result.approxkl.item() == pytest.approx((math.log(1.5) ** 2 + math.log(0.5) ** 2) / 4)


def test_a_clipped_token_pushes_no_further() -> None:
    logprobs = torch.tensor([[math.log(1.5), math.log(1.1)]], requires_grad=True)
    loss = policy_loss(logprobs, torch.zeros(1, 2), torch.ones(1, 2), clip=0.2).loss
    (grad,) = torch.autograd.grad(loss, logprobs)
    assert grad[0].tolist() == pytest.approx([0.0, -1.1 / 2])


def test_policy_loss_does_not_see_what_the_mask_hides() -> None:
    mask = torch.tensor([[True, True, False]])
    logprobs = torch.tensor([[-1.0, -2.0, 500.0]], requires_grad=True)
    result = policy_loss(
        logprobs, torch.tensor([[-1.1, -1.9, -500.0]]), torch.tensor([[1.0, -1.0, 0.0]]), clip=0.2, mask=mask
    )
    alone = policy_loss(
        torch.tensor([[-1.0, -2.0]]), torch.tensor([[-1.1, -1.9]]), torch.tensor([[1.0, -1.0]]), clip=0.2
    )
    for with_tail, without in zip(result, alone, strict=True):
        assert with_tail.item() == pytest.approx(without.item())
    (grad,) = torch.autograd.grad(result.loss, logprobs)
    assert grad.isfinite().all()
    assert grad[0, 2].item() == 0


def test_value_loss_by_hand() -> None:
    # Old value 0, clip 0.2. Moving 1 toward a return of 1 counts as 0.2: (0.2 - 1)^2; within the clip both agree.
    result = value_loss(torch.tensor([[1.0, 0.1]]), torch.zeros(1, 2), torch.ones(1, 2), clip=0.2)
    assert result.loss.item() == pytest.approx(0.5 * (0.8**2 + 0.9**2) / 2)
    assert result.clipfrac.item() == 0.5


def test_value_loss_does_not_see_what_the_mask_hides() -> None:
    mask = torch.tensor([[True, False]])
    result = value_loss(torch.tensor([[0.1, math.nan]]), torch.zeros(1, 2), torch.ones(1, 2), clip=0.2, mask=mask)
    assert result.loss.item() == pytest.approx(0.5 * 0.9**2)


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(2, 6), shift=st.floats(-100, 100))
def test_a_constant_added_to_all_scores_changes_no_preference_loss(seed: int, k: int, shift: float) -> None:
    scores = draw(seed, 5, k)
    best = torch.randint(k, (5,), generator=torch.Generator().manual_seed(seed))
    assert best_of_k_loss(scores + shift, best).item() == pytest.approx(best_of_k_loss(scores, best).item())
    left, right = scores[:, 0], scores[:, 1]
    assert pairwise_loss(left + shift, right + shift).item() == pytest.approx(pairwise_loss(left, right).item())


@given(seed=st.integers(0, 2**32 - 1))
def test_best_of_two_is_bradley_terry(seed: int) -> None:
    scores = draw(seed, 4, 2)
    first_picked = best_of_k_loss(scores, torch.zeros(4, dtype=torch.int64))
    by_hand = sum(math.log1p(math.exp(b - a)) for a, b in scores.tolist()) / 4
    assert first_picked.item() == pytest.approx(by_hand)
    assert pairwise_loss(scores[:, 0], scores[:, 1]).item() == pytest.approx(by_hand)


def test_equal_scores_cost_ln_k() -> None:
    assert best_of_k_loss(torch.zeros(3, 4), torch.tensor([0, 3, 1])).item() == pytest.approx(math.log(4))
    assert pairwise_loss(torch.ones(3), torch.ones(3)).item() == pytest.approx(math.log(2))


def test_a_step_down_the_preference_loss_raises_the_picked_score() -> None:
    scores = torch.zeros(1, 4, requires_grad=True)
    (grad,) = torch.autograd.grad(best_of_k_loss(scores, torch.tensor([2])), scores)
    assert grad[0].tolist() == pytest.approx([0.25, 0.25, -0.75, 0.25])


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"advantages \(2,\)"):
        policy_loss(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2), clip=0.2)
    with pytest.raises(ValueError, match=r"returns \(2, 1\)"):
        value_loss(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 1), clip=0.2)
    with pytest.raises(ValueError, match=r"scores \(4,\)"):
        best_of_k_loss(torch.zeros(4), torch.tensor([1]))
    with pytest.raises(ValueError, match=r"rejected \(2, 1\)"):
        pairwise_loss(torch.zeros(2), torch.zeros(2, 1))

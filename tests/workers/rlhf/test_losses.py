import math

import pytest
import torch

from workers.rlhf.losses import policy_loss, value_loss


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


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"advantages \(2,\)"):
        policy_loss(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2), clip=0.2)
    with pytest.raises(ValueError, match=r"returns \(2, 1\)"):
        value_loss(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 1), clip=0.2)

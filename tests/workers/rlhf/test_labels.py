"""What each kind of label asks of the scores."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from workers.rlhf.labels import Choice, Difference, Rating, even, picked, preference, require_distributions


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def targets(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(2, 6), shift=st.floats(-100, 100))
def test_a_constant_added_to_all_scores_changes_no_loss_of_comparisons(seed: int, k: int, shift: float) -> None:
    scores = draw(seed, 5, k)
    shares = draw(seed + 1, 5, k).softmax(dim=1)
    torch.testing.assert_close(Choice().losses(scores + shift, shares), Choice().losses(scores, shares))
    pair, wanted = scores[:, :2], draw(seed + 2, 5, 1)
    torch.testing.assert_close(Difference().losses(pair + shift, wanted), Difference().losses(pair, wanted))


@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1))
def test_two_samples_are_bradley_terry_soft_by_confidence(seed: int, share: float) -> None:
    scores = draw(seed, 4, 2)
    found = Choice().losses(scores, targets(*[(share, 1 - share)] * 4))
    for loss, (a, b) in zip(found.tolist(), scores.tolist(), strict=True):
        by_hand = share * math.log1p(math.exp(b - a)) + (1 - share) * math.log1p(math.exp(a - b))
        assert loss == pytest.approx(by_hand)


def test_equal_scores_cost_ln_k_whatever_was_picked() -> None:
    given = targets(picked(0, 4), picked(3, 4), even(4))
    assert Choice().losses(torch.zeros(3, 4).double(), given).tolist() == pytest.approx([math.log(4)] * 3)


def test_a_step_down_raises_the_score_of_the_pick_and_leaves_a_tie_alone() -> None:
    scores = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(Choice().losses(scores, targets(picked(2, 4), even(4))).sum(), scores)
    assert grad[0].tolist() == pytest.approx([0.25, 0.25, -0.75, 0.25])
    assert grad[1].tolist() == pytest.approx([0.0] * 4)


def test_a_tie_costs_least_where_scores_are_equal() -> None:
    apart = Choice().losses(targets((1.0, 0.0, 0.0, 0.0)), targets(even(4)))
    # -mean of log softmax: ln(e + 3) - 1/4
    assert apart.item() == pytest.approx(math.log(math.e + 3) - 0.25)
    assert apart.item() > math.log(4)


def test_squared_errors_by_hand() -> None:
    assert Rating().losses(targets((2.0,), (5.0,)), targets((3.0,), (5.0,))).tolist() == [1.0, 0.0]
    assert Difference().losses(targets((1.0, 4.0)), targets((2.0,))).tolist() == [1.0]


def test_scales_before_training() -> None:
    assert Choice().target_scale(targets(even(4))) == (0.0, 1.0)
    assert Rating().target_scale(targets((1.0,), (3.0,))) == (2.0, 1.0)
    assert Difference().target_scale(targets((1.0,), (3.0,))) == (1.0, 0.5)
    with pytest.raises(ValueError, match="nothing to learn"):
        Rating().target_scale(targets((4.0,), (4.0,)))


def test_targets_of_choices() -> None:
    assert picked(1, 4) == (0, 1, 0, 0)
    assert picked(0, 2, 0.5) == (0.75, 0.25)
    assert even(4) == (0.25,) * 4
    assert preference(-1) == (1, 0)
    assert preference(0) == (0.5, 0.5)
    assert preference(2 * 0.9 - 1) == pytest.approx((0.1, 0.9))
    require_distributions(targets(picked(3, 4, 0.3), even(4)))


@pytest.mark.parametrize("scores", [(3, 3), (2,)])
def test_bad_arguments_are_named(scores: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Choice().losses(torch.zeros(scores), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"expected \(n, 1\)"):
        Rating().losses(torch.zeros(3, 3), torch.zeros(3, 1))
    with pytest.raises(ValueError, match=r"expected \(n, 2\)"):
        Difference().losses(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(ValueError, match="best 4"):
        picked(4, 4)
    with pytest.raises(ValueError, match="sureness"):
        picked(0, 4, 1.5)
    with pytest.raises(ValueError, match=r"2 \* p - 1"):
        preference(1.5)
    with pytest.raises(ValueError, match="add up to 1"):
        require_distributions(targets((0.5, 0.2)))

"""The convex fit of a linear head."""

import math

import pytest
import torch
from torch import Tensor

from workers.rlhf.probe import assign_folds, cross_validate, fit_linear


def choices(n: int, d: int, *, seed: int = 0, sharpness: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """Features, picks by a random linear taste with Gumbel noise, and the taste."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, 4, d, generator=generator, dtype=torch.float64)
    taste = sharpness * torch.nn.functional.normalize(torch.randn(d, generator=generator, dtype=torch.float64), dim=0)
    noise = -torch.rand(n, 4, generator=generator, dtype=torch.float64).log().neg().log()
    return features, (features @ taste + noise).argmax(dim=1), taste


def test_two_options_and_one_feature_by_hand() -> None:
    """k = 2, difference 1, three picks for and one against: the penalty shrinks ln 3 a little."""
    features = torch.tensor([[[1.0], [0.0]]] * 4, dtype=torch.float64)
    best = torch.tensor([0, 0, 0, 1])
    weight = fit_linear(features, best, l2=1e-9).item()
    assert weight == pytest.approx(math.log(3), abs=1e-3)


def test_the_gradient_vanishes_at_the_result() -> None:
    features, best, _ = choices(50, 6)
    weight = fit_linear(features, best, l2=2.0)
    expected = torch.zeros(6, dtype=torch.float64)
    for x, pick in zip(features, best.tolist(), strict=True):  # sum of (expected feature - picked feature) + l2 w
        expected += ((x @ weight).softmax(0).unsqueeze(1) * x).sum(0) - x[pick]
    assert (expected + 2.0 * weight).abs().max() < 1e-3


def test_the_start_does_not_matter_and_neither_does_what_options_share() -> None:
    features, best, _ = choices(40, 5)
    plain = fit_linear(features, best, l2=1.0)
    assert torch.allclose(fit_linear(features, best, l2=1.0, start=torch.full((5,), 4.0).double()), plain, atol=1e-3)
    shifted = features + torch.randn(40, 1, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.allclose(fit_linear(shifted, best, l2=1.0), plain, atol=1e-3)


def test_with_many_choices_the_taste_is_found() -> None:
    features, best, taste = choices(4000, 5)
    assert torch.allclose(fit_linear(features, best, l2=0.1), taste, atol=0.2)


def test_cross_validation_scores_each_comparison_by_a_fit_without_its_fold() -> None:
    features, best, _ = choices(60, 4)
    folds = assign_folds([str(i // 2) for i in range(60)], 3, torch.Generator().manual_seed(0))
    found = cross_validate(features, best, folds, [0.5])
    for fold in range(3):
        rest, held = folds != fold, folds == fold
        weight = fit_linear(features[rest], best[rest], l2=0.5)
        assert torch.allclose(found.scores[held], features[held] @ weight, atol=1e-3)


def test_noise_asks_for_the_strongest_penalty_and_a_clear_taste_for_a_weak_one() -> None:
    penalties = [0.1, 1.0, 10.0, 1e4]
    features, best, _ = choices(100, 20, sharpness=8.0)
    folds = assign_folds([str(i) for i in range(100)], 5, torch.Generator().manual_seed(0))
    assert cross_validate(features, best, folds, penalties).l2 < 1e4
    coin = torch.randint(4, (100,), generator=torch.Generator().manual_seed(5))
    noise = cross_validate(features, coin, folds, penalties)
    assert noise.l2 == 1e4
    assert noise.loss == pytest.approx(math.log(4), abs=0.01)


def test_folds_keep_prompts_together_and_are_even() -> None:
    groups = [f"p{i % 23}" for i in range(100)]
    folds = assign_folds(groups, 5, torch.Generator().manual_seed(3))
    by_group = {group: {f for g, f in zip(groups, folds.tolist(), strict=True) if g == group} for group in groups}
    assert all(len(found) == 1 for found in by_group.values())
    sizes = [sum(found == {fold} for found in by_group.values()) for fold in range(5)]
    assert max(sizes) - min(sizes) <= 1
    assert set(assign_folds(["a", "b"], 5, torch.Generator()).tolist()) == {0, 1}


def test_what_cannot_be_fitted_is_refused() -> None:
    features, best, _ = choices(4, 2)
    with pytest.raises(ValueError, match="2 different prompts"):
        assign_folds(["a", "a"], 5, torch.Generator())
    with pytest.raises(ValueError, match="l2"):
        fit_linear(features, best, l2=0.0)
    with pytest.raises(ValueError, match="folds"):
        cross_validate(features, best, torch.zeros(4, dtype=torch.int64), [1.0])

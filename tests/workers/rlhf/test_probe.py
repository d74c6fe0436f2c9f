"""The convex fit of a linear head."""

import math

import pytest
import torch
from torch import Tensor

from workers.rlhf.labels import Difference, Rating
from workers.rlhf.probe import LinearFit, assign_folds, bootstrap, cross_validate, fit_linear


def choices(n: int, d: int, *, seed: int = 0, sharpness: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """Features, picks by a random linear taste with Gumbel noise as one-hot targets, and the taste."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, 4, d, generator=generator, dtype=torch.float64)
    taste = sharpness * torch.nn.functional.normalize(torch.randn(d, generator=generator, dtype=torch.float64), dim=0)
    noise = -torch.rand(n, 4, generator=generator, dtype=torch.float64).log().neg().log()
    return features, one_hot((features @ taste + noise).argmax(dim=1)), taste


def one_hot(best: Tensor, k: int = 4) -> Tensor:
    return torch.eye(k, dtype=torch.float64)[best]


def test_two_options_and_one_feature_by_hand() -> None:
    """k = 2, difference 1, three picks for and one against: the penalty shrinks ln 3 a little."""
    features = torch.tensor([[[1.0], [0.0]]] * 4, dtype=torch.float64)
    best = one_hot(torch.tensor([0, 0, 0, 1]), 2)
    weight = fit_linear(features, best, l2=1e-9).weight.item()
    assert weight == pytest.approx(math.log(3), abs=1e-3)


def test_the_gradient_vanishes_at_the_result() -> None:
    features, best, _ = choices(50, 6)
    weight = fit_linear(features, best, l2=2.0).weight
    expected = torch.zeros(6, dtype=torch.float64)
    for x, pick in zip(features, best.argmax(dim=1).tolist(), strict=True):  # (expected - picked feature) + l2 w
        expected += ((x @ weight).softmax(0).unsqueeze(1) * x).sum(0) - x[pick]
    assert (expected + 2.0 * weight).abs().max() < 1e-3


def test_the_start_does_not_matter_and_neither_does_what_options_share() -> None:
    features, best, _ = choices(40, 5)
    plain = fit_linear(features, best, l2=1.0).weight
    start = LinearFit(torch.full((5,), 4.0).double())
    assert torch.allclose(fit_linear(features, best, l2=1.0, start=start).weight, plain, atol=1e-3)
    shifted = features + torch.randn(40, 1, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.allclose(fit_linear(shifted, best, l2=1.0).weight, plain, atol=1e-3)


def test_with_many_choices_the_taste_is_found() -> None:
    features, best, taste = choices(4000, 5)
    assert torch.allclose(fit_linear(features, best, l2=0.1).weight, taste, atol=0.2)


def test_even_targets_ask_for_equal_scores_and_unsure_ones_for_less() -> None:
    features = torch.tensor([[[1.0], [0.0]]] * 4, dtype=torch.float64)
    for share in (0.5, 0.6, 0.9):  # the odds of a soft Bradley-Terry label are those of the scores
        targets = torch.tensor([[share, 1 - share]] * 4, dtype=torch.float64)
        found = fit_linear(features, targets, l2=1e-9).weight.item()
        assert found == pytest.approx(math.log(share / (1 - share)), abs=1e-3)


@pytest.mark.parametrize("n", [30, 5])
def test_ratings_are_fitted_by_ridge_with_a_constant(n: int) -> None:
    """More labels than features or fewer: the slope of the penalised squared errors vanishes."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(n, 8, generator=generator, dtype=torch.float64) + 1
    ratings = x @ torch.arange(8.0, dtype=torch.float64) + 40
    fit = fit_linear(x.unsqueeze(1), ratings.unsqueeze(1), l2=0.6, kind=Rating())
    rest = x @ fit.weight + fit.intercept - ratings
    assert torch.allclose(2 * x.T @ rest + 0.6 * fit.weight, torch.zeros(8, dtype=torch.float64), atol=1e-6)
    assert rest.sum().item() == pytest.approx(0, abs=1e-6), "the constant is not held back by the penalty"


@pytest.mark.parametrize("n", [30, 5])
def test_differences_are_fitted_by_ridge_on_differences_of_features(n: int) -> None:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(n, 2, 8, generator=generator, dtype=torch.float64)
    wanted = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    fit = fit_linear(features, wanted, l2=0.6, kind=Difference())
    x = features[:, 1] - features[:, 0]
    slope = 2 * x.T @ (x @ fit.weight - wanted[:, 0]) + 0.6 * fit.weight
    assert torch.allclose(slope, torch.zeros(8, dtype=torch.float64), atol=1e-6)
    assert fit.intercept == 0


def test_ratings_and_differences_are_cross_validated_alike() -> None:
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(80, 1, 6, generator=generator, dtype=torch.float64)
    ratings = features[:, 0, :1] * 3 + 5
    folds = assign_folds([str(i) for i in range(80)], 4, torch.Generator().manual_seed(0))
    found = cross_validate(features, ratings, folds, [1e-3, 1e3], kind=Rating())
    assert found.l2 == 1e-3
    assert found.loss < 1e-3
    pairs = torch.randn(80, 2, 6, generator=generator, dtype=torch.float64)
    differences = (pairs[:, 1] - pairs[:, 0])[:, :1] * 2
    assert cross_validate(pairs, differences, folds, [1e-3, 1e3], kind=Difference()).loss < 1e-3


def test_cross_validation_scores_each_comparison_by_a_fit_without_its_fold() -> None:
    features, best, _ = choices(60, 4)
    folds = assign_folds([str(i // 2) for i in range(60)], 3, torch.Generator().manual_seed(0))
    found = cross_validate(features, best, folds, [0.5])
    for fold in range(3):
        rest, held = folds != fold, folds == fold
        fit = fit_linear(features[rest], best[rest], l2=0.5)
        assert torch.allclose(found.scores[held], features[held] @ fit.weight, atol=1e-3)


def test_noise_asks_for_the_strongest_penalty_and_a_clear_taste_for_a_weak_one() -> None:
    penalties = [0.1, 1.0, 10.0, 1e4]
    features, best, _ = choices(100, 20, sharpness=8.0)
    folds = assign_folds([str(i) for i in range(100)], 5, torch.Generator().manual_seed(0))
    assert cross_validate(features, best, folds, penalties).l2 < 1e4
    coin = one_hot(torch.randint(4, (100,), generator=torch.Generator().manual_seed(5)))
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


def test_a_bootstrap_draws_whole_prompts_with_replacement() -> None:
    groups = ["a", "b", "b", "c", "d"]
    drawn = [bootstrap(groups, torch.Generator().manual_seed(seed)).tolist() for seed in range(300)]
    for rows in drawn:
        assert rows.count(1) == rows.count(2), "labels of one prompt go together"
        assert rows.count(0) + rows.count(1) + rows.count(3) + rows.count(4) == 4, "as many prompts as there are"
    without = sum(0 not in rows for rows in drawn) / len(drawn)
    assert without == pytest.approx((3 / 4) ** 4, abs=0.1)
    assert bootstrap(groups, torch.Generator().manual_seed(1)).tolist() == drawn[1]


def test_what_cannot_be_fitted_is_refused() -> None:
    features, best, _ = choices(4, 2)
    with pytest.raises(ValueError, match="2 different prompts"):
        assign_folds(["a", "a"], 5, torch.Generator())
    with pytest.raises(ValueError, match="l2"):
        fit_linear(features, best, l2=0.0)
    with pytest.raises(ValueError, match="folds"):
        cross_validate(features, best, torch.zeros(4, dtype=torch.int64), [1.0])


def test_a_label_of_weight_two_is_two_labels() -> None:
    features, best, _ = choices(30, 3)
    weights = torch.ones(30, dtype=torch.float64)
    weights[4], weights[7] = 2.0, 0.0
    rows = [row for row in range(30) if row != 7] + [4]
    weighted = fit_linear(features, best, l2=1.0, weights=weights).weight
    assert torch.allclose(weighted, fit_linear(features[rows], best[rows], l2=1.0).weight, atol=1e-4)
    assert not torch.allclose(weighted, fit_linear(features, best, l2=1.0).weight, atol=1e-3)


def test_weights_reach_every_fold() -> None:
    features, best, _ = choices(40, 3)
    folds = torch.arange(40) % 4
    muddled = best.clone()
    muddled[::2] = best[::2].flip(dims=(1,))
    weights = torch.tensor([0.0, 1.0] * 20, dtype=torch.float64)
    found = cross_validate(features, muddled, folds, [1.0], weights=weights).scores
    other = cross_validate(features, best, folds, [1.0], weights=weights).scores
    assert torch.allclose(found, other)  # what weighs nothing taught nothing


def test_ratings_take_no_weights() -> None:
    with pytest.raises(ValueError, match="no weights"):
        fit_linear(
            torch.ones(2, 1, 1).double(), torch.ones(2, 1).double(), l2=1.0, kind=Rating(), weights=torch.ones(2)
        )

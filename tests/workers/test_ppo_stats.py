"""Statistics of an update, by hand."""

from dataclasses import replace

import pytest

from tests.workers.test_ppo_objective import TWO, hparams
from workers.ppo_objective import Objective
from workers.ppo_stats import mean_of, rollout_stats


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_in_corrected_mode_only_kept_tokens_count_and_kl_is_k1(estimator: str) -> None:
    objective = Objective(hparams(kl_estimator=estimator))
    targets = objective.targets(TWO, kl_coef=0.5)
    stats = rollout_stats(TWO, objective.rewards(TWO, kl_coef=0.5), targets, objective.mask(TWO), 0.5)
    # Log-ratios 1, 0 and 0, 1, 0; log-probabilities -1, -1 and -2, -2, -2.
    assert stats["objective/kl"] == 1.0
    assert stats["objective/entropy"] == 4.0
    assert stats["objective/kl_coef"] == 0.5
    assert stats["objective/score"] == 1.0
    assert stats["objective/score_std"] == 2.0
    assert stats["objective/response_length"] == 2.5
    assert stats["objective/valid_fraction"] == 1.0


def test_in_reference_mode_every_sampled_token_counts() -> None:
    objective = Objective(hparams(mode="reference"))
    rewards, targets = objective.rewards(TWO, kl_coef=0.5), objective.targets(TWO, kl_coef=0.5)
    stats = rollout_stats(TWO, rewards, targets, None, 0.5)
    assert stats["objective/kl"] == 2.5
    assert stats["objective/entropy"] == 4.5
    # Scores 3 and -1 less half of 4 and 1 nats: 1 and -3/2.
    assert stats["objective/score_total"] == pytest.approx((1.0 - 1.5) / 2)
    assert stats["ppo/returns/mean"] == pytest.approx((1 + 1.5 + 1.5 - 1.5 - 1.5 - 1) / 6)
    assert stats["ppo/val/mean"] == pytest.approx(9.5 / 6)


def test_values_that_are_the_returns_explain_all_of_them() -> None:
    objective = Objective(hparams(mode="reference"))
    rewards, targets = objective.rewards(TWO, kl_coef=0.5), objective.targets(TWO, kl_coef=0.5)
    for values, explained in ((targets.returns, 1.0), (targets.returns.mean().expand(2, 3), 0.0)):
        stats = rollout_stats(replace(TWO, values=values), rewards, targets, None, 0.5)
        assert stats["ppo/val/var_explained"] == pytest.approx(explained)


def test_variances_are_the_biased_ones_of_the_tokens_that_count() -> None:
    objective = Objective(hparams())
    targets, mask = objective.targets(TWO, kl_coef=0.5), objective.mask(TWO)
    stats = rollout_stats(TWO, objective.rewards(TWO, kl_coef=0.5), targets, mask, 0.5)
    # Returns 5/2, 3, -3/2, -3/2, -1 have mean 3/10, squares of 20.75 in all; values 1/2, 0, 0, 0, 0 have mean 1/10.
    assert stats["ppo/returns/mean"] == pytest.approx(0.3)
    assert stats["ppo/returns/var"] == pytest.approx(20.75 / 5 - 0.09)
    assert stats["ppo/val/var"] == pytest.approx(0.05 - 0.01)


def test_means_are_taken_name_by_name() -> None:
    assert mean_of([{"a": 1.0, "b": 0.0}, {"a": 2.0, "b": 5.0}]) == {"a": 1.5, "b": 2.5}

"""A flipped sign anywhere between score and step is caught; an objective that is right never is."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from app.hparams import PPOHParams
from tests.tiny import save_tiny_model
from tests.workers.test_ppo_trainer import PPO, batch, counts_happy, make_trainer
from workers.ppo_objective import Losses, Objective
from workers.rlhf.guards import GuardError
from workers.rlhf.masks import response_mask
from workers.rlhf.rewards import per_token_rewards
from workers.rlhf.types import Rollout
from workers.sign_check import Signs, choose_probe, measure_signs, require_signs

RIGHT = [
    {"mode": mode, "kl_estimator": estimator, "whiten_rewards": whiten, "lam": lam}
    for mode, estimator, whiten, lam in itertools.product(
        ("corrected", "reference"), ("k1", "k2", "k3"), (True, False), (0.95, 1.0)
    )
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


class FlippedScore(Objective):
    """Rewards what scores low."""

    def rewards(self, batch: Rollout, *, kl_coef: float) -> torch.Tensor:
        return per_token_rewards(
            batch.logprobs, batch.ref_logprobs, -batch.scores, batch.lengths, kl_coef=kl_coef, mode=self.ppo.mode
        )


class FlippedKL(Objective):
    """Rewards leaving the reference."""

    def rewards(self, batch: Rollout, *, kl_coef: float) -> torch.Tensor:
        return per_token_rewards(
            batch.ref_logprobs, batch.logprobs, batch.scores, batch.lengths, kl_coef=kl_coef, mode=self.ppo.mode
        )


class NoKL(Objective):
    """Forgets the penalty."""

    def rewards(self, batch: Rollout, *, kl_coef: float) -> torch.Tensor:  # noqa: ARG002
        return super().rewards(batch, kl_coef=0.0)


class FlippedLoss(Objective):
    """Goes up the loss instead of down."""

    def losses(self, *args: Any, **kwargs: Any) -> Losses:
        found = super().losses(*args, **kwargs)
        return found._replace(total=-found.total)


def signs(folder: Path, objective: Objective, *, updates: int = 0) -> Signs:
    """Of an objective, on the first rollout, after some updates of the right one."""
    trainer = make_trainer(folder, objective.ppo)
    sampled = trainer.sample(batch(folder))
    rollout = trainer.rollout(sampled, trainer.scores(sampled, counts_happy(folder)))
    for _ in range(updates):
        trainer.update(batch(folder), counts_happy(folder))
    probe = choose_probe(rollout)
    assert probe is not None
    return measure_signs(trainer.models, objective, probe)


@pytest.mark.parametrize("changes", RIGHT)
def test_the_published_objective_goes_the_expected_way(folder: Path, changes: dict[str, Any]) -> None:
    ppo = PPOHParams.model_validate(PPO.model_dump() | changes)
    found = signs(folder, Objective(ppo))
    assert found.score > 0.8
    assert found.kl > 0.8


def test_it_still_does_far_from_the_reference(folder: Path) -> None:
    found = signs(folder, Objective(PPO), updates=20)
    assert found.score > 0.8
    assert found.kl > 0.8


@pytest.mark.parametrize("mode", ["corrected", "reference"])
@pytest.mark.parametrize(
    ("wrong", "guard"),
    [(FlippedScore, "score's gradient"), (FlippedKL, "KL penalty's gradient"), (FlippedLoss, "score's gradient")],
)
def test_a_flipped_sign_stops_the_first_update_before_it_trains(
    folder: Path, mode: str, wrong: type[Objective], guard: str
) -> None:
    ppo = PPO.model_copy(update={"mode": mode})
    trainer = make_trainer(folder, ppo, objective=wrong(ppo))
    before = {name: value.clone() for name, value in trainer.policy.state_dict().items()}
    with pytest.raises(GuardError, match=guard):
        trainer.update(batch(folder), counts_happy(folder))
    assert all(torch.equal(before[name], value) for name, value in trainer.policy.state_dict().items())


def test_a_flipped_sign_points_the_opposite_way(folder: Path) -> None:
    right, score, kl = (signs(folder, kind(PPO)) for kind in (Objective, FlippedScore, FlippedKL))
    assert score.score == pytest.approx(-right.score, abs=1e-3)
    assert kl.kl == pytest.approx(-right.kl, abs=1e-3)
    assert score.kl == pytest.approx(right.kl, abs=1e-3)
    assert kl.score == pytest.approx(right.score, abs=1e-3)


def test_a_penalty_that_is_missing_is_caught(folder: Path) -> None:
    with pytest.raises(GuardError, match="KL penalty's gradient"):
        make_trainer(folder, objective=NoKL(PPO)).update(batch(folder), counts_happy(folder))


def test_checking_changes_nothing(folder: Path) -> None:
    never = PPO.model_copy(update={"guards": PPO.guards.model_copy(update={"sign_check": None})})
    always = PPO.model_copy(update={"guards": PPO.guards.model_copy(update={"sign_check": 1})})
    one, other = make_trainer(folder, never), make_trainer(folder, always)
    for _ in range(2):
        assert one.update(batch(folder), counts_happy(folder)) == other.update(batch(folder), counts_happy(folder))
    ends = zip(one.policy.parameters(), other.policy.parameters(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in ends)


def test_the_probe_is_the_extremes_of_the_first_rollout_that_has_any(folder: Path) -> None:
    trainer = make_trainer(folder)
    sampled = trainer.sample(batch(folder))
    assert choose_probe(trainer.rollout(sampled, torch.full((16,), -1.0))) is None
    everywhere = torch.ones(16, dtype=torch.bool)
    rollout = Rollout(
        queries=sampled.queries.ids.repeat(2, 1),
        query_mask=sampled.queries.mask.repeat(2, 1),
        responses=sampled.responses.repeat(2, 1),
        logprobs=sampled.logprobs.repeat(2, 1),
        ref_logprobs=sampled.ref_logprobs.repeat(2, 1),
        values=sampled.values.repeat(2, 1),
        scores=torch.arange(32.0).flip(0),
        valid=everywhere.repeat(2),
        lengths=sampled.lengths.repeat(2),
    )
    probe = choose_probe(rollout)
    assert probe is not None
    assert probe.scores.tolist() == [*range(8), *range(24, 32)]
    assert torch.equal(probe.responses[0], rollout.responses[31])
    assert response_mask(probe.lengths, 6).any(dim=1).all()


def test_gradients_that_point_nowhere_are_no_answer() -> None:
    require_signs(Signs(score=0.9, kl=0.9))
    with pytest.raises(GuardError, match="is nan"):
        require_signs(Signs(score=0.9, kl=float("nan")))

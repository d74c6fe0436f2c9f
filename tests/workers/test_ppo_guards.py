"""Each guard, tripped by the mistake it is there for; and that a good update trips none."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
import torch
from structlog.testing import capture_logs

from app.hparams import PPOHParams
from tests.tiny import save_tiny_model
from tests.workers.test_ppo_trainer import PPO, batch, counts_happy, make_trainer
from workers import training_state
from workers.ppo_objective import Losses, Objective
from workers.ppo_trainer import PPOTrainer
from workers.rlhf.guards import GuardError
from workers.rlhf.types import Rollout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def _plain_logs() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def guarded(**bounds: Any) -> PPOHParams:
    """The usual settings with other bounds."""
    return PPO.model_copy(update={"guards": PPO.guards.model_copy(update=bounds)})


def first_rollout(trainer: PPOTrainer, folder: Path) -> Rollout:
    """Sampled and scored, not trained on."""
    sampled = trainer.sample(batch(folder))
    return trainer.rollout(sampled, trainer.scores(sampled, counts_happy(folder)))


def test_sampling_at_another_temperature_is_found_before_any_step(folder: Path) -> None:
    trainer = make_trainer(folder)
    before = {name: value.clone() for name, value in trainer.policy.state_dict().items()}
    other = make_trainer(folder, task=trainer.task.model_copy(update={"temperature": 0.9}))
    rollout = replace(first_rollout(other, folder), ref_logprobs=first_rollout(trainer, folder).ref_logprobs)
    with pytest.raises(GuardError, match=r"largest \|ratio - 1\| of the first pass is .*masks, positions or temperat"):
        make_trainer(folder, guarded(start_kl=100.0)).step(rollout)
    assert all(torch.equal(before[name], value) for name, value in trainer.policy.state_dict().items())


def test_a_single_token_is_enough(folder: Path) -> None:
    trainer = make_trainer(folder)
    rollout = first_rollout(trainer, folder)
    logprobs = rollout.logprobs.clone()
    logprobs[3, 0] += 2e-3
    with pytest.raises(GuardError, match=r"is 0\.00199.*, beyond its bound of 0\.001"):
        trainer.step(replace(rollout, logprobs=logprobs))


def test_a_policy_that_does_not_start_at_the_reference_is_found(folder: Path, tmp_path: Path) -> None:
    other = make_trainer(save_tiny_model(tmp_path / "other", seed=5))
    trainer = make_trainer(folder)
    trainer.reference.load_state_dict(other.reference.state_dict())
    with pytest.raises(GuardError, match="the reference has changed"):
        trainer.update(batch(folder), counts_happy(folder))
    strangers = PPOTrainer(
        trainer.policy,
        other.reference,
        task=trainer.task,
        ppo=PPO,
        terminators=trainer.terminators,
        seed=1,
        progress=trainer.progress,
        bf16=False,
    )
    with pytest.raises(GuardError, match=r"mean \|KL\| of the very first update"):
        strangers.update(batch(folder), counts_happy(folder))


def test_differences_at_the_start_that_cancel_are_found_too(folder: Path) -> None:
    """Half of the responses are 0.001 nats per token up, half as much down: their sum says nothing."""
    trainer = make_trainer(folder)
    rollout = first_rollout(trainer, folder)
    apart = torch.tensor([1e-3, -1e-3]).repeat(8).unsqueeze(1)
    with pytest.raises(
        GuardError, match=r"mean \|KL\| of the very first update is 0\.00\d+, beyond its bound of 0\.001"
    ):
        trainer.step(replace(rollout, ref_logprobs=rollout.ref_logprobs + apart))
    assert trainer.progress.update == 0


def test_a_reference_that_changes_between_updates_is_found(folder: Path) -> None:
    trainer = make_trainer(folder)
    trainer.update(batch(folder), counts_happy(folder))
    weight = next(trainer.reference.parameters())
    weight.data[0, 0] += 1e-6
    with pytest.raises(GuardError, match="the reference has changed"):
        trainer.update(batch(folder), counts_happy(folder))


def test_the_very_first_update_alone_starts_at_the_reference(folder: Path) -> None:
    trainer = make_trainer(folder)
    kls = [trainer.update(batch(folder), counts_happy(folder))["objective/kl"] for _ in range(6)]
    assert max(map(abs, kls)) > 1e-2


def test_signs_are_looked_at_first_then_as_often_as_asked_and_first_again_after_a_start(folder: Path) -> None:
    trainer, again = (make_trainer(folder, guarded(sign_check=2)) for _ in range(2))
    with capture_logs() as logs:
        for _ in range(5):
            trainer.update(batch(folder), counts_happy(folder))
        training_state.unpack(again, *training_state.pack(trainer))
        again.update(batch(folder), counts_happy(folder))
    assert [entry["update"] for entry in logs if entry["event"] == "signs_checked"] == [0, 2, 4, 5]


def test_samples_that_hardly_ever_end_stop_training(folder: Path) -> None:
    with pytest.raises(GuardError, match=r"share of samples that do not end in time is .*beyond its bound of 0\.1"):
        make_trainer(folder, guarded(invalid_fraction=0.1)).update(batch(folder), counts_happy(folder))


def test_a_few_samples_that_do_not_end_are_no_proof(folder: Path) -> None:
    """None of 16 ends: by Wilson the share of those that do not may be as low as 1 / (1 + 1.96^2 / 16) = 0.81."""
    trainer = make_trainer(folder, guarded(invalid_fraction=0.82))
    sampled = trainer.sample(batch(folder))
    r = sampled.responses.shape[1]
    none = torch.zeros(16, dtype=torch.bool)
    whole = replace(sampled, tokens=sampled.responses, lengths=torch.full((16,), r), valid=none)
    trainer.step(trainer.rollout(whole, torch.arange(16.0)))
    surer = make_trainer(folder, guarded(invalid_fraction=0.8))
    with pytest.raises(GuardError, match="do not end in time"):
        surer.step(surer.rollout(whole, torch.arange(16.0)))


def test_a_policy_with_no_choice_left_stops_training(folder: Path) -> None:
    trainer = make_trainer(folder, guarded(entropy_floor=20.0))
    with pytest.raises(GuardError, match=r"entropy in nats per token is .*below its bound of 20"):
        trainer.update(batch(folder), counts_happy(folder))


def test_entropy_is_counted_per_token(folder: Path) -> None:
    # A random model of 21 tokens says each with about ln 21 = 3.04 nats.
    make_trainer(folder, guarded(entropy_floor=2.5)).update(batch(folder), counts_happy(folder))
    with pytest.raises(GuardError, match="entropy"):
        make_trainer(folder, guarded(entropy_floor=3.2)).update(batch(folder), counts_happy(folder))


@pytest.mark.parametrize(
    ("factor", "guard"), [(float("nan"), r"^loss is nan"), (1e38, r"^norm of the gradient is (inf|nan)")]
)
def test_no_weight_becomes_a_nan(folder: Path, factor: float, guard: str) -> None:
    class Exploding(Objective):
        """Far too large."""

        def losses(self, *args: Any, **kwargs: Any) -> Losses:
            found = super().losses(*args, **kwargs)
            return found._replace(total=found.policy.loss * factor)

    ppo = guarded(sign_check=None)
    trainer = make_trainer(folder, ppo, objective=Exploding(ppo))
    with pytest.raises(GuardError, match=guard):
        trainer.update(batch(folder), counts_happy(folder))
    assert all(value.isfinite().all() for value in trainer.policy.state_dict().values())


def test_in_bf16_logprobs_that_differ_are_recomputed_and_counted(folder: Path) -> None:
    strict = make_trainer(folder, guarded(ratio_mean_bf16=1e-9), bf16=True)
    rollout = first_rollout(strict, folder)
    with capture_logs() as logs:
        stats = strict.step(rollout)
    (said,) = [entry for entry in logs if entry["event"] == "logprobs_recomputed"]
    assert said["ratio_mean"] > 1e-9
    assert stats["ppo/logprobs_recomputed"] == 1
    assert stats["ppo/ratio_error"] == 0
    loose = make_trainer(folder, guarded(ratio_mean_bf16=0.5, ratio_tail_bf16=0.5), bf16=True)
    assert loose.step(rollout)["ppo/logprobs_recomputed"] == 0
    tail = make_trainer(folder, guarded(ratio_mean_bf16=0.5, ratio_tail_bf16=1e-9), bf16=True)
    assert tail.step(rollout)["ppo/logprobs_recomputed"] == 1


def test_recomputed_values_are_those_of_training(folder: Path) -> None:
    trainer = make_trainer(folder, bf16=True)
    torch.nn.init.normal_(trainer.policy.value_head.weight)
    rollout = first_rollout(trainer, folder)
    logprobs, values = trainer.models.recompute(rollout.queries, rollout.query_mask, rollout.responses)
    out = trainer.models.forward(rollout.queries, rollout.query_mask, rollout.responses)
    assert torch.equal(logprobs, out.logprobs)
    assert torch.equal(values, out.values)

"""Frozen layers are computed once per rollout, and nothing but time tells."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tiny import save_tiny_model
from tests.workers.test_ppo_trainer import PPO, batch, counts_happy, make_trainer
from workers import training_state
from workers.rlhf.guards import GuardError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of two layers."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("changes", [{}, {"micro_batch": 5, "minibatches": 2}, {"value_network": "separate"}])
def test_a_shared_trunk_changes_nothing_but_time(folder: Path, changes: dict[str, object]) -> None:
    ppo = PPO.model_copy(update=changes)
    shared = make_trainer(folder, ppo, frozen=1)
    plain = make_trainer(folder, ppo, frozen=1, share_trunk=False)
    for _ in range(2):
        assert shared.sample(batch(folder)).trunk is not None
        assert plain.sample(batch(folder)).trunk is None
        expected = plain.update(batch(folder), counts_happy(folder))
        found = shared.update(batch(folder), counts_happy(folder))
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)
    for one, other in zip(shared.models.trained().values(), plain.models.trained().values(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_a_shared_trunk_resumes_bit_for_bit(folder: Path) -> None:
    unbroken = make_trainer(folder, frozen=1)
    unbroken.update(batch(folder), counts_happy(folder))
    resumed = make_trainer(folder, frozen=1)
    training_state.unpack(resumed, *training_state.pack(unbroken))
    expected = unbroken.update(batch(folder), counts_happy(folder))
    assert resumed.update(batch(folder), counts_happy(folder)) == expected
    ends = zip(unbroken.policy.parameters(), resumed.policy.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in ends)


def test_a_trunk_that_sampling_saw_otherwise_stops_the_update(folder: Path) -> None:
    trainer = make_trainer(folder, frozen=1)
    sampled = trainer.sample(batch(folder))
    assert sampled.trunk is not None
    off = replace(sampled, trunk=replace(sampled.trunk, states=sampled.trunk.states * 1.01))
    with pytest.raises(GuardError, match=r"kept hidden state .* is 0\.0\d+, beyond its bound of 0\.001"):
        trainer.step(trainer.rollout(off, torch.arange(16.0)))


def test_a_reference_of_other_weights_reads_its_own_trunk(folder: Path) -> None:
    trainer = make_trainer(folder, frozen=1)
    with torch.no_grad():
        next(trainer.reference.language_model.blocks[0].parameters()).add_(1.0)
    plain = make_trainer(folder, frozen=1, share_trunk=False)
    plain.reference.load_state_dict(trainer.reference.state_dict())
    torch.testing.assert_close(
        trainer.sample(batch(folder)).ref_logprobs, plain.sample(batch(folder)).ref_logprobs, atol=1e-4, rtol=1e-4
    )

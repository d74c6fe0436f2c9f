"""Scores from the hidden states that reference and policy share are those of a pass of the reward model's own."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.hparams import Pooling
from tests.tiny import FAMILIES, save_tiny_model
from tests.workers.test_ppo_trainer import PPO, batch, make_trainer
from workers.nets.language_model import LanguageModel
from workers.nets.reward_ensemble import Reward, RewardEnsemble
from workers.nets.reward_model import Read, RewardModel
from workers.rlhf.types import QueryBatch

LAYERS = 6
READS = (Read(layer=1, pooling=Pooling.MEAN), Read(layer=3), Read(layer=4, pooling=Pooling.MEAN))
UNEVEN = PPO.model_copy(update={"micro_batch": 5})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"), layers=LAYERS)


def reward_model(
    trunk: LanguageModel, reads: Sequence[Read] = READS, *, frozen: bool = True, seed: int = 2
) -> RewardModel:
    model = RewardModel(trunk, reads=reads, frozen=frozen, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        model.gain.fill_(1.7 + seed)
        model.bias.fill_(-0.4)
    return model


def ensemble(trunk: LanguageModel) -> RewardEnsemble:
    return RewardEnsemble([reward_model(trunk, seed=seed) for seed in (3, 4)])


class Apart:
    """A reward model of which nobody knows what it reads."""

    def __init__(self, model: Reward) -> None:
        self.model = model

    def __call__(self, queries: Tensor, query_mask: Tensor, responses: Tensor, mask: Tensor) -> Tensor:
        scores: Tensor = self.model(queries, query_mask, responses, mask)
        return scores


@pytest.mark.parametrize("frozen", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("made", [reward_model, ensemble])
def test_scores_come_with_the_samples(folder: Path, frozen: int, made: Callable[[LanguageModel], Reward]) -> None:
    trainer = make_trainer(folder, UNEVEN, frozen=frozen)
    scorer = made(trainer.reference.language_model)
    bare, sampled = trainer.sample(batch(folder)), trainer.sample(batch(folder), scorer)
    assert bare.scores is None
    assert sampled.scores is not None
    assert {*sampled.lengths.tolist()} > {sampled.responses.shape[1]}  # some cut, some to their last token
    torch.testing.assert_close(sampled.scores, trainer.scores(bare, scorer), atol=1e-4, rtol=1e-4)
    assert torch.equal(sampled.responses, bare.responses)
    torch.testing.assert_close(sampled.ref_logprobs, bare.ref_logprobs, atol=1e-5, rtol=1e-5)
    assert (sampled.trunk is None) == (bare.trunk is None) == (frozen == 0)
    if sampled.trunk is not None and bare.trunk is not None:
        assert sampled.trunk.states.shape == bare.trunk.states.shape
        real = torch.nn.functional.pad(sampled.queries.mask, (0, sampled.responses.shape[1] - 1), value=True)
        torch.testing.assert_close(sampled.trunk.states[real], bare.trunk.states[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_updates_are_the_same(tmp_path: Path, family: str) -> None:
    folder = save_tiny_model(tmp_path, family=family, layers=LAYERS)
    shared, apart = make_trainer(folder, UNEVEN, frozen=2), make_trainer(folder, UNEVEN, frozen=2)
    scorer, other = (reward_model(one.reference.language_model) for one in (shared, apart))
    for _ in range(2):
        found, expected = shared.update(batch(folder), scorer), apart.update(batch(folder), Apart(other))
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_where_the_policy_began_elsewhere_the_reference_reads_all_by_itself(folder: Path) -> None:
    trainer = make_trainer(folder, frozen=2)
    with torch.no_grad():
        next(trainer.reference.language_model.blocks[0].parameters()).add_(1.0)
    scorer = reward_model(trainer.reference.language_model)
    sampled = trainer.sample(batch(folder), scorer)
    assert sampled.scores is not None
    torch.testing.assert_close(sampled.scores, trainer.scores(sampled, scorer), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("reads", [(Read(),), (Read(layer=LAYERS),), (Read(layer=LAYERS - 1),), (Read(layer=0),)])
def test_what_does_not_come_up_is_read_by_the_reward_model(folder: Path, reads: tuple[Read, ...]) -> None:
    trainer = make_trainer(folder, frozen=1)
    scorer = reward_model(trainer.reference.language_model, reads)
    assert trainer.sample(batch(folder), scorer).scores is None
    assert trainer.update(batch(folder), scorer)["objective/score"] != 0


def test_another_trunk_and_other_queries_are_read_by_the_reward_model(folder: Path) -> None:
    trainer = make_trainer(folder, frozen=1)
    own = LanguageModel.load(folder)
    for scorer in (reward_model(own), reward_model(own, (Read(layer=1),), frozen=False), Apart(reward_model(own))):
        assert trainer.sample(batch(folder), scorer).scores is None
    same = batch(folder)
    raw = QueryBatch(ids=same.ids, mask=same.mask, raw_ids=same.ids[:, 1:], raw_mask=same.mask[:, 1:] | True)
    assert trainer.sample(raw, reward_model(trainer.reference.language_model)).scores is None

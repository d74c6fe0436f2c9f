"""Candidates and members, held against labels that they did not see."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.hparams import PAPER_HEAD
from tests.workers.test_reward_trainer import data, hparams, own_copy, tiny
from workers.reward_features import FeatureCache
from workers.reward_fitting import Fitter
from workers.reward_labels import targets_of
from workers.reward_members import Trunk
from workers.reward_tuning import score_samples
from workers.rlhf.labels import Choice


def test_of_several_seeds_the_lowest_held_out_loss_is_kept(tmp_path: Path) -> None:
    """Three trainings alone, then together, judged by a label that the first says best or the last does."""
    made, trunk = data(40, 0), Trunk(reference=tiny(), digest="tiny", load=own_copy)
    cache = FeatureCache(tmp_path / "features")
    fitter = Fitter(data=made, trunk=trunk, hparams=hparams(PAPER_HEAD), seed=0, cache=cache, bf16=False)

    def losses(number: int, seeds: int, out: list[int]) -> Tensor:
        member, scores = fitter.best_seed(PAPER_HEAD, torch.arange(8, 40), torch.tensor(out), number, seeds)
        held = [made.train[row] for row in out]
        said = score_samples(member.model, [sample for one in held for sample in one.samples]).view(-1, 4)
        assert torch.equal(said.argsort(dim=1), scores.argsort(dim=1)), "the scores are of the model that is kept"
        return Choice().losses(scores, targets_of(held))

    alone = torch.stack([losses(number, 1, list(range(8))) for number in range(3)])
    winners = alone.argmin(dim=0).tolist()
    for row in (winners.index(0), winners.index(2)):
        assert losses(0, 3, [row]).item() == pytest.approx(alone[:, row].min().item(), abs=1e-4)

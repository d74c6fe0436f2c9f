"""An ensemble is the mean of its members, and its disagreement their standard deviation."""

import pytest
import torch
from torch import Tensor

from app.hparams import Pooling
from tests.workers.nets.tiny import padded_queries, random_ids, tiny_language_model
from workers.nets.language_model import LanguageModel
from workers.nets.reward_ensemble import RewardEnsemble
from workers.nets.reward_model import Read, RewardModel


def member(trunk: LanguageModel, seed: int, *, frozen: bool, read: Read = Read()) -> RewardModel:  # noqa: B008
    made = RewardModel(trunk, reads=(read,), frozen=frozen, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        made.gain.fill_(1.0 + seed)
    return made


def members(*, frozen: bool, first: int = 0) -> list[RewardModel]:
    """Three, on one trunk where frozen, as they are fitted."""
    shared = tiny_language_model("gpt2")
    seeds = range(first, first + 3)
    return [member(shared if frozen else tiny_language_model("gpt2"), seed, frozen=frozen) for seed in seeds]


def arguments() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return *padded_queries(), random_ids(3, 5, seed=9), torch.arange(5) < torch.tensor([[5], [2], [3]])


@pytest.mark.parametrize("frozen", [True, False])
def test_score_and_disagreement_by_hand(frozen: bool) -> None:
    parts = members(frozen=frozen)
    ensemble = RewardEnsemble(parts)
    with torch.no_grad():
        ensemble.gain.fill_(3.0)
        ensemble.bias.fill_(-1.0)
        each = [one(*arguments()).tolist() for one in parts]
        scores, disagreement = ensemble.combine(ensemble.member_scores(*arguments()))
        assert torch.equal(ensemble(*arguments()), scores)
    assert disagreement is not None
    for row in range(3):
        said = [scores_of[row] for scores_of in each]
        mean = sum(said) / 3
        deviation = (sum((one - mean) ** 2 for one in said) / 2) ** 0.5
        assert scores[row].item() == pytest.approx(3 * mean - 1, abs=1e-5)
        assert disagreement[row].item() == pytest.approx(3 * deviation, abs=1e-5)


def test_members_that_agree_leave_no_disagreement() -> None:
    trunk = tiny_language_model("gpt2")
    ensemble = RewardEnsemble([member(trunk, 4, frozen=True) for _ in range(2)])
    scores, disagreement = ensemble.combine(ensemble.member_scores(*arguments()))
    assert disagreement is not None
    assert not disagreement.any()
    torch.testing.assert_close(scores, member(trunk, 4, frozen=True)(*arguments()))


def test_one_model_has_no_disagreement() -> None:
    model = member(tiny_language_model("gpt2"), 0, frozen=True)
    scores, disagreement = model.combine(model.member_scores(*arguments()))
    assert torch.equal(scores, model(*arguments()))
    assert disagreement is None


def test_heads_alone_carry_frozen_members() -> None:
    first, second = RewardEnsemble(members(frozen=True)), RewardEnsemble(members(frozen=True, first=5))
    state = first.head_state_dict()
    assert sum(value.numel() for value in state.values()) == 3 * (3 * 32 + 3) + 2
    assert not torch.equal(first(*arguments()), second(*arguments()))
    second.load_head_state_dict(state)
    assert torch.equal(first(*arguments()), second(*arguments()))
    with pytest.raises(ValueError, match="expected"):
        second.load_head_state_dict({"gain": torch.ones(())})


def test_one_member_or_members_that_read_differently_are_refused() -> None:
    trunk = tiny_language_model("gpt2")
    alone = member(trunk, 0, frozen=True)
    with pytest.raises(ValueError, match="two members"):
        RewardEnsemble([alone])
    with pytest.raises(ValueError, match="read the same"):
        RewardEnsemble([alone, member(trunk, 1, frozen=True, read=Read(pooling=Pooling.MEAN))])

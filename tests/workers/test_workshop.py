"""What a trainer keeps in memory, and that from disk it goes on exactly as from memory."""

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from torch import Tensor

from app.errors import ConflictError, InvalidError
from app.hparams import Pooling, RewardHead, RunHParams, preset
from tests.tiny import save_tiny_model
from workers.models import weights_digest
from workers.nets.reward_model import Read, RewardModel
from workers.plans import (
    Judgement,
    LabeledComparison,
    PolicyFiles,
    PPOPlan,
    PromptText,
    RewardFiles,
    RewardPlan,
    SamplePlan,
)
from workers.ppo_trainer import PPOTrainer
from workers.workshop import Workshop

ROUNDING = 5e-3
"""Of scores where the trunk computes in bfloat16."""
TEXTS = ["the sun was", "she was happy and", "he", "a door to home"] * 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model."""
    return save_tiny_model(tmp_path / "tiny")


@pytest.fixture
def hparams() -> RunHParams:
    """Small batches."""
    small = preset("sentiment-small")
    ppo = small.ppo.model_copy(update={"batch": 8, "episodes": 80, "learning_rate": 1e-2})
    return small.model_copy(update={"ppo": ppo})


def plan(folder: Path, hparams: RunHParams, state: str | None, *, reference: str | None = None) -> PPOPlan:
    """Go on from a training state."""
    files = PolicyFiles(
        checkpoint_id=uuid4(),
        base_model=str(folder),
        reference_digest=reference or weights_digest(folder),
        digest=None,
    )
    return PPOPlan(
        reference=files,
        state_digest=state,
        reward=RewardFiles(checkpoint_id=uuid4(), digest="none"),
        hparams=hparams,
        queries=tuple(TEXTS),
        update=0,
        updates=5,
        published_episodes=0,
        reward_episodes=0,
    )


def length(queries: Tensor, query_mask: Tensor, responses: Tensor, mask: Tensor) -> Tensor:
    """Scores a response by its length."""
    assert queries.shape == query_mask.shape
    assert responses.shape == mask.shape
    return mask.float().sum(dim=1)


def update(workshop: Workshop, trainer: PPOTrainer, asked: PPOPlan) -> dict[str, float]:
    """One PPO update."""
    queries = workshop.reference(asked.reference).queries(TEXTS, asked.hparams.task, asked.hparams.reward.query)
    return trainer.update(queries, length)


def test_ppo_goes_on_from_disk_as_from_memory(folder: Path, hparams: RunHParams, tmp_path: Path) -> None:
    first = Workshop(tmp_path / "home")
    start = plan(folder, hparams, None)
    trainer = first.trainer(start)
    update(first, trainer, start)
    state = first.save_state(trainer)
    assert first.trainer(plan(folder, hparams, state)) is trainer
    second = Workshop(tmp_path / "home")
    restored = second.trainer(plan(folder, hparams, state))
    assert restored is not trainer
    assert update(second, restored, start) == update(first, trainer, start)
    weights = zip(trainer.policy.parameters(), restored.policy.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in weights)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor", "ignore:`torch.jit")  # the compiler's own
def test_compiled_ppo_learns_the_same(folder: Path, hparams: RunHParams, tmp_path: Path) -> None:
    start, seen = plan(folder, hparams, None), []
    for compiled in (False, True):
        workshop = Workshop(tmp_path / "home", compiled=compiled)
        trainer = workshop.trainer(start)
        seen.append([update(workshop, trainer, start) for _ in range(2)])
    for plain, other in zip(*seen, strict=True):
        timeless = {name: value for name, value in plain.items() if not name.startswith("time/")}
        assert {name: other[name] for name in timeless} == pytest.approx(timeless, rel=1e-3, abs=1e-4)


def test_after_a_failure_nothing_half_done_is_used(folder: Path, hparams: RunHParams, tmp_path: Path) -> None:
    workshop = Workshop(tmp_path / "home")
    start = plan(folder, hparams, None)
    trainer = workshop.trainer(start)
    update(workshop, trainer, start)
    state = workshop.save_state(trainer)
    saved = {name: value.clone() for name, value in trainer.policy.state_dict().items()}
    update(workshop, trainer, start)
    workshop.forget()
    restored = workshop.trainer(plan(folder, hparams, state)).policy.state_dict()
    assert all(torch.equal(saved[name], value) for name, value in restored.items())


def test_a_published_policy_samples_with_the_weights_that_were_trained(
    folder: Path, hparams: RunHParams, tmp_path: Path
) -> None:
    workshop = Workshop(tmp_path / "home")
    start = plan(folder, hparams, None)
    trainer = workshop.trainer(start)
    update(workshop, trainer, start)
    files = PolicyFiles(
        checkpoint_id=uuid4(),
        base_model=str(folder),
        reference_digest=weights_digest(folder),
        digest=workshop.publish(trainer, start.reference),
    )
    published = workshop.policy(files).state_dict()
    assert all(torch.equal(published[name], value) for name, value in trainer.policy.state_dict().items())


def test_two_policies_share_a_validation_comparison(folder: Path, hparams: RunHParams, tmp_path: Path) -> None:
    """Each half is what its writer writes alone; the other prompts are as in a plan without validation."""
    workshop, start = Workshop(tmp_path / "home"), plan(folder, hparams, None)
    trainer = workshop.trainer(start)
    update(workshop, trainer, start)
    ours = replace(start.reference, digest=workshop.publish(trainer, start.reference))
    task = hparams.task.model_copy(update={"terminator": None})
    prompts = tuple(PromptText(id=uuid4(), text=text) for text in TEXTS[:3])
    asked = SamplePlan(policy=ours, reward=None, task=task, prompts=prompts, purposes=(), seed=5)
    mixed = workshop.write_comparisons(replace(asked, against=start.reference, validating=frozenset({1})))
    assert [one.prompt for one in mixed] == [0, 1, 2]
    alone = replace(asked, prompts=(prompts[0], prompts[2]))
    assert [one.draws for one in workshop.write_comparisons(alone)] == [mixed[0].draws, mixed[2].draws]
    halves = replace(asked, prompts=(prompts[1],), task=task.model_copy(update={"samples_per_comparison": 2}))
    (first,) = workshop.write_comparisons(replace(halves, seed=6))
    (second,) = workshop.write_comparisons(replace(halves, seed=7, policy=start.reference))
    assert mixed[1].draws == [*first.draws, *second.draws]


def test_a_base_model_that_changed_is_refused(folder: Path, hparams: RunHParams, tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="not the one this run began with"):
        Workshop(tmp_path / "home").trainer(plan(folder, hparams, None, reference="another"))


def test_a_trainer_that_was_not_saved_again_is_loaded_again(folder: Path, hparams: RunHParams, tmp_path: Path) -> None:
    workshop = Workshop(tmp_path / "home")
    start = plan(folder, hparams, None)
    trainer = workshop.trainer(start)
    update(workshop, trainer, start)
    state = workshop.save_state(trainer)
    saved = {name: value.clone() for name, value in trainer.policy.state_dict().items()}
    held = workshop.trainer(plan(folder, hparams, state))
    assert held is trainer
    update(workshop, held, start)  # a broken guard would end here, without a word to the workshop
    again = workshop.trainer(plan(folder, hparams, state))
    assert again is not trainer
    assert all(torch.equal(saved[name], value) for name, value in again.policy.state_dict().items())


class Scoring(Workshop):
    """Whose reward model is at hand: a frozen one that reads what it is told to."""

    reads: tuple[Read, ...] = (Read(),)

    def reward_model(self, reference: PolicyFiles, files: RewardFiles) -> RewardModel:  # noqa: ARG002
        trunk = self.reference(reference).policy.language_model
        return RewardModel(trunk, reads=self.reads, frozen=True, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("network", ["shared", "separate"])
def test_values_start_from_the_reward_model_where_they_should(
    folder: Path, hparams: RunHParams, tmp_path: Path, network: str
) -> None:
    changes = {"value_init": "reward_model", "value_network": network}
    hparams = hparams.model_copy(update={"ppo": hparams.ppo.model_copy(update=changes)})
    workshop, start = Scoring(tmp_path / "home"), plan(folder, hparams, None)
    trainer = workshop.trainer(start)
    head = (trainer.models.value_network or trainer.policy).value_head
    torch.testing.assert_close(head.weight, workshop.reward_model(start.reference, start.reward).head.weight)
    update(workshop, trainer, start)
    trained = head.weight.clone()
    again = Scoring(tmp_path / "home").trainer(plan(folder, hparams, workshop.save_state(trainer)))
    assert torch.equal((again.models.value_network or again.policy).value_head.weight, trained)


def test_a_reward_model_that_values_cannot_start_from_is_named(
    folder: Path, hparams: RunHParams, tmp_path: Path
) -> None:
    ppo = hparams.ppo.model_copy(update={"value_init": "reward_model"})
    workshop = Scoring(tmp_path / "home")
    workshop.reads = (Read(pooling=Pooling.MEAN),)
    with pytest.raises(InvalidError, match="set value_init to zero"):
        workshop.trainer(plan(folder, hparams.model_copy(update={"ppo": ppo}), None))


def reward_plan(folder: Path, hparams: RunHParams) -> RewardPlan:
    """Six labels: the longest of two."""
    labeled = [
        LabeledComparison(
            label_id=uuid4(),
            prompt_id=uuid4(),
            prompt=text,
            sample_ids=(uuid4(), uuid4()),
            responses=((2 + i, 3, 18), (4 + i, 18)),
            target=(1.0, 0.0),
        )
        for i, text in enumerate(TEXTS[:6])
    ]
    return RewardPlan(
        reference=plan(folder, hparams, None).reference,
        hparams=hparams,
        train=tuple(labeled),
        valid=(),
        normalization_prompts=tuple(TEXTS),
        seed=1,
    )


@pytest.mark.parametrize("reads", ["raw", "formatted"])
def test_a_reward_model_scores_the_query_it_was_trained_on(
    folder: Path, hparams: RunHParams, tmp_path: Path, reads: str
) -> None:
    framed = hparams.task.model_copy(update={"prefix": "rain and", "suffix": "to"})
    reward = hparams.reward.model_copy(update={"query": reads, "heads": (RewardHead(),), "normalization_samples": 8})
    hparams = hparams.model_copy(update={"task": framed, "reward": reward})
    asked = reward_plan(folder, hparams)
    digest, _ = Workshop(tmp_path / "home").fit_reward(asked)
    files, samples = RewardFiles(checkpoint_id=uuid4(), digest=digest), [("she was", (2, 18)), ("a door", (5, 3, 18))]
    later = Workshop(tmp_path / "home")  # which has the reward model from disk alone
    here, elsewhere = (
        [one.score for one in later.judge(asked.reference, files, samples, framed.model_copy(update=frame))]
        for frame in ({}, {"prefix": "", "suffix": ""})
    )
    apart = max(abs(one - other) for one, other in zip(here, elsewhere, strict=True))
    assert apart == 0 if reads == "raw" else apart > 10 * ROUNDING
    queries = later.reference(asked.reference).queries([text for text, _ in samples], framed, hparams.reward.query)
    responses = torch.tensor([[2, 18, 0], [5, 3, 18]], device=later.device)
    mask = torch.tensor([[True, True, False], [True] * 3], device=later.device)
    with torch.no_grad():  # as PPO asks it
        by_ppo = later.reward_model(asked.reference, files)(queries.raw_ids, queries.raw_mask, responses, mask)
    assert here == pytest.approx(by_ppo.tolist(), abs=ROUNDING)


def test_scores_are_normalised_on_samples_of_the_reference_neither_cut_nor_filtered(
    folder: Path, hparams: RunHParams, tmp_path: Path
) -> None:
    reward = {"heads": (RewardHead(),), "normalization_samples": 16}
    hparams = hparams.model_copy(update={"reward": hparams.reward.model_copy(update=reward)})
    workshop, asked, task = Workshop(tmp_path / "home"), reward_plan(folder, hparams), hparams.task
    files = RewardFiles(checkpoint_id=uuid4(), digest=workshop.fit_reward(asked)[0])
    reference, prompts = workshop.reference(asked.reference), TEXTS * 2
    with workshop.autocast():
        written = reference.policy.generate(
            *reference.encode(prompts, task),
            response_tokens=24,
            temperature=0.7,
            generator=torch.Generator(workshop.device).manual_seed(hparams.seed),
        ).tokens
    ends = torch.isin(written[:, 16:-1], reference.terminators(task)).any(dim=1)
    assert 0 < int(ends.sum()) < 16, "some would be cut, some thrown away"
    samples = [(prompt, ids) for prompt, ids in zip(prompts, written.tolist(), strict=True)]
    scores = torch.tensor([one.score for one in workshop.judge(asked.reference, files, samples, task)])
    assert scores.mean().item() == pytest.approx(0, abs=ROUNDING)
    assert scores.std(correction=0).item() == pytest.approx(1, abs=ROUNDING)


def test_an_ensemble_says_how_far_it_disagrees_from_memory_as_from_disk(
    folder: Path, hparams: RunHParams, tmp_path: Path
) -> None:
    def judged(members: int) -> list[Judgement]:
        reward = {"ensemble": members, "heads": (RewardHead(),), "normalization_samples": 8}
        some = hparams.model_copy(update={"reward": hparams.reward.model_copy(update=reward)})
        asked, home = reward_plan(folder, some), tmp_path / str(members)
        first = Workshop(home)
        files = RewardFiles(checkpoint_id=uuid4(), digest=first.fit_reward(asked)[0])
        samples = [("she was", (2, 18)), ("a door", (5, 3, 18)), ("he", (7,))]
        found = first.judge(asked.reference, files, samples, some.task)
        assert Workshop(home).judge(asked.reference, files, samples, some.task) == found
        return found

    assert all(one.disagreement is not None and one.disagreement > 0 for one in judged(3))
    assert [one.disagreement for one in judged(1)] == [None] * 3


def test_prompts_that_differ_in_case_and_white_space_alone_are_one(
    folder: Path, hparams: RunHParams, tmp_path: Path
) -> None:
    """Else a text could be on both sides of a held-out loss, under two ids."""
    asked = reward_plan(folder, hparams)
    same = tuple(replace(one, prompt=text) for one, text in zip(asked.train, ("The sun", "the  sun "), strict=False))
    with pytest.raises(ValueError, match="labels of at least 2 different prompts"):
        Workshop(tmp_path / "home").fit_reward(replace(asked, train=same))

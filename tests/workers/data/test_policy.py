"""What PPO is given of a run: its policy goes on from prompts of the train split alone, as reward models do."""

import pytest
from sqlalchemy.orm import Session

from app.kinds import JobKind, Split
from app.models import CheckpointKind, Run
from tests.factories import make_checkpoint, make_prompt, make_run
from workers import fencing, plan
from workers.data.policy import ppo_plan
from workers.data.reward import reward_plan
from workers.fencing import Claim


@pytest.fixture
def run(session: Session) -> Run:
    """With two prompts of each split, and one of another set."""
    run = make_run(session)
    run.reward_model_id = make_checkpoint(session, run, kind=CheckpointKind.REWARD_MODEL).id
    for split in Split:
        for n in range(2):
            make_prompt(session, text=f"{split} {n}", split=split)
    make_prompt(session, text="elsewhere", prompt_set="other")
    session.flush()
    return run


def claimed(session: Session, run: Run, kind: JobKind, **args: int) -> Claim:
    job = plan.start_job(session, run.id, kind, dict(args))
    claim = fencing.claim(session, job.id, worker="test", stale_seconds=30)
    assert claim is not None
    return claim


def test_prompts_of_the_train_split_alone_are_continued(session: Session, run: Run) -> None:
    asked = ppo_plan(session, claimed(session, run, JobKind.TRAIN_POLICY, updates=3))
    assert sorted(asked.queries) == ["train 0", "train 1"]
    assert (asked.update, asked.updates, asked.published_episodes) == (0, 3, 0)


def test_ppo_knows_how_long_it_has_followed_its_reward_model(session: Session, run: Run) -> None:
    fitted = make_checkpoint(session, run, kind=CheckpointKind.REWARD_MODEL, episodes=96)
    run.reward_model_id, run.episodes = fitted.id, 128
    asked = ppo_plan(session, claimed(session, run, JobKind.TRAIN_POLICY, updates=3))
    assert (asked.update, asked.reward_episodes) == (4, 96)


def test_scores_are_normalised_on_prompts_of_the_train_split_alone(session: Session, run: Run) -> None:
    asked = reward_plan(session, claimed(session, run, JobKind.TRAIN_REWARD))
    assert sorted(asked.normalization_prompts) == ["train 0", "train 1"]

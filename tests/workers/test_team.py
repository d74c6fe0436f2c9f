"""A team of two processes does a job as one process does, and ends as a whole."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import torch

from tests.processes import wait_for_end
from tests.tiny import save_tiny_model
from tests.workers import resumable
from tests.workers.test_workshop import reward_plan
from workers import ppo_job
from workers.checkpoints import CheckpointStore, MissingCheckpointError
from workers.plans import PPOPlan, RewardFiles
from workers.rlhf.guards import GuardError
from workers.team import Team
from workers.team_words import Equipment, Raised, TeamError
from workers.training_state import LostStateError
from workers.workshop import Workshop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module", params=["never", "always"], ids=["a copy each", "one copy"])
def team(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Two processes, started by the first order."""
    team = Team(2, Equipment(home=tmp_path_factory.mktemp("team"), threads=2, sharding=request.param))
    yield team
    team.disband()


@pytest.fixture(scope="module")
def start(model: Path, team: Team) -> PPOPlan:
    """Two updates from the reference, toward a reward model."""
    small = resumable.hparams()
    reward = small.reward.model_copy(update={"normalization_samples": 8})
    fitted = reward_plan(model, small.model_copy(update={"reward": reward}))
    digest, _ = Workshop(team.equipment.home, threads=1).fit_reward(fitted)
    files = RewardFiles(checkpoint_id=uuid4(), digest=digest)
    return replace(resumable.plan(model, None), reward=files, updates=2)


def always() -> bool:
    """No pause."""
    return True


def test_a_job_by_two_processes_is_a_job_by_one(team: Team, start: PPOPlan) -> None:
    told: list[int] = []
    found = team.train_policy(start, may_go_on=always, told=lambda update, _: told.append(update))
    expected = ppo_job.run(Workshop(team.equipment.home, threads=1), start, may_go_on=always)
    assert found is not None
    assert expected is not None
    assert (told, found.update, found.policy_digest is None) == ([1, 2], 2, expected.policy_digest is None)
    for mine, theirs in zip(found.stats, expected.stats, strict=True):
        names = theirs.keys() - {"time/episodes_per_second"}
        assert {name: mine[name] for name in names} == pytest.approx(
            {name: theirs[name] for name in names}, rel=1e-3, abs=1e-5
        )
    store = CheckpointStore(team.equipment.home / "checkpoints")
    assert set(store.load(found.state_digest).tensors) == {"policy", "value", "optimizer", "probe"}
    states = [store.load(one.state_digest).tensors for one in (found, expected)]
    for file in ("policy", "value"):
        for name, value in states[1][file].items():
            torch.testing.assert_close(states[0][file][name], value, atol=1e-5, rtol=0)


def test_a_killed_process_ends_the_others_and_the_next_try_makes_what_an_unbroken_one_made(
    team: Team, start: PPOPlan
) -> None:
    first = team.train_policy(start, may_go_on=always)
    assert first is not None
    after = replace(start, state_digest=first.state_digest, update=2)
    unbroken = team.train_policy(after, may_go_on=always)
    pids, asked = team.pids, 0

    def kill_at_the_second_look() -> bool:
        nonlocal asked
        asked += 1
        if asked == 2:
            os.kill(pids[1], signal.SIGKILL)
        return True

    with pytest.raises(TeamError, match="process 1 of the 2 that train together ended in the middle of the work"):
        team.train_policy(after, may_go_on=kill_at_the_second_look)
    assert len(pids) == 2
    wait_for_end(pids)
    again = team.train_policy(after, may_go_on=always)  # by others, from the disk
    assert unbroken is not None
    assert again is not None
    assert again.state_digest == unbroken.state_digest
    assert not set(team.pids) & set(pids)


def test_a_broken_guard_is_the_same_error_and_leaves_nobody_half_trained(team: Team, start: PPOPlan) -> None:
    guards = start.hparams.ppo.guards.model_copy(update={"entropy_floor": 50.0})
    ppo = start.hparams.ppo.model_copy(update={"guards": guards})
    with pytest.raises(GuardError, match=r"entropy in nats per token is .* raise ppo\.kl_coef") as raised:
        team.train_policy(replace(start, hparams=start.hparams.model_copy(update={"ppo": ppo})), may_go_on=always)
    assert raised.value.guard == "entropy in nats per token"
    assert team.pids == []


def test_no_more_processes_than_share_a_minibatch_evenly() -> None:
    team = Team(4, Equipment(home=Path("unused")))
    assert [team.fit_for(rows) for rows in (64, 8, 6, 9, 7, 2)] == [4, 4, 3, 3, 1, 2]


def test_equipment_survives_a_command_line() -> None:
    for given in (
        Equipment(
            home=Path("/a b/ü"), models=Path("/m"), store="s3://bucket/x", threads=3, sharding="never", compiled=True
        ),
        Equipment(home=Path("h")),
    ):
        assert Equipment.from_json(given.to_json()) == given


def test_errors_arrive_as_they_were_raised() -> None:
    for error in (GuardError("the KL", "is 9", "lower it"), LostStateError("a file is gone"), ValueError("no")):
        again = Raised.by(error, 1).error
        assert (type(again), str(again), vars(again) | {"__notes__": []}) == (
            type(error),
            str(error),
            vars(error) | {"__notes__": []},
        )
    strange = MissingCheckpointError("gone")
    strange.held = lambda: None  # type: ignore[attr-defined]
    sent = Raised.by(strange, 0).error
    assert isinstance(sent, TeamError)
    assert str(strange) in str(sent)

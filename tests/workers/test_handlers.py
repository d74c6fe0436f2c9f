"""What stops a PPO job: a broken guard pulls the cord and keeps nothing; a broken training state sends PPO back one."""

import time
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
import torch
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from torch import Tensor

from app import andon
from app.db import SessionFactory, session_scope
from app.hparams import RunHParams, preset
from app.kinds import JobKind
from app.models import Andon, Audit, Checkpoint, CheckpointKind, Job, JobState, Metric, Role, Run
from tests.factories import make_account, make_checkpoint, make_prompt, make_run
from tests.tiny import save_tiny_model
from workers import fencing, plan
from workers.checkpoints import CheckpointStore
from workers.data import policy as policy_data
from workers.handlers import train_policy
from workers.models import weights_digest
from workers.plans import PolicyFiles, RewardFiles
from workers.ppo_trainer import Scorer
from workers.training_state import LostStateError
from workers.work import Work
from workers.workshop import Workshop


class Length(Workshop):
    """Whose reward model likes long samples."""

    def reward_model(self, reference: PolicyFiles, files: RewardFiles) -> Scorer:  # type: ignore[override]  # noqa: ARG002
        def length(queries: Tensor, query_mask: Tensor, responses: Tensor, mask: Tensor) -> Tensor:
            assert queries.shape == query_mask.shape
            assert responses.shape == mask.shape
            return mask.float().sum(dim=1)

        return length


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model."""
    torch.manual_seed(0)
    return save_tiny_model(tmp_path / "tiny")


def hparams(*, entropy_floor: float = 0.05, episodes: int = 16) -> RunHParams:
    """A tenth of a minute of small batches."""
    small = preset("sentiment-small")
    guards = small.ppo.guards.model_copy(update={"entropy_floor": entropy_floor})
    ppo = small.ppo.model_copy(update={"batch": 8, "episodes": episodes, "guards": guards})
    return small.model_copy(update={"ppo": ppo})


def make_ready(factory: SessionFactory, folder: Path, asked: RunHParams) -> UUID:
    """A run that PPO may begin."""
    with session_scope(factory) as session:
        stored = asked.model_dump(mode="json")
        run = make_run(session, base_model=str(folder), hparams=stored)
        session.get_one(Checkpoint, run.reference_id).digest = weights_digest(folder)
        run.reward_model_id = make_checkpoint(session, run, kind=CheckpointKind.REWARD_MODEL).id
        for text in ("the sun was", "she was happy and", "he"):
            make_prompt(session, text=text)
        return run.id


def work_on(factory: SessionFactory, run_id: UUID, workshop: Workshop, *, updates: int = 2) -> Work:
    """A claimed PPO job."""
    with session_scope(factory) as session:
        job = plan.start_job(session, run_id, JobKind.TRAIN_POLICY, {"updates": updates})
        claim = fencing.claim(session, job.id, worker="w", stale_seconds=30.0)
        assert claim is not None
    return Work(claim=claim, factory=factory, workshop=workshop, should_stop=lambda: False)


def test_a_broken_guard_pulls_the_cord_and_ends_the_job(
    session_factory: SessionFactory, folder: Path, tmp_path: Path
) -> None:
    run_id = make_ready(session_factory, folder, hparams(entropy_floor=50.0))
    work = work_on(session_factory, run_id, Length(tmp_path / "home"))
    train_policy(work)
    with session_scope(session_factory) as session:
        job = session.get_one(Job, work.claim.job_id)
        assert (job.state, job.failures) == (JobState.DONE, 0)
        pull = andon.pulled(session, run_id)
        assert pull is not None
        assert pull.pulled_by_id is None
        assert "entropy in nats per token is" in pull.reason
        assert "raise ppo.kl_coef" in pull.reason
        assert session.execute(select(Audit.action, Audit.actor_id)).all() == [("andon.pulled", None)]
        run = session.get_one(Run, run_id)
        assert (run.training_state_id, run.episodes) == (None, 0)
        assert session.scalar(select(func.count()).select_from(Metric)) == 0
        assert not policy_data.may_go_on(session, work.claim)
    assert not work.workshop.store.digests()


def test_a_release_lets_it_try_again(session_factory: SessionFactory, folder: Path, tmp_path: Path) -> None:
    run_id, workshop = make_ready(session_factory, folder, hparams(entropy_floor=50.0)), Length(tmp_path / "home")
    train_policy(work_on(session_factory, run_id, workshop))
    with session_scope(session_factory) as session:
        grace = make_account(session, "Grace", Role.RESEARCHER)
        andon.release(session, run_id, grace.id, "the bound was wrong")
        session.get_one(Run, run_id).hparams = hparams().model_dump(mode="json")
    train_policy(work_on(session_factory, run_id, workshop))
    with session_scope(session_factory) as session:
        assert session.get_one(Run, run_id).episodes == 16
        assert andon.pulled(session, run_id) is None


def test_a_job_that_was_overtaken_pulls_nothing(session_factory: SessionFactory, folder: Path, tmp_path: Path) -> None:
    run_id = make_ready(session_factory, folder, hparams(entropy_floor=50.0))
    work = work_on(session_factory, run_id, Length(tmp_path / "home"))
    with session_scope(session_factory) as session:
        session.get_one(Job, work.claim.job_id).attempt += 1
    with pytest.raises(fencing.LostJobError):
        train_policy(work)
    with session_scope(session_factory) as session:
        assert session.scalar(select(func.count()).select_from(Andon)) == 0


class States:
    """A run of six updates in jobs of one, each by a worker that has just started."""

    def __init__(self, factory: SessionFactory, folder: Path, home: Path) -> None:
        self.factory, self.home = factory, home
        self.run_id = make_ready(factory, folder, hparams(episodes=48))
        self.store = CheckpointStore(home / "checkpoints")

    def job(self) -> None:
        train_policy(work_on(self.factory, self.run_id, Length(self.home), updates=1))

    def now(self) -> tuple[int, str | None]:
        """Episodes, and the digest of the run's training state."""
        with session_scope(self.factory) as session:
            run = session.get_one(Run, self.run_id)
            state = session.get_one(Checkpoint, run.training_state_id) if run.training_state_id else None
            return run.episodes, state.digest if state else None

    def flip_a_byte(self, digest: str | None) -> Path:
        """In the middle of the optimizer's file."""
        path = self.store.root / str(digest) / "optimizer.safetensors"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        return path


@pytest.fixture
def states(session_factory: SessionFactory, folder: Path, tmp_path: Path) -> States:
    return States(session_factory, folder, tmp_path / "home")


def test_after_a_broken_state_ppo_goes_on_from_the_one_before_and_makes_the_same_again(states: States) -> None:
    for _ in range(3):
        states.job()
    episodes, last = states.now()
    path = states.flip_a_byte(last)
    states.job()
    assert states.now()[0] == episodes - 8
    with session_scope(states.factory) as session:
        (entry,) = session.scalars(select(Audit).where(Audit.action == "training_state.lost"))
        assert str(path) in entry.detail["reason"]
    states.job()
    assert states.now() == (episodes, last)
    states.store.verify(str(last))
    states.job()
    assert len(states.store.digests() - policies(states)) == 2


def test_a_broken_first_state_sends_ppo_back_to_the_reference(states: States) -> None:
    states.job()
    first = states.now()
    states.flip_a_byte(first[1])
    states.job()
    assert states.now() == (0, None)
    states.job()
    assert states.now() == first


def test_with_no_state_left_the_job_fails_and_names_the_file(states: States) -> None:
    for _ in range(2):
        states.job()
    before, last = states.now()
    path = states.flip_a_byte(last)
    for digest in states.store.digests() - {str(last)}:
        states.store.delete(digest)
    with pytest.raises(LostStateError, match=f"{path} is not what was saved: restore it from a copy"):
        states.job()
    assert states.now() == (before, last)


def policies(states: States) -> set[str]:
    with session_scope(states.factory) as session:
        return set(session.scalars(select(Checkpoint.digest).where(Checkpoint.kind == CheckpointKind.POLICY)))


def test_a_labelers_pull_stops_ppo_within_one_update_and_a_release_lets_it_go_on(
    session_factory: SessionFactory, folder: Path, tmp_path: Path
) -> None:
    """It is pulled when two updates are done: they are kept, and no other begins."""
    run_id, workshop = make_ready(session_factory, folder, hparams(episodes=32)), Length(tmp_path / "home")
    asked_at, looks = list[float](), 0

    def pull_at_the_third_look() -> bool:
        nonlocal looks
        looks += 1
        if looks == 3:  # asked before each update: two are done
            with session_scope(session_factory) as session:
                andon.pull(session, run_id, make_account(session).id, "it only writes about rain")
            asked_at.append(time.monotonic())
        return False

    work = replace(work_on(session_factory, run_id, workshop, updates=10), should_stop=pull_at_the_third_look)
    train_policy(work)
    print(f"seconds from the pull to the end of the job: {time.monotonic() - asked_at[0]:.2f}")
    with session_scope(session_factory) as session:
        run = session.get_one(Run, run_id)
        assert run.episodes == 2 * 8
        assert session.get_one(Job, work.claim.job_id).state == JobState.DONE
        assert [one.kind for one in in_flight(session, run_id)] == []
        plan.advance(session, run_id)
        assert JobKind.TRAIN_POLICY not in [one.kind for one in in_flight(session, run_id)]
        andon.release(session, run_id, make_account(session, "Grace", Role.RESEARCHER).id, "one odd sample")
    train_policy(work_on(session_factory, run_id, workshop, updates=2))
    with session_scope(session_factory) as session:
        assert session.get_one(Run, run_id).episodes == 32


def in_flight(session: Session, run_id: UUID) -> list[Job]:
    return list(session.scalars(select(Job).where(Job.run_id == run_id, Job.state != JobState.DONE)))

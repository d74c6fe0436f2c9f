"""Reading ahead for the first reward model: when, what, and that the fit finds it."""

from pathlib import Path
from uuid import UUID

import pytest
import torch
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import labeling, leasing
from app.db import SessionFactory, session_scope
from app.hparams import planned
from app.kinds import JobKind, Split
from app.models import Checkpoint, CheckpointKind, Comparison, ComparisonState, Run, Sample, Verdict
from tests.factories import make_account, make_checkpoint, make_prompt, make_run
from tests.tiny import save_tiny_model
from workers import fencing, plan
from workers.data.reward import ahead_plan
from workers.fencing import Claim
from workers.handlers import HANDLERS
from workers.models import weights_digest
from workers.work import Work
from workers.workshop import Workshop

HPARAMS = {
    "task": {"query_tokens": 8, "response_tokens": 6, "min_terminator_index": 1, "temperature": 1.0},
    "schedule": {"initial_labels": 6, "total_labels": 20, "reward_trainings": 2, "valid_fraction": 0.0},
    "reward": {"normalization_samples": 8, "folds": 2},
    "collection": {"overlap_share": 0.0},
}


@pytest.fixture
def run_id(session_factory: SessionFactory, tmp_path: Path) -> UUID:
    """A run of a tiny model that wants six labels before its first reward model."""
    torch.manual_seed(0)
    folder = save_tiny_model(tmp_path / "tiny")
    with session_scope(session_factory) as session:
        hparams = planned("sentiment-small", HPARAMS).model_dump(mode="json")
        run = make_run(session, base_model=str(folder), hparams=hparams)
        session.get_one(Checkpoint, run.reference_id).digest = weights_digest(folder)
        for number in range(8):
            make_prompt(session, text=f"the sun was in {'the ' * number}home", split=Split.TRAIN)
        return run.id


def do(factory: SessionFactory, run_id: UUID, workshop: Workshop, kind: JobKind, **args: int) -> Work:
    """Start a job and do it."""
    with session_scope(factory) as session:
        job = plan.start_job(session, run_id, kind, dict(args))
        claim = fencing.claim(session, job.id, worker="w", stale_seconds=30)
    assert claim is not None
    work = Work(claim=claim, factory=factory, workshop=workshop, should_stop=lambda: False)
    HANDLERS[kind](work)
    return work


def label_all(session: Session, run_id: UUID) -> None:
    """Somebody new chooses."""
    ada = make_account(session)
    for one in leasing.lease(session, ada.id, run_id, count=8, lease_seconds=60):
        key, choice = str(one.comparison_id), one.samples[0][0]
        labeling.record(session, ada.id, one.comparison_id, verdict=Verdict.BEST, choice=choice, key=key)


def shards(home: Path) -> set[Path]:
    """What has been read."""
    return set(home.glob("features/*/*"))


def test_the_first_reward_model_finds_everything_read(
    session_factory: SessionFactory, run_id: UUID, tmp_path: Path
) -> None:
    workshop, home = Workshop(tmp_path / "home"), tmp_path / "home"
    assert do(session_factory, run_id, workshop, JobKind.SAMPLE, count=4).afterwards == []
    ahead = do(session_factory, run_id, workshop, JobKind.SAMPLE, count=4).afterwards
    assert not shards(home), "only afterwards"
    for read in ahead:
        read(lambda: False)
    found = shards(home)
    assert found
    with session_scope(session_factory) as session:
        label_all(session, run_id)
    do(session_factory, run_id, workshop, JobKind.TRAIN_REWARD, labels=8)
    assert shards(home) == found, "nothing was left to read"
    do(session_factory, run_id, workshop, JobKind.SAMPLE, count=1)  # scored, so read
    scored = shards(home)
    assert scored > found
    do(session_factory, run_id, workshop, JobKind.SCORE)
    with session_scope(session_factory) as session:
        label_all(session, run_id)
    do(session_factory, run_id, workshop, JobKind.TRAIN_REWARD, labels=9)
    assert shards(home) == scored


def test_a_worker_that_stops_reads_no_further(session_factory: SessionFactory, run_id: UUID, tmp_path: Path) -> None:
    ahead = do(session_factory, run_id, Workshop(tmp_path / "home"), JobKind.SAMPLE, count=6).afterwards
    for read in ahead:
        read(lambda: True)
    assert not shards(tmp_path / "home")


def claimed(session: Session, run_id: UUID) -> Claim:
    """Some job of the run."""
    job = plan.start_job(session, run_id, JobKind.SAMPLE, {"count": 1})
    claim = fencing.claim(session, job.id, worker="w", stale_seconds=30)
    assert claim is not None
    return claim


def test_the_newest_come_first_and_what_was_retired_is_not_read(
    session_factory: SessionFactory, run_id: UUID, tmp_path: Path
) -> None:
    workshop = Workshop(tmp_path / "home")
    do(session_factory, run_id, workshop, JobKind.SAMPLE, count=3)
    with session_scope(session_factory) as session:
        older = set(session.scalars(select(Sample.id)))
    do(session_factory, run_id, workshop, JobKind.SAMPLE, count=4)
    with session_scope(session_factory) as session:
        claim = claimed(session, run_id)
        asked = ahead_plan(session, claim)
        assert asked is not None
        assert {one.id for one in asked.samples[16:]} == older, "the newest first, for there may be too many"
        texts = {one.id: tuple(one.token_ids[: one.kept_tokens]) for one in session.scalars(select(Sample))}
        assert {one.id: one.token_ids for one in asked.samples} == texts
        session.scalars(select(Comparison)).first().state = ComparisonState.RETIRED  # type: ignore[union-attr]
    with session_scope(session_factory) as session:
        asked = ahead_plan(session, claim)
        assert asked is not None
        assert len(asked.samples) == len(texts) - 4


def test_with_a_reward_model_nothing_is_read_ahead(
    session_factory: SessionFactory, run_id: UUID, tmp_path: Path
) -> None:
    do(session_factory, run_id, Workshop(tmp_path / "home"), JobKind.SAMPLE, count=7)
    with session_scope(session_factory) as session:
        run = session.get_one(Run, run_id)
        run.reward_model_id = make_checkpoint(session, run, kind=CheckpointKind.REWARD_MODEL).id
        assert ahead_plan(session, claimed(session, run_id)) is None

"""The whole loop through real PostgreSQL, Valkey and Celery with a tiny random GPT-2, while its parts are killed."""

import os
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, create_engine, func, select
from sqlalchemy.orm import Session

from app import usable
from app.embedded import Postgres
from app.models import (
    Assignment,
    AssignmentState,
    Checkpoint,
    CheckpointKind,
    Comparison,
    ComparisonSample,
    Label,
    Metric,
    Phase,
    Run,
    Sample,
    SampleScore,
)
from app.simulate import Options, Summary, load_rule, simulate
from tests.processes import wait_until
from tests.running import RunningPrefloop

LABELS, EPISODES, BATCH = 100, 96, 8
"""Many more labels than three quick labelers are given ahead: most are due only once PPO has come further."""
CHANGES: dict[str, Any] = {
    "reward": {"normalization_samples": 32},
    "ppo": {"episodes": EPISODES, "batch": BATCH, "micro_batch": BATCH, "kl_horizon": 80},
    "schedule": {
        "initial_labels": 10,
        "total_labels": LABELS,
        "reward_trainings": 4,
        "outstanding": 12,
        "promote_episodes": 24,
    },
}
QUICK = {"PREFLOOP_HEARTBEAT_SECONDS": "0.5", "PREFLOOP_STALE_SECONDS": "3", "PREFLOOP_RESEND_SECONDS": "3"}


@pytest.fixture(scope="module")
def prefloop(servers_dir: Path) -> Iterator[RunningPrefloop]:
    """All of Prefloop, quick to notice the dead."""
    with socket.create_server(("127.0.0.1", 0)) as tried:
        port = tried.getsockname()[1]
    before = dict(os.environ)
    os.environ.update(QUICK)
    try:
        with RunningPrefloop(servers_dir / "loop", port) as started:
            yield started
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module")
def run_id(prefloop: RunningPrefloop) -> str:
    """A small run beside the one that `up` makes."""
    with prefloop.client() as client:
        body = {"name": "end to end", "base_model": str(prefloop.home / "tiny"), "hparams": CHANGES}
        made: str = client.post("/api/v1/runs", json=body).raise_for_status().json()["id"]
        return made


@pytest.fixture(scope="module")
def summary(prefloop: RunningPrefloop, run_id: str) -> Iterator[Summary]:
    """What three labelers did until the run finished, with a part killed whenever it had come a bit further."""
    ready = prefloop.ready()
    options = Options(
        url=ready["url"],
        token=ready["api_token"],
        rule=load_rule("longest"),
        run_id=run_id,
        labelers=3,
        seconds_per_label=0.4,
    )
    stop = Event()
    with ThreadPoolExecutor(1) as pool:
        labeling = pool.submit(simulate, options, stop)
        try:
            for part, labels in (("web", 6), ("trainer", 20), ("valkey", 50), ("control", 80)):
                _wait_for_labels(prefloop, run_id, labels, labeling)
                prefloop.part(part).kill()
            wait_until("the end of the run", lambda: _phase(prefloop, run_id) == Phase.FINISHED, seconds=150)
        finally:
            stop.set()
        yield labeling.result(30)


@pytest.fixture(scope="module")
def session(prefloop: RunningPrefloop, run_id: str, summary: Summary) -> Iterator[Session]:
    """The database after all that."""
    assert run_id
    assert summary
    engine = _engine(prefloop)
    with Session(engine) as opened:
        yield opened
    engine.dispose()


@pytest.fixture(scope="module")
def run(session: Session, run_id: str) -> Run:
    """The run's row at the end."""
    return session.scalars(select(Run).where(Run.id == run_id)).one()


def test_all_episodes_are_done_once_although_the_trainer_died(session: Session, run: Run) -> None:
    assert (run.phase, run.episodes) == (Phase.FINISHED, EPISODES)
    steps = session.scalars(select(Metric.step).where(Metric.run_id == run.id, Metric.name == "objective/kl"))
    assert sorted(steps) == list(range(BATCH, EPISODES + 1, BATCH))


def test_no_label_is_lost_or_doubled(session: Session, run: Run, summary: Summary) -> None:
    labels = session.scalars(select(Label).join(Comparison).where(Comparison.run_id == run.id)).all()
    assert len(labels) == summary.labels
    assert max(Counter((label.comparison_id, label.labeler_id) for label in labels).values()) == 1
    assert usable.count_training(session, run.id) >= LABELS


def test_nobody_was_given_what_another_held(session: Session, run: Run) -> None:
    held = (
        select(Comparison.id, Comparison.wanted, Assignment.labeler_id)
        .join(Assignment)
        .where(Comparison.run_id == run.id, Assignment.state == AssignmentState.ANSWERED)
    )
    answered = session.execute(held).all()
    assert len(set(answered)) == len(answered), "nobody twice"
    wanted = {comparison: wanted for comparison, wanted, _ in answered}
    counts = Counter(comparison for comparison, _, _ in answered)
    assert all(count <= (wanted[comparison] or count) for comparison, count in counts.items()), "gold is for all"
    assert 1 in counts.values()


def test_the_reward_model_was_retrained_each_time_on_more_labels(session: Session, run: Run) -> None:
    models = _checkpoints(session, run, CheckpointKind.REWARD_MODEL)
    sizes = [model.report["labels"] for model in models]
    assert len(sizes) >= 2
    assert sizes == sorted(set(sizes))
    assert sizes[0] >= CHANGES["schedule"]["initial_labels"]


def test_people_labeled_samples_of_later_policies(session: Session, run: Run) -> None:
    policies = {policy.id for policy in _checkpoints(session, run, CheckpointKind.POLICY)}
    assert len(policies) >= 3
    chosen = select(Sample.policy_id).join(Label, Label.chosen_sample_id == Sample.id).where(Sample.run_id == run.id)
    shown = set(session.scalars(chosen))
    assert run.reference_id in shown
    assert shown & policies


def test_from_a_policy_one_walks_back_to_the_clicks(session: Session, run: Run) -> None:
    policy = session.get_one(Checkpoint, run.serving_id)
    assert policy.episodes == EPISODES
    reward_model = session.get_one(Checkpoint, policy.reward_model_id)
    assert reward_model.label_set_id is not None


def test_samples_were_scored_before_they_were_labeled(session: Session, run: Run) -> None:
    early = (
        select(func.count())
        .select_from(SampleScore)
        .join(ComparisonSample, ComparisonSample.sample_id == SampleScore.sample_id)
        .join(Label, Label.comparison_id == ComparisonSample.comparison_id)
        .join(Sample, Sample.id == SampleScore.sample_id)
        .where(Sample.run_id == run.id, SampleScore.created_at < Label.created_at)
    )
    assert (session.scalar(early) or 0) > 0


def _checkpoints(session: Session, run: Run, kind: CheckpointKind) -> list[Checkpoint]:
    of_kind = (Checkpoint.run_id == run.id, Checkpoint.kind == kind)
    return list(session.scalars(select(Checkpoint).where(*of_kind).order_by(Checkpoint.number)))


def _engine(prefloop: RunningPrefloop) -> Engine:
    return create_engine(Postgres(data=prefloop.home / "postgres").url())


def _phase(prefloop: RunningPrefloop, run_id: str) -> str:
    try:
        with prefloop.client() as client:
            phase: str = client.get(f"/api/v1/runs/{run_id}").raise_for_status().json()["phase"]
    except httpx.HTTPError:
        return "unknown"
    return phase


def _wait_for_labels(prefloop: RunningPrefloop, run_id: str, labels: int, labeling: "Future[Summary]") -> None:
    engine = _engine(prefloop)

    def come() -> bool:
        assert not labeling.done(), labeling.result()
        with Session(engine) as session:
            of_run = select(func.count()).select_from(Label).join(Comparison).where(Comparison.run_id == run_id)
            return (session.scalar(of_run) or 0) >= labels

    wait_until(f"{labels} labels", come, seconds=120)
    engine.dispose()

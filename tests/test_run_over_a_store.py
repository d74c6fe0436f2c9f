"""A run from first to last with its checkpoints on S3, though the disk of its trainer is lost in between."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from app.embedded import Postgres
from app.models import Checkpoint, CheckpointKind, Phase, Run
from app.simulate import Options, load_rule, simulate
from tests.composed import free_port
from tests.processes import wait_until
from tests.running import RunningPrefloop
from tests.s3 import s3_server
from workers.shared_store import open_store

EPISODES = 96
CHANGES: dict[str, Any] = {
    "reward": {"normalization_samples": 32},
    "ppo": {"episodes": EPISODES, "batch": 8, "micro_batch": 8, "kl_horizon": 80},
    "schedule": {
        "initial_labels": 10,
        "total_labels": 30,
        "reward_trainings": 3,
        "outstanding": 12,
        "promote_episodes": 24,
    },
}
STORED = (CheckpointKind.POLICY, CheckpointKind.REWARD_MODEL, CheckpointKind.TRAINING_STATE)


@pytest.fixture
def prefloop(servers_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningPrefloop]:
    with s3_server("prefloop") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PREFLOOP_STORE", "s3://prefloop/site")
        monkeypatch.setenv("PREFLOOP_STALE_SECONDS", "5")
        with RunningPrefloop(servers_dir / "store", free_port()) as started:
            yield started


@pytest.mark.slow
def test_a_run_outlives_the_disk_of_its_trainer(prefloop: RunningPrefloop, tmp_path: Path) -> None:
    ready = prefloop.ready()
    with prefloop.client() as client:
        body = {"name": "over a store", "base_model": str(prefloop.home / "tiny"), "hparams": CHANGES}
        run_id: str = client.post("/api/v1/runs", json=body).raise_for_status().json()["id"]
    engine = create_engine(Postgres(data=prefloop.home / "postgres").url())

    def run() -> Run:
        with Session(engine, expire_on_commit=False) as session:
            return session.scalars(select(Run).where(Run.id == run_id)).one()

    rule = load_rule("longest")
    options = Options(
        url=ready["url"], token=ready["api_token"], rule=rule, run_id=run_id, labelers=2, seconds_per_label=0.2
    )
    stop = Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(simulate, options, stop)
        try:
            wait_until("the first promotion", lambda: run().promotions >= 1, 400)
            prefloop.part("trainer").kill()
            shutil.rmtree(prefloop.home / "checkpoints")
            wait_until("the end of the run", lambda: run().phase == Phase.FINISHED, 600)
        finally:
            stop.set()
    assert run().episodes == EPISODES
    with Session(engine) as session:
        policies, models, states = (_digests(session, run_id, kind) for kind in STORED)
    engine.dispose()
    elsewhere = open_store(tmp_path / "elsewhere", os.environ["PREFLOOP_STORE"])
    assert len(policies) >= 3
    assert len(models) >= 2
    for digest in {*policies, *models, states[-1]}:  # of what PPO goes on from, the newest is all that is kept
        elsewhere.load_checked(digest)


def _digests(session: Session, run_id: str, kind: CheckpointKind) -> list[str]:
    of_kind = select(Checkpoint.digest).where(Checkpoint.run_id == run_id, Checkpoint.kind == kind)
    return list(session.scalars(of_kind.where(Checkpoint.removed_at.is_(None)).order_by(Checkpoint.created_at)))

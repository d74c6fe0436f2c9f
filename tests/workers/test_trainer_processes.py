"""The Celery trainer with `PREFLOOP_TRAINER_PROCESSES=2`: one PPO job by two processes, none of which outlives it."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from app import plant
from app.broker import BrokerSender
from app.db import make_engine, make_session_factory, session_scope
from app.kinds import JobKind
from app.models import Checkpoint, CheckpointKind, Job, JobState, Run
from app.settings import Settings
from app.supervisor import Supervisor
from tests.processes import wait_for_end, wait_until
from tests.tiny import save_tiny_model
from tests.workers.test_handlers import hparams, make_ready
from tests.workers.test_workshop import reward_plan
from workers import plan
from workers.checkpoints import CheckpointStore
from workers.workshop import Workshop


@pytest.mark.slow
def test_a_policy_is_published_by_two_processes_that_end_with_their_trainer(
    database_url: str, broker_url: str, tmp_path: Path
) -> None:
    folder, home = save_tiny_model(tmp_path / "tiny"), tmp_path / "home"
    home.mkdir()
    engine = make_engine(database_url)
    factory = make_session_factory(engine, BrokerSender(broker_url))
    settings = Settings(home=home, database_url=database_url, broker_url=broker_url)
    run_id = make_ready(factory, folder, hparams())
    reward = hparams().reward.model_copy(update={"normalization_samples": 8})
    asked = reward_plan(folder, hparams().model_copy(update={"reward": reward}))
    digest, _ = Workshop(home, threads=1).fit_reward(asked)
    trainer = next(child for child in plant.children(settings) if child.name == "trainer")
    facts = {"PREFLOOP_TRAINER_PROCESSES": "2", "PREFLOOP_TRAINER_THREADS": "2"}
    supervisor = Supervisor(tmp_path / "logs", print)
    supervisor.start(replace(trainer, env=trainer.env | facts))
    try:
        with session_scope(factory) as session:
            run = session.get_one(Run, run_id)
            session.get_one(Checkpoint, run.reward_model_id).digest = digest
            job_id = plan.start_job(session, run_id, JobKind.TRAIN_POLICY, {"updates": 2}).id

        def ended() -> bool:
            supervisor.poll()
            with session_scope(factory) as session:
                job = session.get_one(Job, job_id)
                assert job.failures == 0, job.error
                return job.state == JobState.DONE

        wait_until("the end of the job", ended, seconds=300)
        with session_scope(factory) as session:
            assert session.get_one(Run, run_id).episodes == 16
            (policy,) = session.scalars(select(Checkpoint).where(Checkpoint.kind == CheckpointKind.POLICY))
            published = policy.digest
        CheckpointStore(home / "checkpoints").verify(str(published))
        pid = supervisor.pid("trainer")
        family = psutil.Process(pid).children(recursive=True)
        team = [one.pid for one in family if "workers.team_member" in one.cmdline()]
        assert len(team) >= 2
        os.kill(pid, signal.SIGKILL)
        wait_for_end([one.pid for one in family])
    finally:
        supervisor.stop()
        engine.dispose()

"""A run that is restored elsewhere goes on from its training state, to the very weights that it would have had here."""

from pathlib import Path
from uuid import UUID

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app import backup
from app.backup import Place
from app.db import SessionFactory, make_session_factory
from app.embedded import Postgres
from app.models import Checkpoint, Metric, Run
from tests.app.backups import empty_site, site
from tests.tiny import save_tiny_model
from tests.workers.test_handlers import Length, hparams, make_ready, work_on
from workers.handlers import train_policy

UPDATES, BACKED_UP = 4, 2


def update(factory: SessionFactory, run_id: UUID, home: Path) -> None:
    """One, by a worker that has just started."""
    train_policy(work_on(factory, run_id, Length(home), updates=1))


def state_of(engine: Engine, run_id: UUID) -> tuple[int, str]:
    """Episodes, and the digest of what PPO goes on from: weights, optimizer, KL coefficient."""
    with Session(engine) as session:
        run = session.get_one(Run, run_id)
        return run.episodes, session.get_one(Checkpoint, run.training_state_id).digest


def test_a_restored_run_ends_with_the_weights_of_one_that_was_never_interrupted(
    session_factory: SessionFactory, engine: Engine, postgres: Postgres, tmp_path: Path
) -> None:
    here, place = site(engine, tmp_path / "here"), Place(str(tmp_path / "backups"))
    model = save_tiny_model(tmp_path / "tiny")
    run_id = make_ready(session_factory, model, hparams(episodes=8 * UPDATES))
    for number in range(UPDATES):
        if number == BACKED_UP:
            # Rows that make_ready made without files: a reward model that the workshop of these tests does not read.
            (lost,) = backup.take(here, place).manifest.lost
            assert "digest-" in lost
        update(session_factory, run_id, here.home)

    with empty_site(postgres, tmp_path / "there") as there:
        backup.restore(there, place)
        assert state_of(there.engine, run_id)[0] == 8 * BACKED_UP
        for _ in range(UPDATES - BACKED_UP):
            update(make_session_factory(there.engine), run_id, there.home)
        assert state_of(there.engine, run_id) == state_of(engine, run_id)
        with Session(there.engine) as session:
            steps = session.scalars(select(Metric.step).where(Metric.name == "objective/kl").order_by(Metric.step))
            assert steps.all() == [8 * number for number in range(1, UPDATES + 1)]

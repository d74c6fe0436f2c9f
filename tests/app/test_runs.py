"""Runs: enough prompts before the start, legal changes only, what failed is tried again."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import guidelines, jobs, prompts, runs
from app.errors import ConflictError, InvalidError, NotFoundError
from app.hparams import preset
from app.kinds import JobKind
from app.models import Audit, Guideline, Job, JobState, Phase
from tests.factories import make_account, make_run

HPARAMS = preset("sentiment-small")


def test_a_new_run_keeps_its_hyperparameters_and_tells_labelers_the_task(session: Session) -> None:
    prompts.import_texts(session, "stories", [f"Story {n}" for n in range(200)])
    actor = make_account(session)
    run = runs.create(session, name=" mine ", base_model="gpt2", hparams=HPARAMS, actor_id=actor.id)
    assert runs.hparams_of(run) == HPARAMS
    assert (run.name, run.phase) == ("mine", Phase.RUNNING)
    guideline = session.scalars(select(Guideline)).one()
    assert (guideline.run_id, guideline.version, guideline.text) == (run.id, 1, guidelines.shipped("sentiment").strip())
    assert session.scalars(select(Audit.action).where(Audit.actor_id == actor.id)).all() == ["run.created"]
    assert jobs.take_messages(session) == [(jobs.ADVANCE_RUN, jobs.Queue.CONTROL, str(run.id))]
    assert list(runs.running(session)) == [run.id]


def test_a_run_needs_prompts(session: Session) -> None:
    prompts.import_texts(session, "stories", ["Just one"])
    with pytest.raises(InvalidError, match=r"'stories' has \d+ prompts in its \w+ split.*import-prompts"):
        runs.create(session, name="mine", base_model="gpt2", hparams=HPARAMS, actor_id=None)


@pytest.mark.parametrize(("name", "model"), [("", "gpt2"), ("mine", " ")])
def test_a_run_needs_a_name_and_a_model(session: Session, name: str, model: str) -> None:
    with pytest.raises(InvalidError, match="name and a base model"):
        runs.create(session, name=name, base_model=model, hparams=HPARAMS, actor_id=None)


@pytest.mark.parametrize(
    ("phase", "legal"),
    [
        (Phase.RUNNING, {"pause", "stop"}),
        (Phase.PAUSED, {"resume", "stop"}),
        (Phase.FINISHED, set()),
        (Phase.STOPPED, set()),
    ],
)
def test_only_legal_changes_happen(session: Session, phase: Phase, legal: set[str]) -> None:
    changes = {"pause": runs.pause, "resume": runs.resume, "stop": runs.stop}
    for name, change in changes.items():
        run = make_run(session, phase=phase)
        if name in legal:
            assert change(session, run.id, None, " why ").note == "why"
        else:
            with pytest.raises(ConflictError, match=phase.value):
                change(session, run.id, None, None)
            assert run.phase == phase


def test_resuming_tries_failed_jobs_again(session: Session) -> None:
    run = make_run(session, phase=Phase.PAUSED)
    failed = Job(run_id=run.id, kind=JobKind.SAMPLE, step=1, state=JobState.FAILED, failures=3)
    done = Job(run_id=run.id, kind=JobKind.SAMPLE, step=0, state=JobState.DONE)
    session.add_all([failed, done])
    session.flush()
    runs.resume(session, run.id, None)
    session.refresh(failed)
    assert (failed.state, failed.failures, done.state) == (JobState.QUEUED, 0, JobState.DONE)
    assert (jobs.WORK, jobs.Queue.SAMPLING, str(failed.id)) in jobs.take_messages(session)


def test_an_unknown_run_is_not_found(session: Session) -> None:
    unknown = make_account(session).id
    with pytest.raises(NotFoundError):
        runs.get(session, unknown)
    with pytest.raises(NotFoundError):
        runs.pause(session, unknown, None)

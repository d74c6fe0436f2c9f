"""Which run a labeler is sent to, and what they are told there; the counts are tested with labeling."""

from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

from app import progress
from app.errors import NotFoundError
from app.models import Guideline, Phase
from tests.factories import make_run


def test_the_newest_running_run_wants_labels(session: Session) -> None:
    assert progress.run_to_label(session) is None
    make_run(session, phase=Phase.STOPPED)
    assert progress.run_to_label(session) is None
    first, second = make_run(session), make_run(session)
    make_run(session, phase=Phase.FINISHED)
    assert progress.run_to_label(session) == second.id
    second.phase = Phase.PAUSED
    session.flush()
    assert progress.run_to_label(session) == first.id


def test_the_newest_guideline_counts(session: Session) -> None:
    run = make_run(session, name="Stories")
    assert progress.task_of(session, run.id).guideline is None
    for version in (2, 10, 1):
        session.add(Guideline(run_id=run.id, version=version, text=f"version {version}"))
    session.flush()
    task = progress.task_of(session, run.id)
    assert (task.run_name, task.guideline) == ("Stories", "version 10")
    assert task.question == run.hparams["task"]["question"]


def test_unknown_run(session: Session) -> None:
    with pytest.raises(NotFoundError):
        progress.task_of(session, uuid4())

"""Probes of a run's reward model: texts that were changed so that one knows which of two is better."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import queueing, runs
from app.errors import ConflictError
from app.kinds import JobKind
from app.models import Job


def ask(session: Session, run_id: UUID) -> Job:
    """Probe the newest reward model. The job's result: see `workers.probes.report`.

    Raises: NotFoundError without such a run, ConflictError before there is a reward model.
    """
    if runs.get(session, run_id).reward_model_id is None:
        raise ConflictError("This run has no reward model yet: label on until the first is trained.")
    return queueing.queue(session, run_id, JobKind.PROBE_REWARD, {})


def newest(session: Session, run_id: UUID) -> Job | None:
    """The last job of a run that probed, or is about to."""
    of_run = (Job.run_id == run_id, Job.kind == JobKind.PROBE_REWARD)
    return session.scalar(select(Job).where(*of_run).order_by(Job.step.desc()).limit(1))

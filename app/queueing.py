"""Queue a job of a run that somebody asked for."""

from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import jobs
from app.errors import NotFoundError
from app.kinds import JobKind
from app.models import Job, Run


def queue(session: Session, run_id: UUID, kind: JobKind, args: dict[str, Any]) -> Job:
    """The run's next job of this kind, sent once the transaction has committed. Raises: NotFoundError."""
    lock = select(Run.id).where(Run.id == run_id).with_for_update(key_share=True)  # one at a time counts
    if session.scalar(lock) is None:
        raise NotFoundError("There is no such run.")
    last = session.scalar(select(func.max(Job.step)).where(Job.run_id == run_id, Job.kind == kind))
    job = Job(run_id=run_id, kind=kind, step=0 if last is None else last + 1, args=args)
    session.add(job)
    session.flush()
    jobs.send_job(session, job.id, job.kind)
    return job

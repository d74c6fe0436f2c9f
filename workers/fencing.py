"""Claiming, beating, finishing and reviving job rows. Every write after the claim names its attempt.

A lost, doubled or late message changes nothing: the claim is one UPDATE, and a worker whose attempt has been overtaken
finds no row to write and drops its work.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.jobs import send_job
from app.kinds import JobKind
from app.models import Job, JobState

MAX_FAILURES = 3
"""A job whose attempts raised this often stands still until a researcher resumes the run."""
MAX_ATTEMPTS = 20
"""So does one whose workers died this often without raising: out of memory, for example."""


class LostJobError(Exception):
    """Another worker has claimed this job since; what this one computed must be dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to do a job, until somebody else's claim."""

    job_id: UUID
    of_run: UUID | None
    """None: the job belongs to no run."""
    kind: JobKind
    step: int
    attempt: int
    args: dict[str, Any]
    progress: dict[str, Any]
    """What an earlier attempt noted; empty at first."""
    request_id: str | None = None
    """The request that asked for it."""

    @property
    def run_id(self) -> UUID:
        """The run of a job that has one."""
        if self.of_run is None:
            raise ValueError(f"job {self.job_id} ({self.kind}) belongs to no run")
        return self.of_run


def claim(session: Session, job_id: UUID, *, worker: str, stale_seconds: float) -> Claim | None:
    """Take a job that is queued or whose worker fell silent; None if it is neither."""
    row = session.execute(
        update(Job)
        .where(Job.id == job_id, or_(Job.state == JobState.QUEUED, _is_stale(stale_seconds)))
        .values(
            state=JobState.RUNNING,
            attempt=Job.attempt + 1,
            worker=worker,
            heartbeat_at=func.clock_timestamp(),
        )
        .returning(Job.run_id, Job.kind, Job.step, Job.attempt, Job.args, Job.progress, Job.request_id)
    ).one_or_none()
    if row is None:
        return None
    return Claim(
        job_id=job_id,
        of_run=row.run_id,
        kind=row.kind,
        step=row.step,
        attempt=row.attempt,
        args=dict(row.args),
        progress=dict(row.progress or {}),
        request_id=row.request_id,
    )


def note(session: Session, mine: Claim, progress: dict[str, Any]) -> None:
    """Write down how far the job is, in the transaction that makes it true. Raises LostJobError if it was overtaken."""
    if not _write(session, mine, progress=progress, heartbeat_at=func.clock_timestamp()):
        raise LostJobError(f"job {mine.job_id} attempt {mine.attempt} was overtaken")


def beat(session: Session, mine: Claim) -> bool:
    """Say that the job lives; False if it is no longer this worker's."""
    return _write(session, mine, heartbeat_at=func.clock_timestamp())


def finish(session: Session, mine: Claim, result: dict[str, Any]) -> None:
    """Mark the job done, in the transaction that writes what it made. Raises LostJobError if it was overtaken."""
    done = {"state": JobState.DONE, "finished_at": func.clock_timestamp(), "error": None}
    if not _write(session, mine, **done, result=result):
        raise LostJobError(f"job {mine.job_id} attempt {mine.attempt} was overtaken")


def fail(session: Session, mine: Claim, error: str, *, final: bool = False) -> None:
    """Note an exception; the job is queued again, or stands still after MAX_FAILURES or at once when `final`."""
    failures = session.scalar(select(Job.failures).where(Job.id == mine.job_id)) or 0
    stop = final or failures + 1 >= MAX_FAILURES
    _write(
        session,
        mine,
        state=JobState.FAILED if stop else JobState.QUEUED,
        failures=Job.failures + 1,
        error=error,
        sent_at=func.clock_timestamp(),
        finished_at=func.clock_timestamp() if stop else None,
    )


def give_back(session: Session, mine: Claim) -> None:
    """Queue the job again without a failure: this worker is stopping."""
    _write(session, mine, state=JobState.QUEUED, worker=None, sent_at=func.clock_timestamp() - timedelta(days=1))


def revive(session: Session, *, stale_seconds: float, resend_seconds: float) -> int:
    """The watchdog: queue jobs of silent workers again, and send again what nobody claimed. Returns how many."""
    _stop_hopeless(session, stale_seconds)
    due = session.execute(
        update(Job)
        .where(or_(_is_stale(stale_seconds), and_(Job.state == JobState.QUEUED, _is_far(Job.sent_at, resend_seconds))))
        .values(state=JobState.QUEUED, sent_at=func.clock_timestamp())
        .returning(Job.id, Job.kind)
    ).all()
    for job in due:
        send_job(session, job.id, job.kind)
    return len(due)


def _stop_hopeless(session: Session, stale_seconds: float) -> None:
    session.execute(
        update(Job)
        .where(_is_stale(stale_seconds), Job.attempt >= MAX_ATTEMPTS)
        .values(
            state=JobState.FAILED,
            finished_at=func.clock_timestamp(),
            error=f"its worker died {MAX_ATTEMPTS} times without an error; out of memory? See the trainer's log.",
        )
    )


def _is_stale(stale_seconds: float) -> Any:
    return and_(Job.state == JobState.RUNNING, _is_far(Job.heartbeat_at, stale_seconds))


def _is_far(moment: InstrumentedAttribute[Any], seconds: float) -> ColumnElement[bool]:
    """Longer ago than `seconds`; or in the future, after the database's clock was put back."""
    now, span = func.clock_timestamp(), timedelta(seconds=seconds)
    return or_(moment < now - span, moment > now + span)


def _write(session: Session, mine: Claim, **values: Any) -> bool:
    written = session.execute(
        update(Job)
        .where(Job.id == mine.job_id, Job.attempt == mine.attempt, Job.state == JobState.RUNNING)
        .values(**values)
        .returning(Job.id)
    )
    return written.one_or_none() is not None

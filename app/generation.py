"""Text on demand: a researcher's prompt, continued by a checkpoint of their choice, as a job."""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import jobs, retention
from app.errors import InvalidError, NotFoundError
from app.kinds import JobKind
from app.models import Checkpoint, CheckpointKind, Job, Run

MOST_SAMPLES = 64
MOST_CHARACTERS = 20_000
WRITERS = (CheckpointKind.REFERENCE, CheckpointKind.POLICY)


def ask(session: Session, *, checkpoint_id: UUID, prompt: str, count: int, account_id: UUID) -> Job:
    """Queue the job; its result will be `{"samples": [{"text", "valid"}, ...]}`.

    Raises: NotFoundError without such a checkpoint, InvalidError if it writes no text or the request is too big,
        ConflictError if its files were removed.
    """
    checkpoint = session.get(Checkpoint, checkpoint_id)
    if checkpoint is None:
        raise NotFoundError("There is no such checkpoint.")
    if checkpoint.kind not in WRITERS:
        raise InvalidError(f"A {checkpoint.kind} writes no text: choose a policy or the reference.")
    retention.require_files(checkpoint)
    _check(prompt, count)
    args = {"checkpoint": str(checkpoint_id), "prompt": prompt, "count": count, "account": str(account_id)}
    job = Job(run_id=checkpoint.run_id, kind=JobKind.GENERATE, step=_next_step(session, checkpoint.run_id), args=args)
    session.add(job)
    session.flush()
    jobs.send_job(session, job.id, job.kind)
    return job


def job(session: Session, job_id: UUID) -> Job:
    """A job of any kind. Raises: NotFoundError."""
    found = session.get(Job, job_id)
    if found is None:
        raise NotFoundError("There is no such job.")
    return found


def _check(prompt: str, count: int) -> None:
    if not prompt.strip() or "\0" in prompt or len(prompt) > MOST_CHARACTERS:
        raise InvalidError(f"Give a prompt of 1 to {MOST_CHARACTERS} characters, NUL not among them.")
    if not 1 <= count <= MOST_SAMPLES:
        raise InvalidError(f"Ask for 1 to {MOST_SAMPLES} samples at a time, not {count}.")


def _next_step(session: Session, run_id: UUID) -> int:
    session.execute(select(Run.id).where(Run.id == run_id).with_for_update(key_share=True))  # one at a time counts
    last = session.scalar(select(func.max(Job.step)).where(Job.run_id == run_id, Job.kind == JobKind.GENERATE))
    return 0 if last is None else last + 1

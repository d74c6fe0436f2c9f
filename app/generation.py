"""Text on demand: a researcher's prompt, continued by a checkpoint of their choice, as a job."""

from uuid import UUID

from sqlalchemy.orm import Session

from app import queueing, retention
from app.errors import InvalidError, NotFoundError
from app.kinds import JobKind
from app.models import Checkpoint, CheckpointKind, Job

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
    return queueing.queue(session, checkpoint.run_id, JobKind.GENERATE, args)


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

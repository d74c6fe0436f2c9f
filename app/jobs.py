"""Job kinds, their queues, and the one way to send them.

A job is a row (`app.models.job.Job`); the message carries nothing but its id. Messages leave after the commit
(`app.db.session_scope`), so that no worker looks for a row that is not there yet. A lost message costs nothing: the
watchdog sends again what the table says is due.
"""

from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.kinds import JobKind


class Queue(StrEnum):
    """Celery queues, in the order in which one worker takes them."""

    CONTROL = "control"
    SAMPLING = "sampling"
    REWARD = "reward"
    POLICY = "policy"


QUEUE_OF: dict[JobKind, Queue] = {
    JobKind.SAMPLE: Queue.SAMPLING,
    JobKind.SCORE: Queue.SAMPLING,
    JobKind.SHOWCASE: Queue.SAMPLING,
    JobKind.GENERATE: Queue.SAMPLING,
    JobKind.READ_SAMPLES: Queue.SAMPLING,
    JobKind.CONTEST: Queue.SAMPLING,
    JobKind.IMPORT_MODEL: Queue.SAMPLING,
    JobKind.IMPORT_PROMPTS: Queue.CONTROL,
    JobKind.CUT_PROMPTS: Queue.SAMPLING,
    JobKind.IMPORT_LABELS: Queue.SAMPLING,
    JobKind.EXPORT_LABELS: Queue.CONTROL,
    JobKind.EXPORT_IDS: Queue.SAMPLING,
    JobKind.EXPORT_MODEL: Queue.SAMPLING,
    JobKind.LEAVE_OUT: Queue.REWARD,
    JobKind.PROBE_REWARD: Queue.REWARD,
    JobKind.TRAIN_REWARD: Queue.REWARD,
    JobKind.TRAIN_POLICY: Queue.POLICY,
}

CARRY = "prefloop.carry"
"""Celery task that does one job row of the control queue; argument: the job's id."""
WORK = "prefloop.work"
"""Celery task that does one job row of a trainer queue; argument: the job's id."""
ADVANCE_RUN = "prefloop.advance_run"
"""Celery task that decides what a run needs next; argument: the run's id."""
TICK = "prefloop.tick"
"""Celery task of every second: wakes running runs, resends and revives jobs."""

ASSESS = "prefloop.assess"
"""Celery task of every minute: works out how far labelers agree."""

Message = tuple[str, Queue, str]
"""Task name, queue, id."""


def send_job(session: Session, job_id: UUID, kind: JobKind) -> None:
    """Send a job to its queue once this transaction has committed."""
    queue = QUEUE_OF[kind]
    _buffer(session).append((CARRY if queue == Queue.CONTROL else WORK, queue, str(job_id)))


def wake_run(session: Session, run_id: UUID) -> None:
    """Ask for `advance_run` once this transaction has committed; best effort, the tick comes anyway."""
    message = (ADVANCE_RUN, Queue.CONTROL, str(run_id))
    if message not in _buffer(session):
        _buffer(session).append(message)


def take_messages(session: Session) -> list[Message]:
    """Remove and return what the transaction buffered."""
    messages: list[Message] = session.info.pop("messages", [])
    return messages


def _buffer(session: Session) -> list[Message]:
    info: dict[Any, Any] = session.info
    buffer: list[Message] = info.setdefault("messages", [])
    return buffer

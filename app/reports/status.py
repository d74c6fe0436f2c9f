"""What a page that follows a run asks for every second: cheap, and equal while nothing happens."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Checkpoint, Job, Sample, SamplePurpose
from app.reports.plant import workers
from app.reports.series import last_steps
from app.reports.summary import RunSummary, run_summary

MEMORY_STEP = 2**24
"""Memory is told in these steps, so that a status does not change with every page that a process touches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTile:
    """A worker process: of the whole site, for runs share them."""

    name: str
    queues: tuple[str, ...]
    lives: bool
    """It said so lately."""
    doing: str | None
    """Kind of the job in its hands; None: nothing."""
    memory_bytes: int
    """Of the process, to `MEMORY_STEP`."""
    gpu: str | None
    gpu_used_bytes: int | None
    gpu_total_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A run at one moment, and how far its curves and tables have come."""

    summary: RunSummary
    last_steps: dict[str, int]
    """Last step of each curve that has begun."""
    newest_checkpoint: datetime | None
    newest_showcase: datetime | None
    workers: tuple[WorkerTile, ...]


def run_status(session: Session, run_id: UUID, names: Sequence[str]) -> Status:
    """Status with the last steps of the metrics `names`. Raises: NotFoundError."""
    showcased = select(func.max(Sample.created_at)).where(
        Sample.run_id == run_id, Sample.purpose == SamplePurpose.SHOWCASE
    )
    return Status(
        summary=run_summary(session, run_id),
        last_steps=last_steps(session, run_id, names),
        newest_checkpoint=session.scalar(select(func.max(Checkpoint.created_at)).where(Checkpoint.run_id == run_id)),
        newest_showcase=session.scalar(showcased),
        workers=_workers(session),
    )


def _workers(session: Session) -> tuple[WorkerTile, ...]:
    found = workers(session)
    kinds = select(Job.id, Job.kind).where(Job.id.in_([one.job_id for one in found if one.job_id]))
    doing = {row.id: row.kind.value for row in session.execute(kinds)}
    return tuple(
        WorkerTile(
            name=one.name,
            queues=one.queues,
            lives=one.lives,
            doing=doing.get(one.job_id) if one.job_id else None,
            memory_bytes=_stepped(one.memory_bytes) or 0,
            gpu=one.gpu,
            gpu_used_bytes=_stepped(one.gpu_used_bytes),
            gpu_total_bytes=one.gpu_total_bytes,
        )
        for one in found
    )


def _stepped(count: int | None) -> int | None:
    return None if count is None else round(count / MEMORY_STEP) * MEMORY_STEP

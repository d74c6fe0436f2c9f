"""What a page that follows a run asks for every second: cheap, and equal while nothing happens."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Checkpoint, Sample, SamplePurpose
from app.reports.series import last_steps
from app.reports.summary import RunSummary, run_summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A run at one moment, and how far its curves and tables have come."""

    summary: RunSummary
    last_steps: dict[str, int]
    """Last step of each curve that has begun."""
    newest_checkpoint: datetime | None
    newest_showcase: datetime | None


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
    )

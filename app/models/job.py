"""Jobs: the truth about work; Celery only carries their ids."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from app import logs
from app.kinds import ASKED, CARRIED, JobKind
from app.models.base import Base, Dated, Keyed, enum_column

_FREE = ", ".join(f"'{kind}'" for kind in (JobKind.SHOWCASE, *ASKED, *CARRIED))
"""Kinds of which a run may have several in flight."""


class JobState(StrEnum):
    """Claiming and finishing are single UPDATEs fenced by `attempt`."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Job(Keyed, Dated, Base):
    """One bounded, idempotent piece of work."""

    __tablename__ = "job"
    __table_args__ = (
        UniqueConstraint("run_id", "kind", "step"),
        Index(
            "uq_job_in_flight",
            "run_id",
            "kind",
            unique=True,
            postgresql_where=f"state in ('queued', 'running') and kind not in ({_FREE})",
        ),
        Index("ix_job_open", "state", "heartbeat_at", postgresql_where="state in ('queued', 'running')"),
    )

    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"))
    """None: it belongs to no run, such as an import of prompts."""
    kind: Mapped[JobKind] = mapped_column(enum_column(JobKind))
    step: Mapped[int]
    """Counts from 0 per run and kind."""
    args: Mapped[dict[str, Any]] = mapped_column(default=dict)
    state: Mapped[JobState] = mapped_column(enum_column(JobState), default=JobState.QUEUED)
    attempt: Mapped[int] = mapped_column(default=0)
    """Raised by each claim; every later write names the attempt it belongs to, and a loser drops its work."""
    failures: Mapped[int] = mapped_column(default=0)
    """Attempts that ended in an exception; a killed worker is no failure of the job."""
    worker: Mapped[str | None]
    request_id: Mapped[str | None] = mapped_column(default=logs.request_id)
    """The request in which somebody asked for it, or whose label woke its run; None: nobody's."""
    sent_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    heartbeat_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    error: Mapped[str | None]
    progress: Mapped[dict[str, Any] | None]
    """How far a long job is, and where it goes on after a kill."""
    result: Mapped[dict[str, Any] | None]

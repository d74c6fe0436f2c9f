"""Metrics: figures over a run's course, under the field's names."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, func
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Metric(Base):
    """One value of one name at one step. A redone step overwrites its own value, so nothing is counted twice."""

    __tablename__ = "metric"

    run_id: Mapped[UUID] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    """PPO episodes for `objective/` and `ppo/`; usable labels for `reward/` and `labels/`."""
    value: Mapped[float]
    low: Mapped[float | None]
    """Lower end of its 95 % interval, where it has one."""
    high: Mapped[float | None]
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())

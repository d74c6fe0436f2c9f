"""Stretches: the extremes of a few consecutive points of a curve, so that a long one is drawn without reading it."""

from uuid import UUID

from sqlalchemy import Float, ForeignKey
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class MetricStretch(Base):
    """`app.stretches.ROWS` consecutive points of one name of one run. Follows from them: losing it costs time only."""

    __tablename__ = "metric_stretch"

    run_id: Mapped[UUID] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    """Counts from 0 per run and name, without gaps."""
    last_step: Mapped[int]
    least: Mapped[list[float]] = mapped_column(ARRAY(Float))
    """Smallest value and its step."""
    most: Mapped[list[float]] = mapped_column(ARRAY(Float))
    """Largest value and its step."""

"""Agreement among labelers, as last worked out: too slow for a page to wait for."""

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Dated, Keyed


class Agreement(Keyed, Dated, Base):
    """How far the labelers of a run agreed at one moment; the newest counts."""

    __tablename__ = "agreement"
    __table_args__ = (Index("ix_agreement_run_id_created_at", "run_id", "created_at"),)

    run_id: Mapped[UUID] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"))
    labels: Mapped[int]
    """Labels of comparisons that several people answered."""
    report: Mapped[dict[str, Any]]
    """As `workers.agreement.Agreement` has it."""

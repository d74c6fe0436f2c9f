"""Exclusions: whose labels of a run do not count, without deleting any."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Dated, Keyed


class Exclusion(Keyed, Dated, Base):
    """A labeler is left out of a run until the exclusion is lifted."""

    __tablename__ = "exclusion"
    __table_args__ = (
        Index("uq_exclusion_in_force", "run_id", "labeler_id", unique=True, postgresql_where="lifted_at is null"),
    )

    run_id: Mapped[UUID] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"))
    labeler_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    reason: Mapped[str]
    excluded_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    lifted_at: Mapped[datetime | None]
    lifted_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))

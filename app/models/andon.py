"""The andon cord: who stopped the line, why, and who let it go on."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Dated, Keyed


class Andon(Keyed, Dated, Base):
    """One pull. While one is unreleased, PPO and promotion stand still; labeling goes on."""

    __tablename__ = "andon"
    __table_args__ = (Index("uq_andon_pulled", "run_id", unique=True, postgresql_where="released_at is null"),)

    run_id: Mapped[UUID] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"))
    pulled_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    """None: the plant pulled it by itself."""
    reason: Mapped[str]
    released_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    released_at: Mapped[datetime | None]
    note: Mapped[str | None]

"""Guidelines: what labelers were told, version by version."""

from uuid import UUID

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Dated, Keyed


class Guideline(Keyed, Dated, Base):
    """One version of a run's instructions; the newest is shown."""

    __tablename__ = "guideline"
    __table_args__ = (UniqueConstraint("run_id", "version"),)

    run_id: Mapped[UUID] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"))
    version: Mapped[int]
    text: Mapped[str]

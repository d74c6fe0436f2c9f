"""Gold: comparisons whose right answer a researcher has decided."""

from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Dated


class Gold(Dated, Base):
    """The right answer to a comparison of purpose `gold`."""

    __tablename__ = "gold"

    comparison_id: Mapped[UUID] = mapped_column(ForeignKey("comparison.id", ondelete="CASCADE"), primary_key=True)
    sample_id: Mapped[UUID] = mapped_column(ForeignKey("sample.id", ondelete="RESTRICT"))
    """The best one."""
    explanation: Mapped[str]
    author_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))

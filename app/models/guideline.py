"""Guidelines: what labelers were told, version by version, and who has read which."""

from uuid import UUID

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Dated, Keyed


class Guideline(Keyed, Dated, Base):
    """One version of a run's instructions, in Markdown; the newest is shown."""

    __tablename__ = "guideline"
    __table_args__ = (UniqueConstraint("run_id", "version"),)

    run_id: Mapped[UUID] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"))
    version: Mapped[int]
    text: Mapped[str]
    author_id: Mapped[UUID | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    """None: it came with the run."""


class Acknowledgement(Dated, Base):
    """A labeler has read a version."""

    __tablename__ = "acknowledgement"

    guideline_id: Mapped[UUID] = mapped_column(ForeignKey("guideline.id", ondelete="CASCADE"), primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"), primary_key=True)

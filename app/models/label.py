"""Labels: what people answered. Written once, never changed."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.kinds import Question, Verdict
from app.models.base import Base, Dated, KeyedByTime, enum_column


class Label(KeyedByTime, Dated, Base):
    """One labeler's answer to one comparison. A later revision supersedes; nothing is overwritten."""

    __tablename__ = "label"
    __table_args__ = (
        UniqueConstraint("comparison_id", "labeler_id", "revision"),
        UniqueConstraint("labeler_id", "idempotency_key"),
        CheckConstraint("(verdict = 'best') = (chosen_sample_id is not null)", name="best_names_a_sample"),
        Index("ix_label_labeler_id_created_at", "labeler_id", "created_at"),
    )

    comparison_id: Mapped[UUID] = mapped_column(ForeignKey("comparison.id", ondelete="RESTRICT"))
    labeler_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    assignment_id: Mapped[UUID] = mapped_column(ForeignKey("assignment.id", ondelete="RESTRICT"), index=True)
    revision: Mapped[int]
    """Counts from 1; the highest of a comparison and labeler is current."""
    verdict: Mapped[Verdict] = mapped_column(enum_column(Verdict))
    chosen_sample_id: Mapped[UUID | None] = mapped_column(ForeignKey("sample.id", ondelete="RESTRICT"))
    """The sample picked; None unless the verdict is `best`. Never a position: orders differ per labeler."""
    idempotency_key: Mapped[str]
    """Made by the client; the same key is the same answer."""
    milliseconds: Mapped[int | None]
    """From shown to answered, by the client's clock."""
    reason: Mapped[str | None]
    strength: Mapped[int | None]
    """Pairs alone: how much better the chosen one is, 1 to `MOST_STRENGTH`."""
    surplus: Mapped[bool] = mapped_column(default=False)
    """It came when no further answer was wanted: kept, but neither counted nor trained on unless a run asks for it."""
    guideline_id: Mapped[UUID | None] = mapped_column(ForeignKey("guideline.id", ondelete="RESTRICT"))
    imported: Mapped[dict[str, Any] | None]
    """Of an imported label: its record in the file, who gave it, and what else stood there; None: given here."""


class LabelAnswer(Base):
    """What else a labeler said with a label, one row per question of the run that they answered."""

    __tablename__ = "label_answer"
    __table_args__ = (CheckConstraint("(rating is null) <> (text is null)", name="rating_or_text"),)

    label_id: Mapped[UUID] = mapped_column(ForeignKey("label.id", ondelete="CASCADE"), primary_key=True)
    question: Mapped[Question] = mapped_column(enum_column(Question), primary_key=True)
    rating: Mapped[int | None]
    """Axes: of the chosen sample, 1 to `MOST_RATING`."""
    text: Mapped[str | None]

"""Practice: comparisons with a known best sample and the reason, and what labelers made of them."""

from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Dated, Keyed


class PracticeItem(Keyed, Dated, Base):
    """A question with its answer. Its texts are its own: no policy wrote them, and nothing trains on them."""

    __tablename__ = "practice_item"
    __table_args__ = (
        UniqueConstraint("run_id", "number"),
        CheckConstraint("best >= 0 and best < cardinality(samples)", name="best_is_a_sample"),
    )

    run_id: Mapped[UUID] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"))
    number: Mapped[int]
    """Counts from 1; the order in which they are asked."""
    prompt: Mapped[str]
    samples: Mapped[list[str]] = mapped_column(ARRAY(Text))
    best: Mapped[int]
    """Index into `samples`."""
    explanation: Mapped[str]
    """Why, shown after the answer."""


class PracticeAnswer(Keyed, Dated, Base):
    """One answer of one labeler in one attempt at the set."""

    __tablename__ = "practice_answer"
    __table_args__ = (
        UniqueConstraint("item_id", "account_id", "attempt"),
        Index("ix_practice_answer_account_id", "account_id"),
    )

    item_id: Mapped[UUID] = mapped_column(ForeignKey("practice_item.id", ondelete="CASCADE"))
    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    attempt: Mapped[int]
    """Counts from 1; a further one starts when all items of the last are answered and too few were right."""
    choice: Mapped[int]
    """Index into the item's `samples`."""

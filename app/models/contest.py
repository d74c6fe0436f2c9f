"""Contests: blind head-to-heads between two writers on held-out prompts."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Uuid, false
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Dated, Keyed


class Contest(Keyed, Dated, Base):
    """Two writers answer the same test prompts, and people say blindly whose answer is better."""

    __tablename__ = "contest"

    run_id: Mapped[UUID] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), index=True)
    created_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    left: Mapped[dict[str, Any]]
    """`app.contests.Side` as JSON, with the name that people read."""
    right: Mapped[dict[str, Any]]
    per_side: Mapped[int]
    """Samples of each side in one comparison: 1 or 2."""
    prompts: Mapped[int]
    """Asked for; those on which a side finishes no sample are left out."""
    labelers: Mapped[int]
    """People who answer each comparison."""
    own_session: Mapped[bool] = mapped_column(default=False, server_default=false())
    """It is answered on a page of its own; otherwise mixed into the labeling queue."""
    seed: Mapped[int]
    written_at: Mapped[datetime | None]
    """When its comparisons were put to people."""


class ContestItem(Base):
    """One comparison of a contest, and whose samples are whose: nothing else tells it."""

    __tablename__ = "contest_item"

    comparison_id: Mapped[UUID] = mapped_column(ForeignKey("comparison.id", ondelete="CASCADE"), primary_key=True)
    contest_id: Mapped[UUID] = mapped_column(ForeignKey("contest.id", ondelete="CASCADE"), index=True)
    left_samples: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))

"""Assignments: who was shown a comparison, until when, and in which order."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, Uuid
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Dated, KeyedByTime, enum_column


class AssignmentState(StrEnum):
    """A lease is held until it is answered, given back or expires."""

    LEASED = "leased"
    ANSWERED = "answered"
    EXPIRED = "expired"


class Assignment(KeyedByTime, Dated, Base):
    """A comparison lent to one labeler. The partial index allows a labeler one lease of a comparison at a time."""

    __tablename__ = "assignment"
    __table_args__ = (
        Index("uq_assignment_lease", "labeler_id", "comparison_id", unique=True, postgresql_where="state = 'leased'"),
        # What no lease lacks is asked for so that only who asks for the time is led here, not who asks for a labeler.
        Index(
            "ix_assignment_leased_until",
            "expires_at",
            postgresql_where="state = 'leased' and expires_at is not null",
        ),
        Index("ix_assignment_comparison_id_labeler_id", "comparison_id", "labeler_id"),
        Index("ix_assignment_created_at", "created_at"),
    )

    comparison_id: Mapped[UUID] = mapped_column(ForeignKey("comparison.id", ondelete="RESTRICT"))
    labeler_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    state: Mapped[AssignmentState] = mapped_column(enum_column(AssignmentState), default=AssignmentState.LEASED)
    shown: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    """Sample ids in the order shown, drawn at random once."""
    propensity: Mapped[float | None]
    """Probability with which this comparison was selected; None where selection was by age."""
    expires_at: Mapped[datetime]

"""Evaluations: a policy against the reference, measured."""

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Dated, Keyed


class Evaluation(Keyed, Dated, Base):
    """One measurement of one policy by one judge."""

    __tablename__ = "evaluation"

    run_id: Mapped[UUID] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), index=True)
    policy_id: Mapped[UUID] = mapped_column(ForeignKey("checkpoint.id", ondelete="RESTRICT"))
    judge: Mapped[str]
    """Who judged: a rule's name."""
    samples: Mapped[int]
    """Per policy."""
    result: Mapped[dict[str, Any]]
    """Means with 95 % intervals, and the KL between the two."""

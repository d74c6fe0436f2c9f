"""Audit: who did what, appended and never changed: a trigger refuses, and the site's own role has no right to."""

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Dated, Keyed


class Audit(Keyed, Dated, Base):
    """One act worth remembering."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_created_at", "created_at"),)

    actor_id: Mapped[UUID | None] = mapped_column(ForeignKey("account.id", ondelete="RESTRICT"))
    """None: Prefloop itself."""
    run_id: Mapped[UUID | None]
    """Of a run; no foreign key, for the log outlives what it tells of."""
    action: Mapped[str]
    """Dotted noun and verb, e.g. `run.paused`."""
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)

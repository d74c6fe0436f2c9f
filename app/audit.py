"""The audit log: who did what to what. Rows are only ever added."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.models import Audit


def record(session: Session, actor_id: UUID | None, action: str, *, run_id: UUID | None = None, **detail: Any) -> None:
    """Remember one act.

    Args:
        actor_id: who did it; None: Prefloop itself.
        action: dotted noun and verb, e.g. `run.paused`.
        detail: JSON values.
    """
    session.add(Audit(actor_id=actor_id, run_id=run_id, action=action, detail=detail))

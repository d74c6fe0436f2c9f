"""Statistics become metric rows. A redone step overwrites its own rows, so nothing is counted twice."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import stretches
from app.models import Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def record(session: Session, run_id: UUID, step: int, stats: Mapping[str, float | Estimate]) -> None:
    """Write the finite ones of `stats` at `step`."""
    rows: list[dict[str, Any]] = [
        {"run_id": run_id, "name": name, "step": step} | _columns(value) for name, value in stats.items()
    ]
    finite = [row for row in rows if math.isfinite(row["value"])]
    if not finite:
        return
    stretches.forget(session, run_id, [row["name"] for row in finite], step)
    statement = insert(Metric).values(finite)
    update: dict[str, Any] = {column: statement.excluded[column] for column in ("value", "low", "high")}
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["run_id", "name", "step"], set_=update | {"recorded_at": func.clock_timestamp()}
        )
    )


def _columns(value: float | Estimate) -> dict[str, Any]:
    if isinstance(value, Estimate):
        return {"value": value.value, "low": value.low, "high": value.high}
    return {"value": value, "low": None, "high": None}
